//! Arrow IPC: files (feather of version 2 is one) and streams, told apart by their first bytes; lz4 and zstd inside.
//!
//! A stream is read as it arrives, from standard input too; an IPC file from standard input is read into memory first,
//! because its directory stands at its end. Batches of any size are cut into slices of a common size without copying.
//!
//! The rule: the same columns, types and bad rows as Parquet, and a damaged input is an error
//! that names it. A stream may end without its end mark, as the format allows, but not within a message.

pub(crate) mod claims;

use crate::error::{Error, Result};
use crate::io::columnar::{BATCH_ROWS, Shape};
use crate::io::whole::{self, ARROW_CONTINUATION, ARROW_MAGIC, HEAD_BYTES, STDIN_BYTES_MAX};
use crate::io::{About, Position, Read, ReadOptions, Rows, Source};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::Block;
use arrow::ipc::reader::{FileReader, StreamReader};
use claims::{Bound, Checked};
use std::fs::File;
use std::io::{BufReader, Cursor, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

/// Bytes that are read from a file at once.
const BUFFER_BYTES: usize = 1 << 18;

/// Every part of a stream is padded to this many bytes, so an end at another place is within a message.
const ALIGNMENT_BYTES: u64 = 4;

/// The rows of an Arrow IPC file or stream.
#[derive(Debug)]
pub struct ArrowSource {
    bound: Bound,
    shape: Shape,
    reader: Reader,
    /// A batch of the input, and how many of its rows have been given.
    current: Option<(RecordBatch, usize)>,
    rows_read: u64,
    started: bool,
}

/// Where the batches come from.
#[derive(Debug)]
enum Reader {
    /// An IPC file: opened again once the columns are known, so that only those are decoded.
    File(IpcFile, Option<Box<Blocks>>),
    /// A stream: every column is decoded as it passes.
    Stream(Box<StreamReader<Checked<Counted<Incoming>>>>),
    Ended,
}

/// The batches of an IPC file.
#[derive(Debug)]
struct Blocks {
    reader: FileReader<Counted<IpcFile>>,
    /// Where the batches that are still to come lie.
    rest: std::vec::IntoIter<Block>,
}

impl ArrowSource {
    /// Opens the Arrow IPC file or stream at `path`; `-` is standard input.
    ///
    /// # Errors
    /// [`Error::Input`] if it cannot be opened; [`Error::Data`] if it is empty, damaged or no Arrow data;
    /// [`Error::Usage`] if the time column is not there or holds no times; [`Error::Limit`] for an IPC file of more
    /// than 1 GiB on standard input.
    pub fn open(path: &Path, options: &ReadOptions) -> Result<Self> {
        let incoming: Incoming = if whole::is_stdin(path) {
            Box::new(std::io::stdin())
        } else {
            let (mut file, _) = whole::open_file(path)?;
            let input = |source| Error::Input {
                path: path.to_owned(),
                source,
            };
            let (head, seekable) = (head_of(path, &mut file)?, file.rewind().is_ok());
            match seekable {
                true if head.starts_with(ARROW_MAGIC) => {
                    return Self::from_file(path, IpcFile::Disk(Arc::new(file)), options);
                }
                true => Box::new(file),
                false => Box::new(std::io::Read::chain(
                    Cursor::new(head),
                    file.try_clone().map_err(input)?,
                )),
            }
        };
        Self::from_incoming(path, incoming, options)
    }

    /// Reads an Arrow IPC file or stream that comes from `reader`; `name` is what messages call it.
    ///
    /// # Errors
    /// As [`open`](Self::open), but for the opening; an IPC file of more than 1 GiB is an [`Error::Limit`].
    ///
    /// ```
    /// use millstream::io::{ReadOptions, arrow::ArrowSource};
    /// let error = ArrowSource::from_reader("upload", &b"a,b"[..], &ReadOptions::default()).unwrap_err();
    /// assert!(error.to_string().starts_with("upload is not Arrow data"));
    /// ```
    pub fn from_reader(name: &str, reader: impl std::io::Read + Send + 'static, options: &ReadOptions) -> Result<Self> {
        Self::from_incoming(Path::new(name), Box::new(reader), options)
    }

    /// From bytes that come once.
    fn from_incoming(path: &Path, mut incoming: Incoming, options: &ReadOptions) -> Result<Self> {
        let head = head_of(path, &mut incoming)?;
        let again: Incoming = Box::new(std::io::Read::chain(Cursor::new(head.clone()), incoming));
        if head.starts_with(ARROW_MAGIC) {
            let bytes = whole::read_all(path, again, STDIN_BYTES_MAX)?;
            Self::from_file(path, IpcFile::Memory(Cursor::new(bytes.into())), options)
        } else if head.starts_with(ARROW_CONTINUATION) {
            let name = whole::name(path);
            let counted = Counted {
                inner: BufReader::with_capacity(BUFFER_BYTES, again),
                bytes: 0,
            };
            let bound = Bound::new(name, options);
            let checked = Checked::new(counted, bound.clone());
            let reader = whole::guarded(&bound.name, || {
                StreamReader::try_new(checked, None).map_err(|e| failed(&bound.name, e))
            })?;
            let shape = Shape::new(&bound.name, &reader.schema(), options)?;
            Ok(Self::new(bound, shape, Reader::Stream(Box::new(reader))))
        } else if head.is_empty() {
            Err(whole::empty(path))
        } else {
            Err(whole::not_a("Arrow data", path, &head))
        }
    }

    fn from_file(path: &Path, file: IpcFile, options: &ReadOptions) -> Result<Self> {
        let bound = Bound::new(whole::name(path), options);
        let schema = open_ipc(&bound, &file, None)?.reader.schema();
        let shape = Shape::new(&bound.name, &schema, options)?;
        Ok(Self::new(bound, shape, Reader::File(file, None)))
    }

    fn new(bound: Bound, shape: Shape, reader: Reader) -> Self {
        Self {
            bound,
            shape,
            reader,
            current: None,
            rows_read: 0,
            started: false,
        }
    }

    /// The next batch of the input with the wanted columns only, as large as it is there.
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let (bound, wanted) = (&self.bound, self.shape.wanted());
        let name = &bound.name;
        let failed = |e: ArrowError| failed(name, e);
        whole::guarded(name, || match &mut self.reader {
            Reader::File(file, reader) => {
                let reader = match reader {
                    Some(reader) => reader,
                    None => reader.insert(Box::new(open_ipc(bound, file, Some(wanted))?)),
                };
                if let Some(block) = reader.rest.next() {
                    claims::check_block(&mut file.clone(), file.length(), &block, bound)?;
                }
                reader.reader.next().transpose().map_err(failed)
            }
            Reader::Stream(reader) => match reader.next().transpose().map_err(failed)? {
                Some(batch) => batch.project(&wanted).map(Some).map_err(failed),
                None if reader.get_ref().inner.bytes % ALIGNMENT_BYTES != 0 => {
                    Err(whole::damaged(name, "it ends within a message"))
                }
                None => Ok(None),
            },
            Reader::Ended => Ok(None),
        })
    }

    fn next(&mut self) -> Result<Read> {
        self.started = true;
        let (batch, offset) = match self.current.take() {
            Some(current) => current,
            None => loop {
                match self.next_batch()? {
                    Some(batch) if batch.num_rows() == 0 => {}
                    Some(batch) => break (batch, 0),
                    None => {
                        self.reader = Reader::Ended;
                        return Ok(Read::End);
                    }
                }
            },
        };
        let rows = BATCH_ROWS.min(batch.num_rows() - offset);
        let slice = batch.slice(offset, rows);
        if offset + rows < batch.num_rows() {
            self.current = Some((batch, offset + rows));
        }
        let convert = |(place, array): (usize, _)| self.shape.convert(place, array);
        let columns: Vec<_> = self
            .shape
            .wanted()
            .into_iter()
            .zip(slice.columns())
            .map(convert)
            .collect::<Result<_>>()?;
        let (batch, rejected) = self.shape.assemble(&columns, rows, self.rows_read)?;
        self.rows_read += rows as u64;
        let position = Position {
            partition: 0,
            rows: self.rows_read,
            ..Position::default()
        };
        Ok(Read::Batch(
            Rows {
                batch,
                rejected,
                unkept: 0,
                bytes_read: self.bytes_read(),
                arrived_ns: None,
            },
            position,
        ))
    }

    fn bytes_read(&self) -> u64 {
        match &self.reader {
            Reader::File(file, Some(blocks)) => blocks.reader.get_ref().bytes.min(file.length()),
            Reader::Stream(reader) => reader.get_ref().inner.bytes,
            Reader::File(_, None) | Reader::Ended => 0,
        }
    }
}

