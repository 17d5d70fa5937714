//! Losses and gradients of rows that were uploaded: against exact numbers, on any backend, with any gaps.

use crate::oracle::{Rational, rational, to_f64};
use crate::precise::{self, Fixed};
use crate::random::Random;
use arrow::buffer::NullBuffer;
use millstream::backend::{Backend, Tolerance};
use millstream::batch::{Column, Values};
use millstream::summary::Loss;
use millstream::{Batch, Cpu, Engine, Error, Model, ModelSpec, Spec, Summary};
use num_traits::{Signed, Zero};

const MODELS: [Model; 2] = [Model::Linear, Model::Logistic];

/// Terms of f64 far from zero, of f32, and with gaps of every kind; the last column is the target.
pub(crate) fn rows(n: usize, gaps: bool) -> Batch {
    let mut random = Random::new(n as u64);
    let mut normal = |mean: f64, sd: f64| (0..n).map(|_| mean + sd * random.normal()).collect::<Vec<f64>>();
    let (far, near) = (normal(1e3, 1.0), normal(0.0, 2.0));
    let narrow: Vec<f32> = normal(0.0, 1.0).iter().map(|x| *x as f32).collect();
    let mut holes = normal(0.0, 1.0);
    let mut random = Random::new(1);
    let y: Vec<f64> = (0..n).map(|_| random.below(5) as f64 / 4.0).collect();
    let mut nulls = None;
    if gaps {
        for (i, x) in holes.iter_mut().enumerate() {
            *x = match i % 11 {
                3 => f64::NAN,
                7 => f64::INFINITY,
                9 => f64::NEG_INFINITY,
                _ => *x,
            };
        }
        nulls = Some(NullBuffer::from((0..n).map(|i| i % 13 != 5).collect::<Vec<_>>()));
    }
    let f64s = |values: Vec<f64>, nulls| Column {
        values: Values::F64(values.into()),
        nulls,
    };
    let columns = vec![
        ("far".into(), f64s(far, None)),
        ("near".into(), f64s(near, nulls)),
        (
            "narrow".into(),
            Column {
                values: Values::F32(narrow.into()),
                nulls: None,
            },
        ),
        ("holes".into(), f64s(holes, None)),
        ("y".into(), f64s(y, None)),
    ];
    Batch::new(n, columns).unwrap()
}

pub(crate) fn spec(model: Model, terms: &[&str], intercept: bool) -> ModelSpec {
    ModelSpec {
        model,
        intercept,
        ..ModelSpec::linear("y", terms)
    }
}

/// The loss and the gradient, exact, with the sums of magnitudes that the tolerance is relative to.
struct Exact {
    rows: u64,
    values: Vec<Rational>,
    magnitudes: Vec<f64>,
}

fn exact(batch: &Batch, spec: &ModelSpec, weights: &[f64]) -> Exact {
    let column = |name: &String| &batch.columns()[batch.names().iter().position(|n| n == name).unwrap()];
    let terms: Vec<&Column> = spec.terms.iter().map(column).collect();
    let target = column(&spec.target);
    let mut values = vec![Rational::zero(); weights.len() + 1];
    let mut magnitudes = vec![0.0; weights.len() + 1];
    let mut rows = 0;
    for i in 0..batch.rows() {
        let y = target.get(i);
        let mut x: Vec<f64> = terms.iter().map(|c| c.get(i)).collect();
        if !y.is_finite() || x.iter().any(|x| !x.is_finite()) {
            continue;
        }
        rows += 1;
        if spec.intercept {
            x.insert(0, 1.0);
        }
        let products: Vec<Rational> = x
            .iter()
            .zip(weights)
            .map(|(x, w)| rational(*x) * rational(*w))
            .collect();
        let z: Rational = products.iter().sum();
        let a = products.iter().map(|p| to_f64(&p.abs())).sum::<f64>() + y.abs();
        let (loss, residual, scale) = match spec.model {
            Model::Linear => {
                let residual = &z - rational(y);
                (&residual * &residual / rational(2.0), residual, a)
            }
            Model::Logistic => {
                let z: f64 = to_f64(&z);
                // Rounding z once is within the tolerance, and 2^-53 of it is far below that.
                let (loss, p) = precise::logistic(&Fixed::of(z), &Fixed::of(y));
                (loss.rational(), p.rational() - rational(y), 1.0 + a)
            }
        };
        values[0] += loss;
        magnitudes[0] += if spec.model == Model::Linear {
            scale * scale
        } else {
            scale
        };
        for (k, x) in x.iter().enumerate() {
            values[k + 1] += &residual * rational(*x);
            magnitudes[k + 1] += scale * x.abs();
        }
    }
    Exact {
        rows,
        values,
        magnitudes,
    }
}

