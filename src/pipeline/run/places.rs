//! That a run writes nowhere what it reads, and to no place twice: inputs, outputs, the state, and the files of
//! certificates and tokens, through links and however their paths are written.

use crate::config::{Access, Config, FeedKind};
use crate::error::{Error, Result};
use crate::io::places::{Named, apart};
use crate::io::remote::Remote;
use crate::io::sink::{SinkFormat, SinkOptions};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Refuses a configuration one of whose outputs is an input, or another output.
///
/// # Errors
/// [`Error::Config`] naming both.
pub(super) fn check(config: &Config) -> Result<()> {
    let (read, written) = (read(config), written(config));
    apart(&read, &written)?;
    let own = config.sinks.iter().filter_map(Numbered::of_sink);
    let own = own.chain(
        config
            .state
            .iter()
            .flat_map(|state| Numbered::of_state(&state.directory)),
    );
    for family in own {
        let others = read
            .iter()
            .chain(written.iter().filter(|named| named.what != family.what));
        if let Some(other) = others.into_iter().find(|other| family.has(&other.path)) {
            return Err(Error::Config(format!(
                "{other} has a name that {} gives to its own files: name another file",
                family.what
            )));
        }
    }
    Ok(())
}

/// Everything that is read.
fn read(config: &Config) -> Vec<Named> {
    let mut read: Vec<Named> = config
        .source
        .iter()
        .map(|path| Named::new("the configuration", path))
        .collect();
    for feed in &config.feeds {
        let what = |option: &str| format!("feed `{}`: {option}", feed.name);
        match &feed.kind {
            FeedKind::Stdin => read.push(Named::new(what("standard input"), "-")),
            FeedKind::File { paths, .. } => read.extend(paths.iter().map(|path| Named::new(what("path"), path))),
            FeedKind::HttpPoll { headers_file, .. } => {
                read.extend(headers_file.iter().map(|path| Named::new(what("headers_file"), path)));
            }
            _ => {}
        }
        read.extend(of_access(&feed.access, &what));
        read.extend(
            feed.kind
                .server()
                .into_iter()
                .flat_map(|server| of_server(server, &what)),
        );
    }
    for sink in &config.sinks {
        if let Some(server) = sink.server() {
            let what = |option: &str| format!("[[sink]] of type {}, {option}", sink.kind());
            read.extend(of_server(server, &what));
        }
    }
    read.extend(of_access(&config.server_access, &|option| format!("[server] {option}")));
    read
}

fn of_access(access: &Access, what: &dyn Fn(&str) -> String) -> Vec<Named> {
    let tls = access.tls.iter();
    let tls = tls.flat_map(|(certificate, key)| [("tls.certificate", certificate), ("tls.key", key)]);
    let token = access.token_file.iter().map(|path| ("token_file", path));
    tls.chain(token)
        .map(|(option, path)| Named::new(what(option), path))
        .collect()
}

/// The files that it takes to reach a server.
fn of_server(server: &Remote, what: &dyn Fn(&str) -> String) -> Vec<Named> {
    let files = [("password_file", &server.password_file), ("ca_file", &server.ca_file)];
    let named = files
        .into_iter()
        .filter_map(|(option, path)| Some((option, path.as_ref()?)));
    named.map(|(option, path)| Named::new(what(option), path)).collect()
}

/// Everything that is written, with the files beside it that have names of their own.
fn written(config: &Config) -> Vec<Named> {
    let mut written = Vec::new();
    for sink in &config.sinks {
        match sink {
            SinkOptions::Stdout { .. } => written.push(Named::new("[[sink]] of type stdout", "-")),
            SinkOptions::Sqlite { path } => {
                let beside = ["", "-wal", "-shm", "-journal"].map(|end| {
                    let mut name = path.clone().into_os_string();
                    name.push(end);
                    Named::new(of_sink(path), PathBuf::from(name))
                });
                written.extend(beside);
            }
            // Two that have the same stem would share the rows of their next file.
            SinkOptions::File {
                path,
                format: SinkFormat::Parquet,
                ..
            } => written.push(Named::new(of_sink(path), waiting(path))),
            SinkOptions::File { path, .. } => written.push(Named::new(of_sink(path), path)),
            SinkOptions::Kafka(_)
            | SinkOptions::Rabbitmq(_)
            | SinkOptions::Redis(_)
            | SinkOptions::Mqtt(_)
            | SinkOptions::Postgres(_) => {}
        }
    }
    let late = config
        .late_path
        .iter()
        .map(|path| Named::new("[window] late_path", path));
    let quarantine = config
        .limits
        .quarantine
        .iter()
        .map(|path| Named::new("[limits] quarantine", path));
    let state = config.state.iter().map(|state| Named::new(STATE, &state.directory));
    written.extend(late.chain(quarantine).chain(state));
    written
}

/// What the directory of the state is called.
const STATE: &str = "[state] directory";

fn of_sink(path: &Path) -> String {
    format!("[[sink]] {}: its file", path.display())
}

/// The rows that wait for a first Parquet file.
fn waiting(path: &Path) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{stem}-000001.rows"))
}

/// Files of one directory whose names differ in what stands between their beginning and their end.
struct Numbered {
    what: String,
    directory: PathBuf,
    begin: String,
    end: String,
    /// Whether only digits may stand between.
    digits: bool,
}

impl Numbered {
    /// The files that a sink of Parquet files ends one after another.
    fn of_sink(sink: &SinkOptions) -> Option<Self> {
        let SinkOptions::File {
            path,
            format: SinkFormat::Parquet,
            ..
        } = sink
        else {
            return None;
        };
        let text =
            |part: Option<&OsStr>, default: &str| part.map_or(default.into(), |p| p.to_string_lossy().into_owned());
        Some(Self {
            what: of_sink(path),
            directory: directory(path)?,
            begin: format!("{}-", text(path.file_stem(), "")),
            end: format!(".{}", text(path.extension(), "parquet")),
            digits: true,
        })
    }

    /// The files of a state: its lock, checkpoints and journals.
    fn of_state(state: &Path) -> Vec<Self> {
        let Ok(directory) = state.canonicalize() else {
            return Vec::new();
        };
        let begins = ["lock", "checkpoint", "journal-"];
        let of = |begin: &str| Self {
            what: STATE.into(),
            directory: directory.clone(),
            begin: begin.into(),
            end: String::new(),
            digits: false,
        };
        begins.map(of).into()
    }

    fn has(&self, path: &Path) -> bool {
        // Where there is such a file, it counts where it is.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let between = name
            .strip_prefix(&self.begin)
            .and_then(|rest| rest.strip_suffix(&self.end));
        let fits = between.is_some_and(|between| match self.digits {
            true => !between.is_empty() && between.bytes().all(|byte| byte.is_ascii_digit()),
            false => true,
        });
        fits && directory(&path).is_some_and(|directory| directory == self.directory)
    }
}

/// The directory of a file, without links.
fn directory(path: &Path) -> Option<PathBuf> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    directory.unwrap_or(Path::new(".")).canonicalize().ok()
}
