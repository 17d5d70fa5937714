//! Scales: a range, and the round numbers or instants in it that carry labels.
//!
//! Ticks of numbers are multiples of 1, 2 or 5 times a power of ten. Ticks of time fall on the calendar (UTC): every
//! so many seconds, minutes, hours, days, months or years, labelled as coarsely as their step allows.

use super::CHARACTER;
use crate::report::number::fixed;
use crate::report::text::width as cells;
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use std::ops::Range;

/// Decimals of a tick's label: beyond, the label is shown with significant digits instead.
const LABEL_DECIMALS_MAX: i32 = 9;
/// The size of a number from which its ticks are labelled with an exponent.
const LABEL_PLAIN_MAX: f64 = 1e7;

/// Significant digits of a label: 17 tell any two numbers apart.
const LABEL_DIGITS_MAX: i32 = 17;
/// Pixels between two labels beside each other.
const LABEL_GAP: i32 = 12;

/// A labelled place on a scale.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tick {
    pub(crate) at: f64,
    pub(crate) label: String,
}

/// A range with its ticks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scale {
    pub(crate) range: Range<f64>,
    pub(crate) ticks: Vec<Tick>,
}

impl Scale {
    /// Of numbers from `low` to `high`, with a margin around a single value. Nothing where the range is not finite.
    pub(crate) fn numbers(low: f64, high: f64, ticks: usize) -> Option<Self> {
        let (low, high) = if low < high { (low, high) } else { around(low) };
        let span = high - low;
        if !span.is_finite() || span <= 0.0 {
            return None;
        }
        let step = round_step(span / ticks.max(1) as f64);
        let first = (low / step).ceil();
        let places = (0..=2 * ticks).map(|i| (first + i as f64) * step);
        let mut places: Vec<f64> = places.take_while(|at| *at <= high + step * 1e-9).collect();
        // A step below the distance of two numbers of this size leads nowhere.
        places.dedup();
        let notation = Notation::of(&places, step);
        Some(Self {
            ticks: places
                .into_iter()
                .map(|at| Tick {
                    at,
                    label: notation.label(at, step),
                })
                .collect(),
            range: low..high,
        })
    }

    /// As [`Scale::numbers`], with as many of the ticks as their labels have room beside each other in `width` pixels.
    pub(crate) fn numbers_within(low: f64, high: f64, ticks: usize, width: i32) -> Option<Self> {
        let taken = |scale: &Self| {
            let labels = scale.ticks.iter();
            labels
                .map(|t| i32::try_from(cells(&t.label)).unwrap_or(i32::MAX / 64) * CHARACTER + LABEL_GAP)
                .sum::<i32>()
        };
        let scales = (1..=ticks.max(1)).rev().filter_map(|n| Self::numbers(low, high, n));
        let mut scales = scales.filter(|s| !s.ticks.is_empty()).peekable();
        let densest = scales.peek().cloned();
        scales.find(|s| taken(s) <= width).or_else(|| {
            // Not even the fewest fit: one says more than several over each other.
            let mut scale = densest?;
            scale.ticks.truncate(1);
            Some(scale)
        })
    }

    /// As [`Scale::numbers`], with `share` of the span added on both sides so that nothing touches the frame.
    pub(crate) fn padded(low: f64, high: f64, ticks: usize, share: f64) -> Option<Self> {
        let margin = (high - low) * share;
        Self::numbers(low - margin, high + margin, ticks)
    }

    /// Of instants, as seconds behind `origin_ns`.
    pub(crate) fn time(origin_ns: i64, low_ns: i64, high_ns: i64, ticks: usize) -> Self {
        let second = |ns: i64| (i128::from(ns) - i128::from(origin_ns)) as f64 / 1e9;
        let (low, high) = if low_ns < high_ns {
            (second(low_ns), second(high_ns))
        } else {
            (second(low_ns) - 0.5, second(low_ns) + 0.5)
        };
        let places = instants(low_ns, high_ns, ticks.max(1));
        Self {
            range: low..high,
            ticks: places
                .into_iter()
                .map(|(ns, label)| Tick { at: second(ns), label })
                .collect(),
        }
    }

    /// The widest label, in characters.
    pub(crate) fn label_width(&self) -> i32 {
        let widest = self.ticks.iter().map(|t| cells(&t.label)).max().unwrap_or(0);
        i32::try_from(widest).unwrap_or(0)
    }
}

