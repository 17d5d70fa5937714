//! What an adapter's arithmetic does, tried once when it is opened: drivers may reassociate, flush and fold.

use super::kernels::Texts;
use crate::spec::Precision;
use wgpu::util::{BufferInitDescriptor, DeviceExt};

/// Pairs that each check takes.
const PAIRS: usize = 4096;

/// What an adapter's arithmetic does.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Probe {
    /// Whether a two-sum whose steps are held apart is exact in `f32`.
    pub two_sum: bool,
    /// Whether `f64` sums and products are those of IEEE 754.
    pub native_f64: bool,
    /// Whether `f64` quotients are, too.
    pub division: bool,
    /// Why the probe could not be run.
    pub failure: Option<String>,
}

impl Probe {
    /// Why it does not do for this precision.
    pub(super) fn failure_for(&self, precision: Precision) -> Option<String> {
        if let Some(failure) = &self.failure {
            return Some(failure.clone());
        }
        match precision {
            Precision::Exact if !self.native_f64 => Some("f64 sums are not those of IEEE 754".into()),
            Precision::Fast if !self.two_sum => Some("the error of an f32 sum is not exact".into()),
            _ => None,
        }
    }
}

/// Runs the checks.
pub(super) fn run(device: &wgpu::Device, queue: &wgpu::Queue, texts: &Texts, f64: bool) -> Probe {
    let mut probe = Probe {
        two_sum: false,
        native_f64: false,
        division: false,
        failure: None,
    };
    let pairs: Vec<[f32; 2]> = numbers().map(|(a, b)| [a as f32, b as f32]).collect();
    match launch::<[f32; 2]>(device, queue, &texts.probe_two_sum, bytemuck::cast_slice(&pairs)) {
        Ok(found) => {
            // The error of an f32 sum is exact in f64.
            let right = |(p, s): (&[f32; 2], &[f32; 2])| {
                s[0] == p[0] + p[1] && f64::from(s[1]) == f64::from(p[0]) + f64::from(p[1]) - f64::from(s[0])
            };
            probe.two_sum = pairs.iter().zip(&found).all(right);
        }
        Err(why) => probe.failure = Some(why),
    }
    if f64 && probe.failure.is_none() {
        let pairs: Vec<[f64; 2]> = numbers().map(|(a, b)| [a, b]).collect();
        match launch::<[f64; 4]>(device, queue, &texts.probe_f64, bytemuck::cast_slice(&pairs)) {
            Ok(found) => {
                let both = || pairs.iter().zip(&found);
                probe.native_f64 = both().all(|(p, f)| f[0] == p[0] + p[1] && f[1] == p[0] * p[1]);
                probe.division = both().all(|(p, f)| f[2] == p[0] / p[1]);
            }
            Err(why) => probe.failure = Some(why),
        }
    }
    probe
}

/// Pairs of numbers of many magnitudes, the same every time.
fn numbers() -> impl Iterator<Item = (f64, f64)> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move || {
        // Vigna's xorshift64*.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let bits = state.wrapping_mul(0x2545_f491_4f6c_dd1d);
        let fraction = (bits >> 11) as f64 / (1u64 << 53) as f64 + 0.5;
        let exponent = (bits & 15) as i32 - 8;
        let sign = if bits & 16 == 0 { 1.0 } else { -1.0 };
        sign * fraction * 2f64.powi(exponent)
    };
    (0..PAIRS).map(move |_| (next(), next()))
}

fn launch<T: bytemuck::Pod>(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    text: &str,
    input: &[u8],
) -> Result<Vec<T>, String> {
    let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some("probe"),
        source: wgpu::ShaderSource::Wgsl(text.into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("probe"),
        layout: None,
        module: &module,
        entry_point: Some("probe"),
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    });
    let bytes = (PAIRS * size_of::<T>()) as u64;
    let filled = |contents, usage| {
        device.create_buffer_init(&BufferInitDescriptor {
            label: Some("probe"),
            contents,
            usage,
        })
    };
    let empty = |usage| {
        device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("probe"),
            size: bytes,
            usage,
            mapped_at_creation: false,
        })
    };
    let pairs = filled(input, wgpu::BufferUsages::STORAGE);
    let zero = filled(&[0; 16], wgpu::BufferUsages::UNIFORM);
    let found = empty(wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC);
    let back = empty(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
    let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some("probe"),
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[(0, &pairs), (1, &found), (2, &zero)].map(|(binding, buffer)| wgpu::BindGroupEntry {
            binding,
            resource: buffer.as_entire_binding(),
        }),
    });
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups((PAIRS / 64) as u32, 1, 1);
    }
    encoder.copy_buffer_to_buffer(&found, 0, &back, 0, bytes);
    if let Some(error) = pollster::block_on(scope.pop()) {
        return Err(error.to_string());
    }
    let submitted = queue.submit([encoder.finish()]);
    back.map_async(wgpu::MapMode::Read, .., |_| {});
    device
        .poll(wgpu::PollType::Wait {
            submission_index: Some(submitted),
            timeout: Some(std::time::Duration::from_secs(10)),
        })
        .map_err(|e| format!("the probe did not end: {e}"))?;
    let view = back.get_mapped_range(..).map_err(|e| format!("the probe: {e}"))?;
    Ok(bytemuck::pod_collect_to_vec(&view))
}
