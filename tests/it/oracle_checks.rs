//! The oracle itself against values worked out by hand, certified by NIST, or known from the standard library.

use crate::nist;
use crate::oracle::{self, Rational, digits, rational, relative_error, to_f64};
use crate::random::{LADDER, Random, rung};
use num_bigint::BigInt;

fn ratio(p: i64, q: i64) -> Rational {
    Rational::new(p.into(), q.into())
}

#[test]
fn every_f64_survives_the_way_through_a_rational() {
    let mut random = Random::new(3);
    let special = [
        0.0,
        1.0,
        -1.5,
        f64::MAX,
        f64::MIN_POSITIVE,
        5e-324,
        -5e-324,
        1.1e-310,
        0.1,
        -f64::MAX,
    ];
    let drawn = (0..2000)
        .map(|_| f64::from_bits(random.next_u64()))
        .filter(|x| x.is_finite());
    for x in special.into_iter().chain(drawn) {
        assert_eq!(to_f64(&rational(x)), x);
    }
}

#[test]
fn rounding_to_f64_is_that_of_the_standard_library() {
    // 10^k and p/q with p, q < 2^53 are correctly rounded there; ties go to even, sums beyond the range to infinity.
    for k in -330i32..=310 {
        let ten = BigInt::from(10).pow(k.unsigned_abs());
        let exact = if k < 0 {
            Rational::new(1.into(), ten)
        } else {
            ten.into()
        };
        assert_eq!(to_f64(&exact), format!("1e{k}").parse::<f64>().unwrap(), "1e{k}");
    }
    let mut random = Random::new(4);
    for _ in 0..2000 {
        let (p, q) = (random.below(1 << 53) as i64, random.below(1 << 53) as i64 + 1);
        assert_eq!(to_f64(&ratio(-p, q)), -(p as f64) / q as f64);
    }
    let even = 1i64 << 53;
    assert_eq!(to_f64(&ratio(even + 1, 1)), even as f64);
    assert_eq!(to_f64(&ratio(even + 3, 1)), (even + 4) as f64);
    assert_eq!(to_f64(&(rational(5e-324) / ratio(2, 1))), 0.0);
    assert_eq!(to_f64(&(rational(5e-324) * ratio(2, 3))), 5e-324);
    assert_eq!(to_f64(&(rational(f64::MAX) * ratio(3, 2))), f64::INFINITY);
}

#[test]
fn square_roots_are_exact_or_long() {
    assert_eq!(oracle::sqrt(&ratio(9, 16)), ratio(3, 4));
    assert_eq!(oracle::sqrt(&ratio(0, 1)), ratio(0, 1));
    for x in [ratio(2, 1), ratio(1, 3), rational(1e300), rational(1e-300)] {
        let root = oracle::sqrt(&x);
        let error = to_f64(&((&root * &root - &x) / &x));
        assert!(error.abs() < 2f64.powi(2 - oracle::ROOT_BITS as i32), "{error:e}");
        assert_eq!(to_f64(&root), to_f64(&x).sqrt());
    }
}

#[test]
fn errors_and_digits() {
    assert_eq!(relative_error(1.5, &ratio(1, 1)), 0.5);
    assert_eq!(relative_error(0.0, &ratio(0, 1)), 0.0);
    assert_eq!(relative_error(1e-300, &ratio(0, 1)), f64::INFINITY);
    assert_eq!(relative_error(f64::NAN, &ratio(1, 1)), f64::INFINITY);
    // The error of the nearest f64 is seen as it is, although it is below half a unit of the last place.
    assert!((relative_error(0.1, &ratio(1, 10)) / 5.551_115_123_125_783e-17 - 1.0).abs() < 1e-15);
    assert_eq!(digits(1.0, 1.0), oracle::DIGITS_MAX);
    assert_eq!(digits(f64::NAN, 1.0), 0.0);
    assert_eq!(digits(-1.0, 1.0), 0.0);
    assert!((digits(1.001, 1.0) - 3.0).abs() < 1e-9);
    assert!((digits(0.001, 0.0) - 3.0).abs() < 1e-9);
}

#[test]
fn moments_by_hand() {
    // 1, 2, 3, 6: mean 3, deviations −2 −1 0 3.
    let m = oracle::moments(&[1.0, 2.0, 3.0, 6.0]).unwrap();
    assert_eq!((m.count, &m.sum, &m.mean), (4, &ratio(12, 1), &ratio(3, 1)));
    assert_eq!((&m.m2, &m.m3, &m.m4), (&ratio(14, 4), &ratio(18, 4), &ratio(98, 4)));
    assert_eq!((&m.min, &m.max), (&ratio(1, 1), &ratio(6, 1)));
    assert_eq!(m.variance(1), Some(ratio(14, 3)));
    assert_eq!(m.kurtosis(), Some(ratio(2, 1) - ratio(3, 1)));
    let skewness = to_f64(&m.skewness().unwrap());
    assert!((skewness - 4.5 / 3.5f64.powf(1.5)).abs() < 1e-15, "{skewness}");

    assert!(oracle::moments(&[]).is_none());
    let one = oracle::moments(&[7.5]).unwrap();
    assert_eq!(
        (one.variance(0), one.variance(1), one.skewness()),
        (Some(ratio(0, 1)), None, None)
    );
}

