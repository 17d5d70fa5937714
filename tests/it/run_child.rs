//! The command `run` as a process that goes on beside the test, for the tests of its files and configurations.

use crate::command::Place;
use crate::feed_support::PATIENCE;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

/// A run that ends by itself, by a signal, or with this value.
pub(crate) struct RunChild {
    child: Child,
    said: Receiver<String>,
    heard: Vec<String>,
}

impl RunChild {
    pub(crate) fn start(place: &Place, config: &str) -> Self {
        let mut child = place
            .command(&["run", config])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (say, said) = channel();
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| say.send(line)));
        Self {
            child,
            said,
            heard: Vec::new(),
        }
    }

    /// Waits for a line with these words; its last word.
    pub(crate) fn says(&mut self, words: &str) -> String {
        loop {
            let line = self.said.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|e| panic!("no `{words}` ({e}) after {:?}", self.heard));
            self.heard.push(line.clone());
            if line.contains(words) {
                return line.split_whitespace().last().unwrap().to_owned();
            }
        }
    }

    /// Sends a signal and waits for the end: what was said.
    pub(crate) fn end_by(mut self, signal: &str) -> String {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        self.child.wait().unwrap();
        self.heard.extend(self.said.iter());
        self.heard.join("\n")
    }
}

impl Drop for RunChild {
    fn drop(&mut self) {
        // It has mostly ended; if a test has failed, it has not.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
