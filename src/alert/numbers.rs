//! The numbers of a report by the names that conditions call them.

use crate::error::{Error, Result};
use crate::report::Emission;
use crate::summary::{CoMoments, Moments};

/// What a name in a condition stands for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Rows,
    LateRows,
    Column(usize, Statistic),
    Correlation(usize, usize),
    /// Of the first column on the second.
    Slope(usize, usize),
}

/// A statistic of a column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Statistic {
    Count,
    Missing,
    Sum,
    Mean,
    Variance,
    Std,
    Skewness,
    Kurtosis,
    Min,
    Max,
    EwmMean,
    EwmVariance,
    DifferencesCount,
    DifferencesMean,
    DifferencesStd,
    DifferencesMin,
    DifferencesMax,
    Quantile(f64),
}

/// Those with a name of their own.
const STATISTICS: [(&str, Statistic); 17] = [
    ("count", Statistic::Count),
    ("missing", Statistic::Missing),
    ("sum", Statistic::Sum),
    ("mean", Statistic::Mean),
    ("variance", Statistic::Variance),
    ("std", Statistic::Std),
    ("skewness", Statistic::Skewness),
    ("kurtosis", Statistic::Kurtosis),
    ("min", Statistic::Min),
    ("max", Statistic::Max),
    ("ewm_mean", Statistic::EwmMean),
    ("ewm_variance", Statistic::EwmVariance),
    ("differences_count", Statistic::DifferencesCount),
    ("differences_mean", Statistic::DifferencesMean),
    ("differences_std", Statistic::DifferencesStd),
    ("differences_min", Statistic::DifferencesMin),
    ("differences_max", Statistic::DifferencesMax),
];

/// Columns that a message lists at most.
const LISTED_MAX: usize = 20;

fn statistic(name: &str) -> Option<Statistic> {
    if let Some(probability) = name.strip_prefix("quantile_") {
        let p: f64 = probability.parse().ok()?;
        return (0.0..=1.0).contains(&p).then_some(Statistic::Quantile(p));
    }
    STATISTICS.iter().find(|(n, _)| *n == name).map(|(_, s)| *s)
}

/// What `name` stands for, over these columns.
///
/// # Errors
/// [`Error::Config`] that says what there is.
pub(super) fn resolve(name: &str, columns: &[String]) -> Result<Number> {
    let place = |column: &str| columns.iter().position(|c| c == column);
    if let Some((function, pair)) = call(name) {
        // Names may hold commas: wherever both sides are columns.
        let found = pair
            .match_indices(", ")
            .find_map(|(at, comma)| Some((place(&pair[..at])?, place(&pair[at + comma.len()..])?)));
        let (a, b) = found.ok_or_else(|| wrong(&format!("`{name}` is not over two columns"), columns))?;
        return Ok(match function {
            "corr" => Number::Correlation(a, b),
            _ => Number::Slope(a, b),
        });
    }
    let dots = || name.match_indices('.').map(|(at, _)| (&name[..at], &name[at + 1..]));
    for (column, statistic_name) in dots() {
        if let (Some(column), Some(statistic)) = (place(column), statistic(statistic_name)) {
            return Ok(Number::Column(column, statistic));
        }
    }
    match name {
        "rows" => return Ok(Number::Rows),
        "late_rows" => return Ok(Number::LateRows),
        _ => {}
    }
    if let Some((column, unknown)) = dots().find(|(column, _)| place(column).is_some()) {
        let names: Vec<&str> = STATISTICS.iter().map(|(n, _)| *n).collect();
        return Err(Error::Config(format!(
            "`{unknown}` is no statistic of `{column}`; there are: {}, \"quantile_0.9\" and the like",
            names.join(", ")
        )));
    }
    if let Some((column, _)) = dots().find(|(_, name)| statistic(name).is_some()) {
        return Err(wrong(&format!("there is no column `{column}`"), columns));
    }
    let what = format!(
        "`{name}` is no number of a report, which are named as in temperature.mean, corr(a, b), slope(y, x), rows and \
         late_rows"
    );
    Err(wrong(&what, columns))
}

fn wrong(what: &str, columns: &[String]) -> Error {
    let mut listed: Vec<&str> = columns.iter().take(LISTED_MAX).map(String::as_str).collect();
    if columns.len() > LISTED_MAX {
        listed.push("…");
    }
    Error::Config(format!("{what}; the columns are: {}", listed.join(", ")))
}

/// The name and the arguments of `corr(…)` and `slope(…)`.
pub(super) fn call(name: &str) -> Option<(&str, &str)> {
    let (function, rest) = name.split_once('(')?;
    let arguments = rest.strip_suffix(')')?;
    matches!(function, "corr" | "slope").then_some((function, arguments))
}

