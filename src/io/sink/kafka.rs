//! Reports to a Kafka topic: a JSON object a message, with a key of its own for each key of the rows.
//!
//! The producer is idempotent: a message that is sent again after a broker was away is there once. A checkpoint waits until
//! the brokers have everything. After a crash the reports behind the last checkpoint come again, with the same keys and
//! the same window, final and revision in them.

use super::{Feed, Health, Sink, SinkState};
use crate::error::{Error, Result};
use crate::io::kafka::client::{self, Trouble, lost};
use crate::io::remote::KafkaSink;
use crate::report::{Alert, Emission, KeyValue, Named};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, Statistics};
use serde::Serialize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long brokers may be away before that is an error: longer than they take to start again.
const RETRY_FOR_MS: &str = "300000";

/// How long a wait for room, or for the last answer, takes before it is looked what goes wrong.
const WAIT: Duration = Duration::from_millis(100);

/// A wait that is said.
const LONG: Duration = Duration::from_secs(1);

/// What the producer tells while it sends.
#[derive(Debug, Default)]
struct Hearing {
    trouble: Trouble,
    health: Health,
    /// Messages that are on their way.
    waiting: AtomicUsize,
    /// The first message that was not delivered.
    undelivered: Mutex<Option<KafkaError>>,
}

impl ClientContext for Hearing {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn stats(&self, _: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.trouble.hear(&error, reason);
        // Where nothing waits for them, it does not matter yet.
        let is_waiting = self.waiting.load(Ordering::Relaxed) > 0;
        if is_waiting && error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            let last = self.trouble.last();
            self.health
                .set(Some(last.map_or_else(|| reason.to_owned(), |(_, why)| why)));
        }
    }
}

impl ProducerContext for Hearing {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        match result {
            Ok(_) => {
                if self.health.failure().is_some() {
                    self.health.set(None);
                    self.trouble.forget();
                }
            }
            Err((error, _)) => {
                let mut first = self.undelivered.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert(error.clone());
            }
        }
    }
}

/// Sends reports.
pub(super) struct KafkaReports {
    name: String,
    options: KafkaSink,
    producer: ThreadedProducer<Hearing>,
    line: Vec<u8>,
    key: Vec<u8>,
}

/// What tells the reports of one key from others: what a compacted topic keeps the last of.
#[derive(Serialize)]
struct Key<'a> {
    feed: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    alert: Option<&'a str>,
    key: Option<&'a Named<KeyValue>>,
}

/// An alert among reports, as it stands in files.
#[derive(Serialize)]
struct Event<'a> {
    alert: &'a Alert,
}

fn settings(name: &str, options: &KafkaSink) -> Result<ClientConfig> {
    let mut settings = client::settings(name, &options.server)?;
    settings
        .set("enable.idempotence", "true")
        .set("compression.type", "lz4")
        .set("linger.ms", "5")
        // What is too large is for the topic to say.
        .set("message.max.bytes", "100000000")
        .set("queue.buffering.max.kbytes", "65536")
        .set("message.timeout.ms", RETRY_FOR_MS);
    Ok(settings)
}

fn producer(name: &str, options: &KafkaSink) -> Result<ThreadedProducer<Hearing>> {
    let made = settings(name, options)?.create_with_context(Hearing::default());
    let producer: ThreadedProducer<Hearing> = made.map_err(|e| client::not_made(name, &e))?;
    let trouble = &producer.context().trouble;
    client::topic(
        name,
        &options.server,
        &options.topic,
        producer.client(),
        trouble,
        || {
            // Its own thread hears meanwhile.
            std::thread::sleep(WAIT / 2);
        },
    )?;
    Ok(producer)
}

/// Checks that the topic is there; sends nothing.
///
/// # Errors
/// [`Error::Config`] where it is not, or the brokers cannot be reached.
pub(super) fn check(name: &str, options: &KafkaSink) -> Result<()> {
    producer(name, options).map(drop)
}

