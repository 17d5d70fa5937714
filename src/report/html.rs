//! Reports as one self-contained html page: tables and charts, without scripts and without anything from elsewhere.
//!
//! The page follows the reader's light or dark preference, prints, and scrolls wide tables on narrow screens.
//! Everything from the data is escaped. Its tables are those of the terminal with all columns; its charts are inline
//! SVG: how each column is spread, the means of windows over time, correlations as colours.

use super::charts::distribution::{BoxRow, boxes, histogram};
use super::charts::heatmap::{self, correlations};
use super::charts::windows::{Keys, means};
use super::charts::{LINES_MAX, escape};
use super::grid::{self, Block, Grid, Kind, Part, group_title};
use super::number::duration;
use super::text::{clean, counted, shorten};
use super::{Group, Report, Sample};
use std::io::{self, Write};

/// The style sheet.
const STYLE: &str = include_str!("html/page.css");
/// Rows of a table beyond which it is folded, so that the charts below it are found.
const ROWS_OPEN_MAX: usize = 60;
/// Groups whose correlations are drawn; the tables hold the rest.
const HEAT_MAPS_MAX: usize = 24;
/// Columns that are drawn: a page of more charts than this is slow, and nobody looks at them all.
const COLUMNS_DRAWN_MAX: usize = 60;
/// Cells of a name in a table; longer ones are shortened, and whole on hover.
const NAME_CELLS_MAX: usize = 48;
/// Keys that are named as left out of a chart.
const NAMED_MAX: usize = 40;

/// Writes the page; `title` names the sources.
///
/// # Errors
/// What `out` says.
pub fn write(report: &Report, samples: &[Sample], title: &str, out: &mut dyn Write) -> io::Result<()> {
    let title = escape(title);
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <title>{title}</title>\n<style>\n{STYLE}{}</style>\n</head>\n<body>\n",
        series_style()
    )?;
    write_header(report, &title, out)?;
    writeln!(out, "<main>")?;
    write_tables(report, out, |kind| kind == Kind::Columns)?;
    write_windows(report, out)?;
    write_distributions(report, samples, out)?;
    write_heat_maps(report, out)?;
    write_tables(report, out, |kind| kind != Kind::Columns)?;
    write!(
        out,
        "</main>\n<footer>Millstream {} · {}</footer>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION"),
        escape(report.schema)
    )
}

/// The colours of the lines, by number.
fn series_style() -> String {
    let rule = |i| {
        format!(
            ".line.s{i}{{stroke:var(--s{i})}}.dot.s{i}{{fill:var(--s{i})}}.legend .s{i}{{background:var(--s{i})}}\n"
        )
    };
    (0..LINES_MAX).map(rule).collect()
}

fn write_header(report: &Report, title: &str, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "<header>\n<h1>{title}</h1>")?;
    writeln!(
        out,
        "<p class=\"meta\">{}, {} · {} · {}</p>\n<dl>",
        escape(&report.backend),
        escape(&report.precision),
        escape(&report.device),
        duration(report.elapsed_seconds)
    )?;
    let groups = report.groups.len() as u64;
    let facts = [
        ("rows", report.rows, true),
        ("filtered", report.filtered_rows, true),
        ("rejected", report.rejected_rows, true),
        ("late", report.late_rows, report.late_rows > 0),
        ("groups", groups, groups != 1),
    ];
    for (name, value, _) in facts.into_iter().filter(|fact| fact.2) {
        writeln!(out, "<div><dt>{name}</dt><dd>{value}</dd></div>")?;
    }
    writeln!(out, "</dl>\n</header>")
}

fn heading(kind: Kind) -> &'static str {
    match kind {
        Kind::Columns => "Columns",
        Kind::Covariance | Kind::Correlation => "Matrices",
        Kind::Differences => "Differences of adjacent rows",
        Kind::Regression => "Regression",
        Kind::Fit => "Fit",
    }
}

/// The tables of the wanted kinds, under one heading a kind.
fn write_tables(report: &Report, out: &mut dyn Write, wanted: impl Fn(Kind) -> bool) -> io::Result<()> {
    for heading_now in [
        "Columns",
        "Regression",
        "Fit",
        "Differences of adjacent rows",
        "Matrices",
    ] {
        let here = |part: &Part| wanted(part.kind) && heading(part.kind) == heading_now;
        let mut begun = false;
        for Block { title, parts } in grid::blocks(report) {
            let parts: Vec<Part> = parts.into_iter().filter(here).collect();
            if parts.is_empty() {
                continue;
            }
            if !std::mem::replace(&mut begun, true) {
                writeln!(out, "<h2>{heading_now}</h2>")?;
            }
            if let Some(title) = title {
                writeln!(out, "<h3>{}</h3>", escape(&title))?;
            }
            for part in &parts {
                write_part(part, out)?;
            }
        }
    }
    Ok(())
}

