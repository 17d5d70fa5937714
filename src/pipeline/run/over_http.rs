//! Feeds over HTTP, where the build has it.

use crate::checkpoint::{FeedState, Store};
use crate::config::FeedConfig;
use crate::error::{Error, Result};
use crate::io::Source;
use crate::io::live::Context;

/// Opens a feed whose rows come over HTTP.
pub(super) fn open(
    feed: &FeedConfig,
    _state: Option<&FeedState>,
    _store: Option<&Store>,
    _context: &Context,
    _notes: &mut Vec<String>,
) -> Result<Box<dyn Source>> {
    Err(Error::Unavailable(format!(
        "feed `{}`: this build has no HTTP",
        feed.name
    )))
}
