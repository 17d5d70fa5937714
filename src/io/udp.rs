//! Rows in datagrams, each of which holds whole records.
//!
//! A datagram has no header, so csv needs the names of its columns. One thread receives, gathers what is there, decodes
//! it and hands it on; nobody can be slowed down here, so what the bounded channel does not take is dropped and counted.
//! What the system drops before that, for want of room in the socket's buffer, nobody sees.

use super::live::{self, Context, WireFormat};
use super::wire::Decoder;
use super::{About, Read, Rows, Source};
use crate::error::{Error, Result};
use arrow::datatypes::SchemaRef;
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of the longest datagram.
const DATAGRAM_BYTES_MAX: usize = 1 << 16;

/// Bytes of datagrams that are decoded at once, at most.
const GATHERED_BYTES: usize = 1 << 20;

/// Bytes that the shortest datagram counts as.
const DATAGRAM_BYTES_MIN: usize = 64;

/// How long, once told to stop, datagrams are taken while they keep coming.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// Batches between the socket and the reader: more than for senders that can wait, and all of them small.
const BATCHES: usize = 64;

/// How often a silent socket looks for the sign to stop.
const STOP_WAIT: Duration = Duration::from_millis(20);

/// The rows that come in datagrams.
#[derive(Debug)]
pub struct UdpSource {
    context: Context,
    address: SocketAddr,
    batches: Receiver<Rows>,
    given: live::Given,
}

impl UdpSource {
    /// Begins to receive at this address; port 0 is any free one.
    ///
    /// # Errors
    /// [`Error::Input`] if the address cannot be had; [`Error::Config`] for csv without the names of its columns, for
    /// Arrow streams, and for options of the wire that make no sense.
    pub fn open(context: &Context, listen: SocketAddr) -> Result<Self> {
        let config = |what| Err(Error::Config(format!("feed `{}`: {what}", context.name)));
        match context.wire.format {
            WireFormat::Csv if context.wire.columns.is_none() => {
                return config("csv over udp needs columns = [...], as a datagram has no header");
            }
            WireFormat::Arrow => return config("udp takes csv, ndjson or binary, as a datagram is no stream"),
            _ => {}
        }
        let input = |source| Error::Input {
            path: format!("udp {listen}").into(),
            source,
        };
        let socket = UdpSocket::bind(listen).map_err(input)?;
        let address = socket.local_addr().map_err(input)?;
        socket.set_read_timeout(Some(STOP_WAIT)).map_err(input)?;
        let name = format!("udp {address}");
        let decoder = Decoder::new(context, name.as_str())?;
        let (sender, batches) = bounded(BATCHES);
        let receiving = Receiving {
            context: context.clone(),
            name,
            socket,
            decoder,
            sender,
        };
        thread::Builder::new()
            .name("millstream-udp".into())
            .spawn(move || receiving.run())
            .map_err(input)?;
        Ok(Self {
            context: context.clone(),
            address,
            batches,
            given: live::Given::default(),
        })
    }

    /// Where it receives.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Source for UdpSource {
    fn schema(&self) -> SchemaRef {
        live::settled(&self.context)
    }

    fn select(&mut self, columns: &[String]) -> Result<()> {
        live::selected(&self.context, columns)
    }

    fn about(&self) -> About {
        About {
            name: format!("udp {}", self.address),
            ..About::default()
        }
    }

    fn read(&mut self) -> Result<Read> {
        Ok(live::receive(&self.batches, &mut self.given))
    }
}

struct Receiving {
    context: Context,
    name: String,
    socket: UdpSocket,
    decoder: Decoder,
    sender: Sender<Rows>,
}

impl Receiving {
    fn run(mut self) {
        let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
        let mut stop_at = None;
        loop {
            // What has arrived before the sign to stop is taken.
            let stopping = self.context.stop.is_stopped();
            let is_over = stopping && Instant::now() >= *stop_at.get_or_insert_with(|| Instant::now() + DRAIN_TIME);
            let first = self.receive(&mut datagram);
            if let Some(mut gathered) = first
                && self.socket.set_nonblocking(true).is_ok()
            {
                while gathered < GATHERED_BYTES
                    && let Some(length) = self.receive(&mut datagram)
                {
                    gathered += length;
                }
                let _ = self.socket.set_nonblocking(false);
            }
            // Datagrams that are there settle the columns.
            self.decoder.settle();
            if !self.hand_on() || is_over || (stopping && first.is_none()) {
                return;
            }
        }
    }

    /// Takes a datagram, if there is one; what it costs, in bytes.
    fn receive(&mut self, datagram: &mut [u8]) -> Option<usize> {
        match self.socket.recv(datagram) {
            Ok(length) => {
                self.context.counters.bytes.fetch_add(length as u64, Ordering::Relaxed);
                self.decoder.push_whole(&datagram[..length]);
                // Empty ones are work too.
                Some(length.max(DATAGRAM_BYTES_MIN))
            }
            // Nothing there, or a signal: what comes later is taken later.
            Err(_) => None,
        }
    }

    /// Hands on what is there; false where nobody wants it any more.
    fn hand_on(&mut self) -> bool {
        loop {
            match self.decoder.next_rows() {
                Ok(None) => return true,
                Ok(Some(rows)) => match self.sender.try_send(rows) {
                    Ok(()) => {}
                    Err(TrySendError::Full(rows)) => {
                        let lost = rows.count();
                        self.context.counters.dropped_rows.fetch_add(lost, Ordering::Relaxed);
                    }
                    Err(TrySendError::Disconnected(_)) => return false,
                },
                Err(_) => {
                    self.context.counters.refused.fetch_add(1, Ordering::Relaxed);
                    match Decoder::new(&self.context, self.name.as_str()) {
                        Ok(decoder) => self.decoder = decoder,
                        Err(_) => return false,
                    }
                }
            }
        }
    }
}
