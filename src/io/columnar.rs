//! From the columns of a columnar file to the columns of a batch: which are offered, which are wanted, as which type.
//!
//! Parquet and Arrow share it. Integers, decimals and half floats become floating-point numbers, but integers and
//! decimals that are keys stay what they are; so do floats (the very same buffers), and booleans, text and temporal
//! columns keep their Arrow type. Nested columns are not offered. The column of the event time becomes
//! `Timestamp(Nanosecond, None)`; a row without a time is a bad row, and that is so whether or not the column itself is
//! selected.
//!
//! The rule: a column is converted on its own ([`Shape::convert`], which may run on any thread), and rows are rejected
//! only where the columns come together ([`Shape::assemble`]).

use crate::error::{BadRow, Error, Result};
use crate::io::{About, BadRows, ReadOptions, TimeUnit, time};
use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit as ArrowUnit};
use arrow::util::display::array_value_to_string;
use std::sync::Arc;

/// Rows of one batch at most: with ten columns of 8 bytes, the few megabytes that a batch is to have.
pub(crate) const BATCH_ROWS: usize = 65_536;

/// The type of the event time in every batch.
pub(crate) const TIME_TYPE: DataType = DataType::Timestamp(ArrowUnit::Nanosecond, None);

/// How the columns of a file become the columns of its batches.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    source: String,
    /// The offered columns with the types that they have in batches.
    schema: SchemaRef,
    /// The place in the file of each offered column.
    places: Vec<usize>,
    /// The names of the columns that are not offered.
    nested: Vec<String>,
    /// The selected columns, as places in `schema`, in the order asked for.
    selected: Vec<usize>,
    /// The event time, as a place in `schema`, and the unit of its numbers.
    time: Option<(usize, TimeUnit)>,
    fail: bool,
    /// Rejected rows of a batch that are told about.
    told_max: usize,
}

/// A column of a batch, and the rows whose cell makes the row unreadable.
#[derive(Debug, Clone)]
pub(crate) struct Converted {
    array: ArrayRef,
    /// Rows within the batch, in order.
    rejected: Vec<usize>,
    /// Of the first of them: the row, its cell as text, and the reason.
    told: Vec<(usize, String, &'static str)>,
}

impl Shape {
    /// The shape that a file with this schema takes; every offered column is selected.
    ///
    /// # Errors
    /// [`Error::Usage`] if the time column is not there or holds no times; [`Error::Data`] if two columns have one
    /// name.
    pub(crate) fn new(source: &str, file: &Schema, options: &ReadOptions) -> Result<Self> {
        let (mut fields, mut places, mut nested) = (Vec::<Field>::new(), Vec::new(), Vec::new());
        for (place, field) in file.fields().iter().enumerate() {
            let is_time = options.time.as_ref().is_some_and(|(name, _)| name == field.name());
            if is_time && !time::is_readable(field.data_type()) {
                return Err(Error::Usage(format!(
                    "{source}: column `{}` has the type {}, which holds no times (--time)",
                    field.name(),
                    field.data_type()
                )));
            }
            let (data_type, nullable) = if is_time {
                (TIME_TYPE, false)
            } else {
                match batch_type(field.data_type(), options.keys.contains(field.name())) {
                    Some(data_type) => (data_type, field.is_nullable()),
                    None => {
                        nested.push(field.name().clone());
                        continue;
                    }
                }
            };
            if fields.iter().any(|f| f.name() == field.name()) {
                return Err(Error::Data(format!(
                    "{source} has two columns named `{}`",
                    field.name()
                )));
            }
            fields.push(Field::new(field.name(), data_type, nullable));
            places.push(place);
        }
        let mut shape = Self {
            source: source.to_owned(),
            selected: (0..places.len()).collect(),
            schema: Arc::new(Schema::new(fields)),
            places,
            nested,
            time: None,
            fail: options.bad_rows == BadRows::Fail,
            told_max: usize::MAX,
        };
        if let Some((name, unit)) = &options.time {
            shape.time = Some((shape.place(name)?, *unit));
        }
        Ok(shape)
    }

