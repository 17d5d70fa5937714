//! The running state of an unfinished leaf, all columns side by side: rows one after another, vectorised across columns.
//!
//! What [`MomentRun`] holds of one column stands here as lanes (a pivot, two compensated sums, extremes) of as many
//! columns as there are, in one allocation: there may be millions of such states. Each column goes through exactly the
//! operations of [`MomentRun::push`], so the state after n rows depends on these rows and their order alone, whatever
//! was pushed at once. Rows whose values are finite and of ordinary magnitude take the wide path; a value that is not,
//! the first of a column, or one that asks for other units takes the narrow one.

use super::abreast::{self, ABREAST};
use super::{MomentRun, Moments, Order, PivotSums};
use crate::summary::dd::two_sum;
use crate::summary::rows::Rows;
use serde::{Deserialize, Serialize};

/// The lanes of a state, each as long as there are columns. The last two are there for the fourth order only.
pub(super) const PIVOT: usize = 0;
pub(super) const S1: usize = 1;
pub(super) const S1_LOW: usize = 2;
pub(super) const S2: usize = 3;
pub(super) const S2_LOW: usize = 4;
pub(super) const MIN: usize = 5;
pub(super) const MAX: usize = 6;
const LIMIT: usize = 7;
pub(super) const S3: usize = 8;
pub(super) const S4: usize = 9;

fn lanes(order: Order) -> usize {
    match order {
        Order::Second => S3,
        Order::Fourth => S4 + 1,
    }
}

/// What is out of the ordinary in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Odd {
    /// Sums are in units of 2^scale.
    scale: i32,
    /// Missing values, and infinite ones of either sign.
    missing: u64,
    positive_infinite: u64,
    negative_infinite: u64,
}

impl Odd {
    fn values(&self) -> u64 {
        self.missing + self.positive_infinite + self.negative_infinite
    }
}

/// Moments of rows of several columns that come one after another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MomentLanes {
    order: Order,
    /// Lane l of column c stands at l · columns + c.
    block: Box<[f64]>,
    /// One a column, once any column has needed it.
    odd: Option<Box<[Odd]>>,
}

impl MomentLanes {
    /// No rows of so many columns.
    pub fn new(columns: usize, order: Order) -> Self {
        let mut lanes = Self {
            order,
            block: vec![0.0; columns * lanes(order)].into_boxed_slice(),
            odd: None,
        };
        lanes.empty();
        lanes
    }

    /// Forgets all rows.
    pub(crate) fn clear(&mut self) {
        self.block.fill(0.0);
        self.empty();
        self.odd = None;
    }

    /// The extremes of no rows; all else is 0.
    fn empty(&mut self) {
        let columns = self.columns();
        self.block[MIN * columns..MAX * columns].fill(f64::INFINITY);
        self.block[MAX * columns..LIMIT * columns].fill(f64::NEG_INFINITY);
    }

    /// Columns.
    pub fn columns(&self) -> usize {
        self.block.len() / lanes(self.order)
    }

    /// Which central sums are kept.
    pub fn order(&self) -> Order {
        self.order
    }

    /// Takes rows in their order. `before` are the rows that were taken before.
    #[inline(always)]
    pub fn push_rows(&mut self, before: u64, rows: impl Rows) {
        match self.order {
            Order::Second => self.push_in::<false>(before, rows),
            Order::Fourth => self.push_in::<true>(before, rows),
        }
    }

    #[inline(always)]
    fn push_in<const FOURTH: bool>(&mut self, before: u64, rows: impl Rows) {
        let columns = self.columns();
        let mut first = 0;
        while first < columns {
            match columns - first {
                8.. => self.push_columns::<8, FOURTH>(before, &mut first, rows),
                4..8 => self.push_columns::<4, FOURTH>(before, &mut first, rows),
                2..4 => self.push_columns::<2, FOURTH>(before, &mut first, rows),
                _ => self.push_columns::<1, FOURTH>(before, &mut first, rows),
            }
        }
    }

    /// The next `W` columns, which begin with `first`, through all rows.
    #[inline(always)]
    fn push_columns<const W: usize, const FOURTH: bool>(&mut self, before: u64, first: &mut usize, rows: impl Rows) {
        let mut at = 0;
        while at < rows.count() {
            if (0..W).all(|j| self.is_settled(*first + j, before + at as u64)) {
                let rest = rows.slice(at..rows.count());
                at += self.push_settled::<W, FOURTH>(*first, rest.count(), rest.several(*first));
            }
            if at < rows.count() {
                for column in *first..*first + W {
                    self.push_one(column, before + at as u64, rows.value(at, column));
                }
                at += 1;
            }
        }
        *first += W;
    }

    /// Whether a column that has had this many rows has a pivot and its sums no units of their own.
    #[inline(always)]
    fn is_settled(&self, column: usize, rows: u64) -> bool {
        match &self.odd {
            None => rows > 0,
            Some(odd) => odd[column].scale == 0 && rows > odd[column].values(),
        }
    }

