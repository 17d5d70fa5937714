//! Products of few columns: vectors of rows of one column times those of another, as the columns lie.
//!
//! A tile of 4 × 4 columns keeps sixteen vector sums in registers and takes eight loads for sixteen products; no
//! transposition is needed. The sums stay vectors until all rows are in, and are added up once.

use super::super::leaf::LeafColumn;
use super::{Listwise, PartSums};
use crate::summary::comoments::triangle;
use pulp::{Arch, Simd, WithSimd};
use std::ops::Range;

/// The most columns.
pub(super) const COLUMNS_MAX: usize = 32;
/// Columns of a tile, both ways.
const TILE: usize = 4;
/// Rows that are centred and multiplied at a time: the deviations stay in the first-level cache.
const STEP_ROWS: usize = 256;
/// Lanes in which deviations are added up.
const LANES: usize = 16;

/// Σd and the upper triangle of Σd dᵀ of some rows.
pub(super) fn part(
    columns: &[LeafColumn<'_>],
    complete: &Listwise,
    pivots: &[f64],
    rows: Range<usize>,
) -> PartSums<f64> {
    // Room for more tiles than there are would have to be cleared as well.
    match columns.len().div_ceil(TILE) {
        0..=2 => of_tiles::<2>(columns, complete, pivots, rows),
        3..=4 => of_tiles::<4>(columns, complete, pivots, rows),
        _ => of_tiles::<{ COLUMNS_MAX / TILE }>(columns, complete, pivots, rows),
    }
}

fn of_tiles<const TILES: usize>(
    columns: &[LeafColumn<'_>],
    complete: &Listwise,
    pivots: &[f64],
    rows: Range<usize>,
) -> PartSums<f64> {
    Arch::new().dispatch(Part::<TILES> {
        columns,
        complete,
        pivots,
        rows,
    })
}

/// The sums of up to so many tiles of columns.
struct Part<'a, const TILES: usize> {
    columns: &'a [LeafColumn<'a>],
    complete: &'a Listwise,
    pivots: &'a [f64],
    rows: Range<usize>,
}

impl<const TILES: usize> WithSimd for Part<'_, TILES> {
    type Output = PartSums<f64>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> PartSums<f64> {
        let d = self.columns.len();
        // Columns beyond d that fill the last tile stay 0.
        let mut deviations = [[[0.0; STEP_ROWS]; TILE]; TILES];
        let mut lanes = [[0.0; LANES]; COLUMNS_MAX];
        let mut sums = [[[[simd.splat_f64s(0.0); TILE]; TILE]; TILES]; TILES];
        for from in self.rows.clone().step_by(STEP_ROWS) {
            let step = STEP_ROWS.min(self.rows.end - from);
            for (i, column) in self.columns.iter().enumerate() {
                let own = &mut deviations[i / TILE][i % TILE];
                own[step..].fill(0.0);
                self.complete.centre(i, *column, from, self.pivots[i], &mut own[..step]);
                for chunk in own.as_chunks::<LANES>().0 {
                    for l in 0..LANES {
                        lanes[i][l] += chunk[l];
                    }
                }
            }
            for i in 0..d.div_ceil(TILE) {
                diagonal(simd, &deviations[i], &mut sums[i][i]);
                for j in i + 1..d.div_ceil(TILE) {
                    tile(simd, &deviations[i], &deviations[j], &mut sums[i][j]);
                }
            }
        }
        let s1 = lanes[..d].iter().map(|lanes| lanes.iter().sum()).collect();
        let mut s2 = vec![0.0; d * (d + 1) / 2];
        for i in 0..d {
            for j in i..d {
                let sum = sums[i / TILE][j / TILE][i % TILE][j % TILE];
                s2[triangle(i, j, d)] = simd.reduce_sum_f64s(sum);
            }
        }
        (s1, s2)
    }
}

type Columns = [[f64; STEP_ROWS]; TILE];

#[inline(always)]
fn tile<S: Simd>(simd: S, left: &Columns, right: &Columns, sums: &mut [[S::f64s; TILE]; TILE]) {
    let (left, right) = (vectors::<S>(left), vectors::<S>(right));
    let mut own = *sums;
    for r in 0..STEP_ROWS / S::F64_LANES {
        let b = [right[0][r], right[1][r], right[2][r], right[3][r]];
        for i in 0..TILE {
            let a = left[i][r];
            for j in 0..TILE {
                own[i][j] = simd.mul_add_f64s(a, b[j], own[i][j]);
            }
        }
    }
    *sums = own;
}

/// A tile on the diagonal, of which half is needed.
#[expect(clippy::needless_range_loop, reason = "a row of four columns, not a column")]
#[inline(always)]
fn diagonal<S: Simd>(simd: S, columns: &Columns, sums: &mut [[S::f64s; TILE]; TILE]) {
    let columns = vectors::<S>(columns);
    let mut own = *sums;
    for r in 0..STEP_ROWS / S::F64_LANES {
        let a = [columns[0][r], columns[1][r], columns[2][r], columns[3][r]];
        for i in 0..TILE {
            for j in i..TILE {
                own[i][j] = simd.mul_add_f64s(a[i], a[j], own[i][j]);
            }
        }
    }
    *sums = own;
}

#[inline(always)]
fn vectors<S: Simd>(columns: &Columns) -> [&[S::f64s]; TILE] {
    // Not by a closure: the functions that make arrays of one are not always compiled into the place of their call.
    let [a, b, c, d] = columns;
    [
        S::as_simd_f64s(a).0,
        S::as_simd_f64s(b).0,
        S::as_simd_f64s(c).0,
        S::as_simd_f64s(d).0,
    ]
}
