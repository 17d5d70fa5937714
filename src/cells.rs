//! Which rows of a batch belong to which cell, as blocks of leaves.
//!
//! Rows are brought together by a stable counting sort over cell numbers: O(rows), the order within a cell kept. A
//! block is a run of consecutive rows of one cell that lie in one leaf; leaves are numbered by the rows of the cell
//! since its beginning, whatever the batches were.

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
        let blocks = (0..rows.div_ceil(leaf_rows))
            .map(|k| {
                let end = rows.min((k + 1) * leaf_rows);
                Block {
                    cell: 0,
                    rows: k * leaf_rows..end,
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
    fn one_cell_is_cut_into_leaves() {
        let cells = Cells::single(10, 4);
        let blocks: Vec<_> = cells.blocks.iter().map(|b| (b.rows.clone(), b.complete)).collect();
        assert_eq!(blocks, [(0..4, true), (4..8, true), (8..10, false)]);
        assert_eq!(Cells::single(0, 4).blocks, []);
    }
}
