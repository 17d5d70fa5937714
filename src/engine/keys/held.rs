//! In which form a key column is held, so that no two values become one, and as what its values are reported.
//!
//! Integers, unsigned integers, floats, decimals and booleans are held as what they are, instants of every unit as
//! nanoseconds in 128 bits, bytes as bytes, and what is left as text. Nothing is rounded, and nothing but NaN becomes a
//! missing key.

use crate::error::{Error, Result};
use crate::report::KeyValue;
use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, PrimitiveArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    ArrowPrimitiveType, DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, Date32Type, Date64Type,
    Decimal128Type, Decimal256Type, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt64Type,
};
use arrow::error::ArrowError;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::sync::Arc;

const SECOND_NS: i128 = 1_000_000_000;
const DAY_NS: i128 = 86_400 * SECOND_NS;

/// The form of a key column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Held {
    /// There was no value yet that could say.
    Undecided,
    /// Nanoseconds since 1970 in 128 bits.
    Time,
    /// Values of this type.
    Of(#[serde(with = "stored")] DataType),
}

impl Held {
    /// The form for columns of this type.
    pub(super) fn of(name: &str, data_type: &DataType) -> Result<Self> {
        Ok(Self::Of(match data_type {
            DataType::Null => return Ok(Self::Undecided),
            DataType::Dictionary(_, values) => return Self::of(name, values),
            DataType::RunEndEncoded(_, values) => return Self::of(name, values.data_type()),
            DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => return Ok(Self::Time),
            DataType::UInt64 => DataType::UInt64,
            DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) | DataType::Decimal128(_, scale) => {
                DataType::Decimal128(DECIMAL128_MAX_PRECISION, *scale)
            }
            DataType::Decimal256(_, scale) => DataType::Decimal256(DECIMAL256_MAX_PRECISION, *scale),
            t if t.is_integer() => DataType::Int64,
            t if t.is_floating() => DataType::Float64,
            DataType::Boolean => DataType::Boolean,
            t if t.is_binary() || matches!(t, DataType::FixedSizeBinary(_)) => DataType::LargeBinary,
            t if t.is_nested() => {
                return Err(Error::Usage(format!(
                    "the key `{name}` has the type {t}: a key is a single value"
                )));
            }
            // All keys of a run become one column at its end, which may be longer than 2 GiB.
            _ => DataType::LargeUtf8,
        }))
    }

    /// The Arrow type of columns in this form.
    pub(super) fn data_type(&self) -> DataType {
        match self {
            Self::Undecided => DataType::Boolean,
            Self::Time => DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0),
            Self::Of(data_type) => data_type.clone(),
        }
    }

    /// Whether every column of this type can be held so.
    pub(super) fn holds_all_of(&self, data_type: &DataType) -> bool {
        let is_text = |t: &DataType| matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        match self {
            Self::Of(DataType::LargeUtf8) => is_text(data_type),
            Self::Of(held) => held == data_type,
            Self::Undecided | Self::Time => false,
        }
    }

    /// A column in this form; NaN is null and −0 is 0.
    ///
    /// # Errors
    /// [`Error::Usage`] for a column of another type than those before it that says something which this form cannot
    /// hold.
    pub(super) fn hold(&self, name: &str, array: &ArrayRef) -> Result<ArrayRef> {
        let own = Self::of(name, array.data_type())?;
        let array = unpacked(name, array)?;
        match (self, &own) {
            (_, Self::Undecided) => Ok(new_null_array(&self.data_type(), array.len())),
            (Self::Time, Self::Time) => Ok(Arc::new(instants(&array)?)),
            (Self::Of(held), Self::Of(wanted)) => {
                let array = if wanted.is_floating() {
                    without_nan(name, &array)?
                } else {
                    array
                };
                if held == wanted {
                    return strict(&array, held).map_err(|e| cannot(name, &e));
                }
                let text_or_numbers = [held, wanted]
                    .iter()
                    .all(|t| t.is_numeric() || **t == DataType::LargeUtf8 || **t == DataType::Boolean)
                    && (held.is_numeric() == wanted.is_numeric() || [held, wanted].contains(&&DataType::LargeUtf8));
                let changed = || changed(name, self, array.data_type());
                if !text_or_numbers {
                    return Err(changed());
                }
                let column = strict(&array, held).map_err(|_| changed())?;
                match strict(&column, array.data_type()) {
                    Ok(back) if *back == *array => Ok(column),
                    _ => Err(changed()),
                }
            }
            _ => Err(changed(name, self, array.data_type())),
        }
    }

    /// Value i of a column in this form.
    pub(super) fn value(&self, column: &ArrayRef, i: usize) -> KeyValue {
        if column.is_null(i) {
            return KeyValue::Null;
        }
        if *self == Self::Time {
            return KeyValue::Text(instant_text(column.as_primitive::<Decimal128Type>().value(i)));
        }
        match column.data_type() {
            DataType::Boolean => KeyValue::Boolean(column.as_boolean().value(i)),
            DataType::Int64 => KeyValue::Integer(column.as_primitive::<Int64Type>().value(i).into()),
            DataType::UInt64 => KeyValue::Integer(column.as_primitive::<UInt64Type>().value(i).into()),
            DataType::Float64 => float(column.as_primitive::<Float64Type>().value(i)),
            DataType::Decimal128(..) => decimal(&column.as_primitive::<Decimal128Type>().value_as_string(i)),
            DataType::Decimal256(..) => decimal(&column.as_primitive::<Decimal256Type>().value_as_string(i)),
            DataType::LargeBinary => KeyValue::Text(hexadecimal(column.as_binary::<i64>().value(i))),
            _ => KeyValue::Text(
                column
                    .as_string_opt::<i64>()
                    .map_or_else(String::new, |a| a.value(i).to_owned()),
            ),
        }
    }
}

