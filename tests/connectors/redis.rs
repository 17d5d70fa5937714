//! Streams of a real Redis as feeds, and reports in it: right, whole, and there once, whatever becomes of the run, of the
//! group and of the server.

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
fn rows_of_every_format_are_right() {
    for format in ["csv", "ndjson", "binary", "arrow"] {
        let (place, mut stream) = (Place::new(), Stream::new());
        stream.add(&messages(&place, format));
        place.write("run.toml", format!("{}{ROWS}{FILE}{PAGES}", stream.feed(format)));
        let (running, pages) = started(&place);
        wait_for_rows(pages, ALL);
        ends_well(running);
        is_right(&place, "out.ndjson");
        // Without a state they are acknowledged when they are given.
        assert_eq!(stream.pending(), 0, "{format}");
    }
}

#[test]
fn a_killed_run_goes_on_and_no_row_is_lost_or_doubled() {
    let (place, mut stream) = (Place::new(), Stream::new());
    let messages = messages(&place, "csv");
    stream.add(&messages);
    place.write(
        "run.toml",
        format!("{}{ROWS}{DISTURBED}{FILE}{PAGES}", stream.feed("csv")),
    );
    let mut given = Vec::new();
    for millis in [5, 40, 90, 150, 250] {
        let (mut running, _) = started(&place);
        running.hear(Duration::from_millis(millis));
        running.kill();
        given.push(stream.pending());
    }
    assert!(
        given.iter().any(|pending| *pending > 0),
        "nothing was on its way: {given:?}"
    );
    let (running, pages) = started(&place);
    wait_for_rows(pages, ALL);
    // What a durable checkpoint has is acknowledged.
    wait_until("acknowledgements", || stream.pending() == 0);
    ends_well(running);
    close_windows(&place);
    is_right(&place, "out.ndjson");
}

#[test]
fn a_server_that_crashes_loses_nothing() {
    let (place, mut stream) = (Place::new(), Stream::new());
    let messages = messages(&place, "ndjson");
    let (first, second) = messages.split_at(messages.len() / 2);
    stream.add(first);
    let slow = DISTURBED.replace("20ms", "200ms");
    place.write(
        "run.toml",
        format!("{}{ROWS}{slow}{FILE}{PAGES}", stream.feed("ndjson")),
    );
    let (mut running, pages) = started(&place);
    wait_for("some rows", || counted(pages, "rows_in_total") > 0);
    stream.server.kill();
    running.says("it is tried again");
    stream.server.start();
    running.says("goes on");
    stream.client = client(&stream.server);
    stream.add(second);
    wait_for_rows(pages, ALL);
    ends_well(running);
    close_windows(&place);
    is_right(&place, "out.ndjson");
}

/// Entries that were given to somebody else, and a group that went back: each row counts once.
#[test]
fn what_is_given_again_counts_once() {
    let (place, mut stream) = (Place::new(), Stream::new());
    let messages = messages(&place, "csv");
    let name = stream.name.clone();
    let (first, rest) = messages.split_at(600);
    let (second, third) = rest.split_at(200);
    stream.add(first);
    stream.command(&["XGROUP", "CREATE", &name, "millstream", "0"]);
    let read = [
        "XREADGROUP",
        "GROUP",
        "millstream",
        "somebody",
        "COUNT",
        "100",
        "STREAMS",
        &name,
        ">",
    ];
    stream.command(&read);
    assert_eq!(stream.pending(), 100);
    place.write(
        "run.toml",
        format!("{}{ROWS}{DISTURBED}{FILE}{PAGES}", stream.feed("csv")),
    );
    let (running, pages) = started(&place);
    wait_for_rows(pages, 60_000);
    wait_until("acknowledgements", || stream.pending() == 0);
    ends_well(running);
    // All of it again, a tenth of it to somebody else.
    stream.command(&["XGROUP", "SETID", &name, "millstream", "0"]);
    stream.command(&read);
    stream.add(second);
    let (running, pages) = started(&place);
    wait_for_rows(pages, 80_000);
    // And while it runs.
    stream.command(&["XGROUP", "SETID", &name, "millstream", "0"]);
    stream.add(third);
    wait_for_rows(pages, ALL);
    wait_until("acknowledgements", || stream.pending() == 0);
    ends_well(running);
    close_windows(&place);
    is_right(&place, "out.ndjson");
}

