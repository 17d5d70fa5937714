//! The rows of a synthetic feed, in blocks of columns, the same for every format and target.
//!
//! Blocks are drawn whole and cut to the number of rows that is left, so that a shorter feed is the beginning of a
//! longer one. Values are rounded to a grid (binary fractions or decimals) before anything sees them: text and binary
//! carry the same numbers then, and sums of them are exact in integers.

use super::column::Column;
use super::random::{Gauss, Random, Zipf};
use crate::error::{Error, Result};

/// Rows of a block: the columns of a block of usual width stay in a second-level cache while they are encoded.
pub(super) const BLOCK_ROWS: usize = 1024;

/// Scaled values stay below this magnitude: the grid is finer than the spacing of `f64` beyond, and the rounding below
/// needs the room.
const SCALED_MAX: f64 = (1u64 << 50) as f64;

/// 1.5 · 2^52: adding and subtracting it rounds to the nearest whole number, without a branch.
pub(super) const ROUNDER: f64 = 6_755_399_441_055_744.0;

/// Bits of a binary fraction at most: tables of their digits stay small, and all of them are among 16 digits.
pub const FRACTION_BITS_MAX: u32 = 12;

/// Decimals at most: beyond, a value of usual size has no more digits than `f64` holds.
pub const DECIMALS_MAX: u32 = 9;

/// Keys at most: a table of 8 bytes each is kept.
pub const KEYS_MAX: u32 = 100_000_000;

/// Event time behind the start at most: a century in nanoseconds, so that times stay in range.
const SPAN_NS_MAX: u128 = 100 * 365 * 86_400 * 1_000_000_000;

/// Which numbers values are rounded to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grid {
    /// Multiples of 2^-bits: exact as `f64` and as text.
    Fraction(u32),
    /// Multiples of 10^-digits: what is stored is the nearest `f64`.
    Decimals(u32),
}

/// What a synthetic feed holds.
#[derive(Debug, Clone)]
pub struct Options {
    /// The columns of values, behind `ts` and `key`.
    pub columns: Vec<Column>,
    /// The correlation of neighbouring columns: with R ≥ 0 of all columns, with R < 0 the sign alternates.
    pub correlation: f64,
    /// How many rows.
    pub rows: u64,
    /// What the numbers are drawn from.
    pub seed: u64,
    /// Keys 0 … keys − 1; without keys (0) there is no such column.
    pub keys: u32,
    /// The exponent of Zipf's law: 0 makes all keys as frequent.
    pub zipf: f64,
    /// Event time of the first row, in milliseconds since 1970.
    pub start_ms: i64,
    /// Event time from row to row, in nanoseconds.
    pub step_ns: u64,
    /// Rows come late by up to this many milliseconds, each by another delay.
    pub disorder_ms: u64,
    /// The share of rows that repeat the row before.
    pub duplicates: f64,
    /// The share of rows that cannot be read (text formats).
    pub bad_rows: f64,
    /// Which numbers values are rounded to.
    pub grid: Grid,
    /// Whether values are those that `f32` holds.
    pub single: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            columns: vec![Column::new("c0", 20.0, 2.0)],
            correlation: 0.0,
            rows: 1000,
            seed: 1,
            keys: 0,
            zipf: 1.0,
            start_ms: 1_767_225_600_000,
            step_ns: 1_000_000,
            disorder_ms: 0,
            duplicates: 0.0,
            bad_rows: 0.0,
            grid: Grid::Fraction(10),
            single: false,
        }
    }
}

impl Options {
    /// # Errors
    /// [`Error::Usage`] for what cannot be, naming the option.
    pub fn checked(&self) -> Result<()> {
        let no = |why: String| Err(Error::Usage(why));
        let span = u128::from(self.rows) * u128::from(self.step_ns) + u128::from(self.disorder_ms) * 1_000_000;
        if self.columns.is_empty() {
            return no("a feed has at least one column: --columns".into());
        }
        for (i, column) in self.columns.iter().enumerate() {
            let taken = self.columns[..i].iter().any(|other| other.name == column.name);
            if taken || column.name == "ts" || (column.name == "key" && self.keys > 0) {
                return no(format!(
                    "there are two columns `{}`: --column names another",
                    column.name
                ));
            }
            if !(0.0..f64::INFINITY).contains(&column.sd) {
                return no(format!("column `{}`: sd is {}, not 0 or more", column.name, column.sd));
            }
            probability(&format!("column `{}`: missing", column.name), column.missing)?;
        }
        if !(-1.0..=1.0).contains(&self.correlation) {
            return no(format!("--correlation is {}, not between -1 and 1", self.correlation));
        }
        if !(0.0..=10.0).contains(&self.zipf) {
            return no(format!("--zipf is {}, not between 0 and 10", self.zipf));
        }
        if self.keys > KEYS_MAX {
            return no(format!("--keys is {}, above {KEYS_MAX}", self.keys));
        }
        probability("--duplicates", self.duplicates)?;
        probability("--bad-rows", self.bad_rows)?;
        match self.grid {
            Grid::Fraction(bits) if bits > FRACTION_BITS_MAX => {
                return no(format!("--fraction-bits is {bits}, above {FRACTION_BITS_MAX}"));
            }
            Grid::Decimals(digits) if digits > DECIMALS_MAX => {
                return no(format!("--decimals is {digits}, above {DECIMALS_MAX}"));
            }
            Grid::Decimals(_) if self.single => {
                return no("f32 does not hold decimals: --values f32 goes with --fraction-bits, not --decimals".into());
            }
            _ => {}
        }
        if span > SPAN_NS_MAX {
            return no("the feed spans more than a century: fewer --rows, or a shorter --step or --disorder".into());
        }
        if !(-62_135_596_800_000..=253_402_300_799_000 - (SPAN_NS_MAX / 1_000_000) as i64).contains(&self.start_ms) {
            return no("--start is not between the years 1 and 9900".into());
        }
        for column in &self.columns {
            if !(0.0..SCALED_MAX).contains(&(column.magnitude(span as i64) * self.scale())) {
                return no(format!(
                    "values of column `{}` reach {:e}, where an f64 is coarser than the grid: fewer --fraction-bits or \
                     --decimals, or smaller mean, sd, drift or steps",
                    column.name,
                    column.magnitude(span as i64)
                ));
            }
        }
        Ok(())
    }

