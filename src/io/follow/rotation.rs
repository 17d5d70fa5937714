//! Which file is which: what tells a file from others that have had its name, the files that had a name in between, and
//! the partitions of paths.

use super::super::{Position, whole};
use super::{Lines, Open, opened};
use crate::error::Result;
use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// How often names are looked at that move on meanwhile.
const LOOKS: usize = 5;

/// Files that are known to have been read: more than are renamed away while one is read.
const SEEN_MAX: usize = 64;

/// What tells a file from others that have had its name: the number of its inode, and when it was made where the file
/// system keeps that, as numbers are given again.
#[cfg(unix)]
pub(super) fn identity(metadata: &Metadata) -> u64 {
    let made = metadata.created().ok();
    let made = made.and_then(|made| made.duration_since(UNIX_EPOCH).ok());
    let made = made.map_or(0, |made| made.as_nanos() as u64);
    let inode = std::os::unix::fs::MetadataExt::ino(metadata);
    // An odd factor loses no bit; 0 is no file.
    (inode ^ made.wrapping_mul(0x9e37_79b9_7f4a_7c15)).max(1)
}

/// What tells a file from others that have had its name: nothing here, so that rotation is not noticed.
#[cfg(not(unix))]
pub(super) fn identity(_: &Metadata) -> u64 {
    let _ = UNIX_EPOCH;
    0
}

/// When a file began: when it was made, or last written where that is not kept.
fn began(metadata: &Metadata) -> Option<SystemTime> {
    metadata.created().or_else(|_| metadata.modified()).ok()
}

/// The files in the directory of `path`.
fn neighbours(path: &Path) -> impl Iterator<Item = (PathBuf, Metadata)> + use<> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let entries = std::fs::read_dir(parent.unwrap_or(Path::new(".")));
    entries.into_iter().flatten().flatten().filter_map(|entry| {
        let metadata = entry.metadata().ok().filter(Metadata::is_file)?;
        Some((entry.path(), metadata))
    })
}

/// How a file is called that had a name before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Renamed {
    /// `in.csv.1`, `in.csv-20240131`
    Behind,
    /// `in.1.csv`, `in-20240131.csv`
    Within,
}

/// Whether `name` is that of a file that was called `path` before: with a number or a date behind it, or before its
/// extension.
fn renamed(path: &Path, name: &Path) -> Option<Renamed> {
    let text = |part: Option<&std::ffi::OsStr>| part.and_then(|part| part.to_str()).map(str::to_owned);
    let (own, stem, name) = (
        text(path.file_name())?,
        text(path.file_stem())?,
        text(name.file_name())?,
    );
    let is_number = |text: &str| {
        text.starts_with(['.', '-', '_'])
            && text.bytes().any(|byte| byte.is_ascii_digit())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || b".-_:T".contains(&byte))
    };
    if name.strip_prefix(&own).is_some_and(is_number) {
        return Some(Renamed::Behind);
    }
    let extension = format!(".{}", text(path.extension())?);
    let between = name.strip_prefix(&stem)?.strip_suffix(&extension)?;
    is_number(between).then_some(Renamed::Within)
}

/// The order of files that began within one tick of the clock: a higher number is older, an earlier date is.
fn order(path: &Path, name: &Path) -> i64 {
    let text = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (own, name) = (text(path), text(name));
    let same = own.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
    let digits = name.bytes().skip(same).filter(u8::is_ascii_digit);
    let number = digits.fold(0i64, |number, digit| {
        number.saturating_mul(10).saturating_add(i64::from(digit - b'0'))
    });
    match number < COUNTERS_END {
        true => -number,
        false => number,
    }
}

/// Numbers below it count files; above they are dates.
const COUNTERS_END: i64 = 1_000_000;

