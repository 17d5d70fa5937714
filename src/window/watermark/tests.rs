//! Watermarks against what the rows of each partition, and the clock, say about them.

use super::*;

const S: i64 = 1_000_000_000;

#[test]
fn a_row_is_late_by_the_rows_of_its_own_partition_before_it() {
    let mut marks = Watermarks::new(Lateness::new().lateness_ns(2 * S));
    let times = [5 * S, S, 20 * S, 17 * S, 18 * S - 1, 10 * S, 18 * S];
    let refused = marks.admit(0, &times, Some(5 * S), 0);
    // The watermark is 3 s before row 1, whose pane ends at 5 s; 18 s from row 3 on.
    assert_eq!(refused.late, [5]);
    assert_eq!(marks.admit(1, &[0], Some(5 * S), 0), Refused::default());
    assert_eq!(marks.advance(0), -2 * S);
}

#[test]
fn a_row_far_ahead_moves_nothing() {
    let mut marks = Watermarks::new(Lateness::new().max_ahead_ns(60 * S));
    let refused = marks.admit(0, &[S, 4_102_444_800 * S, 2 * S, 62 * S], Some(S), 0);
    assert_eq!((refused.ahead, refused.late), (vec![1], vec![]));
    assert_eq!(marks.advance(0), 62 * S);
}

#[test]
fn a_first_row_far_ahead_closes_nothing() {
    let rules = Lateness::new().max_ahead_ns(60 * S).idle_timeout_ns(30 * S);
    let mut marks = Watermarks::new(rules);
    assert!(marks.admit(0, &[4_102_444_800 * S], Some(S), 0).is_empty());
    assert_eq!(marks.advance(0), i64::MIN);
    // Not by silence either.
    assert_eq!(marks.advance(100 * S), i64::MIN);
    assert!(marks.admit(0, &[7 * S], Some(S), 100 * S).is_empty());
    assert_eq!(marks.advance(100 * S), i64::MIN);
    assert!(marks.admit(0, &[9 * S, 8 * S + 1], Some(S), 100 * S).late == [1]);
    assert_eq!(marks.advance(100 * S), 9 * S);
}

#[test]
fn after_a_gap_rows_that_agree_are_believed() {
    let times = |base: i64| [base, base + 5 * S, base - 3 * S, base + S, base + 2 * S];
    // Whatever the batches: the third of three in succession is taken, and those after it.
    for cut in 1..7 {
        let mut marks = Watermarks::new(Lateness::new().max_ahead_ns(10 * S).lateness_ns(10 * S));
        let mut all = vec![S, 2 * S];
        all.extend(times(1000 * S));
        let (before, behind) = all.split_at(cut);
        let mut ahead = marks.admit(0, before, Some(S), 0).ahead;
        let bytes = postcard::to_stdvec(&marks).unwrap();
        let mut marks: Watermarks = postcard::from_bytes(&bytes).unwrap();
        let refused = marks.admit(0, behind, Some(S), 0);
        ahead.extend(refused.ahead.iter().map(|place| place + cut as u32));
        assert_eq!((ahead, refused.late), (vec![2, 3], vec![]), "{cut}");
        assert_eq!(marks.advance(0), 992 * S, "{cut}");
    }
}

#[test]
fn rows_far_ahead_that_do_not_agree_or_are_interrupted_stay_bad() {
    let mut marks = Watermarks::new(Lateness::new().max_ahead_ns(10 * S));
    marks.admit(0, &[S, S], Some(S), 0);
    let apart = [100 * S, 105 * S, 111 * S, 200 * S, 100 * S, 300 * S];
    assert_eq!(marks.admit(0, &apart, None, 0).ahead, [0, 1, 2, 3, 4, 5]);
    let interrupted = [100 * S, 100 * S, 2 * S, 100 * S, 100 * S, 0, 100 * S];
    let refused = marks.admit(0, &interrupted, Some(S), 0);
    assert_eq!((refused.ahead, refused.late), (vec![0, 1, 3, 4, 6], vec![5]));
    assert_eq!(marks.advance(0), 2 * S);
}

