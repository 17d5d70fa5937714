//! Connections to a Redis server, and what goes wrong with them in words.

use crate::error::{Error, Result};
use crate::io::remote::{Remote, trusting};
use redis::io::tcp::TcpSettings;
use redis::{
    Client, Connection, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, ProtocolVersion, RedisError,
    RedisResult, TlsCertificates, Value,
};
use std::path::PathBuf;
use std::time::Duration;

/// How long a server may take to answer a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take to answer anything else.
const SILENCE: Duration = Duration::from_secs(30);

/// Where a password stands that no option names, as for the programs of Redis.
const PASSWORD_ENV: &str = "REDISCLI_AUTH";

/// Whether it may be otherwise in a while: the connection is lost, or the server starts, has no room, or is not the one
/// that takes what is written.
pub(in crate::io) fn may_pass(error: &RedisError) -> bool {
    const CODES: [&str; 10] = [
        "EXECABORT",
        "LOADING",
        "MASTERDOWN",
        "TRYAGAIN",
        "CLUSTERDOWN",
        "READONLY",
        "BUSY",
        "OOM",
        "NOREPLICAS",
        "MISCONF",
    ];
    let is_of_connection = error.is_io_error() && !is_of_certificate(error);
    is_of_connection || answer(error).is_some_and(|(code, _)| CODES.contains(&code.as_str()))
}

/// The code and the words of an answer that is an error; the first, where several commands were sent together.
pub(in crate::io) fn answer(error: &RedisError) -> Option<(String, String)> {
    if let Some(code) = error.code() {
        return Some((code.to_owned(), error.detail().unwrap_or_default().to_owned()));
    }
    let errors = error.clone().into_server_errors()?;
    let (_, first) = errors.first()?;
    Some((first.code().to_owned(), first.details().unwrap_or_default().to_owned()))
}

fn is_of_certificate(error: &RedisError) -> bool {
    error.to_string().contains("certificate")
}

/// A server, and what it takes to be let in.
pub(in crate::io) struct Server {
    name: String,
    place: String,
    client: Client,
}

