//! From the names of inputs to one source: which format each has, and that they are one table.
//!
//! The format is the one that was named, else the one that the extension says; standard input is told by its first
//! bytes, decompressed (Parquet and Arrow by their magic, `{` or `[` as ndjson, anything else as csv). Text formats may
//! be compressed, with a second extension; columnar formats compress inside. What a file without a telling extension
//! looks like is said, not assumed.
//!
//! The rule: what can be said about an input without reading it (it is not there, it is empty, nobody knows its format)
//! is said about all of them before the first is read.

use crate::error::{Error, Result};
use crate::io::bytes::ByteInput;
use crate::io::chain::Chain;
use crate::io::columnar::TIME_TYPE;
use crate::io::csv::CsvSource;
use crate::io::ndjson::NdjsonSource;
use crate::io::whole::{self, ARROW_CONTINUATION, ARROW_MAGIC, HEAD_BYTES, PARQUET_MAGIC};
use crate::io::{Format, ReadOptions, Source};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::fmt;
use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

/// Extensions of compressed inputs.
const COMPRESSIONS: [&str; 4] = ["gz", "bz2", "zst", "zip"];

/// Formats with their names: the first is how a format prints, all are read, as extensions too.
const FORMATS: [(Format, &[&str]); 5] = [
    (Format::Csv, &["csv"]),
    (Format::Tsv, &["tsv"]),
    (Format::Ndjson, &["ndjson", "jsonl", "json"]),
    (Format::Parquet, &["parquet", "pq"]),
    (Format::Arrow, &["arrow", "arrows", "ipc", "feather"]),
];

impl Format {
    /// Whether rows are lines of text, which may be compressed as a whole.
    pub fn is_text(self) -> bool {
        matches!(self, Self::Csv | Self::Tsv | Self::Ndjson)
    }

    /// The format that the extension of `path` says.
    ///
    /// # Errors
    /// [`Error::Usage`] for an unknown extension, or a columnar format that is compressed from outside.
    pub fn of(path: &Path) -> Result<Self> {
        let extension = |p: &Path| p.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        let outer = extension(path).unwrap_or_default();
        let (inner, compressed) = match COMPRESSIONS.contains(&outer.as_str()) {
            true => (
                path.file_stem()
                    .and_then(|stem| extension(Path::new(stem)))
                    .unwrap_or_default(),
                true,
            ),
            false => (outer.clone(), false),
        };
        match inner.parse::<Self>() {
            Ok(format) if compressed && !format.is_text() => Err(Error::Usage(format!(
                "{}: a {format} file cannot be read through .{outer}; decompress it first ({format} compresses inside)",
                whole::name(path)
            ))),
            Ok(format) => Ok(format),
            Err(_) => Err(Error::Usage(format!(
                "{}: the extension tells no format; name one with --input-format ({})",
                whole::name(path),
                names()
            ))),
        }
    }
}

impl FromStr for Format {
    type Err = Error;

    /// Reads `csv`, `tsv`, `ndjson` (`jsonl`, `json`), `parquet` (`pq`) or `arrow` (`arrows`, `ipc`, `feather`).
    fn from_str(text: &str) -> Result<Self> {
        let found = FORMATS.iter().find(|(_, names)| names.contains(&text));
        found
            .map(|(format, _)| *format)
            .ok_or_else(|| Error::Usage(format!("`{text}` is no input format; there are {}", names())))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = FORMATS
            .iter()
            .find(|(format, _)| format == self)
            .map_or("", |(_, names)| names[0]);
        f.write_str(name)
    }
}

fn names() -> String {
    FORMATS.map(|(_, names)| names[0]).join(", ")
}

