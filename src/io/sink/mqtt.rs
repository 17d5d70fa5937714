//! The latest report of each key, retained by an MQTT broker: whoever subscribes gets them at once.
//!
//! A report stands at `TOPIC/FEED/KEY`, an alert at `TOPIC/FEED/alerts/NAME/KEY`. Of several reports of a key that wait
//! together, the last is published. Messages are held until the broker has acknowledged them; those of a connection that
//! was lost are published again, which changes nothing where they have arrived.

use super::{Health, Sink, SinkState, lines};
use crate::error::{Error, Result};
use crate::io::driver::Driver;
use crate::io::mqtt::close;
use crate::io::mqtt::connecting::{Link, Server, Session};
use crate::io::remote::{Backoff, MqttSink as Options};
use crate::report::{Alert, Emission, KeyValue, Named};
use rumqttc::{PublishOptions, valid_topic};
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

/// How long a broker may take to acknowledge what was published.
const ACKNOWLEDGE_TIME: Duration = Duration::from_secs(60);

/// Bytes of messages that are held: more are published at once.
const HELD_BYTES_MAX: usize = 1 << 20;

/// A message that is not acknowledged.
struct Message {
    topic: String,
    payload: Vec<u8>,
}

/// Publishes the latest reports.
pub(super) struct MqttSink {
    name: String,
    topic: String,
    client_id: String,
    server: Server,
    link: Option<Link>,
    driver: Driver,
    held: Vec<Message>,
    /// Where the message of a topic is in `held`.
    places: HashMap<String, usize>,
    held_bytes: usize,
    health: Health,
}

impl std::fmt::Debug for MqttSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MqttSink")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

fn server_of(name: &str, options: &Options) -> Result<Server> {
    if !valid_topic(&options.topic) || options.topic.is_empty() {
        return Err(Error::Config(format!("{name}: topic is a name without + and #")));
    }
    Server::new(name, &options.server)
}

impl MqttSink {
    /// Connects.
    pub(super) fn open(name: String, options: &Options) -> Result<Self> {
        let server = server_of(&name, options)?;
        let driver = Driver::start(&name)?;
        let link = server.connect(&driver, &options.client_id, Session::Passing);
        let link = link.map_err(|why| server.refused(&why))?;
        Ok(Self {
            name,
            topic: options.topic.clone(),
            client_id: options.client_id.clone(),
            server,
            link: Some(link),
            driver,
            held: Vec::new(),
            places: HashMap::new(),
            held_bytes: 0,
            health: Health::default(),
        })
    }

    fn hold(&mut self, topic: String, value: &impl serde::Serialize) -> Result<()> {
        let mut payload = Vec::new();
        lines::append_line(&mut payload, value, &self.name)?;
        payload.push(b'\n');
        self.held_bytes += payload.len();
        match self.places.get(&topic) {
            Some(place) => {
                let held = &mut self.held[*place];
                self.held_bytes -= held.payload.len();
                held.payload = payload;
            }
            None => {
                self.places.insert(topic.clone(), self.held.len());
                self.held.push(Message { topic, payload });
            }
        }
        Ok(())
    }

    /// Publishes what is held, as often as it takes.
    fn publish(&mut self) -> Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let mut backoff = Backoff::default();
        while let Err(words) = self.try_to_publish() {
            // Whatever it was, the next try has a connection of its own.
            if let Some(link) = self.link.take() {
                close(&self.driver, link);
            }
            if backoff.is_spent() {
                return Err(Error::Output {
                    path: PathBuf::from(&self.name),
                    source: std::io::Error::other(words),
                });
            }
            self.health.set(Some(words));
            std::thread::sleep(backoff.pause());
        }
        self.health.set(None);
        self.held.clear();
        self.places.clear();
        self.held_bytes = 0;
        Ok(())
    }

    fn try_to_publish(&mut self) -> std::result::Result<(), String> {
        let link = match &mut self.link {
            Some(link) => link,
            None => {
                let link = self.server.connect(&self.driver, &self.client_id, Session::Passing)?;
                self.link.insert(link)
            }
        };
        let all = async {
            let mut notices = Vec::with_capacity(self.held.len());
            for message in &self.held {
                let options = PublishOptions::at_least_once().retained();
                let published =
                    link.client
                        .publish_tracked(message.topic.as_str(), message.payload.as_slice(), options);
                notices.push(published.await.map_err(|e| e.to_string())?);
            }
            for notice in notices {
                notice.wait_completion_async().await.map_err(|e| e.to_string())?;
            }
            Ok(())
        };
        let published = self
            .driver
            .wait(async { tokio::time::timeout(ACKNOWLEDGE_TIME, all).await });
        published.unwrap_or_else(|_| Err("the broker has not acknowledged what was published".into()))
    }

    /// The topic of a report or, with its name, of an alert.
    fn topic_of(&self, feed: &str, alert: Option<&str>, key: Option<&Named<KeyValue>>) -> String {
        let mut topic = format!("{}/{}", self.topic, level(feed));
        if let Some(alert) = alert {
            topic.push_str("/alerts/");
            topic.push_str(&level(alert));
        }
        for (_, value) in key.iter().flat_map(|key| key.iter()) {
            let text = match value {
                KeyValue::Text(text) => level(text),
                // Plain values have a JSON form.
                plain => level(&serde_json::to_string(plain).unwrap_or_default()),
            };
            topic.push('/');
            topic.push_str(&text);
        }
        topic
    }
}

/// Text as one level of a topic: letters, digits, `-`, `_`, `.` and `~` as they are, other bytes as `%2F`.
fn level(text: &str) -> String {
    let mut level = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => level.push(char::from(byte)),
            _ => level.push_str(&format!("%{byte:02X}")),
        }
    }
    level
}

impl Sink for MqttSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn health(&self) -> Health {
        self.health.clone()
    }

    fn write(&mut self, reports: &[Emission]) -> Result<()> {
        for report in reports {
            let topic = self.topic_of(&report.feed, None, report.group.key.as_ref());
            self.hold(topic, report)?;
        }
        match self.held_bytes > HELD_BYTES_MAX {
            true => self.publish(),
            false => Ok(()),
        }
    }

    fn alert(&mut self, alert: &Alert) -> Result<()> {
        let topic = self.topic_of(&alert.feed, Some(&alert.alert), alert.key.as_ref());
        self.hold(topic, &lines::AlertLine { alert })
    }

    fn flush(&mut self) -> Result<()> {
        self.publish()
    }

    fn checkpoint(&mut self) -> Result<SinkState> {
        self.publish()?;
        Ok(SinkState::default())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.publish()
    }
}

impl Drop for MqttSink {
    fn drop(&mut self) {
        if let Some(link) = self.link.take() {
            close(&self.driver, link);
        }
    }
}

/// Checks that the broker can be reached; leaves nothing there.
///
/// # Errors
/// [`Error::Config`] where it cannot.
pub(super) fn check(name: &str, options: &Options) -> Result<()> {
    let server = server_of(name, options)?;
    let driver = Driver::start(name)?;
    // Under another name, so that a run that goes on is not sent away.
    let link = server.connect(&driver, &format!("{}-check", options.client_id), Session::Passing);
    close(&driver, link.map_err(|why| server.refused(&why))?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_one_level() {
        assert_eq!(level("ward-7_a.b~"), "ward-7_a.b~");
        assert_eq!(level("a/b+c#d%e é$"), "a%2Fb%2Bc%23d%25e%20%C3%A9%24");
    }
}
