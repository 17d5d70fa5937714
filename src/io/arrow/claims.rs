//! What the messages of an Arrow input claim about sizes, checked before a decoder allocates what they ask for.
//!
//! A compressed buffer says how long it will be, and a block of a file where it lies; the decoder reserves that much
//! at once, and memory that the system refuses ends the whole program. So every claim is looked at first: a block lies
//! within its file, and the buffers of a message together expand to at most [`ReadOptions::max_expansion`] times its
//! body, beyond a slack that any machine has ([`SLACK_BYTES`]), or to a fixed number of bytes where a stranger sent it. What is damaged in any other way is the decoder's to
//! say.

use crate::error::{Error, Result};
use crate::io::ReadOptions;
use arrow::error::ArrowError;
use arrow::ipc::{Block, Message, RecordBatch, root_as_footer, root_as_message};
use std::io::{self, Cursor, Read, Seek, SeekFrom};

/// Expanded bytes of one message that are free of the bound: columns of one repeated value compress without limit, and
/// this is the memory that they may take all the same.
const SLACK_BYTES: u64 = 256 << 20;

/// What stands before a message: a continuation mark and the length of its metadata.
const MARK: [u8; 4] = [0xff; 4];

/// Bytes at the end of an IPC file: the length of the footer, then the magic.
const TAIL_BYTES: usize = 10;

/// The bound on what compressed buffers expand to, and the name of the input.
#[derive(Debug, Clone)]
pub(crate) struct Bound {
    pub(super) name: String,
    most: Most,
}

/// What the buffers of a message may expand to.
#[derive(Debug, Clone, Copy)]
enum Most {
    /// So many times their size.
    Times(u64),
    /// So many bytes.
    Bytes(u64),
}

impl Bound {
    pub(crate) fn new(name: String, options: &ReadOptions) -> Self {
        Self {
            name,
            most: Most::Times(options.max_expansion),
        }
    }

    /// A message of a stranger becomes at most so many bytes.
    pub(crate) fn of_wire(name: String, bytes_max: u64) -> Self {
        let most = Most::Bytes(bytes_max);
        Self { name, most }
    }

    /// Checks that the rows of a message, of which `columns` are wanted, take no more than the bound as numbers of 64
    /// bits. Columns may claim any number of rows without a byte for them (nulls, runs of one value).
    ///
    /// # Errors
    /// [`Error::Limit`] for too many rows.
    pub(crate) fn check_rows(&self, message: &Message<'_>, columns: usize) -> Result<()> {
        let (Most::Bytes(most), Some(batch)) = (self.most, batch_of(message)) else {
            return Ok(());
        };
        // A negative number is the decoder's to say.
        let rows = u64::try_from(batch.length()).unwrap_or(0);
        let columns = columns.max(1) as u64;
        if rows.saturating_mul(columns).saturating_mul(size_of::<f64>() as u64) <= most {
            return Ok(());
        }
        Err(Error::Limit(format!(
            "{}: a message claims {rows} rows, of which {columns} column{} as numbers of 64 bits take more than {most} \
             bytes: send fewer rows in a message",
            self.name,
            if columns == 1 { "" } else { "s" },
        )))
    }

    /// Checks that so many rows of a column take no more than the bound, where each may be as long as the longest.
    ///
    /// # Errors
    /// [`Error::Limit`] for a column that is too long.
    pub(crate) fn check_column(&self, name: &str, rows: usize, longest: usize) -> Result<()> {
        match self.most {
            Most::Bytes(most) if (rows as u64).saturating_mul(longest as u64) > most => Err(Error::Limit(format!(
                "{}: {rows} rows of column `{name}` with values of {longest} bytes may take more than {most} bytes: \
                 send fewer rows in a message",
                self.name
            ))),
            _ => Ok(()),
        }
    }

