//! Messages of MQTT topics.
//!
//! The broker keeps a session for the feed, so that what comes while it is away waits. Messages are acknowledged when their
//! rows are durable in the journal of the feed, or without a journal as soon as they are with the engine. What a
//! connection that is lost has not acknowledged comes again; by its user property `message-id` the journal knows it.

pub(super) mod connecting;

use super::acknowledged::{self, GATHERED_BYTES, Halt, Intake, LOOK, Message, Outcome};
use super::driver::Driver;
use super::journal::Journal;
use super::live::{self, Context};
use super::remote::{Backoff, MqttFeed};
use super::{About, Position, Read, Source};
use crate::error::{Error, Result};
use arrow::datatypes::SchemaRef;
use connecting::{ANSWER_TIME, Link, Said, Server, Session};
use rumqttc::{ManualAck, Publish, QoS, RetainForwardRule, SubscribeFilterInput, SubscribeReasonCode, valid_filter};
use std::collections::VecDeque;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

/// How long a connection is given to end in an orderly way.
const CLOSE_TIME: Duration = Duration::from_millis(200);

/// Messages that are taken together.
const TAKEN_TOGETHER: usize = 1024;

/// The user property that tells a message from others.
const MESSAGE_ID: &str = "message-id";

/// The rows that come in messages of topics.
#[derive(Debug)]
pub struct MqttSource {
    context: Context,
    name: String,
    outcome: Outcome,
}

impl MqttSource {
    /// Connects, and begins to take messages. With a journal rows are on disk before they are acknowledged.
    ///
    /// # Errors
    /// [`Error::Config`] where the broker cannot be reached or does not allow the subscription, and for options that make
    /// no sense; [`Error::Input`] for a file that cannot be read; [`Error::Failed`] where the system has no thread left.
    pub fn open(context: &Context, feed: &MqttFeed, journal: Option<Journal>) -> Result<Self> {
        let what = format!("feed `{}`", context.name);
        let name = format!("mqtt {} {}", feed.server.place(), feed.topics.join(","));
        let topics = Topics::new(&what, feed)?;
        let driver = Driver::start(&what)?;
        let reached = topics.reach(&driver, &feed.client_id, Session::Kept);
        let link = reached.map_err(|why| topics.server.refused(&why))?;
        let labels = feed.levels.keys().cloned().collect();
        let (intake, outcome, failing) = acknowledged::open(context, &name, labels, journal)?;
        let taking = Taking {
            name: name.clone(),
            client_id: feed.client_id.clone(),
            topics,
            driver,
            intake,
            unwritten: Backoff::default(),
        };
        std::thread::Builder::new()
            .name("millstream-mqtt".into())
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

    /// Checks that the broker can be reached and allows the subscription; leaves nothing there.
    ///
    /// # Errors
    /// As [`MqttSource::open`].
    pub fn check(name: &str, feed: &MqttFeed) -> Result<()> {
        let topics = Topics::new(&format!("feed `{name}`"), feed)?;
        let driver = Driver::start(name)?;
        // Under another name, so that a run that goes on is not sent away.
        let client_id = format!("{}-check", feed.client_id);
        let reached = topics.reach(&driver, &client_id, Session::Passing);
        let (link, _) = reached.map_err(|why| topics.server.refused(&why))?;
        close(&driver, link);
        Ok(())
    }
}

impl Source for MqttSource {
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

/// Ends a connection, once everything before has been sent.
pub(super) fn close(driver: &Driver, mut link: Link) {
    let ended = async {
        let _ = link.client.disconnect().await;
        while link.said.recv().await.is_some() {}
    };
    // One that does not answer has ended all the same.
    let _ = driver.wait(async { tokio::time::timeout(CLOSE_TIME, ended).await });
}

/// Topics of a broker.
#[derive(Debug)]
struct Topics {
    server: Server,
    filters: Vec<String>,
    /// The levels that are columns, from 0.
    levels: Vec<usize>,
}

/// Messages that came before anybody asked for them.
type Early = VecDeque<Publish>;

impl Topics {
    fn new(what: &str, feed: &MqttFeed) -> Result<Self> {
        if let Some(filter) = feed.topics.iter().find(|filter| !valid_filter(filter)) {
            return Err(Error::Config(format!("{what}: `{filter}` is no topic filter")));
        }
        Ok(Self {
            server: Server::new(what, &feed.server)?,
            filters: feed.topics.clone(),
            levels: feed.levels.values().map(|level| level.saturating_sub(1)).collect(),
        })
    }