/// The next file that was called `path` after the file `last`, where another has the name now: one that was renamed away
/// as `last` was, and began after it. `seen` are files that were read before, `others` paths that are read by themselves.
fn in_between(
    path: &Path,
    others: &[PathBuf],
    last: &Metadata,
    current: Option<&Metadata>,
    seen: &[u64],
) -> Option<(File, Metadata)> {
    let is_current = |id: u64| current.is_some_and(|current| identity(current) == id);
    let is_other = |id: u64| {
        let other = |other: &PathBuf| std::fs::metadata(other).is_ok_and(|metadata| identity(&metadata) == id);
        others.iter().any(other)
    };
    let (since, until) = (began(last)?, current.and_then(began));
    // Names may move on while they are looked at.
    for _ in 0..LOOKS {
        let files: Vec<(PathBuf, Metadata)> = neighbours(path).collect();
        let own = files.iter().find(|(_, metadata)| identity(metadata) == identity(last));
        let as_last = match own {
            Some((name, _)) => renamed(path, name)?,
            None => Renamed::Behind,
        };
        let is_one = |(name, metadata): &&(PathBuf, Metadata)| {
            let id = identity(metadata);
            let in_time = began(metadata).is_some_and(|at| at >= since && until.is_none_or(|until| at <= until));
            let is_new = id != identity(last) && !is_current(id) && !seen.contains(&id);
            in_time && is_new && renamed(path, name) == Some(as_last) && !is_other(id)
        };
        let found = files.iter().filter(is_one);
        let (name, metadata) = found.min_by_key(|(name, metadata)| (began(metadata), order(path, name)))?;
        if let Ok((file, found)) = opened(name)
            && identity(&found) == identity(metadata)
        {
            return Some((file, found));
        }
    }
    None
}

impl Lines {
    /// The file of this generation, under the path's name or another one in its directory.
    pub(super) fn find(&self, generation: u64) -> Result<Option<(File, Metadata)>> {
        let is_it = |metadata: &Metadata| generation == 0 || identity(metadata) == generation;
        if let Ok((file, metadata)) = opened(&self.path)
            && is_it(&metadata)
        {
            return Ok(Some((file, metadata)));
        }
        for (name, _) in neighbours(&self.path).filter(|(_, metadata)| is_it(metadata)) {
            if let Ok((file, metadata)) = opened(&name)
                && is_it(&metadata)
            {
                return Ok(Some((file, metadata)));
            }
        }
        Ok(None)
    }

    /// Whether the path names another file than this one.
    pub(super) fn is_other(&self, generation: u64) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|metadata| identity(&metadata) != generation)
    }

    /// Goes on to the file that had the name after the one that has ended, or has it now.
    pub(super) fn go_on(&mut self) -> Result<()> {
        let Some(last) = self.open.take() else { return Ok(()) };
        let metadata = last.file.metadata().map_err(self.input())?;
        // Opened before it is looked for others: should it be renamed away meanwhile, it is still this one.
        let current = opened(&self.path)
            .ok()
            .filter(|(_, now)| identity(now) != last.generation);
        let now = current.as_ref().map(|(_, now)| now);
        let between = in_between(&self.path, &self.others, &metadata, now, &self.seen);
        self.is_behind = between.is_some();
        self.seen.push(last.generation);
        if self.seen.len() > SEEN_MAX {
            self.seen.remove(0);
        }
        if let Some((file, metadata)) = between.or(current) {
            let decoder = self.decoder()?;
            self.open = Some(Open::new(file, decoder, identity(&metadata), 0));
        }
        Ok(())
    }
}

/// The partitions of the files of a feed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Partitions {
    /// By path, in their order.
    pub(crate) numbers: Vec<u32>,
    /// Every path that there is or was, by its number.
    pub(crate) names: Vec<(u32, String)>,
    /// Those that are not named any more.
    pub(crate) left: Vec<(u32, String)>,
}

