//! The configuration of `millstream run`: a TOML file, read strictly and turned into typed values.
//!
//! Every name that is not known is an error, as a misspelt option would otherwise be one that does nothing. What can be
//! checked without touching anything (types, ranges, expressions, formats) is checked here.

mod connectors;
mod feeds;
mod lines;
mod raw;
mod sharing;
mod sinks;
mod typed;
mod values;

use crate::engine::Lateness;
use crate::error::{Error, Result};
use crate::expr::{Definition, Expr};
use crate::io::TimeUnit;
use crate::io::live::{ColumnType, WireFormat};
use crate::io::remote::{KafkaFeed, MqttFeed, PostgresFeed, RabbitmqFeed, RedisFeed, Remote, Sharing};
use crate::io::sink::{DEFAULT_ROLL_BYTES, SinkFormat, SinkOptions};
use crate::spec::{Precision, Spec};
use raw::Raw;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A configuration that makes sense by itself.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Where rows come from; at least one, with distinct names.
    pub feeds: Vec<FeedConfig>,
    /// What becomes of rows before they are reduced.
    pub rows: RowsConfig,
    /// The statistics, with keys and windows.
    pub spec: Spec,
    /// How rows may be out of order.
    pub lateness: Lateness,
    /// Where late rows go, if they are kept.
    pub late_path: Option<PathBuf>,
    /// How often open windows are reported; only when they close, where absent.
    pub update_interval: Option<Duration>,
    /// How rows are reduced.
    pub engine: EngineConfig,
    /// Where reports go.
    pub sinks: Vec<SinkOptions>,
    /// The conditions that are watched.
    pub alerts: Vec<AlertConfig>,
    /// Where state is kept, if it is.
    pub state: Option<StateConfig>,
    /// Bounds.
    pub limits: LimitsConfig,
    /// Where the run can be watched.
    pub server: Option<SocketAddr>,
    /// Who may watch it.
    pub server_access: Access,
    /// What a checkpoint must have been made for: rows, windows and statistics as text.
    pub fingerprint: String,
    /// The file that it was read from, if it was.
    pub source: Option<PathBuf>,
}

/// One feed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FeedConfig {
    /// Its name.
    pub name: String,
    /// Where its rows come from.
    pub kind: FeedKind,
    /// Their form; by the extension of a file where absent.
    pub format: Option<WireFormat>,
    /// Whether its rows are reports of partitions with their summaries, as a feed that processes share gives them.
    pub summaries: bool,
    /// The names of its columns, where the rows do not tell them.
    pub columns: Option<Vec<String>>,
    /// The types of columns, where they are not to be found out.
    pub types: BTreeMap<String, ColumnType>,
    /// The type of the other columns in the format binary.
    pub values: ColumnType,
    /// Who may send.
    pub access: Access,
}

/// Where the rows of a feed come from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FeedKind {
    /// Standard input.
    Stdin,
    /// Files, each a partition.
    File {
        /// Their paths.
        paths: Vec<PathBuf>,
        /// Whether more is awaited at their ends.
        follow: bool,
    },
    /// Connections.
    Tcp {
        /// The address.
        listen: SocketAddr,
    },
    /// Datagrams.
    Udp {
        /// The address.
        listen: SocketAddr,
    },
    /// Requests with rows in their bodies.
    Http {
        /// The address.
        listen: SocketAddr,
    },
    /// A page that is asked again and again.
    HttpPoll {
        /// Its address.
        url: String,
        /// From one question to the next.
        interval: Duration,
        /// A file of headers to send, one a line.
        headers_file: Option<PathBuf>,
    },
    /// Messages of a Kafka topic.
    Kafka(KafkaFeed),
    /// Messages of a RabbitMQ queue.
    Rabbitmq(RabbitmqFeed),
    /// Entries of a Redis stream.
    Redis(RedisFeed),
    /// Messages of MQTT topics.
    Mqtt(MqttFeed),
    /// Rows of a PostgreSQL query.
    Postgres(PostgresFeed),
}

impl FeedKind {
    /// How processes share it, if they do.
    pub fn sharing(&self) -> Option<Sharing> {
        match self {
            Self::Kafka(feed) => feed.share,
            _ => None,
        }
    }

    /// What messages call the place where its rows come from; no secret is in it.
    pub fn place(&self) -> String {
        match self {
            Self::Stdin => "standard input".into(),
            Self::File { paths, .. } => {
                let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
                format!("file {}", paths.join(", "))
            }
            Self::Tcp { listen } => format!("tcp {listen}"),
            Self::Udp { listen } => format!("udp {listen}"),
            Self::Http { listen } => format!("http {listen}"),
            Self::HttpPoll { url, .. } => format!("http_poll {}", Remote::new(url).place()),
            Self::Kafka(of) => format!("kafka {}/{}", of.server.place(), of.topic),
            Self::Rabbitmq(of) => format!("rabbitmq {} {}", of.server.place(), of.queue),
            Self::Redis(of) => format!("redis {} {}", of.server.place(), of.stream),
            Self::Mqtt(of) => format!("mqtt {} {}", of.server.place(), of.topics.join(", ")),
            Self::Postgres(of) => format!("postgres {}", of.server.place()),
        }
    }

