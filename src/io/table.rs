//! Tables that go out: Arrow record batches as csv or Parquet, into a file or to standard output.
//!
//! csv has a header line, RFC 4180 quoting, an empty cell for null, numbers as the shortest digits that read back as
//! the same `f64`, `NaN`, `Infinity` and `-Infinity` for the rest, and instants in RFC 3339 with `Z`. Parquet is
//! compressed with zstd.
//!
//! The rule: a file with the asked-for name is a whole file. Rows go to a temporary file beside it, which takes the
//! name in [`TableWriter::finish`] and is removed if it never comes to that. What is no regular file (a device, a pipe)
//! is written to directly.

pub(in crate::io) mod csv;

use super::OutputFile;
use crate::error::{Error, Result};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use csv::CsvWriter;
use std::fmt;
use std::path::{Path, PathBuf};

/// The form of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// Comma-separated values.
    Csv,
    /// Apache Parquet.
    Parquet,
}

impl Output {
    /// The form that the extension of `path` says.
    ///
    /// # Errors
    /// [`Error::Usage`] for another extension.
    ///
    /// ```
    /// use millstream::io::table::Output;
    /// assert_eq!(Output::of("steps.csv".as_ref()).unwrap(), Output::Csv);
    /// assert!(Output::of("steps.xml".as_ref()).is_err());
    /// ```
    pub fn of(path: &Path) -> Result<Self> {
        let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        match extension.as_deref() {
            Some("csv") => Ok(Self::Csv),
            Some("parquet" | "pq") => Ok(Self::Parquet),
            _ => Err(Error::Usage(format!(
                "{}: a table is written as .csv or .parquet",
                path.display()
            ))),
        }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        })
    }
}

/// Writes record batches of one schema.
///
/// ```
/// # use arrow::array::{ArrayRef, Float64Array, RecordBatch};
/// # use millstream::io::table::{Output, TableWriter};
/// let column = std::sync::Arc::new(Float64Array::from(vec![Some(0.1), None, Some(2.0)])) as ArrayRef;
/// let batch = RecordBatch::try_from_iter([("x", column.clone()), ("y", column)])?;
/// let path = std::env::temp_dir().join(format!("millstream-doc-{}.csv", std::process::id()));
/// let mut writer = TableWriter::create(&path, Output::of(&path)?, batch.schema())?;
/// writer.write(&batch)?;
/// writer.finish()?;
/// assert_eq!(std::fs::read_to_string(&path)?, "x,y\n0.1,0.1\n,\n2,2\n");
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TableWriter {
    encoder: Encoder,
    path: PathBuf,
}

#[derive(Debug)]
enum Encoder {
    Csv(CsvWriter<OutputFile>),
    #[cfg(feature = "parquet")]
    Parquet(Box<parquet::arrow::ArrowWriter<OutputFile>>),
}

impl TableWriter {
    /// Begins a table at `path`, where `-` is standard output.
    ///
    /// # Errors
    /// [`Error::Output`] if there is no such directory or it cannot be written to; [`Error::Unavailable`] for Parquet
    /// in a build without it; [`Error::Usage`] for a column whose type the form cannot hold.
    pub fn create(path: &Path, output: Output, schema: SchemaRef) -> Result<Self> {
        if cfg!(not(feature = "parquet")) && output == Output::Parquet {
            return Err(Error::Unavailable(format!(
                "{}: this build writes no Parquet files (it was built without the feature `parquet`)",
                path.display()
            )));
        }
        Self::over(OutputFile::create(path)?, output, schema)
    }

    /// Begins a table in a file that was created before.
    ///
    /// # Errors
    /// As [`TableWriter::create`].
    pub fn over(file: OutputFile, output: Output, schema: SchemaRef) -> Result<Self> {
        let path = file.path().to_owned();
        let encoder = match output {
            Output::Csv => Encoder::Csv(CsvWriter::new(file, &schema).map_err(|source| Error::Output {
                path: path.clone(),
                source,
            })?),
            #[cfg(feature = "parquet")]
            Output::Parquet => {
                let properties = parquet::file::properties::WriterProperties::builder()
                    .set_compression(parquet::basic::Compression::ZSTD(Default::default()))
                    .build();
                let writer = parquet::arrow::ArrowWriter::try_new(file, schema, Some(properties))
                    .map_err(|e| Error::Usage(format!("{}: {e}", path.display())))?;
                Encoder::Parquet(Box::new(writer))
            }
            #[cfg(not(feature = "parquet"))]
            Output::Parquet => return Err(Error::Unavailable("this build writes no Parquet files".into())),
        };
        Ok(Self { path, encoder })
    }

    /// Appends rows.
    ///
    /// # Errors
    /// [`Error::Output`] if they cannot be written.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match &mut self.encoder {
            Encoder::Csv(writer) => writer.write(batch),
            #[cfg(feature = "parquet")]
            Encoder::Parquet(writer) => writer.write(batch).map_err(io_error),
        }
        .map_err(|source| Error::Output {
            path: self.path.clone(),
            source,
        })
    }

    /// Ends the table and gives the file its name.
    ///
    /// # Errors
    /// [`Error::Output`] if the rest cannot be written.
    pub fn finish(self) -> Result<()> {
        let file = match self.encoder {
            Encoder::Csv(writer) => writer.into_inner(),
            #[cfg(feature = "parquet")]
            Encoder::Parquet(writer) => writer.into_inner().map_err(|e| Error::Output {
                path: self.path.clone(),
                source: io_error(e),
            })?,
        };
        file.finish()
    }
}

/// What the system said, if it said anything.
#[cfg(feature = "parquet")]
fn io_error(error: parquet::errors::ParquetError) -> std::io::Error {
    match error {
        parquet::errors::ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
            Ok(error) => *error,
            Err(other) => std::io::Error::other(other),
        },
        other => std::io::Error::other(other),
    }
}

#[cfg(test)]
mod tests;
