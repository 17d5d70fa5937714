//! Exact answers to compare with: statistics of the stored numbers in rational arithmetic.
//!
//! It shares no code with `src/`, and nothing here rounds except the square roots (to [`ROOT_BITS`] bits) and the last
//! step to f64 (correctly rounded). A finite f64 is m·2^e with an integer m below 2^53, so a power sum Σ xᵏ is a sum
//! of integers per exponent: those are gathered in i128 and only their totals become big integers, which makes a
//! million values a matter of a second. Central moments follow from power sums by the binomial theorem; that cancels
//! disastrously in floating point and costs nothing here. Regressions solve the normal equations by fraction-free
//! Gauss-Jordan elimination (Bareiss 1968).

use num_bigint::{BigInt, BigUint, Sign};
use num_integer::Integer;
use num_rational::Ratio;
use num_traits::{One, Signed, ToPrimitive, Zero};
use std::collections::BTreeMap;

/// An exact number.
pub(crate) type Rational = Ratio<BigInt>;

/// Bits to which square roots are right: four times those of the numbers they are compared with.
pub(crate) const ROOT_BITS: u64 = 212;

/// More correct digits than an f64 has: what [`digits`] says when there is no error.
pub(crate) const DIGITS_MAX: f64 = 17.0;

/// Terms below 2^107 in absolute value that an i128 holds without overflow.
const TERMS_PER_SPILL: u32 = 1 << 19;

/// The least exponent of any term: four times that of the least subnormal number, 2^-1074.
const EXPONENT_MIN: i32 = -4 * 1074;

/// The greatest exponent of any term: f64::MAX is below 2^53·2^971, its fourth power is split at 2^53 twice.
const EXPONENT_MAX: i32 = 4 * 971 + 106;

/// x = m·2^e, with |m| < 2^53.
fn decode(x: f64) -> (i64, i32) {
    assert!(x.is_finite(), "the oracle is for finite values, not {x}");
    let bits = x.to_bits();
    let biased = ((bits >> 52) & 0x7ff) as i32;
    let fraction = (bits & ((1 << 52) - 1)) as i64;
    let (m, e) = if biased == 0 {
        (fraction, -1074)
    } else {
        (fraction | (1 << 52), biased - 1075)
    };
    (if x.is_sign_negative() { -m } else { m }, e)
}

/// m·2^e in lowest terms.
pub(crate) fn dyadic(m: BigInt, e: i32) -> Rational {
    let Some(zeros) = m.trailing_zeros() else {
        return Rational::zero();
    };
    let e = i64::from(e) + i64::try_from(zeros).expect("fits");
    let m = m >> zeros;
    if e >= 0 {
        Rational::new_raw(m << e, BigInt::one())
    } else {
        Rational::new_raw(m, BigInt::one() << -e)
    }
}

/// The number itself.
pub(crate) fn rational(x: f64) -> Rational {
    let (m, e) = decode(x);
    dyadic(m.into(), e)
}

/// xᵏ, for a small k.
fn power(x: &Rational, k: usize) -> Rational {
    std::iter::repeat_n(x, k).product()
}

fn integer(n: usize) -> Rational {
    Rational::from_integer(n.into())
}

/// The f64 nearest to `x`, ties to even; beyond the range an infinity.
pub(crate) fn to_f64(x: &Rational) -> f64 {
    if x.is_zero() {
        return 0.0;
    }
    let (p, q) = (x.numer().magnitude(), x.denom().magnitude());
    // A quotient of 64 or 65 bits, and whether anything is left: that decides every rounding.
    let shift = 64 - (p.bits() as i64 - q.bits() as i64);
    let (quotient, rest) = if shift >= 0 {
        (p << shift).div_rem(q)
    } else {
        p.div_rem(&(q << -shift))
    };
    let quotient = quotient.to_u128().expect("at most 65 bits");
    // The value is quotient·2^-shift; its last place is 52 below the leading bit, or that of the subnormal numbers.
    let leading = i64::from(127 - quotient.leading_zeros() as i32) - shift;
    let place = (leading - 52).max(-1074);
    let drop = place + shift;
    let (kept, dropped, half) = if drop > 127 {
        (0, quotient, u128::MAX)
    } else {
        (quotient >> drop, quotient & ((1 << drop) - 1), 1 << (drop - 1))
    };
    let up = dropped > half || (dropped == half && (!rest.is_zero() || kept % 2 == 1));
    let kept = (kept + u128::from(up)) as f64;
    // Two exact steps: 2^place alone may be beyond the range of a normal number.
    let first = place.clamp(-1000, 970);
    let magnitude = kept * 2f64.powi(first as i32) * 2f64.powi((place - first).clamp(-74, 60) as i32);
    if x.is_negative() { -magnitude } else { magnitude }
}

