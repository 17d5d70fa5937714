//! What the words of a feed mean.

use super::raw::{OneOrMany, RawFeed};
use super::values::{address, config, page, some_time, without, word};
use super::{Access, FeedConfig, FeedKind};
use crate::error::{Error, Result};
use crate::io::live::{ColumnType, WireFormat};
use std::time::Duration;

/// The types of feeds that there are.
const KINDS: &str = "stdin, file, tcp, udp, http, http_poll, kafka, rabbitmq, redis, mqtt, postgres";

impl RawFeed {
    /// Every option is one that a feed of this type has.
    fn fits_its_type(&self, place: &str) -> Result<()> {
        let kind = self.kind.as_str();
        let of = |kinds: &[&str], is_there: bool| is_there && !kinds.contains(&kind);
        let with_url = ["http_poll", "rabbitmq", "redis", "mqtt", "postgres"];
        let servers = ["kafka", "rabbitmq", "redis", "mqtt", "postgres"];
        let unencrypted = ["tcp", "udp", "http", "kafka", "rabbitmq", "redis", "mqtt", "postgres"];
        let why = format!("a feed of type {kind} has no such option");
        without(
            place,
            &why,
            &[
                ("listen", of(&["tcp", "udp", "http"], self.listen.is_some())),
                ("path", of(&["file"], self.path.is_some())),
                ("follow", of(&["file", "kafka"], self.follow.is_some())),
                ("url", of(&with_url, self.url.is_some())),
                ("interval", of(&["http_poll", "postgres"], self.interval.is_some())),
                ("headers_file", of(&["http_poll"], self.headers_file.is_some())),
                ("tls", of(&["tcp", "http"], self.tls.is_some())),
                ("token_file", of(&["tcp", "http"], self.token_file.is_some())),
                ("token_env", of(&["tcp", "http"], self.token_env.is_some())),
                ("insecure", of(&unencrypted, self.insecure)),
                ("brokers", of(&["kafka"], self.brokers.is_some())),
                ("user", of(&["kafka"], self.user.is_some())),
                ("mechanism", of(&["kafka"], self.mechanism.is_some())),
                ("password_file", of(&servers, self.password_file.is_some())),
                ("password_env", of(&servers, self.password_env.is_some())),
                ("ca_file", of(&servers, self.ca_file.is_some())),
                ("topic", of(&["kafka", "mqtt"], self.topic.is_some())),
                ("group", of(&["kafka", "redis"], self.group.is_some())),
                ("start", of(&["kafka", "redis"], self.start.is_some())),
                ("share", of(&["kafka"], self.share.is_some())),
                ("queue", of(&["rabbitmq"], self.queue.is_some())),
                ("prefetch", of(&["rabbitmq"], self.prefetch.is_some())),
                ("stream", of(&["redis"], self.stream.is_some())),
                ("field", of(&["redis"], self.field.is_some())),
                ("client_id", of(&["mqtt"], self.client_id.is_some())),
                ("levels", of(&["mqtt"], !self.levels.is_empty())),
                ("query", of(&["postgres"], self.query.is_some())),
                ("column", of(&["postgres"], self.column.is_some())),
            ],
        )?;
        let is_binary = self.format.as_deref() == Some("binary");
        without(
            place,
            "only format = \"binary\" has it",
            &[("values", self.values.is_some() && !is_binary)],
        )
    }

