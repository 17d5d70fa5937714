//! The examples whose scripts take several servers, or programs of others: as they stand, and what they come to.

use crate::command::Place;
use crate::postgres::Database;
use crate::rabbitmq::Queue;
use crate::readings::{Numbers, Reading, Reports, Told, are_same, expected, newest_ms, of_lines};
use crate::server::Server;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

/// The script of an example, which takes this for `millstream`.
fn script(example: &str, millstream: &std::path::Path) -> Command {
    let mut command = Command::new(format!("{}/examples/{example}/run", env!("CARGO_MANIFEST_DIR")));
    command.env("MILLSTREAM", millstream).env("MILLSTREAM_CACHE", "");
    command
}

fn succeeded(ran: &Output) -> String {
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success(), "{said}");
    said
}

fn executable(place: &Place, name: &'static str, text: String) -> std::path::PathBuf {
    let path = place.path(place.write(name, text));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// An alert: name, key, seconds from the first window to that of its beginning and its end.
type Alert = (String, String, i64, Option<i64>);

/// The alerts that the reports of one key after another are to give, for a condition that has to hold so often.
fn alerts(name: &str, reports: &Reports, for_windows: usize, holds: impl Fn(&Told) -> bool) -> BTreeSet<Alert> {
    let (begin_ms, keys): (_, BTreeSet<&String>) = (
        reports.keys().next().unwrap().0,
        reports.keys().map(|(_, key)| key).collect(),
    );
    let seconds = |ms: i64| (ms - begin_ms) / 1000;
    let mut alerts = BTreeSet::new();
    for key in keys {
        let of_key: Vec<(i64, bool)> = reports
            .iter()
            .filter(|((_, of), _)| of == key)
            .map(|((start, _), told)| (seconds(*start), holds(told)))
            .collect();
        for spell in of_key.chunk_by(|a, b| a.1 == b.1) {
            if spell[0].1 && spell.len() >= for_windows {
                let last = spell[spell.len() - 1].0;
                let end = of_key.iter().map(|(start, _)| *start).find(|start| *start > last);
                alerts.insert((name.to_owned(), key.clone(), spell[0].0, end));
            }
        }
    }
    alerts
}

#[test]
fn the_monitor_of_patients_stores_their_reports_and_alerts() {
    let mut database = Database::new();
    let queue = Queue::anew("vitals");
    let place = Place::new();
    // Rows are a matter of the seed: what goes to the queue comes to a file too.
    let millstream = executable(
        &place,
        "millstream",
        format!(
            "#!/usr/bin/env bash\nset -eu\nif [ \"$1\" = generate ]; then\n    [ \"${{@: -2:1}}\" = --to ]\n    \
             \"{real}\" \"${{@:1:$#-2}}\" --append -o \"{readings}\"\nfi\nexec \"{real}\" \"$@\"\n",
            real = env!("CARGO_BIN_EXE_millstream"),
            readings = place.path("readings.ndjson").display()
        ),
    );
    let address = |server: &Server| format!("millstream@127.0.0.1:{}", server.says("port"));
    let ran = script("patient_monitor", &millstream)
        .arg(address(&queue.server))
        .arg(format!("{}/{}", address(&database.server), database.name))
        .env("RABBITMQ_PASSWORD", queue.server.says("password"))
        .env("PGPASSWORD", database.server.says("password"))
        .output()
        .unwrap();
    let said = succeeded(&ran);
    assert!(said.contains("rows in 800 = aggregated 800 "), "{said}");
    assert_eq!(queue.waiting(), 0, "everything is acknowledged");

    let readings = of_lines(
        &std::fs::read_to_string(place.path("readings.ndjson")).unwrap(),
        "patient",
    );
    assert_eq!(readings.len(), 800);
    let expected = expected(&readings, 10_000, newest_ms(&readings) - 10_000);
    are_same(&database.reports(), &expected);

    let mean = |told: &Told, column: &str| told.columns[column].mean;
    let fevers = alerts("fever", &expected, 1, |told| mean(told, "temperature") >= 38.0);
    let fast = alerts("tachycardia", &expected, 2, |told| mean(told, "pulse") > 100.0);
    let expected: BTreeSet<Alert> = fevers.into_iter().chain(fast).collect();
    let known = [
        ("fever", "3", 20, Some(60)),
        ("fever", "6", 40, None),
        ("tachycardia", "5", 30, Some(70)),
        ("tachycardia", "6", 40, None),
    ];
    let known = known.map(|(name, key, start, end)| (name.into(), key.into(), start, end));
    assert_eq!(
        expected,
        BTreeSet::from(known),
        "the readings are not those that the script speaks of"
    );
    let sql = "SELECT name, key::json ->> 'patient',
                      extract(epoch FROM started - timestamptz '2026-01-01T00:00:00Z')::bigint,
                      extract(epoch FROM ended - timestamptz '2026-01-01T00:00:00Z')::bigint FROM alerts";
    let stored = database.client.query(sql, &[]).unwrap();
    let stored: Vec<Alert> = stored
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3)))
        .collect();
    assert_eq!(stored.len(), expected.len());
    assert_eq!(stored.into_iter().collect::<BTreeSet<_>>(), expected);
}

