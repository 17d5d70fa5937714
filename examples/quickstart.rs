//! A batch of numbers, and a report on it.
//!
//! `cargo run --example quickstart`

#![expect(clippy::print_stdout, reason = "an example shows its results")]

use millstream::{Batch, Engine, Spec};

fn main() -> millstream::Result<()> {
    // Missing values are NaN here; in Arrow data they may be nulls as well.
    let batch = Batch::from_columns([
        ("temperature", vec![12.8, 10.6, 11.7, f64::NAN, 12.2]),
        ("wind", vec![4.7, 4.5, 2.3, 4.7, 6.1]),
    ])?;
    let spec = Spec::new().correlation().quantiles(&[0.5]);
    let report = Engine::new(spec)?.analyze(&batch)?;

    let group = &report.groups[0];
    for (name, column) in group.columns.iter() {
        let median = column.quantiles.as_ref().and_then(|q| *q.get("0.5")?);
        println!(
            "{name}: {} values, {} missing, mean {:?}, standard deviation {:?}, median {median:?}",
            column.count, column.missing, column.mean, column.std
        );
    }
    if let Some(correlation) = &group.correlation {
        println!(
            "correlation in {} rows: {:?}",
            correlation.rows, correlation.matrix[0][1]
        );
    }
    Ok(())
}
