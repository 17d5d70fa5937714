//! Models fitted by their loss, against the exact normal equations and an independent Newton's method.

use crate::oracle;
use crate::random::Random;
use crate::support::batch;
use millstream::report::FitReport;
use millstream::{Batch, Engine, ModelSpec, Spec, fit};

fn fitted(batch: &Batch, spec: &ModelSpec) -> FitReport {
    let mut engine = Engine::new(Spec::new()).unwrap();
    let rows = engine.upload(batch).unwrap();
    fit(&mut engine, &rows, spec).unwrap()
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
        for ridge in [0.0, 10.0] {
            let spec = ModelSpec {
                intercept,
                ..ModelSpec::linear("y", &["a", "b", "c"]).ridge(ridge)
            };
            let found = fitted(&rows, &spec);
            let exact = oracle::least_squares(&y, &[&a, &b, &c], intercept, ridge).unwrap();
            assert!(found.converged, "{found:?}");
            for (found, exact) in found.coefficients.iter().zip(&exact.coefficients) {
                let error = oracle::relative_error(found.unwrap(), exact);
                assert!(error < 1e-8, "{intercept} {ridge}: {error:e}");
            }
        }
    }
}
