//! Predictions of a fitted model, with intervals.
//!
//! With the fit around the centre c of its terms, a row x has the linear predictor η = value + Σ βⱼ (xⱼ − cⱼ), whose
//! variance is v = dᵀ C d for d = (1, x − c) and the covariance C of (value, β).
//!
//! - A linear model predicts η; the interval is η ± t · √(s² + v), where a new observation lies with the probability of
//!   the level, with the residual standard deviation s and the quantile t of Student's distribution with the fit's
//!   degrees of freedom (Draper & Smith 1998, section 3.1).
//! - A logistic model predicts p = 1 / (1 + e^−η); the interval is that of η, η ± z · √v with the normal quantile z,
//!   taken to probabilities: it covers p, not the observation, which is 0 or 1 (Hosmer, Lemeshow & Sturdivant 2013,
//!   section 1.4).
//!
//! With a ridge penalty the intervals are those of the penalised estimate around its own mean; its bias is not in them.

use crate::batch::{Batch, Column};
use crate::error::{Error, Result, quote};
use crate::regression::Centred;
use crate::report::{FitReport, RegressionReport, json::MODEL_SCHEMA};
use crate::spec::{places, unknown_column};
use crate::summary::Model;
use serde::Deserialize;
use serde_json::{Map, Value};
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};
use std::collections::HashMap;

/// A fitted model that predicts.
#[derive(Debug, Clone, PartialEq)]
pub struct Predictor {
    model: Model,
    target: String,
    /// The terms that take part: those with a coefficient.
    terms: Vec<String>,
    slopes: Vec<f64>,
    centre: Vec<f64>,
    value: f64,
    /// Of the value, where there is an intercept, then the slopes of `terms`; empty where it is not known.
    covariance: Vec<Vec<f64>>,
    intercept: bool,
    /// Of a linear model.
    residual_std: Option<f64>,
    degrees_of_freedom: f64,
}

/// What a row comes to; nothing that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Prediction {
    /// The predicted value, or probability.
    pub value: f64,
    /// The ends of its interval.
    pub interval: Option<(f64, f64)>,
}

/// The models that a report was saved with: one, or one a key.
#[derive(Debug, Clone, PartialEq)]
pub struct Models {
    keys: Vec<String>,
    models: Vec<Predictor>,
    /// By the JSON text of the key.
    numbers: HashMap<String, usize>,
}

impl Predictor {
    /// The predictor of a model that was fitted.
    ///
    /// ```
    /// use millstream::predictor::Predictor;
    /// use millstream::{Batch, Engine, ModelSpec, Spec, fit};
    /// let batch = Batch::from_columns([("x", vec![0.0, 1.0, 2.0, 3.0]), ("y", vec![3.0, 4.0, 7.0, 12.0])])?;
    /// let mut engine = Engine::new(Spec::new())?;
    /// let rows = engine.upload(&batch)?;
    /// let model = Predictor::of_fit(&fit(&mut engine, &rows, &ModelSpec::linear("y", &["x"]))?)?;
    /// let new = Batch::from_columns([("x", vec![4.0])])?;
    /// let prediction = model.predict(&new, 0.95)?[0].unwrap();
    /// // The line is 2 + 3x.
    /// assert!((prediction.value - 14.0).abs() < 1e-9);
    /// # Ok::<(), millstream::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Data`] for a fit without coefficients.
    pub fn of_fit(fit: &FitReport) -> Result<Self> {
        let centred = fit.centred.as_ref();
        Self::new(
            fit.model,
            &fit.target,
            &fit.terms,
            &fit.coefficients,
            fit.residual_std,
            centred,
        )
    }

    /// The predictor of a regression.
    ///
    /// # Errors
    /// As [`Predictor::of_fit`].
    pub fn of_regression(fit: &RegressionReport) -> Result<Self> {
        let centred = fit.centred.as_ref();
        Self::new(
            Model::Linear,
            &fit.target,
            &fit.terms,
            &fit.coefficients,
            fit.residual_std,
            centred,
        )
    }

