//! Ranges of a Parquet input, read from many threads at once.
//!
//! Files are read by position, so that threads share one handle without sharing a cursor; an input from memory is
//! sliced without copying.
//!
//! The rule: whatever lengths a damaged file claims, memory follows the bytes that the input has: pages lie in memory that
//! was used by others of up to twice their length, of which 32 MiB are kept.

use crate::buffers::Buffers;
use bytes::{Buf, Bytes};
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};
use std::fs::File;
use std::io::{BufReader, Read};
use std::sync::Arc;

/// Bytes read ahead where a page header of unknown length is read: most headers fit twice.
const HEADER_BYTES: usize = 512;

/// Bytes below which the allocator has memory at hand, and how many are kept for the next pages at most.
const PAGE_BYTES_MIN: usize = 1 << 16;
const PAGE_BYTES_MAX: usize = 1 << 25;

/// The bytes of an input, cheap to clone.
#[derive(Debug, Clone)]
pub(crate) enum Region {
    /// A file, its length when it was opened, and memory for its pages.
    File(Arc<File>, u64, Buffers<u8>),
    /// All of an input.
    Memory(Bytes),
}

impl Length for Region {
    fn len(&self) -> u64 {
        match self {
            Self::File(_, length, _) => *length,
            Self::Memory(bytes) => bytes.len() as u64,
        }
    }
}

impl Region {
    /// A file of this length.
    pub(crate) fn of_file(file: File, length: u64) -> Self {
        Self::File(Arc::new(file), length, Buffers::new(PAGE_BYTES_MIN, PAGE_BYTES_MAX))
    }

    /// The first `length` bytes, or as many as there are.
    pub(crate) fn head(&self, length: usize) -> Result<Bytes> {
        self.get_bytes(0, usize::try_from(self.len()).map_or(length, |all| all.min(length)))
    }

    /// The last `length` bytes, or as many as there are.
    pub(crate) fn tail(&self, length: usize) -> Result<Bytes> {
        let start = self.len().saturating_sub(length as u64);
        self.get_bytes(start, (self.len() - start) as usize)
    }
}

impl ChunkReader for Region {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        match self {
            Self::File(file, _, _) => {
                let cursor = Cursor {
                    file: Arc::clone(file),
                    position: start,
                };
                Ok(Box::new(BufReader::with_capacity(HEADER_BYTES, cursor)))
            }
            Self::Memory(bytes) => {
                let start = usize::try_from(start)
                    .ok()
                    .filter(|&s| s <= bytes.len())
                    .ok_or_else(|| beyond(start, 0))?;
                Ok(Box::new(bytes.slice(start..).reader()))
            }
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let end = start.checked_add(length as u64).filter(|&end| end <= self.len());
        let end = end.ok_or_else(|| beyond(start, length))?;
        match self {
            Self::File(file, _, buffers) => {
                let mut bytes = buffers.take(length);
                let mut cursor = Cursor {
                    file: Arc::clone(file),
                    position: start,
                };
                cursor
                    .read_exact(&mut bytes)
                    .map_err(|e| ParquetError::General(e.to_string()))?;
                Ok(buffers.lend(bytes))
            }
            Self::Memory(bytes) => Ok(bytes.slice(start as usize..end as usize)),
        }
    }
}

fn beyond(start: u64, length: usize) -> ParquetError {
    ParquetError::EOF(format!("{length} bytes at {start} lie behind its end"))
}

/// A place in a shared file.
struct Cursor {
    file: Arc<File>,
    position: u64,
}

impl Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        #[cfg(unix)]
        let read = std::os::unix::fs::FileExt::read_at(&*self.file, buffer, self.position)?;
        #[cfg(windows)]
        let read = std::os::windows::fs::FileExt::seek_read(&*self.file, buffer, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}
