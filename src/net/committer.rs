//! The thread that commits batches: one at a time, in order. What is in them, and what waits for them,
//! is the node's. Between two batches it gives the store another password, or copies it, where somebody asks for that.

mod idle;

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Weak,
        mpsc::{self as std_mpsc, RecvTimeoutError, TryRecvError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot};

pub use self::idle::Keep;
use self::idle::{Idle, Next, Said};
use crate::{
    crypto::vault::{Cost, Unlock},
    id::BatchId,
    store::{
        Progress, Store, StoreError,
        row::{CommitError, Committed, WriteBatch},
    },
};

/// The store's thread. The store is closed when it ends.
#[derive(Debug)]
pub struct Committer {
    jobs: Option<Arc<std_mpsc::Sender<Job>>>,
    outcomes: mpsc::UnboundedReceiver<Outcome>,
    thread: Option<JoinHandle<()>>,
    in_flight: Option<BatchId>,
    said: Said,
}

/// What the thread does next.
#[derive(Debug)]
enum Job {
    Commit(WriteBatch),
    Password(Box<Change>, oneshot::Sender<Result<(), StoreError>>),
    Backup(PathBuf, oneshot::Sender<Result<(), StoreError>>),
    Retention(Option<Duration>),
}

/// Another password for the profile in `dir`.
#[derive(Debug)]
pub struct Change {
    /// Where the store's file is.
    pub dir: PathBuf,
    /// What it has now.
    pub old: Option<Unlock>,
    /// What it is to have.
    pub new: Option<Unlock>,
    /// What trying the new one costs.
    pub cost: Cost,
}

/// Gives an open store another password, makes copies of it, and says how long it keeps what. It does not keep the store open.
#[derive(Debug, Clone)]
pub struct Keeper {
    jobs: Weak<std_mpsc::Sender<Job>>,
    said: Said,
}

impl Keeper {
    /// [`Store::change_password`], after what was committed before; commits wait meanwhile. Where the store is closed:
    /// [`StoreError::Io`].
    pub async fn change_password(&self, change: Change) -> Result<(), StoreError> {
        self.ask(|done| Job::Password(Box::new(change), done)).await
    }

    /// [`Store::back_up`], with the same words.
    pub async fn back_up(&self, path: PathBuf) -> Result<(), StoreError> {
        self.ask(|done| Job::Backup(path, done)).await
    }

    /// Lines are kept for this long from now on; `None`: for ever.
    pub fn set_retention(&self, retention: Option<Duration>) {
        if let Some(jobs) = self.jobs.upgrade() {
            // A thread that is gone keeps nothing.
            let _ = jobs.send(Job::Retention(retention));
        }
    }

    /// What the thread does beside commits, and how far that is.
    pub fn progress(&self) -> Option<Progress> {
        self.said.get()
    }

    async fn ask(&self, job: impl FnOnce(oneshot::Sender<Result<(), StoreError>>) -> Job) -> Result<(), StoreError> {
        let closed = || StoreError::Io(io::Error::other("the profile is closed"));
        let (done, outcome) = oneshot::channel();
        {
            let jobs = self.jobs.upgrade().ok_or_else(closed)?;
            jobs.send(job(done)).map_err(|_| closed())?;
        }
        outcome.await.map_err(|_| closed())?
    }
}

type Outcome = (BatchId, Result<Committed, CommitError>);

impl Committer {
    /// Starts the thread. Errors where the system gives none; the store is closed then.
    pub fn spawn(mut store: Store, keep: Keep) -> io::Result<Self> {
        let (jobs, todo) = std_mpsc::channel();
        let (done, outcomes) = mpsc::unbounded_channel();
        let said = Said::default();
        let mut idle = Idle::new(keep, said.clone());
        let commits = move || {
            while let Some(job) = next_job(&todo, &mut idle, &mut store) {
                if !do_job(job, &mut idle, &mut store, &done) {
                    return;
                }
                idle.interrupted();
            }
        };
        let thread = thread::Builder::new().name("committer".to_owned()).spawn(commits)?;
        Ok(Self { jobs: Some(Arc::new(jobs)), outcomes, thread: Some(thread), in_flight: None, said })
    }

