//! Equally long numeric columns with names, optional keys and optional event time.
//!
//! Columns are views of Arrow buffers: making a batch from a `RecordBatch` of `f64` and `f32` columns copies nothing,
//! cloning and slicing one costs a few reference counts. Integers and decimals are widened to `f64` (a copy). A value
//! is missing if it is null or NaN.

use crate::error::{Error, Result};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float32Array, Float64Array, Int64Array, PrimitiveArray, RecordBatch,
};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::FilterBuilder;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, TimeUnit, TimestampNanosecondType};
use arrow::error::ArrowError;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The numbers of one column.
#[derive(Debug, Clone)]
pub enum Values {
    /// 64-bit floats.
    F64(ScalarBuffer<f64>),
    /// 32-bit floats, widened exactly when they are reduced.
    F32(ScalarBuffer<f32>),
}

/// One numeric column.
#[derive(Debug, Clone)]
pub struct Column {
    /// The numbers; what stands at a null is anything.
    pub values: Values,
    /// Which values are there; absent where all are.
    pub nulls: Option<NullBuffer>,
}

impl Column {
    /// Values.
    pub fn len(&self) -> usize {
        match &self.values {
            Values::F64(v) => v.len(),
            Values::F32(v) => v.len(),
        }
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of row i as `f64`; NaN where it is missing.
    ///
    /// # Panics
    /// If there is no row i.
    #[inline]
    pub fn get(&self, i: usize) -> f64 {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(i)) {
            return f64::NAN;
        }
        match &self.values {
            Values::F64(v) => v[i],
            Values::F32(v) => f64::from(v[i]),
        }
    }

    /// Rows `offset .. offset + len`, without copying.
    ///
    /// # Panics
    /// If they are not there.
    pub fn slice(&self, offset: usize, len: usize) -> Self {
        let values = match &self.values {
            Values::F64(v) => Values::F64(v.slice(offset, len)),
            Values::F32(v) => Values::F32(v.slice(offset, len)),
        };
        let nulls = self
            .nulls
            .as_ref()
            .map(|n| n.slice(offset, len))
            .filter(|n| n.null_count() > 0);
        Self { values, nulls }
    }

    /// The numeric column behind an Arrow array: floats as they are, integers and decimals widened to `f64`.
    ///
    /// # Errors
    /// [`Error::Usage`] for any other type.
    pub fn from_array(name: &str, array: &ArrayRef) -> Result<Self> {
        let nulls = |a: &dyn Array| a.nulls().filter(|n| n.null_count() > 0).cloned();
        Ok(match array.data_type() {
            DataType::Float64 => {
                let a = array.as_primitive::<Float64Type>();
                Self {
                    values: Values::F64(a.values().clone()),
                    nulls: nulls(a),
                }
            }
            DataType::Float32 => {
                let a = array.as_primitive::<Float32Type>();
                Self {
                    values: Values::F32(a.values().clone()),
                    nulls: nulls(a),
                }
            }
            other if is_numeric(other) => {
                let cast = arrow::compute::cast(array, &DataType::Float64)
                    .map_err(|e| Error::Failed(format!("column `{name}`: {e}")))?;
                let a = cast.as_primitive::<Float64Type>();
                Self {
                    values: Values::F64(a.values().clone()),
                    nulls: nulls(a),
                }
            }
            other => return Err(Error::Usage(format!("column `{name}` is not numeric but {other}"))),
        })
    }
}

/// Whether a column of this type counts as numeric: integers, floats and decimals do; booleans, text and times do not.
pub fn is_numeric(data_type: &DataType) -> bool {
    data_type.is_numeric()
}

/// Equally long numeric columns with names, optional keys and optional event time. Cheap to clone and to slice.
#[derive(Debug, Clone)]
pub struct Batch {
    names: Arc<[String]>,
    columns: Vec<Column>,
    keys: Vec<(String, ArrayRef)>,
    time_ns: Option<ScalarBuffer<i64>>,
    rows: usize,
}

