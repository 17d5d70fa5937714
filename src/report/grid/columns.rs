//! The tables with one row a column (or term) and one column a statistic, for one group or for many.
//!
//! For many groups every row begins with its labels: the key's values and the window. Where all windows are equally
//! long their end is optional, and the title names the length.

use super::{Cell, Grid, Head, Kind, Need, Part, length_ns, quantile_names};
use crate::report::text::counted;
use crate::report::{ColumnReport, DifferenceReport, Group, KeyValue, RegressionReport, WindowBounds};
use std::collections::HashMap;

/// The coefficient table's heads behind `term`.
pub(super) const COEFFICIENT_HEADS: [&str; 3] = ["estimate", "std. error", "t value"];

/// Units of a window's length, longest first, in nanoseconds.
const LENGTH_UNITS_NS: [(&str, i128); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("min", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("µs", 1_000),
    ("ns", 1),
];

const DAY_NS: i64 = 86_400_000_000_000;

/// `start – end` of a window.
pub(crate) fn window_label(window: &WindowBounds) -> String {
    let (start, end) = bound_labels(window);
    match window {
        WindowBounds::Time { .. } => format!("{start} – {end}"),
        WindowBounds::Rows { .. } => format!("rows {start} – {end}"),
    }
}

/// Start and end; dates alone where both are midnights.
fn bound_labels(window: &WindowBounds) -> (String, String) {
    let (mut start, mut end) = window.labels();
    if let WindowBounds::Time { start_ns, end_ns } = window
        && start_ns % DAY_NS == 0
        && end_ns % DAY_NS == 0
    {
        for label in [&mut start, &mut end] {
            if let Some(date) = label.find('T') {
                label.truncate(date);
            }
        }
    }
    (start, end)
}

/// The columns that say which group a row belongs to.
#[derive(Debug)]
pub(super) struct Labels {
    keys: Vec<(String, bool)>,
    windows: bool,
    /// The length of the windows where all have the same.
    length: Option<String>,
    /// Whether every boundary is a midnight.
    dates: bool,
}

impl Labels {
    /// Of a single group: none.
    pub(super) fn none() -> Self {
        Self {
            keys: Vec::new(),
            windows: false,
            length: None,
            dates: false,
        }
    }

    pub(super) fn of(groups: &[Group]) -> Self {
        let names = groups.iter().find_map(|g| g.key.as_ref());
        let keys = names.map_or_else(Vec::new, |key| {
            key.iter()
                .map(|(name, _)| (name.to_owned(), numeric_key(groups, name)))
                .collect()
        });
        let windows: Vec<&WindowBounds> = groups.iter().filter_map(|g| g.window.as_ref()).collect();
        let midnight = |w: &&WindowBounds| matches!(w, WindowBounds::Time { start_ns, end_ns } if start_ns % DAY_NS == 0 && end_ns % DAY_NS == 0);
        Self {
            keys,
            length: uniform_length(&windows),
            dates: windows.iter().all(midnight),
            windows: !windows.is_empty(),
        }
    }

    /// What the block of all groups is called.
    pub(super) fn title(&self, groups: usize) -> Option<String> {
        let windows = self.length.as_ref().map(|length| format!(", windows of {length}"));
        let groups = counted(groups as u64, "group");
        Some(format!("{groups}{}", windows.unwrap_or_default()))
    }

    fn heads(&self) -> Vec<Head> {
        let mut heads: Vec<Head> = Vec::new();
        if self.windows {
            let instant = |name: &str| Head {
                whole: true,
                ..Head::label(name)
            };
            let mut end = instant("window_end");
            if self.length.is_some() {
                end.need = Need::Optional(9);
            }
            heads.extend([instant("window_start"), end]);
        }
        heads.extend(self.keys.iter().map(|(name, numeric)| Head {
            numeric: *numeric,
            ..Head::label(name.clone())
        }));
        heads
    }

    fn cells(&self, group: &Group) -> Vec<Cell> {
        let mut cells = Vec::new();
        if self.windows {
            let (start, end) = match &group.window {
                Some(window) if self.dates => bound_labels(window),
                Some(window) => window.labels(),
                None => Default::default(),
            };
            cells.extend([Cell::Text(start), Cell::Text(end)]);
        }
        cells.extend(self.keys.iter().map(|(name, _)| {
            let value = group.key.as_ref().and_then(|key| key.get(name));
            Cell::Text(value.map_or_else(String::new, super::key_text))
        }));
        cells
    }
}

fn numeric_key(groups: &[Group], name: &str) -> bool {
    groups
        .iter()
        .filter_map(|g| g.key.as_ref()?.get(name))
        .all(|v| matches!(v, KeyValue::Integer(_) | KeyValue::Number(_)))
}

fn uniform_length(windows: &[&WindowBounds]) -> Option<String> {
    if let WindowBounds::Rows { start, end } = windows.first()? {
        let rows = end.checked_sub(*start)?;
        let alike =
            |w: &&WindowBounds| matches!(w, WindowBounds::Rows { start, end } if end.checked_sub(*start) == Some(rows));
        return windows.iter().all(alike).then(|| counted(rows, "row"));
    }
    let length = length_ns(windows.first()?)?;
    if length <= 0 || windows.iter().any(|w| length_ns(w) != Some(length)) {
        return None;
    }
    let (unit, size) = LENGTH_UNITS_NS.into_iter().find(|(_, size)| length % size == 0)?;
    Some(format!("{} {unit}", length / size))
}

/// The statistics of the columns of all these groups.
pub(super) fn statistics(groups: &[Group], labels: &Labels) -> Part {
    let columns = || groups.iter().flat_map(|g| g.columns.iter().map(|(_, c)| c));
    let quantiles = quantile_names(columns());
    let missing = if columns().any(|c| c.missing > 0) {
        Need::Core
    } else {
        Need::Optional(0)
    };
    let mut heads = labels.heads();
    heads.push(Head::label("column"));
    heads.extend([("count", Need::Core), ("missing", missing)].map(|(n, need)| Head::number(n, need)));
    heads.extend(["mean", "std", "min", "max"].map(|n| Head::number(n, Need::Core)));
    heads.extend(quantiles.iter().map(|q| Head::number(format!("q{q}"), Need::Core)));
    heads.extend(
        ["variance", "skewness", "kurtosis", "sum"]
            .into_iter()
            .zip(1..)
            .map(|(n, rank)| Head::number(n, Need::Optional(rank))),
    );
    let all = groups.iter().flat_map(|g| g.columns.iter());
    let spreads = &Spreads::of(all, |c| [c.min, c.max, c.std]);
    let rows = groups
        .iter()
        .flat_map(|group| group.columns.iter().map(move |(name, column)| (group, name, column)))
        .map(|(group, name, column)| {
            let mut cells = labels.cells(group);
            cells.push(Cell::Text(name.to_owned()));
            cells.extend(column_cells(column, &quantiles, spreads.spread(name, column.std)));
            cells
        })
        .collect();
    Part {
        kind: Kind::Columns,
        caption: None,
        grid: Grid { heads, rows },
        note: None,
    }
}

fn column_cells(column: &ColumnReport, quantiles: &[&str], spread: Option<f64>) -> Vec<Cell> {
    let mut cells = vec![Cell::Count(column.count), Cell::Count(column.missing)];
    let place = |x| Cell::Place(x, spread);
    cells.extend([
        place(column.mean),
        Cell::Number(column.std),
        place(column.min),
        place(column.max),
    ]);
    cells.extend(quantiles.iter().map(|q| {
        let value = column.quantiles.as_ref().and_then(|known| known.get(q).copied());
        place(value.flatten())
    }));
    cells.extend([column.variance, column.skewness, column.kurtosis, column.sum].map(Cell::Number));
    cells
}

/// The statistics of the differences, where any group has them.
pub(super) fn differences(groups: &[Group], labels: &Labels) -> Option<Part> {
    let all = groups
        .iter()
        .filter_map(|g| g.differences.as_ref())
        .flat_map(|d| d.iter());
    let spreads = &Spreads::of(all, |d| [d.min, d.max, d.std]);
    let rows: Vec<Vec<Cell>> = groups
        .iter()
        .filter_map(|group| Some((group, group.differences.as_ref()?)))
        .flat_map(|(group, differences)| differences.iter().map(move |(name, d)| (group, name, d)))
        .map(|(group, name, difference)| {
            let mut cells = labels.cells(group);
            cells.push(Cell::Text(name.to_owned()));
            cells.extend(difference_cells(difference, spreads.spread(name, difference.std)));
            cells
        })
        .collect();
    if !groups.iter().any(|g| g.differences.is_some()) {
        return None;
    }
    let mut heads = labels.heads();
    heads.push(Head::label("column"));
    heads.extend(["count", "unordered", "mean", "std", "min", "max"].map(|n| Head::number(n, Need::Core)));
    heads.push(Head::number("variance", Need::Optional(1)));
    Some(Part {
        kind: Kind::Differences,
        caption: Some("Differences of adjacent rows".to_owned()),
        grid: Grid { heads, rows },
        note: None,
    })
}

fn difference_cells(d: &DifferenceReport, spread: Option<f64>) -> Vec<Cell> {
    let place = |x| Cell::Place(x, spread);
    vec![
        Cell::Count(d.count),
        Cell::Count(d.unordered),
        place(d.mean),
        Cell::Number(d.std),
        place(d.min),
        place(d.max),
        Cell::Number(d.variance),
    ]
}

/// How the values of each column vary, over all groups: what decides how many digits of a mean are shown.
struct Spreads<'a>(HashMap<&'a str, Spread>);

