//! `millstream run CONFIG.toml`: feeds until they end or a signal comes.

use super::Log;
use crate::config::{Backend, Config};
use crate::error::{Error, Result};
use crate::io::live::Stop;
use crate::machine::{self, Cache, Request, Wanted};
use crate::pipeline::run as run_feeds;
use clap::Args;
use std::path::PathBuf;

/// Process feeds until they end or a signal comes
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The configuration: feeds, rows, windows, statistics, sinks, alerts, state, limits
    #[arg(value_name = "CONFIG.toml")]
    config: PathBuf,
    /// Forget the state of an earlier run and begin anew
    #[arg(long)]
    discard_state: bool,
    /// CPU threads that reduce and decode [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Let a software Vulkan adapter count as a GPU (for tests)
    #[arg(long)]
    software_adapter: bool,
}

const EXAMPLES: &str = "Reports go to the sinks that the configuration names; messages, alerts and, at the end, a line that \
    says where every row went, go to standard error. A signal (Ctrl-C, SIGTERM) ends the feeds and drains what was \
    accepted; a second one stops at once.\n\n\
    Examples:\n  \
    millstream run feed.toml\n  \
    millstream validate feed.toml\n\n\
    Exit status: 0 done, 1 failed while running, 65 bad data, 66 an input cannot be opened, 74 an output cannot be \
    written, 78 wrong configuration";

pub(super) fn run(arguments: &Arguments, log: Log) -> Result<()> {
    if let Some(threads) = arguments.threads {
        crate::backend::cpu::set_threads(usize::from(threads))?;
    }
    let config = Config::read(&arguments.config)?;
    crate::io::descriptors::raise();
    let stop = Stop::default();
    on_signals(&stop, log)?;
    let request = Request {
        wanted: match config.engine.backend {
            Backend::Auto => Wanted::Auto,
            Backend::Cpu => Wanted::Cpu,
            Backend::Gpu => Wanted::Gpu,
        },
        precision: config.engine.precision,
        software: arguments.software_adapter,
    };
    let mut backend = || {
        let selection = machine::select(&request, &Cache::of_user(), None)?;
        selection.notes.iter().for_each(|note| log.note(note));
        Ok(selection.backend)
    };
    let ended = run_feeds(&config, arguments.discard_state, &mut backend, &stop, &mut |message| {
        log.note(message);
    })?;
    for note in &ended.notes {
        log.note(note);
    }
    for (name, counts) in &ended.feeds {
        log.say("done", &format!("feed `{name}`: {counts}"));
    }
    match ended.failure {
        Some(error) => Err(error),
        None if ended.feeds.iter().all(|(_, counts)| counts.is_complete()) => Ok(()),
        None => Err(Error::Failed("rows are missing from the counts above".into())),
    }
}

/// The first signal ends the feeds, the second the process.
#[cfg(unix)]
fn on_signals(stop: &Stop, log: Log) -> Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;
    let failed = |e: std::io::Error| Error::Failed(format!("signals cannot be awaited: {e}"));
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
    let stop = stop.clone();
    let wait = move || {
        let mut signals = signals.forever();
        if let Some(first) = signals.next() {
            stop.stop();
            log.note("a signal: draining what was accepted; a second one stops at once");
            // What is not drained by then is left: rows that were not checkpointed are asked for again.
            let _ = std::thread::Builder::new().spawn(move || {
                std::thread::sleep(DRAIN_TIME);
                log.say("error", "not drained within 10 s: stopped");
                std::process::exit(128 + first);
            });
        }
        if let Some(second) = signals.next() {
            std::process::exit(128 + second);
        }
    };
    std::thread::Builder::new()
        .name("millstream-signals".into())
        .spawn(wait)
        .map_err(failed)?;
    Ok(())
}

#[cfg(not(unix))]
fn on_signals(_: &Stop, _: Log) -> Result<()> {
    Ok(())
}

/// How long draining may take after a signal.
#[cfg(unix)]
const DRAIN_TIME: std::time::Duration = std::time::Duration::from_secs(10);
