//! Checkpoints: what a run needs to go on after a crash, in files that are whole or not there.
//!
//! A checkpoint is written beside the others under a temporary name, made durable, given its number, and the directory
//! made durable; the two newest stay. Each begins with a magic and a version and ends with a checksum. When a run
//! begins, the newest that is sound counts: one that is damaged or of another version is passed over with a note.
//!
//! | part | bytes |
//! |---|---|
//! | magic, version | `MSCP`, u16 |
//! | content | of this version of the program |
//! | checksum | u32, CRC-32 (ISO-HDLC) of everything before it |

use crate::error::{Error, Result};
use fail::fail_point;
use serde::{Deserialize, Serialize};
use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 4] = b"MSCP";
/// The version of the content; no other is read.
const VERSION: u16 = 2;
/// Bytes before the content.
const HEAD_BYTES: usize = 6;
/// Generations that stay: the newest, and the one before should that be damaged.
const GENERATIONS: usize = 2;
/// What the names of checkpoints begin with.
const PREFIX: &str = "checkpoint-";

/// Everything that a run goes on from.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    /// What rows, windows and statistics were configured when it was taken.
    pub(crate) fingerprint: String,
    pub(crate) feeds: Vec<FeedState>,
    /// By the name of a sink: what it answered.
    pub(crate) sinks: Vec<(String, Vec<u8>)>,
    /// By the name of a file that is appended to: its length in bytes.
    pub(crate) files: Vec<(String, u64)>,
}

impl Checkpoint {
    /// The length of a file that is appended to.
    pub(crate) fn length(&self, path: &Path) -> Option<u64> {
        let name = path.display().to_string();
        self.files.iter().find(|(of, _)| *of == name).map(|(_, bytes)| *bytes)
    }
}

/// One feed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct FeedState {
    pub(crate) name: String,
    /// Its columns as an Arrow schema message, once they are known.
    pub(crate) schema: Option<Vec<u8>>,
    /// Those of its batches.
    pub(crate) batch_schema: Option<Vec<u8>>,
    /// Partition, rows, offset and generation of each partition.
    pub(crate) positions: Vec<(u32, u64, u64, u64)>,
    /// The paths of the partitions that are files.
    pub(crate) paths: Vec<(u32, String)>,
    /// Rows, offset and generation of the place in a journal that is not used now.
    pub(crate) journal: Option<(u64, u64, u64)>,
    pub(crate) engine: Vec<u8>,
    pub(crate) alerts: Vec<u8>,
    /// Reports so far of windows that are open.
    pub(crate) revisions: Vec<(String, u64)>,
    /// Rows in, aggregated, filtered, late, quarantined, dropped.
    pub(crate) counts: [u64; 6],
}

/// The directory of the checkpoints, which one process at a time has.
#[derive(Debug)]
pub(crate) struct Store {
    directory: PathBuf,
    /// The number of the newest.
    newest: u64,
    /// The numbers of those that could not be read: they are of no use beside the next.
    passed_over: Vec<u64>,
    /// Held for its lock.
    _lock: File,
}

