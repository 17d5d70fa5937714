//! Event times: what jiff reads, read the same; what is read, read again from its RFC 3339 form; numbers exact.
//!
//! The first byte chooses the unit; the rest is the text.
#![no_main]

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use libfuzzer_sys::fuzz_target;
use millstream::io::{TimeUnit, time};

/// Digits of a number that fit an `i128` with nine more.
const DIGITS_MAX: usize = 28;

/// `digits[.digits]` with a sign, scaled by 10^`shift` and cut off, or nothing for another form.
fn decimal(text: &str, shift: usize) -> Option<i128> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |s: &str| s.len() <= DIGITS_MAX && s.bytes().all(|b| b.is_ascii_digit());
    if !plain(whole) || !plain(fraction) || whole.len() + fraction.len() == 0 || whole.len() > DIGITS_MAX {
        return None;
    }
    let fraction = format!("{fraction:0<shift$}");
    format!("{whole}{}", &fraction[..shift])
        .parse()
        .map_or(Some(0), |n: i128| Some(sign * n))
}

/// The instant that jiff reads.
fn reference(text: &str) -> Option<i128> {
    let civil = || Offset::UTC.to_timestamp(text.parse::<DateTime>().ok()?).ok();
    Some(text.parse::<Timestamp>().ok().or_else(civil)?.as_nanosecond())
}

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first() else {
        return;
    };
    let (unit, shift) = [
        (TimeUnit::Seconds, 9),
        (TimeUnit::Milliseconds, 6),
        (TimeUnit::Microseconds, 3),
        (TimeUnit::Nanoseconds, 0),
    ][usize::from(*choice) % 4];
    let read = time::parse(bytes, unit);
    let Ok(text) = std::str::from_utf8(bytes.trim_ascii()) else {
        assert_eq!(read, None, "what is no text is no time");
        return;
    };
    if let Some(expected) = decimal(text, shift) {
        assert_eq!(read, i64::try_from(expected).ok(), "{text:?} in {unit:?}");
        assert_eq!(time::parse(format!("{text}e0").as_bytes(), unit), read);
        assert_eq!(
            time::parse(format!("{text}E{shift}").as_bytes(), TimeUnit::Nanoseconds),
            read
        );
        return;
    }
    if text.parse::<f64>().is_ok() {
        return;
    }
    // Jiff passes over a time zone in brackets, which has to fit the offset here.
    if let Some(expected) = reference(text)
        && (read.is_some() || !text.contains('['))
    {
        assert_eq!(read, i64::try_from(expected).ok(), "{text:?}");
    }
    if let Some(time_ns) = read {
        let again = Timestamp::from_nanosecond(time_ns.into()).expect("64 bits are within its range");
        assert_eq!(
            time::parse(again.to_string().as_bytes(), unit),
            Some(time_ns),
            "{text:?} as {again}"
        );
        let other = if unit == TimeUnit::Seconds {
            TimeUnit::Nanoseconds
        } else {
            TimeUnit::Seconds
        };
        assert_eq!(
            time::parse(bytes, other),
            read,
            "{text:?} is no number, so the unit means nothing"
        );
    }
});
