//! Event times: whatever a feed calls a time, as nanoseconds since 1970-01-01T00:00:00Z.
//!
//! A time is an ISO 8601 date, a date and time (`T` or a blank between them; seconds, fraction and offset may be
//! absent; without an offset it is UTC), or a number in a given unit. The common shapes have a path of their own; the
//! rest of ISO 8601 is left to jiff. Both agree, which a property test holds them to.
//!
//! The rule: a time is exact or it is none. Numbers are read as the decimals that they are written as, in integers,
//! never through a float; digits below the nanosecond are cut off towards zero; what does not fit an `i64` of
//! nanoseconds (1677-09-21 to 2262-04-11) is unreadable. A time zone in brackets (RFC 9557) never says an instant by
//! itself: there must be an offset, and it must be one that the zone has then. The zones are part of the program, so
//! that every machine reads the same.
//!
//! The days since 1970 of a civil date follow Hinnant, "chrono-compatible low-level date algorithms" (days_from_civil).

use crate::error::{Error, Result};
use crate::io::TimeUnit;
use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray, StringArrayType, TimestampNanosecondArray,
};
use arrow::compute::{cast, take};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Float64Type, Int64Type, TimeUnit as ArrowUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt64Type,
};
use std::fmt::Write as _;

/// Nanoseconds of a second.
const SECOND_NS: i128 = 1_000_000_000;

/// Nanoseconds of a day.
const DAY_NS: i64 = 86_400 * 1_000_000_000;

/// Significant digits of a number that are looked at: 10^36 still leaves room below 2^127 for every later step, and
/// nanoseconds in an `i64` have 19.
const DIGITS_MAX: usize = 36;

/// The largest decimal exponent that is looked at: beyond it, a number is zero or out of range whatever its digits are.
const EXPONENT_MAX: i32 = 60;

/// The instant that `bytes` names, in nanoseconds since 1970-01-01T00:00:00Z; numbers are in `unit`.
///
/// `None` if it cannot be read or does not fit; [`read`] says which. Blanks around it are ignored.
///
/// ```
/// use millstream::io::{TimeUnit, time};
/// assert_eq!(time::parse(b"1970-01-02", TimeUnit::Seconds), Some(86_400_000_000_000));
/// assert_eq!(time::parse(b"1970-01-01 01:00+01:00", TimeUnit::Seconds), Some(0));
/// assert_eq!(time::parse(b"1.5", TimeUnit::Milliseconds), Some(1_500_000));
/// assert_eq!(time::parse(b"noon", TimeUnit::Seconds), None);
/// ```
pub fn parse(bytes: &[u8], unit: TimeUnit) -> Option<i64> {
    read(bytes, unit).ok()
}

/// Why bytes are no instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unreadable {
    /// It is neither a date, nor a date and time, nor a number.
    NoTime,
    /// It does not fit an `i64` of nanoseconds.
    OutOfRange,
    /// A time zone in brackets, and no offset.
    NoOffset,
    /// A time zone in brackets that nobody knows.
    UnknownZone,
    /// The offset is not one that the time zone in brackets has at that time.
    OffsetConflict,
}

impl Unreadable {
    /// The reason, as the clause that follows what is quoted.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoTime => "is not a time",
            Self::OutOfRange => "is outside the range of times, 1677-09-21 to 2262-04-11",
            Self::NoOffset => "names a time zone without an offset from UTC",
            Self::UnknownZone => "names an unknown time zone",
            Self::OffsetConflict => "has an offset from UTC that its time zone does not have then",
        }
    }
}

/// The instant that `bytes` names, as [`parse`] reads it.
///
/// ```
/// use millstream::io::{TimeUnit, time::{Unreadable, read}};
/// let read = |text: &str| read(text.as_bytes(), TimeUnit::Seconds);
/// assert_eq!(read("1970-01-01T01:00+01:00[Europe/Berlin]"), Ok(0));
/// assert_eq!(read("1970-01-01T01:00[Europe/Berlin]"), Err(Unreadable::NoOffset));
/// ```
///
/// # Errors
/// [`Unreadable`] says why it is none.
pub fn read(bytes: &[u8], unit: TimeUnit) -> Result<i64, Unreadable> {
    let bytes = bytes.trim_ascii();
    let usual = match bytes {
        [_, _, _, _, b'-', _, _, b'-', ..] => common(bytes),
        _ => number(bytes, unit),
    };
    match usual {
        Err(Unreadable::NoTime) => uncommon(bytes),
        usual => usual,
    }
}

