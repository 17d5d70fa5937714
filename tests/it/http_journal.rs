//! Rows over HTTP through a journal: what was acknowledged is there again, and what comes again counts once.

use crate::http_client::{post, send};
use crate::http_rows::{Seen, context, end, loopback, read};
use millstream::io::http::HttpSource;
use millstream::io::journal::Journal;
use millstream::io::live::Context;
use millstream::io::tls::Security;
use millstream::io::{Position, Source};
use std::path::Path;

fn journal(context: &Context, directory: &Path, from: Option<&Position>) -> HttpSource {
    let journal = Journal::open(context, directory, from).unwrap();
    HttpSource::open(context, loopback(Security::default()), Some(journal)).unwrap()
}

#[test]
fn what_was_acknowledged_is_in_the_journal() {
    let directory = tempfile::tempdir().unwrap();
    let body = |seed: u64| format!("a,b\n{seed},1\n{seed},2\nx,3\n");
    let key = |seed: u64| format!("request {seed}");
    {
        let mut source = journal(&context(), directory.path(), None);
        for seed in 0..5 {
            let request = post("/", &[("idempotency-key", &key(seed))], body(seed).as_bytes());
            if seed == 0 {
                // The first decides the types, so all of it has to be numbers.
                send(source.address(), &post("/", &[], b"a,b\n9,9\n")).took(1, 0);
            }
            send(source.address(), &request).took(2, 1);
        }
        // Some of it is read, and nothing committed.
        assert_eq!(read(&mut source, 4).rows[0], [9.0, 9.0]);
    }
    let again = context();
    let mut source = journal(&again, directory.path(), None);
    assert_eq!(source.schema().field(0).name(), "a", "the journal knows the columns");
    for seed in 0..6 {
        let request = post("/", &[("idempotency-key", &key(seed))], body(seed).as_bytes());
        send(source.address(), &request).took(2, 1);
    }
    let seen = end(&again, &mut source);
    let mut expected = vec![vec![9.0, 9.0]];
    expected.extend((0..6).flat_map(|seed| [1.0, 2.0].map(|b| vec![seed as f64, b])));
    assert_eq!((seen.rows, seen.rejected), (expected, 6));
    drop(source);
    let last = context();
    let mut source = journal(&last, directory.path(), Some(&seen.position));
    assert_eq!(
        end(&last, &mut source),
        Seen::default(),
        "nothing is left behind the last position"
    );
}

#[test]
fn a_journal_that_cannot_be_written_is_said_and_goes_on_when_it_can() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("journal-main");
    let context = context();
    let mut source = journal(&context, &place, None);
    // Before its first segment.
    std::fs::remove_dir(&place).unwrap();
    let request = post("/", &[("idempotency-key", "one")], b"a\n1\n");
    let answer = send(source.address(), &request);
    answer.refuses(503, &["journal", place.to_str().unwrap()]);
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(context.counters.failure().is_some());
    std::fs::create_dir(&place).unwrap();
    send(source.address(), &request).took(1, 0);
    send(source.address(), &request).took(1, 0);
    assert_eq!(end(&context, &mut source).rows, [[1.0]]);
}