/// The square root, exact where it is rational, else right to [`ROOT_BITS`] bits.
pub(crate) fn sqrt(x: &Rational) -> Rational {
    assert!(!x.is_negative(), "no square root of {x}");
    if x.is_zero() {
        return Rational::zero();
    }
    let (p, q): (&BigUint, &BigUint) = (x.numer().magnitude(), x.denom().magnitude());
    let (root_p, root_q) = (p.sqrt(), q.sqrt());
    if &root_p * &root_p == *p && &root_q * &root_q == *q {
        return Rational::new(root_p.into(), root_q.into());
    }
    // sqrt(p/q) = sqrt(p·q·4^k)/(q·2^k), with k such that the integer root has the bits asked for.
    let product = p * q;
    let k = ROOT_BITS.saturating_sub(product.bits() / 2);
    let root = (product << (2 * k)).sqrt();
    Rational::new(root.into(), BigInt::from(q.clone()) << k)
}

/// |computed − exact| / |exact|; infinite for NaN and for anything but 0 in place of 0.
pub(crate) fn relative_error(computed: f64, exact: &Rational) -> f64 {
    if !computed.is_finite() {
        return f64::INFINITY;
    }
    let error = (rational(computed) - exact).abs();
    match (error.is_zero(), exact.is_zero()) {
        (true, _) => 0.0,
        (false, true) => f64::INFINITY,
        (false, false) => to_f64(&(error / exact.abs())),
    }
}

/// Correct decimal digits: −log₁₀ of the relative error (of the absolute error where `exact` is 0), in [0, 17].
pub(crate) fn digits(computed: f64, exact: f64) -> f64 {
    let error = (computed - exact).abs() / if exact == 0.0 { 1.0 } else { exact.abs() };
    if error.is_nan() {
        return 0.0;
    }
    (-error.log10()).clamp(0.0, DIGITS_MAX)
}

/// A sum of terms m·2^e without any rounding.
#[derive(Debug)]
struct ExactSum {
    buckets: Vec<i128>,
    terms: u32,
    spilled: BTreeMap<i32, BigInt>,
}

impl ExactSum {
    fn new() -> Self {
        Self {
            buckets: vec![0; (EXPONENT_MAX - EXPONENT_MIN + 1) as usize],
            terms: 0,
            spilled: BTreeMap::new(),
        }
    }

    /// Adds m·2^e; |m| < 2^107.
    fn add(&mut self, m: i128, e: i32) {
        if self.terms == TERMS_PER_SPILL {
            self.spill();
        }
        self.terms += 1;
        self.buckets[(e - EXPONENT_MIN) as usize] += m;
    }

    fn spill(&mut self) {
        for (bucket, e) in self.buckets.iter_mut().zip(EXPONENT_MIN..) {
            if *bucket != 0 {
                *self.spilled.entry(e).or_default() += std::mem::take(bucket);
            }
        }
        self.terms = 0;
    }

    fn total(mut self) -> Rational {
        self.spill();
        let Some(&lowest) = self.spilled.keys().next() else {
            return Rational::zero();
        };
        let sum = self.spilled.into_iter().map(|(e, m)| m << (e - lowest)).sum();
        dyadic(sum, lowest)
    }
}

