//! The sources of a run: opened by their configuration, each read by a thread of its own.

use crate::checkpoint::{FeedState, Store};
use crate::config::{Access, Config, FeedConfig, FeedKind};
use crate::error::{Error, Result};
use crate::io::journal::{Journal, Journalled};
use crate::io::live::{ColumnType, Context, Counters, Fits, Limits, Settled, Stop, WireFormat, WireOptions};
use crate::io::shared::{Given, SharedPlaces};
use crate::io::{Position, Read, Rows, Source};
use crate::io::{descriptors, follow};
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use crossbeam::channel::{Receiver, Sender, bounded};
use std::path::Path;
use std::sync::Arc;

/// The part of the memory that may hold records which are not complete.
const HELD_PART: u64 = 4;

/// Connections of those who watch a run.
const PAGE_CONNECTIONS: usize = 64;

/// What a source has to say.
#[derive(Debug)]
pub(super) enum Said {
    /// Rows, and the position behind them.
    Rows(Rows, Position),
    /// The partitions that rows are still to come from.
    Open(Vec<u32>),
    /// The partitions that the group has given it, before their rows.
    Given(Given),
    /// It has to give them back (or was read to its end, so that every window closes): it waits to be told where they
    /// stand.
    Recalled(bool, Sender<SharedPlaces>),
    /// What a person should know.
    Note(String),
    /// Nothing more will come.
    End(Result<()>),
}

/// A source with its thread.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) counters: Arc<Counters>,
    pub(super) schema: Arc<Settled>,
    pub(super) places: Places,
    /// Places that a checkpoint has made durable.
    commits: Sender<Reached>,
}

/// How far a feed is.
#[derive(Debug, Clone, Default)]
pub(super) struct Reached {
    pub(super) positions: Vec<Position>,
    /// Of partitions that processes share.
    pub(super) shared: SharedPlaces,
}

/// What of the places of a source is not in its positions.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// The paths of partitions, where they are files.
    pub(super) paths: Vec<(u32, String)>,
    /// Partitions from which no row will come.
    pub(super) left: Vec<u32>,
    /// Rows, offset and generation of the place in a journal that is not used now.
    pub(super) journal: Option<(u64, u64, u64)>,
}

impl Reading {
    /// Tells the source that everything up to there will not be asked for again. Where it has not yet heard of the
    /// last, this one may be left out: a later one says the same and more.
    pub(super) fn commit(&self, reached: Reached) {
        let _ = self.commits.try_send(reached);
    }
}

/// The columns that rows are asked for, if that is known without them.
fn wanted(config: &Config) -> Option<Vec<String>> {
    let mut wanted = config.spec.columns.clone()?;
    let regression = config.spec.regression.iter();
    wanted.extend(regression.flat_map(|r| r.terms.iter().chain([&r.target]).cloned()));
    wanted.extend(config.spec.keys.iter().cloned());
    wanted.extend(config.rows.time.iter().map(|(time, _)| time.clone()));
    let expressions = config
        .rows
        .definitions
        .iter()
        .map(|d| &d.expr)
        .chain(&config.rows.filter);
    wanted.extend(expressions.flat_map(crate::expr::Expr::columns));
    let defined = |name: &String| config.rows.definitions.iter().any(|d| d.name == *name);
    let mut seen = std::collections::HashSet::new();
    wanted.retain(|name| !defined(name) && seen.insert(name.clone()));
    Some(wanted)
}