/// A loss is as exact as a backend says.
fn agrees(batch: &Batch, spec: &ModelSpec, weights: &[f64], found: &Loss, tolerance: Tolerance) -> f64 {
    let exact = exact(batch, spec, weights);
    assert_eq!(found.rows, exact.rows);
    let numbers: Vec<f64> = std::iter::once(found.loss)
        .chain(found.gradient.iter().copied())
        .collect();
    assert_eq!(numbers.len(), exact.values.len());
    let mut worst: f64 = 0.0;
    for ((x, value), magnitude) in numbers.iter().zip(&exact.values).zip(&exact.magnitudes) {
        let error = to_f64(&(rational(*x) - value)).abs();
        assert!(
            error <= tolerance.loss * magnitude,
            "{x}: off by {error:e} of {magnitude:e} ({spec:?})"
        );
        if *magnitude > 0.0 {
            worst = worst.max(error / magnitude);
        }
    }
    worst
}

pub(crate) fn loss_on(engine: &mut Engine, batch: &Batch, spec: &ModelSpec, weights: &[f64]) -> Loss {
    let resident = engine.upload(batch).unwrap();
    engine.loss(&resident, spec, weights).unwrap()
}

#[test]
fn losses_and_gradients_are_exact_up_to_rounding() {
    let tolerance = Cpu::new().tolerance();
    let mut worst: f64 = 0.0;
    for n in [1, 2, 15, 16, 17, 255, 256, 257, 700] {
        for gaps in [false, true] {
            let batch = rows(n, gaps);
            for model in MODELS {
                for intercept in [true, false] {
                    for terms in [&["near"][..], &["far", "near", "narrow", "holes"], &["narrow"]] {
                        let spec = spec(model, terms, intercept);
                        let weights: Vec<f64> = (0..spec.weights()).map(|i| 0.25 - 0.1 * i as f64).collect();
                        let mut engine = Engine::new(Spec::new()).unwrap();
                        let found = loss_on(&mut engine, &batch, &spec, &weights);
                        worst = worst.max(agrees(&batch, &spec, &weights, &found, tolerance));
                    }
                }
            }
        }
    }
    // The tolerance is no excuse for a wrong digit: real errors stay far below it.
    assert!(worst < 1e-15, "{worst:e}");
}

/// Where naive formulas overflow or cancel.
#[test]
fn the_logistic_loss_is_right_for_any_log_odds() {
    let z = [-1e300, -800.0, -40.0, -1.0, -1e-9, 0.0, 1e-9, 1.0, 40.0, 800.0, 1e300];
    let mut engine = Engine::new(Spec::new()).unwrap();
    let spec = ModelSpec {
        intercept: false,
        ..ModelSpec::logistic("y", &["x"])
    };
    for x in z {
        for y in [0.0, 0.25, 1.0] {
            let batch = Batch::from_columns([("x", vec![x]), ("y", vec![y])]).unwrap();
            let found = loss_on(&mut engine, &batch, &spec, &[1.0]);
            let (loss, p) = precise::logistic(&Fixed::of(x), &Fixed::of(y));
            let close =
                |found: f64, exact: f64, scale: f64| (found - exact).abs() <= 4.0 * f64::EPSILON * scale + 1e-90;
            let loss = loss.to_f64();
            assert!(close(found.loss, loss, loss), "{x} {y}: {found:?}");
            // Between 0 and 1 the target cancels part of p, which is right to its own last places.
            let gradient = (&p - &Fixed::of(y)).to_f64() * x;
            let scale = if y == 0.25 { 0.25 * x.abs() } else { 0.0 };
            assert!(
                close(found.gradient[0], gradient, gradient.abs().max(scale)),
                "{x} {y}: {found:?}, not {gradient:e}"
            );
        }
    }
}

