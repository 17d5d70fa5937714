//! The loss of a model and its gradient over a run of rows, for given weights.
//!
//! Columns are read as they lie, a few hundred rows at a time, which stay in the first-level cache: first z = Xw column
//! by column, then loss and residual row by row, then Xᵀr column by column, in sixteen sums side by side that are added
//! up in a fixed tree. There is no fused multiplication, so the result does not depend on the machine's vectors. A run
//! with missing or infinite values is compacted first: it shows by a loss that is not finite, as 0 · ∞, ∞ − ∞ and every
//! sum with NaN are not.
//!
//! The logistic loss and its residual are written in t = e^−|z| ≤ 1, which neither overflows nor cancels: with
//! q = t / (1 + t), log(1 + eᶻ) − y z = log(1 + t) + (max(z, 0) − y z), and 1 / (1 + e⁻ᶻ) is 1 − q for z ≥ 0, else q.

use super::leaf::{Leaf, LeafColumn, Run};
use super::moments::{LANES, Lane, tree};
use super::prefetch;
use crate::summary::{Loss, LossShape, Model};
use pulp::{Arch, NullaryFnOnce};

/// Rows that go through together: 2 KiB of residuals, and as much of each column in turn.
const STEP_ROWS: usize = 16 * LANES;

/// Loss and gradient over the complete rows of a leaf; one weight for the intercept, where there is one, then one a
/// term.
pub(super) fn of_leaf(leaf: &Leaf<'_>, shape: &LossShape, weights: &[f64]) -> Loss {
    let rows = leaf.rows();
    let column = |i: &usize| leaf.column(*i);
    let columns: Vec<LeafColumn<'_>> = shape.terms.iter().chain([&shape.target]).map(column).collect();
    if columns.iter().all(|c| !c.has_nulls()) {
        let lanes: Vec<Run<'_>> = columns.iter().flat_map(|c| c.runs(0..rows)).collect();
        // Rows that are reduced again and again lie in one run.
        if lanes.len() == columns.len() {
            let loss = sums(&lanes, shape, weights);
            if loss.loss.is_finite() {
                return loss;
            }
        }
    }
    let is_complete = |i: &usize| columns.iter().all(|c| c.get(*i).is_finite());
    let complete: Vec<usize> = (0..rows).filter(is_complete).collect();
    let gathered: Vec<Vec<f64>> = columns
        .iter()
        .map(|c| complete.iter().map(|i| c.get(*i)).collect())
        .collect();
    let lanes: Vec<Run<'_>> = gathered.iter().map(|v| Run::F64(v)).collect();
    sums(&lanes, shape, weights)
}

/// Of columns without gaps, the last of which is the target.
fn sums(columns: &[Run<'_>], shape: &LossShape, weights: &[f64]) -> Loss {
    let Some((target, terms)) = columns.split_last() else {
        return Loss::new(weights.len());
    };
    let (intercept, slopes) = match weights.split_first() {
        Some((first, rest)) if shape.intercept => (*first, rest),
        _ => (0.0, weights),
    };
    let sums = Sums {
        model: shape.model,
        terms,
        target: *target,
        intercept,
        slopes,
    };
    let (loss, residual, gradient) = Arch::new().dispatch(sums);
    Loss {
        rows: target.len() as u64,
        loss,
        gradient: shape
            .intercept
            .then_some(residual)
            .into_iter()
            .chain(gradient)
            .collect(),
    }
}

struct Sums<'a> {
    model: Model,
    terms: &'a [Run<'a>],
    target: Run<'a>,
    intercept: f64,
    slopes: &'a [f64],
}

impl NullaryFnOnce for Sums<'_> {
    /// Loss, Σ residual, Xᵀ residual.
    type Output = (f64, f64, Vec<f64>);

    #[inline(always)]
    fn call(self) -> Self::Output {
        let mut loss = [0.0; LANES];
        let mut residual = [0.0; LANES];
        let mut gradient = vec![[0.0; LANES]; self.terms.len()];
        let mut step = [0.0; STEP_ROWS];
        let rows = self.target.len();
        for start in (0..rows).step_by(STEP_ROWS) {
            let end = rows.min(start + STEP_ROWS);
            let step = &mut step[..end - start];
            step.fill(self.intercept);
            for (term, slope) in self.terms.iter().zip(self.slopes) {
                match term {
                    Run::F64(v) => add_product(step, &v[start..end], *slope),
                    Run::F32(v) => add_product(step, &v[start..end], *slope),
                }
            }
            match self.target {
                Run::F64(v) => residuals(self.model, step, &v[start..end], &mut loss),
                Run::F32(v) => residuals(self.model, step, &v[start..end], &mut loss),
            }
            add(&mut residual, step);
            for (term, sums) in self.terms.iter().zip(&mut gradient) {
                match term {
                    Run::F64(v) => add_dot(sums, step, &v[start..end]),
                    Run::F32(v) => add_dot(sums, step, &v[start..end]),
                }
            }
        }
        let total = |lanes| tree(lanes, |a, b| a + b);
        (total(loss), total(residual), gradient.into_iter().map(total).collect())
    }
}

/// z += x w.
#[inline(always)]
fn add_product<T: Lane>(z: &mut [f64], x: &[T], w: f64) {
    prefetch::behind(x, x.len(), x.len());
    z.iter_mut().zip(x).for_each(|(z, x)| *z += x.widen() * w);
}

/// Residuals in the place of z; their losses go to the lanes.
#[inline(always)]
fn residuals<T: Lane>(model: Model, z: &mut [f64], y: &[T], loss: &mut [f64; LANES]) {
    match model {
        Model::Linear => each_row(z, y, loss, |z, y| (0.5 * (z - y) * (z - y), z - y)),
        Model::Logistic => each_row(z, y, loss, logistic),
    }
}

#[inline(always)]
fn each_row<T: Lane>(z: &mut [f64], y: &[T], loss: &mut [f64; LANES], row: impl Fn(f64, f64) -> (f64, f64)) {
    for (z, y) in z.chunks_mut(LANES).zip(y.chunks(LANES)) {
        for ((z, y), loss) in z.iter_mut().zip(y).zip(loss.iter_mut()) {
            let (own, residual) = row(*z, y.widen());
            *loss += own;
            *z = residual;
        }
    }
}

/// Loss and residual of one row.
#[inline(always)]
fn logistic(z: f64, y: f64) -> (f64, f64) {
    let t = (-z.abs()).exp();
    let q = t / (1.0 + t);
    let residual = if z >= 0.0 { (1.0 - y) - q } else { q - y };
    (t.ln_1p() + (z.max(0.0) - y * z), residual)
}

/// Lane by lane: sums += z.
#[inline(always)]
fn add(sums: &mut [f64; LANES], z: &[f64]) {
    for z in z.chunks(LANES) {
        sums.iter_mut().zip(z).for_each(|(sum, z)| *sum += z);
    }
}

/// Lane by lane: sums += x z.
#[inline(always)]
fn add_dot<T: Lane>(sums: &mut [f64; LANES], z: &[f64], x: &[T]) {
    let (z_chunks, z_rest) = z.as_chunks::<LANES>();
    let (x_chunks, x_rest) = x.as_chunks::<LANES>();
    for (z, x) in z_chunks.iter().zip(x_chunks) {
        for l in 0..LANES {
            sums[l] += x[l].widen() * z[l];
        }
    }
    for ((sum, z), x) in sums.iter_mut().zip(z_rest).zip(x_rest) {
        *sum += x.widen() * z;
    }
}
