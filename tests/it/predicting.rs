//! `analyze --fit` and `transform --predict`: what users type, and what comes back.

use crate::command::{Outcome, Place, example};
use crate::oracle;
use serde_json::Value;

const EXAM: &str = "hours,passed\n0.5,0\n0.75,0\n1,0\n1.25,0\n1.5,0\n1.75,0\n1.75,1\n2,0\n2.25,1\n2.5,0\n2.75,1\n3,0\n\
    3.25,1\n3.5,0\n4,1\n4.25,1\n4.5,1\n4.75,1\n5,1\n5.5,1\n";

/// y = 2 + 3x with residuals +1, −1, −1, +1, and columns that no model has.
const LINE: &str = "id,name,x,y\n7,a,0,3\n8,\"b, c\",1,4\n9,,2,7\n10,d,3,12\n";

fn place() -> Place {
    let place = Place::new();
    place.write("exam.csv", EXAM);
    place.write("line.csv", LINE);
    place
}

/// Header and cells of a csv without quotes that matter.
fn cells(outcome: &Outcome) -> Vec<Vec<String>> {
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    outcome
        .text()
        .lines()
        .map(|line| line.split(',').map(str::to_owned).collect())
        .collect()
}

fn number(text: &str) -> f64 {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}

fn close(found: f64, exact: f64) -> bool {
    (found - exact).abs() <= 1e-9 * (1.0 + exact.abs())
}

#[test]
fn a_fit_is_in_every_report_that_has_a_place_for_it() {
    let place = place();
    let asked = ["analyze", "exam.csv", "--fit", "passed ~ hours", "--model", "logistic"];
    let run = |more: &[&str]| place.run(&[&asked, more].concat());
    let fit = &run(&["--format", "json"]).json()["groups"][0]["fit"];
    let keys: Vec<&str> = fit.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "model",
            "target",
            "terms",
            "coefficients",
            "standard_errors",
            "ridge",
            "loss",
            "r_squared",
            "residual_std",
            "rank",
            "rows",
            "iterations",
            "converged"
        ]
    );
    assert_eq!((&fit["model"], &fit["target"]), (&"logistic".into(), &"passed".into()));
    assert_eq!(fit["terms"], serde_json::json!(["intercept", "hours"]));
    assert!((fit["coefficients"][1].as_f64().unwrap() - 1.5046).abs() < 5e-5);
    assert_eq!((&fit["converged"], &fit["rows"]), (&true.into(), &20.into()));
    for format in ["table", "markdown", "html"] {
        let outcome = run(&["--format", format]);
        for part in [
            "Logistic fit passed ~ hours",
            "z value",
            "1.50465",
            "0.628721",
            "iterations",
        ] {
            assert!(outcome.text().contains(part), "{format}: {part}: {}", outcome.text());
        }
    }
    for format in ["csv", "parquet"] {
        let outcome = run(&["--format", format]);
        assert_eq!(outcome.status, 0);
        assert!(outcome.stderr.contains("the fit;"), "{}", outcome.stderr);
    }
    // Without --model it is linear: the same numbers as those of a regression.
    let linear = place.analyze(&["exam.csv", "--fit", "passed ~ hours", "--ridge", "2"]);
    let regression = place.analyze(&["exam.csv", "--regress", "passed ~ hours", "--ridge", "2"]);
    let (fit, regression) = (&linear["groups"][0]["fit"], &regression["groups"][0]["regression"]);
    assert_eq!((&fit["model"], fit["ridge"].as_f64()), (&"linear".into(), Some(2.0)));
    assert_eq!(fit["standard_errors"], regression["standard_errors"]);
    for i in 0..2 {
        let slopes = [fit, regression].map(|r| r["coefficients"][i].as_f64().unwrap());
        assert!(close(slopes[0], slopes[1]), "{slopes:?}");
    }
}

