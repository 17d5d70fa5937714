//! The moments of many keys from rows that are all there: parted by key, and each part a task from rows to moments.
//!
//! The table of a million keys and the states of these lie in memory, and every row would wait for both. So rows are first
//! written into parts, by a hash of their keys and in their order: what a part needs stays in the second-level cache. The
//! rows of a key are taken by one thread in the order in which they came, leaf by leaf, as they are everywhere else, so
//! that the bits are the same.

use super::Cpu;
use super::in_place::{InPlace, Place};
use crate::batch::{Column, Values};
use crate::cells::ByCell;
use crate::summary::rows::Consecutive;
use crate::summary::{CellState, Moments, Shape, Summary};
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use rayon::prelude::*;
use std::hash::BuildHasher;
use std::ops::Range;

/// Rows of a part, about, and parts at most: more places than these to write to at once are slow to write to.
const PART_ROWS: usize = 1 << 15;
const PARTS_MAX: usize = 1 << 10;

/// Rows from which on parting them may pay.
pub(crate) const ROWS_MIN: usize = 1 << 18;
/// What parted rows take at most. The moments of the keys, which are there until all groups are made, take less memory than
/// the groups.
const BYTES_MAX: usize = 1 << 30;

/// Rows a key at most: with more of them the states of the keys that there are stay in the cache (10M rows of 30,000 keys
/// took as long either way, 1M of 10,000 keys 0.9 of the time).
const KEY_ROWS_MAX: usize = 256;

/// Columns at most: 2M rows of 8 took 0.61 and 0.38 of the time that they took otherwise (100,000 keys and a million), with
/// 20 no less.
const COLUMNS_MAX: usize = 8;

/// Rows that are looked at to see how many keys there are, and how many of them may be of one key: its rows are for one
/// thread.
const SAMPLE_ROWS: usize = 1 << 14;
const SAMPLE_KEY_ROWS_MAX: usize = SAMPLE_ROWS / 64;

/// Rows with their keys. A key is a number whose order is the order of the keys.
pub(crate) struct Keyed<'a, K> {
    /// By row its key.
    pub(crate) key: K,
    pub(crate) rows: usize,
    /// As many as the shape has.
    pub(crate) columns: &'a [Column],
    /// Of moments only.
    pub(crate) shape: &'a Shape,
    pub(crate) leaf_rows: usize,
}

/// Whether so many rows are worth to be parted, and can be, whatever their keys are.
pub(crate) fn may_pay(rows: usize, shape: &Shape) -> bool {
    let columns = shape.columns;
    let bytes = rows.saturating_mul(size_of::<u32>() + (1 + columns) * size_of::<f64>());
    rows >= ROWS_MIN && bytes <= BYTES_MAX && (1..=COLUMNS_MAX).contains(&columns) && shape.is_moments_only()
}

impl Cpu {
    /// What `make` makes of each key and its rows, in the order of the keys. Every task has one of its own.
    pub(crate) fn by_key<K, M, T>(&self, keyed: &Keyed<'_, K>, make: impl Fn() -> M + Sync + Send) -> Vec<T>
    where
        K: Fn(usize) -> i64 + Sync,
        M: FnMut(i64, &Summary) -> T,
        T: Send,
    {
        let parts = keyed.rows.div_ceil(PART_ROWS).next_power_of_two().min(PARTS_MAX);
        match &self.pool {
            Some(pool) => pool.install(|| keyed.parted(parts, make)),
            None => keyed.parted(parts, make),
        }
    }
}

/// Rows that follow each other, brought together by part.
struct Share {
    /// Where each part begins, and the end.
    starts: Vec<u32>,
    keys: Vec<i64>,
    columns: Vec<Vec<f64>>,
}

impl Share {
    fn range(&self, part: usize) -> Range<usize> {
        self.starts[part] as usize..self.starts[part + 1] as usize
    }
}

/// What a task uses for part after part.
#[derive(Default)]
struct Room {
    table: HashTable<u32>,
    /// By row the number of its key.
    numbers: Vec<u32>,
    cells: ByCell,
    places: Vec<Place>,
    columns: Vec<Vec<f64>>,
    states: Vec<CellState>,
}

/// The keys of a part, in their order: who goes through all keys reads each part from its beginning to its end.
struct Part {
    keys: Vec<i64>,
    rows: Vec<u64>,
    /// Those of a key's columns one after another.
    moments: Vec<Moments>,
}

impl<K: Fn(usize) -> i64 + Sync> Keyed<'_, K> {
    /// Whether there are so many keys, and so few rows of each, that parting them pays; rows [may](may_pay) be parted.
    pub(crate) fn pays(&self) -> bool {
        // Rows in no step that the keys of rows may have too: the fractions of the multiples of the golden ratio.
        let row = |i: u64| (u128::from(i.wrapping_mul(0x9E37_79B9_7F4A_7C15)) * self.rows as u128) >> 64;
        let mut seen: HashMap<i64, usize> = HashMap::new();
        for i in 0..SAMPLE_ROWS as u64 {
            *seen.entry((self.key)(row(i) as usize)).or_default() += 1;
        }
        // So many different ones would be seen of the least number of keys, were they equally frequent.
        let keys = (self.rows / KEY_ROWS_MAX) as f64;
        let expected = keys * (1.0 - (-(SAMPLE_ROWS as f64) / keys).exp());
        seen.len() as f64 >= expected && seen.values().all(|rows| *rows <= SAMPLE_KEY_ROWS_MAX)
    }

