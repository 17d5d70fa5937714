//! Rows one at a time come to what the engine makes of the same rows in one batch, to the last bit.

use crate::random::Random;
use millstream::{Batch, Engine, Error, Online, Precision, Report, Spec};
use std::time::Duration;

const NAMES: [&str; 3] = ["x", "y", "z"];

/// A row with its event time.
type Row = (i64, [f64; 3]);

/// Rows of which some lack a value, some have an infinite one, and some step back in time.
fn rows(count: usize) -> Vec<Row> {
    let mut random = Random::new(11);
    let mut at = -5_000_000_000;
    let mut row = || {
        at += random.below(20_000_000) as i64;
        let x = 1e6 + random.normal();
        let y = match random.below(40) {
            0 => f64::NAN,
            _ => 2.0 * x + random.normal(),
        };
        let z = match random.below(900) {
            0 => f64::INFINITY,
            1 => 1e300 * random.normal(),
            _ => 1e-3 * random.normal(),
        };
        (at - if random.below(30) == 0 { 3_000_000_000 } else { 0 }, [x, y, z])
    };
    (0..count).map(|_| row()).collect()
}

fn batch(rows: &[Row], timed: bool) -> Batch {
    let column = |c: usize| (NAMES[c], rows.iter().map(|(_, row)| row[c]).collect());
    let batch = Batch::from_columns((0..3).map(column)).unwrap();
    match timed {
        true => batch
            .with_time_ns(rows.iter().map(|(time, _)| *time).collect())
            .unwrap(),
        false => batch,
    }
}

fn push(online: &mut Online, (time_ns, row): &Row, timed: bool) {
    match timed {
        true => online.push_at(*time_ns, row),
        false => online.push(row),
    }
    .unwrap();
}

/// Every number of a report, with all its digits; NaN is equal to itself here.
fn numbers(report: &Report) -> String {
    format!("{} {:?}", report.rows, report.groups)
}

/// `(spec, whether rows have an event time)`.
fn specs() -> Vec<(Spec, bool)> {
    let everything = Spec::new()
        .covariance()
        .correlation()
        .differences()
        .quantiles(&[0.1, 0.5])
        .regression("y", &["x", "z"]);
    vec![
        (Spec::new().mean_and_variance(), false),
        (Spec::new().columns(["z", "x"]).covariance(), false),
        (everything.clone(), false),
        (everything.clone().precision(Precision::Fast), true),
        (everything.ewm(Duration::from_secs(2)), true),
        (Spec::new().columns(["x"]).regression("z", &["y"]), false),
    ]
}

#[test]
fn the_bits_are_those_of_a_batch() {
    // Leaves have 4096 rows.
    let all = rows(13_001);
    for (spec, timed) in specs() {
        for count in [1, 2, 300, 4095, 4096, 4097, 8192, all.len()] {
            let mut online = Online::new(spec.clone(), NAMES).unwrap();
            all[..count].iter().for_each(|row| push(&mut online, row, timed));
            assert_eq!(online.rows(), count as u64);
            let whole = Engine::new(spec.clone()).unwrap().analyze(&batch(&all[..count], timed));
            assert_eq!(
                numbers(&online.finish().unwrap()),
                numbers(&whole.unwrap()),
                "{spec:?}: {count}"
            );
        }
    }
}

#[test]
fn a_report_on_the_way_is_that_of_the_rows_so_far_and_changes_nothing() {
    let all = rows(9_000);
    for (spec, timed) in specs() {
        let mut random = Random::new(3);
        let mut next = 0;
        let mut online = Online::new(spec.clone(), NAMES).unwrap();
        let report = |rows: &[Row]| {
            let report = Engine::new(spec.clone()).unwrap().analyze(&batch(rows, timed));
            numbers(&report.unwrap())
        };
        for (i, row) in all.iter().enumerate() {
            push(&mut online, row, timed);
            if i == next {
                assert_eq!(numbers(&online.report().unwrap()), report(&all[..=i]), "{spec:?}: {i}");
                next += 1 + random.below(2000) as usize;
            }
        }
        let whole = report(&all);
        assert_eq!(numbers(&online.report().unwrap()), whole);
        assert_eq!(numbers(&online.finish().unwrap()), whole);
        // And then from the beginning, where a time need not be there that was there before.
        let other = !timed || spec.ewm_half_life_ns.is_some();
        assert_eq!(online.rows(), 0);
        assert!(online.report().unwrap().groups.is_empty());
        all[..100].iter().for_each(|row| push(&mut online, row, other));
        let again = Engine::new(spec.clone()).unwrap().analyze(&batch(&all[..100], other));
        assert_eq!(numbers(&online.finish().unwrap()), numbers(&again.unwrap()));
    }
}

#[test]
fn a_row_that_does_not_fit_is_refused_and_leaves_nothing() {
    let all = rows(5_000);
    let usage = |result: millstream::Result<()>, what: &str| match result {
        Err(Error::Usage(message)) => assert!(message.contains(what), "{message}"),
        other => panic!("{other:?}"),
    };
    for timed in [false, true] {
        let spec = Spec::new().covariance().differences();
        let mut online = Online::new(spec.clone(), NAMES).unwrap();
        usage(online.push(&[]), "0 values, and there are 3 columns: x, y, z");
        // Not taken: it does not say either whether rows have a time.
        usage(online.push_at(1, &[1.0; 4]), "4 values");
        for row in &all {
            push(&mut online, row, timed);
            if online.rows() % 1000 == 1 {
                usage(online.push(&[1.0, 2.0]), "2 values");
                match timed {
                    true => usage(online.push(&[1.0; 3]), "had an event time"),
                    false => usage(online.push_at(1, &[1.0; 3]), "had no event time"),
                }
            }
        }
        let whole = Engine::new(spec).unwrap().analyze(&batch(&all, timed)).unwrap();
        assert_eq!(numbers(&online.finish().unwrap()), numbers(&whole));
    }
    let mut online = Online::new(Spec::new().ewm(Duration::from_secs(1)), ["x"]).unwrap();
    usage(online.push(&[1.0]), "asks for event time");
    online.push_at(0, &[1.0]).unwrap();
    assert_eq!(online.finish().unwrap().rows, 1);
}

#[test]
fn what_has_no_answer_is_refused_at_once() {
    let refused = |spec: Spec, names: &[&str], what: &str| match Online::new(spec, names.iter().copied()) {
        Err(Error::Usage(message)) => assert!(message.contains(what), "{message}"),
        other => panic!("{other:?}"),
    };
    let window = millstream::Window::tumbling(Duration::from_secs(1));
    refused(Spec::new().by(["k"]), &["x"], "without keys and windows");
    refused(Spec::new().window(window), &["x"], "without keys and windows");
    refused(Spec::new(), &[], "no column is named");
    refused(Spec::new(), &["x", "x"], "two columns `x`");
    refused(Spec::new().columns(["y"]), &["x"], "there is no numeric column `y`");
    refused(
        Spec::new().regression("y", &["x"]),
        &["x"],
        "there is no numeric column `y`",
    );
    refused(Spec::new().quantiles(&[2.0]), &["x"], "between 0 and 1");
    let mut engine = Engine::new(Spec::new().by(["k"])).unwrap();
    assert!(matches!(engine.report_so_far(), Err(Error::Usage(_))));
}
