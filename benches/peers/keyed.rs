//! Groups by key, and by window of event time and key.

use crate::matrix::number;
use crate::prepared::{Answer, Found, Prepared};
use crate::task::Task;
use arrow::array::{ArrayRef, Int64Array};
use millstream::report::{Group, KeyValue, WindowBounds};
use millstream::{Batch, Engine, Error, Report, Result, Spec, Window};
use std::sync::Arc;
use std::time::Duration;

const SECOND_NS: i64 = 1_000_000_000;
/// Keys of the task of windows: its cells are numbered window · keys + key.
const WINDOW_KEYS: i64 = 100;

/// One value column with its key.
fn batch(task: &Task) -> Result<Batch> {
    let keys: ArrayRef = Arc::new(Int64Array::from(task.array::<i64>("key")?));
    Batch::from_columns([("value", task.array::<f64>("value")?)])?.with_keys(vec![("key".into(), keys)])
}

fn prepared(batch: Batch, spec: Spec, cell: fn(&Group) -> Result<f64>) -> Prepared {
    Prepared::new("columns (Arrow)", move || {
        let report = Engine::new(spec.clone())?.analyze(&batch)?;
        Ok(Box::new(move || of_groups(&report, cell)) as Found)
    })
}

/// Count, mean and variance by key.
pub(crate) fn group(task: &Task) -> Result<Prepared> {
    let spec = Spec::new().mean_and_variance().by(["key"]);
    Ok(prepared(batch(task)?, spec, key))
}

/// The same by windows of a second and key.
pub(crate) fn windows(task: &Task) -> Result<Prepared> {
    let batch = batch(task)?.with_time_ns(task.array("time")?)?;
    let window = Window::tumbling(Duration::from_secs(1));
    let spec = Spec::new().mean_and_variance().by(["key"]).window(window);
    Ok(prepared(batch, spec, |group| {
        let Some(WindowBounds::Time { start_ns, .. }) = group.window else {
            return Err(Error::Failed("a group without a window of time".into()));
        };
        Ok((start_ns / SECOND_NS * WINDOW_KEYS) as f64 + key(group)?)
    }))
}

fn key(group: &Group) -> Result<f64> {
    match group.key.as_ref().map(|key| &key.values()[0]) {
        Some(KeyValue::Integer(key)) => Ok(*key as f64),
        other => Err(Error::Failed(format!("the key of a group is {other:?}"))),
    }
}

fn of_groups(report: &Report, cell: fn(&Group) -> Result<f64>) -> Result<Answer> {
    let columns = || report.groups.iter().map(|g| &g.columns.values()[0]);
    Ok(vec![
        ("key", report.groups.iter().map(cell).collect::<Result<_>>()?),
        ("count", columns().map(|c| c.count as f64).collect()),
        ("mean", columns().map(|c| number(c.mean)).collect()),
        ("variance", columns().map(|c| number(c.variance)).collect()),
    ])
}
