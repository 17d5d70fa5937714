//! What to compute: which columns, which statistics, grouped how, in which precision.

mod model;

pub use model::ModelSpec;

use crate::error::{Error, Result};
use crate::summary::{Order, Shape};
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::time::Duration;

/// Rows of a leaf of a cell among many (keys or windows): small, because most such cells hold few rows.
pub const GROUPED_LEAF_ROWS: usize = 256;
/// Rows of a leaf of the only cell: 32 KiB a column of f64, which stays in the first-level cache between two passes.
pub const LEAF_ROWS: usize = 4096;
/// With co-moments of d columns a leaf has at least this times d rows: merging costs d² once a leaf, reducing it d² a
/// row.
pub const LEAF_ROWS_PER_COMOMENT_COLUMN: usize = 16;
/// Panes in a window at most: beyond it size and slide have hardly a common divisor, which is a mistake.
pub const PANES_PER_WINDOW_MAX: i64 = 10_000;
/// Columns of one matrix at most: 4096 columns are 64 MiB of co-moments a leaf.
pub const MATRIX_COLUMNS_MAX: usize = 4096;

/// How exactly to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Precision {
    /// `f64` around pivots; regressions in double-double.
    #[default]
    Exact,
    /// Matrices of many `f32` columns in `f32`, around pivots near the means, in sums of at most 256 rows that are added
    /// up in `f64`: six digits and more. Regressions in `f64`.
    Fast,
}

impl Precision {
    /// `exact` or `fast`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Fast => "fast",
        }
    }
}

/// Windows over event time or over rows: [k · slide, k · slide + size).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Window {
    /// In nanoseconds of event time from the Unix epoch.
    Time {
        /// Length.
        size_ns: i64,
        /// From one start to the next; at most `size_ns`.
        slide_ns: i64,
    },
    /// In rows of the key.
    Rows {
        /// Length.
        size: i64,
        /// From one start to the next; at most `size`.
        slide: i64,
    },
}

impl Window {
    /// Windows of event time, one after another.
    ///
    /// ```
    /// use std::time::Duration;
    /// let day = millstream::Window::tumbling(Duration::from_secs(86_400));
    /// assert_eq!(day.size_slide(), (86_400_000_000_000, 86_400_000_000_000));
    /// ```
    pub fn tumbling(size: Duration) -> Self {
        Self::sliding(size, size)
    }

    /// Windows of event time, one each `slide`.
    pub fn sliding(size: Duration, slide: Duration) -> Self {
        let ns = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        Self::Time {
            size_ns: ns(size),
            slide_ns: ns(slide),
        }
    }

    /// Size and slide in their unit.
    pub fn size_slide(self) -> (i64, i64) {
        match self {
            Self::Time { size_ns, slide_ns } => (size_ns, slide_ns),
            Self::Rows { size, slide } => (size, slide),
        }
    }

    /// The length of a pane: gcd(size, slide).
    pub fn pane(self) -> i64 {
        let (mut a, mut b) = self.size_slide();
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    }

    /// Whether a row may lie in several windows.
    pub fn overlaps(self) -> bool {
        let (size, slide) = self.size_slide();
        slide < size
    }

    /// Checks lengths and the number of panes.
    ///
    /// # Errors
    /// [`Error::Usage`] for a length that is not positive, a slide longer than the window, or too many panes.
    pub fn checked(self) -> Result<Self> {
        let (size, slide) = self.size_slide();
        if size <= 0 || slide <= 0 {
            return Err(Error::Usage(
                "the size and the slide of a window must be longer than 0".into(),
            ));
        }
        if slide > size {
            return Err(Error::Usage(
                "the slide of a window must not be longer than the window".into(),
            ));
        }
        let panes = size / self.pane();
        if panes > PANES_PER_WINDOW_MAX {
            return Err(Error::Usage(format!(
                "a window of this size and slide has {panes} panes, more than {PANES_PER_WINDOW_MAX}: choose a longer \
                 slide, or one that divides the size"
            )));
        }
        Ok(self)
    }
}

/// Least squares of a target on terms.
#[derive(Debug, Clone, PartialEq)]
pub struct Regression {
    /// The column to explain.
    pub target: String,
    /// The explaining columns, without the intercept.
    pub terms: Vec<String>,
    /// Whether there is an intercept.
    pub intercept: bool,
    /// λ of the ridge penalty λ‖β‖² on the terms (not on the intercept); 0 for plain least squares.
    pub ridge: f64,
}

