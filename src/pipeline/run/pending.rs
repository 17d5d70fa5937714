//! Rows of a feed that wait to be a micro-batch.

use super::engines::Stretch;
use crate::error::{Error, Result};
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use std::time::Instant;

/// Rows that wait to be a micro-batch.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) batches: Vec<Part>,
    pub(super) rows: usize,
    pub(super) since: Option<Instant>,
}

/// Rows of one partition, and when they arrived.
pub(super) struct Part {
    pub(super) stretch: Stretch,
    /// Whether whoever had the partition before has counted them.
    pub(super) again: bool,
    pub(super) arrived_ns: Option<i64>,
    pub(super) batch: RecordBatch,
}

impl Pending {
    /// What waits as few batches, in order: neighbours of one partition become one, unless the time of their arrival is
    /// the time of the rows (`apart`).
    pub(super) fn together(self, apart: bool) -> Result<Vec<Part>> {
        if apart || self.batches.len() < 2 {
            return Ok(self.batches);
        }
        let together = |parts: &[Part]| -> Result<Part> {
            let first = &parts[0];
            let batch = match parts {
                [only] => only.batch.clone(),
                _ => concat_batches(&first.batch.schema(), parts.iter().map(|part| &part.batch))
                    .map_err(|e| Error::Failed(format!("batches cannot be put together: {e}")))?,
            };
            let last = parts.last().unwrap_or(first);
            Ok(Part {
                batch,
                stretch: Stretch {
                    upto: last.stretch.upto,
                    ..first.stretch
                },
                ..*first
            })
        };
        let same = |a: &Part, b: &Part| (a.stretch.partition, a.again) == (b.stretch.partition, b.again);
        self.batches.chunk_by(same).map(together).collect()
    }
}
