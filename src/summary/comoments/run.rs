//! The running state of an unfinished leaf of several columns: rows one at a time, the first complete one as pivot.

use super::{Products, Real, scale_triangle, triangle};
use crate::summary::dd::ldexp;
use crate::summary::moments::{limit_of, scale_of};
use serde::{Deserialize, Serialize};

/// Rows whose products are added up together: enough that a sum is read and written once for many of them, few enough
/// that they stay in the nearest cache.
const ROWS_TOGETHER: usize = 32;
/// Sums of a line of the matrix side by side: an AVX-512 register.
const SUMS_TOGETHER: usize = 8;
/// Lines of the matrix side by side: their sums share what is read, and are enough to keep the adders busy.
const LINES_TOGETHER: usize = 4;

/// Co-moments of rows that come one at a time, in order: the running state of an unfinished leaf.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProductRun<R: Real> {
    rows: u64,
    present: Vec<bool>,
    infinite: Vec<u64>,
    /// Pivots, deviations and sums are in units of 2^scale of the columns.
    scale: Vec<i32>,
    /// By column: magnitudes above this ask for a larger scale.
    limit: Vec<f64>,
    pivot: Vec<f64>,
    deviations: Vec<R>,
    s1: Vec<R>,
    s2: Vec<R>,
}

/// Where rows are worked on: used again, it costs nothing to have.
#[derive(Debug, Clone, Default)]
pub struct ProductRoom<R> {
    values: Vec<f64>,
    deviations: Vec<[R; SUMS_TOGETHER]>,
}

impl<R: Real> ProductRun<R> {
    /// No rows of `d` columns.
    pub fn new(d: usize) -> Self {
        Self {
            rows: 0,
            present: vec![false; d],
            infinite: vec![0; d],
            scale: vec![0; d],
            limit: vec![0.0; d],
            pivot: vec![0.0; d],
            deviations: vec![R::default(); d],
            s1: vec![R::default(); d],
            s2: vec![R::default(); d * (d + 1) / 2],
        }
    }

    /// Columns.
    pub fn dimension(&self) -> usize {
        self.present.len()
    }

    /// Takes the next row, whose column i is `value(i)`; NaN is a missing value.
    #[inline]
    pub fn push(&mut self, value: impl Fn(usize) -> f64) {
        let d = self.present.len();
        let (mut complete, mut finite) = (true, true);
        for i in 0..d {
            let x = value(i);
            if x.is_nan() {
                complete &= !self.present[i];
            } else {
                finite &= x.is_finite();
                if !self.present[i] {
                    self.add_column(i);
                }
            }
        }
        if !complete || !self.present.contains(&true) {
            return;
        }
        if !finite {
            for i in 0..d {
                self.infinite[i] += u64::from(value(i).is_infinite());
            }
            return;
        }
        for i in 0..d {
            let x = if self.present[i] { value(i) } else { 0.0 };
            if x.abs() > self.limit[i] {
                self.rescale(i, x);
            }
            let x = ldexp(x, -self.scale[i]);
            if self.rows == 0 {
                self.pivot[i] = x;
            }
            self.deviations[i] = R::deviation(x, self.pivot[i]);
        }
        self.rows += 1;
        let mut place = 0;
        for i in 0..d {
            let x = self.deviations[i];
            self.s1[i] = self.s1[i] + x;
            for y in &self.deviations[i..] {
                self.s2[place] = self.s2[place] + x * *y;
                place += 1;
            }
        }
    }

