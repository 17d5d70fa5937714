//! Sums of whole numbers are exact, however large they are.

use crate::random::Random;
use crate::support::{batch, report};
use millstream::{Spec, Window};

/// Whole numbers whose sum is far smaller than they are.
fn values(bits: u32) -> Vec<f64> {
    let mut random = Random::new(u64::from(bits));
    let magnitude = 1u64 << bits;
    (0..10_000)
        .map(|_| random.below(2 * magnitude) as f64 - magnitude as f64)
        .collect()
}

#[test]
fn sums_of_whole_numbers_are_exact() {
    for bits in [10, 39, 45, 49, 51, 52] {
        let values = values(bits);
        let exact: i128 = values.iter().map(|x| *x as i128).sum();
        assert!(
            exact.unsigned_abs() < 1 << 59,
            "{bits}: the total of a random walk is small"
        );
        let one: Vec<f64> = vec![1.0; values.len()];
        let data = batch(&[("x", &values), ("one", &one)]);
        let window = Window::Rows {
            size: 10_000,
            slide: 10_000,
        };
        // As one cell, and as the cells of windows, which are summed one value after another.
        for spec in [Spec::new(), Spec::new().window(window)] {
            let report = report(spec, &data);
            assert_eq!(report.groups.len(), 1);
            let column = &report.groups[0].columns["x"];
            assert_eq!(column.sum, Some(exact as f64), "{bits} bits");
        }
    }
}

#[test]
fn sums_of_large_narrow_floats_are_exact_too() {
    // 2^60 and 1 are exact as f32; their sum is not, even as f64.
    let narrow: Vec<f32> = (0..4096)
        .map(|i| if i % 2 == 0 { 1.152_921_5e18 } else { -1.152_921_5e18 })
        .collect();
    let values: Vec<f64> = narrow.iter().map(|x| f64::from(*x)).chain([3.0]).collect();
    let report = report(Spec::new(), &batch(&[("x", &values)]));
    assert_eq!(report.groups[0].columns["x"].sum, Some(3.0));
}
