//! From summaries to reports: the only place that applies divisors, correlation and quantile probabilities.

use super::{Closed, ColumnReport, DifferenceReport, Group, Matrix, Named, RegressionReport, Report, SCHEMA};
use crate::regression::{self, Fit};
use crate::spec::{Regression, Spec};
use crate::summary::{CoMoments, Differences, Moments, Quantiles, Summary};

/// The name of the constant term.
const INTERCEPT: &str = "intercept";

/// The report of closed windows over columns of these names. Rows, backend and device are the caller's to fill in.
///
/// A summary that was made for another spec has no entry for what it does not hold, such as a matrix over other columns.
pub fn report(spec: &Spec, names: &[String], closed: &[Closed]) -> Report {
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
        groups: closed.iter().map(|closed| group(spec, names, closed)).collect(),
    }
}

/// The report of one closed window.
pub fn group(spec: &Spec, names: &[String], closed: &Closed) -> Group {
    let Summary {
        rows,
        columns,
        comoments,
        regression,
        differences,
        quantiles,
    } = &closed.summary;
    let named_quantiles = |i: usize| quantiles.get(i).map(|q| at(q, &spec.quantiles));
    let matrix = |entry: &dyn Fn(&CoMoments, usize, usize) -> Option<f64>| {
        let fitting = comoments.as_ref().filter(|m| m.dimension() == names.len());
        fitting.map(|m| matrix(names, m, entry))
    };
    Group {
        key: closed.key.clone(),
        window: closed.window,
        rows: *rows,
        columns: Named(
            names
                .iter()
                .zip(columns)
                .enumerate()
                .map(|(i, (name, m))| (name.clone(), column(m, spec.ddof, named_quantiles(i))))
                .collect(),
        ),
        covariance: spec
            .covariance
            .then(|| matrix(&|m, i, j| m.covariance(i, j, spec.ddof)))
            .flatten(),
        correlation: spec.correlation.then(|| matrix(&CoMoments::correlation)).flatten(),
        differences: spec.differences.then(|| {
            Named(
                names
                    .iter()
                    .zip(differences)
                    .map(|(n, d)| (n.clone(), difference(d, spec.ddof)))
                    .collect(),
            )
        }),
        regression: spec
            .regression
            .as_ref()
            .zip(regression.as_ref())
            .filter(|(r, m)| m.dimension() == r.terms.len() + 1)
            .map(|(r, m)| fitted(r, regression::fit(r, m))),
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
    }
}

fn at(q: &Quantiles, probabilities: &[f64]) -> Named<Option<f64>> {
    Named(
        probabilities
            .iter()
            .map(ToString::to_string)
            .zip(q.at(probabilities))
            .collect(),
    )
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
