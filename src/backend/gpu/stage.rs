//! A stage: the buffers of one submission, and what lies where in them.
//!
//! What a submission reads beside its data is one buffer of sections: the parameters and the table of each kernel,
//! pivots, places, masks, weights. It is written as a whole into mapped memory, the data behind it, and copied to the
//! device section by section, as far as each is used. A stage is made once and used again and again; bind groups cover
//! whole sections. Stages over data that stays on the device share its buffer.

use super::device::{Buffer, Counters, Device};
use super::kernels::{Element, Entry, KERNELS, Kernel, Params};
use super::load::Load;
use super::{Options, WORKGROUPS_MAX};
use crate::error::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Bytes of a section at least: a binding may not be empty.
const SECTION_BYTES_MIN: u64 = 256;

/// Bytes of each section of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sizes {
    pub(super) tables: [u64; KERNELS.len()],
    pub(super) pivots: u64,
    pub(super) places: u64,
    pub(super) mask: u64,
    pub(super) weights: u64,
    pub(super) data: u64,
    /// Of the output, by kernel.
    pub(super) out: [u64; KERNELS.len()],
    pub(super) scratch: u64,
}

impl Sizes {
    fn combine(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            tables: std::array::from_fn(|k| f(self.tables[k], other.tables[k])),
            pivots: f(self.pivots, other.pivots),
            places: f(self.places, other.places),
            mask: f(self.mask, other.mask),
            weights: f(self.weights, other.weights),
            data: f(self.data, other.data),
            out: std::array::from_fn(|k| f(self.out[k], other.out[k])),
            scratch: f(self.scratch, other.scratch),
        }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        self.combine(other, |a, b| a + b)
    }

    pub(super) fn max(self, other: Self) -> Self {
        self.combine(other, u64::max)
    }

    /// The same for every section.
    pub(super) fn all(bytes: u64) -> Self {
        Self {
            tables: [bytes; KERNELS.len()],
            pivots: bytes,
            places: bytes,
            mask: bytes,
            weights: bytes,
            data: bytes,
            out: [bytes; KERNELS.len()],
            scratch: bytes,
        }
    }

    pub(super) fn times(self, n: u64) -> Self {
        self.combine(self, |a, _| a * n)
    }

    pub(super) fn fits(self, room: Self) -> bool {
        self.max(room) == room
    }

    /// With room to spare, so that somewhat larger works find it there.
    pub(super) fn rounded(self, limit: u64) -> Self {
        self.combine(self, |a, _| a.next_power_of_two().min(limit).max(a).max(256))
    }

    pub(super) fn largest(self) -> u64 {
        let rest = [
            self.pivots,
            self.places,
            self.mask,
            self.weights,
            self.data,
            self.scratch,
        ];
        self.tables.into_iter().chain(self.out).chain(rest).max().unwrap_or(0)
    }
}

/// Where the sections begin, and the sizes of the buffers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    pub(super) params: [u64; KERNELS.len()],
    pub(super) tables: [u64; KERNELS.len()],
    pub(super) pivots: u64,
    pub(super) places: u64,
    pub(super) mask: u64,
    pub(super) weights: u64,
    /// In the staging memory; on the device data has a buffer of its own.
    pub(super) data: u64,
    staging: u64,
    pub(super) out: [u64; KERNELS.len()],
    /// When the kernels began and ended, where that is measured.
    times: u64,
    output: u64,
}

impl Places {
    fn new(room: &Sizes, alignment: u64) -> Self {
        let mut end = 0;
        let mut take = |bytes: u64| {
            let start = end;
            end = (start + bytes).next_multiple_of(alignment);
            start
        };
        let params = KERNELS.map(|_| take(size_of::<Params>() as u64));
        let tables = room.tables.map(&mut take);
        let (pivots, places) = (take(room.pivots), take(room.places));
        let (mask, weights, data) = (take(room.mask), take(room.weights), take(room.data));
        let staging = end;
        end = 0;
        let mut take = |bytes: u64| {
            let start = end;
            end = (start + bytes).next_multiple_of(alignment);
            start
        };
        let out = room.out.map(&mut take);
        let times = take(TIMES_BYTES);
        Self {
            params,
            tables,
            pivots,
            places,
            mask,
            weights,
            data,
            staging,
            out,
            times,
            output: end,
        }
    }
}

