//! What stands on the stack of an evaluation, and the loops over pairs of numbers.
//!
//! A value is an array of as many elements as the batch has rows, or a scalar that stands for one. No numeric value
//! holds a NaN in a valid slot: operations that can make one turn it into null, so that no later one has to know.

use super::Kind;
use super::steps::Literal;
use crate::error::{Error, Result};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Datum, Float64Array, LargeStringArray, TimestampNanosecondArray,
    UInt32Array, new_null_array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::kernels::take;
use arrow::datatypes::{DataType, Float64Type, TimeUnit};
use arrow::error::ArrowError;
use std::sync::Arc;

/// An array, or a scalar in an array of one element.
#[derive(Debug, Clone)]
pub(super) struct Value {
    pub(super) array: ArrayRef,
    pub(super) scalar: bool,
}

impl Datum for Value {
    fn get(&self) -> (&dyn Array, bool) {
        (&self.array, self.scalar)
    }
}

impl Value {
    /// The scalar of `literal`; `kind` is that of `NULL`.
    pub(super) fn literal(literal: &Literal, kind: Kind) -> Self {
        let array: ArrayRef = match literal {
            Literal::Null => new_null_array(&data_type(kind), 1),
            Literal::Number(number) => Arc::new(Float64Array::from(vec![*number])),
            Literal::Text(text) => Arc::new(LargeStringArray::from(vec![text.as_str()])),
            Literal::Boolean(truth) => Arc::new(BooleanArray::from(vec![*truth])),
            Literal::Time(time_ns) => Arc::new(TimestampNanosecondArray::from(vec![*time_ns])),
        };
        Self { array, scalar: true }
    }

    /// The result of an operation on `operands`: a scalar if all of them are.
    pub(super) fn of(array: impl Array + 'static, operands: &[Self]) -> Self {
        Self {
            array: Arc::new(array),
            scalar: operands.iter().all(|operand| operand.scalar),
        }
    }

    pub(super) fn numbers(&self) -> Result<&Float64Array> {
        self.array
            .as_primitive_opt::<Float64Type>()
            .ok_or_else(|| self.unexpected("numbers"))
    }

    pub(super) fn booleans(&self) -> Result<&BooleanArray> {
        self.array.as_boolean_opt().ok_or_else(|| self.unexpected("booleans"))
    }

    pub(super) fn text(&self) -> Result<&LargeStringArray> {
        self.array.as_string_opt::<i64>().ok_or_else(|| self.unexpected("text"))
    }

    /// Binding makes this impossible.
    pub(super) fn unexpected(&self, wanted: &str) -> Error {
        Error::Failed(format!(
            "an expression met {} where it needs {wanted}",
            self.array.data_type()
        ))
    }

    /// As an array of `rows` elements.
    pub(super) fn spread(self, rows: usize) -> Result<ArrayRef> {
        if !self.scalar {
            Ok(self.array)
        } else if self.array.is_null(0) {
            Ok(new_null_array(self.array.data_type(), rows))
        } else {
            take::take(&self.array, &UInt32Array::from_value(0, rows), None).map_err(failed)
        }
    }
}

/// The Arrow type of the values of this kind.
pub(super) fn data_type(kind: Kind) -> DataType {
    match kind {
        Kind::Number => DataType::Float64,
        Kind::Text => DataType::LargeUtf8,
        Kind::Boolean => DataType::Boolean,
        Kind::Time => DataType::Timestamp(TimeUnit::Nanosecond, None),
    }
}

pub(super) fn failed(error: ArrowError) -> Error {
    Error::Failed(format!("an expression cannot be evaluated: {error}"))
}

/// Null in place of NaN.
pub(super) fn without_nan(array: Float64Array) -> Float64Array {
    if !array.values().iter().any(|x| x.is_nan()) {
        return array;
    }
    let valid = NullBuffer::new(BooleanBuffer::collect_bool(array.len(), |row| {
        !array.values()[row].is_nan()
    }));
    let nulls = NullBuffer::union(array.nulls(), Some(&valid));
    Float64Array::new(array.values().clone(), nulls)
}

/// A pair of numeric values, either of which may be a scalar.
pub(super) struct Pair<'a> {
    left: &'a Float64Array,
    right: &'a Float64Array,
    scalar: [bool; 2],
}

impl<'a> Pair<'a> {
    pub(super) fn new(left: &'a Value, right: &'a Value) -> Result<Self> {
        let scalar = [left.scalar, right.scalar];
        Ok(Self {
            left: left.numbers()?,
            right: right.numbers()?,
            scalar,
        })
    }

    pub(super) fn rows(&self) -> usize {
        if self.scalar[0] {
            self.right.len()
        } else {
            self.left.len()
        }
    }

    /// Null wherever one of the two is.
    pub(super) fn nulls(&self) -> Option<NullBuffer> {
        let rows = self.rows();
        let of = |array: &Float64Array, scalar: bool| match scalar {
            true => array.is_null(0).then(|| NullBuffer::new_null(rows)),
            false => array.nulls().cloned(),
        };
        NullBuffer::union(
            of(self.left, self.scalar[0]).as_ref(),
            of(self.right, self.scalar[1]).as_ref(),
        )
    }

    /// Where `f` holds. Four loops, so that each compiles to one over plain slices.
    pub(super) fn mask(&self, f: impl Fn(f64, f64) -> bool) -> BooleanArray {
        let (l, r, rows) = (self.left.values(), self.right.values(), self.rows());
        let bits = match self.scalar {
            [true, true] | [false, false] => BooleanBuffer::collect_bool(rows, |row| f(l[row], r[row])),
            [true, false] => BooleanBuffer::collect_bool(rows, |row| f(l[0], r[row])),
            [false, true] => BooleanBuffer::collect_bool(rows, |row| f(l[row], r[0])),
        };
        BooleanArray::new(bits, self.nulls())
    }

    /// What `f` gives.
    pub(super) fn map(&self, f: impl Fn(f64, f64) -> f64) -> Float64Array {
        let (l, r) = (self.left.values(), self.right.values());
        let values: Vec<f64> = match self.scalar {
            [true, true] | [false, false] => l.iter().zip(r).map(|(l, r)| f(*l, *r)).collect(),
            [true, false] => r.iter().map(|r| f(l[0], *r)).collect(),
            [false, true] => l.iter().map(|l| f(*l, r[0])).collect(),
        };
        without_nan(Float64Array::new(values.into(), self.nulls()))
    }

    /// What `f` gives where both are there, else the one that is.
    pub(super) fn fold(&self, f: fn(f64, f64) -> f64) -> Float64Array {
        let at = |array: &Float64Array, scalar: bool, row: usize| {
            let row = if scalar { 0 } else { row };
            array.is_valid(row).then(|| array.value(row))
        };
        let both = |row| match (at(self.left, self.scalar[0], row), at(self.right, self.scalar[1], row)) {
            (Some(l), Some(r)) => Some(f(l, r)),
            (l, r) => l.or(r),
        };
        (0..self.rows()).map(both).collect()
    }
}
