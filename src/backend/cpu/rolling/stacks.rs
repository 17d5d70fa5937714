//! Two stacks: the sums of windows whose both ends move forwards, without taking anything away.
//!
//! A boundary lies inside the window. The rows before it are a stack of suffixes, each with its sums; the rows behind
//! it have one running prefix. When the beginning of the window reaches the boundary, the suffixes are made anew from
//! the whole window, and the boundary is behind its last row. So every row is added twice, and a window joins one
//! suffix with the prefix.

use super::sums::{Run, Side, Sums};
use std::collections::VecDeque;

/// The rows of a window that moves, and their sums.
#[derive(Debug, Clone)]
pub(super) struct Stacks<S: Sums> {
    segment: usize,
    rows: VecDeque<S::Row>,
    /// The number of the first row that is kept.
    first: u64,
    /// The number of the row behind the boundary.
    boundary: u64,
    /// By the distance from the boundary: the sums of that row and those behind it.
    suffixes: Vec<Side<S>>,
    prefix: Run<S>,
}

impl<S: Sums> Stacks<S> {
    pub(super) fn new(segment: usize) -> Self {
        Self {
            segment,
            rows: VecDeque::new(),
            first: 0,
            boundary: 0,
            suffixes: Vec::new(),
            prefix: Run::new(segment),
        }
    }

    /// Begins at these rows, the first of which has this number; the next window begins there or later.
    pub(super) fn load(&mut self, first: u64, rows: impl Iterator<Item = S::Row>) {
        self.rows.clear();
        self.rows.extend(rows);
        self.first = first;
        self.boundary = first;
        self.suffixes.clear();
        self.prefix = Run::new(self.segment);
    }

    /// Takes the next row; the two sides of the window that ends with it and begins at row `start`.
    pub(super) fn push(&mut self, row: S::Row, start: u64) -> [Side<S>; 2] {
        let number = self.first + self.rows.len() as u64;
        self.rows.push_back(row);
        if start > self.first {
            self.rows.drain(..(start - self.first) as usize);
            self.first = start;
        }
        if start >= self.boundary {
            self.suffixes.clear();
            let mut run = Run::new(self.segment);
            for row in self.rows.iter().rev() {
                run.push(*row);
                self.suffixes.push(run.side());
            }
            self.boundary = number + 1;
            self.prefix = Run::new(self.segment);
        } else {
            self.prefix.push(row);
        }
        let depth = (self.boundary - 1 - start) as usize;
        [self.suffixes[depth], self.prefix.side()]
    }

    /// The rows of the window.
    pub(super) fn rows(&self) -> impl Iterator<Item = S::Row> + Clone + use<'_, S> {
        self.rows.iter().copied()
    }
}
