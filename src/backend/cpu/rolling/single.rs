//! Rolling statistics of one column: mean, variance, standard deviation, z-score, least and greatest value.

use super::joined::{Centred, difference_of_means, offset_of_both, square_of_side};
use super::scan::{Block, Rows, for_blocks};
use super::stacks::Stacks;
use super::sums::{Extremes, First, Second, segment_rows};
use super::{ABSENT, Group, Windows, result, vectorised};

/// Which statistic of the values of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Mean,
    Variance,
    Std,
    /// Of the last value.
    ZScore,
    Min,
    Max,
}

impl Of {
    fn is_extreme(self) -> bool {
        matches!(self, Self::Min | Self::Max)
    }
}

/// Statistics of the windows of one column.
#[derive(Debug, Clone)]
pub(crate) struct Single {
    asked: Vec<Of>,
    segment: usize,
    second: Option<Stacks<Second>>,
    extremes: Option<Stacks<Extremes>>,
}

impl Single {
    /// These statistics of windows of so many rows; absent where windows are spans of time.
    pub(crate) fn new(asked: Vec<Of>, rows: Option<usize>) -> Self {
        let segment = segment_rows(rows.unwrap_or(1 << 14));
        Self {
            second: asked.iter().any(|of| !of.is_extreme()).then(|| Stacks::new(segment)),
            extremes: asked.iter().any(|of| of.is_extreme()).then(|| Stacks::new(segment)),
            asked,
            segment,
        }
    }

    /// Whether no squares are needed.
    fn only_mean(&self) -> bool {
        self.asked.iter().all(|of| of.is_extreme() || *of == Of::Mean)
    }
}

impl Group for Single {
    type Row = f64;

    fn fresh(&self) -> Self {
        Self {
            asked: self.asked.clone(),
            segment: self.segment,
            second: self.second.as_ref().map(|_| Stacks::new(self.segment)),
            extremes: self.extremes.as_ref().map(|_| Stacks::new(self.segment)),
        }
    }

    fn load(&mut self, first: u64, rows: impl Iterator<Item = f64> + Clone) {
        if let Some(second) = &mut self.second {
            second.load(first, rows.clone());
        }
        if let Some(extremes) = &mut self.extremes {
            extremes.load(first, rows);
        }
    }

    fn push(&mut self, row: f64, start: u64, windows: Windows, outs: &mut [&mut [f64]], place: usize) {
        let only_mean = self.only_mean();
        let centred = self.second.as_mut().map(|stacks| {
            let [before, behind] = stacks.push(row, start);
            let centred = before.with(behind);
            match centred.is_finite(only_mean) {
                true => centred,
                false => centred.scaled(stacks.rows()),
            }
        });
        let extremes = self.extremes.as_mut().map(|stacks| {
            let [before, behind] = stacks.push(row, start);
            let both = super::sums::Sums::joined(before.sums, behind.sums);
            (before.count + behind.count, both)
        });
        for (of, out) in self.asked.iter().zip(outs) {
            let of_second = |f: &dyn Fn(&Centred) -> Option<f64>| {
                let centred = centred.as_ref().filter(|c| c.present() >= windows.min_rows.max(1));
                centred.and_then(f)
            };
            let of_extremes = |f: &dyn Fn(&Extremes) -> f64| {
                let extremes = extremes.as_ref().filter(|e| e.0 >= windows.min_rows.max(1));
                extremes.map(|(_, extremes)| f(extremes))
            };
            out[place] = result(match of {
                Of::Mean => of_second(&|c| Some(c.mean())),
                Of::Variance => of_second(&|c| c.variance(windows.ddof)),
                Of::Std => of_second(&|c| c.std(windows.ddof)),
                Of::ZScore => of_second(&|c| c.zscore(row, windows.ddof)),
                Of::Min => of_extremes(&|e| e.min),
                Of::Max => of_extremes(&|e| e.max),
            });
        }
    }

