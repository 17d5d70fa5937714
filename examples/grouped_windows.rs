//! Statistics per key and window of event time, of rows that arrive in batches.
//!
//! `cargo run --example grouped_windows`

use arrow::array::{ArrayRef, StringArray};
use millstream::{Batch, Engine, Spec, Window};
use std::sync::Arc;
use std::time::Duration;

const SECOND_NS: i64 = 1_000_000_000;

/// Ten seconds of two sensors that report once a second.
fn arrivals(start_s: i64) -> millstream::Result<Batch> {
    let rows = (0..20).map(|i| (start_s + i / 2, i % 2));
    let sensors = rows.clone().map(|(_, sensor)| ["cellar", "roof"][sensor as usize]);
    let sensors: ArrayRef = Arc::new(sensors.map(Some).collect::<StringArray>());
    let values = rows
        .clone()
        .map(|(t, sensor)| 8.0 + 6.0 * sensor as f64 + 0.01 * t as f64);
    Batch::from_columns([("temperature", values.collect())])?
        .with_keys(vec![("sensor".into(), sensors)])?
        .with_time_ns(rows.map(|(t, _)| t * SECOND_NS).collect())
}

fn main() -> millstream::Result<()> {
    let window = Window::sliding(Duration::from_secs(30), Duration::from_secs(15));
    let mut engine = Engine::new(Spec::new().by(["sensor"]).window(window).differences())?;
    for start_s in (0..60).step_by(10) {
        engine.push(&arrivals(start_s)?)?;
    }
    let report = engine.finish()?;
    millstream::report::table::write(&report, Default::default(), &mut std::io::stdout())
        .map_err(|e| millstream::Error::Failed(e.to_string()))
}
