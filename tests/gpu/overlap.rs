//! What the ring does at the same time, and what it puts together.

use crate::support::{describes, numbers, open, options, summary, work};
use millstream::Backend;
use millstream::backend::gpu::{Moment, Options, Watch};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A mebibyte, which leaves at once.
const LARGE: usize = 1 << 17;
const WORKS: u64 = 6;
/// Longer than any test.
const EVER: Duration = Duration::from_secs(100_000);

/// What happened, in order.
type Log = Arc<Mutex<Vec<Moment>>>;

fn place(log: &[Moment], moment: Moment) -> usize {
    let place = log.iter().position(|m| *m == moment);
    place.unwrap_or_else(|| panic!("{moment:?} never happened: {log:?}"))
}

/// Notes everything once, and holds answers back as `holds` says of what there was so far, the number, and how often
/// that answer was held back already.
fn watching(holds: impl Fn(&[Moment], u64, u64) -> bool + Send + Sync + 'static) -> (Watch, Log) {
    let log = Log::default();
    let (seen, held) = (log.clone(), Mutex::new((0, 0)));
    let watch = move |moment| {
        let mut seen = seen.lock().unwrap();
        if let Moment::Answered(k) = moment {
            let mut held = held.lock().unwrap();
            if held.0 != k {
                *held = (k, 0);
            }
            if holds(&seen, k, held.1) {
                held.1 += 1;
                return false;
            }
        }
        seen.push(moment);
        true
    };
    (Arc::new(watch), log)
}

/// Works that leave one by one, all in flight at once as far as the ring allows.
fn run(options: Options) -> Option<u64> {
    let mut gpu = open(options)?;
    let values: Vec<Vec<f64>> = (0..WORKS).map(|k| numbers(k, LARGE)).collect();
    // One less than a whole row of works, so that the ring alone decides.
    for (k, values) in values.iter().enumerate() {
        gpu.submit(k as u64, work(values.clone())).unwrap();
    }
    for (k, values) in values.iter().enumerate() {
        let (seq, partials) = gpu.collect().unwrap();
        assert_eq!(seq, k as u64);
        describes(summary(&partials), values);
    }
    assert_eq!(gpu.counters().losses(), 0);
    Some(gpu.counters().submits())
}

#[test]
fn the_next_submission_is_packed_and_submitted_while_one_is_out() {
    for depth in [2, 3] {
        // No answer is taken before the next submission was seen: the ring comes to a stop unless works overlap.
        let (watch, log) = watching(|seen, k, _| k < WORKS && !seen.contains(&Moment::Submitted(k + 1)));
        let options = Options {
            depth,
            watch: Some(watch),
            ..options()
        };
        let Some(submits) = run(options) else { return };
        assert_eq!(submits, WORKS);
        let log = log.lock().unwrap();
        for k in 1..WORKS {
            let answered = place(&log, Moment::Answered(k));
            assert!(place(&log, Moment::Packing(k + 1)) < answered, "depth {depth}: {log:?}");
            assert!(
                place(&log, Moment::Submitted(k + 1)) < answered,
                "depth {depth}: {log:?}"
            );
        }
    }
}

#[test]
fn four_stages_overlap() {
    // While k + 1 is packed, k is on its way, and the answer of k - 1 is not read: three stages, and the fourth free.
    let (watch, log) = watching(|seen, k, _| k + 2 <= WORKS && !seen.contains(&Moment::Submitted(k + 2)));
    let options = Options {
        depth: 3,
        watch: Some(watch),
        ..options()
    };
    if run(options).is_none() {
        return;
    }
    let log = log.lock().unwrap();
    for k in 1..WORKS - 1 {
        assert!(place(&log, Moment::Submitted(k + 2)) < place(&log, Moment::Answered(k)));
        assert!(place(&log, Moment::Submitted(k + 2)) < place(&log, Moment::Read(k)));
    }
}

