//! Rows that stay on the device: stages whose input was sent once.

use super::device::Device;
use super::stage::Stage;
use crate::backend::Work;
use crate::cells::Cells;
use crate::summary::Shape;
use std::sync::{Arc, Mutex, PoisonError};

/// A copy of a batch on a device, cut and tabulated for works of one shape.
#[derive(Debug)]
pub(super) struct Copy {
    device: Arc<Device>,
    shape: Arc<Shape>,
    cells: Arc<Cells>,
    /// In the order of their pieces; out of here while the device has them.
    stages: Mutex<Vec<Stage>>,
    pieces: std::sync::atomic::AtomicUsize,
}

impl Copy {
    pub(super) fn new(device: &Arc<Device>, work: &Work) -> Self {
        Self {
            device: device.clone(),
            shape: work.shape.clone(),
            cells: work.cells.clone(),
            stages: Mutex::default(),
            pieces: 0.into(),
        }
    }

    /// Whether this work can use it on this device: it has the same shape, and is cut in the same way.
    pub(super) fn serves(&self, device: &Arc<Device>, work: &Work) -> bool {
        Arc::ptr_eq(&self.device, device) && *self.shape == *work.shape && *self.cells == *work.cells
    }

    pub(super) fn pieces(&self) -> usize {
        self.pieces.load(std::sync::atomic::Ordering::Acquire)
    }

    pub(super) fn put(&self, stage: Stage) {
        let mut stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        let number = |stage: &Stage| stage.load.pieces.first().map_or(0, |piece| piece.number);
        let at = stages.partition_point(|other| number(other) < number(&stage));
        stages.insert(at, stage);
        let pieces = stages.iter().map(|stage| stage.load.pieces.len()).sum();
        self.pieces.fetch_max(pieces, std::sync::atomic::Ordering::AcqRel);
    }

    pub(super) fn take(&self) -> Vec<Stage> {
        std::mem::take(&mut *self.stages.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
