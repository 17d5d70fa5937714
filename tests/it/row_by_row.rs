//! Differences, gradients, exponentially weighted statistics and z-scores, row by row, against exact arithmetic.

use crate::oracle::{self, Rational, rational, sqrt, to_f64};
use crate::random::Random;
use crate::support::{U, pieces};
use arrow::array::{ArrayRef, Int64Array};
use millstream::transform::{Rolling, Span, Transformer, Transforms, Weighted};
use millstream::{Batch, Engine, Error, Spec};
use num_traits::{Signed, Zero};
use std::sync::Arc;

const SECOND: i64 = 1_000_000_000;

fn transform(batch: &Batch, asked: &Transforms) -> Batch {
    Engine::new(Spec::new()).unwrap().transform(batch, asked).unwrap()
}

/// A made column: none for null.
fn column(made: &Batch, name: &str) -> Vec<Option<f64>> {
    let place = made
        .names()
        .iter()
        .position(|n| n == name)
        .unwrap_or_else(|| panic!("{name}: {:?}", made.names()));
    let column = &made.columns()[place];
    let null = |i: usize| column.nulls.as_ref().is_some_and(|nulls| nulls.is_null(i));
    (0..column.len()).map(|i| (!null(i)).then(|| column.get(i))).collect()
}

fn x(values: &[f64]) -> Batch {
    Batch::from_columns([("x", values.to_vec())]).unwrap()
}

/// Values of all sizes and times with uneven steps, some of which stand still.
fn uneven(rows: usize) -> (Vec<f64>, Vec<i64>) {
    let mut random = Random::new(8);
    let mut at = -5 * SECOND;
    let times = (0..rows).map(|_| {
        at += [1, SECOND, 3 * SECOND / 2, 86_400 * SECOND][random.below(4) as usize];
        at
    });
    let times: Vec<i64> = times.collect();
    let values = (0..rows).map(|i| match i % 11 {
        3 => f64::NAN,
        7 => 1e12,
        _ => random.normal(),
    });
    (values.collect(), times)
}

fn seconds(from: i64, to: i64) -> Rational {
    Rational::new((to - from).into(), SECOND.into())
}

/// numpy's formula for uneven spacings inside, and for an edge of first or second order; in rationals.
fn numpy_gradient(f: &[Rational], t: &[Rational], i: usize, order: u8) -> Rational {
    let n = f.len();
    let h = |i: usize| &t[i + 1] - &t[i];
    let two = Rational::from_integer(2.into());
    match (i, order) {
        (0, 1) => (&f[1] - &f[0]) / h(0),
        (i, 1) if i + 1 == n => (&f[n - 1] - &f[n - 2]) / h(n - 2),
        (0, _) => {
            let (d1, d2) = (h(0), h(1));
            let a = -(&two * &d1 + &d2) / (&d1 * (&d1 + &d2));
            let b = (&d1 + &d2) / (&d1 * &d2);
            let c = -&d1 / (&d2 * (&d1 + &d2));
            a * &f[0] + b * &f[1] + c * &f[2]
        }
        (i, _) if i + 1 == n => {
            let (d1, d2) = (h(n - 3), h(n - 2));
            let a = &d2 / (&d1 * (&d1 + &d2));
            let b = -(&d2 + &d1) / (&d1 * &d2);
            let c = (&two * &d2 + &d1) / (&d2 * (&d1 + &d2));
            a * &f[n - 3] + b * &f[n - 2] + c * &f[n - 1]
        }
        (i, _) => {
            let (hs, hd) = (h(i - 1), h(i));
            let (s2, d2) = (&hs * &hs, &hd * &hd);
            (&s2 * &f[i + 1] + (&d2 - &s2) * &f[i] - &d2 * &f[i - 1]) / (&hs * &hd * (&hd + &hs))
        }
    }
}

