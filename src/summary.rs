//! The mergeable state of a set of rows.
//!
//! A summary describes a set of rows; summaries of disjoint sets merge. Everything else in the crate is built on these
//! two sentences: leaves fold into cells, cells into windows, batches into results. A summary knows nothing of
//! divisors, of correlation or of formatting; a [`Report`](crate::Report) does.
//!
//! Merging is associative up to rounding only, so whoever merges does it in a fixed order; counts, extremes, integer
//! sums and sketches are exact in any order.

pub mod cell;
pub mod check;
pub mod comoments;
pub mod dd;
pub mod differences;
pub mod ewm;
pub mod loss;
pub mod moments;
pub mod quantiles;
pub mod rows;

pub use cell::CellState;
pub use comoments::{CoMoments, ExactCoMoments};
pub use differences::Differences;
pub use ewm::Ewm;
pub use loss::{Loss, LossShape, Model};
pub use moments::{Moments, Order};
pub use quantiles::Quantiles;
use serde::{Deserialize, Serialize};

use comoments::{ProductRoom, ProductRun};
use dd::Dd;
use differences::{DifferenceRun, Edge};
use moments::MomentLanes;
use moments::abreast::ABREAST;
use rows::{Chosen, Rows};

/// Takes in the state of later rows.
pub trait Merge {
    /// Afterwards `self` describes its own rows followed by those of `later`.
    fn merge(&mut self, later: &Self);
}

/// The co-moments of a regression, in the precision that was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum RegressionMoments {
    /// Double-double products.
    Exact(Box<ExactCoMoments>),
    /// `f64` products.
    Fast(Box<CoMoments>),
}

impl RegressionMoments {
    /// Terms and target.
    pub fn dimension(&self) -> usize {
        match self {
            Self::Exact(m) => m.dimension(),
            Self::Fast(m) => m.dimension(),
        }
    }
}

/// What is kept of a set of rows: the parts that a [`Spec`](crate::Spec) asks for.
///
/// Large parts are boxed: there may be millions of summaries that do without them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Rows.
    pub rows: u64,
    /// One a column.
    pub columns: Vec<Moments>,
    /// Over all columns.
    pub comoments: Option<Box<CoMoments>>,
    /// Over the terms of the regression, then its target.
    pub regression: Option<RegressionMoments>,
    /// One a column, or none.
    pub differences: Vec<Differences>,
    /// One a column, or none.
    pub quantiles: Vec<Quantiles>,
    /// Of a model, for the weights that came with the work.
    pub loss: Option<Box<Loss>>,
}

fn merge_each<T: Merge + Clone>(own: &mut Vec<T>, later: &[T]) {
    if own.is_empty() {
        own.extend_from_slice(later);
    } else {
        own.iter_mut().zip(later).for_each(|(a, b)| a.merge(b));
    }
}

impl<T: Merge> Merge for Box<T> {
    fn merge(&mut self, later: &Self) {
        self.as_mut().merge(later);
    }
}

fn merge_option<T: Merge + Clone>(own: &mut Option<T>, later: Option<&T>) {
    match (own.as_mut(), later) {
        (Some(a), Some(b)) => a.merge(b),
        (None, Some(b)) => *own = Some(b.clone()),
        (_, None) => {}
    }
}

impl Merge for RegressionMoments {
    fn merge(&mut self, later: &Self) {
        match (self, later) {
            (Self::Exact(a), Self::Exact(b)) => a.merge(b),
            (Self::Fast(a), Self::Fast(b)) => a.merge(b),
            _ => debug_assert!(false, "one spec has one precision"),
        }
    }
}

/// The default (empty) summary is the identity. Others are to be of one [`Shape`]; [`Summary::try_merge`] checks it.
impl Merge for Summary {
    fn merge(&mut self, later: &Self) {
        self.rows += later.rows;
        merge_each(&mut self.columns, &later.columns);
        merge_option(&mut self.comoments, later.comoments.as_ref());
        merge_option(&mut self.regression, later.regression.as_ref());
        merge_each(&mut self.differences, &later.differences);
        merge_each(&mut self.quantiles, &later.quantiles);
        merge_option(&mut self.loss, later.loss.as_ref());
    }
}

/// Which parts a summary has, over how many columns: the shape that a spec comes to for given data.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Shape {
    /// Columns that get moments (and the other parts).
    pub columns: usize,
    /// Which central moments, if any.
    pub order: Order,
    /// Whether co-moments over all columns are kept.
    pub comoments: bool,
    /// Columns of the data that enter the regression: its terms, then its target.
    pub regression: Vec<usize>,
    /// Whether products are as exact as can be: those of the regression in double-double, else in `f64`; the co-moments
    /// over all columns in `f64`, else in `f32` where a backend may do so and all of them are `f32`.
    pub exact: bool,
    /// Whether differences are kept.
    pub differences: bool,
    /// Whether quantiles are kept.
    pub quantiles: bool,
    /// The loss that is computed, if any; works with one bring weights.
    pub loss: Option<LossShape>,
}

