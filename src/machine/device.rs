//! What `millstream devices` shows: the processor and the adapters, with their limits, the numerics probe and the costs.

use super::{Cache, gpu, measure};
use crate::backend::Backend;
use crate::backend::cpu::{Cpu, instruction_set};
use crate::error::Result;
use crate::planner::{CpuCosts, GpuCosts, Part, Table, Tables};
use crate::report::text::{clean, counted};
use serde::Serialize;

/// An adapter that the machine has.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Its driver, with the version.
    pub driver: String,
    /// `vulkan`, `metal` or `dx12`.
    pub api: String,
    /// `discrete`, `integrated`, `virtual`, `software` or `other`.
    pub kind: String,
    /// Whether it is a program on the CPU.
    pub software: bool,
    /// Whether it computes in `f64`.
    pub f64: bool,
    /// Whether it can say how long its own work took.
    pub timestamps: bool,
    /// The most that one shader argument can hold.
    pub binding_bytes_max: u64,
    /// The most that one buffer can hold.
    pub buffer_bytes_max: u64,
    /// Memory that the invocations of a workgroup share.
    pub workgroup_bytes: u32,
    /// Invocations of a workgroup at most.
    pub invocations_max: u32,
    /// Workgroups along one dimension at most.
    pub workgroups_per_dimension: u32,
    /// The smallest and the largest subgroup.
    pub subgroup: (u32, u32),
    /// What its arithmetic was found to do; absent where it cannot be opened.
    pub probe: Option<NumericsProbe>,
}

/// Whether a driver leaves arithmetic as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NumericsProbe {
    /// The rounding error of a sum is what it should be.
    pub two_sum: bool,
    /// So is arithmetic in `f64`.
    pub native_f64: bool,
    /// Division is rounded as the standard has it.
    pub division: bool,
    /// Why the adapter cannot be used.
    pub failure: Option<String>,
}

/// What a device is measured to do, besides the parts of summaries.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DeviceFigures {
    /// Bytes a second of a copy within the device.
    pub copy_bytes_per_s: f64,
    /// Bytes a second over the bus to the device.
    pub upload_bytes_per_s: f64,
    /// Bytes a second over the bus from the device.
    pub download_bytes_per_s: f64,
    /// What a submission costs the caller.
    pub submit_seconds: f64,
    /// From a submission without work to its answer.
    pub round_trip_seconds: f64,
}

/// What this machine has.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Machine {
    /// Always [`SCHEMA`].
    pub schema: &'static str,
    /// The version of this program.
    pub version: &'static str,
    /// The processor, as the CPU backend uses it.
    pub cpu: String,
    /// What it takes.
    pub cpu_costs: CpuCosts,
    /// Every adapter, software ones too.
    pub adapters: Vec<Device>,
    /// What the adapter takes that `--backend gpu` would use; absent where there is none.
    pub gpu_costs: Option<GpuCosts>,
    /// Where the costs are kept; absent where nowhere.
    pub cache: Option<String>,
    /// What the reader should know.
    #[serde(skip)]
    pub notes: Vec<String>,
}

/// The form of the JSON of [`Machine`].
pub const SCHEMA: &str = "millstream.devices/1";

/// Looks at the machine; measures what is not in the cache, or everything if `again`.
///
/// # Errors
/// [`Error::Failed`](crate::Error::Failed) if the CPU backend cannot be measured.
pub fn machine(cache: &Cache, software: bool, again: bool) -> Result<Machine> {
    let mut notes = Vec::new();
    let cpu_costs = measure::cpu_costs(cache, again, &mut notes)?;
    let gpu_costs = match gpu::open(software, None, None) {
        Ok(mut opened) => measure::gpu_costs(&mut opened, cache, again, &mut notes)
            .map_err(|e| notes.push(format!("the GPU could not be measured: {e}")))
            .ok(),
        Err(error) => {
            notes.push(error.to_string());
            None
        }
    };
    Ok(Machine {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        cpu: Cpu::new().device(),
        cpu_costs,
        adapters: gpu::devices(),
        gpu_costs,
        cache: cache.directory().map(|path| path.display().to_string()),
        notes,
    })
}