#[derive(Debug, Clone, Copy)]
struct Spread {
    low: f64,
    high: f64,
    /// The least standard deviation of a group that is not 0.
    std: Option<f64>,
}

/// Groups whose standard deviations are within this factor are shown with the same number of decimals.
const ALIKE: f64 = 100.0;

impl<'a> Spreads<'a> {
    /// Of columns with their minimum, maximum and standard deviation.
    fn of<T: 'a>(columns: impl Iterator<Item = (&'a str, &'a T)>, facts: impl Fn(&T) -> [Option<f64>; 3]) -> Self {
        let mut spreads: HashMap<&str, Spread> = HashMap::new();
        for (name, column) in columns {
            let [Some(low), Some(high), std] = facts(column) else {
                continue;
            };
            let spread = spreads.entry(name).or_insert(Spread { low, high, std: None });
            spread.low = spread.low.min(low);
            spread.high = spread.high.max(high);
            let least = spread.std.into_iter().chain(std.filter(|std| *std > 0.0));
            spread.std = least.reduce(f64::min);
        }
        Self(spreads)
    }

    /// The spread of a group of this standard deviation: that of the calmest group if this one is like it, else its
    /// own; where no group has any, how far the column's values lie apart.
    fn spread(&self, column: &str, std: Option<f64>) -> Option<f64> {
        let all = self.0.get(column)?;
        let Some(least) = all.std else {
            return Some(all.high - all.low);
        };
        Some(std.filter(|std| *std > ALIKE * least).unwrap_or(least))
    }
}

