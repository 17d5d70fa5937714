//! Sums and sums of squares without any rounding, and quotients of them rounded once.
//!
//! Values are multiples of 2^-shift, so what is added up are whole numbers, in pieces of 64 bits with room above. At the
//! end mean and variance are quotients of whole numbers, divided by long division and rounded to the nearest `f64`.

/// Room for n · Σx² with x below 2^104 and n below 2^64, shifted by [`EXTRA_BITS`].
const LIMBS: usize = 12;

/// A quotient by two divisors of 64 bits has at least half as many bits behind this shift: more than `f64` holds.
const EXTRA_BITS: usize = 256;

const LOW: u128 = u64::MAX as u128;

/// Everything that the moments of a column are made of, exactly.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sums {
    /// Values.
    pub(super) count: u64,
    /// Rows without one.
    pub(super) missing: u64,
    /// Σx in units of 2^64 and of 1.
    sum: (i128, u128),
    /// Σx² in units of 1, 2^64 and 2^128.
    squares: [u128; 3],
    /// The least and the greatest value.
    pub(super) range: (f64, f64),
}

impl Default for Sums {
    fn default() -> Self {
        Self {
            count: 0,
            missing: 0,
            sum: (0, 0),
            squares: [0; 3],
            range: (f64::INFINITY, f64::NEG_INFINITY),
        }
    }
}

impl Sums {
    /// Adds one value, a multiple of 2^-shift below 2^(104 − shift); NaN is a missing one.
    #[inline]
    pub(super) fn add(&mut self, value: f64, shift: u32) {
        if value.is_nan() {
            self.missing += 1;
            return;
        }
        self.count += 1;
        self.range = (self.range.0.min(value), self.range.1.max(value));
        let k = whole(value, shift);
        self.sum.0 += k >> 64;
        self.sum.1 += k as u128 & LOW;
        let magnitude = k.unsigned_abs();
        let (high, low) = (magnitude >> 64, magnitude & LOW);
        let square = low * low;
        self.squares[0] += square & LOW;
        self.squares[1] += square >> 64;
        if high > 0 {
            let mixed = high * low;
            self.squares[1] += 2 * (mixed & LOW);
            self.squares[2] += 2 * (mixed >> 64) + high * high;
        }
    }

    /// Adds what others are made of.
    pub(super) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.missing += other.missing;
        self.sum.0 += other.sum.0;
        self.sum.1 += other.sum.1;
        self.squares.iter_mut().zip(other.squares).for_each(|(a, b)| *a += b);
        self.range = (self.range.0.min(other.range.0), self.range.1.max(other.range.1));
    }

    /// Σx: whether it is negative, and its magnitude.
    fn total(&self) -> (bool, Big) {
        magnitude(self.sum)
    }

    /// Σx.
    pub(super) fn sum(&self, shift: u32) -> f64 {
        let (negative, magnitude) = self.total();
        signed(negative, magnitude.quotient(&[], -(shift as i32)))
    }

    /// Σx / n; none without values.
    pub(super) fn mean(&self, shift: u32) -> Option<f64> {
        let (negative, magnitude) = self.total();
        let mean = (self.count > 0).then(|| magnitude.quotient(&[self.count], -(shift as i32)));
        mean.map(|x| signed(negative, x))
    }

    /// (Σx² − (Σx)² / n) / (n − 1) = (n Σx² − (Σx)²) / (n (n − 1)); none below two values.
    pub(super) fn variance(&self, shift: u32) -> Option<f64> {
        if self.count < 2 {
            return None;
        }
        let mut numerator = Big::default();
        for (i, part) in self.squares.iter().enumerate() {
            numerator.add(*part, i);
        }
        let mut numerator = numerator.times(&Big::from(self.count));
        let (_, total) = self.total();
        numerator.subtract(&total.times(&total));
        Some(numerator.quotient(&[self.count, self.count - 1], -2 * shift as i32))
    }
}

/// Sums of products of several columns, exactly; for complete rows of values below 2^62 / 2^shift.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Products {
    /// For each pair i ≤ j, by rows of the upper triangle, Σ x_i x_j in units of 2^64 and of 1.
    sums: Vec<(i128, u128)>,
}

impl Products {
    pub(super) fn new(columns: usize) -> Self {
        Self {
            sums: vec![(0, 0); columns * (columns + 1) / 2],
        }
    }

