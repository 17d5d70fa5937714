//! Measured costs, kept from run to run in the user's cache directory.
//!
//! A file holds the costs of one processor or adapter, and says of which, by which version: one that is damaged, that
//! another version wrote, or whose costs cannot be costs, is as good as none. Files appear whole or not at all.

use crate::error::{Error, Result};
use crate::io::OutputFile;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The environment variable that names another directory; empty for none at all.
pub const DIRECTORY_VARIABLE: &str = "MILLSTREAM_CACHE";
/// The form of the files.
const SCHEMA: &str = "millstream.costs/1";
/// The program that measured: a build for development takes several times as long.
const VERSION: &str = if cfg!(debug_assertions) {
    concat!(env!("CARGO_PKG_VERSION"), "-debug")
} else {
    env!("CARGO_PKG_VERSION")
};
/// No file is longer: about a hundred times what costs take.
const BYTES_MAX: u64 = 4 << 20;

/// Where costs are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cache {
    directory: Option<PathBuf>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Kept<T> {
    schema: String,
    version: String,
    /// Of what the costs are.
    of: String,
    costs: T,
}

impl Cache {
    /// Nowhere: everything is measured anew.
    pub fn none() -> Self {
        Self::default()
    }

    /// In this directory, which need not exist yet.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: Some(directory.into()),
        }
    }

    /// Where `MILLSTREAM_CACHE` says; else in `millstream` in the user's cache directory: `$XDG_CACHE_HOME`, else
    /// `~/.cache` (macOS: `~/Library/Caches`, Windows: `%LOCALAPPDATA%`).
    pub fn of_user() -> Self {
        let directory = directory(|name| std::env::var_os(name), std::env::home_dir());
        Self { directory }
    }

    /// The directory; `None` where nothing is kept.
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// What is kept for `of`, if it is whole, of this version, and `sound`.
    pub fn load<T: DeserializeOwned>(&self, of: &str, sound: impl Fn(&T) -> bool) -> Option<T> {
        let path = self.path(of)?;
        let metadata = std::fs::metadata(&path).ok()?;
        if !metadata.is_file() || metadata.len() > BYTES_MAX {
            return None;
        }
        let kept: Kept<T> = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        let ours = kept.schema == SCHEMA && kept.version == VERSION && kept.of == of;
        Some(kept.costs).filter(|costs| ours && sound(costs))
    }

    /// Keeps costs for `of`.
    ///
    /// # Errors
    /// [`Error::Output`] if the file cannot be written.
    pub fn store<T: Serialize>(&self, of: &str, costs: &T) -> Result<()> {
        let Some(path) = self.path(of) else {
            return Ok(());
        };
        if let Some(directory) = &self.directory {
            std::fs::create_dir_all(directory).map_err(|source| Error::Output {
                path: directory.clone(),
                source,
            })?;
        }
        let kept = Kept {
            schema: SCHEMA.into(),
            version: VERSION.into(),
            of: of.into(),
            costs,
        };
        let text = serde_json::to_vec(&kept).map_err(|e| Error::Failed(e.to_string()))?;
        let mut file = OutputFile::create(&path)?;
        file.write_all(&text).map_err(|e| file.error(e))?;
        file.finish()
    }

    /// The file for `of`, named by it and by the version: readable, and different for what is different.
    fn path(&self, of: &str) -> Option<PathBuf> {
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        };
        let words: String = of.chars().take(60).map(plain).collect();
        let name = format!("costs-{words}-{:08x}-{VERSION}.json", crc32fast::hash(of.as_bytes()));
        Some(self.directory.as_ref()?.join(name))
    }
}

fn directory(variable: impl Fn(&str) -> Option<OsString>, home: Option<PathBuf>) -> Option<PathBuf> {
    if let Some(named) = variable(DIRECTORY_VARIABLE) {
        return Some(PathBuf::from(named)).filter(|path| !path.as_os_str().is_empty());
    }
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let users = if cfg!(windows) {
        absolute("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        absolute("XDG_CACHE_HOME").or(home.map(|home| home.join("Library/Caches")))
    } else {
        absolute("XDG_CACHE_HOME").or(home.map(|home| home.join(".cache")))
    };
    Some(users?.join("millstream"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_by_environment() {
        let home = || Some(PathBuf::from("/home/u"));
        let with = |pairs: &[(&str, &str)]| {
            let find = |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into());
            directory(find, home())
        };
        assert_eq!(with(&[(DIRECTORY_VARIABLE, "here")]), Some("here".into()));
        assert_eq!(with(&[(DIRECTORY_VARIABLE, ""), ("XDG_CACHE_HOME", "/x")]), None);
        assert_eq!(directory(|_| None, None), None);
        if cfg!(all(unix, not(target_os = "macos"))) {
            assert_eq!(with(&[("XDG_CACHE_HOME", "/x")]), Some("/x/millstream".into()));
            // A relative path there is to be ignored, says the XDG specification.
            assert_eq!(
                with(&[("XDG_CACHE_HOME", "x")]),
                Some("/home/u/.cache/millstream".into())
            );
        }
    }

    #[test]
    fn what_differs_has_another_file() {
        let cache = Cache::at("d");
        let (a, b) = (cache.path("GPU (1)").unwrap(), cache.path("GPU [1]").unwrap());
        assert_ne!(a, b);
        assert!(a.to_str().unwrap().contains("costs-gpu--1--"), "{}", a.display());
        assert_eq!(Cache::none().path("x"), None);
    }
}
