//! Rows that are uploaded once and reduced again and again: analyses, and the losses of models with their gradients.
//!
//! Every question is one work over all rows, in leaves that are folded in order: an analysis gives the bits that
//! [`Engine::analyze`] gives, and a loss the same bits for any number of threads. A backend that fails is replaced by
//! the CPU, which reads the batch that the resident holds.

use super::{Engine, Job, Layout};
use crate::backend::{Partial, Resident, Work};
use crate::batch::Batch;
use crate::cells::Cells;
use crate::error::{Error, Result};
use crate::report::{Closed, Report};
use crate::spec::{LEAF_ROWS, ModelSpec, Precision, Spec};
use crate::summary::{LeafRun, Loss, Merge, Moments, Order, RegressionMoments, Shape, Summary};
use std::sync::Arc;

impl Engine {
    /// Takes rows to keep where the backend reduces them: the columns that the spec names, or every one where it names
    /// none.
    ///
    /// ```
    /// use millstream::{Batch, Engine, ModelSpec, Spec};
    /// let mut engine = Engine::new(Spec::new())?;
    /// let rows = engine.upload(&Batch::from_columns([("x", vec![0.0, 1.0]), ("y", vec![1.0, 5.0])])?)?;
    /// let report = engine.analyze_resident(&rows)?;
    /// assert_eq!(report.groups[0].columns["y"].mean, Some(3.0));
    /// // Residuals of y = 1 + 2x: 0 and −2.
    /// let loss = engine.loss(&rows, &ModelSpec::linear("y", &["x"]), &[1.0, 2.0])?;
    /// assert_eq!((loss.rows, loss.loss, loss.gradient), (2, 2.0, vec![-2.0, -2.0]));
    /// # Ok::<(), millstream::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Usage`] if the batch lacks what the spec names. Where a device has no room for the rows, they stay on the
    /// host, and that counts among [`Engine::fallbacks`].
    pub fn upload(&mut self, batch: &Batch) -> Result<Resident> {
        super::check(&self.spec, batch)?;
        let layout = Layout::new(&self.spec, batch)?;
        let batch = batch.project_if_needed(&layout.places);
        Ok(self.queue.upload(&batch))
    }

    /// The report of rows that were uploaded: that of [`Engine::analyze`] for them. What was pushed before is left as
    /// it is.
    ///
    /// # Errors
    /// [`Error::Usage`] if the rows lack what the spec names; for a grouped spec while rows that were pushed are not
    /// finished, as they would be counted too.
    pub fn analyze_resident(&mut self, resident: &Resident) -> Result<Report> {
        let batch = resident.batch();
        if self.spec.is_grouped() {
            if self.layout.is_some() {
                return Err(Error::Usage(
                    "rows were pushed and are not finished: finish them before rows that were uploaded are grouped"
                        .into(),
                ));
            }
            return self.analyze(batch);
        }
        super::check(&self.spec, batch)?;
        let layout = Layout::new(&self.spec, batch)?.suiting(self.queue.backend());
        let own;
        let resident = if layout.places.iter().copied().eq(0..batch.columns().len()) {
            resident
        } else {
            // Uploaded for another spec: its columns are not these, or in another order.
            own = Resident::on_host(batch.project(&layout.places));
            &own
        };
        let summary = self.reduce_resident(resident, layout.shape, layout.leaf_rows, None);
        let (key, window) = (None, None);
        let rows = batch.rows() as u64;
        Ok(self.report(rows, &layout.reported, [Closed::new(key, window, summary)]))
    }

    /// The loss of a model and its gradient over the rows in which all terms and the target are finite numbers, without
    /// any penalty; one weight for the intercept, where there is one, then one a term.
    ///
    /// # Errors
    /// [`Error::Usage`] for a column that was not uploaded, or another number of weights.
    pub fn loss(&mut self, resident: &Resident, model: &ModelSpec, weights: &[f64]) -> Result<Loss> {
        if weights.len() != model.weights() {
            return Err(Error::Usage(format!(
                "the model has {} weights, not {}",
                model.weights(),
                weights.len()
            )));
        }
        let shape = Shape {
            loss: Some(model.shape(resident.batch().names())?),
            ..Shape::default()
        };
        let leaf_rows = self.suiting(&shape, LEAF_ROWS);
        let summary = self.reduce_resident(resident, Arc::new(shape), leaf_rows, Some(weights.into()));
        Ok(summary.loss.map_or_else(|| Loss::new(weights.len()), |loss| *loss))
    }

    /// The co-moments of the terms of a model, then its target, over the rows in which all are finite.
    pub(crate) fn comoments_of(&mut self, resident: &Resident, model: &ModelSpec) -> Result<RegressionMoments> {
        let shape = Shape {
            regression: model.places(resident.batch().names())?,
            exact: self.spec.precision == Precision::Exact,
            ..Shape::default()
        };
        let leaf_rows = self.suiting(&shape, Spec::default().leaf_rows(&shape));
        let summary = self.reduce_resident(resident, Arc::new(shape), leaf_rows, None);
        let missing = || Error::Failed("the co-moments of the model did not come back".into());
        summary.regression.ok_or_else(missing)
    }

    /// The moments of the finite values of every column.
    pub(crate) fn moments_of(&mut self, resident: &Resident) -> Vec<Moments> {
        let shape = Shape {
            columns: resident.batch().columns().len(),
            order: Order::Second,
            ..Shape::default()
        };
        let leaf_rows = self.suiting(&shape, LEAF_ROWS);
        let mut moments = self.reduce_resident(resident, Arc::new(shape), leaf_rows, None).columns;
        for column in &mut moments {
            (column.positive_infinite, column.negative_infinite) = (0, 0);
        }
        moments
    }

    /// The same backend for another spec; rows that were pushed and not finished are forgotten.
    ///
    /// # Errors
    /// [`Error::Usage`] if the spec makes no sense.
    pub fn with_spec(mut self, spec: Spec) -> Result<Self> {
        self.drain();
        Ok(Self::over(spec.checked()?, self.queue))
    }

    /// Rows of a block as the backend likes them, where it says so.
    fn suiting(&self, shape: &Shape, leaf_rows: usize) -> usize {
        let backend = self.queue.backend();
        let asked = backend.block_rows(shape).filter(|_| !backend.carries());
        asked.map_or(leaf_rows, |rows| rows.max(1))
    }

    /// One work over all rows, its leaves folded in order.
    fn reduce_resident(
        &mut self,
        resident: &Resident,
        shape: Arc<Shape>,
        leaf_rows: usize,
        weights: Option<Arc<[f64]>>,
    ) -> Summary {
        self.drain();
        let batch = resident.batch().clone();
        let work = Work {
            before: Arc::new([]),
            cells: Arc::new(Cells::single(batch.rows(), resident.block_rows().unwrap_or(leaf_rows))),
            batch,
            carried: Arc::new([]),
            shape: shape.clone(),
            open: false,
            weights,
            resident: Some(resident.clone()),
        };
        let slots = Vec::new();
        let partials = match self.queue.submit(Job { work, slots }) {
            Some(refused) => refused.on_cpu(),
            None => self.queue.collect().map_or(Vec::new(), |(_, partials)| partials),
        };
        let mut leaves = partials.into_iter().filter_map(|partial| match partial {
            Partial::Leaf(leaf) => Some(*leaf),
            Partial::Open(_) => None,
        });
        // Without rows there is no leaf, but all parts.
        let first = leaves.next().unwrap_or_else(|| LeafRun::new(&shape).finish(&shape));
        leaves.fold(first, |mut total, leaf| {
            total.merge(&leaf);
            total
        })
    }
}