    /// Adds one row; `row` holds its values as whole numbers.
    pub(super) fn add(&mut self, row: &[i64]) {
        let mut sums = self.sums.iter_mut();
        for (i, a) in row.iter().enumerate() {
            for (b, sum) in row[i..].iter().zip(&mut sums) {
                let product = i128::from(*a) * i128::from(*b);
                sum.0 += product >> 64;
                sum.1 += product as u128 & LOW;
            }
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (a, b) in self.sums.iter_mut().zip(&other.sums) {
            *a = (a.0 + b.0, a.1 + b.1);
        }
    }

    /// (n Σxy − Σx Σy) / (n (n − 1)) of every pair; none below two rows.
    pub(super) fn covariances(&self, columns: &[Sums], shift: u32) -> Vec<Vec<Option<f64>>> {
        let d = columns.len();
        let n = columns.first().map_or(0, |sums| sums.count);
        let mut matrix = vec![vec![None; d]; d];
        if n < 2 {
            return matrix;
        }
        let pairs = (0..d).flat_map(|i| (i..d).map(move |j| (i, j)));
        for ((i, j), sum) in pairs.zip(&self.sums) {
            let (negative, product) = magnitude(*sum);
            let product = (negative, product.times(&Big::from(n)));
            let ((p, a), (q, b)) = (columns[i].total(), columns[j].total());
            let (negative, numerator) = difference(product, (p != q, a.times(&b)));
            let covariance = signed(negative, numerator.quotient(&[n, n - 1], -2 * shift as i32));
            matrix[i][j] = Some(covariance);
            matrix[j][i] = Some(covariance);
        }
        matrix
    }
}

/// `value` · 2^shift of a value that [`Products`] takes.
pub(super) fn small(value: f64, shift: u32) -> i64 {
    whole(value, shift) as i64
}

/// a − b, each as a sign and a magnitude.
fn difference((p, a): (bool, Big), (q, b): (bool, Big)) -> (bool, Big) {
    let (mut large, small) = match (p == q, a.is_below(&b)) {
        (false, _) => {
            // a − (−b) = a + b, with the sign of a.
            let mut sum = a;
            for (i, limb) in b.0.iter().enumerate().filter(|(_, limb)| **limb > 0) {
                sum.add(u128::from(*limb), i);
            }
            return (p, sum);
        }
        (true, false) => (a, b),
        (true, true) => (b, a),
    };
    let negative = p != a.is_below(&b);
    large.subtract(&small);
    (negative, large)
}

/// A sum in units of 2^64 and of 1 as a sign and a magnitude.
fn magnitude((high, low): (i128, u128)) -> (bool, Big) {
    // The lower part can be carried up without leaving the range: it holds n · 2^64 at most.
    let (high, low) = (high + (low >> 64) as i128, low & LOW);
    let mut magnitude = Big::default();
    magnitude.add(high.unsigned_abs(), 1);
    if high >= 0 {
        magnitude.add(low, 0);
    } else {
        // −(high · 2^64 + low) = (−high) · 2^64 − low.
        let mut subtrahend = Big::default();
        subtrahend.add(low, 0);
        magnitude.subtract(&subtrahend);
    }
    (high < 0, magnitude)
}

fn signed(negative: bool, magnitude: f64) -> f64 {
    if negative { -magnitude } else { magnitude }
}

/// `value` · 2^shift, which is whole.
#[inline]
fn whole(value: f64, shift: u32) -> i128 {
    let bits = value.to_bits();
    let exponent = (bits >> 52 & 0x7ff) as i32;
    if exponent == 0 {
        // Zero; a smaller number than any normal one is on no grid.
        return 0;
    }
    let significand = (bits & ((1 << 52) - 1) | 1 << 52) as i128;
    let places = exponent - 1075 + shift as i32;
    let magnitude = if places >= 0 {
        significand << places
    } else {
        significand >> -places
    };
    if value < 0.0 { -magnitude } else { magnitude }
}

/// A whole number from 0, in limbs of 64 bits, the lowest first.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Big([u64; LIMBS]);

impl From<u64> for Big {
    fn from(number: u64) -> Self {
        let mut big = Self::default();
        big.0[0] = number;
        big
    }
}

impl Big {
    /// Adds `number` · 2^(64 · limb).
    fn add(&mut self, number: u128, limb: usize) {
        let mut carry = number;
        for place in &mut self.0[limb..] {
            // The upper half of the number goes on with the carry.
            let sum = u128::from(*place) + (carry & LOW);
            *place = sum as u64;
            carry = (carry >> 64) + (sum >> 64);
            if carry == 0 {
                return;
            }
        }
        assert!(carry == 0, "sums of values of this magnitude fit the limbs");
    }

