//! One thread of a seed: its state machine, its sockets, its loop. Which threads there are does not live
//! here.

use std::{
    future::{pending, poll_fn},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use tokio::sync::watch;

use super::{
    super::{
        clock,
        socket::{Batch, Sockets},
    },
    depot::Line,
    faces::Faces,
};
use crate::{
    clock::Now,
    seed::{Seed, cluster::Reply},
    wire::DATAGRAM_LEN_MAX,
};

/// The shortest wait for a deadline, also for one that stays in the past.
const BREATH: Duration = Duration::from_millis(1);
/// The wait where there is no deadline.
const IDLE: Duration = Duration::from_secs(60);

pub(super) struct Lane {
    seed: Seed,
    sockets: Sockets,
    faces: Arc<Faces>,
    fellows: watch::Receiver<Vec<SocketAddr>>,
    /// To the depot, of a seed in a cluster.
    line: Option<Line>,
    datagram: Vec<u8>,
    batch: Batch,
}

enum Wake {
    Ready,
    Fellows,
    Replied(Reply),
    End,
}

impl Lane {
    pub(super) fn new(
        seed: Seed,
        sockets: Sockets,
        faces: Arc<Faces>,
        fellows: watch::Receiver<Vec<SocketAddr>>,
        line: Option<Line>,
    ) -> Self {
        let datagram = Vec::with_capacity(DATAGRAM_LEN_MAX);
        Self { seed, sockets, faces, fellows, line, datagram, batch: Batch::default() }
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
                Wake::Replied(reply) => self.seed.handle_reply(now, reply),
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
            if let Some(line) = &mut self.line {
                line.hand_over(&mut self.seed);
            }
        }
    }

    async fn wait(&mut self) -> Wake {
        let now = clock::now().instant;
        let pause = self.seed.poll_timeout().map_or(IDLE, |deadline| deadline.since(now).max(BREATH));
        let Self { sockets, fellows, line, .. } = self;
        let reply = async {
            match line {
                Some(line) => line.next().await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            changed = fellows.changed() => if changed.is_ok() { Wake::Fellows } else { Wake::End },
            reply = reply => Wake::Replied(reply),
            () = poll_fn(|cx| sockets.poll_readable(cx)) => Wake::Ready,
            () = tokio::time::sleep(pause) => Wake::Ready,
        }
    }

    /// What the system cannot take now is lost, as any datagram on its way, and counted.
    fn transmit(&mut self) {
        while let Some(to) = self.seed.poll_transmit(&mut self.datagram) {
            self.batch.push(to, self.faces.of(to), &mut self.datagram);
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
