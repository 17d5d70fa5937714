//! gzip: the members of a stream one after the other (RFC 1952, 2.2), and zeros behind the last one.
//!
//! Tapes and block devices pad with zeros, so gzip(1) passes over them, and so does this. Whatever else follows a
//! member is an error, where gzip(1) warns and ignores it: a stream that was cut and glued must not pass for a whole
//! one.

use flate2::bufread::GzDecoder;
use std::io::{self, BufRead, Read};

/// The first byte of a member.
const MEMBER: u8 = 0x1f;

/// Unpacks a stream of members.
#[derive(Debug)]
pub(super) struct Members<R> {
    state: State<R>,
}

#[derive(Debug)]
enum State<R> {
    Within(Box<GzDecoder<R>>),
    Between(R),
    /// Never left behind: only while the reader moves from one state to the other.
    Moving,
}

impl<R: BufRead> Members<R> {
    pub(super) fn new(raw: R) -> Self {
        Self {
            state: State::Within(Box::new(GzDecoder::new(raw))),
        }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match &mut self.state {
                State::Within(member) => {
                    let n = member.read(buffer)?;
                    if n > 0 || buffer.is_empty() {
                        return Ok(n);
                    }
                }
                State::Between(raw) => match raw.fill_buf()?.first() {
                    None => return Ok(0),
                    Some(0) => pass_over_zeros(raw)?,
                    Some(&MEMBER) => {}
                    Some(_) => return Err(garbage()),
                },
                State::Moving => return Ok(0),
            }
            self.state = match std::mem::replace(&mut self.state, State::Moving) {
                State::Within(member) => State::Between(member.into_inner()),
                State::Between(mut raw) => match raw.fill_buf()?.is_empty() {
                    true => State::Between(raw),
                    false => State::Within(Box::new(GzDecoder::new(raw))),
                },
                State::Moving => State::Moving,
            };
        }
    }
}

/// Zeros up to the end.
fn pass_over_zeros(raw: &mut impl BufRead) -> io::Result<()> {
    loop {
        let bytes = raw.fill_buf()?;
        if bytes.iter().any(|b| *b != 0) {
            return Err(garbage());
        }
        match bytes.len() {
            0 => return Ok(()),
            n => raw.consume(n),
        }
    }
}

fn garbage() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "something else follows its last member")
}