/// Σ x·y.
fn dot(x: &[f64], y: &[f64]) -> Rational {
    assert_eq!(x.len(), y.len(), "columns of one table");
    let mut sum = ExactSum::new();
    for (&a, &b) in x.iter().zip(y) {
        let ((a, ea), (b, eb)) = (decode(a), decode(b));
        sum.add(i128::from(a) * i128::from(b), ea + eb);
    }
    sum.total()
}

/// Σ x.
pub(crate) fn sum(values: &[f64]) -> Rational {
    let mut sum = ExactSum::new();
    for &x in values {
        let (m, e) = decode(x);
        sum.add(m.into(), e);
    }
    sum.total()
}

/// The moments of a set of numbers: exact.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Moments {
    pub(crate) count: usize,
    pub(crate) sum: Rational,
    pub(crate) mean: Rational,
    /// Σ(x − mean)² / n.
    pub(crate) m2: Rational,
    /// Σ(x − mean)³ / n.
    pub(crate) m3: Rational,
    /// Σ(x − mean)⁴ / n.
    pub(crate) m4: Rational,
    pub(crate) min: Rational,
    pub(crate) max: Rational,
}

impl Moments {
    /// From Σ xᵏ for k = 1 … 4.
    fn from_power_sums(count: usize, power_sums: [Rational; 4], min: Rational, max: Rational) -> Self {
        let n = integer(count);
        let sum = power_sums[0].clone();
        let [mean, raw2, raw3, raw4] = power_sums.map(|s| s / &n);
        let square = &mean * &mean;
        let m2 = &raw2 - &square;
        let m3 = &raw3 - integer(3) * &mean * &raw2 + integer(2) * &square * &mean;
        let m4 = &raw4 - integer(4) * &mean * &raw3 + integer(6) * &square * &raw2 - integer(3) * &square * &square;
        Self {
            count,
            sum,
            mean,
            m2,
            m3,
            m4,
            min,
            max,
        }
    }

    /// Σ(x − mean)² / (n − ddof); none unless n > ddof.
    pub(crate) fn variance(&self, ddof: usize) -> Option<Rational> {
        (self.count > ddof).then(|| &self.m2 * integer(self.count) / integer(self.count - ddof))
    }

    /// The square root of the variance.
    pub(crate) fn std(&self, ddof: usize) -> Option<Rational> {
        self.variance(ddof).map(|v| sqrt(&v))
    }

    /// g1 = m3 / m2^1.5; none for a constant.
    pub(crate) fn skewness(&self) -> Option<Rational> {
        (!self.m2.is_zero()).then(|| {
            let magnitude = sqrt(&(power(&self.m3, 2) / power(&self.m2, 3)));
            if self.m3.is_negative() { -magnitude } else { magnitude }
        })
    }

    /// g2 = m4 / m2² − 3; none for a constant.
    pub(crate) fn kurtosis(&self) -> Option<Rational> {
        (!self.m2.is_zero()).then(|| &self.m4 / power(&self.m2, 2) - integer(3))
    }
}

/// The moments of finite values; none of none.
pub(crate) fn moments(values: &[f64]) -> Option<Moments> {
    let first = *values.first()?;
    let (mut least, mut greatest) = (first, first);
    let mut sums: [ExactSum; 4] = std::array::from_fn(|_| ExactSum::new());
    for &x in values {
        let (m, e) = decode(x);
        let m = i128::from(m);
        // m² = high·2^53 + low, both below 2^53, so that every product below fits: m³ in two terms, m⁴ in three.
        let square = m * m;
        let (high, low) = (square >> 53, square & ((1 << 53) - 1));
        sums[0].add(m, e);
        sums[1].add(square, 2 * e);
        sums[2].add(m * high, 3 * e + 53);
        sums[2].add(m * low, 3 * e);
        sums[3].add(high * high, 4 * e + 106);
        sums[3].add(2 * high * low, 4 * e + 53);
        sums[3].add(low * low, 4 * e);
        least = least.min(x);
        greatest = greatest.max(x);
    }
    let power_sums = sums.map(ExactSum::total);
    Some(Moments::from_power_sums(
        values.len(),
        power_sums,
        rational(least),
        rational(greatest),
    ))
}

