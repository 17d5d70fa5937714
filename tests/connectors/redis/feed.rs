//! Streams as feeds: every row once, whatever becomes of the run, of the group and of the server.

use super::*;

#[test]
fn rows_of_every_format_are_right() {
    for format in ["csv", "ndjson", "binary", "arrow"] {
        let (place, mut stream) = (Place::new(), Stream::new());
        stream.add(&messages(&place, format));
        place.write("run.toml", format!("{}{ROWS}{FILE}{PAGES}", stream.feed(format)));
        let (running, pages) = started(&place);
        wait_for_rows(pages, ALL);
        ends_well(running);
        is_right(&place, "out.ndjson");
        // Without a state they are acknowledged when they are given.
        assert_eq!(stream.pending(), 0, "{format}");
    }
}

#[test]
fn a_killed_run_goes_on_and_no_row_is_lost_or_doubled() {
    let (place, mut stream) = (Place::new(), Stream::new());
    let messages = messages(&place, "csv");
    stream.add(&messages);
    place.write(
        "run.toml",
        format!("{}{ROWS}{DISTURBED}{FILE}{PAGES}", stream.feed("csv")),
    );
    let mut given = Vec::new();
    for millis in [5, 40, 90, 150, 250] {
        let (mut running, _) = started(&place);
        running.hear(Duration::from_millis(millis));
        running.kill();
        given.push(stream.pending());
    }
    assert!(
        given.iter().any(|pending| *pending > 0),
        "nothing was on its way: {given:?}"
    );
    let (running, pages) = started(&place);
    wait_for_rows(pages, ALL);
    // What a durable checkpoint has is acknowledged.
    wait_until("acknowledgements", || stream.pending() == 0);
    ends_well(running);
    close_windows(&place);
    is_right(&place, "out.ndjson");
}

#[test]
fn a_server_that_crashes_loses_nothing() {
    let (place, mut stream) = (Place::new(), Stream::new());
    let messages = messages(&place, "ndjson");
    let (first, second) = messages.split_at(messages.len() / 2);
    stream.add(first);
    let slow = DISTURBED.replace("20ms", "200ms");
    place.write(
        "run.toml",
        format!("{}{ROWS}{slow}{FILE}{PAGES}", stream.feed("ndjson")),
    );
    let (mut running, pages) = started(&place);
    wait_for("some rows", || counted(pages, "rows_in_total") > 0);
    stream.server.kill();
    running.says("it is tried again");
    stream.server.start();
    running.says("goes on");
    stream.client = client(&stream.server);
    stream.add(second);
    wait_for_rows(pages, ALL);
    ends_well(running);
    close_windows(&place);
    is_right(&place, "out.ndjson");
}

/// Entries that were given to somebody else, and a group that went back: each row counts once.
#[test]
fn what_is_given_again_counts_once() {
    let (place, mut stream) = (Place::new(), Stream::new());
    let messages = messages(&place, "csv");
    let name = stream.name.clone();
    let (first, rest) = messages.split_at(600);
    let (second, third) = rest.split_at(200);
    stream.add(first);
    stream.command(&["XGROUP", "CREATE", &name, "millstream", "0"]);
    let read = [
        "XREADGROUP",
        "GROUP",
        "millstream",
        "somebody",
        "COUNT",
        "100",
        "STREAMS",
        &name,
        ">",
    ];
    stream.command(&read);
    assert_eq!(stream.pending(), 100);
    place.write(
        "run.toml",
        format!("{}{ROWS}{DISTURBED}{FILE}{PAGES}", stream.feed("csv")),
    );
    let (running, pages) = started(&place);
    wait_for_rows(pages, 60_000);
    wait_until("acknowledgements", || stream.pending() == 0);
    ends_well(running);
    // All of it again, a tenth of it to somebody else.
    stream.command(&["XGROUP", "SETID", &name, "millstream", "0"]);
    stream.command(&read);
    stream.add(second);
    let (running, pages) = started(&place);
    wait_for_rows(pages, 80_000);
    // And while it runs.
    stream.command(&["XGROUP", "SETID", &name, "millstream", "0"]);
    stream.add(third);
    wait_for_rows(pages, ALL);
    wait_until("acknowledgements", || stream.pending() == 0);
    ends_well(running);
    close_windows(&place);
    is_right(&place, "out.ndjson");
}

