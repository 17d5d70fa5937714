//! Millstream: a statistics engine for numbers that keep arriving.

pub mod backend;
pub mod batch;
mod bytes;
pub mod cells;
#[cfg(feature = "cli")]
pub mod cli;
pub mod engine;
pub mod error;
pub mod expr;
pub mod io;
pub mod pipeline;
pub mod regression;
pub mod report;
pub mod spec;
pub mod summary;
pub mod units;
pub mod window;

pub use backend::Backend;
pub use backend::cpu::Cpu;
pub use batch::Batch;
pub use engine::Engine;
pub use error::{Error, Result};
pub use report::{Closed, Report};
pub use spec::{Precision, Spec, Window};
pub use summary::{Merge, Summary};
