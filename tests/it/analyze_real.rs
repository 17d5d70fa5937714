//! `millstream analyze` on the example data against reports computed elsewhere in exact arithmetic, key by key.
//!
//! `tests/data/expected.json` is what Python 3.11.7 with its `fractions` module prints for
//! `python3 tests/data/expected.py > tests/data/expected.json`; every number in it is rounded once from the exact
//! value.

use crate::command::{Place, example};
use serde_json::{Value, json};

/// Half an ulp of 1: the relative error of one rounding.
const UNIT: f64 = f64::EPSILON / 2.0;

/// Roundings behind a number whose sums are kept in double-double (regressions), and behind the last steps of every
/// other: for the skewness two quotients, a root, a product and a quotient; for the correlation two roots and two
/// quotients of rounded products. Eight covers each.
const ROUNDINGS: f64 = 8.0;

/// How far a number may be from the exact one. `owner` is the object of statistics that it belongs to, as it should be.
///
/// Moments are power sums of d = x - pivot in f64, where the pivot is a value of the column, so at most
/// δ = max(mean - min, max - mean) / std away from the mean. A sum of n terms errs by at most n·UNIT·Σ|term| (Higham
/// 2002, 4.4), and by Minkowski's inequality Σ|d|^k ≤ n·std^k·(‖z‖ₖ + δ)^k with z the standardised values, ‖z‖₂ = 1 and
/// ‖z‖₃ ≤ ‖z‖₄ = (kurtosis + 3)^¼. The second δ and the factor 2 below are the terms that recentre at the mean; a
/// quotient by the variance adds its relative error as often as its power says.
fn tolerance(path: &str, want: f64, owner: Option<&Value>) -> f64 {
    let of = |key: &str| owner.and_then(|o| o[key].as_f64());
    let (count, mean) = (of("count").unwrap_or(0.0), of("mean").unwrap_or(0.0));
    let (min, max) = (of("min").unwrap_or(0.0), of("max").unwrap_or(0.0));
    let sums = (count + ROUNDINGS) * UNIT;
    let std = of("std").unwrap_or(0.0);
    let distance = if std > 0.0 {
        (mean - min).max(max - mean) / std
    } else {
        0.0
    };
    let second = 2.0 * (1.0 + distance).powi(2);
    let fourth = of("kurtosis").unwrap_or(0.0) + 3.0;
    let spread = fourth.powf(0.25) + 2.0 * distance;
    match path.rsplit('/').next() {
        // A quantile weighs two neighbours, each below the extremes.
        _ if path.contains("/quantiles/") => ROUNDINGS * UNIT * min.abs().max(max.abs()),
        Some("mean") => sums * (std * (1.0 + distance) + mean.abs()),
        Some("sum") => sums * count * (std * (1.0 + distance) + mean.abs()),
        Some("variance" | "std") => sums * second * want,
        Some("skewness") => sums * (spread.powi(3) + 1.5 * want.abs() * second),
        Some("kurtosis") => sums * (spread.powi(4) + 2.0 * fourth * second),
        _ => ROUNDINGS * UNIT * want.abs(),
    }
}

/// How far each entry of a matrix may be from the exact one, relative to the roots of the two diagonal entries: its
/// sums of products are those of [`tolerance`] by Cauchy and Schwarz, and so are the variances that a correlation
/// divides by.
fn matrix_tolerance(group: &Value, rows: f64) -> f64 {
    let distance = |column: &Value| {
        let of = |key: &str| column[key].as_f64().unwrap();
        (of("max") - of("mean")).max(of("mean") - of("min")) / of("std")
    };
    let farthest = group["columns"]
        .as_object()
        .unwrap()
        .values()
        .map(distance)
        .fold(0.0, f64::max);
    2.0 * (rows + ROUNDINGS) * UNIT * 2.0 * (1.0 + farthest).powi(2)
}

fn compare_matrix(path: &str, got: &Value, want: &Value, group: &Value) {
    for key in ["columns", "rows"] {
        assert_eq!(got[key], want[key], "{path}/{key}");
    }
    assert_eq!(got.as_object().unwrap().len(), 3, "{path}");
    let relative = matrix_tolerance(group, want["rows"].as_f64().unwrap());
    let entry = |matrix: &Value, i: usize, j: usize| matrix["matrix"][i][j].as_f64().unwrap();
    let dimension = want["columns"].as_array().unwrap().len();
    assert_eq!(got["matrix"].as_array().unwrap().len(), dimension);
    for (i, row) in got["matrix"].as_array().unwrap().iter().enumerate() {
        assert_eq!(row.as_array().unwrap().len(), dimension);
        for j in 0..dimension {
            let most = relative * (entry(want, i, i) * entry(want, j, j)).sqrt();
            let (a, b) = (entry(got, i, j), entry(want, i, j));
            assert!(
                (a - b).abs() <= most,
                "{path}/{i}/{j}: {a:?} is not {b:?} within {most:e}"
            );
        }
    }
}

