//! The GPU against the exact answers, in both precisions, on whatever adapter there is: a software one will do.

use crate::backend_contract::contract;
use millstream::backend::gpu::{Gpu, Options};
use millstream::{Backend, Precision};

/// Options for tests: a software adapter counts.
pub(crate) fn options(precision: Precision) -> Options {
    Options {
        precision,
        software: true,
        ..Options::default()
    }
}

/// A GPU, or a note and nothing where the machine has none and none is required.
#[expect(clippy::print_stderr, reason = "a test that is not run says so")]
pub(crate) fn gpu(options: Options) -> Option<Gpu> {
    match Gpu::open(options) {
        Ok(gpu) => Some(gpu),
        Err(e) => {
            let required = std::env::var_os("MILLSTREAM_REQUIRE_GPU").is_some_and(|v| v == "1");
            assert!(!required, "a GPU is required: {e}");
            eprintln!("not run, without a GPU: {e}");
            None
        }
    }
}

fn keeps_the_contract(precision: Precision) {
    if gpu(options(precision)).is_none() {
        return;
    }
    let make = || -> Box<dyn Backend> { Box::new(gpu(options(precision)).unwrap()) };
    contract(make).unwrap();
}

#[test]
fn gpu_exact_keeps_the_contract() {
    keeps_the_contract(Precision::Exact);
}

#[test]
fn gpu_fast_keeps_the_contract() {
    keeps_the_contract(Precision::Fast);
}
