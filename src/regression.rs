//! Least squares from co-moments: coefficients, standard errors, R², rank; plain or ridge.
//!
//! The normal equations are solved in double-double throughout. Columns are equilibrated by powers of two, then
//! factored by Cholesky without exchanging terms: a term that depends linearly on the ones before it, up to rounding,
//! is left out of the fit (its coefficient does not exist) and lowers the rank. With an intercept the co-moments are
//! already centred; without one the means are added back. Ridge (Hoerl & Kennard 1970) penalises λ‖β‖² of the terms,
//! never of the intercept.

use crate::spec::Regression;
use crate::summary::RegressionMoments;
use crate::summary::comoments::{Products, Real};
use crate::summary::dd::{Dd, exponent};
use serde::{Deserialize, Serialize};

/// A pivot of the equilibrated matrix below this is rounding: 2⁻⁹⁰ where products carry 106 bits (residuals of columns
/// that depend on others up to `f64` rounding lie near 2⁻¹⁰⁶) …
const RANK_TOLERANCE_EXACT: f64 = 8.1e-28;
/// … and 2⁻⁴⁰ where they carry 53.
const RANK_TOLERANCE_FAST: f64 = 9.1e-13;
/// A pivot below 2⁻¹⁰² Σx² is rounding too, however far from zero the values lie: a stored number is off by up to 2⁻⁵³
/// of itself, and one that was computed by a few times that.
const STORED_TOLERANCE: f64 = 1.97e-31;

/// What least squares come to.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Fit {
    /// The intercept first, if there is one, then one a term; `None` where the data does not determine it.
    pub coefficients: Vec<Option<f64>>,
    /// One a coefficient; `None` without degrees of freedom.
    pub standard_errors: Vec<Option<f64>>,
    /// 1 − residual sum of squares / total sum of squares.
    pub r_squared: Option<f64>,
    /// The square root of the residual sum of squares over its degrees of freedom.
    pub residual_std: Option<f64>,
    /// Linearly independent terms, the intercept included.
    pub rank: usize,
    /// Rows in which target and terms all have values.
    pub rows: u64,
    /// The same fit around the means of its terms: what predictions and their intervals are made from.
    pub centred: Option<Centred>,
}

/// A fit around the centre of its terms: value + Σ βⱼ (xⱼ − centreⱼ). Far from zero this keeps the digits of a
/// prediction's variance, which intercept and slopes lose as they vary against each other.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Centred {
    /// One a term: its mean with an intercept, else 0.
    pub centre: Vec<f64>,
    /// The linear predictor there; 0 without an intercept.
    pub value: f64,
    /// The covariance of (value, β₁, β₂, …) with an intercept, else of β alone: a matrix by rows, 0 where a term is
    /// left out; empty where it does not exist.
    pub covariance: Vec<Vec<f64>>,
    /// Complete rows less the rank.
    pub degrees_of_freedom: u64,
}

/// The fit of a regression from its co-moments (terms first, then the target).
pub fn fit(regression: &Regression, moments: &RegressionMoments) -> Fit {
    match moments {
        RegressionMoments::Exact(m) => solve(regression, m, RANK_TOLERANCE_EXACT),
        RegressionMoments::Fast(m) => solve(regression, m, RANK_TOLERANCE_FAST),
    }
}

