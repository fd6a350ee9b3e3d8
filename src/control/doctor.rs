//! `doctor`: why people do not see each other. What the owner's process saw of its machine, what the node knows and what peers and
//! seeds answer becomes a list of checks, each with what mends it. Nothing is changed by it. How the machine is looked at lives
//! in `net::echo`.

use std::{
    fmt::Display,
    future::{Future, poll_fn},
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    pin::Pin,
    task::Poll,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    answer::{Answer, Stop, ask, peers, unexpected},
    ping::ask_once,
    proto::{CheckLine, CheckResult, ErrorLine, Line, SeedState},
    server::{Gone, Node, Out, Owner},
};
use crate::{
    node::command::{Command, NodeStatus, PathKind, PeerView, Pong, Reply, SeedView},
    store::row::Trust,
    text::{Name, Shown},
};

/// How long seeds are waited for.
const SEEDS_WAIT: Duration = Duration::from_secs(2);
/// How long neighbours are waited for.
const PONG_WAIT: Duration = Duration::from_millis(1_500);
/// Neighbours that are asked at most.
const ASKED_MAX: usize = 8;
/// No clock that is right shows an earlier time: the beginning of 2026.
const EARLIEST: Duration = Duration::from_secs(1_767_225_600);

/// What this machine's network looks like from inside.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// What is up.
    pub interfaces: Vec<Place>,
    /// The LAN is used.
    pub lan: bool,
    /// Only these interfaces are; empty: all.
    pub only: Vec<String>,
    /// The name of the network, where it has one.
    pub network: String,
    /// What came back of what was sent to the groups; an error: nothing could be tried.
    pub echoes: Result<Vec<Echo>, String>,
    /// The same of what was broadcast.
    pub broadcasts: Result<Vec<Echo>, String>,
    /// Ports that a firewall is asked to let in.
    pub ports: RangeInclusive<u16>,
    /// What may keep them out.
    pub firewall: Firewall,
}

/// An interface that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The system's name for it.
    pub name: String,
    /// One of its addresses.
    pub addr: Option<IpAddr>,
    /// It leads to this machine only.
    pub loopback: bool,
    /// It has one other end, and carries no multicast.
    pub tunnel: bool,
}

/// What was sent to a group by an interface, and whether it came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Echo {
    /// By which.
    pub interface: String,
    /// To whom.
    pub group: SocketAddr,
    /// An error: it did not leave.
    pub sent: Result<(), String>,
    /// It came back.
    pub heard: bool,
}

/// What decides here what comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firewall {
    /// `ufw` is on.
    Ufw,
    /// `firewalld` runs.
    Firewalld,
    /// Neither: rules may be there all the same.
    Other,
}

impl Firewall {
    fn lets_in(self, ports: &RangeInclusive<u16>) -> String {
        let (first, last) = (ports.start(), ports.end());
        match self {
            Self::Ufw => format!("sudo ufw allow {first}:{last}/udp"),
            Self::Firewalld => {
                format!("sudo firewall-cmd --permanent --add-port={first}-{last}/udp && sudo firewall-cmd --reload")
            }
            Self::Other => format!("let UDP {first} to {last} in; `sudo nft list ruleset` shows what is let in now"),
        }
    }
}

