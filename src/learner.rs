//! A model that learns while rows arrive: one gradient step a micro-batch.
//!
//! Stochastic gradient descent (Robbins & Monro 1951) on standardised columns, with a normalised step. With the means m
//! and standard deviations s of the terms over all rows so far, and g the gradient of the mean loss of the micro-batch
//! in the weights of (x − m) / s, step t moves these weights by
//!
//! −(ηₜ / L) g, ηₜ = max(t^−½, floor), L = c (1 + Σⱼ mean((xⱼ − mⱼ)² / sⱼ²)), c = 1 (linear) or ¼ (logistic).
//!
//! L is the trace of the greatest Hessian that the loss of the micro-batch can have, so no less than its largest
//! eigenvalue: a step never overshoots its own rows, whatever their size (the normalisation of NLMS, Haykin 2014,
//! chapter 6). On rows that all come from one place the weights tend to those of the fit of all rows, as Σηₜ diverges
//! and ηₜ falls; they end about √(ηₜ / 2L) standard errors of a micro-batch from them. With a floor above 0 the step
//! stays large enough to follow a model that drifts: what was learnt fades by a factor of about 1 − floor · μ / L a
//! step, for the least curvature μ (1 for columns that do not depend on each other), and the noise that goes with it
//! stays too.

use crate::backend::Backend;
use crate::backend::cpu::Cpu;
use crate::batch::Batch;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::spec::{ModelSpec, Spec};
use crate::summary::{Loss, Merge, Model, Moments, Order};

/// Learns a linear or logistic model from micro-batches.
///
/// ```
/// use millstream::learner::Learner;
/// use millstream::{Batch, ModelSpec};
/// let mut learner = Learner::new(ModelSpec::linear("y", &["x"]))?;
/// for k in 0..2000 {
///     let x: Vec<f64> = (0..8).map(|i| f64::from((k + 3 * i) % 10)).collect();
///     let y = x.iter().map(|x| 1.0 + 2.0 * x).collect();
///     learner.step(&Batch::from_columns([("x", x), ("y", y)])?)?;
/// }
/// assert!((learner.weights()[1] - 2.0).abs() < 1e-6);
/// # Ok::<(), millstream::Error>(())
/// ```
#[derive(Debug)]
pub struct Learner {
    model: ModelSpec,
    engine: Engine,
    floor: f64,
    weights: Vec<f64>,
    /// Of the terms, over all rows so far.
    moments: Vec<Moments>,
    steps: u64,
    rows: u64,
}

/// Where a term lies and how far it spreads.
#[derive(Debug, Clone, Copy)]
struct Place {
    mean: f64,
    /// The root of the mean square around the mean; 0 for a column that has been constant.
    scale: f64,
}

impl Learner {
    /// A learner with all weights 0, on all CPU cores.
    ///
    /// # Errors
    /// [`Error::Usage`] for a model that makes no sense, or one with a ridge penalty, which is relative to a number of
    /// rows that a learner does not know.
    pub fn new(model: ModelSpec) -> Result<Self> {
        Self::with_backend(model, Box::new(Cpu::new()))
    }

    /// The same on this backend.
    ///
    /// # Errors
    /// As [`Learner::new`].
    pub fn with_backend(model: ModelSpec, backend: Box<dyn Backend>) -> Result<Self> {
        let model = model.checked()?;
        if model.ridge != 0.0 {
            return Err(Error::Usage(
                "a learner takes no ridge penalty: it is relative to the number of all rows".into(),
            ));
        }
        let second = Moments {
            order: Order::Second,
            ..Moments::default()
        };
        Ok(Self {
            engine: Engine::with_backend(Spec::new(), backend)?,
            floor: 0.0,
            weights: vec![0.0; model.weights()],
            moments: vec![second; model.terms.len()],
            model,
            steps: 0,
            rows: 0,
        })
    }

