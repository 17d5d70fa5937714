//! Summaries against the exact answers, part by part, with bounds that a GPU's sums have to keep; and GPUs to borrow.

use crate::gpu_agreement::{gpu, options};
use crate::oracle::{self, Rational, dyadic, rational, to_f64};
use crate::support::U;
use millstream::backend::gpu::Gpu;
use millstream::backend::{Partial, Resident, Tolerance, Work};
use millstream::summary::{Differences, Loss, LossShape, Model, Moments, Quantiles, RegressionMoments, Shape};
use millstream::{Backend, Batch, Precision, Result, Summary};
use num_traits::{Signed, Zero};
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// Both precisions.
pub(crate) const PRECISIONS: [Precision; 2] = [Precision::Exact, Precision::Fast];

/// Opening a GPU takes a third of a second: those that are given back are lent again.
static EXACT: Mutex<Vec<Gpu>> = Mutex::new(Vec::new());
static FAST: Mutex<Vec<Gpu>> = Mutex::new(Vec::new());

fn pool(precision: Precision) -> &'static Mutex<Vec<Gpu>> {
    if precision == Precision::Exact { &EXACT } else { &FAST }
}

/// A GPU that goes back when it is dropped.
pub(crate) struct Lent {
    gpu: Option<Gpu>,
    precision: Precision,
}

/// A GPU of this precision; nothing where the machine has none and none is required.
pub(crate) fn lent(precision: Precision) -> Option<Lent> {
    let free = pool(precision).lock().unwrap_or_else(PoisonError::into_inner).pop();
    let gpu = free.or_else(|| gpu(options(precision)))?;
    Some(Lent {
        gpu: Some(gpu),
        precision,
    })
}

impl Drop for Lent {
    fn drop(&mut self) {
        // One that failed a test may have answers left.
        if !std::thread::panicking() {
            let mut free = pool(self.precision).lock().unwrap_or_else(PoisonError::into_inner);
            free.extend(self.gpu.take());
        }
    }
}

impl Deref for Lent {
    type Target = Gpu;
    fn deref(&self) -> &Gpu {
        self.gpu.as_ref().expect("it is given back last")
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Gpu {
        self.gpu.as_mut().expect("it is given back last")
    }
}

impl Backend for Lent {
    fn name(&self) -> &str {
        (**self).name()
    }
    fn device(&self) -> String {
        (**self).device()
    }
    fn tolerance(&self) -> Tolerance {
        (**self).tolerance()
    }
    fn submit(&mut self, seq: u64, work: Work) -> Result<()> {
        (**self).submit(seq, work)
    }
    fn collect(&mut self) -> Result<(u64, Vec<Partial>)> {
        (**self).collect()
    }
    fn depth(&self) -> usize {
        (**self).depth()
    }
    fn carries(&self) -> bool {
        (**self).carries()
    }
    fn block_rows(&self, shape: &Shape) -> Option<usize> {
        (**self).block_rows(shape)
    }
    fn upload(&mut self, batch: &Batch) -> Result<Resident> {
        (**self).upload(batch)
    }
}

/// What a work comes to.
pub(crate) fn reduce(backend: &mut dyn Backend, work: &Work) -> Vec<Summary> {
    backend.submit(7, work.clone()).unwrap();
    let (seq, partials) = backend.collect().unwrap();
    assert_eq!(seq, 7);
    let leaf = |p| match p {
        Partial::Leaf(summary) => *summary,
        Partial::Open(_) => panic!("a GPU gives no leaf back open"),
    };
    partials.into_iter().map(leaf).collect()
}

/// The rows of a set, as the oracle takes them.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) columns: Vec<Vec<f64>>,
    pub(crate) times: Option<Vec<i64>>,
}

impl Rows {
    /// The rows with these numbers.
    pub(crate) fn of(batch: &Batch, rows: impl Iterator<Item = usize> + Clone) -> Self {
        let column = |c: &millstream::batch::Column| rows.clone().map(|i| c.get(i)).collect();
        Self {
            columns: batch.columns().iter().map(column).collect(),
            times: batch.time_ns().map(|t| rows.clone().map(|i| t[i]).collect()),
        }
    }
}

