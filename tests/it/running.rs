//! `millstream run` from outside: the real command over files and sockets, its reports against exact expectations and
//! against `analyze`.

use crate::command::Place;
use crate::feed_support::wait_for;
use crate::runs::{ROWS, Running, generate, is_right};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

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
