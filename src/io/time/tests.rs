//! Times in every notation, against a calendar of its own.

use super::*;
use arrow::array::{
    Date32Array, Decimal128Array, DictionaryArray, Float64Array, Int32Array, LargeStringArray, StringArray,
    StringViewArray, TimestampSecondArray, UInt64Array,
};
use arrow::datatypes::Int8Type;
use proptest::prelude::*;

const NOON_NS: i64 = 1_325_376_000_000_000_000 + 12 * 3600 * 1_000_000_000; // 2012-01-01T12:00:00Z

fn s(text: &str) -> Option<i64> {
    parse(text.as_bytes(), TimeUnit::Seconds)
}

#[test]
fn shapes_of_the_same_instant() {
    for text in [
        "2012-01-01T12:00:00Z",
        "2012-01-01t12:00:00z",
        "2012-01-01 12:00:00",
        "2012-01-01 12:00",
        "2012-01-01T12:00Z",
        "2012-01-01T12",
        " 2012-01-01T12:00:00.000 ",
        "2012-01-01T12:00:00,0Z",
        "2012-01-01 12:00:00 UTC",
        "2012-01-01 14:00:00+02:00",
        "2012-01-01 14:00:00 +0200",
        "2012-01-01T14:00:00+02",
        "2012-01-01T06:30:00-05:30",
        "2012-01-02T11:59:00+23:59",
        "+002012-01-01T12:00:00Z",
        "1325419200",
        "1325419200.0",
        "13254192e2",
        "+1.3254192E+9",
    ] {
        assert_eq!(s(text), Some(NOON_NS), "{text}");
    }
}

#[test]
fn fractions_are_exact_and_cut_below_the_nanosecond() {
    assert_eq!(s("1970-01-01T00:00:01.123456789"), Some(1_123_456_789));
    assert_eq!(s("1970-01-01T00:00:01.1234567899999"), Some(1_123_456_789));
    assert_eq!(s("1969-12-31T23:59:59.9"), Some(-100_000_000));
    assert_eq!(s("1.1234567899999"), Some(1_123_456_789));
    assert_eq!(s("-0.1"), Some(-100_000_000));
    assert_eq!(s(".5"), Some(500_000_000));
    assert_eq!(s("5."), Some(5_000_000_000));
    assert_eq!(s("1e-400"), Some(0));
    assert_eq!(parse(b"9223372036854775807", TimeUnit::Nanoseconds), Some(i64::MAX));
    assert_eq!(parse(b"-9223372036854775808", TimeUnit::Nanoseconds), Some(i64::MIN));
    assert_eq!(
        parse(b"1325376000123", TimeUnit::Milliseconds),
        Some(1_325_376_000_123_000_000)
    );
    assert_eq!(parse(b"1.0015", TimeUnit::Microseconds), Some(1001));
    assert_eq!(s(&format!("{}7", "0".repeat(50))), Some(7_000_000_000));
}

#[test]
fn what_is_no_time_is_none() {
    for text in [
        "",
        " ",
        "noon",
        "NaN",
        "inf",
        "-",
        ".",
        "1e",
        "e5",
        "1.2.3",
        "0x10",
        "1_000",
        "9223372037",
        "1e30",
        "1e2147483647",
        "2012-13-01",
        "2012-02-30",
        "2011-02-29",
        "2012-00-10",
        "2012-01-01T24:00:00",
        "2012-01-01T12:60",
        "2012-01-01T12:00:00+99:00",
        "2012-01-01T12:00:00.",
        "2012-01-01x12:00",
        "2012-01-01T12:00:00Zz",
        "2262-04-12",
        "1677-09-20",
        "9999-12-31",
        "2012-01-01\u{a0}12:00",
    ] {
        assert_eq!(s(text), None, "{text:?}");
    }
    assert_eq!(parse(b"2012-01-01\xff", TimeUnit::Seconds), None);
    assert_eq!(parse(b"9223372036854775808", TimeUnit::Nanoseconds), None);
}

