//! Distinct key values and their numbers.
//!
//! Key columns of any Arrow type are encoded row by row into comparable bytes (arrow-row), which a hash table maps to
//! numbers in the order of first appearance (of their values, in a piece of thousands of rows whose keys are new). A
//! missing key (null, or NaN) is a key like any other.

mod held;
mod ordinals;
mod short;

use crate::error::{Error, Result};
use crate::report::{KeyValue, Named};
use arrow::array::{Array, ArrayRef, UInt32Array, new_null_array};
use arrow::compute::take;
use arrow::row::{RowConverter, SortField};
use hashbrown::{DefaultHashBuilder, HashTable};
use held::Held;
pub(super) use ordinals::Ordinals;
use serde::{Deserialize, Serialize};
use short::{Bits, Short};
use std::hash::BuildHasher;
use std::sync::Arc;

/// Rows that are encoded at once: what numbering takes beside the columns does not grow with the batch.
const ROWS_AT_ONCE: usize = 1 << 18;

/// Keys that are encoded at once where they are found by their bits: those of most rows are known then.
const NEW_AT_ONCE: usize = 4096;

/// Rows at once whose keys are new, from which on these are numbered in the order of their values: what is done key by key, such as the
/// report, then goes through memory in its order.
const SORTED_MIN: usize = 4096;

/// Key values and their numbers.
#[derive(Debug)]
pub(crate) struct KeyTable {
    names: Vec<String>,
    held: Vec<Held>,
    converter: RowConverter,
    hasher: DefaultHashBuilder,
    table: HashTable<u32>,
    short: Short,
    /// Encoded keys one after another; key i ends at ends[i].
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// How often the forms of the keys, and so their encodings, have changed.
    forms: u64,
}

fn failed(names: &[String], error: &dyn std::fmt::Display) -> Error {
    Error::Failed(format!("key `{}`: {error}", names.join(", ")))
}

fn converter(names: &[String], held: &[Held]) -> Result<RowConverter> {
    let fields = held.iter().map(|h| SortField::new(h.data_type())).collect();
    RowConverter::new(fields).map_err(|e| failed(names, &e))
}

/// The values of a key column as they are reported, by their places.
///
/// # Errors
/// [`Error::Usage`] for a column that cannot be a key.
pub(crate) fn key_values(name: &str, array: &ArrayRef) -> Result<impl Fn(usize) -> KeyValue + use<>> {
    let held = Held::of(name, array.data_type())?;
    let column = held.hold(name, array)?;
    Ok(move |i| held.value(&column, i))
}

impl KeyTable {
    /// A table for keys of these names, whose types the first values decide.
    pub(crate) fn new(names: &[String]) -> Result<Self> {
        let held = vec![Held::Undecided; names.len()];
        Ok(Self {
            names: names.to_vec(),
            converter: converter(names, &held)?,
            held,
            hasher: DefaultHashBuilder::default(),
            table: HashTable::new(),
            short: Short::default(),
            bytes: Vec::new(),
            ends: Vec::new(),
            forms: 0,
        })
    }

    /// Distinct keys so far.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The number of each row's key. What is refused is refused before anything is kept of it.
    pub(crate) fn numbers(&mut self, keys: &[(String, ArrayRef)], out: &mut Vec<u32>) -> Result<()> {
        self.admit(keys)?;
        self.admitted_numbers(keys, out)
    }

    /// Finds the forms of the keys, and whether all of them can be held so.
    pub(super) fn admit(&mut self, keys: &[(String, ArrayRef)]) -> Result<()> {
        let mut held = self.held.clone();
        for (held, (name, array)) in held.iter_mut().zip(keys).filter(|(h, _)| **h == Held::Undecided) {
            *held = Held::of(name, array.data_type())?;
        }
        let sure = |(held, (_, array)): (&Held, &(String, ArrayRef))| held.holds_all_of(array.data_type());
        if !held.iter().zip(keys).all(sure) {
            for_each_chunk(keys, |keys| hold(&held, keys).map(|_| ()))?;
        }
        self.decide(held)
    }

