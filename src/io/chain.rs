//! Several inputs as one table, read one after another.
//!
//! The first input says which columns there are, in which order and of which type. Each later one must have the same
//! names; a type is changed where nothing is lost by it (one form of text to another, text to dates and booleans, `f32`
//! to `f64`, integers to text, a column without any value to anything, the numbers of a key to others that are equal).
//!
//! The rule: each input is a partition of its own, and one input is open at a time.

use crate::error::{Error, Result};
use crate::io::columnar::TIME_TYPE;
use crate::io::open::open_one;
use crate::io::{About, Position, Read, ReadOptions, Source, whole};
use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use std::path::PathBuf;
use std::sync::Arc;

/// The rows of several inputs.
pub(crate) struct Chain {
    inputs: Vec<PathBuf>,
    options: ReadOptions,
    /// The columns of the table.
    schema: SchemaRef,
    /// The selected ones.
    selected: SchemaRef,
    /// Which input is being read, and its source.
    index: usize,
    source: Box<dyn Source>,
    /// What is known of the inputs before the one that is being read.
    about: About,
    bytes_before: u64,
    bytes_read: u64,
}

impl Chain {
    /// The inputs, of which the first is `source`.
    pub(crate) fn new(inputs: &[PathBuf], source: Box<dyn Source>, options: &ReadOptions) -> Self {
        // A later input may have nulls where the first has none.
        let own = source.schema();
        let fields = own.fields().iter().map(|f| {
            let is_time = options.time.as_ref().is_some_and(|(name, _)| name == f.name());
            f.as_ref()
                .clone()
                .with_nullable(!is_time || *f.data_type() != TIME_TYPE)
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Self {
            inputs: inputs.to_vec(),
            options: options.clone(),
            selected: Arc::clone(&schema),
            schema,
            index: 0,
            about: About {
                name: source.about().name,
                ..About::default()
            },
            source,
            bytes_before: 0,
            bytes_read: 0,
        }
    }

    /// Goes on to the next input; false if there is none.
    fn advance(&mut self) -> Result<bool> {
        let Some(path) = self.inputs.get(self.index + 1) else {
            return Ok(false);
        };
        let mut source = open_one(path, &self.options, Some(&self.schema))?;
        self.same_names(&source.schema(), &whole::name(path))?;
        source.select(
            &self
                .selected
                .fields()
                .iter()
                .map(|f| f.name().clone())
                .collect::<Vec<_>>(),
        )?;
        self.bytes_before += std::fs::metadata(&self.inputs[self.index]).map_or(self.bytes_read, |m| m.len());
        self.bytes_read = 0;
        self.about = self.about();
        self.source = source;
        self.index += 1;
        Ok(true)
    }

    fn same_names(&self, other: &Schema, name: &str) -> Result<()> {
        let lacks = |a: &Schema, b: &Schema| {
            let lacking = a.fields().iter().find(|f| b.field_with_name(f.name()).is_err());
            lacking.map(|f| f.name().clone())
        };
        let first = whole::name(&self.inputs[0]);
        let difference = match (lacks(&self.schema, other), lacks(other, &self.schema)) {
            (Some(column), _) => format!("{name} has no column `{column}`, which {first} has"),
            (None, Some(column)) => format!("{name} has a column `{column}`, which {first} does not have"),
            (None, None) => return Ok(()),
        };
        Err(Error::Data(format!(
            "{difference}; several inputs are one table, so their columns must agree"
        )))
    }

    /// The batch with the types of the table.
    fn conform(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = self
            .selected
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(field, column)| {
                self.conform_column(field.data_type(), column).map_err(|why| {
                    let (first, this) = (whole::name(&self.inputs[0]), whole::name(&self.inputs[self.index]));
                    let (want, have) = (field.data_type(), column.data_type());
                    Error::Data(format!(
                        "column `{}` has the type {want} in {first} and {have} in {this}: {why}",
                        field.name()
                    ))
                })
            });
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.selected), columns.collect::<Result<_>>()?, &options)
            .map_err(|e| whole::damaged(&whole::name(&self.inputs[self.index]), e))
    }

    fn conform_column(&self, to: &DataType, column: &ArrayRef) -> Result<ArrayRef, String> {
        let from = column.data_type();
        if from == to {
            return Ok(Arc::clone(column));
        }
        if column.null_count() == column.len() {
            return Ok(new_null_array(to, column.len()));
        }
        let lossless = match (is_text(from), is_text(to)) {
            (true, true) => true,
            (true, false) => {
                matches!(to, DataType::Boolean | DataType::UInt64) || (to.is_temporal() && *to != TIME_TYPE)
            }
            (false, true) => from.is_integer(),
            (false, false) => *from == DataType::Float32 && *to == DataType::Float64,
        };
        let strict = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let strict = |array: &ArrayRef, to| cast_with_options(array, to, &strict).map_err(|e| e.to_string());
        match (from, to) {
            _ if lossless => strict(column, to),
            (DataType::Float64, DataType::Float32) => Err("digits would be lost; name the other input first".into()),
            // Only keys are anything but floats.
            _ if from.is_numeric() && to.is_numeric() => {
                let changed = strict(column, to)?;
                match *strict(&changed, from)? == **column {
                    true => Ok(changed),
                    false => Err("digits would be lost; name the other input first".into()),
                }
            }
            _ => Err("several inputs are one table, so their columns must agree".into()),
        }
    }
}

