//! Rows of an API that is asked at an interval.
//!
//! Each answer is a body of rows as for [`http`](super::http). What the server said about its state (`ETag`,
//! `Last-Modified`) is sent back with the next question, so that an answer that has not changed is 304 and gives no rows.
//! An error (no connection, a status but 200 and 304, a body that is too long or cannot be read) is counted and waited
//! for: each one in a row doubles the time to the next question, up to [`BACKOFF_MAX`]. A question is asked when the rows
//! of the one before have been taken, so a slow engine makes questions fewer.

use super::http::body::{Bodies, Encoding, Undecoded, format_of_header};
use super::live::{self, Context};
use super::{About, Read, Rows, Source};
use crate::error::{Error, Result};
use arrow::datatypes::SchemaRef;
use crossbeam::channel::{Receiver, Sender, bounded};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use ureq::http::HeaderMap;
use ureq::http::header::{self, HeaderName, HeaderValue};

/// The longest time between two questions to a server that fails, unless the interval is longer: so long that it can
/// recover, and short enough that a minute after it has there are rows again.
pub const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// How long an answer may take from the question to its last byte, unless the interval is longer.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// How often a waiting source looks for the sign to stop.
const STOP_WAIT: Duration = Duration::from_millis(20);

/// Answers between the one who asks and the reader: one is read while the next is asked for.
const ANSWERS: usize = 1;

/// What to ask, and how often.
#[derive(Clone)]
pub struct PollOptions {
    /// The address, `http://…` or `https://…`.
    pub url: String,
    /// From one question to the next.
    pub interval: Duration,
    /// Headers to send.
    pub headers: Vec<(String, String)>,
    /// How long an answer may take.
    pub timeout: Duration,
}

impl std::fmt::Debug for PollOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Headers and addresses may hold secrets.
        f.debug_struct("PollOptions")
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

impl PollOptions {
    /// Asks `url` once an interval.
    pub fn new(url: impl Into<String>, interval: Duration) -> Self {
        Self {
            url: url.into(),
            interval,
            headers: Vec::new(),
            timeout: TIMEOUT.max(interval),
        }
    }

    /// Sends the headers of a file too: one `Name: value` a line, empty lines and those that begin with `#` left out.
    ///
    /// # Errors
    /// [`Error::Input`] where it cannot be read, [`Error::Config`] for a line that is no header (the line is named by its
    /// number, as what it holds may be secret).
    pub fn with_headers_file(mut self, path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Input {
            path: path.to_owned(),
            source,
        })?;
        for (i, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let header = line.split_once(':').map(|(name, value)| (name.trim(), value.trim()));
            let (name, value) = header.filter(|(name, value)| is_header(name, value)).ok_or_else(|| {
                let path = path.display();
                Error::Config(format!(
                    "{path}: line {} is not a header such as `Authorization: Bearer …`",
                    i + 1
                ))
            })?;
            self.headers.push((name.to_owned(), value.to_owned()));
        }
        Ok(self)
    }
}

fn is_header(name: &str, value: &str) -> bool {
    HeaderName::from_bytes(name.as_bytes()).is_ok() && HeaderValue::from_str(value).is_ok()
}

/// What is known of the questions; anyone may look at any time.
#[derive(Debug, Default)]
pub struct PollState {
    /// Questions asked.
    pub asked: AtomicU64,
    /// Answers that nothing has changed.
    pub unchanged: AtomicU64,
    /// Questions that failed.
    pub failures: AtomicU64,
    failure: Mutex<Option<String>>,
}

impl PollState {
    /// Why the last question failed; nothing where it did not.
    pub fn failure(&self) -> Option<String> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.clone()
    }

    fn set_failure(&self, why: Option<String>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }
}

/// The rows of an API that is asked at an interval.
#[derive(Debug)]
pub struct HttpPollSource {
    context: Context,
    shown_url: String,
    answers: Receiver<Rows>,
    given: live::Given,
    state: Arc<PollState>,
    closed: Arc<AtomicBool>,
}

