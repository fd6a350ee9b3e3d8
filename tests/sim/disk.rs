//! A disk that dies: a redb backend in memory whose unsynced writes are kept, lost or torn when the
//! process is killed, which can be told to die at its n-th operation or to fail some of them.
//! What is written on it is not known here.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use p2pchat_udp::store::StorageBackend;

use crate::{dice::Dice, faults::Fault};

/// A write tears at multiples of this.
const SECTOR: usize = 512;

#[derive(Debug)]
enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

#[derive(Debug)]
struct Medium {
    /// What survives for certain.
    synced: Vec<u8>,
    /// What a reader sees.
    current: Vec<u8>,
    /// The way from one to the other.
    pending: Vec<Change>,
    /// Backends of killed processes write no more.
    life: u64,
    /// Operations until the process dies.
    dies_in: Option<u64>,
    dead: bool,
    /// Changing operations that fail next: for want of room, or for no reason.
    fails: (bool, u64),
    /// Reads that succeed before all others fail.
    reads_left: Option<u64>,
    struck: Vec<Fault>,
    dice: Dice,
}

/// One disk. Not cloned: [`Disk::copy`] makes another one.
#[derive(Debug)]
pub(crate) struct Disk(Arc<Mutex<Medium>>);

/// What one process has of it.
#[derive(Debug)]
pub(crate) struct Backend {
    medium: Arc<Mutex<Medium>>,
    life: u64,
}

impl Disk {
    /// An empty one; decides about torn writes by `rng_seed`.
    pub(crate) fn new(rng_seed: u64) -> Self {
        Self::holding(Vec::new(), rng_seed)
    }

    fn holding(image: Vec<u8>, rng_seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Medium {
            synced: image.clone(),
            current: image,
            pending: Vec::new(),
            life: 0,
            dies_in: None,
            dead: false,
            fails: (false, 0),
            reads_left: None,
            struck: Vec::new(),
            dice: Dice::new(rng_seed, "disk"),
        })))
    }

    fn medium(&self) -> MutexGuard<'_, Medium> {
        self.0.lock().expect("one thread, and no panic inside")
    }

    /// For a new process.
    pub(crate) fn backend(&self) -> Backend {
        Backend { medium: Arc::clone(&self.0), life: self.medium().life }
    }

    /// What a backup takes of it: the synced bytes.
    pub(crate) fn copy(&self) -> Self {
        let mut medium = self.medium();
        let rng_seed = medium.dice.below(u64::MAX);
        Self::holding(medium.synced.clone(), rng_seed)
    }

    /// The process is gone at this moment: each unsynced write is kept, lost or torn. True where one tore.
    pub(crate) fn crash(&self) -> bool {
        let mut medium = self.medium();
        let mut torn = false;
        let pending = std::mem::take(&mut medium.pending);
        // A process that is killed loses nothing; a machine that loses power loses what it likes.
        let power = medium.dice.chance(700);
        for change in pending {
            let fate = if power { medium.dice.below(3) } else { 0 };
            match change {
                Change::Write(offset, mut bytes) if fate == 2 && bytes.len() > SECTOR => {
                    torn = true;
                    let sectors = medium.dice.index(bytes.len() / SECTOR) + 1;
                    bytes.truncate(sectors * SECTOR);
                    write_to(&mut medium.synced, offset, &bytes);
                }
                Change::Write(..) | Change::SetLen(_) if fate == 1 => {}
                Change::Write(offset, bytes) => write_to(&mut medium.synced, offset, &bytes),
                Change::SetLen(len) => medium.synced.resize(len as usize, 0),
            }
        }
        medium.current = medium.synced.clone();
        medium.life += 1;
        medium.dead = false;
        medium.dies_in = None;
        torn
    }

    /// The process has ended in good order, or the system had time to sync.
    pub(crate) fn settle(&self) {
        let mut medium = self.medium();
        medium.sync();
        medium.life += 1;
    }

    /// The process dies at the n-th operation from now.
    pub(crate) fn die_after(&self, operations: u64) {
        self.medium().dies_in = Some(operations);
    }

    /// True once it did.
    pub(crate) fn is_dead(&self) -> bool {
        self.medium().dead
    }

    /// So many changing operations fail from now on.
    pub(crate) fn fail(&self, full: bool, operations: u64) {
        self.medium().fails = (full, operations);
    }

    /// After so many reads no other one succeeds; `None` heals. What was planned before.
    pub(crate) fn fail_reads(&self, after: Option<u64>) -> Option<u64> {
        std::mem::replace(&mut self.medium().reads_left, after)
    }

    /// No fault is planned any more.
    pub(crate) fn heal(&self) {
        let mut medium = self.medium();
        medium.fails = (false, 0);
        medium.reads_left = None;
        medium.dies_in = None;
    }

    /// Errors that were given since the last call.
    pub(crate) fn struck(&self) -> Vec<Fault> {
        std::mem::take(&mut self.medium().struck)
    }
}