/// The types in which keys are held, as numbers.
mod stored {
    use super::{DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType};
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};

    const PLAIN: [DataType; 6] = [
        DataType::Boolean,
        DataType::Int64,
        DataType::UInt64,
        DataType::Float64,
        DataType::LargeBinary,
        DataType::LargeUtf8,
    ];

    pub(super) fn serialize<S: Serializer>(held: &DataType, serializer: S) -> Result<S::Ok, S::Error> {
        let form: (u8, i8) = match held {
            DataType::Decimal128(_, scale) => (100, *scale),
            DataType::Decimal256(_, scale) => (101, *scale),
            plain => match PLAIN.iter().position(|one| one == plain) {
                Some(place) => (place as u8, 0),
                None => return Err(ser::Error::custom("no type that keys are held in")),
            },
        };
        form.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DataType, D::Error> {
        match <(u8, i8)>::deserialize(deserializer)? {
            (100, scale) => Ok(DataType::Decimal128(DECIMAL128_MAX_PRECISION, scale)),
            (101, scale) => Ok(DataType::Decimal256(DECIMAL256_MAX_PRECISION, scale)),
            (place, 0) => PLAIN
                .get(usize::from(place))
                .cloned()
                .ok_or_else(|| D::Error::custom("no type of keys")),
            _ => Err(D::Error::custom("no type of keys")),
        }
    }
}

/// Floats that are whole and up to here print without a fraction.
const INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// What a float that is no NaN is reported as.
pub(super) fn float(x: f64) -> KeyValue {
    match x.fract() == 0.0 && x.abs() <= INTEGER_MAX {
        true => KeyValue::Integer(x as i128),
        false => KeyValue::Number(x),
    }
}

fn cannot(name: &str, error: &ArrowError) -> Error {
    Error::Usage(format!("the key `{name}` has a value that cannot be a key: {error}"))
}

fn changed(name: &str, held: &Held, own: &DataType) -> Error {
    let held = match held {
        Held::Time => "instants".to_owned(),
        held => held.data_type().to_string(),
    };
    Error::Usage(format!(
        "the type of the key `{name}` changed from {held} to {own}: give it one type"
    ))
}

/// A cast that fails rather than making nulls.
fn strict(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let cast = cast_with_options(array, to, &options)?;
    if cast.null_count() == array.null_count() {
        Ok(cast)
    } else {
        Err(ArrowError::CastError(format!("not every value is a {to}")))
    }
}

/// The values themselves, where the column has them by reference.
fn unpacked(name: &str, array: &ArrayRef) -> Result<ArrayRef> {
    let to = match array.data_type() {
        DataType::Dictionary(_, values) => values.as_ref(),
        DataType::RunEndEncoded(_, values) => values.data_type(),
        _ => return Ok(Arc::clone(array)),
    };
    // What is null behind a reference is null in front of it too: the counts of nulls may differ.
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let values = cast_with_options(array, to, &options).map_err(|e| cannot(name, &e))?;
    unpacked(name, &values)
}

