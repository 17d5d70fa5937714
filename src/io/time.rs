//! Event times: ISO 8601 text or numbers in a unit, as nanoseconds since 1970-01-01T00:00:00Z.

use super::TimeUnit;

/// The time in `bytes` in nanoseconds since 1970-01-01T00:00:00Z: a date, a date and time, or a number in `unit`.
pub fn parse(bytes: &[u8], unit: TimeUnit) -> Option<i64> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
    let scale: i64 = match unit {
        TimeUnit::Seconds => 1_000_000_000,
        TimeUnit::Milliseconds => 1_000_000,
        TimeUnit::Microseconds => 1_000,
        TimeUnit::Nanoseconds => 1,
    };
    if let Ok(whole) = text.parse::<i64>() {
        return whole.checked_mul(scale);
    }
    let stamp: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(stamp.as_nanosecond()).ok()
}