    /// Takes rows up to the first whose values are not all finite and of ordinary magnitude; how many these were.
    #[inline(always)]
    fn push_settled<const W: usize, const FOURTH: bool>(
        &mut self,
        first: usize,
        rows: usize,
        row: impl Fn(usize) -> [f64; W],
    ) -> usize {
        let width = self.columns();
        let load = |lane: usize| -> [f64; W] {
            let at = lane * width + first;
            std::array::from_fn(|j| self.block[at + j])
        };
        let (pivot, limit) = (load(PIVOT), load(LIMIT));
        let (mut s1, mut s1_low, mut s2, mut s2_low) = (load(S1), load(S1_LOW), load(S2), load(S2_LOW));
        let (mut min, mut max) = (load(MIN), load(MAX));
        let (mut s3, mut s4) = if FOURTH {
            (load(S3), load(S4))
        } else {
            ([0.0; W], [0.0; W])
        };
        let mut taken = rows;
        for k in 0..rows {
            let x = row(k);
            let mut inside = true;
            for j in 0..W {
                inside &= x[j].abs() <= limit[j];
            }
            if !inside {
                taken = k;
                break;
            }
            for j in 0..W {
                min[j] = if x[j] < min[j] { x[j] } else { min[j] };
                max[j] = if x[j] > max[j] { x[j] } else { max[j] };
                let (d, d_low) = two_sum(x[j], -pivot[j]);
                let d2 = d * d;
                let (sum, low) = two_sum(s1[j], d);
                s1[j] = sum;
                s1_low[j] += low + d_low;
                let (sum, low) = two_sum(s2[j], d2);
                s2[j] = sum;
                s2_low[j] += low;
                if FOURTH {
                    s3[j] += d2 * d;
                    s4[j] += d2 * d2;
                }
            }
        }
        let mut store = |lane: usize, values: [f64; W]| {
            let at = lane * width + first;
            self.block[at..at + W].copy_from_slice(&values);
        };
        store(S1, s1);
        store(S1_LOW, s1_low);
        store(S2, s2);
        store(S2_LOW, s2_low);
        store(MIN, min);
        store(MAX, max);
        if FOURTH {
            store(S3, s3);
            store(S4, s4);
        }
        taken
    }

    /// Whether a column that has had this many rows can take these values: all of them, and those before, are finite and of
    /// ordinary magnitude.
    #[inline(always)]
    fn fits(&self, column: usize, rows: u64, values: &[f64]) -> bool {
        let limit = self.lane(LIMIT, column);
        let mut inside = self.odd.is_none() && rows > 0;
        for x in values {
            inside &= x.abs() <= limit;
        }
        inside
    }

    /// Takes rows of eight cells, equally many of each, if all their values are of the ordinary kind; whether it did.
    /// `before` are the rows that each has had, `values` by column those of each cell.
    #[inline(always)]
    pub(crate) fn push_abreast<'a>(
        cells: &mut [&mut Self; ABREAST],
        before: [u64; ABREAST],
        values: impl Fn(usize) -> [&'a [f64]; ABREAST],
    ) -> bool {
        let columns = cells[0].columns();
        for column in 0..columns {
            let values = values(column);
            for j in 0..ABREAST {
                if !cells[j].fits(column, before[j], values[j]) {
                    return false;
                }
            }
        }
        for column in 0..columns {
            match cells[0].order {
                Order::Second => abreast::push::<false>(cells, column, values(column)),
                Order::Fourth => abreast::push::<true>(cells, column, values(column)),
            }
        }
        true
    }

    #[inline(always)]
    pub(super) fn lane(&self, lane: usize, column: usize) -> f64 {
        self.block[lane * self.columns() + column]
    }

    #[inline(always)]
    pub(super) fn set_lane(&mut self, lane: usize, column: usize, value: f64) {
        self.block[lane * self.columns() + column] = value;
    }

    /// Any value of one column.
    fn push_one(&mut self, column: usize, rows: u64, x: f64) {
        if !x.is_finite() {
            let columns = self.columns();
            let odd = self.odd.get_or_insert_with(|| vec![Odd::default(); columns].into());
            let odd = &mut odd[column];
            if x.is_nan() {
                odd.missing += 1;
            } else if x > 0.0 {
                odd.positive_infinite += 1;
            } else {
                odd.negative_infinite += 1;
            }
        } else if self.is_settled(column, rows) && x.abs() <= self.block[LIMIT * self.columns() + column] {
            match self.order {
                Order::Second => self.push_settled::<1, false>(column, 1, |_| [x]),
                Order::Fourth => self.push_settled::<1, true>(column, 1, |_| [x]),
            };
        } else {
            let mut run = self.run(column, rows);
            run.push(x);
            self.set_run(column, &run);
        }
    }

