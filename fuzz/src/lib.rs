//! What the fuzz targets demand of what they call, beyond not to panic.

use millstream::io::{Read, Source};
use millstream::{Error, Result};

/// Reads a source to its end or its first error and returns the rows, good and rejected.
///
/// # Panics
/// If a batch has other columns than the schema says, a position or the bytes read go backwards, a position does not
/// count the rows, or the source stands still.
pub fn drain(source: &mut dyn Source) -> Result<u64> {
    let schema = source.schema();
    let (mut rows, mut bytes) = (0, 0);
    let mut idle = 0;
    loop {
        match source.read()? {
            Read::End => return Ok(rows),
            Read::Idle => {
                idle += 1;
                assert!(idle < 1000, "bytes in memory do not arrive later");
            }
            Read::Batch(read, position) => {
                let got = read.batch.schema();
                assert_eq!(got.fields().len(), schema.fields().len(), "columns");
                for (got, told) in got.fields().iter().zip(schema.fields()) {
                    assert_eq!((got.name(), got.data_type()), (told.name(), told.data_type()));
                }
                rows += read.batch.num_rows() as u64 + read.rejected.len() as u64;
                assert_eq!(position.rows, rows, "the position counts every row");
                assert!(read.bytes_read >= bytes, "{} after {bytes} bytes", read.bytes_read);
                bytes = read.bytes_read;
            }
        }
    }
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
/// `read` is none where the own parser says that `text` is no number. Where the two languages differ (`nan` is a missing
/// value, the standard library wants no blanks) the target decides before it calls this.
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
