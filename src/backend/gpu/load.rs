//! What a submission carries: tables for the kernels, and what the host knows of each piece of rows.
//!
//! A piece is a run of rows of one block; as many as there is room for go into one submission, of one work or of
//! several. The tables are vectors that keep their memory from one submission to the next.

use super::cut::Cut;
use super::kernels::{
    Difference, Element, Entry, Fold, Item, KERNELS, Kernel, Params, Rows, SMALL_TILE_SIDE, TILE_SIDE, Tile,
};
use super::stage::{Places, Sizes, bytes_of, index, only_entry};
use crate::backend::Work;
use crate::spec::Precision;
use crate::summary::dd::ldexp;
use crate::summary::{LossShape, Model, Order, Shape, Summary};
use std::ops::Range;
use std::sync::Arc;

/// Rows of a run of a column, at least.
pub(super) const RUN_ROWS: usize = 4096;
/// Columns up to which products go into small tiles.
const SMALL_COLUMNS_MAX: usize = 32;

/// A work and its number.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) seq: u64,
    pub(super) work: Work,
}

/// What all pieces of a submission have in common: the kernels are launched once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mode {
    pub(super) element: Element,
    pub(super) order: Order,
    pub(super) small: bool,
    pub(super) model: Option<Model>,
}

impl Mode {
    pub(super) fn of(work: &Work, precision: Precision) -> Self {
        let narrow = |c: &crate::batch::Column| matches!(c.values, crate::batch::Values::F32(_));
        let d = matrix_columns(&work.shape, precision).into_iter().max().unwrap_or(0);
        Self {
            element: match precision {
                Precision::Exact if !work.batch.columns().iter().all(narrow) => Element::F64,
                _ => Element::F32,
            },
            order: work.shape.order,
            small: d <= SMALL_COLUMNS_MAX,
            model: work.shape.loss.as_ref().map(|l| l.model),
        }
    }

    pub(super) fn side(self) -> usize {
        if self.small { SMALL_TILE_SIDE } else { TILE_SIDE }
    }
}

/// Columns of the matrices that the device is to make: of co-moments, and of a regression in `f64`.
fn matrix_columns(shape: &Shape, precision: Precision) -> [usize; 2] {
    let regression = if regresses(shape, precision) {
        shape.regression.len()
    } else {
        0
    };
    [if shape.comoments { shape.columns } else { 0 }, regression]
}

/// Whether the device makes the products of the regression: they are in `f64` at least, and double-double ones are the
/// host's.
pub(super) fn regresses(shape: &Shape, precision: Precision) -> bool {
    precision == Precision::Exact && !shape.regression.is_empty() && !shape.exact
}

/// Whether the device forms differences: they cancel, which only f64 bears.
pub(super) fn differs(shape: &Shape, precision: Precision) -> bool {
    shape.differences && precision == Precision::Exact
}

/// What the host found in a column of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Look {
    pub(super) count: u64,
    pub(super) missing: u64,
    pub(super) positive_infinite: u64,
    pub(super) negative_infinite: u64,
    pub(super) min: f64,
    pub(super) max: f64,
    /// What is subtracted.
    pub(super) pivot: f64,
    /// Deviations are in units of 2^exponent on the device.
    pub(super) exponent: i32,
}

impl Look {
    pub(super) fn is_clean(&self) -> bool {
        self.missing + self.positive_infinite + self.negative_infinite == 0
    }
}

/// The complete rows of a matrix, where not all are.
#[derive(Debug)]
pub(super) struct Listwise {
    pub(super) rows: u64,
    pub(super) present: Vec<bool>,
    pub(super) infinite: Vec<u64>,
    /// The first of its own runs of columns.
    pub(super) items: usize,
}

/// Where the products of a matrix come back.
#[derive(Debug)]
pub(super) struct Matrix {
    pub(super) columns: usize,
    pub(super) side: usize,
    /// The first sum.
    pub(super) out: usize,
    /// From one group of runs to the next, and how many there are.
    pub(super) stride: usize,
    pub(super) groups: usize,
    pub(super) gaps: Option<Box<Listwise>>,
}

