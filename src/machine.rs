//! What this machine has: its adapters, what its backends were measured to take, and which of them a run is given.
//!
//! Measuring takes seconds, so it is done once for each processor and adapter and kept ([`cache`]). [`select`] is what
//! `--backend` means; [`planner`](crate::planner) decides, here is what it decides by.
//!
//! An input is worth a look for a GPU only if the CPU alone would be busy for longer than looking takes:
//!
//! 1. Keys, windows, and an input whose length nobody knows (standard input): the CPU.
//! 2. [`cpu_seconds_at_most`](crate::planner::cpu_seconds_at_most), and then the measured costs where they are known,
//!    below [`LOOKING_SECONDS`]: the CPU.
//! 3. No GPU (a software adapter counts only where it is let), or none with the precision that was named: the CPU.
//! 4. Otherwise the lesser of the two estimates, with what opening the device takes on the GPU's side.

pub mod cache;
pub mod device;
#[cfg(feature = "gpu")]
#[path = "machine/gpu.rs"]
pub mod gpu;
#[cfg(not(feature = "gpu"))]
#[path = "machine/no_gpu.rs"]
pub mod gpu;
pub mod measure;
pub mod rows;
pub mod runner;
mod select;

pub use cache::Cache;
pub use device::{Device, DeviceFigures, Machine, NumericsProbe, machine};
pub use gpu::Opened;
pub use select::{LOOKING_SECONDS, Request, Selection, Wanted, select, select_traced};
