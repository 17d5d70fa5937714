//! What stands in a journal, byte by byte.
//!
//! A segment begins with a header: magic, its number, the rows before it, a checksum. Records follow, each with a
//! header of [`RECORD_HEADER_BYTES`] (magic, length and checksum of the payload, where its group began, checksum of the
//! header) and a payload: rows, or the keys that were known when the segment began. Numbers are little-endian.
//!
//! A group is what was made durable at once. So whatever lies before the group of a record that can be read has been
//! durable, and if it cannot be read it is damaged; what lies behind the last group was never acknowledged.

use super::keys::{Answer, Digest};
use crate::error::{BadRow, Error, Result};
use crate::io::Rows;
use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

/// What every segment begins with; the last two bytes are the version of the format.
const SEGMENT_MAGIC: [u8; 8] = *b"MSJRNL02";

/// Bytes of the header of a segment.
pub(super) const SEGMENT_HEADER_BYTES: usize = 28;

/// What every record begins with.
pub(super) const RECORD_MAGIC: [u8; 4] = *b"\xa7MSr";

/// Bytes of the header of a record.
pub(super) const RECORD_HEADER_BYTES: usize = 24;

/// Bytes that a payload has about, beside the values of its rows: the schema of a few dozen columns.
const HEAD_BYTES: usize = 4096;

/// The kinds of payloads.
const ROWS: u8 = 0;
const KEYS: u8 = 1;

/// The header of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) number: u64,
    pub(super) rows_before: u64,
}

impl SegmentHeader {
    pub(super) fn to_bytes(self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.rows_before.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..24]);
        bytes[24..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The header, or what is wrong with it.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let mut cursor = Cursor(bytes);
        let magic = cursor.array::<8>().ok_or("it ends within its header")?;
        let header = (cursor.u64(), cursor.u64(), cursor.u32());
        if magic[..6] != SEGMENT_MAGIC[..6] {
            return Err("it is no journal".into());
        }
        if magic != SEGMENT_MAGIC {
            let version = magic[6..].escape_ascii();
            return Err(format!(
                "its format has the version {version}, which this program does not know"
            ));
        }
        let (Some(number), Some(rows_before), Some(checksum)) = header else {
            return Err("it ends within its header".into());
        };
        if crc32fast::hash(&bytes[..24]) != checksum {
            return Err("its header has a wrong checksum".into());
        }
        Ok(Self { number, rows_before })
    }
}

/// The header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) payload_bytes: u32,
    pub(super) payload_checksum: u32,
    /// The offset in the segment at which the group begins that this record was made durable with.
    pub(super) group_offset: u64,
}

impl RecordHeader {
    pub(super) fn to_bytes(self) -> [u8; RECORD_HEADER_BYTES] {
        let mut bytes = [0; RECORD_HEADER_BYTES];
        bytes[..4].copy_from_slice(&RECORD_MAGIC);
        bytes[4..8].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.payload_checksum.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.group_offset.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..20]);
        bytes[20..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The header, unless these bytes are none.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(bytes);
        let magic = cursor.array::<4>()?;
        let header = Self {
            payload_bytes: cursor.u32()?,
            payload_checksum: cursor.u32()?,
            group_offset: cursor.u64()?,
        };
        (magic == RECORD_MAGIC && crc32fast::hash(&bytes[..20]) == cursor.u32()?).then_some(header)
    }
}

/// A payload and its checksum, ready to be written.
#[derive(Debug)]
pub(super) struct Payload {
    pub(super) bytes: Vec<u8>,
    pub(super) checksum: u32,
    /// Where the time of arrival stands.
    arrived_at: Option<usize>,
}

impl Payload {
    fn new(bytes: Vec<u8>) -> Result<Self> {
        if u32::try_from(bytes.len()).is_err() {
            let message = "a record of the journal holds at most 4 GiB: send fewer rows at once";
            return Err(Error::Limit(message.into()));
        }
        let checksum = crc32fast::hash(&bytes);
        Ok(Self {
            bytes,
            checksum,
            arrived_at: None,
        })
    }

    /// Changes the time at which its rows have arrived.
    pub(super) fn arrive(&mut self, arrived_ns: i64) {
        let place = self
            .arrived_at
            .and_then(|at| self.bytes.get_mut(at..at + size_of::<i64>()));
        if let Some(place) = place {
            place.copy_from_slice(&arrived_ns.to_le_bytes());
            self.checksum = crc32fast::hash(&self.bytes);
        }
    }

    /// Rows, and the key that they came with.
    pub(super) fn of_rows(rows: &Rows, key: Option<(&[u8], Digest)>) -> Result<Self> {
        let numbers = rows.batch.num_rows() * rows.batch.num_columns();
        let mut bytes = Vec::with_capacity(numbers * size_of::<f64>() + HEAD_BYTES);
        bytes.push(ROWS);
        let (key, digest) = key.unwrap_or_default();
        put(&mut bytes, key);
        bytes.extend(digest.0.to_le_bytes());
        let answer = answer(rows);
        bytes.extend(answer.accepted.to_le_bytes());
        bytes.extend(answer.rejected.to_le_bytes());
        bytes.push(u8::from(rows.arrived_ns.is_some()));
        let arrived_at = rows.arrived_ns.map(|_| bytes.len());
        bytes.extend(rows.arrived_ns.unwrap_or_default().to_le_bytes());
        bytes.extend(rows.bytes_read.to_le_bytes());
        bytes.extend((rows.rejected.len() as u64).to_le_bytes());
        for bad in &rows.rejected {
            put(&mut bytes, bad.source.as_bytes());
            bytes.extend(bad.line.to_le_bytes());
            bytes.push(u8::from(bad.column.is_some()));
            put(&mut bytes, bad.column.as_deref().unwrap_or_default().as_bytes());
            put(&mut bytes, &bad.bytes);
            put(&mut bytes, &bad.row);
            put(&mut bytes, bad.reason.as_bytes());
        }
        let failed = |e| Error::Failed(format!("rows cannot be written to the journal: {e}"));
        let mut writer = StreamWriter::try_new(bytes, &rows.batch.schema()).map_err(failed)?;
        writer.write(&rows.batch).map_err(failed)?;
        let payload = Self::new(writer.into_inner().map_err(failed)?)?;
        Ok(Self { arrived_at, ..payload })
    }

