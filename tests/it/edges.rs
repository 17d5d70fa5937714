//! The edges: constants, hardly any rows, missing and infinite values, the ends of the range, widths, counts beyond
//! 2³².

use crate::oracle::{self, Rational, rational, relative_error, to_f64};
use crate::random::Random;
use crate::support::{U, batch, bits, closed, pieces, report, variance_error_max};
use millstream::report::ColumnReport;
use millstream::{Batch, Engine, Merge, Spec, Summary};

/// The column `x` of a report over these values.
fn column(spec: Spec, values: &[f64]) -> ColumnReport {
    report(spec, &batch(&[("x", values)])).groups[0].columns["x"].clone()
}

#[test]
fn constants_have_no_variance_at_all() {
    let constants = [
        0.1,
        -0.1,
        1.0 / 3.0,
        1e9 + 0.1,
        1e308,
        -1.797e308,
        f64::MAX,
        -f64::MAX,
        f64::MIN_POSITIVE,
        5e-324,
        -3e-320,
        1e-310,
        1e-200,
        1e100,
        123_456_789.123,
        0.0,
        -0.0,
        2f64.powi(200),
        2f64.powi(201),
        2f64.powi(-201),
    ];
    for c in constants {
        for n in [1, 2, 3, 7, 255, 256, 257, 4095, 4096, 4097, 10_007] {
            let all = batch(&[("x", &vec![c; n]), ("y", &vec![c; n])])
                .with_keys(Vec::new())
                .unwrap();
            for rows in [n, 1000, 13] {
                let mut engine = Engine::new(Spec::new().covariance().ddof(0).differences()).unwrap();
                pieces(&all, rows).iter().for_each(|b| drop(engine.push(b).unwrap()));
                let report = engine.finish().unwrap();
                let group = &report.groups[0];
                let x = &group.columns["x"];
                let what = format!("{c:e} × {n} in {rows}: {x:?}");
                assert_eq!((x.variance, x.std), (Some(0.0), Some(0.0)), "{what}");
                assert_eq!((x.mean, x.min, x.max), (Some(c), Some(c), Some(c)), "{what}");
                assert_eq!((x.skewness, x.kurtosis), (None, None), "{what}");
                for row in &group.covariance.as_ref().unwrap().matrix {
                    assert_eq!(row, &[Some(0.0); 2], "{what}");
                }
            }
        }
    }
}

#[test]
fn constants_in_groups_have_none_either() {
    let window = millstream::Window::Rows { size: 700, slide: 100 };
    let all = batch(&[("x", &[0.1; 5000]), ("y", &[1e300; 5000])]);
    for spec in [
        Spec::new().window(window).covariance(),
        Spec::new().window(window).correlation(),
    ] {
        for group in &report(spec, &all).groups {
            for (_, x) in group.columns.iter() {
                assert!(
                    matches!(x.variance, Some(0.0)) || (group.rows == 1 && x.variance.is_none()),
                    "{x:?}"
                );
            }
            for row in group.correlation.iter().flat_map(|m| &m.matrix) {
                assert_eq!(row, &[None, None]);
            }
        }
    }
}

#[test]
fn no_row_one_row_two_rows() {
    let all = Spec::new()
        .covariance()
        .correlation()
        .differences()
        .quantiles(&[0.5])
        .regression("y", &["x"]);
    for (n, mean, variance) in [(0, None, None), (1, Some(3.0), None), (2, Some(4.0), Some(2.0))] {
        let found = report(all.clone(), &batch(&[("x", &[3.0, 5.0][..n]), ("y", &[1.0, 2.0][..n])]));
        assert_eq!((found.rows, found.groups.len()), (n as u64, 1));
        let group = &found.groups[0];
        let x = &group.columns["x"];
        assert_eq!((x.count, x.missing, x.sum), (n as u64, 0, Some([0.0, 3.0, 8.0][n])));
        assert_eq!((x.mean, x.variance), (mean, variance), "{n}");
        assert_eq!(x.quantiles.as_ref().unwrap()["0.5"], mean);
        assert_eq!(
            group.differences.as_ref().unwrap()["x"].count,
            n.saturating_sub(1) as u64
        );
        let matrix = group.covariance.as_ref().unwrap();
        assert_eq!(
            (matrix.rows, matrix.columns.len()),
            (n as u64, if n == 0 { 0 } else { 2 })
        );
        let slope = group.regression.as_ref().unwrap().coefficients[1];
        assert_eq!(slope, (n == 2).then_some(0.5));
    }
    // Nothing was ever pushed: nothing to report. A batch without columns has rows all the same.
    assert_eq!(Engine::new(Spec::new()).unwrap().finish().unwrap().groups, []);
    let bare = Batch::new(7, Vec::new()).unwrap();
    assert_eq!(report(Spec::new(), &bare).groups[0].rows, 7);
}

