//! Rows of files: to their end, or followed while they grow, through rotation and truncation.
//!
//! A followed file that is renamed away is read to its end, then those that had its name in between, then the one that
//! has it now; the position says which file its offset belongs to, so that after a restart the old one is found under its
//! new name. A file that has become shorter is read from its start again. Every path is a partition of its own, and they
//! take turns.
//!
//! A position is the end of a batch, which is the end of a record. To resume, the header line is read again.

mod columns;
mod rotation;

use super::live::{self, Context, IDLE_WAIT, WireFormat};
use super::wire::Decoder;
use super::{About, Format, Position, Read, Rows, Source, whole};
use crate::error::{Error, Result};
use arrow::datatypes::SchemaRef;
use columns::Columns;
use rotation::identity;
pub(crate) use rotation::{farewell, partitions};
use std::fs::{File, Metadata};
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// How often it is looked whether a followed path names another file than the one that is read.
const LOOK_WAIT: Duration = Duration::from_millis(100);

/// How long a file that was renamed away is still read: its writer may not have noticed yet.
const LINGER: Duration = Duration::from_millis(500);

/// Bytes of a file in which lines are counted when it is resumed, which takes some tenths of a second; behind more, the
/// line numbers of bad rows count rows instead.
const LINES_COUNTED_BYTES: u64 = 256 << 20;

/// Which files to read, and how.
#[derive(Debug, Clone, Default)]
pub struct FileOptions {
    /// The files; each is a partition.
    pub paths: Vec<PathBuf>,
    /// The numbers of the partitions, by path; as they stand there, where absent.
    pub partitions: Vec<u32>,
    /// Whether to go on at the end of a file, waiting for more.
    pub follow: bool,
    /// Places to go on from, by their partition; the others are read from their start.
    pub positions: Vec<Position>,
}

/// The rows of files.
#[derive(Debug)]
pub struct FileSource {
    context: Context,
    parts: Vec<Part>,
    /// By part: whether it is at its end.
    ended: Vec<bool>,
    turn: usize,
    arrival: live::Arrival,
}

/// One of the files.
#[derive(Debug)]
enum Part {
    Lines(Box<Lines>),
    Columns(Columns),
}

impl FileSource {
    /// Opens the files, or begins to wait for them where they are followed.
    ///
    /// # Errors
    /// [`Error::Input`] for a file that cannot be opened, unless it is followed; [`Error::Config`] where nothing is
    /// named, or what is followed cannot be; what the first rows of each say.
    pub fn open(context: &Context, options: &FileOptions) -> Result<Self> {
        if options.paths.is_empty() {
            return Err(Error::Config(format!("feed `{}`: no path is named", context.name)));
        }
        let mut parts = Vec::new();
        for (place, path) in (0u32..).zip(&options.paths) {
            let partition = options.partitions.get(place as usize).copied().unwrap_or(place);
            let from = options
                .positions
                .iter()
                .find(|position| position.partition == partition);
            let from = from.copied().unwrap_or(Position {
                partition,
                ..Position::default()
            });
            parts.push(match columns::needs_reader(context, path, options.follow)? {
                Some(read) => Part::Columns(Columns::open(context, path, &read, from)?),
                None => Part::Lines(Box::new(Lines::open(context, path, options, from)?)),
            });
        }
        Ok(Self {
            context: context.clone(),
            ended: vec![false; parts.len()],
            parts,
            turn: 0,
            arrival: live::Arrival::default(),
        })
    }

    /// How often a file was found shorter than what had been read of it, or gone when it was to be resumed: read from
    /// the start, so that rows may be lost or come twice.
    pub fn restarts(&self) -> u64 {
        let restarts = |part: &Part| match part {
            Part::Lines(lines) => lines.notes.len() as u64,
            Part::Columns(columns) => u64::from(columns.note.is_some()),
        };
        self.parts.iter().map(restarts).sum()
    }
}

impl Source for FileSource {
    fn schema(&self) -> SchemaRef {
        let known = self.parts.iter().find_map(|part| match part {
            Part::Lines(lines) => lines.schema(),
            Part::Columns(columns) => Some(columns.schema.clone()),
        });
        known.unwrap_or_else(|| live::settled(&self.context))
    }

