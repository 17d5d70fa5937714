//! Packing: rows of a batch become columns in mapped memory, with a pivot each, and entries in the tables.
//!
//! A column is gone over twice while it is in the cache. The first time counts what is missing or infinite and finds
//! extremes and mean: they are exact and the host's. The second time writes it, in one of three encodings: `f32` as it
//! is, `f64` as it is, or the deviation from the pivot as `f32`, in units of a power of two. What is not finite is
//! written as the pivot itself: its deviation is 0, so it adds nothing to any sum.

use super::cut::Cut;
use super::encode::Columns;
use super::kernels::{Difference, Fold, Item, NONE, Rows, Tile};
use super::load::{Job, Listwise, Load, Look, LossAt, Matrix, Mode, Piece, differs, regresses};
use super::stage::Places;
use crate::backend::cpu::Cpu;
use crate::backend::{Partial, Work};
use crate::batch::{Batch, Column, Values};
use crate::cells::Cells;
use crate::spec::Precision;
use crate::summary::differences::NS_PER_SECOND;
use crate::summary::{LossShape, Shape, Summary};
use std::ops::Range;
use std::sync::Arc;

/// Packs pieces; keeps its scratch memory.
#[derive(Debug)]
pub(super) struct Packer {
    /// Whether the device's quotients are correctly rounded, as extremes of differences per second have to be.
    divides: bool,
    complete: Vec<bool>,
    places: Vec<usize>,
}

/// Where a piece goes.
pub(super) struct Target<'a> {
    pub(super) load: &'a mut Load,
    pub(super) at: &'a Places,
    pub(super) memory: &'a mut wgpu::BufferViewMut,
}

impl Packer {
    pub(super) fn new(divides: bool) -> Self {
        Self {
            divides,
            complete: Vec::new(),
            places: Vec::new(),
        }
    }

    /// Packs rows of a job as a piece, by its number and how many there are; there is room for it.
    pub(super) fn pack(
        &mut self,
        target: &mut Target<'_>,
        job: &Arc<Job>,
        (number, of): (usize, usize),
        block: usize,
        rows: Range<usize>,
    ) {
        let place = self.encode(target, &job.work, rows.clone());
        self.tabulate(target.load, job, (number, of), (block, rows), place);
    }

    /// Writes the columns of rows of a work; `None` where values are beyond the range of the device's numbers.
    pub(super) fn encode(&mut self, target: &mut Target<'_>, work: &Work, rows: Range<usize>) -> Option<Place> {
        let load = &mut *target.load;
        let mode = *load.mode.get_or_insert_with(|| Mode::of(work, load.precision));
        load.element = mode.element;
        let columns = work.batch.columns();
        let (looks, pivots, data) = (load.looks.len(), load.pivots.len(), load.sizes.data);
        let place = Place {
            first: data as usize / (4 * mode.element.bytes()),
            quads: rows.len().div_ceil(4),
            looks,
            pivots,
        };
        let encoding = Columns {
            columns,
            order: work.cells.order.as_deref(),
            rows,
            mode,
            precision: load.precision,
        };
        load.looks.resize(looks + columns.len(), Look::default());
        load.pivots.resize(pivots + columns.len(), [0.0; 2]);
        let bytes = columns.len() * encoding.stride();
        let start = (target.at.data + data) as usize;
        let out = target.memory.slice(start..start + bytes);
        let written = encoding.encode(out, &mut load.looks[looks..], &mut load.pivots[pivots..]);
        if columns.is_empty() || !written {
            load.looks.truncate(looks);
            load.pivots.truncate(pivots);
            return None;
        }
        load.sizes.data += bytes as u64;
        Some(place)
    }