#[test]
fn ddof_is_the_divisors_only() {
    let values = [1.0, 2.0, 3.0, 6.0];
    for (ddof, variance) in [
        (0, Some(3.5)),
        (1, Some(14.0 / 3.0)),
        (3, Some(14.0)),
        (4, None),
        (5, None),
    ] {
        let x = column(Spec::new().ddof(ddof), &values);
        assert_eq!((x.variance, x.std), (variance, variance.map(f64::sqrt)), "{ddof}");
        assert_eq!(x.kurtosis.map(|k| (k + 1.0).abs() < 1e-15), Some(true), "{ddof}");
        let both = batch(&[("x", &values), ("y", &values)]);
        let group = report(Spec::new().covariance().ddof(ddof), &both).groups[0].clone();
        assert_eq!(group.covariance.unwrap().matrix[0][1], variance, "{ddof}");
    }
}

#[test]
fn infinite_values_decide_the_mean_and_leave_no_spread() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    for (values, mean, min, max) in [
        (vec![1.0, inf, 2.0, nan], inf, 1.0, inf),
        (vec![-inf, 1.0, nan], -inf, -inf, 1.0),
        (vec![inf, 0.0, -inf], nan, -inf, inf),
        (vec![inf, inf], inf, inf, inf),
    ] {
        let x = column(Spec::new(), &values);
        let missing = values.iter().filter(|x| x.is_nan()).count();
        assert_eq!((x.count, x.missing), ((values.len() - missing) as u64, missing as u64));
        let same = |a: Option<f64>, b: f64| a.is_some_and(|a| a == b || (a.is_nan() && b.is_nan()));
        assert!(same(x.mean, mean) && same(x.sum, mean), "{values:?} {x:?}");
        assert!(same(x.min, min) && same(x.max, max), "{values:?} {x:?}");
        for spread in [x.variance, x.std, x.skewness, x.kurtosis] {
            assert!(same(spread, nan), "{values:?} {x:?}");
        }
    }
}

#[test]
fn a_column_of_nothing_but_missing_values() {
    let x = column(Spec::new().quantiles(&[0.5]), &[f64::NAN; 5000]);
    assert_eq!((x.count, x.missing, x.sum), (0, 5000, Some(0.0)));
    assert_eq!(
        (x.mean, x.variance, x.std, x.min, x.max),
        (None, None, None, None, None)
    );
    assert_eq!(x.quantiles.unwrap()["0.5"], None);

    // It is left out of matrices, and takes no row from the others.
    let both = batch(&[("x", &[f64::NAN; 3]), ("y", &[1.0, 2.0, 6.0])]);
    let group = report(Spec::new().covariance(), &both).groups[0].clone();
    let matrix = group.covariance.unwrap();
    assert_eq!(
        (matrix.columns, matrix.rows, matrix.matrix),
        (vec!["y".into()], 3, vec![vec![Some(7.0)]])
    );
}

/// Values from the whole range of f64, the ends often.
fn wild(random: &mut Random, n: usize) -> Vec<f64> {
    let special = [
        f64::MAX,
        -f64::MAX,
        5e-324,
        -5e-324,
        0.0,
        f64::MIN_POSITIVE,
        1e308,
        1.0,
        f64::INFINITY,
        f64::NAN,
    ];
    (0..n)
        .map(|_| match random.below(4) {
            0 => special[random.below(8) as usize],
            1 => special[random.below(10) as usize],
            _ => f64::from_bits(random.next_u64()),
        })
        .collect()
}

