//! Topics as feeds: every message once, whatever becomes of the run, of the group, of the broker and of the topic.

use super::*;

#[test]
fn messages_of_every_format_and_compression_are_rows() {
    for (format, compressions) in [
        ("ndjson", &["none", "lz4", "zstd"][..]),
        ("csv", &["gzip"]),
        ("arrow", &["snappy"]),
    ] {
        let (place, messages) = with_messages(format);
        for compression in compressions {
            let topic = Topic::new();
            topic.fill(&messages, compression);
            configure(&place, &[&topic.feed(format, TO_THE_END), ROWS, TO_FILE]);
            let _ = std::fs::remove_file(place.path("out.ndjson"));
            let said = runs(&place);
            assert!(
                said.contains(&format!("rows in {COUNT} ")),
                "{format} {compression}: {said}"
            );
            is_right(&place, "out.ndjson");
        }
    }
}

/// What is at its end ends alone.
#[test]
fn a_feed_ends_when_every_partition_has() {
    let (place, messages) = with_messages("csv");
    let topic = Topic::new();
    topic.send(&messages, "none", |_| PARTITIONS - 1);
    configure(&place, &[&topic.feed("csv", TO_THE_END), ROWS, TO_FILE]);
    runs(&place);
    is_right(&place, "out.ndjson");
}

#[test]
fn a_killed_run_goes_on_and_counts_every_message_once() {
    let (place, messages) = with_messages("csv");
    let topic = Topic::new();
    topic.fill(&messages, "lz4");
    // Small batches, so that a run takes a while.
    let slow = "batch_rows = 500";
    assert!(STATE.contains(slow));
    configure(&place, &[&topic.feed("csv", ""), ROWS, STATE, PAGES, TO_FILE]);
    let before = Cell::new(0);
    let midway = Cell::new(0);
    for kill in 1..=5 {
        let mut running = Running::start(&place, &["run", "run.toml"]);
        let pages = running.pages();
        wait_for("some rows", || {
            let taken = counted(pages, "rows_in_total");
            midway.set(midway.get() + usize::from(before.get() < taken && taken < 100_000));
            before.set(taken);
            taken >= kill * 18_000
        });
        running.kill();
    }
    assert!(midway.get() > 0, "no run was killed midway");
    configure(&place, &[&topic.feed("csv", TO_THE_END), ROWS, STATE, TO_FILE]);
    runs(&place);
    is_right(&place, "out.ndjson");
    // The group knows where it is: whoever has no state goes on behind what was counted.
    let consumer: BaseConsumer = topic.config().set("group.id", &topic.name).create().unwrap();
    let mut asked = TopicPartitionList::new();
    asked.add_partition_range(&topic.name, 0, PARTITIONS - 1);
    let committed = consumer.committed_offsets(asked, PATIENCE).unwrap();
    for element in committed.elements() {
        assert!(matches!(element.offset(), Offset::Offset(n) if n > 0), "{element:?}");
    }
}

#[test]
fn a_broker_that_crashes_is_waited_for() {
    let (place, messages) = with_messages("csv");
    let topic = Topic::new();
    let half = messages.len() / 2;
    topic.fill(&messages[..half], "lz4");
    configure(&place, &[&topic.feed("csv", ""), ROWS, STATE, PAGES, TO_FILE]);
    let (mut running, pages) = following(&place, (half * MESSAGE_ROWS) as u64);
    topic.server.kill();
    running.says("it is tried again until it succeeds");
    topic.server.start();
    topic.fill(&messages[half..], "lz4");
    wait_for_rows(pages, COUNT.parse().unwrap());
    running.says("goes on");
    running.signal("-TERM");
    let (status, said) = running.end();
    assert_eq!(status, 0, "{said}");
    // What was open then closes at the ends of the partitions.
    configure(&place, &[&topic.feed("csv", TO_THE_END), ROWS, STATE, PAGES, TO_FILE]);
    runs(&place);
    is_right(&place, "out.ndjson");
}

#[test]
fn what_is_given_again_is_counted_once() {
    let (place, messages) = with_messages("ndjson");
    let topic = Topic::new();
    let most = messages.len() * 9 / 10;
    topic.fill(&messages[..most], "zstd");
    configure(&place, &[&topic.feed("ndjson", ""), ROWS, STATE, PAGES, TO_FILE]);
    let (running, _) = following(&place, (most * MESSAGE_ROWS) as u64);
    running.signal("-TERM");
    assert_eq!(running.end().0, 0);
    // The group is set back: the checkpoint counts.
    let consumer: BaseConsumer = topic.config().set("group.id", &topic.name).create().unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        let from = (most as i64 / i64::from(PARTITIONS)) * 8 / 9;
        list.add_partition_offset(&topic.name, partition, Offset::Offset(from))
            .unwrap();
    }
    // Its member stays known for a while: only who is in the group may say where it is.
    wait_for("the group to be empty", || {
        consumer.commit(&list, CommitMode::Sync).is_ok()
    });
    topic.fill(&messages[most..], "zstd");
    configure(
        &place,
        &[&topic.feed("ndjson", TO_THE_END), ROWS, STATE, PAGES, TO_FILE],
    );
    runs(&place);
    is_right(&place, "out.ndjson");
}