/// Reduces the work and compares what comes of each block.
pub(crate) fn judge(backend: &mut dyn Backend, work: &Work) -> std::result::Result<(), String> {
    let tolerance = backend.tolerance();
    let summaries = reduce(backend, work);
    ensure(summaries.len() == work.cells.blocks.len(), || "answers".into())?;
    for (k, (summary, block)) in summaries.iter().zip(&work.cells.blocks).enumerate() {
        let place = |i: usize| work.cells.order.as_ref().map_or(i, |o| o[i] as usize);
        let rows = Rows::of(&work.batch, block.rows.clone().map(place));
        judge_summary(summary, &rows, &work.shape, work.weights.as_deref(), tolerance)
            .map_err(|e| format!("block {k} of {} rows: {e}", block.rows.len()))?;
    }
    Ok(())
}

/// Compares a summary with the exact answers.
pub(crate) fn judge_summary(
    summary: &Summary,
    rows: &Rows,
    shape: &Shape,
    weights: Option<&[f64]>,
    tolerance: Tolerance,
) -> std::result::Result<(), String> {
    let n = rows.columns.first().map_or(0, Vec::len);
    ensure(summary.rows == n as u64, || format!("{} rows, not {n}", summary.rows))?;
    for (i, values) in rows.columns.iter().take(shape.columns).enumerate() {
        let at = |e| format!("column {i}: {e}");
        moments(&summary.columns[i], values, tolerance.moments).map_err(at)?;
        if shape.quantiles {
            quantiles(&summary.quantiles[i], values).map_err(at)?;
        }
        if shape.differences {
            differences(
                &summary.differences[i],
                values,
                rows.times.as_deref(),
                tolerance.moments,
            )
            .map_err(at)?;
        }
    }
    if shape.comoments {
        let m = summary.comoments.as_ref().ok_or("no co-moments")?;
        let columns: Vec<&[f64]> = rows.columns[..shape.columns].iter().map(Vec::as_slice).collect();
        let product = |i, j| scaled(m.product(i, j), m.scale[i] + m.scale[j]);
        products(&columns, m.rows, &m.present, &m.infinite, product, tolerance.comoments)?;
    }
    if !shape.regression.is_empty() {
        let columns: Vec<&[f64]> = shape.regression.iter().map(|i| rows.columns[*i].as_slice()).collect();
        match &summary.regression {
            Some(RegressionMoments::Fast(m)) => {
                let product = |i, j| scaled(m.product(i, j), m.scale[i] + m.scale[j]);
                products(&columns, m.rows, &m.present, &m.infinite, product, tolerance.comoments)
            }
            // Products with 106 bits, of which the comparison sees 53.
            Some(RegressionMoments::Exact(m)) => {
                let product = |i, j| scaled(m.product(i, j).hi, m.scale[i] + m.scale[j]);
                products(&columns, m.rows, &m.present, &m.infinite, product, 4.0 * U)
            }
            None => Err("there is none".into()),
        }
        .map_err(|e| format!("regression: {e}"))?;
    }
    if let (Some(shape), Some(weights)) = (&shape.loss, weights) {
        let found = summary.loss.as_ref().ok_or("no loss")?;
        loss(found, &rows.columns, shape, weights, tolerance.moments).map_err(|e| format!("loss: {e}"))?;
    }
    Ok(())
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> std::result::Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

/// x·2^e.
fn scaled(x: f64, e: i32) -> Option<Rational> {
    x.is_finite().then(|| rational(x) * dyadic(1.into(), e))
}

/// That |found − exact| ≤ bound.
fn within(what: &str, found: Option<Rational>, exact: &Rational, bound: &Rational) -> std::result::Result<(), String> {
    let error = found.map(|found| (found - exact).abs());
    ensure(error.as_ref().is_some_and(|e| e <= bound), || {
        let times = error.map(|e| {
            if bound.is_zero() {
                f64::INFINITY
            } else {
                to_f64(&(e / bound))
            }
        });
        format!("{what} off by {times:?} times what is allowed")
    })
}

/// Finite values come to exact counts and extremes, and to sums within bounds.
///
/// `t` bounds the sums of deviations d and of their squares, relative to Σ|d| and Σd². A cube takes 2 roundings more
/// than a square and the deviation's once more, a fourth power 1 and twice: with a pivot within a quarter of a standard
/// deviation, whose binomial terms add 4/4 + 6/16 + 4/64 + 1/256, a factor 4 covers both. By Schwarz Σ|d|³ is at most
/// the root of Σd² Σd⁴.
fn moments(m: &Moments, values: &[f64], t: f64) -> std::result::Result<(), String> {
    let finite: Vec<f64> = values.iter().copied().filter(|x| x.is_finite()).collect();
    let count = |of: &dyn Fn(f64) -> bool| values.iter().filter(|x| of(**x)).count() as u64;
    let counts = [
        finite.len() as u64,
        count(&f64::is_nan),
        count(&|x| x == f64::INFINITY),
        count(&|x| x == f64::NEG_INFINITY),
    ];
    let found = [m.count, m.missing, m.positive_infinite, m.negative_infinite];
    ensure(found == counts, || format!("counts {found:?}, not {counts:?}"))?;
    let Some(exact) = oracle::moments(&finite) else {
        return Ok(());
    };
    let ends = (to_f64(&exact.min), to_f64(&exact.max));
    ensure((m.min, m.max) == ends, || {
        format!("extremes {} {}, not {ends:?}", m.min, m.max)
    })?;
    let n = Rational::from_integer(finite.len().into());
    let t = rational(t);
    let sd = oracle::sqrt(&exact.m2);
    // A sum is held in double-double: its share is below 2⁻¹⁰⁰ of the largest value's n-fold.
    let tail = &n * exact.min.abs().max(exact.max.abs()) * dyadic(1.into(), -100);
    let sum = scaled(m.sum.hi, m.scale)
        .zip(scaled(m.sum.lo, m.scale))
        .map(|(h, l)| h + l);
    within("mean", sum, &exact.sum, &(&t * &n * &sd + tail))?;
    let m2 = &exact.m2 * &n;
    within("variance", scaled(m.m2, 2 * m.scale), &m2, &(&t * &m2))?;
    if m.order == millstream::summary::Order::Fourth {
        let (m3, m4) = (&exact.m3 * &n, &exact.m4 * &n);
        let four = rational(4.0) * t;
        let third = &four * oracle::sqrt(&(&m2 * &m4));
        within("third moment", scaled(m.m3, 3 * m.scale), &m3, &third)?;
        within("fourth moment", scaled(m.m4, 4 * m.scale), &m4, &(four * &m4))?;
    }
    Ok(())
}

/// A quantile lies within 1 % of the order statistics that it is between; the first and the last are exact.
fn quantiles(q: &Quantiles, values: &[f64]) -> std::result::Result<(), String> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|x| !x.is_nan()).collect();
    sorted.sort_by(f64::total_cmp);
    ensure(q.count() == sorted.len() as u64, || {
        format!("{} of quantiles", q.count())
    })?;
    let Some(last) = sorted.len().checked_sub(1) else {
        return Ok(());
    };
    let probabilities = [0.0, 0.25, 0.5, 0.9, 1.0];
    for (p, found) in probabilities.into_iter().zip(q.at(&probabilities)) {
        let below = (p * last as f64).floor() as usize;
        let (low, high) = (sorted[below], sorted[(below + 1).min(last)]);
        let slack = if p == 0.0 || p == 1.0 { 0.0 } else { 0.01 };
        let (low, high) = if p == 0.0 { (low, low) } else { (low, high) };
        let found = found.unwrap_or(f64::NAN);
        let fits = low - slack * low.abs() <= found && found <= high + slack * high.abs();
        ensure(fits || low.is_infinite() || high.is_infinite(), || {
            format!("quantile {p}: {found}, not between {low} and {high}")
        })?;
    }
    Ok(())
}

