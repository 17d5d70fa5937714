//! Sums of the rows on one side of a boundary, row by row, and what two sides come to.
//!
//! Sums of deviations are about a pivot that is one of the rows summed: the first that counts, seen from the boundary.
//! They are added in segments, a running sum in each and the sums of the segments before, so that a sum of n rows in
//! segments of L has passed through at most P = L + n/L additions. With u = 2⁻⁵³ an addition errs by u relatively, and
//! with S1 = Σd, S2 = Σd², d = x − pivot:
//!
//! - S2 ≤ n·M2, since the pivot is one of n values; so M2 = S2 − S1²/n errs by at most (3P + 8)·u·S2 ≤ (3P + 8)·n·u·M2.
//! - Two sides join by M2 = M2a + M2b + δ²·na·nb/n, a sum of three terms that are not negative. δ is the difference of
//!   means, (pb − pa) + (S1b/nb − S1a/na), and errs by at most (P + 4)·u·(|pb − pa| + √(S2a/na) + √(S2b/nb)).
//!
//! With |pb − pa| ≤ 2·√M2 a variance of n rows errs by at most ((3P + 8)·n + 8·(P + 4)·√n + 8)·u relatively, whatever
//! was in the windows before. That is for a pivot that lies as far out as one of n values can; among values that are
//! spread evenly it is some P·u. A covariance errs by as much of √(M2x·M2y)/(n − ddof), by Cauchy and Schwarz, and a
//! mean by 3·(P + 4)·u of the range of the window and u of itself. A window of equal values has variance 0.

use std::ops::Range;

/// Rows of a segment at most, unless there are fewer segments than are scanned side by side.
const SEGMENT_ROWS: usize = 128;
/// Segments that are scanned side by side: an addition takes four cycles.
pub(super) const LANES: usize = 4;

/// The rows of a segment, of `n` rows.
pub(super) fn segment_rows(n: usize) -> usize {
    if n <= SEGMENT_ROWS {
        return n.max(1);
    }
    n.div_ceil(n.div_ceil(SEGMENT_ROWS).next_multiple_of(LANES))
}

/// Sums of rows about a pivot.
pub(super) trait Sums: Copy + Default + std::fmt::Debug + Send + Sync {
    /// A value, or the values of two columns.
    type Row: Copy + Default + std::fmt::Debug + Send + Sync;
    /// How many sums there are.
    const WIDTH: usize;
    /// Whether the row is one of those summed.
    fn counts(row: Self::Row) -> bool;
    /// Which of the two infinities the row is, if it is one that is counted: 0 for +∞, 1 for −∞.
    fn infinity(row: Self::Row) -> Option<usize> {
        let _ = row;
        None
    }
    fn add(&mut self, row: Self::Row, pivot: Self::Row);
    /// Of all rows of two sets about the same pivot.
    fn joined(self, later: Self) -> Self;
    fn get(&self, place: usize) -> f64;
    /// Joins the sums at `neighbour`, of all rows nearer to the boundary, with each of those of a segment.
    #[inline(always)]
    fn join_all(room: &mut [Vec<f64>], neighbour: usize, segment: Range<usize>) {
        for sums in room {
            let before = sums[neighbour];
            sums[segment.clone()].iter_mut().for_each(|sum| *sum += before);
        }
    }
}

/// Σd.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct First(pub(super) f64);

impl Sums for First {
    type Row = f64;
    const WIDTH: usize = 1;

    #[inline(always)]
    fn counts(row: f64) -> bool {
        row.is_finite()
    }

    #[inline(always)]
    fn add(&mut self, row: f64, pivot: f64) {
        self.0 += row - pivot;
    }

    #[inline(always)]
    fn joined(self, later: Self) -> Self {
        Self(self.0 + later.0)
    }

    #[inline(always)]
    fn get(&self, _: usize) -> f64 {
        self.0
    }
}

/// Σd and Σd².
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Second {
    pub(super) s1: f64,
    pub(super) s2: f64,
}

impl Sums for Second {
    type Row = f64;
    const WIDTH: usize = 2;

    #[inline(always)]
    fn counts(row: f64) -> bool {
        row.is_finite()
    }

    #[inline(always)]
    fn infinity(row: f64) -> Option<usize> {
        row.is_infinite().then_some(usize::from(row < 0.0))
    }

    #[inline(always)]
    fn add(&mut self, row: f64, pivot: f64) {
        let d = row - pivot;
        self.s1 += d;
        self.s2 += d * d;
    }

    #[inline(always)]
    fn joined(self, later: Self) -> Self {
        Self {
            s1: self.s1 + later.s1,
            s2: self.s2 + later.s2,
        }
    }

    #[inline(always)]
    fn get(&self, place: usize) -> f64 {
        if place == 0 { self.s1 } else { self.s2 }
    }
}

/// Σdx, Σdy, Σdx·dy, Σdx² and Σdy² over rows that have both values.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Products {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) xy: f64,
    pub(super) xx: f64,
    pub(super) yy: f64,
}

