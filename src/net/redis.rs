//! Redis, or Valkey, as the depot of a cluster: which keys there are, and the few lines of Lua by which it
//! compares before it writes. When to connect, and what to believe, is decided elsewhere.
//!
//! Keys begin with `p2pchat:1:`. `r` and an id: a record; `n`, a network and a name: ids of who is called so,
//! by when that is over; `s` and a tag: that seed is there; `k` and a tag: knocks for it. All of them end by
//! themselves. What has the wrong type is deleted where it is met; what is longer than ours is never sent.

use std::time::Duration;

use ::redis::{Client, Cmd, Connection, RedisError, RedisResult, Value, cmd, pipe};

use super::seed::depot::{Depot, DepotError, Exchange};
use crate::seed::cluster::{Call, FETCHED_MAX, HELD, Over, Put, Reply, Sought, Tag, VALUE_LEN_MAX};

/// A connection that takes longer counts as none.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Redis that is silent for longer counts as gone.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Holders of one name that are kept, the newest.
const HOLDERS_MAX: usize = 64;
/// Knocks that wait for one seed, at most; what is beyond is not handed on.
const KNOCKS_MAX: usize = 256;
/// Bytes of one at most.
const KNOCK_LEN_MAX: usize = 512;
/// Knocks taken out at a time.
const KNOCKS_TAKEN_MAX: usize = 64;
/// Seconds after which a seed that does not ask for its knocks counts as gone, and they are forgotten.
const LISTENING: usize = 5;

/// Keys: record, and names where there are any. Arguments: value, seconds, length of a value, over, id,
/// holders, seconds of a name. Compares seq and address, which stand in a value's 2nd to 27th byte. A farewell
/// to nobody is not kept: there would be no end of them.
const PUT: &str = "
local function clear(key, wanted)
  local type = redis.call('TYPE', key).ok
  if type ~= wanted and type ~= 'none' then redis.call('DEL', key) end
end
clear(KEYS[1], 'string')
local old, new = redis.call('GETRANGE', KEYS[1], 0, ARGV[3]), ARGV[1]
if ARGV[4] ~= 'anything' and #old >= 27 and old:byte(1) == new:byte(1) then
  local a, b = struct.unpack('>I4I4', old:sub(2, 9))
  local c, d = struct.unpack('>I4I4', new:sub(2, 9))
  if a > c or a == c and b > d then return old end
  if a == c and b == d and ARGV[4] == 'older' and old:sub(10, 27) ~= new:sub(10, 27) then return false end
end
if not KEYS[2] and #old == 0 then return false end
redis.call('SET', KEYS[1], new, 'EX', ARGV[2])
if KEYS[2] then
  clear(KEYS[2], 'zset')
  local now = tonumber(redis.call('TIME')[1])
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
  redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[5])
  redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -1 - ARGV[6])
  redis.call('EXPIRE', KEYS[2], ARGV[7])
end
return false";

/// Key: names. Arguments: length of a value, how many, what stands before an id in a record's key.
const FIND: &str = "
local found = {}
if redis.call('TYPE', KEYS[1]).ok ~= 'zset' then return found end
local ids = redis.call('ZREVRANGEBYSCORE', KEYS[1], '+inf', redis.call('TIME')[1], 'LIMIT', 0, ARGV[2])
for _, id in ipairs(ids) do
  local key = ARGV[3] .. id
  if #id == 32 and redis.call('TYPE', key).ok == 'string' then
    table.insert(found, redis.call('GETRANGE', key, 0, ARGV[1]))
  end
end
return found";

/// Keys: seed, knocks. Arguments: value, how many at most, seconds.
const KNOCK: &str = "
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local type = redis.call('TYPE', KEYS[2]).ok
if type ~= 'list' and type ~= 'none' then redis.call('DEL', KEYS[2]) end
if redis.call('LLEN', KEYS[2]) >= tonumber(ARGV[2]) then return 0 end
redis.call('RPUSH', KEYS[2], ARGV[1])
redis.call('EXPIRE', KEYS[2], ARGV[3])
return 1";

/// Keys: seed, knocks. Arguments: seconds, how many, length of one.
const LISTEN: &str = "
redis.call('SET', KEYS[1], '', 'EX', ARGV[1])
local found = {}
if redis.call('TYPE', KEYS[2]).ok ~= 'list' then return found end
for _, knock in ipairs(redis.call('LRANGE', KEYS[2], 0, ARGV[2] - 1)) do
  if #knock <= tonumber(ARGV[3]) then table.insert(found, knock) end
end
redis.call('LTRIM', KEYS[2], ARGV[2], -1)
return found";

/// One Redis.
pub struct Redis {
    client: Client,
    open: Option<Open>,
}

/// A connection, and the names that it has for our scripts.
struct Open {
    connection: Connection,
    put: String,
    find: String,
    knock: String,
    listen: String,
}

impl Redis {
    /// At `redis://HOST:PORT/DB`. Errors where that is no such address; nothing is connected yet.
    pub fn new(url: &str) -> Result<Self, DepotError> {
        let client = Client::open(url).map_err(|error| gone(&error))?;
        Ok(Self { client, open: None })
    }
}

