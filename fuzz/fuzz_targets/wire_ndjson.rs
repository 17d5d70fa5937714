//! JSON lines over a wire: any cutting gives what the whole gives, whatever the limit on lines and however the input ends.
//!
//! The first four bytes choose the options and the pieces; the rest is the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millstream::io::TimeUnit;
use millstream::io::live::WireFormat;
use millstream_fuzz::wire::{options, same_in_pieces};

fuzz_target!(|bytes: &[u8]| {
    let Some(([flags, limit, size, at], text)) = bytes.split_first_chunk().map(|(head, text)| (*head, text)) else {
        return;
    };
    let mut options = options(WireFormat::Ndjson);
    options.line_bytes_max = 1 + usize::from(limit);
    if flags & 1 != 0 {
        options.columns = Some(vec!["a".into(), "b".into()]);
    }
    if flags & 2 != 0 {
        options.time = Some(("a".into(), TimeUnit::Milliseconds));
    }
    if flags & 4 != 0 {
        options.keys = vec!["b".into()];
    }
    if flags & 8 != 0 {
        options.numeric = vec!["b".into()];
    }
    same_in_pieces(&options, text, flags & 16 == 0, size.into(), at.into());
});
