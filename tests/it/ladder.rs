//! The ladder: values ever farther from 0 for their spread. A naive formula loses two digits of the variance a rung.
//!
//! The answer to compare with is the exact variance of the numbers as stored, so the error is the engine's alone.

use crate::oracle::{self, relative_error};
use crate::random::{LADDER, rung};
use crate::support::{U, batch, pieces};
use millstream::{Engine, Spec};

/// What the project promises: 12 digits on every rung. Derived, a leaf's variance errs by less: a lane takes 4096/16
/// values, so (256 + 4) roundings times (1 + (4.5 sd to the pivot)²) = 6e-13 if all of them were alike (they are not:
/// their root is 4e-14); n/4096 merges add one rounding each to a sum of positive terms, 2.7e-14 for a million rows.
const VARIANCE_ERROR_MAX: f64 = 1e-12;

/// The relative error of the variance of the values, `times` times one after another.
fn error(values: &[f64], times: usize) -> f64 {
    let exact = oracle::moments(values).unwrap();
    let mut engine = Engine::new(Spec::new()).unwrap();
    let all = batch(&[("x", values)]);
    for _ in 0..times {
        // In pieces that are no multiple of a leaf.
        pieces(&all, 300_000).iter().for_each(|b| drop(engine.push(b).unwrap()));
    }
    let report = engine.finish().unwrap();
    let column = &report.groups[0].columns["x"];
    let n = (values.len() * times) as u64;
    assert_eq!(column.count, n);
    // Repetition leaves Σ(x − mean)²/n as it is.
    let variance = &exact.m2 * oracle::rational(n as f64) / oracle::rational((n - 1) as f64);
    // The mean: Σ(x − pivot) in sixteen lanes of 256, at most 5.5 sd each; the sum of the leaves is a double-double;
    // one rounding.
    let mean = column.mean.unwrap();
    let mean_error = oracle::to_f64(&(oracle::rational(mean) - &exact.mean)).abs();
    assert!(
        mean_error <= 260.0 * 5.5 * U + mean.abs() * U,
        "{n}: mean off by {mean_error:e}"
    );
    relative_error(column.variance.unwrap(), &variance)
}

#[test]
fn a_thousand_to_a_million_rows() {
    let mut worst = 0.0f64;
    for (i, mean) in LADDER.into_iter().enumerate() {
        for n in [1_000, 10_000, 100_000, 1_000_000] {
            let error = error(&rung(mean, n, 100 + i as u64), 1);
            worst = worst.max(error);
            assert!(error <= VARIANCE_ERROR_MAX, "mean/sd {mean:e}, {n} rows: {error:e}");
        }
    }
    println!("ladder: worst relative error of the variance {worst:e}");
}

#[test]
fn a_hundred_million_rows() {
    let mut worst = 0.0f64;
    for (i, mean) in LADDER.into_iter().enumerate() {
        let error = error(&rung(mean, 1_000_000, 200 + i as u64), 100);
        worst = worst.max(error);
        assert!(error <= VARIANCE_ERROR_MAX, "mean/sd {mean:e}: {error:e}");
    }
    println!("ladder of 1e8 rows: worst relative error of the variance {worst:e}");
}
