//! The state of an engine as bytes, from which another goes on: cells with their unfinished leaves, panes that open
//! windows hold, keys, watermarks and counts.
//!
//! An engine that goes on from a snapshot gives the bits that the first would have given. The bytes are those of this
//! version alone; whoever stores them says so beside them, with a checksum.

use super::forgotten::{Forgotten, Past};
use super::grouped::{Cell, Grouped};
use super::keys::{KeyTable, StoredKeys};
use super::tail::Tail;
use super::{Engine, Layout, Single, Watermarks};
use crate::batch::BatchBuilder;
use crate::error::{Error, Result};
use crate::spec::{Spec, Window};
use crate::summary::{CellState, Ewm, LeafRun, Summary};
use crate::window::Sliding;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;

#[derive(Serialize, Deserialize)]
struct State<'a> {
    layout: Option<StoredLayout>,
    folded: Cow<'a, Summary>,
    tail: BatchBuilder,
    keys: Option<StoredKeys>,
    key_rows: Cow<'a, [Past]>,
    forgotten: Cow<'a, Forgotten>,
    seen: Cow<'a, [u64]>,
    cells: Vec<StoredCell<'a>>,
    next: i64,
    sliding: Vec<(u32, Cow<'a, Sliding>)>,
    /// Of all rows, where there is one cell; of the keys, up to their last closed pane.
    ewm: Option<Cow<'a, Ewm>>,
    ewm_of_keys: Vec<(u32, Cow<'a, Ewm>)>,
    watermarks: Option<Cow<'a, Watermarks>>,
    rows: u64,
    late: u64,
    ahead: u64,
    parts: u64,
    again: Option<(i64, u64)>,
}

#[derive(Serialize, Deserialize)]
struct StoredLayout {
    names: Vec<String>,
    places: Vec<usize>,
    reported: usize,
    timed: bool,
    leaf_rows: usize,
}

/// Pane, key, partition, what is folded, the leaf that goes on, and weighted moments.
type StoredCell<'a> = (
    i64,
    u32,
    u32,
    Option<Cow<'a, Summary>>,
    Option<Cow<'a, LeafRun>>,
    Option<Cow<'a, Ewm>>,
);

fn damaged(why: impl std::fmt::Display) -> Error {
    Error::Data(format!("the bytes are no state of such an engine: {why}"))
}

impl Engine {
    /// The state after everything that was pushed and everything that was taken from [`Engine::closed`].
    ///
    /// # Errors
    /// [`Error::Usage`] while a window is half taken: take what is closed first.
    pub fn snapshot(&mut self) -> Result<Vec<u8>> {
        self.drain();
        if self.ended || !self.grouped.is_settled() {
            return Err(Error::Usage(
                "windows that closed have not all been taken: take them before the state".into(),
            ));
        }
        let cells = self.grouped.cells.iter().zip(&self.grouped.states);
        let cells = cells.filter(|(cell, _)| cell.live).map(|(cell, state)| {
            let (folded, open) = (state.folded().map(Cow::Borrowed), state.open().map(Cow::Borrowed));
            let ewm = cell.ewm.as_deref().map(Cow::Borrowed);
            (cell.pane, cell.key, cell.partition, folded, open, ewm)
        });
        let sliding = self.grouped.closing.sliding.iter();
        let state = State {
            layout: self.layout.as_ref().map(|layout| StoredLayout {
                names: layout.names.clone(),
                places: layout.places.clone(),
                reported: layout.reported.len(),
                timed: layout.timed,
                leaf_rows: layout.leaf_rows,
            }),
            folded: Cow::Borrowed(&self.single.folded),
            tail: self.single.tail.joined(),
            keys: self.grouped.keys.as_ref().map(KeyTable::stored),
            key_rows: Cow::Borrowed(&self.grouped.key_rows),
            forgotten: Cow::Borrowed(&self.grouped.forgotten),
            seen: Cow::Borrowed(&self.grouped.seen),
            cells: cells.collect(),
            next: self.grouped.closing.next,
            sliding: sliding.map(|(key, panes)| (*key, Cow::Borrowed(panes))).collect(),
            ewm: self.single.ewm.as_deref().map(Cow::Borrowed),
            ewm_of_keys: self
                .grouped
                .closing
                .ewm
                .iter()
                .map(|(key, ewm)| (*key, Cow::Borrowed(&**ewm)))
                .collect(),
            watermarks: self.watermarks.as_ref().map(Cow::Borrowed),
            rows: self.rows,
            late: self.late,
            ahead: self.ahead,
            parts: self.grouped.closing.parts,
            again: self.grouped.closing.again,
        };
        postcard::to_stdvec(&state).map_err(|e| Error::Failed(format!("the state cannot be stored: {e}")))
    }

