//! Which sinks there are, and opening one.

use super::{Feed, Sink, SinkState, lines};
use crate::error::{Error, Result};
use crate::io::remote::{KafkaSink, MqttSink, RabbitmqSink, RedisSink, Remote};
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
    /// A topic of Kafka.
    Kafka(KafkaSink),
    /// An exchange of RabbitMQ.
    Rabbitmq(RabbitmqSink),
    /// Streams, hashes and channels of Redis.
    Redis(RedisSink),
    /// Topics of an MQTT broker.
    Mqtt(MqttSink),
    /// A PostgreSQL database.
    Postgres(Remote),
}

impl SinkOptions {
    /// What messages and the checkpoint call it: one name a place.
    pub fn name(&self) -> String {
        match self {
            Self::Stdout { .. } => "stdout".into(),
            Self::File { path, .. } => format!("file {}", path.display()),
            Self::Sqlite { path } => format!("sqlite {}", path.display()),
            Self::Kafka(of) => format!("kafka {}/{}", of.server.place(), of.topic),
            Self::Rabbitmq(of) => format!("rabbitmq {} {} {}", of.server.place(), of.exchange, of.routing_key),
            Self::Redis(of) => {
                let keys = [&of.stream, &of.hash, &of.channel].map(|key| key.as_deref().unwrap_or("-"));
                format!("redis {} {}", of.server.place(), keys.join(" "))
            }
            Self::Mqtt(of) => format!("mqtt {} {}", of.server.place(), of.topic),
            Self::Postgres(server) => format!("postgres {}", server.place()),
        }
    }

    /// The file that is written, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. } | Self::Sqlite { path } => Some(path),
            _ => None,
        }
    }

    /// The server that is written to, if it is one that others run.
    pub fn server(&self) -> Option<&Remote> {
        match self {
            Self::Kafka(KafkaSink { server, .. })
            | Self::Rabbitmq(RabbitmqSink { server, .. })
            | Self::Redis(RedisSink { server, .. })
            | Self::Mqtt(MqttSink { server, .. })
            | Self::Postgres(server) => Some(server),
            _ => None,
        }
    }

    /// Its type, which is the name of the feature that it takes, if it takes one.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Stdout { .. } => "stdout",
            Self::File {
                format: SinkFormat::Parquet,
                ..
            } => "parquet",
            Self::File { .. } => "file",
            Self::Sqlite { .. } => "sqlite",
            Self::Kafka(_) => "kafka",
            Self::Rabbitmq(_) => "rabbitmq",
            Self::Redis(_) => "redis",
            Self::Mqtt(_) => "mqtt",
            Self::Postgres(_) => "postgres",
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
        #[cfg(feature = "parquet")]
        SinkOptions::File {
            path,
            format: SinkFormat::Parquet,
            roll_bytes,
        } => super::rolling::RollingSink::open(name, path, *roll_bytes, feeds, state).map(boxed),
        SinkOptions::File { path, format, .. } if *format != SinkFormat::Parquet => {
            lines::open(name, path, *format, feeds, state)
        }
        #[cfg(feature = "sqlite")]
        SinkOptions::Sqlite { path } => super::sqlite::SqliteSink::open(name, path, feeds, state).map(boxed),
        #[cfg(feature = "kafka")]
        SinkOptions::Kafka(of) => super::kafka::KafkaReports::open(name, of, feeds, state).map(boxed),
        #[cfg(feature = "postgres")]
        SinkOptions::Postgres(server) => super::postgres::PostgresSink::open(name, server, feeds, state).map(boxed),
        #[cfg(feature = "rabbitmq")]
        SinkOptions::Rabbitmq(options) => super::rabbitmq::RabbitmqSink::open(name, options).map(boxed),
        #[cfg(feature = "mqtt")]
        SinkOptions::Mqtt(options) => super::mqtt::MqttSink::open(name, options).map(boxed),
        #[cfg(feature = "redis")]
        SinkOptions::Redis(of) => super::redis::RedisSink::open(name, of, feeds, state).map(boxed),
        // A sink that this build lacks.
        other => Err(missing(&name, other.kind())),
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
        #[cfg(feature = "kafka")]
        SinkOptions::Kafka(of) => super::kafka::check(&options.name(), of),
        #[cfg(feature = "postgres")]
        SinkOptions::Postgres(server) => super::postgres::check(&options.name(), server, feeds),
        #[cfg(feature = "rabbitmq")]
        SinkOptions::Rabbitmq(to) => super::rabbitmq::check(&options.name(), to),
        #[cfg(feature = "mqtt")]
        SinkOptions::Mqtt(to) => super::mqtt::check(&options.name(), to),
        #[cfg(feature = "redis")]
        SinkOptions::Redis(of) => super::redis::check(&options.name(), of, feeds),
        _ => Ok(()),
    }
}

#[cfg(any(
    feature = "kafka",
    feature = "mqtt",
    feature = "parquet",
    feature = "postgres",
    feature = "rabbitmq",
    feature = "redis",
    feature = "sqlite"
))]
fn boxed(sink: impl Sink + 'static) -> Box<dyn Sink> {
    Box::new(sink)
}

fn missing(name: &str, feature: &str) -> Error {
    Error::Unavailable(format!("{name}: this build was made without the feature `{feature}`"))
}