#[test]
fn gradients_are_numpys() {
    let (values, times) = uneven(60);
    let finite: Vec<f64> = values.iter().map(|x| if x.is_nan() { 2.5 } else { *x }).collect();
    let f: Vec<Rational> = finite.iter().map(|x| rational(*x)).collect();
    for timed in [false, true] {
        let t: Vec<Rational> = match timed {
            true => times.iter().map(|t| seconds(0, *t)).collect(),
            false => (0..60).map(|i| Rational::from_integer(i.into())).collect(),
        };
        for order in [1, 2] {
            for rows in [3, 4, 60] {
                let batch = x(&finite[..rows]);
                let batch = if timed {
                    batch.with_time_ns(times[..rows].to_vec()).unwrap()
                } else {
                    batch
                };
                let asked = Transforms {
                    gradient: Some(order),
                    ..Transforms::new()
                };
                let made = column(&transform(&batch, &asked), "x_gradient");
                for (i, found) in made.iter().enumerate() {
                    let exact = numpy_gradient(&f[..rows], &t[..rows], i, order);
                    // Two slopes of at most this size, each rounded four times, weighted in four more steps.
                    let slope = |i: usize| to_f64(&((&f[i + 1] - &f[i]) / (&t[i + 1] - &t[i])).abs());
                    let near = [i.saturating_sub(2), i.saturating_sub(1), i, i + 1];
                    let largest = near.into_iter().filter(|i| i + 1 < rows).map(slope).fold(0.0, f64::max);
                    let found = found.unwrap();
                    let error = to_f64(&(rational(found) - exact).abs());
                    assert!(error <= 24.0 * U * largest, "{timed} {order} {rows} {i}: {found}");
                }
            }
        }
    }
}

#[test]
fn gradients_that_do_not_exist_are_null() {
    let gradient = |values: &[f64], order: u8, times: Option<Vec<i64>>| {
        let batch = x(values);
        let batch = times.map_or(batch.clone(), |times| batch.with_time_ns(times).unwrap());
        let asked = Transforms {
            gradient: Some(order),
            ..Transforms::new()
        };
        column(&transform(&batch, &asked), "x_gradient")
    };
    let nan = f64::NAN;
    assert_eq!(gradient(&[], 1, None), []);
    assert_eq!(gradient(&[1.0], 1, None), [None]);
    assert_eq!(gradient(&[1.0, 4.0], 1, None), [Some(3.0), Some(3.0)]);
    assert_eq!(gradient(&[1.0, 4.0], 2, None), [None, None]);
    // Of a row between two others its own value plays no part, as in numpy.
    assert_eq!(
        gradient(&[1.0, nan, 4.0, 5.0], 1, None),
        [None, Some(1.5), None, Some(1.0)]
    );
    // A time that stands still has no slope.
    let times = vec![0, SECOND, SECOND, 2 * SECOND];
    assert_eq!(
        gradient(&[1.0, 2.0, 3.0, 5.0], 1, Some(times)),
        [Some(1.0), None, None, Some(2.0)]
    );
    let ends = vec![i64::MIN, 0, i64::MAX];
    let slope = gradient(&[0.0, 1.0, 2.0], 1, Some(ends))[1].unwrap();
    // Two spans, two slopes, two products, their sum and its quotient are rounded.
    assert!((slope * 2f64.powi(63) / 1e9 - 1.0).abs() <= 16.0 * U, "{slope}");
}

