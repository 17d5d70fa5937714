//! Alerts over real summaries, and their state against a model that remembers every window of every key.

use super::*;
use crate::report::{Group, KeyValue, Named, WindowBounds, example};
use crate::spec::Window;
use crate::summary::{LeafRun, Summary};
use proptest::prelude::*;
use std::time::Duration;

const COLUMNS: [&str; 2] = ["x", "y"];

fn columns() -> Vec<String> {
    COLUMNS.iter().map(ToString::to_string).collect()
}

fn spec() -> Spec {
    Spec::new().covariance().differences().quantiles(&[0.5])
}

/// The summary of these rows of x and y.
fn summary(rows: &[[f64; 2]]) -> Summary {
    let shape = spec().shape(&columns(), 2).unwrap();
    let mut run = LeafRun::new(&shape);
    for row in rows {
        run.push(&shape, row, None);
    }
    run.finish(&shape)
}

/// The final report of window k of a key.
fn report(key: Option<&str>, k: i64, rows: &[[f64; 2]]) -> Emission {
    let mut group: Group = example::keyed_windows().groups.remove(0);
    group.key = key.map(|key| Named::from_iter([("k".to_owned(), KeyValue::Text(key.into()))]));
    group.window = Some(WindowBounds::of(Window::tumbling(Duration::from_secs(1)), k));
    group.columns = COLUMNS
        .iter()
        .map(|name| (name.to_string(), example::column(3, 1.0, 1.0)))
        .collect();
    Emission::new("main".into(), group, summary(rows))
}

fn alerts(conditions: &[(&str, u64)]) -> Alerts {
    let rules = conditions
        .iter()
        .map(|(when, n)| AlertRule::new(when, when, *n).unwrap());
    let rules: Vec<AlertRule> = rules.collect();
    Alerts::new("main".into(), &rules, &spec(), &columns(), 1000).unwrap()
}

/// The value of the left side and whether the condition holds, for these rows.
fn value(when: &str, rows: &[[f64; 2]]) -> Option<f64> {
    let events = alerts(&[(when, 1)]).evaluate(&[report(None, 0, rows)], 7).unwrap();
    events.first().and_then(|event| event.value)
}

#[test]
fn every_number_is_what_the_rows_say() {
    // x: mean 4, Σd² = 8 + 8 + 0 = 14 …: by hand, for x = 2 4 6 and y = 1 4 1.
    let rows = [[2.0, 1.0], [4.0, 4.0], [6.0, 1.0]];
    for (number, expected) in [
        ("x.count", 3.0),
        ("x.missing", 0.0),
        ("x.sum", 12.0),
        ("x.mean", 4.0),
        ("x.variance", 4.0),
        ("x.std", 2.0),
        ("x.skewness", 0.0),
        ("x.kurtosis", -1.5),
        ("y.min", 1.0),
        ("y.max", 4.0),
        ("x.\"quantile_0.5\"", 4.0),
        ("x.differences_count", 2.0),
        ("x.differences_mean", 2.0),
        ("y.differences_min", -3.0),
        ("corr(x, y)", 0.0),
        ("corr(x, x)", 1.0),
        ("slope(x, x)", 1.0),
        ("slope(y, x)", 0.0),
        ("rows", 3.0),
        ("late_rows", 7.0),
    ] {
        let got = value(&format!("{number} > -1000"), &rows);
        assert!(
            got.is_some_and(|x| (x - expected).abs() < 1e-12),
            "{number}: {got:?}, not {expected}"
        );
    }
    // y = 3 x + 1.
    let line: Vec<[f64; 2]> = (0..50).map(|i| [f64::from(i), 3.0 * f64::from(i) + 1.0]).collect();
    assert!((value("slope(y, x) > 0", &line).unwrap() - 3.0).abs() < 1e-12);
    assert!((value("slope(x, y) > 0", &line).unwrap() - 1.0 / 3.0).abs() < 1e-12);
    let mut ewm = report(None, 0, &rows);
    ewm.group.columns.values_mut()[1].ewm_mean = Some(2.5);
    let events = alerts(&[("y.ewm_mean = 2.5", 1)]).evaluate(&[ewm], 0).unwrap();
    assert_eq!(events.len(), 1);
}

