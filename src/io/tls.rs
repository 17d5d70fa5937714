//! Who may connect: TLS by rustls, bearer tokens, and the rule for addresses that others can reach.
//!
//! The rule: a server that listens on anything but a loopback address has TLS and asks for a token, or its
//! configuration says `insecure = true`, and then there is a warning. A token is compared in constant time and shown
//! nowhere, not by `Debug` either.

use super::tcp::TokenCheck;
use crate::error::{Error, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};
use std::fmt;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use subtle::ConstantTimeEq;

/// Bytes that a token has at least: 128 bits where they are hexadecimal digits, which nobody guesses.
pub const TOKEN_BYTES_MIN: usize = 16;

/// Bytes that a token has at most: what fits a header and the first line of a connection.
pub const TOKEN_BYTES_MAX: usize = 1024;

/// What a client has to know.
#[derive(Clone)]
pub struct Token(Arc<[u8]>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// The first line of a file, without blanks around it.
    ///
    /// # Errors
    /// [`Error::Input`] where the file cannot be read, [`Error::Config`] for a token of another length than
    /// [`TOKEN_BYTES_MIN`] to [`TOKEN_BYTES_MAX`] bytes, and for one with blanks within.
    pub fn from_file(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).map_err(|source| Error::Input {
            path: path.to_owned(),
            source,
        })?;
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        Self::new(line.trim_ascii(), &path.display().to_string())
    }

    /// The value of an environment variable.
    ///
    /// # Errors
    /// [`Error::Config`] where it is not set, and as [`from_file`](Self::from_file).
    pub fn from_environment(name: &str) -> Result<Self> {
        let value = std::env::var_os(name).ok_or_else(|| {
            Error::Config(format!(
                "the environment variable {name}, which is to hold a token, is not set"
            ))
        })?;
        Self::new(
            value.as_encoded_bytes().trim_ascii(),
            &format!("the environment variable {name}"),
        )
    }

    fn new(token: &[u8], place: &str) -> Result<Self> {
        let length = token.len();
        if !(TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&length) {
            return Err(Error::Config(format!(
                "the token in {place} has {length} bytes; it must have {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX}"
            )));
        }
        if !token.iter().all(u8::is_ascii_graphic) {
            let message = format!("the token in {place} has other characters than visible ones of ASCII");
            return Err(Error::Config(message));
        }
        Ok(Self(token.into()))
    }

    /// Whether these bytes are the token, in a time that says nothing about where they differ.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        self.0.ct_eq(bytes).into()
    }

    /// [`matches`](Self::matches) as a function of its own.
    pub fn check(&self) -> TokenCheck {
        let token = self.clone();
        Arc::new(move |bytes| token.matches(bytes))
    }

    /// Whether the value of an `Authorization` header is `Bearer` with this token.
    pub(crate) fn authorizes(&self, header: Option<&[u8]>) -> bool {
        let (scheme, value) = header.unwrap_or_default().split_at_checked(7).unwrap_or_default();
        scheme.eq_ignore_ascii_case(b"bearer ") && self.matches(value.trim_ascii())
    }
}

/// A server's certificate and key, ready for connections.
#[derive(Clone)]
pub struct Tls(Arc<ServerConfig>);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(…)")
    }
}

impl Tls {
    /// From PEM files: the certificate with those that lead to its root behind it, and its private key.
    ///
    /// # Errors
    /// [`Error::Input`] where a file cannot be read; [`Error::Config`] where it holds something else, or the key is not
    /// that of the certificate.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|source| Error::Input {
                path: path.to_owned(),
                source,
            })
        };
        let wrong = |path: &Path, what: &str, e: &dyn fmt::Display| {
            Error::Config(format!("{} holds no {what} in PEM form: {e}", path.display()))
        };
        let chain = CertificateDer::pem_slice_iter(&read(certificate)?).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|e| wrong(certificate, "certificate", &e))?;
        if chain.is_empty() {
            return Err(wrong(certificate, "certificate", &"nothing is in it"));
        }
        let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|e| wrong(key, "private key", &e))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map(|builder| builder.with_no_client_auth())
            .and_then(|builder| builder.with_single_cert(chain, private));
        let config = config.map_err(|e| {
            let (certificate, key) = (certificate.display(), key.display());
            Error::Config(format!(
                "the certificate {certificate} and the key {key} cannot be used: {e}"
            ))
        })?;
        Ok(Self(Arc::new(config)))
    }

    /// The configuration, for servers that do not block.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0)
    }

    /// Shakes hands with a client and gives what it sends; the handshake is over at `deadline`, however slowly it goes on.
    /// A read blocks as long as the socket's timeouts allow and is [`Interrupted`](io::ErrorKind::Interrupted) where what
    /// came is not yet a whole record of TLS.
    ///
    /// # Errors
    /// What the socket says, and a client that does not speak TLS.
    pub fn accept(&self, socket: Arc<TcpStream>, deadline: Instant) -> io::Result<Box<dyn Read + Send>> {
        let connection = ServerConnection::new(self.config()).map_err(io::Error::other)?;
        let mut stream = TlsStream { connection, socket };
        while stream.connection.is_handshaking() || stream.connection.wants_write() {
            let left = deadline.checked_duration_since(Instant::now());
            let left = left.filter(|left| !left.is_zero()).ok_or(io::ErrorKind::TimedOut)?;
            stream.socket.set_read_timeout(Some(left))?;
            stream.socket.set_write_timeout(Some(left))?;
            match stream.step() {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
                _ => {}
            }
        }
        Ok(Box::new(stream))
    }
}

/// What a client sends over TLS.
struct TlsStream {
    connection: ServerConnection,
    socket: Arc<TcpStream>,
}

impl TlsStream {
    /// Writes what has to be written, else reads once; the bytes of it.
    fn step(&mut self) -> io::Result<usize> {
        if self.connection.wants_write() {
            return self.connection.write_tls(&mut &*self.socket);
        }
        let got = self.connection.read_tls(&mut &*self.socket)?;
        let processed = self.connection.process_new_packets();
        processed.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        Ok(got)
    }
}

impl Read for TlsStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.connection.reader().read(buffer) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
        self.step()?;
        match self.connection.reader().read(buffer) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Err(io::ErrorKind::Interrupted.into()),
            read => read,
        }
    }
}

/// How a server is protected.
#[derive(Debug, Clone, Default)]
pub struct Security {
    /// TLS.
    pub tls: Option<Tls>,
    /// The token that clients have to send.
    pub token: Option<Token>,
    /// Whether others may connect without either.
    pub insecure: bool,
}

impl Security {
    /// Whether a server may listen here; what comes back is a warning.
    ///
    /// # Errors
    /// [`Error::Config`] for an address that others can reach, without TLS or without a token.
    pub fn check(&self, what: &str, listen: SocketAddr) -> Result<Option<String>> {
        if listen.ip().is_loopback() {
            return Ok(None);
        }
        let lacks = match (&self.tls, &self.token) {
            (Some(_), Some(_)) => return Ok(None),
            (None, Some(_)) => "TLS (certificate and key)",
            (Some(_), None) => "a token (token_file)",
            (None, None) => "TLS (certificate and key) and a token (token_file)",
        };
        if self.insecure {
            return Ok(Some(format!(
                "{what} listens on {listen}, which others can reach, without {lacks}, as insecure = true asks"
            )));
        }
        Err(Error::Config(format!(
            "{what} is to listen on {listen}, which others can reach: it needs {lacks}; listen on 127.0.0.1 instead, or \
             set insecure = true"
        )))
    }
}
