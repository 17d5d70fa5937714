//! A client of HTTP/1.1 over a plain socket: it sends exactly the bytes that a test wants sent.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long anything may take before a test gives up on it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The answer has this status and says an error that has these parts.
    #[track_caller]
    pub(crate) fn refuses(&self, status: u16, parts: &[&str]) {
        assert_eq!(self.status, status, "{self:?}");
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        let error = body["error"].as_str().unwrap();
        for part in parts {
            assert!(error.contains(part), "{error:?} lacks {part:?}");
        }
    }

    /// The answer says that so many rows were accepted and so many rejected.
    #[track_caller]
    pub(crate) fn took(&self, accepted: u64, rejected: u64) {
        assert_eq!(self.status, 200, "{self:?}");
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(body, serde_json::json!({"accepted": accepted, "rejected": rejected}));
    }
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.set_write_timeout(Some(DEADLINE)).unwrap();
    socket
}

/// The next answer on a connection; nothing where it is closed instead.
pub(crate) fn read_answer(stream: &mut impl BufRead) -> Option<Answer> {
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    let status = line.split(' ').nth(1)?.parse().unwrap();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(0, |(_, value)| value.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    let body = String::from_utf8(body).unwrap();
    Some(Answer { status, headers, body })
}

/// The bytes of a request with a body of known length.
pub(crate) fn post(path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        bytes += &format!("{name}: {value}\r\n");
    }
    let mut bytes = (bytes + "\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Sends these bytes and reads one answer.
pub(crate) fn send(address: SocketAddr, bytes: &[u8]) -> Answer {
    let mut socket = connect(address);
    socket.write_all(bytes).unwrap();
    read_answer(&mut BufReader::new(socket)).expect("an answer")
}

/// Asks for a page.
pub(crate) fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut bytes = format!("GET {path} HTTP/1.1\r\nhost: test\r\n");
    for (name, value) in headers {
        bytes += &format!("{name}: {value}\r\n");
    }
    send(address, (bytes + "\r\n").as_bytes())
}

/// Whether the other end closes the connection within the deadline, whatever it says before.
pub(crate) fn is_closed(mut socket: TcpStream) -> bool {
    let mut rest = Vec::new();
    match socket.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(e) => e.kind() == std::io::ErrorKind::ConnectionReset,
    }
}