    /// What makes values whole numbers.
    pub(super) fn scale(&self) -> f64 {
        match self.grid {
            Grid::Fraction(bits) => f64::from(1u32 << bits),
            Grid::Decimals(digits) => 10f64.powi(digits as i32),
        }
    }

    /// The names of all columns, in their order.
    pub fn names(&self) -> Vec<&str> {
        let key = (self.keys > 0).then_some("key");
        let values = self.columns.iter().map(|c| c.name.as_str());
        std::iter::once("ts").chain(key).chain(values).collect()
    }
}

fn probability(what: &str, p: f64) -> Result<()> {
    match (0.0..=1.0).contains(&p) {
        true => Ok(()),
        false => Err(Error::Usage(format!("{what} is {p}, not between 0 and 1"))),
    }
}

/// What makes a row unreadable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A value is no number.
    Garbled,
    /// The row ends too early.
    Short,
    /// The time is none.
    Untimely,
    /// A value is not UTF-8.
    NotText,
}

/// Rows in columns.
#[derive(Debug, Clone, Default)]
pub(super) struct Block {
    /// Event times in milliseconds since 1970.
    pub(super) times_ms: Vec<i64>,
    /// Keys; as many as rows also where there are none.
    pub(super) keys: Vec<u32>,
    /// Values; NaN where one is missing.
    pub(super) columns: Vec<Vec<f64>>,
    /// Faults; empty where no row has one.
    pub(super) faults: Vec<Option<Fault>>,
}

impl Block {
    pub(super) fn rows(&self) -> usize {
        self.times_ms.len()
    }

    pub(super) fn fault(&self, row: usize) -> Option<Fault> {
        self.faults.get(row).copied().flatten()
    }

    fn truncate(&mut self, rows: usize) {
        self.times_ms.truncate(rows);
        self.keys.truncate(rows);
        self.columns.iter_mut().for_each(|c| c.truncate(rows));
        self.faults.truncate(rows);
    }

    /// Makes row `to` what row `from` of `other`, or of this block, is.
    fn copy(&mut self, to: usize, other: Option<&Self>, from: usize) {
        let get = |mine: f64, theirs: Option<f64>| theirs.unwrap_or(mine);
        self.times_ms[to] = other.map_or(self.times_ms[from.min(to)], |o| o.times_ms[from]);
        self.keys[to] = other.map_or(self.keys[from.min(to)], |o| o.keys[from]);
        for (c, column) in self.columns.iter_mut().enumerate() {
            column[to] = get(column[from.min(to)], other.map(|o| o.columns[c][from]));
        }
        if !self.faults.is_empty() {
            self.faults[to] = other.map_or(self.faults[from.min(to)], |o| o.fault(from));
        }
    }
}

/// Draws the rows of a feed.
#[derive(Debug)]
pub(super) struct Rows {
    options: Options,
    gauss: Gauss,
    zipf: Option<Zipf>,
    values: Random,
    keys: Random,
    times: Random,
    faults: Random,
    repeats: Random,
    gaps: Random,
    /// Rows drawn.
    drawn: u64,
    /// The factor that columns have in common, a value a row.
    common: Vec<f64>,
    block: Block,
    /// The last row of the block before.
    last: Block,
}

impl Rows {
    pub(super) fn new(options: &Options) -> Result<Self> {
        options.checked()?;
        let stream = |number| Random::new(options.seed, number);
        Ok(Self {
            gauss: Gauss::new(),
            zipf: (options.keys > 0).then(|| Zipf::new(options.keys, options.zipf)),
            values: stream(0),
            keys: stream(1),
            times: stream(2),
            faults: stream(3),
            repeats: stream(4),
            gaps: stream(5),
            drawn: 0,
            common: vec![0.0; if options.correlation == 0.0 { 0 } else { BLOCK_ROWS }],
            block: Block::default(),
            last: Block::default(),
            options: options.clone(),
        })
    }