    /// Tables for rows of a job whose columns lie at `place`: its piece `number`, of a block.
    pub(super) fn tabulate(
        &mut self,
        load: &mut Load,
        job: &Arc<Job>,
        (number, of): (usize, usize),
        (block, rows): (usize, Range<usize>),
        place: Option<Place>,
    ) {
        let (work, precision) = (&job.work, load.precision);
        let shape = &work.shape;
        let mode = *load.mode.get_or_insert_with(|| Mode::of(work, precision));
        load.element = mode.element;
        let n = rows.len();
        let mut piece = Piece {
            job: job.clone(),
            number,
            of,
            block,
            rows: rows.clone(),
            looks: place.map_or(0, |place| place.looks),
            items: load.items.len(),
            runs: n.div_ceil(load.run_rows),
            comoments: None,
            regression: None,
            differences: None,
            loss: None,
            host: None,
            all_on_host: place.is_none(),
        };
        let Some(place) = place else {
            // A loss is made when it is asked for, with the weights that it is asked for then.
            piece.host = shape.loss.is_none().then(|| Box::new(on_host(work, rows, shape)));
            load.pieces.push(piece);
            return;
        };
        if shape.columns > 0 || regresses(shape, precision) {
            for i in 0..work.batch.columns().len() {
                place.runs(load, i, NONE as usize);
            }
        }
        if shape.comoments {
            let mut places = std::mem::take(&mut self.places);
            places.clear();
            places.extend(0..shape.columns);
            piece.comoments = Some(self.matrix(load, mode, work, &rows, place, &places));
            self.places = places;
        }
        if regresses(shape, precision) {
            piece.regression = Some(self.matrix(load, mode, work, &rows, place, &shape.regression));
        }
        if let Some(loss) = &shape.loss {
            piece.loss = Some(self.loss(load, work, &rows, place, loss));
        }
        let clean = load.looks[place.looks..][..shape.columns].iter().all(Look::is_clean);
        let divisible = self.divides || work.batch.time_ns().is_none();
        if differs(shape, precision) && divisible && clean && n > 1 {
            piece.differences = Some(self.differences(load, work, &rows, place));
        }
        if let Some(rest) = host_shape(shape, precision, piece.differences.is_some()) {
            piece.host = Some(Box::new(on_host(work, rows, &rest)));
        }
        load.sizes = load.used();
        load.pieces.push(piece);
    }

    /// Tables for the products of some columns.
    fn matrix(
        &mut self,
        load: &mut Load,
        mode: Mode,
        work: &Work,
        rows: &Range<usize>,
        place: Place,
        columns: &[usize],
    ) -> Matrix {
        let looks = place.looks;
        let d = columns.len();
        let cut = Cut::matrix(mode, d, rows.len());
        let places = load.places.len() as u32;
        load.places.extend(columns.iter().map(|i| *i as u32));
        let clean = columns.iter().all(|i| load.looks[looks + i].is_clean());
        let mask = load.mask.len();
        let gaps = (!clean).then(|| {
            let mut found = self.listwise(load, work, rows, columns, looks);
            found.items = load.items.len();
            for i in columns {
                place.runs(load, *i, mask);
            }
            Box::new(found)
        });
        let mask_of = |row: usize| if clean { NONE } else { (mask + row / 32) as u32 };
        let entries = cut.pairs() * cut.side * cut.side;
        for run in 0..cut.runs {
            let start = run * cut.run_rows;
            let count = cut.run_rows.min(rows.len() - start).div_ceil(4);
            let tiles = (0..cut.tiles).flat_map(|i| (i..cut.tiles).map(move |j| (i, j)));
            for (k, (i, j)) in tiles.enumerate() {
                load.tiles.push(Tile {
                    first: (place.first + start / 4) as u32,
                    stride: place.quads as u32,
                    count: count as u32,
                    columns: d as u32,
                    pivots: place.pivots as u32,
                    places,
                    mask: mask_of(start),
                    tile: i as u32 | (j as u32) << 16,
                    to: (load.partial + run * entries + k * cut.side * cut.side) as u32,
                });
            }
        }
        let out = load.folded;
        let side = cut.side * cut.side;
        fold(load, cut, entries, side);
        Matrix {
            columns: d,
            side: cut.side,
            out,
            stride: entries,
            groups: cut.groups,
            gaps,
        }
    }

