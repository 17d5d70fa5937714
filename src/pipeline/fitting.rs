//! The rows of a model that is fitted: its columns, kept in memory until the input ends.
//!
//! Each step of a fit reads all rows, so they are gathered into one batch that the engine's backend takes once. While
//! it grows it may take twice the memory of its values, which is what is counted.

use crate::batch::{Batch, BatchBuilder};
use crate::engine::Engine;
use crate::error::Result;
use crate::fit::fit;
use crate::report::FitReport;
use crate::spec::{ModelSpec, Spec};

/// A model and the rows so far.
pub(super) struct Fitting {
    model: ModelSpec,
    rows: BatchBuilder,
}

impl Fitting {
    pub(super) fn new(model: ModelSpec) -> Self {
        Self {
            model,
            rows: BatchBuilder::default(),
        }
    }

    /// Keeps the columns of the model; the bytes that all rows take so far.
    pub(super) fn take(&mut self, batch: &Batch) -> Result<u64> {
        let places = self.model.places(batch.names())?;
        let batch = batch.project(&places);
        self.rows.append(&batch, 0, batch.rows());
        Ok((2 * self.rows.rows() * places.len() * size_of::<f64>()) as u64)
    }

    /// Fits on the backend of an engine that has finished, which comes back.
    pub(super) fn finish(mut self, engine: Engine) -> Result<(FitReport, Engine)> {
        let spec = Spec {
            precision: engine.spec().precision,
            ..Spec::default()
        };
        let mut engine = engine.with_spec(spec)?;
        let resident = engine.upload(&self.rows.take())?;
        let report = fit(&mut engine, &resident, &self.model)?;
        Ok((report, engine))
    }
}
