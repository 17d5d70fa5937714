//! Parquet files, with the codecs snappy, zstd, gzip, brotli and lz4.
//!
//! Opening a file reads its directory only; the selected columns are then decoded on the rayon pool
//! and given in the order of the file. Standard input is read into memory first, because the directory of a
//! Parquet file stands at its end.
//!
//! The rule: a damaged file is an error that names it, never a panic and never an end that looks like the end.

mod lanes;
mod pages;
mod region;

use crate::error::{Error, Result};
use crate::io::columnar::Shape;
use crate::io::whole::{self, HEAD_BYTES, PARQUET_MAGIC, STDIN_BYTES_MAX};
use crate::io::{About, Position, Read, ReadOptions, Rows, Source};
use arrow::datatypes::SchemaRef;
use lanes::{Decoder, Input};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::file::reader::Length;
use region::Region;
use std::path::Path;
use std::sync::Arc;

/// The rows of a Parquet file.
#[derive(Debug)]
pub struct ParquetSource {
    input: Arc<Input>,
    state: State,
    rows_total: u64,
    rows_read: u64,
}

#[derive(Debug)]
enum State {
    /// Columns can still be selected.
    Opened,
    Reading(Decoder),
    /// At the end, or behind an error.
    Ended,
}

impl ParquetSource {
    /// Opens the Parquet file at `path`; `-` is standard input.
    ///
    /// # Errors
    /// [`Error::Input`] if it cannot be opened; [`Error::Data`] if it is empty, damaged or no Parquet file;
    /// [`Error::Usage`] if the time column is not there or holds no times; [`Error::Limit`] for more than
    /// 1 GiB on standard input.
    pub fn open(path: &Path, options: &ReadOptions) -> Result<Self> {
        let region = if whole::is_stdin(path) {
            Region::Memory(whole::read_all(path, std::io::stdin().lock(), STDIN_BYTES_MAX)?.into())
        } else {
            match whole::open_file(path)? {
                // A pipe with a name: no length, and no end to begin at.
                (pipe, 0) => Region::Memory(whole::read_all(path, pipe, STDIN_BYTES_MAX)?.into()),
                (file, length) => Region::of_file(file, length),
            }
        };
        Self::from_region(path, region, options)
    }

    /// Reads a Parquet file that is in memory; `name` is what messages call it.
    ///
    /// # Errors
    /// [`Error::Data`] if it is empty, damaged or no Parquet file; [`Error::Usage`] if the time column is not there or
    /// holds no times.
    ///
    /// ```
    /// use millstream::io::{ReadOptions, parquet::ParquetSource};
    /// let error = ParquetSource::from_bytes("upload", b"a,b".to_vec(), &ReadOptions::default()).unwrap_err();
    /// assert!(error.to_string().starts_with("upload is not a Parquet file"));
    /// ```
    pub fn from_bytes(name: &str, bytes: Vec<u8>, options: &ReadOptions) -> Result<Self> {
        let path = Path::new(name);
        if bytes.is_empty() {
            return Err(whole::empty(path));
        }
        Self::from_region(path, Region::Memory(bytes.into()), options)
    }

    fn from_region(path: &Path, region: Region, options: &ReadOptions) -> Result<Self> {
        let name = whole::name(path);
        let damaged = |e: parquet::errors::ParquetError| whole::damaged(&name, e);
        let head = region.head(HEAD_BYTES).map_err(damaged)?;
        if !head.starts_with(PARQUET_MAGIC) {
            return Err(whole::not_a("a Parquet file", path, &head));
        }
        if region.tail(PARQUET_MAGIC.len()).map_err(damaged)? != PARQUET_MAGIC {
            return Err(whole::damaged(&name, "it does not end as a Parquet file does"));
        }
        let metadata = whole::guarded(&name, || {
            ArrowReaderMetadata::load(&region, ArrowReaderOptions::new()).map_err(damaged)
        })?;
        let shape = Shape::new(&name, metadata.schema(), options)?;
        let rows_total = metadata.metadata().file_metadata().num_rows();
        let rows_total = u64::try_from(rows_total).map_err(|_| whole::damaged(&name, "it claims negative rows"))?;
        let input = Arc::new(Input {
            name,
            region,
            metadata,
            shape,
        });
        Ok(Self {
            input,
            state: State::Opened,
            rows_total,
            rows_read: 0,
        })
    }

    fn next(&mut self) -> Result<Read> {
        if let State::Opened = self.state {
            self.state = State::Reading(Decoder::new(Arc::clone(&self.input)));
        }
        let State::Reading(decoder) = &mut self.state else {
            return Ok(Read::End);
        };
        let Some(columns) = decoder.next()? else {
            self.state = State::Ended;
            return Ok(Read::End);
        };
        let (batch, rejected) = self
            .input
            .shape
            .assemble(&columns.columns, columns.rows, self.rows_read)?;
        self.rows_read += columns.rows as u64;
        let position = Position {
            partition: 0,
            rows: self.rows_read,
            ..Position::default()
        };
        Ok(Read::Batch(
            Rows {
                batch,
                rejected,
                unkept: 0,
                bytes_read: self.bytes_read(),
                arrived_ns: None,
            },
            position,
        ))
    }

    /// The share of the file that the rows so far are of its rows.
    fn bytes_read(&self) -> u64 {
        let share = u128::from(self.input.region.len()) * u128::from(self.rows_read.min(self.rows_total));
        share
            .checked_div(u128::from(self.rows_total))
            .map_or(0, |bytes| bytes as u64)
    }
}

impl Source for ParquetSource {
    fn schema(&self) -> SchemaRef {
        self.input.shape.schema()
    }

    fn select(&mut self, columns: &[String]) -> Result<()> {
        match (&self.state, Arc::get_mut(&mut self.input)) {
            (State::Opened, Some(input)) => input.shape.select(columns),
            _ => Err(Error::Usage(
                "columns can only be selected before the first read".into(),
            )),
        }
    }

    fn about(&self) -> About {
        self.input.shape.about()
    }

    fn read(&mut self) -> Result<Read> {
        self.next().inspect_err(|_| self.state = State::Ended)
    }
}

#[cfg(test)]
mod tests;
