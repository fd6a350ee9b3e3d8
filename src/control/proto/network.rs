//! Lines about the network: answers to pings, and what `doctor` found.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::PathKind;
use crate::{id::PeerId, text::Shown};

/// `pong`: one question of `ping`, answered or not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PongLine {
    /// Who was asked.
    pub peer: PeerId,
    /// What it is called here.
    pub name: String,
    /// Which question, from 1.
    pub n: u32,
    /// From the question to the answer; `null`: none came in time.
    pub rtt_ms: Option<f64>,
    /// Over what it is reached now.
    pub path: PathKind,
    /// Where.
    pub addr: Option<SocketAddr>,
}

/// `ping`: all of them together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PingLine {
    /// Who was asked.
    pub peer: PeerId,
    /// What it is called here.
    pub name: String,
    /// Questions.
    pub asked: u32,
    /// Answers.
    pub answered: u32,
    /// The shortest time to an answer.
    pub min_ms: Option<f64>,
    /// The mean of them.
    pub avg_ms: Option<f64>,
    /// The longest one.
    pub max_ms: Option<f64>,
    /// Packets that we sent meanwhile.
    pub sent: u64,
    /// Of those, lost on the way.
    pub lost: u64,
}

/// `check`: one thing that `doctor` looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckLine {
    /// Which thing; the manual lists all.
    pub check: String,
    /// How it is.
    pub result: CheckResult,
    /// What was found, sanitized.
    pub text: String,
    /// What mends it, where something does.
    pub fix: Option<String>,
}

impl PongLine {
    /// For people.
    pub fn words(&self) -> String {
        match self.rtt_ms {
            Some(ms) => format!("{}: {ms:.2} ms", self.n),
            None => format!("{}: no answer", self.n),
        }
    }
}

impl PingLine {
    /// For people.
    pub fn words(&self) -> String {
        let times = match (self.min_ms, self.avg_ms, self.max_ms) {
            (Some(min), Some(avg), Some(max)) => {
                format!("; {min:.2} ms at least, {avg:.2} on average, {max:.2} at most")
            }
            _ => String::new(),
        };
        let lost = if self.sent > 0 { format!("; {} of {} packets lost", self.lost, self.sent) } else { String::new() };
        format!("{}: {} of {} answered{times}{lost}", Shown::line(&self.name), self.answered, self.asked)
    }
}

impl CheckLine {
    /// For people: what mends it on a line of its own.
    pub fn words(&self) -> String {
        let result = match self.result {
            CheckResult::Ok => "ok",
            CheckResult::Warn => "warn",
            CheckResult::Fail => "FAIL",
        };
        let found = format!("{result:<4}  {:<10}  {}", Shown::line(&self.check), Shown::line(&self.text));
        match &self.fix {
            Some(fix) => format!("{found}\n{:18}mend: {}", "", Shown::line(fix)),
            None => found,
        }
    }
}

/// How a checked thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckResult {
    /// As it should be.
    Ok,
    /// It may be meant so, and keeps somebody from somebody.
    Warn,
    /// It keeps people from each other.
    Fail,
}
