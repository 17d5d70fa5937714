//! Reports as messages of RabbitMQ: each the line that a file would have, published persistent and confirmed.
//!
//! Messages are held until the server has confirmed them; those of a connection that was lost are published again, under
//! the same `message_id`, so that whoever consumes them can tell. A message that no queue takes is an error.

use super::{Health, Sink, SinkState, lines};
use crate::error::{Error, Result};
use crate::io::driver::Driver;
use crate::io::rabbitmq::close;
use crate::io::rabbitmq::connecting::{Server, Trouble, answered, short};
use crate::io::remote::{Backoff, RabbitmqSink as Options};
use crate::report::{Alert, Emission, WindowBounds};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ExchangeKind};
use std::path::PathBuf;
use std::time::Duration;

/// How long a server may take to confirm: one that has no room for messages lets publishers wait.
const CONFIRM_TIME: Duration = Duration::from_secs(60);

/// Bytes of messages that are held: more are published at once.
const HELD_BYTES_MAX: usize = 1 << 20;

/// The longest name of a message.
const ID_BYTES_MAX: usize = 255;

/// A delivery mode: messages outlive a server that ends.
const PERSISTENT: u8 = 2;

/// A message that is not confirmed.
struct Message {
    id: String,
    payload: Vec<u8>,
}

/// Where messages go.
#[derive(Debug)]
struct Place {
    server: Server,
    exchange: ShortString,
    routing_key: ShortString,
}

/// A connection, and a channel that confirms.
struct Link {
    connection: Connection,
    channel: Channel,
}

/// Publishes reports.
pub(super) struct RabbitmqSink {
    name: String,
    place: Place,
    // Before the thread that serves it.
    link: Option<Link>,
    driver: Driver,
    held: Vec<Message>,
    held_bytes: usize,
    health: Health,
}

impl std::fmt::Debug for RabbitmqSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RabbitmqSink")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// What becomes of a try.
enum Unpublished {
    /// It may be otherwise in a while.
    Trouble(Trouble),
    /// No queue takes it.
    Unroutable,
}

impl From<Trouble> for Unpublished {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl Place {
    fn new(name: &str, options: &Options) -> Result<Self> {
        Ok(Self {
            server: Server::new(name, &options.server)?,
            exchange: short(name, "exchange", &options.exchange)?,
            routing_key: short(name, "routing_key", &options.routing_key)?,
        })
    }

    /// Connects, and sees that the exchange is there.
    async fn reach(&self) -> std::result::Result<Link, Trouble> {
        let (connection, channel) = self.server.connect().await?;
        // The default exchange is always there, and may not be asked for.
        if !self.exchange.as_str().is_empty() {
            let passive = ExchangeDeclareOptions {
                passive: true,
                ..ExchangeDeclareOptions::default()
            };
            let exchange = self.exchange.clone();
            let declared = channel.exchange_declare(exchange, ExchangeKind::Direct, passive, FieldTable::default());
            answered("an exchange", declared).await?;
        }
        answered("confirms", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(Link { connection, channel })
    }

    fn words(&self, trouble: &Trouble) -> String {
        match trouble.is_absent() {
            true => format!(
                "the server has no exchange `{}` in the virtual host: declare it, or name another one",
                self.exchange
            ),
            false => self.server.words(trouble),
        }
    }

    /// Publishes these, and waits until the server has them.
    async fn publish(&self, channel: &Channel, messages: &[Message]) -> std::result::Result<(), Unpublished> {
        let mandatory = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let mut confirms = Vec::with_capacity(messages.len());
        for message in messages {
            let properties = BasicProperties::default()
                .with_delivery_mode(PERSISTENT)
                .with_content_type("application/x-ndjson".into())
                .with_message_id(ShortString::try_new(message.id.as_str()).unwrap_or_default());
            let (exchange, key) = (self.exchange.clone(), self.routing_key.clone());
            let published = channel.basic_publish(exchange, key, mandatory, &message.payload, properties);
            confirms.push(published.await.map_err(Trouble::Client)?);
        }
        for confirm in confirms {
            match confirm.await.map_err(Trouble::Client)? {
                Confirmation::Ack(None) => {}
                Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => return Err(Unpublished::Unroutable),
                Confirmation::Nack(None) | Confirmation::NotRequested => {
                    let words = "the server could not keep a message";
                    return Err(Trouble::Other(words.into()).into());
                }
            }
        }
        Ok(())
    }
}

impl RabbitmqSink {
    /// Connects.
    pub(super) fn open(name: String, options: &Options) -> Result<Self> {
        let place = Place::new(&name, options)?;
        let driver = Driver::start(&name)?;
        let link = driver
            .wait(place.reach())
            .map_err(|trouble| refused(&name, &place, &trouble))?;
        Ok(Self {
            name,
            place,
            link: Some(link),
            driver,
            held: Vec::new(),
            held_bytes: 0,
            health: Health::default(),
        })
    }

