//! Reports as lines: ndjson or csv, to standard output or appended to a file.
//!
//! A file is cut back to the end of its last whole line (or row) when it is opened, or to where a checkpoint stands.
//! Lines wait in a buffer; what the system does not take (a full disk) stays there and is handed on by a later call,
//! from the very byte at which it stopped, so no line is written twice and none is lost.

use super::state::{Place, output, sync_directory, too_short};
use super::{Feed, Sink, SinkFormat, SinkState};
use crate::error::{Error, Result, quote};
use crate::io::table::csv::CsvWriter;
use crate::report::long::LiveTable;
use crate::report::{Alert, Emission};
use serde::Serialize;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Bytes that are collected before they are handed to the system: a call for each line would cost more than the line.
const BUFFER_BYTES: usize = 1 << 18;

/// Bytes of a file that are looked at together.
const CHUNK_BYTES: usize = 1 << 16;

/// Where the bytes go.
#[derive(Debug)]
enum Output {
    /// A regular file, with its length.
    File(File, u64),
    /// Standard output, a pipe or a device: what is written is gone.
    Stream(Box<dyn Stream>),
}

trait Stream: Write + Send + std::fmt::Debug {}
impl<T: Write + Send + std::fmt::Debug> Stream for T {}

#[derive(Debug)]
enum Form {
    Ndjson,
    Csv {
        table: Box<LiveTable>,
        writer: CsvWriter<Vec<u8>>,
    },
}

/// Writes lines.
#[derive(Debug)]
pub(super) struct LinesSink {
    name: String,
    path: PathBuf,
    output: Output,
    form: Form,
    /// Whole lines, of which the first may have been handed on in part.
    pending: Vec<u8>,
    /// Whether the file's name is durable.
    name_durable: bool,
}

/// An alert on its line.
#[derive(Serialize)]
pub(super) struct AlertLine<'a> {
    pub(super) alert: &'a Alert,
}

/// Appends a report or an alert as it stands in a line of ndjson, without the line end; nothing where it has no such
/// form.
pub(super) fn append_line(line: &mut Vec<u8>, value: &impl Serialize, place: impl std::fmt::Display) -> Result<()> {
    let before = line.len();
    serde_json::to_writer(&mut *line, value).map_err(|e| {
        line.truncate(before);
        Error::Failed(format!("{place}: a report has no JSON form: {e}"))
    })
}

/// Opens `path`, where `-` is standard output.
pub(super) fn open(
    name: String,
    path: &Path,
    format: SinkFormat,
    feeds: &[Feed],
    state: Option<&SinkState>,
) -> Result<Box<dyn Sink>> {
    let (form, header) = form(path, format, feeds)?;
    let place = Place::of(state, path)?;
    let output = Output::open(path, &header, place.as_ref())?;
    let empty = !matches!(output, Output::File(_, 1..));
    Ok(Box::new(LinesSink {
        name,
        path: path.to_owned(),
        output,
        form,
        pending: if empty { header } else { Vec::new() },
        name_durable: false,
    }))
}

/// Refuses a file that begins with something else than reports of this form.
pub(super) fn check(path: &Path, format: SinkFormat, feeds: &[Feed]) -> Result<()> {
    if !std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file()) {
        return Ok(());
    }
    let (_, header) = form(path, format, feeds)?;
    let mut file = File::open(path).map_err(|source| Error::Input {
        path: path.to_owned(),
        source,
    })?;
    check_head(&mut file, path, &header)
}

/// The form, and what a file of it begins with.
fn form(path: &Path, format: SinkFormat, feeds: &[Feed]) -> Result<(Form, Vec<u8>)> {
    Ok(match format {
        SinkFormat::Csv => {
            let table = LiveTable::new(feeds.iter().map(|feed| (&feed.spec, feed.ewm)))?;
            let mut writer = CsvWriter::new(Vec::new(), table.schema()).map_err(|e| output(path, e))?;
            let header = std::mem::take(writer.inner_mut());
            let table = Box::new(table);
            (Form::Csv { table, writer }, header)
        }
        _ => (Form::Ndjson, Vec::new()),
    })
}

impl Output {
    fn open(path: &Path, header: &[u8], place: Option<&Place>) -> Result<Self> {
        let said = |e| output(path, e);
        if crate::io::whole::is_stdin(path) {
            return Ok(Self::Stream(Box::new(std::io::stdout())));
        }
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => return Err(said(std::io::ErrorKind::IsADirectory.into())),
            Ok(metadata) if !metadata.is_file() => {
                let file = File::options().write(true).open(path).map_err(said)?;
                return Ok(Self::Stream(Box::new(file)));
            }
            _ => {}
        }
        let mut file = File::options()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(said)?;
        let length = file.metadata().map_err(said)?.len();
        check_head(&mut file, path, header)?;
        let whole = match place {
            Some(place) if place.whole > length => {
                return Err(too_short(path, &bytes(length), &bytes(place.whole)));
            }
            Some(place) => place.whole,
            None if header.is_empty() => last_line_end(&mut file, length).map_err(said)?,
            None => last_row_end(&mut file).map_err(said)?,
        };
        if whole < length {
            // What is opened to be appended to cannot be cut everywhere.
            let cut = File::options().write(true).open(path).map_err(said)?;
            cut.set_len(whole).and_then(|()| cut.sync_all()).map_err(said)?;
        }
        Ok(Self::File(file, whole))
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::File(file, length) => {
                let written = file.write(bytes)?;
                *length += written as u64;
                Ok(written)
            }
            Self::Stream(stream) => stream.write(bytes),
        }
    }
}