#[test]
fn null_does_not_hold() {
    let one = [[2.0, f64::NAN]];
    for when in [
        "x.variance >= 0",
        "y.mean > -1e300",
        "corr(x, y) >= -1",
        "slope(y, x) < 1e300",
        "not (x.variance >= 0)",
        "y.mean <> 3",
    ] {
        assert_eq!(
            alerts(&[(when, 1)]).evaluate(&[report(None, 0, &one)], 0).unwrap(),
            [],
            "{when}"
        );
    }
    assert_eq!(
        alerts(&[("y.mean is null", 1)])
            .evaluate(&[report(None, 0, &one)], 0)
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn an_alert_begins_and_ends_once_a_key() {
    let mut alerts = alerts(&[("x.mean > 10 and y.mean > 0", 2)]);
    let at = |key, k, x: f64| report(Some(key), k, &[[x, 1.0]]);
    let mut told = Vec::new();
    for window in [
        vec![at("a", 0, 11.0), at("b", 0, 12.0)],
        vec![at("a", 1, 12.0), at("b", 1, 9.0)],
        vec![at("a", 2, 13.0), at("b", 2, 13.0)],
        vec![at("a", 3, 5.0), at("b", 3, 14.0)],
    ] {
        told.extend(alerts.evaluate(&window, 0).unwrap());
    }
    let lines: Vec<String> = told.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "alert x.mean > 10 and y.mean > 0 begins (feed main, k=a, window 1970-01-01T00:00:00Z): 12",
            "alert x.mean > 10 and y.mean > 0 ends (feed main, k=a, window 1970-01-01T00:00:03Z, since \
             1970-01-01T00:00:00Z): 5",
            "alert x.mean > 10 and y.mean > 0 begins (feed main, k=b, window 1970-01-01T00:00:02Z): 14",
        ]
    );
    assert_eq!(alerts.active(), 1);
}

#[test]
fn what_is_not_final_not_ours_or_only_a_part_does_not_count() {
    let mut alerts = alerts(&[("x.mean > 10", 2)]);
    let high = |k| report(None, k, &[[11.0, 0.0]]);
    let mut preliminary = high(0);
    preliminary.is_final = false;
    let mut foreign = high(0);
    foreign.feed = "other".into();
    let mut part = high(0);
    part.part = 1;
    assert_eq!(alerts.evaluate(&[preliminary, high(0), foreign, part], 0).unwrap(), []);
    assert_eq!(alerts.evaluate(&[high(1)], 0).unwrap().len(), 1);
}

#[test]
fn configurations_that_make_no_sense_say_why() {
    let refused = |when: &str, spec: &Spec| {
        let rule = AlertRule::new("fever", when, 1);
        let result = rule.and_then(|rule| Alerts::new("main".into(), &[rule], spec, &columns(), 10));
        let error = result.err().unwrap();
        assert_eq!(error.exit_code(), 78, "{when}: {error}");
        error.to_string()
    };
    for (when, part) in [
        ("x.mean >", "cannot read"),
        ("x.mean + 1", "is a number"),
        ("z.mean > 1", "no column `z`; the columns are: x, y"),
        ("x.mode > 1", "`mode` is no statistic of `x`"),
        ("x.mean > 'a'", "text"),
    ] {
        let text = refused(when, &spec());
        assert!(text.contains("`fever`") && text.contains(part), "{text}");
    }
    for (when, part) in [
        ("corr(x, y) > 0.5", "covariance = true"),
        ("x.\"quantile_0.5\" > 1", "quantiles"),
        ("x.differences_max > 1", "differences = true"),
    ] {
        assert!(refused(when, &Spec::new()).contains(part), "{when}");
        let needs = AlertRule::new("a", when, 1).unwrap().needs();
        let parts = [needs.comoments, needs.quantiles, needs.differences];
        assert_eq!(parts.iter().filter(|part| **part).count(), 1, "{when}");
    }
    assert!(AlertRule::new("a", "rows > 1", 0).is_err());
}

