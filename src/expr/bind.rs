//! Checking an expression against a schema: the steps are run once over a stack of kinds instead of values.
//!
//! `NULL` takes the kind that its place wants, and a text literal becomes a time where a time stands beside it; both
//! are settled by rewriting the constant in the program. What comes out runs without a check of kinds.

use super::functions::Body;
use super::steps::{Is, Literal, Operation, Step};
use super::values::Value;
use super::{Expr, Kind, columns, cut, not_a};
use crate::error::{Error, Result};
use arrow::datatypes::{DataType, Schema};
use std::collections::HashSet;

/// The most column names that a message lists.
const LISTED_COLUMNS_MAX: usize = 20;

/// A checked expression.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) ops: Vec<Op>,
    pub(super) kind: Kind,
}

/// One instruction of a program.
#[derive(Debug, Clone)]
pub(super) enum Op {
    /// Push the column at `index` of the batch, which must be called `name` and have this type.
    Column {
        index: usize,
        name: String,
        data_type: DataType,
    },
    /// Push a constant.
    Constant(Value),
    /// Pop a value, push whether it is among these constants.
    Member(Members),
    /// Pop the operands, push the result.
    Apply(Operation),
}

/// The constants of an `IN` list.
#[derive(Debug, Clone)]
pub(super) struct Members {
    pub(super) set: Set,
    pub(super) has_null: bool,
    pub(super) negated: bool,
}

/// Constants of one kind.
#[derive(Debug, Clone)]
pub(super) enum Set {
    /// The bits of numbers, without negative zeros.
    Numbers(HashSet<u64>),
    Text(HashSet<String>),
    Times(HashSet<i64>),
}

/// What is known of a value on the stack.
struct Entry {
    /// `None` for `NULL`.
    kind: Option<Kind>,
    /// How a message calls it.
    label: String,
    /// The literal, and the op that pushes it.
    literal: Option<(Literal, usize)>,
}

impl Entry {
    fn described(&self) -> String {
        match self.kind {
            Some(kind) => format!("{} is {kind}", self.label),
            None => "NULL".into(),
        }
    }
}

/// Checks `expr`, which must be of the kind `wanted` if one is.
pub(super) fn bind(expr: &Expr, schema: &Schema, wanted: Option<Kind>) -> Result<Program> {
    let mut binder = Binder {
        ops: Vec::with_capacity(expr.steps.len()),
        stack: Vec::new(),
    };
    for step in &expr.steps {
        binder.step(step, schema)?;
    }
    let result = binder
        .stack
        .pop()
        .ok_or_else(|| Error::Usage("the expression is empty".into()))?;
    let kind = result.kind.or(wanted).unwrap_or(Kind::Number);
    if let Some(wanted) = wanted.filter(|wanted| *wanted != kind) {
        return Err(not_a(&expr.text, wanted, kind));
    }
    binder.coerce(&result, kind)?;
    Ok(Program { ops: binder.ops, kind })
}

struct Binder {
    ops: Vec<Op>,
    stack: Vec<Entry>,
}

impl Binder {
    fn step(&mut self, step: &Step, schema: &Schema) -> Result<()> {
        let entry = match step {
            Step::Column { name, quoted } => {
                let (index, data_type, kind) = column(name, *quoted, schema)?;
                self.ops.push(Op::Column {
                    index,
                    name: name.clone(),
                    data_type,
                });
                Entry {
                    kind: Some(kind),
                    label: format!("column {}", cut(name)),
                    literal: None,
                }
            }
            Step::Literal(literal) => {
                let (kind, label) = match literal {
                    Literal::Null => (None, "NULL".into()),
                    Literal::Number(number) => (Some(Kind::Number), number.to_string()),
                    Literal::Text(text) => (Some(Kind::Text), cut(&format!("'{text}'"))),
                    Literal::Boolean(truth) => (Some(Kind::Boolean), truth.to_string()),
                    Literal::Time(_) => (Some(Kind::Time), "the given time".into()),
                };
                self.ops
                    .push(Op::Constant(Value::literal(literal, kind.unwrap_or(Kind::Number))));
                Entry {
                    kind,
                    label,
                    literal: Some((literal.clone(), self.ops.len() - 1)),
                }
            }
            Step::Apply(operation) => {
                // Parsing puts every operand before its operation, so there are always enough.
                let first = self.stack.len().saturating_sub(operation.arity());
                let operands = self.stack.split_off(first);
                let kind = self.check(operation, &operands)?;
                match self.members(operation, &operands)? {
                    Some(members) => self.ops.push(Op::Member(members)),
                    None => self.ops.push(Op::Apply(operation.clone())),
                }
                Entry {
                    kind: Some(kind),
                    label: format!("the result of `{}`", operation.symbol()),
                    literal: None,
                }
            }
        };
        self.stack.push(entry);
        Ok(())
    }

