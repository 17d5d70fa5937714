//! Results of every row: windows of rows, differences, gradients.

use super::{CLOSE, Case, Numbers, Table};
use millstream::transform::{Rolling, Span, Transforms};
use millstream::{Batch, Engine, Spec};

/// Rows whose results are looked at.
const PLACES: usize = 499;

/// `PLACES` rows, all over those from `first` on that have a row behind them.
fn places(rows: usize, first: usize) -> impl Iterator<Item = usize> {
    (0..PLACES).map(move |k| first + k * (rows - 2 - first) / (PLACES - 1))
}

pub(super) fn add(values: usize, cases: &mut Vec<Case>) {
    const COLUMNS: usize = 2;
    let table = Table::new(values / COLUMNS, COLUMNS);
    let mut add = |name: String, asked: Transforms, first: usize, exact: &dyn Fn(usize) -> f64| {
        let batch = table.batch(false, |_| false);
        let engine = Engine::new(Spec::new()).expect("an engine");
        cases.push(Case {
            name: format!("row by row/{name}"),
            values: table.values(),
            run: Box::new(move || results(&engine, &batch, &asked, first)),
            expected: places(table.rows(), first).map(exact).collect(),
            close: CLOSE,
        });
    };
    for (statistic, window) in [
        (Rolling::Mean, 100),
        (Rolling::Mean, 10_000),
        (Rolling::Variance, 100),
        (Rolling::Variance, 10_000),
        (Rolling::Covariance, 100),
        (Rolling::Min, 100),
    ] {
        let asked = Transforms::new().rolling(Span::Rows(window), &[statistic]);
        let name = format!("{} of {window} rows", statistic.name());
        add(name, asked, window - 1, &|i| {
            of_window(&table, statistic, i + 1 - window, i + 1)
        });
    }
    let x = |i: usize| table.columns[0][i] as f64;
    add("differences".into(), Transforms::new().differences(), 1, &|i| {
        x(i) - x(i - 1)
    });
    add("gradient".into(), Transforms::new().gradient(), 1, &|i| {
        (x(i + 1) - x(i - 1)) / 2.0
    });
}

fn results(engine: &Engine, batch: &Batch, asked: &Transforms, first: usize) -> Numbers {
    let made = engine.transform(batch, asked).expect("results");
    let column = &made.columns()[0];
    places(batch.rows(), first).map(|i| column.get(i)).collect()
}

/// The statistic by its definition, in whole numbers up to the last division.
fn of_window(table: &Table, statistic: Rolling, start: usize, end: usize) -> f64 {
    let n = (end - start) as i128;
    let of = |column: usize| table.columns[column][start..end].iter().map(|x| i128::from(*x));
    let (sum, other) = (of(0).sum::<i128>(), of(1).sum::<i128>());
    let over = |products: i128, sums: i128| (n * products - sums) as f64 / (n * (n - 1)) as f64;
    match statistic {
        Rolling::Mean => sum as f64 / n as f64,
        Rolling::Variance => over(of(0).map(|x| x * x).sum(), sum * sum),
        Rolling::Covariance => over(of(0).zip(of(1)).map(|(x, y)| x * y).sum(), sum * other),
        _ => of(0).min().expect("rows") as f64,
    }
}
