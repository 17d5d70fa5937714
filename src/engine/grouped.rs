//! Rows of many cells: which row belongs to which pane and key, and the windows that the cells become.

use super::keys::KeyTable;
use crate::backend::Partial;
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::report::{Closed, WindowBounds};
use crate::spec::{Spec, Window};
use crate::summary::{LeafRun, Merge, Quantiles, Shape, Summary};
use crate::window;
use hashbrown::HashMap;
use std::sync::Arc;

/// What a cell takes beside its summaries: its entry, its place in the hash table, its share of the keys.
const CELL_BYTES: usize = size_of::<Cell>() + 64;

/// State where there are keys or windows.
#[derive(Debug, Default)]
pub(super) struct Grouped {
    keys: Option<KeyTable>,
    /// Rows by key, for windows that count rows.
    key_rows: Vec<i64>,
    cells: Vec<Cell>,
    /// What the quantiles of folded leaves take.
    sketch_bytes: usize,
    /// The least and the greatest pane.
    panes: (i64, i64),
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

    /// What the cells take in bytes, with the windows that they become and groups of this size, as far as it grows with
    /// their number.
    pub(super) fn memory_bytes(&self, window: Option<Window>, shape: &Shape, group_bytes: usize) -> u64 {
        let keys = self.keys.as_ref().map_or(0, KeyTable::memory_bytes);
        let group_bytes = group_bytes + self.keys.as_ref().map_or(0, KeyTable::value_bytes);
        // A summary and a running leaf a cell, and what the table that finds it takes.
        let cell = 2 * shape.state_bytes() + CELL_BYTES;
        let mut total = (keys + self.sketch_bytes + self.cells.len() * cell) as u64;
        let mut groups = self.cells.len() as u64;
        if let Some(window) = window.filter(|window| window.overlaps()) {
            // Panes become suffixes and prefixes of their runs, and windows of many keys are there at once.
            groups = self.windows_max(window);
            total = total.saturating_add(groups.saturating_mul(shape.state_bytes() as u64));
        }
        total.saturating_add(groups.saturating_mul(group_bytes as u64))
    }

    /// Windows over the cells at most: as many as hold each, and no more a key than there are from the first to the
    /// last.
    fn windows_max(&self, window: Window) -> u64 {
        let (size, slide) = window.size_slide();
        let (run, step) = (i128::from(size / window.pane()), i128::from(slide / window.pane()));
        let cells = self.cells.len() as i128;
        let keys = self.key_rows.len() as i128;
        let span = i128::from(self.panes.1) - i128::from(self.panes.0) + run;
        let windows = (cells * (run / step + 1)).min(keys.max(1) * (span / step + 1));
        windows.try_into().unwrap_or(u64::MAX)
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
            Partial::Leaf(leaf) => {
                let sketches = |summary: &Summary| summary.quantiles.iter().map(Quantiles::heap_bytes).sum::<usize>();
                let before = sketches(&cell.folded);
                cell.folded.merge(&leaf);
                self.sketch_bytes += sketches(&cell.folded).saturating_sub(before);
            }
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
        self.panes = match self.cells.is_empty() {
            true => (pane, pane),
            false => (self.panes.0.min(pane), self.panes.1.max(pane)),
        };
        self.cells.push(Cell {
            pane,
            key,
            folded: Summary::default(),
            open: None,
        });
        self.local.push((0, 0));
        Ok(slot)
    }

    /// Every window, ordered by window, then key. A cell is gone once its windows are taken.
    pub(super) fn close(self, window: Option<Window>, shape: Arc<Shape>) -> Result<Box<dyn Iterator<Item = Closed>>> {
        let Self { keys, mut cells, .. } = self;
        let rank = keys.as_ref().map_or(vec![0], KeyTable::ranks);
        let values = keys.map(|table| table.values()).transpose()?;
        let finished = move |cell: Cell| {
            let mut summary = cell.folded;
            if let Some(run) = cell.open {
                summary.merge(&run.finish(&shape));
            }
            summary
        };
        let closed = move |(k, key, summary): (i64, u32, Summary)| Closed {
            key: values.as_ref().map(|values| values.get(key)),
            window: window.map(|window| WindowBounds::of(window, k)),
            summary,
        };
        let Some(window) = window.filter(|window| window.overlaps()) else {
            cells.sort_unstable_by_key(|cell| (cell.pane, rank[cell.key as usize]));
            let windows = cells.into_iter().map(move |cell| (cell.pane, cell.key, finished(cell)));
            return Ok(Box::new(windows.map(closed)));
        };
        cells.sort_unstable_by_key(|cell| (rank[cell.key as usize], cell.pane));
        let mut cells = cells.into_iter().peekable();
        let mut windows_of_next_key = move || {
            let first = cells.next()?;
            let key = first.key;
            let mut panes = vec![(first.pane, finished(first))];
            while let Some(cell) = cells.next_if(|cell| cell.key == key) {
                panes.push((cell.pane, finished(cell)));
            }
            Some(window::assemble(window, panes).map(move |(k, summary)| (k, key, summary)))
        };
        if rank.len() == 1 {
            return Ok(Box::new(windows_of_next_key().into_iter().flatten().map(closed)));
        }
        let mut windows: Vec<_> = std::iter::from_fn(windows_of_next_key).flatten().collect();
        windows.sort_unstable_by_key(|(k, key, _)| (*k, rank[*key as usize]));
        Ok(Box::new(windows.into_iter().map(closed)))
    }
}