/// The group goes away while the run goes on, and so does the stream.
#[test]
fn a_group_that_is_deleted_is_made_again_where_it_was() {
    let (place, mut stream) = (Place::new(), Stream::new());
    let messages = messages(&place, "csv");
    let name = stream.name.clone();
    stream.add(&messages[..300]);
    place.write(
        "run.toml",
        format!("{}{ROWS}{DISTURBED}{FILE}{PAGES}", stream.feed("csv")),
    );
    let (mut running, pages) = started(&place);
    wait_for_rows(pages, 30_000);
    stream.command(&["XGROUP", "DESTROY", &name, "millstream"]);
    stream.add(&messages[300..600]);
    wait_for_rows(pages, 60_000);
    running.says("goes on");
    stream.command(&["DEL", &name]);
    running.says("it is tried again");
    stream.add(&messages[600..]);
    wait_for_rows(pages, ALL);
    ends_well(running);
    close_windows(&place);
    is_right(&place, "out.ndjson");
    // A stream that ends before the checkpoint is another one.
    stream.command(&["DEL", &name]);
    stream.command(&["XADD", &name, "5-1", "rows", "1"]);
    place
        .run(&["run", "run.toml"])
        .fails(78, &["ends with 5-1", "--discard-state"]);
    place.run(&["validate", "run.toml"]);
}

#[test]
fn entries_are_messages_or_rows_and_bad_ones_are_named() {
    let (place, mut stream) = (Place::new(), Stream::new());
    let name = stream.name.clone();
    let add = |stream: &mut Stream, fields: &[&str]| {
        let words = [&["XADD", &name, "*"], fields].concat();
        let Value::BulkString(id) = stream.command(&words) else {
            panic!()
        };
        String::from_utf8(id).unwrap()
    };
    add(&mut stream, &["c0", "1.5", "key", "a", "other", "x", "ts", "1000"]);
    add(&mut stream, &["rows", "1001,a,2.5,1,1\n1002,\"b,\"\"c\",3,1,1"]);
    let bad = add(&mut stream, &["row", "1001,a,2.5,1,1"]);
    add(&mut stream, &["ts", "1003", "key", "b,\"c", "c0", "4"]);
    let gone = add(&mut stream, &["rows", "1004,a,1000,1,1"]);
    // Given to somebody, deleted, and never acknowledged.
    stream.command(&["XGROUP", "CREATE", &name, "millstream", "0"]);
    stream.command(&["XREADGROUP", "GROUP", "millstream", "somebody", "STREAMS", &name, ">"]);
    stream.command(&["XDEL", &name, &gone]);
    place.write("run.toml", format!("{}{ROWS}{FILE}{PAGES}", stream.feed("csv")));
    let (running, pages) = started(&place);
    wait_for_rows(pages, 5);
    wait_until("acknowledgements", || stream.pending() == 0);
    let said = ends_well(running);
    assert!(said.contains("1 entries were deleted"), "{said}");
    let bad_rows = std::fs::read_to_string(place.path("bad.ndjson")).unwrap();
    assert!(bad_rows.contains(&bad) && bad_rows.lines().count() == 1, "{bad_rows}");
    let reports = std::fs::read_to_string(place.path("out.ndjson")).unwrap();
    let means: Vec<String> = reports
        .lines()
        .map(|line| {
            let report: serde_json::Value = serde_json::from_str(line).unwrap();
            format!("{} {}", report["key"]["key"], report["columns"]["c0"]["mean"])
        })
        .collect();
    assert_eq!(means, ["\"a\" 2.0", "\"b,\\\"c\" 3.5"], "{reports}");
}

