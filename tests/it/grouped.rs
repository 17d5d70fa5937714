//! Keys and windows against brute force: the rows of every group picked one by one, its statistics from the oracle.

use crate::oracle::{self, rational, relative_error, to_f64};
use crate::random::Random;
use crate::support::U;
use arrow::array::{
    ArrayRef, BooleanArray, DictionaryArray, Float32Array, Float64Array, Int32Array, Int64Array, StringArray,
};
use arrow::datatypes::Int32Type;
use millstream::report::{Group, KeyValue, WindowBounds};
use millstream::{Batch, Engine, Spec, Window};
use std::collections::BTreeMap;
use std::sync::Arc;

const SECOND: i64 = 1_000_000_000;

/// A group's variance: leaves of 256 rows one after another around their first value, whose square is at most 255
/// variances away. What rounding takes from the sums is kept, so that 4 roundings a term and 4 of s2 − s1²/n are left;
/// few leaves a group add as many again.
const VARIANCE_ERROR_MAX: f64 = 16.0 * 257.0 * U;
/// A group's covariance: 256 additions and some roundings a term.
const COVARIANCE_ERROR_MAX: f64 = 270.0 * 257.0 * U;

/// How a test says which key a row has: ranks as the order of groups does (missing, boolean, number, text).
type Key = Vec<Part>;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Null,
    Boolean(bool),
    /// In sixteenths, so that numbers compare exactly.
    Number(i64),
    Text(String),
}

fn part(value: &KeyValue) -> Part {
    match value {
        KeyValue::Null => Part::Null,
        KeyValue::Boolean(b) => Part::Boolean(*b),
        KeyValue::Integer(i) => Part::Number((i * 16) as i64),
        KeyValue::Number(x) => Part::Number((x * 16.0) as i64),
        KeyValue::Text(t) => Part::Text(t.clone()),
        other => panic!("{other:?}"),
    }
}

/// The rows of each group by (window start, key), counted out one row at a time.
fn brute_force(
    keys: &[Key],
    at: &[i64],
    window: Option<(i64, i64)>,
    from_zero: bool,
) -> BTreeMap<(i64, Key), Vec<usize>> {
    let mut groups: BTreeMap<(i64, Key), Vec<usize>> = BTreeMap::new();
    for i in 0..keys.len() {
        let Some((size, slide)) = window else {
            groups.entry((0, keys[i].clone())).or_default().push(i);
            continue;
        };
        // Every multiple of slide whose window holds the row: searched, not computed.
        let mut start = at[i].div_euclid(slide) * slide;
        while start + size > at[i] {
            if !(from_zero && start < 0) {
                groups.entry((start, keys[i].clone())).or_default().push(i);
            }
            start -= slide;
        }
    }
    groups
}

