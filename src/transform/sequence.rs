//! The state of one sequence of rows: those of one key, or all.

use super::layout::Layout;
use super::{Span, Transforms, Weighted};
use crate::backend::cpu::rolling::{ABSENT, Pair, Rolling, Single};
use crate::backend::cpu::steps::{self, Point};
use crate::summary::Ewm;
use crate::summary::Merge;
use crate::summary::dd::Dd;
use crate::summary::moments::{MomentRun, Moments, Order};
use std::collections::VecDeque;
use std::ops::Range;

/// Rows that are put into one leaf of the moments of a key.
const LEAF_ROWS: u64 = 256;

/// Consecutive values of one column of a sequence, NaN where one is missing.
#[derive(Debug, Clone, Copy)]
pub(super) enum Values<'a> {
    F64(&'a [f64]),
    F32(&'a [f32]),
}

impl Values<'_> {
    fn get(self, i: usize) -> f64 {
        match self {
            Self::F64(values) => values[i],
            Self::F32(values) => f64::from(values[i]),
        }
    }
}

/// Rows of a sequence.
pub(super) struct Rows<'a> {
    pub(super) columns: Vec<Values<'a>>,
    pub(super) times: Option<&'a [i64]>,
    pub(super) count: usize,
    /// Whether no more rows will come.
    pub(super) last: bool,
}

/// A gradient of an earlier row, which the rows after it decided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Late {
    /// The row's number among all.
    pub(super) row: u64,
    /// The place of the made column.
    pub(super) column: usize,
    pub(super) value: f64,
}

/// What a piece of rows came to besides the results that were written.
#[derive(Debug, Default)]
pub(super) struct Pushed {
    pub(super) late: Vec<Late>,
    /// By made column: where there may be no result.
    pub(super) unsure: Vec<Vec<Range<usize>>>,
}

/// The moments of all values of a column.
#[derive(Debug, Clone)]
pub(super) struct Total {
    folded: Moments,
    run: MomentRun,
    rows: u64,
}

impl Default for Total {
    fn default() -> Self {
        Self {
            folded: Moments {
                order: Order::Second,
                ..Moments::default()
            },
            run: MomentRun::default(),
            rows: 0,
        }
    }
}

impl Total {
    pub(super) fn push(&mut self, x: f64) {
        self.run.push(x);
        self.rows += 1;
        if self.rows.is_multiple_of(LEAF_ROWS) {
            self.folded.merge(&self.run.finish(Order::Second));
            self.run = MomentRun::default();
        }
    }

    fn moments(&self) -> Moments {
        let mut moments = self.folded.clone();
        moments.merge(&self.run.finish(Order::Second));
        moments
    }
}

/// (x − mean)/std of all values of a key.
#[derive(Debug, Clone, Copy)]
struct Standard {
    mean: Dd,
    /// None without a spread, NaN with infinite values.
    std: Option<f64>,
}

impl Standard {
    fn new(total: &Total, ddof: u32) -> Self {
        let moments = total.moments();
        let finite = moments.present() == moments.count && moments.count > 0;
        Self {
            mean: match finite && moments.scale == 0 {
                true => moments.sum / Dd::from(moments.count as f64),
                false => Dd::from(moments.mean().unwrap_or(f64::NAN)),
            },
            std: moments.std(u64::from(ddof)).filter(|std| *std != 0.0),
        }
    }

    fn of(&self, x: f64) -> f64 {
        match self.std {
            Some(std) if !x.is_nan() => {
                let z = ((x - self.mean.hi) - self.mean.lo) / std;
                if z.is_nan() { f64::NAN } else { z }
            }
            _ => ABSENT,
        }
    }
}

/// A row whose gradient waits for rows to come: its number in the sequence, and among all.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Waiting {
    place: u64,
    row: u64,
}

/// The state of one sequence.
#[derive(Debug)]
pub(super) struct Sequence {
    rows: u64,
    /// The last three rows of each column at most.
    last: Vec<Vec<Point>>,
    waiting: Vec<Waiting>,
    /// Event times that windows may still reach, and the number of the first.
    times: VecDeque<i64>,
    times_first: u64,
    /// By span: the number of the first row of the last window.
    starts: Vec<u64>,
    /// Column by column, span by span.
    single: Vec<Rolling<Single>>,
    /// Span by span, pair by pair.
    paired: Vec<Rolling<Pair>>,
    ewm: Option<Ewm>,
    standards: Vec<Standard>,
}