    /// A batch is on its way to the disk.
    pub fn is_busy(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Hands over a batch; its outcome is the next of [`Self::committed`]. One at a time.
    pub fn submit(&mut self, batch: WriteBatch) {
        debug_assert!(!self.is_busy(), "the node gives the next batch after the end of the last");
        self.in_flight = Some(batch.id);
        if let Some(jobs) = &self.jobs {
            // A thread that is gone is noticed by `committed`.
            let _ = jobs.send(Job::Commit(batch));
        }
    }

    /// What gives the store another password.
    pub fn keeper(&self) -> Keeper {
        Keeper { jobs: self.jobs.as_ref().map_or_else(Weak::new, Arc::downgrade), said: self.said.clone() }
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
        self.jobs = None;
        while self.outcomes.recv().await.is_some() {}
        if let Some(thread) = self.thread.take() {
            // It has closed its channel, which is the last thing it does but closing the store. Its panic was
            // reported when it happened.
            let _ = thread.join();
        }
    }
}

/// The next job; until it comes, what can wait is done. None once nobody can ask any more.
fn next_job(todo: &std_mpsc::Receiver<Job>, idle: &mut Idle, store: &mut Store) -> Option<Job> {
    loop {
        match todo.try_recv() {
            Ok(job) => return Some(job),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => {}
        }
        let (mut came, mut is_over) = (None, false);
        let next = idle.piece(store, &mut || {
            match todo.try_recv() {
                Ok(job) => came = Some(job),
                Err(TryRecvError::Disconnected) => is_over = true,
                Err(TryRecvError::Empty) => {}
            }
            came.is_none() && !is_over
        });
        if came.is_some() || is_over {
            return came;
        }
        match next {
            Next::Piece => {}
            Next::Nothing => return todo.recv().ok(),
            Next::At(time) => match todo.recv_timeout(time.saturating_duration_since(Instant::now())) {
                Ok(job) => return Some(job),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            },
        }
    }
}

/// False where nobody waits for outcomes any more.
fn do_job(job: Job, idle: &mut Idle, store: &mut Store, done: &mpsc::UnboundedSender<Outcome>) -> bool {
    match job {
        Job::Commit(batch) => {
            let id = batch.id;
            let outcome = store.commit(batch);
            return done.send((id, outcome)).is_ok();
        }
        Job::Password(change, done) => {
            let Change { dir, old, new, cost } = *change;
            // Whoever asked may be gone; it is done all the same.
            let _ = done.send(store.change_password(&dir, old.as_ref(), new.as_ref(), cost));
        }
        Job::Backup(path, done) => {
            let _ = done.send(store.back_up(&path));
        }
        Job::Retention(retention) => idle.set_retention(retention),
    }
    true
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
        let mut committer = Committer::spawn(Store::create(dir.path(), &fresh).unwrap(), Keep::default()).unwrap();
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

    #[tokio::test]
    async fn between_two_batches_the_store_gets_a_password_and_after_the_close_it_gets_none() {
        let unlock = |password: &str| Unlock::new(password.to_owned().into(), [1; 32]);
        let cost = Cost { memory_kib: 8, passes: 1 };
        let dir = tempfile::tempdir().unwrap();
        let fresh = Fresh { secret: [7; 32], name: "alice".to_owned(), boot: BootId(1) };
        let mut committer = Committer::spawn(Store::create(dir.path(), &fresh).unwrap(), Keep::default()).unwrap();
        let keeper = committer.keeper();
        let change = |old: Option<&str>, new: Option<&str>| {
            let [old, new] = [old, new].map(|password| password.map(unlock));
            keeper.change_password(Change { dir: dir.path().to_owned(), old, new, cost })
        };
        committer.submit(WriteBatch { id: BatchId(1), ops: vec![Op::Boot(BootId(11))].into() });
        change(None, Some("new")).await.unwrap();
        assert!(matches!(change(Some("old"), None).await, Err(StoreError::WrongPassword)));
        committer.committed().await.1.unwrap();
        committer.submit(WriteBatch { id: BatchId(2), ops: vec![Op::Boot(BootId(12))].into() });
        committer.committed().await.1.unwrap();
        committer.close().await;
        assert!(matches!(change(Some("new"), None).await, Err(StoreError::Io(_))));
        assert_eq!(Store::unlock(dir.path(), &unlock("new")).unwrap().reader().load().unwrap().boot, BootId(12));
    }
}
