//! How a column's values are spread: a histogram of a sample, or boxes from the statistics where there is none.
//!
//! Bins follow D. Freedman and P. Diaconis (1981), "On the histogram as a density estimator": width 2·IQR·n^(−1/3),
//! brought to 1, 2 or 5 times a power of ten so that the edges are round numbers. A sample whose quartiles coincide
//! has Sturges' number of bins instead.

use super::axis::{Scale, round_step};
use super::{BAR, INK, MARK, Size, axes, draw, failed, fill, inner_width, label_style, stroke, svg};
use crate::report::ColumnReport;
use crate::report::number::{DIGITS, digits_beside, shown, significant};
use crate::report::text::{clean, shorten};
use plotters::element::{PathElement, Rectangle};
use plotters::style::Color;
use plotters::style::text_anchor::{HPos, VPos};
use std::io;

/// Bars that can still be told apart.
const BINS_MAX: usize = 60;
const SIZE: Size = Size {
    width: 460,
    height: 240,
};

/// Equal bins: the first edge, their width, and how many values each holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bins {
    start: f64,
    width: f64,
    counts: Vec<u64>,
}

impl Bins {
    /// The bins of these values, which are finite and sorted. Nothing where there are none, or their range overflows.
    pub(crate) fn of(sorted: &[f64]) -> Option<Self> {
        let (low, high) = (*sorted.first()?, *sorted.last()?);
        let span = high - low;
        if !span.is_finite() {
            return None;
        }
        let width = bin_width(sorted, span);
        let first = (low / width + 1e-9).floor();
        let bin = |x: f64| ((x / width + 1e-9).floor() - first).max(0.0) as usize;
        let mut counts = vec![0; bin(high).min(2 * BINS_MAX) + 1];
        let last = counts.len() - 1;
        for &x in sorted {
            counts[bin(x).min(last)] += 1;
        }
        Some(Self {
            start: first * width,
            width,
            counts,
        })
    }

    fn edge(&self, i: usize) -> f64 {
        self.start + i as f64 * self.width
    }
}

fn bin_width(sorted: &[f64], span: f64) -> f64 {
    if span <= 0.0 {
        return if sorted[0] == 0.0 {
            1.0
        } else {
            round_step(sorted[0].abs() * 0.02)
        };
    }
    let n = sorted.len();
    let quartile = |q: usize| sorted[(n - 1) * q / 4];
    let spread = quartile(3) - quartile(1);
    let wanted = if spread > 0.0 {
        2.0 * spread / (n as f64).cbrt()
    } else {
        span / ((n as f64).log2().ceil() + 1.0)
    };
    // Rounding may widen by up to 2.5; beginning at two thirds of the wanted width keeps the bins near it on average.
    let whole = sorted.iter().all(|x| x.fract() == 0.0);
    let least = round_step(span / (BINS_MAX as f64 - 1.0));
    let width = round_step(wanted / 1.5).max(least);
    if whole { width.max(1.0) } else { width }
}

/// A histogram with the mean marked. Nothing where the values cannot be drawn.
pub(crate) fn histogram(column: &str, values: &[f64], mean: Option<f64>) -> io::Result<Option<String>> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|x| x.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let Some(bins) = Bins::of(&sorted) else {
        return Ok(None);
    };
    let mean = mean
        .or_else(|| Some(sorted.iter().sum::<f64>() / sorted.len() as f64))
        .filter(|m| m.is_finite());
    let tallest = bins.counts.iter().copied().max().unwrap_or(1);
    let Some(mut y) = Scale::numbers(0.0, tallest as f64 * 1.12, 4) else {
        return Ok(None);
    };
    y.ticks.retain(|t| t.at.fract() == 0.0);
    let width = inner_width(SIZE, Some(&y));
    let Some(x) = Scale::numbers_within(bins.edge(0), bins.edge(bins.counts.len()), 6, width) else {
        return Ok(None);
    };
    let body = draw(SIZE, |area| {
        let mut plot = axes(area, &x, Some(&y), column)?;
        let gap = bins.width * 0.04;
        let bars = bins.counts.iter().enumerate().filter(|(_, n)| **n > 0).map(|(i, n)| {
            let corners = [(bins.edge(i) + gap, *n as f64), (bins.edge(i + 1) - gap, 0.0)];
            Rectangle::new(corners, fill(BAR.into()))
        });
        plot.draw_series(bars).map_err(failed)?;
        let Some(mean) = mean.filter(|m| x.range.contains(m)) else {
            return Ok(());
        };
        let line = PathElement::new(vec![(mean, 0.0), (mean, y.range.end)], stroke(&MARK, 1.5));
        plot.draw_series([line]).map_err(failed)?;
        let right = (mean - x.range.start) < 0.6 * (x.range.end - x.range.start);
        let (side, shift) = if right { (HPos::Left, 5) } else { (HPos::Right, -5) };
        let at = plot.backend_coord(&(mean, y.range.end));
        let style = label_style(side, VPos::Top).color(&MARK);
        let text = format!("mean {}", significant(mean, digits_beside(mean, bins.width, 4)));
        area.draw_text(&text, &style, (at.0 + shift * super::FINE, at.1))
            .map_err(failed)
    })?;
    Ok(Some(svg(SIZE, &format!("Histogram of {column}"), &body)))
}

