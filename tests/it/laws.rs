//! The laws of merging, on drawn data: identity, any split, any association, any order, bytes there and back.
//!
//! Counts, extremes, present columns and sketches have to be equal. Moments and co-moments are compared with the exact
//! answer for all rows, whatever the way to them: two ways that are both close to it are close to one another.

use crate::oracle::{self, Rational, rational, relative_error, to_f64};
use crate::support::U;
use millstream::summary::comoments::{ProductRun, Products, Real};
use millstream::summary::differences::{DifferenceRun, Edge};
use millstream::summary::moments::MomentRun;
use millstream::summary::{
    CoMoments, Differences, ExactCoMoments, LeafRun, Moments, Order, Quantiles, RegressionMoments, Shape,
};
use millstream::{Merge, Summary};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// Rows of a drawn set at most; more than fit an exact set of quantiles, so that both kinds of states occur.
const ROWS_MAX: usize = 400;

/// The relative error of Σ(x − mean)² over n values around one of them, in parts that are merged: n additions and four
/// roundings a term, a pivot of at most n − 1 variances away, and a merge adds positive terms with four roundings each.
fn m2_error_max(n: usize) -> f64 {
    (n as f64 + 8.0) * n as f64 * U
}

/// The error of skewness and kurtosis: fourth powers around that pivot are at most (κ^¼ + √n)⁴ of the fourth power of
/// the standard deviation with κ ≤ n, in five terms; the merges add as much again.
fn shape_error_max(n: usize) -> f64 {
    let n = n as f64;
    (n + 8.0) * U * 10.0 * (n.sqrt().sqrt() + n.sqrt()).powi(4)
}

/// Ordinary values, huge and tiny ones, repetitions, missing and infinite ones.
fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => -1000.0..1000.0f64,
        3 => (0..4i32).prop_map(f64::from),
        2 => 1e9..1e9 + 1.0f64,
        1 => any::<f64>(),
        1 => Just(f64::NAN),
    ]
}

fn infinite_value() -> impl Strategy<Value = f64> {
    prop_oneof![30 => value(), 1 => Just(f64::INFINITY), 1 => Just(f64::NEG_INFINITY)]
}

fn moments(values: &[f64]) -> Moments {
    let mut run = MomentRun::default();
    values.iter().for_each(|x| run.push(*x));
    run.finish(Order::Fourth)
}

fn products<R: Real>(rows: &[[f64; 3]]) -> Products<R> {
    let mut run = ProductRun::new(3);
    rows.iter().for_each(|row| run.push(|i| row[i]));
    run.finish()
}

fn quantiles(values: &[f64]) -> Quantiles {
    let mut q = Quantiles::default();
    values.iter().for_each(|x| q.push(*x));
    q
}

fn differences(rows: &[(i64, f64)]) -> Differences {
    let mut run = DifferenceRun::default();
    for (time_ns, value) in rows {
        run.push(Edge {
            time_ns: Some(*time_ns),
            value: *value,
        });
    }
    run.finish()
}

fn shape(exact: bool) -> Shape {
    Shape {
        columns: 3,
        order: Order::Fourth,
        comoments: true,
        regression: vec![0, 2],
        exact,
        differences: true,
        quantiles: true,
        loss: None,
    }
}

fn summary(rows: &[[f64; 3]], exact: bool) -> Summary {
    if rows.is_empty() {
        return Summary::default();
    }
    let shape = shape(exact);
    let mut run = LeafRun::new(&shape);
    let time = |row: &[f64; 3]| (row[0].to_bits() % 1000) as i64;
    rows.iter().for_each(|row| run.push(&shape, row, Some(time(row))));
    run.finish(&shape)
}

fn merged<T: Merge + Clone>(a: &T, b: &T) -> T {
    let mut a = a.clone();
    a.merge(b);
    a
}

/// The three parts between two cuts.
fn parts<'a, T>(rows: &'a [T], cuts: &[Index; 2]) -> [&'a [T]; 3] {
    let mut at = cuts.map(|c| c.index(rows.len() + 1));
    at.sort_unstable();
    [&rows[..at[0]], &rows[at[0]..at[1]], &rows[at[1]..]]
}