fn write_part(part: &Part, out: &mut dyn Write) -> io::Result<()> {
    if let Some(caption) = part.caption.as_ref().filter(|_| part.kind != Kind::Differences) {
        writeln!(out, "<p class=\"note\">{}</p>", escape(caption))?;
    }
    let folded = part.grid.rows.len() > ROWS_OPEN_MAX;
    if folded {
        writeln!(
            out,
            "<details><summary>Table of {} rows</summary>",
            part.grid.rows.len()
        )?;
    }
    write_grid(&part.grid, out)?;
    if folded {
        writeln!(out, "</details>")?;
    }
    part.note
        .as_ref()
        .map_or(Ok(()), |note| writeln!(out, "<p class=\"note\">{}</p>", escape(note)))
}

fn write_grid(grid: &Grid, out: &mut dyn Write) -> io::Result<()> {
    let class = |i: usize| if grid.heads[i].numeric { " class=\"n\"" } else { "" };
    writeln!(out, "<div class=\"scroll\"><table>\n<thead><tr>")?;
    for (i, head) in grid.heads.iter().enumerate() {
        write!(
            out,
            "<th{}>{}</th>",
            class(i),
            escape(&shorten(&clean(&head.name), NAME_CELLS_MAX))
        )?;
    }
    writeln!(out, "</tr></thead>\n<tbody>")?;
    for row in &grid.rows {
        write!(out, "<tr>")?;
        for (i, cell) in row.iter().enumerate() {
            let text = cell.shown();
            let short = shorten(&text, NAME_CELLS_MAX);
            if short == text {
                write!(out, "<td{}>{}</td>", class(i), escape(&text))?;
            } else {
                write!(
                    out,
                    "<td{} title=\"{}\">{}</td>",
                    class(i),
                    escape(&text),
                    escape(&short)
                )?;
            }
        }
        writeln!(out, "</tr>")?;
    }
    writeln!(out, "</tbody></table></div>")
}

/// The names of the columns, in order of appearance.
fn column_names(report: &Report) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    let mut known = std::collections::HashSet::new();
    for (name, _) in report.groups.iter().flat_map(|g| g.columns.iter()) {
        if known.insert(name) {
            names.push(name);
        }
    }
    names
}

fn write_windows(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    if !report.groups.iter().any(|g| g.window.is_some()) {
        return Ok(());
    }
    let keys = Keys::of(report);
    writeln!(out, "<h2>Means by window</h2>\n<div class=\"wide\">")?;
    if keys.labels.len() > 1 {
        writeln!(out, "<ul class=\"legend\">")?;
        for (color, key) in keys.drawn.iter().enumerate() {
            writeln!(out, "<li><i class=\"s{color}\"></i>{}</li>", escape(&keys.labels[*key]))?;
        }
        writeln!(out, "</ul>")?;
    }
    write_left_out(&keys, out)?;
    let band = if keys.labels.len() == 1 {
        ", the band is ± one standard deviation"
    } else {
        ""
    };
    let columns = column_names(report);
    write_undrawn(columns.len(), out)?;
    for column in columns.into_iter().take(COLUMNS_DRAWN_MAX) {
        if let Some(chart) = means(report, &keys, column)? {
            let name = escape(column);
            writeln!(
                out,
                "<figure><figcaption><b>{name}</b>: mean{band}</figcaption>\n{chart}</figure>"
            )?;
        }
    }
    writeln!(out, "</div>")
}

/// Says so where not every column is drawn.
fn write_undrawn(columns: usize, out: &mut dyn Write) -> io::Result<()> {
    if columns <= COLUMNS_DRAWN_MAX {
        return Ok(());
    }
    writeln!(
        out,
        "<p class=\"note\">The first {COLUMNS_DRAWN_MAX} of {columns} columns are drawn; the table holds them all.</p>"
    )
}

