//! Windows that close: panes in order, merged per key, reported window by window in the order of the keys.
//!
//! Panes of time close for all keys at once, when the watermark has passed their end; panes of rows close for one key
//! when they are full. The same code closes what is left when an input ends. Windows come out in pieces of any size, so
//! that a million keys need not be there as reports at once.

use super::grouped::{Cell, Grouped};
use super::keys::KeyTable;
use crate::error::Result;
use crate::report::{Closed, WindowBounds};
use crate::spec::Window;
use crate::summary::{CellState, Ewm, Merge, Shape, Summary};
use crate::window::{Panes, Sliding};
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use std::vec::IntoIter;

/// Which panes of time are complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Complete {
    /// Those before this one.
    Before(i64),
    /// All of them: no row will come.
    All,
}

/// What has become of panes that closed.
#[derive(Debug)]
pub(super) struct Closing {
    pub(super) window: Option<Window>,
    pub(super) panes: Panes,
    /// Windows below this number are closed.
    pub(super) next: i64,
    /// Where windows overlap: the panes of each key that open windows hold.
    pub(super) sliding: HashMap<u32, Sliding>,
    /// The exponentially weighted moments of each key, up to its last closed pane.
    pub(super) ewm: HashMap<u32, Box<Ewm>>,
    /// What is being reported.
    ready: Option<Ready>,
    /// By key number: its place in the order of the keys.
    ranks: Vec<u32>,
    /// Merges of panes into windows so far.
    merges: u64,
    /// Keys that were forgotten with their exponentially weighted moments.
    pub(super) averages_forgotten: u64,
    /// The last part that was numbered.
    pub(super) parts: u64,
    /// Windows up to this one were reported at an end: what comes of them after it is this part.
    pub(super) again: Option<(i64, u64)>,
    /// The last window that was reported at the end that is going on.
    highest: Option<i64>,
}

/// A window of one key.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) window: i64,
    pub(super) key: u32,
    summary: Summary,
    ewm: Option<Box<Ewm>>,
    pub(super) part: u64,
}

#[derive(Debug)]
enum Ready {
    /// Cells that are windows of this number.
    Cells(i64, IntoIter<u32>),
    /// Keys that may have a window of this number.
    Keys(i64, IntoIter<u32>),
    /// Windows of single keys.
    Windows(IntoIter<Done>),
}

impl Default for Closing {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Closing {
    pub(super) fn new(window: Option<Window>) -> Self {
        Self {
            window,
            panes: Panes::of(window),
            next: i64::MIN,
            sliding: HashMap::new(),
            ewm: HashMap::new(),
            ready: None,
            ranks: Vec::new(),
            merges: 0,
            averages_forgotten: 0,
            parts: 0,
            again: None,
            highest: None,
        }
    }

    /// Summaries of panes that are held.
    pub(super) fn summaries(&self) -> usize {
        self.sliding.values().map(Sliding::len).sum()
    }

    /// Adds a pane to the exponentially weighted moments of its key.
    pub(super) fn weigh(&mut self, key: u32, pane: Box<Ewm>) {
        match self.ewm.entry(key) {
            Entry::Occupied(mut state) => state.get_mut().merge(&pane),
            Entry::Vacant(place) => {
                place.insert(pane);
            }
        }
    }

    /// A window of a key, as it is where it closes.
    pub(super) fn done(&self, window: i64, key: u32, summary: Summary) -> Done {
        Done {
            window,
            key,
            summary,
            ewm: self.ewm.get(&key).cloned(),
            part: 0,
        }
    }

    /// A part that has not been used.
    pub(super) fn next_part(&mut self) -> u64 {
        self.parts += 1;
        self.parts
    }

    /// The part that a window is when it closes: 0, unless it was reported at an end.
    pub(super) fn part(&self, window: i64) -> u64 {
        self.again
            .filter(|(last, _)| window <= *last)
            .map_or(0, |(_, part)| part)
    }

    /// Goes on after an end at which everything was reported, up to this window and what was noted.
    pub(super) fn go_on(&mut self, window: Option<i64>) {
        self.next = i64::MIN;
        if let Some(highest) = self.highest.take().max(window) {
            let last = self.again.map_or(highest, |(last, _)| last.max(highest));
            self.again = Some((last, self.next_part()));
        }
    }