impl Shape {
    /// Whether moments are all that is kept.
    pub fn is_moments_only(&self) -> bool {
        !self.comoments && self.regression.is_empty() && !self.differences && !self.quantiles && self.loss.is_none()
    }

    /// Whether a leaf that goes on holds more than moments.
    fn has_more_than_moments(&self) -> bool {
        self.comoments || !self.regression.is_empty() || self.differences || self.quantiles
    }

    /// Bytes that an unfinished leaf of this shape takes, about, where it holds ordinary values.
    pub fn run_bytes(&self) -> usize {
        let moments = size_of::<LeafRun>() + MomentLanes::state_bytes(self.columns, self.order);
        match self.has_more_than_moments() {
            true => moments + self.state_bytes(),
            false => moments,
        }
    }

    /// Bytes that one summary of this shape takes, about; sketches of quantiles are counted at the size of an exact
    /// set.
    pub fn state_bytes(&self) -> usize {
        let products = |d: usize, each: usize| d * (d + 1) / 2 * each + d * (size_of::<Dd>() + 24);
        let per_column = size_of::<Moments>()
            + if self.differences { size_of::<Differences>() } else { 0 }
            + if self.quantiles {
                size_of::<Quantiles>() + quantiles::EXACT_MAX * 8
            } else {
                0
            };
        size_of::<Summary>()
            + self.columns * per_column
            + if self.comoments { products(self.columns, 8) } else { 0 }
            + products(self.regression.len(), size_of::<Dd>())
            + self
                .loss
                .as_ref()
                .map_or(0, |loss| size_of::<Loss>() + loss.weights() * 8)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum RegressionRun {
    Exact(Box<ProductRun<Dd>>),
    Fast(Box<ProductRun<f64>>),
}

/// A summary of rows that come one at a time, in order: the running state of an unfinished leaf.
///
/// The state depends on the rows and their order alone, so a leaf may be interrupted and continued anywhere. It is
/// small where moments are all that is asked for, as there may be millions of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeafRun {
    rows: u64,
    moments: MomentLanes,
    rest: Option<Box<Rest>>,
}

/// Where running states work on their rows: used again, it costs nothing to have.
#[derive(Debug, Clone, Default)]
pub struct Room {
    fast: ProductRoom<f64>,
    exact: ProductRoom<Dd>,
}

/// What a leaf has beside moments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Rest {
    comoments: Option<ProductRun<f64>>,
    regression: Option<RegressionRun>,
    differences: Vec<DifferenceRun>,
    quantiles: Vec<Quantiles>,
}

