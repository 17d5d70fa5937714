//! Messages to a queue of RabbitMQ, persistent and confirmed, for those who have rows to send.

use super::close;
use super::connecting::{Server, Trouble, answered, short};
use crate::error::{Error, Result};
use crate::io::address::Address;
use crate::io::driver::Driver;
use crate::io::remote::Remote;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, PublisherConfirm};
use std::path::PathBuf;
use std::time::Duration;

/// Bytes that wait for their confirmation: more are waited for.
const WAITING_BYTES_MAX: usize = 1 << 20;

/// How long a server may take to confirm: one that has no room for messages lets publishers wait.
const CONFIRM_TIME: Duration = Duration::from_secs(60);

/// A delivery mode: messages outlive a server that ends.
const PERSISTENT: u8 = 2;

/// Publishes to a queue.
pub(crate) struct Publisher {
    name: String,
    server: Server,
    queue: ShortString,
    connection: Connection,
    channel: Channel,
    waiting: Vec<PublisherConfirm>,
    waiting_bytes: usize,
    // Behind what it serves.
    driver: Driver,
}

impl Publisher {
    /// To this queue of a server, which is made (durable) if it is not there.
    ///
    /// # Errors
    /// [`Error::Usage`] for an address that is none, holds a password, or is to be given one in the clear though it is
    /// on another machine; [`Error::Input`] for a file that cannot be read; [`Error::Output`] where the server does
    /// not let in.
    pub(crate) fn open(name: &str, remote: &Remote, queue: &str) -> Result<Self> {
        let usage = |error: Error| match error {
            Error::Config(why) => Error::Usage(why),
            other => other,
        };
        let of = Address::of(name, &remote.url, ["amqp", "amqps"], "amqp://USER@HOST:PORT/QUEUE").map_err(usage)?;
        let is_open = !of.is_encrypted && remote.check_hosts(name, [of.host.as_str()]).is_ok();
        if !is_open && remote.ca_file.is_none() {
            return Err(Error::Usage(format!(
                "{name}: the connection is to be encrypted: name the authority of the server's certificate with --authorities"
            )));
        }
        let server = Server::new(name, remote).map_err(usage)?;
        let queue = short(name, "the name of a queue", queue).map_err(usage)?;
        let driver = Driver::start(name)?;
        let (connection, channel) = driver
            .wait(reach(&server, &queue))
            .map_err(|trouble| failed(name, &server.words(&trouble)))?;
        Ok(Self {
            name: name.to_owned(),
            server,
            queue,
            connection,
            channel,
            waiting: Vec::new(),
            waiting_bytes: 0,
            driver,
        })
    }

    /// Publishes a message with this name, of at most 255 bytes.
    ///
    /// # Errors
    /// [`Error::Output`] where the server does not take it, or one before it.
    pub(crate) fn publish(&mut self, id: &str, message: &[u8]) -> Result<()> {
        let mandatory = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_message_id(ShortString::try_new(id).unwrap_or_default());
        let (exchange, queue) = (ShortString::default(), self.queue.clone());
        let published = self
            .channel
            .basic_publish(exchange, queue, mandatory, message, properties);
        let published = self.driver.wait(answered("a message", published));
        self.waiting.push(published.map_err(|trouble| self.refused(&trouble))?);
        self.waiting_bytes += message.len();
        match self.waiting_bytes > WAITING_BYTES_MAX {
            true => self.confirm(),
            false => Ok(()),
        }
    }

    /// Waits until the server has everything.
    ///
    /// # Errors
    /// [`Error::Output`] where it has not.
    pub(crate) fn confirm(&mut self) -> Result<()> {
        self.waiting_bytes = 0;
        let waiting = std::mem::take(&mut self.waiting);
        let all = async {
            for confirm in waiting {
                if confirm.await? != Confirmation::Ack(None) {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        let confirmed = self
            .driver
            .wait(async { tokio::time::timeout(CONFIRM_TIME, all).await });
        match confirmed {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(failed(
                &self.name,
                "the server could not keep a message: is the queue gone?",
            )),
            Ok(Err(error)) => Err(self.refused(&Trouble::Client(error))),
            Err(_) => Err(failed(
                &self.name,
                "the server has not confirmed what was published: is there room for it?",
            )),
        }
    }

    fn refused(&self, trouble: &Trouble) -> Error {
        failed(&self.name, &self.server.words(trouble))
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.driver.wait(close(&self.connection));
    }
}

/// Connects, and sees that the queue is there.
async fn reach(server: &Server, queue: &ShortString) -> std::result::Result<(Connection, Channel), Trouble> {
    let declared = async |channel: &Channel, passive: bool| {
        let options = QueueDeclareOptions {
            passive,
            durable: true,
            ..QueueDeclareOptions::default()
        };
        let declared = channel.queue_declare(queue.clone(), options, FieldTable::default());
        answered("a queue", declared).await
    };
    let (connection, mut channel) = server.connect().await?;
    if let Err(trouble) = declared(&channel, true).await {
        if !trouble.is_absent() {
            return Err(trouble);
        }
        // The answer has ended the channel.
        channel = answered("a channel", connection.create_channel()).await?;
        declared(&channel, false).await?;
    }
    answered("confirms", channel.confirm_select(ConfirmSelectOptions::default())).await?;
    Ok((connection, channel))
}

fn failed(name: &str, why: &str) -> Error {
    Error::Output {
        path: PathBuf::from(name),
        source: std::io::Error::other(why.to_owned()),
    }
}