impl KafkaReports {
    /// Connects.
    pub(super) fn open(name: String, options: &KafkaSink, _: &[Feed], _: Option<&SinkState>) -> Result<Self> {
        Ok(Self {
            producer: producer(&name, options)?,
            name,
            options: options.clone(),
            line: Vec::new(),
            key: Vec::new(),
        })
    }

    fn send(&mut self, key: &Key<'_>, value: &impl Serialize) -> Result<()> {
        let no_form = |e| Error::Failed(format!("{}: a report has no JSON form: {e}", self.name));
        self.line.clear();
        serde_json::to_writer(&mut self.line, value).map_err(no_form)?;
        self.key.clear();
        serde_json::to_writer(&mut self.key, key).map_err(no_form)?;
        let mut record = BaseRecord::to(&self.options.topic).key(&self.key).payload(&self.line);
        let since = Instant::now();
        self.producer.context().waiting.fetch_add(1, Ordering::Relaxed);
        loop {
            record = match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record)) => {
                    // There is room when the brokers have taken something.
                    self.delivered()?;
                    self.wait_for(since);
                    std::thread::sleep(WAIT / 10);
                    record
                }
                Err((error, _)) => return Err(self.failed(&error)),
            };
        }
    }

    fn failed(&self, error: &KafkaError) -> Error {
        let why = match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => format!(
                "a report is larger than the topic takes ({error}): raise max.message.bytes of `{}`, or ask for less",
                self.options.topic
            ),
            Some(RDKafkaErrorCode::MessageTimedOut | RDKafkaErrorCode::Fatal) => {
                let trouble = &self.producer.context().trouble;
                trouble.words(&self.options.server, &error.to_string())
            }
            _ => error.to_string(),
        };
        lost(&self.name, why)
    }

    /// Why a message was not delivered, if one was not.
    fn delivered(&self) -> Result<()> {
        let first = self.producer.context().undelivered.lock();
        let first = first.unwrap_or_else(PoisonError::into_inner).clone();
        first.map_or(Ok(()), |error| Err(self.failed(&error)))
    }

    /// Says what is waited for, where that takes long.
    fn wait_for(&self, since: Instant) {
        let hearing = self.producer.context();
        if since.elapsed() >= LONG && hearing.health.failure().is_none() {
            let otherwise = "the brokers have not taken every report that was sent";
            hearing
                .health
                .set(Some(hearing.trouble.words(&self.options.server, otherwise)));
        }
    }

    /// Waits until the brokers have everything.
    fn settle(&self) -> Result<()> {
        let since = Instant::now();
        while self.producer.in_flight_count() > 0 {
            // That it is not over yet is seen above.
            let _ = self.producer.flush(WAIT);
            self.wait_for(since);
        }
        self.delivered()
    }
}

impl Sink for KafkaReports {
    fn name(&self) -> &str {
        &self.name
    }

    fn health(&self) -> Health {
        self.producer.context().health.clone()
    }

    fn write(&mut self, reports: &[Emission]) -> Result<()> {
        for report in reports {
            let own = report.group.key.as_ref();
            // Parts of one partition stay in their order, so they are in one partition here too.
            let of_part = own.filter(|_| report.share.is_some()).map(|key| {
                let last = key.iter().next_back();
                last.map(|(name, value)| (name.to_owned(), value.clone()))
                    .into_iter()
                    .collect()
            });
            let key = Key {
                feed: &report.feed,
                alert: None,
                key: of_part.as_ref().or(own),
            };
            self.send(&key, report)?;
        }
        Ok(())
    }

    fn alert(&mut self, alert: &Alert) -> Result<()> {
        let key = Key {
            feed: &alert.feed,
            alert: Some(&alert.alert),
            key: alert.key.as_ref(),
        };
        self.send(&key, &Event { alert })
    }

    fn flush(&mut self) -> Result<()> {
        // The client's threads send what waits; what failed is said as soon as it is known.
        self.delivered()
    }

    fn checkpoint(&mut self) -> Result<SinkState> {
        self.settle()?;
        Ok(SinkState::default())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.settle()
    }
}
