//! Senders that keep a connection, a run or a stop waiting: they may not, over any kind of source.

use crate::command::Place;
use crate::feed_support::{PATIENCE, Seen, context, wait_for, wire};
use crate::http_client::{get, is_closed};
use crate::runs::Running;
use millstream::io::live::{ColumnType, Context, WireFormat};
use millstream::io::tcp::{TcpOptions, TcpSource};
use millstream::io::tls::Tls;
use millstream::io::udp::UdpSource;
use millstream::io::{Read as Got, Source};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// What a run may take to end once it is told to.
const STOP_TIME: Duration = Duration::from_secs(10);

fn local() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// A run of the command over one feed.
pub(crate) struct Run {
    running: Running,
    _place: Place,
}

impl Run {
    pub(crate) fn start(feed: &str, more: &str) -> Self {
        Self::begin(feed, more, |place| place.command(&["run", "run.toml"]))
    }

    fn begin(feed: &str, more: &str, command: impl Fn(&Place) -> Command) -> Self {
        let place = Place::new();
        let text = format!(
            "[feed]\n{feed}\n[rows]\ncolumns = [\"x\"]\n{more}\n[[sink]]\ntype = \"file\"\npath = \"out.ndjson\"\n"
        );
        place.write("run.toml", text);
        let running = Running::begin(command(&place));
        Self { running, _place: place }
    }

    /// Waits for a line with these words; its last word, an address.
    pub(crate) fn address(&mut self, words: &str) -> String {
        self.running.address(words)
    }

    /// The most memory that it has had.
    pub(crate) fn peak_bytes(&self) -> u64 {
        self.running.peak_bytes()
    }

    /// Tells it to end, which it does in time: status and everything that was said.
    pub(crate) fn end(self) -> (i32, String) {
        let told = Instant::now();
        self.running.signal("-TERM");
        let ended = self.running.end();
        assert!(told.elapsed() < STOP_TIME, "{:?}", told.elapsed());
        ended
    }
}

/// The column `x`, settled.
fn settled(format: WireFormat) -> Context {
    let mut wire = wire(format);
    wire.columns = Some(vec!["x".into()]);
    wire.wanted = wire.columns.clone();
    wire.types = [("x".into(), ColumnType::F64)].into();
    context(wire)
}

/// Writes a piece again and again, with a pause, until the other end closes.
fn keep_writing(mut stream: TcpStream, piece: &'static [u8], pause: Duration) -> thread::JoinHandle<bool> {
    thread::spawn(move || {
        let until = Instant::now() + PATIENCE;
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        while Instant::now() < until {
            if stream.write_all(piece).is_err() {
                return true;
            }
            thread::park_timeout(pause);
        }
        false
    })
}

