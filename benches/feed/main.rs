//! High-rate feeds, end to end: `millstream generate` and `millstream run` as two processes on loopback.
//!
//! `cargo bench --features full --bench feed -- [OPTIONS]`:
//!
//! ```text
//! --rows N        rows of a case at most (default 20000000; a case of many columns or of text takes a share)
//! --runs N        runs a case; the median counts (default 5)
//! --rest DURATION between the drawing of the rows of a run and their sending (default 4s): where a machine's processor
//!                 time is rationed, every run then begins with the same
//! --only NAME     the case of this name, or those whose names begin so; may be given more than once
//! --output FOLDER where feed-DATE.json and feed-DATE.md go (default benches/results; with --quick nowhere)
//! --quick         few rows, one run: whether it works at all
//! ```
//!
//! Rows are drawn and encoded before the first is sent. Every run is verified against what `generate` expects of a right
//! engine; one that is wrong has no time. A window's time is from when the sending of the message began that holds the
//! first row behind it, to when the line of its report came out of the engine, for every window and key. Half rate is
//! half of what the same feed reached at full rate. Two floors say what the sender and the socket allow: a reader that
//! takes the same bytes over TCP and adds up the columns, and `Engine::push` from memory.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark tells what it measures"
)]

mod cases;
#[path = "../shared/child.rs"]
mod child;
mod engine;
mod floor;
#[path = "../shared/machine.rs"]
mod machine;
mod outcome;
mod sender;

use cases::{CASES, Case};
use outcome::{Measured, Results};
use sender::Sending;
use std::path::PathBuf;

/// What the command line says.
struct Arguments {
    rows: u64,
    runs: usize,
    rest: String,
    only: Vec<String>,
    output: Option<PathBuf>,
}

/// Rows of `--quick`: some windows of the slowest case.
const QUICK_ROWS: u64 = 400_000;

fn arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments {
        rows: 20_000_000,
        runs: 5,
        rest: "4s".into(),
        only: Vec::new(),
        output: Some(PathBuf::from("benches/results")),
    };
    let mut given = std::env::args().skip(1);
    while let Some(option) = given.next() {
        let mut value = || given.next().ok_or(format!("{option} lacks a value"));
        let number = |text: String| text.parse::<u64>().map_err(|e| format!("{option} {text}: {e}"));
        match option.as_str() {
            // What cargo adds.
            "--bench" => {}
            "--rows" => arguments.rows = number(value()?)?,
            "--runs" => arguments.runs = number(value()?)?.max(1) as usize,
            "--rest" => arguments.rest = value()?,
            "--only" => arguments.only.push(value()?),
            "--output" => arguments.output = Some(value()?.into()),
            "--quick" => {
                (arguments.rows, arguments.runs, arguments.output) = (QUICK_ROWS, 1, None);
                arguments.rest = "1ms".into();
            }
            other => return Err(format!("no option {other}")),
        }
    }
    Ok(arguments)
}

fn main() -> Result<(), String> {
    let arguments = arguments()?;
    let exact = |only: &String| CASES.iter().any(|case| case.name == only);
    let is_meant = |name: &str, only: &String| {
        if exact(only) {
            name == only
        } else {
            name.starts_with(only.as_str())
        }
    };
    let wanted = |name: &str| arguments.only.is_empty() || arguments.only.iter().any(|only| is_meant(name, only));
    if let Some(folder) = &arguments.output {
        // Not behind an hour of measuring.
        std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    let mut results = Results::new(arguments.rows, arguments.runs, &arguments.rest, &arguments.only);
    if wanted("floor") {
        for format in ["binary", "arrow", "csv"] {
            eprintln!("floor {format}");
            results
                .floors
                .push(floor::tcp(format, arguments.rows, &arguments.rest)?);
        }
        eprintln!("push");
        results.push = Some(floor::push(arguments.rows, arguments.runs)?);
    }
    for case in CASES.iter().filter(|case| wanted(case.name)) {
        let mut rate = None;
        for half in [false, true] {
            if half && !case.half {
                continue;
            }
            eprintln!("{}{}", case.name, if half { ", half rate" } else { "" });
            let (runs, shares) = match case.checkpoint {
                Some(_) => in_turn(case, &arguments),
                None => {
                    let runs = (0..arguments.runs).map(|_| measure(case, &arguments, rate));
                    (runs.collect(), Vec::new())
                }
            };
            let measured = Measured::of(case.name, half, runs, shares);
            rate = measured.rows_per_second().map(|rows| rows / 2.0);
            results.cases.push(measured);
        }
    }
    println!("{}", results.markdown());
    if let Some(folder) = &arguments.output {
        results.write(folder)?;
    }
    match results.is_right() {
        true => Ok(()),
        false => Err("some results are wrong".into()),
    }
}

/// The runs of a case with checkpoints, each beside one without, and their shares of its rate. One behind the other,
/// because the machine's speed is not the same from minute to minute; either is first as often.
fn in_turn(case: &Case, arguments: &Arguments) -> (Vec<Result<outcome::Run, String>>, Vec<f64>) {
    let without = Case {
        checkpoint: None,
        ..*case
    };
    let (mut runs, mut shares) = (Vec::new(), Vec::new());
    for pair in 0..arguments.runs {
        let (with, plain) = if pair % 2 == 0 {
            let with = measure(case, arguments, None);
            (with, measure(&without, arguments, None))
        } else {
            let plain = measure(&without, arguments, None);
            (measure(case, arguments, None), plain)
        };
        match (&with, plain) {
            (Ok(with), Ok(plain)) => shares.push(with.rows_per_second / plain.rows_per_second),
            // What was wrong with the other is told where it stands.
            (_, Err(why)) => runs.push(Err(format!("without checkpoints: {why}"))),
            (Err(_), Ok(_)) => {}
        }
        runs.push(with);
    }
    (runs, shares)
}

/// One run of a case.
fn measure(case: &Case, arguments: &Arguments, rate: Option<f64>) -> Result<outcome::Run, String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let sending = Sending {
        rows: (arguments.rows / case.share).max(case.columns as u64),
        rate,
        rest: &arguments.rest,
    };
    match case.transport {
        cases::Transport::File => engine::file(case, sending, folder.path()),
        _ => engine::socket(case, sending, folder.path()),
    }
}
