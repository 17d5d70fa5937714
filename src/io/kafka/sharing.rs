//! A topic whose partitions several processes share: what the group gives and wants back, and where partitions stand.
//!
//! The place of a partition is committed to the group, the rest of what there is to know of it as the commit's metadata.
//! When the group wants partitions back, the client waits until what they have given so far is reported and their places
//! are committed; who has them next goes on there. Who is gone without that leaves the places of its last commit.

use super::group::{Hearing, Place};
use super::{ANSWER, KafkaSource, deleted};
use crate::io::Source;
use crate::io::remote::Start;
use crate::io::shared::{Given, SharedPlace};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};

impl Hearing {
    /// The group wants the partitions back.
    pub(super) fn recall(&self, consumer: &BaseConsumer<Self>) {
        let mut heard = self.heard();
        let has_some = heard.assigned.as_ref().is_some_and(|assigned| !assigned.is_empty());
        if has_some && !consumer.assignment_lost() {
            // They are given back once what came of them is reported.
            heard.recalled = true;
            return;
        }
        // Somebody else may have had them by now.
        heard.held.clear();
        heard.assigned = None;
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
        let (held, untold, of) = {
            let heard = self.heard();
            (heard.held.clone(), heard.given.clone().unwrap_or_default(), heard.of)
        };
        let of = partitions.iter().map(|partition| partition + 1).fold(of, i32::max);
        let mut given = Given {
            partitions: of.unsigned_abs(),
            ..Given::default()
        };
        let mut asked = TopicPartitionList::new();
        (0..of).for_each(|partition| {
            asked.add_partition(self.topic(), partition);
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
            if held.contains(partition) {
                match untold.places.iter().find(|place| place.partition == number) {
                    Some(place) => given.places.push(place.clone()),
                    None => given.kept.push(number),
                }
                continue;
            }
            let (low, high) = consumer.fetch_watermarks(self.topic(), *partition, ANSWER)?;
            let (low, high) = (low.unsigned_abs(), high.unsigned_abs());
            let known = of_group.get(partition).filter(|(from, _)| *from <= high);
            // One that came later than the others has been missed from its beginning.
            let begin = match (of_group.is_empty(), self.start()) {
                (true, Start::Latest) => high,
                _ => low,
            };
            let (from, text) = known.map_or((begin, ""), |(from, text)| (*from, text.as_str()));
            let mut place = SharedPlace::from_text(number, from, text).unwrap_or(SharedPlace {
                partition: number,
                from,
                counted: from,
                closed_ns: i64::MIN,
                watermark: Vec::new(),
            });
            if from < low {
                let note = deleted(self.feed(), *partition, from.cast_signed(), low.cast_signed());
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
        if !self.is_shared() || heard.assignments == self.renewed {
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

    /// What the group has given since this was asked last.
    pub(super) fn take_given(&mut self) -> Option<Given> {
        self.renew();
        let mut heard = self.consumer.context().heard();
        let given = heard.given.take()?;
        self.notes.append(&mut heard.notes);
        let assigned = heard.assigned.clone().unwrap_or_default();
        drop(heard);
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

    /// Commits the places of partitions.
    pub(super) fn commit_places(&mut self, places: &[SharedPlace], mode: CommitMode) {
        if std::mem::take(&mut self.consumer.context().heard().uncommitted) {
            self.committed_places.clear();
        }
        let held = self.consumer.context().heard().held.clone();
        let mut list = TopicPartitionList::new();
        for place in places {
            let number = place.partition.cast_signed();
            let is_known = self.committed_places.get(&number) == Some(place);
            if !held.contains(&number) || is_known {
                continue;
            }
            let offset = Offset::Offset(place.from.cast_signed());
            if list.add_partition_offset(&self.feed.topic, number, offset).is_err() {
                continue;
            }
            if let Some(mut element) = list.find_partition(&self.feed.topic, number) {
                element.set_metadata(place.to_text());
            }
        }
        if list.count() > 0 && self.consumer.commit(&list, mode).is_ok() {
            let known = places
                .iter()
                .map(|place| (place.partition.cast_signed(), place.clone()));
            self.committed_places.extend(known);
        }
    }

    /// Gives all partitions back, which stand here.
    pub(super) fn give_back(&mut self, places: &[SharedPlace]) {
        self.commit_places(places, CommitMode::Sync);
        let mut heard = self.consumer.context().heard();
        (heard.recalled, heard.assigned) = (false, None);
        if self.consumer.assignment_lost() {
            heard.held.clear();
        }
        drop(heard);
        // Nothing was taken since, so whatever is given to it again goes on where it stands.
        let _ = self.consumer.unassign();
    }
}