    /// The server that is asked, where it is one that others run.
    pub fn server(&self) -> Option<&Remote> {
        match self {
            Self::Kafka(KafkaFeed { server, .. })
            | Self::Rabbitmq(RabbitmqFeed { server, .. })
            | Self::Redis(RedisFeed { server, .. })
            | Self::Mqtt(MqttFeed { server, .. })
            | Self::Postgres(PostgresFeed { server, .. }) => Some(server),
            _ => None,
        }
    }
}

/// Who may send, and see.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// The files of the certificate and its key, in PEM.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The file of the token.
    pub token_file: Option<PathBuf>,
    /// The environment variable of the token.
    pub token_env: Option<String>,
    /// Whether anyone may send from anywhere, unencrypted.
    pub insecure: bool,
}

/// What becomes of rows before they are reduced.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RowsConfig {
    /// The column of the event time and its unit; the time of arrival where absent.
    pub time: Option<(String, TimeUnit)>,
    /// Keep only the rows for which this holds.
    pub filter: Option<Expr>,
    /// Numeric columns derived from others.
    pub definitions: Vec<Definition>,
}

/// Where and how rows are reduced.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct EngineConfig {
    /// `auto`, `cpu` or `gpu`.
    pub backend: Backend,
    /// The precision that is asked for by name.
    pub precision: Option<Precision>,
    /// A micro-batch is cut at this many rows.
    pub batch_rows: usize,
    /// Or after this long.
    pub batch_delay: Duration,
}

/// Which backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// What is quicker.
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU, or none.
    Gpu,
}

/// A condition that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertConfig {
    /// Its name.
    pub name: String,
    /// The expression.
    pub when: String,
    /// Windows in a row in which it has to hold.
    pub for_windows: u64,
}

/// Where state is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateConfig {
    /// The directory.
    pub directory: PathBuf,
    /// From one checkpoint to the next.
    pub interval: Duration,
    /// Whether rows of TCP and UDP are journalled.
    pub journal: bool,
}

/// Bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitsConfig {
    /// Bytes of the state of the engine.
    pub memory_bytes: u64,
    /// Keys at once.
    pub keys: usize,
    /// Bytes of a line.
    pub line_bytes: usize,
    /// Bytes of a body of a request, decompressed.
    pub body_bytes: u64,
    /// Connections of a feed at once.
    pub connections: usize,
    /// How long a connection may be silent.
    pub idle_connection: Duration,
    /// Where bad rows are kept.
    pub quarantine: Option<PathBuf>,
    /// Bytes of them at most.
    pub quarantine_bytes: u64,
}

impl Config {
    /// Reads a file. Paths in it are as they stand there, relative to the working directory.
    ///
    /// # Errors
    /// [`Error::Input`] if it cannot be read, [`Error::Config`] for what is wrong in it, with its line.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Input {
            path: path.to_owned(),
            source,
        })?;
        let config = Self::parse(&text).map_err(|error| Error::Config(format!("{}: {error}", path.display())))?;
        Ok(Self {
            source: Some(path.to_owned()),
            ..config
        })
    }

    /// Reads the text of a configuration.
    ///
    /// ```
    /// let config = millstream::config::Config::parse(
    ///     "feed = { name = 'main', type = 'stdin', format = 'csv' }\n\
    ///      [rows]\ntime = 'ts'\nkey = ['sensor']\n[window]\nsize = '10s'\n[[sink]]\ntype = 'stdout'\n",
    /// )?;
    /// assert_eq!(config.spec.keys, ["sensor"]);
    /// assert!(millstream::config::Config::parse("[rows]\ntyme = 'ts'").is_err());
    /// # Ok::<(), millstream::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] for what is wrong in it.
    pub fn parse(text: &str) -> Result<Self> {
        let raw: Raw = toml::from_str(text).map_err(|e| Error::Config(e.to_string().trim_end().to_owned()))?;
        raw.typed().map_err(|error| lines::with_line(text, error))
    }

    /// Whether processes share the feeds.
    pub fn is_shared(&self) -> bool {
        self.feeds.iter().any(|feed| feed.kind.sharing().is_some())
    }

    /// Where feeds are, by their names, for messages.
    pub fn feed_names(&self) -> Vec<String> {
        self.feeds.iter().map(|feed| feed.name.clone()).collect()
    }
}

/// The form of a sink that is a file: as it was said, or by its extension.
fn sink_format(path: &Path, format: Option<&str>) -> Result<SinkFormat> {
    match format {
        Some(format) => format.parse(),
        None => SinkFormat::of(path),
    }
}

/// The size at which Parquet files roll.
fn roll_bytes(text: Option<&str>) -> Result<u64> {
    text.map_or(Ok(DEFAULT_ROLL_BYTES), crate::units::size_bytes)
}

#[cfg(test)]
mod tests;
