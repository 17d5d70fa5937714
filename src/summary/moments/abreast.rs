//! Rows of eight cells at a time, one cell a lane.
//!
//! The rows of a cell come one after another, and a single column leaves vectors nothing to do side by side. Eight cells
//! go through the operations of [`MomentRun::push`](super::MomentRun::push) together; each has the bits that it has alone.

use super::lanes::{MAX, MIN, MomentLanes, PIVOT, S1, S1_LOW, S2, S2_LOW, S3, S4};
use crate::summary::dd::two_sum;

/// Cells side by side: an AVX-512 register.
pub(crate) const ABREAST: usize = 8;

/// Takes equally many rows of each cell, whose values [fit](MomentLanes::fits).
#[inline(always)]
pub(super) fn push<const FOURTH: bool>(
    cells: &mut [&mut MomentLanes; ABREAST],
    column: usize,
    values: [&[f64]; ABREAST],
) {
    let own = State::of::<FOURTH>(cells, column);
    // Variables of their own stay in registers.
    let pivot = own.pivot;
    let (mut s1, mut s1_low, mut s2, mut s2_low) = (own.s1, own.s1_low, own.s2, own.s2_low);
    let (mut min, mut max, mut s3, mut s4) = (own.min, own.max, own.s3, own.s4);
    let rows = values[0].len();
    let values = values.map(|values| &values[..rows]);
    let blocks = rows.div_ceil(ABREAST);
    for first in (0..blocks).map(|block| block * ABREAST) {
        let count = ABREAST.min(rows - first);
        let mut block = [0.0; ABREAST * ABREAST];
        for (own, values) in block.as_chunks_mut::<ABREAST>().0.iter_mut().zip(&values) {
            match values[first..].first_chunk::<ABREAST>() {
                Some(whole) => *own = *whole,
                None => own[..count].copy_from_slice(&values[first..]),
            }
        }
        let block = take_turns(&take_turns(&take_turns(&block)));
        for x in &block.as_chunks::<ABREAST>().0[..count] {
            for j in 0..ABREAST {
                min[j] = if x[j] < min[j] { x[j] } else { min[j] };
                max[j] = if x[j] > max[j] { x[j] } else { max[j] };
                let (d, d_low) = two_sum(x[j], -pivot[j]);
                let d2 = d * d;
                let (sum, low) = two_sum(s1[j], d);
                s1[j] = sum;
                s1_low[j] += low + d_low;
                let (sum, low) = two_sum(s2[j], d2);
                s2[j] = sum;
                s2_low[j] += low;
                if FOURTH {
                    s3[j] += d2 * d;
                    s4[j] += d2 * d2;
                }
            }
        }
    }
    let own = State {
        pivot,
        s1,
        s1_low,
        s2,
        s2_low,
        min,
        max,
        s3,
        s4,
    };
    own.put::<FOURTH>(cells, column);
}

/// Sums of a column, a lane a cell.
struct State {
    pivot: [f64; ABREAST],
    s1: [f64; ABREAST],
    s1_low: [f64; ABREAST],
    s2: [f64; ABREAST],
    s2_low: [f64; ABREAST],
    min: [f64; ABREAST],
    max: [f64; ABREAST],
    s3: [f64; ABREAST],
    s4: [f64; ABREAST],
}

impl State {
    #[inline(always)]
    fn of<const FOURTH: bool>(cells: &[&mut MomentLanes; ABREAST], column: usize) -> Self {
        let fourth = |of: usize| match FOURTH {
            true => lane(cells, of, column),
            false => [0.0; ABREAST],
        };
        Self {
            pivot: lane(cells, PIVOT, column),
            s1: lane(cells, S1, column),
            s1_low: lane(cells, S1_LOW, column),
            s2: lane(cells, S2, column),
            s2_low: lane(cells, S2_LOW, column),
            min: lane(cells, MIN, column),
            max: lane(cells, MAX, column),
            s3: fourth(S3),
            s4: fourth(S4),
        }
    }

    #[inline(always)]
    fn put<const FOURTH: bool>(&self, cells: &mut [&mut MomentLanes; ABREAST], column: usize) {
        set_lane(cells, S1, column, self.s1);
        set_lane(cells, S1_LOW, column, self.s1_low);
        set_lane(cells, S2, column, self.s2);
        set_lane(cells, S2_LOW, column, self.s2_low);
        set_lane(cells, MIN, column, self.min);
        set_lane(cells, MAX, column, self.max);
        if FOURTH {
            set_lane(cells, S3, column, self.s3);
            set_lane(cells, S4, column, self.s4);
        }
    }
}

#[inline(always)]
fn lane(cells: &[&mut MomentLanes; ABREAST], lane: usize, column: usize) -> [f64; ABREAST] {
    let mut values = [0.0; ABREAST];
    for j in 0..ABREAST {
        values[j] = cells[j].lane(lane, column);
    }
    values
}

#[inline(always)]
fn set_lane(cells: &mut [&mut MomentLanes; ABREAST], lane: usize, column: usize, values: [f64; ABREAST]) {
    for j in 0..ABREAST {
        cells[j].set_lane(lane, column, values[j]);
    }
}

/// The first half and the second half, taking turns: three times, and rows have become columns.
#[inline(always)]
fn take_turns(from: &[f64; ABREAST * ABREAST]) -> [f64; ABREAST * ABREAST] {
    const HALF: usize = ABREAST * ABREAST / 2;
    let mut to = [0.0; ABREAST * ABREAST];
    for k in 0..HALF {
        to[2 * k] = from[k];
        to[2 * k + 1] = from[HALF + k];
    }
    to
}
