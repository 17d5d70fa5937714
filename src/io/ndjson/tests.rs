//! What a whole JSON source gives, as lines and as an array, for chunks of any size.

use super::*;
use crate::error::BadRow;
use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Float64Type, TimestampNanosecondType};
use proptest::prelude::*;

fn open(text: &str, options: &ReadOptions, schema: Option<SchemaRef>) -> Result<NdjsonSource> {
    let input = ByteInput::from_reader(
        "t.ndjson",
        std::io::Cursor::new(text.as_bytes().to_vec()),
        None,
        options,
    )?;
    NdjsonSource::open(input, "t.ndjson", options, schema)
}

fn skip() -> ReadOptions {
    ReadOptions {
        bad_rows: BadRows::Skip,
        ..ReadOptions::default()
    }
}

fn drain(mut source: NdjsonSource) -> Result<(RecordBatch, Vec<BadRow>)> {
    let (mut batches, mut rejected) = (Vec::new(), Vec::new());
    while let Read::Batch(read, _) = source.read()? {
        batches.push(read.batch);
        rejected.extend(read.rejected);
    }
    let schema = source.projection.schema.clone();
    Ok((concat_batches(&schema, &batches).unwrap(), rejected))
}

fn read(text: &str) -> (RecordBatch, Vec<BadRow>) {
    drain(open(text, &skip(), None).unwrap()).unwrap()
}

fn numbers(batch: &RecordBatch, name: &str) -> Vec<Option<f64>> {
    batch
        .column_by_name(name)
        .unwrap()
        .as_primitive::<Float64Type>()
        .iter()
        .collect()
}

fn texts<'a>(batch: &'a RecordBatch, name: &str) -> Vec<Option<&'a str>> {
    batch.column_by_name(name).unwrap().as_string::<i32>().iter().collect()
}

const ROWS: &str = r#"{"a": 1, "k": "x", "n": {"z": [1]}}

{"k": true, "a": "Infinity", "b": -2.5e0, "a": "NaN"}
{"b": 18446744073709551615, "k": 7, "a": "-inf"}
"#;

#[test]
fn columns_are_the_union_of_the_keys_and_nested_ones_are_left_out() {
    let (batch, rejected) = read(ROWS);
    let names: Vec<_> = batch.schema().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names, ["a", "k", "b"]);
    assert_eq!(numbers(&batch, "a"), [Some(1.0), None, Some(f64::NEG_INFINITY)]);
    assert_eq!(numbers(&batch, "b"), [None, Some(-2.5), Some(18446744073709551615.0)]);
    assert_eq!(texts(&batch, "k"), [Some("x"), Some("true"), Some("7")]);
    assert_eq!(rejected, []);
}

#[test]
fn missing_values_have_these_spellings_and_no_others() {
    for cell in ["", "NA", "NaN", "nan", "null", "None"] {
        let (batch, _) = read(&format!(
            "{{\"a\":1,\"k\":\"x\"}}\n{{\"a\":\"{cell}\",\"k\":\"{cell}\"}}\n"
        ));
        assert_eq!(numbers(&batch, "a"), [Some(1.0), None], "{cell}");
        assert_eq!(texts(&batch, "k"), [Some("x"), None], "{cell}");
    }
    for cell in ["NULL", "Null", "none", "n/a", "na", "NAN", "-nan"] {
        let (batch, _) = read(&format!("{{\"a\":1}}\n{{\"a\":\"{cell}\"}}\n"));
        assert_eq!(texts(&batch, "a"), [Some("1"), Some(cell)], "{cell}");
    }
}

#[test]
fn an_array_of_objects_is_the_same_table_even_pretty_printed() {
    let rows: Vec<_> = ROWS.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(read(&format!("[{}]", rows.join(","))), read(ROWS));
    let pretty = rows.join("\n,\n").replace(", ", ",\n  ").replace("{\"", "{\n  \"");
    assert_eq!(read(&format!(" \n[\n{pretty}\n]\n\n")), read(ROWS));
    assert_eq!(read("[]").0.num_columns(), 0);
}

#[test]
fn bad_rows_name_line_and_column() {
    let text = format!(
        "{}{{\"a\":\"warm\"}}\n\n{{\"a\":\n[1]\n{{\"a\":[1]}}\n{{\"a\":1}}x\n",
        "{\"a\":1}\n".repeat(10_000)
    );
    let (batch, rejected) = read(&text);
    let found: Vec<_> = rejected.iter().map(|b| (b.line, b.column.as_deref())).collect();
    assert_eq!(
        found,
        [
            (10_001, Some("a")),
            (10_003, None),
            (10_004, None),
            (10_005, Some("a")),
            (10_006, None)
        ]
    );
    assert_eq!(
        (rejected[0].bytes.as_slice(), rejected[0].reason.as_str()),
        (&b"warm"[..], "is not a number")
    );
    assert!(rejected[1].reason.contains("malformed") && rejected[2].reason.contains("not a JSON object"));
    assert_eq!(batch.num_rows(), 10_000);
    let said = open(&text, &ReadOptions::default(), None)
        .and_then(drain)
        .unwrap_err()
        .to_string();
    assert!(said.contains("t.ndjson: line 10001, column `a`"), "{said}");
}

