//! A column on its way to the device: what the host sees in it, and how it is written.

use super::kernels::Element;
use super::load::{Look, Mode};
use crate::batch::{Column, Values};
use crate::spec::Precision;
use crate::summary::dd::{exponent, ldexp};
use crate::summary::moments::scale_of;
use bytemuck::Pod;
use pulp::{Arch, NullaryFnOnce};
use std::cell::RefCell;
use std::ops::Range;
use wgpu::WriteOnly;

/// Values that are encoded at a time.
const CHUNK: usize = 1024;
/// Deviations that the device takes in `f32` are of columns within 2^±this: their sums, their squares and the inverse
/// of their scale are then in its range.
const F32_EXPONENT_MAX: i32 = 60;
/// Sums side by side.
const LANES: usize = 16;

/// A number that columns hold.
trait Number: Pod {
    const ELEMENT: Element;
    fn wide(self) -> f64;
}

impl Number for f64 {
    const ELEMENT: Element = Element::F64;
    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }
}

impl Number for f32 {
    const ELEMENT: Element = Element::F32;
    #[inline(always)]
    fn wide(self) -> f64 {
        f64::from(self)
    }
}

/// Rows of columns, on their way.
#[derive(Debug, Clone)]
pub(super) struct Columns<'a> {
    pub(super) columns: &'a [Column],
    /// The places that the rows are of, where they are not rows of the columns.
    pub(super) order: Option<&'a [u32]>,
    pub(super) rows: Range<usize>,
    pub(super) mode: Mode,
    pub(super) precision: Precision,
}

