//! The GPU as the rest of the machine sees it: adapters, and one that is open.

use super::device::{Device, DeviceFigures, NumericsProbe};
use crate::backend::Backend;
use crate::backend::gpu::{Adapter, Gpu, Options, adapters};
use crate::error::{Error, Result};
use crate::spec::Precision;
use std::sync::Arc;
use std::time::Instant;

pub use crate::backend::gpu::trace::Recorder;

/// A GPU that is open.
pub struct Opened {
    gpu: Gpu,
    precision: Precision,
    seconds: f64,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened")
            .field("device", &self.gpu.adapter().name)
            .field("precision", &self.precision)
            .field("seconds", &self.seconds)
            .finish()
    }
}

/// Every adapter of the machine, software ones too.
pub fn devices() -> Vec<Device> {
    adapters().iter().map(device).collect()
}

/// Opens the GPU; the recorder sees what it does. Where no precision is named it is exact, or fast on a device without `f64`.
///
/// # Errors
/// [`Error::Unavailable`] if there is none (a software adapter counts only if `software`), or none with the precision
/// that is named.
pub fn open(software: bool, precision: Option<Precision>, recorder: Option<&Arc<Recorder>>) -> Result<Opened> {
    let start = Instant::now();
    let with = |precision| {
        let options = Options {
            precision,
            software,
            watch: recorder.map(Recorder::watch),
            ..Options::default()
        };
        Gpu::open(options).map(|gpu| (gpu, precision))
    };
    let opened = match precision {
        Some(precision) => with(precision),
        None => match with(Precision::Exact) {
            Ok((gpu, precision)) if gpu.adapter().f64 => Ok((gpu, precision)),
            Ok(_) => with(Precision::Fast),
            Err(first) => with(Precision::Fast).map_err(|_| first),
        },
    };
    let (gpu, precision) = opened.map_err(unavailable)?;
    if precision == Precision::Exact && !gpu.adapter().f64 {
        return Err(Error::Unavailable(format!(
            "{} has no f64, which --precision exact needs: --precision fast, or --backend cpu",
            gpu.adapter().name
        )));
    }
    Ok(Opened {
        gpu,
        precision,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// The error with the way out.
fn unavailable(error: Error) -> Error {
    match error {
        Error::Unavailable(why) if !why.contains("--backend cpu") => {
            Error::Unavailable(format!("{why}; --backend cpu or auto computes the same without a GPU"))
        }
        error => error,
    }
}

impl Opened {
    /// The backend.
    pub fn backend(&mut self) -> &mut dyn Backend {
        &mut self.gpu
    }

    /// The backend, to keep.
    pub fn into_backend(self) -> Box<dyn Backend> {
        Box::new(self.gpu)
    }

    /// The device.
    pub fn device(&self) -> Device {
        device(self.gpu.adapter())
    }

    /// The precision that it was opened with.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// What opening it took.
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    /// Measures bus, memory and submissions.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn figures(&mut self) -> Result<DeviceFigures> {
        let costs = self.gpu.measure_costs()?;
        Ok(DeviceFigures {
            copy_bytes_per_s: costs.copy_bytes_per_s,
            upload_bytes_per_s: costs.upload_bytes_per_s,
            download_bytes_per_s: costs.download_bytes_per_s,
            submit_seconds: costs.submit_s,
            round_trip_seconds: costs.round_trip_s,
        })
    }
}

fn device(adapter: &Adapter) -> Device {
    Device {
        name: adapter.name.clone(),
        driver: adapter.driver.clone(),
        api: adapter.api.clone(),
        kind: adapter.kind.clone(),
        software: adapter.software,
        f64: adapter.f64,
        timestamps: adapter.timestamps,
        binding_bytes_max: adapter.binding_bytes_max,
        buffer_bytes_max: adapter.buffer_bytes_max,
        workgroup_bytes: adapter.workgroup_bytes,
        invocations_max: adapter.invocations_max,
        workgroups_per_dimension: adapter.workgroups_per_dimension,
        subgroup: adapter.subgroup,
        probe: adapter.probe.as_ref().map(|probe| NumericsProbe {
            two_sum: probe.two_sum,
            native_f64: probe.native_f64,
            division: probe.division,
            failure: probe.failure.clone(),
        }),
    }
}
