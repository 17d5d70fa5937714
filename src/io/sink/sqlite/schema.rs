//! The tables of a database of reports, its version, and what goes wrong with databases in words.

use crate::error::{Error, Result};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::path::Path;
use std::time::Duration;

/// How long another program may hold a lock before that is an error: longer than any reader needs it, and shorter than
/// people take to wonder.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// What SQLite keeps in the header to tell whose database it is: `MSTR`.
const APPLICATION_ID: i32 = i32::from_be_bytes(*b"MSTR");

/// The version of the tables; no newer one is read or written.
pub(super) const SCHEMA_VERSION: i32 = 1;

/// What every SQLite database begins with.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// The tables. `windows` has the large rows, so it is a table with row numbers; the others lie in the order of their
/// keys, without an index beside them.
const TABLES: &str = "
CREATE TABLE feeds (
    feed TEXT NOT NULL PRIMARY KEY, columns TEXT, keys TEXT NOT NULL,
    window_unit TEXT NOT NULL, window_size INTEGER, window_slide INTEGER, statistics TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE windows (
    feed TEXT NOT NULL, window_start TEXT NOT NULL, window_end TEXT NOT NULL, key TEXT NOT NULL, part INTEGER NOT NULL,
    rows INTEGER NOT NULL, revision INTEGER NOT NULL, final INTEGER NOT NULL, summary BLOB NOT NULL,
    PRIMARY KEY (feed, window_start, window_end, key, part)
);
CREATE TABLE column_statistics (
    feed TEXT NOT NULL, window_start TEXT NOT NULL, window_end TEXT NOT NULL, key TEXT NOT NULL, part INTEGER NOT NULL,
    column_name TEXT NOT NULL, count INTEGER NOT NULL, missing INTEGER NOT NULL, sum REAL, mean REAL, variance REAL,
    std REAL, skewness REAL, kurtosis REAL, min REAL, max REAL, quantiles TEXT, ewm_mean REAL, ewm_variance REAL,
    PRIMARY KEY (feed, window_start, window_end, key, part, column_name)
) WITHOUT ROWID;
CREATE TABLE matrices (
    feed TEXT NOT NULL, window_start TEXT NOT NULL, window_end TEXT NOT NULL, key TEXT NOT NULL, part INTEGER NOT NULL,
    kind TEXT NOT NULL, column_a TEXT NOT NULL, column_b TEXT NOT NULL, value REAL,
    PRIMARY KEY (feed, window_start, window_end, key, part, kind, column_a, column_b)
) WITHOUT ROWID;
CREATE TABLE alerts (
    feed TEXT NOT NULL, name TEXT NOT NULL, key TEXT NOT NULL, started TEXT NOT NULL, ended TEXT, value REAL,
    PRIMARY KEY (feed, name, key, started)
) WITHOUT ROWID;
";

/// Opens the database at `path` to be written, and makes the tables in an empty one.
pub(super) fn open_to_write(path: &Path) -> Result<Connection> {
    refuse_what_is_none(path, |e| Error::Output {
        path: path.to_owned(),
        source: e,
    })?;
    let failed = |e| failed(path, e);
    let connection = Connection::open(path).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    // Not inside a transaction, so before anything else; a database in memory or on an odd file system keeps its mode.
    connection
        .query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))
        .map_err(failed)?;
    connection
        .execute_batch("PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE")
        .map_err(failed)?;
    let objects: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))
        .map_err(failed)?;
    if objects == 0 {
        let marks = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}");
        connection.execute_batch(TABLES).map_err(failed)?;
        connection.execute_batch(&marks).map_err(failed)?;
    } else {
        check(&connection, path)?;
    }
    connection.execute_batch("COMMIT").map_err(failed)?;
    Ok(connection)
}

/// Opens the database at `path` to be read.
pub(super) fn open_to_read(path: &Path) -> Result<Connection> {
    let input = |source| Error::Input {
        path: path.to_owned(),
        source,
    };
    std::fs::metadata(path).map_err(input)?;
    refuse_what_is_none(path, input)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|e| failed(path, e))?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(|e| failed(path, e))?;
    check(&connection, path)?;
    Ok(connection)
}

/// That a file which is there can be a database: SQLite finds out later and says less.
fn refuse_what_is_none(path: &Path, said: impl Fn(std::io::Error) -> Error) -> Result<()> {
    use std::io::Read;
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return Err(said(std::io::ErrorKind::IsADirectory.into())),
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let directory = path.parent().filter(|d| !d.as_os_str().is_empty());
            return match directory.filter(|d| !d.is_dir()) {
                Some(d) => {
                    let why = format!("there is no directory {}", d.display());
                    Err(said(std::io::Error::new(std::io::ErrorKind::NotFound, why)))
                }
                None => Ok(()),
            };
        }
        Err(e) => return Err(said(e)),
    }
    let mut head = Vec::new();
    let file = std::fs::File::open(path).map_err(&said)?;
    file.take(MAGIC.len() as u64).read_to_end(&mut head).map_err(&said)?;
    if head.is_empty() || head == MAGIC {
        return Ok(());
    }
    Err(Error::Config(format!(
        "{} is no SQLite database (it begins with {}): only a database written by a sink of type sqlite holds summaries",
        path.display(),
        crate::error::quote(&head)
    )))
}

/// That the tables are ours and not newer than this program.
fn check(connection: &Connection, path: &Path) -> Result<()> {
    let pragma = |name: &str| -> Result<i32> {
        let value = connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0));
        value.map_err(|e| failed(path, e))
    };
    if pragma("application_id")? != APPLICATION_ID {
        return Err(Error::Config(format!(
            "{} is a SQLite database of something else: name another file",
            path.display()
        )));
    }
    let version = pragma("user_version")?;
    if version > SCHEMA_VERSION {
        return Err(Error::Config(format!(
            "{} was written by a newer version of this program (its tables are of version {version}, this one knows \
             {SCHEMA_VERSION}): update, or name another file",
            path.display()
        )));
    }
    Ok(())
}

/// What SQLite said, in words, as the error of an output.
pub(super) fn failed(path: &Path, error: rusqlite::Error) -> Error {
    use std::io::ErrorKind;
    let (kind, why) = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            ErrorKind::ResourceBusy,
            format!(
                "another program has locked the database for more than {} s: let it end its transaction",
                BUSY_TIMEOUT.as_secs()
            ),
        ),
        Some(ErrorCode::DiskFull) => (ErrorKind::StorageFull, "there is no room left on the disk".to_owned()),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            let why = format!(
                "the database is damaged ({error}): restore it, or move it away; `sqlite3 FILE .recover` saves what can be read"
            );
            return Error::Data(format!("{}: {why}", path.display()));
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => (
            ErrorKind::PermissionDenied,
            format!("the database cannot be written to ({error})"),
        ),
        _ => (ErrorKind::Other, error.to_string()),
    };
    Error::Output {
        path: path.to_owned(),
        source: std::io::Error::new(kind, why),
    }
}
