//! What an expression is between parsing and binding: steps in postfix order.
//!
//! Operands stand before their operation, so checking and evaluating are loops over a stack. Operations keep their
//! form through binding; only columns and constants are resolved there.

use super::functions::Function;

/// One step of an expression in postfix order.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Push a column; `quoted` tells whether its name stood in double quotes.
    Column { name: String, quoted: bool },
    /// Push a constant.
    Literal(Literal),
    /// Pop the operands, push the result.
    Apply(Operation),
}

/// A constant.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Null,
    Number(f64),
    Text(String),
    Boolean(bool),
    /// Nanoseconds since 1970-01-01T00:00:00Z.
    Time(i64),
}

/// What takes values from the stack and puts one back.
#[derive(Debug, Clone)]
pub(super) enum Operation {
    Sign {
        negative: bool,
    },
    Arithmetic(Arithmetic),
    Compare(Comparison),
    And,
    Or,
    Not,
    Concat,
    Is {
        what: Is,
        negated: bool,
    },
    Like {
        ignore_case: bool,
        negated: bool,
    },
    Between {
        negated: bool,
    },
    In {
        items: usize,
        negated: bool,
    },
    Case {
        operand: bool,
        branches: usize,
        otherwise: bool,
    },
    ToNumber,
    Call(&'static Function, usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// What `IS` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Is {
    Null,
    True,
    False,
}

impl Operation {
    /// How many values it pops.
    pub(super) fn arity(&self) -> usize {
        match self {
            Self::Sign { .. } | Self::Not | Self::Is { .. } | Self::ToNumber => 1,
            Self::Arithmetic(_) | Self::Compare(_) | Self::And | Self::Or | Self::Concat | Self::Like { .. } => 2,
            Self::Between { .. } => 3,
            Self::In { items, .. } => items + 1,
            Self::Case {
                operand,
                branches,
                otherwise,
            } => usize::from(*operand) + 2 * branches + usize::from(*otherwise),
            Self::Call(_, arguments) => *arguments,
        }
    }

    /// How it is written.
    pub(super) fn symbol(&self) -> &'static str {
        match self {
            Self::Sign { negative: true } | Self::Arithmetic(Arithmetic::Subtract) => "-",
            Self::Sign { negative: false } | Self::Arithmetic(Arithmetic::Add) => "+",
            Self::Arithmetic(Arithmetic::Multiply) => "*",
            Self::Arithmetic(Arithmetic::Divide) => "/",
            Self::Arithmetic(Arithmetic::Remainder) => "%",
            Self::Compare(Comparison::Equal) => "=",
            Self::Compare(Comparison::NotEqual) => "<>",
            Self::Compare(Comparison::Less) => "<",
            Self::Compare(Comparison::LessEqual) => "<=",
            Self::Compare(Comparison::Greater) => ">",
            Self::Compare(Comparison::GreaterEqual) => ">=",
            Self::And => "AND",
            Self::Or => "OR",
            Self::Not => "NOT",
            Self::Concat => "||",
            Self::Is { what: Is::Null, .. } => "IS NULL",
            Self::Is { what: Is::True, .. } => "IS TRUE",
            Self::Is { what: Is::False, .. } => "IS FALSE",
            Self::Like { ignore_case: false, .. } => "LIKE",
            Self::Like { ignore_case: true, .. } => "ILIKE",
            Self::Between { .. } => "BETWEEN",
            Self::In { .. } => "IN",
            Self::Case { .. } => "CASE",
            Self::ToNumber => "CAST",
            Self::Call(function, _) => function.name,
        }
    }
}
