//! Differences and gradients of consecutive rows, row by row.
//!
//! A difference is xᵢ − xᵢ₋₁, per second where there are times. A gradient is of second order inside: with the spacings
//! a before and b behind a row and the slopes s = (xᵢ − xᵢ₋₁)/a and t = (xᵢ₊₁ − xᵢ)/b, it is (b·s + a·t)/(a + b),
//! which is (a²·xᵢ₊₁ + (b² − a²)·xᵢ − b²·xᵢ₋₁)/(a·b·(a + b)), the formula of numpy's `gradient`; without times the
//! spacings are 1, and it is (xᵢ₊₁ − xᵢ₋₁)/2. At an edge it is the slope (order 1), or that of the parabola through three rows
//! (order 2).

use super::rolling::{ABSENT, Rows};
use crate::summary::differences::NS_PER_SECOND;
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;
use std::ops::Range;

/// Rows that one task takes: they and their results stay in the second-level cache.
const TASK_ROWS: usize = 1 << 15;
/// Rows below which all are done by the calling thread.
const PARALLEL_ROWS_MIN: usize = 1 << 17;

/// A row as its neighbours see it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    pub(crate) value: f64,
    /// Event time, or 0.
    pub(crate) time_ns: i64,
}

/// From one row to the next, in seconds; 1 without times.
#[inline(always)]
fn spacing(timed: bool, from: i64, to: i64) -> f64 {
    if timed {
        // It may exceed i64: as a difference of two it is exact to 53 bits either way.
        to.wrapping_sub(from) as u64 as f64 / NS_PER_SECOND
    } else {
        1.0
    }
}

#[inline(always)]
fn or_absent(x: f64) -> f64 {
    if x.is_nan() { ABSENT } else { x }
}

/// The difference between two rows; [`ABSENT`] where a value is missing, or the time stands still.
pub(crate) fn difference(timed: bool, from: Point, to: Point) -> f64 {
    or_absent(slope(timed, from, to))
}

fn slope(timed: bool, from: Point, to: Point) -> f64 {
    if timed && from.time_ns == to.time_ns {
        return f64::NAN;
    }
    (to.value - from.value) / spacing(timed, from.time_ns, to.time_ns)
}

/// The gradient at the second of three rows.
pub(crate) fn gradient(timed: bool, [p, q, r]: [Point; 3]) -> f64 {
    if !timed {
        return or_absent((r.value - p.value) / 2.0);
    }
    let (a, b) = (
        spacing(timed, p.time_ns, q.time_ns),
        spacing(timed, q.time_ns, r.time_ns),
    );
    or_absent(weighted(slope(timed, p, q), slope(timed, q, r), a, b))
}

#[inline(always)]
fn weighted(s: f64, t: f64, a: f64, b: f64) -> f64 {
    (b * s + a * t) / (a + b)
}

/// The gradient at the first or the last of three rows, which are in their order, of the parabola through them.
pub(crate) fn gradient_at_edge(timed: bool, at_end: bool, [p, q, r]: [Point; 3]) -> f64 {
    let (a, b) = (
        spacing(timed, p.time_ns, q.time_ns),
        spacing(timed, q.time_ns, r.time_ns),
    );
    let (s, t) = (slope(timed, p, q), slope(timed, q, r));
    or_absent(match at_end {
        false => s - (t - s) * (a / (a + b)),
        true => t + (t - s) * (b / (a + b)),
    })
}

/// The difference of each row behind the first from the one before it, into `out`, which is one shorter. The ranges in
/// which some are [`ABSENT`].
pub(crate) fn differences<R: Rows<Row = f64>>(rows: R, times: Option<&[i64]>, out: &mut [f64]) -> Vec<Range<usize>> {
    in_tasks(out, |range, out| {
        let rows = rows.slice(range.start..range.end + 1);
        let times = times.map(|times| &times[range.start..range.end + 1]);
        Arch::new().dispatch(Kernel::<R, false> { rows, times, out })
    })
}

/// The gradient at each row between the first and the last, into `out`, which is two shorter. The ranges in which some
/// are [`ABSENT`].
pub(crate) fn gradients<R: Rows<Row = f64>>(rows: R, times: Option<&[i64]>, out: &mut [f64]) -> Vec<Range<usize>> {
    in_tasks(out, |range, out| {
        let rows = rows.slice(range.start..range.end + 2);
        let times = times.map(|times| &times[range.start..range.end + 2]);
        Arch::new().dispatch(Kernel::<R, true> { rows, times, out })
    })
}

fn in_tasks(out: &mut [f64], work: impl Fn(Range<usize>, &mut [f64]) -> bool + Sync) -> Vec<Range<usize>> {
    let task = |(k, out): (usize, &mut [f64])| {
        let range = k * TASK_ROWS..k * TASK_ROWS + out.len();
        work(range.clone(), out).then_some(range)
    };
    if out.len() < PARALLEL_ROWS_MIN {
        out.chunks_mut(TASK_ROWS).enumerate().filter_map(task).collect()
    } else {
        out.par_chunks_mut(TASK_ROWS).enumerate().filter_map(task).collect()
    }
}

/// Whether some result is absent.
struct Kernel<'a, R, const GRADIENT: bool> {
    rows: R,
    times: Option<&'a [i64]>,
    out: &'a mut [f64],
}

impl<R: Rows<Row = f64>, const GRADIENT: bool> NullaryFnOnce for Kernel<'_, R, GRADIENT> {
    type Output = bool;

    #[inline(always)]
    fn call(self) -> bool {
        let Self { rows, times, out } = self;
        let length = out.len();
        let mut lacks = false;
        let rows = rows.slice(0..length + 1 + usize::from(GRADIENT));
        match (times, GRADIENT) {
            (None, false) => {
                for (i, out) in out.iter_mut().enumerate() {
                    let x = rows.get(i + 1) - rows.get(i);
                    lacks |= x.is_nan();
                    *out = or_absent(x);
                }
            }
            (None, true) => {
                for (i, out) in out.iter_mut().enumerate() {
                    let x = (rows.get(i + 2) - rows.get(i)) / 2.0;
                    lacks |= x.is_nan();
                    *out = or_absent(x);
                }
            }
            (Some(times), false) => {
                let times = &times[..length + 1];
                for i in 0..length {
                    let h = spacing(true, times[i], times[i + 1]);
                    let x = (rows.get(i + 1) - rows.get(i)) / h;
                    let x = if h == 0.0 { f64::NAN } else { x };
                    lacks |= x.is_nan();
                    out[i] = or_absent(x);
                }
            }
            (Some(times), true) => {
                let times = &times[..length + 2];
                for i in 0..length {
                    let (a, b) = (
                        spacing(true, times[i], times[i + 1]),
                        spacing(true, times[i + 1], times[i + 2]),
                    );
                    let (s, t) = (
                        (rows.get(i + 1) - rows.get(i)) / a,
                        (rows.get(i + 2) - rows.get(i + 1)) / b,
                    );
                    let x = weighted(s, t, a, b);
                    let x = if a == 0.0 || b == 0.0 { f64::NAN } else { x };
                    lacks |= x.is_nan();
                    out[i] = or_absent(x);
                }
            }
        }
        lacks
    }
}