#[test]
fn no_rows_have_no_loss() {
    let mut engine = Engine::new(Spec::new()).unwrap();
    let empty = rows(0, false);
    let spec = spec(Model::Logistic, &["near", "far"], true);
    assert_eq!(loss_on(&mut engine, &empty, &spec, &[1.0, 2.0, 3.0]), Loss::new(3));
    let missing = Batch::from_columns([("x", vec![f64::NAN; 3]), ("y", vec![1.0; 3])]).unwrap();
    assert_eq!(
        loss_on(&mut engine, &missing, &ModelSpec::linear("y", &["x"]), &[1.0, 2.0]),
        Loss::new(2)
    );
}

#[test]
fn the_bits_do_not_depend_on_threads() {
    let batch = rows(60_001, true);
    for model in MODELS {
        let spec = spec(model, &["far", "near", "narrow", "holes"], true);
        let weights = [0.1, -0.01, 0.2, 0.3, -0.5];
        let on = |threads: usize| {
            let backend = Box::new(Cpu::with_threads(threads).unwrap());
            let mut engine = Engine::with_backend(Spec::new(), backend).unwrap();
            let loss = loss_on(&mut engine, &batch, &spec, &weights);
            let bits = |x: &f64| x.to_bits();
            (
                loss.rows,
                bits(&loss.loss),
                loss.gradient.iter().map(bits).collect::<Vec<_>>(),
            )
        };
        let one = on(1);
        assert_eq!(one.2.len(), 5);
        assert!([2, 3, 7].into_iter().all(|threads| on(threads) == one), "{model:?}");
    }
}

#[test]
fn leaves_fold_to_the_loss_of_all_rows() {
    let batch = rows(9001, true);
    let mut engine = Engine::new(Spec::new()).unwrap();
    for model in MODELS {
        let spec = spec(model, &["near", "holes"], true);
        let weights = [0.5, 1.0, -1.0];
        let whole = loss_on(&mut engine, &batch, &spec, &weights);
        let mut parts = Loss::new(3);
        for start in (0..9001).step_by(4096) {
            let part = batch.slice(start, 4096.min(9001 - start));
            millstream::Merge::merge(&mut parts, &loss_on(&mut engine, &part, &spec, &weights));
        }
        assert_eq!(parts, whole);
    }
}

#[test]
fn what_is_not_there_is_said() {
    let mut engine = Engine::new(Spec::new().columns(["near"])).unwrap();
    let resident = engine.upload(&rows(10, false)).unwrap();
    let wrong = |result: millstream::Result<Loss>, part: &str| match result {
        Err(Error::Usage(message)) => assert!(message.contains(part), "{message}"),
        other => panic!("{other:?}"),
    };
    wrong(
        engine.loss(&resident, &ModelSpec::linear("y", &["near"]), &[0.0; 2]),
        "`y`",
    );
    wrong(
        engine.loss(&resident, &ModelSpec::linear("near", &[]), &[0.0; 2]),
        "1 weights, not 2",
    );
    for spec in [
        ModelSpec::linear("y", &["x", "x"]),
        ModelSpec::linear("y", &["y"]),
        ModelSpec::linear("y", &["x"]).ridge(-1.0),
        ModelSpec::linear("y", &["x"]).ridge(f64::NAN),
        ModelSpec {
            intercept: false,
            ..ModelSpec::linear("y", &[])
        },
    ] {
        assert!(matches!(spec.checked(), Err(Error::Usage(_))));
    }
}

#[test]
fn a_stored_summary_keeps_its_loss() {
    let loss = Loss {
        rows: 3,
        loss: 0.5,
        gradient: vec![1.0, -2.0],
    };
    let mut summary = Summary {
        rows: 4,
        loss: Some(Box::new(loss)),
        ..Summary::default()
    };
    let bytes = summary.to_bytes();
    assert_eq!(Summary::from_bytes(&bytes).unwrap(), summary);
    for cut in 0..bytes.len() {
        assert!(Summary::from_bytes(&bytes[..cut]).is_err());
    }
    // Others are stored as before, and cannot be merged with it.
    let without = Summary {
        rows: 4,
        ..Summary::default()
    };
    assert_eq!((bytes[4], without.to_bytes()[4]), (2, 1));
    assert!(summary.clone().try_merge(&without).is_err());
    summary.rows = 2;
    assert!(
        Summary::from_bytes(&summary.to_bytes()).is_err(),
        "more complete rows than rows"
    );
}
