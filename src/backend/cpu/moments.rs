//! Moments of a run of consecutive values: one pass around a pivot, sixteen sums side by side.
//!
//! The pivot is the first value; where the mean turns out to lie far from it, the run is reduced once more around a
//! better one ([`PivotSums::better_pivot`]). Whole numbers so large that their sum may be rounded are summed once more,
//! with care. Missing or infinite values show by a sum that is not finite; then all go through once more, with the pivot
//! in the place of these.
//! The sixteen lanes are added up in a fixed tree, so the result does not depend on the width of the machine's vectors;
//! nor does it depend on where the values lie, as runs that follow each other go on with the lane that comes next.

use super::leaf::{LeafColumn, Run};
use super::prefetch;
use crate::summary::dd::two_sum;
use crate::summary::moments::{MomentRun, Moments, Order, PivotSums, scale_of};
use pulp::{Arch, NullaryFnOnce};
use std::iter;
use std::ops::Range;

/// Sums side by side: two AVX-512 registers, enough independent chains to hide the latency of an addition.
pub(super) const LANES: usize = 16;

/// A number that widens to `f64` exactly.
pub(super) trait Lane: Copy + PartialOrd {
    const INFINITY: Self;
    const NEG_INFINITY: Self;
    fn widen(self) -> f64;
}

impl Lane for f64 {
    const INFINITY: Self = Self::INFINITY;
    const NEG_INFINITY: Self = Self::NEG_INFINITY;

    #[inline(always)]
    fn widen(self) -> f64 {
        self
    }
}

impl Lane for f32 {
    const INFINITY: Self = Self::INFINITY;
    const NEG_INFINITY: Self = Self::NEG_INFINITY;

    #[inline(always)]
    fn widen(self) -> f64 {
        f64::from(self)
    }
}

/// The smaller one. A plain comparison compiles to one instruction; a NaN, which it passes over, shows in s1.
#[inline(always)]
fn least<T: PartialOrd>(so_far: T, x: T) -> T {
    if x < so_far { x } else { so_far }
}

/// The larger one.
#[inline(always)]
fn greatest<T: PartialOrd>(so_far: T, x: T) -> T {
    if x > so_far { x } else { so_far }
}

/// The moments of rows of a column.
pub(super) fn of_column(column: LeafColumn<'_>, rows: Range<usize>, order: Order) -> Moments {
    let found = match column.has_nulls() {
        true => None,
        false => of_finite(column.runs(rows.clone()), order),
    };
    found.unwrap_or_else(|| of_mixed(&column.dense(rows), order))
}

/// The moments of values, NaN for missing ones.
pub(super) fn of_values(values: &[f64], order: Order) -> Moments {
    of_finite(iter::once(Run::F64(values)), order).unwrap_or_else(|| of_mixed(values, order))
}

/// The moments of the finite values of runs; `None` where one is not finite or there are none.
fn of_finite<'a>(runs: impl Iterator<Item = Run<'a>> + Clone, order: Order) -> Option<Moments> {
    let pivot = runs.clone().find_map(Run::first)?;
    let values = Whole(runs);
    let sums = values.sums(pivot, order);
    settle(&values, sums, order)
}

/// The moments of the values of runs, given their sums around the first one; `None` where one is not finite.
pub(super) fn of_sums<'a>(
    runs: impl Iterator<Item = Run<'a>> + Clone,
    lanes: &LaneSums,
    order: Order,
) -> Option<Moments> {
    settle(&Whole(runs), lanes.finish(), order)
}

/// The moments of values of which any may be missing (NaN) or infinite.
pub(super) fn of_mixed(values: &[f64], order: Order) -> Moments {
    let mixed = Mixed::new(values);
    let finite = values.iter().find(|x| x.is_finite());
    // Finite values whose sums overflow go through the running state, which chooses its units.
    let moments = finite.map(|first| {
        settle(&mixed, mixed.sums(*first, order), order).unwrap_or_else(|| one_at_a_time(&mixed.finite(), order))
    });
    let infinite = |sign: f64| match mixed.infinite {
        0 => 0,
        _ => values.iter().filter(|x| **x == sign * f64::INFINITY).count() as u64,
    };
    Moments {
        missing: mixed.missing as u64,
        positive_infinite: infinite(1.0),
        negative_infinite: infinite(-1.0),
        ..moments.unwrap_or_else(|| Moments {
            order,
            ..Moments::default()
        })
    }
}