    /// Forgets the order of the keys, as they have other numbers now.
    pub(super) fn renumbered(&mut self) {
        self.ranks.clear();
    }

    /// Whether nothing is half reported.
    pub(super) fn is_idle(&self) -> bool {
        self.ready.is_none()
    }
}

impl Grouped {
    /// Whether a window may close, so that all rows before have to be in their cells.
    pub(super) fn may_close(&self, complete: Complete) -> bool {
        let first = self.panes.first_key_value().map(|(pane, _)| *pane);
        match complete {
            Complete::All => true,
            Complete::Before(pane) => !self.full.is_empty() || first.is_some_and(|first| first < pane),
        }
    }

    /// Merges of panes into windows so far.
    pub(super) fn merges(&self) -> u64 {
        self.closing.merges
    }

    /// The next windows that are complete, at most `max`, ordered by window, then key; none where no more are.
    ///
    /// # Errors
    /// [`Error::Failed`](crate::Error::Failed) if keys cannot be read back.
    pub(super) fn next_closed(&mut self, complete: Complete, max: usize, shape: &Shape) -> Result<Vec<Closed>> {
        let mut windows = Vec::new();
        while windows.len() < max {
            if self.closing.ready.is_none() && !self.prepare(complete, shape) {
                break;
            }
            self.report(max, shape, &mut windows);
        }
        if complete == Complete::All {
            let highest = windows.iter().map(|done| done.window).max();
            self.closing.highest = self.closing.highest.max(highest);
        }
        self.label(&mut windows);
        self.named(windows)
    }

    /// Gives windows the parts that they are where they close.
    fn label(&self, windows: &mut [Done]) {
        for done in windows {
            let of_key = self.key_rows.get(done.key as usize).map_or(0, |past| past.part);
            done.part = self.closing.part(done.window).max(of_key);
        }
    }

    /// Windows and keys by what they are instead of their numbers.
    pub(super) fn named(&self, windows: Vec<Done>) -> Result<Vec<Closed>> {
        let keys = self.keys.as_ref();
        let values = keys.map(|keys| keys.values_of(windows.iter().map(|done| done.key)));
        let values = values.transpose()?;
        let window = self.closing.window;
        let closed = windows.into_iter().enumerate().map(|(i, done)| Closed {
            key: values.as_ref().map(|values| values.get(i as u32)),
            window: window.map(|window| WindowBounds::of(window, done.window)),
            summary: done.summary,
            ewm: done.ewm,
            part: done.part,
        });
        Ok(closed.collect())
    }

    /// What is open: every window where they do not overlap, else of each key the one that closes next.
    pub(super) fn open_windows(&self, shape: &Shape) -> Result<Vec<Closed>> {
        let panes = self.closing.panes;
        // Cells in the order in which they would be merged.
        let cells = self.cells.iter().zip(&self.states).filter(|(cell, _)| cell.live);
        let mut cells: Vec<(&Cell, &CellState)> = cells.collect();
        cells.sort_unstable_by_key(|(cell, _)| (cell.key, cell.pane, cell.partition));
        let mut windows: Vec<Done> = Vec::new();
        for of_key in cells.chunk_by(|(a, _), (b, _)| a.key == b.key) {
            let key = of_key[0].0.key;
            let mut open: Vec<(i64, Summary)> = Vec::new();
            // Weights of the rows up to the end of each pane.
            let mut weighed = self.closing.ewm.get(&key).cloned();
            for of_pane in of_key.chunk_by(|(a, _), (b, _)| a.pane == b.pane) {
                let mut summary = Summary::default();
                of_pane
                    .iter()
                    .for_each(|(_, state)| summary.merge(&state.summary(shape)));
                for pane in of_pane.iter().filter_map(|(cell, _)| cell.ewm.as_ref()) {
                    match &mut weighed {
                        Some(ewm) => ewm.merge(pane),
                        None => weighed = Some(pane.clone()),
                    }
                }
                if panes.are_windows() {
                    let (window, ewm) = (of_pane[0].0.pane, weighed.clone());
                    windows.push(Done {
                        window,
                        key,
                        summary,
                        ewm,
                        part: 0,
                    });
                } else {
                    open.push((of_pane[0].0.pane, summary));
                }
            }
            if panes.are_windows() {
                continue;
            }
            let held = self.closing.sliding.get(&key);
            let mut sliding = held.cloned().unwrap_or_else(Sliding::new);
            let first = sliding.first_window(panes).into_iter();
            let first = first
                .chain(open.first().map(|(pane, _)| panes.first_window(*pane)))
                .min();
            let k = first.map_or(self.closing.next, |first| first.max(self.closing.next));
            for (pane, summary) in open {
                if i128::from(pane) <= panes.span(k).1 {
                    sliding.push(panes, pane, summary);
                }
            }
            windows.extend(sliding.window(panes, k).0.map(|summary| Done {
                window: k,
                key,
                summary,
                ewm: weighed.clone(),
                part: 0,
            }));
        }
        let ranks = self.keys.as_ref().map_or(vec![0], KeyTable::ranks);
        windows.sort_by_key(|done| (done.window, ranks[done.key as usize]));
        self.label(&mut windows);
        self.named(windows)
    }