/// The same of exact numbers, slowly; none of none.
pub(crate) fn moments_of_rationals(values: &[Rational]) -> Option<Moments> {
    let power_sums = [1, 2, 3, 4].map(|k| values.iter().map(|x| power(x, k)).sum());
    let min = values.iter().min()?.clone();
    let max = values.iter().max()?.clone();
    Some(Moments::from_power_sums(values.len(), power_sums, min, max))
}

/// The columns without the rows in which one of them has no finite value.
pub(crate) fn listwise(columns: &[&[f64]]) -> Vec<Vec<f64>> {
    let rows = columns.first().map_or(0, |c| c.len());
    let kept: Vec<usize> = (0..rows)
        .filter(|&i| columns.iter().all(|c| c[i].is_finite()))
        .collect();
    columns.iter().map(|c| kept.iter().map(|&i| c[i]).collect()).collect()
}

/// n·Σ(x − x̄)(y − ȳ), exact.
fn scaled_comoment(x: &[f64], y: &[f64]) -> Rational {
    integer(x.len()) * dot(x, y) - sum(x) * sum(y)
}

/// Σ(x − x̄)(y − ȳ) / (n − ddof) of finite values; none unless n > ddof.
pub(crate) fn covariance(x: &[f64], y: &[f64], ddof: usize) -> Option<Rational> {
    (x.len() > ddof).then(|| scaled_comoment(x, y) / (integer(x.len()) * integer(x.len() - ddof)))
}

/// Pearson's correlation of finite values; none where one is constant.
pub(crate) fn correlation(x: &[f64], y: &[f64]) -> Option<Rational> {
    let xy = scaled_comoment(x, y);
    let product = scaled_comoment(x, x) * scaled_comoment(y, y);
    (!product.is_zero()).then(|| {
        let magnitude = sqrt(&(power(&xy, 2) / product));
        if xy.is_negative() { -magnitude } else { magnitude }
    })
}

/// The type-7 quantile of finite values: linear between the order statistics around (n − 1)·p; none of none.
pub(crate) fn quantile(values: &[f64], p: f64) -> Option<Rational> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = rational(p) * integer(values.len().checked_sub(1)?);
    let below = rank.floor().to_integer().to_usize().expect("p lies in [0, 1]");
    let low = rational(sorted[below]);
    let high = rational(sorted[(below + 1).min(sorted.len() - 1)]);
    Some(&low + rank.fract() * (high - &low))
}

/// The differences of adjacent rows that both have a finite value, and how many did not advance in time.
///
/// With times (in nanoseconds) they are per second, and count only where the time advances; without, per row.
pub(crate) fn differences(values: &[f64], time_ns: Option<&[i64]>) -> (Vec<Rational>, usize) {
    let mut counted = Vec::new();
    let mut unordered = 0;
    for i in 1..values.len() {
        if !(values[i - 1].is_finite() && values[i].is_finite()) {
            continue;
        }
        let step = rational(values[i]) - rational(values[i - 1]);
        match time_ns.map(|t| i128::from(t[i]) - i128::from(t[i - 1])) {
            None => counted.push(step),
            Some(ns) if ns > 0 => counted.push(step * Rational::new(1_000_000_000.into(), ns.into())),
            Some(_) => unordered += 1,
        }
    }
    (counted, unordered)
}

/// An exact least-squares fit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fit {
    /// The intercept first where there is one, then one a term.
    pub(crate) coefficients: Vec<Rational>,
    /// In the same order; none without a degree of freedom.
    pub(crate) standard_errors: Option<Vec<Rational>>,
    /// 1 − residual over total sum of squares (about the mean with an intercept, about 0 without); none where that is
    /// 0.
    pub(crate) r_squared: Option<Rational>,
    /// The square root of the residual sum of squares over its degrees of freedom; none without one.
    pub(crate) residual_std: Option<Rational>,
}

