//! Which sinks there are, and opening one.

use super::{Feed, Sink, SinkState, lines};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// The size at which a Parquet file is ended and the next begun, unless another is asked for: large enough to be read
/// at full speed, small enough that its rows fit in memory many times.
pub const DEFAULT_ROLL_BYTES: u64 = 64 << 20;

/// The form in which reports are written to standard output or files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SinkFormat {
    /// One JSON object a report, one a line; alerts are lines `{"alert": {…}}`.
    Ndjson,
    /// The long table (one row a column of each report) with a header line. It has no place for alerts and matrices.
    Csv,
    /// The same table as Parquet files, one after another.
    Parquet,
}

impl SinkFormat {
    /// The form that the extension of `path` says.
    ///
    /// # Errors
    /// [`Error::Config`] for another extension.
    ///
    /// ```
    /// use millstream::io::sink::SinkFormat;
    /// assert_eq!(SinkFormat::of("out.ndjson".as_ref())?, SinkFormat::Ndjson);
    /// assert!(SinkFormat::of("out.txt".as_ref()).is_err());
    /// # Ok::<(), millstream::Error>(())
    /// ```
    pub fn of(path: &Path) -> Result<Self> {
        let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        match extension.as_deref() {
            Some("ndjson" | "jsonl") => Ok(Self::Ndjson),
            Some("csv") => Ok(Self::Csv),
            Some("parquet" | "pq") => Ok(Self::Parquet),
            _ => Err(Error::Config(format!(
                "{}: reports are written as .ndjson, .csv or .parquet; say which with format = \"ndjson\"",
                path.display()
            ))),
        }
    }
}

impl std::str::FromStr for SinkFormat {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "ndjson" => Ok(Self::Ndjson),
            "csv" => Ok(Self::Csv),
            "parquet" => Ok(Self::Parquet),
            _ => Err(Error::Config(format!(
                "there is no format `{text}` of reports; there are ndjson, csv and parquet"
            ))),
        }
    }
}

/// A sink, as a configuration says it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SinkOptions {
    /// Standard output.
    Stdout {
        /// [`SinkFormat::Ndjson`] or [`SinkFormat::Csv`].
        format: SinkFormat,
    },
    /// A file, which is appended to; for Parquet the files `NAME-000001.parquet`, ….
    File {
        /// Its name.
        path: PathBuf,
        /// The form.
        format: SinkFormat,
        /// The size in bytes at which a Parquet file is ended.
        roll_bytes: u64,
    },
    /// A SQLite database.
    Sqlite {
        /// Its name.
        path: PathBuf,
    },
    /// A PostgreSQL database.
    Postgres(PostgresOptions),
}

/// How a PostgreSQL database is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostgresOptions {
    /// `postgresql://USER@HOST:PORT/DATABASE`, without a password.
    pub url: String,
    /// A file whose first line is the password; absent: the environment variable `PGPASSWORD`, where it is set.
    pub password_file: Option<PathBuf>,
    /// The authorities, in PEM form, one of which has signed the server's certificate: connections are then encrypted.
    pub ca_file: Option<PathBuf>,
    /// Whether a server on another machine may be spoken to in the clear.
    pub insecure: bool,
}

impl PostgresOptions {
    /// In the clear, with the password of the environment.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            password_file: None,
            ca_file: None,
            insecure: false,
        }
    }

    /// The database without who asks for it: no password is shown, be there one.
    fn place(&self) -> &str {
        let url = self.url.split_once("://").map_or("", |(_, rest)| rest);
        let url = url.rsplit_once('@').map_or(url, |(_, rest)| rest);
        url.split(['?', '#']).next().unwrap_or_default()
    }
}

impl SinkOptions {
    /// What messages and the checkpoint call it: one name a place.
    pub fn name(&self) -> String {
        match self {
            Self::Stdout { .. } => "stdout".into(),
            Self::File { path, .. } => format!("file {}", path.display()),
            Self::Sqlite { path } => format!("sqlite {}", path.display()),
            Self::Postgres(options) => format!("postgres {}", options.place()),
        }
    }