impl LeafRun {
    /// No rows yet.
    pub fn new(shape: &Shape) -> Self {
        let d = shape.regression.len();
        let rest = || Rest {
            comoments: shape.comoments.then(|| ProductRun::new(shape.columns)),
            regression: (d > 0).then(|| match shape.exact {
                true => RegressionRun::Exact(Box::new(ProductRun::new(d))),
                false => RegressionRun::Fast(Box::new(ProductRun::new(d))),
            }),
            differences: if shape.differences {
                vec![DifferenceRun::default(); shape.columns]
            } else {
                Vec::new()
            },
            quantiles: if shape.quantiles {
                vec![Quantiles::default(); shape.columns]
            } else {
                Vec::new()
            },
        };
        Self {
            rows: 0,
            moments: MomentLanes::new(shape.columns, shape.order),
            rest: shape.has_more_than_moments().then(|| Box::new(rest())),
        }
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether it is a leaf of this shape.
    pub(crate) fn has_shape(&self, shape: &Shape) -> bool {
        let part = |asked: bool| if asked { shape.columns } else { 0 };
        let d = shape.regression.len();
        let rest_fits = |rest: &Rest| {
            let regression = match &rest.regression {
                None => d == 0,
                Some(RegressionRun::Exact(run)) => shape.exact && run.dimension() == d,
                Some(RegressionRun::Fast(run)) => !shape.exact && run.dimension() == d,
            };
            rest.comoments.as_ref().map(ProductRun::dimension) == shape.comoments.then_some(shape.columns)
                && regression
                && rest.differences.len() == part(shape.differences)
                && rest.quantiles.len() == part(shape.quantiles)
        };
        self.moments.columns() == shape.columns
            && self.moments.order() == shape.order
            && match &self.rest {
                None => !shape.has_more_than_moments(),
                Some(rest) => shape.has_more_than_moments() && rest_fits(rest),
            }
    }

    /// Takes the next row: all numeric columns of the data, NaN where a value is missing.
    pub fn push(&mut self, shape: &Shape, row: &[f64], time_ns: Option<i64>) {
        let columns: Vec<&[f64]> = row.iter().map(std::slice::from_ref).collect();
        let rows = Chosen {
            columns: &columns,
            time_ns: time_ns.as_ref().map(std::slice::from_ref),
            places: &[0],
        };
        self.push_rows(shape, rows, &mut Room::default());
    }

    /// Takes rows of the numeric columns of the data, in their order. What is in the room does not matter.
    #[inline(always)]
    pub fn push_rows(&mut self, shape: &Shape, rows: impl Rows, room: &mut Room) {
        self.moments.push_rows(self.rows, rows);
        self.rows += rows.count() as u64;
        if let Some(rest) = &mut self.rest {
            rest.push_rows(shape, rows, room);
        }
    }

    /// Takes rows of eight cells, equally many of each, if there are moments only and all values are of the ordinary kind;
    /// whether it did.
    #[inline(always)]
    pub(crate) fn push_abreast<R: Rows>(runs: [&mut Self; ABREAST], rows: &[R; ABREAST]) -> bool {
        if runs.iter().any(|run| run.rest.is_some()) || rows.iter().any(|rows| rows.column(0).is_none()) {
            return false;
        }
        let before = runs.each_ref().map(|run| run.rows);
        let values = |column: usize| rows.each_ref().map(|rows| rows.column(column).unwrap_or(&[]));
        let [a, b, c, d, e, f, g, h] = runs;
        let mut cells = [
            &mut a.moments,
            &mut b.moments,
            &mut c.moments,
            &mut d.moments,
            &mut e.moments,
            &mut f.moments,
            &mut g.moments,
            &mut h.moments,
        ];
        let taken = MomentLanes::push_abreast(&mut cells, before, values);
        if taken {
            for (run, rows) in [a, b, c, d, e, f, g, h].into_iter().zip(rows) {
                run.rows += rows.count() as u64;
            }
        }
        taken
    }

    /// Adds the moments of its columns to a list, and begins anew; how many rows there were.
    fn take_moments(&mut self, moments: &mut Vec<Moments>) -> u64 {
        let rows = std::mem::take(&mut self.rows);
        moments.extend(self.moments.finished(rows));
        self.moments.clear();
        rows
    }

    /// The summary of what came so far.
    pub fn finish(&self, shape: &Shape) -> Summary {
        let mut summary = Summary {
            rows: self.rows,
            columns: self.moments.finish(self.rows),
            // Without rows it is 0, whatever the weights; rows that come one at a time bring none.
            loss: shape
                .loss
                .as_ref()
                .filter(|_| self.rows == 0)
                .map(|loss| Box::new(Loss::new(loss.weights()))),
            ..Summary::default()
        };
        if let Some(rest) = &self.rest {
            summary.comoments = rest.comoments.as_ref().map(|run| Box::new(run.finish()));
            summary.regression = rest.regression.as_ref().map(|run| match run {
                RegressionRun::Exact(run) => RegressionMoments::Exact(Box::new(run.finish())),
                RegressionRun::Fast(run) => RegressionMoments::Fast(Box::new(run.finish())),
            });
            summary.differences = rest.differences.iter().map(DifferenceRun::finish).collect();
            summary.quantiles = rest.quantiles.clone();
        }
        summary
    }
}

impl Rest {
    #[inline(always)]
    fn push_rows(&mut self, shape: &Shape, rows: impl Rows, room: &mut Room) {
        let count = rows.count();
        if let Some(run) = &mut self.comoments {
            run.push_rows(count, |r, row| rows.copy_row(r, row), &mut room.fast);
        }
        let copy = |r: usize, row: &mut [f64]| {
            let columns = row.iter_mut().zip(&shape.regression);
            columns.for_each(|(x, column)| *x = rows.value(r, *column));
        };
        match &mut self.regression {
            Some(RegressionRun::Exact(run)) => run.push_rows(count, copy, &mut room.exact),
            Some(RegressionRun::Fast(run)) => run.push_rows(count, copy, &mut room.fast),
            None => {}
        }
        for (c, run) in self.differences.iter_mut().enumerate() {
            for r in 0..count {
                run.push(Edge {
                    time_ns: rows.time_ns(r),
                    value: rows.value(r, c),
                });
            }
        }
        for (c, run) in self.quantiles.iter_mut().enumerate() {
            (0..count).for_each(|r| run.push(rows.value(r, c)));
        }
    }
}
