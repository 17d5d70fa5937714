//! Reports as Parquet files, one after another: `NAME-000001.parquet`, `NAME-000002.parquet`, ….
//!
//! A file with such a name is a whole file. The rows of the next one wait beside it in `.NAME-000003.rows`, as an Arrow
//! stream that is appended to, and become a Parquet file once they are large enough; then the stream is removed. A
//! checkpoint makes the stream durable and says how many files are whole and how many rows stand behind them, and
//! opening goes back to that: rows of a file that was ended since are taken from it.

use super::state::{Place, output, sync_directory, too_short};
use super::{Feed, Sink, SinkState};
use crate::error::{Error, Result};
use crate::io::table::{Output, TableWriter};
use crate::report::long::LiveTable;
use crate::report::{Alert, Emission};
use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Digits of a file's number, so that names sort as numbers do up to a million files.
const DIGITS: usize = 6;

/// Rows that are collected before they go to the stream: a message for each report would be larger than its rows.
const BATCH_ROWS: usize = 8192;

/// What a stream may be larger than the Parquet file that is made of it: a file of rows that are all alike is ended
/// early rather than that its stream fills the disk.
const RATIO_MAX: f64 = 16.0;

/// Writes Parquet files.
pub(super) struct RollingSink {
    name: String,
    path: PathBuf,
    roll_bytes: u64,
    table: LiveTable,
    /// Whole files.
    files: u64,
    /// Bytes of the stream for each byte of Parquet, as the last file had it: what decides when the stream is large
    /// enough. It is 1 before the first, which is therefore smaller than asked for.
    ratio: f64,
    stream: Stream,
    /// Rows that wait for their message.
    pending: Vec<RecordBatch>,
    pending_rows: usize,
}

/// The rows of the next file.
struct Stream {
    path: PathBuf,
    file: File,
    /// Makes messages in memory, so that each is written as a whole or not at all.
    encoder: StreamWriter<Vec<u8>>,
    length: u64,
    rows: u64,
}

/// The parts of the names: the directory, what stands before the number and behind it.
struct Names {
    directory: PathBuf,
    stem: String,
    extension: String,
}

impl Names {
    fn of(path: &Path) -> Result<Self> {
        let text = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
        let stem = text(path.file_stem());
        let Some(stem) = stem.filter(|_| !path.is_dir()) else {
            return Err(output(path, std::io::ErrorKind::InvalidFilename.into()));
        };
        let directory = path.parent().filter(|d| !d.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new(".")).to_owned();
        if !directory.is_dir() {
            let why = format!("there is no directory {}", directory.display());
            return Err(output(path, std::io::Error::new(std::io::ErrorKind::NotFound, why)));
        }
        Ok(Self {
            directory,
            stem,
            extension: text(path.extension()).unwrap_or_else(|| "parquet".into()),
        })
    }

    fn file(&self, number: u64) -> PathBuf {
        let Self { stem, extension, .. } = self;
        self.directory.join(format!("{stem}-{number:0DIGITS$}.{extension}"))
    }

    fn stream(&self, number: u64) -> PathBuf {
        self.directory.join(format!(".{}-{number:0DIGITS$}.rows", self.stem))
    }

    /// The numbers of the files (or streams) that are there.
    fn numbers(&self, before: &str, behind: &str) -> std::io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let name = entry?.file_name();
            let digits = name
                .to_str()
                .and_then(|name| name.strip_prefix(before)?.strip_suffix(behind));
            let digits = digits.filter(|d| d.len() >= DIGITS && d.bytes().all(|b| b.is_ascii_digit()));
            numbers.extend(digits.and_then(|digits| digits.parse::<u64>().ok()));
        }
        Ok(numbers)
    }

    fn files(&self) -> std::io::Result<Vec<u64>> {
        self.numbers(&format!("{}-", self.stem), &format!(".{}", self.extension))
    }

    fn streams(&self) -> std::io::Result<Vec<u64>> {
        self.numbers(&format!(".{}-", self.stem), ".rows")
    }
}

