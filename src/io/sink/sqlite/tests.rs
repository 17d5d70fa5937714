//! The tables are read with queries of their own, and every way in which a database can be wrong is tried.

use super::*;
use crate::report::{Named, example};
use crate::spec::Spec;
use crate::summary::{Moments, Summary};
use std::time::Duration;

fn feed(window: Duration) -> Feed {
    Feed {
        name: "main".into(),
        spec: Spec::new().by(["station"]).window(Window::tumbling(window)),
        ewm: false,
    }
}

fn minutes() -> Feed {
    feed(Duration::from_secs(600))
}

fn reports() -> Vec<Emission> {
    let groups = example::keyed_windows().groups.into_iter();
    groups
        .map(|group| {
            let moments = Moments {
                missing: group.rows,
                ..Moments::default()
            };
            let summary = Summary {
                rows: group.rows,
                columns: vec![moments],
                ..Summary::default()
            };
            Emission::new("main".into(), group, summary)
        })
        .collect()
}

fn opened(path: &Path, feed: Feed) -> Result<SqliteSink> {
    SqliteSink::open("sqlite".into(), path, &[feed], None)
}

fn query<T: rusqlite::types::FromSql>(path: &Path, sql: &str) -> Vec<T> {
    let connection = Connection::open(path).unwrap();
    let mut statement = connection.prepare(sql).unwrap();
    statement
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(|x| x.unwrap())
        .collect()
}

#[test]
fn the_tables_have_the_documented_columns() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("stats.db");
    drop(opened(&path, minutes()).unwrap());
    for (table, columns) in [
        (
            "windows",
            "feed window_start window_end key part rows revision final summary",
        ),
        (
            "column_statistics",
            "feed window_start window_end key part column_name count missing sum mean variance std skewness kurtosis \
             min max quantiles ewm_mean ewm_variance",
        ),
        (
            "matrices",
            "feed window_start window_end key part kind column_a column_b value",
        ),
        ("alerts", "feed name key started ended value"),
    ] {
        let names: Vec<String> = query(&path, &format!("SELECT name FROM pragma_table_info('{table}')"));
        assert_eq!(names.join(" "), columns, "{table}");
    }
    assert_eq!(query::<String>(&path, "PRAGMA journal_mode"), ["wal"]);
}

#[test]
fn reports_stand_in_the_tables_and_read_back() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("stats.db");
    let mut sink = Box::new(opened(&path, minutes()).unwrap());
    let mut reports = reports();
    let single = example::single().groups.remove(0);
    reports[0].group.covariance = single.covariance;
    reports[0].group.columns.values_mut()[0].quantiles = Some(Named::from_iter([("0.5".to_owned(), Some(11.5))]));
    reports[1].group.columns.values_mut()[0].variance = Some(f64::NAN);
    reports[1].group.columns.values_mut()[0].max = Some(f64::INFINITY);
    sink.write(&reports).unwrap();
    sink.finish().unwrap();
    let first = "window_start = '2015-01-01T00:00:00Z' AND window_end = '2015-01-01T00:10:00Z' AND part = 0";
    let a = format!("feed = 'main' AND key = '{{\"station\":\"a\"}}' AND {first}");
    assert_eq!(
        query::<f64>(&path, &format!("SELECT mean FROM column_statistics WHERE {a}")),
        [0.1]
    );
    assert_eq!(
        query::<String>(
            &path,
            &format!("SELECT quantiles ->> '0.5' || column_name FROM column_statistics WHERE {a}")
        ),
        ["11.5temp"]
    );
    let blob = query::<Vec<u8>>(&path, &format!("SELECT summary FROM windows WHERE {a} AND final = 1"));
    assert_eq!(blob, [reports[0].summary.to_bytes()]);
    let b = a.replace("\"a\"", "\"b\"");
    let odd = "SELECT (variance IS NULL) + 10 * (max > 1e308) FROM column_statistics";
    assert_eq!(query::<i64>(&path, &format!("{odd} WHERE {b}")), [11]);
    let pair = "SELECT value FROM matrices WHERE kind = 'covariance' AND column_a = 'wind' AND column_b = 'temp'";
    assert_eq!(query::<f64>(&path, pair), [0.5]);
    assert_eq!(query::<i64>(&path, "SELECT count(*) FROM matrices"), [4]);

    let database = Database::open(&path).unwrap();
    let feeds = database.feeds().unwrap();
    assert_eq!(
        (feeds.len(), &feeds[0].columns, &feeds[0].spec),
        (1, &vec!["temp".to_owned()], &minutes().spec)
    );
    let windows = database.windows(&feeds[0]).unwrap();
    let read: Vec<_> = windows
        .iter()
        .map(|w| (w.window, w.key.as_str(), w.part, w.is_final))
        .collect();
    let keys = [r#"{"station":"a"}"#, r#"{"station":"b"}"#];
    let expected: Vec<_> = reports
        .iter()
        .enumerate()
        .map(|(i, r)| (r.group.window, keys[i % 2], 0, true))
        .collect();
    assert_eq!(read, expected);
    assert_eq!(database.summary(&windows[3]).unwrap(), reports[3].summary);
}

