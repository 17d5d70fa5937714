//! `millstream run` with a feed of a case, and what it said compared with what it should.

use crate::cases::{Case, Transport};
use crate::child::{self, Engine, Line};
use crate::outcome::Run;
use crate::sender::{self, Feed, Sending};
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

/// For rows behind the last report, which nothing tells of, to be read before the engine is told to end.
const SETTLING: Duration = Duration::from_millis(300);

/// A feed over a socket.
pub(crate) fn socket(case: &Case, sending: Sending<'_>, folder: &Path) -> Result<Run, String> {
    let port = free_port()?;
    let mut engine = Engine::start(&case.configuration(port, folder), folder)?;
    engine.until("listening", |_| is_listening(port))?;
    let url = match case.transport {
        Transport::Http => format!("http://127.0.0.1:{port}/rows"),
        _ => format!("tcp://127.0.0.1:{port}"),
    };
    let mut feed = sender::send(case, sending, &["--to", &url], folder)?;
    let last = feed.last_window();
    let closed = feed
        .expected
        .iter()
        .filter(|line| sender::start(line).is_ok_and(|start| start < last))
        .count();
    engine.until("the last report", |engine| engine.lines() >= closed)?;
    std::thread::sleep(SETTLING);
    let peak_bytes = engine.peak_bytes();
    engine.terminate()?;
    let lines = engine.end()?;
    if case.checkpoint.is_some() {
        // The window that is open stays in the checkpoint.
        feed.expected
            .retain(|line| sender::start(line).is_ok_and(|start| start < last));
    }

    let (mut times_ms, mut end_ns) = (Vec::new(), 0);
    for (came_ns, line) in &lines {
        let line: serde_json::Value = serde_json::from_slice(line).map_err(|e| format!("a report: {e}"))?;
        if let Some(message) = feed.closed_by(sender::start(&line)?) {
            times_ms.push(came_ns.saturating_sub(message.begun_ns) as f64 / 1e6);
            end_ns = end_ns.max(*came_ns);
        }
    }
    let begun_ns = feed.messages[0].begun_ns;
    let sent_ns = feed.messages.last().map_or(0, |m| m.taken_ns);
    let reported = feed.windows.get(&last).copied().unwrap_or(0);
    let run = Run {
        rows: sending.rows,
        seconds: end_ns.saturating_sub(begun_ns) as f64 / 1e9,
        rows_per_second: reported as f64 * 1e9 / end_ns.saturating_sub(begun_ns).max(1) as f64,
        sent_per_second: sending.rows as f64 * 1e9 / sent_ns.saturating_sub(begun_ns).max(1) as f64,
        peak_bytes,
        times_ms,
        ..Run::default()
    };
    verified(run, &feed, &lines)
}

/// A csv file from its beginning to its end.
pub(crate) fn file(case: &Case, sending: Sending<'_>, folder: &Path) -> Result<Run, String> {
    let path = folder.join("feed.csv");
    let feed = sender::send(
        case,
        sending,
        &["-o", path.to_str().ok_or("a path that is no text")?],
        folder,
    )?;
    let begun = Instant::now();
    let mut engine = Engine::start(&case.configuration(0, folder), folder)?;
    let peak_bytes = engine.ended()?;
    let seconds = begun.elapsed().as_secs_f64();
    let lines = engine.end()?;
    let run = Run {
        rows: sending.rows,
        seconds,
        rows_per_second: sending.rows as f64 / seconds,
        peak_bytes,
        ..Run::default()
    };
    verified(run, &feed, &lines)
}

/// The run with the verdict on its reports; an error if they are wrong.
fn verified(run: Run, feed: &Feed, lines: &[Line]) -> Result<Run, String> {
    let verdict = child::verified(&feed.expected, lines)?;
    Ok(Run {
        reports: verdict.reported,
        worst_error: verdict.worst_error,
        ..run
    })
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    listener
        .local_addr()
        .map(|address| address.port())
        .map_err(|e| e.to_string())
}

/// Whether somebody listens there: looked up, so that no connection disturbs the measurement.
fn is_listening(port: u16) -> bool {
    /// What the system calls the state of a listening socket.
    const LISTEN: &str = "0A";
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let mut sockets = table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    sockets.any(|fields| fields.len() > 3 && fields[3] == LISTEN && fields[1].ends_with(&format!(":{port:04X}")))
}
