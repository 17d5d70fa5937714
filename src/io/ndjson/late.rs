//! Fields that first appear behind the rows that settle the columns: which there are, and which of the awaited columns
//! have come.
//!
//! The decoders of all chunks share it. They ask about a field only where it stands at another place than in the row
//! before, so that it costs rows of equal layout nothing.

use hashbrown::HashSet;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Names that are kept, the first in alphabetical order: far more than a message shows, bounded where names are data.
const NAMES_MAX: usize = 1000;

#[derive(Debug)]
pub(crate) struct Late {
    /// Fields that are no columns, as is known from the start.
    nested: HashSet<String>,
    /// Fields that are no columns because they came too late.
    unread: Mutex<BTreeSet<String>>,
    /// Columns that are asked for but were not in the rows that settle the columns, and whether they have come.
    awaited: Vec<(String, AtomicBool)>,
}

impl Late {
    pub(crate) fn new(nested: &[String], awaited: Vec<String>) -> Self {
        Self {
            nested: nested.iter().cloned().collect(),
            unread: Mutex::default(),
            awaited: awaited.into_iter().map(|name| (name, AtomicBool::new(false))).collect(),
        }
    }

    /// Whether nothing has to be said about this field, which is no column.
    pub(super) fn is_known(&self, key: &str) -> bool {
        self.nested.contains(key)
    }

    /// A row has this column.
    pub(super) fn arrived(&self, column: &str) {
        for (_, came) in self.awaited.iter().filter(|(name, _)| name == column) {
            came.store(true, Ordering::Relaxed);
        }
    }

    /// Rows have these fields, which are no columns.
    pub(super) fn left_out(&self, keys: HashSet<String>) {
        if keys.is_empty() {
            return;
        }
        let mut unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            unread.insert(key);
            if unread.len() > NAMES_MAX {
                unread.pop_last();
            }
        }
    }

    /// The fields that came too late to be read.
    pub(crate) fn unread(&self) -> Vec<String> {
        let unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        unread.iter().cloned().collect()
    }

    /// The awaited columns that have not come yet.
    pub(crate) fn absent(&self) -> Vec<String> {
        let absent = self.awaited.iter().filter(|(_, came)| !came.load(Ordering::Relaxed));
        absent.map(|(name, _)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_names_are_kept_whatever_the_order() {
        let names: Vec<String> = (0..3 * NAMES_MAX).map(|i| format!("{i:05}")).collect();
        let [forward, backward] = [false, true].map(|reversed| {
            let late = Late::new(&[], Vec::new());
            let mut names = names.clone();
            if reversed {
                names.reverse();
            }
            for name in names {
                late.left_out(HashSet::from_iter([name]));
            }
            late.unread()
        });
        assert_eq!(forward, names[..NAMES_MAX]);
        assert_eq!(forward, backward);
    }

    #[test]
    fn awaited_columns_are_absent_until_they_come() {
        let late = Late::new(&["n".to_owned()], vec!["a".to_owned(), "b".to_owned()]);
        late.arrived("b");
        late.arrived("c");
        assert_eq!(late.absent(), ["a"]);
        assert!(late.is_known("n") && !late.is_known("a"));
    }
}
