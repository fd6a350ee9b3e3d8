//! A disk in memory that writes down what is done to it, so that every moment at which it could have
//! been cut off can be made afterwards; and that fails when told. What is written is not known here.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use p2pchat_udp::store::StorageBackend;
use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;

/// A write tears at multiples of this.
const SECTOR: usize = 512;

/// What was done.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Write(u64, Arc<[u8]>),
    SetLen(u64),
    Sync,
    /// So many batches were reported committed.
    Mark(usize),
}

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    Io,
    Full,
}

#[derive(Debug, Default)]
struct Medium {
    /// What a reader sees.
    current: Vec<u8>,
    /// What is on the platter.
    durable: Vec<u8>,
    /// Not synced yet. A failed sync forgets it: the system marks such pages clean (fsyncgate).
    pending: Vec<Step>,
    steps: Vec<Step>,
    /// Operations done, reads included.
    operations: u64,
    /// From this operation on, so many fail in this way.
    fails: Option<(u64, u64, Failure)>,
    failed: u64,
}

/// The disk; a clone is the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<Medium>>);

impl Disk {
    /// One that holds `image`, all of it durable.
    pub(crate) fn holding(image: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Medium { durable: image.clone(), current: image, ..Medium::default() })))
    }

    fn medium(&self) -> MutexGuard<'_, Medium> {
        self.0.lock().expect("nothing panics with the lock held")
    }

    /// Notes that `batches` are reported committed.
    pub(crate) fn mark(&self, batches: usize) {
        self.medium().steps.push(Step::Mark(batches));
    }

    /// What was done so far.
    pub(crate) fn steps(&self) -> Vec<Step> {
        self.medium().steps.clone()
    }

    /// What a reader sees.
    pub(crate) fn image(&self) -> Vec<u8> {
        self.medium().current.clone()
    }

    /// What would be left if the power failed now and nothing unsynced survived.
    pub(crate) fn durable(&self) -> Vec<u8> {
        self.medium().durable.clone()
    }

    /// `count` operations fail, the first after `after` more.
    pub(crate) fn fail(&self, after: u64, count: u64, failure: Failure) {
        let mut medium = self.medium();
        let from = medium.operations + after;
        medium.fails = Some((from, count, failure));
    }

    /// How many operations failed.
    pub(crate) fn failed(&self) -> u64 {
        self.medium().failed
    }
}

impl Medium {
    fn operation(&mut self) -> io::Result<()> {
        let now = self.operations;
        self.operations += 1;
        match self.fails {
            Some((from, count, failure)) if (from..from + count).contains(&now) => {
                self.failed += 1;
                Err(match failure {
                    Failure::Io => io::Error::from_raw_os_error(5),
                    Failure::Full => io::Error::from(io::ErrorKind::StorageFull),
                })
            }
            _ => Ok(()),
        }
    }

    fn change(&mut self, step: Step) {
        apply(&mut self.current, &step);
        self.pending.push(step.clone());
        self.steps.push(step);
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        let mut medium = self.medium();
        medium.operation()?;
        Ok(medium.current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut medium = self.medium();
        medium.operation()?;
        let start = usize::try_from(offset).expect("small");
        out.copy_from_slice(medium.current.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut medium = self.medium();
        medium.operation()?;
        medium.change(Step::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut medium = self.medium();
        let pending = std::mem::take(&mut medium.pending);
        medium.operation()?;
        for step in pending {
            apply(&mut medium.durable, &step);
        }
        medium.steps.push(Step::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut medium = self.medium();
        medium.operation()?;
        medium.change(Step::Write(offset, data.into()));
        Ok(())
    }
}

fn apply(image: &mut Vec<u8>, step: &Step) {
    match step {
        Step::Write(offset, data) => write_to(image, *offset, data),
        Step::SetLen(len) => image.resize(usize::try_from(*len).expect("small"), 0),
        Step::Sync | Step::Mark(_) => {}
    }
}

fn write_to(image: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let start = usize::try_from(offset).expect("small");
    let end = start + data.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[start..end].copy_from_slice(data);
}

/// Walks through what was done; at each step, what a crash there may leave.
pub(crate) struct Crashes<'a> {
    steps: &'a [Step],
    durable: Vec<u8>,
    pending: Vec<&'a Step>,
    next: usize,
    marked: usize,
}

impl<'a> Crashes<'a> {
    /// `image` is what was there before the first step.
    pub(crate) fn new(image: Vec<u8>, steps: &'a [Step]) -> Self {
        Self { steps, durable: image, pending: Vec::new(), next: 0, marked: 0 }
    }

    /// How many batches were reported committed before this point.
    pub(crate) fn marked(&self) -> usize {
        self.marked
    }

    /// One step on, over any marks behind it; false at the end.
    pub(crate) fn advance(&mut self) -> bool {
        let Some(step) = self.steps.get(self.next) else { return false };
        self.next += 1;
        match step {
            Step::Write(..) | Step::SetLen(_) => self.pending.push(step),
            Step::Sync => {
                for step in self.pending.drain(..) {
                    apply(&mut self.durable, step);
                }
            }
            Step::Mark(batches) => self.marked = *batches,
        }
        if let Some(Step::Mark(_)) = self.steps.get(self.next) {
            return self.advance();
        }
        true
    }

    /// An image that a crash here may leave: each unsynced write is kept, lost, or torn into sectors
    /// that are kept or lost.
    pub(crate) fn image(&self, rng: &mut ChaCha20Rng) -> Vec<u8> {
        let mut image = self.durable.clone();
        // Now and then all or nothing: the process died, or nothing had reached the platter yet.
        let whole = rng.next_u32() % 8;
        for step in &self.pending {
            match (whole, rng.next_u32() % 3, step) {
                (0, _, _) | (2.., 0, _) => apply(&mut image, step),
                (2.., 1, Step::Write(offset, data)) => {
                    for (sector, bytes) in data.chunks(SECTOR).enumerate() {
                        if rng.next_u32().is_multiple_of(2) {
                            write_to(&mut image, offset + (sector * SECTOR) as u64, bytes);
                        }
                    }
                }
                _ => {}
            }
        }
        image
    }
}
