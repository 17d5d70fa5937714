//! Watermarks: how far the event time of a feed has come, which rows are late, and which are too far ahead.
//!
//! The watermark of a partition is its newest event time less the lateness, moved row by row: whether a row is late
//! depends on the rows of its own partition before it and on nothing else. Windows close at the minimum over partitions;
//! one that has been silent for the idle timeout is left out until it has rows again, and so is one that has ended. A
//! partition that begins, or comes back, is nowhere before the watermark of the feed, as windows have closed by it; one
//! that is announced holds the watermark of the feed until its first row.
//!
//! A row that is more than `max_ahead` beyond the newest of its partition is too far ahead, unless the rows right before
//! it agree with it: [`AGREEING_ROWS`] rows in succession, all too far ahead and within `max_ahead` of each other, show
//! that time has leapt, and the last of them is taken. For the same reason a first row moves no watermark before a second
//! agrees with it. The order of the rows alone decides. The clock is the caller's.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How rows may be out of order, in nanoseconds of event time, and how long a partition may be silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Lateness {
    /// How far the watermark stays behind the newest row of a partition.
    pub lateness_ns: i64,
    /// A row farther ahead of the newest before it is a bad row, unless it is the third in succession and the three lie
    /// within this of each other: then time has leapt, and it is taken. The first row of a partition moves no watermark
    /// before another agrees with it.
    pub max_ahead_ns: Option<i64>,
    /// A partition that is silent for so long, by the clock of [`Engine::advance`](crate::Engine::advance), holds no
    /// window open; where all are silent, the watermark goes on with the clock.
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

/// Rows in succession that agree on a time too far ahead, until it is believed.
const AGREEING_ROWS: usize = 3;

/// One partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Partition {
    /// Its newest event time; `i64::MIN` before the first row.
    newest_ns: i64,
    /// Whether another row agrees with the newest.
    sure: bool,
    /// Its watermark is nowhere before this.
    floor_ns: i64,
    /// When it last had rows, by the clock; `None` for the next time of the clock.
    seen_ns: Option<i64>,
    /// Whether it was silent for the idle timeout and has had no row since.
    idle: bool,
    /// Whether its first row is waited for.
    expected: bool,
    /// Whether it has had its last row.
    ended: bool,
    /// The rows right before that were too far ahead, and how many of the places they take.
    ahead: [i64; AGREEING_ROWS - 1],
    ahead_rows: usize,
}

impl Partition {
    fn new(floor_ns: i64) -> Self {
        Self {
            newest_ns: i64::MIN,
            sure: false,
            floor_ns,
            seen_ns: None,
            idle: false,
            expected: false,
            ended: false,
            ahead: [0; AGREEING_ROWS - 1],
            ahead_rows: 0,
        }
    }

    fn has_rows(&self) -> bool {
        self.newest_ns != i64::MIN
    }

    /// Whether its newest row counts.
    fn is_sure(&self, rules: Lateness) -> bool {
        self.has_rows() && (self.sure || rules.max_ahead_ns.is_none())
    }

    fn watermark(&self, rules: Lateness) -> i64 {
        match self.is_sure(rules) {
            true => self.newest_ns.saturating_sub(rules.lateness_ns).max(self.floor_ns),
            false => self.floor_ns,
        }
    }

    /// Whether a row this far ahead is to be believed, as the rows right before it agree.
    fn believes(&mut self, time_ns: i64, max_ahead_ns: i64) -> bool {
        let before = &self.ahead[..self.ahead_rows.min(AGREEING_ROWS - 1)];
        let near = |before: &i64| i128::from(before.abs_diff(time_ns)) <= i128::from(max_ahead_ns);
        if !before.iter().all(near) {
            self.ahead_rows = 0;
        } else if before.len() == AGREEING_ROWS - 1 {
            return true;
        }
        self.ahead[self.ahead_rows] = time_ns;
        self.ahead_rows += 1;
        false
    }

    /// Takes the time of a row that is neither late nor too far ahead.
    fn moves_to(&mut self, time_ns: i64, rules: Lateness) {
        match rules.max_ahead_ns {
            Some(limit) if !self.sure && self.has_rows() => {
                self.sure = time_ns >= self.newest_ns.saturating_sub(limit);
                // Where the two disagree, it is the one ahead that waits for another.
                self.newest_ns = if self.sure {
                    self.newest_ns.max(time_ns)
                } else {
                    time_ns
                };
            }
            limit => {
                self.newest_ns = self.newest_ns.max(time_ns);
                self.sure |= limit.is_none();
            }
        }
    }
}

/// The caller's clock as time that has passed: a step back counts as none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Clock {
    at_ns: i64,
    /// What it showed last; not known to who goes on from a stored state.
    #[serde(skip)]
    shown_ns: Option<i64>,
}

impl Clock {
    fn shows(&mut self, now_ns: i64) {
        let passed = self.shown_ns.map_or(0, |shown| now_ns.saturating_sub(shown).max(0));
        self.at_ns = self.at_ns.saturating_add(passed);
        self.shown_ns = Some(now_ns);
    }
}

