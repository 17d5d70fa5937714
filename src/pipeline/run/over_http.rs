//! Feeds over HTTP, where the build has it.

use crate::checkpoint::{FeedState, Store};
use crate::config::FeedConfig;
use crate::error::Result;
use crate::io::Source;
use crate::io::live::Context;

/// Opens a feed whose rows come over HTTP; with a state directory they are on disk before they are acknowledged.
#[cfg(feature = "net")]
pub(super) fn open(
    feed: &FeedConfig,
    state: Option<&FeedState>,
    store: Option<&Store>,
    context: &Context,
    notes: &mut Vec<String>,
) -> Result<Box<dyn Source>> {
    use super::sources::{positions, security};
    use crate::config::FeedKind;
    use crate::io::http::{HttpOptions, HttpSource};
    use crate::io::journal::Journal;
    let FeedKind::Http { listen } = &feed.kind else {
        return poll(feed, context);
    };
    let positions = positions(state);
    let journal = store.map(|store| Journal::open(context, &store.journal(&feed.name), positions.first()));
    let journal = journal.transpose()?;
    notes.extend(journal.as_ref().and_then(|journal| journal.note().map(str::to_owned)));
    let options = HttpOptions {
        listen: *listen,
        security: security(&feed.access)?,
    };
    let source = HttpSource::open(context, options, journal)?;
    notes.extend(source.warning().map(str::to_owned));
    notes.push(format!("feed `{}` listens on http {}", feed.name, source.address()));
    Ok(Box::new(source))
}

/// A page that is asked again and again.
#[cfg(feature = "net")]
fn poll(feed: &FeedConfig, context: &Context) -> Result<Box<dyn Source>> {
    let options = poll_options(feed)?;
    Ok(Box::new(crate::io::http_poll::HttpPollSource::open(context, options)?))
}

/// How a page is asked.
#[cfg(feature = "net")]
pub(super) fn poll_options(feed: &FeedConfig) -> Result<crate::io::http_poll::PollOptions> {
    use crate::config::FeedKind;
    use crate::io::http_poll::PollOptions;
    let FeedKind::HttpPoll {
        url,
        interval,
        headers_file,
    } = &feed.kind
    else {
        let why = format!("feed `{}` is not one over HTTP", feed.name);
        return Err(crate::error::Error::Failed(why));
    };
    let mut options = PollOptions::new(url, *interval);
    if let Some(path) = headers_file {
        options = options.with_headers_file(path)?;
    }
    Ok(options)
}

/// Without HTTP there is nothing to open.
#[cfg(not(feature = "net"))]
pub(super) fn open(
    feed: &FeedConfig,
    _: Option<&FeedState>,
    _: Option<&Store>,
    _: &Context,
    _: &mut Vec<String>,
) -> Result<Box<dyn Source>> {
    Err(crate::error::Error::Unavailable(format!(
        "feed `{}`: this build has no HTTP (it was built without the feature `net`)",
        feed.name
    )))
}
