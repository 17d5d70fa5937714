//! `millstream run` killed while rows arrive: by a file that grows and is renamed away, over TCP through a journal, in
//! requests. What was in, or acknowledged, is there once.

use crate::command::Place;
use crate::feed_support::wait_for;
use crate::random::Random;
use crate::runs::{
    PAGES, Running, clear, close_windows, counted, generate, is_right_bytes, kills, undisturbed, wait_for_rows,
    with_state,
};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// The number of the newest checkpoint.
fn newest_checkpoint(place: &Place) -> u64 {
    let entries = std::fs::read_dir(place.path("state")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter_map(|name| name.strip_prefix("checkpoint-")?.parse().ok())
        .max()
        .unwrap_or(0)
}

/// A file that is written in pieces that end anywhere, and renamed away once on its way.
struct Growing {
    directory: std::path::PathBuf,
    text: Vec<u8>,
    written: usize,
    /// Where the second file begins, which has the header again.
    turn: usize,
    file: std::fs::File,
    random: Random,
}

impl Growing {
    fn new(place: &Place, text: Vec<u8>) -> Self {
        let half = text.len() / 3;
        let turn = half + text[half..].iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let path = place.path("feed.csv");
        Self {
            directory: path.parent().unwrap().to_owned(),
            file: std::fs::File::create(path).unwrap(),
            text,
            written: 0,
            turn,
            random: Random::new(17),
        }
    }

    /// Goes on up to there.
    fn grow(&mut self, upto: usize) {
        while self.written < upto {
            let end = if self.written < self.turn {
                self.turn
            } else {
                self.text.len()
            };
            let piece = 1 + self.random.below(5000) as usize;
            let end = (self.written + piece).min(end).min(upto);
            self.file.write_all(&self.text[self.written..end]).unwrap();
            self.written = end;
            if end == self.turn {
                let path = self.directory.join("feed.csv");
                std::fs::rename(&path, self.directory.join("feed.csv.1")).unwrap();
                let header = self.text.iter().position(|byte| *byte == b'\n').unwrap() + 1;
                self.file = std::fs::File::create(path).unwrap();
                self.file.write_all(&self.text[..header]).unwrap();
            }
            // Others get a turn between the pieces.
            std::thread::park_timeout(Duration::from_micros(self.random.below(300)));
        }
    }
}

/// A file that grows while it is read, is renamed away once, and whose reader is killed again and again, gives byte for
/// byte what the whole file gives.
#[test]
fn a_followed_file_survives_kills_and_rotation() {
    let place = Place::new();
    generate(
        &place,
        "120000",
        &["--format", "csv", "-o", "all.csv", "--bad-rows", "0.001"],
    );
    with_state(&place, "[feed]\ntype = \"file\"\npath = \"all.csv\"\n");
    let whole = undisturbed(&place);
    is_right_bytes(&place, &whole);
    let follow = format!("[feed]\ntype = \"file\"\npath = \"feed.csv\"\nfollow = true\n{PAGES}");
    with_state(&place, &follow);

    let text = std::fs::read(place.path("all.csv")).unwrap();
    let length = text.len();
    let mut growing = Growing::new(&place, text);
    let turn = growing.turn;
    let lines_before_turn = growing.text[..turn].iter().filter(|byte| **byte == b'\n').count() as u64 - 1;
    let (permit, permits) = std::sync::mpsc::channel();
    let grown = std::thread::spawn(move || {
        for upto in permits {
            growing.grow(upto);
        }
        growing
    });

    // Until a checkpoint has rows of the file it has no name but the path.
    permit.send(length / 20).unwrap();
    let mut running = Running::start(&place, &["run", "run.toml"]);
    let pages = running.pages();
    wait_for("rows", || counted(pages, "rows_in_total") > 0);
    let newest = newest_checkpoint(&place);
    wait_for("checkpoints", || newest_checkpoint(&place) >= newest + 2);
    running.kill();

    let (kills, mut random) = (kills(), Random::new(12));
    for kill in 1..=kills {
        let more = (length - length / 20) / kills as usize * kill as usize;
        permit.send(length / 20 + more).unwrap();
        let mut running = Running::start(&place, &["run", "run.toml"]);
        if kill == kills.div_ceil(2) {
            let pages = running.pages();
            wait_for("the second file", || {
                counted(pages, "rows_in_total") > lines_before_turn
            });
        } else if random.below(2) == 0 {
            running.pages();
        }
        running.hear(Duration::from_millis(random.below(60)));
        running.kill();
    }
    permit.send(length).unwrap();
    drop(permit);
    let mut running = Running::start(&place, &["run", "run.toml"]);
    let pages = running.pages();
    assert_eq!(grown.join().unwrap().written, length);
    wait_for_rows(pages, 120_000);
    running.signal("-TERM");
    let (status, said) = running.end();
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("rows in 120000 = "), "{said}");
    close_windows(&place);
    assert!(std::fs::read(place.path("out.ndjson")).unwrap() == whole, "{said}");
}

