//! The configuration of the page, as it stands there.

use super::*;
use crate::messages::ended;
use crate::pages;
use crate::readings::{are_same, drawn, expected, messages, reported};

#[test]
fn the_page_runs_as_it_stands() {
    let (topic, reports) = (Topic::named("readings".into()), Topic::named("reports".into()));
    let place = pages::configured("kafka", "127.0.0.1:9092", &topic.server);
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
    reports.remove();
}
