//! Zip archives that hold one file.
//!
//! A file on disk is looked up in the archive's directory, so that several members are named before any is read. A pipe
//! has no directory to look into: the first local header is read, and what follows the member must not be another one.
//! Either way the member's length and CRC-32 are verified at its end. Stored and deflated members are read.

use crate::error::{Error, Result};
use std::fs::File;
use std::io::{self, BufRead, Read};

/// Names of members that a message lists at most.
const NAMES_SHOWN: usize = 5;

const LOCAL_HEADER: &[u8] = b"PK\x03\x04";
const DESCRIPTOR: &[u8] = b"PK\x07\x08";

/// Where a member lies and what its bytes must come to.
#[derive(Debug, Clone)]
pub(super) struct Member {
    /// Offset of the data in the archive; 0 where the data comes next.
    pub(super) data_start: u64,
    /// Compressed length; unknown for a streamed member whose length follows it.
    len: Option<u64>,
    deflated: bool,
    crc: Option<u32>,
    /// The archive's name, where it must be checked that no other member follows.
    alone: Option<String>,
}

fn unusable(name: &str, what: &str) -> Error {
    Error::Data(format!("{name} {what}"))
}

fn method(name: &str, method: u16) -> Result<bool> {
    match method {
        0 => Ok(false),
        8 => Ok(true),
        other => Err(unusable(
            name,
            &format!("holds a file compressed by zip method {other}: only stored and deflated files are read"),
        )),
    }
}

/// The archive's only file.
pub(super) fn only_member(name: &str, file: &File) -> Result<Member> {
    let damaged =
        |e: &dyn std::fmt::Display| unusable(name, &format!("is truncated or damaged, or no zip archive: {e}"));
    if file.metadata().is_ok_and(|m| m.len() == 0) {
        return Err(unusable(name, "is empty"));
    }
    let mut archive = zip::ZipArchive::new(io::BufReader::new(file)).map_err(|e| damaged(&e))?;
    let (mut names, mut only) = (Vec::new(), 0);
    for index in 0..archive.len() {
        let member = archive.by_index_raw(index).map_err(|e| damaged(&e))?;
        // Finder adds a folder of its own to each archive that it makes.
        if member.is_dir() || member.name_raw().starts_with(b"__MACOSX/") {
            continue;
        }
        names.push(String::from_utf8_lossy(member.name_raw()).into_owned());
        only = index;
    }
    if names.len() != 1 {
        let shown = names[..names.len().min(NAMES_SHOWN)].join(", ");
        let more = if names.len() > NAMES_SHOWN { ", …" } else { "" };
        let what = format!("holds {} files where exactly one is read: {shown}{more}", names.len());
        return Err(unusable(name, if names.is_empty() { "holds no file" } else { &what }));
    }
    let member = archive.by_index_raw(only).map_err(|e| damaged(&e))?;
    if member.encrypted() {
        return Err(unusable(name, "is encrypted"));
    }
    let deflated = match member.compression() {
        zip::CompressionMethod::Stored => false,
        zip::CompressionMethod::Deflated => true,
        other => {
            return Err(unusable(
                name,
                &format!("holds a file compressed as {other}: only stored and deflated files are read"),
            ));
        }
    };
    let data_start = member
        .data_start()
        .ok_or_else(|| damaged(&"the file's place is unknown"))?;
    Ok(Member {
        data_start,
        len: Some(member.compressed_size()),
        deflated,
        crc: Some(member.crc32()),
        alone: None,
    })
}

