//! What is asked of the rows of a feed, and whether rows of some columns can give it.

use crate::alert::{AlertRule, Alerts};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::io::About;
use crate::io::live::Fits;
use crate::pipeline::{Plan, Query, Steps};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use std::sync::Arc;

/// What is asked of the rows of a feed.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) name: Arc<str>,
    pub(super) query: Query,
    pub(super) rules: Vec<AlertRule>,
    pub(super) keys_max: usize,
    /// Whether its rows are parts of windows, which say themselves what they are of.
    pub(super) takes_shares: bool,
}

impl Asked {
    /// How rows with these columns become batches and alerts.
    pub(super) fn plan(&self, schema: &SchemaRef) -> Result<Planned> {
        let config = |error: Error| match error {
            Error::Usage(why) => Error::Config(format!("feed `{}`: {why}", self.name)),
            error => error,
        };
        let about = About {
            name: format!("feed `{}`", self.name),
            ..About::default()
        };
        let plan = Plan::new(&self.query, schema, &about).map_err(config)?;
        if plan.reported() == 0 {
            return Err(Error::Config(format!("feed `{}` has no numeric column", self.name)));
        }
        let (spec, columns) = (&self.query.spec, plan.reported_names());
        let alerts = Alerts::new(Arc::clone(&self.name), &self.rules, spec, columns, self.keys_max)?;
        let schema = Arc::clone(schema);
        Ok(Planned { plan, alerts, schema })
    }

    /// What decides whether rows with some columns can be reduced.
    pub(super) fn as_fits(&self) -> Fits {
        let asked = self.clone();
        Arc::new(move |schema| asked.fits(schema))
    }

    /// Whether rows with these columns can be reduced: all that could refuse them later is tried with none.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn fits(&self, schema: &SchemaRef) -> Result<()> {
        if self.takes_shares {
            return Ok(());
        }
        let planned = self.plan(schema)?;
        let none = Steps::new(&self.query)?.apply(&RecordBatch::new_empty(Arc::clone(schema)))?;
        let mut batch = planned.plan.batch(&none)?;
        if self.query.arrival_time {
            batch = batch.with_time_ns(Vec::new())?;
        }
        Engine::new(self.query.spec.clone())?.push(&batch)?;
        Ok(())
    }
}

/// What is known of the rows once their columns are.
pub(super) struct Planned {
    pub(super) plan: Plan,
    pub(super) alerts: Alerts,
    /// The columns of its batches.
    pub(super) schema: SchemaRef,
}