fn compare(path: &str, got: &Value, want: &Value, owner: Option<&Value>) {
    match (got, want) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = |object: &serde_json::Map<String, Value>| object.keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(a), keys(b), "keys of {path}");
            let inner = if path.ends_with("/quantiles") {
                owner
            } else {
                Some(want)
            };
            for (key, value) in b {
                if key == "covariance" || key == "correlation" {
                    compare_matrix(&format!("{path}/{key}"), &a[key], value, want);
                    continue;
                }
                compare(&format!("{path}/{key}"), &a[key], value, inner);
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            assert_eq!(a.len(), b.len(), "entries of {path}");
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                compare(&format!("{path}/{i}"), a, b, None);
            }
        }
        (Value::Number(a), Value::Number(b)) if a.is_f64() && b.is_f64() => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            let most = tolerance(path, b, owner);
            assert!((a - b).abs() <= most, "{path}: {a:?} is not {b:?} within {most:e}");
        }
        // Counts are integers in both; everything else is the same text, null or bool.
        (a, b) => assert_eq!(a, b, "{path}"),
    }
}

#[test]
fn reports_are_those_of_exact_arithmetic() {
    reports_of("cpu", &[]);
}

/// The same from the device, within the same bounds: its pivots lie nearer to the means.
#[cfg(feature = "gpu")]
#[test]
fn gpu_reports_are_those_of_exact_arithmetic() {
    let options = crate::gpu_agreement::options(millstream::Precision::Exact);
    if crate::gpu_agreement::gpu(options).is_some() {
        reports_of("gpu", &["--backend", "gpu", "--software-adapter"]);
    }
}

fn reports_of(backend: &str, more: &[&str]) {
    let cases: Value = serde_json::from_str(include_str!("../data/expected.json")).unwrap();
    let place = Place::new();
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), 16);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let args: Vec<&str> = case["args"]
            .as_array()
            .unwrap()
            .iter()
            .map(|a| a.as_str().unwrap())
            .collect();
        let file = example(args[0]);
        let report = place.analyze(&[&[file.as_str()], &args[1..], more].concat());
        assert_eq!(
            report.as_object().unwrap().keys().collect::<Vec<_>>(),
            [
                "schema",
                "rows",
                "filtered_rows",
                "rejected_rows",
                "late_rows",
                "backend",
                "precision",
                "device",
                "elapsed_seconds",
                "groups"
            ]
        );
        assert_eq!(report["schema"], "millstream.report/1");
        assert_eq!(
            (&report["backend"], &report["precision"]),
            (&json!(backend), &json!("exact"))
        );
        assert_eq!((&report["rejected_rows"], &report["late_rows"]), (&json!(0), &json!(0)));
        for count in ["rows", "filtered_rows"] {
            assert_eq!(report[count], case[count], "{name}: {count}");
        }
        compare(name, &report["groups"], &case["groups"], None);
    }
}

#[test]
fn the_comparison_sees_a_wrong_digit_a_missing_key_and_a_wrong_type() {
    let report =
        json!({"columns": {"x": {"count": 3, "mean": 0.1, "std": 1.0, "kurtosis": -1.5, "min": -1.0, "max": 1.2}}});
    let differs = |change: &dyn Fn(&mut Value)| {
        let mut other = report.clone();
        change(&mut other);
        std::panic::catch_unwind(|| compare("", &other, &report, None)).is_err()
    };
    assert!(!differs(&|_| {}));
    assert!(differs(&|r| r["columns"]["x"]["mean"] = json!(0.100_000_000_000_02)));
    assert!(differs(&|r| r["columns"]["x"]["kurtosis"] = json!(-1.500_000_000_01)));
    assert!(differs(&|r| r["columns"]["x"]["count"] = json!(3.0)));
    assert!(differs(&|r| r["columns"]["x"]["mean"] = json!(null)));
    assert!(differs(&|r| {
        r["columns"]["x"].as_object_mut().unwrap().remove("mean");
    }));
}

