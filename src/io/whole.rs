//! What an input looks like from outside, before a format takes it: opening it, its first bytes, all of standard input.
//!
//! The rule: an input that is not what its name says is told apart here, once, so that every format refuses it in the
//! same words: a directory or nothing there is [`Error::Input`], no bytes or the wrong bytes are [`Error::Data`].

use crate::error::{Error, Result, STANDARD_INPUT};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// What standard input may hold, in bytes, where a format needs all of it before the first row (its directory stands
/// at the end): memory that a small machine still has.
pub(crate) const STDIN_BYTES_MAX: u64 = 1 << 30;

/// How many first bytes [`looks_like`] is given: as many as tell text from binary data.
pub(crate) const HEAD_BYTES: usize = 64;

/// The beginning of a Parquet file, and its end.
pub(crate) const PARQUET_MAGIC: &[u8] = b"PAR1";

/// The beginning of an Arrow IPC file, and its end.
pub(crate) const ARROW_MAGIC: &[u8] = b"ARROW1";

/// The beginning of an Arrow IPC stream: every message begins with it.
pub(crate) const ARROW_CONTINUATION: &[u8] = &[0xff; 4];

/// The name under which messages speak of an input: its path, or `standard input`.
pub(crate) fn name(path: &Path) -> String {
    if is_stdin(path) {
        STANDARD_INPUT.into()
    } else {
        path.display().to_string()
    }
}

/// Whether this input is standard input.
pub(crate) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Opens a file and says how many bytes it has.
///
/// # Errors
/// [`Error::Input`] if it cannot be opened or is a directory; [`Error::Data`] if it is empty.
pub(crate) fn open_file(path: &Path) -> Result<(File, u64)> {
    let input = |source| Error::Input {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(input)?;
    let metadata = file.metadata().map_err(input)?;
    if metadata.is_dir() {
        return Err(input(std::io::ErrorKind::IsADirectory.into()));
    }
    if metadata.is_file() && metadata.len() == 0 {
        return Err(empty(path));
    }
    Ok((file, metadata.len()))
}

/// The error for an input of 0 bytes.
pub(crate) fn empty(path: &Path) -> Error {
    Error::Data(format!("{} is empty (0 bytes)", name(path)))
}

/// The error for an input that is not what it was taken for.
pub(crate) fn not_a(what: &str, path: &Path, head: &[u8]) -> Error {
    Error::Data(format!(
        "{} is not {what}: it looks like {}; --input-format names another format",
        name(path),
        looks_like(head)
    ))
}

/// All of `reader`.
///
/// # Errors
/// [`Error::Limit`] beyond `limit_bytes`, [`Error::Data`] if there is nothing, [`Error::Input`] if it cannot be read.
pub(crate) fn read_all(path: &Path, reader: impl Read, limit_bytes: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut bounded = reader.take(limit_bytes + 1);
    bounded.read_to_end(&mut bytes).map_err(|source| Error::Input {
        path: path.to_owned(),
        source,
    })?;
    if bytes.len() as u64 > limit_bytes {
        return Err(Error::Limit(format!(
            "{} holds more than {limit_bytes} bytes, which is the most that is read into memory at once; put it into a file",
            name(path)
        )));
    }
    if bytes.is_empty() { Err(empty(path)) } else { Ok(bytes) }
}

/// What bytes look like that begin like this, as the object of "it looks like".
pub(crate) fn looks_like(head: &[u8]) -> &'static str {
    let known: [(&[u8], &str); 10] = [
        (PARQUET_MAGIC, "a Parquet file"),
        (b"PARE", "an encrypted Parquet file"),
        (ARROW_MAGIC, "an Arrow file"),
        (ARROW_CONTINUATION, "an Arrow stream"),
        (b"FEA1", "a feather file of version 1"),
        (&[0x1f, 0x8b], "gzip-compressed data"),
        (b"BZh", "bzip2-compressed data"),
        (&[0x28, 0xb5, 0x2f, 0xfd], "zstd-compressed data"),
        (b"PK\x03\x04", "a zip archive"),
        (b"SQLite format 3", "an SQLite database"),
    ];
    if let Some((_, what)) = known.iter().find(|(magic, _)| head.starts_with(magic)) {
        return what;
    }
    let head = &head[..head.len().min(HEAD_BYTES)];
    let text = head.iter().all(|&b| b >= 0x20 || b.is_ascii_whitespace());
    match head.trim_ascii_start().first() {
        None if head.is_empty() => "nothing",
        Some(b'{' | b'[') if text => "JSON text",
        _ if text => "text",
        _ => "binary data",
    }
}

/// What `work` says, where a panic inside it means that the input is damaged: decoders of others' crates trust the
/// data.
///
/// # Errors
/// Those of `work`; [`Error::Data`] that names the input for a panic.
pub(crate) fn guarded<T>(input: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let said = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no reason given");
        Err(damaged(input, said))
    })
}

/// The error for an input that begins well but cannot be decoded.
pub(crate) fn damaged(input: &str, why: impl std::fmt::Display) -> Error {
    Error::Data(format!("{input} is damaged or truncated: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_are_named() {
        for (head, want) in [
            (&b"PAR1xx"[..], "a Parquet file"),
            (b"ARROW1\0\0", "an Arrow file"),
            (b"\xff\xff\xff\xff\x10", "an Arrow stream"),
            (b"\x1f\x8b\x08", "gzip-compressed data"),
            (b" \n [1]", "JSON text"),
            (b"a,b\n1,2\n", "text"),
            ("größe,x\n".as_bytes(), "text"),
            (b"a\0b", "binary data"),
            (b"", "nothing"),
        ] {
            assert_eq!(looks_like(head), want, "{head:?}");
        }
    }

    #[test]
    fn a_panic_becomes_an_error_that_names_the_input() {
        let error = guarded::<()>("x.parquet", || panic!("index {} out of range", 7)).unwrap_err();
        assert_eq!(error.exit_code(), 65);
        assert!(
            error.to_string().contains("x.parquet") && error.to_string().contains("index 7"),
            "{error}"
        );
    }

    #[test]
    fn reading_everything_is_bounded() {
        let path = Path::new("-");
        assert_eq!(read_all(path, &b"abc"[..], 3).unwrap(), b"abc");
        assert!(
            matches!(read_all(path, &b"abcd"[..], 3), Err(Error::Limit(m)) if m.starts_with("standard input holds"))
        );
        assert!(matches!(read_all(path, &b""[..], 3), Err(Error::Data(m)) if m.contains("is empty")));
    }

    #[test]
    fn directories_and_missing_files_cannot_be_opened() {
        let directory = tempfile::tempdir().unwrap();
        for path in [directory.path().to_owned(), directory.path().join("none")] {
            let error = open_file(&path).unwrap_err();
            assert_eq!(error.exit_code(), 66, "{error}");
            assert!(error.to_string().contains(&name(&path)));
        }
    }
}
