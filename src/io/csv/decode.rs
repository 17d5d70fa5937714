//! A chunk of records to a batch.
//!
//! A number is read where it stands, without looking for the field's end first: if what follows it ends the field, both
//! are known at once. Every other field goes the long way (find the end, take off quotes and blanks, missing value,
//! number, text). A row that does not fit is taken back and read once more, slowly, to say what is wrong with it.

use super::{separator, split};
use crate::error::{BadRow, Result};
use crate::io::chunks::{Decode, Decoded, count_lines};
use crate::io::columns::{Columns, Projection, Slot};
use crate::io::number::{self, Cell};
use crate::io::seen;
use crate::io::time::{self, Unreadable};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Rows that a chunk's columns have room for at first.
const ROWS_FIRST: usize = 1024;

/// Decodes chunks of whole records.
pub(crate) struct CsvDecoder {
    delimiter: u8,
    /// For each field of a record, where it goes.
    plan: Vec<Slot>,
    /// For each field of a record, its name.
    names: Vec<String>,
    projection: Projection,
    stop_at_first: bool,
    /// Rows of the chunk before, from which the room for the next is taken.
    rows_hint: AtomicUsize,
}

impl CsvDecoder {
    /// `names` are those of the header; `indices` their places in the projection's input schema.
    pub(super) fn new(
        delimiter: u8,
        names: Vec<String>,
        indices: &[usize],
        projection: Projection,
        stop_at_first: bool,
    ) -> Self {
        let plan = indices.iter().map(|index| projection.slots[*index]).collect();
        Self::planned(delimiter, names, plan, projection, stop_at_first)
    }

    /// `plan` says for each of the header's `names` where its cells go.
    pub(crate) fn planned(
        delimiter: u8,
        names: Vec<String>,
        plan: Vec<Slot>,
        projection: Projection,
        stop_at_first: bool,
    ) -> Self {
        Self {
            delimiter,
            plan,
            names,
            projection,
            stop_at_first,
            rows_hint: AtomicUsize::new(ROWS_FIRST),
        }
    }

    /// Reads the row at `at` into the columns; the place behind it, or nothing for a row that does not fit.
    #[inline]
    fn row(&self, bytes: &[u8], mut at: usize, columns: &mut Columns) -> Option<usize> {
        let (last, plan) = self.plan.split_last()?;
        for slot in plan {
            let end = self.field(bytes, at, *slot, columns)?;
            if bytes.get(end) != Some(&self.delimiter) {
                return None;
            }
            at = end + 1;
        }
        let end = self.field(bytes, at, *last, columns)?;
        split::next_record(bytes, end)
    }

    /// Reads the field at `at` into its column; the field's end.
    #[inline]
    fn field(&self, bytes: &[u8], at: usize, slot: Slot, columns: &mut Columns) -> Option<usize> {
        if let Slot::Number(s) = slot
            && let Some((value, end)) = number::scan(bytes, at)
            && self.ends_field(bytes, end)
        {
            columns.number(s, value);
            return Some(end);
        }
        self.any_field(bytes, at, slot, columns)
    }

    #[inline]
    fn ends_field(&self, bytes: &[u8], at: usize) -> bool {
        match bytes.get(at) {
            Some(b) if *b == self.delimiter || *b == b'\n' => true,
            Some(b'\r') => bytes.get(at + 1) == Some(&b'\n'),
            _ => false,
        }
    }

    fn any_field(&self, bytes: &[u8], at: usize, slot: Slot, columns: &mut Columns) -> Option<usize> {
        if let Slot::Integer(s) = slot
            && let Some((value, end)) = number::scan_whole(bytes, at)
            && self.ends_field(bytes, end)
        {
            columns.integer(s, value);
            return Some(end);
        }
        let end = split::field_end(bytes, at, self.delimiter);
        if slot != Slot::Skip {
            let raw = &bytes[at..end];
            let written = match raw.first() {
                Some(b'"') => self.write(&split::unquote(raw), slot, columns),
                _ => self.write(raw, slot, columns),
            };
            written.ok()?;
        }
        Some(end)
    }

