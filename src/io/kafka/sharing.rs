//! A topic whose partitions several processes share: what the group gives and wants back, and where partitions stand.
//!
//! The place of a partition is committed to the group, the rest of what there is to know of it as the commit's metadata.
//! When the group wants partitions back, the client waits until what they have given so far is reported and their places
//! are committed; who has them next goes on there. Who is gone without that leaves the places of its last commit.

use super::group::{Heard, Hearing, Place};
use super::{ANSWER, KafkaSource, deleted};
use crate::error::Result;
use crate::io::remote::Start;
use crate::io::shared::{Given, SharedPlace, SharedPlaces};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How often a commit is tried before partitions are given back without it.
const COMMIT_TRIES: u32 = 3;

/// How long the client has to tell the group that this process leaves.
const FAREWELL: Duration = Duration::from_millis(300);

impl Hearing {
    /// The group wants the partitions back.
    pub(super) fn recall(&self, consumer: &BaseConsumer<Self>) {
        let mut heard = self.heard();
        let has_some = heard.assigned.as_ref().is_some_and(|assigned| !assigned.is_empty());
        if has_some && !heard.is_closing && !consumer.assignment_lost() {
            // They are given back once what came of them is reported.
            heard.recalled = true;
            return;
        }
        // Somebody else may have had them by now.
        heard.take_away();
        drop(heard);
        let _ = consumer.unassign();
    }

    /// Finds where partitions stand that this process did not have; the places of the others are known.
    pub(super) fn take_over(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &[i32],
        places: &mut BTreeMap<i32, Place>,
    ) -> KafkaResult<Given> {
        let (held, untold, of, own, assignment) = {
            let heard = self.heard();
            let untold = heard.given.clone().unwrap_or_default();
            (
                heard.held.clone(),
                untold,
                heard.of,
                heard.own.clone(),
                heard.assignments + 1,
            )
        };
        let of = partitions.iter().map(|partition| partition + 1).fold(of, i32::max);
        let mut given = Given {
            assignment,
            partitions: of.unsigned_abs(),
            ..Given::default()
        };
        let mut asked = TopicPartitionList::new();
        (0..of).for_each(|partition| {
            asked.add_partition(&self.topic, partition);
        });
        let committed = consumer.committed_offsets(asked, ANSWER)?;
        let mut of_group = BTreeMap::new();
        for element in committed.elements() {
            element.error()?;
            let offset = element.offset().to_raw().and_then(|offset| u64::try_from(offset).ok());
            if let Some(from) = offset {
                of_group.insert(element.partition(), (from, element.metadata().to_owned()));
            }
        }
        for partition in partitions {
            let number = partition.unsigned_abs();
            // Nobody else has had it where the group has what this process committed last.
            let is_own = of_group.get(partition) == own.get(partition);
            if held.contains(partition) && is_own {
                match untold.places.iter().find(|place| place.partition == number) {
                    Some(place) => given.places.push(place.clone()),
                    None => given.kept.push(number),
                }
                continue;
            }
            let (low, high) = consumer.fetch_watermarks(&self.topic, *partition, ANSWER)?;
            let (low, high) = (low.unsigned_abs(), high.unsigned_abs());
            let known = of_group.get(partition).filter(|(from, _)| *from <= high);
            // One that came later than the others has been missed from its beginning.
            let begin = match (of_group.is_empty(), self.start) {
                (true, Start::Latest) => high,
                _ => low,
            };
            let (from, text) = known.map_or((begin, ""), |(from, text)| (*from, text.as_str()));
            let mut place = SharedPlace::from_text(number, from, text).unwrap_or(SharedPlace {
                partition: number,
                from,
                counted: from,
                closed_ns: i64::MIN,
                ..SharedPlace::default()
            });
            if from < low {
                let note = deleted(&self.feed, *partition, from.cast_signed(), low.cast_signed());
                self.heard().notes.push(note);
                (place.from, place.counted) = (low, place.counted.max(low));
            }
            let next = Place {
                next: place.from.cast_signed(),
                rows: 0,
                counted: place.counted.cast_signed(),
            };
            places.insert(*partition, next);
            given.places.push(place);
        }
        Ok(given)
    }
}

impl KafkaSource {
    /// Forgets what came of partitions before they were given anew.
    pub(super) fn renew(&mut self) {
        let heard = self.consumer.context().heard();
        if heard.assignments == self.renewed {
            return;
        }
        self.renewed = heard.assignments;
        let Some(given) = &heard.given else { return };
        let anew: BTreeSet<u32> = given.places.iter().map(|place| place.partition).collect();
        self.decoding
            .retain(|partition, _| !anew.contains(&partition.unsigned_abs()));
        self.ended.retain(|partition| !anew.contains(&partition.unsigned_abs()));
        self.ready.retain(|(_, position)| !anew.contains(&position.partition));
    }

