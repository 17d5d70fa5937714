//! Derived columns: `name = EXPR`.
//!
//! The first `=` that does not stand inside double quotes separates the two, so that names may hold one and
//! expressions may compare.

use super::{Expr, cut};
use crate::error::{Error, Result};

/// A derived column: a name and the expression of its values.
///
/// ```
/// use millstream::expr::Definition;
///
/// let range = Definition::parse("\"daily range\" = temp_max - temp_min")?;
/// assert_eq!(range.name, "daily range");
/// assert_eq!(range.expr.columns(), ["temp_max", "temp_min"]);
/// # Ok::<(), millstream::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Definition {
    /// The name of the new column, without quotes.
    pub name: String,
    /// What its values are; [`Expr::bind_number`] binds it.
    pub expr: Expr,
}

impl Definition {
    /// Parses `name = EXPR`; a name that is not a plain word stands in double quotes.
    ///
    /// # Errors
    /// [`Error::Usage`] for a text without `=`, for a name that needs quotes, and for what [`Expr::parse`] refuses.
    ///
    /// ```
    /// # use millstream::expr::Definition;
    /// assert!(Definition::parse("range = a - b").is_ok());
    /// assert!(Definition::parse("daily range = a - b").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Self> {
        let (name, expr) = split(text)?;
        Ok(Self {
            name,
            expr: Expr::parse(expr)?,
        })
    }
}

/// The name and the text of the expression of `name = EXPR`.
fn split(text: &str) -> Result<(String, &str)> {
    let wrong = |why: &str| {
        Error::Usage(format!(
            "the definition {} {why}; expected `name = EXPR` with the name in double quotes unless it is a plain word",
            cut(text)
        ))
    };
    let mut quoted = false;
    let split = text.char_indices().find(|(_, c)| {
        quoted ^= *c == '"';
        *c == '=' && !quoted
    });
    let (at, _) = split.ok_or_else(|| wrong("has no `=`"))?;
    let (name, expr) = (text[..at].trim(), &text[at + 1..]);
    if let Some(inner) = name.strip_prefix('"') {
        // An even number of quotes precedes the `=`, so the last one closes the name if it stands at its end.
        let inner = inner
            .strip_suffix('"')
            .ok_or_else(|| wrong("has a wrongly quoted name"))?;
        if inner.replace("\"\"", "").contains('"') {
            return Err(wrong("has a wrongly quoted name"));
        }
        let name = inner.replace("\"\"", "\"");
        return if name.is_empty() {
            Err(wrong("has an empty name"))
        } else {
            Ok((name, expr))
        };
    }
    let mut characters = name.chars();
    let plain = characters.next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && characters.all(|c| c.is_alphanumeric() || c == '_' || c == '.');
    if plain {
        Ok((name.to_owned(), expr))
    } else if name.is_empty() {
        Err(wrong("has no name"))
    } else {
        Err(wrong(&format!("has the name {}", cut(name))))
    }
}
