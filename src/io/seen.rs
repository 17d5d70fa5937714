//! What the values of a text column have been, the type that follows from it, and the keys that must not be rounded.

use crate::io::{ReadOptions, number};
use arrow::datatypes::DataType;

/// From here on floats are not every whole number: what rounds to it may have been another one.
const EXACT_END: f64 = 9_007_199_254_740_992.0;

/// The first number beyond `i64`.
const I64_END: f64 = 9_223_372_036_854_775_808.0;

/// What the values of a column have been so far.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The column is wanted as numbers.
    wanted: bool,
    /// The column is a key, whose values must not be rounded.
    key: bool,
    whole: bool,
    beyond: bool,
    other: bool,
    text: bool,
}

impl Seen {
    /// Nothing yet of this column.
    pub(crate) fn new(name: &String, options: &ReadOptions) -> Self {
        Self {
            wanted: options.numeric.contains(name),
            key: options.keys.contains(name),
            ..Self::default()
        }
    }

    /// Whether the column is a key, so that the spelling of its numbers matters.
    pub(crate) fn is_key(&self) -> bool {
        self.key
    }

    /// A number; `whole` if it is spelled as a whole one that fits `i64`.
    pub(crate) fn number(&mut self, value: f64, whole: bool) {
        if whole {
            self.whole = true;
        } else if value.is_finite() && value.abs() >= I64_END {
            self.beyond = true;
        } else {
            self.other = true;
        }
    }

    /// Text.
    pub(crate) fn text(&mut self) {
        self.text = true;
    }

    fn any_number(&self) -> bool {
        self.whole || self.beyond || self.other
    }

    /// Whether another value could change the answer.
    pub(crate) fn is_open(&self) -> bool {
        !self.text || self.wanted
    }

    /// The type of the column: numeric unless there was text. One number is enough where numbers are wanted: the rest
    /// are bad rows. A key of whole numbers is `Int64`, and text where one of them does not fit or where there is no
    /// value yet, as text can be any key.
    pub(crate) fn data_type(&self) -> DataType {
        if self.text && !(self.wanted && self.any_number()) {
            return DataType::Utf8;
        }
        match self {
            Self {
                key: true,
                beyond: true,
                wanted: false,
                ..
            } => DataType::Utf8,
            Self {
                key: true,
                wanted: false,
                ..
            } if !self.any_number() => DataType::Utf8,
            Self {
                key: true,
                beyond: false,
                other: false,
                whole: true,
                ..
            } => DataType::Int64,
            _ => DataType::Float64,
        }
    }
}

/// Why a cell cannot stand in a key column of integers.
pub(crate) const NOT_WHOLE: &str = "is not a whole number of 64 bits, as the keys before it are";

/// The key of an integer column that `text` spells, in whatever way, or why it cannot stand there.
pub(crate) fn whole(text: &[u8]) -> Result<i64, &'static str> {
    let value = number::whole(text).and_then(|x| i64::try_from(x).ok());
    value.ok_or(NOT_WHOLE)
}

/// The key of a float column, or why it cannot stand there: from 2^53 on it must be what `text` spells.
pub(crate) fn exact(value: f64, text: &[u8]) -> Result<f64, &'static str> {
    let infinity = value.is_infinite() && !text.iter().any(u8::is_ascii_digit);
    // The cast saturates, and a saturated value is no f64 that equals a number of at most 38 digits.
    if value.abs() < EXACT_END || infinity || number::whole(text).is_some_and(|x| x == value as i128) {
        Ok(value)
    } else {
        Err("is a key that a 64-bit float would round")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The type of a column of these cells, each of them text or a number.
    fn type_of(cells: &[&str], key: bool, wanted: bool) -> DataType {
        let name = "c".to_owned();
        let named = |named: bool| if named { vec![name.clone()] } else { Vec::new() };
        let mut seen = Seen::new(
            &name,
            &ReadOptions {
                keys: named(key),
                numeric: named(wanted),
                ..ReadOptions::default()
            },
        );
        for cell in cells {
            match cell.parse() {
                Ok(value) => seen.number(value, cell.parse::<i64>().is_ok() && seen.is_key()),
                Err(_) => seen.text(),
            }
        }
        seen.data_type()
    }

    #[test]
    fn the_type_of_a_key_is_one_that_rounds_nothing() {
        let (number, text, whole) = (DataType::Float64, DataType::Utf8, DataType::Int64);
        let big = "18446744073709551616";
        for (cells, plain, key, measured_key) in [
            (&["1", "-9223372036854775808"][..], &number, &whole, &whole),
            (&["1", big], &number, &text, &number),
            (&["1", big, "0.5"], &number, &text, &number),
            (&["1", "0.5"], &number, &number, &number),
            (&["1", "inf"], &number, &number, &number),
            (&["1", "x"], &text, &text, &whole),
            (&["x"], &text, &text, &text),
            (&[], &number, &text, &number),
        ] {
            assert_eq!(type_of(cells, false, false), *plain, "{cells:?}");
            assert_eq!(type_of(cells, true, false), *key, "{cells:?}");
            assert_eq!(type_of(cells, true, true), *measured_key, "{cells:?}");
        }
        assert_eq!(type_of(&["1", "x"], false, true), number);
    }

    #[test]
    fn a_float_key_is_what_is_written_or_none() {
        for (text, is_key) in [
            ("0.1", true),
            ("9007199254740991", true),
            ("9007199254740992", true),
            ("-9.007199254740992e15", true),
            ("9007199254740991.7", false),
            ("9007199254740993", false),
            ("-9007199254740993", false),
            ("9007199254740994", true),
            ("99999999999999991611392", true),
            ("99999999999999991611393", false),
            ("1e300", false),
            ("1e999", false),
            ("-inf", true),
        ] {
            let value: f64 = text.parse().unwrap();
            assert_eq!(exact(value, text.as_bytes()).is_ok(), is_key, "{text}");
        }
    }

    #[test]
    fn a_whole_key_is_what_is_written_or_none() {
        assert_eq!(whole(b"9223372036854775807"), Ok(i64::MAX));
        assert_eq!(whole(b"-9223372036854775808.0"), Ok(i64::MIN));
        for text in ["9223372036854775808", "0.5", "x", ""] {
            assert_eq!(whole(text.as_bytes()), Err(NOT_WHOLE), "{text}");
        }
    }
}
