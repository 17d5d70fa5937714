//! Reports in a SQLite database: numbers to ask for in SQL, and beside them the summaries, to be merged further.
//!
//! One transaction a flush, in write-ahead mode, so that readers see whole flushes and never wait. Rows replace those
//! of the same feed, window, key and part; and what was written after the checkpoint that a run goes on from is taken out
//! again, as other parts may come instead. So whatever comes a second time after a crash leaves the same database. A commit
//! survives the end of the program; that of a checkpoint also survives the end of the machine.
//!
//! Times are RFC 3339 in UTC with as many digits of the second as the feed's windows need, the same for all of them, so
//! that text and time have one order; windows of rows have row numbers, and no windows have empty text. Infinite values
//! are REAL, NaN is NULL: SQLite has none.

mod feeds;
mod read;
mod schema;

pub use super::stored::StoredFeed;
pub use read::{Database, StoredWindow};

use super::state::Place;
use super::tables::{entries, key_text, matrices, quantiles};
use super::{Feed, Sink, SinkState, stored};
use crate::error::{Error, Result};
use crate::report::{Alert, ColumnReport, Emission, WindowBounds};
use crate::spec::Window;
use rusqlite::{CachedStatement, Connection, params};
use schema::failed;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const INSERT_WINDOW: &str = "INSERT INTO windows VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
    ON CONFLICT DO UPDATE SET rows = excluded.rows, revision = excluded.revision, final = excluded.final,
    summary = excluded.summary";
const INSERT_COLUMN: &str = "INSERT OR REPLACE INTO column_statistics
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)";
const DELETE_MATRICES: &str = "DELETE FROM matrices
    WHERE feed = ?1 AND window_start = ?2 AND window_end = ?3 AND key = ?4 AND part = ?5";
const SUPERSEDED: &str = "SELECT part FROM windows
    WHERE feed = ?1 AND window_start = ?2 AND window_end = ?3 AND key = ?4 AND part <> ?5 AND final = 0";
const INSERT_ENTRY: &str = "INSERT OR REPLACE INTO matrices VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
const BEGIN_ALERT: &str = "INSERT INTO alerts VALUES (?1, ?2, ?3, ?4, NULL, ?5)
    ON CONFLICT DO UPDATE SET ended = NULL, value = excluded.value";
const END_ALERT: &str = "INSERT INTO alerts VALUES (?1, ?2, ?3, ?4, ?5, ?6)
    ON CONFLICT DO UPDATE SET ended = excluded.ended";

const NEWEST_WINDOW: &str = "SELECT max(rowid) FROM windows";
const WINDOWS_BEHIND: &str = "SELECT feed, window_start, window_end, key, part FROM windows WHERE rowid > ?1";

/// Statements that are kept compiled: those above and a few of the feeds.
const STATEMENTS: usize = 16;

/// What is known of a feed.
#[derive(Debug)]
struct Known {
    /// The columns of its reports, as the database has them; empty before the first.
    columns: Arc<[String]>,
    /// Digits of the second in its times.
    digits: usize,
}

/// Writes reports into a database.
#[derive(Debug)]
pub(super) struct SqliteSink {
    name: String,
    path: PathBuf,
    connection: Connection,
    feeds: HashMap<String, Known>,
    /// Whether something was written since the last checkpoint.
    dirty: bool,
    /// Whether the open transaction holds reports of earlier calls.
    holds: bool,
    /// Whether the database gave up such reports.
    lost: bool,
}

impl SqliteSink {
    /// Opens the database, and makes it if there is none.
    pub(super) fn open(name: String, path: &Path, feeds: &[Feed], state: Option<&SinkState>) -> Result<Self> {
        let place = Place::of(state, path)?;
        let connection = schema::open_to_write(path)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        let mut known = HashMap::new();
        let begin = connection.execute_batch("BEGIN IMMEDIATE");
        begin.map_err(|e| failed(path, e))?;
        for feed in feeds {
            let stored = feeds::register(&connection, path, feed)?;
            let value = Known {
                columns: stored.columns.into(),
                digits: digits(feed.spec.window),
            };
            known.insert(stored.name, value);
        }
        if let Some(place) = place {
            let whole = i64::try_from(place.whole).unwrap_or(i64::MAX);
            cut(&connection, whole, |feed| known.contains_key(feed)).map_err(|e| failed(path, e))?;
        }
        connection.execute_batch("COMMIT").map_err(|e| failed(path, e))?;
        Ok(Self {
            name,
            path: path.to_owned(),
            connection,
            feeds: known,
            dirty: false,
            holds: false,
            lost: false,
        })
    }

    /// That nothing was lost: a sink that lost reports must not say later that they are durable.
    fn check_whole(&self) -> Result<()> {
        if !self.lost {
            return Ok(());
        }
        let why = "the database undid reports that were not committed yet: start again, from the checkpoint";
        Err(super::state::output(&self.path, std::io::Error::other(why)))
    }

