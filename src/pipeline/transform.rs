//! Row-by-row results of an input, as columns beside those of the input.
//!
//! Rows go through in batches, and are written in their order as soon as their results are known: the memory does not
//! grow with the input, but for rows that wait for a gradient (see [`Transformer`]). Z-scores need the means of all
//! rows first, so the input is read twice then.

use super::outline;
use super::quarantine::Quarantine;
use crate::batch::{Batch, is_numeric};
use crate::error::{Error, Result};
use crate::io::table::{Output, TableWriter};
use crate::io::{OutputFile, Read, Source};
use crate::report::text::counted;
use crate::spec::unknown_column;
use crate::transform::{Transformer, Transforms};
use arrow::array::{ArrayRef, Float64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

/// What to make, and where it goes. A literal ends in `..Transformation::default()`, as there will be more to ask.
#[derive(Debug, Clone)]
pub struct Transformation {
    /// What to make of the rows.
    pub asked: Transforms,
    /// The column of the event time, as the source was told it.
    pub time: Option<String>,
    /// The columns of the input that are written too; all where absent.
    pub keep: Option<Vec<String>>,
    /// The form of the table.
    pub output: Output,
    /// Where rows go that cannot be read.
    pub quarantine: Option<PathBuf>,
}

impl Default for Transformation {
    fn default() -> Self {
        Self {
            asked: Transforms::default(),
            time: None,
            keep: None,
            output: Output::Csv,
            quarantine: None,
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transformed {
    /// Rows written.
    pub rows: u64,
    /// Rows that could not be read.
    pub rejected: u64,
    /// What the reader should know.
    pub notes: Vec<String>,
}

/// Reads a source to its end and writes its rows with what is made of them. `open` opens the source, once more where
/// rows have to be measured first. `progress` hears the bytes read so far, of each reading.
///
/// # Errors
/// [`Error::Usage`] for columns that are not there, do not fit or are in the way, [`Error::Data`] and [`Error::Row`]
/// for bad input and times that go back, [`Error::Output`] where the table cannot be written.
pub fn transform(
    open: &mut dyn FnMut() -> Result<Box<dyn Source>>,
    query: &Transformation,
    file: OutputFile,
    progress: &mut dyn FnMut(u64),
) -> Result<Transformed> {
    let mut source = open()?;
    let mut made = Transformed::default();
    let schema = source.schema();
    let mut plan = match Plan::new(query, &schema, &mut made.notes) {
        Ok(plan) => plan,
        Err(error) => return Err(outline::hinted(error, &source.about())),
    };
    if plan.numeric.is_empty() {
        return Err(outline::nothing_numeric(source.as_mut(), ""));
    }
    if query.asked.zscores {
        plan.select(source.as_mut(), &[])?;
        while let Some(read) = next(source.as_mut())? {
            progress(read.bytes_read);
            let batch = plan.batch(&read.batch)?;
            plan.transformer.measure(&batch)?;
        }
        source = open()?;
    }
    let kept: Vec<String> = plan.kept.clone();
    plan.select(source.as_mut(), &kept)?;
    let mut quarantine = query.quarantine.as_deref().map(Quarantine::create).transpose()?;
    let mut writer = TableWriter::over(file, query.output, plan.schema.clone())?;
    let mut waiting = VecDeque::new();
    while let Some(read) = next(source.as_mut())? {
        progress(read.bytes_read);
        made.rejected += read.rejected.len() as u64;
        if let Some(quarantine) = &mut quarantine {
            quarantine.write(&read.rejected)?;
        }
        made.rows += read.batch.num_rows() as u64;
        let results = plan.transformer.push(&plan.batch(&read.batch)?)?;
        waiting.push_back(plan.kept_of(&read.batch)?);
        plan.write(&mut waiting, &results, &mut writer)?;
    }
    let results = plan.transformer.finish()?;
    plan.write(&mut waiting, &results, &mut writer)?;
    if let Some(quarantine) = quarantine {
        quarantine.finish()?;
    }
    writer.finish()?;
    if made.rows == 0 {
        made.notes.push("there are no rows".into());
    }
    if made.rejected > 0 {
        let rejected = counted(made.rejected, "row");
        made.notes.push(format!("{rejected} could not be read and left out"));
    }
    Ok(made)
}

/// The next rows, until there are none.
fn next(source: &mut dyn Source) -> Result<Option<crate::io::Rows>> {
    loop {
        match source.read()? {
            Read::Batch(rows, _) => return Ok(Some(rows)),
            Read::Idle => {}
            Read::End => return Ok(None),
        }
    }
}

/// Which columns are read, which are made, which are written.
struct Plan {
    transformer: Transformer,
    numeric: Vec<String>,
    keys: Vec<String>,
    time: Option<String>,
    /// The columns of the input that are written.
    kept: Vec<String>,
    schema: SchemaRef,
}

impl Plan {
    fn new(query: &Transformation, input: &SchemaRef, notes: &mut Vec<String>) -> Result<Self> {
        let names: Vec<String> = input.fields().iter().map(|field| field.name().clone()).collect();
        let asked = &query.asked;
        let named = asked.columns.iter().flatten().chain(&asked.keys).chain(&query.time);
        let named = named.chain(query.keep.iter().flatten());
        if let Some(name) = named.into_iter().find(|name| !names.contains(name)) {
            return Err(unknown_column(name, &names));
        }
        let numeric = match &asked.columns {
            Some(columns) => columns.clone(),
            None => {
                let apart = |name: &String| asked.keys.contains(name) || query.time.as_ref() == Some(name);
                let fields = input.fields().iter().filter(|field| !apart(field.name()));
                let (numeric, text): (Vec<_>, Vec<_>) = fields.partition(|field| is_numeric(field.data_type()));
                if !text.is_empty() && !numeric.is_empty() {
                    let text: Vec<&str> = text.iter().map(|field| field.name().as_str()).collect();
                    notes.push(format!("not numeric, so nothing is made of them: {}", text.join(", ")));
                }
                numeric.iter().map(|field| field.name().clone()).collect()
            }
        };
        let mut plan = Self {
            transformer: Transformer::new(Transforms {
                columns: Some(numeric.clone()),
                ..asked.clone()
            })?,
            numeric,
            keys: asked.keys.clone(),
            time: query.time.clone(),
            kept: query.keep.clone().unwrap_or_else(|| names.clone()),
            schema: input.clone(),
        };
        if plan.numeric.is_empty() {
            return Ok(plan);
        }
        let made = plan
            .transformer
            .made(&plan.batch(&RecordBatch::new_empty(input.clone()))?)?;
        let mut fields = Vec::with_capacity(plan.kept.len() + made.len());
        for name in &plan.kept {
            fields.push(Arc::new(input.field_with_name(name).map_err(failed)?.clone()));
        }
        for name in made {
            if names.contains(&name) {
                return Err(crate::transform::taken_name(&name));
            }
            fields.push(Arc::new(Field::new(name, DataType::Float64, true)));
        }
        plan.schema = Arc::new(Schema::new(fields));
        Ok(plan)
    }

    /// Reads what is needed and these.
    fn select(&self, source: &mut dyn Source, kept: &[String]) -> Result<()> {
        let schema = source.schema();
        let needed = |name: &String| {
            kept.contains(name)
                || self.numeric.contains(name)
                || self.keys.contains(name)
                || self.time.as_ref() == Some(name)
        };
        let names: Vec<String> = schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .filter(needed)
            .collect();
        source.select(&names)
    }

    fn batch(&self, record: &RecordBatch) -> Result<Batch> {
        Batch::from_record_batch(record, Some(&self.numeric), &self.keys, self.time.as_deref())
    }

    fn kept_of(&self, record: &RecordBatch) -> Result<RecordBatch> {
        let schema = record.schema();
        let places: Result<Vec<usize>> = self
            .kept
            .iter()
            .map(|name| schema.index_of(name).map_err(failed))
            .collect();
        record.project(&places?).map_err(failed)
    }

    /// Writes the rows that have results now.
    fn write(&self, waiting: &mut VecDeque<RecordBatch>, results: &Batch, writer: &mut TableWriter) -> Result<()> {
        let mut from = 0;
        while from < results.rows() {
            let Some(rows) = waiting.pop_front() else {
                return Err(Error::Failed("there are more results than rows".into()));
            };
            let count = rows.num_rows().min(results.rows() - from);
            if count < rows.num_rows() {
                waiting.push_front(rows.slice(count, rows.num_rows() - count));
            }
            let mut columns = rows.slice(0, count).columns().to_vec();
            for column in results.slice(from, count).columns() {
                let crate::batch::Values::F64(values) = &column.values else {
                    continue;
                };
                columns.push(Arc::new(Float64Array::new(values.clone(), column.nulls.clone())) as ArrayRef);
            }
            let table = RecordBatch::try_new(self.schema.clone(), columns).map_err(failed)?;
            writer.write(&table)?;
            from += count;
        }
        Ok(())
    }
}

fn failed(error: arrow::error::ArrowError) -> Error {
    Error::Failed(error.to_string())
}
