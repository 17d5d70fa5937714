//! Covariance and correlation: matrices of any width, of complete rows only, symmetric and within their bounds.

use crate::oracle::{self, to_f64};
use crate::random::Random;
use crate::support::{report, table, variance_error_max};
use millstream::Spec;

/// Entries of two matrices over the same complete rows are what the oracle says, and the matrix is symmetric.
fn check_matrices(columns: &[Vec<f64>]) {
    let group = report(Spec::new().covariance().correlation(), &table(columns)).groups[0].clone();
    let (covariance, correlation) = (group.covariance.unwrap(), group.correlation.unwrap());
    let slices: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
    let complete = oracle::listwise(&slices);
    let d = columns.len();
    let n = complete[0].len();
    assert_eq!((covariance.rows as usize, covariance.columns.len()), (n, d));
    // As a variance (the sums of a step of 256 rows side by side), of |xᵢ||xⱼ| instead of squares.
    let bound = 2.0 * variance_error_max(4096);
    let spread: Vec<f64> = complete
        .iter()
        .map(|x| to_f64(&oracle::covariance(x, x, 1).unwrap()).sqrt())
        .collect();
    let stride = 1 + d / 40;
    for i in 0..d {
        for j in (0..d).step_by(stride).chain([i, d - 1]) {
            let found = covariance.matrix[i][j].unwrap();
            assert_eq!(Some(found), covariance.matrix[j][i], "symmetric");
            if i % stride > 0 && i != j {
                continue;
            }
            let exact = to_f64(&oracle::covariance(&complete[i], &complete[j], 1).unwrap());
            assert!(
                (found - exact).abs() <= bound * spread[i] * spread[j],
                "{d}: {i} {j} {found} {exact}"
            );
            match correlation.matrix[i][j] {
                None => assert!(spread[i] * spread[j] == 0.0, "{d}: {i} {j}"),
                Some(r) => {
                    let exact = to_f64(&oracle::correlation(&complete[i], &complete[j]).unwrap());
                    assert!(
                        r.abs() <= 1.0 && (r - exact).abs() <= 2.0 * bound,
                        "{d}: {i} {j} {r} {exact}"
                    );
                }
            }
        }
    }
}

#[test]
fn matrices_of_any_width() {
    let mut random = Random::new(37);
    for (d, n) in [
        (1, 5000),
        (2, 300),
        (3, 4097),
        (63, 150),
        (64, 150),
        (65, 150),
        (512, 40),
    ] {
        let common: Vec<f64> = (0..n).map(|_| random.normal()).collect();
        let columns: Vec<Vec<f64>> = (0..d)
            .map(|k| match k % 7 {
                5 if k > 5 => vec![0.1 * f64::from(k); n],
                6 => common.iter().map(|x| -3.0 * x).collect(),
                _ => common
                    .iter()
                    .map(|x| x * f64::from(k % 3) + random.normal() + 1e4)
                    .collect(),
            })
            .collect();
        check_matrices(&columns);
    }
}

#[test]
fn matrices_take_complete_rows_only() {
    let mut random = Random::new(41);
    let columns: Vec<Vec<f64>> = (0..5)
        .map(|k| {
            (0..6000)
                .map(|_| {
                    if random.below(9) == k {
                        f64::NAN
                    } else {
                        random.normal() + 5.0
                    }
                })
                .collect()
        })
        .collect();
    check_matrices(&columns);
    // Missing in whole leaves, and a column that begins late.
    let mut late = columns.clone();
    late[2][..5000].fill(f64::NAN);
    late[4][4096..4200].fill(f64::NAN);
    check_matrices(&late);
}
