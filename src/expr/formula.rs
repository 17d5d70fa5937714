//! Regression formulas: `y ~ x1 + x2`.
//!
//! The form is that of R's `lm` without its operators on columns: left of `~` the column to be explained, right of it
//! the columns that explain it, joined by `+`. There is an intercept unless `- 1` or `+ 0` takes it away. Names that
//! are not plain words (letters, digits, `_`, `.`) stand in double quotes as in SQL, a quote inside doubled.

use super::cut;
use crate::error::{Error, Result};

/// A regression: which column is explained by which.
///
/// ```
/// use millstream::expr::Formula;
///
/// let formula = Formula::parse("y ~ x1 + \"wind speed\" - 1")?;
/// assert_eq!(formula.target, "y");
/// assert_eq!(formula.terms, ["x1", "wind speed"]);
/// assert!(!formula.intercept);
/// # Ok::<(), millstream::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Formula {
    /// The column to be explained.
    pub target: String,
    /// The columns that explain it, in the order of the formula; none in `y ~ 1`.
    pub terms: Vec<String>,
    /// Whether a constant is fitted too.
    pub intercept: bool,
}

#[derive(Debug, PartialEq)]
enum Token {
    Name(String),
    Number(String),
    Sign(char),
}

impl Formula {
    /// Parses a formula.
    ///
    /// # Errors
    /// [`Error::Usage`], which shows the expected form, for anything else, for a column that occurs twice, and for a
    /// formula with neither terms nor intercept.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |why: String| {
            Error::Usage(format!(
                "the formula {} {why}; expected `y ~ x1 + x2` (`- 1` drops the intercept, names that are not plain \
                 words stand in double quotes)",
                cut(text)
            ))
        };
        let mut tokens = tokens(text).map_err(wrong)?.into_iter();
        let (Some(Token::Name(target)), Some(Token::Sign('~'))) = (tokens.next(), tokens.next()) else {
            return Err(wrong("does not begin with a column and `~`".into()));
        };
        let mut formula = Self {
            target,
            terms: Vec::new(),
            intercept: true,
        };
        let mut next = tokens.next();
        let mut sign = '+';
        if next == Some(Token::Sign('-')) {
            (sign, next) = ('-', tokens.next());
        }
        loop {
            let item = next.ok_or_else(|| wrong("ends where a column should stand".into()))?;
            formula.item(sign, item).map_err(wrong)?;
            sign = match tokens.next() {
                None => break,
                Some(Token::Sign(sign @ ('+' | '-'))) => sign,
                Some(_) => return Err(wrong("has something other than `+` or `-` between its terms".into())),
            };
            next = tokens.next();
        }
        if formula.terms.is_empty() && !formula.intercept {
            return Err(wrong("has neither terms nor an intercept".into()));
        }
        Ok(formula)
    }

    fn item(&mut self, sign: char, item: Token) -> Result<(), String> {
        match (sign, item) {
            ('+', Token::Name(name)) if name == self.target => Err(format!("has its target {} as a term", cut(&name))),
            ('+', Token::Name(name)) if self.terms.contains(&name) => Err(format!("has the term {} twice", cut(&name))),
            ('+', Token::Name(name)) => {
                self.terms.push(name);
                Ok(())
            }
            (_, Token::Name(name)) => Err(format!("takes away the column {}", cut(&name))),
            ('+', Token::Number(digits)) if digits == "1" => {
                self.intercept = true;
                Ok(())
            }
            ('-', Token::Number(digits)) if digits == "1" => {
                self.intercept = false;
                Ok(())
            }
            ('+', Token::Number(digits)) if digits == "0" => {
                self.intercept = false;
                Ok(())
            }
            (_, Token::Number(digits)) => Err(format!("has the number {}", cut(&digits))),
            (_, Token::Sign(sign)) => Err(format!("has `{sign}` where a column should stand")),
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let word = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        if first == '"' {
            let (name, behind) = quoted(&rest[1..]).ok_or("has a name without its closing quote")?;
            if name.is_empty() {
                return Err("has an empty name".into());
            }
            tokens.push(Token::Name(name));
            rest = behind;
        } else if matches!(first, '~' | '+' | '-') {
            tokens.push(Token::Sign(first));
            rest = &rest[1..];
        } else if word(first) {
            let (found, behind) = rest.split_at(rest.find(|c| !word(c)).unwrap_or(rest.len()));
            let number = first.is_numeric() || first == '.';
            tokens.push(if number {
                Token::Number(found.into())
            } else {
                Token::Name(found.into())
            });
            rest = behind;
        } else {
            return Err(format!("has {}", cut(&first.to_string())));
        }
        rest = rest.trim_start();
    }
    Ok(tokens)
}

/// The name that `text` begins with, up to its closing quote, and what is behind.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = text;
    loop {
        let (part, behind) = rest.split_once('"')?;
        name.push_str(part);
        match behind.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return Some((name, behind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> (String, String, bool) {
        let formula = Formula::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        (formula.target, formula.terms.join("|"), formula.intercept)
    }

    #[test]
    fn forms() {
        for (text, target, terms, intercept) in [
            ("y ~ x", "y", "x", true),
            ("y~x1+x2", "y", "x1|x2", true),
            (" y ~ 1 ", "y", "", true),
            ("y ~ 0 + x", "y", "x", false),
            ("y ~ x + 0", "y", "x", false),
            ("y ~ x - 1", "y", "x", false),
            ("y ~ -1 + x", "y", "x", false),
            ("y ~ 1 + x", "y", "x", true),
            ("\"a ~ b\" ~ \"c \"\"d\"\"\" + \"1\"", "a ~ b", "c \"d\"|1", true),
            ("größe ~ t.mean", "größe", "t.mean", true),
        ] {
            assert_eq!(of(text), (target.into(), terms.into(), intercept), "{text}");
        }
    }

    #[test]
    fn nonsense() {
        for text in [
            "",
            " ",
            "y",
            "y ~",
            "~ x",
            "y ~ x +",
            "y ~ + x",
            "y ~ x x",
            "y ~ x ~ z",
            "y ~ x + x",
            "y ~ y",
            "y ~ 0",
            "y ~ 2",
            "y ~ x - z",
            "y ~ x - 0",
            "y ~ a * b",
            "y ~ log(x)",
            "y ~ \"x",
            "y ~ \"\"",
            "1 ~ x",
            "y = x",
            "y ~ \0",
            "y ~ - - 1",
        ] {
            let error = Formula::parse(text).expect_err(text);
            assert!(matches!(error, Error::Usage(_)));
            assert!(error.to_string().contains("expected `y ~ x1 + x2`"), "{text}: {error}");
        }
        assert!(
            Formula::parse("y ~ x + x")
                .unwrap_err()
                .to_string()
                .contains("the term `x` twice")
        );
    }
}
