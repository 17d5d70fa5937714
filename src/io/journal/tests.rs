//! Journals that are cut, flipped, full, and opened again: what was acknowledged is there, once and in order.

use super::record::{Payload, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES};
use super::writer::append;
use super::*;
use crate::error::BadRow;
use crate::io::TimeUnit;
use crate::io::live::{ColumnType, Counters, Limits, Stop, WireFormat, WireOptions};
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::sync::mpsc;
use tempfile::TempDir;

mod disk;

/// How long anything may take before a test gives up on it.
const DEADLINE: Duration = Duration::from_secs(60);

fn context() -> Context {
    Context {
        name: "test".into(),
        wire: Arc::new(WireOptions {
            format: WireFormat::Csv,
            columns: None,
            types: BTreeMap::new(),
            values: ColumnType::F64,
            wanted: None,
            time: Some(("t".into(), TimeUnit::Nanoseconds)),
            keys: Vec::new(),
            numeric: Vec::new(),
            line_bytes_max: 1 << 20,
        }),
        limits: Limits::default(),
        stop: Stop::default(),
        counters: Arc::new(Counters::default()),
        schema: Arc::default(),
    }
}

/// Rows of every type, with one that was rejected.
fn rows(seed: i64) -> Rows {
    let columns: [(&str, ArrayRef); 4] = [
        (
            "x",
            Arc::new(Float64Array::from(vec![Some(seed as f64 / 3.0), None, Some(f64::NAN)])),
        ),
        ("k", Arc::new(Int64Array::from(vec![seed, i64::MAX, -seed]))),
        ("s", Arc::new(StringArray::from(vec![Some("ä\0"), None, Some("")]))),
        ("t", Arc::new(TimestampNanosecondArray::from(vec![seed, 2, 3]))),
    ];
    Rows {
        batch: RecordBatch::try_from_iter(columns).unwrap(),
        unkept: 0,
        rejected: vec![BadRow {
            source: "peer".into(),
            line: seed as u64,
            column: (seed % 2 == 0).then(|| "x".into()),
            bytes: vec![0, 0xff],
            row: b"1,\0".to_vec(),
            reason: "is not a number".into(),
        }],
        bytes_read: 17,
        arrived_ns: (seed % 3 != 0).then_some(seed),
    }
}

/// Everything of the rows that can be compared; NaN by its text.
fn shown(rows: &Rows) -> String {
    format!(
        "{:?} {:?} {} {} {:?}",
        rows.batch, rows.rejected, rows.unkept, rows.bytes_read, rows.arrived_ns
    )
}

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self, from: Option<&Position>) -> Result<Journal> {
        Journal::open(&context(), self.0.path(), from)
    }

    fn segment(&self, number: u64) -> PathBuf {
        segment::path(self.0.path(), number)
    }

    /// Appends rows one after the other, each acknowledged before the next.
    fn append(&self, seeds: std::ops::Range<i64>) -> Vec<Position> {
        let (appender, source) = self.open(None).unwrap().start().unwrap();
        let positions = seeds
            .map(|seed| acknowledged(&appender, rows(seed), None).unwrap())
            .collect();
        drop(appender);
        read_all(source);
        positions
    }

    /// What is read behind a position, as text, with the positions.
    fn read(&self, from: Option<&Position>) -> Vec<(String, Position)> {
        let (appender, source) = self.open(from).unwrap().start().unwrap();
        drop(appender);
        read_all(source)
    }
}

fn acknowledged(appender: &Appender, rows: Rows, pending: Option<Pending>) -> Result<Position, String> {
    let (sender, receiver) = mpsc::channel();
    let done = Box::new(move |result| sender.send(result).unwrap());
    appender.try_append(rows, pending, done).unwrap();
    receiver.recv_timeout(DEADLINE).unwrap()
}

fn read_all(mut source: JournalSource) -> Vec<(String, Position)> {
    let mut all = Vec::new();
    loop {
        match source.read().unwrap() {
            Read::Batch(rows, position) => all.push((shown(&rows), position)),
            Read::Idle => {}
            Read::End => return all,
        }
    }
}

fn expected(seeds: std::ops::Range<i64>, positions: &[Position]) -> Vec<(String, Position)> {
    let texts = seeds.map(|seed| shown(&rows(seed)));
    texts.zip(positions.iter().copied()).collect()
}

#[test]
fn what_is_written_reads_back_from_any_position() {
    let place = Place::new();
    let positions = place.append(0..5);
    let rows: Vec<u64> = positions.iter().map(|p| p.rows).collect();
    assert_eq!(rows, [4, 8, 12, 16, 20], "three good rows and a bad one each");
    let all = expected(0..5, &positions);
    assert_eq!(place.read(None), all);
    assert_eq!(
        place.read(Some(&Position::default())),
        all,
        "nothing of generation 0 was read"
    );
    for (i, position) in positions.iter().enumerate() {
        assert_eq!(place.read(Some(position)), all[i + 1..], "from {position:?}");
    }
    let journal = place.open(None).unwrap();
    assert_eq!(journal.schema.get(), Some(&self::rows(0).batch.schema()));
    assert_eq!(journal.note(), None);
}

