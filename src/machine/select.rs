//! The backend that a run is given: what `--backend`, `--precision` and `--software-adapter` mean.

use super::{Cache, gpu, measure};
use crate::backend::Backend;
use crate::backend::cpu::Cpu;
use crate::error::{Error, Result};
use crate::planner::{Choice, Costs, Load, Planner, Side, Workload, run_seconds_at_most};
use crate::spec::Precision;
use std::path::Path;
use std::sync::Arc;

/// A run that the CPU does in less is not worth a look for a GPU: finding and opening a device takes about as long.
pub const LOOKING_SECONDS: f64 = 0.1;

/// Which backend is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Wanted {
    /// The quicker one.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU, or an error.
    Gpu,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Request {
    /// Which backend.
    pub wanted: Wanted,
    /// Which precision, if one is named; otherwise exact, or fast on a GPU without `f64`.
    pub precision: Option<Precision>,
    /// Whether a software adapter counts as a GPU.
    pub software: bool,
}

/// A backend for a run.
pub struct Selection {
    /// The backend.
    pub backend: Box<dyn Backend>,
    /// The precision that it is for.
    pub precision: Precision,
    /// How it was chosen, where both sides were weighed.
    pub choice: Option<Choice>,
    /// What the user should know.
    pub notes: Vec<String>,
}

impl std::fmt::Debug for Selection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Selection")
            .field("backend", &self.backend.name())
            .field("precision", &self.precision)
            .field("choice", &self.choice)
            .field("notes", &self.notes)
            .finish()
    }
}

/// Selects the backend for a run; `workload` is what is known of its input.
///
/// # Errors
/// [`Error::Unavailable`] if the GPU is asked for by name and there is none with the precision that is named.
///
/// ```
/// use millstream::machine::{Cache, Request, select};
/// // Nothing is known of the input, so nobody looks for a GPU.
/// let selection = select(&Request::default(), &Cache::none(), None)?;
/// assert_eq!(selection.backend.name(), "cpu");
/// # Ok::<(), millstream::Error>(())
/// ```
pub fn select(request: &Request, cache: &Cache, workload: Option<&Workload>) -> Result<Selection> {
    select_traced(request, cache, workload, None)
}

/// The same; what a GPU does is recorded.
///
/// # Errors
/// As [`select`].
pub fn select_traced(
    request: &Request,
    cache: &Cache,
    workload: Option<&Workload>,
    recorder: Option<&Arc<gpu::Recorder>>,
) -> Result<Selection> {
    match request.wanted {
        Wanted::Cpu => Ok(on_cpu(request, None, Vec::new())),
        Wanted::Gpu => {
            let opened = gpu::open(request.software, request.precision, recorder)?;
            Ok(Selection {
                precision: opened.precision(),
                backend: opened.into_backend(),
                choice: None,
                notes: Vec::new(),
            })
        }
        Wanted::Auto => quicker(request, cache, workload, recorder),
    }
}

fn on_cpu(request: &Request, choice: Option<Choice>, notes: Vec<String>) -> Selection {
    Selection {
        backend: Box::new(Cpu::new()),
        precision: request.precision.unwrap_or_default(),
        choice,
        notes,
    }
}

/// Whether the system names a device that may be a GPU. To find none by opening Vulkan takes 30 to 40 ms (on an Intel Xeon
/// with a software driver); to read 40M values from a Parquet file takes 80.
fn may_have_gpu() -> bool {
    const NODES: [&str; 5] = ["/dev/dri", "/dev/nvidiactl", "/dev/dxg", "/dev/kgsl-3d0", "/dev/mali0"];
    !cfg!(target_os = "linux") || NODES.iter().any(|node| Path::new(node).exists())
}

fn quicker(
    request: &Request,
    cache: &Cache,
    workload: Option<&Workload>,
    recorder: Option<&Arc<gpu::Recorder>>,
) -> Result<Selection> {
    let mut notes = Vec::new();
    let precision = request.precision.unwrap_or_default();
    let large = workload
        .filter(|w| !w.grouped)
        .and_then(|w| Some((w.clone().in_precision(precision), w.rows?)))
        .filter(|(w, rows)| run_seconds_at_most(w, *rows) > LOOKING_SECONDS);
    let Some((workload, rows)) = large else {
        return Ok(on_cpu(request, None, notes));
    };
    let load = Load {
        opened: false,
        ..Load::streamed(rows)
    };
    if let Some(cpu) = measure::cpu_costs_known(cache) {
        let choice = Planner::new(Costs { cpu, gpu: None }).choose_run(&workload, load);
        if choice.cpu_seconds.is_some_and(|seconds| seconds < LOOKING_SECONDS) {
            return Ok(on_cpu(request, Some(choice), notes));
        }
    }
    if !request.software && !may_have_gpu() {
        return Ok(on_cpu(request, None, notes));
    }
    let mut opened = match gpu::open(request.software, request.precision, recorder) {
        Ok(opened) => opened,
        // There being none is no news.
        Err(Error::Unavailable(_)) => return Ok(on_cpu(request, None, notes)),
        Err(error) => {
            notes.push(format!("the GPU cannot be used, so the CPU is: {error}"));
            return Ok(on_cpu(request, None, notes));
        }
    };
    let cpu = measure::cpu_costs(cache, false, &mut notes)?;
    let gpu = match measure::gpu_costs(&mut opened, cache, false, &mut notes) {
        Ok(costs) => costs,
        Err(error) => {
            notes.push(format!("the GPU could not be measured, so the CPU is used: {error}"));
            return Ok(on_cpu(request, None, notes));
        }
    };
    let workload = workload.in_precision(opened.precision());
    // It is open by now.
    let choice = Planner::new(Costs { cpu, gpu: Some(gpu) }).choose_run(&workload, Load::streamed(rows));
    if choice.backend == Side::Cpu {
        return Ok(on_cpu(request, Some(choice), notes));
    }
    Ok(Selection {
        precision: opened.precision(),
        backend: opened.into_backend(),
        choice: Some(choice),
        notes,
    })
}
