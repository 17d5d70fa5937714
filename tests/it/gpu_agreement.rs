//! The GPU against the exact answers, in both precisions, on whatever adapter there is: a software one will do.

use crate::backend_contract::contract;
use crate::random::Random;
use crate::support::table;
use millstream::backend::gpu::{Gpu, Options};
use millstream::backend::{Partial, Resident, Work};
use millstream::cells::Cells;
use millstream::summary::{LossShape, Model, Order, Shape};
use millstream::{Backend, Precision, Summary};
use std::sync::Arc;

/// Options for tests: a software adapter counts.
pub(crate) fn options(precision: Precision) -> Options {
    Options {
        precision,
        software: true,
        ..Options::default()
    }
}

/// A GPU, or a note and nothing where the machine has none and none is required.
#[expect(clippy::print_stderr, reason = "a test that is not run says so")]
pub(crate) fn gpu(options: Options) -> Option<Gpu> {
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

fn keeps_the_contract(precision: Precision) {
    if gpu(options(precision)).is_none() {
        return;
    }
    let make = || -> Box<dyn Backend> { Box::new(gpu(options(precision)).unwrap()) };
    contract(make).unwrap();
}

#[test]
fn gpu_exact_keeps_the_contract() {
    keeps_the_contract(Precision::Exact);
}

#[test]
fn gpu_fast_keeps_the_contract() {
    keeps_the_contract(Precision::Fast);
}

/// Works over the same rows that lie on the device, of several shapes in turn: no row is sent again, and each gives the
/// bits that it gave the first time.
#[test]
fn gpu_keeps_rows_that_were_uploaded() {
    for precision in [Precision::Exact, Precision::Fast] {
        let Some(mut gpu) = gpu(options(precision)) else { return };
        let mut random = Random::new(3);
        let mut column = |mean: f64| (0..10_000).map(|_| mean + random.normal()).collect::<Vec<f64>>();
        let batch = table(&[column(5.0), column(-300.0), column(0.0)]);
        let resident = gpu.upload(&batch).unwrap();
        let counters = gpu.counters();
        let sent = counters.uploaded_bytes();
        assert!(sent >= 4 * 30_000, "{sent} bytes of 30,000 values");
        let moments = Shape {
            columns: 3,
            order: Order::Fourth,
            ..Shape::default()
        };
        let matrix = Shape {
            comoments: true,
            ..moments.clone()
        };
        let loss = |model| Shape {
            loss: Some(LossShape {
                model,
                terms: vec![0, 1],
                target: 2,
                intercept: true,
            }),
            ..Shape::default()
        };
        let shapes = [moments, matrix, loss(Model::Linear), loss(Model::Logistic)];
        let mut reduce = |shape: &Shape, weights: [f64; 3], resident: Option<&Resident>, seq| -> Summary {
            let rows = resident.and_then(Resident::block_rows).unwrap_or(4096);
            let work = Work {
                before: Arc::new([]),
                batch: batch.clone(),
                cells: Arc::new(Cells::single(batch.rows(), rows)),
                carried: Arc::new([]),
                shape: Arc::new(shape.clone()),
                open: false,
                weights: shape.loss.is_some().then(|| weights.into()),
                resident: resident.cloned(),
            };
            gpu.submit(seq, work).unwrap();
            let (_, partials) = gpu.collect().unwrap();
            let mut whole = Summary::default();
            for partial in &partials {
                let Partial::Leaf(leaf) = partial else {
                    panic!("an open leaf")
                };
                millstream::Merge::merge(&mut whole, leaf);
            }
            whole
        };
        let mut seen: Vec<Summary> = Vec::new();
        for round in 0..3 {
            for (k, shape) in shapes.iter().enumerate() {
                let summary = reduce(shape, [0.5, -0.1, 0.2], Some(&resident), 10 * round + k as u64);
                match seen.get(k) {
                    None => seen.push(summary),
                    Some(first) => assert!(summary == *first, "{precision:?}, shape {k}, round {round}"),
                }
            }
        }
        let other = reduce(&shapes[2], [0.0, 0.0, 0.0], Some(&resident), 100);
        assert_ne!(other.loss, seen[2].loss, "other weights, another loss");
        assert_eq!(counters.uploaded_bytes(), sent, "{precision:?}: rows were sent again");
        // Σ y² / 2 for weights of 0.
        let y: Vec<f64> = (0..10_000).map(|i| batch.columns()[2].get(i)).collect();
        let half: f64 = y.iter().map(|y| y * y / 2.0).sum();
        let found = other.loss.unwrap();
        assert_eq!(found.rows, 10_000);
        assert!(
            (found.loss / half - 1.0).abs() < gpu.tolerance().moments,
            "{} {half}",
            found.loss
        );
    }
}

/// A loss beside moments, of values that no device is given: the host makes both, and the device stays.
#[test]
fn gpu_leaves_a_loss_beyond_its_range_to_the_host() {
    for precision in [Precision::Exact, Precision::Fast] {
        let Some(mut gpu) = gpu(options(precision)) else { return };
        let batch = table(&[vec![1e250, -2e250, 3e250], vec![0.0, 0.0, 1.0]]);
        let shape = Shape {
            columns: 2,
            order: Order::Second,
            loss: Some(LossShape {
                model: Model::Linear,
                terms: vec![0],
                target: 1,
                intercept: true,
            }),
            ..Shape::default()
        };
        let work = Work {
            before: Arc::new([]),
            batch,
            cells: Arc::new(Cells::single(3, 4096)),
            carried: Arc::new([]),
            shape: Arc::new(shape),
            open: false,
            weights: Some([2.0, 0.0].into()),
            resident: None,
        };
        gpu.submit(1, work).unwrap();
        let (_, partials) = gpu.collect().unwrap();
        let [Partial::Leaf(leaf)] = &partials[..] else {
            panic!("not a leaf")
        };
        // Residuals of 2, 2 and 1.
        let loss = leaf.loss.as_ref().unwrap();
        assert_eq!((loss.rows, loss.loss, loss.gradient[0]), (3, 4.5, 5.0));
        assert_eq!((leaf.columns[0].min, leaf.columns[0].max), (-2e250, 3e250));
        assert_eq!(gpu.counters().losses(), 0);
    }
}
