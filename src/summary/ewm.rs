//! Exponentially weighted means, variances and covariances: the weight of a row halves with every half-life of event
//! time behind the newest.
//!
//! A row at time tᵢ has the weight 2^(−(t − tᵢ) / h) at time t. Weights of all rows shrink alike as t goes on, and means
//! and variances do not change by that, so each column holds the weights at the time of the newest row that has a value
//! of it (covariances: of the newest complete row): that row weighs 1, and no sum of weights can come down to 0 however
//! long ago it was. Two states merge at the later of their times, by the weighted form of Pébay, Terriberry, Kolla & Bennett 2016, equation 4.1. Rows may come
//! in any order of time. The variance of a sample divides by W − Σw²/W (reliability weights), that of a population by W.

use super::Merge;
use serde::{Deserialize, Serialize};

/// Weights, of which the newest is 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Weights {
    /// The time of the newest row; `i64::MIN` where there is none.
    newest_ns: i64,
    /// Σw and Σw².
    w: f64,
    w2: f64,
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            newest_ns: i64::MIN,
            w: 0.0,
            w2: 0.0,
        }
    }
}

/// What a row of some time does to weights: by how much those before shrink, and its own.
#[derive(Clone, Copy)]
struct Weighing {
    newest_ns: i64,
    factor: f64,
    weight: f64,
}

impl Weights {
    /// What a row of this time does; `before` is what it does to weights that were looked at before, mostly the same.
    fn weighing(&self, half_life_ns: f64, time_ns: i64, before: Option<Weighing>) -> Weighing {
        let newest_ns = self.newest_ns;
        match before {
            Some(before) if before.newest_ns == newest_ns => before,
            _ if newest_ns == i64::MIN => Weighing {
                newest_ns,
                factor: 1.0,
                weight: 1.0,
            },
            _ if time_ns > newest_ns => Weighing {
                newest_ns,
                factor: decay(half_life_ns, newest_ns, time_ns),
                weight: 1.0,
            },
            _ => Weighing {
                newest_ns,
                factor: 1.0,
                weight: decay(half_life_ns, time_ns, newest_ns),
            },
        }
    }

    fn scale(&mut self, factor: f64) {
        self.w *= factor;
        self.w2 *= factor * factor;
    }

    fn add(&mut self, time_ns: i64, weight: f64) {
        self.newest_ns = self.newest_ns.max(time_ns);
        self.w += weight;
        self.w2 += weight * weight;
    }

    fn join(&mut self, other: &Self) {
        self.newest_ns = self.newest_ns.max(other.newest_ns);
        self.w += other.w;
        self.w2 += other.w2;
    }
}

fn decay(half_life_ns: f64, from_ns: i64, to_ns: i64) -> f64 {
    let age = (i128::from(to_ns) - i128::from(from_ns)) as f64;
    (-age / half_life_ns).exp2()
}

/// Weighted sums of one column.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Column {
    weights: Weights,
    mean: f64,
    /// Σw (x − mean)².
    m2: f64,
}

impl Column {
    fn scale(&mut self, factor: f64) {
        self.weights.scale(factor);
        self.m2 *= factor;
    }
}

/// Weighted products of all columns, over the rows that have all of them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Joint {
    weights: Weights,
    mean: Vec<f64>,
    /// Upper triangle by rows.
    products: Vec<f64>,
}

impl Joint {
    fn scale(&mut self, factor: f64) {
        self.weights.scale(factor);
        self.products.iter_mut().for_each(|p| *p *= factor);
    }
}

/// Exponentially weighted moments of a set of rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ewm {
    half_life_ns: f64,
    columns: Vec<Column>,
    joint: Option<Joint>,
}

impl Ewm {
    /// No rows of so many columns.
    pub fn new(half_life_ns: i64, columns: usize, covariances: bool) -> Self {
        Self {
            half_life_ns: half_life_ns as f64,
            columns: vec![Column::default(); columns],
            joint: covariances.then(|| Joint {
                mean: vec![0.0; columns],
                products: vec![0.0; columns * (columns + 1) / 2],
                ..Joint::default()
            }),
        }
    }

