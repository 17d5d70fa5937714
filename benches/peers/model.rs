//! Least squares, whole and batch by batch, and the gradient of a loss over rows that stay where they are.

use crate::matrix::number;
use crate::prepared::{Answer, Found, Prepared, step};
use crate::task::Task;
use millstream::{Engine, Error, ModelSpec, Precision, Report, Result, Spec};

/// The terms; the target is the last column.
fn terms(task: &Task) -> (Vec<String>, String) {
    let d = task.columns - 1;
    ((0..d).map(|j| format!("c{j}")).collect(), format!("c{d}"))
}

/// Coefficients, and nothing about single columns.
pub(crate) fn least_squares(task: &Task, precision: Precision) -> Result<Prepared> {
    let batches = task.batches()?;
    let (terms, target) = terms(task);
    let terms: Vec<&str> = terms.iter().map(String::as_str).collect();
    let none: [&str; 0] = [];
    let spec = Spec::new()
        .columns(none)
        .mean_and_variance()
        .regression(target, &terms)
        .precision(precision);
    let call = move |steps: &mut Vec<f64>| {
        let mut engine = Engine::new(spec.clone())?;
        for batch in &batches {
            step(steps, || engine.push(batch))?;
        }
        let report = engine.finish()?;
        Ok(Box::new(move || coefficients(&report)) as Found)
    };
    Ok(Prepared {
        layout: "columns (Arrow)",
        share: 1.0,
        call: Box::new(call),
    })
}

fn coefficients(report: &Report) -> Result<Answer> {
    let fit = report.groups[0].regression.as_ref();
    let fit = fit.ok_or_else(|| Error::Failed("the report has no regression".into()))?;
    Ok(vec![(
        "coefficients",
        fit.coefficients.iter().map(|c| number(*c)).collect(),
    )])
}

/// Σ (w·x − y) x for given weights.
pub(crate) fn loss_gradient(task: &Task) -> Result<Prepared> {
    let (terms, target) = terms(task);
    let terms: Vec<&str> = terms.iter().map(String::as_str).collect();
    let model = ModelSpec::linear(target, &terms);
    let weights = task.weights()?;
    let mut engine = Engine::new(Spec::new())?;
    let rows = engine.upload(&task.batch()?)?;
    Ok(Prepared::new("columns (Arrow), uploaded", move || {
        let loss = engine.loss(&rows, &model, &weights)?;
        Ok(Box::new(move || Ok(vec![("gradient", loss.gradient)])) as Found)
    }))
}
