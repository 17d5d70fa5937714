//! What brokers give: messages, each of which holds whole records, and columns that stand outside of them.

use super::Rows;
use super::live::{Context, Settled, WireFormat, WireOptions, labelled};
use super::wire::Decoder;
use crate::error::{Error, Result};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Turns messages into rows.
///
/// Text settles the columns with the first message that has rows. A message that cannot be read is a bad row, and the
/// next one is read as if it had not been.
#[derive(Debug)]
pub(super) struct Messages {
    /// That of the feed, whose columns have the labels.
    outer: Arc<Settled>,
    /// That of the payloads.
    context: Context,
    source: String,
    labels: Vec<String>,
    decoder: Decoder,
    /// What was decoded and has not been given, and why no more could be.
    decoded: Vec<Rows>,
    failed: Option<Error>,
}

impl Messages {
    /// For messages of `source`, with these columns beside their rows.
    ///
    /// # Errors
    /// [`Error::Config`] for columns and types that make no sense together, and for csv without the names of its columns.
    pub(super) fn new(context: &Context, source: impl Into<String>, labels: Vec<String>) -> Result<Self> {
        if context.wire.format == WireFormat::Csv && context.wire.columns.is_none() {
            return Err(Error::Config(format!(
                "feed `{}`: csv in messages needs columns = [...], as a message has no header",
                context.name
            )));
        }
        let source = source.into();
        let outer = Arc::clone(&context.schema);
        let mut context = context.clone();
        if !labels.is_empty() {
            context.schema = Arc::new(outer.without(&labels)?);
            let of_payload = |names: &Vec<String>| -> Vec<String> {
                names.iter().filter(|name| !labels.contains(name)).cloned().collect()
            };
            let wire = &context.wire;
            context.wire = Arc::new(WireOptions {
                wanted: wire.wanted.as_ref().map(of_payload),
                keys: of_payload(&wire.keys),
                ..WireOptions::clone(wire)
            });
        }
        let decoder = Decoder::new(&context, source.as_str())?;
        Ok(Self {
            outer,
            context,
            source,
            labels,
            decoder,
            decoded: Vec::new(),
            failed: None,
        })
    }

    /// Takes a message. With labels, its rows are to be taken before the next one.
    pub(super) fn push(&mut self, payload: &[u8]) {
        let counters = &self.context.counters;
        counters.bytes.fetch_add(payload.len() as u64, Ordering::Relaxed);
        self.decoder.push_whole(payload);
        // What ends a stream, or is not what the feed is to be of, ends the decoder with all that it holds.
        let ends_others = self.context.wire.format == WireFormat::Arrow || self.context.schema.get().is_none();
        if ends_others && self.labels.is_empty() {
            self.failed = self.failed.take().or(self.decode(&[]).err());
        }
    }

    /// The rows of what was taken, in order, with these values in the columns beside them.
    ///
    /// # Errors
    /// Where a label has the name of a column of the rows.
    pub(super) fn rows(&mut self, labels: &[&str]) -> Result<Vec<Rows>> {
        self.decode(labels)?;
        match self.failed.take() {
            Some(error) => Err(error),
            None => Ok(std::mem::take(&mut self.decoded)),
        }
    }

    fn decode(&mut self, labels: &[&str]) -> Result<()> {
        // A message is whole: nothing more comes that the columns could wait for.
        self.decoder.settle();
        loop {
            match self.decoder.next_rows() {
                Ok(None) => break,
                Ok(Some(rows)) => self.keep(rows, labels)?,
                Err(_) => {
                    // Said with a bad row.
                    self.context.counters.refused.fetch_add(1, Ordering::Relaxed);
                    self.decoder = Decoder::new(&self.context, self.source.as_str())?;
                }
            }
        }
        if self.context.wire.format == WireFormat::Arrow {
            // A stream ends with its message.
            if self.decoder.is_within_record() {
                self.decoder.abandon();
                while let Ok(Some(rows)) = self.decoder.next_rows() {
                    self.keep(rows, labels)?;
                }
            }
            self.decoder = Decoder::new(&self.context, self.source.as_str())?;
        }
        Ok(())
    }

    fn keep(&mut self, rows: Rows, labels: &[&str]) -> Result<()> {
        let rows = match self.labels.is_empty() {
            true => rows,
            false => self.label(rows, labels)?,
        };
        self.decoded.push(rows);
        Ok(())
    }

    fn label(&self, mut rows: Rows, labels: &[&str]) -> Result<Rows> {
        let schema = match self.outer.get() {
            Some(schema) => Arc::clone(schema),
            None if rows.batch.num_columns() == 0 => return Ok(rows),
            None => self.outer.settle(labelled(&rows.batch.schema(), &self.labels)?)?,
        };
        let count = rows.batch.num_rows();
        let column =
            |label: &&str| Arc::new(StringArray::from_iter_values(std::iter::repeat_n(label, count))) as ArrayRef;
        let columns = rows.batch.columns().iter().cloned().chain(labels.iter().map(column));
        rows.batch = RecordBatch::try_new(schema, columns.collect())
            .map_err(|e| Error::Failed(format!("columns cannot be put beside rows: {e}")))?;
        Ok(rows)
    }
}

