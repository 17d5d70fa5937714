//! The functions of expressions: one table of names, numbers of arguments and bodies.
//!
//! Functions of numbers are plain `fn`s over `f64`, applied to the rows where no argument is null; what they give
//! beyond their domain is NaN, hence null (`sqrt(-1)`, `ln(-1)`), and infinite at a pole (`ln(0)`). `log` of one
//! argument is to base 10 as in PostgreSQL, `round` rounds halves away from zero, and `mod` has the sign of the
//! dividend.

/// A function under one name and with one number of arguments.
#[derive(Debug)]
pub(super) struct Function {
    /// Its name in lower case.
    pub(super) name: &'static str,
    /// What it takes and does.
    pub(super) body: Body,
}

/// What a function takes and does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Body {
    /// A number of a number.
    One(fn(f64) -> f64),
    /// A number of two numbers.
    Two(fn(f64, f64) -> f64),
    /// One of one or more numbers, folded over those that are not null.
    Fold(fn(f64, f64) -> f64),
    /// Text of text.
    Text(fn(&str) -> String),
    /// The number of characters of text.
    Length,
    /// Whether the first text begins with the second.
    StartsWith,
    /// The first of the arguments, all of one kind, that is not null.
    Coalesce,
    /// The first argument, or null where it equals the second.
    NullIf,
}

impl Body {
    fn accepts(self, arguments: usize) -> bool {
        match self {
            Self::One(_) | Self::Text(_) | Self::Length => arguments == 1,
            Self::Two(_) | Self::StartsWith | Self::NullIf => arguments == 2,
            Self::Fold(_) | Self::Coalesce => arguments >= 1,
        }
    }

    fn arguments(self) -> &'static str {
        match self {
            Self::One(_) | Self::Text(_) | Self::Length => "1 argument",
            Self::Two(_) | Self::StartsWith | Self::NullIf => "2 arguments",
            Self::Fold(_) | Self::Coalesce => "1 or more arguments",
        }
    }
}

const fn f(name: &'static str, body: Body) -> Function {
    Function { name, body }
}

static FUNCTIONS: &[Function] = &[
    f("abs", Body::One(f64::abs)),
    f("sqrt", Body::One(f64::sqrt)),
    f("cbrt", Body::One(f64::cbrt)),
    f("exp", Body::One(f64::exp)),
    f("ln", Body::One(f64::ln)),
    f("log10", Body::One(f64::log10)),
    f("log2", Body::One(f64::log2)),
    f("log", Body::One(f64::log10)),
    f("log", Body::Two(logarithm)),
    f("pow", Body::Two(f64::powf)),
    f("power", Body::Two(f64::powf)),
    f("sin", Body::One(f64::sin)),
    f("cos", Body::One(f64::cos)),
    f("tan", Body::One(f64::tan)),
    f("atan2", Body::Two(f64::atan2)),
    f("floor", Body::One(f64::floor)),
    f("ceil", Body::One(f64::ceil)),
    f("ceiling", Body::One(f64::ceil)),
    f("round", Body::One(f64::round)),
    f("round", Body::Two(round)),
    f("trunc", Body::One(f64::trunc)),
    f("sign", Body::One(sign)),
    f("mod", Body::Two(std::ops::Rem::rem)),
    f("least", Body::Fold(f64::min)),
    f("greatest", Body::Fold(f64::max)),
    f("coalesce", Body::Coalesce),
    f("nullif", Body::NullIf),
    f("length", Body::Length),
    f("lower", Body::Text(str::to_lowercase)),
    f("upper", Body::Text(str::to_uppercase)),
    f("trim", Body::Text(trim)),
    f("starts_with", Body::StartsWith),
];

/// The function of this lower-case name for this number of arguments; else the numbers that it takes, if it exists.
pub(super) fn find(name: &str, arguments: usize) -> Result<&'static Function, Option<String>> {
    let named = || FUNCTIONS.iter().filter(|function| function.name == name);
    if let Some(function) = named().find(|function| function.body.accepts(arguments)) {
        return Ok(function);
    }
    let counts: Vec<&str> = named().map(|function| function.body.arguments()).collect();
    Err((!counts.is_empty()).then(|| counts.join(" or ")))
}

/// The names of all functions, for messages.
pub(super) fn names() -> String {
    let mut names: Vec<&str> = FUNCTIONS.iter().map(|function| function.name).collect();
    names.dedup();
    names.join(", ")
}

/// The logarithm of `x` to `base`, exact for the powers of 2 and 10.
fn logarithm(base: f64, x: f64) -> f64 {
    if base == 10.0 {
        x.log10()
    } else if base == 2.0 {
        x.log2()
    } else {
        x.ln() / base.ln()
    }
}

/// `x` rounded to `digits` decimals (left of the point where negative), halves away from zero.
fn round(x: f64, digits: f64) -> f64 {
    let digits = digits.trunc();
    if digits >= 0.0 {
        let scale = 10f64.powf(digits);
        let scaled = x * scale;
        // Beyond 2^52 there are no decimals left to round away.
        if scaled.abs() < 4_503_599_627_370_496.0 {
            scaled.round() / scale
        } else {
            x
        }
    } else {
        let scale = 10f64.powf(-digits);
        if scale.is_finite() {
            (x / scale).round() * scale
        } else {
            x * 0.0
        }
    }
}

fn sign(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x.signum() }
}

fn trim(text: &str) -> String {
    text.trim_matches(' ').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_to_digits() {
        assert_eq!(round(2.345_678, 2.0), 2.35);
        assert_eq!(round(-2.5, 0.0), -3.0);
        assert_eq!(round(1234.5, -2.0), 1200.0);
        assert_eq!(round(1e300, 20.0), 1e300);
        assert_eq!(round(5.0, 400.0), 5.0);
        assert_eq!(round(0.0, 400.0), 0.0);
        assert_eq!(round(5.0, -400.0), 0.0);
        assert_eq!(round(f64::INFINITY, 2.0), f64::INFINITY);
    }

    #[test]
    fn logarithms_of_powers_are_exact() {
        assert_eq!(logarithm(2.0, 8.0), 3.0);
        assert_eq!(logarithm(10.0, 1000.0), 3.0);
        assert!((logarithm(3.0, 81.0) - 4.0).abs() < 1e-15);
    }

    #[test]
    fn signs() {
        assert_eq!([sign(-0.0), sign(-7.0), sign(1e-300)], [0.0, -1.0, 1.0]);
        assert!(sign(f64::NAN).is_nan());
    }

    #[test]
    fn names_and_numbers_of_arguments() {
        assert!(matches!(find("round", 1), Ok(Function { body: Body::One(_), .. })));
        assert!(matches!(find("round", 2), Ok(Function { body: Body::Two(_), .. })));
        assert_eq!(find("round", 3).unwrap_err().unwrap(), "1 argument or 2 arguments");
        assert_eq!(find("least", 0).unwrap_err().unwrap(), "1 or more arguments");
        assert!(find("sum", 1).unwrap_err().is_none());
    }
}
