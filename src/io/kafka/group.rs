//! The consumer of a feed: a member of its group (the one, unless processes share the topic), and where the partitions
//! stand that the group gives it.

use super::ANSWER;
use super::client::{self, Trouble};
use crate::error::Result;
use crate::io::live::Stop;
use crate::io::remote::{KafkaFeed, Start};
use crate::io::shared::Given;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, Statistics, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long what a client has to say is listened to between two tries.
const EVENTS: Duration = Duration::from_millis(50);

/// Where a partition stands.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    /// The offset of the next message.
    pub(super) next: i64,
    /// Rows before it.
    pub(super) rows: u64,
    /// Where processes share it: what is before this was counted by who had it before.
    pub(super) counted: i64,
}

/// What the client tells while it is asked for messages.
pub(super) struct Hearing {
    pub(super) trouble: Trouble,
    pub(super) feed: String,
    pub(super) topic: String,
    pub(super) start: Start,
    follow: bool,
    is_shared: bool,
    stop: Stop,
    heard: Mutex<Heard>,
}

#[derive(Default)]
pub(super) struct Heard {
    /// Where partitions stand that have been read, or are to be.
    pub(super) places: BTreeMap<i32, Place>,
    /// Where partitions end whose ends are awaited.
    pub(super) goals: BTreeMap<i32, i64>,
    /// The partitions that are read, once the group has said so, until it says otherwise.
    pub(super) assigned: Option<Vec<i32>>,
    /// How often it has.
    pub(super) assignments: u64,
    /// Why the last time came to nothing.
    pub(super) failed: Option<String>,
    /// What was committed did not arrive.
    pub(super) uncommitted: bool,
    /// Commits whose answers have come.
    pub(super) answered: u64,
    /// Where processes share the topic: how many partitions it has, those that this one has and nobody else meanwhile,
    /// what is new of that, and whether the group wants them back.
    pub(super) of: i32,
    pub(super) held: Vec<i32>,
    pub(super) given: Option<Given>,
    pub(super) recalled: bool,
    /// What this process has committed of partitions: offset and metadata.
    pub(super) own: BTreeMap<i32, (u64, String)>,
    /// Whether it reads none any more.
    pub(super) is_closing: bool,
    pub(super) notes: Vec<String>,
}

impl Hearing {
    pub(super) fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where partitions are that have no place yet: where the group was, else where the feed is to begin; and where those
    /// end that are read to their ends.
    fn find(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &[i32],
        places: &mut BTreeMap<i32, Place>,
        goals: &mut BTreeMap<i32, i64>,
    ) -> KafkaResult<()> {
        let unknown: Vec<i32> = partitions.iter().copied().filter(|p| !places.contains_key(p)).collect();
        let mut of_group = BTreeMap::new();
        if !unknown.is_empty() {
            let mut asked = TopicPartitionList::new();
            for partition in &unknown {
                asked.add_partition(&self.topic, *partition);
            }
            let committed = consumer.committed_offsets(asked, ANSWER)?;
            for element in committed.elements() {
                element.error()?;
                of_group.extend(element.offset().to_raw().map(|offset| (element.partition(), offset)));
            }
        }
        // A partition that came later than the others has been missed from its beginning.
        let is_first = places.is_empty() && of_group.values().all(|offset| *offset < 0);
        for partition in partitions {
            if places.contains_key(partition) && (self.follow || goals.contains_key(partition)) {
                continue;
            }
            let (low, high) = consumer.fetch_watermarks(&self.topic, *partition, ANSWER)?;
            goals.entry(*partition).or_insert(high);
            // What the group says of a topic that was made anew is of another one.
            let next = of_group
                .get(partition)
                .copied()
                .filter(|next| (low..=high).contains(next));
            let begin = if is_first && self.start == Start::Latest {
                high
            } else {
                low
            };
            places.entry(*partition).or_insert(Place {
                next: next.unwrap_or(begin),
                ..Place::default()
            });
        }
        Ok(())
    }

