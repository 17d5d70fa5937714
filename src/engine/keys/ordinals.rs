//! Keys that are held as `i64` or `f64`, as whole numbers that have their order.

use super::held::{Held, float};
use crate::error::Result;
use crate::report::KeyValue;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{DataType, Float64Type, Int64Type};

/// What stands for a missing key among floats: no float is this one.
const MISSING: i64 = i64::MIN;

/// A key column as whole numbers.
#[derive(Debug)]
pub(in crate::engine) enum Ordinals {
    Whole(ScalarBuffer<i64>),
    Floats(ScalarBuffer<f64>),
}

impl Ordinals {
    /// Those of a column that is held as `i64` or `f64` and has no nulls, nor NaNs unless it is one of `f64`; `None` for
    /// another.
    ///
    /// # Errors
    /// [`Error::Usage`](crate::Error::Usage) for a value that cannot be a key.
    pub(in crate::engine) fn of((name, array): &(String, ArrayRef)) -> Result<Option<Self>> {
        let held = Held::of(name, array.data_type())?;
        if !matches!(held, Held::Of(DataType::Int64 | DataType::Float64)) {
            return Ok(None);
        }
        let column = match held.holds_all_of(array.data_type()) {
            true => array.clone(),
            false => held.hold(name, array)?,
        };
        if column.null_count() > 0 {
            return Ok(None);
        }
        let whole = column.as_primitive_opt::<Int64Type>();
        let whole = whole.map(|column| Self::Whole(column.values().clone()));
        let floats = || column.as_primitive_opt::<Float64Type>();
        Ok(whole.or_else(|| floats().map(|column| Self::Floats(column.values().clone()))))
    }

    /// That of a row.
    #[inline]
    pub(in crate::engine) fn get(&self, row: usize) -> i64 {
        match self {
            Self::Whole(values) => values[row],
            Self::Floats(values) => ordinal(values[row]),
        }
    }

    /// The key that it stands for.
    pub(in crate::engine) fn value(&self, ordinal: i64) -> KeyValue {
        match self {
            Self::Whole(_) => KeyValue::Integer(ordinal.into()),
            Self::Floats(_) if ordinal == MISSING => KeyValue::Null,
            Self::Floats(_) => float(f64::from_bits(turned(ordinal) as u64)),
        }
    }
}

/// A whole number for a float, in the order of floats: one for 0 and −0, and one for all NaNs, which comes first.
#[inline]
pub(super) fn ordinal(x: f64) -> i64 {
    match x.is_nan() {
        true => MISSING,
        false => turned((x + 0.0).to_bits() as i64),
    }
}

/// The bits of a float as a number in the order of floats, and back: of negative ones all but the sign are turned round.
#[inline]
fn turned(bits: i64) -> i64 {
    bits ^ ((bits >> 63) as u64 >> 1) as i64
}
