//! `millstream generate`: a synthetic feed to a file, standard output, a socket or a server.

use super::Log;
use crate::error::{Error, Result};
use crate::generate::{
    BATCH_ROWS, Column, DATAGRAM_BYTES, Delivery, Expectation, Format, Grid, Options, Question, Target, generate,
};
use crate::io::OutputFile;
use crate::io::places;
use crate::units::{duration_ns, names};
use clap::{Args, ValueEnum};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Write a synthetic feed to a file, standard output, a socket or a server
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Columns of values: how many (c0, c1, …), or their names
    #[arg(
        long,
        value_name = "N|NAMES",
        default_value = "1",
        conflicts_with = "column",
        help_heading = "Rows"
    )]
    columns: String,
    /// One column, as NAME or NAME:mean=20,sd=2,drift=0.1,step=5@10s,missing=0.01; may be repeated
    ///
    /// drift is what the mean gains in a second of event time; a step changes it by so much that long after the start.
    #[arg(long, value_name = "COLUMN", help_heading = "Rows")]
    column: Vec<String>,
    /// The mean of columns that do not say another
    #[arg(
        long,
        value_name = "X",
        default_value_t = 20.0,
        allow_negative_numbers = true,
        help_heading = "Rows"
    )]
    mean: f64,
    /// The standard deviation of columns that do not say another
    #[arg(long, value_name = "X", default_value_t = 2.0, help_heading = "Rows")]
    sd: f64,
    /// The share of missing values in columns that do not say another
    #[arg(long, value_name = "P", default_value_t = 0.0, help_heading = "Rows")]
    missing: f64,
    /// The correlation of any two columns; where negative, of neighbours, and its sign alternates
    #[arg(
        long,
        value_name = "R",
        default_value_t = 0.0,
        allow_negative_numbers = true,
        help_heading = "Rows"
    )]
    correlation: f64,
    /// How many rows, also as 1e6
    #[arg(long, value_name = "N", value_parser = whole, default_value = "1000", help_heading = "Rows")]
    rows: u64,
    /// The same seed gives the same rows
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Rows")]
    seed: u64,
    /// A column `key` of so many different keys 0, 1, … [default: no keys]
    #[arg(long, value_name = "K", value_parser = whole, default_value = "0", hide_default_value = true)]
    #[arg(help_heading = "Rows")]
    keys: u64,
    /// The exponent of Zipf's law: key k comes in proportion to 1/(k+1)^S; 0 makes all as frequent
    #[arg(long, value_name = "S", default_value_t = 1.0, help_heading = "Rows")]
    zipf: f64,
    /// The event time of the first row: RFC 3339, or milliseconds since 1970
    #[arg(
        long,
        value_name = "TIME",
        default_value = "2026-01-01T00:00:00Z",
        allow_negative_numbers = true,
        help_heading = "Rows"
    )]
    start: String,
    /// Event time from row to row, such as 1ms (1000 rows a second) or 100us
    #[arg(long, value_name = "DURATION", default_value = "1ms", help_heading = "Rows")]
    step: String,
    /// Every row is late by a delay of its own, up to this one
    #[arg(long, value_name = "DURATION", help_heading = "Rows")]
    disorder: Option<String>,
    /// The share of rows that repeat the one before
    #[arg(long, value_name = "P", default_value_t = 0.0, help_heading = "Rows")]
    duplicates: f64,
    /// The share of rows that cannot be read (csv, ndjson): garbage, missing fields, bytes that are not UTF-8
    #[arg(long, value_name = "P", default_value_t = 0.0, help_heading = "Rows")]
    bad_rows: f64,
    /// Values are multiples of 2^-BITS, which are exact in text and in binary [default: 10]
    #[arg(long, value_name = "BITS", conflicts_with = "decimals", help_heading = "Rows")]
    fraction_bits: Option<u32>,
    /// Values are multiples of 10^-DIGITS instead
    #[arg(long, value_name = "DIGITS", help_heading = "Rows")]
    decimals: Option<u32>,
    /// Values are those that such numbers hold; arrow and binary carry them so
    #[arg(long, value_enum, default_value_t = Values::F64, help_heading = "Rows")]
    values: Values,

    /// The format [default: by the extension of -o, else csv]
    #[arg(long, value_enum, help_heading = "Delivery")]
    format: Option<FormatName>,
    /// The file to write, or - for standard output
    #[arg(short, long, value_name = "FILE", default_value = "-", help_heading = "Delivery")]
    output: PathBuf,
    /// Add rows to the end of the file as they come, rather than let it appear when it is whole
    #[arg(long, help_heading = "Delivery")]
    append: bool,
    /// Send the rows to tcp://HOST:PORT, udp://HOST:PORT, http://…, https://…, kafka://HOST:PORT/TOPIC or
    /// amqp://USER@HOST:PORT/QUEUE
    ///
    /// A queue of RabbitMQ that is not there is made, durable. The virtual host is /, unless it stands before the queue.
    #[arg(long, value_name = "URL", conflicts_with_all = ["output", "append"], help_heading = "Delivery")]
    to: Option<String>,
    /// Rows a second [default: as many as the other end takes]
    #[arg(long, value_name = "ROWS", help_heading = "Delivery")]
    rate: Option<f64>,
    /// Draw and encode all rows before the first is sent
    #[arg(long, help_heading = "Delivery")]
    replay: bool,
    /// How long to wait between the drawing of a replay and its sending
    #[arg(long, value_name = "DURATION", requires = "replay", help_heading = "Delivery")]
    rest: Option<String>,
    /// Leave out the line of names of csv
    #[arg(long, help_heading = "Delivery")]
    no_header: bool,
    /// Rows of an HTTP body, a message of a broker or an Arrow record batch
    #[arg(long, value_name = "N", value_parser = whole, help_heading = "Delivery")]
    #[arg(default_value_t = BATCH_ROWS as u64)]
    batch_rows: u64,
    /// Bytes of a datagram at most
    #[arg(long, value_name = "N", default_value_t = DATAGRAM_BYTES, help_heading = "Delivery")]
    datagram_bytes: usize,
    /// A file with the bearer token for HTTP [default: the variable MILLSTREAM_TOKEN, if there is one]
    #[arg(long, value_name = "FILE", help_heading = "Delivery")]
    token_file: Option<PathBuf>,
    /// A file whose first line is the password for RabbitMQ [default: the variable RABBITMQ_PASSWORD, if there is one,
    /// else guest]
    #[arg(long, value_name = "FILE", help_heading = "Delivery")]
    password_file: Option<PathBuf>,
    /// Certificates (PEM) that an https server's may be signed by, instead of those of the system; amqp:// to another
    /// machine needs one
    #[arg(long, value_name = "FILE", help_heading = "Delivery")]
    authorities: Option<PathBuf>,
    /// How long an HTTP server that does not answer, or has no room, is asked again
    #[arg(long, value_name = "DURATION", default_value = "30s", help_heading = "Delivery")]
    retry: String,
    /// Write when each message went: csv of the rows up to its end, and when its sending began and ended (ns since 1970)
    #[arg(long, value_name = "FILE", help_heading = "Delivery")]
    sent_log: Option<PathBuf>,

    /// Write what a right engine reports: one JSON object a window and key, and last where the rows went
    #[arg(long, value_name = "FILE", help_heading = "Expectation")]
    expect: Option<PathBuf>,
    /// The windows that the engine is asked for, such as 1s [default: one of all rows]
    #[arg(long, value_name = "SIZE", requires = "expect", help_heading = "Expectation")]
    window: Option<String>,
    /// From window to window [default: the size]
    #[arg(long, value_name = "DURATION", requires = "window", help_heading = "Expectation")]
    slide: Option<String>,
    /// Covariances as well (binary fractions without missing values)
    #[arg(long, requires = "expect", help_heading = "Expectation")]
    covariance: bool,
    /// How far the engine's watermark stays behind the newest row [default: 0s]
    #[arg(long, value_name = "DURATION", requires = "expect", help_heading = "Expectation")]
    lateness: Option<String>,
}

