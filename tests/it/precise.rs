//! Numbers of 320 binary places, with the exponential and the logarithm: what logistic models are compared with.

use crate::oracle::{Rational, dyadic, to_f64};
use num_bigint::BigInt;
use num_traits::{One, Signed, ToPrimitive, Zero};
use std::ops::{Add, Div, Mul, Neg, Sub};

/// Binary places.
const PLACES: u32 = 320;

/// A multiple of 2^-320.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fixed(BigInt);

impl Fixed {
    pub(crate) fn zero() -> Self {
        Self(BigInt::zero())
    }

    pub(crate) fn one() -> Self {
        Self(BigInt::one() << PLACES)
    }

    /// The number itself, but for what lies below the last place.
    pub(crate) fn of(x: f64) -> Self {
        let exact = crate::oracle::rational(x);
        Self((exact.numer() << PLACES) / exact.denom())
    }

    pub(crate) fn rational(&self) -> Rational {
        dyadic(self.0.clone(), -(PLACES as i32))
    }

    pub(crate) fn to_f64(&self) -> f64 {
        to_f64(&self.rational())
    }

    pub(crate) fn abs(&self) -> Self {
        Self(self.0.abs())
    }

    /// e^x by halving x until the series is short, and squaring as often.
    pub(crate) fn exp(&self) -> Self {
        let halvings = self.0.bits().saturating_sub(u64::from(PLACES)) + 8;
        let small = Self(&self.0 >> halvings);
        let (mut sum, mut term, mut k) = (Self::one(), Self::one(), 1);
        while !term.0.is_zero() && term.0 != -BigInt::one() {
            term = Self((&term * &small).0 / k);
            sum = &sum + &term;
            k += 1;
        }
        (0..halvings).fold(sum, |e, _| &e * &e)
    }

    /// ln x of a number from 1 to 2, by Newton's method.
    pub(crate) fn ln(&self) -> Self {
        let start = self.to_f64().ln();
        (0..4).fold(Self::of(start), |y, _| &(&y - &Self::one()) + &(self * &(-&y).exp()))
    }
}

impl Add for &Fixed {
    type Output = Fixed;
    fn add(self, other: Self) -> Fixed {
        Fixed(&self.0 + &other.0)
    }
}

impl Sub for &Fixed {
    type Output = Fixed;
    fn sub(self, other: Self) -> Fixed {
        Fixed(&self.0 - &other.0)
    }
}

impl Mul for &Fixed {
    type Output = Fixed;
    fn mul(self, other: Self) -> Fixed {
        Fixed((&self.0 * &other.0) >> PLACES)
    }
}

impl Div for &Fixed {
    type Output = Fixed;
    fn div(self, other: Self) -> Fixed {
        Fixed((&self.0 << PLACES) / &other.0)
    }
}

impl Neg for &Fixed {
    type Output = Fixed;
    fn neg(self) -> Fixed {
        Fixed(-&self.0)
    }
}

/// A⁻¹ B of a row-wise [A | B], by Gauss-Jordan elimination with pivots.
pub(crate) fn solve(mut rows: Vec<Vec<Fixed>>) -> Vec<Vec<Fixed>> {
    let d = rows.len();
    for k in 0..d {
        let pivot = (k..d).max_by_key(|i| rows[*i][k].abs()).unwrap();
        rows.swap(k, pivot);
        let lead: Vec<Fixed> = rows[k].iter().map(|x| x / &rows[k][k]).collect();
        for (i, row) in rows.iter_mut().enumerate() {
            let factor = row[k].clone();
            for (x, p) in row.iter_mut().zip(&lead) {
                *x = if i == k { p.clone() } else { &*x - &(&factor * p) };
            }
        }
    }
    rows.into_iter().map(|mut row| row.split_off(d)).collect()
}

/// A logistic fit: the weights and their covariance.
pub(crate) struct Logistic {
    pub(crate) weights: Vec<Fixed>,
    /// (H + Λ)⁻¹ H (H + Λ)⁻¹.
    pub(crate) covariance: Vec<Vec<Fixed>>,
    pub(crate) loss: Fixed,
}

/// The loss log(1 + eᶻ) − y z and p = 1 / (1 + e⁻ᶻ).
pub(crate) fn logistic(z: &Fixed, y: &Fixed) -> (Fixed, Fixed) {
    let t = (-&z.abs()).exp();
    let above = &Fixed::one() + &t;
    let positive = if *z > Fixed::zero() { z.clone() } else { Fixed::zero() };
    let loss = &(&above.ln() + &positive) - &(y * z);
    let p = if *z > Fixed::zero() { Fixed::one() } else { t };
    (loss, &p / &above)
}

