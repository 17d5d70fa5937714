//! Messages of a RabbitMQ queue.
//!
//! Messages are acknowledged when their rows are durable in the journal of the feed, or without a journal as soon as they
//! are with the engine. What a connection that is lost has not acknowledged comes again; by its `message_id` the journal
//! knows it. With a journal the feed is the only consumer of the queue, so that what another connection of its own has
//! not acknowledged yet comes before what is new.

pub(super) mod connecting;
pub(crate) mod publishing;

use super::acknowledged::{self, GATHERED_BYTES, Halt, Intake, LOOK, Message, Outcome};
use super::driver::Driver;
use super::journal::Journal;
use super::live::{self, Context};
use super::remote::{Backoff, RabbitmqFeed};
use super::{About, Position, Read, Source};
use crate::error::{Error, Result};
use arrow::datatypes::SchemaRef;
use connecting::{Server, Trouble, answered, short};
use futures_core::Stream;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection, Consumer};
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

/// How long a connection is given to end in an orderly way.
const CLOSE_TIME: Duration = Duration::from_millis(200);

/// Messages that are taken together.
const TAKEN_TOGETHER: usize = 1024;

/// The rows that come in messages of a queue.
#[derive(Debug)]
pub struct RabbitmqSource {
    context: Context,
    name: String,
    outcome: Outcome,
}

impl RabbitmqSource {
    /// Connects, and begins to take messages. With a journal rows are on disk before they are acknowledged.
    ///
    /// # Errors
    /// [`Error::Config`] where the server cannot be reached or has no such queue, and for options that make no sense;
    /// [`Error::Input`] for a file that cannot be read; [`Error::Failed`] where the system has no thread left.
    pub fn open(context: &Context, feed: &RabbitmqFeed, journal: Option<Journal>) -> Result<Self> {
        let what = format!("feed `{}`", context.name);
        let name = format!("rabbitmq {} {}", feed.server.place(), feed.queue);
        let place = Place::new(&what, feed)?;
        let driver = Driver::start(&what)?;
        let link = driver.wait(place.reach()).map_err(|trouble| place.refused(&trouble))?;
        let (intake, outcome, failing) = acknowledged::open(context, &name, Vec::new(), journal)?;
        let taking = Taking {
            name: name.clone(),
            place,
            driver,
            intake,
            unwritten: Backoff::default(),
        };
        std::thread::Builder::new()
            .name("millstream-rabbitmq".into())
            .spawn(move || {
                if let Err(error) = taking.run(link) {
                    // Where nobody listens nobody is told.
                    let _ = failing.try_send(error);
                }
            })
            .map_err(|e| Error::Failed(format!("{what}: its thread cannot be started: {e}")))?;
        Ok(Self {
            context: context.clone(),
            name,
            outcome,
        })
    }

    /// Checks that the server can be reached and has the queue; takes nothing from it.
    ///
    /// # Errors
    /// As [`RabbitmqSource::open`].
    pub fn check(name: &str, feed: &RabbitmqFeed) -> Result<()> {
        let place = Place::new(&format!("feed `{name}`"), feed)?;
        let driver = Driver::start(name)?;
        let link = driver.wait(place.reach()).map_err(|trouble| place.refused(&trouble))?;
        driver.wait(close(&link.connection));
        Ok(())
    }
}

impl Source for RabbitmqSource {
    fn schema(&self) -> SchemaRef {
        live::settled(&self.context)
    }

    fn select(&mut self, columns: &[String]) -> Result<()> {
        live::selected(&self.context, columns)
    }

    fn about(&self) -> About {
        About {
            name: self.name.clone(),
            ..About::default()
        }
    }

    fn read(&mut self) -> Result<Read> {
        self.outcome.read()
    }

    fn commit(&mut self, upto: &Position) -> Result<()> {
        self.outcome.commit(upto)
    }
}

/// Ends a connection.
pub(super) async fn close(connection: &Connection) {
    let closed = connection.close(200, ShortString::default());
    // One that does not answer has ended all the same.
    let _ = tokio::time::timeout(CLOSE_TIME, closed).await;
}

/// A queue of a server.
#[derive(Debug)]
struct Place {
    server: Server,
    queue: ShortString,
    prefetch: u16,
}

/// A connection to it.
struct Link {
    connection: Connection,
    channel: Channel,
}

impl Place {
    fn new(what: &str, feed: &RabbitmqFeed) -> Result<Self> {
        Ok(Self {
            server: Server::new(what, &feed.server)?,
            queue: short(what, "queue", &feed.queue)?,
            prefetch: feed.prefetch,
        })
    }

    /// Connects, and sees that the queue is there.
    async fn reach(&self) -> std::result::Result<Link, Trouble> {
        let (connection, channel) = self.server.connect().await?;
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let declared = channel.queue_declare(self.queue.clone(), passive, FieldTable::default());
        answered("a queue", declared).await?;
        Ok(Link { connection, channel })
    }

    fn refused(&self, trouble: &Trouble) -> Error {
        match trouble.is_absent() {
            true => self.server.refused(&Trouble::Other(format!(
                "the server has no queue `{}` in the virtual host: declare it, or name another one",
                self.queue
            ))),
            false => self.server.refused(trouble),
        }
    }

    /// Begins to consume.
    async fn consume(&self, channel: &Channel, is_alone: bool) -> std::result::Result<Consumer, Trouble> {
        let options = BasicConsumeOptions {
            exclusive: is_alone,
            ..BasicConsumeOptions::default()
        };
        answered("prefetch", channel.basic_qos(self.prefetch, BasicQosOptions::default())).await?;
        let consumer = channel.basic_consume(
            self.queue.clone(),
            ShortString::default(),
            options,
            FieldTable::default(),
        );
        answered("a consumer", consumer).await
    }
}

