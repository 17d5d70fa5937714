//! The edges of grouping: keys that are nearly the same, batches that do not fit the spec, the ends of time.

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray, UInt64Array};
use millstream::{Batch, Engine, Spec, Window};
use std::sync::Arc;

const SECOND: i64 = 1_000_000_000;

/// Rows 0, 1, 2, … of one column.
fn counted(rows: usize) -> Batch {
    Batch::from_columns([("x", (0..rows).map(|i| i as f64).collect())]).unwrap()
}

#[test]
fn keys_that_are_close_stay_apart() {
    // Neighbours that are one f64: as many groups as values.
    let big = 1i64 << 53;
    let integers = Arc::new(Int64Array::from(vec![big, big + 1, i64::MAX, i64::MAX - 1, i64::MIN]));
    let unsigned = Arc::new(UInt64Array::from(vec![
        1u64 << 53,
        (1 << 53) + 1,
        u64::MAX,
        u64::MAX - 1,
        0,
    ]));
    for array in [integers as ArrayRef, unsigned as ArrayRef] {
        let batch = counted(5).with_keys(vec![("k".into(), array)]).unwrap();
        let found = Engine::new(Spec::new().by(["k"]))
            .unwrap()
            .analyze(&batch)
            .unwrap()
            .groups;
        let mut texts: Vec<String> = found.iter().map(|g| format!("{:?}", g.key)).collect();
        texts.dedup();
        assert_eq!(texts.len(), 5, "{texts:?}");
    }
}

#[test]
fn batches_that_lack_what_the_spec_asks_for_are_refused() {
    let plain = counted(4);
    let key = |array: ArrayRef| plain.clone().with_keys(vec![("k".into(), array)]).unwrap();
    let timed = plain.clone().with_time_ns(vec![0, -1, 5, 2]).unwrap();
    let integers = key(Arc::new(Int64Array::from(vec![1, 2, 3, 4])));
    let window = Window::Time {
        size_ns: SECOND,
        slide_ns: SECOND,
    };
    let other_name = plain
        .clone()
        .with_keys(vec![(
            "other".into(),
            Arc::new(Int64Array::from(vec![1; 4])) as ArrayRef,
        )])
        .unwrap();
    for (spec, first, second) in [
        (Spec::new().by(["k"]), &integers, &plain),
        (
            Spec::new().by(["k"]),
            &integers,
            &key(Arc::new(Float64Array::from(vec![1.5; 4]))),
        ),
        (
            Spec::new().by(["k"]),
            &integers,
            &key(Arc::new(StringArray::from(vec!["a"; 4]))),
        ),
        (Spec::new().by(["k"]), &integers, &other_name),
        (Spec::new().window(window), &timed, &plain),
    ] {
        let mut engine = Engine::new(spec.clone()).unwrap();
        engine.push(first).unwrap();
        assert!(
            matches!(engine.push(second), Err(millstream::Error::Usage(_))),
            "{second:?}"
        );
        // What was taken before stays, and what was refused does not count.
        let report = engine.finish().unwrap();
        assert_eq!((report.rows, report.groups.iter().map(|g| g.rows).sum::<u64>()), (4, 4));
        assert!(Engine::new(spec).unwrap().push(second).is_err() || second.keys().first().is_some_and(|k| k.0 == "k"));
    }
}

#[test]
fn the_ends_of_time() {
    let all = Batch::from_columns([("x", vec![1.0, 2.0, 3.0])])
        .unwrap()
        .with_time_ns(vec![i64::MIN, 0, i64::MAX])
        .unwrap();
    for (size_ns, slide_ns) in [(1, 1), (10, 1), (7, 3), (i64::MAX, i64::MAX)] {
        let report = Engine::new(Spec::new().window(Window::Time { size_ns, slide_ns }))
            .unwrap()
            .analyze(&all)
            .unwrap();
        let rows: u64 = report.groups.iter().map(|g| g.rows).sum();
        assert!(rows >= 3, "{size_ns} {slide_ns}");
    }
}
