//! Which backend will be quicker: a pure function of what is asked, of how many rows, and of measured costs.
//!
//! Costs are tables of seconds over rows and columns, one for each [`Part`] of a summary ([`table`] says how they are
//! read between their points). With Σ over the parts that a shape asks for, and n rows of d columns, the estimates are
//!
//! - CPU: max(Σ cpu, 8 n d / bandwidth of memory), the second where the rows are beyond any cache;
//! - GPU, rows that are there already: Σ resident;
//! - GPU, rows in host memory: max(Σ streamed, Σ resident), since packing, bus and device work at the same time: the
//!   slower one counts. Of the moments, `streamed` is all that it takes to bring rows over and reduce them, of every
//!   other part what does not hide behind that. The costs of a submission and of the way back are in the tables' points
//!   of few rows.
//! - A device that has yet to be opened adds what that takes.
//!
//! There is no clock and no file here: [`crate::machine`] measures the tables and keeps them.

pub mod table;

use crate::spec::Precision;
use crate::summary::{Order, Shape};
use serde::{Deserialize, Serialize};
pub use table::{Table, Tables};

/// Rows that take more bytes than this come from memory, whatever cache a processor has.
const CACHE_BYTES: f64 = (64u64 << 20) as f64;
/// Bytes of a value in host memory.
const VALUE_BYTES: f64 = 8.0;

/// Evaluations of the loss that a fit is counted as: its number of iterations is not known before, and a handful of
/// terms, which are standardised, takes 10 to 50.
const FIT_EVALUATIONS: f64 = 20.0;

/// A part of a summary that costs something of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Part {
    /// Moments up to the second order.
    Moments2,
    /// Moments up to the fourth order.
    Moments4,
    /// Products of columns in `f64` (or in `f32`, where the precision allows it).
    Covariance,
    /// Products of columns in double-double, of a regression.
    Regression,
    /// Differences of adjacent rows.
    Differences,
    /// Quantiles.
    Quantiles,
    /// A loss and its gradient, over the terms and the target.
    Loss,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 7] = [
        Self::Moments2,
        Self::Moments4,
        Self::Covariance,
        Self::Regression,
        Self::Differences,
        Self::Quantiles,
        Self::Loss,
    ];

    /// Its name: that of the statistic.
    pub fn name(self) -> &'static str {
        match self {
            Self::Moments2 => "moments2",
            Self::Moments4 => "moments4",
            Self::Covariance => "covariance",
            Self::Regression => "regression",
            Self::Differences => "differences",
            Self::Quantiles => "quantiles",
            Self::Loss => "loss",
        }
    }

    /// Additions (or multiply-adds) of one row of `columns` columns, up to a factor: what the work grows with.
    pub fn units(self, columns: usize) -> f64 {
        let d = columns as f64;
        match self {
            Self::Covariance | Self::Regression => d * (d + 1.0) / 2.0,
            _ => d,
        }
    }

    /// The parts of a shape, each with its number of columns.
    pub fn of(shape: &Shape) -> Vec<(Self, usize)> {
        let moments = match shape.order {
            Order::Second => Self::Moments2,
            Order::Fourth => Self::Moments4,
        };
        let regression = if shape.exact {
            Self::Regression
        } else {
            Self::Covariance
        };
        let asked = [
            (moments, shape.columns),
            (Self::Covariance, if shape.comoments { shape.columns } else { 0 }),
            (regression, shape.regression.len()),
            (Self::Differences, if shape.differences { shape.columns } else { 0 }),
            (Self::Quantiles, if shape.quantiles { shape.columns } else { 0 }),
            (Self::Loss, shape.loss.as_ref().map_or(0, |loss| loss.terms.len() + 1)),
        ];
        asked.into_iter().filter(|(_, columns)| *columns > 0).collect()
    }
}

/// What the CPU takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CpuCosts {
    /// Threads that reduce.
    pub threads: usize,
    /// The instruction set of the kernels.
    pub instruction_set: String,
    /// Bytes of host memory that one pass reads in a second.
    pub read_bytes_per_s: f64,
    /// Seconds by part.
    pub seconds: Tables,
}

