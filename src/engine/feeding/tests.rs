//! Feeds of several partitions that fall silent, end, go on, are stored, and have too many keys: every row is in one
//! report (of each window that holds it), no report is given twice, and the parts of a window merge to the whole.

use crate::engine::Lateness;
use crate::{Batch, Engine, Spec, Summary, Window};
use arrow::array::{ArrayRef, Int64Array};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows, sum and extremes: exact whatever the parts were.
type Numbers = (u64, f64, f64, f64);

/// An engine, and what it has reported by window, key and part.
struct Feed {
    spec: Spec,
    rules: Lateness,
    engine: Engine,
    reports: BTreeMap<(String, u64), Summary>,
    taken: u64,
    late: u64,
    value: i64,
    now_ns: i64,
}

impl Feed {
    fn new(spec: &Spec, rules: Lateness) -> Self {
        Self {
            spec: spec.clone(),
            rules,
            engine: Engine::new(spec.clone()).unwrap().closing_windows(rules),
            reports: BTreeMap::new(),
            taken: 0,
            late: 0,
            value: 0,
            now_ns: 1_000_000,
        }
    }

    /// Rows of these times and keys.
    fn take(&mut self, partition: u32, rows: &[(i64, i64)]) {
        let value = self.value;
        self.value += rows.len() as i64;
        let values = (value..self.value).map(|x| (x * 31 % 1009) as f64).collect();
        let mut batch = Batch::from_columns([("x", values)]).unwrap();
        batch = batch
            .with_time_ns(rows.iter().map(|(time, _)| *time).collect())
            .unwrap();
        if !self.spec.keys.is_empty() {
            let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, key)| *key)));
            batch = batch.with_keys(vec![("k".into(), keys)]).unwrap();
        }
        let refused = self.engine.take(partition, &batch, self.now_ns).unwrap();
        self.late += refused.late.len() as u64;
        self.taken += (rows.len() - refused.late.len()) as u64;
        self.closed();
    }

    fn note(&mut self, closed: Vec<crate::Closed>) {
        for closed in closed {
            let name = format!("{:?} {:?}", closed.window, closed.key);
            let place = (name, closed.part);
            assert!(!self.reports.contains_key(&place), "{place:?} came twice");
            self.reports.insert(place, closed.summary);
        }
    }

    fn closed(&mut self) {
        loop {
            let closed = self.engine.closed(7).unwrap();
            if closed.is_empty() {
                return;
            }
            self.note(closed);
        }
    }

    fn advance(&mut self, passed_ns: i64) {
        self.now_ns += passed_ns;
        self.engine.advance(self.now_ns);
        self.closed();
    }

    fn end(&mut self) {
        self.engine.end();
        self.closed();
    }

    fn give_up(&mut self, keys_max: usize, bytes_max: u64) -> usize {
        let closed = self.engine.give_up(keys_max, bytes_max).unwrap();
        assert!(self.engine.keys() <= keys_max);
        let count = closed.len();
        self.note(closed);
        count
    }

    /// Another engine goes on; the clock is another one too.
    fn restore(&mut self) {
        let state = self.engine.snapshot().unwrap();
        self.engine = Engine::new(self.spec.clone()).unwrap().closing_windows(self.rules);
        self.engine.restore(&state).unwrap();
        self.now_ns = 5_000_000 - self.now_ns;
    }

    fn rows(&self) -> u64 {
        self.reports.values().map(|summary| summary.rows).sum()
    }

    fn merged(&self) -> BTreeMap<&str, Numbers> {
        let mut merged = BTreeMap::new();
        for ((name, _), summary) in &self.reports {
            let column = &summary.columns[0];
            let (rows, sum, low, high) =
                merged
                    .entry(name.as_str())
                    .or_insert((0, 0.0, f64::INFINITY, f64::NEG_INFINITY));
            *rows += summary.rows;
            *sum += column.total();
            *low = column.min.min(*low);
            *high = column.max.max(*high);
        }
        merged
    }
}