#[test]
fn moments_at_the_ends_of_the_range() {
    let values = [
        f64::MAX,
        -f64::MAX,
        5e-324,
        -0.0,
        1.0,
        f64::MIN_POSITIVE,
        -1e-310,
        0.3,
        1e308,
    ];
    let exact: Vec<Rational> = values.iter().map(|&x| rational(x)).collect();
    assert_eq!(oracle::moments(&values), oracle::moments_of_rationals(&exact));
}

#[test]
fn fast_and_plain_moments_are_one() {
    let mut random = Random::new(5);
    let values: Vec<f64> = (0..200)
        .map(|_| (random.uniform() - 0.5) * 10f64.powi(random.below(40) as i32 - 20))
        .collect();
    let exact: Vec<Rational> = values.iter().map(|&x| rational(x)).collect();
    assert_eq!(oracle::moments(&values), oracle::moments_of_rationals(&exact));
}

#[test]
fn millions_of_values_spill_without_loss() {
    // Squares of 106 bits: more of them than an i128 holds, so that without spilling the sum would overflow.
    let n = 2_500_000;
    let x = f64::MAX;
    let m = oracle::moments(&vec![x; n]).unwrap();
    assert_eq!((m.count, m.sum), (n, rational(x) * ratio(n as i64, 1)));
    assert_eq!((m.m2, m.m3, m.m4), (ratio(0, 1), ratio(0, 1), ratio(0, 1)));
}

#[test]
fn the_ladder_has_one_variance() {
    // Rounding to the spacing of f64 at the mean adds at most that spacing's variance, far below sampling error.
    for mean in LADDER {
        let m = oracle::moments(&rung(mean, 10_000, 7)).unwrap();
        let variance = to_f64(&m.variance(1).unwrap());
        assert!(
            (variance - 1.0).abs() < 4.0 * (2.0 / 1e4f64).sqrt(),
            "{mean:e}: {variance}"
        );
    }
}

#[test]
fn nist_univariate() {
    for set in nist::univariate() {
        let m = oracle::moments(&set.values).unwrap();
        let (mean, std) = (to_f64(&m.mean), to_f64(&m.std(1).unwrap()));
        // Fifteen certified digits; what storing the decimals in f64 costs at most: half a unit of x over sd.
        let spacing = set.values[0] * f64::EPSILON / set.std;
        let expected = 14.5f64.min(-spacing.log10());
        assert!(digits(mean, set.mean) >= 14.5, "{}: mean {mean}", set.name);
        assert!(
            digits(std, set.std) >= expected,
            "{}: sd {std}, {expected} digits expected",
            set.name
        );
    }
}

#[test]
fn nist_linear() {
    for set in nist::linear() {
        let fit = oracle::least_squares(&set.target, &set.term_slices(), true, 0.0).unwrap();
        // Decimals stored in f64, times the condition of the terms: Wampler2 has 1e-16 · 1e5 at worst.
        let close = |what: &str, computed: &Rational, certified: f64, least: f64| {
            let d = digits(to_f64(computed), certified);
            assert!(
                d >= least,
                "{}: {what} {}, certified {certified}: {d} digits",
                set.name,
                to_f64(computed)
            );
        };
        let standard_errors = fit.standard_errors.unwrap();
        assert_eq!(fit.coefficients.len(), set.coefficients.len());
        for (b, certified) in fit.coefficients.iter().zip(&set.coefficients) {
            close("coefficient", b, *certified, 11.0);
        }
        for (e, certified) in standard_errors.iter().zip(&set.standard_errors) {
            close("standard error", e, *certified, 11.0);
        }
        close("residual std", &fit.residual_std.unwrap(), set.residual_std, 11.0);
        close("R²", &fit.r_squared.unwrap(), set.r_squared, 13.0);
    }
}

