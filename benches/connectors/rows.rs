//! The rows of a case: drawn by `millstream generate`, cut into messages, and what is to come of them.

use crate::cases::{COLUMNS, Case, KEYS, WINDOW, WINDOWS};
use crate::machine::MILLSTREAM;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

/// Rows in messages.
#[derive(Debug)]
pub(crate) struct Rows {
    format: &'static str,
    pub(crate) message_rows: usize,
    pub(crate) rows: u64,
    pub(crate) messages: Vec<Vec<u8>>,
    /// Of all messages.
    pub(crate) bytes: u64,
    /// The lines of the expectation without the last one.
    pub(crate) expected: Vec<serde_json::Value>,
    /// Rows of each window, by its start.
    pub(crate) windows: BTreeMap<jiff::Timestamp, u64>,
}

fn say(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Has `millstream generate` write a file beside the expectation.
pub(crate) fn generate(arguments: &[&str], folder: &Path, file: &Path) -> Result<Vec<serde_json::Value>, String> {
    let expected = folder.join("expected.ndjson");
    let mut command = Command::new(MILLSTREAM);
    command.arg("generate").args(arguments).args(["--window", WINDOW]);
    command.arg("--expect").arg(&expected).arg("-o").arg(file);
    let output = command.stdout(Stdio::null()).stderr(Stdio::piped()).output();
    let output = output.map_err(|e| format!("{MILLSTREAM}: {e}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("millstream generate: {}", said.trim()));
    }
    let text = std::fs::read_to_string(expected).map_err(say)?;
    let lines: Result<Vec<serde_json::Value>, _> = text.lines().map(serde_json::from_str).collect();
    let mut lines = lines.map_err(say)?;
    lines.retain(|line| line.get("conservation").is_none());
    Ok(lines)
}

impl Rows {
    pub(crate) fn draw(case: &Case, rows: u64) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(say)?;
        let file = folder.path().join("feed");
        let step = format!("{}ns", WINDOWS * 1_000_000_000 / rows.max(1));
        let (columns, keys, count) = (COLUMNS.to_string(), KEYS.to_string(), rows.to_string());
        let of_rows = ["--rows", &count, "--columns", &columns, "--keys", &keys];
        let arguments = [&of_rows[..], &["--step", &step, "--format", case.format]].concat();
        let expected = generate(&arguments, folder.path(), &file)?;
        let bytes = std::fs::read(file).map_err(say)?;
        let messages = match case.format {
            "arrow" => streams(&bytes, case.message_rows)?,
            "binary" => frames(&bytes, case.message_rows * (2 + COLUMNS) * size_of::<f64>())?,
            _ => lines(&bytes, case.message_rows),
        };
        let mut windows = BTreeMap::new();
        for line in &expected {
            *windows.entry(start(line)?).or_insert(0) += line["rows"].as_u64().unwrap_or(0);
        }
        Ok(Self {
            format: case.format,
            message_rows: case.message_rows,
            rows,
            bytes: messages.iter().map(|message| message.len() as u64).sum(),
            messages,
            expected,
            windows,
        })
    }

    /// Whether these are what a case takes.
    pub(crate) fn is_for(&self, case: &Case, rows: u64) -> bool {
        (self.format, self.message_rows, self.rows) == (case.format, case.message_rows, rows)
    }
}

/// The start of a report's window.
pub(crate) fn start(line: &serde_json::Value) -> Result<jiff::Timestamp, String> {
    let start = line["window"]["start"].as_str().and_then(|text| text.parse().ok());
    start.ok_or_else(|| format!("a report without a window: {line:.200}"))
}

/// So many lines a message.
fn lines(bytes: &[u8], of_message: usize) -> Vec<Vec<u8>> {
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    lines.chunks(of_message).map(<[&[u8]]>::concat).collect()
}

/// Frames of this length, whatever that was.
fn frames(bytes: &[u8], length: usize) -> Result<Vec<Vec<u8>>, String> {
    let (mut rows, mut rest) = (Vec::new(), bytes);
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let split = behind.split_at_checked(u32::from_le_bytes(*length) as usize);
        let (payload, behind) = split.ok_or("a frame that ends early")?;
        rows.extend_from_slice(payload);
        rest = behind;
    }
    let frame = |rows: &[u8]| [&(rows.len() as u32).to_le_bytes()[..], rows].concat();
    Ok(rows.chunks(length).map(frame).collect())
}

/// Every message a stream of its own.
fn streams(bytes: &[u8], of_message: usize) -> Result<Vec<Vec<u8>>, String> {
    let reader = StreamReader::try_new(bytes, None).map_err(say)?;
    let schema = reader.schema();
    let batches: Result<Vec<_>, _> = reader.collect();
    let all = arrow::compute::concat_batches(&schema, &batches.map_err(say)?).map_err(say)?;
    let message = |from: usize| {
        let rows = all.slice(from, of_message.min(all.num_rows() - from));
        let mut writer = StreamWriter::try_new(Vec::new(), &schema).map_err(say)?;
        writer.write(&rows).map_err(say)?;
        writer.finish().map_err(say)?;
        writer.into_inner().map_err(say)
    };
    (0..all.num_rows()).step_by(of_message).map(message).collect()
}
