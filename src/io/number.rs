//! Decimal text to `f64`, bit for bit as the standard library reads it, but faster for what measurements look like.
//!
//! Eight bytes at a time are tested for digits and folded into an integer without a loop over the digits. A mantissa up
//! to 2^53 and a power of ten up to 10^22 are both exact in `f64`, so one multiplication or division rounds correctly
//! (W. D. Clinger, "How to read floating point numbers accurately", PLDI 1990); everything else goes to the standard
//! library. The grammar is the standard library's: optional sign, `760.`, `.5`, `00501`, exponents, `inf`, `infinity`
//! and `nan` in any case; neither blanks nor separators.

/// Powers of ten that `f64` holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// Powers of ten that shift a mantissa by up to eight digits.
const SHIFTS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// The largest integer below which every integer is an `f64`.
const EXACT_MAX: u64 = 1 << 53;

/// The most digits whose integer surely fits into 64 bits.
const DIGITS_MAX: usize = 19;

/// The longest text that is copied into a padded buffer for the fast path: sign, 19 digits, point, exponent of three
/// digits.
const SHORT_MAX: usize = 26;

/// Bytes that must be readable behind a number for [`scan`] to take its fast path.
pub(crate) const PADDING: usize = 8;

/// The number that all of `bytes` spells, or nothing.
///
/// ```
/// assert_eq!(millstream::io::number::parse_f64(b"-760."), Some(-760.0));
/// assert_eq!(millstream::io::number::parse_f64(b"1,5"), None);
/// ```
pub fn parse_f64(bytes: &[u8]) -> Option<f64> {
    if bytes.len() <= SHORT_MAX {
        let mut padded = [0u8; SHORT_MAX + PADDING];
        padded[..bytes.len()].copy_from_slice(bytes);
        let unsigned = usize::from(bytes.first() == Some(&b'+'));
        if (unsigned == 0 || bytes.get(1) != Some(&b'-'))
            && let Some((value, end)) = scan(&padded, unsigned)
            && end == bytes.len()
        {
            return Some(value);
        }
    }
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// The number that begins at `start` and the place behind it, if it is one that can be computed exactly at once.
///
/// Nothing means "ask [`parse_f64`]", not "no number". The scan stops at the first byte that does not belong to the
/// number; whether that byte may stand there is the caller's to judge.
#[inline]
pub(crate) fn scan(bytes: &[u8], start: usize) -> Option<(f64, usize)> {
    let negative = *bytes.get(start)? == b'-';
    let mut at = start + usize::from(negative);
    let mut mantissa = 0u64;
    let whole = digits(bytes, &mut at, &mut mantissa)?;
    let mut fraction = 0;
    if *bytes.get(at)? == b'.' {
        at += 1;
        fraction = digits(bytes, &mut at, &mut mantissa)?;
    }
    let count = whole + fraction;
    if count == 0 || count > DIGITS_MAX || mantissa > EXACT_MAX {
        return None;
    }
    let value = if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let (exponent, end) = exponent(bytes, at + 1)?;
        at = end;
        let power = exponent - i32::try_from(fraction).ok()?;
        let scale = *POWERS.get(power.unsigned_abs() as usize)?;
        if power < 0 {
            mantissa as f64 / scale
        } else {
            mantissa as f64 * scale
        }
    } else {
        mantissa as f64 / POWERS[fraction]
    };
    Some((if negative { -value } else { value }, at))
}

/// Folds the digits from `at` on into `mantissa` (wrapping: the caller bounds their number) and counts them.
#[inline]
fn digits(bytes: &[u8], at: &mut usize, mantissa: &mut u64) -> Option<usize> {
    let start = *at;
    loop {
        let eight: [u8; 8] = bytes.get(*at..*at + 8)?.try_into().ok()?;
        let (value, count) = leading_digits(u64::from_le_bytes(eight));
        *mantissa = mantissa.wrapping_mul(SHIFTS[count]).wrapping_add(value);
        *at += count;
        if count < 8 {
            return Some(*at - start);
        }
    }
}

/// The value and number of the digits that eight bytes begin with.
#[inline]
fn leading_digits(eight: u64) -> (u64, usize) {
    let v = eight ^ 0x3030_3030_3030_3030;
    // A byte above 9 sets its top bit in the sum or has it set already; carries reach only bytes behind the first such.
    let others = (v.wrapping_add(0x7676_7676_7676_7676) | v) & 0x8080_8080_8080_8080;
    let count = (others.trailing_zeros() / 8) as usize;
    // Moves the digits to the end, zeros before them; in two halves, as a shift by 64 is none.
    let half = 32 - 4 * count as u32;
    let v = v << half << half;
    let pairs = v.wrapping_mul(10).wrapping_add(v >> 8);
    let low = (pairs & 0x0000_00FF_0000_00FF).wrapping_mul(0x000F_4240_0000_0064);
    let high = ((pairs >> 16) & 0x0000_00FF_0000_00FF).wrapping_mul(0x0000_2710_0000_0001);
    (low.wrapping_add(high) >> 32, count)
}