    /// The numbers of keys that were admitted.
    pub(super) fn admitted_numbers(&mut self, keys: &[(String, ArrayRef)], out: &mut Vec<u32>) -> Result<()> {
        for_each_chunk(keys, |keys| match Bits::of(&self.held, keys) {
            Some(bits) => self.short_numbers(bits, keys, out),
            None => {
                let columns = hold(&self.held, keys)?;
                self.number_rows(&columns, out)
            }
        })
    }

    /// Numbers keys that are one number of 64 bits each; only those that are new are encoded.
    fn short_numbers(&mut self, bits: Bits<'_>, keys: &[(String, ArrayRef)], out: &mut Vec<u32>) -> Result<()> {
        let before = out.len();
        out.resize(before + keys[0].1.len(), short::NONE);
        let mut unknown = self.short.numbers(bits, &mut out[before..]);
        let mut at_once = NEW_AT_ONCE;
        while !unknown.is_empty() {
            let rest = unknown.split_off(at_once.min(unknown.len()));
            let firsts = match unknown.len() >= SORTED_MIN {
                true => bits.sort(&mut unknown),
                false => (0..unknown.len()).collect(),
            };
            let (name, array) = &keys[0];
            let places: UInt32Array = firsts.iter().map(|first| unknown[*first]).collect::<Vec<_>>().into();
            let new = take(array, &places, None).map_err(|e| failed(&self.names, &e))?;
            let columns = hold(&self.held, &[(name.clone(), new)])?;
            let mut numbers = Vec::with_capacity(unknown.len());
            self.number_rows(&columns, &mut numbers)?;
            for (i, number) in numbers.iter().enumerate() {
                let end = firsts.get(i + 1).map_or(unknown.len(), |next| *next);
                for row in &unknown[firsts[i]..end] {
                    out[before + *row as usize] = *number;
                }
            }
            self.short.learn(bits, places.values(), &numbers, self.ends.len());
            unknown = rest;
            unknown.retain(|row| {
                let number = &mut out[before + *row as usize];
                *number = self.short.get(bits, *row as usize);
                *number == short::NONE
            });
            at_once *= 2;
        }
        Ok(())
    }

    fn number_rows(&mut self, columns: &[ArrayRef], out: &mut Vec<u32>) -> Result<()> {
        let rows = self
            .converter
            .convert_columns(columns)
            .map_err(|e| failed(&self.names, &e))?;
        let mut last: Option<(usize, u32)> = None;
        for i in 0..rows.num_rows() {
            let row = rows.row(i);
            // Neighbours often share a key.
            if let Some((j, number)) = last
                && rows.row(j) == row
            {
                out.push(number);
                continue;
            }
            let number = self.number(row.as_ref())?;
            last = Some((i, number));
            out.push(number);
        }
        Ok(())
    }

    fn number(&mut self, row: &[u8]) -> Result<u32> {
        let Self {
            bytes,
            ends,
            table,
            hasher,
            ..
        } = self;
        let hash = hasher.hash_one(row);
        if let Some(found) = table.find(hash, |i| encoded(bytes, ends, *i) == row) {
            return Ok(*found);
        }
        let number =
            u32::try_from(ends.len()).map_err(|_| Error::Limit("there are more than 2^32 distinct keys".into()))?;
        table.insert_unique(hash, number, |i| hasher.hash_one(encoded(bytes, ends, *i)));
        bytes.extend_from_slice(row);
        ends.push(bytes.len());
        Ok(number)
    }

    /// Goes over to these forms; columns that change had no value so far.
    fn decide(&mut self, held: Vec<Held>) -> Result<()> {
        if held == self.held {
            return Ok(());
        }
        let columns = self.columns()?.into_iter().zip(self.held.iter().zip(&held));
        let columns: Vec<ArrayRef> = columns
            .map(|(column, (before, now))| match before == now {
                true => column,
                false => new_null_array(&now.data_type(), column.len()),
            })
            .collect();
        self.converter = converter(&self.names, &held)?;
        self.held = held;
        self.forms += 1;
        self.table.clear();
        self.short = Short::default();
        self.bytes.clear();
        self.ends.clear();
        // Distinct keys stay distinct, so each gets the number that it had.
        self.number_rows(&columns, &mut Vec::new())
    }

    /// A number that is another one whenever encodings have changed.
    pub(super) fn forms(&self) -> u64 {
        self.forms
    }

    /// The encoding of a key, by number.
    pub(super) fn encoded(&self, number: u32) -> &[u8] {
        encoded(&self.bytes, &self.ends, number)
    }