    /// In so many parts, a power of two.
    fn parted<M, T>(&self, parts: usize, make: impl Fn() -> M + Sync + Send) -> Vec<T>
    where
        M: FnMut(i64, &Summary) -> T,
        T: Send,
    {
        let hasher = DefaultHashBuilder::default();
        let length = self.rows.div_ceil(rayon::current_num_threads()).max(1);
        let shares: Vec<Share> = (0..self.rows.div_ceil(length))
            .into_par_iter()
            .map(|k| self.share(k * length..self.rows.min((k + 1) * length), parts, &hasher))
            .collect();
        let parts: Vec<Part> = (0..parts)
            .into_par_iter()
            .map_init(Room::default, |room, part| self.part(part, &shares, &hasher, room))
            .collect();
        drop(shares);
        let mut order: Vec<(i64, u32, u32)> = Vec::with_capacity(parts.iter().map(|part| part.keys.len()).sum());
        for (k, part) in (0..).zip(&parts) {
            order.extend(part.keys.iter().zip(0..).map(|(key, number)| (*key, k, number)));
        }
        order.par_sort_unstable();
        let columns = self.columns.len();
        let group = |(make, summary): &mut (M, Summary), (key, part, number): &(i64, u32, u32)| {
            let (part, number) = (&parts[*part as usize], *number as usize);
            summary.rows = part.rows[number];
            summary.columns.clear();
            let moments = &part.moments[number * columns..(number + 1) * columns];
            summary.columns.extend_from_slice(moments);
            make(*key, summary)
        };
        let begin = || (make(), Summary::default());
        order.par_iter().map_init(begin, group).collect()
    }

    fn share(&self, rows: Range<usize>, parts: usize, hasher: &DefaultHashBuilder) -> Share {
        // The bits of a hash that a table of a part goes by are others.
        let part_of = |row| (hasher.hash_one((self.key)(row)) >> 32) as u32 & (parts as u32 - 1);
        let mut places: Vec<u32> = rows.clone().map(part_of).collect();
        let mut starts = vec![0u32; parts + 1];
        places.iter().for_each(|part| starts[*part as usize + 1] += 1);
        for part in 0..parts {
            starts[part + 1] += starts[part];
        }
        let mut next = starts.clone();
        for place in &mut places {
            let next = &mut next[*place as usize];
            *place = *next;
            *next += 1;
        }
        let mut keys = vec![0; rows.len()];
        for (row, place) in rows.clone().zip(&places) {
            keys[*place as usize] = (self.key)(row);
        }
        let column = |column: &Column| {
            let mut sorted = vec![0.0; rows.len()];
            let places = places.iter().map(|place| *place as usize);
            match (&column.values, &column.nulls) {
                (Values::F64(v), None) => places.zip(&v[rows.clone()]).for_each(|(place, x)| sorted[place] = *x),
                _ => places
                    .zip(rows.clone())
                    .for_each(|(place, row)| sorted[place] = column.get(row)),
            }
            sorted
        };
        let columns = self.columns.iter().map(column).collect();
        Share { starts, keys, columns }
    }

