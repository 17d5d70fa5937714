//! Quantiles: exact while a set is small, else a sketch whose every answer is within 1 % of the value.
//!
//! The sketch is DDSketch (Masson, Rim & Lee 2019, "DDSketch: a fast and fully-mergeable quantile sketch with
//! relative-error guarantees") with a fixed map from values to buckets, so that states are integer counts and merge
//! exactly in any order. The map approximates log₂ by the exponent plus a cubic in the significand; the cubic's slope
//! is never below 10/7 in log space, which decides the number of buckets per octave.

use super::Merge;
use super::dd::{exponent, ldexp};
use serde::{Deserialize, Serialize};

/// Up to this many values a set is kept as it is and its quantiles are exact.
pub const EXACT_MAX: usize = 256;

/// The relative error of a sketched quantile.
pub const RELATIVE_ERROR: f64 = 0.01;

/// Cubic coefficients of the approximated log₂(1 + s): value 0 at 0, 1 at 1.
const CUBIC: [f64; 3] = [6.0 / 35.0, -3.0 / 5.0, 10.0 / 7.0];

/// Buckets an octave: (7/10) / ln γ with γ = (1 + α)/(1 − α). The approximation climbs by at least 10/7 per unit of ln
/// x (at s = 0 and s = 2/3), so a bucket spans at most ln γ.
const BUCKETS_PER_OCTAVE: f64 = 34.998_833_302_220_746;

/// The bucket of a finite x > 0.
#[inline]
pub fn bucket(x: f64) -> i32 {
    let bits = x.to_bits();
    let biased = (bits >> 52) as i32;
    let (e, s) = if biased == 0 {
        let e = exponent(x);
        (e, ldexp(x, -e) - 1.0)
    } else {
        (
            biased - 1023,
            f64::from_bits(bits & 0x000f_ffff_ffff_ffff | 0x3ff0_0000_0000_0000) - 1.0,
        )
    };
    ((f64::from(e) + ((CUBIC[0] * s + CUBIC[1]) * s + CUBIC[2]) * s) * BUCKETS_PER_OCTAVE).floor() as i32
}

/// The value in units of which every x of the bucket is within [`RELATIVE_ERROR`].
pub fn bucket_value(index: i32) -> f64 {
    let (low, high) = (bucket_start(index), bucket_start(index + 1));
    // 2 low high / (low + high), without leaving the range.
    let ratio = low / (low + (high - low) / 2.0);
    if ratio.is_finite() && low > 0.0 {
        high * ratio
    } else {
        low + (high - low) / 2.0
    }
}

/// Where a bucket begins: the inverse of the map, by bisection on the significand (the map is monotone).
fn bucket_start(index: i32) -> f64 {
    let target = f64::from(index) / BUCKETS_PER_OCTAVE;
    let e = target.floor();
    let part = target - e;
    let (mut low, mut high) = (0.0f64, 1.0f64);
    for _ in 0..60 {
        let s = (low + high) / 2.0;
        if ((CUBIC[0] * s + CUBIC[1]) * s + CUBIC[2]) * s < part {
            low = s;
        } else {
            high = s;
        }
    }
    // At the top of the range a start beyond f64::MAX stands for the end of the last bucket.
    let start = ldexp(1.0 + high, e as i32);
    if start.is_finite() { start } else { f64::MAX }
}

/// Counts by consecutive buckets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Buckets {
    /// The bucket of the first count.
    pub first: i32,
    /// Counts from there on; the ends are not 0.
    pub counts: Vec<u64>,
}

impl Buckets {
    /// Adds `by` to a bucket.
    #[inline]
    pub fn add(&mut self, index: i32, by: u64) {
        if let Some(count) = index
            .checked_sub(self.first)
            .and_then(|place| usize::try_from(place).ok())
            .and_then(|place| self.counts.get_mut(place))
        {
            *count += by;
        } else {
            self.grow(index);
            self.counts[(index - self.first) as usize] += by;
        }
    }