fn bytes(n: u64) -> String {
    format!("{n} bytes")
}

/// That a file that is not empty is one of ours: what is cut back must not be anybody else's.
fn check_head(file: &mut File, path: &Path, header: &[u8]) -> Result<()> {
    let said = |e| output(path, e);
    let expected: &[u8] = if header.is_empty() { b"{" } else { header };
    let mut head = Vec::new();
    file.seek(SeekFrom::Start(0)).map_err(said)?;
    file.take(expected.len() as u64).read_to_end(&mut head).map_err(said)?;
    // A header that was cut short by a crash is begun again.
    if expected.starts_with(&head) {
        return Ok(());
    }
    let trimmed = |bytes: &[u8]| quote(bytes.strip_suffix(b"\n").unwrap_or(bytes));
    Err(Error::Config(if header.is_empty() {
        format!(
            "{} begins with {}, so it is no file of reports in ndjson, and nothing is appended to it: name another file",
            path.display(),
            trimmed(&head)
        )
    } else {
        format!(
            "{} begins with {}, but the header of these reports is {}: name another file, or move this one away",
            path.display(),
            trimmed(&head),
            trimmed(header)
        )
    }))
}

/// The length of the file up to and with its last line end.
fn last_line_end(file: &mut File, length: u64) -> std::io::Result<u64> {
    let mut end = length;
    let mut chunk = vec![0; CHUNK_BYTES];
    while end > 0 {
        let size = end.min(CHUNK_BYTES as u64);
        let chunk = &mut chunk[..size as usize];
        file.seek(SeekFrom::Start(end - size))?;
        file.read_exact(chunk)?;
        if let Some(at) = memchr::memrchr(b'\n', chunk) {
            return Ok(end - size + at as u64 + 1);
        }
        end -= size;
    }
    Ok(0)
}

/// The length of the file up to and with the last line end outside quotes, which only the whole of it tells.
fn last_row_end(file: &mut File) -> std::io::Result<u64> {
    file.seek(SeekFrom::Start(0))?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let (mut at, mut end, mut quoted) = (0, 0, false);
    loop {
        let size = match file.read(&mut chunk) {
            Ok(0) => return Ok(end),
            Ok(size) => size,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        for i in memchr::memchr2_iter(b'"', b'\n', &chunk[..size]) {
            if chunk[i] == b'"' {
                quoted = !quoted;
            } else if !quoted {
                end = at + i as u64 + 1;
            }
        }
        at += size as u64;
    }
}

impl LinesSink {
    /// Hands the buffer to the system; what it does not take stays.
    fn hand_on(&mut self) -> std::io::Result<()> {
        let mut done = 0;
        let mut result = Ok(());
        while done < self.pending.len() && result.is_ok() {
            match self.output.write(&self.pending[done..]) {
                Ok(0) => result = Err(std::io::ErrorKind::WriteZero.into()),
                Ok(n) => done += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => result = Err(e),
            }
        }
        self.pending.drain(..done);
        result
    }

    /// Makes room before something is taken: an error here means that nothing of it was.
    fn make_room(&mut self) -> Result<()> {
        if self.pending.len() >= BUFFER_BYTES {
            self.hand_on().map_err(|e| output(&self.path, e))?;
        }
        Ok(())
    }

    /// Hands on a full buffer; should that fail, the next call says so.
    fn relieve(&mut self) {
        if self.pending.len() >= BUFFER_BYTES {
            let _ = self.hand_on();
        }
    }

    fn line(&mut self, value: &impl Serialize) -> Result<()> {
        append_line(&mut self.pending, value, self.path.display())?;
        self.pending.push(b'\n');
        Ok(())
    }

    fn handed_on(&mut self) -> Result<()> {
        self.hand_on().map_err(|e| output(&self.path, e))?;
        match &mut self.output {
            Output::File(..) => Ok(()),
            Output::Stream(stream) => stream.flush().map_err(|e| output(&self.path, e)),
        }
    }
}

impl Sink for LinesSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn write(&mut self, reports: &[Emission]) -> Result<()> {
        self.make_room()?;
        if let Form::Csv { table, writer } = &mut self.form {
            let table = table.table(reports)?;
            let written = writer.write(&table);
            let mut rows = std::mem::take(writer.inner_mut());
            written.map_err(|e| output(&self.path, e))?;
            self.pending.append(&mut rows);
            self.relieve();
            return Ok(());
        }
        for report in reports {
            self.line(report)?;
            self.relieve();
        }
        Ok(())
    }

    fn alert(&mut self, alert: &Alert) -> Result<()> {
        match self.form {
            Form::Csv { .. } => Ok(()),
            Form::Ndjson => {
                self.make_room()?;
                self.line(&AlertLine { alert })
            }
        }
    }

    fn flush(&mut self) -> Result<()> {
        self.handed_on()
    }

    fn checkpoint(&mut self) -> Result<SinkState> {
        self.handed_on()?;
        let Output::File(file, length) = &self.output else {
            return Ok(SinkState::default());
        };
        file.sync_data().map_err(|e| output(&self.path, e))?;
        if !self.name_durable {
            sync_directory(&self.path).map_err(|e| output(&self.path, e))?;
            self.name_durable = true;
        }
        Ok(Place::new(&self.path, *length, 0).to_state())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.checkpoint().map(drop)
    }
}

#[cfg(test)]
mod tests;
