//! One row after another.

use super::{CLOSE, Case, Table, covariances_of, moments_of};
use millstream::{Online, Report, Spec};

pub(super) fn add(values: usize, cases: &mut Vec<Case>) {
    let two = || Spec::new().mean_and_variance();
    for (name, columns, spec) in [
        ("mean and variance, 1 column", 1, two()),
        ("mean and variance, 8 columns", 8, two()),
        ("mean and variance, 64 columns", 64, two()),
        ("covariance, 2 columns", 2, two().covariance()),
    ] {
        let table = Table::new(values / columns, columns);
        let rows: Vec<f64> = (0..table.rows())
            .flat_map(|row| table.columns.iter().map(move |column| column[row] as f64))
            .collect();
        let names: Vec<String> = (0..columns).map(|c| format!("c{c}")).collect();
        let matrix = spec.covariance;
        let answer: fn(&Report) -> _ = if matrix { covariances_of } else { moments_of };
        cases.push(Case {
            name: format!("row at a time/{name}"),
            values: table.values(),
            run: Box::new(move || {
                let mut online = Online::new(spec.clone(), &names).expect("a spec that fits");
                for row in rows.chunks_exact(columns) {
                    online.push(row).expect("a row that fits");
                }
                answer(&online.finish().expect("a report"))
            }),
            expected: match matrix {
                true => table.covariances(),
                false => table.moments(|_| true),
            },
            close: CLOSE,
        });
    }
}
