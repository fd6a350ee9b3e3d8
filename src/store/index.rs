//! Where words stand: an inverted index of the history, so that a search reads what it finds and not everything.
//!
//! 4,096 lines, in order of commit, are a segment. Once all its lines are there they never change, so a segment is made once,
//! when the disk is idle, and never touched again; the lines behind the last one are read through. The index says where to look:
//! what is found is compared with the text itself, so nothing wrong is ever shown, and where a segment is missing or damaged its
//! lines are read instead.
//!
//! Keys are numbers alone, words stand in values only: where values are sealed the index tells nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_bytes::{ByteBuf, Bytes};

use super::{
    cells::Reading,
    history::Line,
    reader::{Damaged, ReadError},
    search::{Pattern, Search, split},
    snapshot::Snapshot,
    tables::{self, WORDS, decode, encode},
};

/// Lines of a segment.
pub(super) const SEGMENT_LINES: u64 = 4_096;
/// Bytes of a text whose words stand in the index at most; a longer one is looked at in every search.
const TEXT_LEN_MAX: usize = 16 << 10;
/// The same of all texts of a segment, which bounds the memory that making it takes.
const TEXTS_LEN_MAX: usize = 4 << 20;
/// Bytes of a word in the index at most; of a longer one, its beginning stands there.
const WORD_LEN_MAX: usize = 48;
/// Bytes from which on a block is full.
const BLOCK_LEN: usize = 4 << 10;
/// The block that says which other one begins with which word.
const HEAD: u32 = 0;
/// The block that says to which conversation each line belongs.
const NUMBERS: u32 = u32::MAX;

/// The row of a block.
pub(super) fn key(segment: u64, block: u32) -> (u32, u64) {
    (u32::try_from(segment).unwrap_or(u32::MAX), block.into())
}

/// A set of lines of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lines([u64; GROUPS]);

/// Groups of 64 lines in a segment.
const GROUPS: usize = (SEGMENT_LINES / 64) as usize;

impl Lines {
    const NONE: Self = Self([0; GROUPS]);
    const ALL: Self = Self([u64::MAX; GROUPS]);

    fn insert(&mut self, offset: u16) {
        if let Some(word) = self.0.get_mut(usize::from(offset / 64)) {
            *word |= 1 << (offset % 64);
        }
    }

    fn and(self, other: &Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at] & other.0[at]))
    }

    fn or(self, other: &Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at] | other.0[at]))
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = u16> {
        (0..SEGMENT_LINES as u16).filter(|offset| self.0[usize::from(offset / 64)] >> (offset % 64) & 1 == 1)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Head<'a> {
    /// The first word of each block, from 1 on.
    #[serde(rename = "w", borrow)]
    words: Vec<&'a str>,
    /// Lines whose words do not stand here, by their offsets.
    #[serde(rename = "l")]
    unread: Vec<u16>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Block<'a>(#[serde(borrow)] Vec<(&'a str, &'a Bytes)>);

#[derive(Debug, Serialize)]
struct OwnedBlock(Vec<(String, ByteBuf)>);

/// The rows of one segment, ready to be written.
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) rows: Vec<(u32, Vec<u8>)>,
}

