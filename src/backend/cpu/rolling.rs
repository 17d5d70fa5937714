//! Rolling statistics: mean, variance, extremes, covariance of the last N rows, or of the rows of a span of time.
//!
//! Nothing is ever subtracted. Windows of N rows are cut at a boundary every N rows (van Herk 1992, Gil & Werman 1993):
//! a window is a suffix of the rows before its boundary and a prefix of those behind, whose sums are found once for N
//! windows ([`scan`]). Spans of time move their boundary as two stacks do ([`stacks`]), and so do windows of rows where
//! values are missing or rows come in small pieces; both ways make the same additions in the same order. How far the
//! results may be off is said in [`sums`].
//!
//! Missing values (NaN) are passed over. Of infinite ones the mean is ±∞ or NaN and the rest NaN, as in
//! [`Moments`](crate::summary::Moments). A result that does not exist is [`ABSENT`].

mod joined;
mod pairs;
mod scan;
mod single;
mod stacks;
mod sums;

pub(crate) use pairs::{OfPair, Pair};
pub(crate) use scan::Rows;
pub(crate) use single::{Of, Single};

use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;
use std::ops::Range;

/// What stands for a result that does not exist: a NaN that no arithmetic gives.
pub(crate) const ABSENT: f64 = f64::from_bits(0x7ff8_0000_0ab5_e000);

/// Windows that one task takes at least: their rows and results stay in the second-level cache.
const TASK_WINDOWS: usize = 1 << 15;
/// Windows below which all are made by the calling thread.
const PARALLEL_WINDOWS_MIN: usize = 1 << 16;

/// Whether this is [`ABSENT`].
pub(crate) fn is_absent(x: f64) -> bool {
    x.to_bits() == ABSENT.to_bits()
}

/// A result, or [`ABSENT`].
fn result(x: Option<f64>) -> f64 {
    match x {
        // One NaN for all, so that none is taken for `ABSENT`.
        Some(x) if x.is_nan() => f64::NAN,
        Some(x) => x,
        None => ABSENT,
    }
}

/// Which rows a window has, and when it has a result.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows {
    /// Rows of a window; absent where windows are spans of time.
    pub(crate) rows: Option<usize>,
    /// Values below which there is no result.
    pub(crate) min_rows: u32,
    /// The divisor of variances is n − ddof.
    pub(crate) ddof: u32,
}

/// Statistics of windows of one column, or of two.
pub(crate) trait Group: Send + Sync {
    type Row: Copy + Default + std::fmt::Debug + Send + Sync;
    /// Begins at these rows, the first of which has this number.
    fn load(&mut self, first: u64, rows: impl Iterator<Item = Self::Row> + Clone);
    /// Takes a row, and writes the results of the window that ends with it at `place`.
    fn push(&mut self, row: Self::Row, start: u64, windows: Windows, outs: &mut [&mut [f64]], place: usize);
    /// Writes the results of all windows of these rows; whether all of them exist.
    fn whole<R: Rows<Row = Self::Row>>(&self, rows: R, n: usize, windows: Windows, outs: &mut [&mut [f64]]) -> bool;
    /// A new state of the same statistics.
    fn fresh(&self) -> Self;
    /// Writes the results of the windows of a block, which begins at row `at`, one row after another: where values are
    /// missing, infinite or too far apart for their squares.
    fn one_by_one<R: Rows<Row = Self::Row>>(
        &self,
        rows: R,
        n: usize,
        windows: Windows,
        outs: &mut [&mut [f64]],
        at: usize,
    ) where
        Self: Sized,
    {
        let mut group = self.fresh();
        let windows_here = n.min(rows.len() + 1 - n - at);
        group.load(0, (at..at + n - 1).map(|i| rows.get(i)));
        for j in 0..windows_here {
            group.push(rows.get(at + n - 1 + j), j as u64, windows, outs, at + j);
        }
    }
}

/// Rolling statistics of a sequence of rows that come in pieces.
#[derive(Debug, Clone)]
pub(crate) struct Rolling<G: Group> {
    group: G,
    windows: Windows,
    /// Rows so far.
    row: u64,
    /// The last rows and the number of the first, where the group has not seen them.
    unseen: Option<(u64, Vec<G::Row>)>,
}

impl<G: Group> Rolling<G> {
    pub(crate) fn new(group: G, windows: Windows) -> Self {
        Self {
            group,
            windows,
            row: 0,
            unseen: None,
        }
    }