#[test]
fn a_part_of_a_key_that_is_given_up_takes_the_place_of_what_was_preliminary() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("stats.db");
    let mut report = reports().remove(0);
    report.group.covariance = example::single().groups.remove(0).covariance;
    let mut sink = Box::new(opened(&path, minutes()).unwrap());
    let mut write = |rows: u64, part: u64, is_final: bool| {
        (report.group.rows, report.part, report.is_final) = (rows, part, is_final);
        sink.write(std::slice::from_ref(&report)).unwrap();
    };
    write(10, 0, false);
    write(12, 7, true);
    // The key has come back.
    write(3, 0, false);
    write(5, 8, true);
    write(4, 0, true);
    sink.finish().unwrap();
    assert_eq!(
        query::<i64>(
            &path,
            "SELECT part * 1000 + rows * 10 + final FROM windows ORDER BY part"
        ),
        [41, 7121, 8051]
    );
    for table in ["column_statistics", "matrices"] {
        let parts = format!("SELECT DISTINCT part FROM {table} ORDER BY part");
        assert_eq!(query::<i64>(&path, &parts), [0, 7, 8]);
    }
}

#[test]
fn a_later_revision_replaces_the_rows_of_the_window() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("stats.db");
    let single = example::single().groups.remove(0);
    let mut report = reports().remove(0);
    report.is_final = false;
    report.group.covariance = single.covariance.clone();
    for revision in 0..3 {
        // A sink that was opened again replaces too.
        let mut sink = Box::new(opened(&path, minutes()).unwrap());
        report.revision = revision;
        report.group.rows = 10 * revision;
        report.group.columns.values_mut()[0].mean = Some(revision as f64);
        if let Some(matrix) = report.group.covariance.as_mut().filter(|_| revision == 2) {
            matrix.columns.truncate(1);
            matrix.matrix = vec![vec![Some(7.0)]];
            report.is_final = true;
        }
        sink.write(std::slice::from_ref(&report)).unwrap();
        sink.finish().unwrap();
    }
    assert_eq!(
        query::<i64>(&path, "SELECT rows * 100 + revision * 10 + final FROM windows"),
        [2021]
    );
    assert_eq!(query::<f64>(&path, "SELECT mean FROM column_statistics"), [2.0]);
    assert_eq!(query::<f64>(&path, "SELECT value FROM matrices"), [7.0]);
}

#[test]
fn readers_see_flushes_only() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("stats.db");
    let count = || query::<i64>(&path, "SELECT count(*) FROM windows")[0];
    let mut sink = opened(&path, minutes()).unwrap();
    sink.write(&reports()[..2]).unwrap();
    assert_eq!(count(), 0);
    sink.flush().unwrap();
    assert_eq!(count(), 2);
    sink.write(&reports()[2..4]).unwrap();
    sink.checkpoint().unwrap();
    assert_eq!(count(), 4);
    sink.write(&reports()[4..]).unwrap();
    drop(sink);
    assert_eq!(count(), 4, "what was not flushed is not there");
}

#[test]
fn alerts_begin_and_end() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("stats.db");
    let mut sink = opened(&path, minutes()).unwrap();
    let window = |k: i64| Some(WindowBounds::of(Window::tumbling(Duration::from_secs(600)), k));
    let mut alert = Alert {
        feed: "main".into(),
        alert: "fever".into(),
        key: None,
        started: window(0),
        ended: None,
        value: Some(39.0),
    };
    let rows = |path: &Path| {
        let sql = "SELECT name || key || started || coalesce(ended, '-') || value FROM alerts ORDER BY started";
        query::<String>(path, sql)
    };
    sink.alert(&alert).unwrap();
    sink.flush().unwrap();
    assert_eq!(rows(&path), ["fever1970-01-01T00:00:00Z-39.0"]);
    alert.ended = window(2);
    alert.value = Some(37.0);
    // After a crash both come again.
    for _ in 0..2 {
        sink.alert(&alert).unwrap();
        sink.flush().unwrap();
        assert_eq!(rows(&path), ["fever1970-01-01T00:00:00Z1970-01-01T00:20:00Z39.0"]);
    }
    alert.started = window(6);
    alert.ended = None;
    sink.alert(&alert).unwrap();
    sink.flush().unwrap();
    assert_eq!(rows(&path).len(), 2);
}