/// True where the segment is there; `false` also where its head cannot be read.
pub(super) fn is_there(snapshot: &Snapshot, segment: u64) -> Result<bool, ReadError> {
    let Some(words) = open(snapshot)? else { return Ok(false) };
    match words.get(key(segment, HEAD)) {
        Ok(head) => Ok(head.is_some_and(|value| rmp_serde::from_slice::<Head<'_>>(value.value()).is_ok())),
        Err(ReadError::Row(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes a segment of the lines that are its.
pub(super) fn make(snapshot: &Snapshot, segment: u64) -> Result<Segment, ReadError> {
    let first = segment * SEGMENT_LINES;
    let history = snapshot.open(tables::HISTORY)?;
    let mut lines: BTreeMap<u16, (u32, Option<Vec<u8>>)> = BTreeMap::new();
    for entry in snapshot.open(tables::NUMBERS)?.iter()? {
        let number = entry?.key();
        for entry in history.range((number, first)..(number, first + SEGMENT_LINES))? {
            let row = entry?;
            let offset = u16::try_from(row.key().1 - first).unwrap_or_default();
            lines.insert(offset, (number, row.value().ok().map(|value| value.value().to_vec())));
        }
    }
    let (mut numbers, mut unread, mut len) = (vec![0; SEGMENT_LINES as usize], Vec::new(), 0);
    let mut found: BTreeMap<String, Vec<u16>> = BTreeMap::new();
    for (offset, (number, value)) in lines {
        numbers[usize::from(offset)] = number;
        // A damaged line is told whenever it is read.
        let Some(line) = value.as_deref().and_then(|value| rmp_serde::from_slice::<Line<'_>>(value).ok()) else {
            unread.push(offset);
            continue;
        };
        len += line.text.len();
        if line.text.len() > TEXT_LEN_MAX || len > TEXTS_LEN_MAX {
            unread.push(offset);
            continue;
        }
        for word in split(&line.text) {
            let offsets = found.entry(beginning(&word).to_owned()).or_default();
            if offsets.last() != Some(&offset) {
                offsets.push(offset);
            }
        }
    }
    Ok(Segment { number: segment, rows: rows(found, unread, &numbers) })
}

fn rows(found: BTreeMap<String, Vec<u16>>, unread: Vec<u16>, numbers: &[u32]) -> Vec<(u32, Vec<u8>)> {
    let (mut blocks, mut block, mut len) = (Vec::new(), Vec::new(), 0);
    for (word, offsets) in found {
        let offsets = pack(&offsets);
        len += word.len() + offsets.len() + 4;
        block.push((word, ByteBuf::from(offsets)));
        if len >= BLOCK_LEN {
            blocks.push(OwnedBlock(std::mem::take(&mut block)));
            len = 0;
        }
    }
    if !block.is_empty() {
        blocks.push(OwnedBlock(block));
    }
    let words = blocks.iter().filter_map(|block| block.0.first()).map(|(word, _)| word.as_str()).collect();
    let head = encode(&Head { words, unread });
    let runs: Vec<(u32, u32)> = numbers.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() as u32)).collect();
    let blocks = (1..).zip(blocks.iter().map(encode));
    [(HEAD, head), (NUMBERS, encode(&runs))].into_iter().chain(blocks).collect()
}

/// Lines of a segment in which all of the search may stand, and the conversation of each, in order.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) lines: Vec<(u64, u32)>,
}

/// Where the search may be found in a segment; `None`: nobody knows.
pub(super) fn look_up(snapshot: &Snapshot, segment: u64, search: &Search) -> Result<Option<Found>, ReadError> {
    let Some(words) = open(snapshot)? else { return Ok(None) };
    match within(&words, segment, search) {
        Ok(found) => Ok(found),
        Err(ReadError::Row(damaged)) => {
            tracing::warn!(%damaged, "lines are read instead");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

type Words = Reading<(u32, u64), &'static [u8]>;

fn open(snapshot: &Snapshot) -> Result<Option<Words>, ReadError> {
    match snapshot.open(WORDS) {
        Ok(words) => Ok(Some(words)),
        // Nothing was ever indexed here.
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn within(words: &Words, segment: u64, search: &Search) -> Result<Option<Found>, ReadError> {
    let Some(value) = words.get(key(segment, HEAD))? else { return Ok(None) };
    let head: Head<'_> = decode(WORDS.name, || format!("{:?}", (segment, HEAD)), value.value())?;
    let mut lines = Lines::ALL;
    for pattern in search.patterns() {
        lines = lines.and(&lines_of(words, segment, &head, pattern)?);
        if lines == Lines::NONE {
            break;
        }
    }
    let mut unread = Lines::NONE;
    head.unread.iter().for_each(|offset| unread.insert(*offset));
    let lines = lines.or(&unread);
    if lines == Lines::NONE {
        return Ok(Some(Found { lines: Vec::new() }));
    }
    let name = || format!("{:?}", (segment, NUMBERS));
    let missing = || Damaged { table: WORDS.name, key: name(), why: "missing".to_owned() };
    let value = words.get(key(segment, NUMBERS))?.ok_or_else(missing)?;
    let runs: Vec<(u32, u32)> = decode(WORDS.name, name, value.value())?;
    let numbers: Vec<u32> = runs
        .into_iter()
        .flat_map(|(number, run)| std::iter::repeat_n(number, run as usize))
        .take(SEGMENT_LINES as usize)
        .collect();
    let place = |offset: u16| Some((segment * SEGMENT_LINES + u64::from(offset), *numbers.get(usize::from(offset))?));
    Ok(Some(Found { lines: lines.iter().filter_map(place).filter(|(_, number)| *number > 0).collect() }))
}

/// Lines in which each word of the pattern stands.
fn lines_of(words: &Words, segment: u64, head: &Head<'_>, pattern: &Pattern) -> Result<Lines, ReadError> {
    let mut all = Lines::ALL;
    for (at, word) in pattern.words.iter().enumerate() {
        let open = pattern.open && at + 1 == pattern.words.len();
        all = all.and(&lines_with(words, segment, head, beginning(word), open || word.len() > WORD_LEN_MAX)?);
    }
    Ok(all)
}

/// Lines with this word, or where it is `open`, with any that begins so.
fn lines_with(words: &Words, segment: u64, head: &Head<'_>, word: &str, open: bool) -> Result<Lines, ReadError> {
    let mut lines = Lines::NONE;
    let first = head.words.partition_point(|first| *first <= word).saturating_sub(1);
    for (at, begin) in head.words.iter().enumerate().skip(first) {
        if *begin > word && !(open && begin.starts_with(word)) {
            break;
        }
        let block = u32::try_from(at + 1).unwrap_or(NUMBERS);
        let name = || format!("{:?}", (segment, block));
        let missing = || Damaged { table: WORDS.name, key: name(), why: "missing".to_owned() };
        let value = words.get(key(segment, block))?.ok_or_else(missing)?;
        let entries: Block<'_> = decode(WORDS.name, name, value.value())?;
        let from = entries.0.partition_point(|(there, _)| *there < word);
        let fits = |there: &str| there == word || (open && there.starts_with(word));
        for (_, offsets) in entries.0[from..].iter().take_while(|(there, _)| fits(there)) {
            unpack(offsets, |offset| lines.insert(offset));
        }
    }
    Ok(lines)
}

/// The part of a word that the index knows.
fn beginning(word: &str) -> &str {
    let end = (0..=WORD_LEN_MAX.min(word.len())).rev().find(|at| word.is_char_boundary(*at)).unwrap_or_default();
    &word[..end]
}

/// Ascending offsets as their distances, seven bits a byte.
fn pack(offsets: &[u16]) -> Vec<u8> {
    let (mut out, mut before) = (Vec::new(), 0);
    for offset in offsets {
        let mut distance = offset - before;
        before = *offset;
        while distance >= 0x80 {
            out.push((distance & 0x7f) as u8 | 0x80);
            distance >>= 7;
        }
        out.push(distance as u8);
    }
    out
}

fn unpack(bytes: &[u8], mut take: impl FnMut(u16)) {
    let (mut offset, mut distance, mut shift) = (0u16, 0u32, 0u32);
    for byte in bytes {
        distance |= u32::from(byte & 0x7f) << shift.min(21);
        shift += 7;
        if byte & 0x80 == 0 {
            offset = offset.saturating_add(u16::try_from(distance).unwrap_or(u16::MAX));
            take(offset);
            (distance, shift) = (0, 0);
        }
    }
}