/// The b that minimises ‖y − Xb‖² + ridge·‖b‖², the intercept not penalised; none where the terms are dependent.
///
/// With a ridge the standard errors are those of its sampling distribution, s²·A⁻¹·XᵀX·A⁻¹ for A = XᵀX + ridge·I.
pub(crate) fn least_squares(target: &[f64], terms: &[&[f64]], intercept: bool, ridge: f64) -> Option<Fit> {
    let rows = target.len();
    let ones = vec![1.0; rows];
    let columns: Vec<&[f64]> = intercept
        .then_some(ones.as_slice())
        .into_iter()
        .chain(terms.iter().copied())
        .collect();
    let d = columns.len();
    let gram: Vec<Vec<Rational>> = columns
        .iter()
        .map(|a| columns.iter().map(|b| dot(a, b)).collect())
        .collect();
    let moment: Vec<Rational> = columns.iter().map(|a| dot(a, target)).collect();
    let augmented = (0..d)
        .map(|i| {
            let mut row = gram[i].clone();
            if !(intercept && i == 0) {
                row[i] += rational(ridge);
            }
            row.push(moment[i].clone());
            row.extend((0..d).map(|j| integer(usize::from(i == j))));
            row
        })
        .collect();
    let solved = solve(augmented)?;
    let coefficients: Vec<Rational> = solved.iter().map(|row| row[0].clone()).collect();
    let inverse: Vec<&[Rational]> = solved.iter().map(|row| &row[1..]).collect();

    let product = |a: &[Rational], b: &[Rational]| -> Rational { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    let fitted: Vec<Rational> = gram.iter().map(|row| product(row, &coefficients)).collect();
    let square = dot(target, target);
    let residual = &square - integer(2) * product(&coefficients, &moment) + product(&coefficients, &fitted);
    let total = if intercept {
        square - power(&sum(target), 2) / integer(rows)
    } else {
        square
    };
    let residual_variance = (rows > d).then(|| &residual / integer(rows - d));
    let standard_errors = residual_variance.as_ref().map(|s2| {
        let spread = |a: &[Rational]| -> Rational { gram.iter().zip(a).map(|(row, x)| x * product(row, a)).sum() };
        inverse.iter().map(|row| sqrt(&(s2 * spread(row)))).collect()
    });
    Some(Fit {
        coefficients,
        standard_errors,
        r_squared: (!total.is_zero()).then(|| integer(1) - residual / total),
        residual_std: residual_variance.map(|s2| sqrt(&s2)),
    })
}

/// A⁻¹B of a row-wise [A | B], A square, by fraction-free Gauss-Jordan elimination; none where A is singular.
fn solve(augmented: Vec<Vec<Rational>>) -> Option<Vec<Vec<Rational>>> {
    let d = augmented.len();
    // The same multiple of every row leaves the solution as it is and makes integers of all.
    let scale = augmented.iter().flatten().fold(BigInt::one(), |s, x| s.lcm(x.denom()));
    let mut a: Vec<Vec<BigInt>> = augmented
        .iter()
        .map(|row| row.iter().map(|x| x.numer() * (&scale / x.denom())).collect())
        .collect();
    let mut previous = BigInt::one();
    for k in 0..d {
        let pivot = (k..d).find(|&i| a[i][k].sign() != Sign::NoSign)?;
        a.swap(k, pivot);
        let pivot_row = a[k].clone();
        for (_, row) in a.iter_mut().enumerate().filter(|(i, _)| *i != k) {
            let factor = row[k].clone();
            for (x, p) in row.iter_mut().zip(&pivot_row) {
                *x = (&pivot_row[k] * &*x - &factor * p) / &previous;
            }
        }
        previous = pivot_row[k].clone();
    }
    Some(
        a.into_iter()
            .map(|row| {
                row[d..]
                    .iter()
                    .map(|x| Rational::new(x.clone(), previous.clone()))
                    .collect()
            })
            .collect(),
    )
}
