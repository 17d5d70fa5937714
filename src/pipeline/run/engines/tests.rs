//! A partition that changes hands, anywhere and however often, gives the same windows.

use super::*;
use crate::summary::Summary;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

const PARTITION: u32 = 2;

/// Rows of one partition as they come: times in seconds, in messages of a few rows.
fn messages() -> impl Strategy<Value = Vec<Vec<i64>>> {
    let gone_back = prop_oneof![6 => 0..3_i64, 2 => 3..30_i64, 1 => Just(-200_i64)];
    let rows = prop::collection::vec((0..4_i64, gone_back), 1..6);
    prop::collection::vec(rows, 1..60).prop_map(|messages| {
        let mut now = 1000;
        let mut time = |(step, back): (i64, i64)| {
            now += step;
            now - back
        };
        messages
            .into_iter()
            .map(|rows| rows.into_iter().map(&mut time).collect())
            .collect()
    })
}

fn batch(message: &[i64], first: usize) -> Batch {
    let values = (0..message.len()).map(|i| (first * 10 + i) as f64).collect();
    let times = message.iter().map(|second| second * 1_000_000_000).collect();
    Batch::from_columns([("x", values)])
        .unwrap()
        .with_time_ns(times)
        .unwrap()
}

fn lateness() -> Lateness {
    Lateness::new().lateness_ns(4_000_000_000).max_ahead_ns(60_000_000_000)
}

/// What has been reported: windows with their summaries, in every form in which they were.
type Reported = BTreeMap<WindowBounds, Vec<Vec<u8>>>;

fn drain(engines: &mut Engines, reported: &mut Reported) {
    loop {
        let (_, closed) = engines.closed(1).unwrap();
        if closed.is_empty() {
            break;
        }
        for closed in closed {
            let forms = reported.entry(closed.window.unwrap()).or_default();
            forms.push(closed.summary.to_bytes());
        }
    }
}

fn placed(engines: &mut Engines) -> SharedPlace {
    engines.places(&BTreeMap::new()).unwrap().places.remove(0)
}

/// Where a partition begins of which nothing was read.
fn begin() -> SharedPlace {
    SharedPlace {
        partition: PARTITION,
        closed_ns: i64::MIN,
        ..SharedPlace::default()
    }
}

fn given(place: &SharedPlace) -> Given {
    Given {
        partitions: 3,
        places: vec![place.clone()],
        ..Given::default()
    }
}

/// Takes messages from a place up to another; the rows that are late or ahead for the first time.
fn take(engines: &mut Engines, messages: &[Vec<i64>], from: usize, upto: usize, reported: &mut Reported) -> usize {
    let mut refused = 0;
    for (i, message) in messages.iter().enumerate().take(upto).skip(from) {
        let stretch = Stretch {
            partition: PARTITION,
            from: i as u64,
            upto: i as u64 + 1,
        };
        let counts = !engines.were_counted(PARTITION, stretch.upto);
        let left_out = engines.take(stretch, &batch(message, i), 0).unwrap();
        refused += usize::from(counts) * (left_out.late.len() + left_out.ahead.len());
        drain(engines, reported);
    }
    refused
}

proptest! {
    /// However often a partition changes hands, and wherever who had it stood when it was gone, every window is reported,
    /// each time in the same form, and every row that is left out counts once.
    #[test]
    fn whoever_takes_over_goes_on_with_the_same_windows(
        messages in messages(),
        hands in prop::collection::vec((0..20_usize, 0..8_usize), 0..8),
        slide in 1..=2_u64,
    ) {
        let window = Window::sliding(Duration::from_secs(10), Duration::from_secs(10 / slide));
        let spec = Spec::new().differences().window(window);
        let mut alone = Engines::shared(&spec, lateness(), 7).unwrap();
        alone.give(&given(&begin())).unwrap();
        let mut expected = Reported::new();
        let expected_refused = take(&mut alone, &messages, 0, messages.len(), &mut expected);
        alone.end();
        drain(&mut alone, &mut expected);

        let (mut reported, mut refused) = (Reported::new(), 0);
        let mut place = begin();
        for (committed, lost) in hands.into_iter().chain([(messages.len(), 0)]) {
            let mut engines = Engines::shared(&spec, lateness(), 7).unwrap();
            engines.give(&given(&place)).unwrap();
            let from = place.from as usize;
            // It may be gone before it is where the one before was.
            let upto = (from + committed).min(messages.len());
            refused += take(&mut engines, &messages, from, upto, &mut reported);
            let text = placed(&mut engines).to_text();
            let at = placed(&mut engines).from;
            let counted = place.counted.max(upto as u64);
            place = SharedPlace::from_text(PARTITION, at, &text).unwrap();
            prop_assert_eq!(place.counted, counted);
            // What came after it was reported too, but not committed.
            take(&mut engines, &messages, upto, (upto + lost).min(messages.len()), &mut reported);
            if upto == messages.len() {
                engines.end();
                drain(&mut engines, &mut reported);
            }
        }
        prop_assert_eq!(refused, expected_refused);
        for forms in reported.values_mut() {
            forms.dedup();
        }
        prop_assert_eq!(reported, expected);
    }
}

