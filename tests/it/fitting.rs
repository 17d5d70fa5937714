//! Models fitted by their loss, against the exact normal equations, an independent Newton's method in 320 binary
//! places, and published numbers.

use crate::oracle;
use crate::precise;
use crate::random::Random;
use crate::resident_rows::{How, Wrong};
use crate::support::{batch, report};
use millstream::backend::Backend;
use millstream::batch::{Column, Values};
use millstream::report::FitReport;
use millstream::{Batch, Cpu, Engine, Error, Model, ModelSpec, Spec, fit};

fn fitted_on(backend: Box<dyn Backend>, batch: &Batch, spec: &ModelSpec) -> millstream::Result<FitReport> {
    let mut engine = Engine::with_backend(Spec::new(), backend)?;
    let rows = engine.upload(batch)?;
    fit(&mut engine, &rows, spec)
}

fn fitted(batch: &Batch, spec: &ModelSpec) -> FitReport {
    fitted_on(Box::new(Cpu::new()), batch, spec).unwrap()
}

/// Terms of any size and place, and a target that depends on them.
fn linear_rows(n: usize) -> [Vec<f64>; 4] {
    let mut random = Random::new(7);
    let mut column = |mean: f64, sd: f64| (0..n).map(|_| mean + sd * random.normal()).collect::<Vec<f64>>();
    let (a, b, c, noise) = (
        column(0.0, 1.0),
        column(1000.0, 1e-2),
        column(-5.0, 1e6),
        column(0.0, 0.3),
    );
    let y = (0..n)
        .map(|i| 3.0 + 2.0 * a[i] - 40.0 * b[i] + 1e-6 * c[i] + noise[i])
        .collect();
    [y, a, b, c]
}

#[test]
fn a_linear_fit_is_that_of_the_exact_normal_equations() {
    let [y, a, b, c] = linear_rows(5000);
    let rows = batch(&[("y", &y), ("a", &a), ("b", &b), ("c", &c)]);
    for intercept in [true, false] {
        for ridge in [0.0, 10.0, 1e9] {
            let spec = ModelSpec {
                intercept,
                ..ModelSpec::linear("y", &["a", "b", "c"]).ridge(ridge)
            };
            let found = fitted(&rows, &spec);
            let exact = oracle::least_squares(&y, &[&a, &b, &c], intercept, ridge).unwrap();
            assert!(found.converged && found.iterations > 0, "{found:?}");
            for (found, exact) in found.coefficients.iter().zip(&exact.coefficients) {
                // A gradient of 1e-8 leaves the weights right to about as much, were it not for the last steps. Under a
                // penalty that outweighs the rows they are what sums around 0, of terms 1e5 sd away, leave of them.
                let allowed = if ridge > 1e6 { 1e-8 } else { 1e-9 };
                let error = oracle::relative_error(found.unwrap(), exact);
                assert!(error < allowed, "{intercept} {ridge}: {error:e}");
            }
            // What the closed form says besides.
            let mut regression = Spec::new().regression("y", &["a", "b", "c"]);
            let asked = regression.regression.as_mut().unwrap();
            (asked.intercept, asked.ridge) = (intercept, ridge);
            let closed = report(regression, &rows).groups[0].regression.clone().unwrap();
            assert_eq!(found.standard_errors, closed.standard_errors);
            assert_eq!(
                (
                    found.r_squared,
                    found.residual_std,
                    found.rank,
                    found.rows,
                    &found.terms
                ),
                (
                    closed.r_squared,
                    closed.residual_std,
                    closed.rank,
                    closed.rows,
                    &closed.terms
                )
            );
            if let (0.0, Some(std)) = (ridge, found.residual_std) {
                let freedom = 5000.0 - found.rank as f64;
                assert!((found.loss.unwrap() / (0.5 * std * std * freedom) - 1.0).abs() < 1e-9);
            }
        }
    }
}

/// Hours of study and whether an exam was passed: the worked example of the English Wikipedia's "Logistic regression",
/// with its coefficients, standard errors and log-likelihood.
#[test]
fn a_published_logistic_fit_is_found() {
    let hours = [
        0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 1.75, 2.0, 2.25, 2.5, 2.75, 3.0, 3.25, 3.5, 4.0, 4.25, 4.5, 4.75, 5.0, 5.5,
    ];
    let passed = [0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 1, 1, 1, 1, 1].map(f64::from);
    let found = fitted(
        &batch(&[("hours", &hours), ("passed", &passed)]),
        &ModelSpec::logistic("passed", &["hours"]),
    );
    let rounded = |x: Option<f64>, digits: i32| (x.unwrap() * 10f64.powi(digits)).round() / 10f64.powi(digits);
    assert_eq!(rounded(found.coefficients[0], 4), -4.0777);
    assert_eq!(rounded(found.coefficients[1], 4), 1.5046);
    assert_eq!(rounded(found.standard_errors[0], 4), 1.7610);
    assert_eq!(rounded(found.standard_errors[1], 4), 0.6287);
    assert_eq!(rounded(found.loss, 5), 8.02988);
    assert!(found.converged && found.why.is_none());
}

