//! Losses and their gradients on the GPU, and works over rows that stay there.

use crate::gpu_judge::{PRECISIONS, judge, lent, reduce};
use crate::gpu_shapes::{everything, ordinary, single};
use crate::random::Random;
use crate::support::table;
use millstream::backend::Work;
use millstream::summary::{LossShape, Model, Order, Shape};
use millstream::{Backend, Batch, Precision};
use std::sync::Arc;

/// Terms near and far from 0, a target for a linear model, one for a logistic model; one value in `gaps` is missing.
pub(crate) fn data(rows: usize, terms: usize, gaps: usize) -> Batch {
    let mut random = Random::new((rows * 31 + terms) as u64);
    let mut columns: Vec<Vec<f64>> = (0..terms)
        .map(|j| (0..rows).map(|_| [0.0, 3.0, 1e3][j % 3] + random.normal()).collect())
        .collect();
    let linear = (0..rows).map(|i| columns.iter().map(|c| c[i]).sum::<f64>() * 0.3 + 20.0 + random.normal());
    let linear = linear.collect();
    let logistic = (0..rows).map(|i| [0.0, 1.0, 0.25][(i * 7 + i / 3) % 3]).collect();
    columns.extend([linear, logistic]);
    if gaps > 0 {
        for column in &mut columns {
            column.iter_mut().for_each(|x| {
                if random.below(gaps as u64) == 0 {
                    *x = if random.below(2) == 0 { f64::NAN } else { f64::INFINITY };
                }
            });
        }
    }
    table(&columns)
}

pub(crate) fn loss_shape(terms: usize, model: Model, intercept: bool) -> Shape {
    Shape {
        columns: terms + 2,
        order: Order::Second,
        loss: Some(LossShape {
            model,
            // Not in the order of the columns.
            terms: (0..terms).rev().collect(),
            target: terms + usize::from(model == Model::Logistic),
            intercept,
        }),
        ..Shape::default()
    }
}

/// Weights that bring terms of about 1000 back to the order of 1.
pub(crate) fn weights(shape: &Shape) -> Arc<[f64]> {
    let loss = shape.loss.as_ref().unwrap();
    let own = |j: &usize| [0.5, -0.25, 0.002][*j % 3] * (1.0 + *j as f64 / 16.0);
    let bias = loss.intercept.then_some(-1.5);
    bias.into_iter().chain(loss.terms.iter().map(own)).collect()
}

const MODELS: [(Model, bool); 4] = [
    (Model::Linear, true),
    (Model::Linear, false),
    (Model::Logistic, true),
    (Model::Logistic, false),
];

#[test]
fn gpu_losses() {
    for precision in PRECISIONS {
        let Some(mut gpu) = lent(precision) else { return };
        for (rows, terms) in [
            (1, 1),
            (2, 0),
            (3, 2),
            (5, 9),
            (255, 3),
            (1023, 1),
            (1025, 8),
            (2050, 3),
            (70, 33),
        ] {
            for (model, intercept) in MODELS {
                for gaps in [0, 40] {
                    let shape = loss_shape(terms, model, intercept);
                    let work = Work {
                        weights: Some(weights(&shape)),
                        ..single(&data(rows, terms, gaps), rows, shape)
                    };
                    judge(&mut gpu, &work).unwrap_or_else(|e| {
                        panic!("{precision:?}, {rows} rows, {terms} terms, {model:?}, {intercept}, gaps {gaps}: {e}")
                    });
                }
            }
        }
    }
}