fn one_at_a_time(values: &[f64], order: Order) -> Moments {
    let mut run = MomentRun::default();
    values.iter().for_each(|x| run.push(*x));
    run.finish(order)
}

/// Finite values that can be gone through again.
trait Again {
    /// Their sums around a pivot.
    fn sums(&self, pivot: f64, order: Order) -> Total;
    /// Their sum around a pivot, with what rounding takes from it.
    fn careful_sum(&self, pivot: f64) -> (f64, f64);
    /// All of them.
    fn finite(&self) -> Vec<f64>;
}

/// The moments of values, given their sums around one of them; `None` where one is not finite, or sums overflow.
fn settle(values: &impl Again, total: Total, order: Order) -> Option<Moments> {
    let Total { mut sums, min, max } = total;
    if !sums.s1.is_finite() {
        return None;
    }
    if scale_of(min.abs().max(max.abs())) != 0 {
        return Some(one_at_a_time(&values.finite(), order));
    }
    if let Some(pivot) = sums.better_pivot() {
        sums = values.sums(pivot, order).sums;
    }
    if sums.may_round_integers(min, max) {
        (sums.s1, sums.s1_low) = values.careful_sum(sums.pivot);
    }
    Some(Moments::from_sums(&sums, order, min, max, 0))
}

/// All values of runs.
struct Whole<R>(R);

impl<'a, R: Iterator<Item = Run<'a>> + Clone> Again for Whole<R> {
    fn sums(&self, pivot: f64, order: Order) -> Total {
        total(self.0.clone(), pivot, order)
    }

    fn careful_sum(&self, pivot: f64) -> (f64, f64) {
        careful_sum(self.0.clone(), pivot)
    }

    fn finite(&self) -> Vec<f64> {
        let mut values = Vec::new();
        self.0.clone().for_each(|run| run.for_each(|x| values.push(x)));
        values
    }
}

/// The finite ones among some values. The others have the pivot in their place, which adds nothing to any sum.
struct Mixed<'a> {
    values: &'a [f64],
    missing: usize,
    infinite: usize,
}

impl<'a> Mixed<'a> {
    fn new(values: &'a [f64]) -> Self {
        let (missing, finite) = Arch::new().dispatch(Count { values });
        Self {
            values,
            missing,
            infinite: values.len() - missing - finite,
        }
    }

    fn filled(&self, pivot: f64) -> Vec<f64> {
        let mut filled = vec![0.0; self.values.len()];
        Arch::new().dispatch(Fill {
            values: self.values,
            pivot,
            filled: &mut filled,
        });
        filled
    }
}

impl Again for Mixed<'_> {
    fn sums(&self, pivot: f64, order: Order) -> Total {
        let mut total = total(iter::once(Run::F64(&self.filled(pivot))), pivot, order);
        total.sums.count -= (self.missing + self.infinite) as u64;
        total
    }

    fn careful_sum(&self, pivot: f64) -> (f64, f64) {
        careful_sum(iter::once(Run::F64(&self.filled(pivot))), pivot)
    }

    fn finite(&self) -> Vec<f64> {
        self.values.iter().copied().filter(|x| x.is_finite()).collect()
    }
}

/// How many values are NaN, and how many finite.
struct Count<'a> {
    values: &'a [f64],
}

impl NullaryFnOnce for Count<'_> {
    type Output = (usize, usize);

    #[inline(always)]
    fn call(self) -> Self::Output {
        let (mut missing, mut finite) = (0, 0);
        for x in self.values {
            missing += usize::from(x.is_nan());
            finite += usize::from(x.abs() <= f64::MAX);
        }
        (missing, finite)
    }
}