    /// Of the rejected rows of a batch no more than `most` are told about; the others are counted.
    pub(crate) fn tell_at_most(&mut self, most: usize) {
        self.told_max = most;
    }

    /// The offered columns.
    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// What is known of the file.
    pub(crate) fn about(&self) -> About {
        About {
            name: self.source.clone(),
            nested: self.nested.clone(),
            ..About::default()
        }
    }

    /// Gives only these columns from now on, in this order.
    ///
    /// # Errors
    /// [`Error::Usage`] for a name that is not offered.
    pub(crate) fn select(&mut self, columns: &[String]) -> Result<()> {
        self.selected = columns.iter().map(|name| self.place(name)).collect::<Result<_>>()?;
        Ok(())
    }

    /// The places in the file of the columns that have to be read, ascending: the selected ones and the event time.
    pub(crate) fn wanted(&self) -> Vec<usize> {
        let time = self.time.iter().map(|(place, _)| place);
        let mut wanted: Vec<usize> = self
            .selected
            .iter()
            .chain(time)
            .map(|&place| self.places[place])
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        wanted
    }

    /// The column at this place of the file, as it is in batches.
    ///
    /// # Errors
    /// [`Error::Data`] if its values cannot be converted.
    pub(crate) fn convert(&self, file_place: usize, array: &ArrayRef) -> Result<Converted> {
        let place = self.offered(file_place)?;
        match self.time {
            Some((time, unit)) if time == place => self.convert_time(array, unit),
            _ => {
                let to = self.schema.field(place).data_type();
                let array = if array.data_type() == to {
                    Arc::clone(array)
                } else {
                    cast(array, to).map_err(|e| self.damaged(place, &e))?
                };
                Ok(Converted {
                    array,
                    rejected: Vec::new(),
                    told: Vec::new(),
                })
            }
        }
    }

    fn convert_time(&self, array: &ArrayRef, unit: TimeUnit) -> Result<Converted> {
        let times = time::column_to_ns(array, unit)?;
        let (mut rejected, mut told) = (Vec::new(), Vec::new());
        for row in (0..times.len()).filter(|&row| times.is_null(row)) {
            rejected.push(row);
            if told.len() >= self.told_max {
                continue;
            }
            if array.is_null(row) {
                told.push((row, String::new(), "is missing, and every row needs its time"));
            } else {
                // A time far out of range may not even have a form in text.
                let cell = array_value_to_string(array, row).ok();
                let why = time::unreadable(array.data_type(), cell.as_deref(), unit);
                told.push((row, cell.unwrap_or_default(), why.reason()));
            }
            if self.fail {
                break;
            }
        }
        Ok(Converted {
            array: Arc::new(times),
            rejected,
            told,
        })
    }

    /// The batch and the rejected rows that are told about from the [`wanted`](Self::wanted) columns, of which
    /// `first_row` is the number of the first row (from 0).
    ///
    /// # Errors
    /// [`Error::Row`] for a row without a time under [`BadRows::Fail`]; [`Error::Data`] if columns differ in length.
    pub(crate) fn assemble(
        &self,
        columns: &[Converted],
        rows: usize,
        first_row: u64,
    ) -> Result<(RecordBatch, Vec<BadRow>)> {
        let wanted = self.wanted();
        let arrays: Vec<ArrayRef> = self
            .selected
            .iter()
            .map(|&place| {
                let found = wanted
                    .binary_search(&self.places[place])
                    .ok()
                    .and_then(|at| columns.get(at));
                found
                    .map(|c| Arc::clone(&c.array))
                    .ok_or_else(|| self.damaged(place, &"the column is not there"))
            })
            .collect::<Result<_>>()?;
        let rejected: Vec<BadRow> = columns
            .iter()
            .flat_map(|c| &c.told)
            .map(|(row, cell, reason)| self.bad_row(first_row + *row as u64 + 1, cell, reason))
            .collect();
        if let (true, Some(bad)) = (self.fail, rejected.first()) {
            return Err(bad.clone().into());
        }
        let is_bad = columns.iter().any(|c| !c.rejected.is_empty());
        let keep = is_bad.then(|| {
            let mut keep = vec![true; rows];
            for row in columns.iter().flat_map(|c| &c.rejected) {
                keep[*row] = false;
            }
            BooleanArray::from(keep)
        });
        let good = |e| self.damaged_batch(&e);
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = match keep {
            None => RecordBatch::try_new_with_options(self.selected_schema(false)?, arrays, &options).map_err(good)?,
            Some(keep) => {
                let all =
                    RecordBatch::try_new_with_options(self.selected_schema(true)?, arrays, &options).map_err(good)?;
                let kept = filter_record_batch(&all, &keep).map_err(good)?;
                let options = RecordBatchOptions::new().with_row_count(Some(kept.num_rows()));
                RecordBatch::try_new_with_options(self.selected_schema(false)?, kept.columns().to_vec(), &options)
                    .map_err(good)?
            }
        };
        Ok((batch, rejected))
    }