    /// Takes windows from what is being reported.
    fn report(&mut self, max: usize, shape: &Shape, windows: &mut Vec<Done>) {
        let Some(mut ready) = self.closing.ready.take() else {
            return;
        };
        let goes_on = match &mut ready {
            Ready::Cells(k, slots) => {
                while windows.len() < max
                    && let Some(slot) = slots.next()
                {
                    let (_, key, mut summary) = self.remove(slot, shape);
                    // Partitions of one key and pane stand beside each other.
                    while let Some(slot) = slots.as_slice().first()
                        && self.cells[*slot as usize].key == key
                    {
                        summary.merge(&self.remove(*slot, shape).2);
                        slots.next();
                    }
                    windows.push(self.closing.done(*k, key, summary));
                }
                slots.len() > 0
            }
            Ready::Keys(k, keys) => {
                let panes = self.closing.panes;
                while windows.len() < max
                    && let Some(key) = keys.next()
                {
                    let Some(sliding) = self.closing.sliding.get_mut(&key) else {
                        continue;
                    };
                    if *k >= sliding.next {
                        let (summary, merges) = sliding.window(panes, *k);
                        self.closing.merges += merges;
                        let spent = k.checked_add(1).is_none_or(|next| sliding.is_spent(panes, next));
                        if spent {
                            self.closing.sliding.remove(&key);
                        }
                        windows.extend(summary.map(|summary| self.closing.done(*k, key, summary)));
                        continue;
                    }
                    // There is no window behind the last number.
                    if k.checked_add(1).is_none_or(|next| sliding.is_spent(panes, next)) {
                        self.closing.sliding.remove(&key);
                    }
                }
                keys.len() > 0
            }
            Ready::Windows(all) => {
                windows.extend(all.take(max - windows.len()));
                all.len() > 0
            }
        };
        if goes_on {
            self.closing.ready = Some(ready);
        }
    }

    /// Finds the next complete window; whether there is one.
    fn prepare(&mut self, complete: Complete, shape: &Shape) -> bool {
        if matches!(self.closing.window, Some(Window::Rows { .. })) {
            if complete != Complete::All {
                let there = !self.full.is_empty();
                if there {
                    self.prepare_rows(shape);
                }
                return there;
            }
            // All windows close together, full or not.
            self.full.clear();
            if self.panes.is_empty() && self.len() > 0 {
                self.list_panes();
            }
        }
        match self.closing.panes.are_windows() {
            true => self.prepare_cells(complete),
            false => self.prepare_sliding(complete, shape),
        }
    }

    /// Brings windows into their order: by number, then key.
    pub(super) fn sort(&mut self, windows: &mut [Done]) {
        self.rank();
        let ranks = &self.closing.ranks;
        windows.sort_by_key(|done| (done.window, ranks[done.key as usize]));
    }

