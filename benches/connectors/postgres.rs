//! Reports to PostgreSQL, as many as it takes.

use crate::cases::{Case, names, question};
use crate::child::{self, Engine};
use crate::outcome::{Measured, Run};
use crate::rows::generate;
use crate::server::Server;
use postgres::{Client, NoTls};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

/// Keys of the feed, all as frequent.
const KEYS: u64 = 5000;

/// Readings of a key in a window.
const READINGS: u64 = 2;

/// Columns of values.
const COLUMNS: usize = 2;

fn say(error: impl std::fmt::Display) -> String {
    format!("postgres: {error}")
}

fn client(server: &Server, database: &str) -> Result<Client, String> {
    let mut config = postgres::Config::new();
    config.host("127.0.0.1").port(server.port()?).dbname(database);
    config.user(&server.says("user")?).password(server.says("password")?);
    config.connect(NoTls).map_err(say)
}

/// The runs of the case, each into a database of its own.
pub(crate) fn measure(
    case: &Case,
    server: Server,
    rows: u64,
    runs: usize,
    versions: &mut BTreeMap<&'static str, String>,
) -> Result<Measured, String> {
    let folder = tempfile::tempdir().map_err(say)?;
    let file = folder.path().join("feed.csv");
    let (keys, columns, count) = (KEYS.to_string(), COLUMNS.to_string(), rows.to_string());
    let step = format!("{}ns", 1_000_000_000 / (KEYS * READINGS));
    let of_rows = ["--rows", &count, "--columns", &columns, "--keys", &keys, "--zipf", "0"];
    let arguments = [&of_rows[..], &["--step", &step, "--format", "csv"]].concat();
    let expected = generate(&arguments, folder.path(), &file)?;
    let mut first = client(&server, "postgres")?;
    let version = first.query_one("SHOW server_version", &[]).map_err(say)?;
    versions.insert(case.kind.server(), format!("PostgreSQL {}", version.get::<_, &str>(0)));
    let mut measured = Measured::new(case, expected.len() as u64);
    for turn in 0..runs {
        let database = format!("{}_{turn}", Server::own_name());
        first
            .batch_execute(&format!("CREATE DATABASE {database}"))
            .map_err(say)?;
        measured.add(run(&server, &database, &file, &expected, folder.path()));
        first.batch_execute(&format!("DROP DATABASE {database}")).map_err(say)?;
    }
    Ok(measured)
}

fn run(
    server: &Server,
    database: &str,
    file: &Path,
    expected: &[serde_json::Value],
    folder: &Path,
) -> Result<Run, String> {
    let (port, user) = (server.port()?, server.says("user")?);
    let configuration = format!(
        "[feed]\nname = \"main\"\ntype = \"file\"\npath = {file:?}\n\n{}[[sink]]\ntype = \"postgres\"\n\
         url = \"postgresql://{user}@127.0.0.1:{port}/{database}\"\npassword_file = {:?}\n",
        question(COLUMNS),
        server.path("password")
    );
    let begun = Instant::now();
    let mut engine = Engine::start(&configuration, folder)?;
    let peak_bytes = engine.ended()?;
    let seconds = begun.elapsed().as_secs_f64();
    engine.end()?;
    let verdict = child::right(expected, stored(&mut client(server, database)?)?.as_bytes())?;
    Ok(Run {
        seconds,
        whole_seconds: seconds,
        rows_per_second: verdict.reported as f64 / seconds,
        peak_bytes,
        worst_error: verdict.worst_error,
    })
}

/// What stands in the tables, as the lines of reports.
fn stored(client: &mut Client) -> Result<String, String> {
    let column = |name: &String| {
        let place = format!(
            "t.feed = w.feed AND t.window_start = w.window_start AND t.window_end = w.window_end AND t.key = w.key AND
             t.part = w.part AND t.column_name = '{name}'"
        );
        format!(
            "JOIN column_statistics AS {name} ON {}",
            place.replace("t.", &format!("{name}."))
        )
    };
    let object = |name: &String| {
        let numbers = ["count", "missing", "sum", "mean", "variance", "std", "min", "max"];
        let pairs: Vec<String> = numbers
            .iter()
            .map(|number| format!("'{number}', {name}.{number}"))
            .collect();
        format!("'{name}', json_build_object({})", pairs.join(", "))
    };
    let names = names(COLUMNS);
    let objects: Vec<String> = names.iter().map(object).collect();
    let joined: Vec<String> = names.iter().map(column).collect();
    let sql = format!(
        "SELECT json_build_object('window', json_build_object('start', w.window_start, 'end', w.window_end),
             'key', w.key::json, 'part', w.part, 'rows', w.rows, 'columns', json_build_object({}))::text
         FROM windows AS w {}",
        objects.join(", "),
        joined.join(" ")
    );
    let rows = client.query(&sql, &[]).map_err(say)?;
    Ok(rows.iter().map(|row| format!("{}\n", row.get::<_, &str>(0))).collect())
}
