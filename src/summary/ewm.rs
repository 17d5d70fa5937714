//! Exponentially weighted means, variances and covariances: the weight of a row halves with every half-life of event
//! time behind the newest.
//!
//! A row at time tᵢ has the weight 2^(−(t − tᵢ) / h) at time t. Weights of all rows shrink alike as t goes on, and means
//! and variances do not change by that, so a state holds the weights at the time of its newest row; two states merge at
//! the later of their times, by the weighted form of Pébay, Terriberry, Kolla & Bennett 2016, equation 4.1. Rows may come
//! in any order of time. The variance of a sample divides by W − Σw²/W (reliability weights), that of a population by W.

use super::Merge;
use serde::{Deserialize, Serialize};

/// Weighted sums of one column.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Column {
    /// Σw and Σw².
    w: f64,
    w2: f64,
    mean: f64,
    /// Σw (x − mean)².
    m2: f64,
}

/// Weighted products of all columns, over the rows that have all of them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Joint {
    w: f64,
    w2: f64,
    mean: Vec<f64>,
    /// Upper triangle by rows.
    products: Vec<f64>,
}

/// Exponentially weighted moments of a set of rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ewm {
    half_life_ns: f64,
    /// The time of the newest row.
    newest_ns: i64,
    columns: Vec<Column>,
    joint: Option<Joint>,
}

impl Ewm {
    /// No rows of so many columns.
    pub fn new(half_life_ns: i64, columns: usize, covariances: bool) -> Self {
        Self {
            half_life_ns: half_life_ns as f64,
            newest_ns: i64::MIN,
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
        let weight = self.weight_at(time_ns);
        let mut complete = true;
        for (i, column) in self.columns.iter_mut().enumerate() {
            let x = value(i);
            if !x.is_finite() {
                complete = false;
                continue;
            }
            column.w += weight;
            column.w2 += weight * weight;
            let deviation = x - column.mean;
            column.mean += deviation * (weight / column.w);
            column.m2 += weight * deviation * (x - column.mean);
        }
        if let Some(joint) = self.joint.as_mut().filter(|_| complete) {
            joint.w += weight;
            joint.w2 += weight * weight;
            let share = weight / joint.w;
            let d = joint.mean.len();
            let mut place = 0;
            // With the means before: w_old · weight / w_new of each product of deviations.
            let factor = weight * (1.0 - share);
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

    /// The weight of a row of this time, after all weights are brought to it if it is the newest.
    fn weight_at(&mut self, time_ns: i64) -> f64 {
        if time_ns > self.newest_ns {
            if self.newest_ns != i64::MIN {
                let factor = self.decay(self.newest_ns, time_ns);
                self.scale(factor);
            }
            self.newest_ns = time_ns;
            return 1.0;
        }
        self.decay(time_ns, self.newest_ns)
    }

    fn decay(&self, from_ns: i64, to_ns: i64) -> f64 {
        let age = (i128::from(to_ns) - i128::from(from_ns)) as f64;
        (-age / self.half_life_ns).exp2()
    }

    fn scale(&mut self, factor: f64) {
        for column in &mut self.columns {
            column.w *= factor;
            column.w2 *= factor * factor;
            column.m2 *= factor;
        }
        if let Some(joint) = &mut self.joint {
            joint.w *= factor;
            joint.w2 *= factor * factor;
            joint.products.iter_mut().for_each(|p| *p *= factor);
        }
    }

    /// The weighted mean of a column; `None` without values.
    pub fn mean(&self, column: usize) -> Option<f64> {
        self.columns.get(column).filter(|c| c.w > 0.0).map(|c| c.mean)
    }

    /// The weighted variance of a column; `None` where the weights do not determine it.
    pub fn variance(&self, column: usize, ddof: u64) -> Option<f64> {
        let c = self.columns.get(column)?;
        divided(c.m2, c.w, c.w2, ddof)
    }

    /// The weighted covariance of two columns over the rows that have all; `None` where it is not kept or determined.
    pub fn covariance(&self, a: usize, b: usize, ddof: u64) -> Option<f64> {
        let joint = self.joint.as_ref()?;
        let (i, j) = (a.min(b), a.max(b));
        let d = joint.mean.len();
        let place = i * d - i * (i + 1) / 2 + j;
        divided(*joint.products.get(place)?, joint.w, joint.w2, ddof)
    }

    /// Whether covariances are kept.
    pub fn has_covariances(&self) -> bool {
        self.joint.is_some()
    }
}

/// A weighted sum of squares or products over what is to be divided by.
fn divided(sum: f64, w: f64, w2: f64, ddof: u64) -> Option<f64> {
    let divisor = match ddof {
        0 => w,
        _ => w - w2 / w,
    };
    // One value has a divisor of 0, or of what rounding leaves of it.
    (w > 0.0 && divisor > w * 4.0 * f64::EPSILON).then(|| sum / divisor)
}

impl Merge for Ewm {
    fn merge(&mut self, later: &Self) {
        if later.newest_ns == i64::MIN {
            return;
        }
        if self.newest_ns == i64::MIN {
            self.clone_from(later);
            return;
        }
        let mut later = later.clone();
        let newest_ns = self.newest_ns.max(later.newest_ns);
        for state in [&mut *self, &mut later] {
            let factor = state.decay(state.newest_ns, newest_ns);
            state.scale(factor);
            state.newest_ns = newest_ns;
        }
        for (a, b) in self.columns.iter_mut().zip(&later.columns).filter(|(_, b)| b.w > 0.0) {
            let w = a.w + b.w;
            let deviation = b.mean - a.mean;
            a.m2 += b.m2 + deviation * deviation * (a.w / w * b.w);
            a.mean += deviation * (b.w / w);
            a.w = w;
            a.w2 += b.w2;
        }
        if let (Some(a), Some(b)) = (&mut self.joint, &later.joint)
            && b.w > 0.0
        {
            let w = a.w + b.w;
            let factor = a.w / w * b.w;
            let deviations: Vec<f64> = b.mean.iter().zip(&a.mean).map(|(b, a)| b - a).collect();
            let mut place = 0;
            for (i, di) in deviations.iter().enumerate() {
                for dj in &deviations[i..] {
                    a.products[place] += b.products[place] + di * dj * factor;
                    place += 1;
                }
            }
            for (mean, deviation) in a.mean.iter_mut().zip(&deviations) {
                *mean += deviation * (b.w / w);
            }
            a.w = w;
            a.w2 += b.w2;
        }
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
}