thread_local! {
    /// Rows that are brought together, or made whole, before they are looked at.
    static GATHERED: RefCell<(Vec<f64>, Vec<f32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

impl Columns<'_> {
    /// Bytes of a column.
    pub(super) fn stride(&self) -> usize {
        self.rows.len().next_multiple_of(4) * self.mode.element.bytes()
    }

    /// Looks at the columns and writes them one after another, each with its look and its pivot; `false` where values
    /// are beyond the range of the device's numbers.
    pub(super) fn encode(&self, mut out: WriteOnly<'_, [u8]>, looks: &mut [Look], pivots: &mut [[f64; 2]]) -> bool {
        let stride = self.stride();
        let slots = looks.iter_mut().zip(pivots);
        self.columns.iter().zip(slots).enumerate().all(|(i, (column, slot))| {
            let found = self.column(column, out.slice(i * stride..(i + 1) * stride));
            found.map(|(look, pivot)| (*slot.0, *slot.1) = (look, pivot)).is_some()
        })
    }

    fn column(&self, column: &Column, out: WriteOnly<'_, [u8]>) -> Option<(Look, [f64; 2])> {
        let rows = self.rows.clone();
        let row = |k: usize| self.order.map_or(k, |order| order[k] as usize);
        match (&column.values, &column.nulls, self.order) {
            (Values::F64(v), None, None) => self.values(&v[rows], out),
            (Values::F32(v), None, None) => self.values(&v[rows], out),
            (Values::F64(_), ..) => GATHERED.with_borrow_mut(|(wide, _)| {
                wide.clear();
                wide.extend(rows.map(|k| column.get(row(k))));
                self.values(wide, out)
            }),
            (Values::F32(_), ..) => GATHERED.with_borrow_mut(|(_, narrow)| {
                narrow.clear();
                narrow.extend(rows.map(|k| column.get(row(k)) as f32));
                self.values(narrow, out)
            }),
        }
    }

    fn values<T: Number>(&self, values: &[T], mut out: WriteOnly<'_, [u8]>) -> Option<(Look, [f64; 2])> {
        let mut look = look(values);
        let largest = if look.count > 0 {
            look.min.abs().max(look.max.abs())
        } else {
            0.0
        };
        if scale_of(largest) != 0 {
            return None;
        }
        // A column that the device centres, or one that the host centres.
        let as_it_is = self.precision == Precision::Exact || T::ELEMENT == Element::F32;
        if T::ELEMENT == Element::F32 {
            // It also stands for what is missing.
            look.pivot = f64::from(look.pivot as f32);
        }
        if self.precision == Precision::Fast {
            let farthest = (look.max - look.pivot).abs().max((look.min - look.pivot).abs());
            if look.count > 0 && farthest > 0.0 {
                look.exponent = exponent(farthest) + 1;
            }
            let out_of_range = |x: f64| x != 0.0 && exponent(x).abs() > F32_EXPONENT_MAX;
            if as_it_is && (out_of_range(largest) || out_of_range(ldexp(1.0, look.exponent))) {
                return None;
            }
        }
        let Look { pivot, exponent, .. } = look;
        let unit = ldexp(1.0, -exponent);
        if !as_it_is {
            // The deviation is rounded once; what is not finite has none.
            let deviation = |x: T| {
                let x = x.wide();
                if x.is_finite() { (x - pivot) * unit } else { 0.0 }
            };
            write(self.mode.element, values, 0.0, deviation, out);
            return Some((look, [0.0, 1.0]));
        }
        if look.is_clean() && T::ELEMENT == self.mode.element && values.len().is_multiple_of(4) {
            out.copy_from_slice(bytemuck::cast_slice(values));
        } else {
            let finite = |x: T| {
                let x = x.wide();
                if x.is_finite() { x } else { pivot }
            };
            write(self.mode.element, values, pivot, finite, out);
        }
        Some((look, [pivot, unit]))
    }
}

/// Writes a column of values that ends in `pad`.
fn write<T: Number>(element: Element, values: &[T], pad: f64, value: impl Fn(T) -> f64, mut out: WriteOnly<'_, [u8]>) {
    let padding = std::iter::repeat_n(pad, values.len().next_multiple_of(4) - values.len());
    let all = values.iter().map(|x| value(*x)).chain(padding);
    match element {
        Element::F64 => put(all, &mut out),
        Element::F32 => put(all.map(|x| x as f32), &mut out),
    }
}

/// Writes values, some at a time.
fn put<E: Pod>(mut values: impl Iterator<Item = E>, out: &mut WriteOnly<'_, [u8]>) {
    let mut chunk = [E::zeroed(); CHUNK];
    let mut at = 0;
    loop {
        let mut n = 0;
        for (slot, x) in chunk.iter_mut().zip(&mut values) {
            *slot = x;
            n += 1;
        }
        if n == 0 {
            return;
        }
        let bytes: &[u8] = bytemuck::cast_slice(&chunk[..n]);
        out.slice(at..at + bytes.len()).copy_from_slice(bytes);
        at += bytes.len();
    }
}

/// Counts, extremes and a pivot of a column.
fn look<T: Number>(values: &[T]) -> Look {
    let (sum, min, max) = Arch::new().dispatch(Extremes { values });
    let mut look = Look {
        count: values.len() as u64,
        missing: 0,
        positive_infinite: 0,
        negative_infinite: 0,
        min,
        max,
        pivot: 0.0,
        exponent: 0,
    };
    let mut total = sum;
    if !sum.is_finite() {
        // Something is missing or infinite (or the sum is too large, which the extremes will show).
        (look.count, look.min, look.max, total) = (0, f64::INFINITY, f64::NEG_INFINITY, 0.0);
        for x in values.iter().map(|x| x.wide()) {
            if x.is_finite() {
                look.count += 1;
                look.min = look.min.min(x);
                look.max = look.max.max(x);
                total += x;
            } else if x.is_nan() {
                look.missing += 1;
            } else if x > 0.0 {
                look.positive_infinite += 1;
            } else {
                look.negative_infinite += 1;
            }
        }
    }
    look.pivot = pivot(&look, total);
    look
}

/// Near the mean: a multiple of a power of two below a quarter of the standard deviation, so that subtracting it from
/// values with few digits is exact.
///
/// Two values are at the extremes, so the variance is at least range² / (2n).
fn pivot(look: &Look, sum: f64) -> f64 {
    if look.count == 0 {
        return 0.0;
    }
    if look.min == look.max {
        return look.min;
    }
    let mean = (sum / look.count as f64).clamp(look.min, look.max);
    let deviation = (look.max - look.min) / (2.0 * look.count as f64).sqrt();
    let quantum = exponent(deviation) - 2;
    let units = ldexp(mean, -quantum);
    if units.abs() < 4_503_599_627_370_496.0 {
        ldexp(units.round(), quantum)
    } else {
        mean
    }
}

/// The sum, the least and the greatest value; the sum is not finite if a value is not.
struct Extremes<'a, T> {
    values: &'a [T],
}

impl<T: Number> NullaryFnOnce for Extremes<'_, T> {
    type Output = (f64, f64, f64);

    #[inline(always)]
    fn call(self) -> Self::Output {
        let mut sum = [0.0f64; LANES];
        let mut min = [f64::INFINITY; LANES];
        let mut max = [f64::NEG_INFINITY; LANES];
        let (chunks, rest) = self.values.as_chunks::<LANES>();
        let mut take = |l: usize, x: f64| {
            sum[l] += x;
            min[l] = if x < min[l] { x } else { min[l] };
            max[l] = if x > max[l] { x } else { max[l] };
        };
        for chunk in chunks {
            for (l, x) in chunk.iter().enumerate() {
                take(l, x.wide());
            }
        }
        for (l, x) in rest.iter().enumerate() {
            take(l, x.wide());
        }
        (
            sum.iter().sum(),
            min.into_iter().fold(f64::INFINITY, f64::min),
            max.into_iter().fold(f64::NEG_INFINITY, f64::max),
        )
    }
}
