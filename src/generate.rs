//! Synthetic feeds: rows with known laws, in every format, to every kind of source, at a rate or flat out.
//!
//! A feed is a pure function of its [`Options`]: the same seed gives the same rows in every format and to every target.
//! What a right engine makes of it can be written beside it ([`Expectation`]), computed exactly and without any code of
//! the engine, and compared with what an engine said ([`verify`]).
//!
//! ```
//! use millstream::generate::{Delivery, Format, Options, Target, generate};
//!
//! let folder = std::env::temp_dir().join(format!("millstream-{}.csv", std::process::id()));
//! let delivery = Delivery { format: Format::Csv, ..Delivery::new(Target::File(folder.clone())) };
//! let sent = generate(&Options { rows: 5, keys: 2, ..Options::default() }, &delivery, None)?;
//! assert_eq!(sent.rows, 5);
//! assert!(std::fs::read_to_string(&folder)?.starts_with("ts,key,c0\n1767225600000,"));
//! # std::fs::remove_file(&folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod column;
mod encode;
mod exact;
mod expect;
#[cfg(feature = "net")]
mod http;
#[cfg(feature = "kafka")]
mod kafka;
mod messages;
mod pace;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
mod random;
mod rows;
mod target;
mod text;
pub mod verify;

pub use column::Column;
pub use encode::Format;
pub use expect::{Conservation, Expectation, Question};
pub use rows::{DECIMALS_MAX, FRACTION_BITS_MAX, Grid, KEYS_MAX, Options};
pub use target::Target;

use crate::error::{Error, Result};
use crate::io::OutputFile;
use messages::Messages;
use pace::{Pace, pause};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use target::{Sender, ToEnd, ToFile, ToTcp, ToUdp};

/// Bytes of a datagram unless said otherwise: what fits a packet of an Ethernet with all headers.
pub const DATAGRAM_BYTES: usize = 1400;

/// Bytes of a datagram at most: what UDP over IPv4 carries.
pub const DATAGRAM_BYTES_MAX: usize = 65_507;

/// Rows of an HTTP body, a message of a broker or an Arrow record batch unless said otherwise.
pub const BATCH_ROWS: usize = 10_000;

/// How long a message to a server is tried again unless said otherwise.
pub const RETRY: Duration = Duration::from_secs(30);

/// How a feed is sent.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// In which format.
    pub format: Format,
    /// Where to.
    pub target: Target,
    /// Rows a second; as many as will go where absent.
    pub rate: Option<f64>,
    /// Rows of an HTTP body, a message of a broker, an Arrow record batch.
    pub batch_rows: usize,
    /// Bytes of a datagram at most.
    pub datagram_bytes: usize,
    /// Whether csv begins with the names of the columns.
    pub header: bool,
    /// Whether all rows are drawn and encoded before the first is sent.
    pub replay: bool,
    /// How long nothing is done between the drawing of a replay and its sending: a machine whose processor time is
    /// rationed is then as fast for the sending as for any other.
    pub rest: Duration,
    /// What servers are told who asks; never printed.
    pub token: Option<String>,
    /// A file whose first line is the password for RabbitMQ.
    pub password_file: Option<PathBuf>,
    /// The environment variable that holds it.
    pub password_env: Option<String>,
    /// Certificates in PEM that a server's may be signed by, instead of those of the system.
    pub authorities: Option<PathBuf>,
    /// How long a server that is not there, or has no room, is asked again.
    pub retry: Duration,
}

impl Delivery {
    /// csv to `target`, flat out.
    pub fn new(target: Target) -> Self {
        Self {
            format: Format::Csv,
            target,
            rate: None,
            batch_rows: BATCH_ROWS,
            datagram_bytes: DATAGRAM_BYTES,
            header: true,
            replay: false,
            rest: Duration::ZERO,
            token: None,
            password_file: None,
            password_env: None,
            authorities: None,
            retry: RETRY,
        }
    }

