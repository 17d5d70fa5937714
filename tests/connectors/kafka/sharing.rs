//! Processes that share a topic: some join, some are killed, and the reports are those of one that saw everything.

use super::*;
use std::collections::BTreeSet;

/// What a process of the group runs: windows stay open for a while, and much is between two commits.
fn shared(topic: &Topic, reports: &Topic, way: &str, more: &str) -> String {
    format!(
        "{}share = \"{way}\"\n{ROWS}{PAGES}[engine]\nbatch_rows = 500\nbatch_delay = \"1ms\"\n{}",
        topic.feed("ndjson", more),
        to_topic(reports)
    )
}

/// What one process makes of everything, line by line.
fn of_one(place: &Place, topic: &Topic) -> Vec<String> {
    let feed = topic.feed("ndjson", TO_THE_END);
    let feed = feed.replace("group = \"", "group = \"alone-");
    configure(place, &[&feed, ROWS, TO_FILE]);
    runs(place);
    is_right(place, "out.ndjson");
    let whole = lines(place);
    std::fs::remove_file(place.path("out.ndjson")).unwrap();
    whole
}

/// The rows that are in the windows of the reports that have come so far, each window and key once.
fn reported(reports: &Topic) -> u64 {
    let lines: BTreeSet<String> = reports.all().into_iter().map(|(_, line)| line).collect();
    let rows = |line: &String| {
        serde_json::from_str::<serde_json::Value>(line).unwrap()["rows"]
            .as_u64()
            .unwrap()
    };
    lines.iter().map(rows).sum()
}

/// A process of the group that has some partitions.
fn member(place: &Place) -> Running {
    let mut running = Running::start(place, &["run", "run.toml"]);
    running.says("has of the 3 partitions");
    running
}

/// Ends a process as it should end.
fn ends(running: Running) {
    running.signal("-TERM");
    let (status, said) = running.end();
    assert_eq!(status, 0, "{said}");
}

#[test]
fn a_feed_of_summaries_is_what_one_process_would_have_said() {
    let (place, messages) = with_messages("ndjson");
    let (topic, reports) = (Topic::new(), Topic::new());
    topic.fill(&messages, "lz4");
    let whole = of_one(&place, &topic);
    // The same rows arrive while processes come and go.
    let topic = Topic::new();
    let quarter = messages.len() / 4;
    let quarters: Vec<&[Vec<u8>]> = messages.chunks(quarter).collect();
    assert_eq!(quarter % 3, 1, "quarters begin at partitions of their own");
    let fill = |part: usize| {
        topic.send(quarters[part], "lz4", |number| ((part * quarter + number) % 3) as i32);
    };
    place.write("run.toml", shared(&topic, &reports, "summaries", ""));
    let checked = place.run(&["validate", "run.toml"]);
    assert_eq!(checked.status, 0, "{}", checked.stderr);
    let mut rows = 0;
    let mut wait = |part: usize| {
        fill(part);
        // All but the last windows, which are open.
        rows += (quarter * MESSAGE_ROWS) as u64;
        wait_for("the windows", || reported(&reports) >= rows - 6_000);
    };
    let first = member(&place);
    wait(0);
    let second = member(&place);
    let third = member(&place);
    wait(1);
    first.kill();
    wait(2);
    let fourth = member(&place);
    wait(3);
    for running in [second, third, fourth] {
        ends(running);
    }
    // Who comes last reads what was open, and closes it at the ends.
    place.write("run.toml", shared(&topic, &reports, "summaries", TO_THE_END));
    runs(&place);
    // Whatever was said twice was said in the same words.
    let mut said: BTreeMap<(String, String), String> = BTreeMap::new();
    for (_, line) in reports.all() {
        let report: serde_json::Value = serde_json::from_str(&line).unwrap();
        let which = (report["window"].to_string(), report["key"].to_string());
        let before = said.entry(which).or_insert_with(|| line.clone());
        assert_eq!(*before, line);
    }
    let of_keys: Vec<String> = said.keys().map(|(_, key)| key.clone()).collect();
    assert!(of_keys.iter().all(|key| key.contains("\"partition\":")), "{of_keys:?}");
    let whole_feed = reports.feed("summaries", TO_THE_END);
    let rows = "[rows]\nkey = [\"key\"]\ncolumns = [\"c0\", \"c1\", \"c2\"]\n[window]\nsize = \"1s\"\n";
    configure(&place, &[&whole_feed, rows, TO_FILE]);
    runs(&place);
    is_right(&place, "out.ndjson");
    assert!(
        lines(&place) == whole,
        "the combined reports are those of one process, to the last digit"
    );
}

/// Rows of a key are in one partition, as a producer that sends them by key has them.
fn by_key(place: &Place) -> Vec<(i32, Vec<u8>)> {
    let text = std::fs::read_to_string(place.path("feed.ndjson")).unwrap();
    let mut messages = Vec::new();
    let mut rows: BTreeMap<i32, Vec<&str>> = BTreeMap::new();
    for line in text.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let sum: u32 = row["key"].to_string().bytes().map(u32::from).sum();
        let partition = (sum % 3) as i32;
        let of_partition = rows.entry(partition).or_default();
        of_partition.push(line);
        if of_partition.len() == MESSAGE_ROWS {
            messages.push((partition, of_partition.join("\n").into_bytes()));
            of_partition.clear();
        }
    }
    let rest = rows.into_iter().filter(|(_, rows)| !rows.is_empty());
    messages.extend(rest.map(|(partition, rows)| (partition, rows.join("\n").into_bytes())));
    messages
}

