//! The long table of csv and parquet reports: one row a column of each group, one column a statistic.
//!
//! First the key columns, typed by their values, then `window_start` and `window_end` where there are windows,
//! `column`, the statistics, and where asked for `quantile_…`, `differences_…` and `ewm_…`. What does not exist is null.
//! The statistics keep their names whatever the data calls its keys: a key of the same name gets the suffix `_key`.

mod live;

pub use live::LiveTable;

use super::grid::quantile_names;
use super::number::shortest;
use super::{ColumnReport, DifferenceReport, Group, KeyValue, Report, WindowBounds};
use crate::error::{Error, Result};
use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema};
use std::sync::Arc;

/// The greatest integer up to which every integer is an f64: greater integer keys are not mixed with numbers.
const INTEGER_MAX: u128 = 1 << 53;

/// One row: a column's name in a group, with what is known of it.
struct Row<'a> {
    group: &'a Group,
    column: &'a str,
    statistics: Option<&'a ColumnReport>,
    differences: Option<&'a DifferenceReport>,
}

/// What the bounds of windows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bounds {
    /// There are no windows.
    None,
    /// Instants.
    Instants,
    /// Row numbers.
    Rows,
    /// Instants in one feed, row numbers in another: text.
    Text,
}

/// Which columns a table has beside the keys and the moments.
#[derive(Debug, Clone, PartialEq)]
struct Sections {
    bounds: Bounds,
    quantiles: Vec<String>,
    differences: bool,
    ewm: bool,
}

impl Sections {
    /// What these groups have.
    fn of(groups: &[Group]) -> Self {
        let any = |has: fn(&Group) -> bool| groups.iter().any(has);
        let bounds = match () {
            () if any(|g| matches!(g.window, Some(WindowBounds::Time { .. }))) => Bounds::Instants,
            () if any(|g| g.window.is_some()) => Bounds::Rows,
            () => Bounds::None,
        };
        let columns = || groups.iter().flat_map(|g| g.columns.values());
        Self {
            bounds,
            quantiles: quantile_names(columns()).into_iter().map(str::to_owned).collect(),
            differences: any(|g| g.differences.is_some()),
            ewm: columns().any(|c| c.ewm_mean.is_some() || c.ewm_variance.is_some()),
        }
    }
}

/// The report as one long table.
///
/// # Errors
/// [`Error::Failed`] if a count does not fit 63 bits, or arrow refuses the table.
pub fn long_table(report: &Report) -> Result<RecordBatch> {
    let rows: Vec<Row<'_>> = report.groups.iter().flat_map(rows_of).collect();
    let values = value_columns(&Sections::of(&report.groups), &rows)?;
    let mut columns = key_columns(report, &rows, &values);
    columns.extend(values);
    table(columns)
}

fn table(columns: Vec<(String, ArrayRef)>) -> Result<RecordBatch> {
    let schema = Schema::new(
        columns
            .iter()
            .map(|(name, array)| Field::new(name, array.data_type().clone(), nullable(name)))
            .collect::<Vec<_>>(),
    );
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(schema), arrays)
        .map_err(|e| Error::Failed(format!("the report has no long table: {e}")))
}

/// What a report holds that [`long_table`] has no place for, in words.
///
/// ```
/// use millstream::{Batch, Engine, Spec, report::long::left_out};
/// let batch = Batch::from_columns([("x", vec![1.0, 2.0]), ("y", vec![2.0, 1.0])])?;
/// let report = Engine::new(Spec::new().correlation())?.analyze(&batch)?;
/// assert_eq!(left_out(&report), ["correlations"]);
/// # Ok::<(), millstream::Error>(())
/// ```
pub fn left_out(report: &Report) -> Vec<&'static str> {
    let any = |has: fn(&Group) -> bool| report.groups.iter().any(has);
    let sections = [
        ("covariances", any(|g| g.covariance.is_some())),
        ("correlations", any(|g| g.correlation.is_some())),
        ("the regression", any(|g| g.regression.is_some())),
        ("the fit", any(|g| g.fit.is_some())),
        (
            "exponentially weighted covariances",
            any(|g| g.ewm_covariance.is_some()),
        ),
    ];
    sections.into_iter().filter(|s| s.1).map(|s| s.0).collect()
}

fn nullable(name: &str) -> bool {
    name != "column"
}

