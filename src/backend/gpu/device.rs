//! Devices: which adapters there are, and opening one with what it offers.

use super::Options;
use super::kernels::{Element, Pipelines, Texts, bind_group_layout};
use super::probe::{self, Probe};
use crate::error::{Error, Result};
use crate::spec::Precision;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What an adapter is and can do.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Adapter {
    /// As the driver calls it.
    pub name: String,
    /// The driver and its version.
    pub driver: String,
    /// `vulkan`, `metal` or `dx12`.
    pub api: String,
    /// `discrete`, `integrated`, `virtual`, `software` or `other`.
    pub kind: String,
    /// Whether it computes on the CPU.
    pub software: bool,
    /// Whether shaders have `f64`.
    pub f64: bool,
    /// Whether commands can be timed.
    pub timestamps: bool,
    /// Bytes that a shader sees of one buffer at most.
    pub binding_bytes_max: u64,
    /// Bytes of a buffer at most.
    pub buffer_bytes_max: u64,
    /// Bytes that a workgroup shares.
    pub workgroup_bytes: u32,
    /// Invocations of a workgroup at most.
    pub invocations_max: u32,
    /// Workgroups in one dimension of a launch at most.
    pub workgroups_per_dimension: u32,
    /// The least and the greatest size of a subgroup.
    pub subgroup: (u32, u32),
    /// What its arithmetic does, where it was tried.
    pub probe: Option<Probe>,
}

/// What a backend has done: for tests, traces and people.
#[derive(Debug, Default)]
pub struct Counters {
    pub(super) dispatches: AtomicU64,
    pub(super) uploaded_bytes: AtomicU64,
    pub(super) table_bytes: AtomicU64,
    pub(super) submits: AtomicU64,
    pub(super) objects: AtomicU64,
    pub(super) losses: AtomicU64,
    pub(super) host_blocks: AtomicU64,
    numbers: AtomicU64,
    memory_bytes: AtomicU64,
    buffers: AtomicU64,
    devices: AtomicU64,
}

impl Counters {
    /// Launches of kernels.
    pub fn dispatches(&self) -> u64 {
        self.dispatches.load(Ordering::Relaxed)
    }
    /// Bytes of rows that were sent to the device.
    pub fn uploaded_bytes(&self) -> u64 {
        self.uploaded_bytes.load(Ordering::Relaxed)
    }
    /// Bytes of tables, pivots, masks and weights that were sent to the device.
    pub fn table_bytes(&self) -> u64 {
        self.table_bytes.load(Ordering::Relaxed)
    }
    /// Submissions to the device's queue.
    pub fn submits(&self) -> u64 {
        self.submits.load(Ordering::Relaxed)
    }
    /// Buffers and bind groups that were made.
    pub fn objects(&self) -> u64 {
        self.objects.load(Ordering::Relaxed)
    }
    /// How often the device was lost.
    pub fn losses(&self) -> u64 {
        self.losses.load(Ordering::Relaxed)
    }
    /// Runs of rows that the host reduced, as their values are beyond the range of the device's numbers.
    pub fn host_blocks(&self) -> u64 {
        self.host_blocks.load(Ordering::Relaxed)
    }

    /// Bytes of the buffers that there are now.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes.load(Ordering::Relaxed)
    }
    /// Buffers that there are now.
    pub fn buffers(&self) -> u64 {
        self.buffers.load(Ordering::Relaxed)
    }
    /// Devices that there are now: one, or none after a loss.
    pub fn devices(&self) -> u64 {
        self.devices.load(Ordering::Relaxed)
    }

    /// The number of the next submission, from 1.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}

/// An open device with its compiled kernels.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) adapter: Adapter,
    pub(super) layout: wgpu::BindGroupLayout,
    f32: Pipelines,
    f64: Option<Pipelines>,
    pub(super) counters: Arc<Counters>,
    pub(super) alignment: u64,
    /// Whether submissions are timed: somebody watches, and the adapter can.
    pub(super) timed: bool,
    memory_bytes_max: u64,
    /// Why the device cannot be used any more.
    lost: Arc<Mutex<Option<String>>>,
}

impl Device {
    /// Opens the best adapter that the options allow.
    pub(super) fn open(options: &Options, texts: &Texts, counters: &Arc<Counters>) -> Result<Self> {
        // wgpu panics where a driver fails in the middle of something.
        catch_unwind(AssertUnwindSafe(|| Self::opened(options, texts, counters))).unwrap_or_else(|_| {
            Err(Error::Unavailable(
                "the driver of the GPU failed when it was opened".into(),
            ))
        })
    }

