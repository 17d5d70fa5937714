//! Rows of eight cells at a time, one cell a lane.
//!
//! The rows of a cell come one after another, and a single column leaves vectors nothing to do side by side. Eight cells
//! go through the operations of [`MomentRun::push`](super::MomentRun::push) together; each has the bits that it has alone.

use super::lanes::{MAX, MIN, MomentLanes, PIVOT, S1, S1_LOW, S2, S2_LOW, S3, S4};
use crate::summary::dd::two_sum;

/// Cells side by side: an AVX-512 register.
pub(crate) const ABREAST: usize = 8;

/// Sums of a column, a lane a cell.
struct Sums {
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

impl Sums {
    #[expect(clippy::needless_range_loop, reason = "a lane of all, not of one")]
    #[inline(always)]
    fn push<const FOURTH: bool>(&mut self, x: &[f64; ABREAST]) {
        for j in 0..ABREAST {
            self.min[j] = if x[j] < self.min[j] { x[j] } else { self.min[j] };
            self.max[j] = if x[j] > self.max[j] { x[j] } else { self.max[j] };
            let (d, d_low) = two_sum(x[j], -self.pivot[j]);
            let d2 = d * d;
            let (sum, low) = two_sum(self.s1[j], d);
            self.s1[j] = sum;
            self.s1_low[j] += low + d_low;
            let (sum, low) = two_sum(self.s2[j], d2);
            self.s2[j] = sum;
            self.s2_low[j] += low;
            if FOURTH {
                self.s3[j] += d2 * d;
                self.s4[j] += d2 * d2;
            }
        }
    }
}

/// Takes equally many rows of each cell, whose values [fit](MomentLanes::fits).
#[inline(always)]
pub(super) fn push<const FOURTH: bool>(
    cells: &mut [&mut MomentLanes; ABREAST],
    column: usize,
    values: [&[f64]; ABREAST],
) {
    let mut sums = Sums {
        pivot: lane(cells, PIVOT, column),
        s1: lane(cells, S1, column),
        s1_low: lane(cells, S1_LOW, column),
        s2: lane(cells, S2, column),
        s2_low: lane(cells, S2_LOW, column),
        min: lane(cells, MIN, column),
        max: lane(cells, MAX, column),
        s3: if FOURTH {
            lane(cells, S3, column)
        } else {
            [0.0; ABREAST]
        },
        s4: if FOURTH {
            lane(cells, S4, column)
        } else {
            [0.0; ABREAST]
        },
    };
    let rows = values[0].len();
    let values = values.map(|values| &values[..rows]);
    for first in (0..rows / ABREAST).map(|block| block * ABREAST) {
        let mut block = [0.0; ABREAST * ABREAST];
        for (own, values) in block.as_chunks_mut::<ABREAST>().0.iter_mut().zip(&values) {
            own.copy_from_slice(&values[first..first + ABREAST]);
        }
        let block = take_turns(&take_turns(&take_turns(&block)));
        for row in block.as_chunks::<ABREAST>().0 {
            sums.push::<FOURTH>(row);
        }
    }
    let rests = values.map(|values| &values[rows / ABREAST * ABREAST..]);
    for row in 0..rests[0].len() {
        sums.push::<FOURTH>(&rests.map(|values| values[row]));
    }
    set_lane(cells, S1, column, sums.s1);
    set_lane(cells, S1_LOW, column, sums.s1_low);
    set_lane(cells, S2, column, sums.s2);
    set_lane(cells, S2_LOW, column, sums.s2_low);
    set_lane(cells, MIN, column, sums.min);
    set_lane(cells, MAX, column, sums.max);
    if FOURTH {
        set_lane(cells, S3, column, sums.s3);
        set_lane(cells, S4, column, sums.s4);
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