/// The exponent that begins at `at` (behind the `e`) and the place behind it; nothing where it has no or many digits.
#[inline]
fn exponent(bytes: &[u8], mut at: usize) -> Option<(i32, usize)> {
    let negative = bytes.get(at) == Some(&b'-');
    at += usize::from(negative || bytes.get(at) == Some(&b'+'));
    let (start, mut value) = (at, 0i32);
    while let Some(digit @ b'0'..=b'9') = bytes.get(at)
        && at - start < 4
    {
        value = value * 10 + i32::from(digit - b'0');
        at += 1;
    }
    let ended = at > start && !bytes.get(at).is_some_and(u8::is_ascii_digit);
    ended.then_some((if negative { -value } else { value }, at))
}

/// Whether a cell without blanks around it says "no value".
#[inline]
pub(crate) fn is_missing(cell: &[u8]) -> bool {
    matches!(cell, b"" | b"NA" | b"NaN" | b"nan" | b"null" | b"None")
}

/// The number, missing value or other text that a cell holds.
pub(crate) enum Cell {
    /// A number, infinities included, never NaN.
    Number(f64),
    /// No value.
    Missing,
    /// Anything else.
    Text,
}

impl Cell {
    /// Reads a cell, blanks around it left aside.
    pub(crate) fn read(cell: &[u8]) -> Self {
        let cell = cell.trim_ascii();
        if is_missing(cell) {
            return Self::Missing;
        }
        match parse_f64(cell) {
            // Other spellings of NaN than those of a missing value say nothing that is agreed upon.
            Some(value) if !value.is_nan() => Self::Number(value),
            _ => Self::Text,
        }
    }
}

/// The whole number of 64 bits that begins at `start` and the place behind it, if it is spelled by at most 18 digits.
#[inline]
pub(crate) fn scan_whole(bytes: &[u8], start: usize) -> Option<(i64, usize)> {
    let negative = bytes.get(start) == Some(&b'-');
    let first = start + usize::from(negative);
    let (mut at, mut value) = (first, 0i64);
    while let Some(digit @ b'0'..=b'9') = bytes.get(at) {
        if at - first == DIGITS_MAX - 1 {
            return None;
        }
        value = value * 10 + i64::from(digit - b'0');
        at += 1;
    }
    (at > first).then_some((if negative { -value } else { value }, at))
}

