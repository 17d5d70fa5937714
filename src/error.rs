//! The one error type of the crate.
//!
//! Variants are named by what the caller can do about them; [`Error::exit_code`] is the exit status that the command
//! gives for each. Data never panics: whatever an input holds, the answer is a value or one of these.

use std::fmt;
use std::path::{Path, PathBuf};

/// The longest piece of offending input that a message quotes, in bytes: enough to recognise, too short to flood a
/// terminal.
pub const QUOTED_BYTES_MAX: usize = 80;

/// What messages call the input `-`.
pub const STANDARD_INPUT: &str = "standard input";

/// What messages call the output `-`.
pub const STANDARD_OUTPUT: &str = "standard output";

/// What went wrong, by what the caller can do about it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The request itself makes no sense (an unknown column, nonsense in an expression): change the request.
    Usage(String),
    /// A row cannot be read: mend it, or choose another bad-row policy.
    Row(Box<BadRow>),
    /// An input as a whole is unusable (empty, damaged, truncated, not what its name says): mend or replace it.
    Data(String),
    /// An input cannot be opened.
    Input {
        /// The path as it was given, or `-` for standard input.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// An output cannot be written: another place, more room, or more rights.
    Output {
        /// The path as it was given, or `-` for standard output.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A configuration is wrong: change it.
    Config(String),
    /// A limit (memory, expansion, length) was reached: raise it, or ask for less.
    Limit(String),
    /// Something that was asked for by name is not there (a backend, a feature).
    Unavailable(String),
    /// The work failed while it ran.
    Failed(String),
}

/// The result of everything that can fail in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A row that cannot be read: where it stands, what it holds, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// The input's name: a path, or [`STANDARD_INPUT`].
    pub source: String,
    /// Line (text formats) or row (columnar formats) number, from 1; the header line counts.
    pub line: u64,
    /// The column's name where one column is at fault.
    pub column: Option<String>,
    /// The offending bytes: the cell if one cell is at fault, else the row.
    pub bytes: Vec<u8>,
    /// The whole row as it stands in a text, without its line end: at most 4 MiB, as a longer one is an error whatever
    /// the policy. Empty for columnar formats, where a row is no run of bytes.
    pub row: Vec<u8>,
    /// Why it cannot be read, as a clause ("is not a number").
    pub reason: String,
}

impl Error {
    /// The exit status of the command for this error.
    ///
    /// ```
    /// assert_eq!(millstream::Error::Usage("no column `x`".into()).exit_code(), 2);
    /// ```
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Row(_) | Self::Data(_) => 65,
            Self::Input { .. } => 66,
            Self::Output { .. } => 74,
            Self::Config(_) => 78,
            Self::Limit(_) | Self::Unavailable(_) | Self::Failed(_) => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(m)
            | Self::Data(m)
            | Self::Config(m)
            | Self::Limit(m)
            | Self::Unavailable(m)
            | Self::Failed(m) => f.write_str(m),
            Self::Row(row) => write!(
                f,
                "{row}; --bad-rows skip leaves such rows out, --bad-rows quarantine=FILE keeps them aside"
            ),
            Self::Input { path, source } => write!(f, "cannot open {}: {source}", named(path, STANDARD_INPUT)),
            Self::Output { path, source } => write!(f, "cannot write {}: {source}", named(path, STANDARD_OUTPUT)),
        }
    }
}

/// The path, or the name of what `-` stands for.
fn named<'a>(path: &'a Path, standard: &'a str) -> std::path::Display<'a> {
    if path.as_os_str() == "-" {
        Path::new(standard).display()
    } else {
        path.display()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Input { source, .. } | Self::Output { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: line {}", self.source, self.line)?;
        if let Some(column) = &self.column {
            write!(f, ", column `{column}`")?;
        }
        write!(f, ": {} {}", quote(&self.bytes), self.reason)
    }
}

impl From<BadRow> for Error {
    fn from(row: BadRow) -> Self {
        Self::Row(Box::new(row))
    }
}

/// `bytes` between double quotes, control characters and invalid UTF-8 escaped, cut at [`QUOTED_BYTES_MAX`].
pub fn quote(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(QUOTED_BYTES_MAX)];
    let more = if bytes.len() > shown.len() { "…" } else { "" };
    format!("\"{}{more}\"", shown.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_row_names_file_line_column_bytes_and_option() {
        let row = BadRow {
            source: "a.csv".into(),
            line: 5002,
            column: Some("temp".into()),
            bytes: b"warm\x00".to_vec(),
            row: b"1,warm\x00".to_vec(),
            reason: "is not a number".into(),
        };
        let text = Error::from(row).to_string();
        for part in [
            "a.csv",
            "5002",
            "`temp`",
            r#""warm\x00""#,
            "is not a number",
            "--bad-rows",
        ] {
            assert!(text.contains(part), "{text:?} lacks {part:?}");
        }
    }

    #[test]
    fn a_dash_has_a_name() {
        let broken = || std::io::ErrorKind::BrokenPipe.into();
        for (path, input, output) in [
            ("-", "open standard input:", "write standard output:"),
            ("-a", "open -a:", "write -a:"),
        ] {
            let (path, source) = (PathBuf::from(path), broken());
            let error = Error::Input {
                path: path.clone(),
                source,
            };
            assert!(error.to_string().contains(input), "{error}");
            let error = Error::Output { path, source: broken() };
            assert!(error.to_string().contains(output), "{error}");
        }
    }

    #[test]
    fn long_bytes_are_cut() {
        assert_eq!(
            quote(&[b'a'; 81]).chars().filter(|c| *c == 'a').count(),
            QUOTED_BYTES_MAX
        );
    }
}
