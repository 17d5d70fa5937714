//! Sums of products of deviations of several columns: what covariance, correlation and least squares are made of.
//!
//! Rows count listwise: a row enters only if every column that has any value at all has one in it. Which columns have
//! one is part of the state (`present`); rows from before a column's first value are incomplete, so a larger set starts
//! again at 0. Every matrix is thereby positive semidefinite by construction. Rows with an infinite value are kept out
//! and counted.
//!
//! Columns whose squares would leave the range of `f64` are held in units of 2^`scale`, which is 0 for ordinary data.
//!
//! Merging follows Schubert & Gertz 2018 ("Numerically stable parallel computation of (co-)variance", equation 21) with
//! the means in double-double, so that their difference keeps its digits. There are two precisions from one text: `f64`
//! products ([`CoMoments`]) and double-double products ([`ExactCoMoments`]), the latter for regressions, where the
//! condition of the normal equations costs twice the digits.

mod run;

pub use run::{ProductRoom, ProductRun};
use serde::{Deserialize, Serialize};

use super::Merge;
use super::dd::{Dd, ldexp};
use std::fmt::Debug;
use std::ops::{Add, Div, Mul, Sub};

/// Co-moments with `f64` products.
pub type CoMoments = Products<f64>;
/// Co-moments with double-double products.
pub type ExactCoMoments = Products<Dd>;

/// The number in which products are held.
pub trait Real:
    Copy + Debug + Default + PartialEq + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// The nearest number to a double-double.
    fn from_dd(x: Dd) -> Self;
    /// The double-double of this number.
    fn to_dd(self) -> Dd;
    /// x − pivot.
    fn deviation(x: f64, pivot: f64) -> Self;
    /// Times a power of two.
    fn scaled(self, exponent: i32) -> Self;
}

impl Real for f64 {
    fn from_dd(x: Dd) -> Self {
        x.hi
    }
    fn to_dd(self) -> Dd {
        Dd::from(self)
    }
    fn deviation(x: f64, pivot: f64) -> Self {
        x - pivot
    }
    fn scaled(self, exponent: i32) -> Self {
        ldexp(self, exponent)
    }
}

impl Real for Dd {
    fn from_dd(x: Dd) -> Self {
        x
    }
    fn to_dd(self) -> Dd {
        self
    }
    fn deviation(x: f64, pivot: f64) -> Self {
        Self::sum(x, -pivot)
    }
    fn scaled(self, exponent: i32) -> Self {
        Self::scaled(self, exponent)
    }
}

/// Listwise sums, means and products of deviations of d columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Products<R: Real> {
    /// Complete rows.
    pub rows: u64,
    /// Columns that have had a value.
    pub present: Vec<bool>,
    /// By column: rows that have all values, of which this one is infinite.
    pub infinite: Vec<u64>,
    /// By column: what follows is in units of 2^scale of each column that takes part.
    pub scale: Vec<i32>,
    /// Σx over the complete rows, in units of 2^scaleᵢ.
    pub sums: Vec<Dd>,
    /// Σ(xᵢ − meanᵢ)(xⱼ − meanⱼ) over the complete rows, in units of 2^(scaleᵢ + scaleⱼ): the upper triangle by rows,
    /// d(d + 1)/2 values.
    pub products: Vec<R>,
}

/// The place of (i, j), i ≤ j < d, in an upper triangle stored by rows.
#[inline]
pub fn triangle(i: usize, j: usize, d: usize) -> usize {
    debug_assert!(i <= j && j < d);
    i * (2 * d - i + 1) / 2 + (j - i)
}

/// Multiplies entry (i, j) of an upper triangle by 2^(byᵢ + byⱼ).
fn scale_triangle<R: Real>(products: &mut [R], by: &[i32]) {
    let pairs = (0..by.len()).flat_map(|i| by[i..].iter().map(move |b| by[i] + b));
    for (product, by) in products.iter_mut().zip(pairs).filter(|(_, by)| *by != 0) {
        *product = product.scaled(by);
    }
}