    /// Rejected rows that are not told about.
    pub(crate) fn untold(columns: &[Converted]) -> u64 {
        columns.iter().map(|c| (c.rejected.len() - c.told.len()) as u64).sum()
    }

    fn selected_schema(&self, any_null: bool) -> Result<SchemaRef> {
        let schema = self
            .schema
            .project(&self.selected)
            .map_err(|e| self.damaged_batch(&e))?;
        if !any_null {
            return Ok(Arc::new(schema));
        }
        let nullable = schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true));
        Ok(Arc::new(Schema::new(nullable.collect::<Vec<_>>())))
    }

    fn bad_row(&self, line: u64, cell: &str, reason: &str) -> BadRow {
        BadRow {
            source: self.source.clone(),
            line,
            column: self.time.map(|(place, _)| self.schema.field(place).name().clone()),
            bytes: cell.into(),
            row: Vec::new(),
            reason: reason.into(),
        }
    }

    fn place(&self, name: &str) -> Result<usize> {
        self.schema
            .fields()
            .iter()
            .position(|f| f.name() == name)
            .ok_or_else(|| {
                let names: Vec<_> = self.schema.fields().iter().map(|f| format!("`{}`", f.name())).collect();
                Error::Usage(format!(
                    "{} has no column `{name}`; its columns are {}",
                    self.source,
                    names.join(", ")
                ))
            })
    }

    fn offered(&self, file_place: usize) -> Result<usize> {
        self.places
            .binary_search(&file_place)
            .map_err(|_| self.damaged_batch(&"a column more than the schema has"))
    }

    fn damaged(&self, place: usize, why: &dyn std::fmt::Display) -> Error {
        Error::Data(format!(
            "{}, column `{}`: {why}",
            self.source,
            self.schema.field(place).name()
        ))
    }

    fn damaged_batch(&self, why: &dyn std::fmt::Display) -> Error {
        super::whole::damaged(&self.source, why)
    }
}

/// The type that a column of this type has in batches, where the values of a `key` are not rounded; `None` for nested
/// columns, which are left out.
fn batch_type(data_type: &DataType, key: bool) -> Option<DataType> {
    match data_type {
        DataType::Float16 => Some(DataType::Float32),
        DataType::Float32 | DataType::Float64 => Some(data_type.clone()),
        DataType::Null => Some(DataType::Float64),
        DataType::Dictionary(_, values) if values.is_numeric() => batch_type(values, key),
        DataType::Dictionary(_, values) => batch_type(values, key).map(|_| data_type.clone()),
        DataType::RunEndEncoded(_, values) => batch_type(values.data_type(), key),
        DataType::UInt64 if key => Some(DataType::UInt64),
        other if key && other.is_integer() => Some(DataType::Int64),
        other if key && other.is_decimal() => Some(other.clone()),
        other if other.is_numeric() => Some(DataType::Float64),
        other if other.is_nested() => None,
        other => Some(other.clone()),
    }
}

#[cfg(test)]
mod tests;
