//! What strangers and broken inputs do to `millstream run`: they cost themselves, and nobody else.

use crate::command::Place;
use crate::feed_support::wait_for;
use crate::http_client::{get, post, send};

use crate::runs::{PAGES, ROWS, Running, counted_of, generate, is_right, wait_for_rows};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// The first who sends decides the columns, but only if they can be what the feed is for: with a journal, a body that
/// could not would otherwise come back at every start.
#[test]
fn columns_that_cannot_be_reduced_are_refused_and_settle_nothing() {
    let place = Place::new();
    let config = format!(
        "[feed]\ntype = \"http\"\nlisten = \"127.0.0.1:0\"\nformat = \"csv\"\n[rows]\ntime = \"ts\"\n\
         where = \"temperature > -90\"\n[window]\nsize = \"1s\"\n[state]\ndirectory = \"state\"\n{PAGES}\
         [[alert]]\nname = \"fever\"\nwhen = \"temperature.mean > 38\"\n[[sink]]\ntype = \"file\"\npath = \"out.ndjson\"\n"
    );
    place.write("run.toml", config);
    for start in 0..2 {
        let mut running = Running::start(&place, &["run", "run.toml"]);
        let pages = running.pages();
        let address: SocketAddr = running.address("listens on http").parse().unwrap();
        let post = |body: &str| {
            send(
                address,
                &post("/rows", &[("Content-Type", "text/csv")], body.as_bytes()),
            )
        };
        post("ts,humidity\n1000,5\n").refuses(400, &["temperature"]);
        post("ts,temperature\n1000,warm\n2000,cold\n").refuses(400, &[]);
        post("ts,temperature\n1000,37\n1500,40\n").took(2, 0);
        wait_for_rows(pages, 2 + 2 * start);
        running.signal("-TERM");
        let (status, said) = running.end();
        assert_eq!(status, 0, "{said}");
    }
}

#[test]
fn a_connection_that_sends_something_else_first_is_refused_alone() {
    let place = Place::new();
    let config = format!(
        "[feed]\ntype = \"tcp\"\nlisten = \"127.0.0.1:0\"\nformat = \"csv\"\n[window]\nsize = \"2 rows\"\n{PAGES}\
         [[sink]]\ntype = \"file\"\npath = \"out.ndjson\"\n"
    );
    place.write("run.toml", config);
    let mut running = Running::start(&place, &["run", "run.toml"]);
    let pages = running.pages();
    let address = running.address("listens on tcp");
    let mut stranger = TcpStream::connect(&address).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    // It is closed from the other side, with rest or without.
    let _ = stranger.read(&mut [0; 64]);
    wait_for("the refusal", || counted_of(pages, "refused_total", "main") == 1);
    let mut sender = TcpStream::connect(&address).unwrap();
    sender.write_all(b"x\n1\n3\n").unwrap();
    drop(sender);
    wait_for("the rows", || counted_of(pages, "rows_aggregated_total", "main") == 2);
    running.signal("-TERM");
    let (status, said) = running.end();
    assert_eq!(status, 0, "{said}");
    let report = std::fs::read_to_string(place.path("out.ndjson")).unwrap();
    assert!(report.contains("\"mean\":2.0"), "{report}");
}

#[test]
fn an_input_that_cannot_be_read_on_ends_alone_and_the_run_fails_in_the_end() {
    let place = Place::new();
    generate(&place, "9000", &["--format", "arrow", "-o", "good.arrow"]);
    let mut bytes = std::fs::read(place.path("good.arrow")).unwrap();
    bytes.extend(b"and then something else, which is no message at all");
    place.write("bad.arrow", bytes);
    let config = format!(
        "[[feed]]\nname = \"file\"\ntype = \"file\"\npath = \"bad.arrow\"\nformat = \"arrow\"\nfollow = true\n\
         [[feed]]\nname = \"wire\"\ntype = \"tcp\"\nlisten = \"127.0.0.1:0\"\nformat = \"csv\"\n{ROWS}{PAGES}\
         [[sink]]\ntype = \"file\"\npath = \"out.ndjson\"\n"
    );
    place.write("run.toml", config);
    let mut running = Running::start(&place, &["run", "run.toml"]);
    let pages = running.pages();
    let address = running.address("listens on tcp");
    running.says("feed `file` has ended: ");
    wait_for("bad health", || get(pages, "/health", &[]).status == 503);
    let health = get(pages, "/health", &[]);
    assert!(health.body.contains("bad.arrow"), "{health:?}");
    generate(
        &place,
        "9000",
        &["--format", "csv", "--to", &format!("tcp://{address}")],
    );
    wait_for("the rows", || counted_of(pages, "rows_in_total", "wire") == 9000);
    running.signal("-TERM");
    let (status, said) = running.end();
    assert_eq!(status, 65, "{said}");
    assert!(said.contains("feed `wire`: rows in 9000 = aggregated 9000 "), "{said}");
    // What came of the file before it broke counts as well: the same rows.
    let reports = std::fs::read_to_string(place.path("out.ndjson")).unwrap();
    for feed in ["file", "wire"] {
        let own: Vec<&str> = reports
            .lines()
            .filter(|line| line.contains(&format!("\"feed\":\"{feed}\"")))
            .collect();
        place.write("own.ndjson", own.join("\n"));
        is_right(&place, "own.ndjson");
    }
}