    fn opened(options: &Options, texts: &Texts, counters: &Arc<Counters>) -> Result<Self> {
        let instance = instance();
        let (mut adapters, software) = found(&instance)
            .into_iter()
            .partition::<Vec<_>, _>(|a| !is_software(&a.get_info()));
        if options.software {
            adapters.extend(software);
        } else if adapters.is_empty() && !software.is_empty() {
            return Err(Error::Unavailable(format!(
                "there is no GPU, only the software adapter {}, which --software-adapter allows (for tests: the CPU \
                 backend is faster)",
                software[0].get_info().name
            )));
        }
        adapters.sort_by_key(|a| rank(a.get_info().device_type));
        let adapter = adapters.first().ok_or_else(|| {
            Error::Unavailable(
                "there is no GPU that can be used: no driver for Vulkan, Metal or Direct3D 12 offers one; --backend \
                 cpu computes the same"
                    .into(),
            )
        })?;
        let mut about = describe(adapter);
        if options.precision == Precision::Exact && !about.f64 {
            return Err(Error::Unavailable(format!(
                "{} has no f64, which the precision `exact` needs: choose --precision fast, or --backend cpu",
                about.name
            )));
        }
        let (device, queue) = request(adapter)?;
        let lost: Arc<Mutex<Option<String>>> = Arc::default();
        watch(&device, &lost);
        let layout = bind_group_layout(&device);
        let pipelines = |element| Pipelines::new(&device, &layout, texts, options.precision, element);
        let (f32, f64) = match options.precision {
            Precision::Exact => (pipelines(Element::F32), Some(pipelines(Element::F64))),
            Precision::Fast => (pipelines(Element::F32), None),
        };
        let probe = probe::run(&device, &queue, texts, about.f64);
        if let Some(failure) = probe.failure_for(options.precision) {
            return Err(Error::Failed(format!(
                "{} does not compute as this program needs it: {failure}",
                about.name
            )));
        }
        about.probe = Some(probe);
        Counters::add(&counters.devices, 1);
        let this = Self {
            timed: options.watch.is_some() && about.timestamps,
            memory_bytes_max: options.memory_bytes_max.unwrap_or(u64::MAX),
            alignment: u64::from(device.limits().min_storage_buffer_offset_alignment.max(256)),
            device,
            queue,
            adapter: about,
            layout,
            f32,
            f64,
            counters: counters.clone(),
            lost,
        };
        match this.failure() {
            Some(why) => Err(Error::Unavailable(format!("{}: {why}", this.adapter.name))),
            None => Ok(this),
        }
    }

    pub(super) fn pipelines(&self, element: Element) -> &Pipelines {
        match (element, &self.f64) {
            (Element::F64, Some(pipelines)) => pipelines,
            _ => &self.f32,
        }
    }

    /// Multiply-adds of a submission at most: a second or so on the slowest GPUs, which systems reset if they take longer,
    /// and several on a CPU.
    pub(super) fn multiply_adds_max(&self) -> u64 {
        if self.adapter.software { 1 << 31 } else { 1 << 35 }
    }

    /// Why the device cannot be used any more, if so.
    pub(super) fn failure(&self) -> Option<String> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the device is lost, which it only says when it is asked.
    pub(super) fn is_lost(&self) -> bool {
        let asked = catch_unwind(AssertUnwindSafe(|| self.device.poll(wgpu::PollType::Poll)));
        if asked.is_err() {
            self.give_up("the driver failed");
        }
        self.failure().is_some()
    }

    /// From now on the device is not used.
    pub(super) fn give_up(&self, why: &str) {
        note(&self.lost, why);
    }

    /// A buffer, or an error that leaves the device usable.
    pub(super) fn buffer(&self, label: &str, size: u64, usage: wgpu::BufferUsages, mapped: bool) -> Result<Buffer> {
        if size > self.adapter.buffer_bytes_max {
            return Err(Error::Limit(format!(
                "{size} bytes of {label} are more than a buffer of {} may have, {}",
                self.adapter.name, self.adapter.buffer_bytes_max
            )));
        }
        let held = Held::new(&self.counters, size, self.memory_bytes_max)?;
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size,
            usage,
            mapped_at_creation: mapped,
        });
        let failed = [pollster::block_on(validation.pop()), pollster::block_on(memory.pop())];
        if let Some(error) = failed.into_iter().flatten().next() {
            return Err(Error::Failed(format!("no {size} bytes of {label} on the GPU: {error}")));
        }
        Counters::add(&self.counters.objects, 1);
        Ok(Buffer { buffer, _held: held })
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.counters.devices.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A buffer, counted while it is there.
#[derive(Debug)]
pub(super) struct Buffer {
    buffer: wgpu::Buffer,
    _held: Held,
}