impl Batch {
    /// A batch of named columns of `f64`.
    ///
    /// ```
    /// let batch = millstream::Batch::from_columns([("t", vec![20.5, 21.0]), ("p", vec![1013.2, f64::NAN])])?;
    /// assert_eq!((batch.rows(), batch.names()), (2, &["t".to_string(), "p".to_string()][..]));
    /// # Ok::<(), millstream::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Usage`] if the columns are not equally long or a name occurs twice.
    pub fn from_columns<N: Into<String>>(columns: impl IntoIterator<Item = (N, Vec<f64>)>) -> Result<Self> {
        let columns = columns
            .into_iter()
            .map(|(name, v)| {
                (
                    name.into(),
                    Column {
                        values: Values::F64(v.into()),
                        nulls: None,
                    },
                )
            })
            .collect::<Vec<_>>();
        let rows = columns.first().map_or(0, |(_, c)| c.len());
        Self::new(rows, columns)
    }

    /// A batch of `rows` rows of named columns.
    ///
    /// # Errors
    /// [`Error::Usage`] if a column has another length or a name occurs twice.
    pub fn new(rows: usize, columns: Vec<(String, Column)>) -> Result<Self> {
        let mut seen = std::collections::HashSet::new();
        for (name, column) in &columns {
            if column.len() != rows {
                return Err(Error::Usage(format!(
                    "column `{name}` has {} values, not {rows}",
                    column.len()
                )));
            }
            if column.nulls.as_ref().is_some_and(|nulls| nulls.len() != rows) {
                return Err(Error::Usage(format!(
                    "the nulls of column `{name}` are not those of {rows} rows"
                )));
            }
            if !seen.insert(name.as_str()) {
                return Err(Error::Usage(format!("there are two columns `{name}`")));
            }
        }
        let (names, columns): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        Ok(Self {
            names: names.into(),
            columns,
            keys: Vec::new(),
            time_ns: None,
            rows,
        })
    }

    /// The numeric columns of an Arrow batch, its `keys` and its event `time`, without copying floats.
    ///
    /// Columns named in `keys` or as `time` are not among the numeric ones unless `numeric` names them. `numeric`
    /// absent: every other numeric column. Times are nanoseconds since the Unix epoch.
    ///
    /// # Errors
    /// [`Error::Usage`] for a name that is not there or a type that does not fit, [`Error::Data`] for a missing time.
    pub fn from_record_batch(
        batch: &RecordBatch,
        numeric: Option<&[String]>,
        keys: &[String],
        time: Option<&str>,
    ) -> Result<Self> {
        let schema = batch.schema();
        // Columns mostly come in the order in which they are asked for.
        let mut next = 0;
        let mut find = |name: &str| {
            let there = schema.fields().get(next).is_some_and(|field| field.name() == name);
            let place = if there { Some(next) } else { schema.index_of(name).ok() };
            next = place.map_or(0, |place| place + 1);
            let column = place.map(|place| batch.column(place).clone());
            column.ok_or_else(|| Error::Usage(format!("there is no column `{name}`")))
        };
        let every;
        let numeric = match numeric {
            Some(names) => names,
            None => {
                let free = |n: &String| !keys.contains(n) && time != Some(n.as_str());
                let fields = schema.fields().iter().filter(|f| is_numeric(f.data_type()));
                every = fields.map(|f| f.name().clone()).filter(free).collect::<Vec<_>>();
                &every
            }
        };
        let columns = numeric
            .iter()
            .map(|name| Ok((name.clone(), Column::from_array(name, &find(name)?)?)))
            .collect::<Result<Vec<_>>>()?;
        let mut this = Self::new(batch.num_rows(), columns)?;
        this.keys = keys
            .iter()
            .map(|name| Ok((name.clone(), find(name)?)))
            .collect::<Result<_>>()?;
        if let Some(name) = time {
            this.time_ns = Some(time_values(name, &find(name)?)?);
        }
        Ok(this)
    }

