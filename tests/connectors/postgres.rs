//! Reports in a real PostgreSQL: right, whole, and there once, whatever becomes of the run and of the server.

mod feed;
mod page;
mod refusals;

use crate::command::Place;
use crate::runs::{PAGES, ROWS, Running, generate, is_right, wait_for_rows};
use crate::server::Server;
use postgres::{Client, NoTls};
use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const COUNT: &str = "100000";

/// A database of its own, and a client of it.
pub(crate) struct Database {
    pub(crate) server: Server,
    pub(crate) name: String,
    pub(crate) client: Client,
}

impl Database {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let server = Server::named("postgres");
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{number}", std::process::id());
        let mut first = client(&server, "postgres");
        first.batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
        let client = client(&server, &name);
        Self { server, name, client }
    }

    fn url(&self) -> String {
        format!(
            "postgresql://millstream@127.0.0.1:{}/{}",
            self.server.says("port"),
            self.name
        )
    }

    /// The sink of a configuration.
    fn sink(&self) -> String {
        let password = self.server.path("password");
        format!(
            "[[sink]]\ntype = \"postgres\"\nurl = \"{}\"\npassword_file = \"{}\"\n",
            self.url(),
            password.display()
        )
    }

    /// Everything of these columns of a table, as text, in their order.
    fn rows(&mut self, columns: &str, table: &str) -> Vec<String> {
        let rows = self
            .client
            .query(&format!("SELECT ({columns})::text FROM {table}"), &[])
            .unwrap();
        let mut rows: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        rows.sort();
        rows
    }

    /// All tables but who wrote them.
    fn all(&mut self) -> Vec<Vec<String>> {
        vec![
            self.rows(
                "feed, window_start, window_end, key, part, rows, revision, final, summary",
                "windows",
            ),
            self.rows("t.*", "column_statistics t"),
            self.rows("t.*", "matrices t"),
            self.rows("t.*", "alerts t"),
        ]
    }
}

fn client(server: &Server, database: &str) -> Client {
    let mut config = postgres::Config::new();
    config.host("127.0.0.1").port(server.says("port").parse().unwrap());
    config
        .user("millstream")
        .password(server.says("password"))
        .dbname(database);
    config.connect(NoTls).unwrap()
}

const STATISTICS: &str =
    "[statistics]\ncovariance = true\nquantiles = [0.5]\n[[alert]]\nname = \"high\"\nwhen = \"c0.mean > 0\"\n";

/// A file that comes to a database, a SQLite database and lines.
fn configured(place: &Place, database: &Database, more: &str) {
    let config = format!(
        "feed = {{ type = \"file\", path = \"feed.csv\" }}\n{ROWS}{STATISTICS}{more}{}[[sink]]\ntype = \"sqlite\"\n\
         path = \"stats.db\"\n[[sink]]\ntype = \"file\"\npath = \"out.ndjson\"\n",
        database.sink()
    );
    place.write("run.toml", config);
}

/// The windows and statistics of the SQLite database, in the words of the other one.
fn of_sqlite(place: &Place) -> (Vec<String>, Vec<String>) {
    let connection = rusqlite::Connection::open(place.path("stats.db")).unwrap();
    let all = |sql: &str| -> Vec<String> {
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        let mut rows: Vec<String> = rows.map(Result::unwrap).collect();
        rows.sort();
        rows
    };
    let windows = all(
        "SELECT feed || '|' || window_start || '|' || window_end || '|' || key || '|' || part || '|' || rows
         || '|' || revision || '|' || final || '|' || lower(hex(summary)) FROM windows",
    );
    let columns = all(
        "SELECT feed || '|' || window_start || '|' || key || '|' || column_name || '|' || count || '|' || missing
         FROM column_statistics",
    );
    (windows, columns)
}

fn instant(column: &str) -> String {
    format!("to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")
}

/// A window in the words of `of_sqlite`.
fn windows_text() -> String {
    format!(
        "feed || '|' || {} || '|' || {} || '|' || key || '|' || part || '|' || rows || '|' || revision || '|' ||
         final::int || '|' || encode(summary, 'hex')",
        instant("window_start"),
        instant("window_end")
    )
}

/// A column's statistics in the words of `of_sqlite`.
fn columns_text() -> String {
    format!(
        "feed || '|' || {} || '|' || key || '|' || column_name || '|' || count || '|' || missing",
        instant("window_start")
    )
}

/// A feed of a file with exact expectations.
fn with_rows() -> Place {
    let place = Place::new();
    generate(
        &place,
        COUNT,
        &["--format", "csv", "-o", "feed.csv", "--missing", "0.01"],
    );
    place
}