#[test]
fn differences_are_those_of_adjacent_rows() {
    let (values, mut times) = uneven(70);
    times[20] = times[19];
    for timed in [false, true] {
        let batch = x(&values);
        let batch = if timed {
            batch.with_time_ns(times.clone()).unwrap()
        } else {
            batch
        };
        let made = column(&transform(&batch, &Transforms::new().differences()), "x_difference");
        assert_eq!(made[0], None);
        for i in 1..70 {
            let step = values[i] - values[i - 1];
            let span = if timed {
                (times[i] - times[i - 1]) as f64 / 1e9
            } else {
                1.0
            };
            let exact = (!step.is_nan() && span > 0.0).then_some(step / span);
            assert_eq!(made[i], exact, "{i}");
        }
    }
    // Of single precision differences are those of the numbers, exactly.
    let narrow = millstream::batch::Column {
        values: millstream::batch::Values::F32(vec![0.1f32, 1e8, -3.0].into()),
        nulls: None,
    };
    let batch = Batch::new(3, vec![("x".into(), narrow)]).unwrap();
    let made = column(&transform(&batch, &Transforms::new().differences()), "x_difference");
    assert_eq!(made, [None, Some(1e8 - f64::from(0.1f32)), Some(-100_000_003.0)]);
}

/// With a half-life of one row weights are powers of two: exact.
#[test]
fn exponential_weights_halve_with_every_half_life() {
    let mut values: Vec<f64> = (0..40).map(|i| f64::from(i * i % 23) + 0.25).collect();
    values[0] = f64::NAN;
    values[9] = f64::NAN;
    values[10] = 1e6;
    let statistics = [Weighted::Mean, Weighted::Variance, Weighted::Std];
    let times: Vec<i64> = (0..40).map(|i| i * 250).collect();
    let timed = x(&values).with_time_ns(times).unwrap();
    // A row is 250 ns, and so is a half-life; or a row.
    for (batch, span) in [(x(&values), Span::Rows(1)), (timed, Span::Time(250))] {
        for ddof in [0, 1] {
            let made = transform(&batch, &Transforms::new().ewm(span, &statistics).ddof(ddof));
            let [mean, variance, std] = ["mean", "variance", "std"].map(|s| column(&made, &format!("x_ewm_{s}")));
            assert_eq!((mean[0], variance[0]), (None, None));
            for i in 1..40 {
                let rows: Vec<usize> = (0..=i).filter(|k| values[*k].is_finite()).collect();
                let weight = |k: usize| Rational::new(1.into(), num_bigint::BigInt::from(1u8) << (i - k));
                let sum = |f: &dyn Fn(usize) -> Rational| rows.iter().map(|k| f(*k)).sum::<Rational>();
                let (w, w2) = (sum(&weight), sum(&|k| weight(k) * weight(k)));
                let exact = sum(&|k| weight(k) * rational(values[k])) / &w;
                let deviation = |k: usize| rational(values[k]) - &exact;
                let m2 = sum(&|k| weight(k) * deviation(k) * deviation(k));
                let divisor = if ddof == 0 { w.clone() } else { &w - w2 / &w };
                // Eight roundings a row of numbers up to 1e6, of which those before count half.
                let largest = rows.iter().map(|k| values[*k].abs()).fold(0.0, f64::max);
                assert!((mean[i].unwrap() - to_f64(&exact)).abs() <= 16.0 * U * largest, "{i}");
                if divisor.is_zero() {
                    assert_eq!((variance[i], std[i]), (None, None), "{i}");
                    continue;
                }
                let exact = m2 / divisor;
                let near = 64.0 * U * largest * largest;
                assert!(
                    (variance[i].unwrap() - to_f64(&exact)).abs() <= near,
                    "{i}: {:?}",
                    variance[i]
                );
                assert_eq!(std[i], variance[i].map(f64::sqrt));
            }
        }
    }
}

