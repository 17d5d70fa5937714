//! Decimal numbers: bit for bit what the standard library reads.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millstream::io::number::parse_f64;
use millstream_fuzz::same_number;

fuzz_target!(|bytes: &[u8]| {
    match std::str::from_utf8(bytes) {
        Ok(text) => same_number(text, parse_f64(bytes)),
        Err(_) => assert_eq!(parse_f64(bytes), None, "what is no text is no number"),
    }
});
