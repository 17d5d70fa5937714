//! Windows of feeds as a model that keeps every row: the rules in words.
//!
//! A row is late if the end of its pane is not beyond the watermark of its partition before it. It is bad if it is farther
//! ahead of the newest of its partition than it may be, unless it is the third in succession that is and the three agree;
//! where there is such a limit a first row moves no watermark before another agrees with it. A new partition, and one that
//! comes back from silence, begins at the watermark of the feed, which is the least of those that are not silent; where
//! all are silent it goes on with the clock. A window closes, once, when the watermark of the feed has reached its end. A
//! key that is given up leaves all that it has in open windows as parts of them, and what comes later is another part; so
//! it is with all that is open where the feed ends, should it go on.

use crate::random::Random;
use millstream::engine::Lateness;
use millstream::{Engine, Spec, Window};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const S: i64 = 1_000_000_000;

/// Event time in nanoseconds, key, value.
pub(crate) type Row = (i64, i64, f64);

/// What is asked.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) window: Option<Window>,
    lateness_ns: i64,
    max_ahead_ns: Option<i64>,
    idle_timeout_ns: Option<i64>,
}

impl Question {
    pub(crate) fn random(random: &mut Random) -> Self {
        let mut some = |n: u64, unit: i64| (1 + random.below(n) as i64) * unit;
        let slide = some(5, S);
        let size = slide + (some(4, 1) - 1) * some(3, S);
        let (count, step) = (some(30, 1), some(30, 1));
        let (lateness_ns, ahead, idle) = (some(5, S) - S, some(30, S), some(30, S));
        let window = match random.below(8) {
            0 => None,
            1 => Some(Window::Rows {
                size: count,
                slide: count,
            }),
            2 => Some(Window::Rows {
                size: count.max(step),
                slide: count.min(step),
            }),
            3 | 4 => Some(Window::Time {
                size_ns: size,
                slide_ns: size,
            }),
            _ => Some(Window::Time {
                size_ns: size,
                slide_ns: slide,
            }),
        };
        Self {
            window,
            lateness_ns,
            max_ahead_ns: (random.below(2) == 0).then_some(ahead),
            idle_timeout_ns: (random.below(2) == 0).then_some(idle),
        }
    }

    pub(crate) fn engine(&self) -> Engine {
        let mut lateness = Lateness::new().lateness_ns(self.lateness_ns);
        if let Some(ns) = self.max_ahead_ns {
            lateness = lateness.max_ahead_ns(ns);
        }
        if let Some(ns) = self.idle_timeout_ns {
            lateness = lateness.idle_timeout_ns(ns);
        }
        let spec = Spec::new().by(["k"]).quantiles(&[0.5]);
        let spec = match self.window {
            Some(window) => spec.window(window),
            None => spec,
        };
        Engine::new(spec).unwrap().closing_windows(lateness)
    }
}

#[derive(Debug, Clone)]
struct Partition {
    newest: Option<i64>,
    /// Whether the newest counts: another row agrees with it, or none has to.
    sure: bool,
    /// The rows right before that were too far ahead and agree.
    far: Vec<i64>,
    /// Where it began, or came back.
    floor: Option<i64>,
    seen: i64,
    silent: bool,
}

impl Partition {
    fn watermark(&self, lateness_ns: i64) -> Option<i64> {
        let newest = self.newest.filter(|_| self.sure);
        newest.map(|newest| newest - lateness_ns).max(self.floor)
    }

    /// Whether it can hold windows open.
    fn stands(&self) -> bool {
        self.newest.is_some() || self.floor.is_some()
    }

    /// Whether a row at this time is too far ahead: the third in succession that agrees with those before is not.
    fn is_far(&mut self, time: i64, limit: i64) -> bool {
        if self.newest.is_none_or(|newest| time <= newest + limit) {
            self.far.clear();
            return false;
        }
        if self.far.iter().any(|before| (before - time).abs() > limit) {
            self.far.clear();
        }
        self.far.push(time);
        self.far.len() < 3
    }
}

/// A window and key.
pub(crate) type Place = (Option<(i64, i64)>, i64);

/// Every row that was taken.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) question: Question,
    pub(crate) clock: i64,
    /// Restored, and no time of the clock is known since.
    pub(crate) resumed: bool,
    partitions: BTreeMap<u32, Partition>,
    feed: Option<i64>,
    pub(crate) taken: Vec<Row>,
    pub(crate) late: u64,
    /// Windows that have closed.
    closed: BTreeSet<Place>,
    /// How many of its rows a window has given up.
    pub(crate) given: BTreeMap<Place, usize>,
}

impl Model {
    pub(crate) fn new(question: &Question, clock: i64) -> Self {
        Self {
            question: question.clone(),
            clock,
            resumed: false,
            partitions: BTreeMap::new(),
            feed: None,
            taken: Vec::new(),
            late: 0,
            closed: BTreeSet::new(),
            given: BTreeMap::new(),
        }
    }

    /// The length of a pane: the greatest that sizes and slides are multiples of.
    fn pane(&self) -> Option<i64> {
        match self.question.window {
            Some(Window::Time { size_ns, slide_ns }) => {
                let (mut a, mut b) = (size_ns, slide_ns);
                while b != 0 {
                    (a, b) = (b, a % b);
                }
                Some(a)
            }
            _ => None,
        }
    }

