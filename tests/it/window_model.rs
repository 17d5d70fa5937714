//! Windows of feeds against a model that keeps every row: random batches of several partitions, in disorder, with rows
//! from nowhere, clocks that go on, keys that are given up, ends, and crashes that leave nothing but a snapshot.
//!
//! The model is the rules in words. A row is late if the end of its pane is not beyond the watermark of its partition
//! before it, and bad if it is farther ahead of the newest of its partition than it may be. A new partition, and one that
//! comes back from silence, begins at the watermark of the feed, which is the least of those that are not silent; where
//! all are silent it goes on with the clock. A window closes, once, when the watermark of the feed has reached its end. A key
//! that is given up leaves all that it has in open windows as parts of them, and what comes later is another part.

use crate::oracle;
use crate::random::Random;
use arrow::array::{ArrayRef, Int64Array};
use millstream::engine::Lateness;
use millstream::report::{KeyValue, WindowBounds};
use millstream::summary::Quantiles;
use millstream::{Batch, Closed, Engine, Spec, Window};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const S: i64 = 1_000_000_000;

/// Event time in nanoseconds, key, value.
type Row = (i64, i64, f64);

/// What is asked.
#[derive(Debug, Clone)]
struct Question {
    window: Option<Window>,
    lateness_ns: i64,
    max_ahead_ns: Option<i64>,
    idle_timeout_ns: Option<i64>,
}

