//! The online learner: it tends to the fit of all rows, follows a drift, and forgets nothing it should not.

use crate::random::Random;
use crate::support::{batch, pieces};
use millstream::learner::Learner;
use millstream::{Batch, Engine, Error, Model, ModelSpec, Spec, fit};

/// Independent terms of standard deviation 1 around `mean`, and a target with weights that may depend on the row.
fn rows(n: usize, mean: f64, noise: f64, slope: impl Fn(usize) -> f64, model: Model) -> Batch {
    let mut random = Random::new(21);
    let a: Vec<f64> = (0..n).map(|_| mean + random.normal()).collect();
    let b: Vec<f64> = (0..n).map(|_| random.normal()).collect();
    let y: Vec<f64> = (0..n)
        .map(|i| {
            let z = 1.0 + slope(i) * (a[i] - mean) - 0.5 * b[i];
            match model {
                Model::Linear => z + noise * random.normal(),
                Model::Logistic => f64::from(u8::from(random.uniform() < 1.0 / (1.0 + (-z).exp()))),
            }
        })
        .collect();
    batch(&[("a", &a), ("b", &b), ("y", &y)])
}

fn spec(model: Model) -> ModelSpec {
    ModelSpec {
        model,
        ..ModelSpec::linear("y", &["a", "b"])
    }
}

fn learnt(learner: &mut Learner, batch: &Batch, rows: usize) -> Vec<f64> {
    for piece in pieces(batch, rows) {
        learner.step(&piece).unwrap();
    }
    learner.weights().to_vec()
}

fn fitted(batch: &Batch, model: Model) -> Vec<f64> {
    let mut engine = Engine::new(Spec::new()).unwrap();
    let resident = engine.upload(batch).unwrap();
    let fit = fit(&mut engine, &resident, &spec(model)).unwrap();
    assert!(fit.converged);
    fit.coefficients.into_iter().flatten().collect()
}

/// Without noise the error shrinks by at least 1 − ηₜ μ / L a step, where L = 3 and μ is nearly 1: after t steps to
/// e^(−2√t / 3 · 0.9) at most, which is 1e-11 for t = 1800.
#[test]
fn without_noise_it_finds_the_weights() {
    for mean in [0.0, 50.0] {
        let batch = rows(1800 * 50, mean, 0.0, |_| 2.0, Model::Linear);
        let mut learner = Learner::new(spec(Model::Linear)).unwrap();
        let weights = learnt(&mut learner, &batch, 50);
        for (found, exact) in weights.iter().zip([1.0 - 2.0 * mean, 2.0, -0.5]) {
            assert!((found - exact).abs() < 1e-9 * (1.0 + mean), "{weights:?}");
        }
        assert_eq!(learner.rows(), 90_000);
    }
}

/// With noise the weights end about √(ηₜ / 2L) standard errors of a micro-batch from those of the fit (of all rows,
/// whose own error is far smaller): five of these in none of three weights.
#[test]
fn on_steady_rows_it_tends_to_the_fit_of_all_rows() {
    let (steps, each) = (2500, 80);
    for (model, noise) in [(Model::Linear, 0.7), (Model::Logistic, 0.0)] {
        let batch = rows(steps * each, 10.0, noise, |_| 0.8, model);
        let mut learner = Learner::new(spec(model)).unwrap();
        let weights = learnt(&mut learner, &batch, each);
        let fit = fitted(&batch, model);
        // The standard deviation of a gradient, and the curvature: σ and 1, or √v and v for v = p (1 − p), about 0.19.
        let (sigma, curvature, bound): (f64, f64, f64) = match model {
            Model::Linear => (noise, 1.0, 3.0),
            Model::Logistic => (0.19f64.sqrt(), 0.19, 0.75),
        };
        let eta = 1.0 / (steps as f64).sqrt();
        let deviation = (eta / bound * sigma * sigma / each as f64 / (2.0 * curvature)).sqrt();
        // The value at the mean of `a`, as the intercept itself swings with the slope.
        let centred = |w: &[f64]| [w[0] + 10.0 * w[1], w[1], w[2]];
        for (found, exact) in centred(&weights).iter().zip(centred(&fit)) {
            assert!(
                (found - exact).abs() < 5.0 * deviation,
                "{weights:?}, not {fit:?} within {deviation}"
            );
        }
        // Far closer than where it began.
        assert!(5.0 * deviation < 0.1);
    }
}

