//! One thread of a seed: its state machine, its sockets, its loop. Which threads there are does not live
//! here.

use std::{future::poll_fn, net::SocketAddr, time::Duration};

use tokio::sync::{mpsc, watch};

use super::super::{
    clock,
    socket::{Batch, Sockets},
};
use crate::{
    clock::Now,
    seed::Seed,
    wire::{DATAGRAM_LEN_MAX, KIND_ANSWER},
};

/// The shortest wait for a deadline, also for one that stays in the past.
const BREATH: Duration = Duration::from_millis(1);
/// The wait where there is no deadline.
const IDLE: Duration = Duration::from_secs(60);

/// A fellow's answer that came to a thread which had not asked.
pub(super) type Heard = (SocketAddr, Vec<u8>);

pub(super) struct Lane {
    seed: Seed,
    sockets: Sockets,
    fellows: watch::Receiver<Vec<SocketAddr>>,
    /// The system decides by address which thread a fellow's answer reaches, so all hand them to the first.
    answers: mpsc::Sender<Heard>,
    /// Only the first asks fellows.
    heard: Option<mpsc::Receiver<Heard>>,
    datagram: Vec<u8>,
    batch: Batch,
}

enum Wake {
    Ready,
    Fellows,
    Heard(Heard),
    End,
}

impl Lane {
    pub(super) fn new(
        seed: Seed,
        sockets: Sockets,
        fellows: watch::Receiver<Vec<SocketAddr>>,
        answers: mpsc::Sender<Heard>,
        heard: Option<mpsc::Receiver<Heard>>,
    ) -> Self {
        Self { seed, sockets, fellows, answers, heard, datagram: Vec::with_capacity(DATAGRAM_LEN_MAX), batch: Batch::default() }
    }

    /// Answers until nobody can name fellows any more.
    pub(super) async fn run(mut self) {
        loop {
            let wake = self.wait().await;
            let now = clock::now();
            match wake {
                Wake::Ready => {}
                Wake::Fellows if self.heard.is_some() => {
                    let fellows = self.fellows.borrow().clone();
                    self.seed.handle_fellows(now, fellows);
                }
                Wake::Fellows => {}
                Wake::Heard((from, bytes)) => self.seed.handle_datagram(now, from, &bytes),
                Wake::End => return self.finish(now),
            }
            self.receive();
            if self.seed.poll_timeout().is_some_and(|deadline| deadline <= now.instant) {
                self.seed.handle_timeout(now);
            }
            self.transmit();
        }
    }

    /// The last tick comes early: with it, what was counted since the one before is told.
    fn finish(&mut self, now: Now) {
        let instant = self.seed.poll_timeout().map_or(now.instant, |deadline| deadline.max(now.instant));
        self.seed.handle_timeout(Now { instant, ..now });
    }

    async fn wait(&mut self) -> Wake {
        let now = clock::now().instant;
        let pause = self.seed.poll_timeout().map_or(IDLE, |deadline| deadline.since(now).max(BREATH));
        let Self { sockets, fellows, heard, .. } = self;
        tokio::select! {
            biased;
            changed = fellows.changed() => if changed.is_ok() { Wake::Fellows } else { Wake::End },
            Some(heard) = recv(heard) => Wake::Heard(heard),
            () = poll_fn(|cx| sockets.poll_readable(cx)) => Wake::Ready,
            () = tokio::time::sleep(pause) => Wake::Ready,
        }
    }

    /// Every datagram that waits, up to the sockets' limit.
    fn receive(&mut self) {
        let Self { seed, sockets, fellows, answers, heard, .. } = self;
        let now = clock::now();
        sockets.receive(|datagram| {
            let is_anothers = heard.is_none() && datagram.bytes.first() == Some(&KIND_ANSWER);
            if !is_anothers {
                seed.handle_datagram(now, datagram.from, datagram.bytes);
            } else if fellows.borrow().contains(&datagram.from) {
                let _ = answers.try_send((datagram.from, datagram.bytes.to_vec()));
            }
        });
    }

    /// What the system cannot take now is lost, as any datagram on its way, and counted.
    fn transmit(&mut self) {
        while let Some(to) = self.seed.poll_transmit(&mut self.datagram) {
            self.batch.push(to, &self.datagram);
            if self.batch.is_full() {
                self.sockets.send_batch(&mut self.batch);
            }
        }
        self.sockets.send_batch(&mut self.batch);
    }
}

async fn recv(heard: &mut Option<mpsc::Receiver<Heard>>) -> Option<Heard> {
    match heard {
        Some(heard) => heard.recv().await,
        None => std::future::pending().await,
    }
}
