//! Parts of windows from the real command: files with more keys than the limit, and files that grow after their end.

use crate::command::Place;
use serde_json::Value;
use std::collections::BTreeSet;

const REST: &str = "[rows]\ntime = \"ts\"\ntime_unit = \"s\"\nkey = [\"k\"]\n[state]\ndirectory = \"state\"\n\
                    [[sink]]\ntype = \"file\"\npath = \"out.ndjson\"\n";

/// The rows of all reports, each of which is another window, key or part.
fn rows(place: &Place) -> u64 {
    let text = std::fs::read_to_string(place.path("out.ndjson")).unwrap();
    let mut seen = BTreeSet::new();
    let mut rows = 0;
    for line in text.lines() {
        let report: Value = serde_json::from_str(line).unwrap();
        assert!(seen.insert([&report["window"], &report["key"], &report["part"]].map(Value::to_string)));
        rows += report["rows"].as_u64().unwrap();
    }
    rows
}

fn lines(seconds: std::ops::Range<u64>, keys: u64) -> String {
    let line = |s: u64| format!("{s},{},1.5\n", s * 7919 % keys);
    seconds.map(line).collect()
}

#[test]
fn a_file_that_grew_after_its_end_adds_parts() {
    for window in ["10s", "4 rows", "unbounded"] {
        let place = Place::new();
        let config = format!("[feed]\ntype = \"file\"\npath = \"in.csv\"\n[window]\nsize = \"{window}\"\n{REST}");
        place.write("c.toml", config);
        let mut content = String::from("ts,k,x\n");
        for (i, seconds) in [0..25, 25..28, 28..61].into_iter().enumerate() {
            content += &lines(seconds.clone(), 3);
            place.write("in.csv", &content);
            let outcome = place.run(&["run", "c.toml"]);
            assert_eq!(outcome.status, 0, "{}", outcome.stderr);
            assert_eq!(rows(&place), seconds.end, "{window}, run {i}: {}", outcome.stderr);
        }
    }
}

#[test]
fn more_keys_than_the_limit_lose_no_row() {
    for window in ["1h", "100s", "5 rows", "unbounded"] {
        let place = Place::new();
        let config = format!(
            "[feed]\ntype = \"file\"\npath = \"in.csv\"\n[window]\nsize = \"{window}\"\n[limits]\nkeys = 50\n\
             [engine]\nbatch_rows = 300\n{REST}"
        );
        place.write("c.toml", config);
        place.write("in.csv", format!("ts,k,x\n{}", lines(0..20_000, 377)));
        let outcome = place.run(&["run", "c.toml"]);
        assert_eq!(outcome.status, 0, "{}", outcome.stderr);
        assert_eq!(rows(&place), 20_000, "{window}: {}", outcome.stderr);
    }
}