    /// Reads these partitions from where they stand.
    pub(super) fn assign(&self, consumer: &BaseConsumer<Self>, mut partitions: Vec<i32>) -> KafkaResult<()> {
        partitions.sort_unstable();
        let (mut places, mut goals) = {
            let heard = self.heard();
            (heard.places.clone(), heard.goals.clone())
        };
        let given = match self.is_shared {
            true => Some(self.take_over(consumer, &partitions, &mut places)?),
            false => None,
        };
        self.find(consumer, &partitions, &mut places, &mut goals)?;
        let mut list = TopicPartitionList::new();
        for partition in &partitions {
            let next = places
                .get(partition)
                .map_or(Offset::Beginning, |place| Offset::Offset(place.next));
            list.add_partition_offset(&self.topic, *partition, next)?;
        }
        consumer.assign(&list)?;
        let mut heard = self.heard();
        if let Some(given) = given {
            heard.held.clone_from(&partitions);
            heard.given = Some(given);
        }
        (heard.places, heard.goals, heard.assigned) = (places, goals, Some(partitions));
        heard.assignments += 1;
        Ok(())
    }
}

impl ClientContext for Hearing {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn stats(&self, _: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.trouble.hear(&error, reason);
    }
}

impl ConsumerContext for Hearing {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, what: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let assigns = what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.is_shared && !assigns {
            return self.recall(consumer);
        }
        if !assigns || self.stop.is_stopped() {
            // What is read again later goes on where it stands.
            let _ = consumer.unassign();
            return;
        }
        let partitions = list.elements().iter().map(|element| element.partition()).collect();
        if let Err(error) = self.assign(consumer, partitions) {
            let _ = consumer.unassign();
            self.heard().failed = Some(format!("where to begin: {error}"));
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        let mut heard = self.heard();
        heard.uncommitted |= result.is_err();
        heard.answered += 1;
    }
}

/// What the group calls the one member that a feed of this name is: letters, digits, `.`, `_` and `-`.
pub(super) fn member(context: &str, topic: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '.' || c == '-' {
            c
        } else {
            '_'
        }
    };
    let name: String = format!("millstream-{context}-{topic}").chars().map(plain).collect();
    name.chars().take(MEMBER_CHARS_MAX).collect()
}

/// Characters of the name of a member, as brokers allow.
const MEMBER_CHARS_MAX: usize = 249;

pub(super) fn consumer(
    name: &str,
    context: &str,
    feed: &KafkaFeed,
    places: BTreeMap<i32, Place>,
    stop: &Stop,
) -> Result<BaseConsumer<Hearing>> {
    let mut settings = client::settings(name, &feed.server)?;
    settings
        .set("group.id", &feed.group)
        .set("partition.assignment.strategy", "range")
        .set("enable.auto.commit", "false")
        // Where nothing stands at an offset any more is for the feed to see.
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "true")
        .set("check.crcs", "true")
        // New partitions are seen soon: what comes in them must not be late.
        .set("topic.metadata.refresh.interval.ms", "10000")
        // What waits in memory, and how soon there is room for more.
        .set("queued.max.messages.kbytes", "16384")
        .set("fetch.queue.backoff.ms", "5");
    match feed.share {
        None => settings
            // Who starts again takes the place of who was there before, at once.
            .set("group.instance.id", member(context, &feed.topic))
            // A sink that waits for its server keeps the feed waiting.
            .set("max.poll.interval.ms", "86400000"),
        Some(_) => settings
            // Others take over soon from who is gone, and not from who waits for a sink as long as that may try.
            .set("session.timeout.ms", "10000")
            .set("max.poll.interval.ms", "330000"),
    };
    let hearing = Hearing {
        trouble: Trouble::default(),
        feed: context.to_owned(),
        topic: feed.topic.clone(),
        start: feed.start,
        follow: feed.follow,
        is_shared: feed.share.is_some(),
        stop: stop.clone(),
        heard: Mutex::new(Heard {
            places,
            ..Heard::default()
        }),
    };
    settings
        .create_with_context(hearing)
        .map_err(|e| client::not_made(name, &e))
}

/// The partitions of a topic that has to be there.
pub(super) fn partitions(name: &str, feed: &KafkaFeed, consumer: &BaseConsumer<Hearing>) -> Result<Vec<i32>> {
    let trouble = &consumer.context().trouble;
    let metadata = client::topic(name, &feed.server, &feed.topic, consumer.client(), trouble, || {
        // Events come one by one, and most are words for a log.
        let until = Instant::now() + EVENTS;
        while Instant::now() < until {
            let _ = consumer.poll(EVENTS / 50);
        }
    })?;
    let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
    Ok(partitions.map(|partition| partition.id()).collect())
}
