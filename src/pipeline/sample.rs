//! A bounded sample of every column, for charts: every k-th row, k doubling whenever the sample is full.
//!
//! Deterministic: which rows are taken depends on their number alone.

use crate::batch::Batch;
use crate::report::Sample;

/// Rows that a sample holds at most: enough for a smooth histogram, little memory.
const SAMPLE_ROWS_MAX: usize = 16_384;

/// Takes every k-th row.
#[derive(Debug)]
pub(super) struct Sampler {
    names: Vec<String>,
    columns: Vec<Vec<f64>>,
    every: u64,
    seen: u64,
}

impl Default for Sampler {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            columns: Vec::new(),
            every: 1,
            seen: 0,
        }
    }
}

impl Sampler {
    /// Takes from the first `reported` columns of the next rows.
    pub(super) fn take(&mut self, batch: &Batch, reported: usize) {
        if self.columns.is_empty() {
            self.names = batch.names()[..reported].to_vec();
            self.columns = vec![Vec::new(); reported];
        }
        let rows = batch.rows() as u64;
        let mut next = self.seen.next_multiple_of(self.every);
        while next < self.seen + rows {
            for (sample, column) in self.columns.iter_mut().zip(batch.columns()) {
                sample.push(column.get((next - self.seen) as usize));
            }
            if self.columns[0].len() == SAMPLE_ROWS_MAX {
                for sample in &mut self.columns {
                    let mut place = 0;
                    sample.retain(|_| {
                        place += 1;
                        place % 2 == 1
                    });
                }
                self.every *= 2;
            }
            next = (next + 1).next_multiple_of(self.every);
        }
        self.seen += rows;
    }

    pub(super) fn finish(self) -> Vec<Sample> {
        let (every, of) = (self.every, self.seen);
        let sample = |(column, values): (String, Vec<f64>)| {
            let values = values.into_iter().filter(|x| !x.is_nan()).collect();
            Sample {
                column,
                values,
                every,
                of,
            }
        };
        self.names.into_iter().zip(self.columns).map(sample).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_rows_are_taken_for_any_batching() {
        let values: Vec<f64> = (0..100_000).map(f64::from).collect();
        let of = |size: usize| {
            let mut sampler = Sampler::default();
            for chunk in values.chunks(size) {
                sampler.take(&Batch::from_columns([("x", chunk.to_vec())]).unwrap(), 1);
            }
            sampler.finish().remove(0)
        };
        let whole = of(values.len());
        assert_eq!((whole.every, whole.of), (8, 100_000));
        let expected: Vec<f64> = (0..100_000).step_by(8).map(f64::from).collect();
        assert_eq!(whole.values, expected);
        assert_eq!(of(777), whole);
    }
}
