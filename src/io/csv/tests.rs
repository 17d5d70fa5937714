//! What a whole csv source gives, for chunks of any size.

use super::*;
use crate::error::BadRow;
use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Float64Type, TimestampNanosecondType};
use proptest::prelude::*;
use std::time::{Duration, Instant};

fn open(text: &[u8], options: &ReadOptions) -> Result<CsvSource> {
    let input = ByteInput::from_reader("t.csv", std::io::Cursor::new(text.to_vec()), None, options)?;
    CsvSource::open(input, "t.csv", b',', options, None)
}

fn skip() -> ReadOptions {
    ReadOptions {
        bad_rows: BadRows::Skip,
        ..ReadOptions::default()
    }
}

fn drain(mut source: CsvSource) -> Result<(RecordBatch, Vec<BadRow>)> {
    let (mut batches, mut rejected, mut rows) = (Vec::new(), Vec::new(), 0);
    while let Read::Batch(read, position) = source.read()? {
        rows += read.batch.num_rows() + read.rejected.len();
        assert_eq!(position.rows, rows as u64);
        batches.push(read.batch);
        rejected.extend(read.rejected);
    }
    assert!(matches!(source.read(), Ok(Read::End)));
    let schema = source.projection.schema.clone();
    Ok((concat_batches(&schema, &batches).unwrap(), rejected))
}

fn read(text: &str) -> (RecordBatch, Vec<BadRow>) {
    drain(open(text.as_bytes(), &skip()).unwrap()).unwrap()
}

fn error(text: &str) -> String {
    open(text.as_bytes(), &ReadOptions::default())
        .and_then(drain)
        .unwrap_err()
        .to_string()
}

fn numbers(array: &ArrayRef) -> Vec<Option<f64>> {
    array.as_primitive::<Float64Type>().iter().collect()
}

fn texts(array: &ArrayRef) -> Vec<Option<&str>> {
    array.as_string::<i32>().iter().collect()
}

#[test]
fn numbers_text_and_missing_values() {
    let (batch, rejected) = read("a,b,c\r\n760.,x,\r\n .5 ,\"y,\"\"z\n\",NA\r\n\r\n-inf,None,null");
    assert_eq!(
        numbers(batch.column(0)),
        [Some(760.0), Some(0.5), Some(f64::NEG_INFINITY)]
    );
    assert_eq!(texts(batch.column(1)), [Some("x"), Some("y,\"z\n"), None]);
    assert_eq!(numbers(batch.column(2)), [None, None, None]);
    assert_eq!(rejected, []);
}

#[test]
fn a_header_without_rows_gives_numeric_columns_and_the_end() {
    let source = open(b"a,b", &ReadOptions::default()).unwrap();
    assert!(
        source
            .schema()
            .fields()
            .iter()
            .all(|f| *f.data_type() == DataType::Float64)
    );
    assert_eq!(drain(source).unwrap().0.num_rows(), 0);
}

#[test]
fn bad_rows_name_the_physical_line() {
    let mut text = String::from("a,k\n1,x\n\n2\n3,\"two\nlines\"\nwarm,y\n4,z,5\n6,w\n");
    // The text in column a comes after what inference looks at.
    text.insert_str(4, &"0,x\n".repeat(10_000));
    let (batch, rejected) = read(&text);
    let found: Vec<_> = rejected
        .iter()
        .map(|b| (b.line, b.column.as_deref(), b.bytes.as_slice()))
        .collect();
    let expected: [(u64, Option<&str>, &[u8]); 3] = [
        (10_004, Some("k"), b"2"),
        (10_007, Some("a"), b"warm"),
        (10_008, None, b"4,z,5"),
    ];
    assert_eq!(found, expected);
    assert_eq!(batch.num_rows(), 10_003);
}