    /// The places of rows that are late, and of those too far ahead.
    pub(crate) fn take(&mut self, number: u32, rows: &[Row], now: i64) -> (Vec<u32>, Vec<u32>) {
        let (mut late, mut ahead) = (Vec::new(), Vec::new());
        if rows.is_empty() {
            return (late, ahead);
        }
        self.shows(now);
        let pane = self.pane();
        let floor = self.feed;
        let limit = self.question.max_ahead_ns;
        let partition = self.partitions.entry(number).or_insert(Partition {
            newest: None,
            sure: limit.is_none(),
            far: Vec::new(),
            floor,
            seen: now,
            silent: false,
        });
        partition.floor = partition.floor.max(floor);
        partition.silent = false;
        partition.seen = now;
        for (place, row) in (0..).zip(rows) {
            if limit.is_some_and(|limit| partition.is_far(row.0, limit)) {
                ahead.push(place);
                continue;
            }
            let leaps = partition.far.len() == 3;
            partition.far.clear();
            let watermark = partition.watermark(self.question.lateness_ns);
            let end = pane.map(|pane| row.0.div_euclid(pane) * pane + pane);
            if end.zip(watermark).is_some_and(|(end, watermark)| end <= watermark) {
                late.push(place);
                continue;
            }
            match (limit, partition.newest) {
                _ if leaps => (partition.newest, partition.sure) = (Some(row.0), true),
                (Some(limit), Some(newest)) if !partition.sure => {
                    partition.sure = row.0 >= newest - limit;
                    partition.newest = Some(if partition.sure { newest.max(row.0) } else { row.0 });
                }
                (_, newest) => partition.newest = newest.max(Some(row.0)),
            }
            self.taken.push(*row);
        }
        self.late += late.len() as u64;
        (late, ahead)
    }

    /// The time that passed while it was away is no silence.
    fn shows(&mut self, now: i64) {
        if std::mem::take(&mut self.resumed) {
            self.partitions.values_mut().for_each(|partition| partition.seen = now);
        }
        self.clock = self.clock.max(now);
    }

    pub(crate) fn advance(&mut self, now: i64) {
        self.shows(now);
        for partition in self.partitions.values_mut() {
            let silence = self.clock - partition.seen;
            partition.silent |= self.question.idle_timeout_ns.is_some_and(|timeout| silence >= timeout);
        }
        self.reach();
    }

    /// The watermark of the feed goes to where rows and clock have brought it.
    pub(crate) fn reach(&mut self) {
        let lateness_ns = self.question.lateness_ns;
        let standing = self.partitions.values().filter(|partition| partition.stands());
        let (silent, awake): (Vec<_>, Vec<_>) = standing.partition(|partition| partition.silent);
        let to = match awake.is_empty() {
            // Nothing is before all times.
            false => awake
                .iter()
                .map(|partition| partition.watermark(lateness_ns))
                .min()
                .flatten(),
            true => {
                let known = silent
                    .iter()
                    .filter_map(|partition| Some((partition, partition.watermark(lateness_ns)?)));
                let newest = known.clone().map(|(_, watermark)| watermark).max();
                let silence = known.map(|(partition, _)| self.clock - partition.seen).min();
                newest
                    .zip(silence.map(|ns| if self.resumed { 0 } else { ns }))
                    .map(|(a, b)| a + b)
            }
        };
        self.feed = self.feed.max(to);
    }

    /// The rows of every window that has not closed, without those that it gave up, and whether it is complete.
    pub(crate) fn open(&self) -> BTreeMap<Place, (Vec<f64>, bool)> {
        let mut windows: BTreeMap<Place, Vec<f64>> = BTreeMap::new();
        let mut of_key: BTreeMap<i64, i64> = BTreeMap::new();
        for (time, key, value) in &self.taken {
            let number = of_key.entry(*key).or_default();
            let spans = match self.question.window {
                None => vec![None],
                Some(Window::Time { size_ns, slide_ns }) => holding(*time, size_ns, slide_ns),
                // No window begins before the first row of its key.
                Some(Window::Rows { size, slide }) => holding(*number, size, slide)
                    .into_iter()
                    .filter(|span| span.is_some_and(|(start, _)| start >= 0))
                    .collect(),
                Some(other) => panic!("{other:?}"),
            };
            *number += 1;
            for span in spans {
                windows.entry((span, *key)).or_default().push(*value);
            }
        }
        windows.retain(|place, values| {
            values.drain(..self.given.get(place).copied().unwrap_or(0));
            !self.closed.contains(place) && !values.is_empty()
        });
        let is_complete = |(span, key): &Place| match (self.question.window, span) {
            (Some(Window::Time { .. }), Some((_, end))) => self.feed.is_some_and(|feed| *end <= feed),
            (Some(Window::Rows { .. }), Some((_, end))) => of_key[key] >= *end,
            _ => false,
        };
        windows
            .into_iter()
            .map(|(place, values)| (place, (values, is_complete(&place))))
            .collect()
    }

    /// Everything that closes now, in order: all of it where no more rows come.
    pub(crate) fn close(&mut self, ended: bool) -> Vec<(Place, Vec<f64>)> {
        let open = self.open().into_iter();
        let closing: Vec<_> = open
            .filter(|(_, (_, is_complete))| ended || *is_complete)
            .map(|(place, (values, _))| (place, values))
            .collect();
        if ended {
            // Should the feed go on, further rows of these windows are another part.
            for (place, values) in &closing {
                *self.given.entry(*place).or_default() += values.len();
            }
        } else {
            self.closed.extend(closing.iter().map(|(place, _)| *place));
        }
        closing
    }
}

/// The windows that hold this place.
fn holding(place: i64, size: i64, slide: i64) -> Vec<Option<(i64, i64)>> {
    let mut all = Vec::new();
    let mut start = place.div_euclid(slide) * slide;
    while start + size > place {
        all.push(Some((start, start + size)));
        start -= slide;
    }
    all
}