impl RollingSink {
    /// Goes on behind the files that are there, or where a checkpoint stands.
    pub(super) fn open(
        name: String,
        path: &Path,
        roll_bytes: u64,
        feeds: &[Feed],
        state: Option<&SinkState>,
    ) -> Result<Self> {
        let said = |e| output(path, e);
        let table = LiveTable::new(feeds.iter().map(|feed| (&feed.spec, feed.ewm)))?;
        let names = Names::of(path)?;
        let there = names.files().map_err(said)?;
        let place = Place::of(state, path)?;
        let last = there.iter().copied().max().unwrap_or(0);
        let files = place.as_ref().map_or(last, |place| place.whole);
        let next = names.stream(files + 1);
        let rows = match &place {
            Some(place) => {
                let rows = kept_rows(&names, files + 1, place.rows, &table)?;
                let found: usize = rows.iter().map(RecordBatch::num_rows).sum();
                if (found as u64) < place.rows {
                    let (has, wanted) = (format!("{found} rows"), format!("{} rows", place.rows));
                    return Err(too_short(&names.file(files + 1), &has, &wanted));
                }
                rows
            }
            // What a crash left of a run that kept no state.
            None if next.exists() => kept_rows(&names, files + 1, u64::MAX, &table)?,
            None => Vec::new(),
        };
        let stream = Stream::begin(&next, &table, &rows).map_err(|e| failed(path, e))?;
        sync_directory(path).map_err(said)?;
        // Only now that these rows are durable elsewhere.
        for number in there.into_iter().filter(|n| *n > files) {
            std::fs::remove_file(names.file(number)).map_err(said)?;
        }
        for number in names.streams().map_err(said)?.into_iter().filter(|n| *n != files + 1) {
            std::fs::remove_file(names.stream(number)).map_err(said)?;
        }
        Ok(Self {
            name,
            path: path.to_owned(),
            roll_bytes,
            table,
            files,
            ratio: 1.0,
            stream,
            pending: Vec::new(),
            pending_rows: 0,
        })
    }

    /// Gives the waiting rows to the stream.
    fn hand_on(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let batch = arrow::compute::concat_batches(self.table.schema(), &self.pending);
        let batch = batch.map_err(|e| failed(&self.path, e))?;
        self.stream.write(&batch).map_err(|e| failed(&self.path, e))?;
        self.pending.clear();
        self.pending_rows = 0;
        Ok(())
    }

    /// Makes a file of the rows of the stream.
    fn roll(&mut self) -> Result<()> {
        self.hand_on()?;
        if self.stream.rows == 0 {
            return Ok(());
        }
        let names = Names::of(&self.path)?;
        let file = names.file(self.files + 1);
        let mut writer = TableWriter::create(&file, Output::Parquet, self.table.schema().clone())?;
        for batch in rows_of_stream(&self.stream.path).map_err(|e| failed(&self.path, e))? {
            writer.write(&batch.map_err(|e| failed(&self.path, e))?)?;
        }
        writer.finish()?;
        let size = std::fs::metadata(&file).map_err(|e| output(&file, e))?.len();
        self.ratio = (self.stream.length as f64 / size.max(1) as f64).clamp(1.0, RATIO_MAX);
        let next = Stream::begin(&names.stream(self.files + 2), &self.table, &[]).map_err(|e| failed(&self.path, e))?;
        sync_directory(&self.path).map_err(|e| output(&self.path, e))?;
        let done = std::mem::replace(&mut self.stream, next);
        self.files += 1;
        std::fs::remove_file(&done.path).map_err(|e| output(&self.path, e))
    }

    fn roll_if_large(&mut self) -> Result<()> {
        if self.stream.length as f64 / self.ratio >= self.roll_bytes as f64 {
            self.roll()?;
        }
        Ok(())
    }
}

