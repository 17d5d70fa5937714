//! Servers that others run (brokers and databases): how they are reached, and what is asked of each.
//!
//! The rule for all of them: a server on this machine may be spoken to in the clear; one on another machine has a
//! certificate that an authority of `ca_file` has signed, or its configuration says `insecure = true`. Passwords stand in
//! files or in the environment, never in an address.

use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
#[cfg(any(feature = "mqtt", feature = "postgres", feature = "rabbitmq", feature = "redis"))]
use std::time::Instant;

/// How a server is reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Remote {
    /// Its address, without a password: `postgresql://USER@HOST:PORT/DATABASE`; for Kafka `HOST:PORT,HOST:PORT`.
    pub url: String,
    /// Who asks, where that is no part of the address.
    pub user: Option<String>,
    /// How Kafka is told who asks, and the password: `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub mechanism: Option<String>,
    /// A file whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// The environment variable that holds the password.
    pub password_env: Option<String>,
    /// The authorities, in PEM form, one of which has signed the server's certificate: connections are then encrypted.
    pub ca_file: Option<PathBuf>,
    /// Whether a server on another machine may be spoken to in the clear.
    pub insecure: bool,
}

impl Remote {
    /// In the clear, without a password.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            ..Self::default()
        }
    }

    /// The address without who asks and without options: no password is shown, be there one.
    pub fn place(&self) -> &str {
        let url = self.url.split_once("://").map_or(self.url.as_str(), |(_, rest)| rest);
        let url = url.rsplit_once('@').map_or(url, |(_, rest)| rest);
        let place = url.split(['?', '#']).next().unwrap_or_default();
        // What is no address may be anything, options with a password for one.
        let is_address = |c: char| c.is_alphanumeric() || "._~%-:[],/".contains(c);
        match place.chars().all(is_address) {
            true => place,
            false => "(no address)",
        }
    }

    /// The password, if one is named.
    ///
    /// # Errors
    /// [`Error::Input`] where the file cannot be read, [`Error::Config`] where the variable is not set.
    pub fn password(&self) -> Result<Option<String>> {
        if let Some(path) = &self.password_file {
            let text = std::fs::read_to_string(path).map_err(|source| Error::Input {
                path: path.clone(),
                source,
            })?;
            return Ok(Some(text.lines().next().unwrap_or_default().to_owned()));
        }
        let Some(name) = &self.password_env else {
            return Ok(None);
        };
        let value = std::env::var(name).map_err(|_| {
            Error::Config(format!(
                "the environment variable {name}, which is to hold a password, is not set"
            ))
        })?;
        Ok(Some(value))
    }

    /// That none of these hosts hears in the clear what it must not.
    ///
    /// # Errors
    /// [`Error::Config`] for one on another machine without `ca_file` and `insecure`.
    pub fn check_hosts<'a>(&self, name: &str, hosts: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let all_near = hosts.into_iter().all(is_near);
        match all_near || self.insecure || self.ca_file.is_some() {
            true => Ok(()),
            false => Err(Error::Config(format!(
                "{name}: the server is on another machine: name the authority of its certificate with ca_file, or say \
                 insecure = true"
            ))),
        }
    }
}

/// Whether a host is this machine, so that nobody else hears what is said.
pub(super) fn is_near(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address = host.parse::<std::net::IpAddr>();
    address.map_or(host == "localhost", |address| address.is_loopback())
}

/// Trusts certificates of the authorities in this file, and no others.
///
/// # Errors
/// [`Error::Input`] where it cannot be read, [`Error::Config`] where it holds no certificates.
#[cfg(any(feature = "mqtt", feature = "postgres", feature = "rabbitmq", feature = "redis"))]
pub(super) fn trusting(path: &std::path::Path) -> Result<rustls::ClientConfig> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let pem = std::fs::read(path).map_err(|source| Error::Input {
        path: path.to_owned(),
        source,
    })?;
    let wrong = |why: &dyn std::fmt::Display| {
        let path = path.display();
        Error::Config(format!("{path} holds no certificates in PEM form: {why}"))
    };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|e| wrong(&e))?;
        roots.add(certificate).map_err(|e| wrong(&e))?;
    }
    if roots.is_empty() {
        return Err(wrong(&"there is none in it"));
    }
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|e| wrong(&e))?.with_root_certificates(roots);
    Ok(config.with_no_client_auth())
}

/// Pauses between tries to reach a server, which double.
#[cfg(any(feature = "mqtt", feature = "postgres", feature = "rabbitmq", feature = "redis"))]
#[derive(Debug, Default)]
pub(super) struct Backoff {
    since: Option<Instant>,
    last: Option<Duration>,
}

#[cfg(any(feature = "mqtt", feature = "postgres", feature = "rabbitmq", feature = "redis"))]
impl Backoff {
    /// The first pause: short, as most failures pass at once.
    const FIRST: Duration = Duration::from_millis(100);
    /// The longest: a server that is back is not left alone for long.
    const LONGEST: Duration = Duration::from_secs(5);
    /// How long a sink tries: longer than a server takes to start again after a crash.
    const RETRY_FOR: Duration = Duration::from_secs(300);

    /// The next pause.
    pub(super) fn pause(&mut self) -> Duration {
        let next = self.last.map_or(Self::FIRST, |last| Self::LONGEST.min(2 * last));
        *self.last.insert(next)
    }

    /// Whether a try has failed.
    pub(super) fn is_failing(&self) -> bool {
        self.last.is_some()
    }

    /// Whether a sink has tried for as long as it may, counted from the first time that it asks.
    pub(super) fn is_spent(&mut self) -> bool {
        self.since.get_or_insert_with(Instant::now).elapsed() >= Self::RETRY_FOR
    }
}