/// What to compute. Start from [`Spec::new`] and add to it; a literal ends in `..Spec::default()`, as there will be
/// more to ask for.
///
/// ```
/// use millstream::{Batch, Engine, Spec};
/// let batch = Batch::from_columns([("x", vec![1.0, 2.0, 4.0]), ("y", vec![2.0, 4.1, 7.9])])?;
/// let report = Engine::new(Spec::new().covariance().regression("y", &["x"]))?.analyze(&batch)?;
/// let slope = report.groups[0].regression.as_ref().unwrap().coefficients[1].unwrap();
/// assert!((slope - 1.9571).abs() < 1e-4);
/// # Ok::<(), millstream::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// The columns to report; every numeric one where absent.
    pub columns: Option<Vec<String>>,
    /// Which central moments: mean and variance only, or skewness and kurtosis as well.
    pub order: Order,
    /// Whether to report covariances.
    pub covariance: bool,
    /// Whether to report correlations.
    pub correlation: bool,
    /// Whether to report differences between adjacent rows.
    pub differences: bool,
    /// The probabilities of the quantiles to report.
    pub quantiles: Vec<f64>,
    /// The least-squares fit to report.
    pub regression: Option<Regression>,
    /// The divisor of variances and covariances is n − ddof.
    pub ddof: u64,
    /// How exactly.
    pub precision: Precision,
    /// The columns whose distinct values make groups.
    pub keys: Vec<String>,
    /// The windows that make groups.
    pub window: Option<Window>,
    /// The half-life of exponentially weighted moments per key, in nanoseconds of event time, where they are asked for.
    pub ewm_half_life_ns: Option<i64>,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            columns: None,
            order: Order::Fourth,
            covariance: false,
            correlation: false,
            differences: false,
            quantiles: Vec::new(),
            regression: None,
            ddof: 1,
            precision: Precision::Exact,
            keys: Vec::new(),
            window: None,
            ewm_half_life_ns: None,
        }
    }
}

impl Spec {
    /// The moments of every numeric column.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only these columns.
    #[must_use]
    pub fn columns<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.columns = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Only count, sum, mean, variance and extremes: less work than four moments.
    #[must_use]
    pub fn mean_and_variance(mut self) -> Self {
        self.order = Order::Second;
        self
    }

    /// Covariances as well.
    #[must_use]
    pub fn covariance(mut self) -> Self {
        self.covariance = true;
        self
    }

    /// Correlations as well.
    #[must_use]
    pub fn correlation(mut self) -> Self {
        self.correlation = true;
        self
    }

    /// Differences between adjacent rows as well.
    #[must_use]
    pub fn differences(mut self) -> Self {
        self.differences = true;
        self
    }

    /// Quantiles at these probabilities as well.
    #[must_use]
    pub fn quantiles(mut self, probabilities: &[f64]) -> Self {
        self.quantiles = probabilities.to_vec();
        self
    }

    /// Least squares of `target` on an intercept and `terms` as well.
    #[must_use]
    pub fn regression(mut self, target: impl Into<String>, terms: &[&str]) -> Self {
        let terms = terms.iter().map(ToString::to_string).collect();
        self.regression = Some(Regression {
            target: target.into(),
            terms,
            intercept: true,
            ridge: 0.0,
        });
        self
    }

    /// The divisor n − ddof.
    #[must_use]
    pub fn ddof(mut self, ddof: u64) -> Self {
        self.ddof = ddof;
        self
    }

    /// One group per distinct value of these columns.
    #[must_use]
    pub fn by<S: Into<String>>(mut self, keys: impl IntoIterator<Item = S>) -> Self {
        self.keys = keys.into_iter().map(Into::into).collect();
        self
    }

    /// One group per window.
    #[must_use]
    pub fn window(mut self, window: Window) -> Self {
        self.window = Some(window);
        self
    }

    /// Exponentially weighted mean, variance and (with covariances) covariance of each key as well, whose weights halve
    /// with every half-life of event time.
    #[must_use]
    pub fn ewm(mut self, half_life: Duration) -> Self {
        self.ewm_half_life_ns = Some(i64::try_from(half_life.as_nanos()).unwrap_or(i64::MAX));
        self
    }

