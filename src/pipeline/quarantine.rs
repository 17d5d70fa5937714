//! Rows that cannot be read, kept aside: one JSON object a line with source, line, column, reason and bytes.

use crate::error::{BadRow, Error, Result};
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// The file of quarantined rows.
pub(super) struct Quarantine {
    path: PathBuf,
    out: BufWriter<File>,
}

#[derive(Serialize)]
struct Line<'a> {
    source: &'a str,
    line: u64,
    column: Option<&'a str>,
    reason: &'a str,
    /// The bytes as text; what is not UTF-8 as `\x..`.
    bytes: String,
}

impl Quarantine {
    /// Opens the file to append to it.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|source| Error::Output {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            out: BufWriter::new(file),
        })
    }

    pub(super) fn write(&mut self, rows: &[BadRow]) -> Result<()> {
        for row in rows {
            let bytes = match std::str::from_utf8(&row.bytes) {
                Ok(text) => text.to_owned(),
                Err(_) => row.bytes.escape_ascii().to_string(),
            };
            let line = Line {
                source: &row.source,
                line: row.line,
                column: row.column.as_deref(),
                reason: &row.reason,
                bytes,
            };
            let text = serde_json::to_string(&line).map_err(|e| Error::Failed(e.to_string()))?;
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
