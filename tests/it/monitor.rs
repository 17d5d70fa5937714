//! The pages that watch a running program, and their text by a parser of the exposition format.

use crate::http_client::get;
use millstream::io::monitor::Monitor;
use millstream::io::tls::Security;
use millstream::metrics::Metrics;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

/// A value with its labels, sorted.
type Sample = (BTreeMap<String, String>, f64);

/// What the text says: for each name its type and its samples, by the name that they have.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) types: BTreeMap<String, String>,
    pub(crate) samples: BTreeMap<String, Vec<Sample>>,
}

/// Parses the text format 0.0.4 strictly: HELP and TYPE before the values, one group a name, no sample twice.
pub(crate) fn parse(text: &str) -> Page {
    let mut page = Page::default();
    let (mut helped, mut current) = (BTreeSet::new(), String::new());
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!help.is_empty() && helped.insert(name.to_owned()), "{line}");
            current = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(name, current, "TYPE behind its HELP");
            assert!(page.types.insert(name.to_owned(), kind.to_owned()).is_none(), "{line}");
        } else {
            let (name, labels, value) = sample(line);
            let family = match page.types.get(&current).map(String::as_str) {
                Some("histogram") => ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|end| name.strip_suffix(end))
                    .unwrap_or_else(|| panic!("{line}")),
                Some(_) => &name,
                None => panic!("{line} has no TYPE"),
            };
            assert_eq!(family, current, "{line}");
            let samples = page.samples.entry(name).or_default();
            assert!(samples.iter().all(|(other, _)| *other != labels), "{line} comes twice");
            samples.push((labels, value));
        }
    }
    page
}

/// One line of values.
fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let name_end = line
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
        .unwrap();
    let (name, mut rest) = line.split_at(name_end);
    assert!(
        !name.starts_with(|c: char| c.is_ascii_digit()) && !name.is_empty(),
        "{line}"
    );
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            let mut value = String::new();
            let mut chars = after.char_indices();
            let end = loop {
                match chars.next().unwrap_or_else(|| panic!("{line}")) {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match chars.next().unwrap().1 {
                        'n' => '\n',
                        c @ ('\\' | '"') => c,
                        c => panic!("\\{c} in {line}"),
                    }),
                    (_, c) => value.push(c),
                }
            };
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
            rest = &after[end + 1..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        rest = &rest[1..];
    }
    let value = match rest.strip_prefix(' ').unwrap_or_else(|| panic!("{line}")) {
        "+Inf" => f64::INFINITY,
        text => text.parse().unwrap_or_else(|_| panic!("{line}")),
    };
    (name.to_owned(), labels, value)
}

impl Page {
    /// The value with this label, or without any.
    pub(crate) fn value(&self, name: &str, label: Option<(&str, &str)>) -> f64 {
        let labels: BTreeMap<String, String> = label.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        let samples = &self.samples[name];
        let found = samples.iter().find(|(l, _)| *l == labels);
        found.unwrap_or_else(|| panic!("{name} {label:?} in {samples:?}")).1
    }
}

/// Numbers in which everything has a value.
pub(crate) fn metrics() -> Metrics {
    let metrics = Metrics::new(&["main", "a \"b\"\\\n"]);
    for (i, feed) in metrics.feeds().iter().enumerate() {
        let i = i as u64 + 1;
        feed.rows_in.add(100 * i);
        feed.aggregated.add(60 * i);
        feed.filtered.add(20 * i);
        feed.late.add(10 * i);
        feed.quarantined.add(7 * i);
        feed.dropped.add(3 * i);
        feed.open_windows.set(4 * i);
        feed.watermark.set_ns(1_500_000_000 * i as i64);
        feed.backend.set("cpu");
        for ms in 1..=100 {
            feed.batch_latency.record(Duration::from_millis(ms * i));
        }
    }
    metrics.checkpoint_taken(Duration::from_millis(250));
    metrics
}

fn monitor(metrics: &Metrics) -> Monitor {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    Monitor::open(listen, Security::default(), metrics.clone()).unwrap()
}

