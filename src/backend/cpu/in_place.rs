//! Rows of many cells, reduced where the states of the cells are.
//!
//! The values of a batch are brought into the order of its cells. A task takes some cells, side by side in the slab, and
//! pushes their rows one after another into their states: nothing is allocated for a cell that is there, however few rows
//! of it a batch has. The few cells that hold so many
//! rows that one thread would be busy with them alone have their leaves reduced side by side instead.

use super::{Cpu, GROUPED_VALUES_PER_TASK, PACKED_COLUMNS_MIN, PARALLEL_VALUES_MIN, pack};
use crate::batch::{Batch, Column, Values};
use crate::cells::ByCell;
use crate::summary::rows::{Consecutive, Packed, Rows};
use crate::summary::{CellState, Room, Shape, Summary};
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

/// Leaves of a cell that one task takes at least.
const LEAVES_AT_ONCE: usize = 16;

/// A cell of a batch, and where its state is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its number in the batch.
    pub(crate) cell: u32,
    /// Its place among the states.
    pub(crate) slot: u32,
}

impl Cpu {
    /// Calls this on the threads that reduce.
    pub(crate) fn run<T: Send>(&self, call: impl FnOnce() -> T + Send) -> T {
        match &self.pool {
            Some(pool) => pool.install(call),
            None => call(),
        }
    }

    /// Takes the rows of a batch into the states of their cells. `places` are the cells that have rows, in any order.
    pub(crate) fn take_in(
        &self,
        batch: &Batch,
        rows: &ByCell,
        places: &mut [Place],
        states: &mut [CellState],
        (shape, leaf_rows): (&Shape, usize),
    ) {
        if !places.is_sorted_by_key(|place| place.slot) {
            places.sort_unstable_by_key(|place| place.slot);
        }
        let work = InPlace {
            rows,
            places,
            shape,
            leaf_rows,
            columns: batch.columns().len().max(1),
        };
        self.run(|| work.of_batch(batch, states));
    }
}

/// What is to be taken in.
#[derive(Clone, Copy)]
struct InPlace<'a> {
    rows: &'a ByCell,
    /// In the order of their slots.
    places: &'a [Place],
    shape: &'a Shape,
    leaf_rows: usize,
    columns: usize,
}