pub(super) fn context(
    config: &Config,
    feed: &FeedConfig,
    state: Option<&FeedState>,
    stop: &Stop,
    fits: Fits,
) -> Result<Context> {
    let regression = config.spec.regression.iter();
    let of_regression = regression.flat_map(|r| r.terms.iter().chain([&r.target]).cloned());
    let defined = |name: &String| config.rows.definitions.iter().any(|d| d.name == *name);
    let numeric = config.spec.columns.iter().flatten().cloned().chain(of_regression);
    let by_extension = |path: &Path| match path.extension().and_then(|e| e.to_str()) {
        Some("ndjson" | "jsonl" | "json") => WireFormat::Ndjson,
        Some("arrow" | "arrows" | "ipc") => WireFormat::Arrow,
        _ => WireFormat::Csv,
    };
    let format = feed.format.unwrap_or_else(|| match &feed.kind {
        FeedKind::File { paths, .. } => paths.first().map_or(WireFormat::Csv, |path| by_extension(path)),
        _ => WireFormat::Csv,
    });
    let of_summaries = feed.summaries.then(|| super::shares::SUMMARY.to_owned());
    let own = of_summaries.is_none();
    let text = of_summaries.iter().map(|name| (name.clone(), ColumnType::Text));
    let schema = match state.and_then(|state| state.schema.as_deref()) {
        Some(bytes) => Settled::of(read_schema(bytes)?),
        None => Settled::by(fits),
    };
    Ok(Context {
        name: feed.name.clone(),
        wire: Arc::new(WireOptions {
            format,
            columns: feed.columns.clone(),
            types: feed.types.clone().into_iter().chain(text).collect(),
            values: feed.values,
            wanted: of_summaries.map_or_else(|| wanted(config), |name| Some(vec![name])),
            time: config.rows.time.clone(),
            keys: config.spec.keys.iter().filter(|_| own).cloned().collect(),
            numeric: numeric.filter(|name| own && !defined(name)).collect(),
            line_bytes_max: config.limits.line_bytes,
        }),
        limits: Limits {
            connections: config.limits.connections,
            idle: config.limits.idle_connection,
            body_bytes: config.limits.body_bytes,
            held_bytes: config.limits.memory_bytes / HELD_PART / config.feeds.len().max(1) as u64,
        },
        stop: stop.clone(),
        counters: Arc::new(Counters::default()),
        schema: Arc::new(schema),
    })
}

/// Connections that a feed takes: no more than the system has descriptors for, which all listeners share.
fn connections(config: &Config, feed: &FeedConfig, notes: &mut Vec<String>) -> usize {
    let listens = |feed: &&FeedConfig| matches!(feed.kind, FeedKind::Tcp { .. } | FeedKind::Http { .. });
    let listeners = config.feeds.iter().filter(listens).count();
    let pages = if config.server.is_some() { PAGE_CONNECTIONS } else { 0 };
    let wanted = config.limits.connections;
    match descriptors::connections_max(pages) {
        Some((most, system)) if listens(&feed) && most / listeners.max(1) < wanted => {
            let most = (most / listeners.max(1)).max(1);
            notes.push(format!(
                "feed `{}` takes {most} connections at once and not {wanted}, as the system lets a program have {system} \
                 files open (ulimit -n)",
                feed.name
            ));
            most
        }
        _ => wanted,
    }
}

/// Columns as bytes.
pub(super) fn stored_schema(schema: &SchemaRef) -> Result<Vec<u8>> {
    let failed = |e| Error::Failed(format!("columns cannot be stored: {e}"));
    let mut writer = StreamWriter::try_new(Vec::new(), schema).map_err(failed)?;
    writer.finish().map_err(failed)?;
    writer.into_inner().map_err(failed)
}

/// Columns from bytes.
pub(super) fn read_schema(bytes: &[u8]) -> Result<SchemaRef> {
    let reader = StreamReader::try_new(bytes, None);
    let reader = reader.map_err(|e| Error::Data(format!("the stored columns cannot be read: {e}")))?;
    Ok(reader.schema())
}