    /// Checks the buffers of a message with so many bytes of body; `prefix` gives the eight bytes at a place of it.
    fn check(
        &self,
        message: &Message<'_>,
        body: u64,
        mut prefix: impl FnMut(u64) -> io::Result<[u8; 8]>,
    ) -> Result<()> {
        let Some(buffers) = batch_of(message)
            .filter(|b| b.compression().is_some())
            .and_then(|b| b.buffers())
        else {
            return Ok(());
        };
        let most = match self.most {
            Most::Times(times) => body.saturating_mul(times).saturating_add(SLACK_BYTES),
            Most::Bytes(bytes) => bytes,
        };
        let mut total = 0u64;
        for buffer in buffers {
            let (Ok(place), Ok(length)) = (u64::try_from(buffer.offset()), u64::try_from(buffer.length())) else {
                continue;
            };
            if length < 8 || place.checked_add(length).is_none_or(|end| end > body) {
                continue;
            }
            // A negative length means that this buffer is not compressed, hence as long as it is there.
            let Ok(bytes) = prefix(place) else { continue };
            total = total.saturating_add(u64::try_from(i64::from_le_bytes(bytes)).unwrap_or(length));
        }
        if total <= most {
            return Ok(());
        }
        let name = &self.name;
        let claim = format!("{name}: {body} bytes of a message claim to expand to {total} bytes");
        Err(Error::Limit(match self.most {
            Most::Times(times) => format!("{claim}, over {times} times their size; --max-expansion raises the bound"),
            Most::Bytes(bytes) => format!("{claim}, over {bytes}: send fewer rows in a message"),
        }))
    }
}

/// The columns that a message holds, if any.
fn batch_of<'a>(message: &Message<'a>) -> Option<RecordBatch<'a>> {
    message
        .header_as_record_batch()
        .or_else(|| message.header_as_dictionary_batch()?.data())
}

/// The error inside one of Arrow's, where it is one of ours.
pub(super) fn own(error: ArrowError) -> std::result::Result<Error, ArrowError> {
    match error {
        ArrowError::IoError(text, inner) => match inner.downcast::<Error>() {
            Ok(own) => Ok(own),
            Err(inner) => Err(ArrowError::IoError(text, inner)),
        },
        other => Err(other),
    }
}

/// A stream whose messages are looked at before they are passed on.
///
/// The metadata of a message and the body of a compressed one are read in advance; other bodies pass straight through.
#[derive(Debug)]
pub(super) struct Checked<R> {
    pub(super) inner: R,
    bound: Bound,
    /// What has been read in advance.
    ahead: Cursor<Vec<u8>>,
    /// Bytes that pass through before the next message begins.
    through: u64,
}

impl<R: Read> Checked<R> {
    pub(super) fn new(inner: R, bound: Bound) -> Self {
        Self {
            inner,
            bound,
            ahead: Cursor::default(),
            through: 0,
        }
    }

    /// Reads `length` more bytes in advance; false where there are not as many.
    fn advance(&mut self, length: u64) -> io::Result<bool> {
        let read = (&mut self.inner).take(length).read_to_end(self.ahead.get_mut())?;
        Ok(read as u64 == length)
    }

    /// Reads what is needed to judge the next message. What is no message is passed on as it is.
    fn next_message(&mut self) -> io::Result<()> {
        self.ahead.get_mut().clear();
        self.ahead.set_position(0);
        self.through = u64::MAX;
        if !self.advance(4)? || (*self.ahead.get_ref() == MARK && !self.advance(4)?) {
            return Ok(());
        }
        let head = self.ahead.get_ref().len();
        let Some(length) = self.ahead.get_ref().last_chunk().map(|b| i32::from_le_bytes(*b)) else {
            return Ok(());
        };
        let Ok(length @ 1..) = u64::try_from(length) else {
            return Ok(());
        };
        if !self.advance(length)? {
            return Ok(());
        }
        let (body, compressed) = match root_as_message(&self.ahead.get_ref()[head..]) {
            Ok(message) => (
                u64::try_from(message.bodyLength()).unwrap_or(0),
                batch_of(&message).is_some_and(|b| b.compression().is_some()),
            ),
            Err(_) => return Ok(()),
        };
        if !compressed {
            self.through = body;
            return Ok(());
        }
        let start = self.ahead.get_ref().len();
        if !self.advance(body)? {
            return Ok(());
        }
        self.through = 0;
        let (metadata, body) = self.ahead.get_ref().split_at(start);
        match root_as_message(&metadata[head..]) {
            Ok(message) => check_body(&self.bound, &message, body).map_err(io::Error::other),
            Err(_) => Ok(()),
        }
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let at_end = |ahead: &Cursor<Vec<u8>>| ahead.position() >= ahead.get_ref().len() as u64;
        if at_end(&self.ahead) && self.through == 0 {
            self.next_message()?;
        }
        if !at_end(&self.ahead) {
            return self.ahead.read(buffer);
        }
        let read = (&mut self.inner).take(self.through).read(buffer)?;
        self.through -= read as u64;
        Ok(read)
    }
}