impl Store {
    /// Takes the directory, making it where it is not there.
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        let failed = |source| Error::Output {
            path: directory.to_owned(),
            source,
        };
        std::fs::create_dir_all(directory).map_err(failed)?;
        let lock = File::create(directory.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Config(format!(
                    "the state in {} is used by another process: give each run a [state] directory of its own",
                    directory.display()
                )));
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let newest = numbers(directory)?.last().copied().unwrap_or(0);
        Ok(Self {
            directory: directory.to_owned(),
            newest,
            passed_over: Vec::new(),
            _lock: lock,
        })
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{PREFIX}{number:010}"))
    }

    /// The newest that is sound, with notes on those that are not; `None` where there is none at all.
    ///
    /// # Errors
    /// [`Error::Data`] where there are checkpoints and none is sound: going on without them would lose rows.
    pub(crate) fn load(&mut self) -> Result<(Option<Checkpoint>, Vec<String>)> {
        let mut notes = Vec::new();
        self.passed_over.clear();
        for number in numbers(&self.directory)?.into_iter().rev() {
            let path = self.path(number);
            let read = std::fs::read(&path).map_err(|e| e.to_string());
            match read.and_then(|bytes| decode(&bytes)) {
                Ok(checkpoint) => return Ok((Some(checkpoint), notes)),
                Err(why) => {
                    self.passed_over.push(number);
                    notes.push(format!("the checkpoint {} is passed over: {why}", path.display()));
                }
            }
        }
        match notes.is_empty() {
            true => Ok((None, notes)),
            false => Err(Error::Data(format!(
                "{}; none is left to go on from: --discard-state begins anew",
                notes.join("; ")
            ))),
        }
    }

    /// Forgets every checkpoint, and the journals beside them.
    pub(crate) fn discard(&mut self) -> Result<()> {
        let entries = std::fs::read_dir(&self.directory).map_err(|source| self.output(source))?;
        for entry in entries {
            let entry = entry.map_err(|source| self.output(source))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let removed = if name.starts_with(PREFIX) {
                std::fs::remove_file(entry.path())
            } else if name.starts_with(JOURNAL_PREFIX) {
                std::fs::remove_dir_all(entry.path())
            } else {
                Ok(())
            };
            removed.map_err(|source| self.output(source))?;
        }
        self.newest = 0;
        self.passed_over.clear();
        Ok(())
    }

    /// Where the journal of a feed is.
    pub(crate) fn journal(&self, feed: &str) -> PathBuf {
        // Names of feeds are people's: what is no letter or digit is written as its code.
        let mut name = String::from(JOURNAL_PREFIX);
        for c in feed.chars() {
            match c.is_ascii_alphanumeric() {
                true => name.push(c),
                false => name.push_str(&format!("_{:x}_", u32::from(c))),
            }
        }
        self.directory.join(name)
    }

    fn output(&self, source: std::io::Error) -> Error {
        Error::Output {
            path: self.directory.clone(),
            source,
        }
    }

    /// Makes a checkpoint durable; it is then the newest.
    ///
    /// # Errors
    /// [`Error::Output`] if it cannot be written; those before are still there.
    pub(crate) fn save(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let bytes = encode(checkpoint)?;
        let temporary = self.directory.join("checkpoint.tmp");
        let number = self.newest + 1;
        self.write(&temporary, &bytes, number).map_err(|source| {
            // Half a file takes the room that the next needs.
            let _ = std::fs::remove_file(&temporary);
            self.output(source)
        })?;
        self.newest = number;
        let of_no_use = |number: &u64| self.passed_over.contains(number);
        let (mut gone, sound): (Vec<u64>, Vec<u64>) = numbers(&self.directory)?.into_iter().rev().partition(of_no_use);
        gone.extend(sound.into_iter().skip(GENERATIONS));
        for old in gone {
            // What stays is in nobody's way, and is tried again next time.
            let _ = std::fs::remove_file(self.path(old));
        }
        Ok(())
    }

    fn write(&self, temporary: &Path, bytes: &[u8], number: u64) -> std::io::Result<()> {
        fail_point!("checkpoint-before-write", |_| std::process::abort());
        let mut file = File::create(temporary)?;
        file.write_all(bytes)?;
        fail_point!("checkpoint-before-fsync", |_| std::process::abort());
        file.sync_all()?;
        fail_point!("checkpoint-before-rename", |_| std::process::abort());
        std::fs::rename(temporary, self.path(number))?;
        fail_point!("checkpoint-after-rename", |_| std::process::abort());
        #[cfg(unix)]
        File::open(&self.directory)?.sync_all()?;
        fail_point!("checkpoint-after-fsync", |_| std::process::abort());
        Ok(())
    }
}

/// What the names of the journals of feeds begin with.
const JOURNAL_PREFIX: &str = "journal-";