#[test]
fn z_scores_are_by_all_rows_of_the_key() {
    let values = [1e9 + 1.0, 3.0, 1e9 + 2.0, f64::NAN, 1e9 + 4.0, 3.0, 7.0, 3.0];
    let keys: [i64; 8] = [1, 2, 1, 1, 1, 2, 3, 2];
    let batch = x(&values)
        .with_keys(vec![(
            "k".into(),
            Arc::new(Int64Array::from(keys.to_vec())) as ArrayRef,
        )])
        .unwrap();
    for ddof in [0, 1] {
        let asked = Transforms::new().by(["k"]).zscores().ddof(ddof);
        let made = column(&transform(&batch, &asked), "x_zscore");
        let moments = oracle::moments(&[values[0], values[2], values[4]]).unwrap();
        let std = sqrt(&moments.variance(ddof as usize).unwrap());
        for i in [0, 2, 4] {
            let exact = to_f64(&((rational(values[i]) - &moments.mean) / &std));
            // Mean and deviation are right to a few units of the last place, however far from 0.
            assert!(
                (made[i].unwrap() - exact).abs() <= 8.0 * U * (1.0 + exact.abs()),
                "{i}: {:?} {exact}",
                made[i]
            );
        }
        for i in [1, 3, 5, 6, 7] {
            assert_eq!(made[i], None, "{i}");
        }
    }
    // Rows that come later count too, so all of them are measured first.
    let mut transformer = Transformer::new(Transforms::new().zscores()).unwrap();
    let error = transformer.push(&x(&[1.0])).unwrap_err();
    assert!(
        matches!(&error, Error::Usage(what) if what.contains("measure")),
        "{error}"
    );
    let mut transformer = Transformer::new(Transforms::new().zscores()).unwrap();
    let batch = x(&[1.0, 2.0, 3.0]);
    pieces(&batch, 1)
        .iter()
        .for_each(|piece| transformer.measure(piece).unwrap());
    let made: Vec<_> = pieces(&batch, 2)
        .iter()
        .flat_map(|piece| column(&transformer.push(piece).unwrap(), "x_zscore"))
        .collect();
    assert_eq!(made, [Some(-1.0), Some(0.0), Some(1.0)]);
    assert!(transformer.measure(&batch).is_err());
}

