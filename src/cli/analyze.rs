//! `millstream analyze INPUT...`: statistics of files or of standard input.

use super::progress::Progress;
use super::{Log, places};
use crate::backend::Backend;
use crate::backend::cpu::Cpu;
use crate::error::{Error, Result};
use crate::expr::{Definition, Expr, Formula};
use crate::io::{self, BadRows, Format, OutputFile, ReadOptions, TimeUnit};
use crate::pipeline::{Analysis, Query, analyze};
use crate::report::{self, table::Style};
use crate::spec::{Precision, Regression, Spec};
use crate::units;
use clap::{Args, ValueEnum};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// Statistics of files or of standard input (-)
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    millstream analyze weather.csv\n  \
    millstream analyze *.csv.gz --columns temp,wind --by station --format json\n  \
    millstream analyze ticks.parquet --time ts --window 1m --stats moments,quantiles -o report.html\n  \
    millstream analyze weather.csv --where \"weather <> 'fog'\" --regress \"temp_max ~ temp_min + wind\"")]
pub(super) struct Arguments {
    /// Files, or - for standard input; several are one table
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// The format of the inputs: csv, tsv, ndjson, parquet, arrow [default: by extension]
    #[arg(long, value_name = "FORMAT")]
    input_format: Option<Format>,
    /// Numeric columns to use, names with blanks or commas in double quotes [default: every numeric column]
    #[arg(long, value_name = "a,b")]
    columns: Option<String>,
    /// Keep the rows for which this SQL expression holds
    #[arg(long = "where", value_name = "EXPR")]
    filter: Option<String>,
    /// A new numeric column; may be repeated
    #[arg(long, value_name = "NAME = EXPR")]
    define: Vec<String>,
    /// One report per distinct value of these columns
    #[arg(long, value_name = "k1,k2")]
    by: Option<String>,
    /// The column of the event time
    #[arg(long, value_name = "COLUMN")]
    time: Option<String>,
    /// The unit of numeric event times
    #[arg(long, value_enum, default_value_t = Unit::Ms)]
    time_unit: Unit,
    /// One report per window of event time (10m) or of rows ("1000 rows")
    #[arg(long, value_name = "SIZE")]
    window: Option<String>,
    /// The distance from one window to the next [default: the size]
    #[arg(long, value_name = "SIZE", requires = "window")]
    slide: Option<String>,
    /// What to report: moments, covariance, correlation, differences, quantiles
    #[arg(long, value_enum, value_delimiter = ',', default_value = "moments")]
    stats: Vec<Statistic>,
    /// Probabilities of quantiles; implies the statistic [default with it: 0.25,0.5,0.75]
    #[arg(long, value_delimiter = ',', value_name = "P")]
    quantiles: Vec<f64>,
    /// Least squares, as "y ~ x1 + x2"
    #[arg(long, value_name = "FORMULA")]
    regress: Option<String>,
    /// The ridge penalty of the regression
    #[arg(long, value_name = "LAMBDA", requires = "regress", default_value_t = 0.0)]
    ridge: f64,
    /// Where the regression goes as JSON
    #[arg(long, value_name = "FILE", requires = "regress")]
    save_model: Option<PathBuf>,
    /// Where the row-by-row differences go, csv or parquet by extension
    #[arg(long, value_name = "FILE")]
    differences_output: Option<PathBuf>,
    /// The divisor of variances and covariances is n - ddof
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=1))]
    ddof: u64,
    /// What to do with rows that cannot be read: fail, skip, quarantine=FILE
    #[arg(long, value_name = "POLICY", default_value = "fail", value_parser = bad_rows)]
    bad_rows: BadRows,
    /// Stop when compressed input grows by more than this factor
    #[arg(long, value_name = "FACTOR", default_value_t = io::MAX_EXPANSION)]
    max_expansion: u64,
    /// Where to compute; gpu fails if there is none
    #[arg(long, value_enum, default_value_t = BackendName::Auto)]
    backend: BackendName,
    /// How exactly to compute
    #[arg(long, value_enum, default_value_t = PrecisionName::Exact)]
    precision: PrecisionName,
    /// Let a software Vulkan adapter count as a GPU (for tests)
    #[arg(long)]
    software_adapter: bool,
    /// CPU threads [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// State above this size is an error
    #[arg(long, value_name = "SIZE")]
    max_memory: Option<String>,
    /// The form of the report [default: by the extension of -o, else table]
    #[arg(long, value_enum)]
    format: Option<OutputFormat>,
    /// Where the report goes [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Unit {
    S,
    Ms,
    Us,
    Ns,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Statistic {
    Moments,
    Covariance,
    Correlation,
    Differences,
    Quantiles,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BackendName {
    Auto,
    Cpu,
    Gpu,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PrecisionName {
    Fast,
    Exact,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    Table,
    Json,
    Ndjson,
    Csv,
    Markdown,
    Parquet,
    Html,
}

/// The quantiles of `--stats quantiles` where none are named: the quartiles.
const QUARTILES: [f64; 3] = [0.25, 0.5, 0.75];

fn bad_rows(text: &str) -> Result<BadRows, String> {
    match text.split_once('=') {
        None if text == "fail" => Ok(BadRows::Fail),
        None if text == "skip" => Ok(BadRows::Skip),
        Some(("quarantine", "-")) => Err("rows are kept in a file, not on standard output: quarantine=FILE".into()),
        Some(("quarantine", file)) if !file.is_empty() => Ok(BadRows::Quarantine(file.into())),
        _ => Err("expected fail, skip or quarantine=FILE".into()),
    }
}

pub(super) fn run(arguments: &Arguments, log: Log) -> Result<()> {
    let query = arguments.query()?;
    let format = arguments.output_format()?;
    let backend = arguments.backend()?;
    let inputs = &arguments.inputs;
    places::distinct(inputs, &arguments.outputs())?;
    let source = io::open(inputs, &arguments.read_options(&query.spec))?;
    // Before the long work: a report that cannot be written is not worth computing.
    let output = OutputFile::create(arguments.report_path())?;
    let model = arguments.save_model.as_deref().map(OutputFile::create).transpose()?;
    let mut progress = Progress::begin(io::bytes_total(inputs));
    let analysis = analyze(source, &query, backend, &mut |bytes| progress.at(bytes));
    progress.finish();
    let analysis = analysis?;
    for note in &analysis.notes {
        log.note(note);
    }
    if let Some(mut model) = model {
        report::json::write_models(&analysis.report, &mut model).map_err(|e| model.error(e))?;
        model.finish()?;
    }
    arguments.write(&analysis, format, output)
}

impl Arguments {
    fn report_path(&self) -> &Path {
        self.output.as_deref().unwrap_or(Path::new("-"))
    }

    /// Everything that is written, with the option that names it.
    fn outputs(&self) -> Vec<(&'static str, &Path)> {
        let mut outputs = vec![("--output", self.report_path())];
        outputs.extend(self.save_model.as_deref().map(|path| ("--save-model", path)));
        outputs.extend(
            self.differences_output
                .as_deref()
                .map(|path| ("--differences-output", path)),
        );
        if let BadRows::Quarantine(path) = &self.bad_rows {
            outputs.push(("--bad-rows quarantine=", path));
        }
        outputs
    }

    fn query(&self) -> Result<Query> {
        let has = |statistic| self.stats.contains(&statistic);
        let quantiles = match (self.quantiles.is_empty(), has(Statistic::Quantiles)) {
            (true, true) => QUARTILES.to_vec(),
            _ => self.quantiles.clone(),
        };
        let regression = match &self.regress {
            Some(text) => {
                let Formula {
                    target,
                    terms,
                    intercept,
                } = Formula::parse(text)?;
                Some(Regression {
                    target,
                    terms,
                    intercept,
                    ridge: self.ridge,
                })
            }
            None => None,
        };
        let spec = Spec {
            columns: self.columns.as_deref().map(units::names).transpose()?,
            covariance: has(Statistic::Covariance),
            correlation: has(Statistic::Correlation),
            differences: has(Statistic::Differences),
            quantiles,
            regression,
            ddof: self.ddof,
            precision: match self.precision {
                PrecisionName::Exact => Precision::Exact,
                PrecisionName::Fast => Precision::Fast,
            },
            keys: self.by.as_deref().map(units::names).transpose()?.unwrap_or_default(),
            window: self
                .window
                .as_deref()
                .map(|size| units::window(size, self.slide.as_deref()))
                .transpose()?,
            ..Spec::default()
        };
        let format = self.output_format()?;
        Ok(Query {
            spec: spec.checked()?,
            filter: self.filter.as_deref().map(Expr::parse).transpose()?,
            definitions: self
                .define
                .iter()
                .map(|text| Definition::parse(text))
                .collect::<Result<_>>()?,
            time: self.time.clone(),
            quarantine: match &self.bad_rows {
                BadRows::Quarantine(path) => Some(path.clone()),
                _ => None,
            },
            differences_output: self.differences_output.clone(),
            samples: format == OutputFormat::Html,
            memory_bytes_max: self.max_memory.as_deref().map(units::size_bytes).transpose()?,
        })
    }

    fn read_options(&self, spec: &Spec) -> ReadOptions {
        let unit = match self.time_unit {
            Unit::S => TimeUnit::Seconds,
            Unit::Ms => TimeUnit::Milliseconds,
            Unit::Us => TimeUnit::Microseconds,
            Unit::Ns => TimeUnit::Nanoseconds,
        };
        // Columns that are named as numbers are read as numbers, though text stands in them.
        let mut numeric = spec.columns.clone().unwrap_or_default();
        if let Some(regression) = &spec.regression {
            numeric.extend(regression.terms.iter().chain([&regression.target]).cloned());
        }
        ReadOptions {
            format: self.input_format,
            time: self.time.clone().map(|name| (name, unit)),
            numeric,
            bad_rows: self.bad_rows.clone(),
            max_expansion: self.max_expansion,
        }
    }

    fn backend(&self) -> Result<Box<dyn Backend>> {
        if self.backend == BackendName::Gpu {
            return Err(Error::Unavailable(
                "there is no GPU backend in this build; --backend cpu or auto computes the same on the CPU".into(),
            ));
        }
        if let Some(threads) = self.threads {
            rayon_threads(usize::from(threads))?;
        }
        Ok(Box::new(Cpu::new()))
    }

    /// Of `--format`, else of the extension of `-o`.
    fn output_format(&self) -> Result<OutputFormat> {
        if let Some(format) = self.format {
            return Ok(format);
        }
        let Some(path) = self.output.as_deref().filter(|path| *path != Path::new("-")) else {
            return Ok(OutputFormat::Table);
        };
        let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        match extension.as_deref() {
            Some("txt") | None => Ok(OutputFormat::Table),
            Some("json") => Ok(OutputFormat::Json),
            Some("ndjson" | "jsonl") => Ok(OutputFormat::Ndjson),
            Some("csv") => Ok(OutputFormat::Csv),
            Some("md" | "markdown") => Ok(OutputFormat::Markdown),
            Some("parquet") => Ok(OutputFormat::Parquet),
            Some("html" | "htm") => Ok(OutputFormat::Html),
            Some(other) => Err(Error::Usage(format!(
                "{}: there is no report format for .{other}: name one with --format",
                path.display()
            ))),
        }
    }

    fn write(&self, analysis: &Analysis, format: OutputFormat, mut output: OutputFile) -> Result<()> {
        let report = &analysis.report;
        let written = match format {
            OutputFormat::Table => report::table::write(report, self.style(), &mut output),
            OutputFormat::Json => report::json::write(report, &mut output),
            OutputFormat::Ndjson => report::json::write_lines(report, &mut output),
            OutputFormat::Markdown => report::markdown::write(report, &mut output),
            OutputFormat::Html => report::html::write(report, &analysis.samples, &self.title(), &mut output),
            OutputFormat::Csv | OutputFormat::Parquet => {
                let table = report::long::long_table(report)?;
                let form = if format == OutputFormat::Csv {
                    io::table::Output::Csv
                } else {
                    io::table::Output::Parquet
                };
                let mut writer = io::table::TableWriter::over(output, form, table.schema())?;
                writer.write(&table)?;
                return writer.finish();
            }
        };
        written.map_err(|e| output.error(e))?;
        output.finish()
    }

    fn title(&self) -> String {
        let names: Vec<String> = self
            .inputs
            .iter()
            .map(|path| {
                path.file_name()
                    .map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned())
            })
            .collect();
        match names.as_slice() {
            [a, b, c, rest @ ..] if !rest.is_empty() => format!("{a}, {b}, {c} and {} more", rest.len()),
            names => names.join(", "),
        }
    }

    /// Colour and width only where a terminal shows the report.
    fn style(&self) -> Style {
        let terminal = self.output.is_none() && std::io::stdout().is_terminal();
        let color = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Style {
            width: terminal.then(terminal_width),
            color,
        }
    }
}

/// The width of the terminal; 100 where it does not say.
fn terminal_width() -> usize {
    console::Term::stdout()
        .size_checked()
        .map_or(100, |(_, columns)| usize::from(columns))
}

/// Sets up the pool that reading and reducing share.
fn rayon_threads(threads: usize) -> Result<()> {
    crate::backend::cpu::set_threads(threads)
}