/// The numbers of the checkpoints in a directory, rising.
fn numbers(directory: &Path) -> Result<Vec<u64>> {
    let input = |source| Error::Input {
        path: directory.to_owned(),
        source,
    };
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(input)? {
        let name = entry.map_err(input)?.file_name();
        numbers.extend(
            name.to_str()
                .and_then(|name| name.strip_prefix(PREFIX)?.parse::<u64>().ok()),
        );
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn encode(checkpoint: &Checkpoint) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(1024);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    let mut bytes = postcard::to_extend(checkpoint, bytes)
        .map_err(|e| Error::Failed(format!("the state cannot be stored: {e}")))?;
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    Ok(bytes)
}

/// The checkpoint in the bytes of a file, or why there is none.
pub(crate) fn decode(bytes: &[u8]) -> Result<Checkpoint, String> {
    if !bytes.starts_with(MAGIC) {
        return Err("it does not begin with MSCP".into());
    }
    if bytes.len() < HEAD_BYTES + 4 {
        return Err("it is cut short".into());
    }
    let (content, checksum) = bytes.split_at(bytes.len() - 4);
    if crc32fast::hash(content).to_le_bytes() != checksum {
        return Err("its checksum does not match".into());
    }
    let version = u16::from_le_bytes([bytes[4], bytes[5]]);
    if version != VERSION {
        return Err(format!(
            "it is of version {version}, this program reads version {VERSION}"
        ));
    }
    postcard::from_bytes(&content[HEAD_BYTES..]).map_err(|e| format!("it cannot be read: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(n: u64) -> Checkpoint {
        Checkpoint {
            fingerprint: format!("run {n}"),
            feeds: vec![FeedState {
                name: "a/b".into(),
                positions: vec![(0, n, 2 * n, 7)],
                engine: vec![1; 50],
                ..FeedState::default()
            }],
            ..Checkpoint::default()
        }
    }

    #[test]
    fn the_newest_counts_and_two_stay() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path()).unwrap();
        assert_eq!(store.load().unwrap(), (None, vec![]));
        for n in 1..=5 {
            store.save(&checkpoint(n)).unwrap();
        }
        assert_eq!(store.load().unwrap().0, Some(checkpoint(5)));
        assert_eq!(numbers(directory.path()).unwrap(), [4, 5]);
        drop(store);
        let mut store = Store::open(directory.path()).unwrap();
        store.save(&checkpoint(6)).unwrap();
        assert_eq!(numbers(directory.path()).unwrap(), [5, 6]);
        store.discard().unwrap();
        assert_eq!(store.load().unwrap(), (None, vec![]));
    }

    #[test]
    fn a_damaged_one_is_passed_over_for_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path()).unwrap();
        store.save(&checkpoint(1)).unwrap();
        store.save(&checkpoint(2)).unwrap();
        let path = store.path(2);
        let whole = std::fs::read(&path).unwrap();
        let newer = {
            let mut bytes = whole[..whole.len() - 4].to_vec();
            bytes[4] = 9;
            let checksum = crc32fast::hash(&bytes);
            [bytes, checksum.to_le_bytes().to_vec()].concat()
        };
        let mut damages: Vec<(Vec<u8>, &str)> = (0..whole.len()).map(|n| (whole[..n].to_vec(), "")).collect();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            damages.push((bytes, ""));
        }
        damages.push((newer, "version 9"));
        for (bytes, word) in damages {
            std::fs::write(&path, &bytes).unwrap();
            let (found, notes) = store.load().unwrap();
            assert_eq!(found, Some(checkpoint(1)));
            assert!(notes.len() == 1 && notes[0].contains(word), "{notes:?}");
        }
        // The next takes the place of the damaged one, and the sound one stays beside it.
        store.save(&checkpoint(3)).unwrap();
        assert_eq!(numbers(directory.path()).unwrap(), [1, 3]);
        std::fs::write(store.path(3), b"").unwrap();
        assert_eq!(store.load().unwrap().0, Some(checkpoint(1)));
        std::fs::write(store.path(1), b"").unwrap();
        let error = store.load().unwrap_err();
        assert!(error.to_string().contains("--discard-state"), "{error}");
    }

    #[test]
    fn one_process_has_a_state() {
        let directory = tempfile::tempdir().unwrap();
        let _held = Store::open(directory.path()).unwrap();
        let error = Store::open(directory.path()).unwrap_err();
        assert_eq!(error.exit_code(), 78, "{error}");
    }
}
