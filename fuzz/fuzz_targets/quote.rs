//! The quotation of offending bytes in messages: bounded, printable, whatever they are.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millstream::error::{QUOTED_BYTES_MAX, quote};

fuzz_target!(|bytes: &[u8]| {
    let text = quote(bytes);
    // An escaped byte takes at most four characters; two quotation marks and an ellipsis stand around them.
    assert!(text.chars().count() <= 4 * QUOTED_BYTES_MAX + 3, "{text:?}");
    assert!(
        text.chars().all(|c| c == '…' || c.is_ascii_graphic() || c == ' '),
        "{text:?}"
    );
    assert_eq!(text.contains('…'), bytes.len() > QUOTED_BYTES_MAX);
});
