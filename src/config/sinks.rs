//! What the words of a sink mean.

use super::raw::RawSink;
use super::values::{config, without};
use super::{roll_bytes, sink_format};
use crate::error::Result;
use crate::io::sink::{SinkFormat, SinkOptions};

/// The types of sinks that there are.
const KINDS: &str = "stdout, file, sqlite, kafka, rabbitmq, redis, mqtt, postgres";

impl RawSink {
    /// Every option is one that a sink of this type has.
    fn fits_its_type(&self, place: &str) -> Result<()> {
        let kind = self.kind.as_str();
        let of = |kinds: &[&str], is_there: bool| is_there && !kinds.contains(&kind);
        let servers = ["kafka", "rabbitmq", "redis", "mqtt", "postgres"];
        let why = format!("a sink of type {kind} has no such option");
        let options = [
            ("path", of(&["file", "sqlite"], self.path.is_some())),
            ("format", of(&["stdout", "file"], self.format.is_some())),
            ("url", of(&servers[1..], self.url.is_some())),
            ("brokers", of(&["kafka"], self.brokers.is_some())),
            ("user", of(&["kafka"], self.user.is_some())),
            ("mechanism", of(&["kafka"], self.mechanism.is_some())),
            ("password_file", of(&servers, self.password_file.is_some())),
            ("password_env", of(&servers, self.password_env.is_some())),
            ("ca_file", of(&servers, self.ca_file.is_some())),
            ("insecure", of(&servers, self.insecure)),
            ("topic", of(&["kafka", "mqtt"], self.topic.is_some())),
            ("exchange", of(&["rabbitmq"], self.exchange.is_some())),
            ("routing_key", of(&["rabbitmq"], self.routing_key.is_some())),
            ("stream", of(&["redis"], self.stream.is_some())),
            ("hash", of(&["redis"], self.hash.is_some())),
            ("ttl", of(&["redis"], self.ttl.is_some())),
            ("channel", of(&["redis"], self.channel.is_some())),
            ("client_id", of(&["mqtt"], self.client_id.is_some())),
        ];
        without(place, &why, &options)
    }

    /// The one with this number, from 1.
    pub(super) fn typed(self, number: usize) -> Result<SinkOptions> {
        let place = format!("[[sink]] {number}: ");
        let what = |option: &str| format!("{place}{option}");
        let path = || {
            self.path
                .clone()
                .ok_or_else(|| config(&what("path"), "a sink of this type needs a path"))
        };
        let rolls = |format: SinkFormat| {
            let why = "only sinks of type file that write parquet have it";
            without(
                &place,
                why,
                &[("roll", self.roll.is_some() && format != SinkFormat::Parquet)],
            )
        };
        self.fits_its_type(&place)?;
        match self.kind.as_str() {
            "stdout" => {
                rolls(SinkFormat::Ndjson)?;
                let format = self.format.as_deref().map_or(Ok(SinkFormat::Ndjson), str::parse);
                let format = format.map_err(|e| config(&what("format"), e))?;
                if format == SinkFormat::Parquet {
                    let why = "standard output takes ndjson or csv; parquet needs a sink of type file";
                    return Err(config(&what("format"), why));
                }
                Ok(SinkOptions::Stdout { format })
            }
            "file" => {
                let path = path()?;
                let format = sink_format(&path, self.format.as_deref()).map_err(|e| config(&what("format"), e))?;
                rolls(format)?;
                Ok(SinkOptions::File {
                    format,
                    roll_bytes: roll_bytes(self.roll.as_deref()).map_err(|e| config(&what("roll"), e))?,
                    path,
                })
            }
            "sqlite" => {
                rolls(SinkFormat::Ndjson)?;
                Ok(SinkOptions::Sqlite { path: path()? })
            }
            other => match self.connector(&place)? {
                Some(options) => {
                    rolls(SinkFormat::Ndjson)?;
                    Ok(options)
                }
                None => Err(config(&what("type"), format!("`{other}` is none of {KINDS}"))),
            },
        }
    }
}