    /// The precision.
    #[must_use]
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// Whether there may be more than one cell.
    pub fn is_grouped(&self) -> bool {
        !self.keys.is_empty() || self.window.is_some()
    }

    /// Checks what can be checked without data.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the part that makes no sense.
    pub fn checked(self) -> Result<Self> {
        if let Some(p) = self.quantiles.iter().find(|p| !(0.0..=1.0).contains(*p)) {
            return Err(Error::Usage(format!("the quantile {p} is not between 0 and 1")));
        }
        let columns = self.columns.as_deref().unwrap_or(&[]);
        let terms = self.regression.as_ref().map_or(&[][..], |r| &r.terms);
        for (what, names) in [
            ("columns", columns),
            ("keys", &self.keys),
            ("terms of the regression", terms),
        ] {
            if let Some(name) = first_repeated(names) {
                return Err(Error::Usage(format!("`{name}` stands twice among the {what}")));
            }
        }
        if let Some(p) = first_repeated(self.quantiles.iter().map(ToString::to_string)) {
            return Err(Error::Usage(format!("the quantile {p} is asked for twice")));
        }
        if let Some(window) = self.window {
            window.checked()?;
        }
        if self.ewm_half_life_ns.is_some_and(|ns| ns <= 0) {
            return Err(Error::Usage("a half-life is longer than 0".into()));
        }
        if let Some(regression) = &self.regression {
            if !(regression.ridge >= 0.0 && regression.ridge.is_finite()) {
                return Err(Error::Usage(format!(
                    "the ridge penalty {} is not a number ≥ 0",
                    regression.ridge
                )));
            }
            if regression.terms.contains(&regression.target) {
                return Err(Error::Usage(format!("`{}` cannot explain itself", regression.target)));
            }
        }
        Ok(self)
    }

    /// The parts of a summary for data with these numeric columns, of which the first `columns` are reported.
    ///
    /// # Errors
    /// [`Error::Usage`] for a regression column that is not there, or a matrix that is too large.
    pub fn shape(&self, names: &[String], columns: usize) -> Result<Shape> {
        let mut regression = Vec::new();
        if let Some(r) = &self.regression {
            let places = places(names);
            for name in r.terms.iter().chain([&r.target]) {
                let place = places.get(name.as_str()).copied();
                regression.push(place.ok_or_else(|| unknown_column(name, names))?);
            }
        }
        let comoments = self.covariance || self.correlation;
        for (what, d) in [
            ("matrix", if comoments { columns } else { 0 }),
            ("regression", regression.len()),
        ] {
            if d > MATRIX_COLUMNS_MAX {
                return Err(Error::Usage(format!(
                    "a {what} of {d} columns is larger than the limit of {MATRIX_COLUMNS_MAX}: name fewer"
                )));
            }
        }
        Ok(Shape {
            columns,
            order: self.order,
            comoments,
            regression,
            exact: self.precision == Precision::Exact,
            differences: self.differences,
            quantiles: !self.quantiles.is_empty(),
            loss: None,
        })
    }

    /// Rows of a leaf: a power of two that depends on the spec and the number of columns alone.
    pub fn leaf_rows(&self, shape: &Shape) -> usize {
        if self.is_grouped() {
            return GROUPED_LEAF_ROWS;
        }
        let d = shape
            .regression
            .len()
            .max(if shape.comoments { shape.columns } else { 0 });
        LEAF_ROWS.max((LEAF_ROWS_PER_COMOMENT_COLUMN * d).next_power_of_two())
    }
}

fn first_repeated<T: Eq + Hash>(items: impl IntoIterator<Item = T>) -> Option<T> {
    let mut seen = HashSet::new();
    items.into_iter().find_map(|item| seen.replace(item))
}

/// Places by name, the first where a name stands twice.
pub(crate) fn places<'a>(names: impl IntoIterator<Item = &'a String>) -> HashMap<&'a str, usize> {
    let mut places = HashMap::new();
    for (i, name) in names.into_iter().enumerate() {
        places.entry(name.as_str()).or_insert(i);
    }
    places
}

/// The error for a column that is not there, with the ones that are.
pub fn unknown_column(name: &str, names: &[String]) -> Error {
    let mut there: Vec<&str> = names.iter().map(String::as_str).take(20).collect();
    if names.len() > there.len() {
        there.push("…");
    }
    Error::Usage(format!(
        "there is no numeric column `{name}`; there are: {}",
        there.join(", ")
    ))
}
