//! The segment files of a journal: their names, reading them record by record, and where the last one ends.

use super::record::{
    RECORD_HEADER_BYTES, RECORD_MAGIC, RecordHeader, SEGMENT_HEADER_BYTES, SegmentHeader, answer, rows_of,
};
use crate::error::{Error, Result};
use crate::io::{Position, Rows};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The extension of segments.
const EXTENSION: &str = "journal";

/// The extension of a segment that is being made.
pub(super) const UNFINISHED: &str = "new";

/// Bytes read at once.
const BUFFER_BYTES: usize = 256 << 10;

/// The file of a segment.
pub(super) fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:020}.{EXTENSION}"))
}

/// Makes the names in a directory durable, where the system knows of that.
pub(super) fn sync_directory(directory: &Path) -> std::io::Result<()> {
    if cfg!(unix) {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

/// The numbers of the segments that are there, ascending; what a crash left unfinished is removed.
///
/// # Errors
/// [`Error::Data`] where one between them is gone, [`Error::Failed`] where the directory cannot be read.
pub(super) fn numbers(directory: &Path) -> Result<Vec<u64>> {
    let (numbers, unfinished) = listed(directory)?;
    for path in unfinished {
        std::fs::remove_file(&path).map_err(|e| failed(&path, e))?;
    }
    match numbers.windows(2).find(|pair| pair[0] + 1 != pair[1]) {
        None => Ok(numbers),
        Some(pair) => Err(Error::Data(format!(
            "the journal has lost {}, which stood between others",
            path(directory, pair[0] + 1).display()
        ))),
    }
}

/// The numbers of the segments that are there, ascending, and the files of unfinished ones.
pub(super) fn listed(directory: &Path) -> Result<(Vec<u64>, Vec<PathBuf>)> {
    let (mut numbers, mut unfinished) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(directory).map_err(|e| failed(directory, e))? {
        let path = entry.map_err(|e| failed(directory, e))?.path();
        let extension = path.extension().unwrap_or_default();
        if extension == UNFINISHED {
            unfinished.push(path);
        } else if extension == EXTENSION
            && let Some(number) = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok())
        {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok((numbers, unfinished))
}

/// One step through a segment.
#[derive(Debug)]
pub(super) enum Step {
    /// A whole record; its payload is [`Segment::payload`], and the next one begins at [`Segment::offset`].
    Record,
    /// The end.
    End,
    /// What stands here cannot be read, and why.
    Broken(&'static str),
}

/// A segment that is read from one record to the next.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) header: SegmentHeader,
    file: BufReader<File>,
    /// Where the next record begins.
    pub(super) offset: u64,
    length: u64,
    pub(super) payload: Vec<u8>,
}

impl Segment {
    pub(super) fn open(directory: &Path, number: u64) -> Result<Self> {
        let path = path(directory, number);
        let file = File::open(&path).map_err(|source| Error::Input {
            path: path.clone(),
            source,
        })?;
        let length = file.metadata().map_err(|e| failed(&path, e))?.len();
        let mut file = BufReader::with_capacity(BUFFER_BYTES, file);
        let mut head = Vec::with_capacity(SEGMENT_HEADER_BYTES);
        let first = (&mut file).take(SEGMENT_HEADER_BYTES as u64).read_to_end(&mut head);
        first.map_err(|e| failed(&path, e))?;
        let header = SegmentHeader::from_bytes(&head).map_err(|why| damaged(&path, 0, &why))?;
        if header.number != number {
            let why = format!("it says that it is number {}", header.number);
            return Err(damaged(&path, 0, &why));
        }
        Ok(Self {
            path,
            header,
            file,
            offset: SEGMENT_HEADER_BYTES as u64,
            length,
            payload: Vec::new(),
        })
    }

    /// Goes on at this offset.
    pub(super) fn seek(&mut self, offset: u64) -> Result<()> {
        self.offset = offset;
        let moved = self.file.seek(SeekFrom::Start(offset));
        moved.map(drop).map_err(|e| failed(&self.path, e))
    }

    /// The next record.
    pub(super) fn next(&mut self) -> Result<Step> {
        let rest = self.length.saturating_sub(self.offset);
        if rest == 0 {
            return Ok(Step::End);
        }
        if rest < RECORD_HEADER_BYTES as u64 {
            return Ok(Step::Broken("it ends within the header of a record"));
        }
        let mut head = [0; RECORD_HEADER_BYTES];
        self.file.read_exact(&mut head).map_err(|e| failed(&self.path, e))?;
        let Some(header) = RecordHeader::from_bytes(&head) else {
            return Ok(Step::Broken(
                "no record begins here, or its header has a wrong checksum",
            ));
        };
        let payload_bytes = u64::from(header.payload_bytes);
        if rest - (RECORD_HEADER_BYTES as u64) < payload_bytes {
            return Ok(Step::Broken("it ends within a record"));
        }
        self.payload.clear();
        let read = (&mut self.file).take(payload_bytes).read_to_end(&mut self.payload);
        read.map_err(|e| failed(&self.path, e))?;
        if crc32fast::hash(&self.payload) != header.payload_checksum {
            return Ok(Step::Broken("the record here has a wrong checksum"));
        }
        self.offset += RECORD_HEADER_BYTES as u64 + payload_bytes;
        Ok(Step::Record)
    }

    /// Whether what cannot be read at [`Segment::offset`] had been durable: a record behind it belongs to a later group.
    pub(super) fn was_durable(&self) -> Result<bool> {
        let mut file = File::open(&self.path).map_err(|e| failed(&self.path, e))?;
        let mut rest = Vec::new();
        let read = file
            .seek(SeekFrom::Start(self.offset))
            .and_then(|_| file.read_to_end(&mut rest));
        read.map_err(|e| failed(&self.path, e))?;
        let later = |at: usize| {
            let header = rest
                .get(at..at + RECORD_HEADER_BYTES)
                .and_then(RecordHeader::from_bytes);
            header.is_some_and(|header| {
                header.group_offset > self.offset && header.group_offset <= self.offset + at as u64
            })
        };
        Ok(memchr::memmem::find_iter(&rest, &RECORD_MAGIC).any(later))
    }

    /// The error for what stands at [`Segment::offset`].
    pub(super) fn damaged(&self, why: &str) -> Error {
        damaged(&self.path, self.offset, why)
    }
}

fn failed(path: &Path, e: std::io::Error) -> Error {
    Error::Failed(format!("{}: reading failed: {e}", path.display()))
}

fn damaged(path: &Path, offset: u64, why: &str) -> Error {
    let path = path.display();
    Error::Data(format!(
        "the journal {path} is damaged at byte {offset}: {why}; without its directory the feed starts anew and what was \
         accepted and not yet reported is lost"
    ))
}

/// The rows behind a position, up to where the journal ended when it was opened.
#[derive(Debug)]
pub(super) struct Replay {
    directory: PathBuf,
    /// Segments that are still to come.
    segments: VecDeque<u64>,
    current: Option<Segment>,
    /// Where to go on in the first of them.
    offset: u64,
    /// Rows before.
    rows: u64,
    /// The last segment, and where it ended.
    end: (u64, u64),
}

impl Replay {
    pub(super) fn new(directory: &Path, segments: VecDeque<u64>, start: Position, end: (u64, u64)) -> Self {
        Self {
            directory: directory.to_owned(),
            segments,
            current: None,
            offset: start.offset_bytes,
            rows: start.rows,
            end,
        }
    }

    /// The next rows; nothing behind the last ones.
    pub(super) fn next(&mut self) -> Result<Option<(Rows, Position)>> {
        loop {
            let segment = match &mut self.current {
                Some(segment) => segment,
                None => {
                    let Some(number) = self.segments.pop_front() else {
                        return Ok(None);
                    };
                    let mut segment = Segment::open(&self.directory, number)?;
                    segment.seek(std::mem::replace(&mut self.offset, SEGMENT_HEADER_BYTES as u64))?;
                    self.current.insert(segment)
                }
            };
            let number = segment.header.number;
            if (number, segment.offset) == self.end {
                self.current = None;
                return Ok(None);
            }
            match segment.next()? {
                Step::End => self.current = None,
                Step::Broken(why) => return Err(segment.damaged(why)),
                Step::Record => {
                    let rows = rows_of(&segment.payload).map_err(|why| segment.damaged(&why))?;
                    if let Some(rows) = rows {
                        let counts = answer(&rows);
                        self.rows += counts.accepted + counts.rejected;
                        let position = Position {
                            partition: 0,
                            rows: self.rows,
                            offset_bytes: segment.offset,
                            generation: number,
                        };
                        return Ok(Some((rows, position)));
                    }
                }
            }
        }
    }
}
