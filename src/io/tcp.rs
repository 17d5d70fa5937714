//! Rows over TCP: a listener, and for each connection a thread that reads, decodes and hands batches on.
//!
//! The channel to [`Source::read`] is bounded: while it is full nobody reads, and TCP slows the senders. What is there
//! is read at once, so that a lone row is not kept waiting and a flood becomes large batches.
//!
//! A sender that stops within a line, is silent for too long, or breaks a rule loses no more than that line: everything
//! complete has been handed on, and what is not is a counted bad row. All sockets of one listener are one partition.

use super::live::{self, Context, Counters, SETTLE_TIME, SETTLE_WAIT};
use super::wire::Decoder;
use super::{About, Read, Rows, Source};
use crate::error::{Error, Result};
use arrow::datatypes::SchemaRef;
use crossbeam::channel::{Receiver, Sender, bounded};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Batches between the connections and the reader: enough for one to be decoded while another is reduced, and with at
/// most 4 MiB of input each no more memory than a run has to spare.
const BATCHES: usize = 8;

/// How often the listener looks for connections, and for the sign to stop.
const ACCEPT_WAIT: Duration = Duration::from_millis(5);

/// How often a silent connection looks for the sign to stop: a thousand of them cost a percent of a core.
const STOP_WAIT: Duration = Duration::from_millis(250);

/// How long, once told to stop, a connection is read on while bytes keep coming.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// How long, once told to stop, a connection waits for bytes that are under way.
const DRAIN_WAIT: Duration = Duration::from_millis(50);

/// The first line with a token, in bytes: far more than a token has.
const TOKEN_LINE_MAX: usize = 4 << 10;

/// Room on the stack of a connection's thread, in bytes: decoders keep what is large elsewhere.
const STACK_BYTES: usize = 512 << 10;

/// Makes a readable stream of a connection (TLS): it may fail, and may block as long as the socket's timeouts let it.
pub type Accept = Arc<dyn Fn(TcpStream) -> io::Result<Box<dyn io::Read + Send>> + Send + Sync>;

/// Whether a token is the right one.
pub type TokenCheck = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// Where and to whom to listen.
#[derive(Clone)]
pub struct TcpOptions {
    /// The address; port 0 is any free one.
    pub listen: SocketAddr,
    /// What comes between the socket and the decoder; plain TCP where absent.
    pub accept: Option<Accept>,
    /// Asks for a first line `token <value>`, and tells whether the value is right.
    pub token: Option<TokenCheck>,
}

impl TcpOptions {
    /// Plain TCP, for anyone.
    pub fn plain(listen: SocketAddr) -> Self {
        Self {
            listen,
            accept: None,
            token: None,
        }
    }
}

impl fmt::Debug for TcpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpOptions")
            .field("listen", &self.listen)
            .finish_non_exhaustive()
    }
}

/// The rows that come over TCP.
#[derive(Debug)]
pub struct TcpSource {
    context: Context,
    address: SocketAddr,
    batches: Receiver<Rows>,
    open: Open,
    rows: u64,
    stopping: bool,
}

/// The sockets that are open, so that they can be closed from outside.
#[derive(Debug, Clone, Default)]
struct Open(Arc<Mutex<HashMap<u64, Socket>>>);

#[derive(Debug)]
struct Socket {
    stream: TcpStream,
    /// Whether rows are read from it: it has shown its token, and TLS is under way.
    is_reading: bool,
}

