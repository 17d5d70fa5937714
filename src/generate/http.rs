//! Bodies posted to a server, each until the server has it.
//!
//! A server that has no room (429, 503), had no time (408) or is still at it (409) is asked again after as long as it
//! says; one that does not answer after a pause that doubles. The same body has the same `Idempotency-Key` each time, so that one that was taken, but whose answer
//! was lost, is not taken twice.

use super::Delivery;
use super::pace::pause;
use super::target::{Sender, failed};
use crate::error::{Error, Result};
use std::time::{Duration, Instant, SystemTime};
use ureq::http::Response;
use ureq::tls::{PemItem, RootCerts, TlsConfig};
use ureq::{Agent, Body};

/// How long a server may take for one body.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// The first pause before a server that does not answer is tried again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Bytes of a refusal that are told.
const TOLD_BYTES_MAX: u64 = 400;

/// Posts messages.
pub(super) struct ToHttp {
    url: String,
    agent: Agent,
    content_type: &'static str,
    authorization: Option<String>,
    retry: Duration,
    /// Makes the keys of this run differ from those of any other.
    run: String,
    sent: u64,
}

impl ToHttp {
    pub(super) fn new(url: &str, delivery: &Delivery) -> Result<Self> {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_global(Some(ANSWER_MAX));
        if let Some(path) = &delivery.authorities {
            let input = |source| Error::Input {
                path: path.clone(),
                source,
            };
            let pem = std::fs::read(path).map_err(input)?;
            let mut certificates = Vec::new();
            for item in ureq::tls::parse_pem(&pem) {
                match item {
                    Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
                    Ok(_) => {}
                    Err(e) => return Err(Error::Data(format!("{}: {e}", path.display()))),
                }
            }
            if certificates.is_empty() {
                return Err(Error::Data(format!("{} holds no certificate in PEM", path.display())));
            }
            let roots = RootCerts::new_with_certs(&certificates);
            config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Ok(Self {
            url: url.to_owned(),
            agent: config.build().into(),
            content_type: delivery.format.content_type(),
            authorization: delivery.token.as_ref().map(|token| format!("Bearer {token}")),
            retry: delivery.retry,
            run: format!("{:x}-{:x}", now.map_or(0, |d| d.as_nanos()), std::process::id()),
            sent: 0,
        })
    }

    fn post(&self, message: &[u8]) -> Result<Response<Body>, ureq::Error> {
        let mut request = self
            .agent
            .post(&self.url)
            .header("Content-Type", self.content_type)
            .header("Idempotency-Key", format!("{}-{}", self.run, self.sent));
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        request.send(message)
    }
}

impl Sender for ToHttp {
    fn send(&mut self, message: &[u8]) -> Result<()> {
        let begun = Instant::now();
        let mut next_pause = PAUSES.0;
        loop {
            let (why, wait) = match self.post(message) {
                Ok(mut response) => {
                    let status = response.status().as_u16();
                    let after = response.headers().get("retry-after");
                    let after = after.and_then(|v| v.to_str().ok()?.trim().parse::<f64>().ok());
                    // A body that is read leaves a connection that can be used again.
                    let body = response.body_mut().with_config().limit(TOLD_BYTES_MAX).read_to_string();
                    match status {
                        200..=299 => {
                            self.sent += 1;
                            return Ok(());
                        }
                        408 | 409 | 429 | 503 => {
                            let after = after.and_then(|s| Duration::try_from_secs_f64(s).ok());
                            (
                                format!("does not take it (status {status})"),
                                after.unwrap_or(next_pause),
                            )
                        }
                        _ => {
                            let body = body.unwrap_or_default();
                            return Err(Error::Failed(format!(
                                "{} refused body {} with status {status}: {}",
                                self.url,
                                self.sent,
                                body.trim()
                            )));
                        }
                    }
                }
                Err(e @ (ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::HostNotFound)) => {
                    return Err(failed(&self.url, std::io::Error::other(e)));
                }
                Err(e) => (format!("did not answer: {e}"), next_pause),
            };
            if begun.elapsed() + wait > self.retry {
                return Err(Error::Failed(format!(
                    "{} {why}, for {:.1} s; body {} and what comes behind it has not been taken (--retry is {:.0} s)",
                    self.url,
                    begun.elapsed().as_secs_f64(),
                    self.sent,
                    self.retry.as_secs_f64()
                )));
            }
            pause(wait);
            next_pause = (next_pause * 2).min(PAUSES.1);
        }
    }

    fn finish(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
