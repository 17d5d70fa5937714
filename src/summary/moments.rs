//! Count, sum, extremes and central moments of one column, in one mergeable state.
//!
//! The sum is an unevaluated pair of `f64`, so that integer sums are exact and the difference of two means keeps its
//! digits however far the data lies from 0. The central sums M2, M3, M4 follow Pébay, Terriberry, Kolla & Bennett 2016
//! ("Numerically stable, scalable formulas for parallel and online computation of higher-order multivariate central
//! moments with arbitrary weights", equations 3.1 and 2.1 to 2.4 for their unweighted form). All of them hold the
//! finite values only; infinite and missing values are counted beside them.
//!
//! Values whose fourth powers would leave the range of `f64` are held in units of 2^`scale`, which is 0 for ordinary
//! data.

pub(crate) mod abreast;
mod lanes;
mod run;

pub use lanes::MomentLanes;
pub use run::MomentRun;
use serde::{Deserialize, Serialize};

use super::Merge;
use super::dd::{Dd, exponent, ldexp};

/// Data whose largest magnitude lies in 2^±200 is held unscaled: fourth powers of it, summed 2^40 times, stay within
/// 2^±1000.
pub const UNSCALED_EXPONENT_MAX: i32 = 200;

/// A mean farther from the pivot than this many standard deviations asks for a second reduction around a better pivot:
/// up to it, the subtraction of s1²/n loses at most a factor 65 of the accuracy of s2.
const PIVOT_DISTANCE_MAX: f64 = 8.0;

/// Whole numbers below this are exact in `f64`, and so are sums of them that stay below it.
const EXACT_INTEGERS: f64 = 9_007_199_254_740_992.0;

/// The scale of values of which this is the largest magnitude: 0 for ordinary ones and for zeros.
pub fn scale_of(largest: f64) -> i32 {
    if largest == 0.0 {
        return 0;
    }
    let e = exponent(largest);
    if e.abs() <= UNSCALED_EXPONENT_MAX { 0 } else { e }
}

/// The magnitude above which a running state at this scale asks for larger units.
pub(super) fn limit_of(scale: i32) -> f64 {
    let above = if scale == 0 { 1 } else { scale };
    if above + UNSCALED_EXPONENT_MAX < 1023 {
        ldexp(1.0, above + UNSCALED_EXPONENT_MAX)
    } else {
        f64::MAX
    }
}

/// Which central moments are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum Order {
    /// Mean and variance.
    Second,
    /// Skewness and kurtosis as well.
    #[default]
    Fourth,
}

/// The moments of a set of values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    /// Which of the central sums are kept.
    pub order: Order,
    /// Finite values.
    pub count: u64,
    /// Nulls and NaNs.
    pub missing: u64,
    /// Values +∞.
    pub positive_infinite: u64,
    /// Values −∞.
    pub negative_infinite: u64,
    /// The least finite value; +∞ where there is none.
    pub min: f64,
    /// The greatest finite value; −∞ where there is none.
    pub max: f64,
    /// The sums below are in units of 2^scale (M2 of 2^2scale, and so on).
    pub scale: i32,
    /// Σx.
    pub sum: Dd,
    /// Σ(x − mean)².
    pub m2: f64,
    /// Σ(x − mean)³; 0 where only the second order is kept.
    pub m3: f64,
    /// Σ(x − mean)⁴; 0 where only the second order is kept.
    pub m4: f64,
}

impl Default for Moments {
    fn default() -> Self {
        Self {
            order: Order::Fourth,
            count: 0,
            missing: 0,
            positive_infinite: 0,
            negative_infinite: 0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            scale: 0,
            sum: Dd::ZERO,
            m2: 0.0,
            m3: 0.0,
            m4: 0.0,
        }
    }
}

/// Power sums around a pivot: what a kernel brings back for a run of finite values.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct PivotSums {
    /// Values.
    pub count: u64,
    /// What was subtracted from each.
    pub pivot: f64,
    /// Σd with d = x − pivot.
    pub s1: f64,
    /// What rounding took from s1, where it was kept.
    pub s1_low: f64,
    /// Σd².
    pub s2: f64,
    /// Σd³.
    pub s3: f64,
    /// Σd⁴.
    pub s4: f64,
}

