//! Connections to an MQTT broker, and what goes wrong with them in words.

use crate::error::{Error, Result};
use crate::io::address::Address;
use crate::io::driver::Driver;
use crate::io::remote::{Remote, trusting};
use rumqttc::{
    AckMode, AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, Incoming, MqttOptions,
    PersistedAckMode, PersistedSession, Publish, SessionMode, SessionStore, SessionStoreError, SessionStoreKey, SubAck,
    TlsConfiguration, Transport,
};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// How long a broker may take to answer a connection, and whatever is asked of it.
pub(in crate::io) const ANSWER_TIME: Duration = Duration::from_secs(10);

/// Seconds from one sign of life to the next: a broker that is gone without a word is given up after two of them.
const KEEP_ALIVE_SECONDS: u16 = 10;

/// Messages that may wait for their acknowledgement: at 100 rows each some 100,000 rows on their way.
pub(in crate::io) const UNACKNOWLEDGED_MAX: u16 = 1000;

/// Requests of a feed that may wait for their answers: it asks for its topics, and publishes nothing.
const UNANSWERED_MAX: u16 = 16;

/// Packets that are taken from the connection together: as many as the client does.
const READ_TOGETHER: usize = 128;

/// The ports of brokers.
const PORT: u16 = 1883;
const TLS_PORT: u16 = 8883;

/// The longest message: what MQTT allows.
const MESSAGE_BYTES_MAX: u32 = 268_435_455;

/// What a broker says.
#[derive(Debug)]
pub(in crate::io) enum Said {
    Connected,
    Subscribed(SubAck),
    Message(Publish),
    /// The connection is over, and why.
    Over(String),
}

/// A broker, and what it takes to be let in.
pub(in crate::io) struct Server {
    /// What messages call the one who connects.
    name: String,
    host: String,
    port: u16,
    user: Option<String>,
    password: Option<String>,
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

/// A connection.
#[derive(Debug)]
pub(in crate::io) struct Link {
    pub(in crate::io) client: AsyncClient,
    pub(in crate::io) said: Receiver<Said>,
}

/// Which connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::io) enum Session {
    /// The broker keeps what comes while the client is away, until it has acknowledged it.
    Kept,
    /// Nothing is left of it.
    Passing,
}

impl Server {
    /// For `name`, which is what messages begin with.
    ///
    /// # Errors
    /// [`Error::Config`] for an address that is none, holds a password, or is to be spoken to in the clear though it is
    /// on another machine; [`Error::Input`] for a file that cannot be read.
    pub(in crate::io) fn new(name: &str, remote: &Remote) -> Result<Self> {
        let example = "mqtt://USER@HOST:PORT";
        let of = Address::of(name, &remote.url, ["mqtt", "mqtts"], example)?;
        if !of.path.is_empty() {
            return Err(Error::Config(format!("{name}: url is like {example}")));
        }
        remote.check_hosts(name, [of.host.as_str()])?;
        let tls = remote.ca_file.as_deref().map(trusting).transpose()?.map(Arc::new);
        if tls.is_none() && of.is_encrypted {
            return Err(Error::Config(format!(
                "{name}: encryption takes ca_file, the authority of the server's certificate"
            )));
        }
        Ok(Self {
            name: name.to_owned(),
            host: of.host,
            port: of.port.unwrap_or(if of.is_encrypted { TLS_PORT } else { PORT }),
            user: of.user,
            password: remote.password()?,
            tls,
        })
    }

