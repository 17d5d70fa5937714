//! What an interrupted program leaves behind: no half files.
//!
//! The rule: temporary files are listed here from before they exist until they have their final name or are gone.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn unfinished() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    // A set of paths is whole whatever happened to who held it.
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file to be removed if the program is interrupted.
pub(super) fn begin(path: &Path) {
    unfinished().insert(path.to_owned());
}

/// A file that is no more to be removed.
pub(super) fn end(path: &Path) {
    unfinished().remove(path);
}

/// From now on an interrupt (SIGINT) or a request to end (SIGTERM) removes unfinished files before it ends the process
/// as it would have; once a process.
///
/// # Errors
/// [`Error::Failed`](crate::error::Error::Failed) if the system does not allow it.
#[cfg(all(unix, feature = "cli"))]
pub fn clean_up_when_interrupted() -> crate::error::Result<()> {
    use crate::error::Error;
    use signal_hook::consts::{SIGINT, SIGTERM};
    let failed = |e: std::io::Error| Error::Failed(format!("cannot listen to signals: {e}"));
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
    let listen = move || {
        for signal in signals.forever() {
            // Held until the process ends, so that nothing is renamed or begun meanwhile.
            let files = unfinished();
            for file in files.iter() {
                // There is nobody left to tell.
                let _ = std::fs::remove_file(file);
            }
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    };
    let thread = std::thread::Builder::new().name("signals".into());
    thread.spawn(listen).map_err(failed)?;
    Ok(())
}