impl PivotSums {
    /// Whether s1 may have been rounded although the values are whole numbers: their sums are to be exact.
    pub fn may_round_integers(&self, min: f64, max: f64) -> bool {
        let farthest = (max - self.pivot).abs().max((min - self.pivot).abs());
        self.count as f64 * farthest >= EXACT_INTEGERS
    }

    /// Σd² − (Σd)²/n, never negative.
    pub fn m2(&self) -> f64 {
        // NaN is not clamped away: `max` would turn it into 0.
        let m2 = self.s2 - self.s1 * (self.s1 / self.count as f64);
        if m2 < 0.0 { 0.0 } else { m2 }
    }

    /// A better pivot, where the mean is so far from this one that digits were lost: near the mean, rounded to a
    /// multiple of a quarter of the standard deviation (a power of two), so that subtracting it from the data stays
    /// exact.
    pub fn better_pivot(&self) -> Option<f64> {
        let n = self.count as f64;
        let distance = self.s1 / n;
        let variance = self.m2() / n;
        let far = distance * distance > PIVOT_DISTANCE_MAX * PIVOT_DISTANCE_MAX * variance;
        // A variance of 0 with a distance is a constant beside its own pivot: rounding noise decides; any pivot at the
        // mean mends it.
        if !far || distance == 0.0 || !distance.is_finite() {
            return None;
        }
        let mean = self.pivot + distance;
        let quantum_exponent = if variance > 0.0 {
            exponent(variance.sqrt()) - 2
        } else {
            return Some(mean);
        };
        let units = ldexp(mean, -quantum_exponent);
        Some(if units.abs() < 4_503_599_627_370_496.0 {
            ldexp(units.round(), quantum_exponent)
        } else {
            mean
        })
    }
}

impl Moments {
    /// The moments behind the power sums of a run of finite values with these extremes, held in units of 2^scale.
    pub fn from_sums(sums: &PivotSums, order: Order, min: f64, max: f64, scale: i32) -> Self {
        if sums.count == 0 {
            return Self {
                order,
                ..Self::default()
            };
        }
        let n = sums.count as f64;
        let sum = Dd::product(n, sums.pivot) + Dd::sum(sums.s1, sums.s1_low);
        let mut moments = Self {
            order,
            count: sums.count,
            min,
            max,
            scale,
            sum,
            m2: sums.m2(),
            ..Self::default()
        };
        if order == Order::Fourth {
            // Binomial expansion around the distance e = mean − pivot, with central second sums to spare one
            // cancellation.
            let e = sums.s1 / n;
            let e2 = e * e;
            moments.m3 = sums.s3 - 3.0 * e * moments.m2 - n * e2 * e;
            moments.m4 = sums.s4 - 4.0 * e * moments.m3 - 6.0 * e2 * moments.m2 - n * e2 * e2;
            if moments.m2 == 0.0 {
                moments.m3 = 0.0;
                moments.m4 = 0.0;
            }
        }
        moments
    }

    /// Values that are not missing.
    pub fn present(&self) -> u64 {
        self.count + self.positive_infinite + self.negative_infinite
    }

    /// The sum that infinities leave: ±∞, NaN with both, `None` where all values are finite.
    fn infinite_sum(&self) -> Option<f64> {
        match (self.positive_infinite > 0, self.negative_infinite > 0) {
            (false, false) => None,
            (true, false) => Some(f64::INFINITY),
            (false, true) => Some(f64::NEG_INFINITY),
            (true, true) => Some(f64::NAN),
        }
    }

    /// Σx over all values; 0 without any.
    pub fn total(&self) -> f64 {
        self.infinite_sum().unwrap_or_else(|| ldexp(self.sum.hi, self.scale))
    }

    /// The arithmetic mean; `None` without values.
    pub fn mean(&self) -> Option<f64> {
        if self.present() == 0 {
            return None;
        }
        Some(self.infinite_sum().unwrap_or_else(|| {
            let mean = ldexp(self.scaled_mean().hi, self.scale);
            // The mean of finite values lies between them: at the end of the range rounding may not carry it out.
            if mean < self.min {
                self.min
            } else if mean > self.max {
                self.max
            } else {
                mean
            }
        }))
    }

    /// Σx/n of the finite values in units of 2^scale.
    fn scaled_mean(&self) -> Dd {
        self.sum / Dd::from(self.count as f64)
    }

