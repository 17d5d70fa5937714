//! Decoders that misbehave, and the order of what they give.

use super::*;
use crate::io::ReadOptions;
use crate::io::columns::{Columns, Projection, schema_of};
use arrow::array::AsArray;
use arrow::datatypes::{DataType, Float64Type};

struct Lines;

impl Cutter for Lines {
    fn cut(&mut self, bytes: &[u8], _: bool) -> Result<Cut, Uncuttable> {
        Ok(memchr::memrchr(b'\n', bytes).map_or(Cut::Nowhere, |n| Cut::At(n + 1)))
    }
}

/// Gives the length of each line; panics at `panic`, and takes the longer the earlier the chunk.
struct Lengths {
    projection: Projection,
}

impl Decode for Lengths {
    fn decode(&self, bytes: &[u8], len: usize) -> Result<Decoded> {
        assert!(
            bytes[len..].len() >= PADDING && bytes[len..].iter().all(|b| *b == 0),
            "no padding"
        );
        let text = &bytes[..len];
        assert!(memchr::memmem::find(text, b"panic").is_none(), "asked to");
        std::thread::sleep(Duration::from_micros(2000 / (text.len() as u64 + 1)));
        let mut columns = Columns::new(&self.projection, 0);
        for line in text.strip_suffix(b"\n").unwrap_or(text).split(|b| *b == b'\n') {
            columns.number(0, line.len() as f64);
            columns.end_row();
        }
        Ok(Decoded {
            batch: columns.finish(&self.projection)?,
            rejected: Vec::new(),
            lines: count_lines(text),
        })
    }
}

fn chunks(text: &str, chunk_bytes: usize) -> Chunks {
    let input = ByteInput::from_reader(
        "t",
        std::io::Cursor::new(text.to_owned()),
        None,
        &ReadOptions::default(),
    );
    let schema = schema_of([("len".to_string(), DataType::Float64)].into_iter());
    let decoder = Lengths {
        projection: Projection::all(&schema, &[], Default::default()).unwrap(),
    };
    Chunks::start(
        "t",
        Head::new(input.unwrap()),
        Lines,
        Arc::new(decoder),
        &BadRows::Fail,
        1,
        chunk_bytes,
    )
    .unwrap()
}

#[test]
fn batches_come_in_the_order_of_the_input() {
    let text: String = (0..200).map(|n| "x".repeat(n * 7 % 50) + "\n").collect();
    let expected: Vec<f64> = (0..200).map(|n| (n * 7 % 50) as f64).collect();
    for chunk_bytes in [1, 13, 64, 100_000] {
        let mut source = chunks(&text, chunk_bytes);
        let mut found = Vec::new();
        while let Read::Batch(rows, _) = source.read().unwrap() {
            found.extend_from_slice(rows.batch.column(0).as_primitive::<Float64Type>().values());
        }
        assert_eq!(found, expected, "chunks of {chunk_bytes}");
    }
}

#[test]
fn a_last_line_without_an_end_counts() {
    let Read::Batch(rows, position) = chunks("aa\nb", 100).read().unwrap() else {
        panic!("no rows")
    };
    assert_eq!((rows.batch.num_rows(), position.rows, rows.bytes_read), (2, 2, 4));
}

#[test]
fn a_panic_in_a_decoder_is_an_error_and_then_the_end() {
    let mut source = chunks("a\nb\npanic\nc\n", 2);
    let error = loop {
        match source.read() {
            Ok(Read::Batch(..)) => {}
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(&error, Error::Failed(said) if said.starts_with("t: ")),
        "{error}"
    );
    assert!(matches!(source.read(), Ok(Read::End)));
}

#[test]
fn a_record_without_an_end_within_the_limit_is_an_error() {
    let mut source = chunks(&format!("a\nb\n{}", "x".repeat(2 * RECORD_BYTES_MAX)), 4);
    let error = loop {
        if let Err(error) = source.read() {
            break error.to_string();
        }
    };
    assert!(error.contains("t: line 3: a record is longer"), "{error}");
}
