//! What a request over HTTP may say, and to whom a source that asks gives its headers.

use crate::command::Place;
use crate::feed_support::{PATIENCE, context, wire};
use crate::http_client::{post, send};
use millstream::io::Source;
use millstream::io::http::{HttpOptions, HttpSource};
use millstream::io::http_poll::{HttpPollSource, PollOptions};
use millstream::io::journal::Journal;
use millstream::io::live::{Context, WireFormat};
use millstream::io::tls::{Security, Token};
use millstream::io::wire::Decoder;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

fn options(security: Security) -> HttpOptions {
    HttpOptions {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        security,
    }
}

fn open(context: &Context, journal: Option<&Path>) -> HttpSource {
    let journal = journal.map(|path| Journal::open(context, path, None).unwrap());
    HttpSource::open(context, options(Security::default()), journal).unwrap()
}

#[test]
fn a_key_is_for_one_body() {
    let place = tempfile::tempdir().unwrap();
    let key = ("idempotency-key", "k");
    for journal in [None, Some(place.path())] {
        let context = context(wire(WireFormat::Csv));
        let mut source = open(&context, journal);
        let address = source.address();
        let first = post("/", &[key], b"a\n1\n2\n");
        let other = post("/", &[key], b"a\n1\n3\n");
        let twice = post("/", &[key, ("Idempotency-Key", "l")], b"a\n1\n");
        send(address, &first).took(2, 0);
        send(address, &first).took(2, 0);
        send(address, &other).refuses(422, &["Idempotency-Key", "another body"]);
        send(address, &twice).refuses(400, &["one Idempotency-Key"]);
        context.stop.stop();
        let (mut rows, until) = (0, Instant::now() + PATIENCE);
        loop {
            assert!(Instant::now() < until);
            match source.read().unwrap() {
                millstream::io::Read::Batch(batch, _) => rows += batch.count(),
                millstream::io::Read::Idle => {}
                millstream::io::Read::End => break,
            }
        }
        assert_eq!(rows, 2);
        drop(source);
        if journal.is_some() {
            // A journal knows it still.
            let context = crate::feed_support::context(wire(WireFormat::Csv));
            let source = open(&context, journal);
            send(source.address(), &first).took(2, 0);
            send(source.address(), &other).refuses(422, &["another body"]);
        }
    }
}

#[test]
fn pages_of_other_sites_send_no_rows() {
    let context = context(wire(WireFormat::Csv));
    let source = open(&context, None);
    let address = source.address();
    let body = b"a\n1\n";
    for origin in [
        "http://evil.example",
        "https://127.0.0.1.evil.example",
        "null",
        "http://10.0.0.1:7400",
        "",
    ] {
        send(
            address,
            &post("/", &[("origin", origin), ("content-type", "text/plain")], body),
        )
        .refuses(403, &["site"]);
    }
    for origin in [
        "http://localhost:3000",
        "http://127.0.0.1",
        "http://[::1]:80",
        "https://app.localhost",
    ] {
        let request = String::from_utf8(post("/", &[("origin", origin)], body)).unwrap();
        send(
            address,
            request.replace("host: test", "host: localhost:7400").as_bytes(),
        )
        .took(1, 0);
        // A name that was made to point here.
        let rebound = request.replace("host: test", "host: evil.example");
        send(address, rebound.as_bytes()).refuses(403, &["site"]);
    }
    // What is no browser says no origin; and who knows the token is welcome.
    send(address, &post("/", &[], body)).took(1, 0);
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("token");
    std::fs::write(&path, "correct-horse-battery-staple\n").unwrap();
    let security = Security {
        token: Some(Token::from_file(&path).unwrap()),
        ..Security::default()
    };
    let source = HttpSource::open(&context, options(security), None).unwrap();
    let headers = [
        ("origin", "http://other.example"),
        ("authorization", "Bearer correct-horse-battery-staple"),
    ];
    send(source.address(), &post("/", &headers, body)).took(1, 0);
}

