//! JSON reports: one document, or one group object a line; and the models of a report alone, to keep.
//!
//! The document is indented, except that arrays of plain values stay on one line, so that a matrix looks like one.
//! Numbers print as the shortest text that reads back as the same f64.

use super::{FitReport, Group, KeyValue, Named, RegressionReport, Report, WindowBounds};
use crate::regression::Centred;
use crate::summary::Model as Kind;
use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter};
use std::io::{self, Write};

/// The name and version of the JSON form of a model.
pub const MODEL_SCHEMA: &str = "millstream.model/1";

/// Writes the report as one indented document (`millstream.report/1`).
///
/// # Errors
/// What `out` says.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    document(report, out)
}

fn document(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, Indented::default());
    value.serialize(&mut serializer)?;
    out.write_all(b"\n")
}

/// The models of a report.
#[derive(Debug, Serialize)]
struct Models<'a> {
    schema: &'static str,
    models: Vec<Model<'a>>,
}

/// One group's regression or fit, with what says which group, and what predictions need besides.
#[derive(Debug, Clone, Copy, Serialize)]
struct Model<'a> {
    key: Option<&'a Named<KeyValue>>,
    window: Option<WindowBounds>,
    /// That of a regression; a fit says its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'static str>,
    #[serde(flatten)]
    regression: Option<&'a RegressionReport>,
    #[serde(flatten)]
    fit: Option<&'a FitReport>,
    centred: Option<&'a Centred>,
}

/// Writes the regressions and fits alone, one of each group, as one indented document (`millstream.model/1`).
///
/// Beside what the report has, a model has `model` (`linear` or `logistic`) and `centred`: the fit around the `centre`
/// of its terms (one number a term: its mean, or 0 without an intercept), with the `value` of the linear predictor
/// there, the `covariance` of that value (with an intercept) and the slopes as a matrix by rows, and the
/// `degrees_of_freedom`. [`Predictor`](crate::predictor::Predictor) reads it back.
///
/// # Errors
/// What `out` says.
pub fn write_models(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    document(
        &Models {
            schema: MODEL_SCHEMA,
            models: report.groups.iter().flat_map(models).collect(),
        },
        out,
    )
}

fn models(group: &Group) -> impl Iterator<Item = Model<'_>> {
    let empty = Model {
        key: group.key.as_ref(),
        window: group.window,
        model: None,
        regression: None,
        fit: None,
        centred: None,
    };
    let regression = group.regression.as_ref().map(|regression| Model {
        model: Some(Kind::Linear.name()),
        regression: Some(regression),
        centred: regression.centred.as_ref(),
        ..empty
    });
    let fit = group.fit.as_ref().map(|fit| Model {
        fit: Some(fit),
        centred: fit.centred.as_ref(),
        ..empty
    });
    regression.into_iter().chain(fit)
}

