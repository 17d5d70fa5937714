//! `millstream run` over datagrams, pages that are asked again, TLS, and several feeds at once.

use crate::command::Place;
use crate::feed_support::wait_for;
use crate::http_client::is_closed;
use crate::run_rows::{lines, reports};
use crate::runs::{PAGES, ROWS, Running, counted, counted_of, generate, is_right, wait_for_rows};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

#[test]
fn datagrams_come_to_the_exact_reports() {
    let place = Place::new();
    generate(&place, "6000", &["--format", "csv", "-o", "feed.csv"]);
    let config = format!(
        "[feed]\ntype = \"udp\"\nlisten = \"127.0.0.1:0\"\nformat = \"csv\"\n\
         columns = [\"ts\", \"key\", \"c0\", \"c1\", \"c2\"]\n{ROWS}{PAGES}[[sink]]\ntype = \"file\"\npath = \"out.ndjson\"\n"
    );
    place.write("run.toml", config);
    let mut running = Running::start(&place, &["run", "run.toml"]);
    let pages = running.pages();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(running.address("listens on udp")).unwrap();
    let text = std::fs::read_to_string(place.path("feed.csv")).unwrap();
    let mut sent = 0;
    for datagram in lines(&text).1.chunks(400) {
        // The next one only when this is in: what the system drops nobody sees.
        socket.send(datagram.concat().as_bytes()).unwrap();
        sent += datagram.len() as u64;
        wait_for_rows(pages, sent);
    }
    running.signal("-TERM");
    let (status, said) = running.end();
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("rows in 6000 = aggregated 6000 "), "{said}");
    is_right(&place, "out.ndjson");
}

/// A server whose page has a tag: a question with that tag is answered that nothing has changed.
struct Latest {
    address: std::net::SocketAddr,
    /// The body, and which one it is.
    page: Arc<Mutex<(String, u64)>>,
    is_broken: Arc<AtomicBool>,
    unchanged: Arc<AtomicUsize>,
    without_secret: Arc<AtomicUsize>,
}

impl Latest {
    fn serve(first: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let latest = Self {
            address: listener.local_addr().unwrap(),
            page: Arc::new(Mutex::new((first, 0))),
            is_broken: Arc::default(),
            unchanged: Arc::default(),
            without_secret: Arc::default(),
        };
        let (page, unchanged) = (Arc::clone(&latest.page), Arc::clone(&latest.unchanged));
        let without_secret = Arc::clone(&latest.without_secret);
        let is_broken = Arc::clone(&latest.is_broken);
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let mut socket = socket.unwrap();
                let mut head = String::new();
                let mut lines = BufReader::new(socket.try_clone().unwrap());
                while !head.ends_with("\r\n\r\n") && lines.read_line(&mut head).unwrap() > 0 {}
                let head = head.to_ascii_lowercase();
                if !head.contains("\r\nx-secret: open sesame\r\n") {
                    without_secret.fetch_add(1, Ordering::SeqCst);
                }
                let (body, number) = page.lock().unwrap().clone();
                let tag = format!("\"v{number}\"");
                let (status, body) = match head.contains(&format!("\r\nif-none-match: {tag}\r\n")) {
                    true => {
                        unchanged.fetch_add(1, Ordering::SeqCst);
                        ("304 Not Modified", String::new())
                    }
                    false if is_broken.load(Ordering::SeqCst) => ("503 Service Unavailable", String::new()),
                    false => ("200 OK", body),
                };
                let answer = format!(
                    "HTTP/1.1 {status}\r\nETag: {tag}\r\nContent-Type: text/csv\r\nConnection: close\r\n\
                     Content-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                // Who asked may be gone by now.
                let _ = socket.write_all(answer.as_bytes());
            }
        });
        latest
    }
}

