//! Reports in streams, hashes and channels: each once, whatever becomes of the run and of the server.

use super::*;

const STATISTICS: &str = "[statistics]\nquantiles = [0.5]\n[[alert]]\nname = \"high\"\nwhen = \"c0.mean > 0\"\n";

/// A file that comes to Redis and to lines.
fn configured(place: &Place, stream: &Stream, more: &str) {
    let feed = "feed = { type = \"file\", path = \"feed.csv\" }\n";
    place.write(
        "run.toml",
        format!("{feed}{ROWS}{STATISTICS}{more}{}{FILE}", stream.sink()),
    );
}

fn with_rows() -> Place {
    let place = Place::new();
    generate(
        &place,
        COUNT,
        &["--format", "csv", "-o", "feed.csv", "--missing", "0.01"],
    );
    place
}

/// What the hashes are to be: the last report of each key, read from the lines.
fn latest(place: &Place, stream: &Stream) -> BTreeMap<String, BTreeMap<String, String>> {
    let text = std::fs::read_to_string(place.path("out.ndjson")).unwrap();
    let mut latest = BTreeMap::new();
    for line in text.lines() {
        let report: serde_json::Value = serde_json::from_str(line).unwrap();
        if report.get("alert").is_some() {
            continue;
        }
        let name = format!(
            "{}:latest:main:{}",
            stream.name,
            report["key"]["key"].to_string().trim_matches('"')
        );
        let mut hash = BTreeMap::new();
        hash.insert(
            "window_start".to_owned(),
            report["window"]["start"].as_str().unwrap().to_owned(),
        );
        hash.insert(
            "window_end".to_owned(),
            report["window"]["end"].as_str().unwrap().to_owned(),
        );
        hash.insert("rows".to_owned(), report["rows"].to_string());
        hash.insert("final".to_owned(), report["final"].to_string());
        for (column, numbers) in report["columns"].as_object().unwrap() {
            for (number, value) in numbers.as_object().unwrap() {
                let value = match number.as_str() {
                    "quantiles" => {
                        hash.insert(format!("{column}.quantiles.0.5"), value["0.5"].to_string());
                        continue;
                    }
                    _ => value.to_string(),
                };
                if value != "null" {
                    hash.insert(format!("{column}.{number}"), value);
                }
            }
        }
        latest.insert(name, hash);
    }
    latest
}

/// The hashes of the server, without what tells their order.
fn hashes(stream: &mut Stream) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut hashes = stream.hashes();
    hashes
        .values_mut()
        .for_each(|hash| assert!(hash.remove("order").is_some()));
    hashes
}

#[test]
fn reports_are_those_of_the_lines() {
    let (place, mut stream) = (with_rows(), Stream::new());
    configured(&place, &stream, "");
    let checked = place.run(&["validate", "run.toml"]);
    assert_eq!(checked.status, 0, "{}", checked.stderr);
    assert!(
        stream.reports().is_empty() && stream.hashes().is_empty(),
        "validate wrote something"
    );
    let mut listener = client(&stream.server);
    let mut listening = listener.as_pubsub();
    listening.subscribe(format!("{}:alerts", stream.name)).unwrap();
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    is_right(&place, "out.ndjson");
    let lines = std::fs::read_to_string(place.path("out.ndjson")).unwrap();
    assert!(stream.lines() == lines);
    let mut ids: Vec<String> = stream
        .reports()
        .iter()
        .map(|fields| format!("{} {}", fields[0], fields[3]))
        .collect();
    let all = ids.len();
    assert!(all > 500);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), all, "two reports have one id");
    let alerts: Vec<&str> = lines.lines().filter(|line| line.starts_with("{\"alert\"")).collect();
    assert!(!alerts.is_empty());
    listening.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    for alert in alerts {
        assert_eq!(listening.get_message().unwrap().get_payload::<String>().unwrap(), alert);
    }
    let expected = latest(&place, &stream);
    assert_eq!(expected.len(), 7);
    assert_eq!(hashes(&mut stream), expected);
    let (name, _) = expected.first_key_value().unwrap();
    let stays: i64 = redis::cmd("PTTL").arg(name).query(&mut stream.client).unwrap();
    assert!((3_000_000..=3_600_000).contains(&stays), "{stays}");

    // A hash that holds a later window stays, and nothing of one that is replaced.
    redis::cmd("HSET")
        .arg(name)
        .arg("order")
        .arg("ffff")
        .exec(&mut stream.client)
        .unwrap();
    let (other, _) = expected.last_key_value().unwrap();
    redis::cmd("HSET")
        .arg(other)
        .arg("old")
        .arg(1)
        .exec(&mut stream.client)
        .unwrap();
    redis::cmd("HSET")
        .arg(name)
        .arg("rows")
        .arg("later")
        .exec(&mut stream.client)
        .unwrap();
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let now = hashes(&mut stream);
    assert_eq!(now[name]["rows"], "later");
    assert_eq!(now[other], expected[other]);
}