/// Where a loss comes back.
#[derive(Debug)]
pub(super) struct LossAt {
    pub(super) out: usize,
    pub(super) stride: usize,
    pub(super) groups: usize,
    pub(super) rows: u64,
    /// The first of its weights.
    pub(super) weights: usize,
}

/// A run of rows of a block.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) job: Arc<Job>,
    /// Among the pieces of the job.
    pub(super) number: usize,
    /// How many the job has.
    pub(super) of: usize,
    /// Among the blocks of the work.
    pub(super) block: usize,
    /// Places in the order of the cells, or rows of the batch.
    pub(super) rows: Range<usize>,
    /// Of its first column.
    pub(super) looks: usize,
    pub(super) items: usize,
    /// Runs of a column.
    pub(super) runs: usize,
    pub(super) comoments: Option<Matrix>,
    pub(super) regression: Option<Matrix>,
    /// The first answer, and the pairs whose time does not advance.
    pub(super) differences: Option<(usize, u64)>,
    pub(super) loss: Option<LossAt>,
    /// What the host does.
    pub(super) host: Option<Box<Summary>>,
    /// Whether that is everything.
    pub(super) all_on_host: bool,
}

/// What a submission carries.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) precision: Precision,
    /// Workgroups of a launch at most.
    pub(super) workgroups_max: u32,
    /// Rows of a run of a column.
    pub(super) run_rows: usize,
    pub(super) mode: Option<Mode>,
    pub(super) element: Element,
    pub(super) sizes: Sizes,
    pub(super) items: Vec<Item>,
    pub(super) tiles: Vec<Tile>,
    pub(super) rows: Vec<Rows>,
    pub(super) folds: Vec<Fold>,
    pub(super) differences: Vec<Difference>,
    /// Value and scale.
    pub(super) pivots: Vec<[f64; 2]>,
    pub(super) places: Vec<u32>,
    pub(super) mask: Vec<u32>,
    pub(super) weights: Vec<f64>,
    pub(super) looks: Vec<Look>,
    pub(super) pieces: Vec<Piece>,
    /// Sums in the output of the fold, and in scratch memory.
    pub(super) folded: usize,
    pub(super) partial: usize,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            precision: Precision::Exact,
            run_rows: RUN_ROWS,
            workgroups_max: 1,
            mode: None,
            element: Element::F64,
            sizes: Sizes::default(),
            items: Vec::new(),
            tiles: Vec::new(),
            rows: Vec::new(),
            folds: Vec::new(),
            differences: Vec::new(),
            pivots: Vec::new(),
            places: Vec::new(),
            mask: Vec::new(),
            weights: Vec::new(),
            looks: Vec::new(),
            pieces: Vec::new(),
            folded: 0,
            partial: 0,
        }
    }
}

impl Load {
    /// Nothing, with the memory kept.
    pub(super) fn clear(&mut self) {
        self.mode = None;
        self.sizes = Sizes::default();
        self.items.clear();
        self.tiles.clear();
        self.rows.clear();
        self.folds.clear();
        self.differences.clear();
        self.pivots.clear();
        self.places.clear();
        self.mask.clear();
        self.weights.clear();
        self.looks.clear();
        self.pieces.clear();
        self.folded = 0;
        self.partial = 0;
    }

    pub(super) fn entry(&self, kernel: Kernel) -> Entry {
        match (kernel, self.mode) {
            (Kernel::Moments, Some(mode)) if mode.order == Order::Second => Entry::SecondMoments,
            (Kernel::Tiles, Some(mode)) if mode.small => Entry::SmallTiles,
            (Kernel::Loss, Some(mode)) if mode.model == Some(Model::Logistic) => Entry::Logistic,
            _ => only_entry(kernel),
        }
    }

    pub(super) fn params(&self, kernel: Kernel) -> Params {
        let items = match kernel {
            Kernel::Moments => self.items.len(),
            Kernel::Tiles => self.tiles.len(),
            Kernel::Loss => self.rows.len(),
            Kernel::Fold => self.folds.len(),
            Kernel::Differences => self.differences.len(),
        } as u32;
        Params {
            zero: 0,
            items,
            groups: items.min(self.workgroups_max),
            spare: 0,
        }
    }