const EXAMPLES: &str = "Columns are ts (milliseconds since 1970), key (an integer, with --keys) and the values. The same \
    seed gives the same rows in every format and to every target, and fewer --rows are the beginning of more. \
    A binary feed is frames: a little-endian u32 of the bytes behind it, then whole rows of little-endian f64 (values \
    as f32 with --values f32). Each HTTP body of csv begins with the names; datagrams have rows only. A body is sent \
    again, with the same Idempotency-Key, until the server has it.\n\n\
    With bad rows among the first ones, the receiver has to be told which columns are numbers.\n\n\
    Examples:\n  \
    millstream generate --rows 1e6 --columns 8 --keys 100 -o feed.csv\n  \
    millstream generate --column temperature:mean=20,drift=0.1 --column humidity:mean=60,sd=5 --correlation -0.4\n  \
    millstream generate --rows 1e7 --columns 8 --keys 100 --step 1us --disorder 5ms \\\n    \
    --format binary --to tcp://127.0.0.1:7400 --expect expected.ndjson --window 1s --lateness 10ms\n  \
    millstream generate --rows 1e6 --rate 5000 --format arrow --to http://127.0.0.1:7402/rows\n\n\
    Exit status: 0 done, 1 the other end went away or refused, 2 wrong usage, 66 a file cannot be opened, 74 the output \
    cannot be written";

