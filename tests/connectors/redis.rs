//! A real Redis: streams as feeds, and reports in it; and what both have in common.

mod feed;
mod page;
mod sink;

use crate::command::Place;
use crate::feed_support::wait_for;
use crate::runs::{PAGES, ROWS, Running, counted, generate, is_right, wait_for_rows};
use crate::server::Server;
use redis::{Connection, Value};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const COUNT: &str = "100000";
const ALL: u64 = 100_000;
const COLUMNS: &str = "columns = [\"ts\", \"key\", \"c0\", \"c1\", \"c2\"]\n";

/// A stream of its own in the server, and a client.
struct Stream {
    server: Server,
    name: String,
    client: Connection,
}

impl Stream {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let server = Server::named("redis");
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("test:{}:{number}", std::process::id());
        let client = client(&server);
        Self { server, name, client }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.server.says("port"))
    }

    /// How the server is reached, in a configuration.
    fn reached(&self) -> String {
        let password = self.server.path("password");
        format!("url = \"{}\"\npassword_file = \"{}\"\n", self.url(), password.display())
    }

    fn feed(&self, format: &str) -> String {
        let columns = if matches!(format, "csv" | "binary") {
            COLUMNS
        } else {
            ""
        };
        format!(
            "[feed]\ntype = \"redis\"\n{}stream = \"{}\"\nformat = \"{format}\"\n{columns}",
            self.reached(),
            self.name
        )
    }

    fn sink(&self) -> String {
        let name = &self.name;
        format!(
            "[[sink]]\ntype = \"redis\"\n{}stream = \"{name}:out\"\nhash = \"{name}:latest\"\nttl = \"1h\"\n\
             channel = \"{name}:alerts\"\n",
            self.reached()
        )
    }

    fn command(&mut self, words: &[&str]) -> Value {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query(&mut self.client).unwrap()
    }

    fn add(&mut self, messages: &[Vec<u8>]) {
        for messages in messages.chunks(500) {
            let mut pipe = redis::pipe();
            for message in messages {
                pipe.cmd("XADD")
                    .arg(&self.name)
                    .arg("*")
                    .arg("rows")
                    .arg(message.as_slice())
                    .ignore();
            }
            pipe.exec(&mut self.client).unwrap();
        }
    }

    /// Entries that were given and not acknowledged; none where there is no group.
    fn pending(&mut self) -> i64 {
        let mut command = redis::cmd("XPENDING");
        let answer: redis::RedisResult<(i64, Value, Value, Value)> =
            command.arg(&self.name).arg("millstream").query(&mut self.client);
        answer.map_or(0, |(pending, ..)| pending)
    }

    /// The entries of the stream of reports: names and values in turn.
    fn reports(&mut self) -> Vec<Vec<String>> {
        let name = format!("{}:out", self.name);
        let entries: Vec<(String, Vec<String>)> = redis::cmd("XRANGE")
            .arg(name)
            .arg("-")
            .arg("+")
            .query(&mut self.client)
            .unwrap();
        entries.into_iter().map(|(_, fields)| fields).collect()
    }

    /// The lines of the stream of reports, as the file sink writes them.
    fn lines(&mut self) -> String {
        let reports = self.reports();
        reports.iter().map(|fields| format!("{}\n", fields[1])).collect()
    }

    /// The hashes, without those of reports.
    fn hashes(&mut self) -> BTreeMap<String, BTreeMap<String, String>> {
        let pattern = format!("{}:latest:*", self.name);
        let names: Vec<String> = redis::cmd("KEYS").arg(pattern).query(&mut self.client).unwrap();
        let of = |name: String| {
            let hash: BTreeMap<String, String> = redis::cmd("HGETALL").arg(&name).query(&mut self.client).unwrap();
            (name, hash)
        };
        names.into_iter().map(of).collect()
    }
}

/// As `wait_for`, where the server has to be asked.
fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    let condition = std::cell::RefCell::new(condition);
    wait_for(what, || (*condition.borrow_mut())());
}

fn client(server: &Server) -> Connection {
    let url = format!("redis://:{}@127.0.0.1:{}", server.says("password"), server.says("port"));
    redis::Client::open(url).unwrap().get_connection().unwrap()
}

