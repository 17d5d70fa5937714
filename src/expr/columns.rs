//! How columns and times enter expressions.
//!
//! Whatever numeric, textual or temporal type a column has (dictionary-encoded ones too), an expression sees one of
//! four: `Float64` without NaN, `LargeUtf8` (whose offsets no batch can overflow), `Boolean`, and
//! `Timestamp(Nanosecond, None)` in which times outside of 1677 to 2262 count as these limits.

use super::values::{failed, without_nan};
use super::{Kind, cut};
use crate::error::{Error, Result};
use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, TimestampNanosecondArray};
use arrow::compute::{can_cast_types, cast};
use arrow::datatypes::{DataType, Date32Type, Date64Type, Float64Type, Int64Type, TimeUnit};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use std::sync::Arc;

const SECOND_NS: i64 = 1_000_000_000;

/// What a column of this type is in an expression, `None` if it has no place there.
pub(super) fn kind(data_type: &DataType) -> Option<Kind> {
    let (kind, target) = match data_type {
        DataType::Dictionary(_, values) => return kind(values),
        DataType::Boolean => (Kind::Boolean, DataType::Boolean),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => (Kind::Text, DataType::LargeUtf8),
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => (Kind::Time, DataType::Int64),
        DataType::Null => (Kind::Number, DataType::Float64),
        _ if data_type.is_numeric() => (Kind::Number, DataType::Float64),
        _ => return None,
    };
    can_cast_types(data_type, &target).then_some(kind)
}

/// A column as expressions see it.
pub(super) fn load(column: &ArrayRef) -> Result<ArrayRef> {
    if let DataType::Dictionary(_, values) = column.data_type() {
        return load(&cast(column, values).map_err(failed)?);
    }
    Ok(match kind(column.data_type()) {
        Some(Kind::Number) => {
            let numbers = cast(column, &DataType::Float64).map_err(failed)?;
            Arc::new(without_nan(numbers.as_primitive::<Float64Type>().clone()))
        }
        Some(Kind::Text) => cast(column, &DataType::LargeUtf8).map_err(failed)?,
        Some(Kind::Time) => Arc::new(times(column)?),
        Some(Kind::Boolean) | None => Arc::clone(column),
    })
}

fn times(column: &ArrayRef) -> Result<TimestampNanosecondArray> {
    if let Some(days) = column.as_primitive_opt::<Date32Type>() {
        return Ok(days.unary(|day| i64::from(day).saturating_mul(86_400 * SECOND_NS)));
    }
    if let Some(milliseconds) = column.as_primitive_opt::<Date64Type>() {
        return Ok(milliseconds.unary(|time| time.saturating_mul(SECOND_NS / 1000)));
    }
    let unit_ns = match column.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => SECOND_NS,
        DataType::Timestamp(TimeUnit::Millisecond, _) => SECOND_NS / 1000,
        DataType::Timestamp(TimeUnit::Microsecond, _) => 1000,
        _ => 1,
    };
    let counts = cast(column, &DataType::Int64).map_err(failed)?;
    let counts: &PrimitiveArray<Int64Type> = counts.as_primitive();
    Ok(counts.unary(|time| time.saturating_mul(unit_ns)))
}

/// The nanoseconds since 1970 of an ISO 8601 date or date with time, in UTC where it has no offset.
pub(super) fn time_ns(text: &str) -> Result<i64> {
    let wrong = |why: &dyn std::fmt::Display| {
        Error::Usage(format!(
            "{} is not a time such as '2012-06-01' or '2012-06-01T12:30:00Z': {why}",
            cut(text)
        ))
    };
    let time = text.parse::<Timestamp>().or_else(|_| {
        let civil = text.parse::<DateTime>()?;
        civil.to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp())
    });
    let time = time.map_err(|error| wrong(&error))?;
    i64::try_from(time.as_nanosecond()).map_err(|_| wrong(&"times lie between the years 1677 and 2262"))
}

/// The name among `names` that was probably meant by `name`.
pub(super) fn nearest<'a>(name: &str, names: &[&'a str]) -> Option<&'a str> {
    let length = name.chars().count();
    let allowed = (length / 3).clamp(1, 3);
    let mut best: Option<(usize, &str)> = None;
    for candidate in names {
        let other = candidate.chars().count();
        // Short names differ by one letter from everything, and long ones are not worth the quadratic time.
        let comparable = length > 2 && length <= 100 && other.abs_diff(length) <= allowed;
        let distance = if candidate.to_lowercase() == name.to_lowercase() {
            0
        } else if comparable {
            edits(name, candidate)
        } else {
            continue;
        };
        if distance <= allowed && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Levenshtein's distance: the least number of letters inserted, deleted or replaced.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_with_and_without_offset() {
        // 2012-06-01T00:00:00Z is 15,492 days after 1970-01-01.
        let day_ns = 86_400 * SECOND_NS;
        assert_eq!(time_ns("2012-06-01").unwrap(), 15_492 * day_ns);
        assert_eq!(time_ns("2012-06-01 06:00").unwrap(), 15_492 * day_ns + day_ns / 4);
        assert_eq!(time_ns("2012-06-01T02:00:00+02:00").unwrap(), 15_492 * day_ns);
        assert_eq!(time_ns("1969-12-31T23:59:59.999999999Z").unwrap(), -1);
        for wrong in ["", "soon", "2012-13-01", "2400-01-01", "2012"] {
            assert!(time_ns(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn near_names() {
        let names = ["temp_max", "temp_min", "weather"];
        assert_eq!(nearest("TEMP_MAX", &names), Some("temp_max"));
        assert_eq!(nearest("wether", &names), Some("weather"));
        assert_eq!(nearest("temp_mix", &names), Some("temp_max"));
        assert_eq!(nearest("x", &names), None);
        assert_eq!(nearest("pressure", &names), None);
        assert_eq!(edits("kitten", "sitting"), 3);
    }
}
