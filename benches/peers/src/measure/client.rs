//! The side that dials and sends.

use std::{
    net::SocketAddr,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{Shared, Side, cpu, memory, stamp};
use crate::{
    plan::{LARGE_LEN, SMALL_LEN, Work},
    transport::{Conn, Transport},
};

/// Round trips before those that count, one in so many, and at most.
const WARM_UP: usize = 20;
const WARM_UP_MAX: usize = 500;
/// What a server needs at most after the last message, until it has seen all.
const LAST_WORD_MAX: Duration = Duration::from_secs(60);
/// What was opened settles before its memory is looked at.
const SETTLE: Duration = Duration::from_millis(500);
/// A paced message that is later than this was held up by its transport: it counts from when it should have left.
const LATE: Duration = Duration::from_millis(3);

/// Does the client's part of the work.
pub(super) async fn run<T: Transport>(transport: &T, at: SocketAddr, to: SocketAddr, shared: &Shared) -> Result<Side> {
    let mut dialer = transport.dialer(at).await?;
    if let Work::Dials { count } = shared.work {
        return dials(transport, &mut dialer, to, count).await;
    }
    let mut conn = transport.dial(&mut dialer, to).await?;
    match shared.work {
        Work::PingPong { count } => ping_pong(&mut conn, count).await,
        Work::Flood { count, len, limit } => flood(&mut conn, shared, count, len, limit).await,
        Work::Paced { count, per_second } => paced(&mut conn, shared, count, per_second).await,
        Work::Dials { .. } => unreachable!("done above"),
    }
}

async fn dials<T: Transport>(transport: &T, dialer: &mut T::Dialer, to: SocketAddr, count: usize) -> Result<Side> {
    let (mut answer, mut held) = (Vec::new(), Vec::new());
    let (mut cpu_before, mut memory_before) = (0.0, 0.0);
    // One more, first: what is made once is not counted.
    for number in 0..=count {
        if number == 1 {
            memory_before = memory()?;
            cpu_before = cpu();
        }
        let mut conn = transport.dial(dialer, to).await?;
        conn.send(&[0; SMALL_LEN]).await?;
        conn.flush().await?;
        conn.receive(&mut answer).await?;
        held.push(conn);
    }
    let cpu = cpu() - cpu_before;
    if let Some(conn) = held.last_mut() {
        conn.idle_until(Instant::now() + SETTLE).await?;
    }
    Ok(Side { cpu, count, memory: memory()? - memory_before, ..Side::default() })
}

async fn ping_pong(conn: &mut impl Conn, count: usize) -> Result<Side> {
    let warm_up = (count / WARM_UP).min(WARM_UP_MAX);
    let (mut message, mut answer) = ([0; SMALL_LEN], Vec::new());
    let mut side = Side { count, latencies: Vec::with_capacity(count), ..Side::default() };
    for number in 0..warm_up + count {
        let start = Instant::now();
        conn.send(&message).await?;
        conn.flush().await?;
        conn.receive(&mut answer).await?;
        if number >= warm_up {
            side.latencies.push(start.elapsed().as_secs_f64());
        }
    }
    stamp(&mut message, true, Duration::ZERO);
    conn.send(&message).await?;
    conn.flush().await?;
    // Whatever becomes of it, what was measured stands.
    let _ = conn.idle_until(Instant::now() + Duration::from_millis(100)).await;
    Ok(side)
}

async fn flood(conn: &mut impl Conn, shared: &Shared, count: usize, len: usize, limit: Duration) -> Result<Side> {
    let mut message = vec![0; len];
    let (start, before) = (Instant::now(), cpu());
    stamp(&mut message, false, start.duration_since(shared.epoch));
    let mut side = Side::default();
    let sending = async {
        while side.count < count {
            // What blocks its thread does not notice the timeout.
            if (len >= LARGE_LEN || side.count.is_multiple_of(64)) && start.elapsed() > limit {
                break;
            }
            conn.send(&message).await?;
            side.count += 1;
        }
        conn.flush().await
    };
    if let Ok(sent) = tokio::time::timeout(limit, sending).await {
        sent?;
    }
    shared.sent.store(true, Ordering::Relaxed);
    last_word(conn).await;
    side.cpu = cpu() - before;
    Ok(side)
}

async fn paced(conn: &mut impl Conn, shared: &Shared, count: usize, per_second: u32) -> Result<Side> {
    let mut message = [0; SMALL_LEN];
    let (start, before) = (Instant::now(), cpu());
    for number in 0..count {
        let due = start + Duration::from_secs_f64(number as f64 / f64::from(per_second));
        if Instant::now() < due {
            conn.idle_until(due).await?;
        }
        let now = Instant::now();
        let sent = if now.duration_since(due) < LATE { now } else { due };
        stamp(&mut message, false, sent.duration_since(shared.epoch));
        conn.send(&message).await?;
        conn.flush().await?;
    }
    shared.sent.store(true, Ordering::Relaxed);
    last_word(conn).await;
    Ok(Side { cpu: cpu() - before, count, ..Side::default() })
}

/// The server says when it has all, or has given up.
async fn last_word(conn: &mut impl Conn) {
    let mut word = Vec::new();
    let _ = tokio::time::timeout(LAST_WORD_MAX, conn.receive(&mut word)).await;
}
