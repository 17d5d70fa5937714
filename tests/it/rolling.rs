//! Rolling statistics of rows in memory, against exact sums of the values in each window.

use crate::oracle::{Rational, rational, relative_error, sqrt, to_f64};
use crate::random::Random;
use crate::support::U;
use millstream::transform::{Rolling, Span, Transforms};
use millstream::{Batch, Engine, Spec};
use num_traits::{Signed, Zero};

const SINGLE: [Rolling; 6] = [
    Rolling::Mean,
    Rolling::Variance,
    Rolling::Std,
    Rolling::Min,
    Rolling::Max,
    Rolling::ZScore,
];

/// Everything there is of two columns.
pub(crate) fn everything(span: Span) -> Transforms {
    let all = [&SINGLE[..], &[Rolling::Covariance, Rolling::Correlation]].concat();
    Transforms::new().rolling(span, &all)
}

pub(crate) fn transform(batch: &Batch, asked: &Transforms) -> Batch {
    Engine::new(Spec::new()).unwrap().transform(batch, asked).unwrap()
}

/// What stands in a made column: none for null.
pub(crate) fn cell(made: &Batch, name: &str, row: usize) -> Option<f64> {
    let place = made
        .names()
        .iter()
        .position(|n| n == name)
        .unwrap_or_else(|| panic!("{name}: {:?}", made.names()));
    let column = &made.columns()[place];
    match column.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
        true => None,
        false => Some(column.get(row)),
    }
}

/// Sums up to each row of the values (0 where they are not counted): exact, so their differences are as well.
fn sums_before(values: impl Iterator<Item = Rational>) -> Vec<Rational> {
    let mut sums = vec![Rational::zero()];
    for x in values {
        sums.push(sums[sums.len() - 1].clone() + x);
    }
    sums
}

fn integer(n: usize) -> Rational {
    Rational::from_integer(n.into())
}

/// Additions that a sum of n rows passes through: segments of up to 128 rows, at least 4 where there is more than one.
fn additions(n: usize) -> f64 {
    (n.min(128 + n / 32) + 2) as f64
}

/// How far a variance may be off, relatively: the header of `src/backend/cpu/rolling/sums.rs`, and the last division.
fn variance_error_max(n: usize) -> f64 {
    let (p, n) = (additions(n), n as f64);
    ((3.0 * p + 8.0) * n + 8.0 * (p + 4.0) * n.sqrt() + 10.0) * U
}

/// The finite values of a column, their number, and their powers, up to each row.
struct Exact<'a> {
    values: &'a [f64],
    count: Vec<usize>,
    sum: Vec<Rational>,
    squares: Vec<Rational>,
}

impl<'a> Exact<'a> {
    fn new(values: &'a [f64]) -> Self {
        let finite = |x: &f64| if x.is_finite() { rational(*x) } else { Rational::zero() };
        let mut count = vec![0];
        for x in values {
            count.push(count[count.len() - 1] + usize::from(x.is_finite()));
        }
        Self {
            values,
            count,
            sum: sums_before(values.iter().map(finite)),
            squares: sums_before(values.iter().map(|x| finite(x) * finite(x))),
        }
    }

    /// n, the mean and Σ(x − mean)² of the finite values of rows `from..to`.
    fn moments(&self, from: usize, to: usize) -> Option<(usize, Rational, Rational)> {
        let n = self.count[to] - self.count[from];
        if n == 0 {
            return None;
        }
        let sum = &self.sum[to] - &self.sum[from];
        let squares = &self.squares[to] - &self.squares[from];
        let mean = &sum / integer(n);
        let m2 = squares - &sum * &mean;
        Some((n, mean, m2))
    }

