//! Durations counted in buckets whose bounds grow by a fixed factor: quantiles within that factor, for a fixed memory.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets for each doubling: a quantile is within 2^(1/4), 19 %, of the value, which is enough to see what slows down.
const PER_DOUBLING: u32 = 4;

/// The shortest bound: no batch is reduced and handed on in less.
const SHORTEST_NS: f64 = 64e3;

/// Doublings up to the longest bound, 67 s, beyond which a feed is down and not slow.
const DOUBLINGS: u32 = 20;

/// Bounds; one more bucket counts what is longer.
const BOUNDS: usize = (PER_DOUBLING * DOUBLINGS + 1) as usize;

/// The upper bounds of the buckets in nanoseconds, ascending.
static BOUNDS_NS: LazyLock<[u64; BOUNDS]> = LazyLock::new(|| {
    std::array::from_fn(|i| (SHORTEST_NS * (i as f64 / f64::from(PER_DOUBLING)).exp2()).round() as u64)
});

/// How often which durations were seen.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS + 1],
    sum_ns: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; BOUNDS + 1],
            sum_ns: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    /// Counts a duration.
    pub fn record(&self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_NS.partition_point(|bound| *bound < ns);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// Seconds of all durations together.
    pub fn sum_seconds(&self) -> f64 {
        self.sum_ns.load(Ordering::Relaxed) as f64 / 1e9
    }

    /// For each bound in seconds, how many durations were not longer; the last bound is infinity.
    pub fn cumulative(&self) -> Vec<(f64, u64)> {
        let bounds = BOUNDS_NS.iter().map(|ns| *ns as f64 / 1e9).chain([f64::INFINITY]);
        let mut total = 0;
        let count = |bucket: &AtomicU64| {
            total += bucket.load(Ordering::Relaxed);
            total
        };
        bounds.zip(self.buckets.iter().map(count)).collect()
    }

    /// The duration in seconds that a share `q` of all is not longer than; nothing where there are none.
    pub fn quantile_seconds(&self, q: f64) -> Option<f64> {
        quantile(&self.cumulative(), q)
    }
}

/// The quantile of counts that add up over rising bounds, by a straight line within the bucket, as Prometheus's
/// `histogram_quantile` does it; what lies in the last bucket is given as the bound before it.
pub(crate) fn quantile(cumulative: &[(f64, u64)], q: f64) -> Option<f64> {
    let total = cumulative.last()?.1;
    if total == 0 {
        return None;
    }
    let rank = q.clamp(0.0, 1.0) * total as f64;
    let bucket = cumulative
        .iter()
        .position(|(_, count)| *count as f64 >= rank && *count > 0)?;
    let (upper, count) = cumulative[bucket];
    let (lower, before) = match bucket {
        0 => (0.0, 0),
        _ => cumulative[bucket - 1],
    };
    if upper.is_infinite() {
        return Some(lower);
    }
    let within = (rank - before as f64) / (count - before).max(1) as f64;
    Some(lower + (upper - lower) * within.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_bucket_of_the_value() {
        let histogram = Histogram::default();
        assert_eq!(histogram.quantile_seconds(0.5), None);
        for ms in 1..=1000 {
            histogram.record(Duration::from_millis(ms));
        }
        for (q, value) in [(0.5, 0.5), (0.99, 0.99), (1.0, 1.0), (0.001, 0.001)] {
            let quantile = histogram.quantile_seconds(q).unwrap();
            assert!((quantile / value).log2().abs() <= 0.25, "{q}: {quantile} for {value}");
        }
        assert!((histogram.sum_seconds() - 500.5).abs() < 1e-6);
    }

    #[test]
    fn what_is_beyond_the_bounds_is_counted() {
        let histogram = Histogram::default();
        histogram.record(Duration::ZERO);
        histogram.record(Duration::MAX);
        let cumulative = histogram.cumulative();
        assert_eq!(cumulative[0].1, 1);
        assert_eq!(cumulative[cumulative.len() - 2].1, 1);
        assert_eq!(cumulative.last(), Some(&(f64::INFINITY, 2)));
        assert!(cumulative.is_sorted_by(|a, b| a.0 < b.0));
        let longest = histogram.quantile_seconds(1.0).unwrap();
        assert!((60.0..70.0).contains(&longest), "{longest}");
    }
}