#[test]
fn headers_are_for_the_server_that_was_named() {
    let [named, other] = [0, 0].map(|_| TcpListener::bind(("127.0.0.1", 0)).unwrap());
    let elsewhere = other.local_addr().unwrap();
    let url = format!("http://{}/latest", named.local_addr().unwrap());
    let mut options = PollOptions::new(url, Duration::from_millis(10));
    options.headers.push(("x-key".into(), "secret".into()));
    let context = context(wire(WireFormat::Csv));
    let source = HttpPollSource::open(&context, options).unwrap();
    for _ in 0..3 {
        let (mut socket, _) = named.accept().unwrap();
        let mut head = String::new();
        let mut lines = BufReader::new(socket.try_clone().unwrap());
        while !head.ends_with("\r\n\r\n") {
            assert!(lines.read_line(&mut head).unwrap() > 0);
        }
        assert!(head.contains("secret"), "{head}");
        let answer = format!(
            "HTTP/1.1 302 Found\r\nlocation: http://{elsewhere}/\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        );
        socket.write_all(answer.as_bytes()).unwrap();
    }
    // The third question is asked once the answers before have been dealt with.
    other.set_nonblocking(true).unwrap();
    assert!(other.accept().is_err(), "nobody came with the secret");
    let failure = source.state().failure().unwrap();
    assert!(failure.contains("302 Found, which is not followed"), "{failure}");
    assert_eq!(context.counters.failure(), Some(failure));
}

#[test]
fn a_quote_that_stays_open_costs_its_line() {
    let context = context(wire(WireFormat::Csv));
    let mut decoder = Decoder::new(&context, "tcp").unwrap();
    decoder.push(b"a,b\n1,2\n3,\"x\n4,5\n6,7\n8,\"9");
    decoder.settle();
    decoder.abandon();
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    while let Some(rows) = decoder.next_rows().unwrap() {
        good.extend((0..rows.batch.num_rows()).map(|row| crate::feed_support::show(&rows.batch, row)));
        bad.extend(rows.rejected);
    }
    assert_eq!(good, ["a=1.0 b=2.0", "a=4.0 b=5.0", "a=6.0 b=7.0"]);
    let bad: Vec<_> = bad.iter().map(|bad| (bad.line, bad.row.as_slice())).collect();
    assert_eq!(bad, [(3, &b"3,\"x"[..]), (6, b"8,\"9")]);
}

#[test]
fn a_header_is_line_one() {
    let context = context(wire(WireFormat::Csv));
    let mut decoder = Decoder::new(&context, "tcp").unwrap();
    decoder.push(b"a,b\n1,2\n");
    decoder.settle();
    assert_eq!(decoder.next_rows().unwrap().unwrap().batch.num_rows(), 1);
    for (text, line) in [("a,c\n1,2\n", 1), ("\n\na,c\n1,2\n", 3), ("a,a\n1,2\n", 1)] {
        let mut decoder = Decoder::new(&context, "tcp").unwrap();
        decoder.push(text.as_bytes());
        let bad = decoder.next_rows().unwrap().unwrap().rejected;
        assert_eq!(bad[0].line, line, "{bad:?}");
        let error = decoder.next_rows().unwrap_err().to_string();
        assert!(error.contains(&format!("line {line}:")), "{error}");
    }
}

#[test]
fn many_columns_are_settled_in_no_time() {
    let count = 150_000;
    let names: Vec<String> = (0..count).map(|i| format!("column {i}")).collect();
    let object = |name: &String| format!("\"{name}\":1");
    let row = format!("{{{}}}\n", names.iter().map(object).collect::<Vec<_>>().join(","));
    let began = Instant::now();
    for (format, text) in [
        (WireFormat::Ndjson, row),
        (
            WireFormat::Csv,
            format!("{}\n{}\n", names.join(","), vec!["1"; count].join(",")),
        ),
    ] {
        let mut options = wire(format);
        options.line_bytes_max = 8 << 20;
        let mut decoder = Decoder::new(&context(options), "tcp").unwrap();
        decoder.push(text.as_bytes());
        decoder.settle();
        assert_eq!(decoder.next_rows().unwrap().unwrap().batch.num_columns(), count);
    }
    // Each against each took minutes.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn datagrams_have_no_secrets() {
    let place = Place::new();
    let feed = |more: &str| {
        format!(
            "[feed]\ntype = \"udp\"\nlisten = \"127.0.0.1:0\"\nformat = \"ndjson\"\n{more}\n[rows]\ncolumns = [\"x\"]\n[[sink]]\n\
             type = \"stdout\"\n"
        )
    };
    for (option, value) in [
        ("token_file", "\"token\""),
        ("token_env", "\"TOKEN\""),
        ("tls", "{ certificate = \"c\", key = \"k\" }"),
    ] {
        place.write("run.toml", feed(&format!("{option} = {value}")));
        place
            .run(&["run", "run.toml"])
            .fails(78, &[option, "type udp has no such option"]);
    }
}

#[test]
fn a_token_is_the_first_line_of_its_file_at_both_ends() {
    let place = Place::new();
    place.write("token", "  correct-horse-battery-staple\r\n# for the feed\n");
    let security = Security {
        token: Some(Token::from_file(&place.path("token")).unwrap()),
        ..Security::default()
    };
    let context = context(wire(WireFormat::Csv));
    let mut source = HttpSource::open(&context, options(security), None).unwrap();
    let url = format!("http://{}/rows", source.address());
    let rows = ["generate", "--rows", "10", "--columns", "1", "--format", "csv"];
    let sent = place.run(&[&rows[..], &["--to", &url, "--token-file", "token"]].concat());
    assert_eq!(sent.status, 0, "{}", sent.stderr);
    let (mut count, until) = (0, Instant::now() + PATIENCE);
    while count < 10 {
        assert!(Instant::now() < until);
        if let millstream::io::Read::Batch(rows, _) = source.read().unwrap() {
            count += rows.count();
        }
    }
}
