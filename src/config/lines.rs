//! Where in the text of a configuration the key stands that an error names.

use crate::error::Error;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The error with the line of the key that it is about, where it begins with one: `[window] size: …`, ``feed `name`: path:
/// …``, ``alert `name`: when: …`` or `[[sink]] 2: path: …`.
pub(super) fn with_line(text: &str, error: Error) -> Error {
    let Error::Config(message) = error else { return error };
    Error::Config(match offset(text, &message) {
        Some(at) => format!("line {}: {message}", 1 + text[..at].matches('\n').count()),
        None => message,
    })
}

fn offset(text: &str, message: &str) -> Option<usize> {
    let root = DeTable::parse(text).ok()?;
    let root = root.get_ref();
    let (table, rest) = if let Some(rest) = message.strip_prefix("[[sink]] ") {
        let (number, rest) = rest.split_once(": ")?;
        (
            tables(root.get("sink")?).nth(number.parse::<usize>().ok()?.checked_sub(1)?)?,
            rest,
        )
    } else if let Some(rest) = message.strip_prefix("feed `") {
        named(root.get("feed")?, rest)?
    } else if let Some(rest) = message.strip_prefix("alert `") {
        named(root.get("alert")?, rest)?
    } else {
        let (table, rest) = message.strip_prefix('[')?.split_once("] ")?;
        (root.get(table)?, rest)
    };
    let key = rest.split([':', ' ', '.']).next()?;
    let place = table.get_ref().as_table().and_then(|table| table.get(key));
    Some(place.unwrap_or(table).span().start.min(text.len()))
}

/// One table, or those of an array.
fn tables<'a, 'i>(value: &'a Spanned<DeValue<'i>>) -> impl Iterator<Item = &'a Spanned<DeValue<'i>>> {
    let many = value.get_ref().as_array();
    let one = many.is_none().then_some(value);
    one.into_iter().chain(many.into_iter().flat_map(|array| array.iter()))
}

/// The table with this name (the only one may have none), and the rest of the message.
fn named<'a, 'i, 'm>(value: &'a Spanned<DeValue<'i>>, message: &'m str) -> Option<(&'a Spanned<DeValue<'i>>, &'m str)> {
    let (name, rest) = message.split_once("`: ")?;
    let of = |table: &&Spanned<DeValue<'_>>| {
        let own = table.get_ref().as_table().and_then(|table| table.get("name"));
        own.and_then(|own| own.get_ref().as_str()).is_none_or(|own| own == name)
    };
    Some((tables(value).find(of)?, rest))
}
