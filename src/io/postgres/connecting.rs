//! Connections to a PostgreSQL server, and what goes wrong with them in words.

use crate::error::{Error, Result};
use crate::io::remote::{Remote, is_near, trusting};
use postgres::config::{Host, SslMode};
use postgres::error::SqlState;
use postgres::{Client, Config, NoTls};
use std::path::PathBuf;
use std::time::Duration;
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long a server may take to answer a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take to let a program in.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a server may leave what it was sent without an answer of its system.
const SILENCE: Duration = Duration::from_secs(30);

/// What goes wrong with a server.
#[derive(Debug)]
pub(in crate::io) enum Trouble {
    Server(postgres::Error),
    /// It was reached, and did not say whether it lets the program in.
    Silent,
    /// The system has no thread left.
    System(std::io::Error),
}

impl From<postgres::Error> for Trouble {
    fn from(error: postgres::Error) -> Self {
        Self::Server(error)
    }
}

impl Trouble {
    /// Whether it may be otherwise in a while.
    pub(in crate::io) fn may_pass(&self) -> bool {
        match self {
            Self::Server(error) => may_pass(error),
            Self::Silent | Self::System(_) => true,
        }
    }
}

/// Whether it may be otherwise in a while: the connection is lost, the server starts or ends, has no room, or two
/// transactions were in each other's way.
fn may_pass(error: &postgres::Error) -> bool {
    // Classes: of the connection, of transactions that were undone, of resources, of operators.
    const CLASSES: [&str; 4] = ["08", "40", "53", "57"];
    let passing = [
        SqlState::READ_ONLY_SQL_TRANSACTION,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        SqlState::LOCK_NOT_AVAILABLE,
    ];
    match error.code() {
        Some(code) if *code == SqlState::DATABASE_DROPPED => false,
        Some(code) => passing.contains(code) || CLASSES.iter().any(|class| code.code().starts_with(class)),
        // The server said nothing: there is none, or it went away.
        None => {
            let source = std::error::Error::source(error);
            let of_system = source.and_then(|source| source.downcast_ref::<std::io::Error>());
            error.is_closed() || of_system.is_some_and(|e| e.raw_os_error().is_some() || is_cut(e))
        }
    }
}

fn is_cut(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof};
    [BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof].contains(&error.kind())
}

/// A server, and what it takes to be let in.
pub(in crate::io) struct Server {
    name: String,
    place: String,
    config: Config,
    tls: Option<MakeRustlsConnect>,
}

