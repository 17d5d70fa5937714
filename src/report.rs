//! Finished numbers: what a [`Summary`] comes to once divisor, correlation and quantile values are asked for.
//!
//! A report is plain data and serialises to the documented JSON (`millstream.report/1`). A number that does not exist
//! (a variance of one value) is `None` and prints as `null`; a number that is not finite prints as the string `"NaN"`,
//! `"Infinity"` or `"-Infinity"`, because JSON has no other way to say it.
//!
//! The forms of a report: [`table`] for a terminal, [`markdown`], [`json`] (a document, or a group a line), [`long`]
//! (an Arrow table for csv and parquet), and with the feature `html` a page with charts. Those for people share one
//! layout (which tables, which columns) and one way to show a [`number`] and a [`text`].

pub mod build;
#[cfg(feature = "html")]
mod charts;
mod emission;
#[cfg(test)]
pub(crate) mod example;
mod fit;
mod grid;
#[cfg(feature = "html")]
pub mod html;
pub mod json;
mod key;
pub mod long;
pub mod markdown;
mod named;
pub mod number;
mod share;
pub mod table;
pub mod text;

use crate::regression::Centred;
use crate::spec::Window;
use crate::summary::{Ewm, Summary};
use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};

pub use emission::{Alert, Emission};
pub use fit::FitReport;
pub use key::{compare_keys, key_from_json};
pub use named::Named;
pub use share::Share;

/// The name and version of the JSON form.
pub const SCHEMA: &str = "millstream.report/1";

/// A finished window and key (or everything, where there are neither).
#[derive(Debug, Clone, PartialEq)]
pub struct Closed {
    /// The key's columns and values.
    pub key: Option<Named<KeyValue>>,
    /// The window.
    pub window: Option<WindowBounds>,
    /// What its rows come to.
    pub summary: Summary,
    /// The exponentially weighted moments of the key up to the end of the window, where they are asked for.
    pub ewm: Option<Box<Ewm>>,
    /// Which piece of the window and key it is: 0, unless the key was given up
    /// ([`Engine::give_up`](crate::Engine::give_up)), or there was an end ([`Engine::end`](crate::Engine::end)) after which
    /// more rows of the window came. No two reports of a window and key have the same one.
    pub part: u64,
}

impl Closed {
    /// Without exponentially weighted moments.
    pub fn new(key: Option<Named<KeyValue>>, window: Option<WindowBounds>, summary: Summary) -> Self {
        Self {
            key,
            window,
            summary,
            ewm: None,
            part: 0,
        }
    }
}

/// The statistics of an input, one group per window and key.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Rows aggregated.
    pub rows: u64,
    /// Rows that the filter left out.
    pub filtered_rows: u64,
    /// Rows that could not be read.
    pub rejected_rows: u64,
    /// Rows that came after their window had closed.
    pub late_rows: u64,
    /// The backend that reduced them: `cpu` or `gpu`.
    pub backend: String,
    /// `exact` or `fast`.
    pub precision: String,
    /// What it ran on.
    pub device: String,
    /// Wall time from the first read to the finished report, in seconds.
    pub elapsed_seconds: f64,
    /// Ordered by window, then key.
    pub groups: Vec<Group>,
}

/// Values of a column, to draw a histogram of.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Sample {
    /// The column's name.
    pub column: String,
    /// The values that were taken, in any order; those that are not finite are not drawn.
    pub values: Vec<f64>,
    /// Every how many rows one was taken: 1 where it is all of them.
    pub every: u64,
    /// How many rows there were.
    pub of: u64,
}

