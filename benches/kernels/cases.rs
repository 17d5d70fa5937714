//! Kernels and shapes: rows made of whole numbers, what is asked of them, and the answer in whole-number arithmetic.
//!
//! Sums of the numbers here are whole and far below 2^53·2^64, so `i128` has them exactly and a right answer differs by
//! the roundings of a few divisions; [`CLOSE`] is a thousand of those. Nothing of the engine takes part in the answers.

mod merging;
mod online;
mod row_by_row;
mod table;
mod text;

use arrow::array::{ArrayRef, Int64Array};
use millstream::backend::Backend;
use millstream::backend::cpu::Cpu;
use millstream::spec::{ModelSpec, Precision, Window};
use millstream::{Batch, Engine, Report, Spec};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use table::Table;

/// Relative to the greatest expected number of a case.
const CLOSE: f64 = 1000.0 * f64::EPSILON;

/// Numbers that a case computes, in an order that its expectation has too.
pub(crate) type Numbers = Vec<f64>;

/// One kernel on one shape.
pub(crate) struct Case {
    pub(crate) name: String,
    /// Values that are read.
    pub(crate) values: u64,
    pub(crate) run: Box<dyn FnMut() -> Numbers>,
    expected: Numbers,
    /// By how much a number may differ, relative to the greatest of all.
    close: f64,
}

impl Case {
    /// Runs it once; a wrong answer is an error.
    pub(crate) fn verify(&mut self) -> Result<(), String> {
        let got = (self.run)();
        self.judge(&got)
    }

    /// Whether an answer is right.
    pub(crate) fn judge(&self, got: &Numbers) -> Result<(), String> {
        let scale = self.expected.iter().fold(0.0f64, |scale, x| scale.max(x.abs()));
        if got.len() != self.expected.len() {
            return Err(format!(
                "{}: {} numbers, not {}",
                self.name,
                got.len(),
                self.expected.len()
            ));
        }
        let wrong = |(a, b): &(&f64, &f64)| (**a - **b).abs() > self.close * scale || a.is_nan();
        match got.iter().zip(&self.expected).find(wrong) {
            Some((got, expected)) => Err(format!("{}: {got} instead of {expected}", self.name)),
            None => Ok(()),
        }
    }
}

fn moments_of(report: &Report) -> Numbers {
    let columns = report.groups.iter().flat_map(|group| group.columns.values());
    columns
        .flat_map(|c| [c.mean.unwrap_or(f64::NAN), c.variance.unwrap_or(f64::NAN)])
        .collect()
}

fn covariances_of(report: &Report) -> Numbers {
    let Some(covariance) = &report.groups[0].covariance else {
        return Vec::new();
    };
    let rows = covariance.matrix.iter().enumerate();
    rows.flat_map(|(i, row)| row[i..].iter().map(|x| x.unwrap_or(f64::NAN)))
        .collect()
}

fn analyze(spec: &Spec, batch: &Batch) -> Report {
    let report = Engine::new(spec.clone()).and_then(|mut engine| engine.analyze(batch));
    report.expect("a report")
}

/// Adds cases over about so many values each.
type Make = fn(usize, &mut Vec<Case>);

/// Every case whose name begins so, over about so many values each.
pub(crate) fn all(values: usize, beginning: &str) -> Vec<Case> {
    let kinds: [(&[&str], Make); 10] = [
        (&["moments"], columns),
        (&["covariance"], matrices),
        (&["least squares"], regressions),
        (&["differences", "quantiles"], rows_between),
        (&["loss"], losses),
        (&["groups"], groups),
        (&["row by row"], row_by_row::add),
        (&["row at a time"], online::add),
        (&["merging"], merging::add),
        (&["text"], text::add),
    ];
    let mut cases = Vec::new();
    for (names, make) in kinds {
        // What nobody asks for is not made: that takes longer than a case.
        if names
            .iter()
            .any(|name| beginning.starts_with(name) || name.starts_with(beginning))
        {
            make(values, &mut cases);
        }
    }
    cases.retain(|case| case.name.starts_with(beginning));
    cases
}

