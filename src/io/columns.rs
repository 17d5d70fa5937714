//! The columns of a text format: which are wanted, and the builders that cells are written into.
//!
//! A [`Projection`] maps every column of the input to a builder or to nothing; [`Columns`] are the builders of one
//! chunk. A cell is written straight into its column, and a row counts only once [`Columns::end_row`] has been called:
//! [`Columns::undo_row`] takes back whatever a bad row has written before its fault was found.

use crate::error::{Error, Result};
use crate::io::TimeUnit;
use arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray, TimestampNanosecondArray,
};
use arrow::buffer::{BooleanBuffer, MutableBuffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit as ArrowUnit};
use std::collections::HashMap;
use std::sync::Arc;

/// Where the cells of a column go: a builder by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    Skip,
    Number(usize),
    /// A number that is a key: one that `f64` would round has no place in it.
    Exact(usize),
    /// A whole number that is a key.
    Integer(usize),
    Text(usize),
    Time(usize),
}

/// The type of the event-time column.
pub(crate) fn time_type() -> DataType {
    DataType::Timestamp(ArrowUnit::Nanosecond, None)
}

/// A schema of nullable columns, but for the event time, which every row has.
pub(crate) fn schema_of(columns: impl Iterator<Item = (String, DataType)>) -> SchemaRef {
    let field = |(name, kind): (String, DataType)| {
        let nullable = kind != time_type();
        Field::new(name, kind, nullable)
    };
    Arc::new(Schema::new(columns.map(field).collect::<Vec<_>>()))
}

/// The wanted columns of a schema.
#[derive(Debug, Clone)]
pub(crate) struct Projection {
    /// The schema of the batches.
    pub(crate) schema: SchemaRef,
    /// For each column of the input's schema, where its cells go.
    pub(crate) slots: Vec<Slot>,
    /// For each column of the batches, where its cells come from.
    outputs: Vec<Slot>,
    counts: [usize; 4],
    /// The unit of numbers in the time column.
    pub(crate) unit: TimeUnit,
}

impl Projection {
    /// Every column; `keys` are not rounded.
    pub(crate) fn all(schema: &SchemaRef, keys: &[String], unit: TimeUnit) -> Result<Self> {
        Self::of(schema, (0..schema.fields().len()).collect(), keys, unit)
    }

    /// These columns, in this order.
    pub(crate) fn select(schema: &SchemaRef, columns: &[String], keys: &[String], unit: TimeUnit) -> Result<Self> {
        let mut places = HashMap::new();
        for (i, field) in schema.fields().iter().enumerate() {
            places.entry(field.name().as_str()).or_insert(i);
        }
        let index = |name: &String| {
            let place = places.get(name.as_str()).copied();
            place.ok_or_else(|| no_column(name, schema, None))
        };
        Self::of(schema, columns.iter().map(index).collect::<Result<_>>()?, keys, unit)
    }

    fn of(schema: &SchemaRef, indices: Vec<usize>, keys: &[String], unit: TimeUnit) -> Result<Self> {
        let mut slots = vec![Slot::Skip; schema.fields().len()];
        let (mut counts, mut outputs, mut fields) = ([0; 4], Vec::new(), Vec::new());
        for index in indices {
            let field = &schema.fields()[index];
            if slots[index] == Slot::Skip {
                let (kind, make): (usize, fn(usize) -> Slot) = match field.data_type() {
                    DataType::Float64 if keys.contains(field.name()) => (0, Slot::Exact),
                    DataType::Float64 => (0, Slot::Number),
                    DataType::Int64 => (3, Slot::Integer),
                    DataType::Utf8 => (1, Slot::Text),
                    other if *other == time_type() => (2, Slot::Time),
                    other => {
                        let name = field.name();
                        return Err(Error::Data(format!(
                            "column `{name}` is {other} in the first input, which text cannot be read as"
                        )));
                    }
                };
                slots[index] = make(counts[kind]);
                counts[kind] += 1;
            }
            outputs.push(slots[index]);
            fields.push(field.clone());
        }
        Ok(Self {
            schema: Arc::new(Schema::new(fields)),
            slots,
            outputs,
            counts,
            unit,
        })
    }
}

/// The error for a name that a schema does not have.
pub(crate) fn no_column(name: &str, schema: &Schema, hint: Option<String>) -> Error {
    let names: Vec<_> = schema.fields().iter().map(|f| format!("`{}`", f.name())).collect();
    let hint = hint.map_or(String::new(), |hint| format!("; {hint}"));
    Error::Usage(format!("no column `{name}`; there are {}{hint}", names.join(", ")))
}

/// The rows without a value in one column; almost always none.
type Missing = Vec<usize>;

#[derive(Debug)]
struct Numbers<T> {
    values: Vec<T>,
    missing: Missing,
}

#[derive(Debug)]
struct Texts {
    bytes: Vec<u8>,
    ends: Vec<i32>,
    missing: Missing,
}

