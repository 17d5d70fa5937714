//! Row-by-row results: differences, gradients, rolling and exponentially weighted statistics, z-scores; per key.
//!
//! Every row of the input has one row of results, in its place. [`Transforms`] says what is asked, a [`Transformer`]
//! takes batches that follow each other, and [`Engine::transform`] is for rows that are all there. What comes out does
//! not depend on how the rows were cut into batches, nor on the number of threads, to the last bit.
//!
//! A window ends with its row: the last N rows of the key, or the rows of the key in (t − span, t]; of rows with the
//! same time those up to the row itself. Windows are made without subtracting what has left them, so nothing of a burst
//! stays behind when it is over.

mod layout;
mod sequence;
mod transformer;

pub(crate) use layout::taken_name;
pub use transformer::Transformer;

use crate::batch::Batch;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::units::duration_text;
use std::fmt;

/// Rows of a window at most: numbers of rows are held in 32 bits.
pub const SPAN_ROWS_MAX: usize = (1 << 31) - 1;

/// How far something reaches back: in rows of the key, or in event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Span {
    /// So many rows.
    Rows(usize),
    /// So many nanoseconds of event time.
    Time(i64),
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rows(rows) => write!(f, "{rows}"),
            Self::Time(ns) => f.write_str(&duration_text(*ns)),
        }
    }
}

/// A statistic of the rows of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rolling {
    /// The arithmetic mean.
    Mean,
    /// M2/(n − ddof); none where n ≤ ddof.
    Variance,
    /// The square root of the variance.
    Std,
    /// The least value.
    Min,
    /// The greatest value.
    Max,
    /// Of every two columns, over the rows that have both finite.
    Covariance,
    /// Of every two columns; none where one of them does not vary.
    Correlation,
    /// (x − mean)/std of the row's own value in its window; none without a spread.
    ZScore,
}

impl Rolling {
    /// As it stands in the names of columns.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Variance => "variance",
            Self::Std => "std",
            Self::Min => "min",
            Self::Max => "max",
            Self::Covariance => "covariance",
            Self::Correlation => "correlation",
            Self::ZScore => "zscore",
        }
    }

    fn is_of_pairs(self) -> bool {
        matches!(self, Self::Covariance | Self::Correlation)
    }
}

/// An exponentially weighted statistic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Weighted {
    /// The weighted mean.
    Mean,
    /// The weighted variance; of a sample it divides by W − Σw²/W.
    Variance,
    /// The square root of the variance.
    Std,
}

impl Weighted {
    /// As it stands in the names of columns.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Variance => "variance",
            Self::Std => "std",
        }
    }
}

/// Statistics of windows of one length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windowed {
    /// How far a window reaches back, the row itself included.
    pub span: Span,
    /// What of it.
    pub statistics: Vec<Rolling>,
    /// Values that a window needs for a result; absent: all of a window of rows, one of a window of time.
    pub min_rows: Option<usize>,
}

/// What to make of the rows. Start from [`Transforms::new`] and add to it; a literal ends in `..Transforms::default()`,
/// as there will be more to ask.
///
/// | asked | column | of |
/// |---|---|---|
/// | [`differences`](Transforms::differences) | `x_difference` | two adjacent rows; per second with event time |
/// | [`gradient`](Transforms::gradient) | `x_gradient` | three adjacent rows, by second-order differences |
/// | [`rolling`](Transforms::rolling) | `x_mean_100`, `x_y_covariance_10m` | the rows of a window |
/// | [`ewm`](Transforms::ewm) | `x_ewm_mean` | all rows so far, with weights that halve |
/// | [`zscores`](Transforms::zscores) | `x_zscore` | all rows of the key |
///
/// A result is null where it does not exist. With an infinite value in a window the mean is infinite (NaN with both
/// infinities) and variances are NaN; covariances and exponentially weighted statistics leave such rows out.
#[derive(Debug, Clone, PartialEq)]
pub struct Transforms {
    /// The columns; every numeric one where absent.
    pub columns: Option<Vec<String>>,
    /// Rows are of one sequence for each distinct value of these keys.
    pub keys: Vec<String>,
    /// Whether to make differences.
    pub differences: bool,
    /// Whether to make gradients, and of which order they are at the edges: 1 or 2.
    pub gradient: Option<u8>,
    /// Rolling statistics.
    pub rolling: Vec<Windowed>,
    /// Exponentially weighted statistics, and their half-life.
    pub ewm: Option<(Span, Vec<Weighted>)>,
    /// Whether to make z-scores.
    pub zscores: bool,
    /// The divisor of variances and covariances is n − ddof: 1 for a sample, 0 for a population.
    pub ddof: u32,
}

impl Default for Transforms {
    fn default() -> Self {
        Self {
            columns: None,
            keys: Vec::new(),
            differences: false,
            gradient: None,
            rolling: Vec::new(),
            ewm: None,
            zscores: false,
            ddof: 1,
        }
    }
}

impl Transforms {
    /// Nothing yet, of every numeric column.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only these columns.
    #[must_use]
    pub fn columns<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.columns = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// One sequence of rows per distinct value of these keys.
    #[must_use]
    pub fn by<S: Into<String>>(mut self, keys: impl IntoIterator<Item = S>) -> Self {
        self.keys = keys.into_iter().map(Into::into).collect();
        self
    }

    /// The difference of each row from the one before it, per second of event time where rows have one.
    #[must_use]
    pub fn differences(mut self) -> Self {
        self.differences = true;
        self
    }

