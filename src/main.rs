//! The command `millstream`: arguments in, exit status out. What it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    millstream::cli::main()
}
