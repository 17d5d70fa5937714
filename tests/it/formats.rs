//! One table in every format, packing and piece that the command reads gives the same report, byte for byte.

use crate::command::Place;
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;

/// Rows of the table: more than the 10,000 that decide the types of text columns, several leaves, not a round number.
const ROWS: i64 = 20_011;

/// One row: seconds since 2020-01-01, key, two numbers.
type Row = (i64, Option<&'static str>, Option<f64>, i64);

fn rows() -> impl Iterator<Item = Row> {
    (0..ROWS).map(|i| {
        let key = [Some("a"), Some("b, \"quoted\""), None, Some("ö")][(i % 7 % 4) as usize];
        // A multiplicative generator: no two neighbours alike, and the same everywhere.
        let noise = (i * 48_271 % 2_147_483_647) as f64 / 1e4;
        (i / 3, key, (i % 11 != 0).then_some(noise), i * i % 1009 - 500)
    })
}

fn clock(seconds: i64) -> String {
    let day = 1 + seconds / 86_400;
    let of_day = seconds % 86_400;
    format!(
        "2020-01-{day:02}T{:02}:{:02}:{:02}Z",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60
    )
}

fn delimited(delimiter: char, rows: impl Iterator<Item = Row>) -> String {
    let mut text = ["time", "key", "x", "n"].join(&delimiter.to_string()) + "\n";
    for (seconds, key, x, n) in rows {
        let key = key.map_or(String::new(), |key| format!("\"{}\"", key.replace('"', "\"\"")));
        let x = x.map_or(String::new(), |x| x.to_string());
        let cells = [clock(seconds), key, x, n.to_string()];
        writeln!(text, "{}", cells.join(&delimiter.to_string())).unwrap();
    }
    text
}

fn ndjson() -> String {
    rows()
        .map(|(seconds, key, x, n)| {
            serde_json::json!({"time": clock(seconds), "key": key, "x": x, "n": n}).to_string() + "\n"
        })
        .collect()
}

/// The table as Arrow has it: times in microseconds, `n` in integers.
pub(crate) fn batch() -> RecordBatch {
    const NEW_YEAR: i64 = 1_577_836_800;
    let column = |name: &str, array: ArrayRef| (name.to_owned(), array, true);
    RecordBatch::try_from_iter_with_nullable([
        column(
            "time",
            Arc::new(
                rows()
                    .map(|r| Some((NEW_YEAR + r.0) * 1_000_000))
                    .collect::<TimestampMicrosecondArray>(),
            ),
        ),
        column("key", Arc::new(rows().map(|r| r.1).collect::<StringArray>())),
        column("x", Arc::new(rows().map(|r| r.2).collect::<Float64Array>())),
        column("n", Arc::new(rows().map(|r| Some(r.3)).collect::<Int64Array>())),
    ])
    .unwrap()
}

#[cfg(feature = "parquet")]
pub(crate) fn parquet(batch: &RecordBatch, codec: parquet::basic::Compression) -> Vec<u8> {
    let properties = parquet::file::properties::WriterProperties::builder()
        .set_compression(codec)
        .set_max_row_group_row_count(Some(7000))
        .build();
    let mut bytes = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn arrow_file_with(batch: &RecordBatch, codec: Option<CompressionType>) -> Vec<u8> {
    let options = IpcWriteOptions::default().try_with_compression(codec).unwrap();
    let mut bytes = Vec::new();
    let mut writer = FileWriter::try_new_with_options(&mut bytes, &batch.schema(), options).unwrap();
    let first = batch.num_rows().min(5000);
    writer.write(&batch.slice(0, first)).unwrap();
    writer.write(&batch.slice(first, batch.num_rows() - first)).unwrap();
    writer.finish().unwrap();
    drop(writer);
    bytes
}

pub(crate) fn arrow_file(batch: &RecordBatch) -> Vec<u8> {
    arrow_file_with(batch, None)
}

pub(crate) fn arrow_stream(batch: &RecordBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, &batch.schema()).unwrap();
    writer.write(batch).unwrap();
    writer.finish().unwrap();
    drop(writer);
    bytes
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

fn zip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    writer
        .start_file("table.csv", zip::write::SimpleFileOptions::default())
        .unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap().into_inner()
}

/// What makes packed bytes of bytes.
type Packer = fn(&[u8]) -> Vec<u8>;

/// Packers by their extensions.
pub(crate) const PACKERS: [(&str, Packer); 4] = [("gz", gzip), ("bz2", bzip2), ("zst", zstd), ("zip", zip)];

/// Everything that a report can hold.
const QUESTION: &str = "--by key --time time --window 30m --stats moments,covariance,correlation,differences \
                        --quantiles 0.1,0.5 --format json";

fn question<'a>(inputs: &[&'a str]) -> Vec<&'a str> {
    let words = ["analyze", "--regress", "x ~ n"]
        .into_iter()
        .chain(QUESTION.split_ascii_whitespace());
    words.chain(inputs.iter().copied()).collect()
}

/// A JSON report without the lines of these names.
fn without(report: &str, names: &[&str]) -> String {
    let named = |line: &&str| names.iter().any(|name| line.starts_with(&format!("  \"{name}\": ")));
    let kept: Vec<&str> = report.lines().filter(|line| !named(line)).collect();
    assert_eq!(kept.len() + names.len(), report.lines().count());
    kept.join("\n")
}

