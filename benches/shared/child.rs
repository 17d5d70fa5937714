//! `millstream run` as a child process: started, watched, ended, and what it said compared with what it should.

use crate::machine::MILLSTREAM;
use millstream::generate::verify::{self, Verdict};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// How long the engine may take to listen, to report what it has, or to end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// From look to look.
pub(crate) const LOOK: Duration = Duration::from_millis(2);

/// A line of standard output, and when it came, in nanoseconds since 1970.
pub(crate) type Line = (u64, Vec<u8>);

/// A running engine; it does not outlive this.
pub(crate) struct Engine {
    child: Child,
    lines: Arc<Mutex<Vec<Line>>>,
    reader: Option<JoinHandle<()>>,
    messages: PathBuf,
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

impl Engine {
    /// Starts it with this configuration, whose files lie in the folder.
    pub(crate) fn start(configuration: &str, folder: &Path) -> Result<Self, String> {
        let (file, messages) = (folder.join("run.toml"), folder.join("messages"));
        let say = |e: std::io::Error| e.to_string();
        std::fs::write(&file, configuration).map_err(say)?;
        let mut child = Command::new(MILLSTREAM)
            .arg("run")
            .arg(&file)
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
    pub(crate) fn messages(&self) -> String {
        std::fs::read_to_string(&self.messages)
            .unwrap_or_default()
            .trim()
            .to_owned()
    }

    /// Waits for something of an engine that runs.
    pub(crate) fn until(&mut self, what: &str, mut is: impl FnMut(&Self) -> bool) -> Result<(), String> {
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

    /// Lines that it has given.
    pub(crate) fn lines(&self) -> usize {
        self.lines.lock().expect("nobody panics with it").len()
    }

    /// The most memory that it had, in bytes.
    pub(crate) fn peak_bytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
    }

    /// Tells it to end.
    pub(crate) fn terminate(&self) -> Result<(), String> {
        let told = Command::new("kill")
            .arg("-TERM")
            .arg(self.child.id().to_string())
            .status();
        told.map(drop).map_err(|e| format!("kill: {e}"))
    }

    /// Waits while it runs; the most memory that it had.
    pub(crate) fn ended(&mut self) -> Result<Option<u64>, String> {
        let begun = Instant::now();
        let mut peak_bytes = None;
        while let Ok(None) = self.child.try_wait() {
            peak_bytes = self.peak_bytes().or(peak_bytes);
            if begun.elapsed() > PATIENCE {
                return Err(format!("the engine does not end: {}", self.messages()));
            }
            std::thread::sleep(LOOK);
        }
        Ok(peak_bytes)
    }

    /// Waits for its end; an engine that fails is an error.
    pub(crate) fn end(mut self) -> Result<Vec<Line>, String> {
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

/// The verdict on reports; an error if they are wrong.
pub(crate) fn verified(expected: &[serde_json::Value], lines: &[Line]) -> Result<Verdict, String> {
    let reports: Vec<u8> = lines.iter().flat_map(|(_, line)| line).copied().collect();
    right(expected, &reports)
}

/// As [`verified`], of one text.
pub(crate) fn right(expected: &[serde_json::Value], reports: &[u8]) -> Result<Verdict, String> {
    let expected: String = expected.iter().map(|line| format!("{line}\n")).collect();
    let verdict = verify::compare(expected.as_bytes(), reports).map_err(|e| e.to_string())?;
    match verdict.is_right() {
        true => Ok(verdict),
        false => Err(format!(
            "{} differences: {}",
            verdict.differences,
            verdict.told.join("; ")
        )),
    }
}
