//! Rows over HTTP: a POST to `/` or `/rows` is a body of rows, which is taken as a whole or not at all.
//!
//! Bodies are csv, ndjson (or one JSON array of objects), Arrow streams or binary frames by their `Content-Type` (without
//! one, the feed's format), plain or packed by gzip or zstd. A request is answered when its rows are in the journal, or
//! without one in the queue of the engine; while that is full the answer is 429 with `Retry-After`. What was answered with 200 is counted once: a request
//! that comes again with the same `Idempotency-Key` gets the same answer and its rows are not taken again.
//!
//! | status | what it says |
//! |---|---|
//! | 200 | `{"accepted": 10, "rejected": 0}`: so many rows are taken, so many could not be read and are kept aside |
//! | 400 | not one row can be read, and why; nothing was taken |
//! | 401 | the token is missing or wrong |
//! | 403 | a page of another site, in a browser, where the feed listens on this machine alone and asks for no token |
//! | 404, 405 | another path, another method |
//! | 408 | the body came too slowly |
//! | 409 | a request with the same key is being dealt with |
//! | 411 | neither `Content-Length` nor chunks |
//! | 413 | a longer body than `[limits] body` |
//! | 415 | a `Content-Type` or `Content-Encoding` that is not known |
//! | 422 | the key of the request came with another body before |
//! | 429 | too much waits; `Retry-After` says when to try again |
//! | 503 | the journal cannot be written, the feed ends, or there are too many connections |

pub(super) mod body;
mod work;

use super::budget::{Budget, Share};
use super::journal::{Answer, Digest, Journal, JournalSource, KEY_BYTES_MAX, Keys, Seen};
use super::live::{self, Context, IDLE_WAIT};
use super::serve::{self, Handler, Peer, Serve, Server, error};
use super::tls::Security;
use super::{About, Position, Read, Rows, Source};
use crate::error::{Error, Result};
use arrow::datatypes::SchemaRef;
use body::{Bodies, Encoding, Lost, format_of_header, pass_over, receive, too_long};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;
use work::{Job, Outlet, Reply};

/// Bytes of bodies and of rows from them that are held at once, as a multiple of the largest body: one that is
/// received, one that is decoded, and what it has become.
const HELD_BODIES: u64 = 3;

/// Bodies that wait to be decoded: some for each thread; what is beyond is better kept by the clients.
const JOBS: usize = 64;

/// Bodies that wait to be read: as many as fit the bytes that may be held, where they are of a useful size.
const BATCHES: usize = 256;

/// Threads that decode: with more the engine, which reads from one queue, would be what is slow.
const THREADS_MAX: usize = 4;

/// How long a request waits for room before it is told to come again: long enough for an engine that keeps up, short
/// enough that a client does not take the connection for dead.
pub(super) const ROOM_WAIT: Duration = Duration::from_millis(200);

/// How often it looks for room.
pub(super) const ROOM_LOOK: Duration = Duration::from_millis(1);

/// When to try again, in seconds: a queue is worked off within milliseconds, but this is the smallest that can be said.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// Bytes of a body that is refused which are read all the same, so that its sender gets to read why.
const REFUSED_BYTES: u64 = 16 << 20;

/// How long that may take.
const REFUSED_TIME: Duration = Duration::from_secs(2);

/// The header of a request that may come again.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Where and to whom to listen.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// The address; port 0 is any free one.
    pub listen: SocketAddr,
    /// Who may connect.
    pub security: Security,
}

/// The rows that come over HTTP.
#[derive(Debug)]
pub struct HttpSource {
    context: Context,
    inlet: Inlet,
    warning: Option<String>,
    // Last, so that what waits for the threads above has an end when it goes.
    server: Option<Server>,
    address: SocketAddr,
}

/// Where rows come from.
enum Inlet {
    Channel(Receiver<(Rows, Share)>, live::Given),
    Journal(Box<JournalSource>),
}

impl fmt::Debug for Inlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Channel(..) => "Channel",
            Self::Journal(_) => "Journal",
        })
    }
}