    fn checked(&self, options: &Options) -> Result<()> {
        let no = |why: &str| Err(Error::Usage(why.into()));
        if options.bad_rows > 0.0 && !self.format.is_text() {
            return no("--bad-rows goes with csv and ndjson: every arrow and binary row can be read");
        }
        if self.format == Format::Arrow && matches!(self.target, Target::Udp(_)) {
            return no("an Arrow stream does not fit datagrams: --format csv, ndjson or binary");
        }
        if self.batch_rows == 0 {
            return no("--batch-rows is 0, not 1 or more");
        }
        if !(1..=DATAGRAM_BYTES_MAX).contains(&self.datagram_bytes) {
            return no(&format!(
                "--datagram-bytes is {}, not between 1 and {DATAGRAM_BYTES_MAX}",
                self.datagram_bytes
            ));
        }
        if self.rate.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
            return no("--rate is not above 0");
        }
        Ok(())
    }

    fn sender(&self) -> Result<(Box<dyn Sender + '_>, bool)> {
        // A file that goes on has its header already.
        let mut header = self.header;
        let sender: Box<dyn Sender> = match &self.target {
            Target::File(path) => Box::new(ToFile(OutputFile::create(path)?)),
            Target::Append(path) => {
                let file = ToEnd::open(path)?;
                header &= file.is_empty();
                Box::new(file)
            }
            Target::Tcp(address) => Box::new(ToTcp::connect(address)?),
            Target::Udp(address) => Box::new(ToUdp::connect(address)?),
            #[cfg(feature = "net")]
            Target::Http(url) => Box::new(http::ToHttp::new(url, self)?),
            #[cfg(not(feature = "net"))]
            Target::Http(_) => return Err(Error::Unavailable("this build has no HTTP (feature `net`)".into())),
            #[cfg(feature = "kafka")]
            Target::Kafka { broker, topic } => Box::new(kafka::ToKafka::new(broker, topic, self.retry)?),
            #[cfg(not(feature = "kafka"))]
            Target::Kafka { .. } => {
                return Err(Error::Unavailable("this build has no Kafka (feature `kafka`)".into()));
            }
            #[cfg(feature = "rabbitmq")]
            Target::Rabbitmq { url, queue } => Box::new(rabbitmq::ToRabbitmq::new(url, queue, self)?),
            #[cfg(not(feature = "rabbitmq"))]
            Target::Rabbitmq { .. } => {
                return Err(Error::Unavailable(
                    "this build has no RabbitMQ (feature `rabbitmq`)".into(),
                ));
            }
        };
        Ok((sender, header))
    }
}

/// What went out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sent {
    /// Rows.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
    /// How long the sending took, without what was prepared before.
    pub elapsed: Duration,
    /// The messages.
    pub log: Vec<Message>,
}

/// When a message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// Rows of the feed up to its end.
    pub rows: u64,
    /// When its sending began, in nanoseconds since 1970.
    pub begun_ns: u64,
    /// When the target had taken it.
    pub taken_ns: u64,
}

/// Draws the rows of a feed and sends them; what is expected of an engine is told of every row.
///
/// # Errors
/// [`Error::Usage`] for options that cannot be; [`Error::Output`], [`Error::Failed`] if the target does not take the
/// rows.
pub fn generate(options: &Options, delivery: &Delivery, expectation: Option<&mut Expectation>) -> Result<Sent> {
    options.checked()?;
    delivery.checked(options)?;
    let (mut sender, header) = if delivery.replay {
        // Whoever is to take the rows need not wait for them: it is asked when they are there.
        (None, delivery.header)
    } else {
        let (sender, header) = delivery.sender()?;
        (Some(sender), header)
    };
    let mut messages = Messages::new(options, delivery, header, expectation)?;
    let mut prepared = Vec::new();
    if delivery.replay {
        loop {
            let mut message = Vec::new();
            let rows = messages.next(&mut message)?;
            if message.is_empty() {
                break;
            }
            message.shrink_to_fit();
            prepared.push((rows, message));
        }
        pause(delivery.rest);
    }
    let mut sender = match sender.take() {
        Some(sender) => sender,
        None => delivery.sender()?.0,
    };

    let pace = Pace::new(delivery.rate);
    let mut sent = Sent::default();
    let mut send = |rows: u64, message: &[u8]| -> Result<()> {
        pace.wait(sent.rows);
        let begun_ns = now_ns();
        sender.send(message)?;
        sent.rows += rows;
        sent.bytes += message.len() as u64;
        sent.log.push(Message {
            rows: sent.rows,
            begun_ns,
            taken_ns: now_ns(),
        });
        Ok(())
    };
    if delivery.replay {
        for (rows, message) in &prepared {
            send(*rows, message)?;
        }
    } else {
        let mut message = Vec::new();
        loop {
            message.clear();
            let rows = messages.next(&mut message)?;
            if message.is_empty() {
                break;
            }
            send(rows, &message)?;
        }
    }
    sender.finish()?;
    sent.elapsed = pace.elapsed();
    Ok(sent)
}

fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |since| since.as_nanos() as u64)
}
