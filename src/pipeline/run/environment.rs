//! Whether what a configuration names can be reached: addresses are free, files can be opened and have the columns that
//! are asked for, tokens and certificates are some, directories can be written to.
//!
//! Nothing is left behind: addresses are let go, what was made for the test is removed. Nothing is taken from anyone:
//! listeners are bound and accept nobody.

use super::feed::Feed;
use super::going_on::engine_spec;
use super::{going_on, places, sources};
use crate::alert::Alerts;
use crate::backend::cpu::Cpu;
use crate::config::{Access, Config, FeedConfig, FeedKind};
use crate::error::{Error, Result};
use crate::io::Source;
use crate::io::follow::{FileOptions, FileSource};
use crate::io::live::Stop;
use crate::io::sink;
use crate::pipeline::quarantine::refuse_foreign;
use std::fs::{File, OpenOptions};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

/// Checks that the alerts are conditions over numbers that there are, as far as the configuration names the columns.
///
/// # Errors
/// [`Error::Config`] for those that are not.
pub fn check_alerts(config: &Config) -> Result<()> {
    let rules = going_on::rules(config)?;
    if let Some(columns) = &config.spec.columns {
        let spec = engine_spec(config, &rules);
        Alerts::new("".into(), &rules, &spec, columns, config.limits.keys)?;
    }
    Ok(())
}

/// Checks every end of a run; `seen` hears of each, with what is wrong with it.
///
/// # Errors
/// The first that was heard of: [`Error::Input`] for what cannot be read or listened on, [`Error::Output`] for what cannot be
/// written, [`Error::Config`] for what does not fit together, and for tokens, certificates, servers and outputs that are not
/// what they have to be.
pub fn check_environment(config: &Config, seen: &mut dyn FnMut(&str, Option<&Error>)) -> Result<()> {
    places::check(config)?;
    check_alerts(config)?;
    let mut ends = Ends { seen, first: None };
    // Kept to the end, so that no two have one address.
    let mut held = Vec::new();
    for feed in &config.feeds {
        let what = format!("feed `{}`: {}", feed.name, feed.kind.place());
        ends.see(&what, check_feed(config, feed, &mut held));
    }
    if let Some(listen) = config.server {
        let checked = protected(&config.server_access, "[server]", listen);
        let checked = checked.and_then(|()| listens("tcp", listen));
        let checked = checked.map(|listener| held.push(Held::Tcp(listener)));
        ends.see(&format!("[server] {listen}"), checked);
    }
    let feeds = super::sinks::feeds(config)?;
    for sink in &config.sinks {
        let there = sink.path().map_or(Ok(()), appendable);
        ends.see(
            &format!("[[sink]] {}", sink.name()),
            there.and_then(|()| sink::check(sink, &feeds)),
        );
    }
    let late = config.late_path.iter().map(|path| ("[window] late_path", path));
    let quarantine = config
        .limits
        .quarantine
        .iter()
        .map(|path| ("[limits] quarantine", path));
    for (what, path) in late.chain(quarantine) {
        ends.see(&format!("{what} {}", path.display()), check_aside(path));
    }
    if let Some(state) = &config.state {
        let what = format!("[state] {}", state.directory.display());
        ends.see(&what, check_state(&state.directory));
    }
    drop(held);
    ends.first.map_or(Ok(()), Err)
}

/// The ends that have been looked at.
struct Ends<'a> {
    seen: &'a mut dyn FnMut(&str, Option<&Error>),
    first: Option<Error>,
}

impl Ends<'_> {
    fn see(&mut self, what: &str, checked: Result<()>) {
        (self.seen)(what, checked.as_ref().err());
        if let Err(error) = checked {
            self.first.get_or_insert(error);
        }
    }
}

fn check_feed(config: &Config, feed: &FeedConfig, held: &mut Vec<Held>) -> Result<()> {
    let what = format!("feed `{}`", feed.name);
    match &feed.kind {
        FeedKind::File { paths, follow } => {
            paths.iter().filter(|_| !follow).try_for_each(|path| readable(path))?;
            check_columns(config, feed, paths, *follow)?;
        }
        FeedKind::Tcp { listen } | FeedKind::Http { listen } => {
            protected(&feed.access, &what, *listen)?;
            held.push(Held::Tcp(listens("tcp", *listen)?));
        }
        FeedKind::Udp { listen } => {
            sources::check_udp(feed, *listen)?;
            held.push(Held::Udp(udp(*listen)?));
        }
        FeedKind::HttpPoll { .. } => asks(feed)?,
        FeedKind::Stdin => {}
        FeedKind::Kafka(_) | FeedKind::Rabbitmq(_) | FeedKind::Redis(_) | FeedKind::Mqtt(_) | FeedKind::Postgres(_) => {
            super::connectors::check(config, feed)?;
        }
    }
    Ok(())
}

