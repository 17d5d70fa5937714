//! What stands in the cells of the tables, in every database.

use crate::report::{ColumnReport, Group, KeyValue, Matrix, Named, non_finite};

/// The matrices of a report by the names of their kinds.
pub(super) fn matrices(group: &Group) -> [(&'static str, &Option<Box<Matrix>>); 3] {
    [
        ("covariance", &group.covariance),
        ("correlation", &group.correlation),
        ("ewm_covariance", &group.ewm_covariance),
    ]
}

/// Every pair of columns in either order, with its value.
pub(super) fn entries(matrix: &Matrix) -> impl Iterator<Item = (&str, &str, Option<f64>)> {
    let rows = matrix.columns.iter().zip(&matrix.matrix);
    rows.flat_map(|(a, row)| {
        let columns = matrix.columns.iter().zip(row);
        columns.map(move |(b, value)| (a.as_str(), b.as_str(), *value))
    })
}

/// The quantiles as a JSON object.
pub(super) fn quantiles(column: &ColumnReport) -> Option<String> {
    let value = |x: Option<f64>| match x {
        None => serde_json::Value::Null,
        Some(x) if x.is_finite() => x.into(),
        Some(x) => non_finite(x).into(),
    };
    let quantiles = column.quantiles.as_ref()?.iter();
    let object: serde_json::Map<_, _> = quantiles.map(|(p, x)| (p.to_owned(), value(*x))).collect();
    Some(serde_json::Value::Object(object).to_string())
}

/// The key as a JSON object, empty text without one.
pub(super) fn key_text(key: Option<&Named<KeyValue>>) -> String {
    // Names and plain values have a JSON form.
    key.map_or_else(String::new, |key| serde_json::to_string(key).unwrap_or_default())
}