    /// One column after so many rows, as a state of its own.
    fn run(&self, column: usize, rows: u64) -> MomentRun {
        let odd = self.odd.as_ref().map_or(Odd::default(), |odd| odd[column]);
        let at = |lane: usize| self.block[lane * self.columns() + column];
        let fourth = |lane: usize| if self.order == Order::Fourth { at(lane) } else { 0.0 };
        MomentRun {
            sums: PivotSums {
                count: rows - odd.values(),
                pivot: at(PIVOT),
                s1: at(S1),
                s1_low: at(S1_LOW),
                s2: at(S2),
                s3: fourth(S3),
                s4: fourth(S4),
            },
            s2_low: at(S2_LOW),
            seen: Moments {
                missing: odd.missing,
                positive_infinite: odd.positive_infinite,
                negative_infinite: odd.negative_infinite,
                min: at(MIN),
                max: at(MAX),
                ..Moments::default()
            },
            scale: odd.scale,
            limit: at(LIMIT),
        }
    }

    fn set_run(&mut self, column: usize, run: &MomentRun) {
        let columns = self.columns();
        let mut set = |lane: usize, value: f64| self.block[lane * columns + column] = value;
        set(PIVOT, run.sums.pivot);
        set(S1, run.sums.s1);
        set(S1_LOW, run.sums.s1_low);
        set(S2, run.sums.s2);
        set(S2_LOW, run.s2_low);
        set(MIN, run.seen.min);
        set(MAX, run.seen.max);
        set(LIMIT, run.limit);
        if self.order == Order::Fourth {
            set(S3, run.sums.s3);
            set(S4, run.sums.s4);
        }
        if run.scale != 0 || self.odd.is_some() {
            let odd = self.odd.get_or_insert_with(|| vec![Odd::default(); columns].into());
            odd[column].scale = run.scale;
        }
    }

    /// The moments of every column after so many rows.
    pub fn finish(&self, rows: u64) -> Vec<Moments> {
        self.finished(rows).collect()
    }

    /// The same, one by one.
    pub(crate) fn finished(&self, rows: u64) -> impl Iterator<Item = Moments> {
        (0..self.columns()).map(move |column| self.run(column, rows).finish(self.order))
    }

    /// Bytes of a state of so many columns of ordinary values.
    pub(crate) fn state_bytes(columns: usize, order: Order) -> usize {
        columns * lanes(order) * size_of::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::rows::{Chosen, Consecutive, GROUP_COLUMNS, Packed};
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            6 => -1e3..1e3,
            1 => Just(0.0),
            1 => Just(f64::NAN),
            1 => Just(f64::INFINITY),
            1 => Just(f64::NEG_INFINITY),
            1 => Just(1e-290),
            1 => Just(-1e300),
            1 => Just(1e155),
        ]
    }

    fn packed(rows: &[Vec<f64>], columns: usize) -> Vec<Vec<f64>> {
        let value = |row: &Vec<f64>, c: usize| if c < columns { row[c] } else { 0.0 };
        let group = |first: usize| {
            let row = move |row| (first..first + GROUP_COLUMNS).map(move |c| value(row, c));
            rows.iter().flat_map(row).collect()
        };
        (0..columns).step_by(GROUP_COLUMNS).map(group).collect()
    }

    proptest! {
        /// Against the state of one column, one value at a time, for any number of columns and any cutting.
        #[test]
        fn each_column_is_as_if_alone(
            rows in prop::collection::vec(prop::collection::vec(value(), 15), 1..60),
            columns in 1usize..=15,
            cuts in prop::collection::vec(1usize..9, 1..8),
            fourth: bool,
        ) {
            let order = if fourth { Order::Fourth } else { Order::Second };
            let table: Vec<Vec<f64>> = (0..columns).map(|c| rows.iter().map(|row| row[c]).collect()).collect();
            let packed = packed(&rows, columns);
            let groups: Vec<&[f64]> = packed.iter().map(Vec::as_slice).collect();
            let packed = Packed::new(&groups, rows.len(), None);
            let slices: Vec<&[f64]> = table.iter().map(Vec::as_slice).collect();
            let places: Vec<u32> = (0..rows.len() as u32).collect();
            let chosen = Chosen { columns: &slices, time_ns: None, places: &places };
            let new = || MomentLanes::new(columns, order);
            let (mut state, mut other, mut third) = (new(), new(), new());
            let consecutive = Consecutive::new(&slices, rows.len(), None);
            let (mut at, mut cut) = (0, cuts.iter().cycle());
            while at < rows.len() {
                let next = rows.len().min(at + cut.next().unwrap());
                state.push_rows(at as u64, packed.slice(at..next));
                other.push_rows(at as u64, chosen.slice(at..next));
                third.push_rows(at as u64, consecutive.slice(at..next));
                at = next;
            }
            prop_assert_eq!(&state, &other);
            prop_assert_eq!(&state, &third);
            let bits = |m: &Moments| {
                let floats = [m.min, m.max, m.sum.hi, m.sum.lo, m.m2, m.m3, m.m4].map(f64::to_bits);
                (floats, m.count, m.missing, m.positive_infinite, m.negative_infinite, m.scale)
            };
            for (found, column) in state.finish(rows.len() as u64).iter().zip(&table) {
                let mut alone = MomentRun::default();
                column.iter().for_each(|x| alone.push(*x));
                prop_assert_eq!(bits(found), bits(&alone.finish(order)));
            }
        }
    }
}
