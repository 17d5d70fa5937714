//! The configuration as it stands in the file: its tables, with every name that there is.

use crate::error::Result;
use serde::de::{MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer, value::SeqAccessDeserializer};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    #[serde(default, deserialize_with = "one_or_many")]
    pub(super) feed: Vec<RawFeed>,
    #[serde(default)]
    pub(super) rows: RawRows,
    #[serde(default)]
    pub(super) window: RawWindow,
    #[serde(default)]
    pub(super) statistics: RawStatistics,
    #[serde(default)]
    pub(super) engine: RawEngine,
    #[serde(default, deserialize_with = "one_or_many")]
    pub(super) sink: Vec<RawSink>,
    #[serde(default, deserialize_with = "one_or_many")]
    pub(super) alert: Vec<RawAlert>,
    pub(super) state: Option<RawState>,
    #[serde(default)]
    pub(super) limits: RawLimits,
    pub(super) server: Option<RawServer>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFeed {
    pub(super) name: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) listen: Option<String>,
    pub(super) format: Option<String>,
    pub(super) path: Option<OneOrMany>,
    pub(super) follow: Option<bool>,
    pub(super) url: Option<String>,
    pub(super) interval: Option<String>,
    pub(super) headers_file: Option<PathBuf>,
    pub(super) columns: Option<Vec<String>>,
    #[serde(default)]
    pub(super) types: BTreeMap<String, String>,
    pub(super) values: Option<String>,
    pub(super) tls: Option<RawTls>,
    pub(super) token_file: Option<PathBuf>,
    pub(super) token_env: Option<String>,
    #[serde(default)]
    pub(super) insecure: bool,
    // Of servers that others run.
    pub(super) brokers: Option<String>,
    pub(super) user: Option<String>,
    pub(super) mechanism: Option<String>,
    pub(super) password_file: Option<PathBuf>,
    pub(super) password_env: Option<String>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) topic: Option<OneOrMany<String>>,
    pub(super) group: Option<String>,
    pub(super) start: Option<String>,
    pub(super) share: Option<String>,
    pub(super) queue: Option<String>,
    pub(super) prefetch: Option<u16>,
    pub(super) stream: Option<String>,
    pub(super) field: Option<String>,
    pub(super) client_id: Option<String>,
    #[serde(default)]
    pub(super) levels: BTreeMap<String, usize>,
    pub(super) query: Option<String>,
    pub(super) column: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany<T = PathBuf> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    pub(super) fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTls {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawRows {
    pub(super) time: Option<String>,
    pub(super) time_unit: Option<String>,
    pub(super) key: Vec<String>,
    pub(super) columns: Option<Vec<String>>,
    #[serde(rename = "where")]
    pub(super) filter: Option<String>,
    pub(super) define: toml::Table,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawWindow {
    pub(super) size: Option<String>,
    pub(super) slide: Option<String>,
    pub(super) lateness: Option<String>,
    pub(super) max_ahead: Option<String>,
    pub(super) late: Option<String>,
    pub(super) late_path: Option<PathBuf>,
    pub(super) idle_timeout: Option<String>,
    pub(super) emit: Option<String>,
    pub(super) emit_interval: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawStatistics {
    pub(super) moments: Option<bool>,
    /// The order of the moments: 2 is mean and variance, 4 skewness and kurtosis as well.
    pub(super) order: Option<u8>,
    pub(super) covariance: bool,
    pub(super) correlation: bool,
    pub(super) differences: bool,
    pub(super) quantiles: Vec<f64>,
    pub(super) regress: String,
    pub(super) ridge: Option<f64>,
    pub(super) ddof: Option<u64>,
    pub(super) ewm: Option<RawEwm>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEwm {
    pub(super) half_life: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawEngine {
    pub(super) backend: Option<String>,
    pub(super) precision: Option<String>,
    pub(super) batch_rows: Option<usize>,
    pub(super) batch_delay: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSink {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) format: Option<String>,
    pub(super) path: Option<PathBuf>,
    pub(super) roll: Option<String>,
    // Of servers that others run.
    pub(super) url: Option<String>,
    pub(super) brokers: Option<String>,
    pub(super) user: Option<String>,
    pub(super) mechanism: Option<String>,
    pub(super) password_file: Option<PathBuf>,
    pub(super) password_env: Option<String>,
    pub(super) ca_file: Option<PathBuf>,
    #[serde(default)]
    pub(super) insecure: bool,
    pub(super) topic: Option<String>,
    pub(super) exchange: Option<String>,
    pub(super) routing_key: Option<String>,
    pub(super) stream: Option<String>,
    pub(super) hash: Option<String>,
    pub(super) ttl: Option<String>,
    pub(super) channel: Option<String>,
    pub(super) client_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAlert {
    pub(super) name: String,
    pub(super) when: String,
    pub(super) for_windows: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawState {
    pub(super) directory: PathBuf,
    pub(super) interval: Option<String>,
    #[serde(default)]
    pub(super) journal: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLimits {
    pub(super) memory: Option<String>,
    pub(super) keys: Option<usize>,
    pub(super) line: Option<String>,
    pub(super) body: Option<String>,
    pub(super) connections: Option<usize>,
    pub(super) idle_connection: Option<String>,
    pub(super) quarantine: Option<PathBuf>,
    pub(super) quarantine_size: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawServer {
    pub(super) listen: String,
    pub(super) tls: Option<RawTls>,
    pub(super) token_file: Option<PathBuf>,
    pub(super) token_env: Option<String>,
    #[serde(default)]
    pub(super) insecure: bool,
}

/// One table, or an array of them.
fn one_or_many<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    struct Tables<T>(std::marker::PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Tables<T> {
        type Value = Vec<T>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a table or an array of tables")
        }
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<T>, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map)).map(|one| vec![one])
        }
        fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Vec<T>, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(seq))
        }
    }
    deserializer.deserialize_any(Tables(std::marker::PhantomData))
}