    /// Some failures (a full disk) end the transaction, with whatever earlier calls wrote in it.
    fn note_loss(&mut self) {
        self.lost |= self.holds && self.connection.is_autocommit();
    }

    fn begin(&mut self) -> Result<()> {
        self.check_whole()?;
        self.dirty = true;
        if self.connection.is_autocommit() {
            self.execute("BEGIN IMMEDIATE")?;
        }
        Ok(())
    }

    fn execute(&self, sql: &str) -> Result<()> {
        self.connection.execute_batch(sql).map_err(|e| failed(&self.path, e))
    }

    /// Writes down the columns of feeds that have their first report, and refuses other columns than those.
    fn check_columns(&mut self, reports: &[Emission]) -> Result<()> {
        for report in reports {
            let names = report.group.columns.names();
            let known = self.feeds.get_mut(&*report.feed);
            let known = known.ok_or_else(|| Error::Failed(format!("the sink knows of no feed `{}`", report.feed)))?;
            if *known.columns == *names {
                continue;
            }
            if !known.columns.is_empty() {
                let (there, here) = (known.columns.join(", "), names.join(", "));
                let place = self.path.display().to_string();
                return Err(stored::changed(&place, &report.feed, "columns", &there, &here));
            }
            feeds::name_columns(&self.connection, &self.path, &report.feed, names)?;
            known.columns = names.into();
        }
        Ok(())
    }

    fn insert(&self, reports: &[Emission]) -> rusqlite::Result<()> {
        let mut rows = Rows {
            connection: &self.connection,
            window: self.connection.prepare_cached(INSERT_WINDOW)?,
            column: self.connection.prepare_cached(INSERT_COLUMN)?,
            clear: self.connection.prepare_cached(DELETE_MATRICES)?,
            entry: self.connection.prepare_cached(INSERT_ENTRY)?,
        };
        for report in reports {
            let digits = self.feeds.get(&*report.feed).map_or(0, |known| known.digits);
            rows.insert(report, digits)?;
        }
        Ok(())
    }

    fn insert_alert(&self, alert: &Alert) -> rusqlite::Result<()> {
        let digits = self.feeds.get(&*alert.feed).map_or(0, |known| known.digits);
        let (started, _) = labels(alert.started, digits);
        let key = key_text(alert.key.as_ref());
        match alert.ended {
            None => self.connection.prepare_cached(BEGIN_ALERT)?.execute(params![
                &*alert.feed,
                &*alert.alert,
                key,
                started,
                alert.value
            ])?,
            Some(ended) => self.connection.prepare_cached(END_ALERT)?.execute(params![
                &*alert.feed,
                &*alert.alert,
                key,
                started,
                labels(Some(ended), digits).0,
                alert.value
            ])?,
        };
        Ok(())
    }

    /// Does it in the open transaction, as a whole or not at all.
    fn in_transaction(&mut self, work: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        self.begin()?;
        self.execute("SAVEPOINT reports")?;
        let result = work(self).and_then(|()| self.execute("RELEASE reports"));
        if result.is_ok() {
            self.holds = true;
            return result;
        }
        self.note_loss();
        if !self.connection.is_autocommit() {
            self.execute("ROLLBACK TO reports; RELEASE reports")?;
        }
        // Names that were written down may be gone with the rest.
        for (name, known) in &mut self.feeds {
            let stored = feeds::stored(&self.connection, name).map_err(|e| failed(&self.path, e))?;
            known.columns = stored.map_or_else(Vec::new, |feed| feed.columns).into();
        }
        result
    }
}

/// Takes out the windows behind this row number, of the feeds that are meant, with all that stands beside them.
fn cut(connection: &Connection, whole: i64, is_meant: impl Fn(&str) -> bool) -> rusqlite::Result<()> {
    let mut behind = connection.prepare(WINDOWS_BEHIND)?;
    let mut rows = behind.query([whole])?;
    let mut windows: Vec<(String, String, String, String, i64)> = Vec::new();
    while let Some(row) = rows.next()? {
        windows.push((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?));
    }
    for mut delete in deletions(connection)? {
        for (feed, start, end, key, part) in windows.iter().filter(|window| is_meant(&window.0)) {
            delete.execute(params![feed, start, end, key, part])?;
        }
    }
    Ok(())
}

/// What deletes a report from each of the tables that hold a part of it.
fn deletions(connection: &Connection) -> rusqlite::Result<[CachedStatement<'_>; 3]> {
    let of = |table| connection.prepare_cached(&DELETE_MATRICES.replace("matrices", table));
    Ok([of("windows")?, of("column_statistics")?, of("matrices")?])
}

/// The statements that one report takes.
struct Rows<'a> {
    connection: &'a Connection,
    window: CachedStatement<'a>,
    column: CachedStatement<'a>,
    clear: CachedStatement<'a>,
    entry: CachedStatement<'a>,
}

