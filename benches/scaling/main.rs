//! What a value costs over rows and columns, on one thread and on two: where the cost leaves linear.
//!
//! `cargo bench --features html --bench scaling -- [OPTIONS]`:
//!
//! ```text
//! --rows N        rows of the longest input (default 100000000)
//! --values N      values of every input of the series over columns (default 16777216)
//! --output FOLDER where scaling.json, rows.svg and columns.svg go; without it the table is printed only
//! --draw FOLDER   draws the pictures of the scaling.json there again, and measures nothing
//! --quick         small inputs: whether it works at all
//! ```
//!
//! One engine takes one batch and gives its report: the time is that of both. An input is measured three times at least
//! and for a quarter of a second; the median counts. Series and thread counts take turns, so that a machine that is slow for
//! a while is so for all of them. Every mean, variance and covariance is checked against what the columns are made of.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark tells what it measures"
)]

mod curves;

use arrow::array::{ArrayRef, Int64Array};
use curves::Curve;
use millstream::summary::Order;
use millstream::{Batch, Engine, Error, Precision, Report, Result, Spec};
use plotters::prelude::SeriesLabelPosition;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Columns of the series over rows.
const COLUMNS: usize = 8;
/// Keys of grouped rows.
const KEYS: i64 = 1000;
/// How long an input is measured at least, and how often.
const PATIENCE: Duration = Duration::from_millis(250);
const CALLS_MIN: usize = 3;
/// Exact least squares of more columns take minutes.
const EXACT_COLUMNS_MAX: usize = 64;

struct Arguments {
    rows: usize,
    values: usize,
    output: Option<PathBuf>,
    draw: Option<PathBuf>,
}

fn arguments() -> Result<Arguments> {
    let wrong = |why: String| Error::Usage(why);
    let mut arguments = Arguments {
        rows: 100_000_000,
        values: 1 << 24,
        output: None,
        draw: None,
    };
    let mut given = std::env::args().skip(1);
    while let Some(option) = given.next() {
        let mut value = || given.next().ok_or_else(|| wrong(format!("{option} lacks a value")));
        let number = |text: String| text.parse().map_err(|e| wrong(format!("{text}: {e}")));
        match option.as_str() {
            // What cargo adds.
            "--bench" => {}
            "--rows" => arguments.rows = number(value()?)?,
            "--values" => arguments.values = number(value()?)?,
            "--output" => arguments.output = Some(value()?.into()),
            "--draw" => arguments.draw = Some(value()?.into()),
            "--quick" => (arguments.rows, arguments.values) = (10_000, 1 << 14),
            other => return Err(wrong(format!("no option {other}"))),
        }
    }
    Ok(arguments)
}

/// What is asked of an input.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Task {
    Moments,
    Covariance,
    LeastSquares(Precision),
    Groups,
}

const TASKS: [Task; 5] = [
    Task::Moments,
    Task::Covariance,
    Task::LeastSquares(Precision::Fast),
    Task::LeastSquares(Precision::Exact),
    Task::Groups,
];

impl Task {
    fn name(self) -> &'static str {
        match self {
            Self::Moments => "mean and variance",
            Self::Covariance => "covariance",
            Self::LeastSquares(Precision::Fast) => "least squares, fast",
            Self::LeastSquares(_) => "least squares, exact",
            Self::Groups => "mean and variance by 1000 keys",
        }
    }

    fn fits(self, columns: usize) -> bool {
        match self {
            Self::LeastSquares(Precision::Fast) => columns > 1,
            Self::LeastSquares(_) => (2..=EXACT_COLUMNS_MAX).contains(&columns),
            _ => true,
        }
    }

    fn spec(self, names: &[String]) -> Spec {
        let plain = Spec::new().mean_and_variance();
        match self {
            Self::Moments => plain,
            Self::Groups => plain.by(["key"]),
            Self::Covariance => Spec {
                order: Order::Second,
                ..Spec::new()
            }
            .covariance(),
            Self::LeastSquares(precision) => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let (target, terms) = names
                    .split_last()
                    .map_or(("", &[][..]), |(target, terms)| (*target, terms));
                plain.regression(target, terms).precision(precision)
            }
        }
    }
}

