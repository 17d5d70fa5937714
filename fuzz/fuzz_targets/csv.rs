//! Delimited text: the same rows however the bytes arrive and whichever columns are selected, and those that the crate
//! `csv` reads.
//!
//! The first three bytes choose the options; the rest is the text.
#![no_main]

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float64Type};
use libfuzzer_sys::fuzz_target;
use millstream::io::bytes::{ByteInput, Compression};
use millstream::io::csv::CsvSource;
use millstream::io::{BadRows, ReadOptions, Source, TimeUnit};
use millstream_fuzz::{Drained, Pieces, about_the_input, chosen, drain, drain_columns, is_missing, same_columns};

/// Rows up to which all of them decide the types of the columns.
const INFERRED_ROWS: usize = 10_000;

fn open(text: &[u8], size: usize, delimiter: u8, options: &ReadOptions) -> millstream::Result<CsvSource> {
    let input = ByteInput::from_reader("t", Pieces::new(text, size), Some(Compression::None), options)?;
    CsvSource::open(input, "t", delimiter, options, None)
}

/// What the crate `csv` makes of it: the header, then the records.
fn reference(text: &[u8], delimiter: u8) -> Option<(Vec<String>, Vec<csv::ByteRecord>)> {
    // That crate ends lines at a lone carriage return, too.
    let lone = |i: usize| text[i] == b'\r' && text.get(i + 1) != Some(&b'\n');
    if (0..text.len()).any(lone) {
        return None;
    }
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .from_reader(text);
    let mut records = reader.byte_records().map(|record| record.expect("bytes in memory"));
    let name = |(i, name): (usize, &[u8])| match String::from_utf8_lossy(name).trim() {
        "" => format!("column_{}", i + 1),
        name => name.to_owned(),
    };
    let header = records.next()?.iter().enumerate().map(name).collect();
    Some((header, records.collect()))
}

fn number(cell: &[u8]) -> Option<f64> {
    std::str::from_utf8(cell.trim_ascii()).ok()?.parse().ok()
}

fn compare(found: &Drained, header: &[String], records: &[csv::ByteRecord]) {
    let schema = found.batch.schema();
    let names: Vec<_> = schema.fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names, header);
    let fitting: Vec<_> = records.iter().filter(|r| r.len() == header.len()).collect();
    let text = |i: usize| *schema.field(i).data_type() == DataType::Utf8;
    let readable = |r: &csv::ByteRecord| {
        (0..header.len()).all(|i| !text(i) || is_missing(&r[i]) || std::str::from_utf8(&r[i]).is_ok())
    };
    let good: Vec<_> = fitting.iter().filter(|r| readable(r)).collect();
    assert_eq!(found.batch.num_rows(), good.len(), "good rows");
    assert_eq!(found.rejected.len(), records.len() - good.len(), "bad rows");
    for i in 0..header.len() {
        let column = found.batch.column(i);
        let spells_text = |r: &&csv::ByteRecord| !is_missing(&r[i]) && number(&r[i]).is_none_or(f64::is_nan);
        assert_eq!(text(i), fitting.iter().any(spells_text), "the type of column {i}");
        for (row, record) in good.iter().enumerate() {
            let cell = &record[i];
            assert_eq!(column.is_null(row), is_missing(cell), "{i} {row} {cell:?}");
            if column.is_null(row) {
                continue;
            }
            if text(i) {
                assert_eq!(column.as_string::<i32>().value(row).as_bytes(), cell);
            } else {
                let value = column.as_primitive::<Float64Type>().value(row);
                assert_eq!(Some(value.to_bits()), number(cell).map(f64::to_bits), "{cell:?}");
            }
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some(([flags, size, mask], text)) = bytes.split_first_chunk().map(|(head, text)| (*head, text)) else {
        return;
    };
    let delimiter = if flags & 1 == 0 { b',' } else { b'\t' };
    let mut options = ReadOptions::default();
    if flags & 2 == 0 {
        options.bad_rows = BadRows::Skip;
    }
    if flags & 4 != 0 {
        let Some(source) = about_the_input(open(text, text.len(), delimiter, &options)) else {
            return;
        };
        options.time = Some((source.schema().field(0).name().clone(), TimeUnit::Milliseconds));
    }
    let whole = open(text, text.len(), delimiter, &options).and_then(|mut source| drain(&mut source));
    let pieces = open(text, size.into(), delimiter, &options).and_then(|mut source| drain(&mut source));
    assert_eq!(format!("{whole:?}"), format!("{pieces:?}"), "in pieces of {size}");
    let Some(whole) = about_the_input(whole) else { return };
    if whole.rejected.is_empty() {
        let mut source = open(text, text.len(), delimiter, &options).expect("it could be opened before");
        let names = chosen(&source, mask);
        let part = drain_columns(&mut source, &names).expect("what all columns fit, some fit");
        assert_eq!(part.rejected, []);
        same_columns(&whole.batch, &part.batch);
    }
    if options.time.is_none()
        && whole.ended
        && let Some((header, records)) = reference(text, delimiter)
        && records.len() <= INFERRED_ROWS
    {
        compare(&whole, &header, &records);
    }
});