impl<R: Real> Products<R> {
    /// No rows of `d` columns.
    pub fn new(d: usize) -> Self {
        Self {
            rows: 0,
            present: vec![false; d],
            infinite: vec![0; d],
            scale: vec![0; d],
            sums: vec![Dd::ZERO; d],
            products: vec![R::default(); d * (d + 1) / 2],
        }
    }

    /// The state behind sums around a pivot: Σd and the upper triangle of Σd dᵀ with d = x − pivot, over `rows` rows,
    /// all in units of 2^scale of the columns.
    pub fn from_sums(
        rows: u64,
        present: Vec<bool>,
        infinite: Vec<u64>,
        scale: Vec<i32>,
        pivot: &[f64],
        s1: &[R],
        s2: Vec<R>,
    ) -> Self {
        let d = pivot.len();
        let mut state = Self {
            rows,
            present,
            infinite,
            scale,
            sums: vec![Dd::ZERO; d],
            products: s2,
        };
        if rows == 0 {
            state.scale.fill(0);
            state.products.fill(R::default());
            return state;
        }
        let n = R::from_dd(Dd::from(rows as f64));
        for i in 0..d {
            state.sums[i] = Dd::product(rows as f64, pivot[i]) + s1[i].to_dd();
            let mean = s1[i] / n;
            let row = triangle(i, i, d);
            for (product, sum) in state.products[row..].iter_mut().zip(&s1[i..]) {
                *product = *product - mean * *sum;
            }
            if state.products[row].to_dd().hi < 0.0 {
                state.products[row] = R::default();
            }
        }
        state
    }

    /// Columns.
    pub fn dimension(&self) -> usize {
        self.present.len()
    }

    /// The mean of column i over the complete rows; `None` without any.
    pub fn mean(&self, i: usize) -> Option<Dd> {
        (self.rows > 0).then(|| (self.sums[i] / Dd::from(self.rows as f64)).scaled(self.scale[i]))
    }

    /// Σ(xᵢ − meanᵢ)(xⱼ − meanⱼ) in units of 2^(scaleᵢ + scaleⱼ).
    pub fn product(&self, i: usize, j: usize) -> R {
        self.products[triangle(i.min(j), i.max(j), self.dimension())]
    }

    /// The covariance with divisor rows − ddof; `None` where rows ≤ ddof, NaN where a column has infinite values.
    pub fn covariance(&self, i: usize, j: usize, ddof: u64) -> Option<f64> {
        if self.infinite[i] + self.infinite[j] > 0 {
            return (self.rows + self.infinite_rows_at_least() > ddof).then_some(f64::NAN);
        }
        // Divided first: a covariance may be representable where the sum of products is not.
        (self.rows > ddof).then(|| {
            let scaled = self.product(i, j).to_dd().hi / (self.rows - ddof) as f64;
            ldexp(scaled, self.scale[i] + self.scale[j])
        })
    }

    /// Pearson's correlation, in [−1, 1]; `None` where a column is constant or rows < 2, NaN where one has infinite
    /// values.
    pub fn correlation(&self, i: usize, j: usize) -> Option<f64> {
        if self.infinite[i] + self.infinite[j] > 0 {
            return Some(f64::NAN);
        }
        if self.rows < 2 {
            return None;
        }
        // The units of numerator and denominator are the same. In a fixed order, so that both triangles of a matrix
        // round alike.
        let (i, j) = (i.min(j), i.max(j));
        let (a, b) = (self.product(i, i).to_dd().hi, self.product(j, j).to_dd().hi);
        if !(a > 0.0 && b > 0.0) {
            return if a.is_nan() || b.is_nan() { Some(f64::NAN) } else { None };
        }
        if i == j {
            return Some(1.0);
        }
        // The roots are taken apart, so that neither the product nor the quotient leaves the range.
        Some((self.product(i, j).to_dd().hi / a.sqrt() / b.sqrt()).clamp(-1.0, 1.0))
    }

    fn infinite_rows_at_least(&self) -> u64 {
        self.infinite.iter().copied().max().unwrap_or(0)
    }

    /// Starts again: the rows so far are incomplete under a larger set of columns.
    fn forget_rows(&mut self) {
        self.rows = 0;
        self.infinite.fill(0);
        self.scale.fill(0);
        self.sums.fill(Dd::ZERO);
        self.products.fill(R::default());
    }

