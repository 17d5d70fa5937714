//! Rolling covariance and correlation of two columns, over the rows that have both values.

use super::joined::{CentredPair, correlation, difference_of_means, product_of_side, square_of_side};
use super::scan::{Block, Rows, for_blocks};
use super::stacks::Stacks;
use super::sums::{Cross, Products, Sums, segment_rows};
use super::{ABSENT, Group, Windows, result, vectorised};

/// Which statistic of two columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OfPair {
    Covariance,
    Correlation,
}

/// Statistics of the windows of two columns.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    asked: Vec<OfPair>,
    segment: usize,
    stacks: Stacks<Products>,
}

impl Pair {
    /// These statistics of windows of so many rows; absent where windows are spans of time.
    pub(crate) fn new(asked: Vec<OfPair>, rows: Option<usize>) -> Self {
        let segment = segment_rows(rows.unwrap_or(1 << 14));
        Self {
            asked,
            segment,
            stacks: Stacks::new(segment),
        }
    }
}

impl Group for Pair {
    type Row = [f64; 2];

    fn fresh(&self) -> Self {
        Self {
            asked: self.asked.clone(),
            segment: self.segment,
            stacks: Stacks::new(self.segment),
        }
    }

    fn load(&mut self, first: u64, rows: impl Iterator<Item = [f64; 2]> + Clone) {
        self.stacks.load(first, rows);
    }

    fn push(&mut self, row: [f64; 2], start: u64, windows: Windows, outs: &mut [&mut [f64]], place: usize) {
        let [before, behind] = self.stacks.push(row, start);
        let mut centred = before.with(behind);
        if !centred.is_finite(!self.asked.contains(&OfPair::Correlation)) {
            centred = CentredPair::scaled(self.stacks.rows());
        }
        let enough = centred.count >= windows.min_rows.max(1);
        for (of, out) in self.asked.iter().zip(outs) {
            out[place] = result(match of {
                _ if !enough => None,
                OfPair::Covariance => centred.covariance(windows.ddof),
                OfPair::Correlation => centred.correlation(),
            });
        }
    }

    fn whole<R: Rows<Row = [f64; 2]>>(&self, rows: R, n: usize, windows: Windows, outs: &mut [&mut [f64]]) -> bool {
        let correlations = self.asked.contains(&OfPair::Correlation);
        let unclean = vectorised(
            #[inline(always)]
            || match correlations {
                true => blocks::<Products, R>(rows, n, windows.ddof, &self.asked, outs),
                false => blocks::<Cross, R>(rows, n, windows.ddof, &self.asked, outs),
            },
        );
        for at in &unclean {
            self.one_by_one(rows, n, windows, outs, *at);
        }
        unclean.is_empty() && !correlations && n > windows.ddof as usize
    }
}

/// The results of all windows; the blocks that need to be looked at row by row.
#[inline(always)]
fn blocks<S: Sums<Row = [f64; 2]>, R: Rows<Row = [f64; 2]>>(
    rows: R,
    n: usize,
    ddof: u32,
    asked: &[OfPair],
    outs: &mut [&mut [f64]],
) -> Vec<usize> {
    let mut unclean: Vec<usize> = Vec::new();
    let mut products = vec![vec![0.0; n]; S::WIDTH - 2];
    let divisor = n as f64 - f64::from(ddof);
    for_blocks::<S, R>(
        rows,
        n,
        #[inline(always)]
        |block| {
            let mut sum = 0.0;
            for (which, products) in products.iter_mut().enumerate() {
                let products = &mut products[..block.windows.len()];
                match which {
                    0 => products_of::<false>(&block, n, [0, 1, 2], products),
                    1 => products_of::<true>(&block, n, [0, 0, 3], products),
                    _ => products_of::<true>(&block, n, [1, 1, 4], products),
                }
                sum += products.iter().map(|x| x * 0.0).sum::<f64>();
            }
            if sum != 0.0 {
                if unclean.last() != Some(&block.start) {
                    unclean.push(block.start);
                }
                return;
            }
            let here = block.places();
            for (of, out) in asked.iter().zip(outs.iter_mut()) {
                let out = &mut out[here.clone()];
                match of {
                    OfPair::Covariance if divisor <= 0.0 => out.fill(ABSENT),
                    OfPair::Covariance => {
                        for (out, xy) in out.iter_mut().zip(&products[0]) {
                            *out = xy / divisor;
                        }
                    }
                    OfPair::Correlation => {
                        for (j, out) in out.iter_mut().enumerate() {
                            *out = correlation(products[0][j], products[1][j], products[2][j]).unwrap_or(ABSENT);
                        }
                    }
                }
            }
        },
    );
    unclean
}

/// Σ(x − mean)(y − mean) of the windows of a block, from the sums of x, of y and of their products at these places; of
/// a square never negative.
#[inline(always)]
fn products_of<const SQUARE: bool>(block: &Block<'_, [f64; 2]>, n: usize, places: [usize; 3], products: &mut [f64]) {
    let windows = products.len();
    let column = |sum: usize| places[sum];
    let shift = [0, 1].map(|i| block.pivots[1][column(i)] - block.pivots[0][column(i)]);
    let share = 1.0 / n as f64;
    let [xa, ya, xya] = places.map(|w| &block.before[w][..windows]);
    let [xb, yb, xyb] = places.map(|w| &block.behind[w][..windows]);
    for j in 0..windows {
        let here = block.windows.start + j;
        let (na, nb) = (f64::from((n - here) as i32), f64::from(here as i32));
        let some = if here == 0 { 1.0 } else { nb };
        let (a, b) = match SQUARE {
            true => (square_of_side(xa[j], xya[j], na), square_of_side(xb[j], xyb[j], some)),
            false => (
                product_of_side(xa[j], ya[j], xya[j], na),
                product_of_side(xb[j], yb[j], xyb[j], some),
            ),
        };
        let dx = difference_of_means([xa[j], xb[j]], [na, some], shift[0]);
        let dy = difference_of_means([ya[j], yb[j]], [na, some], shift[1]);
        products[j] = (a + b) + dx * dy * (na * nb * share);
    }
}