#[test]
fn fail_names_the_first_bad_row() {
    let text = format!("a\n{}warm\n\n1,2\n", "1\n".repeat(10_000));
    let said = error(&text);
    for part in ["t.csv", "line 10002", "`a`", "\"warm\"", "--bad-rows"] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn times_are_read_and_a_row_without_one_is_bad() {
    let options = ReadOptions {
        time: Some(("t".into(), TimeUnit::Seconds)),
        ..skip()
    };
    let source = open(b"t,v\n1,10\n,20\nsoon,30\n2,40\n", &options).unwrap();
    let (batch, rejected) = drain(source).unwrap();
    assert_eq!(
        batch.column(0).as_primitive::<TimestampNanosecondType>().values(),
        &[1_000_000_000, 2_000_000_000]
    );
    assert_eq!(rejected.iter().map(|b| b.line).collect::<Vec<_>>(), [3, 4]);
    let absent = ReadOptions {
        time: Some(("x".into(), TimeUnit::Seconds)),
        ..skip()
    };
    assert_eq!(open(b"t\n1\n", &absent).unwrap_err().exit_code(), 2);
}

#[test]
fn only_selected_columns_are_looked_at() {
    let text = format!("a,b,c\n{}warm,2,x\n", "1,2,x\n".repeat(10_000));
    let mut source = open(text.as_bytes(), &ReadOptions::default()).unwrap();
    source.select(&["c".into(), "b".into()]).unwrap();
    let (batch, _) = drain(source).unwrap();
    assert_eq!(
        (batch.num_rows(), batch.schema().field(0).name().as_str()),
        (10_001, "c")
    );
}

#[test]
fn a_column_without_a_name_is_called_by_its_place() {
    let (batch, _) = read(",x,\"\", \n0,1.5,a,\n");
    let names: Vec<_> = batch.schema().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names, ["column_1", "x", "column_3", "column_4"]);
    assert_eq!(numbers(batch.column(0)), [Some(0.0)]);
}

#[test]
fn missing_values_have_these_spellings_and_no_others() {
    for cell in ["", "NA", "NaN", "nan", "null", "None", " NA\t", "\"null\""] {
        let (batch, _) = read(&format!("a,k\n1,x\n{cell},{cell}\n"));
        assert_eq!(numbers(batch.column(0)), [Some(1.0), None], "{cell}");
        assert_eq!(texts(batch.column(1)), [Some("x"), None], "{cell}");
    }
    for cell in [
        "NULL", "Null", "none", "NONE", "n/a", "N/A", "na", "Na", "NAN", "-nan", "+NaN", "nAn", "-", "?",
    ] {
        let (batch, _) = read(&format!("a,k\n1,x\n{cell},{cell}\n"));
        assert_eq!(texts(batch.column(0)), [Some("1"), Some(cell)], "{cell}");
        assert_eq!(texts(batch.column(1)), [Some("x"), Some(cell)], "{cell}");
    }
}

#[test]
fn headers_that_cannot_be_used() {
    for (text, part) in [
        ("a,b,a\n1,2,3\n", "`a` twice"),
        ("a,,column_2\n1,2,3\n", "`column_2` twice"),
        ("\n\n", "no header"),
        ("a\rb\rc", "carriage return"),
        ("\"a\n", "never closed"),
    ] {
        let said = error(text);
        assert!(said.contains(part) && said.contains("t.csv"), "{said}");
    }
}

#[test]
fn an_unclosed_quote_and_an_endless_record_name_their_line() {
    let rows = "1,x\n".repeat(20_000);
    assert!(error(&format!("a,b\n{rows}1,\"x\n2,y\n")).contains("line 20002"));
    let rows = rows.repeat(120);
    let said = error(&format!("a,b\n{rows}1,{}\n", "y".repeat(5 << 20)));
    assert!(said.contains("line 2400002") && said.contains("longer than"), "{said}");
}

#[test]
fn a_record_of_exactly_the_limit_is_read() {
    use crate::io::chunks::RECORD_BYTES_MAX;
    let rows = "x\n".repeat(10_000).repeat(2);
    let (fits, not) = ("y".repeat(RECORD_BYTES_MAX - 1), "y".repeat(RECORD_BYTES_MAX + 1));
    assert_eq!(read(&format!("a\n{rows}{fits}\nz\n")).0.num_rows(), 20_002);
    assert!(error(&format!("a\n{rows}{not}\nz\n")).contains("line 20002"));
}

