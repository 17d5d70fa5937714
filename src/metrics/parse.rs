//! The numbers of a program from their text, as far as a live view shows them, and what became of them between two looks.

use super::histogram::quantile;
use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// The numbers of a program at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// The feeds, in the order in which they were written.
    pub feeds: Vec<FeedSnapshot>,
    /// Memory of the process in RAM.
    pub resident_bytes: Option<f64>,
    /// Since the program began.
    pub uptime_seconds: Option<f64>,
    /// Since the last checkpoint.
    pub checkpoint_age_seconds: Option<f64>,
}

/// The numbers of a feed at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FeedSnapshot {
    /// Its name.
    pub name: String,
    /// Who reduces.
    pub backend: String,
    /// Numbers by their names, without `millstream_` before.
    numbers: BTreeMap<String, f64>,
    /// For each bound in seconds, how many micro-batches did not take longer.
    latencies: Vec<(f64, f64)>,
}

/// What a live view shows of a feed.
#[derive(Debug, Clone, PartialEq)]
pub struct Activity {
    /// The feed's name.
    pub feed: String,
    /// Who reduces.
    pub backend: String,
    /// Rows that come in a second.
    pub rows_in_per_second: f64,
    /// Reports that go in a second.
    pub rows_out_per_second: f64,
    /// Median of the latencies of the micro-batches between the two looks, in seconds.
    pub latency_p50_seconds: Option<f64>,
    /// Their 99th percentile.
    pub latency_p99_seconds: Option<f64>,
    /// How far the watermark is behind the clock.
    pub lag_seconds: Option<f64>,
    /// Rows behind the watermark, since the beginning.
    pub late: f64,
    /// Rows that could not be read, since the beginning.
    pub quarantined: f64,
    /// Windows open now.
    pub open_windows: f64,
}

impl Snapshot {
    /// Reads the text that [`Metrics::text`](super::Metrics::text) writes.
    ///
    /// # Errors
    /// [`Error::Data`] for another text.
    pub fn parse(text: &str) -> Result<Self> {
        let mut snapshot = Self::default();
        let mut is_ours = false;
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, labels, value)) = sample(line) else {
                continue;
            };
            let Some(name) = name.strip_prefix("millstream_") else {
                continue;
            };
            is_ours = true;
            match (name, labels.get("feed")) {
                ("resident_memory_bytes", _) => snapshot.resident_bytes = Some(value),
                ("uptime_seconds", _) => snapshot.uptime_seconds = Some(value),
                ("checkpoint_age_seconds", _) => snapshot.checkpoint_age_seconds = Some(value),
                (_, None) => {}
                (name, Some(feed)) => snapshot.feed(feed).take(name, &labels, value),
            }
        }
        if is_ours {
            Ok(snapshot)
        } else {
            Err(Error::Data(
                "what answers is not the /metrics page of millstream".into(),
            ))
        }
    }

    fn feed(&mut self, name: &str) -> &mut FeedSnapshot {
        let place = self.feeds.iter().position(|feed| feed.name == name).unwrap_or_else(|| {
            self.feeds.push(FeedSnapshot {
                name: name.to_owned(),
                ..FeedSnapshot::default()
            });
            self.feeds.len() - 1
        });
        &mut self.feeds[place]
    }

    /// What happened since an earlier look, so many seconds ago.
    pub fn since(&self, earlier: &Self, seconds: f64) -> Vec<Activity> {
        let activity = |feed: &FeedSnapshot| {
            let before = earlier.feeds.iter().find(|other| other.name == feed.name);
            feed.since(before.unwrap_or(feed), seconds)
        };
        self.feeds.iter().map(activity).collect()
    }
}

impl FeedSnapshot {
    fn take(&mut self, name: &str, labels: &BTreeMap<String, String>, value: f64) {
        match name {
            "backend_info" => self.backend = labels.get("backend").cloned().unwrap_or_default(),
            "batch_latency_seconds_bucket" => {
                let bound = labels.get("le").map(|le| le.replace("+Inf", "inf"));
                if let Some(bound) = bound.and_then(|le| le.parse().ok()) {
                    self.latencies.push((bound, value));
                }
            }
            _ => drop(self.numbers.insert(name.to_owned(), value)),
        }
    }