/// Opens inputs (paths, or `-` for standard input) as one table, whose rows come input after input.
///
/// The columns of all inputs must have the same names, in any order; the first input says their order and types.
///
/// # Errors
/// [`Error::Usage`] without inputs, for an unknown format, or for standard input named twice; [`Error::Input`] for what
/// cannot be opened; [`Error::Data`] for what is empty or not what it is taken for; [`Error::Unavailable`] for a format
/// that this build leaves out.
pub fn open(inputs: &[PathBuf], options: &ReadOptions) -> Result<Box<dyn Source>> {
    let Some(first) = inputs.first() else {
        return Err(Error::Usage("no input is named; - is standard input".into()));
    };
    if inputs.iter().filter(|path| whole::is_stdin(path)).count() > 1 {
        return Err(Error::Usage("standard input (-) can be named once only".into()));
    }
    for path in inputs.iter().filter(|path| !whole::is_stdin(path)) {
        // A pipe is opened once only, when its turn comes.
        let mut head = Vec::new();
        if !std::fs::metadata(path).is_ok_and(|m| !m.is_file() && !m.is_dir()) {
            let (file, _) = whole::open_file(path)?;
            // What cannot be read is reported where it is.
            let _ = file.take(HEAD_BYTES as u64).read_to_end(&mut head);
        }
        if options.format.is_none() {
            Format::of(path).map_err(|error| match error {
                Error::Usage(what) if !head.is_empty() => {
                    Error::Usage(format!("{what}; it looks like {}", whole::looks_like(&head)))
                }
                error => error,
            })?;
        }
    }
    let source = open_one(first, options, None)?;
    match inputs.len() {
        1 => Ok(source),
        _ => Ok(Box::new(Chain::new(inputs, source, options))),
    }
}

/// Opens one input; `schema` has the columns that it must have, where an input before it said so.
pub(crate) fn open_one(path: &Path, options: &ReadOptions, schema: Option<&SchemaRef>) -> Result<Box<dyn Source>> {
    let format = match options.format {
        Some(format) => format,
        None if whole::is_stdin(path) => sniff_stdin()?,
        None => Format::of(path)?,
    };
    match format {
        Format::Parquet => open_parquet(path, options),
        Format::Arrow => Ok(Box::new(crate::io::arrow::ArrowSource::open(path, options)?)),
        Format::Csv | Format::Tsv | Format::Ndjson => open_text(format, path, options, schema),
    }
}

#[cfg(feature = "parquet")]
fn open_parquet(path: &Path, options: &ReadOptions) -> Result<Box<dyn Source>> {
    Ok(Box::new(crate::io::parquet::ParquetSource::open(path, options)?))
}

#[cfg(not(feature = "parquet"))]
fn open_parquet(path: &Path, _: &ReadOptions) -> Result<Box<dyn Source>> {
    Err(Error::Unavailable(format!(
        "{}: this build reads no Parquet files (it was built without the feature `parquet`)",
        whole::name(path)
    )))
}

fn open_text(
    format: Format,
    path: &Path,
    options: &ReadOptions,
    schema: Option<&SchemaRef>,
) -> Result<Box<dyn Source>> {
    let name = whole::name(path);
    let mut input = ByteInput::open(path, None, options)?;
    let told = options.format.is_some() || !whole::is_stdin(path);
    let format = if told { format } else { sniff(input.peek(HEAD_BYTES)?) };
    let schema = schema.map(|schema| text_schema(schema));
    Ok(match format {
        Format::Ndjson => Box::new(NdjsonSource::open(input, &name, options, schema)?),
        Format::Tsv => Box::new(CsvSource::open(input, &name, b'\t', options, schema)?),
        _ => Box::new(CsvSource::open(input, &name, b',', options, schema)?),
    })
}

