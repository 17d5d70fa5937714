//! What the machine allows: a plain parallel sum for what reads every value once, a matrix product for co-moments.
//!
//! Of the product (2 n d² operations) the share counts that the triangle has of them, (d + 1) / 2d.

use crate::prepared::{Found, Prepared};
use crate::task::{Number, Task};
use crate::yardstick::{Factor, multiply};
use millstream::{Error, Result};
use pulp::Arch;
use rayon::prelude::*;
use std::hint::black_box;
use std::ops::AddAssign;

/// Values that one task sums.
const VALUES_PER_TASK: usize = 1 << 16;
/// Sums side by side: limited by memory, not by the latency of an addition.
const LANES: usize = 32;

/// What bounds a task of this kind.
pub(crate) fn prepare(task: &Task) -> Result<Prepared> {
    match (task.kind.as_str(), task.is_f32()) {
        ("moments_rows" | "moments_columns", true) => reading::<f32>(task),
        ("moments_rows" | "moments_columns", false) => reading::<f64>(task),
        ("covariance", true) => product::<f32>(task),
        ("covariance", false) => product::<f64>(task),
        _ => Err(Error::Usage("no limit is known".into())),
    }
}

fn nothing() -> Found {
    Box::new(|| Ok(Vec::new()))
}

fn reading<T: Number + AddAssign + Default + 'static>(task: &Task) -> Result<Prepared> {
    let columns = task.arrays::<T>("columns")?;
    Ok(Prepared::new("columns, a plain parallel sum", move || {
        let parts = columns.par_iter().flat_map(|c| c.par_chunks(VALUES_PER_TASK));
        parts.for_each(|part| {
            black_box(sum(part));
        });
        Ok(nothing())
    }))
}

fn sum<T: Copy + AddAssign + Default>(values: &[T]) -> T {
    Arch::new().dispatch(|| {
        let mut lanes = [T::default(); LANES];
        let (chunks, rest) = values.as_chunks::<LANES>();
        for chunk in chunks {
            for l in 0..LANES {
                lanes[l] += chunk[l];
            }
        }
        let mut total = T::default();
        for value in lanes.iter().chain(rest) {
            total += *value;
        }
        total
    })
}

fn product<T: Factor + Number>(task: &Task) -> Result<Prepared> {
    let (rows, d) = (task.rows, task.columns);
    let x: Vec<T> = task.arrays::<T>("columns")?.into_iter().flatten().collect();
    let mut out = vec![T::default(); d * d];
    let mut prepared = Prepared::new("columns, the matrix product of the crate gemm", move || {
        multiply(black_box(&x), &mut out, rows, d);
        Ok(nothing())
    });
    prepared.share = (d + 1) as f64 / (2 * d) as f64;
    Ok(prepared)
}
