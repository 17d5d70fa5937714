//! Rows of many cells, reduced where the states of the cells are.
//!
//! The values of a batch are brought into the order of its cells. A task takes some cells, side by side in the slab, and
//! pushes their rows one after another into their states: nothing is allocated for a cell that is there, however few rows
//! of it a batch has. The few cells that hold so many rows that one thread would be busy with them alone have their leaves
//! reduced side by side instead.

use super::{Cpu, GROUPED_VALUES_PER_TASK, PACKED_COLUMNS_MIN, PARALLEL_VALUES_MIN, pack};
use crate::batch::{Batch, Column, Values};
use crate::cells::{ByCell, PARALLEL_ROWS_MIN, Part};
use crate::summary::moments::abreast::ABREAST;
use crate::summary::rows::{Consecutive, Packed, Rows};
use crate::summary::{CellState, Room, Shape, Summary};
use pulp::{Arch, NullaryFnOnce};
use rayon::ThreadPool;
use rayon::prelude::*;
use std::sync::Arc;

/// Leaves of a cell that one task takes at least.
const LEAVES_AT_ONCE: usize = 16;

/// Columns with which cells are taken side by side at most.
const ABREAST_COLUMNS_MAX: usize = 3;
/// Rows a cell and part from which on they are.
const ABREAST_ROWS_MIN: usize = 24;

/// The threads that reduce.
#[derive(Debug)]
pub(crate) struct Threads {
    /// Absent for those of the process.
    pool: Option<Arc<ThreadPool>>,
}

impl Threads {
    /// Calls this on one of them, which has the others help.
    pub(crate) fn run<T: Send>(&self, call: impl FnOnce() -> T + Send) -> T {
        match &self.pool {
            Some(pool) => pool.install(call),
            None => rayon::scope(|_| call()),
        }
    }
}

/// Part by part its columns, the values at the places of their rows.
pub(crate) type SortedValues = Vec<Vec<Vec<f64>>>;

/// A cell of a batch, and where its state is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its number in the batch.
    pub(crate) cell: u32,
    /// Its place among the states.
    pub(crate) slot: u32,
}

impl Cpu {
    /// The threads for a batch, where it is worth waking them.
    pub(crate) fn threads_for(&self, batch: &Batch) -> Option<Threads> {
        let values = batch.rows() * batch.columns().len();
        let worth = values >= PARALLEL_VALUES_MIN || batch.rows() >= PARALLEL_ROWS_MIN;
        let pool = self.pool.clone();
        worth.then_some(Threads { pool })
    }

    /// Takes the rows of a batch into the states of their cells. `places` are the cells that have rows, in any order; what
    /// is in `room` does not matter, and its memory is used again.
    pub(crate) fn take_in(
        &self,
        batch: &Batch,
        rows: &ByCell,
        places: &mut [Place],
        states: &mut [CellState],
        (shape, leaf_rows): (&Shape, usize),
        room: &mut SortedValues,
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
        work.of_batch(batch, states, room);
    }
}

/// What is to be taken in.
#[derive(Clone, Copy)]
pub(super) struct InPlace<'a> {
    pub(super) rows: &'a ByCell,
    /// In the order of their slots.
    pub(super) places: &'a [Place],
    pub(super) shape: &'a Shape,
    pub(super) leaf_rows: usize,
    pub(super) columns: usize,
}