/// A difference is rounded once, and with times its span twice and their quotient once: 4 U, 1 U without times.
fn differences(d: &Differences, values: &[f64], times: Option<&[i64]>, t: f64) -> std::result::Result<(), String> {
    let (counted, unordered) = oracle::differences(values, times);
    let infinite = values.iter().any(|x| x.is_infinite());
    let found = (d.moments.count, d.unordered);
    ensure(infinite || found == (counted.len() as u64, unordered as u64), || {
        format!("differences {found:?}, not {:?}", (counted.len(), unordered))
    })?;
    if infinite || counted.is_empty() {
        return Ok(());
    }
    let roundings = if times.is_some() { 4.0 * U } else { U };
    let (least, greatest) = (counted.iter().min().expect("some"), counted.iter().max().expect("some"));
    let near = |x: &Rational| x.abs() * rational(roundings);
    within("least difference", scaled(d.moments.min, 0), least, &near(least))?;
    within(
        "greatest difference",
        scaled(d.moments.max, 0),
        greatest,
        &near(greatest),
    )?;
    let rounded: Vec<f64> = counted.iter().map(to_f64).collect();
    let exact = oracle::moments(&rounded).expect("some");
    let n = Rational::from_integer(counted.len().into());
    let largest = exact.min.abs().max(exact.max.abs()) * rational(roundings + U);
    let sd = oracle::sqrt(&exact.m2);
    let sum = scaled(d.moments.sum.hi, d.moments.scale);
    let bound = &n * (rational(t) * &sd + rational(4.0) * &largest);
    within("mean difference", sum, &exact.sum, &bound)?;
    // An error e of each changes Σ(x − mean)² by at most 2 e n sd + n e².
    let own = &n * (rational(2.0) * &largest * &sd + &largest * &largest);
    let m2 = &exact.m2 * &n;
    let bound = rational(t) * &m2 + own;
    within(
        "variance of differences",
        scaled(d.moments.m2, 2 * d.moments.scale),
        &m2,
        &bound,
    )
}

