//! What rows go through in `millstream run`: filters and definitions, lateness, reports of windows that are still open, and
//! digits. Expectations are counted out here from the text that was sent.

use crate::command::Place;
use crate::feed_support::wait_for;
use crate::oracle;
use crate::random::Random;
use crate::runs::{PAGES, ROWS, Running, generate, is_right, wait_for_rows};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::TcpStream;

/// 2026-01-01T00:00:00Z in milliseconds since 1970: where generated feeds begin.
const START_MS: i64 = 1_767_225_600_000;

/// The lines of a generated csv: its header, and each row with its line end.
pub(crate) fn lines(text: &str) -> (&str, Vec<&str>) {
    let (header, rows) = text.split_once('\n').unwrap();
    (header, rows.split_inclusive('\n').collect())
}

/// A row of such a line: time in milliseconds, key, values.
fn parsed(line: &str) -> (i64, i64, Vec<f64>) {
    let mut fields = line.trim_end().split(',');
    let time = fields.next().unwrap().parse().unwrap();
    let key = fields.next().unwrap().parse().unwrap();
    (time, key, fields.map(|field| field.parse().unwrap()).collect())
}

/// A time of the first minute after the start, or of the last before it, as reports show it.
fn shown(ms: i64) -> String {
    let (day, ms) = match ms - START_MS {
        ms @ 0.. => ("2026-01-01T00:00", ms),
        ms => ("2025-12-31T23:59", ms + 60_000),
    };
    assert!((0..60_000).contains(&ms));
    let (seconds, ms) = (ms / 1000, ms % 1000);
    let fraction = format!(".{ms:03}");
    let fraction = if ms == 0 { "" } else { fraction.trim_end_matches('0') };
    format!("{day}:{seconds:02}{fraction}Z")
}