    fn select(&mut self, columns: &[String]) -> Result<()> {
        let schema = self.schema();
        match schema.fields().iter().map(|field| field.name()).eq(columns) {
            true => Ok(()),
            false => live::selected(&self.context, columns),
        }
    }

    fn about(&self) -> About {
        let first = match &self.parts[..] {
            [Part::Lines(lines), ..] => lines.name.clone(),
            [Part::Columns(columns), ..] => columns.name.clone(),
            [] => String::new(),
        };
        let notes = self.parts.iter().filter_map(|part| match part {
            Part::Lines(lines) => lines.notes.last().cloned(),
            Part::Columns(columns) => columns.note.clone(),
        });
        let notes: Vec<String> = notes.collect();
        About {
            name: first,
            hint: (!notes.is_empty()).then(|| notes.join("; ")),
            ..About::default()
        }
    }

    fn partitions(&self) -> Option<Vec<u32>> {
        let partition = |part: &Part| match part {
            Part::Lines(lines) => lines.partition,
            Part::Columns(columns) => columns.partition,
        };
        let open = self.parts.iter().zip(&self.ended).filter(|(_, ended)| !**ended);
        Some(open.map(|(part, _)| partition(part)).collect())
    }

    fn notes(&mut self) -> Vec<String> {
        let unsaid = |part: &mut Part| match part {
            Part::Lines(lines) => {
                let said = std::mem::replace(&mut lines.said, lines.notes.len());
                lines.notes[said..].to_vec()
            }
            Part::Columns(columns) => {
                let said = std::mem::replace(&mut columns.said, true);
                columns.note.iter().filter(|_| !said).cloned().collect()
            }
        };
        self.parts.iter_mut().flat_map(unsaid).collect()
    }

    fn read(&mut self) -> Result<Read> {
        let mut all_ended = true;
        for _ in 0..self.parts.len() {
            // A file has accepted nothing: what has not been read is read after a restart.
            if self.context.stop.is_stopped() {
                return Ok(Read::End);
            }
            self.turn = (self.turn + 1) % self.parts.len();
            let read = match &mut self.parts[self.turn] {
                Part::Lines(lines) => lines.read()?,
                Part::Columns(columns) => columns.read()?,
            };
            match read {
                Read::Batch(mut rows, position) => {
                    self.arrival.stamp(&mut rows);
                    return Ok(Read::Batch(rows, position));
                }
                Read::Idle => all_ended = false,
                Read::End => self.ended[self.turn] = true,
            }
        }
        if all_ended {
            return Ok(Read::End);
        }
        thread::sleep(IDLE_WAIT);
        Ok(Read::Idle)
    }
}

/// A file whose records are read one after the other.
#[derive(Debug)]
struct Lines {
    context: Context,
    path: PathBuf,
    name: String,
    follow: bool,
    partition: u32,
    open: Option<Open>,
    /// Rows of the files before the one that is open.
    rows_before: u64,
    /// What has been read in advance.
    ahead: Option<Read>,
    ended: bool,
    /// Whether the file that is open is one that had the name before.
    is_behind: bool,
    /// Files that were read to their end, the newest last.
    seen: Vec<u64>,
    /// Paths that are read by themselves.
    others: Vec<PathBuf>,
    notes: Vec<String>,
    /// How many of the notes were said.
    said: usize,
}

/// A file that is open.
#[derive(Debug)]
struct Open {
    file: File,
    decoder: Decoder,
    generation: u64,
    /// Bytes of the file that have been read.
    at: u64,
    /// Nothing more will be read of it.
    finished: bool,
    looked: Instant,
    /// When it was found to be renamed away, or has grown since.
    leaving: Option<Instant>,
}