impl HttpPollSource {
    /// Begins to ask.
    ///
    /// # Errors
    /// [`Error::Config`] for an address that is none, for headers that are none, and for options of the wire that make
    /// no sense; [`Error::Failed`] where the system has no thread left.
    pub fn open(context: &Context, options: PollOptions) -> Result<Self> {
        let shown_url = without_secrets(&options.url);
        let name = &context.name;
        let uri: Option<ureq::http::Uri> = options.url.parse().ok();
        let scheme = uri
            .as_ref()
            .filter(|uri| uri.host().is_some())
            .and_then(|uri| uri.scheme_str());
        if !matches!(scheme, Some("http" | "https")) {
            return Err(Error::Config(format!(
                "feed `{name}`: url = \"{shown_url}\" is not an address such as http://127.0.0.1:8000/latest"
            )));
        }
        if let Some((header, _)) = options.headers.iter().find(|(name, value)| !is_header(name, value)) {
            return Err(Error::Config(format!(
                "feed `{name}`: {header:?} cannot be sent as a header"
            )));
        }
        let bodies = Bodies::new(context)?;
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(options.timeout))
            .http_status_as_error(false)
            // Headers that are secret are for the server that was named.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .build();
        let (sender, answers) = bounded(ANSWERS);
        let (state, closed) = (Arc::new(PollState::default()), Arc::new(AtomicBool::new(false)));
        let poller = Poller {
            agent: config.into(),
            options,
            source: format!("http_poll {shown_url}"),
            bodies,
            state: Arc::clone(&state),
            closed: Arc::clone(&closed),
            etag: None,
            modified: None,
        };
        let spawned = std::thread::Builder::new()
            .name("http-poll".into())
            .spawn(move || poller.run(&sender));
        spawned.map_err(|e| Error::Failed(format!("feed `{name}`: its thread cannot be started: {e}")))?;
        Ok(Self {
            context: context.clone(),
            shown_url,
            answers,
            given: live::Given::default(),
            state,
            closed,
        })
    }

    /// What is known of the questions.
    pub fn state(&self) -> Arc<PollState> {
        Arc::clone(&self.state)
    }
}

/// An address as messages show it: without user and password, and without what is behind `?`.
fn without_secrets(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit('@').next().unwrap_or_default();
    if scheme.is_empty() {
        format!("{host}{path}")
    } else {
        format!("{scheme}://{host}{path}")
    }
}

impl Source for HttpPollSource {
    fn schema(&self) -> SchemaRef {
        live::settled(&self.context)
    }

    fn select(&mut self, columns: &[String]) -> Result<()> {
        live::selected(&self.context, columns)
    }

    fn about(&self) -> About {
        About {
            name: format!("http_poll {}", self.shown_url),
            ..About::default()
        }
    }

    fn read(&mut self) -> Result<Read> {
        Ok(match live::receive(&self.answers, &mut self.given) {
            // An answer that is not there yet was never taken: a server that does not answer puts no end off.
            Read::Idle if self.context.stop.is_stopped() => Read::End,
            read => read,
        })
    }
}

impl Drop for HttpPollSource {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Release);
    }
}

/// The one who asks.
struct Poller {
    agent: ureq::Agent,
    options: PollOptions,
    source: String,
    bodies: Bodies,
    state: Arc<PollState>,
    closed: Arc<AtomicBool>,
    /// What the server said about the last answer that was taken.
    etag: Option<HeaderValue>,
    modified: Option<HeaderValue>,
}

impl Poller {
    fn run(mut self, answers: &Sender<Rows>) {
        let interval = self.options.interval;
        let mut backoff = interval;
        while !self.is_ending() {
            let asked = Instant::now();
            self.state.asked.fetch_add(1, Ordering::Relaxed);
            let wait = match self.ask() {
                Ok(rows) => {
                    self.well();
                    if let Some(rows) = rows
                        && answers.send(rows).is_err()
                    {
                        return;
                    }
                    backoff = interval;
                    interval
                }
                Err(e) => {
                    self.state.failures.fetch_add(1, Ordering::Relaxed);
                    self.bodies.context.counters.refused.fetch_add(1, Ordering::Relaxed);
                    self.bodies.context.counters.failures.fetch_add(1, Ordering::Relaxed);
                    self.failed(format!("{}: {e}", self.source));
                    backoff = backoff.saturating_mul(2).min(BACKOFF_MAX).max(interval);
                    backoff
                }
            };
            while !self.is_ending()
                && let Some(left) = wait.checked_sub(asked.elapsed()).filter(|left| !left.is_zero())
            {
                std::thread::sleep(left.min(STOP_WAIT));
            }
        }
    }

    fn failed(&self, why: String) {
        self.bodies.context.counters.set_failure(Some(&why));
        self.state.set_failure(Some(why));
    }