fn solve<R: Real>(regression: &Regression, moments: &Products<R>, tolerance: f64) -> Fit {
    let p = regression.terms.len();
    let intercept = regression.intercept;
    let coefficients = p + usize::from(intercept);
    let mut fit = Fit {
        coefficients: vec![None; coefficients],
        standard_errors: vec![None; coefficients],
        rows: moments.rows,
        ..Fit::default()
    };
    // A column without any value leaves no row complete.
    if moments.rows == 0 || moments.present.contains(&false) {
        fit.rows = 0;
        return fit;
    }
    let n = Dd::from(moments.rows as f64);
    let mean = |i: usize| moments.sums[i] / n;
    let product = |i: usize, j: usize| {
        let centred = moments.product(i, j).to_dd();
        if intercept {
            centred
        } else {
            centred + mean(i) * moments.sums[j]
        }
    };

    // Equilibrate: powers of two, so that no digit is lost. Terms and target are in the units of the co-moments; a
    // penalty that outweighs a term by far decides in its place, so that it stays in range.
    let unit = &moments.scale;
    let ridge = regression.ridge;
    // `excess` is what the penalty adds to the exponent of the term itself.
    let (scale, excess): (Vec<i32>, Vec<i32>) = (0..p)
        .map(|i| {
            let norm = product(i, i).hi;
            let own = (norm > 0.0 && norm.is_finite()).then(|| exponent(norm) / 2);
            let penalised = (ridge > 0.0).then(|| exponent(ridge) / 2 - unit[i]);
            let scale = own.max(penalised).unwrap_or(0);
            (scale, own.map_or(0, |own| scale - own))
        })
        .unzip();
    let penalty = |i: usize| Dd::from(ridge).scaled(-2 * (scale[i] + unit[i]));
    let a = |i: usize, j: usize| product(i, j).scaled(-scale[i] - scale[j]);
    let floor = |i: usize| {
        let square = if intercept {
            product(i, i) + mean(i) * moments.sums[i]
        } else {
            product(i, i)
        };
        let own = (a(i, i) + penalty(i)).hi;
        // A penalty makes every term a term of its own, whatever the data.
        let stored = if ridge > 0.0 {
            0.0
        } else {
            STORED_TOLERANCE * square.scaled(-2 * scale[i]).hi
        };
        (tolerance * own).max(stored)
    };
    let factor = Factor::new(p, floor, |i, j| if i == j { a(i, i) + penalty(i) } else { a(i, j) });
    let v: Vec<Dd> = (0..p).map(|i| product(i, p).scaled(-scale[i])).collect();
    let beta = factor.solve(&v);

    // RSS = y'y − 2 β'v + β'Aβ, which holds with and without a penalty.
    let yy = product(p, p);
    let mut rss = yy;
    for i in factor.kept() {
        rss = rss - Dd::from(2.0) * beta[i] * v[i];
        for j in factor.kept() {
            rss = rss + beta[i] * a(i.min(j), i.max(j)) * beta[j];
        }
    }
    if rss.hi < 0.0 {
        rss = Dd::ZERO;
    }
    fit.rank = factor.kept().count() + usize::from(intercept);
    let freedom = moments.rows as f64 - fit.rank as f64;
    let sigma2 = (freedom > 0.0).then(|| rss / Dd::from(freedom));
    fit.r_squared = (yy.hi > 0.0).then(|| (Dd::ONE - rss / yy).hi.min(1.0));
    fit.residual_std = sigma2.map(|s| s.sqrt().scaled(unit[p]).hi);

    // (A + λ)⁻¹ A (A + λ)⁻¹ is the covariance of β up to σ²; without a penalty it is A⁻¹. It falls with the square of
    // the penalty, so entry (i, j) is in units of 2^−(excessᵢ + excessⱼ).
    let inverse = factor.inverse();
    let covariance = if ridge > 0.0 {
        let outer = |i: usize, k: usize| inverse[i][k].scaled(excess[i] - excess[k]);
        let inner = |k: usize, l: usize| product(k, l).scaled(excess[k] - scale[k] + excess[l] - scale[l]);
        sandwich(&factor, outer, inner)
    } else {
        inverse
    };
    let offset = usize::from(intercept);
    let centre = |i: usize| if intercept { mean(i).scaled(unit[i]).hi } else { 0.0 };
    // The means are rounded to make the centre; the value is that of the fit exactly there.
    let beside = |i: usize| (mean(i) - Dd::from(centre(i)).scaled(-unit[i])).scaled(-scale[i]);
    let value = factor.kept().fold(mean(p), |value, i| value - beta[i] * beside(i));
    fit.centred = Some(Centred {
        centre: (0..p).map(centre).collect(),
        value: if intercept { value.scaled(unit[p]).hi } else { 0.0 },
        covariance: sigma2.map_or(Vec::new(), |s| {
            let mut matrix = vec![vec![0.0; coefficients]; coefficients];
            if intercept {
                matrix[0][0] = (s / n).scaled(2 * unit[p]).hi;
            }
            let back = |i: usize| unit[p] - unit[i] - scale[i] - excess[i];
            for i in factor.kept() {
                for j in factor.kept() {
                    matrix[i + offset][j + offset] = (s * covariance[i][j]).scaled(back(i) + back(j)).hi;
                }
            }
            matrix
        }),
        degrees_of_freedom: moments.rows.saturating_sub(fit.rank as u64),
    });
    for i in factor.kept() {
        let back = unit[p] - unit[i] - scale[i];
        fit.coefficients[i + offset] = Some(beta[i].scaled(back).hi);
        fit.standard_errors[i + offset] = sigma2.map(|s| (s * covariance[i][i]).sqrt().scaled(back - excess[i]).hi);
    }
    if intercept {
        let mut value = mean(p);
        let mut variance = Dd::ONE / n;
        for i in factor.kept() {
            let place = |i: usize| mean(i).scaled(-scale[i] - excess[i]);
            value = value - beta[i] * mean(i).scaled(-scale[i]);
            for j in factor.kept() {
                variance = variance + place(i) * covariance[i][j] * place(j);
            }
        }
        fit.coefficients[0] = Some(value.scaled(unit[p]).hi);
        fit.standard_errors[0] = sigma2.map(|s| (s * variance).sqrt().scaled(unit[p]).hi);
    }
    fit
}

