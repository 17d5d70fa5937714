//! The command `millstream`: arguments in, exit status out. What it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Points at which tests have the process fail; none in what is built to be used.
    let _points = fail::FailScenario::setup();
    millstream::cli::main()
}
