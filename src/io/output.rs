//! Files that a program writes: whole files only.
//!
//! Bytes go to a temporary file beside the final one, which takes its name in [`OutputFile::finish`] and is removed if
//! it never comes to that: a reader never sees half a report. What is no regular file (standard output, a device, a
//! pipe) is written to directly.

use super::interrupt;
use crate::error::{Error, Result};
use std::fmt;
use std::fs::{File, Permissions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Bytes that are collected before they are written.
const BUFFER_BYTES: usize = 1 << 18;

/// How many temporary names are tried: others' leftovers have other process ids, so the first serves nearly always.
const NAMES_MAX: u32 = 1000;

/// A file that appears under its name when it is whole, or standard output.
#[derive(Debug)]
pub struct OutputFile {
    // Dropped first, so that the file is closed when it is removed.
    place: Place,
    target: Target,
}

impl OutputFile {
    /// Begins a file at `path`, where `-` is standard output.
    ///
    /// # Errors
    /// [`Error::Output`] if there is no such directory or it cannot be written to.
    pub fn create(path: &Path) -> Result<Self> {
        let (target, place) = Target::create(path)?;
        Ok(Self { place, target })
    }

    /// The path as it was given.
    pub fn path(&self) -> &Path {
        &self.target.path
    }

    /// The error for what the system said while writing this file.
    pub fn error(&self, source: std::io::Error) -> Error {
        self.target.error(source)
    }

    /// Writes out what is buffered and gives the file its name.
    ///
    /// # Errors
    /// [`Error::Output`] if the rest cannot be written.
    pub fn finish(self) -> Result<()> {
        let Self { place, mut target } = self;
        target.settle(place)
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.place.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.place.flush()
    }
}

/// Where bytes go.
type Place = BufWriter<Box<dyn Durable>>;

/// A writer that can be moved to another thread, and made durable if it is a file.
trait Durable: Write + Send + fmt::Debug {
    fn sync(&self) -> std::io::Result<()>;
}

impl Durable for File {
    fn sync(&self) -> std::io::Result<()> {
        self.sync_all()
    }
}

impl Durable for std::io::Stdout {
    fn sync(&self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The name that a file is to have, and the one that it has until it is whole.
#[derive(Debug)]
struct Target {
    /// As it was given, for messages.
    path: PathBuf,
    /// The temporary name and the final one; absent for what is written directly.
    names: Option<(PathBuf, PathBuf)>,
}

impl Target {
    fn create(path: &Path) -> Result<(Self, Place)> {
        let mut target = Self {
            path: path.to_owned(),
            names: None,
        };
        let writer: Box<dyn Durable> = if super::whole::is_stdin(path) {
            Box::new(std::io::stdout())
        } else {
            match std::fs::metadata(path) {
                Ok(metadata) if metadata.is_dir() => {
                    return Err(target.error(std::io::ErrorKind::IsADirectory.into()));
                }
                Ok(metadata) if !metadata.is_file() => {
                    let file = File::options().write(true).open(path);
                    Box::new(file.map_err(|e| target.error(e))?)
                }
                Ok(metadata) => {
                    // What may not be written may not be replaced either.
                    File::options().write(true).open(path).map_err(|e| target.error(e))?;
                    // A link stays a link to the new file.
                    let path = path.canonicalize().map_err(|e| target.error(e))?;
                    target.beside(&path, Some(metadata.permissions()))?
                }
                Err(_) => target.beside(path, None)?,
            }
        };
        Ok((target, BufWriter::with_capacity(BUFFER_BYTES, writer)))
    }

    /// A new file beside the final one, with the permissions of the one that it replaces.
    fn beside(&mut self, path: &Path, permissions: Option<Permissions>) -> Result<Box<dyn Durable>> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let directory = path
            .parent()
            .filter(|d| !d.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        if !directory.is_dir() {
            let why = format!("there is no directory {}", directory.display());
            return Err(self.error(std::io::Error::new(std::io::ErrorKind::NotFound, why)));
        }
        let Some(name) = path.file_name() else {
            return Err(self.error(std::io::ErrorKind::InvalidFilename.into()));
        };
        for _ in 0..NAMES_MAX {
            let mut temporary = std::ffi::OsString::from(".");
            temporary.push(name);
            temporary.push(format!(
                ".{}-{}.tmp",
                std::process::id(),
                COUNT.fetch_add(1, Ordering::Relaxed)
            ));
            let temporary = directory.join(temporary);
            interrupt::begin(&temporary);
            match File::create_new(&temporary) {
                Ok(file) => {
                    self.names = Some((temporary, path.to_owned()));
                    if let Some(permissions) = permissions {
                        file.set_permissions(permissions).map_err(|e| self.error(e))?;
                    }
                    return Ok(Box::new(file));
                }
                // Somebody else's.
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => interrupt::end(&temporary),
                Err(e) => {
                    interrupt::end(&temporary);
                    return Err(self.error(e));
                }
            }
        }
        Err(self.error(std::io::ErrorKind::AlreadyExists.into()))
    }

    /// Writes out what is buffered and gives the file its name.
    fn settle(&mut self, mut place: Place) -> Result<()> {
        place.flush().map_err(|e| self.error(e))?;
        if let Some((temporary, path)) = &self.names {
            place.get_ref().sync().map_err(|e| self.error(e))?;
            drop(place);
            std::fs::rename(temporary, path).map_err(|e| self.error(e))?;
            interrupt::end(temporary);
            self.names = None;
        }
        Ok(())
    }

    fn error(&self, source: std::io::Error) -> Error {
        Error::Output {
            path: self.path.clone(),
            source,
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some((temporary, _)) = &self.names {
            // There is nobody left to tell.
            let _ = std::fs::remove_file(temporary);
            interrupt::end(temporary);
        }
    }
}
