//! Packing: rows of a batch become columns in mapped memory, with a pivot each, and entries in the tables.
//!
//! A column is gone over twice while it is in the cache. The first time counts what is missing or infinite and finds
//! extremes and mean: they are exact and the host's. The second time writes it, in one of three encodings: `f32` as it
//! is, `f64` as it is, or the deviation from the pivot as `f32`, in units of a power of two. What is not finite is
//! written as the pivot itself: its deviation is 0, so it adds nothing to any sum.

use super::encode::{encode, write};
use super::kernels::{Difference, Fold, Item, NONE, Rows, Tile};
use super::load::{Cut, Job, Listwise, Load, Look, LossAt, Matrix, Mode, Piece, RUN_ROWS, differs, regresses};
use super::stage::Places;
use crate::backend::cpu::Cpu;
use crate::backend::{Partial, Work};
use crate::batch::{Column, Values};
use crate::cells::{Block, Cells};
use crate::spec::Precision;
use crate::summary::dd::ldexp;
use crate::summary::differences::NS_PER_SECOND;
use crate::summary::{LossShape, Shape, Summary};
use std::ops::Range;
use std::sync::Arc;

/// Packs pieces; keeps its scratch memory.
#[derive(Debug, Default)]
pub(super) struct Packer {
    wide: Vec<f64>,
    narrow: Vec<f32>,
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
    /// Packs rows of a job as a piece, by its number and how many there are; there is room for it.
    pub(super) fn pack(
        &mut self,
        target: &mut Target<'_>,
        job: &Arc<Job>,
        (number, of): (usize, usize),
        block: usize,
        rows: Range<usize>,
    ) {
        let work = &job.work;
        let precision = target.load.precision;
        let mode = *target.load.mode.get_or_insert_with(|| Mode::of(work, precision));
        target.load.element = mode.element;
        let n = rows.len();
        let columns = work.batch.columns();
        let before = (
            target.load.looks.len(),
            target.load.pivots.len(),
            target.load.sizes.data,
        );
        let mut piece = Piece {
            job: job.clone(),
            number,
            of,
            block,
            rows: rows.clone(),
            looks: before.0,
            items: target.load.items.len(),
            runs: n.div_ceil(RUN_ROWS),
            comoments: None,
            regression: None,
            differences: None,
            loss: None,
            host: None,
            all_on_host: columns.is_empty(),
        };
        let quads = n.div_ceil(4);
        let first = before.2 as usize / (4 * mode.element.bytes());
        for column in columns {
            let fits = self.column(target, mode, column, work, rows.clone());
            piece.all_on_host |= !fits;
            if piece.all_on_host {
                break;
            }
        }
        if piece.all_on_host {
            let load = &mut *target.load;
            load.looks.truncate(before.0);
            load.pivots.truncate(before.1);
            load.sizes.data = before.2;
            piece.host = Some(Box::new(on_host(work, rows, &work.shape)));
            load.pieces.push(piece);
            return;
        }
        let place = Place {
            first,
            quads,
            pivots: before.1,
        };
        let shape = &work.shape;
        for i in 0..columns.len() {
            place.runs(&mut target.load.items, i, NONE as usize);
        }
        if shape.comoments {
            let mut places = std::mem::take(&mut self.places);
            places.clear();
            places.extend(0..shape.columns);
            piece.comoments = Some(self.matrix(target.load, mode, work, &rows, place, &places, before.0));
            self.places = places;
        }
        if regresses(shape, precision) {
            piece.regression = Some(self.matrix(target.load, mode, work, &rows, place, &shape.regression, before.0));
        }
        if let Some(loss) = &shape.loss {
            piece.loss = Some(self.loss(target.load, work, &rows, place, loss, before.0));
        }
        let looks = &target.load.looks[before.0..];
        let clean = looks[..shape.columns].iter().all(Look::is_clean);
        if differs(shape, precision) && clean && n > 1 {
            piece.differences = Some(self.differences(target, mode, work, &rows, place));
        }
        let rest = host_shape(shape, precision, piece.differences.is_some());
        if let Some(rest) = rest {
            piece.host = Some(Box::new(on_host(work, rows, &rest)));
        }
        let load = &mut *target.load;
        load.sizes = load.used();
        load.pieces.push(piece);
    }

    /// Looks at a column and writes it; whether its values are in the range of the device.
    fn column(
        &mut self,
        target: &mut Target<'_>,
        mode: Mode,
        column: &Column,
        work: &Work,
        rows: Range<usize>,
    ) -> bool {
        let order = work.cells.order.as_deref();
        match (&column.values, &column.nulls, order) {
            (Values::F64(v), None, None) => encode(target, mode, &v[rows]),
            (Values::F32(v), None, None) => encode(target, mode, &v[rows]),
            (Values::F64(_), ..) => {
                self.wide.clear();
                self.wide.extend(rows.map(|k| column.get(row(order, k))));
                encode(target, mode, &self.wide)
            }
            (Values::F32(_), ..) => {
                self.narrow.clear();
                self.narrow.extend(rows.map(|k| column.get(row(order, k)) as f32));
                encode(target, mode, &self.narrow)
            }
        }
    }