/// `doctor`.
pub(super) async fn doctor<N: Node>(owner: &Owner<N>, out: &Out) -> Answer {
    let (around, known, seeds, status) =
        tokio::join!(owner.node.surroundings(), peers(owner, true), ask_seeds(owner), ask_status(owner));
    let (known, seeds, status) = (known?, seeds?, status?);
    let near: Vec<PeerView> = known.into_iter().filter(|peer| peer.is_here() && peer.path == PathKind::Lan).collect();
    let asked = near.iter().filter(|peer| peer.trust != Trust::Blocked).take(ASKED_MAX);
    let pongs = all(asked.map(|peer| Box::pin(ask_once(owner, peer.id, PONG_WAIT)) as Asking<'_>).collect()).await;
    let pongs: Vec<Pong> = pongs.into_iter().flatten().collect();
    let mut report = Report { out, checks: 0, failed: 0 };
    report.say("owner", check_owner(owner.mode)).await?;
    report.say("disk", check_disk(&status)).await?;
    report.say("clock", check_clock(&seeds)).await?;
    report.say("interfaces", check_interfaces(&around)).await?;
    for found in check_tunnels(&around) {
        report.say("tunnels", found).await?;
    }
    report.say("port", check_port(&around, owner.port)).await?;
    for found in check_multicast(&around) {
        report.say("multicast", found).await?;
    }
    report.say("broadcast", check_broadcast(&around)).await?;
    if around.lan {
        report.say("neighbours", check_neighbours(&around, near.len())).await?;
        report.say("answers", check_answers(&around, &pongs)).await?;
    }
    report.say("versions", check_versions(&status)).await?;
    for found in check_seeds(&seeds, status.seeds) {
        report.say("seeds", found).await?;
    }
    report.end()
}

struct Report<'o> {
    out: &'o Out,
    checks: usize,
    failed: usize,
}

impl Report<'_> {
    async fn say(&mut self, check: &str, found: Found) -> Result<(), Gone> {
        self.checks += 1;
        self.failed += usize::from(found.result == CheckResult::Fail);
        let Found { result, text, fix } = found;
        let text = Shown::line(&text).to_string();
        self.out.say(Line::Check(CheckLine { check: check.to_owned(), result, text, fix })).await
    }

    fn end(&self) -> Answer {
        match self.failed {
            0 => Ok(()),
            failed => Err(ErrorLine::new("unwell", 9, format!("{failed} of {} checks failed", self.checks)).into()),
        }
    }
}

/// How a thing is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    result: CheckResult,
    text: String,
    fix: Option<String>,
}

fn ok(text: impl Into<String>) -> Found {
    Found { result: CheckResult::Ok, text: text.into(), fix: None }
}

fn warn(text: impl Into<String>, fix: impl Into<String>) -> Found {
    Found { result: CheckResult::Warn, text: text.into(), fix: Some(fix.into()) }
}

fn fail(text: impl Into<String>, fix: impl Into<String>) -> Found {
    Found { result: CheckResult::Fail, text: text.into(), fix: Some(fix.into()) }
}

async fn ask_seeds<N: Node>(owner: &Owner<N>) -> Result<Vec<SeedView>, Stop> {
    match ask(owner, Command::Seeds { only: None, timeout: SEEDS_WAIT }).await? {
        Reply::Seeds(seeds) => Ok(seeds),
        reply => Err(unexpected(&reply)),
    }
}

async fn ask_status<N: Node>(owner: &Owner<N>) -> Result<NodeStatus, Stop> {
    match ask(owner, Command::Status).await? {
        Reply::Status(status) => Ok(status),
        reply => Err(unexpected(&reply)),
    }
}

type Asking<'f> = Pin<Box<dyn Future<Output = Result<Pong, Stop>> + Send + 'f>>;

