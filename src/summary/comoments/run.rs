//! The running state of an unfinished leaf of several columns: rows one at a time, the first complete one as pivot.

use super::{Products, Real, scale_triangle};
use crate::summary::dd::ldexp;
use crate::summary::moments::{limit_of, scale_of};
use serde::{Deserialize, Serialize};

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