#[test]
fn the_text_is_valid_and_says_what_was_counted() {
    let metrics = metrics();
    let answer = get(monitor(&metrics).address(), "/metrics", &[]);
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .header("content-type")
            .unwrap()
            .starts_with("text/plain; version=0.0.4")
    );
    let page = parse(&answer.body);
    for (feed, times) in [("main", 1.0), ("a \"b\"\\\n", 2.0)] {
        let value = |name: &str| page.value(&format!("millstream_{name}"), Some(("feed", feed)));
        let parts = ["aggregated", "filtered", "late", "quarantined", "dropped"];
        let parts: Vec<f64> = parts.iter().map(|part| value(&format!("rows_{part}_total"))).collect();
        assert_eq!(parts, [60.0, 20.0, 10.0, 7.0, 3.0].map(|n| n * times));
        assert_eq!(value("rows_in_total"), parts.iter().sum::<f64>());
        assert_eq!(value("watermark_seconds"), 1.5 * times);
        assert!(value("watermark_lag_seconds") > 1.7e9, "the seventies are long ago");
        assert_eq!(value("open_windows"), 4.0 * times);
        // Buckets add up, and end with everything.
        let buckets = &page.samples["millstream_batch_latency_seconds_bucket"];
        let of_feed = buckets.iter().filter(|(labels, _)| labels["feed"] == feed);
        let buckets: Vec<(f64, f64)> = of_feed
            .map(|(labels, count)| (labels["le"].replace("+Inf", "inf").parse().unwrap(), *count))
            .collect();
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{buckets:?}");
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, 100.0)));
        assert_eq!(value("batch_latency_seconds_count"), 100.0);
        assert!((value("batch_latency_seconds_sum") - 5.05 * times).abs() < 1e-9);
        for (bound, count) in &buckets {
            let not_longer = (1..=100).filter(|ms| f64::from(*ms) * times / 1e3 <= *bound).count();
            assert_eq!(*count, not_longer as f64, "{bound}");
        }
    }
    assert_eq!(page.types["millstream_rows_in_total"], "counter");
    assert_eq!(page.value("millstream_checkpoint_duration_seconds", None), 0.25);
    assert!(page.value("millstream_uptime_seconds", None) >= 0.0);
    if cfg!(target_os = "linux") {
        let bytes = page.value("millstream_resident_memory_bytes", None);
        assert!((1e6..1e11).contains(&bytes), "{bytes}");
    }
}

#[test]
fn health_and_readiness() {
    let metrics = Metrics::new(&["main"]);
    let monitor = monitor(&metrics);
    let page = |path| {
        let answer = get(monitor.address(), path, &[]);
        (answer.status, answer.body)
    };
    assert_eq!(page("/ready"), (503, "not ready\n".into()));
    assert_eq!(page("/health"), (200, "ok\n".into()));
    metrics.set_ready(true);
    assert_eq!(page("/ready"), (200, "ready\n".into()));
    metrics.set_failure(Some("sink stats.db: disk full"));
    assert_eq!(page("/health"), (503, "sink stats.db: disk full\n".into()));
    metrics.set_failure(None);
    assert_eq!(page("/health").0, 200);
    assert_eq!(page("/other").0, 404);
    let answer = crate::http_client::send(monitor.address(), &crate::http_client::post("/metrics", &[], b"x"));
    answer.refuses(405, &["GET"]);
    let listen = SocketAddr::from(([0, 0, 0, 0], 0));
    let error = Monitor::open(listen, Security::default(), metrics).unwrap_err();
    assert!(
        error.to_string().contains("[server]") && error.exit_code() == 78,
        "{error}"
    );
}

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("millstream_")).collect()
}

#[test]
fn dashboard_and_rules_use_names_that_exist() {
    let page = parse(&metrics().text());
    let folder = crate::support::data("docs/monitoring");
    for (file, fewest) in [("grafana.json", 15), ("alerts.yml", 10)] {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        let used = names(&text);
        assert!(used.len() >= fewest, "{file}: {used:?}");
        for name in used {
            assert!(page.samples.contains_key(name), "{file}: {name} is no metric");
        }
    }
    let dashboard = std::fs::read_to_string(folder.join("grafana.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 10);
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            assert!(!names(target["expr"].as_str().unwrap()).is_empty(), "{panel}");
        }
    }
    let rules = std::fs::read_to_string(folder.join("alerts.yml")).unwrap();
    let count = |what: &str| rules.lines().filter(|line| line.trim_start().starts_with(what)).count();
    let alerts = count("- alert: ");
    assert!(alerts >= 10);
    for part in ["expr: ", "for: ", "severity: ", "summary: ", "description: "] {
        assert_eq!(count(part), alerts, "{part}");
    }
}

#[cfg(feature = "cli")]
#[test]
fn top_prints_one_table() {
    use crate::command::Place;
    let metrics = metrics();
    let monitor = monitor(&metrics);
    let address = monitor.address().to_string();
    let outcome = Place::new().run(&["top", "--once", &address]);
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let lines: Vec<&str> = outcome.text().lines().collect();
    assert!(
        lines[0].starts_with(&format!("http://{address}/metrics  memory ")),
        "{lines:?}"
    );
    assert!(
        lines[1].starts_with("feed ") && lines[1].ends_with("windows"),
        "{lines:?}"
    );
    let cells: Vec<&str> = lines[2].split_whitespace().collect();
    // No rows came and no batch was reduced within the second; the watermark is fifty years old.
    assert_eq!(
        (&cells[..6], &cells[8..]),
        (&["main", "0", "0", "-", "-", "cpu"][..], &["10", "7", "4"][..])
    );
    assert_eq!(lines.len(), 4);
    Place::new().run(&["top", &address]).fails(2, &["terminal", "--once"]);
}

#[cfg(feature = "cli")]
#[test]
fn top_says_that_nothing_answers() {
    use crate::command::Place;
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let url = format!("http://{address}/metrics");
    Place::new()
        .run(&["top", "--once", &address])
        .fails(1, &["nothing answers", &url, "[server] listen"]);
}
