//! Running sums of many rows: from a boundary backwards and forwards, several segments side by side.
//!
//! Every sum is made of the same additions in the same order as one of [`Run`](super::sums::Run), row by row.

use super::sums::{LANES, Sums, segment_rows};
use std::ops::Range;

/// Sums of a row at most.
pub(super) const WIDTH_MAX: usize = 5;

/// Consecutive rows of one column or two.
pub(crate) trait Rows: Copy + Send + Sync {
    type Row: Copy + Default + std::fmt::Debug + Send + Sync;
    fn len(self) -> usize;
    fn get(self, i: usize) -> Self::Row;
    fn slice(self, range: Range<usize>) -> Self;
    /// Reads a value of every line of the cache in turn, so that the rows are near when several places of them are read
    /// side by side, which the machine does not foresee.
    fn touch(self);
}

/// Values of a line of the cache, of eight bytes each.
const LINE_VALUES: usize = 8;

#[inline(always)]
fn touch<T: Copy>(values: &[T]) {
    values.iter().step_by(LINE_VALUES).for_each(|x| {
        std::hint::black_box(*x);
    });
}

impl Rows for &[f64] {
    type Row = f64;

    #[inline(always)]
    fn len(self) -> usize {
        <[f64]>::len(self)
    }

    #[inline(always)]
    fn get(self, i: usize) -> f64 {
        self[i]
    }

    #[inline(always)]
    fn slice(self, range: Range<usize>) -> Self {
        &self[range]
    }

    #[inline(always)]
    fn touch(self) {
        touch(self);
    }
}

impl Rows for &[f32] {
    type Row = f64;

    #[inline(always)]
    fn len(self) -> usize {
        <[f32]>::len(self)
    }

    #[inline(always)]
    fn get(self, i: usize) -> f64 {
        f64::from(self[i])
    }

    #[inline(always)]
    fn slice(self, range: Range<usize>) -> Self {
        &self[range]
    }

    #[inline(always)]
    fn touch(self) {
        touch(self);
    }
}

impl Rows for [&[f64]; 2] {
    type Row = [f64; 2];

    #[inline(always)]
    fn len(self) -> usize {
        self[0].len()
    }

    #[inline(always)]
    fn get(self, i: usize) -> [f64; 2] {
        [self[0][i], self[1][i]]
    }

    #[inline(always)]
    fn slice(self, range: Range<usize>) -> Self {
        self.map(|column| &column[range.clone()])
    }

    #[inline(always)]
    fn touch(self) {
        self.into_iter().for_each(touch);
    }
}

/// Windows of one block, all of which hold the boundary behind row `start + n − 1`: window j of the block has the last
/// n − j rows before it and the first j behind it.
pub(super) struct Block<'a, R> {
    /// The first row of the block, and the place of its first window.
    pub(super) start: usize,
    /// Which windows of the block these are.
    pub(super) windows: Range<usize>,
    /// Sum by sum, by window: of the rows before the boundary.
    pub(super) before: [&'a [f64]; WIDTH_MAX],
    /// Of the rows behind it.
    pub(super) behind: [&'a [f64]; WIDTH_MAX],
    /// The pivots of both.
    pub(super) pivots: [R; 2],
}

impl<R> Block<'_, R> {
    /// The places of the windows among all.
    #[inline(always)]
    pub(super) fn places(&self) -> Range<usize> {
        self.start + self.windows.start..self.start + self.windows.end
    }
}

