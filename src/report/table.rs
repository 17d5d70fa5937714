//! Reports for a terminal: aligned tables, a header line, rules only where there is colour to dim them.
//!
//! Numbers stand with their decimal points in one line. Where the width is known, statistics that matter less give way
//! (sum, kurtosis, skewness, variance), then the table is split, its labels repeated and, where
//! they would leave no room, shortened; without a width (a pipe, a file)
//! everything stands in one table. Every group is printed, however many there are. Nothing from the data reaches the
//! terminal unescaped.

use super::Report;
use super::grid::{self, Block, Cell, Grid, Need, Part};
use super::text::{clean, shorten, width as cells, wrapped};
use std::io::{self, Write};

/// Cells between two columns.
const GAP: usize = 2;
/// A head is not shortened below this, even where its numbers are narrower; nor is a label to leave numbers their
/// share.
const HEAD_MIN: usize = 12;
/// A label is not shortened below this where that is enough.
const LABEL_MIN: usize = 16;
/// Nor below this where there is not even room for one number beside it: so many cells may still tell names apart.
const LABEL_LEAST: usize = 8;
/// One part in so many of the width is for numbers where a table has to be split.
const VALUES_SHARE: usize = 2;

/// What the terminal can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Style {
    /// Its width in cells; nothing where nothing limits it, as in a file: then nothing is left out or shortened.
    pub width: Option<usize>,
    /// Whether it shows bold and dim text.
    pub color: bool,
}

/// Writes the report.
///
/// # Errors
/// What `out` says.
pub fn write(report: &Report, style: Style, out: &mut dyn Write) -> io::Result<()> {
    style.lines(out, &grid::summary_line(report), Style::plain)?;
    for Block { title, parts } in grid::blocks(report) {
        if let Some(title) = title {
            writeln!(out)?;
            style.lines(out, &title, Style::bold)?;
        }
        for part in &parts {
            write_part(part, style, out)?;
        }
    }
    Ok(())
}

impl Style {
    /// Text that is no table: broken at the width.
    fn lines(self, out: &mut dyn Write, text: &str, paint: fn(Self, &str) -> String) -> io::Result<()> {
        let lines = self.width.map_or_else(|| vec![text.to_owned()], |w| wrapped(text, w));
        lines.iter().try_for_each(|line| writeln!(out, "{}", paint(self, line)))
    }

    fn plain(self, text: &str) -> String {
        text.to_owned()
    }

    fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.color {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

fn write_part(part: &Part, style: Style, out: &mut dyn Write) -> io::Result<()> {
    if let Some(caption) = &part.caption {
        writeln!(out)?;
        style.lines(out, &clean(caption), Style::bold)?;
    } else {
        writeln!(out)?;
    }
    let mut layout: Vec<Column> = (0..part.grid.heads.len())
        .map(|i| Column::measure(&part.grid, i))
        .collect();
    if let Some(width) = style.width {
        fit(&part.grid, &mut layout, width);
    }
    for (i, chosen) in split(&part.grid, &layout, style.width).iter().enumerate() {
        if i > 0 {
            writeln!(out)?;
        }
        write_table(&part.grid, &layout, chosen, style, out)?;
    }
    part.note
        .as_ref()
        .map_or(Ok(()), |note| style.lines(out, note, Style::dim))
}

/// How wide a column is, and where its decimal point stands.
#[derive(Debug)]
struct Column {
    head: String,
    /// Cells before the decimal point, or of the text.
    before: usize,
    /// Cells from the decimal point on.
    behind: usize,
    /// Cells that a label may take.
    most: usize,
}

impl Column {
    fn measure(grid: &Grid, index: usize) -> Self {
        let head = &grid.heads[index];
        let (mut before, mut behind) = (0, 0);
        for row in &grid.rows {
            let (left, right) = extent(&row[index], head.numeric);
            before = before.max(left);
            behind = behind.max(right);
        }
        Self {
            head: clean(&head.name),
            before,
            behind,
            most: usize::MAX,
        }
    }

    /// Shortens a label to so many cells.
    fn narrow(&mut self, most: usize) {
        self.most = most;
        self.before = self.before.min(most);
        self.head = shorten(&self.head, most);
    }

    fn width(&self) -> usize {
        cells(&self.head).max(self.before + self.behind)
    }
}

/// Shortens names where not everything fits beside each other: heads to their numbers, labels to a third of the width;
/// and where not even the columns that stay fit, the widest labels until they do or leave the numbers their share.
fn fit(grid: &Grid, layout: &mut [Column], width: usize) {
    let all: Vec<usize> = (0..layout.len()).collect();
    if total(layout, &all) <= width {
        return;
    }
    for (head, column) in grid.heads.iter().zip(&mut *layout) {
        if head.need != Need::Label {
            let room = (column.before + column.behind).max(HEAD_MIN);
            column.head = shorten(&column.head, room);
        } else if head.can_be_shortened() {
            column.narrow((width / 3).max(LABEL_MIN));
        }
    }
    let core = |i: &usize| !matches!(grid.heads[*i].need, Need::Optional(_));
    let kept: Vec<usize> = all.into_iter().filter(core).collect();
    if total(layout, &kept) <= width {
        return;
    }
    let (labels, values): (Vec<usize>, Vec<usize>) = kept.iter().partition(|&&i| grid.heads[i].need == Need::Label);
    let value = values.iter().map(|&i| layout[i].width()).max().unwrap_or(0);
    loop {
        let taken = total(layout, &labels);
        let least = if taken + GAP + value > width {
            LABEL_LEAST
        } else if total(layout, &kept) > width && taken > width - width / VALUES_SHARE {
            HEAD_MIN
        } else {
            return;
        };
        let widest = labels.iter().copied().filter(|&i| grid.heads[i].can_be_shortened());
        match widest.max_by_key(|&i| layout[i].width()) {
            Some(i) if layout[i].width() > least => {
                let less = layout[i].width() - 1;
                layout[i].narrow(less);
            }
            _ => return,
        }
    }
}

/// Cells of these columns beside each other.
fn total(layout: &[Column], columns: &[usize]) -> usize {
    let widths = columns.iter().map(|&i| layout[i].width() + GAP);
    widths.sum::<usize>().saturating_sub(GAP)
}

/// Cells before the decimal point and from it on.
fn extent(cell: &Cell, numeric: bool) -> (usize, usize) {
    let text = cell.shown();
    let point = if numeric { decimal_point(&text) } else { text.len() };
    (cells(&text[..point]), cells(&text[point..]))
}

/// Where the digits before the decimal point end.
fn decimal_point(text: &str) -> usize {
    text.find('.').or_else(|| exponent(text)).unwrap_or(text.len())
}

/// Where the exponent of a number without a decimal point begins (`1e300`).
fn exponent(text: &str) -> Option<usize> {
    let at = text.find('e')?;
    text[..at].ends_with(|c: char| c.is_ascii_digit()).then_some(at)
}

/// Which columns stand in which table: optional ones go until one table is enough, else the rest is split.
fn split(grid: &Grid, layout: &[Column], width: Option<usize>) -> Vec<Vec<usize>> {
    let mut kept: Vec<usize> = (0..grid.heads.len()).collect();
    let Some(width) = width else {
        return vec![kept];
    };
    let total = |columns: &[usize]| total(layout, columns);
    while total(&kept) > width {
        let last = kept.iter().copied().max_by_key(|&i| grid.heads[i].need);
        match last.map(|i| (i, grid.heads[i].need)) {
            Some((i, Need::Optional(_))) => kept.retain(|&k| k != i),
            _ => break,
        }
    }
    let (labels, values): (Vec<usize>, Vec<usize>) = kept.iter().partition(|&&i| grid.heads[i].need == Need::Label);
    if total(&kept) <= width || values.is_empty() {
        return vec![kept];
    }
    let mut tables: Vec<Vec<usize>> = Vec::new();
    for value in values {
        match tables.last_mut() {
            Some(table) if total(table) + GAP + layout[value].width() <= width => table.push(value),
            _ => tables.push(labels.iter().copied().chain([value]).collect()),
        }
    }
    tables
}

fn write_table(grid: &Grid, layout: &[Column], chosen: &[usize], style: Style, out: &mut dyn Write) -> io::Result<()> {
    let mut line = String::new();
    for &i in chosen {
        let column = &layout[i];
        let padding = column.width() - cells(&column.head);
        let (before, behind) = if grid.heads[i].numeric {
            (padding, 0)
        } else {
            (0, padding)
        };
        push(&mut line, before, &column.head, behind);
    }
    writeln!(out, "{}", style.bold(line.trim_end()))?;
    let rule: Vec<String> = chosen.iter().map(|&i| "─".repeat(layout[i].width())).collect();
    writeln!(out, "{}", style.dim(&rule.join(&" ".repeat(GAP))))?;
    for row in &grid.rows {
        line.clear();
        for &i in chosen {
            let column = &layout[i];
            let text = row[i].shown();
            if grid.heads[i].numeric {
                let (before, behind) = extent(&row[i], true);
                let left = column.width() - column.behind - before;
                push(&mut line, left, &text, column.behind - behind);
            } else {
                let text = shorten(&text, column.most);
                push(&mut line, 0, &text, column.width() - cells(&text));
            }
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn push(line: &mut String, before: usize, text: &str, behind: usize) {
    let gap = if line.is_empty() { 0 } else { GAP };
    line.extend(std::iter::repeat_n(' ', gap + before));
    line.push_str(text);
    line.extend(std::iter::repeat_n(' ', behind));
}

#[cfg(test)]
mod tests;
