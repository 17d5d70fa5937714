//! The state of a cell: the leaves that are folded, and the one that goes on.

use super::rows::Rows;
use super::{LeafRun, Merge, Quantiles, Room, Shape, Summary};

/// What the rows of a cell come to so far. Rows come in the order in which they count; leaf k is rows k · LEAF …
/// (k + 1) · LEAF − 1, wherever the batches end.
#[derive(Debug, Clone, Default)]
pub struct CellState {
    folded: Option<Box<Summary>>,
    open: Option<LeafRun>,
}

impl CellState {
    /// The state with these folded leaves, and a leaf that goes on.
    pub fn new(folded: Option<Summary>, open: Option<LeafRun>) -> Self {
        Self {
            folded: folded.map(Box::new),
            open,
        }
    }

    /// Its folded leaves.
    pub fn folded(&self) -> Option<&Summary> {
        self.folded.as_deref()
    }

    /// The leaf that goes on.
    pub fn open(&self) -> Option<&LeafRun> {
        self.open.as_ref()
    }

    /// Takes the leaf that goes on, to be continued elsewhere.
    pub fn take_open(&mut self) -> Option<LeafRun> {
        self.open.take()
    }

    /// Gives it the leaf that goes on.
    pub fn set_open(&mut self, run: LeafRun) {
        self.open = Some(run);
    }

    /// Takes in the next leaf.
    pub fn fold(&mut self, leaf: Summary) {
        match &mut self.folded {
            Some(folded) => folded.as_mut().merge(&leaf),
            None => self.folded = Some(Box::new(leaf)),
        }
    }

    /// Rows that the open leaf has still room for.
    pub fn room(&self, leaf_rows: usize) -> usize {
        leaf_rows - self.open.as_ref().map_or(0, |run| run.rows() as usize % leaf_rows)
    }

    /// Takes the next rows, in leaves of so many.
    #[inline(always)]
    pub fn push_rows(&mut self, shape: &Shape, leaf_rows: usize, rows: impl Rows, room: &mut Room) {
        let mut at = 0;
        while at < rows.count() {
            let end = rows.count().min(at + self.room(leaf_rows));
            let run = self.open.get_or_insert_with(|| LeafRun::new(shape));
            run.push_rows(shape, rows.slice(at..end), room);
            if run.rows() as usize == leaf_rows {
                let leaf = run.finish(shape);
                self.open = None;
                self.fold(leaf);
            }
            at = end;
        }
    }

    /// What its rows come to.
    pub fn summary(&self, shape: &Shape) -> Summary {
        self.clone().into_summary(shape)
    }

    /// What its rows come to.
    pub fn into_summary(self, shape: &Shape) -> Summary {
        let open = self.open.map(|run| run.finish(shape));
        match (self.folded, open) {
            (Some(mut folded), Some(open)) => {
                folded.as_mut().merge(&open);
                *folded
            }
            (Some(folded), None) => *folded,
            (None, open) => open.unwrap_or_default(),
        }
    }

    /// What the quantiles of its folded leaves take, in bytes.
    pub fn sketch_bytes(&self) -> usize {
        let folded = self.folded.as_deref();
        folded.map_or(0, |folded| folded.quantiles.iter().map(Quantiles::heap_bytes).sum())
    }
}