impl Question {
    fn random(random: &mut Random) -> Self {
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

    fn engine(&self) -> Engine {
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
type Place = (Option<(i64, i64)>, i64);

/// Every row that was taken.
#[derive(Debug, Clone)]
struct Model {
    question: Question,
    clock: i64,
    /// Restored, and no time of the clock is known since.
    resumed: bool,
    partitions: BTreeMap<u32, Partition>,
    feed: Option<i64>,
    taken: Vec<Row>,
    late: u64,
    /// Windows that have closed.
    closed: BTreeSet<Place>,
    /// How many of its rows a window has given up.
    given: BTreeMap<Place, usize>,
}

impl Model {
    fn new(question: &Question, clock: i64) -> Self {
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
    fn take(&mut self, number: u32, rows: &[Row], now: i64) -> (Vec<u32>, Vec<u32>) {
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

    fn advance(&mut self, now: i64) {
        self.shows(now);
        for partition in self.partitions.values_mut() {
            let silence = self.clock - partition.seen;
            partition.silent |= self.question.idle_timeout_ns.is_some_and(|timeout| silence >= timeout);
        }
        self.reach();
    }

    /// The watermark of the feed goes to where rows and clock have brought it.
    fn reach(&mut self) {
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
    fn open(&self) -> BTreeMap<Place, (Vec<f64>, bool)> {
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
    fn close(&mut self, ended: bool) -> Vec<(Place, Vec<f64>)> {
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

fn batch(rows: &[Row]) -> Batch {
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1)));
    Batch::from_columns([("x", rows.iter().map(|row| row.2).collect())])
        .unwrap()
        .with_keys(vec![("k".into(), keys)])
        .unwrap()
        .with_time_ns(rows.iter().map(|row| row.0).collect())
        .unwrap()
}

fn place(closed: &Closed) -> Place {
    let window = closed.window.map(|window| match window {
        WindowBounds::Time { start_ns, end_ns } => (start_ns, end_ns),
        WindowBounds::Rows { start, end } => (start as i64, end as i64),
        other => panic!("{other:?}"),
    });
    match closed.key.as_ref().unwrap().get("k") {
        Some(KeyValue::Integer(key)) => (window, *key as i64),
        other => panic!("{other:?}"),
    }
}

/// What closed is what these rows come to.
fn check(closed: &Closed, values: &[f64]) {
    let (summary, column) = (&closed.summary, &closed.summary.columns[0]);
    let present: Vec<f64> = values.iter().copied().filter(|x| !x.is_nan()).collect();
    assert_eq!(summary.rows, values.len() as u64);
    assert_eq!(
        (column.count, column.missing),
        (present.len() as u64, (values.len() - present.len()) as u64)
    );
    match &summary.quantiles[0] {
        Quantiles::Exact(found) => {
            let sorted = |values: &[f64]| {
                let mut values = values.to_vec();
                values.sort_by(f64::total_cmp);
                values
            };
            assert_eq!(sorted(found), sorted(&present));
        }
        Quantiles::Sketch(_) => assert!(present.len() > 256),
    }
    let Some(exact) = oracle::moments(&present) else { return };
    assert_eq!(oracle::rational(column.min), exact.min);
    assert_eq!(oracle::rational(column.max), exact.max);
    assert_eq!(oracle::rational(column.total()), exact.sum, "sums of eighths are exact");
    assert!(oracle::relative_error(column.mean().unwrap(), &exact.mean) <= 1e-15);
    match exact.variance(1) {
        Some(variance) => assert!(oracle::relative_error(column.variance(1).unwrap(), &variance) <= 1e-12),
        None => assert_eq!(column.variance(1), None),
    }
}

/// Takes everything that has closed, so many at once, and compares.
fn settle(engine: &mut Engine, model: &mut Model, at_once: usize, ended: bool) {
    if !ended {
        model.reach();
    }
    let mut expected = model.close(ended);
    let mut found = Vec::new();
    loop {
        let closed = engine.closed(at_once).unwrap();
        if closed.is_empty() {
            break;
        }
        assert!(closed.len() <= at_once);
        found.extend(closed);
    }
    let mut places: Vec<Place> = found.iter().map(place).collect();
    if matches!(model.question.window, Some(Window::Rows { .. })) {
        // They close key by key.
        found.sort_by_key(place);
        places.sort_unstable();
        expected.sort_by_key(|(place, _)| *place);
    }
    let wanted: Vec<Place> = expected.iter().map(|(place, _)| *place).collect();
    assert_eq!(places, wanted);
    for (closed, (_, values)) in found.iter().zip(&expected) {
        check(closed, values);
    }
}

/// Has the engine give up keys until it has so many or fewer; the windows of each that it names come as parts.
fn give_up(engine: &mut Engine, model: &mut Model, keys_max: usize, bytes_max: u64) {
    settle(engine, model, 1000, false);
    let mut parts = engine.give_up(keys_max, bytes_max).unwrap();
    parts.sort_by_key(place);
    assert!(parts.is_empty() || (parts[0].part > 0 && parts.iter().all(|part| part.part == parts[0].part)));
    let keys: BTreeSet<i64> = parts.iter().map(|part| place(part).1).collect();
    let mut expected = model.open();
    expected.retain(|(_, key), _| keys.contains(key));
    let places: Vec<Place> = parts.iter().map(place).collect();
    assert_eq!(places, expected.keys().copied().collect::<Vec<_>>());
    for (part, (place, (values, _))) in parts.iter().zip(expected) {
        check(part, &values);
        *model.given.entry(place).or_default() += values.len();
    }
    let left: BTreeSet<i64> = model.open().into_keys().map(|(_, key)| key).collect();
    assert!(left.len() <= keys_max);
}

/// One random feed.
fn try_feed(seed: u64) {
    let random = &mut Random::new(seed);
    let question = Question::random(random);
    let mut now = 0;
    let (mut engine, mut model) = (question.engine(), Model::new(&question, now));
    let partitions = 1 + random.below(3) as u32;
    let (keys, offset) = (1 + random.below(6), [0.0, 1e6][random.below(2) as usize]);
    // Where each partition is in event time.
    let mut times: Vec<i64> = (0..partitions).map(|_| random.below(40) as i64 * S / 2).collect();
    for _ in 0..40 {
        match random.below(12) {
            0 => {
                now += random.below(40) as i64 * S;
                engine.advance(now);
                model.advance(now);
            }
            1 => {
                // What closed goes out before a state is stored.
                settle(&mut engine, &mut model, 1000, false);
                let state = engine.snapshot().unwrap();
                engine = question.engine();
                engine.restore(&state).unwrap();
                model.resumed = true;
            }
            2 if random.below(4) == 0 => {
                engine.end();
                settle(&mut engine, &mut model, 1 + random.below(20) as usize, true);
            }
            3 if !matches!(question.window, Some(Window::Rows { .. })) => {
                let bytes_max = [u64::MAX, 1][usize::from(random.below(8) == 0)];
                give_up(&mut engine, &mut model, 1 + random.below(keys) as usize, bytes_max);
            }
            3 | 4 => settle(&mut engine, &mut model, 1 + random.below(20) as usize, false),
            _ => {
                now += random.below(3) as i64 * S;
                let partition = random.below(u64::from(partitions)) as usize;
                let mut rows = Vec::new();
                for _ in 0..random.below(40) {
                    times[partition] += random.below(1000) as i64 * S / 1000;
                    let time = times[partition]
                        + match random.below(40) {
                            0 => random.below(60) as i64 * S,
                            1 => -(random.below(60) as i64 * S),
                            _ => -(random.below(4000) as i64 * S / 1000),
                        };
                    let value = match random.below(20) {
                        0 => f64::NAN,
                        _ => offset + random.below(1000) as f64 / 8.0,
                    };
                    rows.push((time, random.below(keys) as i64, value));
                }
                let (late, ahead) = model.take(partition as u32, &rows, now);
                let refused = engine.take(partition as u32, &batch(&rows), now).unwrap();
                assert_eq!((refused.late, refused.ahead), (late, ahead));
                assert_eq!(
                    (engine.late_rows(), engine.rows()),
                    (model.late, model.taken.len() as u64)
                );
            }
        }
    }
    engine.end();
    settle(&mut engine, &mut model, 1 + random.below(20) as usize, true);
}

#[test]
fn windows_are_those_of_a_model_that_keeps_every_row() {
    let cases = std::env::var("MILLSTREAM_CASES").map_or(256, |n| n.parse().unwrap());
    let failed: Vec<u64> = (0..cases)
        .filter(|seed| std::panic::catch_unwind(|| try_feed(*seed)).is_err())
        .collect();
    assert!(failed.is_empty(), "seeds {failed:?} of {cases}");
}
