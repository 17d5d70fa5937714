//! Rows that stay on the device: their columns, sent once, and the tables for each shape that was asked for since.

use super::Options;
use super::device::{Buffer, Device};
use super::load::{Job, Look, Mode, multiply_adds, needs};
use super::pack::{Packer, Place};
use super::stage::{Sizes, Stage};
use crate::backend::Work;
use crate::cells::Cells;
use crate::error::Result;
use crate::summary::Shape;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Rows of a run of a column: with nothing to overlap with, a workgroup takes more of them.
const RESIDENT_RUN_ROWS: usize = 1 << 15;
/// Shapes whose tables are kept: those of an analysis, of a loss, and of what a fit asks on the way.
const SHAPES_MAX: usize = 4;

/// A copy of a batch on a device.
#[derive(Debug)]
pub(super) struct Copy {
    /// Not kept alive by what lies on it: a device that is lost goes.
    device: Weak<Device>,
    cells: Arc<Cells>,
    pieces: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    chunks: Vec<Arc<Chunk>>,
    /// The newest last; out of here while the device has them.
    stages: VecDeque<(Arc<Shape>, Vec<Stage>)>,
}

/// Pieces whose columns lie in one buffer.
#[derive(Debug)]
struct Chunk {
    data: Arc<Buffer>,
    pieces: Vec<KeptPiece>,
}

/// What the host knows of a piece that was sent.
#[derive(Debug)]
pub(super) struct KeptPiece {
    pub(super) number: usize,
    pub(super) block: usize,
    pub(super) rows: Range<usize>,
    /// Where it lies; nowhere if its values are beyond the range of the device's numbers.
    pub(super) place: Option<Place>,
    pub(super) looks: Vec<Look>,
    pub(super) pivots: Vec<[f64; 2]>,
}

impl Copy {
    pub(super) fn new(device: &Arc<Device>, work: &Work, pieces: usize) -> Self {
        Self {
            device: Arc::downgrade(device),
            cells: work.cells.clone(),
            pieces,
            kept: Mutex::default(),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this work can use it on this device: it is cut in the same way.
    pub(super) fn serves(&self, device: &Arc<Device>, work: &Work) -> bool {
        std::ptr::eq(self.device.as_ptr(), Arc::as_ptr(device)) && *self.cells == *work.cells
    }

    pub(super) fn pieces(&self) -> usize {
        self.pieces
    }

    /// Takes pieces whose columns lie in this buffer.
    pub(super) fn put_data(&self, data: Arc<Buffer>, pieces: Vec<KeptPiece>) {
        self.kept().chunks.push(Arc::new(Chunk { data, pieces }));
    }

    /// Gives the memory back; the device is lost.
    pub(super) fn forget(&self) {
        *self.kept() = Kept::default();
    }

    /// Takes stages back.
    pub(super) fn put(&self, shape: &Arc<Shape>, stage: Stage) {
        let mut kept = self.kept();
        if let Some((_, stages)) = kept.stages.iter_mut().find(|(own, _)| own == shape) {
            stages.push(stage);
            return;
        }
        kept.stages.push_back((shape.clone(), vec![stage]));
        if kept.stages.len() > SHAPES_MAX {
            kept.stages.pop_front();
        }
    }

    /// The stages of this shape that were used before.
    pub(super) fn take(&self, shape: &Shape) -> Option<Vec<Stage>> {
        let mut kept = self.kept();
        let at = kept.stages.iter().position(|(own, _)| **own == *shape)?;
        kept.stages.remove(at).map(|(_, stages)| stages)
    }

    /// Stages for a shape that was not asked for yet: tables over the data that is there. `busy` hears when the device is
    /// about to be asked for something, and when it was.
    pub(super) fn tabulate(
        &self,
        device: &Device,
        packer: &mut Packer,
        job: &Arc<Job>,
        options: &Options,
        busy: &dyn Fn(bool),
    ) -> Result<Vec<Stage>> {
        let mode = Mode::of(&job.work, options.precision);
        let limit = Sizes::all(device.adapter.binding_bytes_max);
        let needs = |piece: &KeptPiece| Sizes {
            data: 0,
            ..needs(&job.work, mode, options.precision, piece.rows.len())
        };
        let steps = |piece: &KeptPiece| multiply_adds(&job.work, mode, options.precision, piece.rows.len());
        // Nobody waits for the lock while the device and the host are at work.
        let chunks: Vec<Arc<Chunk>> = self.kept().chunks.clone();
        let mut parts = Vec::new();
        for chunk in &chunks {
            let mut rest = chunk.pieces.iter().peekable();
            while rest.peek().is_some() {
                let (mut need, mut work, mut some) = (Sizes::default(), 0, Vec::new());
                let most = device.multiply_adds_max();
                while let Some(piece) =
                    rest.next_if(|p| some.is_empty() || need.plus(needs(p)).fits(limit) && work + steps(p) <= most)
                {
                    need = need.plus(needs(piece));
                    work += steps(piece);
                    some.push(piece);
                }
                parts.push((&chunk.data, need, some));
            }
        }
        // One submission runs after the other, so that one scratch memory serves them all.
        let scratch = parts.iter().map(|(_, need, _)| need.scratch).max().unwrap_or(0);
        busy(true);
        let scratch = Stage::scratch(device, scratch)?;
        let mut stages = Vec::new();
        for (data, need, pieces) in parts {
            busy(true);
            let mut stage = Stage::over(device, need, Some(data.clone()), Some(scratch.clone()))?;
            busy(false);
            stage.prepare(options);
            let load = &mut stage.load;
            load.run_rows = RESIDENT_RUN_ROWS;
            for piece in pieces {
                let place = piece.place.map(|place| Place {
                    looks: load.looks.len(),
                    pivots: load.pivots.len(),
                    ..place
                });
                load.looks.extend_from_slice(&piece.looks);
                load.pivots.extend_from_slice(&piece.pivots);
                let rows = (piece.block, piece.rows.clone());
                packer.tabulate(load, job, (piece.number, self.pieces), rows, place);
            }
            stage.write();
            stages.push(stage);
        }
        Ok(stages)
    }
}