#[test]
fn a_logistic_fit_is_that_of_an_independent_newton() {
    let n = 300;
    let mut random = Random::new(3);
    let mut column = |mean: f64, sd: f64| (0..n).map(|_| mean + sd * random.normal()).collect::<Vec<f64>>();
    let (a, mut b, c) = (column(40.0, 2.0), column(0.0, 1e-3), column(1.0, 30.0));
    let noise = column(0.0, 1.5);
    // Whole targets, and shares between 0 and 1.
    for shares in [false, true] {
        let y: Vec<f64> = (0..n)
            .map(|i| {
                let z = 0.5 * (a[i] - 40.0) + 500.0 * b[i].clamp(-1.0, 1.0) - 0.02 * c[i] + noise[i];
                match shares {
                    false => f64::from(u8::from(z > 0.0)),
                    true => ((z + 2.0) / 4.0).clamp(0.0, 1.0),
                }
            })
            .collect();
        // A gap keeps its row out.
        b[17] = f64::NAN;
        let complete: Vec<usize> = (0..n).filter(|i| *i != 17).collect();
        let rows: Vec<Vec<f64>> = complete.iter().map(|i| vec![1.0, a[*i], b[*i], c[*i]]).collect();
        let target: Vec<f64> = complete.iter().map(|i| y[*i]).collect();
        for ridge in [0.0, 2.0] {
            let spec = ModelSpec::logistic("y", &["a", "b", "c"]).ridge(ridge);
            let found = fitted(&batch(&[("y", &y), ("a", &a), ("b", &b), ("c", &c)]), &spec);
            let exact = precise::fit(&rows, &target, ridge);
            assert!(found.converged, "{found:?}");
            assert_eq!((found.rows, found.rank), (n as u64 - 1, 4));
            for i in 0..4 {
                let weight = exact.weights[i].to_f64();
                assert!(
                    (found.coefficients[i].unwrap() / weight - 1.0).abs() < 1e-9,
                    "{i}: {found:?}, not {weight}"
                );
                let error = exact.covariance[i][i].to_f64().sqrt();
                assert!(
                    (found.standard_errors[i].unwrap() / error - 1.0).abs() < 1e-10,
                    "{i}: {found:?}, not {error}"
                );
            }
            assert!((found.loss.unwrap() / exact.loss.to_f64() - 1.0).abs() < 1e-12);
        }
    }
}

#[test]
fn terms_that_separate_the_target_have_no_fit_and_it_is_said() {
    let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let apart = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0];
    // At 3 both are seen, on either side of it only one: one direction of the weights is still unbounded.
    let x_quasi = [1.0, 2.0, 3.0, 3.0, 4.0, 5.0];
    let same = [1.0; 6];
    for (x, y, part) in [
        (x, apart, "separate the target"),
        (x_quasi, apart, "separates part of the target"),
        (x, same, "separate the target"),
    ] {
        let rows = batch(&[("x", &x), ("y", &y)]);
        let found = fitted(&rows, &ModelSpec::logistic("y", &["x"]));
        assert!(!found.converged, "{found:?}");
        assert!(found.why.as_ref().unwrap().contains(part), "{found:?}");
        assert_eq!(found.standard_errors, [None, None]);
        let with_ridge = fitted(&rows, &ModelSpec::logistic("y", &["x"]).ridge(0.1));
        // The intercept is not penalised, so all rows alike still have no fit.
        assert_eq!(with_ridge.converged, y != same, "{with_ridge:?}");
    }
}

#[test]
fn terms_that_depend_on_others_are_left_out_as_in_a_regression() {
    let mut random = Random::new(5);
    let a: Vec<f64> = (0..200).map(|_| random.normal()).collect();
    let b: Vec<f64> = a.iter().map(|a| 3.0 * a - 1.0).collect();
    let constant = [7.5; 200];
    let y: Vec<f64> = a
        .iter()
        .map(|a| f64::from(u8::from(a + random.normal() > 0.0)))
        .collect();
    let rows = batch(&[("a", &a), ("b", &b), ("constant", &constant), ("y", &y)]);
    for spec in [
        ModelSpec::linear("y", &["a", "b", "constant"]),
        ModelSpec::logistic("y", &["a", "b", "constant"]),
    ] {
        let found = fitted(&rows, &spec);
        let alone = fitted(
            &rows,
            &ModelSpec {
                terms: vec!["a".into()],
                ..spec.clone()
            },
        );
        assert!(found.converged);
        assert_eq!((found.rank, alone.rank), (2, 2));
        assert_eq!(found.coefficients[2..], [None, None]);
        assert_eq!(found.coefficients[..2], alone.coefficients[..]);
        assert_eq!(found.standard_errors[..2], alone.standard_errors[..]);
        // With a penalty every term has a place.
        let ridge = fitted(&rows, &spec.ridge(1.0));
        assert!(
            ridge.converged && ridge.coefficients.iter().all(Option::is_some),
            "{ridge:?}"
        );
    }
}