pub(crate) fn reports(place: &Place, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(place.path(name)).unwrap();
    // A line that is being written is none yet.
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The statistics of a column are those of these values: counts, sums and extremes exactly, moments to twelve digits.
#[track_caller]
fn are_those_of(column: &Value, values: &[f64]) {
    let exact = oracle::moments(values).unwrap();
    assert_eq!(column["count"], values.len() as u64);
    let number = |name: &str| column[name].as_f64().unwrap();
    let near = |name: &str, exact: &oracle::Rational| {
        let error = oracle::relative_error(number(name), exact);
        assert!(
            error <= 1e-12,
            "{name} {} of {} values: {error:e}",
            number(name),
            values.len()
        );
    };
    assert_eq!(oracle::rational(number("min")), exact.min);
    assert_eq!(oracle::rational(number("max")), exact.max);
    near("sum", &exact.sum);
    near("mean", &exact.mean);
    match exact.variance(1) {
        Some(variance) => {
            near("variance", &variance);
            near("std", &exact.std(1).unwrap());
        }
        None => assert!(column["variance"].is_null() && column["std"].is_null(), "{column}"),
    }
}

/// Rows behind the watermark go to a file, and no other does; what is reported lacks exactly those.
#[test]
fn late_rows_go_to_a_file_of_their_own() {
    let place = Place::new();
    let less = ["--lateness", "100ms"];
    let mut args = vec![
        "generate",
        "--rows",
        "20000",
        "--columns",
        "3",
        "--keys",
        "7",
        "--seed",
        "5",
        "--step",
        "1ms",
    ];
    args.extend([
        "--disorder",
        "400ms",
        "--window",
        "1s",
        "--expect",
        "expected.ndjson",
        "-o",
        "feed.csv",
    ]);
    args.extend(less);
    assert_eq!(place.run(&args).status, 0);
    let rows = ROWS.replace(
        "lateness = \"500ms\"",
        "lateness = \"100ms\"\nlate = \"side\"\nlate_path = \"late.ndjson\"",
    );
    let config = format!(
        "[feed]\ntype = \"file\"\npath = \"feed.csv\"\n{rows}[[sink]]\ntype = \"file\"\npath = \"out.ndjson\"\n"
    );
    place.write("run.toml", config);
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    is_right(&place, "out.ndjson");

    let text = std::fs::read_to_string(place.path("feed.csv")).unwrap();
    let (mut newest, mut expected) = (i64::MIN, Vec::new());
    for line in lines(&text).1 {
        let (time, key, values) = parsed(line);
        let end = (time.div_euclid(1000) + 1) * 1000;
        if newest != i64::MIN && end <= newest - 100 {
            expected.push((shown(time), key, values));
        } else {
            newest = newest.max(time);
        }
    }
    let found: Vec<_> = reports(&place, "late.ndjson")
        .iter()
        .map(|row| {
            assert_eq!(row["feed"], "main");
            let values = ["c0", "c1", "c2"].map(|name| row[name].as_f64().unwrap());
            let key = row["key"].as_i64().unwrap();
            (row["event_time"].as_str().unwrap().to_owned(), key, values.to_vec())
        })
        .collect();
    assert!(expected.len() > 100);
    assert_eq!(found, expected);
    let (aggregated, late) = (20_000 - expected.len(), expected.len());
    let said = format!("rows in 20000 = aggregated {aggregated} + filtered 0 + late {late} + ");
    assert!(ran.stderr.contains(&said), "{}", ran.stderr);
}

/// While a window is open its reports are of the rows so far, with rising revisions; the last is final.
#[test]
fn open_windows_are_reported_as_they_grow() {
    let place = Place::new();
    generate(&place, "5000", &["--format", "csv", "-o", "feed.csv"]);
    let rows = ROWS.replace("lateness", "emit = \"update\"\nemit_interval = \"5ms\"\nlateness");
    let config = format!(
        "[feed]\ntype = \"tcp\"\nlisten = \"127.0.0.1:0\"\nformat = \"csv\"\n{rows}{PAGES}\
         [[sink]]\ntype = \"file\"\npath = \"out.ndjson\"\n[[sink]]\ntype = \"sqlite\"\npath = \"out.db\"\n"
    );
    place.write("run.toml", config);
    let mut running = Running::start(&place, &["run", "run.toml"]);
    let pages = running.pages();
    let address = running.address("listens on tcp");
    let text = std::fs::read_to_string(place.path("feed.csv")).unwrap();
    let (header, all) = lines(&text);
    let mut sender = TcpStream::connect(address).unwrap();
    writeln!(sender, "{header}").unwrap();
    // By window and key, the values of each column in their order.
    let mut cells: BTreeMap<(String, i64), Vec<Vec<f64>>> = BTreeMap::new();
    for piece in all.chunks(500) {
        sender.write_all(piece.concat().as_bytes()).unwrap();
        for line in piece {
            let (time, key, values) = parsed(line);
            let cell = cells.entry((shown(time.div_euclid(1000) * 1000), key)).or_default();
            cell.push(values);
        }
        wait_for_rows(pages, cells.values().map(|rows| rows.len() as u64).sum());
        let before = reports(&place, "out.ndjson").len();
        let newest = cells.keys().next_back().unwrap().clone();
        let so_far = cells[&newest].len() as u64;
        wait_for("a report of all rows so far", || {
            reports(&place, "out.ndjson").iter().skip(before).any(|report| {
                let of = (
                    report["window"]["start"].as_str().unwrap(),
                    report["key"]["key"].as_i64().unwrap(),
                );
                of == (newest.0.as_str(), newest.1) && report["rows"] == so_far && report["final"] == false
            })
        });
    }
    running.signal("-TERM");
    let (status, said) = running.end();
    assert_eq!(status, 0, "{said}");
    is_right(&place, "out.ndjson");
    let mut seen: BTreeMap<(String, i64), (i64, i64, bool)> = BTreeMap::new();
    let (mut updates, mut checked) = (0, BTreeSet::new());
    for report in reports(&place, "out.ndjson") {
        let window = report["window"]["start"].as_str().unwrap().to_owned();
        let of = (window, report["key"]["key"].as_i64().unwrap());
        let (rows, revision) = (report["rows"].as_i64().unwrap(), report["revision"].as_i64().unwrap());
        let is_final = report["final"].as_bool().unwrap();
        match seen.insert(of.clone(), (rows, revision, is_final)) {
            None => assert_eq!(revision, 0),
            Some((rows_before, before, was_final)) => {
                assert!(!was_final && revision == before + 1 && rows >= rows_before, "{report}");
            }
        }
        updates += u64::from(!is_final);
        if checked.insert((of.clone(), rows)) {
            let so_far = &cells[&of][..rows as usize];
            for (i, name) in ["c0", "c1", "c2"].iter().enumerate() {
                let values: Vec<f64> = so_far.iter().map(|values| values[i]).collect();
                are_those_of(&report["columns"][name], &values);
            }
        }
    }
    assert!(updates > 50, "{updates}");
    assert!(seen.keys().eq(cells.keys()));
    assert!(seen.values().all(|(_, _, is_final)| *is_final));
    // In the database a window stands once, as it was in the end.
    let database = rusqlite::Connection::open(place.path("out.db")).unwrap();
    let mut query = database
        .prepare("SELECT window_start, key, rows, revision, final FROM windows")
        .unwrap();
    let stored = query.query_map([], |row| {
        let key: Value = serde_json::from_str(&row.get::<_, String>(1)?).unwrap();
        let of = (row.get::<_, String>(0)?, key["key"].as_i64().unwrap());
        Ok((of, (row.get(2)?, row.get(3)?, row.get(4)?)))
    });
    let stored: BTreeMap<(String, i64), (i64, i64, bool)> = stored.unwrap().map(Result::unwrap).collect();
    assert_eq!(stored, seen);
}

/// A filter and derived columns, against the same arithmetic here.
#[test]
fn rows_are_filtered_and_columns_derived() {
    let place = Place::new();
    generate(&place, "12000", &["--format", "csv", "-o", "feed.csv"]);
    let rows = ROWS.replace(
        "columns = [\"c0\", \"c1\", \"c2\"]",
        "columns = [\"c0\", \"spread\"]\nwhere = \"c2 > 19.5 and key <> 3\"\ndefine = { spread = \"2 * c0 - c1\" }",
    );
    let config = format!(
        "[feed]\ntype = \"file\"\npath = \"feed.csv\"\n{rows}[engine]\nbatch_rows = 700\n\
         [[sink]]\ntype = \"file\"\npath = \"out.ndjson\"\n"
    );
    place.write("run.toml", config);
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let text = std::fs::read_to_string(place.path("feed.csv")).unwrap();
    let mut cells: BTreeMap<(String, i64), [Vec<f64>; 2]> = BTreeMap::new();
    let mut kept = 0;
    for line in lines(&text).1 {
        let (time, key, values) = parsed(line);
        if values[2] > 19.5 && key != 3 {
            kept += 1;
            let cell = cells.entry((shown(time.div_euclid(1000) * 1000), key)).or_default();
            cell[0].push(values[0]);
            // Exact: the values are multiples of 2^-10.
            cell[1].push(2.0 * values[0] - values[1]);
        }
    }
    let said = format!(
        "rows in 12000 = aggregated {kept} + filtered {} + late 0 + ",
        12_000 - kept
    );
    assert!(ran.stderr.contains(&said), "{said} in {}", ran.stderr);
    let found = reports(&place, "out.ndjson");
    assert_eq!(found.len(), cells.len());
    for report in found {
        let window = report["window"]["start"].as_str().unwrap().to_owned();
        let [c0, spread] = cells.remove(&(window, report["key"]["key"].as_i64().unwrap())).unwrap();
        assert_eq!(report["columns"].as_object().unwrap().len(), 2);
        are_those_of(&report["columns"]["c0"], &c0);
        are_those_of(&report["columns"]["spread"], &spread);
    }
}

/// Values of a billion that differ in the ninth digit and beyond: twelve digits of every moment, in every format.
#[test]
fn twelve_digits_of_values_around_a_billion() {
    let mut random = Random::new(41);
    let rows: Vec<(i64, i64, [f64; 2])> = (0..20_000)
        .map(|i| {
            let near = |random: &mut Random| 1e9 + (2.0 * random.uniform() - 1.0);
            (
                START_MS + i,
                random.below(3) as i64,
                [near(&mut random), -near(&mut random)],
            )
        })
        .collect();
    let csv: String = rows
        .iter()
        .map(|(t, k, [a, b])| format!("{t},{k},{a:?},{b:?}\n"))
        .collect();
    let ndjson: String = rows
        .iter()
        .map(|(t, k, [a, b])| format!("{{\"ts\":{t},\"key\":{k},\"a\":{a:?},\"b\":{b:?}}}\n"))
        .collect();
    let mut binary = Vec::new();
    for rows in rows.chunks(777) {
        binary.extend((32 * rows.len() as u32).to_le_bytes());
        for (t, k, [a, b]) in rows {
            [*t as f64, *k as f64, *a, *b]
                .iter()
                .for_each(|x| binary.extend(x.to_le_bytes()));
        }
    }
    let names = "columns = [\"ts\", \"key\", \"a\", \"b\"]\n";
    let formats = [
        ("csv", format!("ts,key,a,b\n{csv}").into_bytes(), ""),
        ("ndjson", ndjson.into_bytes(), ""),
        ("binary", binary, names),
    ];
    for (format, bytes, names) in formats {
        for (keys, window) in [("[\"key\"]", "5s"), ("[]", "unbounded"), ("[\"key\"]", "1000 rows")] {
            let place = Place::new();
            place.write("feed", &bytes);
            let config = format!(
                "[feed]\ntype = \"file\"\npath = \"feed\"\nformat = \"{format}\"\n{names}[rows]\ntime = \"ts\"\nkey = {keys}\n\
                 columns = [\"a\", \"b\"]\n[window]\nsize = \"{window}\"\n[engine]\nbatch_rows = 997\n\
                 [[sink]]\ntype = \"file\"\npath = \"out.ndjson\"\n"
            );
            place.write("run.toml", config);
            let ran = place.run(&["run", "run.toml"]);
            assert_eq!(ran.status, 0, "{}", ran.stderr);
            let mut places: BTreeMap<(i64, i64), Vec<[f64; 2]>> = BTreeMap::new();
            let mut of_key: BTreeMap<i64, i64> = BTreeMap::new();
            for (time, key, values) in &rows {
                let key = if keys == "[]" { -1 } else { *key };
                let number = of_key.entry(key).or_default();
                let window = match window {
                    "5s" => time.div_euclid(5000) * 5000,
                    "unbounded" => 0,
                    _ => *number / 1000,
                };
                *number += 1;
                places.entry((window, key)).or_default().push(*values);
            }
            let mut expected: Vec<(i64, Vec<[f64; 2]>)> =
                places.into_iter().map(|((_, key), rows)| (key, rows)).collect();
            let found = reports(&place, "out.ndjson");
            assert_eq!(found.len(), expected.len(), "{format} {window}");
            for report in found {
                let key = report["key"]["key"].as_f64().map_or(-1, |key| key as i64);
                // The windows of a key come in their order.
                let at = expected.iter().position(|(of, _)| *of == key).unwrap();
                let (_, values) = expected.remove(at);
                for (i, name) in ["a", "b"].iter().enumerate() {
                    let values: Vec<f64> = values.iter().map(|values| values[i]).collect();
                    are_those_of(&report["columns"][name], &values);
                }
            }
        }
    }
}