#[test]
fn what_a_fit_cannot_do_is_told() {
    let place = place();
    let fails = |args: &[&str], status, parts: &[&str]| {
        place
            .run(&[&["analyze", "exam.csv"], args].concat())
            .fails(status, parts);
    };
    let fit = ["--fit", "passed ~ hours"];
    let with = |more: &[&'static str]| [&fit, more].concat();
    fails(&with(&["--by", "hours"]), 2, &["--by"]);
    fails(&with(&["--window", "3 rows"]), 2, &["--window"]);
    fails(&with(&["--regress", "passed ~ hours"]), 2, &["--regress"]);
    fails(&with(&["--model", "cubic"]), 2, &["cubic", "logistic"]);
    fails(&with(&["--ridge", "-1"]), 2, &["ridge", "-1"]);
    fails(&["--model", "linear"], 2, &["--fit"]);
    fails(&["--fit", "passed"], 2, &["y ~ x1 + x2"]);
    fails(&["--fit", "passed ~ days"], 2, &["`days`", "hours"]);
    fails(
        &["--fit", "hours ~ passed", "--model", "logistic"],
        65,
        &["`hours`", "1.25", "between 0 and 1"],
    );
    fails(&with(&["--max-memory", "64"]), 1, &["--max-memory", "64", "--regress"]);
    // Room for the statistics alone is not enough for many rows.
    let many: String = (0..20_000).map(|i| format!("{i},{}\n", i % 7)).collect();
    place.write("many.csv", format!("a,b\n{many}"));
    let run = |what: &str| place.run(&["analyze", "many.csv", what, "a ~ b", "--max-memory", "200k"]);
    assert_eq!(run("--regress").status, 0);
    run("--fit").fails(1, &["rows of a fit are kept in memory", "--max-memory"]);

    // No fit is no failure: it is said, in the report and beside it.
    place.write("apart.csv", "x,y\n1,0\n2,0\n3,1\n4,1\n");
    let outcome = place.run(&[
        "analyze",
        "apart.csv",
        "--fit",
        "y ~ x",
        "--model",
        "logistic",
        "--format",
        "json",
    ]);
    assert!(outcome.stderr.contains("has not converged") && outcome.stderr.contains("separate"));
    let fit = &outcome.json()["groups"][0]["fit"];
    assert_eq!(
        (&fit["converged"], &fit["standard_errors"][1]),
        (&false.into(), &Value::Null)
    );
    assert!(fit["why"].as_str().unwrap().contains("separate"));
    // Nor are no rows.
    let outcome = place.run(&[
        "analyze",
        "apart.csv",
        "--fit",
        "y ~ x",
        "--where",
        "x > 9",
        "--format",
        "json",
    ]);
    assert_eq!(outcome.json()["groups"][0]["fit"]["rows"], 0);
}

/// Of y = 2 + 3x, with s² = 4/2, Sxx = 5, mean 1.5: the prediction interval at x is t s √(1 + 1/4 + (x − 1.5)²/5), with
/// t = 4.302652729749464 (97.5 % of Student's t with 2 degrees of freedom, of which the closed form is
/// (2p − 1) √2 / √(1 − (2p − 1)²)).
#[test]
fn a_linear_model_predicts_with_the_intervals_of_a_new_observation() {
    let place = place();
    let t = 0.95 * 2f64.sqrt() / (1.0 - 0.95 * 0.95f64).sqrt();
    assert!((t - 4.302652729749464).abs() < 1e-12);
    for how in ["--fit", "--regress"] {
        let saved = place.run(&["analyze", "line.csv", how, "y ~ x", "--save-model", "m.json"]);
        assert_eq!(saved.status, 0, "{}", saved.stderr);
        place.write("new.csv", "id,name,x,y\n7,a,0,3\n8,b,10,\n9,,,7\n");
        let table = cells(&place.run(&["transform", "new.csv", "--predict", "m.json"]));
        assert_eq!(
            table[0].join(","),
            "id,name,x,y,prediction,residual,prediction_low,prediction_high"
        );
        assert_eq!(table.len(), 4);
        for (row, x, residual) in [(1, 0.0f64, Some(1.0)), (2, 10.0, None)] {
            let half = t * (2.0 * (1.0 + 0.25 + (x - 1.5) * (x - 1.5) / 5.0)).sqrt();
            let exact = 2.0 + 3.0 * x;
            let found: Vec<&str> = table[row][4..].iter().map(String::as_str).collect();
            assert!(close(number(found[0]), exact), "{how}: {found:?}");
            match residual {
                Some(residual) => assert!(close(number(found[1]), residual), "{found:?}"),
                None => assert_eq!(found[1], ""),
            }
            assert!(close(number(found[2]), exact - half), "{found:?}, not {}", exact - half);
            assert!(close(number(found[3]), exact + half), "{found:?}");
        }
        // A row without a value of a term has no prediction, and keeps its place.
        assert_eq!(table[3], ["9", "", "", "7", "", "", "", ""]);
    }
    // Another level; without the target there are no residuals; columns that are not of the model are kept as they are.
    let table = place.run(&["transform", "line.csv", "--predict", "m.json", "--level", "0.5"]);
    assert!(table.text().contains("8,\"b, c\",1,4,"), "{}", table.text());
    let low = number(table.text().lines().nth(1).unwrap().split(',').nth(6).unwrap());
    let t = 0.5 * 2f64.sqrt() / (1.0 - 0.25f64).sqrt();
    assert!(close(low, 2.0 - t * (2.0 * (1.25 + 0.45f64)).sqrt()), "{low}");
    let table = cells(&place.feed(&["transform", "-", "--predict", "m.json"], b"x\n4\n"));
    assert_eq!(table[0], ["x", "prediction", "prediction_low", "prediction_high"]);
    assert!(close(number(&table[1][1]), 14.0));
}

/// The probability and the ends of its interval lie on the logistic curve of the linear predictor and its variance.
#[test]
fn a_logistic_model_predicts_probabilities() {
    let place = place();
    place.run(&[
        "analyze",
        "exam.csv",
        "--fit",
        "passed ~ hours",
        "--model",
        "logistic",
        "--save-model",
        "m.json",
    ]);
    let table = cells(&place.run(&["transform", "exam.csv", "--predict", "m.json"]));
    // Published: 2 hours 0.26, 4 hours 0.87.
    let of = |hours: &str| table.iter().find(|row| row[0] == hours).unwrap();
    assert!((number(&of("2")[2]) - 0.26).abs() < 0.005 && (number(&of("4")[2]) - 0.87).abs() < 0.005);
    let model: Value = serde_json::from_slice(&std::fs::read(place.path("m.json")).unwrap()).unwrap();
    let exact = {
        let rows: Vec<Vec<f64>> = table[1..].iter().map(|row| vec![1.0, number(&row[0])]).collect();
        let target: Vec<f64> = table[1..].iter().map(|row| number(&row[1])).collect();
        crate::precise::fit(&rows, &target, 0.0)
    };
    assert_eq!(model["models"][0]["converged"], true);
    let c = |i: usize, j: usize| exact.covariance[i][j].to_f64();
    let (w0, w1) = (exact.weights[0].to_f64(), exact.weights[1].to_f64());
    // 97.5 % of the normal distribution.
    let z = 1.959_963_984_540_054;
    for row in &table[1..] {
        let x = number(&row[0]);
        let (eta, variance) = (w0 + w1 * x, c(0, 0) + 2.0 * x * c(0, 1) + x * x * c(1, 1));
        let p = |eta: f64| 1.0 / (1.0 + (-eta).exp());
        let half = z * variance.sqrt();
        let want = [p(eta), number(&row[1]) - p(eta), p(eta - half), p(eta + half)];
        for (found, want) in row[2..].iter().zip(want) {
            assert!(close(number(found), want), "{row:?}: {found}, not {want}");
        }
    }
}

#[test]
fn models_of_keys_predict_the_rows_of_their_keys() {
    let place = Place::new();
    let weather = example("seattle-weather.csv");
    let args = ["--regress", "temp_max ~ temp_min + wind", "--by", "weather"];
    let saved = place.run(&[&["analyze", &weather, "--save-model", "m.json"], &args[..]].concat());
    assert_eq!(saved.status, 0, "{}", saved.stderr);
    let outcome = place.run(&["transform", &weather, "--predict", "m.json", "-o", "p.parquet"]);
    assert_eq!((outcome.status, outcome.text()), (0, ""), "{}", outcome.stderr);
    // Residuals of a fit with an intercept add up to 0, in each group and so in all.
    let report = place.analyze(&["p.parquet", "--by", "weather"]);
    let groups = report["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 5);
    for group in groups {
        let column = |name: &str, what: &str| group["columns"][name][what].as_f64().unwrap();
        assert_eq!(column("residual", "count"), group["rows"].as_f64().unwrap());
        assert!(column("residual", "sum").abs() < 1e-9, "{group}");
        assert!(column("prediction_low", "max") < column("prediction_high", "max"));
    }
    // A key that the models do not know has no prediction; the reader is told.
    let rows = b"weather,temp_min,wind\nsun,1,2\nhail,1,2\n";
    let outcome = place.feed(&["transform", "-", "--predict", "m.json"], rows);
    assert!(
        outcome.stderr.contains("1 row without a prediction"),
        "{}",
        outcome.stderr
    );
    let table = cells(&outcome);
    assert!(!table[1][3].is_empty() && table[2][3].is_empty(), "{table:?}");
}

#[test]
fn far_from_zero_intervals_keep_their_digits() {
    let place = Place::new();
    let near: Vec<f64> = (0..50).map(|i| f64::from(i * i % 17)).collect();
    let y: Vec<f64> = near.iter().enumerate().map(|(i, x)| x + (i % 3) as f64).collect();
    let rows: String = near
        .iter()
        .zip(&y)
        .map(|(x, y)| format!("{},{x},{y}\n", 1e9 + x))
        .collect();
    place.write("t.csv", format!("far,near,y\n{rows}"));
    let predicted = |term: &str| {
        let formula = format!("y ~ {term}");
        let saved = place.run(&["analyze", "t.csv", "--regress", &formula, "--save-model", "m.json"]);
        assert_eq!(saved.status, 0);
        cells(&place.run(&["transform", "t.csv", "--predict", "m.json"]))
    };
    let (far, near) = (predicted("far"), predicted("near"));
    for (far, near) in far[1..].iter().zip(&near[1..]) {
        for i in 3..7 {
            assert!((number(&far[i]) - number(&near[i])).abs() < 1e-9, "{far:?} {near:?}");
        }
    }
}

#[test]
fn what_is_no_model_is_refused() {
    let place = place();
    let fails = |args: &[&str], status, parts: &[&str]| {
        place.run(&[&["transform"], args].concat()).fails(status, parts);
    };
    let predict = |model: &'static str| ["line.csv", "--predict", model];
    place.run(&["analyze", "line.csv", "--fit", "y ~ x", "--save-model", "m.json"]);
    fails(&["line.csv"], 2, &["--predict"]);
    fails(&["--predict", "m.json"], 2, &["INPUT"]);
    fails(&predict("none.json"), 66, &["none.json"]);
    fails(&["none.csv", "--predict", "m.json"], 66, &["none.csv"]);
    place.write("text.json", "hello");
    fails(&predict("text.json"), 65, &["text.json", "no saved model"]);
    place.write("other.json", r#"{"schema": "millstream.report/1", "groups": []}"#);
    fails(
        &predict("other.json"),
        65,
        &["millstream.report/1", "millstream.model/1"],
    );
    place.write("later.json", r#"{"schema": "millstream.model/2", "models": []}"#);
    fails(
        &predict("later.json"),
        65,
        &["millstream.model/2", "millstream.model/1"],
    );
    place.write("none-in.json", r#"{"schema": "millstream.model/1", "models": []}"#);
    fails(&predict("none-in.json"), 65, &["no model in it"]);
    place.write(
        "torn.json",
        r#"{"schema": "millstream.model/1", "models": [{"key": null}]}"#,
    );
    fails(&predict("torn.json"), 65, &["torn.json", "missing field"]);
    let model = std::fs::read_to_string(place.path("m.json")).unwrap();
    for (name, from, to, part) in [
        ("a.json", "\"linear\"", "\"cubic\"", "cubic"),
        (
            "b.json",
            "\"centre\": [1.5]",
            "\"centre\": [1.5, 2.0, 3.0]",
            "another number of terms",
        ),
        (
            "c.json",
            "[\"intercept\", \"x\"]",
            "[\"intercept\"]",
            "another number of terms",
        ),
        ("d.json", "\"covariance\": [", "\"covariance\": [[1.0],", "another size"),
    ] {
        assert!(model.contains(from), "{model}");
        place.write(name, model.replace(from, to));
        fails(&["line.csv", "--predict", name], 65, &[name, part]);
    }
    // Columns that are not there, not numbers, or in the way.
    place.write("lacks.csv", "id,y\n1,2\n");
    fails(&["lacks.csv", "--predict", "m.json"], 2, &["`x`", "id, y"]);
    place.write("text.csv", "x,y\na,1\nb,2\n");
    fails(&["text.csv", "--predict", "m.json"], 2, &["`x`", "not numeric"]);
    place.write("taken.csv", "x,prediction\n1,2\n");
    fails(&["taken.csv", "--predict", "m.json"], 2, &["`prediction`"]);
    for level in ["0", "1", "-0.5", "NaN"] {
        fails(&["line.csv", "--predict", "m.json", "--level", level], 2, &["level"]);
    }
    fails(&["line.csv", "--predict", "m.json", "-o", "out.xml"], 2, &["out.xml"]);
    fails(
        &["line.csv", "--predict", "m.json", "-o", "m.json", "--format", "csv"],
        2,
        &["m.json"],
    );
    fails(&["line.csv", "--predict", "m.json", "-o", "line.csv"], 2, &["line.csv"]);
    fails(&["line.csv", "--predict", "m.json", "-o", "no/out.csv"], 74, &["no"]);
    // Models of windows say nothing of other rows.
    place.run(&[
        "analyze",
        "line.csv",
        "--regress",
        "y ~ x",
        "--window",
        "2 rows",
        "--save-model",
        "w.json",
    ]);
    fails(&predict("w.json"), 65, &["--window"]);
    // A fit that was not determined predicts nothing.
    place.write("empty.csv", "x,y\n,\n");
    place.run(&["analyze", "empty.csv", "--fit", "y ~ x", "--save-model", "e.json"]);
    fails(&predict("e.json"), 65, &["not determined"]);
}

#[test]
fn bad_rows_and_many_batches_go_through() {
    let place = place();
    place.run(&["analyze", "line.csv", "--fit", "y ~ x", "--save-model", "m.json"]);
    let rows: String = (0..200_000).map(|i| format!("{},k{}\n", i % 1000, i % 3)).collect();
    place.write("long.csv", format!("x,k\n{rows}5,k\n"));
    let table = cells(&place.run(&["transform", "long.csv", "--predict", "m.json"]));
    assert_eq!(table.len(), 200_002);
    for (i, row) in table[1..200_001].iter().enumerate() {
        let x = (i % 1000) as f64;
        assert!(
            close(number(&row[2]), 2.0 + 3.0 * x) && row[1] == format!("k{}", i % 3),
            "{i}: {row:?}"
        );
    }
    place.write("bad.csv", "x\n1\noops\n2\n");
    place
        .run(&["transform", "bad.csv", "--predict", "m.json", "-o", "o.csv"])
        .fails(65, &["bad.csv", "oops"]);
    let skipped = place.run(&["transform", "bad.csv", "--predict", "m.json", "--bad-rows", "skip"]);
    assert!(skipped.stderr.contains("1 row could not be read"), "{}", skipped.stderr);
    assert_eq!(cells(&skipped).len(), 3);
    place.run(&[
        "transform",
        "bad.csv",
        "--predict",
        "m.json",
        "--bad-rows",
        "quarantine=q.ndjson",
        "-o",
        "o.csv",
    ]);
    assert!(
        std::fs::read_to_string(place.path("q.ndjson"))
            .unwrap()
            .contains("oops")
    );
    // A model whose covariance is not known has no intervals.
    let fit = oracle::least_squares(&[3.0, 4.0], &[&[0.0, 1.0]], true, 0.0).unwrap();
    assert!(fit.standard_errors.is_none());
    place.write("two.csv", "x,y\n0,3\n1,4\n");
    place.run(&["analyze", "two.csv", "--fit", "y ~ x", "--save-model", "two.json"]);
    let outcome = place.run(&["transform", "two.csv", "--predict", "two.json"]);
    assert!(outcome.stderr.contains("no intervals"), "{}", outcome.stderr);
    assert_eq!(cells(&outcome)[0], ["x", "y", "prediction", "residual"]);
}
