//! JSON objects, one a line, or as the elements of one top-level array.
//!
//! [`NdjsonSource`] takes the columns from the keys of the first rows, in the order in which they first appear: a
//! column is numeric if all of its values that are not missing are numbers, where the strings `NaN`, `NA`, `Infinity`
//! and their like say what they say in csv; strings and booleans are text; columns of objects or arrays are left out
//! ([`ReadOptions::numeric`] and [`ReadOptions::keys`] make exceptions). A key that is absent is a missing value. A
//! value of another kind later on, and anything that is no JSON object, make a bad row.
//! A field that first appears behind those rows is no column, unless it is one of [`ReadOptions::numeric`].

mod cut;
pub(crate) mod decode;
pub(crate) mod infer;
pub(crate) mod late;

use super::bytes::ByteInput;
use super::chunks::{CHUNK_BYTES, Chunks, Head, INFER_BYTES_MAX, INFER_ROWS_MAX};
use super::columns::{Projection, no_column, schema_of};
use super::{About, BadRows, Read, ReadOptions, Source, TimeUnit};
use crate::error::{Error, Result};
use arrow::datatypes::DataType;
use arrow::datatypes::SchemaRef;
use cut::RecordCutter;
use decode::NdjsonDecoder;
use late::Late;
use std::sync::Arc;

/// The rows of one JSON text.
#[derive(Debug)]
pub struct NdjsonSource {
    name: String,
    schema: SchemaRef,
    projection: Projection,
    keys: Vec<String>,
    unit: TimeUnit,
    bad_rows: BadRows,
    array: bool,
    nested: Vec<String>,
    late: Arc<Late>,
    /// Whether the columns are those of all rows.
    is_all: bool,
    /// The line that the rows begin on.
    first_line: u64,
    head: Option<Head>,
    chunks: Option<Chunks>,
    chunk_bytes: usize,
}

impl NdjsonSource {
    /// Infers the schema, or takes `schema`, that of the inputs before.
    ///
    /// # Errors
    /// [`Error::Data`] for columns that are not in `schema`; [`Error::Usage`] where the time column is not there; what
    /// reading says.
    pub fn open(input: ByteInput, name: &str, options: &ReadOptions, schema: Option<SchemaRef>) -> Result<Self> {
        let time = options.time.as_ref().map(|(column, _)| column.as_str());
        let mut head = Head::new(input);
        let mut inferred = head.sample(|bytes, at_end| infer::infer(name, bytes, at_end, options))?;
        head.skip_to(inferred.start);
        let schema = match schema {
            None => {
                let unseen = inferred.unseen.iter().filter(|_| !inferred.is_all);
                let later = unseen.map(|name| (name.clone(), DataType::Float64));
                schema_of(inferred.columns.into_iter().chain(later))
            }
            Some(schema) => {
                let unknown = inferred
                    .columns
                    .iter()
                    .find(|(column, _)| schema.index_of(column).is_err());
                if let Some((column, _)) = unknown {
                    let what = format!("{name} has a column `{column}`, which the inputs before it lack");
                    return Err(Error::Data(what));
                }
                schema
            }
        };
        if let Some(time) = time
            && schema.index_of(time).is_err()
        {
            return Err(no_column(time, &schema, None));
        }
        inferred.unseen.retain(|name| schema.index_of(name).is_ok());
        let unit = options.time.as_ref().map_or(TimeUnit::default(), |(_, unit)| *unit);
        Ok(Self {
            name: name.into(),
            projection: Projection::all(&schema, &options.keys, unit)?,
            schema,
            keys: options.keys.clone(),
            unit,
            bad_rows: options.bad_rows.clone(),
            array: inferred.array,
            late: Arc::new(Late::new(&inferred.nested, inferred.unseen)),
            nested: inferred.nested,
            is_all: inferred.is_all,
            first_line: 1 + inferred.start_line,
            head: Some(head),
            chunks: None,
            chunk_bytes: CHUNK_BYTES,
        })
    }

    fn start(&self, head: Head) -> Result<Chunks> {
        let fail = self.bad_rows == BadRows::Fail;
        let decoder = NdjsonDecoder::new(
            &self.schema,
            self.projection.clone(),
            &self.keys,
            self.late.clone(),
            self.array,
            fail,
        );
        let cutter = RecordCutter::new(self.array);
        Chunks::start(
            &self.name,
            head,
            cutter,
            Arc::new(decoder),
            &self.bad_rows,
            self.first_line,
            self.chunk_bytes,
        )
    }
}

impl Source for NdjsonSource {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn select(&mut self, columns: &[String]) -> Result<()> {
        self.projection = Projection::select(&self.schema, columns, &self.keys, self.unit)?;
        Ok(())
    }

    fn about(&self) -> About {
        About {
            name: self.name.clone(),
            nested: self.nested.clone(),
            late: self.late.unread(),
            absent: self.late.absent(),
            hint: (!self.is_all).then(|| {
                let bytes = INFER_BYTES_MAX >> 20;
                format!("the columns are those of the first {INFER_ROWS_MAX} rows or {bytes} MiB")
            }),
        }
    }

    fn read(&mut self) -> Result<Read> {
        if let Some(head) = self.head.take() {
            self.chunks = Some(self.start(head)?);
        }
        self.chunks.as_mut().map_or(Ok(Read::End), Chunks::read)
    }
}

#[cfg(test)]
mod tests;
