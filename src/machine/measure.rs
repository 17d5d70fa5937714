//! Measuring what a backend takes for each part of a summary, through its public trait.
//!
//! Every part is measured over a grid of rows and columns in `ROWS` and `columns`, each point as the median of a few
//! runs. Of a part that is not the moments, the table holds what it takes beyond the moments of the same rows, which
//! every summary has. Sizes that would take long are left to proportion: a curve ends at its first point above
//! `RUN_SECONDS_MAX`.

use super::runner::{Runner, Task};
use super::{Cache, DeviceFigures, Opened, device, rows};
use crate::backend::Backend;
use crate::backend::cpu::{Cpu, instruction_set};
use crate::batch::{Batch, Column, Values};
use crate::error::{Error, Result};
use crate::planner::{CpuCosts, GpuCosts, Part, Table, Tables};
use crate::spec::Precision;
use crate::summary::{Shape, Summary};
use std::time::Instant;

/// Rows of the points: a factor of 4 apart, as a cost that is half fixed is then off by at most 11 % between them.
const ROWS: [usize; 8] = [256, 1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22];
/// Values of a point at most: 32 MiB.
const VALUES_MAX: usize = 1 << 22;
/// Values of the pass over memory: 128 MiB, beyond any cache but those of the largest servers.
const MEMORY_VALUES: usize = 1 << 24;
/// Columns of the pass over memory.
const MEMORY_COLUMNS: usize = 8;
/// A point that takes longer ends its curve.
const RUN_SECONDS_MAX: f64 = 0.02;
/// Runs of a point, of which the median counts.
const RUNS: usize = 5;
/// What the runs of a point may take together, once there are two.
const POINT_SECONDS_MAX: f64 = 0.01;

/// Numbers of columns at which a part is measured.
fn columns(part: Part) -> &'static [usize] {
    match part {
        Part::Covariance => &[2, 8, 32, 128, 512],
        Part::Regression => &[2, 8, 32, 128],
        Part::Loss => &[2, 8, 64, 256],
        _ => &[1, 8, 64],
    }
}

/// Whether a summary has what its shape asks for: a backend may leave a loss out.
fn is_complete(summary: &Summary, shape: &Shape) -> bool {
    shape.loss.is_none() || summary.loss.is_some()
}

/// Rows whose columns are stretches of one long column.
struct Pool(Column);

impl Pool {
    fn new() -> Self {
        let values: Vec<f64> = (0..MEMORY_VALUES as u64).map(|r| rows::value(r, 0)).collect();
        Self(Column {
            values: Values::F64(values.into()),
            nulls: None,
        })
    }

    fn batch(&self, rows: usize, columns: usize) -> Result<Batch> {
        let column = |c: usize| (format!("c{c}"), self.0.slice(c * rows, rows));
        Batch::new(rows, (0..columns).map(column).collect())
    }
}

/// The median time of a task; `None` where the backend cannot do it.
fn seconds(runner: &mut Runner<'_>, task: &Task) -> Option<f64> {
    // The first run pays for what is made once.
    if !is_complete(&runner.run(task).ok()?, &task.shape) {
        return None;
    }
    let mut times = Vec::with_capacity(RUNS);
    while times.len() < RUNS && (times.len() < 2 || times.iter().sum::<f64>() < POINT_SECONDS_MAX) {
        let start = Instant::now();
        runner.run(task).ok()?;
        times.push(start.elapsed().as_secs_f64());
    }
    Some(median(&mut times))
}

/// The median; of two the lesser, as disturbances only add.
pub(crate) fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times
        .get(times.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or(f64::NAN)
}

/// Points of one curve.
fn curve(runner: &mut Runner<'_>, pool: &Pool, part: Part, columns: usize, resident: bool) -> Result<Vec<(u64, f64)>> {
    let mut points = Vec::new();
    for rows in ROWS {
        if rows * columns > VALUES_MAX {
            break;
        }
        let mut task = Task::new(part, pool.batch(rows, columns)?, Precision::Exact)?;
        if resident {
            match runner.upload(&task) {
                Ok(there) => task.resident = Some(there),
                Err(_) => break,
            }
        }
        let Some(seconds) = seconds(runner, &task) else { break };
        points.push((rows as u64, seconds));
        if seconds > RUN_SECONDS_MAX {
            break;
        }
    }
    Ok(points)
}

/// The tables of a backend, for rows in host memory or on the device.
fn tables(backend: &mut dyn Backend, pool: &Pool, resident: bool) -> Result<Tables> {
    let mut runner = Runner::new(backend);
    let mut tables: Vec<Table> = Vec::new();
    for part in Part::ALL {
        let mut curves = Vec::new();
        for columns in columns(part) {
            let mut points = curve(&mut runner, pool, part, *columns, resident)?;
            let alone = matches!(part, Part::Moments2 | Part::Moments4 | Part::Loss);
            if let Some(moments) = tables.first().filter(|_| !alone) {
                for (rows, seconds) in &mut points {
                    // What is less than nothing is nothing: the table keeps it positive.
                    *seconds = (*seconds - moments.seconds(*rows, *columns).unwrap_or(0.0)).max(0.0);
                }
            }
            curves.push((*columns, points));
        }
        let table = Table::new(part, curves);
        if !table.curves.is_empty() {
            tables.push(table);
        }
    }
    Ok(Tables::new(tables))
}

