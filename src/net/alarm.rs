//! The timer of a loop that asks for another deadline after every datagram. What is due then is not known here.

use std::{pin::Pin, time::Duration};

use tokio::time::{Instant, Sleep, sleep_until};

/// One timer that stays armed. A later deadline leaves it as it is: it rings too early once, and the loop finds nothing
/// due. To be armed and disarmed with every datagram cost more than that, and where a deadline came before the one that the
/// runtime slept for, two system calls.
#[derive(Debug)]
pub struct Alarm {
    sleep: Pin<Box<Sleep>>,
}

impl Alarm {
    /// Not armed. Must be called in a tokio runtime.
    pub fn new() -> Self {
        Self { sleep: Box::pin(sleep_until(Instant::now())) }
    }

    /// Ready after `pause` at the latest, and perhaps before: once for a deadline that was asked for earlier.
    pub async fn rings(&mut self, pause: Duration) {
        let at = Instant::now() + pause;
        if at < self.sleep.deadline() || self.sleep.is_elapsed() {
            self.sleep.as_mut().reset(at);
        }
        self.sleep.as_mut().await;
    }
}

impl Default for Alarm {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Milliseconds until it rings.
    async fn rings_after(alarm: &mut Alarm, pause: Duration) -> u128 {
        let before = Instant::now();
        alarm.rings(pause).await;
        before.elapsed().as_millis()
    }

    #[tokio::test(start_paused = true)]
    async fn it_rings_when_asked_to() {
        let mut alarm = Alarm::new();
        for pause in [5, 1, 2_000, 0, 7] {
            assert_eq!(rings_after(&mut alarm, pause * MS).await, u128::from(pause));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_asked_for_before_rings_once_and_never_is_it_late() {
        let mut alarm = Alarm::new();
        assert!(tokio::time::timeout(MS, alarm.rings(2_000 * MS)).await.is_err());
        assert!(tokio::time::timeout(MS, alarm.rings(10 * MS)).await.is_err());
        assert_eq!(rings_after(&mut alarm, 500 * MS).await, 9);
        assert_eq!(rings_after(&mut alarm, 491 * MS).await, 491);
    }
}