impl Source for Chain {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn select(&mut self, columns: &[String]) -> Result<()> {
        self.source.select(columns)?;
        let fields = columns.iter().map(|name| self.schema.field_with_name(name).cloned());
        let fields: Result<Vec<_>, _> = fields.collect();
        self.selected = Arc::new(Schema::new(fields.map_err(|e| Error::Usage(e.to_string()))?));
        Ok(())
    }

    fn about(&self) -> About {
        let mut about = self.about.clone();
        let own = self.source.about();
        for (all, own) in [(&mut about.nested, own.nested), (&mut about.late, own.late)] {
            all.extend(own);
            all.sort_unstable();
            all.dedup();
        }
        // What one input has is there.
        if self.index == 0 {
            about.absent = own.absent;
        } else {
            about.absent.retain(|name| own.absent.contains(name));
        }
        about.hint = about.hint.or(own.hint);
        about
    }

    fn read(&mut self) -> Result<Read> {
        loop {
            match self.source.read()? {
                Read::Batch(mut rows, position) => {
                    rows.batch = self.conform(&rows.batch)?;
                    self.bytes_read = rows.bytes_read;
                    rows.bytes_read += self.bytes_before;
                    // Nobody names four thousand million inputs; if so, the last ones share a number.
                    let partition = u32::try_from(self.index).unwrap_or(u32::MAX);
                    return Ok(Read::Batch(rows, Position { partition, ..position }));
                }
                Read::Idle => return Ok(Read::Idle),
                Read::End => {
                    if !self.advance()? {
                        return Ok(Read::End);
                    }
                }
            }
        }
    }
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_text(values),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::open::open;
    use arrow::array::{AsArray, BooleanArray, Float32Array, Float64Array, Int32Array, StringArray, StringViewArray};
    use arrow::datatypes::Float64Type;
    use arrow::ipc::writer::FileWriter;
    use tempfile::TempDir;

    fn write(directory: &TempDir, name: &str, columns: Vec<(&str, ArrayRef)>) -> PathBuf {
        let path = directory.path().join(name);
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer = FileWriter::try_new(std::fs::File::create(&path).unwrap(), &batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        path
    }

    fn floats(values: &[f64]) -> ArrayRef {
        Arc::new(Float64Array::from(values.to_vec()))
    }

    fn read(source: &mut dyn Source) -> Result<Vec<(RecordBatch, Position, u64)>> {
        let mut all = Vec::new();
        while let Read::Batch(rows, position) = source.read()? {
            all.push((rows.batch, position, rows.bytes_read));
        }
        Ok(all)
    }

    #[test]
    fn inputs_follow_each_other_in_the_order_and_types_of_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let inputs = [
            write(
                &directory,
                "a.arrow",
                vec![("x", floats(&[1.0])), ("s", Arc::new(StringArray::from(vec!["a"])))],
            ),
            write(
                &directory,
                "b.arrow",
                vec![
                    ("s", Arc::new(StringViewArray::from(vec![Some("b"), None]))),
                    ("x", Arc::new(Float32Array::from(vec![2.0, 3.0]))),
                ],
            ),
            write(
                &directory,
                "c.arrow",
                vec![
                    ("x", Arc::new(Int32Array::from(vec![4]))),
                    ("s", new_null_array(&DataType::Boolean, 1)),
                ],
            ),
        ];
        let mut source = open(&inputs, &ReadOptions::default()).unwrap();
        source.select(&["s".into(), "x".into()]).unwrap();
        let got = read(source.as_mut()).unwrap();
        let schema = got[0].0.schema();
        assert!(got.iter().all(|(batch, ..)| batch.schema() == schema));
        let numbers: Vec<f64> = got
            .iter()
            .flat_map(|(b, ..)| b.column(1).as_primitive::<Float64Type>().values().to_vec())
            .collect();
        assert_eq!(numbers, [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(got[1].0.column(0).as_string::<i32>().value(0), "b");
        let positions: Vec<_> = got.iter().map(|(_, p, _)| (p.partition, p.rows)).collect();
        assert_eq!(positions, [(0, 1), (1, 2), (2, 1)]);
        assert!(got.windows(2).all(|pair| pair[0].2 < pair[1].2));
        assert!(got[2].2 <= crate::io::open::bytes_total(&inputs).unwrap());
    }

    #[test]
    fn what_does_not_agree_names_both_files_and_the_difference() {
        let directory = tempfile::tempdir().unwrap();
        let one = || vec![("x", floats(&[1.0]))];
        let a = write(&directory, "a.arrow", one());
        let single = write(
            &directory,
            "single.arrow",
            vec![("x", Arc::new(Float32Array::from(vec![0.5])))],
        );
        let booleans: ArrayRef = Arc::new(BooleanArray::from(vec![true]));
        let others = [
            (
                a.clone(),
                write(&directory, "b.arrow", vec![("y", floats(&[1.0]))]),
                "no column `x`",
            ),
            (
                a.clone(),
                write(
                    &directory,
                    "c.arrow",
                    vec![("x", floats(&[1.0])), ("y", floats(&[1.0]))],
                ),
                "column `y`",
            ),
            (
                a.clone(),
                write(&directory, "d.arrow", vec![("x", booleans)]),
                "Boolean",
            ),
            (single, a, "name the other input first"),
        ];
        for (first, second, want) in others {
            let mut source = open(&[first.clone(), second.clone()], &ReadOptions::default()).unwrap();
            let error = read(source.as_mut()).unwrap_err();
            assert!(matches!(error, Error::Data(_)), "{error:?}");
            for part in [want, &whole::name(&first), &whole::name(&second)] {
                assert!(error.to_string().contains(part), "{error} lacks {part}");
            }
        }
    }
}
