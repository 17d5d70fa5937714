//! Reports on their way into the tables: held as rows, copied into temporary tables, and stored from there.
//!
//! Reports of windows that are not there yet need not replace any, and are copied into the tables themselves, which is half
//! of the work for the server. Whether they are that, it is the first to know: where one is there, it refuses the copy,
//! and reports go the other way from then on.

use crate::error::{Error, Result};
use crate::io::sink::Feed;
use crate::io::sink::tables::{entries, key_text, matrices, quantiles};
use crate::report::{Alert, ColumnReport, Emission, WindowBounds};
use crate::spec::Window;
use bytes::BytesMut;
use postgres::binary_copy::BinaryCopyInWriter;
use postgres::error::SqlState;
use postgres::types::{IsNull, Json, ToSql, Type, to_sql_checked};
use postgres::{Client, Transaction};
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::sync::Arc;

/// Where rows stand before they are stored, as long as a connection lasts.
const STAGING: &str = "
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
SET idle_in_transaction_session_timeout = '60s';
SET lock_timeout = '30s';
SET tcp_keepalives_idle = 30;
SET tcp_keepalives_interval = 10;
SET tcp_keepalives_count = 3;
SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED;
CREATE TEMPORARY TABLE new_windows (
    feed text, window_start timestamptz, window_end timestamptz, key text, part bigint, rows bigint, revision bigint,
    final boolean, summary bytea, has_matrices boolean
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE new_columns (
    feed text, window_start timestamptz, window_end timestamptz, key text, part bigint, column_name text, count bigint,
    missing bigint, sum double precision, mean double precision, variance double precision, std double precision,
    skewness double precision, kurtosis double precision, min double precision, max double precision, quantiles jsonb,
    ewm_mean double precision, ewm_variance double precision
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE new_matrices (
    feed text, window_start timestamptz, window_end timestamptz, key text, part bigint, kind text, column_a text,
    column_b text, value double precision
) ON COMMIT DELETE ROWS;
";

/// The rows of preliminary reports of a key that is given up are in its final report.
const SUPERSEDED: &str = "
WITH gone AS (
    DELETE FROM windows w USING new_windows n
    WHERE n.final AND n.part > 0 AND w.feed = n.feed AND w.window_start = n.window_start AND w.window_end = n.window_end
        AND w.key = n.key AND w.part <> n.part AND NOT w.final AND w.writer = $1
    RETURNING w.feed, w.window_start, w.window_end, w.key, w.part
), columns AS (
    DELETE FROM column_statistics t USING gone g
    WHERE (t.feed, t.window_start, t.window_end, t.key, t.part) = (g.feed, g.window_start, g.window_end, g.key, g.part)
)
DELETE FROM matrices t USING gone g
WHERE (t.feed, t.window_start, t.window_end, t.key, t.part) = (g.feed, g.window_start, g.window_end, g.key, g.part)";

/// What says that reports go the other way: one is there, or the tables are such that nothing may be copied into them.
const ELSEWISE: [SqlState; 2] = [SqlState::UNIQUE_VIOLATION, SqlState::FEATURE_NOT_SUPPORTED];

/// Where the rows of reports are copied to.
#[derive(Debug, Clone, Copy)]
enum Target {
    /// The tables that stay: in the name of this writer, in this transaction of it.
    Tables {
        writer: i64,
        written: i64,
    },
    Temporary,
}

impl Target {
    /// The copy into the table of this name that stays, or into the temporary one.
    fn copy(self, table: &str, temporary: &str, columns: &str) -> String {
        match self {
            Self::Tables { .. } => format!("COPY {table} ({columns}) FROM STDIN (FORMAT binary)"),
            Self::Temporary => format!("COPY {temporary} ({columns}) FROM STDIN (FORMAT binary)"),
        }
    }
}

const WINDOWS: &str = "feed, window_start, window_end, key, part, rows, revision, final, summary";

const COLUMNS: &str =
    "feed, window_start, window_end, key, part, column_name, count, missing, sum, mean, variance, std,
    skewness, kurtosis, min, max, quantiles, ewm_mean, ewm_variance";

const MATRICES: &str = "feed, window_start, window_end, key, part, kind, column_a, column_b, value";

const STORE_WINDOWS: &str = "
INSERT INTO windows
    (feed, window_start, window_end, key, part, rows, revision, final, summary, writer, written)
SELECT feed, window_start, window_end, key, part, rows, revision, final, summary, $1, $2 FROM new_windows
ON CONFLICT (feed, window_start, window_end, key, part) DO UPDATE
SET rows = excluded.rows, revision = excluded.revision, final = excluded.final, summary = excluded.summary,
    writer = excluded.writer, written = excluded.written";

const STORE_COLUMNS: &str = "
INSERT INTO column_statistics (feed, window_start, window_end, key, part, column_name, count, missing, sum, mean, variance,
    std, skewness, kurtosis, min, max, quantiles, ewm_mean, ewm_variance)
SELECT feed, window_start, window_end, key, part, column_name, count, missing, sum, mean, variance,
    std, skewness, kurtosis, min, max, quantiles, ewm_mean, ewm_variance FROM new_columns
ON CONFLICT (feed, window_start, window_end, key, part, column_name) DO UPDATE
SET count = excluded.count, missing = excluded.missing, sum = excluded.sum, mean = excluded.mean,
    variance = excluded.variance, std = excluded.std, skewness = excluded.skewness, kurtosis = excluded.kurtosis,
    min = excluded.min, max = excluded.max, quantiles = excluded.quantiles, ewm_mean = excluded.ewm_mean,
    ewm_variance = excluded.ewm_variance";

/// A matrix over fewer columns than that of an earlier revision leaves nothing of it behind.
const CLEAR_MATRICES: &str = "
DELETE FROM matrices t USING new_windows n
WHERE n.has_matrices AND t.feed = n.feed AND t.window_start = n.window_start AND t.window_end = n.window_end
    AND t.key = n.key AND t.part = n.part";

const STORE_MATRICES: &str = "
INSERT INTO matrices (feed, window_start, window_end, key, part, kind, column_a, column_b, value)
SELECT feed, window_start, window_end, key, part, kind, column_a, column_b, value FROM new_matrices";

const STORE_ALERT: &str = "
INSERT INTO alerts (feed, name, key, started, ended, value) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (feed, name, key, started) DO UPDATE
SET ended = excluded.ended, value = CASE WHEN excluded.ended IS NULL THEN excluded.value ELSE alerts.value END";

/// One transaction of a writer after another, also where one was left by a program that was killed.
pub(super) const LOCK_WRITER: &str = "SELECT pg_advisory_xact_lock($1)";

const NOTE_WRITTEN: &str = "
INSERT INTO writers (writer, written) VALUES ($1, $2) ON CONFLICT (writer) DO UPDATE SET written = excluded.written";

/// Another program may have been quicker; if its columns are others, this changes nothing.
const NAME_COLUMNS: &str = "
UPDATE feeds SET columns = $2 WHERE feed = $1 AND (columns IS NULL OR columns = $2)";

/// Makes the temporary tables of a connection.
pub(super) fn make_tables(client: &mut Client) -> Result<(), postgres::Error> {
    client.batch_execute(STAGING)
}

/// Checks that the bounds of a feed's windows can be stored.
pub(super) fn check_resolution(name: &str, feed: &Feed) -> Result<()> {
    match feed.spec.window {
        Some(window @ Window::Time { .. }) if window.pane() % 1000 != 0 => Err(Error::Config(format!(
            "{name} has times in microseconds, and the windows of the feed `{}` do not begin and end at such",
            feed.name
        ))),
        _ => Ok(()),
    }
}

/// A bound of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Instant {
    /// Microseconds since 1970.
    Finite(i64),
    /// Without windows.
    Before,
    After,
}

impl Instant {
    fn of(window: Option<WindowBounds>) -> (Self, Self) {
        let rows = |row: u64| Self::Finite(i64::try_from(row).unwrap_or(i64::MAX).saturating_mul(1_000_000));
        match window {
            None => (Self::Before, Self::After),
            Some(WindowBounds::Time { start_ns, end_ns }) => (
                Self::Finite(start_ns.div_euclid(1000)),
                Self::Finite(end_ns.div_euclid(1000)),
            ),
            Some(WindowBounds::Rows { start, end }) => (rows(start), rows(end)),
        }
    }
}

/// Seconds from 1970 to 2000, when the time of the server begins.
const EPOCH_SECONDS: i64 = 946_684_800;

impl ToSql for Instant {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        let number = match self {
            Self::Finite(us) => us.saturating_sub(EPOCH_SECONDS * 1_000_000),
            Self::Before => i64::MIN,
            Self::After => i64::MAX,
        };
        out.extend_from_slice(&number.to_be_bytes());
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }

    to_sql_checked!();
}