#[test]
fn a_silent_partition_is_left_out_and_comes_back_at_the_watermark_of_the_feed() {
    let mut marks = Watermarks::new(Lateness::new().idle_timeout_ns(30 * S));
    marks.admit(0, &[100 * S], Some(S), 0);
    marks.admit(1, &[10 * S], Some(S), 0);
    assert_eq!(marks.advance(29 * S), 10 * S);
    marks.admit(0, &[120 * S], Some(S), 29 * S);
    assert_eq!(marks.advance(31 * S), 120 * S);
    assert_eq!(marks.admit(1, &[50 * S, 121 * S], Some(S), 40 * S).late, [0]);
    assert_eq!(marks.advance(41 * S), 120 * S);
    // All silent: the newest goes on with the clock.
    assert_eq!(marks.advance(100 * S), 121 * S + 60 * S);
}

#[test]
fn who_is_left_out_stays_so_until_it_has_rows() {
    let mut marks = Watermarks::new(Lateness::new().idle_timeout_ns(30 * S));
    marks.admit(0, &[100 * S], Some(S), 0);
    marks.admit(1, &[90 * S], Some(S), 0);
    assert_eq!(marks.advance(50 * S), 150 * S);
    // What closed by the clock is late for both, whatever was looked at meanwhile.
    assert_eq!(marks.reach(), 150 * S);
    assert_eq!(marks.admit(0, &[120 * S, 151 * S], Some(S), 50 * S).late, [0]);
    assert_eq!(marks.reach(), 151 * S);
    assert_eq!(marks.admit(1, &[149 * S, 151 * S], Some(S), 50 * S).late, [0]);
}

#[test]
fn a_clock_that_is_put_back_or_another_is_no_silence() {
    let rules = Lateness::new().idle_timeout_ns(30 * S);
    let mut marks = Watermarks::new(rules);
    marks.admit(0, &[100 * S], Some(S), 1000 * S);
    marks.admit(1, &[10 * S], Some(S), 1000 * S);
    assert_eq!(marks.advance(500 * S), 10 * S);
    assert_eq!(marks.advance(529 * S), 10 * S);
    // The process was away for a day.
    let mut again = Watermarks::new(rules);
    again.go_on(marks.clone());
    assert_eq!(again.advance(90_000 * S), 10 * S);
    assert_eq!(again.advance(90_029 * S), 10 * S);
    assert_eq!(marks.advance(530 * S), 130 * S);
    assert_eq!(again.advance(90_030 * S), 130 * S);
}

#[test]
fn announced_partitions_hold_the_watermark_until_they_begin_or_end() {
    let mut marks = Watermarks::new(Lateness::new().idle_timeout_ns(30 * S));
    [0, 1, 2].into_iter().for_each(|partition| marks.expect(partition));
    marks.admit(0, &[100 * S], Some(S), 0);
    marks.end(0);
    assert_eq!(marks.advance(0), i64::MIN);
    assert!(marks.admit(1, &[S, 2 * S], Some(S), 0).is_empty());
    assert_eq!(marks.advance(0), i64::MIN);
    marks.end(2);
    assert_eq!(marks.advance(0), 2 * S);
    marks.end(1);
    // Who has ended says nothing, and neither does the clock.
    assert_eq!(marks.advance(100 * S), 2 * S);
    // One that is never read holds nothing for ever.
    marks.expect(3);
    marks.admit(4, &[50 * S], Some(S), 100 * S);
    assert_eq!(marks.advance(100 * S), 2 * S);
    marks.admit(4, &[51 * S], Some(S), 129 * S);
    assert_eq!(marks.advance(130 * S), 51 * S);
    // An end that was none: what was used for closing counts.
    assert_eq!(marks.admit(1, &[3 * S, 60 * S], Some(S), 131 * S).late, [0]);
}