/// Writes each group as one line: exactly the group objects of the document.
///
/// # Errors
/// What `out` says.
pub fn write_lines(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for group in &report.groups {
        serde_json::to_writer(&mut *out, group)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// Indents by two spaces; an array breaks its line only before an object or another array.
#[derive(Debug, Default)]
struct Indented {
    depth: usize,
    /// An array value is about to be written, and whether it is the first: its separator depends on what it is.
    pending: Option<bool>,
    /// For each open object or array, whether its last value began a line.
    broken: Vec<bool>,
}

impl Indented {
    fn new_line<W: ?Sized + Write>(&self, out: &mut W) -> io::Result<()> {
        out.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| out.write_all(b"  "))
    }

    /// What stands before a value, now that it is known what it is.
    fn before<W: ?Sized + Write>(&mut self, out: &mut W, nested: bool) -> io::Result<()> {
        let Some(first) = self.pending.take() else {
            return Ok(());
        };
        if !first {
            out.write_all(b",")?;
        }
        if nested {
            if let Some(broken) = self.broken.last_mut() {
                *broken = true;
            }
            self.new_line(out)
        } else if first {
            Ok(())
        } else {
            out.write_all(b" ")
        }
    }

    fn open<W: ?Sized + Write>(&mut self, out: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.before(out, true)?;
        self.depth += 1;
        self.broken.push(false);
        out.write_all(bracket)
    }

    fn close<W: ?Sized + Write>(&mut self, out: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if self.broken.pop() == Some(true) {
            self.new_line(out)?;
        }
        out.write_all(bracket)
    }
}

/// Plain values first write what stands before them, then themselves as ever.
macro_rules! plain {
    ($($name:ident($($value:ident: $kind:ty)?)),* $(,)?) => {$(
        fn $name<W: ?Sized + Write>(&mut self, out: &mut W $(, $value: $kind)?) -> io::Result<()> {
            self.before(out, false)?;
            serde_json::ser::CompactFormatter.$name(out $(, $value)?)
        }
    )*};
}

impl Formatter for Indented {
    plain!(
        write_null(),
        write_bool(value: bool),
        write_i64(value: i64),
        write_u64(value: u64),
        write_f64(value: f64),
        begin_string(),
    );

    fn write_char_escape<W: ?Sized + Write>(&mut self, out: &mut W, escape: CharEscape) -> io::Result<()> {
        serde_json::ser::CompactFormatter.write_char_escape(out, escape)
    }

    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.open(out, b"[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.close(out, b"]")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, _: &mut W, first: bool) -> io::Result<()> {
        self.pending = Some(first);
        Ok(())
    }

    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.open(out, b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.close(out, b"}")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if !first {
            out.write_all(b",")?;
        }
        if let Some(broken) = self.broken.last_mut() {
            *broken = true;
        }
        self.new_line(out)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    fn text(report: &Report) -> String {
        let mut out = Vec::new();
        write(report, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_document_is_the_report_and_its_matrices_are_compact() {
        let report = example::single();
        let text = text(&report);
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            serde_json::to_value(&report).unwrap()
        );
        let matrix = r#"
        "matrix": [
          [1.0, 0.25],
          [0.25, 1.0]
        ]"#;
        assert!(text.contains(matrix), "{text}");
        assert!(text.contains("\"key\": null,\n"), "{text}");
        assert!(text.contains(r#""columns": ["temp", "wind"],"#), "{text}");
        assert!(text.ends_with("}\n"));
    }

    #[test]
    fn empty_arrays_objects_and_text_that_needs_escapes_survive() {
        let mut report = example::single();
        report.device = "a \"b\" \u{1b}".into();
        report.groups[0].columns = Named::from_iter([]);
        let parsed: serde_json::Value = serde_json::from_str(&text(&report)).unwrap();
        assert_eq!(parsed, serde_json::to_value(&report).unwrap());
        report.groups.clear();
        assert!(text(&report).contains("\"groups\": []\n"), "{}", text(&report));
    }

    #[test]
    fn models_are_the_regressions_with_key_and_window() {
        let mut out = Vec::new();
        write_models(&example::single(), &mut out).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(document["schema"], MODEL_SCHEMA);
        let report = serde_json::to_value(example::single()).unwrap();
        let mut want = report["groups"][0]["regression"].clone();
        want["key"] = serde_json::Value::Null;
        want["window"] = serde_json::Value::Null;
        want["model"] = "linear".into();
        want["centred"] = serde_json::Value::Null;
        assert_eq!(document["models"], serde_json::json!([want]));
    }

    #[test]
    fn lines_are_the_group_objects() {
        let report = example::keyed_windows();
        let mut out = Vec::new();
        write_lines(&report, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), report.groups.len());
        for (line, group) in text.lines().zip(&report.groups) {
            assert_eq!(line, serde_json::to_string(group).unwrap());
        }
        assert!(text.starts_with(
            r#"{"key":{"station":"a"},"window":{"start":"2015-01-01T00:00:00Z","end":"2015-01-01T00:10:00Z"},"rows":60,"#
        ));
    }
}