impl Rows<'_> {
    fn insert(&mut self, report: &Emission, digits: usize) -> rusqlite::Result<()> {
        let group = &report.group;
        let (start, end) = labels(group.window, digits);
        let (feed, key, part) = (&*report.feed, key_text(group.key.as_ref()), report.part as i64);
        let summary = report.summary.to_bytes();
        let (rows, revision) = (group.rows as i64, report.revision as i64);
        self.window.execute(params![
            feed,
            start,
            end,
            key,
            part,
            rows,
            revision,
            report.is_final,
            summary
        ])?;
        if report.is_final && part > 0 {
            // The rows of preliminary reports of a key that is given up are in this one.
            let mut superseded = self.connection.prepare_cached(SUPERSEDED)?;
            let parts = superseded.query_map(params![feed, start, end, key, part], |row| row.get::<_, i64>(0))?;
            for before in parts.collect::<rusqlite::Result<Vec<_>>>()? {
                for mut delete in deletions(self.connection)? {
                    delete.execute(params![feed, start, end, key, before])?;
                }
            }
        }
        for (name, c) in group.columns.iter() {
            let ColumnReport { count, missing, .. } = *c;
            let (count, missing) = (count as i64, missing as i64);
            self.column.execute(params![
                feed,
                start,
                end,
                key,
                part,
                name,
                count,
                missing,
                c.sum,
                c.mean,
                c.variance,
                c.std,
                c.skewness,
                c.kurtosis,
                c.min,
                c.max,
                quantiles(c),
                c.ewm_mean,
                c.ewm_variance
            ])?;
        }
        let matrices = matrices(group);
        if matrices.iter().any(|(_, matrix)| matrix.is_some()) {
            // A matrix over fewer columns than that of an earlier revision leaves nothing of it behind.
            self.clear.execute(params![feed, start, end, key, part])?;
        }
        for (kind, matrix) in matrices {
            for (a, b, value) in matrix.as_deref().into_iter().flat_map(entries) {
                self.entry
                    .execute(params![feed, start, end, key, part, kind, a, b, value])?;
            }
        }
        Ok(())
    }
}

/// Digits of the second that the bounds of windows need.
fn digits(window: Option<Window>) -> usize {
    let Some(window @ Window::Time { .. }) = window else {
        return 0;
    };
    let pane = window.pane();
    [(1_000_000_000, 0), (1_000_000, 3), (1_000, 6)]
        .into_iter()
        .find(|(unit, _)| pane % unit == 0)
        .map_or(9, |(_, digits)| digits)
}

/// Start and end as they stand in the tables.
fn labels(window: Option<WindowBounds>, digits: usize) -> (String, String) {
    let instant = |ns: i64| {
        let time = jiff::Timestamp::from_nanosecond(i128::from(ns));
        time.map_or_else(|_| ns.to_string(), |time| format!("{time:.digits$}"))
    };
    match window {
        None => Default::default(),
        Some(WindowBounds::Time { start_ns, end_ns }) => (instant(start_ns), instant(end_ns)),
        Some(rows) => rows.labels(),
    }
}

impl Sink for SqliteSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn write(&mut self, reports: &[Emission]) -> Result<()> {
        self.in_transaction(|sink| {
            sink.check_columns(reports)?;
            sink.insert(reports).map_err(|e| failed(&sink.path, e))
        })
    }

    fn alert(&mut self, alert: &Alert) -> Result<()> {
        self.in_transaction(|sink| sink.insert_alert(alert).map_err(|e| failed(&sink.path, e)))
    }

    fn flush(&mut self) -> Result<()> {
        self.check_whole()?;
        if self.connection.is_autocommit() {
            return Ok(());
        }
        let committed = self.execute("COMMIT");
        match &committed {
            Ok(()) => self.holds = false,
            Err(_) => self.note_loss(),
        }
        committed
    }

    /// Commits once more with a call to the disk, which takes the commits before along.
    fn checkpoint(&mut self) -> Result<SinkState> {
        self.flush()?;
        if self.dirty {
            let version = schema::SCHEMA_VERSION;
            let write = format!("BEGIN IMMEDIATE; PRAGMA user_version = {version}; COMMIT");
            self.execute("PRAGMA synchronous = FULL")?;
            let written = self.execute(&write);
            self.execute("PRAGMA synchronous = NORMAL")?;
            written?;
            self.dirty = false;
        }
        let newest = self.connection.query_row(NEWEST_WINDOW, [], |row| row.get(0));
        let newest: Option<i64> = newest.map_err(|e| failed(&self.path, e))?;
        let newest = newest.and_then(|number| u64::try_from(number).ok()).unwrap_or(0);
        Ok(Place::new(&self.path, newest, 0).to_state())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.checkpoint()?;
        let Self { connection, path, .. } = *self;
        connection.close().map_err(|(_, e)| failed(&path, e))
    }
}

#[cfg(test)]
mod tests;
