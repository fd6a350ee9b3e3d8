//! One seed: where it is, how it is, and what it has of ours.

use std::{net::SocketAddr, time::Duration};

use super::{
    farewell::Farewell,
    home::{Home, Token},
};
use crate::{
    clock::Instant,
    node::{
        command::{SeedState, SeedView},
        event::NoticeCode,
    },
    text::{Name, Shown},
    wire::phonebook::{RelayStatus, Status},
};

/// A name that did not resolve is looked up again after this, and one that did not answer as well.
const RESOLVE_AGAIN: Duration = Duration::from_secs(30);
/// Addresses of one seed at most.
const ADDRS_MAX: usize = 8;
/// Clocks that differ by more than this many seconds make records useless.
pub(super) const CLOCK_ERROR_MAX: u64 = 600;

/// What is known about where a seed is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resolve {
    /// Somebody should look the name up.
    Wanted,
    /// Somebody does.
    Asked,
    /// Known since then; `literal`: it was an address all along.
    Known { at: Instant, literal: bool },
    /// Not known, and looked up again then.
    Failed { again: Instant },
}

/// A seed.
#[derive(Debug)]
pub(super) struct Seed {
    pub(super) name: String,
    /// Named by the settings, and not by a command.
    pub(super) in_use: bool,
    /// A command asked for our record there: it is one beside the three.
    pub(super) is_named: bool,
    /// A command took our record away from there, and from nowhere else.
    pub(super) is_shunned: bool,
    /// It relays for us.
    pub(super) relays: bool,
    pub(super) home: Home,
    pub(super) farewell: Farewell,
    /// Why it did not take our record, or our farewell, when it was told last.
    pub(super) refusal: Option<String>,
    pub(super) token: Option<Token>,
    /// Our record is there until then, whether or not it is wanted there any more.
    pub(super) holds_until: Option<Instant>,
    /// Where it saw us last.
    pub(super) seen: Option<SocketAddr>,
    resolve: Resolve,
    addrs: Vec<SocketAddr>,
    current: usize,
    state: SeedState,
    reason: Option<String>,
    /// What was told of it last, where that was bad news.
    told: Option<NoticeCode>,
    label: String,
    software: String,
    uptime: Duration,
    records: u64,
    load: u16,
    fellows: Vec<SocketAddr>,
    relay: Option<RelayStatus>,
}

impl Seed {
    pub(super) fn new(name: &str, in_use: bool, now: Instant) -> Self {
        let literal: Option<SocketAddr> = name.parse().ok();
        Self {
            name: name.to_owned(),
            in_use,
            is_named: false,
            is_shunned: false,
            relays: false,
            home: Home::Idle,
            farewell: Farewell::None,
            refusal: None,
            token: None,
            holds_until: None,
            seen: None,
            resolve: if literal.is_some() { Resolve::Known { at: now, literal: true } } else { Resolve::Wanted },
            addrs: literal.into_iter().collect(),
            current: 0,
            state: SeedState::Unreachable,
            reason: None,
            told: None,
            label: String::new(),
            software: String::new(),
            uptime: Duration::ZERO,
            records: 0,
            load: 0,
            fellows: Vec::new(),
            relay: None,
        }
    }

    /// Where to ask it now; `None` as long as nobody knows.
    pub(super) fn addr(&self) -> Option<SocketAddr> {
        self.addrs.get(self.current).copied()
    }

    /// Nobody knows where it is, and nobody is looking.
    pub(super) fn is_lost(&self) -> bool {
        self.addrs.is_empty() && matches!(self.resolve, Resolve::Failed { .. })
    }

    /// It is used for more than one question: where it is should be known.
    const fn is_kept(&self) -> bool {
        self.in_use || self.is_named
    }

    /// It is not in use, has nothing of ours, and nothing is said to it of that.
    pub(super) fn is_idle(&self) -> bool {
        let is_left = matches!(self.farewell, Farewell::None | Farewell::Heard);
        !self.is_kept() && !self.relays && is_left && self.home == Home::Idle && self.holds_until.is_none()
    }

    /// It answered last time, or was not asked yet.
    pub(super) fn is_promising(&self) -> bool {
        self.state == SeedState::Ok || self.reason.is_none()
    }

    /// It answered last time.
    pub(super) fn is_well(&self) -> bool {
        self.state == SeedState::Ok
    }

    pub(super) fn view(&self) -> SeedView {
        SeedView {
            seed: self.name.clone(),
            addr: self.addr(),
            state: self.state,
            reason: self.reason.as_ref().or(self.refusal.as_ref()).cloned(),
            name: self.label.clone(),
            software: self.software.clone(),
            uptime: self.uptime,
            records: self.records,
            load: self.load,
            fellows: self.fellows.clone(),
            relay: self.relay,
            registered: self.home.is_held(),
            unheard: self.is_unheard(),
        }
    }

    pub(super) fn poll_resolve(&mut self) -> Option<String> {
        (self.resolve == Resolve::Wanted).then(|| {
            self.resolve = Resolve::Asked;
            self.name.clone()
        })
    }

