//! What the results should be, computed on the host by the plainest method there is, without any code of the backends.
//!
//! Two passes: the mean in twice the working precision, then sums over deviations from it. Every sum is compensated
//! (Neumaier 1974: the rounding errors are added up beside it), so its own error is that of its terms: two units of
//! roundoff of a deviation (u = 2⁻⁵³), one of a product. A sum of products of deviations of i and j is thereby within
//! 6 u √(cᵢᵢ cⱼⱼ).

use crate::batch::Batch;
use std::cell::OnceCell;

/// Sums that run side by side.
const LANES: usize = 8;

/// Σ f(i) for i below n, as the sum and what rounding took from it.
pub(super) fn sum(n: usize, f: impl Fn(usize) -> f64) -> (f64, f64) {
    let mut high = [0.0; LANES];
    let mut low = [0.0; LANES];
    let mut add = |lane: usize, x: f64| {
        let next = high[lane] + x;
        let of_high = next - x;
        low[lane] += (high[lane] - of_high) + (x - (next - of_high));
        high[lane] = next;
    };
    let whole = n / LANES * LANES;
    for i in (0..whole).step_by(LANES) {
        for lane in 0..LANES {
            add(lane, f(i + lane));
        }
    }
    for i in whole..n {
        add(i - whole, f(i));
    }
    let (mut total, mut rest) = (0.0, low.iter().sum::<f64>());
    for x in high {
        let next: f64 = total + x;
        let of_total = next - x;
        rest += (total - of_total) + (x - (next - of_total));
        total = next;
    }
    (total, rest)
}

pub(super) fn total(n: usize, f: impl Fn(usize) -> f64) -> f64 {
    let (high, low) = sum(n, f);
    high + low
}

/// A mean as the sum of two numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mean {
    high: f64,
    low: f64,
}

impl Mean {
    fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let (high, low) = sum(values.len(), |i| values[i]);
        let mean = (high + low) / n;
        // What the quotient lacks: the mean of the deviations from it.
        let rest = total(values.len(), |i| values[i] - mean) / n;
        Self { high: mean, low: rest }
    }

    /// x less the mean.
    #[inline]
    pub fn deviation(self, x: f64) -> f64 {
        (x - self.high) - self.low
    }

    /// Rounded once.
    pub fn value(self) -> f64 {
        self.high + self.low
    }
}

/// The moments of some values: their mean, and sums of powers of their deviations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Column {
    /// The mean.
    pub mean: Mean,
    /// The sum of squares of deviations.
    pub m2: f64,
    /// The sum of their cubes.
    pub m3: f64,
    /// The sum of their fourth powers.
    pub m4: f64,
    /// The least value.
    pub min: f64,
    /// The greatest value.
    pub max: f64,
}

impl Column {
    /// Of these values, of which there is at least one.
    pub fn of(values: &[f64]) -> Self {
        let (n, mean) = (values.len(), Mean::of(values));
        let power = |k: i32| total(n, |i| mean.deviation(values[i]).powi(k));
        Self {
            mean,
            m2: power(2),
            m3: power(3),
            m4: power(4),
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    }

    /// The standard deviation, with divisor n.
    pub fn std(&self, n: usize) -> f64 {
        (self.m2 / n as f64).sqrt()
    }
}

/// Rows, and what is needed of them for every comparison.
#[derive(Debug, Clone)]
pub struct Reference {
    values: Vec<Vec<f64>>,
    columns: Vec<Column>,
    /// By column: for every one of [`PROBABILITIES`] the two values between which its quantile lies.
    bounds: Vec<OnceCell<Vec<(f64, f64)>>>,
}

/// The quantiles that are compared.
pub(super) const PROBABILITIES: [f64; 7] = [0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0];

impl Reference {
    /// Of a batch with at least one row, without missing values.
    pub fn new(batch: &Batch) -> Self {
        let column = |c: &crate::batch::Column| (0..c.len()).map(|i| c.get(i)).collect();
        let values: Vec<Vec<f64>> = batch.columns().iter().map(column).collect();
        Self {
            columns: values.iter().map(|v| Column::of(v)).collect(),
            bounds: vec![OnceCell::new(); values.len()],
            values,
        }
    }