/// Numbers the paths: one that was known keeps its number, wherever it stands now; so does a file that is named by
/// another path than before. The others have new ones.
pub(crate) fn partitions(paths: &[PathBuf], known: &[(u32, String)], positions: &[Position]) -> Partitions {
    let mut free: Vec<&(u32, String)> = known.iter().collect();
    let mut numbers: Vec<Option<u32>> = vec![None; paths.len()];
    let mut take = |number: &mut Option<u32>, fits: &dyn Fn(&(u32, String)) -> bool| {
        if number.is_none()
            && let Some(at) = free.iter().position(|known| fits(known))
        {
            *number = Some(free.remove(at).0);
        }
    };
    for (path, number) in paths.iter().zip(&mut numbers) {
        take(number, &|(_, name)| Path::new(name) == path);
    }
    for (path, number) in paths.iter().zip(&mut numbers) {
        let own = path.canonicalize().ok();
        take(number, &|(_, name)| {
            own.is_some() && Path::new(name).canonicalize().ok() == own
        });
    }
    for (path, number) in paths.iter().zip(&mut numbers) {
        let Some(own) = std::fs::metadata(path).ok().map(|metadata| identity(&metadata)) else {
            continue;
        };
        let at = |number: u32| positions.iter().find(|position| position.partition == number);
        take(number, &|(number, _)| {
            own != 0 && at(*number).is_some_and(|position| position.generation == own)
        });
    }
    let left: Vec<(u32, String)> = free.into_iter().cloned().collect();
    let used = known.iter().map(|(number, _)| *number);
    let used = used.chain(positions.iter().map(|position| position.partition));
    let mut next = used.max().map_or(0, |number| number + 1);
    let number = |number: Option<u32>| {
        number.unwrap_or_else(|| {
            next += 1;
            next - 1
        })
    };
    let numbers: Vec<u32> = numbers.into_iter().map(number).collect();
    let named = paths.iter().map(|path| path.to_string_lossy().into_owned());
    let names = numbers.iter().copied().zip(named).chain(left.iter().cloned()).collect();
    Partitions { numbers, names, left }
}

/// What is said of a path that is not named any more.
pub(crate) fn farewell(feed: &str, name: &str) -> String {
    format!(
        "feed `{feed}`: {} is not among its paths any more: rows of it that were not read stay unread",
        whole::name(Path::new(name))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_had_a_name_are_told_by_their_names() {
        let renamed = |name: &str| renamed(Path::new("d/in.csv"), Path::new(name));
        for name in ["d/in.csv.1", "d/in.csv-20240131", "d/in.csv.2024-01-31T10:00"] {
            assert_eq!(renamed(name), Some(Renamed::Behind), "{name}");
        }
        for name in ["d/in.1.csv", "d/in-20240131.csv"] {
            assert_eq!(renamed(name), Some(Renamed::Within), "{name}");
        }
        for name in [
            "d/in.csv",
            "d/in2.csv",
            "d/in.csv.bak",
            "d/in.csv.1.gz",
            "d/in.csv~",
            "d/in-a1.csv",
        ] {
            assert_eq!(renamed(name), None, "{name}");
        }
    }

    #[test]
    fn a_path_keeps_its_number_wherever_it_stands() {
        let known = [(0, "a.csv".to_owned()), (3, "b.csv".to_owned())];
        let position = |partition| Position {
            partition,
            ..Position::default()
        };
        let paths = ["b.csv", "c.csv", "a.csv"].map(PathBuf::from);
        let all = partitions(&paths, &known, &[position(0), position(3), position(5)]);
        assert_eq!(all.numbers, [3, 6, 0]);
        assert!(all.left.is_empty());
        let one = partitions(&paths[..1], &known, &[]);
        assert_eq!((one.numbers, one.left), (vec![3], vec![(0, "a.csv".to_owned())]));
        assert_eq!(one.names, [(3, "b.csv".to_owned()), (0, "a.csv".to_owned())]);
        assert_eq!(partitions(&paths, &[], &[]).numbers, [0, 1, 2]);
    }
}