    #[cold]
    fn grow(&mut self, index: i32) {
        if self.counts.is_empty() {
            self.first = index;
            self.counts.push(0);
        } else if index < self.first {
            let front = (self.first - index) as usize;
            self.counts.splice(0..0, std::iter::repeat_n(0, front));
            self.first = index;
        } else {
            self.counts.resize((index - self.first) as usize + 1, 0);
        }
    }

    fn merge(&mut self, later: &Self) {
        if let (Some(_), Some(last)) = (later.counts.first(), later.counts.len().checked_sub(1)) {
            self.add(later.first, 0);
            self.add(later.first + last as i32, 0);
            let start = (later.first - self.first) as usize;
            for (own, later) in self.counts[start..].iter_mut().zip(&later.counts) {
                *own += later;
            }
        }
    }

    /// Counts by bucket, in rising order of the bucket, without empty ones.
    fn iter(&self) -> impl DoubleEndedIterator<Item = (i32, u64)> + '_ {
        self.counts
            .iter()
            .enumerate()
            .filter(|(_, c)| **c > 0)
            .map(|(i, c)| (self.first + i as i32, *c))
    }
}

/// The distribution of a set of values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Quantiles {
    /// The values themselves, in the order of arrival, at most [`EXACT_MAX`] of them.
    Exact(Vec<f64>),
    /// Counts by bucket.
    Sketch(Box<Sketch>),
}

/// Counts by bucket of |x|, apart for negative and positive values.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Sketch {
    /// Values below 0, by the bucket of −x.
    pub negative: Buckets,
    /// Values 0.
    pub zero: u64,
    /// Values above 0.
    pub positive: Buckets,
    /// Values −∞.
    pub negative_infinite: u64,
    /// Values +∞.
    pub positive_infinite: u64,
    /// The least and the greatest finite value, which no answer passes.
    pub range: Option<(f64, f64)>,
}

impl Sketch {
    /// Takes a value that is not NaN.
    #[inline]
    pub fn push(&mut self, x: f64) {
        if x.is_infinite() {
            *(if x > 0.0 {
                &mut self.positive_infinite
            } else {
                &mut self.negative_infinite
            }) += 1;
            return;
        }
        self.range = Some(self.range.map_or((x, x), |(low, high)| (low.min(x), high.max(x))));
        if x > 0.0 {
            self.positive.add(bucket(x), 1);
        } else if x < 0.0 {
            self.negative.add(bucket(-x), 1);
        } else {
            self.zero += 1;
        }
    }

    /// Values.
    pub fn count(&self) -> u64 {
        let sum = |b: &Buckets| b.counts.iter().sum::<u64>();
        sum(&self.negative) + self.zero + sum(&self.positive) + self.negative_infinite + self.positive_infinite
    }

    /// The value at `rank` in rising order, as its bucket has it; `None` if there are not so many.
    fn at_rank(&self, rank: u64) -> Option<f64> {
        let mut seen = 0;
        let mut reached = |count: u64| {
            seen += count;
            seen > rank
        };
        if reached(self.negative_infinite) {
            return Some(f64::NEG_INFINITY);
        }
        // Only the bucket that is hit needs its value, which is costly.
        if let Some((bucket, _)) = self.negative.iter().rev().find(|(_, count)| reached(*count)) {
            return Some(-bucket_value(bucket));
        }
        if reached(self.zero) {
            return Some(0.0);
        }
        if let Some((bucket, _)) = self.positive.iter().find(|(_, count)| reached(*count)) {
            return Some(bucket_value(bucket));
        }
        reached(self.positive_infinite).then_some(f64::INFINITY)
    }
}

impl Default for Quantiles {
    fn default() -> Self {
        Self::Exact(Vec::new())
    }
}