    /// The same learner with steps that do not fall below this, to follow a model that drifts: 0 (as it begins) to 1.
    ///
    /// # Errors
    /// [`Error::Usage`] for anything else.
    pub fn floor(mut self, floor: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&floor) {
            return Err(Error::Usage(format!(
                "the floor {floor} of the steps does not lie between 0 and 1"
            )));
        }
        self.floor = floor;
        Ok(self)
    }

    /// The weights: the intercept first, where there is one, then one a term.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// Complete rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Takes one step along the gradient of these rows; gives their loss under the weights before it, which tells how
    /// well rows are predicted that the learner had not seen. Rows without a value of the target or a term are left
    /// out, and without any other there is no step.
    ///
    /// # Errors
    /// [`Error::Usage`] for a column that is not there, [`Error::Data`] for a target of a logistic model outside 0 to 1
    /// and for values whose loss leaves the range of `f64`; the learner is as before then.
    pub fn step(&mut self, batch: &Batch) -> Result<Loss> {
        let places = self.model.places(batch.names())?;
        let batch = batch.project(&places);
        let p = self.model.terms.len();
        let resident = self.engine.upload(&batch)?;
        let mut own = self.engine.moments_of(&resident);
        let target = own.split_off(p);
        let outside = |m: &Moments| m.count > 0 && (m.min < 0.0 || m.max > 1.0);
        if self.model.model == Model::Logistic && target.iter().any(outside) {
            return Err(Error::Data(format!(
                "the target `{}` has values outside 0 to 1, between which that of a logistic model lies",
                self.model.target
            )));
        }
        let loss = self.engine.loss(&resident, &self.model, &self.weights)?;
        if !loss.loss.is_finite() || loss.gradient.iter().any(|g| !g.is_finite()) {
            return Err(Error::Data(format!(
                "the loss of `{}` leaves the range of numbers: give the columns in larger units",
                self.model.target
            )));
        }
        if loss.rows == 0 {
            return Ok(loss);
        }
        for (all, own) in self.moments.iter_mut().zip(&own) {
            all.merge(own);
        }
        self.steps += 1;
        self.rows += loss.rows;
        self.descend(&loss, &own);
        Ok(loss)
    }

    fn descend(&mut self, loss: &Loss, own: &[Moments]) {
        let intercept = self.model.intercept;
        let places: Vec<Place> = self.moments.iter().map(|m| Place::of(m, intercept)).collect();
        let curvature = match self.model.model {
            Model::Linear => 1.0,
            Model::Logistic => 0.25,
        };
        let squares: f64 = places.iter().zip(own).map(|(place, own)| place.mean_square(own)).sum();
        let bound = curvature * (f64::from(u8::from(intercept)) + squares);
        if bound <= 0.0 {
            return;
        }
        let eta = (1.0 / (self.steps as f64).sqrt()).max(self.floor);
        let rate = eta / (bound * loss.rows as f64);
        let shared = if intercept { loss.gradient[0] } else { 0.0 };
        let offset = usize::from(intercept);
        let mut shift = rate * shared;
        for (j, place) in places.iter().enumerate().filter(|(_, place)| place.scale > 0.0) {
            let gradient = (loss.gradient[j + offset] - place.mean * shared) / place.scale;
            let step = rate * gradient / place.scale;
            self.weights[j + offset] -= step;
            shift -= step * place.mean;
        }
        if intercept {
            self.weights[0] -= shift;
        }
    }

    /// The predictions for rows: values of a linear model, probabilities of a logistic one; none where a term is
    /// missing or infinite.
    ///
    /// # Errors
    /// [`Error::Usage`] for a term that is not there.
    pub fn predict(&self, batch: &Batch) -> Result<Vec<Option<f64>>> {
        let names = batch.names();
        let place = |name: &String| names.iter().position(|n| n == name);
        let column = |name: &String| match place(name) {
            Some(i) => Ok(&batch.columns()[i]),
            None => Err(crate::spec::unknown_column(name, names)),
        };
        let columns = self.model.terms.iter().map(column).collect::<Result<Vec<_>>>()?;
        let (first, slopes) = self.weights.split_at(usize::from(self.model.intercept));
        let row = |i: usize| {
            let terms = columns.iter().zip(slopes);
            let z = terms.fold(first.iter().sum::<f64>(), |z, (column, w)| z + w * column.get(i));
            let value = match self.model.model {
                Model::Linear => z,
                Model::Logistic => 1.0 / (1.0 + (-z).exp()),
            };
            columns.iter().all(|c| c.get(i).is_finite()).then_some(value)
        };
        Ok((0..batch.rows()).map(row).collect())
    }
}

impl Place {
    /// Around the mean, or around 0.
    fn of(moments: &Moments, centred: bool) -> Self {
        let (mean, std) = (moments.mean().unwrap_or(0.0), moments.std(0).unwrap_or(0.0));
        match centred {
            true => Self { mean, scale: std },
            false => Self {
                mean: 0.0,
                scale: mean.hypot(std),
            },
        }
    }

    /// The mean of ((x − mean) / scale)² over the rows behind these moments.
    fn mean_square(self, of: &Moments) -> f64 {
        if self.scale <= 0.0 {
            return 0.0;
        }
        let (mean, std) = (of.mean().unwrap_or(0.0), of.std(0).unwrap_or(0.0));
        (((mean - self.mean) / self.scale).powi(2)) + (std / self.scale).powi(2)
    }
}