    /// Brings the order of the keys up to date: a sort, so only where windows close.
    fn rank(&mut self) {
        let keys = self.keys.as_ref().map_or(1, KeyTable::len);
        if self.closing.ranks.len() != keys {
            self.closing.ranks = self.keys.as_ref().map_or(vec![0], KeyTable::ranks);
        }
    }

    /// The next pane, where it is a window.
    fn prepare_cells(&mut self, complete: Complete) -> bool {
        let Some(first) = self.panes.first_entry() else {
            return false;
        };
        let is_complete = match complete {
            Complete::Before(pane) => *first.key() < pane && self.closing.window.is_some(),
            Complete::All => true,
        };
        if !is_complete {
            return false;
        }
        let (pane, mut slots) = first.remove_entry();
        self.rank();
        let (cells, ranks) = (&self.cells, &self.closing.ranks);
        let place = |slot: &u32| {
            let cell = &cells[*slot as usize];
            (ranks[cell.key as usize], cell.partition)
        };
        // Looked up once a cell: there may be a million of them.
        slots.sort_by_cached_key(place);
        self.closing.next = pane.saturating_add(1);
        self.closing.ready = Some(Ready::Cells(pane, slots.into_iter()));
        true
    }

    /// The next window over several panes: its panes go to their keys, which may then have it.
    fn prepare_sliding(&mut self, complete: Complete, shape: &Shape) -> bool {
        let panes = self.closing.panes;
        let of_panes = self.panes.first_key_value().map(|(pane, _)| panes.first_window(*pane));
        let of_keys = self.closing.sliding.values().filter_map(|key| key.first_window(panes));
        let Some(first) = of_keys.chain(of_panes).min() else {
            return false;
        };
        let k = self.closing.next.max(first);
        let (_, end) = panes.span(k);
        if let Complete::Before(pane) = complete
            && end >= i128::from(pane)
        {
            return false;
        }
        while let Some(first) = self.panes.first_entry()
            && i128::from(*first.key()) <= end
        {
            let (pane, mut slots) = first.remove_entry();
            let cells = &self.cells;
            slots.sort_unstable_by_key(|slot| {
                let cell = &cells[*slot as usize];
                (cell.key, cell.partition)
            });
            let mut slots = slots.into_iter().peekable();
            while let Some(slot) = slots.next() {
                let (_, key, mut summary) = self.remove(slot, shape);
                while let Some(slot) = slots.next_if(|slot| self.cells[*slot as usize].key == key) {
                    summary.merge(&self.remove(slot, shape).2);
                }
                let sliding = self.closing.sliding.entry(key).or_insert_with(Sliding::new);
                self.closing.merges += sliding.push(panes, pane, summary);
            }
        }
        self.rank();
        let ranks = &self.closing.ranks;
        let mut keys: Vec<u32> = self.closing.sliding.keys().copied().collect();
        keys.sort_unstable_by_key(|key| ranks[*key as usize]);
        self.closing.next = k.saturating_add(1);
        self.closing.ready = Some(Ready::Keys(k, keys.into_iter()));
        true
    }

    /// Panes of rows that are full: each may end a window of its key.
    fn prepare_rows(&mut self, shape: &Shape) {
        let panes = self.closing.panes;
        let mut windows = Vec::new();
        for slot in std::mem::take(&mut self.full) {
            let (pane, key, summary) = self.remove(slot, shape);
            if panes.are_windows() {
                windows.push(self.closing.done(pane, key, summary));
                continue;
            }
            let sliding = self.closing.sliding.entry(key).or_insert_with(Sliding::new);
            let mut merges = sliding.push(panes, pane, summary);
            // The window that ends with this pane, if one does.
            let k = panes.first_window(pane);
            if panes.span(k).1 == i128::from(pane) {
                let (summary, cost) = sliding.window(panes, k);
                merges += cost;
                sliding.next = k.saturating_add(1);
                windows.extend(summary.map(|summary| self.closing.done(k, key, summary)));
            }
            self.closing.merges += merges;
        }
        self.sort(&mut windows);
        self.closing.ready = Some(Ready::Windows(windows.into_iter()));
    }
}
