//! `millstream run` as the tests of it start it: runs that go on, feeds with exact expectations, and what a run leaves.

use crate::command::Place;
use crate::feed_support::{PATIENCE, wait_for};
use crate::http_client::get;
use millstream::generate::verify::compare;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// A run of the command that goes on until it ends or is ended.
pub(crate) struct Running {
    pub(crate) child: Child,
    /// Lines of standard error.
    pub(crate) said: Receiver<String>,
    pub(crate) heard: Vec<String>,
}

impl Running {
    pub(crate) fn start(place: &Place, args: &[&str]) -> Self {
        Self::begin(place.command(args))
    }

    pub(crate) fn begin(command: Command) -> Self {
        Self::begin_with(command, Stdio::null())
    }

    /// With its standard output there.
    pub(crate) fn begin_with(mut command: Command, stdout: Stdio) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(stdout)
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
    pub(crate) fn says(&mut self, words: &str) -> String {
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
    pub(crate) fn address(&mut self, words: &str) -> String {
        let line = self.says(words);
        line.split_whitespace().last().unwrap().to_owned()
    }

    /// Where it shows its numbers; it says so before it says where it listens.
    pub(crate) fn pages(&mut self) -> SocketAddr {
        let url = self.address("metrics on");
        let host = url.trim_start_matches("http://").trim_end_matches("/metrics");
        host.parse().unwrap()
    }

    /// Hears what is said for so long, or until it ends.
    pub(crate) fn hear(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while let Ok(line) = self.said.recv_timeout(until.saturating_duration_since(Instant::now())) {
            self.heard.push(line);
        }
    }

    /// Killed, without a chance to do anything about it.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// The most memory that it has had.
    pub(crate) fn peak_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// Ended by a signal: what was said.
    pub(crate) fn end_by(self, signal: &str) -> String {
        self.signal(signal);
        self.end().1
    }

    pub(crate) fn signal_if_running(&mut self, signal: &str) {
        if self.child.try_wait().unwrap().is_none() {
            self.signal(signal);
        }
    }

    /// Waits for the end: status and everything that was said.
    pub(crate) fn end(mut self) -> (i32, String) {
        let deadline = Instant::now() + PATIENCE * 5;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status.code().unwrap_or(-1);
            }
            if Instant::now() > deadline {
                self.heard.extend(self.said.try_iter());
                panic!("waited in vain for the end of a run that said {:?}", self.heard);
            }
            std::thread::sleep(Duration::from_millis(1));
        };
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

/// A number of a run that is watched at this address, of the feed `main`.
pub(crate) fn counted(pages: SocketAddr, name: &str) -> u64 {
    counted_of(pages, name, "main")
}

pub(crate) fn counted_of(pages: SocketAddr, name: &str, feed: &str) -> u64 {
    let page = get(pages, "/metrics", &[]).body;
    let begin = format!("millstream_{name}{{feed=\"{feed}\"}} ");
    let value = page.lines().find_map(|line| line.strip_prefix(&begin));
    value.unwrap_or_else(|| panic!("no {begin} in {page}")).parse().unwrap()
}

/// Waits until so many rows are in.
pub(crate) fn wait_for_rows(pages: SocketAddr, rows: u64) {
    wait_for("the rows", || counted(pages, "rows_in_total") == rows);
}

/// A feed of files, and what is to come of it.
pub(crate) fn generate(place: &Place, rows: &str, more: &[&str]) {
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

pub(crate) const ROWS: &str = "[rows]\ntime = \"ts\"\nkey = [\"key\"]\ncolumns = [\"c0\", \"c1\", \"c2\"]\n[window]\nsize = \"1s\"\nlateness = \"500ms\"\n";

/// Pages that show the numbers of a run, at any free port.
pub(crate) const PAGES: &str = "[server]\nlisten = \"127.0.0.1:0\"\n";

pub(crate) fn is_right(place: &Place, reports: &str) {
    let open = |name: &str| BufReader::new(std::fs::File::open(place.path(name)).unwrap());
    let verdict = compare(open("expected.ndjson"), open(reports)).unwrap();
    assert!(verdict.is_right(), "{verdict:?}");
}

pub(crate) fn is_right_bytes(place: &Place, reports: &[u8]) {
    std::fs::write(place.path("whole.ndjson"), reports).unwrap();
    is_right(place, "whole.ndjson");
}

pub(crate) fn with_state(place: &Place, feed: &str) {
    let config = format!(
        "{feed}{ROWS}[state]\ndirectory = \"state\"\ninterval = \"1ms\"\njournal = true\n\
         [engine]\nbatch_rows = 500\nbatch_delay = \"1ms\"\n[limits]\nquarantine = \"bad.ndjson\"\n\
         [[sink]]\ntype = \"file\"\npath = \"out.ndjson\"\n[[sink]]\ntype = \"sqlite\"\npath = \"out.db\"\n"
    );
    place.write("run.toml", config);
}

/// Takes away what a run has left.
pub(crate) fn clear(place: &Place) {
    for name in place.names() {
        if name == "state" {
            std::fs::remove_dir_all(place.path(&name)).unwrap();
        } else if name.starts_with("out.") || name == "bad.ndjson" {
            std::fs::remove_file(place.path(&name)).unwrap();
        }
    }
}

/// What a run that nothing disturbs leaves.
pub(crate) fn undisturbed(place: &Place) -> Vec<u8> {
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let whole = std::fs::read(place.path("out.ndjson")).unwrap();
    clear(place);
    whole
}

/// How often a test of kills kills.
pub(crate) fn kills() -> u64 {
    std::env::var("MILLSTREAM_KILLS").map_or(20, |n| n.parse().unwrap())
}

/// The last run over a state whose windows a signal left open: nothing more comes, and they close.
pub(crate) fn close_windows(place: &Place) {
    with_state(place, "[feed]\ntype = \"stdin\"\nformat = \"csv\"\n");
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
}
