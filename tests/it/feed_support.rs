//! What the tests of live sources share: contexts, and reading with a deadline instead of a pause.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Field, Float64Type, Int64Type, TimestampNanosecondType};
use millstream::error::BadRow;
use millstream::io::live::{ColumnType, Context, Counters, Limits, Stop, WireFormat, WireOptions};
use millstream::io::{Position, Read, Source};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Far longer than anything takes, even on a machine that does much else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn wire(format: WireFormat) -> WireOptions {
    WireOptions {
        format,
        columns: None,
        types: Default::default(),
        values: ColumnType::F64,
        wanted: None,
        time: None,
        keys: Vec::new(),
        numeric: Vec::new(),
        line_bytes_max: 1 << 20,
    }
}

pub(crate) fn context(wire: WireOptions) -> Context {
    Context {
        name: "main".into(),
        wire: Arc::new(wire),
        limits: Limits::default(),
        stop: Stop::default(),
        counters: Arc::new(Counters::default()),
        schema: Arc::default(),
    }
}

/// Rows as text, bad rows, and the position behind each batch with the rows up to it.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) rows: Vec<String>,
    pub(crate) bad: Vec<BadRow>,
    pub(crate) positions: Vec<(Position, usize)>,
    pub(crate) ended: bool,
}

pub(crate) fn show(batch: &RecordBatch, row: usize) -> String {
    let cell = |(field, column): (&Arc<Field>, &ArrayRef)| {
        let value = if column.is_null(row) {
            "-".into()
        } else if let Some(column) = column.as_primitive_opt::<Float64Type>() {
            format!("{:?}", column.value(row))
        } else if let Some(column) = column.as_primitive_opt::<Int64Type>() {
            format!("{}i", column.value(row))
        } else if let Some(column) = column.as_primitive_opt::<TimestampNanosecondType>() {
            format!("{}ns", column.value(row))
        } else {
            format!("'{}'", column.as_string::<i32>().value(row))
        };
        format!("{}={value}", field.name())
    };
    let schema = batch.schema();
    let cells: Vec<_> = schema.fields().iter().zip(batch.columns()).map(cell).collect();
    cells.join(" ")
}

impl Seen {
    /// Reads until `enough` says so, or the end.
    pub(crate) fn read(&mut self, source: &mut dyn Source, enough: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !self.ended && !enough(self) {
            assert!(Instant::now() < deadline, "waited in vain, with {self:?}");
            match source.read().unwrap() {
                Read::Batch(rows, position) => {
                    assert!(rows.arrived_ns.is_some());
                    self.rows
                        .extend((0..rows.batch.num_rows()).map(|row| show(&rows.batch, row)));
                    self.bad.extend(rows.rejected);
                    self.positions.push((position, self.rows.len()));
                }
                Read::Idle => {}
                Read::End => self.ended = true,
            }
        }
    }

    pub(crate) fn to_end(source: &mut dyn Source) -> Self {
        let mut seen = Self::default();
        seen.read(source, |_| false);
        seen
    }
}

/// Waits until `condition` holds.
pub(crate) fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
