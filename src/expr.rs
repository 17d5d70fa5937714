//! SQL expressions over columns: filters, derived columns and the conditions of alerts.
//!
//! An expression is parsed once ([`Expr::parse`]), checked once against a schema ([`Expr::bind`]) and then evaluated on
//! one record batch after another ([`Bound::evaluate`], [`Bound::filter`]) by Arrow's kernels.
//!
//! - Column names are case-sensitive; names that are not plain words stand in double quotes, text in single quotes.
//! - There are four kinds of values: numbers, all of them `f64` (`1 / 2` is 0.5), text, booleans and times. Nothing is
//!   converted silently, except a text literal beside a time, which is read as ISO 8601 (UTC where it has no offset).
//! - Whole numbers from 2^53 on are therefore compared as the nearest `f64`; a literal with digits that no `f64` prints
//!   is refused.
//! - Logic is three-valued: a comparison with null is null, and a filter keeps only the rows for which it is true.
//! - A NaN is a missing value, hence null, wherever it comes from: out of a float column or out of `0 / 0`. The other
//!   results of IEEE 754 stay, so `1 / 0` is infinite. Zeros are equal whatever their sign.
//! - `a.b` names the column `a.b`; `corr(a, b)` and `slope(y, x)` of two names are the columns of these very names.
//!
//! Data never makes an evaluation fail, and no text makes parsing overflow the stack: see the limits in this module.

mod bind;
mod columns;
mod definition;
mod eval;
mod formula;
mod functions;
mod parse;
mod steps;
#[cfg(test)]
mod tests;
mod tokens;
mod values;

pub use definition::Definition;
pub use formula::Formula;

use crate::error::{Error, QUOTED_BYTES_MAX, Result};
use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::datatypes::Schema;
use std::fmt;

/// The longest text of an expression, in bytes: room for a list of ten thousand keys, far from the parser's cost in
/// memory.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;

/// The most tokens of an expression, not counting literals and commas (so that lists may be long): every level of the
/// tree that a text can build costs at least one of them, hence this bounds the stack that a tree takes to be dropped.
pub const TOKENS_MAX: usize = 1000;

/// The deepest nesting of parentheses, functions and signs: ten times what people write, and cheap in stack.
pub const NESTING_MAX: usize = 64;

/// A parsed expression, not yet bound to the columns of an input.
///
/// ```
/// use millstream::expr::Expr;
///
/// let expr = Expr::parse("temp_max > 0 and weather <> 'fog'")?;
/// assert_eq!(expr.columns(), ["temp_max", "weather"]);
/// # Ok::<(), millstream::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Expr {
    text: String,
    steps: Vec<steps::Step>,
}

