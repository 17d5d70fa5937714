//! What the words of feeds and sinks mean that are servers which others run.

use super::raw::{OneOrMany, RawFeed, RawSink};
use super::values::{config, some_time, word};
use super::{FeedConfig, FeedKind};
use crate::error::Result;
use crate::io::remote::{
    KafkaFeed, KafkaSink, MqttFeed, MqttSink, PostgresFeed, RabbitmqFeed, RabbitmqSink, RedisFeed, RedisSink, Remote,
    Sharing, Start,
};
use crate::io::sink::SinkOptions;
use std::collections::HashSet;
use std::time::Duration;

/// Messages of a queue that may wait for their acknowledgement: at 100 rows each some 100,000 rows on their way.
const PREFETCH: u16 = 1000;

/// As many as there may be: after a crash they come again, and the journal of a feed knows as many twice by their ids.
const PREFETCH_MAX: u16 = (crate::io::journal::KEYS_MAX / 2) as u16;

/// An address as it looks, by the type of a feed or sink.
fn example(kind: &str) -> &'static str {
    match kind {
        "kafka" => "brokers = \"HOST:PORT\"",
        "rabbitmq" => "url = \"amqp://USER@HOST:PORT/VHOST\"",
        "redis" => "url = \"redis://USER@HOST:PORT/DB\"",
        "mqtt" => "url = \"mqtt://USER@HOST:PORT\"",
        _ => "url = \"postgresql://USER@HOST:PORT/DATABASE\"",
    }
}

/// What has to be there, and not empty.
fn needed(place: &str, kind: &str, option: &str, value: Option<&String>) -> Result<String> {
    match value.filter(|value| !value.is_empty()) {
        Some(value) => Ok(value.clone()),
        None => Err(config(
            &format!("{place}{option}"),
            format!("one of type {kind} needs it"),
        )),
    }
}

/// The address of a server: under another name for Kafka, which has several.
fn address_of(place: &str, kind: &str, url: Option<&String>, brokers: Option<&String>) -> Result<String> {
    let (option, value) = match kind {
        "kafka" => ("brokers", brokers),
        _ => ("url", url),
    };
    let missing = || {
        config(
            &format!("{place}{option}"),
            format!("one of type {kind} needs {}", example(kind)),
        )
    };
    value.filter(|value| !value.is_empty()).cloned().ok_or_else(missing)
}

/// How a broker of Kafka is told the password.
fn mechanism(what: &str, text: Option<&str>) -> Result<Option<String>> {
    let names = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"].map(|name| (name, name));
    let named = text.map(|_| word(what, text, &names, names[0].1)).transpose()?;
    Ok(named.map(str::to_owned))
}

/// No two feeds are members of one group that reads one topic: each would have a part of it.
pub(super) fn apart(feeds: &[FeedConfig]) -> Result<()> {
    let mut groups = HashSet::new();
    for feed in feeds {
        if let FeedKind::Kafka(of) = &feed.kind
            && !groups.insert((&of.server.url, &of.topic, &of.group))
        {
            let why = format!(
                "another feed reads `{}` in the group `{}`: give this one a group of its own",
                of.topic, of.group
            );
            return Err(config(&format!("feed `{}`: group", feed.name), why));
        }
    }
    Ok(())
}

