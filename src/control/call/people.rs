//! The arguments of calls about people: contacts, those who ask to write, what they are told, and whom seeds know.

use std::ops::Not;

use serde::{Deserialize, Serialize};

use super::Span;
use crate::node::command;

/// `contact`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contact {
    /// What to do.
    #[serde(default)]
    pub action: ContactAction,
    /// Whom: of `add` a link or a full id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Of `add` and `rename`: what I call it; absent with `rename`: what it calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub petname: Option<String>,
    /// Of `receipts`: whether it is told what I have read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<Told>,
    /// Of `verify`: its owner and I have the same words.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub yes: bool,
}

/// What `contact` does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContactAction {
    /// Lists them.
    #[default]
    List,
    /// Adds one.
    Add,
    /// Changes what I call it.
    Rename,
    /// Shows the words by which its owner and I compare our keys, or notes that they are the same.
    Verify,
    /// Tells it what I have read, or does not.
    Receipts,
    /// Has nothing more of it.
    Block,
    /// Has it again.
    Unblock,
    /// Makes it a stranger.
    Remove,
}

/// `ping`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ping {
    /// Whom.
    pub peer: String,
    /// How often; default 5, at most 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// How long to wait for the first answer; default 3 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

/// `requests`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requests {
    /// What to do.
    #[serde(default)]
    pub action: RequestsAction,
    /// Whose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
}

/// What `requests` does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RequestsAction {
    /// Lists them.
    #[default]
    List,
    /// It may write: a contact.
    Accept,
    /// It may not, now or later.
    Refuse,
}

/// `allow`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allow {
    /// Whom.
    pub to: command::Allow,
}

/// `receipts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipts {
    /// They are.
    pub on: bool,
}

/// Whether one contact is told what I have read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    /// It is.
    On,
    /// It is not.
    Off,
    /// As all are.
    Default,
}

impl Told {
    /// As the contact's row says it.
    pub fn of(receipts: Option<bool>) -> Self {
        receipts.map_or(Self::Default, |on| if on { Self::On } else { Self::Off })
    }

    /// The same the other way round.
    pub fn receipts(self) -> Option<bool> {
        match self {
            Self::On => Some(true),
            Self::Off => Some(false),
            Self::Default => None,
        }
    }
}

/// `seed`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seed {
    /// What to do.
    #[serde(default)]
    pub action: SeedAction,
    /// Whom to look up: a whole name, a full id or a link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Only this seed, `HOST:PORT`, whether or not it is in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<String>,
    /// How long to wait for answers; default 3 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

/// What `seed` does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeedAction {
    /// Asks how they are.
    #[default]
    Status,
    /// Asks who is listed there.
    List,
    /// Asks for one name or id.
    Lookup,
    /// Has my record there from now on.
    Register,
    /// Takes it away, until the next start.
    Unregister,
}