impl Quantiles {
    /// Takes the next value; NaN is a missing one and left out.
    #[inline]
    pub fn push(&mut self, x: f64) {
        if x.is_nan() {
            return;
        }
        match self {
            Self::Sketch(sketch) => sketch.push(x),
            Self::Exact(values) if values.len() < EXACT_MAX => values.push(x),
            Self::Exact(_) => {
                self.sketch().push(x);
            }
        }
    }

    /// The sketch, made from the values if need be.
    fn sketch(&mut self) -> &mut Sketch {
        if let Self::Exact(values) = self {
            let mut sketch = Box::<Sketch>::default();
            values.iter().for_each(|x| sketch.push(*x));
            *self = Self::Sketch(sketch);
        }
        match self {
            Self::Sketch(sketch) => sketch,
            Self::Exact(_) => unreachable!("it was made a sketch above"),
        }
    }

    /// Values.
    pub fn count(&self) -> u64 {
        match self {
            Self::Exact(values) => values.len() as u64,
            Self::Sketch(sketch) => sketch.count(),
        }
    }

    /// Bytes that are held beside the value itself.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Exact(values) => values.capacity() * size_of::<f64>(),
            Self::Sketch(s) => (s.negative.counts.capacity() + s.positive.counts.capacity()) * size_of::<u64>(),
        }
    }

    /// The quantiles at these probabilities; all `None` without values.
    ///
    /// They interpolate between the order statistics at ranks ⌊p (n − 1)⌋ and the next (Hyndman & Fan 1996, type 7).
    /// Those of an exact set are the values; those of a sketch lie within [`RELATIVE_ERROR`] of the values, the least
    /// and the greatest exactly, so that a quantile between two of one sign does too.
    pub fn at(&self, probabilities: &[f64]) -> Vec<Option<f64>> {
        match self {
            Self::Exact(values) => {
                let mut sorted = values.clone();
                sorted.sort_by(f64::total_cmp);
                probabilities.iter().map(|p| type_7(&sorted, *p)).collect()
            }
            Self::Sketch(sketch) => {
                let n = sketch.count();
                let statistic = |rank| order_statistic(sketch, n, rank);
                probabilities.iter().map(|p| interpolate(n, *p, statistic)).collect()
            }
        }
    }
}

fn type_7(sorted: &[f64], p: f64) -> Option<f64> {
    interpolate(sorted.len() as u64, p, |rank| Some(sorted[rank as usize]))
}

/// Between the order statistics at ranks ⌊h⌋ and ⌊h⌋ + 1 with h = p (n − 1).
fn interpolate(n: u64, p: f64, statistic: impl Fn(u64) -> Option<f64>) -> Option<f64> {
    let last = n.checked_sub(1)?;
    let h = p * last as f64;
    let below = (h.floor() as u64).min(last);
    let (a, b) = (statistic(below)?, statistic((below + 1).min(last))?);
    let weight = h - below as f64;
    // Equal neighbours (infinite ones too) need no interpolation; a·(1−w) + b·w does not overflow where b − a would.
    Some(if a == b || weight == 0.0 {
        a
    } else if (b - a).is_finite() {
        a + weight * (b - a)
    } else {
        a * (1.0 - weight) + b * weight
    })
}

/// The order statistic at `rank` of `n`: exact at both ends, else within [`RELATIVE_ERROR`].
fn order_statistic(sketch: &Sketch, n: u64, rank: u64) -> Option<f64> {
    let (low, high) = sketch.range.unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
    let finite = sketch.negative_infinite..n - sketch.positive_infinite;
    if rank == finite.start && finite.contains(&rank) {
        return Some(low);
    }
    if finite.contains(&rank) && rank + 1 == finite.end {
        return Some(high);
    }
    let value = sketch.at_rank(rank)?;
    Some(if finite.contains(&rank) {
        value.max(low).min(high)
    } else {
        value
    })
}

