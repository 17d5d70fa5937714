//! Co-moments of a leaf: the upper triangle of DᵀD for D = X − pivot, in register tiles.
//!
//! Columns are contiguous, so both operands of a product are read as they lie: a tile of 4 × 4 columns keeps sixteen
//! vector sums in registers and takes eight loads for sixteen fused multiply-adds; no transposition is needed. Rows go
//! through in steps that fit the second-level cache, after one pass that subtracts the pivot. Tiles below the diagonal
//! are not computed. Columns of extreme magnitudes show in their sums, and are then gathered once more in units of a
//! power of two. The double-double kernel carries sums of exact products ([`crate::summary::dd`]), eight rows side by
//! side.

use crate::batch::{Column, Values};
use crate::summary::comoments::{CoMoments, ExactCoMoments, triangle};
use crate::summary::dd::{Dd, ldexp, two_product, two_sum};
use crate::summary::moments::{PivotSums, UNSCALED_EXPONENT_MAX, scale_of};
use pulp::{Arch, NullaryFnOnce, Simd, WithSimd};
use std::ops::Range;

/// Columns of a tile, both ways.
const TILE: usize = 4;
/// Rows that are centred and multiplied at a time: with 256 columns 512 KiB, half a second-level cache.
const STEP_ROWS: usize = 256;
/// Rows that go through the double-double kernel together.
const EXACT_STEP_ROWS: usize = 1024;
/// Rows side by side in the double-double kernel.
const DD_LANES: usize = 8;

/// The complete rows of a leaf.
struct Listwise {
    present: Vec<bool>,
    infinite: Vec<u64>,
    /// By column: values are taken in units of 2^scale.
    scale: Vec<i32>,
    /// Rows in which every present column has a finite value; absent where all rows are.
    kept: Option<Vec<usize>>,
}

/// Finds the complete rows (the fast way out is taken before: a leaf whose sums are finite needs no search).
fn listwise(columns: &[&Column], rows: Range<usize>) -> Listwise {
    let present: Vec<bool> = columns
        .iter()
        .map(|c| rows.clone().any(|i| !c.get(i).is_nan()))
        .collect();
    let mut infinite = vec![0; columns.len()];
    let mut kept = Vec::with_capacity(rows.len());
    for i in rows {
        let values = || columns.iter().zip(&present).filter(|(_, p)| **p).map(|(c, _)| c.get(i));
        if !present.contains(&true) || values().any(f64::is_nan) {
            continue;
        }
        if values().any(f64::is_infinite) {
            for ((count, column), present) in infinite.iter_mut().zip(columns).zip(&present) {
                *count += u64::from(*present && column.get(i).is_infinite());
            }
        } else {
            kept.push(i);
        }
    }
    Listwise {
        present,
        infinite,
        scale: vec![0; columns.len()],
        kept: Some(kept),
    }
}

impl Listwise {
    fn all(d: usize) -> Self {
        Self {
            present: vec![true; d],
            infinite: vec![0; d],
            scale: vec![0; d],
            kept: None,
        }
    }

    fn rows(&self, rows: &Range<usize>) -> usize {
        self.kept.as_ref().map_or(rows.len(), Vec::len)
    }

    /// Values of complete rows `from .. from + out.len()` of column `i`, minus the pivot, in its units.
    fn centre(&self, i: usize, column: &Column, first: usize, from: usize, pivot: f64, out: &mut [f64]) {
        match &self.kept {
            _ if !self.present[i] => out.fill(0.0),
            kept if self.scale[i] != 0 => {
                let row = |k: usize| kept.as_ref().map_or(first + from + k, |kept| kept[from + k]);
                let scaled = |k: usize| ldexp(column.get(row(k)), -self.scale[i]);
                (0..).zip(out).for_each(|(k, o)| *o = scaled(k) - pivot);
            }
            None => {
                let start = first + from;
                let range = start..start + out.len();
                match &column.values {
                    Values::F64(v) => out.iter_mut().zip(&v[range]).for_each(|(o, x)| *o = x - pivot),
                    Values::F32(v) => out
                        .iter_mut()
                        .zip(&v[range])
                        .for_each(|(o, x)| *o = f64::from(*x) - pivot),
                }
            }
            Some(kept) => out
                .iter_mut()
                .zip(&kept[from..])
                .for_each(|(o, i)| *o = column.get(*i) - pivot),
        }
    }

