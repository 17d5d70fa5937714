//! Streams of every form, cut at every place, and everything that can be wrong with them.

mod numbers;

use super::*;
use crate::io::TimeUnit;
use crate::io::live::{ColumnType, Counters, Limits, Stop};
use ::arrow::array::{Array, ArrayRef, AsArray};
use ::arrow::datatypes::{Float32Type, Float64Type, Int64Type, TimestampNanosecondType};
use proptest::prelude::*;

fn wire(format: WireFormat) -> WireOptions {
    WireOptions {
        format,
        columns: None,
        types: Default::default(),
        values: ColumnType::F64,
        wanted: None,
        time: None,
        keys: Vec::new(),
        numeric: Vec::new(),
        line_bytes_max: 1 << 20,
    }
}

fn context(wire: WireOptions) -> Context {
    Context {
        name: "main".into(),
        wire: Arc::new(wire),
        limits: Limits::default(),
        stop: Stop::default(),
        counters: Arc::new(Counters::default()),
        schema: Arc::default(),
    }
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// What a decoder gave: each row as text, each bad row as line, bytes and reason, and how it ended.
#[derive(Debug, Clone, PartialEq, Default)]
struct Given {
    rows: Vec<String>,
    bad: Vec<(u64, Vec<u8>, String)>,
    error: Option<String>,
    offset: u64,
    counted: u64,
}

fn show(batch: &RecordBatch, row: usize) -> String {
    let cell = |(field, column): (&Arc<Field>, &ArrayRef)| {
        let value = if column.is_null(row) {
            "-".into()
        } else if let Some(column) = column.as_primitive_opt::<Float64Type>() {
            format!("{:?}", column.value(row))
        } else if let Some(column) = column.as_primitive_opt::<Float32Type>() {
            format!("{:?}f", column.value(row))
        } else if let Some(column) = column.as_primitive_opt::<Int64Type>() {
            format!("{}i", column.value(row))
        } else if let Some(column) = column.as_primitive_opt::<TimestampNanosecondType>() {
            format!("{}ns", column.value(row))
        } else {
            format!("'{}'", column.as_string::<i32>().value(row))
        };
        format!("{}={value}", field.name())
    };
    let schema = batch.schema();
    let cells: Vec<_> = schema.fields().iter().zip(batch.columns()).map(cell).collect();
    cells.join(" ")
}

impl Given {
    fn take(&mut self, decoder: &mut Decoder) {
        loop {
            match decoder.next_rows() {
                Ok(Some(rows)) => {
                    assert!(
                        rows.batch.num_rows() + rows.rejected.len() > 0,
                        "nothing is given as nothing"
                    );
                    self.rows
                        .extend((0..rows.batch.num_rows()).map(|row| show(&rows.batch, row)));
                    for bad in rows.rejected {
                        assert_eq!(bad.source, "test");
                        self.bad.push((bad.line, bad.row, bad.reason));
                    }
                }
                Ok(None) => break,
                Err(error) => self.error = Some(error.to_string()),
            }
        }
        self.offset = decoder.offset();
        self.counted = decoder.rows();
        assert_eq!(self.counted, (self.rows.len() + self.bad.len()) as u64);
    }
}

fn decode<'a>(context: &Context, pieces: impl IntoIterator<Item = &'a [u8]>, whole: bool) -> Given {
    let mut decoder = Decoder::new(context, "test").unwrap();
    let mut given = Given::default();
    for piece in pieces {
        decoder.push(piece);
        given.take(&mut decoder);
    }
    if whole {
        decoder.finish();
    } else {
        decoder.abandon();
    }
    given.take(&mut decoder);
    given
}

/// Decodes `bytes` whole and cut at every place, and byte by byte.
fn at_every_cut(options: &WireOptions, bytes: &[u8], whole: bool) -> Given {
    let want = decode(&context(options.clone()), [bytes], whole);
    for at in 0..=bytes.len() {
        let (first, second) = bytes.split_at(at);
        let mut got = decode(&context(options.clone()), [first, second], whole);
        if want.error.is_some() {
            got.offset = want.offset;
        }
        assert_eq!(got, want, "cut at {at}");
    }
    let mut got = decode(&context(options.clone()), bytes.chunks(1), whole);
    if want.error.is_some() {
        got.offset = want.offset;
    }
    assert_eq!(got, want, "byte by byte");
    want
}

fn bad(line: u64, row: &[u8], reason: &str) -> (u64, Vec<u8>, String) {
    (line, row.to_vec(), reason.into())
}

