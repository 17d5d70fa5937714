//! Linear and logistic models fitted to rows that were uploaded: full batch, by L-BFGS.
//!
//! The optimiser asks the engine for the loss of all rows and its gradient again and again; which backend computes them
//! makes no difference to it. It works on standardised weights, so that columns of any size and place converge alike,
//! and the rows are not touched. Near the optimum, where values of the objective no longer differ, a few steps of
//! Newton's method take over, with the Hessian that the standard errors need anyway; they are kept while the gradient
//! falls.
//!
//! A fit has converged where the norm of the gradient (of the mean loss, in standardised weights) is at most
//! 10⁻⁸, or what rounding leaves of it, *and* Newton's method would not move the weights further. The second part is
//! what tells a maximum of the likelihood from none: where terms separate the target (Albert & Anderson 1984) the
//! gradient goes to 0 while each step of Newton's method moves the weights on by about as much as the one before.
//!
//! Standard errors, R² and the residual standard deviation of a linear model are those of [`crate::regression`]. Those
//! of a logistic model are the roots of the diagonal of (XᵀVX)⁻¹, V = p (1 − p) (McCullagh & Nelder 1989, section 4.4);
//! with a penalty of (H + Λ)⁻¹ H (H + Λ)⁻¹ for H = XᵀVX, as for ridge regression.

mod hessian;
mod optimise;
mod standard;

use crate::backend::Resident;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::regression::{self, Centred};
use crate::report::{FitReport, build::INTERCEPT};
use crate::spec::ModelSpec;
use crate::summary::Model;
use hessian::Hessian;
use optimise::{Objective, minimise};
use standard::Standard;

/// The norm of the gradient of the mean loss in standardised weights, which is below 1 at the start, at a fit that has
/// converged.
pub const GRADIENT_TOLERANCE: f64 = 1e-8;
/// The step of Newton's method, relative to 1 + the largest standardised weight, at a fit that has converged; where
/// terms separate the target it is about 1 over that.
const STEP_TOLERANCE: f64 = 1e-3;
/// Steps of Newton's method at most: from the gradient where L-BFGS stops two are enough.
const NEWTON_STEPS_MAX: usize = 4;

/// Fits a model to rows that were uploaded.
///
/// ```
/// use millstream::{Batch, Engine, ModelSpec, Spec, fit};
/// let hours = vec![0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0];
/// let passed = vec![0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0];
/// let mut engine = Engine::new(Spec::new())?;
/// let rows = engine.upload(&Batch::from_columns([("hours", hours), ("passed", passed)])?)?;
/// let model = fit(&mut engine, &rows, &ModelSpec::logistic("passed", &["hours"]))?;
/// assert!(model.converged);
/// assert!(model.coefficients[1].is_some_and(|slope| slope > 0.0));
/// # Ok::<(), millstream::Error>(())
/// ```
///
/// # Errors
/// [`Error::Usage`] for a column that was not uploaded or a model that makes no sense, [`Error::Data`] for a target of
/// a logistic model outside 0 to 1 and for values whose loss leaves the range of `f64`. A fit that does not converge is
/// no error: the report says so, and why.
pub fn fit(engine: &mut Engine, resident: &Resident, spec: &ModelSpec) -> Result<FitReport> {
    let spec = spec.clone().checked()?;
    if spec.model == Model::Logistic {
        check_target(resident, &spec)?;
    }
    let moments = engine.comoments_of(resident, &spec)?;
    let closed = regression::fit(&spec.regression(), &moments);
    let mut report = FitReport {
        model: spec.model,
        target: spec.target.clone(),
        terms: spec
            .intercept
            .then(|| INTERCEPT.to_owned())
            .into_iter()
            .chain(spec.terms.iter().cloned())
            .collect(),
        coefficients: vec![None; spec.weights()],
        standard_errors: vec![None; spec.weights()],
        ridge: spec.ridge,
        loss: None,
        r_squared: None,
        residual_std: None,
        rank: closed.rank,
        rows: closed.rows,
        iterations: 0,
        converged: false,
        why: None,
        centred: None,
    };
    if closed.rows == 0 {
        report.why = Some("there is no row in which the target and all terms have values".into());
        return Ok(report);
    }

    // Terms that depend on others are left out, as in a regression.
    let offset = usize::from(spec.intercept);
    let kept: Vec<usize> = (0..spec.terms.len())
        .filter(|i| closed.coefficients[i + offset].is_some())
        .collect();
    let independent = ModelSpec {
        terms: kept.iter().map(|i| spec.terms[*i].clone()).collect(),
        ..spec.clone()
    };
    if independent.weights() == 0 {
        report.why = Some("no term varies".into());
        return Ok(report);
    }
    let standard = Standard::new(&spec, &moments, &kept);
    let mut objective = Objective {
        engine,
        resident,
        spec: &independent,
        standard: &standard,
    };
    let tolerance = GRADIENT_TOLERANCE.max(standard.rounding());
    let start = standard.start();
    if !objective.at(&start)?.0.is_finite() {
        return Err(Error::Data(format!(
            "the loss of `{}` leaves the range of numbers: give the columns in larger units",
            spec.target
        )));
    }
    let (mut phi, iterations) = minimise(&mut objective, start, tolerance)?;
    let hessian_at = |phi: &[f64]| match spec.model {
        Model::Linear => Ok(Hessian::linear(&standard, &moments, &kept)),
        Model::Logistic => Hessian::logistic(&standard, resident, &independent, &standard.weights(phi)),
    };
    let near = hessian_at(&phi)?;
    let gradient = polish(&mut objective, &near, &mut phi)?;
    let hessian = hessian_at(&phi)?;
    let step = largest(&hessian.step(&standard, &gradient));
    let flat = norm(&gradient) <= tolerance;
    let settled = hessian.regular && step <= STEP_TOLERANCE * (1.0 + largest(&phi));

    report.iterations = iterations;
    report.converged = flat && settled;
    if !report.converged {
        report.why = Some(why(&spec, &hessian, flat, settled));
    }
    let weights = standard.weights(&phi);
    report.loss = Some(objective.engine.loss(resident, &independent, &weights)?.loss);
    let places = (0..offset).chain(kept.iter().map(|i| i + offset));
    for (place, weight) in places.clone().zip(&weights) {
        report.coefficients[place] = Some(*weight);
    }
    match spec.model {
        Model::Linear => {
            report.standard_errors = closed.standard_errors;
            report.r_squared = closed.r_squared;
            report.residual_std = closed.residual_std;
            report.centred = closed.centred;
        }
        Model::Logistic => {
            let covariance = if report.converged {
                hessian.covariance(&standard)
            } else {
                Vec::new()
            };
            let centred = centred(&spec, &standard, &phi, &kept, &covariance);
            if report.converged {
                for place in places {
                    report.standard_errors[place] = Some(standard_error(&centred, spec.intercept, place));
                }
            }
            report.centred = Some(Centred {
                degrees_of_freedom: closed.rows.saturating_sub(closed.rank as u64),
                ..centred
            });
        }
    }
    Ok(report)
}

