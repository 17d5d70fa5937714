//! `millstream devices`: the adapters, their limits, the numerics probe, and what the planner measured.

use super::Log;
use crate::error::{Error, Result};
use crate::io::OutputFile;
use crate::machine::{Cache, machine};
use clap::{Args, ValueEnum};
use std::io::Write;
use std::path::Path;

/// Show the adapters, their limits, and what each backend was measured to take
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Let a software Vulkan adapter count as a GPU (for tests)
    #[arg(long)]
    software_adapter: bool,
    /// Measure again what is known
    #[arg(long)]
    measure: bool,
    /// The form
    #[arg(long, value_enum, default_value_t = Form::Table)]
    format: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    Table,
    Json,
}

const EXAMPLES: &str = "What is not known of this machine yet is measured, which takes seconds, and kept in the user's \
    cache directory (or where MILLSTREAM_CACHE says; empty for nowhere).\n\n\
    Examples:\n  \
    millstream devices\n  \
    millstream devices --measure --format json\n\n\
    Exit status: 0 done, also without a GPU; 1 failed while running, 2 wrong usage, 74 the output cannot be written";

pub(super) fn run(arguments: &Arguments, log: Log) -> Result<()> {
    let machine = machine(&Cache::of_user(), arguments.software_adapter, arguments.measure)?;
    machine.notes.iter().for_each(|note| log.note(note));
    let text = match arguments.format {
        Form::Table => machine.to_text(),
        Form::Json => serde_json::to_string_pretty(&machine).map_err(|e| Error::Failed(e.to_string()))? + "\n",
    };
    let mut output = OutputFile::create(Path::new("-"))?;
    output.write_all(text.as_bytes()).map_err(|e| output.error(e))?;
    output.finish()
}
