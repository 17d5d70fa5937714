//! Files that rows which are left out are appended to: as JSON, one object a line, up to a size.
//!
//! A checkpoint keeps the length; a run that goes on from it cuts the file back, so that no row stands in it twice.

use crate::batch::Batch;
use crate::engine::key_values;
use crate::error::{BadRow, Error, Result};
use crate::pipeline::quarantine::{Line, refuse_foreign};
use arrow::array::UInt32Array;
use serde_json::{Map, Value, json};
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A file that grows.
pub(super) struct Appended {
    path: PathBuf,
    out: BufWriter<File>,
    bytes: u64,
    bytes_max: u64,
    /// Lines that had no room.
    left_out: u64,
    /// Whether it has a length that stays.
    is_regular: bool,
}

impl Appended {
    /// Opens the file behind what is in it, or cut back to this length; one with other contents is refused.
    pub(super) fn open(path: &Path, length: Option<u64>, bytes_max: u64) -> Result<Self> {
        let failed = |source| Error::Output {
            path: path.to_owned(),
            source,
        };
        let is_regular = std::fs::metadata(path).map_or(true, |metadata| metadata.is_file());
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(is_regular).write(true);
        let mut file = options.open(path).map_err(failed)?;
        if !is_regular {
            // A pipe or a device: what is written is gone.
            return Ok(Self {
                path: path.to_owned(),
                out: BufWriter::new(file),
                bytes: 0,
                bytes_max,
                left_out: 0,
                is_regular,
            });
        }
        refuse_foreign(&mut file).map_err(failed)?;
        let there = file.metadata().map_err(failed)?.len();
        let bytes = match length {
            Some(length) if length > there => {
                return Err(Error::Config(format!(
                    "{} has {there} bytes, and the checkpoint says {length}: put it back, or begin anew with \
                     --discard-state",
                    path.display()
                )));
            }
            Some(length) => {
                file.set_len(length).map_err(failed)?;
                length
            }
            None => there,
        };
        file.seek(SeekFrom::Start(bytes)).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            out: BufWriter::new(file),
            bytes,
            bytes_max,
            left_out: 0,
            is_regular,
        })
    }

    fn line(&mut self, value: &impl serde::Serialize) -> Result<()> {
        let mut text = serde_json::to_vec(value).map_err(|e| Error::Failed(e.to_string()))?;
        text.push(b'\n');
        if self.bytes + text.len() as u64 > self.bytes_max {
            self.left_out += 1;
            return Ok(());
        }
        self.bytes += text.len() as u64;
        self.out.write_all(&text).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: std::io::Error) -> Error {
        Error::Output {
            path: self.path.clone(),
            source,
        }
    }

    /// Rows that cannot be read.
    pub(super) fn bad_rows(&mut self, rows: &[BadRow]) -> Result<()> {
        rows.iter().try_for_each(|row| self.line(&Line::of(row)))
    }

    /// These rows of a batch: feed, time, keys, then values.
    pub(super) fn rows(&mut self, feed: &str, batch: &Batch, places: &[u32]) -> Result<()> {
        let chosen = UInt32Array::from_iter_values(places.iter().copied());
        let mut keys = Vec::new();
        for (name, array) in batch.keys() {
            let array = arrow::compute::take(array, &chosen, None)
                .map_err(|e| Error::Failed(format!("late rows cannot be taken out of a batch: {e}")))?;
            keys.push((name, key_values(name, &array)?));
        }
        for (k, place) in places.iter().enumerate() {
            let i = *place as usize;
            let mut row = Map::new();
            row.insert("feed".into(), feed.into());
            if let Some(times) = batch.time_ns() {
                row.insert("event_time".into(), crate::report::rfc3339(times[i]).into());
            }
            for (name, values) in &keys {
                let key = values(k);
                // Integers beyond 64 bits are written as text.
                let value = serde_json::to_value(&key).or_else(|_| serde_json::to_string(&key).map(Value::from));
                row.insert(name.to_string(), value.unwrap_or_default());
            }
            for (name, column) in batch.names().iter().zip(batch.columns()) {
                let value = match column.get(i) {
                    x if x.is_nan() => Value::Null,
                    f64::INFINITY => "Infinity".into(),
                    f64::NEG_INFINITY => "-Infinity".into(),
                    x => json!(x),
                };
                row.insert(name.clone(), value);
            }
            self.line(&Value::Object(row))?;
        }
        Ok(())
    }

    /// Makes everything durable; the length.
    pub(super) fn checkpoint(&mut self) -> Result<u64> {
        self.out.flush().map_err(|source| self.failed(source))?;
        if self.is_regular {
            self.out.get_ref().sync_data().map_err(|source| self.failed(source))?;
        }
        Ok(self.bytes)
    }

    /// Lines that had no room so far.
    /// So many rows are left out, as nothing is known of them but their number.
    pub(super) fn leave_out(&mut self, rows: u64) {
        self.left_out += rows;
    }

    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The name under which a checkpoint has its length.
    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        self.out.flush().map_err(|source| self.failed(source))
    }
}
