//! A hundred losses in a row: nothing is lost or counted twice, and nothing is left behind.
//!
//! A program of its own, as it measures its own memory.

#![cfg(feature = "gpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, in its functions too")]

#[path = "gpu/support.rs"]
mod support;

use millstream::Backend;
use millstream::backend::gpu::Options;
use std::time::Duration;
use support::{describes, numbers, open, options, summary, work};

/// Rows of a work.
const ROWS: usize = 1 << 16;
const LOSSES: u64 = 100;
/// Losses until everything that is made once has been made.
const FIRST: u64 = 30;
/// How much memory may vary from one loss to another, as allocators keep some and give some back: less than the buffers
/// of half the devices that are lost, let alone their compiled kernels.
const SLACK_BYTES: u64 = 48 << 20;

/// Memory that this process has, in bytes.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

#[test]
fn a_hundred_losses_in_a_row() {
    let eager = Options {
        retry: Duration::ZERO,
        ..options()
    };
    let Some(mut gpu) = open(eager) else { return };
    let counters = gpu.counters();
    let values: Vec<Vec<f64>> = (0..5).map(|k| numbers(k, ROWS)).collect();
    let (mut seq, mut before) = (0, None);
    while counters.losses() < LOSSES {
        let lost = counters.losses();
        let first = seq;
        for values in &values {
            seq += 1;
            gpu.submit(seq, work(values.clone())).unwrap();
            if seq == first + 1 + lost % 5 {
                gpu.destroy_device();
            }
        }
        // Every work is answered once: by its summary or by an error, in order.
        let mut failed = 0;
        for (k, values) in values.iter().enumerate() {
            match gpu.collect() {
                Ok((answered, partials)) => {
                    assert_eq!(answered, first + 1 + k as u64);
                    describes(summary(&partials), values);
                }
                Err(_) => failed += 1,
            }
        }
        assert!(gpu.collect().is_err(), "all of them have been answered");
        assert!(failed > 0 || counters.losses() == lost, "a loss that nobody heard of");
        assert!(counters.devices() <= 1, "{} devices", counters.devices());
        assert!(counters.buffers() <= 15, "{} buffers", counters.buffers());
        if counters.losses() == FIRST && before.is_none() {
            before = resident_bytes();
        }
    }
    if let (Some(before), Some(after)) = (before, resident_bytes()) {
        assert!(after < before + SLACK_BYTES, "{before} bytes have become {after}");
    }
}
