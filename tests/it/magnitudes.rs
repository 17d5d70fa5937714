//! Columns of extreme magnitudes: their matrices and regressions are those of ordinary columns, times powers of two.

use crate::oracle::{self, rational, relative_error, to_f64};
use crate::random::Random;
use crate::support::{U, batch, report, variance_error_max};
use millstream::report::{Group, RegressionReport};
use millstream::spec::Regression;
use millstream::{Precision, Spec, Window};

/// x·2^e, exact while the result is a normal number; beyond the range an infinity or 0.
fn shifted(x: f64, e: i32) -> f64 {
    (0..4).fold(x, |x, k| x * 2f64.powi((e + k).div_euclid(4)))
}

/// Five columns: two that depend on one another, one far from 0, one whose first two leaves are 0, a constant;
/// magnitudes rise from leaf to leaf, so that leaves have different units.
fn ordinary(n: usize) -> Vec<Vec<f64>> {
    let mut random = Random::new(53);
    let rise = |i: usize| 2f64.powi((i / 2000) as i32 * 3);
    let x: Vec<f64> = (0..n).map(|i| random.normal() * rise(i)).collect();
    let y = x.iter().map(|x| 0.5 * x + random.normal()).collect();
    let far = (0..n).map(|_| 1e4 + random.normal()).collect();
    let late = (0..n).map(|i| if i < 8500 { 0.0 } else { random.normal() }).collect();
    vec![x, y, far, late, vec![0.1; n]]
}

const NAMES: [&str; 5] = ["x", "y", "far", "late", "constant"];

fn groups(spec: &Spec, columns: &[Vec<f64>], by: &[i32], missing: bool) -> Vec<Group> {
    let mut columns: Vec<Vec<f64>> = columns
        .iter()
        .zip(by)
        .map(|(column, e)| column.iter().map(|x| shifted(*x, *e)).collect())
        .collect();
    if missing {
        columns[1].iter_mut().step_by(7).for_each(|x| *x = f64::NAN);
    }
    let named: Vec<(&str, &[f64])> = NAMES.iter().copied().zip(columns.iter().map(Vec::as_slice)).collect();
    report(spec.clone(), &batch(&named)).groups
}

/// Exponents that keep every value (up to 2^20 in magnitude and, where it is not 0, above 2^-60) and its last digit
/// normal.
const SHIFTS: [[i32; 5]; 7] = [
    [0, 0, 0, 0, 0],
    [1000, 1000, 1000, 1000, 1000],
    [-900, -900, -900, -900, -900],
    [700, -700, 0, 650, -650],
    [-500, 500, 990, -890, 300],
    [210, -300, -210, 0, 1000],
    [195, 201, -195, -201, 0],
];

/// The same number, or the infinity or nothing that it comes to beyond the range.
fn same(found: Option<f64>, expected: Option<f64>) -> bool {
    match (found, expected) {
        (Some(a), Some(b)) if b != 0.0 && b.abs() < f64::MIN_POSITIVE => a.abs() < f64::MIN_POSITIVE,
        (a, b) => a == b,
    }
}

fn window() -> Window {
    Window::Rows {
        size: 3000,
        slide: 1000,
    }
}

#[test]
fn matrices_are_those_of_ordinary_columns() {
    let columns = ordinary(13_000);
    for spec in [Spec::new(), Spec::new().window(window())] {
        let spec = spec.covariance().correlation();
        for (by, missing) in SHIFTS.iter().flat_map(|by| [(by, false), (by, true)]) {
            let plain = groups(&spec, &columns, &[0; 5], missing);
            let found = groups(&spec, &columns, by, missing);
            assert_eq!(plain.len(), found.len());
            for (plain, found) in plain.iter().zip(&found) {
                assert_eq!(found.correlation, plain.correlation, "{by:?}");
                let (plain, found) = (plain.covariance.as_ref().unwrap(), found.covariance.as_ref().unwrap());
                for (i, j) in (0..5).flat_map(|i| (0..5).map(move |j| (i, j))) {
                    let expected = plain.matrix[i][j].map(|c| shifted(c, by[i] + by[j]));
                    let found = found.matrix[i][j];
                    assert!(same(found, expected), "{by:?} ({i}, {j}): {found:?}, not {expected:?}");
                }
            }
        }
    }
}