    fn check(&self, made: &Batch, x: &str, span: &str, window: std::ops::Range<usize>, min_rows: usize) {
        let (from, to) = (window.start, window.end);
        let row = to - 1;
        let own = self.values[row];
        let get = |s: Rolling| cell(made, &format!("{x}_{}_{span}", s.name()), row);
        let what = format!("{x}, rows {from}..{to}: {:?}", &self.values[from..to.min(from + 8)]);
        let present: Vec<f64> = self.values[from..to].iter().copied().filter(|x| !x.is_nan()).collect();
        if present.len() < min_rows {
            SINGLE.iter().for_each(|s| assert_eq!(get(*s), None, "{what} {s:?}"));
            return;
        }
        assert_eq!(get(Rolling::Min), present.iter().copied().reduce(f64::min), "{what}");
        assert_eq!(get(Rolling::Max), present.iter().copied().reduce(f64::max), "{what}");
        let (up, down) = (present.contains(&f64::INFINITY), present.contains(&f64::NEG_INFINITY));
        if up || down {
            let mean = get(Rolling::Mean).unwrap();
            match (up, down) {
                (true, true) => assert!(mean.is_nan(), "{what}"),
                _ => assert_eq!(mean, if up { f64::INFINITY } else { f64::NEG_INFINITY }, "{what}"),
            }
            let variance = get(Rolling::Variance);
            assert_eq!(variance.is_some(), present.len() > 1, "{what}");
            assert!(variance.is_none_or(f64::is_nan), "{what}");
            return;
        }
        let (n, mean, m2) = self.moments(from, to).unwrap();
        let exact_mean = to_f64(&mean);
        let range = present.iter().copied().fold(f64::MIN, f64::max) - present.iter().copied().fold(f64::MAX, f64::min);
        let offset = 3.0 * (additions(n) + 4.0) * U * range;
        let found = get(Rolling::Mean).unwrap();
        assert!(
            (found - exact_mean).abs() <= offset + 2.0 * U * exact_mean.abs(),
            "{what}: {found} {exact_mean}"
        );
        let relative = variance_error_max(n);
        if n == 1 {
            assert_eq!(
                [get(Rolling::Variance), get(Rolling::Std), get(Rolling::ZScore)],
                [None; 3],
                "{what}"
            );
            return;
        }
        let variance = &m2 / integer(n - 1);
        let std = sqrt(&variance);
        let found = get(Rolling::Variance).unwrap();
        assert!(
            relative_error(found, &variance) <= relative,
            "{what}: {found} {}",
            to_f64(&variance)
        );
        assert!(relative_error(get(Rolling::Std).unwrap(), &std) <= relative, "{what}");
        if m2.is_zero() || own.is_nan() {
            assert_eq!(get(Rolling::ZScore), None, "{what}");
            return;
        }
        let z = to_f64(&((rational(own) - mean) / &std));
        let found = get(Rolling::ZScore).unwrap();
        let near = (offset + 4.0 * U * range) / to_f64(&std) + z.abs() * relative;
        assert!((found - z).abs() <= near, "{what}: z {found} {z}");
    }
}

/// Covariance and correlation of the rows that have both.
fn check_pair(made: &Batch, span: &str, x: &[f64], y: &[f64], window: std::ops::Range<usize>, min_rows: usize) {
    let row = window.end - 1;
    let get = |s: Rolling| cell(made, &format!("x_y_{}_{span}", s.name()), row);
    let both = |i: &usize| x[*i].is_finite() && y[*i].is_finite();
    let rows: Vec<usize> = window.filter(both).collect();
    let n = rows.len();
    let (covariance, correlation) = (get(Rolling::Covariance), get(Rolling::Correlation));
    if n < min_rows.max(1) {
        assert_eq!((covariance, correlation), (None, None), "{row}");
        return;
    }
    let sum = |f: &dyn Fn(usize) -> Rational| rows.iter().map(|i| f(*i)).sum::<Rational>();
    let product = |a: &[f64], b: &[f64]| {
        let (sa, sb) = (sum(&|i| rational(a[i])), sum(&|i| rational(b[i])));
        sum(&|i| rational(a[i]) * rational(b[i])) - sa * sb / integer(n)
    };
    let (xy, xx, yy) = (product(x, y), product(x, x), product(y, y));
    let relative = variance_error_max(n);
    if n > 1 {
        let exact = to_f64(&(&xy / integer(n - 1)));
        let scale = to_f64(&(sqrt(&(&xx * &yy)) / integer(n - 1)));
        let found = covariance.unwrap();
        assert!(
            (found - exact).abs() <= relative * scale + 2.0 * U * exact.abs(),
            "{row}: {found} {exact}"
        );
    } else {
        assert_eq!(covariance, None, "{row}");
    }
    if xx.is_zero() || yy.is_zero() {
        assert_eq!(correlation, None, "{row}");
        return;
    }
    let exact = to_f64(&sqrt(&(&xy * &xy / (xx * yy)))) * if xy.is_negative() { -1.0 } else { 1.0 };
    let found = correlation.unwrap();
    assert!(
        (found - exact).abs() <= 2.0 * relative && found.abs() <= 1.0,
        "{row}: {found} {exact}"
    );
}

