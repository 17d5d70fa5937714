//! Every type of column, and what becomes of it.

use super::*;
use arrow::array::{AsArray, Decimal128Array, Float32Array, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{Float32Type, Float64Type, Int8Type, TimestampNanosecondType};

fn shape(fields: Vec<Field>, time: Option<&str>, bad_rows: BadRows) -> Result<Shape> {
    let options = ReadOptions {
        time: time.map(|t| (t.to_owned(), TimeUnit::Seconds)),
        bad_rows,
        ..ReadOptions::default()
    };
    Shape::new("f", &Schema::new(fields), &options)
}

#[test]
fn floats_keep_their_buffers_and_numbers_become_floats() {
    let fields = vec![
        Field::new("f32", DataType::Float32, true),
        Field::new("i", DataType::Int64, true),
        Field::new("d", DataType::Decimal128(10, 2), true),
        Field::new("list", DataType::new_list(DataType::Int8, true), true),
        Field::new("nothing", DataType::Null, true),
    ];
    let shape = shape(fields, None, BadRows::Fail).unwrap();
    assert_eq!(shape.wanted(), [0, 1, 2, 4]);
    let types: Vec<_> = shape.schema().fields().iter().map(|f| f.data_type().clone()).collect();
    let f64s = || DataType::Float64;
    assert_eq!(types, [DataType::Float32, f64s(), f64s(), f64s()]);
    let f32s: ArrayRef = Arc::new(Float32Array::from(vec![1.5, 2.5]));
    let decimals = Decimal128Array::from(vec![Some(-12_345), None])
        .with_precision_and_scale(10, 2)
        .unwrap();
    let columns = [
        shape.convert(0, &f32s).unwrap(),
        shape
            .convert(1, &(Arc::new(Int64Array::from(vec![Some(3), None])) as ArrayRef))
            .unwrap(),
        shape.convert(2, &(Arc::new(decimals) as ArrayRef)).unwrap(),
        shape
            .convert(4, &arrow::array::new_null_array(&DataType::Null, 2))
            .unwrap(),
    ];
    let (batch, rejected) = shape.assemble(&columns, 2, 0).unwrap();
    assert!(rejected.is_empty());
    let same = batch.column(0).as_primitive::<Float32Type>().values().as_ptr();
    assert_eq!(same, f32s.as_primitive::<Float32Type>().values().as_ptr());
    assert_eq!(
        batch.column(1).as_ref(),
        &Float64Array::from(vec![Some(3.0), None]) as &dyn Array
    );
    assert_eq!(batch.column(2).as_primitive::<Float64Type>().value(0), -123.45);
    assert_eq!(batch.column(3).null_count(), 2);
}

#[test]
fn keys_are_not_rounded() {
    let dictionary = |values: DataType| DataType::Dictionary(Box::new(DataType::Int8), Box::new(values));
    for (own, of_key) in [
        (DataType::Int64, DataType::Int64),
        (DataType::UInt8, DataType::Int64),
        (DataType::UInt64, DataType::UInt64),
        (DataType::Decimal256(50, 3), DataType::Decimal256(50, 3)),
        (dictionary(DataType::UInt64), DataType::UInt64),
        (dictionary(DataType::Decimal32(9, 2)), DataType::Decimal32(9, 2)),
        (DataType::Float64, DataType::Float64),
        (DataType::Float16, DataType::Float32),
    ] {
        assert_eq!(batch_type(&own, true), Some(of_key), "{own}");
    }
    let options = ReadOptions {
        keys: vec!["k".into()],
        ..ReadOptions::default()
    };
    let fields = ["k", "x"].map(|name| Field::new(name, DataType::UInt32, true));
    let shape = Shape::new("f", &Schema::new(fields.to_vec()), &options).unwrap();
    let types: Vec<_> = shape.schema().fields().iter().map(|f| f.data_type().clone()).collect();
    assert_eq!(types, [DataType::Int64, DataType::Float64]);
}

#[test]
fn rows_without_a_time_are_rejected_with_number_column_and_reason() {
    let fields = vec![
        Field::new("t", DataType::Utf8, true),
        Field::new("x", DataType::Float64, false),
    ];
    let times: ArrayRef = Arc::new(StringArray::from(vec![
        Some("1970-01-01"),
        Some("soon"),
        None,
        Some("2"),
    ]));
    let xs: ArrayRef = Arc::new(Float64Array::from(vec![0.0, 1.0, 2.0, 3.0]));
    for select_time in [true, false] {
        let mut shape = shape(fields.clone(), Some("t"), BadRows::Skip).unwrap();
        let names: &[_] = if select_time {
            &["x".to_owned(), "t".to_owned()]
        } else {
            &["x".to_owned()]
        };
        shape.select(names).unwrap();
        let columns = [shape.convert(0, &times).unwrap(), shape.convert(1, &xs).unwrap()];
        let (batch, rejected) = shape.assemble(&columns, 4, 100).unwrap();
        assert_eq!(batch.column(0).as_primitive::<Float64Type>().values(), &[0.0, 3.0]);
        if select_time {
            let times = batch.column(1).as_primitive::<TimestampNanosecondType>();
            assert_eq!(times.values(), &[0, 2_000_000_000]);
            assert!(!batch.schema().field(1).is_nullable());
        }
        let seen: Vec<_> = rejected
            .iter()
            .map(|r| (r.line, r.column.as_deref(), r.bytes.as_slice()))
            .collect();
        assert_eq!(seen, [(102, Some("t"), &b"soon"[..]), (103, Some("t"), &b""[..])]);
    }
    let strict = shape(fields, Some("t"), BadRows::Fail).unwrap();
    let columns = [strict.convert(0, &times).unwrap(), strict.convert(1, &xs).unwrap()];
    assert!(matches!(strict.assemble(&columns, 4, 0), Err(Error::Row(bad)) if bad.line == 2));
}

#[test]
fn the_reason_says_why_a_cell_is_no_time() {
    use arrow::array::{Date32Array, DictionaryArray, Int32Array, TimestampSecondArray};
    let columns: Vec<(ArrayRef, &str)> = vec![
        (Arc::new(StringArray::from(vec!["soon"])), "not a time"),
        (Arc::new(StringArray::from(vec!["9999-12-31"])), "2262-04-11"),
        (
            Arc::new(StringArray::from(vec!["2024-01-01T00:00[Europe/Berlin]"])),
            "offset",
        ),
        (
            Arc::new(["soon"].into_iter().collect::<DictionaryArray<Int8Type>>()),
            "not a time",
        ),
        (
            Arc::new(["9999-12-31"].into_iter().collect::<DictionaryArray<Int8Type>>()),
            "2262-04-11",
        ),
        (Arc::new(Int64Array::from(vec![i64::MAX])), "2262-04-11"),
        (Arc::new(Float64Array::from(vec![1e300])), "2262-04-11"),
        (Arc::new(Float64Array::from(vec![f64::NAN])), "not a time"),
        (Arc::new(Date32Array::from(vec![2_932_896])), "2262-04-11"),
        (Arc::new(TimestampSecondArray::from(vec![i64::MAX])), "2262-04-11"),
        (Arc::new(Int32Array::from(vec![None])), "missing"),
    ];
    for (times, want) in columns {
        let fields = vec![Field::new("t", times.data_type().clone(), true)];
        let shape = shape(fields, Some("t"), BadRows::Skip).unwrap();
        let (_, rejected) = shape.assemble(&[shape.convert(0, &times).unwrap()], 1, 0).unwrap();
        assert!(rejected[0].reason.contains(want), "{times:?}: {:?}", rejected[0]);
    }
}

#[test]
fn what_cannot_be_asked_for() {
    let x = || Field::new("x", DataType::Boolean, true);
    assert!(matches!(shape(vec![x()], Some("t"), BadRows::Fail), Err(Error::Usage(m)) if m.contains("`x`")));
    assert!(matches!(shape(vec![x()], Some("x"), BadRows::Fail), Err(Error::Usage(m)) if m.contains("no times")));
    assert!(matches!(shape(vec![x(), x()], None, BadRows::Fail), Err(Error::Data(m)) if m.contains("two columns")));
    assert!(
        shape(vec![x()], None, BadRows::Fail)
            .unwrap()
            .select(&["y".into()])
            .is_err()
    );
}

#[test]
fn dictionaries_of_text_stay_and_of_numbers_do_not() {
    let of = |values| DataType::Dictionary(Box::new(DataType::Int8), Box::new(values));
    assert_eq!(batch_type(&of(DataType::Utf8), false), Some(of(DataType::Utf8)));
    assert_eq!(batch_type(&of(DataType::Int64), false), Some(DataType::Float64));
    let array: ArrayRef = Arc::new(
        ["a", "b"]
            .into_iter()
            .collect::<arrow::array::DictionaryArray<Int8Type>>(),
    );
    let shape = shape(vec![Field::new("k", of(DataType::Utf8), true)], None, BadRows::Fail).unwrap();
    let (batch, _) = shape.assemble(&[shape.convert(0, &array).unwrap()], 2, 0).unwrap();
    assert_eq!(batch.column(0).data_type(), &of(DataType::Utf8));
}

#[test]
fn no_column_at_all_still_counts_rows() {
    let mut shape = shape(vec![Field::new("x", DataType::Float64, true)], None, BadRows::Fail).unwrap();
    shape.select(&[]).unwrap();
    assert!(shape.wanted().is_empty());
    assert_eq!(shape.assemble(&[], 7, 0).unwrap().0.num_rows(), 7);
}
