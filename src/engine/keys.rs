//! Distinct key values and their numbers.
//!
//! Key columns of any Arrow type are encoded row by row into comparable bytes (arrow-row), which a hash table maps to
//! numbers in the order of first appearance. A missing key (null, or NaN) is a key like any other.

mod held;

use crate::error::{Error, Result};
use crate::report::{KeyValue, Named};
use arrow::array::{Array, ArrayRef, AsArray, new_null_array};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use arrow::row::{RowConverter, SortField};
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use held::Held;
use serde::{Deserialize, Serialize};
use std::hash::BuildHasher;
use std::sync::Arc;

/// Rows that are encoded at once: what numbering takes beside the columns does not grow with the batch.
const ROWS_AT_ONCE: usize = 1 << 18;

/// Keys that are one number of 64 bits are found by it, without being encoded, while there are no more of them than
/// this: a table of 1 MiB stays in the second-level cache.
const SHORT_KEYS_MAX: usize = 1 << 16;

/// Key values and their numbers.
#[derive(Debug)]
pub(crate) struct KeyTable {
    names: Vec<String>,
    held: Vec<Held>,
    converter: RowConverter,
    hasher: DefaultHashBuilder,
    table: HashTable<u32>,
    /// The numbers of keys that are one number of 64 bits, by its bits.
    short: HashMap<u64, u32>,
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
            short: HashMap::new(),
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
        let before = out.len();
        if self.short_numbers(keys, out) {
            return Ok(());
        }
        out.truncate(before);
        self.encoded_numbers(keys, out)?;
        if self.len() <= SHORT_KEYS_MAX {
            let short = &mut self.short;
            short_keys(&self.held, keys, |i, bits| {
                short.insert(bits, out[before + i]);
                true
            });
        }
        Ok(())
    }

    /// Numbers keys that are one number of 64 bits each, and all known; whether they are.
    fn short_numbers(&self, keys: &[(String, ArrayRef)], out: &mut Vec<u32>) -> bool {
        if self.short.is_empty() {
            return false;
        }
        let mut last = None;
        short_keys(&self.held, keys, |_, bits| {
            let number = match last {
                Some((known, number)) if known == bits => Some(number),
                _ => self.short.get(&bits).copied(),
            };
            last = number.map(|number| (bits, number));
            out.extend(number);
            number.is_some()
        })
    }

    fn encoded_numbers(&mut self, keys: &[(String, ArrayRef)], out: &mut Vec<u32>) -> Result<()> {
        let mut held = self.held.clone();
        for (held, (name, array)) in held.iter_mut().zip(keys).filter(|(h, _)| **h == Held::Undecided) {
            *held = Held::of(name, array.data_type())?;
        }
        let rows = keys.first().map_or(0, |(_, array)| array.len());
        let columns = |held: &[Held], start: usize| -> Result<Vec<ArrayRef>> {
            let length = ROWS_AT_ONCE.min(rows - start);
            let keys = keys.iter().zip(held);
            keys.map(|((name, array), held)| held.hold(name, &array.slice(start, length)))
                .collect()
        };
        let mut first = Some(columns(&held, 0)?);
        // What is refused anywhere is found before a row counts.
        for start in (ROWS_AT_ONCE..rows).step_by(ROWS_AT_ONCE) {
            columns(&held, start)?;
        }
        self.decide(held)?;
        for start in (0..rows).step_by(ROWS_AT_ONCE) {
            let columns = match first.take() {
                Some(first) => first,
                None => columns(&self.held, start)?,
            };
            self.number_rows(&columns, out)?;
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
        self.short.clear();
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
        self.short = HashMap::new();
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
            + self.short.allocation_size()
    }

    /// Bytes of one key as a group has it, on average, beside its fixed part.
    pub(super) fn value_bytes(&self) -> usize {
        self.bytes.len().checked_div(self.len()).unwrap_or(0)
    }

    /// By number: the place of each key in their order, missing ones first, then each column in its natural order.
    pub(super) fn ranks(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.len() as u32).collect();
        // The encoding is made to be compared.
        order.sort_unstable_by_key(|i| encoded(&self.bytes, &self.ends, *i));
        let mut ranks = vec![0; order.len()];
        for (rank, number) in (0..).zip(order) {
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

/// Hands the keys of a column that is held as what it is, one number of 64 bits a row, to `take` until that says no;
/// whether it was such a column and all were taken. NaN is none, and −0 is 0.
fn short_keys(held: &[Held], keys: &[(String, ArrayRef)], mut take: impl FnMut(usize, u64) -> bool) -> bool {
    let ([Held::Of(held)], [(_, array)]) = (held, keys) else {
        return false;
    };
    if held != array.data_type() || array.null_count() > 0 {
        return false;
    }
    match held {
        DataType::Int64 => {
            let values = array.as_primitive::<Int64Type>().values();
            values.iter().enumerate().all(|(i, x)| take(i, *x as u64))
        }
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>().values();
            let mut all = values.iter().enumerate();
            all.all(|(i, x)| !x.is_nan() && take(i, (x + 0.0).to_bits()))
        }
        _ => false,
    }
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
