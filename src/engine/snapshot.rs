//! The state of an engine as bytes, from which another goes on: cells with their unfinished leaves, panes that open
//! windows hold, keys, watermarks and counts.
//!
//! An engine that goes on from a snapshot gives the bits that the first would have given. The bytes are those of this
//! version alone; whoever stores them says so beside them, with a checksum.

use super::grouped::{Cell, Grouped};
use super::keys::{KeyTable, StoredKeys};
use super::{Engine, Layout, Single, Watermarks};
use crate::batch::BatchBuilder;
use crate::error::{Error, Result};
use crate::spec::{Spec, Window};
use crate::summary::{Ewm, LeafRun, Summary};
use crate::window::Sliding;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;

#[derive(Serialize, Deserialize)]
struct State<'a> {
    layout: Option<StoredLayout>,
    folded: Cow<'a, Summary>,
    tail: Cow<'a, BatchBuilder>,
    keys: Option<StoredKeys>,
    key_rows: Cow<'a, [i64]>,
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
        if !self.grouped.closing.is_idle() || !self.grouped.full.is_empty() {
            return Err(Error::Usage(
                "windows that closed have not all been taken: take them before the state".into(),
            ));
        }
        let cells = self.grouped.cells.iter().filter(|cell| cell.live).map(|cell| {
            let folded = cell.folded.as_deref().map(Cow::Borrowed);
            {
                let ewm = cell.ewm.as_deref().map(Cow::Borrowed);
                (
                    cell.pane,
                    cell.key,
                    cell.partition,
                    folded,
                    cell.open.as_ref().map(Cow::Borrowed),
                    ewm,
                )
            }
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
            tail: Cow::Borrowed(&self.single.tail),
            keys: self.grouped.keys.as_ref().map(KeyTable::stored),
            key_rows: Cow::Borrowed(&self.grouped.key_rows),
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
            parts: self.parts,
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
        let of_rows = matches!(self.spec.window, Some(Window::Rows { .. }));
        for (pane, key, partition, folded, open, ewm) in state.cells {
            let (open, folded) = (open.map(Cow::into_owned), folded.map(Cow::into_owned));
            let shape = layout.as_ref().map(|layout| &layout.shape);
            let fits = shape.is_some_and(|shape| {
                open.as_ref().is_none_or(|run| run.has_shape(shape))
                    && folded.as_ref().is_none_or(|summary| summary.has_shape(shape))
            });
            if key as usize >= known || !fits {
                return Err(damaged("a cell does not fit"));
            }
            let cell = Cell {
                pane,
                key,
                partition,
                live: true,
                folded: folded.map(Box::new),
                open,
                ewm: ewm.map(|ewm| Box::new(ewm.into_owned())),
            };
            grouped.insert(cell, of_rows)?;
        }
        // When a key was last seen is not stored: all count as seen at once.
        grouped.seen = vec![0; known];
        grouped.key_rows = state.key_rows.into_owned();
        grouped.closing.next = state.next;
        for (key, panes) in state.sliding {
            grouped.closing.sliding.insert(key, panes.into_owned());
        }
        for (key, ewm) in state.ewm_of_keys {
            grouped.closing.ewm.insert(key, Box::new(ewm.into_owned()));
        }
        self.grouped = grouped;
        self.single = Single {
            folded: state.folded.into_owned(),
            tail: state.tail.into_owned(),
            ewm: state.ewm.map(|ewm| Box::new(ewm.into_owned())),
        };
        // The rules are those of now: lateness may have been changed with the windows.
        if let (Some(own), Some(stored)) = (&mut self.watermarks, state.watermarks) {
            let rules = own.rules;
            *own = stored.into_owned();
            own.rules = rules;
        }
        self.layout = layout;
        (self.rows, self.late, self.ahead, self.parts) = (state.rows, state.late, state.ahead, state.parts);
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
