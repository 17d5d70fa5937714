//! `millstream analyze INPUT...`: statistics of files or of standard input.

use super::Log;
use super::computing::{self, Computing};
use super::progress::Progress;
use super::rendering::{self, OutputFormat};
use crate::error::{Result, STANDARD_INPUT};
use crate::expr::{Definition, Expr, Formula};
use crate::io::places;
use crate::io::{self, BadRows, Format, OutputFile, ReadOptions, TimeUnit};
use crate::machine::{Cache, select_traced};
use crate::pipeline::{Query, analyze, workload};
use crate::report;
use crate::spec::{ModelSpec, Spec};
use crate::summary::Model;
use crate::units;
use clap::{ArgGroup, Args, ValueEnum};
use std::path::{Path, PathBuf};

/// Statistics of files or of standard input (-)
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, group = ArgGroup::new("formula").args(["regress", "fit"]))]
pub(super) struct Arguments {
    /// Files, or - for standard input; several are one table, so their columns must agree
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,

    /// The format of the inputs: csv, tsv, ndjson, parquet, arrow [default: by extension]
    #[arg(long, value_name = "FORMAT", help_heading = READING)]
    input_format: Option<Format>,
    /// What to do with rows that cannot be read: fail, skip, quarantine=FILE (appended as JSON lines)
    #[arg(long, value_name = "POLICY", default_value = "fail", value_parser = bad_rows, help_heading = READING)]
    bad_rows: BadRows,
    /// Stop when compressed input grows by more than this factor
    #[arg(long, value_name = "FACTOR", default_value_t = io::MAX_EXPANSION, help_heading = READING)]
    #[arg(allow_negative_numbers = true)]
    max_expansion: u64,
    /// The column of the event time: dates and times as text (ISO 8601), or numbers since 1970
    #[arg(long, value_name = "COLUMN", help_heading = READING)]
    time: Option<String>,
    /// The unit of event times that are numbers
    #[arg(long, value_enum, value_name = "UNIT", default_value_t = Unit::Ms, help_heading = READING)]
    time_unit: Unit,

    /// Numeric columns to use, names with blanks or commas in double quotes [default: every numeric column]
    #[arg(long, value_name = "a,b", help_heading = CHOOSING)]
    columns: Option<String>,
    /// Keep the rows for which this SQL expression holds, as in "temp > 0 and weather <> 'fog'"
    #[arg(long = "where", value_name = "EXPR", help_heading = CHOOSING)]
    #[arg(allow_hyphen_values = true, value_parser = value)]
    filter: Option<String>,
    /// A new numeric column, as in "range = temp_max - temp_min"; may be repeated
    #[arg(long, value_name = "NAME = EXPR", help_heading = CHOOSING)]
    #[arg(allow_hyphen_values = true, value_parser = value)]
    define: Vec<String>,
    /// One report per distinct value of these columns; whole numbers are not rounded
    #[arg(long, value_name = "k1,k2", help_heading = CHOOSING)]
    by: Option<String>,
    /// One report per window of event time (10m, 1h30m, 7d; needs --time) or of rows ("1000 rows")
    #[arg(long, value_name = "SIZE", help_heading = CHOOSING)]
    #[arg(allow_hyphen_values = true, value_parser = value)]
    window: Option<String>,
    /// The distance from one window to the next; below the size, windows overlap [default: the size]
    #[arg(long, value_name = "SIZE", requires = "window", help_heading = CHOOSING)]
    #[arg(allow_hyphen_values = true, value_parser = value)]
    slide: Option<String>,