#[test]
fn the_whole_range_of_numbers() {
    let mut random = Random::new(17);
    for round in 0..400 {
        let n = 1 + random.below(60) as usize;
        let mut values = wild(&mut random, n);
        if round % 2 == 0 {
            // Within one part of the range: all huge, all tiny, all ordinary.
            let exponent = random.below(2000) as i32 - 1040;
            values
                .iter_mut()
                .for_each(|x| *x = if x.is_finite() { (x.to_bits() % 1000) as f64 } else { *x });
            values
                .iter_mut()
                .for_each(|x| *x *= 2f64.powi(exponent / 2) * 2f64.powi(exponent - exponent / 2));
        }
        let finite: Vec<f64> = values.iter().copied().filter(|x| x.is_finite()).collect();
        let infinite = values.iter().filter(|x| x.is_infinite()).count();
        let x = column(Spec::new().ddof(0), &values);
        assert_eq!(x.count as usize, finite.len() + infinite, "{values:?}");
        assert_eq!(x.missing as usize, values.len() - finite.len() - infinite, "{values:?}");
        if infinite > 0 || finite.is_empty() {
            continue;
        }
        let exact = oracle::moments(&finite).unwrap();
        assert_eq!(
            (x.min, x.max),
            (Some(to_f64(&exact.min)), Some(to_f64(&exact.max))),
            "{values:?}"
        );
        // A sum of n deviations, one rounding each, and the last step of the subnormal numbers.
        let largest = finite.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        let n = finite.len();
        let off =
            |computed: f64, exact: &Rational| (rational(computed) - exact).numer().magnitude().clone() != 0u32.into();
        let mean = x.mean.unwrap();
        if off(mean, &exact.mean) {
            let bound = rational(largest) * rational((n as f64 + 2.0) * 4.0 * U) + rational(5e-324);
            let error = rational(mean) - &exact.mean;
            assert!(error.clone() <= bound && -error <= bound, "mean {mean:e}: {values:?}");
        }
        let std = x.std.unwrap();
        let exact_std = exact.std(0).unwrap();
        let ok = relative_error(std, &exact_std) <= variance_error_max(n) || {
            let error = rational(std) - &exact_std;
            error.clone() <= rational(5e-324) && -error <= rational(5e-324)
        };
        assert!(ok, "sd {std:e}, exactly {:e}: {values:?}", to_f64(&exact_std));
    }
}

#[test]
fn skewness_and_kurtosis() {
    let mut random = Random::new(23);
    for n in [2, 3, 10, 300, 20_000] {
        for shape in 0..3 {
            let values: Vec<f64> = (0..n)
                .map(|_| match shape {
                    0 => random.normal(),
                    1 => random.uniform().powi(6) * 1e6 - 3.0,
                    _ => 1e6 + random.below(3) as f64,
                })
                .collect();
            let exact = oracle::moments(&values).unwrap();
            let x = column(Spec::new(), &values);
            let (Some(g1), Some(g2)) = (exact.skewness(), exact.kurtosis()) else {
                assert_eq!((x.skewness, x.kurtosis), (None, None), "{values:?}");
                continue;
            };
            // A lane adds 256 fourth powers of at most 8 + κ^¼ sd around the pivot, each with four roundings: 264 ·
            // 2⁻⁵³ of (8 + 2.5)⁴ sd⁴ (κ ≤ 40 here), in five terms of that size; the third powers are smaller.
            let bound = 264.0 * U * 10.5f64.powi(4) * 5.0;
            assert!((x.skewness.unwrap() - to_f64(&g1)).abs() <= bound, "{n} {shape}: {x:?}");
            assert!((x.kurtosis.unwrap() - to_f64(&g2)).abs() <= bound, "{n} {shape}: {x:?}");
        }
    }
}

#[test]
fn counts_beyond_two_to_the_thirty_two() {
    let mut random = Random::new(29);
    let values: Vec<f64> = (0..1000).map(|_| 1e3 + random.normal()).collect();
    let other: Vec<f64> = values.iter().map(|x| 2.0 * x + random.normal()).collect();
    let spec = Spec::new()
        .covariance()
        .quantiles(&[0.5])
        .differences()
        .regression("y", &["x"]);
    let mut summary = closed(&spec, &[batch(&[("x", &values), ("y", &other)])])[0]
        .summary
        .clone();
    let doublings = 24;
    for _ in 0..doublings {
        let again = Summary::from_bytes(&summary.to_bytes()).unwrap();
        summary.merge(&again);
    }
    let n = 1000u64 << doublings;
    assert!(n > 1 << 32);
    let (x, exact) = (&summary.columns[0], oracle::moments(&values).unwrap());
    assert_eq!((summary.rows, x.count, summary.quantiles[0].count()), (n, n, n));
    assert_eq!(summary.differences[0].moments.count, n - 1);
    assert_eq!(summary.comoments.as_ref().unwrap().rows, n);
    // Doubling is exact but for the division of two equal sums: the means are the same, nothing is added.
    assert_eq!(x.mean(), Some(to_f64(&exact.mean)));
    assert!(relative_error(x.variance(0).unwrap(), &exact.m2) <= variance_error_max(1000));
    let covariance = oracle::covariance(&values, &other, 0).unwrap();
    let found = summary.comoments.as_ref().unwrap().covariance(0, 1, 0).unwrap();
    assert!(relative_error(found, &covariance) <= 2.0 * variance_error_max(1000));
}

