//! What people write: texts and names, and [`Shown`], the only type that a screen, a log line or an
//! error may carry of what a peer wrote. Where it is printed, and in which colour, does not live here.

use std::{collections::BTreeSet, fmt, iter};

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::id::PeerId;

/// Bytes of a text at most.
pub const TEXT_LEN_MAX: usize = 1_048_576;
/// Bytes of a name at most.
pub const NAME_LEN_MAX: usize = 64;
/// Marks without a width of their own that may stand on one character; what is above is counted, not
/// shown (pointed Hebrew needs 3, decomposed Vietnamese 2).
const MARKS_MAX: usize = 4;
/// What a mark stands on where its writer gave it nothing.
const DOTTED_CIRCLE: char = '\u{25cc}';
/// Columns that a tab becomes.
const TAB: &str = "    ";

/// The whole text is one that may be sent: 1 to [`TEXT_LEN_MAX`] bytes and no NUL. The error says what
/// is wrong with it.
pub fn check_text(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("the text is empty");
    }
    if text.len() > TEXT_LEN_MAX {
        return Err("the text is longer than 1,048,576 bytes");
    }
    if text.contains('\0') {
        return Err("the text has a NUL byte in it");
    }
    Ok(())
}

/// A text made harmless for a terminal: on one line, without control, escape, format, bidi and
/// separator characters (they are shown as `\x1b`, `\u{202e}`), without marks that pile up. Right-to-left
/// writing, emoji and the joiners that scripts need stay as they were.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Shown(String);

impl Shown {
    /// All of `text` on one line: also its line ends are escaped.
    pub fn line(text: &str) -> Self {
        Self(sanitize(text))
    }

    /// A name on one line; in quotes where what is in it could be read as the end of a name and more of a line.
    pub fn name(text: &str) -> Self {
        let name = sanitize(text);
        Self(if name.contains(['<', '>', '"']) { format!("{name:?}") } else { name })
    }

    /// Each line of `text` for itself; at least one.
    pub fn lines(text: &str) -> Vec<Self> {
        text.split('\n').map(|line| Self::line(line.strip_suffix('\r').unwrap_or(line))).collect()
    }

    /// At most `columns` columns of `text` on one line, `…` at its end where something was cut off.
    pub fn short(text: &str, columns: usize) -> Self {
        // What is cut off anyway need not be looked at: no mark makes a column out of nothing.
        let head: String = text.chars().take(columns.saturating_mul(MARKS_MAX + 1).saturating_add(1)).collect();
        let whole = sanitize(&head);
        if head.len() == text.len() && whole.width() <= columns {
            return Self(whole);
        }
        let mut out = String::new();
        for c in whole.chars() {
            out.push(c);
            // Of the string, not of its characters: a selector makes what is before it wide.
            if out.width() >= columns {
                out.pop();
                break;
            }
        }
        out.push('…');
        Self(out)
    }

    /// The text, ready to print.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Columns that it takes on a terminal.
    pub fn columns(&self) -> usize {
        self.0.width()
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What a peer calls itself, or what I call it: display text, never identity. A value of this type
/// has 1 to [`NAME_LEN_MAX`] bytes and nothing in it that [`Shown`] would change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// Why a text is not a [`Name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing in it but spaces.
    #[error("a name needs at least one character")]
    Empty,
    /// More than [`NAME_LEN_MAX`] bytes.
    #[error("a name has at most 64 bytes")]
    TooLong,
    /// Control, format or line characters, or marks without end.
    #[error("a name has no control, format or line characters")]
    Characters,
    /// The beginning is kept for rooms, devices, commands, options and links.
    #[error("a name does not begin with # @ / - nor p2pchat:")]
    Beginning,
}

impl Name {
    /// A name as somebody wrote it: spaces are folded to one and trimmed.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        // Bounds the work before anything is built; folding can only make it shorter.
        if text.len() > 4 * NAME_LEN_MAX {
            return Err(NameError::TooLong);
        }
        if text.chars().any(|c| c.is_control() || is_format(c)) {
            return Err(NameError::Characters);
        }
        let name = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > NAME_LEN_MAX {
            return Err(NameError::TooLong);
        }
        if sanitize(&name) != name {
            return Err(NameError::Characters);
        }
        if name.starts_with(['#', '@', '/', '-']) || name.get(..8).is_some_and(|s| s.eq_ignore_ascii_case("p2pchat:")) {
            return Err(NameError::Beginning);
        }
        Ok(Self(name))
    }

