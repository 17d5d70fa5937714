//! The table of small reports, and the types of its keys.

use super::super::{Named, example};
use super::*;
use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, Int64Type, TimeUnit, TimestampNanosecondType};

fn names(batch: &RecordBatch) -> Vec<String> {
    batch.schema().fields().iter().map(|f| f.name().clone()).collect()
}

#[test]
fn windows_and_keys_come_first_then_the_statistics() {
    let batch = long_table(&example::keyed_windows()).unwrap();
    assert_eq!(
        names(&batch),
        "station window_start window_end column count missing sum mean variance std skewness kurtosis min max"
            .split(' ')
            .collect::<Vec<_>>()
    );
    assert_eq!(batch.num_rows(), 6);
    let start = batch.column_by_name("window_start").unwrap();
    assert_eq!(
        start.data_type(),
        &DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
    );
    let start = start.as_primitive::<TimestampNanosecondType>();
    assert_eq!(start.value(2), example::START_NS + example::LENGTH_NS);
    assert_eq!(batch.column(0).as_string::<i32>().value(3), "b");
    assert_eq!(
        batch
            .column_by_name("mean")
            .unwrap()
            .as_primitive::<Float64Type>()
            .value(3),
        11.1
    );
    assert_eq!(
        batch
            .column_by_name("count")
            .unwrap()
            .as_primitive::<Int64Type>()
            .value(5),
        60
    );
}

#[test]
fn what_does_not_exist_is_null_and_quantiles_and_differences_have_columns() {
    let batch = long_table(&example::single()).unwrap();
    assert_eq!(
        names(&batch)[11..],
        [
            "quantile_0.5",
            "quantile_0.99",
            "differences_count",
            "differences_unordered",
            "differences_mean",
            "differences_variance",
            "differences_std",
            "differences_min",
            "differences_max"
        ]
    );
    let nulls = |name: &str| batch.column_by_name(name).unwrap().null_count();
    assert_eq!(
        (
            nulls("variance"),
            nulls("mean"),
            nulls("quantile_0.5"),
            nulls("differences_max")
        ),
        (1, 0, 1, 1)
    );
    let median = batch.column_by_name("quantile_0.5").unwrap();
    assert_eq!(median.as_primitive::<Float64Type>().value(0), 12.25);
    assert!(batch.column_by_name("window_start").is_none());
}

fn with_keys(name: &str, values: [KeyValue; 6]) -> RecordBatch {
    let mut report = example::keyed_windows();
    for (group, value) in report.groups.iter_mut().zip(values) {
        group.key = Some(Named::from_iter([(name.to_owned(), value)]));
    }
    long_table(&report).unwrap()
}

#[test]
fn keys_are_typed_by_their_values() {
    use KeyValue::{Boolean, Integer, Null, Number, Text};
    let text = |t: &str| Text(t.into());
    let n = || Null;
    let (low, high) = (i128::from(i64::MIN), i128::from(u64::MAX));
    for (values, data_type, nulls) in [
        (
            [Integer(1), Integer(2), n(), n(), n(), Integer(low)],
            DataType::Int64,
            3,
        ),
        ([Integer(1), Integer(high), n(), n(), n(), n()], DataType::UInt64, 4),
        ([Integer(-1), Integer(high), n(), n(), n(), n()], DataType::Utf8, 4),
        ([Integer(high + 1), n(), n(), n(), n(), n()], DataType::Utf8, 5),
        ([Integer(1), Number(0.5), n(), n(), n(), n()], DataType::Float64, 4),
        ([Integer(high), Number(0.5), n(), n(), n(), n()], DataType::Utf8, 4),
        (
            [Boolean(true), n(), Boolean(false), n(), n(), n()],
            DataType::Boolean,
            4,
        ),
        ([Boolean(true), Integer(1), text("x"), n(), n(), n()], DataType::Utf8, 3),
        ([n(), n(), n(), n(), n(), n()], DataType::Utf8, 6),
    ] {
        let batch = with_keys("k", values);
        assert_eq!(
            (batch.column(0).data_type(), batch.column(0).null_count()),
            (&data_type, nulls)
        );
    }
}

#[test]
fn a_key_named_like_a_statistic_gets_a_suffix() {
    let batch = with_keys("count", [0, 1, 2, 3, 4, 5].map(KeyValue::Integer));
    assert_eq!(
        batch.column(0).as_primitive::<Int64Type>().values()[..],
        [0, 1, 2, 3, 4, 5]
    );
    assert_eq!(names(&batch)[0], "count_key");
    assert_eq!(
        batch
            .column_by_name("count")
            .unwrap()
            .as_primitive::<Int64Type>()
            .value(0),
        60
    );
}

#[test]
fn row_windows_are_integers_and_an_empty_report_is_an_empty_table() {
    let mut report = example::keyed_windows();
    for group in &mut report.groups {
        group.window = Some(WindowBounds::Rows { start: 5, end: 9 });
    }
    let batch = long_table(&report).unwrap();
    assert_eq!(
        batch
            .column_by_name("window_end")
            .unwrap()
            .as_primitive::<Int64Type>()
            .value(0),
        9
    );
    report.groups.clear();
    assert_eq!(long_table(&report).unwrap().num_rows(), 0);
}