    /// Gradients as numpy's `gradient` has them: of second order inside, also where spacings are uneven; one-sided at
    /// both ends of a key. The spacing is 1 a row, or the seconds between two rows with event time.
    #[must_use]
    pub fn gradient(mut self) -> Self {
        self.gradient = Some(1);
        self
    }

    /// These statistics of the rows of a window. May be called for several spans.
    #[must_use]
    pub fn rolling(mut self, span: Span, statistics: &[Rolling]) -> Self {
        self.rolling.push(Windowed {
            span,
            statistics: statistics.to_vec(),
            min_rows: None,
        });
        self
    }

    /// Values that a window needs for a result, for all spans so far.
    #[must_use]
    pub fn min_rows(mut self, rows: usize) -> Self {
        self.rolling
            .iter_mut()
            .for_each(|windowed| windowed.min_rows = Some(rows));
        self
    }

    /// Exponentially weighted statistics: a row has the weight 2^(−age/half-life), its age counted in rows or in event
    /// time.
    #[must_use]
    pub fn ewm(mut self, half_life: Span, statistics: &[Weighted]) -> Self {
        self.ewm = Some((half_life, statistics.to_vec()));
        self
    }

    /// Each value less the mean of all values of its key, over their standard deviation.
    #[must_use]
    pub fn zscores(mut self) -> Self {
        self.zscores = true;
        self
    }

    /// The divisor n − ddof.
    #[must_use]
    pub fn ddof(mut self, ddof: u32) -> Self {
        self.ddof = ddof;
        self
    }

    /// Whether something is measured in event time.
    pub fn needs_time(&self) -> bool {
        let spans = self.rolling.iter().map(|windowed| windowed.span);
        let mut spans = spans.chain(self.ewm.iter().map(|ewm| ewm.0));
        spans.any(|span| matches!(span, Span::Time(_)))
    }

    /// Checks what can be checked without rows.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the part that makes no sense.
    pub fn checked(self) -> Result<Self> {
        let usage = |what: String| Err(Error::Usage(what));
        if !self.differences
            && self.gradient.is_none()
            && self.rolling.is_empty()
            && self.ewm.is_none()
            && !self.zscores
        {
            return usage("nothing is asked of the rows: differences, a gradient, rolling statistics, …".into());
        }
        if self.gradient.is_some_and(|order| !(1..=2).contains(&order)) {
            return usage("a gradient is of order 1 or 2 at the edges".into());
        }
        if self.ddof > 1 {
            return usage(format!("the divisor is n or n - 1, not n - {}", self.ddof));
        }
        for Windowed {
            span,
            statistics,
            min_rows,
        } in &self.rolling
        {
            if statistics.is_empty() {
                return usage(format!("no statistic of the windows of {span} is named"));
            }
            checked_span(*span, "a window")?;
            match (min_rows, span) {
                (Some(0), _) => return usage("a result needs at least 1 row".into()),
                (Some(min), Span::Rows(rows)) if min > rows => {
                    return usage(format!(
                        "a window of {rows} rows never has the {min} rows that a result needs"
                    ));
                }
                (Some(min), _) if *min > SPAN_ROWS_MAX => {
                    return usage(format!("a window has at most {SPAN_ROWS_MAX} rows"));
                }
                _ => {}
            }
        }
        if let Some((half_life, statistics)) = &self.ewm {
            if statistics.is_empty() {
                return usage("no exponentially weighted statistic is named".into());
            }
            checked_span(*half_life, "a half-life")?;
        }
        Ok(self)
    }
}

fn checked_span(span: Span, what: &str) -> Result<()> {
    match span {
        Span::Rows(0) | Span::Time(..=0) => Err(Error::Usage(format!("{what} is longer than 0"))),
        Span::Rows(rows) if rows > SPAN_ROWS_MAX => {
            Err(Error::Usage(format!("{what} has at most {SPAN_ROWS_MAX} rows")))
        }
        _ => Ok(()),
    }
}

impl Engine {
    /// Row-by-row results of a batch: one row for each of its rows, in their order.
    ///
    /// ```
    /// use millstream::transform::{Rolling, Span, Transforms};
    /// use millstream::{Batch, Engine, Spec};
    /// let batch = Batch::from_columns([("x", vec![1.0, 2.0, 4.0, 7.0])])?;
    /// let asked = Transforms::new().differences().rolling(Span::Rows(2), &[Rolling::Mean]);
    /// let made = Engine::new(Spec::new())?.transform(&batch, &asked)?;
    /// assert_eq!(made.names(), ["x_difference", "x_mean_2"]);
    /// assert_eq!(made.columns()[1].get(3), 5.5);
    /// assert!(made.columns()[0].get(0).is_nan());
    /// # Ok::<(), millstream::Error>(())
    /// ```
    ///
    /// Large results that were dropped leave their memory to later ones: an engine keeps up to 256 MiB of it.
    ///
    /// # Errors
    /// [`Error::Usage`] for columns, keys or a time that are not there and for requests that make no sense,
    /// [`Error::Data`] where the time of a key goes back.
    pub fn transform(&self, batch: &Batch, asked: &Transforms) -> Result<Batch> {
        let mut transformer = Transformer::new(asked.clone())?.with_buffers(self.buffers.clone());
        if asked.zscores {
            transformer.measure(batch)?;
        }
        transformer.push_last(batch)
    }
}
