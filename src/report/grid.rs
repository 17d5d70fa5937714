//! What the reports for people show, decided once: which tables, which columns, in which order.
//!
//! A [`Report`] becomes [`Block`]s of [`Part`]s, each one [`Grid`] with a caption; terminal, markdown and html only
//! draw them. One group is one block. Several groups without matrices become one block of wide tables whose first
//! columns are the key and the window; with matrices, which have no wide form, every group keeps its own block.

use super::number::{self, shortest, shown, shown_beside};
use super::text::{clean, counted};
use super::{ColumnReport, FitReport, Group, KeyValue, Matrix, Named, RegressionReport, Report, WindowBounds};
use crate::summary::Model;
use std::fmt::Write as _;

mod columns;
pub(crate) use columns::window_label;

/// One cell, formatted only when it is drawn: a wide table may have millions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    /// Text from the data, or a label.
    Text(String),
    /// A count.
    Count(u64),
    /// A statistic.
    Number(Option<f64>),
    /// A statistic that says where values lie, and their spread, which tells how many digits matter.
    Place(Option<f64>, Option<f64>),
}

impl Cell {
    /// What is drawn; safe for a terminal.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Text(text) => clean(text),
            Self::Count(n) => n.to_string(),
            Self::Number(x) => shown(*x),
            Self::Place(x, spread) => shown_beside(*x, *spread),
        }
    }
}

/// How much a column matters where room is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// Says what a row is about; repeated wherever the table is split.
    Label,
    /// Always shown.
    Core,
    /// Shown where there is room; greater ranks go first.
    Optional(u8),
}

/// The head of a column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Head {
    /// Its name, as it stands in the data.
    pub(crate) name: String,
    /// What becomes of it where room is short.
    pub(crate) need: Need,
    /// Whether its cells are numbers, aligned on their decimal points.
    pub(crate) numeric: bool,
    /// Whether its cells say nothing when they are shortened: instants.
    pub(crate) whole: bool,
}

impl Head {
    /// Whether its cells still say something when they are shortened.
    pub(crate) fn can_be_shortened(&self) -> bool {
        !self.numeric && !self.whole
    }

    fn label(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            need: Need::Label,
            numeric: false,
            whole: false,
        }
    }

    fn number(name: impl Into<String>, need: Need) -> Self {
        Self {
            name: name.into(),
            need,
            numeric: true,
            whole: true,
        }
    }
}

/// A table: heads and rows of as many cells.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Grid {
    pub(crate) heads: Vec<Head>,
    pub(crate) rows: Vec<Vec<Cell>>,
}

/// What a part of a block is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Statistics of the columns.
    Columns,
    /// A matrix of covariances.
    Covariance,
    /// A matrix of correlations.
    Correlation,
    /// Statistics of the differences.
    Differences,
    /// Coefficients of the fit, or its quality.
    Regression,
    /// Coefficients of a model that was fitted by its loss.
    Fit,
}

/// A table with its caption and a line below it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Part {
    pub(crate) kind: Kind,
    /// Nothing for the statistics of the columns, which need no caption.
    pub(crate) caption: Option<String>,
    pub(crate) grid: Grid,
    pub(crate) note: Option<String>,
}

/// What belongs together: a group, or all of them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Block {
    pub(crate) title: Option<String>,
    pub(crate) parts: Vec<Part>,
}

/// The blocks of a report, in order, made one at a time: many groups share their tables, but each has matrices of its
/// own.
pub(crate) fn blocks(report: &Report) -> Box<dyn Iterator<Item = Block> + '_> {
    if report.groups.len() > 1 {
        let matrices = report.groups.iter().filter_map(|group| {
            let parts: Vec<Part> = matrices(group).collect();
            let title = Some(group_title(group));
            (!parts.is_empty()).then_some(Block { title, parts })
        });
        Box::new(std::iter::once(wide(&report.groups)).chain(matrices))
    } else {
        Box::new(report.groups.iter().map(block))
    }
}

