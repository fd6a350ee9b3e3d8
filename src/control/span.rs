//! A length of time, as people write it.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// The longest [`Span`], a hundred years: added to a moment of any clock it is still a moment.
pub const SPAN_MAX: Duration = Duration::from_secs(36_525 * 86_400);

/// A length of time as people write it: `500ms`, `30s`, `5m`, `2h`, `3d`; a bare number is seconds.
/// At most [`SPAN_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// Why a text is no [`Span`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpanError {
    /// It is something else.
    #[error("a length of time is needed, like 500ms, 30s, 5m, 2h or 3d")]
    NotASpan,
    /// It is longer than [`SPAN_MAX`].
    #[error("a length of time is at most 100 years (36525d)")]
    TooLong,
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let seconds_each = match unit {
            "ms" => 0.001,
            "" | "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return Err(SpanError::NotASpan),
        };
        let number: f64 = number.parse().map_err(|_| SpanError::NotASpan)?;
        let seconds = number * seconds_each;
        if seconds > SPAN_MAX.as_secs_f64() {
            return Err(SpanError::TooLong);
        }
        Duration::try_from_secs_f64(seconds).map(Self).map_err(|_| SpanError::NotASpan)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        if ms.is_multiple_of(1_000) { write!(f, "{}s", ms / 1_000) } else { write!(f, "{ms}ms") }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => text.parse().map_err(serde::de::Error::custom),
            Value::Number(seconds) => seconds.to_string().parse().map_err(serde::de::Error::custom),
            _ => Err(serde::de::Error::custom(SpanError::NotASpan)),
        }
    }
}