fn around(x: f64) -> (f64, f64) {
    let margin = if x == 0.0 { 0.5 } else { x.abs() * 0.05 };
    (x - margin, x + margin)
}

/// 1, 2 or 5 times a power of ten, at least `step`.
pub(crate) fn round_step(step: f64) -> f64 {
    let unit = 10_f64.powi(step.log10().floor() as i32);
    let multiple = [1.0, 2.0, 5.0].into_iter().find(|m| m * unit >= step * (1.0 - 1e-9));
    multiple.unwrap_or(10.0) * unit
}

/// How the numbers of one axis are written: all of them alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Notation {
    /// So many digits behind the point.
    Plain(usize),
    Scientific,
}

impl Notation {
    fn of(places: &[f64], step: f64) -> Self {
        let decimals = -exponent(step);
        let largest = places.iter().fold(0.0, |most: f64, at| most.max(at.abs()));
        if largest >= LABEL_PLAIN_MAX && decimals <= 0 || decimals > LABEL_DECIMALS_MAX {
            Self::Scientific
        } else {
            Self::Plain(usize::try_from(decimals).unwrap_or(0))
        }
    }

    /// Labels beside each other differ: the last digit shown is that of the step.
    fn label(self, at: f64, step: f64) -> String {
        match self {
            Self::Plain(decimals) => fixed(at, decimals),
            Self::Scientific if at.abs() < step / 2.0 => "0".to_owned(),
            Self::Scientific => {
                let digits = (exponent(at) - exponent(step) + 1).clamp(1, LABEL_DIGITS_MAX);
                scientific(at, usize::try_from(digits).unwrap_or(1))
            }
        }
    }
}

/// ⌊log10 |x|⌋, where a rounding error below a power of ten counts as none.
fn exponent(x: f64) -> i32 {
    (x.abs().log10() + 1e-9).floor() as i32
}