/// The maximum of the penalised likelihood by Newton's method from 0; the rows have a 1 for the intercept, whose weight
/// (the first) is not penalised.
pub(crate) fn fit(rows: &[Vec<f64>], target: &[f64], ridge: f64) -> Logistic {
    let d = rows[0].len();
    let rows: Vec<Vec<Fixed>> = rows.iter().map(|r| r.iter().map(|x| Fixed::of(*x)).collect()).collect();
    let target: Vec<Fixed> = target.iter().map(|y| Fixed::of(*y)).collect();
    let penalty = |i: usize| Fixed::of(if i == 0 { 0.0 } else { ridge });
    let dot = |a: &[Fixed], b: &[Fixed]| a.iter().zip(b).fold(Fixed::zero(), |sum, (a, b)| &sum + &(a * b));
    let mut weights = vec![Fixed::zero(); d];
    for _ in 0..60 {
        let mut gradient: Vec<Fixed> = (0..d).map(|i| &penalty(i) * &weights[i]).collect();
        let mut hessian = vec![vec![Fixed::zero(); d]; d];
        let mut total = Fixed::zero();
        for (x, y) in rows.iter().zip(&target) {
            let (loss, p) = logistic(&dot(x, &weights), y);
            total = &total + &loss;
            let v = &p * &(&Fixed::one() - &p);
            for i in 0..d {
                gradient[i] = &gradient[i] + &(&(&p - y) * &x[i]);
                for j in 0..d {
                    hessian[i][j] = &hessian[i][j] + &(&v * &(&x[i] * &x[j]));
                }
            }
        }
        let augmented = (0..d)
            .map(|i| {
                let mut row = hessian[i].clone();
                row[i] = &row[i] + &penalty(i);
                row.push(gradient[i].clone());
                row.extend((0..d).map(|j| if i == j { Fixed::one() } else { Fixed::zero() }));
                row
            })
            .collect();
        let solved = solve(augmented);
        let inverse: Vec<&[Fixed]> = solved.iter().map(|row| &row[1..]).collect();
        let largest = solved.iter().map(|row| row[0].abs()).max().unwrap();
        if largest < Fixed::of(1e-60) {
            let product = |a: &[&[Fixed]], b: &[Vec<Fixed>]| -> Vec<Vec<Fixed>> {
                let column = |j: usize| b.iter().map(|row| row[j].clone()).collect::<Vec<_>>();
                a.iter()
                    .map(|row| (0..d).map(|j| dot(row, &column(j))).collect())
                    .collect()
            };
            let left = product(&inverse, &hessian);
            let left: Vec<&[Fixed]> = left.iter().map(Vec::as_slice).collect();
            let right: Vec<Vec<Fixed>> = inverse.iter().map(|row| row.to_vec()).collect();
            return Logistic {
                covariance: product(&left, &right),
                weights,
                loss: total,
            };
        }
        for (weight, row) in weights.iter_mut().zip(&solved) {
            *weight = &*weight - &row[0];
        }
    }
    panic!("Newton's method does not converge");
}

#[test]
fn the_functions_have_the_digits_they_should() {
    // OEIS A001113 and A002162.
    let close = |x: &Fixed, digits: &str| {
        let scaled = (&x.0 * BigInt::from(10).pow(60)) >> PLACES;
        assert_eq!(scaled.to_string(), digits);
    };
    close(
        &Fixed::one().exp(),
        "2718281828459045235360287471352662497757247093699959574966967",
    );
    close(
        &(&Fixed::one() + &Fixed::one()).ln(),
        "693147180559945309417232121458176568075500134360255254120680",
    );
    assert_eq!(Fixed::of(-3.5).exp().to_f64(), (-3.5f64).exp());
    assert_eq!(Fixed::of(700.0).0.to_f64(), Some(700.0 * 2f64.powi(PLACES as i32)));
    let rows = [[2.0, 1.0, 5.0], [1.0, 3.0, 10.0]].map(|row| row.map(Fixed::of).to_vec());
    let solved = solve(rows.to_vec());
    assert_eq!((solved[0][0].to_f64(), solved[1][0].to_f64()), (1.0, 3.0));
}