/// What tells a report from others.
type Id = (Arc<str>, Instant, Instant, String, i64);

/// What is not stored yet.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// The last revision of each report, and where it is.
    reports: Vec<Option<(Id, Emission)>>,
    places: HashMap<Id, usize>,
    /// What the reports take, about, in bytes.
    bytes: usize,
    alerts: Vec<Alert>,
    /// Feeds that had their first report, and the names of its columns.
    names: Vec<(String, String)>,
}

/// What a report takes in memory, about: its statistics, matrices and summary.
fn bytes_of(report: &Emission) -> usize {
    let columns = report.group.columns.len();
    let kinds = matrices(&report.group)
        .iter()
        .filter(|(_, matrix)| matrix.is_some())
        .count();
    size_of::<Emission>() + columns * (4 * size_of::<ColumnReport>() + (1 + kinds) * columns * 2 * size_of::<f64>())
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.reports.is_empty() && self.alerts.is_empty() && self.names.is_empty()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn report(&mut self, report: &Emission) {
        let (start, end) = Instant::of(report.group.window);
        let key = key_text(report.group.key.as_ref());
        let part = report.part as i64;
        if report.is_final && part > 0 {
            // Of preliminary reports that are stored, the server knows which they are.
            let superseded = |held: &Option<(Id, Emission)>| {
                held.as_ref().is_some_and(|((feed, from, to, of, other), before)| {
                    let same = (feed, *from, *to, of) == (&report.feed, start, end, &key);
                    same && *other != part && !before.is_final
                })
            };
            for held in self.reports.iter_mut().filter(|held| superseded(held)) {
                if let Some((id, _)) = held.take() {
                    self.places.remove(&id);
                }
            }
        }
        self.bytes += bytes_of(report);
        let id = (Arc::clone(&report.feed), start, end, key, part);
        let place = *self.places.entry(id.clone()).or_insert(self.reports.len());
        let held = Some((id, report.clone()));
        match self.reports.get_mut(place) {
            Some(before) => *before = held,
            None => self.reports.push(held),
        }
    }

    /// What is held, in bytes, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn reports(&self) -> impl Iterator<Item = &(Id, Emission)> {
        self.reports.iter().flatten()
    }

    pub(super) fn alert(&mut self, alert: &Alert) {
        self.alerts.push(alert.clone());
    }

    /// Notes the columns of a feed, as they are stored.
    pub(super) fn name_columns(&mut self, feed: &str, columns: String) {
        self.names.push((feed.to_owned(), columns));
    }

    /// Stores all of it or nothing; nothing where a feed's reports have other columns in the database, which is named.
    /// `are_new` says whether no report before had one to replace.
    pub(super) fn store(
        &self,
        client: &mut Client,
        writer: i64,
        written: i64,
        are_new: &mut bool,
    ) -> Result<Option<&str>, postgres::Error> {
        let mut transaction = client.transaction()?;
        transaction.execute(LOCK_WRITER, &[&writer])?;
        for (feed, columns) in &self.names {
            if transaction.execute(NAME_COLUMNS, &[feed, columns])? == 0 {
                return Ok(Some(feed));
            }
        }
        if !self.reports.is_empty() {
            *are_new = *are_new && self.add_reports(&mut transaction, writer, written)?;
            if !*are_new {
                self.store_reports(&mut transaction, writer, written)?;
            }
        }
        if !self.alerts.is_empty() {
            self.store_alerts(&mut transaction)?;
        }
        transaction.execute(NOTE_WRITTEN, &[&writer, &written])?;
        transaction.commit().map(|()| None)
    }

    /// Adds reports none of which is there yet; whether that was so, else nothing is added.
    fn add_reports(
        &self,
        transaction: &mut Transaction<'_>,
        writer: i64,
        written: i64,
    ) -> Result<bool, postgres::Error> {
        if self.reports().any(|(_, report)| report.revision > 0 || report.part > 0) {
            return Ok(false);
        }
        let target = Target::Tables { writer, written };
        let mut attempt = transaction.transaction()?;
        let added = self
            .copy_windows(&mut attempt, target)
            .and_then(|()| self.copy_columns(&mut attempt, target))
            .and_then(|_| self.copy_matrices(&mut attempt, target));
        match added {
            Ok(_) => attempt.commit().map(|()| true),
            Err(error) if error.code().is_some_and(|code| ELSEWISE.contains(code)) => {
                attempt.rollback().map(|()| false)
            }
            Err(error) => Err(error),
        }
    }

    fn store_reports(
        &self,
        transaction: &mut Transaction<'_>,
        writer: i64,
        written: i64,
    ) -> Result<(), postgres::Error> {
        self.copy_windows(transaction, Target::Temporary)?;
        let has_columns = self.copy_columns(transaction, Target::Temporary)?;
        let has_matrices = self.copy_matrices(transaction, Target::Temporary)?;
        if self.reports().any(|(_, report)| report.is_final && report.part > 0) {
            transaction.execute(SUPERSEDED, &[&writer])?;
        }
        transaction.execute(STORE_WINDOWS, &[&writer, &written])?;
        if has_columns {
            transaction.execute(STORE_COLUMNS, &[])?;
        }
        if has_matrices {
            transaction.execute(CLEAR_MATRICES, &[])?;
            transaction.execute(STORE_MATRICES, &[])?;
        }
        Ok(())
    }

    fn store_alerts(&self, transaction: &mut Transaction<'_>) -> Result<(), postgres::Error> {
        let store = transaction.prepare(STORE_ALERT)?;
        for alert in &self.alerts {
            let started = Instant::of(alert.started).0;
            let ended = alert.ended.map(|ended| Instant::of(Some(ended)).0);
            let key = key_text(alert.key.as_ref());
            let values: [&(dyn ToSql + Sync); 6] =
                [&&*alert.feed, &&*alert.alert, &key, &started, &ended, &alert.value];
            transaction.execute(&store, &values)?;
        }
        Ok(())
    }

    fn copy_windows(&self, transaction: &mut Transaction<'_>, target: Target) -> Result<(), postgres::Error> {
        let mut types = vec![
            Type::TEXT,
            Type::TIMESTAMPTZ,
            Type::TIMESTAMPTZ,
            Type::TEXT,
            Type::INT8,
            Type::INT8,
            Type::INT8,
            Type::BOOL,
            Type::BYTEA,
        ];
        let more = match target {
            Target::Tables { .. } => {
                types.extend([Type::INT8, Type::INT8]);
                "writer, written"
            }
            Target::Temporary => {
                types.push(Type::BOOL);
                "has_matrices"
            }
        };
        let copy = transaction.copy_in(&target.copy("windows", "new_windows", &format!("{WINDOWS}, {more}")))?;
        let mut rows = BinaryCopyInWriter::new(copy, &types);
        for ((feed, start, end, key, part), report) in self.reports() {
            let (count, revision) = (report.group.rows as i64, report.revision as i64);
            let has_matrices = matrices(&report.group).iter().any(|(_, matrix)| matrix.is_some());
            let (is_final, summary) = (report.is_final, report.summary.to_bytes());
            let row: [&(dyn ToSql + Sync); 9] =
                [&&**feed, start, end, key, part, &count, &revision, &is_final, &summary];
            let of_target: &[&(dyn ToSql + Sync)] = match &target {
                Target::Tables { writer, written } => &[writer, written],
                Target::Temporary => &[&has_matrices],
            };
            rows.write(&[&row, of_target].concat())?;
        }
        rows.finish().map(drop)
    }

    /// Whether there were any.
    fn copy_columns(&self, transaction: &mut Transaction<'_>, target: Target) -> Result<bool, postgres::Error> {
        let mut types = vec![
            Type::TEXT,
            Type::TIMESTAMPTZ,
            Type::TIMESTAMPTZ,
            Type::TEXT,
            Type::INT8,
            Type::TEXT,
            Type::INT8,
            Type::INT8,
        ];
        types.resize(types.len() + 8, Type::FLOAT8);
        types.extend([Type::JSONB, Type::FLOAT8, Type::FLOAT8]);
        let copy = transaction.copy_in(&target.copy("column_statistics", "new_columns", COLUMNS))?;
        let mut rows = BinaryCopyInWriter::new(copy, &types);
        for ((feed, start, end, key, part), report) in self.reports() {
            for (name, c) in report.group.columns.iter() {
                let (count, missing) = (c.count as i64, c.missing as i64);
                let quantiles = quantiles(c).and_then(|text| RawValue::from_string(text).ok()).map(Json);
                rows.write(&[
                    &&**feed,
                    start,
                    end,
                    key,
                    part,
                    &name,
                    &count,
                    &missing,
                    &c.sum,
                    &c.mean,
                    &c.variance,
                    &c.std,
                    &c.skewness,
                    &c.kurtosis,
                    &c.min,
                    &c.max,
                    &quantiles,
                    &c.ewm_mean,
                    &c.ewm_variance,
                ])?;
            }
        }
        Ok(rows.finish()? > 0)
    }

    /// Whether there were any, be it empty ones.
    fn copy_matrices(&self, transaction: &mut Transaction<'_>, target: Target) -> Result<bool, postgres::Error> {
        let mut any = false;
        let types = [
            Type::TEXT,
            Type::TIMESTAMPTZ,
            Type::TIMESTAMPTZ,
            Type::TEXT,
            Type::INT8,
            Type::TEXT,
            Type::TEXT,
            Type::TEXT,
            Type::FLOAT8,
        ];
        let copy = transaction.copy_in(&target.copy("matrices", "new_matrices", MATRICES))?;
        let mut rows = BinaryCopyInWriter::new(copy, &types);
        for ((feed, start, end, key, part), report) in self.reports() {
            for (kind, matrix) in matrices(&report.group) {
                any |= matrix.is_some();
                for (a, b, value) in matrix.as_deref().into_iter().flat_map(entries) {
                    rows.write(&[&&**feed, start, end, key, part, &kind, &a, &b, &value])?;
                }
            }
        }
        rows.finish()?;
        Ok(any)
    }
}
