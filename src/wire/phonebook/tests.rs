//! Queries and answers: both ways, at their limits, and from any bytes.

use proptest::prelude::*;

use super::*;

const HEADER: Header = Header { txid: 7, cookie: [9; COOKIE_LEN] };
const ID: RawId = [5; 32];

fn seen() -> SocketAddr {
    "203.0.113.9:17118".parse().unwrap()
}

fn far() -> SocketAddr {
    "[2001:db8::9]:17118".parse().unwrap()
}

fn queries() -> Vec<Query<'static>> {
    vec![
        Query::Hello,
        Query::Register { record: &[1; RECORD_LEN_MAX], signature: [2; 64], token: None },
        Query::Register { record: &[1; 100], signature: [2; 64], token: Some([3; TOKEN_LEN]) },
        Query::Refresh { id: ID, seq: u64::MAX, token: [3; TOKEN_LEN] },
        Query::Lookup { id: ID, watch: true },
        Query::Find { network: [0; 8], name: "alice" },
        Query::Search { network: [1; 8], prefix: "", after: None },
        Query::Search { network: [1; 8], prefix: "al", after: Some(("alice", ID)) },
        Query::Unregister { record: &[1; 60], signature: [2; 64] },
        Query::Knock { to: ID, sealed: &[4; SEALED_LEN_MAX] },
        Query::Status,
        Query::Bind { id: ID, token: [3; TOKEN_LEN], peer: [6; 32] },
    ]
}

fn answers() -> Vec<Answer<'static>> {
    let entry = Entry { record: &[1; RECORD_LEN_MAX], signature: [2; 64], seen: far(), age: u16::MAX };
    let status = Status {
        name: "attic",
        software: "p2pchat-udp/0.1.0",
        unix: u64::MAX,
        uptime: 1,
        records: u64::MAX,
        load: 1_000,
        seeds: vec![far(); SEEDS_PER_ANSWER_MAX],
        relay: RelayStatus { rate_max: u32::MAX, channels: 1, bytes: u64::MAX },
    };
    vec![
        Answer::Cookie { seen: far() },
        Answer::Registered { token: [3; TOKEN_LEN], ttl: 75, seen: far() },
        Answer::Need,
        Answer::Found { entries: vec![entry], more: true },
        Answer::Found { entries: Vec::new(), more: false },
        Answer::NotFound { warming: true, retry_after: 75, seeds: vec![seen(), far()] },
        Answer::Unregistered,
        Answer::Knocked { seen: seen() },
        Answer::Notify { from: far(), sealed: &[4; SEALED_LEN_MAX] },
        Answer::Status(status),
        Answer::Refused(Refusal::BadRecord),
        Answer::Refused(Refusal::WrongClock { unix: u64::MAX }),
        Answer::Refused(Refusal::Stale { seq: u64::MAX }),
        Answer::Refused(Refusal::Full),
        Answer::Refused(Refusal::Busy { retry_after: 1 }),
        Answer::Refused(Refusal::NoRelay),
        Answer::Bound { channel: ChannelId(u64::MAX), open: true },
    ]
}

#[test]
fn queries_and_answers_come_back_as_they_were() {
    let mut out = Vec::new();
    for query in queries() {
        query.encode(HEADER, &mut out);
        assert!((QUERY_LEN_MIN..=DATAGRAM_LEN_MAX).contains(&out.len()), "{query:?}");
        assert_eq!(Query::decode(&out), Ok((HEADER, query)));
    }
    for answer in answers() {
        answer.encode(HEADER, &mut out);
        assert!(out.len() <= DATAGRAM_LEN_MAX, "{answer:?}");
        assert_eq!(Answer::decode(&out), Ok((HEADER, answer)));
    }
}

#[test]
fn the_answer_without_a_cookie_is_no_longer_than_any_query() {
    let mut out = Vec::new();
    Answer::Cookie { seen: far() }.encode(HEADER, &mut out);
    assert!(out.len() <= QUERY_LEN_MIN, "{}", out.len());
}

