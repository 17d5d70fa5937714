//! Windows of feeds at the level of the engine: rows in any order, partitions of unequal speed, times from nowhere.

use crate::random::Random;
use arrow::array::{ArrayRef, Int64Array};
use millstream::engine::Lateness;
use millstream::{Batch, Closed, Cpu, Engine, Spec, Window};
use std::collections::BTreeMap;
use std::sync::Arc;

const S: i64 = 1_000_000_000;

/// A row: event time in nanoseconds, key, value.
type Row = (i64, i64, f64);

fn batch(rows: &[Row]) -> Batch {
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1)));
    Batch::from_columns([("x", rows.iter().map(|row| row.2).collect())])
        .unwrap()
        .with_keys(vec![("k".into(), keys)])
        .unwrap()
        .with_time_ns(rows.iter().map(|row| row.0).collect())
        .unwrap()
}

fn drain(engine: &mut Engine) -> Vec<Closed> {
    let mut all = Vec::new();
    loop {
        let closed = engine.closed(17).unwrap();
        if closed.is_empty() {
            return all;
        }
        all.extend(closed);
    }
}

fn spec(size_ns: i64, slide_ns: i64) -> Spec {
    let spec = Spec::new().by(["k"]).quantiles(&[0.5]);
    spec.window(Window::Time { size_ns, slide_ns })
}

fn name(closed: &Closed) -> String {
    format!("{:?} {:?}", closed.window, closed.key)
}

/// Any order within the lateness gives the same windows, counts, extremes and sketches, and moments within 1e-12.
#[test]
fn any_order_within_the_lateness_gives_the_same_reports() {
    let permutations = std::env::var("MILLSTREAM_PERMUTATIONS").map_or(100, |n| n.parse().unwrap());
    let mut random = Random::new(7);
    let rows: Vec<Row> = (0..3000)
        .map(|i| (i * S / 100, random.below(5) as i64, 1e6 + random.normal()))
        .collect();
    let run = |rows: &[Row], cut: usize| {
        let lateness = Lateness::new().lateness_ns(3 * S);
        let mut engine = Engine::new(spec(4 * S, 2 * S)).unwrap().closing_windows(lateness);
        let mut all = Vec::new();
        for rows in rows.chunks(cut) {
            let refused = engine.take(0, &batch(rows), 0).unwrap();
            assert!(refused.is_empty());
            all.extend(drain(&mut engine));
        }
        engine.end();
        all.extend(drain(&mut engine));
        let by_name: BTreeMap<String, Closed> = all.into_iter().map(|closed| (name(&closed), closed)).collect();
        by_name
    };
    let straight = run(&rows, 3000);
    assert!(straight.len() > 70);
    for _ in 0..permutations {
        // Every row moves by less than the lateness: sorted by its time and a delay.
        let mut delayed: Vec<(i64, Row)> = rows
            .iter()
            .map(|row| (row.0 + random.below(1000) as i64 * (3 * S / 1000), *row))
            .collect();
        delayed.sort_by_key(|(arrival, _)| *arrival);
        let permuted: Vec<Row> = delayed.into_iter().map(|(_, row)| row).collect();
        let found = run(&permuted, 1 + random.below(500) as usize);
        assert!(found.keys().eq(straight.keys()));
        for (a, b) in found.values().zip(straight.values()) {
            let (x, y) = (&a.summary.columns[0], &b.summary.columns[0]);
            assert_eq!(
                (a.summary.rows, x.count, x.min, x.max),
                (b.summary.rows, y.count, y.min, y.max)
            );
            let sorted = |closed: &Closed| match &closed.summary.quantiles[0] {
                millstream::summary::Quantiles::Exact(values) => {
                    let mut values = values.clone();
                    values.sort_by(f64::total_cmp);
                    format!("{values:?}")
                }
                sketch => format!("{sketch:?}"),
            };
            assert_eq!(sorted(a), sorted(b));
            let (sd, variance) = (y.std(1).unwrap_or(0.0), y.variance(1).unwrap_or(0.0));
            assert!((x.mean().unwrap() - y.mean().unwrap()).abs() <= 1e-12 * sd.max(f64::MIN_POSITIVE) || sd == 0.0);
            assert!((x.variance(1).unwrap_or(0.0) - variance).abs() <= 1e-12 * variance);
        }
    }
}

#[test]
fn a_row_of_the_year_2100_closes_nothing() {
    let lateness = Lateness::new().max_ahead_ns(3600 * S);
    let mut engine = Engine::new(spec(S, S)).unwrap().closing_windows(lateness);
    engine.take(0, &batch(&[(S / 2, 1, 1.0)]), 0).unwrap();
    let refused = engine
        .take(0, &batch(&[(4_102_444_800 * S, 1, 9.0), (S / 2 + 1, 1, 2.0)]), 0)
        .unwrap();
    assert_eq!((refused.ahead, refused.late), (vec![0], vec![]));
    assert_eq!(drain(&mut engine).len(), 0);
    engine.take(0, &batch(&[(S, 1, 3.0)]), 0).unwrap();
    let closed = drain(&mut engine);
    assert_eq!((closed.len(), closed[0].summary.rows), (1, 2));
}

/// Two partitions, one an hour behind, through restarts: nothing is late, nothing is lost.
#[test]
fn partitions_of_unequal_speed_lose_nothing_after_a_restart() {
    let spec = spec(10 * S, 10 * S);
    let new = || {
        let engine = Engine::with_backend(spec.clone(), Box::new(Cpu::new())).unwrap();
        engine.closing_windows(Lateness::new().lateness_ns(S))
    };
    let mut engine = new();
    let mut rows = 0;
    for step in 0..60 {
        let fast: Vec<Row> = (0..50)
            .map(|i| ((3600 + step * 10) * S + i * S / 5, i % 3, i as f64))
            .collect();
        let slow: Vec<Row> = (0..7).map(|i| (step * S + i * S / 7, i % 3, i as f64)).collect();
        assert!(engine.take(0, &batch(&fast), 0).unwrap().is_empty());
        assert!(engine.take(1, &batch(&slow), 0).unwrap().is_empty());
        rows += drain(&mut engine).iter().map(|closed| closed.summary.rows).sum::<u64>();
        if step % 7 == 3 {
            let state = engine.snapshot().unwrap();
            engine = new();
            engine.restore(&state).unwrap();
        }
    }
    engine.end();
    rows += drain(&mut engine).iter().map(|closed| closed.summary.rows).sum::<u64>();
    assert_eq!(rows, 60 * 57);
}

/// Late rows are counted, told by their places, and change nothing.
#[test]
fn late_rows_are_told_and_change_nothing() {
    let mut engine = Engine::new(spec(S, S)).unwrap().closing_windows(Lateness::new());
    engine.take(0, &batch(&[(S / 2, 1, 1.0), (3 * S, 1, 1.0)]), 0).unwrap();
    let refused = engine
        .take(0, &batch(&[(3 * S, 2, 1.0), (S / 3, 1, 1e9), (2 * S, 1, 1e9)]), 0)
        .unwrap();
    assert_eq!((refused.late, engine.late_rows()), (vec![1, 2], 2));
    engine.end();
    let closed = drain(&mut engine);
    assert!(closed.iter().all(|closed| closed.summary.columns[0].max == 1.0));
    assert_eq!(closed.iter().map(|closed| closed.summary.rows).sum::<u64>(), 3);
}
