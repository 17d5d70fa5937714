//! `millstream generate` as a child process, and what it left: the expectation and when its messages went.

use crate::cases::{Case, KEYS, WINDOW, step_ns};
use crate::machine::MILLSTREAM;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

/// When a message went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message {
    /// Rows of the feed up to its end.
    pub(crate) rows: u64,
    pub(crate) begun_ns: u64,
    pub(crate) taken_ns: u64,
}

/// How a feed is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sending<'a> {
    pub(crate) rows: u64,
    /// Rows a second; as many as will go where absent.
    pub(crate) rate: Option<f64>,
    /// From the last row that is drawn to the first that is sent.
    pub(crate) rest: &'a str,
}

/// What is known of a feed that was sent.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) messages: Vec<Message>,
    /// The lines of the expectation without the last one.
    pub(crate) expected: Vec<serde_json::Value>,
    /// Rows in front of each window's first, by the window's start, and behind them all.
    pub(crate) windows: BTreeMap<jiff::Timestamp, u64>,
}

/// Sends the feed of a case, or writes it to a file; its rows are drawn beforehand.
pub(crate) fn send(case: &Case, sending: Sending<'_>, to: &[&str], folder: &Path) -> Result<Feed, String> {
    let step = format!("{}ns", step_ns(sending.rows, case.windows));
    let (columns, keys, rows) = (case.columns.to_string(), KEYS.to_string(), sending.rows.to_string());
    let (expected, log) = (folder.join("expected.ndjson"), folder.join("sent.csv"));
    let mut command = Command::new(MILLSTREAM);
    command
        .args([
            "generate",
            "--replay",
            "--rows",
            &rows,
            "--columns",
            &columns,
            "--keys",
            &keys,
        ])
        .args([
            "--mean",
            case.law.0,
            "--sd",
            case.law.1,
            "--step",
            &step,
            "--format",
            case.format,
        ])
        .args(["--window", WINDOW, "--rest", sending.rest])
        .arg("--expect")
        .arg(&expected)
        .arg("--sent-log")
        .arg(&log)
        .args(to);
    if case.covariance {
        command.arg("--covariance");
    }
    if let Some(rate) = sending.rate {
        command.args(["--rate", &rate.to_string()]);
    }
    let output = command.stdout(Stdio::null()).stderr(Stdio::piped()).output();
    let output = output.map_err(|e| format!("{MILLSTREAM}: {e}"))?;
    if !output.status.success() {
        return Err(format!(
            "the sender: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ));
    }
    Feed::read(&expected, &log)
}

impl Feed {
    fn read(expected: &Path, log: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(log).map_err(|e| e.to_string())?;
        let message = |line: &str| -> Option<Message> {
            let mut cells = line.split(',').map(|cell| cell.parse().ok());
            Some(Message {
                rows: cells.next()??,
                begun_ns: cells.next()??,
                taken_ns: cells.next()??,
            })
        };
        let messages: Option<Vec<Message>> = text.lines().skip(1).map(message).collect();
        let text = std::fs::read_to_string(expected).map_err(|e| e.to_string())?;
        let lines: Result<Vec<serde_json::Value>, _> = text.lines().map(serde_json::from_str).collect();
        let mut expected = lines.map_err(|e| e.to_string())?;
        expected.retain(|line| line.get("conservation").is_none());
        let mut rows = BTreeMap::new();
        for line in &expected {
            *rows.entry(start(line)?).or_insert(0) += line["rows"].as_u64().unwrap_or(0);
        }
        let mut before = 0;
        let windows = rows.into_iter().map(|(start, rows)| {
            before += rows;
            (start, before - rows)
        });
        Ok(Self {
            messages: messages.filter(|m| !m.is_empty()).ok_or("the log of the sender")?,
            windows: windows.collect(),
            expected,
        })
    }

    /// The start of the window that no row closes.
    pub(crate) fn last_window(&self) -> jiff::Timestamp {
        self.windows
            .last_key_value()
            .map(|(start, _)| *start)
            .unwrap_or_default()
    }

    /// The message that holds the row that closes the window which starts here.
    pub(crate) fn closed_by(&self, start: jiff::Timestamp) -> Option<Message> {
        let (_, row) = self.windows.range(start..).nth(1)?;
        let at = self.messages.partition_point(|m| m.rows <= *row);
        self.messages.get(at).copied()
    }
}

/// The start of a report's window.
pub(crate) fn start(line: &serde_json::Value) -> Result<jiff::Timestamp, String> {
    let start = line["window"]["start"].as_str().and_then(|text| text.parse().ok());
    start.ok_or_else(|| format!("a report without a window: {line:.200}"))
}
