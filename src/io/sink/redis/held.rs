//! Reports and alerts that wait for the next transaction, and what they look like in Redis.

use crate::error::{Error, Result};
use crate::io::remote::RedisSink as Options;
use crate::io::sink::lines::{AlertLine, append_line};
use crate::report::{Alert, Emission, KeyValue, Named, WindowBounds};
use redis::Pipeline;
use std::collections::BTreeMap;

/// Writes a hash, unless it holds the report of a later window. Its arguments: the order of the report, how long the
/// hash stays (milliseconds, 0 is for ever), names and values. A call takes a bounded number of arguments.
pub(super) const SCRIPT: &str = "local old = redis.call('HGET', KEYS[1], 'order')
if old and old > ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'order', ARGV[1])
for i = 3, #ARGV, 1000 do redis.call('HSET', KEYS[1], unpack(ARGV, i, math.min(i + 999, #ARGV))) end
if ARGV[2] ~= '0' then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1";

/// A hash: its order, and names and values.
type Hash = (String, Vec<(String, String)>);

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Reports and alerts for the stream, in order: the name of the field, the line, what tells repetitions, and by whom.
    entries: Vec<(&'static str, Vec<u8>, String, String)>,
    /// The latest report of each key.
    hashes: BTreeMap<String, Hash>,
    published: Vec<Vec<u8>>,
    bytes: usize,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.hashes.is_empty() && self.published.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn append(&mut self, mut behind: Self) {
        self.entries.append(&mut behind.entries);
        for (key, hash) in behind.hashes {
            self.keep(key, hash);
        }
        self.published.append(&mut behind.published);
        self.bytes += behind.bytes;
    }

    fn keep(&mut self, key: String, hash: Hash) {
        match self.hashes.get_mut(&key) {
            Some(before) if before.0 > hash.0 => {}
            Some(before) => *before = hash,
            None => drop(self.hashes.insert(key, hash)),
        }
    }

    pub(super) fn report(&mut self, options: &Options, by: &str, report: &Emission) -> Result<()> {
        if options.stream.is_some() {
            let mut line = Vec::new();
            append_line(&mut line, report, "redis")?;
            self.bytes += line.len();
            self.entries.push(("report", line, id(report), by.to_owned()));
        }
        if let Some(prefix) = &options.hash {
            let key = hash_name(prefix, &report.feed, report.group.key.as_ref());
            let fields = fields(report)?;
            self.bytes += fields
                .iter()
                .map(|(name, value)| name.len() + value.len())
                .sum::<usize>();
            self.keep(key, (order(report), fields));
        }
        Ok(())
    }

    pub(super) fn alert(&mut self, options: &Options, by: &str, alert: &Alert) -> Result<()> {
        let mut line = Vec::new();
        append_line(&mut line, &AlertLine { alert }, "redis")?;
        self.bytes += line.len();
        if options.channel.is_some() {
            self.published.push(line.clone());
        }
        if options.stream.is_some() {
            let start = |window: Option<WindowBounds>| window.map_or_else(String::new, |window| window.labels().0);
            let (started, ended) = (start(alert.started), start(alert.ended));
            let key = key_text(alert.key.as_ref());
            let id = format!("{} {} {started} {ended} {key}", alert.feed, alert.alert);
            self.entries.push(("alert", line, id, by.to_owned()));
        }
        Ok(())
    }

    /// The place of the answer that has the id of the last entry.
    pub(super) fn last_entry(&self) -> Option<usize> {
        self.entries.len().checked_sub(1)
    }

    /// All of it as one transaction, the entries of the stream first.
    pub(super) fn transaction(&self, options: &Options) -> Pipeline {
        let mut pipe = redis::pipe();
        pipe.atomic();
        for (field, line, id, by) in &self.entries {
            let stream = options.stream.as_deref().unwrap_or_default();
            let command = pipe.cmd("XADD").arg(stream).arg("*").arg(field).arg(line.as_slice());
            command.arg("id").arg(id).arg("by").arg(by);
        }
        let ttl = options.ttl.map_or(0, |ttl| ttl.as_millis().max(1));
        for (key, (order, fields)) in &self.hashes {
            let command = pipe
                .cmd("EVAL")
                .arg(SCRIPT)
                .arg(1)
                .arg(key)
                .arg(order)
                .arg(ttl.to_string());
            for (name, value) in fields {
                command.arg(name).arg(value);
            }
        }
        for line in &self.published {
            let channel = options.channel.as_deref().unwrap_or_default();
            pipe.cmd("PUBLISH").arg(channel).arg(line.as_slice());
        }
        pipe
    }
}