impl Source for ArrowSource {
    fn schema(&self) -> SchemaRef {
        self.shape.schema()
    }

    fn select(&mut self, columns: &[String]) -> Result<()> {
        if self.started {
            return Err(Error::Usage(
                "columns can only be selected before the first read".into(),
            ));
        }
        self.shape.select(columns)
    }

    fn about(&self) -> About {
        self.shape.about()
    }

    fn read(&mut self) -> Result<Read> {
        self.next().inspect_err(|_| {
            self.reader = Reader::Ended;
            self.current = None;
        })
    }
}

/// Bytes that come once.
type Incoming = Box<dyn std::io::Read + Send>;

/// The first bytes, as many as tell what it is; fewer where there are no more.
fn head_of(path: &Path, reader: &mut impl std::io::Read) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut first = std::io::Read::take(reader, HEAD_BYTES as u64);
    std::io::Read::read_to_end(&mut first, &mut head).map_err(|source| Error::Input {
        path: path.to_owned(),
        source,
    })?;
    Ok(head)
}

/// The error for what Arrow could not read, or the one of ours that it carries.
fn failed(name: &str, error: ArrowError) -> Error {
    claims::own(error).unwrap_or_else(|e| whole::damaged(name, e))
}

fn open_ipc(bound: &Bound, file: &IpcFile, columns: Option<Vec<usize>>) -> Result<Blocks> {
    let (mut own, length) = (file.clone(), file.length());
    let (dictionaries, batches) =
        claims::blocks(&mut own, length).ok_or_else(|| whole::damaged(&bound.name, "its footer cannot be read"))?;
    for block in &dictionaries {
        claims::check_block(&mut own, length, block, bound)?;
    }
    let counted = Counted {
        inner: BufReader::with_capacity(BUFFER_BYTES, file.clone()),
        bytes: 0,
    };
    let reader = whole::guarded(&bound.name, || {
        FileReader::try_new(counted, columns).map_err(|e| failed(&bound.name, e))
    })?;
    Ok(Blocks {
        reader,
        rest: batches.into_iter(),
    })
}

/// An IPC file, cheap to clone; the clones of a file on disk share its cursor, so one reader at a time uses them.
#[derive(Debug, Clone)]
enum IpcFile {
    Disk(Arc<File>),
    Memory(Cursor<Arc<[u8]>>),
}

impl IpcFile {
    fn length(&self) -> u64 {
        match self {
            Self::Disk(file) => file.metadata().map_or(u64::MAX, |m| m.len()),
            Self::Memory(bytes) => bytes.get_ref().len() as u64,
        }
    }
}

impl std::io::Read for IpcFile {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Disk(file) => file.as_ref().read(buffer),
            Self::Memory(bytes) => bytes.read(buffer),
        }
    }
}

impl Seek for IpcFile {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        match self {
            Self::Disk(file) => file.as_ref().seek(to),
            Self::Memory(bytes) => bytes.seek(to),
        }
    }
}

/// A buffered reader that counts what was taken from it.
struct Counted<R> {
    inner: BufReader<R>,
    bytes: u64,
}

impl<R: std::io::Read> std::io::Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes += read as u64;
        Ok(read)
    }
}

impl<R: Seek> Seek for Counted<R> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.inner.seek(to)
    }
}

#[cfg(test)]
mod tests;
