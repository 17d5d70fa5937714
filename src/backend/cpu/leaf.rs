//! The rows of a leaf as they lie: in one batch, or in the ends of several that came one after another.
//!
//! A kernel reads a column of a leaf run by run, in the order of the rows, and its result depends on that order alone,
//! never on where a run ends.

use super::prefetch;
use crate::backend::Work;
use crate::batch::{Batch, Column, Values};
use std::ops::Range;

/// Rows of a leaf that lie in one batch.
#[derive(Debug)]
struct Part<'a> {
    batch: &'a Batch,
    /// Its rows that are of the leaf.
    rows: Range<usize>,
    /// Rows of the leaf before them.
    at: usize,
}

/// The rows of a leaf.
#[derive(Debug)]
pub(super) struct Leaf<'a> {
    parts: Vec<Part<'a>>,
    rows: usize,
}

impl<'a> Leaf<'a> {
    /// The rows of block `k` of a work of one cell.
    pub(super) fn of_block(work: &'a Work, k: usize) -> Self {
        let before: &[Batch] = if k == 0 { &work.before } else { &[] };
        let own = (&work.batch, work.cells.blocks[k].rows.clone());
        let mut leaf = Self {
            parts: Vec::with_capacity(before.len() + 1),
            rows: 0,
        };
        let before = before.iter().map(|batch| (batch, 0..batch.rows()));
        for (batch, rows) in before.chain([own]).filter(|(_, rows)| !rows.is_empty()) {
            let at = leaf.rows;
            leaf.rows += rows.len();
            leaf.parts.push(Part { batch, rows, at });
        }
        leaf
    }

    /// The rows of batches, one after another.
    #[cfg(test)]
    pub(super) fn of_batches(batches: &'a [Batch]) -> Self {
        let mut rows = 0;
        let part = |batch: &'a Batch| {
            let at = rows;
            rows += batch.rows();
            let rows = 0..batch.rows();
            Part { batch, rows, at }
        };
        let parts = batches.iter().map(part).collect();
        Self { parts, rows }
    }

    /// Rows.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// A column of them.
    pub(super) fn column(&self, column: usize) -> LeafColumn<'_> {
        LeafColumn {
            parts: &self.parts,
            rows: self.rows,
            column,
        }
    }

    /// By row its event time, where the rows have one.
    pub(super) fn times(&self) -> Option<impl Iterator<Item = i64>> {
        let timed = self.parts.iter().all(|part| part.batch.time_ns().is_some());
        let times = self.parts.iter().flat_map(|part| {
            let times = part.batch.time_ns().map_or(&[][..], |times| &times[part.rows.clone()]);
            times.iter().copied()
        });
        timed.then_some(times)
    }
}

/// A column of the rows of a leaf, which are numbered from 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct LeafColumn<'a> {
    parts: &'a [Part<'a>],
    rows: usize,
    column: usize,
}

impl<'a> LeafColumn<'a> {
    /// Rows.
    pub(super) fn rows(self) -> usize {
        self.rows
    }

    fn of(self, part: &'a Part<'a>) -> &'a Column {
        &part.batch.columns()[self.column]
    }

    /// Whether nulls are marked beside the values.
    pub(super) fn has_nulls(self) -> bool {
        self.parts.iter().any(|part| self.of(part).nulls.is_some())
    }

    /// Whether every value is an `f32`.
    pub(super) fn is_f32(self) -> bool {
        let narrow = |part| matches!(self.of(part).values, Values::F32(_));
        self.parts.iter().all(narrow)
    }

    /// Of rows of the leaf: those of each part, as rows of its batch.
    fn pieces(self, rows: Range<usize>) -> impl Iterator<Item = (&'a Column, Range<usize>)> + Clone {
        let piece = move |part: &'a Part<'a>| {
            let start = rows.start.max(part.at);
            let end = rows.end.min(part.at + part.rows.len());
            let first = part.rows.start;
            (start < end).then(|| (self.of(part), start - part.at + first..end - part.at + first))
        };
        self.parts.iter().filter_map(piece)
    }

    /// The numbers of rows as they lie; what stands at a null is anything.
    pub(super) fn runs(self, rows: Range<usize>) -> impl Iterator<Item = Run<'a>> + Clone {
        self.pieces(rows).map(|(column, rows)| Run::of(column, rows))
    }

    /// The values of rows, NaN for missing ones.
    pub(super) fn values(self, rows: Range<usize>) -> impl Iterator<Item = f64> + Clone {
        let values = |(column, rows): (&'a Column, Range<usize>)| rows.map(|i| column.get(i));
        self.pieces(rows).flat_map(values)
    }

    /// The values of rows, NaN for missing ones, one after another.
    pub(super) fn dense(self, rows: Range<usize>) -> Vec<f64> {
        let mut dense = Vec::with_capacity(rows.len());
        for (column, rows) in self.pieces(rows) {
            let first = dense.len();
            match &column.values {
                Values::F64(v) => dense.extend_from_slice(&v[rows.clone()]),
                Values::F32(v) => dense.extend(v[rows.clone()].iter().map(|x| f64::from(*x))),
            }
            if let Some(nulls) = &column.nulls {
                let missing = !&nulls.inner().slice(rows.start, rows.len());
                missing.set_indices().for_each(|i| dense[first + i] = f64::NAN);
            }
        }
        dense
    }

    /// The value of a row, NaN where it is missing.
    #[inline]
    pub(super) fn get(self, row: usize) -> f64 {
        let part = self.parts.iter().rfind(|part| part.at <= row);
        part.map_or(f64::NAN, |part| self.of(part).get(part.rows.start + row - part.at))
    }
}

/// A run of a column.
#[derive(Debug, Clone, Copy)]
pub(super) enum Run<'a> {
    F64(&'a [f64]),
    F32(&'a [f32]),
}

impl<'a> Run<'a> {
    pub(super) fn of(column: &'a Column, rows: Range<usize>) -> Self {
        match &column.values {
            Values::F64(v) => Self::F64(&v[rows]),
            Values::F32(v) => Self::F32(&v[rows]),
        }
    }

    pub(super) fn len(self) -> usize {
        match self {
            Self::F64(v) => v.len(),
            Self::F32(v) => v.len(),
        }
    }

    /// Has so many values fetched, of which the first lies `distance` values behind its first.
    #[inline(always)]
    pub(super) fn fetch(self, distance: usize, count: usize) {
        match self {
            Self::F64(v) => prefetch::behind(v, distance, count),
            Self::F32(v) => prefetch::behind(v, distance, count),
        }
    }

    /// The first value.
    pub(super) fn first(self) -> Option<f64> {
        match self {
            Self::F64(v) => v.first().copied(),
            Self::F32(v) => v.first().map(|x| f64::from(*x)),
        }
    }

    /// The values.
    pub(super) fn for_each(self, mut f: impl FnMut(f64)) {
        match self {
            Self::F64(v) => v.iter().for_each(|x| f(*x)),
            Self::F32(v) => v.iter().for_each(|x| f(f64::from(*x))),
        }
    }
}
