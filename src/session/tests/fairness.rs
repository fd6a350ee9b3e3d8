//! Flows that share a bottleneck: who gets how much, and how long everybody waits in its queue.

use super::{
    bottleneck::{Bottleneck, jain},
    cubic::Cubic,
    *,
};

/// 10 Mbit/s.
const RATE: u64 = 1_250_000;
const RTT: Duration = Duration::from_millis(50);

fn cubic() -> Option<Box<dyn Congestion>> {
    Some(Box::new(Cubic::new()))
}

/// What is said of a run, and of all its flows together the part of the link's rate.
fn told(net: &Bottleneck, over: Duration) -> (String, f64) {
    let rates = net.rates(over);
    let used = rates.iter().sum::<f64>() / RATE as f64;
    let queue = net.queue.borrow();
    let said = format!(
        "{:?} kB/s, jain {:.3}, used {used:.2}, {} ‰ dropped, waited {:?}, {:?} at most",
        rates.iter().map(|rate| *rate as u64 / 1_000).collect::<Vec<_>>(),
        jain(&rates),
        queue.dropped_per_mille(),
        queue.wait(),
        queue.wait_max()
    );
    println!("{said}");
    (said, used)
}

#[test]
fn two_flows_come_to_the_same_whoever_was_first_and_whatever_the_buffer() {
    for (rng_seed, depth) in [(910, RTT / 2), (920, RTT / 2), (910, RTT), (920, RTT), (910, 4 * RTT), (920, 4 * RTT)] {
        let mut net = Bottleneck::new(RATE, depth);
        net.join(rng_seed, RTT, 0, None);
        net.run_for(5 * SECOND);
        net.join(rng_seed + 1, RTT, 0, None);
        net.run_for(8 * SECOND);
        net.forget();
        net.run_for(15 * SECOND);
        let (said, used) = told(&net, 15 * SECOND);
        assert!(jain(&net.rates(15 * SECOND)) >= 0.95 && used >= 0.9, "{said}");
        let queue = net.queue.borrow();
        assert!(queue.dropped_per_mille() <= 20 && queue.wait() <= depth.min(2 * RTT), "{said}");
    }
}

#[test]
fn eight_flows_share_and_their_queue_stays_short() {
    let mut net = Bottleneck::new(RATE, 2 * RTT);
    for i in 0..8 {
        net.join(960 + i, RTT, 0, None);
        net.run_for(SECOND);
    }
    net.run_for(8 * SECOND);
    net.forget();
    net.run_for(15 * SECOND);
    let (said, used) = told(&net, 15 * SECOND);
    assert!(jain(&net.rates(15 * SECOND)) >= 0.9 && used >= 0.9, "{said}");
    assert!(net.queue.borrow().dropped_per_mille() <= 30, "{said}");
}

#[test]
fn beside_cubic_each_gets_a_quarter_at_least() {
    let minute = 60 * SECOND;
    for (rng_seed, depth, first) in [(930, RTT, true), (931, RTT, false), (932, 4 * RTT, true), (933, 4 * RTT, false)] {
        let mut net = Bottleneck::new(RATE, depth);
        net.join(rng_seed, RTT, 0, if first { None } else { cubic() });
        net.run_for(3 * SECOND);
        net.join(rng_seed, RTT, 0, if first { cubic() } else { None });
        net.forget();
        net.run_for(minute);
        let (said, used) = told(&net, minute);
        let least = net.rates(minute).into_iter().fold(f64::MAX, f64::min) / RATE as f64;
        assert!(least >= 0.25 * used && used >= 0.9, "{said}");
    }
}

#[test]
fn a_lone_flow_fills_its_link_and_keeps_the_queue_short() {
    // Buffer in round trips: a tenth, which is five packets, a quarter, a half, and what takes a second to empty.
    for (depth, dropped, waited) in
        [(RTT / 10, 350, RTT / 10), (RTT / 4, 70, RTT / 4), (RTT / 2, 15, RTT * 2 / 5), (20 * RTT, 0, RTT * 3 / 5)]
    {
        let mut net = Bottleneck::new(RATE, depth);
        net.join(940, RTT, 0, None);
        net.run_for(3 * SECOND);
        net.forget();
        // Longer than a shortest round trip is believed.
        net.run_for(30 * SECOND);
        let (said, used) = told(&net, 30 * SECOND);
        let queue = net.queue.borrow();
        assert!(used >= if depth < RTT / 4 { 0.5 } else { 0.88 } && queue.dropped_per_mille() <= dropped, "{said}");
        assert!(queue.wait() <= waited && queue.wait_max() <= 2 * RTT, "{said}");
    }
}

#[test]
fn a_message_does_not_wait_behind_another_flow_s_bulk() {
    for rng_seed in [950, 952] {
        let mut net = Bottleneck::new(RATE, 4 * RTT);
        net.join(rng_seed, RTT, 0, None);
        let chat = net.join(rng_seed + 1, RTT, 0, None);
        net.flows[chat].bulk = false;
        net.run_for(3 * SECOND);
        let mut delays = vec![];
        for i in 0..150 {
            let start = net.now;
            net.flows[chat].pair.send(A, vec![1; 100]);
            while net.flows[chat].pair.ends[B].received.len() <= i {
                net.run_for(MS);
            }
            delays.push(net.now.since(start));
            net.run_for(50 * MS);
        }
        delays.sort_unstable();
        let (half, most) = (delays[delays.len() / 2], delays[delays.len() - 1]);
        println!("{half:?} {most:?}");
        assert!(half <= 60 * MS && most <= 120 * MS, "25 ms is the way: {half:?} {most:?}");
    }
}