/// Complete rows that are nothing beside the others of their column are the host's: their deviations are below the
/// numbers of `fast`.
#[test]
fn gpu_losses_of_rows_far_smaller_than_the_rest() {
    let Some(mut gpu) = lent(Precision::Fast) else { return };
    let mut random = Random::new(4);
    let rows = 400;
    let mut on_host = |large: f64| {
        let x = (0..rows)
            .map(|i| [large, -large, random.normal()][(i % 10).min(2)])
            .collect();
        let y = (0..rows)
            .map(|i| if i % 10 < 2 { f64::NAN } else { (i % 7) as f64 })
            .collect();
        let shape = Shape {
            columns: 2,
            ..loss_shape(1, Model::Linear, true)
        };
        let work = Work {
            weights: Some(weights(&shape)),
            ..single(&table(&[x, y]), rows, shape)
        };
        let before = gpu.counters().host_blocks();
        let summaries = reduce(&mut gpu, &work);
        let done = gpu.counters().host_blocks() - before;
        if done == 0 {
            judge(&mut gpu, &work).unwrap();
        }
        assert_eq!((summaries.len(), summaries[0].rows), (1, rows as u64));
        done
    };
    assert_eq!((on_host(10.0), on_host(1e6), on_host(1e37)), (0, 0, 1));
}

/// More than the 64 runs of 1024 rows that are folded one after another on the device. The exact answer takes seconds, so
/// one precision has to do.
#[test]
fn gpu_losses_of_long_blocks() {
    let Some(mut gpu) = lent(Precision::Fast) else { return };
    let rows = 65_537;
    let shape = loss_shape(1, Model::Linear, false);
    let work = Work {
        weights: Some(weights(&shape)),
        ..single(&data(rows, 1, 0), rows, shape)
    };
    judge(&mut gpu, &work).unwrap();
}

#[test]
fn gpu_rows_that_stay_there() {
    for precision in PRECISIONS {
        let Some(mut gpu) = lent(precision) else { return };
        let counters = gpu.counters();
        let rows = 3000;
        let shape = Shape {
            comoments: true,
            ..loss_shape(3, Model::Linear, true)
        };
        let other = Shape {
            quantiles: false,
            ..everything(4)
        };
        for (batch, shape, again) in [(data(rows, 3, 50), shape, 5), (ordinary(rows), other, 2)] {
            let shape = Arc::new(shape);
            let before = counters.uploaded_bytes();
            let resident = gpu.upload(&batch).unwrap();
            assert!(counters.uploaded_bytes() - before >= 4 * (rows * batch.columns().len()) as u64);
            let given = shape.loss.as_ref().map(|_| weights(&shape).to_vec());
            let block_rows = resident.block_rows().unwrap();
            for k in 0..again {
                let weights = given.as_ref().map(|w| w.iter().map(|w| w * f64::from(k)).collect());
                let fresh = Work {
                    weights,
                    ..single(&batch, block_rows, (*shape).clone())
                };
                let stays = Work {
                    resident: Some(resident.clone()),
                    shape: shape.clone(),
                    ..fresh.clone()
                };
                let before = counters.uploaded_bytes();
                judge(&mut gpu, &stays).unwrap_or_else(|e| panic!("{precision:?}, {k}: {e}"));
                let found = format!("{:?}", reduce(&mut gpu, &stays));
                in_flight_together(&mut gpu, &stays);
                assert_eq!(counters.uploaded_bytes(), before, "{precision:?}: rows were sent again");
                assert_eq!(
                    found,
                    format!("{:?}", reduce(&mut gpu, &fresh)),
                    "{precision:?}: other bits"
                );
                // What it is compared with was sent, of course.
                assert!(counters.uploaded_bytes() > before);
            }
        }
    }
}

/// Works over the same rows may be in flight together.
fn in_flight_together(gpu: &mut dyn Backend, work: &Work) {
    for seq in 0..3 {
        gpu.submit(seq, work.clone()).unwrap();
    }
    let answers: Vec<_> = (0..3).map(|_| gpu.collect().unwrap()).collect();
    for (k, (seq, partials)) in answers.iter().enumerate() {
        assert_eq!(*seq, k as u64);
        assert_eq!(format!("{partials:?}"), format!("{:?}", answers[0].1));
    }
}
