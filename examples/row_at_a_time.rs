//! Rows that arrive one at a time, with a report on the way and one at the end.
//!
//! `cargo run --example row_at_a_time`

#![expect(clippy::print_stdout, reason = "an example shows its results")]

use millstream::{Online, Report, Spec};

fn show(report: &Report) {
    let group = &report.groups[0];
    let level = &group.columns["level"];
    let slope = group.regression.as_ref().and_then(|fit| fit.coefficients[1]);
    println!(
        "{} rows: mean level {:?}, standard deviation {:?}, slope {slope:?}",
        report.rows, level.mean, level.std
    );
}

fn main() -> millstream::Result<()> {
    let spec = Spec::new().regression("level", &["hour"]);
    let mut gauge = Online::new(spec, ["hour", "level"])?;
    // A tank fills by a quarter of a metre an hour, and its gauge is read every minute.
    for minute in 0..600 {
        let hour = f64::from(minute) / 60.0;
        let ripple = f64::from(minute % 3 - 1) / 64.0;
        gauge.push(&[hour, 2.0 + 0.25 * hour + ripple])?;
        if minute == 299 {
            show(&gauge.report()?);
        }
    }
    show(&gauge.finish()?);
    Ok(())
}