impl Medium {
    fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            match change {
                Change::Write(offset, bytes) => write_to(&mut self.synced, offset, &bytes),
                Change::SetLen(len) => self.synced.resize(len as usize, 0),
            }
        }
    }

    /// Before every read.
    fn reading(&mut self) -> io::Result<()> {
        match &mut self.reads_left {
            None => Ok(()),
            Some(0) => {
                self.struck.push(Fault::ReadIo);
                Err(io::Error::other("the simulator gives nothing"))
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    /// Before every operation.
    fn operation(&mut self, life: u64, changes: bool) -> io::Result<()> {
        if life != self.life || self.dead {
            return Err(io::Error::other("this process was killed"));
        }
        if let Some(left) = &mut self.dies_in {
            *left = left.saturating_sub(1);
            if *left == 0 {
                (self.dead, self.dies_in) = (true, None);
                return Err(io::Error::other("this process was killed"));
            }
        }
        if changes && self.fails.1 > 0 {
            self.fails.1 -= 1;
            let (fault, kind) = if self.fails.0 {
                (Fault::CommitFull, io::ErrorKind::StorageFull)
            } else {
                (Fault::CommitIo, io::ErrorKind::Other)
            };
            self.struck.push(fault);
            return Err(io::Error::new(kind, "the simulator says so"));
        }
        Ok(())
    }
}

fn write_to(image: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let (start, end) = (offset as usize, offset as usize + bytes.len());
    if image.len() < end {
        image.resize(end, 0);
    }
    image[start..end].copy_from_slice(bytes);
}

impl Backend {
    fn medium(&self) -> MutexGuard<'_, Medium> {
        self.medium.lock().expect("one thread, and no panic inside")
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        let mut medium = self.medium();
        medium.operation(self.life, false)?;
        Ok(medium.current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut medium = self.medium();
        medium.operation(self.life, false)?;
        medium.reading()?;
        let start = offset as usize;
        let bytes = medium.current.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut medium = self.medium();
        medium.operation(self.life, true)?;
        medium.current.resize(len as usize, 0);
        medium.pending.push(Change::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut medium = self.medium();
        medium.operation(self.life, true)?;
        medium.sync();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut medium = self.medium();
        medium.operation(self.life, true)?;
        write_to(&mut medium.current, offset, data);
        medium.pending.push(Change::Write(offset, data.to_vec()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_synced_survives_and_what_is_not_may_not() {
        let mut kept = [0; 2];
        let mut torn = 0;
        for rng_seed in 0..200 {
            let disk = Disk::new(rng_seed);
            let backend = disk.backend();
            backend.write(0, &[1; 4_096]).unwrap();
            backend.sync_data().unwrap();
            backend.write(0, &[2; 4_096]).unwrap();
            torn += u32::from(disk.crash());
            assert!(backend.write(0, &[3]).is_err(), "the old process is dead");
            let mut page = [0; 4_096];
            disk.backend().read(0, &mut page).unwrap();
            assert!(page.iter().all(|byte| (1..=2).contains(byte)));
            assert!(page.is_sorted_by(|a, b| a >= b), "the front of a write gets there first");
            kept[usize::from(page[4_095] == 2)] += 1;
        }
        assert!(kept[0] > 50 && kept[1] > 50 && torn > 20, "{kept:?}, {torn} torn");
    }

    #[test]
    fn it_dies_and_fails_when_told() {
        let disk = Disk::new(1);
        let backend = disk.backend();
        disk.fail(true, 1);
        assert_eq!(backend.write(0, &[1]).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(disk.struck(), [Fault::CommitFull]);
        disk.die_after(2);
        backend.write(0, &[1]).unwrap();
        assert!(!disk.is_dead() && backend.write(0, &[1]).is_err() && disk.is_dead());
        assert!(backend.len().is_err());
        disk.crash();
        let backend = disk.backend();
        assert!(backend.len().is_ok());
        disk.fail_reads(Some(1));
        assert!(backend.read(0, &mut []).is_ok() && backend.read(0, &mut []).is_err() && backend.read(0, &mut []).is_err());
        assert_eq!((disk.fail_reads(None), disk.struck()), (Some(0), vec![Fault::ReadIo; 2]));
        assert!(backend.read(0, &mut []).is_ok());
    }
}
