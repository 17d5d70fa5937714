//! What goes wrong with the brokers of a feed, and what is committed to its group.

use super::KafkaSource;
use super::client::of_topic;
use crate::error::{Error, Result};
use crate::io::{Position, live};
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::{Offset, TopicPartitionList};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often offsets are committed, and it is looked whether a cluster that was away is back.
const LOOK: Duration = Duration::from_secs(1);

/// How long nothing has to have come for it to be looked whether there is a reason.
const SILENCE: Duration = Duration::from_secs(5);

/// How long the end waits for what is committed then.
const LAST_COMMIT: Duration = Duration::from_millis(500);

impl KafkaSource {
    /// Something goes wrong: what may pass is shown and waited for.
    pub(super) fn trouble(&mut self, error: &KafkaError) -> Result<()> {
        use RDKafkaErrorCode::{
            BadMessage, BrokerTransportFailure, FencedInstanceId, GroupAuthorizationFailed, InconsistentGroupProtocol,
            InvalidSessionTimeout, NotImplemented, TopicAuthorizationFailed,
        };
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        let is_fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
        let group = &self.feed.group;
        let why = match code {
            FencedInstanceId => Some(format!(
                "another program with a feed of this name has taken its place in the group `{group}`"
            )),
            GroupAuthorizationFailed => Some(format!("the user may not join the group `{group}`")),
            InconsistentGroupProtocol => Some(format!(
                "other programs share out the group `{group}` in another way: name another group"
            )),
            TopicAuthorizationFailed => Some(of_topic(&self.feed.topic, code)),
            InvalidSessionTimeout => Some(error.to_string()),
            _ if is_fatal => Some(error.to_string()),
            _ => None,
        };
        if let Some(why) = why {
            return Err(Error::Failed(format!("{}: {why}", self.name)));
        }
        match code {
            BadMessage | NotImplemented => {
                self.context.counters.refused.fetch_add(1, Ordering::Relaxed);
                let feed = &self.context.name;
                self.notes.push(format!(
                    "feed `{feed}`: messages were left out that the broker has damaged, or packed in an unknown way ({error})"
                ));
            }
            // One of several brokers may be away: the others have its partitions.
            BrokerTransportFailure => {}
            _ => {
                let trouble = &self.consumer.context().trouble;
                let words = trouble.words(&self.feed.server, &error.to_string());
                self.fails(&words);
            }
        }
        Ok(())
    }

    pub(super) fn fails(&self, why: &str) {
        let counters = &self.context.counters;
        counters.failures.fetch_add(1, Ordering::Relaxed);
        counters.set_failure(Some(&format!("{}: {why}", self.name)));
    }

    pub(super) fn well(&self) {
        if self.context.counters.failure().is_some() {
            self.context.counters.set_failure(None);
            self.consumer.context().trouble.forget();
        }
    }

    /// What is done now and then: to see why nothing comes, and to commit.
    pub(super) fn look(&mut self) {
        if self.looked.elapsed() < LOOK {
            return;
        }
        self.looked = Instant::now();
        let fails = self.context.counters.failure().is_some();
        if fails || self.heard_of.elapsed() >= SILENCE {
            self.heard_of = Instant::now();
            match self
                .consumer
                .fetch_metadata(Some(&self.feed.topic), Duration::from_millis(200))
            {
                Ok(metadata) => match unwell(&metadata, &self.feed.topic) {
                    Some(why) => self.fails(&why),
                    None => self.well(),
                },
                // The client says itself who is away.
                Err(_) => return,
            }
        }
        self.commit_now();
    }

    /// Commits what may be and has not been. What fails is committed with the next.
    fn commit_now(&mut self) {
        if std::mem::take(&mut self.consumer.context().heard().uncommitted) {
            self.committed.clear();
        }
        let mut list = TopicPartitionList::new();
        for (partition, next) in &self.commits {
            let is_new = self.committed.get(partition) != Some(next);
            if is_new
                && list
                    .add_partition_offset(&self.feed.topic, *partition, Offset::Offset(*next))
                    .is_err()
            {
                return;
            }
        }
        if list.count() > 0 && self.consumer.commit(&list, CommitMode::Async).is_ok() {
            self.commits_sent += 1;
            self.committed.clone_from(&self.commits);
        }
    }

    /// The last commit, which is waited for a little.
    pub(super) fn end(&mut self) {
        if self.context.counters.failure().is_some() {
            return;
        }
        self.commit_now();
        let until = Instant::now() + LAST_COMMIT;
        while self.consumer.context().heard().answered < self.commits_sent && Instant::now() < until {
            // Answers are heard of here; a message that comes is one that is not asked for any more.
            let _ = self.consumer.poll(live::IDLE_WAIT);
        }
    }

    pub(super) fn may_commit(&mut self, upto: &Position) {
        let next = i64::try_from(upto.offset_bytes).unwrap_or(i64::MAX);
        self.commits.insert(upto.partition.cast_signed(), next);
    }
}

/// Why a topic cannot be read just now.
fn unwell(metadata: &Metadata, topic: &str) -> Option<String> {
    let described = metadata.topics().first()?;
    if let Some(error) = described.error() {
        return Some(of_topic(topic, error.into()));
    }
    let leaderless = described.partitions().iter().find(|partition| partition.leader() < 0)?;
    Some(format!("partition {} has no leader", leaderless.id()))
}
