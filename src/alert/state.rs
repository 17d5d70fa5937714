//! What an alert knows of one key, and its byte form for the checkpoint.
//!
//! The form is JSON: a version, then for each alert its name, its condition and the keys for which it counts or is on.
//! An alert whose condition was changed begins anew.

use super::{AlertRule, Alerts};
use crate::error::{Error, Result};
use crate::report::{KeyValue, Named, WindowBounds, key_from_json};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The version of the byte form; no other is read.
const VERSION: u32 = 1;

/// Windows in a row in which the condition held for a key.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct KeyState {
    pub(super) run: u64,
    /// Whether its beginning was told.
    pub(super) on: bool,
    pub(super) first: Option<WindowBounds>,
    pub(super) last: Option<WindowBounds>,
    pub(super) key: Option<Named<KeyValue>>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    alerts: Vec<StoredAlert>,
}

#[derive(Serialize, Deserialize)]
struct StoredAlert {
    name: String,
    when: String,
    for_windows: u64,
    keys: Vec<StoredKey>,
}

#[derive(Serialize, Deserialize)]
struct StoredKey {
    key: String,
    run: u64,
    on: bool,
    first: Option<Bounds>,
    last: Option<Bounds>,
}

/// Bounds in numbers, which no text rounds.
#[derive(Serialize, Deserialize)]
enum Bounds {
    Time(i64, i64),
    Rows(u64, u64),
}

impl From<WindowBounds> for Bounds {
    fn from(bounds: WindowBounds) -> Self {
        match bounds {
            WindowBounds::Time { start_ns, end_ns } => Self::Time(start_ns, end_ns),
            WindowBounds::Rows { start, end } => Self::Rows(start, end),
        }
    }
}

impl From<Bounds> for WindowBounds {
    fn from(bounds: Bounds) -> Self {
        match bounds {
            Bounds::Time(start_ns, end_ns) => Self::Time { start_ns, end_ns },
            Bounds::Rows(start, end) => Self::Rows { start, end },
        }
    }
}

/// The key as a state is found by it: its JSON form, empty without one.
pub(super) fn key_text(key: Option<&Named<KeyValue>>) -> String {
    // Names and plain values have a JSON form.
    key.map_or_else(String::new, |key| serde_json::to_string(key).unwrap_or_default())
}

fn same(rule: &AlertRule, stored: &StoredAlert) -> bool {
    *rule.name == *stored.name && rule.when.text() == stored.when && rule.for_windows == stored.for_windows
}

impl Alerts {
    /// What it knows, for [`Alerts::restore`]: the same bytes for the same history.
    pub fn to_bytes(&self) -> Vec<u8> {
        let stored = self.bound.iter().map(|alert| {
            let mut keys: Vec<(&String, &KeyState)> = alert.keys.iter().collect();
            keys.sort_unstable_by_key(|(key, _)| *key);
            let keys = keys.into_iter().map(|(key, state)| StoredKey {
                key: key.clone(),
                run: state.run,
                on: state.on,
                first: state.first.map(Bounds::from),
                last: state.last.map(Bounds::from),
            });
            StoredAlert {
                name: alert.rule.name.to_string(),
                when: alert.rule.when.text().to_owned(),
                for_windows: alert.rule.for_windows,
                keys: keys.collect(),
            }
        });
        let stored = Stored {
            version: VERSION,
            alerts: stored.collect(),
        };
        // Text and numbers have a JSON form.
        serde_json::to_vec(&stored).unwrap_or_default()
    }

    /// Goes on where the bytes stand. Alerts that are not in them, or not with this condition, begin anew.
    ///
    /// # Errors
    /// [`Error::Data`] for bytes that are damaged or of another version; nothing has changed then.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<()> {
        let damaged = |why: String| Error::Data(format!("the bytes are no state of alerts: {why}"));
        let stored: Stored = serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
        if stored.version != VERSION {
            let why = format!(
                "they are of version {}, this program reads version {VERSION}",
                stored.version
            );
            return Err(damaged(why));
        }
        let mut restored: Vec<HashMap<String, KeyState>> = vec![HashMap::new(); self.bound.len()];
        for alert in stored.alerts {
            let Some(i) = self.bound.iter().position(|bound| same(&bound.rule, &alert)) else {
                continue;
            };
            for stored in alert.keys {
                let key = match stored.key.as_str() {
                    "" => None,
                    text => Some(key_from_json(text).ok_or_else(|| damaged(format!("`{text}` is no key")))?),
                };
                let state = KeyState {
                    run: stored.run,
                    on: stored.on,
                    first: stored.first.map(WindowBounds::from),
                    last: stored.last.map(WindowBounds::from),
                    key,
                };
                restored[i].insert(stored.key, state);
            }
        }
        for (bound, keys) in self.bound.iter_mut().zip(restored) {
            bound.keys = keys;
        }
        Ok(())
    }
}