fn products(
    columns: &[&[f64]],
    rows: u64,
    present: &[bool],
    infinite: &[u64],
    product: impl Fn(usize, usize) -> Option<Rational>,
    t: f64,
) -> std::result::Result<(), String> {
    let has = |c: &&[f64]| c.iter().any(|x| !x.is_nan());
    let expected: Vec<bool> = columns.iter().map(has).collect();
    ensure(present == expected, || format!("present {present:?}, not {expected:?}"))?;
    let taking: Vec<usize> = (0..columns.len()).filter(|i| expected[*i]).collect();
    let slices: Vec<&[f64]> = taking.iter().map(|i| columns[*i]).collect();
    let here = |row: usize| slices.iter().all(|c| !c[row].is_nan());
    let all = slices.first().map_or(0, |c| c.len());
    for (i, column) in columns.iter().enumerate() {
        let n = (0..all).filter(|row| here(*row) && column[*row].is_infinite()).count() as u64;
        ensure(infinite[i] == n || !expected[i], || {
            format!("column {i}: {} infinite, not {n}", infinite[i])
        })?;
    }
    let complete = oracle::listwise(&slices);
    let n = complete.first().map_or(0, Vec::len);
    ensure(rows == n as u64, || format!("{rows} complete rows, not {n}"))?;
    if n == 0 {
        return Ok(());
    }
    let n = Rational::from_integer(n.into());
    let exact = |i: usize, j: usize| oracle::covariance(&complete[i], &complete[j], 0).expect("n > 0") * &n;
    let own: Vec<Rational> = (0..complete.len()).map(|i| exact(i, i)).collect();
    for (i, a) in taking.iter().enumerate() {
        for (j, b) in taking.iter().enumerate().skip(i) {
            let bound = rational(t) * oracle::sqrt(&(&own[i] * &own[j]));
            within(&format!("product ({a}, {b})"), product(*a, *b), &exact(i, j), &bound)?;
        }
    }
    Ok(())
}