#[test]
fn with_one_stage_nothing_overlaps() {
    // However long an answer is held back, nothing else is packed or submitted: what the other tests see is the ring.
    let (watch, log) = watching(|seen, k, held| !seen.contains(&Moment::Submitted(k + 1)) && held < 40);
    let options = Options {
        depth: 1,
        watch: Some(watch),
        ..options()
    };
    let Some(submits) = run(options) else { return };
    assert_eq!(submits, WORKS);
    let log = log.lock().unwrap();
    for k in 1..WORKS {
        assert!(
            place(&log, Moment::Answered(k)) < place(&log, Moment::Packing(k + 1)),
            "{log:?}"
        );
        assert!(
            place(&log, Moment::Read(k)) < place(&log, Moment::Submitted(k + 1)),
            "{log:?}"
        );
    }
}

#[test]
fn small_works_share_a_submission() {
    let patient = Options {
        patience: EVER,
        ..options()
    };
    let Some(mut gpu) = open(patient) else { return };
    let values: Vec<Vec<f64>> = (0..10).map(|k| numbers(k, 100 + k as usize)).collect();
    for (k, values) in values.iter().enumerate() {
        gpu.submit(k as u64, work(values.clone())).unwrap();
    }
    // They leave when somebody waits.
    for values in &values {
        describes(summary(&gpu.collect().unwrap().1), values);
    }
    assert_eq!(gpu.counters().submits(), 1);

    // Four works of 256 KiB are enough to go.
    let values: Vec<Vec<f64>> = (0..8).map(|k| numbers(k, LARGE / 4)).collect();
    for (k, values) in values.iter().enumerate() {
        gpu.submit(100 + k as u64, work(values.clone())).unwrap();
    }
    for values in &values {
        describes(summary(&gpu.collect().unwrap().1), values);
    }
    assert_eq!(gpu.counters().submits(), 3);
}

#[test]
fn a_small_work_leaves_when_its_time_has_come() {
    let (sent, sees) = std::sync::mpsc::channel();
    let watch = move |moment| {
        if matches!(moment, Moment::Submitted(_)) {
            sent.send(()).unwrap();
        }
        true
    };
    let options = Options {
        patience: Duration::from_millis(1),
        watch: Some(Arc::new(watch)),
        ..options()
    };
    let Some(mut gpu) = open(options) else { return };
    gpu.submit(1, work(numbers(1, 10))).unwrap();
    // Nobody waits for the answer, and nothing else comes.
    sees.recv().unwrap();
    describes(summary(&gpu.collect().unwrap().1), &numbers(1, 10));
}

#[test]
fn a_work_that_is_waited_for_leaves_at_once() {
    let patient = Options {
        patience: EVER,
        ..options()
    };
    let Some(mut gpu) = open(patient) else { return };
    for k in 0..3 {
        gpu.submit(k, work(numbers(k, 10))).unwrap();
        describes(summary(&gpu.collect().unwrap().1), &numbers(k, 10));
    }
    assert_eq!(gpu.counters().submits(), 3);
}

#[test]
fn a_work_without_rows_is_answered() {
    let Some(mut gpu) = open(options()) else { return };
    gpu.submit(1, work(Vec::new())).unwrap();
    let (seq, partials) = gpu.collect().unwrap();
    assert_eq!((seq, partials.len()), (1, 0));
    assert!(gpu.collect().is_err(), "there is no other");
}

/// This test binary, without any adapter.
fn without_adapter(required: &str) -> std::process::Output {
    std::process::Command::new(std::env::current_exe().unwrap())
        .args(["overlap::a_work_without_rows_is_answered", "--exact", "--nocapture"])
        .env("VK_DRIVER_FILES", "/nonexistent.json")
        .env("VK_ICD_FILENAMES", "/nonexistent.json")
        .env("MILLSTREAM_REQUIRE_GPU", required)
        .output()
        .unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn tests_say_that_there_is_no_adapter_and_fail_where_one_is_required() {
    let free = without_adapter("0");
    let said = String::from_utf8(free.stderr).unwrap();
    assert!(
        free.status.success() && said.contains("not run, without a GPU: "),
        "{said}"
    );
    let strict = without_adapter("1");
    let said = String::from_utf8(strict.stderr).unwrap();
    assert!(
        !strict.status.success() && said.contains("a GPU is required: "),
        "{said}"
    );
}