#[test]
fn text_and_time_have_one_order() {
    let place = tempfile::tempdir().unwrap();
    for (window, digits) in [(1_000_000_000, 0), (250_000_000, 3), (1_000, 6), (7, 9)] {
        let path = place.path().join(format!("{digits}.db"));
        let spec = Window::tumbling(Duration::from_nanos(window));
        let mut sink = opened(&path, feed(Duration::from_nanos(window))).unwrap();
        let template = reports().remove(0);
        let ks: Vec<i64> = (-5..5).chain([4_000_000]).collect();
        for k in &ks {
            let mut report = template.clone();
            report.group.window = Some(WindowBounds::of(spec, *k));
            sink.write(&[report]).unwrap();
        }
        sink.flush().unwrap();
        let starts: Vec<String> = query(&path, "SELECT window_start FROM windows ORDER BY window_start");
        let back: Vec<i128> = starts
            .iter()
            .map(|s| s.parse::<jiff::Timestamp>().unwrap().as_nanosecond())
            .collect();
        let expected: Vec<i128> = ks.iter().map(|k| i128::from(*k) * i128::from(window)).collect();
        assert_eq!(back, expected, "{starts:?}");
        let longest = "1970-01-01T00:00:00Z".len() + if digits > 0 { digits + 1 } else { 0 };
        assert!(starts.iter().all(|s| s.len() == longest), "{starts:?}");
    }
}

/// The error of a sink that cannot be opened, with its exit status.
fn refused(path: &Path, feed: Feed) -> (u8, String) {
    let error = opened(path, feed).unwrap_err();
    (error.exit_code(), error.to_string())
}

#[test]
fn what_is_no_database_of_ours_is_left_alone() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("stats.db");
    std::fs::write(&path, "temperature\n1\n").unwrap();
    let (status, text) = refused(&path, minutes());
    assert!(
        status == 78 && text.contains("stats.db is no SQLite database"),
        "{text}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), b"temperature\n1\n");
    assert_eq!(refused(place.path(), minutes()).0, 74);
    let (status, text) = refused(&place.path().join("no/stats.db"), minutes());
    assert!(status == 74 && text.contains("there is no directory"), "{text}");

    let path = place.path().join("other.db");
    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE windows (glass TEXT)").unwrap();
    drop(other);
    let (status, text) = refused(&path, minutes());
    assert!(
        status == 78 && text.contains("other.db") && text.contains("something else"),
        "{text}"
    );

    let path = place.path().join("newer.db");
    drop(opened(&path, minutes()).unwrap());
    Connection::open(&path)
        .unwrap()
        .execute_batch("PRAGMA user_version = 2")
        .unwrap();
    let (status, text) = refused(&path, minutes());
    assert!(status == 78 && text.contains("newer version"), "{text}");
    assert_eq!(Database::open(&path).unwrap_err().exit_code(), 78);
    assert_eq!(
        Database::open(&place.path().join("absent.db")).unwrap_err().exit_code(),
        66
    );
}

#[test]
fn a_feed_does_not_change_under_its_name() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("stats.db");
    let mut sink = opened(&path, minutes()).unwrap();
    sink.write(&reports()[..2]).unwrap();
    let mut other = reports().remove(2);
    example::rename(&mut other.group.columns, 0, "wind");
    let error = sink.write(std::slice::from_ref(&other)).unwrap_err();
    assert!(
        error.exit_code() == 78 && error.to_string().contains("temp; now wind"),
        "{error}"
    );
    sink.write(&reports()).unwrap();
    sink.flush().unwrap();
    let (status, text) = refused(&path, feed(Duration::from_secs(60)));
    assert!(
        status == 78 && text.contains("`main`") && text.contains("window"),
        "{text}"
    );
    let mut more = minutes();
    more.spec = more.spec.ddof(0).by(["station"]);
    drop(opened(&path, more).unwrap());
    let mut renamed = minutes();
    renamed.name = "other".into();
    renamed.spec = renamed.spec.covariance();
    drop(opened(&path, renamed).unwrap());
}

