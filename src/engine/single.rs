//! All rows in one cell: whole leaves go to the backend as they lie, and what is left is carried.

use super::tail::Tail;
use super::{Engine, Layout};
use crate::backend::Work;
use crate::batch::Batch;
use crate::cells::Cells;
use crate::summary::{Ewm, Summary};
use std::sync::Arc;

/// State where all rows are of one cell.
#[derive(Debug, Clone, Default)]
pub(super) struct Single {
    pub(super) folded: Summary,
    pub(super) tail: Tail,
    pub(super) ewm: Option<Box<Ewm>>,
}

impl Engine {
    /// Hands whole leaves on, the first with the rows that are carried, and carries the rest.
    pub(super) fn push_single(&mut self, batch: &Batch, layout: &Layout) {
        if let (Some(half_life_ns), Some(times)) = (self.spec.ewm_half_life_ns, batch.time_ns()) {
            let columns = &batch.columns()[..layout.shape.columns];
            let new = || Box::new(Ewm::new(half_life_ns, columns.len(), self.spec.covariance));
            let ewm = self.single.ewm.get_or_insert_with(new);
            for (i, time) in times.iter().enumerate() {
                ewm.push(*time, |c| columns[c].get(i));
            }
        }
        let (rows, leaf_rows) = (batch.rows(), layout.leaf_rows);
        let in_pieces = self.queue.backend().carries();
        let before = self.single.tail.rows();
        let mut start = 0;
        if before > 0 && (!in_pieces || before + rows < leaf_rows) {
            // Rows that do not fill the leaf; for a backend that wants it in one piece, also those that do.
            start = rows.min(leaf_rows - before);
            self.single.tail.append(batch, 0, start, leaf_rows, in_pieces);
            if self.single.tail.rows() == leaf_rows {
                self.submit_tail(layout);
            }
        }
        let before = match start {
            0 => self.single.tail.rows(),
            _ => 0,
        };
        let whole = (before + rows - start) / leaf_rows * leaf_rows;
        if whole > 0 {
            let carried = self.single.tail.take();
            self.submit_single(batch.slice(start, whole - before), carried, layout);
            start += whole - before;
        }
        if start < rows {
            self.single
                .tail
                .append(batch, start, rows - start, leaf_rows, in_pieces);
        }
    }

    /// Hands the unfinished leaf on as it is.
    pub(super) fn submit_tail(&mut self, layout: &Layout) {
        let mut carried = self.single.tail.take();
        if let Some(last) = carried.pop() {
            self.submit_single(last, carried, layout);
        }
    }

    fn submit_single(&mut self, batch: Batch, before: Vec<Batch>, layout: &Layout) {
        let rows_before = before.iter().map(Batch::rows).sum();
        let cells = Cells::continued(rows_before, batch.rows(), layout.leaf_rows);
        let work = Work {
            batch,
            before: before.into(),
            cells: Arc::new(cells),
            carried: Arc::new([]),
            shape: layout.shape.clone(),
            open: false,
            weights: None,
            resident: None,
        };
        self.submit(work, Vec::new());
    }
}
