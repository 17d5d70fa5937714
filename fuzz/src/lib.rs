//! What the fuzz targets demand of what they call, beyond not to panic.

pub mod wire;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use millstream::error::BadRow;
use millstream::io::{Read, Source};
use millstream::{Error, Result};
use std::sync::Once;

/// Rows after which a source is left: a few bytes may honestly stand for any number of equal rows.
const ROWS_MAX: u64 = 1 << 20;

/// What a source came to.
#[derive(Debug, PartialEq)]
pub struct Drained {
    /// The good rows.
    pub batch: RecordBatch,
    /// The others.
    pub rejected: Vec<BadRow>,
    /// Whether the source came to its end, rather than to more rows than anyone wants to see.
    pub ended: bool,
}

/// Reads a source to its end or its first error and returns the rows, good and rejected.
///
/// # Panics
/// If a batch has other columns than the schema says, a position or the bytes read go backwards, a position does not
/// count the rows, or the source stands still.
pub fn drain(source: &mut dyn Source) -> Result<Drained> {
    let schema = source.schema();
    let names: Vec<_> = schema.fields().iter().map(|f| f.name().clone()).collect();
    drain_columns(source, &names)
}

/// Selects these columns, then reads like [`drain`].
///
/// # Panics
/// As [`drain`], and if the columns come in another order.
pub fn drain_columns(source: &mut dyn Source, columns: &[String]) -> Result<Drained> {
    let schema = source.schema();
    source.select(columns)?;
    let mut drained = Drained {
        batch: RecordBatch::new_empty(schema.clone()),
        rejected: Vec::new(),
        ended: true,
    };
    let (mut batches, mut rows, mut bytes, mut idle) = (Vec::new(), 0, 0, 0);
    loop {
        match source.read()? {
            Read::End => break,
            Read::Idle => {
                idle += 1;
                assert!(idle < 1000, "bytes in memory do not arrive later");
            }
            Read::Batch(read, position) => {
                let got = read.batch.schema();
                assert_eq!(got.fields().len(), columns.len(), "columns");
                for (got, name) in got.fields().iter().zip(columns) {
                    assert_eq!(got.name(), name);
                    let told = schema.field_with_name(name).expect("a selected column is offered");
                    assert_eq!(got.data_type(), told.data_type());
                }
                rows += read.batch.num_rows() as u64 + read.rejected.len() as u64;
                assert_eq!(position.rows, rows, "the position counts every row");
                assert!(read.bytes_read >= bytes, "{} after {bytes} bytes", read.bytes_read);
                bytes = read.bytes_read;
                batches.push(read.batch);
                drained.rejected.extend(read.rejected);
                if rows > ROWS_MAX {
                    drained.ended = false;
                    break;
                }
            }
        }
    }
    if let Some(first) = batches.first() {
        drained.batch = concat_batches(&first.schema(), &batches).expect("batches of one source fit together");
    } else {
        let chosen: Vec<usize> = columns
            .iter()
            .map(|name| schema.index_of(name).expect("offered"))
            .collect();
        drained.batch = drained.batch.project(&chosen).expect("these are its columns");
    }
    Ok(drained)
}

/// What bytes may lead to: an answer, or an error that is about the input.
///
/// # Panics
/// On any other error.
pub fn about_the_input<T>(result: Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(Error::Row(_) | Error::Data(_) | Error::Usage(_) | Error::Limit(_)) => None,
        Err(other) => panic!("bytes alone led to: {other}"),
    }
}

/// Compares an own reading of a decimal number with that of the standard library, bit by bit.
///
/// `read` is none where the own parser says that `text` is no number. Where the two languages differ (`nan` is a
/// missing value, the standard library wants no blanks) the target decides before it calls this.
///
/// # Panics
/// If they differ.
pub fn same_number(text: &str, read: Option<f64>) {
    let standard = text.parse::<f64>().ok();
    assert_eq!(
        read.map(f64::to_bits),
        standard.map(f64::to_bits),
        "{text:?} is {standard:?} and was read as {read:?}"
    );
}

/// Whether a cell says "no value": the words of the contract, written down a second time.
pub fn is_missing(cell: &[u8]) -> bool {
    ["", "NA", "NaN", "nan", "null", "None"].contains(&String::from_utf8_lossy(cell.trim_ascii()).as_ref())
}

/// Bytes that arrive in pieces of a fixed size, like those of a pipe.
#[derive(Debug)]
pub struct Pieces {
    bytes: Vec<u8>,
    at: usize,
    size: usize,
}

impl Pieces {
    /// `bytes` in pieces of `size`, of 1 where that is 0.
    pub fn new(bytes: &[u8], size: usize) -> Self {
        Self {
            bytes: bytes.to_vec(),
            at: 0,
            size: size.max(1),
        }
    }
}

impl std::io::Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let rest = &self.bytes[self.at..];
        let n = rest.len().min(self.size).min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        self.at += n;
        Ok(n)
    }
}

/// Lets the decoders of other crates panic, which the library turns into errors; the fuzzer would take it for a
/// finding.
///
/// A panic anywhere else still ends the run.
pub fn decoders_may_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let file = info.location().map_or("", |l| l.file());
            let decoder = ["arrow-", "parquet-", "flatbuffers-", "lz4_flex-", "bytes-"];
            let elsewhere = file.contains("/library/") || file.contains("/rustc/");
            if !elsewhere && !decoder.iter().any(|name| file.contains(&format!("/{name}"))) {
                before(info);
            }
        }));
    });
}

/// Some of the columns of a schema, chosen by the bits of `mask`, the later ones first where its top bit says so.
pub fn chosen(source: &dyn Source, mask: u8) -> Vec<String> {
    let schema = source.schema();
    let names = schema.fields().iter().enumerate();
    let mut names: Vec<_> = names
        .filter(|(i, _)| mask >> (i % 7) & 1 == 1)
        .map(|(_, field)| field.name().clone())
        .collect();
    if mask & 0x80 != 0 {
        names.reverse();
    }
    names
}

/// Compares the columns of `part` with those of the same names in `whole`.
///
/// # Panics
/// If they differ.
pub fn same_columns(whole: &RecordBatch, part: &RecordBatch) {
    assert_eq!(whole.num_rows(), part.num_rows());
    for (field, column) in part.schema().fields().iter().zip(part.columns()) {
        let same = whole
            .column_by_name(field.name())
            .expect("a selected column is offered");
        assert_eq!(same, column, "column {}", field.name());
    }
}
