//! What a right engine makes of a feed: the reports of every window and key, exactly, and where every row went.
//!
//! Nothing here is the engine's: rows are put into panes one by one, their values added up as whole numbers, and a
//! window is the sum of its panes. A row is late if and only if the end of its pane is at or before the watermark, which
//! is the newest time of the readable rows before it, less the lateness. The feed is one partition.

use super::exact::{Products, Sums, small};
use super::rows::{Block, Grid, Options};
use crate::error::{Error, Result};
use crate::io::OutputFile;
use crate::units::duration_ns;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

/// What the engine is asked: the windows, and how long they wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Question {
    /// Size and slide of the windows in nanoseconds; without them all rows are one.
    pub window: Option<(i64, i64)>,
    /// How far the watermark stays behind the newest row, in nanoseconds.
    pub lateness_ns: i64,
    /// Whether covariances are asked for: of binary fractions, none of them missing.
    pub covariance: bool,
}

impl Question {
    /// From what options say; a window `unbounded` is none, a lateness of `0s` is none either.
    ///
    /// # Errors
    /// [`Error::Usage`] for a window that is no duration, or a slide that is longer.
    pub fn parse(window: Option<&str>, slide: Option<&str>, lateness: Option<&str>) -> Result<Self> {
        let window = match window.filter(|w| w.trim() != "unbounded") {
            None if slide.is_some() => return Err(Error::Usage("--slide needs a --window of time".into())),
            None => None,
            Some(size) => {
                let size = duration_ns(size)?;
                let slide = slide.map_or(Ok(size), duration_ns)?;
                if slide > size {
                    return Err(Error::Usage("--slide is longer than --window".into()));
                }
                Some((size, slide))
            }
        };
        let lateness = lateness.map(str::trim).filter(|l| *l != "0" && *l != "0s");
        Ok(Self {
            window,
            lateness_ns: lateness.map_or(Ok(0), duration_ns)?,
            covariance: false,
        })
    }
}

/// Where the rows of a feed went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Conservation {
    /// Rows sent.
    pub rows: u64,
    /// Rows in windows.
    pub aggregated: u64,
    /// Rows whose pane had closed.
    pub late: u64,
    /// Rows that cannot be read.
    pub bad: u64,
}

/// The rows of one pane.
#[derive(Debug, Default)]
struct Pane {
    /// For each key 1 + the place of its cell; 0 without one.
    places: Vec<u32>,
    cells: Vec<Cell>,
}

/// The rows of one pane and key.
#[derive(Debug, Clone)]
struct Cell {
    key: u32,
    rows: u64,
    columns: Vec<Sums>,
    products: Option<Products>,
}

impl Pane {
    fn cell(&mut self, key: u32, columns: usize, covariance: bool) -> &mut Cell {
        let k = key as usize;
        if k >= self.places.len() {
            self.places.resize((k + 1).next_power_of_two(), 0);
        }
        if self.places[k] == 0 {
            self.cells.push(Cell {
                key,
                rows: 0,
                columns: vec![Sums::default(); columns],
                products: covariance.then(|| Products::new(columns)),
            });
            self.places[k] = self.cells.len() as u32;
        }
        &mut self.cells[self.places[k] as usize - 1]
    }
}

/// Counts along with a feed and writes what is to come of it.
#[derive(Debug)]
pub struct Expectation {
    out: OutputFile,
    names: Vec<String>,
    keyed: bool,
    /// Values are multiples of 2^-shift.
    shift: u32,
    /// Size, slide and pane in nanoseconds.
    window: Option<(i64, i64, i64)>,
    lateness_ns: i64,
    covariance: bool,
    newest_ns: Option<i64>,
    panes: BTreeMap<i64, Pane>,
    /// Windows before this one are written.
    next: i64,
    counts: Conservation,
    /// What could not be written, once.
    failed: Option<Error>,
}

impl Expectation {
    /// Begins the file.
    ///
    /// # Errors
    /// [`Error::Usage`] if covariances are asked for of values that may be missing or are no binary fractions,
    /// [`Error::Output`] if it cannot be written.
    pub fn create(path: &Path, options: &Options, question: Question) -> Result<Self> {
        let complete = options.columns.iter().all(|column| column.missing == 0.0);
        if question.covariance && !(complete && matches!(options.grid, Grid::Fraction(_))) {
            return Err(Error::Usage(
                "--covariance is expected of binary fractions that are all there: no --decimals, no --missing".into(),
            ));
        }
        let shift = match options.grid {
            Grid::Fraction(bits) => bits,
            // The least magnitude above 0 is 10^-digits, above 2^-4digits, and has 52 bits behind its first.
            Grid::Decimals(digits) => 52 + (f64::from(digits) * std::f64::consts::LOG2_10).ceil() as u32,
        };
        Ok(Self {
            out: OutputFile::create(path)?,
            names: options.columns.iter().map(|c| c.name.clone()).collect(),
            keyed: options.keys > 0,
            shift,
            window: question.window.map(|(size, slide)| (size, slide, gcd(size, slide))),
            lateness_ns: question.lateness_ns,
            covariance: question.covariance,
            newest_ns: None,
            panes: BTreeMap::new(),
            next: i64::MIN,
            counts: Conservation::default(),
            failed: None,
        })
    }