/// The variable that holds the password for RabbitMQ where no file does.
const PASSWORD: &str = "RABBITMQ_PASSWORD";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatName {
    Csv,
    Ndjson,
    Arrow,
    Binary,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Values {
    F64,
    F32,
}

/// A whole number from 0, also as 1e6.
fn whole(text: &str) -> Result<u64, String> {
    let plain = text.replace('_', "").parse::<u64>().ok();
    let scientific = || {
        let x: f64 = text.parse().ok()?;
        (x.fract() == 0.0 && (0.0..1e15).contains(&x)).then_some(x as u64)
    };
    plain
        .or_else(scientific)
        .ok_or_else(|| format!("`{text}` is not a whole number"))
}

impl Arguments {
    fn options(&self) -> Result<Options> {
        let default = Column {
            missing: self.missing,
            ..Column::new("", self.mean, self.sd)
        };
        let named = |name: String| Column {
            name,
            ..default.clone()
        };
        let columns = if !self.column.is_empty() {
            self.column
                .iter()
                .map(|text| Column::parse(text, &default))
                .collect::<Result<_>>()?
        } else if let Ok(n) = self.columns.parse::<u32>() {
            (0..n).map(|i| named(format!("c{i}"))).collect()
        } else {
            names(&self.columns)?.into_iter().map(named).collect()
        };
        let start_ms = match self.start.parse::<i64>() {
            Ok(ms) => ms,
            Err(_) => {
                let time: jiff::Timestamp = self.start.parse().map_err(|e| {
                    Error::Usage(format!(
                        "--start `{}` is neither RFC 3339 nor milliseconds: {e}",
                        self.start
                    ))
                })?;
                time.as_millisecond()
            }
        };
        Ok(Options {
            columns,
            correlation: self.correlation,
            rows: self.rows,
            seed: self.seed,
            keys: u32::try_from(self.keys).unwrap_or(u32::MAX),
            zipf: self.zipf,
            start_ms,
            step_ns: match self.step.trim() {
                "0" | "0s" => 0,
                step => duration_ns(step)? as u64,
            },
            disorder_ms: match self.disorder.as_deref().map(str::trim) {
                None | Some("0" | "0s") => 0,
                Some(disorder) => (duration_ns(disorder)? as u64).div_ceil(1_000_000),
            },
            duplicates: self.duplicates,
            bad_rows: self.bad_rows,
            grid: match (self.fraction_bits, self.decimals) {
                (_, Some(digits)) => Grid::Decimals(digits),
                (bits, None) => Grid::Fraction(bits.unwrap_or(10)),
            },
            single: self.values == Values::F32,
        })
    }

    fn format(&self) -> Result<Format> {
        let by_name = match self.output.extension().and_then(|e| e.to_str()) {
            Some("ndjson" | "jsonl") => FormatName::Ndjson,
            Some("arrow" | "arrows" | "feather") => FormatName::Arrow,
            Some("bin") => FormatName::Binary,
            _ => FormatName::Csv,
        };
        Ok(match self.format.unwrap_or(by_name) {
            FormatName::Csv => Format::Csv,
            FormatName::Ndjson => Format::Ndjson,
            FormatName::Arrow => Format::Arrow,
            FormatName::Binary => Format::Binary,
        })
    }

    fn delivery(&self) -> Result<Delivery> {
        let target = match &self.to {
            Some(url) => Target::parse(url)?,
            None if self.append => Target::Append(self.output.clone()),
            None => Target::File(self.output.clone()),
        };
        let token = match &self.token_file {
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|source| Error::Input {
                    path: path.clone(),
                    source,
                })?;
                // The first line, as for those who check it.
                Some(text.lines().next().unwrap_or_default().trim().to_owned())
            }
            None => std::env::var("MILLSTREAM_TOKEN").ok(),
        };
        let rest = self.rest.as_deref().map_or(Ok(0), duration_ns)?;
        Ok(Delivery {
            format: self.format()?,
            rate: self.rate,
            batch_rows: usize::try_from(self.batch_rows).unwrap_or(usize::MAX),
            datagram_bytes: self.datagram_bytes,
            header: !self.no_header,
            replay: self.replay,
            rest: Duration::from_nanos(rest as u64),
            token,
            password_file: self.password_file.clone(),
            password_env: std::env::var_os(PASSWORD).map(|_| PASSWORD.to_owned()),
            authorities: self.authorities.clone(),
            retry: Duration::from_nanos(duration_ns(&self.retry)? as u64),
            ..Delivery::new(target)
        })
    }
}

