//! Answers about who there is and how to find them: one peer, who fits some words, and what the seeds say. What a seed says is a claim: printed, and never mixed with what is known here.

use std::{collections::BTreeSet, pin::pin, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::{
    answer::{Answer, LOOK, Stop, ask, error_line, link, peers, resolve, unexpected},
    call::{Find, Seed, SeedAction, Whois},
    proto::{ErrorLine, Line, NoticeCode, NoticeLine, PeerLine, Span},
    server::{Node, Out, Owner},
};
use crate::{
    contact_link::{ContactLink, check_seed},
    id::PeerId,
    node::command::{Claims, Command, PeerView, Question, Reply, SeedState, SeedView},
    text::{Name, Shown, name_key},
};

const SEED_HINT: &str = "a seed is written like seed.example:17118 or [2001:db8::1]:17118";
const SILENT_HINT: &str = "`p2pchat-udp seed status` says which seed is silent";

/// `whois`.
pub(super) async fn whois<N: Node>(owner: &Owner<N>, call: Whois, out: &Out) -> Answer {
    let wait = look(call.timeout);
    let deadline = Instant::now() + wait;
    let id = match link(&call.peer) {
        // That somebody writes an id does not mean that anybody has it.
        Ok(ContactLink { id, .. }) if !call.unseen => match ask(owner, Command::Sight { peer: id, timeout: wait }).await? {
            Reply::Resolved(id) => id,
            Reply::Claims(claims) => return Ok(out.say(Line::Peer(claimed_by(id, claims))).await?),
            reply => return Err(unexpected(&reply)),
        },
        _ => resolve(owner, call.peer, call.timeout, out).await?,
    };
    let mut known = peers(owner, false).await?.into_iter().find(|peer| peer.id == id);
    if !call.unseen && known.as_ref().is_some_and(|peer| !peer.is_here()) {
        known = settled(owner, deadline).await?.into_iter().find(|peer| peer.id == id);
    }
    let line = match known {
        Some(known) => known.into(),
        // Nothing but what it says at a seed, or not even that.
        None => claimed_by(id, claims(owner, Question::Id(id), None, wait).await?),
    };
    Ok(out.say(Line::Peer(line)).await?)
}

fn claimed_by(id: PeerId, claims: Claims) -> PeerLine {
    claims.claims.into_iter().find(|claim| claim.id == id).map_or_else(|| PeerLine::never_seen(id), PeerLine::from)
}

/// Everybody known, once the LAN had time to answer.
async fn settled<N: Node>(owner: &Owner<N>, deadline: Instant) -> Result<Vec<PeerView>, Stop> {
    match timeout_at(deadline, peers(owner, true)).await {
        Ok(peers) => peers,
        Err(_) => peers(owner, false).await,
    }
}

/// `find`: those known here first, then those that seeds know, each id once.
pub(super) async fn find<N: Node>(owner: &Owner<N>, call: Find, out: &Out) -> Answer {
    let words = name(&link(&call.words).map_or(call.words, |link| link.id.to_string()))?;
    let wait = look(call.timeout);
    let mut gathered = pin!(gather(owner, &words, wait));
    // Asked from the beginning: where nobody fits, it says whether everybody was asked.
    let asked = match words.as_str().parse() {
        Ok(peer) => Command::Sight { peer, timeout: wait },
        Err(_) => Command::Resolve { peer: words.as_str().to_owned(), timeout: wait },
    };
    let mut verdict = pin!(owner.node.call(asked));
    let mut said = None;
    let (found, answers) = loop {
        tokio::select! {
            found = &mut gathered => break found?,
            reply = &mut verdict, if said.is_none() => said = Some(reply),
        }
    };
    let is_empty = found.is_empty();
    for line in found {
        out.say(Line::Peer(line)).await?;
    }
    if !is_empty {
        return say_shortfalls(&answers, out).await;
    }
    let reply = match said {
        Some(reply) => reply,
        None => verdict.await,
    };
    match reply {
        Reply::Failed(error) => Err(error_line(&error).into()),
        // It came while the others were listed.
        Reply::Resolved(id) => whois(owner, Whois { peer: id.to_string(), timeout: call.timeout, unseen: true }, out).await,
        Reply::Claims(claims) => {
            for claim in claims.claims {
                out.say(Line::Peer(claim.into())).await?;
            }
            Ok(())
        }
        reply => Err(unexpected(&reply)),
    }
}

async fn gather<N: Node>(owner: &Owner<N>, words: &Name, wait: Duration) -> Result<(Vec<PeerLine>, [Claims; 2]), Stop> {
    let deadline = Instant::now() + wait;
    let here = settled(owner, deadline);
    let exact = match words.as_str().parse() {
        Ok(id) => Question::Id(id),
        Err(_) => Question::Name(words.as_str().to_owned()),
    };
    let begins = Question::Prefix(words.as_str().to_owned());
    let (here, exact, begins) = tokio::join!(here, claims(owner, exact, None, wait), claims(owner, begins, None, wait));
    let mut lines: Vec<PeerLine> = here?.into_iter().filter(|peer| fits(peer, words)).map(PeerLine::from).collect();
    let mut seen: BTreeSet<PeerId> = lines.iter().map(|line| line.id).chain([owner.id]).collect();
    let mut answers = [exact?, begins?];
    for claim in answers.iter_mut().flat_map(|answer| answer.claims.drain(..)) {
        if seen.insert(claim.id) {
            lines.push(claim.into());
        }
    }
    Ok((lines, answers))
}

/// Beside what was found: that there is more, and who has not said whether there is.
async fn say_shortfalls(answers: &[Claims], out: &Out) -> Answer {
    let more = answers.iter().any(|answer| answer.more);
    let more = more.then(|| "more than is shown: the seeds have others that fit".to_owned());
    let missing = answers.iter().find(|answer| answer.answered < answer.asked).map(|answer| {
        let missing: Vec<_> = answer.missing.iter().map(|seed| Shown::line(seed).to_string()).collect();
        format!("maybe not all: {}; missing: {}", answer.shortfall(), missing.join(", "))
    });
    for text in more.into_iter().chain(missing) {
        out.say(Line::Notice(NoticeLine { code: NoticeCode::NotAllShown, text, peer: None, name: None })).await?;
    }
    Ok(())
}

/// A part of its name or petname, or the beginning of its id.
fn fits(peer: &PeerView, words: &Name) -> bool {
    let key = words.key();
    let mut names = [Some(&peer.name), peer.petname.as_ref()].into_iter().flatten();
    names.any(|name| name_key(name).contains(&key)) || peer.id.to_string().starts_with(&key)
}

/// `seed`.
pub(super) async fn seed<N: Node>(owner: &Owner<N>, call: Seed, out: &Out) -> Answer {
    let Seed { action, name: looked_up, seed: only, timeout } = call;
    if let Some(seed) = &only {
        check_seed(seed).map_err(|why| ErrorLine::new("bad-seed", 2, format!("bad seed: {seed}: {why}")).hint(SEED_HINT))?;
    }
    let timeout = look(timeout);
    match (action, looked_up) {
        (SeedAction::Status, None) => {
            let seeds = views(owner, Command::Seeds { only, timeout }, out).await?;
            let unusable = named(&seeds, |seed| seed.state != SeedState::Ok);
            if unusable.is_empty() {
                return Ok(());
            }
            Err(ErrorLine { hint: mend(&seeds), ..ErrorLine::new("seed-unusable", 9, unusable) }.into())
        }
        (SeedAction::Register, None) => {
            let seeds = views(owner, Command::Register { on: true, only, timeout }, out).await?;
            if seeds.iter().any(|seed| seed.registered) {
                return Ok(());
            }
            let text = format!("not registered: {}", named(&seeds, |_| true));
            Err(ErrorLine { hint: mend(&seeds), ..ErrorLine::new("not-registered", 9, text) }.into())
        }
        (SeedAction::Unregister, None) => {
            let seeds = views(owner, Command::Register { on: false, only, timeout }, out).await?;
            let left = named(&seeds, |seed| seed.registered || seed.unheard);
            if left.is_empty() {
                return Ok(());
            }
            let error = ErrorLine::new("still-registered", 9, format!("not unregistered: {left}"));
            Err(error.hint("an entry there is not renewed any more, and lapses within 75 s").into())
        }
        (SeedAction::List, None) => claimed(owner, Question::Prefix(String::new()), only, timeout, None, out).await,
        (SeedAction::Lookup, Some(word)) => {
            let question = match link(&word) {
                Ok(ContactLink { id, .. }) => Question::Id(id),
                Err(_) => Question::Name(name(&word)?.as_str().to_owned()),
            };
            claimed(owner, question, only, timeout, Some(word), out).await
        }
        (SeedAction::Lookup, None) => Err(ErrorLine::new("bad-request", 2, "seed: lookup needs a name").into()),
        (_, Some(_)) => Err(ErrorLine::new("bad-request", 2, "seed: only lookup takes a name").into()),
    }
}

/// Asks something about the seeds themselves, and says how they are.
async fn views<N: Node>(owner: &Owner<N>, command: Command, out: &Out) -> Result<Vec<SeedView>, Stop> {
    let seeds = match ask(owner, command).await? {
        Reply::Seeds(seeds) => seeds,
        reply => return Err(unexpected(&reply)),
    };
    for seed in &seeds {
        out.say(Line::Seed(seed.clone().into())).await?;
    }
    if seeds.is_empty() { Err(no_seeds().into()) } else { Ok(seeds) }
}

/// `192.0.2.1:17118 is unreachable (no answer)`, for each of these.
fn named(seeds: &[SeedView], which: impl Fn(&SeedView) -> bool) -> String {
    let each = seeds.iter().filter(|seed| which(seed)).map(|seed| {
        let addr = &seed.seed;
        let state = match seed.state {
            SeedState::Ok => match &seed.reason {
                Some(why) => return format!("{addr} says that {}", Shown::line(why)),
                None => "in use",
            },
            SeedState::Unreachable => "unreachable",
            SeedState::BadSignature => "not to be trusted",
            SeedState::OldVersion => "of another version",
            SeedState::WrongClock => "another time than here",
        };
        let why = seed.reason.as_ref().map(|why| format!(" ({})", Shown::line(why))).unwrap_or_default();
        format!("{addr} is {state}{why}")
    });
    each.collect::<Vec<_>>().join(", ")
}

/// What to do about the first of them that cannot be used.
fn mend(seeds: &[SeedView]) -> Option<String> {
    let hint = seeds.iter().find_map(|seed| match seed.state {
        SeedState::Ok => None,
        SeedState::Unreachable if seed.addr.is_none() => Some("is its name written right, and does the DNS work here?"),
        SeedState::Unreachable => Some("does it run, and is UDP let out here and let in there?"),
        SeedState::BadSignature => Some("use another seed: p2pchat-udp config via HOST:PORT"),
        SeedState::OldVersion => Some("the older of the two must be renewed: this p2pchat-udp, or the seed's"),
        SeedState::WrongClock => Some("set the clock of this machine, or the seed's"),
    });
    hint.map(str::to_owned)
}

fn no_seeds() -> ErrorLine {
    ErrorLine::new("no-seeds", 2, "no seeds: none is set and none was named")
        .hint("name one with --via HOST:PORT; for good: p2pchat-udp config via HOST:PORT")
}

/// Asks the seeds, and says what they have. That nobody is listed is an answer; that somebody's `word` is
/// not found is not.
async fn claimed<N: Node>(
    owner: &Owner<N>,
    question: Question,
    only: Option<String>,
    timeout: Duration,
    word: Option<String>,
    out: &Out,
) -> Answer {
    let answer = claims(owner, question, only, timeout).await?;
    let shortfall = answer.shortfall();
    let Claims { asked, answered, .. } = answer;
    let found = !answer.claims.is_empty();
    for claim in &answer.claims {
        out.say(Line::Peer(claim.clone().into())).await?;
    }
    match word {
        _ if asked == 0 => Err(no_seeds().into()),
        _ if found => say_shortfalls(&[answer], out).await,
        None if answered == asked => Ok(()),
        None => Err(ErrorLine::new("not-found", 9, format!("no list: {shortfall}")).hint(SILENT_HINT).into()),
        Some(word) if answered == asked => {
            let text = format!("no such peer: {word} ({answered} of {asked} seeds)");
            Err(ErrorLine::new("no-such-peer", 3, text).hint("seeds know whole names and ids, and nobody who is hidden").into())
        }
        Some(word) => Err(ErrorLine::new("not-found", 9, format!("not found: {word} ({shortfall})")).hint(SILENT_HINT).into()),
    }
}

async fn claims<N: Node>(owner: &Owner<N>, question: Question, only: Option<String>, timeout: Duration) -> Result<Claims, Stop> {
    match ask(owner, Command::Ask { question, only, timeout }).await? {
        Reply::Claims(claims) => Ok(claims),
        reply => Err(unexpected(&reply)),
    }
}

fn look(timeout: Option<Span>) -> Duration {
    timeout.map_or(LOOK, |span| span.0)
}

pub(super) fn name(text: &str) -> Result<Name, ErrorLine> {
    Name::parse(text).map_err(|why| ErrorLine::new("bad-name", 2, format!("bad name: {text}: {why}")))
}