    /// A name that came from the wire; where it is none, the short id takes its place.
    pub fn or_short_id(text: &str, id: &PeerId) -> Self {
        Self::parse(text).unwrap_or_else(|_| Self(id.short()))
    }

    /// The name. Safe to print.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What two names are compared by.
    pub fn key(&self) -> String {
        name_key(&self.0)
    }

    /// What this name may be taken for by a person who reads it: two names that share one of these are told apart by ids.
    /// Skeletons of UTS 39, without regard to case and accents, and with I, l and 1 as one; and the `key`. They are for
    /// telling people apart on a screen, and say nothing about who is meant.
    pub fn looks(&self) -> BTreeSet<String> {
        let key = self.key();
        // A letter and its capital may each look like another one: в is no b, and В is a B.
        BTreeSet::from([look(&self.0), look(&key), key])
    }
}

fn look(name: &str) -> String {
    let skeleton = |name: &str| unicode_security::skeleton(name).collect::<String>();
    let small = skeleton(&name_key(&skeleton(name)));
    let bare = small.nfd().filter(|c| !is_mark(*c));
    bare.map(|c| if matches!(c, 'i' | '1' | '|' | 'ı') { 'l' } else { c }).collect()
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What names are compared by: NFC, without regard to case.
pub fn name_key(name: &str) -> String {
    // By way of upper case: ß meets SS, and the two small sigmas meet each other.
    name.nfc().flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfc().collect()
}

fn sanitize(text: &str) -> String {
    if text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut marks = 0;
    let mut before = None;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if is_mark(c) && !is_selector(c) {
            marks += 1;
            if marks <= MARKS_MAX {
                if before.is_none() {
                    out.push(DOTTED_CIRCLE);
                }
                out.push(c);
            }
            // A mark is looked through: what stands before it decides about joiners.
            before = before.or(Some(DOTTED_CIRCLE));
            continue;
        }
        close_marks(&mut out, &mut marks);
        if c == '\t' {
            out.push_str(TAB);
            before = Some(' ');
        } else if c == '\u{1f3f4}' && flag_tags(rest.as_str()) > 0 {
            let tags = flag_tags(rest.as_str());
            out.push(c);
            out.extend(rest.by_ref().take(tags));
            before = Some(c);
        } else if !is_invisible(c) || is_sensible(before, c, rest.clone().next()) {
            out.push(c);
            before = Some(c);
        } else {
            escape(&mut out, c);
            before = Some('}');
        }
    }
    close_marks(&mut out, &mut marks);
    out
}

/// Says how many marks were left out.
fn close_marks(out: &mut String, marks: &mut usize) {
    if *marks > MARKS_MAX {
        out.push_str(&format!("[+{} marks]", *marks - MARKS_MAX));
    }
    *marks = 0;
}

fn escape(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        c if u32::from(c) < 0x100 => out.push_str(&format!("\\x{:02x}", u32::from(c))),
        c => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
    }
}

/// Takes no column and stands on what is before it.
fn is_mark(c: char) -> bool {
    !is_format(c) && !c.is_control() && (c.width() == Some(0) || is_combining_mark(c) && c.width() != Some(1))
}

