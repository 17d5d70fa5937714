//! Windows from panes: disjoint pieces of time (or rows) whose summaries merge.
//!
//! A window is a run of panes. Sliding windows group panes in runs of size / pane, aligned at absolute pane numbers; a
//! window is the suffix of one run and the prefix of the next. Panes come in their order: each is merged into the prefix
//! of its run, and once a run is over its panes become suffixes. So a slide costs at most three merges amortised, nothing
//! is ever subtracted, and the association of the merges depends on pane numbers alone, not on when panes came.

pub(crate) mod watermark;

use crate::spec::Window;
use crate::summary::{Merge, Summary};
use serde::{Deserialize, Serialize};

/// Windows in panes: window k holds the panes k · step … k · step + run − 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Panes {
    /// Panes of a window.
    pub(crate) run: i64,
    /// Panes from one window to the next.
    pub(crate) step: i64,
    /// The number of the first window there can be.
    first: i64,
}

impl Panes {
    /// Everything in one pane where there is no window.
    pub(crate) fn of(window: Option<Window>) -> Self {
        let Some(window) = window else {
            return Self {
                run: 1,
                step: 1,
                first: 0,
            };
        };
        let (size, slide) = window.size_slide();
        Self {
            run: size / window.pane(),
            step: slide / window.pane(),
            first: match window {
                Window::Rows { .. } => 0,
                Window::Time { .. } => i64::MIN,
            },
        }
    }

    /// Whether a pane is a window.
    pub(crate) fn are_windows(self) -> bool {
        self.run == 1
    }

    /// The first window that holds a pane.
    pub(crate) fn first_window(self, pane: i64) -> i64 {
        let earliest = i128::from(pane) - i128::from(self.run - 1);
        let step = i128::from(self.step);
        let low = earliest.div_euclid(step) + i128::from(earliest.rem_euclid(step) != 0);
        // The first instants are held by windows whose numbers do not exist.
        i64::try_from(low).unwrap_or(i64::MIN).max(self.first)
    }

    /// The first pane of a window and the last.
    pub(crate) fn span(self, window: i64) -> (i128, i128) {
        let start = i128::from(window) * i128::from(self.step);
        (start, start + i128::from(self.run) - 1)
    }
}

/// The closed panes of one key, as far as windows that are still open hold them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Sliding {
    /// The run of the newest pane.
    run: i64,
    /// Its panes so far, in order.
    panes: Vec<(i64, Summary)>,
    /// All of them merged, from the first on.
    prefix: Summary,
    /// Of the run before: each pane with all behind it.
    suffixes: Vec<(i64, Summary)>,
    /// Windows below this number are closed for the key.
    pub(crate) next: i64,
}

impl Sliding {
    /// A key that has no pane yet.
    pub(crate) fn new() -> Self {
        Self {
            run: i64::MIN,
            next: i64::MIN,
            ..Self::default()
        }
    }

    /// Takes the next pane; how many merges that cost.
    pub(crate) fn push(&mut self, panes: Panes, pane: i64, summary: Summary) -> u64 {
        let run = pane.div_euclid(panes.run);
        let mut merges = 1;
        if run != self.run {
            merges += self.turn_to(run);
        }
        self.prefix.merge(&summary);
        self.panes.push((pane, summary));
        merges
    }

    /// Ends the run: its panes become suffixes, if the next run follows it.
    fn turn_to(&mut self, run: i64) -> u64 {
        let mut suffixes = std::mem::take(&mut self.panes);
        if self.run.checked_add(1) != Some(run) {
            suffixes.clear();
        }
        for i in (1..suffixes.len()).rev() {
            let (head, tail) = suffixes.split_at_mut(i);
            head[i - 1].1.merge(&tail[0].1);
        }
        let merges = suffixes.len().saturating_sub(1) as u64;
        self.suffixes = suffixes;
        self.prefix = Summary::default();
        self.run = run;
        merges
    }

    /// What the panes of a window come to, and how many merges that cost; `None` where there is none. All panes of the
    /// window are to be there, and no later one. Windows are asked for in order.
    pub(crate) fn window(&mut self, panes: Panes, window: i64) -> (Option<Summary>, u64) {
        let (start, end) = panes.span(window);
        let length = i128::from(panes.run);
        let first_run = start.div_euclid(length);
        let mut merges = 0;
        if i128::from(self.run) == first_run {
            // The window ends with this run, or in the next, which has no pane: this one is over.
            merges += self.turn_to(self.run.saturating_add(1));
        }
        let mut summary = None;
        if i128::from(self.run) == first_run + 1 {
            let at = self.suffixes.partition_point(|(pane, _)| i128::from(*pane) < start);
            summary = self.suffixes.get(at).map(|(_, suffix)| suffix.clone());
            let of_next = self.panes.first().is_some_and(|(pane, _)| i128::from(*pane) <= end);
            if of_next {
                summary.get_or_insert_default().merge(&self.prefix);
                merges += 1;
            }
        }
        (summary, merges)
    }

    /// Whether no window from this number on holds any of its panes.
    pub(crate) fn is_spent(&self, panes: Panes, window: i64) -> bool {
        let (start, _) = panes.span(window);
        let newest = self.panes.last().or(self.suffixes.last());
        newest.is_none_or(|(pane, _)| i128::from(*pane) < start)
    }

    /// The first window that may hold one of its panes and is not closed.
    pub(crate) fn first_window(&self, panes: Panes) -> Option<i64> {
        let (oldest, _) = self.suffixes.first().or(self.panes.first())?;
        Some(panes.first_window(*oldest).max(self.next))
    }

    /// Whether panes and suffixes are in order, each of its run.
    pub(crate) fn is_sound(&self, panes: Panes) -> bool {
        let sound = |list: &[(i64, Summary)], run: Option<i64>| {
            let numbers = || list.iter().map(|(pane, _)| *pane);
            numbers().is_sorted_by(|a, b| a < b) && numbers().all(|pane| Some(pane.div_euclid(panes.run)) == run)
        };
        sound(&self.panes, Some(self.run)) && sound(&self.suffixes, self.run.checked_sub(1))
    }

    /// Summaries of panes, and from panes to the ends of their runs.
    pub(crate) fn summaries(&self) -> impl Iterator<Item = &Summary> {
        let all = self.panes.iter().chain(&self.suffixes).map(|(_, summary)| summary);
        all.chain((!self.panes.is_empty()).then_some(&self.prefix))
    }

    /// Summaries that it holds.
    pub(crate) fn len(&self) -> usize {
        self.panes.len() + self.suffixes.len() + 1
    }
}

#[cfg(test)]
mod tests;