    fn pivots(&self, columns: &[&Column], first: usize) -> Vec<f64> {
        let row = self.kept.as_ref().map_or(Some(first), |kept| kept.first().copied());
        let at = |(c, p): (&&Column, &bool)| row.filter(|_| *p).map_or(0.0, |i| c.get(i));
        let scaled = |(x, scale): (f64, &i32)| ldexp(x, -scale);
        let values = columns.iter().zip(&self.present).map(at);
        values.zip(&self.scale).map(scaled).collect()
    }

    /// Chooses the units of the columns, given Σ(x − pivot)² of each in units of 1; whether any is not of ordinary
    /// magnitude.
    fn choose_scale(
        &mut self,
        columns: &[&Column],
        rows: &Range<usize>,
        pivots: &[f64],
        square: impl Fn(usize) -> f64,
    ) -> bool {
        let n = self.rows(rows) as f64;
        for i in 0..columns.len() {
            if self.present[i] && may_be_extreme(pivots[i], square(i), n) {
                self.scale[i] = scale_of(self.largest(columns[i], rows));
            }
        }
        self.scale.iter().any(|s| *s != 0)
    }

    /// The largest magnitude of a column in the complete rows.
    fn largest(&self, column: &Column, rows: &Range<usize>) -> f64 {
        let larger = |most: f64, i: usize| most.max(column.get(i).abs());
        match &self.kept {
            None => rows.clone().fold(0.0, larger),
            Some(kept) => kept.iter().copied().fold(0.0, larger),
        }
    }
}

/// Whether the largest magnitude of n values may lie outside 2^±200, given a pivot among them and the sum of squares
/// around it.
///
/// A value of 2^201 and a pivot below 2^200 are 2^200 apart, with a square of 2^400; values below 2^−200 are less than
/// 2^−199 apart, with squares below n · 2^−398. Half and twice that leave room for the roundings of the sum, and a sum
/// that is infinite or NaN is not below anything.
fn may_be_extreme(pivot: f64, square: f64, n: f64) -> bool {
    const MAX: i32 = UNSCALED_EXPONENT_MAX;
    let not_huge = pivot.abs() < ldexp(1.0, MAX) && square < ldexp(1.0, 2 * MAX - 1);
    let not_tiny = pivot.abs() >= ldexp(1.0, -MAX) || square > n * ldexp(1.0, 3 - 2 * MAX);
    !(not_huge && not_tiny)
}

/// The co-moments of rows of these columns in `f64`.
pub(super) fn plain(columns: &[&Column], rows: Range<usize>) -> CoMoments {
    let d = columns.len();
    if rows.is_empty() {
        return CoMoments::new(d);
    }
    if columns.iter().all(|c| c.nulls.is_none()) {
        let all = Listwise::all(d);
        let first = sums(columns, &rows, &all, None);
        if first.s1.iter().all(|s| s.is_finite()) {
            return finish(columns, &rows, all, first);
        }
    }
    // A sum that is not finite: there are missing or infinite values (or deviations that overflow).
    let complete = listwise(columns, rows.clone());
    if complete.rows(&rows) == 0 {
        return CoMoments {
            present: complete.present,
            infinite: complete.infinite,
            ..CoMoments::new(d)
        };
    }
    let first = sums(columns, &rows, &complete, None);
    finish(columns, &rows, complete, first)
}

/// The co-moments behind the sums around the first row; these are taken once more where units or pivots do not fit.
fn finish(columns: &[&Column], rows: &Range<usize>, mut complete: Listwise, first: Sums) -> CoMoments {
    let d = columns.len();
    let mut found = first;
    if complete.choose_scale(columns, rows, &found.pivots, |i| found.s2[triangle(i, i, d)]) {
        found = sums(columns, rows, &complete, None);
    }
    if let Some(pivots) = found.better_pivots() {
        found = sums(columns, rows, &complete, Some(pivots));
    }
    let Listwise {
        present,
        infinite,
        scale,
        ..
    } = complete;
    CoMoments::from_sums(found.n, present, infinite, scale, &found.pivots, &found.s1, found.s2)
}

/// Σd, the upper triangle of Σd dᵀ, the pivots and the number of rows.
struct Sums {
    s1: Vec<f64>,
    s2: Vec<f64>,
    pivots: Vec<f64>,
    n: u64,
}

impl Sums {
    /// Pivots near the means, where a mean lies far from its own.
    fn better_pivots(&self) -> Option<Vec<f64>> {
        let d = self.pivots.len();
        let better = |i: usize| {
            let sums = PivotSums {
                count: self.n,
                pivot: self.pivots[i],
                s1: self.s1[i],
                s2: self.s2[triangle(i, i, d)],
                ..PivotSums::default()
            };
            sums.better_pivot()
        };
        let better: Vec<Option<f64>> = (0..d).map(better).collect();
        let any = better.iter().any(Option::is_some);
        any.then(|| {
            better
                .iter()
                .zip(&self.pivots)
                .map(|(b, own)| b.unwrap_or(*own))
                .collect()
        })
    }
}

