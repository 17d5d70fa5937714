//! Whether a summary is right: every part of it against the reference, within what the backend promises.
//!
//! Counts and extremes have to be equal. What is compared otherwise, with t the tolerance of the backend:
//!
//! - a mean within t sd, a variance within t of itself, and sums of third and fourth powers within 16 t of n sd³ and of
//!   themselves, as each of their factors may err as that of a square does, with binomial coefficients up to 6;
//! - the diagonal of a matrix within t of itself; the whole of it by Freivalds' check (1977): C v against Dᵀ(D v) for
//!   two vectors of random signs, each row within t √cᵢᵢ Σ |vⱼ| √cⱼⱼ, so that no entry can be wrong unseen; some single
//!   entries within t √(cᵢᵢ cⱼⱼ). Double-double products within 16 u, of which the reference may take 6;
//! - a quantile within 1 % of the two values that it lies between;
//! - a loss and its gradient within t of the sum of the absolute values of what they are summed from.

use super::reference::{PROBABILITIES, Reference, total};
use super::result::Verified;
use crate::backend::Tolerance;
use crate::batch::{Column, Values};
use crate::machine::runner::Task;
use crate::summary::{LossShape, Model, Moments, Order, RegressionMoments, Summary};

/// Of products in double-double: rounded once, and compared with a reference that errs by 6 u.
const EXACT_PRODUCTS: f64 = 16.0 * f64::EPSILON / 2.0;
/// The accuracy of a sketch, and a little for the rounding of its bounds.
const SKETCH: f64 = 0.01 * (1.0 + 1e-9);
/// Single entries of a matrix that are compared.
const ENTRIES: usize = 8;

/// The worst of several comparisons.
struct Worst {
    tolerance: f64,
    /// The largest error as a share of what is allowed.
    share: f64,
    failure: Option<String>,
}

impl Worst {
    fn near(&mut self, what: impl Fn() -> String, found: f64, expected: f64, allowed: f64) {
        let error = (found - expected).abs();
        // Nothing may be off where nothing is allowed; what is no number is wrong.
        let share = if error == 0.0 { 0.0 } else { error / allowed };
        if share.is_nan() || share > 1.0 {
            self.failure
                .get_or_insert_with(|| format!("{} is {found:e}, not {expected:e} within {allowed:e}", what()));
        }
        self.share = if share.is_nan() {
            f64::INFINITY
        } else {
            self.share.max(share)
        };
    }

    fn equal<T: PartialEq + std::fmt::Debug>(&mut self, what: impl Fn() -> String, found: T, expected: T) {
        if found != expected {
            self.failure
                .get_or_insert_with(|| format!("{} is {found:?}, not {expected:?}", what()));
            self.share = f64::INFINITY;
        }
    }
}