impl Open {
    fn new(client: &Client) -> RedisResult<Self> {
        let mut connection = client.get_connection_with_timeout(CONNECT_TIMEOUT)?;
        connection.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        connection.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        let mut load = |script: &str| cmd("SCRIPT").arg("LOAD").arg(script).query(&mut connection);
        let (put, find, knock, listen) = (load(PUT)?, load(FIND)?, load(KNOCK)?, load(LISTEN)?);
        Ok(Self { connection, put, find, knock, listen })
    }

    fn command(&self, call: &Call) -> Cmd {
        match call {
            Call::Put(put) => self.put(put),
            Call::Fetch(Sought::Id(id)) => {
                let mut get = cmd("GETRANGE");
                get.arg(key(b'r', &[id])).arg(0).arg(VALUE_LEN_MAX);
                get
            }
            Call::Fetch(Sought::Name(network, name)) => {
                let mut find = script(&self.find, &[key(b'n', &[network, name.as_bytes()])]);
                find.arg(VALUE_LEN_MAX).arg(FETCHED_MAX).arg(key(b'r', &[]));
                find
            }
            Call::Knock { to, value, .. } => {
                let mut knock = script(&self.knock, &[key(b's', &[to]), key(b'k', &[to])]);
                knock.arg(value.as_slice()).arg(KNOCKS_MAX).arg(LISTENING);
                knock
            }
        }
    }

    fn put(&self, put: &Put) -> Cmd {
        let mut keys = vec![key(b'r', &[&put.id])];
        keys.extend(put.name.as_ref().map(|(network, name)| key(b'n', &[network, name.as_bytes()])));
        let over = match put.over {
            Over::Older => "older",
            Over::Same => "same",
            Over::Anything => "anything",
        };
        let mut command = script(&self.put, &keys);
        command.arg(put.value.as_slice()).arg(put.seconds).arg(VALUE_LEN_MAX).arg(over);
        command.arg(put.id.as_slice()).arg(HOLDERS_MAX).arg(HELD);
        command
    }

    fn exchange(&mut self, tag: &Tag, calls: &[&Call]) -> RedisResult<Exchange> {
        let mut commands = pipe();
        commands.ignore_errors();
        for call in calls {
            commands.add_command(self.command(call));
        }
        let mut listen = script(&self.listen, &[key(b's', &[tag]), key(b'k', &[tag])]);
        listen.arg(LISTENING).arg(KNOCKS_TAKEN_MAX).arg(KNOCK_LEN_MAX);
        commands.add_command(listen);
        let results: Vec<RedisResult<Value>> = commands.query(&mut self.connection)?;

        let mut exchange = Exchange::default();
        let mut results = results.into_iter().map(|result| match result {
            // Somebody has emptied it: what is loaded anew with a new connection.
            Err(error) if error.code() == Some("NOSCRIPT") => Err(error),
            Err(error) => {
                exchange.failed = Some(error.to_string());
                Ok(Value::Nil)
            }
            Ok(value) => Ok(value),
        });
        let replies: RedisResult<Vec<_>> =
            calls.iter().zip(&mut results).map(|(call, result)| Ok(reply(call, result?))).collect();
        let knocks = results.next().unwrap_or(Ok(Value::Nil))?;
        exchange.replies = replies?;
        exchange.knocks = strings(knocks).into_iter().map(|value| Reply::Knock { value }).collect();
        Ok(exchange)
    }
}

impl Depot for Redis {
    fn exchange(&mut self, tag: &Tag, calls: &[&Call]) -> Result<Exchange, DepotError> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => Open::new(&self.client).map_err(|error| gone(&error))?,
        };
        // After an error nobody knows what the next bytes belong to.
        let exchange = open.exchange(tag, calls).map_err(|error| gone(&error))?;
        self.open = Some(open);
        Ok(exchange)
    }
}

fn gone(error: &RedisError) -> DepotError {
    DepotError(error.to_string())
}

fn key(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = b"p2pchat:1:".to_vec();
    key.extend_from_slice(&[kind, b':']);
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}

fn script(name: &str, keys: &[Vec<u8>]) -> Cmd {
    let mut command = cmd("EVALSHA");
    command.arg(name).arg(keys.len()).arg(keys);
    command
}

fn reply(call: &Call, result: Value) -> Option<Reply> {
    match call {
        Call::Put(put) => match result {
            Value::BulkString(value) => Some(Reply::Newer { id: put.id, value }),
            _ => None,
        },
        Call::Fetch(sought) => Some(Reply::Fetched { sought: sought.clone(), values: strings(result) }),
        Call::Knock { number, .. } => Some(Reply::Knocked { number: *number, is_there: result == Value::Int(1) }),
    }
}

/// One or many, without what is empty: that was not there.
fn strings(value: Value) -> Vec<Vec<u8>> {
    let values = match value {
        Value::Array(values) => values,
        value => vec![value],
    };
    let bytes = values.into_iter().filter_map(|value| match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    });
    bytes.filter(|bytes| !bytes.is_empty()).collect()
}
