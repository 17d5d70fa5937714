//! Rows of a real PostgreSQL: right, and each once, whatever becomes of the run and of the server.

use super::{COUNT, DISTURBED, Database, client};
use crate::command::Place;
use crate::feed_support::wait_for;
use crate::runs::{PAGES, ROWS, Running, counted, generate, is_right, wait_for_rows};
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

const ALL: u64 = 100_000;
const FILE: &str = "[[sink]]\ntype = \"file\"\npath = \"out.ndjson\"\n[limits]\nquarantine = \"bad.ndjson\"\n";

/// A table of rows with exact expectations: a number for each, and one for some together.
fn table(place: &Place, database: &mut Database) {
    generate(
        place,
        COUNT,
        &["--format", "csv", "-o", "feed.csv", "--missing", "0.01"],
    );
    let make = "CREATE TABLE raw (id bigserial PRIMARY KEY, ts bigint, key int, c0 float8, c1 numeric, c2 float8)";
    database.client.batch_execute(make).unwrap();
    let text = std::fs::read(place.path("feed.csv")).unwrap();
    let copy = "COPY raw (ts, key, c0, c1, c2) FROM STDIN (FORMAT csv, HEADER)";
    let mut writer = database.client.copy_in(copy).unwrap();
    writer.write_all(&text).unwrap();
    writer.finish().unwrap();
    let more = "CREATE TABLE readings AS SELECT id, (id / 30000)::int AS hundreds, (id % 977)::smallint AS small,
                timestamptz 'epoch' + ts * interval '1 ms' AS ts, ts AS ms, key, c0, c1, c2 FROM raw ORDER BY id;
                CREATE INDEX ON readings (id)";
    database.client.batch_execute(more).unwrap();
}

fn feed(database: &Database, query: &str, column: &str) -> String {
    let password = database.server.path("password");
    format!(
        "[feed]\ntype = \"postgres\"\nurl = \"{}\"\npassword_file = \"{}\"\nquery = \"{query}\"\ncolumn = \"{column}\"\n\
         interval = \"20ms\"\n",
        database.url(),
        password.display()
    )
}

fn started(place: &Place) -> (Running, SocketAddr) {
    let mut running = Running::start(place, &["run", "run.toml"]);
    let pages = running.pages();
    (running, pages)
}

fn ends_well(running: Running) {
    running.signal("-TERM");
    let (status, said) = running.end();
    assert_eq!(status, 0, "{said}");
}