/// `YYYY-MM-DD`, or that, `T` or blank, `HH:MM`, then perhaps `:SS`, a fraction and an offset.
fn common(bytes: &[u8]) -> Result<i64, Unreadable> {
    let (midnight_s, seconds, fraction_ns) = common_parts(bytes).ok_or(Unreadable::NoTime)?;
    instant(midnight_s + seconds, fraction_ns).ok_or(Unreadable::OutOfRange)
}

/// The seconds from 1970 to midnight, those from there to the instant, and the nanoseconds.
#[inline]
fn common_parts(bytes: &[u8]) -> Option<(i64, i64, i64)> {
    let (date, rest) = bytes.split_at_checked(10)?;
    let year = digits(date, 0, 4)?;
    let (month, day) = (digits(date, 5, 2)?, digits(date, 8, 2)?);
    if !(1..=12).contains(&month) || day < 1 || day > days_of_month(year, month) {
        return None;
    }
    let midnight_s = days_since_1970(year, month, day) * 86_400;
    if rest.is_empty() {
        return Some((midnight_s, 0, 0));
    }
    if !matches!(rest[0], b'T' | b't' | b' ') || rest.get(3) != Some(&b':') {
        return None;
    }
    let (hour, minute) = (digits(rest, 1, 2)?, digits(rest, 4, 2)?);
    let mut rest = &rest[6..];
    let (mut second, mut fraction_ns) = (0, 0);
    if rest.first() == Some(&b':') {
        second = digits(rest, 1, 2)?;
        rest = &rest[3..];
        if let [b'.' | b',', tail @ ..] = rest {
            let length = tail.iter().take_while(|b| b.is_ascii_digit()).count();
            if length == 0 {
                return None;
            }
            for digit in tail[..length].iter().copied().chain(std::iter::repeat(b'0')).take(9) {
                fraction_ns = fraction_ns * 10 + i64::from(digit - b'0');
            }
            rest = &tail[length..];
        }
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let offset_s = offset(rest)?;
    Some((midnight_s, hour * 3600 + minute * 60 + second - offset_s, fraction_ns))
}

/// The offset from UTC in seconds: nothing, `Z`, `UTC`, `+HH`, `+HHMM` or `+HH:MM`, perhaps behind a blank.
fn offset(bytes: &[u8]) -> Option<i64> {
    let bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
    let sign = match bytes {
        [] | [b'Z' | b'z'] | b"UTC" => return Some(0),
        [b'+', ..] => 1,
        [b'-', ..] => -1,
        _ => return None,
    };
    let (hours, minutes) = match bytes.len() {
        3 => (digits(bytes, 1, 2)?, 0),
        5 => (digits(bytes, 1, 2)?, digits(bytes, 3, 2)?),
        6 if bytes[3] == b':' => (digits(bytes, 1, 2)?, digits(bytes, 4, 2)?),
        _ => return None,
    };
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3600 + minutes * 60))
}

/// The rest of ISO 8601 (and the leap second), by jiff.
fn uncommon(bytes: &[u8]) -> Result<i64, Unreadable> {
    let text = match bytes {
        [b'0'..=b'9' | b'+' | b'-', ..] => std::str::from_utf8(bytes).map_err(|_| Unreadable::NoTime)?,
        _ => return Err(Unreadable::NoTime),
    };
    // Other things in brackets (`[u-ca=gregory]`) say nothing about the instant.
    if let Some((instant, zone)) = text.split_once('[')
        && zone.split(']').next().is_none_or(|first| !first.contains('='))
    {
        return zoned(text, instant, zone);
    }
    let instant = match text.parse::<jiff::Timestamp>() {
        Ok(instant) => instant,
        Err(_) => {
            let civil: jiff::civil::DateTime = text.parse().map_err(|_| Unreadable::NoTime)?;
            let instant = jiff::tz::Offset::UTC.to_timestamp(civil);
            instant.map_err(|_| Unreadable::OutOfRange)?
        }
    };
    in_range(instant)
}

fn in_range(instant: jiff::Timestamp) -> Result<i64, Unreadable> {
    i64::try_from(instant.as_nanosecond()).map_err(|_| Unreadable::OutOfRange)
}

