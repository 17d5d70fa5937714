//! Windows of feeds against a model that keeps every row: random batches of several partitions, in disorder, with rows
//! from nowhere, clocks that go on, keys that are given up, ends, and crashes that leave nothing but a snapshot.

use crate::feed_model::{Model, Place, Question, Row, S};
use crate::oracle;
use crate::random::Random;
use arrow::array::{ArrayRef, Int64Array};
use millstream::report::{KeyValue, WindowBounds};
use millstream::summary::Quantiles;
use millstream::{Batch, Closed, Engine, Window};
use std::collections::BTreeSet;
use std::sync::Arc;

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
            3 => {
                // Where windows count rows and memory is short, keys that come again begin at row 0.
                let of_rows = matches!(question.window, Some(Window::Rows { .. }));
                let bytes_max = [u64::MAX, 1][usize::from(random.below(8) == 0 && !of_rows)];
                give_up(&mut engine, &mut model, 1 + random.below(keys) as usize, bytes_max);
            }
            4 => settle(&mut engine, &mut model, 1 + random.below(20) as usize, false),
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
