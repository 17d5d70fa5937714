//! Millstream: a statistics engine for numbers that keep arriving.

pub mod error;
pub mod expr;
pub mod io;
pub mod report;

pub use error::{Error, Result};