    fn well(&self) {
        if self.state.failure().is_some() {
            self.bodies.context.counters.set_failure(None);
            self.state.set_failure(None);
        }
    }

    fn is_ending(&self) -> bool {
        self.bodies.context.stop.is_stopped() || self.closed.load(Ordering::Acquire)
    }

    /// Asks once; nothing where nothing has changed.
    fn ask(&mut self) -> Result<Option<Rows>, String> {
        let mut request = self
            .agent
            .get(&self.options.url)
            .header(header::ACCEPT_ENCODING, "gzip, zstd");
        for (name, value) in &self.options.headers {
            request = request.header(name, value);
        }
        for (name, value) in [
            (header::IF_NONE_MATCH, &self.etag),
            (header::IF_MODIFIED_SINCE, &self.modified),
        ] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let response = request.call().map_err(|e| e.to_string())?;
        let status = response.status().as_u16();
        match status {
            200 => {}
            304 => {
                self.state.unchanged.fetch_add(1, Ordering::Relaxed);
                return Ok(None);
            }
            300..400 => {
                return Err(format!(
                    "the server answers {}, which is not followed: url is to be the address that it points to",
                    response.status()
                ));
            }
            _ => return Err(format!("the server answers {}", response.status())),
        }
        let (head, mut body) = response.into_parts();
        let limit = self.bodies.context.limits.body_bytes;
        // One byte more, so that a body of just that length is none too many.
        let read = body.with_config().limit(limit.saturating_add(1)).read_to_vec();
        let bytes = match read {
            Err(ureq::Error::BodyExceedsLimit(_)) => return Err(self.too_long()),
            Err(e) => return Err(e.to_string()),
            Ok(bytes) if bytes.len() as u64 > limit => return Err(self.too_long()),
            Ok(bytes) => bytes,
        };
        self.bodies
            .context
            .counters
            .bytes
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let rows = self.decode(&head.headers, bytes).map_err(|e| e.to_string())?;
        self.etag = head.headers.get(header::ETAG).cloned();
        self.modified = head.headers.get(header::LAST_MODIFIED).cloned();
        Ok(Some(rows).filter(|rows| rows.count() > 0))
    }

    fn decode(&self, headers: &HeaderMap, body: Vec<u8>) -> Result<Rows> {
        let value = |name| headers.get(name).map(HeaderValue::as_bytes);
        // Servers say all kinds of things of what they send; the feed's format is what was asked for.
        let feed = self.bodies.context.wire.format;
        let format = format_of_header(value(header::CONTENT_TYPE), feed).unwrap_or(feed);
        let encoding = Encoding::of_header(value(header::CONTENT_ENCODING))?;
        let decoded = self.bodies.decode(&self.source, format, encoding, &body, &mut |_| true);
        decoded.map_err(|undecoded| match undecoded {
            Undecoded::Unreadable(error) => error,
            Undecoded::NoRoom => Error::Limit(self.too_long()),
        })
    }

    fn too_long(&self) -> String {
        let limit = self.bodies.context.limits.body_bytes;
        format!("the answer has more than {limit} bytes: [limits] body raises the bound")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_hold_no_secrets() {
        for (url, shown) in [
            ("https://me:secret@host:1/a/b?key=secret#x", "https://host:1/a/b"),
            ("http://host", "http://host"),
            ("host?secret", "host"),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
        let mut options = PollOptions::new("http://a?secret", Duration::from_secs(1));
        options.headers.push(("authorization".into(), "secret".into()));
        assert!(!format!("{options:?}").contains("secret"));
    }

    #[test]
    fn headers_come_from_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("headers");
        std::fs::write(&path, "# for the API\nAuthorization: Bearer a:b\n\nx-a:1\n").unwrap();
        let options = || PollOptions::new("http://a", Duration::from_secs(1));
        let headers = options().with_headers_file(&path).unwrap().headers;
        let expected = [("Authorization", "Bearer a:b"), ("x-a", "1")];
        assert!(
            headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).eq(expected),
            "{headers:?}"
        );
        for line in ["secret", "a b: c", "a: \u{1}", ": x"] {
            std::fs::write(&path, format!("x-a: 1\n{line}\n")).unwrap();
            let error = options().with_headers_file(&path).unwrap_err().to_string();
            assert!(error.contains("line 2") && !error.contains("secret"), "{error}");
        }
    }
}
