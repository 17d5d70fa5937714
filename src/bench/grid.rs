//! What is measured: summaries, and the rows and columns of each cell.

use crate::planner::Part;
use crate::spec::Precision;
use std::collections::BTreeMap;

/// The cells.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// Rows and columns.
    pub shapes: Vec<(usize, usize)>,
    /// Summaries.
    pub summaries: Vec<Part>,
    /// How long each contender of a cell is measured, in seconds; three runs at least.
    pub seconds: f64,
    /// The precision: of a regression it decides about the products.
    pub precision: Precision,
}

impl Default for Grid {
    fn default() -> Self {
        Self {
            shapes: Self::product(&[1000, 10_000, 100_000, 1_000_000], &[8, 64], Self::VALUES_MAX),
            summaries: Part::ALL.to_vec(),
            seconds: 0.2,
            precision: Precision::Exact,
        }
    }
}

impl Grid {
    /// Values of a cell at most where nothing else is said: 128 MiB of `f64`.
    pub const VALUES_MAX: usize = 1 << 24;

    /// All pairs of rows and columns that have at most so many values.
    pub fn product(rows: &[usize], columns: &[usize], values_max: usize) -> Vec<(usize, usize)> {
        let pairs = columns.iter().flat_map(|c| rows.iter().map(move |r| (*r, *c)));
        pairs.filter(|(r, c)| r.saturating_mul(*c) <= values_max).collect()
    }

    /// The lengths by number of columns, so that rows are made once for each.
    pub(super) fn by_columns(&self) -> BTreeMap<usize, Vec<usize>> {
        let mut lengths: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (rows, columns) in &self.shapes {
            lengths.entry(*columns).or_default().push(*rows);
        }
        lengths
    }
}