/// Rows that came over TCP and are counted are in the journal: killed at any moment behind that, while it is quiet, while
/// it reads them again, the run leaves byte for byte what the same rows in a file give.
#[test]
fn rows_over_tcp_that_are_counted_survive_kills() {
    let place = Place::new();
    generate(&place, "40000", &["--format", "csv", "-o", "all.csv"]);
    with_state(&place, "[feed]\ntype = \"file\"\npath = \"all.csv\"\n");
    let whole = undisturbed(&place);
    is_right_bytes(&place, &whole);

    let text = std::fs::read_to_string(place.path("all.csv")).unwrap();
    let (header, rows) = text.split_once('\n').unwrap();
    let rows: Vec<&str> = rows.split_inclusive('\n').collect();
    let (kills, mut random) = (kills(), Random::new(13));
    let tcp = format!("[feed]\ntype = \"tcp\"\nlisten = \"127.0.0.1:0\"\nformat = \"csv\"\n{PAGES}");
    let start = |interval: &str| {
        with_state(&place, &tcp);
        let config = std::fs::read_to_string(place.path("run.toml")).unwrap();
        let config = config.replace("interval = \"1ms\"", &format!("interval = \"{interval}\""));
        place.write("run.toml", config);
        Running::start(&place, &["run", "run.toml"])
    };
    let mut sent = 0;
    let portion = rows.len().div_ceil(4 * kills as usize + 4);
    for round in 0..=kills {
        // With an hour nothing but the journal has the rows.
        let mut running = start(["1ms", "1h"][random.below(2) as usize]);
        if round < kills && random.below(3) == 0 {
            running.hear(Duration::from_millis(random.below(60)));
            running.kill();
            continue;
        }
        let pages = running.pages();
        let address = running.address("listens on tcp");
        wait_for_rows(pages, sent as u64);
        let mut senders = Vec::new();
        for _ in 0..3 {
            let mut socket = TcpStream::connect(&address).unwrap();
            writeln!(socket, "{header}").unwrap();
            senders.push(socket);
        }
        let pieces = if round < kills { 4 } else { rows.len().div_ceil(portion) };
        for piece in 0..pieces {
            let end = (sent + portion).min(rows.len());
            let bytes = rows[sent..end].concat().into_bytes();
            let cut = random.below(bytes.len() as u64 + 1) as usize;
            let sender = &mut senders[piece % 3];
            sender.write_all(&bytes[..cut]).unwrap();
            sender.write_all(&bytes[cut..]).unwrap();
            sent = end;
            wait_for_rows(pages, sent as u64);
        }
        if round == kills {
            running.signal("-TERM");
            let (status, said) = running.end();
            assert_eq!(status, 0, "{said}");
            assert!(said.contains("rows in 40000 = aggregated "), "{said}");
            break;
        }
        match random.below(3) {
            0 => {}
            1 => running.hear(Duration::from_millis(random.below(20))),
            _ => drop(senders),
        }
        running.kill();
    }
    close_windows(&place);
    assert!(std::fs::read(place.path("out.ndjson")).unwrap() == whole);
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
        clear(&place);
        reports
    };
    let whole = reports(false);
    assert!(whole.len() > 1000);
    assert!(reports(true) == whole);
}

/// Sends the rows in bodies; with kills between acknowledgements, before and behind them, one to three bodies.
fn post_all(place: &Place, with_kills: bool) {
    let text = std::fs::read_to_string(place.path("feed.csv")).unwrap();
    let (header, rows) = text.split_once('\n').unwrap();
    let rows: Vec<&str> = rows.lines().collect();
    let mut running = Running::start(place, &["run", "run.toml"]);
    let mut address = running.address("listens on http");
    let mut random = Random::new(3);
    let mut kill = |running: &mut Running, address: &mut String| {
        if with_kills && random.below(3) == 0 {
            running.signal("-KILL");
            running.child.wait().unwrap();
            *running = Running::start(place, &["run", "run.toml"]);
            *address = running.address("listens on http");
            return true;
        }
        false
    };
    let of_body = rows.len().div_ceil(kills() as usize * 3 / 2);
    for (k, body) in rows.chunks(of_body).enumerate() {
        let accepted = format!("\"accepted\":{},", body.len());
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
            assert!(
                answer.starts_with("HTTP/1.1 200") && answer.contains(&accepted),
                "{answer}"
            );
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
