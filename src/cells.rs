//! Which rows of a batch belong to which cell, as blocks of leaves.
//!
//! Rows are brought together by a stable counting sort over cell numbers: O(rows), the order within a cell kept. A
//! block is a run of consecutive rows of one cell that lie in one leaf; leaves are numbered by the rows of the cell
//! since its beginning, whatever the batches were.

use rayon::prelude::*;
use std::ops::Range;

/// A run of rows of one cell within one leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The cell, counted within the batch.
    pub cell: u32,
    /// Places in [`Cells::order`], or rows of the batch where there is no order.
    pub rows: Range<usize>,
    /// Whether the leaf ends with this block.
    pub complete: bool,
}

/// The cells of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cells {
    /// How many there are.
    pub count: usize,
    /// Blocks, ordered by cell, then row.
    pub blocks: Vec<Block>,
    /// Rows of the batch ordered by cell, stable; absent where all rows are of one cell.
    pub order: Option<Vec<u32>>,
}

impl Cells {
    /// One cell of consecutive rows that begins with a leaf.
    ///
    /// # Panics
    /// If a leaf has no rows.
    pub fn single(rows: usize, leaf_rows: usize) -> Self {
        Self::continued(0, rows, leaf_rows)
    }

    /// One cell of consecutive rows, whose first leaf has had so many `before`.
    ///
    /// # Panics
    /// If a leaf has no rows, or fewer than it has had.
    pub fn continued(before: usize, rows: usize, leaf_rows: usize) -> Self {
        let blocks = (0..(before + rows).div_ceil(leaf_rows))
            .map(|k| {
                let end = (before + rows).min((k + 1) * leaf_rows);
                Block {
                    cell: 0,
                    rows: (k * leaf_rows).saturating_sub(before)..end - before,
                    complete: end == (k + 1) * leaf_rows,
                }
            })
            .collect();
        Self {
            count: 1,
            blocks,
            order: None,
        }
    }

    /// Many cells: `cell_of_row` numbers the cell of each row from 0, `carried_rows` holds the rows that each cell's
    /// open leaf has already.
    ///
    /// # Panics
    /// If a row's cell is not below `carried_rows.len()`, there are more than 2³² rows, or a leaf has none.
    pub fn grouped(cell_of_row: &[u32], carried_rows: &[usize], leaf_rows: usize) -> Self {
        assert!(
            u32::try_from(cell_of_row.len()).is_ok(),
            "a batch has fewer than 2^32 rows"
        );
        let count = carried_rows.len();
        let mut starts = vec![0usize; count + 1];
        for cell in cell_of_row {
            starts[*cell as usize + 1] += 1;
        }
        for i in 0..count {
            starts[i + 1] += starts[i];
        }
        let mut next = starts.clone();
        let mut order = vec![0u32; cell_of_row.len()];
        for (row, cell) in cell_of_row.iter().enumerate() {
            let place = &mut next[*cell as usize];
            order[*place] = row as u32;
            *place += 1;
        }
        let mut blocks = Vec::with_capacity(count + cell_of_row.len() / leaf_rows);
        for cell in 0..count {
            let (mut at, end) = (starts[cell], starts[cell + 1]);
            let mut room = leaf_rows - carried_rows[cell] % leaf_rows;
            while at < end {
                let stop = end.min(at + room);
                blocks.push(Block {
                    cell: cell as u32,
                    rows: at..stop,
                    complete: stop - at == room,
                });
                at = stop;
                room = leaf_rows;
            }
        }
        Self {
            count,
            blocks,
            order: Some(order),
        }
    }
}

/// Rows below which they are brought together by one thread: about what another could do in the time that waking it
/// takes.
pub(crate) const PARALLEL_ROWS_MIN: usize = 16_384;

/// Where the rows of a batch go when they are brought together by cell, in parts: rows that follow each other, each by a
/// thread of its own. Filled again for batch after batch, it asks for memory once where these are alike.
#[derive(Debug, Default)]
pub(crate) struct ByCell {
    parts: Vec<Part>,
}

#[derive(Debug, Default)]
pub(crate) struct Part {
    /// The number of its first row in the batch.
    first: usize,
    /// By row its place.
    places: Vec<u32>,
    cells: Vec<Ends>,
}

/// The rows of a cell in a part.
#[derive(Debug, Clone, Copy, Default)]
struct Ends {
    /// Where their places end.
    end: u32,
    /// The number of the last one in the batch.
    last: u32,
}