/// B A Bᵀ over the independent terms.
fn sandwich(factor: &Factor, b: impl Fn(usize, usize) -> Dd, a: impl Fn(usize, usize) -> Dd) -> Vec<Vec<Dd>> {
    let p = factor.kept.len();
    let times = |x: &dyn Fn(usize, usize) -> Dd, y: &dyn Fn(usize, usize) -> Dd| -> Vec<Vec<Dd>> {
        let entry = |i, j| factor.kept().fold(Dd::ZERO, |sum, k| sum + x(i, k) * y(k, j));
        (0..p).map(|i| (0..p).map(|j| entry(i, j)).collect()).collect()
    };
    let left = times(&b, &|k, j| a(k.min(j), k.max(j)));
    times(&|i, k| left[i][k], &|k, j| b(j, k))
}

/// A Cholesky factor over the terms that are independent of the ones before them.
pub(crate) struct Factor {
    /// By rows; row i has entries 0..=i.
    l: Vec<Vec<Dd>>,
    kept: Vec<bool>,
}

impl Factor {
    /// Of the matrix `a`; a term whose pivot is not above its `floor` depends on the ones before it.
    pub(crate) fn new(p: usize, floor: impl Fn(usize) -> f64, a: impl Fn(usize, usize) -> Dd) -> Self {
        let mut this = Self {
            l: Vec::with_capacity(p),
            kept: Vec::with_capacity(p),
        };
        for i in 0..p {
            let mut row = vec![Dd::ZERO; i + 1];
            for j in (0..i).filter(|j| this.kept[*j]) {
                let mut sum = a(j, i);
                for k in (0..j).filter(|k| this.kept[*k]) {
                    sum = sum - row[k] * this.l[j][k];
                }
                row[j] = sum / this.l[j][j];
            }
            let own = a(i, i);
            let pivot = row[..i].iter().fold(own, |pivot, x| pivot - *x * *x);
            let independent = own.hi > 0.0 && own.hi.is_finite() && pivot.hi > floor(i);
            if independent {
                row[i] = pivot.sqrt();
            }
            this.kept.push(independent);
            this.l.push(row);
        }
        this
    }

