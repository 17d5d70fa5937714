//! Where the reports of a feed go.
//!
//! A sink is told of reports in the order in which they were made and is asked from time to time to make all of them
//! durable. What it answers then ([`SinkState`]) is kept in the checkpoint, and handed to it when it is opened again:
//! whatever was written behind that place is then written a second time, so a file is cut back to it, and a database
//! replaces rows by their keys.

#[cfg(feature = "kafka")]
mod kafka;
mod lines;
#[cfg(feature = "mqtt")]
mod mqtt;
mod open;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "parquet")]
mod rolling;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod state;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod stored;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod tables;

pub(crate) use open::check;
pub use open::{DEFAULT_ROLL_BYTES, SinkFormat, SinkOptions, open};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use stored::StoredFeed;

use crate::error::Result;
use crate::report::{Alert, Emission};
use crate::spec::Spec;
use std::sync::{Arc, Mutex, PoisonError};

/// What a sink is told of a feed before its first report.
#[derive(Debug, Clone, PartialEq)]
pub struct Feed {
    /// Its name.
    pub name: Arc<str>,
    /// What its summaries are made of and its reports show.
    pub spec: Spec,
    /// Whether its reports have exponentially weighted statistics.
    pub ewm: bool,
}

/// What a sink needs to know to go on where a checkpoint stands; each sink has its own form.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SinkState(pub Vec<u8>);

/// What goes wrong with a sink just now, and is tried again; anyone may look at any time.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<Option<String>>>);

impl Health {
    /// What goes wrong; nothing where all is well.
    pub fn failure(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets what goes wrong.
    pub fn set(&self, failure: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }
}

/// Takes reports.
pub trait Sink: Send {
    /// What messages call it.
    fn name(&self) -> &str;
    /// What goes wrong with it, to be looked at while it writes.
    fn health(&self) -> Health {
        Health::default()
    }
    /// Takes the next reports. They need not be durable, or visible, before [`Sink::flush`]. All or none: after an error
    /// the same reports may be written again.
    ///
    /// # Errors
    /// [`Error::Output`](crate::Error::Output) if they cannot be written.
    fn write(&mut self, reports: &[Emission]) -> Result<()>;
    /// Takes the beginning or the end of an alert.
    ///
    /// # Errors
    /// As [`Sink::write`].
    fn alert(&mut self, alert: &Alert) -> Result<()>;
    /// Hands on what is held back (a transaction, a buffer), so that a reader sees it.
    ///
    /// # Errors
    /// As [`Sink::write`].
    fn flush(&mut self) -> Result<()>;
    /// No report follows: ends what is still being made (a Parquet file), so that a checkpoint after it finds files whole.
    ///
    /// # Errors
    /// As [`Sink::write`].
    fn end(&mut self) -> Result<()> {
        Ok(())
    }
    /// Makes everything durable; what comes back opens the sink again at this place.
    ///
    /// # Errors
    /// As [`Sink::write`].
    fn checkpoint(&mut self) -> Result<SinkState>;
    /// Ends it: everything durable, files whole.
    ///
    /// # Errors
    /// As [`Sink::write`].
    fn finish(self: Box<Self>) -> Result<()>;
}
