//! Messages of a Kafka topic: a partition of the topic is a partition of the feed, and an offset a place to go on from.
//!
//! The feed is the one member of its consumer group. Where it goes on is said by the checkpoint, else by the group, else
//! by the configuration. Offsets are committed to the group once a checkpoint has what is before them (without a state,
//! once rows are given), for those who watch the group and for who goes on without the state. What is deleted before it
//! was read is said; a topic that has less than the checkpoint is an error.

pub(crate) mod client;

use super::live::{self, Arrival, Context};
use super::messages::{Messages, together};
use super::remote::{KafkaFeed, Start};
use super::{About, Position, Read, Rows, Source};
use crate::error::{Error, Result};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use client::{Trouble, of_topic};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, Statistics, TopicPartitionList};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of messages that become rows together: thousands of rows, which a core's caches still hold.
const GATHERED_BYTES: usize = 1 << 20;

/// How long the cluster may take to say where partitions begin and end.
const ANSWER: Duration = Duration::from_secs(10);

/// How often it is looked whether a cluster that was away is back, and, without a state, offsets are committed.
const LOOK: Duration = Duration::from_secs(1);

/// Where a partition stands.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// The offset of the next message.
    next: i64,
    /// Rows before it.
    rows: u64,
}

/// What the client tells while it is asked for messages.
struct Hearing {
    trouble: Trouble,
    topic: String,
    start: Start,
    heard: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    /// Where partitions stand that have been read, or are to be.
    places: BTreeMap<i32, Place>,
    /// The partitions that are read, once the group has said so.
    assigned: Option<Vec<i32>>,
    /// Why they cannot be.
    failed: Option<Error>,
}

impl Hearing {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the partitions are that have no place yet: where the group was, else where the feed is to begin.
    fn find(&self, consumer: &BaseConsumer<Self>, partitions: &[i32], places: &mut BTreeMap<i32, Place>) -> Result<()> {
        let unknown: Vec<i32> = partitions.iter().copied().filter(|p| !places.contains_key(p)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let failed = |e: KafkaError| Error::Failed(format!("kafka {}: where to begin: {e}", self.topic));
        let mut asked = TopicPartitionList::new();
        for partition in &unknown {
            asked.add_partition(&self.topic, *partition);
        }
        let committed = consumer.committed_offsets(asked, ANSWER).map_err(failed)?;
        let of_group: BTreeMap<i32, i64> = committed
            .elements()
            .iter()
            .filter_map(|e| Some((e.partition(), e.offset().to_raw().filter(|offset| *offset >= 0)?)))
            .collect();
        // A partition that came later than the others has been missed from its beginning.
        let is_first = places.is_empty() && of_group.is_empty();
        for partition in unknown {
            let next = match of_group.get(&partition) {
                Some(next) => *next,
                None => {
                    let ends = consumer
                        .fetch_watermarks(&self.topic, partition, ANSWER)
                        .map_err(failed)?;
                    if is_first && self.start == Start::Latest {
                        ends.1
                    } else {
                        ends.0
                    }
                }
            };
            places.insert(partition, Place { next, rows: 0 });
        }
        Ok(())
    }

    fn assign(&self, consumer: &BaseConsumer<Self>, list: &mut TopicPartitionList) -> Result<()> {
        let mut partitions: Vec<i32> = list.elements().iter().map(|e| e.partition()).collect();
        partitions.sort_unstable();
        let mut places = self.heard().places.clone();
        self.find(consumer, &partitions, &mut places)?;
        let failed = |e: KafkaError| Error::Failed(format!("kafka {}: the group's assignment: {e}", self.topic));
        for partition in &partitions {
            let next = places
                .get(partition)
                .map_or(Offset::Beginning, |place| Offset::Offset(place.next));
            list.set_partition_offset(&self.topic, *partition, next)
                .map_err(failed)?;
        }
        consumer.assign(list).map_err(failed)?;
        let mut heard = self.heard();
        (heard.places, heard.assigned) = (places, Some(partitions));
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
        if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            if let Err(error) = self.assign(consumer, list) {
                self.heard().failed = Some(error);
            }
        } else {
            // What is read again later goes on where it stands.
            let _ = consumer.unassign();
            self.heard().assigned = None;
        }
    }
}

/// A partition whose messages are decoded.
#[derive(Debug)]
struct Partition {
    messages: Messages,
    /// The first of those that have been taken and not given.
    first: Option<i64>,
    arrival: Arrival,
}

