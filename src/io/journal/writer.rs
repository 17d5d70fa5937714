//! The thread that writes a journal: what waits is written and made durable together, then acknowledged, then handed on.

use super::keys::{Keys, Pending};
use super::record::{Payload, RECORD_HEADER_BYTES, RecordHeader, SEGMENT_HEADER_BYTES, SegmentHeader, answer};
use super::{DurableRows, JournalState, segment};
use crate::io::budget::Share;
use crate::io::live::Arrival;
use crate::io::{Position, Rows};
use crossbeam::channel::{Receiver, Sender, TryRecvError};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Bytes of one group at most: a disk that syncs 1 GB/s is through with it in the 10 ms that an acknowledgement may take.
const GROUP_BYTES_MAX: usize = 8 << 20;

/// How long to wait before rows that nobody can be told about are tried again.
const RETRY: Duration = Duration::from_millis(100);

/// Told whether the rows are durable: their position, or why not.
pub type Done = Box<dyn FnOnce(Result<Position, String>) + Send>;

/// Rows on their way into the journal.
pub(super) struct Entry {
    pub(super) rows: Rows,
    pub(super) payload: Payload,
    pub(super) pending: Option<Pending>,
    /// Nobody to tell: tried until there is room.
    pub(super) done: Option<Done>,
    pub(super) share: Share,
}

/// A file that is only appended to.
pub(super) trait Medium: Send {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

impl Medium for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// Where files are.
pub(super) trait Disk: Send {
    /// Opens a file to append to it, a new one too.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Medium>>;
}

/// The files of the system.
#[derive(Debug)]
pub(super) struct Files;

impl Disk for Files {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Medium>> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Box::new(file))
    }
}

/// The end of a journal.
pub(super) struct Writer {
    pub(super) directory: PathBuf,
    pub(super) disk: Box<dyn Disk>,
    pub(super) segment_bytes_max: u64,
    pub(super) keys: Keys,
    pub(super) state: Arc<JournalState>,
    /// The segment that is written; none before the first.
    pub(super) current: Option<Box<dyn Medium>>,
    pub(super) number: u64,
    /// Bytes of the segment that are durable.
    pub(super) length: u64,
    /// Whether something may stand behind them.
    pub(super) is_untidy: bool,
    /// Rows of the journal.
    pub(super) rows: u64,
    /// When the last rows arrived.
    pub(super) arrival: Arrival,
}

impl Writer {
    /// Writes what comes until nobody is left to send.
    pub(super) fn run(mut self, incoming: &Receiver<Entry>, outgoing: &Sender<DurableRows>) {
        let mut kept: Vec<Entry> = Vec::new();
        loop {
            let mut group = std::mem::take(&mut kept);
            let retried = !group.is_empty();
            if group.is_empty() {
                match incoming.recv() {
                    Ok(first) => group.push(self.stamped(first)),
                    Err(_) => return,
                }
            } else if self.state.closed.load(Ordering::Acquire) {
                return;
            }
            let mut bytes: usize = group.iter().map(|entry| entry.payload.bytes.len()).sum();
            while bytes < GROUP_BYTES_MAX {
                match incoming.try_recv() {
                    Ok(entry) => {
                        bytes += entry.payload.bytes.len();
                        group.push(self.stamped(entry));
                    }
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                }
            }
            match self.write(&group) {
                Ok(positions) => {
                    self.state.set_failure(None);
                    let mut ready = Vec::with_capacity(group.len());
                    for (entry, position) in group.into_iter().zip(positions) {
                        if let Some(pending) = entry.pending {
                            pending.done(answer(&entry.rows));
                        }
                        if let Some(done) = entry.done {
                            done(Ok(position));
                        }
                        ready.push(DurableRows {
                            rows: entry.rows,
                            position,
                            share: Some(entry.share),
                        });
                    }
                    for durable in ready {
                        // Where the reader is gone the rows are safe all the same.
                        let _ = outgoing.send(durable);
                    }
                }
                Err(e) => {
                    let why = format!("the journal {} cannot be written: {e}", self.directory.display());
                    self.state.set_failure(Some(&why));
                    for mut entry in group {
                        match entry.done.take() {
                            Some(done) => {
                                // A key whose rows are refused was never seen.
                                drop(entry);
                                done(Err(why.clone()));
                            }
                            None => kept.push(entry),
                        }
                    }
                    if !kept.is_empty() && retried {
                        std::thread::sleep(RETRY);
                    }
                }
            }
        }
    }