    pub(super) fn typed(self, single: bool) -> Result<FeedConfig> {
        let name = match (&self.name, single) {
            (Some(name), _) if !name.is_empty() => name.clone(),
            (None, true) => "main".into(),
            _ => {
                return Err(Error::Config(
                    "every one of several feeds needs a name of its own".into(),
                ));
            }
        };
        let what = |option: &str| format!("feed `{name}`: {option}");
        self.fits_its_type(&what(""))?;
        let listen = || match &self.listen {
            Some(text) => address(&what("listen"), text),
            None => Err(config(
                &what("listen"),
                "a feed of this type needs an address, such as 127.0.0.1:7400",
            )),
        };
        let kind = match self.kind.as_str() {
            "stdin" => FeedKind::Stdin,
            "file" => FeedKind::File {
                paths: match self.path.clone().map(OneOrMany::into_vec) {
                    Some(paths) if !paths.is_empty() => paths,
                    _ => return Err(config(&what("path"), "a feed of this type needs the path of a file")),
                },
                follow: self.follow.unwrap_or(false),
            },
            "tcp" => FeedKind::Tcp { listen: listen()? },
            "udp" => FeedKind::Udp { listen: listen()? },
            "http" => FeedKind::Http { listen: listen()? },
            "http_poll" => FeedKind::HttpPoll {
                url: page(&what("url"), self.url.as_deref())?,
                interval: some_time(&what("interval"), self.interval.as_deref(), Duration::from_secs(1))?,
                headers_file: self.headers_file.clone(),
            },
            other => match self.connector(&name)? {
                Some(kind) => kind,
                None => return Err(config(&what("type"), format!("`{other}` is none of {KINDS}"))),
            },
        };
        let formats = [
            ("csv", WireFormat::Csv),
            ("ndjson", WireFormat::Ndjson),
            ("arrow", WireFormat::Arrow),
            ("binary", WireFormat::Binary),
            // The rest of their lines is not read.
            ("summaries", WireFormat::Ndjson),
        ];
        let format = match (&self.format, &kind) {
            (Some(text), _) => Some(word(&what("format"), Some(text.as_str()), &formats, WireFormat::Csv)?),
            // By its extension, which may be one of formats that are read whole.
            (None, FeedKind::File { .. }) => None,
            // What a database gives has types.
            (None, FeedKind::Postgres(_)) => None,
            (None, _) => {
                return Err(config(
                    &what("format"),
                    "name one of csv, ndjson, arrow, binary, summaries",
                ));
            }
        };
        match (&kind, format) {
            (FeedKind::Postgres(_), Some(_)) => {
                return Err(config(
                    &what("format"),
                    "what a database gives has no format: remove it",
                ));
            }
            (FeedKind::Udp { .. }, Some(WireFormat::Csv)) if self.columns.is_none() => {
                return Err(config(
                    &what("columns"),
                    "a datagram has no header: name the columns in their order",
                ));
            }
            (
                FeedKind::Kafka(_) | FeedKind::Rabbitmq(_) | FeedKind::Redis(_) | FeedKind::Mqtt(_),
                Some(WireFormat::Csv),
            ) if self.columns.is_none() => {
                return Err(config(
                    &what("columns"),
                    "a message of csv has no header: name the columns in their order",
                ));
            }
            (FeedKind::Udp { .. }, Some(WireFormat::Arrow)) => {
                return Err(config(
                    &what("format"),
                    "udp takes csv, ndjson or binary, as a datagram is no stream",
                ));
            }
            _ => {}
        }
        if format == Some(WireFormat::Binary) && self.columns.is_none() {
            return Err(config(
                &what("columns"),
                "rows in binary have no header: name the columns in their order",
            ));
        }
        let types = [
            ("f64", ColumnType::F64),
            ("f32", ColumnType::F32),
            ("i64", ColumnType::I64),
            ("text", ColumnType::Text),
        ];
        let of = |(column, text): (&String, &String)| {
            let place = what(&format!("types.{column}"));
            Ok((column.clone(), word(&place, Some(text), &types, ColumnType::F64)?))
        };
        Ok(FeedConfig {
            types: self.types.iter().map(of).collect::<Result<_>>()?,
            values: word(&what("values"), self.values.as_deref(), &types[..3], ColumnType::F64)?,
            access: Access {
                tls: self.tls.map(|tls| (tls.certificate, tls.key)),
                token_file: self.token_file,
                token_env: self.token_env,
                insecure: self.insecure,
            },
            columns: self.columns,
            summaries: self.format.as_deref() == Some("summaries"),
            name,
            kind,
            format,
        })
    }
}
