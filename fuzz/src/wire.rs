//! What comes over a wire, given to a decoder whole and in pieces.

use crate::about_the_input;
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use millstream::error::BadRow;
use millstream::io::live::{ColumnType, Context, Limits, Stop, WireFormat, WireOptions};
use millstream::io::wire::Decoder;
use std::sync::Arc;

/// What a decoder came to.
#[derive(Debug, PartialEq)]
pub struct Given {
    /// The good rows; none where there are no batches.
    pub batch: Option<RecordBatch>,
    /// The others.
    pub rejected: Vec<BadRow>,
    /// Why it stopped before the end.
    pub error: Option<String>,
}

/// Options of a wire, to be changed.
pub fn options(format: WireFormat) -> WireOptions {
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

fn decode<'a>(options: &WireOptions, pieces: impl Iterator<Item = &'a [u8]>, whole: bool) -> Given {
    let context = Context {
        name: "f".into(),
        wire: Arc::new(options.clone()),
        limits: Limits::default(),
        stop: Stop::default(),
        counters: Arc::default(),
        schema: Arc::default(),
    };
    let mut decoder = Decoder::new(&context, "f").expect("the options make sense");
    let (mut batches, mut rejected, mut error) = (Vec::new(), Vec::new(), None);
    let mut take = |decoder: &mut Decoder| {
        let mut offset = decoder.offset();
        loop {
            match decoder.next_rows() {
                Ok(None) => break,
                Ok(Some(rows)) => {
                    assert!(decoder.offset() >= offset, "the offset goes forwards");
                    offset = decoder.offset();
                    if rows.batch.num_rows() > 0 {
                        batches.push(rows.batch);
                    }
                    rejected.extend(rows.rejected);
                }
                Err(e) => {
                    error = Some(e.to_string());
                    assert_eq!(about_the_input::<()>(Err(e)), None);
                }
            }
        }
    };
    let mut length = 0;
    for piece in pieces {
        length += piece.len() as u64;
        decoder.push(piece);
        take(&mut decoder);
    }
    if whole {
        decoder.finish();
    } else {
        decoder.abandon();
    }
    take(&mut decoder);
    assert!(
        error.is_some() || decoder.offset() == length,
        "everything has been dealt with"
    );
    let rows = batches.iter().map(RecordBatch::num_rows).sum::<usize>();
    assert_eq!(decoder.rows(), (rows + rejected.len()) as u64, "every row is counted");
    let batch = batches
        .first()
        .map(|first| concat_batches(&first.schema(), &batches).expect("batches of one source fit together"));
    Given { batch, rejected, error }
}

/// Decodes bytes whole, in pieces of `size`, and in two pieces cut at `at`, and returns what all of them give.
///
/// # Panics
/// If they differ.
pub fn same_in_pieces(options: &WireOptions, bytes: &[u8], whole: bool, size: usize, at: usize) -> Given {
    let want = decode(options, std::iter::once(bytes), whole);
    let size = size.max(1).max(bytes.len() / 4096);
    assert_eq!(decode(options, bytes.chunks(size), whole), want, "in pieces of {size}");
    let (first, second) = bytes.split_at(at % (bytes.len() + 1));
    assert_eq!(
        decode(options, [first, second].into_iter(), whole),
        want,
        "cut at {}",
        first.len()
    );
    want
}
