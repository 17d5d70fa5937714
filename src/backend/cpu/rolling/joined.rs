//! What the two sides of a window come to: mean and variance of one column, co-moments of two.
//!
//! The formulas, and how far the results may be off, stand in [`sums`](super::sums).

use super::sums::{Products, Run, Second, Side, Sums};
use crate::summary::dd::{exponent, ldexp};

/// Mean and sum of squares of the finite values of a window, in units of 2^exponent.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Centred {
    pub(super) count: u32,
    pub(super) infinities: [u32; 2],
    pub(super) pivot: f64,
    /// The mean less the pivot.
    pub(super) offset: f64,
    pub(super) m2: f64,
    pub(super) exponent: i32,
}

/// The mean of one side less its pivot, and Σ(x − mean)·(y − mean), from Σdx, Σdy and Σdx·dy.
#[inline(always)]
pub(super) fn product_of_side(x: f64, y: f64, xy: f64, n: f64) -> f64 {
    xy - x * (y / n)
}

/// The same of one column, never negative; NaN is not clamped away.
#[inline(always)]
pub(super) fn square_of_side(s1: f64, s2: f64, n: f64) -> f64 {
    let m2 = product_of_side(s1, s1, s2, n);
    if m2 < 0.0 { 0.0 } else { m2 }
}

/// The mean of both sides less the pivot of the first; `shift` is the pivot of the second less that of the first.
#[inline(always)]
pub(super) fn offset_of_both(s1: [f64; 2], nb: f64, shift: f64, n: f64) -> f64 {
    (s1[0] + (s1[1] + nb * shift)) / n
}

/// The difference of the means of two sides.
#[inline(always)]
pub(super) fn difference_of_means(s1: [f64; 2], n: [f64; 2], shift: f64) -> f64 {
    shift + (s1[1] / n[1] - s1[0] / n[0])
}

impl Side<Second> {
    /// Both sides of a window.
    pub(super) fn with(self, later: Self) -> Centred {
        let infinities = [0, 1].map(|i| self.infinities[i] + later.infinities[i]);
        let (a, b) = if self.count == 0 { (later, self) } else { (self, later) };
        let mut centred = Centred {
            count: a.count + b.count,
            infinities,
            pivot: a.pivot,
            ..Centred::default()
        };
        if a.count == 0 {
            return centred;
        }
        let (na, nb) = (f64::from(a.count), f64::from(b.count));
        let n = na + nb;
        let shift = if b.count == 0 { 0.0 } else { b.pivot - a.pivot };
        centred.offset = offset_of_both([a.sums.s1, b.sums.s1], nb, shift, n);
        centred.m2 = square_of_side(a.sums.s1, a.sums.s2, na);
        if b.count > 0 {
            let delta = difference_of_means([a.sums.s1, b.sums.s1], [na, nb], shift);
            let m2b = square_of_side(b.sums.s1, b.sums.s2, nb);
            centred.m2 = (centred.m2 + m2b) + delta * delta * (na * nb * (1.0 / n));
        }
        centred
    }
}

impl Centred {
    /// Of values whose squares leave the range of `f64`: once more, in units in which the largest is about 1.
    #[cold]
    pub(super) fn scaled(self, values: impl Iterator<Item = f64> + Clone) -> Self {
        let finite = values.filter(|x| x.is_finite());
        let largest = finite.clone().fold(0.0f64, |largest, x| largest.max(x.abs()));
        let exponent = if largest == 0.0 { 0 } else { exponent(largest) };
        let mut run = Run::<Second>::new(usize::MAX);
        finite.for_each(|x| run.push(ldexp(x, -exponent)));
        Self {
            infinities: self.infinities,
            exponent,
            ..run.side().with(Side::default())
        }
    }

    /// Whether the sums that are needed are in the range of `f64`.
    pub(super) fn is_finite(&self, only_mean: bool) -> bool {
        self.offset.is_finite() && (only_mean || self.m2.is_finite())
    }

    pub(super) fn present(&self) -> u32 {
        self.count + self.infinities[0] + self.infinities[1]
    }

    /// The sum that infinities leave.
    fn infinite(&self) -> Option<f64> {
        match self.infinities.map(|n| n > 0) {
            [false, false] => None,
            [true, false] => Some(f64::INFINITY),
            [false, true] => Some(f64::NEG_INFINITY),
            [true, true] => Some(f64::NAN),
        }
    }

    pub(super) fn mean(&self) -> f64 {
        let mean = || ldexp(self.pivot + self.offset, self.exponent);
        self.infinite().unwrap_or_else(mean)
    }

