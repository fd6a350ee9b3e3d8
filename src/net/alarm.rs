//! The timer of a loop that asks for another deadline after every datagram. What is due then is not known here.

use std::{pin::Pin, time::Duration};

use tokio::time::{Instant, Sleep, sleep_until};

/// One timer that stays armed. A later deadline leaves it as it is: it rings too early once, and the loop finds nothing
/// due. To be armed and disarmed with every datagram cost more than that, and where a deadline came before the one that the
/// runtime slept for, two system calls.
#[derive(Debug)]
pub struct Alarm {
    sleep: Pin<Box<Sleep>>,
    /// It has not rung since it was set.
    armed: bool,
}

impl Alarm {
    /// Not armed. Must be called in a tokio runtime.
    pub fn new() -> Self {
        Self { sleep: Box::pin(sleep_until(Instant::now())), armed: false }
    }

    /// Ready after `pause` at the latest, and perhaps before: once for a deadline that was asked for earlier.
    pub async fn rings(&mut self, pause: Duration) {
        let at = Instant::now() + pause;
        if !self.armed || at < self.sleep.deadline() {
            self.sleep.as_mut().reset(at);
            self.armed = true;
        }
        self.sleep.as_mut().await;
        self.armed = false;
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

    const MOMENT: Duration = Duration::from_millis(5);
    /// Longer than anybody waits for a test.
    const LONG: Duration = Duration::from_secs(3_600);

    async fn rings_within_a_moment(alarm: &mut Alarm, pause: Duration) -> bool {
        tokio::time::timeout(MOMENT, alarm.rings(pause)).await.is_ok()
    }

    #[tokio::test]
    async fn an_earlier_deadline_is_not_held_up_by_a_later_one() {
        let mut alarm = Alarm::new();
        assert!(!rings_within_a_moment(&mut alarm, LONG).await);
        alarm.rings(MOMENT).await;
        alarm.rings(Duration::ZERO).await;
    }

    #[tokio::test]
    async fn what_was_asked_for_before_rings_once_and_no_more() {
        let mut alarm = Alarm::new();
        assert!(!rings_within_a_moment(&mut alarm, 20 * MOMENT).await);
        alarm.rings(LONG).await;
        assert!(!rings_within_a_moment(&mut alarm, LONG).await);
    }
}