/// Bytes a second of one pass of the moments over rows that are in no cache.
fn pass_bytes_per_s(backend: &mut dyn Backend, pool: &Pool) -> Result<f64> {
    let batch = pool.batch(MEMORY_VALUES / MEMORY_COLUMNS, MEMORY_COLUMNS)?;
    let task = Task::new(Part::Moments2, batch, Precision::Exact)?;
    let mut runner = Runner::new(backend);
    let seconds =
        seconds(&mut runner, &task).ok_or_else(|| Error::Failed("the backend could not be measured".into()))?;
    Ok((MEMORY_VALUES * size_of::<f64>()) as f64 / seconds)
}

/// Measures the CPU backend.
///
/// # Errors
/// [`Error::Failed`] if it cannot reduce.
pub fn cpu() -> Result<CpuCosts> {
    let mut cpu = Cpu::new();
    let pool = Pool::new();
    Ok(CpuCosts {
        threads: cpu.threads(),
        instruction_set: instruction_set().to_owned(),
        read_bytes_per_s: pass_bytes_per_s(&mut cpu, &pool)?,
        seconds: tables(&mut cpu, &pool, false)?,
    })
}

/// Measures any backend as if it were a GPU with these figures: rows in host memory, and rows that were uploaded.
///
/// # Errors
/// [`Error::Failed`] if it cannot reduce.
pub fn gpu(backend: &mut dyn Backend, figures: &DeviceFigures, of: &Of) -> Result<GpuCosts> {
    let pool = Pool::new();
    Ok(GpuCosts {
        adapter: of.adapter.clone(),
        driver: of.driver.clone(),
        precision: of.precision.clone(),
        copy_bytes_per_s: figures.copy_bytes_per_s,
        upload_bytes_per_s: figures.upload_bytes_per_s,
        download_bytes_per_s: figures.download_bytes_per_s,
        packing_bytes_per_s: pass_bytes_per_s(backend, &pool)?,
        submit_seconds: figures.submit_seconds,
        round_trip_seconds: figures.round_trip_seconds,
        open_seconds: of.open_seconds,
        streamed: tables(backend, &pool, false)?,
        resident: tables(backend, &pool, true)?,
    })
}

/// Whose costs they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Of {
    /// The adapter's name.
    pub adapter: String,
    /// Its driver, with the version.
    pub driver: String,
    /// The precision that it was opened with.
    pub precision: String,
    /// What opening it took.
    pub open_seconds: f64,
}

impl Of {
    /// Of this one.
    pub fn opened(opened: &Opened) -> Self {
        let device = opened.device();
        Self {
            adapter: device.name,
            driver: device.driver,
            precision: opened.precision().name().to_owned(),
            open_seconds: opened.seconds(),
        }
    }

    fn name(&self) -> String {
        format!("{} {} {}", self.adapter, self.driver, self.precision)
    }
}

/// The CPU's costs where they are in the cache already.
pub fn cpu_costs_known(cache: &Cache) -> Option<CpuCosts> {
    cache.load(&device::processor(Cpu::new().threads()), CpuCosts::are_sound)
}

/// The CPU's costs, from the cache or measured (`again`: measured in any case). Notes say what could not be kept.
///
/// # Errors
/// As [`cpu`].
pub fn cpu_costs(cache: &Cache, again: bool, notes: &mut Vec<String>) -> Result<CpuCosts> {
    if let Some(known) = cpu_costs_known(cache).filter(|_| !again) {
        return Ok(known);
    }
    let costs = cpu()?;
    keep(cache, &device::processor(costs.threads), &costs, notes);
    Ok(costs)
}

/// The GPU's costs, from the cache or measured (`again`: measured in any case). Notes say what could not be kept.
///
/// # Errors
/// If the device is lost.
pub fn gpu_costs(opened: &mut Opened, cache: &Cache, again: bool, notes: &mut Vec<String>) -> Result<GpuCosts> {
    let of = Of::opened(opened);
    if let Some(known) = cache.load(&of.name(), GpuCosts::are_sound).filter(|_| !again) {
        return Ok(known);
    }
    let figures = opened.figures()?;
    let costs = gpu(opened.backend(), &figures, &of)?;
    if !costs.are_sound() {
        return Err(Error::Failed("what was measured of the GPU makes no sense".into()));
    }
    keep(cache, &of.name(), &costs, notes);
    Ok(costs)
}

fn keep<T: serde::Serialize>(cache: &Cache, of: &str, costs: &T, notes: &mut Vec<String>) {
    if let Err(error) = cache.store(of, costs) {
        notes.push(format!("what was measured is not kept for the next run: {error}"));
    }
}
