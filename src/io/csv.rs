//! Comma- and tab-separated values: a header line, then rows (RFC 4180).
//!
//! [`CsvSource`] infers the types of the columns from the first rows: a column is numeric if all of its values that are
//! not missing are numbers, else text ([`ReadOptions::numeric`] and [`ReadOptions::keys`] make exceptions); the event
//! time is the one that is named. Missing are empty cells, `NA`, `NaN`, `nan`, `null` and `None`. Blank lines are
//! passed over. A row of the wrong length, text in a numeric column, or no time in the time column make a bad row; only
//! cells of selected columns are looked at.
//!
//! A column without a name in the header, such as the index that pandas writes first, is called `column_N` by its
//! place, counted from 1.

pub(crate) mod decode;
pub(crate) mod infer;
mod separator;
pub(crate) mod split;

use super::bytes::ByteInput;
use super::chunks::{CHUNK_BYTES, Chunks, Head};
use super::columns::{Projection, no_column, schema_of};
use super::{About, BadRows, Read, ReadOptions, Source, TimeUnit};
use crate::error::{Error, Result};
use ::arrow::datatypes::SchemaRef;
use decode::CsvDecoder;
use split::CsvCutter;
use std::sync::Arc;

/// The rows of one delimited text.
#[derive(Debug)]
pub struct CsvSource {
    name: String,
    delimiter: u8,
    schema: SchemaRef,
    /// The header's names in its order, and their places in the schema.
    names: Vec<String>,
    indices: Vec<usize>,
    projection: Projection,
    keys: Vec<String>,
    unit: TimeUnit,
    bad_rows: BadRows,
    /// The line of the first row.
    first_line: u64,
    head: Option<Head>,
    chunks: Option<Chunks>,
    chunk_bytes: usize,
}

impl CsvSource {
    /// Reads the header and infers the schema, or takes `schema`, that of the inputs before.
    ///
    /// A column that the header leaves without a name is called `column_N`, where N is its place, counted from 1:
    ///
    /// ```
    /// use millstream::io::{ReadOptions, Source, bytes::ByteInput, csv::CsvSource};
    /// let options = ReadOptions::default();
    /// let input = ByteInput::from_reader("pandas.csv", &b",x\n0,1.5\n1,2.5\n"[..], None, &options)?;
    /// let source = CsvSource::open(input, "pandas.csv", b',', &options, None)?;
    /// assert_eq!(source.schema().field(0).name(), "column_1");
    /// # Ok::<(), millstream::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Data`] for a header that is absent, names a column twice, or does not fit `schema`;
    /// [`Error::Usage`] where the time column is not there; what reading says.
    pub fn open(
        input: ByteInput,
        name: &str,
        delimiter: u8,
        options: &ReadOptions,
        schema: Option<SchemaRef>,
    ) -> Result<Self> {
        let time = options.time.as_ref().map(|(column, _)| column.as_str());
        let mut head = Head::new(input);
        let inferred = head.sample(|bytes, at_end| infer::infer(name, bytes, at_end, delimiter, options))?;
        let Some(inferred) = inferred else {
            return Err(Error::Data(format!(
                "{name} has no header line: it holds nothing but blank lines"
            )));
        };
        head.skip_to(inferred.header_bytes);
        let names: Vec<String> = inferred.columns.iter().map(|(name, _)| name.clone()).collect();
        let (schema, indices) = match schema {
            None => (schema_of(inferred.columns.into_iter()), (0..names.len()).collect()),
            Some(schema) => {
                let indices = places(name, &names, &schema)?;
                (schema, indices)
            }
        };
        if let Some(time) = time
            && schema.index_of(time).is_err()
        {
            return Err(no_column(time, &schema, separator::hint(&names, delimiter)));
        }
        let unit = options.time.as_ref().map_or(TimeUnit::default(), |(_, unit)| *unit);
        Ok(Self {
            name: name.into(),
            delimiter,
            projection: Projection::all(&schema, &options.keys, unit)?,
            schema,
            names,
            indices,
            keys: options.keys.clone(),
            unit,
            bad_rows: options.bad_rows.clone(),
            first_line: 1 + inferred.header_lines,
            head: Some(head),
            chunks: None,
            chunk_bytes: CHUNK_BYTES,
        })
    }

    fn start(&self, head: Head) -> Result<Chunks> {
        let fail = self.bad_rows == BadRows::Fail;
        let projection = self.projection.clone();
        let decoder = CsvDecoder::new(self.delimiter, self.names.clone(), &self.indices, projection, fail);
        let cutter = CsvCutter {
            delimiter: self.delimiter,
        };
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

/// The places of a header's names in the schema of the inputs before, which must have the same names.
fn places(source: &str, names: &[String], schema: &SchemaRef) -> Result<Vec<usize>> {
    let missing = schema.fields().iter().find(|field| !names.contains(field.name()));
    if let Some(field) = missing {
        let name = field.name();
        return Err(Error::Data(format!(
            "{source} has no column `{name}`, which the inputs before it have"
        )));
    }
    let place = |name: &String| {
        let unknown = |_| {
            Error::Data(format!(
                "{source} has a column `{name}`, which the inputs before it lack"
            ))
        };
        schema.index_of(name).map_err(unknown)
    };
    names.iter().map(place).collect()
}

impl Source for CsvSource {
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
            hint: separator::hint(&self.names, self.delimiter),
            ..About::default()
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