/// Calls `each` with all windows of `n` rows, by block or by parts of one: window i is rows i .. i + n.
#[inline(always)]
pub(super) fn for_blocks<S: Sums, R: Rows<Row = S::Row>>(rows: R, n: usize, mut each: impl FnMut(Block<'_, S::Row>)) {
    let windows = rows.len() + 1 - n;
    let segment = segment_rows(n);
    let at_once = if segment == n { LANES } else { 1 };
    let part = segment * LANES;
    let mut before: Vec<Vec<f64>> = vec![vec![0.0; at_once * n]; S::WIDTH];
    let mut behind: Vec<Vec<f64>> = vec![vec![0.0; part + 1]; S::WIDTH];
    let mut start = 0;
    while start < windows {
        let blocks = at_once.min((windows - start).div_ceil(n));
        let ahead = |k: usize| rows.len().min(start + k * n);
        rows.slice(ahead(at_once + 1)..ahead(2 * at_once + 1)).touch();
        let first = |k: usize| rows.slice(start + k * n..start + (k + 1) * n);
        let second = |k: usize| {
            let start = rows.len().min(start + (k + 1) * n);
            rows.slice(start..rows.len().min(start + n - 1))
        };
        let pivots = |k: usize| {
            let (last, next) = (start + (k + 1) * n - 1, start + (k + 1) * n);
            [last, if next < rows.len() { next } else { last }].map(|row| rows.get(row))
        };
        if at_once == 1 {
            scan_before::<S, R>(first(0), segment, &mut before);
            let (pivots, rows) = (pivots(0), second(0));
            behind
                .iter_mut()
                .enumerate()
                .for_each(|(w, sums)| sums[0] = S::default().get(w));
            let windows = n.min(windows - start);
            for from in (0..windows).step_by(part) {
                let to = windows.min(from + part);
                scan_behind::<S, R>(rows.slice(from..to.min(rows.len())), pivots[1], segment, &mut behind);
                each(Block {
                    start,
                    windows: from..to,
                    before: std::array::from_fn(|w| before.get(w).map_or(&[][..], |sums| &sums[from..to])),
                    behind: std::array::from_fn(|w| behind.get(w).map_or(&[][..], |sums| &sums[..to - from])),
                    pivots,
                });
                behind.iter_mut().for_each(|sums| sums[0] = sums[part]);
            }
        } else {
            if blocks == LANES {
                scan_blocks::<S, R, LANES, true>(std::array::from_fn(first), n, 0, &mut before);
                scan_blocks::<S, R, LANES, false>(std::array::from_fn(second), n, 0, &mut behind);
            } else {
                for k in 0..blocks {
                    scan_blocks::<S, R, 1, true>([first(k)], n, k, &mut before);
                    scan_blocks::<S, R, 1, false>([second(k)], n, k, &mut behind);
                }
            }
            for k in 0..blocks {
                let start = start + k * n;
                let of_block = k * n..(k + 1) * n;
                each(Block {
                    start,
                    windows: 0..n.min(windows - start),
                    before: std::array::from_fn(|w| before.get(w).map_or(&[][..], |sums| &sums[of_block.clone()])),
                    behind: std::array::from_fn(|w| behind.get(w).map_or(&[][..], |sums| &sums[of_block.clone()])),
                    pivots: pivots(k),
                });
            }
        }
        start += blocks * n;
    }
}

/// The sums of blocks of one segment each, side by side, into the places of block `k` and those behind it.
#[inline(always)]
fn scan_blocks<S: Sums, R: Rows<Row = S::Row>, const L: usize, const BACK: bool>(
    rows: [R; L],
    n: usize,
    k: usize,
    room: &mut [Vec<f64>],
) {
    let lead = usize::from(!BACK);
    let mut out: [[&mut [f64]; L]; WIDTH_MAX] = empty();
    for (w, sums) in room.iter_mut().enumerate() {
        let mut blocks = sums[k * n..(k + L) * n].chunks_exact_mut(n);
        out[w] = std::array::from_fn(|l| {
            let block = blocks.next().unwrap_or_default();
            if !BACK {
                block[0] = S::default().get(w);
            }
            &mut block[lead..lead + rows[l].len()]
        });
    }
    scan::<S, R, L, BACK>(rows, pivots::<R, L, BACK>(rows), out);
}

/// The sums of all rows of a block of many segments, from each to the last.
#[inline(always)]
fn scan_before<S: Sums, R: Rows<Row = S::Row>>(rows: R, segment: usize, room: &mut [Vec<f64>]) {
    let length = rows.len();
    let pivot = rows.get(length - 1);
    for near in (0..length).step_by(LANES * segment) {
        let far = length.min(near + LANES * segment);
        // Lane l is segment l as seen from the boundary.
        let lane = |l: usize| length - far.min(near + l * segment);
        let lanes: [R; LANES] = std::array::from_fn(|l| rows.slice(lane(l + 1)..lane(l)));
        let mut out: [[&mut [f64]; LANES]; WIDTH_MAX] = empty();
        for (w, sums) in room.iter_mut().enumerate() {
            let mut parts = sums[length - far..length - near].rchunks_mut(segment);
            out[w] = std::array::from_fn(|_| parts.next().unwrap_or_default());
        }
        scan::<S, R, LANES, true>(lanes, [pivot; LANES], out);
    }
    for near in (segment..length).step_by(segment) {
        let far = length.min(near + segment);
        S::join_all(room, length - near, length - far..length - near);
    }
}

/// The sums of the next rows behind the boundary, [`LANES`] segments at most, into the places behind the first, which
/// has those of all rows before them.
#[inline(always)]
fn scan_behind<S: Sums, R: Rows<Row = S::Row>>(rows: R, pivot: S::Row, segment: usize, room: &mut [Vec<f64>]) {
    let length = rows.len();
    let lane = |l: usize| length.min(l * segment);
    let lanes: [R; LANES] = std::array::from_fn(|l| rows.slice(lane(l)..lane(l + 1)));
    let mut out: [[&mut [f64]; LANES]; WIDTH_MAX] = empty();
    for (w, sums) in room.iter_mut().enumerate() {
        let mut parts = sums[1..1 + length].chunks_mut(segment);
        out[w] = std::array::from_fn(|_| parts.next().unwrap_or_default());
    }
    scan::<S, R, LANES, false>(lanes, [pivot; LANES], out);
    for from in (0..length).step_by(segment) {
        S::join_all(room, from, 1 + from..1 + length.min(from + segment));
    }
}

/// Lanes without room.
#[inline(always)]
fn empty<'a, const L: usize>() -> [[&'a mut [f64]; L]; WIDTH_MAX] {
    std::array::from_fn(|_| std::array::from_fn(|_| &mut [][..]))
}

