//! From text to steps: what `sqlparser` makes of an expression, flattened.
//!
//! The steps are in postfix order, operands before their operation, so that checking and evaluating are loops over a
//! stack of values and dropping is dropping a vector. Only this module ever walks a tree: along the left side of a
//! chain of operators by a loop, elsewhere by recursion of at most [`NESTING_MAX`] levels, which the parser's own
//! limit guarantees and which is checked again here.
//!
//! Every form that is not listed in [`Lowering::tree`] is refused with the fragment and what there is instead.

use super::steps::{Arithmetic, Comparison, Is, Literal, Operation, Step};
use super::tokens::tokens;
use super::{NESTING_MAX, columns, cut, functions};
use crate::error::{Error, Result};
use sqlparser::ast::{self, BinaryOperator, DataType, Expr as Tree, UnaryOperator, Value};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

/// The steps of the expression `text`.
pub(super) fn parse(text: &str) -> Result<Vec<Step>> {
    let tokens = tokens(text)?;
    let dialect = GenericDialect {};
    let mut parser = Parser::new(&dialect)
        .with_recursion_limit(NESTING_MAX)
        .with_tokens_with_locations(tokens);
    let tree = parser.parse_expr().map_err(|error| refused(text, error))?;
    let rest = parser.peek_token();
    if rest.token != Token::EOF {
        let message = format!(
            "expected an operator or the end, found {}{}",
            rest.token, rest.span.start
        );
        return Err(syntax(text, &message));
    }
    let mut lowering = Lowering { steps: Vec::new() };
    lowering.tree(&tree, 0)?;
    Ok(lowering.steps)
}

/// The error for text that is no expression.
pub(super) fn syntax(text: &str, message: &str) -> Error {
    Error::Usage(format!(
        "cannot read the expression {}: {message} (names that are not plain words stand in double quotes, text in single quotes)",
        cut(text)
    ))
}

fn too_deep(text: &str) -> Error {
    Error::Usage(format!(
        "the expression {} is nested too deeply; at most {NESTING_MAX} levels are read",
        cut(text)
    ))
}

fn refused(text: &str, error: ParserError) -> Error {
    match error {
        ParserError::RecursionLimitExceeded => too_deep(text),
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => syntax(text, &message),
    }
}

/// The error for SQL that is not supported here.
fn unsupported(fragment: &impl std::fmt::Display) -> Error {
    Error::Usage(format!(
        "{} is not supported in expressions; there are columns, numbers, 'text', TRUE, FALSE, NULL, + - * / %, \
         = <> < <= > >=, AND, OR, NOT, IS, IN (list), BETWEEN, LIKE, ILIKE, CASE, ||, CAST(x AS DOUBLE) and the \
         functions {}",
        cut(&fragment.to_string()),
        functions::names()
    ))
}

/// Flattens a tree into steps.
struct Lowering {
    steps: Vec<Step>,
}

impl Lowering {
    fn apply(&mut self, operation: Operation) {
        self.steps.push(Step::Apply(operation));
    }