    /// M2/(n − ddof); `None` where n ≤ ddof, NaN with infinite values.
    pub fn variance(&self, ddof: u64) -> Option<f64> {
        self.scaled_variance(ddof).map(|v| ldexp(v, 2 * self.scale))
    }

    /// The square root of the variance, representable even where the variance is not.
    pub fn std(&self, ddof: u64) -> Option<f64> {
        self.scaled_variance(ddof).map(|v| ldexp(v.sqrt(), self.scale))
    }

    fn scaled_variance(&self, ddof: u64) -> Option<f64> {
        let n = self.present();
        if n <= ddof {
            return None;
        }
        Some(if self.infinite_sum().is_some() {
            f64::NAN
        } else {
            self.m2 / (n - ddof) as f64
        })
    }

    /// g1 = m3/m2^1.5 (population form); `None` without a spread
    /// or where only the second order is kept.
    pub fn skewness(&self) -> Option<f64> {
        self.standardised(|n, m2, m3, _| (m3 / n) / (m2 / n).powf(1.5))
    }

    /// g2 = m4/m2² − 3, the excess (population form); `None` without a spread
    /// or where only the second order is kept.
    pub fn kurtosis(&self) -> Option<f64> {
        self.standardised(|n, m2, _, m4| n * (m4 / m2) / m2 - 3.0)
    }

    fn standardised(&self, form: impl Fn(f64, f64, f64, f64) -> f64) -> Option<f64> {
        if self.order != Order::Fourth {
            return None;
        }
        if self.infinite_sum().is_some() {
            return Some(f64::NAN);
        }
        (self.m2 > 0.0).then(|| form(self.count as f64, self.m2, self.m3, self.m4))
    }

    /// The least value, infinite ones included; `None` without values.
    pub fn least(&self) -> Option<f64> {
        match () {
            () if self.negative_infinite > 0 => Some(f64::NEG_INFINITY),
            () if self.count > 0 => Some(self.min),
            () => (self.positive_infinite > 0).then_some(f64::INFINITY),
        }
    }

    /// The greatest value, infinite ones included; `None` without values.
    pub fn greatest(&self) -> Option<f64> {
        match () {
            () if self.positive_infinite > 0 => Some(f64::INFINITY),
            () if self.count > 0 => Some(self.max),
            () => (self.negative_infinite > 0).then_some(f64::NEG_INFINITY),
        }
    }

    /// The same moments in units of 2^scale.
    fn rescaled(&self, scale: i32) -> Self {
        let by = self.scale - scale;
        if by == 0 {
            return self.clone();
        }
        Self {
            scale,
            sum: self.sum.scaled(by),
            m2: ldexp(self.m2, 2 * by),
            m3: ldexp(self.m3, 3 * by),
            m4: ldexp(self.m4, 4 * by),
            ..self.clone()
        }
    }

    /// Whether every sum is 0, so that any scale fits.
    fn is_zero(&self) -> bool {
        self.min == 0.0 && self.max == 0.0
    }
}

impl Merge for Moments {
    fn merge(&mut self, later: &Self) {
        self.missing += later.missing;
        self.positive_infinite += later.positive_infinite;
        self.negative_infinite += later.negative_infinite;
        if later.count == 0 {
            return;
        }
        if self.count == 0 {
            let counts = (self.missing, self.positive_infinite, self.negative_infinite);
            *self = later.clone();
            (self.missing, self.positive_infinite, self.negative_infinite) = counts;
            return;
        }
        let scale = match (self.is_zero(), later.is_zero()) {
            (true, false) => later.scale,
            (false, true) => self.scale,
            _ => self.scale.max(later.scale),
        };
        if scale != self.scale {
            *self = self.rescaled(scale);
        }
        if scale == later.scale {
            self.merge_finite(later);
        } else {
            self.merge_finite(&later.rescaled(scale));
        }
    }
}