    /// The complete rows of some columns: their mask, and what is counted.
    fn listwise(
        &mut self,
        load: &mut Load,
        work: &Work,
        rows: &Range<usize>,
        columns: &[usize],
        looks: usize,
    ) -> Listwise {
        let present = |i: &usize| {
            let look = &load.looks[looks + i];
            look.count + look.positive_infinite + look.negative_infinite > 0
        };
        let present: Vec<bool> = columns.iter().map(present).collect();
        let order = work.cells.order.as_deref();
        let taking = || columns.iter().zip(&present).filter(|(_, p)| **p).map(|(i, _)| i);
        self.complete.clear();
        self.complete.resize(rows.len(), present.contains(&true));
        for i in taking() {
            let column = &work.batch.columns()[*i];
            for (complete, k) in self.complete.iter_mut().zip(rows.clone()) {
                *complete &= !column.get(row(order, k)).is_nan();
            }
        }
        let mut infinite = vec![0; columns.len()];
        let mut finite = self.complete.clone();
        for (count, (i, _)) in infinite
            .iter_mut()
            .zip(columns.iter().zip(&present))
            .filter(|(_, (_, p))| **p)
        {
            let look = &load.looks[looks + i];
            if look.positive_infinite + look.negative_infinite == 0 {
                continue;
            }
            let column = &work.batch.columns()[*i];
            for ((complete, finite), k) in self.complete.iter().zip(&mut finite).zip(rows.clone()) {
                if *complete && column.get(row(order, k)).is_infinite() {
                    *count += 1;
                    *finite = false;
                }
            }
        }
        push_mask(&mut load.mask, &finite);
        Listwise {
            rows: finite.iter().filter(|f| **f).count() as u64,
            present,
            infinite,
            items: 0,
        }
    }

    /// Tables for a loss.
    fn loss(&mut self, load: &mut Load, work: &Work, rows: &Range<usize>, place: Place, loss: &LossShape) -> LossAt {
        let looks = place.looks;
        let cut = Cut::model(rows.len());
        let taking = || loss.terms.iter().chain([&loss.target]);
        let places = load.places.len() as u32;
        load.places.extend(taking().map(|i| *i as u32));
        let clean = taking().all(|i| load.looks[looks + i].is_clean());
        let mask = load.mask.len();
        let mut complete_rows = rows.len() as u64;
        // What fills up the last group of four has deviations of 0, but a loss.
        let unmasked = clean && rows.len().is_multiple_of(4);
        if !unmasked {
            let order = work.cells.order.as_deref();
            self.complete.clear();
            self.complete.resize(rows.len(), true);
            for i in taking().filter(|_| !clean) {
                let column = &work.batch.columns()[*i];
                for (complete, k) in self.complete.iter_mut().zip(rows.clone()) {
                    *complete &= column.get(row(order, k)).is_finite();
                }
            }
            push_mask(&mut load.mask, &self.complete);
            complete_rows = self.complete.iter().filter(|c| **c).count() as u64;
        }
        let weights = load.weights.len();
        let entries = loss.terms.len() + 2;
        load.weights.resize(weights + entries + 1, 0.0);
        for run in 0..cut.runs {
            let start = run * cut.run_rows;
            load.rows.push(Rows {
                first: (place.first + start / 4) as u32,
                stride: place.quads as u32,
                count: cut.run_rows.min(rows.len() - start).div_ceil(4) as u32,
                columns: loss.terms.len() as u32,
                pivots: place.pivots as u32,
                places,
                mask: if unmasked { NONE } else { (mask + start / 32) as u32 },
                weights: weights as u32,
                to: (load.partial + run * entries) as u32,
            });
        }
        let out = load.folded;
        fold(load, cut, entries, entries);
        let at = LossAt {
            out,
            stride: entries,
            groups: cut.groups,
            rows: complete_rows,
            weights,
        };
        if let Some(given) = &work.weights {
            load.set_weights_of(&at, loss, looks, given);
        }
        at
    }

    /// Tables for differences, and the seconds between rows.
    fn differences(&mut self, load: &mut Load, work: &Work, rows: &Range<usize>, place: Place) -> (usize, u64) {
        let n = rows.len();
        let (mut spans, mut unordered) = (NONE, 0);
        if let Some(times) = work.batch.time_ns() {
            let order = work.cells.order.as_deref();
            let time = |k: usize| i128::from(times[row(order, k)]);
            spans = load.weights.len() as u32;
            load.weights.push(0.0);
            for k in rows.start + 1..rows.end {
                let span = time(k) - time(k - 1);
                unordered += u64::from(span <= 0);
                load.weights
                    .push(if span > 0 { span as f64 / NS_PER_SECOND } else { 0.0 });
            }
        }
        let first = load.differences.len();
        for i in 0..work.shape.columns {
            load.differences.push(Difference {
                first: (place.first + i * place.quads) as u32,
                rows: n as u32,
                spans,
                count: (n as u64 - 1 - unordered) as u32,
            });
        }
        (first, unordered)
    }
}