    pub(super) fn block(&self) -> &Block {
        &self.block
    }

    /// Draws the next block; false at the end.
    pub(super) fn advance(&mut self) -> bool {
        let left = self.options.rows - self.drawn;
        if left == 0 {
            return false;
        }
        if self.options.duplicates > 0.0 && self.drawn > 0 {
            let n = self.block.rows();
            self.last = Block {
                times_ms: self.block.times_ms[n - 1..].to_vec(),
                keys: self.block.keys[n - 1..].to_vec(),
                columns: self.block.columns.iter().map(|c| c[n - 1..].to_vec()).collect(),
                faults: self.block.faults.get(n - 1..).unwrap_or_default().to_vec(),
            };
        }
        self.draw_times();
        self.draw_keys();
        self.draw_values();
        self.draw_faults();
        self.draw_repeats();
        let rows = left.min(BLOCK_ROWS as u64);
        self.block.truncate(rows as usize);
        self.drawn += rows;
        true
    }

    fn elapsed_ns(&self, row: usize) -> i64 {
        (self.drawn + row as u64).wrapping_mul(self.options.step_ns) as i64
    }

    fn draw_times(&mut self) {
        let (start, late) = (self.options.start_ms, self.options.disorder_ms);
        let mut times = std::mem::take(&mut self.block.times_ms);
        times.clear();
        times.extend((0..BLOCK_ROWS).map(|row| start + self.elapsed_ns(row) / 1_000_000));
        if late > 0 {
            times.iter_mut().for_each(|t| *t -= self.times.below(late + 1) as i64);
        }
        self.block.times_ms = times;
    }

    fn draw_keys(&mut self) {
        self.block.keys.resize(BLOCK_ROWS, 0);
        if let Some(zipf) = &self.zipf {
            self.block.keys.iter_mut().for_each(|k| *k = zipf.draw(&mut self.keys));
        }
    }

    fn draw_values(&mut self) {
        let r = self.options.correlation;
        let (shared, own) = (r.abs().sqrt(), (1.0 - r.abs()).sqrt());
        let (scale, single) = (self.options.scale(), self.options.single);
        self.block.columns.resize_with(self.options.columns.len(), Vec::new);
        if r != 0.0 {
            self.gauss.fill(&mut self.values, &mut self.common);
        }
        let mut columns = std::mem::take(&mut self.block.columns);
        for (c, (out, column)) in columns.iter_mut().zip(&self.options.columns).enumerate() {
            out.resize(BLOCK_ROWS, 0.0);
            self.gauss.fill(&mut self.values, out);
            if r != 0.0 {
                let shared = if r < 0.0 && c % 2 == 1 { -shared } else { shared };
                out.iter_mut()
                    .zip(&self.common)
                    .for_each(|(x, g)| *x = own * *x + shared * g);
            }
            let on_grid = |x: f64| (x * scale + ROUNDER) - ROUNDER;
            let (level, sd) = (column.mean, column.sd);
            if column.is_level() {
                out.iter_mut().for_each(|x| *x = on_grid(level + sd * *x));
            } else {
                for (row, x) in out.iter_mut().enumerate() {
                    *x = on_grid(column.level(self.elapsed_ns(row)) + sd * *x);
                }
            }
            match self.options.grid {
                // A power of two: multiplying is exact, and quicker than dividing.
                Grid::Fraction(_) => out.iter_mut().for_each(|x| *x *= 1.0 / scale),
                Grid::Decimals(_) => out.iter_mut().for_each(|x| *x /= scale),
            }
            if single {
                out.iter_mut().for_each(|x| *x = f64::from(*x as f32));
            }
            if column.missing > 0.0 {
                for x in out {
                    if self.gaps.happens(column.missing) {
                        *x = f64::NAN;
                    }
                }
            }
        }
        self.block.columns = columns;
    }

    fn draw_faults(&mut self) {
        let share = self.options.bad_rows;
        if share == 0.0 {
            return;
        }
        let kinds = [Fault::Garbled, Fault::Short, Fault::Untimely, Fault::NotText];
        let mut fault = || self.faults.happens(share).then(|| kinds[self.faults.below(4) as usize]);
        self.block.faults = (0..BLOCK_ROWS).map(|_| fault()).collect();
        // A reader that finds out columns and types by the first row finds one.
        if self.drawn == 0 {
            self.block.faults[0] = None;
        }
    }

    fn draw_repeats(&mut self) {
        if self.options.duplicates == 0.0 {
            return;
        }
        for row in 0..BLOCK_ROWS {
            let repeats = self.repeats.happens(self.options.duplicates);
            match row {
                _ if !repeats => {}
                0 if self.drawn == 0 => {}
                0 => self.block.copy(0, Some(&self.last), 0),
                row => self.block.copy(row, None, row - 1),
            }
        }
    }
}
