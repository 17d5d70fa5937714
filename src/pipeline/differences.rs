//! Row-by-row differences as a table: keys, time, and for every column its difference from the row before.
//!
//! The row before is the one of the same key (and, with tumbling windows, of the same window) that came last. Where
//! there is none, where a value is missing or where the time does not advance, the cell is empty. With event time
//! differences are per second.

use crate::batch::Batch;
use crate::engine::KeyTable;
use crate::error::{Error, Result};
use crate::io::table::{Output, TableWriter};
use crate::spec::{Spec, Window};
use crate::summary::differences::{Edge, Step, step};
use arrow::array::{ArrayRef, Float64Array, RecordBatch, TimestampNanosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Writes the differences of batches that follow each other.
pub(super) struct DifferenceRows {
    path: PathBuf,
    output: Output,
    columns: Vec<String>,
    /// The length of tumbling windows.
    tumbling: Option<Window>,
    state: Option<State>,
}

struct State {
    writer: TableWriter,
    keys: Option<KeyTable>,
    /// By the key's number.
    sequences: Vec<Sequence>,
}

/// The last row of one key.
#[derive(Default, Clone)]
struct Sequence {
    rows: i64,
    pane: i64,
    last: Vec<Edge>,
}

impl DifferenceRows {
    /// Checks where the table goes; it is begun with the first batch.
    pub(super) fn create(path: &Path, spec: &Spec) -> Result<Self> {
        let output = Output::of(path)?;
        if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty() && !d.is_dir()) {
            let source = std::io::Error::new(
                std::io::ErrorKind::NotFound,
                format!("there is no directory {}", directory.display()),
            );
            return Err(Error::Output {
                path: path.to_owned(),
                source,
            });
        }
        let tumbling = spec.window.filter(|w| w.size_slide().0 == w.size_slide().1);
        Ok(Self {
            path: path.to_owned(),
            output,
            columns: spec.columns.clone().unwrap_or_default(),
            tumbling,
            state: None,
        })
    }

    pub(super) fn write(&mut self, batch: &Batch) -> Result<()> {
        let reported = self.columns.len();
        if self.state.is_none() {
            self.state = Some(State::begin(&self.path, self.output, batch, reported)?);
        }
        let Some(state) = &mut self.state else { return Ok(()) };
        let sequence_of_row = state.sequences_of(batch)?;
        let mut columns: Vec<Vec<Option<f64>>> = vec![Vec::with_capacity(batch.rows()); reported];
        for (i, number) in sequence_of_row.into_iter().enumerate() {
            let sequence = &mut state.sequences[number as usize];
            let time_ns = batch.time_ns().map(|t| t[i]);
            let pane = match (self.tumbling, time_ns) {
                (Some(Window::Time { size_ns, .. }), Some(t)) => t.div_euclid(size_ns),
                (Some(Window::Rows { size, .. }), _) => sequence.rows / size,
                _ => 0,
            };
            if pane != sequence.pane {
                sequence.last.clear();
                sequence.pane = pane;
            }
            sequence.rows += 1;
            for (k, (out, column)) in columns.iter_mut().zip(batch.columns()).enumerate() {
                let edge = Edge {
                    time_ns,
                    value: column.get(i),
                };
                out.push(match sequence.last.get(k).map(|last| step(*last, edge)) {
                    Some(Step::Difference(x)) => Some(x),
                    _ => None,
                });
                match sequence.last.get_mut(k) {
                    Some(last) => *last = edge,
                    None => sequence.last.push(edge),
                }
            }
        }
        let mut arrays: Vec<ArrayRef> = batch.keys().iter().map(|k| k.1.clone()).collect();
        if let Some(times) = batch.time_ns() {
            arrays.push(Arc::new(
                TimestampNanosecondArray::from(times.to_vec()).with_timezone("UTC"),
            ));
        }
        arrays.extend(columns.into_iter().map(|c| Arc::new(Float64Array::from(c)) as ArrayRef));
        let schema = schema(batch, reported);
        let table = RecordBatch::try_new(Arc::new(schema), arrays).map_err(|e| Error::Failed(e.to_string()))?;
        state.writer.write(&table)
    }

    pub(super) fn finish(self) -> Result<()> {
        match self.state {
            Some(state) => state.writer.finish(),
            None => TableWriter::create(
                &self.path,
                self.output,
                Arc::new(Schema::new(
                    self.columns
                        .iter()
                        .map(|c| Field::new(c, DataType::Float64, true))
                        .collect::<Vec<_>>(),
                )),
            )?
            .finish(),
        }
    }
}