    /// Rows that come from several threads have arrived in the order in which they are written.
    fn stamped(&mut self, mut entry: Entry) -> Entry {
        if let Some(clock_ns) = entry.rows.arrived_ns {
            let arrived_ns = self.arrival.at(clock_ns);
            if arrived_ns != clock_ns {
                entry.rows.arrived_ns = Some(arrived_ns);
                entry.payload.arrive(arrived_ns);
            }
        }
        entry
    }

    /// Makes these durable, all of them or none.
    fn write(&mut self, group: &[Entry]) -> io::Result<Vec<Position>> {
        if self.current.is_none() || self.length >= self.segment_bytes_max {
            self.next_segment()?;
        }
        let Some(medium) = self.current.as_mut() else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if self.is_untidy {
            medium.truncate(self.length)?;
            self.is_untidy = false;
        }
        let written = append(medium.as_mut(), self.length, group.iter().map(|entry| &entry.payload));
        match written.and_then(|length| medium.sync().map(|()| length)) {
            Ok(_) => {}
            Err(e) => {
                self.is_untidy = medium.truncate(self.length).is_err();
                return Err(e);
            }
        }
        let mut positions = Vec::with_capacity(group.len());
        for entry in group {
            let counts = answer(&entry.rows);
            self.length += (RECORD_HEADER_BYTES + entry.payload.bytes.len()) as u64;
            self.rows += counts.accepted + counts.rejected;
            positions.push(Position {
                partition: 0,
                rows: self.rows,
                offset_bytes: self.length,
                generation: self.number,
            });
        }
        let bytes: u64 = group.iter().map(|entry| entry.payload.bytes.len() as u64).sum();
        self.state.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(positions)
    }

    /// Begins the next segment. It gets its name when it is whole.
    fn next_segment(&mut self) -> io::Result<()> {
        if let Some(medium) = self.current.as_mut() {
            // What stands behind the durable bytes must not come back behind a later segment.
            medium.truncate(self.length)?;
            medium.sync()?;
            self.is_untidy = false;
        }
        let header = SegmentHeader {
            number: self.number + 1,
            rows_before: self.rows,
        };
        let path = segment::path(&self.directory, header.number);
        let unfinished = path.with_extension(segment::UNFINISHED);
        let made = self.make(&unfinished, header).and_then(|length| {
            std::fs::rename(&unfinished, &path)?;
            segment::sync_directory(&self.directory)?;
            Ok((self.disk.open(&path)?, length))
        });
        match made {
            Ok((medium, length)) => {
                self.current = Some(medium);
                self.number = header.number;
                self.length = length;
                Ok(())
            }
            Err(e) => {
                // Leaves room for others; the name without its segment would be none that is read.
                let _ = std::fs::remove_file(&unfinished);
                let _ = std::fs::remove_file(&path);
                Err(e)
            }
        }
    }

    /// Writes a segment that holds nothing but the keys that are known; returns its length.
    fn make(&self, path: &Path, header: SegmentHeader) -> io::Result<u64> {
        let _ = std::fs::remove_file(path);
        let mut medium = self.disk.open(path)?;
        medium.append(&header.to_bytes())?;
        let keys = Payload::of_keys(&self.keys.answered()).map_err(io::Error::other)?;
        let length = append(medium.as_mut(), SEGMENT_HEADER_BYTES as u64, std::iter::once(&keys))?;
        medium.sync()?;
        Ok(length)
    }
}

/// Appends records as one group, which begins at `offset`; returns where it ends.
pub(super) fn append<'a>(
    medium: &mut dyn Medium,
    offset: u64,
    payloads: impl Iterator<Item = &'a Payload>,
) -> io::Result<u64> {
    let mut end = offset;
    for payload in payloads {
        let header = RecordHeader {
            payload_bytes: u32::try_from(payload.bytes.len()).map_err(io::Error::other)?,
            payload_checksum: payload.checksum,
            group_offset: offset,
        };
        medium.append(&header.to_bytes())?;
        medium.append(&payload.bytes)?;
        end += (RECORD_HEADER_BYTES + payload.bytes.len()) as u64;
    }
    Ok(end)
}