impl Open {
    fn change<T>(&self, change: impl FnOnce(&mut HashMap<u64, Socket>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl TcpSource {
    /// Begins to listen.
    ///
    /// # Errors
    /// [`Error::Input`] if the address cannot be had; [`Error::Config`] for options of the wire that make no sense.
    pub fn open(context: &Context, options: TcpOptions) -> Result<Self> {
        // What is wrong with the options is found out before anyone connects.
        Decoder::new(context, "tcp")?;
        let input = |source| Error::Input {
            path: format!("tcp {}", options.listen).into(),
            source,
        };
        let listener = TcpListener::bind(options.listen).map_err(input)?;
        listener.set_nonblocking(true).map_err(input)?;
        let address = listener.local_addr().map_err(input)?;
        let (sender, batches) = bounded(BATCHES);
        let open = Open::default();
        let acceptor = Acceptor {
            context: context.clone(),
            options: options.clone(),
            open: open.clone(),
            sender,
            next: 0,
        };
        thread::Builder::new()
            .name("millstream-tcp".into())
            .spawn(move || acceptor.run(&listener))
            .map_err(input)?;
        Ok(Self {
            context: context.clone(),
            address,
            batches,
            open,
            rows: 0,
            stopping: false,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Source for TcpSource {
    fn schema(&self) -> SchemaRef {
        live::settled(&self.context)
    }

    fn select(&mut self, columns: &[String]) -> Result<()> {
        live::selected(&self.context, columns)
    }

    fn about(&self) -> About {
        About {
            name: format!("tcp {}", self.address),
            ..About::default()
        }
    }

    fn read(&mut self) -> Result<Read> {
        if !self.stopping && self.context.stop.is_stopped() {
            self.stopping = true;
            // Those that have not said yet who they are have nothing to give.
            self.open.change(|open| {
                for socket in open.values().filter(|socket| !socket.is_reading) {
                    let _ = socket.stream.shutdown(Shutdown::Both);
                }
            });
        }
        Ok(live::receive(&self.batches, &mut self.rows))
    }
}

impl Drop for TcpSource {
    fn drop(&mut self) {
        // Threads that hand on a batch see that nobody takes it; those that wait for bytes are woken.
        self.context.stop.stop();
        self.open.change(|open| {
            for socket in open.values() {
                let _ = socket.stream.shutdown(Shutdown::Both);
            }
        });
    }
}

/// Takes connections.
struct Acceptor {
    context: Context,
    options: TcpOptions,
    open: Open,
    sender: Sender<Rows>,
    next: u64,
}

impl Acceptor {
    fn run(mut self, listener: &TcpListener) {
        loop {
            // Who has connected before the sign to stop has been accepted.
            let stopping = self.context.stop.is_stopped();
            match listener.accept() {
                Ok((stream, peer)) => self.take(stream, peer),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if stopping => return,
                // Nobody there, or no more sockets for now: either passes.
                Err(_) => thread::sleep(ACCEPT_WAIT),
            }
        }
    }

    fn take(&mut self, stream: TcpStream, peer: SocketAddr) {
        let refused = || self.context.counters.refused.fetch_add(1, Ordering::Relaxed);
        let number = self.next;
        self.next += 1;
        let Ok(control) = stream.try_clone() else {
            refused();
            return;
        };
        let most = self.context.limits.connections;
        let is_in = self.open.change(|open| {
            let is_in = open.len() < most;
            if is_in {
                let is_reading = false;
                open.insert(
                    number,
                    Socket {
                        stream: control,
                        is_reading,
                    },
                );
            }
            is_in
        });
        if !is_in {
            refused();
            return;
        }
        self.context.counters.connections.fetch_add(1, Ordering::Relaxed);
        let connection = Connection {
            context: self.context.clone(),
            options: self.options.clone(),
            name: format!("tcp {peer}"),
            sender: self.sender.clone(),
            registered: Registered {
                number,
                open: self.open.clone(),
                counters: self.context.counters.clone(),
            },
        };
        let spawned = thread::Builder::new()
            .name("millstream-tcp".into())
            .stack_size(STACK_BYTES)
            .spawn(move || connection.run(stream));
        if spawned.is_err() {
            refused();
        }
    }
}

/// A connection that counts as open until it is dropped.
struct Registered {
    number: u64,
    open: Open,
    counters: Arc<Counters>,
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
struct Connection {
    context: Context,
    options: TcpOptions,
    name: String,
    sender: Sender<Rows>,
    registered: Registered,
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
    fn run(self, stream: TcpStream) {
        let over = self.read(stream);
        if matches!(over, Over::Refused) {
            self.context.counters.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn read(&self, socket: TcpStream) -> Over {
        let idle = self.context.limits.idle.max(Duration::from_millis(1));
        let Ok(control) = socket.try_clone() else {
            return Over::Refused;
        };
        // An accepted socket inherits from the listener on some systems that it does not block.
        let set = socket.set_nonblocking(false).and(socket.set_read_timeout(Some(idle)));
        let _ = socket.set_nodelay(true);
        let stream = set.and_then(|()| match &self.options.accept {
            Some(accept) => accept(socket),
            None => Ok(Box::new(socket) as Box<dyn io::Read + Send>),
        });
        let Ok(mut stream) = stream else { return Over::Refused };
        let Ok(mut decoder) = Decoder::new(&self.context, &self.name) else {
            return Over::Refused;
        };
        if let Some(check) = &self.options.token {
            match first_line(stream.as_mut(), idle) {
                Some((line, rest)) if is_token(&line, check) => decoder.push(&rest),
                _ => return Over::Refused,
            }
        }
        self.registered.reads();
        let over = self.pump(&control, stream.as_mut(), &mut decoder, idle);
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
        let mut timeout = idle;
        let mut offset = decoder.offset();
        loop {
            if let Err(over) = self.hand_on(decoder) {
                return over;
            }
            if decoder.offset() > offset {
                offset = decoder.offset();
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
            match decoder.fill(stream) {
                Ok(0) => return Over::Closed,
                Ok(n) => {
                    self.context.counters.bytes.fetch_add(n as u64, Ordering::Relaxed);
                    // Bytes that end no record do not keep a connection open.
                    if Instant::now() >= deadline {
                        let given = self.hand_on(decoder);
                        if given.is_err() || decoder.offset() == offset {
                            return given.err().unwrap_or(Over::Refused);
                        }
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
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

    /// Hands on everything that is complete.
    fn hand_on(&self, decoder: &mut Decoder) -> Result<(), Over> {
        while let Some(mut rows) = decoder.next_rows().map_err(|_| Over::Refused)? {
            rows.arrived_ns = Some(live::now_ns());
            // Nobody takes them any more where this fails: the source is gone.
            self.sender.send(rows).map_err(|_| Over::Stopped)?;
        }
        Ok(())
    }
}

/// The first line and what has been read beyond it; nothing where it does not come in time or is too long.
fn first_line(stream: &mut dyn io::Read, idle: Duration) -> Option<(Vec<u8>, Vec<u8>)> {
    let deadline = Instant::now() + idle;
    let mut line = Vec::new();
    let mut piece = [0; 1024];
    while line.len() <= TOKEN_LINE_MAX && Instant::now() < deadline {
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
