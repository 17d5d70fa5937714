//! `millstream completions SHELL`: completions for a shell, to standard output.

use super::Arguments as Root;
use crate::error::{Error, Result};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::io::Write;

/// Write completions for a shell to standard output
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  millstream completions bash > ~/.local/share/bash-completion/completions/millstream"
)]
pub(super) struct Arguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut Root::command(), "millstream", &mut text);
    let mut out = std::io::stdout();
    out.write_all(&text)
        .and_then(|()| out.flush())
        .map_err(|source| Error::Output {
            path: "-".into(),
            source,
        })
}
