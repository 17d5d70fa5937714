//! The kernels: WGSL texts put together, compiled, and the tables that they read, as they lie in memory.
//!
//! A module is the alias of its elements, the numbers of its precision, what all kernels share, and the kernel. Every
//! kernel has the same bindings, so one layout serves all of them.

use crate::spec::Precision;
use bytemuck::{Pod, Zeroable};

/// A run of a column without a mask, or differences without times.
pub(super) const NONE: u32 = u32::MAX;
/// Columns of a tile of `tiles`, both ways.
pub(super) const TILE_SIDE: usize = 64;
/// Columns of a tile of `small_tiles`, both ways.
pub(super) const SMALL_TILE_SIDE: usize = 16;

/// Of a launch (`Params` in common.wgsl).
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Params {
    pub(super) zero: u32,
    pub(super) items: u32,
    pub(super) groups: u32,
    pub(super) spare: u32,
}

/// A run of a column (`Item` in moments.wgsl).
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Item {
    pub(super) first: u32,
    pub(super) count: u32,
    pub(super) pivot: u32,
    pub(super) mask: u32,
}

/// A tile of a run of rows (`Tile` in comoments.wgsl).
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Tile {
    pub(super) first: u32,
    pub(super) stride: u32,
    pub(super) count: u32,
    pub(super) columns: u32,
    pub(super) pivots: u32,
    pub(super) places: u32,
    pub(super) mask: u32,
    pub(super) tile: u32,
    pub(super) to: u32,
}

/// Runs to add up (`Fold` in fold.wgsl).
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Fold {
    pub(super) first: u32,
    pub(super) stride: u32,
    pub(super) runs: u32,
    pub(super) count: u32,
    pub(super) to: u32,
}

/// A column of a leaf (`Difference` in differences.wgsl).
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Difference {
    pub(super) first: u32,
    pub(super) rows: u32,
    pub(super) spans: u32,
    pub(super) count: u32,
}

/// Rows of a model (`Rows` in loss.wgsl).
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Rows {
    pub(super) first: u32,
    pub(super) stride: u32,
    pub(super) count: u32,
    pub(super) columns: u32,
    pub(super) pivots: u32,
    pub(super) places: u32,
    pub(super) mask: u32,
    pub(super) weights: u32,
    pub(super) to: u32,
}

/// What stands for a value in the columns on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Element {
    F32,
    F64,
}

impl Element {
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

/// What is launched, in this order; each has its own table and its own part of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kernel {
    Moments,
    Tiles,
    Loss,
    Fold,
    Differences,
}

pub(super) const KERNELS: [Kernel; 5] = [
    Kernel::Moments,
    Kernel::Tiles,
    Kernel::Loss,
    Kernel::Fold,
    Kernel::Differences,
];

/// Which text a kernel may be compiled from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Entry {
    SecondMoments,
    Moments,
    Tiles,
    SmallTiles,
    Fold,
    Differences,
    Linear,
    Logistic,
}

/// The texts of the shaders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Texts {
    /// Numbers of `exact`.
    pub exact: String,
    /// Numbers of `fast`.
    pub fast: String,
    /// What kernels share.
    pub common: String,
    /// Moments.
    pub moments: String,
    /// Tiles of co-moments.
    pub comoments: String,
    /// Runs of tiles added up.
    pub fold: String,
    /// Differences.
    pub differences: String,
    /// Losses.
    pub loss: String,
    /// What tries two-sums.
    pub probe_two_sum: String,
    /// What tries `f64`.
    pub probe_f64: String,
}

impl Default for Texts {
    fn default() -> Self {
        Self {
            exact: include_str!("../../../shaders/exact.wgsl").into(),
            fast: include_str!("../../../shaders/fast.wgsl").into(),
            common: include_str!("../../../shaders/common.wgsl").into(),
            moments: include_str!("../../../shaders/moments.wgsl").into(),
            comoments: include_str!("../../../shaders/comoments.wgsl").into(),
            fold: include_str!("../../../shaders/fold.wgsl").into(),
            differences: include_str!("../../../shaders/differences.wgsl").into(),
            loss: include_str!("../../../shaders/loss.wgsl").into(),
            probe_two_sum: include_str!("../../../shaders/probe_two_sum.wgsl").into(),
            probe_f64: include_str!("../../../shaders/probe_f64.wgsl").into(),
        }
    }
}