#[test]
fn who_joins_and_who_leaves_loses_and_doubles_no_window() {
    let place = Place::new();
    generate(
        &place,
        COUNT,
        &["--format", "ndjson", "-o", "feed.ndjson", "--missing", "0.01"],
    );
    let messages = by_key(&place);
    let (topic, reports) = (Topic::new(), Topic::new());
    let send = |messages: &[(i32, Vec<u8>)]| {
        let payloads: Vec<Vec<u8>> = messages.iter().map(|(_, payload)| payload.clone()).collect();
        topic.send(&payloads, "zstd", |number| messages[number].0);
    };
    place.write("run.toml", shared(&topic, &reports, "keys", ""));
    let third = messages.len() / 3;
    let first = member(&place);
    let mut rows = 0;
    let mut wait = |part: &[(i32, Vec<u8>)]| {
        send(part);
        rows += (part.len() * MESSAGE_ROWS) as u64;
        wait_for("the windows", || reported(&reports) + 8_000 >= rows);
    };
    wait(&messages[..third]);
    let second = member(&place);
    wait(&messages[third..2 * third]);
    ends(first);
    wait(&messages[2 * third..]);
    ends(second);
    place.write("run.toml", shared(&topic, &reports, "keys", TO_THE_END));
    runs(&place);
    let mut said: Vec<String> = reports.all().into_iter().map(|(_, line)| line).collect();
    said.sort();
    assert!(
        said == of_one(&place, &topic),
        "every window once, as one process says it"
    );
}

#[test]
fn what_a_shared_feed_cannot_have_is_refused() {
    let (place, topic) = (Place::new(), Topic::new());
    let feed = |way: &str| topic.feed("ndjson", &format!("share = \"{way}\"\n"));
    let without_time = ROWS.replace("time = \"ts\"\n", "");
    let without_keys = ROWS.replace("key = [\"key\"]\n", "");
    let sliding = ROWS.replace("size = \"1s\"", "size = \"1s\"\nslide = \"500ms\"");
    for (way, rows, more, words) in [
        ("keys", ROWS, STATE, "[state]"),
        ("keys", &without_time, "", "[rows] time"),
        ("keys", &without_keys, "", "share = \"summaries\""),
        ("summaries", &sliding, "", "[window] slide"),
        ("all", ROWS, "", "keys"),
        (
            "keys",
            ROWS,
            "[[alert]]\nname = \"a\"\nwhen = \"c0.mean > 1\"\n",
            "[[alert]]",
        ),
    ] {
        configure(&place, &[&feed(way), rows, more, TO_FILE]);
        for command in ["run", "validate"] {
            place.run(&[command, "run.toml"]).fails(78, &[words]);
        }
    }
    let of_summaries = topic.feed("summaries", "");
    configure(&place, &[&of_summaries, ROWS, TO_FILE]);
    place.run(&["validate", "run.toml"]).fails(78, &["[rows] time"]);
}

/// Who starts again reads the windows that are open once more, and counts nothing of it; nobody goes on with the windows of
/// another configuration.
#[test]
fn what_is_read_again_does_not_count_again() {
    let (place, topic, reports) = (Place::new(), Topic::new(), Topic::new());
    let row = |second: i64, key: &str| {
        format!("{{\"ts\":{second}000,\"key\":\"{key}\",\"c0\":1,\"c1\":2,\"c2\":3}}").into_bytes()
    };
    // A row, a late one behind a newer one, and a message that is none.
    let all = [row(1000, "a"), row(1010, "a"), row(1001, "late"), b"nothing".to_vec()];
    topic.send(&all, "none", |_| 1);
    let quarantine = "[limits]\nquarantine = \"bad.ndjson\"\n";
    let config = shared(&topic, &reports, "keys", "")
        .replace("lateness =", "late = \"side\"\nlate_path = \"late.ndjson\"\nlateness =");
    place.write("run.toml", format!("{config}{quarantine}"));
    let mut rows_in = Vec::new();
    for _ in 0..3 {
        let mut running = Running::start(&place, &["run", "run.toml"]);
        let pages = running.pages();
        // The place is committed where all of it has been read, whether it counts or not.
        wait_for("the place", || {
            let open = counted(pages, "open_windows");
            let consumer: BaseConsumer = topic.config().set("group.id", &topic.name).create().unwrap();
            let mut asked = TopicPartitionList::new();
            asked.add_partition(&topic.name, 1);
            let committed = consumer.committed_offsets(asked, PATIENCE).unwrap();
            let elements = committed.elements();
            open == 1 && elements[0].metadata().split(' ').nth(2) == Some("4")
        });
        rows_in.push(counted(pages, "rows_in_total"));
        ends(running);
    }
    assert_eq!(rows_in, [4, 0, 0]);
    let of = |name: &str| std::fs::read_to_string(place.path(name)).unwrap().lines().count();
    assert_eq!((of("bad.ndjson"), of("late.ndjson")), (1, 1));
    assert_eq!(reports.all().len(), 1);
    place.write("run.toml", config.replace("size = \"1s\"", "size = \"2s\""));
    place.run(&["run", "run.toml"]).fails(78, &["name another group"]);
}
