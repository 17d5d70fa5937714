//! A result for every row: rolling statistics, differences, gradients; and rows that arrive one at a time.

use crate::matrix::{covariance_spec, of_columns, of_matrix};
use crate::prepared::{Answer, Found, Prepared};
use crate::task::Task;
use millstream::transform::{Rolling, Span, Transforms};
use millstream::{Engine, Online, Precision, Report, Result, Spec};

/// The statistic of the first column, or of the first two, over the window of the task.
pub(crate) fn rolling(task: &Task, statistic: Rolling) -> Result<Prepared> {
    let asked = Transforms::new().rolling(Span::Rows(task.window()?), &[statistic]);
    transformed(
        task,
        if statistic == Rolling::Covariance {
            asked
        } else {
            asked.columns(["c0"])
        },
    )
}

/// The difference of each row from the one before.
pub(crate) fn difference(task: &Task) -> Result<Prepared> {
    transformed(task, Transforms::new().differences())
}

/// The gradient of second order, the spacing being 1.
pub(crate) fn gradient(task: &Task) -> Result<Prepared> {
    transformed(task, Transforms::new().gradient())
}

fn transformed(task: &Task, asked: Transforms) -> Result<Prepared> {
    let batch = task.batch()?;
    let engine = Engine::new(Spec::new())?;
    Ok(Prepared::new("columns (Arrow)", move || {
        let made = engine.transform(&batch, &asked)?;
        Ok(Box::new(move || {
            let column = &made.columns()[0];
            let values = (0..made.rows()).map(|i| column.get(i)).collect();
            Ok(vec![("values", values)])
        }) as Found)
    }))
}

/// Mean and variance of every column, row by row.
pub(crate) fn online_moments(task: &Task) -> Result<Prepared> {
    online(task, Spec::new().mean_and_variance(), of_columns)
}

/// The covariance matrix, row by row.
pub(crate) fn online_covariance(task: &Task) -> Result<Prepared> {
    online(task, covariance_spec(Precision::Exact), of_matrix)
}

fn online(task: &Task, spec: Spec, answer: fn(&Report) -> Result<Answer>) -> Result<Prepared> {
    let batch = task.batch()?;
    let rows: Vec<f64> = (0..task.rows)
        .flat_map(|row| batch.columns().iter().map(move |c| c.get(row)))
        .collect();
    let names: Vec<String> = (0..task.columns).map(|c| format!("c{c}")).collect();
    Ok(Prepared::new("slices of a row", move || {
        let mut online = Online::new(spec.clone(), &names)?;
        for row in rows.chunks_exact(names.len()) {
            online.push(row)?;
        }
        let report = online.finish()?;
        Ok(Box::new(move || answer(&report)) as Found)
    }))
}
