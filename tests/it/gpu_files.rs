//! The data that comes with the project on the GPU: NIST's sets with their certified answers, and every file of the
//! examples, read and reduced through the pipeline, against the exact answers of the numbers in the file.

use crate::gpu_judge::{Lent, PRECISIONS, lent};
use crate::nist;
use crate::oracle::{self, Rational, digits, rational, relative_error, to_f64};
use crate::support::{U, data, table};
use millstream::backend::Tolerance;
use millstream::pipeline::{Query, analyze};
use millstream::report::{Group, KeyValue};
use millstream::{Backend, Engine, Precision, Report, Spec, io};
use num_traits::Signed;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn report(gpu: Lent, spec: Spec, columns: &[Vec<f64>]) -> Report {
    let mut engine = Engine::with_backend(spec, Box::new(gpu)).unwrap();
    engine.analyze(&table(columns)).unwrap()
}

/// Digits of a standard deviation are lost to storing decimals by its condition κ = √(1 + (mean / sd)²) (Chan, Golub and
/// LeVeque 1983); those of the mean of values of one sign are not. Next to the exact answer of the numbers as stored
/// nothing is lost but the backend's tolerance.
#[test]
fn gpu_nist_univariate() {
    for set in nist::univariate() {
        let Some(gpu) = lent(Precision::Exact) else { return };
        let (counters, tolerance) = (gpu.counters(), gpu.tolerance());
        let before = (counters.dispatches(), counters.host_blocks());
        let report = report(gpu, Spec::new(), std::slice::from_ref(&set.values));
        assert_eq!(counters.host_blocks(), before.1, "{}", set.name);
        assert!(counters.dispatches() > before.0, "{}", set.name);
        let column = &report.groups[0].columns["c0"];
        let (mean, std) = (column.mean.unwrap(), column.std.unwrap());
        let exact = oracle::moments(&set.values).unwrap();
        let condition = (1.0 + (set.mean / set.std).powi(2)).sqrt();
        let expected = 15.0 - condition.log10();
        let found = (digits(mean, set.mean), digits(std, set.std));
        println!(
            "{}: mean {:.1} digits, sd {:.1}, {expected:.1} expected",
            set.name, found.0, found.1
        );
        assert!(found.0 >= 15.0, "{}: mean {mean}", set.name);
        assert!(found.1 >= expected, "{}: sd {std}", set.name);
        let error = relative_error(std, &exact.std(1).unwrap());
        assert!(
            error <= tolerance.moments / 2.0 + 2.0 * U,
            "{}: sd off by {error:e}",
            set.name
        );
    }
}

/// Double-double products are the host's: twelve digits, whatever the condition of these (Longley's is 5e9).
#[test]
fn gpu_nist_linear() {
    for set in nist::linear().into_iter().filter(|set| set.residual_std > 0.0) {
        let Some(gpu) = lent(Precision::Exact) else { return };
        let names: Vec<String> = (0..set.terms.len()).map(|j| format!("c{j}")).collect();
        let terms: Vec<&str> = names.iter().map(String::as_str).collect();
        let target = format!("c{}", set.terms.len());
        let columns: Vec<Vec<f64>> = set.terms.iter().cloned().chain([set.target.clone()]).collect();
        let report = report(gpu, Spec::new().regression(target, &terms), &columns);
        assert_eq!(report.backend, "gpu");
        let fit = report.groups[0].regression.clone().unwrap();
        let required = if set.name.starts_with("Wampler") { 10.0 } else { 12.0 };
        let parts = [
            (&fit.coefficients, &set.coefficients),
            (&fit.standard_errors, &set.standard_errors),
        ];
        for (found, certified) in parts {
            for (found, certified) in found.iter().zip(certified) {
                assert!(digits(found.unwrap(), *certified) >= required, "{}: {fit:?}", set.name);
            }
        }
    }
}

fn data_files() -> Vec<PathBuf> {
    let folder = data("examples/data");
    let files = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(|f| f.extension().is_none_or(|e| e != "md")).collect();
    files.sort();
    files
}

/// Fields by row, as they are written; none where they are missing.
type Fields = Vec<BTreeMap<String, Option<String>>>;

/// A plain csv file without quotes, or a JSON array of flat objects.
fn fields(file: &Path) -> Fields {
    let text = std::fs::read_to_string(file).unwrap();
    if file.extension().is_some_and(|e| e == "csv") {
        let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned));
        let names: Vec<String> = lines.next().unwrap().collect();
        let row = |line: &mut dyn Iterator<Item = String>| {
            let values = line.map(|v| Some(v).filter(|v| !v.is_empty()));
            names.iter().cloned().zip(values).collect()
        };
        return lines.map(|mut line| row(&mut line)).collect();
    }
    let rows: Vec<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(&text).unwrap();
    let field = |value: serde_json::Value| match value {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text),
        other => Some(other.to_string()),
    };
    let row = |row: serde_json::Map<String, serde_json::Value>| row.into_iter().map(|(k, v)| (k, field(v))).collect();
    rows.into_iter().map(row).collect()
}

fn off(found: Option<f64>, exact: &Rational) -> f64 {
    found.map_or(f64::INFINITY, |x| to_f64(&(rational(x) - exact).abs()))
}

