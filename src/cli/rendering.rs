//! How reports are written: the form, the place, and what the form leaves out.

use super::Log;
use crate::error::{Error, Result};
use crate::io::{self, OutputFile};
use crate::report::{self, Report, Sample, table::Style};
use clap::ValueEnum;
use std::io::IsTerminal;
use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OutputFormat {
    Table,
    Json,
    Ndjson,
    Csv,
    Markdown,
    Parquet,
    Html,
}

impl OutputFormat {
    /// Of `--format`, else of the extension of `-o`.
    pub(super) fn of(format: Option<Self>, output: Option<&Path>) -> Result<Self> {
        if let Some(format) = format {
            return Ok(format);
        }
        let Some(path) = output.filter(|path| *path != Path::new("-")) else {
            return Ok(Self::Table);
        };
        let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        match extension.as_deref() {
            Some("txt") | None => Ok(Self::Table),
            Some("json") => Ok(Self::Json),
            Some("ndjson" | "jsonl") => Ok(Self::Ndjson),
            Some("csv") => Ok(Self::Csv),
            Some("md" | "markdown") => Ok(Self::Markdown),
            Some("parquet") => Ok(Self::Parquet),
            Some("html" | "htm") => Ok(Self::Html),
            Some(other) => Err(Error::Usage(format!(
                "{}: there is no report format for .{other}: name one with --format",
                path.display()
            ))),
        }
    }
}

/// Says what a report has that its form has no place for.
pub(super) fn note_left_out(report: &Report, format: OutputFormat, log: Log) {
    if matches!(format, OutputFormat::Csv | OutputFormat::Parquet) {
        let left_out = report::long::left_out(report);
        if !left_out.is_empty() {
            log.note(&format!(
                "not in a csv or parquet report, of one row a column: {}; table, markdown, html and json have them",
                left_out.join(", ")
            ));
        }
    }
}

/// Writes a report.
pub(super) fn write(
    report: &Report,
    samples: &[Sample],
    title: &str,
    format: OutputFormat,
    style: Style,
    mut output: OutputFile,
) -> Result<()> {
    let written = match format {
        OutputFormat::Table => report::table::write(report, style, &mut output),
        OutputFormat::Json => report::json::write(report, &mut output),
        OutputFormat::Ndjson => report::json::write_lines(report, &mut output),
        OutputFormat::Markdown => report::markdown::write(report, &mut output),
        OutputFormat::Html => report::html::write(report, samples, title, &mut output),
        OutputFormat::Csv | OutputFormat::Parquet => {
            let table = report::long::long_table(report)?;
            let form = if format == OutputFormat::Csv {
                io::table::Output::Csv
            } else {
                io::table::Output::Parquet
            };
            let mut writer = io::table::TableWriter::over(output, form, table.schema())?;
            writer.write(&table)?;
            return writer.finish();
        }
    };
    written.map_err(|e| output.error(e))?;
    output.finish()
}

/// Colour only where a terminal shows the report; the width is the terminal's, else that of `COLUMNS`.
pub(super) fn style(path: &Path) -> Style {
    let stdout = path == Path::new("-");
    let terminal = stdout && std::io::stdout().is_terminal();
    let color = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let told = terminal.then(|| console::Term::stdout().size_checked()).flatten();
    let width = match told {
        Some((_, columns)) if columns > 0 => Some(usize::from(columns)),
        _ if stdout => width_of_environment().or(terminal.then_some(WIDTH)),
        _ => None,
    };
    Style { width, color }
}

/// The width of a terminal that does not say.
const WIDTH: usize = 100;

/// `COLUMNS`, which shells set and people export for what writes to a pipe.
fn width_of_environment() -> Option<usize> {
    let columns = std::env::var("COLUMNS").ok()?.trim().parse().ok()?;
    (columns > 0).then_some(columns)
}
