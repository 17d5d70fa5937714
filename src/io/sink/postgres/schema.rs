//! The tables of reports in PostgreSQL, their version, and the feeds that are written down in them.

use super::staging::LOCK_WRITER;
use crate::error::{Error, Result};
use crate::io::postgres::connecting::Server;
use crate::io::sink::Feed;
use crate::io::sink::stored::{FeedRow, StoredFeed, check_same};
use postgres::{Client, GenericClient, Transaction};

/// The version of the tables; no newer one is written to.
const SCHEMA_VERSION: i32 = 1;

/// Programs that begin together make the tables one after another: `MSTR`.
const LOCK: i64 = i32::from_be_bytes(*b"MSTR") as i64;

/// The tables. Who wrote a window, and in which of its transactions, tells what is to be taken out behind a checkpoint.
const TABLES: &str = "
CREATE TABLE millstream (version integer NOT NULL);
CREATE TABLE feeds (
    feed text PRIMARY KEY, columns text, keys text NOT NULL,
    window_unit text NOT NULL, window_size bigint, window_slide bigint, statistics text NOT NULL
);
CREATE TABLE windows (
    feed text NOT NULL, window_start timestamptz NOT NULL, window_end timestamptz NOT NULL, key text NOT NULL,
    part bigint NOT NULL, rows bigint NOT NULL, revision bigint NOT NULL, final boolean NOT NULL, summary bytea NOT NULL,
    writer bigint NOT NULL, written bigint NOT NULL,
    PRIMARY KEY (feed, window_start, window_end, key, part)
);
CREATE INDEX windows_written ON windows (writer, written);
CREATE TABLE writers (writer bigint PRIMARY KEY, written bigint NOT NULL);
CREATE TABLE column_statistics (
    feed text NOT NULL, window_start timestamptz NOT NULL, window_end timestamptz NOT NULL, key text NOT NULL,
    part bigint NOT NULL, column_name text NOT NULL, count bigint NOT NULL, missing bigint NOT NULL,
    sum double precision, mean double precision, variance double precision, std double precision,
    skewness double precision, kurtosis double precision, min double precision, max double precision, quantiles jsonb,
    ewm_mean double precision, ewm_variance double precision,
    PRIMARY KEY (feed, window_start, window_end, key, part, column_name)
);
CREATE TABLE matrices (
    feed text NOT NULL, window_start timestamptz NOT NULL, window_end timestamptz NOT NULL, key text NOT NULL,
    part bigint NOT NULL, kind text NOT NULL, column_a text NOT NULL, column_b text NOT NULL, value double precision,
    PRIMARY KEY (feed, window_start, window_end, key, part, kind, column_a, column_b)
);
CREATE TABLE alerts (
    feed text NOT NULL, name text NOT NULL, key text NOT NULL, started timestamptz NOT NULL, ended timestamptz,
    value double precision,
    PRIMARY KEY (feed, name, key, started)
);
";

/// Those that a database without the first of them must not have.
const NAMES: [&str; 7] = [
    "millstream",
    "feeds",
    "windows",
    "writers",
    "column_statistics",
    "matrices",
    "alerts",
];

/// Why the tables cannot be used.
#[derive(Debug)]
pub(super) enum Refusal {
    Server(postgres::Error),
    Other(Error),
}

impl From<postgres::Error> for Refusal {
    fn from(error: postgres::Error) -> Self {
        Self::Server(error)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl Refusal {
    pub(super) fn in_words(self, server: &Server) -> Error {
        match self {
            Self::Server(error) => server.refused(error),
            Self::Other(error) => error,
        }
    }
}

/// Makes the tables where there are none.
pub(super) fn prepare(client: &mut Client, name: &str) -> Result<(), Refusal> {
    let committed = postgres::IsolationLevel::ReadCommitted;
    let mut transaction = client.build_transaction().isolation_level(committed).start()?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK])?;
    if !are_there(&mut transaction, name)? {
        transaction.batch_execute(TABLES)?;
        transaction.execute("INSERT INTO millstream VALUES ($1)", &[&SCHEMA_VERSION])?;
    }
    Ok(transaction.commit()?)
}

/// Whether the tables are there, in a version that this program knows.
fn are_there(client: &mut impl GenericClient, name: &str) -> Result<bool, Refusal> {
    let there = "SELECT relname::text FROM pg_class
        WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema()) AND relname::text = ANY($1)";
    let rows = client.query(there, &[&NAMES.as_slice()])?;
    let there: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
    if there.is_empty() {
        return Ok(false);
    }
    if there.len() < NAMES.len() {
        return Err(Refusal::Other(Error::Config(format!(
            "{name} has tables of something else ({}): name another database, or give the user a schema of its own",
            there.join(", ")
        ))));
    }
    let version: i32 = client.query_one("SELECT version FROM millstream", &[])?.get(0);
    if version > SCHEMA_VERSION {
        return Err(Refusal::Other(Error::Config(format!(
            "{name} was written by a newer version of this program (its tables are of version {version}, this one knows \
             {SCHEMA_VERSION}): update, or name another database"
        ))));
    }
    Ok(true)
}