/// That a report's groups are these, in order, with the statistics of their rows.
fn check(
    found: &[Group],
    expected: &BTreeMap<(i64, Key), Vec<usize>>,
    x: &[f64],
    y: &[f64],
    window: Option<(i64, i64)>,
) {
    let place = |g: &Group| {
        let start = match g.window {
            None => 0,
            Some(WindowBounds::Time { start_ns, end_ns }) => {
                assert_eq!(Some(end_ns - start_ns), window.map(|w| w.0));
                start_ns
            }
            Some(WindowBounds::Rows { start, end }) => {
                assert_eq!(Some((end - start) as i64), window.map(|w| w.0));
                start as i64
            }
            other => panic!("{other:?}"),
        };
        (
            start,
            g.key
                .iter()
                .flat_map(|k| k.iter())
                .map(|(_, v)| part(v))
                .collect::<Key>(),
        )
    };
    let places: Vec<_> = found.iter().map(place).collect();
    assert_eq!(places, expected.keys().cloned().collect::<Vec<_>>());
    for (group, (at, rows)) in found.iter().zip(expected) {
        assert_eq!(group.rows, rows.len() as u64, "{at:?}");
        let values: Vec<f64> = rows.iter().map(|i| x[*i]).filter(|x| !x.is_nan()).collect();
        let column = &group.columns["x"];
        assert_eq!(
            (column.count, column.missing),
            (values.len() as u64, (rows.len() - values.len()) as u64),
            "{at:?}"
        );
        let Some(exact) = oracle::moments(&values) else {
            assert_eq!((column.mean, column.min), (None, None), "{at:?}");
            continue;
        };
        assert_eq!(
            (column.min, column.max),
            (Some(to_f64(&exact.min)), Some(to_f64(&exact.max))),
            "{at:?}"
        );
        // The sum of a leaf: 256 deviations around a value that is at most 16 sd away; one rounding of the mean.
        let (sd, mean) = (to_f64(&exact.std(0).unwrap()), column.mean.unwrap());
        let error = to_f64(&(rational(mean) - &exact.mean)).abs();
        assert!(
            error <= 260.0 * 17.0 * U * sd + mean.abs() * U,
            "{at:?}: mean off by {error:e}"
        );
        match exact.variance(1) {
            None => assert_eq!(column.variance, None, "{at:?}"),
            Some(v) => assert!(
                relative_error(column.variance.unwrap(), &v) <= VARIANCE_ERROR_MAX,
                "{at:?}"
            ),
        }
        let pairs = oracle::listwise(&[
            &rows.iter().map(|i| x[*i]).collect::<Vec<_>>(),
            &rows.iter().map(|i| y[*i]).collect::<Vec<_>>(),
        ]);
        let matrix = group.covariance.as_ref().unwrap();
        assert_eq!(matrix.rows, pairs[0].len() as u64, "{at:?}");
        if let Some(exact) = oracle::covariance(&pairs[0], &pairs[1], 1) {
            let sd = |k: usize| to_f64(&oracle::covariance(&pairs[k], &pairs[k], 1).unwrap()).sqrt();
            let error = (matrix.matrix[0][1].unwrap() - to_f64(&exact)).abs();
            assert!(
                error <= COVARIANCE_ERROR_MAX * sd(0) * sd(1),
                "{at:?}: covariance off by {error:e}"
            );
        }
    }
}

struct Data {
    x: Vec<f64>,
    y: Vec<f64>,
    time_ns: Vec<i64>,
}

/// Rows with missing values and with times around 1970, in no order.
fn data(rows: usize, seed: u64) -> Data {
    let mut random = Random::new(seed);
    Data {
        x: (0..rows)
            .map(|_| {
                if random.below(20) == 0 {
                    f64::NAN
                } else {
                    1e5 + random.normal()
                }
            })
            .collect(),
        y: (0..rows).map(|_| random.normal() * 1e-2).collect(),
        time_ns: (0..rows)
            .map(|_| (random.uniform() * 120.0 * 1e9) as i64 - 70 * SECOND)
            .collect(),
    }
}

fn run(spec: Spec, data: &Data, keys: Vec<(String, ArrayRef)>, batches: usize) -> Vec<Group> {
    let columns = [("x", data.x.clone()), ("y", data.y.clone())];
    let batch = Batch::from_columns(columns).unwrap().with_keys(keys).unwrap();
    let batch = batch.with_time_ns(data.time_ns.clone()).unwrap();
    let mut engine = Engine::new(spec.covariance()).unwrap();
    for piece in crate::support::pieces(&batch, data.x.len().div_ceil(batches)) {
        engine.push(&piece).unwrap();
    }
    let report = engine.finish().unwrap();
    assert_eq!(report.rows, data.x.len() as u64);
    report.groups
}

const ROWS: usize = 4000;

