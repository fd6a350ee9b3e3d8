//! The thread that commits batches: one at a time, in order. What is in them, and what waits for them,
//! is the node's.

use std::{
    io,
    sync::mpsc::{self as std_mpsc, TryRecvError},
    thread::{self, JoinHandle},
};

use tokio::sync::mpsc;

use crate::{
    id::BatchId,
    store::{
        Store,
        row::{CommitError, Committed, WriteBatch},
    },
};

/// The store's thread. The store is closed when it ends.
#[derive(Debug)]
pub struct Committer {
    batches: Option<std_mpsc::Sender<WriteBatch>>,
    outcomes: mpsc::UnboundedReceiver<Outcome>,
    thread: Option<JoinHandle<()>>,
    in_flight: Option<BatchId>,
}

type Outcome = (BatchId, Result<Committed, CommitError>);

impl Committer {
    /// Starts the thread. Errors where the system gives none; the store is closed then.
    pub fn spawn(mut store: Store) -> io::Result<Self> {
        let (batches, todo) = std_mpsc::channel::<WriteBatch>();
        let (done, outcomes) = mpsc::unbounded_channel();
        let commits = move || {
            let mut may_index = true;
            loop {
                let batch = match todo.try_recv() {
                    Ok(batch) => batch,
                    // Nobody waits for the disk.
                    Err(TryRecvError::Empty) if may_index => {
                        may_index = store.index();
                        continue;
                    }
                    Err(TryRecvError::Empty) => match todo.recv() {
                        Ok(batch) => batch,
                        Err(_) => return,
                    },
                    Err(TryRecvError::Disconnected) => return,
                };
                let id = batch.id;
                let outcome = store.commit(batch);
                may_index = true;
                if done.send((id, outcome)).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("committer".to_owned()).spawn(commits)?;
        Ok(Self { batches: Some(batches), outcomes, thread: Some(thread), in_flight: None })
    }

    /// A batch is on its way to the disk.
    pub fn is_busy(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Hands over a batch; its outcome is the next of [`Self::committed`]. One at a time.
    pub fn submit(&mut self, batch: WriteBatch) {
        debug_assert!(!self.is_busy(), "the node gives the next batch after the end of the last");
        self.in_flight = Some(batch.id);
        if let Some(batches) = &self.batches {
            // A thread that is gone is noticed by `committed`.
            let _ = batches.send(batch);
        }
    }

    /// Waits for the outcome of the batch in flight; for ever where there is none. A thread that died
    /// (a bug in what it runs) counts as a disk that fails.
    pub async fn committed(&mut self) -> Outcome {
        let Some(id) = self.in_flight else { return std::future::pending().await };
        let outcome = self.outcomes.recv().await;
        self.in_flight = None;
        outcome.unwrap_or((id, Err(CommitError::Io)))
    }

    /// Waits until the store is closed.
    pub async fn close(&mut self) {
        self.batches = None;
        while self.outcomes.recv().await.is_some() {}
        if let Some(thread) = self.thread.take() {
            // It has closed its channel, which is the last thing it does but closing the store. Its panic was
            // reported when it happened.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        id::BootId,
        store::{Fresh, row::Op},
    };

    #[tokio::test]
    async fn batches_are_committed_in_order_and_the_store_is_free_after_the_close() {
        let dir = tempfile::tempdir().unwrap();
        let fresh = Fresh { secret: [7; 32], name: "alice".to_owned(), boot: BootId(1) };
        let mut committer = Committer::spawn(Store::create(dir.path(), &fresh).unwrap()).unwrap();
        let nothing = tokio::time::timeout(Duration::from_millis(20), committer.committed()).await;
        assert!(nothing.is_err(), "nothing was asked for");
        for number in 1..=3 {
            committer.submit(WriteBatch { id: BatchId(number), ops: vec![Op::Boot(BootId(number + 10))].into() });
            assert!(committer.is_busy());
            let (id, outcome) = committer.committed().await;
            assert_eq!((id, outcome.unwrap().batch()), (BatchId(number), BatchId(number)));
            assert!(!committer.is_busy());
        }
        committer.close().await;
        assert_eq!(Store::open(dir.path()).unwrap().reader().load().unwrap().boot, BootId(13));
    }
}
