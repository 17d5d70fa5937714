//! Co-moments of a leaf: the upper triangle of DᵀD for D = X − pivot.
//!
//! Few columns are multiplied as they lie ([`few`]); many are laid side by side first ([`panels`]), which costs d a row
//! and saves more of the d² products. What lies below the diagonal is left out as far as vectors allow.
//! Columns of extreme magnitudes show in their sums, and are then gathered once more in units of a power of two. A leaf
//! is summed in parts that begin at fixed rows, which threads may share.

mod exact;
mod factor;
mod few;
mod narrow;
mod panels;

pub(super) use exact::exact;

use super::leaf::{LeafColumn, Run};
use super::moments::LANES;
use crate::summary::comoments::{CoMoments, triangle};
use crate::summary::dd::ldexp;
use crate::summary::moments::{PivotSums, UNSCALED_EXPONENT_MAX, scale_of};
use factor::Factor;
use rayon::prelude::*;
use std::ops::Range;

/// Rows of a part of a leaf at least, which one thread takes; with many columns a quarter of a leaf, as adding up the
/// parts costs d² a part.
const PART_ROWS: usize = 1024;
const PART_ROWS_PER_COLUMN: usize = 4;

/// Columns from which on `f32` products are faster than others.
const NARROW_COLUMNS_MIN: usize = 33;

/// Who takes the parts of a leaf.
#[derive(Clone, Copy)]
pub(super) enum Parts<'a> {
    /// Threads share them.
    Shared,
    /// One thread, in their order. Before each this is called with the row where the part ends.
    InTurn(&'a dyn Fn(usize)),
}

/// The complete rows of a leaf.
struct Listwise {
    present: Vec<bool>,
    infinite: Vec<u64>,
    /// By column: values are taken in units of 2^scale.
    scale: Vec<i32>,
    /// How many rows there are in which every present column has a finite value.
    rows: usize,
    /// Which they are; absent where all are.
    kept: Option<Vec<usize>>,
}

