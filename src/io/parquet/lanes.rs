//! Decoding Parquet on many threads with the rows in order and the memory bounded.
//!
//! The columns of a row group are dealt into lanes; a lane decodes its columns batch by batch, each batch one task on
//! the rayon pool that answers through a channel of one place. The front row group gives the batches; the row groups
//! behind it have their first batch decoded ahead, as many of them as keep the threads busy. So one large row group is
//! decoded by column and many small ones side by side.
//!
//! The rule: a lane is at most one batch ahead of what was taken from it, and no task ever waits for another.

use super::pages;
use super::region::Region;
use crate::error::{Error, Result};
use crate::io::columnar::{BATCH_ROWS, Converted, Shape};
use crate::io::whole;
use crossbeam::channel::{Receiver, TryRecvError, bounded};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReader};
use parquet::arrow::{ProjectionMask, parquet_to_arrow_field_levels};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Lanes of one row group for each thread: two even out columns of different cost.
const LANES_PER_THREAD: usize = 2;

/// How long a pool thread that waits for a lane sleeps when it finds no task to run meanwhile: a fraction of a batch.
const WAIT: Duration = Duration::from_micros(50);

/// What every task needs.
#[derive(Debug)]
pub(crate) struct Input {
    /// The name in messages.
    pub(crate) name: String,
    /// The bytes.
    pub(crate) region: Region,
    /// The directory of the file.
    pub(crate) metadata: ArrowReaderMetadata,
    /// What its columns become.
    pub(crate) shape: Shape,
}

impl Input {
    /// The number of rows of a row group.
    fn group_rows(&self, group: usize) -> Result<usize> {
        let rows = self.metadata.metadata().row_group(group).num_rows();
        usize::try_from(rows).map_err(|_| whole::damaged(&self.name, format!("row group {group} claims {rows} rows")))
    }
}

/// The columns of one batch, as [`Shape::assemble`] takes them.
#[derive(Debug)]
pub(crate) struct Columns {
    pub(crate) rows: usize,
    pub(crate) columns: Vec<Converted>,
}

/// The row groups that are being decoded.
#[derive(Debug)]
pub(crate) struct Decoder {
    input: Arc<Input>,
    /// The places of each lane's columns in the file, ascending over all lanes.
    lanes: Vec<Arc<[usize]>>,
    /// How many row groups are open at once.
    window: usize,
    next_group: usize,
    groups: VecDeque<Group>,
}

#[derive(Debug)]
struct Group {
    index: usize,
    rows_left: usize,
    lanes: Vec<Receiver<Result<Step>>>,
}

/// A lane's answer: its next batch, and the reader for the one behind it.
struct Step {
    reader: ParquetRecordBatchReader,
    rows: usize,
    columns: Vec<Converted>,
}

impl Decoder {
    /// Decodes the columns that the shape wants. Nothing runs before the first [`next`](Self::next).
    pub(crate) fn new(input: Arc<Input>) -> Self {
        let threads = rayon::current_num_threads();
        let wanted = input.shape.wanted();
        let width = wanted.len().div_ceil(LANES_PER_THREAD * threads).max(1);
        let lanes: Vec<Arc<[usize]>> = wanted.chunks(width).map(Arc::from).collect();
        let window = threads.div_ceil(lanes.len().max(1)) + 1;
        Self {
            input,
            lanes,
            window,
            next_group: 0,
            groups: VecDeque::new(),
        }
    }

