//! Keys that are given up leave parts that merge to what there would have been, and few keys stay.

use crate::engine::Lateness;
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
