//! Connections to a RabbitMQ server, and what goes wrong with them in words.

use crate::error::{Error, Result};
use crate::io::address::Address;
use crate::io::remote::{Remote, trusting};
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::tcp::AMQPUriTcpExt;
use lapin::types::ShortString;
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind};
use std::sync::Arc;
use std::time::Duration;
use tcp_stream::RustlsConnector;

/// How long a server may take to answer a connection, and whatever is asked of it.
pub(in crate::io) const ANSWER_TIME: Duration = Duration::from_secs(10);

/// Seconds from one sign of life to the next: a server that is gone without a word is given up after two of them.
const HEARTBEAT_SECONDS: u16 = 10;

/// The ports of servers.
const PORT: u16 = 5672;
const TLS_PORT: u16 = 5671;

/// What goes wrong with a server.
#[derive(Debug)]
pub(in crate::io) enum Trouble {
    /// What the client says.
    Client(lapin::Error),
    /// What it does not know.
    Other(String),
}

impl From<lapin::Error> for Trouble {
    fn from(error: lapin::Error) -> Self {
        Self::Client(error)
    }
}

impl Trouble {
    /// Whether it is the answer of a server that will say the same again: there is no such thing, or it may not be used.
    pub(in crate::io) fn stays(&self) -> bool {
        let Self::Client(error) = self else { return false };
        let ErrorKind::ProtocolError(error) = error.kind() else {
            return false;
        };
        match error.kind() {
            AMQPErrorKind::Soft(kind) => matches!(
                kind,
                AMQPSoftError::NOTFOUND | AMQPSoftError::ACCESSREFUSED | AMQPSoftError::PRECONDITIONFAILED
            ),
            AMQPErrorKind::Hard(kind) => matches!(kind, AMQPHardError::NOTALLOWED),
        }
    }

    /// Whether what was named is not there.
    pub(in crate::io) fn is_absent(&self) -> bool {
        let Self::Client(error) = self else { return false };
        let ErrorKind::ProtocolError(error) = error.kind() else {
            return false;
        };
        *error.kind() == AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND)
    }
}

/// Waits for an answer, but not for ever.
pub(in crate::io) async fn answered<T>(
    what: &str,
    answer: impl Future<Output = lapin::Result<T>>,
) -> std::result::Result<T, Trouble> {
    match tokio::time::timeout(ANSWER_TIME, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Trouble::Other(format!(
            "the server took longer than {} s for {what}",
            ANSWER_TIME.as_secs()
        ))),
    }
}

/// A server, and what it takes to be let in.
pub(in crate::io) struct Server {
    /// What messages call the one who connects.
    name: String,
    uri: AMQPUri,
    /// What it trusts, where connections are encrypted.
    tls: Option<Arc<rustls::ClientConfig>>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// For `name`, which is what messages begin with.
    ///
    /// # Errors
    /// [`Error::Config`] for an address that is none, holds a password, or is to be spoken to in the clear though it is
    /// on another machine; [`Error::Input`] for a file that cannot be read.
    pub(in crate::io) fn new(name: &str, remote: &Remote) -> Result<Self> {
        let mut uri = address(name, &remote.url)?;
        remote.check_hosts(name, [uri.authority.host.as_str()])?;
        let tls = remote.ca_file.as_deref().map(trusting).transpose()?.map(Arc::new);
        if tls.is_none() && uri.scheme == AMQPScheme::AMQPS {
            return Err(Error::Config(format!(
                "{name}: encryption takes ca_file, the authority of the server's certificate"
            )));
        }
        // The client encrypts nothing by itself.
        uri.scheme = AMQPScheme::AMQP;
        if let Some(password) = remote.password()? {
            uri.authority.userinfo.password = password;
        }
        Ok(Self {
            name: name.to_owned(),
            uri,
            tls,
        })
    }

    /// A connection with a channel.
    pub(in crate::io) async fn connect(&self) -> std::result::Result<(Connection, Channel), Trouble> {
        let named = ConnectionProperties::default().with_connection_name(format!("millstream {}", self.name).into());
        let tls = self.tls.clone();
        let connect = async move |uri: AMQPUri, runtime| {
            let plain = uri.connect_async(&runtime).await?;
            match &tls {
                Some(tls) => {
                    let connector = RustlsConnector::from(Arc::clone(tls));
                    Ok(plain.into_rustls(&connector, &uri.authority.host).await?)
                }
                None => Ok(plain),
            }
        };
        let runtime = lapin::runtime::default_runtime()?;
        let connecting = Connection::connector(self.uri.clone(), runtime, connect, named);
        let connection = answered("a connection", connecting).await?;
        let channel = answered("a channel", connection.create_channel()).await?;
        Ok((connection, channel))
    }

