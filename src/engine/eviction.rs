//! Keys that are given up because there are too many: forgotten where nothing of them is open, else reported in parts.
//!
//! A key that is given up leaves what it has as a part of its windows, which no other report of them is; if it comes
//! again, its later rows are another part (0, unless it is given up once more). The parts of a window and key are sets of
//! rows of their own, so their summaries merge to the whole. The keys that go are those that have not been seen for the
//! longest time; without keys it is the oldest panes. Where windows count rows, a key that comes again goes on at its row.
//!
//! Exponentially weighted moments of a key that is forgotten begin anew if it comes again.

use super::forgotten::Past;
use super::grouped::Grouped;
use super::keys::KeyTable;
use super::{Closed, Engine};
use crate::error::Result;
use crate::spec::Window;
use crate::summary::{Merge, Shape, Summary};
use crate::window::Sliding;

/// Of a limit on keys or bytes, the part that is free afterwards: giving up costs a look at every key.
const FREED_PART: usize = 10;

/// Of a limit on bytes, the part that the row counts of forgotten keys may take.
const FORGOTTEN_PART: u64 = 4;

impl Engine {
    /// Forgets keys of which nothing is open.
    ///
    /// # Errors
    /// [`Error::Failed`](crate::Error::Failed) if keys cannot be read back.
    pub(crate) fn forget_closed(&mut self) -> Result<()> {
        if self.grouped.is_settled() && !self.ended {
            self.drain();
            self.grouped.forget_closed()?;
            self.grouped.compact();
        }
        Ok(())
    }

    /// Gives up keys while there are more than `keys_max`, or their state takes more than `bytes_max`: their open windows
    /// come back as parts. Without keys the older half of the open panes is given up where they take more than
    /// `bytes_max`, and all of them where windows overlap. Everything that closed is to be taken before: until then
    /// nothing is given up.
    ///
    /// Keys of which nothing is open are forgotten first, without a report; of all that are forgotten, exponentially
    /// weighted moments begin anew if they come again ([`Engine::averages_forgotten`] counts them).
    ///
    /// Which keys go depends on the rows so far and on where this was called. Where windows count rows, a key that comes
    /// again goes on at the row where it was; once the row counts of forgotten keys take a quarter of `bytes_max`, they
    /// are dropped, and keys that come then begin at row 0, with a part of their own.
    ///
    /// # Errors
    /// [`Error::Failed`](crate::Error::Failed) if keys cannot be read back.
    pub fn give_up(&mut self, keys_max: usize, bytes_max: u64) -> Result<Vec<Closed>> {
        let Some(shape) = self.layout.as_ref().map(|layout| layout.shape.clone()) else {
            return Ok(Vec::new());
        };
        let over = |grouped: &Grouped| {
            let keys = grouped.keys.as_ref().map_or(0, KeyTable::len);
            keys > keys_max || grouped.state_bytes(&shape) > bytes_max
        };
        if !self.spec.is_grouped() || !self.grouped.is_settled() || self.ended || !over(&self.grouped) {
            return Ok(Vec::new());
        }
        self.drain();
        self.grouped.forget_closed()?;
        self.grouped.compact();
        let mut closed = Vec::new();
        if over(&self.grouped) {
            let part = self.grouped.closing.next_part();
            let given_up = match self.grouped.keys.as_ref().map(KeyTable::len) {
                Some(keys) => {
                    let many = keys.saturating_sub(keys_max) + keys.min(keys_max).div_ceil(FREED_PART);
                    self.grouped.give_up(many, part, &shape)?
                }
                None => self.grouped.give_up_panes(part, &shape)?,
            };
            closed = given_up;
            self.grouped.compact();
        }
        if self.grouped.forgotten.bytes() as u64 > bytes_max / FORGOTTEN_PART {
            let part = self.grouped.closing.next_part();
            self.grouped.forgotten.drop_all(part);
        }
        Ok(closed)
    }

    /// How many keys have been forgotten ([`Engine::give_up`]) with their exponentially weighted moments, since the engine
    /// was new or restored.
    pub fn averages_forgotten(&self) -> u64 {
        self.grouped.closing.averages_forgotten
    }
}

impl Grouped {
    /// Whether everything that closed has been taken.
    pub(super) fn is_settled(&self) -> bool {
        self.closing.is_idle() && self.full.is_empty()
    }

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
        if self.keys.is_none() {
            return Ok(());
        }
        let open = self.open_keys();
        match open.contains(&false) {
            true => self.keep(&open),
            false => Ok(()),
        }
    }

    /// Takes out so many keys, those that have not been seen for the longest, and their windows.
    fn give_up(&mut self, many: usize, part: u64, shape: &Shape) -> Result<Vec<Closed>> {
        let known = self.keys.as_ref().map_or(0, KeyTable::len);
        let mut keys: Vec<u32> = (0..known as u32).collect();
        keys.sort_by_key(|key| self.seen.get(*key as usize));
        keys.truncate(many);
        let mut keep = vec![true; known];
        keys.iter().for_each(|key| keep[*key as usize] = false);
        let closed = self.take_out(keys, |key, _| !keep[key as usize], part, shape)?;
        self.keep(&keep)?;
        Ok(closed)
    }

    /// Takes out the older half of the open panes, where there is one key.
    fn give_up_panes(&mut self, part: u64, shape: &Shape) -> Result<Vec<Closed>> {
        if !self.closing.panes.are_windows() {
            return self.take_out(vec![0], |_, _| true, part, shape);
        }
        // One that goes on alone would be as large again at once.
        let last = (self.panes.len() / 2).checked_sub(1);
        let Some(last) = last.and_then(|place| self.panes.keys().nth(place).copied()) else {
            return Ok(Vec::new());
        };
        self.take_out(vec![0], |_, pane| pane <= last, part, shape)
    }

    /// Takes these cells (by key and pane) of these keys out, and what closed windows leave of the keys; their windows.
    fn take_out(
        &mut self,
        mut keys: Vec<u32>,
        goes: impl Fn(u32, i64) -> bool,
        part: u64,
        shape: &Shape,
    ) -> Result<Vec<Closed>> {
        keys.sort_unstable();
        let all = (0..).zip(&self.cells).filter(|(_, cell)| cell.live);
        let mut cells: Vec<u32> = all
            .filter(|(_, cell)| goes(cell.key, cell.pane))
            .map(|(slot, _)| slot)
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
                next = k.checked_add(1);
                if next.is_some_and(|next| sliding.is_spent(panes, next)) {
                    // On to the first window of the next pane, however far away.
                    let far = open.peek().map(|(pane, _)| panes.first_window(*pane));
                    next = far.map(|far| far.max(k.saturating_add(1)));
                }
            }
        }
        self.sort(&mut windows);
        windows.iter_mut().for_each(|done| done.part = part);
        self.named(windows)
    }

    /// Keeps these keys, which get new numbers.
    fn keep(&mut self, keep: &[bool]) -> Result<()> {
        let Some(keys) = &mut self.keys else { return Ok(()) };
        if matches!(self.closing.window, Some(Window::Rows { .. })) {
            let all = (0..).zip(keep).zip(&self.key_rows);
            for ((key, _), past) in all.filter(|((_, kept), past)| !**kept && **past != Past::default()) {
                self.forgotten.keep(keys.encoded(key), *past);
            }
        }
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
        let averages = ewm.len();
        self.closing.ewm = ewm
            .into_iter()
            .filter_map(|(key, ewm)| Some((number(key)?, ewm)))
            .collect();
        self.closing.averages_forgotten += (averages - self.closing.ewm.len()) as u64;
        self.closing.renumbered();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
