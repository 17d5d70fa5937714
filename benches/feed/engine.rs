//! `millstream run` as a child process: started, watched, ended, and what it said compared with what it should.

use crate::cases::{Case, Transport};
use crate::outcome::Run;
use crate::sender::{self, Feed, MILLSTREAM, Sending};
use millstream::generate::verify;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// How long the engine may take to listen, to report what it has, or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// From look to look.
const LOOK: Duration = Duration::from_millis(2);

/// For rows behind the last report, which nothing tells of, to be read before the engine is told to end.
const SETTLING: Duration = Duration::from_millis(300);

/// A line of standard output, and when it came, in nanoseconds since 1970.
type Line = (u64, Vec<u8>);

/// A running engine; it does not outlive this.
struct Engine {
    child: Child,
    lines: Arc<Mutex<Vec<Line>>>,
    reader: Option<JoinHandle<()>>,
    messages: std::path::PathBuf,
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

impl Engine {
    fn start(case: &Case, port: u16, folder: &Path) -> Result<Self, String> {
        let (configuration, messages) = (folder.join("run.toml"), folder.join("messages"));
        let say = |e: std::io::Error| e.to_string();
        std::fs::write(&configuration, case.configuration(port, folder)).map_err(say)?;
        let mut child = Command::new(MILLSTREAM)
            .arg("run")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&messages).map_err(say)?)
            .spawn()
            .map_err(say)?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        let reader = std::thread::spawn(move || {
            let mut stdout = BufReader::with_capacity(1 << 20, stdout);
            let mut line = Vec::new();
            while stdout.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let line = std::mem::take(&mut line);
                kept.lock().expect("nobody panics with it").push((now_ns(), line));
            }
        });
        Ok(Self {
            child,
            lines,
            reader: Some(reader),
            messages,
        })
    }

    /// What it said on standard error.
    fn messages(&self) -> String {
        std::fs::read_to_string(&self.messages)
            .unwrap_or_default()
            .trim()
            .to_owned()
    }

    /// Waits for something of an engine that runs.
    fn until(&mut self, what: &str, mut is: impl FnMut(&Self) -> bool) -> Result<(), String> {
        let begun = Instant::now();
        while !is(self) {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!(
                    "the engine ended ({status}) before {what}: {}",
                    self.messages()
                ));
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("the engine has not come to {what}: {}", self.messages()));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    fn lines(&self) -> usize {
        self.lines.lock().expect("nobody panics with it").len()
    }

    /// The most memory that it had, in bytes.
    fn peak_bytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
    }

    /// Waits for its end; an engine that fails is an error.
    fn end(mut self) -> Result<Vec<Line>, String> {
        let begun = Instant::now();
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if begun.elapsed() < PATIENCE => std::thread::sleep(LOOK),
                Ok(None) => return Err(format!("the engine does not end: {}", self.messages())),
                Err(e) => return Err(e.to_string()),
            }
        };
        if !status.success() {
            return Err(format!("the engine failed ({status}): {}", self.messages()));
        }
        if let Some(reader) = self.reader.take() {
            reader.join().map_err(|_| "the reader of reports panicked")?;
        }
        Ok(std::mem::take(&mut *self.lines.lock().expect("nobody panics with it")))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A feed over a socket.
pub(crate) fn socket(case: &Case, sending: Sending<'_>, folder: &Path) -> Result<Run, String> {
    let port = free_port()?;
    let mut engine = Engine::start(case, port, folder)?;
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
    let told = Command::new("kill")
        .arg("-TERM")
        .arg(engine.child.id().to_string())
        .status();
    told.map_err(|e| format!("kill: {e}"))?;
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
    let mut engine = Engine::start(case, 0, folder)?;
    let mut peak_bytes = None;
    while let Ok(None) = engine.child.try_wait() {
        peak_bytes = engine.peak_bytes().or(peak_bytes);
        if begun.elapsed() > PATIENCE {
            return Err(format!("the engine does not end: {}", engine.messages()));
        }
        std::thread::sleep(LOOK);
    }
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
    let expected: String = feed.expected.iter().map(|line| format!("{line}\n")).collect();
    let reports: Vec<u8> = lines.iter().flat_map(|(_, line)| line).copied().collect();
    let verdict = verify::compare(expected.as_bytes(), &reports[..]).map_err(|e| e.to_string())?;
    if !verdict.is_right() {
        return Err(format!(
            "{} differences: {}",
            verdict.differences,
            verdict.told.join("; ")
        ));
    }
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
