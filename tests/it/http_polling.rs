//! Rows of an API that is asked at an interval, against a server that says exactly what a test wants said.

use crate::feed_support;
use crate::http_client::DEADLINE;
use arrow::array::Float64Array;
use millstream::io::http_poll::{HttpPollSource, PollOptions};
use millstream::io::live::{Context, Limits, WireFormat};
use millstream::io::{Read, Source};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_millis(20);

fn context() -> Context {
    Context {
        name: "api".into(),
        limits: Limits {
            body_bytes: 1000,
            ..Limits::default()
        },
        ..feed_support::context(feed_support::wire(WireFormat::Csv))
    }
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// Gives these answers one after the other, the last one again and again; the heads of the requests come back.
fn server(answers: Vec<Vec<u8>>) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, requests) = channel();
    std::thread::spawn(move || {
        for i in 0.. {
            let Ok((mut socket, _)) = listener.accept() else { return };
            let mut head = String::new();
            let mut lines = BufReader::new(socket.try_clone().unwrap());
            while !head.ends_with("\r\n\r\n") {
                if lines.read_line(&mut head).unwrap() == 0 {
                    break;
                }
            }
            if sender.send(head.to_ascii_lowercase()).is_err() {
                return;
            }
            // The client may have seen enough.
            let _ = socket.write_all(&answers[i.min(answers.len() - 1)]);
        }
    });
    (address, requests)
}

fn open(context: &Context, address: SocketAddr) -> HttpPollSource {
    let mut options = PollOptions::new(format!("http://{address}/latest?key=secret"), INTERVAL);
    options.headers.push(("x-key".into(), "abc".into()));
    HttpPollSource::open(context, options).unwrap()
}

/// Reads until so many rows have come.
fn read(source: &mut HttpPollSource, count: usize) -> Vec<f64> {
    let (mut values, until) = (Vec::new(), Instant::now() + DEADLINE);
    while values.len() < count {
        if let Read::Batch(rows, position) = source.read().unwrap() {
            assert!(rows.arrived_ns.is_some());
            let column: &Float64Array = rows.batch.column(0).as_any().downcast_ref().unwrap();
            values.extend(column.values().iter());
            assert_eq!(position.rows, values.len() as u64);
        }
        assert!(Instant::now() < until, "{values:?}");
    }
    values
}

/// Reads on until this holds; no rows come meanwhile.
fn wait(source: &mut HttpPollSource, what: impl Fn(&HttpPollSource) -> bool) {
    let until = Instant::now() + DEADLINE;
    while !what(source) {
        assert!(matches!(source.read().unwrap(), Read::Idle) && Instant::now() < until);
    }
}

#[test]
fn what_has_not_changed_gives_no_rows() {
    let validators = "etag: \"v1\"\r\nlast-modified: Sat, 01 Jan 2000 00:00:00 GMT\r\n";
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(b"{\"a\": 3}\n").unwrap();
    let json = "content-type: application/json\r\ncontent-encoding: gzip\r\n";
    let (address, requests) = server(vec![
        answer("200 OK", validators, b"a\n1\n2\n"),
        answer("304 Not Modified", validators, b""),
        answer("200 OK", json, &encoder.finish().unwrap()),
        answer("304 Not Modified", "", b""),
    ]);
    let context = context();
    let mut source = open(&context, address);
    assert_eq!(read(&mut source, 3), [1.0, 2.0, 3.0]);
    wait(&mut source, |source| {
        source.state().unchanged.load(Ordering::SeqCst) >= 2
    });
    let heads: Vec<String> = requests.try_iter().take(4).collect();
    let has = |i: usize, line: &str| heads[i].contains(&format!("\r\n{line}\r\n"));
    assert!(
        heads[0].starts_with("get /latest?key=secret http/1.1\r\n") && has(0, "x-key: abc"),
        "{heads:?}"
    );
    assert!(!heads[0].contains("if-none-match"), "{heads:?}");
    for again in [1, 2] {
        assert!(has(again, "if-none-match: \"v1\""), "{heads:?}");
        assert!(
            has(again, "if-modified-since: sat, 01 jan 2000 00:00:00 gmt"),
            "{heads:?}"
        );
    }
    // The third answer had neither.
    assert!(
        !heads[3].contains("if-none-match") && !heads[3].contains("if-modified-since"),
        "{heads:?}"
    );
    assert!(!format!("{:?} {:?}", source.about(), source).contains("secret"));
    context.stop.stop();
    let until = Instant::now() + DEADLINE;
    while !matches!(source.read().unwrap(), Read::End) {
        assert!(Instant::now() < until);
    }
}

#[test]
fn errors_are_counted_and_waited_for() {
    let long = format!("a\n{}", "1\n".repeat(1000));
    let (address, requests) = server(vec![
        answer("500 Oops", "", b""),
        answer("200 OK", "etag: \"long\"\r\n", long.as_bytes()),
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\na\n".to_vec(),
        b"what?".to_vec(),
        answer("200 OK", "", b"a\n5\n"),
    ]);
    let context = context();
    let began = Instant::now();
    let mut source = open(&context, address);
    let state = source.state();
    assert_eq!(read(&mut source, 1), [5.0]);
    assert_eq!(state.failures.load(Ordering::SeqCst), 4);
    assert_eq!(context.counters.refused.load(Ordering::SeqCst), 4);
    assert!(
        began.elapsed() >= INTERVAL * (2 + 4 + 8 + 16),
        "each error doubles the time"
    );
    assert!(
        requests.try_iter().all(|head| !head.contains("\"long\"")),
        "an answer that was not taken is not known"
    );
}

#[test]
fn a_server_that_is_gone_is_named_without_secrets() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut source = open(&context(), address);
    wait(&mut source, |source| source.state().failure().is_some());
    let failure = source.state().failure().unwrap();
    assert!(
        failure.contains(&format!("http_poll http://{address}/latest")),
        "{failure}"
    );
    assert!(!failure.contains("secret"), "{failure}");
    for url in ["", "latest", "ftp://127.0.0.1/", "http://"] {
        let error = HttpPollSource::open(&context(), PollOptions::new(url, INTERVAL)).unwrap_err();
        assert!(
            error.exit_code() == 78 && error.to_string().contains("`api`"),
            "{url}: {error}"
        );
    }
}
