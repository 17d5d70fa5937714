//! Works of many shapes on the GPU: lengths around every boundary, columns up to 512, values of every kind.

use crate::gpu_judge::{PRECISIONS, Rows, judge, judge_summary, lent, reduce};
use crate::random::Random;
use crate::support::{closed_on, table};
use arrow::array::{ArrayRef, Int64Array};
use arrow::buffer::NullBuffer;
use millstream::backend::Work;
use millstream::batch::{Column, Values};
use millstream::cells::Cells;
use millstream::report::{KeyValue, WindowBounds};
use millstream::summary::{Order, Shape};
use millstream::{Batch, Precision, Spec, Window};
use std::sync::Arc;
use std::time::Duration;

/// Around the ends of groups of four, of a workgroup's lanes, of steps, of runs and of blocks.
const LENGTHS: [usize; 16] = [1, 2, 3, 4, 5, 63, 64, 65, 255, 256, 257, 1023, 1025, 4095, 4096, 4097];

pub(crate) fn f64s(values: Vec<f64>) -> Column {
    Column {
        values: Values::F64(values.into()),
        nulls: None,
    }
}

pub(crate) fn f32s(values: Vec<f32>) -> Column {
    Column {
        values: Values::F32(values.into()),
        nulls: None,
    }
}

pub(crate) fn batch_of(columns: Vec<Column>) -> Batch {
    let rows = columns[0].len();
    let named = columns.into_iter().enumerate().map(|(i, c)| (format!("c{i}"), c));
    Batch::new(rows, named.collect()).unwrap()
}

/// A work of a batch as one cell, cut into blocks of so many rows.
pub(crate) fn single(batch: &Batch, block_rows: usize, shape: Shape) -> Work {
    Work {
        before: Arc::new([]),
        cells: Arc::new(Cells::single(batch.rows(), block_rows)),
        batch: batch.clone(),
        carried: Arc::new([]),
        shape: Arc::new(shape),
        open: false,
        weights: None,
        resident: None,
    }
}

/// Everything but a loss, over the first `columns` columns; the regression in the backend's own precision.
pub(crate) fn everything(columns: usize) -> Shape {
    Shape {
        columns,
        order: Order::Fourth,
        comoments: true,
        regression: (0..columns.min(3)).rev().collect(),
        exact: false,
        differences: true,
        quantiles: true,
        loss: None,
    }
}

/// Columns far from 0, of f32, dependent, and skewed.
pub(crate) fn ordinary(rows: usize) -> Batch {
    let mut random = Random::new(rows as u64 + 11);
    let far: Vec<f64> = (0..rows).map(|_| 1e9 + random.normal()).collect();
    let narrow = (0..rows).map(|_| (random.normal() * 10.0 + 100.0) as f32).collect();
    let near = far.iter().map(|x| (x - 1e9) * 0.5 + random.normal() * 0.1).collect();
    let skewed = (0..rows).map(|_| random.normal().powi(2)).collect();
    batch_of(vec![f64s(far), f32s(narrow), f64s(near), f64s(skewed)])
}

/// The same columns in f32 alone.
fn narrowed(batch: &Batch) -> Batch {
    let narrow = |c: &Column| f32s((0..c.len()).map(|i| c.get(i) as f32).collect());
    batch_of(batch.columns().iter().map(narrow).collect())
}

pub(crate) fn with_times(batch: Batch) -> Batch {
    let times = (0..batch.rows() as i64).map(|i| i * 1_700_000_003 - 5_000_000_000 * (i % 11 / 10));
    let times = times.collect();
    batch.with_time_ns(times).unwrap()
}

