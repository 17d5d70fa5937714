//! The running state of an unfinished leaf of several columns: rows one at a time, the first complete one as pivot.

use super::{Products, Real, scale_triangle};
use crate::summary::dd::ldexp;
use crate::summary::moments::{limit_of, scale_of};
use serde::{Deserialize, Serialize};

/// Rows whose products are added up together: enough that a sum is read and written once for many of them.
const ROWS_TOGETHER: usize = 16;
/// Sums side by side: two AVX-512 registers.
const SUMS_TOGETHER: usize = 16;

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

    /// Takes rows, of which row r has the value `value(r, i)` in column i: what [`ProductRun::push`] makes of them one
    /// after another, but ordinary rows several at a time.
    #[inline(always)]
    pub fn push_rows(&mut self, rows: usize, value: impl Fn(usize, usize) -> f64 + Copy) {
        let mut deviations = Vec::new();
        let mut at = 0;
        while at < rows {
            let ordinary = self.ordinary_rows(at, rows.min(at + ROWS_TOGETHER), value);
            if ordinary == 0 {
                self.push(|i| value(at, i));
                at += 1;
                continue;
            }
            self.push_together(at, ordinary, value, &mut deviations);
            at += ordinary;
        }
    }

    /// How many rows from `at` on have finite values of ordinary magnitude in all columns, which all have had some.
    #[inline(always)]
    fn ordinary_rows(&self, at: usize, end: usize, value: impl Fn(usize, usize) -> f64) -> usize {
        let settled = self.rows > 0 && !self.present.contains(&false) && self.scale.iter().all(|scale| *scale == 0);
        let ordinary = |r: &usize| {
            self.limit
                .iter()
                .enumerate()
                .all(|(i, limit)| value(*r, i).abs() <= *limit)
        };
        match settled {
            true => (at..end).take_while(ordinary).count(),
            false => 0,
        }
    }

    /// Rows that are ordinary: every sum takes their products in their order, while it stays in a register.
    #[inline(always)]
    fn push_together(&mut self, at: usize, rows: usize, value: impl Fn(usize, usize) -> f64, deviations: &mut Vec<R>) {
        let d = self.present.len();
        deviations.clear();
        for r in at..at + rows {
            let pivots = self.pivot.iter().enumerate();
            deviations.extend(pivots.map(|(i, pivot)| R::deviation(value(r, i), *pivot)));
        }
        for row in deviations.chunks_exact(d) {
            self.s1.iter_mut().zip(row).for_each(|(s1, x)| *s1 = *s1 + *x);
        }
        let mut rest = &mut self.s2[..];
        for i in 0..d {
            let (sums, later) = rest.split_at_mut(d - i);
            let (wide, narrow) = sums.as_chunks_mut::<SUMS_TOGETHER>();
            let mut j = i;
            for chunk in wide {
                let mut sums = *chunk;
                for row in deviations.chunks_exact(d) {
                    let x = row[i];
                    for (sum, y) in sums.iter_mut().zip(&row[j..j + SUMS_TOGETHER]) {
                        *sum = *sum + x * *y;
                    }
                }
                *chunk = sums;
                j += SUMS_TOGETHER;
            }
            for row in deviations.chunks_exact(d) {
                let x = row[i];
                for (sum, y) in narrow.iter_mut().zip(&row[j..]) {
                    *sum = *sum + x * *y;
                }
            }
            rest = later;
        }
        if let Some(last) = deviations.chunks_exact(d).next_back() {
            self.deviations.copy_from_slice(last);
        }
        self.rows += rows as u64;
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
        let (mut at, mut cut) = (0, cuts.iter().cycle());
        while at < rows.len() {
            let n = (rows.len() - at).min(cut.next().copied().unwrap_or(1));
            together.push_rows(n, |r, i| rows[at + r][i]);
            at += n;
        }
        alone == together
    }

    proptest! {
        #[test]
        fn rows_together_are_rows_one_after_another(
            rows in prop::collection::vec(prop::collection::vec(value(), 37), 1..70),
            d in 1usize..=37,
            cuts in prop::collection::vec(1usize..40, 1..6),
        ) {
            prop_assert!(same::<f64>(&rows, d, &cuts));
            prop_assert!(same::<Dd>(&rows, d.min(5), &cuts));
        }
    }
}
