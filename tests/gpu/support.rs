//! What the tests of the GPU's ring share: a GPU on whatever adapter there is, works, and what they must come to.

use millstream::backend::gpu::{Gpu, Options};
use millstream::backend::{Partial, Work};
use millstream::cells::Cells;
use millstream::summary::{Order, Shape};
use millstream::{Batch, Summary};
use std::sync::Arc;

/// Options for tests: a software adapter counts.
pub(crate) fn options() -> Options {
    Options {
        software: true,
        ..Options::default()
    }
}

/// A GPU, or a note and nothing where the machine has none and none is required.
#[expect(clippy::print_stderr, reason = "a test that is not run says so")]
pub(crate) fn open(options: Options) -> Option<Gpu> {
    match Gpu::open(options) {
        Ok(gpu) => Some(gpu),
        Err(e) => {
            let required = std::env::var_os("MILLSTREAM_REQUIRE_GPU").is_some_and(|v| v == "1");
            assert!(!required, "a GPU is required: {e}");
            eprintln!("not run, without a GPU: {e}");
            None
        }
    }
}

/// Whole numbers below 1024, others for each seed: their sums are exact.
pub(crate) fn numbers(seed: u64, rows: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    let mut next = || {
        // Knuth's MMIX.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 54) as f64
    };
    (0..rows).map(|_| next()).collect()
}

/// The moments of one column, as one block.
pub(crate) fn work(values: Vec<f64>) -> Work {
    let rows = values.len();
    let shape = Shape {
        columns: 1,
        order: Order::Second,
        ..Shape::default()
    };
    Work {
        before: Arc::new([]),
        batch: Batch::from_columns([("x", values)]).unwrap(),
        cells: Arc::new(Cells::single(rows, rows.max(1))),
        carried: Arc::new([]),
        shape: Arc::new(shape),
        open: false,
        weights: None,
        resident: None,
    }
}

/// The one summary of an answer.
pub(crate) fn summary(partials: &[Partial]) -> &Summary {
    let [Partial::Leaf(summary)] = partials else {
        panic!("{} partial results instead of a leaf", partials.len())
    };
    summary
}

/// That a summary is of exactly these values: each of them counted once.
pub(crate) fn describes(summary: &Summary, values: &[f64]) {
    let column = &summary.columns[0];
    let n = values.len() as i128;
    let sum: i128 = values.iter().map(|x| *x as i128).sum();
    let squares: i128 = values.iter().map(|x| (*x as i128).pow(2)).sum();
    assert_eq!(summary.rows, values.len() as u64);
    assert_eq!(column.count, values.len() as u64);
    assert!((column.total() / sum as f64 - 1.0).abs() < 1e-14, "a sum of {sum}");
    let variance = (n * squares - sum * sum) as f64 / (n * (n - 1)) as f64;
    let found = column.variance(1).unwrap();
    assert!((found / variance - 1.0).abs() < 1e-12, "{found} instead of {variance}");
}