    /// The kind of the result of `operation`.
    fn check(&mut self, operation: &Operation, operands: &[Entry]) -> Result<Kind> {
        match operation {
            Operation::Sign { .. } | Operation::Arithmetic(_) => self.want(operation, operands, Kind::Number),
            Operation::And | Operation::Or | Operation::Not => self.want(operation, operands, Kind::Boolean),
            Operation::Concat => self.want(operation, operands, Kind::Text),
            Operation::Compare(_) | Operation::Between { .. } | Operation::In { .. } => {
                self.unify(operation, operands.iter())?;
                Ok(Kind::Boolean)
            }
            Operation::Is { what: Is::Null, .. } => Ok(Kind::Boolean),
            Operation::Is { .. } => self.want(operation, operands, Kind::Boolean),
            Operation::Like { .. } => {
                self.want(operation, operands, Kind::Text)?;
                Ok(Kind::Boolean)
            }
            Operation::Case { operand, branches, .. } => self.case(operation, operands, *operand, *branches),
            Operation::ToNumber => {
                if let Some(entry) = operands.iter().find(|entry| entry.kind == Some(Kind::Time)) {
                    return Err(Error::Usage(format!(
                        "{}, which cannot be cast to a number",
                        entry.described()
                    )));
                }
                Ok(Kind::Number)
            }
            Operation::Call(function, _) => match function.body {
                Body::One(_) | Body::Two(_) | Body::Fold(_) => self.want(operation, operands, Kind::Number),
                Body::Text(_) => self.want(operation, operands, Kind::Text),
                Body::Length => {
                    self.want(operation, operands, Kind::Text)?;
                    Ok(Kind::Number)
                }
                Body::StartsWith => {
                    self.want(operation, operands, Kind::Text)?;
                    Ok(Kind::Boolean)
                }
                Body::Coalesce | Body::NullIf => self.unify(operation, operands.iter()),
            },
        }
    }

    fn case(&mut self, operation: &Operation, operands: &[Entry], operand: bool, branches: usize) -> Result<Kind> {
        let (subject, rest) = operands.split_at(usize::from(operand));
        let (pairs, otherwise) = rest.split_at(2 * branches);
        let conditions = pairs.iter().step_by(2);
        if operand {
            self.unify(operation, subject.iter().chain(conditions))?;
        } else {
            for condition in conditions {
                self.want(operation, std::slice::from_ref(condition), Kind::Boolean)?;
            }
        }
        self.unify(operation, pairs.iter().skip(1).step_by(2).chain(otherwise))
    }

    /// Every operand must be of this kind.
    fn want(&mut self, operation: &Operation, operands: &[Entry], kind: Kind) -> Result<Kind> {
        for operand in operands {
            if !self.coerce(operand, kind)? {
                return Err(Error::Usage(format!(
                    "{}, but `{}` wants {kind}",
                    operand.described(),
                    operation.symbol()
                )));
            }
        }
        Ok(kind)
    }