#[test]
fn state_that_is_damaged_or_of_another_alert_is_not_taken() {
    let mut first = alerts(&[("x.mean > 10", 1)]);
    first.evaluate(&[report(Some("a"), 0, &[[11.0, 0.0]])], 0).unwrap();
    let bytes = first.to_bytes();
    let mut changed = alerts(&[("x.mean > 11", 1)]);
    changed.restore(&bytes).unwrap();
    assert_eq!(changed.active(), 0);
    let mut same = alerts(&[("y.mean > 0", 1), ("x.mean > 10", 1)]);
    same.restore(&bytes).unwrap();
    assert_eq!(same.active(), 1);
    for length in 0..bytes.len() {
        assert_eq!(
            same.restore(&bytes[..length]).unwrap_err().exit_code(),
            65,
            "{length} bytes"
        );
        assert_eq!(same.active(), 1);
    }
    let newer = String::from_utf8(bytes)
        .unwrap()
        .replace("\"version\":1", "\"version\":2");
    assert!(
        same.restore(newer.as_bytes())
            .unwrap_err()
            .to_string()
            .contains("version 2")
    );
}

#[test]
fn keys_beyond_the_limit_are_given_up_oldest_first() {
    let rule = AlertRule::new("high", "x.mean > 10", 1).unwrap();
    let mut alerts = Alerts::new("main".into(), &[rule], &spec(), &columns(), 10).unwrap();
    for k in 0..30 {
        let name = format!("{k}");
        alerts.evaluate(&[report(Some(&name), k, &[[11.0, 0.0]])], 0).unwrap();
        assert!(alerts.active() <= 10);
    }
    assert_eq!(alerts.active() as u64 + alerts.forgotten(), 30);
    let events = alerts.evaluate(
        &[
            report(Some("29"), 30, &[[1.0, 0.0]]),
            report(Some("0"), 30, &[[1.0, 0.0]]),
        ],
        0,
    );
    let ended: Vec<_> = events
        .unwrap()
        .into_iter()
        .map(|e| e.key.unwrap()["k"].clone())
        .collect();
    assert_eq!(ended, [KeyValue::Text("29".into())]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Against a model that keeps every window of every key; with a restart anywhere.
    #[test]
    fn state_is_what_history_says(
        history in prop::collection::vec((0usize..3, 0u8..3), 1..60),
        for_windows in 1u64..4,
        restart in 0usize..60,
    ) {
        let keys = ["a", "b", "c"];
        let mut subject = alerts(&[("x.mean > 10", for_windows)]);
        let mut seen: [Vec<(i64, bool)>; 3] = Default::default();
        for (k, (key, level)) in history.into_iter().enumerate() {
            if k == restart {
                let bytes = subject.to_bytes();
                subject = alerts(&[("x.mean > 10", for_windows)]);
                subject.restore(&bytes).unwrap();
                prop_assert_eq!(subject.to_bytes(), bytes);
            }
            let x = [9.0, 11.0, f64::NAN][usize::from(level)];
            let holds = level == 1;
            let events = subject.evaluate(&[report(Some(keys[key]), k as i64, &[[x, 0.0]])], 0).unwrap();
            let before = seen[key].iter().rev().take_while(|(_, holds)| *holds).count() as u64;
            seen[key].push((k as i64, holds));
            let begins = holds && before + 1 == for_windows;
            let ends = !holds && before >= for_windows;
            prop_assert_eq!(events.len(), usize::from(begins || ends));
            for event in events {
                let length = if begins { for_windows } else { before + 1 };
                let first = seen[key][seen[key].len() - length as usize].0;
                let window = |k: i64| Some(WindowBounds::of(Window::tumbling(Duration::from_secs(1)), k));
                prop_assert_eq!(event.started, window(first));
                prop_assert_eq!(event.ended, if ends { window(k as i64) } else { None });
                prop_assert_eq!(event.value, (level < 2).then_some(x));
            }
        }
        let running = |s: &Vec<(i64, bool)>| s.last().is_some_and(|last| last.1);
        let kept: usize = subject.bound[0].keys.len();
        prop_assert_eq!(kept, seen.iter().filter(|s| running(s)).count());
    }
}