/// The sums around these pivots, or those of the first row.
fn sums(columns: &[&Column], rows: &Range<usize>, complete: &Listwise, pivots: Option<Vec<f64>>) -> Sums {
    let d = columns.len();
    let n = complete.rows(rows);
    let pivots = pivots.unwrap_or_else(|| complete.pivots(columns, rows.start));
    // Columns beyond d that fill the last tile stay 0.
    let padded = d.next_multiple_of(TILE);
    let mut centred = vec![0.0; padded * STEP_ROWS];
    let mut s1 = vec![0.0; d];
    let mut s2 = vec![0.0; d * (d + 1) / 2];
    for from in (0..n).step_by(STEP_ROWS) {
        let step = STEP_ROWS.min(n - from);
        for i in 0..d {
            let column = &mut centred[i * STEP_ROWS..(i + 1) * STEP_ROWS];
            column[step..].fill(0.0);
            complete.centre(i, columns[i], rows.start, from, pivots[i], &mut column[..step]);
            s1[i] += Arch::new().dispatch(Sum { values: column });
        }
        Arch::new().dispatch(Triangle {
            centred: &centred,
            d,
            padded,
            s2: &mut s2,
        });
    }
    Sums {
        s1,
        s2,
        pivots,
        n: n as u64,
    }
}

struct Sum<'a> {
    values: &'a [f64],
}

impl NullaryFnOnce for Sum<'_> {
    type Output = f64;

    #[inline(always)]
    fn call(self) -> f64 {
        let mut lanes = [0.0; 16];
        for chunk in self.values.as_chunks::<16>().0 {
            for l in 0..16 {
                lanes[l] += chunk[l];
            }
        }
        lanes.iter().sum()
    }
}

/// Adds the products of one step of rows to the triangle.
struct Triangle<'a> {
    centred: &'a [f64],
    d: usize,
    padded: usize,
    s2: &'a mut [f64],
}