fn rows_of(group: &Group) -> impl Iterator<Item = Row<'_>> {
    let differences = move |name: &str| group.differences.as_ref().and_then(|d| d.get(name));
    let columns = group.columns.iter().map(move |(column, statistics)| Row {
        group,
        column,
        statistics: Some(statistics),
        differences: differences(column),
    });
    let only_differences = group
        .differences
        .iter()
        .flat_map(|d| d.iter())
        .filter(|(name, _)| group.columns.get(name).is_none())
        .map(move |(column, difference)| Row {
            group,
            column,
            statistics: None,
            differences: Some(difference),
        });
    columns.chain(only_differences)
}

/// Everything but the keys.
fn value_columns(sections: &Sections, rows: &[Row<'_>]) -> Result<Vec<(String, ArrayRef)>> {
    let mut columns: Vec<(String, ArrayRef)> = Vec::new();
    if sections.bounds != Bounds::None {
        let [start, end] = window_columns(sections.bounds, rows)?;
        columns.push(("window_start".into(), start));
        columns.push(("window_end".into(), end));
    }
    let names: StringArray = rows.iter().map(|r| Some(r.column)).collect();
    columns.push(("column".into(), Arc::new(names)));
    let statistic = |of: fn(&ColumnReport) -> Option<f64>| numbers(rows, |r| r.statistics.and_then(of));
    columns.push(("count".into(), counts(rows, |r| r.statistics.map(|s| s.count))?));
    columns.push(("missing".into(), counts(rows, |r| r.statistics.map(|s| s.missing))?));
    columns.push(("sum".into(), statistic(|s| s.sum)));
    columns.push(("mean".into(), statistic(|s| s.mean)));
    columns.push(("variance".into(), statistic(|s| s.variance)));
    columns.push(("std".into(), statistic(|s| s.std)));
    columns.push(("skewness".into(), statistic(|s| s.skewness)));
    columns.push(("kurtosis".into(), statistic(|s| s.kurtosis)));
    columns.push(("min".into(), statistic(|s| s.min)));
    columns.push(("max".into(), statistic(|s| s.max)));
    for name in &sections.quantiles {
        let value = |r: &Row<'_>| r.statistics?.quantiles.as_ref()?.get(name).copied().flatten();
        columns.push((format!("quantile_{name}"), numbers(rows, value)));
    }
    if sections.ewm {
        columns.push(("ewm_mean".into(), statistic(|s| s.ewm_mean)));
        columns.push(("ewm_variance".into(), statistic(|s| s.ewm_variance)));
    }
    if sections.differences {
        let statistic = |of: fn(&DifferenceReport) -> Option<f64>| numbers(rows, |r| r.differences.and_then(of));
        columns.push((
            "differences_count".into(),
            counts(rows, |r| r.differences.map(|d| d.count))?,
        ));
        columns.push((
            "differences_unordered".into(),
            counts(rows, |r| r.differences.map(|d| d.unordered))?,
        ));
        columns.push(("differences_mean".into(), statistic(|d| d.mean)));
        columns.push(("differences_variance".into(), statistic(|d| d.variance)));
        columns.push(("differences_std".into(), statistic(|d| d.std)));
        columns.push(("differences_min".into(), statistic(|d| d.min)));
        columns.push(("differences_max".into(), statistic(|d| d.max)));
    }
    Ok(columns)
}

fn numbers(rows: &[Row<'_>], value: impl Fn(&Row<'_>) -> Option<f64>) -> ArrayRef {
    Arc::new(rows.iter().map(value).collect::<Float64Array>())
}

fn counts(rows: &[Row<'_>], mut value: impl FnMut(&Row<'_>) -> Option<u64>) -> Result<ArrayRef> {
    let counts = rows.iter().map(|r| value(r).map(signed).transpose());
    Ok(Arc::new(counts.collect::<Result<Int64Array>>()?))
}

fn signed(n: u64) -> Result<i64> {
    i64::try_from(n).map_err(|_| Error::Failed(format!("{n} does not fit a signed integer of 64 bits")))
}

/// Instants where the windows are of time, row numbers where they are of rows.
fn window_columns(bounds: Bounds, rows: &[Row<'_>]) -> Result<[ArrayRef; 2]> {
    match bounds {
        Bounds::Instants => {
            let bounds = || {
                rows.iter().map(|r| match r.group.window {
                    Some(WindowBounds::Time { start_ns, end_ns }) => Some((start_ns, end_ns)),
                    _ => None,
                })
            };
            let start: TimestampNanosecondArray = bounds().map(|b| b.map(|b| b.0)).collect();
            let end: TimestampNanosecondArray = bounds().map(|b| b.map(|b| b.1)).collect();
            Ok([Arc::new(start.with_timezone("UTC")), Arc::new(end.with_timezone("UTC"))])
        }
        Bounds::Text => {
            let (start, end): (Vec<_>, Vec<_>) =
                rows.iter().map(|r| r.group.window.map(|w| w.labels()).unzip()).unzip();
            Ok([Arc::new(StringArray::from(start)), Arc::new(StringArray::from(end))])
        }
        Bounds::Rows | Bounds::None => {
            let bound = |of: fn(u64, u64) -> u64| {
                counts(rows, |r| match r.group.window {
                    Some(WindowBounds::Rows { start, end }) => Some(of(start, end)),
                    _ => None,
                })
            };
            Ok([bound(|start, _| start)?, bound(|_, end| end)?])
        }
    }
}

fn key_columns(report: &Report, rows: &[Row<'_>], values: &[(String, ArrayRef)]) -> Vec<(String, ArrayRef)> {
    let Some(key) = report.groups.iter().find_map(|g| g.key.as_ref()) else {
        return Vec::new();
    };
    let keys: Vec<&str> = key.iter().map(|(name, _)| name).collect();
    let mut columns: Vec<(String, ArrayRef)> = Vec::new();
    for (i, key) in keys.iter().enumerate() {
        let taken = |name: &str| values.iter().chain(&columns).any(|(n, _)| n == name) || keys[i + 1..].contains(&name);
        let name = free_name(key, taken);
        let cells: Vec<&KeyValue> = rows
            .iter()
            .map(|r| r.group.key.as_ref().and_then(|k| k.get(key)).unwrap_or(&KeyValue::Null))
            .collect();
        let array = key_array(&cells);
        columns.push((name, array));
    }
    columns
}

/// The name of a key, with a suffix as often as it is taken.
fn free_name(key: &str, taken: impl Fn(&str) -> bool) -> String {
    let mut name = key.to_owned();
    while taken(&name) {
        name.push_str("_key");
    }
    name
}

/// What type the values of a key have in common.
fn key_type(cells: &[&KeyValue]) -> DataType {
    let present = || cells.iter().filter(|v| !matches!(v, KeyValue::Null));
    let number = |v: &&&KeyValue| match v {
        KeyValue::Integer(i) => i.unsigned_abs() <= INTEGER_MAX,
        v => matches!(v, KeyValue::Number(_)),
    };
    if present().next().is_none() {
        DataType::Utf8
    } else if present().all(|v| matches!(v, KeyValue::Integer(i) if i64::try_from(*i).is_ok())) {
        DataType::Int64
    } else if present().all(|v| matches!(v, KeyValue::Integer(i) if u64::try_from(*i).is_ok())) {
        DataType::UInt64
    } else if present().all(|v| number(&v)) {
        DataType::Float64
    } else if present().all(|v| matches!(v, KeyValue::Boolean(_))) {
        DataType::Boolean
    } else {
        DataType::Utf8
    }
}

fn key_array(cells: &[&KeyValue]) -> ArrayRef {
    match key_type(cells) {
        DataType::Int64 => Arc::new(Int64Array::from_iter(cells.iter().map(|v| match v {
            KeyValue::Integer(i) => i64::try_from(*i).ok(),
            _ => None,
        }))),
        DataType::UInt64 => Arc::new(UInt64Array::from_iter(cells.iter().map(|v| match v {
            KeyValue::Integer(i) => u64::try_from(*i).ok(),
            _ => None,
        }))),
        DataType::Float64 => Arc::new(Float64Array::from_iter(cells.iter().map(|v| match v {
            KeyValue::Integer(i) => Some(*i as f64),
            KeyValue::Number(x) => Some(*x),
            _ => None,
        }))),
        DataType::Boolean => Arc::new(BooleanArray::from_iter(cells.iter().map(|v| match v {
            KeyValue::Boolean(b) => Some(*b),
            _ => None,
        }))),
        _ => Arc::new(cells.iter().map(|v| key_text(v)).collect::<StringArray>()),
    }
}

fn key_text(value: &KeyValue) -> Option<String> {
    match value {
        KeyValue::Null => None,
        KeyValue::Boolean(b) => Some(b.to_string()),
        KeyValue::Integer(i) => Some(i.to_string()),
        KeyValue::Number(x) => Some(shortest(*x)),
        KeyValue::Text(text) => Some(text.clone()),
    }
}

#[cfg(test)]
mod tests;
