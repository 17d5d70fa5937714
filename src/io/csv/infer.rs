//! The header line and the types of the columns, from the beginning of the input.

use super::split::{self, CsvCutter};
use crate::error::{Error, Result, quote};
use crate::io::ReadOptions;
use crate::io::chunks::{Cut, Cutter, INFER_ROWS_MAX, RECORD_BYTES_MAX, count_lines};
use crate::io::columns::time_type;
use crate::io::number::Cell;
use crate::io::seen::Seen;
use arrow::datatypes::DataType;

/// What the beginning of the input tells.
#[derive(Debug)]
pub(super) struct Inferred {
    /// Names and types, in the order of the header.
    pub(super) columns: Vec<(String, DataType)>,
    /// Bytes before the first row.
    pub(super) header_bytes: usize,
    /// Lines before the first row.
    pub(super) header_lines: u64,
}

/// Looks at the complete records of `bytes`; the second answer is whether that was all that inference ever looks at.
pub(super) fn infer(
    name: &str,
    bytes: &[u8],
    at_end: bool,
    delimiter: u8,
    options: &ReadOptions,
) -> Result<(Option<Inferred>, bool)> {
    let data = |line: u64, what: String| Error::Data(format!("{name}: line {line}: {what}"));
    let end = match (CsvCutter { delimiter }).cut(bytes, at_end) {
        Ok(Cut::At(end)) => end,
        Ok(Cut::Nowhere) if bytes.len() > RECORD_BYTES_MAX => {
            return Err(data(1, format!("the header is longer than {RECORD_BYTES_MAX} bytes")));
        }
        Ok(Cut::Nowhere) => return Ok((None, false)),
        Err(e) => return Err(data(1 + count_lines(&bytes[..e.offset]), e.reason)),
    };
    let bytes = &bytes[..end];
    let start = split::skip_blank_lines(bytes, 0);
    if start == bytes.len() {
        return Ok((None, false));
    }
    let mut fields = Vec::new();
    let at = split::record(bytes, start, delimiter, &mut fields);
    let header_line = 1 + count_lines(&bytes[..start]);
    let names = names(&fields).map_err(|what| data(header_line, what))?;
    let (header_bytes, header_lines) = (at, count_lines(&bytes[..at]));
    let (columns, is_enough) = types(names, bytes, header_bytes, delimiter, options);
    Ok((
        Some(Inferred {
            columns,
            header_bytes,
            header_lines,
        }),
        is_enough,
    ))
}

/// The types of the columns of these names, from the rows that begin at `at`; the second answer is whether those were
/// all that inference ever looks at.
pub(crate) fn types(
    names: Vec<String>,
    bytes: &[u8],
    mut at: usize,
    delimiter: u8,
    options: &ReadOptions,
) -> (Vec<(String, DataType)>, bool) {
    let mut fields = Vec::new();
    let mut columns: Vec<Seen> = names.iter().map(|name| Seen::new(name, options)).collect();
    let mut rows = 0;
    while rows < INFER_ROWS_MAX {
        at = split::skip_blank_lines(bytes, at);
        if at >= bytes.len() {
            break;
        }
        at = split::record(bytes, at, delimiter, &mut fields);
        rows += 1;
        // A row of another length will be a bad row and says nothing about the columns.
        if fields.len() == names.len() {
            for (column, field) in columns.iter_mut().zip(&fields).filter(|(column, _)| column.is_open()) {
                let cell = split::unquote(field);
                match Cell::read(&cell) {
                    Cell::Number(value) => column.number(value, column.is_key() && is_whole(cell.trim_ascii())),
                    Cell::Text => column.text(),
                    Cell::Missing => {}
                }
            }
        }
    }
    let time = options.time.as_ref().map(|(column, _)| column);
    let kind = |(name, seen): (String, Seen)| {
        let kind = if time == Some(&name) {
            time_type()
        } else {
            seen.data_type()
        };
        (name, kind)
    };
    let columns = names.into_iter().zip(columns).map(kind).collect();
    (columns, rows == INFER_ROWS_MAX)
}

/// Whether a cell is an optional sign and digits, and fits `i64`.
fn is_whole(cell: &[u8]) -> bool {
    std::str::from_utf8(cell).is_ok_and(|text| text.parse::<i64>().is_ok())
}

/// The names in the header's fields, or what is wrong with them.
pub(crate) fn names(fields: &[&[u8]]) -> Result<Vec<String>, String> {
    let mut names: Vec<String> = Vec::with_capacity(fields.len());
    for (index, field) in fields.iter().enumerate() {
        let text = split::unquote(field);
        if field.first() != Some(&b'"') && memchr::memchr(b'\r', &text).is_some() {
            return Err("lines end with a carriage return alone: convert them to line feeds".into());
        }
        let Ok(text) = std::str::from_utf8(&text) else {
            return Err(format!(
                "the name of column {} is not UTF-8: {}",
                index + 1,
                quote(&text)
            ));
        };
        names.push(match text.trim() {
            "" => format!("column_{}", index + 1),
            text => text.into(),
        });
    }
    let mut seen = hashbrown::HashSet::new();
    if let Some(twice) = names.iter().find(|name| !seen.insert(name.as_str())) {
        return Err(format!("the header names column `{twice}` twice"));
    }
    drop(seen);
    Ok(names)
}