fn spec(window: Option<Window>, keyed: bool) -> Spec {
    let spec = Spec { window, ..Spec::new() };
    if keyed { spec.by(["k"]) } else { spec }
}

const WINDOWS: [Option<Window>; 5] = [
    None,
    Some(Window::Time {
        size_ns: 20,
        slide_ns: 20,
    }),
    Some(Window::Time {
        size_ns: 24,
        slide_ns: 8,
    }),
    Some(Window::Rows { size: 7, slide: 7 }),
    Some(Window::Rows { size: 9, slide: 3 }),
];

#[derive(Debug, Clone)]
enum Step {
    /// Rows of a partition: how far event time goes on, then how far each is behind it, and its key.
    Take(u32, i64, Vec<(i64, i64)>),
    Advance(i64),
    Restore,
    End,
    Expect(u32),
    EndPartition(u32),
    GiveUp(usize),
    GiveUpBytes(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let rows = prop::collection::vec((0i64..30, 0i64..12), 1..30);
    let step = prop_oneof![
        8 => (0u32..3, 0i64..40, rows).prop_map(|(p, on, rows)| Step::Take(p, on, rows)),
        2 => (0i64..80).prop_map(Step::Advance),
        1 => Just(Step::Restore),
        1 => Just(Step::End),
        1 => (0u32..5).prop_map(Step::Expect),
        1 => (0u32..5).prop_map(Step::EndPartition),
        3 => (1usize..10).prop_map(Step::GiveUp),
        1 => (1000u64..20_000).prop_map(Step::GiveUpBytes),
    ];
    prop::collection::vec(step, 1..24)
}

/// Runs these steps, then ends the feed.
fn run(spec: &Spec, rules: Lateness, steps: &[Step], which: impl Fn(&Step) -> bool) -> Feed {
    let (mut feed, mut time) = (Feed::new(spec, rules), 1000);
    for step in steps {
        if let Step::Take(_, on, _) = step {
            time += on;
        }
        if !which(step) {
            continue;
        }
        match step {
            Step::Take(partition, _, rows) => {
                let rows: Vec<_> = rows.iter().map(|(behind, key)| (time - behind, *key)).collect();
                feed.take(*partition, &rows);
            }
            Step::Advance(passed) => feed.advance(*passed),
            Step::Expect(partition) => feed.engine.expect_partition(*partition),
            Step::EndPartition(partition) => feed.engine.end_partition(*partition),
            Step::Restore => feed.restore(),
            Step::End => feed.end(),
            Step::GiveUp(keys) => {
                feed.give_up(*keys, u64::MAX);
            }
            Step::GiveUpBytes(bytes) => {
                feed.give_up(usize::MAX, *bytes);
            }
        }
    }
    feed.end();
    feed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn every_row_is_in_one_report_and_parts_merge_to_the_whole(
        steps in steps(),
        window in prop::sample::select(WINDOWS.to_vec()),
        keyed: bool,
        lateness in 0i64..60,
        idle in prop::option::of(20i64..60),
    ) {
        let spec = spec(window, keyed);
        let rules = Lateness { idle_timeout_ns: idle, ..Lateness::new().lateness_ns(lateness) };
        let feed = run(&spec, rules, &steps, |_| true);
        if window.is_none_or(|window| !window.overlaps()) {
            prop_assert_eq!(feed.rows(), feed.taken);
        }
        let forgets = steps.iter().any(|step| matches!(step, Step::GiveUpBytes(_)));
        let counts_rows = matches!(window, Some(Window::Rows { .. }));
        if idle.is_none() && !(forgets && counts_rows) {
            // What is silent depends on the clock, of which a stored state knows nothing.
            let whole = run(&spec, rules, &steps, |step| {
                matches!(step, Step::Take(..) | Step::Advance(_) | Step::Expect(_) | Step::EndPartition(_))
            });
            prop_assert_eq!((feed.taken, feed.late), (whole.taken, whole.late));
            prop_assert_eq!(feed.merged(), whole.merged());
        }
    }

    /// Who goes on from a stored state gives up the keys that would have been given up, under the same numbers.
    #[test]
    fn a_stored_feed_gives_the_same_parts(
        steps in steps(),
        window in prop::sample::select(WINDOWS.to_vec()),
        keyed: bool,
    ) {
        let (spec, rules) = (spec(window, keyed), Lateness::new().lateness_ns(20));
        // What a state takes depends on how it came about.
        let stored = run(&spec, rules, &steps, |step| !matches!(step, Step::GiveUpBytes(_)));
        let whole = run(&spec, rules, &steps, |step| !matches!(step, Step::GiveUpBytes(_) | Step::Restore));
        prop_assert_eq!(stored.late, whole.late);
        let bytes = |feed: &Feed| -> Vec<_> {
            feed.reports.iter().map(|(place, summary)| (place.clone(), summary.to_bytes())).collect()
        };
        prop_assert_eq!(bytes(&stored), bytes(&whole));
    }
}

#[test]
fn a_window_that_closed_by_the_clock_is_not_opened_by_who_comes_back() {
    let spec = spec(WINDOWS[1], false);
    let mut feed = Feed::new(&spec, Lateness::new().idle_timeout_ns(30));
    feed.take(0, &[(1000, 0), (1001, 0)]);
    feed.take(1, &[(1002, 0)]);
    // The clock stands still for everything, then goes on: both are silent, and the window closes.
    feed.advance(40);
    assert_eq!((feed.rows(), feed.reports.len()), (3, 1));
    feed.take(1, &[(1003, 0), (1045, 0)]);
    feed.take(0, &[(1004, 0), (1046, 0)]);
    feed.end();
    assert_eq!((feed.late, feed.rows(), feed.taken), (2, 5, 5));
}

#[test]
fn a_stored_feed_that_was_away_for_long_is_not_silent_for_that() {
    let spec = spec(WINDOWS[1], false);
    let mut feed = Feed::new(&spec, Lateness::new().idle_timeout_ns(30));
    feed.take(0, &[(1000, 0)]);
    feed.take(1, &[(1041, 0)]);
    feed.restore();
    feed.now_ns += 1_000_000;
    feed.advance(0);
    feed.advance(29);
    assert!(feed.reports.is_empty());
    feed.take(0, &[(1001, 0)]);
    assert_eq!(feed.late, 0);
}

#[test]
fn a_feed_that_ends_and_goes_on_reports_further_parts() {
    for (window, keyed) in WINDOWS.iter().flat_map(|w| [(*w, true), (*w, false)]) {
        let mut feed = Feed::new(&spec(window, keyed), Lateness::new().lateness_ns(20));
        feed.take(0, &[(1000, 1), (1001, 2), (1002, 1)]);
        feed.end();
        feed.restore();
        let (before, rows) = (feed.reports.len(), feed.rows());
        // Nothing came: nothing more to say.
        feed.end();
        feed.restore();
        assert_eq!(feed.reports.len(), before, "{window:?} {keyed}");
        feed.take(0, &[(1003, 1), (1004, 2), (1005, 1)]);
        feed.end();
        assert!(feed.reports.keys().any(|(_, part)| *part > 0));
        if window.is_none_or(|window| !window.overlaps()) {
            assert_eq!(feed.rows(), 2 * rows, "{window:?} {keyed}");
        }
    }
}

#[test]
fn without_keys_the_oldest_windows_are_given_up_where_memory_is_short() {
    for window in [WINDOWS[1], WINDOWS[2]] {
        let mut feed = Feed::new(&spec(window, false), Lateness::new().lateness_ns(1_000_000));
        let (bytes_max, mut parts) = (100_000, 0);
        for i in 0..3000 {
            feed.take(0, &[(1000 + 20 * i, 0), (1001 + 20 * i, 0)]);
            parts += feed.give_up(usize::MAX, bytes_max);
            assert!(feed.engine.state_bytes() <= bytes_max);
        }
        assert!(parts > 1000, "{parts}");
        feed.end();
        if !window.unwrap().overlaps() {
            assert_eq!(feed.rows(), 6000);
        }
    }
}
