//! A column on its way to the device: what the host sees in it, and how it is written.

use super::kernels::Element;
use super::load::{Look, Mode};
use super::pack::Target;
use crate::spec::Precision;
use crate::summary::dd::{exponent, ldexp};
use crate::summary::moments::scale_of;
use bytemuck::Pod;
use pulp::{Arch, NullaryFnOnce};

/// Values that are encoded at a time.
const CHUNK: usize = 1024;
/// Deviations that the device takes in `f32` are of columns within 2^±this: their sums, their squares and the inverse
/// of their scale are then in its range.
const F32_EXPONENT_MAX: i32 = 60;
/// Sums side by side.
const LANES: usize = 16;

/// A number that columns hold.
pub(super) trait Number: Pod {
    const ELEMENT: Element;
    fn wide(self) -> f64;
    fn narrow(x: f64) -> Self;
}

impl Number for f64 {
    const ELEMENT: Element = Element::F64;
    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }
    fn narrow(x: f64) -> Self {
        x
    }
}

impl Number for f32 {
    const ELEMENT: Element = Element::F32;
    #[inline(always)]
    fn wide(self) -> f64 {
        f64::from(self)
    }
    fn narrow(x: f64) -> Self {
        x as Self
    }
}

/// Looks at a column and writes it; nothing is written, and `false` comes back, where its values are beyond the range
/// of the device's numbers.
pub(super) fn encode<T: Number>(target: &mut Target<'_>, mode: Mode, values: &[T]) -> bool {
    let precision = target.load.precision;
    let mut look = look(values);
    let largest = if look.count > 0 {
        look.min.abs().max(look.max.abs())
    } else {
        0.0
    };
    if scale_of(largest) != 0 {
        return false;
    }
    // A column that the device centres in f32, or one that the host centres.
    let as_it_is = precision == Precision::Exact || T::ELEMENT == Element::F32;
    if T::ELEMENT == Element::F32 {
        // It also stands for what is missing.
        look.pivot = f64::from(look.pivot as f32);
    }
    if precision == Precision::Fast {
        let farthest = (look.max - look.pivot).abs().max((look.min - look.pivot).abs());
        if look.count > 0 && farthest > 0.0 {
            look.exponent = exponent(farthest) + 1;
        }
        let out_of_range = |x: f64| x != 0.0 && exponent(x).abs() > F32_EXPONENT_MAX;
        if as_it_is && (out_of_range(largest) || out_of_range(ldexp(1.0, look.exponent))) {
            return false;
        }
    }
    let Look { pivot, exponent, .. } = look;
    let unit = ldexp(1.0, -exponent);
    target.load.looks.push(look);
    match (precision, as_it_is) {
        (Precision::Fast, false) => {
            // The deviation is rounded once; what is not finite has none.
            target.load.pivots.push([0.0, 1.0]);
            let deviation = |x: T| {
                let x = x.wide();
                if x.is_finite() { (x - pivot) * unit } else { 0.0 }
            };
            write(target, Element::F32, values, deviation, |x| deviation(x) as f32);
        }
        _ => {
            target.load.pivots.push([pivot, unit]);
            if look.is_clean() && T::ELEMENT == mode.element && values.len().is_multiple_of(4) {
                let bytes = bytemuck::cast_slice(values);
                let start = (target.at.data + target.load.sizes.data) as usize;
                target.memory.slice(start..start + bytes.len()).copy_from_slice(bytes);
                target.load.sizes.data += bytes.len() as u64;
            } else {
                let finite = |x: T| if x.wide().is_finite() { x } else { T::narrow(pivot) };
                let pad = T::narrow(pivot);
                write_padded(
                    target,
                    mode.element,
                    values,
                    pad,
                    |x| finite(x).wide(),
                    |x| finite(x).wide() as f32,
                );
            }
        }
    }
    true
}

/// Writes a column of values that end in zeros.
pub(super) fn write<T: Number>(
    target: &mut Target<'_>,
    element: Element,
    values: &[T],
    wide: impl Fn(T) -> f64,
    narrow: impl Fn(T) -> f32,
) {
    let padding = values.len().next_multiple_of(4) - values.len();
    let mut put = Put::new(target);
    match element {
        Element::F64 => put.all(values.iter().map(|x| wide(*x)).chain(std::iter::repeat_n(0.0, padding))),
        Element::F32 => put.all(
            values
                .iter()
                .map(|x| narrow(*x))
                .chain(std::iter::repeat_n(0.0, padding)),
        ),
    }
}

/// Writes a column of values that end in `pad`.
fn write_padded<T: Number>(
    target: &mut Target<'_>,
    element: Element,
    values: &[T],
    pad: T,
    wide: impl Fn(T) -> f64,
    narrow: impl Fn(T) -> f32,
) {
    let padding = std::iter::repeat_n(pad, values.len().next_multiple_of(4) - values.len());
    let values = values.iter().copied().chain(padding);
    let mut put = Put::new(target);
    match element {
        Element::F64 => put.all(values.map(wide)),
        Element::F32 => put.all(values.map(narrow)),
    }
}

/// Writes into the data of a submission, some values at a time.
struct Put<'a, 'b> {
    target: &'a mut Target<'b>,
}

impl<'a, 'b> Put<'a, 'b> {
    fn new(target: &'a mut Target<'b>) -> Self {
        Self { target }
    }

    fn all<E: Pod>(&mut self, mut values: impl Iterator<Item = E>) {
        let mut chunk = [E::zeroed(); CHUNK];
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
            let start = (self.target.at.data + self.target.load.sizes.data) as usize;
            self.target
                .memory
                .slice(start..start + bytes.len())
                .copy_from_slice(bytes);
            self.target.load.sizes.data += bytes.len() as u64;
        }
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