#[test]
fn gpu_lengths() {
    for precision in PRECISIONS {
        let Some(mut gpu) = lent(precision) else { return };
        let before = gpu.counters().host_blocks();
        for rows in LENGTHS {
            let batch = ordinary(rows);
            for (batch, what) in [
                (batch.clone(), "mixed"),
                (narrowed(&batch), "f32"),
                (with_times(batch), "timed"),
            ] {
                let work = single(&batch, rows, everything(4));
                judge(&mut gpu, &work).unwrap_or_else(|e| panic!("{precision:?}, {rows} rows, {what}: {e}"));
            }
        }
        let none = single(&ordinary(5).slice(0, 0), 256, everything(4));
        assert_eq!(reduce(&mut gpu, &none), []);
        // Blocks shorter than the batch, and one as long as a block may be.
        judge(&mut gpu, &single(&ordinary(4097), 256, everything(4))).unwrap();
        let mut shape = everything(4);
        (shape.differences, shape.quantiles) = (false, false);
        judge(&mut gpu, &single(&ordinary(65_537), 65_537, shape)).unwrap();
        assert_eq!(gpu.counters().host_blocks(), before, "{precision:?}");
    }
}

#[test]
fn gpu_cells() {
    for precision in PRECISIONS {
        let Some(mut gpu) = lent(precision) else { return };
        let batch = with_times(ordinary(3001));
        for cells in [2u32, 7, 1000] {
            let mut random = Random::new(cells.into());
            let cell_of_row: Vec<u32> = (0..3001).map(|_| random.below(cells.into()) as u32).collect();
            let work = Work {
                cells: Arc::new(Cells::grouped(&cell_of_row, &vec![0; cells as usize], 256)),
                ..single(&batch, 256, everything(if cells == 1000 { 1 } else { 4 }))
            };
            judge(&mut gpu, &work).unwrap_or_else(|e| panic!("{precision:?}, {cells} cells: {e}"));
        }
    }
}

/// Whole numbers whose sums of products fit an i128, so that hundreds of columns have a cheap exact answer.
fn whole(columns: usize, rows: usize) -> Vec<Vec<i64>> {
    let mut random = Random::new(columns as u64);
    (0..columns)
        .map(|j| {
            (0..rows)
                .map(|_| 5000 * (j as i64 % 7) + random.below(2000) as i64)
                .collect()
        })
        .collect()
}

#[test]
fn gpu_columns() {
    for precision in PRECISIONS {
        let Some(mut gpu) = lent(precision) else { return };
        for (columns, rows) in [
            (1, 300),
            (2, 300),
            (15, 65),
            (16, 64),
            (17, 1000),
            (31, 63),
            (32, 129),
            (33, 1000),
            (63, 17),
            (64, 300),
            (65, 300),
            (127, 3),
            (129, 70),
            (512, 150),
        ] {
            let data = whole(columns, rows);
            let floats: Vec<Vec<f64>> = data.iter().map(|c| c.iter().map(|x| *x as f64).collect()).collect();
            let shape = Shape {
                columns,
                order: Order::Second,
                comoments: true,
                ..Shape::default()
            };
            let work = single(&table(&floats), rows, shape);
            let summary = &reduce(&mut gpu, &work)[0];
            let m = summary.comoments.as_ref().unwrap();
            let n = rows as i128;
            let sums: Vec<i128> = data.iter().map(|c| c.iter().map(|x| i128::from(*x)).sum()).collect();
            // n Σ(x − x̄)(y − ȳ), exact.
            let exact = |i: usize, j: usize| {
                let dot: i64 = data[i].iter().zip(&data[j]).map(|(x, y)| x * y).sum();
                (n * i128::from(dot) - sums[i] * sums[j]) as f64
            };
            let own: Vec<f64> = (0..columns).map(|i| exact(i, i)).collect();
            let t = millstream::Backend::tolerance(&*gpu);
            for i in 0..columns {
                let variance = summary.columns[i].m2 * n as f64;
                // The comparison itself rounds twice.
                assert!(
                    (variance - own[i]).abs() <= (t.moments + f64::EPSILON) * own[i],
                    "{precision:?}, column {i} of {columns}: {variance}, not {}",
                    own[i]
                );
                for j in i..columns {
                    let (found, exact) = (m.product(i, j) * n as f64, exact(i, j));
                    let allowed = (t.comoments + f64::EPSILON) * (own[i] * own[j]).sqrt();
                    assert!(
                        (found - exact).abs() <= allowed,
                        "{precision:?}, ({i}, {j}) of {columns}: {found}, not {exact}"
                    );
                }
            }
        }
    }
}