    fn part(&self, part: usize, shares: &[Share], hasher: &DefaultHashBuilder, room: &mut Room) -> Part {
        let Room {
            table,
            numbers,
            cells,
            places,
            columns,
            states,
        } = room;
        table.clear();
        numbers.clear();
        let mut keys: Vec<i64> = Vec::new();
        for key in shares.iter().flat_map(|share| &share.keys[share.range(part)]) {
            let hash = hasher.hash_one(*key);
            let known = table.find(hash, |number| keys[*number as usize] == *key).copied();
            let number = known.unwrap_or_else(|| {
                let number = keys.len() as u32;
                table.insert_unique(hash, number, |number| hasher.hash_one(keys[*number as usize]));
                keys.push(*key);
                number
            });
            numbers.push(number);
        }
        cells.fill_alone(numbers, keys.len());
        columns.resize_with(self.columns.len(), Vec::new);
        for (c, sorted) in columns.iter_mut().enumerate() {
            sorted.resize(numbers.len(), 0.0);
            let values = shares.iter().flat_map(|share| &share.columns[c][share.range(part)]);
            let places = cells.parts()[0].places().iter();
            places.zip(values).for_each(|(place, x)| sorted[*place as usize] = *x);
        }
        let columns: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
        places.clear();
        places.extend((0..keys.len() as u32).map(|cell| Place { cell, slot: cell }));
        states.resize_with(keys.len().max(states.len()), CellState::default);
        let rows = Consecutive::new(&columns, numbers.len(), None);
        InPlace {
            rows: cells,
            places,
            shape: self.shape,
            leaf_rows: self.leaf_rows,
            columns: columns.len(),
        }
        .cells(places, &[rows], 0, states);
        let mut order: Vec<(i64, u32)> = keys.into_iter().zip(0..).collect();
        order.sort_unstable();
        let mut part = Part {
            rows: Vec::with_capacity(order.len()),
            moments: Vec::with_capacity(order.len() * columns.len()),
            keys: Vec::with_capacity(order.len()),
        };
        for (key, number) in order {
            part.keys.push(key);
            part.rows
                .push(states[number as usize].take_moments(self.shape, &mut part.moments));
        }
        part
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::{LeafRun, Merge, Order};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const LEAF_ROWS: usize = 16;

    fn key() -> impl Strategy<Value = i64> {
        prop_oneof![20 => -8i64..8, 5 => -1000i64..1000, 1 => Just(i64::MIN), 1 => Just(i64::MAX)]
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            60 => -1e3..1e3,
            1 => Just(f64::NAN),
            1 => Just(f64::INFINITY),
            1 => Just(1e-290),
            1 => Just(-1e300),
        ]
    }

    proptest! {
        /// Against the rows of each key one by one, for any number of parts and threads.
        #[test]
        fn every_key_has_what_its_rows_come_to(
            rows in prop::collection::vec((key(), value(), value()), 1..400),
            columns in 1usize..=2,
            fourth: bool,
            parts in 0u32..4,
            threads in 1usize..=3,
        ) {
            let shape = Shape {
                columns,
                order: if fourth { Order::Fourth } else { Order::Second },
                ..Shape::default()
            };
            let values: [Vec<f64>; 2] = [rows.iter().map(|row| row.1).collect(), rows.iter().map(|row| row.2).collect()];
            let column = |v: &Vec<f64>| Column { values: Values::F64(v.clone().into()), nulls: None };
            let table: Vec<Column> = values.iter().take(columns).map(column).collect();
            let keyed = Keyed {
                key: |row: usize| rows[row].0,
                rows: rows.len(),
                columns: &table,
                shape: &shape,
                leaf_rows: LEAF_ROWS,
            };
            let pool = Cpu::with_threads(threads).unwrap().pool.unwrap();
            let make = || |key: i64, summary: &Summary| (key, summary.to_bytes());
            let found = pool.install(|| keyed.parted(1 << parts, make));

            let mut by_key: BTreeMap<i64, Vec<[f64; 2]>> = BTreeMap::new();
            for row in &rows {
                by_key.entry(row.0).or_default().push([row.1, row.2]);
            }
            let of_key = |rows: &[[f64; 2]]| {
                let mut all: Option<Summary> = None;
                for leaf in rows.chunks(LEAF_ROWS) {
                    let mut run = LeafRun::new(&shape);
                    leaf.iter().for_each(|row| run.push(&shape, &row[..columns], None));
                    let leaf = run.finish(&shape);
                    match &mut all {
                        Some(all) => all.merge(&leaf),
                        None => all = Some(leaf),
                    }
                }
                all.unwrap().to_bytes()
            };
            let expected: Vec<_> = by_key.iter().map(|(key, rows)| (*key, of_key(rows))).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