impl Sequence {
    pub(super) fn new(asked: &Transforms, layout: &Layout, totals: &[Total]) -> Self {
        let columns = layout.places.len();
        let rolls = |_| layout.rolling.iter().filter(|rolls| !rolls.single.is_empty());
        let single = (0..columns).flat_map(rolls);
        let paired = layout.rolling.iter().filter(|rolls| !rolls.paired.is_empty());
        let paired = paired.flat_map(|rolls| layout.pairs.iter().map(move |_| rolls));
        Self {
            rows: 0,
            last: vec![Vec::new(); columns],
            waiting: Vec::new(),
            times: VecDeque::new(),
            times_first: 0,
            starts: vec![0; layout.rolling.len()],
            single: single
                .map(|rolls| Rolling::new(Single::new(rolls.single.clone(), rolls.windows.rows), rolls.windows))
                .collect(),
            paired: paired
                .map(|rolls| Rolling::new(Pair::new(rolls.paired.clone(), rolls.windows.rows), rolls.windows))
                .collect(),
            ewm: asked.ewm.as_ref().map(|(half_life, _)| {
                let half_life = match half_life {
                    Span::Rows(rows) => *rows as i64,
                    Span::Time(ns) => *ns,
                };
                Ewm::new(half_life, columns, false)
            }),
            standards: totals.iter().map(|total| Standard::new(total, asked.ddof)).collect(),
        }
    }

    /// The rows, by their numbers among all, whose gradients are not known yet.
    pub(super) fn waiting(&self) -> impl Iterator<Item = u64> {
        self.waiting.iter().map(|waiting| waiting.row)
    }

    /// Takes the next rows, and writes what they come to into `outs`, one a made column. `number` is the number among
    /// all of a row by its place.
    pub(super) fn push(
        &mut self,
        asked: &Transforms,
        layout: &Layout,
        rows: &Rows<'_>,
        number: &dyn Fn(usize) -> u64,
        outs: &mut [&mut [f64]],
    ) -> Pushed {
        let mut pushed = Pushed {
            late: Vec::new(),
            unsure: vec![Vec::new(); outs.len()],
        };
        let starts = self.starts(layout, rows);
        let waiting = self.wait(asked, rows, number);
        let mut at = 0;
        let mut next = |count: usize| {
            at += count;
            at - count..at
        };
        let mut single = self.single.iter_mut();
        for (c, values) in rows.columns.iter().enumerate() {
            if asked.differences {
                let place = next(1).start;
                let from = self.last[c].last().copied();
                pushed.unsure[place] = differences(from, rows, *values, outs[place]);
            }
            if let Some(order) = asked.gradient {
                let place = next(1).start;
                let edge = Edges {
                    rows: self.rows,
                    last: &self.last[c],
                    order,
                };
                pushed.unsure[place] = edge.write(rows, *values, outs[place]);
                let late = waiting.iter().filter_map(|waiting| {
                    let value = edge.at(rows, *values, waiting.place)?;
                    Some((waiting, value))
                });
                for (waiting, value) in late {
                    match waiting.place.checked_sub(self.rows) {
                        Some(here) => {
                            outs[place][here as usize] = value;
                            pushed.unsure[place].push(here as usize..here as usize + 1);
                        }
                        None => pushed.late.push(Late {
                            row: waiting.row,
                            column: place,
                            value,
                        }),
                    }
                }
            }
            for (rolls, starts) in layout.rolling.iter().zip(&starts).filter(|(r, _)| !r.single.is_empty()) {
                let places = next(rolls.single.len());
                let Some(rolling) = single.next() else { continue };
                let outs = &mut outs[places.clone()];
                let unsure = match values {
                    Values::F64(values) => rolling.push(*values, starts, outs),
                    Values::F32(values) => rolling.push(*values, starts, outs),
                };
                places.for_each(|place| pushed.unsure[place].clone_from(&unsure));
            }
            if let Some((_, statistics)) = &asked.ewm {
                next(statistics.len());
            }
            if asked.zscores {
                let place = next(1).start;
                let standard = self.standards[c];
                for (i, out) in outs[place].iter_mut().enumerate() {
                    *out = standard.of(values.get(i));
                }
                pushed.unsure[place].push(0..rows.count);
            }
        }
        let mut paired = self.paired.iter_mut();
        for (rolls, starts) in layout.rolling.iter().zip(&starts).filter(|(r, _)| !r.paired.is_empty()) {
            for [x, y] in &layout.pairs {
                let places = next(rolls.paired.len());
                let Some(rolling) = paired.next() else { continue };
                let both = [*x, *y].map(|c| match rows.columns[c] {
                    Values::F64(values) => std::borrow::Cow::Borrowed(values),
                    Values::F32(values) => values.iter().map(|x| f64::from(*x)).collect(),
                });
                let both: [&[f64]; 2] = [&both[0], &both[1]];
                let unsure = rolling.push(both, starts, &mut outs[places.clone()]);
                places.for_each(|place| pushed.unsure[place].clone_from(&unsure));
            }
        }
        self.push_weighted(asked, rows, outs, &mut pushed);
        self.remember(asked, rows);
        pushed
    }