/// A group against the rows that it has. A number of a report is rounded a few times after the backend is done.
fn check(group: &Group, rows: &Fields, tolerance: Tolerance) {
    let t = tolerance.moments + 8.0 * U;
    assert_eq!(group.rows, rows.len() as u64);
    let number = |row: &BTreeMap<String, Option<String>>, name: &str| {
        row[name].as_ref().map_or(f64::NAN, |v| v.parse().expect("a number"))
    };
    let column = |name: &str| -> Vec<f64> { rows.iter().map(|row| number(row, name)).collect() };
    for (name, c) in group.columns.iter() {
        let values = column(name);
        let present: Vec<f64> = values.iter().copied().filter(|x| !x.is_nan()).collect();
        let counts = (present.len() as u64, (values.len() - present.len()) as u64);
        assert_eq!((c.count, c.missing), counts, "{name}");
        let Some(exact) = oracle::moments(&present) else {
            continue;
        };
        assert_eq!(
            (c.min, c.max),
            (Some(to_f64(&exact.min)), Some(to_f64(&exact.max))),
            "{name}"
        );
        let sd = to_f64(&exact.std(0).unwrap());
        assert!(
            off(c.mean, &exact.mean) <= t * sd + U * to_f64(&exact.mean).abs(),
            "{name}: {c:?}"
        );
        if let Some(variance) = exact.variance(1) {
            assert!(off(c.variance, &variance) <= t * to_f64(&variance), "{name}: {c:?}");
        }
        if let (Some(skewness), Some(kurtosis)) = (exact.skewness(), exact.kurtosis()) {
            // Third and fourth moments are within four tolerances of √(m₂ m₄) and m₄; what they are divided by adds
            // one and a half of the skewness, and two of m₄ / m₂².
            let fourth = to_f64(&kurtosis) + 3.0;
            let allowed = 4.0 * t * fourth.sqrt() + 1.5 * t * to_f64(&skewness).abs();
            assert!(off(c.skewness, &skewness) <= allowed, "{name}: {c:?}");
            assert!(off(c.kurtosis, &kurtosis) <= 6.0 * t * fourth, "{name}: {c:?}");
        }
    }
    let matrix = group.covariance.as_ref().unwrap();
    let columns: Vec<Vec<f64>> = matrix.columns.iter().map(|name| column(name)).collect();
    let slices: Vec<&[f64]> = columns
        .iter()
        .map(Vec::as_slice)
        .filter(|c| c.iter().any(|x| !x.is_nan()))
        .collect();
    let complete = oracle::listwise(&slices);
    assert_eq!(matrix.rows, complete.first().map_or(0, Vec::len) as u64);
    if slices.len() < columns.len() || matrix.rows < 2 {
        return;
    }
    let own: Vec<f64> = complete
        .iter()
        .map(|x| to_f64(&oracle::covariance(x, x, 1).unwrap()))
        .collect();
    for (i, x) in complete.iter().enumerate() {
        for (j, y) in complete.iter().enumerate() {
            let exact = oracle::covariance(x, y, 1).unwrap();
            let allowed = (tolerance.comoments + 8.0 * U) * (own[i] * own[j]).sqrt();
            assert!(
                off(matrix.matrix[i][j], &exact) <= allowed,
                "({i}, {j}) of {:?}",
                matrix.columns
            );
        }
    }
}

#[test]
fn gpu_files_of_the_examples() {
    let files = data_files();
    assert!(files.len() >= 2, "{files:?}");
    for file in files {
        let rows = fields(&file);
        let text = |name: &&String| rows.iter().flat_map(|r| &r[*name]).any(|v| v.parse::<f64>().is_err());
        let dated = |name: &String| {
            rows.iter()
                .flat_map(|r| &r[name])
                .all(|v| v.len() == 10 && v.contains("-"))
        };
        let keys = rows[0].keys().filter(text).filter(|name| !dated(name)).cloned();
        let groupings: Vec<Option<String>> = keys.map(Some).chain([None]).collect();
        assert!(groupings.len() >= 2, "{}", file.display());
        for (precision, key) in PRECISIONS
            .into_iter()
            .flat_map(|p| groupings.iter().map(move |key| (p, key)))
        {
            let Some(gpu) = lent(precision) else { return };
            let tolerance = gpu.tolerance();
            let spec = Spec::new().precision(precision).covariance();
            let query = Query {
                spec: key.iter().fold(spec, |spec, key| spec.by([key.clone()])),
                ..Query::default()
            };
            let source = io::open(&[file.display().to_string().into()], &io::ReadOptions::default()).unwrap();
            let report = analyze(source, &query, Box::new(gpu), &mut |_| {}).unwrap().report;
            assert_eq!((report.backend.as_str(), report.rows), ("gpu", rows.len() as u64));
            let mut seen = 0;
            for group in &report.groups {
                let own: Fields = match (key, group.key.as_ref().and_then(|k| k.iter().next())) {
                    (Some(name), Some((_, value))) => {
                        let value = match value {
                            KeyValue::Null => None,
                            KeyValue::Text(text) => Some(text.clone()),
                            other => panic!("{other:?}"),
                        };
                        rows.iter().filter(|row| row[name] == value).cloned().collect()
                    }
                    _ => rows.clone(),
                };
                seen += own.len();
                check(group, &own, tolerance);
            }
            assert_eq!(seen, rows.len(), "{}", file.display());
        }
    }
}