/// Columns that are hard on sums: bursts that come and go, constants, gaps, infinities, large offsets.
fn columns(rows: usize) -> Vec<(&'static str, Vec<f64>)> {
    let mut random = Random::new(11);
    let mut noise = |scale: f64| -> Vec<f64> { (0..rows).map(|_| random.normal() * scale).collect() };
    let with = |mut values: Vec<f64>, f: &dyn Fn(usize) -> Option<f64>| {
        for (i, x) in values.iter_mut().enumerate() {
            *x = f(i).unwrap_or(*x);
        }
        values
    };
    let plain = noise(1.0);
    vec![
        ("burst", with(plain.clone(), &|i| (i % 37 == 12).then_some(1e8))),
        (
            "bursts",
            with(noise(1e-3), &|i| match i % 41 {
                5 => Some(1e15),
                6 | 20 => Some(-1e15),
                _ => None,
            }),
        ),
        ("constant", vec![0.1; rows]),
        (
            "steps",
            (0..rows)
                .map(|i| if i / 20 % 2 == 0 { 0.1 } else { 1e9 + 0.3 })
                .collect(),
        ),
        ("offset", plain.iter().map(|x| 1e9 + x).collect()),
        (
            "gaps",
            with(plain.clone(), &|i| {
                (i % 3 == 1 || (40..75).contains(&i)).then_some(f64::NAN)
            }),
        ),
        ("missing", vec![f64::NAN; rows]),
        (
            "infinities",
            with(plain.clone(), &|i| match i {
                7 | 50 => Some(f64::INFINITY),
                54 => Some(f64::NEG_INFINITY),
                90 => Some(f64::NAN),
                _ => None,
            }),
        ),
        ("trend", (0..rows).map(|i| i as f64).collect()),
    ]
}

#[test]
fn windows_of_rows_are_what_their_rows_say() {
    let rows = 150;
    for (name, x) in columns(rows) {
        let exact = Exact::new(&x);
        let batch = Batch::from_columns([("x", x.clone())]).unwrap();
        for n in [1, 2, 3, 10, 36, 149, 150, 151, 1000] {
            for min_rows in [None, Some(1), Some(2)].into_iter().filter(|min| min.unwrap_or(1) <= n) {
                let mut asked = Transforms::new().rolling(Span::Rows(n), &SINGLE);
                if let Some(min) = min_rows {
                    asked = asked.min_rows(min);
                }
                let made = transform(&batch, &asked);
                assert_eq!(made.rows(), rows, "{name}");
                for row in 0..rows {
                    let window = (row + 1).saturating_sub(n)..row + 1;
                    exact.check(&made, "x", &n.to_string(), window, min_rows.unwrap_or(n));
                }
            }
        }
    }
}

/// Windows of several segments, whose sums are found in pieces.
#[test]
fn long_windows_are_what_their_rows_say() {
    let rows = 2_500;
    for (name, x) in columns(rows)
        .into_iter()
        .filter(|(name, _)| ["bursts", "offset", "gaps"].contains(name))
    {
        let exact = Exact::new(&x);
        let batch = Batch::from_columns([("x", x.clone())]).unwrap();
        for n in [129, 200, 513, 1100] {
            let made = transform(&batch, &Transforms::new().rolling(Span::Rows(n), &SINGLE).min_rows(3));
            for row in (0..rows).step_by(7) {
                exact.check(&made, "x", &n.to_string(), (row + 1).saturating_sub(n)..row + 1, 3);
            }
            assert_eq!(made.rows(), rows, "{name}");
        }
    }
}