/// Bytes of the two times of a submission.
const TIMES_BYTES: u64 = 16;

/// How far the mapping of a buffer has come.
#[derive(Debug, Clone, Default)]
pub(super) struct Mapping(Arc<AtomicU8>);

impl Mapping {
    fn begin(&self) -> impl FnOnce(Result<(), wgpu::BufferAsyncError>) + Send + 'static + use<> {
        self.0.store(0, Ordering::Release);
        let state = self.0.clone();
        move |mapped| state.store(if mapped.is_ok() { 1 } else { 2 }, Ordering::Release)
    }

    /// Whether it is done.
    fn done(&self) -> Result<bool> {
        match self.0.load(Ordering::Acquire) {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Error::Failed("a buffer could not be mapped".into())),
        }
    }
}

/// What a submission sends to the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upload {
    Nothing,
    /// Weights, for tables and rows that are there.
    Weights,
    All,
}

/// The buffers of one submission.
#[derive(Debug)]
pub(super) struct Stage {
    /// Of the submission that it is packed for.
    pub(super) number: u64,
    pub(super) room: Sizes,
    pub(super) at: Places,
    /// Memory to write into, while the host has it.
    pub(super) memory: Option<wgpu::BufferViewMut>,
    staging: Buffer,
    input: Buffer,
    data: Arc<Buffer>,
    output: Buffer,
    readback: Buffer,
    /// Kept alive by the bind groups too.
    _scratch: Arc<Buffer>,
    groups: [wgpu::BindGroup; KERNELS.len()],
    times: Option<wgpu::QuerySet>,
    staged: Mapping,
    read: Mapping,
    pub(super) load: Load,
}

impl Stage {
    /// A stage with this much room, ready to be written.
    pub(super) fn new(device: &Device, room: Sizes) -> Result<Self> {
        Self::over(device, room, None, None)
    }

    /// Scratch memory of so many bytes.
    pub(super) fn scratch(device: &Device, bytes: u64) -> Result<Arc<Buffer>> {
        let bytes = bytes.max(SECTION_BYTES_MIN);
        device
            .buffer("scratch", bytes, wgpu::BufferUsages::STORAGE, false)
            .map(Arc::new)
    }

