//! Products of few columns: vectors of rows of one column times those of another, as the columns lie.
//!
//! A tile of 4 × 4 columns keeps sixteen vector sums in registers and takes eight loads for sixteen products; no
//! transposition is needed. The sums stay vectors until all rows are in, and are added up once.

use super::super::leaf::LeafColumn;
use super::super::moments::{LANES, tree};
use super::factor::{ADDITIONS_MAX, Factor};
use super::{Listwise, PartSums, add_lanes, part_rows};
use crate::summary::comoments::triangle;
use pulp::{Arch, Simd, WithSimd};
use std::marker::PhantomData;
use std::ops::Range;

/// The most columns.
pub(super) const COLUMNS_MAX: usize = 64;
/// Columns of a tile, both ways.
const TILE: usize = 4;
/// Tiles of columns that are taken with each of the others in turn.
const TILES_AT_ONCE: usize = 2;
/// Rows of a column that are fetched at once: as many lines of the cache as some processors wait for at a time.
const FETCH_ROWS: usize = 128;
/// Rows that are centred and multiplied at a time: the deviations stay in the first-level cache, or near it.
const STEP_ROWS: usize = 256;

/// Adds Σd and the upper triangle of Σd dᵀ of some rows.
pub(super) fn part<T: Factor>(
    columns: &[LeafColumn<'_>],
    complete: &Listwise,
    pivots: &[f64],
    rows: Range<usize>,
    sums: &mut PartSums<f64>,
) {
    let part = Few {
        columns,
        complete,
        pivots,
        rows,
        sums,
    };
    // Room for more tiles than there are would have to be cleared as well.
    match columns.len().div_ceil(TILE) {
        0..=2 => part.of_tiles::<T, 2, 3>(),
        3..=4 => part.of_tiles::<T, 4, 10>(),
        5..=8 => part.of_tiles::<T, 8, 36>(),
        _ => part.of_tiles::<T, 16, 136>(),
    }
}

/// Some rows.
struct Few<'a> {
    columns: &'a [LeafColumn<'a>],
    complete: &'a Listwise,
    pivots: &'a [f64],
    rows: Range<usize>,
    sums: &'a mut PartSums<f64>,
}

impl<'a> Few<'a> {
    /// The sums of up to so many tiles of columns, and pairs of tiles.
    fn of_tiles<T: Factor, const TILES: usize, const PAIRS: usize>(self) {
        Arch::new().dispatch(Part::<'a, T, TILES, PAIRS> {
            few: self,
            factor: PhantomData,
        });
    }
}

/// The sums of up to so many tiles of columns.
struct Part<'a, T, const TILES: usize, const PAIRS: usize> {
    few: Few<'a>,
    factor: PhantomData<T>,
}

impl<T: Factor, const TILES: usize, const PAIRS: usize> WithSimd for Part<'_, T, TILES, PAIRS> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        const { assert!(PAIRS == TILES * (TILES + 1) / 2) };
        let Few {
            columns,
            complete,
            pivots,
            rows,
            sums: (s1, s2),
        } = self.few;
        let d = columns.len();
        let tiles = d.div_ceil(TILE);
        // What is in the columns beyond d, which fill the last tile, does not matter.
        let mut room = T::with_room(|room| room.take());
        let deviations = room.numbers(tiles * TILE * STEP_ROWS);
        let deviations = deviations.as_chunks_mut::<STEP_ROWS>().0.as_chunks_mut::<TILE>().0;
        let mut lanes = [[0.0; LANES]; COLUMNS_MAX];
        let mut sums = [[[T::splat(simd, T::default()); TILE]; TILE]; PAIRS];
        let at_once = ADDITIONS_MAX * (size_of::<T::Vector<S>>() / size_of::<T>());
        let mut added = 0;
        // What the next part needs is fetched while this one is multiplied, a little with every tile.
        let mut runs = [None; COLUMNS_MAX];
        for (run, column) in runs.iter_mut().zip(columns) {
            *run = column.runs(rows.clone()).next();
        }
        let fetches = d * STEP_ROWS / FETCH_ROWS;
        let fetch = |from: usize, pair: usize| {
            let share = |pair: usize| pair * fetches / (tiles * (tiles + 1) / 2);
            for k in share(pair)..share(pair + 1) {
                if let Some(run) = runs[k / (STEP_ROWS / FETCH_ROWS)] {
                    let row = from + part_rows(d) + k % (STEP_ROWS / FETCH_ROWS) * FETCH_ROWS;
                    run.fetch(row, FETCH_ROWS);
                }
            }
        };
        for from in rows.clone().step_by(STEP_ROWS) {
            if added + STEP_ROWS > at_once {
                add_up::<T, S>(s2, d, &sums);
                sums = [[[T::splat(simd, T::default()); TILE]; TILE]; PAIRS];
                added = 0;
            }
            let step = STEP_ROWS.min(rows.end - from);
            for (i, column) in columns.iter().enumerate() {
                let own = &mut deviations[i / TILE][i % TILE];
                own[step..].fill(T::default());
                complete.centre(i, *column, from, pivots[i], &mut own[..step]);
                add_lanes(&mut lanes[i], own);
            }
            let mut taken = 0;
            // A tile that was read is taken with several, before others push it out of the first-level cache.
            for first in (0..tiles).step_by(TILES_AT_ONCE) {
                for right in first..tiles {
                    for left in first..right.min(first + TILES_AT_ONCE) {
                        let sums = &mut sums[triangle(left, right, tiles)];
                        fetch(from - rows.start, taken);
                        taken += 1;
                        tile(simd, &deviations[left], &deviations[right], sums);
                    }
                    if right < first + TILES_AT_ONCE {
                        fetch(from - rows.start, taken);
                        taken += 1;
                        diagonal(simd, &deviations[right], &mut sums[triangle(right, right, tiles)]);
                    }
                }
            }
            added += STEP_ROWS;
        }
        add_up::<T, S>(s2, d, &sums);
        T::with_room(|own| own.set(room));
        s1.iter_mut()
            .zip(&lanes)
            .for_each(|(own, lanes)| *own += lanes.iter().sum::<f64>());
    }
}

