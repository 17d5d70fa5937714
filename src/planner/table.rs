//! Tables of seconds over rows and columns, and what lies between and beyond their points.
//!
//! Between two points log(seconds) is linear in log(rows), and between two numbers of columns in log(columns): exact for
//! what grows as a power of either, which covers a cost that is fixed, one per row, one per value and one per product.
//! Below the fewest rows the cost is that of the fewest rows (it is what a work costs at all), beyond the most rows it is
//! proportional to the rows, beyond the most columns to [`Part::units`]. Seconds never fall as rows rise: a point that
//! was measured to take longer than one of more rows was disturbed, and takes as long as that.

use super::{Part, positive};
use crate::summary::Shape;
use serde::{Deserialize, Serialize};

/// The seconds that a part takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Of which part.
    pub part: Part,
    /// By number of columns, rising: none twice.
    pub curves: Vec<Curve>,
}

/// Seconds by rows, for one number of columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// Columns.
    pub columns: usize,
    /// Rows, rising, with their seconds, never falling.
    pub points: Vec<(u64, f64)>,
}

/// One table for each part that a backend can do.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Tables(pub(super) Vec<Table>);

/// Seconds are never less: a clock cannot tell less from nothing.
const SECONDS_MIN: f64 = 1e-9;

impl Curve {
    fn new(columns: usize, mut points: Vec<(u64, f64)>) -> Self {
        points.retain(|(rows, seconds)| *rows > 0 && seconds.is_finite());
        points.sort_by_key(|(rows, _)| *rows);
        points.dedup_by_key(|(rows, _)| *rows);
        let mut most = f64::INFINITY;
        for (_, seconds) in points.iter_mut().rev() {
            most = most.min(*seconds).max(SECONDS_MIN);
            *seconds = most;
        }
        Self { columns, points }
    }

    fn is_sound(&self) -> bool {
        self.columns > 0
            && self.points.first().is_some_and(|(rows, _)| *rows > 0)
            && self.points.iter().all(|(_, seconds)| positive(*seconds))
            && self.points.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 <= w[1].1)
    }

    fn seconds(&self, rows: u64) -> Option<f64> {
        let behind = self.points.partition_point(|(at, _)| *at <= rows);
        let Some(after) = self.points.get(behind) else {
            let (at, seconds) = *self.points.last()?;
            return Some(seconds * (rows as f64 / at as f64));
        };
        let Some(before) = behind.checked_sub(1).map(|i| self.points[i]) else {
            return Some(after.1);
        };
        let power = Power::through((before.0 as f64, before.1), (after.0 as f64, after.1));
        Some(power.at(rows as f64))
    }
}

/// y = y₀ (x / x₀)ᵏ.
struct Power {
    from: (f64, f64),
    exponent: f64,
}

impl Power {
    fn through(a: (f64, f64), b: (f64, f64)) -> Self {
        let exponent = (b.1 / a.1).ln() / (b.0 / a.0).ln();
        Self { from: a, exponent }
    }

    fn at(&self, x: f64) -> f64 {
        self.from.1 * (x / self.from.0).powf(self.exponent)
    }
}

impl Table {
    /// A table of `(columns, [(rows, seconds)])`, put in order; points that are no numbers are left out.
    pub fn new(part: Part, curves: impl IntoIterator<Item = (usize, Vec<(u64, f64)>)>) -> Self {
        let curve = |(columns, points)| Curve::new(columns, points);
        let mut curves: Vec<Curve> = curves.into_iter().map(curve).collect();
        curves.retain(|curve| curve.columns > 0 && !curve.points.is_empty());
        curves.sort_by_key(|curve| curve.columns);
        curves.dedup_by_key(|curve| curve.columns);
        Self { part, curves }
    }

    /// What so many rows of so many columns take; `None` for an empty table, 0 for no rows.
    pub fn seconds(&self, rows: u64, columns: usize) -> Option<f64> {
        if rows == 0 || columns == 0 {
            return Some(0.0);
        }
        let behind = self.curves.partition_point(|curve| curve.columns <= columns);
        let Some(after) = self.curves.get(behind) else {
            let last = self.curves.last()?;
            let factor = self.part.units(columns) / self.part.units(last.columns);
            return Some(last.seconds(rows)? * factor);
        };
        let Some(before) = behind.checked_sub(1).map(|i| &self.curves[i]) else {
            return after.seconds(rows);
        };
        let at = |curve: &Curve| Some((curve.columns as f64, curve.seconds(rows)?));
        Some(Power::through(at(before)?, at(after)?).at(columns as f64))
    }
}

impl Tables {
    /// These tables.
    pub fn new(tables: impl IntoIterator<Item = Table>) -> Self {
        Self(tables.into_iter().collect())
    }

    /// The tables.
    pub fn iter(&self) -> impl Iterator<Item = &Table> {
        self.0.iter()
    }

    /// The table of a part.
    pub fn part(&self, part: Part) -> Option<&Table> {
        self.0.iter().find(|table| table.part == part)
    }

    /// The parts of a shape together; `None` where one has no table.
    pub(super) fn sum(&self, shape: &Shape, rows: u64) -> Option<f64> {
        let seconds = |(part, columns)| self.part(part)?.seconds(rows, columns);
        Part::of(shape).into_iter().map(seconds).sum()
    }

    pub(super) fn are_sound(&self) -> bool {
        let sound = |table: &Table| {
            let rising = |w: &[Curve]| w[0].columns < w[1].columns;
            table.curves.iter().all(Curve::is_sound) && table.curves.windows(2).all(rising)
        };
        !self.0.is_empty() && self.0.iter().all(sound)
    }
}
