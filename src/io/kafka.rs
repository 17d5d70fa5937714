//! Messages of a Kafka topic: a partition of the topic is a partition of the feed, and an offset a place to go on from.
//!
//! Unless processes share the topic, the feed is the one member of its consumer group. Where it goes on is said by the
//! checkpoint, else by the group, else by the configuration. Offsets are committed to the group once a checkpoint has what
//! is before them (without a state, once rows are given), for those who watch the group and for who goes on without the
//! state. What is deleted before it was read is said; a topic that has less than the checkpoint is an error.

pub(crate) mod client;
mod group;
mod sharing;
mod watching;

use super::live::{self, Arrival, Context, Stop};
use super::messages::{Messages, together};
use super::remote::KafkaFeed;
use super::shared::{Given, SharedPlaces};
use super::{About, Position, Read, Rows, Source};
use crate::error::{Error, Result};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use group::{Hearing, Place, consumer, partitions};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of messages that become rows together: thousands of rows, which a core's caches still hold.
const GATHERED_BYTES: usize = 1 << 20;

/// How long the cluster may take to say where partitions begin and end.
const ANSWER: Duration = Duration::from_secs(10);

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
    /// Let go of in a thread of its own, as it waits for brokers then.
    consumer: Arc<BaseConsumer<Hearing>>,
    /// The partitions of the topic.
    partitions: Vec<i32>,
    /// The assignment that is read.
    assignment: u64,
    decoding: BTreeMap<i32, Partition>,
    ready: VecDeque<(Rows, Position)>,
    /// Offsets that may be committed, and those that have been.
    commits: BTreeMap<i32, i64>,
    committed: BTreeMap<i32, i64>,
    commits_sent: u64,
    /// Where processes share the topic: the assignment for which what came before is forgotten.
    renewed: u64,
    /// Whether a checkpoint says what may be committed.
    is_kept: bool,
    /// Partitions that have been read to their ends, where nothing more is awaited there.
    ended: Vec<i32>,
    notes: Vec<String>,
    looked: Instant,
    /// When something came last, or the reason why nothing does was looked for.
    heard_of: Instant,
}

