//! Who reduces rows to summaries: the contract, and the backends that keep it.
//!
//! A backend takes work and gives it back in order, one partial result a block. It owns nothing: the engine keeps its
//! own cheap clone of every work in flight and gives it to another backend when one fails. Whatever the backend,
//! counts, missing counts, minima and maxima are exact, moments and co-moments lie within [`Backend::tolerance`], and
//! the same work gives the same bits.

pub mod cpu;

use crate::batch::Batch;
use crate::cells::Cells;
use crate::error::Result;
use crate::summary::{LeafRun, Shape, Summary};
use std::sync::Arc;

/// Rows to reduce.
#[derive(Debug, Clone)]
pub struct Work {
    /// The rows.
    pub batch: Batch,
    /// Which of them belong together.
    pub cells: Arc<Cells>,
    /// By cell of the batch: the unfinished leaf that its first block continues. Empty where none does.
    pub carried: Arc<[Option<LeafRun>]>,
    /// What to make of them.
    pub shape: Arc<Shape>,
}

/// What a block comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Partial {
    /// A leaf (or all that there is of it).
    Leaf(Box<Summary>),
    /// A leaf that later rows will continue.
    Open(Box<LeafRun>),
}

/// How far from the exact result a backend may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// Of a mean, in standard deviations, and of a variance, relative.
    pub moments: f64,
    /// Of a co-moment, relative to the root of the product of its two variances.
    pub comoments: f64,
}

/// Reduces rows to summaries.
pub trait Backend: Send {
    /// `cpu` or `gpu`.
    fn name(&self) -> &str;
    /// What it runs on, for people.
    fn device(&self) -> String;
    /// How far its results may be from the exact ones.
    fn tolerance(&self) -> Tolerance;
    /// Takes work; returns before the answer is there.
    ///
    /// # Errors
    /// If it cannot; the work is then not taken.
    fn submit(&mut self, seq: u64, work: Work) -> Result<()>;
    /// The oldest outstanding work's number and its partial results, one a block, in order.
    ///
    /// # Errors
    /// If that work could not be done; it is then forgotten.
    fn collect(&mut self) -> Result<(u64, Vec<Partial>)>;
    /// How many works may be in flight.
    fn depth(&self) -> usize;
}