    /// What to report; moments (mean, variance, ...) are always reported, named or not
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "moments",
        value_name = "LIST"
    )]
    #[arg(help_heading = STATISTICS)]
    stats: Vec<Statistic>,
    /// Probabilities of quantiles, from 0 to 1; implies --stats quantiles [default with it: 0.25,0.5,0.75]
    #[arg(long, value_delimiter = ',', value_name = "P,P", help_heading = STATISTICS)]
    #[arg(allow_negative_numbers = true, value_parser = probability)]
    quantiles: Vec<f64>,
    /// Least squares, as "y ~ x1 + x2"; "- 1" at the end drops the intercept. Names that are not plain words
    /// stand in double quotes
    #[arg(long, value_name = "FORMULA", help_heading = STATISTICS)]
    #[arg(allow_hyphen_values = true, value_parser = value)]
    regress: Option<String>,
    /// A model fitted step by step to rows that are kept in memory, as "y ~ x1 + x2"; one fit of all rows
    #[arg(long, value_name = "FORMULA", conflicts_with_all = ["by", "window"], help_heading = STATISTICS)]
    #[arg(allow_hyphen_values = true, value_parser = value)]
    fit: Option<String>,
    /// Which model; the target of a logistic one lies between 0 and 1
    #[arg(long, value_enum, requires = "fit", default_value_t = ModelName::Linear, help_heading = STATISTICS)]
    model: ModelName,
    /// The ridge penalty of the regression or the fit
    #[arg(long, value_name = "LAMBDA", requires = "formula", default_value_t = 0.0, help_heading = STATISTICS)]
    #[arg(allow_negative_numbers = true)]
    ridge: f64,
    /// The divisor of variances and covariances is n - ddof: 1 for a sample, 0 for a population
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=1), help_heading = STATISTICS)]
    #[arg(value_name = "0|1", allow_negative_numbers = true)]
    ddof: u64,

    /// The form of the report [default: by the extension of -o, else table]
    #[arg(long, value_enum, help_heading = WRITING)]
    format: Option<OutputFormat>,
    /// Where the report goes [default: standard output]
    #[arg(short, long, value_name = "FILE", help_heading = WRITING)]
    output: Option<PathBuf>,
    /// Where the regression or the fit goes too, as JSON that transform --predict reads
    #[arg(long, value_name = "FILE", requires = "formula", help_heading = WRITING)]
    save_model: Option<PathBuf>,
    /// Where the difference of every row from the one before it goes (of its key), csv or parquet by extension. With
    /// --time it is per second. The first row of a window has none; windows that overlap are ignored here
    #[arg(long, value_name = "FILE", help_heading = WRITING)]
    differences_output: Option<PathBuf>,

    #[command(flatten)]
    computing: Computing,
    /// Where a trace of what the GPU did when goes, for chrome://tracing or Perfetto
    #[cfg(feature = "gpu")]
    #[arg(long, value_name = "FILE", help_heading = computing::HEADING)]
    profile: Option<PathBuf>,
    /// Stop when the statistics and their report (and the rows of --fit) take more memory, as in 512MiB, 2G or 1048576 (bytes)
    #[arg(long, value_name = "SIZE", help_heading = computing::HEADING)]
    #[arg(allow_hyphen_values = true, value_parser = value)]
    max_memory: Option<String>,
}

const EXAMPLES: &str = "The report has, of every numeric column: count, missing values, sum, mean, variance, \
    standard deviation, \
    skewness, kurtosis, minimum and maximum, and whatever --stats, --quantiles, --regress and --fit add.\n\n\
    Examples:\n  \
    millstream analyze weather.csv\n  \
    millstream analyze *.csv.gz --columns temp,wind --by station --format json\n  \
    millstream analyze ticks.parquet --time ts --window 1m --stats moments,quantiles -o report.html\n  \
    millstream analyze weather.csv --where \"weather <> 'fog'\" --regress \"temp_max ~ temp_min + wind\"\n  \
    millstream analyze students.csv --fit \"passed ~ hours\" --model logistic --save-model model.json\n\n\
    Exit status: 0 done, 1 failed while running, 2 wrong usage, 65 bad data, 66 an input cannot be opened, \
    74 an output cannot be written";

// The headings of the help.
pub(super) const READING: &str = "Reading";
const CHOOSING: &str = "Choosing columns, rows and groups";
const STATISTICS: &str = "Statistics";
const WRITING: &str = "Writing";

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Unit {
    S,
    Ms,
    Us,
    Ns,
}