/// A box from the statistics of one group.
#[derive(Debug)]
pub(crate) struct BoxRow<'a> {
    /// The group's name, empty where there is only one.
    pub(crate) name: String,
    pub(crate) statistics: &'a ColumnReport,
}

impl BoxRow<'_> {
    /// The quantiles that are known and finite, by probability.
    fn quantiles(&self) -> Vec<(f64, f64)> {
        let known = self.statistics.quantiles.iter().flat_map(|q| q.iter());
        let mut known: Vec<(f64, f64)> = known
            .filter_map(|(p, x)| Some((p.parse().ok()?, (*x)?)))
            .filter(|(_, x): &(f64, f64)| x.is_finite())
            .collect();
        known.sort_by(|a, b| a.0.total_cmp(&b.0));
        known
    }

    fn extremes(&self) -> Option<(f64, f64)> {
        self.statistics
            .min
            .zip(self.statistics.max)
            .filter(|(low, high)| low.is_finite() && high.is_finite())
    }

    /// The box proper: the quartiles, else the outermost quantiles between the extremes; else a standard deviation
    /// around the mean.
    fn middle(&self) -> Option<(f64, f64)> {
        let quantiles = self.quantiles();
        let at = |p: f64| quantiles.iter().find(|q| (q.0 - p).abs() < 1e-9).map(|q| q.1);
        let outer = || {
            let inside: Vec<_> = quantiles.iter().filter(|q| q.0 > 0.0 && q.0 < 1.0).collect();
            (inside.len() > 1).then(|| (inside[0].1, inside[inside.len() - 1].1))
        };
        let around = || {
            let (low, high) = self.extremes()?;
            let (mean, std) = self.statistics.mean.zip(self.statistics.std)?;
            Some(((mean - std).max(low), (mean + std).min(high)))
        };
        at(0.25).zip(at(0.75)).or_else(outer).or_else(around)
    }

    /// What the box stands for, in words.
    pub(crate) fn legend(&self) -> &'static str {
        let quantiles = self.quantiles();
        let has = |p: f64| quantiles.iter().any(|q| (q.0 - p).abs() < 1e-9);
        if has(0.25) && has(0.75) {
            "box: quartiles; whiskers: minimum and maximum"
        } else if quantiles.iter().filter(|q| q.0 > 0.0 && q.0 < 1.0).count() > 1 {
            "box: outermost quantiles; whiskers: minimum and maximum"
        } else {
            "box: mean ± standard deviation; whiskers: minimum and maximum"
        }
    }
}