impl InPlace<'_> {
    fn of_batch(self, batch: &Batch, states: &mut [CellState], room: &mut SortedValues) {
        let columns = batch.columns();
        let parallel = batch.rows() * self.columns >= PARALLEL_VALUES_MIN && rayon::current_num_threads() > 1;
        let few = columns.len() < PACKED_COLUMNS_MIN;
        let times = batch.time_ns().filter(|_| self.shape.differences);
        let orders = match few && times.is_none() {
            true => vec![Vec::new(); self.rows.parts().len()],
            false => self.rows.orders(parallel),
        };
        let parts = self.rows.parts().iter().zip(&orders);
        if few {
            self.sort(columns, parallel, room);
            let sorted: Vec<Vec<&[f64]>> = room
                .iter()
                .map(|part| part.iter().map(Vec::as_slice).collect())
                .collect();
            let parts = sorted.iter().zip(parts);
            let parts: Vec<Consecutive<'_>> = parts
                .map(|(columns, (part, order))| Consecutive::new(columns, part.places().len(), timed(times, order)))
                .collect();
            return self.of_parts(&parts, states, parallel);
        }
        let packed: Vec<Vec<Vec<f64>>> = orders.iter().map(|order| pack(columns, order, parallel)).collect();
        let groups: Vec<Vec<&[f64]>> = packed
            .iter()
            .map(|groups| groups.iter().map(Vec::as_slice).collect())
            .collect();
        let parts: Vec<Packed<'_>> = groups
            .iter()
            .zip(&orders)
            .map(|(groups, order)| Packed::new(groups, order.len(), timed(times, order)))
            .collect();
        self.of_parts(&parts, states, parallel);
    }

    /// Brings values to the places of their rows. A kernel that reads them here and there waits for most of them; a loop
    /// that writes them so does not wait.
    fn sort(self, columns: &[Column], parallel: bool, room: &mut SortedValues) {
        let of_part = |(part, sorted): (&Part, &mut Vec<Vec<f64>>)| {
            let (first, places) = (part.first(), part.places());
            sorted.resize_with(columns.len(), Vec::new);
            let of_column = |(column, sorted): (&Column, &mut Vec<f64>)| {
                sorted.resize(places.len(), 0.0);
                let places = places.iter().map(|place| *place as usize);
                match (&column.values, &column.nulls) {
                    (Values::F64(v), None) => places.zip(&v[first..]).for_each(|(place, x)| sorted[place] = *x),
                    _ => places
                        .zip(first..)
                        .for_each(|(place, row)| sorted[place] = column.get(row)),
                }
            };
            match parallel {
                true => columns.par_iter().zip(sorted).for_each(of_column),
                false => columns.iter().zip(sorted).for_each(of_column),
            }
        };
        let parts = self.rows.parts();
        room.resize_with(parts.len(), Vec::new);
        match parallel {
            true => parts.par_iter().zip(room).for_each(of_part),
            false => parts.iter().zip(room).for_each(of_part),
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
    pub(super) fn cells<R: Rows>(self, places: &[Place], parts: &[R], base: usize, states: &mut [CellState]) {
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
            let rows = part.slice(self.rows.parts()[k].range(cell));
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
        let (shape, leaf_rows) = (self.work.shape, self.work.leaf_rows);
        let rows_of = |k: usize, place: &Place| {
            let range = self.work.rows.parts()[k].range(place.cell);
            self.parts[k].slice(range)
        };
        if !self.go_abreast() {
            for place in self.places {
                let state = &mut self.states[place.slot as usize - self.base];
                for k in 0..self.parts.len() {
                    state.push_rows(shape, leaf_rows, rows_of(k, place), &mut room);
                }
            }
            return;
        }
        // Cells with about as many rows go together.
        let mut places = self.places.to_vec();
        for k in 0..self.parts.len() {
            places.sort_unstable_by_key(|place| rows_of(k, place).count());
            let (eights, rest) = places.as_chunks::<ABREAST>();
            for eight in eights {
                let slots = eight.map(|place| place.slot as usize - self.base);
                // No two cells have one state.
                if let Ok(states) = self.states.get_disjoint_mut(slots) {
                    let rows = eight.each_ref().map(|place| rows_of(k, place));
                    CellState::push_rows_abreast(states, shape, leaf_rows, rows, &mut room);
                }
            }
            for place in rest {
                let state = &mut self.states[place.slot as usize - self.base];
                state.push_rows(shape, leaf_rows, rows_of(k, place), &mut room);
            }
        }
    }
}

impl<R: Rows> PushCells<'_, R> {
    /// Whether cells are taken side by side: where columns do not fill a vector, and cells have rows enough.
    fn go_abreast(&self) -> bool {
        let rows: usize = self.parts.iter().map(|part| part.count()).sum();
        self.work.shape.is_moments_only()
            && (1..=ABREAST_COLUMNS_MAX).contains(&self.work.shape.columns)
            && self.places.len() >= ABREAST
            && rows >= ABREAST_ROWS_MIN * self.work.places.len() * self.parts.len()
    }
}

/// The times of rows in this order.
fn timed<'a>(times: Option<&'a [i64]>, order: &'a [u32]) -> Option<(&'a [i64], &'a [u32])> {
    times.map(|times| (times, order))
}
