//! From summaries to reports: the only place that applies divisors, correlation and quantile probabilities.

use super::{
    Closed, ColumnReport, DifferenceReport, Group, KeyValue, Matrix, Named, RegressionReport, Report, SCHEMA,
    WindowBounds,
};
use crate::regression::{self, Fit};
use crate::spec::{Regression, Spec};
use crate::summary::{CoMoments, Differences, Ewm, Moments, Summary};
use std::sync::Arc;

/// The name of the constant term.
pub const INTERCEPT: &str = "intercept";

/// The report of closed windows over columns of these names. Rows, backend and device are the caller's to fill in.
///
/// A summary that was made for another spec has no entry for what it does not hold, such as a matrix over other
/// columns.
pub fn report(spec: &Spec, names: &[String], closed: impl IntoIterator<Item = Closed>) -> Report {
    let builder = Builder::new(spec, names);
    let group = |closed: Closed| builder.group(closed.key, closed.window, &closed.summary, closed.ewm.as_deref());
    of_groups(spec, closed.into_iter().map(group).collect())
}

/// The report of these groups. Rows, backend and device are the caller's to fill in.
pub(crate) fn of_groups(spec: &Spec, groups: Vec<Group>) -> Report {
    Report {
        schema: SCHEMA,
        rows: 0,
        filtered_rows: 0,
        rejected_rows: 0,
        late_rows: 0,
        backend: String::new(),
        precision: spec.precision.name().to_owned(),
        device: String::new(),
        elapsed_seconds: 0.0,
        groups,
    }
}

/// Bytes that a group of a report over this many columns takes, about.
pub fn group_bytes(spec: &Spec, columns: usize) -> usize {
    let matrix = columns * (columns * size_of::<Option<f64>>() + 2 * size_of::<Vec<()>>());
    let terms = spec.regression.as_ref().map_or(0, |r| r.terms.len() + 1);
    size_of::<Group>()
        + spec.keys.len() * (size_of::<KeyValue>() + 16)
        + columns * (size_of::<ColumnReport>() + spec.quantiles.len() * size_of::<Option<f64>>())
        + usize::from(spec.covariance) * matrix
        + usize::from(spec.correlation) * matrix
        + usize::from(spec.differences) * columns * size_of::<DifferenceReport>()
        + terms * 2 * (size_of::<Option<f64>>() + size_of::<String>())
        + terms * (size_of::<Vec<f64>>() + (terms + 1) * size_of::<f64>())
}

/// Makes the groups of one report, which share the names.
pub(crate) struct Builder<'a> {
    spec: &'a Spec,
    names: Arc<[String]>,
    /// Those of the quantiles: their probabilities.
    probabilities: Arc<[String]>,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(spec: &'a Spec, names: &[String]) -> Self {
        Self {
            spec,
            names: names.into(),
            probabilities: spec.quantiles.iter().map(ToString::to_string).collect(),
        }
    }

    /// The report of a window and key, of what its rows come to.
    pub(crate) fn group(
        &self,
        key: Option<Named<KeyValue>>,
        window: Option<WindowBounds>,
        summary: &Summary,
        ewm: Option<&Ewm>,
    ) -> Group {
        let Self { spec, names, .. } = self;
        let Summary {
            rows,
            columns,
            comoments,
            regression,
            differences,
            quantiles,
            loss: _,
        } = summary;
        let rows = *rows;
        let quantiles = |i: usize| {
            let values = quantiles.get(i)?.at(&spec.quantiles);
            Some(Named::new(Arc::clone(&self.probabilities), values))
        };
        let matrix = |entry: &dyn Fn(&CoMoments, usize, usize) -> Option<f64>| {
            let fitting = comoments.as_ref().filter(|m| m.dimension() == names.len());
            fitting.map(|m| Box::new(matrix(names, m, entry)))
        };
        let columns = columns.iter().enumerate();
        Group {
            key,
            window,
            rows,
            columns: self.named(
                columns
                    .map(|(i, m)| ColumnReport {
                        ewm_mean: ewm.and_then(|ewm| ewm.mean(i)),
                        ewm_variance: ewm.and_then(|ewm| ewm.variance(i, spec.ddof)),
                        ..column(m, spec.ddof, quantiles(i))
                    })
                    .collect(),
            ),
            covariance: spec
                .covariance
                .then(|| matrix(&|m, i, j| m.covariance(i, j, spec.ddof)))
                .flatten(),
            correlation: spec.correlation.then(|| matrix(&CoMoments::correlation)).flatten(),
            differences: spec
                .differences
                .then(|| self.named(differences.iter().map(|d| difference(d, spec.ddof)).collect())),
            regression: spec
                .regression
                .as_ref()
                .zip(regression.as_ref())
                .filter(|(r, m)| m.dimension() == r.terms.len() + 1)
                .map(|(r, m)| Box::new(fitted(r, regression::fit(r, m)))),
            fit: None,
            ewm_covariance: ewm.filter(|ewm| spec.covariance && ewm.has_covariances()).map(|ewm| {
                let entry = |i| (0..names.len()).map(|j| ewm.covariance(i, j, spec.ddof)).collect();
                Box::new(Matrix {
                    columns: names.to_vec(),
                    rows,
                    matrix: (0..names.len()).map(entry).collect(),
                })
            }),
        }
    }

    /// One value a column, as far as both go.
    fn named<T>(&self, mut values: Vec<T>) -> Named<T> {
        values.truncate(self.names.len());
        match values.len() == self.names.len() {
            true => Named::new(Arc::clone(&self.names), values),
            false => Named::new(self.names[..values.len()].into(), values),
        }
    }
}

fn fitted(regression: &Regression, fit: Fit) -> RegressionReport {
    let intercept = regression.intercept.then(|| INTERCEPT.to_owned());
    RegressionReport {
        target: regression.target.clone(),
        terms: intercept.into_iter().chain(regression.terms.iter().cloned()).collect(),
        coefficients: fit.coefficients,
        standard_errors: fit.standard_errors,
        r_squared: fit.r_squared,
        residual_std: fit.residual_std,
        rank: fit.rank,
        rows: fit.rows,
        centred: fit.centred,
    }
}

fn column(m: &Moments, ddof: u64, quantiles: Option<Named<Option<f64>>>) -> ColumnReport {
    ColumnReport {
        count: m.present(),
        missing: m.missing,
        sum: Some(m.total()),
        mean: m.mean(),
        variance: m.variance(ddof),
        std: m.std(ddof),
        skewness: m.skewness(),
        kurtosis: m.kurtosis(),
        min: m.least(),
        max: m.greatest(),
        quantiles,
        ewm_mean: None,
        ewm_variance: None,
    }
}

fn difference(d: &Differences, ddof: u64) -> DifferenceReport {
    let m = &d.moments;
    DifferenceReport {
        count: m.present(),
        unordered: d.unordered,
        mean: m.mean(),
        variance: m.variance(ddof),
        std: m.std(ddof),
        min: m.least(),
        max: m.greatest(),
    }
}

/// A matrix over the columns that have values.
fn matrix(names: &[String], m: &CoMoments, entry: &dyn Fn(&CoMoments, usize, usize) -> Option<f64>) -> Matrix {
    let chosen: Vec<usize> = (0..m.dimension()).filter(|i| m.present[*i]).collect();
    Matrix {
        columns: chosen.iter().map(|i| names[*i].clone()).collect(),
        rows: m.rows,
        matrix: chosen
            .iter()
            .map(|i| chosen.iter().map(|j| entry(m, *i, *j)).collect())
            .collect(),
    }
}