    /// The independent terms.
    pub(crate) fn kept(&self) -> impl DoubleEndedIterator<Item = usize> + Clone + '_ {
        (0..self.kept.len()).filter(|i| self.kept[*i])
    }

    /// x with A x = v over the independent terms; 0 elsewhere.
    pub(crate) fn solve(&self, v: &[Dd]) -> Vec<Dd> {
        let mut x = vec![Dd::ZERO; v.len()];
        for i in self.kept() {
            let mut sum = v[i];
            for k in self.kept().take_while(|k| *k < i) {
                sum = sum - self.l[i][k] * x[k];
            }
            x[i] = sum / self.l[i][i];
        }
        for i in self.kept().rev() {
            let mut sum = x[i];
            for k in self.kept().filter(|k| *k > i) {
                sum = sum - self.l[k][i] * x[k];
            }
            x[i] = sum / self.l[i][i];
        }
        x
    }

    pub(crate) fn inverse(&self) -> Vec<Vec<Dd>> {
        let p = self.kept.len();
        // Symmetric: columns serve as rows.
        (0..p)
            .map(|j| {
                let mut unit = vec![Dd::ZERO; p];
                if self.kept[j] {
                    unit[j] = Dd::ONE;
                }
                self.solve(&unit)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::comoments::ProductRun;

    fn regression(terms: &[&str], intercept: bool, ridge: f64) -> Regression {
        Regression {
            target: "y".into(),
            terms: terms.iter().map(ToString::to_string).collect(),
            intercept,
            ridge,
        }
    }

    fn moments(rows: &[Vec<f64>]) -> RegressionMoments {
        let mut run = ProductRun::new(rows[0].len());
        rows.iter().for_each(|row| run.push(|i| row[i]));
        RegressionMoments::Exact(Box::new(run.finish()))
    }

    /// y = 2 + 3x with residuals +1, −1, −1, +1: worked out by hand.
    #[test]
    fn a_line_by_hand() {
        let rows: Vec<Vec<f64>> = vec![vec![0.0, 3.0], vec![1.0, 4.0], vec![2.0, 7.0], vec![3.0, 12.0]];
        let fit = fit(&regression(&["x"], true, 0.0), &moments(&rows));
        assert_eq!(fit.coefficients, [Some(2.0), Some(3.0)]);
        assert_eq!((fit.rank, fit.rows), (2, 4));
        assert!((fit.residual_std.unwrap() - 2f64.sqrt()).abs() < 1e-15);
        assert!((fit.standard_errors[1].unwrap() - (2.0f64 / 5.0).sqrt()).abs() < 1e-15);
        assert!((fit.standard_errors[0].unwrap() - 1.4f64.sqrt()).abs() < 1e-15);
        assert!((fit.r_squared.unwrap() - 45.0 / 49.0).abs() < 1e-15);
    }

    #[test]
    fn a_dependent_term_is_left_out() {
        // Far from zero the rounding of the stored numbers is all that tells `same` from `x`.
        for from in [0.0, 1e3, 1e5, 1e7] {
            let row = |x: f64| vec![x, 0.1 * x + 7.0, x * x, 1.0 + x + 2.0 * x * x];
            let rows: Vec<Vec<f64>> = (0..20).map(|i| row(from + f64::from(i))).collect();
            let fit = fit(&regression(&["x", "same", "square"], true, 0.0), &moments(&rows));
            assert_eq!((fit.rank, fit.coefficients[2], fit.standard_errors[2]), (3, None, None));
            // y and x² are rounded to 2⁻⁵³ of y; the square, once its line is taken out, has a spread of about 30.
            let allowed = 1e-13 + from * from * 1e-16;
            assert!((fit.coefficients[3].unwrap() - 2.0).abs() < allowed, "{from}: {fit:?}");
        }
    }

    /// With a penalty every term counts, however far from zero it lies: Sxy / (Sxx + λ).
    #[test]
    fn ridge_determines_every_term() {
        let ridge = regression(&["x"], true, 1.0);
        for (x, slope) in [
            ([5.0; 4], 0.0),
            ([1e16; 4], 0.0),
            ([1e16, 1e16 + 2.0, 1e16 + 4.0, 1e16 + 6.0], 10.0 / 21.0),
        ] {
            let rows: Vec<Vec<f64>> = x.iter().zip([0.0, 1.0, 2.0, 3.0]).map(|(x, y)| vec![*x, y]).collect();
            let fit = fit(&ridge, &moments(&rows));
            assert_eq!((fit.rank, fit.coefficients[1]), (2, Some(slope)), "{x:?}");
        }
    }

    #[test]
    fn without_intercept_and_with_ridge() {
        let rows: Vec<Vec<f64>> = vec![vec![1.0, 2.0], vec![2.0, 3.0]];
        assert_eq!(
            fit(&regression(&["x"], false, 0.0), &moments(&rows)).coefficients,
            [Some(8.0 / 5.0)]
        );
        assert_eq!(
            fit(&regression(&["x"], false, 5.0), &moments(&rows)).coefficients,
            [Some(0.8)]
        );
        // Centred: Sxx = 0.5, Sxy = 0.5; slope 0.5 / (0.5 + 0.5).
        assert_eq!(
            fit(&regression(&["x"], true, 0.5), &moments(&rows)).coefficients,
            [Some(1.75), Some(0.5)]
        );
    }

    #[test]
    fn too_few_rows_give_nothing_rather_than_nonsense() {
        let one = fit(&regression(&["x"], true, 0.0), &moments(&[vec![1.0, 2.0]]));
        assert_eq!(
            (one.rank, one.coefficients, one.residual_std, one.r_squared),
            (1, vec![Some(2.0), None], None, None)
        );
        let none = fit(&regression(&["x"], true, 0.0), &moments(&[vec![f64::NAN, 2.0]]));
        assert_eq!((none.rows, none.coefficients), (0, vec![None, None]));
    }
}
