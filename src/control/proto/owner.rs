//! What an owner says of itself: how it is, and its settings.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Allow;
use crate::{
    store::{Progress, Upkeep},
    text::Shown,
};

/// `owner`: how the owner is (`status`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OwnerLine {
    /// Of the owner.
    pub pid: u32,
    /// `shell`, `daemon` or `command`.
    pub mode: String,
    /// Of the program.
    pub version: String,
    /// Since it was ready.
    pub uptime_s: u64,
    /// UDP port.
    pub port: u16,
    /// Sessions open now.
    pub sessions: usize,
    /// Peers heard on this LAN now.
    pub neighbours: usize,
    /// Seeds that have our record now.
    #[serde(default)]
    pub seeds: usize,
    /// Messages that wait for a receipt.
    pub outbox: u64,
    /// Who may write to us.
    #[serde(default)]
    pub allow: Allow,
    /// Strangers who ask to.
    #[serde(default)]
    pub requests: usize,
    /// Contacts are told what we have read.
    #[serde(default)]
    pub read_receipts: bool,
    /// Size of the profile's data.
    pub store_bytes: u64,
    /// The last commit's error, where it failed.
    pub commit_error: Option<String>,
    /// What is done to the store meanwhile; absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upkeep: Option<UpkeepLine>,
    /// Datagrams that made no sense to us.
    pub dropped: u64,
    /// What it runs with, of the settings that count from its start on.
    #[serde(default)]
    pub settings: BTreeMap<String, Value>,
}

/// What an owner does to its store while nobody waits for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpkeepLine {
    /// `retention`: old messages are removed; `compaction`: the file is written anew.
    pub what: String,
    /// Rows that were dealt with.
    pub done: u64,
    /// Of about so many.
    pub of: u64,
}

impl From<Progress> for UpkeepLine {
    fn from(progress: Progress) -> Self {
        let what = match progress.what {
            Upkeep::Retention => "retention",
            Upkeep::Compaction => "compaction",
        };
        Self { what: what.to_owned(), done: progress.done, of: progress.of }
    }
}

impl UpkeepLine {
    /// As people read it.
    pub fn words(&self) -> String {
        let what = if self.what == "retention" { "removing old messages" } else { "writing the file anew" };
        format!("{what}, {} %", self.done * 100 / self.of.max(1))
    }
}

/// `config`: a setting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigLine {
    /// Which.
    pub key: String,
    /// Its value; `null` where it has none.
    pub value: Value,
    /// `flag`, `environment`, `file` or `default`.
    pub origin: String,
    /// Where it was just set: from when on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
}

/// From when on a setting counts that was just set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Counts {
    /// From now on.
    Now,
    /// From the owner's next start on.
    OwnerStart,
    /// For whoever starts from now on: the next shell, or command.
    NextStart,
    /// Not for this owner: an option or a variable of its start says something else.
    Overruled,
}

impl ConfigLine {
    /// As people read it.
    pub fn words(&self) -> String {
        let value = match &self.value {
            Value::String(text) => format!("{:?}", Shown::line(text).as_str()),
            Value::Null => "-".to_owned(),
            other => other.to_string(),
        };
        format!("{:<13} {value} ({})", self.key, self.origin)
    }

    /// From when on it counts, as people read it; nothing where that is now.
    pub fn later(&self) -> Option<String> {
        let key = &self.key;
        match self.counts? {
            Counts::Now => None,
            Counts::OwnerStart => Some(format!("{key} counts from the owner's next start; `p2pchat-udp stop` ends this one")),
            Counts::NextStart => Some(format!("{key} counts for the next shell, or command")),
            Counts::Overruled => {
                Some(format!("{key}: this owner was started with another one, by {}; the file counts without that", self.origin))
            }
        }
    }
}