impl Machine {
    /// As lines for a terminal.
    pub fn to_text(&self) -> String {
        let mut lines = vec![format!("CPU  {}", self.cpu)];
        lines.push(format!("  reads {}/s", bytes(self.cpu_costs.read_bytes_per_s)));
        lines.push(format!("  {}", rates(&self.cpu_costs.seconds)));
        for device in &self.adapters {
            lines.push(String::new());
            lines.extend(device.lines());
            let measured = self
                .gpu_costs
                .as_ref()
                .filter(|costs| (&costs.adapter, &costs.driver) == (&device.name, &device.driver));
            if let Some(costs) = measured {
                lines.push(format!(
                    "  copy {}/s · upload {}/s · download {}/s · packed {}/s",
                    bytes(costs.copy_bytes_per_s),
                    bytes(costs.upload_bytes_per_s),
                    bytes(costs.download_bytes_per_s),
                    bytes(costs.packing_bytes_per_s)
                ));
                lines.push(format!(
                    "  submit {} · round trip {} · opening {}",
                    duration(costs.submit_seconds),
                    duration(costs.round_trip_seconds),
                    duration(costs.open_seconds)
                ));
                lines.push(format!("  {}: {}", costs.precision, rates(&costs.resident)));
            }
        }
        if self.adapters.is_empty() {
            lines.push("no GPU adapter".into());
        }
        lines.push(String::new());
        lines.push(
            "Rates are of values a second, those of covariance and regression of multiply-adds, at the largest size \
             measured."
                .into(),
        );
        if let Some(cache) = &self.cache {
            lines.push(format!("Costs are kept in {}.", clean(cache)));
        }
        lines.join("\n") + "\n"
    }
}

/// Units a second at the largest size of each part, the moments beside it included.
fn rates(tables: &Tables) -> String {
    let moments = tables.part(Part::Moments2);
    let rate = |table: &Table| {
        let curve = table.curves.last()?;
        let (rows, seconds) = *curve.points.last()?;
        let beside = match table.part {
            Part::Moments2 | Part::Moments4 | Part::Loss => None,
            _ => moments?.seconds(rows, curve.columns),
        };
        let units = rows as f64 * table.part.units(curve.columns);
        let rate = per_second(units / (seconds + beside.unwrap_or(0.0)));
        Some(format!("{} {rate}", table.part.name()))
    };
    tables.iter().filter_map(rate).collect::<Vec<_>>().join(" · ")
}

impl Device {
    fn lines(&self) -> Vec<String> {
        let yes = |has: bool, what: &str| if has { what.to_owned() } else { format!("no {what}") };
        let probe = match &self.probe {
            None => "not probed".to_owned(),
            Some(NumericsProbe { failure: Some(why), .. }) => format!("failed: {}", clean(why)),
            Some(probe) => {
                let found = |good: bool, what: &str| format!("{what} {}", if good { "right" } else { "wrong" });
                [
                    found(probe.two_sum, "two-sum"),
                    found(probe.native_f64, "f64"),
                    found(probe.division, "division"),
                ]
                .join(" · ")
            }
        };
        vec![
            format!(
                "{}  {} ({}, {})",
                self.api,
                clean(&self.name),
                self.kind,
                clean(&self.driver)
            ),
            format!(
                "  {} · {} · subgroups of {} to {} · {} · {} of shared memory",
                yes(self.f64, "f64"),
                yes(self.timestamps, "timestamps"),
                self.subgroup.0,
                self.subgroup.1,
                counted(u64::from(self.invocations_max), "invocation"),
                bytes(f64::from(self.workgroup_bytes)),
            ),
            format!(
                "  bindings up to {} · buffers up to {} · {} workgroups a dimension",
                bytes(self.binding_bytes_max as f64),
                bytes(self.buffer_bytes_max as f64),
                self.workgroups_per_dimension
            ),
            format!("  numerics: {probe}"),
        ]
    }
}

/// Bytes in the unit that suits them.
pub(crate) fn bytes(x: f64) -> String {
    scaled(x, 1000.0, &[" B", " kB", " MB", " GB", " TB"])
}

fn per_second(x: f64) -> String {
    scaled(x, 1000.0, &["/s", " k/s", " M/s", " G/s", " T/s"])
}

/// Seconds in the unit that suits them.
pub(crate) fn duration(seconds: f64) -> String {
    scaled(seconds * 1e9, 1000.0, &[" ns", " µs", " ms", " s"])
}

fn scaled(mut x: f64, step: f64, units: &[&str]) -> String {
    let mut unit = 0;
    // What would round up to the step has the next unit.
    while x >= step * 0.9995 && unit + 1 < units.len() {
        x /= step;
        unit += 1;
    }
    let digits = if x >= 100.0 || unit == 0 && x.fract() == 0.0 {
        0
    } else if x >= 10.0 {
        1
    } else {
        2
    };
    format!("{x:.digits$}{}", units[unit])
}

/// The processor's name in a cache: what changes what it takes.
pub(super) fn processor(threads: usize) -> String {
    format!("cpu {threads} {}", instruction_set())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        assert_eq!(
            [0.0, 999.0, 1e3, 12_345.0, 2.0e12].map(bytes).join(" "),
            "0 B 999 B 1.00 kB 12.3 kB 2.00 TB"
        );
        assert_eq!(
            [2e-9, 1.5e-5, 0.25, 12.0, 999.96e-6].map(duration).join(" "),
            "2 ns 15.0 µs 250 ms 12.0 s 1.00 ms"
        );
    }
}
