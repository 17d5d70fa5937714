//! `millstream transform INPUT...`: the rows of files or of standard input with columns made from them.

use super::Log;
use super::analyze::{READING, bad_rows};
use super::progress::Progress;
use crate::error::{Error, Result};
use crate::io::places;
use crate::io::table::Output;
use crate::io::{self, BadRows, Format, OutputFile, ReadOptions};
use crate::pipeline::{Predict, predict};
use crate::predictor::Models;
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

/// Rows with columns made from them: the predictions of a saved model
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Files, or - for standard input; several are one table, so their columns must agree
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,

    /// The model, as analyze --save-model wrote it
    #[arg(long, value_name = "MODEL.json")]
    predict: PathBuf,
    /// The probability of the intervals: of a new observation for a linear model, of the probability for a logistic one
    #[arg(long, value_name = "P", default_value_t = 0.95, allow_negative_numbers = true)]
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

    /// The form of the table [default: by the extension of -o, else csv]
    #[arg(long, value_enum)]
    format: Option<TableFormat>,
    /// Where the table goes [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

const EXAMPLES: &str = "The table has the columns of the input as they are, then prediction, residual (the target less the \
    prediction, where the input has the target), prediction_low and prediction_high (the interval of --level). A cell is \
    empty where a column of the model is missing. Of csv, tsv and ndjson, numbers are read as 64-bit floats.\n\n\
    Examples:\n  \
    millstream analyze weather.csv --fit \"temp_max ~ temp_min + wind\" --save-model model.json\n  \
    millstream transform weather.csv --predict model.json -o predicted.csv\n\n\
    Exit status: 0 done, 1 failed while running, 2 wrong usage, 65 bad data (also a file that is no saved model), 66 an \
    input or the model cannot be opened, 74 an output cannot be written";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TableFormat {
    Csv,
    Parquet,
}

pub(super) fn run(arguments: &Arguments, log: Log) -> Result<()> {
    let query = arguments.query()?;
    let output = arguments.output.as_deref().unwrap_or(Path::new("-"));
    let mut outputs = vec![("--output", output)];
    outputs.extend(query.quarantine.as_deref().map(|path| ("--bad-rows quarantine=", path)));
    let mut read = arguments.inputs.clone();
    read.push(arguments.predict.clone());
    places::distinct(&read, &outputs)?;
    let models = std::fs::read(&arguments.predict).map_err(|source| Error::Input {
        path: arguments.predict.clone(),
        source,
    })?;
    let models = Models::from_json(&models).map_err(|error| match error {
        Error::Data(why) => Error::Data(format!("{}: {why}", arguments.predict.display())),
        error => error,
    })?;
    let source = io::open(&arguments.inputs, &arguments.read_options(&models))?;
    let file = OutputFile::create(output)?;
    let mut progress = Progress::begin(io::bytes_total(&arguments.inputs));
    let made = predict(source, &models, &query, file, &mut |bytes| progress.at(bytes));
    progress.finish();
    for note in &made?.notes {
        log.note(note);
    }
    Ok(())
}

impl Arguments {
    fn query(&self) -> Result<Predict> {
        let level = self.level;
        if !(level > 0.0 && level < 1.0) {
            return Err(Error::Usage(format!(
                "the level {level} does not lie between 0 and 1; 0.95 is usual"
            )));
        }
        let output = match (self.format, &self.output) {
            (Some(TableFormat::Csv), _) => Output::Csv,
            (Some(TableFormat::Parquet), _) => Output::Parquet,
            (None, Some(path)) if path != Path::new("-") => Output::of(path)?,
            (None, _) => Output::Csv,
        };
        let quarantine = match &self.bad_rows {
            BadRows::Quarantine(path) => Some(path.clone()),
            _ => None,
        };
        Ok(Predict {
            level,
            output,
            quarantine,
        })
    }

    fn read_options(&self, models: &Models) -> ReadOptions {
        ReadOptions {
            format: self.input_format,
            numeric: models.terms(),
            keys: models.keys().to_vec(),
            bad_rows: self.bad_rows.clone(),
            max_expansion: self.max_expansion,
            ..ReadOptions::default()
        }
    }
}