/// Opens a source where its state stands.
fn open(
    config: &Config,
    feed: &FeedConfig,
    state: Option<&FeedState>,
    store: Option<&Store>,
    context: &Context,
    places: &mut Places,
    notes: &mut Vec<String>,
) -> Result<Box<dyn Source>> {
    let positions = positions(state);
    let is_kept = config.state.as_ref().is_some_and(|state| state.journal);
    let in_journal = in_journal(state);
    if !is_kept && matches!(feed.kind, FeedKind::Tcp { .. } | FeedKind::Udp { .. }) {
        places.journal = in_journal.map(|place| (place.rows, place.offset_bytes, place.generation));
        if in_journal.is_some() {
            notes.push(format!(
                "feed `{}` had a journal: what is not reduced of it waits until journal = true again",
                feed.name
            ));
        }
    }
    let journal = || match store.filter(|_| is_kept) {
        Some(store) => Journal::open(context, &store.journal(&feed.name), in_journal.as_ref()).map(Some),
        None => Ok(None),
    };
    match &feed.kind {
        FeedKind::Stdin => Ok(Box::new(crate::io::stdin::StdinSource::open(context)?)),
        FeedKind::File { paths, follow } => {
            let known = state.map_or(&[][..], |state| &state.paths);
            let numbered = follow::partitions(paths, known, &positions);
            let farewells = numbered.left.iter().map(|(_, name)| follow::farewell(&feed.name, name));
            notes.extend(farewells);
            places.left = numbered.left.iter().map(|(number, _)| *number).collect();
            places.paths = numbered.names;
            let options = follow::FileOptions {
                paths: paths.clone(),
                partitions: numbered.numbers,
                follow: *follow,
                positions,
            };
            let mut source = follow::FileSource::open(context, &options)?;
            let said = source.notes().into_iter();
            notes.extend(said.map(|note| format!("feed `{}`: {note}", feed.name)));
            Ok(Box::new(source))
        }
        FeedKind::Tcp { listen } => {
            let mut options = crate::io::tcp::TcpOptions::plain(*listen);
            protect(&feed.access, &format!("feed `{}`", feed.name), &mut options, notes)?;
            let source = crate::io::tcp::TcpSource::open(context, options)?;
            notes.push(format!("feed `{}` listens on tcp {}", feed.name, source.address()));
            behind(source, journal()?, notes)
        }
        FeedKind::Udp { listen } => {
            check_udp(feed, *listen)?;
            let source = crate::io::udp::UdpSource::open(context, *listen)?;
            notes.push(format!("feed `{}` listens on udp {}", feed.name, source.address()));
            behind(source, journal()?, notes)
        }
        FeedKind::Http { .. } | FeedKind::HttpPoll { .. } => super::over_http::open(feed, state, store, context, notes),
        FeedKind::Kafka(_) | FeedKind::Rabbitmq(_) | FeedKind::Redis(_) | FeedKind::Mqtt(_) | FeedKind::Postgres(_) => {
            super::connectors::open(feed, state, store, context, notes)
        }
    }
}

/// That a feed over UDP may listen there: nobody can be told who may send.
pub(super) fn check_udp(feed: &FeedConfig, listen: std::net::SocketAddr) -> Result<()> {
    match listen.ip().is_loopback() || feed.access.insecure {
        true => Ok(()),
        false => Err(Error::Config(format!(
            "feed `{}`: udp on {listen} takes rows from anyone: listen on 127.0.0.1, or set insecure = true",
            feed.name
        ))),
    }
}

/// A source, behind its journal if it has one.
fn behind(source: impl Source + 'static, journal: Option<Journal>, notes: &mut Vec<String>) -> Result<Box<dyn Source>> {
    let Some(journal) = journal else {
        return Ok(Box::new(source));
    };
    notes.extend(journal.note().map(str::to_owned));
    Ok(Box::new(Journalled::new(source, journal)?))
}

/// TLS and token of a listener; where others can reach it, it has both.
#[cfg(feature = "net")]
fn protect(
    access: &Access,
    what: &str,
    options: &mut crate::io::tcp::TcpOptions,
    notes: &mut Vec<String>,
) -> Result<()> {
    let security = security(access)?;
    notes.extend(security.check(what, options.listen)?);
    if let Some(tls) = security.tls {
        options.accept = Some(Arc::new(move |socket, deadline| tls.accept(socket, deadline)));
    }
    options.token = security.token.map(|token| token.check());
    Ok(())
}

/// Who may connect.
#[cfg(feature = "net")]
pub(super) fn security(access: &Access) -> Result<crate::io::tls::Security> {
    use crate::io::tls::{Security, Tls, Token};
    let token = match (&access.token_file, &access.token_env) {
        (Some(path), _) => Some(Token::from_file(path)?),
        (None, Some(name)) => Some(Token::from_environment(name)?),
        (None, None) => None,
    };
    let tls = access
        .tls
        .as_ref()
        .map(|(certificate, key)| Tls::from_files(certificate, key));
    Ok(Security {
        tls: tls.transpose()?,
        token,
        insecure: access.insecure,
    })
}

#[cfg(not(feature = "net"))]
fn protect(access: &Access, what: &str, options: &mut crate::io::tcp::TcpOptions, _: &mut Vec<String>) -> Result<()> {
    let plain = access.tls.is_none() && access.token_file.is_none() && access.token_env.is_none();
    if !plain || !(options.listen.ip().is_loopback() || access.insecure) {
        return Err(Error::Unavailable(format!(
            "{what}: this build has no TLS and no tokens (it was built without the feature `net`): listen on 127.0.0.1"
        )));
    }
    Ok(())
}