/// A file of rows that are left out.
fn check_aside(path: &Path) -> Result<()> {
    appendable(path)?;
    let opened = File::open(path).and_then(|mut file| match file.metadata()?.is_file() {
        true => refuse_foreign(&mut file),
        false => Ok(()),
    });
    match opened {
        // One that was not there has nothing in it.
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(Error::Output {
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

/// The directory of a state, which may be made when the run begins: it needs a place.
fn check_state(directory: &Path) -> Result<()> {
    let there = directory
        .ancestors()
        .find(|path| path.is_dir() || path.as_os_str().is_empty());
    let there = there
        .filter(|path| !path.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    appendable(&there.join(format!(".millstream-{}", std::process::id())))
}

/// An address that is taken until this goes.
#[expect(dead_code, reason = "held, not used")]
enum Held {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// Whether columns can be those of a feed.
#[cfg(feature = "postgres")]
pub(super) fn fits(config: &Config, feed: &FeedConfig) -> Result<crate::io::live::Fits> {
    let rules = going_on::rules(config)?;
    let feed = Feed::new(config, feed, Box::new(Cpu::new()), &rules, None)?;
    Ok(feed.asked().clone().as_fits())
}

/// That the files have the columns that statistics and alerts name, as far as their first rows tell.
fn check_columns(config: &Config, feed: &FeedConfig, paths: &[PathBuf], follow: bool) -> Result<()> {
    // What is followed may come later.
    let there: Vec<PathBuf> = paths.iter().filter(|path| path.is_file()).cloned().collect();
    if there.is_empty() {
        return Ok(());
    }
    let rules = going_on::rules(config)?;
    let asked = Feed::new(config, feed, Box::new(Cpu::new()), &rules, None)?
        .asked()
        .clone();
    let context = sources::context(config, feed, None, &Stop::default(), asked.as_fits())?;
    let options = FileOptions {
        paths: there,
        follow,
        ..FileOptions::default()
    };
    let source = FileSource::open(&context, &options)?;
    let schema = source.schema();
    if schema.fields().is_empty() {
        return Ok(());
    }
    asked.fits(&schema)
}

/// That TLS and token are what they have to be, and that they are there where others can reach the address.
#[cfg(feature = "net")]
fn protected(access: &Access, what: &str, listen: SocketAddr) -> Result<()> {
    sources::security(access)?.check(what, listen).map(drop)
}

/// Without TLS and tokens, running says what is missing.
#[cfg(not(feature = "net"))]
fn protected(_: &Access, _: &str, _: SocketAddr) -> Result<()> {
    Ok(())
}

/// That a page can be asked, without asking it.
#[cfg(feature = "net")]
fn asks(feed: &FeedConfig) -> Result<()> {
    super::over_http::poll_options(feed).map(drop)
}

/// Without HTTP, running says what is missing.
#[cfg(not(feature = "net"))]
fn asks(_: &FeedConfig) -> Result<()> {
    Ok(())
}

fn readable(path: &Path) -> Result<()> {
    let opened = File::open(path).and_then(|file| file.metadata());
    let opened = opened.and_then(|metadata| match metadata.is_dir() {
        true => Err(std::io::ErrorKind::IsADirectory.into()),
        false => Ok(()),
    });
    opened.map_err(|source| Error::Input {
        path: path.to_owned(),
        source,
    })
}

fn address(kind: &str, listen: SocketAddr, source: std::io::Error) -> Error {
    Error::Input {
        path: PathBuf::from(format!("{kind} {listen}")),
        source,
    }
}

fn listens(kind: &str, listen: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(listen).map_err(|source| address(kind, listen, source))
}

fn udp(listen: SocketAddr) -> Result<UdpSocket> {
    UdpSocket::bind(listen).map_err(|source| address("udp", listen, source))
}

/// Opens a file to append to; one that was not there is not there afterwards.
fn appendable(path: &Path) -> Result<()> {
    let there = path.exists();
    let opened = OpenOptions::new().append(true).create(true).open(path);
    opened.map_err(|source| Error::Output {
        path: path.to_owned(),
        source,
    })?;
    if !there {
        // What was made for the test alone; should it not go, it is empty.
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}