    /// A connection under this name.
    ///
    /// # Errors
    /// Why there is none.
    pub(in crate::io) fn connect(
        &self,
        driver: &Driver,
        client_id: &str,
        session: Session,
    ) -> std::result::Result<Link, String> {
        let mut options = MqttOptions::new(client_id, (self.host.as_str(), self.port));
        options.set_keep_alive(KEEP_ALIVE_SECONDS);
        options.set_connect_timeout(ANSWER_TIME);
        match (&self.user, &self.password) {
            (Some(user), Some(password)) => {
                options.set_credentials(user.as_str(), password.clone().into_bytes());
            }
            (Some(user), None) => {
                options.set_username(user.as_str());
            }
            (None, _) => {}
        }
        if let Some(tls) = &self.tls {
            let tls = TlsConfiguration::Rustls(Arc::clone(tls));
            options.set_transport(Transport::tls_with_config(tls));
        }
        // The client looks through as many places for messages that it has sent whenever it sends something.
        match session {
            Session::Kept => {
                options.set_outgoing_inflight_upper_limit(UNANSWERED_MAX);
                options.set_session_mode(SessionMode::Persistent);
                options.set_ack_mode(AckMode::Manual);
                options.set_receive_maximum(Some(UNACKNOWLEDGED_MAX));
                options.set_session_store(NothingSent);
            }
            Session::Passing => {
                options.set_outgoing_inflight_upper_limit(UNACKNOWLEDGED_MAX);
                options.set_session_mode(SessionMode::Clean);
            }
        }
        options.set_max_packet_size(Some(MESSAGE_BYTES_MAX));
        // What is published is written together, as far as it waits; an acknowledgement is always written by itself.
        options.set_max_request_batch(usize::from(UNACKNOWLEDGED_MAX));
        options.set_read_batch_size(READ_TOGETHER);
        let built = AsyncClient::builder(options).capacity(2 * usize::from(UNACKNOWLEDGED_MAX));
        let (client, events) = built.try_build().map_err(|e| e.to_string())?;
        // The broker sends no more that wait for an acknowledgement.
        let (to, mut said) = channel(2 * usize::from(UNACKNOWLEDGED_MAX));
        driver.spawn(serve(events, to));
        match driver.wait(async { tokio::time::timeout(ANSWER_TIME, said.recv()).await }) {
            Ok(Some(Said::Connected)) => Ok(Link { client, said }),
            Ok(Some(Said::Over(why))) => Err(self.words(&why)),
            Ok(_) => Err(self.words("the broker ended the connection")),
            Err(_) => Err(self.words("the broker does not answer")),
        }
    }

    fn words(&self, why: &str) -> String {
        let user = self.user.as_deref().unwrap_or("somebody without a name");
        match why {
            NOT_LET_IN => {
                format!("the broker does not let in `{user}` with this password: see password_file and password_env")
            }
            _ => format!("the broker {}:{}: {why}", self.host, self.port),
        }
    }

    /// The error where a run cannot begin.
    pub(in crate::io) fn refused(&self, why: &str) -> Error {
        Error::Config(format!("{}: {why}", self.name))
    }
}

/// Said of a client that is not let in.
const NOT_LET_IN: &str = "not let in";

/// Hands on what a broker says, until the connection is over or nobody listens.
async fn serve(mut events: EventLoop, to: Sender<Said>) {
    loop {
        let said = match events.poll().await {
            Ok(Event::Incoming(Incoming::ConnAck(_))) => {
                // It was asked when the connection began. With a store, all of the session is looked through, to be
                // saved, for every packet that is sent.
                events.options.clear_session_store();
                Said::Connected
            }
            Ok(Event::Incoming(Incoming::SubAck(ack))) => Said::Subscribed(ack),
            Ok(Event::Incoming(Incoming::Publish(message))) => Said::Message(message),
            Ok(Event::Incoming(Incoming::Disconnect(said))) => {
                Said::Over(format!("it has ended the connection ({:?})", said.reason_code))
            }
            Ok(_) => continue,
            Err(ConnectionError::ConnectionRefused(
                ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
            )) => Said::Over(NOT_LET_IN.into()),
            Err(error) => {
                let mut words = error.to_string();
                let mut source = std::error::Error::source(&error);
                while let Some(cause) = source {
                    let cause_words = cause.to_string();
                    if !words.contains(&cause_words) {
                        words = format!("{words}: {cause_words}");
                    }
                    source = cause.source();
                }
                Said::Over(words)
            }
        };
        let is_over = matches!(said, Said::Over(_));
        if to.send(said).await.is_err() || is_over {
            return;
        }
    }
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = std::result::Result<T, SessionStoreError>> + Send + 'a>>;

/// What a client has sent of a session that the broker keeps: nothing that waits for an answer, as it only receives.
#[derive(Debug)]
struct NothingSent;

impl SessionStore for NothingSent {
    fn load<'a>(&'a self, key: &'a SessionStoreKey) -> Answer<'a, Option<PersistedSession>> {
        let session = PersistedSession {
            format_version: 1,
            client_id: key.client_id().to_owned(),
            clean_start: false,
            session_expiry_interval: None,
            outgoing_inflight_upper_limit: Some(UNANSWERED_MAX),
            ack_mode: PersistedAckMode::Manual,
            last_pkid: 0,
            last_puback: 0,
            replay: Vec::new(),
            incoming_qos2: Vec::new(),
        };
        Box::pin(std::future::ready(Ok(Some(session))))
    }

    fn save<'a>(&'a self, _: &'a SessionStoreKey, _: &'a PersistedSession) -> Answer<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn clear<'a>(&'a self, _: &'a SessionStoreKey) -> Answer<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
}
