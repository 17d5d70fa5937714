//! Stored summaries: bytes are an error or a summary with these very bytes, which merges and can be reported.
//!
//! The first byte says whether the rest is taken as it is or gets the checksum that it should have.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millstream::report::build;
use millstream::summary::{LeafRun, Order, Shape};
use millstream::{Closed, Spec, Summary};
use millstream_fuzz::about_the_input;

/// What a merge may take beyond the two that are merged: the buckets between the ends of two sketches.
const GROWTH_BYTES: usize = 64 << 20;

/// A summary of a few rows, with every part.
fn sane(columns: usize, exact: bool) -> Summary {
    let shape = Shape {
        columns,
        order: Order::Fourth,
        comoments: true,
        regression: (0..columns).collect(),
        exact,
        differences: true,
        quantiles: true,
        loss: None,
    };
    let mut run = LeafRun::new(&shape);
    for i in 0..5 {
        let row: Vec<f64> = (0..columns).map(|c| f64::from(i) * 1.5 - c as f64).collect();
        run.push(&shape, &row, Some(i64::from(i)));
    }
    run.finish(&shape)
}

fn report(summary: &Summary) {
    let names: Vec<String> = (0..summary.columns.len()).map(|i| format!("c{i}")).collect();
    let mut spec = Spec::new()
        .covariance()
        .correlation()
        .differences()
        .quantiles(&[0.0, 0.01, 0.5, 0.9, 1.0]);
    if let Some((target, terms)) = names.split_last() {
        let terms: Vec<&str> = terms.iter().map(String::as_str).collect();
        spec = spec.regression(target, &terms);
    }
    let closed = Closed::new(None, None, summary.clone());
    let report = build::report(&spec, &names, [closed]);
    assert_eq!(report.groups[0].columns.len(), names.len());
    for (_, column) in report.groups[0].columns.iter() {
        let quantiles = column.quantiles.as_ref().into_iter().flat_map(|q| q.iter());
        let values: Vec<f64> = quantiles.filter_map(|(_, x)| *x).collect();
        assert!(values.is_sorted(), "quantiles rise: {values:?}");
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((mode, rest)) = bytes.split_first() else {
        return;
    };
    let mut bytes = rest.to_vec();
    if mode & 1 == 1 {
        bytes.truncate(bytes.len().saturating_sub(4));
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
    }
    let Some(summary) = about_the_input(Summary::from_bytes(&bytes)) else {
        return;
    };
    assert_eq!(summary.to_bytes(), bytes, "a summary has one form");
    report(&summary);
    let fitting = [sane(summary.columns.len(), false), sane(summary.columns.len(), true)];
    for other in [&summary, &Summary::default(), &fitting[0], &fitting[1]] {
        for (first, later) in [(&summary, other), (other, &summary)] {
            let mut merged = first.clone();
            if about_the_input(merged.try_merge(later)).is_none() {
                assert_eq!(merged.to_bytes(), first.to_bytes(), "a refused merge changes nothing");
                continue;
            }
            assert_eq!(merged.rows, first.rows + later.rows);
            let form = merged.to_bytes();
            assert!(form.len() <= first.to_bytes().len() + later.to_bytes().len() + GROWTH_BYTES);
            report(&merged);
        }
    }
});