/// One large value, and so many small ones, both ways, that their squares add up to what `fast` may not lose: those of
/// 256 rows are less than half a unit of the last place of the large one's in f32.
pub(crate) fn dust(n: usize) -> Vec<f64> {
    let small = 0.995 * 2f64.powi(-16);
    (0..n)
        .map(|i| [1.0, small, -small][if i == 0 { 0 } else { 1 + i % 2 }])
        .collect()
}

/// Columns of one kind each: name, values, whether the device has to do it itself in `exact`.
fn kinds(n: usize) -> Vec<(&'static str, Column, bool)> {
    let mut r = Random::new(99);
    let mut make = |f: &dyn Fn(&mut Random, usize) -> f64| -> Vec<f64> { (0..n).map(|i| f(&mut r, i)).collect() };
    let narrow = |values: Vec<f64>| f32s(values.into_iter().map(|x| x as f32).collect());
    let sign = |r: &mut Random| if r.below(2) == 0 { 1.0 } else { -1.0 };
    let nulls = |mut column: Column, every: usize| {
        column.nulls = Some(NullBuffer::from((0..n).map(|i| i % every != 1).collect::<Vec<_>>()));
        column
    };
    vec![
        ("far", f64s(make(&|r, _| 1e9 + r.normal())), true),
        ("very far", f64s(make(&|r, _| 1e15 + r.normal().round())), true),
        ("far f32", narrow(make(&|r, _| 16_777_216.0 + 4.0 * r.normal())), true),
        (
            "f32 with one step and nulls",
            nulls(
                narrow(make(&|_, i| if i % 100 == 3 { 16_777_218.0 } else { 16_777_216.0 })),
                3,
            ),
            true,
        ),
        // Two-sums have to keep what single sums lose: 2⁻³² beside 1, often.
        ("dust", f64s(dust(n)), true),
        ("dust f32", narrow(dust(n)), true),
        (
            "f32 with one step",
            narrow(make(&|_, i| if i == 3 { 16_777_218.0 } else { 16_777_216.0 })),
            true,
        ),
        (
            "alternating",
            f64s(make(&|_, i| if i % 2 == 0 { 1.0 } else { -1.0 })),
            true,
        ),
        ("alternating far", f64s(make(&|_, i| 1e7 + [0.1, 0.3][i % 2])), true),
        (
            "heavy tails",
            f64s(make(&|r, _| sign(r) / (r.uniform() + 1e-6).powi(2))),
            true,
        ),
        (
            "heavy tails f32",
            narrow(make(&|r, _| sign(r) / (r.uniform() + 1e-3).powi(3))),
            true,
        ),
        ("spike", f64s(make(&|_, i| if i == 0 { 262.3 } else { 0.0 })), true),
        (
            "far spike",
            f64s(make(&|_, i| if i == n - 1 { 1e12 } else { 3.0 })),
            true,
        ),
        ("trend", f64s(make(&|_, i| i as f64)), true),
        ("1e-50", f64s(make(&|r, _| 1e-50 * r.normal())), true),
        ("1e50", f64s(make(&|r, _| 1e50 * r.normal())), true),
        ("1e-200", f64s(make(&|r, _| 1e-200 * r.normal())), false),
        ("1e200", f64s(make(&|r, _| 1e200 * r.normal())), false),
        (
            "1e-200 to 1e200",
            f64s(make(&|r, _| sign(r) * 10f64.powi(r.below(401) as i32 - 200))),
            false,
        ),
        ("1e30 f32", narrow(make(&|r, _| 1e30 * r.normal())), true),
        ("1e-30 f32", narrow(make(&|r, _| 1e-30 * r.normal())), true),
        (
            "1e-30 to 1e30 f32",
            narrow(make(&|r, _| sign(r) * 10f64.powi(r.below(61) as i32 - 30))),
            true,
        ),
        ("subnormal", f64s(make(&|r, _| f64::from_bits(r.below(1 << 30)))), false),
        (
            "subnormal f32",
            narrow(make(&|r, _| f64::from(f32::from_bits(r.below(1 << 20) as u32)))),
            true,
        ),
        ("zeros", f64s(make(&|_, i| if i % 3 == 0 { -0.0 } else { 0.0 })), true),
        ("negative zeros f32", narrow(make(&|_, _| -0.0)), true),
        ("constant", f64s(make(&|_, _| 1e9 + 0.1)), true),
        ("constant f32", narrow(make(&|_, _| 0.1)), true),
        ("missing", f64s(make(&|_, _| f64::NAN)), true),
        (
            "all but one missing",
            f64s(make(&|_, i| if i == 2 { 7.5 } else { f64::NAN })),
            true,
        ),
        (
            "nan f32",
            narrow(make(&|r, _| if r.below(4) == 0 { f64::NAN } else { r.normal() })),
            true,
        ),
        (
            "nulls",
            nulls(f64s(make(&|r, i| if i % 5 == 1 { 1e12 } else { r.normal() })), 5),
            true,
        ),
        (
            "nulls f32",
            nulls(narrow(make(&|r, i| if i % 3 == 1 { 1e12 } else { r.normal() })), 3),
            true,
        ),
        (
            "one infinite",
            f64s(make(&|r, i| if i == 1 { f64::NEG_INFINITY } else { r.normal() })),
            true,
        ),
        (
            "infinite and missing f32",
            narrow(make(&|r, _| [f64::NAN, f64::INFINITY, 1.0, 2.5][r.below(4) as usize])),
            true,
        ),
        ("all infinite", f64s(make(&|r, _| sign(r) * f64::INFINITY)), true),
    ]
}

