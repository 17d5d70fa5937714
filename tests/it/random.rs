//! Seeded numbers for the tests: the same on every machine, from integer arithmetic and exact sums alone.

/// SplitMix64 (Steele, Lea and Flood 2014).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1), a multiple of 2^-53.
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// An integer in 0 .. n.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(n)) >> 64) as u64
    }

    /// Nearly normal, mean 0, standard deviation 1: the sum of twelve uniform numbers less six (Irwin-Hall).
    ///
    /// No logarithm and no cosine, whose last digits differ from library to library.
    pub(crate) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// mean/sd of the rungs of the ladder on which naive formulas lose two digits of the variance a rung.
pub(crate) const LADDER: [f64; 10] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

/// `n` values with this mean and standard deviation 1.
pub(crate) fn rung(mean: f64, n: usize, seed: u64) -> Vec<f64> {
    let mut random = Random::new(seed);
    (0..n).map(|_| mean + random.normal()).collect()
}

#[test]
fn the_numbers_have_the_moments_they_should() {
    // The first outputs of SplitMix64 from 1234567, as published with the algorithm.
    let mut random = Random::new(1_234_567);
    assert_eq!(random.next_u64(), 6_457_827_717_110_365_317);
    assert_eq!(random.next_u64(), 3_203_168_211_198_807_973);
    assert!((0..1000).all(|_| random.below(7) < 7));

    // Four standard errors of the mean and of the standard deviation at n = 100 000.
    let values = rung(0.0, 100_000, 1);
    let mean = values.iter().sum::<f64>() / 1e5;
    let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 1e5;
    assert!(mean.abs() < 4.0 / 1e5f64.sqrt(), "{mean}");
    assert!((variance - 1.0).abs() < 4.0 * (2.0 / 1e5f64).sqrt(), "{variance}");
    assert_eq!(values, rung(0.0, 100_000, 1));
}
