//! `millstream validate CONFIG.toml`: whether a configuration would run, without running it.

use super::Log;
use crate::config::Config;
use crate::error::Result;
use crate::pipeline::{check_alerts, check_environment};
use clap::Args;
use std::path::PathBuf;

/// Check a configuration: the file, its types, then that each end can be reached
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The configuration
    #[arg(value_name = "CONFIG.toml")]
    config: PathBuf,
    /// Check the file alone: open no file, no address, no directory
    #[arg(long)]
    no_environment: bool,
}

const EXAMPLES: &str = "Examples:\n  \
    millstream validate feed.toml\n  \
    millstream validate --no-environment feed.toml\n\n\
    Exit status: 0 it would run, 66 it or what it reads cannot be opened, 74 an output cannot be written, 78 it is wrong";

pub(super) fn run(arguments: &Arguments, log: Log) -> Result<()> {
    let config = Config::read(&arguments.config)?;
    match arguments.no_environment {
        true => check_alerts(&config)?,
        false => check_environment(&config, &mut |what, wrong| match wrong {
            None => log.say("ok", what),
            Some(error) => log.say("wrong", &format!("{what}: {error}")),
        })?,
    }
    log.say(
        "done",
        &format!("{} is a configuration that runs", arguments.config.display()),
    );
    Ok(())
}
