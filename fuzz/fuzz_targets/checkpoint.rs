//! The state of an engine: bytes are an error, or a state that an engine can be stored from again; what was stored comes
//! back whole, and goes on as if it had not been stored.
//!
//! The first byte says whether the rest are bytes of a state, or rows of a feed that is stored and goes on.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millstream::engine::Lateness;
use millstream::{Batch, Engine, Spec, Window};
use millstream_fuzz::about_the_input;

fn engine(mode: u8) -> Engine {
    let window = match mode >> 1 & 3 {
        0 => None,
        1 => Some(Window::Time {
            size_ns: 10,
            slide_ns: 5,
        }),
        2 => Some(Window::Rows { size: 4, slide: 2 }),
        _ => Some(Window::Time {
            size_ns: 8,
            slide_ns: 8,
        }),
    };
    let spec = Spec {
        window,
        ..Spec::new().covariance().differences().quantiles(&[0.5])
    };
    let engine = Engine::new(spec).expect("the spec makes sense");
    engine.closing_windows(Lateness::new().lateness_ns(3).max_ahead_ns(1000))
}

fn drain(engine: &mut Engine) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let closed = engine.closed(3).expect("windows close");
        if closed.is_empty() {
            return all;
        }
        all.extend(closed.iter().map(|closed| closed.summary.to_bytes()));
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((mode, rest)) = bytes.split_first() else {
        return;
    };
    if mode & 1 == 0 {
        let mut engine = engine(*mode);
        if about_the_input(engine.restore(rest)).is_some() {
            engine.snapshot().expect("what was read can be stored");
        }
        return;
    }
    let (mut whole, mut stored) = (engine(*mode), engine(*mode));
    for rows in rest.chunks(9) {
        let values = rows.iter().map(|byte| f64::from(*byte)).collect();
        let times = rows.iter().map(|byte| i64::from(*byte) * 3).collect();
        let batch = Batch::from_columns([("x", values)]).and_then(|batch| batch.with_time_ns(times));
        let batch = batch.expect("as many times as values");
        assert_eq!(
            whole.take(0, &batch, 0).expect("rows are taken"),
            stored.take(0, &batch, 0).expect("rows are taken")
        );
        assert_eq!(drain(&mut whole), drain(&mut stored));
        let state = stored.snapshot().expect("everything that closed was taken");
        stored = engine(*mode);
        stored.restore(&state).expect("what was stored comes back");
    }
    whole.end();
    stored.end();
    assert_eq!(drain(&mut whole), drain(&mut stored));
});
