//! Data in its layout with what is timed, and the conversation with the driver.

use crate::task::Task;
use millstream::{Error, Result};
use serde_json::{Value, json};
use std::io::{BufRead, Write};
use std::time::Instant;

/// Calls of one turn: as many as fit in this time, so that a call of a millisecond is not one sample.
const TURN_S: f64 = 0.25;
const CALLS_MAX: usize = 25;

/// Arrays by name.
pub(crate) type Answer = Vec<(&'static str, Vec<f64>)>;
/// Makes arrays of what a call found; not timed.
pub(crate) type Found = Box<dyn FnOnce() -> Result<Answer>>;

type Call = Box<dyn FnMut(&mut Vec<f64>) -> Result<Found>>;

/// What is timed. A call adds the seconds of its steps, where it has steps.
pub(crate) struct Prepared {
    pub(crate) layout: &'static str,
    /// The share of a call that counts.
    pub(crate) share: f64,
    pub(crate) call: Call,
}

impl Prepared {
    /// A call without steps that counts in full.
    pub(crate) fn new(layout: &'static str, mut call: impl FnMut() -> Result<Found> + 'static) -> Self {
        Self {
            layout,
            share: 1.0,
            call: Box::new(move |_| call()),
        }
    }
}

/// Runs `step` and notes how long it took.
pub(crate) fn step<T>(steps: &mut Vec<f64>, step: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let done = step()?;
    steps.push(start.elapsed().as_secs_f64());
    Ok(done)
}

/// Answers the driver's lines until there are no more.
pub(crate) fn serve(engine: &str, task: &Task, mut prepared: Prepared) -> Result<()> {
    say(&json!({ "layout": prepared.layout, "version": env!("CARGO_PKG_VERSION") }))?;
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|e| Error::Failed(e.to_string()))?;
        let answer = match line.trim() {
            "check" => check(engine, task, &mut prepared)?,
            _ => turn(&mut prepared)?,
        };
        say(&answer)?;
    }
    Ok(())
}

fn say(line: &Value) -> Result<()> {
    writeln!(std::io::stdout(), "{line}").map_err(|e| Error::Failed(e.to_string()))
}

/// One call: its seconds and what it found.
fn call(prepared: &mut Prepared, steps: &mut Vec<f64>) -> Result<(f64, Found)> {
    let start = Instant::now();
    let found = (prepared.call)(steps)?;
    Ok((start.elapsed().as_secs_f64() * prepared.share, found))
}

fn check(engine: &str, task: &Task, prepared: &mut Prepared) -> Result<Value> {
    let (seconds, found) = call(prepared, &mut Vec::new())?;
    let mut files = serde_json::Map::new();
    for (name, values) in found()? {
        let path = task.scratch.join(format!("{}.{name}.f64", engine.replace('/', "-")));
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        std::fs::write(&path, bytes).map_err(|e| Error::Failed(format!("{}: {e}", path.display())))?;
        files.insert(name.into(), path.display().to_string().into());
    }
    Ok(json!({ "seconds": seconds, "answer": files }))
}

fn turn(prepared: &mut Prepared) -> Result<Value> {
    let (mut seconds, mut steps) = (Vec::new(), Vec::new());
    let start = Instant::now();
    while seconds.is_empty() || (start.elapsed().as_secs_f64() < TURN_S && seconds.len() < CALLS_MAX) {
        let (elapsed, found) = call(prepared, &mut steps)?;
        seconds.push(elapsed);
        drop(found);
    }
    let calls = seconds.len();
    let mut answer = json!({ "seconds": percentile(&mut seconds, 0.5), "calls": calls });
    // A call of one step has told its time already.
    if steps.len() > calls {
        answer["p50"] = percentile(&mut steps, 0.5).into();
        answer["p99"] = percentile(&mut steps, 0.99).into();
    }
    Ok(answer)
}

/// The value that this share of the values does not exceed.
fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((share * values.len() as f64) as usize).min(values.len() - 1)]
}