/// The builders of one chunk.
#[derive(Debug)]
pub(crate) struct Columns {
    rows: usize,
    numbers: Vec<Numbers<f64>>,
    texts: Vec<Texts>,
    times: Vec<Vec<i64>>,
    integers: Vec<Numbers<i64>>,
}

impl Columns {
    /// Empty builders with room for about `rows` rows.
    pub(crate) fn new(projection: &Projection, rows: usize) -> Self {
        let [numbers, texts, times, integers] = projection.counts;
        Self {
            rows: 0,
            numbers: (0..numbers).map(|_| Numbers::new(rows)).collect(),
            texts: (0..texts)
                .map(|_| Texts {
                    bytes: Vec::new(),
                    ends: vec![0],
                    missing: Vec::new(),
                })
                .collect(),
            times: (0..times).map(|_| Vec::with_capacity(rows)).collect(),
            integers: (0..integers).map(|_| Numbers::new(rows)).collect(),
        }
    }

    /// Complete rows so far.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Writes a number.
    #[inline]
    pub(crate) fn number(&mut self, slot: usize, value: f64) {
        self.numbers[slot].values.push(value);
    }

    /// Writes a missing number.
    #[inline]
    pub(crate) fn missing_number(&mut self, slot: usize) {
        let column = &mut self.numbers[slot];
        column.missing.push(column.values.len());
        column.values.push(0.0);
    }

    /// Writes a whole number.
    #[inline]
    pub(crate) fn integer(&mut self, slot: usize, value: i64) {
        self.integers[slot].values.push(value);
    }

    /// Writes a missing whole number.
    pub(crate) fn missing_integer(&mut self, slot: usize) {
        let column = &mut self.integers[slot];
        column.missing.push(column.values.len());
        column.values.push(0);
    }

    /// Writes a text.
    pub(crate) fn text(&mut self, slot: usize, text: &str) {
        let column = &mut self.texts[slot];
        column.bytes.extend_from_slice(text.as_bytes());
        column.end();
    }

    /// Writes a missing text.
    pub(crate) fn missing_text(&mut self, slot: usize) {
        let column = &mut self.texts[slot];
        column.missing.push(column.ends.len() - 1);
        column.end();
    }

    /// Writes an event time.
    pub(crate) fn time(&mut self, slot: usize, time_ns: i64) {
        self.times[slot].push(time_ns);
    }

    /// Whether the row under way has a value, or none explicitly, in this column.
    pub(crate) fn has(&self, slot: Slot) -> bool {
        match slot {
            Slot::Skip => true,
            Slot::Number(s) | Slot::Exact(s) => self.numbers[s].values.len() > self.rows,
            Slot::Integer(s) => self.integers[s].values.len() > self.rows,
            Slot::Text(s) => self.texts[s].ends.len() - 1 > self.rows,
            Slot::Time(s) => self.times[s].len() > self.rows,
        }
    }

    /// Takes back what the row under way has written into one column.
    pub(crate) fn undo(&mut self, slot: Slot) {
        let rows = self.rows;
        match slot {
            Slot::Skip => {}
            Slot::Number(s) | Slot::Exact(s) => self.numbers[s].truncate(rows),
            Slot::Integer(s) => self.integers[s].truncate(rows),
            Slot::Text(s) => self.texts[s].truncate(rows),
            Slot::Time(s) => self.times[s].truncate(rows),
        }
    }

    /// The row under way is complete: every column has been written once.
    #[inline]
    pub(crate) fn end_row(&mut self) {
        self.rows += 1;
    }

    /// Takes back what the row under way has written.
    pub(crate) fn undo_row(&mut self) {
        let rows = self.rows;
        self.numbers.iter_mut().for_each(|c| c.truncate(rows));
        self.texts.iter_mut().for_each(|c| c.truncate(rows));
        self.times.iter_mut().for_each(|c| c.truncate(rows));
        self.integers.iter_mut().for_each(|c| c.truncate(rows));
    }

    /// The complete rows as a batch.
    pub(crate) fn finish(mut self, projection: &Projection) -> Result<RecordBatch> {
        self.undo_row();
        let rows = self.rows;
        let impossible = |e| Error::Failed(format!("a chunk could not become a batch: {e}"));
        let mut built = [const { Vec::new() }; 4];
        for column in self.numbers {
            let nulls = nulls(&column.missing, rows);
            built[0].push(Arc::new(Float64Array::new(column.values.into(), nulls)) as ArrayRef);
        }
        for column in self.texts {
            let offsets = OffsetBuffer::new(column.ends.into());
            let nulls = nulls(&column.missing, rows);
            let array = StringArray::try_new(offsets, column.bytes.into(), nulls).map_err(impossible)?;
            built[1].push(Arc::new(array) as ArrayRef);
        }
        for column in self.times {
            built[2].push(Arc::new(TimestampNanosecondArray::from(column)) as ArrayRef);
        }
        for column in self.integers {
            let nulls = nulls(&column.missing, rows);
            built[3].push(Arc::new(Int64Array::new(column.values.into(), nulls)) as ArrayRef);
        }
        let take = |slot: &Slot| match *slot {
            Slot::Number(s) | Slot::Exact(s) => Some(built[0][s].clone()),
            Slot::Integer(s) => Some(built[3][s].clone()),
            Slot::Text(s) => Some(built[1][s].clone()),
            Slot::Time(s) => Some(built[2][s].clone()),
            Slot::Skip => None,
        };
        let arrays = projection.outputs.iter().filter_map(take).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(projection.schema.clone(), arrays, &options).map_err(impossible)
    }
}

