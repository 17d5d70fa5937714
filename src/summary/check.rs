//! What every summary of rows fulfils, checked where one comes from outside; and merging that checks first.
//!
//! The rule: no part counts more than there are rows, and there are at most [`ROWS_MAX`] rows. From this it follows
//! that no sum of counts overflows, here or in any later merge, so that only the number of rows has to be looked at
//! there.

use super::comoments::{Products, Real};
use super::quantiles::Sketch;
use super::{Differences, LossShape, Merge, Moments, Quantiles, RegressionMoments, Shape, Summary};
use crate::error::{Error, Result};

/// The most rows of a summary that is read or merged with a check: up to it every count is exact as the `f64` that
/// means divide by. A billion rows a second take a hundred days to reach it.
pub const ROWS_MAX: u64 = 1 << 53;

impl Summary {
    /// Merges a summary that may be of other columns, other parts or too many rows: one read from bytes, for example.
    ///
    /// # Errors
    /// [`Error::Usage`] where the two do not have the same parts over as many columns; [`Error::Limit`] for more than
    /// [`ROWS_MAX`] rows. `self` is as before then. An empty summary without any part merges with everything.
    ///
    /// ```
    /// use millstream::{Batch, Engine, Spec, Summary};
    /// let mut total = Summary::default();
    /// for values in [vec![1.0, 2.0], vec![6.0]] {
    ///     let mut engine = Engine::new(Spec::new())?;
    ///     engine.push(&Batch::from_columns([("x", values)])?)?;
    ///     let stored = engine.close()?[0].summary.to_bytes();
    ///     total.try_merge(&Summary::from_bytes(&stored)?)?;
    /// }
    /// assert_eq!(total.columns[0].mean(), Some(3.0));
    /// # Ok::<(), millstream::Error>(())
    /// ```
    pub fn try_merge(&mut self, later: &Self) -> Result<()> {
        let empty = Self::default();
        if *self != empty && *later != empty {
            if self.layout() != later.layout() {
                return Err(Error::Usage(
                    "two summaries can be merged only if they have the same parts over as many columns".into(),
                ));
            }
            if self.rows.checked_add(later.rows).is_none_or(|rows| rows > ROWS_MAX) {
                return Err(Error::Limit(format!(
                    "two summaries of {} and {} rows cannot be merged: the most is {ROWS_MAX}",
                    self.rows, later.rows
                )));
            }
        }
        self.merge(later);
        Ok(())
    }

    /// Which parts there are, over how many columns; parts of one layout can be merged.
    fn layout(&self) -> [Option<usize>; 7] {
        let (exact, fast) = match &self.regression {
            None => (None, None),
            Some(RegressionMoments::Exact(m)) => (Some(m.dimension()), None),
            Some(RegressionMoments::Fast(m)) => (None, Some(m.dimension())),
        };
        [
            Some(self.columns.len()),
            self.comoments.as_ref().map(|m| m.dimension()),
            exact,
            fast,
            Some(self.differences.len()),
            Some(self.quantiles.len()),
            self.loss.as_ref().map(|loss| loss.gradient.len()),
        ]
    }

    /// Whether it has the parts that a shape asks for, over as many columns.
    pub(crate) fn has_shape(&self, shape: &Shape) -> bool {
        let part = |asked: bool| if asked { shape.columns } else { 0 };
        let d = Some(shape.regression.len()).filter(|d| *d > 0);
        self.layout()
            == [
                Some(shape.columns),
                shape.comoments.then_some(shape.columns),
                d.filter(|_| shape.exact),
                d.filter(|_| !shape.exact),
                Some(part(shape.differences)),
                Some(part(shape.quantiles)),
                shape.loss.as_ref().map(LossShape::weights),
            ]
    }