/// Columns of whole numbers, of which each but the last repeats with a period of its own; the last is their sum.
fn batch(rows: usize, columns: usize) -> Result<Batch> {
    let mut named: Vec<(String, Vec<f64>)> = Vec::new();
    let mut total = vec![0.0; rows];
    for c in 0..columns {
        let last = c + 1 == columns && columns > 1;
        let values: Vec<f64> = match last {
            true => std::mem::take(&mut total),
            false => (0..rows).map(|i| value(i, c)).collect(),
        };
        if !last {
            total.iter_mut().zip(&values).for_each(|(t, x)| *t += x);
        }
        named.push((format!("c{c}"), values));
    }
    Batch::from_columns(named)
}

/// The same rows with a key.
fn keyed(batch: &Batch) -> Result<Batch> {
    let keys = (0..batch.rows() as i64).map(|i| i * 7919 % KEYS);
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(keys));
    batch.clone().with_keys(vec![("key".into(), keys)])
}

/// A whole number below 1024 that looks random.
fn value(i: usize, c: usize) -> f64 {
    let mixed = (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (c as u64 + 1).wrapping_mul(0xD1B5_4A32_D192_ED03);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed >> 54) as f64
}

/// An input as it is measured.
struct Input {
    task: Task,
    threads: usize,
    pool: Arc<rayon::ThreadPool>,
    spec: Spec,
    batch: Batch,
    seconds: Vec<f64>,
}

impl Input {
    /// One call, on the threads of the pool.
    fn call(&mut self) -> Result<Report> {
        let (spec, batch) = (&self.spec, &self.batch);
        let begun = Instant::now();
        let report = self.pool.install(|| Engine::new(spec.clone())?.analyze(batch))?;
        self.seconds.push(begun.elapsed().as_secs_f64());
        Ok(report)
    }

    fn is_measured(&self) -> bool {
        self.seconds.len() >= CALLS_MIN && self.seconds.iter().sum::<f64>() >= PATIENCE.as_secs_f64()
    }

    fn median(&mut self) -> f64 {
        self.seconds.sort_by(f64::total_cmp);
        self.seconds[self.seconds.len() / 2]
    }
}

/// Refuses a wrong answer: the mean of each column against its whole sum, the target of least squares against the sum
/// that it is, a covariance against the same from whole numbers.
fn verify(task: Task, report: &Report, batch: &Batch) -> Result<()> {
    let wrong = |what: String| Err(Error::Failed(format!("{}: {what}", task.name())));
    let (rows, columns) = (batch.rows() as f64, batch.columns().len());
    let sum = |c: usize| -> i128 { (0..batch.rows()).map(|i| batch.columns()[c].get(i) as i128).sum() };
    match task {
        Task::LeastSquares(_) if batch.rows() > columns => {
            let fit = report.groups[0].regression.as_ref();
            let found = fit.map_or(&[][..], |fit| &fit.coefficients[1..]);
            match found.len() == columns - 1 && found.iter().all(|c| c.is_some_and(|c| (c - 1.0).abs() < 1e-6)) {
                true => Ok(()),
                false => wrong(format!("coefficients {found:?}")),
            }
        }
        Task::Covariance => {
            let last = columns - 1;
            let product = |i: usize| (batch.columns()[0].get(i) as i128) * (batch.columns()[last].get(i) as i128);
            let products: i128 = (0..batch.rows()).map(product).sum();
            let own = (products as f64 - sum(0) as f64 / rows * sum(last) as f64) / (rows - 1.0);
            let found = report.groups[0].covariance.as_ref().and_then(|m| m.matrix[0][last]);
            match found.is_some_and(|found| (found - own).abs() <= 1e-9 * own.abs().max(1e4)) {
                true => Ok(()),
                false => wrong(format!("covariance {found:?}, not {own}")),
            }
        }
        Task::Groups => {
            let counted: u64 = report.groups.iter().map(|group| group.columns.values()[0].count).sum();
            match counted == batch.rows() as u64 {
                true => Ok(()),
                false => wrong(format!("{counted} rows in groups")),
            }
        }
        _ => {
            let found = report.groups[0].columns.values()[0].mean.unwrap_or(f64::NAN);
            match (found * rows - sum(0) as f64).abs() <= 1e-6 * rows {
                true => Ok(()),
                false => wrong(format!("mean {found}")),
            }
        }
    }
}

