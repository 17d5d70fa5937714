//! A model to fit: which loss, of which target on which terms.

use super::{MATRIX_COLUMNS_MAX, Regression, first_repeated, places, unknown_column};
use crate::error::{Error, Result};
use crate::summary::{LossShape, Model};

/// A linear or logistic model of a target on terms, with an optional ridge penalty.
///
/// ```
/// use millstream::ModelSpec;
/// let model = ModelSpec::logistic("ill", &["age", "dose"]).ridge(0.5);
/// assert_eq!((model.weights(), model.intercept), (3, true));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSpec {
    /// Which loss.
    pub model: Model,
    /// The column to explain; for the logistic model values from 0 to 1.
    pub target: String,
    /// The explaining columns, without the intercept.
    pub terms: Vec<String>,
    /// Whether there is an intercept; its weight is the first.
    pub intercept: bool,
    /// λ of the ridge penalty ½ λ‖w‖² on the weights of the terms, beside the sum of the losses; the intercept is not
    /// penalised. For the linear model this is the λ of [`Regression::ridge`].
    pub ridge: f64,
}

impl ModelSpec {
    /// The linear model of `target` on an intercept and `terms`.
    pub fn linear(target: impl Into<String>, terms: &[&str]) -> Self {
        Self {
            model: Model::Linear,
            target: target.into(),
            terms: terms.iter().map(ToString::to_string).collect(),
            intercept: true,
            ridge: 0.0,
        }
    }

    /// The logistic model: the log-odds of `target` are linear in an intercept and `terms`.
    pub fn logistic(target: impl Into<String>, terms: &[&str]) -> Self {
        Self {
            model: Model::Logistic,
            ..Self::linear(target, terms)
        }
    }

    /// The same model with this ridge penalty.
    #[must_use]
    pub fn ridge(mut self, ridge: f64) -> Self {
        self.ridge = ridge;
        self
    }

    /// Weights: the intercept, where there is one, and one a term.
    pub fn weights(&self) -> usize {
        self.terms.len() + usize::from(self.intercept)
    }

    /// The least squares of the same target on the same terms.
    pub fn regression(&self) -> Regression {
        Regression {
            target: self.target.clone(),
            terms: self.terms.clone(),
            intercept: self.intercept,
            ridge: self.ridge,
        }
    }

    /// Checks what can be checked without data.
    ///
    /// # Errors
    /// [`Error::Usage`] for a term that stands twice or is the target, no weight at all, too many, or a penalty that is
    /// no number ≥ 0.
    pub fn checked(self) -> Result<Self> {
        if let Some(name) = first_repeated(&self.terms) {
            return Err(Error::Usage(format!(
                "`{name}` stands twice among the terms of the model"
            )));
        }
        if self.terms.contains(&self.target) {
            return Err(Error::Usage(format!("`{}` cannot explain itself", self.target)));
        }
        if self.weights() == 0 {
            return Err(Error::Usage("a model has terms or an intercept".into()));
        }
        if self.terms.len() >= MATRIX_COLUMNS_MAX {
            return Err(Error::Usage(format!(
                "a model of {} terms is larger than the limit of {}: name fewer",
                self.terms.len(),
                MATRIX_COLUMNS_MAX - 1
            )));
        }
        if !(self.ridge >= 0.0 && self.ridge.is_finite()) {
            return Err(Error::Usage(format!(
                "the ridge penalty {} is not a number ≥ 0",
                self.ridge
            )));
        }
        Ok(self)
    }

    /// The places of the terms, then of the target, among columns of these names.
    ///
    /// # Errors
    /// [`Error::Usage`] for a column that is not there.
    pub fn places(&self, names: &[String]) -> Result<Vec<usize>> {
        let by_name = places(names);
        let place = |name: &String| {
            let place = by_name.get(name.as_str()).copied();
            place.ok_or_else(|| unknown_column(name, names))
        };
        self.terms.iter().chain([&self.target]).map(place).collect()
    }

    /// What the loss is computed from, for data with these columns.
    ///
    /// # Errors
    /// [`Error::Usage`] for a column that is not there.
    pub fn shape(&self, names: &[String]) -> Result<LossShape> {
        let mut terms = self.places(names)?;
        let target = terms.pop().unwrap_or_default();
        Ok(LossShape {
            model: self.model,
            terms,
            target,
            intercept: self.intercept,
        })
    }
}
