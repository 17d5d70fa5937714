//! Moments and co-moments of columns in memory, at once and batch by batch.

use crate::prepared::{Answer, Found, Prepared, step};
use crate::task::Task;
use millstream::summary::Order;
use millstream::{Engine, Error, Precision, Report, Result, Spec};

const LAYOUT: &str = "columns (Arrow)";

pub(crate) fn covariance_spec(precision: Precision) -> Spec {
    let spec = Spec {
        order: Order::Second,
        ..Spec::new()
    };
    spec.covariance().precision(precision)
}

fn whole(task: &Task, spec: Spec, answer: fn(&Report) -> Result<Answer>) -> Result<Prepared> {
    let batch = task.batch()?;
    Ok(Prepared::new(LAYOUT, move || {
        let report = Engine::new(spec.clone())?.analyze(&batch)?;
        Ok(Box::new(move || answer(&report)) as Found)
    }))
}

fn in_batches(task: &Task, spec: Spec, answer: fn(&Report) -> Result<Answer>) -> Result<Prepared> {
    let batches = task.batches()?;
    let call = move |steps: &mut Vec<f64>| {
        let mut engine = Engine::new(spec.clone())?;
        for batch in &batches {
            step(steps, || engine.push(batch))?;
        }
        let report = engine.finish()?;
        Ok(Box::new(move || answer(&report)) as Found)
    };
    Ok(Prepared {
        layout: LAYOUT,
        share: 1.0,
        call: Box::new(call),
    })
}

/// Mean and variance of every column.
pub(crate) fn moments(task: &Task) -> Result<Prepared> {
    whole(task, Spec::new().mean_and_variance(), of_columns)
}

/// The covariance matrix.
pub(crate) fn covariance(task: &Task, precision: Precision) -> Result<Prepared> {
    whole(task, covariance_spec(precision), of_matrix)
}

/// Mean and variance of every column, batch by batch.
pub(crate) fn micro_moments(task: &Task) -> Result<Prepared> {
    in_batches(task, Spec::new().mean_and_variance(), of_columns)
}

/// The covariance matrix, batch by batch.
pub(crate) fn micro_covariance(task: &Task, precision: Precision) -> Result<Prepared> {
    in_batches(task, covariance_spec(precision), of_matrix)
}

/// NaN where there is no number.
pub(crate) fn number(value: Option<f64>) -> f64 {
    value.unwrap_or(f64::NAN)
}

pub(crate) fn of_columns(report: &Report) -> Result<Answer> {
    let columns = report.groups[0].columns.values();
    Ok(vec![
        ("mean", columns.iter().map(|c| number(c.mean)).collect()),
        ("variance", columns.iter().map(|c| number(c.variance)).collect()),
    ])
}

pub(crate) fn of_matrix(report: &Report) -> Result<Answer> {
    let found = report.groups[0].covariance.as_ref();
    let matrix = found.ok_or_else(|| Error::Failed("the report has no covariance".into()))?;
    let entries = matrix.matrix.iter().flatten().map(|c| number(*c)).collect();
    Ok(vec![("covariance", entries)])
}
