//! Rows of whole numbers, and what is true of them in whole-number arithmetic.

use super::Numbers;
use arrow::buffer::NullBuffer;
use millstream::Batch;
use millstream::batch::{Column, Values};

/// Whole numbers around 1000.
pub(super) struct Table {
    pub(super) columns: Vec<Vec<i64>>,
}

impl Table {
    pub(super) fn new(rows: usize, columns: usize) -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut draw = || {
            // Knuth's linear congruential generator; its high bits.
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 54) as i64 + 488
        };
        let mut table = Self {
            columns: vec![Vec::with_capacity(rows); columns],
        };
        for _ in 0..rows {
            table.columns.iter_mut().for_each(|column| column.push(draw()));
        }
        table
    }

    pub(super) fn rows(&self) -> usize {
        self.columns[0].len()
    }

    pub(super) fn values(&self) -> u64 {
        (self.rows() * self.columns.len()) as u64
    }

    /// As a batch of one type; `missing` says which values are not there.
    pub(super) fn batch(&self, single: bool, missing: impl Fn(usize) -> bool) -> Batch {
        let column = |values: &Vec<i64>| Column {
            values: if single {
                let value = |(i, x): (usize, &i64)| if missing(i) { f32::NAN } else { *x as f32 };
                Values::F32(values.iter().enumerate().map(value).collect())
            } else {
                let value = |(i, x): (usize, &i64)| if missing(i) { f64::NAN } else { *x as f64 };
                Values::F64(values.iter().enumerate().map(value).collect())
            },
            nulls: None,
        };
        let columns = self.columns.iter().enumerate();
        let columns = columns.map(|(i, values)| (format!("c{i}"), column(values)));
        Batch::new(self.rows(), columns.collect()).expect("equally long columns")
    }

    /// As a batch of `f64` whose bitmaps say which values are not there.
    pub(super) fn batch_with_nulls(&self, missing: impl Fn(usize) -> bool) -> Batch {
        let batch = self.batch(false, |_| false);
        let nulls = NullBuffer::from_iter((0..self.rows()).map(|i| !missing(i)));
        let columns = batch.columns().iter().map(|column| Column {
            nulls: Some(nulls.clone()),
            ..column.clone()
        });
        let named = batch.names().iter().cloned().zip(columns);
        Batch::new(self.rows(), named.collect()).expect("equally long columns")
    }

    /// Mean and variance of every column over the rows that `takes` allows.
    pub(super) fn moments(&self, takes: impl Fn(usize) -> bool) -> Numbers {
        let of = |values: &Vec<i64>| {
            let taken = || {
                values
                    .iter()
                    .enumerate()
                    .filter(|(i, _)| takes(*i))
                    .map(|(_, x)| i128::from(*x))
            };
            let (n, sum) = (taken().count() as i128, taken().sum::<i128>());
            let squares = taken().map(|x| x * x).sum::<i128>();
            [
                sum as f64 / n as f64,
                (n * squares - sum * sum) as f64 / (n * (n - 1)) as f64,
            ]
        };
        self.columns.iter().flat_map(of).collect()
    }

    /// The upper triangle of the covariances, by rows.
    pub(super) fn covariances(&self) -> Numbers {
        let n = self.rows() as i128;
        let sums: Vec<i128> = self
            .columns
            .iter()
            .map(|c| c.iter().map(|x| i128::from(*x)).sum())
            .collect();
        let mut found = Vec::new();
        for (i, a) in self.columns.iter().enumerate() {
            for (j, b) in self.columns.iter().enumerate().skip(i) {
                let products: i64 = a.iter().zip(b).map(|(x, y)| x * y).sum();
                let cross = n * i128::from(products) - sums[i] * sums[j];
                found.push(cross as f64 / (n * (n - 1)) as f64);
            }
        }
        found
    }
}
