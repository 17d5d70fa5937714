//! A topic of Kafka, which every run reads from its beginning to its end.

use crate::bare::{PATIENCE, Tally};
use crate::machine::printed;
use crate::rows::Rows;
use crate::server::{Broker, Server};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

fn say(error: impl std::fmt::Display) -> String {
    format!("kafka: {error}")
}

/// A topic of one partition.
pub(crate) struct Topic {
    brokers: String,
    name: String,
    admin: AdminClient<DefaultClientContext>,
    is_filled: bool,
    /// Groups that have read it.
    groups: u32,
}

impl Topic {
    pub(crate) fn new(server: Server) -> Result<Self, String> {
        let (brokers, name) = (format!("127.0.0.1:{}", server.port()?), Server::own_name());
        let admin: AdminClient<_> = config(&brokers).create().map_err(say)?;
        let topic = NewTopic::new(&name, 1, TopicReplication::Fixed(1));
        let made = pollster::block_on(admin.create_topics([&topic], &AdminOptions::new())).map_err(say)?;
        if let Some(Err((name, why))) = made.into_iter().next() {
            return Err(format!("kafka: the topic {name}: {why}"));
        }
        Ok(Self {
            brokers,
            name,
            admin,
            is_filled: false,
            groups: 0,
        })
    }
}

fn config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config
}

impl Broker for Topic {
    fn version(&mut self) -> String {
        let script = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/services"));
        let script = script.unwrap_or_default();
        let version = script.lines().find_map(|line| line.strip_prefix("kafka_version="));
        let java = printed("sh", &["-c", "java -version 2>&1"]);
        let java = java.lines().next().unwrap_or_default().to_owned();
        format!("Apache Kafka {} ({java})", version.unwrap_or_default())
    }

    fn fill(&mut self, data: &Rows) -> Result<(), String> {
        self.groups += 1;
        if self.is_filled {
            return Ok(());
        }
        let mut config = config(&self.brokers);
        config.set("linger.ms", "5").set("queue.buffering.max.kbytes", "262144");
        let producer: ThreadedProducer<_> = config.create().map_err(say)?;
        for message in &data.messages {
            let mut record = BaseRecord::<(), _>::to(&self.name).partition(0).payload(message);
            while let Err((error, again)) = producer.send(record) {
                if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                    return Err(say(error));
                }
                record = again;
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
        producer.flush(PATIENCE).map_err(say)?;
        self.is_filled = true;
        Ok(())
    }

    fn feed(&self) -> String {
        format!(
            "[feed]\nname = \"main\"\ntype = \"kafka\"\nbrokers = \"{}\"\ntopic = \"{}\"\ngroup = \"{}-{}\"\n\
             follow = false\n",
            self.brokers, self.name, self.name, self.groups
        )
    }

    /// Nothing is acknowledged one by one in Kafka: the feed commits an offset now and then, this one none.
    fn consume(&mut self, data: &Rows) -> Result<Tally, String> {
        let mut config = config(&self.brokers);
        // As src/io/kafka/group.rs has them.
        config
            .set("group.id", format!("{}-bare", self.name))
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("check.crcs", "true")
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.queue.backoff.ms", "5");
        let consumer: BaseConsumer = config.create().map_err(say)?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.name, 0, Offset::Beginning)
            .map_err(say)?;
        consumer.assign(&list).map_err(say)?;
        let mut tally = Tally::of(data);
        while !tally.is_full() {
            match consumer.poll(PATIENCE) {
                Some(Ok(message)) => tally.take(message.payload_len()),
                Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(error)) => return Err(say(error)),
                None => return Err("kafka gives nothing".into()),
            }
        }
        Ok(tally)
    }

    fn clear(self: Box<Self>) -> Result<(), String> {
        let gone = pollster::block_on(self.admin.delete_topics(&[&self.name], &AdminOptions::new()));
        gone.map(drop).map_err(say)
    }
}
