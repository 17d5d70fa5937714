//! Which columns are made of which, under which names and in which order.

use super::{Rolling, Span, Transforms};
use crate::backend::cpu::rolling::{Of, OfPair, Windows};
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::spec::{places, unknown_column};
use std::collections::HashSet;

/// What is made of the columns of a batch. The made columns come column by column: difference, gradient, the statistics
/// of each span, exponentially weighted ones, the z-score; then those of pairs, span by span.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// The names of the batch's columns, and the places of those that are asked for.
    pub(super) names: Vec<String>,
    pub(super) places: Vec<usize>,
    pub(super) timed: bool,
    /// The columns that are made.
    pub(super) made: Vec<String>,
    pub(super) rolling: Vec<Rolls>,
    /// Two places each, of the columns that are asked for.
    pub(super) pairs: Vec<[usize; 2]>,
}

/// The statistics of one span.
#[derive(Debug, Clone)]
pub(super) struct Rolls {
    pub(super) windows: Windows,
    /// The length of windows of time.
    pub(super) span_ns: Option<i64>,
    pub(super) single: Vec<Of>,
    pub(super) paired: Vec<OfPair>,
}

impl Layout {
    pub(super) fn new(asked: &Transforms, batch: &Batch) -> Result<Self> {
        let names = batch.names();
        let by_name = places(names);
        let place = |name: &String| {
            by_name
                .get(name.as_str())
                .copied()
                .ok_or_else(|| unknown_column(name, names))
        };
        let chosen: Vec<usize> = match &asked.columns {
            Some(columns) => columns.iter().map(place).collect::<Result<_>>()?,
            None => (0..names.len()).collect(),
        };
        let timed = batch.time_ns().is_some();
        if asked.needs_time() && !timed {
            return Err(Error::Usage(
                "a span of time needs the event time of the rows, and there is none".into(),
            ));
        }
        let keys: Vec<&String> = batch.keys().iter().map(|key| &key.0).collect();
        if !asked.keys.is_empty() && asked.keys.iter().ne(keys.iter().copied()) {
            return Err(Error::Usage(format!(
                "the keys are to be {}, and the batch has {}",
                asked.keys.join(", "),
                if keys.is_empty() {
                    "none".into()
                } else {
                    keys.iter().map(|k| k.as_str()).collect::<Vec<_>>().join(", ")
                }
            )));
        }
        let rolling: Vec<Rolls> = asked
            .rolling
            .iter()
            .map(|windowed| Rolls::new(windowed, asked.ddof))
            .collect();
        let wants_pairs = rolling.iter().any(|rolls| !rolls.paired.is_empty());
        let pairs = match wants_pairs {
            true => pairs(chosen.len()),
            false => Vec::new(),
        };
        if wants_pairs && pairs.is_empty() {
            return Err(Error::Usage(
                "a covariance or correlation is of two columns, and there are fewer".into(),
            ));
        }
        let mut layout = Self {
            names: names.to_vec(),
            places: chosen,
            timed,
            made: Vec::new(),
            rolling,
            pairs,
        };
        layout.made = layout.made_names(asked);
        let mut taken: HashSet<&str> = names.iter().map(String::as_str).collect();
        taken.extend(keys.iter().map(|key| key.as_str()));
        if let Some(name) = layout.made.iter().find(|name| !taken.insert(name.as_str())) {
            return Err(taken_name(name));
        }
        Ok(layout)
    }

    fn made_names(&self, asked: &Transforms) -> Vec<String> {
        let mut made = Vec::new();
        let name = |i: usize| &self.names[self.places[i]];
        for i in 0..self.places.len() {
            let x = name(i);
            if asked.differences {
                made.push(format!("{x}_difference"));
            }
            if asked.gradient.is_some() {
                made.push(format!("{x}_gradient"));
            }
            for windowed in &asked.rolling {
                let single = distinct(&windowed.statistics).filter(|s| !s.is_of_pairs());
                made.extend(single.map(|s| format!("{x}_{}_{}", s.name(), windowed.span)));
            }
            if let Some((_, statistics)) = &asked.ewm {
                made.extend(statistics.iter().map(|s| format!("{x}_ewm_{}", s.name())));
            }
            if asked.zscores {
                made.push(format!("{x}_zscore"));
            }
        }
        for windowed in &asked.rolling {
            for [i, j] in &self.pairs {
                let paired = distinct(&windowed.statistics).filter(|s| s.is_of_pairs());
                let (x, y) = (name(*i), name(*j));
                made.extend(paired.map(|s| format!("{x}_{y}_{}_{}", s.name(), windowed.span)));
            }
        }
        made
    }
}

/// The error for a made column whose name there is already.
pub(crate) fn taken_name(name: &str) -> Error {
    Error::Usage(format!(
        "there is a column `{name}` already: rename it, as one of the columns made has that name"
    ))
}

fn pairs(columns: usize) -> Vec<[usize; 2]> {
    (0..columns)
        .flat_map(|i| (i + 1..columns).map(move |j| [i, j]))
        .collect()
}

/// Each once, in the order in which they come first.
fn distinct(statistics: &[Rolling]) -> impl Iterator<Item = Rolling> {
    let first = |(i, s): (usize, &Rolling)| (!statistics[..i].contains(s)).then_some(*s);
    statistics.iter().enumerate().filter_map(first)
}

impl Rolls {
    fn new(windowed: &super::Windowed, ddof: u32) -> Self {
        let (rows, span_ns) = match windowed.span {
            Span::Rows(rows) => (Some(rows), None),
            Span::Time(ns) => (None, Some(ns)),
        };
        let single = |s: Rolling| match s {
            Rolling::Mean => Some(Of::Mean),
            Rolling::Variance => Some(Of::Variance),
            Rolling::Std => Some(Of::Std),
            Rolling::ZScore => Some(Of::ZScore),
            Rolling::Min => Some(Of::Min),
            Rolling::Max => Some(Of::Max),
            Rolling::Covariance | Rolling::Correlation => None,
        };
        let paired = |s: Rolling| match s {
            Rolling::Covariance => Some(OfPair::Covariance),
            Rolling::Correlation => Some(OfPair::Correlation),
            _ => None,
        };
        Self {
            windows: Windows {
                rows,
                min_rows: windowed.min_rows.or(rows).unwrap_or(1) as u32,
                ddof,
            },
            span_ns,
            single: distinct(&windowed.statistics).filter_map(single).collect(),
            paired: distinct(&windowed.statistics).filter_map(paired).collect(),
        }
    }
}
