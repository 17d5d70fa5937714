//! Messages to a topic of Kafka, each until a broker has it.

use super::target::{Sender, failed};
use crate::error::{Error, Result};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a wait for room takes before it is looked again.
const WAIT: Duration = Duration::from_millis(5);

/// What came of messages.
#[derive(Debug, Default)]
struct Fates {
    /// Why the first was not delivered that was not.
    undelivered: Mutex<Option<KafkaError>>,
}

impl ClientContext for Fates {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, _: KafkaError, _: &str) {}
}

impl ProducerContext for Fates {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            let mut first = self.undelivered.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(error.clone());
        }
    }
}

/// Sends messages.
pub(super) struct ToKafka {
    url: String,
    topic: String,
    producer: ThreadedProducer<Fates>,
}

impl ToKafka {
    /// To this topic of the cluster of this broker, for so long in vain.
    pub(super) fn new(broker: &str, topic: &str, retry: Duration) -> Result<Self> {
        let url = format!("kafka://{broker}/{topic}");
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", broker)
            .set("client.id", "millstream-generate")
            .set("allow.auto.create.topics", "false")
            .set("enable.idempotence", "true")
            .set("compression.type", "lz4")
            .set("linger.ms", "5")
            .set("message.timeout.ms", retry.as_millis().max(1).to_string());
        let producer = config.create_with_context(Fates::default());
        let producer = producer.map_err(|e| failed(&url, std::io::Error::other(e)))?;
        Ok(Self {
            url,
            topic: topic.to_owned(),
            producer,
        })
    }

    fn refused(&self, error: &KafkaError) -> Error {
        failed(&self.url, std::io::Error::other(error.clone()))
    }

    fn delivered(&self) -> Result<()> {
        let first = self.producer.context().undelivered.lock();
        let first = first.unwrap_or_else(PoisonError::into_inner).clone();
        first.map_or(Ok(()), |error| Err(self.refused(&error)))
    }
}

impl Sender for ToKafka {
    fn send(&mut self, message: &[u8]) -> Result<()> {
        let mut record = BaseRecord::<(), [u8]>::to(&self.topic).payload(message);
        loop {
            record = match self.producer.send(record) {
                Ok(()) => return self.delivered(),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record)) => {
                    self.delivered()?;
                    super::pace::pause(WAIT);
                    record
                }
                Err((error, _)) => return Err(self.refused(&error)),
            };
        }
    }

    fn finish(self: Box<Self>) -> Result<()> {
        while self.producer.in_flight_count() > 0 {
            // That it is not over yet is seen above.
            let _ = self.producer.flush(Duration::from_millis(100));
        }
        self.delivered()
    }
}