    /// Whether a column has held nothing but zeros, so that any scale fits: a sum and a spread of 0.
    fn is_zero(&self, i: usize) -> bool {
        self.sums[i].hi == 0.0 && self.product(i, i).to_dd().hi == 0.0
    }

    /// The scales that hold the rows of both: the larger of the two, unless one has only zeros.
    fn common_scale(&self, other: &Self) -> Vec<i32> {
        let common = |i: usize| match (self.is_zero(i), other.is_zero(i)) {
            (true, false) => other.scale[i],
            (false, true) => self.scale[i],
            _ => self.scale[i].max(other.scale[i]),
        };
        (0..self.dimension()).map(common).collect()
    }

    /// The same state in units of 2^scale.
    fn rescaled(mut self, scale: &[i32]) -> Self {
        let by: Vec<i32> = self.scale.iter().zip(scale).map(|(own, new)| own - new).collect();
        for (sum, by) in self.sums.iter_mut().zip(&by) {
            *sum = sum.scaled(*by);
        }
        scale_triangle(&mut self.products, &by);
        self.scale = scale.to_vec();
        self
    }
}

/// Whether `a` has a column that `b` lacks.
fn exceeds(a: &[bool], b: &[bool]) -> bool {
    a.iter().zip(b).any(|(a, b)| *a && !*b)
}

impl<R: Real> Merge for Products<R> {
    fn merge(&mut self, later: &Self) {
        if exceeds(&later.present, &self.present) {
            for (a, b) in self.present.iter_mut().zip(&later.present) {
                *a |= *b;
            }
            self.forget_rows();
        }
        if exceeds(&self.present, &later.present) {
            return;
        }
        for (a, b) in self.infinite.iter_mut().zip(&later.infinite) {
            *a += b;
        }
        if later.rows == 0 {
            return;
        }
        if self.rows == 0 {
            let infinite = std::mem::take(&mut self.infinite);
            *self = Self {
                infinite,
                ..later.clone()
            };
            return;
        }
        if self.scale == later.scale {
            self.merge_rows(later);
        } else {
            let scale = self.common_scale(later);
            *self = std::mem::replace(self, Self::new(0)).rescaled(&scale);
            self.merge_rows(&later.clone().rescaled(&scale));
        }
    }
}

impl<R: Real> Products<R> {
    /// Adds rows in the same units; there are some on both sides.
    fn merge_rows(&mut self, later: &Self) {
        let (na, nb) = (self.rows as f64, later.rows as f64);
        let n = na + nb;
        let weight = R::from_dd(Dd::product(na, nb) / Dd::from(n));
        let (na, nb) = (Dd::from(na), Dd::from(nb));
        let deltas: Vec<R> = self
            .sums
            .iter()
            .zip(&later.sums)
            .map(|(a, b)| R::from_dd(*b / nb - *a / na))
            .collect();
        let d = self.dimension();
        for i in 0..d {
            let scaled = deltas[i] * weight;
            let row = triangle(i, i, d);
            let later = &later.products[row..row + d - i];
            let own = &mut self.products[row..row + d - i];
            for ((own, later), delta) in own.iter_mut().zip(later).zip(&deltas[i..]) {
                *own = *own + (*later + scaled * *delta);
            }
        }
        for (a, b) in self.sums.iter_mut().zip(&later.sums) {
            *a = *a + *b;
        }
        self.rows += later.rows;
    }
}

#[cfg(test)]
mod tests {
    use super::super::dd::exponent;
    use super::*;

    fn of<R: Real>(rows: &[[f64; 3]]) -> Products<R> {
        let mut run = ProductRun::new(3);
        rows.iter().for_each(|row| run.push(|i| row[i]));
        run.finish()
    }

    const ROWS: [[f64; 3]; 5] = [
        [1.0, 2.0, 9.0],
        [2.0, 4.0, 7.0],
        [3.0, 7.0, 8.0],
        [4.0, 7.0, 1.0],
        [10.0, 1.0, 3.0],
    ];