    /// By span of time: the number of the first row of each window.
    fn starts(&mut self, layout: &Layout, rows: &Rows<'_>) -> Vec<Vec<u64>> {
        let Some(times) = rows
            .times
            .filter(|_| layout.rolling.iter().any(|r| r.span_ns.is_some()))
        else {
            return vec![Vec::new(); layout.rolling.len()];
        };
        self.times.extend(times);
        let mut starts = Vec::with_capacity(layout.rolling.len());
        for (rolls, start) in layout.rolling.iter().zip(&mut self.starts) {
            let Some(span_ns) = rolls.span_ns else {
                *start = u64::MAX;
                starts.push(Vec::new());
                continue;
            };
            let start_of = |time: &i64| {
                // Below the range of times there is no row that has left.
                if let Some(end) = time.checked_sub(span_ns) {
                    while self.times[(*start - self.times_first) as usize] <= end {
                        *start += 1;
                    }
                }
                *start
            };
            starts.push(times.iter().map(start_of).collect());
        }
        let first = self.starts.iter().min().copied().unwrap_or(0);
        self.times.drain(..(first - self.times_first) as usize);
        self.times_first = first;
        starts
    }

    /// The rows whose gradients were not known, with those of these rows that no rows of the same piece decide.
    fn wait(&mut self, asked: &Transforms, rows: &Rows<'_>, number: &dyn Fn(usize) -> u64) -> Vec<Waiting> {
        let Some(order) = asked.gradient else {
            return Vec::new();
        };
        let total = self.rows + rows.count as u64;
        let mut all = std::mem::take(&mut self.waiting);
        for place in [0, rows.count.saturating_sub(1)] {
            let waiting = Waiting {
                place: self.rows + place as u64,
                row: if rows.count > 0 { number(place) } else { 0 },
            };
            if rows.count > 0 && !all.contains(&waiting) {
                all.push(waiting);
            }
        }
        let known = |place: u64| match place {
            0 => total > u64::from(order),
            place => place + 1 < total,
        };
        if !rows.last {
            self.waiting = all.iter().copied().filter(|w| !known(w.place)).collect();
        }
        all
    }

    fn push_weighted(&mut self, asked: &Transforms, rows: &Rows<'_>, outs: &mut [&mut [f64]], pushed: &mut Pushed) {
        let (Some(ewm), Some((half_life, statistics))) = (&mut self.ewm, &asked.ewm) else {
            return;
        };
        // The places of the weighted statistics of each column lie as far apart as those of two columns do.
        let rolled: usize = asked_single(asked);
        let before = usize::from(asked.differences) + usize::from(asked.gradient.is_some()) + rolled;
        let of_column = before + statistics.len() + usize::from(asked.zscores);
        let places = |c: usize| c * of_column + before..c * of_column + before + statistics.len();
        for i in 0..rows.count {
            let time = match (half_life, rows.times) {
                (Span::Time(_), Some(times)) => times[i],
                _ => (self.rows + i as u64) as i64,
            };
            ewm.push(time, |c| rows.columns[c].get(i));
            for c in 0..rows.columns.len() {
                for (place, statistic) in places(c).zip(statistics) {
                    let value = match statistic {
                        Weighted::Mean => ewm.mean(c),
                        Weighted::Variance => ewm.variance(c, u64::from(asked.ddof)),
                        Weighted::Std => ewm.variance(c, u64::from(asked.ddof)).map(f64::sqrt),
                    };
                    outs[place][i] = value.unwrap_or(ABSENT);
                }
            }
        }
        for c in 0..rows.columns.len() {
            places(c).for_each(|place| pushed.unsure[place].push(0..rows.count));
        }
    }

