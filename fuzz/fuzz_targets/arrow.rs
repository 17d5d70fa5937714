//! Arrow IPC files and streams: damaged ones are errors, and the others give the same values however the bytes arrive
//! and whichever columns are selected.
//!
//! The first two bytes choose the columns and the pieces; the rest is the file or stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millstream::io::arrow::ArrowSource;
use millstream::io::{BadRows, ReadOptions, TimeUnit};
use millstream_fuzz::{Pieces, about_the_input, chosen, decoders_may_panic, drain, drain_columns, same_columns};

fuzz_target!(init: decoders_may_panic(), |bytes: &[u8]| {
    let Some(([mask, size], file)) = bytes.split_first_chunk().map(|(head, file)| (*head, file)) else {
        return;
    };
    let options = ReadOptions::default();
    let open = |size: usize| ArrowSource::from_reader("t", Pieces::new(file, size), &options);
    let whole = open(file.len()).and_then(|mut source| drain(&mut source));
    let pieces = open(size.into()).and_then(|mut source| drain(&mut source));
    assert_eq!(whole.is_ok(), pieces.is_ok(), "in pieces of {size}");
    let (Some(whole), Some(pieces)) = (about_the_input(whole), about_the_input(pieces)) else {
        return;
    };
    assert_eq!(whole, pieces, "in pieces of {size}");
    let mut source = open(file.len()).expect("it could be opened before");
    let names = chosen(&source, mask);
    let part = drain_columns(&mut source, &names).expect("what can be read as a whole can be read in part");
    assert_eq!(whole.ended, part.ended);
    same_columns(&whole.batch, &part.batch);
    for name in names {
        let timed = ReadOptions {
            time: Some((name, TimeUnit::Seconds)),
            bad_rows: BadRows::Skip,
            ..ReadOptions::default()
        };
        let source = ArrowSource::from_reader("t", Pieces::new(file, file.len()), &timed);
        if let Some(timed) = about_the_input(source).and_then(|mut source| about_the_input(drain(&mut source))) {
            assert_eq!(timed.batch.num_rows() + timed.rejected.len(), whole.batch.num_rows());
        }
    }
});
