//! Double-double arithmetic: a number as the unevaluated sum of two `f64`, 106 bits of significand.
//!
//! Everything is built on error-free transformations: `two_sum` (Knuth, TAOCP vol. 2, 4.2.2) and `two_product` by a
//! fused multiply-add (Ogita, Rump & Oishi 2005, algorithms 3.1 and 3.5). The relative error of an operation is a few
//! 2⁻¹⁰⁶ (Joldes, Muller & Popescu 2017, "Tight and rigorous error bounds for basic building blocks of double-word
//! arithmetic"). Sums of integers stay exact while they fit 106 bits.
//!
//! A result that is not finite has a `lo` of 0, so that infinities do not turn into NaN.

use serde::{Deserialize, Serialize};
use std::ops::{Add, Div, Mul, Neg, Sub};

/// `hi + lo` with |lo| ≤ ulp(hi) / 2.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Dd {
    /// The nearest `f64`.
    pub hi: f64,
    /// What is left.
    pub lo: f64,
}

/// a + b exactly, as rounded sum and error.
#[inline(always)]
pub fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let s = a + b;
    let bb = s - a;
    (s, (a - (s - bb)) + (b - bb))
}

/// a + b exactly where |a| ≥ |b| or a = 0.
#[inline(always)]
pub fn quick_two_sum(a: f64, b: f64) -> (f64, f64) {
    let s = a + b;
    (s, b - (s - a))
}

/// a · b exactly, as rounded product and error (while the error does not underflow).
#[inline(always)]
pub fn two_product(a: f64, b: f64) -> (f64, f64) {
    let p = a * b;
    (p, a.mul_add(b, -p))
}

impl Dd {
    /// 0.
    pub const ZERO: Self = Self { hi: 0.0, lo: 0.0 };
    /// 1.
    pub const ONE: Self = Self { hi: 1.0, lo: 0.0 };

    /// A normalised pair from a rounded value and its error; non-finite values keep no error.
    #[inline(always)]
    fn normal(hi: f64, lo: f64) -> Self {
        let (s, e) = quick_two_sum(hi, lo);
        if s.is_finite() {
            Self { hi: s, lo: e }
        } else {
            Self {
                hi: if hi.is_finite() { s } else { hi },
                lo: 0.0,
            }
        }
    }

    /// a + b exactly.
    #[inline(always)]
    pub fn sum(a: f64, b: f64) -> Self {
        let (s, e) = two_sum(a, b);
        if s.is_finite() {
            Self { hi: s, lo: e }
        } else {
            Self { hi: s, lo: 0.0 }
        }
    }

    /// a · b exactly (while the error does not underflow).
    #[inline(always)]
    pub fn product(a: f64, b: f64) -> Self {
        let (p, e) = two_product(a, b);
        if p.is_finite() {
            Self { hi: p, lo: e }
        } else {
            Self { hi: p, lo: 0.0 }
        }
    }

    /// The nearest `f64`.
    #[inline(always)]
    pub fn to_f64(self) -> f64 {
        self.hi
    }

    /// Times a power of two (exact unless it overflows or underflows).
    #[inline]
    pub fn scaled(self, exponent: i32) -> Self {
        Self {
            hi: ldexp(self.hi, exponent),
            lo: ldexp(self.lo, exponent),
        }
    }

    /// |self|.
    #[inline]
    pub fn abs(self) -> Self {
        if self.hi < 0.0 { -self } else { self }
    }

    /// The square root (one Newton step from the `f64` root); 0 for what is not positive.
    pub fn sqrt(self) -> Self {
        if self.hi <= 0.0 {
            return Self::ZERO;
        }
        let root = self.hi.sqrt();
        if !root.is_finite() {
            return Self { hi: root, lo: 0.0 };
        }
        let residual = self - Self::product(root, root);
        Self::normal(root, residual.hi / (2.0 * root))
    }

    /// self + b.
    #[inline(always)]
    pub fn plus(self, b: f64) -> Self {
        let (s, e) = two_sum(self.hi, b);
        Self::normal(s, e + self.lo)
    }
}

impl From<f64> for Dd {
    #[inline(always)]
    fn from(x: f64) -> Self {
        Self { hi: x, lo: 0.0 }
    }
}