    fn remember(&mut self, asked: &Transforms, rows: &Rows<'_>) {
        self.rows += rows.count as u64;
        if !asked.differences && asked.gradient.is_none() {
            return;
        }
        for (last, values) in self.last.iter_mut().zip(&rows.columns) {
            for i in rows.count.saturating_sub(3)..rows.count {
                last.push(point(rows, *values, i));
            }
            last.drain(..last.len().saturating_sub(3));
        }
    }
}

/// How many statistics of single columns the windows have.
fn asked_single(asked: &Transforms) -> usize {
    let single = |windowed: &super::Windowed| {
        let statistics = &windowed.statistics;
        let counts = |(i, s): &(usize, &super::Rolling)| !s.is_of_pairs() && !statistics[..*i].contains(s);
        statistics.iter().enumerate().filter(counts).count()
    };
    asked.rolling.iter().map(single).sum()
}

fn point(rows: &Rows<'_>, values: Values<'_>, i: usize) -> Point {
    Point {
        value: values.get(i),
        time_ns: rows.times.map_or(0, |times| times[i]),
    }
}

/// The differences of these rows from those before them; where there may be none.
fn differences(from: Option<Point>, rows: &Rows<'_>, values: Values<'_>, out: &mut [f64]) -> Vec<Range<usize>> {
    if rows.count == 0 {
        return Vec::new();
    }
    let first = point(rows, values, 0);
    out[0] = from.map_or(ABSENT, |from| steps::difference(rows.times.is_some(), from, first));
    let rest = &mut out[1..];
    let unsure = match values {
        Values::F64(values) => steps::differences(values, rows.times, rest),
        Values::F32(values) => steps::differences(values, rows.times, rest),
    };
    let shifted = unsure.into_iter().map(|range| range.start + 1..range.end + 1);
    std::iter::once(0..1).chain(shifted).collect()
}

/// Gradients of a sequence of which so many rows went before, the last of which are known.
struct Edges<'a> {
    rows: u64,
    last: &'a [Point],
    order: u8,
}

impl Edges<'_> {
    /// Writes the gradients of the rows between the first and the last of a piece; the others are absent.
    fn write(&self, rows: &Rows<'_>, values: Values<'_>, out: &mut [f64]) -> Vec<Range<usize>> {
        let count = rows.count;
        if count == 0 {
            return Vec::new();
        }
        out[0] = ABSENT;
        out[count - 1] = ABSENT;
        let mut unsure = vec![0..1, count - 1..count];
        if count > 2 {
            let inner = &mut out[1..count - 1];
            let lacking = match values {
                Values::F64(values) => steps::gradients(values, rows.times, inner),
                Values::F32(values) => steps::gradients(values, rows.times, inner),
            };
            unsure.extend(lacking.into_iter().map(|range| range.start + 1..range.end + 1));
        }
        unsure
    }

    /// The gradient at one of the rows, by its place in the sequence; none where later rows decide it.
    fn at(&self, rows: &Rows<'_>, values: Values<'_>, place: u64) -> Option<f64> {
        let timed = rows.times.is_some();
        let total = self.rows + rows.count as u64;
        let get = |place: u64| -> Option<Point> {
            if place >= total {
                return None;
            }
            match place.checked_sub(self.rows) {
                Some(here) => Some(point(rows, values, here as usize)),
                None => self
                    .last
                    .get((self.last.len() as u64 + place).checked_sub(self.rows)? as usize)
                    .copied(),
            }
        };
        let three = |first: u64| Some([get(first)?, get(first + 1)?, get(first + 2)?]);
        let ended = rows.last && place + 1 == total;
        Some(match (place, self.order) {
            (0, 1) => match get(1) {
                Some(next) => steps::difference(timed, get(0)?, next),
                None if rows.last => ABSENT,
                None => return None,
            },
            (0, _) => match three(0) {
                Some(points) => steps::gradient_at_edge(timed, false, points),
                None if rows.last => ABSENT,
                None => return None,
            },
            (place, 1) if ended => steps::difference(timed, get(place - 1)?, get(place)?),
            (place, _) if ended => match place.checked_sub(2).and_then(three) {
                Some(points) => steps::gradient_at_edge(timed, true, points),
                None => ABSENT,
            },
            (place, _) => steps::gradient(timed, three(place - 1)?),
        })
    }
}