#[test]
fn regressions_are_those_of_ordinary_columns() {
    let columns = ordinary(13_000);
    for (precision, grouped, intercept) in [
        (Precision::Exact, false, true),
        (Precision::Exact, false, false),
        (Precision::Exact, true, true),
        (Precision::Fast, false, true),
        (Precision::Fast, true, false),
    ] {
        let spec = if grouped {
            Spec::new().window(window())
        } else {
            Spec::new()
        };
        let spec = Spec {
            regression: Some(Regression {
                target: "y".into(),
                terms: vec!["x".into(), "far".into(), "late".into()],
                intercept,
                ridge: 0.0,
            }),
            ..spec.precision(precision)
        };
        let plain = groups(&spec, &columns, &[0; 5], false);
        for by in SHIFTS {
            let found = groups(&spec, &columns, &by, false);
            for (plain, found) in plain.iter().zip(&found) {
                let (plain, found) = (plain.regression.as_ref().unwrap(), found.regression.as_ref().unwrap());
                assert_eq!(
                    (found.rank, found.rows, found.r_squared),
                    (plain.rank, plain.rows, plain.r_squared)
                );
                let back = [by[1] - by[0], by[1] - by[2], by[1] - by[3]];
                let back: Vec<i32> = intercept.then_some(by[1]).into_iter().chain(back).collect();
                let moved = |values: &[Option<f64>]| -> Vec<Option<f64>> {
                    let each = values.iter().zip(&back);
                    each.map(|(x, e)| x.map(|x| shifted(x, *e))).collect()
                };
                for (found, expected) in [
                    (&found.coefficients, moved(&plain.coefficients)),
                    (&found.standard_errors, moved(&plain.standard_errors)),
                    (
                        &vec![found.residual_std],
                        vec![plain.residual_std.map(|s| shifted(s, by[1]))],
                    ),
                ] {
                    assert_eq!(found.len(), expected.len());
                    let ok = found.iter().zip(&expected).all(|(a, b)| same(*a, *b));
                    assert!(ok, "{precision:?} {grouped} {by:?}: {found:?}, not {expected:?}");
                }
            }
        }
    }
}

/// Whether a covariance errs by at most `bound` of the product of the standard deviations, and the last step of the
/// subnormal numbers.
fn is_covariance(found: f64, x: &[f64], y: &[f64], bound: f64) -> bool {
    let of = |a: &[f64], b: &[f64]| oracle::covariance(a, b, 1).unwrap();
    let exact = of(x, y);
    if to_f64(&exact).is_infinite() || found.is_infinite() {
        return found == to_f64(&exact);
    }
    let error = rational(found) - &exact;
    let step = rational(5e-324);
    let least = rational(bound) * rational(bound) * of(x, x) * of(y, y);
    &error * &error <= least || (error <= step.clone() && -error <= step)
}

#[test]
fn matrices_at_the_ends_of_the_range_are_exact_up_to_rounding() {
    let mut random = Random::new(59);
    let n = 5000;
    let common: Vec<f64> = (0..n).map(|_| random.normal()).collect();
    let of =
        |random: &mut Random, unit: f64| -> Vec<f64> { common.iter().map(|x| (x + random.normal()) * unit).collect() };
    let mut columns: Vec<Vec<f64>> = [1e307, 1e200, 1e160, 1.0, 1e-170, 1e-290]
        .map(|unit| of(&mut random, unit))
        .to_vec();
    // Subnormal numbers, and one value of another magnitude than all the rest.
    columns.push(
        common
            .iter()
            .map(|x| (x * 1000.0).round() * f64::from_bits(1))
            .collect(),
    );
    let mut spike = common.clone();
    spike[4321] = -f64::MAX;
    columns.push(spike);
    let named: Vec<String> = (0..columns.len()).map(|i| format!("c{i}")).collect();
    let named: Vec<(&str, &[f64])> = named
        .iter()
        .map(String::as_str)
        .zip(columns.iter().map(Vec::as_slice))
        .collect();
    // As for ordinary columns: the sums of a leaf side by side, of |xᵢ||xⱼ| instead of squares.
    let bound = 2.0 * variance_error_max(4096);
    let group = report(Spec::new().covariance().correlation(), &batch(&named)).groups[0].clone();
    let (covariance, correlation) = (group.covariance.unwrap().matrix, group.correlation.unwrap().matrix);
    for (i, x) in columns.iter().enumerate() {
        for (j, y) in columns.iter().enumerate() {
            let (c, r) = (covariance[i][j].unwrap(), correlation[i][j].unwrap());
            assert!(is_covariance(c, x, y, bound), "({i}, {j}) {c:e}");
            let exact = to_f64(&oracle::correlation(x, y).unwrap());
            assert!(
                r.abs() <= 1.0 && (r - exact).abs() <= 2.0 * bound,
                "({i}, {j}) {r} {exact}"
            );
        }
    }
}

