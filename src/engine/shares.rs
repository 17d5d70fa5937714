//! Windows from what partitions have of them: summaries come in place of rows, each is a cell, and windows close as they
//! do over the rows themselves.
//!
//! A partition gives its windows in their order, so one that begins at a time says that nothing more comes of those that
//! end up to there. Cells merge in the order of the partitions, as they do where one engine has the rows of all: the bits
//! are the same.

use super::grouped::Cell;
use super::{Engine, Layout};
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::report::{KeyValue, Share};
use crate::spec::Window;
use crate::summary::CellState;
use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, new_null_array};
use arrow::datatypes::DataType;
use std::sync::Arc;

/// What became of a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is a part of its window.
    Now,
    /// It was before: who gives shares gives some again after a crash.
    Before,
    /// Its window has closed.
    Late,
}

/// A column of one key.
fn key_column(value: &KeyValue) -> Result<ArrayRef> {
    Ok(match value {
        KeyValue::Null => new_null_array(&DataType::Null, 1),
        KeyValue::Boolean(b) => Arc::new(BooleanArray::from(vec![*b])),
        KeyValue::Integer(i) => {
            let integer = i64::try_from(*i).map_err(|_| Error::Usage(format!("the key {i} has more than 64 bits")))?;
            Arc::new(Int64Array::from(vec![integer]))
        }
        KeyValue::Number(x) => Arc::new(Float64Array::from(vec![*x])),
        KeyValue::Text(text) => Arc::new(StringArray::from(vec![text.as_str()])),
    })
}

/// A row in the place of a share: its columns without values, its key, and the beginning of its window.
pub(crate) fn stand_in(share: &Share) -> Result<Batch> {
    let columns = share.columns.iter().map(|name| (name.as_str(), vec![f64::NAN]));
    let keys = share.key.iter().flat_map(|key| key.iter());
    let keys = keys.map(|(name, value)| Ok((name.to_owned(), key_column(value)?)));
    Batch::from_columns(columns)?
        .with_keys(keys.collect::<Result<_>>()?)?
        .with_time_ns(vec![share.start_ns])
}

impl Layout {
    fn summary_columns(&self) -> Vec<String> {
        self.places.iter().map(|place| self.names[*place].clone()).collect()
    }
}

impl Engine {
    /// The columns of the summaries, once they are known.
    pub(crate) fn summary_columns(&self) -> Vec<String> {
        self.layout.as_deref().map_or(Vec::new(), Layout::summary_columns)
    }

    /// Takes what a partition has of a window, at this time of the clock. Windows do not overlap; a window closes once
    /// every partition has given one that begins at its end or later.
    ///
    /// # Errors
    /// [`Error::Usage`] for one that was made for other columns, keys, windows or statistics.
    pub(crate) fn take_share(&mut self, share: &Share, now_ns: i64) -> Result<Taken> {
        let row = stand_in(share)?;
        let layout = self.prepare(&row)?;
        let other = |what: &str| Error::Usage(format!("the summary of a partition was made {what}"));
        if share.columns != layout.summary_columns() || !share.summary.has_shape(&layout.shape) {
            return Err(other("of other columns or for other statistics"));
        }
        let size = match self.spec.window {
            Some(window @ Window::Time { .. }) if !window.overlaps() => window.pane(),
            _ => {
                return Err(Error::Usage(
                    "summaries of partitions need windows that do not overlap".into(),
                ));
            }
        };
        let pane = share.start_ns.div_euclid(size);
        if (pane.checked_mul(size), share.start_ns.checked_add(size)) != (Some(share.start_ns), Some(share.end_ns)) {
            return Err(other("for other windows"));
        }
        let Some(watermarks) = &mut self.watermarks else {
            return Err(Error::Usage(
                "summaries of partitions need windows that close as rows come".into(),
            ));
        };
        self.grouped.know_keys(&self.spec, &row)?;
        let mut numbers = Vec::new();
        self.grouped.number(&row, &mut numbers)?;
        self.layout = Some(layout);
        (0..share.partitions).for_each(|partition| watermarks.expect_new(partition));
        let refused = watermarks.admit(share.partition, &[share.start_ns], Some(size), now_ns);
        let place = (pane, numbers[0], share.partition);
        if self.grouped.index.contains_key(&place) {
            return Ok(Taken::Before);
        }
        if !refused.is_empty() {
            self.late += 1;
            return Ok(Taken::Late);
        }
        self.grouped.know_places();
        self.grouped.seen[numbers[0] as usize] = self.rows;
        let cell = Cell {
            pane,
            key: numbers[0],
            partition: share.partition,
            live: true,
            ewm: None,
        };
        let state = CellState::new(Some(share.summary.clone()), None);
        self.grouped.insert(cell, state, false)?;
        self.rows += share.summary.rows;
        Ok(Taken::Now)
    }

    /// Begins with the watermark that another engine had ([`Engine::watermark_bytes`]).
    ///
    /// # Errors
    /// [`Error::Data`] for bytes that are none.
    pub(crate) fn set_watermark(&mut self, bytes: &[u8]) -> Result<()> {
        let stored = postcard::from_bytes(bytes);
        let stored = stored.map_err(|e| Error::Data(format!("the bytes are no watermark: {e}")))?;
        if let Some(own) = &mut self.watermarks {
            own.go_on(stored);
        }
        Ok(())
    }

    /// Has the watermark be no earlier than this.
    pub(crate) fn raise_watermark(&mut self, ns: i64) {
        if let Some(own) = &mut self.watermarks {
            own.feed_ns = own.feed_ns.max(ns);
        }
    }

    /// Where its watermark stands, as bytes: which rows are late from here on depends on nothing else.
    ///
    /// # Errors
    /// [`Error::Failed`] if it has no such form.
    pub(crate) fn watermark_bytes(&self) -> Result<Vec<u8>> {
        let failed = |e| Error::Failed(format!("a watermark cannot be stored: {e}"));
        let stored = self.watermarks.as_ref().map(postcard::to_stdvec).transpose();
        Ok(stored.map_err(failed)?.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