impl WithSimd for Triangle<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { centred, d, padded, s2 } = self;
        let column = |i: usize| S::as_simd_f64s(&centred[i * STEP_ROWS..(i + 1) * STEP_ROWS]).0;
        for i in (0..padded).step_by(TILE) {
            let left: [&[S::f64s]; TILE] = std::array::from_fn(|k| column(i + k));
            for j in (i..padded).step_by(TILE) {
                let right: [&[S::f64s]; TILE] = std::array::from_fn(|k| column(j + k));
                let tile = tile(simd, left, right);
                for (a, row) in tile.iter().enumerate().take(d - i) {
                    for (b, value) in row.iter().enumerate().take(d - j) {
                        if i + a <= j + b {
                            s2[triangle(i + a, j + b, d)] += value;
                        }
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn tile<S: Simd>(simd: S, left: [&[S::f64s]; TILE], right: [&[S::f64s]; TILE]) -> [[f64; TILE]; TILE] {
    let steps = left[0].len();
    let left = left.map(|c| &c[..steps]);
    let right = right.map(|c| &c[..steps]);
    let mut acc = [[simd.splat_f64s(0.0); TILE]; TILE];
    for k in 0..steps {
        let b: [S::f64s; TILE] = std::array::from_fn(|j| right[j][k]);
        for i in 0..TILE {
            let a = left[i][k];
            for j in 0..TILE {
                acc[i][j] = simd.mul_add_f64s(a, b[j], acc[i][j]);
            }
        }
    }
    acc.map(|row| row.map(|v| simd.reduce_sum_f64s(v)))
}

/// The co-moments of rows of these columns with double-double products.
pub(super) fn exact(columns: &[&Column], rows: Range<usize>) -> ExactCoMoments {
    let d = columns.len();
    let clean = |c: &&Column| c.nulls.is_none() && rows.clone().all(|i| c.get(i).is_finite());
    let mut complete = if columns.iter().all(clean) {
        Listwise::all(d)
    } else {
        listwise(columns, rows.clone())
    };
    let n = complete.rows(&rows);
    if n == 0 {
        return ExactCoMoments {
            present: complete.present,
            infinite: complete.infinite,
            ..ExactCoMoments::new(d)
        };
    }
    let (mut pivots, mut s1, mut s2) = exact_sums(columns, &rows, &complete);
    if complete.choose_scale(columns, &rows, &pivots, |i| s2[triangle(i, i, d)].hi) {
        (pivots, s1, s2) = exact_sums(columns, &rows, &complete);
    }
    let Listwise {
        present,
        infinite,
        scale,
        ..
    } = complete;
    ExactCoMoments::from_sums(n as u64, present, infinite, scale, &pivots, &s1, s2)
}

/// The pivots of the first row, Σd and the upper triangle of Σd dᵀ around them, in double-double.
fn exact_sums(columns: &[&Column], rows: &Range<usize>, complete: &Listwise) -> (Vec<f64>, Vec<Dd>, Vec<Dd>) {
    let d = columns.len();
    let n = complete.rows(rows);
    let pivots = complete.pivots(columns, rows.start);
    let mut s1 = vec![Dd::ZERO; d];
    let mut s2 = vec![Dd::ZERO; d * (d + 1) / 2];
    // Deviations of a step as exact pairs; the last step is padded with zeros.
    let length = EXACT_STEP_ROWS.min(n.next_multiple_of(DD_LANES));
    let (mut hi, mut lo) = (vec![0.0; d * length], vec![0.0; d * length]);
    let mut values = vec![0.0; length];
    for from in (0..n).step_by(length) {
        let step = length.min(n - from);
        for i in 0..d {
            complete.centre(i, columns[i], rows.start, from, 0.0, &mut values[..step]);
            let place = i * length..(i + 1) * length;
            let (hi, lo) = (&mut hi[place.clone()], &mut lo[place]);
            for (k, x) in values[..step].iter().enumerate() {
                (hi[k], lo[k]) = two_sum(*x, -pivots[i]);
            }
            hi[step..].fill(0.0);
            lo[step..].fill(0.0);
        }
        Arch::new().dispatch(ExactTriangle {
            hi: &hi,
            lo: &lo,
            length,
            s1: &mut s1,
            s2: &mut s2,
        });
    }
    (pivots, s1, s2)
}

/// Adds the sums of a step.
struct ExactTriangle<'a> {
    hi: &'a [f64],
    lo: &'a [f64],
    /// Rows of a column.
    length: usize,
    s1: &'a mut [Dd],
    s2: &'a mut [Dd],
}

impl NullaryFnOnce for ExactTriangle<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { hi, lo, length, s1, s2 } = self;
        let d = s1.len();
        let column = |i: usize| i * length..(i + 1) * length;
        for i in 0..d {
            let (hi_i, lo_i) = (&hi[column(i)], &lo[column(i)]);
            s1[i] = s1[i] + dot(hi_i, lo_i, None);
            for j in i..d {
                let place = triangle(i, j, d);
                s2[place] = s2[place] + dot(hi_i, lo_i, Some((&hi[column(j)], &lo[column(j)])));
            }
        }
    }
}

/// Σa·b (or Σa) of double-doubles, in eight lanes that are added up in order.
#[inline(always)]
fn dot(hi: &[f64], lo: &[f64], other: Option<(&[f64], &[f64])>) -> Dd {
    let mut sum = [0.0f64; DD_LANES];
    let mut error = [0.0f64; DD_LANES];
    let (hi, lo) = (hi.as_chunks::<DD_LANES>().0, lo.as_chunks::<DD_LANES>().0);
    if let Some((hi2, lo2)) = other {
        let (hi2, lo2) = (hi2.as_chunks::<DD_LANES>().0, lo2.as_chunks::<DD_LANES>().0);
        for (((a, al), b), bl) in hi.iter().zip(lo).zip(hi2).zip(lo2) {
            for l in 0..DD_LANES {
                let (p, e) = two_product(a[l], b[l]);
                let e = e + (a[l] * bl[l] + al[l] * b[l]);
                add_lane(&mut sum[l], &mut error[l], p, e);
            }
        }
    } else {
        for (a, al) in hi.iter().zip(lo) {
            for l in 0..DD_LANES {
                add_lane(&mut sum[l], &mut error[l], a[l], al[l]);
            }
        }
    }
    (0..DD_LANES).fold(Dd::ZERO, |total, l| total + Dd::sum(sum[l], error[l]))
}

/// (sum, error) += (p, e), renormalised: the error of n additions stays below n · 2⁻¹⁰⁴ of the largest partial sum.
#[inline(always)]
fn add_lane(sum: &mut f64, error: &mut f64, p: f64, e: f64) {
    let (s, t) = two_sum(*sum, p);
    let t = t + (*error + e);
    *sum = s + t;
    *error = t - (*sum - s);
}
