//! What sinks of files put into a [`SinkState`]: a small JSON object with the path and how far it was written.

use super::SinkState;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The place in a file up to which everything is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// As it was given: the state of another file is not that of this one.
    path: String,
    /// Bytes of the file (lines), or whole files (Parquet).
    pub(super) whole: u64,
    /// Rows behind the whole files, for Parquet.
    #[serde(default)]
    pub(super) rows: u64,
}

impl Place {
    pub(super) fn new(path: &Path, whole: u64, rows: u64) -> Self {
        Self {
            path: path.to_string_lossy().into_owned(),
            whole,
            rows,
        }
    }

    pub(super) fn to_state(&self) -> SinkState {
        // A struct of text and numbers has a JSON form.
        SinkState(serde_json::to_vec(self).unwrap_or_default())
    }

    /// The place that a state says; none where it is of another file, or of a sink that needs none.
    pub(super) fn of(state: Option<&SinkState>, path: &Path) -> Result<Option<Self>> {
        let Some(state) = state.filter(|state| !state.0.is_empty()) else {
            return Ok(None);
        };
        let place: Self = serde_json::from_slice(&state.0).map_err(|e| {
            Error::Data(format!(
                "the checkpoint says nothing that can be read of the place in {}: {e}",
                path.display()
            ))
        })?;
        Ok((place.path == path.to_string_lossy()).then_some(place))
    }
}

/// The error for a file that holds less than a checkpoint says.
pub(super) fn too_short(path: &Path, has: &str, wanted: &str) -> Error {
    Error::Config(format!(
        "{} has {has}, but the checkpoint in the state directory says that {wanted} were written to it: it was cut, \
         replaced or removed since. Put it back, or give up the checkpoint with --discard-state",
        path.display()
    ))
}

/// Makes the names in the directory of `path` durable.
pub(super) fn sync_directory(path: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        let directory = path.parent().filter(|d| !d.as_os_str().is_empty());
        std::fs::File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// The error for what the system said of an output.
pub(super) fn output(path: &Path, source: std::io::Error) -> Error {
    Error::Output {
        path: path.to_owned(),
        source,
    }
}
