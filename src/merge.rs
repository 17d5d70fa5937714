//! Stored summaries merged into longer windows or fewer keys: the reports that the rows themselves would give.
//!
//! Summaries are folded in one order whatever the databases hold them in: by window, key, database and part. Counts,
//! extremes, integer sums and sketches are exact; moments are those of the rows up to rounding.
//!
//! Only what describes disjoint rows is merged: windows that overlap would count rows twice, and windows of rows are
//! numbered by key, so they have no meaning across keys. Differences are between neighbours of one key, so they end
//! where keys (or databases) are merged.

use crate::error::{Error, Result};
use crate::io::sink::sqlite::{Database, StoredFeed, StoredWindow};
use crate::report::{Closed, Group, KeyValue, Named, Report, WindowBounds, build, compare_keys, key_from_json};
use crate::spec::{Spec, Window};
use crate::summary::Summary;
use std::collections::{BTreeMap, HashMap};

/// Feeds that a message lists at most.
const LISTED_MAX: usize = 20;

/// The quantiles that are reported where neither the query nor the feed names any.
const QUARTILES: [f64; 3] = [0.25, 0.5, 0.75];

/// The windows of the merged reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// Tumbling ones of this size.
    Window(Window),
    /// One for everything.
    Unbounded,
}

/// What to merge, and what to report of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Query {
    /// Whose summaries; may be absent where there is one feed.
    pub feed: Option<String>,
    /// The windows; those that are stored where absent.
    pub window: Option<Span>,
    /// The keys, some of those that are stored; all of them where absent.
    pub keys: Option<Vec<String>>,
    /// Which statistics; those of the feed where absent.
    pub statistics: Option<Statistics>,
    /// Probabilities of quantiles; those of the feed where there are none.
    pub quantiles: Vec<f64>,
    /// The divisor is n − ddof; that of the feed where absent.
    pub ddof: Option<u64>,
}

/// Statistics beside moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Covariances.
    pub covariance: bool,
    /// Correlations.
    pub correlation: bool,
    /// Differences between adjacent rows.
    pub differences: bool,
    /// Quantiles.
    pub quantiles: bool,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Merged {
    /// The report.
    pub report: Report,
    /// What its reader should know.
    pub notes: Vec<String>,
}

/// A stored window, on its way to a merged one.
#[derive(Debug)]
struct Piece {
    /// The number of the merged window.
    target: i64,
    /// The start of the stored one.
    start: i64,
    /// The place of its key among all stored ones, and among the merged ones.
    key: usize,
    merged_key: usize,
    database: usize,
    stored: StoredWindow,
}

/// Merges the summaries of one feed, of one or several databases.
///
/// # Errors
/// [`Error::Usage`] for what cannot be merged or is not stored, naming what is; [`Error::Data`] for damaged summaries,
/// and those of one feed that are not made alike.
pub fn merge(databases: &[Database], query: &Query) -> Result<Merged> {
    let (name, feeds) = chosen(databases, query.feed.as_deref())?;
    let feed = &feeds[0].1;
    let mut notes = Vec::new();
    let kept = kept_keys(feed, query.keys.as_deref())?;
    let fewer = kept.len() < feed.spec.keys.len();
    let joined = fewer || feeds.len() > 1;
    check_windows(feed, query.window, fewer)?;
    let (mut pieces, keys) = pieces(databases, &feeds, query.window, &kept)?;
    pieces.sort_by_key(|p| (p.target, p.start, p.key, p.database, p.stored.part));
    let first = pieces
        .first()
        .map(|p| databases[p.database].summary(&p.stored))
        .transpose()?;
    let spec = report_spec(feed, query, first.as_ref(), joined, &mut notes)?;
    let open = pieces.iter().filter(|p| !p.stored.is_final).count();
    if open > 0 {
        notes.push(format!(
            "{open} of the {} stored reports of the feed `{name}` are not final: rows may still be added to their windows",
            pieces.len()
        ));
    }
    let mut report = build::report(&spec, &feed.columns, []);
    report.backend = "cpu".into();
    report.device = "stored summaries".into();
    let mut cells: BTreeMap<usize, Summary> = BTreeMap::new();
    let mut pieces = pieces.into_iter().peekable();
    while let Some(piece) = pieces.next() {
        let summary = databases[piece.database].summary(&piece.stored)?;
        let cell = cells.entry(piece.merged_key).or_default();
        cell.try_merge(&summary).map_err(|e| match e {
            Error::Usage(_) => Error::Data(format!(
                "{}: the summaries of the feed `{name}` are not made alike, as its statistics were changed",
                databases[piece.database].path().display()
            )),
            other => other,
        })?;
        if pieces.peek().is_none_or(|next| next.target != piece.target) {
            let closed = std::mem::take(&mut cells).into_iter().map(|(key, summary)| Closed {
                key: keys[key].clone(),
                window: match query.window {
                    None => piece.stored.window,
                    Some(Span::Window(window)) => Some(WindowBounds::of(window, piece.target)),
                    Some(Span::Unbounded) => None,
                },
                ewm: None,
                part: 0,
                summary,
            });
            let groups: Vec<Group> = build::report(&spec, &feed.columns, closed).groups;
            report.rows += groups.iter().map(|g| g.rows).sum::<u64>();
            report.groups.extend(groups);
        }
    }
    Ok(Merged { report, notes })
}