    /// Takes the next rows.
    pub(super) fn push(&mut self, block: &Block) {
        let mut values = Vec::new();
        for row in 0..block.rows() {
            self.counts.rows += 1;
            if block.fault(row).is_some() {
                self.counts.bad += 1;
                continue;
            }
            let time_ns = block.times_ms[row] * 1_000_000;
            let pane = self.window.map_or(0, |(_, _, pane)| time_ns.div_euclid(pane));
            if let (Some((_, _, length)), Some(newest)) = (self.window, self.newest_ns)
                && (pane + 1) * length <= newest - self.lateness_ns
            {
                self.counts.late += 1;
                continue;
            }
            self.newest_ns = self.newest_ns.max(Some(time_ns));
            self.counts.aggregated += 1;
            let cell = self.panes.entry(pane).or_default();
            let cell = cell.cell(block.keys[row], block.columns.len(), self.covariance);
            cell.rows += 1;
            for (sums, column) in cell.columns.iter_mut().zip(&block.columns) {
                sums.add(column[row], self.shift);
            }
            if let Some(products) = &mut cell.products {
                values.clear();
                values.extend(block.columns.iter().map(|column| small(column[row], self.shift)));
                products.add(&values);
            }
        }
        if let Some(newest) = self.newest_ns {
            self.close(newest - self.lateness_ns);
        }
    }

    /// Writes the windows that end at or before the watermark, and forgets the panes that no other needs.
    fn close(&mut self, watermark_ns: i64) {
        let Some((size, slide, length)) = self.window else {
            return;
        };
        while let Some((&pane, _)) = self.panes.first_key_value() {
            // The first window that the pane is in.
            let first = (pane * length + length - size + slide - 1)
                .div_euclid(slide)
                .max(self.next);
            let start = first * slide;
            if start > pane * length {
                self.panes.pop_first();
                continue;
            }
            if start.saturating_add(size) > watermark_ns {
                return;
            }
            let inside = start / length..(start + size) / length;
            debug_assert!(start % length == 0 && size % length == 0);
            self.report(inside, Some((start, start + size)));
            self.next = first + 1;
        }
    }

    /// Writes a window of these panes.
    fn report(&mut self, panes: std::ops::Range<i64>, bounds: Option<(i64, i64)>) {
        let mut merged: BTreeMap<u32, Cell> = BTreeMap::new();
        for cell in self.panes.range(panes).flat_map(|(_, pane)| &pane.cells) {
            match merged.entry(cell.key) {
                std::collections::btree_map::Entry::Vacant(place) => {
                    place.insert(cell.clone());
                }
                std::collections::btree_map::Entry::Occupied(place) => {
                    let sum = place.into_mut();
                    sum.rows += cell.rows;
                    sum.columns.iter_mut().zip(&cell.columns).for_each(|(a, b)| a.merge(b));
                    if let (Some(sum), Some(products)) = (&mut sum.products, &cell.products) {
                        sum.merge(products);
                    }
                }
            }
        }
        for cell in merged.values() {
            self.write(&self.line(cell, bounds));
        }
    }

    fn line(&self, cell: &Cell, bounds: Option<(i64, i64)>) -> Value {
        let columns: Map<String, Value> = self
            .names
            .iter()
            .zip(&cell.columns)
            .map(|(name, sums)| {
                let variance = sums.variance(self.shift);
                let some = |x: f64| (sums.count > 0).then_some(x);
                let value = json!({
                    "count": sums.count, "missing": sums.missing, "sum": sums.sum(self.shift),
                    "mean": sums.mean(self.shift), "variance": variance, "std": variance.map(f64::sqrt),
                    "min": some(sums.range.0), "max": some(sums.range.1),
                });
                (name.clone(), value)
            })
            .collect();
        let time = |ns: i64| jiff::Timestamp::from_nanosecond(ns.into()).map_or(Value::Null, |t| json!(t.to_string()));
        let mut line = json!({
            "key": self.keyed.then(|| json!({"key": cell.key})),
            "window": bounds.map(|(start, end)| json!({"start": time(start), "end": time(end)})),
            "rows": cell.rows,
            "columns": columns,
        });
        if let Some(products) = &cell.products {
            let matrix = products.covariances(&cell.columns, self.shift);
            line["covariance"] = json!({"columns": self.names, "rows": cell.rows, "matrix": matrix});
        }
        line
    }

    fn write(&mut self, line: &Value) {
        if self.failed.is_none() {
            let written = writeln!(self.out, "{line}");
            self.failed = written.err().map(|e| self.out.error(e));
        }
    }

    /// Writes the windows that are still open, and last where the rows went; the file is whole then.
    ///
    /// # Errors
    /// [`Error::Output`] if something could not be written.
    pub fn finish(mut self) -> Result<Conservation> {
        match self.window {
            Some(_) => self.close(i64::MAX),
            None => self.report(i64::MIN..i64::MAX, None),
        }
        let counts = self.counts;
        self.write(&json!({"conservation": {
            "in": counts.rows, "aggregated": counts.aggregated, "filtered": 0, "late": counts.late,
            "quarantined": counts.bad, "dropped": 0,
        }}));
        match self.failed {
            Some(error) => Err(error),
            None => self.out.finish().map(|()| counts),
        }
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