    /// Takes rows, of which `copy(r, row)` gives row r: what [`ProductRun::push`] makes of them one after another, but
    /// ordinary rows several at a time. What is in the room does not matter.
    #[inline(always)]
    pub fn push_rows(&mut self, rows: usize, copy: impl Fn(usize, &mut [f64]), room: &mut ProductRoom<R>) {
        let d = self.present.len();
        if d == 0 {
            return;
        }
        let ProductRoom { values, deviations } = room;
        values.resize(d * ROWS_TOGETHER, 0.0);
        let mut at = 0;
        while at < rows {
            let together = match self.is_settled() {
                true => (rows - at).min(ROWS_TOGETHER),
                false => 1,
            };
            let given = &mut values[..d * together];
            for (r, row) in given.chunks_exact_mut(d).enumerate() {
                copy(at + r, row);
            }
            let ordinary = match together {
                1 => 0,
                _ => given.chunks_exact(d).take_while(|row| self.is_ordinary(row)).count(),
            };
            if ordinary == 0 {
                self.push(|i| given[i]);
                at += 1;
                continue;
            }
            self.push_together(&given[..d * ordinary], deviations);
            at += ordinary;
        }
    }

    /// Whether all columns have had values, and all of ordinary magnitude.
    #[inline(always)]
    fn is_settled(&self) -> bool {
        self.rows > 0 && !self.present.contains(&false) && self.scale.iter().all(|scale| *scale == 0)
    }

    /// Whether a row has finite values of ordinary magnitude alone. It looks at all of them: that is faster than to stop.
    #[inline(always)]
    fn is_ordinary(&self, row: &[f64]) -> bool {
        let within = row.iter().zip(&self.limit).map(|(x, limit)| x.abs() <= *limit);
        within.fold(true, |all, is| all & is)
    }

    /// Rows that are ordinary: every sum takes their products in their order, while it stays in a register.
    #[inline(always)]
    fn push_together(&mut self, rows: &[f64], room: &mut Vec<[R; SUMS_TOGETHER]>) {
        let d = self.present.len();
        let chunks = d.div_ceil(SUMS_TOGETHER);
        let count = rows.len() / d;
        // Behind the last column a row has zeros.
        if !d.is_multiple_of(SUMS_TOGETHER) {
            room.clear();
        }
        if room.len() < count * chunks {
            room.resize(count * chunks, [R::default(); SUMS_TOGETHER]);
        }
        let deviations = &mut room[..count * chunks];
        for (row, deviations) in rows.chunks_exact(d).zip(deviations.chunks_exact_mut(chunks)) {
            let columns = row.iter().zip(&self.pivot);
            for ((x, pivot), deviation) in columns.zip(deviations.as_flattened_mut()) {
                *deviation = R::deviation(*x, *pivot);
            }
        }
        for row in deviations.chunks_exact(chunks) {
            self.s1
                .iter_mut()
                .zip(row.as_flattened())
                .for_each(|(s1, x)| *s1 = *s1 + *x);
        }
        for top in (0..d).step_by(LINES_TOGETHER) {
            for chunk in top / SUMS_TOGETHER..chunks {
                self.push_tile(top, chunk, deviations, chunks);
            }
        }
        if let Some(last) = deviations.chunks_exact(chunks).next_back() {
            self.deviations.copy_from_slice(&last.as_flattened()[..d]);
        }
        self.rows += count as u64;
    }

    /// The sums of the products of the columns from `top` on with those of a chunk, as far as they belong to the upper
    /// triangle. A row of deviations is `chunks` long.
    #[inline(always)]
    fn push_tile(&mut self, top: usize, chunk: usize, deviations: &[[R; SUMS_TOGETHER]], chunks: usize) {
        let (d, left) = (self.present.len(), chunk * SUMS_TOGETHER);
        let whole = top + LINES_TOGETHER <= left + 1 && left + SUMS_TOGETHER <= d;
        // As variables of their own the lines stay in registers; an array of them would not.
        let (mut first, mut second, mut third, mut fourth) = (
            load(&self.s2, d, top, left, whole),
            load(&self.s2, d, top + 1, left, whole),
            load(&self.s2, d, top + 2, left, whole),
            load(&self.s2, d, top + 3, left, whole),
        );
        for row in deviations.chunks_exact(chunks) {
            let (lines, _) = row[top / SUMS_TOGETHER].as_chunks::<LINES_TOGETHER>();
            let (x, y) = (&lines[top % SUMS_TOGETHER / LINES_TOGETHER], &row[chunk]);
            for j in 0..SUMS_TOGETHER {
                first[j] = first[j] + x[0] * y[j];
                second[j] = second[j] + x[1] * y[j];
                third[j] = third[j] + x[2] * y[j];
                fourth[j] = fourth[j] + x[3] * y[j];
            }
        }
        for (k, line) in [first, second, third, fourth].iter().enumerate() {
            store(&mut self.s2, d, top + k, left, whole, line);
        }
    }