/// The whole number of at most 38 digits that `text` spells, in whatever way (`1e3`, `7.0`): nothing is rounded.
pub(crate) fn whole(text: &[u8]) -> Option<i128> {
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let (mantissa, power) = match text.iter().position(|b| matches!(b, b'e' | b'E')) {
        Some(at) => (
            &text[..at],
            std::str::from_utf8(&text[at + 1..]).ok()?.parse::<i32>().ok()?,
        ),
        None => (text, 0),
    };
    let (before, behind) = match mantissa.iter().position(|b| *b == b'.') {
        Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
        None => (mantissa, &[][..]),
    };
    let mut digits: Vec<u8> = [before, behind].concat();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut power = i64::from(power) - i64::try_from(behind.len()).ok()?;
    while let Some(b'0') = digits.last() {
        digits.pop();
        power += 1;
    }
    let digits = &digits[digits.iter().position(|b| *b != b'0').unwrap_or(digits.len())..];
    if digits.is_empty() {
        return Some(0);
    }
    // 38 digits always fit 128 bits.
    if power < 0 || digits.len() as i64 + power > 38 {
        return None;
    }
    let value = digits
        .iter()
        .fold(0i128, |value, digit| value * 10 + i128::from(digit - b'0'));
    let value = value * 10i128.pow(u32::try_from(power).ok()?);
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn same(bytes: &[u8]) {
        let ours = parse_f64(bytes).map(f64::to_bits);
        let std = std::str::from_utf8(bytes)
            .ok()
            .and_then(|t| t.parse::<f64>().ok())
            .map(f64::to_bits);
        assert_eq!(ours, std, "{:?}", bytes.escape_ascii().to_string());
    }

    #[test]
    fn the_forms_that_measurements_take() {
        for (text, value) in [
            ("760.", 760.0),
            (".5", 0.5),
            ("00501", 501.0),
            ("-1.25e-3", -0.00125),
            ("+7", 7.0),
            ("1E2", 100.0),
        ] {
            assert_eq!(parse_f64(text.as_bytes()), Some(value), "{text}");
        }
        assert_eq!(parse_f64(b"-INFINITY"), Some(f64::NEG_INFINITY));
        assert!(parse_f64(b"-0").is_some_and(|z| z == 0.0 && z.is_sign_negative()));
    }

    #[test]
    fn whole_numbers_in_every_spelling() {
        for (text, value) in [
            ("0", Some(0)),
            ("-0.000e9", Some(0)),
            ("007", Some(7)),
            ("+7.0", Some(7)),
            ("1e3", Some(1000)),
            ("12.5e1", Some(125)),
            ("-1200E-2", Some(-12)),
            ("18446744073709551616", Some(1 << 64)),
            ("1.5", None),
            ("1e38", None),
            ("1e-2147483648", None),
            ("1e99999999999", None),
            ("", None),
            (".", None),
            ("e1", None),
            ("1e", None),
            ("--1", None),
            ("inf", None),
        ] {
            assert_eq!(whole(text.as_bytes()), value, "{text}");
        }
        assert_eq!(scan_whole(b"x-012,", 1), Some((-12, 5)));
        assert_eq!(
            scan_whole(b"999999999999999999", 0),
            Some((999_999_999_999_999_999, 18))
        );
        assert_eq!(scan_whole(b"0000000000000000001", 0), None);
        assert_eq!((scan_whole(b"-", 0), scan_whole(b"+1", 0)), (None, None));
    }

    #[test]
    fn corners_agree_with_the_standard_library() {
        for text in [
            "",
            "-",
            "+",
            ".",
            "e",
            "-.",
            ".e1",
            "1e",
            "1e+",
            "1e-",
            "+-1",
            "-+1",
            "--1",
            "1.2.3",
            "1_0",
            " 1",
            "1 ",
            "0x1",
            "nan",
            "-nAn",
            "iNf",
            "9007199254740992",
            "9007199254740993",
            "9007199254740994",
            "18446744073709551616",
            "99999999999999999999",
            "1e22",
            "1e23",
            "1e-22",
            "1e-23",
            "123456789012345678901234567890",
            "0.000000000000000000000000000001",
            "00000000000000000000000001.5",
            "1e308",
            "1e309",
            "-1e400",
            "5e-324",
            "2e-324",
            "1e99999",
            "1e-99999",
            "12345678",
            "123456789",
            "1234567.8",
            "12345678.87654321",
            "1.7976931348623157e308",
        ] {
            same(text.as_bytes());
        }
        same(b"1\xff");
    }

    #[test]
    fn the_scan_stops_behind_the_number() {
        assert_eq!(scan(b"12.5,7\n\0\0\0\0\0\0\0\0", 0), Some((12.5, 4)));
        assert_eq!(scan(b"x-3\n\0\0\0\0\0\0\0\0", 1), Some((-3.0, 3)));
    }

    #[test]
    fn cells_are_numbers_missing_or_text() {
        assert!(matches!(Cell::read(b" 5\t"), Cell::Number(5.0)));
        assert!(matches!(Cell::read(b"  "), Cell::Missing));
        for cell in [&b"NaN"[..], b"nan", b"NA", b"null", b"None"] {
            assert!(matches!(Cell::read(cell), Cell::Missing));
        }
        for cell in [&b"-nan"[..], b"NAN", b"NULL", b"n/a"] {
            assert!(matches!(Cell::read(cell), Cell::Text));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn numbers_agree_with_the_standard_library(text in "[+-]{0,1}[0-9]{0,21}(\\.[0-9]{0,21}){0,1}([eE][+-]{0,1}[0-9]{0,4}){0,1}") {
            same(text.as_bytes());
        }

        #[test]
        fn short_numbers_agree_with_the_standard_library(text in "-{0,1}[0-9]{1,9}\\.{0,1}[0-9]{0,9}(e-{0,1}[0-9]){0,1}") {
            same(text.as_bytes());
        }

        #[test]
        fn any_bytes_agree_with_the_standard_library(bytes in proptest::collection::vec(prop_oneof![Just(b'1'), Just(b'.'), Just(b'e'), Just(b'-'), any::<u8>()], 0..30)) {
            same(&bytes);
        }

        #[test]
        fn every_float_reads_back(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(!value.is_nan());
            for text in [format!("{value}"), format!("{value:e}")] {
                prop_assert_eq!(parse_f64(text.as_bytes()).map(f64::to_bits), Some(bits), "{}", text);
            }
        }
    }
}
