//! Rows that could not be read: some are kept with their reasons, the others are counted.
//!
//! A bad row takes a hundred times the memory of the two bytes that it may have come from, so what a batch keeps of them
//! is bounded. Whatever is not kept is counted: `count` is the number of all of them.

use crate::error::BadRow;

/// Bytes of bad rows that one batch keeps: some times the text that a batch comes from.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// Bytes that a bad row takes beside its texts: its own, and what the allocator adds to four small ones.
const ROW_BYTES: usize = size_of::<BadRow>() + 4 * 16;

/// The bad rows of a batch.
#[derive(Debug, Default)]
pub(crate) struct Rejected {
    rows: Vec<BadRow>,
    bytes: usize,
    unkept: u64,
}

impl Rejected {
    /// One more, which is kept while there is room. The first one always is.
    pub(crate) fn push(&mut self, row: BadRow) {
        let texts = row.source.len() + row.bytes.len() + row.row.len() + row.reason.len();
        let bytes = ROW_BYTES + texts + row.column.as_ref().map_or(0, String::len);
        if self.rows.is_empty() || self.bytes + bytes <= KEPT_BYTES_MAX {
            self.bytes += bytes;
            self.rows.push(row);
        } else {
            self.unkept += 1;
        }
    }

    /// So many more, of which nothing is known but their number.
    pub(crate) fn count_only(&mut self, count: u64) {
        self.unkept += count;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.unkept == 0
    }

    /// Those that were kept, and how many were not.
    pub(crate) fn into_parts(self) -> (Vec<BadRow>, u64) {
        (self.rows, self.unkept)
    }
}

impl Extend<BadRow> for Rejected {
    fn extend<I: IntoIterator<Item = BadRow>>(&mut self, rows: I) {
        rows.into_iter().for_each(|row| self.push(row));
    }
}

impl From<BadRow> for Rejected {
    fn from(row: BadRow) -> Self {
        let mut rejected = Self::default();
        rejected.push(row);
        rejected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_is_counted() {
        let mut rejected = Rejected::default();
        assert!(rejected.is_empty());
        for line in 0..100_000 {
            rejected.push(BadRow {
                source: "tcp 127.0.0.1:1".into(),
                line,
                column: None,
                bytes: b"x".to_vec(),
                row: b"x".to_vec(),
                reason: "is not a JSON object".into(),
            });
        }
        rejected.count_only(7);
        let (kept, unkept) = rejected.into_parts();
        assert_eq!(kept.len() as u64 + unkept, 100_007);
        assert!((1000..50_000).contains(&kept.len()), "{}", kept.len());
        assert!(kept.iter().map(|row| row.line).eq(0..kept.len() as u64));
        let large = BadRow {
            bytes: vec![0; 2 * KEPT_BYTES_MAX],
            ..kept[0].clone()
        };
        assert_eq!(Rejected::from(large).into_parts().0.len(), 1);
    }
}