impl Lines {
    fn open(context: &Context, path: &Path, options: &FileOptions, from: Position) -> Result<Self> {
        let follow = options.follow;
        let mut lines = Self {
            context: context.clone(),
            path: path.to_owned(),
            name: whole::name(path),
            follow,
            partition: from.partition,
            open: None,
            rows_before: from.rows,
            ahead: None,
            ended: false,
            is_behind: false,
            seen: Vec::new(),
            others: options.paths.clone(),
            notes: Vec::new(),
            said: 0,
        };
        // What is wrong with the options is found out even where there is no file yet.
        lines.decoder()?;
        match (from.offset_bytes, lines.find(from.generation)?) {
            (0, _) => {}
            (_, Some((file, metadata))) if metadata.len() >= from.offset_bytes => {
                lines.open = Some(lines.resume(file, &metadata, from)?);
                lines.is_behind = lines.is_other(identity(&metadata));
            }
            (offset, Some(_)) => lines.note(format!("is shorter than the {offset} bytes that had been read")),
            (_, None) => lines.note("has gone since it was read".into()),
        }
        if !follow && lines.open.is_none() {
            whole::open_file(path)?;
        }
        // The first rows settle the columns.
        lines.ahead = Some(lines.read()?);
        Ok(lines)
    }

    fn note(&mut self, what: String) {
        self.notes
            .push(format!("{} {what}: it is read from its start", self.name));
    }

    fn input(&self) -> impl Fn(io::Error) -> Error + use<> {
        let path = self.path.clone();
        move |source| Error::Input {
            path: path.clone(),
            source,
        }
    }

    fn decoder(&self) -> Result<Decoder> {
        let is_tsv = matches!(Format::of(&self.path), Ok(Format::Tsv));
        Decoder::delimited(&self.context, &self.name, if is_tsv { b'\t' } else { b',' })
    }

    fn schema(&self) -> Option<SchemaRef> {
        self.open.as_ref().and_then(|open| open.decoder.schema())
    }

    /// Goes on behind the position.
    fn resume(&mut self, mut file: File, metadata: &Metadata, from: Position) -> Result<Open> {
        let input = self.input();
        if self.context.schema.get().is_none() {
            // The first rows of the file settle the columns, as they did the first time.
            let mut scout = self.decoder()?;
            while scout.schema().is_none() {
                let got = scout.fill(&mut file).map_err(&input)?;
                if got == 0 {
                    scout.finish();
                }
                if scout.next_rows()?.is_none() && got == 0 {
                    break;
                }
            }
            file.rewind().map_err(&input)?;
        }
        let mut decoder = self.decoder()?;
        if self.context.wire.format == WireFormat::Arrow {
            // What the messages before it say (schema, dictionaries) is needed.
            while decoder.offset() < from.offset_bytes {
                if decoder.next_rows()?.is_none() && decoder.fill(&mut file).map_err(&input)? == 0 {
                    break;
                }
            }
            self.rows_before = from.rows.saturating_sub(decoder.rows());
        } else {
            while !decoder.take_header()? {
                if decoder.fill(&mut file).map_err(&input)? == 0 {
                    decoder.finish();
                    decoder.take_header()?;
                    break;
                }
            }
            let lines = match self.context.wire.format {
                WireFormat::Csv | WireFormat::Ndjson if from.offset_bytes <= LINES_COUNTED_BYTES => {
                    file.rewind().map_err(&input)?;
                    count_lines(&mut file, from.offset_bytes).map_err(&input)?
                }
                _ => from.rows,
            };
            decoder.jump(from.offset_bytes, lines);
            file.seek(SeekFrom::Start(from.offset_bytes)).map_err(&input)?;
        }
        let at = file.stream_position().map_err(&input)?;
        Ok(Open::new(file, decoder, identity(metadata), at))
    }

