//! The clocks of this machine, read into the core's values, and the sign that it slept. What is done
//! at a time does not live here.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::clock::{Instant, Now, Unix};

/// The clock goes on this much further than the machine ran: it slept (protocol, ANNOUNCE).
pub const SLEEP_MIN: Duration = Duration::from_secs(3);

/// The clock that goes on while the machine sleeps.
#[cfg(any(target_os = "linux", target_os = "android"))]
const BOOT_CLOCK: ClockId = ClockId::CLOCK_BOOTTIME;
/// On macOS this one counts sleep; elsewhere it may not, and a wake-up is then noticed by its deadlines.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const BOOT_CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;

/// Both clocks.
pub fn now() -> Now {
    let since_1970 = read(ClockId::CLOCK_REALTIME);
    Now { instant: instant(), unix: Unix(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)) }
}

/// The clock that deadlines are of.
pub fn instant() -> Instant {
    Instant::from_start(read(BOOT_CLOCK))
}

/// Notices that the machine slept: the boot clock jumped ahead of the one that stands still meanwhile.
#[derive(Debug)]
pub struct SleepWatch {
    ahead: Duration,
}

impl SleepWatch {
    /// Starts to watch.
    pub fn new() -> Self {
        Self { ahead: slept_since_boot() }
    }

    /// True once after each sleep of at least [`SLEEP_MIN`].
    pub fn woke(&mut self) -> bool {
        self.woke_at(slept_since_boot())
    }

    fn woke_at(&mut self, ahead: Duration) -> bool {
        let jump = ahead.saturating_sub(self.ahead);
        self.ahead = ahead;
        jump > SLEEP_MIN
    }
}

impl Default for SleepWatch {
    fn default() -> Self {
        Self::new()
    }
}

fn slept_since_boot() -> Duration {
    read(BOOT_CLOCK).saturating_sub(read(ClockId::CLOCK_MONOTONIC))
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock).expect("every system that we build for has this clock");
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    let nanoseconds = u32::try_from(time.tv_nsec()).unwrap_or(0);
    Duration::new(seconds, nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_never_goes_back() {
        let mut last = now().instant;
        for _ in 0..1_000 {
            let next = now().instant;
            assert!(next >= last);
            last = next;
        }
    }

    #[test]
    fn a_sleep_is_noticed_once_and_drift_never() {
        let start = Duration::from_secs(100);
        let mut watch = SleepWatch { ahead: start };
        assert!(!watch.woke_at(start + SLEEP_MIN));
        assert!(watch.woke_at(start + SLEEP_MIN * 3));
        assert!(!watch.woke_at(start + SLEEP_MIN * 3));
    }
}
