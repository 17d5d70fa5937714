//! A server that `scripts/services` has started: where it is, and what becomes of it.

use std::path::PathBuf;
use std::process::Command;

/// A real server.
pub(crate) struct Server(&'static str);

impl Server {
    /// The server of this name, which runs.
    ///
    /// # Panics
    /// If it does not: a test that needs it is not one without it.
    pub(crate) fn named(name: &'static str) -> Self {
        let server = Self(name);
        assert!(
            server.folder().join("port").is_file(),
            "there is no {name} server here: scripts/services start {name}"
        );
        // A test that failed may have left it ended.
        let port = server.says("port").parse().unwrap();
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            server.start();
        }
        server
    }

    fn folder(&self) -> PathBuf {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let services =
            std::env::var_os("MILLSTREAM_SERVICES").map_or_else(|| root.join("target/services"), PathBuf::from);
        services.join(self.0)
    }

    /// What stands in a file of its folder: `port`, `tls_port`, `user`, `password`.
    pub(crate) fn says(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.path(name)).unwrap();
        text.trim().to_owned()
    }

    /// A file of its folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// Ends it at once, as a crash does.
    pub(crate) fn kill(&self) {
        self.service("kill");
    }

    /// Starts it again, with its data.
    pub(crate) fn start(&self) {
        self.service("start");
    }

    fn service(&self, what: &str) {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts/services");
        let done = Command::new(script).args([what, self.0]).status().unwrap();
        assert!(done.success(), "scripts/services {what} {}", self.0);
    }
}