impl RawFeed {
    /// The feed of this name, if it is of a server.
    pub(super) fn connector(&self, name: &str) -> Result<Option<FeedKind>> {
        let place = format!("feed `{name}`: ");
        let kind = self.kind.as_str();
        let what = |option: &str| format!("{place}{option}");
        let need = |option: &str, value: Option<&String>| needed(&place, kind, option, value);
        let server = || -> Result<Remote> {
            Ok(Remote {
                url: address_of(&place, kind, self.url.as_ref(), self.brokers.as_ref())?,
                user: self.user.clone(),
                mechanism: mechanism(&what("mechanism"), self.mechanism.as_deref())?,
                password_file: self.password_file.clone(),
                password_env: self.password_env.clone(),
                ca_file: self.ca_file.clone(),
                insecure: self.insecure,
            })
        };
        let group = || self.group.clone().unwrap_or_else(|| "millstream".into());
        let starts = [("earliest", Start::Earliest), ("latest", Start::Latest)];
        let start = || word(&what("start"), self.start.as_deref(), &starts, Start::default());
        let share = || {
            let ways = [("keys", Some(Sharing::Keys)), ("summaries", Some(Sharing::Summaries))];
            word(&what("share"), self.share.as_deref(), &ways, None)
        };
        let topics = self.topic.clone().map(OneOrMany::into_vec).unwrap_or_default();
        Ok(Some(match kind {
            "kafka" => FeedKind::Kafka(KafkaFeed {
                server: server()?,
                topic: match &topics[..] {
                    [topic] => topic.clone(),
                    _ => return Err(config(&what("topic"), "a feed of type kafka needs one topic")),
                },
                group: group(),
                start: start()?,
                follow: self.follow.unwrap_or(true),
                share: share()?,
            }),
            "rabbitmq" => FeedKind::Rabbitmq(RabbitmqFeed {
                server: server()?,
                queue: need("queue", self.queue.as_ref())?,
                prefetch: match self.prefetch.unwrap_or(PREFETCH) {
                    prefetch @ 1..=PREFETCH_MAX => prefetch,
                    _ => return Err(config(&what("prefetch"), format!("1 to {PREFETCH_MAX}"))),
                },
            }),
            "redis" => FeedKind::Redis(RedisFeed {
                server: server()?,
                stream: need("stream", self.stream.as_ref())?,
                group: group(),
                field: self.field.clone(),
                start: start()?,
            }),
            "mqtt" => FeedKind::Mqtt(MqttFeed {
                server: server()?,
                topics: match topics.is_empty() {
                    true => return Err(config(&what("topic"), "a feed of type mqtt needs at least one topic")),
                    false => topics,
                },
                client_id: self.client_id.clone().unwrap_or_else(|| format!("millstream-{name}")),
                levels: match self.levels.iter().find(|(_, level)| **level == 0) {
                    Some((column, _)) => {
                        return Err(config(
                            &what(&format!("levels.{column}")),
                            "the first level of a topic is 1",
                        ));
                    }
                    None => self.levels.clone(),
                },
            }),
            "postgres" => FeedKind::Postgres(PostgresFeed {
                server: server()?,
                query: need("query", self.query.as_ref())?,
                column: need("column", self.column.as_ref())?,
                interval: some_time(&what("interval"), self.interval.as_deref(), Duration::from_secs(1))?,
            }),
            _ => return Ok(None),
        }))
    }
}

impl RawSink {
    /// The sink, if it is a server.
    pub(super) fn connector(&self, place: &str) -> Result<Option<SinkOptions>> {
        let kind = self.kind.as_str();
        let what = |option: &str| format!("{place}{option}");
        let need = |option: &str, value: Option<&String>| needed(place, kind, option, value);
        let server = || -> Result<Remote> {
            Ok(Remote {
                url: address_of(place, kind, self.url.as_ref(), self.brokers.as_ref())?,
                user: self.user.clone(),
                mechanism: mechanism(&what("mechanism"), self.mechanism.as_deref())?,
                password_file: self.password_file.clone(),
                password_env: self.password_env.clone(),
                ca_file: self.ca_file.clone(),
                insecure: self.insecure,
            })
        };
        Ok(Some(match kind {
            "kafka" => SinkOptions::Kafka(KafkaSink {
                server: server()?,
                topic: need("topic", self.topic.as_ref())?,
            }),
            "rabbitmq" => SinkOptions::Rabbitmq(RabbitmqSink {
                server: server()?,
                exchange: self.exchange.clone().unwrap_or_default(),
                routing_key: need("routing_key", self.routing_key.as_ref())?,
            }),
            "redis" => {
                if self.stream.is_none() && self.hash.is_none() && self.channel.is_none() {
                    let why = "a sink of type redis needs at least one of stream, hash and channel";
                    return Err(config(&what("stream"), why));
                }
                if self.ttl.is_some() && self.hash.is_none() {
                    return Err(config(
                        &what("ttl"),
                        "only hashes have it: remove it, or name them with hash",
                    ));
                }
                let ttl = |text| some_time(&what("ttl"), Some(text), Duration::ZERO);
                SinkOptions::Redis(RedisSink {
                    server: server()?,
                    stream: self.stream.clone(),
                    hash: self.hash.clone(),
                    ttl: self.ttl.as_deref().map(ttl).transpose()?,
                    channel: self.channel.clone(),
                })
            }
            "mqtt" => SinkOptions::Mqtt(MqttSink {
                server: server()?,
                topic: need("topic", self.topic.as_ref())?,
                client_id: self.client_id.clone().unwrap_or_else(|| "millstream-sink".into()),
            }),
            "postgres" => SinkOptions::Postgres(server()?),
            _ => return Ok(None),
        }))
    }
}