/// One row a term: name, estimate, standard error, t value.
pub(super) fn coefficient_rows<'a>(
    terms: &'a [String],
    coefficients: &'a [Option<f64>],
    standard_errors: &'a [Option<f64>],
) -> impl Iterator<Item = Vec<Cell>> + 'a {
    terms.iter().enumerate().map(|(i, term)| {
        let estimate = coefficients.get(i).copied().flatten();
        let error = standard_errors.get(i).copied().flatten();
        vec![
            Cell::Text(term.clone()),
            Cell::Number(estimate),
            Cell::Number(error),
            Cell::Number(t_value(estimate, error)),
        ]
    })
}

/// Estimate over its standard error; a fit without residuals has none.
fn t_value(estimate: Option<f64>, error: Option<f64>) -> Option<f64> {
    let error = error.filter(|e| *e > 0.0)?;
    Some(estimate? / error)
}

/// The fits of many groups: their quality, then their coefficients.
pub(super) fn regressions(groups: &[Group], labels: &Labels) -> Vec<Part> {
    let fits: Vec<(&Group, &RegressionReport)> = groups
        .iter()
        .filter_map(|g| Some((g, g.regression.as_deref()?)))
        .collect();
    let Some((_, first)) = fits.first() else {
        return Vec::new();
    };
    let caption = format!("Regression {}", super::formula(&first.target, &first.terms));
    let mut quality = labels.heads();
    quality.extend(["R²", "residual std", "rank", "rows"].map(|n| Head::number(n, Need::Core)));
    let quality_rows = fits.iter().map(|(group, fit)| {
        let mut cells = labels.cells(group);
        cells.extend([fit.r_squared, fit.residual_std].map(Cell::Number));
        cells.extend([fit.rank as u64, fit.rows].map(Cell::Count));
        cells
    });
    let mut heads = labels.heads();
    heads.push(Head::label("term"));
    heads.extend(COEFFICIENT_HEADS.map(|h| Head::number(h, Need::Core)));
    let rows = fits.iter().flat_map(|(group, fit)| {
        coefficient_rows(&fit.terms, &fit.coefficients, &fit.standard_errors)
            .map(|row| labels.cells(group).into_iter().chain(row).collect())
    });
    let part = |caption, heads, rows| Part {
        kind: Kind::Regression,
        caption: Some(caption),
        grid: Grid { heads, rows },
        note: None,
    };
    vec![
        part(caption.clone(), heads, rows.collect()),
        part(
            format!("{caption}: quality of the fits"),
            quality,
            quality_rows.collect(),
        ),
    ]
}
