//! What a database of reports holds, read back to be merged.

use super::feeds;
use super::schema;
use crate::error::{Error, Result};
use crate::io::sink::stored::StoredFeed;
use crate::report::WindowBounds;
use crate::spec::Window;
use crate::summary::Summary;
use rusqlite::Connection;
use std::path::{Path, PathBuf};

/// A database that a sink wrote, opened to be read; a sink may go on writing meanwhile.
#[derive(Debug)]
pub struct Database {
    path: PathBuf,
    connection: Connection,
}

/// A window of a feed, without its summary.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StoredWindow {
    /// Its bounds; absent where the feed has no windows.
    pub window: Option<WindowBounds>,
    /// Its key as JSON; empty without keys.
    pub key: String,
    /// Which piece of the window and key it is.
    pub part: u64,
    /// Whether no later report of it will come.
    pub is_final: bool,
    /// Where it stands.
    row: i64,
}

impl Database {
    /// Opens a database.
    ///
    /// # Errors
    /// [`Error::Input`] if there is none, [`Error::Config`] for a file of another kind or a newer version,
    /// [`Error::Data`] for a damaged one.
    pub fn open(path: &Path) -> Result<Self> {
        // One moment for everything that is read.
        let connection = schema::open_to_read(path)?;
        connection.execute_batch("BEGIN").map_err(|e| reading(path, e))?;
        Ok(Self {
            path: path.to_owned(),
            connection,
        })
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its feeds, by name.
    ///
    /// # Errors
    /// [`Error::Data`] for what no sink wrote.
    pub fn feeds(&self) -> Result<Vec<StoredFeed>> {
        let read = || -> rusqlite::Result<Vec<StoredFeed>> {
            let mut names = self.connection.prepare("SELECT feed FROM feeds ORDER BY feed")?;
            let names = names
                .query_map([], |row| row.get(0))?
                .collect::<Result<Vec<String>, _>>()?;
            let feeds = names
                .iter()
                .filter_map(|name| feeds::stored(&self.connection, name).transpose());
            feeds.collect()
        };
        read().map_err(|e| reading(&self.path, e))
    }

    /// The windows of a feed, in any order.
    ///
    /// # Errors
    /// [`Error::Data`] for bounds that are none.
    pub fn windows(&self, feed: &StoredFeed) -> Result<Vec<StoredWindow>> {
        let failed = |e| reading(&self.path, e);
        let sql =
            "SELECT rowid, window_start, window_end, key, part, final FROM windows WHERE feed = ?1 ORDER BY rowid";
        let mut statement = self.connection.prepare(sql).map_err(failed)?;
        let mut rows = statement.query([&feed.name]).map_err(failed)?;
        let mut windows = Vec::new();
        while let Some(row) = rows.next().map_err(failed)? {
            let read = || -> rusqlite::Result<_> {
                let bounds: (String, String) = (row.get(1)?, row.get(2)?);
                let part: i64 = row.get(4)?;
                Ok((bounds, row.get(3)?, part as u64, row.get(5)?, row.get(0)?))
            };
            let ((start, end), key, part, is_final, number) = read().map_err(failed)?;
            let window = bounds(feed.spec.window, &start, &end).ok_or_else(|| {
                let path = self.path.display();
                Error::Data(format!(
                    "{path}: {start} to {end} is no window of the feed `{}`",
                    feed.name
                ))
            })?;
            windows.push(StoredWindow {
                window,
                key,
                part,
                is_final,
                row: number,
            });
        }
        Ok(windows)
    }

    /// The summary of a window.
    ///
    /// # Errors
    /// [`Error::Data`] for bytes that are none.
    pub fn summary(&self, window: &StoredWindow) -> Result<Summary> {
        let failed = |e| reading(&self.path, e);
        let mut statement = self
            .connection
            .prepare_cached("SELECT summary FROM windows WHERE rowid = ?1")
            .map_err(failed)?;
        let bytes: Vec<u8> = statement.query_row([window.row], |row| row.get(0)).map_err(failed)?;
        Summary::from_bytes(&bytes).map_err(|e| {
            Error::Data(format!(
                "{}: row {} of the table windows: {e}",
                self.path.display(),
                window.row
            ))
        })
    }
}

/// The bounds that a table has; the outer `None` for text that is none.
fn bounds(window: Option<Window>, start: &str, end: &str) -> Option<Option<WindowBounds>> {
    let instant = |text: &str| -> Option<i64> {
        let time: jiff::Timestamp = text.parse().ok()?;
        i64::try_from(time.as_nanosecond()).ok()
    };
    match window {
        None => (start.is_empty() && end.is_empty()).then_some(None),
        Some(Window::Time { .. }) => Some(Some(WindowBounds::Time {
            start_ns: instant(start)?,
            end_ns: instant(end)?,
        })),
        Some(Window::Rows { .. }) => Some(Some(WindowBounds::Rows {
            start: start.parse().ok()?,
            end: end.parse().ok()?,
        })),
    }
}

/// What SQLite said, as the error of an input.
fn reading(path: &Path, error: rusqlite::Error) -> Error {
    match schema::failed(path, error) {
        Error::Output { path, source } => Error::Input { path, source },
        other => other,
    }
}
