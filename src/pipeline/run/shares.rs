//! Parts of windows: what a process that has some partitions gives of each, and the feed that makes them whole.

use super::feed::{Aside, Feed};
use super::going_on;
use super::pending::Part;
use crate::batch::Batch;
use crate::config::{Config, FeedConfig};
use crate::engine::{Taken, stand_in};
use crate::error::{BadRow, Error, Result};
use crate::io::Position;
use crate::io::remote::Sharing;
use crate::io::shared::{Given, SharedPlaces};
use crate::report::{Emission, KeyValue, Named, Share, WindowBounds};
use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;

/// The column of a feed of parts that is read.
pub(super) const SUMMARY: &str = "summary";

/// The key that parts have beside their own: their partition.
pub(super) const PARTITION: &str = "partition";

/// The keys of the reports.
pub(super) fn reported_keys(config: &Config) -> Vec<String> {
    let of_parts = |feed: &FeedConfig| feed.kind.sharing() == Some(Sharing::Summaries);
    let partition = config.feeds.iter().any(of_parts).then(|| PARTITION.to_owned());
    config.spec.keys.iter().cloned().chain(partition).collect()
}

/// A checksum of what decides what is reported of a feed, so that nobody goes on with the windows of another.
pub(super) fn made_for(config: &Config, feed: &str) -> Result<u32> {
    let text = format!("{feed}\n{}", going_on::fingerprint(config)?);
    Ok(crc32fast::hash(text.as_bytes()))
}

/// The columns that the rows behind a part have.
fn columns(row: &Batch) -> SchemaRef {
    let values = row.names().iter().map(|name| Field::new(name, DataType::Float64, true));
    let keys = row
        .keys()
        .iter()
        .map(|(name, array)| Field::new(name, array.data_type().clone(), true));
    Arc::new(Schema::new(values.chain(keys).collect::<Vec<_>>()))
}

impl Feed {
    /// What the group gave this process of its partitions.
    pub(super) fn give(&mut self, given: &Given) -> Result<()> {
        self.engines.give(given)?;
        for place in &given.places {
            let position = Position {
                partition: place.partition,
                offset_bytes: place.from,
                ..Position::default()
            };
            self.positions.insert(place.partition, position);
        }
        Ok(())
    }

    /// Where its partitions stand that processes share, once what waits is reduced and what closed is reported.
    pub(super) fn places(&mut self) -> Result<SharedPlaces> {
        self.engines.places(&self.positions)
    }

    /// The same, of partitions that are given back: nothing becomes of them here until some are given again.
    pub(super) fn hand_over(&mut self) -> Result<SharedPlaces> {
        let places = self.places()?;
        self.engines.suspend();
        Ok(places)
    }

    /// Makes reports of a partition parts: its number is a key, and what the numbers are made of stands beside them.
    pub(super) fn make_shares(&self, partition: u32, reports: &mut [Emission]) -> Result<()> {
        let columns = self.engines.summary_columns(partition);
        let partitions = self.engines.partitions();
        for report in reports {
            let Some(WindowBounds::Time { start_ns, end_ns }) = report.group.window else {
                continue;
            };
            let share = Share {
                partition,
                partitions,
                start_ns,
                end_ns,
                key: report.group.key.take(),
                columns: columns.clone(),
                summary: report.summary.clone(),
            };
            report.share = Some(share.to_text()?);
            let own = share.key.iter().flat_map(|key| key.iter());
            let own = own.map(|(name, value)| (name.to_owned(), value.clone()));
            let number = (PARTITION.to_owned(), KeyValue::Integer(partition.into()));
            report.group.key = Some(Named::from_iter(own.chain([number])));
        }
        Ok(())
    }

    /// Takes parts of windows.
    pub(super) fn reduce_shares(&mut self, part: &Part, clock_ns: i64, aside: &mut Aside) -> Result<()> {
        let texts = part
            .batch
            .column_by_name(SUMMARY)
            .and_then(|column| column.as_string_opt::<i32>());
        let Some(texts) = texts else {
            return Err(Error::Data(format!("a feed of summaries needs the column `{SUMMARY}`")));
        };
        for i in 0..texts.len() {
            let text = if texts.is_valid(i) { texts.value(i) } else { "" };
            match Share::from_text(text).and_then(|share| self.take_share(&share, clock_ns)) {
                Ok(Taken::Now) => self.counts.aggregated += 1,
                Ok(Taken::Before | Taken::Late) => self.counts.late += 1,
                Err(Error::Usage(why)) => {
                    return Err(Error::Config(format!(
                        "feed `{}`: {why}: whoever gives summaries and whoever takes them have the same keys, columns, \
                         windows and statistics",
                        self.name()
                    )));
                }
                Err(error @ Error::Data(_)) => {
                    let bad = BadRow {
                        source: format!("feed `{}`", self.name()),
                        line: 0,
                        column: Some(SUMMARY.into()),
                        bytes: text.as_bytes().to_vec(),
                        row: Vec::new(),
                        reason: error.to_string(),
                    };
                    self.reject(&[bad], aside)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn take_share(&mut self, share: &Share, clock_ns: i64) -> Result<Taken> {
        if !self.is_planned() {
            self.plan(&columns(&stand_in(share)?))?;
        }
        let engine = self.engines.one();
        engine.map_or(Ok(Taken::Before), |engine| engine.take_share(share, clock_ns))
    }
}
