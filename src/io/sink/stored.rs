//! What a database says of a feed: the names of the columns, and what the summaries are made of.
//!
//! One feed's summaries can be merged only if they are all made alike, so a feed that was changed does not go on under
//! its old name.

use super::Feed;
use crate::error::{Error, Result};
use crate::spec::{Precision, Regression, Spec, Window};
use crate::summary::Order;
use serde::{Deserialize, Serialize};

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

/// A feed as a row of the table `feeds`: what is text there is JSON.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FeedRow {
    /// None before the first report.
    pub(super) columns: Option<String>,
    pub(super) keys: String,
    /// `time` (lengths in nanoseconds), `rows`, or nothing.
    pub(super) window_unit: String,
    pub(super) window_size: Option<i64>,
    pub(super) window_slide: Option<i64>,
    pub(super) statistics: String,
}

impl FeedRow {
    /// The row of a feed that had no report.
    ///
    /// # Errors
    /// [`Error::Failed`] for what has no JSON form.
    pub(super) fn of(feed: &Feed) -> Result<Self> {
        let json = |e: serde_json::Error| Error::Failed(format!("a feed has no JSON form: {e}"));
        let (unit, lengths) = match feed.spec.window {
            None => ("", None),
            Some(window @ Window::Time { .. }) => ("time", Some(window.size_slide())),
            Some(window @ Window::Rows { .. }) => ("rows", Some(window.size_slide())),
        };
        Ok(Self {
            columns: None,
            keys: serde_json::to_string(&feed.spec.keys).map_err(json)?,
            window_unit: unit.to_owned(),
            window_size: lengths.map(|lengths| lengths.0),
            window_slide: lengths.map(|lengths| lengths.1),
            statistics: serde_json::to_string(&Statistics::of(&feed.spec)).map_err(json)?,
        })
    }

    /// The feed of this name that the row tells of.
    pub(super) fn feed(&self, name: &str) -> serde_json::Result<StoredFeed> {
        let statistics: Statistics = serde_json::from_str(&self.statistics)?;
        let window = match (self.window_unit.as_str(), self.window_size, self.window_slide) {
            ("time", Some(size_ns), Some(slide_ns)) => Some(Window::Time { size_ns, slide_ns }),
            ("rows", Some(size), Some(slide)) => Some(Window::Rows { size, slide }),
            _ => None,
        };
        let columns = self.columns.as_deref().map(serde_json::from_str).transpose()?;
        Ok(StoredFeed {
            name: name.to_owned(),
            columns: columns.unwrap_or_default(),
            spec: statistics.spec(serde_json::from_str(&self.keys)?, window),
        })
    }
}

/// Checks that the feed of a name is the one that is stored under it.
///
/// # Errors
/// [`Error::Config`] for another one.
pub(super) fn check_same(place: &str, stored: &StoredFeed, feed: &Feed) -> Result<()> {
    for ((what, there), (_, here)) in made_of(&stored.spec).into_iter().zip(made_of(&feed.spec)) {
        if there != here {
            return Err(changed(place, &feed.name, what, &there, &here));
        }
    }
    Ok(())
}

/// The names of columns as they are stored.
///
/// # Errors
/// [`Error::Failed`] for what has no JSON form.
pub(super) fn names_json(columns: &[String]) -> Result<String> {
    serde_json::to_string(columns).map_err(|e| Error::Failed(format!("names have no JSON form: {e}")))
}

/// The error for a feed that is another one than that of its name in the database.
pub(super) fn changed(place: &str, feed: &str, what: &str, there: &str, here: &str) -> Error {
    Error::Config(format!(
        "{place} holds reports of a feed `{feed}` with other {what} ({there}; now {here}), and reports of both could not \
         be told apart or merged: give the feed another name, or the sink another place"
    ))
}
