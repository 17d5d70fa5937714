//! Matrices of many `f32` columns in `fast`: six digits of the exact ones, whatever is special about the rows, and the
//! same bits for any batches and threads.

use crate::oracle::{self, to_f64};
use crate::random::Random;
use crate::support::{bits, closed, closed_on, pieces};
use millstream::batch::{Column, Values};
use millstream::{Backend, Batch, Cpu, Engine, Precision, Spec};

const ROWS: usize = 9000;
/// Numbers of columns: those of tiles, and those of panels.
const WIDTHS: [usize; 2] = [37, 70];
const SIX_DIGITS: f64 = 1e-6;

fn batch(columns: &[Vec<f32>]) -> Batch {
    let column = |values: &Vec<f32>| Column {
        values: Values::F32(values.clone().into()),
        nulls: None,
    };
    let named = columns.iter().enumerate().map(|(i, c)| (format!("c{i}"), column(c)));
    Batch::new(columns[0].len(), named.collect()).unwrap()
}

/// Columns that have something in common, each with a mean of a hundred standard deviations.
fn columns(width: usize, scale: impl Fn(usize) -> f64) -> Vec<Vec<f32>> {
    let mut random = Random::new(77);
    let common: Vec<f64> = (0..ROWS).map(|_| random.normal()).collect();
    let mut column = |c: usize| {
        let value = |x: &f64| ((x * (c % 4) as f64 / 2.0 + random.normal() + 100.0) * scale(c)) as f32;
        common.iter().map(value).collect()
    };
    (0..width).map(&mut column).collect()
}

fn spec(precision: Precision) -> Spec {
    Spec::new().mean_and_variance().covariance().precision(precision)
}

fn matrix(batch: &Batch, precision: Precision) -> Vec<Vec<Option<f64>>> {
    let report = Engine::new(spec(precision)).unwrap().analyze(batch).unwrap();
    report.groups[0].covariance.clone().unwrap().matrix
}

/// Entries against exact ones over the complete rows, relative to the standard deviations. What is found is not what
/// `exact` finds, where `f32` bears the magnitudes.
fn check(columns: &[Vec<f32>], is_narrow: bool, within: f64) {
    let all = batch(columns);
    let (found, plain) = (matrix(&all, Precision::Fast), matrix(&all, Precision::Exact));
    assert_eq!(found != plain, is_narrow);
    let wide: Vec<Vec<f64>> = columns
        .iter()
        .map(|c| c.iter().map(|x| f64::from(*x)).collect())
        .collect();
    let slices: Vec<&[f64]> = wide.iter().map(Vec::as_slice).collect();
    let complete = oracle::listwise(&slices);
    let exact = |i: usize, j: usize| to_f64(&oracle::covariance(&complete[i], &complete[j], 1).unwrap());
    let last = columns.len() - 1;
    for (i, j) in [
        (0, 0),
        (1, 2),
        (3, 35),
        (7, 7),
        (15, 16),
        (17, 30),
        (31, 32),
        (29, last),
        (last, last),
    ] {
        let (scale, exact) = (exact(i, i).sqrt() * exact(j, j).sqrt(), exact(i, j));
        for (entry, within) in [(found[i][j], within), (plain[i][j], Cpu::new().tolerance().comoments)] {
            let entry = entry.unwrap();
            assert!((entry - exact).abs() <= within * scale, "{i} {j}: {entry}, not {exact}");
        }
    }
}

#[test]
fn six_digits_of_a_mean_of_a_hundred_standard_deviations() {
    for width in WIDTHS {
        check(&columns(width, |_| 1.0), true, SIX_DIGITS);
        check(
            &columns(width, |c| f64::powi(2.0, 3 * (c as i32 % 11 - 5))),
            true,
            SIX_DIGITS,
        );
    }
}

/// Sorted rows behind outliers: each addition rounds as the one before it did, so no more is promised than the bound.
#[test]
fn within_the_bound_where_roundings_fall_alike() {
    for width in WIDTHS {
        let mut rising = columns(width, |_| 1.0);
        for column in &mut rising {
            column.sort_by(f32::total_cmp);
            column[..70].fill(-5000.0);
        }
        check(&rising, true, Cpu::new().tolerance().narrow);
    }
}

#[test]
fn six_digits_with_missing_values_and_constants() {
    for width in WIDTHS {
        let mut some = columns(width, |_| 1.0);
        some[7].fill(0.1);
        some[9][17] = f32::NAN;
        some[35][8888] = f32::NAN;
        let (all, constant) = (batch(&some), f64::from(0.1f32));
        let fast = matrix(&all, Precision::Fast);
        assert!((0..width).all(|i| fast[i][7] == Some(0.0)), "{constant}");
        check(&some, true, SIX_DIGITS);
        some[30][4095] = f32::INFINITY;
        let fast = matrix(&batch(&some), Precision::Fast);
        assert!(fast[30][3].is_some_and(f64::is_nan) && fast[3][3].is_some_and(|x| x > 0.0));
    }
}

#[test]
fn magnitudes_that_f32_cannot_square_are_left_to_f64() {
    for power in [-66, 62] {
        check(
            &columns(WIDTHS[0], |c| f64::powi(2.0, if c == 7 { power } else { 0 })),
            false,
            SIX_DIGITS,
        );
    }
    // Squares of f32 that vanish, and values that vanish beside their mean.
    check(
        &columns(WIDTHS[0], |c| if c == 17 { 1e-38 } else { 1.0 }),
        false,
        SIX_DIGITS,
    );
}

#[test]
fn the_same_bits_for_any_batches_and_threads() {
    for width in WIDTHS {
        let all = batch(&columns(width, |_| 1.0));
        let spec = spec(Precision::Fast);
        let whole = bits(&closed(&spec, std::slice::from_ref(&all)));
        for rows in [100, 1000, 5000] {
            assert!(bits(&closed(&spec, &pieces(&all, rows))) == whole, "{rows} rows");
        }
        for threads in [1, 3] {
            let own = Box::new(Cpu::with_threads(threads).unwrap());
            assert!(
                bits(&closed_on(&spec, own, &pieces(&all, 3000))) == whole,
                "{threads} threads"
            );
        }
    }
}