#[test]
fn gpu_values_of_every_kind() {
    let rows = 1000;
    for precision in PRECISIONS {
        let Some(mut gpu) = lent(precision) else { return };
        let companion = |r: &mut Random| f64s((0..rows).map(|_| 5.0 + r.normal()).collect());
        for (name, column, ordinary) in kinds(rows) {
            let alone = batch_of(vec![column.clone()]);
            let beside = batch_of(vec![companion(&mut Random::new(5)), column]);
            for (batch, columns) in [(alone, 1), (beside, 2)] {
                let before = gpu.counters().host_blocks();
                let work = single(&batch, 600, everything(columns));
                judge(&mut gpu, &work).unwrap_or_else(|e| panic!("{precision:?}, {name}, {columns}: {e}"));
                // Beside others, a single complete row is no pivot's.
                let values = (0..rows)
                    .filter(|i| !work.batch.columns()[columns - 1].get(*i).is_nan())
                    .count();
                if ordinary && precision == Precision::Exact && (columns == 1 || values != 1) {
                    let on_host = gpu.counters().host_blocks() - before;
                    assert_eq!(on_host, 0, "{name}: the device did not do it");
                }
            }
        }
    }
}

/// Where a value is missing depends on another: the complete rows lie elsewhere than the column as a whole.
#[test]
fn gpu_missing_not_at_random() {
    let rows = 1000;
    for precision in PRECISIONS {
        let Some(mut gpu) = lent(precision) else { return };
        let mut random = Random::new(3);
        let x: Vec<f64> = (0..rows).map(|_| random.normal()).collect();
        let mut check = |what: &str, x: Vec<f64>, here: &dyn Fn(usize) -> bool| {
            let y = (0..rows).map(|i| if here(i) { x[i] * 0.5 + (i % 7) as f64 } else { f64::NAN });
            let y = y.collect();
            let work = single(&batch_of(vec![f64s(x.clone()), f64s(y)]), rows, everything(2));
            judge(&mut gpu, &work).unwrap_or_else(|e| panic!("{precision:?}, {what}: {e}"));
        };
        check("above", x.clone(), &|i| x[i] > 1.0);
        check("a few far away", x.clone(), &|i| i < 3);
        let split: Vec<f64> = x
            .iter()
            .enumerate()
            .map(|(i, x)| if i % 10 == 0 { *x } else { x + 1e6 })
            .collect();
        check("the smaller of two clusters", split, &|i| i % 10 == 0);
        // The complete rows are narrow beside what is left out, on both sides of them.
        for large in [1e6, 1e12, 1e24, 1e45] {
            let wide = |i: usize| match i % 10 {
                0 => large,
                1 => -large,
                _ => x[i],
            };
            check(&format!("without ±{large:e}"), (0..rows).map(wide).collect(), &|i| {
                i % 10 > 1
            });
        }
        let tiny = |i: usize| [1.0, -1.0, x[i] * 1e-170][(i % 10).min(2)];
        check("of 1e-170 beside 1", (0..rows).map(tiny).collect(), &|i| i % 10 > 1);
        let far = |i: usize| 1e9 + x[i];
        check("one row complete", (0..rows).map(far).collect(), &|i| i == 77);
        check("no row complete", (0..rows).map(far).collect(), &|_| false);
    }
}

