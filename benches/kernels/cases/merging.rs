//! Summaries that are there already, merged into one.

use super::{CLOSE, Case, Table};
use millstream::{Engine, Merge, Spec, Summary};

/// Rows behind a summary: a leaf of a cell among many.
const ROWS: usize = 256;

pub(super) fn add(values: usize, cases: &mut Vec<Case>) {
    let table = Table::new(values / 16, 16);
    let moments = Spec::new();
    let matrices = Spec::new().covariance().differences().quantiles(&[0.5]);
    for (name, spec) in [
        ("four moments", moments),
        ("moments, covariances, differences, quantiles", matrices),
    ] {
        let covariances = spec.covariance;
        let batch = table.batch(false, |_| false);
        let mut summaries = Vec::new();
        for start in (0..batch.rows()).step_by(ROWS) {
            let mut engine = Engine::new(spec.clone()).expect("an engine");
            let rows = batch.slice(start, ROWS.min(batch.rows() - start));
            engine.push(&rows).expect("rows that fit");
            let closed = engine.close().expect("one cell");
            summaries.extend(closed.into_iter().map(|closed| closed.summary));
        }
        cases.push(Case {
            name: format!("merging/{name}"),
            values: table.values(),
            run: Box::new(move || {
                let mut all = Summary::default();
                summaries.iter().for_each(|summary| all.merge(summary));
                let number = |x: Option<f64>| x.unwrap_or(f64::NAN);
                match &all.comoments {
                    Some(products) => {
                        let entries = (0..16).flat_map(|i| (i..16).map(move |j| (i, j)));
                        entries.map(|(i, j)| number(products.covariance(i, j, 1))).collect()
                    }
                    None => {
                        let columns = all.columns.iter();
                        columns
                            .flat_map(|c| [number(c.mean()), number(c.variance(1))])
                            .collect()
                    }
                }
            }),
            expected: match covariances {
                true => table.covariances(),
                false => table.moments(|_| true),
            },
            close: CLOSE,
        });
    }
}
