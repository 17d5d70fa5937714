//! How far the reading has come: a bar on standard error where that is a terminal, once the work has taken a while.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Work that is done before this needs no bar: one that flashes up and goes says nothing.
const QUIET: Duration = Duration::from_millis(500);

/// How often the bar is drawn where nothing is heard of the work.
const TICK: Duration = Duration::from_millis(250);

/// A bar that does not exist before [`QUIET`] is over, and never where nobody could see it.
#[derive(Debug)]
pub(super) struct Progress {
    begun: Instant,
    total_bytes: Option<u64>,
    wanted: bool,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Begins to count the time; `total_bytes` is what there is to read, where it is known.
    pub(super) fn begin(total_bytes: Option<u64>) -> Self {
        Self {
            begun: Instant::now(),
            total_bytes,
            wanted: std::io::stderr().is_terminal(),
            bar: None,
        }
    }

    /// So many bytes have been read.
    pub(super) fn at(&mut self, bytes: u64) {
        if !self.wanted || self.begun.elapsed() < QUIET {
            return;
        }
        let (begun, total) = (self.begun, self.total_bytes);
        self.bar.get_or_insert_with(|| draw(begun, total)).set_position(bytes);
    }

    /// The work is over: the bar goes.
    pub(super) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn draw(begun: Instant, total_bytes: Option<u64>) -> ProgressBar {
    let (bar, template) = match total_bytes {
        Some(total) => (
            ProgressBar::new(total),
            "{bar:40} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}",
        ),
        None => (ProgressBar::no_length(), "{spinner} {bytes} {binary_bytes_per_sec}"),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(8));
    let bar = bar.with_elapsed(begun.elapsed());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK);
    bar
}