/// The rows of a feed with exact expectations, in messages of 100 rows.
fn messages(place: &Place, format: &str) -> Vec<Vec<u8>> {
    generate(place, COUNT, &["--format", format, "-o", "feed"]);
    let bytes = std::fs::read(place.path("feed")).unwrap();
    match format {
        "arrow" => vec![bytes],
        "binary" => {
            let (mut rows, mut rest) = (Vec::new(), &bytes[..]);
            while let Some((length, behind)) = rest.split_first_chunk::<4>() {
                let (payload, behind) = behind.split_at(u32::from_le_bytes(*length) as usize);
                rows.extend_from_slice(payload);
                rest = behind;
            }
            let frame = |rows: &[u8]| [&(rows.len() as u32).to_le_bytes()[..], rows].concat();
            rows.chunks(100 * 5 * 8).map(frame).collect()
        }
        _ => {
            let text = String::from_utf8(bytes).unwrap();
            let lines: Vec<&str> = text.lines().skip(usize::from(format == "csv")).collect();
            lines.chunks(100).map(|lines| lines.join("\n").into_bytes()).collect()
        }
    }
}

/// Slow enough to be disturbed, with a checkpoint now and then.
const DISTURBED: &str =
    "[state]\ndirectory = \"state\"\ninterval = \"20ms\"\n[engine]\nbatch_rows = 500\nbatch_delay = \"1ms\"\n";
const FILE: &str = "[[sink]]\ntype = \"file\"\npath = \"out.ndjson\"\n[limits]\nquarantine = \"bad.ndjson\"\n";

fn started(place: &Place) -> (Running, SocketAddr) {
    let mut running = Running::start(place, &["run", "run.toml"]);
    let pages = running.pages();
    (running, pages)
}

fn ends_well(running: Running) -> String {
    running.signal("-TERM");
    let (status, said) = running.end();
    assert_eq!(status, 0, "{said}");
    said
}

