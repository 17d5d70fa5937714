//! Co-moments of `f32` columns with `f32` products, where the precision is `fast`.
//!
//! Deviations from a pivot near the mean are rounded to 24 bits, at most 256 of their products are added up one after
//! another in `f32`, and these sums in `f64`. With pivots within 2 standard deviations of the means a product is at most 5 times a
//! variance on average, so the 256 additions of a sum lose at most 128 · 2⁻²⁴ · 5 of it, if all roundings fall alike. They
//! come near that only where rows are sorted behind outliers; else six digits stay. Magnitudes whose squares leave the
//! range of `f32`, or come near its ends, are not for this: [`narrow`] then leaves the leaf to `f64`.

use super::super::leaf::LeafColumn;
use super::{Listwise, Parts, Sums, listwise, sums};
use crate::summary::comoments::{CoMoments, triangle};
use crate::summary::dd::ldexp;

/// First rows whose mean is the pivot.
const PIVOT_ROWS: usize = 64;
/// Standard deviations between a mean and its pivot from which on the sums are taken again around the mean.
const PIVOT_DISTANCE_MAX: f64 = 2.0;
/// Variances below 2^−80 are not for `f32`: products of two such columns come near its least normal number, 2^−126.
const VARIANCE_EXPONENT_MIN: i32 = -80;

/// The co-moments of the rows of these columns, which are `f32`; `None` where magnitudes do not bear it.
pub(super) fn narrow(columns: &[LeafColumn<'_>], rows: usize, parts: Parts<'_>) -> Option<CoMoments> {
    let all = Listwise::all(columns.len(), rows);
    let found = match columns.iter().any(|c| c.has_nulls()) {
        true => None,
        false => around(columns, &all, parts),
    };
    // A sum that is not finite: there are missing or infinite values, or deviations that overflow.
    let (complete, found) = match found {
        Some(found) => (all, found),
        None => {
            let complete = listwise(columns, rows);
            let found = around(columns, &complete, parts)?;
            (complete, found)
        }
    };
    let Listwise {
        present,
        infinite,
        scale,
        ..
    } = complete;
    let Sums { s1, s2, pivots, n } = found;
    Some(CoMoments::from_sums(n, present, infinite, scale, &pivots, &s1, s2))
}

/// The sums around pivots near the means; `None` where they are not finite, or too small.
fn around(columns: &[LeafColumn<'_>], complete: &Listwise, parts: Parts<'_>) -> Option<Sums> {
    let d = columns.len();
    let first = PIVOT_ROWS.min(complete.rows);
    if first == 0 {
        return None;
    }
    let pivot = |(i, column): (usize, &LeafColumn<'_>)| {
        let mut values = [0.0; PIVOT_ROWS];
        complete.centre(i, *column, 0, 0.0, &mut values[..first]);
        f64::from((values.iter().sum::<f64>() / first as f64) as f32)
    };
    let pivots = columns.iter().enumerate().map(pivot).collect();
    let mut found = sums::<f32>(columns, complete, pivots, parts);
    let n = complete.rows as f64;
    let finite = |found: &Sums| {
        let squares = (0..d).map(|i| found.s2[triangle(i, i, d)]);
        squares.zip(&found.s1).all(|(square, sum)| (square + sum).is_finite())
    };
    if !finite(&found) {
        return None;
    }
    let far = |i: usize| {
        let distance = found.s1[i] / n;
        let variance = found.s2[triangle(i, i, d)] / n - distance * distance;
        distance * distance > PIVOT_DISTANCE_MAX * PIVOT_DISTANCE_MAX * variance && distance != 0.0
    };
    if (0..d).any(far) {
        let better = |i: usize| f64::from((found.pivots[i] + found.s1[i] / n) as f32);
        let pivots = (0..d).map(|i| if far(i) { better(i) } else { found.pivots[i] });
        found = sums::<f32>(columns, complete, pivots.collect(), parts);
    }
    let small = |i: usize| found.s2[triangle(i, i, d)] < n * ldexp(1.0, VARIANCE_EXPONENT_MIN);
    let constant = |i: usize| {
        let mut values = (0..complete.rows).map(|k| columns[i].get(complete.row(k)));
        values.all(|x| x == found.pivots[i])
    };
    let bears = |i: usize| !complete.present[i] || !small(i) || constant(i);
    (finite(&found) && (0..d).all(bears)).then_some(found)
}
