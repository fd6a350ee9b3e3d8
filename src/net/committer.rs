//! The thread that commits batches: one at a time, in order. What is in them, and what waits for them,
//! is the node's.

use std::{sync::mpsc as std_mpsc, thread::JoinHandle};

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
    outcomes: mpsc::UnboundedReceiver<(BatchId, Result<Committed, CommitError>)>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    /// Starts the thread.
    pub fn spawn(mut store: Store) -> Self {
        let (batches, todo) = std_mpsc::channel::<WriteBatch>();
        let (done, outcomes) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new().name("committer".to_owned()).spawn(move || {
            while let Ok(batch) = todo.recv() {
                let id = batch.id;
                let outcome = store.commit(batch);
                if done.send((id, outcome)).is_err() {
                    return;
                }
            }
        });
        Self { batches: Some(batches), outcomes, thread: thread.ok() }
    }

    /// Hands over a batch; its outcome is the next of [`Self::committed`].
    pub fn submit(&mut self, batch: WriteBatch) {
        if let Some(batches) = &self.batches {
            let _ = batches.send(batch);
        }
    }

    /// Waits for the next outcome.
    pub async fn committed(&mut self) -> (BatchId, Result<Committed, CommitError>) {
        match self.outcomes.recv().await {
            Some(outcome) => outcome,
            None => std::future::pending().await,
        }
    }

    /// Waits until the store is closed.
    pub async fn close(&mut self) {
        self.batches = None;
        while self.outcomes.recv().await.is_some() {}
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