/// Compares the summary of a task with the reference of its rows.
pub fn verify(summary: &Summary, reference: &Reference, task: &Task, tolerance: Tolerance) -> Verified {
    let shape = &task.shape;
    let matrix = shape.comoments || !shape.regression.is_empty() || shape.loss.is_some();
    let exact = !shape.regression.is_empty() && shape.exact;
    let of_f32 = |column: &Column| matches!(column.values, Values::F32(_));
    let narrow = !shape.exact && task.batch.columns().iter().take(shape.columns).all(of_f32);
    let of_matrix = if narrow { tolerance.narrow } else { tolerance.comoments };
    let mut worst = Worst {
        tolerance: match (exact, matrix) {
            (true, _) => EXACT_PRODUCTS,
            (_, true) if shape.comoments => of_matrix,
            (_, true) => tolerance.comoments,
            _ => tolerance.moments,
        },
        share: 0.0,
        failure: None,
    };
    let n = reference.rows();
    worst.equal(|| "the number of rows".into(), summary.rows, n as u64);
    worst.equal(|| "the number of columns".into(), summary.columns.len(), shape.columns);
    for (c, found) in summary.columns.iter().enumerate().take(shape.columns) {
        moments(
            &mut worst,
            &|| format!("of column {c}"),
            found,
            reference.column(c),
            n,
            tolerance.moments,
        );
    }
    if shape.comoments {
        let all: Vec<usize> = (0..shape.columns).collect();
        match &summary.comoments {
            Some(m) if m.dimension() == shape.columns => {
                let product = |i: usize, j: usize| m.product(i, j);
                worst.equal(|| "the rows of the matrix".into(), m.rows, n as u64);
                products(&mut worst, &product, &all, reference, of_matrix);
            }
            _ => worst.equal(|| "the matrix".into(), "missing", "there"),
        }
    }
    if !shape.regression.is_empty() {
        match &summary.regression {
            Some(m) if m.dimension() != shape.regression.len() => {
                worst.equal(|| "the regression".into(), m.dimension(), shape.regression.len());
            }
            Some(RegressionMoments::Exact(m)) => {
                let product = |i: usize, j: usize| m.product(i, j).hi;
                products(&mut worst, &product, &shape.regression, reference, EXACT_PRODUCTS);
            }
            Some(RegressionMoments::Fast(m)) if !shape.exact => {
                let product = |i: usize, j: usize| m.product(i, j);
                products(&mut worst, &product, &shape.regression, reference, tolerance.comoments);
            }
            _ => worst.equal(|| "the regression".into(), "missing", "there"),
        }
    }
    if shape.differences {
        worst.equal(
            || "columns with differences".into(),
            summary.differences.len(),
            shape.columns,
        );
        for (c, found) in summary.differences.iter().enumerate().take(shape.columns) {
            worst.equal(|| format!("unordered rows of column {c}"), found.unordered, 0);
            if let Some(expected) = reference.differences(c) {
                let what = || format!("of the differences of column {c}");
                moments(&mut worst, &what, &found.moments, &expected, n - 1, tolerance.moments);
            }
        }
    }
    if shape.quantiles {
        worst.equal(
            || "columns with quantiles".into(),
            summary.quantiles.len(),
            shape.columns,
        );
        for (c, found) in summary.quantiles.iter().enumerate().take(shape.columns) {
            quantiles(&mut worst, c, found, reference);
        }
    }
    if let Some(of) = &shape.loss {
        loss(
            &mut worst,
            summary,
            of,
            task.weights.as_deref().unwrap_or(&[]),
            reference,
            tolerance.comoments,
        );
    }
    Verified {
        ok: worst.failure.is_none(),
        error: worst.share * worst.tolerance,
        tolerance: worst.tolerance,
        failure: worst.failure,
    }
}

fn moments(
    worst: &mut Worst,
    of: &dyn Fn() -> String,
    found: &Moments,
    expected: &super::reference::Column,
    n: usize,
    t: f64,
) {
    worst.equal(|| format!("the count {}", of()), found.count, n as u64);
    let others = (found.missing, found.positive_infinite, found.negative_infinite);
    worst.equal(|| format!("missing and infinite values {}", of()), others, (0, 0, 0));
    worst.equal(|| format!("the least {}", of()), found.least(), Some(expected.min));
    worst.equal(
        || format!("the greatest {}", of()),
        found.greatest(),
        Some(expected.max),
    );
    let (mean, sd) = (expected.mean.value(), expected.std(n));
    let rounding = f64::EPSILON * mean.abs();
    let found_mean = found.mean().unwrap_or(f64::NAN);
    worst.near(|| format!("the mean {}", of()), found_mean, mean, t * sd + rounding);
    let variance = found.variance(0).unwrap_or(f64::NAN);
    let exact = expected.m2 / n as f64;
    worst.near(|| format!("the variance {}", of()), variance, exact, t * exact);
    if found.order == Order::Fourth && found.scale == 0 {
        let cube = n as f64 * sd.powi(3);
        worst.near(|| format!("m3 {}", of()), found.m3, expected.m3, 16.0 * t * cube);
        worst.near(|| format!("m4 {}", of()), found.m4, expected.m4, 16.0 * t * expected.m4);
    }
}