    /// The operands must be of one kind, whichever it is.
    fn unify<'a>(&mut self, operation: &Operation, operands: impl Iterator<Item = &'a Entry> + Clone) -> Result<Kind> {
        let known = || operands.clone().filter(|operand| operand.kind.is_some());
        let leader = known()
            .find(|operand| operand.kind == Some(Kind::Time))
            .or_else(|| known().next());
        let kind = leader.and_then(|leader| leader.kind).unwrap_or(Kind::Number);
        for operand in operands.clone() {
            if !self.coerce(operand, kind)? {
                let leader = leader.map_or_else(String::new, Entry::described);
                let hint = match (kind, operand.kind) {
                    (Kind::Number, Some(Kind::Text)) | (Kind::Text, Some(Kind::Number)) => {
                        " (CAST(x AS DOUBLE) makes numbers of text)"
                    }
                    _ => "",
                };
                return Err(Error::Usage(format!(
                    "{leader} but {}: `{}` wants values of one kind{hint}",
                    operand.described(),
                    operation.symbol()
                )));
            }
        }
        Ok(kind)
    }

    /// Gives `NULL` this kind and makes a time of a text literal if that is wanted; says whether `entry` is of it now.
    fn coerce(&mut self, entry: &Entry, kind: Kind) -> Result<bool> {
        let constant = match &entry.literal {
            Some((Literal::Null, op)) => (Value::literal(&Literal::Null, kind), *op),
            Some((Literal::Text(text), op)) if kind == Kind::Time => {
                (Value::literal(&Literal::Time(columns::time_ns(text)?), kind), *op)
            }
            _ => return Ok(entry.kind == Some(kind)),
        };
        self.ops[constant.1] = Op::Constant(constant.0);
        Ok(true)
    }

    /// The set that stands for an `IN` list of nothing but constants, whose ops are taken back.
    fn members(&mut self, operation: &Operation, operands: &[Entry]) -> Result<Option<Members>> {
        let (Operation::In { negated, .. }, [subject, items @ ..]) = (operation, operands) else {
            return Ok(None);
        };
        let time = operands.iter().any(|entry| entry.kind == Some(Kind::Time));
        let kind = if time {
            Some(Kind::Time)
        } else {
            operands.iter().find_map(|entry| entry.kind)
        };
        let literals: Option<Vec<&Literal>> = items.iter().map(|item| Some(&item.literal.as_ref()?.0)).collect();
        let (Some(literals), Some(_)) = (literals, subject.kind) else {
            return Ok(None);
        };
        let mut set = match kind {
            Some(Kind::Number) => Set::Numbers(HashSet::new()),
            Some(Kind::Text) => Set::Text(HashSet::new()),
            Some(Kind::Time) => Set::Times(HashSet::new()),
            _ => return Ok(None),
        };
        for literal in &literals {
            match (&mut set, literal) {
                (Set::Numbers(set), Literal::Number(number)) => drop(set.insert((number + 0.0).to_bits())),
                (Set::Text(set), Literal::Text(text)) => drop(set.insert(text.clone())),
                (Set::Times(set), Literal::Time(time_ns)) => drop(set.insert(*time_ns)),
                (Set::Times(set), Literal::Text(text)) => drop(set.insert(columns::time_ns(text)?)),
                _ => {}
            }
        }
        self.ops.truncate(self.ops.len() - items.len());
        let has_null = literals.contains(&&Literal::Null);
        Ok(Some(Members {
            set,
            has_null,
            negated: *negated,
        }))
    }
}

/// Where the column `name` is, its type and its kind.
fn column(name: &str, quoted: bool, schema: &Schema) -> Result<(usize, DataType, Kind)> {
    let mut found = schema
        .fields()
        .iter()
        .enumerate()
        .filter(|(_, field)| field.name() == name);
    let Some((index, field)) = found.next() else {
        return Err(unknown(name, quoted, schema));
    };
    if found.next().is_some() {
        return Err(Error::Usage(format!("there are several columns {}", cut(name))));
    }
    let kind = columns::kind(field.data_type()).ok_or_else(|| {
        Error::Usage(format!(
            "column {} is of type {}; expressions take numbers, text, booleans, dates and timestamps",
            cut(name),
            field.data_type()
        ))
    })?;
    Ok((index, field.data_type().clone(), kind))
}

fn unknown(name: &str, quoted: bool, schema: &Schema) -> Error {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let meant = columns::nearest(name, &names).map(|near| format!("; did you mean {}?", cut(near)));
    let quotes = if quoted {
        " (double quotes hold names; text goes in single quotes)"
    } else {
        ""
    };
    let listed: Vec<String> = names.iter().take(LISTED_COLUMNS_MAX).map(|name| cut(name)).collect();
    let more = match names.len().saturating_sub(LISTED_COLUMNS_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let there = if listed.is_empty() {
        "there are no columns".into()
    } else {
        format!("there are {}{more}", listed.join(", "))
    };
    Error::Usage(format!(
        "no column {}{}{quotes}; {there}",
        cut(name),
        meant.unwrap_or_default()
    ))
}
