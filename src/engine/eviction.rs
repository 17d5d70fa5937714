//! Keys that are given up because there are too many: forgotten where nothing of them is open, else reported in parts.
//!
//! A key that is given up leaves what it has as a part of its windows, numbered from 1 by the round in which it was; if
//! it comes again, its later rows are another part (0, unless it is given up once more). The parts of a window and key
//! are sets of rows of their own, so their summaries merge to the whole. The keys that go are those that have not been
//! seen for the longest time.

use super::grouped::Grouped;
use super::keys::KeyTable;
use super::{Closed, Engine};
use crate::error::Result;
use crate::summary::{Merge, Shape, Summary};
use crate::window::Sliding;

/// Of a limit on keys or bytes, the part that is free afterwards: giving up costs a look at every key.
const FREED_PART: usize = 10;

impl Engine {
    /// Gives up keys while there are more than `keys_max`, or their state takes more than `bytes_max`: their open windows
    /// come back as parts. Everything that closed is to be taken before.
    ///
    /// # Errors
    /// [`Error::Failed`](crate::Error::Failed) if keys cannot be read back.
    pub fn give_up(&mut self, keys_max: usize, bytes_max: u64) -> Result<Vec<Closed>> {
        let Some(shape) = self.layout.as_ref().map(|layout| layout.shape.clone()) else {
            return Ok(Vec::new());
        };
        let keys = self.grouped.keys.as_ref().map_or(0, KeyTable::len);
        if keys == 0 || (keys <= keys_max && self.grouped.state_bytes(&shape) <= bytes_max) {
            return Ok(Vec::new());
        }
        self.drain();
        self.grouped.forget_closed()?;
        let keys = self.grouped.keys.as_ref().map_or(0, KeyTable::len);
        let over = keys > keys_max || self.grouped.state_bytes(&shape) > bytes_max;
        if !over {
            return Ok(Vec::new());
        }
        let many = keys.saturating_sub(keys_max) + keys.min(keys_max).div_ceil(FREED_PART);
        self.parts += 1;
        let mut closed = self.grouped.give_up(many, &shape)?;
        closed.iter_mut().for_each(|closed| closed.part = self.parts);
        Ok(closed)
    }
}

impl Grouped {
    /// By key number: whether something of it is open.
    fn open_keys(&self) -> Vec<bool> {
        let mut open = vec![false; self.keys.as_ref().map_or(0, KeyTable::len)];
        let cells = self.cells.iter().filter(|cell| cell.live).map(|cell| cell.key);
        for key in cells.chain(self.closing.sliding.keys().copied()) {
            open[key as usize] = true;
        }
        open
    }

    /// Forgets the keys of which nothing is open.
    fn forget_closed(&mut self) -> Result<()> {
        let open = self.open_keys();
        match open.contains(&false) {
            true => self.keep(&open),
            false => Ok(()),
        }
    }

    /// Takes out so many keys, those that have not been seen for the longest, and their windows.
    fn give_up(&mut self, many: usize, shape: &Shape) -> Result<Vec<Closed>> {
        let mut keys: Vec<u32> = (0..self.seen.len() as u32).collect();
        keys.sort_by_key(|key| self.seen[*key as usize]);
        keys.truncate(many);
        // In the order in which their cells stand below.
        keys.sort_unstable();
        let mut keep = vec![true; self.seen.len()];
        keys.iter().for_each(|key| keep[*key as usize] = false);
        let mut cells: Vec<u32> = (0..self.cells.len() as u32)
            .filter(|slot| {
                let cell = &self.cells[*slot as usize];
                cell.live && !keep[cell.key as usize]
            })
            .collect();
        cells.sort_unstable_by_key(|slot| {
            let cell = &self.cells[*slot as usize];
            (cell.key, cell.pane, cell.partition)
        });
        let gone: hashbrown::HashSet<u32> = cells.iter().copied().collect();
        self.panes.retain(|_, slots| {
            slots.retain(|slot| !gone.contains(slot));
            !slots.is_empty()
        });
        self.full.retain(|slot| !gone.contains(slot));
        let panes = self.closing.panes;
        let mut windows = Vec::new();
        let mut cells = cells.into_iter().peekable();
        for key in keys {
            let mut open: Vec<(i64, Summary)> = Vec::new();
            while let Some(slot) = cells.next_if(|slot| self.cells[*slot as usize].key == key) {
                let (pane, _, summary) = self.remove(slot, shape);
                match open.last_mut() {
                    Some((last, merged)) if *last == pane => merged.merge(&summary),
                    _ => open.push((pane, summary)),
                }
            }
            if panes.are_windows() {
                for (pane, summary) in open {
                    windows.push(self.closing.done(pane, key, summary));
                }
                continue;
            }
            let mut sliding = self.closing.sliding.remove(&key).unwrap_or_else(Sliding::new);
            let first = sliding.first_window(panes).into_iter();
            let first = first
                .chain(open.first().map(|(pane, _)| panes.first_window(*pane)))
                .min();
            let mut open = open.into_iter().peekable();
            let mut next = first.map(|first| first.max(self.closing.next));
            while let Some(k) = next {
                while let Some((pane, summary)) = open.next_if(|(pane, _)| i128::from(*pane) <= panes.span(k).1) {
                    sliding.push(panes, pane, summary);
                }
                if let Some(summary) = sliding.window(panes, k).0 {
                    windows.push(self.closing.done(k, key, summary));
                }
                next = k
                    .checked_add(1)
                    .filter(|next| open.peek().is_some() || !sliding.is_spent(panes, *next));
            }
        }
        windows.sort_by_key(|done| (done.window, done.key));
        let closed = self.named(windows)?;
        self.keep(&keep)?;
        Ok(closed)
    }

    /// Keeps these keys, which get new numbers.
    fn keep(&mut self, keep: &[bool]) -> Result<()> {
        let Some(keys) = &mut self.keys else { return Ok(()) };
        let numbers = keys.retain(keep)?;
        let number = |key: u32| numbers.get(key as usize).copied().flatten();
        for cell in self.cells.iter_mut().filter(|cell| cell.live) {
            if let Some(key) = number(cell.key) {
                cell.key = key;
            }
        }
        self.index.clear();
        for (slot, cell) in (0..).zip(&self.cells).filter(|(_, cell)| cell.live) {
            self.index.insert((cell.pane, cell.key, cell.partition), slot);
        }
        let mut kept = keep.iter();
        self.seen.retain(|_| *kept.next().unwrap_or(&true));
        let mut kept = keep.iter();
        self.recent.retain(|_| *kept.next().unwrap_or(&true));
        let mut kept = keep.iter();
        self.key_rows.retain(|_| *kept.next().unwrap_or(&true));
        let sliding = std::mem::take(&mut self.closing.sliding);
        self.closing.sliding = sliding
            .into_iter()
            .filter_map(|(key, panes)| Some((number(key)?, panes)))
            .collect();
        let ewm = std::mem::take(&mut self.closing.ewm);
        self.closing.ewm = ewm
            .into_iter()
            .filter_map(|(key, ewm)| Some((number(key)?, ewm)))
            .collect();
        self.closing.renumbered();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