/// The line above everything: rows, backend, device, time.
pub(crate) fn summary_line(report: &Report) -> String {
    let mut line = format!(
        "{}, {} filtered, {} rejected",
        counted(report.rows, "row"),
        report.filtered_rows,
        report.rejected_rows
    );
    if report.late_rows > 0 {
        let _ = write!(line, ", {} late", report.late_rows);
    }
    let _ = write!(
        line,
        " · {}, {} · {}",
        clean(&report.backend),
        clean(&report.precision),
        clean(&report.device),
    );
    // An engine that is fed by hand has no time to tell.
    if report.elapsed_seconds > 0.0 {
        let _ = write!(line, " · {}", number::duration(report.elapsed_seconds));
    }
    line
}

/// The key of a group as `name = value, …`.
pub(crate) fn key_label(key: &Named<KeyValue>) -> String {
    let parts: Vec<String> = key
        .iter()
        .map(|(name, value)| format!("{} = {}", clean(name), clean(&key_text(value))))
        .collect();
    parts.join(", ")
}

/// Key, window and rows of a group.
pub(crate) fn group_title(group: &Group) -> String {
    let mut parts = Vec::new();
    parts.extend(group.key.as_ref().map(key_label));
    parts.extend(group.window.as_ref().map(window_label));
    parts.push(counted(group.rows, "row"));
    parts.join(" · ")
}

fn key_text(value: &KeyValue) -> String {
    match value {
        KeyValue::Null => "null".to_owned(),
        KeyValue::Boolean(b) => b.to_string(),
        KeyValue::Integer(i) => i.to_string(),
        KeyValue::Number(x) => shortest(*x),
        KeyValue::Text(text) => text.clone(),
    }
}

fn block(group: &Group) -> Block {
    let asked = group.key.is_some() || group.window.is_some();
    let mut parts = vec![columns::statistics(
        std::slice::from_ref(group),
        &columns::Labels::none(),
    )];
    parts.extend(matrices(group));
    parts.extend(columns::differences(
        std::slice::from_ref(group),
        &columns::Labels::none(),
    ));
    parts.extend(group.regression.as_deref().map(regression));
    Block {
        title: asked.then(|| group_title(group)),
        parts,
    }
}

fn wide(groups: &[Group]) -> Block {
    let labels = columns::Labels::of(groups);
    let mut parts = vec![columns::statistics(groups, &labels)];
    parts.extend(columns::differences(groups, &labels));
    parts.extend(columns::regressions(groups, &labels));
    Block {
        title: labels.title(groups.len()),
        parts,
    }
}

/// What has no place in a table of many groups.
fn matrices(group: &Group) -> impl Iterator<Item = Part> + '_ {
    let covariance = group.covariance.as_ref().map(|m| matrix(Kind::Covariance, m));
    let correlation = group.correlation.as_ref().map(|m| matrix(Kind::Correlation, m));
    let fit = group.fit.as_deref().map(fit);
    covariance.into_iter().chain(correlation).chain(fit)
}

fn matrix(kind: Kind, matrix: &Matrix) -> Part {
    let name = if kind == Kind::Covariance {
        "Covariance"
    } else {
        "Correlation"
    };
    let heads = std::iter::once(Head::label(""))
        .chain(matrix.columns.iter().map(|c| Head::number(c.clone(), Need::Core)))
        .collect();
    let rows = matrix
        .columns
        .iter()
        .zip(&matrix.matrix)
        .map(|(column, row)| {
            std::iter::once(Cell::Text(column.clone()))
                .chain(row.iter().map(|x| Cell::Number(*x)))
                .collect()
        })
        .collect();
    Part {
        kind,
        caption: Some(format!("{name} of {}", counted(matrix.rows, "complete row"))),
        grid: Grid { heads, rows },
        note: None,
    }
}