/// The columns keep their names; a key of the same name gets the suffix `_key`, and the time a prefix where `time` is
/// taken.
fn schema(batch: &Batch, reported: usize) -> Schema {
    let columns = &batch.names()[..reported];
    let mut taken: HashSet<String> = columns.iter().cloned().collect();
    let mut fields = Vec::new();
    for (key, array) in batch.keys() {
        let mut name = key.clone();
        while !taken.insert(name.clone()) {
            name.push_str("_key");
        }
        fields.push(Field::new(name, array.data_type().clone(), true));
    }
    if batch.time_ns().is_some() {
        let mut name = "time".to_owned();
        while !taken.insert(name.clone()) {
            name.insert_str(0, "event_");
        }
        let instant = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
        fields.push(Field::new(name, instant, false));
    }
    fields.extend(columns.iter().map(|name| Field::new(name, DataType::Float64, true)));
    Schema::new(fields)
}

impl State {
    fn begin(path: &Path, output: Output, batch: &Batch, reported: usize) -> Result<Self> {
        let writer = TableWriter::create(path, output, Arc::new(schema(batch, reported)))?;
        let keys = match batch.keys() {
            [] => None,
            keys => Some(KeyTable::new(
                &keys.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(),
            )?),
        };
        Ok(Self {
            writer,
            keys,
            sequences: Vec::new(),
        })
    }

    /// By row of the batch: the number of its key's sequence.
    fn sequences_of(&mut self, batch: &Batch) -> Result<Vec<u32>> {
        let Some(keys) = &mut self.keys else {
            self.sequences.resize(1, Sequence::default());
            return Ok(vec![0; batch.rows()]);
        };
        let mut numbers = Vec::with_capacity(batch.rows());
        keys.numbers(batch.keys(), &mut numbers)?;
        self.sequences.resize(keys.len(), Sequence::default());
        Ok(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int64Array;

    #[test]
    fn differences_follow_each_key_over_batches_and_stop_at_windows() {
        let directory = std::env::temp_dir().join(format!("millstream-differences-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("d.csv");
        let spec = Spec::new().columns(["x"]).by(["k"]).window(Window::Time {
            size_ns: 10_000_000_000,
            slide_ns: 10_000_000_000,
        });
        let mut rows = DifferenceRows::create(&path, &spec).unwrap();
        let part = |k: Vec<i64>, t: Vec<i64>, x: Vec<f64>| {
            Batch::from_columns([("x", x)])
                .unwrap()
                .with_time_ns(t.iter().map(|t| t * 1_000_000_000).collect())
                .unwrap()
                .with_keys(vec![("k".into(), Arc::new(Int64Array::from(k)) as ArrayRef)])
                .unwrap()
        };
        rows.write(&part(vec![1, 2, 1], vec![0, 1, 2], vec![1.0, 10.0, 5.0]))
            .unwrap();
        rows.write(&part(vec![2, 1, 1], vec![5, 9, 12], vec![12.0, f64::NAN, 3.0]))
            .unwrap();
        rows.finish().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let cells: Vec<&str> = text.lines().skip(1).map(|l| l.rsplit(',').next().unwrap()).collect();
        assert_eq!(cells, ["", "", "2", "0.5", "", ""]);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
