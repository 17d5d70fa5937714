//! From text to tokens: what `sqlparser` makes of it, held to limits and to names that are plain words.

use super::parse::syntax;
use super::{TEXT_BYTES_MAX, TOKENS_MAX, cut};
use crate::error::{Error, Result};
use sqlparser::dialect::GenericDialect;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Whitespace};

/// The tokens of `text`, within the limits.
pub(super) fn tokens(text: &str) -> Result<Vec<TokenWithSpan>> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Error::Usage(format!(
            "the expression {} has {} bytes; at most {TEXT_BYTES_MAX} are read",
            cut(text),
            text.len()
        )));
    }
    let tokens = Tokenizer::new(&GenericDialect {}, text)
        .tokenize_with_location()
        .map_err(|error| syntax(text, &error.to_string()))?;
    let mut counted = 0;
    for token in &tokens {
        match &token.token {
            Token::Whitespace(Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_)) => {
                let message = "comments are not supported (`--` begins one: write `- -` or parentheses for two signs)";
                return Err(syntax(text, message));
            }
            Token::Whitespace(_) | Token::Comma | Token::Number(..) | Token::SingleQuotedString(_) => {}
            // Behind an `@` the tokenizer takes any character at all for the second one of a name.
            Token::Word(word) if word.quote_style.is_none() && !word.value.chars().all(is_of_a_word) => {
                let message = format!("the name {} is not a plain word", cut(&word.value));
                return Err(syntax(text, &message));
            }
            _ => counted += 1,
        }
    }
    if counted > TOKENS_MAX {
        return Err(Error::Usage(format!(
            "the expression {} has {counted} names, operators and parentheses; at most {TOKENS_MAX} are read",
            cut(text)
        )));
    }
    if tokens
        .iter()
        .all(|token| matches!(token.token, Token::Whitespace(_) | Token::EOF))
    {
        return Err(Error::Usage(
            "the expression is empty; expected one such as `x > 0`".into(),
        ));
    }
    Ok(tokens)
}

/// Whether an unquoted name may hold this character.
fn is_of_a_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '@' | '#' | '$')
}