    /// Connects and subscribes.
    fn reach(&self, driver: &Driver, client_id: &str, session: Session) -> std::result::Result<(Link, Early), String> {
        let mut link = self.server.connect(driver, client_id, session)?;
        // What is retained was taken when the subscription began.
        let filter = |filter: &String| {
            let input = SubscribeFilterInput::new(filter, QoS::AtLeastOnce);
            input.retain_forward_rule(RetainForwardRule::OnNewSubscribe)
        };
        let mut early = Early::new();
        let subscribed = async {
            let subscribed = link.client.subscribe_many(self.filters.iter().map(filter)).await;
            subscribed.map_err(|e| e.to_string())?;
            loop {
                match link.said.recv().await {
                    Some(Said::Subscribed(ack)) => return Ok(ack),
                    Some(Said::Message(message)) => early.push_back(message),
                    Some(Said::Over(why)) => return Err(why),
                    Some(Said::Connected) => {}
                    None => return Err("the connection is lost".into()),
                }
            }
        };
        let answer = driver.wait(async { tokio::time::timeout(ANSWER_TIME, subscribed).await });
        let ack = answer.map_err(|_| "the broker does not answer a subscription".to_owned())??;
        // With another quality nothing waits for the journal.
        let refused = |(_, code): &(&String, &SubscribeReasonCode)| {
            !matches!(code, SubscribeReasonCode::Success(QoS::AtLeastOnce | QoS::ExactlyOnce))
        };
        match self.filters.iter().zip(&ack.return_codes).find(refused) {
            Some((filter, code)) => Err(format!(
                "the broker does not allow to subscribe to `{filter}` ({code:?})"
            )),
            None => Ok((link, early)),
        }
    }