    fn whole<R: Rows<Row = f64>>(&self, rows: R, n: usize, windows: Windows, outs: &mut [&mut [f64]]) -> bool {
        let only_mean = self.only_mean();
        let mut unclean = Vec::new();
        if self.second.is_some() {
            unclean.extend(vectorised(
                #[inline(always)]
                || match only_mean {
                    true => means(rows, n, &self.asked, outs),
                    false => variances(rows, n, windows.ddof, &self.asked, outs),
                },
            ));
        }
        if self.extremes.is_some() {
            unclean.extend(vectorised(
                #[inline(always)]
                || extremes(rows, n, &self.asked, outs),
            ));
        }
        unclean.sort_unstable();
        unclean.dedup();
        for at in &unclean {
            self.one_by_one(rows, n, windows, outs, *at);
        }
        // Without a divisor, or without a spread, there is no result.
        let may_lack = |of: &Of| match of {
            Of::Variance | Of::Std => n <= windows.ddof as usize,
            Of::ZScore => true,
            Of::Mean | Of::Min | Of::Max => false,
        };
        unclean.is_empty() && !self.asked.iter().any(may_lack)
    }
}

/// Whether all of these are finite.
#[inline(always)]
fn all_finite(values: &[f64]) -> bool {
    let mut lanes = [0.0f64; 16];
    let (chunks, rest) = values.as_chunks::<16>();
    for chunk in chunks {
        for l in 0..16 {
            lanes[l] += chunk[l] * 0.0;
        }
    }
    // 0 times anything that is not finite is NaN, and stays so.
    lanes.iter().sum::<f64>() + rest.iter().map(|x| x * 0.0).sum::<f64>() == 0.0
}

/// Means; the blocks that need to be looked at row by row.
#[inline(always)]
fn means<R: Rows<Row = f64>>(rows: R, n: usize, asked: &[Of], outs: &mut [&mut [f64]]) -> Vec<usize> {
    let mut unclean = Vec::new();
    let mut offsets = vec![0.0; n];
    for_blocks::<First, R>(
        rows,
        n,
        #[inline(always)]
        |block| {
            let offsets = &mut offsets[..block.windows.len()];
            offsets_of(&block, n, offsets);
            if !all_finite(offsets) {
                unclean.push(block.start);
                return;
            }
            write_means(&block, offsets, asked, outs);
        },
    );
    unclean
}

/// The means of the windows of a block less the first pivot.
#[inline(always)]
fn offsets_of(block: &Block<'_, f64>, n: usize, offsets: &mut [f64]) {
    let shift = block.pivots[1] - block.pivots[0];
    let total = n as f64;
    let windows = offsets.len();
    let (before, behind) = (&block.before[0][..windows], &block.behind[0][..windows]);
    for j in 0..windows {
        let nb = f64::from((block.windows.start + j) as i32);
        offsets[j] = offset_of_both([before[j], behind[j]], nb, shift, total);
    }
}

#[inline(always)]
fn write_means(block: &Block<'_, f64>, offsets: &[f64], asked: &[Of], outs: &mut [&mut [f64]]) {
    let here = block.places();
    for (_, out) in asked.iter().zip(outs).filter(|(of, _)| **of == Of::Mean) {
        for (out, offset) in out[here.clone()].iter_mut().zip(offsets) {
            *out = block.pivots[0] + offset;
        }
    }
}

/// Means, variances and what follows from them; the blocks that need to be looked at row by row.
#[inline(always)]
fn variances<R: Rows<Row = f64>>(rows: R, n: usize, ddof: u32, asked: &[Of], outs: &mut [&mut [f64]]) -> Vec<usize> {
    let mut unclean = Vec::new();
    let mut offsets = vec![0.0; n];
    let mut squares = vec![0.0; n];
    for_blocks::<Second, R>(
        rows,
        n,
        #[inline(always)]
        |block| {
            let count = block.windows.len();
            let (offsets, squares) = (&mut offsets[..count], &mut squares[..count]);
            offsets_of(&block, n, offsets);
            squares_of(&block, n, squares);
            if !(all_finite(offsets) && all_finite(squares)) {
                unclean.push(block.start);
                return;
            }
            write_means(&block, offsets, asked, outs);
            write_spreads(rows, &block, n, ddof, [offsets, squares], asked, outs);
        },
    );
    unclean
}

