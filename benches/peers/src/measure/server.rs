//! The side that listens, receives and answers.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{Shared, Side, cpu, is_last, sent};
use crate::{
    plan::{ANSWER_LEN, LARGE_LEN, Work},
    transport::{Conn, Transport},
};

/// What a transport gets beyond the plan until all must have arrived.
const GRACE: Duration = Duration::from_secs(15);
/// Once all is sent, what loses messages gets this long for the last.
const LOST: Duration = Duration::from_millis(300);
/// How often it is looked whether something is over.
const LOOK: Duration = Duration::from_millis(10);
/// The client has heard the last word by then.
const LINGER_MAX: Duration = Duration::from_secs(20);

/// Does the server's part of the work.
pub(super) async fn run<T: Transport>(transport: &T, mut listener: T::Listener, shared: &Shared) -> Result<Side> {
    if let Work::Dials { count } = shared.work {
        return dials(transport, &mut listener, shared, count).await;
    }
    let mut conn = transport.accept(&mut listener).await?;
    let mut side = Side::default();
    let before = cpu();
    match shared.work {
        Work::PingPong { .. } => ping_pong(&mut conn).await?,
        Work::Flood { count, limit, .. } => {
            within(flood(&mut conn, shared, count, limit, &mut side), shared, limit).await?;
            say_done(&mut conn).await?;
        }
        Work::Paced { count, per_second } => {
            let planned = Duration::from_secs_f64(count as f64 / f64::from(per_second));
            within(paced(&mut conn, shared, count, &mut side), shared, planned + GRACE).await?;
            say_done(&mut conn).await?;
        }
        Work::Dials { .. } => unreachable!("done above"),
    }
    side.cpu = cpu() - before;
    linger(&mut conn, shared).await;
    Ok(side)
}

async fn dials<T: Transport>(transport: &T, listener: &mut T::Listener, shared: &Shared, count: usize) -> Result<Side> {
    let (mut message, mut held, mut before) = (Vec::new(), Vec::new(), 0.0);
    for number in 0..=count {
        if number == 1 {
            before = cpu();
        }
        let mut conn = transport.accept(listener).await?;
        conn.receive(&mut message).await?;
        conn.send(&[0; ANSWER_LEN]).await?;
        conn.flush().await?;
        held.push(conn);
    }
    let cpu = cpu() - before;
    if let Some(conn) = held.last_mut() {
        linger(conn, shared).await;
    }
    Ok(Side { cpu, count, ..Side::default() })
}

async fn ping_pong(conn: &mut impl Conn) -> Result<()> {
    let mut message = Vec::new();
    loop {
        conn.receive(&mut message).await?;
        if is_last(&message) {
            return Ok(());
        }
        conn.send(&[0; ANSWER_LEN]).await?;
        conn.flush().await?;
    }
}

async fn flood(conn: &mut impl Conn, shared: &Shared, count: usize, limit: Duration, side: &mut Side) -> Result<()> {
    let mut message = Vec::new();
    let mut start = Duration::ZERO;
    while side.count < count {
        conn.receive(&mut message).await?;
        if side.count == 0 {
            start = sent(&message)?;
        }
        side.count += 1;
        side.bytes += message.len();
        // Asking the clock costs as much as a small message.
        if message.len() >= LARGE_LEN || side.count.is_multiple_of(64) || side.count == count {
            let wall = shared.epoch.elapsed() - start;
            side.wall = wall.as_secs_f64();
            if wall > limit {
                break;
            }
        }
    }
    Ok(())
}

async fn paced(conn: &mut impl Conn, shared: &Shared, count: usize, side: &mut Side) -> Result<()> {
    let mut message = Vec::new();
    while side.count < count {
        conn.receive(&mut message).await?;
        side.latencies.push((shared.epoch.elapsed() - sent(&message)?).as_secs_f64());
        side.count += 1;
    }
    Ok(())
}

/// Until it is done, or has had its time; what came until then stands.
async fn within(work: impl Future<Output = Result<()>>, shared: &Shared, limit: Duration) -> Result<()> {
    let given_up = async {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            tokio::time::sleep(LOOK).await;
            if shared.may_lose && shared.sent.load(Ordering::Relaxed) {
                return tokio::time::sleep(LOST).await;
            }
        }
    };
    tokio::select! {
        biased;
        outcome = work => outcome,
        () = given_up => Ok(()),
    }
}

async fn say_done(conn: &mut impl Conn) -> Result<()> {
    conn.send(&[1; ANSWER_LEN]).await?;
    conn.flush().await
}

/// What was said last may have to be said again.
async fn linger(conn: &mut impl Conn, shared: &Shared) {
    let end = Instant::now() + LINGER_MAX;
    while !shared.over.load(Ordering::Relaxed) && Instant::now() < end {
        if conn.idle_until(Instant::now() + LOOK).await.is_err() {
            return;
        }
    }
}
