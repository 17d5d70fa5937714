//! The ring of the GPU backend: what overlaps, what goes together, and what becomes of works when a device is lost.

#![cfg(feature = "gpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, in its functions too")]

mod losing;
mod overlap;
mod support;
mod trace;