    fn new(
        model: Model,
        target: &str,
        terms: &[String],
        coefficients: &[Option<f64>],
        residual_std: Option<f64>,
        centred: Option<&Centred>,
    ) -> Result<Self> {
        let damaged = |why: &str| Error::Data(format!("the model of `{target}` {why}"));
        let centred = centred.ok_or_else(|| damaged("was not determined by its rows, so it predicts nothing"))?;
        let p = centred.centre.len();
        if terms.len() != coefficients.len() || !(terms.len() == p || terms.len() == p + 1) {
            return Err(damaged("has another number of terms than of coefficients"));
        }
        let offset = terms.len() - p;
        let square = |c: &[Vec<f64>]| c.len() == terms.len() && c.iter().all(|row| row.len() == terms.len());
        if !centred.covariance.is_empty() && !square(&centred.covariance) {
            return Err(damaged("has a covariance of another size"));
        }
        if coefficients[..offset].contains(&None) {
            return Err(damaged("was not determined by its rows, so it predicts nothing"));
        }
        // (place among all weights, slope)
        let kept: Vec<(usize, f64)> = (offset..terms.len())
            .filter_map(|i| Some((i, coefficients[i]?)))
            .collect();
        let places: Vec<usize> = (0..offset).chain(kept.iter().map(|k| k.0)).collect();
        let row = |row: &Vec<f64>| places.iter().map(|i| row[*i]).collect();
        Ok(Self {
            model,
            target: target.to_owned(),
            terms: kept.iter().map(|(i, _)| terms[*i].clone()).collect(),
            slopes: kept.iter().map(|k| k.1).collect(),
            centre: kept.iter().map(|(i, _)| centred.centre[i - offset]).collect(),
            value: centred.value,
            covariance: match centred.covariance.as_slice() {
                [] => Vec::new(),
                covariance => places.iter().map(|i| row(&covariance[*i])).collect(),
            },
            intercept: offset == 1,
            residual_std,
            degrees_of_freedom: centred.degrees_of_freedom as f64,
        })
    }

    /// The column that is explained.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The columns that predictions are made from.
    pub fn terms(&self) -> &[String] {
        &self.terms
    }

    /// Whether there are intervals.
    pub fn has_intervals(&self) -> bool {
        !self.covariance.is_empty() && (self.model == Model::Logistic || self.residual_std.is_some())
    }

    /// The predictions for the rows of a batch; none where a term is missing or infinite. `level` is the probability of
    /// the intervals.
    ///
    /// # Errors
    /// [`Error::Usage`] for a term that the batch does not have, or a level that does not lie between 0 and 1.
    pub fn predict(&self, batch: &Batch, level: f64) -> Result<Vec<Option<Prediction>>> {
        let mut row = self.rows(batch, level)?;
        Ok((0..batch.rows()).map(&mut row).collect())
    }

    /// What predicts row i of a batch.
    pub(crate) fn rows<'a>(
        &'a self,
        batch: &'a Batch,
        level: f64,
    ) -> Result<impl FnMut(usize) -> Option<Prediction> + 'a> {
        let quantile = self.quantile(level)?;
        let by_name = places(batch.names());
        let column = |name: &String| match by_name.get(name.as_str()) {
            Some(place) => Ok(&batch.columns()[*place]),
            None => Err(unknown_column(name, batch.names())),
        };
        let columns: Vec<&Column> = self.terms.iter().map(column).collect::<Result<_>>()?;
        let offset = usize::from(self.intercept);
        let mut direction = vec![1.0; self.terms.len() + offset];
        Ok(move |i: usize| {
            for ((d, column), centre) in direction[offset..].iter_mut().zip(&columns).zip(&self.centre) {
                *d = column.get(i) - centre;
            }
            let finite = direction.iter().all(|d| d.is_finite());
            finite.then(|| self.prediction(&direction, quantile))
        })
    }

    /// For (1, x − centre), or x alone without an intercept.
    fn prediction(&self, direction: &[f64], quantile: Option<f64>) -> Prediction {
        let offset = usize::from(self.intercept);
        let terms = direction[offset..].iter().zip(&self.slopes);
        let eta = terms.fold(self.value, |eta, (d, slope)| eta + d * slope);
        let half = quantile.map(|quantile| {
            let rows = direction.iter().zip(&self.covariance);
            let variance: f64 = rows
                .map(|(d, row)| d * row.iter().zip(direction).map(|(c, d)| c * d).sum::<f64>())
                .sum();
            let own = self.residual_std.unwrap_or(0.0);
            quantile * (own * own + variance.max(0.0)).sqrt()
        });
        let scale = |eta: f64| match self.model {
            Model::Linear => eta,
            Model::Logistic => 1.0 / (1.0 + (-eta).exp()),
        };
        Prediction {
            value: scale(eta),
            interval: half.map(|half| (scale(eta - half), scale(eta + half))),
        }
    }

    /// How many standard deviations an interval reaches to either side; nothing where there are no intervals.
    fn quantile(&self, level: f64) -> Result<Option<f64>> {
        if !(level > 0.0 && level < 1.0) {
            return Err(Error::Usage(format!(
                "the level {level} does not lie between 0 and 1; 0.95 is usual"
            )));
        }
        if !self.has_intervals() {
            return Ok(None);
        }
        let p = 0.5 + 0.5 * level;
        let failed = |e: &dyn std::fmt::Display| Error::Failed(format!("there is no quantile: {e}"));
        Ok(Some(match self.model {
            Model::Linear => {
                let t = StudentsT::new(0.0, 1.0, self.degrees_of_freedom).map_err(|e| failed(&e))?;
                t.inverse_cdf(p)
            }
            Model::Logistic => Normal::new(0.0, 1.0).map_err(|e| failed(&e))?.inverse_cdf(p),
        }))
    }
}