#[test]
fn far_from_zero_a_fit_keeps_the_digits_that_the_numbers_have() {
    let mut random = Random::new(8);
    for mean in [1e4, 1e6, 1e8] {
        let x: Vec<f64> = (0..2000).map(|_| mean + random.normal()).collect();
        let near: Vec<f64> = x.iter().map(|x| x - mean).collect();
        let y: Vec<f64> = near
            .iter()
            .map(|x| f64::from(u8::from(x + random.normal() > 0.0)))
            .collect();
        let rows = batch(&[("x", &x), ("near", &near), ("y", &y)]);
        for model in [Model::Linear, Model::Logistic] {
            let on = |term: &str| {
                let spec = ModelSpec {
                    model,
                    ..ModelSpec::linear("y", &[term])
                };
                fitted(&rows, &spec)
            };
            let (far, near) = (on("x"), on("near"));
            assert!(far.converged && near.converged, "{far:?}");
            let error = (far.coefficients[1].unwrap() / near.coefficients[1].unwrap() - 1.0).abs();
            // z is a difference of numbers as large as the mean, each rounded.
            assert!(error < 8.0 * f64::EPSILON * mean, "{mean:e}: {error:e}");
        }
    }
}

#[test]
fn too_few_rows_and_wrong_targets_are_told() {
    let logistic = ModelSpec::logistic("y", &["x"]);
    let none = fitted(&batch(&[("x", &[f64::NAN, 1.0]), ("y", &[1.0, f64::NAN])]), &logistic);
    assert_eq!((none.rows, none.converged), (0, false));
    assert!(none.why.unwrap().contains("no row"), "");
    let one = fitted(&batch(&[("x", &[2.0]), ("y", &[3.0])]), &ModelSpec::linear("y", &["x"]));
    assert_eq!(
        (one.coefficients, one.standard_errors),
        (vec![Some(3.0), None], vec![None, None])
    );
    for y in [-0.1, 1.5, f64::INFINITY] {
        let rows = batch(&[("x", &[1.0, 2.0, 3.0]), ("y", &[0.0, 1.0, y])]);
        match fitted_on(Box::new(Cpu::new()), &rows, &logistic) {
            Err(Error::Data(message)) => assert!(message.contains("`y`") && message.contains("between 0 and 1")),
            other => panic!("{y}: {other:?}"),
        }
    }
    let huge = batch(&[("x", &[1.0, 2.0, 4.0]), ("y", &[1e300, -1e300, 1e300])]);
    let result = fitted_on(Box::new(Cpu::new()), &huge, &ModelSpec::linear("y", &["x"]));
    assert!(matches!(result, Err(Error::Data(m)) if m.contains("range of numbers")));
}

#[test]
fn threads_failing_backends_and_narrow_columns_change_no_bit() {
    let n = 20_000;
    let mut random = Random::new(11);
    let x: Vec<f32> = (0..n).map(|_| random.normal() as f32).collect();
    let y: Vec<f64> = x
        .iter()
        .map(|x| f64::from(u8::from(f64::from(*x) + random.normal() > 0.3)))
        .collect();
    let wide: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
    let wide = batch(&[("x", &wide), ("y", &y)]);
    let column = |values| Column { values, nulls: None };
    let narrow = Batch::new(
        n,
        vec![
            ("x".into(), column(Values::F32(x.into()))),
            ("y".into(), column(Values::F64(y.into()))),
        ],
    )
    .unwrap();
    for spec in [ModelSpec::linear("y", &["x"]), ModelSpec::logistic("y", &["x"])] {
        let whole = fitted(&wide, &spec);
        assert!(whole.converged);
        assert_eq!(fitted(&narrow, &spec), whole);
        for threads in [1, 3] {
            let cpu = Box::new(Cpu::with_threads(threads).unwrap());
            assert_eq!(fitted_on(cpu, &wide, &spec).unwrap(), whole, "{threads} threads");
        }
        for how in [How::Panics, How::NoLoss] {
            let wrong = Box::new(Wrong { cpu: Cpu::new(), how });
            assert_eq!(fitted_on(wrong, &wide, &spec).unwrap(), whole, "{how:?}");
        }
    }
}
