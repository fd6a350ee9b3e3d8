//! The history outside of a profile: what a line of an exported file is, and what came of importing some.

use serde::{Deserialize, Serialize};

use super::{HistoryLine, Line};
use crate::text::check_text;

/// What this version writes.
const VERSION: u64 = 1;

/// A line of an exported file: a `history` line with its version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExportLine {
    /// How to read it.
    pub v: u64,
    /// What it says.
    #[serde(flatten)]
    line: Line,
}

/// Why a line cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum BadLine {
    /// Of no version, or no JSON at all.
    #[error("not an exported line: {0}")]
    Malformed(serde_json::Error),
    /// A later version has written it.
    #[error("exported by a later version (v {0}, this one knows {VERSION})")]
    Newer(u64),
    /// Something else than a message.
    #[error("not a message")]
    NoMessage,
    /// No message has such a text.
    #[error("{0}")]
    Text(&'static str),
}

impl ExportLine {
    /// The line as it is written to a file.
    pub fn new(line: HistoryLine) -> Self {
        Self { v: VERSION, line: Line::History(HistoryLine { n: None, ..line }) }
    }

    /// One JSON object, without a newline.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a line has string keys and finite numbers only")
    }

    /// What a line of a file says.
    pub fn parse(line: &[u8]) -> Result<HistoryLine, BadLine> {
        #[derive(Deserialize)]
        struct Version {
            v: u64,
        }
        let Version { v } = serde_json::from_slice(line).map_err(BadLine::Malformed)?;
        if v != VERSION {
            return Err(BadLine::Newer(v));
        }
        let Self { line, .. } = serde_json::from_slice(line).map_err(BadLine::Malformed)?;
        let Line::History(line) = line else { return Err(BadLine::NoMessage) };
        check_text(&line.text).map_err(BadLine::Text)?;
        Ok(line)
    }
}

/// `imported`: what came of some lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedLine {
    /// New in the history.
    pub added: usize,
    /// There already.
    pub known: usize,
    /// Of a whole file: lines that cannot be imported.
    #[serde(default)]
    pub bad: usize,
}