/// The reports in a SQLite database whose key is this one.
fn stored(path: &std::path::Path, key: &str) -> Reports {
    let connection = rusqlite::Connection::open(path).unwrap();
    let mut reports = Reports::new();
    let which = |row: &rusqlite::Row<'_>| -> rusqlite::Result<(i64, String)> {
        let start: jiff::Timestamp = row.get::<_, String>(0)?.parse().unwrap();
        Ok((start.as_millisecond(), row.get(1)?))
    };
    let sql = format!("SELECT window_start, key ->> '{key}', rows FROM windows WHERE part = 0 AND final = 1");
    let mut statement = connection.prepare(&sql).unwrap();
    let windows = statement.query_map([], |row| Ok((which(row)?, row.get::<_, i64>(2)?)));
    for (which, rows) in windows.unwrap().map(Result::unwrap) {
        let told = Told {
            rows: rows as u64,
            ..Told::default()
        };
        assert!(reports.insert(which, told).is_none());
    }
    let sql =
        format!("SELECT window_start, key ->> '{key}', column_name, count, mean, min, max FROM column_statistics");
    let mut statement = connection.prepare(&sql).unwrap();
    let columns = statement.query_map([], |row| {
        let numbers = Numbers {
            count: row.get::<_, i64>(3)? as u64,
            mean: row.get(4)?,
            min: row.get(5)?,
            max: row.get(6)?,
        };
        Ok((which(row)?, row.get::<_, String>(2)?, numbers))
    });
    for (which, name, numbers) in columns.unwrap().map(Result::unwrap) {
        let told = reports.get_mut(&which).unwrap();
        assert!(told.columns.insert(name, numbers).is_none());
    }
    reports
}

#[test]
fn the_weather_stations_come_to_a_database_and_a_page() {
    const STATIONS: [&str; 3] = ["harbour", "hill", "park"];
    let server = Server::named("mqtt");
    let place = Place::new();
    // What is published is kept, by its topic.
    executable(
        &place,
        "mosquitto_pub",
        format!(
            "#!/usr/bin/env bash\nset -eu\ntopic=${{@: -1}}\nPATH=${{PATH#*:}}\ntee -a \"{}/${{topic//\\//.}}\" | \
             mosquitto_pub \"$@\"\n",
            place.path("").display()
        ),
    );
    let path = std::env::var("PATH").unwrap();
    let ran = script("weather_station", env!("CARGO_BIN_EXE_millstream").as_ref())
        .arg(format!("127.0.0.1:{}", server.says("port")))
        .arg(place.path(""))
        .env("MQTT_PASSWORD", server.says("password"))
        .env("PATH", format!("{}:{path}", place.path("").display()))
        .output()
        .unwrap();
    let said = succeeded(&ran);
    assert!(said.contains("rows in 4320 = aggregated 4320 "), "{said}");

    let mut readings: Vec<Reading> = Vec::new();
    for station in STATIONS {
        let text = std::fs::read_to_string(place.path(&format!("weather.{station}.readings"))).unwrap();
        let of_station = of_lines(&text, "").into_iter();
        readings.extend(of_station.map(|reading| Reading {
            key: station.into(),
            ..reading
        }));
    }
    assert_eq!(readings.len(), 4320);
    let expected = expected(&readings, 3_600_000, i64::MAX);
    assert_eq!(expected.len(), 3 * 24);
    are_same(&stored(&place.path("stations.db"), "station"), &expected);

    let page = std::fs::read_to_string(place.path("stations.html")).unwrap();
    for word in STATIONS.into_iter().chain(["temperature", "humidity", "wind", "<svg"]) {
        assert!(page.contains(word), "{word}");
    }
    for hour in 0..24 {
        let begin = format!("2026-01-01T{hour:02}:00:00Z");
        assert!(page.contains(&begin), "{begin}");
    }
}
