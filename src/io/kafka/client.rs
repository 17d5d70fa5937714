//! Clients of Kafka: their settings, and what goes wrong with them in words.

use crate::error::{Error, Result};
use crate::io::remote::Remote;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::{ClientConfig, Statistics};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a cluster may take to say what it has, when a run begins.
pub(crate) const FIRST_ANSWER: Duration = Duration::from_secs(10);

/// How long one of these tries takes: what went wrong with it is looked at in between.
const TRY: Duration = Duration::from_secs(1);

/// What a client hears beside answers.
#[derive(Debug, Default)]
pub(crate) struct Trouble(Mutex<Heard>);

#[derive(Debug, Default)]
struct Heard {
    /// The last thing that went wrong.
    last: Option<(RDKafkaErrorCode, String)>,
    /// Whether no broker is left.
    all_down: bool,
}

impl Trouble {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What goes wrong, as the client says it.
    pub(crate) fn last(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.heard().last.clone()
    }

    /// Whether nobody can be asked, or nobody lets the program in.
    fn is_refused(&self) -> bool {
        let heard = self.heard();
        let refuses = |(code, _): &(RDKafkaErrorCode, String)| {
            [RDKafkaErrorCode::Authentication, RDKafkaErrorCode::SSL].contains(code)
        };
        heard.all_down || heard.last.as_ref().is_some_and(refuses)
    }

    pub(crate) fn hear(&self, error: &KafkaError, reason: &str) {
        use RDKafkaErrorCode::{AllBrokersDown, AutoOffsetReset, PartitionEOF};
        let Some(code) = error.rdkafka_error_code() else { return };
        // These are no trouble with brokers.
        if [AutoOffsetReset, PartitionEOF].contains(&code) {
            return;
        }
        let mut heard = self.heard();
        heard.all_down |= code == AllBrokersDown;
        // That no broker is left says less than why the last one went.
        if code != AllBrokersDown || heard.last.is_none() {
            heard.last = Some((code, reason.to_owned()));
        }
    }

    pub(crate) fn forget(&self) {
        *self.heard() = Heard::default();
    }

    /// In words.
    pub(crate) fn words(&self, server: &Remote, otherwise: &str) -> String {
        match self.last() {
            Some((code, reason)) => words(server, code, &reason),
            None => otherwise.to_owned(),
        }
    }
}

/// What a code means for who runs the program.
fn words(server: &Remote, code: RDKafkaErrorCode, reason: &str) -> String {
    use RDKafkaErrorCode::{Authentication, SSL, SaslAuthenticationFailed};
    match code {
        Authentication | SaslAuthenticationFailed => {
            let user = server.user.as_deref().unwrap_or_default();
            format!(
                "the broker does not let in `{user}` with this password: see user, password_file and mechanism ({reason})"
            )
        }
        SSL => format!("the broker's certificate is not trusted: see ca_file ({reason})"),
        _ => reason.to_owned(),
    }
}

/// What a producer hears.
impl ClientContext for Trouble {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn stats(&self, _: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.hear(&error, reason);
    }
}

/// The settings of any client.
///
/// # Errors
/// [`Error::Config`] for brokers on other machines without encryption, a user without a password and the other way round;
/// [`Error::Input`] for files that cannot be read.
pub(crate) fn settings(name: &str, server: &Remote) -> Result<ClientConfig> {
    let wrong = |why: &str| Err(Error::Config(format!("{name}: {why}")));
    if server.url.contains(['@', '/']) {
        return wrong("brokers are HOST:PORT, several with commas between them; who asks stands in user");
    }
    let host = |broker: &str| {
        broker
            .trim()
            .rsplit_once(':')
            .map_or(broker.trim(), |(host, _)| host)
            .to_owned()
    };
    let hosts: Vec<String> = server.url.split(',').map(host).collect();
    server.check_hosts(name, hosts.iter().map(String::as_str))?;
    let password = server.password()?;
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &server.url)
        .set("client.id", "millstream")
        .set("allow.auto.create.topics", "false")
        .set("reconnect.backoff.ms", "100")
        .set("reconnect.backoff.max.ms", "5000")
        .set("socket.keepalive.enable", "true");
    let protocol = match (&server.ca_file, &server.user) {
        (None, None) => "plaintext",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), None) => "ssl",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    config.set("security.protocol", protocol);
    if let Some(path) = &server.ca_file {
        let read = std::fs::File::open(path);
        read.map_err(|source| Error::Input {
            path: path.clone(),
            source,
        })?;
        let Some(text) = path.to_str() else {
            return wrong("the name of ca_file is no text");
        };
        config.set("ssl.ca.location", text);
    }
    match (&server.user, password) {
        (Some(user), Some(password)) => {
            let mechanism = server.mechanism.as_deref().unwrap_or("PLAIN");
            config
                .set("sasl.mechanism", mechanism)
                .set("sasl.username", user)
                .set("sasl.password", password);
        }
        (Some(_), None) => return wrong("user needs a password: name password_file or password_env"),
        (None, Some(_)) => return wrong("a password needs a user: name it with user"),
        (None, None) => {}
    }
    Ok(config)
}

/// A client that the library does not make.
pub(crate) fn not_made(name: &str, error: &KafkaError) -> Error {
    Error::Config(format!("{name}: {error}"))
}

/// What the cluster says of a topic, which has to be there. `serve` has the client hear what goes wrong.
///
/// # Errors
/// [`Error::Config`] where the cluster cannot be reached, does not let the program in, or has no such topic.
pub(crate) fn topic<C: ClientContext>(
    name: &str,
    server: &Remote,
    topic: &str,
    client: &Client<C>,
    trouble: &Trouble,
    mut serve: impl FnMut(),
) -> Result<Metadata> {
    let until = Instant::now() + FIRST_ANSWER;
    loop {
        let answer = client.fetch_metadata(Some(topic), TRY);
        serve();
        let why = match answer {
            Ok(metadata) => match metadata.topics().first().and_then(|topic| topic.error()) {
                None => return Ok(metadata),
                Some(error) => {
                    let code = RDKafkaErrorCode::from(error);
                    if code != RDKafkaErrorCode::LeaderNotAvailable {
                        return Err(Error::Config(format!("{name}: {}", of_topic(topic, code))));
                    }
                    format!("the topic `{topic}` has no leader")
                }
            },
            Err(error) => error.to_string(),
        };
        // A broker that refuses does so at once; one that starts, or is far away, may take a moment.
        if trouble.is_refused() || Instant::now() >= until {
            let why = format!("no answer from {}: {why}", server.place());
            return Err(Error::Config(format!("{name}: {}", trouble.words(server, &why))));
        }
    }
}

/// What is wrong with a topic.
pub(crate) fn of_topic(topic: &str, code: RDKafkaErrorCode) -> String {
    use RDKafkaErrorCode::{TopicAuthorizationFailed, UnknownTopic, UnknownTopicOrPartition};
    match code {
        UnknownTopic | UnknownTopicOrPartition => {
            format!("the cluster has no topic `{topic}`: make it, or name another one")
        }
        TopicAuthorizationFailed => format!("the user may not do this with the topic `{topic}`"),
        other => format!("the topic `{topic}`: {other}"),
    }
}

/// An output that failed.
pub(crate) fn lost(name: &str, why: String) -> Error {
    Error::Output {
        path: PathBuf::from(name),
        source: std::io::Error::other(why),
    }
}
