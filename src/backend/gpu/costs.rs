//! What moving bytes to, on and from a device costs, measured on it.

use super::Gpu;
use super::device::Device;
use crate::backend::{Backend, Work};
use crate::batch::Batch;
use crate::cells::Cells;
use crate::error::{Error, Result};
use crate::summary::{Order, Shape};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes that are moved at a time; a device whose buffers are smaller moves less.
const BYTES: u64 = 64 << 20;
/// Each figure is the best of so many rounds: what disturbs a round only makes it longer.
const ROUNDS: usize = 5;
/// Small works whose median says what a submission costs.
const SMALL_WORKS: usize = 32;

/// Costs of a device.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct DeviceCosts {
    /// From one of its buffers to another; each byte is read and written.
    pub copy_bytes_per_s: f64,
    /// From mapped memory to a buffer.
    pub upload_bytes_per_s: f64,
    /// From a buffer to memory that the host reads.
    pub download_bytes_per_s: f64,
    /// Of the caller's time, for handing over a small work.
    pub submit_s: f64,
    /// From handing over a small work to its answer.
    pub round_trip_s: f64,
}

impl Gpu {
    /// Measures what moving bytes and small works costs. Nothing may be in flight.
    ///
    /// # Errors
    /// [`Error::Failed`] if the device is lost, or has no room for the buffers.
    pub fn measure_costs(&mut self) -> Result<DeviceCosts> {
        let (device, _) = self.ring()?;
        let device = device.clone();
        // wgpu panics where it polls a device that is lost.
        let measured = catch_unwind(AssertUnwindSafe(|| transfers(&device)));
        let lost = |_| Err(Error::Failed("the device was lost while it was measured".into()));
        let [copy, upload, download] = measured.unwrap_or_else(lost)?;
        let (submit_s, round_trip_s) = self.small_works()?;
        Ok(DeviceCosts {
            copy_bytes_per_s: copy,
            upload_bytes_per_s: upload,
            download_bytes_per_s: download,
            submit_s,
            round_trip_s,
        })
    }

    /// Seconds of a submission and of a round trip: medians.
    fn small_works(&mut self) -> Result<(f64, f64)> {
        let batch = Batch::from_columns([("x", (0..256).map(f64::from).collect::<Vec<_>>())])?;
        let shape = Arc::new(Shape {
            columns: 1,
            order: Order::Second,
            ..Shape::default()
        });
        let cells = Arc::new(Cells::single(batch.rows(), batch.rows()));
        let (mut submits, mut trips) = (Vec::new(), Vec::new());
        for seq in 0..SMALL_WORKS as u64 {
            let work = Work {
                before: Arc::new([]),
                batch: batch.clone(),
                cells: cells.clone(),
                carried: Arc::new([]),
                shape: shape.clone(),
                open: false,
                weights: None,
                resident: None,
            };
            let start = Instant::now();
            self.submit(seq, work)?;
            submits.push(start.elapsed());
            self.collect()?;
            trips.push(start.elapsed());
        }
        Ok((median(&mut submits), median(&mut trips)))
    }
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}

/// Bytes a second on the device, to it and from it.
fn transfers(device: &Device) -> Result<[f64; 3]> {
    use wgpu::BufferUsages as Usage;
    let bytes = BYTES.min(device.adapter.buffer_bytes_max / 4);
    let storage = Usage::STORAGE | Usage::COPY_SRC | Usage::COPY_DST;
    let a = device.buffer("costs", bytes, storage, false)?;
    let b = device.buffer("costs", bytes, storage, false)?;
    let to = device.buffer("costs", bytes, Usage::MAP_WRITE | Usage::COPY_SRC, true)?;
    to.unmap();
    let from = device.buffer("costs", bytes, Usage::MAP_READ | Usage::COPY_DST, false)?;
    let mut found = [0.0; 3];
    for (rate, (source, target)) in found.iter_mut().zip([(&a, &b), (&to, &a), (&b, &from)]) {
        let mut best = f64::INFINITY;
        for _ in 0..ROUNDS {
            let mut encoder = device
                .device
                .create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("costs") });
            encoder.copy_buffer_to_buffer(source, 0, target, 0, bytes);
            let commands = encoder.finish();
            let start = Instant::now();
            let index = device.queue.submit([commands]);
            device
                .device
                .poll(wgpu::PollType::Wait {
                    submission_index: Some(index),
                    timeout: Some(Duration::from_secs(10)),
                })
                .map_err(|e| Error::Failed(format!("the device does not answer: {e}")))?;
            best = best.min(start.elapsed().as_secs_f64());
        }
        *rate = bytes as f64 / best;
    }
    Ok(found)
}