fn columns(values: usize, cases: &mut Vec<Case>) {
    const COLUMNS: usize = 8;
    let table = Table::new(values / COLUMNS, COLUMNS);
    let mut add = |name: &str, spec: Spec, batch: Batch, expected: Numbers| {
        cases.push(Case {
            name: format!("moments/{name}"),
            values: table.values(),
            run: Box::new(move || moments_of(&analyze(&spec, &batch))),
            expected,
            close: CLOSE,
        });
    };
    let two = || Spec::new().mean_and_variance();
    let all = table.moments(|_| true);
    add(
        "mean and variance, f64",
        two(),
        table.batch(false, |_| false),
        all.clone(),
    );
    add(
        "mean and variance, f32",
        two(),
        table.batch(true, |_| false),
        all.clone(),
    );
    add(
        "four moments, f64",
        Spec::new(),
        table.batch(false, |_| false),
        all.clone(),
    );
    add("four moments, f32", Spec::new(), table.batch(true, |_| false), all);
    let missing = |i: usize| i % 97 == 13;
    let present = table.moments(|i| !missing(i));
    add(
        "mean and variance, f64, 1 % NaN",
        two(),
        table.batch(false, missing),
        present.clone(),
    );
    add(
        "mean and variance, f64, 1 % null",
        two(),
        table.batch_with_nulls(missing),
        present,
    );

    // Rows that keep arriving, ten thousand at a time.
    let (batch, expected) = (table.batch(false, |_| false), table.moments(|_| true));
    cases.push(Case {
        name: "moments/mean and variance, f64, micro-batches".into(),
        values: table.values(),
        run: Box::new(move || {
            let mut engine = Engine::new(Spec::new().mean_and_variance()).expect("an engine");
            for first in (0..batch.rows()).step_by(10_000) {
                let part = batch.slice(first, 10_000.min(batch.rows() - first));
                engine.push(&part).expect("rows that fit");
            }
            moments_of(&engine.finish().expect("a report"))
        }),
        expected,
        close: CLOSE,
    });
}

fn matrices(values: usize, cases: &mut Vec<Case>) {
    for columns in [2, 8, 16, 64, 256] {
        // As many operations as 16 columns take, and more rows than columns.
        let table = Table::new((16 * values / (columns * columns)).max(4 * columns), columns);
        for (single, fast) in [(false, false), (true, false), (true, true)] {
            // The precision matters where products are most of the work.
            if fast && columns < 64 {
                continue;
            }
            let batch = table.batch(single, |_| false);
            let spec = Spec::new().mean_and_variance().covariance();
            let (spec, close) = if fast {
                (spec.precision(Precision::Fast), Cpu::new().tolerance().narrow)
            } else {
                (spec, CLOSE)
            };
            cases.push(Case {
                name: format!(
                    "covariance/{columns} columns, {}{}",
                    if single { "f32" } else { "f64" },
                    if fast { ", fast" } else { "" }
                ),
                values: table.values(),
                run: Box::new(move || covariances_of(&analyze(&spec, &batch))),
                expected: table.covariances(),
                close,
            });
        }
    }
}

fn regressions(values: usize, cases: &mut Vec<Case>) {
    // y = 3 + c0 − 2 c1 + 4 c2 …, without noise: the coefficients are known.
    let mut table = Table::new(values / 8, 8);
    let weights = [1, -2, 4, 1, -3, 2, 1, -1];
    let target = |row: usize| 3 + table.columns.iter().zip(weights).map(|(c, w)| c[row] * w).sum::<i64>();
    let target: Vec<i64> = (0..table.rows()).map(target).collect();
    table.columns.push(target);
    for precision in [Precision::Exact, Precision::Fast] {
        let terms: Vec<String> = (0..8).map(|i| format!("c{i}")).collect();
        let terms: Vec<&str> = terms.iter().map(String::as_str).collect();
        let spec = Spec::new()
            .mean_and_variance()
            .regression("c8", &terms)
            .precision(precision);
        let batch = table.batch(false, |_| false);
        let exact = precision == Precision::Exact;
        cases.push(Case {
            name: format!("least squares/8 terms, f64{}", if exact { "" } else { ", fast" }),
            values: table.values(),
            run: Box::new(move || {
                let report = analyze(&spec, &batch);
                let fit = report.groups[0].regression.as_ref().expect("a regression");
                fit.coefficients.iter().map(|c| c.unwrap_or(f64::NAN)).collect()
            }),
            expected: [3].into_iter().chain(weights).map(|w| w as f64).collect(),
            // Values around 1000 with a deviation of 295: the intercept loses what the condition costs.
            close: if exact { CLOSE } else { 1e-10 },
        });
    }
}