#[test]
fn what_is_no_record_keeps_no_connection_open() {
    let endless: &[(WireFormat, &'static [u8])] = &[
        (WireFormat::Csv, &[b'1'; 1 << 16]),
        (WireFormat::Csv, b"\n\r\n"),
        (WireFormat::Ndjson, b"\n"),
        (WireFormat::Binary, &[0; 64]),
    ];
    for (format, piece) in endless {
        let mut context = settled(*format);
        context.limits.idle = Duration::from_millis(300);
        let mut source = TcpSource::open(&context, TcpOptions::plain(local())).unwrap();
        let stream = TcpStream::connect(source.address()).unwrap();
        let writer = keep_writing(stream, piece, Duration::from_millis(5));
        let until = Instant::now() + PATIENCE;
        while context.counters.refused.load(Ordering::Relaxed) == 0 {
            assert!(Instant::now() < until, "{format:?}");
            source.read().unwrap();
        }
        assert!(writer.join().unwrap(), "{format:?}");
    }
}

#[test]
fn records_keep_a_connection_open() {
    let mut context = settled(WireFormat::Csv);
    context.limits.idle = Duration::from_millis(500);
    let mut source = TcpSource::open(&context, TcpOptions::plain(local())).unwrap();
    let stream = TcpStream::connect(source.address()).unwrap();
    let began = Instant::now();
    let writer = keep_writing(stream.try_clone().unwrap(), b"1\n", Duration::from_millis(5));
    let mut seen = Seen::default();
    seen.read(&mut source, |seen| {
        seen.rows.len() > 10 && began.elapsed() > Duration::from_secs(2)
    });
    assert_eq!(context.counters.refused.load(Ordering::Relaxed), 0);
    drop(source);
    assert!(writer.join().unwrap());
}

/// A listener with TLS, and the certificate that a client is to trust.
fn with_tls(context: &Context) -> (TcpSource, rustls::pki_types::CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let place = tempfile::tempdir().unwrap();
    let (certificate, key) = (place.path().join("certificate"), place.path().join("key"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = Tls::from_files(&certificate, &key).unwrap();
    let mut options = TcpOptions::plain(local());
    options.accept = Some(Arc::new(move |socket, deadline| tls.accept(socket, deadline)));
    (TcpSource::open(context, options).unwrap(), made.cert.der().clone())
}

fn client(
    address: SocketAddr,
    trusted: rustls::pki_types::CertificateDer<'static>,
) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connection = rustls::ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    rustls::StreamOwned::new(connection, TcpStream::connect(address).unwrap())
}

#[test]
fn a_handshake_that_trickles_is_over_in_time() {
    let mut context = settled(WireFormat::Csv);
    context.limits.idle = Duration::from_millis(500);
    let (mut source, trusted) = with_tls(&context);
    let mut slow = TcpStream::connect(source.address()).unwrap();
    // The head of a record of 16 KiB, of which a byte comes now and then.
    slow.write_all(&[0x16, 3, 1, 0x40, 0]).unwrap();
    let writer = keep_writing(slow, &[1], Duration::from_millis(20));
    wait_for("the refusal", || context.counters.refused.load(Ordering::Relaxed) == 1);
    assert!(writer.join().unwrap());
    // Who speaks as is usual is understood.
    let mut stream = client(source.address(), trusted);
    stream.write_all(b"1\n2\n").unwrap();
    let mut seen = Seen::default();
    seen.read(&mut source, |seen| seen.rows.len() == 2);
    stream.write_all(b"3\n").unwrap();
    seen.read(&mut source, |seen| seen.rows.len() == 3);
}

#[test]
fn a_record_of_tls_that_trickles_puts_no_end_off() {
    let context = settled(WireFormat::Csv);
    let (mut source, trusted) = with_tls(&context);
    let mut stream = client(source.address(), trusted);
    stream.write_all(b"1\n").unwrap();
    let mut seen = Seen::default();
    seen.read(&mut source, |seen| seen.rows.len() == 1);
    let mut socket = stream.sock.try_clone().unwrap();
    socket.write_all(&[0x17, 3, 3, 0x40, 0]).unwrap();
    let writer = keep_writing(socket, &[1], Duration::from_millis(20));
    let told = Instant::now();
    context.stop.stop();
    seen.read(&mut source, |_| false);
    assert!(told.elapsed() < STOP_TIME, "{:?}", told.elapsed());
    assert!(writer.join().unwrap());
}

#[test]
fn a_record_of_tls_that_trickles_holds_no_connection() {
    let mut context = settled(WireFormat::Csv);
    context.limits.idle = Duration::from_millis(500);
    let (source, trusted) = with_tls(&context);
    let mut stream = client(source.address(), trusted);
    stream.write_all(b"1\n").unwrap();
    let mut socket = stream.sock.try_clone().unwrap();
    socket.write_all(&[0x17, 3, 3, 0x40, 0]).unwrap();
    let writer = keep_writing(socket, &[1], Duration::from_millis(20));
    wait_for("the refusal", || context.counters.refused.load(Ordering::Relaxed) == 1);
    assert!(writer.join().unwrap());
}

#[test]
fn datagrams_that_keep_coming_put_no_end_off() {
    let context = settled(WireFormat::Csv);
    let mut source = UdpSource::open(&context, local()).unwrap();
    let (address, over) = (source.address(), Arc::new(AtomicBool::new(false)));
    let is_over = over.clone();
    let sender = thread::spawn(move || {
        let socket = UdpSocket::bind(local()).unwrap();
        while !is_over.load(Ordering::Relaxed) {
            // Nobody may be there any more.
            let _ = socket.send_to(b"1\n", address);
            let _ = socket.send_to(b"", address);
            thread::park_timeout(Duration::from_millis(1));
        }
    });
    let mut seen = Seen::default();
    seen.read(&mut source, |seen| seen.rows.len() > 10);
    let told = Instant::now();
    context.stop.stop();
    seen.read(&mut source, |_| told.elapsed() > STOP_TIME);
    over.store(true, Ordering::Relaxed);
    sender.join().unwrap();
    assert!(seen.ended);
}

#[test]
fn connections_that_keep_coming_put_no_end_off() {
    let context = settled(WireFormat::Csv);
    let mut source = TcpSource::open(&context, TcpOptions::plain(local())).unwrap();
    let (address, over) = (source.address(), Arc::new(AtomicBool::new(false)));
    let senders: Vec<_> = (0..4)
        .map(|_| {
            let over = over.clone();
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    if let Ok(mut stream) = TcpStream::connect(address) {
                        let _ = stream.write_all(b"1\n");
                    }
                }
            })
        })
        .collect();
    let mut seen = Seen::default();
    seen.read(&mut source, |seen| seen.rows.len() > 100);
    let told = Instant::now();
    context.stop.stop();
    seen.read(&mut source, |_| told.elapsed() > STOP_TIME);
    over.store(true, Ordering::Relaxed);
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    assert!(seen.ended);
}

