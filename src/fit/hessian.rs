//! The Hessian of the objective at given weights, for the last steps and for standard errors.
//!
//! In standardised columns (centred, divided by their scales) the Hessian of the summed loss is XᵀVX: V = 1 for the
//! linear model, so that the co-moments of the rows are all it takes, and V = p (1 − p) for the logistic, where one
//! pass makes the columns √V X and reduces them to co-moments like any others. The penalty adds λ / sⱼ² to the
//! diagonal.

use super::standard::Standard;
use crate::backend::Resident;
use crate::batch::Batch;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::regression::Factor;
use crate::spec::{ModelSpec, Spec};
use crate::summary::RegressionMoments;
use crate::summary::comoments::{Products, Real};
use crate::summary::dd::{Dd, ldexp};

/// Rows whose weighted columns are made at a time: a few megabytes.
const STEP_ROWS: usize = 1 << 15;
/// A pivot below this, relative to its diagonal entry, is rounding.
const SINGULAR: f64 = 1e-13;

/// The Hessian of the summed loss in standardised weights, without and with the penalty, by rows.
pub(super) struct Hessian {
    own: Vec<Vec<f64>>,
    factor: Factor,
    /// Whether no direction is flat.
    pub(super) regular: bool,
    /// Whether every row lies on the side of its target: z > 0 where it is above ½, z < 0 where it is below.
    pub(super) separated: bool,
}

impl Hessian {
    fn new(standard: &Standard, own: Vec<Vec<f64>>, separated: bool) -> Self {
        let offset = usize::from(standard.intercept);
        let with_penalty = |i: usize, j: usize| {
            let scale = i.checked_sub(offset).filter(|_| i == j).map(|i| standard.scales[i]);
            own[i][j] + scale.map_or(0.0, |s| standard.ridge / s / s)
        };
        let floor = |i: usize| SINGULAR * with_penalty(i, i);
        let factor = Factor::new(own.len(), floor, |i, j| Dd::from(with_penalty(i, j)));
        Self {
            regular: factor.kept().count() == own.len(),
            own,
            factor,
            separated,
        }
    }

    /// Of the linear model, from the co-moments of the terms at these places.
    pub(super) fn linear(standard: &Standard, moments: &RegressionMoments, terms: &[usize]) -> Self {
        let entry = |i: usize, j: usize| match moments {
            RegressionMoments::Exact(m) => raw(m, i, j, !standard.intercept),
            RegressionMoments::Fast(m) => raw(m, i, j, !standard.intercept),
        };
        let offset = usize::from(standard.intercept);
        let size = terms.len() + offset;
        let mut own = vec![vec![0.0; size]; size];
        if standard.intercept {
            own[0][0] = standard.rows;
        }
        for (i, a) in terms.iter().enumerate() {
            for (j, b) in terms.iter().enumerate() {
                let (entry, exponent) = entry(*a, *b);
                let scaled = |s: f64, by: i32| ldexp(1.0, by) / s;
                let (left, right) = (
                    scaled(standard.scales[i], exponent.0),
                    scaled(standard.scales[j], exponent.1),
                );
                own[i + offset][j + offset] = entry * left * right;
            }
        }
        Self::new(standard, own, false)
    }

    /// Of the logistic model at these weights.
    pub(super) fn logistic(
        standard: &Standard,
        resident: &Resident,
        spec: &ModelSpec,
        weights: &[f64],
    ) -> Result<Self> {
        let batch = resident.batch();
        let mut columns = spec.places(batch.names())?;
        let target = columns.pop().unwrap_or_default();
        let offset = usize::from(standard.intercept);
        let size = columns.len() + offset;
        let names: Vec<String> = (0..size).map(|i| i.to_string()).collect();
        let mut engine = Engine::new(Spec::new().mean_and_variance().covariance())?;
        let mut separated = true;
        for start in (0..batch.rows()).step_by(STEP_ROWS) {
            let rows = start..batch.rows().min(start + STEP_ROWS);
            let mut made: Vec<Vec<f64>> = vec![Vec::with_capacity(rows.len()); size];
            for row in rows {
                let x = |i: usize| batch.columns()[columns[i]].get(row);
                let y = batch.columns()[target].get(row);
                let intercept = if standard.intercept { weights[0] } else { 0.0 };
                let z = (0..columns.len()).fold(intercept, |z, i| z + weights[i + offset] * x(i));
                let complete = y.is_finite() && (0..columns.len()).all(|i| x(i).is_finite());
                separated &= !complete || (y - 0.5) * z > 0.0;
                // √(p (1 − p)) = √t / (1 + t) with t = e^−|z|.
                let root = if complete {
                    (-0.5 * z.abs()).exp() / (1.0 + (-z.abs()).exp())
                } else {
                    f64::NAN
                };
                if standard.intercept {
                    made[0].push(root);
                }
                for i in 0..columns.len() {
                    made[i + offset].push(root * ((x(i) - standard.means[i]) / standard.scales[i]));
                }
            }
            engine.push(&Batch::from_columns(names.iter().cloned().zip(made))?)?;
        }
        let closed = engine.close()?;
        let comoments = closed.into_iter().next().and_then(|closed| closed.summary.comoments);
        let comoments = comoments.ok_or_else(|| Error::Failed("the Hessian did not come back".into()))?;
        let entry = |i: usize, j: usize| {
            let (entry, exponent) = raw(&comoments, i, j, true);
            ldexp(entry, exponent.0 + exponent.1)
        };
        let own = (0..size).map(|i| (0..size).map(|j| entry(i, j)).collect()).collect();
        Ok(Self::new(standard, own, separated))
    }

    /// The step of Newton's method for this gradient of the objective, whose Hessian is n times smaller.
    pub(super) fn step(&self, standard: &Standard, gradient: &[f64]) -> Vec<f64> {
        let gradient: Vec<Dd> = gradient.iter().map(|g| Dd::from(g * standard.rows)).collect();
        self.factor.solve(&gradient).iter().map(|x| x.to_f64()).collect()
    }

    /// The covariance of the standardised weights of a logistic model: the inverse without a penalty, else
    /// (H + Λ)⁻¹ H (H + Λ)⁻¹.
    pub(super) fn covariance(&self, standard: &Standard) -> Vec<Vec<f64>> {
        let inverse: Vec<Vec<f64>> = self
            .factor
            .inverse()
            .iter()
            .map(|row| row.iter().map(|x| x.to_f64()).collect())
            .collect();
        if standard.ridge == 0.0 {
            return inverse;
        }
        product(&product(&inverse, &self.own), &inverse)
    }
}

fn product(a: &[Vec<f64>], b: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let entry = |row: &Vec<f64>, j: usize| row.iter().zip(b).map(|(x, b)| x * b[j]).sum();
    a.iter()
        .map(|row| (0..row.len()).map(|j| entry(row, j)).collect())
        .collect()
}

/// Σ xᵢ xⱼ around the means, or around 0, and the exponents of the units of i and j.
fn raw<R: Real>(m: &Products<R>, i: usize, j: usize, around_zero: bool) -> (f64, (i32, i32)) {
    let centred = m.product(i, j).to_dd();
    let sum = match around_zero && m.rows > 0 {
        true => centred + m.sums[i] * m.sums[j] / Dd::from(m.rows as f64),
        false => centred,
    };
    (sum.to_f64(), (m.scale[i], m.scale[j]))
}