impl InPlace<'_> {
    fn of_batch(self, batch: &Batch, states: &mut [CellState]) {
        let columns = batch.columns();
        let times = batch.time_ns();
        let parallel = batch.rows() * self.columns >= PARALLEL_VALUES_MIN && rayon::current_num_threads() > 1;
        if columns.len() < PACKED_COLUMNS_MIN {
            let sorted = self.sorted(columns, parallel);
            let sorted: Vec<Vec<&[f64]>> = sorted
                .iter()
                .map(|part| part.iter().map(Vec::as_slice).collect())
                .collect();
            let part =
                |(columns, order)| Consecutive::new(columns, <[u32]>::len(order), times.map(|times| (times, order)));
            let parts: Vec<Consecutive<'_>> = sorted
                .iter()
                .map(Vec::as_slice)
                .zip(self.rows.orders())
                .map(part)
                .collect();
            return self.of_parts(&parts, states, parallel);
        }
        let orders = || self.rows.orders();
        let packed: Vec<Vec<Vec<f64>>> = orders().map(|order| pack(columns, order, parallel)).collect();
        let groups: Vec<Vec<&[f64]>> = packed
            .iter()
            .map(|groups| groups.iter().map(Vec::as_slice).collect())
            .collect();
        let part = |(groups, order)| Packed::new(groups, <[u32]>::len(order), times.map(|times| (times, order)));
        let parts: Vec<Packed<'_>> = groups.iter().map(Vec::as_slice).zip(orders()).map(part).collect();
        self.of_parts(&parts, states, parallel);
    }

    /// Part by part its columns, with the values in the order of its rows. A kernel that reads them here and there waits
    /// for most of them; a loop that does nothing else has many on their way at once.
    fn sorted(self, columns: &[Column], parallel: bool) -> Vec<Vec<Vec<f64>>> {
        let part = |order: &[u32]| -> Vec<Vec<f64>> {
            let values = |column: &Column| match (&column.values, &column.nulls) {
                (Values::F64(v), None) => order.iter().map(|i| v[*i as usize]).collect(),
                _ => order.iter().map(|i| column.get(*i as usize)).collect(),
            };
            match parallel {
                true => columns.par_iter().map(values).collect(),
                false => columns.iter().map(values).collect(),
            }
        };
        let orders: Vec<&[u32]> = self.rows.orders().collect();
        match parallel {
            true => orders.into_par_iter().map(part).collect(),
            false => orders.into_iter().map(part).collect(),
        }
    }

    /// The rows of each part, in the order of its cells.
    fn of_parts<R: Rows + Sync>(self, parts: &[R], mut states: &mut [CellState], parallel: bool) {
        if !parallel {
            return self.cells(self.places, parts, 0, states);
        }
        let threads = rayon::current_num_threads();
        let enough = GROUPED_VALUES_PER_TASK / self.columns;
        let total: usize = parts.iter().map(|part| part.count()).sum();
        let heavy = (total / (2 * threads)).max(2 * enough);
        let mut tasks = Vec::new();
        let (mut first, mut rows, mut base) = (0, 0, 0);
        for (i, place) in self.places.iter().enumerate() {
            let own = self.rows.len_of(place.cell);
            if own > heavy {
                self.leaves(place.cell, parts, &mut states[place.slot as usize - base]);
            } else {
                rows += own;
            }
            if rows >= enough || i + 1 == self.places.len() {
                let (task, rest) = states.split_at_mut(place.slot as usize + 1 - base);
                tasks.push((&self.places[first..=i], base, task));
                states = rest;
                base = place.slot as usize + 1;
                (first, rows) = (i + 1, 0);
            }
        }
        tasks.into_par_iter().for_each(|(places, base, states)| {
            let light = |place: &&Place| self.rows.len_of(place.cell) <= heavy;
            match places.iter().all(|place| light(&place)) {
                true => self.cells(places, parts, base, states),
                false => {
                    let places: Vec<Place> = places.iter().filter(light).copied().collect();
                    self.cells(&places, parts, base, states);
                }
            }
        });
    }

    /// These cells, whose states begin with the one of slot `base`.
    fn cells<R: Rows>(self, places: &[Place], parts: &[R], base: usize, states: &mut [CellState]) {
        Arch::new().dispatch(PushCells {
            work: self,
            places,
            parts,
            base,
            states,
        });
    }

    /// A cell of many rows: its whole leaves side by side, folded in their order.
    fn leaves<R: Rows + Sync>(self, cell: u32, parts: &[R], state: &mut CellState) {
        for (k, part) in parts.iter().enumerate() {
            let rows = part.slice(self.rows.range(k, cell));
            let head = rows.count().min(state.room(self.leaf_rows) % self.leaf_rows);
            self.push(state, rows.slice(0..head));
            let whole = (rows.count() - head) / self.leaf_rows;
            let leaf = |i: usize| {
                let start = head + i * self.leaf_rows;
                let mut leaf = CellState::default();
                self.push(&mut leaf, rows.slice(start..start + self.leaf_rows));
                leaf.into_summary(self.shape)
            };
            let leaves: Vec<Summary> = (0..whole)
                .into_par_iter()
                .with_min_len(LEAVES_AT_ONCE)
                .map(leaf)
                .collect();
            leaves.into_iter().for_each(|leaf| state.fold(leaf));
            self.push(state, rows.slice(head + whole * self.leaf_rows..rows.count()));
        }
    }

    fn push<R: Rows>(self, state: &mut CellState, rows: R) {
        let (work, mut room) = (self, Room::default());
        let room = &mut room;
        Arch::new().dispatch(PushRows {
            work,
            state,
            rows,
            room,
        });
    }
}

/// Rows into the state of a cell, compiled for the vector instructions that the machine has.
struct PushRows<'a, R> {
    work: InPlace<'a>,
    state: &'a mut CellState,
    rows: R,
    room: &'a mut Room,
}

impl<R: Rows> NullaryFnOnce for PushRows<'_, R> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let (shape, leaf_rows) = (self.work.shape, self.work.leaf_rows);
        self.state.push_rows(shape, leaf_rows, self.rows, self.room);
    }
}

/// The rows of cells into their states.
struct PushCells<'a, R> {
    work: InPlace<'a>,
    places: &'a [Place],
    parts: &'a [R],
    /// The slot of the first state.
    base: usize,
    states: &'a mut [CellState],
}

impl<R: Rows> NullaryFnOnce for PushCells<'_, R> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let mut room = Room::default();
        for place in self.places {
            let state = &mut self.states[place.slot as usize - self.base];
            for (k, part) in self.parts.iter().enumerate() {
                let rows = part.slice(self.work.rows.range(k, place.cell));
                state.push_rows(self.work.shape, self.work.leaf_rows, rows, &mut room);
            }
        }
    }
}