    /// Takes a row; values that are not finite count as missing.
    pub fn push(&mut self, time_ns: i64, value: impl Fn(usize) -> f64) {
        let mut complete = true;
        let mut weighing = None;
        for (i, column) in self.columns.iter_mut().enumerate() {
            let x = value(i);
            if !x.is_finite() {
                complete = false;
                continue;
            }
            let now = column.weights.weighing(self.half_life_ns, time_ns, weighing);
            weighing = Some(now);
            if now.factor != 1.0 {
                column.scale(now.factor);
            }
            column.weights.add(time_ns, now.weight);
            // What weighs nothing may be too far away for a difference.
            if now.weight == 0.0 {
                continue;
            }
            if now.weight == column.weights.w {
                // All the others together weigh nothing.
                (column.mean, column.m2) = (x, 0.0);
                continue;
            }
            let deviation = x - column.mean;
            column.mean += deviation * (now.weight / column.weights.w);
            column.m2 += now.weight * deviation * (x - column.mean);
        }
        if let Some(joint) = self.joint.as_mut().filter(|_| complete) {
            let now = joint.weights.weighing(self.half_life_ns, time_ns, weighing);
            if now.factor != 1.0 {
                joint.scale(now.factor);
            }
            joint.weights.add(time_ns, now.weight);
            if now.weight == 0.0 {
                return;
            }
            let d = joint.mean.len();
            if now.weight == joint.weights.w {
                joint.products.fill(0.0);
                joint.mean.iter_mut().enumerate().for_each(|(i, mean)| *mean = value(i));
                return;
            }
            let share = now.weight / joint.weights.w;
            let mut place = 0;
            // With the means before: w_old · weight / w_new of each product of deviations.
            let factor = now.weight * (1.0 - share);
            for i in 0..d {
                let di = value(i) - joint.mean[i];
                for j in i..d {
                    joint.products[place] += factor * di * (value(j) - joint.mean[j]);
                    place += 1;
                }
            }
            for (i, mean) in joint.mean.iter_mut().enumerate() {
                *mean += (value(i) - *mean) * share;
            }
        }
    }

    /// The weighted mean of a column; `None` without values.
    pub fn mean(&self, column: usize) -> Option<f64> {
        self.columns.get(column).filter(|c| c.weights.w > 0.0).map(|c| c.mean)
    }

    /// The weighted variance of a column; `None` where the weights do not determine it.
    pub fn variance(&self, column: usize, ddof: u64) -> Option<f64> {
        let c = self.columns.get(column)?;
        divided(c.m2, c.weights, ddof)
    }

    /// The weighted covariance of two columns over the rows that have all; `None` where it is not kept or determined.
    pub fn covariance(&self, a: usize, b: usize, ddof: u64) -> Option<f64> {
        let joint = self.joint.as_ref()?;
        let (i, j) = (a.min(b), a.max(b));
        let d = joint.mean.len();
        let place = i * d - i * (i + 1) / 2 + j;
        divided(*joint.products.get(place)?, joint.weights, ddof)
    }

    /// How many columns there are.
    pub fn columns(&self) -> usize {
        self.columns.len()
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        let joint = self.joint.as_ref();
        let numbers = joint.map_or(0, |joint| joint.mean.len() + joint.products.len());
        size_of::<Self>() + self.columns.len() * size_of::<Column>() + numbers * size_of::<f64>()
    }

    /// Whether covariances are kept.
    pub fn has_covariances(&self) -> bool {
        self.joint.is_some()
    }
}

/// A weighted sum of squares or products over what is to be divided by.
fn divided(sum: f64, weights: Weights, ddof: u64) -> Option<f64> {
    let Weights { w, w2, .. } = weights;
    let divisor = match ddof {
        0 => w,
        _ => w - w2 / w,
    };
    // One value has a divisor of 0, or of what rounding leaves of it.
    (w > 0.0 && divisor > w * 4.0 * f64::EPSILON).then(|| sum / divisor)
}

