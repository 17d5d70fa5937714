//! How many files and sockets the system lets this program have open.
//!
//! Who takes connections must leave some for checkpoints, sinks and everything else that is opened while a run goes on:
//! a checkpoint that cannot be written ends it.

/// Descriptors that are left for files.
const RESERVED: u64 = 64;

/// As many as a program asks for at most: a million sockets are not what is lacking then.
#[cfg(unix)]
const WANTED: u64 = 1 << 20;

/// Raises the bound of this process as far as it may. Where it may not, the bound stays as it is.
pub fn raise() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        let most = limit.maximum.unwrap_or(WANTED).min(WANTED);
        if limit.current.is_some_and(|current| current < most) {
            limit.current = Some(most);
            // Some systems have another bound, which only trying finds.
            let _ = setrlimit(Resource::Nofile, limit);
        }
    }
}

/// How many connections fit beside `others`, and the bound of the system; nothing where there is none.
pub(crate) fn connections_max(others: usize) -> Option<(usize, u64)> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit};
        let most = getrlimit(Resource::Nofile).current?;
        let left = most.saturating_sub(RESERVED).saturating_sub(others as u64).max(1);
        Some((usize::try_from(left).unwrap_or(usize::MAX), most))
    }
    #[cfg(not(unix))]
    {
        let _ = (others, RESERVED);
        None
    }
}
