//! Serving HTTP/1.1: a listener, connections within bounds, and the end of all of it.
//!
//! One thread runs everything that waits; what computes is the handler's to give to others. A connection ends when it
//! makes no progress for as long as [`Limits::idle`]: between requests, within a handshake, a header or a body, and while
//! a client does not take its answer. Once told to stop, requests that were begun are answered, then connections close.

use super::live::{Counters, Limits, Stop};
use super::tls::Tls;
use crate::error::{Error, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How often the listener looks for the sign to stop.
const STOP_WAIT: Duration = Duration::from_millis(20);

/// How long requests that were begun have once the server is told to stop: half of what a run may take to end.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// How often within its time an idle connection is looked at.
const IDLE_CHECKS: u32 = 8;

/// Bytes of a request line with its headers: four times what servers commonly allow for cookies, which there are none of.
const HEAD_BYTES_MAX: usize = 32 << 10;

/// How long to wait where the system has no socket left: connections that end give theirs back.
const SOCKETS_WAIT: Duration = Duration::from_millis(100);

/// An answer.
pub(super) type Answer = Response<Full<Bytes>>;

/// What a server answers.
pub(super) trait Handler: Send + Sync + 'static {
    /// The answer to a request.
    fn answer(&self, request: Request<Incoming>, peer: Peer) -> impl Future<Output = Answer> + Send;
}

/// How a server listens.
#[derive(Debug, Clone)]
pub(super) struct Serve {
    pub(super) name: String,
    pub(super) listen: SocketAddr,
    pub(super) tls: Option<Tls>,
    pub(super) limits: Limits,
    pub(super) stop: Stop,
    pub(super) counters: Arc<Counters>,
}

/// A server that runs; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    closed: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // What it had to say it has said to its clients.
            let _ = thread.join();
        }
    }
}

/// Who sent a request.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    activity: Arc<Activity>,
}

impl Peer {
    /// While this is held the client waits for the server, and not the other way round.
    pub(super) fn busy(&self) -> Busy {
        self.activity.busy.fetch_add(1, Ordering::AcqRel);
        Busy(Arc::clone(&self.activity))
    }
}

/// A request that is being worked on.
#[derive(Debug)]
pub(super) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.touch();
        self.0.busy.fetch_sub(1, Ordering::AcqRel);
    }
}

/// When a connection last made progress.
#[derive(Debug)]
struct Activity {
    began: Instant,
    /// Milliseconds after that.
    last_ms: AtomicU64,
    /// Requests that the server is working on.
    busy: AtomicUsize,
}

impl Activity {
    fn touch(&self) {
        let ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(ms, Ordering::Relaxed);
    }

    fn is_idle(&self, time: Duration) -> bool {
        let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
        self.busy.load(Ordering::Acquire) == 0 && self.began.elapsed().saturating_sub(last) >= time
    }
}

/// Begins to serve.
///
/// # Errors
/// [`Error::Input`] where the address cannot be listened on, [`Error::Failed`] where the system has no thread left.
pub(super) fn serve(serve: Serve, handler: impl Handler) -> Result<Server> {
    let input = |source| Error::Input {
        path: format!("{} on {}", serve.name, serve.listen).into(),
        source,
    };
    let listener = std::net::TcpListener::bind(serve.listen).map_err(input)?;
    listener.set_nonblocking(true).map_err(input)?;
    let address = listener.local_addr().map_err(input)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let failed = |e: io::Error| Error::Failed(format!("{} cannot be served: {e}", serve.name));
    let runtime = runtime.map_err(failed)?;
    let closed = Arc::new(AtomicBool::new(false));
    let thread = std::thread::Builder::new().name("http".into()).spawn({
        let (serve, closed) = (serve.clone(), Arc::clone(&closed));
        move || runtime.block_on(run(listener, serve, Arc::new(handler), closed))
    });
    Ok(Server {
        address,
        closed,
        thread: Some(thread.map_err(failed)?),
    })
}