#[test]
fn a_message_that_cannot_be_read_is_a_bad_row() {
    let (place, topic) = (Place::new(), Topic::new());
    let good = |ts: u32| format!("{{\"ts\":{ts},\"key\":1,\"c0\":1,\"c1\":2,\"c2\":3}}").into_bytes();
    topic.fill(
        &[
            good(1),
            b"nothing".to_vec(),
            good(2),
            good(3),
            Vec::new(),
            b"{\"ts\":".to_vec(),
        ],
        "none",
    );
    let quarantine = "[limits]\nquarantine = \"bad.ndjson\"\n";
    configure(&place, &[&topic.feed("ndjson", TO_THE_END), ROWS, TO_FILE, quarantine]);
    let said = runs(&place);
    assert!(said.contains("rows in 5 ") && said.contains("quarantined 2"), "{said}");
    let bad = std::fs::read_to_string(place.path("bad.ndjson")).unwrap();
    assert!(
        bad.contains("partition 1, messages 0 to 1") && bad.contains("partition 2, messages 0 to 1"),
        "{bad}"
    );
}

#[test]
fn the_feed_is_alone_in_its_group() {
    let (place, messages) = with_messages("csv");
    let topic = Topic::new();
    topic.fill(&messages[..10], "none");
    let mut config = topic.config();
    let other: BaseConsumer = config
        .set("group.id", &topic.name)
        .set("partition.assignment.strategy", "range")
        .create()
        .unwrap();
    other.subscribe(&[&topic.name]).unwrap();
    wait_for("the other to be in the group", || {
        other.poll(Duration::from_millis(10));
        other.assignment().unwrap().count() > 0
    });
    let stop = std::sync::atomic::AtomicBool::new(false);
    configure(&place, &[&topic.feed("csv", ""), ROWS, TO_FILE]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                other.poll(Duration::from_millis(10));
            }
        });
        let ran = place.run(&["run", "run.toml"]);
        stop.store(true, Ordering::Relaxed);
        ran.fails(78, &["another program is in it", "name another group"]);
    });
}

#[test]
fn a_topic_that_was_made_anew_is_not_gone_on_with() {
    let (place, messages) = with_messages("csv");
    let topic = Topic::new();
    topic.fill(&messages[..90], "none");
    configure(&place, &[&topic.feed("csv", ""), ROWS, STATE, PAGES, TO_FILE]);
    let (running, _) = following(&place, 90 * MESSAGE_ROWS as u64);
    running.signal("-TERM");
    assert_eq!(running.end().0, 0);
    topic.remove();
    topic.make_again();
    topic.fill(&messages[..3], "none");
    place
        .run(&["run", "run.toml"])
        .fails(78, &["made anew", "--discard-state"]);
}

#[test]
fn what_was_deleted_before_it_was_read_is_said() {
    let (place, messages) = with_messages("csv");
    let topic = Topic::new();
    topic.fill(&messages[..30], "none");
    configure(&place, &[&topic.feed("csv", ""), ROWS, STATE, PAGES, TO_FILE]);
    let (running, _) = following(&place, 30 * MESSAGE_ROWS as u64);
    running.signal("-TERM");
    assert_eq!(running.end().0, 0);
    topic.fill(&messages[30..60], "none");
    let mut upto = TopicPartitionList::new();
    upto.add_partition_offset(&topic.name, 1, Offset::Offset(15)).unwrap();
    pollster::block_on(topic.admin().delete_records(&upto, &AdminOptions::new())).unwrap();
    configure(&place, &[&topic.feed("csv", TO_THE_END), ROWS, STATE, PAGES, TO_FILE]);
    let said = runs(&place);
    assert!(
        said.contains("the messages 10 to 14 of partition 1 were deleted before they were read"),
        "{said}"
    );
    assert!(said.contains("rows in 5500 "), "{said}");
}

/// What came before the feed began is not for it; what came while it was away is.
#[test]
fn a_feed_that_begins_with_the_latest_misses_nothing_later() {
    let (place, messages) = with_messages("csv");
    let topic = Topic::new();
    topic.fill(&messages[..30], "none");
    configure(
        &place,
        &[&topic.feed("csv", "start = \"latest\"\n"), ROWS, STATE, PAGES, TO_FILE],
    );
    let mut running = Running::start(&place, &["run", "run.toml"]);
    let pages = running.pages();
    // It has a place once the group has given it its partitions and a checkpoint knows.
    wait_for("the group to know", || {
        let consumer: BaseConsumer = topic.config().set("group.id", &topic.name).create().unwrap();
        let mut asked = TopicPartitionList::new();
        asked.add_partition_range(&topic.name, 0, PARTITIONS - 1);
        let committed = consumer.committed_offsets(asked, PATIENCE).unwrap();
        committed.elements().iter().all(|e| e.offset() == Offset::Offset(10))
    });
    assert_eq!(counted(pages, "rows_in_total"), 0);
    running.kill();
    topic.fill(&messages[30..60], "none");
    configure(
        &place,
        &[
            &topic.feed("csv", "follow = false\nstart = \"latest\"\n"),
            ROWS,
            STATE,
            PAGES,
            TO_FILE,
        ],
    );
    let said = runs(&place);
    assert!(said.contains("rows in 3000 "), "{said}");
}