#[test]
fn reports_are_those_of_the_lines_and_of_sqlite() {
    let (place, mut database) = (with_rows(), Database::new());
    configured(&place, &database, "");
    let checked = place.run(&["validate", "run.toml"]);
    assert_eq!(checked.status, 0, "{}", checked.stderr);
    assert!(
        database
            .rows("tablename", "pg_tables WHERE schemaname = 'public'")
            .is_empty(),
        "validate made tables"
    );
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    is_right(&place, "out.ndjson");
    let (expected_windows, expected_columns) = of_sqlite(&place);
    assert!(expected_windows.len() > 500);
    assert!(database.rows(&windows_text(), "windows") == expected_windows);
    assert!(database.rows(&columns_text(), "column_statistics") == expected_columns);
    // The numbers to the last digit: both hold 64 bits.
    let connection = rusqlite::Connection::open(place.path("stats.db")).unwrap();
    for (table, value) in [
        ("column_statistics", "variance"),
        ("column_statistics", "min"),
        ("matrices", "value"),
    ] {
        let sql = format!("SELECT {value} FROM {table} WHERE {value} IS NOT NULL ORDER BY {value}");
        let mut statement = connection.prepare(&sql).unwrap();
        let expected = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap);
        let expected: Vec<f64> = expected.collect();
        let rows = database.client.query(&sql, &[]).unwrap();
        let found: Vec<f64> = rows.iter().map(|row| row.get(0)).collect();
        assert!(found == expected && !found.is_empty(), "{table}.{value}");
    }
    let quantiles = "SELECT count(*) FROM column_statistics WHERE (quantiles->>'0.5')::float8 BETWEEN min AND max";
    let quantiles: i64 = database.client.query_one(quantiles, &[]).unwrap().get(0);
    assert_eq!(quantiles as usize, expected_columns.len());
    let alerts: i64 = connection
        .query_row("SELECT count(*) FROM alerts", [], |row| row.get(0))
        .unwrap();
    assert!(alerts > 0);
    assert_eq!(database.rows("t.*", "alerts t").len(), alerts as usize);

    // A second run of the same leaves the same.
    let whole = database.all();
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert!(database.all() == whole);
}

/// Slow enough to be disturbed, with a checkpoint now and then.
const DISTURBED: &str =
    "[state]\ndirectory = \"state\"\ninterval = \"20ms\"\n[engine]\nbatch_rows = 500\nbatch_delay = \"1ms\"\n";

/// What an undisturbed run leaves.
fn undisturbed(place: &Place) -> Vec<Vec<String>> {
    let mut database = Database::new();
    configured(place, &database, "");
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    for file in ["stats.db", "stats.db-wal", "stats.db-shm", "out.ndjson"] {
        let _ = std::fs::remove_file(place.path(file));
    }
    database.all()
}

#[test]
fn a_killed_run_goes_on_and_every_report_is_there_once() {
    let place = with_rows();
    let whole = undisturbed(&place);
    let mut database = Database::new();
    configured(&place, &database, DISTURBED);
    for millis in [5, 40, 90, 150, 250] {
        let mut running = Running::start(&place, &["run", "run.toml"]);
        running.hear(Duration::from_millis(millis));
        running.kill();
    }
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert!(database.all() == whole);
}

/// The rows of the feed, of which the first half is there.
fn half(place: &Place) -> (std::fs::File, String) {
    let text = std::fs::read_to_string(place.path("feed.csv")).unwrap();
    let middle = text[..text.len() / 2].rfind('\n').unwrap() + 1;
    let mut file = std::fs::File::create(place.path("feed.csv")).unwrap();
    file.write_all(&text.as_bytes()[..middle]).unwrap();
    (file, text[middle..].to_owned())
}

/// A run that goes on, and its pages.
fn following(place: &Place) -> (Running, std::net::SocketAddr) {
    let config = std::fs::read_to_string(place.path("run.toml")).unwrap();
    place.write(
        "run.toml",
        config.replace("\"feed.csv\" }", "\"feed.csv\", follow = true }"),
    );
    let mut running = Running::start(place, &["run", "run.toml"]);
    let pages = running.pages();
    (running, pages)
}

fn windows(database: &mut Database) -> i64 {
    database
        .client
        .query_one("SELECT count(*) FROM windows", &[])
        .unwrap()
        .get(0)
}

#[test]
fn a_server_that_crashes_gets_what_it_missed() {
    let place = with_rows();
    let whole = undisturbed(&place);
    let mut database = Database::new();
    configured(&place, &database, &format!("{DISTURBED}{PAGES}"));
    let (mut file, rest) = half(&place);
    let (running, pages) = following(&place);
    while windows(&mut database) == 0 {
        std::thread::yield_now();
    }
    database.server.kill();
    // Whatever is stored next finds nobody.
    file.write_all(rest.as_bytes()).unwrap();
    database.server.start();
    wait_for_rows(pages, COUNT.parse().unwrap());
    running.signal("-TERM");
    let (status, said) = running.end();
    assert_eq!(status, 0, "{said}");
    // What was open then closes at the end of the file.
    let config = std::fs::read_to_string(place.path("run.toml")).unwrap();
    place.write("run.toml", config.replace(", follow = true", ""));
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    database.client = client(&database.server, &database.name);
    assert!(database.all() == whole);
}