#[test]
fn a_page_that_is_asked_again_gives_its_rows_once() {
    let place = Place::new();
    generate(&place, "4000", &["--format", "csv", "-o", "feed.csv"]);
    let text = std::fs::read_to_string(place.path("feed.csv")).unwrap();
    let (header, rows) = lines(&text);
    let bodies: Vec<String> = rows
        .chunks(800)
        .map(|rows| format!("{header}\n{}", rows.concat()))
        .collect();
    let latest = Latest::serve(bodies[0].clone());
    latest.is_broken.store(true, Ordering::SeqCst);
    place.write("headers.txt", "# of the server\nX-Secret: open sesame\n");
    let config = format!(
        "[feed]\ntype = \"http_poll\"\nurl = \"http://{}/latest?key=abracadabra\"\ninterval = \"5ms\"\nheaders_file = \"headers.txt\"\n\
         format = \"csv\"\n{ROWS}{PAGES}[[sink]]\ntype = \"file\"\npath = \"out.ndjson\"\n",
        latest.address
    );
    place.write("run.toml", config);
    let mut running = Running::start(&place, &["run", "run.toml"]);
    let pages = running.pages();
    let trouble = running.says("it is tried again until it succeeds");
    assert!(
        trouble.contains("feed `main`: http_poll http://") && trouble.contains("503"),
        "{trouble}"
    );
    latest.is_broken.store(false, Ordering::SeqCst);
    running.says("feed `main`: goes on");
    for (number, body) in bodies.iter().enumerate() {
        *latest.page.lock().unwrap() = (body.clone(), number as u64);
        wait_for_rows(pages, 800 * (number as u64 + 1));
        let before = latest.unchanged.load(Ordering::SeqCst);
        wait_for("the same question again", || {
            latest.unchanged.load(Ordering::SeqCst) >= before + 3
        });
    }
    running.signal("-TERM");
    let (status, said) = running.end();
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("rows in 4000 = aggregated 4000 "), "{said}");
    assert!(!said.contains("open sesame") && !said.contains("abracadabra"), "{said}");
    assert_eq!(latest.without_secret.load(Ordering::SeqCst), 0);
    is_right(&place, "out.ndjson");
}

/// Several feeds keep apart: each has its reports, its counts and its rows that cannot be read.
#[test]
fn several_feeds_run_beside_each_other() {
    let place = Place::new();
    let made = [("left", "11", "9000"), ("right", "12", "7000"), ("wire", "13", "5000")];
    for (name, seed, rows) in made {
        let expected = format!("{name}.expected");
        let mut args = vec![
            "generate",
            "--columns",
            "3",
            "--keys",
            "7",
            "--step",
            "1ms",
            "--disorder",
            "300ms",
        ];
        args.extend([
            "--window",
            "1s",
            "--lateness",
            "500ms",
            "--format",
            "csv",
            "--bad-rows",
            "0.002",
        ]);
        args.extend(["--rows", rows, "--seed", seed, "--expect", &expected, "-o", name]);
        assert_eq!(place.run(&args).status, 0);
    }
    let config = format!(
        "[[feed]]\nname = \"left\"\ntype = \"file\"\npath = \"left\"\nformat = \"csv\"\n\
         [[feed]]\nname = \"right\"\ntype = \"file\"\npath = \"right\"\nformat = \"csv\"\n\
         [[feed]]\nname = \"wire\"\ntype = \"tcp\"\nlisten = \"127.0.0.1:0\"\nformat = \"csv\"\n{ROWS}{PAGES}\
         [engine]\nbatch_rows = 300\n[limits]\nquarantine = \"bad.ndjson\"\n[[sink]]\ntype = \"file\"\npath = \"out.ndjson\"\n"
    );
    place.write("run.toml", config);
    let mut running = Running::start(&place, &["run", "run.toml"]);
    let pages = running.pages();
    let mut sender = TcpStream::connect(running.address("listens on tcp")).unwrap();
    sender.write_all(&std::fs::read(place.path("wire")).unwrap()).unwrap();
    drop(sender);
    let of = |name: &str| counted_of(pages, "rows_in_total", name);
    wait_for("the rows", || {
        [of("left"), of("right"), of("wire")] == [9000, 7000, 5000]
    });
    running.signal("-TERM");
    let (status, said) = running.end();
    assert_eq!(status, 0, "{said}");
    let all = reports(&place, "out.ndjson");
    let mut bad = 0;
    for (name, _, rows) in made {
        let own: Vec<String> = all
            .iter()
            .filter(|report| report["feed"] == name)
            .map(Value::to_string)
            .collect();
        let expected = std::fs::read_to_string(place.path(&format!("{name}.expected"))).unwrap();
        let verdict = millstream::generate::verify::compare(expected.as_bytes(), own.join("\n").as_bytes()).unwrap();
        assert!(verdict.is_right(), "{name}: {verdict:?}");
        let counts: Value = serde_json::from_str(expected.lines().last().unwrap()).unwrap();
        let (aggregated, quarantined) = (
            &counts["conservation"]["aggregated"],
            &counts["conservation"]["quarantined"],
        );
        let said_of = format!(
            "feed `{name}`: rows in {rows} = aggregated {aggregated} + filtered 0 + late 0 + quarantined {quarantined} + "
        );
        assert!(said.contains(&said_of), "{said_of} in {said}");
        bad += quarantined.as_u64().unwrap();
    }
    assert!(bad > 10);
    assert_eq!(reports(&place, "bad.ndjson").len() as u64, bad);
}

