//! The unfinished leaf of the only cell: its rows so far, as slices of the batches that they came in.
//!
//! A slice costs a few reference counts, and copying rows costs more than reducing them; but a slice keeps its whole
//! batch in memory until the leaf is full. So rows are copied out of batches of more than [`SLICED_LEAVES_MAX`], and so
//! are those of small pieces, of which a leaf could have thousands. All that is kept is a few leaves of rows. Where a batch is itself a slice of something larger, that is kept alive as well: whoever cuts a
//! buffer into batches has it in memory anyway.

use crate::batch::{Batch, BatchBuilder};

/// Leaves of a batch up to which its last rows are carried as a slice of it. Of a larger one they are a small part, so
/// that copying them costs little beside reducing the others.
const SLICED_LEAVES_MAX: usize = 4;
/// The least share of a leaf that is carried as a slice: kernels go through pieces one by one, and each has a cost.
const PIECES_OF_A_LEAF: usize = 16;

/// Rows of a leaf that is not full.
#[derive(Debug, Clone, Default)]
pub(super) struct Tail {
    pieces: Vec<Piece>,
    rows: usize,
    /// Rows of the batches that the slices are of.
    kept_rows: usize,
}

#[derive(Debug, Clone)]
enum Piece {
    Slice(Batch),
    Copy(BatchBuilder),
}

impl Tail {
    /// A tail of these rows.
    pub(super) fn of(rows: BatchBuilder) -> Self {
        let mut tail = Self {
            rows: rows.rows(),
            ..Self::default()
        };
        if tail.rows > 0 {
            tail.pieces.push(Piece::Copy(rows));
        }
        tail
    }

    /// Rows so far.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Rows that are in memory for it.
    pub(super) fn kept_rows(&self) -> usize {
        let copied = |piece: &Piece| match piece {
            Piece::Slice(_) => 0,
            Piece::Copy(rows) => rows.rows(),
        };
        self.kept_rows + self.pieces.iter().map(copied).sum::<usize>()
    }

    /// Appends rows `offset .. offset + len` of a batch to a leaf of `leaf_rows`, as a slice where `may_slice` holds and
    /// it pays.
    pub(super) fn append(&mut self, batch: &Batch, offset: usize, len: usize, leaf_rows: usize, may_slice: bool) {
        let small = len * PIECES_OF_A_LEAF < leaf_rows;
        let large = batch.rows() > SLICED_LEAVES_MAX * leaf_rows;
        self.rows += len;
        if may_slice && !small && !large {
            self.kept_rows += batch.rows();
            self.pieces.push(Piece::Slice(batch.slice(offset, len)));
            return;
        }
        if let Some(Piece::Copy(rows)) = self.pieces.last_mut() {
            rows.append(batch, offset, len);
            return;
        }
        let mut rows = BatchBuilder::default();
        rows.append(batch, offset, len);
        self.pieces.push(Piece::Copy(rows));
    }

    /// The rows, which the tail has no more.
    pub(super) fn take(&mut self) -> Vec<Batch> {
        let pieces = std::mem::take(self).pieces;
        let batch = |piece| match piece {
            Piece::Slice(batch) => batch,
            Piece::Copy(mut rows) => rows.take(),
        };
        pieces.into_iter().map(batch).collect()
    }

    /// A copy of the rows in one piece.
    pub(super) fn joined(&self) -> BatchBuilder {
        let mut joined = BatchBuilder::default();
        for batch in self.clone().take() {
            joined.append(&batch, 0, batch.rows());
        }
        joined
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Values;

    const LEAF: usize = 4096;

    fn batch(rows: usize, columns: usize, from: f64) -> Batch {
        let column = |c: usize| (0..rows).map(|i| from + i as f64 + 1e6 * c as f64).collect();
        Batch::from_columns((0..columns).map(|c| (format!("c{c}"), column(c)))).unwrap()
    }

    /// How often the memory of the first column is in use.
    fn users(batch: &Batch) -> usize {
        match &batch.columns()[0].values {
            Values::F64(v) => v.inner().strong_count(),
            Values::F32(v) => v.inner().strong_count(),
        }
    }

    fn values(pieces: &[Batch]) -> Vec<f64> {
        let first = |batch: &Batch| (0..batch.rows()).map(|i| batch.columns()[0].get(i)).collect::<Vec<_>>();
        pieces.iter().flat_map(first).collect()
    }

    #[test]
    fn large_pieces_are_slices_and_small_ones_are_put_together() {
        let mut tail = Tail::default();
        let large = batch(3000, 2, 0.0);
        tail.append(&large, 1000, 2000, LEAF, true);
        assert_eq!((users(&large), tail.kept_rows()), (2, 3000));
        for k in 0..70 {
            let small = batch(20, 2, 3000.0 + 20.0 * f64::from(k));
            tail.append(&small, 0, 20, LEAF, true);
            assert_eq!(users(&small), 1);
        }
        assert_eq!((tail.rows(), tail.kept_rows()), (3400, 4400));
        let joined = tail.joined().take();
        let pieces = tail.take();
        assert_eq!(pieces.iter().map(Batch::rows).collect::<Vec<_>>(), [2000, 1400]);
        let expected: Vec<f64> = (1000..4400).map(f64::from).collect();
        assert_eq!(values(&pieces), expected);
        assert_eq!(values(&[joined]), expected);
        assert_eq!((tail.rows(), tail.kept_rows()), (0, 0));
    }

    #[test]
    fn a_huge_batch_is_not_kept_alive() {
        // One row more than may be kept.
        let rows = SLICED_LEAVES_MAX * LEAF + 1;
        let huge = batch(rows, 2, 0.0);
        let mut tail = Tail::default();
        tail.append(&huge, rows - 1000, 1000, LEAF, true);
        assert_eq!((users(&huge), tail.kept_rows()), (1, 1000));
        let fits = huge.slice(0, rows - 1);
        tail.append(&fits, 0, 1000, LEAF, true);
        assert_eq!((users(&huge), tail.kept_rows()), (3, rows + 999));
        // A backend that wants one piece is given copies.
        tail = Tail::default();
        (0..3).for_each(|_| tail.append(&fits, 0, 1000, LEAF, false));
        assert_eq!((users(&huge), tail.take().len()), (2, 1));
    }
}
