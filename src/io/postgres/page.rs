//! The rows of one answer, as Arrow arrays of the types that the database says.

use super::connecting::Server;
use crate::error::{Error, Result};
use crate::io::Rows;
use crate::io::live::Context;
use crate::io::rejected::Rejected;
use crate::io::remote::PostgresFeed;
use crate::io::wire::Decoder;
use arrow::array::{
    ArrayRef, Float64Builder, Int64Builder, RecordBatch, RecordBatchOptions, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::ipc::writer::StreamWriter;
use bytes::BytesMut;
use postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use postgres::{Client, Row, Statement};
use std::sync::Arc;

/// Rows of a page: enough that the question costs little, few enough that a page is little memory.
const PAGE_ROWS: usize = 8192;

/// Microseconds from 1970-01-01T00:00:00Z to where the instants of PostgreSQL begin.
const EPOCH_US: i64 = 946_684_800_000_000;

/// Why there is no page.
pub(super) enum Trouble {
    /// It may be otherwise in a while.
    Passes(String),
    /// It will not.
    Stays(Error),
}

/// What a column comes as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Whole,
    Number,
    Text,
    /// With a zone, or as it stands.
    Time(bool),
}

impl Kind {
    fn of(kind: &Type) -> Self {
        match *kind {
            Type::INT2 | Type::INT4 | Type::INT8 | Type::BOOL => Self::Whole,
            Type::FLOAT4 | Type::FLOAT8 | Type::NUMERIC => Self::Number,
            Type::TIMESTAMPTZ => Self::Time(true),
            Type::TIMESTAMP | Type::DATE => Self::Time(false),
            _ => Self::Text,
        }
    }

    /// The column in the words of SQL, so that it comes as one of four types.
    fn sql(self, column: &str, kind: &Type) -> String {
        let column = quoted(column);
        match self {
            Self::Whole if *kind == Type::BOOL => format!("{column}::int::int8"),
            Self::Whole => format!("{column}::int8"),
            Self::Number => format!("{column}::float8"),
            Self::Text => format!("{column}::text"),
            Self::Time(true) => column,
            Self::Time(false) => format!("{column}::timestamp"),
        }
    }

    fn data_type(self) -> DataType {
        match self {
            Self::Whole => DataType::Int64,
            Self::Number => DataType::Float64,
            Self::Text => DataType::Utf8,
            Self::Time(zoned) => DataType::Timestamp(TimeUnit::Microsecond, zoned.then(|| "UTC".into())),
        }
    }
}

/// A name as SQL has it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A whole number or an instant, as the bits that the server has of it.
#[derive(Debug)]
struct Bits(i64);

impl<'a> FromSql<'a> for Bits {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        let bits = match raw.len() {
            2 => raw.first_chunk().map(|raw| i64::from(i16::from_be_bytes(*raw))),
            4 => raw.first_chunk().map(|raw| i64::from(i32::from_be_bytes(*raw))),
            _ => raw.first_chunk().map(|raw| i64::from_be_bytes(*raw)),
        };
        bits.map(Self).ok_or_else(|| "a value of no known length".into())
    }

    fn accepts(kind: &Type) -> bool {
        is_increasing(kind)
    }
}

impl ToSql for Bits {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match *kind {
            Type::INT2 => out.extend_from_slice(&i16::try_from(self.0)?.to_be_bytes()),
            Type::INT4 => out.extend_from_slice(&i32::try_from(self.0)?.to_be_bytes()),
            _ => out.extend_from_slice(&self.0.to_be_bytes()),
        }
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        is_increasing(kind)
    }

    to_sql_checked!();
}

/// Whether a column of this type can tell where a feed is.
fn is_increasing(kind: &Type) -> bool {
    [Type::INT2, Type::INT4, Type::INT8, Type::TIMESTAMP, Type::TIMESTAMPTZ].contains(kind)
}

/// The question for the next page.
pub(super) struct Pages {
    name: String,
    kinds: Vec<Kind>,
    schema: SchemaRef,
    /// For the first page, and for one behind a value.
    first: Statement,
    next: Statement,
    bytes_read: u64,
}

