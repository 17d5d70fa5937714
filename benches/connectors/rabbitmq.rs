//! A durable queue of RabbitMQ, which is filled for every run.

use crate::bare::{PATIENCE, Tally};
use crate::machine::printed;
use crate::rows::Rows;
use crate::server::{Broker, Server};
use futures_core::Stream;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use std::pin::Pin;
use std::task::Poll;
use tokio::runtime::{Builder, Runtime};

/// Messages that may wait for their acknowledgement, as for a feed that says nothing.
const PREFETCH: u16 = 1000;

/// Messages and bytes that are acknowledged together, as src/io/rabbitmq.rs does.
const TAKEN_TOGETHER: usize = 1024;
const BYTES_TOGETHER: usize = 1 << 20;

/// Messages that wait for the word that the server has them.
const UNCONFIRMED_MAX: usize = 1000;

fn say(error: impl std::fmt::Display) -> String {
    format!("rabbitmq: {error}")
}

pub(crate) struct Queue {
    server: Server,
    runtime: Runtime,
    channel: Channel,
    connection: Connection,
    name: String,
}

impl Queue {
    pub(crate) fn new(server: Server) -> Result<Self, String> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(say)?;
        let (user, password, port) = (server.says("user")?, server.says("password")?, server.port()?);
        let url = format!("amqp://{user}:{password}@127.0.0.1:{port}/%2f");
        let name = Server::own_name();
        let (connection, channel) = runtime
            .block_on(async {
                let connection = Connection::connect(&url, ConnectionProperties::default()).await?;
                let channel = connection.create_channel().await?;
                channel.confirm_select(ConfirmSelectOptions::default()).await?;
                let durable = QueueDeclareOptions {
                    durable: true,
                    ..QueueDeclareOptions::default()
                };
                let declared = channel.queue_declare(name.as_str().into(), durable, FieldTable::default());
                declared.await?;
                Ok::<_, lapin::Error>((connection, channel))
            })
            .map_err(say)?;
        Ok(Self {
            server,
            runtime,
            channel,
            connection,
            name,
        })
    }
}

impl Broker for Queue {
    fn version(&mut self) -> String {
        let version = printed("dpkg-query", &["-W", "-f", "${Version}", "rabbitmq-server"]);
        format!("RabbitMQ {version}")
    }

    fn fill(&mut self, data: &Rows) -> Result<(), String> {
        self.runtime.block_on(async {
            let purged = self
                .channel
                .queue_purge(self.name.as_str().into(), QueuePurgeOptions::default());
            let rest = purged.await.map_err(say)?;
            if rest > 0 {
                eprintln!("  {rest} messages were not acknowledged");
            }
            for messages in data.messages.chunks(UNCONFIRMED_MAX) {
                let mut confirms = Vec::new();
                for message in messages {
                    let persistent = BasicProperties::default().with_delivery_mode(2);
                    let (exchange, key) = (ShortString::default(), self.name.as_str().into());
                    let options = BasicPublishOptions::default();
                    let published = self.channel.basic_publish(exchange, key, options, message, persistent);
                    confirms.push(published.await.map_err(say)?);
                }
                for confirm in confirms {
                    if confirm.await.map_err(say)? != Confirmation::Ack(None) {
                        return Err("rabbitmq: a message was not taken".into());
                    }
                }
            }
            Ok(())
        })
    }

    fn feed(&self) -> String {
        let port = self.server.port().unwrap_or_default();
        let user = self.server.says("user").unwrap_or_default();
        format!(
            "[feed]\nname = \"main\"\ntype = \"rabbitmq\"\nurl = \"amqp://{user}@127.0.0.1:{port}\"\n\
             password_file = {:?}\nqueue = \"{}\"\nprefetch = {PREFETCH}\n",
            self.server.path("password"),
            self.name
        )
    }

    fn consume(&mut self, data: &Rows) -> Result<Tally, String> {
        self.runtime.block_on(async {
            // A channel of its own: it ends with the consumer.
            let channel = self.connection.create_channel().await.map_err(say)?;
            let prefetch = channel.basic_qos(PREFETCH, BasicQosOptions::default());
            prefetch.await.map_err(say)?;
            let (options, table) = (BasicConsumeOptions::default(), FieldTable::default());
            let consumer = channel.basic_consume(self.name.as_str().into(), ShortString::default(), options, table);
            let mut consumer = consumer.await.map_err(say)?;
            let mut tally = Tally::of(data);
            while !tally.is_full() {
                let (mut taken, mut bytes, mut last) = (0, 0, 0);
                let some = std::future::poll_fn(|task| {
                    while taken < TAKEN_TOGETHER && bytes < BYTES_TOGETHER {
                        match Pin::new(&mut consumer).poll_next(task) {
                            Poll::Ready(Some(Ok(delivery))) => {
                                tally.take(delivery.data.len());
                                taken += 1;
                                bytes += delivery.data.len();
                                last = delivery.delivery_tag;
                            }
                            Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(say(error))),
                            Poll::Ready(None) => return Poll::Ready(Err("rabbitmq: the consumer ended".into())),
                            Poll::Pending => break,
                        }
                    }
                    match taken {
                        0 => Poll::Pending,
                        _ => Poll::Ready(Ok(())),
                    }
                });
                let some = tokio::time::timeout(PATIENCE, some).await;
                some.map_err(|_| "rabbitmq gives nothing".to_owned())??;
                let acknowledged = channel.basic_ack(last, BasicAckOptions { multiple: true });
                acknowledged.await.map_err(say)?;
            }
            channel.close(200, ShortString::default()).await.map_err(say)?;
            Ok(tally)
        })
    }

    fn clear(self: Box<Self>) -> Result<(), String> {
        let deleted = self
            .channel
            .queue_delete(self.name.as_str().into(), QueueDeleteOptions::default());
        self.runtime.block_on(deleted).map(drop).map_err(say)
    }
}
