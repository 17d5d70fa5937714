//! Binary frames and Arrow streams, cut at every place, and everything that can be wrong with them.

use super::*;
use ::arrow::array::{Float64Array, Int64Array, StringArray};
use ::arrow::ipc::writer::StreamWriter;

fn frame(rows: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(rows.len()).unwrap().to_le_bytes().to_vec();
    frame.extend_from_slice(rows);
    frame
}

fn doubles(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

#[test]
fn binary_is_the_same_wherever_it_is_cut() {
    let mut options = wire(WireFormat::Binary);
    options.columns = Some(strings(&["t", "x", "y"]));
    options.wanted = Some(strings(&["y", "t"]));
    options.time = Some(("t".into(), TimeUnit::Milliseconds));
    let mut bytes = frame(&doubles(&[1.0, 0.0, -1.5, 2.5, 0.0, f64::NAN]));
    bytes.extend(frame(&[]));
    bytes.extend(frame(&doubles(&[
        f64::NAN,
        0.0,
        1.0,
        1e300,
        0.0,
        2.0,
        0.000_001,
        0.0,
        3.0,
    ])));
    let half = frame(&doubles(&[4.0, 5.0, 6.0]));
    bytes.extend(&half[..20]);
    for whole in [true, false] {
        let given = at_every_cut(&options, &bytes, whole);
        assert_eq!(given.rows, ["y=-1.5 t=1000000ns", "y=NaN t=2500000ns", "y=3.0 t=1ns"]);
        assert_eq!(
            given.bad,
            [
                bad(3, &doubles(&[f64::NAN, 0.0, 1.0]), time_reason("x")),
                bad(4, &doubles(&[1e300, 0.0, 2.0]), time_reason("9e30")),
                bad(6, &half[..20], "is where the input stopped, within frame 4")
            ]
        );
    }
}

/// Why a text is no time, as the readers of text say.
fn time_reason(text: &str) -> &'static str {
    crate::io::time::read(text.as_bytes(), TimeUnit::Seconds)
        .unwrap_err()
        .reason()
}

#[test]
fn binary_values_have_the_types_that_are_named() {
    let mut options = wire(WireFormat::Binary);
    options.columns = Some(strings(&["k", "i", "f", "t"]));
    options.keys = strings(&["k"]);
    options.time = Some(("t".into(), TimeUnit::Seconds));
    options.values = ColumnType::F32;
    for name in ["k", "i", "t"] {
        options.types.insert(name.into(), ColumnType::I64);
    }
    let row = |k: i64, i: i64, f: f32, t: i64| {
        [
            &k.to_le_bytes()[..],
            &i.to_le_bytes(),
            &f.to_le_bytes(),
            &t.to_le_bytes(),
        ]
        .concat()
    };
    let bytes = frame(&[row(i64::MAX, -3, 0.5, 1), row(i64::MIN, 4, f32::NAN, i64::MAX)].concat());
    let given = at_every_cut(&options, &bytes, true);
    assert_eq!(given.rows, ["k=9223372036854775807i i=-3.0 f=0.5f t=1000000000ns"]);
    assert_eq!((given.bad[0].0, given.bad[0].1.len()), (2, 28));
}

#[test]
fn a_wrong_length_ends_the_input_after_what_came_before() {
    let mut options = wire(WireFormat::Binary);
    options.columns = Some(strings(&["x"]));
    let good = frame(&doubles(&[1.0]));
    let too_long = u32::try_from(FRAME_BYTES_MAX + 8).unwrap();
    for (length, want) in [
        (7, "not a multiple of the 8 bytes"),
        (too_long, "more than 16777216 bytes"),
    ] {
        let bytes = [&good[..], &length.to_le_bytes(), &good].concat();
        let given = at_every_cut(&options, &bytes, true);
        assert_eq!((given.rows.len(), given.bad.len()), (1, 1));
        assert!(given.bad[0].2.contains(want) && given.error.unwrap().contains(want));
    }
    let none = context(wire(WireFormat::Binary));
    assert!(matches!(Decoder::new(&none, "test"), Err(Error::Config(what)) if what.contains("columns")));
    options.types.insert("x".into(), ColumnType::Text);
    assert!(matches!(Decoder::new(&context(options), "test"), Err(Error::Config(what)) if what.contains("text")));
}

#[test]
fn float_times_are_those_of_their_text() {
    proptest!(|(seconds in -4_000_000_000i64..4_000_000_000, micros in 0i64..1_000_000, any in any::<f64>())| {
        let text = format!("{seconds}.{micros:06}");
        for (x, text) in [(text.parse::<f64>().unwrap(), text), (any, format!("{any:?}"))] {
            for unit in [TimeUnit::Seconds, TimeUnit::Milliseconds, TimeUnit::Microseconds, TimeUnit::Nanoseconds] {
                let mut options = wire(WireFormat::Binary);
                options.columns = Some(strings(&["t"]));
                options.time = Some(("t".into(), unit));
                let given = decode(&context(options), [&frame(&doubles(&[x]))[..]], true);
                let want: Vec<_> = crate::io::time::parse(text.as_bytes(), unit).map(|ns| format!("t={ns}ns")).into_iter().collect();
                prop_assert_eq!(given.rows, want, "{} {:?}", text, unit);
            }
        }
    });
}

fn stream(batches: &[RecordBatch]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, &batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
    bytes
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

#[test]
fn arrow_streams_are_the_same_wherever_they_are_cut() {
    let x = |values: &[f64]| Arc::new(Float64Array::from(values.to_vec())) as ArrayRef;
    let t = |values: Vec<Option<i64>>| Arc::new(Int64Array::from(values)) as ArrayRef;
    let one = batch(vec![("t", t(vec![Some(1), None])), ("x", x(&[1.5, 2.5]))]);
    let two = batch(vec![("t", t(vec![Some(3)])), ("x", x(&[3.5]))]);
    let other = batch(vec![
        ("x", x(&[4.5])),
        ("s", Arc::new(StringArray::from(vec!["s"])) as ArrayRef),
        ("t", t(vec![Some(4)])),
    ]);
    let mut bytes = stream(&[one.clone(), two]);
    bytes.extend(stream(&[other]));
    let mut options = wire(WireFormat::Arrow);
    options.time = Some(("t".into(), TimeUnit::Seconds));
    let given = at_every_cut(&options, &bytes, true);
    assert_eq!(
        given.rows,
        ["t=1000000000ns x=1.5", "t=3000000000ns x=3.5", "t=4000000000ns x=4.5"]
    );
    assert_eq!((given.bad.len(), given.bad[0].0, given.error), (1, 2, None));
    // Half a message, and a stream that is none.
    let given = at_every_cut(&options, &stream(&[one])[..300], false);
    assert!(given.bad.last().unwrap().2.contains("within message"), "{given:?}");
    for wrong in [
        &b"a,b\n1,2\n3,4\n"[..],
        b"ARROW1\0\0....",
        b"\xff\xff\xff\xff\x08\0\0\0........",
    ] {
        let given = at_every_cut(&options, wrong, true);
        assert_eq!(
            (given.rows.len(), given.bad.len(), given.error.is_some()),
            (0, 1, true),
            "{wrong:?}"
        );
    }
    let context = context(options);
    assert_eq!(decode(&context, [&bytes[..]], true).rows.len(), 3);
    let lacking = stream(&[batch(vec![("x", x(&[1.0]))])]);
    assert!(decode(&context, [&lacking[..]], true).error.unwrap().contains("`t`"));
}