fn scientific(x: f64, digits: usize) -> String {
    let text = format!("{x:.*e}", digits - 1);
    match text.split_once('e') {
        Some((mantissa, exponent)) if mantissa.contains('.') => {
            format!("{}e{exponent}", mantissa.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text,
    }
}

const SECOND_NS: i64 = 1_000_000_000;
const MINUTE_NS: i64 = 60 * SECOND_NS;
const HOUR_NS: i64 = 60 * MINUTE_NS;
const DAY_NS: i64 = 24 * HOUR_NS;
/// Steps from a nanosecond to a tenth of a second.
const STEPS_BELOW_SECOND_NS: [i64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];
/// Steps from a fifth of a second to a week.
const STEPS_NS: [i64; 15] = [
    SECOND_NS / 5,
    SECOND_NS / 2,
    SECOND_NS,
    5 * SECOND_NS,
    15 * SECOND_NS,
    30 * SECOND_NS,
    MINUTE_NS,
    5 * MINUTE_NS,
    15 * MINUTE_NS,
    30 * MINUTE_NS,
    HOUR_NS,
    3 * HOUR_NS,
    6 * HOUR_NS,
    DAY_NS,
    7 * DAY_NS,
];
/// 1970-01-05 was a Monday: weeks begin there.
const MONDAY_NS: i64 = 4 * DAY_NS;
/// Steps of months.
const STEPS_MONTHS: [i64; 12] = [1, 2, 3, 6, 12, 24, 60, 120, 240, 600, 1200, 2400];

/// At most about `count` instants between these, with their labels.
fn instants(low_ns: i64, high_ns: i64, count: usize) -> Vec<(i64, String)> {
    let step = ((i128::from(high_ns) - i128::from(low_ns)) / count as i128).max(1);
    let Some(&step_ns) = STEPS_BELOW_SECOND_NS
        .iter()
        .chain(&STEPS_NS)
        .find(|s| i128::from(**s) >= step)
    else {
        return months(low_ns, high_ns, count);
    };
    let base = if step_ns > DAY_NS { MONDAY_NS } else { 0 };
    let first = i128::from(low_ns - base).div_euclid(step_ns.into());
    let first = first + i128::from((i128::from(low_ns - base)).rem_euclid(step_ns.into()) > 0);
    let mut labelled: Vec<(i64, String)> = Vec::new();
    let mut day = None;
    for i in 0..=count as i128 {
        let Ok(ns) = i64::try_from((first + i) * i128::from(step_ns) + i128::from(base)) else {
            break;
        };
        if ns > high_ns {
            break;
        }
        let time = civil(ns);
        let new_day = day != Some(time.date());
        day = Some(time.date());
        labelled.push((ns, time_label(time, step_ns, new_day)));
    }
    labelled
}

fn months(low_ns: i64, high_ns: i64, count: usize) -> Vec<(i64, String)> {
    let month_of = |ns: i64| {
        let time = civil(ns);
        i64::from(time.year()) * 12 + i64::from(time.month()) - 1
    };
    let (low, high) = (month_of(low_ns), month_of(high_ns));
    let fits = |step: &&i64| (high - low) / **step <= count as i64;
    let step = STEPS_MONTHS.iter().find(fits).copied().unwrap_or(4800);
    let first = low.div_euclid(step) * step;
    let places = (first..=high).step_by(usize::try_from(step).unwrap_or(1));
    places
        .filter_map(|month| {
            let year = i16::try_from(month.div_euclid(12)).ok()?;
            let date = Date::new(year, i8::try_from(month.rem_euclid(12) + 1).ok()?, 1).ok()?;
            let zoned = date.to_zoned(TimeZone::UTC).ok()?;
            let ns = i64::try_from(zoned.timestamp().as_nanosecond()).ok()?;
            let label = if step >= 12 {
                date.strftime("%Y")
            } else {
                date.strftime("%b %Y")
            };
            (low_ns..=high_ns).contains(&ns).then(|| (ns, label.to_string()))
        })
        .collect()
}

fn civil(ns: i64) -> DateTime {
    let instant = Timestamp::from_nanosecond(ns.into()).unwrap_or(Timestamp::UNIX_EPOCH);
    TimeZone::UTC.to_datetime(instant)
}

/// As coarse as the step allows; the first label of a day names the day.
fn time_label(time: DateTime, step_ns: i64, new_day: bool) -> String {
    let clock = match step_ns {
        s if s >= DAY_NS => return time.strftime("%b %-d").to_string(),
        s if s >= MINUTE_NS => "%H:%M",
        s if s >= SECOND_NS => "%H:%M:%S",
        _ => "%H:%M:%S%.f",
    };
    let midnight = time.time() == jiff::civil::Time::midnight();
    if midnight && step_ns >= MINUTE_NS {
        return time.strftime("%b %-d").to_string();
    }
    let clock = time.strftime(clock).to_string();
    if new_day && step_ns >= HOUR_NS {
        format!("{} {clock}", time.strftime("%b %-d"))
    } else {
        clock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: &Scale) -> Vec<&str> {
        scale.ticks.iter().map(|t| t.label.as_str()).collect()
    }

    #[test]
    fn numbers_have_round_ticks() {
        for (low, high, expected) in [
            (0.0, 1.0, "0.0 0.2 0.4 0.6 0.8 1.0"),
            (-1.6, 35.6, "0 10 20 30"),
            (-0.03, 0.03, "-0.02 0.00 0.02"),
            (1e9, 1.4e9, "1e9 1.1e9 1.2e9 1.3e9 1.4e9"),
            (0.0, 5e-12, "0 1e-12 2e-12 3e-12 4e-12 5e-12"),
        ] {
            assert_eq!(labels(&Scale::numbers(low, high, 5).unwrap()).join(" "), expected);
        }
    }

    /// Neighbouring ticks never read the same, all are written alike, and each label is the tick's place.
    #[test]
    fn labels_of_neighbours_differ_at_any_size_and_step() {
        for (low, high, expected) in [
            (
                1e9,
                1e9 + 0.45,
                "1000000000.0 1000000000.1 1000000000.2 1000000000.3 1000000000.4",
            ),
            (1.02e9, 1.1e9, "1.02e9 1.04e9 1.06e9 1.08e9 1.1e9"),
            (0.0, 2.5e7, "0 5e6 1e7 1.5e7 2e7 2.5e7"),
            (9.8e6, 1.02e7, "9.8e6 9.9e6 1e7 1.01e7 1.02e7"),
        ] {
            assert_eq!(labels(&Scale::numbers(low, high, 5).unwrap()).join(" "), expected);
        }
        let sizes = [
            0.0, 1.0, 999.0, 1e6, 9.5e6, 1e7, 1e9, 1e12, 1e15, 1e16, 1e100, 3e-7, 1e-12,
        ];
        let spans = [1e-15, 1e-9, 1e-6, 0.037, 0.5, 1.0, 7.3, 400.0, 1e5, 3e8, 1e14];
        for (size, span) in sizes.into_iter().flat_map(|size| spans.map(|span| (size, span))) {
            for (low, high) in [(size, size + span), (-size - span, -size), (-span, size)] {
                for ticks in 2..=8 {
                    let scale = Scale::numbers(low, high, ticks).unwrap();
                    let step = scale
                        .ticks
                        .windows(2)
                        .map(|t| t[1].at - t[0].at)
                        .fold(f64::MAX, f64::min);
                    for pair in scale.ticks.windows(2) {
                        assert_ne!(
                            pair[0].label,
                            pair[1].label,
                            "{low:e} to {high:e}: {:?}",
                            labels(&scale)
                        );
                    }
                    for tick in &scale.ticks {
                        let read: f64 = tick.label.parse().unwrap();
                        let near = 0.01 * step + 2.0 * f64::EPSILON * tick.at.abs();
                        assert!((read - tick.at).abs() <= near, "{low:e} to {high:e}: {tick:?}");
                    }
                    let exponents = scale.ticks.iter().filter(|t| t.label.contains('e')).count();
                    let plain = scale
                        .ticks
                        .iter()
                        .filter(|t| !t.label.contains('e') && t.label != "0")
                        .count();
                    assert!(exponents == 0 || plain == 0, "{:?}", labels(&scale));
                }
            }
        }
    }

    #[test]
    fn long_labels_are_fewer() {
        let ticks = |width| Scale::numbers_within(1e9, 1e9 + 0.5, 6, width).unwrap().ticks.len();
        assert_eq!((ticks(1000), ticks(400), ticks(50)), (6, 3, 1));
    }

    #[test]
    fn a_single_value_has_room_and_an_infinite_range_has_no_scale() {
        let scale = Scale::numbers(3.0, 3.0, 5).unwrap();
        assert!(scale.range.contains(&3.0) && scale.range.start < 3.0);
        assert_eq!(Scale::numbers(f64::MIN, f64::MAX, 5), None);
        assert_eq!(Scale::numbers(f64::NAN, 1.0, 5), None);
        assert_eq!(Scale::numbers(0.0, f64::INFINITY, 5), None);
    }

    #[test]
    fn ticks_of_time_fall_on_the_calendar() {
        let at = |text: &str| i64::try_from(text.parse::<Timestamp>().unwrap().as_nanosecond()).unwrap();
        for (low, high, expected) in [
            ("2012-01-01T00:00:00Z", "2015-12-31T00:00:00Z", "2012 2013 2014 2015"),
            (
                "2012-01-15T00:00:00Z",
                "2012-06-20T00:00:00Z",
                "Feb 2012 Mar 2012 Apr 2012 May 2012 Jun 2012",
            ),
            (
                "2015-01-01T00:00:00Z",
                "2015-01-05T00:00:00Z",
                "Jan 1 Jan 2 Jan 3 Jan 4 Jan 5",
            ),
            (
                "2015-01-01T09:50:00Z",
                "2015-01-01T11:00:00Z",
                "10:00 10:15 10:30 10:45 11:00",
            ),
            (
                "2015-01-01T18:00:00Z",
                "2015-01-02T09:00:00Z",
                "Jan 1 18:00 21:00 Jan 2 03:00 06:00 09:00",
            ),
            (
                "2015-01-01T00:00:00Z",
                "2015-01-01T00:00:00.5Z",
                "00:00:00 00:00:00.1 00:00:00.2 00:00:00.3 00:00:00.4 00:00:00.5",
            ),
        ] {
            let scale = Scale::time(at(low), at(low), at(high), 6);
            assert_eq!(labels(&scale).join(" "), expected);
        }
        for span_ns in [7, 40, 3_000, 900_000, 20_000_000] {
            let ticks = Scale::time(0, 0, span_ns, 8).ticks.len();
            assert!((1..=9).contains(&ticks), "{ticks} ticks in {span_ns} ns");
        }
        let ends = Scale::time(0, i64::MIN, i64::MAX, 6);
        assert!(!ends.ticks.is_empty() && ends.ticks.len() < 10, "{ends:?}");
    }
}
