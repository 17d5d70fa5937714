//! `millstream merge SUMMARIES...`: stored summaries combined into longer windows or fewer keys.

use super::Log;
use super::analyze::{Statistic, probability};
use super::rendering::{self, OutputFormat};
use crate::error::{Error, Result};
use crate::io::OutputFile;
use crate::io::places;
use crate::io::sink::sqlite::Database;
use crate::merge::{Query, Span, Statistics, merge};
use crate::units;
use clap::Args;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Combine stored summaries of sqlite sinks into longer windows or fewer keys
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Databases that sinks of type sqlite wrote; several are one, as those of several machines
    #[arg(required = true, value_name = "SUMMARIES")]
    databases: Vec<PathBuf>,
    /// Whose summaries [default: those of the only feed]
    #[arg(long, value_name = "NAME")]
    feed: Option<String>,
    /// The length of the merged windows, a multiple of that of the stored ones (1h, "10000 rows"), or unbounded: one
    /// for everything [default: the stored ones]
    #[arg(long, value_name = "SIZE")]
    window: Option<String>,
    /// One report per distinct value of these keys, some of those that are stored [default: all of them]
    #[arg(long, value_name = "k1,k2")]
    by: Option<String>,
    /// One report over all keys
    #[arg(long, conflicts_with = "by")]
    no_keys: bool,

    /// What to report, as far as it was kept; moments always are [default: what the feed reports]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST")]
    stats: Option<Vec<Statistic>>,
    /// Probabilities of quantiles, from 0 to 1, if quantiles were kept [default: those of the feed]
    #[arg(long, value_delimiter = ',', value_name = "P,P", allow_negative_numbers = true, value_parser = probability)]
    quantiles: Vec<f64>,
    /// The divisor of variances and covariances is n - ddof [default: that of the feed]
    #[arg(long, value_parser = clap::value_parser!(u64).range(0..=1), value_name = "0|1", allow_negative_numbers = true)]
    ddof: Option<u64>,

    /// The form of the report [default: by the extension of -o, else table]
    #[arg(long, value_enum)]
    format: Option<OutputFormat>,
    /// Where the report goes [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

const EXAMPLES: &str = "The report is the one that the rows themselves would give: counts, extremes, sums of whole \
    numbers and quantiles exactly, the rest up to rounding.\n\n\
    Examples:\n  \
    millstream merge stats.db --window 1h\n  \
    millstream merge stats.db --window 1d --by sensor --format json\n  \
    millstream merge east.db west.db --window unbounded --no-keys -o all.md\n\n\
    Exit status: 0 done, 1 failed while running, 2 wrong usage (also: windows that cannot be merged), \
    65 bad data, 66 an input cannot be opened, 74 an output cannot be written, 78 no database of reports";

pub(super) fn run(arguments: &Arguments, log: Log) -> Result<()> {
    let started = Instant::now();
    let query = arguments.query()?;
    let format = OutputFormat::of(arguments.format, arguments.output.as_deref())?;
    let path = arguments.output.as_deref().unwrap_or(Path::new("-"));
    places::distinct(&arguments.databases, &[("--output", path)])?;
    arguments.check_inputs()?;
    let databases = arguments
        .databases
        .iter()
        .map(|path| Database::open(path))
        .collect::<Result<Vec<_>>>()?;
    let mut merged = merge(&databases, &query)?;
    merged.report.elapsed_seconds = started.elapsed().as_secs_f64();
    for note in &merged.notes {
        log.note(note);
    }
    rendering::note_left_out(&merged.report, format, log);
    let output = OutputFile::create(path)?;
    let names: Vec<String> = arguments
        .databases
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    rendering::write(
        &merged.report,
        &[],
        &names.join(", "),
        format,
        rendering::style(path),
        output,
    )
}

impl Arguments {
    /// Summaries that are given twice would count their rows twice.
    fn check_inputs(&self) -> Result<()> {
        let mut seen: Vec<PathBuf> = Vec::new();
        for path in &self.databases {
            let place = path.canonicalize().unwrap_or_else(|_| path.clone());
            if seen.contains(&place) {
                return Err(Error::Usage(format!("{} is given twice", path.display())));
            }
            seen.push(place);
        }
        Ok(())
    }

    fn query(&self) -> Result<Query> {
        let has = |statistic| self.stats.as_ref().is_some_and(|stats| stats.contains(&statistic));
        let statistics = self.stats.as_ref().map(|_| Statistics {
            covariance: has(Statistic::Covariance),
            correlation: has(Statistic::Correlation),
            differences: has(Statistic::Differences),
            quantiles: has(Statistic::Quantiles),
        });
        let window = match self.window.as_deref() {
            None => None,
            Some("unbounded") => Some(Span::Unbounded),
            Some(size) => Some(Span::Window(units::window(size, None)?)),
        };
        let keys = match (&self.by, self.no_keys) {
            (_, true) => Some(Vec::new()),
            (by, false) => by.as_deref().map(units::names).transpose()?,
        };
        Ok(Query {
            feed: self.feed.clone(),
            window,
            keys,
            statistics,
            quantiles: self.quantiles.clone(),
            ddof: self.ddof,
        })
    }
}
