//! The edges of grouping: keys that are nearly the same, batches that do not fit the spec, the ends of time.

use arrow::array::{
    ArrayRef, BinaryArray, Date32Array, Date64Array, Decimal128Array, Decimal256Array, DictionaryArray,
    FixedSizeBinaryArray, Float64Array, Int32Array, Int64Array, NullArray, StringArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray, UInt64Array,
};
use arrow::datatypes::{Int8Type, i256};
use millstream::report::{ColumnReport, Group, KeyValue, WindowBounds};
use millstream::{Batch, Engine, Error, Spec, Summary, Window};
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
        assert!(matches!(engine.push(second), Err(Error::Usage(_))), "{second:?}");
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
        assert!(matches!(&error, Error::Usage(m) if m.contains("twice")), "{error}");
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

/// The batch of [`counted`] rows whose key `k` is this.
fn keyed(array: ArrayRef) -> Batch {
    counted(array.len()).with_keys(vec![("k".into(), array)]).unwrap()
}

/// The keys of the groups and their rows, in the order of the report.
fn groups(batches: &[Batch]) -> Vec<(KeyValue, u64)> {
    let mut engine = Engine::new(Spec::new().by(["k"])).unwrap();
    batches.iter().for_each(|b| drop(engine.push(b).unwrap()));
    let key = |g: Group| (g.key.unwrap().get("k").unwrap().clone(), g.rows);
    engine.finish().unwrap().groups.into_iter().map(key).collect()
}

fn text(text: &str) -> KeyValue {
    KeyValue::Text(text.into())
}

#[test]
fn decimals_are_keys_to_their_last_digit_and_in_their_order() {
    let decimals = |values: Vec<i128>, scale| -> ArrayRef {
        let array = Decimal128Array::from(values);
        Arc::new(array.with_precision_and_scale(38, scale).unwrap())
    };
    let big = 100_000_000_000_000_000_000;
    let integer = KeyValue::Integer;
    assert_eq!(
        groups(&[keyed(decimals(vec![big + 2, big + 1, 9, 10, -1], 0))]),
        [-1, 9, 10, big + 1, big + 2].map(|i| (integer(i), 1))
    );
    // Where one digit is a fraction of what `f64` holds, the digits are the key; 250 and 300 are plain numbers.
    let fractions = decimals(vec![big + 1, big + 3, 250, 300, 250], 2);
    let want = [
        (KeyValue::Number(2.5), 2),
        (integer(3), 1),
        (text("1000000000000000000.01"), 1),
        (text("1000000000000000000.03"), 1),
    ];
    assert_eq!(groups(&[keyed(fractions.clone())]), want);
    // Another precision says the same, another scale too where no digit is lost.
    let narrow = Decimal128Array::from(vec![25, 30])
        .with_precision_and_scale(5, 1)
        .unwrap();
    let got = groups(&[keyed(fractions), keyed(Arc::new(narrow))]);
    assert_eq!((got.len(), got[0].1, got[1].1), (4, 3, 2));
    let negative = keyed(decimals(vec![7, 8], -2));
    assert_eq!(groups(&[negative]), [(integer(700), 1), (integer(800), 1)]);
    let wide = Decimal256Array::from(vec![i256::MAX, i256::from_i128(big + 1), i256::from_i128(big)]);
    let wide = groups(&[keyed(Arc::new(wide.with_precision_and_scale(76, 0).unwrap()))]);
    assert_eq!((wide.len(), &wide[0].0), (3, &integer(big)));
}

