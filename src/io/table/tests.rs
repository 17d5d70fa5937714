//! Tables that are written and read back, and outputs that cannot be written.

use super::*;
use arrow::array::{ArrayRef, Float64Array, StringArray};
use std::sync::Arc;

fn batch() -> RecordBatch {
    RecordBatch::try_from_iter([
        ("x", Arc::new(Float64Array::from(vec![Some(0.5), None])) as ArrayRef),
        ("s", Arc::new(StringArray::from(vec!["a", "b"])) as ArrayRef),
    ])
    .unwrap()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn the_name_appears_when_the_table_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.csv");
    std::fs::write(&path, "old").unwrap();
    let mut writer = TableWriter::create(&path, Output::Csv, batch().schema()).unwrap();
    writer.write(&batch()).unwrap();
    writer.write(&batch()).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
    writer.finish().unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "x,s\n0.5,a\n,b\n0.5,a\n,b\n");
    assert_eq!(names(directory.path()), ["out.csv"]);
}

#[test]
fn a_table_that_is_given_up_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.csv");
    let mut writer = TableWriter::create(&path, Output::Csv, batch().schema()).unwrap();
    writer.write(&batch()).unwrap();
    assert_eq!(names(directory.path()).len(), 1);
    drop(writer);
    assert!(names(directory.path()).is_empty());
}

#[test]
fn places_that_cannot_be_written_are_found_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("none").join("out.csv");
    for (path, want) in [
        (missing.as_path(), "there is no directory"),
        (directory.path(), "directory"),
    ] {
        let error = TableWriter::create(path, Output::Csv, batch().schema()).unwrap_err();
        assert_eq!(error.exit_code(), 74);
        assert!(
            error.to_string().contains(want) && error.to_string().contains(&path.display().to_string()),
            "{error}"
        );
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_device_is_an_output_error_and_stays_a_device() {
    let path = Path::new("/dev/full");
    let mut outputs = vec![Output::Csv];
    outputs.extend(cfg!(feature = "parquet").then_some(Output::Parquet));
    for output in outputs {
        let mut writer = TableWriter::create(path, output, batch().schema()).unwrap();
        let error = writer.write(&batch()).and_then(|()| writer.finish()).unwrap_err();
        assert!(
            matches!(&error, Error::Output { path: p, source } if p == path && source.kind() == std::io::ErrorKind::StorageFull),
            "{error:?}"
        );
    }
}

#[cfg(unix)]
#[test]
fn a_link_stays_a_link() {
    let directory = tempfile::tempdir().unwrap();
    let (real, link) = (directory.path().join("real.csv"), directory.path().join("link.csv"));
    std::fs::write(&real, "old").unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    TableWriter::create(&link, Output::Csv, batch().schema())
        .unwrap()
        .finish()
        .unwrap();
    assert!(link.is_symlink());
    assert_eq!(std::fs::read_to_string(&real).unwrap(), "x,s\n");
}

#[test]
fn forms_by_extension() {
    assert_eq!(Output::of(Path::new("a.b.PARQUET")).unwrap(), Output::Parquet);
    assert!(matches!(Output::of(Path::new("a.json")), Err(Error::Usage(m)) if m.contains("a.json")));
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_reads_back() {
    use crate::io::{Read, ReadOptions, Source, parquet::ParquetSource};
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.parquet");
    let mut writer = TableWriter::create(&path, Output::of(&path).unwrap(), batch().schema()).unwrap();
    writer.write(&batch()).unwrap();
    writer.finish().unwrap();
    let mut source = ParquetSource::open(&path, &ReadOptions::default()).unwrap();
    let Read::Batch(rows, _) = source.read().unwrap() else {
        panic!()
    };
    assert_eq!(rows.batch.columns(), batch().columns());
    assert_eq!(arrow::array::Array::null_count(rows.batch.column(0)), 1);
}

#[cfg(not(feature = "parquet"))]
#[test]
fn a_build_without_parquet_says_so() {
    let error = TableWriter::create(Path::new("a.parquet"), Output::Parquet, batch().schema()).unwrap_err();
    assert!(
        matches!(&error, Error::Unavailable(m) if m.contains("feature `parquet`")),
        "{error}"
    );
}
