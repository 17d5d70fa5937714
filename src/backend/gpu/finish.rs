//! From what came back to summaries.

use super::kernels::Kernel;
use super::load::{Job, Load, Look, Matrix, Piece};
use super::pack::on_host;
use super::stage::{Places, index};
use crate::spec::Precision;
use crate::summary::Loss;
use crate::summary::comoments::{CoMoments, triangle};
use crate::summary::dd::ldexp;
use crate::summary::differences::Edge;
use crate::summary::{Differences, LossShape, Moments, Order, RegressionMoments, Summary, moments::PivotSums};

/// A mean over the complete rows may lie this far from the pivot, in standard deviations: up to it, subtracting
/// (Σd)²/n loses at most a factor 1 + distance² of the accuracy of Σd².
fn distance_max(precision: Precision) -> f64 {
    match precision {
        Precision::Exact => 4.0,
        Precision::Fast => 0.25,
    }
}

/// A sum of squares over the complete rows at least: what is lost in squares below the range of the device's numbers is
/// then less than 2⁻³⁰ of it in `fast`, and 2⁻²⁰⁰ in `exact`, whatever else is in the column.
fn squares_min(precision: Precision) -> f64 {
    match precision {
        Precision::Exact => ldexp(1.0, -800),
        Precision::Fast => ldexp(1.0, -80),
    }
}

/// A product of slopes and deviations at least, beside the root of the sum of the slopes' squares: one that is less is
/// of deviations near the end of the range of the device's numbers (or cancels; the host then makes it for nothing).
fn product_min(precision: Precision) -> f64 {
    match precision {
        Precision::Exact => ldexp(1.0, -800),
        Precision::Fast => ldexp(1.0, -60),
    }
}

/// The output of a submission.
pub(super) struct Answers<'a> {
    pub(super) load: &'a Load,
    pub(super) at: &'a Places,
    pub(super) bytes: &'a [u8],
}