#[test]
fn a_killed_run_leaves_every_report_once() {
    let (place, mut stream) = (with_rows(), Stream::new());
    let foreign = format!("{}:out", stream.name);
    stream.command(&[
        "XADD",
        &foreign,
        "*",
        "report",
        "of somebody else",
        "id",
        "x",
        "by",
        "0-9",
    ]);
    configured(&place, &stream, DISTURBED);
    let mut added = 0;
    for millis in [5, 40, 90, 150, 250] {
        let mut running = Running::start(&place, &["run", "run.toml"]);
        running.hear(Duration::from_millis(millis));
        running.kill();
        stream.command(&[
            "XADD",
            &foreign,
            "*",
            "report",
            "of somebody else",
            "id",
            "x",
            "by",
            "0-9",
        ]);
        // As if it had been written behind the checkpoint, by the same writer.
        let of_run = |fields: &Vec<String>| fields[5].split_once('-').map(|(writer, _)| writer.to_owned());
        let writer = stream
            .reports()
            .iter()
            .rev()
            .filter_map(of_run)
            .find(|writer| writer != "0");
        if let Some(writer) = writer {
            let by = format!("{writer}-1000000");
            stream.command(&["XADD", &foreign, "*", "report", "too much", "id", "x", "by", &by]);
            added += 1;
        }
    }
    assert!(added > 0, "every run was killed before it wrote anything");
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    is_right(&place, "out.ndjson");
    let lines = stream.lines();
    let (foreign, own): (Vec<&str>, Vec<&str>) = lines.lines().partition(|line| *line == "of somebody else");
    assert_eq!(foreign.len(), 6, "somebody else's entries were taken out");
    let expected = std::fs::read_to_string(place.path("out.ndjson")).unwrap();
    assert!(own.iter().copied().eq(expected.lines()));
    let expected = latest(&place, &stream);
    assert_eq!(hashes(&mut stream), expected);
}

#[test]
fn a_server_that_crashes_gets_what_it_missed() {
    let (place, mut stream) = (with_rows(), Stream::new());
    configured(&place, &stream, &format!("{DISTURBED}{PAGES}"));
    let config = std::fs::read_to_string(place.path("run.toml")).unwrap();
    place.write(
        "run.toml",
        config.replace("\"feed.csv\" }", "\"feed.csv\", follow = true }"),
    );
    let text = std::fs::read_to_string(place.path("feed.csv")).unwrap();
    let middle = text[..text.len() / 2].rfind('\n').unwrap() + 1;
    let mut file = std::fs::File::create(place.path("feed.csv")).unwrap();
    file.write_all(&text.as_bytes()[..middle]).unwrap();
    let (mut running, pages) = started(&place);
    wait_until("reports", || !stream.reports().is_empty());
    stream.server.kill();
    // Whatever is stored next finds nobody.
    file.write_all(&text.as_bytes()[middle..]).unwrap();
    running.says("tried again for a while");
    stream.server.start();
    running.says("goes on");
    wait_for_rows(pages, ALL);
    ends_well(running);
    place.write("run.toml", config);
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    is_right(&place, "out.ndjson");
    stream.client = client(&stream.server);
    assert!(stream.lines() == std::fs::read_to_string(place.path("out.ndjson")).unwrap());
    let expected = latest(&place, &stream);
    assert_eq!(hashes(&mut stream), expected);
}

#[test]
fn a_transaction_whose_answer_is_lost_is_not_done_twice() {
    let (place, mut stream) = (with_rows(), Stream::new());
    let (address, lost) = losing(&stream.server, b"EXEC", 0);
    configured(&place, &stream, DISTURBED);
    let config = std::fs::read_to_string(place.path("run.toml")).unwrap();
    let direct = format!("127.0.0.1:{}", stream.server.says("port"));
    place.write("run.toml", config.replace(&direct, &address.to_string()));
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert_eq!(lost.load(Ordering::SeqCst), 1);
    assert!(stream.lines() == std::fs::read_to_string(place.path("out.ndjson")).unwrap());
}