#[test]
fn instants_of_every_unit_are_keys_beyond_the_range_of_nanoseconds_too() {
    const LAST_DAY: i32 = 2_932_896;
    let days = |d: i32| i64::from(d) * 86_400;
    let both = [LAST_DAY, LAST_DAY - 1];
    let arrays: [ArrayRef; 6] = [
        Arc::new(Date32Array::from(both.to_vec())),
        Arc::new(Date64Array::from_iter_values(both.map(|d| days(d) * 1000))),
        Arc::new(TimestampSecondArray::from_iter_values(both.map(days))),
        Arc::new(TimestampMillisecondArray::from_iter_values(
            both.map(|d| days(d) * 1000),
        )),
        Arc::new(TimestampMicrosecondArray::from_iter_values(both.map(|d| days(d) * 1_000_000)).with_timezone("UTC")),
        Arc::new(TimestampSecondArray::from(vec![i64::MAX, i64::MIN])),
    ];
    for array in &arrays[..5] {
        assert_eq!(
            groups(&[keyed(array.clone())]),
            [(text("9999-12-30T00:00:00Z"), 1), (text("9999-12-31T00:00:00Z"), 1)],
            "{:?}",
            array.data_type()
        );
    }
    assert_eq!(groups(&[keyed(arrays[5].clone())]).len(), 2);
    // The same instants in another unit are the same keys.
    let near = keyed(Arc::new(TimestampNanosecondArray::from(vec![0, 1])));
    let got = groups(&[keyed(arrays[0].clone()), keyed(arrays[2].clone()), near]);
    assert_eq!(got.iter().map(|g| g.1).collect::<Vec<_>>(), [1, 1, 2, 2]);
    assert_eq!(got[1].0, text("1970-01-01T00:00:00.000000001Z"));
}

#[test]
fn bytes_are_keys_as_hexadecimal_and_what_has_parts_is_none() {
    let bytes: [ArrayRef; 2] = [
        Arc::new(BinaryArray::from(vec![&b"\xff"[..], b"\xfe", b"", b"\xff"])),
        Arc::new(FixedSizeBinaryArray::try_from_iter([b"\xff", b"\xfe"].into_iter()).unwrap()),
    ];
    assert_eq!(
        groups(&bytes.map(keyed)),
        [(text(""), 1), (text("fe"), 2), (text("ff"), 3)]
    );
    let list = arrow::array::ListArray::from_iter_primitive::<Int8Type, _, _>([Some([Some(1)])]);
    let refused = Engine::new(Spec::new().by(["k"])).unwrap().push(&keyed(Arc::new(list)));
    assert!(matches!(refused, Err(Error::Usage(m)) if m.contains("`k`") && m.contains("List")));
}

#[test]
fn unsigned_and_dictionary_keys_are_numbers_in_their_order() {
    let unsigned = UInt64Array::from(vec![u64::MAX, 9, 1 << 63, u64::MAX - 1]);
    assert_eq!(
        groups(&[keyed(Arc::new(unsigned))]),
        [9, 1 << 63, u64::MAX - 1, u64::MAX].map(|i| (KeyValue::Integer(i.into()), 1))
    );
    let places = arrow::array::Int8Array::from(vec![Some(0), Some(1), None, Some(0)]);
    let dictionary = DictionaryArray::<Int8Type>::new(places, Arc::new(Int32Array::from(vec![10, 9])));
    assert_eq!(
        groups(&[keyed(Arc::new(dictionary))]),
        [
            (KeyValue::Null, 1),
            (KeyValue::Integer(9), 1),
            (KeyValue::Integer(10), 2)
        ]
    );
}

#[test]
fn the_first_value_decides_the_type_of_a_key() {
    let nothing = || keyed(Arc::new(NullArray::new(3)));
    let integers = keyed(Arc::new(Int64Array::from(vec![Some(10), Some(9), None])));
    let dates = keyed(Arc::new(Date32Array::from(vec![0])));
    assert_eq!(
        groups(&[nothing(), integers, nothing()]),
        [
            (KeyValue::Null, 7),
            (KeyValue::Integer(9), 1),
            (KeyValue::Integer(10), 1)
        ]
    );
    let want = [(KeyValue::Null, 6), (text("1970-01-01T00:00:00Z"), 1)];
    assert_eq!(groups(&[nothing(), nothing(), dates]), want);
    assert_eq!(groups(&[nothing()]), [(KeyValue::Null, 3)]);
}

