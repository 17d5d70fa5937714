//! What a model comes to that was fitted by its loss.

use super::{number, numbers};
use crate::regression::Centred;
use crate::summary::Model;
use serde::{Serialize, Serializer};

/// A fitted linear or logistic model.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FitReport {
    /// `linear` or `logistic`.
    #[serde(serialize_with = "name")]
    pub model: Model,
    /// The column that is explained.
    pub target: String,
    /// `intercept` first, where there is one, then the explaining columns.
    pub terms: Vec<String>,
    /// One a term; null where the rows do not determine it.
    #[serde(serialize_with = "numbers")]
    pub coefficients: Vec<Option<f64>>,
    /// One a term; null where they do not exist, as in a fit that has not converged.
    #[serde(serialize_with = "numbers")]
    pub standard_errors: Vec<Option<f64>>,
    /// λ of the ridge penalty ½ λ‖w‖².
    pub ridge: f64,
    /// The sum of the losses of the rows, without the penalty: half the residual sum of squares of a linear model, the
    /// negative log-likelihood of a logistic one.
    #[serde(serialize_with = "number")]
    pub loss: Option<f64>,
    /// 1 − residual sum of squares / total sum of squares; of a linear model alone.
    #[serde(serialize_with = "number")]
    pub r_squared: Option<f64>,
    /// The square root of the residual sum of squares over its degrees of freedom; of a linear model alone.
    #[serde(serialize_with = "number")]
    pub residual_std: Option<f64>,
    /// Linearly independent terms, the intercept included.
    pub rank: usize,
    /// Rows in which target and terms all have finite values.
    pub rows: u64,
    /// Iterations of the optimiser.
    pub iterations: u64,
    /// Whether the optimum was reached.
    pub converged: bool,
    /// Why not, where it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The fit around the means of its terms: what a saved model has beside the rest.
    #[serde(skip)]
    pub centred: Option<Centred>,
}

fn name<S: Serializer>(model: &Model, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(model.name())
}