    /// The columns of the next batch of at most [`BATCH_ROWS`] rows; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Data`] for a damaged file.
    pub(crate) fn next(&mut self) -> Result<Option<Columns>> {
        self.fill()?;
        let Some(group) = self.groups.front_mut() else {
            return Ok(None);
        };
        let want = group.rows_left.min(BATCH_ROWS);
        group.rows_left -= want;
        let mut columns = Vec::new();
        for (lane, places) in group.lanes.iter_mut().zip(&self.lanes) {
            let step = wait(lane).unwrap_or_else(|| Err(Error::Failed("a decoding task was lost".into())))?;
            if step.rows != want {
                let why = format!(
                    "row group {} has {} rows where {want} were to come",
                    group.index, step.rows
                );
                return Err(whole::damaged(&self.input.name, why));
            }
            columns.extend(step.columns);
            if group.rows_left > 0 {
                *lane = spawn(&self.input, group.index, places, Some(step.reader));
            }
        }
        if group.rows_left == 0 {
            self.groups.pop_front();
        }
        Ok(Some(Columns { rows: want, columns }))
    }

    #[cfg(test)]
    pub(crate) fn groups_in_flight(&self) -> usize {
        self.groups.len()
    }

    /// Opens row groups up to the window; empty ones are passed over.
    fn fill(&mut self) -> Result<()> {
        let count = self.input.metadata.metadata().num_row_groups();
        while self.groups.len() < self.window && self.next_group < count {
            let index = self.next_group;
            self.next_group += 1;
            let rows_left = self.input.group_rows(index)?;
            if rows_left > 0 {
                let lanes = self
                    .lanes
                    .iter()
                    .map(|places| spawn(&self.input, index, places, None))
                    .collect();
                self.groups.push_back(Group {
                    index,
                    rows_left,
                    lanes,
                });
            }
        }
        Ok(())
    }
}

/// Starts the next step of a lane, from its reader or from the beginning of the row group.
fn spawn(
    input: &Arc<Input>,
    group: usize,
    places: &Arc<[usize]>,
    reader: Option<ParquetRecordBatchReader>,
) -> Receiver<Result<Step>> {
    let (answer, receiver) = bounded(1);
    let (input, places) = (Arc::clone(input), Arc::clone(places));
    rayon::spawn(move || {
        let step = whole::guarded(&input.name, || step(&input, group, &places, reader));
        // Nobody waits any more where the source was dropped.
        let _ = answer.send(step);
    });
    receiver
}

fn step(input: &Input, group: usize, places: &[usize], reader: Option<ParquetRecordBatchReader>) -> Result<Step> {
    let damaged = |e: &dyn std::fmt::Display| whole::damaged(&input.name, format!("row group {group}: {e}"));
    let mut reader = match reader {
        Some(reader) => reader,
        None => {
            let metadata = &input.metadata;
            let mask = ProjectionMask::roots(metadata.parquet_schema(), places.iter().copied());
            let levels =
                parquet_to_arrow_field_levels(metadata.parquet_schema(), mask, Some(metadata.schema().fields()));
            let group_pages = pages::Group {
                input,
                index: group,
                rows: input.group_rows(group)?,
            };
            let reader =
                |levels| ParquetRecordBatchReader::try_new_with_row_groups(&levels, &group_pages, BATCH_ROWS, None);
            levels.and_then(reader).map_err(|e| damaged(&e))?
        }
    };
    let batch = reader
        .next()
        .ok_or_else(|| damaged(&"it ends early"))?
        .map_err(|e| damaged(&e))?;
    if batch.num_columns() != places.len() {
        return Err(damaged(&"it lacks a column"));
    }
    let columns = places
        .iter()
        .zip(batch.columns())
        .map(|(&place, array)| input.shape.convert(place, array));
    Ok(Step {
        reader,
        rows: batch.num_rows(),
        columns: columns.collect::<Result<_>>()?,
    })
}

/// The answer, `None` if it was lost. A thread of the pool runs other tasks meanwhile, so that a pool of one thread
/// cannot wait for itself.
fn wait(receiver: &Receiver<Result<Step>>) -> Option<Result<Step>> {
    while rayon::current_thread_index().is_some() {
        match receiver.try_recv() {
            Ok(step) => return Some(step),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => {
                if rayon::yield_now() != Some(rayon::Yield::Executed) {
                    std::thread::sleep(WAIT);
                }
            }
        }
    }
    receiver.recv().ok()
}
