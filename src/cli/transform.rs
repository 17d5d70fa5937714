//! `millstream transform INPUT...`: the rows of files or of standard input with columns made from them.

use super::Log;
use super::analyze::{READING, Unit, bad_rows, value};
use super::progress::Progress;
use crate::backend::cpu;
use crate::error::{Error, Result};
use crate::io::places;
use crate::io::table::Output;
use crate::io::{self, BadRows, Format, OutputFile, ReadOptions};
use crate::pipeline::{Predict, Transformation, predict, transform};
use crate::predictor::Models;
use crate::spec::Window;
use crate::transform::{Rolling, Span, Transforms, Weighted};
use crate::units;
use clap::{ArgGroup, Args, ValueEnum};
use std::path::{Path, PathBuf};

/// Rows with columns made from them: differences, rolling statistics, predictions, ...
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[command(group = ArgGroup::new("what").multiple(true).required(true)
    .args(["predict", "differences", "gradient", "rolling", "ewm", "zscores"]))]
#[command(group = ArgGroup::new("row_by_row").multiple(true)
    .args(["differences", "gradient", "rolling", "ewm", "zscores"]).conflicts_with("predict"))]
pub(super) struct Arguments {
    /// Files, or - for standard input; several are one table, so their columns must agree
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,

    /// The difference of every row from the one before it (of its key); with --time per second
    #[arg(long, help_heading = ROWS)]
    differences: bool,
    /// The gradient at every row by second-order differences, as numpy has it; with --time per second
    #[arg(long, help_heading = ROWS)]
    gradient: bool,
    /// The order of the gradient at the first and last row (of a key)
    #[arg(long, value_name = "1|2", requires = "gradient", default_value_t = 1, help_heading = ROWS)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=2))]
    edge_order: u8,
    /// Statistics of the last rows (of the key), the row itself included; covariance and correlation of each two columns
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST", requires = "over", help_heading = ROWS)]
    rolling: Vec<RollingName>,
    /// How far --rolling reaches back: "100 rows", or 10m with --time; may be repeated
    #[arg(long, value_name = "SPAN", requires = "rolling", help_heading = ROWS)]
    #[arg(allow_hyphen_values = true, value_parser = value)]
    over: Vec<String>,
    /// Values that a window needs for a result [default: all of its rows, or 1 in a window of time]
    #[arg(long, value_name = "K", requires = "rolling", help_heading = ROWS)]
    #[arg(allow_negative_numbers = true)]
    min_rows: Option<usize>,
    /// Exponentially weighted statistics of all rows so far (of the key)
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST", requires = "half_life", help_heading = ROWS)]
    ewm: Vec<WeightedName>,
    /// After how long the weights of --ewm are half: "20 rows", or 10m with --time
    #[arg(long, value_name = "SPAN", requires = "ewm", help_heading = ROWS)]
    #[arg(allow_hyphen_values = true, value_parser = value)]
    half_life: Option<String>,
    /// Every value less the mean of all (of its key), over their standard deviation; files are read twice
    #[arg(long, help_heading = ROWS)]
    zscores: bool,
    /// The divisor of variances and covariances is n - ddof: 1 for a sample, 0 for a population
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=1), help_heading = ROWS)]
    #[arg(value_name = "0|1", allow_negative_numbers = true, conflicts_with = "predict")]
    ddof: u32,

    /// Numeric columns to use, names with blanks or commas in double quotes [default: every numeric column]
    #[arg(long, value_name = "a,b", conflicts_with = "predict", help_heading = CHOOSING)]
    columns: Option<String>,
    /// Rows follow each other among those with the same value of these columns
    #[arg(long, value_name = "k1,k2", conflicts_with = "predict", help_heading = CHOOSING)]
    by: Option<String>,
    /// The columns of the input that are written too [default: all]
    #[arg(long, value_name = "a,b", conflicts_with = "predict", help_heading = CHOOSING)]
    keep: Option<String>,

    /// The predictions of a model, as analyze --save-model wrote it
    #[arg(long, value_name = "MODEL.json", help_heading = PREDICTIONS)]
    predict: Option<PathBuf>,
    /// The probability of the intervals: of a new observation for a linear model, of the probability for a logistic one
    #[arg(long, value_name = "P", default_value_t = 0.95, allow_negative_numbers = true, help_heading = PREDICTIONS)]
    #[arg(conflicts_with = "row_by_row")]
    level: f64,

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
    /// The column of the event time, by which the rows (of a key) are sorted: dates and times as text (ISO 8601), or
    /// numbers since 1970
    #[arg(long, value_name = "COLUMN", conflicts_with = "predict", help_heading = READING)]
    time: Option<String>,
    /// The unit of event times that are numbers
    #[arg(long, value_enum, value_name = "UNIT", default_value_t = Unit::Ms, help_heading = READING)]
    time_unit: Unit,

    /// The form of the table [default: by the extension of -o, else csv]
    #[arg(long, value_enum)]
    format: Option<TableFormat>,
    /// Where the table goes [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// CPU threads [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    #[arg(allow_negative_numbers = true)]
    threads: Option<u16>,
}