impl Pages {
    /// Has the server look at the query, and settles the columns of the feed.
    pub(super) fn prepare(
        client: &mut Client,
        server: &Server,
        context: &Context,
        feed: &PostgresFeed,
        name: &str,
    ) -> Result<Self> {
        let wrong = |why: String| Error::Config(format!("{}: {why}", server.name()));
        let query = feed.query.trim().trim_end_matches(';');
        // A comment at its end ends with the line.
        let looked = client.prepare(&format!("SELECT * FROM ({query}\n) AS q"));
        let looked = looked.map_err(|e| server.refused(e))?;
        let there = || {
            looked
                .columns()
                .iter()
                .map(|c| format!("`{}`", c.name()))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let type_of = |column: &str| {
            let found = looked.columns().iter().find(|c| c.name() == column);
            found
                .map(postgres::Column::type_)
                .ok_or_else(|| wrong(format!("the query has no column `{column}`; there are {}", there())))
        };
        let place = type_of(&feed.column)?;
        if !is_increasing(place) {
            return Err(wrong(format!(
                "column = \"{}\" is of type {place}: it takes smallint, integer, bigint, timestamp or timestamptz",
                feed.column
            )));
        }
        let wanted = match &context.wire.wanted {
            Some(wanted) => wanted.clone(),
            None => looked.columns().iter().map(|c| c.name().to_owned()).collect(),
        };
        let (mut kinds, mut fields, mut list) = (Vec::new(), Vec::new(), String::new());
        for column in &wanted {
            let of = type_of(column)?;
            let kind = Kind::of(of);
            list.push_str(&kind.sql(column, of));
            list.push_str(", ");
            kinds.push(kind);
            fields.push(Field::new(column, kind.data_type(), true));
        }
        // Of the query: a column that is converted has its name too.
        let place = format!("q.{}", quoted(&feed.column));
        let mut question = |condition: &str| {
            let sql = format!(
                "SELECT {list}{place} FROM ({query}\n) AS q WHERE {place} {condition} ORDER BY {place} \
                 FETCH FIRST {PAGE_ROWS} ROWS WITH TIES"
            );
            client.prepare(&sql).map_err(|e| server.refused(e))
        };
        let pages = Self {
            name: name.to_owned(),
            kinds,
            schema: Arc::new(Schema::new(fields)),
            first: question("IS NOT NULL")?,
            next: question("> $1")?,
            bytes_read: 0,
        };
        let none = RecordBatch::new_empty(Arc::clone(&pages.schema));
        let mut decoder = Decoder::new(context, name)?;
        decoder.push(&stream(&none)?);
        while decoder.next_rows().map_err(|e| wrong(e.to_string()))?.is_some() {}
        Ok(pages)
    }

    /// The page behind `last` with the value of its last row, if there are rows; and whether there may be more.
    pub(super) fn next(
        &mut self,
        client: &mut Client,
        server: &Server,
        context: &Context,
        last: Option<i64>,
    ) -> Result<(Option<(Rows, i64)>, bool), Trouble> {
        let passes = |e: postgres::Error| Trouble::Passes(format!("{}: {}", server.place(), server.words(&e.into())));
        let rows = match last {
            None => client.query(&self.first, &[]),
            Some(last) => client.query(&self.next, &[&Bits(last)]),
        };
        let rows = rows.map_err(passes)?;
        let Some(newest) = rows.last() else {
            return Ok((None, false));
        };
        let Bits(newest) = newest.try_get(self.kinds.len()).map_err(passes)?;
        let is_full = rows.len() >= PAGE_ROWS;
        let rows = self.decode(context, &rows).map_err(Trouble::Stays)?;
        Ok((Some((rows, newest)), is_full))
    }

    fn decode(&mut self, context: &Context, rows: &[Row]) -> Result<Rows> {
        let mut decoder = Decoder::new(context, self.name.as_str())?;
        let (mut batches, mut rejected, mut more) = (Vec::new(), Rejected::default(), 0);
        for rows in rows.chunks(PAGE_ROWS) {
            let bytes = stream(&self.batch(rows)?)?;
            self.bytes_read += bytes.len() as u64;
            context
                .counters
                .bytes
                .fetch_add(bytes.len() as u64, std::sync::atomic::Ordering::Relaxed);
            decoder.push(&bytes);
            while let Some(rows) = decoder.next_rows()? {
                rejected.extend(rows.rejected);
                more += rows.unkept;
                batches.push(rows.batch);
            }
        }
        rejected.count_only(more);
        let (rejected, unkept) = rejected.into_parts();
        let together = match &batches[..] {
            [] => Ok(RecordBatch::new_empty(crate::io::live::settled(context))),
            [only] => Ok(only.clone()),
            [first, ..] => concat_batches(&first.schema(), &batches),
        };
        Ok(Rows {
            batch: together.map_err(|e| self.impossible(&e))?,
            rejected,
            unkept,
            bytes_read: self.bytes_read,
            arrived_ns: None,
        })
    }

    fn batch(&self, rows: &[Row]) -> Result<RecordBatch> {
        let column = |(at, kind): (usize, &Kind)| array(rows, at, *kind).map_err(|e| self.impossible(&e));
        let columns = self.kinds.iter().enumerate().map(column).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options);
        batch.map_err(|e| self.impossible(&e))
    }

    fn impossible(&self, why: &dyn std::fmt::Display) -> Error {
        Error::Failed(format!("{}: rows cannot be taken: {why}", self.name))
    }
}

/// A column of these rows.
fn array(rows: &[Row], at: usize, kind: Kind) -> Result<ArrayRef, postgres::Error> {
    Ok(match kind {
        Kind::Whole => {
            let mut column = Int64Builder::with_capacity(rows.len());
            for row in rows {
                column.append_option(row.try_get::<_, Option<i64>>(at)?);
            }
            Arc::new(column.finish())
        }
        Kind::Number => {
            let mut column = Float64Builder::with_capacity(rows.len());
            for row in rows {
                column.append_option(row.try_get::<_, Option<f64>>(at)?);
            }
            Arc::new(column.finish())
        }
        Kind::Text => {
            let mut column = StringBuilder::new();
            for row in rows {
                column.append_option(row.try_get::<_, Option<&str>>(at)?);
            }
            Arc::new(column.finish())
        }
        Kind::Time(zoned) => {
            let mut column = TimestampMicrosecondBuilder::with_capacity(rows.len());
            for row in rows {
                // What is infinite stays beyond every instant.
                let us = row
                    .try_get::<_, Option<Bits>>(at)?
                    .map(|Bits(us)| us.saturating_add(EPOCH_US));
                column.append_option(us);
            }
            let column = column.finish();
            match zoned {
                true => Arc::new(column.with_timezone("UTC")),
                false => Arc::new(column),
            }
        }
    })
}

/// A batch as an Arrow stream.
fn stream(batch: &RecordBatch) -> Result<Vec<u8>> {
    let failed = |e: arrow::error::ArrowError| Error::Failed(format!("rows cannot be written as Arrow: {e}"));
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).map_err(failed)?;
    writer.write(batch).map_err(failed)?;
    writer.finish().map_err(failed)?;
    writer.into_inner().map_err(failed)
}
