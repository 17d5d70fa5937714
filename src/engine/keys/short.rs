//! Keys that are one number of 64 bits each, found by it instead of by their encoding.
//!
//! Whole numbers that lie close together have a table with a place for each number that is possible; others, and floats,
//! a hash table.

use super::Held;
use super::ordinals::ordinal;
use crate::cells::fill_by_row;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use hashbrown::HashMap;

/// No number.
pub(super) const NONE: u32 = u32::MAX;

/// Keys in the hash table at most: with more of them it takes more memory than it is worth.
const HASHED_MAX: usize = 1 << 20;

/// Places of the table of whole numbers at most: 16 MiB.
const DIRECT_MAX: usize = 1 << 22;

/// Places that the table of whole numbers may have for a few keys, and for each of many.
const DIRECT_MIN: usize = 1 << 16;
const DIRECT_PER_KEY: usize = 32;

/// Keys by their 64 bits.
#[derive(Debug, Default)]
pub(super) struct Short {
    /// The number of the whole number `base + i`.
    direct: Vec<u32>,
    base: i64,
    hashed: HashMap<u64, u32>,
}

/// The values of a key column, which are held as they are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bits<'a> {
    Whole(&'a [i64]),
    Floats(&'a [f64]),
}

impl<'a> Bits<'a> {
    /// The values of a single key column without missing ones, if they are numbers of 64 bits.
    pub(super) fn of(held: &[Held], keys: &'a [(String, ArrayRef)]) -> Option<Self> {
        let ([Held::Of(held)], [(_, array)]) = (held, keys) else {
            return None;
        };
        if held != array.data_type() || array.null_count() > 0 {
            return None;
        }
        match held {
            DataType::Int64 => Some(Self::Whole(array.as_primitive::<Int64Type>().values())),
            DataType::Float64 => Some(Self::Floats(array.as_primitive::<Float64Type>().values())),
            _ => None,
        }
    }

    /// Brings rows into the order of their keys, rows of one key as they come; where in them each key begins.
    pub(super) fn sort(self, rows: &mut [u32]) -> Vec<usize> {
        match self {
            Self::Whole(values) => sorted(rows, |row| values[row as usize]),
            Self::Floats(values) => sorted(rows, |row| ordinal(values[row as usize])),
        }
    }

    /// What a key is found by; −0 is 0, and NaN is no key.
    fn get(self, i: usize) -> Option<u64> {
        match self {
            Self::Whole(values) => Some(values[i] as u64),
            Self::Floats(values) => Some(values[i]).filter(|x| !x.is_nan()).map(|x| (x + 0.0).to_bits()),
        }
    }
}

/// Brings rows into the order of these numbers; where in them each number begins.
fn sorted(rows: &mut [u32], number: impl Fn(u32) -> i64) -> Vec<usize> {
    let mut by_number: Vec<(i64, u32)> = rows.iter().map(|row| (number(*row), *row)).collect();
    by_number.sort_unstable();
    let mut firsts = Vec::new();
    let mut before = None;
    for (i, (row, (number, sorted))) in rows.iter_mut().zip(by_number).enumerate() {
        *row = sorted;
        if before.replace(number) != Some(number) {
            firsts.push(i);
        }
    }
    firsts
}

impl Short {
    /// The numbers of keys, and the places of those that are not known.
    pub(super) fn numbers(&self, keys: Bits<'_>, numbers: &mut [u32]) -> Vec<u32> {
        let unknown = match keys {
            Bits::Whole(values) => fill_by_row(values, numbers, |first, values, numbers| {
                self.of_whole(first, values, numbers)
            }),
            Bits::Floats(values) => fill_by_row(values, numbers, |first, values, numbers| {
                let keys = Bits::Floats(values);
                let mut unknown = Vec::new();
                for (i, number) in numbers.iter_mut().enumerate() {
                    *number = self.get(keys, i);
                    if *number == NONE {
                        unknown.push((first + i) as u32);
                    }
                }
                unknown
            }),
        };
        unknown.concat()
    }

    fn of_whole(&self, first: usize, values: &[i64], numbers: &mut [u32]) -> Vec<u32> {
        let mut all = true;
        for (number, key) in numbers.iter_mut().zip(values) {
            let place = key.wrapping_sub(self.base) as u64 as usize;
            *number = self.direct.get(place).copied().unwrap_or(NONE);
            all &= *number != NONE;
        }
        let mut unknown = Vec::new();
        if !all {
            let others = numbers.iter_mut().enumerate().filter(|(_, number)| **number == NONE);
            for (i, number) in others {
                *number = self.hashed.get(&(values[i] as u64)).copied().unwrap_or(NONE);
                if *number == NONE {
                    unknown.push((first + i) as u32);
                }
            }
        }
        unknown
    }

    /// The number of the key in row i, or none.
    pub(super) fn get(&self, keys: Bits<'_>, i: usize) -> u32 {
        let direct = match keys {
            Bits::Whole(values) => self.direct.get(values[i].wrapping_sub(self.base) as u64 as usize),
            Bits::Floats(_) => None,
        };
        let direct = direct.copied().filter(|number| *number != NONE);
        let hashed = || self.hashed.get(&keys.get(i)?).copied();
        direct.or_else(hashed).unwrap_or(NONE)
    }

    /// Learns the numbers of the keys in some rows, of `known` keys in all.
    pub(super) fn learn(&mut self, keys: Bits<'_>, rows: &[u32], numbers: &[u32], known: usize) {
        if let Bits::Whole(values) = keys {
            let wider = |(low, high): (i64, i64), row: &u32| {
                let key = values[*row as usize];
                (low.min(key), high.max(key))
            };
            self.widen(rows.iter().fold((i64::MAX, i64::MIN), wider), known);
        }
        for (row, number) in rows.iter().zip(numbers) {
            let direct = match keys {
                Bits::Whole(values) => {
                    let place = values[*row as usize].wrapping_sub(self.base) as u64 as usize;
                    self.direct.get_mut(place)
                }
                Bits::Floats(_) => None,
            };
            match (direct, keys.get(*row as usize)) {
                (Some(direct), _) => *direct = *number,
                (None, Some(bits)) if self.hashed.len() < HASHED_MAX => {
                    self.hashed.insert(bits, *number);
                }
                _ => {}
            }
        }
    }

    /// Gives whole numbers from `low` to `high` places in the table, if there are not too many between them.
    fn widen(&mut self, (low, high): (i64, i64), known: usize) {
        let (mut first, mut last) = (i128::from(low), i128::from(high));
        if !self.direct.is_empty() {
            first = first.min(self.base.into());
            last = last.max(i128::from(self.base) + self.direct.len() as i128 - 1);
        }
        let most = DIRECT_MAX.min(DIRECT_MIN.max(known.saturating_mul(DIRECT_PER_KEY)));
        let Some(length) = usize::try_from(last - first + 1).ok().filter(|length| *length <= most) else {
            return;
        };
        if length <= self.direct.len() {
            return;
        }
        // Numbers that are given out one after another do not have it moved each time.
        let length = length.next_power_of_two().min(most);
        let mut direct = vec![NONE; length];
        if !self.direct.is_empty() {
            let place = (i128::from(self.base) - first) as usize;
            direct[place..place + self.direct.len()].copy_from_slice(&self.direct);
        }
        (self.direct, self.base) = (direct, first as i64);
    }

    /// What the tables take, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.direct.capacity() * size_of::<u32>() + self.hashed.allocation_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys() -> impl Strategy<Value = Vec<i64>> {
        let key = prop_oneof![
            8 => -300i64..300,
            2 => 1_000_000i64..1_000_100,
            1 => Just(i64::MIN),
            1 => Just(i64::MAX),
        ];
        prop::collection::vec(key, 0..200)
    }

    proptest! {
        /// Against the places of the first of each key.
        #[test]
        fn what_was_learned_is_found(batches in prop::collection::vec(keys(), 1..6), floats: bool) {
            let mut short = Short::default();
            let mut known: Vec<i64> = Vec::new();
            for batch in &batches {
                let wide: Vec<f64> = batch.iter().map(|key| *key as f64 / 2.0).collect();
                let bits = if floats { Bits::Floats(&wide) } else { Bits::Whole(batch) };
                let mut numbers = vec![0; batch.len()];
                let unknown = short.numbers(bits, &mut numbers);
                let mut new = Vec::new();
                for (i, key) in batch.iter().enumerate() {
                    // As floats the last two are far apart still.
                    match known.iter().position(|k| k == key) {
                        Some(number) => prop_assert_eq!(numbers[i], number as u32),
                        None => new.push(i as u32),
                    }
                    prop_assert_eq!(numbers[i], short.get(bits, i));
                }
                prop_assert_eq!(&unknown, &new);
                let first = known.len();
                for row in &new {
                    let key = batch[*row as usize];
                    if !known.contains(&key) {
                        known.push(key);
                    }
                }
                let number = |row: &u32| known.iter().position(|k| *k == batch[*row as usize]).unwrap() as u32;
                let given: Vec<u32> = new.iter().map(number).collect();
                prop_assert!(given.iter().all(|number| *number as usize >= first));
                short.learn(bits, &new, &given, known.len());
            }
        }
    }

    proptest! {
        /// Against a stable sort by comparison.
        #[test]
        fn rows_are_sorted_by_key_and_the_first_of_each_is_found(
            keys in keys(),
            floats: bool,
        ) {
            let wide: Vec<f64> = keys.iter().map(|key| if key % 7 == 0 { -0.0 } else { *key as f64 / 2.0 }).collect();
            let bits = if floats { Bits::Floats(&wide) } else { Bits::Whole(&keys) };
            let order = |a: u32, b: u32| match floats {
                true => wide[a as usize].partial_cmp(&wide[b as usize]).unwrap(),
                false => keys[a as usize].cmp(&keys[b as usize]),
            };
            let mut rows: Vec<u32> = (0..keys.len() as u32).collect();
            let firsts = bits.sort(&mut rows);
            let mut expected: Vec<u32> = (0..keys.len() as u32).collect();
            expected.sort_by(|a, b| order(*a, *b));
            prop_assert_eq!(&rows, &expected);
            let begins = |i: &usize| *i == 0 || order(rows[*i - 1], rows[*i]).is_ne();
            prop_assert_eq!(firsts, (0..rows.len()).filter(begins).collect::<Vec<_>>());
        }
    }

    #[test]
    fn neither_nan_nor_the_sign_of_zero_is_a_key() {
        let mut short = Short::default();
        let values = [0.0, f64::NAN];
        short.learn(Bits::Floats(&values), &[0, 1], &[3, 4], 5);
        let mut numbers = [0; 3];
        assert_eq!(
            short.numbers(Bits::Floats(&[-0.0, f64::NAN, 1.0]), &mut numbers),
            [1, 2]
        );
        assert_eq!(numbers[0], 3);
    }
}
