//! Lines of csv and JSON: the header, the columns that the first rows settle, then chunks of whole records.
//!
//! What the decoders of the file readers make of records is taken as it is; what is here is waiting for a header and
//! for the rows that settle the columns, and giving up no more than one line where a line is too long, a quote is never
//! closed, or a sender vanishes.

mod settle;

use super::cut::{Cut, Found};
use super::input::{End, Input};
use super::{BATCH_BYTES, Decoded, KEPT_BYTES, Refusal};
use crate::error::{BadRow, Error, Result};
use crate::io::ReadOptions;
use crate::io::chunks::{Decode, INFER_BYTES_MAX, count_lines};
use crate::io::csv::{infer, split};
use crate::io::live::{Context, Settled, WireOptions};
use crate::io::ndjson::infer as json_infer;
use crate::io::rejected::Rejected;
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use memchr::memchr;
use std::fmt;
use std::sync::Arc;

/// What some programs begin a text with.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Bytes of complete rows at which it is first looked whether they are enough to settle the columns.
const FIRST_LOOK_BYTES: usize = INFER_BYTES_MAX / 32;

pub(super) struct Text {
    source: String,
    wire: Arc<WireOptions>,
    options: ReadOptions,
    /// The columns of the feed.
    settled: Arc<Settled>,
    /// The columns of these rows, where no row has settled those of the feed.
    own: Option<SchemaRef>,
    /// What separates fields; none for JSON.
    delimiter: Option<u8>,
    names: Vec<String>,
    cut: Cut,
    stage: Stage,
    header_bytes: usize,
    /// The line of the header, where there is one.
    header_line: Option<u64>,
    /// Lines before what is held.
    lines: u64,
    /// Within a line that is too long.
    skipping: bool,
    settle: bool,
    look_at: usize,
    /// Rows of one batch at most.
    rows_max: usize,
    rejected: Rejected,
}

enum Stage {
    Start,
    Header,
    Sample,
    Rows(Box<dyn Decode>),
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Text")
            .field("source", &self.source)
            .field("names", &self.names)
            .field("lines", &self.lines)
            .finish_non_exhaustive()
    }
}

