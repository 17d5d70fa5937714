//! Watermarks: how far the event time of a feed has come, which rows are late, and which are too far ahead.
//!
//! The watermark of a partition is its newest event time less the lateness, moved row by row: whether a row is late
//! depends on the rows of its own partition before it and on nothing else. Windows close at the minimum over partitions;
//! one that has been silent for the idle timeout is left out, and begins again at the watermark of the feed. The clock is
//! the caller's.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How rows may be out of order, in nanoseconds of event time, and how long a partition may be silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Lateness {
    /// How far the watermark stays behind the newest row of a partition.
    pub lateness_ns: i64,
    /// A row farther ahead of the newest before it is a bad row.
    pub max_ahead_ns: Option<i64>,
    /// A partition that is silent for so long, by the clock, holds no window open; where all are silent, the watermark
    /// goes on with the clock.
    pub idle_timeout_ns: Option<i64>,
}

impl Lateness {
    /// Rows in order.
    pub fn new() -> Self {
        Self::default()
    }

    /// Rows up to this much behind the newest are in time.
    #[must_use]
    pub fn lateness_ns(mut self, ns: i64) -> Self {
        self.lateness_ns = ns;
        self
    }

    /// Rows farther ahead than this are bad.
    #[must_use]
    pub fn max_ahead_ns(mut self, ns: i64) -> Self {
        self.max_ahead_ns = Some(ns);
        self
    }

    /// Partitions that are silent for so long are left out.
    #[must_use]
    pub fn idle_timeout_ns(mut self, ns: i64) -> Self {
        self.idle_timeout_ns = Some(ns);
        self
    }
}

/// One partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Partition {
    /// Its newest event time.
    pub(crate) newest_ns: i64,
    /// Its watermark is nowhere before this.
    pub(crate) floor_ns: i64,
    /// When it last had rows, by the clock.
    pub(crate) seen_ns: i64,
    pub(crate) idle: bool,
}

impl Partition {
    fn watermark(&self, lateness_ns: i64) -> i64 {
        self.newest_ns.saturating_sub(lateness_ns).max(self.floor_ns)
    }
}

/// The watermarks of a feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Watermarks {
    pub(crate) rules: Lateness,
    pub(crate) partitions: BTreeMap<u32, Partition>,
    /// That of the feed; never goes back. `i64::MIN` before the first row.
    pub(crate) feed_ns: i64,
}

/// The rows of a batch that cannot be taken, by their places.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refused {
    /// Rows whose windows have closed.
    pub late: Vec<u32>,
    /// Rows that are farther ahead than they may be.
    pub ahead: Vec<u32>,
}

impl Refused {
    /// Whether every row was taken.
    pub fn is_empty(&self) -> bool {
        self.late.is_empty() && self.ahead.is_empty()
    }
}

impl Watermarks {
    pub(crate) fn new(rules: Lateness) -> Self {
        Self {
            rules,
            partitions: BTreeMap::new(),
            feed_ns: i64::MIN,
        }
    }

    /// Moves the watermark of a partition row by row; the rows that are late or too far ahead. Panes are `pane_ns` long;
    /// where there are none, no row is late.
    pub(crate) fn admit(&mut self, partition: u32, times: &[i64], pane_ns: Option<i64>, now_ns: i64) -> Refused {
        let mut refused = Refused::default();
        if times.is_empty() {
            return refused;
        }
        let feed_ns = self.feed_ns;
        let Lateness {
            lateness_ns,
            max_ahead_ns,
            ..
        } = self.rules;
        let state = self.partitions.entry(partition).or_insert(Partition {
            newest_ns: i64::MIN,
            floor_ns: feed_ns,
            seen_ns: now_ns,
            idle: false,
        });
        if state.idle {
            state.floor_ns = state.floor_ns.max(feed_ns);
            state.idle = false;
        }
        state.seen_ns = now_ns;
        let mut watermark = state.watermark(lateness_ns);
        for (i, time) in times.iter().enumerate() {
            if *time > state.newest_ns {
                let limit = max_ahead_ns.filter(|_| state.newest_ns != i64::MIN);
                if limit.is_some_and(|limit| *time > state.newest_ns.saturating_add(limit)) {
                    refused.ahead.push(i as u32);
                    continue;
                }
            }
            // A row at or behind the watermark may be in a pane that ends after it.
            if *time < watermark
                && let Some(pane_ns) = pane_ns
            {
                let end = (i128::from(time.div_euclid(pane_ns)) + 1) * i128::from(pane_ns);
                if end <= i128::from(watermark) {
                    refused.late.push(i as u32);
                    continue;
                }
            }
            if *time > state.newest_ns {
                state.newest_ns = *time;
                watermark = state.watermark(lateness_ns);
            }
        }
        refused
    }