    fn subtract(&mut self, other: &Self) {
        let mut borrow = false;
        for (a, b) in self.0.iter_mut().zip(other.0) {
            let (difference, first) = a.overflowing_sub(b);
            let (difference, second) = difference.overflowing_sub(u64::from(borrow));
            *a = difference;
            borrow = first || second;
        }
        assert!(!borrow, "what is subtracted is never the greater");
    }

    fn is_below(&self, other: &Self) -> bool {
        self.0.iter().rev().lt(other.0.iter().rev())
    }

    fn times(&self, other: &Self) -> Self {
        let mut product = Self::default();
        for (i, a) in self.0.iter().enumerate().filter(|(_, a)| **a > 0) {
            for (j, b) in other.0.iter().enumerate().filter(|(_, b)| **b > 0) {
                product.add(u128::from(*a) * u128::from(*b), i + j);
            }
        }
        product
    }

    /// Divides by `divisor`; whether something is left over.
    fn divide(&mut self, divisor: u64) -> bool {
        let mut rest = 0u128;
        for limb in self.0.iter_mut().rev() {
            let dividend = rest << 64 | u128::from(*limb);
            *limb = (dividend / u128::from(divisor)) as u64;
            rest = dividend % u128::from(divisor);
        }
        rest > 0
    }

