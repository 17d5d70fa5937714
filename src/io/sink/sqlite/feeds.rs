//! The feeds of a SQLite database.

use crate::error::Result;
use crate::io::sink::Feed;
use crate::io::sink::stored::{FeedRow, StoredFeed, check_same, names_json};
use rusqlite::{Connection, OptionalExtension, params};
use std::path::Path;

/// The feed of this name, if the database has it.
pub(super) fn stored(connection: &Connection, name: &str) -> rusqlite::Result<Option<StoredFeed>> {
    let sql = "SELECT columns, keys, window_unit, window_size, window_slide, statistics FROM feeds WHERE feed = ?1";
    let mut statement = connection.prepare(sql)?;
    let row = statement.query_row([name], |row| {
        Ok(FeedRow {
            columns: row.get(0)?,
            keys: row.get(1)?,
            window_unit: row.get(2)?,
            window_size: row.get(3)?,
            window_slide: row.get(4)?,
            statistics: row.get(5)?,
        })
    });
    let feed = |row: FeedRow| {
        let text = rusqlite::types::Type::Text;
        let damaged = |e| rusqlite::Error::FromSqlConversionFailure(0, text, Box::new(e));
        row.feed(name).map_err(damaged)
    };
    row.optional()?.map(feed).transpose()
}

/// Writes a feed down, or checks that it is the one that is there.
///
/// # Errors
/// [`Error::Config`](crate::Error::Config) for another feed of this name.
pub(super) fn register(connection: &Connection, path: &Path, feed: &Feed) -> Result<StoredFeed> {
    let failed = |e| super::schema::failed(path, e);
    if let Some(stored) = stored(connection, &feed.name).map_err(failed)? {
        check_same(&path.display().to_string(), &stored, feed)?;
        return Ok(stored);
    }
    let row = FeedRow::of(feed)?;
    let values = params![
        &*feed.name,
        row.columns,
        row.keys,
        row.window_unit,
        row.window_size,
        row.window_slide,
        row.statistics
    ];
    connection
        .execute("INSERT INTO feeds VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)", values)
        .map_err(failed)?;
    Ok(StoredFeed {
        name: feed.name.to_string(),
        columns: Vec::new(),
        spec: feed.spec.clone(),
    })
}

/// Writes the names of the columns down.
pub(super) fn name_columns(connection: &Connection, path: &Path, feed: &str, columns: &[String]) -> Result<()> {
    let json = names_json(columns)?;
    connection
        .execute("UPDATE feeds SET columns = ?2 WHERE feed = ?1", params![feed, json])
        .map_err(|e| super::schema::failed(path, e))?;
    Ok(())
}
