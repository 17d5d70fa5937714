//! Numbers as people read them: a few significant digits, no exponent where an ordinary decimal will do.
//!
//! The rule: a number that its short form gives back, but for rounding in its computation, is shown in that form (`3`,
//! `12.5`); any other is rounded to the asked-for significant digits and keeps its zeros, so that `12.5000` says
//! "rounded" and `12.5` says "this and nothing else". Digits before the decimal point are never
//! replaced by zeros. The text, read back, lies within half a unit of the last digit that it shows.

/// Significant digits of the reports that people read: enough to compare, few enough to take in.
pub const DIGITS: usize = 6;

/// Seventeen digits tell any two f64 apart; more say nothing.
const DIGITS_MAX: usize = 17;

/// Digits shown of a value with a small spread: a seventeenth would make `0.10000000000000001` of a tenth.
const DIGITS_BESIDE_MAX: usize = 16;

/// Relative difference that is rounding in a computation rather than information: 0.1 + 0.2 is shown as `0.3`.
const NOISE: f64 = 1e-12;

/// Decimal exponents that print without `e`: beyond 15 digits an f64 no longer holds every integer, and below five
/// zeros behind the point nobody counts them.
const PLAIN_EXPONENTS: std::ops::Range<i32> = -5..15;

/// `x` with `digits` significant digits (1 to 17; others are brought into that range).
///
/// ```
/// use millstream::report::number::significant;
/// assert_eq!(significant(3.0, 6), "3");
/// assert_eq!(significant(12.5, 6), "12.5");
/// assert_eq!(significant(2.0 / 3.0, 6), "0.666667");
/// assert_eq!(significant(1234567.8, 6), "1234568");
/// assert_eq!(significant(6.02214076e23, 6), "6.02214e23");
/// ```
pub fn significant(x: f64, digits: usize) -> String {
    if x.is_nan() {
        return "NaN".to_owned();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    if x == 0.0 {
        return "0".to_owned();
    }
    let digits = digits.clamp(1, DIGITS_MAX);
    let mut scientific = format!("{x:.*e}", digits - 1);
    if scientific.parse().is_ok_and(f64::is_infinite) {
        // Rounded up beyond the greatest number: all digits that there are.
        scientific = format!("{x:e}");
    }
    let exponent = exponent_of(&scientific);
    let rounded = if PLAIN_EXPONENTS.contains(&exponent) {
        let decimals = i32::try_from(digits).unwrap_or(i32::MAX).saturating_sub(1 + exponent);
        format!("{x:.*}", usize::try_from(decimals).unwrap_or(0))
    } else {
        scientific
    };
    let short = without_trailing_zeros(&rounded);
    // Where many digits were asked for, those are information that noise at six digits is not.
    let noise = NOISE.min(0.01 * 10_f64.powi(-(digits as i32))).max(2.0 * f64::EPSILON);
    let exact = short.parse().is_ok_and(|back: f64| (back - x).abs() <= noise * x.abs());
    if exact { short } else { rounded }
}

/// `x` with exactly `decimals` digits behind the point, for the labels of an axis; never `-0`.
#[cfg(feature = "html")]
pub(crate) fn fixed(x: f64, decimals: usize) -> String {
    let text = format!("{x:.decimals$}");
    match text.strip_prefix('-') {
        Some(rest) if rest.bytes().all(|b| b == b'0' || b == b'.') => rest.to_owned(),
        _ => text,
    }
}

/// A number that may not exist, as the reports show it: [`DIGITS`] digits, or an en dash.
pub(crate) fn shown(x: Option<f64>) -> String {
    x.map_or_else(|| ABSENT.to_owned(), |x| significant(x, DIGITS))
}

/// As [`shown`], for a value of something that varies by `spread`: with as many digits as it takes to see a hundredth
/// of that, so that means of 1e9 which differ by 0.1 do not read the same.
pub(crate) fn shown_beside(x: Option<f64>, spread: Option<f64>) -> String {
    x.map_or_else(
        || ABSENT.to_owned(),
        |x| significant(x, digits_beside(x, spread.unwrap_or(0.0), DIGITS)),
    )
}

/// Significant digits of `x` down to a hundredth of `spread`, at least `least` and at most [`DIGITS_BESIDE_MAX`]. A
/// spread that is 0 or not finite asks for nothing.
pub(crate) fn digits_beside(x: f64, spread: f64, least: usize) -> usize {
    let of = |x: f64| x.abs().log10().floor();
    if x == 0.0 || !x.is_finite() || spread == 0.0 || !spread.is_finite() {
        return least;
    }
    // Both logarithms lie within ±324.
    let digits = (of(x) - of(spread)) as i32 + 3;
    usize::try_from(digits).unwrap_or(0).min(DIGITS_BESIDE_MAX).max(least)
}

/// What stands where a number does not exist.
pub(crate) const ABSENT: &str = "–";

/// A number that identifies something (a key): the shortest text that reads back.
pub(crate) fn shortest(x: f64) -> String {
    if x == 0.0 || !x.is_finite() || PLAIN_EXPONENTS.contains(&exponent_of(&format!("{x:e}"))) {
        format!("{x}")
    } else {
        format!("{x:e}")
    }
}

/// A duration in seconds with a unit that suits it.
pub(crate) fn duration(seconds: f64) -> String {
    let (value, unit) = match seconds {
        s if s >= 120.0 => (s / 60.0, "min"),
        s if s >= 1.0 => (s, "s"),
        s if s >= 1e-3 => (s * 1e3, "ms"),
        s => (s * 1e6, "µs"),
    };
    format!("{} {unit}", without_trailing_zeros(&significant(value, 3)))
}

fn exponent_of(scientific: &str) -> i32 {
    scientific
        .rsplit_once('e')
        .and_then(|(_, exponent)| exponent.parse().ok())
        .unwrap_or(0)
}

fn without_trailing_zeros(text: &str) -> String {
    let (mantissa, exponent) = text.split_once('e').map_or((text, None), |(m, e)| (m, Some(e)));
    let mantissa = if mantissa.contains('.') {
        mantissa.trim_end_matches('0').trim_end_matches('.')
    } else {
        mantissa
    };
    exponent.map_or_else(|| mantissa.to_owned(), |e| format!("{mantissa}e{e}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ordinary_magnitudes_have_no_exponent() {
        for (x, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (-7.0, "-7"),
            (1461.0, "1461"),
            (123_456_789.0, "123456789"),
            (123_456_789.5, "123456790"),
            (999_999.96, "1000000"),
            (16.439_082_819_986_31, "16.4391"),
            (12.500_001, "12.5000"),
            (2.999_999_99, "3.00000"),
            (0.1 + 0.2, "0.3"),
            (0.300_000_01, "0.300000"),
            (0.000_012_345_678, "0.0000123457"),
            (0.000_001_234_567_8, "1.23457e-6"),
            (1e15, "1e15"),
            (1.234_567_89e15, "1.23457e15"),
            (f64::MAX, "1.79769e308"),
            (5e-324, "4.94066e-324"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(significant(x, 6), text, "{x:?}");
        }
        assert_eq!(significant(0.5, 0), "0.5", "at least one digit");
        assert_eq!(significant(f64::MAX, usize::from(u16::MAX)).parse(), Ok(f64::MAX));
    }

    #[test]
    fn digits_follow_the_spread() {
        for (x, spread, text) in [
            (1e9 + 0.123_456, 0.1, "1000000000.123"),
            (1e9 + 0.5, 0.1, "1000000000.5"),
            (1e9 + 0.789_666, 0.1, "1000000000.790"),
            (-1e9 - 0.25, 0.0999, "-1000000000.25"),
            (16.439_082_819_986_31, 7.35, "16.4391"),
            (16.439_082_819_986_31, 0.000_735, "16.439083"),
            (12.0 + 1.0 / 3.0, 1e300, "12.3333"),
            (0.1, 1e-17, "0.1"),
            (2.0 / 3.0, 0.0, "0.666667"),
            (2.0 / 3.0, f64::NAN, "0.666667"),
            (f64::INFINITY, 0.1, "inf"),
            (0.0, 0.1, "0"),
        ] {
            assert_eq!(shown_beside(Some(x), Some(spread)), text, "{x:e} beside {spread:e}");
        }
        assert_eq!(shown_beside(None, Some(1.0)), ABSENT);
        assert_eq!(shown_beside(Some(2.0 / 3.0), None), "0.666667");
    }

    #[test]
    fn durations_have_a_unit_that_suits_them() {
        assert_eq!(duration(0.0041), "4.1 ms");
        assert_eq!(duration(0.000_85), "850 µs");
        assert_eq!(duration(3.217), "3.22 s");
        assert_eq!(duration(600.0), "10 min");
        assert_eq!(duration(0.0), "0 µs");
    }

    #[test]
    fn keys_read_back() {
        for x in [0.1, 1e300, -2.5, 1e-7, 123_456_789.123, 0.0] {
            assert_eq!(shortest(x).parse(), Ok(x));
        }
        assert_eq!(shortest(2.5), "2.5");
        assert_eq!(shortest(1e300), "1e300");
    }

    #[cfg(feature = "html")]
    #[test]
    fn labels_never_show_a_negative_zero() {
        assert_eq!(fixed(-1e-17, 2), "0.00");
        assert_eq!(fixed(-0.25, 2), "-0.25");
    }

    /// The value of one unit of the last digit that `text` shows.
    fn last_unit(text: &str) -> f64 {
        let (mantissa, exponent) = text
            .split_once('e')
            .map_or((text, 0), |(m, e)| (m, e.parse::<i32>().unwrap()));
        let decimals = mantissa.split_once('.').map_or(0, |(_, d)| d.len());
        format!("1e{}", exponent - i32::try_from(decimals).unwrap())
            .parse()
            .unwrap()
    }

    #[test]
    fn nothing_finite_is_rounded_beyond_the_greatest_number() {
        assert_eq!(significant(1.784e308, 1), "1.784e308");
        assert_eq!(significant(f64::MAX, 3), "1.7976931348623157e308");
        assert_eq!(significant(f64::MIN, 6), "-1.79769e308");
        assert_eq!(significant(1.2e308, 1), "1e308");
    }

    proptest! {
        #[test]
        fn what_is_shown_is_within_half_a_unit_of_its_last_digit(x in proptest::num::f64::NORMAL, digits in 1_usize..=15) {
            let text = significant(x, digits);
            let back: f64 = text.parse().unwrap();
            // Reading the text back rounds once more, by at most half an ulp of the value; so does the unit of a tiny
            // one.
            let slack = x.abs() * f64::EPSILON + f64::from_bits(2);
            prop_assert!((back - x).abs() <= 0.5 * last_unit(&text) + slack, "{x:e} shows as {text}");
        }

        #[test]
        fn ordinary_numbers_too(x in -1e9_f64..1e9, digits in 1_usize..=9) {
            let text = significant(x, digits);
            prop_assert!(!text.contains('e') || x.abs() < 1e-5, "{x:e} shows as {text}");
            let back: f64 = text.parse().unwrap();
            prop_assert!((back - x).abs() <= 0.5 * last_unit(&text) + x.abs() * f64::EPSILON, "{x:e} shows as {text}");
        }
    }
}