/// The windows that a signal left open in the state close at the end of an input without rows.
fn close_windows(place: &Place) {
    let config = std::fs::read_to_string(place.path("run.toml")).unwrap();
    let rows = config.find("[rows]").unwrap();
    let config = format!("[feed]\ntype = \"stdin\"\nformat = \"csv\"\n{}", &config[rows..]);
    place.write("close.toml", config);
    let ran = place.run(&["run", "close.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
}

/// Pages end within rows of one value, which are more than a page, or all behind one another.
#[test]
fn rows_of_a_query_are_right() {
    let (place, mut database) = (Place::new(), Database::new());
    table(&place, &mut database);
    let by_ms = "SELECT id, hundreds, ms AS ts, key, c0, c1, c2 FROM readings -- all of them";
    for (query, column) in [
        ("SELECT * FROM readings;", "id"),
        (by_ms, "id"),
        ("SELECT *, id / 7 AS seven FROM readings ORDER BY id", "seven"),
        ("SELECT * FROM readings", "hundreds"),
        // Some 100 rows of each, in an order of its own that no lateness mends: counted only.
        ("SELECT * FROM readings", "small"),
    ] {
        let _ = std::fs::remove_file(place.path("out.ndjson"));
        place.write(
            "run.toml",
            format!("{}{ROWS}{FILE}{PAGES}", feed(&database, query, column)),
        );
        let checked = place.run(&["validate", "run.toml"]);
        assert_eq!(checked.status, 0, "{}", checked.stderr);
        let (running, pages) = started(&place);
        wait_for_rows(pages, ALL);
        ends_well(running);
        if column == "id" || column == "seven" {
            is_right(&place, "out.ndjson");
        }
    }
}

#[test]
fn a_killed_run_goes_on_behind_its_last_row() {
    let (place, mut database) = (Place::new(), Database::new());
    table(&place, &mut database);
    let feed = feed(&database, "SELECT *, id / 7 AS seven FROM readings", "seven");
    place.write("run.toml", format!("{feed}{ROWS}{DISTURBED}{FILE}{PAGES}"));
    for millis in [5, 40, 90, 150, 250] {
        let (mut running, _) = started(&place);
        running.hear(Duration::from_millis(millis));
        running.kill();
    }
    let (running, pages) = started(&place);
    wait_for_rows(pages, ALL);
    ends_well(running);
    close_windows(&place);
    is_right(&place, "out.ndjson");
}

#[test]
fn a_server_that_crashes_is_asked_again() {
    let (place, mut database) = (Place::new(), Database::new());
    table(&place, &mut database);
    let half = "CREATE TABLE half AS SELECT * FROM readings WHERE id <= 50000";
    database.client.batch_execute(half).unwrap();
    let feed = feed(&database, "SELECT * FROM half", "id");
    place.write("run.toml", format!("{feed}{ROWS}{DISTURBED}{FILE}{PAGES}"));
    let (mut running, pages) = started(&place);
    wait_for("some rows", || counted(pages, "rows_in_total") > 0);
    database.server.kill();
    running.says("it is tried again");
    database.server.start();
    running.says("goes on");
    database.client = client(&database.server, &database.name);
    let rest = "INSERT INTO half SELECT * FROM readings WHERE id > 50000 ORDER BY id";
    database.client.batch_execute(rest).unwrap();
    wait_for_rows(pages, ALL);
    ends_well(running);
    close_windows(&place);
    is_right(&place, "out.ndjson");
}

/// Every type that a column may have, with what is missing in it, and the instant as the place.
#[test]
fn columns_come_as_they_are() {
    let (place, mut database) = (Place::new(), Database::new());
    let make = "CREATE TABLE t (at timestamp, \"a \"\"b\" text, i smallint, r real, n numeric, ok boolean);
                INSERT INTO t VALUES ('2024-01-01 00:00:00.5', 'x', 1, 0.5, 12345678901234567890.5, true),
                ('2024-01-01 00:00:01', 'x', NULL, 'NaN', NULL, false), ('2024-01-01 00:00:02', NULL, 3, 1, 1, NULL),
                (NULL, 'x', 1000, 1000, 1000, true), ('infinity', 'x', 1000, 1000, 1000, true)";
    database.client.batch_execute(make).unwrap();
    let rows = "[rows]\ntime = \"at\"\nkey = ['a \"b']\ncolumns = [\"i\", \"r\", \"n\", \"ok\"]\n";
    let feed = feed(&database, "SELECT * FROM t", "at");
    place.write("run.toml", format!("{feed}{rows}{FILE}{PAGES}"));
    let (running, pages) = started(&place);
    // The one without a place is not asked for, and the one at infinity has no time.
    wait_for_rows(pages, 4);
    ends_well(running);
    let reports = std::fs::read_to_string(place.path("out.ndjson")).unwrap();
    let mut numbers: Vec<String> = reports
        .lines()
        .map(|line| {
            let report: serde_json::Value = serde_json::from_str(line).unwrap();
            let columns = &report["columns"];
            let of = |name: &str| format!("{} {}", columns[name]["count"], columns[name]["sum"]);
            format!(
                "{} {} {} {} {}",
                report["key"]["a \"b"],
                of("i"),
                of("r"),
                of("n"),
                of("ok")
            )
        })
        .collect();
    numbers.sort();
    let expected = [
        "\"x\" 1 1.0 1 0.5 1 1.2345678901234567e+19 2 1.0",
        "null 1 3.0 1 1.0 1 1.0 0 0.0",
    ];
    assert_eq!(numbers, expected, "{reports}");
    assert_eq!(
        std::fs::read_to_string(place.path("bad.ndjson"))
            .unwrap()
            .lines()
            .count(),
        1
    );
}

#[test]
fn what_cannot_be_asked_is_said_before_a_row_is_taken() {
    let (place, mut database) = (Place::new(), Database::new());
    let make = "CREATE TABLE t (id bigint, ts bigint, key int, c0 float8, c1 float8, c2 float8, name text)";
    database.client.batch_execute(make).unwrap();
    place.write("wrong", "not the password\n");
    let good = feed(&database, "SELECT * FROM t", "id");
    let password = database.server.path("password").display().to_string();
    let (url, name) = (database.url(), database.name.clone());
    for (from, to, words) in [
        ("FROM t", "FROM nothing", "\"nothing\" does not exist"),
        ("SELECT *", "SELECT nothing", "\"nothing\" does not exist"),
        ("SELECT * FROM t", "SELECT FROM WHERE", "syntax error"),
        ("SELECT * FROM t", "SELECT id, ts, key, c0, c1 FROM t", "no column `c2`"),
        ("\"id\"", "\"number\"", "no column `number`"),
        ("\"id\"", "\"name\"", "is of type text"),
        (&password, "wrong", "does not let in `millstream` with this password"),
        (&name, "no_such_database", "no database `no_such_database`"),
        (&url, "postgresql://millstream@127.0.0.1:1/x", "refused"),
        (&url, "postgresql://u:secret@127.0.0.1/x", "password_file"),
        (&url, "postgresql://u@192.0.2.1/x", "insecure = true"),
    ] {
        place.write("run.toml", format!("{}{ROWS}{FILE}", good.replace(from, to)));
        for command in ["run", "validate"] {
            let ran = place.run(&[command, "run.toml"]);
            ran.fails(78, &[words]);
            assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
        }
    }
    // A query that writes is not let through.
    let writes = good.replace("SELECT * FROM t", "SELECT nextval('s') AS id, t.* FROM t");
    database
        .client
        .batch_execute("CREATE SEQUENCE s; INSERT INTO t VALUES (1, 1, 1, 1, 1, 1, 'x')")
        .unwrap();
    place.write(
        "run.toml",
        format!("{}{ROWS}{FILE}{PAGES}", writes.replace("t.*", "ts, key, c0, c1, c2")),
    );
    let (mut running, _) = started(&place);
    running.says("read-only");
    ends_well(running);
}

/// The column that says how far it is may be one of those that are read, of a type that is converted.
#[test]
fn the_place_is_a_column_like_others() {
    let (place, mut database) = (Place::new(), Database::new());
    let make = "CREATE TABLE t (id serial, x real); INSERT INTO t (x) VALUES (0.5), (1.5), (4)";
    database.client.batch_execute(make).unwrap();
    let feed = feed(&database, "SELECT * FROM t", "id");
    place.write("run.toml", format!("{feed}[window]\nsize = \"3 rows\"\n{FILE}{PAGES}"));
    let (running, pages) = started(&place);
    wait_for_rows(pages, 3);
    ends_well(running);
    let report = std::fs::read_to_string(place.path("out.ndjson")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let sums = ["id", "x"].map(|name| report["columns"][name]["sum"].as_f64());
    assert_eq!(sums, [Some(6.0), Some(6.0)], "{report}");
}