/// The windows that a signal left open in the state close at the end of an input without rows.
fn close_windows(place: &Place) {
    let config = std::fs::read_to_string(place.path("run.toml")).unwrap();
    let rows = config.find("[rows]").unwrap();
    let config = format!("[feed]\ntype = \"stdin\"\nformat = \"csv\"\n{}", &config[rows..]);
    place.write("close.toml", config);
    let ran = place.run(&["run", "close.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
}

#[test]
fn what_is_wrong_is_said_before_a_row_is_taken() {
    let (place, mut stream) = (Place::new(), Stream::new());
    let name = stream.name.clone();
    stream.add(&[b"1,1,1,1,1".to_vec()]);
    place.write("wrong", "not the password\n");
    place.write("feed.csv", "ts,key,c0,c1,c2\n1,1,1,1,1\n");
    let key = format!("{name}:text");
    stream.command(&["SET", &key, "x"]);
    let user = format!("reader{}", std::process::id());
    let rights = [
        "ACL", "SETUSER", &user, "on", ">x", "~*", "+ping", "+select", "+xinfo", "+type", "+acl",
    ];
    stream.command(&rights);
    place.write("x", "x\n");
    let url = stream.url();
    let password = stream.server.path("password").display().to_string();
    let far = "redis://192.0.2.1:6379";
    let secret = "redis://u:secret@127.0.0.1:6379";
    let as_user = url.replace("//", &format!("//{user}@"));
    for (url, password, there, words) in [
        (
            url.as_str(),
            "wrong",
            name.as_str(),
            "does not let in `default` with this password",
        ),
        (&url, "", &name, "without a password"),
        (
            &url,
            &password,
            "test:no such stream",
            "no stream `test:no such stream`",
        ),
        (&url, &password, &key, "already"),
        ("redis://127.0.0.1:1", &password, &name, "refused"),
        (far, &password, &name, "insecure = true"),
        (secret, &password, &name, "password_file"),
        ("nonsense", &password, &name, "redis://USER@HOST:PORT/DB"),
        (&as_user, "x", &name, "permission"),
    ] {
        let reached = match password {
            "" => format!("url = \"{url}\"\n"),
            password => format!("url = \"{url}\"\npassword_file = \"{password}\"\n"),
        };
        let feed = format!("[feed]\ntype = \"redis\"\n{reached}stream = \"{there}\"\nformat = \"csv\"\n{COLUMNS}");
        let sink = format!(
            "[feed]\ntype = \"file\"\npath = \"feed.csv\"\n{ROWS}[[sink]]\ntype = \"redis\"\n{reached}stream = \"{there}\"\n"
        );
        let sink = sink.replace("stream = \"test:no such stream\"\n", "");
        for config in [format!("{feed}{ROWS}{FILE}"), sink] {
            let is_sink = config.contains("[[sink]]\ntype = \"redis\"");
            if is_sink && words.contains("no such stream") {
                continue;
            }
            place.write("run.toml", &config);
            for command in ["validate", "run"] {
                let ran = place.run(&[command, "run.toml"]);
                if is_sink || command == "validate" || words != "permission" {
                    ran.fails(78, &[words]);
                } else {
                    ran.fails(78, &["may not do"]);
                }
                assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
            }
        }
    }
    // Nothing was made meanwhile.
    let Value::Array(groups) = stream.command(&["XINFO", "GROUPS", &name]) else {
        panic!()
    };
    assert!(groups.is_empty());
    let length: i64 = redis::cmd("XLEN").arg(&name).query(&mut stream.client).unwrap();
    assert_eq!(length, 1);
}

#[test]
fn a_certificate_is_trusted_if_its_authority_is() {
    let (place, mut stream) = (Place::new(), Stream::new());
    stream.add(&messages(&place, "csv"));
    let plain = format!("{}{ROWS}{FILE}{PAGES}{}", stream.feed("csv"), stream.sink());
    let with = |authority: &Path| {
        let (port, tls_port) = (stream.server.says("port"), stream.server.says("tls_port"));
        let ca = format!("type = \"redis\"\nca_file = \"{}\"\n", authority.display());
        plain
            .replace(&format!(":{port}/"), &format!(":{tls_port}/"))
            .replace("type = \"redis\"\n", &ca)
    };
    let other = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    place.write("other.pem", other.cert.pem());
    place.write("run.toml", with(&place.path("other.pem")));
    for command in ["validate", "run"] {
        place.run(&[command, "run.toml"]).fails(78, &["certificate"]);
    }
    place.write("run.toml", with(&stream.server.path("ca.pem")));
    let checked = place.run(&["validate", "run.toml"]);
    assert_eq!(checked.status, 0, "{}", checked.stderr);
    let (running, pages) = started(&place);
    wait_for_rows(pages, ALL);
    ends_well(running);
    is_right(&place, "out.ndjson");
    assert_eq!(
        stream.lines(),
        std::fs::read_to_string(place.path("out.ndjson")).unwrap()
    );
}

/// A way to the server on which one answer to a command, and the connection with it, is lost: the one after `number`.
fn losing(server: &Server, command: &'static [u8], number: u32) -> (SocketAddr, Arc<AtomicU32>) {
    let port: u16 = server.says("port").parse().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (all, lost) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let answers_lost = Arc::clone(&lost);
    std::thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let (mut near, mut far) = (near, TcpStream::connect(("127.0.0.1", port)).unwrap());
            let (mut answers, mut to) = (far.try_clone().unwrap(), near.try_clone().unwrap());
            let (count, lost, before) = (Arc::clone(&all), Arc::clone(&lost), all.load(Ordering::SeqCst));
            std::thread::spawn(move || {
                let mut bytes = vec![0; 1 << 16];
                while let Ok(length @ 1..) = answers.read(&mut bytes) {
                    // The server has done it.
                    if before <= number && count.load(Ordering::SeqCst) > number {
                        lost.fetch_add(1, Ordering::SeqCst);
                        let _ = to.shutdown(Shutdown::Both);
                        return;
                    }
                    to.write_all(&bytes[..length]).unwrap();
                }
            });
            let count = Arc::clone(&all);
            std::thread::spawn(move || {
                let mut bytes = vec![0; 1 << 20];
                while let Ok(length @ 1..) = near.read(&mut bytes) {
                    if bytes[..length].windows(command.len()).any(|word| word == command) {
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                    far.write_all(&bytes[..length]).unwrap();
                }
            });
        }
    });
    (address, answers_lost)
}