/// Every form of the table: name, format as `--input-format` has it, bytes.
fn forms() -> Vec<(String, &'static str, Vec<u8>)> {
    let mut forms = Vec::new();
    for (format, text) in [
        ("csv", delimited(',', rows())),
        ("tsv", delimited('\t', rows())),
        ("ndjson", ndjson()),
    ] {
        forms.push((format!("table.{format}"), format, text.clone().into_bytes()));
        for (extension, pack) in PACKERS {
            forms.push((format!("table.{format}.{extension}"), format, pack(text.as_bytes())));
        }
    }
    let array = format!("[\n{}\n]\n", ndjson().trim_end().replace('\n', ",\n"));
    forms.push(("table.json".into(), "ndjson", array.into_bytes()));
    forms.push(("table.jsonl".into(), "ndjson", ndjson().into_bytes()));
    forms.push((
        "crlf.csv".into(),
        "csv",
        delimited(',', rows()).replace('\n', "\r\n").into_bytes(),
    ));
    forms.push((
        "bom.csv".into(),
        "csv",
        format!("\u{feff}{}", delimited(',', rows())).into_bytes(),
    ));
    let batch = batch();
    forms.push(("table.arrow".into(), "arrow", arrow_file(&batch)));
    forms.push(("stream.arrow".into(), "arrow", arrow_stream(&batch)));
    forms.push(("stream.arrows".into(), "arrow", arrow_stream(&batch)));
    forms.push((
        "lz4.feather".into(),
        "arrow",
        arrow_file_with(&batch, Some(CompressionType::LZ4_FRAME)),
    ));
    forms.push((
        "zstd.feather".into(),
        "arrow",
        arrow_file_with(&batch, Some(CompressionType::ZSTD)),
    ));
    #[cfg(feature = "parquet")]
    {
        use parquet::basic::Compression;
        for (codec, compression) in [
            ("plain", Compression::UNCOMPRESSED),
            ("snappy", Compression::SNAPPY),
            ("zstd", Compression::ZSTD(Default::default())),
            ("gzip", Compression::GZIP(Default::default())),
            ("brotli", Compression::BROTLI(Default::default())),
            ("lz4", Compression::LZ4_RAW),
        ] {
            forms.push((format!("{codec}.parquet"), "parquet", parquet(&batch, compression)));
        }
    }
    forms
}

#[test]
fn every_format_gives_the_same_report_from_a_path_and_from_standard_input() {
    let place = Place::new();
    let text = delimited(',', rows());
    let outcome = place.run(&question(&[place.write("first.csv", &text)]));
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let want = without(outcome.text(), &["elapsed_seconds"]);
    let groups = outcome.json()["groups"].as_array().unwrap().len();
    // ROWS / 3 seconds in windows of half an hour, four keys in each.
    assert_eq!(groups, 4 * 4);
    for (name, format, bytes) in forms() {
        let same = |outcome: crate::command::Outcome, how: &str| {
            assert_eq!(outcome.status, 0, "{name} {how}: {}", outcome.stderr);
            let got = without(outcome.text(), &["elapsed_seconds"]);
            assert!(got == want, "{name} {how}: another report");
        };
        place.write(&name, &bytes);
        same(place.run(&question(&[&name])), "by path");
        same(
            place.feed(&question(&["-", "--input-format", format]), &bytes),
            "by standard input",
        );
        // Tabs cannot be told from commas by first bytes alone.
        if format != "tsv" {
            same(place.feed(&question(&["-"]), &bytes), "by its first bytes");
        }
        std::fs::remove_file(place.path(&name)).unwrap();
    }
}

#[test]
fn several_inputs_are_one_table() {
    let place = Place::new();
    let half = 9_000;
    place.write("whole.csv", delimited(',', rows()));
    place.write("1.csv", delimited(',', rows().take(half)));
    place.write("2.tsv.gz", gzip(delimited('\t', rows().skip(half)).as_bytes()));
    place.write("2.arrow", arrow_file(&batch().slice(half, ROWS as usize - half)));
    let report = |inputs: &[&str]| {
        let outcome = place.run(&question(inputs));
        assert_eq!(outcome.status, 0, "{}", outcome.stderr);
        without(outcome.text(), &["elapsed_seconds"])
    };
    let want = report(&["whole.csv"]);
    assert_eq!(report(&["1.csv", "2.tsv.gz"]), want);
    assert_eq!(report(&["1.csv", "2.arrow"]), want);
    let tail = std::fs::read(place.path("2.tsv.gz")).unwrap();
    assert!(!tail.is_empty());
    assert_ne!(
        report(&["2.tsv.gz", "1.csv"]),
        want,
        "the order of rows makes differences"
    );
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let place = Place::new();
    place.write("table.csv", delimited(',', rows()));
    let report = |threads: &str| {
        let outcome = place.run(&question(&["table.csv", "--threads", threads]));
        let text = outcome.text().to_owned();
        assert!(text.contains(&format!("\"device\": \"{threads} thread")), "{text}");
        without(&text, &["elapsed_seconds", "device"])
    };
    let want = report("1");
    assert_eq!(report("2"), want);
    assert_eq!(report("7"), want);
}
