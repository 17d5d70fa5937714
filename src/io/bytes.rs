//! Byte streams: a path or standard input, opened, decompressed, counted and bounded.
//!
//! [`ByteInput`] is what every text format reads from. It refuses early what cannot be right (a directory, nothing at
//! all, content that contradicts the name), and says of a stream that breaks off whether it is truncated or damaged.
//! The compressed bytes consumed so far stand in a shared counter for the progress bar; decompression stops with an
//! error once the output exceeds [`ReadOptions::max_expansion`] times the input, so that a bomb cannot fill a disk or
//! run for days. A byte order mark of UTF-8 is passed over; one of UTF-16 is an error, as its text would be.

mod gzip;
mod zip;

use super::{ReadOptions, whole};
use crate::error::{Error, Result, STANDARD_INPUT};
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Decompressed bytes that are free of the expansion bound: tiny files of one repeated value compress without limit.
pub const EXPANSION_SLACK_BYTES: u64 = 64 << 10;

/// Compressed bytes read at once: few system calls, and small enough that the progress bar moves.
const BUFFER_BYTES: usize = 128 << 10;

/// Bytes looked at to recognise a content: the longest signature below.
const SIGNATURE_BYTES: usize = 6;

/// How a byte stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, one member or several; zeros may follow the last one, as gzip(1) allows.
    Gzip,
    /// bzip2, one stream or several.
    Bzip2,
    /// Zstandard, one frame or several.
    Zstd,
    /// A zip archive that holds exactly one file.
    Zip,
}

impl Compression {
    /// The compression that a name's last extension stands for.
    ///
    /// ```
    /// use millstream::io::bytes::Compression;
    /// assert_eq!(Compression::of_name("a.csv.GZ".as_ref()), Compression::Gzip);
    /// assert_eq!(Compression::of_name("a.csv".as_ref()), Compression::None);
    /// ```
    pub fn of_name(path: &Path) -> Self {
        let extension = path
            .extension()
            .unwrap_or_default()
            .to_string_lossy()
            .to_ascii_lowercase();
        match extension.as_str() {
            "gz" | "gzip" => Self::Gzip,
            "bz2" | "bzip2" => Self::Bzip2,
            "zst" | "zstd" => Self::Zstd,
            "zip" => Self::Zip,
            _ => Self::None,
        }
    }

    /// What messages call it.
    fn name(self) -> &'static str {
        match self {
            Self::None => "plain text",
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Zstd => "zstd",
            Self::Zip => "zip",
        }
    }
}

/// A content that its first bytes give away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Compressed(Compression),
    /// A format that is read, but not as text; with its `--input-format`.
    Columnar(&'static str, &'static str),
    /// Something that is not read at all.
    Foreign(&'static str),
}

impl Content {
    fn of(head: &[u8]) -> Option<Self> {
        const SIGNATURES: [(&[u8], Content); 11] = [
            (b"\x1f\x8b", Content::Compressed(Compression::Gzip)),
            (b"BZh", Content::Compressed(Compression::Bzip2)),
            (b"\x28\xb5\x2f\xfd", Content::Compressed(Compression::Zstd)),
            (b"PK\x03\x04", Content::Compressed(Compression::Zip)),
            (b"PK\x05\x06", Content::Compressed(Compression::Zip)),
            (b"PAR1", Content::Columnar("Parquet", "parquet")),
            (b"ARROW1", Content::Columnar("Arrow IPC", "arrow")),
            (b"\xfd7zXZ\0", Content::Foreign("xz")),
            (b"\x04\x22\x4d\x18", Content::Foreign("lz4")),
            (b"\xff\xfe", Content::Foreign("UTF-16 text")),
            (b"\xfe\xff", Content::Foreign("UTF-16 text")),
        ];
        SIGNATURES
            .iter()
            .find(|(signature, _)| head.starts_with(signature))
            .map(|(_, content)| *content)
    }
}

/// A decompressed, counted and bounded byte stream with a name for messages.
pub struct ByteInput {
    name: String,
    stream: Box<dyn Read + Send>,
    /// What has been read ahead to recognise the content, not yet given out.
    head: Vec<u8>,
    consumed: Arc<AtomicU64>,
    system_failed: Arc<AtomicBool>,
    compression: Compression,
    size_bytes: Option<u64>,
    produced: u64,
    max_expansion: u64,
}

impl fmt::Debug for ByteInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteInput")
            .field("name", &self.name)
            .field("compression", &self.compression)
            .field("consumed", &self.consumed)
            .field("produced", &self.produced)
            .finish_non_exhaustive()
    }
}

