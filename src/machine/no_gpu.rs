//! The GPU of a build without one: nothing is found, nothing opens.

use super::device::{Device, DeviceFigures};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::spec::Precision;
use std::sync::Arc;

/// A trace of what a GPU does: there is none.
#[derive(Debug)]
pub enum Recorder {}

/// A GPU that is open: there is none.
#[derive(Debug)]
pub enum Opened {}

/// Every adapter that this build knows of: none.
pub fn devices() -> Vec<Device> {
    Vec::new()
}

/// Opens nothing.
///
/// # Errors
/// Always [`Error::Unavailable`].
pub fn open(_software: bool, _precision: Option<Precision>, _recorder: Option<&Arc<Recorder>>) -> Result<Opened> {
    Err(Error::Unavailable(
        "there is no GPU backend in this build; --backend cpu or auto computes the same on the CPU".into(),
    ))
}

impl Opened {
    /// The backend.
    pub fn backend(&mut self) -> &mut dyn Backend {
        match *self {}
    }

    /// The backend, to keep.
    pub fn into_backend(self) -> Box<dyn Backend> {
        match self {}
    }

    /// The device.
    pub fn device(&self) -> Device {
        match *self {}
    }

    /// The precision that it was opened with.
    pub fn precision(&self) -> Precision {
        match *self {}
    }

    /// What opening it took.
    pub fn seconds(&self) -> f64 {
        match *self {}
    }

    /// Measures bus, memory and submissions.
    ///
    /// # Errors
    /// Never: there is nothing to call it on.
    pub fn figures(&mut self) -> Result<DeviceFigures> {
        match *self {}
    }
}
