//! One reduction on a backend through its public trait, as the engine does it with a batch in memory: one work, its
//! leaves folded in order.

use crate::backend::{Backend, Partial, Resident, Work};
use crate::batch::Batch;
use crate::cells::Cells;
use crate::error::{Error, Result};
use crate::planner::Part;
use crate::spec::{Precision, Spec};
use crate::summary::{LossShape, Merge, Model, Order, Shape, Summary};
use std::sync::Arc;

/// A backend, and the numbers of its works.
pub struct Runner<'a> {
    backend: &'a mut dyn Backend,
    sequence: u64,
}

impl std::fmt::Debug for Runner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner")
            .field("backend", &self.backend.name())
            .field("sequence", &self.sequence)
            .finish()
    }
}

/// What to reduce.
#[derive(Debug, Clone)]
pub struct Task {
    /// The rows.
    pub batch: Batch,
    /// What to make of them.
    pub shape: Arc<Shape>,
    /// Rows of a leaf where the backend has no wish of its own.
    pub leaf_rows: usize,
    /// The weights of a loss.
    pub weights: Option<Arc<[f64]>>,
    /// The same rows on the device.
    pub resident: Option<Resident>,
}

impl Task {
    /// One part of a summary of all columns of a batch. Beside it there are the moments up to the second order, which
    /// every report has. A regression and a loss are of the first column by the others; the loss is linear, has an
    /// intercept, and stands alone.
    ///
    /// # Errors
    /// [`Error::Usage`] for a matrix that is too large.
    pub fn new(part: Part, batch: Batch, precision: Precision) -> Result<Self> {
        let names = batch.names();
        let columns = names.len();
        let terms: Vec<&str> = names.iter().skip(1).map(String::as_str).collect();
        let base = Spec::new().mean_and_variance();
        let spec = match part {
            Part::Moments2 | Part::Loss => base,
            Part::Moments4 => Spec::new(),
            Part::Covariance => base.covariance(),
            Part::Differences => base.differences(),
            Part::Quantiles => base.quantiles(&[0.5]),
            Part::Regression => base.regression(names.first().cloned().unwrap_or_default(), &terms),
        };
        let spec = spec.precision(precision);
        let mut shape = spec.shape(names, if part == Part::Loss { 0 } else { columns })?;
        let mut weights = None;
        if part == Part::Loss {
            let loss = LossShape {
                model: Model::Linear,
                terms: (1..columns).collect(),
                target: 0,
                intercept: true,
            };
            // Multiples of 1/64 of either sign.
            weights = Some((0..loss.weights()).map(|k| (k % 13) as f64 / 64.0 - 0.09375).collect());
            (shape.order, shape.loss) = (Order::Second, Some(loss));
        }
        Ok(Self {
            leaf_rows: spec.leaf_rows(&shape),
            batch,
            shape: Arc::new(shape),
            weights,
            resident: None,
        })
    }
}

impl<'a> Runner<'a> {
    /// For a backend that has no work.
    pub fn new(backend: &'a mut dyn Backend) -> Self {
        Self { backend, sequence: 0 }
    }

    /// Uploads the rows of a task, for it to name.
    ///
    /// # Errors
    /// If there is no room for them.
    pub fn upload(&mut self, task: &Task) -> Result<Resident> {
        self.backend.upload(&task.batch)
    }

    /// Reduces the rows of a task to one summary.
    ///
    /// # Errors
    /// As the backend has it.
    pub fn run(&mut self, task: &Task) -> Result<Summary> {
        let asked = || self.backend.block_rows(&task.shape).filter(|_| !self.backend.carries());
        let resident = task.resident.as_ref().and_then(Resident::block_rows);
        let leaf_rows = resident.or_else(asked).unwrap_or(task.leaf_rows).max(1);
        self.sequence += 1;
        self.backend.submit(
            self.sequence,
            Work {
                before: Arc::new([]),
                cells: Arc::new(Cells::single(task.batch.rows(), leaf_rows)),
                batch: task.batch.clone(),
                carried: Arc::new([]),
                shape: task.shape.clone(),
                open: false,
                weights: task.weights.clone(),
                resident: task.resident.clone(),
            },
        )?;
        let (_, partials) = self.backend.collect()?;
        let mut folded = Summary::default();
        for partial in partials {
            match partial {
                Partial::Leaf(leaf) => folded.merge(&leaf),
                Partial::Open(_) => return Err(Error::Failed("the backend left a leaf open".into())),
            }
        }
        Ok(folded)
    }
}
