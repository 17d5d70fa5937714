//! The command line: one file a subcommand, no logic of its own.
//!
//! Data goes to standard output, messages and progress to standard error. The exit status is the error's
//! ([`Error::exit_code`]); wrong arguments are 2, as for every program that uses clap.

mod analyze;
mod bench;
mod completions;
mod computing;
mod devices;
mod generate;
#[cfg(feature = "sqlite")]
mod merge;
mod progress;
mod rendering;
mod run;
#[cfg(feature = "net")]
mod top;
mod transform;
mod validate;

use crate::error::{Error, Result};
use clap::{Parser, Subcommand, ValueEnum};
use std::io::Write;
use std::process::ExitCode;

/// Statistics of files and streams: moments, correlations, regressions, quantiles, per window and per key.
#[derive(Debug, Parser)]
#[command(name = "millstream", version, propagate_version = true, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The form of messages on standard error
    #[arg(long, value_enum, default_value_t = LogFormat::Text, global = true)]
    log_format: LogFormat,
}

#[derive(Debug, Subcommand)]
enum Command {
    Analyze(Box<analyze::Arguments>),
    Bench(bench::Arguments),
    Devices(devices::Arguments),
    Run(run::Arguments),
    #[cfg(feature = "sqlite")]
    Merge(merge::Arguments),
    #[cfg(feature = "net")]
    Top(top::Arguments),
    Transform(Box<transform::Arguments>),
    Validate(validate::Arguments),
    Generate(Box<generate::Arguments>),
    Completions(completions::Arguments),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

/// Messages on standard error.
#[derive(Debug, Clone, Copy)]
struct Log {
    format: LogFormat,
}

impl Log {
    fn say(self, level: &str, message: &str) {
        let line = match self.format {
            LogFormat::Text => format!("{level}: {}", printable(message)),
            LogFormat::Json => serde_json::json!({"level": level, "message": message}).to_string(),
        };
        // Where standard error is closed there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "{line}");
    }

    fn note(self, message: &str) {
        self.say("note", message);
    }
}

/// The text without control characters, which could take over a terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\n' {
                c.escape_default().to_string()
            } else {
                c.to_string()
            }
        })
        .collect()
}

/// Whether the arguments ask for messages in JSON, where they could not be understood as a whole.
fn json_is_asked() -> bool {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let two = |pair: &[std::ffi::OsString]| pair[0] == "--log-format" && pair[1] == "json";
    arguments.iter().any(|a| a == "--log-format=json") || arguments.windows(2).any(two)
}

/// From now on an interrupt leaves no half files, where the system has interrupts.
fn interruptible() -> Result<()> {
    #[cfg(unix)]
    crate::io::clean_up_when_interrupted()?;
    Ok(())
}

/// Runs the command with the arguments of the process.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        // --help and --version are no errors and go to standard output.
        Err(error) if error.use_stderr() && json_is_asked() => {
            let log = Log {
                format: LogFormat::Json,
            };
            log.say("error", error.to_string().trim_end());
            return ExitCode::from(Error::Usage(String::new()).exit_code());
        }
        Err(error) => error.exit(),
    };
    let log = Log {
        format: arguments.log_format,
    };
    let result = match arguments.command {
        Command::Analyze(arguments) => interruptible().and_then(|()| analyze::run(&arguments, log)),
        Command::Bench(arguments) => interruptible().and_then(|()| bench::run(&arguments, log)),
        Command::Devices(arguments) => interruptible().and_then(|()| devices::run(&arguments, log)),
        #[cfg(feature = "sqlite")]
        Command::Merge(arguments) => interruptible().and_then(|()| merge::run(&arguments, log)),
        Command::Run(arguments) => run::run(&arguments, log),
        #[cfg(feature = "net")]
        Command::Top(arguments) => top::run(&arguments, log),
        Command::Transform(arguments) => interruptible().and_then(|()| transform::run(&arguments, log)),
        Command::Generate(arguments) => interruptible().and_then(|()| generate::run(&arguments, log)),
        Command::Validate(arguments) => validate::run(&arguments, log),
        Command::Completions(arguments) => completions::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A reader that has seen enough (`| head`) is no news.
            let gone =
                matches!(&error, Error::Output { source, .. } if source.kind() == std::io::ErrorKind::BrokenPipe);
            if !gone {
                log.say("error", &error.to_string());
            }
            ExitCode::from(error.exit_code())
        }
    }
}
