//! Feeds of servers that others run, as far as the build has them.

use crate::checkpoint::{FeedState, Store};
use crate::config::{Config, FeedConfig, FeedKind};
use crate::error::{Error, Result};
use crate::io::Source;
use crate::io::live::Context;

/// Opens a feed of a server. With a state, what it gives is acknowledged once it is durable there; without one, as soon
/// as it is given.
pub(super) fn open(
    feed: &FeedConfig,
    state: Option<&FeedState>,
    store: Option<&Store>,
    context: &Context,
    notes: &mut Vec<String>,
) -> Result<Box<dyn Source>> {
    // What a build with few of them has no use for.
    let _ = (state, store, context, &notes);
    match &feed.kind {
        #[cfg(feature = "kafka")]
        FeedKind::Kafka(of) => {
            let positions = super::sources::positions(state);
            let source = crate::io::kafka::KafkaSource::open(context, of, &positions, store.is_some())?;
            Ok(Box::new(source))
        }
        #[cfg(feature = "redis")]
        FeedKind::Redis(of) => {
            let positions = super::sources::positions(state);
            let source = crate::io::redis::RedisSource::open(context, of, positions.first(), store.is_none())?;
            notes.push(format!(
                "feed `{}` reads the stream {} of redis {}",
                feed.name,
                of.stream,
                of.server.place()
            ));
            Ok(Box::new(source))
        }
        #[cfg(feature = "postgres")]
        FeedKind::Postgres(of) => {
            let positions = super::sources::positions(state);
            let source = crate::io::postgres::PostgresSource::open(context, of, positions.first())?;
            Ok(Box::new(source))
        }
        #[cfg(feature = "rabbitmq")]
        FeedKind::Rabbitmq(options) => {
            let journal = journal(feed, state, store, context, notes)?;
            let source = crate::io::rabbitmq::RabbitmqSource::open(context, options, journal)?;
            Ok(Box::new(source))
        }
        #[cfg(feature = "mqtt")]
        FeedKind::Mqtt(options) => {
            let journal = journal(feed, state, store, context, notes)?;
            let source = crate::io::mqtt::MqttSource::open(context, options, journal)?;
            Ok(Box::new(source))
        }
        _ => Err(missing(feed)),
    }
}

/// The journal of a feed, where it has a state.
#[cfg(any(feature = "mqtt", feature = "rabbitmq"))]
fn journal(
    feed: &FeedConfig,
    state: Option<&FeedState>,
    store: Option<&Store>,
    context: &Context,
    notes: &mut Vec<String>,
) -> Result<Option<crate::io::journal::Journal>> {
    use crate::io::journal::Journal;
    let positions = super::sources::positions(state);
    let open = |store: &Store| Journal::open(context, &store.journal(&feed.name), positions.first());
    let journal = store.map(open).transpose()?;
    notes.extend(journal.as_ref().and_then(|journal| journal.note().map(str::to_owned)));
    Ok(journal)
}

/// Checks that the server can be reached and has what the feed is to read; takes nothing from it.
pub(super) fn check(config: &Config, feed: &FeedConfig) -> Result<()> {
    let _ = config;
    match &feed.kind {
        #[cfg(feature = "kafka")]
        FeedKind::Kafka(of) => crate::io::kafka::check(&feed.name, of),
        #[cfg(feature = "redis")]
        FeedKind::Redis(of) => crate::io::redis::check(&feed.name, of),
        #[cfg(feature = "postgres")]
        FeedKind::Postgres(of) => {
            let fits = super::environment::fits(config, feed)?;
            let stop = crate::io::live::Stop::default();
            let context = super::sources::context(config, feed, None, &stop, fits)?;
            crate::io::postgres::check(&context, of)
        }
        #[cfg(feature = "rabbitmq")]
        FeedKind::Rabbitmq(options) => crate::io::rabbitmq::RabbitmqSource::check(&feed.name, options),
        #[cfg(feature = "mqtt")]
        FeedKind::Mqtt(options) => crate::io::mqtt::MqttSource::check(&feed.name, options),
        _ => Err(missing(feed)),
    }
}

/// What is said of a connector that this build lacks.
fn missing(feed: &FeedConfig) -> Error {
    let feature = match &feed.kind {
        FeedKind::Kafka(_) => "kafka",
        FeedKind::Rabbitmq(_) => "rabbitmq",
        FeedKind::Redis(_) => "redis",
        FeedKind::Mqtt(_) => "mqtt",
        _ => "postgres",
    };
    let name = &feed.name;
    Error::Unavailable(format!(
        "feed `{name}`: this build was made without the feature `{feature}`"
    ))
}
