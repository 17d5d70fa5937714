//! Rows over TCP: a listener, and for each connection a thread that reads, decodes and hands batches on.
//!
//! The channel to [`Source::read`] is bounded: while it is full nobody reads, and TCP slows the senders. What is there
//! is read at once, so that a lone row is not kept waiting and a flood becomes large batches.
//!
//! A sender that stops within a line, is silent for too long, or breaks a rule loses no more than that line: everything
//! complete has been handed on, and what is not is a counted bad row. All sockets of one listener are one partition.

mod connection;

use super::budget::Budget;
use super::live::{self, Context};
use super::wire::Decoder;
use super::{About, Read, Rows, Source};
use crate::error::{Error, Result};
use arrow::datatypes::SchemaRef;
use connection::{Connection, Registered};
use crossbeam::channel::{Receiver, Sender, bounded};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Batches between the connections and the reader: enough for one to be decoded while another is reduced, and few, as
/// what waits here is late when it comes out.
const BATCHES: usize = 4;

/// How often the listener looks for connections, and for the sign to stop.
const ACCEPT_WAIT: Duration = Duration::from_millis(5);

/// How long, once told to stop, a connection is read on while bytes keep coming, and connections are taken.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// Room on the stack of a connection's thread, in bytes: decoders keep what is large elsewhere.
const STACK_BYTES: usize = 512 << 10;

/// Makes a readable stream of a connection (TLS), within the time until then: it may fail. A read may block as long as the
/// socket's timeouts let it; where it has taken bytes that are nothing to read yet it fails with
/// [`Interrupted`](io::ErrorKind::Interrupted).
pub type Accept = Arc<dyn Fn(Arc<TcpStream>, Instant) -> io::Result<Box<dyn io::Read + Send>> + Send + Sync>;

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
    given: live::Given,
}

/// The sockets that are open, so that they can be closed from outside.
#[derive(Debug, Clone, Default)]
struct Open(Arc<Mutex<HashMap<u64, Socket>>>);

#[derive(Debug)]
struct Socket {
    stream: Arc<TcpStream>,
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
            held: Budget::new(context.limits.held_bytes),
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
            given: live::Given::default(),
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
        if self.context.stop.is_stopped() {
            // Those that have not said yet who they are have nothing to give.
            self.open.change(|open| {
                for socket in open.values().filter(|socket| !socket.is_reading) {
                    let _ = socket.stream.shutdown(Shutdown::Both);
                }
            });
        }
        Ok(live::receive(&self.batches, &mut self.given))
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
    /// What connections hold of records that are not complete.
    held: Budget,
    sender: Sender<Rows>,
    next: u64,
}

impl Acceptor {
    fn run(mut self, listener: &TcpListener) {
        let mut stop_at = None;
        loop {
            // Who has connected before the sign to stop has been accepted; others that keep coming do not put it off.
            let stopping = self.context.stop.is_stopped();
            if stopping && Instant::now() >= *stop_at.get_or_insert_with(|| Instant::now() + DRAIN_TIME) {
                return;
            }
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
        // One descriptor is enough for those who read, watch over and close a connection.
        let stream = Arc::new(stream);
        let most = self.context.limits.connections;
        let is_in = self.open.change(|open| {
            let is_in = open.len() < most;
            if is_in {
                let socket = Socket {
                    stream: Arc::clone(&stream),
                    is_reading: self.options.accept.is_none() && self.options.token.is_none(),
                };
                open.insert(number, socket);
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
            held: self.held.clone(),
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
