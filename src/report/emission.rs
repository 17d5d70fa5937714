//! What a feed gives while it runs: the report of one window and key, and the beginnings and ends of alerts.

use super::number::shortest;
use super::text::clean;
use super::{Group, KeyValue, Named, WindowBounds};
use crate::summary::Summary;
use serde::Serialize;
use std::fmt;
use std::sync::Arc;

/// The report of one window and key of a feed. As JSON it is the group object with `feed`, `final`, `revision` and
/// `part` behind it, and with `summary` where it is a part of one partition.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Emission {
    /// The numbers.
    #[serde(flatten)]
    pub group: Group,
    /// The feed's name.
    pub feed: Arc<str>,
    /// Whether no later report of this window, key and part will come.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// How many reports of this window, key and part came before.
    pub revision: u64,
    /// Which piece of the window and key it is: 0, unless the key had to be given up and came back.
    pub part: u64,
    /// What the numbers are made of, to be merged with others.
    #[serde(skip)]
    pub summary: Summary,
    /// The same as text ([`Share`](super::Share)), where it is the part of one partition of a feed that processes share.
    #[serde(rename = "summary", skip_serializing_if = "Option::is_none")]
    pub share: Option<String>,
}

impl Emission {
    /// The final report of a whole window.
    pub fn new(feed: Arc<str>, group: Group, summary: Summary) -> Self {
        Self {
            group,
            feed,
            is_final: true,
            revision: 0,
            part: 0,
            summary,
            share: None,
        }
    }
}

/// The beginning or the end of an alert.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Alert {
    /// The feed's name.
    pub feed: Arc<str>,
    /// The alert's name.
    pub alert: Arc<str>,
    /// The key whose reports raised it.
    pub key: Option<Named<KeyValue>>,
    /// The first window of the run of windows in which the condition held.
    pub started: Option<WindowBounds>,
    /// The first window in which it held no longer; absent while it holds.
    pub ended: Option<WindowBounds>,
    /// The value of the condition's left side in the window of this event, where it has one.
    #[serde(serialize_with = "super::number")]
    pub value: Option<f64>,
}

/// One line for people: `alert fever begins (feed main, sensor=a, window 2015-01-01T00:00:00Z): 39.5`.
impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, window) = match self.ended {
            None => ("begins", self.started),
            Some(_) => ("ends", self.ended),
        };
        write!(f, "alert {} {what} (feed {}", clean(&self.alert), clean(&self.feed))?;
        for (name, value) in self.key.iter().flat_map(Named::iter) {
            let value = match value {
                KeyValue::Null => "null".to_owned(),
                KeyValue::Boolean(b) => b.to_string(),
                KeyValue::Integer(i) => i.to_string(),
                KeyValue::Number(x) => shortest(*x),
                KeyValue::Text(text) => clean(text),
            };
            write!(f, ", {}={value}", clean(name))?;
        }
        if let Some(window) = window {
            write!(f, ", window {}", window.labels().0)?;
        }
        if let Some(started) = self.started.filter(|_| self.ended.is_some()) {
            write!(f, ", since {}", started.labels().0)?;
        }
        f.write_str(")")?;
        match self.value {
            Some(value) => write!(f, ": {}", shortest(value)),
            None => Ok(()),
        }
    }
}
