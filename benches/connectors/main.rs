//! The connectors, end to end: real servers, `millstream run` as a process of its own, and beside it what the same servers
//! give a consumer that does nothing with it.
//!
//! `scripts/services start`, then `cargo bench --features full --bench connectors -- [OPTIONS]`:
//!
//! ```text
//! --rows N        rows of a case at most (default 8000000; a case of short messages takes a share)
//! --runs N        runs a case; the median counts (default 5)
//! --only NAME     the case of this name, or those whose names begin so; may be given more than once
//! --output FOLDER where connectors-DATE.json and connectors-DATE.md go (default benches/results; with --quick nowhere)
//! --quick         few rows, one run: whether it works at all
//! ```
//!
//! A server that is not there is named as not measured (`MILLSTREAM_SERVICES` says where they are, as for the tests).
//!
//! **Feeds.** `millstream generate` draws the rows of a case once, 100 keys by Zipf's law, which lie as messages in the server
//! before anybody reads them: no publisher shares the cores with the run. A topic of Kafka and a stream of Redis are read
//! again by each run under a new group; a queue of RabbitMQ and the session that Mosquitto keeps for a client are filled
//! again for each run, as what is acknowledged is gone, and everything has been confirmed before the next run begins.
//! The engine makes windows of 1 s of event time by key: count, mean and variance of eight columns. It keeps no state, so
//! that messages are acknowledged once their rows are with it.
//!
//! The rate is taken from the middle of a run: of [`WINDOWS`] windows, from the last report of the first to the last report
//! of the last but one. So neither the start of the process counts, nor joining a group, nor its end. The bare consumer
//! is timed from the same message to the same message. It is the same library in the same version with the same
//! settings, prefetch, size of pages and acknowledgements, takes the messages, acknowledges them, adds up their lengths,
//! and decodes nothing; it runs in turn with the engine, and either is first as often.
//!
//! **The sink.** A file of csv has two readings of each key in each short window, and so half as many reports as rows; each
//! is a row of `windows` (feed, bounds, key, counts, and the summary as bytes) and one of `column_statistics` a column. The
//! rate is rows of `windows` over all the time that the process takes, its start included (a few hundredths of a second).
//!
//! Every run is verified: that of a feed has counted all rows, and reports are what `generate` expects of a right engine,
//! also those that are read back from the tables. A run that is wrong has no time.
//!
//! Mosquitto as scripts/services starts it writes all that it has to disk every other second, between the packets of
//! clients; engine and bare consumer meet that alike.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark tells what it measures"
)]

mod bare;
mod cases;
#[path = "../shared/child.rs"]
mod child;
mod engine;
mod kafka;
#[path = "../shared/machine.rs"]
mod machine;
mod mqtt;
mod outcome;
mod postgres;
mod rabbitmq;
mod redis;
mod rows;
mod server;

use cases::{CASES, Case, Kind, WINDOWS};
use outcome::{Measured, Results};
use rows::Rows;
use server::{Broker, Server};
use std::path::PathBuf;

/// What the command line says.
struct Arguments {
    rows: u64,
    runs: usize,
    only: Vec<String>,
    output: Option<PathBuf>,
}

/// Rows of `--quick`.
const QUICK_ROWS: u64 = 400_000;

fn arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments {
        rows: 8_000_000,
        runs: 5,
        only: Vec::new(),
        output: Some(PathBuf::from("benches/results")),
    };
    let mut given = std::env::args().skip(1);
    while let Some(option) = given.next() {
        let mut value = || given.next().ok_or(format!("{option} lacks a value"));
        let number = |text: String| text.parse::<u64>().map_err(|e| format!("{option} {text}: {e}"));
        match option.as_str() {
            // What cargo adds.
            "--bench" => {}
            "--rows" => arguments.rows = number(value()?)?,
            "--runs" => arguments.runs = number(value()?)?.max(1) as usize,
            "--only" => arguments.only.push(value()?),
            "--output" => arguments.output = Some(value()?.into()),
            "--quick" => (arguments.rows, arguments.runs, arguments.output) = (QUICK_ROWS, 1, None),
            other => return Err(format!("no option {other}")),
        }
    }
    Ok(arguments)
}

fn main() -> Result<(), String> {
    let arguments = arguments()?;
    let wanted = |name: &str| {
        let is_exact = |only: &String| CASES.iter().any(|case| case.name == only);
        let is_meant = |only: &String| name == only || !is_exact(only) && name.starts_with(only.as_str());
        arguments.only.is_empty() || arguments.only.iter().any(is_meant)
    };
    if let Some(folder) = &arguments.output {
        // Not behind a quarter of an hour of measuring.
        std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    let mut results = Results::new(arguments.rows, arguments.runs, &arguments.only);
    let mut drawn: Option<Rows> = None;
    for case in CASES.iter().filter(|case| wanted(case.name)) {
        let Some(server) = Server::named(case.kind.server()) else {
            eprintln!("{}: not measured, as there is no server", case.name);
            results.absent.push((case.name, case.kind.server()));
            continue;
        };
        eprintln!("{}", case.name);
        let rows = (arguments.rows / case.share).next_multiple_of(WINDOWS * case.message_rows as u64);
        let measured = match case.kind {
            Kind::Postgres => postgres::measure(case, server, rows, arguments.runs, &mut results.versions)?,
            _ => {
                // Cases that follow one another often have the same.
                let data = match drawn.take() {
                    Some(data) if data.is_for(case, rows) => data,
                    _ => Rows::draw(case, rows)?,
                };
                let measured = feed(case, server, &data, arguments.runs, &mut results)?;
                drawn = Some(data);
                measured
            }
        };
        eprintln!("  {}", measured.in_short());
        results.cases.push(measured);
    }
    println!("{}", results.markdown());
    if let Some(folder) = &arguments.output {
        results.write(folder)?;
    }
    match results.is_right() {
        true => Ok(()),
        false => Err("some results are wrong".into()),
    }
}

/// The runs of a feed, each beside one of the bare consumer.
fn feed(case: &Case, server: Server, data: &Rows, runs: usize, results: &mut Results) -> Result<Measured, String> {
    let mut broker: Box<dyn Broker> = match case.kind {
        Kind::Kafka => Box::new(kafka::Topic::new(server)?),
        Kind::Redis => Box::new(redis::Stream::new(server)?),
        Kind::Rabbitmq => Box::new(rabbitmq::Queue::new(server)?),
        Kind::Mqtt => Box::new(mqtt::Session::new(server)?),
        Kind::Postgres => return Err("a database is no broker".into()),
    };
    results.versions.insert(case.kind.server(), broker.version());
    let mut measured = Measured::new(case, data.rows);
    for turn in 0..runs {
        for is_engine in [turn % 2 == 0, turn % 2 == 1] {
            broker.fill(data)?;
            match is_engine {
                true => measured.add(engine::run(case, &broker.feed(), data)),
                false => measured.add_bare(broker.consume(data).and_then(|tally| tally.rows_per_second(data))),
            }
        }
    }
    broker.clear()?;
    Ok(measured)
}