/// Files begin when it is their turn; their rows are not late for that, however rows are cut into batches.
#[test]
fn files_that_are_read_in_turn_lose_no_row() {
    let place = Place::new();
    for (name, rows, seed) in [("long", "60000", "1"), ("short", "20000", "2")] {
        let made = place.run(&[
            "generate",
            "--rows",
            rows,
            "--columns",
            "3",
            "--keys",
            "7",
            "--seed",
            seed,
            "--step",
            "1ms",
            "-o",
            name,
            "--format",
            "csv",
        ]);
        assert_eq!(made.status, 0, "{}", made.stderr);
    }
    let mut found = Vec::new();
    for (batch_rows, paths) in [
        (65_536, "[\"long\", \"short\"]"),
        (500, "[\"long\", \"short\"]"),
        (500, "[\"short\", \"long\"]"),
    ] {
        let config = format!(
            "feed = {{ type = \"file\", path = {paths}, format = \"csv\" }}\n{ROWS}[engine]\nbatch_rows = {batch_rows}\n\
             batch_delay = \"0ms\"\n[[sink]]\ntype = \"stdout\"\n"
        );
        place.write("run.toml", config);
        let ran = place.run(&["run", "run.toml"]);
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        assert!(
            ran.stderr.contains("rows in 80000 = aggregated 80000 "),
            "{}",
            ran.stderr
        );
        let count = |line: &str| {
            let report: serde_json::Value = serde_json::from_str(line).unwrap();
            (
                report["window"].to_string(),
                report["key"].to_string(),
                report["rows"].as_u64().unwrap(),
            )
        };
        let mut counts: Vec<_> = ran.text().lines().map(count).collect();
        counts.sort();
        found.push(counts);
    }
    assert_eq!(found[0].len(), 60 * 7);
    assert!(found[0] == found[1] && found[0] == found[2]);
}

/// An alert stands right behind the report that began or ended it, whatever the batches were.
#[test]
fn alerts_stand_behind_their_reports() {
    let place = Place::new();
    generate(&place, "30000", &["--format", "csv", "-o", "feed.csv"]);
    let mut files = Vec::new();
    for (name, batch_rows) in [("large", 65_536), ("small", 97)] {
        let config = format!(
            "feed = {{ type = \"file\", path = \"feed.csv\" }}\n{ROWS}[engine]\nbatch_rows = {batch_rows}\n\
             [[alert]]\nname = \"high\"\nwhen = \"c0.mean > 20\"\n[[sink]]\ntype = \"file\"\npath = \"{name}.ndjson\"\n"
        );
        place.write("run.toml", config);
        let ran = place.run(&["run", "run.toml"]);
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        files.push(std::fs::read_to_string(place.path(&format!("{name}.ndjson"))).unwrap());
    }
    let alerts = files[0].lines().filter(|line| line.contains("\"alert\"")).count();
    assert!(alerts > 10, "{alerts}");
    assert!(files[0] == files[1]);
}

#[test]
fn columns_that_are_left_out_are_named() {
    let place = Place::new();
    place.write("in.csv", "a,b\noops,1\n2,2\n");
    place.write(
        "run.toml",
        "feed = { type = \"file\", path = \"in.csv\" }\n[window]\nsize = \"2 rows\"\n[[sink]]\ntype = \"stdout\"\n",
    );
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("feed `main`: not numeric, so left out: a"),
        "{}",
        ran.stderr
    );
}