/// The statistics of one window and key.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Group {
    /// The key's columns and values, in the order they were asked for; absent without keys.
    pub key: Option<Named<KeyValue>>,
    /// The window; absent without windows.
    pub window: Option<WindowBounds>,
    /// Rows in the group.
    pub rows: u64,
    /// One entry a column, in the order of the columns.
    pub columns: Named<ColumnReport>,
    /// Covariances of the columns that have values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub covariance: Option<Box<Matrix>>,
    /// Correlations of the columns that have values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation: Option<Box<Matrix>>,
    /// Statistics of the differences between adjacent rows, by column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub differences: Option<Named<DifferenceReport>>,
    /// The least-squares fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regression: Option<Box<RegressionReport>>,
    /// The model that was fitted by its loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fit: Option<Box<FitReport>>,
    /// Exponentially weighted covariances of the columns, where they are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ewm_covariance: Option<Box<Matrix>>,
}

/// The statistics of one column.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ColumnReport {
    /// Values that are not missing (infinite ones included).
    pub count: u64,
    /// Nulls and NaNs.
    pub missing: u64,
    /// Σx.
    #[serde(serialize_with = "number")]
    pub sum: Option<f64>,
    /// Σx / n.
    #[serde(serialize_with = "number")]
    pub mean: Option<f64>,
    /// Σ(x − mean)² / (n − ddof).
    #[serde(serialize_with = "number")]
    pub variance: Option<f64>,
    /// The square root of the variance.
    #[serde(serialize_with = "number")]
    pub std: Option<f64>,
    /// g1 = m3 / m2^1.5 (population form).
    #[serde(serialize_with = "number")]
    pub skewness: Option<f64>,
    /// g2 = m4 / m2² − 3 (population form).
    #[serde(serialize_with = "number")]
    pub kurtosis: Option<f64>,
    /// The least value.
    #[serde(serialize_with = "number")]
    pub min: Option<f64>,
    /// The greatest value.
    #[serde(serialize_with = "number")]
    pub max: Option<f64>,
    /// The values at the asked-for probabilities, by probability.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "named::numbers")]
    pub quantiles: Option<Named<Option<f64>>>,
    /// The exponentially weighted mean; absent where it is not asked for.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "number")]
    pub ewm_mean: Option<f64>,
    /// The exponentially weighted variance; absent where it is not asked for.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "number")]
    pub ewm_variance: Option<f64>,
}

/// A symmetric matrix over named columns.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Matrix {
    /// Names of its rows and columns.
    pub columns: Vec<String>,
    /// Rows of the data in which every one of these columns has a finite value.
    pub rows: u64,
    /// d × d, by rows.
    #[serde(serialize_with = "matrix")]
    pub matrix: Vec<Vec<Option<f64>>>,
}

/// Statistics of the differences between adjacent rows (per second of event time where there is one).
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DifferenceReport {
    /// Differences counted.
    pub count: u64,
    /// Pairs of adjacent rows whose time did not advance.
    pub unordered: u64,
    /// Their mean.
    #[serde(serialize_with = "number")]
    pub mean: Option<f64>,
    /// Their variance.
    #[serde(serialize_with = "number")]
    pub variance: Option<f64>,
    /// The square root of the variance.
    #[serde(serialize_with = "number")]
    pub std: Option<f64>,
    /// The least.
    #[serde(serialize_with = "number")]
    pub min: Option<f64>,
    /// The greatest.
    #[serde(serialize_with = "number")]
    pub max: Option<f64>,
}

/// A least-squares fit.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RegressionReport {
    /// The column that is explained.
    pub target: String,
    /// `intercept` first, then the explaining columns.
    pub terms: Vec<String>,
    /// One a term; null where the fit does not determine it.
    #[serde(serialize_with = "numbers")]
    pub coefficients: Vec<Option<f64>>,
    /// One a term.
    #[serde(serialize_with = "numbers")]
    pub standard_errors: Vec<Option<f64>>,
    /// 1 − residual sum of squares / total sum of squares.
    #[serde(serialize_with = "number")]
    pub r_squared: Option<f64>,
    /// The square root of the residual sum of squares over its degrees of freedom.
    #[serde(serialize_with = "number")]
    pub residual_std: Option<f64>,
    /// Linearly independent terms.
    pub rank: usize,
    /// Rows in which target and terms all have finite values.
    pub rows: u64,
    /// The fit around the means of its terms: what a saved model has beside the rest.
    #[serde(skip)]
    pub centred: Option<Centred>,
}

