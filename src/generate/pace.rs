//! So many rows a second and no more; and waiting before something is tried again.

use std::time::{Duration, Instant};

/// When rows may go.
#[derive(Debug)]
pub(super) struct Pace {
    rows_per_second: Option<f64>,
    begun: Instant,
}

impl Pace {
    /// From now on so many rows a second; without a number as many as will go.
    pub(super) fn new(rows_per_second: Option<f64>) -> Self {
        Self {
            rows_per_second,
            begun: Instant::now(),
        }
    }

    /// Waits until the row behind so many others is due.
    pub(super) fn wait(&self, rows_before: u64) {
        let Some(rate) = self.rows_per_second else { return };
        let due = Duration::try_from_secs_f64(rows_before as f64 / rate).unwrap_or(Duration::MAX);
        pause(due.saturating_sub(self.begun.elapsed()));
    }

    /// How long it has been.
    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }
}

/// Does nothing for a while.
pub(super) fn pause(duration: Duration) {
    if !duration.is_zero() {
        std::thread::sleep(duration);
    }
}
