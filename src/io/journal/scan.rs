//! Looking through a journal when it is opened: every record is checked, what a crash left half written is cut off.

use super::keys::Keys;
use super::record::{Outline, SEGMENT_HEADER_BYTES, rows_of};
use super::segment::{self, Segment, Step};
use crate::error::{Error, Result};
use crate::io::Position;
use arrow::datatypes::SchemaRef;
use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::path::Path;

/// What was found.
#[derive(Debug)]
pub(super) struct Scan {
    /// Rows of the journal, those included whose segments are gone.
    pub(super) rows: u64,
    /// The last segment and where it ends; 0 where there is none.
    pub(super) end: (u64, u64),
    /// The segments that hold what is to be read, and the place in the first of them.
    pub(super) unread: VecDeque<u64>,
    pub(super) start: Position,
    /// The columns of the last rows.
    pub(super) schema: Option<SchemaRef>,
    /// When the last rows arrived.
    pub(super) arrived_ns: Option<i64>,
    /// What was cut off.
    pub(super) note: Option<String>,
}

impl Scan {
    /// Looks through all segments; `from` is a place in them, and their keys become known.
    pub(super) fn of(directory: &Path, from: Option<&Position>, keys: &Keys) -> Result<Self> {
        let numbers = segment::numbers(directory)?;
        let mut scan = Self {
            rows: 0,
            end: (0, 0),
            unread: VecDeque::new(),
            start: from.copied().unwrap_or_default(),
            schema: None,
            arrived_ns: None,
            note: None,
        };
        let mut is_found = from.is_none();
        let mut last_rows = None;
        for (i, &number) in numbers.iter().enumerate() {
            let is_last = i + 1 == numbers.len();
            let mut segment = Segment::open(directory, number)?;
            let before = segment.header.rows_before;
            if i == 0 {
                scan.rows = before;
            } else if before != scan.rows {
                let why = format!("it says that {before} rows stand before it, not {}", scan.rows);
                return Err(segment.damaged(&why));
            }
            if i == 0 && from.is_none() {
                scan.start = Position {
                    partition: 0,
                    rows: before,
                    offset_bytes: SEGMENT_HEADER_BYTES as u64,
                    generation: number,
                };
            }
            loop {
                let place = segment.offset;
                is_found |= from.is_some_and(|p| (p.generation, p.offset_bytes, p.rows) == (number, place, scan.rows));
                match segment.next()? {
                    Step::End => break,
                    Step::Record => {
                        if scan.take(&segment, keys)? {
                            last_rows = Some((number, place));
                        }
                    }
                    Step::Broken(why) if is_last && !segment.was_durable()? => {
                        scan.note = Some(cut(&segment, why)?);
                        break;
                    }
                    Step::Broken(why) => return Err(segment.damaged(why)),
                }
            }
            scan.end = (number, segment.offset);
        }
        if let (Some(from), false) = (from, is_found) {
            return Err(Error::Data(format!(
                "the journal {} does not hold the place that the checkpoint goes on from (segment {}, byte {}): one of \
                 them was replaced; without the whole state directory the feed starts anew",
                directory.display(),
                from.generation,
                from.offset_bytes
            )));
        }
        scan.unread = numbers.into_iter().filter(|n| *n >= scan.start.generation).collect();
        if let Some((number, place)) = last_rows {
            let mut segment = Segment::open(directory, number)?;
            segment.seek(place)?;
            segment.next()?;
            let rows = rows_of(&segment.payload).map_err(|why| segment.damaged(&why))?;
            scan.schema = rows.map(|rows| rows.batch.schema());
        }
        Ok(scan)
    }

    /// Counts a record; whether it holds rows that could be read, so that its columns are those of the feed.
    fn take(&mut self, segment: &Segment, keys: &Keys) -> Result<bool> {
        match Outline::from_bytes(&segment.payload).map_err(|why| segment.damaged(&why))? {
            Outline::Keys(known) => {
                known
                    .into_iter()
                    .for_each(|(key, digest, answer)| keys.remember(key, digest, answer));
                Ok(false)
            }
            Outline::Rows(key, answer, arrived_ns) => {
                self.arrived_ns = self.arrived_ns.max(arrived_ns);
                self.rows += answer.accepted + answer.rejected;
                if let Some((key, digest)) = key {
                    keys.remember(key, digest, answer);
                }
                Ok(answer.accepted > 0)
            }
        }
    }
}

/// Cuts off what a crash left half written.
fn cut(segment: &Segment, why: &str) -> Result<String> {
    let output = |source| Error::Output {
        path: segment.path.clone(),
        source,
    };
    let file = OpenOptions::new().write(true).open(&segment.path).map_err(output)?;
    let bytes = file.metadata().map_err(output)?.len() - segment.offset;
    file.set_len(segment.offset).map_err(output)?;
    file.sync_all().map_err(output)?;
    Ok(format!(
        "the journal {}: {bytes} bytes from byte {} on were never acknowledged and are cut off ({why})",
        segment.path.display(),
        segment.offset
    ))
}