#[test]
fn f32_columns_are_widened_exactly() {
    use millstream::batch::{Column, Values};
    let mut random = Random::new(31);
    let narrow: Vec<f32> = (0..9000).map(|_| (random.normal() * 1e3 + 1e5) as f32).collect();
    let wide: Vec<f64> = narrow.iter().map(|x| f64::from(*x)).collect();
    let column = |values| ("x".to_string(), Column { values, nulls: None });
    let f32s = Batch::new(9000, vec![column(Values::F32(narrow.into()))]).unwrap();
    let f64s = Batch::new(9000, vec![column(Values::F64(wide.clone().into()))]).unwrap();
    let spec = Spec::new().covariance().differences().quantiles(&[0.1, 0.9]);
    assert_eq!(bits(&closed(&spec, &[f32s])), bits(&closed(&spec, &[f64s])));
    let extremes = [f32::MAX, f32::MIN_POSITIVE, 1e-45, -f32::MAX];
    let f32s = Batch::new(4, vec![column(Values::F32(extremes.to_vec().into()))]).unwrap();
    let x = report(Spec::new(), &f32s).groups[0].columns["x"].clone();
    let exact = oracle::moments(&extremes.map(f64::from)).unwrap();
    assert!(relative_error(x.std.unwrap(), &exact.std(1).unwrap()) <= variance_error_max(4));
    assert_eq!((x.min, x.max), (Some(-f64::from(f32::MAX)), Some(f64::from(f32::MAX))));
}

#[test]
fn quantiles_are_exact_while_few_and_within_one_percent_later() {
    let mut random = Random::new(43);
    let probabilities = [0.0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.999, 1.0];
    for n in [1, 2, 5, 255, 256, 257, 5000] {
        let values: Vec<f64> = (0..n).map(|_| random.normal().powi(3) * 1e3).collect();
        let found = column(Spec::new().quantiles(&probabilities), &values)
            .quantiles
            .unwrap();
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        for (p, (name, found)) in probabilities.iter().zip(found.iter()) {
            let found = found.unwrap();
            assert_eq!(name, p.to_string());
            if n <= 256 {
                // The rank is rounded to 2⁻⁵³ of itself, the interpolation thrice; both scale with the largest
                // neighbour.
                let exact = to_f64(&oracle::quantile(&values, *p).unwrap());
                let place = (p * (n - 1) as f64) as usize;
                let largest = sorted[place.saturating_sub(1)..(place + 2).min(n)]
                    .iter()
                    .fold(0.0f64, |m, x| m.max(x.abs()));
                assert!(
                    (found - exact).abs() <= 2.0 * largest * (n as f64 + 4.0) * U,
                    "{n} {p}: {found} {exact}"
                );
            } else {
                // Between two order statistics, each within 1 % and a hair of rounding in the map of the buckets.
                let exact = to_f64(&oracle::quantile(&values, *p).unwrap());
                let h = p * (n - 1) as f64;
                let (a, b, w) = (sorted[h as usize].abs(), sorted[h.ceil() as usize].abs(), h.fract());
                assert!(
                    (found - exact).abs() <= (a + w * (b - a)) * (0.01 + 1e-12),
                    "{n} {p}: {found} {exact}"
                );
            }
        }
    }
}

#[test]
fn matrices_beyond_the_limit_are_refused_and_not_tried() {
    let names: Vec<String> = (0..4097).map(|i| format!("c{i}")).collect();
    let wide = Batch::from_columns(names.iter().map(|n| (n.as_str(), vec![1.0, 2.0]))).unwrap();
    let terms: Vec<&str> = names[1..].iter().map(String::as_str).collect();
    for (what, spec) in [
        ("a matrix of 4097 columns", Spec::new().covariance()),
        (
            "a regression of 4097 columns",
            Spec::new().columns(["c0"]).regression("c0", &terms),
        ),
    ] {
        let error = Engine::new(spec).unwrap().analyze(&wide).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
    assert_eq!(report(Spec::new(), &wide).groups[0].columns.len(), 4097);
}