#[test]
fn a_lock_that_stays_is_an_error_and_nothing_is_lost() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("stats.db");
    let mut sink = opened(&path, minutes()).unwrap();
    sink.connection.busy_timeout(Duration::from_millis(10)).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = sink.write(&reports()).unwrap_err();
    assert!(
        error.exit_code() == 74 && error.to_string().contains("locked"),
        "{error}"
    );
    other.execute_batch("COMMIT").unwrap();
    sink.write(&reports()).unwrap();
    sink.flush().unwrap();
    assert_eq!(query::<i64>(&path, "SELECT count(*) FROM windows"), [6]);
}

#[test]
fn a_damaged_database_says_so() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("stats.db");
    let mut sink = Box::new(opened(&path, minutes()).unwrap());
    sink.write(&reports()).unwrap();
    sink.finish().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100..].fill(0xA5);
    std::fs::write(&path, &bytes).unwrap();
    let (status, text) = refused(&path, minutes());
    assert!(
        status == 65 && text.contains("damaged") && text.contains("stats.db"),
        "{text}"
    );
}

#[test]
fn a_database_without_room_says_so_and_takes_everything_later() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("stats.db");
    let mut sink = opened(&path, minutes()).unwrap();
    let pages: i64 = sink
        .connection
        .query_row("PRAGMA page_count", [], |row| row.get(0))
        .unwrap();
    let limit = |sink: &SqliteSink, pages: i64| {
        let sql = format!("PRAGMA max_page_count = {pages}");
        sink.connection.query_row(&sql, [], |_| Ok(())).unwrap();
    };
    limit(&sink, pages);
    let reports = reports();
    let many: Vec<Emission> = (0..200)
        .map(|part| Emission {
            part,
            ..reports[0].clone()
        })
        .collect();
    let error = sink.write(&many).unwrap_err();
    assert!(
        error.exit_code() == 74 && error.to_string().contains("no room"),
        "{error}"
    );
    limit(&sink, 1 << 20);
    sink.write(&many).unwrap();
    sink.flush().unwrap();
    assert_eq!(query::<i64>(&path, "SELECT count(*) FROM windows"), [200]);
    assert_eq!(query::<String>(&path, "SELECT columns FROM feeds"), ["[\"temp\"]"]);

    // What an earlier call wrote is there in the end, or the sink never says again that all is well.
    let later = |first: u64, n: u64| -> Vec<Emission> {
        let template = &reports[1];
        let part = |part| Emission {
            part,
            ..template.clone()
        };
        (first..first + n).map(part).collect()
    };
    sink.write(&later(0, 1)).unwrap();
    let pages: i64 = sink
        .connection
        .query_row("PRAGMA page_count", [], |row| row.get(0))
        .unwrap();
    limit(&sink, pages);
    assert_eq!(sink.write(&later(1, 1000)).unwrap_err().exit_code(), 74);
    limit(&sink, 1 << 20);
    let flushed = sink
        .flush()
        .and_then(|()| sink.write(&later(1, 1000)))
        .and_then(|()| sink.checkpoint().map(drop));
    let rows = query::<i64>(&path, "SELECT count(*) FROM windows")[0];
    match flushed {
        Ok(()) => assert_eq!(rows, 1201),
        Err(error) => {
            assert!(error.to_string().contains("from the checkpoint"), "{error}");
            assert!(sink.write(&later(1, 1)).is_err() && sink.checkpoint().is_err());
            assert_eq!(rows, 200);
        }
    }
}

/// After a crash other parts may come than before it: what was written behind the checkpoint goes, with all beside it.
#[test]
fn what_stands_behind_the_checkpoint_is_taken_out() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("stats.db");
    let mut sink = opened(&path, minutes()).unwrap();
    let reports = reports();
    sink.write(&reports).unwrap();
    let state = sink.checkpoint().unwrap();
    let part = |part| reports.iter().map(move |report| Emission { part, ..report.clone() });
    sink.write(&part(3).collect::<Vec<_>>()).unwrap();
    sink.flush().unwrap();
    drop(sink);
    let count = |sql: &str| query::<i64>(&path, sql)[0];
    let windows = "SELECT count(*) FROM windows";
    let columns = "SELECT count(*) FROM column_statistics WHERE part = 3";
    assert_eq!(count(windows), 2 * reports.len() as i64);
    assert!(count(columns) > 0);
    // A run without a checkpoint takes out nothing.
    drop(opened(&path, minutes()).unwrap());
    assert_eq!(count(windows), 2 * reports.len() as i64);
    drop(SqliteSink::open("sqlite".into(), &path, &[minutes()], Some(&state)).unwrap());
    assert_eq!((count(windows), count(columns)), (reports.len() as i64, 0));
    assert_eq!(count("SELECT max(part) FROM windows"), 0);
}
