//! From a csv of days to a model of weeks: means and differences per week, stored as csv, and a regression on them.
//!
//! `cargo run --example weather_regression [weather.csv] [weeks.csv]`

use arrow::array::{ArrayRef, Float64Array, RecordBatch};
use millstream::io::{self, ReadOptions, TimeUnit, table};
use millstream::pipeline::{Query, analyze};
use millstream::{Cpu, Error, Report, Result, Spec, Window};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const DAY_SECONDS: u64 = 86_400;

fn report(path: PathBuf, time: Option<&str>, spec: Spec) -> Result<Report> {
    let options = ReadOptions {
        time: time.map(|column| (column.to_owned(), TimeUnit::default())),
        ..ReadOptions::default()
    };
    let query = Query {
        spec,
        time: time.map(str::to_owned),
        ..Query::default()
    };
    Ok(analyze(io::open(&[path], &options)?, &query, Box::new(Cpu::new()), &mut |_| {})?.report)
}

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let days = arguments.next().unwrap_or("examples/data/seattle-weather.csv".into());
    let weeks = arguments.next().unwrap_or(std::env::temp_dir().join("weeks.csv"));

    let week = Window::tumbling(Duration::from_secs(7 * DAY_SECONDS));
    let by_week = report(days, Some("date"), Spec::new().differences().window(week))?;
    let mean = |column: &'static str| by_week.groups.iter().map(move |g| g.columns[column].mean);
    // Differences are per second of event time; the table has them per day.
    let trend = by_week.groups.iter().map(|g| {
        let difference = g.differences.as_ref()?.get("temp_max")?;
        Some(difference.mean? * DAY_SECONDS as f64)
    });
    let column = |values: Vec<Option<f64>>| -> ArrayRef { Arc::new(Float64Array::from(values)) };
    let columns = [
        ("temp_max", column(mean("temp_max").collect())),
        ("temp_min", column(mean("temp_min").collect())),
        ("wind", column(mean("wind").collect())),
        ("warming", column(trend.collect())),
    ];
    let table = RecordBatch::try_from_iter(columns).map_err(|e| Error::Failed(e.to_string()))?;
    let mut writer = table::TableWriter::create(&weeks, table::Output::Csv, table.schema())?;
    writer.write(&table)?;
    writer.finish()?;

    let spec = Spec::new().regression("temp_max", &["temp_min", "wind", "warming"]);
    let model = report(weeks, None, spec)?;
    millstream::report::json::write_models(&model, &mut std::io::stdout()).map_err(|e| Error::Failed(e.to_string()))
}
