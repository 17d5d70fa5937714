//! The clock for silence.

use super::TICK;
use crate::io::live::now_ns;
use std::time::Instant;

/// Nanoseconds that go on with the loop which looks at it, so that a time in which this process stood still, or waited for
/// a sink, is no silence of its sources.
pub(super) struct Clock {
    looked: Instant,
    ns: i64,
}

impl Clock {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            looked: now,
            ns: now_ns(),
        }
    }

    /// Goes on to this moment, by twice the time between two looks at most.
    pub(super) fn look(&mut self, now: Instant) -> i64 {
        let since = now.saturating_duration_since(self.looked).min(2 * TICK);
        self.looked = now;
        self.ns += since.as_nanos() as i64;
        self.ns
    }

    /// Where it was when it was last looked at.
    pub(super) fn ns(&self) -> i64 {
        self.ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn it_goes_on_with_the_loop_and_not_while_the_loop_stands() {
        let start = Instant::now();
        let mut clock = Clock::new(start);
        let begun = clock.ns();
        let at = |ms: u64| start + Duration::from_millis(ms);
        assert_eq!(clock.look(at(50)) - begun, 50_000_000);
        assert_eq!(clock.look(at(130)) - begun, 130_000_000);
        assert_eq!(clock.look(at(3_600_130)) - begun, 330_000_000);
        assert_eq!(clock.look(at(3_600_140)) - begun, 340_000_000);
        assert_eq!(clock.ns() - begun, 340_000_000);
    }
}