impl Unit {
    pub(super) fn unit(self) -> TimeUnit {
        match self {
            Self::S => TimeUnit::Seconds,
            Self::Ms => TimeUnit::Milliseconds,
            Self::Us => TimeUnit::Microseconds,
            Self::Ns => TimeUnit::Nanoseconds,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ModelName {
    Linear,
    Logistic,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Statistic {
    Moments,
    Covariance,
    Correlation,
    Differences,
    Quantiles,
}

/// The quantiles of `--stats quantiles` where none are named: the quartiles.
const QUARTILES: [f64; 3] = [0.25, 0.5, 0.75];

/// A value that may begin with `-`, as expressions do, but is no option whose neighbour forgot its value.
pub(super) fn value(text: &str) -> Result<String, String> {
    let short = text
        .strip_prefix('-')
        .filter(|rest| rest.chars().all(|c| "ohV".contains(c)));
    if text.starts_with("--") || short.is_some() {
        return Err("a value should stand here, not an option".into());
    }
    Ok(text.to_owned())
}

pub(super) fn probability(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.trim().parse().ok();
    number
        .filter(|p| (0.0..=1.0).contains(p))
        .ok_or_else(|| format!("the quantile `{text}` is not between 0 and 1; expected numbers such as 0.25,0.5,0.75"))
}

pub(super) fn bad_rows(text: &str) -> Result<BadRows, String> {
    match text.split_once('=') {
        None if text == "fail" => Ok(BadRows::Fail),
        None if text == "skip" => Ok(BadRows::Skip),
        Some(("quarantine", "-")) => Err("rows are kept in a file, not on standard output: quarantine=FILE".into()),
        Some(("quarantine", file)) if !file.is_empty() => Ok(BadRows::Quarantine(file.into())),
        _ => Err("expected fail, skip or quarantine=FILE".into()),
    }
}

pub(super) fn run(arguments: &Arguments, log: Log) -> Result<()> {
    let mut query = arguments.query()?;
    let format = OutputFormat::of(arguments.format, arguments.output.as_deref())?;
    arguments.computing.set_threads()?;
    #[cfg(feature = "gpu")]
    let recorder = std::sync::Arc::new(crate::backend::gpu::trace::Recorder::default());
    let inputs = &arguments.inputs;
    places::distinct(inputs, &arguments.outputs())?;
    let source = io::open(inputs, &arguments.read_options(&query))?;
    // A query that does not fit its input fails later, with all that there is to say.
    let workload = workload(&*source, &query, io::bytes_total(inputs)).ok();
    let request = arguments.computing.request();
    #[cfg(feature = "gpu")]
    let traced = arguments.profile.as_ref().map(|_| &recorder);
    #[cfg(not(feature = "gpu"))]
    let traced = None;
    let selection = select_traced(&request, &Cache::of_user(), workload.as_ref(), traced)?;
    selection.notes.iter().for_each(|note| log.note(note));
    query.spec.precision = selection.precision;
    // Before the long work: a report that cannot be written is not worth computing.
    let output = OutputFile::create(arguments.report_path())?;
    let model = arguments.save_model.as_deref().map(OutputFile::create).transpose()?;
    #[cfg(feature = "gpu")]
    let profile = arguments.profile.as_deref().map(OutputFile::create).transpose()?;
    let mut progress = Progress::begin(io::bytes_total(inputs));
    let analysis = analyze(source, &query, selection.backend, &mut |bytes| progress.at(bytes));
    progress.finish();
    let analysis = analysis?;
    for note in &analysis.notes {
        log.note(note);
    }
    rendering::note_left_out(&analysis.report, format, log);
    #[cfg(feature = "gpu")]
    if let Some(file) = profile {
        write_profile(&recorder, file, log)?;
    }
    if let Some(mut model) = model {
        report::json::write_models(&analysis.report, &mut model).map_err(|e| model.error(e))?;
        model.finish()?;
    }
    let style = rendering::style(arguments.report_path());
    rendering::write(
        &analysis.report,
        &analysis.samples,
        &arguments.title(),
        format,
        style,
        output,
    )
}

/// Writes what the GPU did when, and says how much of it happened at the same time.
#[cfg(feature = "gpu")]
fn write_profile(recorder: &crate::backend::gpu::trace::Recorder, mut file: OutputFile, log: Log) -> Result<()> {
    if recorder.is_empty() {
        log.note("the trace of --profile is empty: nothing was computed on a GPU");
    } else {
        log.note(&recorder.overlap().to_string());
    }
    recorder.write(&mut file).map_err(|e| file.error(e))?;
    file.finish()
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
        #[cfg(feature = "gpu")]
        outputs.extend(self.profile.as_deref().map(|path| ("--profile", path)));
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
        let spec = Spec {
            columns: self.columns.as_deref().map(units::names).transpose()?,
            covariance: has(Statistic::Covariance),
            correlation: has(Statistic::Correlation),
            differences: has(Statistic::Differences),
            quantiles,
            regression: self.formula(self.regress.as_deref())?.map(|model| model.regression()),
            ddof: self.ddof,
            keys: self.by.as_deref().map(units::names).transpose()?.unwrap_or_default(),
            window: self
                .window
                .as_deref()
                .map(|size| units::window(size, self.slide.as_deref()))
                .transpose()?,
            ..Spec::default()
        };
        let format = OutputFormat::of(self.format, self.output.as_deref())?;
        Ok(Query {
            spec: spec.checked()?,
            filter: self.filter.as_deref().map(Expr::parse).transpose()?,
            definitions: self
                .define
                .iter()
                .map(|text| Definition::parse(text))
                .collect::<Result<_>>()?,
            arrival_time: false,
            time: self.time.clone(),
            fit: self.formula(self.fit.as_deref())?.map(ModelSpec::checked).transpose()?,
            quarantine: match &self.bad_rows {
                BadRows::Quarantine(path) => Some(path.clone()),
                _ => None,
            },
            differences_output: self.differences_output.clone(),
            samples: format == OutputFormat::Html,
            memory_bytes_max: self.max_memory.as_deref().map(units::size_bytes).transpose()?,
        })
    }

    /// The model that a formula and the options beside it say.
    fn formula(&self, text: Option<&str>) -> Result<Option<ModelSpec>> {
        let formula = text.map(Formula::parse).transpose()?;
        Ok(formula.map(|formula| ModelSpec {
            model: match self.model {
                ModelName::Linear => Model::Linear,
                ModelName::Logistic => Model::Logistic,
            },
            target: formula.target,
            terms: formula.terms,
            intercept: formula.intercept,
            ridge: self.ridge,
        }))
    }

    fn read_options(&self, query: &Query) -> ReadOptions {
        let unit = self.time_unit.unit();
        // Columns that are named as numbers are read as numbers, though text stands in them.
        let spec = &query.spec;
        let mut numeric = spec.columns.clone().unwrap_or_default();
        if let Some(regression) = &spec.regression {
            numeric.extend(regression.terms.iter().chain([&regression.target]).cloned());
        }
        if let Some(fit) = &query.fit {
            numeric.extend(fit.terms.iter().chain([&fit.target]).cloned());
        }
        numeric.retain(|name| query.definitions.iter().all(|d| d.name != *name));
        ReadOptions {
            format: self.input_format,
            time: self.time.clone().map(|name| (name, unit)),
            numeric,
            keys: spec.keys.clone(),
            bad_rows: self.bad_rows.clone(),
            max_expansion: self.max_expansion,
        }
    }

    fn title(&self) -> String {
        let names: Vec<String> = self
            .inputs
            .iter()
            .map(|path| {
                let name = path.file_name().map(std::ffi::OsStr::to_string_lossy);
                match name.as_deref() {
                    Some("-") if path == Path::new("-") => STANDARD_INPUT.to_owned(),
                    Some(name) => name.to_owned(),
                    None => path.display().to_string(),
                }
            })
            .collect();
        match names.as_slice() {
            [a, b, c, rest @ ..] if !rest.is_empty() => format!("{a}, {b}, {c} and {} more", rest.len()),
            names => names.join(", "),
        }
    }
}