impl Sums for Products {
    type Row = [f64; 2];
    const WIDTH: usize = 5;

    #[inline(always)]
    fn counts(row: [f64; 2]) -> bool {
        row[0].is_finite() && row[1].is_finite()
    }

    #[inline(always)]
    fn add(&mut self, row: [f64; 2], pivot: [f64; 2]) {
        let (dx, dy) = (row[0] - pivot[0], row[1] - pivot[1]);
        self.x += dx;
        self.y += dy;
        self.xy += dx * dy;
        self.xx += dx * dx;
        self.yy += dy * dy;
    }

    #[inline(always)]
    fn joined(self, later: Self) -> Self {
        Self {
            x: self.x + later.x,
            y: self.y + later.y,
            xy: self.xy + later.xy,
            xx: self.xx + later.xx,
            yy: self.yy + later.yy,
        }
    }

    #[inline(always)]
    fn get(&self, place: usize) -> f64 {
        match place {
            0 => self.x,
            1 => self.y,
            2 => self.xy,
            3 => self.xx,
            _ => self.yy,
        }
    }
}

/// Σdx, Σdy and Σdx·dy: what a covariance needs of [`Products`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cross {
    x: f64,
    y: f64,
    xy: f64,
}

impl Sums for Cross {
    type Row = [f64; 2];
    const WIDTH: usize = 3;

    #[inline(always)]
    fn counts(row: [f64; 2]) -> bool {
        Products::counts(row)
    }

    #[inline(always)]
    fn add(&mut self, row: [f64; 2], pivot: [f64; 2]) {
        let (dx, dy) = (row[0] - pivot[0], row[1] - pivot[1]);
        self.x += dx;
        self.y += dy;
        self.xy += dx * dy;
    }

    #[inline(always)]
    fn joined(self, later: Self) -> Self {
        Self {
            x: self.x + later.x,
            y: self.y + later.y,
            xy: self.xy + later.xy,
        }
    }

    #[inline(always)]
    fn get(&self, place: usize) -> f64 {
        match place {
            0 => self.x,
            1 => self.y,
            _ => self.xy,
        }
    }
}

/// The least and the greatest value, infinite ones included; the pivot plays no part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extremes {
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Default for Extremes {
    fn default() -> Self {
        Self {
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        }
    }
}

impl Sums for Extremes {
    type Row = f64;
    const WIDTH: usize = 2;

    #[inline(always)]
    fn counts(row: f64) -> bool {
        !row.is_nan()
    }

    #[inline(always)]
    fn add(&mut self, row: f64, _: f64) {
        // Plain comparisons compile to one instruction each.
        self.min = if row < self.min { row } else { self.min };
        self.max = if row > self.max { row } else { self.max };
    }

    #[inline(always)]
    fn joined(self, later: Self) -> Self {
        Self {
            min: if later.min < self.min { later.min } else { self.min },
            max: if later.max > self.max { later.max } else { self.max },
        }
    }

    #[inline(always)]
    fn get(&self, place: usize) -> f64 {
        if place == 0 { self.min } else { self.max }
    }

    #[inline(always)]
    fn join_all(room: &mut [Vec<f64>], neighbour: usize, segment: Range<usize>) {
        if let [least, greatest] = room {
            let (min, max) = (least[neighbour], greatest[neighbour]);
            least[segment.clone()]
                .iter_mut()
                .for_each(|x| *x = if min < *x { min } else { *x });
            greatest[segment]
                .iter_mut()
                .for_each(|x| *x = if max > *x { max } else { *x });
        }
    }
}

/// What is known of the rows on one side.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Side<S: Sums> {
    pub(super) count: u32,
    /// Values +∞ and −∞.
    pub(super) infinities: [u32; 2],
    pub(super) pivot: S::Row,
    pub(super) sums: S,
}

/// Sums of rows that come one at a time, from the boundary outwards.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run<S: Sums> {
    side: Side<S>,
    /// Of the segment that is open.
    local: S,
    rows: usize,
    segment: usize,
}

impl<S: Sums> Run<S> {
    pub(super) fn new(segment: usize) -> Self {
        Self {
            side: Side::default(),
            local: S::default(),
            rows: 0,
            segment,
        }
    }

    #[inline]
    pub(super) fn push(&mut self, row: S::Row) {
        if self.rows == self.segment {
            self.side.sums = self.side.sums.joined(self.local);
            self.local = S::default();
            self.rows = 0;
        }
        self.rows += 1;
        if S::counts(row) {
            if self.side.count == 0 {
                self.side.pivot = row;
            }
            self.side.count += 1;
            self.local.add(row, self.side.pivot);
        } else if let Some(which) = S::infinity(row) {
            self.side.infinities[which] += 1;
        }
    }

    pub(super) fn side(&self) -> Side<S> {
        Side {
            sums: self.side.sums.joined(self.local),
            ..self.side
        }
    }
}
