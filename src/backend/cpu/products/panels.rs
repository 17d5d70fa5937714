//! Products of many columns: single values of some columns times vectors of others, so that every place of a sum is an
//! entry of the matrix and none has to be added up at the end.
//!
//! For that the deviations of a step of rows are laid out in panels of sixteen columns, row by row. A tile takes eight
//! columns of one panel and two vectors of others: sixteen sums in registers, to which a row adds its products with ten
//! loads. Steps are short enough for the panels to stay in the second-level cache; sums of a step go to `f64`.

use super::super::leaf::LeafColumn;
use super::super::moments::LANES;
use super::super::prefetch;
use super::factor::{ADDITIONS_MAX, Factor};
use super::{Listwise, PartSums, add_lanes};
use crate::summary::comoments::triangle;
use pulp::{Arch, NullaryFnOnce, Simd, WithSimd};
use std::ops::Range;

/// Columns of a panel: a vector of `f32`, or two of `f64`, of the widest kind.
const PANEL: usize = 16;
/// Columns whose single values are taken together.
const LEFT: usize = 8;
/// Bytes of the rows of a panel that a step takes: with half as many of another panel they stay in the first-level cache.
const STEP_BYTES: usize = 1 << 14;
/// Bytes that the panels of a step take beyond which it has half as many rows: half of the second-level cache of many
/// machines.
const STEP_BYTES_MAX: usize = 1 << 20;
/// Rows that are laid out at a time: their deviations stay in the first-level cache.
const LAY_ROWS: usize = 32;
/// Vectors of a tile where the machine has many registers.
const RIGHT: usize = 2;
/// How many registers that is: a tile takes 16 sums, 2 vectors and one value.
const REGISTERS_OF_MANY: usize = 32;

/// Bytes of a line of the cache, and of the widest vectors: one that lies in two lines is read twice.
const LINE_BYTES: usize = 64;

/// Memory that is used again and again.
#[derive(Debug, Default)]
pub(super) struct Room<T> {
    numbers: Vec<T>,
    lanes: Vec<[f64; LANES]>,
}

impl<T: Factor> Room<T> {
    /// Room for so many numbers, in which anything stands. They begin with a line of the cache.
    pub(super) fn numbers(&mut self, count: usize) -> &mut [T] {
        numbers(&mut self.numbers, count)
    }
}

fn numbers<T: Factor>(room: &mut Vec<T>, count: usize) -> &mut [T] {
    room.resize(count + LINE_BYTES / size_of::<T>(), T::default());
    // Where no place begins a line, the first one does.
    let first = room.as_ptr().align_offset(LINE_BYTES);
    let first = if first + count <= room.len() { first } else { 0 };
    &mut room[first..first + count]
}

/// Adds Σd and the upper triangle of Σd dᵀ of some rows.
pub(super) fn part<T: Factor>(
    columns: &[LeafColumn<'_>],
    complete: &Listwise,
    pivots: &[f64],
    rows: Range<usize>,
    (s1, s2): &mut PartSums<f64>,
) {
    let mut room = T::with_room(|room| room.take());
    let d = columns.len();
    let Room { numbers: own, lanes } = &mut room;
    let width = d.div_ceil(PANEL);
    let row = size_of::<[T; PANEL]>();
    let length = match width * STEP_BYTES > STEP_BYTES_MAX {
        true => STEP_BYTES / row / 2,
        false => STEP_BYTES / row,
    };
    const { assert!(STEP_BYTES / size_of::<[T; PANEL]>() <= ADDITIONS_MAX) };
    lanes.clear();
    lanes.resize(d, [0.0; LANES]);
    let panels = numbers(own, width * length * PANEL).as_chunks_mut::<PANEL>().0;
    for from in rows.clone().step_by(length) {
        let step = length.min(rows.end - from);
        let panels = &mut panels[..width * step];
        Arch::new().dispatch(Lay {
            columns,
            complete,
            pivots,
            from,
            panels,
            step,
            lanes,
        });
        Arch::new().dispatch(Triangle { panels, step, d, s2 });
    }
    s1.iter_mut()
        .zip(lanes)
        .for_each(|(own, lanes)| *own += lanes.iter().sum::<f64>());
    T::with_room(|own| own.set(room));
}

/// Lays out the deviations of a step of rows, and adds them up.
struct Lay<'a, T> {
    columns: &'a [LeafColumn<'a>],
    complete: &'a Listwise,
    pivots: &'a [f64],
    from: usize,
    panels: &'a mut [[T; PANEL]],
    /// Rows of a panel.
    step: usize,
    lanes: &'a mut [[f64; LANES]],
}

impl<T: Factor> NullaryFnOnce for Lay<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        // What stands beyond the last column or row is anything: it takes part in nothing that is kept.
        let mut deviations = List([T::default(); PANEL * LAY_ROWS]);
        let mut room = [deviations; 2];
        let groups = self.columns.chunks(PANEL).zip((0..).step_by(PANEL));
        for ((columns, first), panel) in groups.zip(self.panels.chunks_exact_mut(self.step)) {
            for (rows, at) in panel.chunks_mut(LAY_ROWS).zip((self.from..).step_by(LAY_ROWS)) {
                for (k, (column, own)) in columns
                    .iter()
                    .zip(deviations.0.as_chunks_mut::<LAY_ROWS>().0)
                    .enumerate()
                {
                    let i = first + k;
                    let own = &mut own[..rows.len()];
                    // The next rows of the column.
                    if let Some(run) = column.runs(at..at + own.len()).next() {
                        run.fetch(own.len(), own.len());
                    }
                    self.complete.centre(i, *column, at, self.pivots[i], own);
                    add_lanes(&mut self.lanes[i], own);
                }
                lay(&deviations, &mut room, rows);
            }
        }
    }
}