impl Server {
    pub(in crate::io) fn new(name: &str, remote: &Remote) -> Result<Self> {
        let wrong = |why: String| Error::Config(format!("{name}: {why}"));
        let is_url = ["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| remote.url.starts_with(scheme));
        // What is wrong with the address may be a password in it: it is not quoted.
        let mut config = remote
            .url
            .parse::<Config>()
            .ok()
            .filter(|_| is_url)
            .ok_or_else(|| wrong("url is to be like postgresql://USER@HOST:PORT/DATABASE".into()))?;
        if config.get_password().is_some() {
            return Err(wrong(
                "the url has a password in it: name a file that holds it with password_file, or set PGPASSWORD".into(),
            ));
        }
        let password = remote.password()?.or_else(|| std::env::var("PGPASSWORD").ok());
        if let Some(password) = password {
            config.password(password);
        }
        config.connect_timeout(CONNECT_TIMEOUT);
        config.tcp_user_timeout(SILENCE);
        config
            .keepalives_idle(SILENCE)
            .keepalives_interval(SILENCE / 3)
            .keepalives_retries(3);
        config.application_name("millstream");
        let tls = match &remote.ca_file {
            Some(path) => {
                config.ssl_mode(SslMode::Require);
                Some(MakeRustlsConnect::new(trusting(path)?))
            }
            None => {
                let dialled = config.get_hostaddrs();
                let near =
                    config.get_hosts().iter().all(stays_near) && dialled.iter().all(std::net::IpAddr::is_loopback);
                let named = !(config.get_hosts().is_empty() && dialled.is_empty());
                if config.get_ssl_mode() == SslMode::Require {
                    return Err(wrong(
                        "encryption takes ca_file, the authority of the server's certificate".into(),
                    ));
                }
                if !(remote.insecure || near && named) {
                    return Err(wrong(
                        "the server is on another machine: name the authority of its certificate with ca_file, or say \
                         insecure = true"
                            .into(),
                    ));
                }
                config.ssl_mode(SslMode::Disable);
                None
            }
        };
        Ok(Self {
            name: name.to_owned(),
            place: format!("postgres {}", remote.place()),
            config,
            tls,
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

    /// Connects, in a thread that is left alone where it takes too long: nobody may wait for a server that says nothing.
    pub(in crate::io) fn connect(&self) -> Result<Client, Trouble> {
        let (config, tls) = (self.config.clone(), self.tls.clone());
        let (tell, told) = std::sync::mpsc::channel();
        let connect = move || {
            let connected = match tls {
                Some(tls) => config.connect(tls),
                None => config.connect(NoTls),
            };
            // Who asked may have given up.
            let _ = tell.send(connected);
        };
        let thread = std::thread::Builder::new().name("postgres-connect".into());
        thread.spawn(connect).map_err(Trouble::System)?;
        let connected = told.recv_timeout(LOGIN_TIMEOUT).map_err(|_| Trouble::Silent)?;
        Ok(connected?)
    }

    /// The error where a run cannot begin.
    pub(in crate::io) fn refused(&self, trouble: impl Into<Trouble>) -> Error {
        Error::Config(format!("{}: {}", self.name, self.words(&trouble.into())))
    }

    /// The error where a run cannot go on.
    pub(in crate::io) fn lost(&self, trouble: &Trouble) -> Error {
        Error::Output {
            path: PathBuf::from(&self.name),
            source: std::io::Error::other(self.words(trouble)),
        }
    }

    pub(in crate::io) fn words(&self, trouble: &Trouble) -> String {
        let error = match trouble {
            Trouble::Server(error) => error,
            Trouble::Silent => {
                let limit = LOGIN_TIMEOUT.as_secs();
                return format!("whoever listens there has not let the program in for {limit} s: is it PostgreSQL?");
            }
            Trouble::System(error) => return format!("no thread to connect with: {error}"),
        };
        let user = self.config.get_user().unwrap_or_default();
        let database = self.config.get_dbname().unwrap_or(user);
        match error.as_db_error() {
            Some(e) if *e.code() == SqlState::INVALID_PASSWORD => {
                format!("the server does not let in `{user}` with this password: see password_file and PGPASSWORD")
            }
            Some(e) if *e.code() == SqlState::INVALID_CATALOG_NAME => {
                format!("the server has no database `{database}`: make it with CREATE DATABASE, or name another one")
            }
            Some(e) if *e.code() == SqlState::INSUFFICIENT_PRIVILEGE => {
                format!(
                    "`{user}` may not do what it takes in the database `{database}`: {}",
                    e.message()
                )
            }
            Some(e) if *e.code() == SqlState::PROGRAM_LIMIT_EXCEEDED => format!(
                "{}: the key of a report, or the name of a column, is too long to be looked up by",
                e.message()
            ),
            Some(e) => format!("{} (SQLSTATE {})", e.message(), e.code().code()),
            None => {
                let mut words = error.to_string();
                let mut source = std::error::Error::source(error);
                while let Some(cause) = source {
                    words = format!("{words}: {cause}");
                    source = cause.source();
                }
                match self.config.get_password() {
                    None if words.contains("password missing") => {
                        "the server asks for a password: name a file that holds it with password_file, or set PGPASSWORD"
                            .into()
                    }
                    _ => words,
                }
            }
        }
    }
}

/// Whether nobody on another machine hears what is said.
fn stays_near(host: &Host) -> bool {
    match host {
        Host::Tcp(host) => is_near(host),
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}
