//! The command `millstream`: arguments in, exit status out. What it does is in the library.

use std::process::ExitCode;

/// Batches are made by one thread and dropped by another, tens of thousands a second: an allocator that keeps their
/// memory for the next does not have to ask the system for it each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Points at which tests have the process fail; none in what is built to be used.
    let _points = fail::FailScenario::setup();
    millstream::cli::main()
}