proptest! {
    /// A clock closes windows early, so that reports depend on it; but a row that counts is in one report, and no other.
    #[test]
    fn where_a_clock_closes_windows_every_row_that_counts_is_reported_once(
        messages in messages(),
        hands in prop::collection::vec((0..20_usize, 0..8_usize), 0..8),
        silences in prop::collection::vec(0..20_i64, 60),
    ) {
        let spec = Spec::new().window(Window::tumbling(Duration::from_secs(10)));
        let lateness = lateness().idle_timeout_ns(12_000_000_000);
        let mut place = begin();
        let (mut reported, mut rows, mut refused, mut clock_ns) = (Reported::new(), 0, 0, 0);
        for (committed, _) in hands.into_iter().chain([(messages.len(), 0)]) {
            let mut engines = Engines::shared(&spec, lateness, 7).unwrap();
            engines.give(&given(&place)).unwrap();
            let counted = place.counted as usize;
            let upto = (counted + committed).min(messages.len());
            for i in place.from as usize..upto {
                // Silence before each message, while it has none of those that are read again.
                clock_ns += silences[i] * 1_000_000_000;
                engines.advance(clock_ns);
                drain(&mut engines, &mut reported);
                refused += take(&mut engines, &messages, i, i + 1, &mut reported);
                rows += if i >= counted { messages[i].len() } else { 0 };
            }
            if upto == messages.len() {
                engines.end();
                drain(&mut engines, &mut reported);
            }
            place = placed(&mut engines);
            if upto == messages.len() {
                break;
            }
        }
        let mut of_reports = 0;
        for forms in reported.values() {
            prop_assert_eq!(forms.len(), 1, "a window is reported once");
            of_reports += Summary::from_bytes(&forms[0]).unwrap().rows as usize;
        }
        prop_assert_eq!(of_reports, rows - refused);
    }
}

/// What comes after everything was reported at an end is late, as what there is of its window was reported.
#[test]
fn rows_of_windows_that_an_end_has_reported_are_late() {
    let spec = Spec::new().window(Window::tumbling(Duration::from_secs(10)));
    let mut engines = Engines::shared(&spec, Lateness::new(), 7).unwrap();
    engines.give(&given(&begin())).unwrap();
    let mut reported = Reported::new();
    let messages = [vec![1000, 1001], vec![1003], vec![1010]];
    take(&mut engines, &messages, 0, 1, &mut reported);
    engines.end();
    drain(&mut engines, &mut reported);
    assert_eq!(reported.len(), 1);
    let place = placed(&mut engines);
    assert_eq!((place.from, place.counted), (1, 1));
    let mut next = Engines::shared(&spec, Lateness::new(), 7).unwrap();
    next.give(&given(&place)).unwrap();
    assert_eq!(take(&mut next, &messages, 1, 3, &mut reported), 1);
    next.end();
    drain(&mut next, &mut reported);
    let rows: Vec<usize> = reported.values().map(Vec::len).collect();
    assert_eq!(rows, [1, 1], "each window is reported once");
}