impl std::fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSource")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
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
    let consumer = consumer(&name, context, feed, BTreeMap::new(), &Stop::default())?;
    let partitions = partitions(&name, feed, &consumer)?;
    let mut asked = TopicPartitionList::new();
    for partition in partitions {
        asked.add_partition(&feed.topic, partition);
    }
    let refused = |e: KafkaError| Error::Config(format!("{name}: the group `{}`: {e}", feed.group));
    let committed = consumer.committed_offsets(asked, ANSWER).map_err(refused)?;
    let elements = committed.elements();
    elements.iter().try_for_each(|element| element.error()).map_err(refused)
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
            let place = Place {
                next,
                rows: position.rows,
                counted: 0,
            };
            (position.partition.cast_signed(), place)
        };
        let mut places: BTreeMap<i32, Place> = positions.iter().map(place).collect();
        let consumer = consumer(&name, &context.name, feed, places.clone(), &context.stop)?;
        let partitions = partitions(&name, feed, &consumer)?;
        let mut notes = Vec::new();
        for (partition, place) in &mut places {
            let failed = |e: KafkaError| Error::Config(format!("{name}: partition {partition}: {e}"));
            let (low, high) = consumer
                .fetch_watermarks(&feed.topic, *partition, ANSWER)
                .map_err(failed)?;
            if high < place.next {
                return Err(Error::Config(made_anew(&name, *partition, high, place.next)));
            }
            if low > place.next {
                notes.push(deleted(&context.name, *partition, place.next, low));
                place.next = low;
            }
        }
        {
            let mut heard = consumer.context().heard();
            (heard.places, heard.of) = (places, partitions.len() as i32);
        }
        consumer
            .subscribe(&[&feed.topic])
            .map_err(|e| client::not_made(&name, &e))?;
        Ok(Self {
            context: context.clone(),
            feed: feed.clone(),
            name,
            consumer: Arc::new(consumer),
            partitions,
            assignment: 0,
            decoding: BTreeMap::new(),
            ready: VecDeque::new(),
            commits: BTreeMap::new(),
            committed: BTreeMap::new(),
            commits_sent: 0,
            renewed: 0,
            is_kept,
            ended: Vec::new(),
            notes,
            looked: Instant::now(),
            heard_of: Instant::now(),
        })
    }

    /// Takes what is there, some at a time.
    fn gather(&mut self) -> Result<()> {
        let consumer = Arc::clone(&self.consumer);
        let mut gathered = 0;
        let mut wait = live::IDLE_WAIT;
        while gathered < GATHERED_BYTES
            && !self.context.stop.is_stopped()
            && let Some(polled) = consumer.poll(wait)
        {
            wait = Duration::ZERO;
            match polled {
                Ok(message) => {
                    gathered += message.payload_len() + 1;
                    self.take(&message)?;
                }
                Err(KafkaError::PartitionEOF(partition)) => self.is_at_end(partition),
                Err(KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset)) => {
                    // Elsewhere, from where there is something; what was polled is given first.
                    self.hand_over()?;
                    self.go_on_elsewhere()?;
                }
                Err(error) => self.trouble(&error)?,
            }
        }
        if gathered > 0 {
            self.heard_of = Instant::now();
            self.well();
        }
        self.hand_over()?;
        let (assignments, failed) = {
            let mut heard = consumer.context().heard();
            (heard.assignments, heard.failed.take())
        };
        if let Some(why) = failed {
            self.fails(&why);
            // The group is asked once more.
            let asked = consumer.subscribe(&[&self.feed.topic]);
            asked.map_err(|e| Error::Failed(format!("{}: {e}", self.name)))?;
        }
        match assignments == self.assignment {
            true => Ok(()),
            false => self.begin(),
        }
    }

    /// Takes a message.
    fn take(&mut self, message: &BorrowedMessage<'_>) -> Result<()> {
        let (number, offset) = (message.partition(), message.offset());
        if self.is_shared() {
            self.part(number, offset)?;
        }
        {
            let mut heard = self.consumer.context().heard();
            let goal = heard.goals.get(&number).copied().unwrap_or(i64::MAX);
            let place = heard.places.entry(number).or_default();
            if offset < place.next {
                // It was taken before.
                return Ok(());
            }
            if !self.feed.follow && offset >= goal {
                drop(heard);
                self.is_at_end(number);
                return Ok(());
            }
            // What lies between was taken out by a compaction or a transaction.
            place.next = offset + 1;
        }
        let partition = match self.decoding.entry(number) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(room) => room.insert(Partition {
                messages: Messages::new(&self.context, format!("{} partition {number}", self.name), Vec::new())?,
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

    fn is_at_end(&mut self, partition: i32) {
        if !self.feed.follow && !self.ended.contains(&partition) {
            self.ended.push(partition);
        }
    }

    /// There is nothing at the offset where a partition was to be read on: it was deleted, or the topic is another one.
    fn go_on_elsewhere(&mut self) -> Result<()> {
        let hearing = self.consumer.context();
        let Some(assigned) = hearing.heard().assigned.clone() else {
            return Ok(());
        };
        for number in &assigned {
            let Ok((low, high)) = self.consumer.fetch_watermarks(&self.feed.topic, *number, ANSWER) else {
                // It comes to the same again.
                continue;
            };
            let mut heard = hearing.heard();
            let place = heard.places.entry(*number).or_default();
            if high < place.next {
                return Err(Error::Data(made_anew(&self.name, *number, high, place.next)));
            }
            if low > place.next {
                self.notes.push(deleted(&self.context.name, *number, place.next, low));
                place.next = low;
            }
        }
        if let Err(error) = hearing.assign(&self.consumer, assigned) {
            hearing.heard().failed = Some(error.to_string());
        }
        Ok(())
    }

    /// The group has said which partitions are read: all of them, as nobody else may read some.
    fn begin(&mut self) -> Result<()> {
        let hearing = self.consumer.context();
        let assigned = hearing.heard().assigned.clone().unwrap_or_default();
        if !self.is_shared() && assigned.len() < self.partitions.len() {
            let members = self.consumer.fetch_group_list(Some(&self.feed.group), ANSWER);
            let members = members.map_or(0, |groups| groups.groups().iter().map(|g| g.members().len()).sum());
            if members != 1 {
                return Err(Error::Config(format!(
                    "{}: the group `{}` has {} of its {} partitions for this feed, as another program is in it: name another \
                     group",
                    self.name,
                    self.feed.group,
                    assigned.len(),
                    self.partitions.len()
                )));
            }
            // Who is alone and was there before is given what it had, though there is more now.
            let taken = hearing.assign(&self.consumer, self.partitions.clone());
            taken.map_err(|e| Error::Failed(format!("{}: {e}", self.name)))?;
        }
        let heard = hearing.heard();
        self.assignment = heard.assignments;
        if let Some(assigned) = &heard.assigned {
            self.partitions.clone_from(assigned);
        }
        // A checkpoint is to know where partitions stand of which nothing has come yet.
        let is_shared = self.feed.share.is_some();
        let unread = self.partitions.iter().filter(|p| !self.decoding.contains_key(*p));
        for partition in unread.filter(|_| !is_shared) {
            let place = heard.places.get(partition).copied().unwrap_or_default();
            self.ready
                .push_back((no_rows(&self.context), position(*partition, place)));
        }
        Ok(())
    }

    /// Makes rows of what was gathered.
    fn hand_over(&mut self) -> Result<()> {
        for (number, partition) in &mut self.decoding {
            let Some(first) = partition.first.take() else { continue };
            // Messages may have held none.
            let rows = together(partition.messages.rows(&[])?)?;
            let mut rows = rows.unwrap_or_else(|| no_rows(&self.context));
            let mut heard = self.consumer.context().heard();
            let place = heard.places.entry(*number).or_default();
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
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        self.consumer.context().heard().is_closing = true;
        let consumer = Arc::clone(&self.consumer);
        // It is the last to have it, once this has gone; where there is no thread, the run waits.
        let _ = std::thread::Builder::new().name("kafka-end".into()).spawn(move || {
            while Arc::strong_count(&consumer) > 1 {
                std::thread::sleep(live::IDLE_WAIT);
            }
        });
    }
}

fn deleted(feed: &str, partition: i32, from: i64, to: i64) -> String {
    format!(
        "feed `{feed}`: the messages {from} to {} of partition {partition} were deleted before they were read",
        to - 1
    )
}

fn made_anew(name: &str, partition: i32, high: i64, next: i64) -> String {
    format!(
        "{name}: partition {partition} has messages up to {high}, and was read up to {next}: the topic was made anew since. \
         Begin anew with --discard-state"
    )
}

/// A place without rows.
fn no_rows(context: &Context) -> Rows {
    Rows {
        batch: RecordBatch::new_empty(live::settled(context)),
        rejected: Vec::new(),
        unkept: 0,
        bytes_read: 0,
        arrived_ns: None,
    }
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
        let open = assigned.iter().filter(is_open);
        Some(open.map(|partition| partition.unsigned_abs()).collect())
    }

    fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    fn read(&mut self) -> Result<Read> {
        let is_recalled = self.is_recalled();
        if self.ready.is_empty() && !self.context.stop.is_stopped() && !is_recalled {
            self.gather()?;
        }
        self.look();
        if self.consumer.context().heard().given.is_some() {
            // That is said before the rows.
            return Ok(Read::Idle);
        }
        if let Some((rows, position)) = self.ready.pop_front() {
            if !self.is_kept && !self.is_shared() {
                self.may_commit(&position);
            }
            return Ok(Read::Batch(rows, position));
        }
        let ended = !self.feed.follow && self.assignment > 0 && self.partitions.iter().all(|p| self.ended.contains(p));
        let has_some = !self.is_shared() || self.consumer.context().heard().assigned.is_some();
        if (ended && has_some && !is_recalled) || self.context.stop.is_stopped() {
            self.end();
            return Ok(Read::End);
        }
        Ok(Read::Idle)
    }

    fn commit(&mut self, upto: &Position) -> Result<()> {
        if self.is_kept {
            self.may_commit(upto);
        }
        Ok(())
    }

    fn is_shared(&self) -> bool {
        self.feed.share.is_some()
    }

    fn given(&mut self) -> Option<Given> {
        self.take_given()
    }

    fn is_recalled(&self) -> bool {
        self.ready.is_empty() && self.consumer.context().heard().recalled
    }

    fn commit_shared(&mut self, places: &SharedPlaces) {
        self.commit_places(places);
    }

    fn let_go(&mut self, places: &SharedPlaces, is_last: bool) {
        self.give_back(places, is_last);
    }
}