#[test]
fn a_schema_of_the_inputs_before_is_kept() {
    let options = skip();
    let first = open(b"a,b\n1,x\n", &options).unwrap().schema();
    let again = |text: &'static str| {
        let input = ByteInput::from_reader("u.csv", text.as_bytes(), None, &options).unwrap();
        CsvSource::open(input, "u.csv", b',', &options, Some(first.clone()))
    };
    let (batch, rejected) = drain(again("b,a\n7,2\n8,y\n").unwrap()).unwrap();
    assert_eq!(numbers(batch.column(0)), [Some(2.0)]);
    assert_eq!(texts(batch.column(1)), [Some("7")]);
    assert_eq!(rejected.len(), 1);
    assert!(again("a\n1\n").unwrap_err().to_string().contains("no column `b`"));
    assert!(again("a,b,c\n1,2,3\n").unwrap_err().to_string().contains("`c`"));
}

/// An endless input that tells whether it is still held.
struct Endless {
    _held: Arc<()>,
}

impl std::io::Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let line = b"1,2,3\n";
        let whole = buffer.len().min(6) / 6 * 6;
        buffer[..whole].copy_from_slice(&line[..whole]);
        if whole == 0 {
            buffer.fill(b'1');
            return Ok(buffer.len());
        }
        Ok(whole)
    }
}

#[test]
fn a_dropped_source_lets_go_of_its_input() {
    let held = Arc::new(());
    let options = skip();
    let input = ByteInput::from_reader("e", Endless { _held: held.clone() }, None, &options).unwrap();
    let mut source = CsvSource::open(input, "e", b',', &options, None).unwrap();
    source.chunk_bytes = 4096;
    assert!(matches!(source.read(), Ok(Read::Batch(..))));
    assert!(Arc::strong_count(&held) > 1);
    drop(source);
    let began = Instant::now();
    while Arc::strong_count(&held) > 1 {
        assert!(began.elapsed() < Duration::from_secs(20), "the reading thread goes on");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_source_can_be_read_on_every_thread_of_the_pool_at_once() {
    let text = format!("a\n{}", "1\n".repeat(50_000));
    let count = || {
        let mut source = open(text.as_bytes(), &ReadOptions::default()).unwrap();
        source.chunk_bytes = 1000;
        drain(source).unwrap().0.num_rows()
    };
    let counts = rayon::broadcast(|_| count());
    assert!(counts.iter().all(|rows| *rows == 50_000), "{counts:?}");
}

fn cell() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        Just("1"),
        Just("-2.5e3"),
        Just(""),
        Just("NA"),
        Just("x"),
        Just("\"q\"\"\n,\""),
        Just("\"3\""),
        Just(" 4 "),
        Just("0.12345678901234567"),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn the_rows_are_the_same_for_any_chunk_size(
        rows in proptest::collection::vec(proptest::collection::vec(cell(), 1..5), 0..30),
        end in prop_oneof![Just("\n"), Just("\r\n")],
        sizes in proptest::collection::vec(1usize..80, 1..4),
        last in any::<bool>(),
    ) {
        let mut text = format!("n,k,m{end}");
        for row in &rows {
            text += &row.join(",");
            text += end;
        }
        if last { text.truncate(text.len() - end.len()); }
        let whole = read(&text);
        for size in sizes {
            let mut source = open(text.as_bytes(), &skip()).unwrap();
            source.chunk_bytes = size;
            prop_assert_eq!(&drain(source).unwrap(), &whole, "chunks of {}", size);
        }
        let records = rows.iter().filter(|r| r.len() > 1 || !r[0].is_empty()).count();
        prop_assert_eq!(whole.0.num_rows() + whole.1.len(), records);
    }
}