impl ByteInput {
    /// Opens a path, or standard input for `-`.
    ///
    /// Without `compression` a path's extension decides, and the first bytes of standard input do.
    ///
    /// # Errors
    /// [`Error::Input`] where the path cannot be opened or is a directory; [`Error::Data`] for an empty input and for
    /// a content that is not what the name says.
    pub fn open(path: &Path, compression: Option<Compression>, options: &ReadOptions) -> Result<Self> {
        if whole::is_stdin(path) {
            return Self::from_reader(STANDARD_INPUT, io::stdin(), compression, options);
        }
        let input = |source| Error::Input {
            path: path.into(),
            source,
        };
        let compression = compression.unwrap_or_else(|| Compression::of_name(path));
        let metadata = std::fs::metadata(path).map_err(input)?;
        if metadata.is_dir() {
            return Err(input(io::Error::new(
                io::ErrorKind::IsADirectory,
                "is a directory, not a file",
            )));
        }
        let file = File::open(path).map_err(input)?;
        let name = whole::name(path);
        let size_bytes = metadata.is_file().then_some(metadata.len());
        let mut opened = if compression == Compression::Zip && metadata.is_file() {
            let member = zip::only_member(&name, &file)?;
            (&file).rewind().map_err(input)?;
            Self::assemble(&name, file, Some(compression), Some(member), options)?
        } else {
            Self::assemble(&name, file, Some(compression), None, options)?
        };
        opened.size_bytes = size_bytes;
        Ok(opened)
    }

    /// Takes any reader for an input; without `compression` its first bytes decide.
    ///
    /// # Errors
    /// As [`ByteInput::open`], but for the opening.
    pub fn from_reader(
        name: &str,
        reader: impl Read + Send + 'static,
        compression: Option<Compression>,
        options: &ReadOptions,
    ) -> Result<Self> {
        Self::assemble(name, reader, compression, None, options)
    }

    fn assemble(
        name: &str,
        reader: impl Read + Send + 'static,
        compression: Option<Compression>,
        member: Option<zip::Member>,
        options: &ReadOptions,
    ) -> Result<Self> {
        let consumed = Arc::new(AtomicU64::new(0));
        let system_failed = Arc::new(AtomicBool::new(false));
        let mut counted = Counted {
            inner: reader,
            consumed: consumed.clone(),
            failed: system_failed.clone(),
        };
        let mut input = Self {
            name: name.into(),
            stream: Box::new(io::empty()),
            head: Vec::new(),
            consumed,
            system_failed,
            compression: compression.unwrap_or(Compression::None),
            size_bytes: None,
            produced: 0,
            max_expansion: options.max_expansion,
        };
        let mut raw_head = Vec::new();
        let skip = member.as_ref().map_or(0, |m| m.data_start);
        if skip == 0 {
            let got = (&mut counted).take(SIGNATURE_BYTES as u64).read_to_end(&mut raw_head);
            got.map_err(|e| input.broken(e))?;
            if raw_head.is_empty() {
                return Err(Error::Data(format!("{name} is empty")));
            }
            let content = Content::of(&raw_head);
            if let (None, Some(Content::Compressed(found))) = (compression, content) {
                input.compression = found;
            }
            input.refuse(content, input.compression, raw_head.len())?;
        } else {
            io::copy(&mut (&mut counted).take(skip), &mut io::sink()).map_err(|e| input.broken(e))?;
        }
        let raw = io::Cursor::new(raw_head).chain(counted);
        if input.compression == Compression::None {
            input.stream = Box::new(raw);
        } else {
            let raw = BufReader::with_capacity(BUFFER_BYTES, raw);
            input.stream = input.decompressor(raw, member)?;
        }
        input.pass_over_mark()?;
        Ok(input)
    }

    /// The name that messages use.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How the stream is compressed.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// The compressed bytes consumed so far; goes on counting while the stream is read.
    pub fn consumed(&self) -> Arc<AtomicU64> {
        self.consumed.clone()
    }

    /// The compressed size, where it is known beforehand.
    pub fn size_bytes(&self) -> Option<u64> {
        self.size_bytes
    }