#[test]
fn a_feed_may_begin_with_what_comes() {
    let (place, mut stream) = (Place::new(), Stream::new());
    let messages = messages(&place, "csv");
    let before = ["1,1,1,1,1\n2,1,1,1,1".as_bytes().to_vec()];
    stream.add(&before);
    let feed = format!("{}start = \"latest\"\ngroup = \"mine\"\n", stream.feed("csv"));
    place.write("run.toml", format!("{feed}{ROWS}{FILE}{PAGES}"));
    let (mut running, pages) = started(&place);
    // The group is there by then.
    running.says("reads the stream");
    stream.add(&messages);
    wait_for_rows(pages, ALL);
    ends_well(running);
    is_right(&place, "out.ndjson");
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

const STATISTICS: &str = "[statistics]\nquantiles = [0.5]\n[[alert]]\nname = \"high\"\nwhen = \"c0.mean > 0\"\n";

/// A file that comes to Redis and to lines.
fn configured(place: &Place, stream: &Stream, more: &str) {
    let feed = "feed = { type = \"file\", path = \"feed.csv\" }\n";
    place.write(
        "run.toml",
        format!("{feed}{ROWS}{STATISTICS}{more}{}{FILE}", stream.sink()),
    );
}

fn with_rows() -> Place {
    let place = Place::new();
    generate(
        &place,
        COUNT,
        &["--format", "csv", "-o", "feed.csv", "--missing", "0.01"],
    );
    place
}

/// What the hashes are to be: the last report of each key, read from the lines.
fn latest(place: &Place, stream: &Stream) -> BTreeMap<String, BTreeMap<String, String>> {
    let text = std::fs::read_to_string(place.path("out.ndjson")).unwrap();
    let mut latest = BTreeMap::new();
    for line in text.lines() {
        let report: serde_json::Value = serde_json::from_str(line).unwrap();
        if report.get("alert").is_some() {
            continue;
        }
        let name = format!(
            "{}:latest:main:{}",
            stream.name,
            report["key"]["key"].to_string().trim_matches('"')
        );
        let mut hash = BTreeMap::new();
        hash.insert(
            "window_start".to_owned(),
            report["window"]["start"].as_str().unwrap().to_owned(),
        );
        hash.insert(
            "window_end".to_owned(),
            report["window"]["end"].as_str().unwrap().to_owned(),
        );
        hash.insert("rows".to_owned(), report["rows"].to_string());
        hash.insert("final".to_owned(), report["final"].to_string());
        for (column, numbers) in report["columns"].as_object().unwrap() {
            for (number, value) in numbers.as_object().unwrap() {
                let value = match number.as_str() {
                    "quantiles" => {
                        hash.insert(format!("{column}.quantiles.0.5"), value["0.5"].to_string());
                        continue;
                    }
                    _ => value.to_string(),
                };
                if value != "null" {
                    hash.insert(format!("{column}.{number}"), value);
                }
            }
        }
        latest.insert(name, hash);
    }
    latest
}

/// The hashes of the server, without what tells their order.
fn hashes(stream: &mut Stream) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut hashes = stream.hashes();
    hashes
        .values_mut()
        .for_each(|hash| assert!(hash.remove("order").is_some()));
    hashes
}

#[test]
fn reports_are_those_of_the_lines() {
    let (place, mut stream) = (with_rows(), Stream::new());
    configured(&place, &stream, "");
    let checked = place.run(&["validate", "run.toml"]);
    assert_eq!(checked.status, 0, "{}", checked.stderr);
    assert!(
        stream.reports().is_empty() && stream.hashes().is_empty(),
        "validate wrote something"
    );
    let mut listener = client(&stream.server);
    let mut listening = listener.as_pubsub();
    listening.subscribe(format!("{}:alerts", stream.name)).unwrap();
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    is_right(&place, "out.ndjson");
    let lines = std::fs::read_to_string(place.path("out.ndjson")).unwrap();
    assert!(stream.lines() == lines);
    let mut ids: Vec<String> = stream
        .reports()
        .iter()
        .map(|fields| format!("{} {}", fields[0], fields[3]))
        .collect();
    let all = ids.len();
    assert!(all > 500);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), all, "two reports have one id");
    let alerts: Vec<&str> = lines.lines().filter(|line| line.starts_with("{\"alert\"")).collect();
    assert!(!alerts.is_empty());
    listening.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    for alert in alerts {
        assert_eq!(listening.get_message().unwrap().get_payload::<String>().unwrap(), alert);
    }
    let expected = latest(&place, &stream);
    assert_eq!(expected.len(), 7);
    assert_eq!(hashes(&mut stream), expected);
    let (name, _) = expected.first_key_value().unwrap();
    let stays: i64 = redis::cmd("PTTL").arg(name).query(&mut stream.client).unwrap();
    assert!((3_000_000..=3_600_000).contains(&stays), "{stays}");

    // A hash that holds a later window stays, and nothing of one that is replaced.
    redis::cmd("HSET")
        .arg(name)
        .arg("order")
        .arg("ffff")
        .exec(&mut stream.client)
        .unwrap();
    let (other, _) = expected.last_key_value().unwrap();
    redis::cmd("HSET")
        .arg(other)
        .arg("old")
        .arg(1)
        .exec(&mut stream.client)
        .unwrap();
    redis::cmd("HSET")
        .arg(name)
        .arg("rows")
        .arg("later")
        .exec(&mut stream.client)
        .unwrap();
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let now = hashes(&mut stream);
    assert_eq!(now[name]["rows"], "later");
    assert_eq!(now[other], expected[other]);
}