/// What a run wrote behind its checkpoint is taken out when it goes on, and nothing of others.
#[test]
fn what_was_written_behind_a_checkpoint_is_taken_out() {
    let place = with_rows();
    let whole = undisturbed(&place);
    let mut database = Database::new();
    configured(&place, &database, &format!("{DISTURBED}{PAGES}"));
    let (mut file, rest) = half(&place);
    let (running, _) = following(&place);
    while windows(&mut database) == 0 {
        std::thread::yield_now();
    }
    running.kill();
    // Parts that will not come again: the first as if of this run, the second of another one.
    for (part, writer) in [(77, "writer"), (78, "writer + 1")] {
        let copy = format!(
            "INSERT INTO windows SELECT feed, window_start, window_end, key, {part}, rows, 0, true, summary, {writer}, 1 << 30
             FROM windows LIMIT 1"
        );
        database.client.batch_execute(&copy).unwrap();
        let beside = format!(
            "INSERT INTO column_statistics SELECT feed, window_start, window_end, key, {part}, 'c0', 1, 0 FROM windows
             WHERE part = {part}"
        );
        database.client.batch_execute(&beside).unwrap();
    }
    file.write_all(rest.as_bytes()).unwrap();
    let config = std::fs::read_to_string(place.path("run.toml")).unwrap();
    place.write("run.toml", config.replace(", follow = true", ""));
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    for table in ["windows", "column_statistics"] {
        let parts = database.rows("part", &format!("{table} WHERE part > 0"));
        assert_eq!(parts, ["78"], "{table}");
        let gone = format!("DELETE FROM {table} WHERE part > 0");
        database.client.batch_execute(&gone).unwrap();
    }
    assert!(database.all() == whole);
    // A database that has less than the checkpoint says is another one.
    database.client.batch_execute("DELETE FROM writers").unwrap();
    place
        .run(&["run", "run.toml"])
        .fails(78, &["less than the checkpoint", "--discard-state"]);
}

/// More keys than there may be, with preliminary reports: what is left is what SQLite is left with.
#[test]
fn parts_take_the_place_of_preliminary_reports() {
    let place = Place::new();
    let rows = [
        "generate",
        "--rows",
        "20000",
        "--columns",
        "3",
        "--keys",
        "300",
        "--seed",
        "6",
        "--step",
        "1ms",
    ];
    let made = place.run(&[&rows[..], &["--disorder", "300ms", "-o", "feed.csv"]].concat());
    assert_eq!(made.status, 0, "{}", made.stderr);
    let text = std::fs::read_to_string(place.path("feed.csv")).unwrap();
    let (header, rows) = text.split_once('\n').unwrap();
    let rows: Vec<&str> = rows.lines().collect();
    let mut file = std::fs::File::create(place.path("feed.csv")).unwrap();
    writeln!(file, "{header}").unwrap();
    let mut database = Database::new();
    let config = format!(
        "feed = {{ type = \"file\", path = \"feed.csv\", follow = true }}\n{PAGES}{ROWS}emit = \"update\"\nemit_interval = \"1ms\"\n\
         [limits]\nkeys = 100\n[engine]\nbatch_rows = 300\nbatch_delay = \"1ms\"\n{}[[sink]]\ntype = \"sqlite\"\n\
         path = \"stats.db\"\n[[sink]]\ntype = \"file\"\npath = \"out.ndjson\"\n",
        database.sink()
    );
    place.write("run.toml", config);
    let mut running = Running::start(&place, &["run", "run.toml"]);
    let pages = running.pages();
    for (number, piece) in (1..).zip(rows.chunks(200)) {
        writeln!(file, "{}", piece.join("\n")).unwrap();
        wait_for_rows(pages, 200 * number);
    }
    running.signal("-TERM");
    let (status, said) = running.end();
    assert_eq!(status, 0, "{said}");
    let (windows, columns) = of_sqlite(&place);
    assert!(!database.rows("part", "windows WHERE part > 0").is_empty());
    let said = std::fs::read_to_string(place.path("out.ndjson")).unwrap();
    assert!(said.contains("\"final\":false"), "nothing was preliminary");
    assert!(database.rows(&windows_text(), "windows") == windows);
    assert!(database.rows(&columns_text(), "column_statistics") == columns);
}