fn rows_between(values: usize, cases: &mut Vec<Case>) {
    const COLUMNS: usize = 4;
    let table = Table::new(values / COLUMNS, COLUMNS);
    let steps = Table {
        columns: table
            .columns
            .iter()
            .map(|c| c.windows(2).map(|w| w[1] - w[0]).collect())
            .collect(),
    };
    let (batch, spec) = (
        table.batch(false, |_| false),
        Spec::new().mean_and_variance().differences(),
    );
    cases.push(Case {
        name: "differences/f64".into(),
        values: table.values(),
        run: Box::new(move || {
            let report = analyze(&spec, &batch);
            let differences = report.groups[0].differences.as_ref().expect("differences");
            let of = |d: &millstream::report::DifferenceReport| [d.mean, d.variance];
            differences
                .values()
                .iter()
                .flat_map(of)
                .map(|x| x.unwrap_or(f64::NAN))
                .collect()
        }),
        expected: steps.moments(|_| true),
        close: CLOSE,
    });

    let batch = table.batch(false, |_| false);
    let spec = Spec::new().mean_and_variance().quantiles(&[0.01, 0.5, 0.99]);
    let quantiles = |values: &Vec<i64>| {
        let mut sorted = values.clone();
        sorted.sort_unstable();
        [0.01, 0.5, 0.99].map(|p| sorted[(p * (sorted.len() - 1) as f64).round() as usize] as f64)
    };
    cases.push(Case {
        name: "quantiles/f64".into(),
        values: table.values(),
        run: Box::new(move || {
            let report = analyze(&spec, &batch);
            let columns = report.groups[0].columns.values();
            let of = |c: &millstream::report::ColumnReport| {
                let quantiles = c.quantiles.as_ref().map(|q| q.values().to_vec()).unwrap_or_default();
                quantiles
                    .into_iter()
                    .map(|x| x.unwrap_or(f64::NAN))
                    .collect::<Vec<f64>>()
            };
            columns.iter().flat_map(of).collect()
        }),
        expected: table.columns.iter().flat_map(quantiles).collect(),
        // What the sketch promises.
        close: 0.01,
    });
}

fn losses(values: usize, cases: &mut Vec<Case>) {
    const TERMS: usize = 15;
    let table = Table::new(values / (TERMS + 1), TERMS + 1);
    let terms: Vec<String> = (0..TERMS).map(|i| format!("c{i}")).collect();
    let terms: Vec<&str> = terms.iter().map(String::as_str).collect();
    // Whole weights keep z whole, so the sums of the linear loss are exact.
    let weights: Vec<i64> = (0..=TERMS as i64).map(|i| i % 5 - 2).collect();
    let mut sums = vec![0i128; TERMS + 2];
    for row in 0..table.rows() {
        let x = |i: usize| table.columns[i][row];
        let z = weights[0] + (0..TERMS).map(|i| weights[i + 1] * x(i)).sum::<i64>();
        let residual = i128::from(z - x(TERMS));
        sums[0] += residual * residual;
        sums[1] += residual;
        for i in 0..TERMS {
            sums[i + 2] += residual * i128::from(x(i));
        }
    }
    let mut expected: Numbers = sums.iter().map(|sum| *sum as f64).collect();
    expected[0] /= 2.0;
    for single in [false, true] {
        let model = ModelSpec::linear(format!("c{TERMS}"), &terms);
        let weights: Vec<f64> = weights.iter().map(|w| *w as f64).collect();
        let mut engine = Engine::new(Spec::new()).expect("an engine");
        let resident = engine.upload(&table.batch(single, |_| false)).expect("rows that fit");
        cases.push(Case {
            name: format!("loss/linear, 15 terms, {}", if single { "f32" } else { "f64" }),
            values: table.values(),
            run: Box::new(move || {
                let loss = engine.loss(&resident, &model, &weights).expect("a loss");
                [loss.loss].into_iter().chain(loss.gradient).collect()
            }),
            expected: expected.clone(),
            close: CLOSE,
        });
    }
    logistic(table, &terms, cases);
}

