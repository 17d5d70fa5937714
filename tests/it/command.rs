//! The real command in a directory of its own: arguments and standard input in; status, standard output and error out.

use crate::support::data;
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A temporary directory that the command runs in; it goes with this value.
pub(crate) struct Place(TempDir);

/// What a run of the command left.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file; returns its name, which is an argument of the command here.
    pub(crate) fn write<'a>(&self, name: &'a str, bytes: impl AsRef<[u8]>) -> &'a str {
        std::fs::write(self.path(name), bytes).unwrap();
        name
    }

    /// The names that are here, sorted, hidden ones too.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        command
            .args(args)
            .current_dir(self.0.path())
            .env_remove("NO_COLOR")
            .env_remove("COLUMNS")
            // What is measured in a test is not kept.
            .env("MILLSTREAM_CACHE", "");
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Outcome {
        self.feed(args, b"")
    }

    /// Runs the command with these bytes on its standard input.
    pub(crate) fn feed(&self, args: &[&str], stdin: &[u8]) -> Outcome {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = child.stdin.take().unwrap();
        let output = std::thread::scope(|scope| {
            // A command that stops before the end of its input closes the pipe: that is its right.
            scope.spawn(move || drop(pipe.write_all(stdin)));
            child.wait_with_output().unwrap()
        });
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
        Outcome {
            status: output
                .status
                .code()
                .unwrap_or_else(|| panic!("{args:?}: {:?}", output.status)),
            stdout: output.stdout,
            stderr,
        }
    }

    /// Runs `analyze --format json` with these arguments, which must succeed.
    pub(crate) fn analyze(&self, args: &[&str]) -> Value {
        self.run(&[&["analyze", "--format", "json"], args].concat()).json()
    }
}

impl Outcome {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    /// The report on standard output of a run that succeeded.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.status, 0, "{}", self.stderr);
        serde_json::from_slice(&self.stdout).unwrap()
    }

    /// The run failed with this status, wrote nothing to standard output, and its message has all of these parts.
    #[track_caller]
    pub(crate) fn fails(&self, status: i32, parts: &[&str]) {
        assert_eq!(self.status, status, "{}", self.stderr);
        assert!(self.stdout.is_empty(), "{}", String::from_utf8_lossy(&self.stdout));
        for part in parts {
            assert!(self.stderr.contains(part), "{:?} lacks {part:?}", self.stderr);
        }
    }
}

/// A file of `examples/data`.
pub(crate) fn example(name: &str) -> String {
    let path = data("examples/data").join(name);
    path.into_os_string().into_string().unwrap()
}

/// The report without what a clock says.
pub(crate) fn timeless(mut report: Value) -> Value {
    let seconds = report.as_object_mut().unwrap().shift_remove("elapsed_seconds");
    assert!(seconds.is_some_and(|s| s.as_f64().is_some_and(|s| s >= 0.0)));
    report
}