/// Values with the pivot in the place of those that are not finite.
struct Fill<'a> {
    values: &'a [f64],
    pivot: f64,
    filled: &'a mut [f64],
}

impl NullaryFnOnce for Fill<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { values, pivot, filled } = self;
        for (filled, x) in filled.iter_mut().zip(values) {
            *filled = if x.abs() <= f64::MAX { *x } else { pivot };
        }
    }
}

/// What the lanes of values come to.
#[derive(Debug, Clone, Copy)]
struct Total {
    sums: PivotSums,
    min: f64,
    max: f64,
}

/// Values around a pivot, from beginning to end: lanes that never leave the registers.
fn total<'a>(runs: impl Iterator<Item = Run<'a>>, pivot: f64, order: Order) -> Total {
    match order {
        Order::Second => Arch::new().dispatch(Totalled::<_, false> { runs, pivot }),
        Order::Fourth => Arch::new().dispatch(Totalled::<_, true> { runs, pivot }),
    }
}

struct Totalled<R, const FOURTH: bool> {
    runs: R,
    pivot: f64,
}

impl<'a, R: Iterator<Item = Run<'a>>, const FOURTH: bool> NullaryFnOnce for Totalled<R, FOURTH> {
    type Output = Total;

    #[inline(always)]
    fn call(self) -> Total {
        let mut lanes = LaneSums::new(self.pivot);
        for run in self.runs {
            match run {
                Run::F64(values) => lanes.add::<f64, FOURTH, true>(values),
                Run::F32(values) => lanes.add::<f32, FOURTH, true>(values),
            }
        }
        lanes.total::<FOURTH>()
    }
}

struct Totals<'s> {
    lanes: &'s LaneSums,
}

impl NullaryFnOnce for Totals<'_> {
    type Output = Total;

    #[inline(always)]
    fn call(self) -> Total {
        self.lanes.total::<true>()
    }
}

struct Sums<'s, R, const FOURTH: bool> {
    lanes: &'s mut LaneSums,
    runs: R,
}

impl<'a, R: Iterator<Item = Run<'a>>, const FOURTH: bool> NullaryFnOnce for Sums<'_, R, FOURTH> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for run in self.runs {
            match run {
                Run::F64(values) => self.lanes.add::<f64, FOURTH, false>(values),
                Run::F32(values) => self.lanes.add::<f32, FOURTH, false>(values),
            }
        }
    }
}

/// Sums in lanes: value i of all goes to lane i mod 16, wherever a run ends.
#[derive(Debug)]
pub(super) struct LaneSums {
    count: usize,
    pivot: f64,
    s1: [f64; LANES],
    s2: [f64; LANES],
    s3: [f64; LANES],
    s4: [f64; LANES],
    min: [f64; LANES],
    max: [f64; LANES],
}

impl LaneSums {
    #[inline(always)]
    pub(super) fn new(pivot: f64) -> Self {
        Self {
            count: 0,
            pivot,
            s1: [0.0; LANES],
            s2: [0.0; LANES],
            s3: [0.0; LANES],
            s4: [0.0; LANES],
            min: [f64::INFINITY; LANES],
            max: [f64::NEG_INFINITY; LANES],
        }
    }