impl Add for Dd {
    type Output = Self;
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        let (s, e) = two_sum(self.hi, b.hi);
        if !s.is_finite() {
            return Self { hi: s, lo: 0.0 };
        }
        let (t, f) = two_sum(self.lo, b.lo);
        let (s, e) = quick_two_sum(s, e + t);
        Self::normal(s, e + f)
    }
}

impl Neg for Dd {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        Self {
            hi: -self.hi,
            lo: -self.lo,
        }
    }
}

impl Sub for Dd {
    type Output = Self;
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        self + -b
    }
}

impl Mul for Dd {
    type Output = Self;
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        let (p, e) = two_product(self.hi, b.hi);
        Self::normal(p, e + (self.hi * b.lo + self.lo * b.hi))
    }
}

impl Div for Dd {
    type Output = Self;
    fn div(self, b: Self) -> Self {
        let q = self.hi / b.hi;
        if !q.is_finite() || q == 0.0 {
            return Self { hi: q, lo: 0.0 };
        }
        // Long division by `f64` digits; each remainder is exact to 106 bits.
        let r = self - b * Self::from(q);
        let q2 = r.hi / b.hi;
        let r = r - b * Self::from(q2);
        let q3 = r.hi / b.hi;
        let (s, e) = quick_two_sum(q, q2);
        Self::normal(s, e + q3)
    }
}

/// x · 2^exponent, for any exponent.
#[inline]
pub fn ldexp(x: f64, exponent: i32) -> f64 {
    if exponent == 0 {
        return x;
    }
    let mut x = x;
    let mut rest = exponent;
    // Steps within the normal range, at most three for the whole range of `f64`.
    while rest > 1000 {
        x *= power_of_two(1000);
        rest -= 1000;
    }
    while rest < -1000 {
        x *= power_of_two(-1000);
        rest += 1000;
    }
    x * power_of_two(rest)
}

/// 2^exponent for −1022 ≤ exponent ≤ 1023.
#[inline]
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// The binary exponent of a finite x ≠ 0: 2^e ≤ |x| < 2^(e+1).
#[inline]
pub fn exponent(x: f64) -> i32 {
    let biased = ((x.to_bits() >> 52) & 0x7ff) as i32;
    if biased == 0 {
        exponent(x * power_of_two(64)) - 64
    } else {
        biased - 1023
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_third_times_three_is_one_to_106_bits() {
        let third = Dd::ONE / Dd::from(3.0);
        let back = third * Dd::from(3.0);
        assert!((back - Dd::ONE).abs().hi <= f64::powi(2.0, -104));
        assert_ne!(third.lo, 0.0);
    }

    #[test]
    fn sums_of_large_integers_are_exact() {
        let mut total = Dd::ZERO;
        let mut exact: i128 = 0;
        let mut x: i64 = 9_007_199_254_740_881;
        for _ in 0..10_000 {
            total = total + Dd::from(x as f64);
            exact += i128::from(x);
            x = x
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407)
                >> 11;
        }
        assert_eq!(total.hi as i128 + total.lo as i128, exact);
    }

    #[test]
    fn the_quotient_of_an_exact_multiple_is_exact() {
        for n in [3.0, 7.0, 4096.0, 999_983.0] {
            for c in [0.1, 1e9 + 0.1, -123.456, 5e-324 * 3.0] {
                let q = Dd::product(n, c) / Dd::from(n);
                assert_eq!((q.hi, q.lo), (c, 0.0), "{n} {c}");
            }
        }
    }

    #[test]
    fn square_roots_square_back() {
        for x in [2.0, 3.0, 1e-30, 12345.678] {
            let r = Dd::from(x).sqrt();
            assert!(((r * r - Dd::from(x)).hi / x).abs() < 1e-30, "{x}");
        }
    }

    #[test]
    fn scaling_reaches_the_ends_of_the_range() {
        assert_eq!(ldexp(f64::MAX, -2200), 0.0);
        assert_eq!(ldexp(5e-324, 2000), ldexp(1.0, 926));
        assert_eq!(ldexp(ldexp(1.5, -700), 700), 1.5);
        assert_eq!(
            (exponent(1.0), exponent(0.75), exponent(5e-324), exponent(f64::MAX)),
            (0, -1, -1074, 1023)
        );
    }

    #[test]
    fn infinities_do_not_become_nan() {
        let x = Dd::from(f64::MAX) + Dd::from(f64::MAX);
        assert_eq!(x.hi, f64::INFINITY);
        assert_eq!((x + Dd::ONE).hi, f64::INFINITY);
    }
}
