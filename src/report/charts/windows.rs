//! Means over time: for each column one chart, in it one line a key.
//!
//! A point stands at its window's start. A line breaks where a window is missing: nothing is drawn that was not
//! measured. A single key also shows the band mean ± standard deviation. Every point is a `<circle>` with
//! `data-window-start`, `data-column`, `data-key` and `data-value`, so the chart can be read back exactly.

use super::axis::Scale;
use super::{BAR, LINES_MAX, Size, axes, circle, draw, failed, fill, svg};
use crate::report::grid::{key_label, window_label};
use crate::report::number::{shortest, shown_beside};
use crate::report::{Group, Report, WindowBounds};
use plotters::element::Polygon;
use plotters::style::Color;
use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::io;

const SIZE: Size = Size {
    width: 960,
    height: 280,
};

/// Points from which their circles become small, so that they do not hide the line.
const POINTS_LARGE_MAX: usize = 300;

/// The keys of a report in order of appearance, and which of them are drawn.
#[derive(Debug)]
pub(crate) struct Keys {
    /// Every key's label; one empty label where there are no keys.
    pub(crate) labels: Vec<String>,
    /// Which of them are drawn: those with the most rows, at most [`LINES_MAX`].
    pub(crate) drawn: Vec<usize>,
    of_group: Vec<usize>,
}

impl Keys {
    pub(crate) fn of(report: &Report) -> Self {
        let mut labels: Vec<String> = Vec::new();
        let mut known: HashMap<String, usize> = HashMap::new();
        let mut rows: Vec<u64> = Vec::new();
        let mut of_group = Vec::with_capacity(report.groups.len());
        for group in &report.groups {
            let label = group.key.as_ref().map_or_else(String::new, key_label);
            let index = *known.entry(label).or_insert_with_key(|label| {
                labels.push(label.clone());
                rows.push(0);
                labels.len() - 1
            });
            rows[index] = rows[index].saturating_add(group.rows);
            of_group.push(index);
        }
        let mut drawn: Vec<usize> = (0..labels.len()).collect();
        drawn.sort_by_key(|&i| std::cmp::Reverse(rows[i]));
        drawn.truncate(LINES_MAX);
        drawn.sort_unstable();
        Self {
            labels,
            drawn,
            of_group,
        }
    }

    /// The first group of this key.
    pub(crate) fn first_group(&self, key: usize) -> Option<usize> {
        self.of_group.iter().position(|of| *of == key)
    }

    /// The labels of the keys that are not drawn.
    pub(crate) fn left_out(&self) -> impl Iterator<Item = &str> {
        let drawn: BTreeSet<usize> = self.drawn.iter().copied().collect();
        self.labels
            .iter()
            .enumerate()
            .filter(move |(i, _)| !drawn.contains(i))
            .map(|(_, l)| l.as_str())
    }
}

struct Point<'a> {
    window: &'a WindowBounds,
    x: f64,
    mean: f64,
    std: Option<f64>,
}

/// Where a window begins, as a number of its own unit.
fn start(window: &WindowBounds) -> i64 {
    match *window {
        WindowBounds::Time { start_ns, .. } => start_ns,
        WindowBounds::Rows { start, .. } => i64::try_from(start).unwrap_or(i64::MAX),
    }
}