async fn run(listener: std::net::TcpListener, serve: Serve, handler: Arc<impl Handler>, closed: Arc<AtomicBool>) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    let (stopping, stopped) = watch::channel(false);
    let open = Arc::new(());
    while !serve.stop.is_stopped() && !closed.load(Ordering::Acquire) {
        let (socket, address) = match tokio::time::timeout(STOP_WAIT, listener.accept()).await {
            Err(_) => continue,
            Ok(Ok(accepted)) => accepted,
            Ok(Err(_)) => {
                tokio::time::sleep(SOCKETS_WAIT).await;
                continue;
            }
        };
        // This counts itself.
        if Arc::strong_count(&open) > serve.limits.connections {
            serve.counters.refused.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(refuse(socket, serve.tls.is_some()));
            continue;
        }
        let counted = Counted {
            counters: Arc::clone(&serve.counters),
            _open: Arc::clone(&open),
        };
        serve.counters.connections.fetch_add(1, Ordering::Relaxed);
        let (serve, handler, stopped) = (serve.clone(), Arc::clone(&handler), stopped.clone());
        tokio::spawn(async move {
            let _counted = counted;
            connection(socket, address, &serve, handler, stopped).await;
        });
    }
    drop(listener);
    let _ = stopping.send(true);
    let until = Instant::now() + DRAIN_TIME;
    while Arc::strong_count(&open) > 1 && Instant::now() < until {
        tokio::time::sleep(STOP_WAIT / 4).await;
    }
}

/// A connection that is counted while it is open.
struct Counted {
    counters: Arc<Counters>,
    _open: Arc<()>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.counters.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Tells one connection too many that it is.
async fn refuse(mut socket: TcpStream, is_tls: bool) {
    if is_tls {
        return;
    }
    let body = r#"{"error":"too many connections; [limits] connections raises the bound"}"#;
    let text = format!(
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    // Who is gone does not need it.
    let _ = tokio::time::timeout(SOCKETS_WAIT, socket.write_all(text.as_bytes())).await;
    let _ = socket.shutdown().await;
}

/// Serves one connection to its end.
async fn connection(
    socket: TcpStream,
    address: SocketAddr,
    serve: &Serve,
    handler: Arc<impl Handler>,
    mut stopped: watch::Receiver<bool>,
) {
    let idle = serve.limits.idle;
    // Answers are small and somebody waits for them.
    let _ = socket.set_nodelay(true);
    let activity = Arc::new(Activity {
        began: Instant::now(),
        last_ms: AtomicU64::new(0),
        busy: AtomicUsize::new(0),
    });
    let metered = Metered {
        socket,
        activity: Arc::clone(&activity),
        counters: Arc::clone(&serve.counters),
    };
    let stream: Box<dyn Stream> = match &serve.tls {
        None => Box::new(metered),
        Some(tls) => {
            let acceptor = tokio_rustls::TlsAcceptor::from(tls.config());
            match tokio::time::timeout(idle, acceptor.accept(metered)).await {
                Ok(Ok(stream)) => Box::new(stream),
                _ => {
                    serve.counters.refused.fetch_add(1, Ordering::Relaxed);
                    return;
                }
            }
        }
    };
    let peer = Peer {
        address,
        activity: Arc::clone(&activity),
    };
    let service = service_fn(|request| {
        let (handler, peer) = (Arc::clone(&handler), peer.clone());
        async move { Ok::<_, Infallible>(handler.answer(request, peer).await) }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(idle)
        .max_buf_size(HEAD_BYTES_MAX);
    let mut serving = pin!(server.serve_connection(TokioIo::new(stream), service));
    let mut sleeping = pin!(async {
        while !activity.is_idle(idle) {
            tokio::time::sleep(idle / IDLE_CHECKS).await;
        }
    });
    let mut stopping = pin!(async move {
        let _ = stopped.wait_for(|stopped| *stopped).await;
    });
    let mut is_told = false;
    poll_fn(|context| {
        if sleeping.as_mut().poll(context).is_ready() {
            serve.counters.refused.fetch_add(1, Ordering::Relaxed);
            return Poll::Ready(());
        }
        if !is_told && stopping.as_mut().poll(context).is_ready() {
            is_told = true;
            serving.as_mut().graceful_shutdown();
        }
        // What a client does wrong ends its connection and nothing else.
        serving.as_mut().poll(context).map(drop)
    })
    .await;
}

/// What bytes come and go over.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A socket that counts what it receives and notes when something moves.
struct Metered {
    socket: TcpStream,
    activity: Arc<Activity>,
    counters: Arc<Counters>,
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(context, buffer))?;
        let read = buffer.filled().len() - before;
        self.counters.bytes.fetch_add(read as u64, Ordering::Relaxed);
        self.activity.touch();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.socket).poll_write(context, bytes))?;
        self.activity.touch();
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

/// An answer with this body.
pub(super) fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// An answer that says what is wrong, as JSON.
pub(super) fn error(status: StatusCode, message: &str) -> Answer {
    let body = serde_json::json!({ "error": message }).to_string();
    answer(status, "application/json", body)
}