/// Deviations of some rows of a panel, where vectors of them lie in lines of the cache.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct List<T>([T; PANEL * LAY_ROWS]);

/// Columns beside each other become rows below each other: four times, of lists that are half as many each time, one of
/// the first half takes turns with one of the second half.
#[inline(always)]
fn lay<T: Factor>(columns: &List<T>, room: &mut [List<T>; 2], rows: &mut [[T; PANEL]]) {
    let [one, other] = room;
    take_turns(&columns.0, &mut one.0);
    take_turns(&one.0, &mut other.0);
    take_turns(&other.0, &mut one.0);
    if let Some(rows) = rows.as_flattened_mut().first_chunk_mut() {
        take_turns(&one.0, rows);
        return;
    }
    take_turns(&one.0, &mut other.0);
    rows.copy_from_slice(&other.0.as_chunks::<PANEL>().0[..rows.len()]);
}

/// The first half and the second half of all, taking turns.
#[inline(always)]
fn take_turns<T: Factor>(from: &[T; PANEL * LAY_ROWS], to: &mut [T; PANEL * LAY_ROWS]) {
    for k in 0..PANEL * LAY_ROWS / 2 {
        to[2 * k] = from[k];
        to[2 * k + 1] = from[PANEL * LAY_ROWS / 2 + k];
    }
}

/// Adds the products of a step of rows to the triangle.
struct Triangle<'a, T> {
    panels: &'a [[T; PANEL]],
    /// Rows of a panel.
    step: usize,
    d: usize,
    s2: &'a mut [f64],
}

impl<T: Factor> WithSimd for Triangle<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { panels, step, d, s2 } = self;
        let lanes = size_of::<T::Vector<S>>() / size_of::<T>();
        let panel = |column: usize| {
            let first = column / PANEL * step;
            (&panels[first..first + step], column % PANEL)
        };
        let at_once = if S::REGISTER_COUNT >= REGISTERS_OF_MANY {
            RIGHT
        } else {
            1
        };
        for right in (0..d).step_by(at_once * lanes) {
            let last = d.min(right + at_once * lanes);
            for left in (0..last).step_by(LEFT) {
                // Vectors left of the diagonal or right of the matrix are left out.
                let first = if left < right + lanes { right } else { right + lanes };
                let (rows, place) = (panel(left), (left, first));
                if first + lanes < last {
                    let right = [panel(first), panel(first + lanes)];
                    simd.vectorize(Tile::<T, RIGHT> {
                        rows,
                        right,
                        place,
                        d,
                        s2,
                    });
                } else {
                    let right = [panel(first)];
                    simd.vectorize(Tile::<T, 1> {
                        rows,
                        right,
                        place,
                        d,
                        s2,
                    });
                }
            }
        }
    }
}

/// Rows of a panel, and a column of it.
type Place<'a, T> = (&'a [[T; PANEL]], usize);

/// Adds the products of [`LEFT`] columns with `N` vectors of columns to the triangle, as far as they lie in it.
struct Tile<'a, T, const N: usize> {
    rows: Place<'a, T>,
    right: [Place<'a, T>; N],
    /// The first entry: line and column.
    place: (usize, usize),
    d: usize,
    s2: &'a mut [f64],
}

impl<T: Factor, const N: usize> WithSimd for Tile<'_, T, N> {
    type Output = ();

    // Loops and no closures: the functions that make arrays of a closure are not always compiled into the place of their
    // call, and then nothing stays in registers.
    #[expect(
        clippy::needless_range_loop,
        reason = "sums that are borrowed would be in memory all the time"
    )]
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = size_of::<T::Vector<S>>() / size_of::<T>();
        // The entries, which lie d apart: they are there when the rows have been gone through.
        for line in self.place.0..self.d.min(self.place.0 + LEFT).min(self.place.1 + 1) {
            prefetch::behind(self.s2, triangle(line, self.place.1, self.d), (N + 1) * lanes);
        }
        let mut sums = [[T::splat(simd, T::default()); N]; LEFT];
        // The remainders change nothing, and say that the places are there.
        let half = self.rows.1 / LEFT % (PANEL / LEFT);
        let rows = self.rows.0.len();
        let (left, one, other) = (self.rows.0, &self.right[0].0[..rows], &self.right[N - 1].0[..rows]);
        let at = self.right[0].1 / lanes % (PANEL / lanes);
        let other_at = self.right[N - 1].1 / lanes % (PANEL / lanes);
        for r in 0..rows {
            let values = &left[r].as_chunks::<LEFT>().0[half];
            let (one, other) = (T::vectors::<S>(&one[r])[at], T::vectors::<S>(&other[r])[other_at]);
            for i in 0..LEFT {
                let x = T::splat(simd, values[i]);
                sums[i][0] = T::mul_add(simd, x, one, sums[i][0]);
                if N == RIGHT {
                    sums[i][N - 1] = T::mul_add(simd, x, other, sums[i][N - 1]);
                }
            }
        }
        let Self { place, d, s2, .. } = self;
        for i in 0..LEFT.min(d - place.0) {
            let line = place.0 + i;
            for k in 0..N {
                let first = place.1 + k * lanes;
                // A copy, for the same reason.
                let sum = sums[i][k];
                let numbers = T::numbers::<S>(&sum);
                if line <= first && first + lanes <= d {
                    let own = &mut s2[triangle(line, first, d)..][..lanes];
                    own.iter_mut().zip(numbers).for_each(|(own, x)| *own += x.widen());
                    continue;
                }
                for j in line.max(first)..d.min(first + lanes) {
                    s2[triangle(line, j, d)] += numbers[j - first].widen();
                }
            }
        }
    }
}
