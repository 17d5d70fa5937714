//! Co-moments of a leaf with double-double products, for regressions: sums of exact products ([`crate::summary::dd`]),
//! eight rows side by side.

use super::super::leaf::LeafColumn;
use super::{Listwise, PartSums, Parts, listwise, of_parts};
use crate::summary::comoments::{ExactCoMoments, triangle};
use crate::summary::dd::{Dd, two_product, two_sum};
use pulp::{Arch, NullaryFnOnce};
use std::ops::Range;

/// Rows that go through the kernel together.
const STEP_ROWS: usize = 1024;
/// Rows side by side.
const LANES: usize = 8;

/// The co-moments of the rows of these columns with double-double products, whose parts are taken so.
pub(in crate::backend::cpu) fn exact(columns: &[LeafColumn<'_>], rows: usize, parts: Parts<'_>) -> ExactCoMoments {
    let d = columns.len();
    let clean = |c: &LeafColumn<'_>| !c.has_nulls() && c.values(0..rows).all(f64::is_finite);
    let mut complete = if columns.iter().all(clean) {
        Listwise::all(d, rows)
    } else {
        listwise(columns, rows)
    };
    if complete.rows == 0 {
        return ExactCoMoments {
            present: complete.present,
            infinite: complete.infinite,
            ..ExactCoMoments::new(d)
        };
    }
    let mut pivots = complete.pivots(columns);
    let (mut s1, mut s2) = exact_sums(columns, &complete, &pivots, parts);
    if complete.choose_scale(columns, &pivots, |i| s2[triangle(i, i, d)].hi) {
        pivots = complete.pivots(columns);
        (s1, s2) = exact_sums(columns, &complete, &pivots, parts);
    }
    let Listwise {
        rows,
        present,
        infinite,
        scale,
        ..
    } = complete;
    ExactCoMoments::from_sums(rows as u64, present, infinite, scale, &pivots, &s1, s2)
}

/// Σd and the upper triangle of Σd dᵀ around these pivots, in double-double.
fn exact_sums(columns: &[LeafColumn<'_>], complete: &Listwise, pivots: &[f64], parts: Parts<'_>) -> PartSums<Dd> {
    let part = |rows, sums: &mut PartSums<Dd>| exact_part(columns, complete, pivots, rows, sums);
    let add = |own: &mut Dd, later: &Dd| *own = *own + *later;
    of_parts(columns.len(), complete.rows, parts, part, add)
}

fn exact_part(
    columns: &[LeafColumn<'_>],
    complete: &Listwise,
    pivots: &[f64],
    rows: Range<usize>,
    (s1, s2): &mut PartSums<Dd>,
) {
    let d = columns.len();
    // Deviations of a step as exact pairs; the last step is padded with zeros.
    let length = STEP_ROWS.min(rows.len().next_multiple_of(LANES));
    let (mut hi, mut lo) = (vec![0.0; d * length], vec![0.0; d * length]);
    let mut values = vec![0.0; length];
    for from in rows.clone().step_by(length) {
        let step = length.min(rows.end - from);
        for i in 0..d {
            complete.centre(i, columns[i], from, 0.0, &mut values[..step]);
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
            s1,
            s2,
        });
    }
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
    let mut sum = [0.0f64; LANES];
    let mut error = [0.0f64; LANES];
    let (hi, lo) = (hi.as_chunks::<LANES>().0, lo.as_chunks::<LANES>().0);
    if let Some((hi2, lo2)) = other {
        let (hi2, lo2) = (hi2.as_chunks::<LANES>().0, lo2.as_chunks::<LANES>().0);
        for (((a, al), b), bl) in hi.iter().zip(lo).zip(hi2).zip(lo2) {
            for l in 0..LANES {
                let (p, e) = two_product(a[l], b[l]);
                let e = e + (a[l] * bl[l] + al[l] * b[l]);
                add_lane(&mut sum[l], &mut error[l], p, e);
            }
        }
    } else {
        for (a, al) in hi.iter().zip(lo) {
            for l in 0..LANES {
                add_lane(&mut sum[l], &mut error[l], a[l], al[l]);
            }
        }
    }
    (0..LANES).fold(Dd::ZERO, |total, l| total + Dd::sum(sum[l], error[l]))
}

/// (sum, error) += (p, e), renormalised: the error of n additions stays below n · 2⁻¹⁰⁴ of the largest partial sum.
#[inline(always)]
fn add_lane(sum: &mut f64, error: &mut f64, p: f64, e: f64) {
    let (s, t) = two_sum(*sum, p);
    let t = t + (*error + e);
    *sum = s + t;
    *error = t - (*sum - s);
}
