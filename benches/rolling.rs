//! Row-by-row results of 10 million values in memory, beside a plain parallel copy of the same bytes.
//!
//! `cargo bench --bench rolling`. Each result is verified at places all over the rows, against sums in integers, before
//! it is timed. `ROLLING_ROWS` changes the number of values.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use millstream::batch::{Column, Values};
use millstream::transform::{Rolling, Span, Transforms};
use millstream::{Batch, Engine, Spec};
use rayon::prelude::*;
use std::hint::black_box;

/// Whole numbers around 1000 (column 1: a third of them and others), whose sums are exact in integers.
fn values(column: u64, rows: usize) -> Vec<f64> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(column + 1);
    (0..rows)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 54) as f64 + 488.0
        })
        .collect()
}

fn rows() -> usize {
    let asked = std::env::var("ROLLING_ROWS").ok();
    asked.map_or(10_000_000, |text| {
        text.parse().expect("ROLLING_ROWS is a number of rows")
    })
}

fn transform(batch: &Batch, asked: &Transforms) -> Batch {
    let engine = Engine::new(Spec::new()).expect("an engine");
    engine.transform(batch, asked).expect("results")
}

/// The result of a window by its definition, in integers up to the last division.
fn direct(statistic: Rolling, x: &[f64], y: &[f64]) -> f64 {
    let n = x.len() as i128;
    let sum = |f: &dyn Fn(usize) -> i128| (0..x.len()).map(f).sum::<i128>();
    let (sx, sy) = (sum(&|i| x[i] as i128), sum(&|i| y[i] as i128));
    match statistic {
        Rolling::Mean => sx as f64 / n as f64,
        Rolling::Variance => (n * sum(&|i| (x[i] as i128).pow(2)) - sx * sx) as f64 / (n * (n - 1)) as f64,
        Rolling::Covariance => (n * sum(&|i| x[i] as i128 * y[i] as i128) - sx * sy) as f64 / (n * (n - 1)) as f64,
        Rolling::Min => x.iter().copied().fold(f64::INFINITY, f64::min),
        _ => panic!("no bench has {statistic:?}"),
    }
}

fn verify(statistic: Rolling, window: usize, made: &Batch, x: &[f64], y: &[f64]) {
    let made = &made.columns()[0];
    assert!(made.get(window - 2).is_nan(), "no result before a window is full");
    for i in (window - 1..x.len()).step_by(x.len() / 997).chain([x.len() - 1]) {
        let window = i + 1 - window..i + 1;
        let exact = direct(statistic, &x[window.clone()], &y[window]);
        // Covariances of independent columns are far below the product of their deviations.
        let scale = if statistic == Rolling::Covariance {
            1e5
        } else {
            exact.abs()
        };
        assert!(
            (made.get(i) - exact).abs() <= 1e-12 * scale,
            "{statistic:?} at {i}: {} {exact}",
            made.get(i)
        );
    }
}

fn rolling(criterion: &mut Criterion) {
    let rows = rows();
    let (x, y) = (values(0, rows), values(1, rows));
    let one = Batch::from_columns([("x", x.clone())]).expect("a batch");
    let two = Batch::from_columns([("x", x.clone()), ("y", y.clone())]).expect("a batch");
    let mut group = criterion.benchmark_group("rolling");
    group.sample_size(15).throughput(Throughput::Elements(rows as u64));
    for (statistic, name) in [
        (Rolling::Mean, "mean"),
        (Rolling::Variance, "variance"),
        (Rolling::Covariance, "covariance"),
        (Rolling::Min, "min"),
    ] {
        let batch = if statistic == Rolling::Covariance { &two } else { &one };
        for window in [100, 10_000] {
            let asked = Transforms::new().rolling(Span::Rows(window), &[statistic]);
            verify(statistic, window, &transform(batch, &asked), &x, &y);
            group.bench_function(BenchmarkId::new(name, window), |b| {
                b.iter(|| transform(black_box(batch), &asked));
            });
        }
    }
    group.finish();
}

fn steps(criterion: &mut Criterion) {
    let rows = rows();
    let x = values(0, rows);
    let narrow: Vec<f32> = x.iter().map(|x| *x as f32).collect();
    let f64s = Batch::from_columns([("x", x.clone())]).expect("a batch");
    let column = Column {
        values: Values::F32(narrow.into()),
        nulls: None,
    };
    let f32s = Batch::new(rows, vec![("x".into(), column)]).expect("a batch");
    let mut group = criterion.benchmark_group("steps");
    group.sample_size(15).throughput(Throughput::Elements(rows as u64));
    let mut target = vec![0.0; rows];
    group.bench_function("copy into memory that is there", |b| {
        b.iter(|| {
            let chunks = target.par_chunks_mut(1 << 15).zip(x.par_chunks(1 << 15));
            chunks.for_each(|(to, from)| to.copy_from_slice(black_box(from)));
        });
    });
    group.bench_function("copy into new memory", |b| {
        b.iter(|| {
            let mut target = vec![0.0; rows];
            let chunks = target.par_chunks_mut(1 << 15).zip(x.par_chunks(1 << 15));
            chunks.for_each(|(to, from)| to.copy_from_slice(black_box(from)));
            target
        });
    });
    for (name, asked) in [
        ("differences", Transforms::new().differences()),
        ("gradient", Transforms::new().gradient()),
    ] {
        for (kind, batch) in [("f64", &f64s), ("f32", &f32s)] {
            let made = transform(batch, &asked);
            for i in (1..rows - 1).step_by(rows / 997) {
                let exact = match name {
                    "gradient" => (x[i + 1] - x[i - 1]) / 2.0,
                    _ => x[i] - x[i - 1],
                };
                assert_eq!(made.columns()[0].get(i), exact, "{name} at {i}");
            }
            group.bench_function(BenchmarkId::new(name, kind), |b| {
                b.iter(|| transform(black_box(batch), &asked));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, rolling, steps);
criterion_main!(benches);
