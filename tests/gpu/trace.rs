//! The trace of a run: every submission is in it, from its first row to its answer, and can be read by what shows it.

use crate::support::{numbers, open, options, summary, work};
use millstream::Backend;
use millstream::backend::gpu::trace::Recorder;
use millstream::backend::gpu::{Moment, Options};
use serde_json::Value;
use std::sync::Arc;

/// A mebibyte, which leaves at once.
const LARGE: usize = 1 << 17;
const WORKS: u64 = 6;

#[test]
fn with_one_stage_a_trace_shows_that_nothing_overlaps() {
    let recorder = Arc::new(Recorder::default());
    let watched = Options {
        depth: 1,
        watch: Some(recorder.watch()),
        ..options()
    };
    let Some(mut gpu) = open(watched) else { return };
    for k in 0..WORKS {
        gpu.submit(k, work(numbers(k, LARGE))).unwrap();
    }
    for _ in 0..WORKS {
        gpu.collect().unwrap();
    }
    drop(gpu);
    let overlap = recorder.overlap();
    assert!(overlap.packing_ns > 0 && overlap.device_ns > 0);
    assert_eq!(overlap.both_ns, 0, "{overlap}");
}

#[test]
fn a_trace_shows_what_overlaps() {
    let recorder = Arc::new(Recorder::default());
    assert!(recorder.is_empty());
    let (record, seen) = (recorder.watch(), Arc::new(std::sync::atomic::AtomicU64::new(0)));
    // Answers are held back until the next submission was packed and made: so there is something to show.
    let watch = move |moment| {
        let (seen, order) = (&seen, std::sync::atomic::Ordering::SeqCst);
        match moment {
            Moment::Answered(k) if k < WORKS && seen.load(order) <= k => return false,
            Moment::Submitted(k) => seen.store(k, order),
            _ => {}
        }
        record(moment)
    };
    let watched = Options {
        watch: Some(Arc::new(watch)),
        ..options()
    };
    let Some(mut gpu) = open(watched) else { return };
    for k in 0..WORKS {
        gpu.submit(k, work(numbers(k, LARGE))).unwrap();
    }
    for _ in 0..WORKS {
        assert_eq!(summary(&gpu.collect().unwrap().1).rows, LARGE as u64);
    }
    let timed = gpu.adapter().timestamps;
    drop(gpu);

    let overlap = recorder.overlap();
    assert_eq!((overlap.submissions, overlap.bytes), (WORKS, WORKS * LARGE as u64 * 8));
    assert_eq!(overlap.timed, timed);
    assert!(overlap.packing_ns > 0 && overlap.device_ns > 0);
    assert!(overlap.both_ns <= overlap.packing_ns.min(overlap.device_ns));
    assert!(overlap.packing_ns + overlap.device_ns - overlap.both_ns <= overlap.wall_ns);

    let mut text = Vec::new();
    recorder.write(&mut text).unwrap();
    let trace: Value = serde_json::from_slice(&text).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let of = |name: &str, phase: &str, number: u64| -> (f64, f64) {
        let own = |e: &&Value| {
            let numbered = e["args"]["submission"] == number || e["id"] == number;
            e["name"] == name && e["ph"] == phase && numbered
        };
        let event = events.iter().find(own).unwrap_or_else(|| panic!("no {name} {number}"));
        let start = event["ts"].as_f64().unwrap();
        (start, start + event["dur"].as_f64().unwrap_or(0.0))
    };
    for k in 1..=WORKS {
        let (flight, landing) = (of("in flight", "b", k).0, of("in flight", "e", k).0);
        assert!(of("pack", "X", k).1 <= flight && flight <= landing);
        // Numbers of a text are rounded.
        assert!(landing <= of("read", "X", k).0 + 0.001);
        if timed {
            assert!(flight <= of("compute", "X", k).0 + 0.001);
        }
        if k < WORKS {
            assert!(
                of("pack", "X", k + 1).1 < landing,
                "{k} was back before the next was packed"
            );
        }
    }
}
