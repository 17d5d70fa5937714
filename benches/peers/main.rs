//! Millstream's side of the comparison with other engines: a worker that `scripts/peers/run` starts.
//!
//! `peers ENGINE TASK.json`, where ENGINE is `millstream` (exact), `millstream/fast`, or `limit`, which does the least
//! that the task asks of the machine. It loads the data of the task into batches, then answers each line of its
//! standard input with a line of JSON: `check` with the answer of one call in files of `f64`, `run` with the seconds of
//! some calls. What is called is the public interface of the library, as a program would call it.

#![expect(clippy::print_stderr, reason = "a benchmark says what it lacks")]

mod files;
mod keyed;
mod limit;
mod matrix;
mod model;
mod prepared;
mod rows;
mod task;
#[path = "../yardsticks/product.rs"]
mod yardstick;

use millstream::transform::Rolling;
use millstream::{Error, Precision, Result};
use prepared::Prepared;
use std::process::ExitCode;
use task::Task;

fn prepare(engine: &str, task: &Task) -> Result<Prepared> {
    let precision = match engine {
        "limit" => return limit::prepare(task),
        "millstream/fast" => Precision::Fast,
        _ => Precision::Exact,
    };
    match task.kind.as_str() {
        "moments_rows" | "moments_columns" => matrix::moments(task),
        "covariance" => matrix::covariance(task, precision),
        "micro_moments" => matrix::micro_moments(task),
        "micro_covariance" => matrix::micro_covariance(task, precision),
        "group" => keyed::group(task),
        "windows" => keyed::windows(task),
        "least_squares" | "least_squares_batches" => model::least_squares(task, precision),
        "loss_gradient" => model::loss_gradient(task),
        "rolling_mean" => rows::rolling(task, Rolling::Mean),
        "rolling_variance" => rows::rolling(task, Rolling::Variance),
        "rolling_covariance" => rows::rolling(task, Rolling::Covariance),
        "difference" => rows::difference(task),
        "gradient" => rows::gradient(task),
        "csv" | "parquet" => files::moments(task),
        "online_variance" | "online_moments" => rows::online_moments(task),
        "online_covariance" => rows::online_covariance(task),
        _ => Err(Error::Usage("not measured yet".into())),
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [engine, path] = &arguments[..] else {
        eprintln!("this is a worker of scripts/peers/run: it takes the name of an engine and a task");
        return ExitCode::SUCCESS;
    };
    let served = Task::read(path).and_then(|task| prepared::serve(engine, &task, prepare(engine, &task)?));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