#[test]
fn rows_of_many_connections_arrive_in_an_order() {
    let context = settled(WireFormat::Csv);
    let mut source = TcpSource::open(&context, TcpOptions::plain(local())).unwrap();
    let address = source.address();
    let senders: Vec<_> = (0..16)
        .map(|_| {
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                for _ in 0..100 {
                    stream.write_all(b"1\n").unwrap();
                    thread::yield_now();
                }
            })
        })
        .collect();
    // Nobody reads: more batches wait than there is room for.
    wait_for("all connections", || {
        context.counters.bytes.load(Ordering::Relaxed) >= 16 * 2
    });
    let (mut rows, mut last) = (0, i64::MIN);
    let until = Instant::now() + PATIENCE;
    while rows < 1600 {
        assert!(Instant::now() < until);
        if let Got::Batch(got, _) = source.read().unwrap() {
            rows += got.batch.num_rows();
            let arrived = got.arrived_ns.unwrap();
            assert!(arrived >= last, "{arrived} comes behind {last}");
            last = arrived;
        }
    }
    senders.into_iter().for_each(|sender| sender.join().unwrap());
}

/// The number behind a name on the page of metrics.
fn metric(address: &str, name: &str) -> u64 {
    let url = address.trim_start_matches("http://").trim_end_matches("/metrics");
    let page = get(url.parse().unwrap(), "/metrics", &[]).body;
    let line = page.lines().find(|line| line.starts_with(name));
    let line = line.unwrap_or_else(|| panic!("no {name} in {page}"));
    line.split_whitespace().last().unwrap().parse().unwrap()
}

/// The command under such bounds.
#[cfg(unix)]
fn limited(place: &Place, bounds: &str) -> Command {
    let command = place.command(&[]);
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{bounds}; exec \"$0\" run run.toml")]);
    shell.arg(command.get_program()).current_dir(place.path(""));
    shell.env("MILLSTREAM_CACHE", "");
    shell
}

