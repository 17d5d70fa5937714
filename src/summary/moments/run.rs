//! The running state of an unfinished leaf of one column: values one at a time, the first finite one as pivot.

use super::{Moments, Order, PivotSums, UNSCALED_EXPONENT_MAX};
use crate::summary::dd::{exponent, ldexp};

/// Moments of values that come one at a time, in order: the running state of an unfinished leaf.
///
/// The first finite value is the pivot; the state after n values depends on these values and their order alone.
#[derive(Debug, Clone, PartialEq)]
pub struct MomentRun {
    sums: PivotSums,
    /// Counts and extremes.
    seen: Moments,
    /// The sums are in units of 2^scale.
    scale: i32,
    /// Magnitudes above this ask for a larger scale.
    limit: f64,
}

impl Default for MomentRun {
    fn default() -> Self {
        Self {
            sums: PivotSums::default(),
            seen: Moments::default(),
            scale: 0,
            limit: 0.0,
        }
    }
}

impl MomentRun {
    /// Takes the next value; NaN is a missing one.
    #[inline]
    pub fn push(&mut self, x: f64) {
        if !x.is_finite() {
            return self.push_non_finite(x);
        }
        self.seen.min = self.seen.min.min(x);
        self.seen.max = self.seen.max.max(x);
        if x.abs() > self.limit {
            self.rescale(x);
        }
        let x = if self.scale == 0 { x } else { ldexp(x, -self.scale) };
        if self.sums.count == 0 {
            self.sums.pivot = x;
        }
        self.sums.count += 1;
        let d = x - self.sums.pivot;
        let d2 = d * d;
        self.sums.s1 += d;
        self.sums.s2 += d2;
        self.sums.s3 += d2 * d;
        self.sums.s4 += d2 * d2;
    }

    #[cold]
    fn push_non_finite(&mut self, x: f64) {
        if x.is_nan() {
            self.seen.missing += 1;
        } else if x > 0.0 {
            self.seen.positive_infinite += 1;
        } else {
            self.seen.negative_infinite += 1;
        }
    }

    /// Chooses units in which `x`, larger than all before it by far, and its fourth power are representable.
    #[cold]
    fn rescale(&mut self, x: f64) {
        let e = exponent(x);
        let scale = if e.abs() <= UNSCALED_EXPONENT_MAX { 0 } else { e };
        let by = self.scale - scale;
        if self.sums.count > 0 && by != 0 {
            let s = &mut self.sums;
            s.pivot = ldexp(s.pivot, by);
            s.s1 = ldexp(s.s1, by);
            s.s2 = ldexp(s.s2, 2 * by);
            s.s3 = ldexp(s.s3, 3 * by);
            s.s4 = ldexp(s.s4, 4 * by);
        }
        self.scale = scale;
        self.limit = if scale == 0 {
            ldexp(1.0, UNSCALED_EXPONENT_MAX + 1)
        } else {
            ldexp(1.0, (scale + UNSCALED_EXPONENT_MAX).min(1023))
        };
        if self.limit >= ldexp(1.0, 1023) {
            self.limit = f64::MAX;
        }
    }

    /// The moments of what came so far.
    pub fn finish(&self, order: Order) -> Moments {
        let mut moments = Moments::from_sums(&self.sums, order, self.seen.min, self.seen.max, self.scale);
        moments.missing = self.seen.missing;
        moments.positive_infinite = self.seen.positive_infinite;
        moments.negative_infinite = self.seen.negative_infinite;
        moments
    }
}
