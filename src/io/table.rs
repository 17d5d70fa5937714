//! Tables that go out: Arrow record batches as csv or Parquet, into a file or to standard output.
//!
//! csv has a header line, RFC 4180 quoting, an empty cell for null, numbers as the shortest digits that read back as the
//! same `f64`, `NaN`, `Infinity` and `-Infinity` for the rest, and instants in RFC 3339 with `Z`. Parquet is compressed
//! with zstd.
//!
//! The rule: a file with the asked-for name is a whole file. Rows go to a temporary file beside it, which takes the
//! name in [`TableWriter::finish`] and is removed if it never comes to that. What is no regular file (a device, a pipe)
//! is written to directly.

mod csv;

use crate::error::{Error, Result};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use csv::CsvWriter;
use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Bytes that are collected before they are written.
const BUFFER_BYTES: usize = 1 << 18;

/// How many temporary names are tried: others' leftovers have other process ids, so the first serves nearly always.
const NAMES_MAX: u32 = 1000;

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
    // Dropped first, so that the file is closed when it is removed.
    encoder: Encoder,
    target: Target,
}

#[derive(Debug)]
enum Encoder {
    Csv(CsvWriter<Place>),
    #[cfg(feature = "parquet")]
    Parquet(Box<parquet::arrow::ArrowWriter<Place>>),
}

impl TableWriter {
    /// Begins a table at `path`, where `-` is standard output.
    ///
    /// # Errors
    /// [`Error::Output`] if there is no such directory or it cannot be written to; [`Error::Unavailable`] for Parquet in
    /// a build without it; [`Error::Usage`] for a column whose type the form cannot hold.
    pub fn create(path: &Path, output: Output, schema: SchemaRef) -> Result<Self> {
        if cfg!(not(feature = "parquet")) && output == Output::Parquet {
            return Err(Error::Unavailable(format!(
                "{}: this build writes no Parquet files (it was built without the feature `parquet`)",
                path.display()
            )));
        }
        let (target, place) = Target::create(path)?;
        let encoder = match output {
            Output::Csv => Encoder::Csv(CsvWriter::new(place, &schema).map_err(|e| target.error(e))?),
            #[cfg(feature = "parquet")]
            Output::Parquet => {
                let properties = parquet::file::properties::WriterProperties::builder()
                    .set_compression(parquet::basic::Compression::ZSTD(Default::default()))
                    .build();
                let writer = parquet::arrow::ArrowWriter::try_new(place, schema, Some(properties))
                    .map_err(|e| Error::Usage(format!("{}: {e}", path.display())))?;
                Encoder::Parquet(Box::new(writer))
            }
            #[cfg(not(feature = "parquet"))]
            Output::Parquet => return Err(Error::Unavailable("this build writes no Parquet files".into())),
        };
        Ok(Self { target, encoder })
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
        .map_err(|e| self.target.error(e))
    }

    /// Ends the table and gives the file its name.
    ///
    /// # Errors
    /// [`Error::Output`] if the rest cannot be written.
    pub fn finish(mut self) -> Result<()> {
        let place = match self.encoder {
            Encoder::Csv(writer) => writer.into_inner(),
            #[cfg(feature = "parquet")]
            Encoder::Parquet(writer) => writer.into_inner().map_err(|e| self.target.error(io_error(e)))?,
        };
        self.target.settle(place)
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

/// Where bytes go.
type Place = BufWriter<Box<dyn Durable>>;

/// A writer that can be moved to another thread, and made durable if it is a file.
trait Durable: Write + Send + fmt::Debug {
    fn sync(&self) -> std::io::Result<()>;
}

impl Durable for File {
    fn sync(&self) -> std::io::Result<()> {
        self.sync_all()
    }
}

impl Durable for std::io::Stdout {
    fn sync(&self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The name that a table is to have, and the one that it has until it is whole.
#[derive(Debug)]
struct Target {
    /// As it was given, for messages.
    path: PathBuf,
    /// The temporary name and the final one; absent for what is written directly.
    names: Option<(PathBuf, PathBuf)>,
}

impl Target {
    fn create(path: &Path) -> Result<(Self, Place)> {
        let mut target = Self {
            path: path.to_owned(),
            names: None,
        };
        let writer: Box<dyn Durable> = if super::whole::is_stdin(path) {
            Box::new(std::io::stdout())
        } else {
            match std::fs::metadata(path) {
                Ok(metadata) if metadata.is_dir() => {
                    return Err(target.error(std::io::ErrorKind::IsADirectory.into()));
                }
                Ok(metadata) if !metadata.is_file() => {
                    let file = File::options().write(true).open(path);
                    Box::new(file.map_err(|e| target.error(e))?)
                }
                // A link stays a link to the new file.
                Ok(_) => target.beside(&path.canonicalize().map_err(|e| target.error(e))?)?,
                Err(_) => target.beside(path)?,
            }
        };
        Ok((target, BufWriter::with_capacity(BUFFER_BYTES, writer)))
    }

    /// A new file beside the final one.
    fn beside(&mut self, path: &Path) -> Result<Box<dyn Durable>> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let directory = path
            .parent()
            .filter(|d| !d.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        if !directory.is_dir() {
            let why = format!("there is no directory {}", directory.display());
            return Err(self.error(std::io::Error::new(std::io::ErrorKind::NotFound, why)));
        }
        let Some(name) = path.file_name() else {
            return Err(self.error(std::io::ErrorKind::InvalidFilename.into()));
        };
        for _ in 0..NAMES_MAX {
            let mut temporary = std::ffi::OsString::from(".");
            temporary.push(name);
            temporary.push(format!(
                ".{}-{}.tmp",
                std::process::id(),
                COUNT.fetch_add(1, Ordering::Relaxed)
            ));
            let temporary = directory.join(temporary);
            match File::create_new(&temporary) {
                Ok(file) => {
                    self.names = Some((temporary, path.to_owned()));
                    return Ok(Box::new(file));
                }
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(self.error(e)),
            }
        }
        Err(self.error(std::io::ErrorKind::AlreadyExists.into()))
    }

    /// Writes out what is buffered and gives the file its name.
    fn settle(&mut self, mut place: Place) -> Result<()> {
        place.flush().map_err(|e| self.error(e))?;
        if let Some((temporary, path)) = &self.names {
            place.get_ref().sync().map_err(|e| self.error(e))?;
            drop(place);
            std::fs::rename(temporary, path).map_err(|e| self.error(e))?;
            self.names = None;
        }
        Ok(())
    }

    fn error(&self, source: std::io::Error) -> Error {
        Error::Output {
            path: self.path.clone(),
            source,
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some((temporary, _)) = &self.names {
            // There is nobody left to tell.
            let _ = std::fs::remove_file(temporary);
        }
    }
}

#[cfg(test)]
mod tests;