// The headings of the help.
const ROWS: &str = "Row by row";
const CHOOSING: &str = "Choosing columns and sequences";
const PREDICTIONS: &str = "Predictions";

const EXAMPLES: &str = "The table has the columns of the input as they are, then those made, named after what they \
    are: temp_difference, temp_gradient, temp_mean_100, temp_wind_correlation_10m, temp_ewm_mean, temp_zscore. A cell \
    is empty where there is no result: too few values in a window, no row before. With --gradient a row is written \
    when the next row of its key is there; all else is written at once.\n\n\
    With --predict come prediction, residual (the target less the \
    prediction, where the input has the target), prediction_low and prediction_high (the interval of --level). A cell is \
    empty where a column of the model is missing. Of csv, tsv and ndjson, numbers are read as 64-bit floats.\n\n\
    Examples:\n  \
    millstream transform weather.csv --rolling mean,std --over \"100 rows\" -o rolling.parquet\n  \
    millstream transform weather.csv --columns temp,wind --by city --time ts --differences --gradient \\\n      \
    --rolling mean,correlation --over 10m --over 1h\n  \
    millstream transform ticks.parquet --ewm mean,std --half-life \"20 rows\" --zscores --keep ts -o ticks.csv\n  \
    millstream analyze weather.csv --fit \"temp_max ~ temp_min + wind\" --save-model model.json\n  \
    millstream transform weather.csv --predict model.json -o predicted.csv\n\n\
    Exit status: 0 done, 1 failed while running, 2 wrong usage, 65 bad data (also a file that is no saved model, and a \
    time that goes back), 66 an input or the model cannot be opened, 74 an output cannot be written";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RollingName {
    Mean,
    Variance,
    Std,
    Min,
    Max,
    Covariance,
    Correlation,
    Zscore,
}