    /// Adds values, of which one that is not finite makes s1 not finite.
    pub(super) fn add_runs<'a>(&mut self, runs: impl Iterator<Item = Run<'a>>, order: Order) {
        let lanes = self;
        match order {
            Order::Second => Arch::new().dispatch(Sums::<_, false> { lanes, runs }),
            Order::Fourth => Arch::new().dispatch(Sums::<_, true> { lanes, runs }),
        }
    }

    /// Adds values: all of a leaf, or a piece of it between which other kernels work.
    #[inline(always)]
    fn add<T: Lane, const FOURTH: bool, const WHOLE: bool>(&mut self, values: &[T]) {
        // The rest of a group of lanes that the run before has begun.
        let begun = self.count % LANES;
        let (head, values) = values.split_at(((LANES - begun) % LANES).min(values.len()));
        self.add_few::<T, FOURTH>(begun, head);
        let (chunks, rest) = values.as_chunks::<LANES>();
        let pivot = self.pivot;
        // Variables of their own stay in registers.
        let (mut s1, mut s2, mut s3, mut s4) = (self.s1, self.s2, self.s3, self.s4);
        // Extremes need no widening, and a vector holds twice as many `f32`.
        let (mut min, mut max) = ([T::INFINITY; LANES], [T::NEG_INFINITY; LANES]);
        for chunk in chunks {
            match WHOLE {
                true => prefetch::ahead(chunk),
                false => prefetch::next_piece(chunk),
            }
            for l in 0..LANES {
                let d = chunk[l].widen() - pivot;
                let d2 = d * d;
                s1[l] += d;
                s2[l] += d2;
                if FOURTH {
                    s3[l] += d2 * d;
                    s4[l] += d2 * d2;
                }
            }
            for l in 0..LANES {
                min[l] = least(min[l], chunk[l]);
                max[l] = greatest(max[l], chunk[l]);
            }
        }
        if WHOLE {
            prefetch::farther(values);
        }
        (self.s1, self.s2, self.s3, self.s4) = (s1, s2, s3, s4);
        for l in 0..LANES {
            self.min[l] = least(self.min[l], min[l].widen());
            self.max[l] = greatest(self.max[l], max[l].widen());
        }
        self.count += chunks.len() * LANES;
        self.add_few::<T, FOURTH>(0, rest);
    }

    /// Values for the lanes from `first` on, at most one each.
    #[inline(always)]
    fn add_few<T: Lane, const FOURTH: bool>(&mut self, first: usize, values: &[T]) {
        for (l, x) in (first..).zip(values) {
            let x = x.widen();
            let d = x - self.pivot;
            let d2 = d * d;
            self.s1[l] += d;
            self.s2[l] += d2;
            if FOURTH {
                self.s3[l] += d2 * d;
                self.s4[l] += d2 * d2;
            }
            self.min[l] = least(self.min[l], x);
            self.max[l] = greatest(self.max[l], x);
        }
        self.count += values.len();
    }

    /// What they come to.
    fn finish(&self) -> Total {
        Arch::new().dispatch(Totals { lanes: self })
    }

    #[inline(always)]
    fn total<const FOURTH: bool>(&self) -> Total {
        let sums = PivotSums {
            count: self.count as u64,
            pivot: self.pivot,
            s1: tree(self.s1, |a, b| a + b),
            s1_low: 0.0,
            s2: tree(self.s2, |a, b| a + b),
            s3: if FOURTH { tree(self.s3, |a, b| a + b) } else { 0.0 },
            s4: if FOURTH { tree(self.s4, |a, b| a + b) } else { 0.0 },
        };
        Total {
            sums,
            min: tree(self.min, least),
            max: tree(self.max, greatest),
        }
    }
}

/// Σ(x − pivot) with what rounding takes from it (Ogita, Rump & Oishi 2005, algorithm 4.3): exact for whole numbers.
fn careful_sum<'a>(runs: impl Iterator<Item = Run<'a>>, pivot: f64) -> (f64, f64) {
    let (mut sum, mut low) = (0.0, 0.0);
    for run in runs {
        run.for_each(|x| {
            let (d, d_low) = two_sum(x, -pivot);
            let (total, rounded) = two_sum(sum, d);
            sum = total;
            low += rounded + d_low;
        });
    }
    two_sum(sum, low)
}

/// Combines the lanes in a fixed tree: halves upon halves.
#[inline(always)]
pub(super) fn tree(mut lanes: [f64; LANES], combine: impl Fn(f64, f64) -> f64) -> f64 {
    const { assert!(LANES == 16) };
    // Widths that are known are vectors.
    for l in 0..LANES / 2 {
        lanes[l] = combine(lanes[l], lanes[l + LANES / 2]);
    }
    for l in 0..LANES / 4 {
        lanes[l] = combine(lanes[l], lanes[l + LANES / 4]);
    }
    for l in 0..LANES / 8 {
        lanes[l] = combine(lanes[l], lanes[l + LANES / 8]);
    }
    combine(lanes[0], lanes[1])
}