    /// Tables for the products of some columns.
    #[expect(clippy::too_many_arguments, reason = "where, of what, which of it")]
    fn matrix(
        &mut self,
        load: &mut Load,
        mode: Mode,
        work: &Work,
        rows: &Range<usize>,
        place: Place,
        columns: &[usize],
        looks: usize,
    ) -> Matrix {
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
                place.runs(&mut load.items, *i, mask);
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
    fn loss(
        &mut self,
        load: &mut Load,
        work: &Work,
        rows: &Range<usize>,
        place: Place,
        loss: &LossShape,
        looks: usize,
    ) -> LossAt {
        let cut = Cut::model(rows.len());
        let taking = || loss.terms.iter().chain([&loss.target]);
        let places = load.places.len() as u32;
        load.places.extend(taking().map(|i| *i as u32));
        let clean = taking().all(|i| load.looks[looks + i].is_clean());
        let mask = load.mask.len();
        let mut complete_rows = rows.len() as u64;
        if !clean {
            let order = work.cells.order.as_deref();
            self.complete.clear();
            self.complete.resize(rows.len(), true);
            for i in taking() {
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
                mask: if clean { NONE } else { (mask + start / 32) as u32 },
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
            set_weights(load, &at, loss, looks, given);
        }
        at
    }

    /// Tables for differences, and the seconds between rows as another column.
    fn differences(
        &mut self,
        target: &mut Target<'_>,
        mode: Mode,
        work: &Work,
        rows: &Range<usize>,
        place: Place,
    ) -> (usize, u64) {
        let n = rows.len();
        let (mut spans, mut unordered) = (NONE, 0);
        if let Some(times) = work.batch.time_ns() {
            let order = work.cells.order.as_deref();
            let time = |k: usize| i128::from(times[row(order, k)]);
            self.wide.clear();
            self.wide.push(0.0);
            for k in rows.start + 1..rows.end {
                let span = time(k) - time(k - 1);
                unordered += u64::from(span <= 0);
                self.wide.push(if span > 0 { span as f64 / NS_PER_SECOND } else { 0.0 });
            }
            spans = (target.load.sizes.data as usize / (4 * mode.element.bytes())) as u32;
            write(target, mode.element, &self.wide, |x| x, |x| x as f32);
        }
        let load = &mut *target.load;
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
struct Place {
    first: usize,
    /// Groups of four rows, which is how far it is from one column to the next.
    quads: usize,
    pivots: usize,
}

impl Place {
    /// The runs of column `i`.
    fn runs(self, items: &mut Vec<Item>, i: usize, mask: usize) {
        for start in (0..self.quads).step_by(RUN_ROWS / 4) {
            items.push(Item {
                first: (self.first + i * self.quads + start) as u32,
                count: (self.quads - start).min(RUN_ROWS / 4) as u32,
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

/// The weights of a run in terms of its deviations.
pub(super) fn set_weights(load: &mut Load, at: &LossAt, loss: &LossShape, looks: usize, given: &[f64]) {
    let own = &mut load.weights[at.weights..at.weights + at.stride + 1];
    let looks = &load.looks[looks..];
    let residual = |i: usize| ldexp(1.0, looks[i].exponent);
    let (bias, given) = match loss.intercept {
        true => (given[0], &given[1..]),
        false => (0.0, given),
    };
    let target = &looks[loss.target];
    let linear = loss.model == crate::summary::Model::Linear;
    own[0] = bias - if linear { target.pivot } else { 0.0 };
    for (k, (i, w)) in loss.terms.iter().zip(given).enumerate() {
        own[0] += w * looks[*i].pivot;
        own[1 + k] = w * residual(*i);
    }
    own[1 + loss.terms.len()] = target.pivot;
    own[2 + loss.terms.len()] = residual(loss.target);
}

/// What of a shape the host makes: quantiles, products in double-double, differences that the device does not form.
fn host_shape(shape: &Shape, precision: Precision, differences_done: bool) -> Option<Shape> {
    let rest = Shape {
        comoments: false,
        regression: if regresses(shape, precision) {
            Vec::new()
        } else {
            shape.regression.clone()
        },
        differences: shape.differences && !differences_done,
        loss: None,
        ..shape.clone()
    };
    (!rest.is_moments_only()).then_some(rest)
}

/// A piece on the CPU.
pub(super) fn on_host(work: &Work, rows: Range<usize>, shape: &Shape) -> Summary {
    // Only the piece's own places, brought to the beginning.
    let order = work.cells.order.as_ref().map(|order| order[rows.clone()].to_vec());
    let rows = if order.is_some() { 0..rows.len() } else { rows };
    let cells = Cells {
        count: 1,
        blocks: vec![Block {
            cell: 0,
            rows,
            complete: false,
        }],
        order,
    };
    let part = Work {
        cells: Arc::new(cells),
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