/// That these are the moments of the values; `n` of them decide the bounds.
fn check_moments(m: &Moments, values: &[f64]) -> Result<(), TestCaseError> {
    let count = |of: &dyn Fn(f64) -> bool| values.iter().filter(|x| of(**x)).count() as u64;
    prop_assert_eq!(m.count, count(&f64::is_finite));
    prop_assert_eq!(m.missing, count(&f64::is_nan));
    prop_assert_eq!(m.positive_infinite, count(&|x| x == f64::INFINITY));
    prop_assert_eq!(m.negative_infinite, count(&|x| x == f64::NEG_INFINITY));
    let finite: Vec<f64> = values.iter().copied().filter(|x| x.is_finite()).collect();
    let Some(exact) = oracle::moments(&finite) else {
        return Ok(());
    };
    prop_assert_eq!(rational(m.min), exact.min.clone());
    prop_assert_eq!(rational(m.max), exact.max.clone());
    if m.present() > m.count {
        return Ok(());
    }
    let n = finite.len();
    let tiny = rational(5e-324);
    let within = |computed: f64, exact: &Rational, bound: &Rational| {
        let error = rational(computed) - exact;
        error <= bound.clone() && -error <= bound.clone()
    };
    // Deviations of at most twice the largest value, one rounding each and n in their sum.
    let largest = rational(finite.iter().fold(0.0f64, |m, x| m.max(x.abs())));
    let bound = largest * rational(2.0 * (n as f64 + 4.0) * U) + &tiny;
    prop_assert!(
        within(m.mean().unwrap(), &exact.mean, &bound),
        "mean {:?} {:?}",
        m.mean(),
        finite
    );
    let (std, exact_std) = (m.std(0).unwrap(), exact.std(0).unwrap());
    let close = relative_error(std, &exact_std) <= m2_error_max(n) || within(std, &exact_std, &tiny);
    prop_assert!(close, "sd {std:e}, exactly {:e}: {finite:?}", to_f64(&exact_std));
    // Where the deviations are ordinary numbers, the shape is right too.
    if let (Some(g1), Some(g2)) = (exact.skewness(), exact.kurtosis())
        && to_f64(&exact_std) > 1e-60
    {
        let bound = shape_error_max(n);
        let (skewness, kurtosis) = (m.skewness().unwrap(), m.kurtosis().unwrap());
        prop_assert!(
            (skewness - to_f64(&g1)).abs() <= bound,
            "skewness {skewness} {} {finite:?}",
            to_f64(&g1)
        );
        prop_assert!(
            (kurtosis - to_f64(&g2)).abs() <= bound,
            "kurtosis {kurtosis} {} {finite:?}",
            to_f64(&g2)
        );
    }
    Ok(())
}

