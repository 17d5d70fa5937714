//! Whether what a configuration names can be reached: addresses are free, files can be opened, directories written to.
//!
//! Nothing is left behind: addresses are let go, what was made for the test is removed.

use crate::alert::AlertRule;
use crate::config::{Config, FeedKind};
use crate::error::{Error, Result};
use std::fs::{File, OpenOptions};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

/// Checks every end of a run.
///
/// # Errors
/// [`Error::Input`] for what cannot be read or listened on, [`Error::Output`] for what cannot be written,
/// [`Error::Config`] for alerts that are no conditions.
pub fn check_environment(config: &Config) -> Result<()> {
    for feed in &config.feeds {
        match &feed.kind {
            FeedKind::File { paths, follow } => paths.iter().filter(|_| !follow).try_for_each(|path| readable(path))?,
            FeedKind::Tcp { listen } | FeedKind::Http { listen } => listens("tcp", *listen)?,
            FeedKind::Udp { listen } => udp(*listen)?,
            FeedKind::HttpPoll { headers_file, .. } => headers_file.iter().try_for_each(|path| readable(path))?,
            FeedKind::Stdin => {}
        }
        let access = &feed.access;
        let of_tls = access.tls.iter().flat_map(|(certificate, key)| [certificate, key]);
        of_tls.chain(&access.token_file).try_for_each(|path| readable(path))?;
    }
    if let Some(listen) = config.server {
        listens("tcp", listen)?;
    }
    let written = config.sinks.iter().filter_map(|sink| sink.path());
    let written = written
        .chain(config.late_path.as_deref())
        .chain(config.limits.quarantine.as_deref());
    written.into_iter().try_for_each(appendable)?;
    if let Some(state) = &config.state {
        // The directory may be made when the run begins: it needs a place.
        let there = state
            .directory
            .ancestors()
            .find(|path| path.is_dir() || path.as_os_str().is_empty());
        let there = there
            .filter(|path| !path.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        appendable(&there.join(format!(".millstream-{}", std::process::id())))?;
    }
    for alert in &config.alerts {
        AlertRule::new(&alert.name, &alert.when, alert.for_windows)?;
    }
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

fn listens(kind: &str, listen: SocketAddr) -> Result<()> {
    TcpListener::bind(listen)
        .map(drop)
        .map_err(|source| address(kind, listen, source))
}

fn udp(listen: SocketAddr) -> Result<()> {
    UdpSocket::bind(listen)
        .map(drop)
        .map_err(|source| address("udp", listen, source))
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