/// One box a group, below each other on one scale. Nothing where no group has finite extremes.
pub(crate) fn boxes(column: &str, rows: &[BoxRow<'_>]) -> io::Result<Option<String>> {
    let drawn: Vec<(&BoxRow<'_>, (f64, f64))> = rows.iter().filter_map(|r| Some((r, r.extremes()?))).collect();
    let low = drawn.iter().map(|(_, e)| e.0).fold(f64::INFINITY, f64::min);
    let high = drawn.iter().map(|(_, e)| e.1).fold(f64::NEG_INFINITY, f64::max);
    let count = drawn.len() as f64;
    let labels = drawn.iter().enumerate().map(|(i, (row, _))| super::axis::Tick {
        at: 1.0 - (i as f64 + 0.5) / count,
        label: shorten(&clean(&row.name), 20),
    });
    let y = Scale {
        range: 0.0..1.0,
        ticks: labels.collect(),
    };
    let named = drawn.iter().any(|(row, _)| !row.name.is_empty());
    let y_shown = named.then_some(&y);
    let margin = (high - low) * 0.03;
    let x = Scale::numbers_within(low - margin, high + margin, 6, inner_width(SIZE, y_shown));
    let Some(x) = x.filter(|_| !drawn.is_empty()) else {
        return Ok(None);
    };
    let size = Size {
        height: 70 + 34 * i32::try_from(drawn.len()).unwrap_or(1),
        ..SIZE
    };
    let body = draw(size, |area| {
        let mut plot = axes(area, &x, y_shown, column)?;
        for ((row, extremes), tick) in drawn.iter().zip(&y.ticks) {
            let (at, half) = (tick.at, 0.26 / count);
            let line = |x0: f64, y0: f64, x1: f64, y1: f64, color, width| {
                PathElement::new(vec![(x0, y0), (x1, y1)], stroke(color, width))
            };
            let mut lines = vec![line(extremes.0, at, extremes.1, at, &INK, 1.0)];
            lines.extend([extremes.0, extremes.1].map(|x| line(x, at - half / 2.0, x, at + half / 2.0, &INK, 1.0)));
            plot.draw_series(lines).map_err(failed)?;
            if let Some((left, right)) = row.middle() {
                let shape = Rectangle::new([(left, at + half), (right, at - half)], fill(BAR.mix(0.5)));
                plot.draw_series([shape]).map_err(failed)?;
            }
            let median = row
                .quantiles()
                .into_iter()
                .find(|q| (q.0 - 0.5).abs() < 1e-9)
                .map(|q| q.1);
            let marks = median.map(|m| line(m, at - half, m, at + half, &INK, 2.0)).into_iter();
            let mean = row.statistics.mean.filter(|m| m.is_finite());
            let marks = marks.chain(mean.map(|m| line(m, at - half, m, at + half, &MARK, 2.0)));
            plot.draw_series(marks).map_err(failed)?;
        }
        Ok(())
    })?;
    Ok(Some(svg(size, &title(column, &drawn), &body)))
}

fn title(column: &str, drawn: &[(&BoxRow<'_>, (f64, f64))]) -> String {
    match drawn {
        [(row, (low, high))] => format!(
            "Spread of {column}: {} to {}, mean {}",
            significant(*low, DIGITS),
            significant(*high, DIGITS),
            shown(row.statistics.mean)
        ),
        _ => format!("Spread of {column} in {} groups", drawn.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_hold_every_value_and_are_at_most_sixty() {
        let uniform: Vec<f64> = (0..1000).map(|i| f64::from(i) / 10.0).collect();
        let bins = Bins::of(&uniform).unwrap();
        // IQR ≈ 50, n = 1000: Freedman and Diaconis ask for 10.
        assert_eq!((bins.start, bins.width), (0.0, 10.0));
        assert_eq!(bins.counts, [100; 10]);
        let mut heavy: Vec<f64> = (1..100_000).map(|i| 1e5 / f64::from(i)).collect();
        heavy.sort_by(f64::total_cmp);
        let bins = Bins::of(&heavy).unwrap();
        assert!(bins.counts.len() <= BINS_MAX, "{}", bins.counts.len());
        assert_eq!(bins.counts.iter().sum::<u64>(), 99_999);
    }

    #[test]
    fn tenths_fall_on_the_right_side_of_their_edges() {
        let tenths: Vec<f64> = (0..=60).map(|i| f64::from(i) / 10.0).collect();
        let bins = Bins::of(&tenths).unwrap();
        let start = |i: usize| bins.start + i as f64 * bins.width;
        let expected = |i: usize| {
            tenths
                .iter()
                .filter(move |x| **x > start(i) - 1e-6 && **x < start(i + 1) - 1e-6)
        };
        for (i, n) in bins.counts.iter().enumerate() {
            assert_eq!(*n, expected(i).count() as u64, "bin {i} of {bins:?}");
        }
    }

    #[test]
    fn what_has_no_spread_or_no_end_is_no_panic() {
        assert_eq!(Bins::of(&[]), None);
        assert_eq!(Bins::of(&[f64::MIN, f64::MAX]), None);
        for x in [0.0, 3.0, -1e-300, 1e300] {
            assert_eq!(Bins::of(&[x, x, x]).unwrap().counts.iter().sum::<u64>(), 3, "{x}");
            histogram("c", &[x, x, x], None).unwrap();
        }
        assert!(histogram("c", &[f64::NAN, f64::INFINITY], None).unwrap().is_none());
        assert_eq!(
            Bins::of(&[1.0, 1.0, 1.0, 1.0, 2.0]).unwrap().counts.iter().sum::<u64>(),
            5
        );
    }
}
