//! That nothing is written over what is read, and no two outputs over each other: checked before anything is opened,
//! for the options of the command ([`distinct`]) and for the places of a configuration ([`apart`]).
//!
//! A file is told by its device and number where the system has them, so that links, hard links and `./a/../b` are seen
//! through; a file that is not there yet by its directory and name. Only regular files can be lost: devices and pipes
//! may be read and written as often as one likes, but for standard output, which takes one output.

use crate::error::{Error, Result};
use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};

/// Links that are followed from a name to a file that is not there: as many as Linux follows.
const LINKS_MAX: usize = 40;

/// What makes two names the same file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// A regular file that exists.
    File(Id),
    /// A name that is free: the canonical directory and the name in it.
    Free(PathBuf),
    /// What standard output is connected to, where that is no regular file.
    Stdout,
}

#[cfg(unix)]
type Id = (u64, u64);
#[cfg(not(unix))]
type Id = PathBuf;

#[cfg(unix)]
fn id(metadata: &Metadata, _path: &Path) -> Id {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn id(_metadata: &Metadata, path: &Path) -> Id {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// A path, and what it is for.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    /// As it is called in the configuration.
    pub(crate) what: String,
    pub(crate) path: PathBuf,
}

impl Named {
    pub(crate) fn new(what: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self {
            what: what.into(),
            path: path.into(),
        }
    }
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.path == Path::new("-") {
            true => f.write_str(&self.what),
            false => write!(f, "{} {}", self.what, self.path.display()),
        }
    }
}

/// Refuses what is written if it is read, or written by another; also where a file is not there yet.
///
/// # Errors
/// [`Error::Config`] naming both.
pub(crate) fn apart(read: &[Named], written: &[Named]) -> Result<()> {
    let of_read = |named: &Named| match named.path == Path::new("-") {
        true => input(&named.path),
        false => output(&named.path).filter(|place| *place != Place::Stdout),
    };
    let read: Vec<(&Named, Place)> = read.iter().filter_map(|named| Some((named, of_read(named)?))).collect();
    let mut before: Vec<(&Named, Place)> = Vec::new();
    for named in written {
        let Some(place) = output(&named.path) else { continue };
        if let Some((other, _)) = read.iter().find(|(_, other)| *other == place) {
            return Err(Error::Config(format!(
                "{named} is the same file as {other}, and a file that is read is never written: name another file"
            )));
        }
        if let Some((other, _)) = before.iter().find(|(_, other)| *other == place) {
            return Err(Error::Config(format!(
                "{other} and {named} are the same file, and each needs one of its own: name another file"
            )));
        }
        before.push((named, place));
    }
    Ok(())
}

/// Refuses outputs, each with the option that names it, that are an input or each other.
///
/// # Errors
/// [`Error::Usage`] naming both.
#[cfg(feature = "cli")]
pub(crate) fn distinct(inputs: &[PathBuf], outputs: &[(&str, &Path)]) -> Result<()> {
    let read: Vec<(&Path, Place)> = inputs
        .iter()
        .filter_map(|path| Some((path.as_path(), input(path)?)))
        .collect();
    let mut written: Vec<(&str, &Path, Place)> = Vec::new();
    for &(option, path) in outputs {
        let Some(place) = output(path) else { continue };
        if let Some((source, _)) = read.iter().find(|(_, other)| *other == place) {
            return Err(Error::Usage(format!(
                "{} is the input {}, which would be lost: name another file",
                said(option, path),
                source.display()
            )));
        }
        if let Some((first, other, _)) = written.iter().find(|(_, _, other)| *other == place) {
            let why = match place {
                Place::Stdout => "both go to standard output, which takes one",
                _ => "are the same file",
            };
            return Err(Error::Usage(format!(
                "{} and {} {why}: name another file",
                said(first, other),
                said(option, path)
            )));
        }
        written.push((option, path, place));
    }
    Ok(())
}

#[cfg(feature = "cli")]
fn said(option: &str, path: &Path) -> String {
    let blank = if option.ends_with('=') { "" } else { " " };
    format!("{option}{blank}{}", path.display())
}

/// An input that could be lost.
fn input(path: &Path) -> Option<Place> {
    let metadata = if path == Path::new("-") {
        stream(std::io::stdin())
    } else {
        std::fs::metadata(path).ok()
    };
    let metadata = metadata.filter(Metadata::is_file)?;
    Some(Place::File(id(&metadata, path)))
}

/// An output that could be written over another, or over an input.
fn output(path: &Path) -> Option<Place> {
    let stdout = stream(std::io::stdout());
    if path == Path::new("-") {
        return Some(match stdout.filter(Metadata::is_file) {
            Some(metadata) => Place::File(id(&metadata, path)),
            None => Place::Stdout,
        });
    }
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Some(Place::File(id(&metadata, path))),
        Ok(metadata) => {
            let same = stdout.is_some_and(|stdout| id(&stdout, Path::new("-")) == id(&metadata, path));
            let nowhere = std::fs::metadata("/dev/null").is_ok_and(|null| id(&null, path) == id(&metadata, path));
            (same && !nowhere).then_some(Place::Stdout)
        }
        Err(_) => free(path),
    }
}

/// The place of a file that is not there, behind links that lead nowhere yet.
fn free(path: &Path) -> Option<Place> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let directory = path.parent().filter(|d| !d.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new(".")).to_owned();
        match std::fs::read_link(&path) {
            Ok(target) => path = directory.join(target),
            // Where there is no such directory, opening the output says so.
            Err(_) => return Some(Place::Free(directory.canonicalize().ok()?.join(path.file_name()?))),
        }
    }
    None
}

/// What the system knows of a standard stream.
#[cfg(unix)]
fn stream(stream: impl std::os::fd::AsFd) -> Option<Metadata> {
    let owned = stream.as_fd().try_clone_to_owned().ok()?;
    File::from(owned).metadata().ok()
}

#[cfg(not(unix))]
fn stream<T>(_stream: T) -> Option<Metadata> {
    None::<File>.and_then(|file| file.metadata().ok())
}
