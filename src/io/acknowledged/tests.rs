//! What comes again, what is not durable, and the order in which messages are done.

use super::*;
use crate::io::live::{ColumnType, Counters, Limits, Stop, WireOptions};
use arrow::array::AsArray;
use arrow::datatypes::Float64Type;
use std::path::Path;

fn context() -> Context {
    let wire = WireOptions {
        format: WireFormat::Ndjson,
        columns: None,
        types: [].into(),
        values: ColumnType::F64,
        wanted: None,
        time: None,
        keys: Vec::new(),
        numeric: Vec::new(),
        line_bytes_max: 1 << 20,
    };
    Context {
        name: "main".into(),
        wire: wire.into(),
        limits: Limits::default(),
        stop: Stop::default(),
        counters: Arc::new(Counters::default()),
        schema: Arc::default(),
    }
}

fn message(ticket: u64, id: &str, value: u64) -> Message<u64> {
    Message {
        ticket,
        id: (!id.is_empty()).then(|| id.as_bytes().to_vec()),
        payload: format!("{{\"a\":{value}}}").into_bytes(),
        labels: Vec::new(),
    }
}

fn opened(context: &Context, journal: &Path) -> (Intake<u64>, Outcome) {
    let journal = Journal::open(context, journal, None).unwrap();
    let (intake, outcome, _) = open(context, "test", Vec::new(), Some(journal)).unwrap();
    (intake, outcome)
}

/// Waits until something was heard; what is done then.
fn heard(intake: &mut Intake<u64>) -> std::result::Result<Vec<u64>, Halt> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(std::future::poll_fn(|task| intake.poll_told(task)));
    intake.done()
}

/// The tickets of all that were taken, in order.
fn all_done(intake: &mut Intake<u64>) -> Vec<u64> {
    let mut tickets = intake.done().unwrap();
    while intake.is_waiting() {
        tickets.extend(heard(intake).unwrap());
    }
    tickets
}

fn values(outcome: &mut Outcome) -> Vec<f64> {
    let mut values = Vec::new();
    loop {
        match outcome.read().unwrap() {
            Read::Batch(rows, _) => {
                values.extend(rows.batch.column(0).as_primitive::<Float64Type>().values());
            }
            Read::Idle => {}
            Read::End => return values,
        }
    }
}

#[test]
fn what_comes_again_is_done_and_not_given_again() {
    let place = tempfile::tempdir().unwrap();
    let context = context();
    let (mut intake, mut outcome) = opened(&context, place.path());
    let first = [
        (1, "a", 1),
        (2, "a", 1),
        (3, "", 2),
        (4, "", 2),
        (5, "b", 3),
        (6, "a", 4),
    ];
    let messages = |all: &[(u64, &str, u64)]| {
        all.iter()
            .map(|(ticket, id, value)| message(*ticket, id, *value))
            .collect()
    };
    intake.take(messages(&first)).unwrap();
    assert_eq!(all_done(&mut intake), [1, 2, 3, 4, 5, 6]);
    // Another connection, on which some come again.
    intake.begin();
    intake.take(messages(&[(1, "b", 3), (2, "c", 5), (3, "a", 1)])).unwrap();
    assert_eq!(all_done(&mut intake), [1, 2, 3]);
    drop(intake);
    // The same id with something else in it is another message.
    assert_eq!(values(&mut outcome), [1.0, 2.0, 2.0, 3.0, 4.0, 5.0]);
}

#[test]
fn what_is_not_durable_is_not_done_and_may_come_again() {
    let place = tempfile::tempdir().unwrap();
    let journal = place.path().join("journal");
    let context = context();
    let (mut intake, mut outcome) = opened(&context, &journal);
    std::fs::remove_dir(&journal).unwrap();
    intake.take(vec![message(1, "a", 1), message(2, "b", 2)]).unwrap();
    let Err(Halt::Again(why)) = heard(&mut intake) else {
        panic!("nothing is durable")
    };
    assert!(why.contains("cannot be written"), "{why}");
    std::fs::create_dir(&journal).unwrap();
    intake.begin();
    intake.take(vec![message(1, "a", 1), message(2, "b", 2)]).unwrap();
    assert_eq!(all_done(&mut intake), [1, 2]);
    drop(intake);
    // The second may have been written by then, before the first.
    let mut values = values(&mut outcome);
    values.sort_by(f64::total_cmp);
    assert_eq!(values, [1.0, 2.0]);
}

#[test]
fn without_a_journal_a_message_is_done_when_its_rows_are_there() {
    let context = context();
    let (mut intake, mut outcome, _) = open(&context, "test", Vec::new(), None).unwrap();
    intake.take(vec![message(1, "a", 1), message(2, "a", 1)]).unwrap();
    assert_eq!(intake.done().unwrap(), [1, 2]);
    drop(intake);
    assert_eq!(values(&mut outcome), [1.0, 1.0]);
}
