//! The loss of a model and its gradient for given weights: sums over rows, which add.
//!
//! For a row with terms x, target y and z = w·x (with an intercept, x₀ = 1):
//!
//! - linear: ½ (z − y)², gradient (z − y) x;
//! - logistic, y in [0, 1]: log(1 + eᶻ) − y z, gradient (1 / (1 + e⁻ᶻ) − y) x.
//!
//! Rows in which a term or the target is missing or infinite are left out.

use super::Merge;
use serde::{Deserialize, Serialize};

/// Which loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Model {
    /// Half the squared error.
    Linear,
    /// The negative log-likelihood of a target between 0 and 1.
    Logistic,
}

impl Model {
    /// `linear` or `logistic`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Logistic => "logistic",
        }
    }
}

/// What a loss is computed from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LossShape {
    /// Which loss.
    pub model: Model,
    /// Columns of the data that are the terms.
    pub terms: Vec<usize>,
    /// The column that is the target.
    pub target: usize,
    /// Whether there is an intercept; its weight is the first.
    pub intercept: bool,
}

impl LossShape {
    /// Weights: the terms, and the intercept where there is one.
    pub fn weights(&self) -> usize {
        self.terms.len() + usize::from(self.intercept)
    }
}

/// Loss and gradient of a set of rows.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Loss {
    /// Complete rows.
    pub rows: u64,
    /// Their loss.
    pub loss: f64,
    /// Its gradient, one a weight.
    pub gradient: Vec<f64>,
}

impl Loss {
    /// No rows.
    pub fn new(weights: usize) -> Self {
        Self {
            gradient: vec![0.0; weights],
            ..Self::default()
        }
    }
}

impl Merge for Loss {
    fn merge(&mut self, later: &Self) {
        self.rows += later.rows;
        self.loss += later.loss;
        for (own, later) in self.gradient.iter_mut().zip(&later.gradient) {
            *own += later;
        }
    }
}
