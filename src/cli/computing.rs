//! The options that say where and how exactly to compute, which several subcommands have.

use crate::backend::cpu;
use crate::error::Result;
use crate::machine::{Request, Wanted};
use crate::spec::Precision;
use clap::{Args, ValueEnum};

/// The heading in the help.
pub(super) const HEADING: &str = "Computing";

#[derive(Debug, Args)]
pub(super) struct Computing {
    /// Where to compute: auto takes what will be quicker, gpu fails if there is none
    #[arg(long, value_enum, default_value_t = BackendName::Auto, help_heading = HEADING)]
    backend: BackendName,
    /// How exactly to compute; on the CPU fast differs for regressions only [default: exact; fast on a GPU without f64]
    #[arg(long, value_enum, help_heading = HEADING)]
    precision: Option<PrecisionName>,
    /// Let a software Vulkan adapter count as a GPU (for tests)
    #[arg(long, help_heading = HEADING)]
    software_adapter: bool,
    /// CPU threads [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), help_heading = HEADING)]
    #[arg(allow_negative_numbers = true)]
    threads: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BackendName {
    Auto,
    Cpu,
    Gpu,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum PrecisionName {
    Fast,
    Exact,
}

impl PrecisionName {
    pub(super) fn precision(self) -> Precision {
        match self {
            Self::Fast => Precision::Fast,
            Self::Exact => Precision::Exact,
        }
    }
}

impl Computing {
    /// Sets up the pool that reading and reducing share.
    pub(super) fn set_threads(&self) -> Result<()> {
        self.threads.map_or(Ok(()), |n| cpu::set_threads(usize::from(n)))
    }

    pub(super) fn request(&self) -> Request {
        Request {
            wanted: match self.backend {
                BackendName::Auto => Wanted::Auto,
                BackendName::Cpu => Wanted::Cpu,
                BackendName::Gpu => Wanted::Gpu,
            },
            precision: self.precision.map(PrecisionName::precision),
            software: self.software_adapter,
        }
    }
}
