//! Running a program over a batch, by a stack of values and Arrow's kernels.
//!
//! A value is an array of as many elements as the batch has rows, or a scalar that stands for one. No numeric value
//! holds a NaN in a valid slot: operations that can make one turn it into null, so that no later one has to know.
//! Numbers are compared by IEEE 754 and not by Arrow's total order, in which 0 and -0 differ.

use super::Kind;
use super::bind::{Members, Op, Program, Set};
use super::columns;
use super::functions::Body;
use super::parse::{Arithmetic, Comparison, Is, Literal, Operation};
use crate::error::{Error, Result};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Datum, Float64Array, LargeStringArray, RecordBatch,
    TimestampNanosecondArray, UInt32Array, new_null_array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::kernels::{boolean, cmp, comparison, concat_elements, numeric, take, zip};
use arrow::compute::prep_null_mask_filter;
use arrow::datatypes::{DataType, Float64Type, TimeUnit, TimestampNanosecondType};
use arrow::error::ArrowError;
use std::sync::Arc;

/// An array, or a scalar in an array of one element.
#[derive(Debug, Clone)]
pub(super) struct Value {
    array: ArrayRef,
    scalar: bool,
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
    fn of(array: impl Array + 'static, operands: &[Self]) -> Self {
        Self {
            array: Arc::new(array),
            scalar: operands.iter().all(|operand| operand.scalar),
        }
    }

    fn numbers(&self) -> Result<&Float64Array> {
        self.array
            .as_primitive_opt::<Float64Type>()
            .ok_or_else(|| self.unexpected("numbers"))
    }

    fn booleans(&self) -> Result<&BooleanArray> {
        self.array.as_boolean_opt().ok_or_else(|| self.unexpected("booleans"))
    }

    fn text(&self) -> Result<&LargeStringArray> {
        self.array.as_string_opt::<i64>().ok_or_else(|| self.unexpected("text"))
    }

    /// Binding makes this impossible.
    fn unexpected(&self, wanted: &str) -> Error {
        Error::Failed(format!(
            "an expression met {} where it needs {wanted}",
            self.array.data_type()
        ))
    }