/// The feed's name, and where it is stored: databases with their feed, which are all alike.
fn chosen(databases: &[Database], wanted: Option<&str>) -> Result<(String, Vec<(usize, StoredFeed)>)> {
    let mut by_name: BTreeMap<String, Vec<(usize, StoredFeed)>> = BTreeMap::new();
    for (i, database) in databases.iter().enumerate() {
        for feed in database.feeds()? {
            by_name.entry(feed.name.clone()).or_default().push((i, feed));
        }
    }
    let there = || by_name.keys().take(LISTED_MAX).cloned().collect::<Vec<_>>().join(", ");
    let name = match wanted {
        Some(name) if by_name.contains_key(name) => name.to_owned(),
        Some(name) => {
            return Err(Error::Usage(format!(
                "there is no feed `{name}`; there are: {}",
                there()
            )));
        }
        None if by_name.len() == 1 => by_name.keys().next().cloned().unwrap_or_default(),
        None if by_name.is_empty() => return Err(Error::Data("there is no feed in the database".into())),
        None => {
            return Err(Error::Usage(format!(
                "there are several feeds: choose one with --feed ({})",
                there()
            )));
        }
    };
    let mut feeds = by_name.remove(&name).unwrap_or_default();
    // A feed without a report has nothing to merge, unless there is none with one.
    if feeds.iter().any(|(_, feed)| !feed.columns.is_empty()) {
        feeds.retain(|(_, feed)| !feed.columns.is_empty());
    } else {
        feeds.truncate(1);
    }
    let (first, own) = &feeds[0];
    for (i, other) in &feeds[1..] {
        let alike =
            own.columns == other.columns && own.spec.keys == other.spec.keys && own.spec.window == other.spec.window;
        if !alike {
            return Err(Error::Usage(format!(
                "{} and {} hold feeds `{name}` with other columns, keys or windows, which cannot be merged",
                databases[*first].path().display(),
                databases[*i].path().display()
            )));
        }
    }
    Ok((name, feeds))
}

/// The places of the merged keys among those of the feed.
fn kept_keys(feed: &StoredFeed, wanted: Option<&[String]>) -> Result<Vec<usize>> {
    let there = &feed.spec.keys;
    let Some(wanted) = wanted else {
        return Ok((0..there.len()).collect());
    };
    let mut kept: Vec<usize> = Vec::new();
    for name in wanted {
        let place = there.iter().position(|key| key == name).ok_or_else(|| {
            Error::Usage(format!(
                "the feed `{}` has no key `{name}`; its keys are: {}",
                feed.name,
                if there.is_empty() {
                    "none".to_owned()
                } else {
                    there.join(", ")
                }
            ))
        })?;
        if kept.contains(&place) {
            return Err(Error::Usage(format!("`{name}` stands twice among the keys")));
        }
        kept.push(place);
    }
    Ok(kept)
}