/// Why a connection is not used any more.
enum Over {
    Halt(Halt),
    Trouble(Trouble),
}

impl From<Halt> for Over {
    fn from(halt: Halt) -> Self {
        Self::Halt(halt)
    }
}

impl From<Trouble> for Over {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

/// The one who takes messages.
struct Taking {
    name: String,
    place: Place,
    // Before the journal's end, so that connections are gone when it is.
    driver: Driver,
    intake: Intake<u64>,
    /// Between tries of what the journal did not take: over once something is acknowledged, not with a connection.
    unwritten: Backoff,
}

impl Taking {
    /// Takes messages until it is to end, through as many connections as that takes.
    fn run(mut self, link: Link) -> Result<()> {
        let mut link = Some(link);
        let mut backoff = Backoff::default();
        while !self.intake.is_ending() {
            let reached = match link.take() {
                Some(link) => Ok(link),
                None => self.driver.wait(self.place.reach()),
            };
            let over = match reached {
                Ok(link) => {
                    let over = self.take(&link, &mut backoff);
                    self.driver.wait(close(&link.connection));
                    over
                }
                Err(trouble) => Over::Trouble(trouble),
            };
            let (why, pause) = match over {
                Over::Halt(Halt::Ending) => return Ok(()),
                Over::Halt(Halt::Failed(error)) => return Err(error),
                Over::Halt(Halt::Again(why)) => (why, self.unwritten.pause()),
                Over::Trouble(trouble) => {
                    let why = format!("{}: {}", self.name, self.place.server.words(&trouble));
                    (why, backoff.pause())
                }
            };
            self.intake.failed(&why);
            let until = Instant::now() + pause;
            while !self.intake.is_ending() && Instant::now() < until {
                std::thread::sleep(LOOK.min(pause));
            }
        }
        Ok(())
    }

    /// Takes messages of a connection for as long as it lasts.
    fn take(&mut self, link: &Link, backoff: &mut Backoff) -> Over {
        self.intake.begin();
        let is_alone = self.intake.is_journalled();
        let consumer = self.driver.wait(self.place.consume(&link.channel, is_alone));
        let mut consumer = match consumer {
            Ok(consumer) => consumer,
            Err(trouble) => return trouble.into(),
        };
        if !self.unwritten.is_failing() {
            self.intake.well();
        }
        *backoff = Backoff::default();
        loop {
            if let Err(over) = self.take_some(link, &mut consumer) {
                return over;
            }
            if self.intake.is_ending() {
                return self.end(link);
            }
        }
    }

    /// What was taken before the end becomes durable, and is acknowledged.
    fn end(&mut self, link: &Link) -> Over {
        let until = acknowledged::end_at();
        while self.intake.is_waiting() && Instant::now() < until {
            let Self { driver, intake, .. } = self;
            let told = std::future::poll_fn(|task| intake.poll_told(task));
            // Nothing said in this time is looked at again below.
            let _ = driver.wait(async { tokio::time::timeout(LOOK, told).await });
            if let Err(over) = self.acknowledge(link) {
                return over;
            }
        }
        Halt::Ending.into()
    }

    fn take_some(&mut self, link: &Link, consumer: &mut Consumer) -> std::result::Result<(), Over> {
        let (mut deliveries, mut bytes) = (Vec::new(), 0);
        let mut ended = None;
        let Self { driver, intake, .. } = self;
        let something = std::future::poll_fn(|task| {
            while deliveries.len() < TAKEN_TOGETHER && bytes < GATHERED_BYTES && ended.is_none() {
                match Pin::new(&mut *consumer).poll_next(task) {
                    Poll::Ready(Some(Ok(delivery))) => {
                        bytes += delivery.data.len();
                        deliveries.push(message(delivery));
                    }
                    Poll::Ready(Some(Err(error))) => ended = Some(Trouble::Client(error)),
                    Poll::Ready(None) => {
                        ended = Some(Trouble::Other(
                            "the server has ended the consumer: is the queue gone?".into(),
                        ));
                    }
                    Poll::Pending => break,
                }
            }
            let told = intake.poll_told(task);
            match deliveries.is_empty() && ended.is_none() {
                true => told,
                false => Poll::Ready(()),
            }
        });
        // Nothing in this time is time to look whether it is to end.
        let _ = driver.wait(async { tokio::time::timeout(LOOK, something).await });
        if !self.intake.is_ending() {
            self.intake.take(deliveries)?;
        }
        if let Some(trouble) = ended {
            return Err(trouble.into());
        }
        self.acknowledge(link)
    }

    /// Acknowledges what is done: everything up to the last of it is.
    fn acknowledge(&mut self, link: &Link) -> std::result::Result<(), Over> {
        let Some(&last) = self.intake.done()?.last() else {
            return Ok(());
        };
        let acknowledged = link.channel.basic_ack(last, BasicAckOptions { multiple: true });
        self.driver.wait(answered("an acknowledgement", acknowledged))?;
        if self.unwritten.is_failing() {
            self.unwritten = Backoff::default();
            self.intake.well();
        }
        Ok(())
    }
}

fn message(delivery: Delivery) -> Message<u64> {
    let id = delivery.properties.message_id().as_ref();
    Message {
        ticket: delivery.delivery_tag,
        id: id.map(|id| id.as_str().as_bytes().to_vec()),
        payload: delivery.data,
        labels: Vec::new(),
    }
}
