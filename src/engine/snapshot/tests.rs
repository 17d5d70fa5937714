//! An engine that is stored and goes on gives what one that was never stored gives, bit for bit.

use crate::engine::Lateness;
use crate::{Batch, Closed, Engine, Spec, Window};
use arrow::array::{ArrayRef, Int64Array};
use proptest::prelude::*;
use std::sync::Arc;

fn specs() -> Vec<Spec> {
    let time = |size_ns, slide_ns| Window::Time { size_ns, slide_ns };
    let rows = |size, slide| Window::Rows { size, slide };
    let windows = [
        None,
        Some(time(10, 10)),
        Some(time(12, 4)),
        Some(rows(7, 7)),
        Some(rows(9, 3)),
    ];
    let of = |window: &Option<Window>| {
        let spec = Spec {
            window: *window,
            ..Spec::new()
        };
        [
            spec.clone().ewm(std::time::Duration::from_nanos(20)),
            spec.clone()
                .by(["k"])
                .mean_and_variance()
                .ewm(std::time::Duration::from_nanos(5)),
            spec.by(["k"])
                .covariance()
                .differences()
                .quantiles(&[0.5])
                .regression("y", &["x"]),
        ]
    };
    windows.iter().flat_map(of).collect()
}

/// Rows of two columns with gaps, disordered times, five keys, two partitions.
fn rows(seed: u64, n: usize, at: usize) -> Batch {
    let noise = |i: usize, salt: u64| {
        let x = (i as u64 + salt)
            .wrapping_mul(seed | 1)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (x >> 33) as f64 / f64::from(1u32 << 31)
    };
    let x = |i: usize| if noise(i, 3) < 0.1 { f64::NAN } else { 1e6 + noise(i, 1) };
    let y = |i: usize| {
        if noise(i, 4) < 0.02 {
            f64::INFINITY
        } else {
            noise(i, 2) * 1e3
        }
    };
    let range = at..at + n;
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(
        range.clone().map(|i| (noise(i, 5) * 5.0) as i64),
    ));
    let times = range
        .clone()
        .map(|i| i as i64 / 2 - (noise(i, 6) * 6.0) as i64)
        .collect();
    let columns = [
        ("x", range.clone().map(x).collect()),
        ("y", range.map(y).collect::<Vec<_>>()),
    ];
    let batch = Batch::from_columns(columns).unwrap();
    batch
        .with_keys(vec![("k".into(), keys)])
        .unwrap()
        .with_time_ns(times)
        .unwrap()
}

fn without_keys(spec: &Spec, batch: Batch) -> Batch {
    match spec.keys.is_empty() {
        true => batch.with_keys(Vec::new()).unwrap(),
        false => batch,
    }
}

fn bytes(closed: &[Closed]) -> Vec<(String, Vec<u8>)> {
    let one = |c: &Closed| (format!("{:?} {:?} {:?}", c.key, c.window, c.ewm), c.summary.to_bytes());
    closed.iter().map(one).collect()
}

fn new(spec: &Spec) -> Engine {
    Engine::new(spec.clone())
        .unwrap()
        .closing_windows(Lateness::new().lateness_ns(3).max_ahead_ns(1000))
}

fn run(spec: &Spec, seed: u64, cuts: &[usize], stored: bool) -> (Vec<(String, Vec<u8>)>, u64) {
    let (mut engine, mut at, mut out) = (new(spec), 0, Vec::new());
    for (i, n) in cuts.iter().enumerate() {
        let batch = without_keys(spec, rows(seed, *n, at));
        engine.take((i % 2) as u32, &batch, 0).unwrap();
        at += n;
        // In pieces of any size.
        loop {
            let closed = engine.closed(3).unwrap();
            if closed.is_empty() {
                break;
            }
            out.extend(bytes(&closed));
        }
        if stored {
            let state = engine.snapshot().unwrap();
            engine = new(spec);
            engine.restore(&state).unwrap();
        }
    }
    let late = engine.late_rows();
    engine.end();
    loop {
        let closed = engine.closed(5).unwrap();
        if closed.is_empty() {
            break;
        }
        out.extend(bytes(&closed));
    }
    (out, late)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn a_stored_engine_goes_on_as_if_nothing_had_happened(
        seed: u64,
        cuts in prop::collection::vec(1usize..400, 1..8),
    ) {
        for spec in specs() {
            let (whole, late) = run(&spec, seed, &cuts, false);
            prop_assert!(!whole.is_empty());
            let again = run(&spec, seed, &cuts, true);
            prop_assert_eq!((whole, late), again, "{:?}", spec);
        }
    }
}

#[test]
fn bytes_that_are_no_state_are_an_error() {
    let spec = Spec::new().by(["k"]).window(Window::Time {
        size_ns: 10,
        slide_ns: 10,
    });
    let mut engine = new(&spec);
    engine.take(0, &rows(1, 300, 0), 0).unwrap();
    while !engine.closed(100).unwrap().is_empty() {}
    let state = engine.snapshot().unwrap();
    for cut in (0..state.len()).step_by(7) {
        // Cut short it cannot be read, whatever is missing.
        assert!(new(&spec).restore(&state[..cut]).is_err(), "{cut}");
    }
    let other = Spec::new().by(["k"]).mean_and_variance();
    assert!(new(&other).restore(&state).is_err());
}

/// Each of these would come to a panic, or to wrong numbers, far from where it was read.
#[test]
fn states_that_contradict_themselves_are_an_error() {
    use super::State;
    use std::borrow::Cow;
    let spec = Spec::new()
        .by(["k"])
        .window(Window::Time {
            size_ns: 12,
            slide_ns: 4,
        })
        .ewm(std::time::Duration::from_nanos(20));
    let mut engine = new(&spec);
    engine.take(0, &rows(1, 300, 0), 0).unwrap();
    while !engine.closed(100).unwrap().is_empty() {}
    let state = engine.snapshot().unwrap();
    let read = || postcard::from_bytes::<State<'static>>(&state).unwrap();
    assert!(read().sliding.len() > 1 && read().ewm_of_keys.len() > 1);
    let restored = |state: &State<'_>| new(&spec).restore(&postcard::to_stdvec(state).unwrap());
    assert!(restored(&read()).is_ok());
    let breaks: [fn(&mut State<'static>); 9] = [
        |state| state.sliding[0].0 = 5,
        |state| state.sliding[0].0 = state.sliding[1].0,
        |state| {
            // A pane without the columns that there are.
            let panes = crate::window::Panes::of(Some(Window::Rows { size: 3, slide: 1 }));
            state.sliding[0].1.to_mut().push(panes, i64::MAX, Default::default());
        },
        |state| state.ewm_of_keys[0].0 = 5,
        |state| state.ewm_of_keys[0].0 = state.ewm_of_keys[1].0,
        |state| state.ewm_of_keys[0].1 = Cow::Owned(crate::summary::Ewm::new(20, 1, false)),
        |state| state.cells[0].1 = 5,
        |state| state.cells[1] = (state.cells[0].0, state.cells[0].1, state.cells[0].2, None, None, None),
        |state| state.seen = Cow::Owned(vec![1; 6]),
    ];
    for (i, break_it) in breaks.iter().enumerate() {
        let mut state = read();
        break_it(&mut state);
        let error = restored(&state).unwrap_err();
        assert_eq!(error.exit_code(), 65, "{i}: {error}");
    }
}
