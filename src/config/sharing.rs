//! What feeds that processes share can have, and feeds of what these report.

use super::values::config;
use super::{Backend, Config, FeedConfig};
use crate::error::{Error, Result};
use crate::io::remote::Sharing;
use crate::spec::Window;

/// Refuses the first that is there.
fn refuse(reasons: &[(&str, bool, &str)]) -> Result<()> {
    let first = reasons.iter().find(|(_, is_there, _)| *is_there);
    first.map_or(Ok(()), |(what, _, why)| Err(config(what, why)))
}

/// Whether some feeds are so, which all have to be then.
fn all_or_none(feeds: &[FeedConfig], what: &str, is_so: impl Fn(&FeedConfig) -> bool) -> Result<bool> {
    match feeds.iter().filter(|feed| is_so(feed)).count() {
        0 => Ok(false),
        count if count == feeds.len() => Ok(true),
        _ => Err(Error::Config(format!("{what}: every feed has it, or none"))),
    }
}

impl Config {
    /// What does not go together with feeds that are shared, or are made of such.
    pub(super) fn check_sharing(&self) -> Result<()> {
        let is_shared = all_or_none(&self.feeds, "share", |feed| feed.kind.sharing().is_some())?;
        let of_summaries = all_or_none(&self.feeds, "format = \"summaries\"", |feed| feed.summaries)?;
        let timed = matches!(self.spec.window, Some(Window::Time { .. }));
        let overlaps = self.spec.window.is_some_and(Window::overlaps);
        let averages =
            "exponentially weighted moments go from window to window, and a partition from process to process";
        if is_shared {
            let is = |way| self.feeds.iter().any(|feed| feed.kind.sharing() == Some(way));
            let named = self.spec.keys.iter().any(|key| key == "partition");
            let no_alerts = "alerts of a feed that is shared belong to whoever reads its reports: remove them here";
            refuse(&[
                (
                    "[state] directory",
                    self.state.is_some(),
                    "the group keeps the place of a feed that is shared: remove it",
                ),
                ("[window] size", !timed, "a feed that is shared needs windows of time"),
                (
                    "[rows] time",
                    self.rows.time.is_none(),
                    "a feed that is shared needs the column of the event time",
                ),
                (
                    "[window] emit",
                    self.update_interval.is_some(),
                    "a feed that is shared reports windows that have closed",
                ),
                ("[statistics] ewm", self.spec.ewm_half_life_ns.is_some(), averages),
                ("[[alert]]", !self.alerts.is_empty(), no_alerts),
                (
                    "[engine] backend",
                    self.engine.backend == Backend::Gpu,
                    "a feed that is shared is reduced by the CPU",
                ),
                (
                    "[rows] key",
                    is(Sharing::Keys) && self.spec.keys.is_empty(),
                    "share = \"keys\" needs keys: without them, share = \"summaries\"",
                ),
                (
                    "[rows] key",
                    is(Sharing::Summaries) && named,
                    "share = \"summaries\" has a key `partition` of its own: call the column something else",
                ),
                (
                    "[window] slide",
                    is(Sharing::Summaries) && overlaps,
                    "share = \"summaries\" needs windows that do not overlap",
                ),
                (
                    "[rows] columns",
                    self.spec.columns.is_none(),
                    "processes that share a feed have to agree on its columns: name them",
                ),
            ])?;
        }
        if of_summaries {
            let done = "summaries are made of rows that had it done: remove it here";
            let rows = &self.rows;
            let described = |feed: &FeedConfig| feed.columns.is_some() || !feed.types.is_empty();
            refuse(&[
                (
                    "[window] size",
                    !timed || overlaps,
                    "a feed of summaries needs windows of time that do not overlap",
                ),
                (
                    "[rows] time",
                    rows.time.is_some(),
                    "summaries have the times of their windows: remove it",
                ),
                ("[rows] where", rows.filter.is_some(), done),
                ("[rows] define", !rows.definitions.is_empty(), done),
                (
                    "[window] late_path",
                    self.late_path.is_some(),
                    "what comes late here is no row: remove it",
                ),
                ("[statistics] ewm", self.spec.ewm_half_life_ns.is_some(), averages),
                (
                    "[window] max_ahead",
                    self.lateness.max_ahead_ns.is_some(),
                    "summaries were made of rows that are in time: remove it here",
                ),
                (
                    "columns",
                    self.feeds.iter().any(described),
                    "summaries name their columns: remove columns and types",
                ),
            ])?;
        }
        Ok(())
    }
}
