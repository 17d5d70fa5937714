//! Disks that are full, or gone, and have room again.

use super::super::writer::Medium;
use super::*;
use std::io::Write;
use std::sync::atomic::AtomicI64;

/// A disk with so much room, which may refuse to sync.
#[derive(Clone, Default)]
struct Small {
    room: Arc<AtomicI64>,
    sync_fails: Arc<AtomicBool>,
}

impl Disk for Small {
    fn open(&self, path: &Path) -> std::io::Result<Box<dyn Medium>> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Box::new((file, self.clone())))
    }
}

impl Medium for (std::fs::File, Small) {
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let room = self.1.room.load(Ordering::SeqCst).max(0) as usize;
        let fits = bytes.len().min(room);
        self.0.write_all(&bytes[..fits])?;
        self.1.room.fetch_sub(fits as i64, Ordering::SeqCst);
        if fits < bytes.len() {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync(&mut self) -> std::io::Result<()> {
        if self.1.sync_fails.load(Ordering::SeqCst) {
            return Err(std::io::Error::other("the disk is gone"));
        }
        self.0.sync_data()
    }

    fn truncate(&mut self, length: u64) -> std::io::Result<()> {
        self.0.set_len(length)
    }
}

#[test]
fn a_full_disk_refuses_and_takes_again_when_there_is_room() {
    let (place, disk) = (Place::new(), Small::default());
    let record = (RECORD_HEADER_BYTES + Payload::of_rows(&rows(1), None).unwrap().bytes.len()) as i64;
    let open = || {
        Journal::open_on(
            &context(),
            place.0.path(),
            None,
            Box::new(disk.clone()),
            SEGMENT_BYTES_MAX,
        )
        .unwrap()
    };
    let (appender, source) = open().start().unwrap();
    let mut refused = 0;
    let mut positions = Vec::new();
    // Room for the beginning of the first segment, then for one record, and never for two.
    for (seed, room) in [
        (0, 3),
        (0, record / 2),
        (0, 10 * record),
        (1, record - 1),
        (1, record),
        (2, 7),
    ] {
        disk.room.store(room, Ordering::SeqCst);
        match acknowledged(&appender, rows(seed), None) {
            Ok(position) => positions.push(position),
            Err(why) => {
                refused += 1;
                assert!(why.contains(place.0.path().to_str().unwrap()), "{why}");
                assert!(source.state().failure().is_some());
            }
        }
    }
    disk.room.store(i64::MAX, Ordering::SeqCst);
    disk.sync_fails.store(true, Ordering::SeqCst);
    let error = acknowledged(&appender, rows(2), None).unwrap_err();
    assert!(error.contains("the disk is gone"), "{error}");
    disk.sync_fails.store(false, Ordering::SeqCst);
    positions.push(acknowledged(&appender, rows(2), None).unwrap());
    assert_eq!((refused, source.state().failure()), (4, None));
    drop(appender);
    assert_eq!(read_all(source), expected(0..3, &positions));
    assert_eq!(place.read(None), expected(0..3, &positions));
    assert_eq!(place.open(None).unwrap().note(), None, "what failed was taken back");
}

/// Gives rows of these seeds, one at a time.
struct Seeds(std::ops::Range<i64>);

impl Source for Seeds {
    fn schema(&self) -> SchemaRef {
        rows(0).batch.schema()
    }

    fn select(&mut self, _: &[String]) -> Result<()> {
        Ok(())
    }

    fn read(&mut self) -> Result<Read> {
        Ok(match self.0.next() {
            Some(seed) => Read::Batch(rows(seed), Position::default()),
            None => Read::End,
        })
    }
}

#[test]
fn rows_that_nobody_can_be_told_about_wait_for_room() {
    let (place, disk) = (Place::new(), Small::default());
    let journal = Journal::open_on(
        &context(),
        place.0.path(),
        None,
        Box::new(disk.clone()),
        SEGMENT_BYTES_MAX,
    )
    .unwrap();
    let mut source = Journalled::new(Seeds(0..4), journal).unwrap();
    let state = source.state();
    let until = std::time::Instant::now() + DEADLINE;
    while state.failures.load(Ordering::SeqCst) < 3 {
        assert!(matches!(source.read().unwrap(), Read::Idle) && std::time::Instant::now() < until);
    }
    disk.room.store(i64::MAX, Ordering::SeqCst);
    let mut seen = Vec::new();
    loop {
        match source.read().unwrap() {
            Read::Batch(rows, position) => seen.push((shown(&rows), position)),
            Read::Idle => assert!(std::time::Instant::now() < until),
            Read::End => break,
        }
    }
    let positions: Vec<Position> = seen.iter().map(|(_, position)| *position).collect();
    assert_eq!(seen, expected(0..4, &positions));
    assert!(positions.is_sorted() && positions[3].rows == 16);
    assert_eq!(place.read(Some(&positions[0])), seen[1..]);
}
