//! The clock for silence.

use super::TICK;
use crate::io::live::now_ns;
use std::time::Instant;

/// Nanoseconds that go on with the loop which looks at it, so that a time in which this process stood still, or waited for
/// a sink, is no silence of its sources.
pub(super) struct Clock {
    looked: Instant,
    ns: i64,
    /// Of the messages that waited at some time, how many have not been taken; and that time.
    behind: Option<(usize, i64)>,
}

/// Up to when it is known which sources were silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// Up to now: nothing waits.
    Now(i64),
    /// Up to a time at which the messages waited that have been taken since.
    Then(i64),
    /// What waits may be from any of them.
    No,
}

impl Clock {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            looked: now,
            ns: now_ns(),
            behind: None,
        }
    }

    /// Goes on to this moment, by twice the time between two looks at most.
    pub(super) fn look(&mut self, now: Instant) -> i64 {
        let since = now.saturating_duration_since(self.looked).min(2 * TICK);
        self.looked = now;
        self.ns += since.as_nanos() as i64;
        self.ns
    }

    /// One message has been taken, if there was one, and so many wait.
    pub(super) fn taken(&mut self, waiting: usize) -> Known {
        let known = match &mut self.behind {
            _ if waiting == 0 => Known::Now(self.ns),
            Some((left @ 2.., _)) => {
                *left -= 1;
                return Known::No;
            }
            Some((_, ns)) => Known::Then(*ns),
            None => Known::No,
        };
        self.behind = (waiting > 0).then_some((waiting, self.ns));
        known
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

    #[test]
    fn what_waits_is_taken_before_silence_is_known() {
        let start = Instant::now();
        let mut clock = Clock::new(start);
        let begun = clock.ns();
        let mut taken = |ms: u64, waiting: usize| {
            clock.look(start + Duration::from_millis(ms));
            clock.taken(waiting)
        };
        let at = |ms: i64| begun + ms * 1_000_000;
        assert_eq!(taken(10, 0), Known::Now(at(10)));
        // Three wait at 20; they have been taken at 50, when others wait.
        let known: Vec<Known> = [(20, 3), (30, 4), (40, 4), (50, 2), (60, 2), (70, 1), (80, 1), (90, 0)]
            .into_iter()
            .map(|(ms, waiting)| taken(ms, waiting))
            .collect();
        let want = [
            Known::No,
            Known::No,
            Known::No,
            Known::Then(at(20)),
            Known::No,
            Known::Then(at(50)),
            Known::Then(at(70)),
            Known::Now(at(90)),
        ];
        assert_eq!(known, want);
    }
}