/// One key column of every kind, with the keys a test expects of it.
fn key_columns(rows: usize) -> Vec<(&'static str, ArrayRef, Vec<Part>)> {
    let mut random = Random::new(77);
    let draw: Vec<usize> = (0..rows).map(|_| random.below(6) as usize).collect();
    let pick = |parts: [Part; 6]| draw.iter().map(|i| parts[*i].clone()).collect::<Vec<_>>();
    let texts = [Some("b"), Some("a"), None, Some(""), Some("ü"), Some("aa")];
    let text_parts = texts.map(|t| t.map_or(Part::Null, |t| Part::Text(t.into())));
    let integers = [Some(3), Some(-7), Some(0), None, Some(1000), Some(10)];
    let integer_parts = integers.map(|i: Option<i64>| i.map_or(Part::Null, |i| Part::Number(i * 16)));
    let floats = [2.5, -0.0, 0.0, f64::NAN, -1e3, 4.0];
    let float_parts = floats.map(|x| {
        if x.is_nan() {
            Part::Null
        } else {
            Part::Number((x * 16.0) as i64)
        }
    });
    let booleans = [Some(true), Some(false), None, Some(true), Some(false), Some(true)];
    let boolean_parts = booleans.map(|b| b.map_or(Part::Null, Part::Boolean));
    let taken = |values: [Option<i64>; 6]| draw.iter().map(move |i| values[*i]);
    let text = || draw.iter().map(|i| texts[*i]);
    let dictionary: DictionaryArray<Int32Type> = text().collect();
    vec![
        (
            "text",
            Arc::new(text().collect::<StringArray>()),
            pick(text_parts.clone()),
        ),
        ("dictionary", Arc::new(dictionary), pick(text_parts)),
        (
            "i64",
            Arc::new(taken(integers).collect::<Int64Array>()),
            pick(integer_parts.clone()),
        ),
        (
            "i32",
            Arc::new(taken(integers).map(|i| i.map(|i| i as i32)).collect::<Int32Array>()),
            pick(integer_parts),
        ),
        (
            "f64",
            Arc::new(draw.iter().map(|i| Some(floats[*i])).collect::<Float64Array>()),
            pick(float_parts.clone()),
        ),
        (
            "f32",
            Arc::new(draw.iter().map(|i| Some(floats[*i] as f32)).collect::<Float32Array>()),
            pick(float_parts),
        ),
        (
            "boolean",
            Arc::new(draw.iter().map(|i| booleans[*i]).collect::<BooleanArray>()),
            pick(boolean_parts),
        ),
    ]
}

#[test]
fn keys_of_every_type() {
    let data = data(ROWS, 1);
    for (name, array, parts) in key_columns(ROWS) {
        let keys: Vec<Key> = parts.into_iter().map(|p| vec![p]).collect();
        let expected = brute_force(&keys, &data.time_ns, None, false);
        for batches in [1, 7] {
            let found = run(
                Spec::new().by([name]),
                &data,
                vec![(name.into(), array.clone())],
                batches,
            );
            check(&found, &expected, &data.x, &data.y, None);
        }
    }
}

#[test]
fn several_keys_at_once() {
    let data = data(ROWS, 2);
    let columns = key_columns(ROWS);
    // Columns that are drawn apart, so that they combine.
    let turned: ArrayRef = {
        let places = Int64Array::from_iter_values((0..ROWS as i64).map(|i| (i * 1237 + 11) % ROWS as i64));
        arrow::compute::take(&columns[2].1, &places, None).unwrap()
    };
    let turned_parts: Vec<Part> = (0..ROWS)
        .map(|i| columns[2].2[(i * 1237 + 11) % ROWS].clone())
        .collect();
    let keys: Vec<Key> = (0..ROWS)
        .map(|i| {
            vec![
                turned_parts[i].clone(),
                columns[1].2[i].clone(),
                columns[6].2[i].clone(),
            ]
        })
        .collect();
    let arrays = vec![
        ("n".into(), turned),
        ("d".into(), columns[1].1.clone()),
        ("b".into(), columns[6].1.clone()),
    ];
    let found = run(Spec::new().by(["n", "d", "b"]), &data, arrays, 3);
    check(
        &found,
        &brute_force(&keys, &data.time_ns, None, false),
        &data.x,
        &data.y,
        None,
    );
}