/// The messages of a topic.
pub struct KafkaSource {
    context: Context,
    feed: KafkaFeed,
    name: String,
    consumer: BaseConsumer<Hearing>,
    /// How many partitions the topic has.
    partitions: usize,
    decoding: BTreeMap<i32, Partition>,
    ready: VecDeque<(Rows, Position)>,
    /// Offsets to commit.
    commits: BTreeMap<i32, i64>,
    /// Whether a checkpoint says what may be committed.
    is_kept: bool,
    /// Partitions that have been read to their ends, where nothing more is awaited there.
    ended: Vec<i32>,
    notes: Vec<String>,
    looked: Instant,
}

impl std::fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSource")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

fn consumer(
    name: &str,
    context: &str,
    feed: &KafkaFeed,
    places: BTreeMap<i32, Place>,
) -> Result<BaseConsumer<Hearing>> {
    let mut settings = client::settings(name, &feed.server)?;
    settings
        .set("group.id", &feed.group)
        // Who starts again takes the place of who was there before, at once.
        .set("group.instance.id", format!("millstream-{context}"))
        .set("partition.assignment.strategy", "range")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("enable.partition.eof", "true")
        .set("check.crcs", "true")
        // A sink that waits for its server keeps the feed waiting.
        .set("max.poll.interval.ms", "86400000")
        // What waits in memory, for each partition, and how soon there is room for more.
        .set("queued.max.messages.kbytes", "16384")
        .set("fetch.queue.backoff.ms", "5");
    let hearing = Hearing {
        trouble: Trouble::default(),
        topic: feed.topic.clone(),
        start: feed.start,
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
fn partitions(name: &str, feed: &KafkaFeed, consumer: &BaseConsumer<Hearing>) -> Result<Vec<i32>> {
    let trouble = &consumer.context().trouble;
    let metadata = client::topic(name, &feed.server, &feed.topic, consumer.client(), trouble, || {
        let _ = consumer.poll(Duration::ZERO);
    })?;
    let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
    Ok(partitions.map(|partition| partition.id()).collect())
}

/// What messages call a feed's topic.
fn name_of(feed: &KafkaFeed) -> String {
    format!("kafka {}/{}", feed.server.place(), feed.topic)
}

/// Checks that the topic can be read by the group; takes nothing from it.
///
/// # Errors
/// As [`KafkaSource::open`].
pub fn check(context: &str, feed: &KafkaFeed) -> Result<()> {
    let name = name_of(feed);
    let consumer = consumer(&name, context, feed, BTreeMap::new())?;
    let partitions = partitions(&name, feed, &consumer)?;
    let mut asked = TopicPartitionList::new();
    for partition in partitions {
        asked.add_partition(&feed.topic, partition);
    }
    let committed = consumer.committed_offsets(asked, ANSWER);
    committed.map_err(|e| Error::Config(format!("{name}: the group `{}`: {e}", feed.group)))?;
    Ok(())
}

impl KafkaSource {
    /// Joins the group. `positions` say where partitions are gone on with; where `is_kept`, offsets are committed as
    /// [`Source::commit`] says, else as soon as what is before them has been given.
    ///
    /// # Errors
    /// [`Error::Config`] where the brokers cannot be reached, do not let the program in, or have no such topic, or less
    /// of it than the positions say.
    pub fn open(context: &Context, feed: &KafkaFeed, positions: &[Position], is_kept: bool) -> Result<Self> {
        let name = name_of(feed);
        // What is wrong with the wire is said before anybody is asked.
        Messages::new(context, name.as_str(), Vec::new())?;
        let place = |position: &Position| {
            let next = i64::try_from(position.offset_bytes).unwrap_or(i64::MAX);
            (
                position.partition as i32,
                Place {
                    next,
                    rows: position.rows,
                },
            )
        };
        let places: BTreeMap<i32, Place> = positions.iter().map(place).collect();
        let consumer = consumer(&name, &context.name, feed, places.clone())?;
        let partitions = partitions(&name, feed, &consumer)?;
        let mut notes = Vec::new();
        for (partition, place) in places {
            let failed = |e: KafkaError| Error::Config(format!("{name}: partition {partition}: {e}"));
            let (low, high) = consumer
                .fetch_watermarks(&feed.topic, partition, ANSWER)
                .map_err(failed)?;
            if high < place.next {
                return Err(Error::Config(format!(
                    "{name}: partition {partition} has messages up to {high}, and the checkpoint in the state directory was \
                     taken at {}: the topic was made anew since. Begin anew with --discard-state",
                    place.next
                )));
            }
            notes.extend((low > place.next).then(|| deleted(&context.name, partition, place.next, low)));
        }
        consumer
            .subscribe(&[&feed.topic])
            .map_err(|e| client::not_made(&name, &e))?;
        Ok(Self {
            context: context.clone(),
            feed: feed.clone(),
            name,
            consumer,
            partitions: partitions.len(),
            decoding: BTreeMap::new(),
            ready: VecDeque::new(),
            commits: BTreeMap::new(),
            is_kept,
            ended: Vec::new(),
            notes,
            looked: Instant::now(),
        })
    }

    /// Takes what is there, some at a time.
    fn gather(&mut self) -> Result<()> {
        let before = self.consumer.context().heard().assigned.clone();
        let mut gathered = 0;
        let mut wait = live::IDLE_WAIT;
        while gathered < GATHERED_BYTES
            && let Some(polled) = self.consumer.poll(wait)
        {
            wait = Duration::ZERO;
            match polled {
                Ok(message) => {
                    gathered += message.payload_len() + 1;
                    take(
                        &self.context,
                        &self.name,
                        &mut self.decoding,
                        &mut self.notes,
                        &self.consumer,
                        &message,
                    )?;
                }
                Err(KafkaError::PartitionEOF(partition)) => {
                    if !self.feed.follow && !self.ended.contains(&partition) {
                        self.ended.push(partition);
                    }
                }
                Err(error) => self.trouble(&error)?,
            }
        }
        if gathered > 0 {
            self.well();
        }
        self.hand_over()?;
        let (assigned, failed) = {
            let mut heard = self.consumer.context().heard();
            (heard.assigned.clone(), heard.failed.take())
        };
        if let Some(error) = failed {
            return Err(error);
        }
        match assigned {
            Some(assigned) if before.as_ref() != Some(&assigned) => self.begin(&assigned),
            _ => Ok(()),
        }
    }

    /// The group has said which partitions are read: all of them, as nobody else may read some.
    fn begin(&mut self, assigned: &[i32]) -> Result<()> {
        if assigned.len() < self.partitions {
            return Err(Error::Config(format!(
                "{}: the group `{}` has {} of its {} partitions for this feed, as another program is in it: name another group",
                self.name,
                self.feed.group,
                assigned.len(),
                self.partitions
            )));
        }
        self.partitions = assigned.len();
        // A checkpoint is to know where partitions stand of which nothing has come yet.
        let places = self.consumer.context().heard().places.clone();
        for partition in assigned
            .iter()
            .filter(|partition| !self.decoding.contains_key(*partition))
        {
            let place = places.get(partition).copied().unwrap_or_default();
            let nothing = Rows {
                batch: RecordBatch::new_empty(live::settled(&self.context)),
                rejected: Vec::new(),
                unkept: 0,
                bytes_read: 0,
                arrived_ns: None,
            };
            self.ready.push_back((nothing, position(*partition, place)));
        }
        Ok(())
    }

    /// Makes rows of what was gathered.
    fn hand_over(&mut self) -> Result<()> {
        for (number, partition) in &mut self.decoding {
            let Some(first) = partition.first.take() else { continue };
            let rows = together(partition.messages.rows(&[])?)?;
            let mut heard = self.consumer.context().heard();
            let place = heard.places.entry(*number).or_default();
            let mut rows = match rows {
                Some(rows) => rows,
                // Empty messages.
                None => continue,
            };
            let last = place.next - 1;
            for bad in &mut rows.rejected {
                bad.source = format!("{} partition {number}, messages {first} to {last}", self.name);
            }
            partition.arrival.stamp(&mut rows);
            place.rows += rows.count();
            self.ready.push_back((rows, position(*number, *place)));
        }
        Ok(())
    }

    /// Something goes wrong: what may pass is shown and waited for.
    fn trouble(&self, error: &KafkaError) -> Result<()> {
        use RDKafkaErrorCode::{FencedInstanceId, GroupAuthorizationFailed, TopicAuthorizationFailed};
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        let is_fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
        let why = match code {
            FencedInstanceId => Some(format!(
                "another program of this feed's name has taken its place in the group `{}`",
                self.feed.group
            )),
            GroupAuthorizationFailed => Some(format!("the user may not join the group `{}`", self.feed.group)),
            TopicAuthorizationFailed => Some(of_topic(&self.feed.topic, code)),
            _ if is_fatal => Some(error.to_string()),
            _ => None,
        };
        if let Some(why) = why {
            return Err(Error::Failed(format!("{}: {why}", self.name)));
        }
        // One of several brokers may be away: the others have its partitions.
        if code != RDKafkaErrorCode::BrokerTransportFailure {
            let words = self
                .consumer
                .context()
                .trouble
                .words(&self.feed.server, &error.to_string());
            self.context
                .counters
                .failures
                .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            self.context
                .counters
                .set_failure(Some(&format!("{}: {words}", self.name)));
        }
        Ok(())
    }

    fn well(&self) {
        if self.context.counters.failure().is_some() {
            self.context.counters.set_failure(None);
            self.consumer.context().trouble.forget();
        }
    }

    /// What is done now and then: to see whether a cluster is back, and to commit.
    fn look(&mut self) {
        if self.looked.elapsed() < LOOK {
            return;
        }
        self.looked = Instant::now();
        if self.context.counters.failure().is_some()
            && let Ok(metadata) = self
                .consumer
                .fetch_metadata(Some(&self.feed.topic), Duration::from_millis(200))
            && metadata.topics().iter().all(|topic| topic.error().is_none())
        {
            self.well();
        }
        self.commit_now(CommitMode::Async);
    }

    /// Commits what may be. What fails is committed with the next.
    fn commit_now(&mut self, mode: CommitMode) {
        if self.commits.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::new();
        for (partition, next) in &self.commits {
            if list
                .add_partition_offset(&self.feed.topic, *partition, Offset::Offset(*next))
                .is_err()
            {
                return;
            }
        }
        if self.consumer.commit(&list, mode).is_ok() {
            self.commits.clear();
        }
    }
}

/// Takes a message.
fn take(
    context: &Context,
    name: &str,
    decoding: &mut BTreeMap<i32, Partition>,
    notes: &mut Vec<String>,
    consumer: &BaseConsumer<Hearing>,
    message: &BorrowedMessage<'_>,
) -> Result<()> {
    let (number, offset) = (message.partition(), message.offset());
    let mut heard = consumer.context().heard();
    let place = heard.places.entry(number).or_default();
    if offset < place.next {
        let (low, high) = consumer
            .client()
            .fetch_watermarks(message.topic(), number, ANSWER)
            .unwrap_or((0, i64::MAX));
        if high < place.next {
            return Err(Error::Data(format!(
                "{name}: partition {number} begins again at {low}, and was read up to {}: the topic was made anew. Begin anew \
                 with --discard-state",
                place.next
            )));
        }
        // It was taken before.
        return Ok(());
    }
    if offset > place.next {
        // Most gaps are messages that a compaction or a transaction has taken out.
        let low = consumer
            .client()
            .fetch_watermarks(message.topic(), number, ANSWER)
            .map_or(0, |(low, _)| low);
        notes.extend((low > place.next).then(|| deleted(&context.name, number, place.next, low)));
    }
    place.next = offset + 1;
    drop(heard);
    let partition = match decoding.entry(number) {
        std::collections::btree_map::Entry::Occupied(there) => there.into_mut(),
        std::collections::btree_map::Entry::Vacant(room) => room.insert(Partition {
            messages: Messages::new(context, format!("{name} partition {number}"), Vec::new())?,
            first: None,
            arrival: Arrival::default(),
        }),
    };
    partition.first.get_or_insert(offset);
    // One without a payload says that what had its key is gone, which is no row.
    if let Some(payload) = message.payload() {
        partition.messages.push(payload);
    }
    Ok(())
}

fn deleted(feed: &str, partition: i32, from: i64, to: i64) -> String {
    format!(
        "feed `{feed}`: the messages {from} to {} of partition {partition} were deleted before they were read",
        to - 1
    )
}

fn position(partition: i32, place: Place) -> Position {
    Position {
        partition: partition.unsigned_abs(),
        rows: place.rows,
        offset_bytes: place.next.unsigned_abs(),
        generation: 0,
    }
}

impl Source for KafkaSource {
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

    fn partitions(&self) -> Option<Vec<u32>> {
        let heard = self.consumer.context().heard();
        let assigned = heard.assigned.as_ref()?;
        // What was taken is given before a partition ends.
        let is_open = |partition: &&i32| !self.ready.is_empty() || !self.ended.contains(partition);
        Some(
            assigned
                .iter()
                .filter(is_open)
                .map(|partition| partition.unsigned_abs())
                .collect(),
        )
    }

    fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    fn read(&mut self) -> Result<Read> {
        if self.ready.is_empty() && !self.context.stop.is_stopped() {
            self.gather()?;
        }
        self.look();
        if let Some((rows, position)) = self.ready.pop_front() {
            if !self.is_kept {
                self.commits
                    .insert(position.partition as i32, position.offset_bytes as i64);
            }
            return Ok(Read::Batch(rows, position));
        }
        let ended = !self.feed.follow && self.ended.len() >= self.partitions;
        if ended || self.context.stop.is_stopped() {
            self.commit_now(CommitMode::Sync);
            return Ok(Read::End);
        }
        Ok(Read::Idle)
    }

    fn commit(&mut self, upto: &Position) -> Result<()> {
        if self.is_kept {
            self.commits.insert(upto.partition as i32, upto.offset_bytes as i64);
        }
        Ok(())
    }
}
