//! Millstream is a statistics engine for numbers that keep arriving.
//!
//! It reduces rows to means, variances, covariances, quantiles, differences and regressions, per key and per window of
//! event time, with right digits where one-pass formulas lose them. The same rows in the same order give the same bits,
//! however they are cut into batches and on however many threads.
//!
//! # The idea
//!
//! > A **summary** describes a set of rows. Summaries of disjoint sets **merge**.
//!
//! Everything else follows. A [`Backend`] *summarizes*: it reduces runs of rows, in parallel. An [`Engine`] *merges*
//! what comes back, in a fixed order, into cells and windows. A [`Summary`] is state: it can be merged further, and
//! stored as bytes ([`Summary::to_bytes`]). A [`Report`] is the answer: divisors, correlations, quantile values and
//! fits are applied there.
//!
//! # Numbers in memory
//!
//! A [`Batch`] holds columns of `f64` or `f32`, from vectors or without copying from an Arrow `RecordBatch`. A [`Spec`]
//! says what to compute. Missing values (nulls and NaN) are skipped and counted.
//!
//! ```
//! use millstream::{Batch, Engine, Spec};
//!
//! let batch = Batch::from_columns([
//!     ("temperature", vec![12.8, 10.6, 11.7, f64::NAN, 12.2]),
//!     ("wind", vec![4.7, 4.5, 2.3, 4.7, 6.1]),
//! ])?;
//! let report = Engine::new(Spec::new().correlation())?.analyze(&batch)?;
//!
//! let temperature = &report.groups[0].columns["temperature"];
//! assert_eq!((temperature.count, temperature.missing), (4, 1));
//! assert_eq!(temperature.mean, Some(11.825));
//! assert_eq!(report.groups[0].correlation.as_ref().map(|c| c.rows), Some(4));
//! # Ok::<(), millstream::Error>(())
//! ```
//!
//! # Numbers that keep arriving
//!
//! [`Engine::push`] takes one batch after another; [`Engine::finish`] gives the report. How the rows were cut does not
//! matter:
//!
//! ```
//! use millstream::{Batch, Engine, Spec};
//!
//! let values: Vec<f64> = (0..10_000).map(|i| 1e9 + f64::from(i % 7)).collect();
//! let whole = Engine::new(Spec::new())?.analyze(&Batch::from_columns([("x", values.clone())])?)?;
//!
//! let mut engine = Engine::new(Spec::new())?;
//! for part in values.chunks(99) {
//!     engine.push(&Batch::from_columns([("x", part.to_vec())])?)?;
//! }
//! assert_eq!(engine.finish()?.groups, whole.groups);
//! # Ok::<(), millstream::Error>(())
//! ```
//!
//! [`Online::push`] takes one row after another, where they arrive so, and comes to the same.
//!
//! Groups come from [`Spec::by`] (distinct keys, [`Batch::with_keys`]) and [`Spec::window`] (event time,
//! [`Batch::with_time_ns`]).
//!
//! # Models
//!
//! A [`Spec::regression`] is least squares in one pass. Models that need many, such as the logistic one, are
//! fitted ([`fit()`]) to rows that [`Engine::upload`] keeps where they are reduced; a [`predictor::Predictor`] predicts
//! with either, and a [`learner::Learner`] learns from rows that keep arriving.
//!
//! # Files
//!
//! [`io::open`] reads csv, tsv, ndjson, Arrow and Parquet, plain or compressed; [`pipeline::analyze`] filters
//! ([`expr::Expr`]), derives columns ([`expr::Definition`]) and reduces while it reads, in bounded memory. The forms of
//! a report are in [`report`].
//!
//! # CPU or GPU
//!
//! [`machine::select`] opens the backend that a run is worth: the [`planner`] weighs what each was measured to take.
//! [`mod@bench`] measures all of them and verifies what they give. Should a GPU be lost, the CPU does its work, and
//! [`Engine::fallbacks`] says how often.
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `cli` (default) | the command `millstream` |
//! | `gpu` (default) | reductions on a GPU, through wgpu: Vulkan, Metal, Direct3D 12 |
//! | `parquet` (default) | Parquet input and output |
//! | `sqlite` (default) | reports in SQLite, and merging what is stored there |
//! | `html` (by `cli`) | reports as a page with charts |
//! | `full` | all of them |
//!
//! Without features this is a library on the CPU that reads csv, ndjson and Arrow. [`architecture`] says how it is
//! built.

#[cfg(doc)]
#[doc = include_str!("../docs/ARCHITECTURE.md")]
pub mod architecture {}
pub mod alert;
pub mod backend;
pub mod batch;
pub mod bench;
mod buffers;
mod bytes;
pub mod cells;
mod checkpoint;
#[cfg(feature = "cli")]
pub mod cli;
pub mod config;
pub mod engine;
pub mod error;
pub mod expr;
pub mod fit;
pub mod generate;
pub mod io;
pub mod learner;
pub mod machine;
#[cfg(feature = "sqlite")]
pub mod merge;
pub mod metrics;
pub mod online;
pub mod pipeline;
pub mod planner;
pub mod predictor;
pub mod regression;
pub mod report;
pub mod spec;
pub mod summary;
pub mod transform;
pub mod units;
mod window;

/// The code in the README is compiled and run with the tests of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use backend::Backend;
pub use backend::cpu::Cpu;
pub use batch::Batch;
pub use engine::Engine;
pub use error::{Error, Result};
pub use fit::fit;
pub use online::Online;
pub use report::{Closed, Report};
pub use spec::{ModelSpec, Precision, Spec, Window};
pub use summary::{Merge, Model, Summary};