impl Server {
    /// The server of a feed or sink that messages call `name`.
    ///
    /// # Errors
    /// [`Error::Config`] for an address that is none, or has a password in it, or is spoken to in the clear though it
    /// is on another machine; [`Error::Input`] for files that cannot be read.
    pub(in crate::io) fn new(name: &str, remote: &Remote) -> Result<Self> {
        let wrong = |why: &str| Error::Config(format!("{name}: {why}"));
        let is_plain = !remote.url.contains(['?', '#']);
        let is_url = ["redis://", "rediss://"]
            .iter()
            .any(|scheme| remote.url.starts_with(scheme));
        // What is wrong with the address may be a password in it: it is not quoted.
        let info = Some(remote.url.as_str()).filter(|_| is_plain && is_url);
        let info = info.and_then(|url| url.into_connection_info().ok());
        let info = info.ok_or_else(|| wrong("url is to be like redis://USER@HOST:PORT/DB"))?;
        if info.redis_settings().password().is_some() {
            return Err(wrong(
                "the url has a password in it: name a file that holds it with password_file, or set REDISCLI_AUTH",
            ));
        }
        let (host, port, is_encrypted) = match info.addr().clone() {
            ConnectionAddr::Tcp(host, port) => (host, port, false),
            ConnectionAddr::TcpTls { host, port, .. } => (host, port, true),
            _ => return Err(wrong("url is to be like redis://USER@HOST:PORT/DB")),
        };
        if is_encrypted && remote.ca_file.is_none() {
            return Err(wrong(
                "encryption takes ca_file, the authority of the server's certificate",
            ));
        }
        remote.check_hosts(name, [host.as_str()])?;
        let mut settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP2);
        if let Some(password) = remote.password()?.or_else(|| std::env::var(PASSWORD_ENV).ok()) {
            settings = settings.set_password(password);
        }
        let info = info.set_redis_settings(settings);
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let opened = match &remote.ca_file {
            None => Client::open(info),
            Some(path) => encrypted(info, host, port, path)?,
        };
        let client = opened.map_err(|_| wrong("url is to be like redis://USER@HOST:PORT/DB"))?;
        Ok(Self {
            name: name.to_owned(),
            place: format!("redis {}", remote.place()),
            client,
        })
    }

    /// What messages call it.
    pub(in crate::io) fn name(&self) -> &str {
        &self.name
    }

    /// What messages call it that say already whose it is.
    pub(in crate::io) fn place(&self) -> &str {
        &self.place
    }

    pub(in crate::io) fn connect(&self) -> RedisResult<Connection> {
        let connection = self.client.get_connection_with_timeout(CONNECT_TIMEOUT)?;
        connection.set_read_timeout(Some(SILENCE))?;
        connection.set_write_timeout(Some(SILENCE))?;
        Ok(connection)
    }

    /// The error where a run cannot begin.
    pub(in crate::io) fn refused(&self, error: &RedisError) -> Error {
        Error::Config(format!("{}: {}", self.name, self.words(error)))
    }

    /// The error where a run cannot go on.
    pub(in crate::io) fn lost(&self, error: &RedisError) -> Error {
        Error::Output {
            path: PathBuf::from(&self.name),
            source: std::io::Error::other(self.words(error)),
        }
    }

    fn user(&self) -> &str {
        let info = self.client.get_connection_info();
        info.redis_settings().username().unwrap_or("default")
    }

    pub(in crate::io) fn words(&self, error: &RedisError) -> String {
        let user = self.user();
        let (code, detail) = answer(error).unwrap_or_default();
        match (error.kind(), code.as_str()) {
            (ErrorKind::AuthenticationFailed, _) | (_, "WRONGPASS") => {
                format!("the server does not let in `{user}` with this password: see password_file and {PASSWORD_ENV}")
            }
            (_, "NOAUTH") => format!(
                "the server lets nobody in without a password: name a file that holds it with password_file, or set \
                 {PASSWORD_ENV}"
            ),
            (_, "NOPERM") => format!("`{user}` may not do what it takes: {detail}"),
            (_, "WRONGTYPE") => "one of its keys is there already, and holds something else".into(),
            (ErrorKind::Io, "") => {
                let mut words = error.to_string();
                let mut source = std::error::Error::source(error);
                while let Some(cause) = source {
                    let more = cause.to_string();
                    if !words.contains(&more) {
                        words = format!("{words}: {more}");
                    }
                    source = cause.source();
                }
                words
            }
            (_, "") => error.to_string(),
            (_, code) => format!("{detail} ({code})"),
        }
    }

    /// Checks that these commands would be let through, as far as the server says so without doing them: one before
    /// version 7 does not, nor one that does not let this user ask.
    ///
    /// # Errors
    /// [`Error::Config`] for one that would not.
    pub(in crate::io) fn check_rights(&self, connection: &mut Connection, commands: &[&[&str]]) -> Result<()> {
        for command in commands {
            let asked: RedisResult<Value> = redis::cmd("ACL")
                .arg("DRYRUN")
                .arg(self.user())
                .arg(*command)
                .query(connection);
            match asked {
                Ok(Value::BulkString(why)) => {
                    let why = String::from_utf8_lossy(&why).into_owned();
                    return Err(Error::Config(format!("{}: {why}", self.name)));
                }
                Err(error) if error.is_io_error() => return Err(self.refused(&error)),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }
}

fn encrypted(
    info: ConnectionInfo,
    host: String,
    port: u16,
    authority: &std::path::Path,
) -> Result<RedisResult<Client>> {
    // Says what is wrong with the file, where something is.
    trusting(authority)?;
    let root_cert = std::fs::read(authority).map_err(|source| Error::Input {
        path: authority.to_owned(),
        source,
    })?;
    // The client takes the provider of the process; where there is one already it stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let info = info.set_addr(ConnectionAddr::TcpTls {
        host,
        port,
        insecure: false,
        tls_params: None,
    });
    let certificates = TlsCertificates {
        client_tls: None,
        root_cert: Some(root_cert),
    };
    Ok(Client::build_with_tls(info, certificates))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_holds_no_password_and_its_server_is_near_or_has_a_certificate() {
        let error = |url: &str| match Server::new("redis x", &Remote::new(url)) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        for url in ["redis://127.0.0.1", "redis://u@localhost:7/3", "redis://[::1]:7"] {
            assert_eq!(error(url), "", "{url}");
        }
        for (url, words) in [
            ("redis://u:secret@127.0.0.1", "password_file"),
            ("redis://:secret@127.0.0.1", "password_file"),
            ("redis://127.0.0.1/secret", "redis://USER@HOST"),
            ("redis://127.0.0.1?password=secret", "redis://USER@HOST"),
            ("127.0.0.1:6379", "redis://USER@HOST"),
            ("redis+unix:///secret", "redis://USER@HOST"),
            ("rediss://127.0.0.1", "ca_file"),
            ("redis://192.0.2.1", "insecure = true"),
        ] {
            let said = error(url);
            assert!(said.contains(words) && !said.contains("secret"), "{url}: {said}");
        }
    }
}
