//! Predictions of a saved model, row by row, as columns beside those of the input.
//!
//! Rows go through in batches, so the memory does not grow with the input. Behind the columns of the input come
//! `prediction`, `residual` (the target less the prediction, where the input has the target), and `prediction_low` and
//! `prediction_high` where the model has intervals. A cell is empty where a term is missing or infinite, or the key has
//! no model.

use super::outline;
use super::quarantine::Quarantine;
use crate::batch::{Batch, is_numeric};
use crate::engine::KeyTable;
use crate::error::{Error, Result};
use crate::io::table::{Output, TableWriter};
use crate::io::{OutputFile, Read, Source};
use crate::predictor::{Models, Prediction};
use crate::report::text::counted;
use arrow::array::{ArrayRef, Float64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::sync::Arc;

/// What to predict, and where it goes. A literal ends in `..Predict::default()`, as there will be more to ask.
#[derive(Debug, Clone)]
pub struct Predict {
    /// The probability of the intervals.
    pub level: f64,
    /// The form of the table.
    pub output: Output,
    /// Where rows go that cannot be read.
    pub quarantine: Option<PathBuf>,
}

impl Default for Predict {
    fn default() -> Self {
        Self {
            level: 0.95,
            output: Output::Csv,
            quarantine: None,
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Predicted {
    /// Rows written.
    pub rows: u64,
    /// Those among them that have a prediction.
    pub predicted: u64,
    /// Rows that could not be read.
    pub rejected: u64,
    /// What the reader should know.
    pub notes: Vec<String>,
}

/// Reads a source to its end and writes its rows with their predictions. `progress` hears the bytes read so far.
///
/// # Errors
/// [`Error::Usage`] for columns that are not there, do not fit or are in the way, [`Error::Data`] and [`Error::Row`]
/// for bad input, [`Error::Output`] where the table cannot be written.
pub fn predict(
    mut source: Box<dyn Source>,
    models: &Models,
    query: &Predict,
    file: OutputFile,
    progress: &mut dyn FnMut(u64),
) -> Result<Predicted> {
    let mut quarantine = query.quarantine.as_deref().map(Quarantine::create).transpose()?;
    let mut made = Predicted::default();
    let mut rows = Rows::new(models, query.level, &source.schema(), &mut made.notes)
        .map_err(|e| outline::hinted(e, &source.about()))?;
    let mut writer = TableWriter::over(file, query.output, rows.schema.clone())?;
    loop {
        let read = match source.read()? {
            Read::Batch(read, _) => read,
            Read::Idle => continue,
            Read::End => break,
        };
        progress(read.bytes_read);
        made.rejected += read.rejected.len() as u64;
        if let Some(quarantine) = &mut quarantine {
            quarantine.write(&read.rejected)?;
        }
        let (table, predicted) = rows.predict(&read.batch)?;
        made.rows += table.num_rows() as u64;
        made.predicted += predicted;
        writer.write(&table)?;
    }
    if let Some(quarantine) = quarantine {
        quarantine.finish()?;
    }
    writer.finish()?;
    if made.predicted < made.rows {
        let without = if models.keys().is_empty() {
            ""
        } else {
            ", or there is no model for its key"
        };
        made.notes.push(format!(
            "{} without a prediction: a term is missing{without}",
            counted(made.rows - made.predicted, "row")
        ));
    }
    if made.rejected > 0 {
        made.notes.push(format!(
            "{} could not be read and left out",
            counted(made.rejected, "row")
        ));
    }
    Ok(made)
}

/// Makes the columns of predictions.
struct Rows<'a> {
    models: &'a Models,
    level: f64,
    /// Terms, then the target where it is there.
    numeric: Vec<String>,
    has_target: bool,
    intervals: bool,
    keys: Option<KeyTable>,
    /// By the key's number: its model.
    model_of_key: Vec<Option<usize>>,
    schema: SchemaRef,
}

impl<'a> Rows<'a> {
    fn new(models: &'a Models, level: f64, input: &SchemaRef, notes: &mut Vec<String>) -> Result<Self> {
        let mut numeric = models.terms();
        for name in numeric.iter().chain(models.keys()) {
            let field = input.field_with_name(name).map_err(|_| {
                let there: Vec<&str> = input.fields().iter().map(|f| f.name().as_str()).collect();
                Error::Usage(format!(
                    "the model needs the column `{name}`, which is not there; there are: {}",
                    there.join(", ")
                ))
            })?;
            if numeric.contains(name) && !is_numeric(field.data_type()) {
                return Err(Error::Usage(format!(
                    "the column `{name}` of the model is not numeric here"
                )));
            }
        }
        let target = input.field_with_name(models.target());
        let has_target = target.as_ref().is_ok_and(|field| is_numeric(field.data_type()));
        if target.is_ok() && !has_target {
            notes.push(format!(
                "the target `{}` is not numeric, so there are no residuals",
                models.target()
            ));
        }
        if has_target {
            numeric.push(models.target().to_owned());
        }
        let intervals = models.has_intervals();
        if !intervals {
            notes.push("the model has no covariance of its coefficients, so there are no intervals".into());
        }
        let made = [
            ("prediction", true),
            ("residual", has_target),
            ("prediction_low", intervals),
            ("prediction_high", intervals),
        ];
        let mut fields = input.fields().to_vec();
        for (name, _) in made.into_iter().filter(|column| column.1) {
            if input.field_with_name(name).is_ok() {
                return Err(Error::Usage(format!(
                    "the input has a column `{name}` already: rename it, as the predictions have that name"
                )));
            }
            fields.push(Arc::new(Field::new(name, DataType::Float64, true)));
        }
        Ok(Self {
            models,
            level,
            numeric,
            has_target,
            intervals,
            keys: match models.keys() {
                [] => None,
                keys => Some(KeyTable::new(keys)?),
            },
            model_of_key: Vec::new(),
            schema: Arc::new(Schema::new(fields)),
        })
    }

    /// The rows with their predictions, and how many have one.
    fn predict(&mut self, record: &RecordBatch) -> Result<(RecordBatch, u64)> {
        let batch = Batch::from_record_batch(record, Some(&self.numeric), self.models.keys(), None)?;
        let model_of_row = self.models_of(&batch)?;
        // Of the models that these rows have.
        let mut predicting = HashMap::new();
        for number in model_of_row.iter().flatten() {
            if let Entry::Vacant(free) = predicting.entry(*number) {
                free.insert(self.models.get(*number).rows(&batch, self.level)?);
            }
        }
        let prediction = |(i, number): (usize, Option<usize>)| predicting.get_mut(&number?)?(i);
        let predictions: Vec<Option<Prediction>> = model_of_row.into_iter().enumerate().map(prediction).collect();
        let column = |of: &dyn Fn(usize, &Prediction) -> Option<f64>| -> ArrayRef {
            let cells = predictions.iter().enumerate();
            Arc::new(cells.map(|(i, p)| of(i, p.as_ref()?)).collect::<Float64Array>())
        };
        let mut columns = record.columns().to_vec();
        columns.push(column(&|_, p| Some(p.value)));
        if self.has_target {
            let target = &batch.columns()[self.numeric.len() - 1];
            columns.push(column(&|i, p| Some(target.get(i) - p.value).filter(|x| x.is_finite())));
        }
        if self.intervals {
            columns.push(column(&|_, p| Some(p.interval?.0)));
            columns.push(column(&|_, p| Some(p.interval?.1)));
        }
        let table = RecordBatch::try_new(self.schema.clone(), columns).map_err(|e| Error::Failed(e.to_string()))?;
        let predicted = predictions.iter().flatten().count();
        Ok((table, predicted as u64))
    }

    /// By row: the number of its model.
    fn models_of(&mut self, batch: &Batch) -> Result<Vec<Option<usize>>> {
        let Some(keys) = &mut self.keys else {
            return Ok(vec![Some(0); batch.rows()]);
        };
        let mut numbers = Vec::with_capacity(batch.rows());
        keys.numbers(batch.keys(), &mut numbers)?;
        if self.model_of_key.len() < keys.len() {
            let values = keys.values_of(0..keys.len() as u32)?;
            for number in self.model_of_key.len()..keys.len() {
                let key = serde_json::to_value(values.get(number as u32));
                let key = key.map_err(|e| Error::Failed(format!("a key has no JSON form: {e}")))?;
                self.model_of_key.push(self.models.of_key(&key));
            }
        }
        Ok(numbers
            .iter()
            .map(|number| self.model_of_key[*number as usize])
            .collect())
    }
}