#[test]
fn live_rows_come_behind_those_of_the_journal() {
    let place = Place::new();
    let mut positions = place.append(0..2);
    let (appender, mut source) = place.open(None).unwrap().start().unwrap();
    source.select(&["k".into(), "x".into()]).unwrap();
    assert!(source.select(&["gone".into()]).is_err());
    positions.push(acknowledged(&appender, rows(2), None).unwrap());
    drop(appender);
    let mut seen = Vec::new();
    loop {
        match source.read().unwrap() {
            Read::Batch(rows, position) => {
                let names: Vec<_> = rows.batch.schema().fields().iter().map(|f| f.name().clone()).collect();
                assert_eq!(names, ["k", "x"]);
                seen.push(position);
            }
            Read::Idle => {}
            Read::End => break,
        }
    }
    assert_eq!(seen, positions);
}

#[test]
fn a_record_cut_at_any_byte_is_as_if_it_never_came() {
    let place = Place::new();
    let positions = place.append(0..3);
    let path = place.segment(1);
    let whole = std::fs::read(&path).unwrap();
    let kept = positions[1].offset_bytes as usize;
    assert_eq!(whole.len() as u64, positions[2].offset_bytes);
    for length in kept..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let journal = place.open(None).unwrap();
        assert_eq!(journal.note().is_some(), length > kept, "{length}");
        drop(journal);
        assert_eq!(std::fs::metadata(&path).unwrap().len() as usize, kept, "{length}");
        assert_eq!(place.read(None), expected(0..2, &positions), "{length}");
    }
    // And it goes on from there.
    assert_eq!(place.append(2..3), positions[2..]);
    assert_eq!(place.read(None), expected(0..3, &positions));
    assert_eq!(std::fs::read(&path).unwrap(), whole);
}

#[test]
fn a_byte_flipped_before_the_last_record_is_an_error_that_names_the_place() {
    let place = Place::new();
    let positions = place.append(0..3);
    let path = place.segment(1);
    let whole = std::fs::read(&path).unwrap();
    let starts = [positions[0].offset_bytes as usize, positions[1].offset_bytes as usize];
    for at in (0..starts[1]).step_by(5).chain([starts[0], starts[1] - 1]) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        std::fs::write(&path, &flipped).unwrap();
        let error = place.open(None).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{at}: {error}");
        if at >= starts[0] {
            assert!(error.contains(&format!("byte {}:", starts[0])), "{at}: {error}");
        }
        assert_eq!(std::fs::read(&path).unwrap(), flipped, "nothing is cut off");
    }
}

#[test]
fn a_group_of_which_only_the_end_reached_the_disk_was_never_acknowledged() {
    let place = Place::new();
    let positions = place.append(0..2);
    let path = place.segment(1);
    let before = positions[1].offset_bytes;
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    let group = [2, 3].map(|seed| Payload::of_rows(&rows(seed), None).unwrap());
    append(&mut file, before, group.iter()).unwrap();
    // The pages of the first record of the group are lost.
    let mut bytes = std::fs::read(&path).unwrap();
    let first = before as usize..before as usize + RECORD_HEADER_BYTES + group[0].bytes.len();
    bytes[first].fill(0);
    std::fs::write(&path, &bytes).unwrap();
    let journal = place.open(None).unwrap();
    assert!(
        journal.note().is_some_and(|note| note.contains("never acknowledged")),
        "{:?}",
        journal.note()
    );
    drop(journal);
    assert_eq!(place.read(None), expected(0..2, &positions));
}

#[test]
fn segments_that_a_checkpoint_holds_go_and_keys_stay() {
    let place = Place::new();
    let small = 3000;
    let open =
        |from: Option<&Position>| Journal::open_on(&context(), place.0.path(), from, Box::new(Files), small).unwrap();
    let journal = open(None);
    let keys = journal.keys().clone();
    let (appender, mut source) = journal.start().unwrap();
    let mut positions = Vec::new();
    for seed in 0..8 {
        let Seen::New(pending) = keys.begin(format!("key {seed}").as_bytes(), Digest::of(b"body")) else {
            panic!("it comes for the first time")
        };
        positions.push(acknowledged(&appender, rows(seed), Some(pending)).unwrap());
    }
    let last = positions[7];
    assert!(last.generation > 2, "{last:?}");
    let before: u64 = (1..=last.generation)
        .map(|n| std::fs::metadata(place.segment(n)).unwrap().len())
        .sum();
    assert!(before < 8 * 2 * small);
    source.commit(&positions[3]).unwrap();
    source.commit(&last).unwrap();
    drop(appender);
    for number in 1..=last.generation {
        assert_eq!(place.segment(number).exists(), number == last.generation, "{number}");
    }
    drop(source);
    let journal = open(Some(&last));
    for seed in 0..8 {
        let seen = journal
            .keys()
            .begin(format!("key {seed}").as_bytes(), Digest::of(b"body"));
        assert!(
            matches!(
                seen,
                Seen::Done(Answer {
                    accepted: 3,
                    rejected: 1
                })
            ),
            "{seed}: {seen:?}"
        );
    }
    assert!(matches!(
        journal.keys().begin(b"key 8", Digest::default()),
        Seen::New(_)
    ));
    let (appender, source) = journal.start().unwrap();
    let next = acknowledged(&appender, rows(8), None).unwrap();
    assert_eq!(next.rows, 36, "rows are counted on");
    drop(appender);
    assert_eq!(read_all(source), expected(8..9, &[next]));
}