fn without_nan(name: &str, array: &ArrayRef) -> Result<ArrayRef> {
    let floats = strict(array, &DataType::Float64).map_err(|e| cannot(name, &e))?;
    let floats = floats.as_primitive::<Float64Type>();
    let cleaned = floats.unary_opt::<_, Float64Type>(|x| (!x.is_nan()).then_some(x + 0.0));
    Ok(Arc::new(cleaned))
}

fn instants(array: &ArrayRef) -> Result<Decimal128Array> {
    fn scaled<T: ArrowPrimitiveType<Native: Into<i128>>>(array: &ArrayRef, unit_ns: i128) -> Decimal128Array {
        let array: &PrimitiveArray<T> = array.as_primitive();
        // 64 bits of seconds in nanoseconds are less than 10^28.
        array.unary(|x| x.into() * unit_ns)
    }
    let instants = match array.data_type() {
        DataType::Date32 => scaled::<Date32Type>(array, DAY_NS),
        DataType::Date64 => scaled::<Date64Type>(array, SECOND_NS / 1000),
        DataType::Timestamp(TimeUnit::Second, _) => scaled::<TimestampSecondType>(array, SECOND_NS),
        DataType::Timestamp(TimeUnit::Millisecond, _) => scaled::<TimestampMillisecondType>(array, SECOND_NS / 1000),
        DataType::Timestamp(TimeUnit::Microsecond, _) => scaled::<TimestampMicrosecondType>(array, 1000),
        _ => scaled::<TimestampNanosecondType>(array, 1),
    };
    instants
        .with_precision_and_scale(DECIMAL128_MAX_PRECISION, 0)
        .map_err(|e| Error::Failed(e.to_string()))
}

/// An instant as RFC 3339 in UTC with as many digits of the second as it needs; years beyond four digits have a sign
/// and six.
fn instant_text(time_ns: i128) -> String {
    let (days, of_day_ns) = (time_ns.div_euclid(DAY_NS), time_ns.rem_euclid(DAY_NS));
    // Howard Hinnant, "chrono-compatible low-level date algorithms" (civil_from_days): years begin in March.
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = era * 400 + year_of_era + i128::from(month <= 2);
    let (second, fraction_ns) = (of_day_ns / SECOND_NS, of_day_ns % SECOND_NS);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let mut text = match year {
        0..=9999 => format!("{year:04}"),
        _ => format!("{year:+07}"),
    };
    // Writing to a string cannot fail.
    let _ = write!(text, "-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if fraction_ns > 0 {
        let _ = write!(text, ".{}", format!("{fraction_ns:09}").trim_end_matches('0'));
    }
    text.push('Z');
    text
}

/// A decimal as a number where that number prints as it, else as its digits.
fn decimal(text: &str) -> KeyValue {
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => text,
    };
    if let Ok(integer) = text.parse() {
        return KeyValue::Integer(integer);
    }
    match text.parse::<f64>() {
        Ok(x) if x.to_string() == text => KeyValue::Number(x),
        _ => KeyValue::Text(text.to_owned()),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn instants_print_as_everywhere_else(time_ns: i64) {
            prop_assert_eq!(instant_text(time_ns.into()), crate::report::rfc3339(time_ns));
        }
    }

    #[test]
    fn instants_beyond_the_range_of_nanoseconds() {
        for (days, text) in [
            (2_932_896, "9999-12-31T00:00:00Z"),
            (2_932_897, "+010000-01-01T00:00:00Z"),
            (-719_528, "0000-01-01T00:00:00Z"),
            (-719_529, "-000001-12-31T00:00:00Z"),
        ] {
            assert_eq!(instant_text(days * DAY_NS), text);
        }
        assert_eq!(
            instant_text(i128::from(i64::MAX) * SECOND_NS).len(),
            "+292277026596-12-04T15:30:07Z".len()
        );
    }

    #[test]
    fn decimals_are_numbers_only_where_nothing_is_lost() {
        let text = |t: &str| KeyValue::Text(t.into());
        for (written, value) in [
            ("1.50", KeyValue::Number(1.5)),
            ("-0.10", KeyValue::Number(-0.1)),
            ("2.00", KeyValue::Integer(2)),
            ("0.00", KeyValue::Integer(0)),
            ("1200", KeyValue::Integer(1200)),
            ("100000000000000000001", KeyValue::Integer(100_000_000_000_000_000_001)),
            ("100000000000000000001.5", text("100000000000000000001.5")),
            ("0.10000000000000000001", text("0.10000000000000000001")),
        ] {
            assert_eq!(decimal(written), value, "{written}");
        }
    }
}