/// Keys and windows through the engine, each group against the oracle.
#[test]
fn gpu_keys_and_windows_through_the_engine() {
    const SECOND: i64 = 1_000_000_000;
    let rows = 5000;
    let mut random = Random::new(8);
    let keys: Vec<i64> = (0..rows).map(|_| random.below(40) as i64).collect();
    let times: Vec<i64> = (0..rows as i64).map(|i| i * SECOND / 10).collect();
    let keyed: ArrayRef = Arc::new(Int64Array::from(keys.clone()));
    let batch = ordinary(rows).with_keys(vec![("k".into(), keyed)]).unwrap();
    let batch = batch.with_time_ns(times.clone()).unwrap();
    for precision in PRECISIONS {
        let Some(mut gpu) = lent(precision) else { return };
        let tolerance = millstream::Backend::tolerance(&*gpu);
        let spec = Spec::new().by(["k"]).covariance().differences().quantiles(&[0.5]);
        let spec = spec.precision(precision);
        let windowed = spec
            .clone()
            .window(Window::sliding(Duration::from_secs(100), Duration::from_secs(50)));
        for spec in [spec, windowed] {
            let shape = spec.shape(batch.names(), batch.columns().len()).unwrap();
            let closed = closed_on(
                &spec,
                Box::new(gpu),
                &[batch.slice(0, 1111), batch.slice(1111, rows - 1111)],
            );
            let mut seen = 0;
            for c in &closed {
                let key = match c.key.as_ref().unwrap().iter().next().unwrap().1 {
                    KeyValue::Integer(k) => *k as i64,
                    other => panic!("{other:?}"),
                };
                let (start, end) = match c.window {
                    Some(WindowBounds::Time { start_ns, end_ns }) => (start_ns, end_ns),
                    _ => (i64::MIN, i64::MAX),
                };
                let own = (0..rows).filter(|i| keys[*i] == key && (start..end).contains(&times[*i]));
                let own: Vec<usize> = own.collect();
                seen += own.len();
                let rows = Rows::of(&batch, own.iter().copied());
                judge_summary(&c.summary, &rows, &shape, None, tolerance)
                    .unwrap_or_else(|e| panic!("{precision:?}, key {key}, from {start}: {e}"));
            }
            // A row is in two windows, but in the first 50 s one of them began before 0.
            let each = if spec.window.is_some() { 2 } else { 1 };
            assert!(seen >= each * rows - 500 && seen <= each * rows, "{seen}");
            gpu = lent(precision).expect("it was there before");
        }
    }
}
