//! A thread that serves asynchronous clients, for threads that block.
//!
//! Clients of brokers answer them while nobody asks for anything (heartbeats, pings), so their sockets and timers are
//! served by a thread that does nothing else; whoever wants something of them waits for it where they are.

use crate::error::{Error, Result};
use std::future::Future;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// Serves until it is dropped.
#[derive(Debug)]
pub(super) struct Driver {
    handle: Handle,
    _until: oneshot::Sender<()>,
}

impl Driver {
    /// Begins to serve.
    ///
    /// # Errors
    /// [`Error::Failed`] where the system has no thread left.
    pub(super) fn start(name: &str) -> Result<Self> {
        let failed = |e: std::io::Error| Error::Failed(format!("{name}: its thread cannot be started: {e}"));
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (until, end) = oneshot::channel();
        std::thread::Builder::new()
            .name("millstream-client".into())
            .spawn(move || {
                // An end without a word is one too.
                let _ = runtime.block_on(end);
            })
            .map_err(failed)?;
        Ok(Self { handle, _until: until })
    }

    /// Waits for what is asked.
    pub(super) fn wait<F: Future>(&self, asked: F) -> F::Output {
        self.handle.block_on(asked)
    }

    /// Does this beside everything else.
    #[cfg(feature = "mqtt")]
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(task);
    }
}
