//! The same rows in the same order give the same bits, however they are cut into batches, on any number of threads.
//!
//! Compared are the byte forms of all summaries, so every count, sum, product and bucket.

use crate::random::Random;
use crate::support::{bits, closed, closed_on, pieces};
use arrow::array::{Array, TimestampNanosecondArray};
use arrow::array::{ArrayRef, Float32Array, Float64Array, Int64Array, RecordBatch, StringArray};
use millstream::backend::cpu::Cpu;
use millstream::batch::{Column, Values};
use millstream::{Batch, Precision, Spec, Window};
use std::sync::Arc;

/// Rows: more than one leaf of 4096, no multiple of one, and enough that several threads get work.
const ROWS: usize = 13_001;

const SECOND: i64 = 1_000_000_000;

/// Three columns of f64 and one of f32, some values missing (as NaN and as null), some infinite; two keys; a rising
/// time that sometimes steps back.
fn record(rows: usize) -> RecordBatch {
    let mut random = Random::new(5);
    let x: Vec<f64> = (0..rows).map(|_| 1e6 + random.normal()).collect();
    let y: Vec<Option<f64>> = x
        .iter()
        .map(|x| match random.below(50) {
            0 => None,
            1 => Some(f64::NAN),
            _ => Some(x * 2.0 + random.normal()),
        })
        .collect();
    let wild: Vec<f64> = (0..rows)
        .map(|_| match random.below(2000) {
            0 => f64::INFINITY,
            1 => 1e300 * random.normal(),
            _ => random.normal() * 1e-3,
        })
        .collect();
    let narrow: Vec<Option<f32>> = (0..rows)
        .map(|_| (random.below(40) > 0).then(|| random.normal() as f32))
        .collect();
    let key: Vec<Option<&str>> = (0..rows)
        .map(|_| [Some("a"), Some("bb"), None][random.below(3) as usize])
        .collect();
    let number: Vec<i64> = (0..rows).map(|_| random.below(20) as i64 - 3).collect();
    let mut at = -40 * SECOND;
    let time: Vec<i64> = (0..rows)
        .map(|_| {
            at += random.below(20_000_000) as i64;
            at - if random.below(30) == 0 { 3 * SECOND } else { 0 }
        })
        .collect();
    let columns: [(&str, ArrayRef); 7] = [
        ("x", Arc::new(Float64Array::from(x))),
        ("y", Arc::new(Float64Array::from(y))),
        ("wild", Arc::new(Float64Array::from(wild))),
        ("narrow", Arc::new(Float32Array::from(narrow))),
        ("key", Arc::new(StringArray::from(key))),
        ("number", Arc::new(Int64Array::from(number))),
        ("time", Arc::new(TimestampNanosecondArray::from(time))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn batch(record: &RecordBatch, spec: &Spec) -> Batch {
    let numeric = ["x", "y", "wild", "narrow"].map(String::from);
    Batch::from_record_batch(record, Some(&numeric), &spec.keys, Some("time")).unwrap()
}

/// Everything there is to compute.
fn everything() -> Spec {
    Spec::new()
        .covariance()
        .correlation()
        .differences()
        .quantiles(&[0.1, 0.5])
        .regression("y", &["x", "narrow"])
}

fn specs() -> Vec<(&'static str, Spec)> {
    let sliding = Window::Time {
        size_ns: 15 * SECOND,
        slide_ns: 10 * SECOND,
    };
    let tumbling = Window::Time {
        size_ns: 20 * SECOND,
        slide_ns: 20 * SECOND,
    };
    let rows = Window::Rows { size: 900, slide: 600 };
    vec![
        ("one cell", everything()),
        (
            "second order, fast",
            everything().mean_and_variance().precision(Precision::Fast),
        ),
        ("keys", everything().by(["key"])),
        ("two keys", everything().by(["number", "key"])),
        ("tumbling windows", everything().window(tumbling)),
        ("sliding windows", everything().window(sliding)),
        ("keys in sliding windows", everything().window(sliding).by(["key"])),
        ("windows of rows", everything().window(rows)),
        ("windows of rows of keys", everything().window(rows).by(["key"])),
    ]
}

#[test]
fn for_any_batches() {
    let record = record(ROWS);
    for (name, spec) in specs() {
        let all = batch(&record, &spec);
        let whole = bits(&closed(&spec, std::slice::from_ref(&all)));
        assert!(!whole.is_empty() && (whole.len() > 1) == spec.is_grouped(), "{name}");
        for count in [3, 10, 1000, ROWS] {
            let cut = pieces(&all, ROWS.div_ceil(count));
            assert!(bits(&closed(&spec, &cut)) == whole, "{name}: {count} batches");
        }
        // Uneven cuts, with empty batches between.
        let mut random = Random::new(count_of(name));
        let (mut cut, mut start) = (vec![all.slice(0, 0)], 0);
        while start < ROWS {
            let rows = (random.below(3000) as usize).min(ROWS - start);
            cut.push(all.slice(start, rows));
            start += rows;
        }
        assert!(bits(&closed(&spec, &cut)) == whole, "{name}: uneven batches");
    }
}

/// A column may be f32 in one batch and f64 in the next: widening is exact, so how rows of both come together in a leaf
/// changes nothing.
#[test]
fn for_columns_that_change_their_type() {
    let mut random = Random::new(8);
    let x: Vec<f32> = (0..ROWS).map(|_| 100.0 + random.normal() as f32).collect();
    let y: Vec<f64> = x.iter().map(|x| f64::from(*x) + random.normal()).collect();
    let piece = |start: usize, end: usize, narrow: bool| {
        let values = match narrow {
            true => Values::F32(x[start..end].to_vec().into()),
            false => Values::F64(x[start..end].iter().map(|x| f64::from(*x)).collect()),
        };
        let x = Column { values, nulls: None };
        let y = Column {
            values: Values::F64(y[start..end].to_vec().into()),
            nulls: None,
        };
        let times = (start..end).map(|i| i as i64 * SECOND / 100).collect();
        Batch::new(end - start, vec![("x".into(), x), ("y".into(), y)])
            .and_then(|batch| batch.with_time_ns(times))
            .unwrap()
    };
    let spec = everything().regression("y", &["x"]);
    let whole = bits(&closed(&spec, &[piece(0, ROWS, false)]));
    // Longer and shorter than what is carried as it lies, and than a leaf.
    for rows in [37, 300, 1500, 6000] {
        let starts = (0..ROWS).step_by(rows).zip(0..);
        let cut: Vec<Batch> = starts
            .map(|(start, k)| piece(start, ROWS.min(start + rows), k % 2 == 0))
            .collect();
        assert!(bits(&closed(&spec, &cut)) == whole, "{rows} rows a batch");
    }
}

fn count_of(name: &str) -> u64 {
    name.len() as u64
}

#[test]
fn on_any_number_of_threads() {
    let record = record(ROWS);
    for (name, spec) in specs() {
        let all = batch(&record, &spec);
        let whole = bits(&closed(&spec, std::slice::from_ref(&all)));
        for threads in [1, 2, 7] {
            let own = Cpu::with_threads(threads).unwrap();
            assert_eq!(own.threads(), threads);
            assert!(
                bits(&closed_on(&spec, Box::new(own), std::slice::from_ref(&all))) == whole,
                "{name}: {threads} threads"
            );
            // The same inside a pool of the program's own.
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let found = pool.install(|| bits(&closed(&spec, &pieces(&all, 5000))));
            assert!(found == whole, "{name}: {threads} threads of the program");
        }
    }
}

#[test]
fn for_slices_of_larger_buffers() {
    let long = record(ROWS + 700);
    for (name, spec) in specs() {
        // The rows behind an offset that is no multiple of a byte of the bitmaps, and the same rows copied to buffers
        // of their own.
        let slice = long.slice(333, 6001);
        let copy = RecordBatch::try_new(slice.schema(), slice.columns().iter().map(|a| copied(a)).collect()).unwrap();
        let whole = bits(&closed(&spec, &[batch(&copy, &spec)]));
        assert!(
            bits(&closed(&spec, &[batch(&slice, &spec)])) == whole,
            "{name}: a slice of Arrow buffers"
        );
        let sliced = batch(&long, &spec).slice(333, 6001);
        assert!(
            bits(&closed(&spec, &pieces(&sliced, 777))) == whole,
            "{name}: slices of a slice"
        );
    }
}

/// The same values in buffers of their own, beginning at 0.
fn copied(array: &ArrayRef) -> ArrayRef {
    let rows = Int64Array::from_iter_values(0..array.len() as i64);
    let copy = arrow::compute::take(array, &rows, None).unwrap();
    assert_eq!(copy.offset(), 0);
    copy
}

#[test]
fn an_engine_is_as_new_after_it_has_closed() {
    let record = record(5000);
    for (name, spec) in specs() {
        let all = batch(&record, &spec);
        let mut engine = millstream::Engine::new(spec).unwrap();
        let mut rounds = (0..3).map(|_| {
            engine.push(&all).unwrap();
            bits(&engine.close().unwrap())
        });
        let first = rounds.next().unwrap();
        assert!(rounds.all(|round| round == first), "{name}");
    }
}

#[test]
fn another_order_gives_other_bits() {
    // So that the comparison above is known to see the least difference.
    let (record, spec) = (record(9000), everything());
    let all = batch(&record, &spec);
    let turned = [all.slice(4500, 4500), all.slice(0, 4500)];
    assert!(bits(&closed(&spec, &turned)) != bits(&closed(&spec, &[all])));
}