    /// The values of a column.
    pub fn values(&self, column: usize) -> &[f64] {
        &self.values[column]
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.values.first().map_or(0, Vec::len)
    }

    /// The moments of a column.
    pub fn column(&self, column: usize) -> &Column {
        &self.columns[column]
    }

    /// The values between which the quantiles at [`PROBABILITIES`] lie.
    pub(super) fn quantile_bounds(&self, column: usize) -> &[(f64, f64)] {
        self.bounds[column].get_or_init(|| {
            let mut sorted = self.values[column].clone();
            sorted.sort_unstable_by(f64::total_cmp);
            let at = |p: f64| {
                let place = p * (sorted.len() - 1) as f64;
                (sorted[place.floor() as usize], sorted[place.ceil() as usize])
            };
            PROBABILITIES.map(at).to_vec()
        })
    }

    /// The moments of the differences between adjacent rows; `None` for one row.
    pub fn differences(&self, column: usize) -> Option<Column> {
        let values = &self.values[column];
        let differences: Vec<f64> = values.windows(2).map(|w| w[1] - w[0]).collect();
        (!differences.is_empty()).then(|| Column::of(&differences))
    }

    /// Σ of products of deviations of two columns.
    pub fn product(&self, i: usize, j: usize) -> f64 {
        let (x, y) = (&self.values[i], &self.values[j]);
        let (a, b) = (self.columns[i].mean, self.columns[j].mean);
        total(x.len(), |r| a.deviation(x[r]) * b.deviation(y[r]))
    }

    /// C v for the matrix C of such sums over `columns`, without making the matrix: Dᵀ(D v), where D holds deviations.
    pub fn matrix_times(&self, columns: &[usize], v: &[f64]) -> Vec<f64> {
        let rows = self.rows();
        let (mut high, mut low) = (vec![0.0; rows], vec![0.0; rows]);
        for (column, v) in columns.iter().zip(v) {
            let mean = self.columns[*column].mean;
            for ((high, low), x) in high.iter_mut().zip(&mut low).zip(&self.values[*column]) {
                let x = mean.deviation(*x) * v;
                let next: f64 = *high + x;
                let of_high = next - x;
                *low += (*high - of_high) + (x - (next - of_high));
                *high = next;
            }
        }
        let times = |column: &usize| {
            let (mean, x) = (self.columns[*column].mean, &self.values[*column]);
            total(rows, |r| mean.deviation(x[r]) * (high[r] + low[r]))
        };
        columns.iter().map(times).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_is_right_where_the_answer_is_known() {
        // 1 to 100, far from 0: mean 50.5, m2 = n(n²−1)/12, m4 = m2 (3n²−7)/20.
        let values: Vec<f64> = (1..=100).map(|i| 1e9 + f64::from(i)).collect();
        let batch = Batch::from_columns([("a", values.clone()), ("b", values.iter().map(|x| -x).collect())]).unwrap();
        let reference = Reference::new(&batch);
        let a = reference.column(0);
        assert_eq!(a.mean.value(), 1e9 + 50.5);
        assert_eq!((a.m2, a.m3, a.m4), (83_325.0, 0.0, 83_325.0 * 29_993.0 / 20.0));
        assert_eq!((a.min, a.max), (1e9 + 1.0, 1e9 + 100.0));
        assert_eq!(reference.product(0, 1), -83_325.0);
        assert_eq!(reference.matrix_times(&[0, 1], &[2.0, -1.0]), [249_975.0, -249_975.0]);
        let d = reference.differences(0).unwrap();
        assert_eq!((d.mean.value(), d.m2), (1.0, 0.0));
    }

    #[test]
    fn a_sum_keeps_what_rounding_takes() {
        let values = [1.0, 1e100, 1.0, -1e100];
        assert_eq!(total(32, |i| values[i / 8 % 4]), 16.0);
        assert_eq!(total(0, |_| 1.0), 0.0);
    }
}