/// Where a stored feed stands in its journal: by its position, or as it was when it last had one.
fn in_journal(state: Option<&FeedState>) -> Option<Position> {
    let state = state.filter(|state| state.paths.is_empty())?;
    let position = positions(Some(state)).first().copied();
    let kept = state.journal.map(|(rows, offset_bytes, generation)| Position {
        partition: 0,
        rows,
        offset_bytes,
        generation,
    });
    position.filter(|position| position.generation > 0).or(kept)
}

/// Where a stored feed stands, by partition.
pub(super) fn positions(state: Option<&FeedState>) -> Vec<Position> {
    let position = |(partition, rows, offset_bytes, generation): &(u32, u64, u64, u64)| Position {
        partition: *partition,
        rows: *rows,
        offset_bytes: *offset_bytes,
        generation: *generation,
    };
    state.map_or(Vec::new(), |state| state.positions.iter().map(position).collect())
}

/// Opens a source and has a thread read it: what it says comes with the number of the feed. The columns of its rows have
/// to fit.
#[expect(clippy::too_many_arguments, reason = "each is a part of the run of its own")]
pub(super) fn start(
    config: &Config,
    number: usize,
    fits: Fits,
    state: Option<&FeedState>,
    store: Option<&Store>,
    stop: &Stop,
    said: &Sender<(usize, Said)>,
    notes: &mut Vec<String>,
) -> Result<Reading> {
    let feed = &config.feeds[number];
    let mut context = context(config, feed, state, stop, fits)?;
    context.limits.connections = connections(config, feed, notes);
    let mut places = Places::default();
    let source = open(config, feed, state, store, &context, &mut places, notes)?;
    let (commits, committed) = bounded(1);
    let (said, stop) = (said.clone(), stop.clone());
    std::thread::Builder::new()
        .name(format!("millstream-{}", feed.name))
        .spawn(move || {
            let end = read(source, number, &stop, &committed, &said);
            let _ = said.send((number, Said::End(end)));
        })
        .map_err(|e| Error::Failed(format!("feed `{}`: no thread to read it: {e}", feed.name)))?;
    Ok(Reading {
        counters: context.counters,
        schema: context.schema,
        places,
        commits,
    })
}

fn read(
    mut source: Box<dyn Source>,
    number: usize,
    stop: &Stop,
    commits: &Receiver<Reached>,
    said: &Sender<(usize, Said)>,
) -> Result<()> {
    let mut open = None;
    loop {
        for reached in commits.try_iter() {
            reached
                .positions
                .iter()
                .try_for_each(|position| source.commit(position))?;
            source.commit_shared(&reached.shared);
        }
        if let Some(given) = source.given()
            && said.send((number, Said::Given(given))).is_err()
        {
            return Ok(());
        }
        if source.is_recalled() && !hand_back(&mut *source, number, (false, false), said) {
            return Ok(());
        }
        let partitions = source.partitions();
        if partitions != open {
            let said_so = said.send((number, Said::Open(partitions.clone().unwrap_or_default())));
            if said_so.is_err() {
                return Ok(());
            }
            open = partitions;
        }
        let read = source.read()?;
        for note in source.notes() {
            if said.send((number, Said::Note(note))).is_err() {
                return Ok(());
            }
        }
        match read {
            Read::Batch(rows, position) => {
                if said.send((number, Said::Rows(rows, position))).is_err() {
                    return Ok(());
                }
            }
            Read::Idle => {}
            Read::End => {
                if source.is_shared() {
                    hand_back(&mut *source, number, (!stop.is_stopped(), true), said);
                }
                return Ok(());
            }
        }
    }
}

/// Gives shared partitions back, once everything before is reported; whether anybody heard.
fn hand_back(
    source: &mut dyn Source,
    number: usize,
    (has_ended, is_last): (bool, bool),
    said: &Sender<(usize, Said)>,
) -> bool {
    let (answer, answered) = bounded(1);
    if said.send((number, Said::Recalled(has_ended, answer))).is_err() {
        return false;
    }
    // Where the run has failed nobody answers: who has them next reads again what was not committed.
    let places = answered.recv();
    let is_heard = places.is_ok();
    source.let_go(&places.unwrap_or_default(), is_last);
    is_heard
}