/// The member that a stream begins with.
pub(super) fn stream_member(name: &str, mut raw: impl BufRead + Send + 'static) -> Result<Box<dyn Read + Send>> {
    let broken = |e: io::Error| unusable(name, &format!("is truncated or damaged within its zip header: {e}"));
    let mut header = [0u8; 30];
    raw.read_exact(&mut header).map_err(broken)?;
    if !header.starts_with(LOCAL_HEADER) {
        return Err(unusable(name, "holds no file"));
    }
    let short = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (flags, deflated) = (short(6), method(name, short(8))?);
    if flags & 1 != 0 {
        return Err(unusable(name, "is encrypted"));
    }
    let mut rest = vec![0; usize::from(short(26)) + usize::from(short(28))];
    raw.read_exact(&mut rest).map_err(broken)?;
    let length_follows = flags & 8 != 0;
    if length_follows && !deflated {
        return Err(unusable(
            name,
            "is a streamed zip of stored data, whose end cannot be found: give it as a file, not as a pipe",
        ));
    }
    // 0xFFFFFFFF refers to a wider field; deflated data ends by itself, stored data of 4 GiB is not worth one.
    let len = (!length_follows && word(18) != u32::MAX).then(|| u64::from(word(18)));
    if !deflated && len.is_none() {
        return Err(unusable(
            name,
            "is too large a stored zip for a pipe: give it as a file",
        ));
    }
    let crc = (!length_follows).then(|| word(14));
    let member = Member {
        data_start: 0,
        len,
        deflated,
        crc,
        alone: Some(name.into()),
    };
    Ok(Box::new(MemberReader::new(raw, member)))
}

enum Body<R: BufRead> {
    Stored(io::Take<R>),
    Deflated(Box<flate2::bufread::DeflateDecoder<io::Take<R>>>),
}

/// One member's bytes, verified at the end.
pub(super) struct MemberReader<R: BufRead> {
    body: Body<R>,
    member: Member,
    crc: crc32fast::Hasher,
    verified: bool,
}

impl<R: BufRead> MemberReader<R> {
    pub(super) fn new(raw: R, member: Member) -> Self {
        let raw = raw.take(member.len.unwrap_or(u64::MAX));
        let body = if member.deflated {
            Body::Deflated(Box::new(flate2::bufread::DeflateDecoder::new(raw)))
        } else {
            Body::Stored(raw)
        };
        Self {
            body,
            member,
            crc: crc32fast::Hasher::new(),
            verified: false,
        }
    }

    fn verify(&mut self) -> io::Result<()> {
        self.verified = true;
        let computed = self.crc.clone().finalize();
        let raw = match &mut self.body {
            Body::Stored(raw) => raw,
            Body::Deflated(decoder) => decoder.get_mut(),
        };
        if !self.member.deflated && raw.limit() > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some(name) = &self.member.alone else {
            return check(self.member.crc, computed);
        };
        raw.set_limit(64);
        let mut behind = Vec::new();
        raw.read_to_end(&mut behind)?;
        let mut expected = self.member.crc;
        let mut rest = behind.as_slice();
        if expected.is_none() {
            rest = rest.strip_prefix(DESCRIPTOR).unwrap_or(rest);
            let (crc, lengths) = rest.split_first_chunk::<4>().ok_or(io::ErrorKind::UnexpectedEof)?;
            expected = Some(u32::from_le_bytes(*crc));
            // Two lengths follow, of four bytes each or of eight.
            let next = [8, 16]
                .iter()
                .filter_map(|n| lengths.get(*n..))
                .find(|next| next.starts_with(b"PK"));
            rest = next.unwrap_or_default();
        }
        check(expected, computed)?;
        if rest.starts_with(LOCAL_HEADER) {
            let len = rest.get(26).map_or(0, |n| usize::from(*n));
            let second = String::from_utf8_lossy(rest.get(30..30 + len).or_else(|| rest.get(30..)).unwrap_or_default())
                .into_owned();
            return Err(io::Error::other(format!(
                "{name} holds several files where exactly one is read; the second is {second}"
            )));
        }
        if !rest.starts_with(b"PK") {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

fn check(expected: Option<u32>, computed: u32) -> io::Result<()> {
    match expected {
        Some(expected) if expected != computed => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "the checksum is wrong"))
        }
        _ => Ok(()),
    }
}

impl<R: BufRead> Read for MemberReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = match &mut self.body {
            Body::Stored(raw) => raw.read(buffer)?,
            Body::Deflated(decoder) => decoder.read(buffer)?,
        };
        self.crc.update(&buffer[..n]);
        if n == 0 && !buffer.is_empty() && !self.verified {
            self.verify()?;
        }
        Ok(n)
    }
}