fn check_windows(feed: &StoredFeed, span: Option<Span>, fewer_keys: bool) -> Result<()> {
    let name = &feed.name;
    let refused = |why: String| Err(Error::Usage(why));
    let Some(stored) = feed.spec.window else {
        return match span {
            Some(Span::Window(_)) => refused(format!("the feed `{name}` has no windows, so none can be made of them")),
            _ => Ok(()),
        };
    };
    let by_rows = matches!(stored, Window::Rows { .. });
    if by_rows && fewer_keys && span != Some(Span::Unbounded) {
        return refused(format!(
            "the windows of the feed `{name}` are of rows, numbered by key: keys can be merged with --window unbounded only"
        ));
    }
    let Some(span) = span else { return Ok(()) };
    if stored.overlaps() {
        return refused(format!(
            "the windows of the feed `{name}` overlap (size {}, slide {}), so longer ones would count rows twice: only \
             tumbling windows are merged; a second feed with tumbling ones serves",
            length(stored, stored.size_slide().0),
            length(stored, stored.size_slide().1)
        ));
    }
    let Span::Window(window) = span else { return Ok(()) };
    if by_rows != matches!(window, Window::Rows { .. }) {
        return refused(format!(
            "the windows of the feed `{name}` are of {} each: choose a multiple of that",
            length(stored, stored.size_slide().0)
        ));
    }
    if window.overlaps() || window.size_slide().0 % stored.size_slide().0 != 0 {
        return refused(format!(
            "windows of {} are not made of whole windows of {}, which the feed `{name}` has: choose a multiple",
            length(window, window.size_slide().0),
            length(stored, stored.size_slide().0)
        ));
    }
    Ok(())
}

/// A length as people write it.
fn length(window: Window, length: i64) -> String {
    if let Window::Rows { .. } = window {
        return format!("{length} rows");
    }
    let units = [
        (86_400_000_000_000, "d"),
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
    ];
    let unit = units.into_iter().find(|(ns, _)| length % ns == 0);
    unit.map_or_else(|| format!("{length}ns"), |(ns, name)| format!("{}{name}", length / ns))
}

/// Every stored window with the merged one that it belongs to, and the merged keys in order.
#[expect(clippy::type_complexity, reason = "the two go to one place")]
fn pieces(
    databases: &[Database],
    feeds: &[(usize, StoredFeed)],
    span: Option<Span>,
    kept: &[usize],
) -> Result<(Vec<Piece>, Vec<Option<Named<KeyValue>>>)> {
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let mut full: Vec<Option<Named<KeyValue>>> = Vec::new();
    let mut pieces = Vec::new();
    for (i, feed) in feeds {
        let damaged = |why: String| Error::Data(format!("{}: {why}", databases[*i].path().display()));
        for stored in databases[*i].windows(feed)? {
            let key = match numbers.get(&stored.key) {
                Some(number) => *number,
                None => {
                    let key = key_from_json(&stored.key);
                    let names = key.as_ref().map_or(&[][..], Named::names);
                    if names != feed.spec.keys {
                        return Err(damaged(format!(
                            "`{}` is no key of the feed `{}`",
                            stored.key, feed.name
                        )));
                    }
                    full.push(key);
                    numbers.insert(stored.key.clone(), full.len() - 1);
                    full.len() - 1
                }
            };
            let (start, end) = match stored.window {
                None => (0, 0),
                Some(WindowBounds::Time { start_ns, end_ns }) => (start_ns, end_ns),
                Some(WindowBounds::Rows { start, end }) => (start as i64, end as i64),
            };
            if let Some(window) = feed.spec.window {
                let (size, slide) = window.size_slide();
                if end.checked_sub(start) != Some(size) || start.rem_euclid(slide) != 0 {
                    let why = format!(
                        "a window of the feed `{}` is not {} long",
                        feed.name,
                        length(window, size)
                    );
                    return Err(damaged(why));
                }
            }
            pieces.push(Piece {
                target: match span {
                    None => start,
                    Some(Span::Window(window)) => start.div_euclid(window.size_slide().0),
                    Some(Span::Unbounded) => 0,
                },
                start,
                key,
                merged_key: 0,
                database: *i,
                stored,
            });
        }
    }
    // Keys by their places in order: all of them for the fold, the merged ones for the report.
    let rank = ranks(&full).0;
    let reduced: Vec<Option<Named<KeyValue>>> = full.iter().map(|key| reduce(key.as_ref(), kept)).collect();
    let (merged_rank, merged) = ranks(&reduced);
    for piece in &mut pieces {
        piece.merged_key = merged_rank[piece.key];
        piece.key = rank[piece.key];
    }
    Ok((pieces, merged))
}

