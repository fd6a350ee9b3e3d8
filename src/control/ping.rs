//! Answers to `ping`: a few questions to one peer, one after the other, and what they say of the way to it.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    answer::{Answer, Stop, ask, resolve, unexpected},
    call::Ping,
    proto::{ErrorLine, Line, PingLine, PongLine},
    server::{Node, Out, Owner},
};
use crate::{
    id::PeerId,
    node::command::{Command, Pong, Reply},
    text::{Name, Shown},
};

/// Questions, where nobody says how many.
const COUNT: u32 = 5;
/// Questions at most.
const COUNT_MAX: u32 = 1_000;
/// Between an answer and the next question.
const PAUSE: Duration = Duration::from_millis(200);
/// For the first answer: there may be no session yet.
const FIRST_WAIT: Duration = Duration::from_secs(3);
/// For each further one.
const NEXT_WAIT: Duration = Duration::from_secs(1);

/// `ping`.
pub(super) async fn ping<N: Node>(owner: &Owner<N>, call: Ping, out: &Out) -> Answer {
    let began = Instant::now();
    let peer = resolve(owner, call.peer, call.timeout, out).await?;
    let count = call.count.unwrap_or(COUNT).clamp(1, COUNT_MAX);
    let first_wait = call.timeout.map_or(FIRST_WAIT, |timeout| timeout.0.saturating_sub(began.elapsed()));
    let mut tally = Tally::default();
    for n in 1..=count {
        if n > 1 {
            sleep(PAUSE).await;
        }
        let pong = ask_once(owner, peer, if n == 1 { first_wait } else { NEXT_WAIT }).await?;
        out.say(Line::Pong(line(n, &pong))).await?;
        tally.add(&pong);
        if n == 1 && pong.rtt.is_none() {
            let text = format!("no answer from {}: it is {}", name(&pong), presence(&pong));
            return Err(ErrorLine::new("no-answer", 5, text).hint("`p2pchat-udp doctor` says what may be in the way").into());
        }
    }
    match tally.line(peer) {
        Some(line) => Ok(out.say(Line::Ping(line)).await?),
        None => Ok(()),
    }
}

/// One question and its answer, or that none came in time.
pub(super) async fn ask_once<N: Node>(owner: &Owner<N>, peer: PeerId, timeout: Duration) -> Result<Pong, Stop> {
    match ask(owner, Command::Ping { peer, timeout }).await? {
        Reply::Ponged(pong) => Ok(*pong),
        reply => Err(unexpected(&reply)),
    }
}

fn name(pong: &Pong) -> Shown {
    let name = pong.peer.petname.as_ref().unwrap_or(&pong.peer.name);
    Shown::line(Name::or_short_id(name, &pong.peer.id).as_str())
}

fn presence(pong: &Pong) -> &'static str {
    if pong.peer.is_here() { "seen, and says nothing" } else { "not here" }
}

fn millis(rtt: Duration) -> f64 {
    rtt.as_secs_f64() * 1_000.0
}

fn line(n: u32, pong: &Pong) -> PongLine {
    PongLine {
        peer: pong.peer.id,
        name: name(pong).to_string(),
        n,
        rtt_ms: pong.rtt.map(millis),
        path: pong.peer.path,
        addr: pong.peer.addr,
    }
}

#[derive(Default)]
struct Tally {
    asked: u32,
    times: Vec<f64>,
    /// Packets sent and lost before the second question, and now.
    packets: Option<[(u64, u64); 2]>,
    name: String,
}

impl Tally {
    fn add(&mut self, pong: &Pong) {
        self.asked += 1;
        self.times.extend(pong.rtt.map(millis));
        let now = (pong.sent, pong.lost);
        self.packets = Some([self.packets.map_or(now, |[first, _]| first), now]);
        self.name = name(pong).to_string();
    }

    fn line(self, peer: PeerId) -> Option<PingLine> {
        let [(sent_before, lost_before), (sent, lost)] = self.packets?;
        let answered = u32::try_from(self.times.len()).ok()?;
        let (min, max) = (self.times.iter().copied().reduce(f64::min), self.times.iter().copied().reduce(f64::max));
        Some(PingLine {
            peer,
            name: self.name,
            asked: self.asked,
            answered,
            min_ms: min,
            avg_ms: (answered > 0).then(|| self.times.iter().sum::<f64>() / f64::from(answered)),
            max_ms: max,
            // Another session may have taken the place of the first one.
            sent: sent.saturating_sub(sent_before),
            lost: lost.saturating_sub(lost_before),
        })
    }
}