    /// Writes a cell into its column, or says why it cannot stand there.
    fn write(&self, cell: &[u8], slot: Slot, columns: &mut Columns) -> Result<(), &'static str> {
        match slot {
            Slot::Skip => {}
            Slot::Number(s) => match Cell::read(cell) {
                Cell::Number(value) => columns.number(s, value),
                Cell::Missing => columns.missing_number(s),
                Cell::Text => return Err("is not a number"),
            },
            Slot::Exact(s) => match Cell::read(cell) {
                Cell::Number(value) => columns.number(s, seen::exact(value, cell.trim_ascii())?),
                Cell::Missing => columns.missing_number(s),
                Cell::Text => return Err("is not a number"),
            },
            Slot::Integer(s) if number::is_missing(cell.trim_ascii()) => columns.missing_integer(s),
            Slot::Integer(s) => columns.integer(s, seen::whole(cell.trim_ascii())?),
            Slot::Text(s) if number::is_missing(cell.trim_ascii()) => columns.missing_text(s),
            Slot::Text(s) => columns.text(s, std::str::from_utf8(cell).map_err(|_| "is not UTF-8")?),
            Slot::Time(s) => {
                let cell = cell.trim_ascii();
                if number::is_missing(cell) {
                    return Err("is no time, and a row needs one");
                }
                columns.time(s, time::read(cell, self.projection.unit).map_err(Unreadable::reason)?);
            }
        }
        Ok(())
    }

    /// What is wrong with the row at `at`, and the place behind it.
    fn diagnose(&self, bytes: &[u8], at: usize, line: u64, columns: &mut Columns) -> (BadRow, usize) {
        let mut fields = Vec::new();
        let next = split::record(bytes, at, self.delimiter, &mut fields);
        let row = bytes[at..next].strip_suffix(b"\n").unwrap_or(&bytes[at..next]);
        let row = row.strip_suffix(b"\r").unwrap_or(row);
        let bad = |column: Option<usize>, bytes: &[u8], reason: String| BadRow {
            source: String::new(),
            line,
            column: column.map(|c| self.names[c].clone()),
            bytes: bytes.to_vec(),
            row: row.to_vec(),
            reason,
        };
        if fields.len() != self.plan.len() {
            let ending = if fields.len() == 1 { "" } else { "s" };
            let hint = separator::hint(&self.names, self.delimiter).map_or(String::new(), |hint| format!(" ({hint})"));
            let reason = format!(
                "has {} field{ending} where the header has {}{hint}",
                fields.len(),
                self.plan.len()
            );
            // Where there are too few, the first column without one is named.
            let lacking = (fields.len() < self.plan.len()).then_some(fields.len());
            return (bad(lacking, row, reason), next);
        }
        for (c, (field, slot)) in fields.iter().zip(&self.plan).enumerate() {
            let cell = split::unquote(field);
            if let Err(reason) = self.write(&cell, *slot, columns) {
                return (bad(Some(c), &cell, reason.into()), next);
            }
        }
        (bad(None, row, "cannot be read".into()), next)
    }
}

impl Decode for CsvDecoder {
    fn decode(&self, bytes: &[u8], len: usize) -> Result<Decoded> {
        Ok(self.decode_some(bytes, len, usize::MAX)?.0)
    }

    fn decode_some(&self, bytes: &[u8], len: usize, rows_max: usize) -> Result<(Decoded, usize)> {
        let mut columns = Columns::new(&self.projection, self.rows_hint.load(Ordering::Relaxed));
        let mut rejected = Vec::new();
        let (mut line, mut counted) = (0, 0);
        let mut at = split::skip_blank_lines(bytes, 0);
        while at < len && columns.rows() + rejected.len() < rows_max {
            at = match self.row(bytes, at, &mut columns) {
                Some(next) => {
                    columns.end_row();
                    next
                }
                None => {
                    line += count_lines(&bytes[counted..at]);
                    counted = at;
                    let (bad, next) = self.diagnose(&bytes[..len], at, line, &mut columns);
                    columns.undo_row();
                    rejected.push(bad);
                    if self.stop_at_first {
                        break;
                    }
                    next
                }
            };
            if let Some(b'\n' | b'\r') = bytes.get(at) {
                at = split::skip_blank_lines(bytes, at);
            }
        }
        // Room for a little more than this chunk's rows, as the next will hold about as many.
        self.rows_hint
            .store(columns.rows() + columns.rows() / 16 + 16, Ordering::Relaxed);
        let taken = if self.stop_at_first { len } else { at.min(len) };
        let decoded = Decoded {
            batch: columns.finish(&self.projection)?,
            rejected,
            lines: count_lines(&bytes[..taken]),
        };
        Ok((decoded, taken))
    }
}