/// Σ(x − mean)² of the windows of a block.
#[inline(always)]
fn squares_of(block: &Block<'_, f64>, n: usize, squares: &mut [f64]) {
    let windows = squares.len();
    let shift = block.pivots[1] - block.pivots[0];
    let share = 1.0 / n as f64;
    let [s1a, s2a] = [0, 1].map(|w| &block.before[w][..windows]);
    let [s1b, s2b] = [0, 1].map(|w| &block.behind[w][..windows]);
    for j in 0..windows {
        // Behind the boundary there is no row for j = 0: sums of 0, of which the number is of no matter.
        let here = block.windows.start + j;
        let (na, nb) = (f64::from((n - here) as i32), f64::from(here as i32));
        let some = if here == 0 { 1.0 } else { nb };
        let m2a = square_of_side(s1a[j], s2a[j], na);
        let m2b = square_of_side(s1b[j], s2b[j], some);
        let delta = difference_of_means([s1a[j], s1b[j]], [na, some], shift);
        squares[j] = (m2a + m2b) + delta * delta * (na * nb * share);
    }
}

/// What follows from the centred squares.
#[inline(always)]
fn write_spreads<R: Rows<Row = f64>>(
    rows: R,
    block: &Block<'_, f64>,
    n: usize,
    ddof: u32,
    [offsets, squares]: [&[f64]; 2],
    asked: &[Of],
    outs: &mut [&mut [f64]],
) {
    let here = block.places();
    let divisor = n as f64 - f64::from(ddof);
    for (of, out) in asked.iter().zip(outs) {
        let out = &mut out[here.clone()];
        match of {
            Of::Variance | Of::Std | Of::ZScore if divisor <= 0.0 => out.fill(ABSENT),
            Of::Variance => {
                for (out, m2) in out.iter_mut().zip(squares) {
                    *out = m2 / divisor;
                }
            }
            Of::Std => {
                for (out, m2) in out.iter_mut().zip(squares) {
                    *out = (m2 / divisor).sqrt();
                }
            }
            Of::ZScore => {
                for (j, out) in out.iter_mut().enumerate() {
                    let std = (squares[j] / divisor).sqrt();
                    let x = rows.get(here.start + n - 1 + j);
                    let z = ((x - block.pivots[0]) - offsets[j]) / std;
                    *out = if std == 0.0 { ABSENT } else { z };
                }
            }
            Of::Mean | Of::Min | Of::Max => {}
        }
    }
}

/// Least and greatest values; the blocks that need to be looked at row by row.
#[inline(always)]
fn extremes<R: Rows<Row = f64>>(rows: R, n: usize, asked: &[Of], outs: &mut [&mut [f64]]) -> Vec<usize> {
    let mut unclean = Vec::new();
    for_blocks::<Extremes, R>(
        rows,
        n,
        #[inline(always)]
        |block| {
            // Every part looks at all rows of its windows that no part of the block before it has seen.
            let first = if block.windows.start == 0 { 0 } else { n - 1 };
            let places = block.places();
            let mut missing = false;
            for i in places.start + first..places.end + n - 1 {
                missing |= rows.get(i).is_nan();
            }
            if missing {
                unclean.push(block.start);
                return;
            }
            let here = block.places();
            for (of, out) in asked.iter().zip(outs.iter_mut()) {
                let w = match of {
                    Of::Min => 0,
                    Of::Max => 1,
                    _ => continue,
                };
                let [before, behind] = [block.before[w], block.behind[w]];
                for ((out, a), b) in out[here.clone()].iter_mut().zip(before).zip(behind) {
                    let nearer = if w == 0 { b < a } else { b > a };
                    *out = if nearer { *b } else { *a };
                }
            }
        },
    );
    unclean
}
