//! A matrix of correlations as colours: blue below zero, orange above, the page's background at zero.
//!
//! Blue and orange stay apart for every common kind of colour blindness, and fading into the background serves light
//! and dark pages alike. Each cell carries its value as data, on hover, and in print while there is room for it.

use super::{FINE, Size, escape, svg};
use crate::report::Matrix;
use crate::report::number::{ABSENT, fixed, shortest, shown};
use crate::report::text::{clean, shorten, width};
use std::fmt::Write as _;

/// Columns whose values fit into their cells.
const VALUES_MAX: usize = 16;
/// Columns that are drawn: at more, cells are smaller than a point.
pub(crate) const COLUMNS_MAX: usize = 64;
/// Terminal cells of a name; longer ones are shortened.
const NAME_CHARACTERS: usize = 18;
/// Pixels that the legend takes.
const LEGEND: i32 = 180;
/// Strength of a colour from which white text reads better than the page's own.
const STRONG: f64 = 0.6;

/// The heat map of a correlation matrix; of its first [`COLUMNS_MAX`] columns where it has more.
pub(crate) fn correlations(matrix: &Matrix) -> String {
    let shown_columns = &matrix.columns[..matrix.columns.len().min(COLUMNS_MAX)];
    let d = shown_columns.len();
    let layout = Layout::of(shown_columns);
    let mut body = String::new();
    for (i, (row, values)) in shown_columns.iter().zip(&matrix.matrix).enumerate() {
        for (j, (column, value)) in shown_columns.iter().zip(values).enumerate() {
            push_cell(&mut body, (i, j), layout, d <= VALUES_MAX, (row, column), *value);
        }
        push_names(&mut body, i, layout, row);
    }
    let size = Size {
        // The last name leans over the right edge, and the legend needs its room.
        width: (layout.x(d) + layout.top * 7 / 10).max(layout.left + LEGEND),
        height: layout.y(d) + 44,
    };
    push_legend(&mut body, layout.left, layout.y(d));
    svg(size, &format!("Correlations of {d} columns"), &body)
}

/// Where the cells stand, in pixels.
#[derive(Debug, Clone, Copy)]
struct Layout {
    /// Left of the cells: room for the names beside them.
    left: i32,
    /// Above the cells: room for the slanted names.
    top: i32,
    /// The side of a cell.
    cell: i32,
}

impl Layout {
    fn of(columns: &[String]) -> Self {
        let longest = columns
            .iter()
            .map(|c| width(&clean(c)).min(NAME_CHARACTERS))
            .max()
            .unwrap_or(0);
        let longest = i32::try_from(longest).unwrap_or(0);
        Self {
            left: longest * 15 / 2 + 16,
            top: longest * 11 / 2 + 18,
            cell: match columns.len() {
                0..=8 => 56,
                9..=VALUES_MAX => 44,
                _ => 14,
            },
        }
    }

    fn x(self, column: usize) -> i32 {
        self.left + self.cell * i32::try_from(column).unwrap_or(0)
    }

    fn y(self, row: usize) -> i32 {
        self.top + self.cell * i32::try_from(row).unwrap_or(0)
    }
}

fn push_cell(
    body: &mut String,
    (i, j): (usize, usize),
    layout: Layout,
    text: bool,
    names: (&str, &str),
    value: Option<f64>,
) {
    let (x, y) = (layout.x(j) * FINE, layout.y(i) * FINE);
    let strength = value.map_or(0.0, |v| v.abs().min(1.0));
    let class = match value {
        None => "none",
        Some(v) if v < 0.0 => "neg",
        Some(_) => "pos",
    };
    let side = (layout.cell - 1) * FINE;
    let _ = writeln!(
        body,
        "<rect class=\"cell {class}\" x=\"{x}\" y=\"{y}\" width=\"{side}\" height=\"{side}\" fill-opacity=\"{strength:.3}\" \
         data-row=\"{}\" data-column=\"{}\" data-value=\"{}\"><title>{} × {}: {}</title></rect>",
        escape(names.0),
        escape(names.1),
        value.map_or_else(|| "null".to_owned(), shortest),
        escape(names.0),
        escape(names.1),
        shown(value)
    );
    if text {
        let label = value.map_or_else(|| ABSENT.to_owned(), |v| fixed(v, 2));
        let ink = if strength > STRONG { "value strong" } else { "value" };
        let middle = (layout.cell - 1) * FINE / 2;
        let _ = writeln!(
            body,
            "<text class=\"{ink}\" x=\"{}\" y=\"{}\" dy=\"0.35em\">{label}</text>",
            x + middle,
            y + middle
        );
    }
}

fn push_names(body: &mut String, index: usize, layout: Layout, name: &str) {
    let name = escape(&shorten(&clean(name), NAME_CHARACTERS));
    let half = layout.cell / 2;
    let size = if layout.cell < 20 { "name small" } else { "name" };
    let (x, y) = ((layout.left - 8) * FINE, (layout.y(index) + half) * FINE);
    let _ = writeln!(
        body,
        "<text class=\"{size} end\" x=\"{x}\" y=\"{y}\" dy=\"0.35em\">{name}</text>"
    );
    let (x, y) = ((layout.x(index) + half) * FINE, (layout.top - 8) * FINE);
    let _ = writeln!(
        body,
        "<text class=\"{size}\" x=\"{x}\" y=\"{y}\" transform=\"rotate(-45 {x} {y})\">{name}</text>"
    );
}

/// From −1 to 1 in steps, below the matrix.
fn push_legend(body: &mut String, left: i32, top: i32) {
    for step in -10..=10_i32 {
        let class = if step < 0 { "neg" } else { "pos" };
        let _ = writeln!(
            body,
            "<rect class=\"key {class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill-opacity=\"{:.1}\"/>",
            (left + (step + 10) * 8) * FINE,
            (top + 12) * FINE,
            8 * FINE,
            8 * FINE,
            f64::from(step.abs()) / 10.0
        );
    }
    for (label, step) in [("−1", 0), ("0", 10), ("1", 20)] {
        let x = (left + step * 8 + 4) * FINE;
        let _ = writeln!(
            body,
            "<text class=\"value\" x=\"{x}\" y=\"{}\">{label}</text>",
            (top + 34) * FINE
        );
    }
}