impl<T> Numbers<T> {
    fn new(rows: usize) -> Self {
        Self {
            values: Vec::with_capacity(rows),
            missing: Vec::new(),
        }
    }

    fn truncate(&mut self, rows: usize) {
        self.values.truncate(rows);
        forget(&mut self.missing, rows);
    }
}

impl Texts {
    fn end(&mut self) {
        // A chunk is some megabytes, far below 2 GiB.
        self.ends.push(self.bytes.len() as i32);
    }

    fn truncate(&mut self, rows: usize) {
        self.ends.truncate(rows + 1);
        self.bytes.truncate(self.ends.last().map_or(0, |end| *end as usize));
        forget(&mut self.missing, rows);
    }
}

fn forget(missing: &mut Missing, rows: usize) {
    while missing.last().is_some_and(|row| *row >= rows) {
        missing.pop();
    }
}

fn nulls(missing: &Missing, rows: usize) -> Option<NullBuffer> {
    if missing.is_empty() {
        return None;
    }
    let mut bits = MutableBuffer::from_len_zeroed(rows.div_ceil(8));
    bits.as_slice_mut().fill(0xff);
    for row in missing {
        bits.as_slice_mut()[row / 8] &= !(1 << (row % 8));
    }
    Some(NullBuffer::new(BooleanBuffer::new(bits.into(), 0, rows)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, AsArray};

    #[test]
    fn a_row_taken_back_leaves_no_trace() {
        let kinds = [
            ("a", DataType::Float64),
            ("b", DataType::Utf8),
            ("t", time_type()),
            ("i", DataType::Int64),
        ];
        let schema = schema_of(kinds.into_iter().map(|(n, k)| (n.to_string(), k)));
        let projection = Projection::all(&schema, &[], TimeUnit::Seconds).unwrap();
        let mut columns = Columns::new(&projection, 4);
        for row in 0..3 {
            columns.missing_number(0);
            match row {
                2 => columns.integer(0, 7),
                _ => columns.missing_integer(0),
            }
            if row == 1 {
                columns.text(0, "gone");
                columns.undo_row();
                continue;
            }
            columns.missing_text(0);
            columns.time(0, row);
            columns.end_row();
        }
        columns.number(0, 5.0);
        columns.text(0, "half");
        columns.integer(0, 5);
        let batch = columns.finish(&projection).unwrap();
        assert_eq!(batch.num_rows(), 2);
        assert_eq!(
            (
                batch.column(0).null_count(),
                batch.column(1).null_count(),
                batch.column(2).null_count(),
                batch.column(3).null_count()
            ),
            (2, 2, 0, 1)
        );
        assert!(batch.column(1).as_string::<i32>().value_data().is_empty());
    }

    #[test]
    fn columns_come_in_the_selected_order_even_twice() {
        let schema = schema_of(["a", "b"].into_iter().map(|n| (n.to_string(), DataType::Float64)));
        let wanted = ["b".to_string(), "a".into(), "b".into()];
        let projection = Projection::select(&schema, &wanted, &[], TimeUnit::Seconds).unwrap();
        let mut columns = Columns::new(&projection, 1);
        for (slot, value) in projection.slots.iter().zip([1.0, 2.0]) {
            let Slot::Number(slot) = slot else { panic!("{slot:?}") };
            columns.number(*slot, value);
        }
        columns.end_row();
        let batch = columns.finish(&projection).unwrap();
        let values: Vec<f64> = batch
            .columns()
            .iter()
            .map(|c| c.as_primitive::<arrow::datatypes::Float64Type>().value(0))
            .collect();
        assert_eq!(values, [2.0, 1.0, 2.0]);
    }

    #[test]
    fn an_unknown_column_is_a_usage_error_that_lists_the_known() {
        let schema = schema_of([("a".to_string(), DataType::Float64)].into_iter());
        let error = Projection::select(&schema, &["x".to_string()], &[], TimeUnit::Seconds).unwrap_err();
        assert_eq!(error.to_string(), "no column `x`; there are `a`");
        assert_eq!(error.exit_code(), 2);
    }
}
