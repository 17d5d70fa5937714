//! Every summary on every backend over rows and columns: times, verified results, and whether `auto` would choose well.
//!
//! A cell of the grid is a summary of so many rows and columns. Its contenders (the CPU, the GPU with rows in host
//! memory, the GPU with rows uploaded before) run in turn, so that what disturbs one disturbs all; the median counts.
//! Before it is timed every result is compared with a [`mod@reference`] that shares no code with the backends.

pub mod grid;
pub mod reference;
pub mod result;
mod text;
pub mod verify;

pub use grid::Grid;
pub use result::{Bench, Crossover, Decision, Measurement, Place, Verified};

use crate::backend::{Backend, Tolerance};
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::machine::measure::median;
use crate::machine::runner::{Runner, Task};
use crate::machine::{DeviceFigures, rows};
use crate::planner::{Part, Planner, Side};
use crate::summary::Summary;
use reference::Reference;
use std::time::Instant;

/// Runs of a contender at least: a median of fewer says nothing of the spread.
const RUNS_MIN: usize = 3;
/// Runs of a contender at most.
const RUNS_MAX: usize = 200;

/// A backend that takes part.
pub struct Contender<'a> {
    /// Which it is.
    pub side: Side,
    /// The backend.
    pub backend: &'a mut dyn Backend,
    /// Whether rows can be uploaded to it once and reduced there.
    pub keeps_rows: bool,
}

impl std::fmt::Debug for Contender<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contender")
            .field("side", &self.side)
            .field("backend", &self.backend.name())
            .field("keeps_rows", &self.keeps_rows)
            .finish()
    }
}

/// One way to reduce the rows of a cell.
struct Way<'a> {
    runner: usize,
    side: Side,
    place: Place,
    tolerance: Tolerance,
    task: &'a Task,
    times: Vec<f64>,
}

