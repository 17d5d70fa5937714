//! Files are read by the Parquet reader, and a run is ended at every step and goes on.

use super::*;
use crate::report::example;
use crate::spec::{Spec, Window};
use crate::summary::Summary;
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::time::Duration;

fn feed() -> Feed {
    let window = Window::tumbling(Duration::from_secs(600));
    Feed {
        name: "main".into(),
        spec: Spec::new().by(["station"]).window(window),
        ewm: false,
    }
}

fn opened(path: &Path, roll_bytes: u64, state: Option<&SinkState>) -> Result<RollingSink> {
    RollingSink::open("parquet".into(), path, roll_bytes, &[feed()], state)
}

/// Reports whose parts are these numbers.
fn reports(parts: std::ops::Range<u64>) -> Vec<Emission> {
    let group = example::keyed_windows().groups.remove(1);
    parts
        .map(|part| Emission {
            part,
            ..Emission::new("main".into(), group.clone(), Summary::default())
        })
        .collect()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The parts in the Parquet files, in the order of their names.
fn parts(directory: &Path) -> Vec<i64> {
    let mut parts = Vec::new();
    for name in names(directory).into_iter().filter(|name| name.ends_with(".parquet")) {
        let file = File::open(directory.join(&name)).unwrap();
        for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
            let batch = batch.unwrap();
            assert_eq!(
                batch.column_by_name("station").unwrap().as_string::<i32>().value(0),
                "b"
            );
            let column = batch.column_by_name("part").unwrap();
            parts.extend(column.as_primitive::<Int64Type>().values());
        }
    }
    parts
}

/// The same with numbers that do not compress.
fn noisy(parts: std::ops::Range<u64>) -> Vec<Emission> {
    let mut reports = reports(parts);
    for report in &mut reports {
        let mut x = report.part;
        let mut next = || {
            x = (x ^ (x >> 31)).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x2545_F491_4F6C_DD1D;
            Some(x as f64 / 3.0)
        };
        let column = &mut report.group.columns.values_mut()[0];
        (column.sum, column.mean, column.variance, column.std) = (next(), next(), next(), next());
        (column.min, column.max, column.skewness) = (next(), next(), next());
    }
    reports
}

#[test]
fn files_are_whole_numbered_and_of_about_the_size() {
    const ROLL_BYTES: u64 = 1 << 20;
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("out.parquet");
    let mut sink = Box::new(opened(&path, ROLL_BYTES, None).unwrap());
    for start in (0..100_000).step_by(1000) {
        sink.write(&noisy(start..start + 1000)).unwrap();
        sink.flush().unwrap();
        assert!(names(place.path()).iter().filter(|name| name.starts_with('.')).count() <= 1);
    }
    sink.finish().unwrap();
    let names = names(place.path());
    assert!(names.len() > 3, "{names:?}");
    assert_eq!(
        (names[0].as_str(), names[1].as_str()),
        ("out-000001.parquet", "out-000002.parquet")
    );
    for name in &names[1..names.len() - 1] {
        let bytes = std::fs::metadata(place.path().join(name)).unwrap().len();
        assert!(
            (ROLL_BYTES / 2..ROLL_BYTES * 2).contains(&bytes),
            "{name} has {bytes} bytes"
        );
    }
    assert_eq!(parts(place.path()), (0..100_000).collect::<Vec<i64>>());
}

#[test]
fn a_run_that_ends_anywhere_goes_on_from_its_checkpoint() {
    // Small files, so that those of the run that ended may have been ended since the checkpoint, or not.
    for (roll, after) in [(1, 0), (1, 9000), (1, 30_000), (u64::MAX, 0), (u64::MAX, 9000)] {
        for finished in [false, true] {
            let place = tempfile::tempdir().unwrap();
            let path = place.path().join("out.parquet");
            let mut sink = Box::new(opened(&path, roll, None).unwrap());
            sink.write(&reports(0..10_000)).unwrap();
            let first = sink.checkpoint().unwrap();
            sink.write(&reports(10_000..10_100)).unwrap();
            let mut states = vec![(first, 10_000)];
            if roll > 1 {
                states.push((sink.checkpoint().unwrap(), 10_100));
            }
            for start in (10_100..10_100 + after).step_by(1000) {
                sink.write(&reports(start..start + 1000)).unwrap();
            }
            if finished {
                sink.finish().unwrap();
            }
            // The newest checkpoint, then the one before it.
            for (state, rows) in states.iter().rev() {
                let mut sink = Box::new(opened(&path, roll, Some(state)).unwrap());
                sink.write(&reports(*rows..10_200)).unwrap();
                sink.finish().unwrap();
                assert_eq!(
                    parts(place.path()),
                    (0..10_200).collect::<Vec<i64>>(),
                    "{roll} {after} {finished}"
                );
            }
        }
    }
}

#[test]
fn without_a_checkpoint_rows_of_a_crash_are_kept() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("out.parquet");
    let mut sink = opened(&path, u64::MAX, None).unwrap();
    sink.write(&reports(0..100)).unwrap();
    sink.checkpoint().unwrap();
    sink.write(&reports(100..200)).unwrap();
    sink.checkpoint().unwrap();
    drop(sink);
    let stream = place.path().join(".out-000001.rows");
    let bytes = std::fs::read(&stream).unwrap();
    std::fs::write(&stream, &bytes[..bytes.len() - 5]).unwrap();
    let mut sink = Box::new(opened(&path, u64::MAX, None).unwrap());
    sink.write(&reports(100..150)).unwrap();
    sink.finish().unwrap();
    assert_eq!(parts(place.path()), (0..150).collect::<Vec<i64>>());
    Box::new(opened(&path, u64::MAX, None).unwrap()).finish().unwrap();
    assert_eq!(names(place.path()), ["out-000001.parquet"]);
}

#[test]
fn rows_that_are_gone_and_other_columns_are_told() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("out.parquet");
    let mut sink = opened(&path, u64::MAX, None).unwrap();
    sink.write(&reports(0..100)).unwrap();
    let state = sink.checkpoint().unwrap();
    drop(sink);
    let other = Feed {
        spec: Spec::new(),
        ..feed()
    };
    let error = RollingSink::open("parquet".into(), &path, 1, &[other], Some(&state))
        .err()
        .unwrap();
    assert!(
        error.exit_code() == 78 && error.to_string().contains("other columns"),
        "{error}"
    );
    std::fs::remove_file(place.path().join(".out-000001.rows")).unwrap();
    let error = opened(&path, u64::MAX, Some(&state)).err().unwrap();
    assert!(
        error.exit_code() == 78 && error.to_string().contains("0 rows"),
        "{error}"
    );
    let error = opened(&place.path().join("no/out.parquet"), 1, None).err().unwrap();
    assert!(
        error.exit_code() == 74 && error.to_string().contains("no directory"),
        "{error}"
    );
}