/// The chart of one column. Nothing where no window has a finite mean.
pub(crate) fn means(report: &Report, keys: &Keys, column: &str) -> io::Result<Option<String>> {
    let windows = || report.groups.iter().filter_map(|g| g.window.as_ref());
    let starts: BTreeSet<i64> = windows().map(start).collect();
    let (Some(&first), Some(&last)) = (starts.first(), starts.last()) else {
        return Ok(None);
    };
    let of_time = windows().any(|w| matches!(w, WindowBounds::Time { .. }));
    let (x_scale, x_name) = if of_time {
        (
            Some(Scale::time(first, first, last, 8)),
            format!("window start, UTC{}", span(first, last)),
        )
    } else {
        (
            Scale::numbers(0.0, last as f64 - first as f64, 8),
            "rows behind the first window's start".to_owned(),
        )
    };
    let place = |window: &WindowBounds| {
        let behind = i128::from(start(window)) - i128::from(first);
        if of_time { behind as f64 / 1e9 } else { behind as f64 }
    };
    let gaps = starts
        .iter()
        .zip(starts.iter().skip(1))
        .map(|(a, b)| i128::from(*b) - i128::from(*a));
    let step = gaps.min().unwrap_or(1) as f64 * if of_time { 1e-9 } else { 1.0 };
    let lines: Vec<Vec<Point<'_>>> = keys
        .drawn
        .iter()
        .map(|key| points(report, keys, *key, column, place))
        .collect();
    let band = lines.len() == 1 && keys.labels.len() == 1;
    let bounds = lines.iter().flatten().flat_map(|p| {
        let std = p.std.filter(|s| band && s.is_finite()).unwrap_or(0.0);
        [p.mean - std, p.mean + std]
    });
    let (low, high) = bounds.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), y| (l.min(y), h.max(y)));
    let Some((x, y)) = x_scale.zip(Scale::padded(low, high, 5, 0.06)) else {
        return Ok(None);
    };
    let mut marks = String::new();
    let radius = if lines.iter().map(Vec::len).sum::<usize>() > POINTS_LARGE_MAX {
        1.2
    } else {
        2.8
    };
    let mut body = draw(SIZE, |area| {
        let mut plot = axes(area, &x, Some(&y), &x_name)?;
        for (line, (color, key)) in lines.iter().zip(keys.drawn.iter().enumerate()) {
            for run in line.chunk_by(|a, b| b.x - a.x < 1.5 * step) {
                if band && run.len() > 1 {
                    let edge = |sign: f64| {
                        move |p: &Point<'_>| (p.x, p.mean + sign * p.std.filter(|s| s.is_finite()).unwrap_or(0.0))
                    };
                    let outline: Vec<(f64, f64)> = run
                        .iter()
                        .map(edge(1.0))
                        .chain(run.iter().rev().map(edge(-1.0)))
                        .collect();
                    plot.draw_series([Polygon::new(outline, fill(BAR.mix(0.22)))])
                        .map_err(failed)?;
                }
                let at = |p: &Point<'_>| plot.backend_coord(&(p.x, p.mean));
                polyline(&mut marks, run.iter().map(at), color);
            }
            for point in line {
                let label = &keys.labels[*key];
                mark(
                    &mut marks,
                    plot.backend_coord(&(point.x, point.mean)),
                    radius,
                    color,
                    column,
                    label,
                    point,
                );
            }
        }
        Ok(())
    })?;
    body.push_str(&marks);
    Ok(Some(svg(SIZE, &format!("Mean of {column} by window"), &body)))
}

fn points<'a>(
    report: &'a Report,
    keys: &Keys,
    key: usize,
    column: &str,
    place: impl Fn(&WindowBounds) -> f64,
) -> Vec<Point<'a>> {
    let point = |group: &'a Group| {
        let window = group.window.as_ref()?;
        let statistics = group.columns.get(column)?;
        let mean = statistics.mean.filter(|m| m.is_finite())?;
        Some(Point {
            window,
            x: place(window),
            mean,
            std: statistics.std,
        })
    };
    let groups = report.groups.iter().zip(&keys.of_group).filter(|(_, of)| **of == key);
    let mut points: Vec<Point<'a>> = groups.filter_map(|(group, _)| point(group)).collect();
    points.sort_by(|a, b| a.x.total_cmp(&b.x));
    points
}

fn polyline(body: &mut String, places: impl Iterator<Item = (i32, i32)>, color: usize) {
    let _ = write!(body, "<polyline class=\"line s{color}\" points=\"");
    for (x, y) in places {
        let _ = write!(body, "{x},{y} ");
    }
    body.push_str("\"/>\n");
}

fn mark(body: &mut String, at: (i32, i32), radius: f64, color: usize, column: &str, key: &str, point: &Point<'_>) {
    let attributes = [
        ("data-window-start", point.window.labels().0),
        ("data-column", column.to_owned()),
        ("data-key", key.to_owned()),
        ("data-value", shortest(point.mean)),
    ];
    let attributes = attributes.each_ref().map(|(name, value)| (*name, value.as_str()));
    let who = if key.is_empty() {
        String::new()
    } else {
        format!("{key}, ")
    };
    let title = format!(
        "{who}{}: {}",
        window_label(point.window),
        shown_beside(Some(point.mean), point.std)
    );
    circle(body, at, radius, &format!("dot s{color}"), &attributes, &title);
}

/// The days that an axis of clock times is about.
fn span(first_ns: i64, last_ns: i64) -> String {
    let day = |ns: i64| {
        crate::report::rfc3339(ns)
            .split('T')
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let (first, last) = (day(first_ns), day(last_ns));
    if first == last {
        format!(" ({first})")
    } else {
        format!(" ({first} to {last})")
    }
}