fn write_left_out(keys: &Keys, out: &mut dyn Write) -> io::Result<()> {
    let count = keys.labels.len() - keys.drawn.len();
    if count == 0 {
        return Ok(());
    }
    let named: Vec<String> = keys.left_out().take(NAMED_MAX).map(escape).collect();
    let more = if count > NAMED_MAX {
        format!("; and {} more", count - NAMED_MAX)
    } else {
        String::new()
    };
    writeln!(
        out,
        "<p class=\"note\">The {LINES_MAX} keys with the most rows are drawn. Left out: {}{more}.</p>",
        named.join("; ")
    )
}

fn write_distributions(report: &Report, samples: &[Sample], out: &mut dyn Write) -> io::Result<()> {
    let mut figures = Vec::new();
    let columns = column_names(report);
    let count = columns.len();
    for column in columns.into_iter().take(COLUMNS_DRAWN_MAX) {
        if let Some(figure) = distribution(report, samples, column)? {
            figures.push(figure);
        }
    }
    if figures.is_empty() {
        return Ok(());
    }
    writeln!(out, "<h2>Distributions</h2>")?;
    write_undrawn(count, out)?;
    writeln!(out, "<div class=\"grid\">")?;
    for (caption, chart) in figures {
        writeln!(
            out,
            "<figure>{chart}<figcaption>{}</figcaption></figure>",
            escape(&caption)
        )?;
    }
    writeln!(out, "</div>")
}

/// A histogram where there is a sample, else boxes where there are no windows: caption and chart.
fn distribution(report: &Report, samples: &[Sample], column: &str) -> io::Result<Option<(String, String)>> {
    if let Some(sample) = samples.iter().find(|s| s.column == column) {
        let mean = match report.groups.as_slice() {
            [group] => group.columns.get(column).and_then(|c| c.mean),
            _ => None,
        };
        let caption = if sample.every > 1 {
            format!(
                "{}: one in {} of {}",
                counted(sample.values.len() as u64, "value"),
                sample.every,
                sample.of
            )
        } else {
            counted(sample.values.len() as u64, "value")
        };
        if let Some(chart) = histogram(column, &sample.values, mean)? {
            return Ok(Some((caption, chart)));
        }
    }
    if report.groups.iter().any(|g| g.window.is_some()) {
        return Ok(None);
    }
    let keys = Keys::of(report);
    let rows: Vec<BoxRow<'_>> = keys
        .drawn
        .iter()
        .filter_map(|&i| {
            let statistics = report.groups.get(keys.first_group(i)?)?.columns.get(column)?;
            let name = keys.labels[i].clone();
            Some(BoxRow { name, statistics })
        })
        .collect();
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    let more = keys.labels.len() - keys.drawn.len();
    let left_out = match more {
        0 => String::new(),
        1 => "; 1 key with fewer rows is left out".to_owned(),
        _ => format!("; {more} keys with fewer rows are left out"),
    };
    let caption = format!("{}; orange: mean{left_out}", first.legend());
    Ok(boxes(column, &rows)?.map(|chart| (caption, chart)))
}

fn write_heat_maps(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let maps: Vec<_> = report
        .groups
        .iter()
        .filter_map(|g| Some((g, g.correlation.as_ref()?)))
        .collect();
    if maps.is_empty() {
        return Ok(());
    }
    writeln!(out, "<h2>Correlations</h2>\n<div class=\"grid map\">")?;
    for (group, matrix) in maps.iter().take(HEAT_MAPS_MAX) {
        let mut caption = group_caption(group, report);
        if matrix.columns.len() > heatmap::COLUMNS_MAX {
            caption.push_str(&format!(
                "; the first {} of {} columns",
                heatmap::COLUMNS_MAX,
                matrix.columns.len()
            ));
        }
        writeln!(
            out,
            "<figure>{}<figcaption>{}</figcaption></figure>",
            correlations(matrix),
            escape(&caption)
        )?;
    }
    writeln!(out, "</div>")?;
    if maps.len() > HEAT_MAPS_MAX {
        writeln!(
            out,
            "<p class=\"note\">The first {HEAT_MAPS_MAX} of {} groups are drawn; the tables hold them all.</p>",
            maps.len()
        )?;
    }
    Ok(())
}

fn group_caption(group: &Group, report: &Report) -> String {
    match (&group.correlation, report.groups.len()) {
        (Some(matrix), 1) => counted(matrix.rows, "complete row"),
        _ => group_title(group),
    }
}

#[cfg(test)]
mod tests;