    fn hold(&mut self, id: String, value: &impl serde::Serialize) -> Result<()> {
        let mut payload = Vec::new();
        lines::append_line(&mut payload, value, &self.name)?;
        payload.push(b'\n');
        self.held_bytes += payload.len();
        self.held.push(Message { id, payload });
        Ok(())
    }

    /// Publishes what is held, as often as it takes.
    fn publish(&mut self) -> Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let mut backoff = Backoff::default();
        while let Err(unpublished) = self.try_to_publish() {
            // Whatever it was, the next try has a connection of its own.
            if let Some(link) = self.link.take() {
                self.driver.wait(close(&link.connection));
            }
            let trouble = match unpublished {
                Unpublished::Trouble(trouble) => trouble,
                Unpublished::Unroutable => {
                    return Err(self.lost(format!(
                        "no queue takes what is published to the exchange `{}` with the routing key `{}`: bind one",
                        self.place.exchange, self.place.routing_key
                    )));
                }
            };
            let words = self.place.words(&trouble);
            if trouble.stays() || backoff.is_spent() {
                return Err(self.lost(words));
            }
            self.health.set(Some(words));
            std::thread::sleep(backoff.pause());
        }
        self.health.set(None);
        self.held.clear();
        self.held_bytes = 0;
        Ok(())
    }

    fn try_to_publish(&mut self) -> std::result::Result<(), Unpublished> {
        let link = match &mut self.link {
            Some(link) => link,
            None => self.link.insert(self.driver.wait(self.place.reach())?),
        };
        let published = self.place.publish(&link.channel, &self.held);
        let published = self
            .driver
            .wait(async { tokio::time::timeout(CONFIRM_TIME, published).await });
        published.unwrap_or_else(|_| {
            let words = "the server has not confirmed what was published: is there room for it?";
            Err(Trouble::Other(words.into()).into())
        })
    }

    /// The error where a run cannot go on.
    fn lost(&self, words: String) -> Error {
        Error::Output {
            path: PathBuf::from(&self.name),
            source: std::io::Error::other(words),
        }
    }
}

impl Sink for RabbitmqSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn health(&self) -> Health {
        self.health.clone()
    }

    fn write(&mut self, reports: &[Emission]) -> Result<()> {
        let before = self.held.len();
        for report in reports {
            if let Err(error) = self.hold(report_id(report), report) {
                self.held.truncate(before);
                return Err(error);
            }
        }
        match self.held_bytes > HELD_BYTES_MAX {
            true => self.publish(),
            false => Ok(()),
        }
    }

    fn alert(&mut self, alert: &Alert) -> Result<()> {
        self.hold(alert_id(alert), &lines::AlertLine { alert })
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

impl Drop for RabbitmqSink {
    fn drop(&mut self) {
        if let Some(link) = self.link.take() {
            self.driver.wait(close(&link.connection));
        }
    }
}

/// Checks that the server can be reached and has the exchange; changes nothing there.
///
/// # Errors
/// [`Error::Config`] where it cannot.
pub(super) fn check(name: &str, options: &Options) -> Result<()> {
    let place = Place::new(name, options)?;
    let driver = Driver::start(name)?;
    let link = driver
        .wait(place.reach())
        .map_err(|trouble| refused(name, &place, &trouble))?;
    driver.wait(close(&link.connection));
    Ok(())
}

/// The error where a run cannot begin.
fn refused(name: &str, place: &Place, trouble: &Trouble) -> Error {
    Error::Config(format!("{name}: {}", place.words(trouble)))
}

/// What tells a report from others: feed, window, part, revision and key, as JSON.
fn report_id(report: &Emission) -> String {
    let window = start_of(report.group.window);
    id(&(&*report.feed, window, report.part, report.revision, &report.group.key))
}

/// What tells the beginning or the end of an alert from others.
fn alert_id(alert: &Alert) -> String {
    let (started, ended) = (start_of(alert.started), start_of(alert.ended));
    id(&("alert", &*alert.feed, &*alert.alert, started, ended, &alert.key))
}

fn start_of(window: Option<WindowBounds>) -> Option<String> {
    window.map(|window| window.labels().0)
}

/// A name that is short enough: what is longer goes by its hash.
fn id(parts: &impl serde::Serialize) -> String {
    // Names, numbers and plain values have a JSON form.
    let text = serde_json::to_string(parts).unwrap_or_default();
    match text.len() <= ID_BYTES_MAX {
        true => text,
        false => format!("{:032x}", fnv(text.as_bytes())),
    }
}

/// FNV-1a with 128 bits.
fn fnv(bytes: &[u8]) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes
        .iter()
        .fold(OFFSET, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_messages_are_short_and_their_own() {
        assert_eq!(
            id(&("main", Some("2015"), 0, 1, None::<u8>)),
            "[\"main\",\"2015\",0,1,null]"
        );
        let long = |last: char| id(&("x".repeat(300), last));
        assert_eq!(long('a').len(), 32);
        assert_ne!(long('a'), long('b'));
        // The published value of the empty text, and of `a`.
        assert_eq!(fnv(b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
    }
}
