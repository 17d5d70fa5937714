//! What came of it: measurements, decisions of the planner, crossovers.

use super::spread;
use crate::machine::{Device, DeviceFigures};
use crate::planner::{Load, Part, Planner, Side};
use crate::summary::Shape;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// The form of the JSON.
pub const SCHEMA: &str = "millstream.bench/1";
/// How much longer than the quicker backend the chosen one may take.
pub const WITHIN: f64 = 1.15;

/// Where rows lie when a reduction begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// In host memory.
    Host,
    /// On the device.
    Device,
}

/// Whether a result is right.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verified {
    /// Whether it is.
    pub ok: bool,
    /// The largest error, in the terms of the tolerance; null where something is wrong that has no size.
    #[serde(serialize_with = "finite")]
    pub error: f64,
    /// What is allowed.
    pub tolerance: f64,
    /// What is wrong first.
    pub failure: Option<String>,
}

fn finite<S: Serializer>(x: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    Some(*x).filter(|x| x.is_finite()).serialize(serializer)
}

/// One contender in one cell. Times and rates are absent where it could not be measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Measurement {
    /// The summary.
    pub summary: Part,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// The backend.
    pub backend: Side,
    /// Where the rows lie.
    pub place: Place,
    /// The median time.
    pub seconds: Option<f64>,
    /// The least time.
    pub seconds_min: Option<f64>,
    /// The greatest time.
    pub seconds_max: Option<f64>,
    /// Runs.
    pub runs: usize,
    /// 8 bytes a value, in units of 1e9 a second.
    pub gb_per_s: Option<f64>,
    /// Operations ([`operations`]), in units of 1e9 a second.
    pub gflop_per_s: Option<f64>,
    /// 8 bytes a value over what the bus carries, where rows cross it.
    pub of_bus: Option<f64>,
    /// 8 bytes a value over what a copy on the device moves, where rows lie there.
    pub of_copy: Option<f64>,
    /// The CPU's time in this cell over this one.
    pub speed_up: Option<f64>,
    /// Whether the result is right.
    pub verified: Option<Verified>,
    /// Why there is no result.
    pub unavailable: Option<String>,
}

impl Measurement {
    pub(super) fn new(summary: Part, rows: usize, columns: usize, backend: Side, place: Place) -> Self {
        Self {
            summary,
            rows,
            columns,
            backend,
            place,
            seconds: None,
            seconds_min: None,
            seconds_max: None,
            runs: 0,
            gb_per_s: None,
            gflop_per_s: None,
            of_bus: None,
            of_copy: None,
            speed_up: None,
            verified: None,
            unavailable: None,
        }
    }

    pub(super) fn unavailable(mut self, why: String) -> Self {
        self.unavailable = Some(why);
        self
    }

    pub(super) fn time(&mut self, times: &mut [f64], figures: Option<&DeviceFigures>) {
        let (median, least, greatest) = spread(times);
        self.runs = times.len();
        self.seconds = Some(median);
        self.seconds_min = Some(least);
        self.seconds_max = Some(greatest);
        let bytes_per_s = (self.rows * self.columns * size_of::<f64>()) as f64 / median;
        self.gb_per_s = Some(bytes_per_s / 1e9);
        let operations = operations(self.summary, self.columns);
        self.gflop_per_s = operations.map(|each| each * self.rows as f64 / median / 1e9);
        if let Some(figures) = figures.filter(|_| self.backend == Side::Gpu) {
            match self.place {
                Place::Host => self.of_bus = Some(bytes_per_s / figures.upload_bytes_per_s),
                Place::Device => self.of_copy = Some(bytes_per_s / figures.copy_bytes_per_s),
            }
        }
    }
}

/// Floating-point operations on one row: a multiplication and an addition for every product of a covariance and a
/// regression, two of each for every weight of a loss; absent where memory is what counts.
pub fn operations(summary: Part, columns: usize) -> Option<f64> {
    let d = columns as f64;
    match summary {
        Part::Covariance | Part::Regression => Some(d * (d + 1.0)),
        Part::Loss => Some(4.0 * d),
        _ => None,
    }
}

/// Fills in how much quicker than the CPU each is.
pub(super) fn speed_up(cell: &mut [Measurement]) {
    let cpu = cell.iter().find(|m| m.backend == Side::Cpu).and_then(|m| m.seconds);
    for m in cell.iter_mut().filter(|m| m.backend == Side::Gpu) {
        m.speed_up = cpu.zip(m.seconds).map(|(cpu, gpu)| cpu / gpu);
    }
}

/// What `auto` would choose in a cell, and how that turned out.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Decision {
    /// The summary.
    pub summary: Part,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Where the rows lie for the GPU.
    pub place: Place,
    /// The choice.
    pub backend: Side,
    /// The estimate for the CPU.
    pub cpu_seconds: Option<f64>,
    /// The estimate for the GPU.
    pub gpu_seconds: Option<f64>,
    /// The measured time of the chosen backend over that of the quicker one; absent where only one was measured.
    pub over_best: Option<f64>,
    /// Whether that is at most [`WITHIN`], or there was no choice.
    pub within: bool,
}

