//! Distinct key values and their numbers.
//!
//! Key columns of any Arrow type are encoded row by row into comparable bytes (arrow-row), which a hash table maps to numbers in the
//! order of first appearance. A missing key (null, or NaN) is a key like any other.

use crate::error::{Error, Result};
use crate::report::KeyValue;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampNanosecondType, UInt64Type};
use arrow::row::{RowConverter, SortField};
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;
use std::sync::Arc;

/// Key values and their numbers.
#[derive(Debug)]
pub(super) struct KeyTable {
    names: Vec<String>,
    types: Vec<DataType>,
    converter: RowConverter,
    hasher: DefaultHashBuilder,
    table: HashTable<u32>,
    /// Encoded keys one after another; key i ends at ends[i].
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// The type in which a key column is held: numbers as `Int64`, `UInt64` or `Float64`, everything else as text where it is not boolean.
fn key_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => DataType::Int64,
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::UInt64,
        t if t.is_numeric() => DataType::Float64,
        DataType::Boolean => DataType::Boolean,
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => {
            DataType::Timestamp(TimeUnit::Nanosecond, None)
        }
        _ => DataType::Utf8,
    }
}

fn failed(name: &str, error: &dyn std::fmt::Display) -> Error {
    Error::Failed(format!("key `{name}`: {error}"))
}

impl KeyTable {
    pub(super) fn new(keys: &[(String, ArrayRef)]) -> Result<Self> {
        let names: Vec<String> = keys.iter().map(|k| k.0.clone()).collect();
        let types: Vec<DataType> = keys.iter().map(|k| key_type(k.1.data_type())).collect();
        let fields = types.iter().map(|t| SortField::new(t.clone())).collect();
        let converter = RowConverter::new(fields).map_err(|e| failed(&names.join(", "), &e))?;
        Ok(Self {
            names,
            types,
            converter,
            hasher: DefaultHashBuilder::default(),
            table: HashTable::new(),
            bytes: Vec::new(),
            ends: Vec::new(),
        })
    }

    /// Distinct keys so far.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The number of each row's key.
    pub(super) fn numbers(&mut self, keys: &[(String, ArrayRef)], out: &mut Vec<u32>) -> Result<()> {
        let columns: Vec<ArrayRef> = keys
            .iter()
            .zip(&self.types)
            .map(|((name, array), held)| {
                let column = normal(array, held).map_err(|e| failed(name, &e))?;
                same_values(name, array, held, &column)?;
                Ok(column)
            })
            .collect::<Result<_>>()?;
        let rows = self
            .converter
            .convert_columns(&columns)
            .map_err(|e| failed(&self.names.join(", "), &e))?;
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
        let key = |i: u32| {
            let i = i as usize;
            let start = if i == 0 { 0 } else { ends[i - 1] };
            &bytes[start..ends[i]]
        };
        let hash = hasher.hash_one(row);
        if let Some(found) = table.find(hash, |i| key(*i) == row) {
            return Ok(*found);
        }
        let number =
            u32::try_from(ends.len()).map_err(|_| Error::Limit("there are more than 2^32 distinct keys".into()))?;
        table.insert_unique(hash, number, |i| hasher.hash_one(key(*i)));
        bytes.extend_from_slice(row);
        ends.push(bytes.len());
        Ok(number)
    }

    /// The values of every key, by number.
    pub(super) fn values(&self) -> Result<Vec<Vec<(String, KeyValue)>>> {
        let parser = self.converter.parser();
        let rows = (0..self.len()).map(|i| {
            let start = if i == 0 { 0 } else { self.ends[i - 1] };
            parser.parse(&self.bytes[start..self.ends[i]])
        });
        let columns = self
            .converter
            .convert_rows(rows)
            .map_err(|e| failed(&self.names.join(", "), &e))?;
        let value = |i: usize, name: &String, column: &ArrayRef| (name.clone(), key_value(column, i));
        Ok((0..self.len())
            .map(|i| self.names.iter().zip(&columns).map(|(n, c)| value(i, n, c)).collect())
            .collect())
    }
}