impl Expr {
    /// Parses `text` as one expression.
    ///
    /// # Errors
    /// [`Error::Usage`] that quotes the part at fault: for text that is not an expression or goes on behind one, for
    /// what SQL has and this does not (subqueries, aggregates, window functions), for comments, and beyond
    /// [`TEXT_BYTES_MAX`], [`TOKENS_MAX`] or [`NESTING_MAX`].
    ///
    /// ```
    /// use millstream::expr::Expr;
    ///
    /// assert!(Expr::parse("\"air temperature\" * 1.8 + 32").is_ok());
    /// let error = Expr::parse("a in (select 1)").unwrap_err();
    /// assert_eq!(error.exit_code(), 2);
    /// ```
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        Ok(Self {
            steps: parse::parse(text)?,
            text: text.to_owned(),
        })
    }

    /// The names of the columns that the expression reads, each once, in the order of their first appearance.
    ///
    /// ```
    /// # use millstream::expr::Expr;
    /// assert_eq!(Expr::parse("b + a.mean * b")?.columns(), ["b", "a.mean"]);
    /// # Ok::<(), millstream::Error>(())
    /// ```
    pub fn columns(&self) -> Vec<String> {
        let mut seen = std::collections::HashSet::new();
        let names = self.steps.iter().filter_map(|step| match step {
            steps::Step::Column { name, .. } => Some(name),
            _ => None,
        });
        names.filter(|name| seen.insert(*name)).cloned().collect()
    }

    /// The text that was parsed, without the blanks around it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Checks the expression against the columns of `schema`. Batches to be evaluated must have these columns.
    ///
    /// # Errors
    /// [`Error::Usage`] for an unknown column (with the nearest names and those there are), a column of a type that
    /// has no place in expressions, and operands of the wrong kind.
    ///
    /// ```
    /// use arrow::datatypes::{DataType, Field, Schema};
    /// use millstream::expr::{Expr, Kind};
    ///
    /// let schema = Schema::new(vec![Field::new("temp", DataType::Float32, true)]);
    /// assert_eq!(Expr::parse("temp > 0")?.bind(&schema)?.kind(), Kind::Boolean);
    ///
    /// let error = Expr::parse("tmp > 0")?.bind(&schema).unwrap_err();
    /// assert!(error.to_string().contains("did you mean `temp`?"));
    /// # Ok::<(), millstream::Error>(())
    /// ```
    pub fn bind(&self, schema: &Schema) -> Result<Bound> {
        self.bind_as(schema, None)
    }

    /// Like [`bind`](Self::bind), for a filter: the expression must be boolean.
    ///
    /// # Errors
    /// Those of [`bind`](Self::bind), and [`Error::Usage`] for an expression that is not boolean.
    ///
    /// ```
    /// # use arrow::datatypes::{DataType, Field, Schema};
    /// # use millstream::expr::Expr;
    /// # let schema = Schema::new(vec![Field::new("temp", DataType::Float64, true)]);
    /// assert!(Expr::parse("temp")?.bind_filter(&schema).is_err());
    /// # Ok::<(), millstream::Error>(())
    /// ```
    pub fn bind_filter(&self, schema: &Schema) -> Result<Bound> {
        self.bind_as(schema, Some(Kind::Boolean))
    }

    /// Like [`bind`](Self::bind), for a derived column: the expression must be numeric.
    ///
    /// # Errors
    /// Those of [`bind`](Self::bind), and [`Error::Usage`] for an expression that is not numeric.
    ///
    /// ```
    /// # use arrow::datatypes::{DataType, Field, Schema};
    /// # use millstream::expr::Expr;
    /// # let schema = Schema::new(vec![Field::new("temp", DataType::Float64, true)]);
    /// assert!(Expr::parse("temp > 0")?.bind_number(&schema).is_err());
    /// # Ok::<(), millstream::Error>(())
    /// ```
    pub fn bind_number(&self, schema: &Schema) -> Result<Bound> {
        self.bind_as(schema, Some(Kind::Number))
    }

    /// The left side of the first comparison in the expression: what a threshold is held against.
    ///
    /// ```
    /// # use millstream::expr::Expr;
    /// let left = Expr::parse("a.mean * 2 > 5 and b.max < 1")?.compared().unwrap();
    /// assert_eq!(left.columns(), ["a.mean"]);
    /// assert!(Expr::parse("a is null")?.compared().is_none());
    /// # Ok::<(), millstream::Error>(())
    /// ```
    pub fn compared(&self) -> Option<Self> {
        // Where each value on the stack begins.
        let mut starts: Vec<usize> = Vec::new();
        for (i, step) in self.steps.iter().enumerate() {
            let steps::Step::Apply(operation) = step else {
                starts.push(i);
                continue;
            };
            let first = starts.len().checked_sub(operation.arity())?;
            if matches!(
                operation,
                steps::Operation::Compare(_) | steps::Operation::Between { .. }
            ) {
                let left = *starts.get(first)?..*starts.get(first + 1)?;
                return Some(Self {
                    text: self.text.clone(),
                    steps: self.steps[left].to_vec(),
                });
            }
            starts.truncate(first + 1);
            if operation.arity() == 0 {
                starts.push(i);
            }
        }
        None
    }

    fn bind_as(&self, schema: &Schema, wanted: Option<Kind>) -> Result<Bound> {
        let program = bind::bind(self, schema, wanted)?;
        Ok(Bound {
            text: self.text.clone(),
            program,
        })
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What the values of an expression are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Numbers, evaluated as `Float64`.
    Number,
    /// Text, evaluated as `LargeUtf8`.
    Text,
    /// Truth values, evaluated as `Boolean`.
    Boolean,
    /// Times, evaluated as `Timestamp(Nanosecond, None)`; times before 1677 or after 2262 count as these limits.
    Time,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Number => "a number",
            Self::Text => "text",
            Self::Boolean => "a boolean",
            Self::Time => "a time",
        })
    }
}