impl HttpSource {
    /// Begins to listen. With a journal rows are on disk before they are acknowledged.
    ///
    /// # Errors
    /// [`Error::Config`] for options that make no sense, and for an address that others can reach without protection;
    /// [`Error::Input`] where the address cannot be listened on; [`Error::Failed`] where the system has no thread left.
    pub fn open(context: &Context, options: HttpOptions, journal: Option<Journal>) -> Result<Self> {
        let what = format!("feed `{}`", context.name);
        let warning = options.security.check(&what, options.listen)?;
        let bodies = Bodies::new(context)?;
        let keys = journal
            .as_ref()
            .map_or_else(Keys::default, |journal| journal.keys().clone());
        let (outlet, inlet) = match journal {
            Some(journal) => {
                let (appender, source) = journal.start()?;
                (Outlet::Journal(appender), Inlet::Journal(Box::new(source)))
            }
            None => {
                let (sender, receiver) = bounded(BATCHES);
                (
                    Outlet::Channel(sender),
                    Inlet::Channel(receiver, live::Given::default()),
                )
            }
        };
        let (jobs, queue) = bounded(JOBS);
        let threads = std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(THREADS_MAX);
        for _ in 0..threads {
            let (queue, bodies, outlet) = (queue.clone(), bodies.clone(), outlet.clone());
            let spawned = std::thread::Builder::new()
                .name("http-decode".into())
                .spawn(move || work::run(&queue, &bodies, &outlet));
            spawned.map_err(|e| Error::Failed(format!("{what}: its threads cannot be started: {e}")))?;
        }
        let serve = Serve {
            name: what,
            listen: options.listen,
            tls: options.security.tls.clone(),
            limits: context.limits.clone(),
            stop: context.stop.clone(),
            counters: context.counters.clone(),
        };
        let receiver = RowsReceiver {
            budget: Budget::new(context.limits.body_bytes.saturating_mul(HELD_BODIES)),
            context: context.clone(),
            is_local: options.listen.ip().is_loopback(),
            security: options.security,
            keys,
            jobs,
            outlet,
        };
        let server = serve::serve(serve, receiver)?;
        Ok(Self {
            context: context.clone(),
            inlet,
            warning,
            address: server.address(),
            server: Some(server),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a message should say about it.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }
}

impl Source for HttpSource {
    fn schema(&self) -> SchemaRef {
        live::settled(&self.context)
    }

    fn select(&mut self, columns: &[String]) -> Result<()> {
        live::selected(&self.context, columns)
    }

    fn about(&self) -> About {
        About {
            name: format!("http {}", self.address),
            ..About::default()
        }
    }

    fn read(&mut self) -> Result<Read> {
        match &mut self.inlet {
            Inlet::Journal(journal) => journal.read(),
            Inlet::Channel(channel, given) => Ok(match channel.recv_timeout(IDLE_WAIT) {
                Ok((rows, share)) => {
                    drop(share);
                    given.next(rows)
                }
                Err(RecvTimeoutError::Timeout) => Read::Idle,
                Err(RecvTimeoutError::Disconnected) => Read::End,
            }),
        }
    }

    fn commit(&mut self, upto: &Position) -> Result<()> {
        match &mut self.inlet {
            Inlet::Channel(..) => Ok(()),
            Inlet::Journal(journal) => journal.commit(upto),
        }
    }
}

impl Drop for HttpSource {
    fn drop(&mut self) {
        drop(self.server.take());
    }
}

/// What answers requests.
struct RowsReceiver {
    context: Context,
    security: Security,
    /// Nobody but this machine can connect.
    is_local: bool,
    keys: Keys,
    budget: Budget,
    jobs: Sender<Job>,
    outlet: Outlet,
}

impl Handler for RowsReceiver {
    async fn answer(&self, request: Request<Incoming>, peer: Peer) -> serve::Answer {
        // A client that waits to be told to go on has sent nothing that has to be read.
        let is_waiting = request.headers().contains_key(header::EXPECT);
        let (head, mut body) = request.into_parts();
        let head = Request::from_parts(head, ());
        self.wait_for_room().await;
        let admitted = self.admit(&head, body.size_hint().exact());
        let answer = match admitted {
            Ok(admitted) => self.take(admitted, &mut body, peer).await,
            Err(answer) => {
                if !is_waiting {
                    pass_over(&mut body, REFUSED_BYTES, REFUSED_TIME).await;
                }
                answer
            }
        };
        if !answer.status().is_success() {
            self.context.counters.refused.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }
}

/// A request whose body is to be read.
struct Admitted {
    format: live::WireFormat,
    encoding: Encoding,
    key: Option<Vec<u8>>,
    share: Share,
}

impl RowsReceiver {
    /// Waits a little where too much waits already: a client that is told to come back stays away for a whole second.
    async fn wait_for_room(&self) {
        let until = tokio::time::Instant::now() + ROOM_WAIT;
        while (self.outlet.is_full() || self.jobs.is_full()) && tokio::time::Instant::now() < until {
            tokio::time::sleep(ROOM_LOOK).await;
        }
    }

    /// What can be said before the body has come.
    #[expect(clippy::result_large_err, reason = "one for each request, and moved once")]
    fn admit(&self, head: &Request<()>, length: Option<u64>) -> Result<Admitted, serve::Answer> {
        let value = |name: HeaderName| head.headers().get(name).map(HeaderValue::as_bytes);
        if let Some(token) = &self.security.token
            && !token.authorizes(value(header::AUTHORIZATION))
        {
            let message = "the header Authorization: Bearer TOKEN is missing or wrong";
            return Err(with(
                error(StatusCode::UNAUTHORIZED, message),
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer"),
            ));
        }
        if self.is_local && self.security.token.is_none() && is_foreign(head.headers()) {
            let message = "a page of another site may not send rows; a feed with token_file takes them from anywhere";
            return Err(error(StatusCode::FORBIDDEN, message));
        }
        if !matches!(head.uri().path(), "/" | "/rows") {
            return Err(error(StatusCode::NOT_FOUND, "rows are posted to / or /rows"));
        }
        if head.method() != Method::POST {
            let answer = error(StatusCode::METHOD_NOT_ALLOWED, "rows are sent by POST");
            return Err(with(answer, header::ALLOW, HeaderValue::from_static("POST")));
        }
        let has_length = value(header::CONTENT_LENGTH).is_some() || value(header::TRANSFER_ENCODING).is_some();
        if !has_length {
            let message = "a body needs Content-Length, or Transfer-Encoding: chunked";
            return Err(error(StatusCode::LENGTH_REQUIRED, message));
        }
        let unknown = |e: Error| error(StatusCode::UNSUPPORTED_MEDIA_TYPE, &e.to_string());
        let format = format_of_header(value(header::CONTENT_TYPE), self.context.wire.format).map_err(unknown)?;
        let encoding = Encoding::of_header(value(header::CONTENT_ENCODING)).map_err(unknown)?;
        if head.headers().get_all(IDEMPOTENCY_KEY).iter().nth(1).is_some() {
            return Err(error(StatusCode::BAD_REQUEST, "a request has one Idempotency-Key"));
        }
        let key = value(IDEMPOTENCY_KEY).map(<[u8]>::to_vec);
        if key
            .as_ref()
            .is_some_and(|key| key.is_empty() || key.len() > KEY_BYTES_MAX)
        {
            let message = format!("an Idempotency-Key has 1 to {KEY_BYTES_MAX} bytes");
            return Err(error(StatusCode::BAD_REQUEST, &message));
        }
        if length.is_some_and(|length| length > self.context.limits.body_bytes) {
            return Err(self.too_long());
        }
        if self.outlet.is_full() || self.jobs.is_full() || self.budget.is_spent() {
            return Err(full());
        }
        // What is announced is not yet there: memory is taken for what comes.
        let share = self.budget.try_take(0).ok_or_else(full)?;
        Ok(Admitted {
            format,
            encoding,
            key,
            share,
        })
    }

    /// Receives the body and has it dealt with.
    async fn take(&self, admitted: Admitted, incoming: &mut Incoming, peer: Peer) -> serve::Answer {
        let Admitted {
            format,
            encoding,
            key,
            mut share,
        } = admitted;
        let limits = &self.context.limits;
        let body = match receive(incoming, limits.body_bytes, limits.idle, &mut share).await {
            Ok(body) => body,
            Err(lost) => {
                // What has come is let go before the rest is passed over.
                drop(share);
                let answer = match lost {
                    Lost::TooLong => self.too_long(),
                    Lost::NoRoom => full(),
                    Lost::TooSlow => error(StatusCode::REQUEST_TIMEOUT, "the body came too slowly"),
                    Lost::BrokenOff => error(StatusCode::BAD_REQUEST, "the body breaks off"),
                };
                if matches!(lost, Lost::TooLong | Lost::NoRoom) {
                    pass_over(incoming, REFUSED_BYTES, REFUSED_TIME).await;
                }
                return closing(answer);
            }
        };
        let _busy = peer.busy();
        if body.is_empty() {
            return error(StatusCode::BAD_REQUEST, "the body is empty");
        }
        let pending = match key.as_deref().map(|key| self.keys.begin(key, Digest::of(&body))) {
            None => None,
            Some(Seen::New(pending)) => Some(pending),
            Some(Seen::Done(answer)) => return taken(answer),
            Some(Seen::Other) => {
                let message = "this Idempotency-Key came with another body before: each body needs a key of its own";
                return error(StatusCode::UNPROCESSABLE_ENTITY, message);
            }
            Some(Seen::Pending) => {
                let message = "a request with this Idempotency-Key is being dealt with";
                return with(error(StatusCode::CONFLICT, message), header::RETRY_AFTER, RETRY_AFTER);
            }
        };
        let (reply, answer) = oneshot::channel();
        let job = Job {
            source: format!("http {}", peer.address),
            format,
            encoding,
            body,
            share,
            pending,
            reply,
        };
        match self.jobs.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return full(),
            Err(TrySendError::Disconnected(_)) => return ending(),
        }
        match answer.await {
            Ok(Reply::Taken(answer)) => taken(answer),
            Ok(Reply::Full) => full(),
            Ok(Reply::Unreadable(Error::Limit(message))) => error(StatusCode::PAYLOAD_TOO_LARGE, &message),
            Ok(Reply::Unreadable(e)) => error(StatusCode::BAD_REQUEST, &e.to_string()),
            Ok(Reply::NotDurable(why)) => {
                let answer = error(StatusCode::SERVICE_UNAVAILABLE, &why);
                with(answer, header::RETRY_AFTER, RETRY_AFTER)
            }
            Ok(Reply::Ending) | Err(_) => ending(),
        }
    }

    fn too_long(&self) -> serve::Answer {
        error(
            StatusCode::PAYLOAD_TOO_LARGE,
            &too_long(self.context.limits.body_bytes).to_string(),
        )
    }
}

/// Whether a browser sends this for a page that is not of this machine. Only browsers say an origin, and for what they post
/// they always do; the host is of another name where a name was made to point here.
fn is_foreign(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return false;
    };
    let host = |text: &str| text.parse::<Uri>().ok()?.host().map(is_loopback);
    let is_own = |value: &HeaderValue| value.to_str().ok().and_then(host).unwrap_or(false);
    !is_own(origin) || headers.get(header::HOST).is_some_and(|value| !is_own(value))
}

/// Whether a name or an address is one of this machine alone.
fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.is_ok_and(|address| address.is_loopback())
        || host.eq_ignore_ascii_case("localhost")
        || host.to_ascii_lowercase().ends_with(".localhost")
}

/// The answer to rows that are taken.
fn taken(answer: Answer) -> serve::Answer {
    let Answer { accepted, rejected } = answer;
    let body = format!("{{\"accepted\":{accepted},\"rejected\":{rejected}}}");
    serve::answer(StatusCode::OK, "application/json", body)
}

fn full() -> serve::Answer {
    let answer = error(StatusCode::TOO_MANY_REQUESTS, "too much waits to be reduced: try again");
    with(answer, header::RETRY_AFTER, RETRY_AFTER)
}

fn ending() -> serve::Answer {
    error(StatusCode::SERVICE_UNAVAILABLE, "the feed ends")
}

fn with(mut answer: serve::Answer, name: HeaderName, value: HeaderValue) -> serve::Answer {
    answer.headers_mut().insert(name, value);
    answer
}

/// The answer to a body that was not read to its end: what follows on the connection is no request.
fn closing(answer: serve::Answer) -> serve::Answer {
    with(answer, header::CONNECTION, HeaderValue::from_static("close"))
}
