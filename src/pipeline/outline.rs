//! What an input holds, as a message tells it: the names of its columns, each with a value that is no number.
//!
//! The rule: a message fits on a screen, so the columns and their values are limited in number and length.

use crate::error::Error;
use crate::io::{About, Read, Source};
use crate::report::text::{clean, shorten};
use arrow::array::{Array, RecordBatch};
use arrow::util::display::array_value_to_string;

/// Columns that are named: as many as a few lines of a terminal hold.
const COLUMNS_MAX: usize = 12;

/// Terminal cells of a name or a value: enough to see what it is.
const CELLS_MAX: usize = 32;

/// The error for an input without a numeric column; `besides` says which ones do not count.
pub(super) fn nothing_numeric(source: &mut dyn Source, besides: &str) -> Error {
    let about = source.about();
    let of = if about.name.is_empty() {
        String::new()
    } else {
        format!(" in {}", about.name)
    };
    let columns = match columns(source) {
        columns if columns.is_empty() => String::new(),
        columns => format!("; its columns are {columns}"),
    };
    let nested = nested(&about).map_or(String::new(), |nested| format!("; {nested}"));
    let hint = about.hint.map_or(String::new(), |hint| format!("; {hint}"));
    Error::Data(format!(
        "there is no numeric column{of}{besides}{columns}{nested}{hint}"
    ))
}

/// Which columns are left out because they are nested, if there are any.
pub(super) fn nested(about: &About) -> Option<String> {
    (!about.nested.is_empty()).then(|| format!("lists or objects, so left out: {}", listed(&about.nested)))
}

/// The first names, and how many more there are.
fn listed(names: &[String]) -> String {
    let shown: Vec<_> = names.iter().take(COLUMNS_MAX).map(|name| short(name)).collect();
    match names.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn short(text: &str) -> String {
    shorten(&clean(text), CELLS_MAX)
}

/// What of the input was not read though nobody said so: nested columns, and fields that came late.
pub(super) fn left_out(about: &About) -> impl Iterator<Item = String> {
    let late = (!about.late.is_empty()).then(|| {
        format!(
            "first seen after the inspected rows, so left out: {}; named in --columns, they are read as numbers",
            listed(&about.late)
        )
    });
    nested(about).into_iter().chain(late)
}

/// The error about an unknown column, with what may lie behind it.
pub(super) fn hinted(error: Error, about: &About) -> Error {
    match error {
        Error::Usage(mut what) => {
            if let Some(name) = about.nested.iter().find(|name| what.contains(&format!("`{name}`"))) {
                what += &format!("; `{}` holds lists or objects", short(name));
            }
            if let Some(hint) = &about.hint {
                what += &format!("; {hint}");
            }
            Error::Usage(what)
        }
        error => error,
    }
}

/// The first columns with a value each from the first rows: one that is no number, where there is one.
fn columns(source: &mut dyn Source) -> String {
    let schema = source.schema();
    let fields = schema.fields();
    let names: Vec<String> = fields.iter().take(COLUMNS_MAX).map(|f| f.name().clone()).collect();
    // A source that cannot be read has no values to show; that it cannot is not what the message is about.
    let rows = match source.select(&names).and_then(|()| source.read()) {
        Ok(Read::Batch(rows, _)) => Some(rows.batch),
        _ => None,
    };
    let shown: Vec<String> = names
        .iter()
        .enumerate()
        .map(|(place, name)| {
            let name = short(name);
            match rows.as_ref().and_then(|rows| telling_value(rows, place)) {
                Some(value) => format!("`{name}` (\"{}\")", short(&value)),
                None => format!("`{name}`"),
            }
        })
        .collect();
    match fields.len() - names.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn telling_value(rows: &RecordBatch, place: usize) -> Option<String> {
    let column = rows.column(place);
    let values = || {
        let present = (0..column.len()).filter(|row| column.is_valid(*row));
        present.filter_map(|row| array_value_to_string(column, row).ok())
    };
    let text = values().find(|value| value.trim().parse::<f64>().is_err());
    text.or_else(|| values().next())
}