    /// Has the rows before a message be by themselves, where it is the first of those that were not counted before.
    pub(super) fn part(&mut self, number: i32, offset: i64) -> Result<()> {
        self.renew();
        let Some(first) = self.decoding.get(&number).and_then(|partition| partition.first) else {
            return Ok(());
        };
        let place = self.consumer.context().heard().places.get(&number).copied();
        let counted = place.map_or(0, |place| place.counted);
        match first < counted && counted <= offset {
            true => self.hand_over(),
            false => Ok(()),
        }
    }

    /// What the group has given since this was asked last.
    pub(super) fn take_given(&mut self) -> Option<Given> {
        self.renew();
        let mut heard = self.consumer.context().heard();
        let given = heard.given.take()?;
        self.notes.append(&mut heard.notes);
        let assigned = heard.assigned.clone().unwrap_or_default();
        drop(heard);
        self.commit_beginnings(&given);
        let numbers: Vec<String> = assigned.iter().map(ToString::to_string).collect();
        let which = match numbers.is_empty() {
            true => "none".to_owned(),
            false => numbers.join(", "),
        };
        self.notes.push(format!(
            "feed `{}` has of the {} partitions of `{}`: {which}",
            self.context.name, given.partitions, self.feed.topic
        ));
        Some(given)
    }

    /// Commits where partitions begin of which the group knows nothing: whoever is next begins there too.
    fn commit_beginnings(&self, given: &Given) {
        let mut list = TopicPartitionList::new();
        for place in given.places.iter().filter(|place| place.made_for.is_none()) {
            let offset = Offset::Offset(place.from.cast_signed());
            let _ = list.add_partition_offset(&self.feed.topic, place.partition.cast_signed(), offset);
        }
        if list.count() > 0 && self.consumer.commit(&list, CommitMode::Async).is_ok() {
            let mut heard = self.consumer.context().heard();
            for place in given.places.iter().filter(|place| place.made_for.is_none()) {
                heard
                    .own
                    .insert(place.partition.cast_signed(), (place.from, String::new()));
            }
        }
    }

    /// Commits the places of partitions, if they are still those of this process.
    pub(super) fn commit_places(&mut self, shared: &SharedPlaces) {
        let is_now = {
            let heard = self.consumer.context().heard();
            heard.assignments == shared.assignment && heard.assigned.is_some() && !heard.recalled
        };
        if is_now {
            let _ = self.commit_now_shared(&shared.places, CommitMode::Async);
        }
    }

    fn commit_now_shared(&self, places: &[SharedPlace], mode: CommitMode) -> KafkaResult<()> {
        let mut heard = self.consumer.context().heard();
        if std::mem::take(&mut heard.uncommitted) {
            heard.own.clear();
        }
        let mut own = heard.own.clone();
        drop(heard);
        let mut list = TopicPartitionList::new();
        for place in places {
            let (number, text) = (place.partition.cast_signed(), place.to_text());
            let is_known = own
                .get(&number)
                .is_some_and(|(from, known)| (*from, known) == (place.from, &text));
            if is_known {
                continue;
            }
            list.add_partition_offset(&self.feed.topic, number, Offset::Offset(place.from.cast_signed()))?;
            if let Some(mut element) = list.find_partition(&self.feed.topic, number) {
                element.set_metadata(&text);
            }
            own.insert(number, (place.from, text));
        }
        if list.count() > 0 {
            self.consumer.commit(&list, mode)?;
            self.consumer.context().heard().own = own;
        }
        Ok(())
    }

    /// Gives all partitions back, which stand here. `is_last`: it reads none any more.
    pub(super) fn give_back(&mut self, shared: &SharedPlaces, is_last: bool) {
        let is_now = {
            let mut heard = self.consumer.context().heard();
            heard.is_closing = is_last;
            heard.assignments == shared.assignment && heard.assigned.is_some()
        };
        let mut tries = COMMIT_TRIES;
        while is_now && !self.consumer.assignment_lost() {
            match self.commit_now_shared(&shared.places, CommitMode::Sync) {
                Ok(()) => break,
                Err(_) if tries > 1 => tries -= 1,
                Err(error) => {
                    self.notes.push(format!(
                        "feed `{}`: where its partitions stand could not be committed ({error}): what was reported since \
                         the commit before is reported again",
                        self.context.name
                    ));
                    break;
                }
            }
        }
        let mut heard = self.consumer.context().heard();
        (heard.recalled, heard.assigned) = (false, None);
        drop(heard);
        // Nothing was taken since, so whatever is given to it again goes on where it stands.
        let _ = self.consumer.unassign();
        if is_last {
            self.consumer.unsubscribe();
            let until = Instant::now() + FAREWELL;
            while Instant::now() < until {
                // The client tells the group meanwhile, and nothing is to come.
                let _ = self.consumer.poll(FAREWELL / 10);
            }
        }
    }
}

impl Heard {
    /// This process has no partition any more.
    fn take_away(&mut self) {
        self.held.clear();
        self.own.clear();
        (self.assigned, self.recalled) = (None, false);
        self.assignments += 1;
        self.given = Some(Given {
            assignment: self.assignments,
            partitions: self.of.unsigned_abs(),
            ..Given::default()
        });
    }
}
