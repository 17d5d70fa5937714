//! Keys that are given up leave parts that merge to what there would have been, and few keys stay.

use crate::engine::Lateness;
use crate::report::KeyValue;
use crate::summary::Merge;
use crate::{Batch, Closed, Engine, Spec, Window};
use arrow::array::{ArrayRef, Int64Array};
use std::collections::BTreeMap;
use std::sync::Arc;

fn batch(at: i64, rows: i64, keys: i64) -> Batch {
    let range = at..at + rows;
    let key: ArrayRef = Arc::new(Int64Array::from_iter_values(range.clone().map(|i| i * 7919 % keys)));
    let values = range.clone().map(|i| (i * 31 % 1009) as f64).collect();
    Batch::from_columns([("x", values)])
        .unwrap()
        .with_keys(vec![("k".into(), key)])
        .unwrap()
        .with_time_ns(range.collect())
        .unwrap()
}

/// Rows, sum and extremes by window and key: exact whatever the parts were.
type Numbers = BTreeMap<String, (u64, f64, f64, f64)>;

fn merged(closed: Vec<Closed>) -> Numbers {
    let mut windows: BTreeMap<String, crate::Summary> = BTreeMap::new();
    for closed in closed {
        let name = format!("{:?} {:?}", closed.window, closed.key);
        windows.entry(name).or_default().merge(&closed.summary);
    }
    let numbers = |s: crate::Summary| (s.rows, s.columns[0].total(), s.columns[0].min, s.columns[0].max);
    windows
        .into_iter()
        .map(|(name, summary)| (name, numbers(summary)))
        .collect()
}

fn run(window: Option<Window>, keys_max: usize) -> (Numbers, u64, usize) {
    let spec = Spec {
        window,
        ..Spec::new().by(["k"])
    };
    let mut engine = Engine::new(spec).unwrap().closing_windows(Lateness::new());
    let (mut out, mut parts, mut keys) = (Vec::new(), 0, 0);
    for at in (0..20_000).step_by(500) {
        engine.take(0, &batch(at, 500, 400), 0).unwrap();
        loop {
            let closed = engine.closed(64).unwrap();
            if closed.is_empty() {
                break;
            }
            out.extend(closed);
        }
        let given_up = engine.give_up(keys_max, u64::MAX).unwrap();
        parts = given_up.iter().map(|closed| closed.part).fold(parts, u64::max);
        out.extend(given_up);
        keys = keys.max(engine.keys());
    }
    engine.end();
    loop {
        let closed = engine.closed(64).unwrap();
        if closed.is_empty() {
            return (merged(out), parts, keys);
        }
        out.extend(closed);
    }
}

#[test]
fn parts_merge_to_the_whole() {
    for (size_ns, slide_ns) in [(3000, 3000), (3000, 1000), (100_000, 100_000)] {
        let window = Some(Window::Time { size_ns, slide_ns });
        let (whole, none, _) = run(window, 1000);
        assert_eq!(none, 0);
        let (parts, rounds, keys) = run(window, 100);
        assert!(rounds > 1 && keys <= 100, "{rounds} rounds, {keys} keys");
        assert_eq!(parts, whole);
    }
    let (whole, ..) = run(None, 1000);
    let (parts, rounds, _) = run(None, 100);
    assert!(rounds > 1);
    assert_eq!(parts, whole);
}

#[test]
fn keys_of_closed_windows_are_forgotten_without_a_part() {
    let window = Window::Time {
        size_ns: 10,
        slide_ns: 10,
    };
    let (whole, rounds, keys) = run(Some(window), 200);
    assert_eq!(rounds, 0);
    assert!(keys <= 200);
    assert_eq!(whole.values().map(|(rows, ..)| rows).sum::<u64>(), 20_000);
}

/// Keys and times of a long feed with windows that close, three keys, and many more values a window than are exact.
fn long_feed(windows: i64, mut each: impl FnMut(&mut Engine)) {
    let window = Window::Time {
        size_ns: 3000,
        slide_ns: 3000,
    };
    let spec = Spec::new().by(["k"]).window(window).quantiles(&[0.5]);
    let mut engine = Engine::new(spec).unwrap().closing_windows(Lateness::new());
    for at in (0..3000 * windows).step_by(500) {
        engine.take(0, &batch(at, 500, 3), 0).unwrap();
        while !engine.closed(64).unwrap().is_empty() {}
        each(&mut engine);
    }
}

#[test]
fn what_has_closed_takes_no_memory_that_is_missing_later() {
    let mut most = 0;
    long_feed(3, |engine| most = engine.state_bytes().max(most));
    let mut later = 0;
    long_feed(100, |engine| {
        assert!(engine.give_up(usize::MAX, most + most / 4).unwrap().is_empty());
        assert_eq!(engine.keys(), 3, "no key had to be forgotten");
        later = engine.state_bytes().max(later);
        let state = engine.snapshot().unwrap();
        let mut again = Engine::new(engine.spec().clone())
            .unwrap()
            .closing_windows(Lateness::new());
        again.restore(&state).unwrap();
        // Room that is there to grow is not stored.
        assert!(again.state_bytes() > engine.state_bytes() / 2);
        assert!(again.state_bytes() <= engine.state_bytes() * 2);
    });
    assert!(later <= most + most / 4, "{later} of {most}");
}