#[test]
fn the_leap_second_is_left_to_jiff() {
    assert_eq!(s("2016-12-31T23:59:60Z"), s("2016-12-31T23:59:59Z"));
}

#[test]
fn a_zone_in_brackets_needs_an_offset_that_fits() {
    use Unreadable::{NoOffset, NoTime, OffsetConflict, UnknownZone};
    for text in [
        "2012-01-01T13:00:00+01:00[Europe/Berlin]",
        "2012-01-01 13:00:00+01:00[!Europe/Berlin]",
        "2012-01-01T12:00:00Z[Europe/Berlin]",
        "2012-01-01T13:00:00+01:00[+01:00]",
        "2012-01-01T13:00:00+01:00[Europe/Berlin][u-ca=gregory]",
        "2012-01-01T12:00:00+00:00[UTC]",
        "2012-01-01T12:00:00Z[u-ca=gregory]",
        "2012-01-01T12:00:00[u-ca=gregory]",
    ] {
        assert_eq!(s(text), Some(NOON_NS), "{text}");
    }
    // The hour that Berlin has twice: the offset decides.
    let twice = |offset| s(&format!("2023-10-29T02:30:00{offset}[Europe/Berlin]")).unwrap();
    assert_eq!(twice("+01:00") - twice("+02:00"), 3600 * 1_000_000_000);
    for (text, why) in [
        ("2012-01-01T12:00:00[Europe/Berlin]", NoOffset),
        ("2012-01-01[Europe/Berlin]", NoOffset),
        ("2012-01-01T12:00:00[+01:00]", NoOffset),
        ("2012-01-01T12:00:00[UTC]", NoOffset),
        ("2012-07-01T13:00:00+01:00[Europe/Berlin]", OffsetConflict),
        ("2012-01-01T13:00:00+01:00[+02:00]", OffsetConflict),
        ("2012-01-01T12:00:00+01:00[Europe/Atlantis]", UnknownZone),
        ("soon[Europe/Berlin]", NoTime),
        ("2012-01-01T12:00:00+01:00[Europe/Berlin", NoTime),
        ("2012[Europe/Berlin]", NoTime),
    ] {
        assert_eq!(read(text.as_bytes(), TimeUnit::Seconds), Err(why), "{text}");
    }
}

#[test]
fn what_is_out_of_range_is_told_from_what_is_no_time() {
    for text in [
        "9999-12-31T23:59:59Z",
        "9999-12-31",
        "0000-01-01",
        "2262-04-12T00:00",
        "1677-09-21T00:12:43.145224191Z",
        "9223372037",
        "-1e30",
        "1e100",
        "+009999-12-31T23:59:59",
    ] {
        assert_eq!(
            read(text.as_bytes(), TimeUnit::Seconds),
            Err(Unreadable::OutOfRange),
            "{text}"
        );
    }
    assert_eq!(s("1677-09-21T00:12:43.145224192Z"), Some(i64::MIN));
    assert_eq!(s("2262-04-11T23:47:16.854775807Z"), Some(i64::MAX));
    for text in ["soon", "2012-13-01", "1e", "inf"] {
        assert_eq!(
            read(text.as_bytes(), TimeUnit::Seconds),
            Err(Unreadable::NoTime),
            "{text}"
        );
    }
}

