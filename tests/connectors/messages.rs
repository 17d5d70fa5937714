//! Rows in messages, as the tests of brokers send them, and what is to come of them.

use crate::command::Place;
use crate::feed_support::{PATIENCE, wait_for};
use crate::http_client::get;
use crate::runs::{PAGES, ROWS, Running, counted, generate, is_right};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub(crate) const COUNT: u64 = 100_000;

/// Rows of one message.
pub(crate) const TOGETHER: usize = 100;

/// A checkpoint now and then, and batches small enough to be disturbed between.
pub(crate) const STATE: &str =
    "[state]\ndirectory = \"state\"\ninterval = \"20ms\"\n[engine]\nbatch_rows = 500\nbatch_delay = \"1ms\"\n";

/// Rows with exact expectations: the place where these are, and the messages.
pub(crate) fn with_rows() -> (Place, Vec<Vec<u8>>) {
    let place = Place::new();
    let count = COUNT.to_string();
    generate(
        &place,
        &count,
        &["--format", "csv", "-o", "feed.csv", "--missing", "0.01"],
    );
    let text = std::fs::read_to_string(place.path("feed.csv")).unwrap();
    let (header, rows) = text.split_once('\n').unwrap();
    assert_eq!(header, "ts,key,c0,c1,c2");
    let rows: Vec<&str> = rows.lines().collect();
    let messages = rows.chunks(TOGETHER).map(|rows| rows.join("\n").into_bytes());
    (place, messages.collect())
}

/// How messages of [`with_rows`] are read.
pub(crate) const FORMAT: &str = "format = \"csv\"\ncolumns = [\"ts\", \"key\", \"c0\", \"c1\", \"c2\"]\n";

/// A configuration with this feed whose reports come to a file.
pub(crate) fn configured(place: &Place, feed: &str, more: &str) {
    let config = format!("{feed}{ROWS}{PAGES}{more}[[sink]]\ntype = \"file\"\npath = \"out.ndjson\"\n");
    place.write("run.toml", config);
}

/// The windows that a signal has left open close, as nothing more comes; and every report is as it is to be.
pub(crate) fn is_whole(place: &Place) {
    configured(place, "[feed]\ntype = \"stdin\"\nformat = \"csv\"\n", STATE);
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    is_right(place, "out.ndjson");
}

/// Waits until a run takes rows: its feeds are open.
#[cfg(feature = "mqtt")]
pub(crate) fn ready(pages: SocketAddr) {
    wait_for("a run that takes rows", || {
        get(pages, "/metrics", &[]).body.contains("\nmillstream_ready 1\n")
    });
}

/// Waits until so many rows are in, and says what the run said where they do not come.
pub(crate) fn all_rows(running: &mut Running, pages: SocketAddr, rows: u64) {
    let deadline = Instant::now() + PATIENCE;
    while counted(pages, "rows_in_total") != rows {
        if Instant::now() > deadline {
            let (metrics, health) = (get(pages, "/metrics", &[]).body, get(pages, "/health", &[]).body);
            running.heard.extend(running.said.try_iter());
            panic!("{metrics}\n{health}\n{:?}", running.heard);
        }
        running.hear(Duration::from_millis(1));
    }
}

/// A message, and what tells it from others.
pub(crate) type Named = (Option<String>, Vec<u8>);

/// Messages with names of their own.
pub(crate) fn named(messages: &[Vec<u8>]) -> Vec<Named> {
    let named = |(number, payload): (usize, &Vec<u8>)| (Some(format!("message {number}")), payload.clone());
    messages.iter().enumerate().map(named).collect()
}

/// One in ten comes twice: some at once, some a hundred messages later.
pub(crate) fn with_repetitions(messages: &[Named]) -> Vec<Named> {
    let mut all = Vec::new();
    for (number, message) in messages.iter().enumerate() {
        all.push(message.clone());
        match number % 20 {
            3 => all.push(message.clone()),
            13 => all.push(messages[number.saturating_sub(100)].clone()),
            _ => {}
        }
    }
    all
}

/// Ends a run in an orderly way.
pub(crate) fn ended(running: Running) -> String {
    running.signal("-TERM");
    let (status, said) = running.end();
    assert_eq!(status, 0, "{said}");
    said
}

/// The lines of a file of reports, sorted.
pub(crate) fn said(place: &Place, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(place.path(name)).unwrap();
    let mut lines: Vec<String> = text.lines().map(|line| format!("{line}\n")).collect();
    lines.sort();
    lines
}
