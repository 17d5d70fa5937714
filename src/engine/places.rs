//! Which cell each row of a batch belongs to: its pane, its key and its partition.
//!
//! Where a batch has more rows than there are panes and keys that they may be of, cells are numbered pane by pane and key
//! by key, which costs a row next to nothing; else in the order in which they appear.

use super::grouped::{Grouped, NONE};
use super::keys::KeyTable;
use crate::backend::cpu::{Place, SortedValues};
use crate::batch::Batch;
use crate::cells::{self, ByCell, PanesByKeys};
use crate::error::Result;
use crate::spec::{Spec, Window};
use crate::summary::{Ewm, Shape};

/// Panes and keys a row, up to which cells are numbered by them: the numbers that no row has cost less than a look into
/// a table for every row.
const CELLS_PER_ROW_MAX: usize = 8;

/// The cells of a batch: filled again for batch after batch, they ask for memory once.
#[derive(Debug, Default)]
pub(super) struct Located {
    /// By row the number of its key.
    pub(super) keys: Vec<u32>,
    /// By row its cell.
    cells: Vec<u32>,
    pub(super) rows: ByCell,
    /// The cells that have rows.
    pub(super) places: Vec<Place>,
    pub(super) values: SortedValues,
}

impl Grouped {
    /// Has the keys of a batch found: what cannot be a key is refused before any row counts.
    pub(super) fn know_keys(&mut self, spec: &Spec, batch: &Batch) -> Result<()> {
        if spec.keys.is_empty() {
            return Ok(());
        }
        let table = match &mut self.keys {
            Some(table) => table,
            None => self.keys.insert(KeyTable::new(&spec.keys)?),
        };
        let forms = table.forms();
        table.admit(batch.keys())?;
        if table.forms() != forms && !self.forgotten.is_empty() {
            // They would not be found by their encodings any more.
            self.forgotten.drop_all(self.closing.next_part());
        }
        Ok(())
    }

    /// The number of each row's key, in rows of a batch whose keys are known to be ones.
    pub(super) fn number(&mut self, batch: &Batch, numbers: &mut Vec<u32>) -> Result<()> {
        numbers.clear();
        match &mut self.keys {
            Some(table) => table.admitted_numbers(batch.keys(), numbers),
            None => {
                numbers.resize(batch.rows(), 0);
                Ok(())
            }
        }
    }

    /// Brings the rows of a batch, the numbers of whose keys are there, together by cell.
    ///
    /// The stamp is another one for each batch; with it comes the number of the first row.
    pub(super) fn locate(
        &mut self,
        spec: &Spec,
        partition: u32,
        batch: &Batch,
        (stamp, first): (u64, u64),
        located: &mut Located,
    ) -> Result<()> {
        let Located {
            keys,
            cells,
            rows,
            places,
            ..
        } = located;
        places.clear();
        let Some((pane, panes)) = self.few_panes(spec, batch) else {
            let slots = self.assign(spec, partition, batch, keys, (stamp, first), cells)?;
            rows.fill(cells, slots.len());
            places.extend((0..).zip(slots).map(|(cell, slot)| Place { cell, slot }));
            return Ok(());
        };
        self.know_places();
        let count = self.recent.len();
        let cell_of_row = match batch.time_ns().zip(spec.window) {
            Some((times, window)) => {
                let by = PanesByKeys {
                    length: window.pane(),
                    first: pane,
                    count,
                };
                cells::panes_by_keys(times, keys, by, cells);
                cells
            }
            None => keys,
        };
        rows.fill(cell_of_row, panes * count);
        for (pane, cells) in (pane..).zip(0..panes) {
            for key in 0..count as u32 {
                let cell = (cells * count) as u32 + key;
                if let Some(last) = rows.last_of(cell) {
                    self.seen[key as usize] = self.seen[key as usize].max(first + u64::from(last));
                    let slot = self.slot(pane, key, partition, false)?;
                    places.push(Place { cell, slot });
                }
            }
        }
        Ok(())
    }