/// The watermarks of a feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Watermarks {
    pub(crate) rules: Lateness,
    partitions: BTreeMap<u32, Partition>,
    clock: Clock,
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
            clock: Clock::default(),
            feed_ns: i64::MIN,
        }
    }

    /// Goes on from these, with the own rules: every partition was heard of at the next time of the clock, as nobody
    /// knows how long the process was away.
    pub(crate) fn go_on(&mut self, stored: Self) {
        let rules = self.rules;
        *self = stored;
        self.rules = rules;
        self.partitions.values_mut().for_each(|state| state.seen_ns = None);
    }

    /// Waits for the first row of a partition; one that has ended begins again.
    pub(crate) fn expect(&mut self, partition: u32) {
        let feed_ns = self.feed_ns;
        let state = self.partitions.entry(partition).or_insert(Partition::new(feed_ns));
        if state.ended {
            state.ended = false;
            state.seen_ns = None;
        }
        state.expected = !state.has_rows();
    }

    /// Waits for the first row of a partition that it knows nothing of.
    pub(crate) fn expect_new(&mut self, partition: u32) {
        if !self.partitions.contains_key(&partition) {
            self.expect(partition);
        }
    }

    /// Waits for no row of a partition any more.
    pub(crate) fn end(&mut self, partition: u32) {
        if let Some(state) = self.partitions.get_mut(&partition) {
            state.ended = true;
            state.expected = false;
        }
    }

    fn shows(&mut self, now_ns: i64) {
        self.clock.shows(now_ns);
        let at_ns = self.clock.at_ns;
        for state in self.partitions.values_mut() {
            state.seen_ns.get_or_insert(at_ns);
        }
    }

    /// Moves the watermark of a partition row by row; the rows that are late or too far ahead. Panes are `pane_ns` long;
    /// where there are none, no row is late.
    pub(crate) fn admit(&mut self, partition: u32, times: &[i64], pane_ns: Option<i64>, now_ns: i64) -> Refused {
        let mut refused = Refused::default();
        if times.is_empty() {
            return refused;
        }
        self.shows(now_ns);
        let (feed_ns, rules) = (self.feed_ns, self.rules);
        let state = self.partitions.entry(partition).or_insert(Partition::new(feed_ns));
        state.seen_ns = Some(self.clock.at_ns);
        (state.idle, state.ended, state.expected) = (false, false, false);
        // A partition that holds the watermark of the feed is never before it.
        state.floor_ns = state.floor_ns.max(feed_ns);
        let mut watermark = state.watermark(rules);
        for (i, time) in times.iter().enumerate() {
            let mut leaps = false;
            if let Some(limit) = rules.max_ahead_ns {
                if state.has_rows() && *time > state.newest_ns.saturating_add(limit) {
                    leaps = state.believes(*time, limit);
                    if !leaps {
                        refused.ahead.push(i as u32);
                        continue;
                    }
                }
                state.ahead_rows = 0;
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
            if leaps {
                (state.newest_ns, state.sure) = (*time, true);
            } else if *time > state.newest_ns || !state.sure {
                state.moves_to(*time, rules);
            } else {
                continue;
            }
            watermark = state.watermark(rules);
        }
        refused
    }

    /// The watermark of the feed at this time of the clock: partitions that have been silent for too long are left out.
    pub(crate) fn advance(&mut self, now_ns: i64) -> i64 {
        self.shows(now_ns);
        if let Some(timeout) = self.rules.idle_timeout_ns {
            let at_ns = self.clock.at_ns;
            let silent = |state: &Partition| at_ns.saturating_sub(state.seen_ns.unwrap_or(at_ns)) >= timeout;
            let living = self.partitions.values_mut().filter(|state| !state.ended);
            living.for_each(|state| state.idle |= silent(state));
        }
        self.reach()
    }

    /// The watermark of the feed where the rows so far, and the clock when it was last looked at, have brought it.
    pub(crate) fn reach(&mut self) -> i64 {
        let rules = self.rules;
        let living = || self.partitions.values().filter(|state| !state.ended);
        // A partition whose rows were all late stands where it began.
        let stands = |state: &&Partition| state.has_rows() || state.floor_ns != i64::MIN;
        let holding = living().filter(|state| !state.idle && (state.expected || stands(state)));
        // Where all are silent, event time goes on with the clock from when the last was heard of.
        let silent = || {
            let at_ns = self.clock.at_ns;
            let counts = |state: &Partition| state.is_sure(rules) || state.floor_ns != i64::MIN;
            let known = || living().filter(|state| state.idle && counts(state));
            let seen = known().map(|state| state.seen_ns.unwrap_or(at_ns)).max()?;
            let newest = known().map(|state| state.watermark(rules)).max()?;
            Some(newest.saturating_add(at_ns.saturating_sub(seen)))
        };
        let least = holding.map(|state| state.watermark(rules)).min();
        if let Some(watermark) = least.or_else(silent) {
            self.feed_ns = self.feed_ns.max(watermark);
        }
        self.feed_ns
    }
}

#[cfg(test)]
mod tests;