impl ByCell {
    /// Rows of which this is the cell, below `count`, instead of what it has.
    ///
    /// # Panics
    /// If a row's cell is not below `count`.
    pub(crate) fn fill(&mut self, cell_of_row: &[u32], count: usize) {
        let rows = cell_of_row.len();
        let tasks = rows_of_task(rows).map_or(1, |length| rows.div_ceil(length));
        self.parts.resize_with(tasks, Part::default);
        match rows_of_task(rows) {
            Some(length) => {
                let parts = self.parts.par_iter_mut().zip(cell_of_row.par_chunks(length));
                parts
                    .enumerate()
                    .for_each(|(k, (part, cells))| part.fill(cells, k * length, count));
            }
            None => self.fill_alone(cell_of_row, count),
        }
    }

    /// The same on this thread alone.
    ///
    /// # Panics
    /// If a row's cell is not below `count`.
    pub(crate) fn fill_alone(&mut self, cell_of_row: &[u32], count: usize) {
        self.parts.resize_with(1, Part::default);
        self.parts[0].fill(cell_of_row, 0, count);
    }

    /// The parts.
    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// How many rows a cell has.
    #[inline]
    pub(crate) fn len_of(&self, cell: u32) -> usize {
        self.parts.iter().map(|part| part.range(cell).len()).sum()
    }

    /// The last row of a cell; `None` where it has none.
    #[inline]
    pub(crate) fn last_of(&self, cell: u32) -> Option<u32> {
        let part = self.parts.iter().rev().find(|part| !part.range(cell).is_empty());
        part.map(|part| part.cells[cell as usize].last)
    }

    /// By part, its rows in the order of their places.
    pub(crate) fn orders(&self, parallel: bool) -> Vec<Vec<u32>> {
        match parallel {
            true => self.parts.par_iter().map(Part::order).collect(),
            false => self.parts.iter().map(Part::order).collect(),
        }
    }
}

impl Part {
    fn fill(&mut self, cell_of_row: &[u32], first: usize, count: usize) {
        self.first = first;
        let cells = &mut self.cells;
        cells.clear();
        cells.resize(count, Ends::default());
        cell_of_row.iter().for_each(|cell| cells[*cell as usize].end += 1);
        let mut start = 0;
        for cell in cells.iter_mut() {
            start += std::mem::replace(&mut cell.end, start);
        }
        // Each end is where the next row of the cell goes; behind the last one it is the end.
        let place = |(row, cell): (u32, &u32)| {
            let own = &mut cells[*cell as usize];
            own.last = row;
            own.end += 1;
            own.end - 1
        };
        self.places.clear();
        self.places.extend((first as u32..).zip(cell_of_row).map(place));
    }

    /// The number of its first row in the batch.
    pub(crate) fn first(&self) -> usize {
        self.first
    }

    /// By row its place.
    pub(crate) fn places(&self) -> &[u32] {
        &self.places
    }

    /// The places of the rows of a cell.
    #[inline]
    pub(crate) fn range(&self, cell: u32) -> Range<usize> {
        let cell = cell as usize;
        let start = if cell == 0 { 0 } else { self.cells[cell - 1].end };
        start as usize..self.cells[cell].end as usize
    }

    /// By place the row.
    fn order(&self) -> Vec<u32> {
        let mut order = vec![0u32; self.places.len()];
        for (row, place) in (self.first as u32..).zip(&self.places) {
            order[*place as usize] = row;
        }
        order
    }
}

/// Rows that a task takes, so that there is one a thread; `None` where one thread takes all.
fn rows_of_task(rows: usize) -> Option<usize> {
    (rows >= PARALLEL_ROWS_MIN).then(|| rows.div_ceil(rayon::current_num_threads()))
}

/// What tasks make of rows that follow each other, in their order. A task is given the number of its first row.
fn by_rows<T: Sync, R: Send>(rows: &[T], make: impl Fn(usize, &[T]) -> R + Sync) -> Vec<R> {
    match rows_of_task(rows.len()) {
        Some(length) => {
            let task = |(k, rows)| make(k * length, rows);
            rows.par_chunks(length).enumerate().map(task).collect()
        }
        None => vec![make(0, rows)],
    }
}

/// Fills numbers by row, by tasks that take rows that follow each other; what the tasks return, in the order of their
/// rows. A task is given the number of its first row.
pub(crate) fn fill_by_row<T: Sync, R: Send>(
    from: &[T],
    numbers: &mut [u32],
    fill: impl Fn(usize, &[T], &mut [u32]) -> R + Sync,
) -> Vec<R> {
    match rows_of_task(from.len()) {
        Some(length) => {
            let tasks = numbers.par_chunks_mut(length).zip(from.par_chunks(length));
            let task = |(k, (numbers, from)): (usize, (&mut [u32], &[T]))| fill(k * length, from, numbers);
            tasks.enumerate().map(task).collect()
        }
        None => vec![fill(0, from, numbers)],
    }
}

/// The first and the last of some times; `None` where there are none.
pub(crate) fn span(times: &[i64]) -> Option<(i64, i64)> {
    let spans = by_rows(times, |_, times| Some((*times.iter().min()?, *times.iter().max()?)));
    spans.into_iter().flatten().reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}