/// A loss and its gradient, row by row.
///
/// Each row's z = w·x − (y) comes from deviations around pivots near the means: with k terms it errs by (k + 4) units
/// of Σ|w| |x − mean| + |y − mean| + |w₀|, where w₀ is what the means come to; the host rounds w₀ in f64. The loss takes
/// that times its slope, and everything is summed with some 32 roundings. A gradient is taken back from deviations to
/// terms, which adds the error of the sum of slopes times the mean.
fn loss(
    found: &Loss,
    columns: &[Vec<f64>],
    shape: &LossShape,
    weights: &[f64],
    t: f64,
) -> std::result::Result<(), String> {
    let unit = if t < 1e-9 { U } else { 2f64.powi(-24) };
    let taking: Vec<usize> = shape.terms.iter().copied().chain([shape.target]).collect();
    let centre = |i: &usize| {
        let finite: Vec<f64> = columns[*i].iter().copied().filter(|x| x.is_finite()).collect();
        finite.iter().sum::<f64>() / finite.len().max(1) as f64
    };
    let centres: Vec<f64> = taking.iter().map(centre).collect();
    let chosen: Vec<&[f64]> = taking.iter().map(|i| columns[*i].as_slice()).collect();
    let complete = oracle::listwise(&chosen);
    let (terms, y) = complete.split_at(shape.terms.len());
    let y = &y[0];
    ensure(found.rows == y.len() as u64, || {
        format!("{} complete rows, not {}", found.rows, y.len())
    })?;
    let first = usize::from(shape.intercept);
    let bias = if shape.intercept { weights[0] } else { 0.0 };
    let linear = shape.model == Model::Linear;
    let given = &weights[first..];
    let target = if linear {
        *centres.last().expect("a target")
    } else {
        0.0
    };
    let products = || given.iter().zip(&centres).map(|(w, c)| w * c);
    let offset = (bias + products().sum::<f64>() - target).abs();
    let host = (bias.abs() + products().map(f64::abs).sum::<f64>() + target.abs()) * U;
    let k = given.len() as f64;
    let mut exact = vec![Rational::zero(); first + terms.len() + 1];
    let mut bounds = vec![0.0; exact.len()];
    let mut slope_bound = 0.0;
    for row in 0..y.len() {
        let z = given
            .iter()
            .zip(terms)
            .fold(rational(bias), |z, (w, x)| z + rational(*w) * rational(x[row]));
        let away = |(x, c): (&f64, f64)| (x - c).abs();
        let spread: f64 = given
            .iter()
            .zip(terms)
            .zip(&centres)
            .map(|((w, x), c)| w.abs() * away((&x[row], *c)))
            .sum();
        let of_target = if linear { away((&y[row], target)) } else { 0.0 };
        let z_error = unit * (k + 4.0) * (2.0 * spread + of_target + offset) + 2.0 * (k + 4.0) * host;
        let (cost, slope, cost_size) = if linear {
            let rest = z - rational(y[row]);
            let size = to_f64(&rest).abs();
            (&rest * &rest * rational(0.5), rest, size * size)
        } else {
            let z = to_f64(&z);
            // log(1 + eᶻ) − y z and 1 / (1 + e⁻ᶻ) − y, with terms of one sign each.
            let e = (-z.abs()).exp();
            let (cost, slope) = if z >= 0.0 {
                (e.ln_1p() + (1.0 - y[row]) * z, (1.0 - y[row]) - e / (1.0 + e))
            } else {
                (e.ln_1p() - y[row] * z, e / (1.0 + e) - y[row])
            };
            (rational(cost), rational(slope), cost.abs())
        };
        let steep = to_f64(&slope).abs();
        let error = z_error + 32.0 * unit * (steep + if linear { 0.0 } else { 1.0 });
        exact[0] += cost;
        bounds[0] += z_error * (steep + z_error) + 32.0 * unit * cost_size;
        slope_bound += error;
        if shape.intercept {
            exact[1] += &slope;
        }
        for (j, x) in terms.iter().enumerate() {
            exact[1 + first + j] += &slope * rational(x[row]);
            bounds[1 + first + j] += error * (2.0 * (x[row] - centres[j]).abs() + centres[j].abs());
        }
    }
    if shape.intercept {
        bounds[1] = slope_bound;
    }
    let all = [found.loss].into_iter().chain(found.gradient.iter().copied());
    ensure(found.gradient.len() + 1 == exact.len(), || {
        "the gradient's length".into()
    })?;
    for (k, ((x, exact), bound)) in all.zip(&exact).zip(&bounds).enumerate() {
        within(&format!("sum {k}"), scaled(x, 0), exact, &rational(*bound))?;
    }
    Ok(())
}