impl Merge for Quantiles {
    fn merge(&mut self, later: &Self) {
        if let (Self::Exact(a), Self::Exact(b)) = (&mut *self, later)
            && a.len() + b.len() <= EXACT_MAX
        {
            a.extend_from_slice(b);
            return;
        }
        let own = self.sketch();
        match later {
            Self::Exact(values) => values.iter().for_each(|x| own.push(*x)),
            Self::Sketch(sketch) => {
                own.negative.merge(&sketch.negative);
                own.positive.merge(&sketch.positive);
                own.zero += sketch.zero;
                own.negative_infinite += sketch.negative_infinite;
                own.positive_infinite += sketch.positive_infinite;
                own.range = match (own.range, sketch.range) {
                    (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
                    (a, b) => a.or(b),
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constant_is_what_its_derivation_says() {
        let gamma = (1.0 + RELATIVE_ERROR) / (1.0 - RELATIVE_ERROR);
        assert!(
            (BUCKETS_PER_OCTAVE - 0.7 / f64::ln(gamma)).abs() < 1e-9,
            "{}",
            0.7 / f64::ln(gamma)
        );
    }

    #[test]
    fn every_value_is_within_one_percent_of_its_bucket() {
        let mut x = 5e-324f64;
        let mut last = i32::MIN;
        while x < 1e308 {
            let index = bucket(x);
            assert!(index >= last, "monotone at {x}");
            last = index;
            let value = bucket_value(index);
            // A hair of rounding beyond 1 %; subnormal neighbours are farther apart than that.
            assert!(
                (value - x).abs() <= x * (RELATIVE_ERROR + 1e-12) + 5e-324,
                "{x} {value}"
            );
            x *= 1.000_37 + if x < 1e-320 { 1.0 } else { 0.0 };
        }
        assert!((bucket_value(bucket(f64::MAX)) / f64::MAX - 1.0).abs() <= 0.01);
    }

    #[test]
    fn small_sets_are_exact_type_7() {
        let mut q = Quantiles::default();
        [4.0, 1.0, 3.0, 2.0, f64::NAN].iter().for_each(|x| q.push(*x));
        assert_eq!(q.at(&[0.0, 0.25, 0.5, 1.0]), [1.0, 1.75, 2.5, 4.0].map(Some));
        assert_eq!(Quantiles::default().at(&[0.5]), [None]);
    }

    #[test]
    fn a_sketch_interpolates_as_a_set_does() {
        // 500 zeros and 500 tens: the median lies between them.
        let mut q = Quantiles::default();
        (0..1000).for_each(|i| q.push(f64::from(i % 2 * 10)));
        let found = q.at(&[0.0, 0.4, 0.5, 0.6, 1.0]);
        assert_eq!(found, [0.0, 0.0, 5.0, 10.0, 10.0].map(Some));
        q.push(f64::INFINITY);
        q.push(f64::NEG_INFINITY);
        let found = q.at(&[0.0, 1.0 / 1001.0, 1000.0 / 1001.0, 1.0]);
        assert_eq!(found, [f64::NEG_INFINITY, 0.0, 10.0, f64::INFINITY].map(Some));
    }

    #[test]
    fn any_split_gives_the_same_sketch() {
        let values: Vec<f64> = (0..1000).map(|i| f64::from(i * 7919 % 1000 - 300) * 1.37).collect();
        let of = |values: &[f64]| {
            let mut q = Quantiles::default();
            values.iter().for_each(|x| q.push(*x));
            q
        };
        let whole = of(&values);
        for cut in [0, 1, 200, 256, 257, 500, 900, 1000] {
            let mut a = of(&values[..cut]);
            a.merge(&of(&values[cut..]));
            assert_eq!(a, whole, "{cut}");
        }
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        for p in [0.0_f64, 0.01, 0.3, 0.5, 0.99, 1.0] {
            let h = p * 999.0;
            let (a, b, w) = (sorted[h as usize], sorted[h.ceil() as usize], h.fract());
            let (exact, allowed) = (a + w * (b - a), 0.010_000_1 * (a.abs() + w * (b.abs() - a.abs())));
            assert!((whole.at(&[p])[0].unwrap() - exact).abs() <= allowed, "{p}");
        }
    }
}
