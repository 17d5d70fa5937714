//! Rows over HTTP: every form of body, everything that can be wrong with a request, and clients that are slow or gone.

use crate::http_client::{Answer, DEADLINE, connect, get, is_closed, post, read_answer, send};
use crate::http_rows::{context, end, open, read};
use arrow::array::{Float64Array, RecordBatch};
use arrow::ipc::writer::StreamWriter;
use millstream::io::live::WireFormat;
use std::io::{BufReader, Read, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn arrow_stream(columns: &[(&str, Vec<f64>)]) -> Vec<u8> {
    let column = |(name, values): &(&str, Vec<f64>)| {
        let array: arrow::array::ArrayRef = Arc::new(Float64Array::from(values.clone()));
        (name.to_string(), array)
    };
    let batch = RecordBatch::try_from_iter(columns.iter().map(column)).unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn every_form_and_packing_gives_the_same_rows() {
    let context = context();
    let mut source = open(&context);
    let address = source.address();
    let arrow = arrow_stream(&[("a", vec![1.5, -2.0]), ("b", vec![3.0, 1e300])]);
    let forms: [(&str, &[u8]); 5] = [
        (
            "application/json",
            b"\n[\n  {\"a\":\r\n1.5, \"b\": 3},\n{\"b\":1e300,\n\"a\":-2}]\n",
        ),
        ("text/csv; charset=utf-8", b"a,b\n1.5,3\n-2,1e300\n"),
        ("application/x-ndjson", b"{\"a\":1.5,\"b\":3}\n{\"b\":1e300,\"a\":-2}"),
        ("application/vnd.apache.arrow.stream", &arrow),
        ("application/x-www-form-urlencoded", b"a,b\n1.5,3\n-2,1e300"),
    ];
    let mut sent = 0;
    for (kind, body) in forms {
        let packed = [
            ("identity", body.to_vec()),
            ("gzip", gzip(body)),
            ("zstd", zstd::encode_all(body, 3).unwrap()),
        ];
        for (encoding, body) in packed {
            let headers = [("content-type", kind), ("Content-Encoding", encoding)];
            send(address, &post("/rows", &headers, &body)).took(2, 0);
            sent += 1;
        }
    }
    let seen = read(&mut source, 2 * sent);
    let expected = [vec![1.5, 3.0], vec![-2.0, 1e300]];
    assert!(seen.rows.chunks(2).all(|rows| rows == expected), "{seen:?}");
    assert_eq!((sent, seen.rejected), (15, 0));
    assert!(context.counters.bytes.load(Ordering::Relaxed) > 12 * 20);
}

#[test]
fn binary_frames_come_too() {
    let mut context = context();
    let mut wire = (*context.wire).clone();
    (wire.format, wire.columns) = (WireFormat::Binary, Some(vec!["a".into(), "b".into()]));
    context.wire = wire.into();
    let mut source = open(&context);
    let values: [f64; 4] = [1.0, 2.0, 3.0, f64::MIN_POSITIVE];
    let mut body = 32u32.to_le_bytes().to_vec();
    body.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    send(source.address(), &post("/", &[], &body)).took(2, 0);
    assert_eq!(read(&mut source, 2).rows, [values[..2].to_vec(), values[2..].to_vec()]);
}

#[test]
fn rows_that_cannot_be_read_are_counted_beside_the_others() {
    let context = context();
    let mut source = open(&context);
    send(source.address(), &post("/", &[], b"a,b\n1,2\n")).took(1, 0);
    send(source.address(), &post("/", &[], b"b,a\n1,2\nx,3\n4\n\0,\xff\n5,6\n")).took(2, 3);
    let seen = read(&mut source, 6);
    assert_eq!(seen.rows, [[1.0, 2.0], [2.0, 1.0], [6.0, 5.0]]);
    assert_eq!(seen.rejected, 3);
}

#[test]
fn a_body_that_cannot_be_read_settles_nothing_and_counts_nothing() {
    let context = context();
    let mut source = open(&context);
    let address = source.address();
    let arrow = ("content-type", "application/vnd.apache.arrow.stream");
    let stream = arrow_stream(&[("a", vec![1.0; 100])]);
    send(address, &post("/", &[arrow], b"not arrow at all")).refuses(400, &[]);
    send(address, &post("/", &[arrow], &stream[..stream.len() / 2])).refuses(400, &[]);
    send(address, &post("/", &[("content-encoding", "gzip")], b"a\n1\n")).refuses(400, &["unpacked"]);
    let cut = gzip(b"a\n1\n");
    send(
        address,
        &post("/", &[("content-encoding", "gzip")], &cut[..cut.len() - 4]),
    )
    .refuses(400, &["unpacked"]);
    send(address, &post("/", &[], b"")).refuses(400, &["empty"]);
    send(
        address,
        &post("/", &[("content-type", "application/x-ndjson")], b"[\n{\n"),
    )
    .refuses(400, &["JSON array"]);
    assert!(context.schema.get().is_none());
    send(address, &post("/", &[], b"x\n7\n")).took(1, 0);
    // From now on the columns are those.
    send(address, &post("/", &[], b"y\n7\n")).refuses(400, &["`x`"]);
    let mut seen = end(&context, &mut source);
    assert_eq!(std::mem::take(&mut seen.rows), [[7.0]]);
    assert_eq!(seen.rejected, 0);
    assert_eq!(context.counters.refused.load(Ordering::Relaxed), 7);
}

#[test]
fn requests_that_make_no_sense_are_told_so() {
    let mut context = context();
    context.limits.body_bytes = 1000;
    let source = open(&context);
    let address = source.address();
    let rows = b"a\n1\n";
    send(address, &post("/other", &[], rows)).refuses(404, &["/rows"]);
    let answer = get(address, "/", &[]);
    answer.refuses(405, &["POST"]);
    assert_eq!(answer.header("allow"), Some("POST"));
    send(address, b"POST / HTTP/1.1\r\nhost: test\r\n\r\n").refuses(411, &["Content-Length"]);
    send(address, &post("/", &[("content-type", "image/png")], rows)).refuses(415, &["image/png", "text/csv"]);
    send(address, &post("/", &[("content-encoding", "br")], rows)).refuses(415, &["br", "gzip"]);
    send(address, &post("/", &[], &[b'1'; 1001])).refuses(413, &["1000 bytes", "body"]);
    send(address, &post("/", &[("idempotency-key", &"k".repeat(256))], rows)).refuses(400, &["255"]);
    let mut chunked = b"POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..3 {
        chunked.extend(b"1f4\r\n");
        chunked.extend([b'1'; 500]);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    send(address, &chunked).refuses(413, &["1000 bytes"]);
    // A megabyte of one letter, in a kilobyte.
    let bomb = gzip(&[b'1'; 500_000]);
    assert!(bomb.len() < 1000);
    send(address, &post("/", &[("content-encoding", "gzip")], &bomb)).refuses(413, &["1000 bytes"]);
    let bomb = zstd::encode_all(&[b'1'; 500_000][..], 3).unwrap();
    send(address, &post("/", &[("content-encoding", "zstd")], &bomb)).refuses(413, &["1000 bytes"]);
    let answer = send(address, b"POST / HTTP/1.1\r\nhost: test\r\ncontent-length: x\r\n\r\n");
    assert_eq!(answer.status, 400);
    send(
        address,
        b"POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n4\r\na\n1\n\r\n0\r\n\r\n",
    )
    .took(1, 0);
}

#[test]
fn a_connection_serves_one_request_after_the_other() {
    let context = context();
    let mut source = open(&context);
    let mut socket = connect(source.address());
    let mut answers = BufReader::new(socket.try_clone().unwrap());
    socket
        .write_all(b"POST / HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n")
        .unwrap();
    assert_eq!(read_answer(&mut answers).unwrap().status, 100);
    socket.write_all(b"a\n1\n").unwrap();
    read_answer(&mut answers).unwrap().took(1, 0);
    let two = [post("/", &[], b"a\n2\n"), post("/rows", &[], b"a\n3\n4\n")].concat();
    socket.write_all(&two).unwrap();
    read_answer(&mut answers).unwrap().took(1, 0);
    read_answer(&mut answers).unwrap().took(2, 0);
    assert_eq!(context.counters.connections.load(Ordering::Relaxed), 1);
    assert_eq!(read(&mut source, 4).rows, [[1.0], [2.0], [3.0], [4.0]]);
}

#[test]
fn a_full_queue_is_said_and_loses_nothing() {
    let context = context();
    let mut source = open(&context);
    let address = source.address();
    let mut accepted = 0;
    let refused = loop {
        let answer = send(address, &post("/", &[], b"a\n1\n"));
        if answer.status != 200 {
            break answer;
        }
        accepted += 1;
        assert!(accepted < 10_000);
    };
    refused.refuses(429, &["try again"]);
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(read(&mut source, accepted).rows.len(), accepted);
    send(address, &post("/", &[], b"a\n2\n")).took(1, 0);
    assert_eq!(end(&context, &mut source).rows, [[2.0]]);
}

#[test]
fn bodies_that_wait_take_no_more_memory_than_they_may() {
    let mut context = context();
    context.limits.body_bytes = 10_000;
    let mut source = open(&context);
    let address = source.address();
    let rows = format!("a\n{}", "1\n".repeat(4_000));
    let mut accepted = 0;
    while send(address, &post("/", &[], rows.as_bytes())).status == 200 {
        accepted += 1;
        assert!(accepted < 10, "32 kB each, and 30 kB may wait");
    }
    assert_eq!(read(&mut source, 4_000 * accepted).rows.len(), 4_000 * accepted);
}

#[test]
fn a_key_that_comes_again_counts_nothing_twice() {
    let context = context();
    let mut source = open(&context);
    let key = |key| post("/", &[("idempotency-key", key)], b"a\n1\nx\n2\n");
    send(source.address(), &post("/", &[], b"a\n0\n")).took(1, 0);
    let first = send(source.address(), &key("one"));
    first.took(2, 1);
    let again = send(source.address(), &key("one"));
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    send(source.address(), &key("two")).took(2, 1);
    // What could not be taken was never seen.
    let wrong = post("/", &[("idempotency-key", "three")], b"other\n1\n");
    send(source.address(), &wrong).refuses(400, &["`a`"]);
    send(source.address(), &key("three")).took(2, 1);
    let seen = end(&context, &mut source);
    assert_eq!((seen.rows.len(), seen.rejected), (7, 3));
}

#[test]
fn clients_that_make_no_progress_are_let_go() {
    let mut context = context();
    context.limits.idle = Duration::from_millis(300);
    let source = open(&context);
    let address = source.address();
    // Silent from the beginning, between requests, within a header, within a body.
    let silent = connect(address);
    let mut between = connect(address);
    between.write_all(&post("/", &[], b"a\n1\n")).unwrap();
    let mut header = connect(address);
    header.write_all(b"POST / HTTP/1.1\r\nhos").unwrap();
    let mut body = connect(address);
    body.write_all(b"POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 9\r\n\r\na\n")
        .unwrap();
    for (what, socket) in [
        ("silent", silent),
        ("between", between),
        ("header", header),
        ("body", body),
    ] {
        assert!(is_closed(socket), "{what}");
    }
    // A byte now and then is no progress either: in a header, and in a body.
    for head in [
        "POST / HTTP/1.1\r\nx: ",
        "POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 100000\r\n\r\na\n",
    ] {
        let mut socket = connect(address);
        socket.write_all(head.as_bytes()).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let until = Instant::now() + DEADLINE;
        let mut said = Vec::new();
        let mut piece = [0; 1000];
        loop {
            assert!(Instant::now() < until, "{head:?}");
            if socket.write_all(b"1").is_err() {
                break;
            }
            match socket.read(&mut piece) {
                Ok(0) => break,
                Ok(n) => said.extend_from_slice(&piece[..n]),
                Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
                Err(_) => break,
            }
        }
        let said = String::from_utf8(said).unwrap();
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{said}");
    }
    let until = Instant::now() + DEADLINE;
    while context.counters.connections.load(Ordering::Relaxed) > 0 {
        assert!(Instant::now() < until);
        std::thread::yield_now();
    }
}

#[test]
fn one_connection_too_many_is_refused() {
    let mut context = context();
    context.limits.connections = 2;
    let source = open(&context);
    let address = source.address();
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut socket = connect(address);
        socket.write_all(&post("/", &[], b"a\n1\n")).unwrap();
        let mut answers = BufReader::new(socket);
        read_answer(&mut answers).unwrap().took(1, 0);
        kept.push(answers);
    }
    let answer = read_answer(&mut BufReader::new(connect(address))).unwrap();
    answer.refuses(503, &["connections"]);
    assert_eq!(context.counters.refused.load(Ordering::Relaxed), 1);
    kept.pop();
    let until = Instant::now() + DEADLINE;
    while context.counters.connections.load(Ordering::Relaxed) > 1 {
        assert!(Instant::now() < until);
        std::thread::yield_now();
    }
    send(address, &post("/", &[], b"a\n1\n")).took(1, 0);
}

#[test]
fn told_to_stop_it_answers_what_was_begun() {
    let context = context();
    let mut source = open(&context);
    let address = source.address();
    let mut idle = connect(address);
    idle.write_all(&post("/", &[], b"a\n0\n")).unwrap();
    let mut answers = BufReader::new(idle.try_clone().unwrap());
    read_answer(&mut answers).unwrap().took(1, 0);
    let mut begun = connect(address);
    begun
        .write_all(b"POST / HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n")
        .unwrap();
    let mut rest = BufReader::new(begun.try_clone().unwrap());
    assert_eq!(read_answer(&mut rest).unwrap().status, 100, "it is being read");
    context.stop.stop();
    assert!(is_closed(idle));
    begun.write_all(b"a\n1\n").unwrap();
    read_answer(&mut rest).unwrap().took(1, 0);
    assert_eq!(end(&context, &mut source).rows, [[0.0], [1.0]]);
    assert!(
        std::net::TcpStream::connect(address).is_err(),
        "nobody listens any more"
    );
}

#[test]
fn an_answer_is_json() {
    let source = open(&context());
    let answer: Answer = send(source.address(), &post("/", &[], b"a\n1\n"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
}