/// What a GPU takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GpuCosts {
    /// The adapter's name.
    pub adapter: String,
    /// Its driver, with the version.
    pub driver: String,
    /// The precision that the tables are for.
    pub precision: String,
    /// Bytes that a copy within the device moves in a second (each is read and written once, and counted once).
    pub copy_bytes_per_s: f64,
    /// Bytes a second over the bus to the device.
    pub upload_bytes_per_s: f64,
    /// Bytes a second over the bus from the device.
    pub download_bytes_per_s: f64,
    /// Bytes of host memory a second that arrive on the device, packed on the way.
    pub packing_bytes_per_s: f64,
    /// What a submission costs the caller.
    pub submit_seconds: f64,
    /// From a submission without work to its answer.
    pub round_trip_seconds: f64,
    /// What opening the device takes.
    pub open_seconds: f64,
    /// Seconds by part for rows in host memory.
    pub streamed: Tables,
    /// Seconds by part for rows on the device.
    pub resident: Tables,
}

/// What a machine's backends take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// The CPU.
    pub cpu: CpuCosts,
    /// The GPU, where there is one.
    pub gpu: Option<GpuCosts>,
}

impl CpuCosts {
    /// Whether these can be costs: positive and finite, their tables in order.
    pub fn are_sound(&self) -> bool {
        positive(self.read_bytes_per_s) && self.threads > 0 && self.seconds.are_sound()
    }
}

impl GpuCosts {
    /// Whether these can be costs: positive and finite, their tables in order.
    pub fn are_sound(&self) -> bool {
        let rates = [
            self.copy_bytes_per_s,
            self.upload_bytes_per_s,
            self.download_bytes_per_s,
            self.packing_bytes_per_s,
            self.submit_seconds,
            self.round_trip_seconds,
            self.open_seconds,
        ];
        rates.into_iter().all(positive) && self.streamed.are_sound() && self.resident.are_sound()
    }
}

fn positive(x: f64) -> bool {
    x > 0.0 && x.is_finite()
}

/// A backend to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// All CPU cores.
    Cpu,
    /// The GPU.
    Gpu,
}

impl Side {
    /// `cpu` or `gpu`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Gpu => "gpu",
        }
    }
}

/// How much there is to do, and where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Rows.
    pub rows: u64,
    /// Whether they are on the device.
    pub resident: bool,
    /// Whether the device is open.
    pub opened: bool,
}

impl Load {
    /// Rows in host memory, for a device that is open.
    pub fn streamed(rows: u64) -> Self {
        Self {
            rows,
            resident: false,
            opened: true,
        }
    }

    /// Rows that were uploaded before.
    pub fn resident(rows: u64) -> Self {
        Self {
            resident: true,
            ..Self::streamed(rows)
        }
    }
}

/// What is known of an input before it is read.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// What is kept of the rows.
    pub shape: Shape,
    /// About how many there are; absent where nobody knows.
    pub rows: Option<u64>,
    /// Whether they are of many cells (keys or windows).
    pub grouped: bool,
    /// The loss of a fit, which is asked for again and again.
    pub fit: Option<Shape>,
}

impl Workload {
    /// The same in another precision.
    #[must_use]
    pub fn in_precision(mut self, precision: Precision) -> Self {
        self.shape.exact = precision == Precision::Exact;
        self
    }
}

/// A backend, and what was estimated of each.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Choice {
    /// The one that will be quicker.
    pub backend: Side,
    /// What the CPU would take; absent where it was not measured.
    pub cpu_seconds: Option<f64>,
    /// What the GPU would take; absent where there is none, or it cannot do this.
    pub gpu_seconds: Option<f64>,
}

impl Choice {
    fn between(cpu_seconds: Option<f64>, gpu_seconds: Option<f64>) -> Self {
        let backend = match (cpu_seconds, gpu_seconds) {
            (Some(cpu), Some(gpu)) if gpu < cpu => Side::Gpu,
            _ => Side::Cpu,
        };
        Self {
            backend,
            cpu_seconds,
            gpu_seconds,
        }
    }
}

/// Chooses backends by what they were measured to take.
///
/// ```
/// use millstream::planner::{Costs, CpuCosts, Load, Part, Planner, Side, Table, Tables};
/// use millstream::summary::Shape;
/// // 1 ns a value, measured at a million rows of one column.
/// let table = Table::new(Part::Moments4, [(1, vec![(1_000_000, 1e-3)])]);
/// let cpu = CpuCosts {
///     threads: 1,
///     instruction_set: "portable".into(),
///     read_bytes_per_s: 1e10,
///     seconds: Tables::new([table]),
/// };
/// let planner = Planner::new(Costs { cpu, gpu: None });
/// let shape = Shape { columns: 1, ..Shape::default() };
/// let choice = planner.choose(&shape, Load::streamed(2_000_000));
/// assert_eq!((choice.backend, choice.gpu_seconds), (Side::Cpu, None));
/// assert!((choice.cpu_seconds.unwrap() - 2e-3).abs() < 1e-12);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Planner {
    costs: Costs,
}