    /// Every key, by number, one array a column.
    fn columns(&self) -> Result<Vec<ArrayRef>> {
        self.columns_of(0..self.len() as u32)
    }

    fn columns_of(&self, numbers: impl Iterator<Item = u32>) -> Result<Vec<ArrayRef>> {
        let parser = self.converter.parser();
        let rows = numbers.map(|i| parser.parse(encoded(&self.bytes, &self.ends, i)));
        self.converter.convert_rows(rows).map_err(|e| failed(&self.names, &e))
    }

    /// The values of the keys with these numbers, in their order.
    pub(crate) fn values_of(&self, numbers: impl Iterator<Item = u32>) -> Result<KeyValues> {
        Ok(KeyValues {
            names: self.names.as_slice().into(),
            columns: self.held.iter().cloned().zip(self.columns_of(numbers)?).collect(),
        })
    }

    /// Keeps these keys (by number) and forgets the others; by number, the new number of those that are kept.
    ///
    /// # Errors
    /// [`Error::Failed`] if keys cannot be read back.
    pub(super) fn retain(&mut self, keep: &[bool]) -> Result<Vec<Option<u32>>> {
        let mut numbers = Vec::with_capacity(keep.len());
        let (bytes, ends) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.ends));
        self.table.clear();
        self.short = Short::default();
        for (i, keep) in (0..ends.len() as u32).zip(keep) {
            let kept = match keep {
                true => Some(self.number(encoded(&bytes, &ends, i))?),
                false => None,
            };
            numbers.push(kept);
        }
        self.table
            .shrink_to_fit(|i| self.hasher.hash_one(encoded(&self.bytes, &self.ends, *i)));
        Ok(numbers)
    }

    /// What the encoded keys, the table that finds them and, at the end, their values as columns take, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes.capacity()
            + self.bytes.len()
            + self.ends.capacity() * size_of::<usize>()
            + self.table.allocation_size()
            + self.short.memory_bytes()
    }

    /// Bytes of one key as a group has it, on average, beside its fixed part.
    pub(super) fn value_bytes(&self) -> usize {
        self.bytes.len().checked_div(self.len()).unwrap_or(0)
    }

    /// By number: the place of each key in their order, missing ones first, then each column in its natural order.
    pub(super) fn ranks(&self) -> Vec<u32> {
        // The encoding is made to be compared; its beginning tells most keys from each other, and lies close by.
        let key = |i: u32| encoded(&self.bytes, &self.ends, i);
        let mut order: Vec<(u128, u32)> = (0..self.len() as u32).map(|i| (beginning(key(i)), i)).collect();
        order.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| key(a.1).cmp(key(b.1))));
        let mut ranks = vec![0; order.len()];
        for (rank, (_, number)) in (0..).zip(order) {
            ranks[number as usize] = rank;
        }
        ranks
    }
}

/// Keys as they are stored: their forms, and their encodings one after another.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredKeys {
    held: Vec<Held>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl KeyTable {
    /// What is stored of the table.
    pub(super) fn stored(&self) -> StoredKeys {
        StoredKeys {
            held: self.held.clone(),
            bytes: self.bytes.clone(),
            ends: self.ends.clone(),
        }
    }

    /// The table that was stored; every key has the number that it had.
    ///
    /// # Errors
    /// [`Error::Data`] for what cannot have been stored.
    pub(super) fn restore(names: &[String], stored: StoredKeys) -> Result<Self> {
        let wrong = || Error::Data("the stored keys are damaged".into());
        let sound = stored.held.len() == names.len()
            && stored.ends.is_sorted()
            && stored.ends.last().is_none_or(|end| *end == stored.bytes.len());
        if !sound {
            return Err(wrong());
        }
        let mut table = Self::new(names)?;
        table.converter = converter(names, &stored.held)?;
        table.held = stored.held;
        for i in 0..stored.ends.len() as u32 {
            if table.number(encoded(&stored.bytes, &stored.ends, i))? != i {
                return Err(wrong());
            }
        }
        Ok(table)
    }
}

/// Keys as they are reported.
#[derive(Debug)]
pub(crate) struct KeyValues {
    names: Arc<[String]>,
    /// One value a key, by number.
    columns: Vec<(Held, ArrayRef)>,
}