    fn all<'a>(&mut self, trees: impl IntoIterator<Item = &'a Tree>, depth: usize) -> Result<()> {
        trees.into_iter().try_for_each(|tree| self.tree(tree, depth + 1))
    }

    /// A whole tree: the chain of binary operators along its left side by a loop, however long it is.
    fn tree(&mut self, tree: &Tree, depth: usize) -> Result<()> {
        if depth > 2 * NESTING_MAX {
            return Err(too_deep(&tree.to_string()));
        }
        let mut chain = Vec::new();
        let mut first = tree;
        while let Tree::BinaryOp { left, op, right } = first {
            let operation = binary(op).ok_or_else(|| unsupported(first))?;
            chain.push((operation, right));
            first = left;
        }
        self.leaf(first, depth)?;
        while let Some((operation, right)) = chain.pop() {
            self.tree(right, depth + 1)?;
            self.apply(operation);
        }
        Ok(())
    }

    /// Anything but a binary operator.
    fn leaf(&mut self, tree: &Tree, depth: usize) -> Result<()> {
        match tree {
            Tree::Identifier(name) => self.column(std::slice::from_ref(name)),
            Tree::CompoundIdentifier(names) => self.column(names),
            Tree::Value(value) => {
                let literal = literal(value).ok_or_else(|| unsupported(tree))??;
                self.steps.push(Step::Literal(literal));
            }
            Tree::TypedString(typed) => self.typed(typed)?,
            Tree::Nested(inner) => self.tree(inner, depth + 1)?,
            Tree::UnaryOp { op, expr } => self.unary(tree, *op, expr, depth)?,
            Tree::IsNull(inner) | Tree::IsUnknown(inner) => self.is(inner, Is::Null, false, depth)?,
            Tree::IsNotNull(inner) | Tree::IsNotUnknown(inner) => self.is(inner, Is::Null, true, depth)?,
            Tree::IsTrue(inner) => self.is(inner, Is::True, false, depth)?,
            Tree::IsNotTrue(inner) => self.is(inner, Is::True, true, depth)?,
            Tree::IsFalse(inner) => self.is(inner, Is::False, false, depth)?,
            Tree::IsNotFalse(inner) => self.is(inner, Is::False, true, depth)?,
            Tree::InList { expr, list, negated } if !list.is_empty() => {
                self.tree(expr, depth + 1)?;
                self.all(list, depth)?;
                self.apply(Operation::In {
                    items: list.len(),
                    negated: *negated,
                });
            }
            Tree::Between {
                expr,
                negated,
                low,
                high,
            } => {
                self.all([&**expr, low, high], depth)?;
                self.apply(Operation::Between { negated: *negated });
            }
            Tree::Like {
                negated,
                any: false,
                expr,
                pattern,
                escape_char: None,
            } => {
                self.all([&**expr, pattern], depth)?;
                self.apply(Operation::Like {
                    ignore_case: false,
                    negated: *negated,
                });
            }
            Tree::ILike {
                negated,
                any: false,
                expr,
                pattern,
                escape_char: None,
            } => {
                self.all([&**expr, pattern], depth)?;
                self.apply(Operation::Like {
                    ignore_case: true,
                    negated: *negated,
                });
            }
            Tree::Case {
                operand,
                conditions,
                else_result,
                ..
            } => {
                self.all(operand.as_deref(), depth)?;
                self.all(
                    conditions.iter().flat_map(|when| [&when.condition, &when.result]),
                    depth,
                )?;
                self.all(else_result.as_deref(), depth)?;
                self.apply(Operation::Case {
                    operand: operand.is_some(),
                    branches: conditions.len(),
                    otherwise: else_result.is_some(),
                });
            }
            Tree::Cast {
                expr,
                data_type,
                format: None,
                ..
            } if is_double(data_type) => {
                self.tree(expr, depth + 1)?;
                self.apply(Operation::ToNumber);
            }
            Tree::Floor { expr, field } if is_plain(field) => self.call(tree, "floor", &[expr], depth)?,
            Tree::Ceil { expr, field } if is_plain(field) => self.call(tree, "ceil", &[expr], depth)?,
            Tree::Trim {
                expr,
                trim_where: None,
                trim_what: None,
                trim_characters: None,
            } => {
                self.call(tree, "trim", &[expr], depth)?;
            }
            Tree::Function(function) => self.function(tree, function, depth)?,
            _ => return Err(unsupported(tree)),
        }
        Ok(())
    }

    fn is(&mut self, inner: &Tree, what: Is, negated: bool, depth: usize) -> Result<()> {
        self.tree(inner, depth + 1)?;
        self.apply(Operation::Is { what, negated });
        Ok(())
    }

    fn column(&mut self, names: &[ast::Ident]) {
        self.steps.push(Step::Column {
            name: dotted(names),
            quoted: names.iter().all(|name| name.quote_style.is_some()),
        });
    }

    /// `DATE '2012-06-01'` and `TIMESTAMP '2012-06-01 12:00'`.
    fn typed(&mut self, typed: &ast::TypedString) -> Result<()> {
        let time = matches!(
            typed.data_type,
            DataType::Date | DataType::Timestamp(..) | DataType::Datetime(_)
        );
        match &typed.value.value {
            Value::SingleQuotedString(text) if time => {
                let time_ns = columns::time_ns(text)?;
                self.steps.push(Step::Literal(Literal::Time(time_ns)));
                Ok(())
            }
            _ => Err(unsupported(typed)),
        }
    }

    fn unary(&mut self, tree: &Tree, op: UnaryOperator, inner: &Tree, depth: usize) -> Result<()> {
        let before = self.steps.len();
        let operation = match op {
            UnaryOperator::Minus => Operation::Sign { negative: true },
            UnaryOperator::Plus => Operation::Sign { negative: false },
            UnaryOperator::Not => Operation::Not,
            _ => return Err(unsupported(tree)),
        };
        self.tree(inner, depth + 1)?;
        // `-1` is a literal, so that lists of negative numbers are lists of literals.
        if let (Operation::Sign { negative: true }, [Step::Literal(Literal::Number(number))]) =
            (&operation, &mut self.steps[before..])
        {
            *number = -*number;
            return Ok(());
        }
        self.apply(operation);
        Ok(())
    }

    fn call(&mut self, tree: &Tree, name: &str, arguments: &[&Tree], depth: usize) -> Result<()> {
        let function = functions::find(name, arguments.len()).map_err(|known| match known {
            Some(counts) => Error::Usage(format!(
                "{}: {name} takes {counts}, not {}",
                cut(&tree.to_string()),
                arguments.len()
            )),
            None => unsupported(tree),
        })?;
        self.all(arguments.iter().copied(), depth)?;
        self.apply(Operation::Call(function, arguments.len()));
        Ok(())
    }

    fn function(&mut self, tree: &Tree, function: &ast::Function, depth: usize) -> Result<()> {
        let (name, arguments) = plain_call(function).ok_or_else(|| unsupported(tree))?;
        if let ("corr" | "slope", [Tree::Identifier(a), Tree::Identifier(b)]) = (name.as_str(), arguments.as_slice()) {
            let name = format!("{name}({}, {})", a.value, b.value);
            self.steps.push(Step::Column { name, quoted: false });
            return Ok(());
        }
        self.call(tree, &name, &arguments, depth)
    }
}

