//! Summaries of partitions make the windows that one engine makes of their rows, bit for bit.

use super::*;
use crate::engine::Lateness;
use crate::report::{Closed, WindowBounds};
use crate::spec::Spec;
use std::time::Duration;

const SECOND: i64 = 1_000_000_000;

fn spec() -> Spec {
    Spec::new()
        .by(["sensor"])
        .covariance()
        .differences()
        .quantiles(&[0.5])
        .window(Window::tumbling(Duration::from_secs(10)))
}

fn engine() -> Engine {
    Engine::new(spec()).unwrap().closing_windows(Lateness::new())
}

/// Rows of one second each from this second on, for two sensors.
fn rows(from: i64, count: i64, seed: u64) -> Batch {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as f64 / 1e6
    };
    let columns = ["x", "y"].map(|name| (name, (0..count).map(|_| next()).collect::<Vec<f64>>()));
    let sensors: StringArray = (0..count).map(|i| Some(if i % 3 == 0 { "a" } else { "b" })).collect();
    Batch::from_columns(columns)
        .unwrap()
        .with_keys(vec![("sensor".into(), Arc::new(sensors))])
        .unwrap()
        .with_time_ns((from..from + count).map(|second| second * SECOND).collect())
        .unwrap()
}

fn shares(partition: u32, engine: &mut Engine) -> Vec<Share> {
    let columns = engine.summary_columns();
    let share = |closed: Closed| {
        let Some(WindowBounds::Time { start_ns, end_ns }) = closed.window else {
            unreachable!("windows are of time")
        };
        let share = Share {
            partition,
            partitions: 3,
            start_ns,
            end_ns,
            key: closed.key,
            columns: columns.clone(),
            summary: closed.summary,
        };
        // As it comes to another process.
        Share::from_text(&share.to_text().unwrap()).unwrap()
    };
    engine.closed(usize::MAX).unwrap().into_iter().map(share).collect()
}

#[test]
fn shares_of_partitions_make_the_windows_that_one_engine_makes_of_their_rows() {
    let mut whole = engine();
    let mut parts: Vec<(u32, Engine)> = (0..3).map(|partition| (partition, engine())).collect();
    (0..3).for_each(|partition| whole.expect_partition(partition));
    let (mut expected, mut came) = (Vec::new(), engine());
    let mut closed = Vec::new();
    for round in 0..8 {
        for (partition, part) in &mut parts {
            let batch = rows(round * 17, 17, u64::from(*partition) * 100 + round as u64);
            assert!(whole.take(*partition, &batch, 0).unwrap().is_empty());
            assert!(part.take(*partition, &batch, 0).unwrap().is_empty());
        }
        expected.extend(whole.closed(usize::MAX).unwrap());
        // Partitions are read in any order.
        for (partition, part) in parts.iter_mut().rev() {
            for share in shares(*partition, part) {
                assert_eq!(came.take_share(&share, 0).unwrap(), Taken::Now);
                assert_ne!(came.take_share(&share, 0).unwrap(), Taken::Now, "a share counts once");
            }
        }
        closed.extend(came.closed(usize::MAX).unwrap());
    }
    assert!(closed.len() > 15, "windows close before the end");
    expected.extend(whole.close().unwrap());
    for (partition, part) in &mut parts {
        part.end();
        for share in shares(*partition, part) {
            assert_eq!(came.take_share(&share, 0).unwrap(), Taken::Now);
        }
    }
    closed.extend(came.close().unwrap());
    assert_eq!(closed, expected);
    assert_eq!(came.rows(), whole.rows());
}

#[test]
fn a_window_waits_for_every_partition_and_a_share_behind_it_is_late() {
    let (mut part, mut came) = (engine(), engine());
    part.take(1, &rows(0, 40, 7), 0).unwrap();
    let of_one = shares(1, &mut part);
    assert_eq!(of_one.len(), 6);
    for share in &of_one {
        assert_eq!(came.take_share(share, 0).unwrap(), Taken::Now);
    }
    assert!(
        came.closed(usize::MAX).unwrap().is_empty(),
        "two partitions have said nothing"
    );
    for partition in [0, 2] {
        let last = Share {
            partition,
            ..of_one[5].clone()
        };
        assert_eq!(came.take_share(&last, 0).unwrap(), Taken::Now);
    }
    assert_eq!(came.closed(usize::MAX).unwrap().len(), 4);
    assert_eq!(came.take_share(&of_one[0], 0).unwrap(), Taken::Late);
    let of_other = Share {
        partition: 0,
        ..of_one[0].clone()
    };
    assert_eq!(came.take_share(&of_other, 0).unwrap(), Taken::Late);
    assert_eq!(came.late_rows(), 2);
}

#[test]
fn what_was_made_otherwise_is_refused_and_leaves_nothing() {
    let (mut part, mut came) = (engine(), engine());
    part.take(0, &rows(0, 20, 7), 0).unwrap();
    let share = shares(0, &mut part).remove(0);
    let integer = KeyValue::Integer(i128::MAX);
    let wrong = [
        Share {
            end_ns: share.end_ns + 1,
            ..share.clone()
        },
        Share {
            start_ns: share.start_ns + 1,
            end_ns: share.end_ns + 1,
            ..share.clone()
        },
        Share {
            columns: vec!["x".into()],
            ..share.clone()
        },
        Share {
            key: None,
            ..share.clone()
        },
        Share {
            key: Some([("sensor".to_owned(), integer)].into_iter().collect()),
            ..share.clone()
        },
    ];
    for wrong in &wrong {
        assert!(came.take_share(wrong, 0).is_err(), "{wrong:?}");
    }
    assert_eq!(came.take_share(&share, 0).unwrap(), Taken::Now);
    assert!(
        Engine::new(spec()).unwrap().take_share(&share, 0).is_err(),
        "windows do not close"
    );
}
