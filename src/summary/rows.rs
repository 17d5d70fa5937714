//! Rows of numeric columns in the order in which running states take them; NaN is a missing value.
//!
//! There are two ways to have them. [`Chosen`] reads them where they are: columns, and places in them. That is best for
//! a few columns. Of many columns, rows that are far apart cost a line of the cache for every value; [`Packed`] reads
//! copies of them side by side.

use std::ops::Range;

/// Columns whose values [`Packed`] has side by side: an AVX-512 register, and a line of the cache.
pub const GROUP_COLUMNS: usize = 8;

/// Rows to be taken one after another.
pub trait Rows: Copy {
    /// How many there are.
    fn count(&self) -> usize;

    /// Some of them.
    fn slice(self, rows: Range<usize>) -> Self;

    /// The value of a column in a row.
    fn value(&self, row: usize, column: usize) -> f64;

    /// By row, the values of the `W` columns from `first` on; `W` is a power of two up to [`GROUP_COLUMNS`], and
    /// `first` a multiple of it.
    fn several<const W: usize>(&self, first: usize) -> impl Fn(usize) -> [f64; W];

    /// The first values of a row, as many as there are places for.
    fn copy_row(&self, row: usize, to: &mut [f64]);

    /// The time of a row in nanoseconds since 1970.
    fn time_ns(&self, row: usize) -> Option<i64>;

    /// The values of a column, where they follow each other.
    fn column(&self, _column: usize) -> Option<&[f64]> {
        None
    }
}

/// Rows at places of columns.
#[derive(Debug, Clone, Copy)]
pub struct Chosen<'a> {
    /// The columns.
    pub columns: &'a [&'a [f64]],
    /// The times in nanoseconds since 1970, where there are any.
    pub time_ns: Option<&'a [i64]>,
    /// By row, its place in the columns and times.
    pub places: &'a [u32],
}

impl Rows for Chosen<'_> {
    #[inline(always)]
    fn count(&self) -> usize {
        self.places.len()
    }

    #[inline(always)]
    fn slice(self, rows: Range<usize>) -> Self {
        let places = &self.places[rows];
        Self { places, ..self }
    }

    #[inline(always)]
    fn value(&self, row: usize, column: usize) -> f64 {
        self.columns[column][self.places[row] as usize]
    }

    #[inline(always)]
    fn several<const W: usize>(&self, first: usize) -> impl Fn(usize) -> [f64; W] {
        let columns: [&[f64]; W] = std::array::from_fn(|j| self.columns[first + j]);
        move |row| {
            let place = self.places[row] as usize;
            std::array::from_fn(|j| columns[j][place])
        }
    }

    #[inline(always)]
    fn copy_row(&self, row: usize, to: &mut [f64]) {
        let place = self.places[row] as usize;
        to.iter_mut()
            .zip(self.columns)
            .for_each(|(x, column)| *x = column[place]);
    }

    #[inline(always)]
    fn time_ns(&self, row: usize) -> Option<i64> {
        self.time_ns.map(|times| times[self.places[row] as usize])
    }
}

/// Some of the rows that lie one after another.
#[derive(Debug, Clone, Copy)]
struct Stretch<'a> {
    first: usize,
    count: usize,
    /// Times in nanoseconds since 1970, and by row which of them it has.
    times: Option<(&'a [i64], &'a [u32])>,
}

impl Stretch<'_> {
    #[inline(always)]
    fn slice(self, rows: Range<usize>) -> Self {
        Self {
            first: self.first + rows.start,
            count: rows.len(),
            ..self
        }
    }

    #[inline(always)]
    fn time_ns(&self, row: usize) -> Option<i64> {
        self.times
            .map(|(times, places)| times[places[self.first + row] as usize])
    }
}

/// Rows that follow each other in every column.
#[derive(Debug, Clone, Copy)]
pub struct Consecutive<'a> {
    columns: &'a [&'a [f64]],
    rows: Stretch<'a>,
}

impl<'a> Consecutive<'a> {
    /// The first rows of these columns, so many. Row r has the time `times.0[times.1[r]]`.
    pub fn new(columns: &'a [&'a [f64]], count: usize, times: Option<(&'a [i64], &'a [u32])>) -> Self {
        Self {
            columns,
            rows: Stretch { first: 0, count, times },
        }
    }
}

impl Rows for Consecutive<'_> {
    #[inline(always)]
    fn count(&self) -> usize {
        self.rows.count
    }

    #[inline(always)]
    fn slice(self, rows: Range<usize>) -> Self {
        let rows = self.rows.slice(rows);
        Self { rows, ..self }
    }

    #[inline(always)]
    fn value(&self, row: usize, column: usize) -> f64 {
        self.columns[column][self.rows.first + row]
    }

    #[inline(always)]
    fn several<const W: usize>(&self, first: usize) -> impl Fn(usize) -> [f64; W] {
        let rows = self.rows.first..self.rows.first + self.rows.count;
        let columns: [&[f64]; W] = std::array::from_fn(|j| &self.columns[first + j][rows.clone()]);
        move |row| std::array::from_fn(|j| columns[j][row])
    }

    #[inline(always)]
    fn copy_row(&self, row: usize, to: &mut [f64]) {
        let row = self.rows.first + row;
        to.iter_mut().zip(self.columns).for_each(|(x, column)| *x = column[row]);
    }

    #[inline(always)]
    fn time_ns(&self, row: usize) -> Option<i64> {
        self.rows.time_ns(row)
    }

    #[inline(always)]
    fn column(&self, column: usize) -> Option<&[f64]> {
        Some(&self.columns[column][self.rows.first..self.rows.first + self.rows.count])
    }
}

/// Rows whose values lie side by side: column c of row r is `groups[c / 8][r * 8 + c % 8]`, 8 being [`GROUP_COLUMNS`].
#[derive(Debug, Clone, Copy)]
pub struct Packed<'a> {
    groups: &'a [&'a [f64]],
    rows: Stretch<'a>,
}

impl<'a> Packed<'a> {
    /// So many rows. Row r has the time `times.0[times.1[r]]`.
    pub fn new(groups: &'a [&'a [f64]], count: usize, times: Option<(&'a [i64], &'a [u32])>) -> Self {
        Self {
            groups,
            rows: Stretch { first: 0, count, times },
        }
    }
}

impl Rows for Packed<'_> {
    #[inline(always)]
    fn count(&self) -> usize {
        self.rows.count
    }

    #[inline(always)]
    fn slice(self, rows: Range<usize>) -> Self {
        let rows = self.rows.slice(rows);
        Self { rows, ..self }
    }

    #[inline(always)]
    fn value(&self, row: usize, column: usize) -> f64 {
        self.several::<1>(column)(row)[0]
    }

    #[inline(always)]
    fn several<const W: usize>(&self, first: usize) -> impl Fn(usize) -> [f64; W] {
        let group = self.groups[first / GROUP_COLUMNS];
        let within = first % GROUP_COLUMNS;
        move |row| {
            let place = (self.rows.first + row) * GROUP_COLUMNS + within;
            let values = &group[place..place + W];
            std::array::from_fn(|j| values[j])
        }
    }

    #[inline(always)]
    fn copy_row(&self, row: usize, to: &mut [f64]) {
        let place = (self.rows.first + row) * GROUP_COLUMNS;
        for (values, to) in self.groups.iter().zip(to.chunks_mut(GROUP_COLUMNS)) {
            to.copy_from_slice(&values[place..place + to.len()]);
        }
    }

    #[inline(always)]
    fn time_ns(&self, row: usize) -> Option<i64> {
        self.rows.time_ns(row)
    }
}
