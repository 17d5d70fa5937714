//! Rows that cannot be read, kept aside: one JSON object a line with source, line, column, reason, bytes and row.
//!
//! `bytes` are those at fault (a cell, where it is a cell's), `row` is the whole row as it stands in the input, so that
//! it can be mended and read again; it is null for columnar formats. A row is at most 4 MiB, the longest record that is
//! read. A row that is not UTF-8 has both as ASCII with the rest (and `\`, quotes) escaped, and `escaped` is true.

use crate::error::{BadRow, Error, Result};
use serde::Serialize;
use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};

/// The file of quarantined rows.
pub(super) struct Quarantine {
    path: PathBuf,
    out: BufWriter<File>,
}

#[derive(Serialize)]
pub(super) struct Line<'a> {
    source: &'a str,
    line: u64,
    column: Option<&'a str>,
    reason: &'a str,
    bytes: Cow<'a, str>,
    row: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    escaped: bool,
}

impl<'a> Line<'a> {
    pub(super) fn of(bad: &'a BadRow) -> Self {
        let plain = [&bad.bytes, &bad.row].map(|bytes| std::str::from_utf8(bytes).ok());
        let (bytes, row, escaped) = match plain {
            [Some(bytes), Some(row)] => (bytes.into(), row.into(), false),
            _ => (escape(&bad.bytes), escape(&bad.row), true),
        };
        Self {
            source: &bad.source,
            line: bad.line,
            column: bad.column.as_deref(),
            reason: &bad.reason,
            bytes,
            row: (!bad.row.is_empty()).then_some(row),
            escaped,
        }
    }
}

fn escape(bytes: &[u8]) -> Cow<'_, str> {
    bytes.escape_ascii().to_string().into()
}

/// Refuses a file that begins with something else than a row that was kept aside.
pub(super) fn refuse_foreign(file: &mut File) -> std::io::Result<()> {
    let mut first = [b'{'];
    if file.read(&mut first)? > 0 && first != [b'{'] {
        let other = "it holds something else than rows that were kept aside: name another file";
        return Err(std::io::Error::new(std::io::ErrorKind::AlreadyExists, other));
    }
    Ok(())
}

impl Quarantine {
    /// Opens the file to append to it, so that no row that was kept is lost; one with other contents is refused.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let failed = |source| Error::Output {
            path: path.to_owned(),
            source,
        };
        let file = OpenOptions::new().create(true).append(true).read(true).open(path);
        let mut file = file.map_err(failed)?;
        if file.metadata().map_err(failed)?.is_file() {
            refuse_foreign(&mut file).map_err(failed)?;
        }
        Ok(Self {
            path: path.to_owned(),
            out: BufWriter::new(file),
        })
    }

    pub(super) fn write(&mut self, rows: &[BadRow]) -> Result<()> {
        for row in rows {
            let text = serde_json::to_string(&Line::of(row)).map_err(|e| Error::Failed(e.to_string()))?;
            writeln!(self.out, "{text}").map_err(|source| Error::Output {
                path: self.path.clone(),
                source,
            })?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<()> {
        self.out.flush().map_err(|source| Error::Output {
            path: self.path,
            source,
        })
    }
}