    /// As an array of `rows` elements.
    fn spread(self, rows: usize) -> Result<ArrayRef> {
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
fn data_type(kind: Kind) -> DataType {
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

/// The value of `program` for each row of `batch`.
pub(super) fn evaluate(program: &Program, batch: &RecordBatch) -> Result<ArrayRef> {
    let rows = batch.num_rows();
    let mut stack: Vec<Value> = Vec::new();
    for op in &program.ops {
        let value = match op {
            Op::Column { index, name, data_type } => Value {
                array: column(batch, *index, name, data_type)?,
                scalar: false,
            },
            Op::Constant(value) => value.clone(),
            Op::Member(members) => {
                let value = stack.pop().ok_or_else(underflow)?;
                member(&value, members)?
            }
            Op::Apply(operation) => {
                let first = stack.len().checked_sub(operation.arity()).ok_or_else(underflow)?;
                let operands = stack.split_off(first);
                apply(operation, operands, rows)?
            }
        };
        stack.push(value);
    }
    stack.pop().ok_or_else(underflow)?.spread(rows)
}

/// Which rows to keep: those that are true, not those that are null.
pub(super) fn kept(truths: &ArrayRef) -> Result<BooleanArray> {
    let truths = truths.as_boolean_opt().ok_or_else(underflow)?;
    Ok(if truths.null_count() == 0 {
        BooleanArray::new(truths.values().clone(), None)
    } else {
        prep_null_mask_filter(truths)
    })
}

/// Binding makes this impossible.
fn underflow() -> Error {
    Error::Failed("an expression lacks a value".into())
}

fn column(batch: &RecordBatch, index: usize, name: &str, data_type: &DataType) -> Result<ArrayRef> {
    let schema = batch.schema_ref();
    match schema.fields().get(index) {
        Some(field) if field.name() == name && batch.column(index).data_type() == data_type => {
            columns::load(batch.column(index))
        }
        _ => Err(Error::Usage(format!(
            "a batch has no column {} of type {data_type} where the expression was bound to one",
            super::cut(name)
        ))),
    }
}

fn apply(operation: &Operation, operands: Vec<Value>, rows: usize) -> Result<Value> {
    match (operation, operands.as_slice()) {
        (Operation::Sign { negative: false }, [value]) => Ok(value.clone()),
        (Operation::Sign { negative: true }, [value]) => {
            Ok(Value::of(value.numbers()?.unary::<_, Float64Type>(|x| -x), &operands))
        }
        (Operation::Arithmetic(kind), [left, right]) => {
            let kernel = match kind {
                Arithmetic::Add => numeric::add,
                Arithmetic::Subtract => numeric::sub,
                Arithmetic::Multiply => numeric::mul,
                Arithmetic::Divide => numeric::div,
                Arithmetic::Remainder => numeric::rem,
            };
            let array = kernel(left, right).map_err(failed)?;
            Ok(Value::of(
                without_nan(array.as_primitive::<Float64Type>().clone()),
                &operands,
            ))
        }
        (Operation::Compare(kind), [left, right]) => compare(*kind, left, right),
        (Operation::And, [left, right]) => logic(boolean::and_kleene, left, right, rows),
        (Operation::Or, [left, right]) => logic(boolean::or_kleene, left, right, rows),
        (Operation::Not, [value]) => not(value, true),
        (Operation::Concat, [left, right]) => {
            let scalar = left.scalar && right.scalar;
            let rows = if scalar { 1 } else { rows };
            let (left, right) = (left.clone().spread(rows)?, right.clone().spread(rows)?);
            let array = concat_elements::concat_elements_dyn(&left, &right).map_err(failed)?;
            Ok(Value { array, scalar })
        }
        (Operation::Is { what, negated }, [value]) => is(*what, *negated, value),
        (Operation::Like { ignore_case, negated }, [left, right]) => {
            let kernel = if *ignore_case {
                comparison::ilike
            } else {
                comparison::like
            };
            not(&Value::of(kernel(left, right).map_err(failed)?, &operands), *negated)
        }
        (Operation::Between { negated }, [value, low, high]) => {
            let (above, below) = (
                compare(Comparison::GreaterEqual, value, low)?,
                compare(Comparison::LessEqual, value, high)?,
            );
            not(&logic(boolean::and_kleene, &above, &below, rows)?, *negated)
        }
        (Operation::In { negated, .. }, [value, items @ ..]) => {
            let mut any = Value::literal(&Literal::Boolean(false), Kind::Boolean);
            for item in items {
                any = logic(
                    boolean::or_kleene,
                    &any,
                    &compare(Comparison::Equal, value, item)?,
                    rows,
                )?;
            }
            not(&any, *negated)
        }
        (Operation::Case { operand, branches, .. }, values) => case(values, *operand, *branches),
        (Operation::ToNumber, [value]) => to_number(value),
        (Operation::Call(function, _), values) => call(function.body, values),
        _ => Err(underflow()),
    }
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
struct Pair<'a> {
    left: &'a Float64Array,
    right: &'a Float64Array,
    scalar: [bool; 2],
}

impl<'a> Pair<'a> {
    fn new(left: &'a Value, right: &'a Value) -> Result<Self> {
        let scalar = [left.scalar, right.scalar];
        Ok(Self {
            left: left.numbers()?,
            right: right.numbers()?,
            scalar,
        })
    }

    fn rows(&self) -> usize {
        if self.scalar[0] {
            self.right.len()
        } else {
            self.left.len()
        }
    }

    /// Null wherever one of the two is.
    fn nulls(&self) -> Option<NullBuffer> {
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
    fn mask(&self, f: impl Fn(f64, f64) -> bool) -> BooleanArray {
        let (l, r, rows) = (self.left.values(), self.right.values(), self.rows());
        let bits = match self.scalar {
            [true, true] | [false, false] => BooleanBuffer::collect_bool(rows, |row| f(l[row], r[row])),
            [true, false] => BooleanBuffer::collect_bool(rows, |row| f(l[0], r[row])),
            [false, true] => BooleanBuffer::collect_bool(rows, |row| f(l[row], r[0])),
        };
        BooleanArray::new(bits, self.nulls())
    }

    /// What `f` gives.
    fn map(&self, f: impl Fn(f64, f64) -> f64) -> Float64Array {
        let (l, r) = (self.left.values(), self.right.values());
        let values: Vec<f64> = match self.scalar {
            [true, true] | [false, false] => l.iter().zip(r).map(|(l, r)| f(*l, *r)).collect(),
            [true, false] => r.iter().map(|r| f(l[0], *r)).collect(),
            [false, true] => l.iter().map(|l| f(*l, r[0])).collect(),
        };
        without_nan(Float64Array::new(values.into(), self.nulls()))
    }

    /// What `f` gives where both are there, else the one that is.
    fn fold(&self, f: fn(f64, f64) -> f64) -> Float64Array {
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

fn compare(kind: Comparison, left: &Value, right: &Value) -> Result<Value> {
    let mask = if left.array.data_type() == &DataType::Float64 {
        let pair = Pair::new(left, right)?;
        match kind {
            Comparison::Equal => pair.mask(|l, r| l == r),
            Comparison::NotEqual => pair.mask(|l, r| l != r),
            Comparison::Less => pair.mask(|l, r| l < r),
            Comparison::LessEqual => pair.mask(|l, r| l <= r),
            Comparison::Greater => pair.mask(|l, r| l > r),
            Comparison::GreaterEqual => pair.mask(|l, r| l >= r),
        }
    } else {
        let kernel = match kind {
            Comparison::Equal => cmp::eq,
            Comparison::NotEqual => cmp::neq,
            Comparison::Less => cmp::lt,
            Comparison::LessEqual => cmp::lt_eq,
            Comparison::Greater => cmp::gt,
            Comparison::GreaterEqual => cmp::gt_eq,
        };
        kernel(left, right).map_err(failed)?
    };
    Ok(Value {
        array: Arc::new(mask),
        scalar: left.scalar && right.scalar,
    })
}

type Logic = fn(&BooleanArray, &BooleanArray) -> Result<BooleanArray, ArrowError>;

fn logic(kernel: Logic, left: &Value, right: &Value, rows: usize) -> Result<Value> {
    let scalar = left.scalar && right.scalar;
    let rows = if scalar { 1 } else { rows };
    let (left, right) = (left.clone().spread(rows)?, right.clone().spread(rows)?);
    let array = kernel(left.as_boolean(), right.as_boolean()).map_err(failed)?;
    Ok(Value {
        array: Arc::new(array),
        scalar,
    })
}

/// `NOT value`, or `value` itself.
fn not(value: &Value, negated: bool) -> Result<Value> {
    if !negated {
        return Ok(value.clone());
    }
    let array = boolean::not(value.booleans()?).map_err(failed)?;
    Ok(Value {
        array: Arc::new(array),
        scalar: value.scalar,
    })
}

fn is(what: Is, negated: bool, value: &Value) -> Result<Value> {
    let array = match what {
        Is::Null => boolean::is_null(&value.array).map_err(failed)?,
        Is::True => prep(value.booleans()?),
        Is::False => prep(&boolean::not(value.booleans()?).map_err(failed)?),
    };
    not(
        &Value {
            array: Arc::new(array),
            scalar: value.scalar,
        },
        negated,
    )
}

/// False in place of null.
fn prep(mask: &BooleanArray) -> BooleanArray {
    if mask.null_count() == 0 {
        mask.clone()
    } else {
        prep_null_mask_filter(mask)
    }
}

/// `yes` where `mask` is true, else `no`.
fn choose(mask: &Value, yes: &Value, no: &Value) -> Result<Value> {
    let mask_array = prep(mask.booleans()?);
    if mask.scalar {
        return Ok(if mask_array.value(0) { yes.clone() } else { no.clone() });
    }
    let array = zip::zip(&mask_array, yes, no).map_err(failed)?;
    Ok(Value { array, scalar: false })
}

fn null_like(value: &Value) -> Value {
    Value {
        array: new_null_array(value.array.data_type(), 1),
        scalar: true,
    }
}

fn case(values: &[Value], operand: bool, branches: usize) -> Result<Value> {
    let (subject, rest) = values.split_at(usize::from(operand));
    let (pairs, otherwise) = rest.split_at(2 * branches);
    let mut chosen = match (otherwise, pairs) {
        ([value, ..], _) => value.clone(),
        ([], [_, result, ..]) => null_like(result),
        _ => return Err(underflow()),
    };
    for pair in pairs.chunks_exact(2).rev() {
        let mask = match subject {
            [subject] => &compare(Comparison::Equal, subject, &pair[0])?,
            _ => &pair[0],
        };
        chosen = choose(mask, &pair[1], &chosen)?;
    }
    Ok(chosen)
}

/// Text that is not a number is null: what data holds is no error.
fn to_number(value: &Value) -> Result<Value> {
    let array: Float64Array = match value.array.data_type() {
        DataType::Float64 => return Ok(value.clone()),
        DataType::Boolean => value
            .booleans()?
            .iter()
            .map(|truth| truth.map(|truth| f64::from(u8::from(truth))))
            .collect(),
        _ => value.text()?.iter().map(|text| text?.trim().parse().ok()).collect(),
    };
    Ok(Value {
        array: Arc::new(without_nan(array)),
        scalar: value.scalar,
    })
}

fn member(value: &Value, members: &Members) -> Result<Value> {
    let answer = |found: bool| {
        if found || !members.has_null {
            Some(found != members.negated)
        } else {
            None
        }
    };
    let array: BooleanArray = match &members.set {
        Set::Numbers(set) => {
            let numbers = value.numbers()?.iter();
            numbers.map(|x| answer(set.contains(&(x? + 0.0).to_bits()))).collect()
        }
        Set::Text(set) => value.text()?.iter().map(|text| answer(set.contains(text?))).collect(),
        Set::Times(set) => {
            let times = value
                .array
                .as_primitive_opt::<TimestampNanosecondType>()
                .ok_or_else(|| value.unexpected("times"))?;
            times.iter().map(|time| answer(set.contains(&time?))).collect()
        }
    };
    Ok(Value {
        array: Arc::new(array),
        scalar: value.scalar,
    })
}

fn call(body: Body, values: &[Value]) -> Result<Value> {
    match (body, values) {
        (Body::One(f), [x]) => Ok(Value::of(without_nan(x.numbers()?.unary::<_, Float64Type>(f)), values)),
        (Body::Two(f), [x, y]) => Ok(Value::of(Pair::new(x, y)?.map(f), values)),
        (Body::Fold(f), [first, rest @ ..]) => rest.iter().try_fold(first.clone(), |folded, value| {
            let scalar = folded.scalar && value.scalar;
            Ok(Value {
                array: Arc::new(Pair::new(&folded, value)?.fold(f)),
                scalar,
            })
        }),
        (Body::Text(f), [text]) => {
            let array: LargeStringArray = text.text()?.iter().map(|text| text.map(f)).collect();
            Ok(Value::of(array, values))
        }
        (Body::Length, [text]) => {
            let array: Float64Array = text
                .text()?
                .iter()
                .map(|text| Some(text?.chars().count() as f64))
                .collect();
            Ok(Value::of(array, values))
        }
        (Body::StartsWith, [text, start]) => {
            Ok(Value::of(comparison::starts_with(text, start).map_err(failed)?, values))
        }
        (Body::Coalesce, [first @ .., last]) => first.iter().rev().try_fold(last.clone(), |chosen, value| {
            choose(&is(Is::Null, true, value)?, value, &chosen)
        }),
        (Body::NullIf, [x, y]) => choose(&compare(Comparison::Equal, x, y)?, &null_like(x), x),
        _ => Err(underflow()),
    }
}