/// Adds the sums of tiles to the triangle.
#[inline(always)]
fn add_up<T: Factor, S: Simd>(s2: &mut [f64], d: usize, sums: &[[[T::Vector<S>; TILE]; TILE]]) {
    let mut pairs = sums.iter();
    for left in (0..d).step_by(TILE) {
        for (right, sums) in (left..d).step_by(TILE).zip(&mut pairs) {
            for i in left..d.min(left + TILE) {
                for j in right.max(i)..d.min(right + TILE) {
                    let mut lanes = [0.0; LANES];
                    let numbers = T::numbers::<S>(&sums[i - left][j - right]);
                    lanes.iter_mut().zip(numbers).for_each(|(lane, x)| *lane = x.widen());
                    s2[triangle(i, j, d)] += tree(lanes, |a, b| a + b);
                }
            }
        }
    }
}

type Columns<T> = [[T; STEP_ROWS]; TILE];
type Sums<T, S> = [[<T as Factor>::Vector<S>; TILE]; TILE];

#[inline(always)]
fn tile<T: Factor, S: Simd>(simd: S, left: &Columns<T>, right: &Columns<T>, sums: &mut Sums<T, S>) {
    let (left, right) = (vectors::<T, S>(left), vectors::<T, S>(right));
    let mut own = *sums;
    for r in 0..left[0].len() {
        let b = [right[0][r], right[1][r], right[2][r], right[3][r]];
        for i in 0..TILE {
            let a = left[i][r];
            for j in 0..TILE {
                own[i][j] = T::mul_add(simd, a, b[j], own[i][j]);
            }
        }
    }
    *sums = own;
}

/// A tile on the diagonal, of which half is needed.
#[expect(clippy::needless_range_loop, reason = "a row of four columns, not a column")]
#[inline(always)]
fn diagonal<T: Factor, S: Simd>(simd: S, columns: &Columns<T>, sums: &mut Sums<T, S>) {
    let columns = vectors::<T, S>(columns);
    let mut own = *sums;
    for r in 0..columns[0].len() {
        let a = [columns[0][r], columns[1][r], columns[2][r], columns[3][r]];
        for i in 0..TILE {
            for j in i..TILE {
                own[i][j] = T::mul_add(simd, a[i], a[j], own[i][j]);
            }
        }
    }
    *sums = own;
}

#[inline(always)]
fn vectors<T: Factor, S: Simd>(columns: &Columns<T>) -> [&[T::Vector<S>]; TILE] {
    let length = STEP_ROWS * size_of::<T>() / size_of::<T::Vector<S>>();
    // Not by a closure: the functions that make arrays of one are not always compiled into the place of their call.
    let [a, b, c, d] = columns;
    [
        &T::vectors::<S>(a)[..length],
        &T::vectors::<S>(b)[..length],
        &T::vectors::<S>(c)[..length],
        &T::vectors::<S>(d)[..length],
    ]
}