fn key_text(key: Option<&Named<KeyValue>>) -> String {
    // Names and plain values have a JSON form.
    key.map_or_else(String::new, |key| serde_json::to_string(key).unwrap_or_default())
}

/// What tells a repetition from another report: feed, window, part, revision and key.
fn id(report: &Emission) -> String {
    let (start, end) = report.group.window.map(|window| window.labels()).unwrap_or_default();
    let key = key_text(report.group.key.as_ref());
    format!(
        "{} {start} {end} {} {} {key}",
        report.feed, report.part, report.revision
    )
}

/// The name of the hash of a key: its values, `:` between them.
pub(super) fn hash_name(prefix: &str, feed: &str, key: Option<&Named<KeyValue>>) -> String {
    let mut name = format!("{prefix}:{}", escaped(feed));
    for (_, value) in key.iter().flat_map(|key| key.iter()) {
        let value = match value {
            KeyValue::Null => "null".to_owned(),
            KeyValue::Text(text) => escaped(text),
            other => escaped(&serde_json::to_string(other).unwrap_or_default()),
        };
        name.push(':');
        name.push_str(&value);
    }
    name
}

/// What separates names does not stand in one.
fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace(':', "%3A")
}

/// Later reports of a key have a greater one: by window, part, whether it is final, and revision, as hexadecimal digits,
/// which order as text.
fn order(report: &Emission) -> String {
    let start = match report.group.window {
        None => 0,
        Some(WindowBounds::Time { start_ns, .. }) => (start_ns as u64) ^ (1 << 63),
        Some(WindowBounds::Rows { start, .. }) => start,
    };
    let is_final = u8::from(report.is_final);
    format!("{start:016x}{:016x}{is_final}{:016x}", report.part, report.revision)
}

/// The fields of a hash: window, rows and whether it is final, then the numbers of each column as `COLUMN.NAME`.
fn fields(report: &Emission) -> Result<Vec<(String, String)>> {
    let (start, end) = report.group.window.map(|window| window.labels()).unwrap_or_default();
    let mut fields: Vec<(String, String)> = [
        ("window_start", start),
        ("window_end", end),
        ("rows", report.group.rows.to_string()),
        ("final", report.is_final.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let columns = serde_json::to_value(&report.group.columns);
    let columns = columns.map_err(|e| Error::Failed(format!("redis: a report has no JSON form: {e}")))?;
    flatten("", &columns, &mut fields);
    Ok(fields)
}

fn flatten(name: &str, value: &serde_json::Value, fields: &mut Vec<(String, String)>) {
    use serde_json::Value::{Array, Null, Object, String};
    match value {
        Object(values) => {
            for (inner, value) in values {
                let separator = if name.is_empty() { "" } else { "." };
                flatten(&format!("{name}{separator}{inner}"), value, fields);
            }
        }
        Null | Array(_) => {}
        String(text) => fields.push((name.to_owned(), text.clone())),
        other => fields.push((name.to_owned(), other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn key(values: &[KeyValue]) -> Named<KeyValue> {
        let names: Vec<String> = (0..values.len()).map(|i| format!("k{i}")).collect();
        Named::new(Arc::from(names), values.to_vec())
    }

    #[test]
    fn two_keys_never_have_one_hash() {
        let text = |text: &str| KeyValue::Text(text.into());
        let name = |values: &[KeyValue]| hash_name("h", "main", Some(&key(values)));
        assert_eq!(name(&[text("a:b"), text("c")]), "h:main:a%3Ab:c");
        assert_eq!(name(&[text("a"), text("b:c")]), "h:main:a:b%3Ac");
        assert_eq!(name(&[text("a%3Ab"), KeyValue::Integer(-7)]), "h:main:a%253Ab:-7");
        assert_eq!(hash_name("h", "a:b", None), "h:a%3Ab");
    }
}
