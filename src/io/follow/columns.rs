//! Files of a feed that are not records one after the other: Parquet, compressed text, an IPC file, a JSON array.
//!
//! The readers of files read them, once and to their end. The place to resume from is a number of rows, which are read
//! again and passed over.

use crate::error::{Error, Result};
use crate::io::bytes::Compression;
use crate::io::live::{Context, WireFormat};
use crate::io::{Format, Position, Read, ReadOptions, Source, open, whole};
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// How a file is read that is not records one after the other (Parquet, compressed text, an IPC file, a JSON array).
pub(super) fn needs_reader(context: &Context, path: &Path, follow: bool) -> Result<Option<ReadOptions>> {
    let extension = Format::of(path).ok();
    let is_compressed = Compression::of_name(path) != Compression::None;
    let mut options = context.wire.read_options();
    options.format = match context.wire.format {
        _ if extension == Some(Format::Parquet) => Some(Format::Parquet),
        WireFormat::Csv if extension == Some(Format::Tsv) => Some(Format::Tsv),
        WireFormat::Csv => Some(Format::Csv),
        WireFormat::Ndjson => Some(Format::Ndjson),
        WireFormat::Arrow => Some(Format::Arrow),
        WireFormat::Binary => None,
    };
    let mut is_other = is_compressed || extension == Some(Format::Parquet);
    if !is_other && !follow {
        let mut head = Vec::new();
        if let Ok((file, _)) = super::opened(path) {
            let _ = io::Read::read_to_end(&mut io::Read::take(file, whole::HEAD_BYTES as u64), &mut head);
        }
        let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&head).trim_ascii_start();
        is_other = match context.wire.format {
            WireFormat::Arrow => head.starts_with(whole::ARROW_MAGIC),
            WireFormat::Ndjson => text.first() == Some(&b'['),
            _ => false,
        };
    }
    if !is_other {
        return Ok(None);
    }
    if follow {
        return Err(Error::Config(format!(
            "feed `{}`: {} cannot be followed, as it is written as a whole; follow = false reads it",
            context.name,
            whole::name(path)
        )));
    }
    if options.format.is_none() {
        return Err(Error::Config(format!(
            "feed `{}`: {} is compressed, which format = \"binary\" is not read from",
            context.name,
            whole::name(path)
        )));
    }
    Ok(Some(options))
}

/// A file that the readers of files read.
pub(super) struct Columns {
    pub(super) name: String,
    source: Box<dyn Source>,
    pub(super) schema: SchemaRef,
    pub(super) partition: u32,
    /// Rows that had been read before.
    skip: u64,
    /// Which file it is.
    generation: u64,
    pub(super) note: Option<String>,
    /// Whether the note was said.
    pub(super) said: bool,
}

impl fmt::Debug for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Columns")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Columns {
    pub(super) fn open(context: &Context, path: &Path, options: &ReadOptions, from: Position) -> Result<Self> {
        let mut source = open(&[path.to_owned()], options)?;
        let settled = context.schema.get().cloned();
        let names = match (&settled, &context.wire.wanted) {
            (Some(settled), _) => settled.fields().iter().map(|f| f.name().clone()).collect(),
            (None, Some(wanted)) => wanted.clone(),
            (None, None) => source
                .schema()
                .fields()
                .iter()
                .map(|f| f.name().clone())
                .collect::<Vec<_>>(),
        };
        source.select(&names)?;
        let all = source.schema();
        let places: Result<Vec<usize>, _> = names.iter().map(|name| all.index_of(name)).collect();
        let own = places.and_then(|places| all.project(&places)).map(Arc::new);
        let own = own.map_err(|e| Error::Usage(e.to_string()))?;
        let schema = context.schema.settle(own.clone())?;
        let types = |schema: &SchemaRef| {
            schema
                .fields()
                .iter()
                .map(|f| f.data_type().clone())
                .collect::<Vec<_>>()
        };
        if types(&schema) != types(&own) {
            return Err(Error::Data(format!(
                "{}: its columns have the types {:?} and those of the feed {:?}",
                whole::name(path),
                types(&own),
                types(&schema)
            )));
        }
        let name = whole::name(path);
        let generation = std::fs::metadata(path).map_or(0, |metadata| super::identity(&metadata));
        let is_new = from.generation != 0 && from.generation != generation;
        Ok(Self {
            source,
            schema,
            partition: from.partition,
            skip: if is_new { 0 } else { from.rows },
            generation,
            note: is_new
                .then(|| format!("{name} is another file than the one that was read: it is read from its start")),
            said: false,
            name,
        })
    }

    pub(super) fn read(&mut self) -> Result<Read> {
        loop {
            let Read::Batch(mut rows, position) = self.source.read()? else {
                return Ok(Read::End);
            };
            if position.rows <= self.skip {
                continue;
            }
            // A batch that was given in part: its good rows come first.
            let own = rows.count();
            let before = self.skip.saturating_sub(position.rows - own);
            let before = usize::try_from(before).unwrap_or(0).min(rows.batch.num_rows());
            rows.batch = rows.batch.slice(before, rows.batch.num_rows() - before);
            rows.batch = RecordBatch::try_new_with_options(
                self.schema.clone(),
                rows.batch.columns().to_vec(),
                &RecordBatchOptions::new().with_row_count(Some(rows.batch.num_rows())),
            )
            .map_err(|e| whole::damaged(&self.name, e))?;
            let position = Position {
                partition: self.partition,
                generation: self.generation,
                ..position
            };
            return Ok(Read::Batch(rows, position));
        }
    }
}