/// Rows go out in their order; one that waits for the next of its key holds up those behind it, and nothing else.
#[test]
fn rows_wait_for_their_gradients_and_for_nothing_else() {
    let keyed = |keys: &[i64], values: &[f64]| {
        let keys = vec![("k".into(), Arc::new(Int64Array::from(keys.to_vec())) as ArrayRef)];
        x(values).with_keys(keys).unwrap()
    };
    let mut transformer = Transformer::new(Transforms::new().by(["k"]).gradient()).unwrap();
    let mut push =
        |keys: &[i64], values: &[f64]| column(&transformer.push(&keyed(keys, values)).unwrap(), "x_gradient");
    assert_eq!(push(&[1, 1, 2], &[0.0, 2.0, 5.0]), [Some(2.0)]);
    assert_eq!(push(&[2, 2, 2], &[7.0, 8.0, 9.0]), []);
    assert_eq!(push(&[1], &[3.0]), [Some(1.5), Some(2.0), Some(1.5), Some(1.0)]);
    assert_eq!(push(&[], &[]), []);
    let rest = column(&transformer.finish().unwrap(), "x_gradient");
    assert_eq!(rest, [Some(1.0), Some(1.0)]);

    let mut transformer =
        Transformer::new(Transforms::new().by(["k"]).rolling(Span::Rows(2), &[Rolling::Max])).unwrap();
    let made = transformer.push(&keyed(&[1, 2, 1], &[1.0, 2.0, 3.0])).unwrap();
    assert_eq!(column(&made, "x_max_2"), [None, None, Some(3.0)]);
    assert_eq!(transformer.finish().unwrap().rows(), 0);
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let batch = Batch::from_columns([("x", vec![1.0, 2.0]), ("x_difference", vec![1.0, 2.0])]).unwrap();
    let engine = Engine::new(Spec::new()).unwrap();
    let usage = |batch: &Batch, asked: Transforms, part: &str| {
        let error = engine.transform(batch, &asked).unwrap_err();
        assert!(
            matches!(&error, Error::Usage(what) if what.contains(part)),
            "{error} lacks {part}"
        );
    };
    let new = Transforms::new;
    usage(&batch, new(), "nothing is asked");
    usage(&batch, new().rolling(Span::Rows(3), &[]), "no statistic");
    usage(&batch, new().rolling(Span::Rows(0), &[Rolling::Mean]), "longer than 0");
    usage(&batch, new().rolling(Span::Time(-1), &[Rolling::Mean]), "longer than 0");
    usage(
        &batch,
        new().rolling(Span::Rows(usize::MAX), &[Rolling::Mean]),
        "at most",
    );
    usage(
        &batch,
        new().rolling(Span::Rows(3), &[Rolling::Mean]).min_rows(4),
        "never has the 4 rows",
    );
    usage(
        &batch,
        new().rolling(Span::Rows(3), &[Rolling::Mean]).min_rows(0),
        "at least 1",
    );
    usage(&batch, new().ewm(Span::Rows(0), &[Weighted::Mean]), "half-life");
    usage(&batch, new().ewm(Span::Rows(1), &[]), "no exponentially weighted");
    usage(&batch, new().ddof(2).differences(), "n - 1");
    usage(
        &batch,
        Transforms {
            gradient: Some(3),
            ..new()
        },
        "order 1 or 2",
    );
    usage(&batch, new().rolling(Span::Time(5), &[Rolling::Mean]), "event time");
    usage(&batch, new().columns(["y"]).differences(), "`y`");
    usage(&batch, new().columns(["x"]).differences(), "`x_difference` already");
    usage(
        &batch,
        new().columns(["x"]).rolling(Span::Rows(2), &[Rolling::Covariance]),
        "two columns",
    );
    usage(&batch, new().by(["k"]).columns(["x"]).gradient(), "keys are to be k");
    // Two spans that have the same name.
    let twice = new()
        .columns(["x"])
        .rolling(Span::Rows(2), &[Rolling::Max])
        .rolling(Span::Rows(2), &[Rolling::Max]);
    usage(&batch, twice, "`x_max_2` already");
    // Batches that differ.
    let mut transformer = Transformer::new(new().differences()).unwrap();
    transformer.push(&x(&[1.0])).unwrap();
    assert!(
        transformer
            .push(&Batch::from_columns([("y", vec![1.0])]).unwrap())
            .is_err()
    );
    assert!(transformer.push(&x(&[1.0]).with_time_ns(vec![5]).unwrap()).is_err());
    assert_eq!(
        column(&transformer.push(&x(&[4.0])).unwrap(), "x_difference"),
        [Some(3.0)]
    );
}

#[test]
fn a_time_that_goes_back_is_named_with_its_row() {
    let keyed = |keys: Vec<i64>, times: Vec<i64>| {
        let values = vec![1.0; keys.len()];
        let keys = vec![("k".into(), Arc::new(Int64Array::from(keys)) as ArrayRef)];
        x(&values).with_time_ns(times).unwrap().with_keys(keys).unwrap()
    };
    let asked = [
        Transforms::new().differences().by(["k"]),
        Transforms::new().differences(),
    ];
    let wrong = |asked: &Transforms, batches: &[Batch], part: &str| {
        let mut transformer = Transformer::new(asked.clone()).unwrap();
        let (last, before) = batches.split_last().unwrap();
        before.iter().for_each(|batch| drop(transformer.push(batch).unwrap()));
        let error = transformer.push(last).unwrap_err();
        assert!(
            matches!(&error, Error::Data(what) if what.contains(part)),
            "{error} lacks {part}"
        );
    };
    // Keys may be mixed in any order, each of them not.
    let mixed = keyed(vec![1, 2, 1, 2], vec![5, 1, 5, 2]);
    assert!(Transformer::new(asked[0].clone()).unwrap().push(&mixed).is_ok());
    wrong(&asked[1], std::slice::from_ref(&mixed), "row 2 ");
    wrong(&asked[0], &[mixed.clone(), keyed(vec![2, 1], vec![3, 4])], "row 6 ");
    wrong(&asked[1], &[keyed(vec![1], vec![7]), keyed(vec![1], vec![6])], "row 2 ");
}