    /// Whether rows can have led to this; if not, why.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.rows > ROWS_MAX {
            return Err("there are more than 2^53 rows");
        }
        let columns = self.columns.len();
        let fits = |n: usize| n == 0 || n == columns;
        if !fits(self.differences.len()) || !fits(self.quantiles.len()) {
            return Err("the parts are over different numbers of columns");
        }
        if self.comoments.as_ref().is_some_and(|m| m.dimension() != columns) {
            return Err("the co-moments are over another number of columns");
        }
        let within = |counts: &[u64], most: u64| {
            let total = counts.iter().try_fold(0u64, |sum, n| sum.checked_add(*n));
            total.is_some_and(|total| total <= most)
        };
        let counted = |m: &Moments| [m.count, m.missing, m.positive_infinite, m.negative_infinite];
        let products = match &self.regression {
            None => true,
            Some(RegressionMoments::Exact(m)) => rows_fit(m, self.rows),
            Some(RegressionMoments::Fast(m)) => rows_fit(m, self.rows),
        };
        let pair = |d: &Differences| {
            let [a, b, c, e] = counted(&d.moments);
            within(&[a, b, c, e, d.unordered], self.rows.saturating_sub(1))
        };
        let values = |q: &Quantiles| match q {
            Quantiles::Exact(values) => values.len() as u64 <= self.rows,
            Quantiles::Sketch(s) => sketch_total(s).is_some_and(|n| n <= self.rows),
        };
        if !self.columns.iter().all(|m| within(&counted(m), self.rows))
            || !self.comoments.as_ref().is_none_or(|m| rows_fit(m, self.rows))
            || !products
            || !self.differences.iter().all(pair)
            || !self.quantiles.iter().all(values)
            || self.loss.as_ref().is_some_and(|loss| loss.rows > self.rows)
        {
            return Err("a part counts more than there are rows");
        }
        let units = match &self.regression {
            None => true,
            Some(RegressionMoments::Exact(m)) => scales_fit(m),
            Some(RegressionMoments::Fast(m)) => scales_fit(m),
        };
        if !units || !self.comoments.as_ref().is_none_or(|m| scales_fit(m)) {
            return Err("a scale is out of range");
        }
        let sketches = || {
            self.quantiles.iter().filter_map(|q| match q {
                Quantiles::Exact(_) => None,
                Quantiles::Sketch(s) => Some(s),
            })
        };
        let mut moments = self.columns.iter().chain(self.differences.iter().map(|d| &d.moments));
        let mut ranges = sketches().filter_map(|s| s.range);
        if !moments.all(extremes_fit) || !ranges.all(|(a, b)| is_range(a, b)) {
            return Err("a least value is not finite or above the greatest");
        }
        if !sketches().all(|s| signs_fit(s)) {
            return Err("a sketch has values of other signs than its range");
        }
        Ok(())
    }
}

/// The extremes bound the mean: in order with values, +∞ and −∞ without.
fn extremes_fit(m: &Moments) -> bool {
    match m.count {
        0 => (m.min, m.max) == (f64::INFINITY, f64::NEG_INFINITY),
        _ => is_range(m.min, m.max),
    }
}

fn is_range(low: f64, high: f64) -> bool {
    low.is_finite() && high.is_finite() && low <= high
}

/// Complete rows and those with an infinite value are different rows.
fn rows_fit<R: Real>(m: &Products<R>, rows: u64) -> bool {
    let most = m.infinite.iter().copied().max().unwrap_or(0);
    m.rows.checked_add(most).is_some_and(|n| n <= rows)
}

/// A scale is 0 or the exponent of a finite value.
fn scales_fit<R: Real>(m: &Products<R>) -> bool {
    m.scale.iter().all(|s| (-1074..=1023).contains(s))
}

/// The values of a sketch, where they can be counted.
fn sketch_total(s: &Sketch) -> Option<u64> {
    let counts = s.negative.counts.iter().chain(&s.positive.counts);
    let rest = [s.zero, s.negative_infinite, s.positive_infinite];
    counts.chain(&rest).try_fold(0u64, |sum, n| sum.checked_add(*n))
}

/// A sketch has values below 0 if and only if its least value is, and so on: answers are held within the range.
fn signs_fit(s: &Sketch) -> bool {
    let any = |counts: &[u64]| counts.iter().any(|n| *n > 0);
    let (negative, positive) = (any(&s.negative.counts), any(&s.positive.counts));
    match s.range {
        None => !negative && !positive && s.zero == 0,
        Some((low, high)) => {
            let inside = low <= 0.0 && 0.0 <= high;
            negative == (low < 0.0) && positive == (high > 0.0) && (s.zero == 0 || inside)
        }
    }
}
