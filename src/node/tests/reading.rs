//! A disk that does not give what is on it for a while. Larger worlds with such disks are the
//! simulator's (`tests/sim`).

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::*;
use crate::store::StorageBackend;

/// Memory whose reads fail while `fails` is set.
#[derive(Debug, Clone, Default)]
struct Failing {
    memory: Arc<InMemoryBackend>,
    fails: Arc<AtomicBool>,
}

impl StorageBackend for Failing {
    fn len(&self) -> io::Result<u64> {
        self.memory.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(io::Error::other("the test says so"));
        }
        self.memory.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.memory.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.memory.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.memory.write(offset, data)
    }
}

#[test]
fn an_outbox_that_could_not_be_read_is_read_again_and_the_mail_goes_out() {
    let mut pair = Pair::new();
    let disk = Failing::default();
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let secret = *Identity::generate(&mut rng).secret();
    let fresh = Fresh { secret, name: "side1".to_owned(), boot: next_boot(BootId(0), pair.now.unix) };
    drop(Store::create_backend(disk.clone(), &fresh).unwrap());
    // Every page is read from the disk each time.
    pair.sides[0].store = Store::open_backend_with(disk.clone(), 0).unwrap();
    pair.sides[0].node = start(&pair.sides[0].store, 1, pair.now);
    let texts: Vec<_> = (0..10).map(|number| format!("{number}")).collect();
    pair.run_for(Duration::from_millis(20));
    for text in &texts {
        pair.send(0, text);
        pair.run_for(Duration::from_secs(1));
        pair.cut = true;
    }
    // Started again: the mail is on the disk only, and the disk gives nothing.
    pair.sides[0].node = start(&pair.sides[0].store, 3, pair.now);
    disk.fails.store(true, Ordering::Relaxed);
    pair.cut = false;
    let peer = pair.id(1);
    pair.run_for(Duration::from_secs(5));
    assert!(pair.sides[0].node.session(&peer).is_some());
    assert_eq!(pair.texts(1), texts[..1]);
    let looks_again = |pair: &Pair| pair.sides[0].node.peers[&peer].conversation.as_ref().unwrap().look_again.is_some();
    assert!(looks_again(&pair));
    disk.fails.store(false, Ordering::Relaxed);
    pair.run_for(Duration::from_secs(3));
    assert_eq!(pair.texts(1), texts);
    pair.run_for(Duration::from_secs(1));
    assert!(!looks_again(&pair) && pair.sides[0].node.outbox_len == 0);
}