    fn scaled_variance(&self, ddof: u32) -> Option<f64> {
        let divisor = self.present().checked_sub(ddof).filter(|d| *d > 0)?;
        Some(match self.infinite() {
            Some(_) => f64::NAN,
            None => self.m2 / f64::from(divisor),
        })
    }

    pub(super) fn variance(&self, ddof: u32) -> Option<f64> {
        self.scaled_variance(ddof).map(|v| ldexp(v, 2 * self.exponent))
    }

    pub(super) fn std(&self, ddof: u32) -> Option<f64> {
        self.scaled_variance(ddof).map(|v| ldexp(v.sqrt(), self.exponent))
    }

    /// (x − mean) / std; none where the deviation is 0 or x is missing.
    pub(super) fn zscore(&self, x: f64, ddof: u32) -> Option<f64> {
        let std = self.scaled_variance(ddof)?.sqrt();
        if x.is_nan() || std == 0.0 {
            return None;
        }
        Some(((ldexp(x, -self.exponent) - self.pivot) - self.offset) / std)
    }
}

/// Σ(x − mean)(y − mean) and the two sums of squares of a window, in units of 2^exponent of each column.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CentredPair {
    pub(super) count: u32,
    pub(super) xy: f64,
    pub(super) xx: f64,
    pub(super) yy: f64,
    pub(super) exponents: [i32; 2],
}

impl Side<Products> {
    /// Both sides of a window.
    pub(super) fn with(self, later: Self) -> CentredPair {
        let (a, b) = if self.count == 0 { (later, self) } else { (self, later) };
        if a.count == 0 {
            return CentredPair::default();
        }
        let na = f64::from(a.count);
        let mut centred = CentredPair {
            count: a.count + b.count,
            xy: product_of_side(a.sums.x, a.sums.y, a.sums.xy, na),
            xx: square_of_side(a.sums.x, a.sums.xx, na),
            yy: square_of_side(a.sums.y, a.sums.yy, na),
            exponents: [0, 0],
        };
        if b.count > 0 {
            let nb = f64::from(b.count);
            let weight = na * nb * (1.0 / (na + nb));
            let shift = [0, 1].map(|i| b.pivot[i] - a.pivot[i]);
            let dx = difference_of_means([a.sums.x, b.sums.x], [na, nb], shift[0]);
            let dy = difference_of_means([a.sums.y, b.sums.y], [na, nb], shift[1]);
            centred.xy = (centred.xy + product_of_side(b.sums.x, b.sums.y, b.sums.xy, nb)) + dx * dy * weight;
            centred.xx = (centred.xx + square_of_side(b.sums.x, b.sums.xx, nb)) + dx * dx * weight;
            centred.yy = (centred.yy + square_of_side(b.sums.y, b.sums.yy, nb)) + dy * dy * weight;
        }
        centred
    }
}

impl CentredPair {
    /// As [`Centred::scaled`].
    #[cold]
    pub(super) fn scaled(rows: impl Iterator<Item = [f64; 2]> + Clone) -> Self {
        let complete = rows.filter(|row| Products::counts(*row));
        let exponents = [0, 1].map(|i| {
            let largest = complete.clone().fold(0.0f64, |largest, row| largest.max(row[i].abs()));
            if largest == 0.0 { 0 } else { exponent(largest) }
        });
        let mut run = Run::<Products>::new(usize::MAX);
        complete.for_each(|row| run.push([0, 1].map(|i| ldexp(row[i], -exponents[i]))));
        Self {
            exponents,
            ..run.side().with(Side::default())
        }
    }

    /// As [`Centred::is_finite`].
    pub(super) fn is_finite(&self, only_covariance: bool) -> bool {
        self.xy.is_finite() && (only_covariance || (self.xx.is_finite() && self.yy.is_finite()))
    }

    pub(super) fn covariance(&self, ddof: u32) -> Option<f64> {
        let divisor = self.count.checked_sub(ddof).filter(|d| *d > 0)?;
        Some(ldexp(
            self.xy / f64::from(divisor),
            self.exponents[0] + self.exponents[1],
        ))
    }

    /// None where one of the columns does not vary.
    pub(super) fn correlation(&self) -> Option<f64> {
        correlation(self.xy, self.xx, self.yy)
    }
}

/// In [−1, 1]; none where one of the columns does not vary.
#[inline(always)]
pub(super) fn correlation(xy: f64, xx: f64, yy: f64) -> Option<f64> {
    // One root is right more often than two; the product may leave the range of `f64`.
    let product = xx * yy;
    let root = match product > f64::MIN_POSITIVE && product < f64::MAX {
        true => product.sqrt(),
        false => xx.sqrt() * yy.sqrt(),
    };
    (xx > 0.0 && yy > 0.0).then(|| (xy / root).clamp(-1.0, 1.0))
}
