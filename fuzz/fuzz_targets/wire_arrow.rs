//! Arrow streams over a wire: any cutting gives what the whole gives.
//!
//! The first three bytes choose the options and the pieces; the rest are streams.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millstream::io::TimeUnit;
use millstream::io::live::WireFormat;
use millstream_fuzz::decoders_may_panic;
use millstream_fuzz::wire::{options, same_in_pieces};

fuzz_target!(init: decoders_may_panic(), |bytes: &[u8]| {
    let Some(([flags, size, at], streams)) = bytes.split_first_chunk().map(|(head, rest)| (*head, rest)) else {
        return;
    };
    let mut options = options(WireFormat::Arrow);
    if flags & 1 != 0 {
        options.time = Some(("a".into(), TimeUnit::Seconds));
    }
    if flags & 2 != 0 {
        options.keys = vec!["b".into()];
    }
    same_in_pieces(&options, streams, flags & 4 == 0, size.into(), at.into());
});