#[test]
fn windows_of_time_with_and_without_keys() {
    // Slides that divide the size and slides that do not; times before and after 1970, in no order: no row is late in
    // an analysis.
    let data = data(ROWS, 3);
    let (name, array, parts) = key_columns(ROWS).swap_remove(0);
    for (size, slide) in [(10, 10), (10, 5), (10, 3), (15, 10), (120, 120), (7, 6)] {
        let (size_ns, slide_ns) = (size * SECOND, slide * SECOND);
        let spec = Spec::new().window(Window::Time { size_ns, slide_ns });
        for keyed in [false, true] {
            let keys: Vec<Key> = parts
                .iter()
                .map(|p| if keyed { vec![p.clone()] } else { Vec::new() })
                .collect();
            let expected = brute_force(&keys, &data.time_ns, Some((size_ns, slide_ns)), false);
            let (spec, arrays) = match keyed {
                true => (spec.clone().by([name]), vec![(name.to_string(), array.clone())]),
                false => (spec.clone(), Vec::new()),
            };
            let found = run(spec, &data, arrays, if keyed { 5 } else { 1 });
            assert!(expected.keys().any(|(start, _)| *start < 0));
            check(&found, &expected, &data.x, &data.y, Some((size_ns, slide_ns)));
        }
    }
}

#[test]
fn windows_of_rows() {
    let data = data(ROWS, 4);
    let (name, array, parts) = key_columns(ROWS).swap_remove(4);
    for (size, slide) in [(100, 100), (1000, 300), (3, 2), (5000, 5000), (1, 1)] {
        for keyed in [false, true] {
            let keys: Vec<Key> = parts
                .iter()
                .map(|p| if keyed { vec![p.clone()] } else { Vec::new() })
                .collect();
            let mut seen: BTreeMap<&Key, i64> = BTreeMap::new();
            let at: Vec<i64> = keys
                .iter()
                .map(|key| {
                    let n = seen.entry(key).or_default();
                    *n += 1;
                    *n - 1
                })
                .collect();
            let expected = brute_force(&keys, &at, Some((size, slide)), true);
            let spec = Spec::new().window(Window::Rows { size, slide });
            let (spec, arrays) = match keyed {
                true => (spec.by([name]), vec![(name.to_string(), array.clone())]),
                false => (spec, Vec::new()),
            };
            let found = run(spec, &data, arrays, 3);
            check(&found, &expected, &data.x, &data.y, Some((size, slide)));
        }
    }
}

#[test]
fn differences_follow_the_order_of_arrival_within_a_pane() {
    let mut data = data(600, 5);
    data.time_ns.sort_unstable();
    data.time_ns[300] = data.time_ns[299];
    let window = Window::Time {
        size_ns: 20 * SECOND,
        slide_ns: 10 * SECOND,
    };
    for group in run(Spec::new().window(window).differences(), &data, Vec::new(), 4) {
        let Some(WindowBounds::Time { start_ns, end_ns }) = group.window else {
            panic!("a window of time")
        };
        let inside = |i: &usize| (start_ns..end_ns).contains(&data.time_ns[*i]);
        let rows: Vec<usize> = (0..600).filter(inside).collect();
        let values: Vec<f64> = rows.iter().map(|i| data.x[*i]).collect();
        let times: Vec<i64> = rows.iter().map(|i| data.time_ns[*i]).collect();
        let (counted, unordered) = oracle::differences(&values, Some(&times));
        let found = &group.differences.as_ref().unwrap()["x"];
        assert_eq!(
            (found.count as usize, found.unordered as usize),
            (counted.len(), unordered)
        );
        if let Some(exact) = oracle::moments_of_rationals(&counted) {
            // A quotient of a rounded difference and a rounded span: three roundings of each, of the size of the
            // largest.
            let largest = to_f64(&exact.max).abs().max(to_f64(&exact.min).abs());
            assert!((found.mean.unwrap() - to_f64(&exact.mean)).abs() <= (260.0 + 4.0) * 2.0 * largest * U);
        }
    }
}