#[derive(Deserialize)]
struct File {
    models: Vec<Saved>,
}

#[derive(Deserialize)]
struct Saved {
    key: Option<Map<String, Value>>,
    window: Option<Value>,
    model: String,
    target: String,
    terms: Vec<String>,
    coefficients: Vec<Value>,
    residual_std: Option<Value>,
    centred: Option<Centred>,
}

impl Models {
    /// The models in the text of a file that a report was saved to
    /// ([`write_models`](crate::report::json::write_models)).
    ///
    /// # Errors
    /// [`Error::Data`] for anything else, another version, no model that predicts, or models of windows, which say
    /// nothing of other times.
    pub fn from_json(text: &[u8]) -> Result<Self> {
        let damaged = |why: &str| Error::Data(format!("this is no saved model: {why}"));
        let document: Value = serde_json::from_slice(text).map_err(|e| damaged(&e.to_string()))?;
        match document.get("schema").and_then(Value::as_str) {
            Some(MODEL_SCHEMA) => {}
            Some(other) => {
                let why = format!(
                    "its `schema` is {}, this program reads \"{MODEL_SCHEMA}\"",
                    quote(other.as_bytes())
                );
                return Err(damaged(&why));
            }
            None => {
                return Err(damaged(&format!(
                    "it has no `schema`, which would be \"{MODEL_SCHEMA}\""
                )));
            }
        }
        let file: File = serde_json::from_value(document).map_err(|e| damaged(&e.to_string()))?;
        let mut this = Self {
            keys: Vec::new(),
            models: Vec::with_capacity(file.models.len()),
            numbers: HashMap::new(),
        };
        for saved in file.models {
            if saved.window.is_some() {
                return Err(Error::Data(
                    "the models are of windows and say nothing of other rows: save one without --window".into(),
                ));
            }
            // A key with too few rows for a model is one without a model.
            if saved.key.is_some() && saved.centred.is_none() {
                continue;
            }
            let predictor = saved.predictor()?;
            let key = saved.key.unwrap_or_default();
            if this.models.is_empty() {
                this.keys = key.keys().cloned().collect();
            }
            let fits = key.keys().eq(&this.keys) && this.models.first().is_none_or(|m| m.target == predictor.target);
            let twice = this.numbers.insert(Value::Object(key).to_string(), this.models.len());
            if !fits || twice.is_some() {
                return Err(damaged("its models are not one of each key"));
            }
            this.models.push(predictor);
        }
        match this.models.is_empty() {
            true => Err(damaged("no model in it was determined by its rows")),
            false => Ok(this),
        }
    }

    /// The columns whose values say which model is a row's; none where there is one model.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// The column that is explained.
    pub fn target(&self) -> &str {
        self.models.first().map_or("", Predictor::target)
    }

    /// The columns that predictions are made from, each once.
    pub fn terms(&self) -> Vec<String> {
        let mut terms: Vec<String> = Vec::new();
        for term in self.models.iter().flat_map(Predictor::terms) {
            if !terms.contains(term) {
                terms.push(term.clone());
            }
        }
        terms
    }

    /// Whether any of them has intervals.
    pub fn has_intervals(&self) -> bool {
        self.models.iter().any(Predictor::has_intervals)
    }

    /// The model of this number.
    pub(crate) fn get(&self, number: usize) -> &Predictor {
        &self.models[number]
    }

    /// The number of the model for a key.
    pub(crate) fn of_key(&self, key: &Value) -> Option<usize> {
        self.numbers.get(&key.to_string()).copied()
    }
}

impl Saved {
    fn predictor(&self) -> Result<Predictor> {
        let model = match self.model.as_str() {
            "linear" => Model::Linear,
            "logistic" => Model::Logistic,
            other => {
                return Err(Error::Data(format!(
                    "this is no saved model: there is no model {}",
                    quote(other.as_bytes())
                )));
            }
        };
        let coefficients: Vec<Option<f64>> = self.coefficients.iter().map(Value::as_f64).collect();
        let residual_std = self.residual_std.as_ref().and_then(Value::as_f64);
        Predictor::new(
            model,
            &self.target,
            &self.terms,
            &coefficients,
            residual_std,
            self.centred.as_ref(),
        )
    }
}
