//! Windows from panes: disjoint pieces of time (or rows) whose summaries merge.
//!
//! A window is a run of panes. Sliding windows group panes in runs of size / pane, aligned at absolute pane numbers; a
//! window is the suffix of one run and the prefix of the next. Suffixes and prefixes are built once a run, so a slide
//! costs O(1) merges amortised, nothing is ever subtracted, and the association of the merges depends on pane numbers
//! alone.

use crate::spec::Window;
use crate::summary::{Merge, Summary};
use std::ops::RangeInclusive;

/// The windows over these panes (numbers rising), with their numbers, in order; windows without any pane are left out.
pub(crate) fn assemble(window: Window, panes: Vec<(i64, Summary)>) -> impl Iterator<Item = (i64, Summary)> {
    let (size, slide) = window.size_slide();
    let (run, step) = (size / window.pane(), slide / window.pane());
    let slide = i128::from(step);
    let runs = Runs::new(run, panes);
    let mut places = 0..runs.panes.len();
    let mut next = match window {
        Window::Rows { .. } => 0,
        Window::Time { .. } => i64::MIN,
    };
    // Those that hold the current pane and did not hold the one before.
    let mut numbers: Option<RangeInclusive<i64>> = None;
    std::iter::from_fn(move || {
        loop {
            if let Some(k) = numbers.as_mut().and_then(Iterator::next) {
                next = k.saturating_add(1);
                return Some((k, runs.window(i128::from(k) * slide)));
            }
            let pane = runs.panes[places.next()?];
            // Windows that hold this pane: k step ≤ pane < k step + run.
            let earliest = i128::from(pane) - i128::from(run - 1);
            let low = earliest.div_euclid(slide) + i128::from(earliest.rem_euclid(slide) != 0);
            // With a pane a window the first instants are held by windows whose numbers do not exist.
            let low = i64::try_from(low).unwrap_or(i64::MIN);
            numbers = Some(low.max(next)..=pane.div_euclid(step));
        }
    })
}

/// Panes grouped in runs, with their suffixes and prefixes.
struct Runs {
    run: i64,
    /// Their numbers.
    panes: Vec<i64>,
    /// suffixes[i]: panes i, i + 1, … to the end of the run of pane i.
    suffixes: Vec<Summary>,
    /// prefixes[i]: the first pane of the run of pane i, … up to pane i.
    prefixes: Vec<Summary>,
}

impl Runs {
    fn new(run: i64, panes: Vec<(i64, Summary)>) -> Self {
        let (panes, mut suffixes): (Vec<i64>, Vec<Summary>) = panes.into_iter().unzip();
        let follows = |i: usize| i > 0 && panes[i].div_euclid(run) == panes[i - 1].div_euclid(run);
        let mut prefixes: Vec<Summary> = Vec::with_capacity(panes.len());
        for (i, pane) in suffixes.iter().enumerate() {
            let mut prefix = if follows(i) {
                prefixes[i - 1].clone()
            } else {
                Summary::default()
            };
            prefix.merge(pane);
            prefixes.push(prefix);
        }
        for i in (1..panes.len()).rev().filter(|i| follows(*i)) {
            let (head, tail) = suffixes.split_at_mut(i);
            head[i - 1].merge(&tail[0]);
        }
        Self {
            run,
            panes,
            suffixes,
            prefixes,
        }
    }

    /// Panes `start .. start + run`: the rest of the run in which it starts, then the beginning of the next.
    fn window(&self, start: i128) -> Summary {
        let run = i128::from(self.run);
        let number = |pane: i64| i128::from(pane);
        let run_of = |pane: i64| number(pane).div_euclid(run);
        let first = self.panes.partition_point(|p| number(*p) < start);
        let mut summary = Summary::default();
        if self
            .panes
            .get(first)
            .is_some_and(|p| run_of(*p) == start.div_euclid(run))
        {
            summary = self.suffixes[first].clone();
        }
        let end = self.panes.partition_point(|p| number(*p) < start + run);
        if let Some(last) = end.checked_sub(1)
            && run_of(self.panes[last]) == start.div_euclid(run) + 1
            && number(self.panes[last]) >= start
        {
            summary.merge(&self.prefixes[last]);
        }
        summary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pane(number: i64, rows: u64) -> (i64, Summary) {
        (
            number,
            Summary {
                rows,
                ..Summary::default()
            },
        )
    }

    #[test]
    fn sliding_windows_hold_the_rows_of_their_panes() {
        for (size, slide) in [(6, 1), (6, 2), (6, 4), (5, 3), (6, 6)] {
            let window = Window::Time {
                size_ns: size,
                slide_ns: slide,
            };
            let width = window.pane();
            let numbers = [-9i64, -8, -4, 0, 1, 2, 3, 7, 8, 40];
            let panes = numbers.iter().enumerate().map(|(i, n)| pane(*n, 1 << i)).collect();
            let got = assemble(window, panes);
            let mut expected = Vec::new();
            for k in -100..100 {
                let inside = |n: i64| k * slide <= n * width && n * width < k * slide + size;
                let rows: u64 = numbers
                    .iter()
                    .enumerate()
                    .filter(|(_, n)| inside(**n))
                    .map(|(i, _)| 1u64 << i)
                    .sum();
                if rows > 0 {
                    expected.push((k, rows));
                }
            }
            let got: Vec<_> = got.map(|(k, s)| (k, s.rows)).collect();
            assert_eq!(got, expected, "{size} {slide}");
        }
    }

    #[test]
    fn row_windows_begin_at_row_0() {
        let window = Window::Rows { size: 4, slide: 2 };
        let got = assemble(window, vec![pane(0, 2), pane(1, 2), pane(2, 1)]);
        assert_eq!(
            got.map(|(k, s)| (k, s.rows)).collect::<Vec<_>>(),
            [(0, 4), (1, 3), (2, 1)]
        );
    }
}