    /// Goes on from a state of an engine of the same spec; this one is to be new.
    ///
    /// # Errors
    /// [`Error::Data`] for bytes that are no such state.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<()> {
        let state: State<'static> = postcard::from_bytes(bytes).map_err(damaged)?;
        let mut grouped = Grouped::new(self.spec.window);
        let keys = state.keys.map(|keys| KeyTable::restore(&self.spec.keys, keys));
        grouped.keys = keys.transpose()?;
        let known = grouped.keys.as_ref().map_or(1, KeyTable::len);
        let layout = state.layout.map(|layout| layout.restore(&self.spec)).transpose()?;
        let shape = layout.as_ref().map(|layout| layout.shape.clone());
        let of_rows = matches!(self.spec.window, Some(Window::Rows { .. }));
        for (pane, key, partition, folded, open, ewm) in state.cells {
            let (open, folded) = (open.map(Cow::into_owned), folded.map(Cow::into_owned));
            let fits = shape.as_ref().is_some_and(|shape| {
                open.as_ref().is_none_or(|run| run.has_shape(shape))
                    && folded.as_ref().is_none_or(|summary| summary.has_shape(shape))
                    && ewm.as_ref().is_none_or(|ewm| ewm.columns() == shape.columns)
            });
            if key as usize >= known || !fits || grouped.index.contains_key(&(pane, key, partition)) {
                return Err(damaged("a cell does not fit"));
            }
            let cell = Cell {
                pane,
                key,
                partition,
                live: true,
                ewm: ewm.map(|ewm| Box::new(ewm.into_owned())),
            };
            grouped.insert(cell, CellState::new(folded, open), of_rows)?;
        }
        if state.seen.len() > known || state.key_rows.len() > known {
            return Err(damaged("it has more keys than it names"));
        }
        if state.key_rows.iter().any(|past| past.rows < 0) {
            return Err(damaged("a key has fewer rows than none"));
        }
        grouped.seen = state.seen.into_owned();
        grouped.key_rows = state.key_rows.into_owned();
        grouped.forgotten = state.forgotten.into_owned();
        grouped.closing.next = state.next;
        (grouped.closing.parts, grouped.closing.again) = (state.parts, state.again);
        let panes = grouped.closing.panes;
        for (key, held) in state.sliding {
            let fits = shape.as_ref().is_some_and(|shape| {
                !panes.are_windows() && held.is_sound(panes) && held.summaries().all(|s| s.has_shape(shape))
            });
            let before = grouped.closing.sliding.insert(key, held.into_owned());
            if key as usize >= known || !fits || before.is_some() {
                return Err(damaged("the panes of a key do not fit"));
            }
        }
        for (key, ewm) in state.ewm_of_keys {
            let fits = shape.as_ref().is_some_and(|shape| ewm.columns() == shape.columns);
            let before = grouped.closing.ewm.insert(key, Box::new(ewm.into_owned()));
            if key as usize >= known || !fits || before.is_some() {
                return Err(damaged("the weighted moments of a key do not fit"));
            }
        }
        self.grouped = grouped;
        self.single = Single {
            folded: state.folded.into_owned(),
            tail: Tail::of(state.tail),
            ewm: state.ewm.map(|ewm| Box::new(ewm.into_owned())),
        };
        // The rules are those of now: lateness may have been changed with the windows.
        if let (Some(own), Some(stored)) = (&mut self.watermarks, state.watermarks) {
            own.go_on(stored.into_owned());
        }
        self.layout = layout.map(Arc::new);
        (self.rows, self.late, self.ahead) = (state.rows, state.late, state.ahead);
        Ok(())
    }
}

impl StoredLayout {
    fn restore(self, spec: &Spec) -> Result<Layout> {
        let name = |place: &usize| self.names.get(*place).cloned();
        let projected: Option<Vec<String>> = self.places.iter().map(name).collect();
        let projected = projected.filter(|names| self.reported <= names.len() && self.leaf_rows > 0);
        let projected = projected.ok_or_else(|| damaged("its columns do not fit"))?;
        Ok(Layout {
            reported: projected[..self.reported].to_vec(),
            shape: Arc::new(spec.shape(&projected, self.reported)?),
            names: self.names,
            places: self.places,
            leaf_rows: self.leaf_rows,
            timed: self.timed,
        })
    }
}

#[cfg(test)]
mod tests;
