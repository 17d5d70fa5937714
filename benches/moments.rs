//! Moments of columns in memory against the bandwidth of a plain parallel sum over the same bytes.
//!
//! `cargo bench --bench moments`. Each result is verified against a sum of exact parts before it is timed.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use millstream::{Batch, Engine, Spec};
use rayon::prelude::*;
use std::hint::black_box;

/// Values a column: eight columns are 512 MiB, far beyond any cache.
const ROWS: usize = 8 << 20;
const COLUMNS: usize = 8;

/// Whole numbers around 1000, whose moments are known exactly in integers.
fn values(column: usize) -> Vec<f64> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(column as u64 + 1);
    (0..ROWS)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 54) as f64 + 488.0
        })
        .collect()
}

fn verify(batch: &Batch, columns: &[Vec<f64>]) {
    let report = Engine::new(Spec::new())
        .and_then(|mut e| e.analyze(batch))
        .expect("a report");
    for (i, column) in columns.iter().enumerate() {
        let n = ROWS as i128;
        let sum: i128 = column.iter().map(|x| *x as i128).sum();
        let squares: i128 = column.iter().map(|x| (*x as i128).pow(2)).sum();
        let variance = (n * squares - sum * sum) as f64 / (n * (n - 1)) as f64;
        let got = &report.groups[0].columns.values()[i];
        assert_eq!(got.mean, Some(sum as f64 / n as f64));
        assert!((got.variance.expect("a variance") / variance - 1.0).abs() < 1e-12);
    }
}

fn moments(criterion: &mut Criterion) {
    let columns: Vec<Vec<f64>> = (0..COLUMNS).map(values).collect();
    let named = columns.iter().enumerate().map(|(i, c)| (format!("c{i}"), c.clone()));
    let batch = Batch::from_columns(named).expect("a batch");
    verify(&batch, &columns);
    let mut group = criterion.benchmark_group("moments");
    group
        .sample_size(10)
        .throughput(Throughput::Bytes((ROWS * COLUMNS * 8) as u64));
    group.bench_function(BenchmarkId::new("plain parallel sum", "f64"), |b| {
        b.iter(|| {
            columns
                .par_iter()
                .flat_map(|c| c.par_chunks(1 << 16))
                .map(|c| sum(black_box(c)))
                .sum::<f64>()
        });
    });
    for (name, spec) in [
        ("mean and variance", Spec::new().mean_and_variance()),
        ("four moments", Spec::new()),
    ] {
        group.bench_function(BenchmarkId::new(name, "f64"), |b| {
            b.iter(|| Engine::new(spec.clone()).and_then(|mut e| e.analyze(black_box(&batch))));
        });
    }
    group.finish();
}

/// A sum in sixteen lanes: limited by memory, not by the latency of an addition.
fn sum(values: &[f64]) -> f64 {
    pulp::Arch::new().dispatch(|| {
        let mut lanes = [0.0; 16];
        let (chunks, rest) = values.as_chunks::<16>();
        for chunk in chunks {
            for l in 0..16 {
                lanes[l] += chunk[l];
            }
        }
        lanes.iter().sum::<f64>() + rest.iter().sum::<f64>()
    })
}

criterion_group!(benches, moments);
criterion_main!(benches);
