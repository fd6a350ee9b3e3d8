//! What the committer's thread does while nobody waits for it: the index of the history, lines that are too old, a file that has
//! become too large. Each in pieces, so that whoever comes is soon served.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    clock::Unix,
    store::{Progress, Store, StoreError, Upkeep, Walk},
};

/// From the start to the first look for old lines: a clock that was wrong may be right by then.
const FIRST_WALK: Duration = Duration::from_secs(60);
/// From one look to the next.
const NEXT_WALK: Duration = Duration::from_secs(3_600);
/// Nothing was asked for this long: the file may be written anew.
const QUIET: Duration = Duration::from_secs(10);

/// What is kept of a profile, and where that is.
#[derive(Debug, Clone, Default)]
pub struct Keep {
    /// The profile's directory; `None`: there is none, so its file cannot be written anew.
    pub dir: Option<PathBuf>,
    /// Lines older than this are removed; `None`: none ever.
    pub retention: Option<Duration>,
}

/// How far the thread is, for whoever asks.
#[derive(Debug, Clone, Default)]
pub(super) struct Said(Arc<Mutex<Option<Progress>>>);

impl Said {
    pub(super) fn get(&self) -> Option<Progress> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, progress: Option<Progress>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Another piece.
    Piece,
    /// Nothing before this time.
    At(Instant),
    /// Nothing.
    Nothing,
}

/// The work that can wait.
#[derive(Debug)]
pub(super) struct Idle {
    keep: Keep,
    said: Said,
    may_index: bool,
    /// A walk that is under way, and what is too old for it.
    walk: Option<(Walk, Unix, u64)>,
    next_walk: Instant,
    /// When it was last asked for something.
    asked: Instant,
    may_compact: bool,
}

impl Idle {
    pub(super) fn new(keep: Keep, said: Said) -> Self {
        let now = Instant::now();
        Self { keep, said, may_index: true, walk: None, next_walk: now + FIRST_WALK, asked: now, may_compact: true }
    }

    /// Something else was done in between.
    pub(super) fn interrupted(&mut self) {
        self.may_index = true;
        self.asked = Instant::now();
    }

    /// Lines are kept for this long from now on: looked at now.
    pub(super) fn set_retention(&mut self, retention: Option<Duration>) {
        if self.keep.retention != retention {
            self.keep.retention = retention;
            self.said.set(None);
            (self.walk, self.next_walk) = (None, Instant::now());
        }
    }

    /// Does a piece of what there is to do. `go_on` says whether still nobody waits.
    pub(super) fn piece(&mut self, store: &mut Store, go_on: &mut dyn FnMut() -> bool) -> Next {
        if let Some(next) = self.walk(store) {
            return next;
        }
        if self.may_index {
            self.may_index = store.index();
            return Next::Piece;
        }
        let quiet = self.asked + QUIET;
        let wants = self.may_compact && self.keep.dir.is_some() && store.wants_compaction();
        if wants && Instant::now() >= quiet {
            self.compact(store, go_on);
            return Next::Piece;
        }
        let walk = self.keep.retention.map(|_| self.next_walk);
        let times = walk.into_iter().chain(wants.then_some(quiet));
        times.min().map_or(Next::Nothing, Next::At)
    }

    /// A piece of the walk, where one is under way or due.
    fn walk(&mut self, store: &mut Store) -> Option<Next> {
        let retention = self.keep.retention?;
        if self.walk.is_none() && Instant::now() >= self.next_walk {
            self.next_walk = Instant::now() + NEXT_WALK;
            let of = store.lines().unwrap_or_default();
            self.walk = Some((Walk::default(), now().before(retention), of));
        }
        let (walk, before, of) = self.walk.as_mut()?;
        match store.remove_old(*before, walk) {
            Ok(true) => self.said.set(Some(Progress { what: Upkeep::Retention, done: walk.seen, of: (*of).max(walk.seen) })),
            ended => {
                match ended {
                    Err(error) => tracing::warn!(%error, "old messages were not removed"),
                    Ok(_) if walk.removed > 0 => tracing::info!(messages = walk.removed, "old messages were removed"),
                    Ok(_) => {}
                }
                // Also of an earlier try that was given up. What has gone is indexed anew.
                self.may_compact |= walk.removed > 0;
                self.may_index = true;
                self.said.set(None);
                self.walk = None;
            }
        }
        Some(Next::Piece)
    }

    fn compact(&mut self, store: &mut Store, go_on: &mut dyn FnMut() -> bool) {
        let Some(dir) = &self.keep.dir else { return };
        let said = &self.said;
        let outcome = store.compact(dir, &mut |done, of| {
            said.set(Some(Progress { what: Upkeep::Compaction, done, of }));
            go_on()
        });
        said.set(None);
        match outcome {
            Ok(()) => {
                // The index was left out of it.
                self.may_index = true;
                tracing::info!("the file was written anew");
            }
            // Whoever came between is served now, and it is quiet some other time.
            Err(StoreError::GivenUp) => {}
            Err(error) => {
                tracing::warn!(%error, "the file was not written anew");
                self.may_compact = false;
            }
        }
    }
}

fn now() -> Unix {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Unix(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