    /// A stage over data that is there already, or with room for its own; and the same for scratch memory.
    pub(super) fn over(
        device: &Device,
        room: Sizes,
        data: Option<Arc<Buffer>>,
        scratch: Option<Arc<Buffer>>,
    ) -> Result<Self> {
        let room = room.max(Sizes::all(SECTION_BYTES_MIN));
        let limit = device.adapter.binding_bytes_max;
        if room.largest() > limit {
            return Err(Error::Limit(format!(
                "{} bytes are more than a shader of {} sees of a buffer, {limit}",
                room.largest(),
                device.adapter.name
            )));
        }
        let at = Places::new(&room, device.alignment);
        use wgpu::BufferUsages as Usage;
        let staging = device.buffer("staging", at.staging, Usage::MAP_WRITE | Usage::COPY_SRC, true)?;
        let input = Usage::UNIFORM | Usage::STORAGE | Usage::COPY_DST;
        let input = device.buffer("tables", at.data, input, false)?;
        let data = match data {
            Some(data) => data,
            None => Arc::new(device.buffer("data", room.data, Usage::STORAGE | Usage::COPY_DST, false)?),
        };
        let output = Usage::STORAGE | Usage::COPY_SRC | Usage::QUERY_RESOLVE;
        let output = device.buffer("output", at.output, output, false)?;
        let readback = device.buffer("read-back", at.output, Usage::MAP_READ | Usage::COPY_DST, false)?;
        let scratch = match scratch {
            Some(scratch) => scratch,
            None => Self::scratch(device, room.scratch)?,
        };
        let group = |k: usize| {
            let part = |binding, buffer, offset, size: u64| wgpu::BindGroupEntry {
                binding,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer,
                    offset,
                    size: std::num::NonZeroU64::new(size),
                }),
            };
            let entries = [
                part(0, &input, at.params[k], size_of::<Params>() as u64),
                part(1, &input, at.tables[k], room.tables[k]),
                part(2, &input, at.pivots, room.pivots),
                part(3, &input, at.places, room.places),
                part(4, &input, at.mask, room.mask),
                part(5, &data, 0, data.size()),
                part(6, &input, at.weights, room.weights),
                part(7, &output, at.out[k], room.out[k]),
                part(8, &scratch, 0, room.scratch),
            ];
            Counters::add(&device.counters.objects, 1);
            device.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some("stage"),
                layout: &device.layout,
                entries: &entries,
            })
        };
        let times = device.timed.then(|| {
            Counters::add(&device.counters.objects, 1);
            device.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("times"),
                ty: wgpu::QueryType::Timestamp,
                count: 2,
            })
        });
        let mut this = Self {
            groups: std::array::from_fn(group),
            times,
            number: 0,
            room,
            at,
            memory: None,
            staging,
            input,
            data,
            output,
            readback,
            _scratch: scratch,
            staged: Mapping::default(),
            read: Mapping::default(),
            load: Load::default(),
        };
        this.map()?;
        Ok(this)
    }

    /// Submits what is loaded: to the device what `upload` says, then the kernels and the copy back if `run`.
    pub(super) fn submit(&mut self, device: &Device, upload: Upload, run: bool) -> wgpu::SubmissionIndex {
        let mut encoder = device
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("stage") });
        if upload != Upload::Nothing {
            self.memory = None;
            self.staging.unmap();
            let weights = (self.at.weights, self.load.sizes.weights);
            let only = (upload == Upload::Weights).then_some(weights).into_iter();
            let all = (upload == Upload::All)
                .then(|| self.load.written(&self.at))
                .into_iter()
                .flatten();
            let mut bytes = 0;
            for (offset, size) in only.chain(all) {
                encoder.copy_buffer_to_buffer(&self.staging, offset, &self.input, offset, size);
                bytes += size;
            }
            Counters::add(&device.counters.table_bytes, bytes);
            let rows = self.load.sizes.data;
            if upload == Upload::All && rows > 0 {
                encoder.copy_buffer_to_buffer(&self.staging, self.at.data, &self.data, 0, rows);
                Counters::add(&device.counters.uploaded_bytes, rows);
            }
            encoder.map_buffer_on_submit(&self.staging, wgpu::MapMode::Write, .., self.staged.begin());
        }
        if run {
            self.encode(device, &mut encoder);
            for (k, bytes) in self.load.sizes.out.iter().enumerate().filter(|(_, bytes)| **bytes > 0) {
                let at = self.at.out[k];
                encoder.copy_buffer_to_buffer(&self.output, at, &self.readback, at, *bytes);
            }
            if let Some(times) = &self.times {
                let at = self.at.times;
                encoder.resolve_query_set(times, 0..2, &self.output, at);
                encoder.copy_buffer_to_buffer(&self.output, at, &self.readback, at, TIMES_BYTES);
            }
            encoder.map_buffer_on_submit(&self.readback, wgpu::MapMode::Read, .., self.read.begin());
        }
        Counters::add(&device.counters.submits, 1);
        device.queue.submit([encoder.finish()])
    }

    fn encode(&self, device: &Device, encoder: &mut wgpu::CommandEncoder) {
        let pipelines = device.pipelines(self.load.element);
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: Some("stage"),
            timestamp_writes: self.times.as_ref().map(|times| wgpu::ComputePassTimestampWrites {
                query_set: times,
                beginning_of_pass_write_index: Some(0),
                end_of_pass_write_index: Some(1),
            }),
        });
        for (k, kernel) in KERNELS.into_iter().enumerate() {
            let params = self.load.params(kernel);
            let Some(pipeline) = pipelines.get(self.load.entry(kernel)).filter(|_| params.items > 0) else {
                continue;
            };
            pass.set_pipeline(pipeline);
            pass.set_bind_group(0, &self.groups[k], &[]);
            pass.dispatch_workgroups(params.groups, 1, 1);
            Counters::add(&device.counters.dispatches, 1);
        }
    }

    /// Whether the answer is there, and the staging memory can be written again.
    pub(super) fn answered(&self, uploaded: bool, ran: bool) -> Result<bool> {
        Ok((!uploaded || self.staged.done()?) && (!ran || self.read.done()?))
    }

    /// What came back.
    pub(super) fn output(&self) -> Result<wgpu::BufferView> {
        self.readback
            .get_mapped_range(..)
            .map_err(|e| Error::Failed(format!("the answer cannot be read: {e}")))
    }

    /// Ready for the next submission.
    pub(super) fn release(&self) {
        self.readback.unmap();
    }

    /// When the kernels began and ended, in nanoseconds of the device's clock, where that was measured.
    pub(super) fn times_ns(&self, device: &Device, output: &[u8]) -> Option<(u64, u64)> {
        self.times.as_ref()?;
        let at = self.at.times as usize;
        let time = |k: usize| {
            let bytes = output.get(at + 8 * k..at + 8 * k + 8)?;
            let ticks = u64::from_le_bytes(bytes.try_into().ok()?);
            let period_ns = f64::from(device.queue.get_timestamp_period());
            // Ticks since 1970 have more digits than an f64.
            Some(if period_ns == 1.0 {
                ticks
            } else {
                (ticks as f64 * period_ns) as u64
            })
        };
        Some((time(0)?, time(1)?))
    }

    /// Makes the memory to write into available; the device does not have it.
    pub(super) fn map(&mut self) -> Result<()> {
        if self.memory.is_none() {
            let memory = self.staging.get_mapped_range_mut(..);
            self.memory = Some(memory.map_err(|e| Error::Failed(format!("no memory to pack rows into: {e}")))?);
        }
        Ok(())
    }

    /// The buffer of its data.
    pub(super) fn data(&self) -> &Arc<Buffer> {
        &self.data
    }

    /// Tells it what does not change.
    pub(super) fn prepare(&mut self, options: &Options) {
        self.load.precision = options.precision;
        self.load.workgroups_max = options.workgroups_max.clamp(1, WORKGROUPS_MAX);
    }

    /// Writes everything but the data.
    pub(super) fn write(&mut self) {
        if let Some(memory) = &mut self.memory {
            self.load.write(&self.at, memory);
        }
    }

    /// Other weights for the same rows.
    pub(super) fn set_weights(&mut self, set: impl FnOnce(&mut Load)) -> Result<()> {
        set(&mut self.load);
        self.map()?;
        if let Some(memory) = &mut self.memory {
            self.load.write_weights(self.at.weights, memory);
        }
        Ok(())
    }
}

/// The kernel of a table among [`KERNELS`].
pub(super) fn index(kernel: Kernel) -> usize {
    kernel as usize
}

/// The entry point of a kernel where there is no choice.
pub(super) fn only_entry(kernel: Kernel) -> Entry {
    match kernel {
        Kernel::Moments => Entry::Moments,
        Kernel::Tiles => Entry::Tiles,
        Kernel::Loss => Entry::Linear,
        Kernel::Fold => Entry::Fold,
        Kernel::Differences => Entry::Differences,
    }
}

/// Bytes of `n` elements.
pub(super) fn bytes_of(element: Element, n: usize) -> u64 {
    (element.bytes() * n) as u64
}