    /// This · 2^exponent over the product of the divisors, rounded once, to even in a tie. The exponents of results are
    /// those of ordinary numbers.
    fn quotient(mut self, divisors: &[u64], exponent: i32) -> f64 {
        const EXTRA_LIMBS: usize = EXTRA_BITS / 64;
        assert!(
            self.0[LIMBS - EXTRA_LIMBS..].iter().all(|limb| *limb == 0),
            "sums of values of this magnitude leave room"
        );
        self.0.rotate_right(EXTRA_LIMBS);
        // ⌊⌊x / a⌋ / b⌋ is ⌊x / (a b)⌋, and it is exact if and only if both divisions are.
        let mut more = false;
        for divisor in divisors {
            more |= self.divide(*divisor);
        }
        let Some(top) = self.0.iter().rposition(|limb| *limb > 0) else {
            return 0.0;
        };
        let zeros = self.0[top].leading_zeros();
        let below = if top == 0 { 0 } else { self.0[top - 1] };
        let leading = (u128::from(self.0[top]) << 64 | u128::from(below)) << zeros;
        let (leading, rest) = ((leading >> 64) as u64, leading as u64);
        more |= rest > 0 || self.0[..top.saturating_sub(1)].iter().any(|limb| *limb > 0);
        // 64 bits become 53.
        let (mut significand, cut) = (leading >> 11, leading & 0x7ff);
        let half = 0x400;
        if cut > half || (cut == half && (more || significand & 1 == 1)) {
            significand += 1;
        }
        let places = 64 * top as i32 - zeros as i32 + 11 - EXTRA_BITS as i32 + exponent;
        significand as f64 * 2f64.powi(places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use num_rational::BigRational;
    use num_traits::ToPrimitive;

    /// The same from the definition, in rational numbers.
    fn by_definition(values: &[f64]) -> (f64, f64, f64) {
        let values: Vec<BigRational> = values.iter().map(|x| BigRational::from_float(*x).unwrap()).collect();
        let n = BigRational::from_float(values.len() as f64).unwrap();
        let sum: BigRational = values.iter().sum();
        let mean = &sum / &n;
        let squares: BigRational = values.iter().map(|x| (x - &mean) * (x - &mean)).sum();
        let variance = squares / (n - BigRational::from_float(1.0).unwrap());
        let to_f64 = |x: BigRational| x.to_f64().unwrap();
        (to_f64(sum), to_f64(mean), to_f64(variance))
    }

    #[test]
    fn moments_are_those_of_rational_numbers() {
        let mut bits = 0x1234_5678_9abc_def1u64;
        let mut random = move || {
            bits ^= bits << 13;
            bits ^= bits >> 7;
            bits ^= bits << 17;
            bits
        };
        // (shift, what makes a value of 64 random bits)
        type Make = fn(u64) -> f64;
        let cases: [(u32, Make); 5] = [
            (10, |b| (b % 40_000) as f64 / 1024.0 - 20.0),
            (10, |b| 1e9 + (b % 4096) as f64 / 1024.0),
            (0, |b| ((b >> 15) as f64) * if b & 1 == 0 { 1.0 } else { -1.0 }),
            (63, |b| (b % 100_000) as f64 / 1000.0 - 30.0),
            (83, |b| (b % 1_000_000_000_000) as f64 / 1e9 - 500.0),
        ];
        for (shift, make) in cases {
            for n in [2usize, 3, 10, 257] {
                let values: Vec<f64> = (0..n).map(|_| make(random())).collect();
                let (mut left, mut right) = (Sums::default(), Sums::default());
                for (i, x) in values.iter().enumerate() {
                    if i < n / 3 { &mut left } else { &mut right }.add(*x, shift);
                }
                left.add(f64::NAN, shift);
                left.merge(&right);
                let (sum, mean, variance) = by_definition(&values);
                assert_eq!((left.count, left.missing), (n as u64, 1));
                assert_eq!(left.sum(shift), sum, "shift {shift}, {n} values");
                assert_eq!(left.mean(shift), Some(mean), "shift {shift}, {n} values");
                assert_eq!(left.variance(shift), Some(variance), "shift {shift}, {n} values");
                let least = values.iter().copied().fold(f64::INFINITY, f64::min);
                assert_eq!(left.range.0, least);
            }
        }
    }

    #[test]
    fn covariances_are_those_of_rational_numbers() {
        // Values around 0 and far from it, that rise and fall together or not at all.
        let row = |i: i64| {
            [
                (i * 7919) % 4096 - 2048,
                -3 * ((i * 7919) % 4096) + i % 5,
                (1 << 40) + i % 3,
                77,
            ]
        };
        for n in [2, 3, 100i64] {
            let (mut sums, mut left, mut right) = (vec![Sums::default(); 4], Products::new(4), Products::new(4));
            let mut columns = vec![Vec::new(); 4];
            for i in 0..n {
                if i < n / 2 { &mut left } else { &mut right }.add(&row(i));
                for (c, k) in row(i).into_iter().enumerate() {
                    let value = k as f64 / 1024.0;
                    assert_eq!(small(value, 10), k);
                    sums[c].add(value, 10);
                    columns[c].push(BigRational::from_float(value).unwrap());
                }
            }
            left.merge(&right);
            let number = |x: f64| BigRational::from_float(x).unwrap();
            let means: Vec<_> = columns
                .iter()
                .map(|x| x.iter().sum::<BigRational>() / number(n as f64))
                .collect();
            let found = left.covariances(&sums, 10);
            for i in 0..4 {
                for j in 0..4 {
                    let pairs = columns[i].iter().zip(&columns[j]);
                    let sum: BigRational = pairs.map(|(x, y)| (x - &means[i]) * (y - &means[j])).sum();
                    let want = (sum / number((n - 1) as f64)).to_f64().unwrap();
                    assert_eq!(found[i][j], Some(want), "{n} rows, columns {i} and {j}");
                }
            }
        }
        assert_eq!(Products::new(1).covariances(&[Sums::default()], 10), [[None]]);
    }

    #[test]
    fn few_values_and_equal_ones() {
        let mut sums = Sums::default();
        assert_eq!((sums.sum(10), sums.mean(10), sums.variance(10)), (0.0, None, None));
        sums.add(-0.5, 10);
        assert_eq!(
            (sums.sum(10), sums.mean(10), sums.variance(10)),
            (-0.5, Some(-0.5), None)
        );
        (0..1000).for_each(|_| sums.add(-0.5, 10));
        assert_eq!((sums.sum(10), sums.variance(10)), (-500.5, Some(0.0)));
    }

    #[test]
    fn quotients_are_rounded_to_even() {
        let third = Big::from(1).quotient(&[3], 0);
        assert_eq!(third, 1.0 / 3.0);
        let odd = (1u64 << 53) + 1;
        assert_eq!(Big::from(odd).quotient(&[], 0), 9_007_199_254_740_992.0);
        assert_eq!(Big::from(odd + 2).quotient(&[], 0), 9_007_199_254_740_996.0);
        assert_eq!(Big::from(u64::MAX).quotient(&[], 0), 2f64.powi(64));
        assert_eq!(Big::from(7).quotient(&[7, 1 << 40], 0), 2f64.powi(-40));
        assert_eq!(whole(-1.5, 1), -3);
        assert_eq!(whole(0.1, 56), 0.1f64.to_bits() as i128 & ((1 << 52) - 1) | 1 << 52);
    }
}