impl Stream {
    /// A stream with these rows, under its name only once it is whole and durable.
    fn begin(path: &Path, table: &LiveTable, rows: &[RecordBatch]) -> Result<Self, ArrowError> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        let mut stream = Self {
            path: path.to_owned(),
            file: File::create(&temporary)?,
            encoder: StreamWriter::try_new(Vec::new(), table.schema())?,
            length: 0,
            rows: 0,
        };
        stream.hand_on()?;
        for batch in rows {
            stream.write(batch)?;
        }
        stream.file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        Ok(stream)
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        self.encoder.write(batch)?;
        self.hand_on()?;
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// Writes what was encoded, or takes back what the disk took of it.
    fn hand_on(&mut self) -> std::io::Result<()> {
        let bytes = std::mem::take(self.encoder.get_mut());
        if let Err(error) = self.file.write_all(&bytes) {
            self.file.set_len(self.length)?;
            self.file.seek(SeekFrom::Start(self.length))?;
            return Err(error);
        }
        self.length += bytes.len() as u64;
        Ok(())
    }
}

/// The whole messages of a stream; what a crash cut short ends it.
fn rows_of_stream(path: &Path) -> Result<impl Iterator<Item = Result<RecordBatch, ArrowError>> + use<>, ArrowError> {
    StreamReader::try_new(BufReader::new(File::open(path)?), None)
}

/// The first rows of a file, or of its stream where it was not ended.
fn kept_rows(names: &Names, number: u64, rows_max: u64, table: &LiveTable) -> Result<Vec<RecordBatch>> {
    let (file, stream) = (names.file(number), names.stream(number));
    let mut batches: Box<dyn Iterator<Item = RecordBatch>> = if file.exists() {
        let opened = File::open(&file).map_err(|e| output(&file, e))?;
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(opened)
            .and_then(|builder| builder.build())
            .map_err(|e| Error::Data(format!("{}: {e}", file.display())))?;
        Box::new(reader.map_while(Result::ok))
    } else if stream.exists() {
        match rows_of_stream(&stream) {
            Ok(batches) => Box::new(batches.map_while(Result::ok)),
            Err(_) => Box::new(std::iter::empty()),
        }
    } else {
        Box::new(std::iter::empty())
    };
    let mut kept = Vec::new();
    let mut rows = 0;
    while rows < rows_max
        && let Some(batch) = batches.next()
    {
        // Other columns than those of the reports that will follow have no place in one file with them.
        if batch.schema() != *table.schema() {
            return Err(Error::Config(format!(
                "{} holds reports with other columns than these: name another file, or move these away",
                if file.exists() { &file } else { &stream }.display()
            )));
        }
        let batch = batch.slice(
            0,
            batch.num_rows().min((rows_max - rows).try_into().unwrap_or(usize::MAX)),
        );
        rows += batch.num_rows() as u64;
        kept.push(batch);
    }
    Ok(kept)
}

/// What arrow or the system said.
fn failed(path: &Path, error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(_, source) => output(path, source),
        other => output(path, std::io::Error::other(other)),
    }
}

impl Sink for RollingSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn write(&mut self, reports: &[Emission]) -> Result<()> {
        // Before something is taken, so that an error means that nothing was.
        if self.pending_rows >= BATCH_ROWS {
            self.hand_on()?;
        }
        self.roll_if_large()?;
        let table = self.table.table(reports)?;
        self.pending_rows += table.num_rows();
        self.pending.push(table);
        Ok(())
    }

    /// A table of statistics has no place for alerts.
    fn alert(&mut self, _: &Alert) -> Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.pending_rows >= BATCH_ROWS {
            self.hand_on()?;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.roll()
    }

    fn checkpoint(&mut self) -> Result<SinkState> {
        self.hand_on()?;
        self.roll_if_large()?;
        self.stream.file.sync_data().map_err(|e| output(&self.path, e))?;
        Ok(Place::new(&self.path, self.files, self.stream.rows).to_state())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.roll()?;
        std::fs::remove_file(&self.stream.path).map_err(|e| output(&self.path, e))
    }
}

#[cfg(test)]
mod tests;
