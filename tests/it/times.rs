//! Event times that cannot be read, in every format: a bad row that says why, never a wrong window.

use crate::command::{Outcome, Place};
use crate::formats::arrow_stream;
use arrow::array::{ArrayRef, Date32Array, Float64Array, RecordBatch, StringArray, TimestampSecondArray};
use serde_json::json;
use std::sync::Arc;

/// Two times that are read as the same hour of UTC, and between them one that is not read.
const GOOD: [&str; 2] = ["2024-01-01T00:10:00+01:00[Europe/Berlin]", "2023-12-31T23:20:00Z"];

fn check(outcome: &Outcome) {
    let report = outcome.json();
    assert_eq!((&report["rows"], &report["rejected_rows"]), (&json!(2), &json!(1)));
    assert_eq!(report["groups"].as_array().unwrap().len(), 1);
    assert_eq!(report["groups"][0]["window"]["start"], "2023-12-31T23:00:00Z");
}

/// In every format, the table of one bad time between good ones fails with these words, and without the row is right.
fn refuses(bad: &str, part: &str) {
    let place = Place::new();
    let times = [GOOD[0], bad, GOOD[1]];
    let csv: String = times.iter().map(|t| format!("{t},1\n")).collect();
    place.write("t.csv", format!("t,x\n{csv}"));
    let ndjson: String = times.iter().map(|t| format!("{{\"t\":\"{t}\",\"x\":1}}\n")).collect();
    place.write("t.ndjson", ndjson);
    let columns: [(&str, ArrayRef); 2] = [
        ("t", Arc::new(StringArray::from(times.to_vec()))),
        ("x", Arc::new(Float64Array::from(vec![1.0; 3]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    place.write("t.arrow", arrow_stream(&batch));
    let mut names = vec!["t.csv", "t.ndjson", "t.arrow"];
    #[cfg(feature = "parquet")]
    {
        let bytes = crate::formats::parquet(&batch, parquet::basic::Compression::SNAPPY);
        names.push(place.write("t.parquet", bytes));
    }
    for name in names {
        let args = ["analyze", name, "--time", "t", "--window", "1h", "--format", "json"];
        place
            .run(&args)
            .fails(65, &[name, "column `t`", bad, part, "--bad-rows"]);
        check(&place.run(&[&args[..], &["--bad-rows", "skip"]].concat()));
    }
}

#[test]
fn a_zone_without_its_offset_is_never_utc() {
    refuses("2024-01-01T00:00:00[Europe/Berlin]", "without an offset");
    refuses("2024-01-01T00:00:00+02:00[Europe/Berlin]", "does not have then");
    refuses("2024-01-01T00:00:00+01:00[Europe/Atlantis]", "unknown time zone");
}

#[test]
fn times_out_of_range_name_the_range() {
    refuses("9999-12-31T23:59:59Z", "1677-09-21 to 2262-04-11");
    refuses("1500-01-01", "1677-09-21 to 2262-04-11");
}

#[test]
fn temporal_columns_out_of_range_name_it_too() {
    let place = Place::new();
    let columns: [ArrayRef; 3] = [
        Arc::new(Date32Array::from(vec![0, 2_932_896])),
        Arc::new(TimestampSecondArray::from(vec![0, 253_402_300_799])),
        Arc::new(TimestampSecondArray::from(vec![0, i64::MAX])),
    ];
    let x: ArrayRef = Arc::new(Float64Array::from(vec![1.0; 2]));
    for times in columns {
        let batch = RecordBatch::try_from_iter([("t", times), ("x", x.clone())]).unwrap();
        let parts = ["line 2", "column `t`", "1677-09-21 to 2262-04-11"];
        place.write("t.arrow", arrow_stream(&batch));
        place.run(&["analyze", "t.arrow", "--time", "t"]).fails(65, &parts);
        #[cfg(feature = "parquet")]
        {
            let bytes = crate::formats::parquet(&batch, parquet::basic::Compression::SNAPPY);
            place.write("t.parquet", bytes);
            place.run(&["analyze", "t.parquet", "--time", "t"]).fails(65, &parts);
        }
    }
}