#[test]
fn matrices_are_symmetric_to_the_last_bit() {
    let place = Place::new();
    let file = example("seattle-weather.csv");
    let report = place.analyze(&[
        &file,
        "--stats",
        "covariance,correlation",
        "--time",
        "date",
        "--window",
        "90d",
    ]);
    let groups = report["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 17);
    for matrix in groups.iter().flat_map(|g| [&g["covariance"], &g["correlation"]]) {
        for i in 0..4 {
            for j in 0..i {
                assert_eq!(matrix["matrix"][i][j], matrix["matrix"][j][i], "{matrix}");
            }
        }
    }
}

/// Values that are not finite are strings, numbers that do not exist are null, and keys keep their types.
#[test]
fn special_values_and_key_types() {
    let place = Place::new();
    let rows = "k,s,up,down,both,one,none\n1,x,inf,-inf,inf,5,\n2.5,,1,1,-inf,,\n1,x,2,2,1,,\n";
    let report = place.analyze(&[place.write("special.csv", rows)]);
    let columns = &report["groups"][0]["columns"];
    let row = |name: &str| -> Vec<Value> {
        let statistics = ["sum", "mean", "variance", "std", "skewness", "kurtosis", "min", "max"];
        statistics.iter().map(|s| columns[name][s].clone()).collect()
    };
    assert_eq!(
        row("up"),
        [
            json!("Infinity"),
            json!("Infinity"),
            json!("NaN"),
            json!("NaN"),
            json!("NaN"),
            json!("NaN"),
            json!(1.0),
            json!("Infinity")
        ]
    );
    assert_eq!(row("down")[..2], [json!("-Infinity"), json!("-Infinity")]);
    assert_eq!(row("down")[6..], [json!("-Infinity"), json!(2.0)]);
    assert_eq!(row("both")[..2], [json!("NaN"), json!("NaN")]);
    let null = Value::Null;
    assert_eq!(
        row("one"),
        [
            json!(5.0),
            json!(5.0),
            null.clone(),
            null.clone(),
            null.clone(),
            null.clone(),
            json!(5.0),
            json!(5.0)
        ]
    );
    assert_eq!(
        (&columns["one"]["count"], &columns["one"]["missing"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(
        columns["none"],
        json!({"count": 0, "missing": 3, "sum": 0.0, "mean": null, "variance": null, "std": null,
        "skewness": null, "kurtosis": null, "min": null, "max": null})
    );

    let keys = |by: &str| -> Vec<Value> {
        let report = place.analyze(&["special.csv", "--by", by, "--columns", "up"]);
        let groups = report["groups"].as_array().unwrap();
        groups.iter().map(|g| g["key"].clone()).collect()
    };
    assert_eq!(keys("s"), [json!({"s": null}), json!({"s": "x"})]);
    let numbers: Vec<f64> = keys("k").iter().map(|k| k["k"].as_f64().unwrap()).collect();
    assert_eq!(numbers, [1.0, 2.5]);
}

/// Above 256 values a quantile interpolates between order statistics (type 7), each of which is within 1 %; the
/// extremes are exact.
#[test]
fn quantiles_of_many_values_are_within_a_hundredth() {
    let file = example("seattle-weather.csv");
    let report = Place::new().analyze(&[&file, "--quantiles", "0,0.01,0.25,0.5,0.75,0.99,1"]);
    let text = std::fs::read_to_string(&file).unwrap();
    for (place, name) in [(1, "precipitation"), (2, "temp_max"), (3, "temp_min"), (4, "wind")] {
        let cell = |line: &str| line.split(',').nth(place).unwrap().parse::<f64>().unwrap();
        let mut values: Vec<f64> = text.lines().skip(1).map(cell).collect();
        values.sort_by(f64::total_cmp);
        let quantiles = report["groups"][0]["columns"][name]["quantiles"].as_object().unwrap();
        assert_eq!(quantiles.len(), 7);
        for (p, got) in quantiles {
            let p: f64 = p.parse().unwrap();
            let h = p * (values.len() - 1) as f64;
            let (a, b, w) = (values[h as usize], values[h.ceil() as usize], h.fract());
            let want = a + w * (b - a);
            let end = p == 0.0 || p == 1.0;
            // A ten-billionth for the roundings of the interpolation.
            let allowed = if end {
                0.0
            } else {
                (0.01 + 1e-10) * (a.abs() + w * (b.abs() - a.abs()))
            };
            assert!(
                (got.as_f64().unwrap() - want).abs() <= allowed,
                "{name} {p}: {got} is not {want}"
            );
        }
    }
}