#[test]
fn csv_is_the_same_wherever_it_is_cut() {
    let text = b"\xef\xbb\xbf\r\nk,x,\"t,\"\"q\",note\n\n1,1.5,2,\"a\nb\"\nx\0y,2,3,c\n2,-,4,d\n3,1e3,5,\xff\r\n\n4,NaN,1.25,\"e\"";
    let mut options = wire(WireFormat::Csv);
    options.time = Some(("t,\"q".into(), TimeUnit::Milliseconds));
    options.keys = strings(&["k"]);
    options.numeric = strings(&["x"]);
    options.types.insert("k".into(), ColumnType::I64);
    let given = at_every_cut(&options, text, true);
    assert_eq!(
        given.rows,
        [
            "k=1i x=1.5 t,\"q=2000000ns note='a\nb'",
            "k=4i x=- t,\"q=1250000ns note='e'"
        ]
    );
    let bad_rows: Vec<_> = given.bad.iter().map(|(line, row, _)| (*line, row.clone())).collect();
    assert_eq!(
        bad_rows,
        [
            (6, b"x\0y,2,3,c".to_vec()),
            (7, b"2,-,4,d".to_vec()),
            (8, b"3,1e3,5,\xff".to_vec())
        ]
    );
    assert_eq!((given.offset, given.error), (text.len() as u64, None));
}

#[test]
fn a_sender_that_stops_within_a_line_has_sent_a_bad_row() {
    let options = wire(WireFormat::Csv);
    let given = at_every_cut(&options, b"a,b\n1,2\n3,4", false);
    assert_eq!(given.rows, ["a=1.0 b=2.0"]);
    assert_eq!(
        given.bad,
        [bad(3, b"3,4", "is where the sender stopped, within a line")]
    );
    let given = at_every_cut(&options, b"a,b", false);
    assert_eq!(given.bad.len(), 1);
    assert_eq!(at_every_cut(&options, b"a,b\n1,2\n", false).bad, []);
    let given = at_every_cut(&wire(WireFormat::Ndjson), b"{\"a\":1}\n{\"a\":", false);
    assert_eq!((given.rows.len(), given.bad.len()), (1, 1));
}

#[test]
fn a_line_that_is_too_long_is_one_bad_row() {
    let mut options = wire(WireFormat::Csv);
    options.line_bytes_max = 8;
    let given = at_every_cut(&options, b"a,b\n1,2\n123456,89\n123456,8\n3,4\n", true);
    assert_eq!(given.rows, ["a=1.0 b=2.0", "a=123456.0 b=8.0", "a=3.0 b=4.0"]);
    assert_eq!(
        given.bad,
        [bad(3, b"123456,8", "begins a line of more than 8 bytes (limits.line)")]
    );
    // Nor does it take the header with it where it comes first, or the lines behind a quote that is never closed.
    let given = at_every_cut(&options, b"a,b\n0123456789\n\"1,2\n3,4\n5,6\n7,8\n9,\"", true);
    assert_eq!(given.rows, ["a=3.0 b=4.0", "a=5.0 b=6.0", "a=7.0 b=8.0"]);
    let lines: Vec<u64> = given.bad.iter().map(|bad| bad.0).collect();
    assert_eq!(lines, [2, 3, 7]);
    assert!(given.bad[1].2.contains("not closed within 8 bytes"), "{:?}", given.bad);
    assert!(given.bad[2].2.contains("never closed"), "{:?}", given.bad);
    let given = at_every_cut(&options, b"abcde,fghi\n1,2\n", true);
    assert!(given.error.unwrap().contains("header is longer than 8 bytes"));
}

#[test]
fn a_bad_row_before_the_end_of_an_input_is_told_too() {
    // A line that is too long behind a header that lacks a column, and before what is no row at all.
    let mut options = wire(WireFormat::Csv);
    options.line_bytes_max = 5;
    options.wanted = Some(strings(&["z"]));
    let given = at_every_cut(&options, b"a,b\n123456789\n1,2\n", true);
    assert_eq!(given.bad.iter().map(|bad| bad.0).collect::<Vec<_>>(), [2, 1]);
    assert!(given.error.unwrap().contains("no column `z`"));
    let mut options = wire(WireFormat::Ndjson);
    options.line_bytes_max = 5;
    let given = at_every_cut(&options, b"123456789\n[1]\n", true);
    assert_eq!(given.bad.iter().map(|bad| bad.0).collect::<Vec<_>>(), [1, 2]);
    assert!(given.error.unwrap().contains("begins with `[`"));
}

#[test]
fn a_line_of_a_gigabyte_takes_no_memory() {
    let mut options = wire(WireFormat::Csv);
    options.line_bytes_max = 1 << 16;
    let context = context(options);
    let mut decoder = Decoder::new(&context, "test").unwrap();
    let piece = vec![b'7'; 1 << 20];
    let mut given = Given::default();
    decoder.push(b"a,b\n1,2\n");
    let mut capacity = 0;
    for _ in 0..1024 {
        decoder.push(&piece);
        given.take(&mut decoder);
        capacity = capacity.max(decoder.capacity_bytes());
    }
    decoder.push(b"\n3,4\n");
    decoder.finish();
    given.take(&mut decoder);
    assert_eq!(given.rows, ["a=1.0 b=2.0", "a=3.0 b=4.0"]);
    assert_eq!(given.bad.len(), 1);
    assert!(capacity <= 16 << 20, "{capacity} bytes");
}

