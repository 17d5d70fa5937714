//! Parquet files: damaged ones are errors, and the others give the same values whichever columns are selected.
//!
//! The first byte chooses the columns; the rest is the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millstream::io::parquet::ParquetSource;
use millstream::io::{BadRows, ReadOptions, TimeUnit};
use millstream_fuzz::{about_the_input, chosen, decoders_may_panic, drain, drain_columns, same_columns};

fuzz_target!(init: decoders_may_panic(), |bytes: &[u8]| {
    let Some((mask, file)) = bytes.split_first() else { return };
    let options = ReadOptions::default();
    let open = || ParquetSource::from_bytes("t", file.to_vec(), &options);
    let Some(mut source) = about_the_input(open()) else { return };
    let names = chosen(&source, *mask);
    let Some(whole) = about_the_input(drain(&mut source)) else { return };
    if names.is_empty() {
        return;
    }
    let mut source = open().expect("it could be opened before");
    let part = drain_columns(&mut source, &names).expect("what can be read as a whole can be read in part");
    assert_eq!(whole.ended, part.ended);
    same_columns(&whole.batch, &part.batch);
    for name in names {
        let timed = ReadOptions {
            time: Some((name, TimeUnit::Seconds)),
            bad_rows: BadRows::Skip,
            ..ReadOptions::default()
        };
        let source = ParquetSource::from_bytes("t", file.to_vec(), &timed);
        if let Some(timed) = about_the_input(source).and_then(|mut source| about_the_input(drain(&mut source))) {
            assert_eq!(timed.batch.num_rows() + timed.rejected.len(), whole.batch.num_rows());
        }
    }
});
