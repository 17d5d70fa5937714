//! Every compression read back, and every way in which a stream can be wrong.

use super::*;
use std::io::{Cursor, Write};

fn packed(text: &[u8], compression: Compression) -> Vec<u8> {
    match compression {
        Compression::None => text.to_vec(),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Bzip2 => {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Zstd => {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            encoder.include_checksum(true).unwrap();
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Zip => zipped(&[("a.csv", text)], ::zip::CompressionMethod::Deflated),
    }
}

fn zipped(files: &[(&str, &[u8])], method: ::zip::CompressionMethod) -> Vec<u8> {
    let mut writer = ::zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = ::zip::write::SimpleFileOptions::default().compression_method(method);
    for (name, text) in files {
        writer.start_file(*name, options).unwrap();
        writer.write_all(text).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A zip as it is written into a pipe: lengths and checksum follow the data.
fn streamed_zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ::zip::ZipWriter::new_stream(Vec::new());
    for (name, text) in files {
        writer
            .start_file(*name, ::zip::write::SimpleFileOptions::default())
            .unwrap();
        writer.write_all(text).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

const ALL: [(Compression, &str); 5] = [
    (Compression::None, "csv"),
    (Compression::Gzip, "csv.gz"),
    (Compression::Bzip2, "csv.bz2"),
    (Compression::Zstd, "csv.zst"),
    (Compression::Zip, "csv.zip"),
];

fn text() -> Vec<u8> {
    (0..50_000u32)
        .flat_map(|i| format!("{},{}\n", i, i.wrapping_mul(2_654_435_761)).into_bytes())
        .collect()
}

fn all(mut input: ByteInput) -> Result<Vec<u8>> {
    let (mut whole, mut buffer) = (Vec::new(), vec![0; 10_007]);
    loop {
        let n = input.fill(&mut buffer)?;
        whole.extend_from_slice(&buffer[..n]);
        if n < buffer.len() {
            return Ok(whole);
        }
    }
}

fn piped(bytes: &[u8]) -> Result<Vec<u8>> {
    ByteInput::from_reader("-", Cursor::new(bytes.to_vec()), None, &ReadOptions::default()).and_then(all)
}

fn filed(name: &str, bytes: &[u8]) -> Result<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    ByteInput::open(&path, None, &ReadOptions::default()).and_then(all)
}

fn data_error(result: Result<Vec<u8>>, part: &str) {
    match result {
        Err(Error::Data(said)) => assert!(said.contains(part), "{said:?} lacks {part:?}"),
        other => panic!("{part}: {:?}", other.map(|bytes| bytes.len())),
    }
}

#[test]
fn every_compression_is_read_from_files_and_pipes() {
    let text = text();
    for (compression, extension) in ALL {
        let bytes = packed(&text, compression);
        assert!(
            filed(&format!("a.{extension}"), &bytes).unwrap() == text,
            "{compression:?} file"
        );
        assert!(piped(&bytes).unwrap() == text, "{compression:?} pipe");
    }
    let stored = zipped(&[("a.csv", &text)], ::zip::CompressionMethod::Stored);
    assert!(filed("a.zip", &stored).unwrap() == text && piped(&stored).unwrap() == text);
    let streamed = streamed_zip(&[("a.csv", &text)]);
    assert!(filed("a.zip", &streamed).unwrap() == text && piped(&streamed).unwrap() == text);
}

#[test]
fn several_members_are_one_stream() {
    for (compression, extension) in &ALL[1..4] {
        let bytes = [packed(b"a\n1\n", *compression), packed(b"2\n", *compression)].concat();
        assert_eq!(
            filed(&format!("a.{extension}"), &bytes).unwrap(),
            b"a\n1\n2\n",
            "{compression:?}"
        );
    }
}

/// What follows the last member is padding or an error, never passed over and never data.
#[test]
fn what_follows_a_compressed_stream() {
    for (compression, extension) in &ALL[1..4] {
        let name = format!("a.{extension}");
        let bytes = packed(b"a\n1\n", *compression);
        for tail in [&b"x"[..], b"garbage behind the end", b"\0\0x", b"\x1f", b"\x1f\x8bx"] {
            let tailed = [&bytes[..], tail].concat();
            for result in [filed(&name, &tailed), piped(&tailed)] {
                assert!(matches!(result, Err(Error::Data(_))), "{compression:?} {tail:?}");
            }
        }
    }
    let gzip = packed(b"a\n1\n", Compression::Gzip);
    data_error(piped(&[&gzip[..], b"x"].concat()), "follows its last member");
    // Longer than the buffer of compressed bytes.
    for zeros in [1, 511, 3 * BUFFER_BYTES] {
        let padded = [&gzip[..], &gzip[..], &vec![0; zeros]].concat();
        assert_eq!(piped(&padded).unwrap(), b"a\n1\na\n1\n", "{zeros}");
        data_error(piped(&[&padded[..], b"x"].concat()), "follows its last member");
    }
}

#[test]
fn a_truncated_stream_says_so() {
    let text = text();
    for (compression, extension) in &ALL[1..4] {
        let bytes = packed(&text, *compression);
        for len in [bytes.len() / 2, bytes.len() - 3] {
            data_error(filed(&format!("a.{extension}"), &bytes[..len]), "truncated");
            data_error(piped(&bytes[..len]), "truncated");
        }
    }
    let zip = packed(&text, Compression::Zip);
    data_error(filed("a.zip", &zip[..zip.len() / 2]), "truncated");
    data_error(piped(&zip[..zip.len() / 2]), "truncated");
}

#[test]
fn a_changed_byte_is_noticed() {
    let text = text();
    for (compression, extension) in &ALL[1..] {
        let mut bytes = packed(&text, *compression);
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        assert!(
            matches!(filed(&format!("a.{extension}"), &bytes), Err(Error::Data(_))),
            "{compression:?} file"
        );
        assert!(matches!(piped(&bytes), Err(Error::Data(_))), "{compression:?} pipe");
    }
}

#[test]
fn content_that_the_name_contradicts() {
    let gzip = packed(b"a\n1\n", Compression::Gzip);
    data_error(filed("a.csv", &gzip), "extension .gz");
    data_error(filed("a.csv", &packed(b"a\n1\n", Compression::Zstd)), "extension .zst");
    data_error(filed("a.bz2", &gzip), "looks like gzip, not bzip2");
    data_error(filed("a.csv.gz", b"a\n1\n"), "no gzip file");
    data_error(filed("a.csv.gz", b"\x1f"), "truncated");
    data_error(filed("a.csv.zip", b"a\n1\n"), "zip");
    data_error(filed("a.csv", b"PAR1..."), "--input-format parquet");
    data_error(filed("a.csv", b"ARROW1\0\0"), "--input-format arrow");
    data_error(filed("a.csv.gz", &packed(&gzip, Compression::Gzip)), "gzip inside gzip");
    data_error(piped(b"\xff\xfea\0"), "UTF-16");
    data_error(piped(&packed(b"\xff\xfea\0", Compression::Gzip)), "UTF-16");
}

#[test]
fn nothing_is_not_data() {
    for (compression, extension) in ALL {
        data_error(filed(&format!("a.{extension}"), b""), "is empty");
        data_error(filed(&format!("a.{extension}"), &packed(b"", compression)), "is empty");
    }
    data_error(piped(b""), "is empty");
    data_error(piped(b"\xef\xbb\xbf"), "is empty");
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    assert_eq!(piped(b"\xef\xbb\xbfa\n1\n").unwrap(), b"a\n1\n");
    assert_eq!(piped(&packed(b"\xef\xbb\xbfa\n", Compression::Gzip)).unwrap(), b"a\n");
}

#[test]
fn a_zip_of_several_files_names_them() {
    let files: [(&str, &[u8]); 2] = [("one.csv", b"a\n1\n"), ("two.csv", b"a\n2\n")];
    let bytes = zipped(&files, ::zip::CompressionMethod::Deflated);
    data_error(filed("a.zip", &bytes), "one.csv, two.csv");
    data_error(piped(&bytes), "two.csv");
    data_error(piped(&streamed_zip(&files)), "two.csv");
    data_error(
        filed("a.zip", &zipped(&[], ::zip::CompressionMethod::Stored)),
        "holds no file",
    );
}

#[test]
fn a_bomb_reaches_the_limit_and_honest_data_does_not() {
    let zeros = vec![b'0'; 8 << 20];
    for (compression, _) in &ALL[1..] {
        let options = ReadOptions {
            max_expansion: 20,
            ..ReadOptions::default()
        };
        let bytes = packed(&zeros, *compression);
        let result = ByteInput::from_reader("bomb", Cursor::new(bytes.clone()), None, &options).and_then(all);
        match result {
            Err(Error::Limit(said)) => assert!(said.contains("bomb") && said.contains("--max-expansion"), "{said}"),
            other => panic!("{compression:?}: {:?}", other.map(|bytes| bytes.len())),
        }
        let unbounded = ReadOptions {
            max_expansion: u64::MAX,
            ..ReadOptions::default()
        };
        let result = ByteInput::from_reader("bomb", Cursor::new(bytes), None, &unbounded).and_then(all);
        assert!(result.unwrap() == zeros, "{compression:?}");
    }
}

#[test]
fn paths_that_cannot_be_opened() {
    let folder = tempfile::tempdir().unwrap();
    let open = |path: &Path| ByteInput::open(path, None, &ReadOptions::default()).unwrap_err();
    let Error::Input { source, .. } = open(folder.path()) else {
        panic!("a directory opens")
    };
    assert_eq!(source.kind(), io::ErrorKind::IsADirectory);
    assert_eq!(open(&folder.path().join("absent.csv")).exit_code(), 66);
}

#[test]
fn the_counter_ends_at_the_compressed_size() {
    let bytes = packed(&text(), Compression::Gzip);
    let input = ByteInput::from_reader("-", Cursor::new(bytes.clone()), None, &ReadOptions::default()).unwrap();
    let consumed = input.consumed();
    all(input).unwrap();
    assert_eq!(consumed.load(Ordering::Relaxed), bytes.len() as u64);
}

/// Fails as a disk does, after some bytes.
struct Failing(usize);

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::Error::other("the disk is gone"));
        }
        let n = self.0.min(buffer.len());
        buffer[..n].fill(b'1');
        self.0 -= n;
        Ok(n)
    }
}

#[test]
fn a_failing_disk_is_not_damaged_data() {
    let input = ByteInput::from_reader("d.csv", Failing(100), None, &ReadOptions::default()).unwrap();
    let error = all(input).unwrap_err();
    assert!(
        matches!(&error, Error::Failed(said) if said.contains("d.csv") && said.contains("disk is gone")),
        "{error}"
    );
}
