//! The pages that watch a running program: `/metrics` for Prometheus, `/health` and `/ready` for supervisors.
//!
//! `/health` is 200 unless something keeps the program from doing its work, `/ready` is 200 while rows are taken; both
//! are 503 otherwise, and say why.

use super::live::{Counters, Limits, Stop};
use super::serve::{Answer, Handler, Peer, Serve, Server, answer, error, serve};
use super::tls::Security;
use crate::error::Result;
use crate::metrics::Metrics;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, StatusCode};
use std::net::SocketAddr;
use std::sync::Arc;

/// Connections at once: some supervisors and some people.
const CONNECTIONS: usize = 64;

/// A server of the pages; it ends when this is dropped, so that they can be looked at to the end of a run.
#[derive(Debug)]
pub struct Monitor {
    server: Server,
    warning: Option<String>,
}

impl Monitor {
    /// Serves the pages.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for an address that others can reach without protection,
    /// [`Error::Input`](crate::Error::Input) where it cannot be listened on.
    pub fn open(listen: SocketAddr, security: Security, metrics: Metrics) -> Result<Self> {
        let name = "[server]";
        let warning = security.check(name, listen)?;
        let options = Serve {
            name: name.into(),
            listen,
            tls: security.tls.clone(),
            limits: Limits {
                connections: CONNECTIONS,
                ..Limits::default()
            },
            stop: Stop::default(),
            counters: Arc::new(Counters::default()),
        };
        let server = serve(options, Pages { metrics, security })?;
        Ok(Self { server, warning })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// What a message should say about it.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }
}

struct Pages {
    metrics: Metrics,
    security: Security,
}

impl Pages {
    fn page(&self, request: &Request<Incoming>) -> Answer {
        let authorization = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        if let Some(token) = &self.security.token
            && !token.authorizes(authorization)
        {
            let mut answer = error(
                StatusCode::UNAUTHORIZED,
                "the header Authorization: Bearer TOKEN is missing or wrong",
            );
            answer
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return answer;
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut answer = error(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here");
            answer
                .headers_mut()
                .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        let text = "text/plain; charset=utf-8";
        match request.uri().path() {
            "/metrics" => answer(
                StatusCode::OK,
                "text/plain; version=0.0.4; charset=utf-8",
                self.metrics.text(),
            ),
            "/health" => match self.metrics.failure() {
                None => answer(StatusCode::OK, text, "ok\n"),
                Some(why) => answer(StatusCode::SERVICE_UNAVAILABLE, text, why + "\n"),
            },
            "/ready" if self.metrics.is_ready() => answer(StatusCode::OK, text, "ready\n"),
            "/ready" => answer(StatusCode::SERVICE_UNAVAILABLE, text, "not ready\n"),
            _ => error(StatusCode::NOT_FOUND, "there are /metrics, /health and /ready"),
        }
    }
}

impl Handler for Pages {
    async fn answer(&self, request: Request<Incoming>, _: Peer) -> Answer {
        self.page(&request)
    }
}
