//! Sliding windows against sums over the panes that each holds, and what they cost.

use super::*;

fn pane(number: i64, rows: u64) -> (i64, Summary) {
    (
        number,
        Summary {
            rows,
            ..Summary::default()
        },
    )
}

/// All windows over these panes of one key, as an input that ends gives them.
fn windows(panes: Panes, given: Vec<(i64, Summary)>) -> (Vec<(i64, Summary)>, u64) {
    let (mut sliding, mut merges, mut out) = (Sliding::new(), 0, Vec::new());
    let mut given = given.into_iter().peekable();
    let mut next = i64::MIN;
    while let Some((first, _)) = given.peek() {
        next = next.max(panes.first_window(*first));
        loop {
            let (_, end) = panes.span(next);
            while let Some((number, summary)) = given.next_if(|(number, _)| i128::from(*number) <= end) {
                merges += sliding.push(panes, number, summary);
            }
            let (summary, cost) = sliding.window(panes, next);
            merges += cost;
            out.extend(summary.map(|summary| (next, summary)));
            next += 1;
            if sliding.is_spent(panes, next) {
                break;
            }
        }
    }
    (out, merges)
}

#[test]
fn sliding_windows_hold_the_rows_of_their_panes() {
    for (size, slide) in [(6, 1), (6, 2), (6, 4), (5, 3), (6, 6)] {
        let window = Window::Time {
            size_ns: size,
            slide_ns: slide,
        };
        let width = window.pane();
        let numbers = [-9i64, -8, -4, 0, 1, 2, 3, 7, 8, 40];
        let given = numbers.iter().enumerate().map(|(i, n)| pane(*n, 1 << i)).collect();
        let (got, _) = windows(Panes::of(Some(window)), given);
        let mut expected = Vec::new();
        for k in -100..100 {
            let inside = |n: i64| k * slide <= n * width && n * width < k * slide + size;
            let rows: u64 = numbers
                .iter()
                .enumerate()
                .filter(|(_, n)| inside(**n))
                .map(|(i, _)| 1u64 << i)
                .sum();
            if rows > 0 {
                expected.push((k, rows));
            }
        }
        let got: Vec<_> = got.into_iter().map(|(k, s)| (k, s.rows)).collect();
        assert_eq!(got, expected, "{size} {slide}");
    }
}

#[test]
fn row_windows_begin_at_row_0() {
    let panes = Panes::of(Some(Window::Rows { size: 4, slide: 2 }));
    let (got, _) = windows(panes, vec![pane(0, 2), pane(1, 2), pane(2, 1)]);
    let got: Vec<_> = got.into_iter().map(|(k, s)| (k, s.rows)).collect();
    assert_eq!(got, [(0, 4), (1, 3), (2, 1)]);
}

/// One merge into the prefix, one to make a suffix, one to join the two.
#[test]
fn a_slide_costs_at_most_three_merges() {
    let panes = Panes {
        run: 600,
        step: 1,
        first: i64::MIN,
    };
    let slides = 6000;
    let (got, merges) = windows(panes, (0..slides).map(|n| pane(n, 1)).collect());
    assert_eq!(got.iter().filter(|(_, s)| s.rows == 600).count() as i64, slides - 599);
    assert!(merges <= 3 * slides as u64, "{merges} merges of {slides} slides");
}

/// An outlier that leaves leaves no trace: nothing is subtracted.
#[test]
fn what_left_a_window_leaves_no_trace() {
    use crate::summary::{Moments, Order, moments::MomentRun};
    let summary = |x: f64| {
        let mut run = MomentRun::default();
        run.push(x);
        Summary {
            rows: 1,
            columns: vec![run.finish(Order::Second)],
            ..Summary::default()
        }
    };
    let panes = Panes::of(Some(Window::Rows { size: 7, slide: 1 }));
    let values = |outlier: f64| (0..40).map(move |n| (n, if n == 9 { outlier } else { (n % 5) as f64 }));
    let of = |outlier: f64| windows(panes, values(outlier).map(|(n, x)| (n, summary(x))).collect()).0;
    let (with, without) = (of(1e9), of(0.0));
    let moments = |s: &Summary| -> Moments { s.columns[0].clone() };
    let mut differing = 0;
    for ((k, a), (_, b)) in with.iter().zip(&without) {
        if (3..=9).contains(k) {
            differing += u64::from(moments(a) != moments(b));
        } else {
            assert_eq!(moments(a), moments(b), "window {k}");
        }
    }
    assert_eq!(differing, 7);
}