/// An expression bound to the columns of an input, ready to be evaluated.
///
/// ```
/// use arrow::array::{Array, AsArray, Float64Array, RecordBatch};
/// use arrow::datatypes::Float64Type;
/// use millstream::expr::Expr;
/// use std::sync::Arc;
///
/// let temp = Float64Array::from(vec![Some(20.0), None, Some(f64::NAN), Some(-3.0)]);
/// let batch = RecordBatch::try_from_iter([("temp", Arc::new(temp) as _)])?;
///
/// let fahrenheit = Expr::parse("temp * 1.8 + 32")?.bind_number(&batch.schema())?.evaluate(&batch)?;
/// let fahrenheit = fahrenheit.as_primitive::<Float64Type>();
/// assert_eq!(fahrenheit.value(0), 68.0);
/// assert!(fahrenheit.is_null(1) && fahrenheit.is_null(2));
///
/// let kept = Expr::parse("temp > 0")?.bind_filter(&batch.schema())?.filter(&batch)?;
/// assert_eq!(kept.values().iter().collect::<Vec<_>>(), [true, false, false, false]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Bound {
    text: String,
    program: bind::Program,
}

impl Bound {
    /// What the values are.
    ///
    /// ```
    /// # use arrow::datatypes::Schema;
    /// # use millstream::expr::{Expr, Kind};
    /// assert_eq!(Expr::parse("lower('A')")?.bind(&Schema::empty())?.kind(), Kind::Text);
    /// # Ok::<(), millstream::Error>(())
    /// ```
    pub fn kind(&self) -> Kind {
        self.program.kind
    }

    /// One value per row of `batch`, of the Arrow type that [`Kind`] names. Numbers are never NaN: those are null.
    ///
    /// # Errors
    /// [`Error::Usage`] for a batch without the columns that the expression was bound to; [`Error::Failed`] where an
    /// Arrow kernel gives up (a `LIKE` pattern beyond the limits of regular expressions).
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef> {
        eval::evaluate(&self.program, batch)
    }

    /// Which rows of `batch` to keep: those for which the expression is true. The answer has no nulls.
    ///
    /// # Errors
    /// Those of [`evaluate`](Self::evaluate), and [`Error::Usage`] for an expression that is not boolean.
    pub fn filter(&self, batch: &RecordBatch) -> Result<BooleanArray> {
        if self.program.kind != Kind::Boolean {
            return Err(not_a(&self.text, Kind::Boolean, self.program.kind));
        }
        eval::kept(&self.evaluate(batch)?)
    }
}

/// The error for an expression of the wrong kind as a whole.
fn not_a(text: &str, wanted: Kind, found: Kind) -> Error {
    let purpose = match wanted {
        Kind::Boolean => "a filter must be true or false, such as `x > 0`",
        _ => "a derived column must be a number, such as `a - b`",
    };
    Error::Usage(format!("the expression {} is {found}: {purpose}", cut(text)))
}

/// `text` in backquotes, control characters escaped, cut at [`QUOTED_BYTES_MAX`].
fn cut(text: &str) -> String {
    let mut end = text.len().min(QUOTED_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut shown = String::with_capacity(end + 8);
    for c in text[..end].chars() {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    let more = if end < text.len() { "…" } else { "" };
    format!("`{shown}{more}`")
}
