//! One connection: its token, its rows, and how it ends.

use super::{DRAIN_TIME, Open, TcpOptions, TokenCheck};
use crate::io::Rows;
use crate::io::budget::{Budget, Share};
use crate::io::live::{Context, Counters, SETTLE_TIME, SETTLE_WAIT};
use crate::io::wire::Decoder;
use crossbeam::channel::Sender;
use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Bytes for what is not complete that every connection has: most never need more.
const FREE_BYTES: usize = 1 << 20;

/// How often a silent connection looks for the sign to stop: a thousand of them cost a percent of a core.
const STOP_WAIT: Duration = Duration::from_millis(250);

/// How long, once told to stop, a connection waits for bytes that are under way.
const DRAIN_WAIT: Duration = Duration::from_millis(50);

/// The first line with a token, in bytes: far more than a token has.
const TOKEN_LINE_MAX: usize = 4 << 10;

/// A connection that counts as open until it is dropped.
pub(super) struct Registered {
    pub(super) number: u64,
    pub(super) open: Open,
    pub(super) counters: Arc<Counters>,
}

impl Registered {
    fn reads(&self) {
        self.open.change(|open| {
            if let Some(socket) = open.get_mut(&self.number) {
                socket.is_reading = true;
            }
        });
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.open.change(|open| open.remove(&self.number));
        self.counters.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Reads one connection to its end.
pub(super) struct Connection {
    pub(super) context: Context,
    pub(super) options: TcpOptions,
    pub(super) name: String,
    pub(super) held: Budget,
    pub(super) sender: Sender<Rows>,
    pub(super) registered: Registered,
}

/// A socket that others have too.
struct Plain(Arc<TcpStream>);

impl io::Read for Plain {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(buffer)
    }
}

/// Why a connection is not read any further.
enum Over {
    /// The sender closed it, or it broke.
    Closed,
    /// It broke a rule.
    Refused,
    /// The source stops.
    Stopped,
}

impl Connection {
    pub(super) fn run(self, socket: Arc<TcpStream>) {
        let over = self.read(&socket);
        if matches!(over, Over::Refused) {
            self.context.counters.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn read(&self, socket: &Arc<TcpStream>) -> Over {
        let idle = self.context.limits.idle.max(Duration::from_millis(1));
        let deadline = Instant::now() + idle;
        // An accepted socket inherits from the listener on some systems that it does not block.
        let set = socket.set_nonblocking(false).and(socket.set_read_timeout(Some(idle)));
        let _ = socket.set_nodelay(true);
        let stream = set.and_then(|()| match &self.options.accept {
            Some(accept) => accept(Arc::clone(socket), deadline),
            None => Ok(Box::new(Plain(Arc::clone(socket))) as Box<dyn io::Read + Send>),
        });
        let Ok(mut stream) = stream else { return Over::Refused };
        let Ok(mut decoder) = Decoder::new(&self.context, &self.name) else {
            return Over::Refused;
        };
        if let Some(check) = &self.options.token {
            match first_line(socket, stream.as_mut(), deadline) {
                Some((line, rest)) if is_token(&line, check) => decoder.push(&rest),
                _ => return Over::Refused,
            }
        }
        self.registered.reads();
        let over = self.pump(socket, stream.as_mut(), &mut decoder, idle);
        // Where it is this side that stops, half a line is no fault of the sender's.
        if !matches!(over, Over::Stopped) {
            decoder.abandon();
            if self.hand_on(&mut decoder).is_err() {
                return Over::Refused;
            }
        }
        over
    }

    fn pump(&self, control: &TcpStream, stream: &mut dyn io::Read, decoder: &mut Decoder, idle: Duration) -> Over {
        let mut deadline = Instant::now() + idle;
        let (mut stop_at, mut settle_at) = (None, None);
        let mut timeout = Duration::ZERO;
        let mut rows = decoder.rows();
        let Some(mut share) = self.held.try_take(0) else {
            return Over::Refused;
        };
        loop {
            if let Err(over) = self.hand_on(decoder) {
                return over;
            }
            // What is no record keeps no connection open, however much of it there is.
            if decoder.rows() > rows {
                rows = decoder.rows();
                deadline = Instant::now() + idle;
            }
            // Rows that have to settle the columns are waited for, but not for long.
            let settling = decoder.is_settling() && decoder.is_within_record();
            if settling && Instant::now() >= *settle_at.get_or_insert_with(|| Instant::now() + SETTLE_TIME) {
                decoder.settle();
                if let Err(over) = self.hand_on(decoder) {
                    return over;
                }
            }
            let stopped = self.context.stop.is_stopped();
            if stopped && Instant::now() >= *stop_at.get_or_insert_with(|| Instant::now() + DRAIN_TIME) {
                return Over::Stopped;
            }
            let wait = match (stopped, settling) {
                (true, _) => DRAIN_WAIT,
                (false, true) => SETTLE_WAIT,
                (false, false) => STOP_WAIT,
            };
            let wait = wait.min(idle);
            if wait != timeout && control.set_read_timeout(Some(wait)).is_ok() {
                timeout = wait;
            }
            if let Err(over) = self.make_room(decoder, &mut share, deadline) {
                return over;
            }
            match decoder.fill(stream) {
                Ok(0) => return Over::Closed,
                Ok(n) => {
                    self.context.counters.bytes.fetch_add(n as u64, Ordering::Relaxed);
                    if Instant::now() >= deadline {
                        let given = self.hand_on(decoder);
                        if given.is_err() || decoder.rows() == rows {
                            return given.err().unwrap_or(Over::Refused);
                        }
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {
                    if Instant::now() >= deadline {
                        return Over::Refused;
                    }
                }
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    if settling {
                        decoder.settle();
                    }
                    if stopped {
                        return self.hand_on(decoder).err().unwrap_or(Over::Stopped);
                    }
                    if Instant::now() >= deadline {
                        return Over::Refused;
                    }
                    decoder.relax();
                }
                Err(_) => return Over::Closed,
            }
        }
    }

    /// Takes a share of the memory for what the next bytes may need; waits while others have it.
    fn make_room(&self, decoder: &Decoder, share: &mut Share, deadline: Instant) -> Result<(), Over> {
        let needed = decoder.room_bytes().saturating_sub(FREE_BYTES) as u64;
        while needed != share.bytes() && !share.resize(needed, STOP_WAIT) {
            if self.context.stop.is_stopped() {
                return Err(Over::Stopped);
            }
            if Instant::now() >= deadline {
                return Err(Over::Refused);
            }
        }
        Ok(())
    }

    /// Hands on everything that is complete.
    fn hand_on(&self, decoder: &mut Decoder) -> Result<(), Over> {
        while let Some(rows) = decoder.next_rows().map_err(|_| Over::Refused)? {
            // Nobody takes them any more where this fails: the source is gone.
            self.sender.send(rows).map_err(|_| Over::Stopped)?;
        }
        Ok(())
    }
}

/// The first line and what has been read beyond it; nothing where it does not come in time or is too long.
fn first_line(socket: &TcpStream, stream: &mut dyn io::Read, deadline: Instant) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut line = Vec::new();
    let mut piece = [0; 1024];
    while line.len() <= TOKEN_LINE_MAX {
        let left = deadline
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())?;
        socket.set_read_timeout(Some(left)).ok()?;
        let got = match stream.read(&mut piece) {
            Ok(0) => return None,
            Ok(got) => got,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return None,
        };
        line.extend_from_slice(&piece[..got]);
        if let Some(end) = memchr::memchr(b'\n', &line) {
            let rest = line.split_off(end + 1);
            return Some((line, rest));
        }
    }
    None
}

fn is_token(line: &[u8], check: &TokenCheck) -> bool {
    line.trim_ascii_end()
        .strip_prefix(b"token ")
        .is_some_and(|value| check(value))
}