impl KeyValues {
    /// The key of this number.
    pub(crate) fn get(&self, number: u32) -> Named<KeyValue> {
        let value = |(held, column): &(Held, ArrayRef)| held.value(column, number as usize);
        Named::new(Arc::clone(&self.names), self.columns.iter().map(value).collect())
    }
}

/// Calls this for the rows of key columns, some at once.
fn for_each_chunk(
    keys: &[(String, ArrayRef)],
    mut call: impl FnMut(&[(String, ArrayRef)]) -> Result<()>,
) -> Result<()> {
    let rows = keys.first().map_or(0, |(_, array)| array.len());
    if rows <= ROWS_AT_ONCE {
        return call(keys);
    }
    for start in (0..rows).step_by(ROWS_AT_ONCE) {
        let length = ROWS_AT_ONCE.min(rows - start);
        let slice = |(name, array): &(String, ArrayRef)| (name.clone(), array.slice(start, length));
        call(&keys.iter().map(slice).collect::<Vec<_>>())?;
    }
    Ok(())
}

/// Key columns in these forms.
fn hold(held: &[Held], keys: &[(String, ArrayRef)]) -> Result<Vec<ArrayRef>> {
    let keys = keys.iter().zip(held);
    keys.map(|((name, array), held)| held.hold(name, array)).collect()
}

/// The first bytes of an encoded key, in its order.
fn beginning(key: &[u8]) -> u128 {
    let mut bytes = [0; size_of::<u128>()];
    let length = key.len().min(bytes.len());
    bytes[..length].copy_from_slice(&key[..length]);
    u128::from_be_bytes(bytes)
}

/// Key i of encoded keys.
fn encoded<'a>(bytes: &'a [u8], ends: &[usize], i: u32) -> &'a [u8] {
    let i = i as usize;
    let start = if i == 0 { 0 } else { ends[i - 1] };
    &bytes[start..ends[i]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, StringArray};

    #[test]
    fn keys_are_numbered_by_appearance_and_come_back() {
        let keys = vec![
            (
                "s".to_string(),
                Arc::new(StringArray::from(vec![Some("b"), Some("a"), None, Some("b")])) as ArrayRef,
            ),
            (
                "x".to_string(),
                Arc::new(Float64Array::from(vec![1.0, 2.5, f64::NAN, 1.0])) as ArrayRef,
            ),
        ];
        let mut table = KeyTable::new(&["s".into(), "x".into()]).unwrap();
        let mut numbers = Vec::new();
        table.numbers(&keys, &mut numbers).unwrap();
        table.numbers(&keys, &mut numbers).unwrap();
        assert_eq!(numbers, [0, 1, 2, 0, 0, 1, 2, 0]);
        let values = table.values_of(0..3).unwrap();
        let text = |t: &str| KeyValue::Text(t.into());
        assert_eq!(values.get(0).values(), [text("b"), KeyValue::Integer(1)]);
        assert_eq!(values.get(1).values(), [text("a"), KeyValue::Number(2.5)]);
        assert_eq!(values.get(2).values(), [KeyValue::Null, KeyValue::Null]);
        assert_eq!(values.get(2).names(), ["s", "x"]);
    }

    #[test]
    fn short_keys_have_the_numbers_of_any_other() {
        let keys = |values: Vec<f64>| vec![("x".to_string(), Arc::new(Float64Array::from(values)) as ArrayRef)];
        let mut table = KeyTable::new(&["x".into()]).unwrap();
        let mut numbers = Vec::new();
        for values in [
            vec![5.0, 0.0, 5.0],
            vec![-0.0, 5.0],
            vec![5.0, f64::NAN, 7.0],
            vec![7.0, 0.0],
        ] {
            table.numbers(&keys(values), &mut numbers).unwrap();
        }
        assert_eq!(numbers, [0, 1, 0, 1, 0, 0, 2, 3, 3, 1]);
        assert_eq!(
            table.retain(&[false, true, false, true]).unwrap(),
            [None, Some(0), None, Some(1)]
        );
        numbers.clear();
        table.numbers(&keys(vec![5.0, 7.0, 0.0]), &mut numbers).unwrap();
        assert_eq!(numbers, [2, 1, 0]);
    }
}