/// The logistic loss has no whole numbers: its answer is the plain sum of the definition.
fn logistic(mut table: Table, terms: &[&str], cases: &mut Vec<Case>) {
    let target = table.columns.pop().expect("a target");
    table.columns.push(target.iter().map(|y| y % 2).collect());
    // z within about 5, so that both branches and all sizes of the residual occur.
    let weights: Vec<f64> = (0..=terms.len() as i64).map(|i| (i % 5 - 2) as f64 / 1024.0).collect();
    let mut expected = vec![0.0; terms.len() + 2];
    for row in 0..table.rows() {
        let x = |i: usize| table.columns[i][row] as f64;
        let z = weights[0] + (0..terms.len()).map(|i| weights[i + 1] * x(i)).sum::<f64>();
        let y = x(terms.len());
        let residual = 1.0 / (1.0 + (-z).exp()) - y;
        expected[0] += z.exp().ln_1p() - y * z;
        expected[1] += residual;
        for i in 0..terms.len() {
            expected[i + 2] += residual * x(i);
        }
    }
    let model = ModelSpec::logistic(format!("c{}", terms.len()), terms);
    let mut engine = Engine::new(Spec::new()).expect("an engine");
    let resident = engine.upload(&table.batch(false, |_| false)).expect("rows that fit");
    cases.push(Case {
        name: format!("loss/logistic, {} terms, f64", terms.len()),
        values: table.values(),
        run: Box::new(move || {
            let loss = engine.loss(&resident, &model, &weights).expect("a loss");
            [loss.loss].into_iter().chain(loss.gradient).collect()
        }),
        expected,
        // The plain sum rounds once a row.
        close: 1e-10,
    });
}

/// Rows of the case of many keys at once: as many as the engine asks for before it takes them so.
const AT_ONCE: usize = 1 << 18;

/// What each group's rows come to: those of a window stand in the order of their keys.
fn by_group(table: &Table, group: &dyn Fn(i64) -> i64) -> Numbers {
    let mut rows_of: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    (0..table.rows()).for_each(|i| rows_of.entry(group(i as i64)).or_default().push(i));
    let taken = |rows: &Vec<usize>| Table {
        columns: table
            .columns
            .iter()
            .map(|c| rows.iter().map(|i| c[*i]).collect())
            .collect(),
    };
    rows_of
        .values()
        .flat_map(|rows| taken(rows).moments(|_| true))
        .collect()
}

fn groups(values: usize, cases: &mut Vec<Case>) {
    let four = Table::new(values / 4, 4);
    let one = Table::new(values.max(AT_ONCE), 1);
    let many = |table: &Table| table.rows() as i64 / 16;
    for (name, table, keys, batches) in [
        ("100 keys", &four, 100, 1),
        ("1000 keys", &four, 1000, 1),
        ("many keys, in two batches", &four, many(&four), 2),
        ("many keys at once", &one, many(&one), 1),
    ] {
        // Each key's rows lie apart, as those of a feed do.
        let key = move |i: i64| i * 7919 % keys;
        let array: ArrayRef = Arc::new((0..table.rows() as i64).map(key).collect::<Int64Array>());
        let batch = table
            .batch(false, |_| false)
            .with_keys(vec![("key".into(), array)])
            .expect("a key a row");
        let spec = Spec::new().mean_and_variance().by(["key"]);
        cases.push(Case {
            name: format!("groups/{name}"),
            values: table.values(),
            run: Box::new(move || {
                if batches == 1 {
                    return moments_of(&analyze(&spec, &batch));
                }
                let mut engine = Engine::new(spec.clone()).expect("an engine");
                let length = batch.rows().div_ceil(batches);
                for start in (0..batch.rows()).step_by(length) {
                    let piece = batch.slice(start, length.min(batch.rows() - start));
                    engine.push(&piece).expect("rows");
                }
                moments_of(&engine.finish().expect("a report"))
            }),
            expected: by_group(table, &key),
            close: CLOSE,
        });
    }
    let (table, rows) = (&four, four.rows() as i64);
    const WINDOWS: i64 = 4;
    let (key, window) = (|i: i64| i * 7919 % 100, move |i: i64| i * WINDOWS / rows);
    let times = (0..rows).map(|i| i * WINDOWS * 1_000_000_000 / rows).collect();
    let array: ArrayRef = Arc::new((0..rows).map(key).collect::<Int64Array>());
    let batch = table
        .batch(false, |_| false)
        .with_keys(vec![("key".into(), array)])
        .expect("a key a row");
    let batch = batch.with_time_ns(times).expect("a time a row");
    let spec = Spec::new()
        .mean_and_variance()
        .by(["key"])
        .window(Window::tumbling(Duration::from_secs(1)));
    cases.push(Case {
        name: "groups/100 keys, windows of 1 s".into(),
        values: table.values(),
        run: Box::new(move || moments_of(&analyze(&spec, &batch))),
        expected: by_group(table, &|i| window(i) * 100 + key(i)),
        close: CLOSE,
    });
}
