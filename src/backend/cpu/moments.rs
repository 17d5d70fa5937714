//! Moments of a run of consecutive values: one pass around a pivot, sixteen sums side by side.
//!
//! The pivot is the first value; where the mean turns out to lie far from it, the run is reduced once more around a
//! better one ([`PivotSums::better_pivot`]). Whole numbers so large that their sum may be rounded are summed once more,
//! with care. A run with missing or infinite values is compacted first: it shows by a sum that is not finite.
//! The sixteen lanes are added up in a fixed tree, so the result does not depend on the width of the machine's vectors.

use crate::batch::{Column, Values};
use crate::summary::dd::two_sum;
use crate::summary::moments::{MomentRun, Moments, Order, PivotSums, scale_of};
use pulp::{Arch, NullaryFnOnce};
use std::ops::Range;

/// Sums side by side: two AVX-512 registers, enough independent chains to hide the latency of an addition.
pub(super) const LANES: usize = 16;

/// A number that widens to `f64` exactly.
pub(super) trait Lane: Copy + Default {
    fn widen(self) -> f64;
}

impl Lane for f64 {
    #[inline(always)]
    fn widen(self) -> f64 {
        self
    }
}

impl Lane for f32 {
    #[inline(always)]
    fn widen(self) -> f64 {
        f64::from(self)
    }
}

/// The moments of rows of a column.
pub(super) fn of_column(column: &Column, rows: Range<usize>, order: Order) -> Moments {
    if column.nulls.is_none() {
        let clean = match &column.values {
            Values::F64(v) => of_finite(&v[rows.clone()], order),
            Values::F32(v) => of_finite(&v[rows.clone()], order),
        };
        if let Some(moments) = clean {
            return moments;
        }
    }
    let values: Vec<f64> = rows.map(|i| column.get(i)).collect();
    of_values(&values, order)
}

/// The moments of values, NaN for missing ones.
pub(super) fn of_values(values: &[f64], order: Order) -> Moments {
    if let Some(moments) = of_finite(values, order) {
        return moments;
    }
    let mut counts = Moments::default();
    let mut finite = Vec::with_capacity(values.len());
    for x in values {
        if x.is_finite() {
            finite.push(*x);
        } else if x.is_nan() {
            counts.missing += 1;
        } else if *x > 0.0 {
            counts.positive_infinite += 1;
        } else {
            counts.negative_infinite += 1;
        }
    }
    let moments = if finite.is_empty() {
        Moments {
            order,
            ..Moments::default()
        }
    } else {
        // Finite values whose sums overflow go through the running state, which chooses its units.
        of_finite(&finite, order).unwrap_or_else(|| one_at_a_time(&finite, order))
    };
    Moments {
        missing: counts.missing,
        positive_infinite: counts.positive_infinite,
        negative_infinite: counts.negative_infinite,
        ..moments
    }
}

fn one_at_a_time(values: &[f64], order: Order) -> Moments {
    let mut run = MomentRun::default();
    values.iter().for_each(|x| run.push(*x));
    run.finish(order)
}

/// The moments of finite values; `None` where one is not finite or there are none.
fn of_finite<T: Lane>(values: &[T], order: Order) -> Option<Moments> {
    let first = values.first()?.widen();
    let (mut sums, min, max) = sums(values, first, order);
    if !sums.s1.is_finite() {
        return None;
    }
    if scale_of(min.abs().max(max.abs())) != 0 {
        let wide: Vec<f64> = values.iter().map(|x| x.widen()).collect();
        return Some(one_at_a_time(&wide, order));
    }
    if let Some(pivot) = sums.better_pivot() {
        sums = self::sums(values, pivot, order).0;
    }
    if sums.may_round_integers(min, max) {
        (sums.s1, sums.s1_low) = careful_sum(values, sums.pivot);
    }
    Some(Moments::from_sums(&sums, order, min, max, 0))
}

/// Power sums around `pivot`, the least and the greatest value. One that is not finite makes s1 not finite.
fn sums<T: Lane>(values: &[T], pivot: f64, order: Order) -> (PivotSums, f64, f64) {
    match order {
        Order::Second => Arch::new().dispatch(Sums::<T, false> { values, pivot }),
        Order::Fourth => Arch::new().dispatch(Sums::<T, true> { values, pivot }),
    }
}

struct Sums<'a, T, const FOURTH: bool> {
    values: &'a [T],
    pivot: f64,
}

impl<T: Lane, const FOURTH: bool> NullaryFnOnce for Sums<'_, T, FOURTH> {
    type Output = (PivotSums, f64, f64);

    #[inline(always)]
    fn call(self) -> Self::Output {
        let pivot = self.pivot;
        let mut s1 = [0.0f64; LANES];
        let mut s2 = [0.0f64; LANES];
        let mut s3 = [0.0f64; LANES];
        let mut s4 = [0.0f64; LANES];
        let mut min = [f64::INFINITY; LANES];
        let mut max = [f64::NEG_INFINITY; LANES];
        let (chunks, rest) = self.values.as_chunks::<LANES>();
        for chunk in chunks {
            for l in 0..LANES {
                let x = chunk[l].widen();
                let d = x - pivot;
                let d2 = d * d;
                s1[l] += d;
                s2[l] += d2;
                if FOURTH {
                    s3[l] += d2 * d;
                    s4[l] += d2 * d2;
                }
                // Plain comparisons compile to one instruction each; a NaN, which they pass over, shows in s1.
                min[l] = if x < min[l] { x } else { min[l] };
                max[l] = if x > max[l] { x } else { max[l] };
            }
        }
        for (l, x) in rest.iter().enumerate() {
            let x = x.widen();
            let d = x - pivot;
            let d2 = d * d;
            s1[l] += d;
            s2[l] += d2;
            if FOURTH {
                s3[l] += d2 * d;
                s4[l] += d2 * d2;
            }
            min[l] = if x < min[l] { x } else { min[l] };
            max[l] = if x > max[l] { x } else { max[l] };
        }
        let sums = PivotSums {
            count: self.values.len() as u64,
            pivot,
            s1: tree(s1, |a, b| a + b),
            s1_low: 0.0,
            s2: tree(s2, |a, b| a + b),
            s3: tree(s3, |a, b| a + b),
            s4: tree(s4, |a, b| a + b),
        };
        (sums, tree(min, f64::min), tree(max, f64::max))
    }
}

/// Σ(x − pivot) with what rounding takes from it (Ogita, Rump & Oishi 2005, algorithm 4.3): exact for whole numbers.
fn careful_sum<T: Lane>(values: &[T], pivot: f64) -> (f64, f64) {
    let (mut sum, mut low) = (0.0, 0.0);
    for x in values {
        let (d, d_low) = two_sum(x.widen(), -pivot);
        let (total, rounded) = two_sum(sum, d);
        sum = total;
        low += rounded + d_low;
    }
    two_sum(sum, low)
}

/// Combines the lanes in a fixed tree: halves upon halves.
#[inline(always)]
pub(super) fn tree(mut lanes: [f64; LANES], combine: impl Fn(f64, f64) -> f64) -> f64 {
    let mut width = LANES / 2;
    while width > 0 {
        for l in 0..width {
            lanes[l] = combine(lanes[l], lanes[l + width]);
        }
        width /= 2;
    }
    lanes[0]
}
