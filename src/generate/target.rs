//! Where a synthetic feed goes: a file, standard output, a TCP or UDP socket, an HTTP server, a topic of Kafka, a
//! queue of RabbitMQ.

use crate::error::{Error, Result};
use crate::io::OutputFile;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::net::{TcpStream, UdpSocket};
use std::path::{Path, PathBuf};

/// Where rows go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A file that appears when it is whole; `-` is standard output.
    File(PathBuf),
    /// A file that rows are added to as they come.
    Append(PathBuf),
    /// A TCP socket, `HOST:PORT`.
    Tcp(String),
    /// A UDP socket, `HOST:PORT`.
    Udp(String),
    /// A URL that bodies are posted to.
    Http(String),
    /// A topic of Kafka that messages are sent to.
    Kafka {
        /// A broker of the cluster, `HOST:PORT`.
        broker: String,
        /// The topic.
        topic: String,
    },
    /// A queue of RabbitMQ that messages are sent to.
    Rabbitmq {
        /// The server, `amqp://USER@HOST:PORT/VHOST`.
        url: String,
        /// The queue.
        queue: String,
    },
}

impl Target {
    /// A target from its URL: `tcp://HOST:PORT`, `udp://HOST:PORT`, `http://…`, `https://…`,
    /// `kafka://HOST:PORT/TOPIC`, `amqp://USER@HOST:PORT/QUEUE`, or `…/VHOST/QUEUE` (`amqps` is encrypted).
    ///
    /// ```
    /// use millstream::generate::Target;
    /// assert_eq!(Target::parse("tcp://127.0.0.1:7400")?, Target::Tcp("127.0.0.1:7400".into()));
    /// # Ok::<(), millstream::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Usage`] for anything else.
    pub fn parse(url: &str) -> Result<Self> {
        let wrong = || {
            Error::Usage(format!(
                "--to `{url}` is not tcp://HOST:PORT, udp://HOST:PORT, http://HOST:PORT/PATH, https://HOST:PORT/PATH, \
                 kafka://HOST:PORT/TOPIC or amqp://USER@HOST:PORT/QUEUE"
            ))
        };
        let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
        let of = |rest: &str| {
            let (host, port) = rest.rsplit_once(':')?;
            (!host.is_empty() && port.parse::<u16>().is_ok()).then(|| rest.to_owned())
        };
        let address = || of(rest);
        match scheme {
            "tcp" => Ok(Self::Tcp(address().ok_or_else(wrong)?)),
            "udp" => Ok(Self::Udp(address().ok_or_else(wrong)?)),
            "http" | "https" if !rest.is_empty() => Ok(Self::Http(url.to_owned())),
            "kafka" => {
                let (broker, topic) = rest.split_once('/').ok_or_else(wrong)?;
                let broker = of(broker).filter(|_| !topic.is_empty()).ok_or_else(wrong)?;
                let topic = topic.to_owned();
                Ok(Self::Kafka { broker, topic })
            }
            "amqp" | "amqps" => {
                // Not quoted: there may be a password in it.
                let wrong = || Error::Usage("--to: a queue is like amqp://USER@HOST:PORT/QUEUE".into());
                let (server, queue) = rest.rsplit_once('/').ok_or_else(wrong)?;
                if server.is_empty() || queue.is_empty() {
                    return Err(wrong());
                }
                Ok(Self::Rabbitmq {
                    url: format!("{scheme}://{server}"),
                    queue: queue.to_owned(),
                })
            }
            _ => Err(wrong()),
        }
    }
}

/// Takes messages in order.
pub(super) trait Sender {
    /// Takes the next.
    fn send(&mut self, message: &[u8]) -> Result<()>;
    /// Ends it.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// The error for what the system said about `place`.
pub(super) fn failed(place: &str, source: std::io::Error) -> Error {
    Error::Output {
        path: Path::new(place).to_owned(),
        source,
    }
}

/// A file or standard output.
pub(super) struct ToFile(pub(super) OutputFile);

impl Sender for ToFile {
    fn send(&mut self, message: &[u8]) -> Result<()> {
        self.0.write_all(message).map_err(|e| self.0.error(e))?;
        // Whoever reads standard output sees rows when they are sent.
        if self.0.path() == Path::new("-") {
            self.0.flush().map_err(|e| self.0.error(e))?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.0.finish()
    }
}

/// The end of a file.
pub(super) struct ToEnd {
    path: String,
    file: File,
}

impl ToEnd {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let file = File::options().create(true).append(true).open(path);
        Ok(Self {
            file: file.map_err(|e| failed(&name, e))?,
            path: name,
        })
    }

