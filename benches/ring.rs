//! The ring of the GPU backend with one, two and three stages, and what handing over a work costs the caller.
//!
//! `cargo bench --bench ring`. A software adapter will do where there is no other: it shows what overlaps, not how fast a
//! GPU is. Each result is verified against sums of whole numbers before it is timed.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use millstream::backend::gpu::trace::Recorder;
use millstream::backend::gpu::{Gpu, Options};
use millstream::backend::{Backend, Partial, Work};
use millstream::cells::Cells;
use millstream::summary::{Order, Shape};
use millstream::{Batch, Precision};
use std::sync::Arc;
use std::time::Instant;

/// Works of 4 MiB each.
const WORKS: u64 = 32;
const COLUMNS: usize = 8;
const ROWS: usize = 1 << 16;
/// Works that are handed over to see what that costs, and the rows of each.
const HANDED: u64 = 20_000;
const SMALL_ROWS: usize = 100;

fn values(column: usize, rows: usize) -> Vec<f64> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(column as u64 + 1);
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 54) as f64
    };
    (0..rows).map(|_| next()).collect()
}

fn work(rows: usize) -> Work {
    let columns = (0..COLUMNS).map(|i| (format!("c{i}"), values(i, rows)));
    Work {
        before: Arc::new([]),
        batch: Batch::from_columns(columns).expect("a batch"),
        cells: Arc::new(Cells::single(rows, rows)),
        carried: Arc::new([]),
        shape: Arc::new(Shape {
            columns: COLUMNS,
            order: Order::Second,
            ..Shape::default()
        }),
        open: false,
        weights: None,
        resident: None,
    }
}

/// Works of a kind, as many in flight as there may be.
fn run(gpu: &mut Gpu, work: &Work, works: u64) -> Vec<Partial> {
    let mut last = Vec::new();
    let depth = gpu.depth() as u64;
    for k in 0..works {
        if k >= depth {
            last = gpu.collect().expect("an answer").1;
        }
        gpu.submit(k, work.clone()).expect("a work that is taken");
    }
    for _ in 0..depth.min(works) {
        last = gpu.collect().expect("an answer").1;
    }
    last
}

fn verify(partials: &[Partial], rows: usize) {
    let [Partial::Leaf(summary)] = partials else {
        panic!("one leaf")
    };
    for (i, column) in summary.columns.iter().enumerate() {
        let sum: f64 = values(i, rows).iter().sum();
        assert!(column.count == rows as u64 && (column.total() / sum - 1.0).abs() < 1e-6);
    }
}

/// Time that this thread has been on a processor, in nanoseconds, where the system tells.
fn thread_ns() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// What handing works over costs the thread that does it, while the ring is at work.
#[expect(clippy::print_stderr, reason = "a figure that criterion has no place for")]
fn caller(gpu: &mut Gpu) {
    let small = work(SMALL_ROWS);
    verify(&run(gpu, &small, 100), SMALL_ROWS);
    let (since, before) = (Instant::now(), thread_ns());
    for k in 0..HANDED {
        gpu.submit(k, small.clone()).expect("a work that is taken");
    }
    let (wall, after) = (since.elapsed(), thread_ns());
    for _ in 0..HANDED {
        gpu.collect().expect("an answer");
    }
    let each = |ns: f64| ns / HANDED as f64 / 1e3;
    let cpu = before.zip(after).map(|(before, after)| each((after - before) as f64));
    eprintln!(
        "a work handed over: {:.2} us of the caller's time, of it on a processor {}; {} submissions",
        each(wall.as_nanos() as f64),
        cpu.map_or("unknown".into(), |us| format!("{us:.2} us")),
        gpu.counters().submits()
    );
}

#[expect(clippy::print_stderr, reason = "a bench that is not run says so, and what it ran on")]
fn ring(criterion: &mut Criterion) {
    let options = |precision, depth| Options {
        precision,
        depth,
        software: true,
        ..Options::default()
    };
    let work = work(ROWS);
    let mut group = criterion.benchmark_group("ring");
    group
        .sample_size(10)
        .throughput(Throughput::Bytes(WORKS * (ROWS * COLUMNS * 8) as u64));
    for precision in [Precision::Exact, Precision::Fast] {
        for depth in [1, 2, 3] {
            let mut gpu = match Gpu::open(options(precision, depth)) {
                Ok(gpu) => gpu,
                Err(e) => {
                    eprintln!("not run in {precision:?}, without a GPU: {e}");
                    break;
                }
            };
            verify(&run(&mut gpu, &work, WORKS), ROWS);
            let name = format!("{precision:?}, {}", gpu.adapter().name);
            group.bench_function(BenchmarkId::new(name, format!("{depth} stages")), |b| {
                b.iter(|| run(&mut gpu, &work, WORKS));
            });
            drop(gpu);
            let recorder = Arc::new(Recorder::default());
            let watched = Options {
                watch: Some(recorder.watch()),
                ..options(precision, depth)
            };
            if let Ok(mut gpu) = Gpu::open(watched) {
                run(&mut gpu, &work, WORKS);
                eprintln!("{}", recorder.overlap());
            }
        }
    }
    group.finish();
    if let Ok(mut gpu) = Gpu::open(options(Precision::Exact, 3)) {
        caller(&mut gpu);
    }
}

criterion_group!(benches, ring);
criterion_main!(benches);