/// The lower-case name and the arguments of a call without any of the clauses that SQL allows in one.
fn plain_call(function: &ast::Function) -> Option<(String, Vec<&Tree>)> {
    let [ast::ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else {
        return None;
    };
    let ast::FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let bare = name.quote_style.is_none()
        && !function.uses_odbc_syntax
        && matches!(function.parameters, ast::FunctionArguments::None)
        && function.within_group.is_empty()
        && function.filter.is_none()
        && function.null_treatment.is_none()
        && function.over.is_none()
        && list.duplicate_treatment.is_none()
        && list.clauses.is_empty();
    let arguments = list.args.iter().map(|argument| match argument {
        ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(tree)) => Some(tree),
        _ => None,
    });
    bare.then(|| Some((name.value.to_ascii_lowercase(), arguments.collect::<Option<_>>()?)))?
}

fn binary(op: &BinaryOperator) -> Option<Operation> {
    Some(match op {
        BinaryOperator::Plus => Operation::Arithmetic(Arithmetic::Add),
        BinaryOperator::Minus => Operation::Arithmetic(Arithmetic::Subtract),
        BinaryOperator::Multiply => Operation::Arithmetic(Arithmetic::Multiply),
        BinaryOperator::Divide => Operation::Arithmetic(Arithmetic::Divide),
        BinaryOperator::Modulo => Operation::Arithmetic(Arithmetic::Remainder),
        BinaryOperator::Eq => Operation::Compare(Comparison::Equal),
        BinaryOperator::NotEq => Operation::Compare(Comparison::NotEqual),
        BinaryOperator::Lt => Operation::Compare(Comparison::Less),
        BinaryOperator::LtEq => Operation::Compare(Comparison::LessEqual),
        BinaryOperator::Gt => Operation::Compare(Comparison::Greater),
        BinaryOperator::GtEq => Operation::Compare(Comparison::GreaterEqual),
        BinaryOperator::And => Operation::And,
        BinaryOperator::Or => Operation::Or,
        BinaryOperator::StringConcat => Operation::Concat,
        _ => return None,
    })
}

/// The literal, `None` for one of a kind that is not supported.
fn literal(value: &Value) -> Option<Result<Literal>> {
    Some(Ok(match value {
        Value::Number(digits, false) => match digits.parse::<f64>() {
            Ok(number) if number.is_finite() => match digits.parse::<i128>() {
                // Beyond 2^53 the shortest digits of a float stand for it, as they do where it is printed.
                Ok(whole) if number.to_string() != whole.to_string() => {
                    return Some(Err(Error::Usage(format!(
                        "the number {} is rounded to {number}, as expressions compute in f64: write that, or compare text",
                        cut(digits)
                    ))));
                }
                _ => Literal::Number(number),
            },
            _ => {
                return Some(Err(Error::Usage(format!(
                    "the number {} is beyond the range of f64",
                    cut(digits)
                ))));
            }
        },
        Value::SingleQuotedString(text) => Literal::Text(text.clone()),
        Value::Boolean(truth) => Literal::Boolean(*truth),
        Value::Null => Literal::Null,
        _ => return None,
    }))
}

fn dotted(names: &[ast::Ident]) -> String {
    let names: Vec<&str> = names.iter().map(|name| name.value.as_str()).collect();
    names.join(".")
}

fn is_plain(field: &ast::CeilFloorKind) -> bool {
    matches!(field, ast::CeilFloorKind::DateTimeField(ast::DateTimeField::NoDateTime))
}

fn is_double(data_type: &DataType) -> bool {
    let none = ast::ExactNumberInfo::None;
    match data_type {
        DataType::Double(info) | DataType::Float(info) => *info == none,
        DataType::DoublePrecision | DataType::Float8 | DataType::Float64 => true,
        _ => false,
    }
}