/// Where the columns of a piece lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// In groups of four values.
    pub(super) first: usize,
    /// Groups of four rows, which is how far it is from one column to the next.
    pub(super) quads: usize,
    /// The looks and the pivots of its columns.
    pub(super) looks: usize,
    pub(super) pivots: usize,
}

impl Place {
    /// The runs of column `i`.
    fn runs(self, load: &mut Load, i: usize, mask: usize) {
        let run = load.run_rows / 4;
        for start in (0..self.quads).step_by(run) {
            load.items.push(Item {
                first: (self.first + i * self.quads + start) as u32,
                count: (self.quads - start).min(run) as u32,
                pivot: (self.pivots + i) as u32,
                mask: if mask == NONE as usize {
                    NONE
                } else {
                    (mask + start / 8) as u32
                },
            });
        }
    }
}

fn row(order: Option<&[u32]>, k: usize) -> usize {
    order.map_or(k, |order| order[k] as usize)
}

fn push_mask(mask: &mut Vec<u32>, rows: &[bool]) {
    for word in rows.chunks(32) {
        mask.push(word.iter().rev().fold(0, |bits, row| bits << 1 | u32::from(*row)));
    }
}

/// Tables that add up the runs; `side` sums go to one workgroup.
fn fold(load: &mut Load, cut: Cut, entries: usize, side: usize) {
    for group in 0..cut.groups {
        for part in (0..entries).step_by(side) {
            load.folds.push(Fold {
                first: (load.partial + cut.first_run(group) * entries + part) as u32,
                stride: entries as u32,
                runs: cut.runs_of(group) as u32,
                count: side as u32,
                to: (load.folded + group * entries + part) as u32,
            });
        }
    }
    load.partial += cut.runs * entries;
    load.folded += cut.groups * entries;
}

/// What of a shape the host makes: quantiles, products in double-double, differences that the device does not form.
fn host_shape(shape: &Shape, precision: Precision, differences_done: bool) -> Option<Shape> {
    let differences = shape.differences && !differences_done;
    let rest = Shape {
        // Where only a regression is left, there is no need for moments again.
        columns: if differences || shape.quantiles {
            shape.columns
        } else {
            0
        },
        comoments: false,
        regression: if regresses(shape, precision) {
            Vec::new()
        } else {
            shape.regression.clone()
        },
        differences,
        loss: None,
        ..shape.clone()
    };
    (!rest.is_moments_only()).then_some(rest)
}

/// A piece on the CPU.
pub(super) fn on_host(work: &Work, rows: Range<usize>, shape: &Shape) -> Summary {
    let n = rows.len();
    let batch = match work.cells.order.as_deref() {
        None => work.batch.slice(rows.start, n),
        Some(order) => gathered(&work.batch, &order[rows]),
    };
    let part = Work {
        batch,
        cells: Arc::new(Cells::single(n, n.max(1))),
        carried: Arc::new([]),
        shape: Arc::new(shape.clone()),
        open: false,
        resident: None,
        ..work.clone()
    };
    match Cpu::new().reduce(&part).pop() {
        Some(Partial::Leaf(summary)) => *summary,
        _ => Summary::default(),
    }
}

/// These rows of a batch, in this order.
fn gathered(batch: &Batch, rows: &[u32]) -> Batch {
    let column = |(name, column): (&String, &Column)| {
        let values: Vec<f64> = rows.iter().map(|row| column.get(*row as usize)).collect();
        let values = Values::F64(values.into());
        (name.clone(), Column { values, nulls: None })
    };
    let columns = batch.names().iter().zip(batch.columns()).map(column).collect();
    let times = batch
        .time_ns()
        .map(|t| rows.iter().map(|row| t[*row as usize]).collect());
    // Columns of one batch are equally long and have names of their own.
    let part = Batch::new(rows.len(), columns).unwrap_or_else(|_| batch.slice(0, 0));
    match times {
        Some(times) => part.clone().with_time_ns(times).unwrap_or(part),
        None => part,
    }
}