#[test]
fn a_journal_that_does_not_fit_is_refused() {
    let place = Place::new();
    let small = 2000;
    let journal = Journal::open_on(&context(), place.0.path(), None, Box::new(Files), small).unwrap();
    let (appender, source) = journal.start().unwrap();
    let positions: Vec<_> = (0..6)
        .map(|seed| acknowledged(&appender, rows(seed), None).unwrap())
        .collect();
    drop((appender, source));
    let last = positions[5];
    for wrong in [
        Position {
            offset_bytes: last.offset_bytes + 1,
            ..last
        },
        Position {
            rows: last.rows + 1,
            ..last
        },
        Position {
            generation: last.generation + 1,
            ..last
        },
    ] {
        let error = place.open(Some(&wrong)).unwrap_err();
        assert_eq!(error.exit_code(), 65);
        assert!(error.to_string().contains("checkpoint"), "{error}");
    }
    let error = Place::new().open(Some(&last)).unwrap_err();
    assert!(error.to_string().contains("checkpoint"), "{error}");
    assert!(last.generation >= 3);
    std::fs::remove_file(place.segment(2)).unwrap();
    let error = place.open(None).unwrap_err().to_string();
    assert!(
        error.contains("lost") && error.contains(place.segment(2).to_str().unwrap()),
        "{error}"
    );
}

#[test]
fn an_unfinished_segment_is_no_segment() {
    let place = Place::new();
    let positions = place.append(0..1);
    let unfinished = place.segment(2).with_extension(segment::UNFINISHED);
    std::fs::write(
        &unfinished,
        &std::fs::read(place.segment(1)).unwrap()[..SEGMENT_HEADER_BYTES / 2],
    )
    .unwrap();
    assert_eq!(place.read(None), expected(0..1, &positions));
    assert!(!unfinished.exists());
}

#[test]
fn one_that_is_full_says_so() {
    let place = Place::new();
    let (appender, source) = place.open(None).unwrap().start().unwrap();
    let mut taken = 0;
    // Nobody reads, so what is durable stays in the queues.
    let refused = loop {
        match appender.try_append(rows(taken), None, Box::new(|_| {})) {
            Ok(()) => taken += 1,
            Err(refused) => break refused,
        }
        assert!(taken < 3 * QUEUE_ENTRIES as i64);
    };
    assert!(matches!(refused, Refused::Full), "{refused:?}");
    drop(appender);
    assert_eq!(read_all(source).len() as i64, taken);
}

#[test]
fn rows_arrive_in_the_order_in_which_they_are_written() {
    let place = Place::new();
    let clocks = [5, 9, 3, 9, 1, 12, 11];
    let arrived = |source: &mut JournalSource, count: usize| {
        let mut arrived = Vec::new();
        while arrived.len() < count {
            if let Read::Batch(rows, _) = source.read().unwrap() {
                assert_eq!((rows.rejected.len(), rows.unkept, rows.count()), (1, 5, 9));
                arrived.push(rows.arrived_ns.unwrap());
            }
        }
        arrived
    };
    let journal = Journal::open(&context(), place.0.path(), None).unwrap();
    let (appender, mut source) = journal.start().unwrap();
    for clock in clocks {
        let rows = Rows {
            arrived_ns: Some(clock),
            unkept: 5,
            ..rows(1)
        };
        acknowledged(&appender, rows, None).unwrap();
    }
    let given = [5, 9, 9, 9, 9, 12, 12];
    assert_eq!(arrived(&mut source, 7), given);
    drop((appender, source));
    // A journal gives them back as they were, and a clock that was set back meanwhile changes nothing.
    let journal = Journal::open(&context(), place.0.path(), None).unwrap();
    let (appender, mut source) = journal.start().unwrap();
    let rows = Rows {
        arrived_ns: Some(2),
        unkept: 5,
        ..rows(1)
    };
    acknowledged(&appender, rows, None).unwrap();
    assert_eq!(arrived(&mut source, 8), [&given[..], &[12]].concat());
}