/// Waits for all at once.
async fn all(mut asking: Vec<Asking<'_>>) -> Vec<Result<Pong, Stop>> {
    let mut answers: Vec<Option<Result<Pong, Stop>>> = asking.iter().map(|_| None).collect();
    poll_fn(|context| {
        for (one, answer) in asking.iter_mut().zip(&mut answers).filter(|(_, answer)| answer.is_none()) {
            if let Poll::Ready(done) = one.as_mut().poll(context) {
                *answer = Some(done);
            }
        }
        if answers.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    answers.into_iter().flatten().collect()
}

fn check_owner(mode: &str) -> Found {
    match mode {
        "command" => warn(
            "nothing of yours runs but this command: nobody can write to you between two",
            "p2pchat-udp daemon &    or leave a shell open",
        ),
        mode => ok(format!("a {mode} runs: others can write to you")),
    }
}

fn check_disk(status: &NodeStatus) -> Found {
    match &status.commit_error {
        None => ok("what you write is kept"),
        Some(error) => fail(
            format!("the last message was not kept: {error}"),
            "make room on the disk that has the profile; `p2pchat-udp status` says how it goes on",
        ),
    }
}

fn check_clock(seeds: &[SeedView]) -> Found {
    const MEND: &str = "sudo timedatectl set-ntp true    or set the clock by hand";
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    if now < EARLIEST {
        return fail("this machine's clock is years behind: seeds refuse its entries", MEND);
    }
    match seeds.iter().find(|seed| seed.state == SeedState::WrongClock) {
        Some(seed) => fail(format!("this machine's clock and that of {} are far apart", seed.seed), MEND),
        None => ok("nothing speaks against this machine's clock"),
    }
}

fn check_interfaces(around: &Surroundings) -> Found {
    let is_used = |interface: &&Place| !interface.loopback || around.only.contains(&interface.name);
    let usable: Vec<&Place> = around.interfaces.iter().filter(is_used).collect();
    if usable.is_empty() {
        return fail(
            "no network is up: only people on this machine can be reached",
            "plug the cable in or join the Wi-Fi; `ip addr` shows what there is",
        );
    }
    if let Some(missing) = around.only.iter().find(|only| usable.iter().all(|interface| interface.name != **only)) {
        let text = format!("the interface {missing}, which you named, is not up");
        return fail(text, format!("bring it up, or name another one: {}", names(&usable)));
    }
    ok(names(&usable))
}

fn names(interfaces: &[&Place]) -> String {
    let with_addr = |interface: &&Place| match interface.addr {
        Some(addr) => format!("{} ({addr})", interface.name),
        None => interface.name.clone(),
    };
    interfaces.iter().map(with_addr).collect::<Vec<_>>().join(", ")
}

fn check_tunnels(around: &Surroundings) -> Vec<Found> {
    let tunnels = around.interfaces.iter().filter(|interface| interface.tunnel);
    tunnels
        .map(|tunnel| {
            let text = format!("{} is a tunnel: nobody is found by multicast behind it", tunnel.name);
            warn(text, "whoever is there is found by a seed: `p2pchat-udp config via HOST:PORT`")
        })
        .collect()
}

fn check_port(around: &Surroundings, port: u16) -> Found {
    if around.ports.contains(&port) {
        return ok(format!("UDP {port}"));
    }
    let (first, last) = (around.ports.start(), around.ports.end());
    warn(
        format!("UDP {port}: a firewall that lets {first} to {last} in does not let this one in"),
        "`ss -lunp` says who has those; without --listen the first free one is taken",
    )
}

fn check_multicast(around: &Surroundings) -> Vec<Found> {
    if !around.lan {
        return vec![warn("the LAN is switched off", "p2pchat-udp config no_lan off")];
    }
    let echoes = match &around.echoes {
        Ok(echoes) => echoes,
        Err(why) => return vec![fail(format!("nothing could be sent: {why}"), "start it once more; `-v` says more")],
    };
    if echoes.is_empty() {
        return vec![fail("no interface carries multicast", "`ip link` shows MULTICAST where one does")];
    }
    let mut found = Vec::new();
    for echo in echoes {
        let Echo { interface, group, sent, heard } = echo;
        match (sent, heard) {
            (Ok(()), true) => {}
            (Ok(()), false) => found.push(fail(
                format!("what is sent to {group} on {interface} does not come back: something on this machine drops it"),
                around.firewall.lets_in(&around.ports),
            )),
            (Err(why), _) => found.push(fail(
                format!("nothing can be sent to {group} on {interface}: {why}"),
                format!("`ip route get {}` and the firewall's rules for what goes out say why", group.ip()),
            )),
        }
    }
    let well: Vec<String> = echoes.iter().filter(|echo| echo.heard).map(on).collect();
    if !well.is_empty() {
        found.insert(0, ok(format!("heard back on {}", well.join(", "))));
    }
    found
}

/// Nothing here needs it; it tells what drops multicast alone from what drops all.
fn check_broadcast(around: &Surroundings) -> Found {
    let echoes = match &around.broadcasts {
        Ok(echoes) => echoes,
        Err(why) => return warn(format!("nothing could be sent: {why}"), "`-v` says more; nothing here needs broadcast"),
    };
    let lost: Vec<String> = echoes.iter().filter(|echo| !echo.heard).map(|echo| echo.interface.clone()).collect();
    let well: Vec<String> = echoes.iter().filter(|echo| echo.heard).map(|echo| echo.interface.clone()).collect();
    if !lost.is_empty() {
        let text =
            format!("what is sent to everybody on {} does not come back: something on this machine drops it", lost.join(", "));
        return warn(text, around.firewall.lets_in(&around.ports));
    }
    ok(if well.is_empty() {
        "no interface with a broadcast address".to_owned()
    } else {
        format!("heard back on {}", well.join(", "))
    })
}

fn on(echo: &Echo) -> String {
    format!("{} ({})", echo.interface, if echo.group.is_ipv4() { "IPv4" } else { "IPv6" })
}

fn check_neighbours(around: &Surroundings, near: usize) -> Found {
    if near > 0 {
        return ok(format!("{near} heard on this LAN"));
    }
    let only = if around.network.is_empty() {
        String::new()
    } else {
        format!(" Only who says --network {} as well is seen.", Shown::line(&around.network))
    };
    warn(
        format!("nobody else is heard on this LAN.{only}"),
        "run `p2pchat-udp doctor` on the other machine too; a Wi-Fi that keeps its guests apart (client isolation) needs a cable, another Wi-Fi, or a seed",
    )
}

fn check_answers(around: &Surroundings, pongs: &[Pong]) -> Found {
    let name = |pong: &Pong| {
        let name = pong.peer.petname.as_ref().unwrap_or(&pong.peer.name);
        Shown::line(Name::or_short_id(name, &pong.peer.id).as_str()).to_string()
    };
    let silent: Vec<String> = pongs.iter().filter(|pong| pong.rtt.is_none()).map(name).collect();
    if !silent.is_empty() {
        let text = format!("heard, and no answer: {}. A firewall there, or here, lets no UDP in", silent.join(", "));
        return fail(text, format!("on both machines: {}", around.firewall.lets_in(&around.ports)));
    }
    match pongs.iter().filter_map(|pong| pong.rtt).max() {
        None => ok("nobody to ask"),
        Some(slowest) => ok(format!("from {} within {:.1} ms", pongs.len(), slowest.as_secs_f64() * 1_000.0)),
    }
}

fn check_versions(status: &NodeStatus) -> Found {
    if status.other_version {
        let text = "somebody on this LAN has a version that this one does not understand";
        return warn(text, "`p2pchat-udp --version` on both: the older one is to be replaced");
    }
    ok(format!("nobody is heard who does not understand {}", env!("CARGO_PKG_VERSION")))
}

fn check_seeds(seeds: &[SeedView], registered: usize) -> Vec<Found> {
    if seeds.is_empty() {
        return vec![ok("none in use: people on other networks are not looked for (`--via HOST:PORT`)")];
    }
    let mut found: Vec<Found> = seeds.iter().map(check_seed).collect();
    if registered == 0 && seeds.iter().any(|seed| seed.state == SeedState::Ok) {
        let text = "none of them has an entry of yours yet: people on other networks do not find you";
        found.push(warn(text, "p2pchat-udp seed register"));
    }
    found
}

fn check_seed(seed: &SeedView) -> Found {
    let bad = |why: &dyn Display, fix: &str| match &seed.reason {
        Some(reason) => fail(format!("{}: {why} ({reason})", seed.seed), fix),
        None => fail(format!("{}: {why}", seed.seed), fix),
    };
    match seed.state {
        SeedState::Ok => ok(format!("{} answers", seed.seed)),
        SeedState::Unreachable => bad(
            &"no answer",
            "is it running, and does its firewall let UDP in? Its operator sees it in its log; another seed does as well",
        ),
        SeedState::WrongClock => bad(&"its clock and this machine's are far apart", "whichever is wrong has to be set"),
        SeedState::OldVersion => bad(&"its version is another one", "its operator has to replace it, or you this program"),
        SeedState::BadSignature => bad(&"what it answers is not signed by it", "use another seed; somebody may stand in between"),
    }
}

#[cfg(test)]
mod tests;