/// Values that are no probability are a mistake, most likely in the choice of the column or the model.
fn check_target(resident: &Resident, spec: &ModelSpec) -> Result<()> {
    let batch = resident.batch();
    let places = spec.places(batch.names())?;
    let Some(target) = places.last().map(|place| &batch.columns()[*place]) else {
        return Ok(());
    };
    let outside = |x: &f64| *x < 0.0 || *x > 1.0;
    match (0..target.len()).map(|i| target.get(i)).find(outside) {
        Some(x) => Err(Error::Data(format!(
            "the target `{}` has the value {x}; that of a logistic model lies between 0 and 1",
            spec.target
        ))),
        None => Ok(()),
    }
}

/// Steps of Newton's method while the gradient falls by half; the gradient at the end.
fn polish(objective: &mut Objective<'_>, hessian: &Hessian, phi: &mut Vec<f64>) -> Result<Vec<f64>> {
    let mut gradient = objective.at(phi)?.1;
    for _ in 0..NEWTON_STEPS_MAX {
        let step = hessian.step(objective.standard, &gradient);
        let next: Vec<f64> = phi.iter().zip(&step).map(|(phi, step)| phi - step).collect();
        let there = objective.at(&next)?.1;
        let falls = norm(&there) <= 0.5 * norm(&gradient);
        if !falls {
            break;
        }
        (*phi, gradient) = (next, there);
    }
    Ok(gradient)
}

fn why(spec: &ModelSpec, hessian: &Hessian, flat: bool, settled: bool) -> String {
    let ridge = "a ridge penalty gives one";
    if spec.model == Model::Logistic && spec.ridge == 0.0 {
        if hessian.separated {
            return format!("the terms separate the target, so the likelihood has no maximum; {ridge}");
        }
        if !settled {
            return format!(
                "some combination of terms separates part of the target, so the likelihood has no maximum; {ridge}"
            );
        }
    }
    if flat {
        "the optimum is not determined: terms depend on each other up to rounding".into()
    } else {
        "the gradient is not 0 where the optimiser could get no further".into()
    }
}

/// The logistic fit around the means of its terms.
fn centred(spec: &ModelSpec, standard: &Standard, phi: &[f64], kept: &[usize], covariance: &[Vec<f64>]) -> Centred {
    let offset = usize::from(spec.intercept);
    let mut centre = vec![0.0; spec.terms.len()];
    for (k, i) in kept.iter().enumerate() {
        centre[*i] = standard.means[k];
    }
    let mut matrix = Vec::new();
    if !covariance.is_empty() {
        matrix = vec![vec![0.0; spec.weights()]; spec.weights()];
        // (place among all weights, what the standardised weight is divided by)
        let terms = kept.iter().zip(&standard.scales).map(|(i, s)| (i + offset, *s));
        let places: Vec<(usize, f64)> = (0..offset).map(|i| (i, 1.0)).chain(terms).collect();
        for ((i, s), row) in places.iter().zip(covariance) {
            for ((j, t), entry) in places.iter().zip(row) {
                matrix[*i][*j] = entry / s / t;
            }
        }
    }
    Centred {
        centre,
        value: standard.value(phi),
        covariance: matrix,
        degrees_of_freedom: 0,
    }
}

/// Of the weight at this place: the intercept is the value at the centre less Σ wⱼ mⱼ.
fn standard_error(centred: &Centred, intercept: bool, place: usize) -> f64 {
    let c = &centred.covariance;
    if !intercept || place > 0 {
        return c[place][place].max(0.0).sqrt();
    }
    let direction: Vec<f64> = std::iter::once(1.0).chain(centred.centre.iter().map(|m| -m)).collect();
    let rows = direction.iter().zip(c);
    let variance: f64 = rows
        .map(|(a, row)| a * row.iter().zip(&direction).map(|(x, b)| x * b).sum::<f64>())
        .sum();
    variance.max(0.0).sqrt()
}

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn largest(x: &[f64]) -> f64 {
    x.iter().fold(0.0, |most, x| x.abs().max(most))
}