    /// The first pane of a batch and how many there are, where they and the keys are few beside the rows.
    fn few_panes(&self, spec: &Spec, batch: &Batch) -> Option<(i64, usize)> {
        let keys = self.keys.as_ref().map_or(1, KeyTable::len);
        let (first, panes) = match (spec.window, batch.time_ns()) {
            (Some(Window::Rows { .. }), _) => return None,
            (Some(window), Some(times)) => {
                let (first, last) = cells::span(times)?;
                let (first, last) = (first.div_euclid(window.pane()), last.div_euclid(window.pane()));
                (first, usize::try_from(last.checked_sub(first)?).ok()?.checked_add(1)?)
            }
            _ => (0, 1),
        };
        let cells = panes.checked_mul(keys)?;
        (cells <= CELLS_PER_ROW_MAX * batch.rows()).then_some((first, panes))
    }

    /// Makes room for what is known of each key.
    pub(super) fn know_places(&mut self) {
        let keys = self.keys.as_ref().map_or(1, KeyTable::len);
        self.recent.resize(keys.max(self.recent.len()), NONE);
        self.seen.resize(keys.max(self.seen.len()), 0);
    }

    /// Numbers the cells of a batch whose keys have these numbers: by row its cell within the batch, instead of what
    /// `cell_of_row` had, and by that the engine's cell.
    ///
    /// The stamp is another one for each batch; with it comes the number of the first row.
    pub(super) fn assign(
        &mut self,
        spec: &Spec,
        partition: u32,
        batch: &Batch,
        key_numbers: &[u32],
        (stamp, first): (u64, u64),
        cell_of_row: &mut Vec<u32>,
    ) -> Result<Vec<u32>> {
        self.know_places();
        let keys = self.recent.len();
        let times = batch.time_ns().unwrap_or(&[]);
        let pane_length = spec.window.map_or(1, Window::pane);
        cell_of_row.clear();
        let mut slots: Vec<u32> = Vec::new();
        let mut last = None;
        let of_rows = matches!(spec.window, Some(Window::Rows { .. }));
        if of_rows {
            for key in self.key_rows.len()..keys {
                let encoded = self.keys.as_ref().map_or(&[][..], |table| table.encoded(key as u32));
                self.key_rows.push(self.forgotten.take(encoded));
            }
        }
        // Rows of a key are counted in the order of arrival, wherever they come from.
        let partition = if of_rows { 0 } else { partition };
        // The pane of the row before, and the times in it.
        let (mut pane, mut span) = (0, 1..1);
        for (i, key) in key_numbers.iter().enumerate() {
            let mut fills = false;
            match spec.window {
                Some(Window::Time { .. }) => {
                    let time = times[i];
                    if !span.contains(&time) {
                        pane = time.div_euclid(pane_length);
                        // At the ends of time the span is cut, which costs a division a row.
                        let start = pane.saturating_mul(pane_length);
                        span = start..start.saturating_add(pane_length);
                    }
                }
                Some(Window::Rows { .. }) => {
                    let row = &mut self.key_rows[*key as usize].rows;
                    pane = *row / pane_length;
                    *row += 1;
                    fills = *row % pane_length == 0;
                }
                None => {}
            }
            let number = match last {
                Some((at, number)) if at == (pane, *key) => number,
                _ => {
                    self.seen[*key as usize] = first + i as u64;
                    let slot = self.slot(pane, *key, partition, of_rows)?;
                    let local = &mut self.local[slot as usize];
                    if local.0 != stamp {
                        *local = (stamp, slots.len() as u32);
                        slots.push(slot);
                    }
                    last = Some(((pane, *key), local.1));
                    local.1
                }
            };
            cell_of_row.push(number);
            if fills {
                self.full.push(slots[number as usize]);
            }
        }
        Ok(slots)
    }

    /// Takes rows of cells, by their slots, into the exponentially weighted moments of these.
    pub(super) fn weigh<'a>(
        &mut self,
        spec: &Spec,
        shape: &Shape,
        batch: &Batch,
        rows: impl Iterator<Item = (u32, &'a [u32])>,
    ) {
        let (Some(half_life_ns), Some(times)) = (spec.ewm_half_life_ns, batch.time_ns()) else {
            return;
        };
        let columns = &batch.columns()[..shape.columns];
        for (slot, places) in rows {
            let new = || Box::new(Ewm::new(half_life_ns, shape.columns, spec.covariance));
            let ewm = self.cells[slot as usize].ewm.get_or_insert_with(new);
            for place in places {
                let i = *place as usize;
                ewm.push(times[i], |c| columns[c].get(i));
            }
        }
    }
}