    /// Chooses units of column i in which `x`, larger than all before it by far, and its square are representable.
    #[cold]
    fn rescale(&mut self, i: usize, x: f64) {
        let scale = scale_of(x);
        let by = self.scale[i] - scale;
        if self.rows > 0 && by != 0 {
            self.pivot[i] = ldexp(self.pivot[i], by);
            self.s1[i] = self.s1[i].scaled(by);
            let mut each = vec![0; self.scale.len()];
            each[i] = by;
            scale_triangle(&mut self.s2, &each);
        }
        self.scale[i] = scale;
        self.limit[i] = limit_of(scale);
    }

    /// A column's first value: the rows before it were incomplete.
    #[cold]
    fn add_column(&mut self, i: usize) {
        self.present[i] = true;
        self.rows = 0;
        self.infinite.fill(0);
        self.scale.fill(0);
        self.limit.fill(0.0);
        self.s1.fill(R::default());
        self.s2.fill(R::default());
    }

    /// The co-moments of what came so far.
    pub fn finish(&self) -> Products<R> {
        Products::from_sums(
            self.rows,
            self.present.clone(),
            self.infinite.clone(),
            self.scale.clone(),
            &self.pivot,
            &self.s1,
            self.s2.clone(),
        )
    }
}

/// The sums of line i of an upper triangle of d columns in the columns from `left` on, with zeros where it has none.
/// `whole` says that it has all of them.
#[inline(always)]
fn load<R: Real>(sums: &[R], d: usize, i: usize, left: usize, whole: bool) -> [R; SUMS_TOGETHER] {
    if whole && let Some(line) = sums[triangle(i, left, d)..].first_chunk() {
        return *line;
    }
    let has = |j: usize| i <= j && j < d;
    std::array::from_fn(|j| match has(left + j) {
        true => sums[triangle(i, left + j, d)],
        false => R::default(),
    })
}

/// Puts back what [`load`] has given.
#[inline(always)]
fn store<R: Real>(sums: &mut [R], d: usize, i: usize, left: usize, whole: bool, line: &[R; SUMS_TOGETHER]) {
    if whole && let Some(own) = sums[triangle(i, left, d)..].first_chunk_mut() {
        *own = *line;
        return;
    }
    for (j, sum) in (left..d).zip(line).filter(|(j, _)| i <= *j) {
        sums[triangle(i, j, d)] = *sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::dd::Dd;
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![60 => -1e3..1e3, 1 => Just(f64::NAN), 1 => Just(f64::INFINITY), 1 => Just(1e300), 1 => Just(0.0)]
    }

    fn same<R: Real + PartialEq>(rows: &[Vec<f64>], d: usize, cuts: &[usize]) -> bool {
        let (mut alone, mut together) = (ProductRun::<R>::new(d), ProductRun::<R>::new(d));
        rows.iter().for_each(|row| alone.push(|i| row[i]));
        let (mut at, mut cut, mut room) = (0, cuts.iter().cycle(), ProductRoom::default());
        while at < rows.len() {
            let n = (rows.len() - at).min(cut.next().copied().unwrap_or(1));
            together.push_rows(n, |r, row| row.copy_from_slice(&rows[at + r][..d]), &mut room);
            at += n;
        }
        alone == together
    }

    proptest! {
        #[test]
        fn rows_together_are_rows_one_after_another(
            rows in prop::collection::vec(prop::collection::vec(value(), 37), 1..70),
            d in 0usize..=37,
            cuts in prop::collection::vec(1usize..40, 1..6),
        ) {
            prop_assert!(same::<f64>(&rows, d, &cuts));
            prop_assert!(same::<Dd>(&rows, d.min(5), &cuts));
        }
    }
}
