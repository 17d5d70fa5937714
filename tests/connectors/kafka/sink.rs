//! Reports to topics: each once, with a key, whatever becomes of the broker.

use super::*;

#[test]
fn reports_are_messages_with_keys() {
    let (place, _) = with_messages("csv");
    let topic = Topic::new();
    let alert = "[[alert]]\nname = \"high\"\nwhen = \"c0.mean > 0\"\n";
    configure(
        &place,
        &[
            "feed = { type = \"file\", path = \"feed.csv\" }\n",
            ROWS,
            alert,
            TO_FILE,
            &to_topic(&topic),
        ],
    );
    runs(&place);
    let sent = topic.all();
    let mut payloads: Vec<&str> = sent.iter().map(|(_, report)| report.as_str()).collect();
    payloads.sort_unstable();
    assert!(payloads == lines(&place));
    // The reports of one key are in one partition, in the order of their windows; the key is that of the rows.
    let mut windows: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (key, report) in &sent {
        let report: serde_json::Value = serde_json::from_str(report).unwrap();
        let key_of: serde_json::Value = serde_json::from_str(key).unwrap();
        if let Some(alert) = report.get("alert") {
            assert_eq!((&key_of["alert"], &key_of["key"]), (&alert["alert"], &alert["key"]));
        } else {
            assert_eq!((&key_of["feed"], &key_of["key"]), (&report["feed"], &report["key"]));
            windows
                .entry(key)
                .or_default()
                .push(report["window"]["start"].to_string());
        }
    }
    assert_eq!(windows.len(), 7);
    assert!(windows.values().all(|starts| starts.len() > 50 && starts.is_sorted()));
}

#[test]
fn reports_reach_a_broker_that_crashed() {
    let (place, messages) = with_messages("csv");
    let (topic, reports) = (Topic::new(), Topic::new());
    let half = messages.len() / 2;
    topic.fill(&messages[..half], "none");
    configure(
        &place,
        &[&topic.feed("csv", ""), ROWS, PAGES, TO_FILE, &to_topic(&reports)],
    );
    let (mut running, pages) = following(&place, (half * MESSAGE_ROWS) as u64);
    topic.server.kill();
    running.says("it is tried again until it succeeds");
    topic.server.start();
    topic.fill(&messages[half..], "none");
    wait_for_rows(pages, COUNT.parse().unwrap());
    running.signal("-TERM");
    let (status, said) = running.end();
    assert_eq!(status, 0, "{said}");
    is_right(&place, "out.ndjson");
    let mut sent: Vec<String> = reports.all().into_iter().map(|(_, report)| report).collect();
    sent.sort();
    assert!(sent == lines(&place));
}
