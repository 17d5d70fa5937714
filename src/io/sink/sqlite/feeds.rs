//! What a database says of its feeds: the names of the columns, and what the summaries are made of.
//!
//! One feed's summaries can be merged only if they are all made alike, so a feed that was changed does not go on under
//! its old name.

use crate::error::{Error, Result};
use crate::io::sink::Feed;
use crate::spec::{Precision, Regression, Spec, Window};
use crate::summary::Order;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A feed of a database.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StoredFeed {
    /// Its name.
    pub name: String,
    /// The columns of its summaries; none before the first report.
    pub columns: Vec<String>,
    /// Keys, window and statistics.
    pub spec: Spec,
}

/// The statistics of a spec, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Statistics {
    /// The highest central moment.
    order: u8,
    covariance: bool,
    correlation: bool,
    differences: bool,
    quantiles: Vec<f64>,
    regression: Option<StoredRegression>,
    ddof: u64,
    precision: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct StoredRegression {
    target: String,
    terms: Vec<String>,
    intercept: bool,
    ridge: f64,
}

impl Statistics {
    fn of(spec: &Spec) -> Self {
        Self {
            order: match spec.order {
                Order::Second => 2,
                Order::Fourth => 4,
            },
            covariance: spec.covariance,
            correlation: spec.correlation,
            differences: spec.differences,
            quantiles: spec.quantiles.clone(),
            regression: spec.regression.as_ref().map(|r| StoredRegression {
                target: r.target.clone(),
                terms: r.terms.clone(),
                intercept: r.intercept,
                ridge: r.ridge,
            }),
            ddof: spec.ddof,
            precision: spec.precision.name().to_owned(),
        }
    }

    fn spec(self, keys: Vec<String>, window: Option<Window>) -> Spec {
        Spec {
            order: if self.order == 2 { Order::Second } else { Order::Fourth },
            covariance: self.covariance,
            correlation: self.correlation,
            differences: self.differences,
            quantiles: self.quantiles,
            regression: self.regression.map(|r| Regression {
                target: r.target,
                terms: r.terms,
                intercept: r.intercept,
                ridge: r.ridge,
            }),
            ddof: self.ddof,
            precision: match self.precision.as_str() {
                "fast" => Precision::Fast,
                _ => Precision::Exact,
            },
            keys,
            window,
            ..Spec::default()
        }
    }
}

/// What decides whether summaries of two specs can be merged, in words.
fn made_of(spec: &Spec) -> [(&'static str, String); 6] {
    let regression = spec.regression.as_ref();
    [
        ("keys", spec.keys.join(", ")),
        ("window", format!("{:?}", spec.window)),
        ("covariances", (spec.covariance || spec.correlation).to_string()),
        ("differences", spec.differences.to_string()),
        ("quantiles", (!spec.quantiles.is_empty()).to_string()),
        (
            "regression",
            format!("{:?}", regression.map(|r| (&r.target, &r.terms, spec.precision))),
        ),
    ]
}

/// The feed of this name, if the database has it.
pub(super) fn stored(connection: &Connection, name: &str) -> rusqlite::Result<Option<StoredFeed>> {
    let sql = "SELECT columns, keys, window_unit, window_size, window_slide, statistics FROM feeds WHERE feed = ?1";
    let mut statement = connection.prepare(sql)?;
    statement
        .query_row([name], |row| {
            let json = |i: usize, e: serde_json::Error| {
                rusqlite::Error::FromSqlConversionFailure(i, rusqlite::types::Type::Text, Box::new(e))
            };
            let columns: Option<String> = row.get(0)?;
            let keys: String = row.get(1)?;
            let unit: String = row.get(2)?;
            let lengths: (Option<i64>, Option<i64>) = (row.get(3)?, row.get(4)?);
            let statistics: String = row.get(5)?;
            let statistics: Statistics = serde_json::from_str(&statistics).map_err(|e| json(5, e))?;
            let window = match (unit.as_str(), lengths) {
                ("time", (Some(size_ns), Some(slide_ns))) => Some(Window::Time { size_ns, slide_ns }),
                ("rows", (Some(size), Some(slide))) => Some(Window::Rows { size, slide }),
                _ => None,
            };
            let columns = columns.map(|columns| serde_json::from_str(&columns)).transpose();
            Ok(StoredFeed {
                name: name.to_owned(),
                columns: columns.map_err(|e| json(0, e))?.unwrap_or_default(),
                spec: statistics.spec(serde_json::from_str(&keys).map_err(|e| json(1, e))?, window),
            })
        })
        .optional()
}

/// Writes a feed down, or checks that it is the one that is there.
///
/// # Errors
/// [`Error::Config`] for another feed of this name.
pub(super) fn register(connection: &Connection, path: &Path, feed: &Feed) -> Result<StoredFeed> {
    let failed = |e| super::schema::failed(path, e);
    if let Some(stored) = stored(connection, &feed.name).map_err(failed)? {
        for ((what, there), (_, here)) in made_of(&stored.spec).into_iter().zip(made_of(&feed.spec)) {
            if there != here {
                return Err(changed(path, &feed.name, what, &there, &here));
            }
        }
        return Ok(stored);
    }
    let (unit, lengths) = match feed.spec.window {
        None => ("", None),
        Some(window @ Window::Time { .. }) => ("time", Some(window.size_slide())),
        Some(window @ Window::Rows { .. }) => ("rows", Some(window.size_slide())),
    };
    let json = |e: serde_json::Error| Error::Failed(format!("a feed has no JSON form: {e}"));
    connection
        .execute(
            "INSERT INTO feeds VALUES (?1, NULL, ?2, ?3, ?4, ?5, ?6)",
            params![
                &*feed.name,
                serde_json::to_string(&feed.spec.keys).map_err(json)?,
                unit,
                lengths.map(|l| l.0),
                lengths.map(|l| l.1),
                serde_json::to_string(&Statistics::of(&feed.spec)).map_err(json)?,
            ],
        )
        .map_err(failed)?;
    Ok(StoredFeed {
        name: feed.name.to_string(),
        columns: Vec::new(),
        spec: feed.spec.clone(),
    })
}

/// Writes the names of the columns down.
pub(super) fn name_columns(connection: &Connection, path: &Path, feed: &str, columns: &[String]) -> Result<()> {
    let json = serde_json::to_string(columns).map_err(|e| Error::Failed(format!("names have no JSON form: {e}")))?;
    connection
        .execute("UPDATE feeds SET columns = ?2 WHERE feed = ?1", params![feed, json])
        .map_err(|e| super::schema::failed(path, e))?;
    Ok(())
}

/// The error for a feed that is another one than that of its name in the database.
pub(super) fn changed(path: &Path, feed: &str, what: &str, there: &str, here: &str) -> Error {
    Error::Config(format!(
        "{} holds reports of a feed `{feed}` with other {what} ({there}; now {here}), and reports of both could not be \
         told apart or merged: give the feed another name, or the sink another file",
        path.display()
    ))
}
