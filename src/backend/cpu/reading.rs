//! The moments of the columns of a leaf, read piece by piece: a kernel that takes the same pieces finds each in the cache.

use super::leaf::LeafColumn;
use super::moments::{LaneSums, of_column, of_mixed, of_sums};
use crate::spec::LEAF_ROWS;
use crate::summary::{Merge, Moments, Order};
use std::ops::Range;

/// The moments of a column of a leaf. Leaves of many columns are long: their moments come from runs that stay in the
/// first-level cache, and are as accurate as any.
pub(super) fn column_moments(column: LeafColumn<'_>, order: Order) -> Moments {
    let rows = column.rows();
    let run = |start: usize| of_column(column, start..rows.min(start + LEAF_ROWS), order);
    let mut moments = run(0);
    for start in (LEAF_ROWS..rows).step_by(LEAF_ROWS) {
        moments.merge(&run(start));
    }
    moments
}

/// The columns of a leaf, of which some rows are read: what is found has the bits of [`column_moments`].
#[derive(Debug)]
pub(super) struct Reading<'a> {
    columns: &'a [LeafColumn<'a>],
    order: Order,
    /// Rows of the leaf.
    rows: usize,
    /// Rows that are read.
    read: usize,
    states: Vec<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Sums of the run that is being read.
    lanes: Option<LaneSums>,
    /// The moments of those before it.
    moments: Option<Moments>,
}

impl<'a> Reading<'a> {
    /// Nothing read yet.
    pub(super) fn new(columns: &'a [LeafColumn<'a>], rows: usize, order: Order) -> Self {
        Self {
            columns,
            order,
            rows,
            read: 0,
            states: columns.iter().map(|_| State::default()).collect(),
        }
    }

    /// Reads the rows before `end`, as far as they are not read yet.
    pub(super) fn read(&mut self, end: usize) {
        let end = end.min(self.rows);
        while self.read < end {
            let start = self.read / LEAF_ROWS * LEAF_ROWS;
            let run = start..self.rows.min(start + LEAF_ROWS);
            let rows = self.read..end.min(run.end);
            self.read = rows.end;
            for (column, state) in self.columns.iter().zip(&mut self.states) {
                state.read(*column, rows.clone(), run.clone(), self.order);
            }
        }
    }

    /// Reads the rest; the moments of every column.
    pub(super) fn finish(mut self) -> Vec<Moments> {
        self.read(self.rows);
        let order = self.order;
        let none = || Moments {
            order,
            ..Moments::default()
        };
        self.states
            .into_iter()
            .map(|state| state.moments.unwrap_or_else(none))
            .collect()
    }
}

impl State {
    /// Takes rows of a run.
    fn read(&mut self, column: LeafColumn<'_>, rows: Range<usize>, run: Range<usize>, order: Order) {
        let is_last = rows.end == run.end;
        let found = if column.has_nulls() {
            is_last.then(|| of_column(column, run, order))
        } else {
            let lanes = self.lanes.get_or_insert_with(|| LaneSums::new(column.get(run.start)));
            lanes.add_runs(column.runs(rows), order);
            let lanes = self.lanes.take_if(|_| is_last);
            lanes.map(|lanes| {
                of_sums(column.runs(run.clone()), &lanes, order).unwrap_or_else(|| of_mixed(&column.dense(run), order))
            })
        };
        match (&mut self.moments, found) {
            (Some(moments), Some(found)) => moments.merge(&found),
            (none, Some(found)) => *none = Some(found),
            (_, None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::leaf::Leaf;
    use super::*;
    use crate::batch::{Batch, Column, Values};
    use proptest::prelude::*;

    /// Rows of a batch of two columns, of `f64` and of `f32` with nulls; one value in many is odd.
    fn batch(rows: usize, seed: u64) -> Batch {
        let mut state = seed | 1;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state >> 33
        };
        let wide: Vec<f64> = (0..rows)
            .map(|_| match next() {
                x if x % 5000 == 0 => f64::NAN,
                x if x % 5000 == 1 => f64::INFINITY,
                x => 1e6 + x as f64 / 1e9,
            })
            .collect();
        let narrow: Vec<f32> = (0..rows).map(|_| next() as f32).collect();
        let valid: Vec<bool> = (0..rows).map(|_| !next().is_multiple_of(9)).collect();
        let nulls = seed.is_multiple_of(2).then(|| valid.into());
        let wide = Column {
            values: Values::F64(wide.into()),
            nulls: None,
        };
        let narrow = Column {
            values: Values::F32(narrow.into()),
            nulls,
        };
        Batch::new(rows, vec![("wide".into(), wide), ("narrow".into(), narrow)]).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Against the moments of each column by itself, over its runs.
        #[test]
        fn pieces_have_the_bits_of_the_whole(
            rows in prop::collection::vec(1usize..5000, 1..4),
            pieces in prop::collection::vec(1usize..3000, 1..6),
            seed: u64,
            fourth: bool,
        ) {
            let order = if fourth { Order::Fourth } else { Order::Second };
            let batches: Vec<Batch> = rows.iter().zip(seed..).map(|(rows, seed)| batch(*rows, seed)).collect();
            let leaf = Leaf::of_batches(&batches);
            let columns = [leaf.column(0), leaf.column(1)];
            let mut reading = Reading::new(&columns, leaf.rows(), order);
            let mut end = 0;
            for piece in pieces {
                end += piece;
                reading.read(end);
                // What is read is not read again.
                reading.read(end / 2);
            }
            let whole: Vec<Moments> = columns.iter().map(|column| column_moments(*column, order)).collect();
            prop_assert_eq!(reading.finish(), whole);
        }
    }

    #[test]
    fn no_rows_have_no_moments() {
        let leaf = Leaf::of_batches(&[]);
        assert_eq!(Reading::new(&[], leaf.rows(), Order::Second).finish(), []);
    }
}