fn products(
    worst: &mut Worst,
    product: &dyn Fn(usize, usize) -> f64,
    columns: &[usize],
    reference: &Reference,
    t: f64,
) {
    let d = columns.len();
    let m2: Vec<f64> = columns.iter().map(|c| reference.column(*c).m2).collect();
    for (i, m2) in m2.iter().enumerate() {
        worst.near(|| format!("product ({i}, {i})"), product(i, i), *m2, t * m2);
    }
    for k in 0..ENTRIES.min(d) {
        let (i, j) = (k * 5 % d, (k * 11 + 3) % d);
        let exact = reference.product(columns[i], columns[j]);
        let allowed = t * (m2[i] * m2[j]).sqrt();
        worst.near(|| format!("product ({i}, {j})"), product(i, j), exact, allowed);
    }
    for round in 0..2u64 {
        // Powers of two, so that only the sums round; about 1 / sd, so that every column counts alike.
        let sign = |j: usize| {
            if (j as u64 * 0x9e37_79b9 + round * 0x85eb_ca6b) >> 7 & 1 == 0 {
                1.0
            } else {
                -1.0
            }
        };
        let size = |j: usize| {
            if m2[j] > 0.0 {
                (-m2[j].sqrt().log2().round()).exp2()
            } else {
                1.0
            }
        };
        let v: Vec<f64> = (0..d).map(|j| sign(j) * size(j)).collect();
        let expected = reference.matrix_times(columns, &v);
        let weight: f64 = (0..d).map(|j| v[j].abs() * m2[j].sqrt()).sum();
        for i in 0..d {
            let found = total(d, |j| product(i, j) * v[j]);
            worst.near(
                || format!("row {i} of the matrix"),
                found,
                expected[i],
                t * m2[i].sqrt() * weight,
            );
        }
    }
}

fn quantiles(worst: &mut Worst, column: usize, found: &crate::summary::Quantiles, reference: &Reference) {
    let count = || format!("quantiles' count of column {column}");
    worst.equal(count, found.count(), reference.rows() as u64);
    let bounds = reference.quantile_bounds(column);
    for (i, found) in found.at(&PROBABILITIES).into_iter().enumerate() {
        let (low, high) = bounds[i];
        let within = (low - SKETCH * low.abs())..=(high + SKETCH * high.abs());
        let found = found.unwrap_or(f64::NAN);
        if !within.contains(&found) {
            let what = || format!("quantile {} of column {column}", PROBABILITIES[i]);
            worst.near(what, found, low, 0.0);
        }
    }
}

fn loss(worst: &mut Worst, summary: &Summary, of: &LossShape, weights: &[f64], reference: &Reference, t: f64) {
    let Some(found) = &summary.loss else {
        worst.equal(|| "the loss".into(), "missing", "there");
        return;
    };
    let n = reference.rows();
    let target = reference.values(of.target);
    let (mut z, mut size) = (vec![0.0; n], vec![0.0; n]);
    let ones = vec![1.0; n];
    let terms: Vec<&[f64]> = of
        .intercept
        .then_some(&ones[..])
        .into_iter()
        .chain(of.terms.iter().map(|term| reference.values(*term)))
        .collect();
    for (weight, term) in weights.iter().zip(&terms) {
        for ((z, size), x) in z.iter_mut().zip(&mut size).zip(*term) {
            *z += weight * x;
            *size += (weight * x).abs();
        }
    }
    let (mut residual, mut losses) = (Vec::with_capacity(n), Vec::with_capacity(n));
    for (z, y) in z.iter().zip(target) {
        let (r, l): (f64, f64) = match of.model {
            Model::Linear => (z - y, 0.5 * (z - y) * (z - y)),
            Model::Logistic => (
                1.0 / (1.0 + (-z).exp()) - y,
                z.max(0.0) + (-z.abs()).exp().ln_1p() - y * z,
            ),
        };
        residual.push(r);
        losses.push(l);
    }
    worst.equal(|| "the rows of the loss".into(), found.rows, n as u64);
    worst.equal(
        || "the weights of the gradient".into(),
        found.gradient.len(),
        terms.len(),
    );
    // A residual errs by roundings of what it is the difference of.
    let size = |r: usize| size[r] + target[r].abs();
    let allowed = t * total(n, |r| losses[r].abs() + size(r) * size(r));
    worst.near(|| "the loss".into(), found.loss, total(n, |r| losses[r]), allowed);
    for (k, (found, term)) in found.gradient.iter().zip(&terms).enumerate() {
        let exact = total(n, |r| residual[r] * term[r]);
        let allowed = t * total(n, |r| size(r) * term[r].abs());
        worst.near(|| format!("gradient {k}"), *found, exact, allowed);
    }
}