/// Checks a message with its body against the bound.
///
/// # Errors
/// [`Error::Limit`] for buffers that expand too far.
pub(crate) fn check_body(bound: &Bound, message: &Message<'_>, body: &[u8]) -> Result<()> {
    bound.check(message, body.len() as u64, |place| prefix_at(body, place))
}

/// The eight bytes at a place of a body.
fn prefix_at(body: &[u8], place: u64) -> io::Result<[u8; 8]> {
    let bytes = usize::try_from(place).ok().and_then(|place| body.get(place..));
    let bytes = bytes.and_then(|bytes| bytes.first_chunk());
    bytes.copied().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// The blocks of an IPC file: its dictionaries and its batches, in order. Nothing where the footer cannot be read.
pub(super) fn blocks(file: &mut (impl Read + Seek), length: u64) -> Option<(Vec<Block>, Vec<Block>)> {
    let mut tail = [0; TAIL_BYTES];
    file.seek(SeekFrom::Start(length.checked_sub(TAIL_BYTES as u64)?))
        .ok()?;
    file.read_exact(&mut tail).ok()?;
    let footer = u32::from_le_bytes(*tail.first_chunk()?);
    let start = length.checked_sub(TAIL_BYTES as u64 + u64::from(footer))?;
    let bytes = read_at(file, start, u64::from(footer)).ok()?;
    let footer = root_as_footer(&bytes).ok()?;
    Some((
        footer
            .dictionaries()
            .map(|b| b.iter().copied().collect())
            .unwrap_or_default(),
        footer
            .recordBatches()
            .map(|b| b.iter().copied().collect())
            .unwrap_or_default(),
    ))
}

/// Checks the message of a block against the file and the bound.
///
/// # Errors
/// [`Error::Data`] for a block that does not lie within the file or holds no message, [`Error::Limit`] for buffers that
/// expand too far.
pub(super) fn check_block(file: &mut (impl Read + Seek), length: u64, block: &Block, bound: &Bound) -> Result<()> {
    let outside = || super::whole::damaged(&bound.name, "a block lies behind its end");
    let place = |n: i64| u64::try_from(n).map_err(|_| outside());
    let (start, metadata, body) = (
        place(block.offset())?,
        place(block.metaDataLength().into())?,
        place(block.bodyLength())?,
    );
    let body_start = start.checked_add(metadata).ok_or_else(outside)?;
    if body_start.checked_add(body).is_none_or(|end| end > length) {
        return Err(outside());
    }
    let failed = |e: io::Error| super::whole::damaged(&bound.name, e);
    let bytes = read_at(file, start, metadata).map_err(failed)?;
    let skip = if bytes.starts_with(&MARK) { 8 } else { 4 };
    // The decoder looks for a message that is not whole here in what follows as well, so it is not left to it.
    let Some(Ok(message)) = bytes.get(skip..).map(root_as_message) else {
        return Err(super::whole::damaged(
            &bound.name,
            "a block does not begin with a message",
        ));
    };
    bound.check(&message, body, |place| {
        let mut prefix = [0; 8];
        file.seek(SeekFrom::Start(body_start + place))?;
        file.read_exact(&mut prefix)?;
        Ok(prefix)
    })
}

fn read_at(file: &mut (impl Read + Seek), start: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    if file.take(length).read_to_end(&mut bytes)? as u64 == length {
        Ok(bytes)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}
