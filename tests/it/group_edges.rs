//! The edges of grouping: keys that are nearly the same, batches that do not fit the spec, the ends of time.

use arrow::array::{ArrayRef, Float64Array, Int64Array, NullArray, StringArray, UInt64Array};
use millstream::report::WindowBounds;
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
    for (size_ns, slide_ns) in [(1, 1), (10, 1), (7, 3), (1 << 62, 1 << 62)] {
        let report = Engine::new(Spec::new().window(Window::Time { size_ns, slide_ns }))
            .unwrap()
            .analyze(&all)
            .unwrap();
        // Every window holds the rows between its bounds, which are cut at the ends of time.
        let mut found = [false; 3];
        for group in &report.groups {
            let Some(WindowBounds::Time { start_ns, end_ns }) = group.window else {
                panic!("{:?}", group.window);
            };
            let inside = |t: i64| start_ns <= t && (t < end_ns || end_ns == i64::MAX);
            let held = [i64::MIN, 0, i64::MAX].map(inside);
            let rows = held.iter().filter(|h| **h).count() as u64;
            assert_eq!(group.rows, rows, "{size_ns} {slide_ns} {:?}", group.window);
            (0..3).for_each(|i| found[i] |= held[i]);
        }
        assert_eq!(found, [true; 3], "{size_ns} {slide_ns}");
    }
}

#[test]
fn event_time_neither_comes_nor_goes() {
    let plain = counted(10);
    let timed = plain
        .clone()
        .with_time_ns((0..10).map(|i| i * SECOND).collect())
        .unwrap();
    for (first, second, says) in [
        (&plain, &timed, "this one has one"),
        (&timed, &plain, "this one has none"),
    ] {
        let mut engine = Engine::new(Spec::new().differences()).unwrap();
        engine.push(first).unwrap();
        let error = engine.push(second).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
        // What was refused is not there.
        let report = engine.finish().unwrap();
        assert_eq!((report.rows, report.groups[0].rows), (10, 10));
    }
}

#[test]
fn nothing_is_asked_for_twice() {
    let spec = Spec::new;
    for spec in [
        spec().columns(["x", "y", "x"]),
        spec().by(["k", "k"]),
        spec().quantiles(&[0.5, 0.9, 0.5]),
        spec().regression("y", &["x", "x"]),
    ] {
        let error = Engine::new(spec).err().unwrap();
        assert!(
            matches!(&error, millstream::Error::Usage(m) if m.contains("twice")),
            "{error}"
        );
    }
}

#[test]
fn another_type_that_says_the_same_is_taken() {
    let key = |array: ArrayRef| counted(4).with_keys(vec![("k".into(), array)]).unwrap();
    let integers = key(Arc::new(Int64Array::from(vec![1, 2, 1, 3])));
    let floats = key(Arc::new(Float64Array::from(vec![3.0, 1.0, 1.0, 2.0])));
    let missing = key(Arc::new(NullArray::new(4)));
    for batches in [[&integers, &floats, &missing], [&floats, &missing, &integers]] {
        let mut engine = Engine::new(Spec::new().by(["k"])).unwrap();
        batches.iter().for_each(|b| drop(engine.push(b).unwrap()));
        let rows: Vec<u64> = engine.finish().unwrap().groups.iter().map(|g| g.rows).collect();
        assert_eq!(rows, [4, 4, 2, 2]);
    }
}