/// A row that is in no window is not read again.
#[test]
fn a_row_too_far_ahead_holds_no_place() {
    let spec = Spec::new().window(Window::tumbling(Duration::from_secs(10)));
    let mut engines = Engines::shared(&spec, lateness(), 7).unwrap();
    engines.give(&given(&begin())).unwrap();
    let mut reported = Reported::new();
    let messages = [vec![1000, 1001], vec![1003, 90_000], vec![1030, 1031]];
    assert_eq!(take(&mut engines, &messages, 0, 3, &mut reported), 1);
    assert_eq!(reported.len(), 1);
    assert_eq!(placed(&mut engines).from, 2);
}

#[test]
fn rows_of_a_partition_that_is_gone_do_not_count() {
    let spec = Spec::new().window(Window::tumbling(Duration::from_secs(10)));
    let mut engines = Engines::shared(&spec, Lateness::new(), 7).unwrap();
    assert!(!engines.has(PARTITION));
    engines.give(&given(&begin())).unwrap();
    assert!(engines.has(PARTITION));
    let mut reported = Reported::new();
    take(&mut engines, &[vec![1000]], 0, 1, &mut reported);
    // Kept, then taken away.
    let kept = Given {
        partitions: 3,
        kept: vec![PARTITION],
        ..Given::default()
    };
    engines.give(&kept).unwrap();
    assert_eq!(engines.cells(), 1);
    engines.give(&Given::default()).unwrap();
    assert!(!engines.has(PARTITION));
    engines.end();
    drain(&mut engines, &mut reported);
    assert!(reported.is_empty());
}

/// What was given back waits as it is, whatever the clock says; what holds no row is behind it; and nobody goes on with the
/// windows of another configuration.
#[test]
fn a_partition_that_was_given_back_waits() {
    let spec = Spec::new().window(Window::tumbling(Duration::from_secs(10)));
    let lateness = Lateness::new().idle_timeout_ns(1_000_000_000);
    let mut engines = Engines::shared(&spec, lateness, 7).unwrap();
    engines.give(&given(&begin())).unwrap();
    let mut reported = Reported::new();
    take(&mut engines, &[vec![1000]], 0, 1, &mut reported);
    let position = Position {
        partition: PARTITION,
        offset_bytes: 5,
        ..Position::default()
    };
    let places = engines.places(&[(PARTITION, position)].into_iter().collect()).unwrap();
    assert_eq!((places.places[0].from, places.places[0].counted), (0, 5));
    engines.suspend();
    for second in 1..100 {
        engines.advance(second * 1_000_000_000);
    }
    drain(&mut engines, &mut reported);
    assert!(reported.is_empty());
    let kept = Given {
        kept: vec![PARTITION],
        ..Given::default()
    };
    engines.give(&kept).unwrap();
    for second in 100..200 {
        engines.advance(second * 1_000_000_000);
    }
    drain(&mut engines, &mut reported);
    assert_eq!(reported.len(), 1);
    let mut others = Engines::shared(&spec, lateness, 8).unwrap();
    assert!(others.give(&given(&places.places[0])).is_err());
}

/// Limits are of all partitions together, and keys of which nothing is open do not count.
#[test]
fn limits_are_of_all_partitions_together() {
    use arrow::array::Int64Array;
    let spec = Spec::new().by(["k"]).window(Window::tumbling(Duration::from_secs(10)));
    let mut engines = Engines::shared(&spec, Lateness::new(), 7).unwrap();
    let place = |partition| SharedPlace {
        partition,
        closed_ns: i64::MIN,
        ..SharedPlace::default()
    };
    let both = Given {
        places: vec![place(0), place(1)],
        ..Given::default()
    };
    engines.give(&both).unwrap();
    let mut take = |partition, keys: std::ops::Range<i64>, second| {
        let rows = keys.clone().count();
        let keys = Int64Array::from_iter_values(keys);
        let batch = batch(&vec![second; rows], 0).with_keys(vec![("k".into(), std::sync::Arc::new(keys))]);
        let stretch = Stretch {
            partition,
            from: 0,
            upto: 1,
        };
        engines.take(stretch, &batch.unwrap(), 0).unwrap();
        while !engines.closed(100).unwrap().1.is_empty() {}
        engines.give_up(100, u64::MAX)
    };
    take(0, 0..60, 1000).unwrap();
    take(1, 0..40, 1000).unwrap();
    // The windows of these close, so that only the new ones count.
    take(0, 60..100, 1010).unwrap();
    assert!(take(1, 40..200, 1000).is_err());
}