/// One value of a key.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum KeyValue {
    /// A missing key.
    Null,
    /// A boolean.
    Boolean(bool),
    /// An integer of any Arrow type: 128 bits hold them all, and the whole decimals of up to 38 digits.
    Integer(i128),
    /// A number.
    #[serde(serialize_with = "finite")]
    Number(f64),
    /// Text; dates and times in RFC 3339, bytes in hexadecimal, decimals that no number prints as by their digits.
    Text(String),
}

/// A half-open window, of time or of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum WindowBounds {
    /// [start, end) in nanoseconds since 1970-01-01T00:00:00Z; prints as RFC 3339.
    Time {
        /// The first instant inside.
        start_ns: i64,
        /// The first instant behind.
        end_ns: i64,
    },
    /// [start, end) in rows of the key, counted from 0.
    Rows {
        /// The first row inside.
        start: u64,
        /// The first row behind.
        end: u64,
    },
}

impl WindowBounds {
    /// Window k: [k · slide, k · slide + size), clamped to what the numbers hold.
    pub fn of(window: Window, k: i64) -> Self {
        let (size, slide) = window.size_slide();
        let start = i128::from(k) * i128::from(slide);
        let end = start + i128::from(size);
        let clamp = |x: i128| x.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64;
        match window {
            Window::Time { .. } => Self::Time {
                start_ns: clamp(start),
                end_ns: clamp(end),
            },
            Window::Rows { .. } => Self::Rows {
                start: clamp(start).max(0) as u64,
                end: clamp(end).max(0) as u64,
            },
        }
    }

    /// Start and end as text: RFC 3339 in UTC, or row numbers.
    pub fn labels(&self) -> (String, String) {
        match *self {
            Self::Time { start_ns, end_ns } => (rfc3339(start_ns), rfc3339(end_ns)),
            Self::Rows { start, end } => (start.to_string(), end.to_string()),
        }
    }
}

impl Serialize for WindowBounds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        match *self {
            Self::Time { .. } => {
                let (start, end) = self.labels();
                map.serialize_entry("start", &start)?;
                map.serialize_entry("end", &end)?;
            }
            Self::Rows { start, end } => {
                map.serialize_entry("start", &start)?;
                map.serialize_entry("end", &end)?;
            }
        }
        map.end()
    }
}

/// An instant as RFC 3339 in UTC, with as many digits of the second as it needs.
pub fn rfc3339(time_ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(time_ns)).map_or_else(|_| time_ns.to_string(), |t| t.to_string())
}

/// How a number prints in JSON.
struct Json(Option<f64>);

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            None => serializer.serialize_none(),
            Some(x) if x.is_finite() => serializer.serialize_f64(x),
            Some(x) => serializer.serialize_str(non_finite(x)),
        }
    }
}

/// The name of a number that is not finite: `NaN`, `Infinity` or `-Infinity`.
pub fn non_finite(x: f64) -> &'static str {
    if x.is_nan() {
        "NaN"
    } else if x > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

fn number<S: Serializer>(x: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    Json(*x).serialize(serializer)
}

fn finite<S: Serializer>(x: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    Json(Some(*x)).serialize(serializer)
}

fn numbers<S: Serializer>(xs: &[Option<f64>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(xs.iter().map(|x| Json(*x)))
}

fn matrix<S: Serializer>(rows: &[Vec<Option<f64>>], serializer: S) -> Result<S::Ok, S::Error> {
    let mut seq = serializer.serialize_seq(Some(rows.len()))?;
    for row in rows {
        seq.serialize_element(&row.iter().map(|x| Json(*x)).collect::<Vec<_>>())?;
    }
    seq.end()
}