#[test]
fn lines_of_bad_elements_of_an_array_are_those_of_the_file() {
    let text = "[\n{\"a\": 1},\n{\"a\": 2},\n 5,\n{\"a\": 3}\n]\n";
    let (batch, rejected) = read(text);
    assert_eq!((batch.num_rows(), rejected.len(), rejected[0].line), (3, 1, 4));
}

#[test]
fn arrays_that_break_off_or_go_on() {
    for (text, part) in [
        ("[{\"a\":1},\n{\"a\"", "line 2: the input is truncated"),
        ("[{\"a\":1}]\nx", "line 2: something follows"),
    ] {
        let said = open(text, &ReadOptions::default(), None)
            .and_then(drain)
            .unwrap_err()
            .to_string();
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn times_are_strings_or_numbers_and_needed() {
    let options = ReadOptions {
        time: Some(("t".into(), TimeUnit::Milliseconds)),
        ..skip()
    };
    let text = "{\"t\":1500}\n{\"t\":\"1970-01-01T00:00:02Z\"}\n{\"t\":null}\n{\"a\":1}\n{\"t\":true}\n";
    let (batch, rejected) = drain(open(text, &options, None).unwrap()).unwrap();
    let times = batch.column(0).as_primitive::<TimestampNanosecondType>();
    assert_eq!(times.values(), &[1_500_000_000, 2_000_000_000]);
    assert_eq!(rejected.iter().map(|b| b.line).collect::<Vec<_>>(), [3, 4, 5]);
}

#[test]
fn selected_columns_come_in_their_order_and_others_are_not_looked_at() {
    let text = format!(
        "{}{{\"a\":\"warm\",\"b\":4,\"c\":\"y\"}}\n",
        "{\"a\":1,\"b\":2,\"c\":\"x\"}\n".repeat(10_000)
    );
    let mut source = open(&text, &ReadOptions::default(), None).unwrap();
    source.select(&["c".into(), "b".into()]).unwrap();
    let (batch, _) = drain(source).unwrap();
    assert_eq!(
        (texts(&batch, "c")[10_000], numbers(&batch, "b")[10_000]),
        (Some("y"), Some(4.0))
    );
}

#[test]
fn a_schema_of_the_inputs_before_is_kept() {
    let schema = schema_of([("a".to_string(), DataType::Utf8), ("b".to_string(), DataType::Float64)].into_iter());
    let (batch, _) = drain(open("{\"a\":1}\n", &skip(), Some(schema.clone())).unwrap()).unwrap();
    assert_eq!(
        (texts(&batch, "a"), numbers(&batch, "b")),
        (vec![Some("1")], vec![None])
    );
    assert!(
        open("{\"z\":1}\n", &skip(), Some(schema))
            .unwrap_err()
            .to_string()
            .contains("`z`")
    );
}

fn value() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        Just("1"),
        Just("-2.5e3"),
        Just("null"),
        Just("\"NA\""),
        Just("\"x\\\"],{\""),
        Just("true"),
        Just("[1, {}]"),
        Just("bad"),
        Just("\"\\n\\u00e9\""),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn the_rows_are_the_same_for_any_chunk_size_and_layout(
        rows in proptest::collection::vec(proptest::collection::vec(("[abc]", value()), 0..4), 0..25),
        sizes in proptest::collection::vec(1usize..80, 1..4),
    ) {
        let object = |row: &Vec<(String, &str)>| {
            let pairs: Vec<_> = row.iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
            format!("{{{}}}", pairs.join(", "))
        };
        let rows: Vec<_> = rows.iter().map(object).collect();
        let lines = format!("\n{}", rows.join("\n"));
        let array = format!("[\n{}]", rows.join(",\n"));
        let whole = read(&lines);
        prop_assert_eq!(whole.0.num_rows() + whole.1.len(), rows.len());
        for text in [&lines, &array] {
            for size in &sizes {
                let mut source = open(text, &skip(), None).unwrap();
                source.chunk_bytes = *size;
                let (batch, rejected) = drain(source).unwrap();
                let places = |bad: &[BadRow]| bad.iter().map(|b| (b.line, b.column.clone())).collect::<Vec<_>>();
                prop_assert_eq!(&batch, &whole.0, "chunks of {}: {}", size, text);
                prop_assert_eq!(places(&rejected), places(&whole.1), "chunks of {}: {}", size, text);
            }
        }
    }
}