/// Chooses between the forms of the character before it.
const fn is_selector(c: char) -> bool {
    matches!(c, '\u{180b}'..='\u{180d}' | '\u{180f}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

/// Nobody sees it by itself, or it moves what others see: it is escaped, unless it makes sense where
/// it stands.
fn is_invisible(c: char) -> bool {
    c.is_control() || is_format(c) || is_selector(c) || is_filler(c) || is_nonchar(c)
}

/// General category Cf of Unicode 17, the line and paragraph separators, and all tags.
const fn is_format(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
        | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e00ff}' | '\u{e01f0}'..='\u{e0fff}')
}

/// Blank letters: nothing is seen where they stand.
const fn is_filler(c: char) -> bool {
    matches!(c, '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}')
}

/// No character, now or ever (The Unicode Standard, 23.7).
fn is_nonchar(c: char) -> bool {
    matches!(c, '\u{fdd0}'..='\u{fdef}') || u32::from(c) & 0xfffe == 0xfffe
}

/// An invisible character where people's writing needs it: between the parts of an emoji, behind a
/// letter that has more than one form, between letters that would join.
fn is_sensible(before: Option<char>, c: char, after: Option<char>) -> bool {
    let Some(before) = before else { return false };
    match c {
        '\u{fe0e}' | '\u{fe0f}' => is_pictograph(before) || matches!(before, '0'..='9' | '#' | '*'),
        '\u{fe00}'..='\u{fe02}' | '\u{e0100}'..='\u{e01ef}' => is_ideograph(before),
        '\u{180b}'..='\u{180d}' | '\u{180f}' => is_mongolian(before),
        '\u{200c}' => after.is_some_and(|after| is_cursive(before) && is_cursive(after)),
        '\u{200d}' => after.is_some_and(|after| {
            is_cursive(before) && is_cursive(after)
                || (is_pictograph(before) || before == '\u{fe0f}') && is_pictograph(after) && !is_skin_tone(after)
        }),
        // Numbers in Arabic and Syriac text are framed by these; they are visible.
        '\u{600}'..='\u{605}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}' => is_cursive(before) || before == ' ',
        _ => false,
    }
}

const fn is_pictograph(c: char) -> bool {
    matches!(c, '©' | '®' | '\u{203c}' | '\u{2049}' | '\u{2122}' | '\u{2139}' | '\u{2190}'..='\u{21ff}'
        | '\u{2300}'..='\u{23ff}' | '\u{24c2}' | '\u{25a0}'..='\u{27bf}' | '\u{2900}'..='\u{297f}' | '\u{2b00}'..='\u{2bff}'
        | '\u{3030}' | '\u{303d}' | '\u{3297}' | '\u{3299}' | '\u{1f000}'..='\u{1faff}')
        && c != DOTTED_CIRCLE
}

const fn is_skin_tone(c: char) -> bool {
    matches!(c, '\u{1f3fb}'..='\u{1f3ff}')
}

const fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
        && (c as u32) & 0xfffe != 0xfffe
}

const fn is_mongolian(c: char) -> bool {
    matches!(c, '\u{1820}'..='\u{18aa}')
}

/// Letters of scripts whose letters join or stack, so that joiners change what is read: Arabic, Syriac,
/// N'Ko and their extensions, the scripts of India, Sri Lanka and Burma, Khmer, Mongolian.
const fn is_cursive(c: char) -> bool {
    matches!(c, '\u{620}'..='\u{6ff}' | '\u{710}'..='\u{7ff}' | '\u{840}'..='\u{88f}' | '\u{8a0}'..='\u{dff}'
        | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17b3}' | '\u{1820}'..='\u{18aa}' | '\u{fb50}'..='\u{fdcf}' | '\u{fe70}'..='\u{fefc}')
        && !matches!(c, '\u{6dd}' | '\u{70f}' | '\u{8e2}')
}

/// How many of the next characters make a flag of a waving black one: the three that exist.
fn flag_tags(after: &str) -> usize {
    let tag = |c: char| char::from_u32(u32::from(c) + 0xe0000);
    for flag in ["gbeng", "gbsct", "gbwls"] {
        let tags: String = flag.chars().filter_map(tag).chain(iter::once('\u{e007f}')).collect();
        if after.starts_with(&tags) {
            return tags.chars().count();
        }
    }
    0
}

#[cfg(test)]
mod tests;