/// The column in the type in which it is held; NaN is null and −0 is 0.
fn normal(array: &ArrayRef, held: &DataType) -> Result<ArrayRef, arrow::error::ArrowError> {
    let array = if array.data_type() == held {
        array.clone()
    } else {
        cast(array, held)?
    };
    if *held != DataType::Float64 {
        return Ok(array);
    }
    let floats = array.as_primitive::<Float64Type>();
    let cleaned = floats.unary_opt::<_, Float64Type>(|x| (!x.is_nan()).then_some(x + 0.0));
    Ok(Arc::new(cleaned))
}

/// Checks that a column of another type than the batches before it had says the same in theirs: a key is never rounded or dropped.
fn same_values(name: &str, array: &ArrayRef, held: &DataType, column: &ArrayRef) -> Result<()> {
    let own = array.data_type();
    if key_type(own) == *held || own.is_null() {
        return Ok(());
    }
    let back = cast(column, own).map_err(|e| failed(name, &e))?;
    if *back == **array {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "the type of the key `{name}` changed from {held} to {own}: give it one type"
    )))
}

/// Whole numbers up to here print without a fraction.
const INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

fn key_value(column: &ArrayRef, i: usize) -> KeyValue {
    if column.is_null(i) {
        return KeyValue::Null;
    }
    match column.data_type() {
        DataType::Boolean => KeyValue::Boolean(column.as_boolean().value(i)),
        DataType::Int64 => KeyValue::Integer(column.as_primitive::<Int64Type>().value(i)),
        DataType::UInt64 => {
            let x = column.as_primitive::<UInt64Type>().value(i);
            i64::try_from(x).map_or_else(|_| KeyValue::Text(x.to_string()), KeyValue::Integer)
        }
        DataType::Float64 => match column.as_primitive::<Float64Type>().value(i) {
            x if x.fract() == 0.0 && x.abs() <= INTEGER_MAX => KeyValue::Integer(x as i64),
            x => KeyValue::Number(x),
        },
        DataType::Timestamp(..) => KeyValue::Text(crate::report::rfc3339(
            column.as_primitive::<TimestampNanosecondType>().value(i),
        )),
        _ => KeyValue::Text(
            column
                .as_string_opt::<i32>()
                .map_or_else(String::new, |a| a.value(i).to_owned()),
        ),
    }
}

/// Missing keys first, then booleans, numbers and text, each in its natural order.
pub(super) fn compare_keys(a: &[(String, KeyValue)], b: &[(String, KeyValue)]) -> std::cmp::Ordering {
    use std::cmp::Ordering;
    let class = |v: &KeyValue| match v {
        KeyValue::Null => 0,
        KeyValue::Boolean(_) => 1,
        KeyValue::Integer(_) | KeyValue::Number(_) => 2,
        KeyValue::Text(_) => 3,
    };
    let number = |v: &KeyValue| match v {
        KeyValue::Integer(i) => *i as f64,
        KeyValue::Number(x) => *x,
        _ => 0.0,
    };
    let compare = |a: &KeyValue, b: &KeyValue| match (a, b) {
        (KeyValue::Integer(a), KeyValue::Integer(b)) => a.cmp(b),
        (KeyValue::Text(a), KeyValue::Text(b)) => a.cmp(b),
        (KeyValue::Boolean(a), KeyValue::Boolean(b)) => a.cmp(b),
        _ => class(a).cmp(&class(b)).then_with(|| number(a).total_cmp(&number(b))),
    };
    a.iter()
        .zip(b)
        .map(|(a, b)| compare(&a.1, &b.1))
        .find(|o| o.is_ne())
        .unwrap_or(Ordering::Equal)
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
        let mut table = KeyTable::new(&keys).unwrap();
        let mut numbers = Vec::new();
        table.numbers(&keys, &mut numbers).unwrap();
        table.numbers(&keys, &mut numbers).unwrap();
        assert_eq!(numbers, [0, 1, 2, 0, 0, 1, 2, 0]);
        let values = table.values().unwrap();
        assert_eq!(values[0][0].1, KeyValue::Text("b".into()));
        assert_eq!(
            (&values[0][1].1, &values[1][1].1),
            (&KeyValue::Integer(1), &KeyValue::Number(2.5))
        );
        assert_eq!((&values[2][0].1, &values[2][1].1), (&KeyValue::Null, &KeyValue::Null));
    }
}
