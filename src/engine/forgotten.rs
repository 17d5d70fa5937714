//! Keys that were forgotten while windows count rows: how many each has had, so that it goes on where it was.
//!
//! They take far less than a key that is known, and still cannot be kept without a bound. Where that is reached all are
//! dropped together: a key that is not known begins at row 0 then, and its windows have a part of their own, so that they
//! are not taken for those that it had before.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the map takes for a key beside its bytes, about.
const ENTRY_BYTES: usize = 64;

/// The rows of a key, and the part that its windows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Past {
    pub(super) rows: i64,
    pub(super) part: u64,
}

/// Forgotten keys by their encoding.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Forgotten {
    keys: BTreeMap<Vec<u8>, Past>,
    bytes: usize,
    /// The part that the windows of any other key are.
    part: u64,
}

impl Forgotten {
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// What they take, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn keep(&mut self, key: &[u8], past: Past) {
        if self.keys.insert(key.to_vec(), past).is_none() {
            self.bytes += key.len() + ENTRY_BYTES;
        }
    }

    /// A key that has come: where it goes on.
    pub(super) fn take(&mut self, key: &[u8]) -> Past {
        match self.keys.remove(key) {
            Some(past) => {
                self.bytes = self.bytes.saturating_sub(key.len() + ENTRY_BYTES);
                past
            }
            None => Past {
                rows: 0,
                part: self.part,
            },
        }
    }

    /// Drops all: the windows of whatever key comes are this part.
    pub(super) fn drop_all(&mut self, part: u64) {
        *self = Self {
            part,
            ..Self::default()
        };
    }
}