impl Text {
    pub(super) fn new(context: &Context, source: &str, delimiter: Option<u8>) -> Result<Self> {
        let wire = context.wire.clone();
        let names = match delimiter {
            Some(_) => wire.columns.clone().unwrap_or_default(),
            None => Vec::new(),
        };
        if let Some(twice) = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
            return Err(Error::Config(format!(
                "feed `{}`: columns names `{}` twice",
                context.name, twice.1
            )));
        }
        let wanted = wire
            .wanted
            .iter()
            .flatten()
            .chain(wire.time.iter().map(|(time, _)| time));
        if let Some(lacking) = wanted.filter(|_| !names.is_empty()).find(|name| !names.contains(name)) {
            return Err(Error::Config(format!(
                "feed `{}`: columns = [...] does not name `{lacking}`",
                context.name
            )));
        }
        Ok(Self {
            source: source.into(),
            options: wire.read_options(),
            settled: context.schema.clone(),
            own: None,
            delimiter,
            names,
            cut: Cut::new(delimiter, wire.line_bytes_max),
            stage: Stage::Start,
            header_bytes: 0,
            header_line: None,
            lines: 0,
            skipping: false,
            settle: false,
            look_at: FIRST_LOOK_BYTES,
            rejected: Rejected::default(),
            rows_max: 1,
            wire,
        })
    }

    pub(super) fn settle(&mut self) {
        self.settle = true;
    }

    pub(super) fn is_settling(&self) -> bool {
        !matches!(self.stage, Stage::Rows(_))
    }

    pub(super) fn is_skipping(&self) -> bool {
        self.skipping
    }

    /// Reads no more than the header; false while it is not complete.
    pub(super) fn take_header(&mut self, input: &mut Input) -> Result<bool, Refusal> {
        loop {
            let goes_on = match self.stage {
                Stage::Start => self.start(input),
                Stage::Header => self.header(input)?,
                Stage::Sample | Stage::Rows(_) => return Ok(true),
            };
            if !goes_on {
                return Ok(false);
            }
        }
    }

    pub(super) fn schema(&self) -> Option<SchemaRef> {
        self.own.clone().or_else(|| self.settled.get().cloned())
    }

    pub(super) fn jump(&mut self, lines: u64) {
        self.lines = lines;
        self.cut = Cut::new(self.delimiter, self.wire.line_bytes_max);
        if matches!(self.stage, Stage::Start) {
            self.stage = Stage::Sample;
        }
    }

    pub(super) fn next(&mut self, input: &mut Input) -> Result<Option<Decoded>, Refusal> {
        loop {
            if self.skipping && !self.skip_line(input) {
                return Ok(self.only_rejected());
            }
            let goes_on = match self.stage {
                Stage::Start => self.start(input),
                Stage::Header => self.header(input)?,
                Stage::Sample => self.sample(input)?,
                Stage::Rows(_) => match self.rows(input)? {
                    Some(decoded) => return Ok(Some(decoded)),
                    None => self.odd_end(input),
                },
            };
            if !goes_on {
                return Ok(self.only_rejected());
            }
        }
    }

    /// Passes over a byte order mark; false while it is not clear whether there is one.
    fn start(&mut self, input: &mut Input) -> bool {
        let held = input.held();
        if held.len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(held) && !input.is_ended() {
            return false;
        }
        if held.starts_with(BYTE_ORDER_MARK) {
            input.consume(BYTE_ORDER_MARK.len());
        }
        self.stage = match self.delimiter {
            Some(_) if self.wire.columns.is_none() => Stage::Header,
            _ => Stage::Sample,
        };
        true
    }

    /// Reads the header; false while it is not complete.
    fn header(&mut self, input: &mut Input) -> Result<bool, Refusal> {
        input.end_line();
        let delimiter = self.delimiter.unwrap_or(b',');
        let blank = blank_lines(input.held());
        if blank > 0 {
            self.lines += count_lines(&input.held()[..blank]);
            input.consume(blank);
        }
        let held = input.held();
        let found = self.cut.find(held, 1);
        if self.cut.complete() == 0 {
            let quoted = "a quote is opened in the header and never closed";
            return match (found, input.state) {
                (Found::TooLong, _) => {
                    let limit = self.wire.line_bytes_max;
                    Err(self.refusal(
                        &held[..limit],
                        format!("the header is longer than {limit} bytes (limits.line)"),
                    ))
                }
                (Found::Open, End::Open) => Ok(false),
                (Found::Open, _) if held.is_empty() => Ok(false),
                (Found::Open, End::Whole) => Err(self.refusal(held, quoted.into())),
                (Found::Open, End::CutOff) => {
                    self.reject_rest(input);
                    Ok(false)
                }
            };
        }
        let mut fields = Vec::new();
        let end = split::record(&held[..self.cut.complete()], 0, delimiter, &mut fields);
        let names = infer::names(&fields);
        self.names = names.map_err(|what| self.refusal(&held[..end], what))?;
        self.header_line = Some(self.lines + 1);
        // The bytes before the first row count as looked at.
        self.header_bytes = usize::try_from(input.taken()).unwrap_or(usize::MAX).saturating_add(end);
        self.lines += count_lines(&held[..end]);
        input.consume(end);
        self.cut = Cut::new(self.delimiter, self.wire.line_bytes_max);
        self.stage = Stage::Sample;
        Ok(true)
    }

    /// Settles the columns once there are enough rows; false while there are not.
    fn sample(&mut self, input: &mut Input) -> Result<bool, Refusal> {
        if let Some(schema) = self.settled.get().cloned().or_else(|| self.named_types()) {
            let schema = self.settled.settle(schema)?;
            self.decode_as(&schema)?;
            return Ok(true);
        }
        input.end_line();
        let held = input.held();
        let found = self.cut.find(held, INFER_BYTES_MAX);
        let complete = self.cut.complete();
        if complete == 0 && !(input.is_ended() && held.is_empty()) {
            return Ok(self.odd_end(input));
        }
        let most = INFER_BYTES_MAX.saturating_sub(self.header_bytes);
        let is_all = input.is_ended() || self.settle || found == Found::TooLong || held.len() >= most;
        if !is_all && complete < self.look_at {
            return Ok(false);
        }
        let sample = if complete > most {
            let mut cut = Cut::new(self.delimiter, self.wire.line_bytes_max);
            cut.find(&held[..most], usize::MAX);
            &held[..if cut.complete() > 0 { cut.complete() } else { complete }]
        } else {
            &held[..complete]
        };
        let Some(first) = sample.iter().find(|b| !b.is_ascii_whitespace()) else {
            if complete == 0 {
                let none = self
                    .names
                    .iter()
                    .map(|name| (name.clone(), DataType::Float64))
                    .collect();
                let schema = self.schema_of(none, self.delimiter.is_some());
                let schema = schema.map_err(|what| self.refusal(&[], what))?;
                self.decode_as(&schema)?;
                self.own = Some(schema);
                return Ok(true);
            }
            self.lines += count_lines(sample);
            self.header_bytes += complete;
            self.cut.consumed(complete);
            input.consume(complete);
            return Ok(true);
        };
        let (columns, is_enough) = match self.delimiter {
            Some(delimiter) => infer::types(self.names.clone(), sample, 0, delimiter, &self.options),
            None if *first == b'[' => {
                let what = "it begins with `[`; rows are JSON objects, one a line";
                return Err(self.refusal(b"[", what.into()));
            }
            None => {
                let (inferred, is_enough) = json_infer::infer(&self.source, sample, true, &self.options)?;
                (inferred.columns, is_enough)
            }
        };
        if !is_enough && !is_all {
            self.look_at = 2 * complete;
            return Ok(false);
        }
        let schema = self.schema_of(columns, self.delimiter.is_some());
        let schema = schema.map_err(|what| self.header_refusal(what))?;
        let schema = self.settled.settle(schema)?;
        self.decode_as(&schema)?;
        Ok(true)
    }

    /// Decodes the records that are complete.
    fn rows(&mut self, input: &mut Input) -> Result<Option<Decoded>, Refusal> {
        let Stage::Rows(decoder) = &self.stage else {
            return Ok(None);
        };
        loop {
            input.end_line();
            self.cut.find(input.held(), BATCH_BYTES);
            let complete = self.cut.complete();
            if complete == 0 {
                return Ok(None);
            }
            let most = self.rows_max;
            let (mut decoded, taken) = input.padded(complete, |bytes| decoder.decode_some(bytes, complete, most))?;
            self.cut.consumed(taken);
            input.consume(taken);
            for row in &mut decoded.rejected {
                row.source.clone_from(&self.source);
                row.line += self.lines + 1;
            }
            self.lines += decoded.lines;
            if decoded.batch.num_rows() > 0 || !decoded.rejected.is_empty() {
                let mut rejected = std::mem::take(&mut self.rejected);
                rejected.extend(decoded.rejected);
                return Ok(Some((decoded.batch, rejected)));
            }
        }
    }

    /// Deals with what is held and is no complete record: false if it waits for more.
    fn odd_end(&mut self, input: &mut Input) -> bool {
        let held = input.held();
        let limit = self.wire.line_bytes_max;
        let too_long = self.cut.find(held, 1) == Found::TooLong;
        if self.cut.complete() > 0 {
            return true;
        }
        if !too_long {
            match input.state {
                End::Open => return false,
                _ if held.is_empty() => return false,
                // A quote that stays open costs its line; what has no line end may be half a line.
                End::CutOff if memchr(b'\n', held).is_none() => {
                    self.reject_rest(input);
                    return false;
                }
                End::Whole | End::CutOff => {}
            }
        }
        let first = memchr(b'\n', &held[..held.len().min(limit.saturating_add(1))]);
        if let Some(end) = first {
            let reason = match too_long {
                true => format!("opens a quote that is not closed within {limit} bytes (limits.line)"),
                false => "opens a quote that is never closed".into(),
            };
            self.reject(&held[..end], reason);
            self.lines += 1;
            input.consume(end + 1);
        } else {
            let kept = &held[..held.len().min(limit).min(KEPT_BYTES)];
            self.reject(kept, format!("begins a line of more than {limit} bytes (limits.line)"));
            self.skipping = true;
        }
        self.cut = Cut::new(self.delimiter, limit);
        true
    }

    /// Passes over a line that is too long; false while its end has not come.
    fn skip_line(&mut self, input: &mut Input) -> bool {
        let held = input.held();
        let (length, ended) = match memchr(b'\n', held) {
            Some(end) => (end + 1, true),
            None => (held.len(), false),
        };
        input.consume(length);
        if ended {
            self.skipping = false;
            self.lines += 1;
        }
        ended
    }

    fn reject_rest(&mut self, input: &mut Input) {
        let held = input.held();
        let reason = "is where the sender stopped, within a line".to_owned();
        let kept = &held[..held.len().min(KEPT_BYTES)];
        self.reject(kept, reason);
        let length = held.len();
        input.consume(length);
        self.cut = Cut::new(self.delimiter, self.wire.line_bytes_max);
    }

    /// Takes a piece of whole records: false, and a bad row, where its last one is not complete.
    pub(super) fn push_whole(&mut self, piece: &[u8], input: &mut Input) {
        let is_blank = piece.iter().all(u8::is_ascii_whitespace);
        let is_ended = piece.last() == Some(&b'\n');
        if is_blank || (self.delimiter.is_some() && !self.is_complete(piece)) {
            if !is_blank {
                self.reject(
                    &piece[..piece.len().min(KEPT_BYTES)],
                    "opens a quote that is never closed".into(),
                );
            }
            return;
        }
        input.push(piece);
        if !is_ended {
            input.push(b"\n");
        }
    }

    /// Whether every quote that a piece of whole records opens is closed in it.
    fn is_complete(&self, piece: &[u8]) -> bool {
        if memchr(b'"', piece).is_none() {
            return true;
        }
        let ended = [piece, b"\n"].concat();
        let mut cut = Cut::new(self.delimiter, usize::MAX);
        cut.find(&ended, usize::MAX);
        cut.complete() == ended.len()
    }

    fn reject(&mut self, row: &[u8], reason: String) {
        self.rejected.push(BadRow {
            source: self.source.clone(),
            line: self.lines + 1,
            column: None,
            bytes: row.to_vec(),
            row: row.to_vec(),
            reason,
        });
    }

    /// The bad rows that are still to be told.
    pub(super) fn take_rejected(&mut self) -> Rejected {
        std::mem::take(&mut self.rejected)
    }

    fn only_rejected(&mut self) -> Option<Decoded> {
        if self.rejected.is_empty() {
            return None;
        }
        let schema = self.schema().unwrap_or_else(|| Arc::new(Schema::empty()));
        Some((RecordBatch::new_empty(schema), self.take_rejected()))
    }

    /// The columns are not those that are wanted.
    fn header_refusal(&self, what: String) -> Refusal {
        let line = self.header_line.unwrap_or(self.lines + 1);
        self.refusal_at(line, self.names.join(",").as_bytes(), what)
    }

    fn refusal(&self, bytes: &[u8], what: String) -> Refusal {
        self.refusal_at(self.lines + 1, bytes, what)
    }

    fn refusal_at(&self, line: u64, bytes: &[u8], what: String) -> Refusal {
        Refusal {
            line,
            bytes: bytes[..bytes.len().min(KEPT_BYTES)].to_vec(),
            error: Error::Data(format!("{}: line {line}: {what}", self.source)),
        }
    }
}

/// Bytes of blank lines whose ends are there.
fn blank_lines(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        match bytes[at..] {
            [b'\n', ..] => at += 1,
            [b'\r', b'\n', ..] => at += 2,
            _ => return at,
        }
    }
}