#[cfg(unix)]
#[test]
fn connections_leave_descriptors_for_checkpoints() {
    let feed = "type = \"tcp\"\nformat = \"ndjson\"\nlisten = \"127.0.0.1:0\"";
    let more = "[state]\ndirectory = \"state\"\ninterval = \"50ms\"\n[server]\nlisten = \"127.0.0.1:0\"";
    let mut running = Run::begin(feed, more, |place| limited(place, "ulimit -n 250"));
    let pages = running.address("metrics on");
    running.address("files open");
    let address: SocketAddr = running.address("listens on tcp").parse().unwrap();
    let mut good = TcpStream::connect(address).unwrap();
    good.write_all(b"{\"x\":1}\n").unwrap();
    let idle: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(address).unwrap()).collect();
    let most = 250 - 64 - 64;
    let refused = 201 - most;
    wait_for("the refusals", || metric(&pages, "millstream_refused_total") == refused);
    assert_eq!(metric(&pages, "millstream_connections"), most);
    let before = metric(&pages, "millstream_checkpoints_total");
    wait_for("more checkpoints", || {
        metric(&pages, "millstream_checkpoints_total") > before + 3
    });
    good.write_all(b"{\"x\":2}\n").unwrap();
    wait_for("the row", || metric(&pages, "millstream_rows_in_total") == 2);
    let (status, said) = running.end();
    assert!(status == 0 && said.contains("rows in 2 = aggregated 2"), "{said}");
    drop(idle);
}

#[cfg(target_os = "linux")]
#[test]
fn the_bound_on_descriptors_is_raised() {
    let feed = "type = \"tcp\"\nformat = \"ndjson\"\nlisten = \"127.0.0.1:0\"";
    let mut running = Run::begin(feed, "", |place| limited(place, "ulimit -Sn 100; ulimit -Hn 400"));
    running.address("listens on tcp");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", running.running.child.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().nth(3), Some("400"), "{line}");
    assert_eq!(running.end().0, 0);
}

#[test]
fn a_server_that_never_answers_puts_no_end_off() {
    let server = std::net::TcpListener::bind(local()).unwrap();
    let url = format!("http://{}/latest", server.local_addr().unwrap());
    let feed = format!("type = \"http_poll\"\nformat = \"ndjson\"\nurl = \"{url}\"");
    let running = Run::start(&feed, "");
    let (mut asked, _) = server.accept().unwrap();
    assert!(asked.read(&mut [0; 64]).unwrap() > 0);
    let (status, said) = running.end();
    assert_eq!(status, 0, "{said}");
    assert!(is_closed(asked));
}

#[test]
fn a_source_that_fails_says_so_and_when_it_recovers() {
    let server = std::net::TcpListener::bind(local()).unwrap();
    let address = server.local_addr().unwrap();
    let (more, answers) = channel::<&str>();
    thread::spawn(move || {
        let mut now = "HTTP/1.1 500 Oops\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        for socket in server.incoming() {
            let Ok(mut socket) = socket else { return };
            now = answers.try_recv().unwrap_or(now);
            let _ = socket.read(&mut [0; 4096]);
            let _ = socket.write_all(now.as_bytes());
        }
    });
    let feed = format!(
        "type = \"http_poll\"\nformat = \"ndjson\"\nurl = \"http://me:secret@{address}/latest?key=secret\"\ninterval = \"10ms\""
    );
    let mut running = Run::start(&feed, "[server]\nlisten = \"127.0.0.1:0\"");
    let pages = running.address("metrics on");
    running.address("the server answers 500");
    wait_for("failures", || metric(&pages, "millstream_source_failures_total") > 2);
    let health = || {
        let url = pages.trim_start_matches("http://").trim_end_matches("/metrics");
        get(url.parse().unwrap(), "/health", &[])
    };
    wait_for("bad health", || health().status == 503);
    assert!(health().body.contains("500"), "{:?}", health());
    more.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 8\r\n\r\n{\"x\":1}\n")
        .unwrap();
    running.address("goes on");
    wait_for("health", || health().status == 200);
    let (status, said) = running.end();
    assert_eq!(status, 0, "{said}");
    assert_eq!(said.matches("the server answers 500").count(), 1, "{said}");
    assert!(!said.contains("secret"), "{said}");
}