/// A target and two terms in these units, with noise.
fn design(units: [f64; 3]) -> [Vec<f64>; 3] {
    let mut random = Random::new(61);
    let (mut y, mut a, mut b) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..300 {
        let (u, v) = (random.normal(), 2.0 + random.normal());
        y.push((3.0 + 2.0 * u - v + 0.1 * random.normal()) * units[0]);
        a.push(u * units[1]);
        b.push(v * units[2]);
    }
    [y, a, b]
}

/// The relative error of a fit that double-double arithmetic leaves where terms are nearly uncorrelated.
///
/// A product of 300 terms errs by at most (300 + 8) · 2⁻¹⁰⁴ of Σ|dᵢ||dⱼ|, and solving adds a few such errors; a
/// condition below 2⁶ and coefficients (or residuals of 2⁻⁹ of the squares of the target) that are smaller than the
/// largest terms they are the difference of, by at most 2¹⁰, leave less than 2⁻⁷⁵: next to the rounding of the result
/// it disappears.
const FIT_ERROR_MAX: f64 = U * (1.0 + 1e-6);

fn check_fit(found: &RegressionReport, exact: &oracle::Fit, what: &str) {
    let errors = exact.standard_errors.as_ref().unwrap();
    assert_eq!(found.coefficients.len(), exact.coefficients.len());
    let pairs = found.coefficients.iter().zip(&exact.coefficients);
    let residual = [(&found.residual_std, exact.residual_std.as_ref().unwrap())];
    let all = pairs.chain(found.standard_errors.iter().zip(errors)).chain(residual);
    for (found, exact) in all {
        let off = relative_error(found.unwrap(), exact);
        assert!(
            off <= FIT_ERROR_MAX,
            "{what}: {found:?}, exactly {:e}, off by {off:e}",
            to_f64(exact)
        );
    }
    // 1 minus a quotient: small ones have the error of the quotient.
    let (found, exact) = (found.r_squared.unwrap(), exact.r_squared.as_ref().unwrap());
    let off = to_f64(&(rational(found) - exact)).abs();
    assert!(
        off <= FIT_ERROR_MAX * found + 2f64.powi(-75),
        "{what}: R² {found} off by {off:e}"
    );
}

fn check_regression(units: [f64; 3], intercept: bool, ridge: f64) {
    let [y, a, b] = design(units);
    let spec = Spec {
        regression: Some(Regression {
            target: "y".into(),
            terms: vec!["a".into(), "b".into()],
            intercept,
            ridge,
        }),
        ..Spec::new().precision(Precision::Exact)
    };
    let exact = oracle::least_squares(&y, &[&a, &b], intercept, ridge).unwrap();
    let all = batch(&[("a", &a), ("b", &b), ("y", &y)]);
    for spec in [
        spec.clone(),
        spec.window(Window::Rows {
            size: 1000,
            slide: 1000,
        }),
    ] {
        let group = report(spec, &all).groups[0].clone();
        let what = format!("{units:?} {intercept} {ridge:e}");
        check_fit(group.regression.as_ref().unwrap(), &exact, &what);
    }
}

#[test]
fn regressions_at_the_ends_of_the_range_are_exact_up_to_rounding() {
    for units in [
        [1.0, 1.0, 1.0],
        [1e200, 1e200, 1e200],
        [1e-200, 1e-200, 1e-200],
        [1e100, 1e-200, 1e200],
        [1e305, 1e305, 1e10],
        [1e-280, 1e-300, 1e-300],
        // A term of subnormal numbers.
        [1e-290, 1e-310, 1.0],
    ] {
        check_regression(units, true, 0.0);
        check_regression(units, false, 0.0);
    }
}

/// A penalty of the size of the squares, one that they outweigh by far, and one that outweighs them.
#[test]
fn ridge_at_the_ends_of_the_range_is_exact_up_to_rounding() {
    for (units, ridge) in [
        ([1.0, 1.0, 1.0], 10.0),
        ([1.0, 1e-150, 1e-150], 1e-298),
        ([1.0, 1e150, 1e150], 1e300),
        ([1e200, 1e200, 1e200], 1.0),
        ([1e20, 1e-160, 1e-160], 1.0),
        ([1e20, 1e-200, 1e-200], 1e10),
        ([1.0, 1e-100, 1e100], 1.0),
    ] {
        check_regression(units, true, ridge);
        check_regression(units, false, ridge);
    }
}