impl Moments {
    /// Pébay et al. 2016, equation 2.1 for p = 2, 3, 4, with counts na, nb and delta = mean b − mean a.
    fn merge_finite(&mut self, b: &Self) {
        let (na, nb) = (self.count as f64, b.count as f64);
        let n = na + nb;
        let weight = na * nb;
        let delta = match weight < EXACT_INTEGERS {
            // One division instead of two long ones; for constants, whose sums are exact, it is 0 as well.
            true => (b.sum * Dd::from(na) - self.sum * Dd::from(nb)).to_f64() / weight,
            false => (b.scaled_mean() - self.scaled_mean()).to_f64(),
        };
        let delta_n = delta / n;
        let term = delta * delta_n * na * nb;
        self.order = self.order.min(b.order);
        if self.order == Order::Second {
            (self.m3, self.m4) = (0.0, 0.0);
        } else {
            let m4 = self.m4
                + b.m4
                + term * delta_n * delta_n * (na * na - na * nb + nb * nb)
                + 6.0 * delta_n * delta_n * (na * na * b.m2 + nb * nb * self.m2)
                + 4.0 * delta_n * (na * b.m3 - nb * self.m3);
            let m3 = self.m3 + b.m3 + term * delta_n * (na - nb) + 3.0 * delta_n * (na * b.m2 - nb * self.m2);
            self.m3 = m3;
            self.m4 = m4;
        }
        self.m2 += b.m2 + term;
        self.sum = self.sum + b.sum;
        self.count += b.count;
        self.min = self.min.min(b.min);
        self.max = self.max.max(b.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> Moments {
        let mut run = MomentRun::default();
        values.iter().for_each(|x| run.push(*x));
        run.finish(Order::Fourth)
    }

    #[test]
    fn known_values() {
        let m = of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
        assert_eq!((m.mean(), m.variance(0), m.std(0)), (Some(5.0), Some(4.0), Some(2.0)));
        assert_eq!((m.skewness(), m.kurtosis()), (Some(0.65625), Some(-0.21875)));
    }

    #[test]
    fn non_finite_values_are_counted_and_decide_the_mean() {
        let m = of(&[1.0, f64::INFINITY, f64::NAN]);
        assert_eq!(
            (m.present(), m.missing, m.mean(), m.greatest()),
            (2, 1, Some(f64::INFINITY), Some(f64::INFINITY))
        );
        assert!(m.variance(1).is_some_and(f64::is_nan));
        assert!(of(&[f64::NEG_INFINITY, f64::INFINITY]).mean().is_some_and(f64::is_nan));
    }

    #[test]
    fn the_ends_of_the_range_keep_their_shape() {
        for unit in [1.0, 5e-324, 1e-300, 1e-100, 1e80, 1e160, 1e305] {
            let m = of(&[unit, 2.0 * unit, 4.0 * unit, unit]);
            assert_eq!(m.mean(), Some(2.0 * unit), "{unit}");
            let std = 1.5f64.sqrt() * unit;
            assert!((m.std(0).unwrap() - std).abs() <= 1e-15 * std + 5e-324, "{unit}");
            assert!((m.kurtosis().unwrap() + 1.0).abs() < 1e-14, "{unit} {:?}", m.kurtosis());
        }
        let m = of(&[f64::MAX, f64::MAX]);
        assert_eq!((m.mean(), m.variance(1)), (Some(f64::MAX), Some(0.0)));
        let m = of(&[f64::MAX, -f64::MAX]);
        assert_eq!((m.mean(), m.variance(0)), (Some(0.0), Some(f64::INFINITY)));
        assert_eq!(m.std(0), Some(f64::MAX));
    }

    #[test]
    fn a_small_scale_survives_zeros_and_yields_to_ordinary_values() {
        let mut m = of(&[0.0, 0.0]);
        m.merge(&of(&[1e-100, 3e-100]));
        assert!((m.std(0).unwrap() / 1.224_744_871_391_589e-100 - 1.0).abs() < 1e-15);
        m.merge(&of(&[1.0, 3.0]));
        assert!((m.mean().unwrap() - 4.0 / 6.0).abs() < 1e-16);
    }

    #[test]
    fn a_far_pivot_is_noticed_and_replaced_by_an_exact_one() {
        let sums = PivotSums {
            count: 100,
            pivot: 0.0,
            s1: 1e5,
            s2: 1e8 + 100.0,
            ..Default::default()
        };
        assert_eq!(sums.better_pivot(), Some(1000.0));
        let near = PivotSums {
            count: 100,
            pivot: 1000.0,
            s1: 100.0,
            s2: 200.0,
            ..Default::default()
        };
        assert_eq!(near.better_pivot(), None);
    }
}