    /// The same batch with key columns (any Arrow type that can be compared).
    ///
    /// # Errors
    /// [`Error::Usage`] if one has another length.
    pub fn with_keys(mut self, keys: Vec<(String, ArrayRef)>) -> Result<Self> {
        if let Some((name, _)) = keys.iter().find(|(_, a)| a.len() != self.rows) {
            return Err(Error::Usage(format!(
                "key `{name}` has another length than the columns"
            )));
        }
        self.keys = keys;
        Ok(self)
    }

    /// The same batch with event times in nanoseconds since 1970-01-01T00:00:00Z.
    ///
    /// # Errors
    /// [`Error::Usage`] if there are not as many as rows.
    pub fn with_time_ns(mut self, time_ns: Vec<i64>) -> Result<Self> {
        if time_ns.len() != self.rows {
            return Err(Error::Usage(format!(
                "there are {} times for {} rows",
                time_ns.len(),
                self.rows
            )));
        }
        self.time_ns = Some(time_ns.into());
        Ok(self)
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Names of the numeric columns.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The numeric columns.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Names and values of the key columns.
    pub fn keys(&self) -> &[(String, ArrayRef)] {
        &self.keys
    }

    /// Event times, if there are any.
    pub fn time_ns(&self) -> Option<&[i64]> {
        self.time_ns.as_deref()
    }

    /// The rows for which `keep` holds, copied.
    ///
    /// # Errors
    /// What Arrow says of a key column that it cannot filter.
    pub(crate) fn filter(&self, keep: &BooleanArray) -> Result<Self, ArrowError> {
        let predicate = FilterBuilder::new(keep).build();
        let column = |column: &Column| -> Result<Column, ArrowError> {
            let array: ArrayRef = match &column.values {
                Values::F64(v) => Arc::new(Float64Array::new(v.clone(), column.nulls.clone())),
                Values::F32(v) => Arc::new(Float32Array::new(v.clone(), column.nulls.clone())),
            };
            let kept = predicate.filter(&array)?;
            let nulls = kept.nulls().filter(|n| n.null_count() > 0).cloned();
            let values = match &column.values {
                Values::F64(_) => Values::F64(kept.as_primitive::<Float64Type>().values().clone()),
                Values::F32(_) => Values::F32(kept.as_primitive::<Float32Type>().values().clone()),
            };
            Ok(Column { values, nulls })
        };
        let time = |time: &ScalarBuffer<i64>| -> Result<ScalarBuffer<i64>, ArrowError> {
            let array: ArrayRef = Arc::new(Int64Array::new(time.clone(), None));
            Ok(predicate.filter(&array)?.as_primitive::<Int64Type>().values().clone())
        };
        let key = |(name, array): &(String, ArrayRef)| Ok((name.clone(), predicate.filter(array)?));
        Ok(Self {
            names: self.names.clone(),
            columns: self.columns.iter().map(column).collect::<Result<_, ArrowError>>()?,
            keys: self.keys.iter().map(key).collect::<Result<_, ArrowError>>()?,
            time_ns: self.time_ns.as_ref().map(time).transpose()?,
            rows: predicate.count(),
        })
    }

    /// Rows `offset .. offset + len`, without copying.
    ///
    /// # Panics
    /// If they are not there.
    pub fn slice(&self, offset: usize, len: usize) -> Self {
        Self {
            names: self.names.clone(),
            columns: self.columns.iter().map(|c| c.slice(offset, len)).collect(),
            keys: self
                .keys
                .iter()
                .map(|(n, a)| (n.clone(), a.slice(offset, len)))
                .collect(),
            time_ns: self.time_ns.as_ref().map(|t| t.slice(offset, len)),
            rows: len,
        }
    }

    /// The same batch with these of its columns, in this order.
    ///
    /// # Panics
    /// If one is not there.
    pub fn project(&self, columns: &[usize]) -> Self {
        Self {
            names: columns.iter().map(|i| self.names[*i].clone()).collect(),
            columns: columns.iter().map(|i| self.columns[*i].clone()).collect(),
            ..self.clone()
        }
    }
}

fn time_values(name: &str, array: &ArrayRef) -> Result<ScalarBuffer<i64>> {
    let cast;
    let array = match array.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, _) => array,
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => {
            cast = arrow::compute::cast(array, &DataType::Timestamp(TimeUnit::Nanosecond, None))
                .map_err(|e| Error::Data(format!("time column `{name}`: {e}")))?;
            &cast
        }
        other => return Err(Error::Usage(format!("column `{name}` is not a time but {other}"))),
    };
    let times: &PrimitiveArray<TimestampNanosecondType> = array.as_primitive();
    if times.null_count() > 0 {
        return Err(Error::Data(format!(
            "time column `{name}` has {} rows without a time",
            times.null_count()
        )));
    }
    Ok(times.values().clone())
}

