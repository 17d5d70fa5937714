//! Results in memory that is new, and in memory that was used.

use super::super::{Rolling, Span, Weighted};
use super::*;
use crate::Engine;
use crate::spec::Spec;
use arrow::array::{ArrayRef, Int64Array};
use std::sync::Arc;

/// Rows of two columns, one with missing values; so many that their results lie in memory that is used again.
fn batch(keyed: bool) -> Batch {
    let rows = 150_001;
    let value = |i: usize| ((i * i) % 1009) as f64 / 7.0;
    let gaps = |i: usize| if i % 911 == 5 { f64::NAN } else { value(i + 3) };
    let columns = [
        ("x", (0..rows).map(value).collect::<Vec<_>>()),
        ("y", (0..rows).map(gaps).collect()),
    ];
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values((0..rows as i64).map(|i| i % 7)));
    let batch = Batch::from_columns(columns).unwrap();
    match keyed {
        true => batch.with_keys(vec![("key".into(), keys)]).unwrap(),
        false => batch,
    }
}

fn bits(made: &Batch) -> Vec<Vec<u64>> {
    let column = |c: &Column| (0..c.len()).map(|i| c.get(i).to_bits()).collect();
    made.columns().iter().map(column).collect()
}

#[test]
fn what_stood_in_the_memory_of_results_does_not_matter() {
    let all = [
        Rolling::Mean,
        Rolling::Variance,
        Rolling::Std,
        Rolling::Min,
        Rolling::Max,
        Rolling::Covariance,
        Rolling::Correlation,
        Rolling::ZScore,
    ];
    for keyed in [false, true] {
        let batch = batch(keyed);
        let asked = |asked: Transforms| match keyed {
            true => asked.by(["key"]),
            false => asked,
        };
        let ewm = [Weighted::Mean, Weighted::Variance, Weighted::Std];
        for asked in [
            asked(Transforms::new().differences().gradient().zscores()),
            asked(Transforms::new().rolling(Span::Rows(10), &all)),
            asked(Transforms::new().rolling(Span::Rows(5000), &all)),
            asked(Transforms::new().ewm(Span::Rows(20), &ewm)),
        ] {
            let engine = Engine::new(Spec::new()).unwrap();
            let new = bits(&engine.transform(&batch, &asked).unwrap());
            let take = |_| engine.buffers.take(batch.rows());
            let mut free: Vec<Vec<f64>> = (0..asked_columns(&asked, &batch)).map(take).collect();
            let was_used = |numbers: &Vec<f64>| numbers.iter().any(|x| *x != 0.0);
            assert!(free.iter().all(was_used), "no memory was left to be used again");
            free.iter_mut().for_each(|numbers| numbers.fill(-12345.0));
            free.into_iter().for_each(|numbers| drop(engine.buffers.lend(numbers)));
            assert_eq!(bits(&engine.transform(&batch, &asked).unwrap()), new, "{asked:?}");
        }
    }
}

fn asked_columns(asked: &Transforms, batch: &Batch) -> usize {
    Transformer::new(asked.clone()).unwrap().made(batch).unwrap().len()
}
