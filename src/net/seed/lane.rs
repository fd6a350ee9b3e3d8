//! One thread of a seed: its state machine, its sockets, its loop. Which threads there are does not live
//! here.

use std::{future::poll_fn, net::SocketAddr, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{
    super::{
        clock,
        socket::{Batch, Sockets},
    },
    faces::Faces,
};
use crate::{clock::Now, seed::Seed, wire::DATAGRAM_LEN_MAX};

/// The shortest wait for a deadline, also for one that stays in the past.
const BREATH: Duration = Duration::from_millis(1);
/// The wait where there is no deadline.
const IDLE: Duration = Duration::from_secs(60);

pub(super) struct Lane {
    seed: Seed,
    sockets: Sockets,
    faces: Arc<Faces>,
    fellows: watch::Receiver<Vec<SocketAddr>>,
    datagram: Vec<u8>,
    batch: Batch,
}

enum Wake {
    Ready,
    Fellows,
    End,
}

impl Lane {
    pub(super) fn new(seed: Seed, sockets: Sockets, faces: Arc<Faces>, fellows: watch::Receiver<Vec<SocketAddr>>) -> Self {
        Self { seed, sockets, faces, fellows, datagram: Vec::with_capacity(DATAGRAM_LEN_MAX), batch: Batch::default() }
    }

    /// Answers until nobody can name fellows any more.
    pub(super) async fn run(mut self) {
        loop {
            let wake = self.wait().await;
            let now = clock::now();
            match wake {
                Wake::Ready => {}
                Wake::Fellows => {
                    let fellows = self.fellows.borrow_and_update().clone();
                    self.seed.handle_fellows(now, fellows);
                }
                Wake::End => return self.finish(now),
            }
            let Self { seed, sockets, faces, .. } = &mut self;
            sockets.receive_addressed(|from, ours, bytes| {
                if let Some(ours) = ours {
                    faces.note(from, ours);
                }
                seed.handle_datagram(now, from, bytes);
            });
            if seed.poll_timeout().is_some_and(|deadline| deadline <= now.instant) {
                seed.handle_timeout(now);
            }
            self.transmit();
        }
    }

    async fn wait(&mut self) -> Wake {
        let now = clock::now().instant;
        let pause = self.seed.poll_timeout().map_or(IDLE, |deadline| deadline.since(now).max(BREATH));
        let Self { sockets, fellows, .. } = self;
        tokio::select! {
            biased;
            changed = fellows.changed() => if changed.is_ok() { Wake::Fellows } else { Wake::End },
            () = poll_fn(|cx| sockets.poll_readable(cx)) => Wake::Ready,
            () = tokio::time::sleep(pause) => Wake::Ready,
        }
    }

    /// What the system cannot take now is lost, as any datagram on its way, and counted.
    fn transmit(&mut self) {
        while let Some(to) = self.seed.poll_transmit(&mut self.datagram) {
            self.batch.push(to, self.faces.of(to), &self.datagram);
            if self.batch.is_full() {
                self.sockets.send_batch(&mut self.batch);
            }
        }
        self.sockets.send_batch(&mut self.batch);
    }

    /// The last tick comes early: with it, what was counted since the one before is told.
    fn finish(&mut self, now: Now) {
        let instant = self.seed.poll_timeout().map_or(now.instant, |deadline| deadline.max(now.instant));
        self.seed.handle_timeout(Now { instant, ..now });
    }
}
