//! The configuration and the commands of the page, as they stand there.

use super::*;
use crate::messages::ended;
use crate::pages;
use crate::readings::{Reading, are_same, drawn, expected, newest_ms, reported};

/// A command as it is typed.
fn typed(line: &str) -> Vec<&str> {
    line.split_whitespace().map(|word| word.trim_matches('"')).collect()
}

/// The lines in the stream of reports.
fn lines(stream: &mut Stream) -> Vec<String> {
    let mut command = redis::cmd("XRANGE");
    let entries: Vec<(String, Vec<String>)> = command
        .arg("reports")
        .arg("-")
        .arg("+")
        .query(&mut stream.client)
        .unwrap();
    entries.into_iter().map(|(_, fields)| fields[1].clone()).collect()
}

#[test]
fn the_page_runs_as_it_stands() {
    let server = Server::named("redis");
    let (name, client) = ("readings".to_owned(), client(&server));
    let mut stream = Stream { server, name, client };
    stream.command(&["DEL", "readings", "reports", "latest:main:a", "latest:main:b"]);
    let shown = pages::blocks("redis", "text");
    // They are of the sensor `a`.
    let mut readings = Vec::new();
    for ((at_ms, temp), line) in [(1_760_000_000_000, 21.5), (1_760_000_000_100, 21.0)]
        .into_iter()
        .zip(shown[0].lines())
    {
        stream.command(&typed(line));
        readings.push(Reading {
            at_ms,
            key: "a".into(),
            values: BTreeMap::from([("temp".into(), temp)]),
        });
    }
    let [place] = pages::configured("redis", "127.0.0.1:6379", &stream.server);
    let more = drawn(400, 1000, &["a", "b"], &["temp"]);
    let rows = |readings: &[Reading]| {
        let row = |r: &Reading| format!("{},{},{}", r.at_ms, r.key, r.values["temp"]);
        let rows: Vec<String> = readings.iter().map(row).collect();
        rows.join("\n").into_bytes()
    };
    stream.add(&more.chunks(50).map(rows).collect::<Vec<_>>());
    readings.extend(more);
    let expected = expected(&readings, 60_000, newest_ms(&readings) - 5000);
    let running = Running::start(&place, &["run", "run.toml"]);
    wait_until("the reports", || lines(&mut stream).len() >= expected.len());
    ended(running);
    are_same(&reported(lines(&mut stream).iter().map(String::as_str)), &expected);
    let (_, last) = expected.iter().rfind(|((_, key), _)| key == "a").unwrap();
    let asked = typed(shown[1].lines().next().unwrap());
    let mut command = redis::cmd(asked[0]);
    let mean: f64 = command.arg(&asked[1..]).query(&mut stream.client).unwrap();
    assert!((mean - last.columns["temp"].mean).abs() < 1e-9, "{mean} {last:?}");
}