impl Deref for Buffer {
    type Target = wgpu::Buffer;

    fn deref(&self) -> &wgpu::Buffer {
        &self.buffer
    }
}

/// A share of the memory that the backend may take.
#[derive(Debug)]
struct Held {
    counters: Arc<Counters>,
    size: u64,
}

impl Held {
    fn new(counters: &Arc<Counters>, size: u64, most: u64) -> Result<Self> {
        let more = |held: u64| held.checked_add(size).filter(|sum| *sum <= most);
        let taken = counters
            .memory_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.map_err(|held| {
            Error::Limit(format!(
                "{size} bytes beside the {held} in use are more than the {most} bytes of memory that the GPU may take"
            ))
        })?;
        Counters::add(&counters.buffers, 1);
        Ok(Self {
            counters: counters.clone(),
            size,
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.counters.memory_bytes.fetch_sub(self.size, Ordering::Relaxed);
        self.counters.buffers.fetch_sub(1, Ordering::Relaxed);
    }
}

fn note(lost: &Mutex<Option<String>>, why: &str) {
    lost.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get_or_insert_with(|| why.to_owned());
}

/// Errors and losses are noted; whoever uses the device next finds out.
fn watch(device: &wgpu::Device, lost: &Arc<Mutex<Option<String>>>) {
    let at_loss = lost.clone();
    device.set_device_lost_callback(move |reason, message| {
        note(&at_loss, &format!("the device was lost ({reason:?}): {message}"));
    });
    let at_error = lost.clone();
    device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| note(&at_error, &error.to_string())));
}

fn instance() -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    wgpu::Instance::new(descriptor)
}

fn found(instance: &wgpu::Instance) -> Vec<wgpu::Adapter> {
    let fits = |adapter: &wgpu::Adapter| {
        let limits = adapter.limits();
        limits.max_compute_invocations_per_workgroup >= 256
            && limits.max_storage_buffers_per_shader_stage >= 8
            && limits.max_compute_workgroup_storage_size >= 16_384
    };
    let all = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    all.into_iter().filter(fits).collect()
}

/// All adapters of the machine that can compute, software ones too; each is opened once, to try its arithmetic.
pub fn adapters() -> Vec<Adapter> {
    let instance = instance();
    let tried = |adapter: &wgpu::Adapter| {
        let mut about = describe(adapter);
        let probed = || {
            let (device, queue) = request(adapter).ok()?;
            watch(&device, &Arc::default());
            Some(probe::run(&device, &queue, &Texts::default(), about.f64))
        };
        about.probe = catch_unwind(AssertUnwindSafe(probed)).ok().flatten();
        about
    };
    found(&instance).iter().map(tried).collect()
}

fn is_software(info: &wgpu::AdapterInfo) -> bool {
    info.device_type == wgpu::DeviceType::Cpu
}

fn rank(kind: wgpu::DeviceType) -> u8 {
    match kind {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}

fn describe(adapter: &wgpu::Adapter) -> Adapter {
    let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
    Adapter {
        software: is_software(&info),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        api: info.backend.to_string(),
        kind: match info.device_type {
            wgpu::DeviceType::DiscreteGpu => "discrete",
            wgpu::DeviceType::IntegratedGpu => "integrated",
            wgpu::DeviceType::VirtualGpu => "virtual",
            wgpu::DeviceType::Cpu => "software",
            wgpu::DeviceType::Other => "other",
        }
        .to_owned(),
        f64: features.contains(wgpu::Features::SHADER_F64),
        timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
        binding_bytes_max: limits.max_storage_buffer_binding_size,
        buffer_bytes_max: limits.max_buffer_size,
        workgroup_bytes: limits.max_compute_workgroup_storage_size,
        invocations_max: limits.max_compute_invocations_per_workgroup,
        workgroups_per_dimension: limits.max_compute_workgroups_per_dimension,
        subgroup: (info.subgroup_min_size, info.subgroup_max_size),
        name: info.name,
        probe: None,
    }
}

fn request(adapter: &wgpu::Adapter) -> Result<(wgpu::Device, wgpu::Queue)> {
    let wanted = wgpu::Features::SHADER_F64 | wgpu::Features::TIMESTAMP_QUERY;
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("millstream"),
        required_features: adapter.features() & wanted,
        required_limits: adapter.limits(),
        ..wgpu::DeviceDescriptor::default()
    };
    pollster::block_on(adapter.request_device(&descriptor))
        .map_err(|e| Error::Unavailable(format!("{}: {e}", adapter.get_info().name)))
}