/// Checks that reports of these feeds can be written; changes nothing.
pub(super) fn check(client: &mut Client, name: &str, feeds: &[Feed]) -> Result<(), Refusal> {
    let mut transaction = client.build_transaction().read_only(true).start()?;
    if are_there(&mut transaction, name)? {
        let lacking = "SELECT format('%s on %s', p, t) FROM unnest($1::text[]) t,
            unnest('{SELECT, INSERT, UPDATE, DELETE}'::text[]) p WHERE NOT has_table_privilege(quote_ident(t), p) LIMIT 1";
        if let Some(row) = transaction.query_opt(lacking, &[&NAMES.as_slice()])? {
            let lacking: String = row.get(0);
            let why = format!("the user lacks {lacking}: GRANT it, or name another user");
            return Err(Refusal::Other(Error::Config(format!("{name}: {why}"))));
        }
        for feed in feeds {
            if let Some(stored) = stored(&mut transaction, &feed.name)? {
                check_same(name, &stored, feed)?;
            }
        }
        return Ok(());
    }
    let may = "SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)
        AND has_database_privilege(current_database(), 'TEMP')";
    let may: bool = transaction.query_one(may, &[])?.get(0);
    if !may {
        let why =
            "the user may not make tables: GRANT CREATE on the schema and TEMP on the database, or name another user";
        return Err(Refusal::Other(Error::Config(format!("{name}: {why}"))));
    }
    Ok(())
}

/// The feed of this name, if the database has it.
fn stored(client: &mut impl GenericClient, name: &str) -> Result<Option<StoredFeed>, Refusal> {
    let sql = "SELECT columns, keys, window_unit, window_size, window_slide, statistics FROM feeds WHERE feed = $1";
    let Some(row) = client.query_opt(sql, &[&name])? else {
        return Ok(None);
    };
    let row = FeedRow {
        columns: row.get(0),
        keys: row.get(1),
        window_unit: row.get(2),
        window_size: row.get(3),
        window_slide: row.get(4),
        statistics: row.get(5),
    };
    let feed = row.feed(name);
    let damaged = |e| {
        Error::Data(format!(
            "what the database says of the feed `{name}` cannot be read: {e}"
        ))
    };
    Ok(Some(feed.map_err(damaged)?))
}

/// Writes a feed down, or checks that it is the one that is there.
pub(super) fn register(transaction: &mut Transaction<'_>, name: &str, feed: &Feed) -> Result<StoredFeed, Refusal> {
    let row = FeedRow::of(feed)?;
    transaction.execute(
        "INSERT INTO feeds (feed, columns, keys, window_unit, window_size, window_slide, statistics)
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
        &[
            &&*feed.name,
            &row.columns,
            &row.keys,
            &row.window_unit,
            &row.window_size,
            &row.window_slide,
            &row.statistics,
        ],
    )?;
    let stored = stored(transaction, &feed.name)?;
    let stored = stored.ok_or_else(|| Error::Failed(format!("{name} forgot the feed `{}`", feed.name)))?;
    check_same(name, &stored, feed)?;
    Ok(stored)
}

/// Takes out what this writer wrote behind a transaction, with all that stands beside it.
///
/// # Errors
/// [`Error::Config`] where the database does not have that transaction.
pub(super) fn cut(transaction: &mut Transaction<'_>, name: &str, writer: i64, written: i64) -> Result<(), Refusal> {
    // A transaction that a killed program left ends first; its rows are seen then.
    transaction.execute(LOCK_WRITER, &[&writer])?;
    let last = transaction.query_opt("SELECT written FROM writers WHERE writer = $1", &[&writer])?;
    let last: i64 = last.map_or(0, |row| row.get(0));
    if last < written {
        return Err(Refusal::Other(Error::Config(format!(
            "{name} has less than the checkpoint in the state directory says ({last} of {written} transactions): it was \
             replaced or restored since. Put it back, or give up the checkpoint with --discard-state"
        ))));
    }
    for table in ["column_statistics", "matrices"] {
        let sql = format!(
            "DELETE FROM {table} t USING windows w WHERE w.writer = $1 AND w.written > $2 AND t.feed = w.feed
             AND t.window_start = w.window_start AND t.window_end = w.window_end AND t.key = w.key AND t.part = w.part"
        );
        transaction.execute(&sql, &[&writer, &written])?;
    }
    let sql = "DELETE FROM windows WHERE writer = $1 AND written > $2";
    transaction.execute(sql, &[&writer, &written])?;
    Ok(())
}
