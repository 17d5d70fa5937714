//! `millstream run` killed at any moment and started again: nothing is missing, nothing is there twice, and every digit is
//! that of a run that nothing disturbed.

use crate::command::Place;
use crate::random::Random;
use crate::runs::{Running, generate, is_right_bytes, undisturbed, with_state};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

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
