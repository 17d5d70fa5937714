//! A task as the driver writes it down, and its data.

use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::datatypes::ArrowNativeType;
use millstream::batch::{Column, Values};
use millstream::{Batch, Error, Result};
use serde::Deserialize;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// What is to be measured.
#[derive(Debug, Deserialize)]
pub(crate) struct Task {
    pub(crate) kind: String,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    dtype: String,
    parameters: Parameters,
    files: HashMap<String, PathBuf>,
    /// Where answers go.
    pub(crate) scratch: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Parameters {
    batches: Option<usize>,
    weights: Option<Vec<f64>>,
    window: Option<usize>,
}

/// A number of the files.
pub(crate) trait Number: Copy + Send + Sync {
    fn from_bytes(bytes: &[u8]) -> Self;
}

macro_rules! number {
    ($($kind:ty),*) => {
        $(impl Number for $kind {
            fn from_bytes(bytes: &[u8]) -> Self {
                Self::from_le_bytes(bytes.try_into().expect("a chunk of its size"))
            }
        })*
    };
}

number!(f32, f64, i64);

/// Numbers where Arrow has them: at the beginning of a line of the cache.
fn aligned<T: ArrowNativeType>(numbers: &[T]) -> ScalarBuffer<T> {
    ScalarBuffer::from(Buffer::from_slice_ref(numbers))
}

impl Task {
    /// The task in this file.
    pub(crate) fn read(path: &str) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::Failed(format!("{path}: {e}")))?;
        serde_json::from_str(&text).map_err(|e| Error::Failed(format!("{path}: {e}")))
    }

    /// Whether the numbers of the columns are `f32`.
    pub(crate) fn is_f32(&self) -> bool {
        self.dtype == "f32"
    }

    /// A file of the task.
    pub(crate) fn file(&self, name: &str) -> Result<&Path> {
        let path = self.files.get(name).map(PathBuf::as_path);
        path.ok_or_else(|| Error::Failed(format!("the task has no file `{name}`")))
    }

    /// A file of numbers, cut into arrays of one number a row, each in memory of its own.
    pub(crate) fn arrays<T: Number>(&self, name: &str) -> Result<Vec<Vec<T>>> {
        let path = self.file(name)?;
        let bytes = std::fs::read(path).map_err(|e| Error::Failed(format!("{}: {e}", path.display())))?;
        let array = |bytes: &[u8]| bytes.chunks_exact(size_of::<T>()).map(T::from_bytes).collect();
        Ok(bytes.chunks_exact(self.rows * size_of::<T>()).map(array).collect())
    }

    /// A file of one number a row.
    pub(crate) fn array<T: Number>(&self, name: &str) -> Result<Vec<T>> {
        let first = self.arrays(name)?.into_iter().next();
        first.ok_or_else(|| Error::Failed(format!("the file `{name}` has fewer than {} rows", self.rows)))
    }

    /// The columns as a batch, named c0, c1, …
    pub(crate) fn batch(&self) -> Result<Batch> {
        let values: Vec<Values> = if self.is_f32() {
            self.arrays::<f32>("columns")?
                .into_iter()
                .map(|v| Values::F32(aligned(&v)))
                .collect()
        } else {
            self.arrays::<f64>("columns")?
                .into_iter()
                .map(|v| Values::F64(aligned(&v)))
                .collect()
        };
        let named = values
            .into_iter()
            .enumerate()
            .map(|(j, values)| (format!("c{j}"), Column { values, nulls: None }));
        Batch::new(self.rows, named.collect())
    }

    /// The same rows in equally long batches; one, where the task does not cut them.
    pub(crate) fn batches(&self) -> Result<Vec<Batch>> {
        let batch = self.batch()?;
        let rows = self.rows / self.parameters.batches.unwrap_or(1);
        Ok((0..self.rows)
            .step_by(rows)
            .map(|start| batch.slice(start, rows))
            .collect())
    }

    /// The weights of the model.
    pub(crate) fn weights(&self) -> Result<Vec<f64>> {
        let weights = self.parameters.weights.clone();
        weights.ok_or_else(|| Error::Failed("the task has no weights".into()))
    }

    /// The rows of a window.
    pub(crate) fn window(&self) -> Result<usize> {
        let window = self.parameters.window;
        window.ok_or_else(|| Error::Failed("the task has no window".into()))
    }
}