    pub(super) fn on_resolved(&mut self, now: Instant, mut addrs: Vec<SocketAddr>) {
        addrs.truncate(ADDRS_MAX);
        // IPv4 first: that is where the NATs are which the seed's sight of us helps through.
        addrs.sort_by_key(SocketAddr::is_ipv6);
        if self.addr().is_none_or(|addr| !addrs.contains(&addr)) {
            self.current = 0;
            self.home.on_lost(now);
            self.holds_until = None;
        } else {
            self.current = addrs.iter().position(|addr| Some(*addr) == self.addr()).unwrap_or(0);
        }
        self.addrs = addrs;
        self.resolve = Resolve::Known { at: now, literal: false };
    }

    pub(super) fn on_unresolved(&mut self, now: Instant) {
        self.resolve = Resolve::Failed { again: now + RESOLVE_AGAIN };
    }

    /// It was silent: another of its addresses, or another address under its name, may answer.
    pub(super) fn on_silence(&mut self, now: Instant) {
        self.current = if self.addrs.is_empty() { 0 } else { (self.current + 1) % self.addrs.len() };
        if let Resolve::Known { at, literal: false } = self.resolve
            && now.since(at) >= RESOLVE_AGAIN
        {
            self.resolve = Resolve::Wanted;
        }
    }

    /// Somebody asks for it: a name that did not resolve may by now.
    pub(super) fn on_wanted(&mut self) {
        if matches!(self.resolve, Resolve::Failed { .. }) {
            self.resolve = Resolve::Wanted;
        }
    }

    /// Everything that waited for better times is tried now.
    pub(super) fn on_network(&mut self, now: Instant) {
        self.on_wanted();
        self.home.on_network(now);
    }

    pub(super) fn on_time(&mut self, now: Instant) {
        if matches!(self.resolve, Resolve::Failed { again } if again <= now && self.is_kept()) {
            self.resolve = Resolve::Wanted;
        }
        // By now our record has lapsed there.
        self.holds_until.take_if(|until| *until <= now);
        if matches!(self.farewell, Farewell::Unheard { until } if until <= now) {
            self.farewell = Farewell::None;
        }
    }

    pub(super) fn poll_timeout(&self, is_registering: bool) -> Option<Instant> {
        let again = match self.resolve {
            Resolve::Failed { again } if self.is_kept() => Some(again),
            _ => None,
        };
        let is_home = is_registering && !self.is_shunned && (self.is_kept() || self.relays) && self.addr().is_some();
        let home = self.home.deadline().filter(|_| is_home);
        let lapsed = match self.farewell {
            Farewell::Unheard { until } => Some(until),
            _ => None,
        };
        again.into_iter().chain(home).chain(lapsed).min()
    }

    // --- how it is

    /// It answered well. What to tell, where it was bad before.
    pub(super) fn on_reachable(&mut self) -> Option<(NoticeCode, String)> {
        // What it did wrong stays said until it is asked how it is.
        if self.state == SeedState::Unreachable {
            (self.state, self.reason) = (SeedState::Ok, None);
        }
        let was_silent = self.told.take_if(|told| *told == NoticeCode::SeedUnreachable).is_some();
        was_silent.then(|| (NoticeCode::SeedBack, format!("the seed {} answers again", Shown::line(&self.name))))
    }

    /// It is not as it should be. What to tell, where nobody was told yet.
    pub(super) fn on_bad(&mut self, state: SeedState, why: String) -> Option<(NoticeCode, String)> {
        let (code, text) = match state {
            SeedState::Ok => return None,
            SeedState::Unreachable => (NoticeCode::SeedUnreachable, "cannot be reached"),
            SeedState::BadSignature => (NoticeCode::SeedBadSignature, "cannot be trusted"),
            SeedState::OldVersion => (NoticeCode::SeedOldVersion, "cannot be used"),
            SeedState::WrongClock => (NoticeCode::SeedWrongClock, "cannot be used"),
        };
        let text = format!("the seed {} {text}: {}", Shown::line(&self.name), Shown::line(&why));
        (self.state, self.reason) = (state, Some(why));
        let is_news = self.in_use && self.told != Some(code);
        is_news.then(|| {
            self.told = Some(code);
            (code, text)
        })
    }

    pub(super) fn on_status(&mut self, status: &Status<'_>) {
        self.label = Name::parse(status.name).map(|name| name.to_string()).unwrap_or_default();
        status.software.clone_into(&mut self.software);
        self.uptime = Duration::from_secs(status.uptime);
        (self.records, self.load) = (status.records, status.load);
        self.fellows.clone_from(&status.seeds);
        self.relay = Some(status.relay).filter(|relay| relay.rate_max > 0);
        // Who handed on a forgery once is not better for being well.
        if self.state != SeedState::BadSignature {
            (self.state, self.reason) = (SeedState::Ok, None);
        }
    }
}
