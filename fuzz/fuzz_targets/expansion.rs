//! Compressed inputs: what comes out is bounded by what went in, however the bytes arrive, and what was packed comes
//! out again, unless it is cut short.
//!
//! The first byte chooses the compression, the second the pieces; the rest is packed data, or data to be packed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millstream::io::ReadOptions;
use millstream::io::bytes::{ByteInput, Compression, EXPANSION_SLACK_BYTES};
use millstream_fuzz::{Pieces, about_the_input};
use std::io::Write;

/// A bound that the fuzzer reaches.
const MAX_EXPANSION: u64 = 10;

/// Bytes asked for at once.
const BUFFER_BYTES: usize = 4096;

fn options() -> ReadOptions {
    ReadOptions {
        max_expansion: MAX_EXPANSION,
        ..ReadOptions::default()
    }
}

fn all(mut input: ByteInput) -> millstream::Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut buffer = [0; BUFFER_BYTES];
    loop {
        let n = input.fill(&mut buffer)?;
        out.extend_from_slice(&buffer[..n]);
        if n < buffer.len() {
            return Ok(out);
        }
    }
}

fn unpack(bytes: &[u8], size: usize, compression: Option<Compression>) -> millstream::Result<Vec<u8>> {
    ByteInput::from_reader("t", Pieces::new(bytes, size), compression, &options()).and_then(all)
}

fn pack(bytes: &[u8], compression: Compression) -> std::io::Result<Vec<u8>> {
    match compression {
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes)?;
            encoder.finish()
        }
        Compression::Bzip2 => {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            encoder.write_all(bytes)?;
            encoder.finish()
        }
        _ => zstd::encode_all(bytes, 1),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some(([choice, size], bytes)) = bytes.split_first_chunk().map(|(head, bytes)| (*head, bytes)) else {
        return;
    };
    let compression = [
        None,
        Some(Compression::Gzip),
        Some(Compression::Bzip2),
        Some(Compression::Zstd),
        Some(Compression::Zip),
    ][usize::from(choice) % 5];
    let whole = unpack(bytes, bytes.len(), compression);
    let pieces = unpack(bytes, size.into(), compression);
    assert_eq!(whole.is_ok(), pieces.is_ok(), "{whole:?} {pieces:?}");
    let (whole, pieces) = (about_the_input(whole), about_the_input(pieces));
    assert_eq!(whole, pieces, "in pieces of {size}");
    if let Some(whole) = whole {
        let bound = bytes.len() as u64 * MAX_EXPANSION + EXPANSION_SLACK_BYTES;
        assert!(whole.len() as u64 <= bound, "{} bytes of {}", whole.len(), bytes.len());
    }
    let Some(compression) = compression.filter(|c| *c != Compression::Zip) else {
        return;
    };
    let packed = pack(bytes, compression).expect("memory takes everything");
    let Some(unpacked) = about_the_input(unpack(&packed, size.into(), Some(compression))) else {
        // Nothing, data that is packed twice, and what reaches the bound.
        return;
    };
    assert_eq!(unpacked, bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes));
    let cut = packed.len() * usize::from(size) / 256;
    assert!(
        unpack(&packed[..cut], packed.len(), Some(compression)).is_err(),
        "cut to {cut} of {} bytes",
        packed.len()
    );
});