#[test]
fn a_killed_run_leaves_every_report_once() {
    let (place, mut stream) = (with_rows(), Stream::new());
    let foreign = format!("{}:out", stream.name);
    stream.command(&[
        "XADD",
        &foreign,
        "*",
        "report",
        "of somebody else",
        "id",
        "x",
        "by",
        "0-9",
    ]);
    configured(&place, &stream, DISTURBED);
    let mut added = 0;
    for millis in [5, 40, 90, 150, 250] {
        let mut running = Running::start(&place, &["run", "run.toml"]);
        running.hear(Duration::from_millis(millis));
        running.kill();
        stream.command(&[
            "XADD",
            &foreign,
            "*",
            "report",
            "of somebody else",
            "id",
            "x",
            "by",
            "0-9",
        ]);
        // As if it had been written behind the checkpoint, by the same writer.
        let of_run = |fields: &Vec<String>| fields[5].split_once('-').map(|(writer, _)| writer.to_owned());
        let writer = stream
            .reports()
            .iter()
            .rev()
            .filter_map(of_run)
            .find(|writer| writer != "0");
        if let Some(writer) = writer {
            let by = format!("{writer}-1000000");
            stream.command(&["XADD", &foreign, "*", "report", "too much", "id", "x", "by", &by]);
            added += 1;
        }
    }
    assert!(added > 0, "every run was killed before it wrote anything");
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    is_right(&place, "out.ndjson");
    let lines = stream.lines();
    let (foreign, own): (Vec<&str>, Vec<&str>) = lines.lines().partition(|line| *line == "of somebody else");
    assert_eq!(foreign.len(), 6, "somebody else's entries were taken out");
    let expected = std::fs::read_to_string(place.path("out.ndjson")).unwrap();
    assert!(own.iter().copied().eq(expected.lines()));
    let expected = latest(&place, &stream);
    assert_eq!(hashes(&mut stream), expected);
}

#[test]
fn a_server_that_crashes_gets_what_it_missed() {
    let (place, mut stream) = (with_rows(), Stream::new());
    configured(&place, &stream, &format!("{DISTURBED}{PAGES}"));
    let config = std::fs::read_to_string(place.path("run.toml")).unwrap();
    place.write(
        "run.toml",
        config.replace("\"feed.csv\" }", "\"feed.csv\", follow = true }"),
    );
    let text = std::fs::read_to_string(place.path("feed.csv")).unwrap();
    let middle = text[..text.len() / 2].rfind('\n').unwrap() + 1;
    let mut file = std::fs::File::create(place.path("feed.csv")).unwrap();
    file.write_all(&text.as_bytes()[..middle]).unwrap();
    let (mut running, pages) = started(&place);
    wait_until("reports", || !stream.reports().is_empty());
    stream.server.kill();
    // Whatever is stored next finds nobody.
    file.write_all(&text.as_bytes()[middle..]).unwrap();
    running.says("tried again for a while");
    stream.server.start();
    running.says("goes on");
    wait_for_rows(pages, ALL);
    ends_well(running);
    place.write("run.toml", config);
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    is_right(&place, "out.ndjson");
    stream.client = client(&stream.server);
    assert!(stream.lines() == std::fs::read_to_string(place.path("out.ndjson")).unwrap());
    let expected = latest(&place, &stream);
    assert_eq!(hashes(&mut stream), expected);
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

#[test]
fn a_transaction_whose_answer_is_lost_is_not_done_twice() {
    let (place, mut stream) = (with_rows(), Stream::new());
    let (address, lost) = losing(&stream.server, b"EXEC", 0);
    configured(&place, &stream, DISTURBED);
    let config = std::fs::read_to_string(place.path("run.toml")).unwrap();
    let direct = format!("127.0.0.1:{}", stream.server.says("port"));
    place.write("run.toml", config.replace(&direct, &address.to_string()));
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert_eq!(lost.load(Ordering::SeqCst), 1);
    assert!(stream.lines() == std::fs::read_to_string(place.path("out.ndjson")).unwrap());
}

#[test]
fn entries_whose_answer_is_lost_are_read_again() {
    let (place, mut stream) = (Place::new(), Stream::new());
    stream.add(&messages(&place, "csv"));
    let (address, lost) = losing(&stream.server, b"XREADGROUP", 2);
    let direct = format!("127.0.0.1:{}", stream.server.says("port"));
    let feed = stream.feed("csv").replace(&direct, &address.to_string());
    place.write("run.toml", format!("{feed}{ROWS}{FILE}{PAGES}"));
    let (running, pages) = started(&place);
    wait_for_rows(pages, ALL);
    ends_well(running);
    assert_eq!(lost.load(Ordering::SeqCst), 1);
    is_right(&place, "out.ndjson");
}
