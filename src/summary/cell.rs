//! The state of a cell: the leaves that are folded, and the one that goes on.

use super::moments::abreast::ABREAST;
use super::rows::Rows;
use super::{LeafRun, Merge, Moments, Quantiles, Room, Shape, Summary};

/// Rows that cells take side by side at least.
const TOGETHER_MIN: usize = 8;

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
            self.end_leaf(shape, leaf_rows);
            at = end;
        }
    }

    /// The same for eight cells of which there are moments only: side by side as far as their rows go together.
    #[inline(always)]
    pub fn push_rows_abreast<R: Rows>(
        mut states: [&mut Self; ABREAST],
        shape: &Shape,
        leaf_rows: usize,
        mut rows: [R; ABREAST],
        room: &mut Room,
    ) {
        loop {
            let mut together = usize::MAX;
            for (state, rows) in states.iter_mut().zip(&mut rows) {
                // The first row of a leaf has no pivot to go by, and the last few of one would keep all others waiting.
                let alone = |state: &Self| match state.room(leaf_rows) {
                    _ if state.open.as_ref().is_none_or(|run| run.rows() == 0) => 1,
                    few if few < TOGETHER_MIN => few,
                    _ => 0,
                };
                loop {
                    let few = alone(state).min(rows.count());
                    if few == 0 {
                        break;
                    }
                    state.push_rows(shape, leaf_rows, rows.slice(0..few), room);
                    *rows = rows.slice(few..rows.count());
                }
                together = together.min(rows.count()).min(state.room(leaf_rows));
            }
            if together < TOGETHER_MIN {
                break;
            }
            let next = rows.map(|rows| rows.slice(0..together));
            rows = rows.map(|rows| rows.slice(together..rows.count()));
            let runs = states.each_mut().map(|state| state.open.as_mut());
            let taken = match runs {
                [Some(a), Some(b), Some(c), Some(d), Some(e), Some(f), Some(g), Some(h)] => {
                    LeafRun::push_abreast([a, b, c, d, e, f, g, h], &next)
                }
                _ => false,
            };
            for (state, rows) in states.iter_mut().zip(next) {
                match taken {
                    true => state.end_leaf(shape, leaf_rows),
                    false => state.push_rows(shape, leaf_rows, rows, room),
                }
            }
        }
        for (state, rows) in states.into_iter().zip(rows) {
            state.push_rows(shape, leaf_rows, rows, room);
        }
    }

    /// Folds the leaf that goes on, if it has all its rows.
    #[inline(always)]
    fn end_leaf(&mut self, shape: &Shape, leaf_rows: usize) {
        if let Some(run) = self.open.take_if(|run| run.rows() as usize == leaf_rows) {
            self.fold(run.finish(shape));
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

    /// Adds the moments of its columns to a list, of a state that has rows and nothing else; how many rows these are. It
    /// is then as new, and keeps its memory.
    pub(crate) fn take_moments(&mut self, shape: &Shape, moments: &mut Vec<Moments>) -> u64 {
        debug_assert!(shape.is_moments_only() && (self.open.is_some() || self.folded.is_some()));
        match &mut self.open {
            Some(run) if self.folded.is_none() => run.take_moments(moments),
            _ => {
                let summary = std::mem::take(self).into_summary(shape);
                moments.extend(summary.columns);
                summary.rows
            }
        }
    }

    /// What the quantiles of its folded leaves take, in bytes.
    pub fn sketch_bytes(&self) -> usize {
        let folded = self.folded.as_deref();
        folded.map_or(0, |folded| folded.quantiles.iter().map(Quantiles::heap_bytes).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Order;
    use super::super::rows::Consecutive;
    use super::*;
    use proptest::prelude::*;

    const LEAF_ROWS: usize = 32;

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            300 => -1e3..1e3,
            1 => Just(f64::NAN),
            1 => Just(f64::INFINITY),
            1 => Just(1e-290),
            1 => Just(-1e300),
        ]
    }

    /// Values of two columns.
    fn table() -> impl Strategy<Value = Vec<[f64; 2]>> {
        prop::collection::vec([value(), value()], 0..150)
    }

    proptest! {
        /// Against each cell by itself, for any numbers of rows in two batches.
        #[test]
        fn cells_abreast_are_as_if_alone(
            batches in prop::collection::vec(prop::collection::vec(table(), ABREAST), 2),
            columns in 1usize..=2,
            fourth: bool,
        ) {
            let shape = Shape {
                columns,
                order: if fourth { Order::Fourth } else { Order::Second },
                ..Shape::default()
            };
            let mut room = Room::default();
            let mut abreast: [CellState; ABREAST] = Default::default();
            let mut alone: [CellState; ABREAST] = Default::default();
            for cells in &batches {
                let values: Vec<Vec<Vec<f64>>> = cells
                    .iter()
                    .map(|rows| (0..columns).map(|c| rows.iter().map(|row| row[c]).collect()).collect())
                    .collect();
                let slices: Vec<Vec<&[f64]>> = values.iter().map(|v| v.iter().map(Vec::as_slice).collect()).collect();
                let rows: [Consecutive<'_>; ABREAST] =
                    std::array::from_fn(|i| Consecutive::new(&slices[i], cells[i].len(), None));
                CellState::push_rows_abreast(abreast.each_mut(), &shape, LEAF_ROWS, rows, &mut room);
                for (state, rows) in alone.iter_mut().zip(rows) {
                    state.push_rows(&shape, LEAF_ROWS, rows, &mut room);
                }
            }
            for (abreast, alone) in abreast.iter().zip(&alone) {
                prop_assert_eq!(abreast.open(), alone.open());
                prop_assert_eq!(abreast.folded(), alone.folded());
                prop_assert_eq!(abreast.summary(&shape).to_bytes(), alone.summary(&shape).to_bytes());
            }
        }
    }
}