    fn message(&self, link: &Link, mut publish: Publish) -> Message<Option<ManualAck>> {
        let properties = publish.properties.as_ref();
        let topic = String::from_utf8_lossy(&publish.topic).into_owned();
        let id = properties.and_then(|properties| {
            let mut all = properties.user_properties.iter();
            // Publishers on other topics number theirs for themselves.
            all.find(|(name, _)| name == MESSAGE_ID)
                .map(|(_, id)| [topic.as_bytes(), b"\0", id.as_bytes()].concat())
        });
        let levels: Vec<&str> = topic.split('/').collect();
        let label = |level: &usize| levels.get(*level).copied().unwrap_or_default().to_owned();
        let labels = self.levels.iter().map(label).collect();
        let payload = std::mem::take(&mut publish.payload).to_vec();
        Message {
            ticket: link.client.prepare_ack(&publish),
            id,
            payload,
            labels,
        }
    }
}

/// Why a connection is not used any more.
enum Over {
    Halt(Halt),
    Lost(String),
}

impl From<Halt> for Over {
    fn from(halt: Halt) -> Self {
        Self::Halt(halt)
    }
}

/// The one who takes messages.
struct Taking {
    name: String,
    client_id: String,
    topics: Topics,
    driver: Driver,
    intake: Intake<Option<ManualAck>>,
    /// Between tries of what the journal did not take: over once something is acknowledged, not with a connection.
    unwritten: Backoff,
}

impl Taking {
    /// Takes messages until it is to end, through as many connections as that takes.
    fn run(mut self, first: (Link, Early)) -> Result<()> {
        let mut first = Some(first);
        let mut backoff = Backoff::default();
        while !self.intake.is_ending() {
            let reached = match first.take() {
                Some(reached) => Ok(reached),
                None => self.topics.reach(&self.driver, &self.client_id, Session::Kept),
            };
            let over = match reached {
                Ok((mut link, early)) => {
                    if !self.unwritten.is_failing() {
                        self.intake.well();
                    }
                    backoff = Backoff::default();
                    let over = self.take(&mut link, early);
                    close(&self.driver, link);
                    over
                }
                Err(why) => Over::Lost(why),
            };
            let (why, pause) = match over {
                Over::Halt(Halt::Ending) => return Ok(()),
                Over::Halt(Halt::Failed(error)) => return Err(error),
                Over::Halt(Halt::Again(why)) => (why, self.unwritten.pause()),
                Over::Lost(why) => (format!("{}: {why}", self.name), backoff.pause()),
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
    fn take(&mut self, link: &mut Link, mut early: Early) -> Over {
        self.intake.begin();
        loop {
            if let Err(over) = self.take_some(link, &mut early) {
                return over;
            }
            if self.intake.is_ending() {
                return self.end(link, &mut early);
            }
        }
    }

    /// What was taken before the end becomes durable, and is acknowledged.
    fn end(&mut self, link: &mut Link, early: &mut Early) -> Over {
        let until = acknowledged::end_at();
        while self.intake.is_waiting() && Instant::now() < until {
            let Self { driver, intake, .. } = self;
            let told = std::future::poll_fn(|task| intake.poll_told(task));
            // Nothing said in this time is looked at again below.
            let _ = driver.wait(async { tokio::time::timeout(LOOK, told).await });
            if let Err(over) = self.acknowledge(link, early) {
                return over;
            }
        }
        Halt::Ending.into()
    }

    fn take_some(&mut self, link: &mut Link, early: &mut Early) -> std::result::Result<(), Over> {
        let (mut messages, mut bytes) = (Vec::from(std::mem::take(early)), 0);
        let mut lost = None;
        let Self { driver, intake, .. } = self;
        let something = std::future::poll_fn(|task| {
            while messages.len() < TAKEN_TOGETHER && bytes < GATHERED_BYTES && lost.is_none() {
                match link.said.poll_recv(task) {
                    Poll::Ready(Some(Said::Message(message))) => {
                        bytes += message.payload.len();
                        messages.push(message);
                    }
                    Poll::Ready(Some(Said::Over(why))) => lost = Some(why),
                    Poll::Ready(Some(Said::Connected | Said::Subscribed(_))) => {}
                    Poll::Ready(None) => lost = Some("the connection is lost".into()),
                    Poll::Pending => break,
                }
            }
            let told = intake.poll_told(task);
            match messages.is_empty() && lost.is_none() {
                true => told,
                false => Poll::Ready(()),
            }
        });
        // Nothing in this time is time to look whether it is to end.
        let _ = driver.wait(async { tokio::time::timeout(LOOK, something).await });
        if !self.intake.is_ending() {
            let messages = messages.into_iter().map(|message| self.topics.message(link, message));
            let messages = messages.collect();
            self.intake.take(messages)?;
        }
        if let Some(why) = lost {
            return Err(Over::Lost(why));
        }
        self.acknowledge(link, early)
    }

    /// Acknowledges what is done, in the order in which it came. The client takes acknowledgements only as long as what it
    /// has received is taken from it: `early` is what comes meanwhile.
    fn acknowledge(&mut self, link: &mut Link, early: &mut Early) -> std::result::Result<(), Over> {
        let acks: Vec<ManualAck> = self.intake.done()?.into_iter().flatten().collect();
        if acks.is_empty() {
            return Ok(());
        }
        let Link { client, said } = link;
        let mut all = pin!(async {
            for ack in acks {
                client.manual_ack(ack).await.map_err(|e| e.to_string())?;
            }
            Ok(())
        });
        let all = std::future::poll_fn(|task| {
            loop {
                if let Poll::Ready(sent) = all.as_mut().poll(task) {
                    return Poll::Ready(sent);
                }
                match said.poll_recv(task) {
                    Poll::Ready(Some(Said::Message(message))) => early.push_back(message),
                    Poll::Ready(Some(Said::Over(why))) => return Poll::Ready(Err(why)),
                    Poll::Ready(Some(Said::Connected | Said::Subscribed(_))) => {}
                    Poll::Ready(None) => return Poll::Ready(Err("the connection is lost".into())),
                    Poll::Pending => return Poll::Pending,
                }
            }
        });
        let sent = self.driver.wait(async { tokio::time::timeout(ANSWER_TIME, all).await });
        sent.unwrap_or_else(|_| Err("the broker takes no acknowledgements".into()))
            .map_err(Over::Lost)
    }
}