/// That these are the co-moments of the rows, to the accuracy of their number (a unit roundoff `u`).
fn check_products<R: Real>(m: &Products<R>, rows: &[[f64; 3]], u: f64) -> Result<(), TestCaseError> {
    let column = |i: usize| rows.iter().map(|r| r[i]).collect::<Vec<f64>>();
    let present: Vec<usize> = (0..3).filter(|i| column(*i).iter().any(|x| !x.is_nan())).collect();
    prop_assert_eq!((0..3).filter(|i| m.present[*i]).collect::<Vec<_>>(), present.clone());
    let columns: Vec<Vec<f64>> = present.iter().map(|i| column(*i)).collect();
    let complete = oracle::listwise(&columns.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let n = complete.first().map_or(0, Vec::len);
    prop_assert_eq!(m.rows, n as u64);
    // In the units of the two columns.
    let exact = |i: usize, j: usize| {
        let unit = oracle::dyadic(1.into(), -m.scale[present[i]] - m.scale[present[j]]);
        to_f64(&(oracle::covariance(&complete[i], &complete[j], 0).unwrap() * rational(n as f64) * unit))
    };
    for (i, x) in present.iter().enumerate().filter(|_| n > 0) {
        for (j, y) in present.iter().enumerate().skip(i) {
            let error = (m.product(*x, *y).to_dd().hi - exact(i, j)).abs();
            // As Σ(x − mean)², with products of deviations in place of squares; the comparison itself rounds thrice.
            let bound = (m2_error_max(n) / U * u * 4.0 + 4.0 * U) * (exact(i, i) * exact(j, j)).sqrt();
            prop_assert!(
                error <= bound,
                "({x}, {y}) off by {error:e}, {bound:e} allowed: {complete:?}"
            );
        }
    }
    Ok(())
}

/// Both associations of three parts; with an identity in between.
fn ways<T: Merge + Clone>(parts: [T; 3], nothing: &T) -> [T; 3] {
    let [a, b, c] = &parts;
    [
        merged(&merged(a, b), c),
        merged(a, &merged(b, c)),
        merged(&merged(&merged(nothing, a), &merged(b, nothing)), c),
    ]
}

fn row() -> impl Strategy<Value = [f64; 3]> {
    let x = || prop_oneof![12 => -1000.0..1000.0f64, 3 => (0..3i32).prop_map(f64::from), 2 => 1e9..1e9 + 1.0f64, 1 => Just(f64::NAN)];
    [x(), x(), x()]
}

/// Rows of which the columns have magnitudes of their own, and those of one part others than the rest.
fn rows() -> impl Strategy<Value = Vec<[f64; 3]>> {
    let exponents = || [-900..900i32, -900..900i32, -900..900i32];
    let few = vec(row(), 0..ROWS_MAX);
    let wild = vec([value(), value(), value()], 0..ROWS_MAX / 4);
    let shifted = (few, exponents(), exponents(), any::<Index>()).prop_map(|(mut rows, first, rest, cut)| {
        let cut = cut.index(rows.len() + 1);
        for (i, row) in rows.iter_mut().enumerate() {
            let by = if i < cut { first } else { rest };
            row.iter_mut()
                .zip(by)
                .for_each(|(x, e)| *x *= 2f64.powi(e / 2) * 2f64.powi(e - e / 2));
        }
        rows
    });
    prop_oneof![2 => vec(row(), 0..ROWS_MAX), 1 => shifted, 1 => wild]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn of_moments(values in vec(infinite_value(), 0..ROWS_MAX), cuts: [Index; 2]) {
        let whole = moments(&values);
        prop_assert_eq!(&merged(&whole, &Moments::default()), &whole);
        prop_assert_eq!(&merged(&Moments::default(), &whole), &whole);
        let [a, b, c] = parts(&values, &cuts);
        for m in ways([moments(a), moments(b), moments(c)], &Moments::default()) {
            check_moments(&m, &values)?;
        }
        let (ab, ba) = (merged(&moments(a), &moments(b)), merged(&moments(b), &moments(a)));
        prop_assert_eq!((ab.count, ab.missing, ab.min, ab.max), (ba.count, ba.missing, ba.min, ba.max));
    }

    #[test]
    fn of_comoments(rows in rows(), cuts: [Index; 2]) {
        let [a, b, c] = parts(&rows, &cuts);
        let nothing = CoMoments::new(3);
        let whole: CoMoments = products(&rows);
        prop_assert_eq!(&merged(&whole, &nothing), &whole);
        prop_assert_eq!(&merged(&nothing, &whole), &whole);
        for m in ways([products(a), products(b), products(c)], &nothing) {
            check_products::<f64>(&m, &rows, U)?;
        }
        let nothing = ExactCoMoments::new(3);
        let whole: ExactCoMoments = products(&rows);
        prop_assert_eq!(&merged(&whole, &nothing), &whole);
        prop_assert_eq!(&merged(&nothing, &whole), &whole);
        for m in ways([products(a), products(b), products(c)], &nothing) {
            check_products::<millstream::summary::dd::Dd>(&m, &rows, 16.0 * U * U)?;
        }
    }

    #[test]
    fn of_differences(rows in vec((-50..50i64, value()), 0..ROWS_MAX), cuts: [Index; 2]) {
        let whole = differences(&rows);
        prop_assert!(same(&merged(&whole, &Differences::default()), &whole));
        prop_assert!(same(&merged(&Differences::default(), &whole), &whole));
        let values: Vec<f64> = rows.iter().map(|r| r.1).collect();
        let times: Vec<i64> = rows.iter().map(|r| r.0).collect();
        let (counted, unordered) = oracle::differences(&values, Some(&times));
        let [a, b, c] = parts(&rows, &cuts);
        for d in ways([differences(a), differences(b), differences(c)], &Differences::default()) {
            prop_assert_eq!((d.moments.present(), d.unordered), (counted.len() as u64, unordered as u64));
            prop_assert_eq!((d.moments.min, d.moments.max), (whole.moments.min, whole.moments.max));
            prop_assert_eq!(d.moments.count, whole.moments.count);
            if let (Some(mean), Some(all)) = (d.moments.mean(), whole.moments.mean())
                && all.is_finite()
            {
                // The same rounded differences; their sums as those of the moments.
                let largest = d.moments.min.abs().max(d.moments.max.abs());
                let bound = 4.0 * (counted.len() as f64 + 4.0) * U * largest;
                prop_assert!((mean - all).abs() <= bound, "{} {}", mean, all);
            }
        }
    }

    #[test]
    fn of_quantiles(values in vec(infinite_value(), 0..2 * ROWS_MAX), cuts: [Index; 2]) {
        let whole = quantiles(&values);
        let [a, b, c] = parts(&values, &cuts);
        for q in ways([quantiles(a), quantiles(b), quantiles(c)], &Quantiles::default()) {
            prop_assert_eq!(&q, &whole);
        }
        // In any order: the same sketch, and the same answers of an exact set.
        let turned = merged(&merged(&quantiles(c), &quantiles(a)), &quantiles(b));
        let probabilities = [0.0, 0.1, 0.5, 0.77, 1.0];
        prop_assert_eq!(turned.count(), whole.count());
        prop_assert_eq!(turned.at(&probabilities), whole.at(&probabilities));
        if let Quantiles::Sketch(_) = whole {
            prop_assert_eq!(turned, whole);
        }
    }

    #[test]
    fn of_summaries(rows in rows(), cuts: [Index; 2], exact: bool) {
        let whole = summary(&rows, exact);
        prop_assert_eq!(merged(&whole, &Summary::default()).to_bytes(), whole.to_bytes());
        prop_assert_eq!(merged(&Summary::default(), &whole).to_bytes(), whole.to_bytes());
        let [a, b, c] = parts(&rows, &cuts);
        for s in ways([summary(a, exact), summary(b, exact), summary(c, exact)], &Summary::default()) {
            prop_assert_eq!((s.rows, s.columns.len()), (rows.len() as u64, whole.columns.len()));
            for (i, m) in s.columns.iter().enumerate() {
                check_moments(m, &rows.iter().map(|r| r[i]).collect::<Vec<_>>())?;
            }
            if let Some(m) = &s.comoments {
                check_products(m, &rows, U)?;
            }
            match (&s.regression, &whole.regression) {
                (Some(RegressionMoments::Exact(a)), Some(RegressionMoments::Exact(b))) => prop_assert_eq!(a.rows, b.rows),
                (Some(RegressionMoments::Fast(a)), Some(RegressionMoments::Fast(b))) => prop_assert_eq!(a.rows, b.rows),
                (a, b) => prop_assert!(a.is_none() && b.is_none()),
            }
            prop_assert_eq!(&s.quantiles, &whole.quantiles);
            let counts = |s: &Summary| s.differences.iter().map(|d| (d.moments.count, d.unordered)).collect::<Vec<_>>();
            prop_assert_eq!(counts(&s), counts(&whole));
        }
    }

    #[test]
    fn of_bytes(rows in rows(), exact: bool, place: Index, bit in 0..8u8) {
        let whole = summary(&rows, exact);
        let bytes = whole.to_bytes();
        let back = Summary::from_bytes(&bytes).unwrap();
        prop_assert_eq!(back.to_bytes(), bytes.clone());
        // CRC-32 sees every burst of up to 32 bits, so every single bit; a cut is seen unless the rest checks by
        // chance, 2⁻³².
        let mut wrong = bytes.clone();
        wrong[place.index(bytes.len())] ^= 1 << bit;
        prop_assert!(Summary::from_bytes(&wrong).is_err());
        prop_assert!(Summary::from_bytes(&bytes[..place.index(bytes.len())]).is_err());
        let mut longer = bytes.clone();
        longer.push(bit);
        prop_assert!(Summary::from_bytes(&longer).is_err());
    }
}

/// The same differences; a missing value at an edge is NaN, which equals nothing.
fn same(a: &Differences, b: &Differences) -> bool {
    let edges = |d: &Differences| d.edges.map(|(a, b)| [a, b].map(|e| (e.time_ns, e.value.to_bits())));
    a.moments == b.moments && a.unordered == b.unordered && edges(a) == edges(b)
}

#[test]
fn every_bit_and_every_cut_of_a_summary() {
    let rows: Vec<[f64; 3]> = (0..12).map(|i| [f64::from(i), 2.5, f64::from(i * i)]).collect();
    for exact in [false, true] {
        let bytes = summary(&rows, exact).to_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut wrong = bytes.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(Summary::from_bytes(&wrong).is_err(), "bit {bit}");
        }
        assert!((0..bytes.len()).all(|cut| Summary::from_bytes(&bytes[..cut]).is_err()));
    }
}