impl Number {
    /// Whether it is made of co-moments, of quantiles, of differences.
    pub(super) fn parts(self) -> [bool; 3] {
        let Self::Column(_, statistic) = self else {
            return [matches!(self, Self::Correlation(..) | Self::Slope(..)), false, false];
        };
        let differences = matches!(
            statistic,
            Statistic::DifferencesCount
                | Statistic::DifferencesMean
                | Statistic::DifferencesStd
                | Statistic::DifferencesMin
                | Statistic::DifferencesMax
        );
        [false, matches!(statistic, Statistic::Quantile(_)), differences]
    }

    /// Its value in a report; none where it does not exist.
    pub(super) fn of(self, report: &Emission, ddof: u64, late_rows: u64) -> Option<f64> {
        let summary = &report.summary;
        let comoments = || summary.comoments.as_deref();
        let within = |m: &&CoMoments, a: usize, b: usize| a.max(b) < m.dimension();
        match self {
            Self::Rows => Some(summary.rows as f64),
            Self::LateRows => Some(late_rows as f64),
            Self::Correlation(a, b) => comoments().filter(|m| within(m, a, b))?.correlation(a, b),
            Self::Slope(y, x) => {
                let m = comoments().filter(|m| within(m, y, x))?;
                Some(m.covariance(y, x, 0)? / m.covariance(x, x, 0)?)
            }
            Self::Column(i, Statistic::Quantile(p)) => *summary.quantiles.get(i)?.at(&[p]).first()?,
            Self::Column(i, Statistic::EwmMean) => report.group.columns.values().get(i)?.ewm_mean,
            Self::Column(i, Statistic::EwmVariance) => report.group.columns.values().get(i)?.ewm_variance,
            Self::Column(i, statistic) => match self.parts()[2] {
                true => of_moments(&summary.differences.get(i)?.moments, statistic, ddof),
                false => of_moments(summary.columns.get(i)?, statistic, ddof),
            },
        }
    }
}

fn of_moments(m: &Moments, statistic: Statistic, ddof: u64) -> Option<f64> {
    match statistic {
        Statistic::Count | Statistic::DifferencesCount => Some(m.present() as f64),
        Statistic::Missing => Some(m.missing as f64),
        Statistic::Sum => Some(m.total()),
        Statistic::Mean | Statistic::DifferencesMean => m.mean(),
        Statistic::Variance => m.variance(ddof),
        Statistic::Std | Statistic::DifferencesStd => m.std(ddof),
        Statistic::Skewness => m.skewness(),
        Statistic::Kurtosis => m.kurtosis(),
        Statistic::Min | Statistic::DifferencesMin => m.least(),
        Statistic::Max | Statistic::DifferencesMax => m.greatest(),
        Statistic::EwmMean | Statistic::EwmVariance | Statistic::Quantile(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(columns: &[&str]) -> Vec<String> {
        columns.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_are_found_whatever_the_columns_are_called() {
        let columns = names(&["a", "a.mean", "b, c", "rows"]);
        for (name, number) in [
            ("a.mean", Number::Column(0, Statistic::Mean)),
            ("a.mean.mean", Number::Column(1, Statistic::Mean)),
            ("a.quantile_0.95", Number::Column(0, Statistic::Quantile(0.95))),
            ("a.mean.quantile_1", Number::Column(1, Statistic::Quantile(1.0))),
            ("b, c.ewm_variance", Number::Column(2, Statistic::EwmVariance)),
            ("rows", Number::Rows),
            ("rows.max", Number::Column(3, Statistic::Max)),
            ("late_rows", Number::LateRows),
            ("corr(b, c, a)", Number::Correlation(2, 0)),
            ("slope(a, b, c)", Number::Slope(0, 2)),
            ("slope(a, a.mean)", Number::Slope(0, 1)),
        ] {
            assert_eq!(resolve(name, &columns).unwrap(), number, "{name}");
        }
    }

    #[test]
    fn what_there_is_not_is_told() {
        let columns = names(&["temperature", "humidity"]);
        for (name, parts) in [
            ("temperature.meen", ["`meen`", "`temperature`", "mean, variance"]),
            ("tmp.mean", ["no column `tmp`", "temperature, humidity", ""]),
            ("temperature", ["`temperature` is no number", "late_rows", ""]),
            (
                "corr(temperature, x)",
                ["corr(temperature, x)", "temperature, humidity", ""],
            ),
            ("temperature.quantile_2", ["`quantile_2`", "quantile_0.9", ""]),
        ] {
            let error = resolve(name, &columns).unwrap_err();
            assert_eq!(error.exit_code(), 78);
            let text = error.to_string();
            assert!(parts.iter().all(|part| text.contains(part)), "{name}: {text}");
        }
    }
}