/// The key without those that are not kept.
fn reduce(key: Option<&Named<KeyValue>>, kept: &[usize]) -> Option<Named<KeyValue>> {
    let key = key.filter(|_| !kept.is_empty())?;
    Some(
        kept.iter()
            .map(|i| (key.names()[*i].clone(), key.values()[*i].clone()))
            .collect(),
    )
}

/// The place of each key among the distinct ones in order, and these.
fn ranks(keys: &[Option<Named<KeyValue>>]) -> (Vec<usize>, Vec<Option<Named<KeyValue>>>) {
    let compare = |a: &Option<Named<KeyValue>>, b: &Option<Named<KeyValue>>| match (a, b) {
        (Some(a), Some(b)) => compare_keys(a, b),
        (a, b) => a.is_some().cmp(&b.is_some()),
    };
    let mut distinct = keys.to_vec();
    distinct.sort_by(compare);
    distinct.dedup_by(|a, b| compare(a, b).is_eq());
    let place = |key| {
        distinct
            .binary_search_by(|other| compare(other, key))
            .unwrap_or_default()
    };
    (keys.iter().map(place).collect(), distinct)
}

/// What is reported, as far as the summaries hold it.
fn report_spec(
    feed: &StoredFeed,
    query: &Query,
    first: Option<&Summary>,
    joined: bool,
    notes: &mut Vec<String>,
) -> Result<Spec> {
    let name = &feed.name;
    let mut spec = feed.spec.clone();
    spec.ddof = query.ddof.unwrap_or(spec.ddof);
    let mut wanted_quantiles = !query.quantiles.is_empty();
    let asked = query.statistics.unwrap_or_default();
    if query.statistics.is_some() {
        spec.covariance = asked.covariance;
        spec.correlation = asked.correlation;
        spec.differences = asked.differences;
        wanted_quantiles |= asked.quantiles;
        if !wanted_quantiles {
            spec.quantiles.clear();
        }
    }
    if !query.quantiles.is_empty() {
        spec.quantiles.clone_from(&query.quantiles);
    } else if wanted_quantiles && spec.quantiles.is_empty() {
        spec.quantiles = QUARTILES.to_vec();
    }
    if joined && spec.differences {
        let why = "differences are between adjacent rows of one key, which summaries of several keys or databases do \
                   not know";
        if asked.differences {
            return Err(Error::Usage(format!("{why}: ask for other --stats")));
        }
        notes.push(format!("{why}: they are left out"));
        spec.differences = false;
    }
    let Some(first) = first else { return spec.checked() };
    for (wanted, held, what, option) in [
        (
            spec.covariance || spec.correlation,
            first.comoments.is_some(),
            "co-moments",
            "covariance or correlation",
        ),
        (
            spec.differences,
            !first.differences.is_empty(),
            "differences",
            "differences",
        ),
        (
            wanted_quantiles || !spec.quantiles.is_empty(),
            !first.quantiles.is_empty(),
            "quantiles",
            "quantiles",
        ),
    ] {
        if wanted && !held {
            return Err(Error::Usage(format!(
                "the summaries of the feed `{name}` hold no {what}: [statistics] of its configuration had no {option}"
            )));
        }
    }
    spec.checked()
}