impl TryFrom<&RecordBatch> for Batch {
    type Error = Error;

    /// Every numeric column of an Arrow batch.
    fn try_from(batch: &RecordBatch) -> Result<Self> {
        Self::from_record_batch(batch, None, &[], None)
    }
}

/// Rows that are collected until they fill a leaf.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct BatchBuilder {
    names: Arc<[String]>,
    columns: Vec<ColumnBuilder>,
    time_ns: Option<Vec<i64>>,
    rows: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum ColumnBuilder {
    F64(Vec<f64>),
    F32(Vec<f32>),
}

impl BatchBuilder {
    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Appends a copy of rows `offset .. offset + len` of a batch with the same columns; nulls become NaN.
    pub fn append(&mut self, batch: &Batch, offset: usize, len: usize) {
        if self.columns.is_empty() {
            self.names = batch.names.clone();
            let empty = |c: &Column| match c.values {
                Values::F64(_) => ColumnBuilder::F64(Vec::new()),
                Values::F32(_) => ColumnBuilder::F32(Vec::new()),
            };
            self.columns = batch.columns.iter().map(empty).collect();
            self.time_ns = batch.time_ns.as_ref().map(|_| Vec::new());
        }
        for (own, column) in self.columns.iter_mut().zip(&batch.columns) {
            let range = offset..offset + len;
            match (own, &column.values) {
                (ColumnBuilder::F64(own), Values::F64(v)) if column.nulls.is_none() => own.extend_from_slice(&v[range]),
                (ColumnBuilder::F32(own), Values::F32(v)) if column.nulls.is_none() => own.extend_from_slice(&v[range]),
                (ColumnBuilder::F32(own), Values::F32(_)) => own.extend(range.map(|i| column.get(i) as f32)),
                (ColumnBuilder::F64(own), _) => own.extend(range.map(|i| column.get(i))),
                (own @ ColumnBuilder::F32(_), Values::F64(v)) => {
                    // A column that was f32 so far and is f64 now is held in f64 from here on: widening is exact.
                    let ColumnBuilder::F32(before) = &*own else { continue };
                    let mut wide: Vec<f64> = before.iter().map(|x| f64::from(*x)).collect();
                    debug_assert_eq!(v.len(), batch.rows);
                    wide.extend(range.map(|i| column.get(i)));
                    *own = ColumnBuilder::F64(wide);
                }
            }
        }
        if let (Some(own), Some(times)) = (&mut self.time_ns, &batch.time_ns) {
            own.extend_from_slice(&times[offset..offset + len]);
        }
        self.rows += len;
    }

    /// The rows as a batch; the builder is empty afterwards.
    pub fn take(&mut self) -> Batch {
        let this = std::mem::take(self);
        let column = |c| match c {
            ColumnBuilder::F64(v) => Column {
                values: Values::F64(v.into()),
                nulls: None,
            },
            ColumnBuilder::F32(v) => Column {
                values: Values::F32(v.into()),
                nulls: None,
            },
        };
        Batch {
            names: this.names,
            columns: this.columns.into_iter().map(column).collect(),
            keys: Vec::new(),
            time_ns: this.time_ns.map(Into::into),
            rows: this.rows,
        }
    }
}

#[cfg(test)]
mod tests;