/// Finds the complete rows (the fast way out is taken before: a leaf whose sums are finite needs no search).
fn listwise(columns: &[LeafColumn<'_>], rows: usize) -> Listwise {
    let missing = |c: &LeafColumn<'_>| c.values(0..rows).all(f64::is_nan);
    let present: Vec<bool> = columns.iter().map(|c| !missing(c)).collect();
    let mut infinite = vec![0; columns.len()];
    let mut kept = Vec::with_capacity(rows);
    for i in 0..rows {
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
        rows: kept.len(),
        present,
        infinite,
        scale: vec![0; columns.len()],
        kept: Some(kept),
    }
}

/// Rows of a part of a leaf.
fn part_rows(d: usize) -> usize {
    PART_ROWS.max((PART_ROWS_PER_COLUMN * d).next_power_of_two())
}

impl Listwise {
    fn all(d: usize, rows: usize) -> Self {
        Self {
            rows,
            present: vec![true; d],
            infinite: vec![0; d],
            scale: vec![0; d],
            kept: None,
        }
    }

    /// Where complete row `k` lies in the leaf.
    fn row(&self, k: usize) -> usize {
        self.kept.as_ref().map_or(k, |kept| kept[k])
    }

    /// Values of complete rows `from .. from + out.len()` of column `i`, minus the pivot, in its units.
    #[inline(always)]
    fn centre<T: Factor>(&self, i: usize, column: LeafColumn<'_>, from: usize, pivot: f64, out: &mut [T]) {
        match &self.kept {
            _ if !self.present[i] => out.fill(T::default()),
            _ if self.scale[i] != 0 => {
                let scaled = |k: usize| ldexp(column.get(self.row(from + k)), -self.scale[i]);
                (0..).zip(out).for_each(|(k, o)| *o = T::of_f64(scaled(k), pivot));
            }
            None => {
                let mut out = out;
                for run in column.runs(from..from + out.len()) {
                    let (own, rest) = out.split_at_mut(run.len());
                    match run {
                        Run::F64(v) => own.iter_mut().zip(v).for_each(|(o, x)| *o = T::of_f64(*x, pivot)),
                        Run::F32(v) => own.iter_mut().zip(v).for_each(|(o, x)| *o = T::of_f32(*x, pivot)),
                    }
                    out = rest;
                }
            }
            Some(kept) => out
                .iter_mut()
                .zip(&kept[from..])
                .for_each(|(o, i)| *o = T::of_f64(column.get(*i), pivot)),
        }
    }

    fn pivots(&self, columns: &[LeafColumn<'_>]) -> Vec<f64> {
        let row = self.kept.as_ref().map_or(Some(0), |kept| kept.first().copied());
        let at = |(c, p): (&LeafColumn<'_>, &bool)| row.filter(|_| *p).map_or(0.0, |i| c.get(i));
        let scaled = |(x, scale): (f64, &i32)| ldexp(x, -scale);
        let values = columns.iter().zip(&self.present).map(at);
        values.zip(&self.scale).map(scaled).collect()
    }

    /// Chooses the units of the columns, given Σ(x − pivot)² of each in units of 1; whether any is not of ordinary
    /// magnitude.
    fn choose_scale(&mut self, columns: &[LeafColumn<'_>], pivots: &[f64], square: impl Fn(usize) -> f64) -> bool {
        let n = self.rows as f64;
        for i in 0..columns.len() {
            if self.present[i] && may_be_extreme(pivots[i], square(i), n) {
                self.scale[i] = scale_of(self.largest(columns[i]));
            }
        }
        self.scale.iter().any(|s| *s != 0)
    }

    /// The largest magnitude of a column in the complete rows.
    fn largest(&self, column: LeafColumn<'_>) -> f64 {
        let larger = |most: f64, x: f64| most.max(x.abs());
        match &self.kept {
            None => column.values(0..self.rows).fold(0.0, larger),
            Some(kept) => kept.iter().map(|i| column.get(*i)).fold(0.0, larger),
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

/// The co-moments of the rows of these columns, whose parts are taken so: with `f32` products where columns are `f32`
/// and that is faster.
pub(super) fn fast(columns: &[LeafColumn<'_>], rows: usize, parts: Parts<'_>) -> CoMoments {
    let suits = columns.len() >= NARROW_COLUMNS_MIN && columns.iter().all(|c| c.is_f32());
    let found = match suits {
        true => narrow::narrow(columns, rows, parts),
        false => None,
    };
    found.unwrap_or_else(|| plain(columns, rows, parts))
}

/// The co-moments of the rows of these columns in `f64`, whose parts are taken so.
pub(super) fn plain(columns: &[LeafColumn<'_>], rows: usize, parts: Parts<'_>) -> CoMoments {
    let d = columns.len();
    if rows == 0 {
        return CoMoments::new(d);
    }
    if columns.iter().all(|c| !c.has_nulls()) {
        let all = Listwise::all(d, rows);
        let first = sums_around_first(columns, &all, parts);
        if first.s1.iter().all(|s| s.is_finite()) {
            return finish(columns, all, first, parts);
        }
    }
    // A sum that is not finite: there are missing or infinite values (or deviations that overflow).
    let complete = listwise(columns, rows);
    if complete.rows == 0 {
        return CoMoments {
            present: complete.present,
            infinite: complete.infinite,
            ..CoMoments::new(d)
        };
    }
    let first = sums_around_first(columns, &complete, parts);
    finish(columns, complete, first, parts)
}

/// The co-moments behind the sums around the first row; these are taken once more where units or pivots do not fit.
fn finish(columns: &[LeafColumn<'_>], mut complete: Listwise, first: Sums, parts: Parts<'_>) -> CoMoments {
    let d = columns.len();
    let mut found = first;
    if complete.choose_scale(columns, &found.pivots, |i| found.s2[triangle(i, i, d)]) {
        found = sums_around_first(columns, &complete, parts);
    }
    if let Some(pivots) = found.better_pivots() {
        found = sums::<f64>(columns, &complete, pivots, parts);
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

/// The sums around the values of the first row.
fn sums_around_first(columns: &[LeafColumn<'_>], complete: &Listwise, parts: Parts<'_>) -> Sums {
    sums::<f64>(columns, complete, complete.pivots(columns), parts)
}

/// The sums around these pivots.
fn sums<T: Factor>(columns: &[LeafColumn<'_>], complete: &Listwise, pivots: Vec<f64>, parts: Parts<'_>) -> Sums {
    let part = |rows, sums: &mut PartSums<f64>| match columns.len() {
        0..=few::COLUMNS_MAX => few::part::<T>(columns, complete, &pivots, rows, sums),
        _ => panels::part::<T>(columns, complete, &pivots, rows, sums),
    };
    let add = |own: &mut f64, later: &f64| *own += later;
    let (s1, s2) = of_parts(columns.len(), complete.rows, parts, part, add);
    Sums {
        s1,
        s2,
        pivots,
        n: complete.rows as u64,
    }
}

/// Lane by lane: sums += values.
#[inline(always)]
fn add_lanes<T: Factor>(sums: &mut [f64; LANES], values: &[T]) {
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for l in 0..LANES {
            sums[l] += chunk[l].widen();
        }
    }
    sums.iter_mut().zip(rest).for_each(|(sum, x)| *sum += x.widen());
}

/// Σd and the upper triangle of Σd dᵀ of some rows: of a leaf, or of a part of it.
type PartSums<T> = (Vec<T>, Vec<T>);

/// The sums of the parts of a leaf, added up in their order; `part` adds those of some rows to zeros. Where a leaf has
/// parts follows from its columns alone, so the result is the same for any number of threads.
fn of_parts<T: Clone + Default + Send>(
    d: usize,
    rows: usize,
    parts: Parts<'_>,
    part: impl Fn(Range<usize>, &mut PartSums<T>) + Sync,
    add: impl Fn(&mut T, &T),
) -> PartSums<T> {
    let length = part_rows(d);
    let ranges: Vec<Range<usize>> = (0..rows)
        .step_by(length)
        .map(|start| start..rows.min(start + length))
        .collect();
    let join = |(s1, s2): &mut PartSums<T>, later: &PartSums<T>| {
        s1.iter_mut().zip(&later.0).for_each(|(own, later)| add(own, later));
        s2.iter_mut().zip(&later.1).for_each(|(own, later)| add(own, later));
    };
    let part = |rows: Range<usize>, used: Option<PartSums<T>>| {
        let (mut s1, mut s2) = used.unwrap_or_default();
        for (sums, count) in [(&mut s1, d), (&mut s2, d * (d + 1) / 2)] {
            sums.clear();
            sums.resize(count, T::default());
        }
        let mut sums = (s1, s2);
        part(rows, &mut sums);
        sums
    };
    let total = match parts {
        Parts::Shared => {
            let parts: Vec<PartSums<T>> = ranges.into_par_iter().map(|rows| part(rows, None)).collect();
            parts.into_iter().reduce(|mut total, later| {
                join(&mut total, &later);
                total
            })
        }
        Parts::InTurn(before) => {
            let (mut total, mut used) = (None, None);
            for rows in ranges {
                before(rows.end);
                let sums = part(rows, used.take());
                match &mut total {
                    None => total = Some(sums),
                    Some(total) => {
                        join(total, &sums);
                        // Large memory that is given back comes back as pages that have to be cleared.
                        used = Some(sums);
                    }
                }
            }
            total
        }
    };
    total.unwrap_or_default()
}