    #[test]
    fn known_values() {
        let m: CoMoments = of(&ROWS);
        assert_eq!(m.covariance(0, 0, 1), Some(12.5));
        assert_eq!(m.covariance(0, 1, 1), Some(-3.75));
        // Σ = −7.48 − 0.28 + 6.72 − 12.88 + 8.32.
        assert!((m.covariance(1, 2, 0).unwrap() + 5.6 / 5.0).abs() < 1e-14, "{m:?}");
        assert_eq!(m.correlation(2, 2), Some(1.0));
    }

    #[test]
    fn both_precisions_agree_and_any_split_merges_to_the_same() {
        let whole: ExactCoMoments = of(&ROWS);
        for cut in 0..=ROWS.len() {
            let mut a: CoMoments = of(&ROWS[..cut]);
            a.merge(&of(&ROWS[cut..]));
            for i in 0..3 {
                for j in i..3 {
                    assert!(
                        (a.product(i, j) - whole.product(i, j).hi).abs() < 1e-13,
                        "{cut} {i} {j}"
                    );
                }
            }
            assert_eq!(a.rows, 5);
        }
    }

    #[test]
    fn a_column_without_values_is_left_out_and_one_that_comes_late_starts_the_rows_again() {
        let nan = f64::NAN;
        let rows = [
            [1.0, nan, nan],
            [2.0, 5.0, nan],
            [3.0, 4.0, nan],
            [nan, 1.0, nan],
            [4.0, 6.0, nan],
        ];
        let whole: CoMoments = of(&rows);
        assert_eq!((whole.rows, whole.present.clone()), (3, vec![true, true, false]));
        assert_eq!(whole.product(0, 1), 1.0);
        for cut in 0..=rows.len() {
            let mut a: CoMoments = of(&rows[..cut]);
            a.merge(&of(&rows[cut..]));
            assert_eq!((a.rows, a.product(0, 1)), (3, 1.0), "{cut}");
        }
    }

    #[test]
    fn infinite_values_make_their_own_column_nan_only() {
        let m: CoMoments = of(&[[1.0, 2.0, 3.0], [2.0, f64::INFINITY, 5.0], [4.0, 1.0, 5.0]]);
        assert!(m.covariance(0, 1, 1).is_some_and(f64::is_nan));
        assert_eq!(m.covariance(0, 2, 1), Some(3.0));
    }

    #[test]
    fn constant_columns_are_exactly_zero_after_any_merge() {
        for constants in [[0.1, 1e9, 3.0], [f64::MAX, 1e-200, 5e-324]] {
            let mut m: ExactCoMoments = of(&[constants; 7]);
            m.merge(&of(&[constants; 4]));
            assert!(m.products.iter().all(|p| p.hi == 0.0));
            assert_eq!((m.covariance(0, 2, 1), m.correlation(0, 1)), (Some(0.0), None));
            assert_eq!(m.mean(2).map(Dd::to_f64), Some(constants[2]));
        }
    }

    /// Magnitudes that rise by far inside a run, and zeros, which any scale holds.
    #[test]
    fn the_largest_magnitude_decides_the_scale_and_zeros_have_none() {
        let far = |e: i32| [ldexp(1.0, e), ldexp(1.0, -e), 0.0];
        let mut m: CoMoments = of(&[[0.0; 3], far(150), far(300), far(-300), far(-1000)]);
        assert_eq!(m.scale, [300, 1000, 0]);
        // n = 5 with one value that counts: Σ(x − mean)² = x² (1 − 1/5), exactly but for the value 2⁻¹⁵⁰ of it.
        assert!((m.product(0, 0) - 0.8).abs() < 1e-16, "{m:?}");
        assert!((m.product(0, 1) + 0.2).abs() < 1e-16, "{m:?}");
        m.merge(&of(&[[0.0, 0.0, 1e-250]; 2]));
        assert_eq!(m.scale, [300, 1000, exponent(1e-250)]);
        m.merge(&of(&[[1.0; 3]]));
        assert_eq!(m.scale, [300, 1000, 0]);
        assert_eq!(m.rows, 8);
        m.merge(&of(&[[f64::INFINITY, 1.0, f64::NAN], [1.0, 1.0, 1.0]]));
        assert_eq!((m.rows, m.scale), (9, vec![300, 1000, 0]));
    }
}
