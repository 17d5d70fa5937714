//! The weights of a model in units in which all of them are alike.
//!
//! L-BFGS wants a problem whose curvature is about the same in all directions. So the optimiser sees φ, the weights of
//! standardised columns, while the rows stay as they are: with means mⱼ (0 without an intercept), scales sⱼ and the
//! unit u of the target,
//!
//! - wⱼ = u φⱼ / sⱼ, w₀ = u φ₀ − Σ wⱼ mⱼ;
//! - objective: (Σ loss + ½ λ Σ wⱼ²) / (n u²);
//! - its gradient: ∂/∂φⱼ = (gⱼ − mⱼ g₀ + λ wⱼ) / (n u sⱼ), ∂/∂φ₀ = g₀ / (n u), with g the gradient of the summed loss.
//!
//! sⱼ² is the mean square of the deviations from mⱼ, and λ/n more for the linear model (4 λ/n for the logistic, whose
//! curvature is at most ¼): then the diagonal of the Hessian is 1 (at most ¼).

use crate::spec::ModelSpec;
use crate::summary::comoments::{Products, Real};
use crate::summary::{Loss, Model, RegressionMoments};

/// The log-odds at which a logistic fit starts are those of the mean target, but no further out: e⁸ = 2981.
const START_LOG_ODDS_MAX: f64 = 8.0;

/// How φ stands for w.
#[derive(Debug, Clone)]
pub(super) struct Standard {
    model: Model,
    pub(super) intercept: bool,
    pub(super) means: Vec<f64>,
    pub(super) scales: Vec<f64>,
    /// Of the target.
    unit: f64,
    target_mean: f64,
    pub(super) rows: f64,
    pub(super) ridge: f64,
}

impl Standard {
    /// From the co-moments of `terms` (their places among the terms of the model), then of the target.
    pub(super) fn new(spec: &ModelSpec, moments: &RegressionMoments, terms: &[usize]) -> Self {
        match moments {
            RegressionMoments::Exact(m) => Self::of(spec, m, terms),
            RegressionMoments::Fast(m) => Self::of(spec, m, terms),
        }
    }

    fn of<R: Real>(spec: &ModelSpec, moments: &Products<R>, terms: &[usize]) -> Self {
        let n = moments.rows as f64;
        let mean = |i: usize| moments.sums[i].scaled(moments.scale[i]).hi / n;
        // The mean square around the mean, or around 0; its root first, as the square may leave the range.
        let deviation = |i: usize| {
            let centred = moments.product(i, i).to_dd().hi;
            let square = match spec.intercept {
                true => centred,
                false => centred + (moments.sums[i] * moments.sums[i]).hi / n,
            };
            crate::summary::dd::ldexp((square / n).max(0.0).sqrt(), moments.scale[i])
        };
        let positive = |x: f64| if x > 0.0 && x.is_finite() { x } else { 1.0 };
        let curvature = match spec.model {
            Model::Linear => 1.0,
            Model::Logistic => 0.25,
        };
        let penalty = (spec.ridge / (n * curvature)).sqrt();
        let target = spec.terms.len();
        Self {
            model: spec.model,
            intercept: spec.intercept,
            means: terms
                .iter()
                .map(|i| if spec.intercept { mean(*i) } else { 0.0 })
                .collect(),
            scales: terms.iter().map(|i| positive(deviation(*i).hypot(penalty))).collect(),
            unit: match spec.model {
                Model::Linear => positive(deviation(target)),
                Model::Logistic => 1.0,
            },
            target_mean: mean(target),
            rows: n,
            ridge: spec.ridge,
        }
    }

    /// Where the optimiser starts: the best fit without any term.
    pub(super) fn start(&self) -> Vec<f64> {
        let own = match self.model {
            Model::Linear => self.target_mean / self.unit,
            Model::Logistic => {
                let odds = self.target_mean / (1.0 - self.target_mean);
                odds.ln().clamp(-START_LOG_ODDS_MAX, START_LOG_ODDS_MAX)
            }
        };
        let intercept = self.intercept.then_some(own);
        intercept.into_iter().chain(self.scales.iter().map(|_| 0.0)).collect()
    }

    /// The slopes alone.
    pub(super) fn slopes(&self, phi: &[f64]) -> Vec<f64> {
        let phi = &phi[usize::from(self.intercept)..];
        phi.iter()
            .zip(&self.scales)
            .map(|(phi, s)| self.unit * phi / s)
            .collect()
    }

    /// The linear predictor at the means.
    pub(super) fn value(&self, phi: &[f64]) -> f64 {
        if self.intercept { self.unit * phi[0] } else { 0.0 }
    }

    /// w: the intercept first, where there is one.
    pub(super) fn weights(&self, phi: &[f64]) -> Vec<f64> {
        let slopes = self.slopes(phi);
        let shift: f64 = slopes.iter().zip(&self.means).map(|(w, m)| w * m).sum();
        let intercept = self.intercept.then(|| self.value(phi) - shift);
        intercept.into_iter().chain(slopes).collect()
    }

    /// The objective and its gradient.
    pub(super) fn objective(&self, phi: &[f64], loss: &Loss) -> (f64, Vec<f64>) {
        let slopes = self.slopes(phi);
        let penalty: f64 = slopes.iter().map(|w| w * w).sum();
        let value = (loss.loss + 0.5 * self.ridge * penalty) / (self.rows * self.unit * self.unit);
        let n = self.rows * self.unit;
        let (first, rest) = match loss.gradient.split_first() {
            Some((first, rest)) if self.intercept => (Some(*first), rest),
            _ => (None, &loss.gradient[..]),
        };
        let shared = first.unwrap_or(0.0);
        let terms = rest.iter().zip(&slopes).zip(self.means.iter().zip(&self.scales));
        let gradient = terms.map(|((g, w), (m, s))| (g - m * shared + self.ridge * w) / (n * s));
        (value, first.map(|g| g / n).into_iter().chain(gradient).collect())
    }

    /// What rounding leaves of a gradient of 0: z is a sum of products as large as w m, of which subtracting the means
    /// leaves w s.
    pub(super) fn rounding(&self) -> f64 {
        let far = self.means.iter().zip(&self.scales).map(|(m, s)| 1.0 + (m / s).abs());
        4.0 * f64::EPSILON * far.sum::<f64>()
    }
}