    /// Whether nothing is in it yet.
    pub(super) fn is_empty(&self) -> bool {
        self.file.metadata().is_ok_and(|m| m.len() == 0)
    }
}

impl Sender for ToEnd {
    fn send(&mut self, message: &[u8]) -> Result<()> {
        self.file.write_all(message).map_err(|e| failed(&self.path, e))
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.file.sync_all().map_err(|e| failed(&self.path, e))
    }
}

/// A TCP connection. The other end takes as fast as it reads: sending waits for it.
pub(super) struct ToTcp {
    url: String,
    stream: TcpStream,
    sent_bytes: u64,
}

impl ToTcp {
    pub(super) fn connect(address: &str) -> Result<Self> {
        let url = format!("tcp://{address}");
        let stream = TcpStream::connect(address).map_err(|e| failed(&url, e))?;
        // A message is as many rows as are to go now.
        stream.set_nodelay(true).map_err(|e| failed(&url, e))?;
        Ok(Self {
            url,
            stream,
            sent_bytes: 0,
        })
    }
}

impl Sender for ToTcp {
    fn send(&mut self, message: &[u8]) -> Result<()> {
        let sent = self.stream.write_all(message);
        sent.map_err(|e| {
            let gone = matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset);
            match gone {
                // Not a broken pipe of standard output, about which nothing is said.
                true => Error::Failed(format!(
                    "{}: the other end closed the connection when {} bytes had gone out; how many it read is not known",
                    self.url, self.sent_bytes
                )),
                false => failed(&self.url, e),
            }
        })?;
        self.sent_bytes += message.len() as u64;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        let closed = self.stream.shutdown(std::net::Shutdown::Write);
        closed.map_err(|e| failed(&self.url, e))
    }
}

/// A UDP socket: one datagram a message. What the other end does not take is lost.
pub(super) struct ToUdp {
    url: String,
    socket: UdpSocket,
}

impl ToUdp {
    pub(super) fn connect(address: &str) -> Result<Self> {
        let url = format!("udp://{address}");
        let open = || -> std::io::Result<UdpSocket> {
            use std::net::ToSocketAddrs;
            let to = address.to_socket_addrs()?.next().ok_or(ErrorKind::NotFound)?;
            let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
            socket.connect(to)?;
            Ok(socket)
        };
        Ok(Self {
            socket: open().map_err(|e| failed(&url, e))?,
            url,
        })
    }
}

impl Sender for ToUdp {
    fn send(&mut self, message: &[u8]) -> Result<()> {
        let sent = self.socket.send(message);
        let sent = match sent {
            // The answer to a datagram before: this one has not gone yet. Nobody listens, as yet or any more.
            Err(e) if e.kind() == ErrorKind::ConnectionRefused => self.socket.send(message),
            sent => sent,
        };
        sent.map(|_| ()).map_err(|e| failed(&self.url, e))
    }

    fn finish(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_read_as_written() {
        assert_eq!(Target::parse("udp://[::1]:5").unwrap(), Target::Udp("[::1]:5".into()));
        let http = "https://a.example/ingest";
        assert_eq!(Target::parse(http).unwrap(), Target::Http(http.into()));
        let amqp = Target::parse("amqp://u@h:1/v/q").unwrap();
        let (url, queue) = ("amqp://u@h:1/v".into(), "q".into());
        assert_eq!(amqp, Target::Rabbitmq { url, queue });
        for url in [
            "",
            "amqp://h:1",
            "amqp://h:1/",
            "x",
            "tcp://",
            "tcp://host",
            "tcp://:80",
            "tcp://h:99999",
            "ftp://h:1",
            "http://",
        ] {
            let error = Target::parse(url).unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains("--to"), "{url}");
        }
    }
}
