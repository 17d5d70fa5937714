//! Cells: a slab of their states, and how they are found by pane, key and partition.
//!
//! Places of the slab are used again, as windows of a feed close and others begin. Which cell a row belongs to is found in
//! [`places`]; what becomes of closed panes is in [`closing`].
//!
//! [`places`]: super::places
//! [`closing`]: super::closing

use super::closing::Closing;
use super::forgotten::{Forgotten, Past};
use super::keys::KeyTable;
use crate::backend::Partial;
use crate::error::{Error, Result};
use crate::spec::Window;
use crate::summary::{CellState, Ewm, LeafRun, Shape, Summary};
use hashbrown::HashMap;
use std::collections::BTreeMap;

/// What a cell takes beside its summaries: its entry, its places in the hash table and in the list of its pane, its
/// share of the keys.
const CELL_BYTES: usize = size_of::<Cell>() + size_of::<CellState>() + 72;

/// What a place in the slab takes where there is no cell.
const FREE_BYTES: usize = size_of::<Cell>() + size_of::<CellState>() + size_of::<(u64, u32)>() + size_of::<u32>();

/// No cell.
pub(super) const NONE: u32 = u32::MAX;

/// State where there are keys or windows.
#[derive(Debug, Default)]
pub(super) struct Grouped {
    pub(super) keys: Option<KeyTable>,
    /// Rows by key, and the part that its windows are, for windows that count rows.
    pub(super) key_rows: Vec<Past>,
    /// Those of keys that were forgotten.
    pub(super) forgotten: Forgotten,
    pub(super) cells: Vec<Cell>,
    /// By cell, what its rows come to.
    pub(super) states: Vec<CellState>,
    /// Places in the slab to use again.
    free: Vec<u32>,
    pub(super) index: HashMap<(i64, u32, u32), u32>,
    /// By key: the cell of its newest row.
    pub(super) recent: Vec<u32>,
    /// By key: the number of a row where it was last seen, of all rows.
    pub(super) seen: Vec<u64>,
    /// Cells by pane, where panes close together: with windows of time, or none.
    pub(super) panes: BTreeMap<i64, Vec<u32>>,
    /// Panes of rows that are full, in the order in which they became so, with their cells.
    pub(super) full: Vec<u32>,
    pub(super) closing: Closing,
    /// What the quantiles of cells take.
    pub(super) sketch_bytes: usize,
    /// By cell: its number within the current batch, valid where the stamp is the current one.
    pub(super) local: Vec<(u64, u32)>,
}

/// The rows of one pane, key and partition.
#[derive(Debug, Default)]
pub(super) struct Cell {
    pub(super) pane: i64,
    pub(super) key: u32,
    pub(super) partition: u32,
    pub(super) live: bool,
    pub(super) ewm: Option<Box<Ewm>>,
}

impl Grouped {
    pub(super) fn new(window: Option<Window>) -> Self {
        Self {
            closing: Closing::new(window),
            ..Self::default()
        }
    }

    /// Cells that are open.
    pub(super) fn len(&self) -> usize {
        self.cells.len() - self.free.len()
    }

    /// What the cells take in bytes, with the windows that they become and groups of this size, as far as it grows with
    /// their number.
    pub(super) fn memory_bytes(&self, window: Option<Window>, shape: &Shape, group_bytes: usize) -> u64 {
        let keys = self.keys.as_ref().map_or(0, KeyTable::memory_bytes);
        let group_bytes = group_bytes + self.keys.as_ref().map_or(0, KeyTable::value_bytes);
        // A summary and a running leaf a cell, and what the table that finds it takes.
        let cell = 2 * shape.state_bytes() + CELL_BYTES;
        let mut total = (keys + self.sketch_bytes + self.len() * cell) as u64;
        let mut groups = self.len() as u64;
        if let Some(window) = window.filter(|window| window.overlaps()) {
            // Panes become suffixes and prefixes of their runs, and windows of many keys are there at once.
            groups = self.windows_max(window);
            total = total.saturating_add(groups.saturating_mul(shape.state_bytes() as u64));
        }
        total.saturating_add(groups.saturating_mul(group_bytes as u64))
    }

    /// What the cells take in bytes while windows close as the feed goes on.
    pub(super) fn state_bytes(&self, shape: &Shape) -> u64 {
        let keys = self.keys.as_ref().map_or(0, KeyTable::memory_bytes);
        let cell = shape.run_bytes() + CELL_BYTES;
        let held = self.closing.summaries() * shape.state_bytes();
        // Those of a key up to its last closed pane, and of the rows of each cell.
        let averages = self.closing.ewm.values().next().map_or(0, |ewm| ewm.bytes());
        let averages = averages * (self.closing.ewm.len() + self.len());
        // Places that are free take their part until `compact`.
        let free = self.free.len() * FREE_BYTES;
        (keys + self.forgotten.bytes() + self.sketch_bytes + self.len() * cell + averages + free + held) as u64
    }

    /// Windows over the cells at most: as many as hold each, and no more a key than there are from the first to the
    /// last.
    fn windows_max(&self, window: Window) -> u64 {
        let (size, slide) = window.size_slide();
        let (run, step) = (i128::from(size / window.pane()), i128::from(slide / window.pane()));
        let cells = self.len() as i128;
        let keys = self.recent.len() as i128;
        let of_time = self.panes.first_key_value().zip(self.panes.last_key_value());
        let (first, last) = match of_time {
            Some(((first, _), (last, _))) => (*first, *last),
            None => {
                let rows = self.key_rows.iter().map(|past| past.rows).max();
                (0, rows.map_or(0, |rows| rows / window.pane()))
            }
        };
        let span = i128::from(last) - i128::from(first) + run;
        let windows = (cells * (run / step + 1)).min(keys.max(1) * (span / step + 1));
        windows.try_into().unwrap_or(u64::MAX)
    }