    /// The error where a run cannot begin.
    pub(in crate::io) fn refused(&self, trouble: &Trouble) -> Error {
        Error::Config(format!("{}: {}", self.name, self.words(trouble)))
    }

    /// What goes wrong, in words.
    pub(in crate::io) fn words(&self, trouble: &Trouble) -> String {
        let error = match trouble {
            Trouble::Client(error) => error,
            Trouble::Other(words) => return words.clone(),
        };
        let user = &self.uri.authority.userinfo.username;
        let vhost = &self.uri.vhost;
        let ErrorKind::ProtocolError(error) = error.kind() else {
            let AMQPAuthority { host, port, .. } = &self.uri.authority;
            let mut words = match error.kind() {
                ErrorKind::IOError(error) => error.to_string(),
                _ => error.to_string(),
            };
            let mut source = std::error::Error::source(error).and_then(std::error::Error::source);
            while let Some(cause) = source {
                words = format!("{words}: {cause}");
                source = cause.source();
            }
            return format!("the server {host}:{port}: {words}");
        };
        let said = error.get_message();
        match error.kind() {
            AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED)
                if said.as_str().starts_with("ACCESS_REFUSED - Login") =>
            {
                format!("the server does not let in `{user}` with this password: see password_file and password_env")
            }
            AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => {
                format!("the server has no virtual host `{vhost}` that `{user}` may use ({said})")
            }
            _ => format!("the server says {said}"),
        }
    }
}

/// What is shorter than 256 bytes, as names here have to be.
pub(in crate::io) fn short(name: &str, option: &str, text: &str) -> Result<ShortString> {
    ShortString::try_new(text.to_owned()).map_err(|_| Error::Config(format!("{name}: {option} has at most 255 bytes")))
}

/// The address, `amqp://USER@HOST:PORT/VHOST`, in the words of the client.
fn address(name: &str, url: &str) -> Result<AMQPUri> {
    let of = Address::of(name, url, ["amqp", "amqps"], "amqp://USER@HOST:PORT/VHOST")?;
    let AMQPUserInfo { username, password } = AMQPUserInfo::default();
    Ok(AMQPUri {
        scheme: if of.is_encrypted {
            AMQPScheme::AMQPS
        } else {
            AMQPScheme::AMQP
        },
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo {
                username: of.user.unwrap_or(username),
                password,
            },
            host: of.host,
            port: of.port.unwrap_or(if of.is_encrypted { TLS_PORT } else { PORT }),
        },
        vhost: if of.path.is_empty() { "/".into() } else { of.path },
        query: AMQPQueryString {
            heartbeat: Some(HEARTBEAT_SECONDS),
            ..AMQPQueryString::default()
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_complete() {
        for (url, user, host, port, vhost) in [
            ("amqp://u@127.0.0.1:1/v", "u", "127.0.0.1", 1, "v"),
            ("amqp://localhost", "guest", "localhost", 5672, "/"),
            ("amqp://localhost/", "guest", "localhost", 5672, "/"),
            ("amqps://me%40home@h/%2fa", "me@home", "h", 5671, "/a"),
            ("amqp://[::1]", "guest", "::1", 5672, "/"),
            ("amqp://u@[::1]:7/", "u", "::1", 7, "/"),
        ] {
            let uri = address("x", url).unwrap();
            let of = &uri.authority;
            let parts = (
                of.userinfo.username.as_str(),
                of.host.as_str(),
                of.port,
                uri.vhost.as_str(),
            );
            assert_eq!(parts, (user, host, port, vhost), "{url}");
        }
    }

    #[test]
    fn other_machines_and_encryption_take_an_authority() {
        for url in ["amqp://192.0.2.1", "amqps://127.0.0.1"] {
            let error = Server::new("x", &Remote::new(url)).unwrap_err().to_string();
            assert!(error.contains("ca_file"), "{error}");
        }
        let server = Server::new("x", &Remote::new("amqp://u@127.0.0.1")).unwrap();
        assert!(!format!("{server:?}").contains("guest"));
    }
}