    /// The file that is written, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Stdout { .. } | Self::Postgres(_) => None,
            Self::File { path, .. } | Self::Sqlite { path } => Some(path),
        }
    }
}

/// Opens a sink for the reports of these feeds: where a checkpoint stands, if there is one, else behind what is there.
///
/// # Errors
/// [`Error::Config`] where the place holds something else than reports of these feeds, or less than the checkpoint
/// says; [`Error::Output`] if it cannot be written; [`Error::Unavailable`] for a kind that this build lacks.
pub fn open(options: &SinkOptions, feeds: &[Feed], state: Option<&SinkState>) -> Result<Box<dyn Sink>> {
    let name = options.name();
    match options {
        SinkOptions::Stdout {
            format: SinkFormat::Parquet,
        } => Err(Error::Config(
            "standard output takes ndjson or csv; Parquet needs a sink of type file".into(),
        )),
        SinkOptions::Stdout { format } => lines::open(name, Path::new("-"), *format, feeds, None),
        SinkOptions::File {
            path,
            format: SinkFormat::Parquet,
            roll_bytes,
        } => parquet(name, path, *roll_bytes, feeds, state),
        SinkOptions::File { path, format, .. } => lines::open(name, path, *format, feeds, state),
        SinkOptions::Sqlite { path } => sqlite(name, path, feeds, state),
        SinkOptions::Postgres(options) => postgres(name, options, feeds, state),
    }
}

/// Checks that what is in the place of a sink is what [`open`] goes on behind, and changes nothing there.
///
/// # Errors
/// [`Error::Config`] where it holds something else than reports of these feeds; [`Error::Input`] where it cannot be read.
pub(crate) fn check(options: &SinkOptions, feeds: &[Feed]) -> Result<()> {
    match options {
        SinkOptions::File {
            path,
            format: format @ (SinkFormat::Ndjson | SinkFormat::Csv),
            ..
        } => lines::check(path, *format, feeds),
        #[cfg(feature = "sqlite")]
        SinkOptions::Sqlite { path } if std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0) => {
            super::sqlite::Database::open(path).map(drop)
        }
        #[cfg(feature = "postgres")]
        SinkOptions::Postgres(of) => super::postgres::check(&options.name(), of, feeds),
        _ => Ok(()),
    }
}

#[cfg(feature = "parquet")]
fn parquet(
    name: String,
    path: &Path,
    roll_bytes: u64,
    feeds: &[Feed],
    state: Option<&SinkState>,
) -> Result<Box<dyn Sink>> {
    Ok(Box::new(super::rolling::RollingSink::open(
        name, path, roll_bytes, feeds, state,
    )?))
}

#[cfg(not(feature = "parquet"))]
fn parquet(name: String, _: &Path, _: u64, _: &[Feed], _: Option<&SinkState>) -> Result<Box<dyn Sink>> {
    Err(missing(&name, "parquet"))
}

#[cfg(feature = "sqlite")]
fn sqlite(name: String, path: &Path, feeds: &[Feed], state: Option<&SinkState>) -> Result<Box<dyn Sink>> {
    Ok(Box::new(super::sqlite::SqliteSink::open(name, path, feeds, state)?))
}

#[cfg(not(feature = "sqlite"))]
fn sqlite(name: String, _: &Path, _: &[Feed], _: Option<&SinkState>) -> Result<Box<dyn Sink>> {
    Err(missing(&name, "sqlite"))
}

#[cfg(feature = "postgres")]
fn postgres(
    name: String,
    options: &PostgresOptions,
    feeds: &[Feed],
    state: Option<&SinkState>,
) -> Result<Box<dyn Sink>> {
    let sink = super::postgres::PostgresSink::open(name, options, feeds, state)?;
    Ok(Box::new(sink))
}

#[cfg(not(feature = "postgres"))]
fn postgres(name: String, _: &PostgresOptions, _: &[Feed], _: Option<&SinkState>) -> Result<Box<dyn Sink>> {
    Err(missing(&name, "postgres"))
}

#[cfg(not(all(feature = "parquet", feature = "postgres", feature = "sqlite")))]
fn missing(name: &str, feature: &str) -> Error {
    Error::Unavailable(format!("{name}: this build was made without the feature `{feature}`"))
}
