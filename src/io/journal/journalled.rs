//! A source without positions becomes one with them: what it gives goes through a journal.

use super::{Appender, Journal, JournalSource, JournalState, Refused};
use crate::error::{Error, Result};
use crate::io::{About, Position, Read, Source};
use arrow::datatypes::SchemaRef;
use crossbeam::channel::{Receiver, Sender, bounded};
use std::sync::Arc;

/// A source whose rows are durable before they are given.
///
/// A thread reads it from the first [`Source::read`] on. Nobody is told where the journal cannot be written, so the
/// source is not read on until it can: its senders wait, or it counts what it drops.
#[derive(Debug)]
pub struct Journalled {
    /// Until the first read.
    inner: Option<Box<dyn Inner>>,
    appender: Option<Appender>,
    journal: JournalSource,
    about: About,
    /// What ended the thread.
    failed: Option<Receiver<Error>>,
}

/// A source that can be shown.
trait Inner: Source {}

impl<T: Source> Inner for T {}

impl std::fmt::Debug for dyn Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a source")
    }
}

impl Journalled {
    /// Puts a source behind a journal.
    ///
    /// # Errors
    /// As [`Journal::start`].
    pub fn new(inner: impl Source + 'static, journal: Journal) -> Result<Self> {
        let about = inner.about();
        let (appender, journal) = journal.start()?;
        Ok(Self {
            inner: Some(Box::new(inner)),
            appender: Some(appender),
            journal,
            about,
            failed: None,
        })
    }

    /// What is known of the journal while it is written.
    pub fn state(&self) -> Arc<JournalState> {
        self.journal.state()
    }
}

/// Reads a source to its end.
fn pump(mut inner: Box<dyn Inner>, appender: &Appender, failed: &Sender<Error>) {
    loop {
        let refused = match inner.read() {
            Ok(Read::Batch(rows, _)) => match appender.append(rows) {
                Ok(()) => continue,
                Err(Refused::Unfit(e)) => e,
                Err(Refused::Closed | Refused::Full) => return,
            },
            // A source waits for rows before it says that there are none.
            Ok(Read::Idle) if !appender.is_closed() => continue,
            Ok(Read::Idle) => return,
            Ok(Read::End) => return,
            Err(e) => e,
        };
        // Where nobody listens nobody is told.
        let _ = failed.try_send(refused);
        return;
    }
}

impl Source for Journalled {
    fn schema(&self) -> SchemaRef {
        match &self.inner {
            Some(inner) if self.journal.schema.get().is_none() => inner.schema(),
            _ => self.journal.schema(),
        }
    }

    fn select(&mut self, columns: &[String]) -> Result<()> {
        // The rows of the journal may have been selected differently.
        self.journal.select(columns)?;
        self.inner.as_mut().map_or(Ok(()), |inner| inner.select(columns))
    }

    fn about(&self) -> About {
        self.about.clone()
    }

    fn read(&mut self) -> Result<Read> {
        if let (Some(inner), Some(appender)) = (self.inner.take(), self.appender.take()) {
            let (sender, failed) = bounded(1);
            self.failed = Some(failed);
            let spawned = std::thread::Builder::new()
                .name("journalled".into())
                .spawn(move || pump(inner, &appender, &sender));
            spawned.map_err(|e| Error::Failed(format!("the thread of a journalled feed cannot be started: {e}")))?;
        }
        match self.journal.read()? {
            // Everything that was taken has been given: now what ended it.
            Read::End => match self.failed.as_ref().and_then(|failed| failed.try_recv().ok()) {
                Some(error) => Err(error),
                None => Ok(Read::End),
            },
            read => Ok(read),
        }
    }

    fn commit(&mut self, upto: &Position) -> Result<()> {
        self.journal.commit(upto)
    }
}