/// From how many rows on the GPU is quicker.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Crossover {
    /// The summary.
    pub summary: Part,
    /// Columns.
    pub columns: usize,
    /// Where the rows lie for the GPU.
    pub place: Place,
    /// The rows, between two that were measured by a power law; absent where the GPU is not quicker at the most rows.
    pub rows: Option<f64>,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Bench {
    /// Always [`SCHEMA`].
    pub schema: &'static str,
    /// The version of this program.
    pub version: &'static str,
    /// The precision.
    pub precision: &'static str,
    /// What the CPU backend runs on.
    pub cpu: Option<String>,
    /// What the GPU backend runs on.
    pub gpu: Option<String>,
    /// The GPU.
    pub device: Option<Device>,
    /// Its bus, memory and submissions.
    pub figures: Option<DeviceFigures>,
    /// Every contender in every cell.
    pub measurements: Vec<Measurement>,
    /// What `auto` would choose.
    pub decisions: Vec<Decision>,
    /// From where on the GPU pays.
    pub crossovers: Vec<Crossover>,
}

impl Bench {
    pub(super) fn new(backends: impl Iterator<Item = (Side, String)>) -> Self {
        let mut bench = Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            precision: "exact",
            cpu: None,
            gpu: None,
            device: None,
            figures: None,
            measurements: Vec::new(),
            decisions: Vec::new(),
            crossovers: Vec::new(),
        };
        for (side, device) in backends {
            match side {
                Side::Cpu => bench.cpu = Some(device),
                Side::Gpu => bench.gpu = Some(device),
            }
        }
        bench
    }

    /// Whether every result that there is was right.
    pub fn is_verified(&self) -> bool {
        self.failures().next().is_none()
    }

    /// The measurements whose results are wrong.
    pub fn failures(&self) -> impl Iterator<Item = &Measurement> {
        let wrong = |m: &&Measurement| m.verified.as_ref().is_some_and(|v| !v.ok);
        self.measurements.iter().filter(wrong)
    }

    /// The decisions that were not good enough.
    pub fn poor_decisions(&self) -> impl Iterator<Item = &Decision> {
        self.decisions.iter().filter(|d| !d.within)
    }

    /// Asks the planner about a cell and compares with what was measured there.
    pub(super) fn decide(&mut self, shape: &Shape, cell: &[Measurement], planner: &Planner) {
        let at = |backend, place| cell.iter().find(|m| m.backend == backend && m.place == place);
        let Some(first) = cell.first() else { return };
        let cpu = at(Side::Cpu, Place::Host).and_then(|m| m.seconds);
        for place in [Place::Host, Place::Device] {
            let Some(gpu) = at(Side::Gpu, place) else { continue };
            let load = match place {
                Place::Host => Load::streamed(first.rows as u64),
                Place::Device => Load::resident(first.rows as u64),
            };
            let choice = planner.choose(shape, load);
            let over_best = cpu.zip(gpu.seconds).map(|(cpu, gpu)| {
                let chosen = if choice.backend == Side::Gpu { gpu } else { cpu };
                chosen / cpu.min(gpu)
            });
            self.decisions.push(Decision {
                summary: first.summary,
                rows: first.rows,
                columns: first.columns,
                place,
                backend: choice.backend,
                cpu_seconds: choice.cpu_seconds,
                gpu_seconds: choice.gpu_seconds,
                over_best,
                within: over_best.is_none_or(|ratio| ratio <= WITHIN),
            });
        }
    }

    /// Fills in the crossovers.
    pub(super) fn cross(&mut self) {
        let mut series: BTreeMap<_, Vec<(f64, f64)>> = BTreeMap::new();
        for m in &self.measurements {
            let points = series.entry((m.summary, m.columns, m.place)).or_default();
            points.extend(m.speed_up.map(|speed_up| (m.rows as f64, speed_up)));
        }
        for ((summary, columns, place), mut points) in series {
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            if !points.is_empty() {
                let rows = crossing(&points);
                self.crossovers.push(Crossover {
                    summary,
                    columns,
                    place,
                    rows,
                });
            }
        }
    }
}

/// The point from which on all are at least 1, between two points where log(y) is linear in log(x).
fn crossing(points: &[(f64, f64)]) -> Option<f64> {
    let wins = points.iter().rev().take_while(|(_, y)| *y >= 1.0).count();
    let first = points.len() - wins;
    let after = points.get(first)?;
    let Some(before) = first.checked_sub(1).map(|i| points[i]) else {
        return Some(after.0);
    };
    let share = -before.1.ln() / (after.1.ln() - before.1.ln());
    Some(before.0 * (after.0 / before.0).powf(share))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_two_curves_cross() {
        assert_eq!(crossing(&[]), None);
        assert_eq!(crossing(&[(10.0, 0.5), (100.0, 0.9)]), None);
        assert_eq!(crossing(&[(10.0, 1.5), (100.0, 2.0)]), Some(10.0));
        // As much below as above: in the middle, on a logarithmic scale.
        let crossed = crossing(&[(1.0, 3.0), (10.0, 0.5), (1000.0, 2.0)]).unwrap();
        assert!((crossed - 100.0).abs() < 1e-9, "{crossed}");
    }
}