    /// The watermark of the feed at this time of the clock.
    pub(crate) fn advance(&mut self, now_ns: i64) -> i64 {
        if let Some(timeout) = self.rules.idle_timeout_ns {
            // Only rows end a silence: this clock may be behind the one before.
            for state in self.partitions.values_mut() {
                state.idle |= now_ns.saturating_sub(state.seen_ns) >= timeout;
            }
        }
        let lateness_ns = self.rules.lateness_ns;
        // A partition whose rows were all late stands where it began.
        let with_rows = || {
            let stands = |state: &&Partition| state.watermark(lateness_ns) != i64::MIN;
            self.partitions.values().filter(stands)
        };
        let active = with_rows()
            .filter(|state| !state.idle)
            .map(|state| state.watermark(lateness_ns));
        // Where all are silent, event time goes on with the clock from when the last was heard of.
        let silent = || {
            let silence = now_ns
                .saturating_sub(with_rows().map(|state| state.seen_ns).max()?)
                .max(0);
            let newest = with_rows().map(|state| state.watermark(lateness_ns)).max()?;
            Some(newest.saturating_add(silence))
        };
        if let Some(watermark) = active.min().or_else(silent) {
            self.feed_ns = self.feed_ns.max(watermark);
        }
        self.feed_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    #[test]
    fn a_row_is_late_by_the_rows_of_its_own_partition_before_it() {
        let mut marks = Watermarks::new(Lateness::new().lateness_ns(2 * S));
        let times = [5 * S, S, 20 * S, 17 * S, 18 * S - 1, 10 * S, 18 * S];
        let refused = marks.admit(0, &times, Some(5 * S), 0);
        // The watermark is 3 s before row 1, whose pane ends at 5 s; 18 s from row 3 on.
        assert_eq!(refused.late, [5]);
        assert_eq!(marks.admit(1, &[0], Some(5 * S), 0), Refused::default());
        assert_eq!(marks.advance(0), -2 * S);
    }

    #[test]
    fn a_row_far_ahead_moves_nothing() {
        let mut marks = Watermarks::new(Lateness::new().max_ahead_ns(60 * S));
        let refused = marks.admit(0, &[S, 4_102_444_800 * S, 2 * S, 62 * S], Some(S), 0);
        assert_eq!((refused.ahead, refused.late), (vec![1], vec![]));
        assert_eq!(marks.advance(0), 62 * S);
    }

    #[test]
    fn a_silent_partition_is_left_out_and_comes_back_at_the_watermark_of_the_feed() {
        let mut marks = Watermarks::new(Lateness::new().idle_timeout_ns(30 * S));
        marks.admit(0, &[100 * S], Some(S), 0);
        marks.admit(1, &[10 * S], Some(S), 0);
        assert_eq!(marks.advance(29 * S), 10 * S);
        marks.admit(0, &[120 * S], Some(S), 29 * S);
        assert_eq!(marks.advance(31 * S), 120 * S);
        assert_eq!(marks.admit(1, &[50 * S, 121 * S], Some(S), 40 * S).late, [0]);
        assert_eq!(marks.advance(41 * S), 120 * S);
        // All silent: the newest goes on with the clock.
        assert_eq!(marks.advance(100 * S), 121 * S + 60 * S);
    }
}
