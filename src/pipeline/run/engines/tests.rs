//! A partition that changes hands, anywhere and however often, gives the same windows.

use super::*;
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

fn given(place: &SharedPlace) -> Given {
    Given {
        partitions: 3,
        kept: Vec::new(),
        places: vec![place.clone()],
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
        let begin = SharedPlace { partition: PARTITION, closed_ns: i64::MIN, ..SharedPlace::default() };
        let mut alone = Engines::shared(&spec, lateness()).unwrap();
        alone.give(&given(&begin)).unwrap();
        let mut expected = Reported::new();
        let expected_refused = take(&mut alone, &messages, 0, messages.len(), &mut expected);
        alone.end();
        drain(&mut alone, &mut expected);

        let (mut reported, mut refused) = (Reported::new(), 0);
        let mut place = begin;
        for (committed, lost) in hands.into_iter().chain([(messages.len(), 0)]) {
            let mut engines = Engines::shared(&spec, lateness()).unwrap();
            engines.give(&given(&place)).unwrap();
            let from = place.from as usize;
            // It may be gone before it is where the one before was.
            let upto = (from + committed).min(messages.len());
            refused += take(&mut engines, &messages, from, upto, &mut reported);
            let text = engines.places().unwrap()[0].to_text();
            let at = engines.places().unwrap()[0].from;
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

/// What comes after everything was reported at an end is late, as what there is of its window was reported.
#[test]
fn rows_of_windows_that_an_end_has_reported_are_late() {
    let spec = Spec::new().window(Window::tumbling(Duration::from_secs(10)));
    let begin = SharedPlace {
        partition: PARTITION,
        closed_ns: i64::MIN,
        ..SharedPlace::default()
    };
    let mut engines = Engines::shared(&spec, Lateness::new()).unwrap();
    engines.give(&given(&begin)).unwrap();
    let mut reported = Reported::new();
    let messages = [vec![1000, 1001], vec![1003], vec![1010]];
    take(&mut engines, &messages, 0, 1, &mut reported);
    engines.end();
    drain(&mut engines, &mut reported);
    assert_eq!(reported.len(), 1);
    let place = engines.places().unwrap().remove(0);
    assert_eq!((place.from, place.counted), (1, 1));
    let mut next = Engines::shared(&spec, Lateness::new()).unwrap();
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
    let begin = SharedPlace {
        partition: PARTITION,
        closed_ns: i64::MIN,
        ..SharedPlace::default()
    };
    let mut engines = Engines::shared(&spec, lateness()).unwrap();
    engines.give(&given(&begin)).unwrap();
    let mut reported = Reported::new();
    let messages = [vec![1000, 1001], vec![1003, 90_000], vec![1030, 1031]];
    assert_eq!(take(&mut engines, &messages, 0, 3, &mut reported), 1);
    assert_eq!(reported.len(), 1);
    assert_eq!(engines.places().unwrap()[0].from, 2);
}

#[test]
fn rows_of_a_partition_that_is_gone_do_not_count() {
    let spec = Spec::new().window(Window::tumbling(Duration::from_secs(10)));
    let mut engines = Engines::shared(&spec, Lateness::new()).unwrap();
    assert!(!engines.has(PARTITION));
    let begin = SharedPlace {
        partition: PARTITION,
        closed_ns: i64::MIN,
        ..SharedPlace::default()
    };
    engines.give(&given(&begin)).unwrap();
    assert!(engines.has(PARTITION));
    let mut reported = Reported::new();
    take(&mut engines, &[vec![1000]], 0, 1, &mut reported);
    // Kept, then taken away.
    let kept = Given {
        partitions: 3,
        kept: vec![PARTITION],
        places: Vec::new(),
    };
    engines.give(&kept).unwrap();
    assert_eq!(engines.cells(), 1);
    engines.give(&Given::default()).unwrap();
    assert!(!engines.has(PARTITION));
    engines.end();
    drain(&mut engines, &mut reported);
    assert!(reported.is_empty());
}