#[test]
fn nothing_of_a_refused_batch_counts() {
    let mut engine = Engine::new(Spec::new().by(["k"])).unwrap();
    let integers = keyed(Arc::new(Int64Array::from(vec![1, 2, 3])));
    engine.push(&integers).unwrap();
    // The last row alone cannot be an integer, far behind the first rows that are reduced at once.
    let mut floats = vec![1.0; (1 << 18) + 9];
    floats.push(0.5);
    let refused = engine.push(&keyed(Arc::new(Float64Array::from(floats))));
    assert!(matches!(refused, Err(Error::Usage(_))), "{refused:?}");
    engine.push(&integers).unwrap();
    let report = engine.finish().unwrap();
    assert_eq!(report.rows, 6);
    assert_eq!(report.groups.iter().map(|g| g.rows).collect::<Vec<_>>(), [2, 2, 2]);
    // Nor does one that was to be the first decide what columns there are.
    let list = arrow::array::ListArray::from_iter_primitive::<Int8Type, _, _>([Some([Some(1)])]);
    let other = Batch::from_columns([("y", vec![1.0])]).unwrap();
    let other = other.with_keys(vec![("k".into(), Arc::new(list) as ArrayRef)]).unwrap();
    assert!(engine.push(&other).is_err());
    engine.push(&integers).unwrap();
}

/// What is said of the memory before the end covers the windows and groups that come of it at the end.
#[test]
fn the_memory_of_windows_and_report_is_known_before_they_are_made() {
    let size_of_groups = |groups: &[Group]| {
        let columns: usize = groups.iter().map(|g| g.columns.len()).sum();
        groups.len() * (size_of::<Group>() + size_of::<Summary>()) + columns * size_of::<ColumnReport>()
    };
    for (size, slide) in [(1, 1), (60, 60), (60, 1), (60, 7)] {
        // Rows of two keys, close to each other and far apart.
        for distance in [1, 1000] {
            let times = (0..500i64).map(|i| i * distance * SECOND).collect();
            let keys = Int64Array::from_iter_values((0..500).map(|i| i % 2));
            let batch = Batch::from_columns([("x", vec![1.0; 500])]).unwrap();
            let batch = batch
                .with_time_ns(times)
                .unwrap()
                .with_keys(vec![("k".to_string(), Arc::new(keys) as ArrayRef)])
                .unwrap();
            let window = Window::Time {
                size_ns: size * SECOND,
                slide_ns: slide * SECOND,
            };
            let mut engine = Engine::new(Spec::new().by(["k"]).window(window)).unwrap();
            engine.push(&batch).unwrap();
            let said = engine.memory_bytes() as usize;
            let groups = engine.finish().unwrap().groups;
            let made = size_of_groups(&groups);
            let what = format!(
                "{size} s every {slide} s, rows every {distance} s: {} groups",
                groups.len()
            );
            assert!(said >= made, "{what}: {said} said, {made} made");
            // Runs are not always full, and cells and windows are there side by side; ten times as much would be a
            // mistake.
            assert!(said <= 10 * made, "{what}: {said} said, {made} made");
        }
    }
}

/// Sketches grow with the magnitudes that they have seen, and so does what is said of the memory.
#[test]
fn sketches_of_many_magnitudes_are_counted() {
    let said = |values: [f64; 4]| {
        let x: Vec<f64> = (0..2048).map(|i| values[i / 2 % 4]).collect();
        let keys = Int64Array::from_iter_values((0..2048).map(|i| i % 2));
        let keys = vec![("k".to_string(), Arc::new(keys) as ArrayRef)];
        let batch = Batch::from_columns([("x", x)]).unwrap().with_keys(keys).unwrap();
        let mut engine = Engine::new(Spec::new().by(["k"]).quantiles(&[0.5])).unwrap();
        engine.push(&batch).unwrap();
        // What is under way is folded before the next rows.
        engine.push(&batch.slice(0, 2)).unwrap();
        engine.memory_bytes()
    };
    // A factor 1.02 a bucket: 600 decades on both sides of zero are 139,000 counts of 8 bytes, of two keys.
    let (narrow, wide) = (said([1.0, 1.1, 1.2, 1.3]), said([1e-300, 1e300, -1e-300, -1e300]));
    assert!(wide - narrow > 2 * 2 * 69_000 * 8, "{narrow} {wide}");
}