pub(super) fn run(arguments: &Arguments, log: Log) -> Result<()> {
    let options = arguments.options()?;
    options.checked()?;
    let delivery = arguments.delivery()?;
    let mut outputs: Vec<(&str, &Path)> = Vec::new();
    if arguments.to.is_none() {
        outputs.push(("-o", &arguments.output));
    }
    outputs.extend(arguments.expect.as_deref().map(|path| ("--expect", path)));
    outputs.extend(arguments.sent_log.as_deref().map(|path| ("--sent-log", path)));
    let read: Vec<PathBuf> = arguments
        .token_file
        .iter()
        .chain(&arguments.password_file)
        .chain(&arguments.authorities)
        .cloned()
        .collect();
    places::distinct(&read, &outputs)?;

    let question = Question {
        covariance: arguments.covariance,
        ..Question::parse(
            arguments.window.as_deref(),
            arguments.slide.as_deref(),
            arguments.lateness.as_deref(),
        )?
    };
    let mut expectation = match &arguments.expect {
        Some(path) => Some(Expectation::create(path, &options, question)?),
        None => None,
    };
    let sent = generate(&options, &delivery, expectation.as_mut())?;
    expectation.map(Expectation::finish).transpose()?;
    if let Some(path) = &arguments.sent_log {
        let mut out = OutputFile::create(path)?;
        let mut write = || -> std::io::Result<()> {
            writeln!(out, "rows,begun_ns,taken_ns")?;
            let mut messages = sent.log.iter();
            messages.try_for_each(|m| writeln!(out, "{},{},{}", m.rows, m.begun_ns, m.taken_ns))
        };
        write().map_err(|e| out.error(e))?;
        out.finish()?;
    }
    if arguments.to.is_some() || arguments.output != Path::new("-") {
        let seconds = sent.elapsed.as_secs_f64();
        log.note(&format!(
            "{} rows, {} bytes in {seconds:.3} s ({:.2} million rows/s)",
            sent.rows,
            sent.bytes,
            sent.rows as f64 / seconds.max(1e-9) / 1e6
        ));
    }
    Ok(())
}