/// Runs the grid. `planner` says what `auto` would choose, `figures` what the device's bus and memory are capable of,
/// and `hear` hears of every measurement.
///
/// ```
/// use millstream::bench::{Contender, Grid, run};
/// use millstream::planner::Side;
/// use millstream::Cpu;
/// let mut cpu = Cpu::new();
/// let contender = Contender { side: Side::Cpu, backend: &mut cpu, keeps_rows: false };
/// let grid = Grid { shapes: vec![(1000, 2)], seconds: 0.0, ..Grid::default() };
/// let bench = run(&grid, &mut [contender], None, None, &mut |_| {})?;
/// assert!(bench.is_verified());
/// # Ok::<(), millstream::Error>(())
/// ```
///
/// # Errors
/// [`Error::Usage`] for a grid without rows or columns.
pub fn run(
    grid: &Grid,
    contenders: &mut [Contender<'_>],
    planner: Option<&Planner>,
    figures: Option<&DeviceFigures>,
    hear: &mut dyn FnMut(&Measurement),
) -> Result<Bench> {
    if grid.shapes.iter().any(|(rows, columns)| *rows == 0 || *columns == 0) {
        return Err(Error::Usage("rows and columns of a grid begin at 1".into()));
    }
    let mut bench = Bench::new(contenders.iter().map(|c| (c.side, c.backend.device())));
    let traits: Vec<(Side, bool, Tolerance)> = contenders
        .iter()
        .map(|c| (c.side, c.keeps_rows, c.backend.tolerance()))
        .collect();
    let mut runners: Vec<Runner<'_>> = contenders.iter_mut().map(|c| Runner::new(&mut *c.backend)).collect();
    for (columns, lengths) in grid.by_columns() {
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let whole = rows::batch(longest, columns)?;
        for rows in lengths {
            let batch = whole.slice(0, rows);
            let reference = Reference::new(&batch);
            for part in &grid.summaries {
                let measured = cell(*part, grid, &batch, &reference, &mut runners, &traits, figures)?;
                measured.iter().for_each(&mut *hear);
                if let Some(planner) = planner {
                    let task = Task::new(*part, batch.clone(), grid.precision)?;
                    bench.decide(&task.shape, &measured, planner);
                }
                bench.measurements.extend(measured);
            }
        }
    }
    bench.precision = grid.precision.name();
    bench.cross();
    Ok(bench)
}

fn cell(
    part: Part,
    grid: &Grid,
    batch: &Batch,
    reference: &Reference,
    runners: &mut [Runner<'_>],
    traits: &[(Side, bool, Tolerance)],
    figures: Option<&DeviceFigures>,
) -> Result<Vec<Measurement>> {
    let host = Task::new(part, batch.clone(), grid.precision)?;
    let mut measured = Vec::new();
    let blank = |side, place| Measurement::new(part, batch.rows(), batch.columns().len(), side, place);
    // One device task a runner that keeps rows.
    let mut device_tasks = Vec::new();
    for (runner, (side, keeps_rows, _)) in traits.iter().enumerate() {
        if *keeps_rows {
            match runners[runner].upload(&host) {
                Ok(there) => device_tasks.push((
                    runner,
                    Task {
                        resident: Some(there),
                        ..host.clone()
                    },
                )),
                Err(error) => measured.push(blank(*side, Place::Device).unavailable(error.to_string())),
            }
        }
    }
    let mut ways = Vec::new();
    let on_host = (0..traits.len()).map(|runner| (runner, Place::Host, &host));
    let on_device = device_tasks.iter().map(|(runner, task)| (*runner, Place::Device, task));
    for (runner, place, task) in on_host.chain(on_device) {
        let (side, _, tolerance) = traits[runner];
        let answer = runners[runner].run(task);
        match answer {
            Ok(answer) if answer.loss.is_none() && task.shape.loss.is_some() => {
                measured.push(blank(side, place).unavailable("this backend does not compute it".into()));
            }
            Ok(answer) => {
                let mut measurement = blank(side, place);
                measurement.verified = Some(verify::verify(&answer, reference, task, tolerance));
                measured.push(measurement);
                ways.push(Way {
                    runner,
                    side,
                    place,
                    tolerance,
                    task,
                    times: Vec::new(),
                });
            }
            Err(error) => measured.push(blank(side, place).unavailable(error.to_string())),
        }
    }
    let last = in_turn(&mut ways, runners, grid.seconds)?;
    for (way, answer) in ways.iter_mut().zip(last) {
        let same = |m: &&mut Measurement| (m.backend, m.place) == (way.side, way.place);
        let Some(measurement) = measured.iter_mut().find(same) else {
            continue;
        };
        // The last answer too: what is right once may be wrong under load.
        let again = verify::verify(&answer, reference, way.task, way.tolerance);
        if measurement.verified.as_ref().is_none_or(|first| first.ok) {
            measurement.verified = Some(again);
        }
        measurement.time(&mut way.times, figures);
    }
    result::speed_up(&mut measured);
    Ok(measured)
}

/// Runs every way in turn until the time is over; the last answer of each.
fn in_turn(ways: &mut [Way<'_>], runners: &mut [Runner<'_>], seconds: f64) -> Result<Vec<Summary>> {
    let begun = Instant::now();
    let budget = seconds * ways.len() as f64;
    let mut last = vec![Summary::default(); ways.len()];
    for run in 0..RUNS_MAX {
        if run >= RUNS_MIN && begun.elapsed().as_secs_f64() >= budget {
            break;
        }
        for (way, last) in ways.iter_mut().zip(&mut last) {
            let start = Instant::now();
            let answer = runners[way.runner].run(way.task)?;
            way.times.push(start.elapsed().as_secs_f64());
            *last = answer;
        }
    }
    Ok(last)
}

/// The median, the least and the greatest.
fn spread(times: &mut [f64]) -> (f64, f64, f64) {
    let middle = median(times);
    let least = times.first().copied().unwrap_or(f64::NAN);
    (middle, least, times.last().copied().unwrap_or(f64::NAN))
}
