//! The configuration of the page, as it stands there.

use super::*;
use crate::messages::ended;
use crate::pages;
use crate::readings::{are_same, drawn, expected, messages, reported};

#[test]
fn the_page_runs_as_it_stands() {
    let (topic, reports) = (Topic::named("readings".into()), Topic::named("reports".into()));
    let parts = Topic::named("parts".into());
    let [place, ..]: [Place; 3] = pages::configured("kafka", "127.0.0.1:9092", &topic.server);
    let readings = drawn(3000, 20, &["a", "b", "c"], &["temperature"]);
    topic.fill(&messages(&readings, "sensor", MESSAGE_ROWS), "zstd");
    // The partitions have the messages in turn, so one ends two messages before the newest row.
    let watermark = readings[readings.len() - 2 * MESSAGE_ROWS - 1].at_ms;
    let expected = expected(&readings, 10_000, watermark);
    let running = Running::start(&place, &["run", "run.toml"]);
    wait_for("the reports", || reports.all().len() >= expected.len());
    ended(running);
    let all = reports.all();
    are_same(&reported(all.iter().map(|(_, report)| report.as_str())), &expected);
    for (key, report) in &all {
        let (key, report): (serde_json::Value, serde_json::Value) = (
            serde_json::from_str(key).unwrap(),
            serde_json::from_str(report).unwrap(),
        );
        assert_eq!((&key["feed"], &key["key"]), (&report["feed"], &report["key"]));
    }
    topic.remove();
    parts.remove();
    reports.remove();
}

/// Two processes share the topic, and a third makes the whole of what they give.
#[test]
fn the_processes_of_the_page_share_a_topic() {
    let (topic, parts) = (Topic::named("readings".into()), Topic::named("parts".into()));
    let reports = Topic::named("reports".into());
    let [_, shared, whole]: [Place; 3] = pages::configured("kafka", "127.0.0.1:9092", &topic.server);
    let readings = drawn(3000, 20, &[""], &["temperature"]);
    let mut processes = Vec::new();
    for _ in 0..2 {
        let mut process = Running::start(&shared, &["run", "run.toml"]);
        process.says("has of the 3 partitions");
        processes.push(process);
    }
    topic.fill(&messages(&readings, "", MESSAGE_ROWS), "zstd");
    let out = std::fs::File::create(whole.path("out.ndjson")).unwrap();
    let process = Running::begin_with(whole.command(&["run", "run.toml"]), out.into());
    // A window is whole once each partition has given a later one, which its newest row has closed.
    let watermark = readings[readings.len() - 2 * MESSAGE_ROWS - 1].at_ms;
    let expected = expected(&readings, 10_000, watermark - 10_000);
    assert!(expected.len() > 2);
    wait_for("the windows", || lines(&whole).len() >= expected.len());
    let all = lines(&whole);
    processes.push(process);
    processes.into_iter().for_each(|process| drop(ended(process)));
    are_same(&reported(all.iter().map(String::as_str)), &expected);
    topic.remove();
    parts.remove();
    reports.remove();
}