#[test]
fn memory_of_many_windows_is_given_back() {
    let window = Window::Time {
        size_ns: 100_000,
        slide_ns: 100_000,
    };
    let spec = Spec::new().by(["k"]).window(window);
    let mut engine = Engine::new(spec).unwrap().closing_windows(Lateness::new());
    engine.take(0, &batch(0, 99_999, 20_000), 0).unwrap();
    let most = engine.state_bytes();
    engine.take(0, &batch(100_000, 500, 7), 0).unwrap();
    while !engine.closed(4096).unwrap().is_empty() {}
    assert!(engine.give_up(100, u64::MAX).unwrap().is_empty());
    assert_eq!((engine.keys(), engine.cells()), (7, 7));
    assert!(engine.state_bytes() < most / 100, "{} of {most}", engine.state_bytes());
    engine.take(0, &batch(100_500, 500, 7), 0).unwrap();
    engine.end();
    let rows: u64 = engine
        .closed(64)
        .unwrap()
        .iter()
        .map(|closed| closed.summary.rows)
        .sum();
    assert_eq!(rows, 1000);
}

/// Row counts of forgotten keys are bounded too: keys begin anew then, in parts of their own.
#[test]
fn windows_of_rows_are_never_reported_twice_whatever_is_forgotten() {
    let spec = Spec::new().by(["k"]).window(Window::Rows { size: 3, slide: 3 });
    let mut engine = Engine::new(spec).unwrap().closing_windows(Lateness::new());
    let mut seen = std::collections::BTreeSet::new();
    let mut rows = 0;
    let mut note = |closed: Vec<Closed>| {
        for closed in closed {
            rows += closed.summary.rows;
            let name = format!("{:?} {:?} {}", closed.window, closed.key, closed.part);
            assert!(seen.insert(name.clone()), "{name} came twice");
        }
    };
    for at in (0..20_000).step_by(250) {
        engine.take(0, &batch(at, 250, 400), 0).unwrap();
        loop {
            let closed = engine.closed(64).unwrap();
            if closed.is_empty() {
                break;
            }
            note(closed);
        }
        note(engine.give_up(50, 20_000).unwrap());
    }
    engine.end();
    loop {
        let closed = engine.closed(64).unwrap();
        if closed.is_empty() {
            break;
        }
        note(closed);
    }
    assert_eq!(rows, 20_000);
}

/// Of two rows that are far apart, the windows between them are not looked at one by one.
#[test]
fn a_gap_in_a_sliding_key_costs_nothing() {
    let window = Window::Time {
        size_ns: 10,
        slide_ns: 1,
    };
    let spec = Spec::new().by(["k"]).window(window);
    let far = 1_000_000_000_000_000;
    let rules = Lateness::new().lateness_ns(2 * far);
    let mut engine = Engine::new(spec).unwrap().closing_windows(rules);
    for at in [0, far, far + 1] {
        engine.take(0, &batch(at, 1, 1), 0).unwrap();
    }
    engine.take(0, &batch(far, 2, 2), 0).unwrap();
    let closed = engine.give_up(1, u64::MAX).unwrap();
    assert_eq!(closed.iter().map(|closed| closed.summary.rows).sum::<u64>(), 50);
}

#[test]
fn weighted_moments_that_are_forgotten_are_counted() {
    let window = Window::Time {
        size_ns: 100,
        slide_ns: 100,
    };
    let spec = Spec::new()
        .by(["k"])
        .window(window)
        .ewm(std::time::Duration::from_nanos(50));
    let mut engine = Engine::new(spec).unwrap().closing_windows(Lateness::new());
    engine.take(0, &batch(0, 90, 40), 0).unwrap();
    engine.take(0, &batch(100, 10, 2), 0).unwrap();
    while !engine.closed(64).unwrap().is_empty() {}
    assert_eq!(engine.averages_forgotten(), 0);
    engine.give_up(10, u64::MAX).unwrap();
    assert_eq!((engine.keys(), engine.averages_forgotten()), (2, 38));
}

#[test]
fn what_is_given_up_comes_in_the_order_of_the_keys_however_rows_came() {
    const ROWS: usize = 8192;
    let given_up = |at_once: usize| -> Vec<i128> {
        let mut engine = Engine::new(Spec::new().by(["k"]))
            .unwrap()
            .closing_windows(Lateness::new());
        for start in (0..ROWS).step_by(at_once) {
            let falling = (start..start + at_once).map(|i| (ROWS - i) as i64);
            let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(falling));
            let batch = Batch::from_columns([("x", vec![1.0; at_once])]).unwrap();
            engine
                .take(0, &batch.with_keys(vec![("k".into(), keys)]).unwrap(), 0)
                .unwrap();
        }
        let closed = engine.give_up(100, u64::MAX).unwrap();
        let key = |closed: Closed| match closed.key.unwrap().values()[0] {
            KeyValue::Integer(key) => key,
            ref other => panic!("{other:?}"),
        };
        closed.into_iter().map(key).collect()
    };
    let found = given_up(ROWS);
    assert!(found.len() >= ROWS - 100 && found.is_sorted(), "{found:?}");
    assert_eq!(given_up(1024), found);
}
