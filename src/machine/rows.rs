//! Rows to measure with: the same numbers on every machine and in every language.
//!
//! Value (r, c) comes from SplitMix64 (Steele, Lea & Flood 2014) of r + c · 2⁴⁰: the sum of its four fields of 16 bits,
//! in units of 2⁻¹⁶, less 2, has mean −2⁻¹⁵ and variance about 1/3 and looks normal. Half of the same thing for r alone is added to
//! every column, which correlates them, and a whole number to keep them away from 0. Everything is a multiple of 2⁻¹⁷
//! below 2⁴, so that `f32` holds it too.

use crate::batch::{Batch, Column, Values};
use crate::error::Result;

/// The column that all others share.
const SHARED: u64 = (1 << 23) - 1;

/// The finaliser of SplitMix64 over a counter.
fn mixed(counter: u64) -> u64 {
    let mut z = counter.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn bell(row: u64, column: u64) -> f64 {
    let z = mixed(row.wrapping_add(column << 40));
    let sum = (z & 0xffff) + (z >> 16 & 0xffff) + (z >> 32 & 0xffff) + (z >> 48);
    sum as f64 / 65_536.0 - 2.0
}

/// The value in this row and column.
///
/// ```
/// use millstream::machine::rows::value;
/// assert!((value(0, 0) - value(1, 0)).abs() < 6.0);
/// assert_eq!(value(7, 3), f64::from(value(7, 3) as f32));
/// ```
pub fn value(row: u64, column: u64) -> f64 {
    bell(row, column) + 0.5 * bell(row, SHARED) + (column % 7 + 3) as f64
}

/// So many rows of columns `c0`, `c1`, ….
///
/// # Errors
/// Never: the columns are equally long and have names of their own.
pub fn batch(rows: usize, columns: usize) -> Result<Batch> {
    let column = |c: usize| {
        let values: Vec<f64> = (0..rows as u64).map(|r| value(r, c as u64)).collect();
        let values = Values::F64(values.into());
        (format!("c{c}"), Column { values, nulls: None })
    };
    Batch::new(rows, (0..columns).map(column).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_page() {
        // SplitMix64 seeded with 0: the first three outputs of the reference implementation.
        let reference = [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f];
        assert_eq!([0, 1, 2].map(mixed), reference);
        let rows = 20_000;
        let batch = batch(rows, 2).unwrap();
        let mean = |c: usize| (0..rows).map(|r| batch.columns()[c].get(r)).sum::<f64>() / rows as f64;
        let (a, b) = (mean(0), mean(1));
        assert!((a - 3.0).abs() < 0.02 && (b - 4.0).abs() < 0.02, "{a} {b}");
        let products = (0..rows).map(|r| (batch.columns()[0].get(r) - a) * (batch.columns()[1].get(r) - b));
        let covariance = products.sum::<f64>() / rows as f64;
        // A quarter of the variance 1/3 is shared.
        assert!((covariance - 1.0 / 12.0).abs() < 0.01, "{covariance}");
    }
}
