//! Work that a backend has: handed out by rising numbers, taken back in the same order, whatever the backend does.
//!
//! Every work in flight is kept here as a cheap clone. An error, a panic, an answer with another number or of another
//! shape: the CPU reduces that work instead, and an answer that comes for it later is discarded by its number. So the
//! results are the CPU's own wherever the backend fails, and no row is lost or counted twice. How often that happened is
//! counted, with the first reason.

use crate::backend::cpu::Cpu;
use crate::backend::{Backend, Partial, Resident, Work};
use crate::batch::Batch;
use crate::error::Result;
use crate::summary::LeafRun;
use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Work and, by cell of its batch, the cell of the engine (empty where there is one cell).
#[derive(Debug)]
pub(super) struct Job {
    pub(super) work: Work,
    pub(super) slots: Vec<u32>,
}

impl Job {
    pub(super) fn on_cpu(&self) -> Vec<Partial> {
        Cpu::new().reduce(&self.work)
    }
}

/// How often the backend did not do a work, so that the CPU did it instead.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fallbacks {
    /// Works.
    pub count: u64,
    /// Why, the first time.
    pub first_reason: Option<String>,
}

/// A backend and what it has.
pub(super) struct Queue {
    backend: Box<dyn Backend>,
    sequence: u64,
    /// Oldest first.
    outstanding: VecDeque<(u64, Job)>,
    /// Works given up on, each of which may still be answered once: beyond it, an old number is a failure like any
    /// other.
    given_up: u64,
    fallbacks: Fallbacks,
}

impl Queue {
    pub(super) fn new(backend: Box<dyn Backend>) -> Self {
        Self {
            backend,
            sequence: 0,
            outstanding: VecDeque::new(),
            given_up: 0,
            fallbacks: Fallbacks::default(),
        }
    }

    pub(super) fn fallbacks(&self) -> &Fallbacks {
        &self.fallbacks
    }

    fn fell_back(&mut self, reason: String) {
        self.fallbacks.count += 1;
        self.fallbacks.first_reason.get_or_insert(reason);
    }

    pub(super) fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    /// Has the backend take rows to keep; where it fails they stay on the host.
    pub(super) fn upload(&mut self, batch: &Batch) -> Resident {
        guarded(|| self.backend.upload(batch)).unwrap_or_else(|reason| {
            self.fell_back(reason);
            Resident::on_host(batch.clone())
        })
    }

    /// Whether the oldest work has to be taken back before the next is handed out.
    pub(super) fn is_full(&self) -> bool {
        self.outstanding.len() >= self.backend.depth().max(1)
    }

    /// Hands work out; it comes back if the backend does not take it.
    pub(super) fn submit(&mut self, job: Job) -> Option<Job> {
        self.sequence += 1;
        let (sequence, work) = (self.sequence, job.work.clone());
        if let Err(reason) = guarded(|| self.backend.submit(sequence, work)) {
            // One that panicked may have taken it all the same.
            self.given_up += 1;
            self.fell_back(reason);
            return Some(job);
        }
        self.outstanding.push_back((sequence, job));
        None
    }

    /// The oldest work and what it comes to; `None` where none is outstanding.
    pub(super) fn collect(&mut self) -> Option<(Job, Vec<Partial>)> {
        let (expected, job) = self.outstanding.pop_front()?;
        loop {
            let reason = match guarded(|| self.backend.collect()) {
                Ok((sequence, partials)) if sequence == expected && fits(&job.work, &partials) => {
                    return Some((job, partials));
                }
                Ok((sequence, _)) if sequence < expected && self.given_up > 0 => {
                    self.given_up -= 1;
                    continue;
                }
                Ok((sequence, _)) if sequence == expected => "its answer does not fit the work".to_owned(),
                Ok((sequence, _)) => format!("it answered work {sequence} instead of {expected}"),
                Err(reason) => reason,
            };
            self.given_up += 1;
            self.fell_back(reason);
            let partials = job.on_cpu();
            return Some((job, partials));
        }
    }
}

/// What the backend answers, or why it fails or panics.
fn guarded<T>(call: impl FnOnce() -> Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(panic) => Err(format!("it panicked: {}", message(&*panic))),
    }
}

/// What a panic says.
fn message(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    literal
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

/// Whether there is one partial result a block, of its kind, its rows and its parts.
fn fits(work: &Work, partials: &[Partial]) -> bool {
    let blocks = &work.cells.blocks;
    let open = work.open;
    let mut cell = None;
    let in_batches: usize = work.before.iter().map(Batch::rows).sum();
    blocks.len() == partials.len()
        && blocks.iter().zip(partials).all(|(block, partial)| {
            let first = cell.replace(block.cell) != Some(block.cell);
            let carried = work.carried.get(block.cell as usize).and_then(Option::as_ref);
            let carried = carried.map_or(in_batches as u64, LeafRun::rows);
            let before = if first { carried } else { 0 };
            let rows = before + block.rows.len() as u64;
            match partial {
                Partial::Leaf(summary) => {
                    (block.complete || !open) && summary.rows == rows && summary.has_shape(&work.shape)
                }
                Partial::Open(run) => !block.complete && open && run.rows() == rows && run.has_shape(&work.shape),
            }
        })
}
