//! Differences between adjacent rows of one sequence: their moments, and the edges at which neighbours join.
//!
//! A difference belongs to two adjacent rows that both have a value. With event time it counts if the time advances, as
//! (xᵢ − xᵢ₋₁) / (tᵢ − tᵢ₋₁) per second; where it does not, the pair is counted as unordered. Merging adds the one
//! difference between the last row of the earlier set and the first row of the later one. The difference of two equal
//! infinities does not exist, and is left out.

use super::Merge;
use super::moments::{MomentRun, Moments, Order};
use serde::{Deserialize, Serialize};

/// Nanoseconds in a second.
pub const NS_PER_SECOND: f64 = 1e9;

/// One row as its neighbour sees it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// Event time, if the rows have one.
    pub time_ns: Option<i64>,
    /// The value; NaN where it is missing.
    pub value: f64,
}

/// What two adjacent rows come to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    /// Their difference.
    Difference(f64),
    /// Both have a value, but the time does not advance.
    Unordered,
    /// One of them has no value.
    None,
}

/// The step from one row to the next.
#[inline]
pub fn step(from: Edge, to: Edge) -> Step {
    if from.value.is_nan() || to.value.is_nan() {
        return Step::None;
    }
    let difference = to.value - from.value;
    match (from.time_ns, to.time_ns) {
        (Some(t0), Some(t1)) if t1 <= t0 => Step::Unordered,
        // The span may exceed i64 (it is at most 2^64): as a difference of two it is exact to 53 bits either way.
        (Some(t0), Some(t1)) => {
            Step::Difference(difference / ((i128::from(t1) - i128::from(t0)) as f64 / NS_PER_SECOND))
        }
        _ => Step::Difference(difference),
    }
}

/// The differences of one column of a set of consecutive rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Differences {
    /// Moments of the differences, up to the second order.
    pub moments: Moments,
    /// Pairs whose time does not advance.
    pub unordered: u64,
    /// The first row and the last; `None` without rows.
    pub edges: Option<(Edge, Edge)>,
}

impl Default for Differences {
    fn default() -> Self {
        Self {
            moments: Moments {
                order: Order::Second,
                ..Moments::default()
            },
            unordered: 0,
            edges: None,
        }
    }
}

impl Merge for Differences {
    fn merge(&mut self, later: &Self) {
        let Some((first, last)) = later.edges else { return };
        if let Some((own_first, own_last)) = self.edges {
            match step(own_last, first) {
                Step::Difference(x) => {
                    let mut run = MomentRun::default();
                    run.push(x);
                    self.moments.merge(&run.finish(Order::Second));
                }
                Step::Unordered => self.unordered += 1,
                Step::None => {}
            }
            self.edges = Some((own_first, last));
        } else {
            self.edges = later.edges;
        }
        self.moments.merge(&later.moments);
        self.unordered += later.unordered;
    }
}

/// Differences of rows that come one at a time, in order.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DifferenceRun {
    moments: MomentRun,
    unordered: u64,
    edges: Option<(Edge, Edge)>,
}

impl DifferenceRun {
    /// Takes the next row.
    #[inline]
    pub fn push(&mut self, row: Edge) {
        self.edges = Some(match self.edges {
            None => (row, row),
            Some((first, last)) => {
                match step(last, row) {
                    Step::Difference(x) => self.moments.push(x),
                    Step::Unordered => self.unordered += 1,
                    Step::None => {}
                }
                (first, row)
            }
        });
    }

    /// The differences of what came so far.
    pub fn finish(&self) -> Differences {
        Differences {
            moments: self.moments.finish(Order::Second),
            unordered: self.unordered,
            edges: self.edges,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: &[(i64, f64)]) -> Differences {
        let mut run = DifferenceRun::default();
        rows.iter().for_each(|(t, x)| {
            run.push(Edge {
                time_ns: Some(*t * 500_000_000),
                value: *x,
            });
        });
        run.finish()
    }

    const ROWS: [(i64, f64); 6] = [(0, 1.0), (1, 3.0), (1, 9.0), (2, f64::NAN), (4, 2.0), (5, 1.0)];

    #[test]
    fn differences_are_per_second_and_skip_gaps() {
        let d = of(&ROWS);
        assert_eq!((d.moments.count, d.unordered), (2, 1));
        assert_eq!((d.moments.min, d.moments.max), (-2.0, 4.0));
    }

    #[test]
    fn any_split_counts_the_pair_at_the_joint() {
        let whole = of(&ROWS);
        for cut in 0..=ROWS.len() {
            let mut a = of(&ROWS[..cut]);
            a.merge(&of(&ROWS[cut..]));
            assert_eq!(
                (a.moments.mean(), a.unordered),
                (whole.moments.mean(), whole.unordered),
                "{cut}"
            );
            assert!(
                a.edges.map(|e| e.1.time_ns) == whole.edges.map(|e| e.1.time_ns),
                "{cut}"
            );
        }
    }

    #[test]
    fn without_time_every_pair_with_values_counts() {
        let (a, b) = (
            Edge {
                time_ns: None,
                value: 1.0,
            },
            Edge {
                time_ns: None,
                value: 4.0,
            },
        );
        assert_eq!(step(a, b), Step::Difference(3.0));
    }
}