/// The row next to the boundary of each of these.
#[inline(always)]
fn pivots<R: Rows, const L: usize, const BACK: bool>(rows: [R; L]) -> [R::Row; L] {
    rows.map(|rows| match rows.len() {
        0 => R::Row::default(),
        n => rows.get(if BACK { n - 1 } else { 0 }),
    })
}

/// Running sums of each lane, beside its rows.
#[inline(always)]
fn scan<S: Sums, R: Rows<Row = S::Row>, const L: usize, const BACK: bool>(
    rows: [R; L],
    pivots: [S::Row; L],
    mut out: [[&mut [f64]; L]; WIDTH_MAX],
) {
    let common = rows.iter().map(|rows| rows.len()).min().unwrap_or(0);
    let mut sums = [S::default(); L];
    {
        // The part that all have, cut so that no index needs a check.
        let near = |length: usize| if BACK { length - common..length } else { 0..common };
        let rows: [R; L] = std::array::from_fn(|l| rows[l].slice(near(rows[l].len())));
        let mut cut: [[&mut [f64]; L]; WIDTH_MAX] = empty();
        for (cut, out) in cut.iter_mut().zip(&mut out).take(S::WIDTH) {
            let mut lanes = out.iter_mut();
            *cut = std::array::from_fn(|_| {
                let lane: &mut [f64] = lanes.next().map_or(&mut [], |lane| lane);
                let near = near(lane.len());
                &mut lane[near]
            });
        }
        for j in 0..common {
            let i = if BACK { common - 1 - j } else { j };
            for l in 0..L {
                sums[l].add(rows[l].get(i), pivots[l]);
                for (w, cut) in cut.iter_mut().enumerate().take(S::WIDTH) {
                    cut[l][i] = sums[l].get(w);
                }
            }
        }
    }
    for l in 0..L {
        let length = rows[l].len();
        for j in common..length {
            let i = if BACK { length - 1 - j } else { j };
            sums[l].add(rows[l].get(i), pivots[l]);
            for (w, out) in out.iter_mut().enumerate().take(S::WIDTH) {
                out[l][i] = sums[l].get(w);
            }
        }
    }
}