#[test]
fn later_connections_are_matched_by_name() {
    let mut options = wire(WireFormat::Csv);
    options.wanted = Some(strings(&["b", "a"]));
    let context = context(options);
    assert_eq!(decode(&context, [&b"a,b,c\n1,x,3\n"[..]], true).rows, ["b='x' a=1.0"]);
    let given = decode(&context, [&b"z,b,y,a\n9,7,8,6\n9,u,8,u\n"[..]], true);
    assert_eq!(given.rows, ["b='7' a=6.0"]);
    assert_eq!(given.bad.len(), 1);
    let given = decode(&context, [&b"b,c\n1,2\n"[..]], true);
    assert_eq!((given.rows.len(), given.bad.len()), (0, 1));
    assert!(given.error.unwrap().contains("no column `a`"));
    let names: Vec<_> = context
        .schema
        .get()
        .unwrap()
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .collect();
    assert_eq!(names, ["b", "a"]);
}

#[test]
fn rows_wait_until_the_columns_are_settled() {
    let context = context(wire(WireFormat::Csv));
    let mut decoder = Decoder::new(&context, "test").unwrap();
    decoder.push(b"a,b\n");
    decoder.settle();
    assert!(decoder.next_rows().unwrap().is_none() && decoder.is_settling());
    decoder.push(b"1,x\n2,");
    assert_eq!(decoder.next_rows().unwrap().unwrap().batch.num_rows(), 1);
    assert!(!decoder.is_settling());
    // The next one does not wait.
    let mut second = Decoder::new(&context, "test").unwrap();
    second.push(b"b,a\n1,2\n");
    assert_eq!(show(&second.next_rows().unwrap().unwrap().batch, 0), "a=2.0 b='1'");
    // Ten thousand rows are enough.
    let context = self::context(wire(WireFormat::Ndjson));
    let mut decoder = Decoder::new(&context, "test").unwrap();
    let rows = "{\"a\": 1, \"pad\": \"01234567890123456789\"}\n".repeat(10_000);
    decoder.push(&rows.as_bytes()[..rows.len() / 2]);
    assert!(decoder.next_rows().unwrap().is_none());
    decoder.push(&rows.as_bytes()[rows.len() / 2..]);
    assert_eq!(decoder.next_rows().unwrap().unwrap().batch.num_rows(), 10_000);
}

#[test]
fn named_types_need_no_rows() {
    let mut options = wire(WireFormat::Csv);
    options.columns = Some(strings(&["t", "k", "x"]));
    options.wanted = Some(strings(&["x", "t", "k"]));
    options.time = Some(("t".into(), TimeUnit::Seconds));
    options.types = [("x".into(), ColumnType::F64), ("k".into(), ColumnType::Text)].into();
    let given = at_every_cut(&options, b"1,007,2\n2,a,b\n", true);
    assert_eq!(given.rows, ["x=2.0 t=1000000000ns k='007'"]);
    assert_eq!(given.bad.len(), 1);
    let context = context(options);
    let mut decoder = Decoder::new(&context, "test").unwrap();
    decoder.push(b"1,a,2\n");
    assert!(decoder.next_rows().unwrap().is_some());
}

#[test]
fn json_is_the_same_wherever_it_is_cut() {
    let text = b"{\"t\": 1.5, \"a\": 1, \"s\": \"x\\n\"}\n\n[1]\n{\"a\": 2}\n{\"s\": \"\xff\", \"t\": 2}\n{\"a\": \0}\n{\"s\": null, \"new\": 1, \"t\": 3}";
    let mut options = wire(WireFormat::Ndjson);
    options.time = Some(("t".into(), TimeUnit::Seconds));
    let given = at_every_cut(&options, text, true);
    assert_eq!(
        given.rows,
        ["t=1500000000ns a=1.0 s='x\n' new=-", "t=3000000000ns a=- s=- new=1.0"]
    );
    let lines: Vec<u64> = given.bad.iter().map(|bad| bad.0).collect();
    assert_eq!(lines, [3, 4, 5, 6]);
    let given = at_every_cut(&wire(WireFormat::Ndjson), b"[{\"a\": 1}]", true);
    assert!(given.error.unwrap().contains("one a line"));
}

proptest! {
    #[test]
    fn any_text_in_any_pieces_gives_the_same(
        text in "[a0,\"\n\r{}: .-]{0,60}",
        header in any::<bool>(),
        json in any::<bool>(),
        limit in 1usize..40,
        whole in any::<bool>(),
        sizes in proptest::collection::vec(1usize..9, 70),
    ) {
        let mut options = wire(if json { WireFormat::Ndjson } else { WireFormat::Csv });
        options.line_bytes_max = limit;
        options.columns = header.then(|| strings(&["p", "q"]));
        let text = text.into_bytes();
        let want = decode(&context(options.clone()), [&text[..]], whole);
        let (mut pieces, mut rest) = (Vec::new(), &text[..]);
        for size in sizes {
            let (piece, more) = rest.split_at(size.min(rest.len()));
            pieces.push(piece);
            rest = more;
        }
        pieces.push(rest);
        let mut got = decode(&context(options), pieces, whole);
        if want.error.is_some() {
            got.offset = want.offset;
        }
        prop_assert_eq!(got, want);
    }
}