impl Planner {
    /// A planner for a machine that was measured.
    pub fn new(costs: Costs) -> Self {
        Self { costs }
    }

    /// What it goes by.
    pub fn costs(&self) -> &Costs {
        &self.costs
    }

    /// The backend that takes less for a work of this shape, with the estimate of each; the CPU where they are equal or
    /// one is not known.
    pub fn choose(&self, shape: &Shape, load: Load) -> Choice {
        let cpu_seconds = self.cpu_seconds(shape, load.rows);
        let gpu_seconds = self.costs.gpu.as_ref().and_then(|gpu| gpu.seconds(shape, load));
        Choice::between(cpu_seconds, gpu_seconds)
    }

    /// The backend that takes less for a whole run over so many rows: one pass, and `FIT_EVALUATIONS` losses of a fit,
    /// over rows that a GPU has by then. What it takes to bring them over is that of moments of their columns.
    pub fn choose_run(&self, workload: &Workload, load: Load) -> Choice {
        let pass = self.choose(&workload.shape, load);
        let Some(fit) = &workload.fit else { return pass };
        let columns = fit.loss.as_ref().map_or(0, |loss| loss.terms.len() + 1);
        let sent = Shape {
            columns,
            order: Order::Second,
            ..Shape::default()
        };
        let there = Load::streamed(load.rows);
        let evaluation = self.choose(fit, Load::resident(load.rows));
        let cpu = || Some(pass.cpu_seconds? + FIT_EVALUATIONS * evaluation.cpu_seconds?);
        let gpu = || {
            let sending = self.choose(&sent, there).gpu_seconds?;
            Some(pass.gpu_seconds? + sending + FIT_EVALUATIONS * evaluation.gpu_seconds?)
        };
        Choice::between(cpu(), gpu())
    }

    fn cpu_seconds(&self, shape: &Shape, rows: u64) -> Option<f64> {
        let cpu = &self.costs.cpu;
        let computed = cpu.seconds.sum(shape, rows)?;
        let widest = Part::of(shape).into_iter().map(|(_, columns)| columns).max()?;
        let bytes = rows as f64 * widest as f64 * VALUE_BYTES;
        let read = if bytes > CACHE_BYTES {
            bytes / cpu.read_bytes_per_s
        } else {
            0.0
        };
        Some(computed.max(read))
    }
}

impl GpuCosts {
    fn seconds(&self, shape: &Shape, load: Load) -> Option<f64> {
        let resident = self.resident.sum(shape, load.rows)?;
        let reduced = if load.resident {
            resident
        } else {
            self.streamed.sum(shape, load.rows)?.max(resident)
        };
        Some(reduced + if load.opened { 0.0 } else { self.open_seconds })
    }
}

/// Seconds of one thread that a work takes at most, on any processor that the engine is likely to meet: a bound that
/// needs no measuring. Below it, looking for another backend cannot pay.
pub fn cpu_seconds_at_most(shape: &Shape, rows: u64) -> f64 {
    let units = |(part, columns): (Part, usize)| part.units(columns) * seconds_per_unit_at_most(part);
    rows as f64 * Part::of(shape).into_iter().map(units).sum::<f64>()
}

/// The same of a whole run, with the losses of its fit.
pub fn run_seconds_at_most(workload: &Workload, rows: u64) -> f64 {
    let fit = |fit| FIT_EVALUATIONS * cpu_seconds_at_most(fit, rows);
    cpu_seconds_at_most(&workload.shape, rows) + workload.fit.as_ref().map_or(0.0, fit)
}

/// More than a build with little optimisation took on one core at 2 GHz.
fn seconds_per_unit_at_most(part: Part) -> f64 {
    match part {
        Part::Moments2 | Part::Moments4 | Part::Loss => 1e-8,
        Part::Covariance => 2e-9,
        Part::Regression => 2e-8,
        Part::Differences => 2e-8,
        Part::Quantiles => 1e-7,
    }
}

#[cfg(test)]
mod tests;