impl Texts {
    /// The modules that a backend of this precision is made of, by name.
    pub fn modules(&self, precision: Precision) -> Vec<(String, String)> {
        let elements: &[Element] = match precision {
            Precision::Exact => &[Element::F32, Element::F64],
            Precision::Fast => &[Element::F32],
        };
        let mut modules = vec![("probe of two-sums".to_owned(), self.probe_two_sum.clone())];
        if precision == Precision::Exact {
            modules.push(("probe of f64".to_owned(), self.probe_f64.clone()));
        }
        for element in elements {
            for (name, body) in [
                ("moments", &self.moments),
                ("comoments", &self.comoments),
                ("fold", &self.fold),
                ("differences", &self.differences),
                ("loss", &self.loss),
            ] {
                // Differences cancel: only f64 keeps their digits.
                if name != "differences" || precision == Precision::Exact {
                    modules.push((format!("{name} of {element:?}"), self.module(precision, *element, body)));
                }
            }
        }
        modules
    }

    fn module(&self, precision: Precision, element: Element, body: &str) -> String {
        let alias = match element {
            Element::F32 => "alias Element4 = vec4<f32>;\n",
            Element::F64 => "alias Element4 = vec4<f64>;\n",
        };
        let numbers = match precision {
            Precision::Exact => &self.exact,
            Precision::Fast => &self.fast,
        };
        [alias, numbers, &self.common, body].join("\n")
    }
}

/// The compiled kernels for one kind of element.
#[derive(Debug)]
pub(super) struct Pipelines {
    second_moments: wgpu::ComputePipeline,
    moments: wgpu::ComputePipeline,
    tiles: wgpu::ComputePipeline,
    small_tiles: wgpu::ComputePipeline,
    fold: wgpu::ComputePipeline,
    differences: Option<wgpu::ComputePipeline>,
    linear: wgpu::ComputePipeline,
    logistic: wgpu::ComputePipeline,
}

impl Pipelines {
    pub(super) fn new(
        device: &wgpu::Device,
        layout: &wgpu::BindGroupLayout,
        texts: &Texts,
        precision: Precision,
        element: Element,
    ) -> Self {
        let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some("kernels"),
            bind_group_layouts: &[Some(layout)],
            immediate_size: 0,
        });
        let module = |label, body: &str| {
            device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some(label),
                source: wgpu::ShaderSource::Wgsl(texts.module(precision, element, body).into()),
            })
        };
        let pipeline = |module: &wgpu::ShaderModule, entry: &str, constants: &[(&str, f64)]| {
            device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(entry),
                layout: Some(&layout),
                module,
                entry_point: Some(entry),
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants,
                    // Every element is written before it is read.
                    zero_initialize_workgroup_memory: false,
                },
                cache: None,
            })
        };
        let moments = module("moments", &texts.moments);
        let comoments = module("comoments", &texts.comoments);
        let loss = module("loss", &texts.loss);
        Self {
            second_moments: pipeline(&moments, "moments", &[("FOURTH", 0.0)]),
            moments: pipeline(&moments, "moments", &[("FOURTH", 1.0)]),
            tiles: pipeline(&comoments, "tiles", &[]),
            small_tiles: pipeline(&comoments, "small_tiles", &[]),
            fold: pipeline(&module("fold", &texts.fold), "fold", &[]),
            differences: (precision == Precision::Exact)
                .then(|| pipeline(&module("differences", &texts.differences), "differences", &[])),
            linear: pipeline(&loss, "loss", &[("LOGISTIC", 0.0)]),
            logistic: pipeline(&loss, "loss", &[("LOGISTIC", 1.0)]),
        }
    }

    pub(super) fn get(&self, entry: Entry) -> Option<&wgpu::ComputePipeline> {
        Some(match entry {
            Entry::SecondMoments => &self.second_moments,
            Entry::Moments => &self.moments,
            Entry::Tiles => &self.tiles,
            Entry::SmallTiles => &self.small_tiles,
            Entry::Fold => &self.fold,
            Entry::Differences => self.differences.as_ref()?,
            Entry::Linear => &self.linear,
            Entry::Logistic => &self.logistic,
        })
    }
}

/// Storage bindings from 1 on, and whether each is written.
const STORAGE: [(u32, bool); 8] = [
    (1, false),
    (2, false),
    (3, false),
    (4, false),
    (5, false),
    (6, false),
    (7, true),
    (8, true),
];

/// The bindings that all kernels have: parameters, table, pivots, places, mask, data, weights, output, scratch.
pub(super) fn bind_group_layout(device: &wgpu::Device) -> wgpu::BindGroupLayout {
    let entry = |binding, ty| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty,
            has_dynamic_offset: false,
            min_binding_size: None,
        },
        count: None,
    };
    let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform)];
    for (binding, written) in STORAGE {
        entries.push(entry(binding, wgpu::BufferBindingType::Storage { read_only: !written }));
    }
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: Some("kernels"),
        entries: &entries,
    })
}

#[cfg(test)]
mod tests;