/// A slope that turns from 2 to −1 half way: with a floor it has turned at the end, without one it is still turning.
#[test]
fn a_floor_follows_a_drift() {
    let (steps, each) = (2000, 20);
    let slope = |i: usize| if i < steps * each / 2 { 2.0 } else { -1.0 };
    let batch = rows(steps * each, 0.0, 0.1, slope, Model::Linear);
    let mut follows = Learner::new(spec(Model::Linear)).unwrap().floor(0.2).unwrap();
    let mut tends = Learner::new(spec(Model::Linear)).unwrap();
    // Shortly after the turn: 100 steps shrink the error of 3 by (1 − 0.2 / 3)^100 = 0.001 with the floor, and by
    // e^(−100 / (3 √1000)) = 0.35 without.
    let part = batch.slice(0, (steps / 2 + 100) * each);
    let (near, far) = (learnt(&mut follows, &part, each)[1], learnt(&mut tends, &part, each)[1]);
    assert!((near + 1.0).abs() < 0.1, "{near}");
    assert!(far > -0.5, "{far}");
}

#[test]
fn the_loss_of_a_step_is_that_of_the_weights_before_it() {
    let batch = rows(4000, 0.0, 0.2, |_| 1.0, Model::Linear);
    let mut learner = Learner::new(spec(Model::Linear)).unwrap();
    let mut engine = Engine::new(Spec::new()).unwrap();
    let mut losses = Vec::new();
    for piece in pieces(&batch, 100) {
        let before = learner.weights().to_vec();
        let resident = engine.upload(&piece).unwrap();
        let want = engine.loss(&resident, &spec(Model::Linear), &before).unwrap();
        let found = learner.step(&piece).unwrap();
        assert_eq!(found, want);
        losses.push(found.loss);
    }
    assert!(losses[losses.len() - 1] < 0.1 * losses[0], "{losses:?}");
}

/// A step never makes the loss of its own rows greater, whatever the sizes of the columns and however alike they are:
/// eight that are nearly the same have a curvature of eight.
#[test]
fn no_step_overshoots_its_own_rows() {
    let mut random = Random::new(4);
    let names: Vec<String> = (0..8).map(|i| format!("x{i}")).collect();
    for model in [Model::Linear, Model::Logistic] {
        for scale in [1e-9, 1.0, 1e9] {
            let spec = ModelSpec {
                model,
                terms: names.clone(),
                ..ModelSpec::linear("y", &[])
            };
            let mut learner = Learner::new(spec.clone()).unwrap().floor(1.0).unwrap();
            for _ in 0..20 {
                let shared: Vec<f64> = (0..30).map(|_| 3.0 + random.normal()).collect();
                let mut column = || shared.iter().map(|x| scale * (x + 0.1 * random.normal())).collect();
                let mut columns: Vec<(String, Vec<f64>)> = names.iter().map(|name| (name.clone(), column())).collect();
                columns.push(("y".into(), (0..30).map(|_| random.below(2) as f64).collect()));
                let piece = Batch::from_columns(columns).unwrap();
                let before = learner.step(&piece).unwrap().loss;
                let mut engine = Engine::new(Spec::new()).unwrap();
                let resident = engine.upload(&piece).unwrap();
                let after = engine.loss(&resident, &spec, learner.weights()).unwrap().loss;
                assert!(
                    after <= before * (1.0 + 1e-9),
                    "{model:?} {scale:e}: {before} to {after}"
                );
            }
        }
    }
}

#[test]
fn gaps_teach_nothing_and_mistakes_are_told() {
    let mut learner = Learner::new(ModelSpec::logistic("y", &["x"])).unwrap();
    let gaps = batch(&[("x", &[f64::NAN, 1.0]), ("y", &[1.0, f64::NAN])]);
    assert_eq!(learner.step(&gaps).unwrap().rows, 0);
    assert_eq!((learner.weights(), learner.rows()), (&[0.0, 0.0][..], 0));
    let outside = batch(&[("x", &[1.0]), ("y", &[2.0])]);
    assert!(matches!(learner.step(&outside), Err(Error::Data(m)) if m.contains("`y`")));
    let unknown = batch(&[("z", &[1.0]), ("y", &[1.0])]);
    assert!(matches!(learner.step(&unknown), Err(Error::Usage(_))));
    assert_eq!(learner.weights(), [0.0, 0.0]);
    assert!(Learner::new(ModelSpec::linear("y", &["x"]).ridge(1.0)).is_err());
    assert!(
        Learner::new(ModelSpec::linear("y", &["x"]))
            .unwrap()
            .floor(1.5)
            .is_err()
    );

    learner
        .step(&batch(&[("x", &[1.0, 2.0, 3.0]), ("y", &[0.0, 1.0, 1.0])]))
        .unwrap();
    let predictions = learner.predict(&batch(&[("x", &[2.0, f64::INFINITY])])).unwrap();
    assert!(predictions[0].is_some_and(|p| (0.0..=1.0).contains(&p)) && predictions[1].is_none());
}