    /// Fills `buffer` from its start; less than its length means the end.
    ///
    /// # Errors
    /// [`Error::Data`] for a truncated or damaged stream, [`Error::Limit`] for one that expands beyond
    /// [`ReadOptions::max_expansion`], [`Error::Failed`] where the system cannot read on.
    pub fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut len = self.head.len().min(buffer.len());
        buffer[..len].copy_from_slice(&self.head[..len]);
        self.head.drain(..len);
        while len < buffer.len() {
            match self.stream.read(&mut buffer[len..]) {
                Ok(0) => break,
                Ok(n) => {
                    len += n;
                    self.produced += n as u64;
                    self.check_expansion()?;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.broken(e)),
            }
        }
        Ok(len)
    }

    /// The next bytes, up to `len` of them, which stay where they are.
    ///
    /// # Errors
    /// As [`fill`](Self::fill).
    pub(crate) fn peek(&mut self, len: usize) -> Result<&[u8]> {
        let mut head = vec![0; len];
        let got = self.fill(&mut head)?;
        head.truncate(got);
        head.append(&mut self.head);
        self.head = head;
        Ok(&self.head[..got])
    }

    fn check_expansion(&self) -> Result<()> {
        let consumed = self.consumed.load(Ordering::Relaxed);
        let bound = consumed
            .saturating_mul(self.max_expansion)
            .saturating_add(EXPANSION_SLACK_BYTES);
        if self.compression == Compression::None || self.produced <= bound {
            return Ok(());
        }
        Err(Error::Limit(format!(
            "{}: {consumed} bytes of {} expand to more than {} bytes, over {} times their size; --max-expansion raises the bound",
            self.name,
            self.compression.name(),
            self.produced,
            self.max_expansion
        )))
    }

    /// Refuses a raw content that contradicts the compression.
    fn refuse(&self, content: Option<Content>, expected: Compression, len: usize) -> Result<()> {
        let name = &self.name;
        let said = match content {
            Some(Content::Compressed(found)) if found == expected => return Ok(()),
            Some(Content::Compressed(found)) => {
                let extension = match found {
                    Compression::Gzip => ".gz",
                    Compression::Bzip2 => ".bz2",
                    Compression::Zstd => ".zst",
                    Compression::Zip | Compression::None => ".zip",
                };
                format!(
                    "looks like {}, not {}: give its name the extension {extension}",
                    found.name(),
                    expected.name()
                )
            }
            Some(Content::Columnar(what, option)) => {
                format!(
                    "looks like {what}, not {}: use --input-format {option}",
                    expected.name()
                )
            }
            Some(Content::Foreign(what)) => {
                format!("looks like {what}, which is not read: convert it to plain UTF-8 text or gzip")
            }
            None if expected == Compression::None => return Ok(()),
            None if len < 2 => format!("is truncated: it ends within the {} header", expected.name()),
            None => format!(
                "is damaged or no {} file: it does not begin as one; a plain file needs a name without that extension",
                expected.name()
            ),
        };
        Err(Error::Data(format!("{name} {said}")))
    }

    fn decompressor(
        &self,
        raw: impl BufRead + Send + 'static,
        member: Option<zip::Member>,
    ) -> Result<Box<dyn Read + Send>> {
        Ok(match self.compression {
            Compression::None => Box::new(raw),
            Compression::Gzip => Box::new(gzip::Members::new(raw)),
            Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(raw)),
            Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(raw).map_err(|e| self.broken(e))?),
            Compression::Zip => match member {
                Some(member) => Box::new(zip::MemberReader::new(raw, member)),
                None => zip::stream_member(&self.name, raw)?,
            },
        })
    }

    /// Reads the first decompressed bytes, drops the byte order mark, refuses what is no text.
    fn pass_over_mark(&mut self) -> Result<()> {
        let mut head = vec![0; SIGNATURE_BYTES];
        let len = self.fill(&mut head)?;
        head.truncate(len);
        if self.compression != Compression::None {
            if len == 0 {
                return Err(Error::Data(format!(
                    "{} is empty: its {} holds nothing",
                    self.name,
                    self.compression.name()
                )));
            }
            if let Some(content) = Content::of(&head) {
                let what = match content {
                    Content::Compressed(again) => again.name(),
                    Content::Columnar(what, _) | Content::Foreign(what) => what,
                };
                let outer = self.compression.name();
                return Err(Error::Data(format!(
                    "{} looks like {what} inside {outer}: unpack it first",
                    self.name
                )));
            }
        }
        if head.starts_with(b"\xef\xbb\xbf") {
            head.drain(..3);
            if head.is_empty() {
                return Err(Error::Data(format!("{} is empty but for a byte order mark", self.name)));
            }
        }
        self.head = head;
        Ok(())
    }

    /// What a failed read means: the system's failure, or a stream that breaks off or makes no sense.
    fn broken(&self, e: io::Error) -> Error {
        let name = &self.name;
        if self.system_failed.load(Ordering::Relaxed) {
            return Error::Failed(format!("{name}: reading failed: {e}"));
        }
        let kind = self.compression.name();
        match e.kind() {
            io::ErrorKind::UnexpectedEof => Error::Data(format!("{name} is truncated: its {kind} stream breaks off")),
            _ => Error::Data(format!("{name} is damaged: its {kind} stream cannot be unpacked: {e}")),
        }
    }
}

/// Counts what passes, and remembers whether it was the system that failed.
struct Counted<R> {
    inner: R,
    consumed: Arc<AtomicU64>,
    failed: Arc<AtomicBool>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(buffer) {
            Ok(n) => {
                self.consumed.fetch_add(n as u64, Ordering::Relaxed);
                Ok(n)
            }
            Err(e) => {
                if e.kind() != io::ErrorKind::Interrupted {
                    self.failed.store(true, Ordering::Relaxed);
                }
                Err(e)
            }
        }
    }
}

#[cfg(test)]
mod tests;