#[test]
fn what_is_handed_on_is_shorter_than_what_came() {
    let (mut knock, mut notify) = (Vec::new(), Vec::new());
    Query::Knock { to: ID, sealed: &[4; SEALED_LEN_MAX] }.encode(HEADER, &mut knock);
    Answer::Notify { from: far(), sealed: &[4; SEALED_LEN_MAX] }.encode(HEADER, &mut notify);
    assert!(notify.len() <= knock.len(), "{} for {}", notify.len(), knock.len());
}

#[test]
fn padding_is_zeros_and_nothing_else() {
    let mut out = Vec::new();
    Query::Hello.encode(HEADER, &mut out);
    out.push(0);
    assert!(Query::decode(&out).is_ok(), "more zeros than needed");
    *out.last_mut().unwrap() = 1;
    assert_eq!(Query::decode(&out), Err(WireError::Malformed));
    assert_eq!(Query::decode(&out[..QUERY_LEN_MIN - 1]), Err(WireError::Malformed), "too short for any answer");
    Answer::Need.encode(HEADER, &mut out);
    out.push(0);
    assert_eq!(Answer::decode(&out), Err(WireError::Malformed), "answers have no padding");
}

#[test]
fn a_query_beyond_its_limits_is_none() {
    let name = "n".repeat(NAME_LEN_MAX + 1);
    for query in [
        Query::Register { record: &[1; RECORD_LEN_MAX + 1], signature: [2; 64], token: None },
        Query::Find { network: [0; 8], name: &name },
        Query::Search { network: [0; 8], prefix: &name, after: None },
        Query::Search { network: [0; 8], prefix: "", after: Some((&name, ID)) },
        Query::Knock { to: ID, sealed: &[4; SEALED_LEN_MAX + 1] },
    ] {
        let mut out = Vec::new();
        query.encode(HEADER, &mut out);
        assert_eq!(Query::decode(&out), Err(WireError::Malformed), "{query:?}");
    }
    let entry = Entry { record: &[1; 1], signature: [2; 64], seen: seen(), age: 0 };
    let mut out = Vec::new();
    Answer::Found { entries: vec![entry; ENTRIES_MAX + 1], more: false }.encode(HEADER, &mut out);
    assert_eq!(Answer::decode(&out), Err(WireError::Malformed));
}

#[test]
fn another_version_is_told_ours_and_nothing_more() {
    let mut query = Vec::new();
    Query::Status.encode(HEADER, &mut query);
    query[5] = WIRE_VERSION + 1;
    assert_eq!(Query::decode(&query), Err(WireError::OtherVersion(WIRE_VERSION + 1)));
    let mut told = other_version(&query).unwrap();
    assert!(told.len() <= query.len());
    assert_eq!(answer_txid(&told), Some(HEADER.txid));
    told[5] = 9;
    assert_eq!(Answer::decode(&told), Err(WireError::OtherVersion(9)), "as the asker sees it");
    assert_eq!(other_version(&query[..QUERY_LEN_MIN - 1]), None);
    query[1] = b'x';
    assert_eq!(other_version(&query), None);
}

proptest! {
    #[test]
    fn any_bytes_are_a_query_an_answer_or_an_error(body in prop::collection::vec(any::<u8>(), 0..DATAGRAM_LEN_MAX)) {
        for kind in [KIND_QUERY, KIND_ANSWER] {
            let mut datagram = Vec::new();
            put_header(kind, HEADER, &mut datagram);
            datagram.extend_from_slice(&body);
            if let Ok((header, query)) = Query::decode(&datagram) {
                let mut again = Vec::new();
                query.encode(header, &mut again);
                prop_assert_eq!(Query::decode(&again), Ok((header, query)));
            }
            if let Ok((header, answer)) = Answer::decode(&datagram) {
                let mut again = Vec::new();
                answer.encode(header, &mut again);
                prop_assert_eq!(Answer::decode(&again), Ok((header, answer)));
            }
        }
    }
}
