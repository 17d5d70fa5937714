//! Batches from Arrow and from vectors, sliced, filtered and collected.

use super::*;
use arrow::array::{Float32Array, Float64Array, Int64Array, StringArray};

#[test]
fn floats_are_not_copied() {
    let a = Float64Array::from(vec![1.0, 2.0, 3.0]);
    let b = Float32Array::from(vec![Some(1.0), None, Some(3.0)]);
    let pointers = (a.values().as_ptr(), b.values().as_ptr());
    let record = RecordBatch::try_from_iter([("a", Arc::new(a) as ArrayRef), ("b", Arc::new(b) as ArrayRef)]).unwrap();
    let batch = Batch::try_from(&record).unwrap();
    match (&batch.columns()[0].values, &batch.columns()[1].values) {
        (Values::F64(a), Values::F32(b)) => assert_eq!((a.as_ptr(), b.as_ptr()), pointers),
        other => panic!("{other:?}"),
    }
    assert!(batch.columns()[1].get(1).is_nan());
    assert_eq!(batch.slice(1, 2).columns()[1].get(1), 3.0);
}

#[test]
fn integers_are_widened_and_text_is_left_out() {
    let record = RecordBatch::try_from_iter([
        ("i", Arc::new(Int64Array::from(vec![1, -2])) as ArrayRef),
        ("s", Arc::new(StringArray::from(vec!["a", "b"])) as ArrayRef),
    ])
    .unwrap();
    let batch = Batch::try_from(&record).unwrap();
    assert_eq!(batch.names(), ["i"]);
    assert_eq!(batch.columns()[0].get(1), -2.0);
    let error = Batch::from_record_batch(&record, Some(&["s".into()]), &[], None).unwrap_err();
    assert!(matches!(error, Error::Usage(m) if m.contains("`s`")));
}

#[test]
fn lengths_and_names_must_agree() {
    assert!(Batch::from_columns([("a", vec![1.0]), ("b", vec![])]).is_err());
    assert!(Batch::from_columns([("a", vec![1.0]), ("a", vec![2.0])]).is_err());
}

#[test]
fn a_builder_gives_back_what_it_got() {
    let record = RecordBatch::try_from_iter([
        (
            "a",
            Arc::new(Float64Array::from(vec![Some(1.0), None, Some(3.0)])) as ArrayRef,
        ),
        ("b", Arc::new(Float32Array::from(vec![4.0, 5.0, 6.0])) as ArrayRef),
    ])
    .unwrap();
    let batch = Batch::try_from(&record).unwrap();
    let mut builder = BatchBuilder::default();
    builder.append(&batch, 0, 2);
    builder.append(&batch, 2, 1);
    let back = builder.take();
    assert_eq!((back.rows(), builder.rows()), (3, 0));
    assert!(back.columns()[0].get(1).is_nan());
    assert_eq!((back.columns()[0].get(2), back.columns()[1].get(1)), (3.0, 5.0));
}