#[test]
fn a_polynomial_of_degree_ten_has_an_exact_answer() {
    let (target, terms) = nist::filip_like();
    let slices: Vec<&[f64]> = terms.iter().map(Vec::as_slice).collect();
    let fit = oracle::least_squares(&target, &slices, true, 0.0).unwrap();
    // The normal equations hold exactly: the residuals are orthogonal to every term.
    let residuals: Vec<Rational> = (0..target.len())
        .map(|i| {
            let fitted: Rational = slices
                .iter()
                .zip(&fit.coefficients[1..])
                .map(|(t, b)| rational(t[i]) * b)
                .sum();
            rational(target[i]) - fitted - &fit.coefficients[0]
        })
        .collect();
    assert_eq!(residuals.iter().sum::<Rational>(), ratio(0, 1));
    for term in slices {
        assert_eq!(
            residuals
                .iter()
                .zip(term)
                .map(|(r, &x)| r * rational(x))
                .sum::<Rational>(),
            ratio(0, 1)
        );
    }
    let square: Rational = residuals.iter().map(|r| r * r).sum();
    assert_eq!(fit.residual_std, Some(oracle::sqrt(&(square / ratio(82 - 11, 1)))));
    let r_squared = to_f64(&fit.r_squared.unwrap());
    assert!((0.9..1.0).contains(&r_squared), "{r_squared}");
}

#[test]
fn regression_by_hand() {
    let (x, y) = ([0.0, 1.0, 2.0], [1.0, 2.0, 2.0]);
    let fit = oracle::least_squares(&y, &[&x], true, 0.0).unwrap();
    assert_eq!(fit.coefficients, [ratio(7, 6), ratio(1, 2)]);
    assert_eq!(fit.r_squared, Some(ratio(3, 4)));
    assert_eq!(fit.residual_std, Some(oracle::sqrt(&ratio(1, 6))));
    let errors = [oracle::sqrt(&(ratio(1, 6) * ratio(5, 6))), oracle::sqrt(&ratio(1, 12))];
    assert_eq!(fit.standard_errors, Some(errors.to_vec()));

    // Without an intercept: b = 6/5. With a ridge of 2 and an intercept: b = Sxy / (Sxx + 2) = 1/4.
    let through_zero = oracle::least_squares(&y, &[&x], false, 0.0).unwrap();
    assert_eq!(
        (through_zero.coefficients, through_zero.r_squared),
        (vec![ratio(6, 5)], Some(ratio(36, 45)))
    );
    let ridge = oracle::least_squares(&y, &[&x], true, 2.0).unwrap();
    assert_eq!(ridge.coefficients, [ratio(17, 12), ratio(1, 4)]);

    assert!(oracle::least_squares(&y, &[&x, &[0.0, 2.0, 4.0]], true, 0.0).is_none());
    let exact = oracle::least_squares(&[1.0, 3.0], &[&[0.0, 1.0]], true, 0.0).unwrap();
    assert_eq!((exact.standard_errors, exact.residual_std), (None, None));
}

#[test]
fn covariance_and_correlation_by_hand() {
    let columns = oracle::listwise(&[&[1.0, 2.0, f64::NAN, 3.0, 9.0], &[2.0, 4.0, 1.0, 9.0, f64::INFINITY]]);
    let (x, y) = (&columns[0], &columns[1]);
    assert_eq!(
        (x.as_slice(), y.as_slice()),
        ([1.0, 2.0, 3.0].as_slice(), [2.0, 4.0, 9.0].as_slice())
    );
    assert_eq!(oracle::covariance(x, y, 1), Some(ratio(7, 2)));
    assert_eq!(oracle::covariance(x, y, 0), Some(ratio(7, 3)));
    assert_eq!(oracle::covariance(&[1.0], &[1.0], 1), None);
    assert_eq!(oracle::correlation(x, y), Some(oracle::sqrt(&ratio(49, 52))));
    assert_eq!(oracle::correlation(x, &[3.0, 2.0, 1.0]), Some(ratio(-1, 1)));
    assert_eq!(oracle::correlation(x, &[5.0; 3]), None);
    assert_eq!(oracle::sum(&[1e300, 1.0, -1e300]), ratio(1, 1));
}

#[test]
fn quantiles_by_hand() {
    let values = [10.0, 1.0, 2.0, 4.0];
    for (p, expected) in [
        (0.0, ratio(1, 1)),
        (0.5, ratio(3, 1)),
        (0.25, ratio(7, 4)),
        (1.0, ratio(10, 1)),
    ] {
        assert_eq!(oracle::quantile(&values, p), Some(expected), "{p}");
    }
    assert_eq!(oracle::quantile(&[], 0.5), None);
    assert_eq!(oracle::quantile(&[5.0], 0.9), Some(ratio(5, 1)));
}

#[test]
fn differences_by_hand() {
    let values = [1.0, 4.0, f64::NAN, 5.0, 7.0, 6.0];
    assert_eq!(
        oracle::differences(&values, None),
        (vec![ratio(3, 1), ratio(2, 1), ratio(-1, 1)], 0)
    );
    let time_ns = [
        0,
        2_000_000_000,
        3_000_000_000,
        4_000_000_000,
        4_000_000_000,
        4_500_000_000,
    ];
    assert_eq!(
        oracle::differences(&values, Some(&time_ns)),
        (vec![ratio(3, 2), ratio(-2, 1)], 1)
    );
}
