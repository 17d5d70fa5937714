//! Small reports for the tests of the renderers, with numbers that are easy to check by eye.

use super::*;

pub(crate) fn column(count: u64, mean: f64, std: f64) -> ColumnReport {
    ColumnReport {
        count,
        missing: 0,
        sum: Some(mean * count as f64),
        mean: Some(mean),
        variance: Some(std * std),
        std: Some(std),
        skewness: Some(0.0),
        kurtosis: Some(-1.2),
        min: Some(mean - 2.0 * std),
        max: Some(mean + 2.0 * std),
        quantiles: None,
        ewm_mean: None,
        ewm_variance: None,
    }
}

fn named<T>(entries: impl IntoIterator<Item = (&'static str, T)>) -> Named<T> {
    entries.into_iter().map(|(n, v)| (n.to_owned(), v)).collect()
}

/// Gives entry i another name.
pub(crate) fn rename<T: Clone>(named: &mut Named<T>, i: usize, name: &str) {
    let mut names = named.names().to_vec();
    names[i] = name.to_owned();
    *named = names.into_iter().zip(named.values().iter().cloned()).collect();
}

fn report(groups: Vec<Group>) -> Report {
    Report {
        schema: SCHEMA,
        rows: groups.iter().map(|g| g.rows).sum(),
        filtered_rows: 12,
        rejected_rows: 3,
        late_rows: 0,
        backend: "cpu".into(),
        precision: "exact".into(),
        device: "2 threads, avx512".into(),
        elapsed_seconds: 0.0041,
        groups,
    }
}

/// One group with every section; `wind` has a single value, so much of it does not exist.
pub(crate) fn single() -> Report {
    let mut temp = column(100, 12.5, 2.0 / 3.0);
    temp.quantiles = Some(named([("0.5", Some(12.25)), ("0.99", Some(14.0))]));
    let wind = ColumnReport {
        missing: 99,
        variance: None,
        std: None,
        skewness: None,
        kurtosis: None,
        min: Some(-3.0),
        max: Some(-3.0),
        sum: Some(-3.0),
        mean: Some(-3.0),
        ..column(1, -3.0, 0.0)
    };
    let matrix = |a, b| Matrix {
        columns: vec!["temp".into(), "wind".into()],
        rows: 98,
        matrix: vec![vec![Some(a), Some(b)], vec![Some(b), Some(a)]],
    };
    let difference = DifferenceReport {
        count: 99,
        unordered: 1,
        mean: Some(0.125),
        variance: Some(4.0),
        std: Some(2.0),
        min: Some(-7.5),
        max: Some(1000.0),
    };
    report(vec![Group {
        key: None,
        window: None,
        rows: 100,
        columns: named([("temp", temp), ("wind", wind)]),
        covariance: Some(Box::new(matrix(4.0, 0.5))),
        correlation: Some(Box::new(matrix(1.0, 0.25))),
        differences: Some(named([("temp", difference)])),
        regression: Some(Box::new(RegressionReport {
            target: "temp".into(),
            terms: vec!["intercept".into(), "wind".into(), "twice_wind".into()],
            coefficients: vec![Some(10.0), Some(-0.25), None],
            standard_errors: vec![Some(0.5), Some(0.1), None],
            r_squared: Some(0.75),
            residual_std: Some(1.5),
            rank: 2,
            rows: 98,
            centred: None,
        })),
        fit: None,
        ewm_covariance: None,
    }])
}

/// The start of the first window of [`keyed_windows`]: 2015-01-01T00:00:00Z.
pub(crate) const START_NS: i64 = 1_420_070_400_000_000_000;
/// Their length: ten minutes.
pub(crate) const LENGTH_NS: i64 = 600_000_000_000;

/// Six groups: three windows of ten minutes by the stations `a` and `b`.
pub(crate) fn keyed_windows() -> Report {
    let mut groups = Vec::new();
    for window in 0..3 {
        for (i, station) in ["a", "b"].into_iter().enumerate() {
            let start_ns = START_NS + window * LENGTH_NS;
            groups.push(Group {
                key: Some(named([("station", KeyValue::Text(station.into()))])),
                window: Some(WindowBounds::Time {
                    start_ns,
                    end_ns: start_ns + LENGTH_NS,
                }),
                rows: 60,
                columns: named([("temp", column(60, window as f64 + 10.0 * i as f64 + 0.1, 1.0))]),
                covariance: None,
                correlation: None,
                differences: None,
                regression: None,
                fit: None,
                ewm_covariance: None,
            });
        }
    }
    report(groups)
}