/// What text decodes into where a table has these columns: numbers as `Float64`, whole ones of 64 bits and the event
/// time as they are, the rest as text; the chain casts them to the table's own types.
fn text_schema(schema: &Schema) -> SchemaRef {
    let field = |field: &Arc<Field>| {
        let kind = match field.data_type() {
            kind if *kind == TIME_TYPE || *kind == DataType::Int64 => kind.clone(),
            DataType::Float32 | DataType::Float64 => DataType::Float64,
            kind if kind.is_decimal() => DataType::Float64,
            _ => DataType::Utf8,
        };
        field.as_ref().clone().with_data_type(kind)
    };
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

/// The format of standard input. Its first bytes stay in the buffer that every reader of [`std::io::stdin`] shares.
fn sniff_stdin() -> Result<Format> {
    let path = Path::new("-");
    let mut stdin = std::io::stdin().lock();
    let head = stdin.fill_buf().map_err(|source| Error::Input {
        path: path.to_owned(),
        source,
    })?;
    if head.is_empty() {
        Err(whole::empty(path))
    } else {
        Ok(sniff(head))
    }
}

fn sniff(head: &[u8]) -> Format {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    match text.first() {
        _ if head.starts_with(PARQUET_MAGIC) => Format::Parquet,
        _ if head.starts_with(ARROW_MAGIC) || head.starts_with(ARROW_CONTINUATION) => Format::Arrow,
        Some(b'{' | b'[') => Format::Ndjson,
        _ => Format::Csv,
    }
}

/// The bytes of all inputs as they stand on disk, `None` where that cannot be known (standard input, a pipe).
pub fn bytes_total(inputs: &[PathBuf]) -> Option<u64> {
    inputs
        .iter()
        .map(|path| {
            let metadata = if whole::is_stdin(path) {
                None
            } else {
                std::fs::metadata(path).ok()
            };
            metadata.filter(std::fs::Metadata::is_file).map(|m| m.len())
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_by_extension() {
        for (name, want) in [
            ("a.csv", Format::Csv),
            ("a.CSV.GZ", Format::Csv),
            ("a.b/c.tsv.bz2", Format::Tsv),
            ("a.jsonl.zst", Format::Ndjson),
            ("a.json.zip", Format::Ndjson),
            ("a.pq", Format::Parquet),
            ("a.csv.parquet", Format::Parquet),
            ("a.feather", Format::Arrow),
            ("a.arrows", Format::Arrow),
        ] {
            assert_eq!(Format::of(Path::new(name)).unwrap(), want, "{name}");
        }
        for (name, want) in [
            ("a.xlsx", "--input-format"),
            ("csv", "--input-format"),
            ("a.zip", "--input-format"),
            ("a.parquet.gz", "decompress"),
            ("a.arrow.zst", "decompress"),
        ] {
            let error = Format::of(Path::new(name)).unwrap_err();
            assert!(
                matches!(&error, Error::Usage(m) if m.contains(want) && m.contains(name)),
                "{error}"
            );
        }
    }

    #[test]
    fn format_names_read_back() {
        for (format, names) in FORMATS {
            assert_eq!(format.to_string().parse::<Format>().unwrap(), format);
            assert!(names.iter().all(|name| name.parse::<Format>().unwrap() == format));
        }
        assert!("xml".parse::<Format>().is_err());
    }

    #[test]
    fn first_bytes_tell_the_format() {
        assert_eq!(sniff(b"PAR1\x15"), Format::Parquet);
        assert_eq!(sniff(b"ARROW1\0\0"), Format::Arrow);
        assert_eq!(sniff(b"\xff\xff\xff\xff\x78"), Format::Arrow);
        assert_eq!(sniff(b"\xef\xbb\xbf \n{\"a\":1}"), Format::Ndjson);
        assert_eq!(sniff(b"a,b\n"), Format::Csv);
    }

    #[test]
    fn inputs_are_looked_at_before_the_first_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("text.arrow"), "a,b\n").unwrap();
        std::fs::write(path("empty.arrow"), "").unwrap();
        std::fs::write(path("text.unknown"), "a,b\n").unwrap();
        let code = |inputs: &[PathBuf]| match open(inputs, &ReadOptions::default()) {
            Ok(_) => 0,
            Err(error) => error.exit_code(),
        };
        // The first alone is bad data, but the second is found out before it is read.
        assert_eq!(code(&[path("text.arrow")]), 65);
        assert_eq!(code(&[path("text.arrow"), path("none.arrow")]), 66);
        assert_eq!(code(&[path("text.arrow"), path("text.unknown")]), 2);
        assert_eq!(code(&[directory.path().to_owned()]), 66);
        assert_eq!(code(&[path("none")]), 66);
        assert_eq!(code(&[path("empty.arrow")]), 65);
        assert_eq!(code(&["-".into(), "-".into()]), 2);
        assert_eq!(code(&[]), 2);
        assert_eq!(bytes_total(&[path("text.arrow"), path("empty.arrow")]), Some(4));
        assert_eq!(bytes_total(&[path("text.arrow"), "-".into()]), None);
    }

    #[cfg(not(feature = "parquet"))]
    #[test]
    fn a_build_without_parquet_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.parquet");
        std::fs::write(&path, "PAR1").unwrap();
        let error = open(&[path], &ReadOptions::default()).err().unwrap();
        assert!(
            matches!(&error, Error::Unavailable(m) if m.contains("feature `parquet`")),
            "{error}"
        );
    }
}