const TOKEN: &str = "correct-horse-battery-staple";

/// A feed of this type that wants TLS and a token, with the files that it and its senders need; what they trust.
fn guarded(place: &Place, kind: &str) -> rustls::RootCertStore {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    place.write("cert.pem", made.cert.pem());
    place.write("key.pem", made.signing_key.serialize_pem());
    place.write("token", format!("{TOKEN}\n"));
    place.write("other-token", "incorrect-horse-battery-staple\n");
    let config = format!(
        "[feed]\ntype = \"{kind}\"\nlisten = \"127.0.0.1:0\"\nformat = \"csv\"\ntoken_file = \"token\"\n\
         tls = {{ certificate = \"cert.pem\", key = \"key.pem\" }}\n{ROWS}{PAGES}\
         [limits]\nidle_connection = \"2s\"\n[[sink]]\ntype = \"file\"\npath = \"out.ndjson\"\n"
    );
    place.write("run.toml", config);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    roots
}

/// A connection with TLS to a server that is trusted.
fn encrypted(roots: &rustls::RootCertStore, address: &str) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    let client = rustls::ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    rustls::StreamOwned::new(client, TcpStream::connect(address).unwrap())
}

#[test]
fn rows_over_tls_need_the_token() {
    let place = Place::new();
    let roots = guarded(&place, "tcp");
    generate(&place, "8000", &["--format", "csv", "-o", "feed.csv"]);
    let feed = std::fs::read_to_string(place.path("feed.csv")).unwrap();
    let mut running = Running::start(&place, &["run", "run.toml"]);
    let pages = running.pages();
    let address = running.address("listens on tcp");
    let refused = || counted(pages, "refused_total");
    for first in ["token incorrect-horse-battery-staple\n", "token \n", ""] {
        let before = refused();
        let mut sender = encrypted(&roots, &address);
        // It may be closed before all of it is sent.
        let _ = sender.write_all(format!("{first}{feed}").as_bytes());
        wait_for("the refusal", || refused() > before);
    }
    // Who does not trust the certificate sends nothing, and who speaks no TLS is not heard, with the token or without.
    let mut stranger = encrypted(&rustls::RootCertStore::empty(), &address);
    assert!(
        stranger
            .write_all(feed.as_bytes())
            .and_then(|()| stranger.flush())
            .is_err()
    );
    let mut plain = TcpStream::connect(&address).unwrap();
    let _ = plain.write_all(format!("token {TOKEN}\n{feed}").as_bytes());
    assert!(is_closed(plain));
    assert_eq!(counted(pages, "rows_in_total"), 0);

    let mut sender = encrypted(&roots, &address);
    sender.write_all(format!("token {TOKEN}\n{feed}").as_bytes()).unwrap();
    sender.conn.send_close_notify();
    sender.flush().unwrap();
    wait_for_rows(pages, 8000);
    running.signal("-TERM");
    let (status, said) = running.end();
    assert_eq!(status, 0, "{said}");
    assert!(
        said.contains("rows in 8000 = aggregated 8000 ") && !said.contains(TOKEN),
        "{said}"
    );
    is_right(&place, "out.ndjson");
}

#[test]
fn bodies_over_https_need_the_token() {
    let place = Place::new();
    guarded(&place, "http");
    let mut running = Running::start(&place, &["run", "run.toml"]);
    let pages = running.pages();
    let address = running.address("listens on http");
    let url = format!("https://{address}/rows");
    let to = |token: &str, authorities: &str| {
        let mut args = vec![
            "generate",
            "--rows",
            "100",
            "--columns",
            "3",
            "--keys",
            "7",
            "--to",
            &url,
        ];
        args.extend(["--token-file", token, "--authorities", authorities, "--retry", "1ms"]);
        place.run(&args)
    };
    to("other-token", "cert.pem").fails(1, &["401"]);
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    place.write("other.pem", other.cert.pem());
    to("token", "other.pem").fails(1, &["certificate"]);
    assert_eq!(counted(pages, "rows_in_total"), 0);
    let more = [
        "--to",
        &url,
        "--token-file",
        "token",
        "--authorities",
        "cert.pem",
        "--batch-rows",
        "500",
    ];
    generate(&place, "8000", &more);
    wait_for_rows(pages, 8000);
    running.signal("-TERM");
    let (status, said) = running.end();
    assert_eq!(status, 0, "{said}");
    assert!(
        said.contains("rows in 8000 = aggregated 8000 ") && !said.contains(TOKEN),
        "{said}"
    );
    is_right(&place, "out.ndjson");
}