    fn number(&self, name: &str) -> f64 {
        self.numbers.get(name).copied().unwrap_or(0.0)
    }

    fn since(&self, earlier: &Self, seconds: f64) -> Activity {
        // A counter that has become smaller began anew.
        let rate = |name: &str| ((self.number(name) - earlier.number(name)) / seconds).max(0.0);
        let before = |i: usize| earlier.latencies.get(i).map_or(0.0, |(_, count)| *count);
        let latencies: Vec<(f64, u64)> = self
            .latencies
            .iter()
            .enumerate()
            .map(|(i, (bound, count))| (*bound, (count - before(i)).max(0.0) as u64))
            .collect();
        Activity {
            feed: self.name.clone(),
            backend: self.backend.clone(),
            rows_in_per_second: rate("rows_in_total"),
            rows_out_per_second: rate("rows_out_total"),
            latency_p50_seconds: quantile(&latencies, 0.5),
            latency_p99_seconds: quantile(&latencies, 0.99),
            lag_seconds: self.numbers.get("watermark_lag_seconds").copied(),
            late: self.number("rows_late_total"),
            quarantined: self.number("rows_quarantined_total"),
            open_windows: self.number("open_windows"),
        }
    }
}

/// Name, labels and value of a line.
fn sample(line: &str) -> Option<(&str, BTreeMap<String, String>, f64)> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (label, quoted) = rest.split_once("=\"")?;
            let (value, length) = unescaped(quoted)?;
            labels.insert(label.to_owned(), value);
            rest = quoted.get(length + 1..)?;
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        rest = &rest[1..];
    }
    let value = rest
        .split_ascii_whitespace()
        .next()?
        .replace("+Inf", "inf")
        .parse()
        .ok()?;
    Some((name, labels, value))
}

/// The value of a label, and the bytes of it before the closing quote.
fn unescaped(text: &str) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    loop {
        match chars.next()? {
            (at, '"') => return Some((value, at)),
            (_, '\\') => match chars.next()?.1 {
                'n' => value.push('\n'),
                c => value.push(c),
            },
            (_, c) => value.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use std::time::Duration;

    #[test]
    fn rates_and_latencies_are_those_between_two_looks() {
        let metrics = Metrics::new(&["a", "odd \"name\"\\\n"]);
        let feed = metrics.feed(1);
        feed.rows_in.add(1_000);
        feed.backend.set("gpu");
        feed.batch_latency.record(Duration::from_secs(10));
        let before = Snapshot::parse(&metrics.text()).unwrap();
        feed.rows_in.add(500);
        feed.rows_out.add(20);
        feed.late.add(3);
        feed.watermark.set_ns(0);
        (0..100).for_each(|_| feed.batch_latency.record(Duration::from_millis(4)));
        let after = Snapshot::parse(&metrics.text()).unwrap();
        let seen = after.since(&before, 2.0);
        assert_eq!(seen.len(), 2);
        assert_eq!(
            (
                seen[0].feed.as_str(),
                seen[0].rows_in_per_second,
                seen[0].latency_p99_seconds
            ),
            ("a", 0.0, None)
        );
        let seen = &seen[1];
        assert_eq!((seen.feed.as_str(), seen.backend.as_str()), ("odd \"name\"\\\n", "gpu"));
        assert_eq!(
            (seen.rows_in_per_second, seen.rows_out_per_second, seen.late),
            (250.0, 10.0, 3.0)
        );
        let p99 = seen.latency_p99_seconds.unwrap();
        assert!((0.003..0.005).contains(&p99), "the ten seconds were before: {p99}");
        assert!(seen.lag_seconds.is_some_and(|lag| lag > 1.7e9));
        // A program that began anew.
        assert_eq!(before.since(&after, 1.0)[1].rows_in_per_second, 0.0);
    }

    #[test]
    fn another_page_is_no_snapshot() {
        for text in ["", "<html>", "other_total 3\n", "millstream_x{feed=\"a\n"] {
            assert!(Snapshot::parse(text).is_err(), "{text}");
        }
    }
}