/// Cells of panes that begin with `first` and have this length, for keys below `count`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PanesByKeys {
    pub(crate) length: i64,
    pub(crate) first: i64,
    pub(crate) count: usize,
}

/// By row the number (pane − first) · count + key, instead of what `cells` had.
pub(crate) fn panes_by_keys(times: &[i64], keys: &[u32], by: PanesByKeys, cells: &mut Vec<u32>) {
    let PanesByKeys { length, first, count } = by;
    cells.resize(keys.len(), 0);
    fill_by_row(times, cells, |row, times, cells| {
        // The pane of the row before, and the times in it: at the ends of time it is cut, which costs divisions.
        let (mut before, mut span) = (0, 1..1);
        let keys = &keys[row..row + times.len()];
        for ((cell, time), key) in cells.iter_mut().zip(times).zip(keys) {
            if !span.contains(time) {
                let pane = time.div_euclid(length);
                let start = pane.saturating_mul(length);
                span = start..start.saturating_add(length);
                before = (pane - first) as u32 * count as u32;
            }
            *cell = before + key;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sort_is_stable_and_blocks_end_where_leaves_end() {
        let cells = Cells::grouped(&[1, 0, 1, 1, 0, 1, 1], &[0, 3], 4);
        assert_eq!(cells.order, Some(vec![1, 4, 0, 2, 3, 5, 6]));
        let blocks: Vec<_> = cells
            .blocks
            .iter()
            .map(|b| (b.cell, b.rows.clone(), b.complete))
            .collect();
        assert_eq!(blocks, [(0, 0..2, false), (1, 2..3, true), (1, 3..7, true)]);
    }

    #[test]
    fn rows_of_each_cell_keep_their_order_in_one_part_and_in_many() {
        let mut found = ByCell::default();
        for rows in [1000, 3 * PARALLEL_ROWS_MIN + 1, 0, 1, 5000] {
            let cells: Vec<u32> = (0..rows as u64).map(|i| (i * i % 101 % 7) as u32).collect();
            found.fill(&cells, 9);
            let orders = found.orders(rows > 1000);
            assert_eq!(orders.iter().map(Vec::len).sum::<usize>(), rows);
            for cell in 0..9 {
                let own: Vec<u32> = (0..rows as u32).filter(|row| cells[*row as usize] == cell).collect();
                let parts = orders.iter().zip(found.parts());
                let ordered: Vec<u32> = parts
                    .flat_map(|(order, part)| &order[part.range(cell)])
                    .copied()
                    .collect();
                assert_eq!(ordered, own, "{cell}");
                assert_eq!(found.len_of(cell), own.len());
                assert_eq!(found.last_of(cell), own.last().copied());
                for part in found.parts() {
                    let of_part = own
                        .iter()
                        .filter(|row| (part.first()..part.first() + part.places().len()).contains(&(**row as usize)));
                    let places: Vec<usize> = of_part
                        .map(|row| part.places()[*row as usize - part.first()] as usize)
                        .collect();
                    assert_eq!(places, part.range(cell).collect::<Vec<_>>());
                }
            }
        }
    }

    #[test]
    fn cells_are_numbered_pane_by_pane() {
        let times = [-1, 0, 9, 10, i64::MAX, 25, i64::MIN];
        let keys = [0, 1, 2, 0, 1, 2, 0];
        assert_eq!(span(&times), Some((i64::MIN, i64::MAX)));
        assert_eq!(span(&[]), None);
        let mut cells = vec![7; 9];
        let mut cells_of = |rows: Range<usize>, first: i64| {
            let by = PanesByKeys {
                length: 10,
                first,
                count: 3,
            };
            panes_by_keys(&times[rows.clone()], &keys[rows], by, &mut cells);
            cells.clone()
        };
        assert_eq!(cells_of(0..4, -1), [0, 4, 5, 6]);
        assert_eq!(cells_of(4..5, i64::MAX.div_euclid(10)), [1]);
        assert_eq!(cells_of(6..7, i64::MIN.div_euclid(10)), [0]);
    }

    #[test]
    fn one_cell_is_cut_into_leaves() {
        let cells = Cells::single(10, 4);
        let blocks: Vec<_> = cells.blocks.iter().map(|b| (b.rows.clone(), b.complete)).collect();
        assert_eq!(blocks, [(0..4, true), (4..8, true), (8..10, false)]);
        assert_eq!(Cells::single(0, 4).blocks, []);
        let cells = Cells::continued(3, 6, 4);
        let blocks: Vec<_> = cells.blocks.iter().map(|b| (b.rows.clone(), b.complete)).collect();
        assert_eq!(blocks, [(0..1, true), (1..5, true), (5..6, false)]);
    }
}
