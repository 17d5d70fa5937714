//! Who reduces rows to summaries: the contract, and the backends that keep it.
//!
//! A backend takes work and gives it back in order, one partial result a block. It owns nothing: the engine keeps its
//! own cheap clone of every work in flight and gives it to another backend when one fails. Whatever the backend,
//! counts, missing counts, minima and maxima are exact, moments, co-moments and losses lie within
//! [`Backend::tolerance`], and the same work gives the same bits.

pub mod cpu;
#[cfg(feature = "gpu")]
pub mod gpu;

use crate::batch::Batch;
use crate::cells::Cells;
use crate::error::Result;
use crate::summary::{LeafRun, Shape, Summary};
use std::any::Any;
use std::sync::Arc;

/// Rows to reduce.
#[derive(Debug, Clone)]
pub struct Work {
    /// The rows.
    pub batch: Batch,
    /// Where all rows are of one cell: those of its unfinished leaf, from batches before. They come before the rows of
    /// the batch and belong to the first block, which does not count them. Their columns have the names of the batch's,
    /// and each may be `f32` in one batch and `f64` in another.
    pub before: Arc<[Batch]>,
    /// Which of them belong together.
    pub cells: Arc<Cells>,
    /// By cell of the batch: the unfinished leaf that its first block continues. Empty where none does.
    pub carried: Arc<[Option<LeafRun>]>,
    /// What to make of them.
    pub shape: Arc<Shape>,
    /// Whether blocks of many cells that do not end their leaf come back open. Otherwise every block comes back as a
    /// leaf of its own.
    pub open: bool,
    /// The weights of the loss, where the shape has one. Such works are of one cell: a loss has no place in a leaf that
    /// goes on.
    pub weights: Option<Arc<[f64]>>,
    /// Where the rows lie already, if they were uploaded.
    pub resident: Option<Resident>,
}

/// Rows that were uploaded once, to be reduced again and again: a copy of them on a device, and the batch, which any
/// backend can reduce should the device be gone.
#[derive(Clone)]
pub struct Resident {
    batch: Batch,
    device: Option<Arc<dyn Any + Send + Sync>>,
    block_rows: Option<usize>,
}

impl Resident {
    /// Rows that stay where they are.
    pub fn on_host(batch: Batch) -> Self {
        Self {
            batch,
            device: None,
            block_rows: None,
        }
    }

    /// Rows of which a backend keeps a copy that it will know again, in works that are cut into blocks of so many rows.
    pub fn on_device(batch: Batch, copy: Arc<dyn Any + Send + Sync>, block_rows: usize) -> Self {
        Self {
            batch,
            device: Some(copy),
            block_rows: Some(block_rows),
        }
    }

    /// The rows.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// Rows of the blocks of works that use the copy on a device, if there is one.
    pub fn block_rows(&self) -> Option<usize> {
        self.block_rows
    }

    /// The copy on a device, if there is one of this kind.
    pub fn copy<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.device.clone()?.downcast().ok()
    }
}

impl std::fmt::Debug for Resident {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resident")
            .field("rows", &self.batch.rows())
            .field("columns", &self.batch.names())
            .field("on_device", &self.device.is_some())
            .finish()
    }
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
    /// The same where all columns of the matrix are `f32` and the shape is not exact ([`Shape::exact`]).
    pub narrow: f64,
    /// Of the loss of a leaf and of its gradient, relative to the sum of the magnitudes of what they are sums of: with
    /// a = |w₀| + Σ|wⱼ xⱼ| + |y| of a row, Σ a² and Σ a |xⱼ| over the rows for the linear loss, Σ (1 + a) and
    /// Σ (1 + a) |xⱼ| for the logistic.
    pub loss: f64,
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
    /// Whether it takes leaves that were begun before: where there are many cells it gives them back open, to be
    /// continued by the next work, and where there is one it takes their rows in several batches ([`Work::before`]). If
    /// not, every block is a leaf of its own, and no work waits for the one before.
    fn carries(&self) -> bool {
        true
    }
    /// The CPU backend, if this is it: rows of many cells are then reduced where the states of the cells are.
    fn as_cpu(&self) -> Option<&cpu::Cpu> {
        None
    }
    /// Rows of a block, where others than the spec's leaf suit the backend better. With [`Backend::carries`] they stay
    /// the spec's, for the bits' sake.
    fn block_rows(&self, _shape: &Shape) -> Option<usize> {
        None
    }
    /// Takes rows to keep, for works that name them.
    ///
    /// # Errors
    /// If there is no room for them.
    fn upload(&mut self, batch: &Batch) -> Result<Resident> {
        Ok(Resident::on_host(batch.clone()))
    }
}
