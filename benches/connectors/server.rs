//! Servers that scripts/services has started, and what the cases want of those that give messages.

use crate::bare::Tally;
use crate::rows::Rows;
use std::path::PathBuf;

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Server {
    folder: PathBuf,
}

impl Server {
    /// The server of this name, if somebody listens there.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let services = std::env::var_os("MILLSTREAM_SERVICES").map(PathBuf::from);
        let folder = services.unwrap_or_else(|| root.join("target/services")).join(name);
        let server = Self { folder };
        let port = server.port().ok()?;
        std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
        Some(server)
    }

    /// What stands in a file of its folder: `user`, `password`.
    pub(crate) fn says(&self, name: &str) -> Result<String, String> {
        let path = self.path(name);
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(text.trim().to_owned())
    }

    pub(crate) fn port(&self) -> Result<u16, String> {
        self.says("port")?.parse().map_err(|e| format!("a port: {e}"))
    }

    /// A file of its folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A name that nobody else uses in it.
    pub(crate) fn own_name() -> String {
        format!("bench_{}", std::process::id())
    }
}

/// A server that gives messages.
pub(crate) trait Broker {
    /// Its version.
    fn version(&mut self) -> String;

    /// Has all messages wait for whoever reads next.
    fn fill(&mut self, data: &Rows) -> Result<(), String>;

    /// The feed of a configuration that reads them, but for its format.
    fn feed(&self) -> String;

    /// Takes all of them, and does nothing with them.
    fn consume(&mut self, data: &Rows) -> Result<Tally, String>;

    /// Leaves nothing in the server.
    fn clear(self: Box<Self>) -> Result<(), String>;
}
