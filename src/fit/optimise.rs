//! The optimum of an objective by L-BFGS (Nocedal & Wright 2006, algorithm 7.5) with the line search of Moré & Thuente
//! (1994), both by `argmin`.

use super::standard::Standard;
use crate::backend::Resident;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::spec::ModelSpec;
use argmin::core::{CostFunction, Executor, Gradient, State};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::quasinewton::LBFGS;
use std::cell::RefCell;
use std::collections::VecDeque;

/// Pairs of steps and gradients that L-BFGS remembers: 3 to 20 serve (Nocedal & Wright, section 7.2).
const MEMORY: usize = 10;
/// Iterations at most; well-conditioned problems take a few dozen.
const ITERATIONS_MAX: u64 = 1000;
/// Evaluations that are remembered: the line search asks for value and gradient of one place one after the other, and
/// L-BFGS for the gradient of the one that was taken.
const REMEMBERED: usize = 8;

/// The objective of a model over rows, in standardised weights.
pub(super) struct Objective<'a> {
    pub(super) engine: &'a mut Engine,
    pub(super) resident: &'a Resident,
    pub(super) spec: &'a ModelSpec,
    pub(super) standard: &'a Standard,
}

impl Objective<'_> {
    /// Value and gradient.
    pub(super) fn at(&mut self, phi: &[f64]) -> Result<(f64, Vec<f64>)> {
        let weights = self.standard.weights(phi);
        let loss = self.engine.loss(self.resident, self.spec, &weights)?;
        Ok(self.standard.objective(phi, &loss))
    }
}

/// An evaluation: where, value, gradient.
type Evaluation = (Vec<f64>, f64, Vec<f64>);

/// The form that `argmin` asks for.
struct Remembering<'a, 'b> {
    objective: RefCell<&'b mut Objective<'a>>,
    evaluations: RefCell<VecDeque<Evaluation>>,
}

impl Remembering<'_, '_> {
    fn at(&self, phi: &[f64]) -> Result<(f64, Vec<f64>), argmin::core::Error> {
        let known = self.evaluations.borrow().iter().find(|e| e.0 == phi).cloned();
        if let Some((_, value, gradient)) = known {
            return Ok((value, gradient));
        }
        let (value, gradient) = self.objective.borrow_mut().at(phi)?;
        let mut evaluations = self.evaluations.borrow_mut();
        if evaluations.len() == REMEMBERED {
            evaluations.pop_front();
        }
        evaluations.push_back((phi.to_vec(), value, gradient.clone()));
        Ok((value, gradient))
    }
}

impl CostFunction for Remembering<'_, '_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, phi: &Vec<f64>) -> Result<f64, argmin::core::Error> {
        Ok(self.at(phi)?.0)
    }
}

impl Gradient for Remembering<'_, '_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;

    fn gradient(&self, phi: &Vec<f64>) -> Result<Vec<f64>, argmin::core::Error> {
        Ok(self.at(phi)?.1)
    }
}

/// The best weights that were found from `start` on, and the iterations that it took. It stops where the norm of the
/// gradient is below `tolerance`, or where the value no longer falls.
pub(super) fn minimise(objective: &mut Objective<'_>, start: Vec<f64>, tolerance: f64) -> Result<(Vec<f64>, u64)> {
    let failed = |e: argmin::core::Error| Error::Failed(format!("the optimiser failed: {e}"));
    let solver = LBFGS::new(MoreThuenteLineSearch::new(), MEMORY)
        .with_tolerance_grad(tolerance)
        .and_then(|solver| solver.with_tolerance_cost(f64::EPSILON / 2.0))
        .map_err(failed)?;
    let problem = Remembering {
        objective: RefCell::new(objective),
        evaluations: RefCell::default(),
    };
    let result = Executor::new(problem, solver)
        .configure(|state| state.param(start.clone()).max_iters(ITERATIONS_MAX))
        .ctrlc(false)
        .timer(false)
        .run()
        .map_err(failed)?;
    let state = result.state();
    let iterations = state.get_iter();
    let finite = state.get_best_param().filter(|phi| phi.iter().all(|x| x.is_finite()));
    Ok((finite.cloned().unwrap_or(start), iterations))
}
