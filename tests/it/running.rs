//! `millstream run` from outside: the real command over files and sockets, its reports against exact expectations and
//! against `analyze`, killed at any moment and started again.

use crate::command::Place;
use crate::feed_support::{PATIENCE, wait_for};
use crate::random::Random;
use millstream::generate::verify::compare;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// A run of the command that goes on until it ends or is ended.
struct Running {
    child: Child,
    /// Lines of standard error.
    said: Receiver<String>,
    heard: Vec<String>,
}

impl Running {
    fn start(place: &Place, args: &[&str]) -> Self {
        Self::begin(place.command(args))
    }

    fn begin(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (say, said) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if say.send(line).is_err() {
                    break;
                }
            }
        });
        let heard = Vec::new();
        Self { child, said, heard }
    }

    /// Waits for a line with these words; the line.
    fn says(&mut self, words: &str) -> String {
        loop {
            let line = self.said.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|e| panic!("no `{words}` ({e}) after {:?}", self.heard));
            self.heard.push(line.clone());
            if line.contains(words) {
                return line;
            }
        }
    }

    /// The address behind these words.
    fn address(&mut self, words: &str) -> String {
        let line = self.says(words);
        line.split_whitespace().last().unwrap().to_owned()
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the end: status and everything that was said.
    fn end(mut self) -> (i32, String) {
        let status = self.child.wait().unwrap().code().unwrap_or(-1);
        self.heard.extend(self.said.iter());
        (status, self.heard.join("\n"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has mostly ended; if a test has failed, it has not.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A feed of files, and what is to come of it.
fn generate(place: &Place, rows: &str, more: &[&str]) {
    let mut args = vec![
        "generate",
        "--rows",
        rows,
        "--columns",
        "3",
        "--keys",
        "7",
        "--seed",
        "5",
        "--step",
        "1ms",
        "--disorder",
        "300ms",
        "--window",
        "1s",
        "--lateness",
        "500ms",
        "--expect",
        "expected.ndjson",
    ];
    args.extend(more);
    let made = place.run(&args);
    assert_eq!(made.status, 0, "{}", made.stderr);
}

const ROWS: &str = "[rows]\ntime = \"ts\"\nkey = [\"key\"]\ncolumns = [\"c0\", \"c1\", \"c2\"]\n[window]\nsize = \"1s\"\nlateness = \"500ms\"\n";

fn is_right(place: &Place, reports: &str) {
    let open = |name: &str| BufReader::new(std::fs::File::open(place.path(name)).unwrap());
    let verdict = compare(open("expected.ndjson"), open(reports)).unwrap();
    assert!(verdict.is_right(), "{verdict:?}");
}

#[test]
fn a_file_comes_to_the_exact_reports_and_every_row_is_accounted_for() {
    let place = Place::new();
    generate(
        &place,
        "60000",
        &[
            "--format",
            "csv",
            "-o",
            "feed.csv",
            "--bad-rows",
            "0.001",
            "--missing",
            "0.01",
        ],
    );
    let config = format!(
        "{ROWS}[feed]\ntype = \"file\"\npath = \"feed.csv\"\n[limits]\nquarantine = \"bad.ndjson\"\n\
         [[sink]]\ntype = \"file\"\npath = \"out.ndjson\"\n"
    );
    place.write("run.toml", config);
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    is_right(&place, "out.ndjson");
    let bad = std::fs::read_to_string(place.path("bad.ndjson"))
        .unwrap()
        .lines()
        .count();
    assert!(
        bad > 10 && ran.stderr.contains(&format!("quarantined {bad} ")),
        "{bad} {}",
        ran.stderr
    );
    assert!(ran.stderr.contains("rows in 60000 = aggregated "), "{}", ran.stderr);
}

/// The same rows through `analyze` give the same digits, disordered as they are, for tumbling and sliding windows.
#[test]
fn analyze_and_run_give_the_same_reports() {
    for window in [
        &["--window", "1s"][..],
        &["--window", "2s", "--slide", "500ms"],
        &["--window", "1000 rows"],
    ] {
        let place = Place::new();
        generate(&place, "20000", &["--format", "csv", "-o", "feed.csv"]);
        let mut args = vec![
            "analyze",
            "feed.csv",
            "--time",
            "ts",
            "--time-unit",
            "ms",
            "--by",
            "key",
            "--format",
            "ndjson",
        ];
        args.extend(["--stats", "moments,covariance,differences", "--columns", "c0,c1,c2"]);
        args.extend(window);
        let analyzed = place.run(&args);
        assert_eq!(analyzed.status, 0, "{}", analyzed.stderr);
        let slide = window
            .get(3)
            .map_or(String::new(), |slide| format!("slide = \"{slide}\"\n"));
        for (batch_rows, threads) in [("65536", "1"), ("997", "3")] {
            let config = format!(
                "feed = {{ type = \"file\", path = \"feed.csv\" }}\n[rows]\ntime = \"ts\"\nkey = [\"key\"]\n\
                 columns = [\"c0\", \"c1\", \"c2\"]\n[window]\nsize = \"{}\"\n{slide}lateness = \"10s\"\n\
                 [statistics]\ncovariance = true\ndifferences = true\n\
                 [engine]\nbatch_rows = {batch_rows}\nbatch_delay = \"1ms\"\n[[sink]]\ntype = \"stdout\"\n",
                window[1]
            );
            place.write("run.toml", config);
            let ran = place.run(&["run", "run.toml", "--threads", threads]);
            assert_eq!(ran.status, 0, "{}", ran.stderr);
            let group = |line: &str| {
                let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
                let object = value.as_object_mut().unwrap();
                for name in ["feed", "final", "revision", "part"] {
                    assert!(object.remove(name).is_some());
                }
                value.to_string()
            };
            let mut found: Vec<String> = ran.text().lines().map(group).collect();
            let parsed = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap().to_string();
            let mut expected: Vec<String> = analyzed.text().lines().map(parsed).collect();
            // Windows of rows close key by key.
            found.sort();
            expected.sort();
            assert!(found.len() > 20);
            assert_eq!(found, expected, "{window:?} {batch_rows} {threads}");
        }
    }
}

fn with_state(place: &Place, feed: &str) {
    let config = format!(
        "{feed}{ROWS}[state]\ndirectory = \"state\"\ninterval = \"1ms\"\njournal = true\n\
         [engine]\nbatch_rows = 500\nbatch_delay = \"1ms\"\n[limits]\nquarantine = \"bad.ndjson\"\n\
         [[sink]]\ntype = \"file\"\npath = \"out.ndjson\"\n[[sink]]\ntype = \"sqlite\"\npath = \"out.db\"\n"
    );
    place.write("run.toml", config);
}

/// What a run that nothing disturbs leaves.
fn undisturbed(place: &Place) -> Vec<u8> {
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let whole = std::fs::read(place.path("out.ndjson")).unwrap();
    for name in place.names() {
        if name == "state" {
            std::fs::remove_dir_all(place.path(&name)).unwrap();
        } else if name.starts_with("out.") || name == "bad.ndjson" {
            std::fs::remove_file(place.path(&name)).unwrap();
        }
    }
    whole
}

/// Killed again and again at random moments, the run leaves byte for byte what it leaves undisturbed.
#[test]
fn a_file_survives_kills_at_any_moment() {
    let kills = std::env::var("MILLSTREAM_KILLS").map_or(20, |n| n.parse().unwrap());
    let place = Place::new();
    generate(
        &place,
        "120000",
        &["--format", "csv", "-o", "feed.csv", "--bad-rows", "0.001"],
    );
    with_state(&place, "[feed]\ntype = \"file\"\npath = \"feed.csv\"\n");
    let whole = undisturbed(&place);
    is_right_bytes(&place, &whole);
    let mut random = Random::new(11);
    let mut killed = 0;
    for _ in 0..kills {
        let mut running = Running::start(&place, &["run", "run.toml"]);
        let millis = random.below(60);
        // If it has ended, or said something, a little earlier is as good a moment.
        if let Ok(line) = running.said.recv_timeout(Duration::from_millis(millis)) {
            running.heard.push(line);
        }
        if running.child.try_wait().unwrap().is_none() {
            killed += 1;
        }
        running.signal_if_running("-KILL");
        running.end();
    }
    assert!(killed > 0);
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert!(
        std::fs::read(place.path("out.ndjson")).unwrap() == whole,
        "after {killed} kills: {}",
        ran.stderr
    );
    assert!(ran.stderr.contains("rows in 120000 = "), "{}", ran.stderr);
}

fn is_right_bytes(place: &Place, reports: &[u8]) {
    std::fs::write(place.path("whole.ndjson"), reports).unwrap();
    is_right(place, "whole.ndjson");
}

impl Running {
    fn signal_if_running(&mut self, signal: &str) {
        if self.child.try_wait().unwrap().is_none() {
            self.signal(signal);
        }
    }
}

/// A crash before and after every step of writing: the next run goes on, and nothing is missing or twice.
#[test]
fn a_crash_at_every_step_loses_nothing() {
    let place = Place::new();
    generate(&place, "40000", &["--format", "csv", "-o", "feed.csv"]);
    with_state(&place, "[feed]\ntype = \"file\"\npath = \"feed.csv\"\n");
    let whole = undisturbed(&place);
    for point in [
        "sink-before-write",
        "sink-after-write",
        "checkpoint-before-write",
        "checkpoint-before-fsync",
        "checkpoint-before-rename",
        "checkpoint-after-rename",
        "checkpoint-after-fsync",
    ] {
        for skipped in [0, 1] {
            let mut command = place.command(&["run", "run.toml"]);
            command.env("FAILPOINTS", format!("{point}={skipped}*off->return"));
            let (status, said) = Running::begin(command).end();
            assert_ne!(status, 0, "{point} was not passed: {said}");
            assert!(!said.contains("done:"), "{said}");
        }
        let ran = place.run(&["run", "run.toml"]);
        assert_eq!(ran.status, 0, "{point}: {}", ran.stderr);
        assert!(
            std::fs::read(place.path("out.ndjson")).unwrap() == whole,
            "{point}: {}",
            ran.stderr
        );
        assert!(undisturbed_again(&place) == whole);
    }
}

/// The place as new, and what an undisturbed run leaves.
fn undisturbed_again(place: &Place) -> Vec<u8> {
    std::fs::remove_dir_all(place.path("state")).unwrap();
    for name in place.names() {
        if name.starts_with("out.") || name == "bad.ndjson" {
            std::fs::remove_file(place.path(&name)).unwrap();
        }
    }
    undisturbed(place)
}

#[test]
fn rows_over_tcp_come_to_the_exact_reports() {
    for format in ["csv", "ndjson", "arrow", "binary"] {
        let place = Place::new();
        let columns = match format {
            "binary" => "columns = [\"ts\", \"key\", \"c0\", \"c1\", \"c2\"]\n",
            _ => "",
        };
        let config = format!(
            "[feed]\ntype = \"tcp\"\nlisten = \"127.0.0.1:0\"\nformat = \"{format}\"\n{columns}{ROWS}\
             [[sink]]\ntype = \"file\"\npath = \"out.ndjson\"\n"
        );
        place.write("run.toml", config);
        let mut running = Running::start(&place, &["run", "run.toml"]);
        let address = running.address("listens on tcp");
        generate(
            &place,
            "30000",
            &["--format", format, "--to", &format!("tcp://{address}")],
        );
        running.signal("-TERM");
        let (status, said) = running.end();
        assert_eq!(status, 0, "{said}");
        assert!(said.contains("rows in 30000 = aggregated "), "{format}: {said}");
        is_right(&place, "out.ndjson");
    }
}

/// Bodies that were acknowledged are there after a kill, and those that are sent again count once.
#[test]
fn http_survives_kills() {
    let place = Place::new();
    with_state(
        &place,
        "[feed]\ntype = \"http\"\nlisten = \"127.0.0.1:0\"\nformat = \"csv\"\n",
    );
    generate(&place, "9000", &["--format", "csv", "-o", "feed.csv"]);
    let reports = |kills: bool| {
        post_all(&place, kills);
        let reports = std::fs::read(place.path("out.ndjson")).unwrap();
        for name in place.names() {
            if name == "state" {
                std::fs::remove_dir_all(place.path(&name)).unwrap();
            } else if name.starts_with("out.") || name == "bad.ndjson" {
                std::fs::remove_file(place.path(&name)).unwrap();
            }
        }
        reports
    };
    let whole = reports(false);
    assert!(whole.len() > 1000);
    assert!(reports(true) == whole);
}

/// Sends the rows in bodies of 300; with kills between acknowledgements, before and behind them.
fn post_all(place: &Place, kills: bool) {
    let text = std::fs::read_to_string(place.path("feed.csv")).unwrap();
    let (header, rows) = text.split_once('\n').unwrap();
    let rows: Vec<&str> = rows.lines().collect();
    let mut running = Running::start(place, &["run", "run.toml"]);
    let mut address = running.address("listens on http");
    let mut random = Random::new(3);
    let mut kill = |running: &mut Running, address: &mut String| {
        if kills && random.below(3) == 0 {
            running.signal("-KILL");
            running.child.wait().unwrap();
            *running = Running::start(place, &["run", "run.toml"]);
            *address = running.address("listens on http");
            return true;
        }
        false
    };
    for (k, body) in rows.chunks(300).enumerate() {
        let body = format!("{header}\n{}\n", body.join("\n"));
        let request = format!(
            "POST /rows HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nIdempotency-Key: body-{k}\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let post = |address: &str| {
            let mut socket = TcpStream::connect(address).unwrap();
            socket.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            socket.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("300"), "{answer}");
        };
        kill(&mut running, &mut address);
        post(&address);
        if kill(&mut running, &mut address) {
            // The sender did not hear of it: the same body again.
            post(&address);
        }
    }
    running.signal("-TERM");
    let (status, said) = running.end();
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("rows in 9000 = aggregated "), "{said}");
}

#[test]
fn the_pages_show_the_run_and_a_second_process_has_no_part_of_its_state() {
    let place = Place::new();
    let config = format!(
        "[feed]\ntype = \"tcp\"\nlisten = \"127.0.0.1:0\"\nformat = \"csv\"\n{ROWS}[state]\ndirectory = \"state\"\n\
         [server]\nlisten = \"127.0.0.1:0\"\n[[alert]]\nname = \"always\"\nwhen = \"c0.count > 0\"\n"
    );
    place.write("run.toml", config);
    let mut running = Running::start(&place, &["run", "run.toml"]);
    let metrics = running.address("metrics on");
    let address = running.address("listens on tcp");
    generate(
        &place,
        "20000",
        &["--format", "csv", "--to", &format!("tcp://{address}")],
    );
    let host = metrics
        .trim_start_matches("http://")
        .trim_end_matches("/metrics")
        .to_owned();
    wait_for("all rows", || {
        let mut socket = TcpStream::connect(&host).unwrap();
        socket
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut page = String::new();
        socket.read_to_string(&mut page).unwrap();
        page.contains("millstream_rows_in_total{feed=\"main\"} 20000\n")
    });
    running.says("alert always begins");
    let top = place.run(&["top", &host, "--once"]);
    assert_eq!(top.status, 0, "{}", top.stderr);
    assert!(top.text().contains("main"), "{}", top.text());
    place.run(&["run", "run.toml"]).fails(78, &["another process"]);
    running.signal("-TERM");
    let (status, said) = running.end();
    assert_eq!(status, 0, "{said}");
    let other = std::fs::read_to_string(place.path("run.toml"))
        .unwrap()
        .replace("size = \"1s\"", "size = \"2s\"");
    place.write("run.toml", other);
    place.run(&["run", "run.toml"]).fails(78, &["--discard-state"]);
}

/// A reader that does not read stops the senders: what waits is bounded, and nothing is lost once it reads.
#[test]
fn a_slow_sink_stops_the_senders() {
    let place = Place::new();
    let config = "[feed]\ntype = \"tcp\"\nlisten = \"127.0.0.1:0\"\nformat = \"binary\"\n\
                  columns = [\"ts\", \"c0\", \"c1\", \"c2\"]\n[rows]\ntime = \"ts\"\n\
                  [window]\nsize = \"1000 rows\"\n[[sink]]\ntype = \"stdout\"\n";
    place.write("run.toml", config);
    let mut command = place.command(&["run", "run.toml"]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("listens on tcp") {
        line.clear();
        stderr.read_line(&mut line).unwrap();
    }
    let address = line.split_whitespace().last().unwrap().to_owned();
    let mut sender = place
        .command(&[
            "generate",
            "--rows",
            "6e6",
            "--columns",
            "3",
            "--format",
            "binary",
            "--to",
        ])
        .arg(format!("tcp://{address}"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Nobody reads: rows stop coming, long before all have come.
    let status = format!("/proc/{}/io", child.id());
    let read = || -> u64 {
        let text = std::fs::read_to_string(&status).unwrap();
        text.lines()
            .find_map(|l| l.strip_prefix("rchar: "))
            .unwrap()
            .parse()
            .unwrap()
    };
    let before = std::cell::Cell::new(u64::MAX);
    wait_for("the senders to stop", || {
        // Reading has stopped when a while brings nothing.
        std::thread::sleep(Duration::from_millis(300));
        let now = read();
        now > 0 && before.replace(now) == now
    });
    assert!(
        sender.try_wait().unwrap().is_none(),
        "6 million rows of 32 bytes went somewhere"
    );
    let memory = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let peak = memory.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap().trim();
    let kib: u64 = peak.trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 512 << 10, "{kib} KiB");
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let counting = std::thread::spawn(move || stdout.lines().count());
    assert!(sender.wait().unwrap().success());
    let sent = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
    assert_eq!(counting.join().unwrap(), 6000);
    assert!(child.wait().unwrap().success());
}
