//! Rows of many cells: which row belongs to which pane and key, and the windows that the cells become.

use super::keys::KeyTable;
use crate::backend::Partial;
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::report::{Closed, Named, WindowBounds};
use crate::spec::{Spec, Window};
use crate::summary::{LeafRun, Merge, Shape, Summary};
use crate::window;
use hashbrown::HashMap;

/// What a cell takes beside its summaries: its entry, its place in the hash table, its share of the keys.
const CELL_BYTES: usize = size_of::<Cell>() + 64;

/// State where there are keys or windows.
#[derive(Debug, Default)]
pub(super) struct Grouped {
    keys: Option<KeyTable>,
    /// Rows by key, for windows that count rows.
    key_rows: Vec<i64>,
    cells: Vec<Cell>,
    index: HashMap<(i64, u32), u32>,
    /// By cell: its number within the current batch, valid where the stamp is the current one.
    local: Vec<(u64, u32)>,
}

#[derive(Debug)]
struct Cell {
    pane: i64,
    key: u32,
    folded: Summary,
    open: Option<LeafRun>,
}

impl Grouped {
    /// Cells so far.
    pub(super) fn len(&self) -> usize {
        self.cells.len()
    }

    /// What the cells take in bytes, as far as it grows with their number.
    pub(super) fn memory_bytes(&self, shape: &Shape) -> u64 {
        // A summary and a running leaf a cell, and what the table that finds it takes.
        (self.cells.len() * (2 * shape.state_bytes() + CELL_BYTES)) as u64
    }

    /// Takes the unfinished leaves of these cells, to be continued.
    pub(super) fn take_open(&mut self, slots: &[u32]) -> Vec<Option<LeafRun>> {
        let cells = &mut self.cells;
        slots.iter().map(|slot| cells[*slot as usize].open.take()).collect()
    }

    /// Folds the next leaf of a cell into it, or keeps its unfinished one.
    pub(super) fn fold(&mut self, slot: u32, partial: Partial) {
        let cell = &mut self.cells[slot as usize];
        match partial {
            Partial::Leaf(leaf) => cell.folded.merge(&leaf),
            Partial::Open(run) => cell.open = Some(*run),
        }
    }

    /// The number of each row's key, in all of a batch: what cannot be a key is found before any row counts.
    pub(super) fn number(&mut self, spec: &Spec, batch: &Batch) -> Result<Vec<u32>> {
        if spec.keys.is_empty() {
            return Ok(vec![0; batch.rows()]);
        }
        let table = match &mut self.keys {
            Some(table) => table,
            None => self.keys.insert(KeyTable::new(&spec.keys)?),
        };
        let mut numbers = Vec::with_capacity(batch.rows());
        table.numbers(batch.keys(), &mut numbers)?;
        Ok(numbers)
    }

    /// Numbers the cells of a batch whose keys have these numbers: by row its cell within the batch, and by that the
    /// engine's cell.
    ///
    /// `stamp` is another one for each batch.
    pub(super) fn assign(
        &mut self,
        spec: &Spec,
        batch: &Batch,
        key_numbers: &[u32],
        stamp: u64,
    ) -> Result<(Vec<u32>, Vec<u32>)> {
        let rows = batch.rows();
        let keys = self.keys.as_ref().map_or(1, KeyTable::len);
        self.key_rows.resize(keys.max(self.key_rows.len()), 0);
        let times = batch.time_ns().unwrap_or(&[]);
        let pane_length = spec.window.map_or(1, Window::pane);
        let mut cell_of_row = Vec::with_capacity(rows);
        let mut slots: Vec<u32> = Vec::new();
        let mut last = None;
        for (i, key) in key_numbers.iter().enumerate() {
            let pane = match spec.window {
                Some(Window::Time { .. }) => times[i].div_euclid(pane_length),
                Some(Window::Rows { .. }) => {
                    let row = &mut self.key_rows[*key as usize];
                    *row += 1;
                    (*row - 1) / pane_length
                }
                None => 0,
            };
            if let Some((at, number)) = last
                && at == (pane, *key)
            {
                cell_of_row.push(number);
                continue;
            }
            let slot = self.slot(pane, *key)?;
            let local = &mut self.local[slot as usize];
            if local.0 != stamp {
                *local = (stamp, slots.len() as u32);
                slots.push(slot);
            }
            last = Some(((pane, *key), local.1));
            cell_of_row.push(local.1);
        }
        Ok((cell_of_row, slots))
    }

    fn slot(&mut self, pane: i64, key: u32) -> Result<u32> {
        if let Some(slot) = self.index.get(&(pane, key)) {
            return Ok(*slot);
        }
        let slot = u32::try_from(self.cells.len())
            .map_err(|_| Error::Limit("there are more than 2^32 windows and keys".into()))?;
        self.index.insert((pane, key), slot);
        self.cells.push(Cell {
            pane,
            key,
            folded: Summary::default(),
            open: None,
        });
        self.local.push((0, 0));
        Ok(slot)
    }

    /// Every window, ordered by window, then key.
    pub(super) fn close(self, spec: &Spec, shape: &Shape) -> Result<Vec<Closed>> {
        let values = self.keys.as_ref().map_or(Ok(vec![Vec::new()]), KeyTable::values)?;
        let mut rank: Vec<u32> = (0..values.len() as u32).collect();
        if let Some(table) = &self.keys {
            rank.sort_unstable_by(|a, b| table.compare(*a, *b));
        }
        let mut by_key: Vec<Vec<(i64, Summary)>> = vec![Vec::new(); values.len()];
        for mut cell in self.cells {
            if let Some(run) = cell.open.take() {
                cell.folded.merge(&run.finish(shape));
            }
            by_key[cell.key as usize].push((cell.pane, cell.folded));
        }
        // Only places are sorted: what is closed is large.
        let mut places = Vec::new();
        let mut closed = Vec::new();
        for (order, number) in rank.iter().enumerate() {
            let mut panes = std::mem::take(&mut by_key[*number as usize]);
            panes.sort_by_key(|p| p.0);
            let windows = match spec.window {
                Some(window) => window::assemble(window, panes),
                None => panes,
            };
            for (k, summary) in windows {
                places.push((k, order, closed.len()));
                closed.push(Some(Closed {
                    key: (!spec.keys.is_empty()).then(|| Named(values[*number as usize].clone())),
                    window: spec.window.map(|window| WindowBounds::of(window, k)),
                    summary,
                }));
            }
        }
        places.sort_unstable();
        Ok(places
            .into_iter()
            .filter_map(|(_, _, place)| closed[place].take())
            .collect())
    }
}