    fn table(&self, kernel: Kernel) -> &[u8] {
        match kernel {
            Kernel::Moments => bytemuck::cast_slice(&self.items),
            Kernel::Tiles => bytemuck::cast_slice(&self.tiles),
            Kernel::Loss => bytemuck::cast_slice(&self.rows),
            Kernel::Fold => bytemuck::cast_slice(&self.folds),
            Kernel::Differences => bytemuck::cast_slice(&self.differences),
        }
    }

    /// The parts of the tables that are in use: offset and bytes, in fours.
    pub(super) fn written(&self, at: &Places) -> impl Iterator<Item = (u64, u64)> {
        let real = real_bytes(self.precision);
        let tables = KERNELS.map(|k| (at.tables[index(k)], self.table(k).len() as u64));
        let rest = [
            (at.params[0], at.params[KERNELS.len() - 1] + size_of::<Params>() as u64),
            (at.pivots, self.pivots.len() as u64 * 2 * real),
            (at.places, self.places.len() as u64 * 4),
            (at.mask, self.mask.len() as u64 * 4),
            (at.weights, self.weights.len() as u64 * real),
        ];
        tables.into_iter().chain(rest).filter(|(_, bytes)| *bytes > 0)
    }

    /// Other weights for every piece.
    pub(super) fn set_weights(&mut self, loss: &LossShape, given: &[f64]) {
        for k in 0..self.pieces.len() {
            let looks = self.pieces[k].looks;
            if let Some(at) = self.pieces[k].loss.take() {
                self.set_weights_of(&at, loss, looks, given);
                self.pieces[k].loss = Some(at);
            }
        }
    }

    /// The weights of a piece, in terms of its deviations.
    pub(super) fn set_weights_of(&mut self, at: &LossAt, loss: &LossShape, looks: usize, given: &[f64]) {
        let own = &mut self.weights[at.weights..at.weights + at.stride + 1];
        let looks = &self.looks[looks..];
        let unit = |i: usize| ldexp(1.0, looks[i].exponent);
        let (bias, given) = match given.split_first() {
            Some((bias, given)) if loss.intercept => (*bias, given),
            _ => (0.0, given),
        };
        let target = &looks[loss.target];
        own[0] = bias - if loss.model == Model::Linear { target.pivot } else { 0.0 };
        for (k, (i, w)) in loss.terms.iter().zip(given).enumerate() {
            own[0] += w * looks[*i].pivot;
            own[1 + k] = w * unit(*i);
        }
        own[1 + loss.terms.len()] = target.pivot;
        own[2 + loss.terms.len()] = unit(loss.target);
    }

    /// What the tables take, now that they are written.
    pub(super) fn used(&self) -> Sizes {
        let real = real_bytes(self.precision);
        let mut sizes = Sizes {
            tables: KERNELS.map(|kernel| self.table(kernel).len() as u64),
            pivots: self.pivots.len() as u64 * 2 * real,
            places: self.places.len() as u64 * 4,
            mask: self.mask.len() as u64 * 4,
            weights: self.weights.len() as u64 * real,
            data: self.sizes.data,
            scratch: self.partial as u64 * SUM_BYTES,
            ..Sizes::default()
        };
        sizes.out[index(Kernel::Moments)] = self.items.len() as u64 * 4 * SUM_BYTES;
        sizes.out[index(Kernel::Fold)] = self.folded as u64 * SUM_BYTES;
        sizes.out[index(Kernel::Differences)] = self.differences.len() as u64 * 5 * real;
        sizes
    }

    /// Writes everything but the data.
    pub(super) fn write(&self, at: &Places, memory: &mut wgpu::BufferViewMut) {
        let mut put = |offset: u64, bytes: &[u8]| {
            let offset = offset as usize;
            memory.slice(offset..offset + bytes.len()).copy_from_slice(bytes);
        };
        for kernel in KERNELS {
            put(at.params[index(kernel)], bytemuck::bytes_of(&self.params(kernel)));
            put(at.tables[index(kernel)], self.table(kernel));
        }
        put(at.places, bytemuck::cast_slice(&self.places));
        put(at.mask, bytemuck::cast_slice(&self.mask));
        self.reals(at.pivots, bytemuck::cast_slice(&self.pivots), memory);
        self.write_weights(at.weights, memory);
    }