    fn read(&mut self) -> Result<Read> {
        loop {
            if let Some(ahead) = self.ahead.take() {
                return Ok(ahead);
            }
            if self.ended {
                return Ok(Read::End);
            }
            let Some(open) = &mut self.open else {
                match opened(&self.path) {
                    Ok((file, metadata)) => {
                        let decoder = self.decoder()?;
                        self.open = Some(Open::new(file, decoder, identity(&metadata), 0));
                        continue;
                    }
                    Err(e) if self.follow && e.kind() == io::ErrorKind::NotFound => return Ok(Read::Idle),
                    Err(e) => return Err(self.input()(e)),
                }
            };
            if let Some(rows) = open.decoder.next_rows()? {
                // A file that cannot be read on is an error, not a bad row.
                if open.decoder.is_refused() {
                    open.decoder.next_rows()?;
                }
                return Ok(self.batch(rows));
            }
            if open.finished {
                self.rows_before += open.decoder.rows();
                // Where only a header was there, its columns are still asked for.
                if self.follow || self.is_behind {
                    self.go_on()?;
                } else {
                    self.ended = true;
                }
                continue;
            }
            let got = loop {
                match open.decoder.fill(&mut open.file) {
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    got => break got,
                }
            };
            let got = got.map_err(self.input())?;
            let Some(open) = &mut self.open else { continue };
            if got > 0 {
                self.context.counters.bytes.fetch_add(got as u64, Ordering::Relaxed);
                open.at += got as u64;
                open.leaving = open.leaving.map(|_| Instant::now());
            } else if !self.follow {
                open.decoder.finish();
                open.finished = true;
            } else if !self.at_end()? {
                return Ok(Read::Idle);
            }
        }
    }

    /// What to do at the end of a followed file; whether there is something to read now.
    fn at_end(&mut self) -> Result<bool> {
        let input = self.input();
        let Some(open) = &mut self.open else { return Ok(true) };
        if open.decoder.is_settling() && open.decoder.is_within_record() {
            open.decoder.settle();
            if let Some(rows) = open.decoder.next_rows()? {
                self.ahead = Some(self.batch(rows));
                return Ok(true);
            }
        }
        if open.looked.elapsed() < LOOK_WAIT {
            return Ok(false);
        }
        open.looked = Instant::now();
        if open.file.metadata().map_err(&input)?.len() < open.at {
            // What was half a line will never be whole.
            open.decoder.abandon();
            let rest = open.decoder.next_rows()?;
            self.rows_before += open.decoder.rows();
            self.note("has become shorter".into());
            let decoder = self.decoder()?;
            let Some(open) = &mut self.open else { return Ok(true) };
            open.file.rewind().map_err(&input)?;
            (open.decoder, open.at) = (decoder, 0);
            if let Some(rows) = rest {
                self.ahead = Some(Read::Batch(rows, self.position()));
            }
            return Ok(true);
        }
        // Where it was renamed away and nothing has come in its place, it is still the one to read.
        let generation = open.generation;
        let is_other = self.is_other(generation);
        let Some(open) = &mut self.open else { return Ok(true) };
        if is_other && open.leaving.get_or_insert_with(Instant::now).elapsed() >= LINGER {
            open.decoder.finish();
            open.finished = true;
            return Ok(true);
        }
        Ok(false)
    }

    fn batch(&self, rows: Rows) -> Read {
        Read::Batch(rows, self.position())
    }

    fn position(&self) -> Position {
        let (rows, offset_bytes, generation) = self.open.as_ref().map_or((0, 0, 0), |open| {
            (open.decoder.rows(), open.decoder.offset(), open.generation)
        });
        Position {
            partition: self.partition,
            rows: self.rows_before + rows,
            offset_bytes,
            generation,
        }
    }
}

impl Open {
    fn new(file: File, decoder: Decoder, generation: u64, at: u64) -> Self {
        Self {
            file,
            decoder,
            generation,
            at,
            finished: false,
            looked: Instant::now(),
            leaving: None,
        }
    }
}

fn opened(path: &Path) -> io::Result<(File, Metadata)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    match metadata.is_dir() {
        true => Err(io::ErrorKind::IsADirectory.into()),
        false => Ok((file, metadata)),
    }
}

/// Line ends in the next `bytes` bytes.
fn count_lines(file: &mut File, bytes: u64) -> io::Result<u64> {
    let mut piece = vec![0; 1 << 18];
    let mut rest = io::Read::take(file, bytes);
    let mut lines = 0;
    loop {
        match io::Read::read(&mut rest, &mut piece)? {
            0 => return Ok(lines),
            got => lines += super::chunks::count_lines(&piece[..got]),
        }
    }
}