/// RFC 9557: an instant, then a time zone in brackets, which has to agree with the offset (`Z` agrees with every zone).
fn zoned(text: &str, instant: &str, zone: &str) -> Result<i64, Unreadable> {
    if instant.parse::<jiff::Timestamp>().is_err() {
        let civil = instant.parse::<jiff::civil::DateTime>();
        return Err(civil.map_or(Unreadable::NoTime, |_| Unreadable::NoOffset));
    }
    if let Ok(zoned) = text.parse::<jiff::Zoned>() {
        return in_range(zoned.timestamp());
    }
    let zone = zone.strip_prefix('!').unwrap_or(zone);
    Err(match zone.split_once(']') {
        Some((zone, _)) if zone.starts_with(['+', '-']) => Unreadable::OffsetConflict,
        Some((zone, _)) if jiff::tz::TimeZone::get(zone).is_ok() => Unreadable::OffsetConflict,
        Some(_) => Unreadable::UnknownZone,
        None => Unreadable::NoTime,
    })
}

/// A decimal number in `unit`, exact.
fn number(bytes: &[u8], unit: TimeUnit) -> Result<i64, Unreadable> {
    let (negative, mantissa, exponent) = number_parts(bytes, unit).ok_or(Unreadable::NoTime)?;
    let power = || 10_i128.checked_pow(exponent.unsigned_abs());
    let size = if mantissa == 0 || exponent < -EXPONENT_MAX {
        Some(0)
    } else if exponent > EXPONENT_MAX {
        None
    } else if exponent >= 0 {
        power().and_then(|power| mantissa.checked_mul(power))
    } else {
        Some(power().map_or(0, |power| mantissa / power))
    };
    let signed = |size: i128| i64::try_from(if negative { -size } else { size }).ok();
    size.and_then(signed).ok_or(Unreadable::OutOfRange)
}

/// Whether it is negative, its digits, and the power of ten that makes them nanoseconds.
#[inline]
fn number_parts(bytes: &[u8], unit: TimeUnit) -> Option<(bool, i128, i32)> {
    let (negative, mut rest) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, bytes),
    };
    let (mut mantissa, mut used, mut seen, mut exponent, mut point) = (0_i128, 0, false, unit_digits(unit), false);
    while let [byte, tail @ ..] = rest {
        match byte {
            b'0'..=b'9' => {
                seen = true;
                if used < DIGITS_MAX {
                    mantissa = mantissa * 10 + i128::from(byte - b'0');
                    used += usize::from(mantissa != 0);
                    exponent -= i32::from(point);
                } else {
                    exponent = exponent.checked_add(i32::from(!point))?;
                }
            }
            b'.' if !point => point = true,
            b'e' | b'E' if seen => {
                let power: i32 = std::str::from_utf8(tail).ok()?.parse().ok()?;
                exponent = exponent.checked_add(power)?;
                rest = &[];
                break;
            }
            _ => return None,
        }
        rest = tail;
    }
    (seen && rest.is_empty()).then_some((negative, mantissa, exponent))
}

/// Whether [`column_to_ns`] reads columns of this type.
pub fn is_readable(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_readable(values),
        DataType::Null
        | DataType::Date32
        | DataType::Date64
        | DataType::Timestamp(..)
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View => true,
        other => other.is_numeric(),
    }
}

/// Why a cell of a column of this type, which reads as `text`, is null after [`column_to_ns`] though it is not before.
pub(crate) fn unreadable(data_type: &DataType, text: Option<&str>, unit: TimeUnit) -> Unreadable {
    match (data_type, text) {
        (DataType::Dictionary(_, values), text) => unreadable(values, text, unit),
        (DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View, Some(text)) => {
            read(text.as_bytes(), unit).err().unwrap_or(Unreadable::NoTime)
        }
        (other, Some("NaN")) if other.is_floating() => Unreadable::NoTime,
        _ => Unreadable::OutOfRange,
    }
}

