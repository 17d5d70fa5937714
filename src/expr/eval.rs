//! Running a program over a batch, by a stack of values and Arrow's kernels.
//!
//! Numbers are compared by IEEE 754 and not by Arrow's total order, in which 0 and -0 differ. All branches of a `CASE`
//! are evaluated and one is chosen per row, which is sound because no operation fails on any data.

use super::Kind;
use super::bind::{Members, Op, Program, Set};
use super::columns;
use super::functions::Body;
use super::steps::{Arithmetic, Comparison, Is, Literal, Operation};
use super::values::{Pair, Value, failed, without_nan};
use crate::error::{Error, Result};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, LargeStringArray, RecordBatch, new_null_array,
};
use arrow::compute::kernels::{boolean, cmp, comparison, concat_elements, numeric, zip};
use arrow::compute::prep_null_mask_filter;
use arrow::datatypes::{DataType, Float64Type, TimestampNanosecondType};
use arrow::error::ArrowError;
use std::sync::Arc;

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