#[test]
fn every_column_type_gives_the_same_instants() {
    let want: TimestampNanosecondArray = [Some(86_400_000_000_000), None, Some(0)].into_iter().collect();
    let day = [Some("1970-01-02"), None, Some("1970-01-01T00:00Z")];
    let columns: Vec<ArrayRef> = vec![
        std::sync::Arc::new(Date32Array::from(vec![Some(1), None, Some(0)])),
        std::sync::Arc::new(TimestampSecondArray::from(vec![Some(86_400), None, Some(0)]).with_timezone("+02:00")),
        std::sync::Arc::new(Int32Array::from(vec![Some(86_400), None, Some(0)])),
        std::sync::Arc::new(UInt64Array::from(vec![Some(86_400), Some(u64::MAX), Some(0)])),
        std::sync::Arc::new(Float64Array::from(vec![Some(86_400.0), Some(f64::NAN), Some(0.0)])),
        std::sync::Arc::new(
            Decimal128Array::from(vec![Some(8_640_000), None, Some(0)])
                .with_precision_and_scale(20, 2)
                .unwrap(),
        ),
        std::sync::Arc::new(StringArray::from(day.to_vec())),
        std::sync::Arc::new(LargeStringArray::from(day.to_vec())),
        std::sync::Arc::new(StringViewArray::from(vec![day[0], Some("soon"), day[2]])),
        std::sync::Arc::new(day.into_iter().collect::<DictionaryArray<Int8Type>>()),
        std::sync::Arc::new(want.clone().with_timezone("+02:00")),
    ];
    for column in columns {
        let got = column_to_ns(&column, TimeUnit::Seconds).unwrap();
        assert_eq!(got, want, "{}", column.data_type());
        assert!(is_readable(column.data_type()));
    }
}

#[test]
fn a_float_means_its_shortest_decimal() {
    let column = Float64Array::from(vec![1_325_376_000.123, 0.1, -0.5, 1e300]);
    let got = column_to_ns(&column, TimeUnit::Seconds).unwrap();
    assert_eq!(
        got.iter().collect::<Vec<_>>(),
        [
            Some(1_325_376_000_123_000_000),
            Some(100_000_000),
            Some(-500_000_000),
            None
        ]
    );
}

#[test]
fn floats_at_the_end_of_the_range() {
    let column = Float64Array::from(vec![9_223_372_036_854_774_784.0, 9_223_372_036_854_775_808.0, -9.3e18]);
    let got = column_to_ns(&column, TimeUnit::Nanoseconds).unwrap();
    assert_eq!(
        got.iter().collect::<Vec<_>>(),
        [Some(9_223_372_036_854_774_784), None, None]
    );
}

#[test]
fn booleans_hold_no_times() {
    let error = column_to_ns(&arrow::array::BooleanArray::from(vec![true]), TimeUnit::Seconds).unwrap_err();
    assert!(matches!(error, Error::Usage(_)) && error.to_string().contains("Boolean"));
    assert!(!is_readable(&DataType::Boolean));
}

proptest! {
    #[test]
    fn what_jiff_prints_reads_back(ns in any::<i64>(), offset_minutes in -1439_i32..1440) {
        let instant = jiff::Timestamp::from_nanosecond(i128::from(ns)).unwrap();
        prop_assert_eq!(s(&instant.to_string()), Some(ns));
        let offset = jiff::tz::Offset::from_seconds(offset_minutes * 60).unwrap();
        let shown = instant.display_with_offset(offset).to_string();
        prop_assert_eq!(s(&shown), Some(ns), "{}", shown);
        prop_assert_eq!(common(shown.as_bytes()), Ok(ns), "{} takes the slow path", shown);
        prop_assert_eq!(s(&shown.replace('T', " ")), Some(ns));
    }

    #[test]
    fn both_paths_agree_on_near_misses(text in "[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-2][0-9]:[0-6][0-9](:[0-6][0-9](\\.[0-9]{1,9})?)?(Z|[+-][0-2][0-9]:?[0-6][0-9])?)?") {
        if let Ok(ns) = common(text.as_bytes()) {
            prop_assert_eq!(uncommon(text.as_bytes()), Ok(ns), "{}", text);
        }
    }

    #[test]
    fn integers_are_exact_in_every_unit(x in any::<i64>()) {
        let text = x.to_string();
        prop_assert_eq!(parse(text.as_bytes(), TimeUnit::Nanoseconds), Some(x));
        prop_assert_eq!(parse(text.as_bytes(), TimeUnit::Microseconds), x.checked_mul(1_000));
        prop_assert_eq!(s(&text), x.checked_mul(1_000_000_000));
    }

    #[test]
    fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40), text in "[0-9T:+eE., Z-]{0,40}") {
        let _ = parse(&bytes, TimeUnit::Seconds);
        let _ = parse(text.as_bytes(), TimeUnit::Milliseconds);
    }
}
