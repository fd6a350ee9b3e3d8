//! One drop-tail queue that the datagrams of several pairs share.

use super::*;

/// A sender behind it has at least this much to send.
const BULK_AHEAD: usize = 4 << 20;
const BULK_LEN: usize = 65_536;

/// A drop-tail queue of a rate and a depth, and what went through it.
#[derive(Debug)]
pub(super) struct Queue {
    /// Bytes per second.
    rate: u64,
    /// What is longer in it is dropped.
    depth: Duration,
    free_at: Instant,
    entered: u64,
    dropped: u64,
    waited: Duration,
    waited_max: Duration,
}

impl Queue {
    /// When a datagram leaves it; `None`: it was full.
    pub(super) fn enter(&mut self, now: Instant, len: usize) -> Option<Instant> {
        let start = self.free_at.max(now);
        let wait = start.since(now);
        self.entered += 1;
        if wait > self.depth {
            self.dropped += 1;
            return None;
        }
        self.waited += wait;
        self.waited_max = self.waited_max.max(wait);
        self.free_at = start + Duration::from_nanos(len as u64 * 1_000_000_000 / self.rate);
        Some(self.free_at)
    }

    /// Datagrams that found it full, in a thousand.
    pub(super) fn dropped_per_mille(&self) -> u64 {
        self.dropped * 1_000 / self.entered.max(1)
    }

    /// How long a datagram waited in it.
    pub(super) fn wait(&self) -> Duration {
        self.waited / (self.entered - self.dropped).max(1) as u32
    }

    /// How long one waited at most.
    pub(super) fn wait_max(&self) -> Duration {
        self.waited_max
    }

    fn forget(&mut self) {
        (self.entered, self.dropped, self.waited, self.waited_max) = (0, 0, Duration::ZERO, Duration::ZERO);
    }
}

/// Pairs whose A sends to B through one queue; what comes back waits nowhere.
pub(super) struct Bottleneck {
    pub(super) now: Instant,
    pub(super) queue: Rc<RefCell<Queue>>,
    pub(super) flows: Vec<Flow>,
}

/// One of them.
pub(super) struct Flow {
    pub(super) pair: Pair,
    /// Has always more to send.
    pub(super) bulk: bool,
    /// Bytes of messages that arrived.
    pub(super) arrived: usize,
}

impl Bottleneck {
    /// `rate` in bytes per second, and what waits longer than `depth` is dropped.
    pub(super) fn new(rate: u64, depth: Duration) -> Self {
        let now = Instant::from_start(100 * SECOND);
        let queue =
            Queue { rate, depth, free_at: now, entered: 0, dropped: 0, waited: Duration::ZERO, waited_max: Duration::ZERO };
        Self { now, queue: Rc::new(RefCell::new(queue)), flows: vec![] }
    }

    /// One more flow of a round trip of `rtt` that loses so many in a hundred; across routers, so that nothing is known
    /// about its path.
    pub(super) fn join(&mut self, rng_seed: u64, rtt: Duration, loss: u32, congestion: Option<Box<dyn Congestion>>) -> usize {
        let routed = |last, port| PathAddr { on_link: false, ..addr(last, port) };
        let mut pair =
            Pair::between(rng_seed, LinkConfig { delay: rtt / 2, ..CLEAN }, [routed(1, 1_000), routed(2, 2_000)]).opened();
        pair.link.loss = loss;
        pair.ends.iter_mut().for_each(|end| end.session.grant(CREDIT_MAX));
        let now = self.now;
        pair.run_for(now.since(pair.now));
        pair.queue = Some(Rc::clone(&self.queue));
        if let Some(congestion) = congestion {
            pair.ends[A].session.congestion = congestion;
        }
        self.flows.push(Flow { pair, bulk: true, arrived: 0 });
        self.flows.len() - 1
    }

    /// Everything that happens within `duration`, in order.
    pub(super) fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        for flow in &mut self.flows {
            flow.pair.now = self.now;
            flow.settle();
        }
        while let Some((at, i)) = self.flows.iter().enumerate().filter_map(|(i, flow)| Some((flow.pair.next()?, i))).min()
            && at <= end
        {
            self.flows[i].pair.step(end);
            self.flows[i].settle();
        }
        self.now = end;
        self.flows.iter_mut().for_each(|flow| flow.pair.now = end);
    }

    /// Counts from here.
    pub(super) fn forget(&mut self) {
        self.queue.borrow_mut().forget();
        self.flows.iter_mut().for_each(|flow| flow.arrived = 0);
    }

    /// What each flow brought through, in bytes per second of `over`.
    pub(super) fn rates(&self, over: Duration) -> Vec<f64> {
        self.flows.iter().map(|flow| flow.arrived as f64 / over.as_secs_f64()).collect()
    }
}

impl Flow {
    /// Sends what it may and takes what came.
    fn settle(&mut self) {
        while self.bulk && self.pair.ends[A].session.queued() < BULK_AHEAD {
            self.pair.send(A, vec![7; BULK_LEN]);
        }
        self.pair.settle();
        if self.bulk {
            self.arrived += self.pair.ends[B].received.drain(..).map(|(_, bytes)| bytes.len()).sum::<usize>();
        }
        self.pair.ends[A].acked.clear();
    }
}

/// Jain's index of fairness: 1 where all have the same, 1 / n where one has all.
pub(super) fn jain(rates: &[f64]) -> f64 {
    let sum: f64 = rates.iter().sum();
    sum * sum / (rates.len() as f64 * rates.iter().map(|rate| rate * rate).sum::<f64>())
}