    /// Takes the next rows, and writes one result a row into each of `outs`. `starts` has the number of the first row
    /// of each window, where windows are spans of time. Returns the places among which some may be [`ABSENT`].
    pub(crate) fn push<R: Rows<Row = G::Row>>(
        &mut self,
        rows: R,
        starts: &[u64],
        outs: &mut [&mut [f64]],
    ) -> Vec<Range<usize>> {
        let windows = self.windows;
        let count = rows.len();
        let Some(n) = windows.rows else {
            for (i, start) in starts.iter().enumerate().take(count) {
                self.group.push(rows.get(i), *start, windows, outs, i);
            }
            self.row += count as u64;
            return std::iter::once(0..count).collect();
        };
        let size = n as u64;
        // The first boundary whose windows lie in these rows.
        let boundary = (self.row + size - 1).div_ceil(size) * size;
        let head = (boundary - self.row).min(count as u64) as usize;
        if head > 0 {
            self.catch_up(size);
        }
        for i in 0..head {
            let start = (self.row + i as u64 + 1).saturating_sub(size);
            self.group.push(rows.get(i), start, windows, outs, i);
        }
        let mut unsure: Vec<Range<usize>> = std::iter::once(0..head).collect();
        if head < count {
            let first_row = (boundary + 1 - size - self.row) as usize;
            let whole = rows.slice(first_row..count);
            let mut outs: Vec<&mut [f64]> = outs.iter_mut().map(|out| &mut out[head..count]).collect();
            let group = &self.group;
            let holes = in_tasks(count - head, n, &mut outs, |range, outs| {
                group.whole(whole.slice(range.start..range.end + n - 1), n, windows, outs)
            });
            unsure.extend(holes.into_iter().map(|range| head + range.start..head + range.end));
            let next = self.row + count as u64;
            let from = next / size * size + 1 - size;
            let tail = (from - self.row) as usize..count;
            self.unseen = Some((from, tail.map(|i| rows.get(i)).collect()));
        }
        self.row += count as u64;
        unsure
    }

    /// Shows the group the rows that it has not seen.
    fn catch_up(&mut self, size: u64) {
        let Some((first, rows)) = self.unseen.take() else {
            return;
        };
        let (before, behind) = rows.split_at(rows.len().min(size as usize - 1));
        self.group.load(first, before.iter().copied());
        let mut nowhere = [[0.0]; RESULTS_MAX];
        let mut nowhere: Vec<&mut [f64]> = nowhere.iter_mut().map(|x| &mut x[..]).collect();
        for (i, row) in behind.iter().enumerate() {
            self.group.push(*row, first + i as u64, self.windows, &mut nowhere, 0);
        }
    }
}

/// Results of one group at most.
const RESULTS_MAX: usize = 8;

/// Has `make` write the results of all windows, in tasks that begin where blocks of `n` windows do; the ranges for
/// which it says that some do not exist.
fn in_tasks(
    count: usize,
    n: usize,
    outs: &mut [&mut [f64]],
    make: impl Fn(Range<usize>, &mut [&mut [f64]]) -> bool + Sync,
) -> Vec<Range<usize>> {
    let rows = n * TASK_WINDOWS.div_ceil(n).max(1);
    let parts = count.div_ceil(rows);
    let mut tasks: Vec<(Range<usize>, Vec<&mut [f64]>)> = (0..parts)
        .map(|k| (k * rows..count.min((k + 1) * rows), Vec::with_capacity(outs.len())))
        .collect();
    for out in outs {
        for (task, chunk) in tasks.iter_mut().zip(out.chunks_mut(rows)) {
            task.1.push(chunk);
        }
    }
    let work = |(range, mut outs): (Range<usize>, Vec<&mut [f64]>)| match make(range.clone(), &mut outs) {
        true => None,
        false => Some(range),
    };
    if count < PARALLEL_WINDOWS_MIN {
        tasks.into_iter().filter_map(work).collect()
    } else {
        tasks.into_par_iter().filter_map(work).collect()
    }
}

/// Does `work` for each of these, on all threads where there are that many values.
pub(crate) fn for_each<T: Send>(items: Vec<T>, values: usize, work: impl Fn(T) + Sync + Send) {
    if values < PARALLEL_WINDOWS_MIN {
        items.into_iter().for_each(work);
    } else {
        items.into_par_iter().for_each(work);
    }
}

/// Runs a function compiled for the vector instructions that the machine has; it has to be inlined for that.
#[inline(always)]
fn vectorised<T>(work: impl FnOnce() -> T) -> T {
    struct Call<F>(F);
    impl<T, F: FnOnce() -> T> NullaryFnOnce for Call<F> {
        type Output = T;

        #[inline(always)]
        fn call(self) -> T {
            (self.0)()
        }
    }
    Arch::new().dispatch(Call(work))
}