/// A column as nanoseconds since 1970-01-01T00:00:00Z, null where it is missing, unreadable or out of range.
///
/// Dates are midnights, timestamps without a zone are UTC, numbers are in `unit`, text is read by [`parse`].
///
/// # Errors
/// [`Error::Usage`] for a type that holds no times ([`is_readable`]).
pub fn column_to_ns(array: &dyn Array, unit: TimeUnit) -> Result<TimestampNanosecondArray> {
    let unit_ns = 10_i64.pow(unit_digits(unit).unsigned_abs());
    Ok(match array.data_type() {
        DataType::Null => TimestampNanosecondArray::new_null(array.len()),
        DataType::Date32 => scaled::<Date32Type>(array, DAY_NS),
        DataType::Date64 => scaled::<Date64Type>(array, 1_000_000),
        DataType::Timestamp(ArrowUnit::Second, _) => scaled::<TimestampSecondType>(array, 1_000_000_000),
        DataType::Timestamp(ArrowUnit::Millisecond, _) => scaled::<TimestampMillisecondType>(array, 1_000_000),
        DataType::Timestamp(ArrowUnit::Microsecond, _) => scaled::<TimestampMicrosecondType>(array, 1_000),
        DataType::Timestamp(ArrowUnit::Nanosecond, _) => {
            let array = array.as_primitive::<TimestampNanosecondType>();
            PrimitiveArray::new(array.values().clone(), array.nulls().cloned())
        }
        DataType::UInt64 => array
            .as_primitive::<UInt64Type>()
            .unary_opt(|x| i64::try_from(x).ok()?.checked_mul(unit_ns)),
        other if other.is_integer() => scaled::<Int64Type>(&recast(array, &DataType::Int64)?, unit_ns),
        other if other.is_floating() => {
            let mut digits = String::new();
            recast(array, &DataType::Float64)?
                .as_primitive::<Float64Type>()
                .iter()
                .map(|x| float(x?, unit_ns, unit, &mut digits))
                .collect()
        }
        DataType::Utf8 => text(array.as_string::<i32>(), unit),
        DataType::LargeUtf8 => text(array.as_string::<i64>(), unit),
        DataType::Utf8View => text(array.as_string_view(), unit),
        DataType::Dictionary(_, values) if is_readable(values) => {
            let dictionary = array.as_any_dictionary();
            let values = column_to_ns(dictionary.values(), unit)?;
            let taken = take(&values, dictionary.keys(), None).map_err(failed)?;
            taken.as_primitive::<TimestampNanosecondType>().clone()
        }
        other if other.is_numeric() => text(recast(array, &DataType::Utf8)?.as_string::<i32>(), unit), // decimals, exactly
        other => return Err(Error::Usage(format!("a column of type {other} holds no times"))),
    })
}

fn scaled<T: ArrowPrimitiveType<Native: Into<i64>>>(array: &dyn Array, factor: i64) -> TimestampNanosecondArray {
    array.as_primitive::<T>().unary_opt(|x| x.into().checked_mul(factor))
}

fn text<'a>(array: impl StringArrayType<'a>, unit: TimeUnit) -> TimestampNanosecondArray {
    array.iter().map(|cell| parse(cell?.as_bytes(), unit)).collect()
}

/// A float as the shortest decimal that reads back as it, so that a time is the same from text and from a binary
/// column.
pub(crate) fn float(x: f64, unit_ns: i64, unit: TimeUnit, digits: &mut String) -> Option<i64> {
    if !x.is_finite() {
        return None;
    }
    if x.fract() == 0.0 {
        // Exact up to 2^127 and capped beyond, which no unit fits.
        return i64::try_from(x as i128).ok()?.checked_mul(unit_ns);
    }
    digits.clear();
    write!(digits, "{x:?}").ok()?;
    number(digits.as_bytes(), unit).ok()
}

fn recast(array: &dyn Array, to: &DataType) -> Result<ArrayRef> {
    cast(array, to).map_err(failed)
}

fn failed(error: arrow::error::ArrowError) -> Error {
    Error::Data(format!("a time column cannot be converted: {error}"))
}

/// How many decimal digits below the unit a nanosecond is.
pub(crate) fn unit_digits(unit: TimeUnit) -> i32 {
    match unit {
        TimeUnit::Seconds => 9,
        TimeUnit::Milliseconds => 6,
        TimeUnit::Microseconds => 3,
        TimeUnit::Nanoseconds => 0,
    }
}

fn instant(seconds: i64, fraction_ns: i64) -> Option<i64> {
    i64::try_from(i128::from(seconds) * SECOND_NS + i128::from(fraction_ns)).ok()
}

/// `length` ASCII digits from `start`, as a number.
fn digits(bytes: &[u8], start: usize, length: usize) -> Option<i64> {
    let mut value = 0;
    for byte in bytes.get(start..start + length)? {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(value)
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar; years begin in March, so that leap days end
/// them.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests;
