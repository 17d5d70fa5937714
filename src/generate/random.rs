//! Seeded numbers: uniform bits, nearly normal values by table, and keys by Zipf's law.
//!
//! Each purpose (values, keys, times, faults) has a stream of its own, so that asking for disorder does not change the
//! values. The generator is xoshiro256++ (Blackman and Vigna 2019), seeded by SplitMix64 as its authors advise.

use statrs::distribution::{ContinuousCDF, Normal};

/// Bits of an index into the table of quantiles: the table is half of a first-level cache.
const QUANTILE_BITS: u32 = 12;

/// A normal value is these parts of two independent quantiles; their squares add up to 1.
const PARTS: (f64, f64) = (0.8, 0.6);

/// A stream of random bits.
#[derive(Debug, Clone)]
pub(super) struct Random {
    state: [u64; 4],
}

impl Random {
    /// The stream of this number for this seed.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut split = SplitMix(seed ^ SplitMix(stream).next());
        Self {
            state: std::array::from_fn(|_| split.next()),
        }
    }

    #[inline]
    pub(super) fn bits(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }

    /// A whole number below `n`, each as likely as the others to within n / 2^64.
    #[inline]
    pub(super) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(n)) >> 64) as u64
    }

    /// Whether something of this probability happens.
    #[inline]
    pub(super) fn happens(&mut self, probability: f64) -> bool {
        // 53 bits of a number in [0, 1).
        ((self.bits() >> 11) as f64) < probability * (1u64 << 53) as f64
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Nearly normal values of mean 0 and standard deviation 1: the weighted sum of two quantiles from a table of 4096.
///
/// Such a sum has mean 0 and variance 1 to the last digits, takes 2^24 values up to ±5.1, and its distribution
/// function differs from the normal one by less than 1 part in 4096. Two table look-ups cost a tenth of a logarithm.
#[derive(Debug, Clone)]
pub(super) struct Gauss {
    first: Vec<f64>,
    second: Vec<f64>,
}

impl Gauss {
    pub(super) fn new() -> Self {
        let n = 1usize << QUANTILE_BITS;
        let normal = Normal::standard();
        let mut table: Vec<f64> = (0..n / 2)
            .map(|i| normal.inverse_cdf((i as f64 + 0.5) / n as f64))
            .collect();
        // The other half is the mirror image, so that the mean is 0; and the variance is made 1.
        let variance = table.iter().map(|x| x * x).sum::<f64>() * 2.0 / n as f64;
        table.extend(table.clone().into_iter().rev().map(|x| -x));
        let scaled = |part: f64| table.iter().map(|x| x * part / variance.sqrt()).collect();
        Self {
            first: scaled(PARTS.0),
            second: scaled(PARTS.1),
        }
    }

    /// Fills `out`.
    pub(super) fn fill(&self, random: &mut Random, out: &mut [f64]) {
        const SIZE: usize = 1 << QUANTILE_BITS;
        const MASK: usize = SIZE - 1;
        // Slices of a known length: an index below it is not checked again.
        let (first, second) = (&self.first[..SIZE], &self.second[..SIZE]);
        let value = |bits: u64| first[bits as usize & MASK] + second[(bits >> QUANTILE_BITS) as usize & MASK];
        let mut pairs = out.chunks_exact_mut(2);
        for pair in &mut pairs {
            let bits = random.bits();
            pair[0] = value(bits);
            pair[1] = value(bits >> 32);
        }
        for last in pairs.into_remainder() {
            *last = value(random.bits());
        }
    }
}

/// Keys 0 … n − 1 of which key k comes in proportion to 1 / (k + 1)^s: Vose's alias method (1991).
#[derive(Debug, Clone)]
pub(super) struct Zipf {
    /// Of each key the probability, in units of 2^-32, with which its place stands for itself, and the key that it
    /// stands for otherwise.
    places: Vec<(u32, u32)>,
}

impl Zipf {
    pub(super) fn new(keys: u32, exponent: f64) -> Self {
        let n = keys as usize;
        let weights: Vec<f64> = (0..n).map(|k| ((k + 1) as f64).powf(-exponent)).collect();
        let total: f64 = weights.iter().sum();
        let mut share: Vec<f64> = weights.iter().map(|w| w / total * n as f64).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..n).partition(|&k| share[k] < 1.0);
        let mut places: Vec<(u32, u32)> = (0..keys).map(|k| (u32::MAX, k)).collect();
        while let (Some(poor), Some(&rich)) = (small.pop(), large.last()) {
            places[poor] = ((share[poor] * 2f64.powi(32)) as u32, rich as u32);
            share[rich] -= 1.0 - share[poor];
            if share[rich] < 1.0 {
                large.pop();
                small.push(rich);
            }
        }
        Self { places }
    }

    #[inline]
    pub(super) fn draw(&self, random: &mut Random) -> u32 {
        let bits = random.bits();
        let place = ((bits >> 32) * self.places.len() as u64) >> 32;
        let (own, other) = self.places[place as usize];
        if (bits as u32) <= own { place as u32 } else { other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_published_one() {
        // The first outputs of xoshiro256++ for the state 1, 2, 3, 4, as in the reference implementation's tests.
        let mut random = Random { state: [1, 2, 3, 4] };
        let want = [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386];
        assert_eq!(std::array::from_fn::<u64, 4, _>(|_| random.bits()), want);
        let mut split = SplitMix(1_234_567);
        assert_eq!(split.next(), 6_457_827_717_110_365_317);
    }

    #[test]
    fn normal_values_have_the_moments_and_the_shape_of_a_normal() {
        let mut values = vec![0.0; 1_000_001];
        Gauss::new().fill(&mut Random::new(7, 0), &mut values);
        let n = values.len() as f64;
        let moment = |p: i32| values.iter().map(|x| x.powi(p)).sum::<f64>() / n;
        // Five standard errors of each moment of a normal: variances 1, 2, 15 and 96.
        for (p, want, variance) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0f64)] {
            assert!(
                (moment(p) - want).abs() < 5.0 * (variance / n).sqrt(),
                "moment {p}: {}",
                moment(p)
            );
        }
        let beyond = |x: f64| values.iter().filter(|v| v.abs() > x).count() as f64 / n;
        for (x, want) in [(1.0, 0.317_310_5), (2.0, 0.045_500_3), (3.0, 0.002_699_8)] {
            let error = 5.0 * (want / n as f64).sqrt() + 1.0 / 4096.0;
            assert!((beyond(x) - want).abs() < error, "beyond {x}: {}", beyond(x));
        }
    }

    #[test]
    fn keys_follow_their_law() {
        for (keys, exponent) in [(1u32, 1.0), (10, 0.0), (100, 1.0), (1000, 1.5)] {
            let zipf = Zipf::new(keys, exponent);
            let mut random = Random::new(3, 1);
            let n = 400_000;
            let mut counts = vec![0u32; keys as usize];
            (0..n).for_each(|_| counts[zipf.draw(&mut random) as usize] += 1);
            let total: f64 = (1..=keys).map(|k| f64::from(k).powf(-exponent)).sum();
            for (k, &count) in counts.iter().enumerate() {
                let want = ((k + 1) as f64).powf(-exponent) / total * f64::from(n);
                // Five and a half standard deviations of a binomial, for a thousand keys, and one for the rounding.
                let bound = 5.5 * want.sqrt() + 1.0;
                assert!(
                    (f64::from(count) - want).abs() < bound,
                    "{keys} {exponent} {k}: {count}, not {want}"
                );
            }
        }
    }

    #[test]
    fn streams_and_seeds_differ_and_repeat() {
        let first = |seed, stream| Random::new(seed, stream).bits();
        assert_eq!(first(1, 2), first(1, 2));
        assert_ne!(first(1, 2), first(1, 3));
        assert_ne!(first(1, 2), first(2, 2));
        let mut random = Random::new(5, 0);
        let hits = (0..100_000).filter(|_| random.happens(0.3)).count();
        assert!((hits as f64 - 30_000.0).abs() < 5.0 * 21_000f64.sqrt(), "{hits}");
        assert!((0..1000).all(|_| random.below(7) < 7));
        assert!(!(0..1000).any(|_| random.happens(0.0)) && (0..1000).all(|_| random.happens(1.0)));
    }
}