    /// The keys that are known.
    pub(super) fn of_keys(keys: &[(Vec<u8>, Digest, Answer)]) -> Result<Self> {
        let mut bytes = vec![KEYS];
        bytes.extend((keys.len() as u64).to_le_bytes());
        for (key, digest, answer) in keys {
            put(&mut bytes, key);
            bytes.extend(digest.0.to_le_bytes());
            bytes.extend(answer.accepted.to_le_bytes());
            bytes.extend(answer.rejected.to_le_bytes());
        }
        Self::new(bytes)
    }
}

/// A key, and what tells its body from others.
type Key = (Vec<u8>, Digest);

/// What a payload holds, without the rows themselves.
#[derive(Debug)]
pub(super) enum Outline {
    /// Their key, the answer, and when they arrived.
    Rows(Option<Key>, Answer, Option<i64>),
    Keys(Vec<(Vec<u8>, Digest, Answer)>),
}

/// The answer that rows got.
pub(super) fn answer(rows: &Rows) -> Answer {
    Answer {
        accepted: rows.batch.num_rows() as u64,
        rejected: rows.rejected_count(),
    }
}

impl Outline {
    /// What was written, or what is wrong with it.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let mut cursor = Cursor(bytes);
        let outline = match cursor.u8() {
            Some(ROWS) => cursor
                .beginning()
                .map(|(key, answer, arrived)| Self::Rows(key, answer, arrived)),
            Some(KEYS) => cursor.keys().map(Self::Keys),
            _ => return Err(UNKNOWN.into()),
        };
        outline.ok_or_else(|| SHORT.into())
    }
}

/// The rows of a payload that holds some, or what is wrong with it.
pub(super) fn rows_of(bytes: &[u8]) -> Result<Option<Rows>, String> {
    let mut cursor = Cursor(bytes);
    match cursor.u8() {
        Some(ROWS) => {
            let mut rows = cursor.rows_head().ok_or(SHORT)?;
            rows.batch = batch(cursor.0)?;
            Ok(Some(rows))
        }
        Some(KEYS) => Ok(None),
        _ => Err(UNKNOWN.into()),
    }
}

/// What is wrong with payloads.
const SHORT: &str = "its contents end too early";
const UNKNOWN: &str = "its kind is not known";

fn batch(bytes: &[u8]) -> Result<RecordBatch, String> {
    let mut reader = StreamReader::try_new(bytes, None).map_err(|e| e.to_string())?;
    match reader.next() {
        Some(batch) => batch.map_err(|e| e.to_string()),
        None => Ok(RecordBatch::new_empty(reader.schema())),
    }
}

/// A length and the bytes.
fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Bytes that are taken from the front.
#[derive(Debug)]
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u64()?).ok()?;
        self.take(length)
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }

    /// The key of rows, the answer, and when they arrived.
    fn beginning(&mut self) -> Option<(Option<Key>, Answer, Option<i64>)> {
        let key = self.bytes()?;
        let digest = Digest(self.u64()?);
        let (accepted, rejected) = (self.u64()?, self.u64()?);
        let key = (!key.is_empty()).then(|| (key.to_vec(), digest));
        let has_arrived = self.u8()? == 1;
        let arrived = self.array().map(i64::from_le_bytes)?;
        Some((key, Answer { accepted, rejected }, has_arrived.then_some(arrived)))
    }

    /// What stands before the batch.
    fn rows_head(&mut self) -> Option<Rows> {
        let (_, answer, arrived_ns) = self.beginning()?;
        let bytes_read = self.u64()?;
        let kept = self.u64()?;
        let unkept = answer.rejected.checked_sub(kept)?;
        let mut rejected = Vec::new();
        for _ in 0..kept {
            let source = self.text()?;
            let line = self.u64()?;
            let has_column = self.u8()? == 1;
            let column = self.text()?;
            rejected.push(BadRow {
                source,
                line,
                column: has_column.then_some(column),
                bytes: self.bytes()?.to_vec(),
                row: self.bytes()?.to_vec(),
                reason: self.text()?,
            });
        }
        Some(Rows {
            batch: RecordBatch::new_empty(Schema::empty().into()),
            rejected,
            unkept,
            bytes_read,
            arrived_ns,
        })
    }

    fn keys(&mut self) -> Option<Vec<(Vec<u8>, Digest, Answer)>> {
        let mut keys = Vec::new();
        for _ in 0..self.u64()? {
            let key = self.bytes()?.to_vec();
            let digest = Digest(self.u64()?);
            let (accepted, rejected) = (self.u64()?, self.u64()?);
            keys.push((key, digest, Answer { accepted, rejected }));
        }
        Some(keys)
    }
}