    /// Writes the weights.
    pub(super) fn write_weights(&self, at: u64, memory: &mut wgpu::BufferViewMut) {
        self.reals(at, &self.weights, memory);
    }

    fn reals(&self, at: u64, values: &[f64], memory: &mut wgpu::BufferViewMut) {
        let at = at as usize;
        match self.precision {
            Precision::Exact => {
                let bytes = bytemuck::cast_slice(values);
                memory.slice(at..at + bytes.len()).copy_from_slice(bytes);
            }
            Precision::Fast => {
                for (k, x) in values.iter().enumerate() {
                    let at = at + 4 * k;
                    memory.slice(at..at + 4).copy_from_slice(&(*x as f32).to_le_bytes());
                }
            }
        }
    }
}

pub(super) fn real_bytes(precision: Precision) -> u64 {
    match precision {
        Precision::Exact => 8,
        Precision::Fast => 4,
    }
}

/// Bytes of a sum on the device, in either precision: an `f64`, or two `f32`.
pub(super) const SUM_BYTES: u64 = 8;

/// Multiply-adds that the products of so many rows take.
pub(super) fn multiply_adds(work: &Work, mode: Mode, precision: Precision, rows: usize) -> u64 {
    let of = |d: usize| {
        let cut = Cut::matrix(mode, d, rows);
        (rows * cut.pairs() * cut.side * cut.side) as u64
    };
    matrix_columns(&work.shape, precision)
        .into_iter()
        .filter(|d| *d > 0)
        .map(of)
        .sum()
}

/// What a piece of so many rows takes in a submission, at most.
pub(super) fn needs(work: &Work, mode: Mode, precision: Precision, rows: usize) -> Sizes {
    let (shape, real) = (&work.shape, real_bytes(precision));
    let columns = work.batch.columns().len();
    let padded = rows.next_multiple_of(4);
    let runs = rows.div_ceil(RUN_ROWS) as u64;
    let mut sizes = Sizes {
        pivots: columns as u64 * 2 * real,
        data: bytes_of(mode.element, padded * columns),
        ..Sizes::default()
    };
    let mut items = columns as u64 * runs;
    let mask = (rows.div_ceil(32) * 4) as u64;
    let fold = |sizes: &mut Sizes, cut: Cut, entries: usize, folds: usize| {
        sizes.scratch += (cut.runs * entries) as u64 * SUM_BYTES;
        sizes.tables[index(Kernel::Fold)] += (cut.groups * folds * size_of::<Fold>()) as u64;
        sizes.out[index(Kernel::Fold)] += (cut.groups * entries) as u64 * SUM_BYTES;
    };
    for d in matrix_columns(shape, precision).into_iter().filter(|d| *d > 0) {
        let cut = Cut::matrix(mode, d, rows);
        items += d as u64 * runs;
        sizes.mask += mask;
        sizes.places += 4 * d as u64;
        sizes.tables[index(Kernel::Tiles)] += (cut.pairs() * cut.runs * size_of::<Tile>()) as u64;
        fold(&mut sizes, cut, cut.pairs() * cut.side * cut.side, cut.pairs());
    }
    if let Some(loss) = &shape.loss {
        let cut = Cut::model(rows);
        sizes.mask += mask;
        sizes.places += 4 * (loss.terms.len() as u64 + 1);
        sizes.weights += (loss.terms.len() as u64 + 3) * real;
        sizes.tables[index(Kernel::Loss)] += (cut.runs * size_of::<Rows>()) as u64;
        fold(&mut sizes, cut, loss.terms.len() + 2, 1);
    }
    if differs(shape, precision) {
        let n = shape.columns as u64;
        sizes.tables[index(Kernel::Differences)] += n * size_of::<Difference>() as u64;
        sizes.out[index(Kernel::Differences)] += n * 5 * real;
        if work.batch.time_ns().is_some() {
            sizes.weights += rows as u64 * real;
        }
    }
    sizes.tables[index(Kernel::Moments)] = items * size_of::<Item>() as u64;
    sizes.out[index(Kernel::Moments)] = items * 4 * SUM_BYTES;
    sizes
}