impl RollingName {
    fn statistic(self) -> Rolling {
        match self {
            Self::Mean => Rolling::Mean,
            Self::Variance => Rolling::Variance,
            Self::Std => Rolling::Std,
            Self::Min => Rolling::Min,
            Self::Max => Rolling::Max,
            Self::Covariance => Rolling::Covariance,
            Self::Correlation => Rolling::Correlation,
            Self::Zscore => Rolling::ZScore,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum WeightedName {
    Mean,
    Variance,
    Std,
}

impl WeightedName {
    fn statistic(self) -> Weighted {
        match self {
            Self::Mean => Weighted::Mean,
            Self::Variance => Weighted::Variance,
            Self::Std => Weighted::Std,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TableFormat {
    Csv,
    Parquet,
}

pub(super) fn run(arguments: &Arguments, log: Log) -> Result<()> {
    arguments.threads.map_or(Ok(()), |n| cpu::set_threads(usize::from(n)))?;
    let notes = match &arguments.predict {
        Some(model) => arguments.run_predict(model)?,
        None => arguments.run_transform()?,
    };
    notes.iter().for_each(|note| log.note(note));
    Ok(())
}

/// A span of rows or of time.
fn span(text: &str) -> Result<Span> {
    Ok(match units::window(text, None)? {
        Window::Rows { size, .. } => Span::Rows(usize::try_from(size).unwrap_or(usize::MAX)),
        Window::Time { size_ns, .. } => Span::Time(size_ns),
    })
}

impl Arguments {
    fn output_path(&self) -> &Path {
        self.output.as_deref().unwrap_or(Path::new("-"))
    }

    /// The output, once it is sure that it is none of the inputs.
    fn create(&self, read: &[PathBuf]) -> Result<()> {
        let quarantine = self.quarantine();
        let mut outputs = vec![("--output", self.output_path())];
        outputs.extend(quarantine.as_deref().map(|path| ("--bad-rows quarantine=", path)));
        places::distinct(read, &outputs)
    }

    fn quarantine(&self) -> Option<PathBuf> {
        match &self.bad_rows {
            BadRows::Quarantine(path) => Some(path.clone()),
            _ => None,
        }
    }

    fn table(&self) -> Result<Output> {
        match (self.format, &self.output) {
            (Some(TableFormat::Csv), _) => Ok(Output::Csv),
            (Some(TableFormat::Parquet), _) => Ok(Output::Parquet),
            (None, Some(path)) if path != Path::new("-") => Output::of(path),
            (None, _) => Ok(Output::Csv),
        }
    }

    fn run_predict(&self, model: &Path) -> Result<Vec<String>> {
        let level = self.level;
        if !(level > 0.0 && level < 1.0) {
            return Err(Error::Usage(format!(
                "the level {level} does not lie between 0 and 1; 0.95 is usual"
            )));
        }
        let query = Predict {
            level,
            output: self.table()?,
            quarantine: self.quarantine(),
        };
        let mut read = self.inputs.clone();
        read.push(model.to_owned());
        self.create(&read)?;
        let models = std::fs::read(model).map_err(|source| Error::Input {
            path: model.to_owned(),
            source,
        })?;
        let models = Models::from_json(&models).map_err(|error| match error {
            Error::Data(why) => Error::Data(format!("{}: {why}", model.display())),
            error => error,
        })?;
        let options = ReadOptions {
            numeric: models.terms(),
            keys: models.keys().to_vec(),
            ..self.read_options()
        };
        let source = io::open(&self.inputs, &options)?;
        let file = OutputFile::create(self.output_path())?;
        let mut progress = Progress::begin(io::bytes_total(&self.inputs));
        let made = predict(source, &models, &query, file, &mut |bytes| progress.at(bytes));
        progress.finish();
        Ok(made?.notes)
    }

    fn run_transform(&self) -> Result<Vec<String>> {
        let asked = self.asked()?;
        if asked.needs_time() && self.time.is_none() {
            return Err(Error::Usage(
                "a span of time needs the column of the time (--time); a span of rows is written as \"100 rows\""
                    .into(),
            ));
        }
        if asked.zscores && self.inputs.iter().any(|path| path == Path::new("-")) {
            return Err(Error::Usage(
                "--zscores reads its input twice, and standard input can be read once: name a file".into(),
            ));
        }
        let options = ReadOptions {
            time: self.time.clone().map(|name| (name, self.time_unit.unit())),
            numeric: asked.columns.clone().unwrap_or_default(),
            keys: asked.keys.clone(),
            ..self.read_options()
        };
        let query = Transformation {
            asked,
            time: self.time.clone(),
            keep: self.keep.as_deref().map(units::names).transpose()?,
            output: self.table()?,
            quarantine: self.quarantine(),
        };
        self.create(&self.inputs)?;
        let mut first = Some(io::open(&self.inputs, &options)?);
        let mut open = || match first.take() {
            Some(source) => Ok(source),
            None => io::open(&self.inputs, &options),
        };
        let file = OutputFile::create(self.output_path())?;
        let mut progress = Progress::begin(io::bytes_total(&self.inputs));
        let made = transform(&mut open, &query, file, &mut |bytes| progress.at(bytes));
        progress.finish();
        Ok(made?.notes)
    }

    fn asked(&self) -> Result<Transforms> {
        let statistics: Vec<Rolling> = self.rolling.iter().map(|name| name.statistic()).collect();
        let mut asked = Transforms {
            columns: self.columns.as_deref().map(units::names).transpose()?,
            keys: self.by.as_deref().map(units::names).transpose()?.unwrap_or_default(),
            differences: self.differences,
            gradient: self.gradient.then_some(self.edge_order),
            zscores: self.zscores,
            ddof: self.ddof,
            ..Transforms::default()
        };
        for over in &self.over {
            asked = asked.rolling(span(over)?, &statistics);
        }
        if let Some(rows) = self.min_rows {
            asked = asked.min_rows(rows);
        }
        if let Some(half_life) = &self.half_life {
            let statistics: Vec<Weighted> = self.ewm.iter().map(|name| name.statistic()).collect();
            asked = asked.ewm(span(half_life)?, &statistics);
        }
        asked.checked()
    }

    fn read_options(&self) -> ReadOptions {
        ReadOptions {
            format: self.input_format,
            bad_rows: self.bad_rows.clone(),
            max_expansion: self.max_expansion,
            ..ReadOptions::default()
        }
    }
}