/// Measures every task on an input of this size, in turn.
fn measure(batch: &Batch, pools: &[Arc<rayon::ThreadPool>], curves: &mut [Curve], at: f64) -> Result<()> {
    let names: Vec<String> = batch.names().to_vec();
    let mut inputs = Vec::new();
    for task in TASKS.iter().filter(|task| task.fits(names.len())) {
        let batch = match task {
            Task::Groups => keyed(batch)?,
            _ => batch.clone(),
        };
        for pool in pools {
            let mut input = Input {
                task: *task,
                threads: pool.current_num_threads(),
                pool: Arc::clone(pool),
                spec: task.spec(&names),
                batch: batch.clone(),
                seconds: Vec::new(),
            };
            verify(*task, &input.call()?, &batch)?;
            // The first call finds memory that was never touched.
            input.seconds.clear();
            inputs.push(input);
        }
    }
    while inputs.iter().any(|input| !input.is_measured()) {
        for input in inputs.iter_mut().filter(|input| !input.is_measured()) {
            input.call()?;
        }
    }
    let values = (batch.rows() * names.len()) as f64;
    for input in &mut inputs {
        let ns = input.median() * 1e9 / values;
        let own = |curve: &&mut Curve| curve.name == input.task.name() && curve.threads == input.threads;
        if let Some(curve) = curves.iter_mut().find(own) {
            curve.points.push((at, ns));
        }
        println!(
            "{:>10} rows x {:<5} {} threads  {:32} {ns:9.3} ns a value",
            batch.rows(),
            names.len(),
            input.threads,
            input.task.name()
        );
    }
    Ok(())
}

fn empty_curves() -> Vec<Curve> {
    let of = |task: &Task| {
        let name = task.name();
        [1, 2].map(|threads| Curve {
            name: name.to_owned(),
            threads,
            points: Vec::new(),
        })
    };
    TASKS.iter().flat_map(of).collect()
}

/// Both series.
#[derive(Debug, Serialize, Deserialize)]
struct Measured {
    rows: Vec<Curve>,
    columns: Vec<Curve>,
}

impl Measured {
    /// Writes the pictures.
    fn draw(&self, folder: &Path) -> Result<()> {
        let failed = |e: Box<dyn std::error::Error>| Error::Failed(e.to_string());
        curves::write(folder, "rows", SeriesLabelPosition::UpperRight, &self.rows).map_err(failed)?;
        curves::write(folder, "columns", SeriesLabelPosition::UpperLeft, &self.columns).map_err(failed)
    }
}

fn main() -> Result<()> {
    let arguments = arguments()?;
    let failed = |e: &dyn std::fmt::Display| Error::Failed(e.to_string());
    if let Some(folder) = arguments.draw {
        let text = std::fs::read_to_string(folder.join("scaling.json")).map_err(|e| failed(&e))?;
        let measured: Measured = serde_json::from_str(&text).map_err(|e| failed(&e))?;
        return measured.draw(&folder);
    }
    let mut pools = Vec::new();
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pools.push(Arc::new(pool.map_err(|e| failed(&e))?));
    }
    let mut of_rows = empty_curves();
    let mut rows = 1000;
    while rows <= arguments.rows {
        eprintln!("{rows} rows");
        measure(&batch(rows, COLUMNS)?, &pools, &mut of_rows, rows as f64)?;
        rows *= 10;
    }
    let mut of_columns = empty_curves();
    for columns in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024] {
        eprintln!("{columns} columns");
        let batch = batch(arguments.values / columns, columns)?;
        measure(&batch, &pools, &mut of_columns, columns as f64)?;
    }
    let Some(folder) = arguments.output else { return Ok(()) };
    let measured = Measured {
        rows: of_rows,
        columns: of_columns,
    };
    let text = serde_json::to_string_pretty(&measured).map_err(|e| failed(&e))?;
    std::fs::write(folder.join("scaling.json"), text + "\n").map_err(|e| failed(&e))?;
    measured.draw(&folder)
}