impl Merge for Ewm {
    fn merge(&mut self, later: &Self) {
        let half_life_ns = self.half_life_ns;
        // Both at the later of their times: by how much each shrinks.
        let shrink = |a: &Weights, b: &Weights| {
            let newest_ns = a.newest_ns.max(b.newest_ns);
            [a, b].map(|weights| decay(half_life_ns, weights.newest_ns, newest_ns))
        };
        for (a, b) in self.columns.iter_mut().zip(&later.columns) {
            if b.weights.w == 0.0 {
                continue;
            }
            if a.weights.w == 0.0 {
                *a = *b;
                continue;
            }
            let (mut b, [of_a, of_b]) = (*b, shrink(&a.weights, &b.weights));
            a.scale(of_a);
            b.scale(of_b);
            let (wa, wb) = (a.weights.w, b.weights.w);
            let w = wa + wb;
            if wa == 0.0 {
                (a.mean, a.m2) = (b.mean, b.m2);
            } else if wb > 0.0 {
                let deviation = b.mean - a.mean;
                a.m2 += b.m2 + deviation * deviation * (wa / w * wb);
                a.mean += deviation * (wb / w);
            }
            a.weights.join(&b.weights);
        }
        let (Some(a), Some(b)) = (&mut self.joint, &later.joint) else {
            return;
        };
        if b.weights.w == 0.0 {
            return;
        }
        if a.weights.w == 0.0 {
            a.clone_from(b);
            return;
        }
        let (mut b, [of_a, of_b]) = (b.clone(), shrink(&a.weights, &b.weights));
        a.scale(of_a);
        b.scale(of_b);
        let (wa, wb) = (a.weights.w, b.weights.w);
        let w = wa + wb;
        if wa == 0.0 {
            (a.mean, a.products) = (b.mean, b.products);
        } else if wb > 0.0 {
            let factor = wa / w * wb;
            let deviations: Vec<f64> = b.mean.iter().zip(&a.mean).map(|(b, a)| b - a).collect();
            let mut place = 0;
            for (i, di) in deviations.iter().enumerate() {
                for dj in &deviations[i..] {
                    a.products[place] += b.products[place] + di * dj * factor;
                    place += 1;
                }
            }
            for (mean, deviation) in a.mean.iter_mut().zip(&deviations) {
                *mean += deviation * (wb / w);
            }
        }
        a.weights.join(&b.weights);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HALF_LIFE: i64 = 1000;

    /// By the definition: weights at the time of the newest row, two passes.
    fn direct(rows: &[(i64, [f64; 2])]) -> [Option<f64>; 4] {
        let newest = rows.iter().map(|(t, _)| *t).max().unwrap();
        let weight = |t: i64| 0.5f64.powf((newest - t) as f64 / HALF_LIFE as f64);
        let finite: Vec<_> = rows.iter().filter(|(_, x)| x[0].is_finite()).collect();
        let complete: Vec<_> = finite.iter().filter(|(_, x)| x[1].is_finite()).collect();
        if complete.is_empty() {
            return [None; 4];
        }
        let w: f64 = finite.iter().map(|(t, _)| weight(*t)).sum();
        let w2: f64 = finite.iter().map(|(t, _)| weight(*t).powi(2)).sum();
        let mean = finite.iter().map(|(t, x)| weight(*t) * x[0]).sum::<f64>() / w;
        let m2: f64 = finite.iter().map(|(t, x)| weight(*t) * (x[0] - mean).powi(2)).sum();
        let jw: f64 = complete.iter().map(|(t, _)| weight(*t)).sum();
        let means = [0, 1].map(|i| complete.iter().map(|(t, x)| weight(*t) * x[i]).sum::<f64>() / jw);
        let product: f64 = complete
            .iter()
            .map(|(t, x)| weight(*t) * (x[0] - means[0]) * (x[1] - means[1]))
            .sum();
        let sample = w - w2 / w;
        [
            Some(mean),
            Some(m2 / w),
            (finite.len() > 1).then(|| m2 / sample),
            Some(product / jw),
        ]
    }

    proptest! {
        #[test]
        fn any_order_and_any_split_give_what_the_definition_gives(
            rows in prop::collection::vec((0i64..5000, prop::array::uniform2(-1e3..1e3f64), any::<bool>()), 1..60),
            cut in 0usize..60,
        ) {
            let rows: Vec<(i64, [f64; 2])> = rows
                .into_iter()
                .map(|(t, x, missing)| (t, if missing { [x[0], f64::NAN] } else { x }))
                .collect();
            let state = |rows: &[(i64, [f64; 2])]| {
                let mut state = Ewm::new(HALF_LIFE, 2, true);
                rows.iter().for_each(|(t, x)| state.push(*t, |i| x[i]));
                state
            };
            let cut = cut.min(rows.len());
            let mut merged = state(&rows[..cut]);
            merged.merge(&state(&rows[cut..]));
            let [mean, population, sample, covariance] = direct(&rows);
            // Sixty roundings of numbers up to 1e3, and their squares.
            let near = |a: Option<f64>, b: Option<f64>, scale: f64| match (a, b) {
                (Some(a), Some(b)) => (a - b).abs() <= 1e-11 * scale,
                _ => true,
            };
            for found in [&state(&rows), &merged] {
                prop_assert!(near(found.mean(0), mean, 1e3));
                prop_assert!(near(found.variance(0, 0), population, 1e6));
                prop_assert!(near(found.covariance(0, 1, 0), covariance, 1e6));
                prop_assert_eq!(found.covariance(0, 1, 0).is_some(), covariance.is_some());
                if let (Some(a), Some(b)) = (found.variance(0, 1), sample) {
                    prop_assert!((a - b).abs() <= 1e-9 * 1e6 / (1.0 - 0.5f64.powf(1e-3)), "{} {}", a, b);
                }
            }
        }
    }

    #[test]
    fn one_value_has_no_variance_of_a_sample() {
        let mut state = Ewm::new(HALF_LIFE, 1, false);
        assert_eq!((state.mean(0), state.variance(0, 0)), (None, None));
        state.push(7, |_| 3.0);
        assert_eq!(
            (state.mean(0), state.variance(0, 0), state.variance(0, 1)),
            (Some(3.0), Some(0.0), None)
        );
        state.push(8 + HALF_LIFE, |_| 6.0);
        assert!((state.mean(0).unwrap() - 5.0).abs() < 1e-2);
    }

    /// What is so old that its weight is 0 beside the newest row is still all that is known of its column.
    #[test]
    fn weights_that_vanish_leave_the_mean_of_what_there_is() {
        let rows = [(0, [3.0, 5.0]), (1, [5.0, 7.0]), (4_000_000, [f64::NAN, 1.0])];
        let state = |rows: &[(i64, [f64; 2])]| {
            let mut state = Ewm::new(HALF_LIFE, 2, true);
            rows.iter().for_each(|(t, x)| state.push(*t, |i| x[i]));
            state
        };
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let rows = order.map(|i| rows[i]);
            for cut in 0..4 {
                let mut merged = state(&rows[..cut]);
                merged.merge(&state(&rows[cut..]));
                for found in [&merged, &state(&rows)] {
                    // Weights of 2^-0.001 and 1, whatever came later; and 1 alone where nothing else weighs.
                    let old = 0.5f64.powf(1e-3);
                    let near = |found: Option<f64>, want: f64| found.is_some_and(|found| (found - want).abs() < 1e-12);
                    assert!(near(found.mean(0), (3.0 * old + 5.0) / (old + 1.0)), "{found:?}");
                    assert!(near(found.variance(0, 0), 4.0 * old / (old + 1.0).powi(2)), "{found:?}");
                    assert_eq!((found.mean(1), found.variance(1, 0)), (Some(1.0), Some(0.0)));
                    assert!(
                        near(found.covariance(0, 1, 0), 4.0 * old / (old + 1.0).powi(2)),
                        "{found:?}"
                    );
                }
            }
        }
        // A difference that overflows, of a weight that is 0.
        let mut state = Ewm::new(HALF_LIFE, 1, true);
        state.push(4_000_000, |_| f64::MAX);
        state.push(0, |_| f64::MIN);
        assert_eq!((state.mean(0), state.variance(0, 0)), (Some(f64::MAX), Some(0.0)));
        let mut other = Ewm::new(HALF_LIFE, 1, true);
        other.push(9_000_000, |_| f64::MIN);
        state.merge(&other);
        assert_eq!((state.mean(0), state.variance(0, 0)), (Some(f64::MIN), Some(0.0)));
    }
}
