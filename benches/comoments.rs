//! Co-moments against the f64 matrix product of the crate `gemm` on the same shape, counted on the triangle.
//!
//! `cargo bench --bench comoments`. The product does 2 n d² operations, the triangle n d (d + 1); both are shown as
//! elements (operations) per second, so that rates compare directly. Each result is verified against plain two-pass
//! sums.

#[path = "yardsticks/product.rs"]
mod yardstick;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use millstream::{Batch, Engine, Spec};
use std::hint::black_box;

fn columns(rows: usize, d: usize) -> Vec<Vec<f64>> {
    let mut state = 88_172_645_463_325_252u64;
    (0..d)
        .map(|j| {
            (0..rows)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    (state >> 11) as f64 / (1u64 << 53) as f64 + j as f64
                })
                .collect()
        })
        .collect()
}

fn verify(batch: &Batch, columns: &[Vec<f64>]) {
    let report = Engine::new(Spec::new().covariance())
        .and_then(|mut e| e.analyze(batch))
        .expect("a report");
    let matrix = report.groups[0].covariance.clone().expect("a matrix").matrix;
    let n = columns[0].len() as f64;
    let mean = |c: &[f64]| c.iter().sum::<f64>() / n;
    let d = columns.len();
    for (i, j) in [(0, 0), (0, d - 1), (d / 2, d / 3), (d - 1, d - 1), (1, 5)] {
        let (a, b) = (&columns[i], &columns[j]);
        let (ma, mb) = (mean(a), mean(b));
        let exact = a.iter().zip(b).map(|(x, y)| (x - ma) * (y - mb)).sum::<f64>() / (n - 1.0);
        let got = matrix[i][j].expect("a covariance");
        assert!((got - exact).abs() < 1e-12 / 12.0, "{i} {j}: {got} {exact}");
    }
}

fn comoments(criterion: &mut Criterion) {
    for (rows, d) in [(400_000, 64), (100_000, 256)] {
        let columns = columns(rows, d);
        let named = columns.iter().enumerate().map(|(i, c)| (format!("c{i}"), c.clone()));
        let batch = Batch::from_columns(named).expect("a batch");
        verify(&batch, &columns);
        let mut group = criterion.benchmark_group(format!("comoments d={d}"));
        group.sample_size(10);
        // Column-major X (rows × d): XᵀX is d × d.
        let x: Vec<f64> = columns.iter().flatten().copied().collect();
        let mut product = vec![0.0f64; d * d];
        group.throughput(Throughput::Elements((2 * rows * d * d) as u64));
        group.bench_function(BenchmarkId::new("gemm", rows), |b| {
            b.iter(|| yardstick::multiply(black_box(&x), &mut product, rows, d));
        });
        group.throughput(Throughput::Elements((rows * d * (d + 1)) as u64));
        let spec = Spec {
            order: millstream::summary::Order::Second,
            ..Spec::new().covariance()
        };
        group.bench_function(BenchmarkId::new("covariance", rows), |b| {
            b.iter(|| Engine::new(spec.clone()).and_then(|mut e| e.analyze(black_box(&batch))));
        });
        group.finish();
    }
}

criterion_group!(benches, comoments);
criterion_main!(benches);