/// Where a feed begins that has no place to go on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// With the oldest that is there.
    #[default]
    Earliest,
    /// With what comes from now on.
    Latest,
}

/// Messages of a Kafka topic.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KafkaFeed {
    /// The brokers.
    pub server: Remote,
    /// The topic.
    pub topic: String,
    /// The consumer group.
    pub group: String,
    /// Where it begins, where neither a checkpoint nor the group says.
    pub start: Start,
    /// Whether more is awaited at the ends of the partitions.
    pub follow: bool,
    /// How processes share its partitions; it has all of them where absent.
    pub share: Option<Sharing>,
}

/// How processes that share the partitions of a feed report windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sharing {
    /// A key has its rows in one partition, so whoever has that reports the windows of the key.
    Keys,
    /// Each partition is reported by itself, with its summary, and a feed of summaries makes the whole.
    Summaries,
}

/// Messages of a RabbitMQ queue.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RabbitmqFeed {
    /// The broker.
    pub server: Remote,
    /// The queue, which has to be there.
    pub queue: String,
    /// Messages that may wait for their acknowledgement.
    pub prefetch: u16,
}

/// Entries of a Redis stream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisFeed {
    /// The server.
    pub server: Remote,
    /// The key of the stream.
    pub stream: String,
    /// The consumer group, which is made where there is none.
    pub group: String,
    /// The field of an entry that holds its rows; `rows` where none is named.
    pub field: Option<String>,
    /// Where the group begins if it is made.
    pub start: Start,
}

/// Messages of MQTT topics.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MqttFeed {
    /// The broker.
    pub server: Remote,
    /// The topics, with wildcards.
    pub topics: Vec<String>,
    /// Who the broker keeps a session for.
    pub client_id: String,
    /// Columns that are levels of the topic, counted from 1.
    pub levels: BTreeMap<String, usize>,
}

/// Rows of a PostgreSQL query that is asked again and again for those behind the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostgresFeed {
    /// The database.
    pub server: Remote,
    /// The query, without an order.
    pub query: String,
    /// A column of it that only increases.
    pub column: String,
    /// From one question to the next, where there was nothing new.
    pub interval: Duration,
}

/// Reports to a Kafka topic.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KafkaSink {
    /// The brokers.
    pub server: Remote,
    /// The topic.
    pub topic: String,
}

/// Reports to a RabbitMQ exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RabbitmqSink {
    /// The broker.
    pub server: Remote,
    /// The exchange; empty is the default one, which leads to the queue that has the name of the routing key.
    pub exchange: String,
    /// The routing key.
    pub routing_key: String,
}

/// Reports to Redis: any of a stream, hashes, and a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisSink {
    /// The server.
    pub server: Remote,
    /// The stream of reports.
    pub stream: Option<String>,
    /// What the names of the hashes begin with, which hold the latest report of each key.
    pub hash: Option<String>,
    /// How long a hash stays that is not written.
    pub ttl: Option<Duration>,
    /// The channel that alerts are published to.
    pub channel: Option<String>,
}

/// The latest report of each key, retained by an MQTT broker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MqttSink {
    /// The broker.
    pub server: Remote,
    /// What the topics of reports begin with: `TOPIC/FEED/KEY`, and `TOPIC/FEED/alerts/NAME/KEY` for alerts.
    pub topic: String,
    /// Who connects.
    pub client_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(any(feature = "mqtt", feature = "postgres", feature = "rabbitmq", feature = "redis"))]
    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut backoff = Backoff::default();
        assert!(!backoff.is_spent());
        let pauses: Vec<u128> = (0..8).map(|_| backoff.pause().as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }

    #[test]
    fn places_show_no_password() {
        for (url, place) in [
            ("amqp://u:se@cret@host:1/v?password=x#y", "host:1/v"),
            ("127.0.0.1:9092,b:1", "127.0.0.1:9092,b:1"),
            ("redis://host", "host"),
            ("host=db user=u password=secret", "(no address)"),
            ("redis://h:6379,password=secret", "(no address)"),
        ] {
            assert_eq!(Remote::new(url).place(), place);
        }
    }

    #[test]
    fn other_machines_need_a_certificate_or_a_word() {
        let near = ["127.0.0.1", "localhost", "[::1]", "127.3.2.1"];
        assert!(Remote::new("x").check_hosts("x", near).is_ok());
        for far in ["192.0.2.1", "localhost.example", "", "::2"] {
            let mut remote = Remote::new("x");
            assert!(remote.check_hosts("x", [near[0], far]).is_err(), "{far}");
            remote.insecure = true;
            assert!(remote.check_hosts("x", [far]).is_ok());
            let authority = Some("ca.pem".into());
            let with_authority = Remote {
                insecure: false,
                ca_file: authority,
                ..remote
            };
            assert!(with_authority.check_hosts("x", [far]).is_ok());
        }
    }

    #[test]
    fn a_password_is_the_first_line_of_its_file() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("password");
        std::fs::write(&path, "se cret \nmore\n").unwrap();
        let remote = Remote {
            password_file: Some(path),
            ..Remote::default()
        };
        assert_eq!(remote.password().unwrap().as_deref(), Some("se cret "));
        let unset = Remote {
            password_env: Some("MILLSTREAM_NO_SUCH_VARIABLE".into()),
            ..Remote::default()
        };
        assert!(
            unset
                .password()
                .unwrap_err()
                .to_string()
                .contains("MILLSTREAM_NO_SUCH_VARIABLE")
        );
        assert_eq!(Remote::new("x").password().unwrap(), None);
    }
}
