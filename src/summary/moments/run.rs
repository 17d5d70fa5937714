//! The running state of an unfinished leaf of one column: values one at a time, the first finite one as pivot.

use super::{Moments, Order, PivotSums, limit_of, scale_of};
use crate::summary::dd::{ldexp, two_sum};
use serde::{Deserialize, Serialize};

/// Moments of values that come one at a time, in order: the running state of an unfinished leaf.
///
/// The first finite value is the pivot; the state after n values depends on these values and their order alone. The
/// pivot stays, however far the mean moves away from it, so s1 and s2 keep what rounding takes from them: of n = 256
/// values the mean is at most √(n − 1) = 16 standard deviations from one of them, and m2 = s2 − s1²/n then loses a
/// factor 257 of the accuracy of a few roundings, not of 256.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MomentRun {
    pub(super) sums: PivotSums,
    /// What rounding took from s2.
    pub(super) s2_low: f64,
    /// Counts and extremes.
    pub(super) seen: Moments,
    /// The sums are in units of 2^scale.
    pub(super) scale: i32,
    /// Magnitudes above this ask for a larger scale.
    pub(super) limit: f64,
}

impl Default for MomentRun {
    fn default() -> Self {
        Self {
            sums: PivotSums::default(),
            s2_low: 0.0,
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
        self.seen.min = if x < self.seen.min { x } else { self.seen.min };
        self.seen.max = if x > self.seen.max { x } else { self.seen.max };
        if x.abs() > self.limit {
            self.rescale(x);
        }
        let x = if self.scale == 0 { x } else { ldexp(x, -self.scale) };
        if self.sums.count == 0 {
            self.sums.pivot = x;
        }
        let sums = &mut self.sums;
        sums.count += 1;
        let (d, d_low) = two_sum(x, -sums.pivot);
        let d2 = d * d;
        let (s1, s1_low) = two_sum(sums.s1, d);
        let (s2, s2_low) = two_sum(sums.s2, d2);
        sums.s1 = s1;
        sums.s1_low += s1_low + d_low;
        sums.s2 = s2;
        self.s2_low += s2_low;
        sums.s3 += d2 * d;
        sums.s4 += d2 * d2;
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
        let scale = scale_of(x);
        let by = self.scale - scale;
        if self.sums.count > 0 && by != 0 {
            let s = &mut self.sums;
            s.pivot = ldexp(s.pivot, by);
            s.s1 = ldexp(s.s1, by);
            s.s1_low = ldexp(s.s1_low, by);
            s.s2 = ldexp(s.s2, 2 * by);
            s.s3 = ldexp(s.s3, 3 * by);
            s.s4 = ldexp(s.s4, 4 * by);
            self.s2_low = ldexp(self.s2_low, 2 * by);
        }
        self.scale = scale;
        self.limit = limit_of(scale);
    }

    /// The moments of what came so far.
    pub fn finish(&self, order: Order) -> Moments {
        let (s1, s1_low) = two_sum(self.sums.s1, self.sums.s1_low);
        let sums = PivotSums {
            s1,
            s1_low,
            s2: self.sums.s2 + self.s2_low,
            ..self.sums
        };
        let mut moments = Moments::from_sums(&sums, order, self.seen.min, self.seen.max, self.scale);
        moments.missing = self.seen.missing;
        moments.positive_infinite = self.seen.positive_infinite;
        moments.negative_infinite = self.seen.negative_infinite;
        moments
    }
}
