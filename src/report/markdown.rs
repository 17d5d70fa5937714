//! Reports as GitHub-flavoured Markdown: the tables of the terminal, all columns, nothing left out.
//!
//! Text from the data cannot leave its cell or become markup: what Markdown or html would interpret is escaped.

use super::Report;
use super::grid::{self, Block, Grid};
use super::text::clean;
use std::io::{self, Write};

/// Writes the report.
///
/// # Errors
/// What `out` says.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", escape(&grid::summary_line(report)))?;
    for Block { title, parts } in grid::blocks(report) {
        if let Some(title) = title {
            writeln!(out, "\n## {}", escape(&title))?;
        }
        for part in &parts {
            if let Some(caption) = &part.caption {
                writeln!(out, "\n### {}", escape(caption))?;
            }
            writeln!(out)?;
            write_grid(&part.grid, out)?;
            if let Some(note) = &part.note {
                writeln!(out, "\n{}", escape(note))?;
            }
        }
    }
    Ok(())
}

fn write_grid(grid: &Grid, out: &mut dyn Write) -> io::Result<()> {
    for head in &grid.heads {
        write!(out, "| {} ", escape(&head.name))?;
    }
    writeln!(out, "|")?;
    for head in &grid.heads {
        write!(out, "| {} ", if head.numeric { "---:" } else { "---" })?;
    }
    writeln!(out, "|")?;
    for row in &grid.rows {
        for cell in row {
            write!(out, "| {} ", escape(&cell.shown()))?;
        }
        writeln!(out, "|")?;
    }
    Ok(())
}

/// `text` as Markdown that shows it literally. `_` and `~` between letters mean nothing to GitHub and stay readable
/// where they do.
fn escape(text: &str) -> String {
    let cleaned = clean(text);
    let mut escaped = String::with_capacity(cleaned.len());
    let mut before = ' ';
    let mut rest = cleaned.chars().peekable();
    while let Some(c) = rest.next() {
        let inside_a_word = before.is_alphanumeric() && rest.peek().is_some_and(|c| c.is_alphanumeric());
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '\\' | '|' | '`' | '*' | '[' | ']' | '#' | '$' => escaped.extend(['\\', c]),
            '_' | '~' if !inside_a_word && (before != ' ' || rest.peek() != Some(&' ')) => escaped.extend(['\\', c]),
            _ => escaped.push(c),
        }
        before = c;
    }
    escaped
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
    fn a_report_with_every_section() {
        let expected = "\
100 rows, 12 filtered, 3 rejected · cpu, exact · 2 threads, avx512 · 4.1 ms

| column | count | missing | mean | std | min | max | q0.5 | q0.99 | variance | skewness | kurtosis | sum |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| temp | 100 | 0 | 12.5 | 0.666667 | 11.1667 | 13.8333 | 12.25 | 14 | 0.444444 | 0 | -1.2 | 1250 |
| wind | 1 | 99 | -3 | – | -3 | -3 | – | – | – | – | – | -3 |

### Covariance of 98 complete rows

|  | temp | wind |
| --- | ---: | ---: |
| temp | 4 | 0.5 |
| wind | 0.5 | 4 |

### Correlation of 98 complete rows

|  | temp | wind |
| --- | ---: | ---: |
| temp | 1 | 0.25 |
| wind | 0.25 | 1 |

### Differences of adjacent rows

| column | count | unordered | mean | std | min | max | variance |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| temp | 99 | 1 | 0.125 | 2 | -7.5 | 1000 | 4 |

### Regression temp ~ wind + twice_wind

| term | estimate | std. error | t value |
| --- | ---: | ---: | ---: |
| intercept | 10 | 0.5 | 20 |
| wind | -0.25 | 0.1 | -2.5 |
| twice_wind | – | – | – |

R² 0.75 · residual std 1.5 · rank 2 of 3 · 98 rows
";
        assert_eq!(text(&example::single()), expected);
    }

    #[test]
    fn names_stay_in_their_cells_and_are_no_markup() {
        for (name, shown) in [
            ("a|b", r"a\|b"),
            (r"back\slash|", r"back\\slash\|"),
            ("two\nlines", r"two\\nlines"),
            ("<script>", "&lt;script&gt;"),
            ("a_b_c", "a_b_c"),
            ("_x_ ~y~", r"\_x\_ \~y\~"),
            ("y ~ x", "y ~ x"),
            ("[l](u) `c` *b*", r"\[l\](u) \`c\` \*b\*"),
        ] {
            assert_eq!(escape(name), shown);
            let mut report = example::keyed_windows();
            example::rename(&mut report.groups[0].columns, 0, name);
            let text = text(&report);
            assert!(text.contains(&format!("| {shown} | 60 |")), "{text}");
        }
    }
}
