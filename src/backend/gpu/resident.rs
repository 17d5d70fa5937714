//! Rows that stay on the device: stages whose input was sent once.

use super::device::Device;
use super::stage::Stage;
use crate::summary::Shape;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A copy of a batch on a device, cut and tabulated for works of one shape.
#[derive(Debug)]
pub(super) struct Copy {
    /// Not kept alive by what lies on it: a device that is lost goes.
    device: Weak<Device>,
    shape: Arc<Shape>,
    /// In the order of their pieces; out of here while the device has them.
    stages: Mutex<Vec<Stage>>,
    pieces: std::sync::atomic::AtomicUsize,
}

impl Copy {
    pub(super) fn new(device: &Arc<Device>, shape: Arc<Shape>) -> Self {
        Self {
            device: Arc::downgrade(device),
            shape,
            stages: Mutex::default(),
            pieces: 0.into(),
        }
    }

    /// Whether works of this shape on this device can use it.
    pub(super) fn serves(&self, device: &Arc<Device>, shape: &Shape) -> bool {
        std::ptr::eq(self.device.as_ptr(), Arc::as_ptr(device)) && *self.shape == *shape
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

    /// Gives the memory back; the device is lost.
    pub(super) fn forget(&self) {
        drop(self.take());
    }

    pub(super) fn take(&self) -> Vec<Stage> {
        std::mem::take(&mut *self.stages.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