/// Rows of several pieces as one, for which one position stands; nothing where there are none.
///
/// # Errors
/// Where their columns are not the same.
#[cfg(any(feature = "kafka", feature = "mqtt", feature = "rabbitmq"))]
pub(super) fn together(mut pieces: Vec<Rows>) -> Result<Option<Rows>> {
    // What came before the columns were settled has none.
    let with_columns = pieces
        .iter()
        .map(|rows| &rows.batch)
        .filter(|batch| batch.num_columns() > 0);
    let batch = match (pieces.len(), with_columns.clone().next()) {
        (0 | 1, _) => return Ok(pieces.pop()),
        (_, None) => pieces[0].batch.clone(),
        (_, Some(first)) => arrow::compute::concat_batches(&first.schema(), with_columns)
            .map_err(|e| Error::Failed(format!("messages cannot be put together: {e}")))?,
    };
    let bytes_read = pieces.last().map_or(0, |rows| rows.bytes_read);
    Ok(Some(Rows {
        batch,
        unkept: pieces.iter().map(|rows| rows.unkept).sum(),
        rejected: pieces.into_iter().flat_map(|rows| rows.rejected).collect(),
        bytes_read,
        arrived_ns: None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::live::{ColumnType, Counters, Limits, Stop};
    use arrow::array::{AsArray, Float64Array};
    use arrow::datatypes::{DataType, Field, Float64Type, Schema};
    use arrow::ipc::writer::StreamWriter;

    fn context(format: WireFormat, columns: Option<&[&str]>) -> Context {
        let wire = WireOptions {
            format,
            columns: columns.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
            types: [].into(),
            values: ColumnType::F64,
            wanted: None,
            time: None,
            keys: vec!["sensor".into()],
            numeric: Vec::new(),
            line_bytes_max: 1 << 20,
        };
        Context {
            name: "main".into(),
            wire: wire.into(),
            limits: Limits::default(),
            stop: Stop::default(),
            counters: Arc::new(Counters::default()),
            schema: Arc::default(),
        }
    }

    fn arrow(values: &[f64]) -> Vec<u8> {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Float64, true)]));
        let column: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column]).unwrap();
        let mut writer = StreamWriter::try_new(Vec::new(), &schema).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap()
    }

    /// The values of the column `a`, with the labels beside them, and how many rows were bad.
    fn all(rows: &[Rows]) -> (Vec<(f64, Option<String>)>, usize) {
        let of = |rows: &Rows| {
            let values = rows
                .batch
                .column_by_name("a")
                .map(|a| a.as_primitive::<Float64Type>().values().to_vec());
            let label = rows.batch.column_by_name("sensor").filter(|label| !label.is_empty());
            let label = label.map(|label| label.as_string::<i32>().value(0).to_owned());
            values
                .unwrap_or_default()
                .into_iter()
                .map(move |value| (value, label.clone()))
                .collect::<Vec<_>>()
        };
        (
            rows.iter().flat_map(of).collect(),
            rows.iter().map(|rows| rows.rejected.len()).sum(),
        )
    }

    #[test]
    fn a_message_that_cannot_be_read_spoils_no_other() {
        let context_of = |format| context(format, (format == WireFormat::Csv).then_some(&["a"]));
        let streams = [arrow(&[1.0, 2.0]), arrow(&[3.0])];
        for (format, first, bad, last) in [
            (WireFormat::Csv, &b"1\n2"[..], &b"x\n"[..], &b"3\n"[..]),
            (WireFormat::Ndjson, b"{\"a\":1}\n{\"a\":2}", b"{\"a\":", b"{\"a\":3}"),
            (WireFormat::Ndjson, b"{\"a\":1}\n{\"a\":2}", b"[1, 2]", b"{\"a\":3}"),
            (WireFormat::Arrow, &streams[0], b"nothing of this kind", &streams[1]),
            // Cut off in the middle.
            (
                WireFormat::Arrow,
                &streams[0],
                &streams[1][..streams[1].len() / 2],
                &streams[1],
            ),
        ] {
            let mut messages = Messages::new(&context_of(format), "test", Vec::new()).unwrap();
            let mut rows = Vec::new();
            // One after another, then all at once.
            for message in [first, bad, last] {
                messages.push(message);
                rows.extend(messages.rows(&[]).unwrap());
            }
            let mut at_once = Messages::new(&context_of(format), "test", Vec::new()).unwrap();
            [first, bad, last].iter().for_each(|message| at_once.push(message));
            assert_eq!(all(&at_once.rows(&[]).unwrap()), all(&rows), "{format:?}");
            let (values, rejected) = all(&rows);
            assert_eq!(values, [(1.0, None), (2.0, None), (3.0, None)], "{format:?}");
            assert_eq!(rejected, 1, "{format:?}");
        }
    }

    #[test]
    fn labels_are_columns_beside_the_rows() {
        let context_of = context;
        let context = context_of(WireFormat::Ndjson, None);
        let mut messages = Messages::new(&context, "test", vec!["sensor".into()]).unwrap();
        let mut rows = Vec::new();
        for (payload, label) in [("{\"a\":1}", "x"), ("{\"a\":2}\n{\"a\":3}\n{", "y")] {
            messages.push(payload.as_bytes());
            rows.extend(messages.rows(&[label]).unwrap());
        }
        let of = |value, label: &str| (value, Some(label.to_owned()));
        assert_eq!(all(&rows), (vec![of(1.0, "x"), of(2.0, "y"), of(3.0, "y")], 1));
        // Another run goes on with the columns of the feed.
        let mut again = Messages::new(&context, "test", vec!["sensor".into()]).unwrap();
        again.push(b"{\"a\":4}");
        assert_eq!(all(&again.rows(&["z"]).unwrap()), (vec![of(4.0, "z")], 0));
        assert!(Messages::new(&context, "test", vec!["station".into()]).is_err());
        let same = Messages::new(&context_of(WireFormat::Ndjson, None), "test", vec!["a".into()]);
        let mut same = same.unwrap();
        same.push(b"{\"a\":1}");
        let spoilt = same.rows(&["z"]).unwrap();
        assert_eq!(spoilt[0].rejected.len(), 1, "a label may not have the name of a column");
    }
}