impl Answers<'_> {
    /// The summary of a piece, and whether the host had to make it after all.
    ///
    /// `job` is the piece's own, or a later one of the same shape over the same rows with other weights.
    pub(super) fn summary(&self, piece: &Piece, job: &Job) -> (Summary, bool) {
        let work = &job.work;
        let found = if piece.all_on_host { None } else { self.on_device(piece) };
        if let Some(summary) = found {
            return (summary, false);
        }
        // What the host has made already is all of it only where the device was to make nothing.
        match piece.host.as_deref().filter(|_| piece.all_on_host) {
            Some(done) => (done.clone(), true),
            None => (on_host(work, piece.rows.clone(), &work.shape), true),
        }
    }

    /// Nothing where a number is not finite, or a pivot turned out to be bad.
    fn on_device(&self, piece: &Piece) -> Option<Summary> {
        let work = &piece.job.work;
        let shape = &work.shape;
        let host = piece.host.as_deref();
        let columns = (0..shape.columns)
            .map(|i| self.moments(piece, i, shape.order))
            .collect::<Option<Vec<_>>>()?;
        let comoments = match &piece.comoments {
            Some(matrix) => {
                let all: Vec<usize> = (0..shape.columns).collect();
                Some(Box::new(self.matrix(piece, matrix, &all)?))
            }
            None => None,
        };
        let regression = match &piece.regression {
            Some(matrix) => Some(RegressionMoments::Fast(Box::new(self.matrix(
                piece,
                matrix,
                &shape.regression,
            )?))),
            None => host.and_then(|h| h.regression.clone()),
        };
        let differences = match piece.differences {
            Some(at) => (0..shape.columns)
                .map(|i| self.differences(piece, at, i))
                .collect::<Option<Vec<_>>>()?,
            None => host.map_or(Vec::new(), |h| h.differences.clone()),
        };
        let loss = match &shape.loss {
            Some(loss) => Some(Box::new(self.loss(piece, loss)?)),
            None => None,
        };
        Some(Summary {
            rows: piece.rows.len() as u64,
            columns,
            comoments,
            regression,
            differences,
            quantiles: host.map_or(Vec::new(), |h| h.quantiles.clone()),
            loss,
        })
    }

    fn look(&self, piece: &Piece, i: usize) -> &Look {
        &self.load.looks[piece.looks + i]
    }

    /// Sum `k` of a kernel's output.
    fn sum(&self, kernel: Kernel, k: usize) -> f64 {
        let at = self.at.out[index(kernel)] as usize + 8 * k;
        let bytes: [u8; 8] = self.bytes[at..at + 8].try_into().unwrap_or_default();
        match self.load.precision {
            Precision::Exact => f64::from_le_bytes(bytes),
            Precision::Fast => {
                let [high, low]: [f32; 2] = bytemuck::cast(bytes);
                f64::from(high) + f64::from(low)
            }
        }
    }

    /// The power sums of a column whose runs begin at `items`, over `count` values.
    fn powers(&self, look: &Look, items: usize, runs: usize, count: u64) -> Option<PivotSums> {
        let mut powers = [0.0; 4];
        for item in items..items + runs {
            for (k, power) in powers.iter_mut().enumerate() {
                *power += self.sum(Kernel::Moments, 4 * item + k);
            }
        }
        let e = look.exponent;
        let [s1, s2, s3, s4] = powers;
        let sums = PivotSums {
            count,
            pivot: look.pivot,
            s1: ldexp(s1, e),
            s1_low: 0.0,
            s2: ldexp(s2, 2 * e),
            s3: ldexp(s3, 3 * e),
            s4: ldexp(s4, 4 * e),
        };
        powers.iter().all(|x| x.is_finite()).then_some(sums)
    }

    fn moments(&self, piece: &Piece, i: usize, order: Order) -> Option<Moments> {
        let look = self.look(piece, i);
        let sums = self.powers(look, piece.items + i * piece.runs, piece.runs, look.count)?;
        let mut moments = Moments::from_sums(&sums, order, look.min, look.max, 0);
        moments.missing = look.missing;
        moments.positive_infinite = look.positive_infinite;
        moments.negative_infinite = look.negative_infinite;
        Some(moments)
    }

    fn matrix(&self, piece: &Piece, matrix: &Matrix, columns: &[usize]) -> Option<CoMoments> {
        let d = matrix.columns;
        let (rows, present, infinite, items) = match &matrix.gaps {
            None => (piece.rows.len() as u64, vec![true; d], vec![0; d], None),
            Some(gaps) => (gaps.rows, gaps.present.clone(), gaps.infinite.clone(), Some(gaps.items)),
        };
        if rows == 0 {
            return Some(CoMoments {
                present,
                infinite,
                ..CoMoments::new(d)
            });
        }
        let looks: Vec<&Look> = columns.iter().map(|i| self.look(piece, *i)).collect();
        let mut s1 = Vec::with_capacity(d);
        for (k, i) in columns.iter().enumerate() {
            let items = items.map_or(piece.items + i * piece.runs, |items| items + k * piece.runs);
            s1.push(self.powers(looks[k], items, piece.runs, rows)?.s1);
        }
        let mut s2 = vec![0.0; d * (d + 1) / 2];
        let side = matrix.side;
        let tiles = d.div_ceil(side);
        let pairs = (0..tiles).flat_map(|i| (i..tiles).map(move |j| (i, j)));
        for (pair, (ti, tj)) in pairs.enumerate() {
            let first = matrix.out + pair * side * side;
            for i in ti * side..d.min((ti + 1) * side) {
                for j in (tj * side).max(i)..d.min((tj + 1) * side) {
                    let at = first + (i - ti * side) * side + (j - tj * side);
                    let product: f64 = (0..matrix.groups)
                        .map(|g| self.sum(Kernel::Fold, at + g * matrix.stride))
                        .sum();
                    s2[triangle(i, j, d)] = ldexp(product, looks[i].exponent + looks[j].exponent);
                }
            }
        }
        if !s2.iter().all(|x| x.is_finite()) {
            return None;
        }
        let pivots: Vec<f64> = looks.iter().map(|look| look.pivot).collect();
        if matrix.gaps.is_some() {
            let most = distance_max(self.load.precision);
            let least = squares_min(self.load.precision);
            let lost = |i: usize| {
                let squares = ldexp(s2[triangle(i, i, d)], -2 * looks[i].exponent);
                squares < least && looks[i].min < looks[i].max
            };
            let far = |i: usize| {
                let sums = PivotSums {
                    count: rows,
                    s1: s1[i],
                    s2: s2[triangle(i, i, d)],
                    ..PivotSums::default()
                };
                let distance = sums.s1 / rows as f64;
                distance * distance > most * most * (sums.m2() / rows as f64)
            };
            if (0..d).any(|i| lost(i) || far(i)) {
                return None;
            }
        }
        Some(CoMoments::from_sums(
            rows,
            present,
            infinite,
            vec![0; d],
            &pivots,
            &s1,
            s2,
        ))
    }

    fn differences(&self, piece: &Piece, (first, unordered): (usize, u64), i: usize) -> Option<Differences> {
        let work = &piece.job.work;
        let (batch, order) = (&work.batch, work.cells.order.as_deref());
        let edge = |k: usize| {
            let row = order.map_or(k, |order| order[k] as usize);
            Edge {
                time_ns: batch.time_ns().map(|t| t[row]),
                value: batch.columns()[i].get(row),
            }
        };
        let found: [f64; 5] = std::array::from_fn(|k| self.sum(Kernel::Differences, 5 * (first + i) + k));
        let [pivot, s1, s2, min, max] = found;
        let count = piece.rows.len() as u64 - 1 - unordered;
        let sums = PivotSums {
            count,
            pivot,
            s1,
            s2,
            ..PivotSums::default()
        };
        if count > 0 && !found.iter().all(|x| x.is_finite()) {
            return None;
        }
        Some(Differences {
            moments: Moments::from_sums(&sums, Order::Second, min, max, 0),
            unordered,
            edges: Some((edge(piece.rows.start), edge(piece.rows.end - 1))),
        })
    }

    /// The gradient by the weights of the terms, from that by the weights of their deviations.
    fn loss(&self, piece: &Piece, shape: &LossShape) -> Option<Loss> {
        let at = piece.loss.as_ref()?;
        let mut sums = vec![0.0; at.stride];
        for group in 0..at.groups {
            for (k, sum) in sums.iter_mut().enumerate() {
                *sum += self.sum(Kernel::Fold, at.out + group * at.stride + k);
            }
        }
        let slope = sums[1];
        // Complete rows may be far smaller than what else is in a column; without gaps the largest are among them.
        let gaps = at.rows < piece.rows.len() as u64;
        let least = product_min(self.load.precision) * sums[0].abs().sqrt();
        let lost = |(i, product): (&usize, &f64)| {
            let look = self.look(piece, *i);
            product.abs() < least && look.min < look.max
        };
        if gaps && shape.terms.iter().zip(&sums[2..]).any(lost) {
            return None;
        }
        let mut gradient = Vec::with_capacity(shape.weights());
        if shape.intercept {
            gradient.push(slope);
        }
        for (i, product) in shape.terms.iter().zip(&sums[2..]) {
            let look = self.look(piece, *i);
            gradient.push(look.pivot * slope + ldexp(*product, look.exponent));
        }
        sums.iter().all(|x| x.is_finite()).then_some(Loss {
            rows: at.rows,
            loss: sums[0],
            gradient,
        })
    }
}