/// The group goes away while the run goes on, and so does the stream.
#[test]
fn a_group_that_is_deleted_is_made_again_where_it_was() {
    let (place, mut stream) = (Place::new(), Stream::new());
    let messages = messages(&place, "csv");
    let name = stream.name.clone();
    stream.add(&messages[..300]);
    place.write(
        "run.toml",
        format!("{}{ROWS}{DISTURBED}{FILE}{PAGES}", stream.feed("csv")),
    );
    let (mut running, pages) = started(&place);
    wait_for_rows(pages, 30_000);
    stream.command(&["XGROUP", "DESTROY", &name, "millstream"]);
    stream.add(&messages[300..600]);
    wait_for_rows(pages, 60_000);
    running.says("goes on");
    stream.command(&["DEL", &name]);
    running.says("it is tried again");
    stream.add(&messages[600..]);
    wait_for_rows(pages, ALL);
    ends_well(running);
    close_windows(&place);
    is_right(&place, "out.ndjson");
    // A stream that ends before the checkpoint is another one.
    stream.command(&["DEL", &name]);
    stream.command(&["XADD", &name, "5-1", "rows", "1"]);
    place
        .run(&["run", "run.toml"])
        .fails(78, &["ends with 5-1", "--discard-state"]);
    place.run(&["validate", "run.toml"]);
}

#[test]
fn entries_are_messages_or_rows_and_bad_ones_are_named() {
    let (place, mut stream) = (Place::new(), Stream::new());
    let name = stream.name.clone();
    let add = |stream: &mut Stream, fields: &[&str]| {
        let words = [&["XADD", &name, "*"], fields].concat();
        let Value::BulkString(id) = stream.command(&words) else {
            panic!()
        };
        String::from_utf8(id).unwrap()
    };
    add(&mut stream, &["c0", "1.5", "key", "a", "other", "x", "ts", "1000"]);
    add(&mut stream, &["rows", "1001,a,2.5,1,1\n1002,\"b,\"\"c\",3,1,1"]);
    let bad = add(&mut stream, &["row", "1001,a,2.5,1,1"]);
    add(&mut stream, &["ts", "1003", "key", "b,\"c", "c0", "4"]);
    let gone = add(&mut stream, &["rows", "1004,a,1000,1,1"]);
    // Given to somebody, deleted, and never acknowledged.
    stream.command(&["XGROUP", "CREATE", &name, "millstream", "0"]);
    stream.command(&["XREADGROUP", "GROUP", "millstream", "somebody", "STREAMS", &name, ">"]);
    stream.command(&["XDEL", &name, &gone]);
    place.write("run.toml", format!("{}{ROWS}{FILE}{PAGES}", stream.feed("csv")));
    let (running, pages) = started(&place);
    wait_for_rows(pages, 5);
    wait_until("acknowledgements", || stream.pending() == 0);
    let said = ends_well(running);
    assert!(said.contains("1 entries were deleted"), "{said}");
    let bad_rows = std::fs::read_to_string(place.path("bad.ndjson")).unwrap();
    assert!(bad_rows.contains(&bad) && bad_rows.lines().count() == 1, "{bad_rows}");
    let reports = std::fs::read_to_string(place.path("out.ndjson")).unwrap();
    let means: Vec<String> = reports
        .lines()
        .map(|line| {
            let report: serde_json::Value = serde_json::from_str(line).unwrap();
            format!("{} {}", report["key"]["key"], report["columns"]["c0"]["mean"])
        })
        .collect();
    assert_eq!(means, ["\"a\" 2.0", "\"b,\\\"c\" 3.5"], "{reports}");
}

#[test]
fn a_feed_may_begin_with_what_comes() {
    let (place, mut stream) = (Place::new(), Stream::new());
    let messages = messages(&place, "csv");
    let before = ["1,1,1,1,1\n2,1,1,1,1".as_bytes().to_vec()];
    stream.add(&before);
    let feed = format!("{}start = \"latest\"\ngroup = \"mine\"\n", stream.feed("csv"));
    place.write("run.toml", format!("{feed}{ROWS}{FILE}{PAGES}"));
    let (mut running, pages) = started(&place);
    // The group is there by then.
    running.says("reads the stream");
    stream.add(&messages);
    wait_for_rows(pages, ALL);
    ends_well(running);
    is_right(&place, "out.ndjson");
}

#[test]
fn entries_whose_answer_is_lost_are_read_again() {
    let (place, mut stream) = (Place::new(), Stream::new());
    stream.add(&messages(&place, "csv"));
    let (address, lost) = losing(&stream.server, b"XREADGROUP", 2);
    let direct = format!("127.0.0.1:{}", stream.server.says("port"));
    let feed = stream.feed("csv").replace(&direct, &address.to_string());
    place.write("run.toml", format!("{feed}{ROWS}{FILE}{PAGES}"));
    let (running, pages) = started(&place);
    wait_for_rows(pages, ALL);
    ends_well(running);
    assert_eq!(lost.load(Ordering::SeqCst), 1);
    is_right(&place, "out.ndjson");
}