    /// Takes the unfinished leaves of these cells, to be continued.
    pub(super) fn take_open(&mut self, slots: &[u32]) -> Vec<Option<LeafRun>> {
        let states = &mut self.states;
        slots.iter().map(|slot| states[*slot as usize].take_open()).collect()
    }

    /// Folds the next leaf of a cell into it, or keeps its unfinished one.
    pub(super) fn fold(&mut self, slot: u32, partial: Partial) {
        let state = &mut self.states[slot as usize];
        match partial {
            Partial::Leaf(leaf) => {
                let before = state.sketch_bytes();
                state.fold(*leaf);
                self.sketch_bytes = self.sketch_bytes - before + state.sketch_bytes();
            }
            Partial::Open(run) => state.set_open(*run),
        }
    }

    /// The place of a cell, which is a new one where there is none.
    pub(super) fn slot(&mut self, pane: i64, key: u32, partition: u32, of_rows: bool) -> Result<u32> {
        let recent = self.recent[key as usize];
        if let Some(cell) = self.cells.get(recent as usize)
            && (cell.pane, cell.key, cell.partition, cell.live) == (pane, key, partition, true)
        {
            return Ok(recent);
        }
        if let Some(slot) = self.index.get(&(pane, key, partition)) {
            self.recent[key as usize] = *slot;
            return Ok(*slot);
        }
        let cell = Cell {
            pane,
            key,
            partition,
            live: true,
            ..Cell::default()
        };
        self.insert(cell, CellState::default(), of_rows)
    }

    /// A new cell in the slab.
    pub(super) fn insert(&mut self, cell: Cell, state: CellState, of_rows: bool) -> Result<u32> {
        let (pane, key) = (cell.pane, cell.key);
        self.sketch_bytes += state.sketch_bytes();
        let place = (pane, key, cell.partition);
        let slot = match self.free.pop() {
            Some(slot) => {
                (self.cells[slot as usize], self.states[slot as usize]) = (cell, state);
                slot
            }
            None => {
                let slot = u32::try_from(self.cells.len())
                    .ok()
                    .filter(|slot| *slot != NONE)
                    .ok_or_else(|| Error::Limit("there are more than 2^32 windows and keys".into()))?;
                self.cells.push(cell);
                self.states.push(state);
                self.local.push((0, 0));
                slot
            }
        };
        self.index.insert(place, slot);
        if !of_rows {
            self.panes.entry(pane).or_default().push(slot);
        }
        if let Some(recent) = self.recent.get_mut(key as usize) {
            *recent = slot;
        }
        Ok(slot)
    }

    /// What the quantiles of these cells take.
    pub(super) fn sketch_bytes_of(&self, slots: impl Iterator<Item = u32>) -> usize {
        slots.map(|slot| self.states[slot as usize].sketch_bytes()).sum()
    }

    /// Takes a cell out: its pane, its key, and what its rows come to.
    pub(super) fn remove(&mut self, slot: u32, shape: &Shape) -> (i64, u32, Summary) {
        let mut cell = std::mem::take(&mut self.cells[slot as usize]);
        let state = std::mem::take(&mut self.states[slot as usize]);
        self.sketch_bytes -= state.sketch_bytes();
        if let Some(ewm) = cell.ewm.take() {
            self.closing.weigh(cell.key, ewm);
        }
        if !self.index.is_empty() {
            self.index.remove(&(cell.pane, cell.key, cell.partition));
        }
        self.free.push(slot);
        (cell.pane, cell.key, state.into_summary(shape))
    }

    /// No one looks for a cell any more: all of them close, and no rows come.
    pub(super) fn forget_places(&mut self) {
        self.index = HashMap::new();
    }

    /// Brings every cell into the list of its pane: at the end, panes of rows close together too.
    pub(super) fn list_panes(&mut self) {
        self.panes.clear();
        for (slot, cell) in (0..).zip(&self.cells).filter(|(_, cell)| cell.live) {
            self.panes.entry(cell.pane).or_default().push(slot);
        }
    }

    /// Moves the cells together where most places of the slab are free. No work may be outstanding, and nothing half
    /// reported, as both know cells by their places.
    pub(super) fn compact(&mut self) {
        if self.free.len() <= self.len() || !self.closing.is_idle() {
            return;
        }
        let mut moved = vec![NONE; self.cells.len()];
        let live = moved.iter_mut().zip(&self.cells).filter(|(_, cell)| cell.live);
        live.zip(0..).for_each(|((moved, _), slot)| *moved = slot);
        let mut at = moved.iter();
        self.states.retain(|_| at.next() != Some(&NONE));
        self.cells.retain(|cell| cell.live);
        self.cells.shrink_to_fit();
        self.states.shrink_to_fit();
        (self.free, self.local) = (Vec::new(), vec![(0, 0); self.cells.len()]);
        let places = self.panes.values_mut().flatten().chain(&mut self.full);
        for slot in places.chain(self.index.values_mut()) {
            *slot = moved[*slot as usize];
        }
        self.index.shrink_to_fit();
        for slot in &mut self.recent {
            *slot = moved.get(*slot as usize).copied().unwrap_or(NONE);
        }
    }
}