/// `target ~ term + …`, as `--regress` takes it.
pub(crate) fn formula(target: &str, terms: &[String]) -> String {
    let (intercept, columns) = match terms.split_first() {
        Some((first, rest)) if first == "intercept" => (true, rest),
        _ => (false, terms),
    };
    let terms: Vec<String> = columns.iter().map(|t| formula_name(t)).collect();
    let terms = if terms.is_empty() {
        "1".to_owned()
    } else {
        terms.join(" + ")
    };
    let without = if intercept { "" } else { " - 1" };
    format!("{} ~ {terms}{without}", formula_name(target))
}

/// A name as formulas want it: in double quotes where it is no plain word.
fn formula_name(name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    if name.starts_with(|c: char| c.is_alphabetic() || c == '_') && name.chars().all(plain) {
        return name.to_owned();
    }
    format!("\"{}\"", clean(&name.replace('"', "\"\"")))
}

fn regression(regression: &RegressionReport) -> Part {
    let heads = std::iter::once(Head::label("term"))
        .chain(columns::COEFFICIENT_HEADS.map(|h| Head::number(h, Need::Core)))
        .collect();
    Part {
        kind: Kind::Regression,
        caption: Some(format!("Regression {}", formula(&regression.target, &regression.terms))),
        grid: Grid {
            heads,
            rows: columns::coefficient_rows(&regression.terms, &regression.coefficients, &regression.standard_errors)
                .collect(),
        },
        note: Some(format!(
            "R² {} · residual std {} · rank {} of {} · {}",
            shown(regression.r_squared),
            shown(regression.residual_std),
            regression.rank,
            regression.terms.len(),
            counted(regression.rows, "row")
        )),
    }
}

fn fit(fit: &FitReport) -> Part {
    let [estimate, error, ratio] = columns::COEFFICIENT_HEADS;
    let ratio = match fit.model {
        Model::Linear => ratio,
        Model::Logistic => "z value",
    };
    let heads = std::iter::once(Head::label("term"))
        .chain([estimate, error, ratio].map(|h| Head::number(h, Need::Core)))
        .collect();
    let name = match fit.model {
        Model::Linear => "Linear",
        Model::Logistic => "Logistic",
    };
    let mut note = match fit.model {
        Model::Linear => format!(
            "R² {} · residual std {} · ",
            shown(fit.r_squared),
            shown(fit.residual_std)
        ),
        Model::Logistic => String::new(),
    };
    let _ = write!(
        note,
        "loss {} · rank {} of {} · {} · {}",
        shown(fit.loss),
        fit.rank,
        fit.terms.len(),
        counted(fit.iterations, "iteration"),
        counted(fit.rows, "row"),
    );
    if fit.ridge > 0.0 {
        let _ = write!(note, " · ridge {}", shown(Some(fit.ridge)));
    }
    if !fit.converged {
        let _ = write!(note, " · not converged: {}", fit.why.as_deref().unwrap_or("unknown"));
    }
    Part {
        kind: Kind::Fit,
        caption: Some(format!("{name} fit {}", formula(&fit.target, &fit.terms))),
        grid: Grid {
            heads,
            rows: columns::coefficient_rows(&fit.terms, &fit.coefficients, &fit.standard_errors).collect(),
        },
        note: Some(note),
    }
}

/// The names of the quantiles that any of these columns has, in order of first appearance.
pub(crate) fn quantile_names<'a>(columns: impl Iterator<Item = &'a ColumnReport>) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for column in columns {
        let Some(quantiles) = &column.quantiles else {
            continue;
        };
        for (name, _) in quantiles.iter() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// The length of a window, where it is one of time.
fn length_ns(window: &WindowBounds) -> Option<i128> {
    match *window {
        WindowBounds::Time { start_ns, end_ns } => Some(i128::from(end_ns) - i128::from(start_ns)),
        WindowBounds::Rows { .. } => None,
    }
}