#[test]
fn windows_of_time_are_what_their_rows_say() {
    let rows = 150;
    let mut random = Random::new(3);
    let mut at = i64::MIN;
    // From the beginning of time, with equal times and gaps.
    let times: Vec<i64> = (0..rows)
        .map(|i| {
            at += if i == 100 {
                1_000_000
            } else {
                random.below(4) as i64 * 1000
            };
            at
        })
        .collect();
    for (_, x) in columns(rows) {
        let exact = Exact::new(&x);
        let batch = Batch::from_columns([("x", x.clone())]).unwrap();
        let batch = batch.with_time_ns(times.clone()).unwrap();
        for (span, name) in [
            (1, "1ns"),
            (1000, "1us"),
            (12_345, "12us345ns"),
            (i64::MAX, "15250w1d23h47m16s854ms775us807ns"),
        ] {
            let name = name.replace("15250w1d", "106751d");
            let made = transform(&batch, &Transforms::new().rolling(Span::Time(span), &SINGLE));
            for row in 0..rows {
                let inside = |i: &usize| i128::from(times[*i]) > i128::from(times[row]) - i128::from(span);
                let from = (0..=row).find(inside).unwrap();
                exact.check(&made, "x", &name, from..row + 1, 1);
            }
        }
    }
}

#[test]
fn covariances_are_what_the_complete_rows_say() {
    let rows = 90;
    let columns = columns(rows);
    for (i, (_, x)) in columns.iter().enumerate() {
        for (_, y) in &columns[i..] {
            let batch = Batch::from_columns([("x", x.clone()), ("y", y.clone())]).unwrap();
            for n in [1, 2, 17, 40] {
                for (asked, min_rows) in [
                    (everything(Span::Rows(n)), n),
                    (everything(Span::Rows(n)).min_rows(1), 1),
                ] {
                    let made = transform(&batch, &asked);
                    for row in (0..rows).step_by(3) {
                        let window = (row + 1).saturating_sub(n)..row + 1;
                        check_pair(&made, &n.to_string(), x, y, window, min_rows);
                    }
                }
            }
        }
    }
    // Without correlations there are fewer sums, and of many segments.
    let (x, y) = (self::columns(900).swap_remove(1).1, self::columns(900).swap_remove(4).1);
    let batch = Batch::from_columns([("x", x.clone()), ("y", y.clone())]).unwrap();
    let asked = Transforms::new().rolling(Span::Rows(300), &[Rolling::Covariance]);
    let both = transform(&batch, &everything(Span::Rows(300)));
    let made = transform(&batch, &asked);
    assert_eq!(made.names(), ["x_y_covariance_300"]);
    for row in 0..900 {
        assert_eq!(
            cell(&made, "x_y_covariance_300", row),
            cell(&both, "x_y_covariance_300", row)
        );
        if row % 50 == 9 {
            check_pair(&both, "300", &x, &y, (row + 1usize).saturating_sub(300)..row + 1, 300);
        }
    }
}

/// Values whose squares are beyond the range of f64, or would be.
#[test]
fn the_ends_of_the_range_keep_their_shape() {
    for unit in [1e160, 1e200, f64::MAX / 4.0] {
        let x: Vec<f64> = [1.0, 2.0, 4.0, 1.0, 1.0, 1.0].map(|x| x * unit).to_vec();
        let batch = Batch::from_columns([("x", x.clone()), ("y", x)]).unwrap();
        let made = transform(&batch, &everything(Span::Rows(4)).ddof(0));
        assert_eq!(cell(&made, "x_mean_4", 3), Some(2.0 * unit));
        let near = |found: Option<f64>, exact: f64| (found.unwrap() / exact - 1.0).abs() < 1e-15;
        assert!(near(cell(&made, "x_std_4", 3), 1.5f64.sqrt() * unit), "{unit}");
        assert_eq!(cell(&made, "x_variance_4", 3), Some(1.5 * unit * unit));
        assert!(near(cell(&made, "x_zscore_4", 3), -1.0 / 1.5f64.sqrt()));
        assert!(near(cell(&made, "x_y_correlation_4", 3), 1.0));
    }
    let ends = Batch::from_columns([("x", vec![f64::MAX, -f64::MAX, f64::MAX])]).unwrap();
    let made = transform(&ends, &Transforms::new().rolling(Span::Rows(2), &SINGLE).ddof(0));
    assert_eq!(cell(&made, "x_mean_2", 2), Some(0.0));
    assert_eq!(cell(&made, "x_std_2", 2), Some(f64::MAX));
}
