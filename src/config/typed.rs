//! What the words of a configuration mean: from the file's tables to typed values.

use super::raw::{
    OneOrMany, Raw, RawAlert, RawEngine, RawFeed, RawLimits, RawRows, RawServer, RawSink, RawState, RawStatistics,
    RawWindow,
};
use super::values::{address, at_least_one, config, duration, duration_ns, page, size_bytes, some_time, without, word};
use super::{
    Access, AlertConfig, Backend, Config, EngineConfig, FeedConfig, FeedKind, LimitsConfig, RowsConfig, StateConfig,
    roll_bytes, sink_format,
};
use crate::engine::Lateness;
use crate::error::{Error, Result};
use crate::expr::{Definition, Expr, Formula};
use crate::io::TimeUnit;
use crate::io::live::{ColumnType, WireFormat};
use crate::io::sink::{PostgresOptions, SinkFormat, SinkOptions};
use crate::spec::{Precision, Regression, Spec, Window};
use crate::units;
use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

/// Rows of a micro-batch at most: beyond it waiting costs more than a larger batch gains.
const BATCH_ROWS_MAX: usize = 1 << 24;

impl Raw {
    pub(super) fn typed(self) -> Result<Config> {
        if self.feed.is_empty() {
            return Err(Error::Config("no [feed] is there: name one, with its type".into()));
        }
        let fingerprint = format!("{:?}\n{:?}\n{:?}", self.rows, self.window, self.statistics);
        let state = self.state.map(RawState::typed).transpose()?;
        let single = self.feed.len() == 1;
        let feeds: Vec<FeedConfig> = self
            .feed
            .into_iter()
            .map(|feed| feed.typed(single))
            .collect::<Result<_>>()?;
        let mut names = HashSet::new();
        if let Some(twice) = feeds.iter().find(|feed| !names.insert(feed.name.as_str())) {
            return Err(Error::Config(format!("there are two feeds `{}`", twice.name)));
        }
        let (window, lateness, late_path, update_interval) = self.window.typed()?;
        let (rows, keys, columns) = self.rows.typed()?;
        let spec = self.statistics.typed(keys, columns, window)?;
        let engine = self.engine.typed()?;
        let spec = Spec {
            precision: engine.precision.unwrap_or_default(),
            ..spec
        };
        let sinks = (1..).zip(self.sink).map(|(number, sink)| sink.typed(number));
        let sinks = sinks.collect::<Result<Vec<_>>>()?;
        let mut places = HashSet::new();
        if let Some(twice) = sinks.iter().find(|sink| !places.insert(sink.name())) {
            return Err(Error::Config(format!("two sinks write to {}", twice.name())));
        }
        let alerts = self
            .alert
            .into_iter()
            .map(RawAlert::typed)
            .collect::<Result<Vec<_>>>()?;
        let server = match &self.server {
            Some(server) => Some(address("[server] listen", &server.listen)?),
            None => None,
        };
        Ok(Config {
            feeds,
            rows,
            spec: spec.checked().map_err(|e| Error::Config(e.to_string()))?,
            lateness,
            late_path,
            update_interval,
            engine,
            sinks,
            alerts,
            state,
            limits: self.limits.typed()?,
            server,
            server_access: self.server.map(RawServer::access).unwrap_or_default(),
            fingerprint,
            source: None,
        })
    }
}

impl RawFeed {
    /// Every option is one that a feed of this type has.
    fn fits_its_type(&self, place: &str) -> Result<()> {
        let kind = self.kind.as_str();
        let of = |kinds: &[&str], is_there: bool| is_there && !kinds.contains(&kind);
        let why = format!("a feed of type {kind} has no such option");
        without(
            place,
            &why,
            &[
                ("listen", of(&["tcp", "udp", "http"], self.listen.is_some())),
                ("path", of(&["file"], self.path.is_some())),
                ("follow", of(&["file"], self.follow.is_some())),
                ("url", of(&["http_poll"], self.url.is_some())),
                ("interval", of(&["http_poll"], self.interval.is_some())),
                ("headers_file", of(&["http_poll"], self.headers_file.is_some())),
                ("tls", of(&["tcp", "http"], self.tls.is_some())),
                ("token_file", of(&["tcp", "http"], self.token_file.is_some())),
                ("token_env", of(&["tcp", "http"], self.token_env.is_some())),
                ("insecure", of(&["tcp", "udp", "http"], self.insecure)),
            ],
        )?;
        let is_binary = self.format.as_deref() == Some("binary");
        without(
            place,
            "only format = \"binary\" has it",
            &[("values", self.values.is_some() && !is_binary)],
        )
    }

    fn typed(self, single: bool) -> Result<FeedConfig> {
        let name = match (&self.name, single) {
            (Some(name), _) if !name.is_empty() => name.clone(),
            (None, true) => "main".into(),
            _ => {
                return Err(Error::Config(
                    "every one of several feeds needs a name of its own".into(),
                ));
            }
        };
        let what = |option: &str| format!("feed `{name}`: {option}");
        self.fits_its_type(&what(""))?;
        let listen = || match &self.listen {
            Some(text) => address(&what("listen"), text),
            None => Err(config(
                &what("listen"),
                "a feed of this type needs an address, such as 127.0.0.1:7400",
            )),
        };
        let kind = match self.kind.as_str() {
            "stdin" => FeedKind::Stdin,
            "file" => FeedKind::File {
                paths: match self.path {
                    Some(OneOrMany::One(path)) => vec![path],
                    Some(OneOrMany::Many(paths)) if !paths.is_empty() => paths,
                    _ => return Err(config(&what("path"), "a feed of this type needs the path of a file")),
                },
                follow: self.follow.unwrap_or(false),
            },
            "tcp" => FeedKind::Tcp { listen: listen()? },
            "udp" => FeedKind::Udp { listen: listen()? },
            "http" => FeedKind::Http { listen: listen()? },
            "http_poll" => FeedKind::HttpPoll {
                url: page(&what("url"), self.url.as_deref())?,
                interval: some_time(&what("interval"), self.interval.as_deref(), Duration::from_secs(1))?,
                headers_file: self.headers_file.clone(),
            },
            other => {
                return Err(config(
                    &what("type"),
                    format!("`{other}` is none of stdin, file, tcp, udp, http, http_poll"),
                ));
            }
        };
        let formats = [
            ("csv", WireFormat::Csv),
            ("ndjson", WireFormat::Ndjson),
            ("arrow", WireFormat::Arrow),
            ("binary", WireFormat::Binary),
        ];
        let format = match (&self.format, &kind) {
            (Some(text), _) => Some(word(&what("format"), Some(text.as_str()), &formats, WireFormat::Csv)?),
            // By its extension, which may be one of formats that are read whole.
            (None, FeedKind::File { .. }) => None,
            (None, _) => return Err(config(&what("format"), "name one of csv, ndjson, arrow, binary")),
        };
        match (&kind, format) {
            (FeedKind::Udp { .. }, Some(WireFormat::Csv)) if self.columns.is_none() => {
                return Err(config(
                    &what("columns"),
                    "a datagram has no header: name the columns in their order",
                ));
            }
            (FeedKind::Udp { .. }, Some(WireFormat::Arrow)) => {
                return Err(config(
                    &what("format"),
                    "udp takes csv, ndjson or binary, as a datagram is no stream",
                ));
            }
            _ => {}
        }
        if format == Some(WireFormat::Binary) && self.columns.is_none() {
            return Err(config(
                &what("columns"),
                "rows in binary have no header: name the columns in their order",
            ));
        }
        let types = [
            ("f64", ColumnType::F64),
            ("f32", ColumnType::F32),
            ("i64", ColumnType::I64),
            ("text", ColumnType::Text),
        ];
        let of = |(column, text): (&String, &String)| {
            let place = what(&format!("types.{column}"));
            Ok((column.clone(), word(&place, Some(text), &types, ColumnType::F64)?))
        };
        Ok(FeedConfig {
            types: self.types.iter().map(of).collect::<Result<_>>()?,
            values: word(&what("values"), self.values.as_deref(), &types[..3], ColumnType::F64)?,
            access: Access {
                tls: self.tls.map(|tls| (tls.certificate, tls.key)),
                token_file: self.token_file,
                token_env: self.token_env,
                insecure: self.insecure,
            },
            columns: self.columns,
            name,
            kind,
            format,
        })
    }
}

impl RawServer {
    fn access(self) -> Access {
        Access {
            tls: self.tls.map(|tls| (tls.certificate, tls.key)),
            token_file: self.token_file,
            token_env: self.token_env,
            insecure: self.insecure,
        }
    }
}

impl RawRows {
    fn typed(self) -> Result<(RowsConfig, Vec<String>, Option<Vec<String>>)> {
        let of = |what: &str, error: Error| config(&format!("[rows] {what}"), error);
        let units = [
            ("s", TimeUnit::Seconds),
            ("ms", TimeUnit::Milliseconds),
            ("us", TimeUnit::Microseconds),
            ("ns", TimeUnit::Nanoseconds),
        ];
        let unit = word(
            "[rows] time_unit",
            self.time_unit.as_deref(),
            &units,
            TimeUnit::Milliseconds,
        )?;
        let filter = self.filter.as_deref().map(Expr::parse).transpose();
        let definition = |(name, value): (String, toml::Value)| {
            let text = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Float(number) => number.to_string(),
                _ => {
                    return Err(config(
                        "[rows] define",
                        format!("`{name}` is to be an expression, in quotes"),
                    ));
                }
            };
            let quoted = name.replace('"', "\"\"");
            Definition::parse(&format!("\"{quoted}\" = {text}")).map_err(|e| of("define", e))
        };
        let rows = RowsConfig {
            time: self.time.map(|time| (time, unit)),
            filter: filter.map_err(|e| of("where", e))?,
            definitions: self.define.into_iter().map(definition).collect::<Result<_>>()?,
        };
        Ok((rows, self.key, self.columns))
    }
}

type Windows = (Option<Window>, Lateness, Option<PathBuf>, Option<Duration>);

impl RawWindow {
    fn typed(self) -> Result<Windows> {
        let window = match self.size.as_deref().unwrap_or("10s") {
            "unbounded" => match self.slide {
                None => None,
                Some(_) => return Err(config("[window] slide", "what is unbounded does not slide")),
            },
            size => Some(units::window(size, self.slide.as_deref()).map_err(|e| {
                // The slide alone is at fault where the size makes a window by itself.
                let alone = self.slide.is_some() && units::window(size, None).is_ok();
                config(if alone { "[window] slide" } else { "[window] size" }, e)
            })?),
        };
        let mut lateness = Lateness::new().lateness_ns(duration_ns("[window] lateness", self.lateness.as_deref(), 0)?);
        if let Some(text) = &self.max_ahead {
            lateness = lateness.max_ahead_ns(duration_ns("[window] max_ahead", Some(text), 0)?);
        }
        if let Some(text) = &self.idle_timeout {
            lateness = lateness.idle_timeout_ns(duration_ns("[window] idle_timeout", Some(text), 0)?);
        }
        let side = word(
            "[window] late",
            self.late.as_deref(),
            &[("drop", false), ("side", true)],
            false,
        )?;
        let why = "only late = \"side\" writes late rows";
        without("[window] ", why, &[("late_path", !side && self.late_path.is_some())])?;
        let late_path = match (side, self.late_path) {
            (true, None) => {
                return Err(config(
                    "[window] late_path",
                    "late = \"side\" needs a file for the late rows",
                ));
            }
            (true, path) => path,
            (false, _) => None,
        };
        let update = word(
            "[window] emit",
            self.emit.as_deref(),
            &[("close", false), ("update", true)],
            false,
        )?;
        let why = "only emit = \"update\" has it";
        without(
            "[window] ",
            why,
            &[("emit_interval", !update && self.emit_interval.is_some())],
        )?;
        let interval = some_time(
            "[window] emit_interval",
            self.emit_interval.as_deref(),
            Duration::from_secs(1),
        )?;
        Ok((window, lateness, late_path, update.then_some(interval)))
    }
}

impl RawStatistics {
    fn typed(self, keys: Vec<String>, columns: Option<Vec<String>>, window: Option<Window>) -> Result<Spec> {
        if self.moments == Some(false) {
            return Err(config(
                "[statistics] moments",
                "moments are what everything else is made of: leave them on",
            ));
        }
        let formula = match self.regress.as_str() {
            "" => None,
            text => Some(Formula::parse(text).map_err(|e| config("[statistics] regress", e))?),
        };
        let spec = Spec {
            columns,
            covariance: self.covariance,
            correlation: self.correlation,
            differences: self.differences,
            quantiles: self.quantiles,
            regression: formula.map(|formula| Regression {
                target: formula.target,
                terms: formula.terms,
                intercept: formula.intercept,
                ridge: self.ridge.unwrap_or(0.0),
            }),
            ddof: self.ddof.unwrap_or(1),
            keys,
            window,
            ..Spec::default()
        };
        let spec = match self.order {
            None | Some(4) => spec,
            Some(2) => spec.mean_and_variance(),
            Some(other) => return Err(config("[statistics] order", format!("{other} is neither 2 nor 4"))),
        };
        let half_life = self.ewm.map(|ewm| units::duration_ns(&ewm.half_life));
        Ok(Spec {
            ewm_half_life_ns: half_life.transpose().map_err(|e| config("[statistics] ewm", e))?,
            ..spec
        })
    }
}

impl RawEngine {
    fn typed(self) -> Result<EngineConfig> {
        let backends = [("auto", Backend::Auto), ("cpu", Backend::Cpu), ("gpu", Backend::Gpu)];
        let precisions = [("exact", Some(Precision::Exact)), ("fast", Some(Precision::Fast))];
        let batch_rows = self.batch_rows.unwrap_or(65_536);
        if batch_rows == 0 || batch_rows > BATCH_ROWS_MAX {
            return Err(config(
                "[engine] batch_rows",
                format!("{batch_rows} does not lie between 1 and {BATCH_ROWS_MAX}"),
            ));
        }
        Ok(EngineConfig {
            backend: word("[engine] backend", self.backend.as_deref(), &backends, Backend::Auto)?,
            precision: word("[engine] precision", self.precision.as_deref(), &precisions, None)?,
            batch_rows,
            batch_delay: duration(
                "[engine] batch_delay",
                self.batch_delay.as_deref(),
                Duration::from_millis(5),
            )?,
        })
    }
}

impl RawSink {
    /// The one with this number, from 1.
    fn typed(self, number: usize) -> Result<SinkOptions> {
        let place = format!("[[sink]] {number}: ");
        let what = |option: &str| format!("{place}{option}");
        let path = || {
            self.path
                .clone()
                .ok_or_else(|| config(&what("path"), "a sink of this type needs a path"))
        };
        let rolls = |format: SinkFormat| {
            let why = "only sinks of type file that write parquet have it";
            without(
                &place,
                why,
                &[("roll", self.roll.is_some() && format != SinkFormat::Parquet)],
            )
        };
        if self.kind != "postgres" {
            let why = "only sinks of type postgres have it";
            let options = [
                ("url", self.url.is_some()),
                ("password_file", self.password_file.is_some()),
                ("ca_file", self.ca_file.is_some()),
                ("insecure", self.insecure.is_some()),
            ];
            without(&place, why, &options)?;
        }
        match self.kind.as_str() {
            "stdout" => {
                let why = "a sink of type stdout has no such option";
                without(&place, why, &[("path", self.path.is_some())])?;
                rolls(SinkFormat::Ndjson)?;
                let format = self.format.as_deref().map_or(Ok(SinkFormat::Ndjson), str::parse);
                let format = format.map_err(|e| config(&what("format"), e))?;
                if format == SinkFormat::Parquet {
                    let why = "standard output takes ndjson or csv; parquet needs a sink of type file";
                    return Err(config(&what("format"), why));
                }
                Ok(SinkOptions::Stdout { format })
            }
            "file" => {
                let path = path()?;
                let format = sink_format(&path, self.format.as_deref()).map_err(|e| config(&what("format"), e))?;
                rolls(format)?;
                Ok(SinkOptions::File {
                    format,
                    roll_bytes: roll_bytes(self.roll.as_deref()).map_err(|e| config(&what("roll"), e))?,
                    path,
                })
            }
            "sqlite" => {
                let why = "a sink of type sqlite has no such option";
                without(&place, why, &[("format", self.format.is_some())])?;
                rolls(SinkFormat::Ndjson)?;
                Ok(SinkOptions::Sqlite { path: path()? })
            }
            "postgres" => {
                let why = "a sink of type postgres has no such option";
                let options = [("path", self.path.is_some()), ("format", self.format.is_some())];
                without(&place, why, &options)?;
                rolls(SinkFormat::Ndjson)?;
                let why = "a sink of type postgres needs a url like postgresql://USER@HOST:PORT/DATABASE";
                let url = self.url.clone().ok_or_else(|| config(&what("url"), why))?;
                Ok(SinkOptions::Postgres(PostgresOptions {
                    url,
                    password_file: self.password_file.clone(),
                    ca_file: self.ca_file.clone(),
                    insecure: self.insecure.unwrap_or(false),
                }))
            }
            other => Err(config(
                &what("type"),
                format!("`{other}` is none of stdout, file, sqlite, postgres"),
            )),
        }
    }
}

impl RawAlert {
    fn typed(self) -> Result<AlertConfig> {
        let for_windows = self.for_windows.unwrap_or(1);
        if for_windows == 0 {
            return Err(config(&format!("alert `{}`: for_windows", self.name), "at least 1"));
        }
        Ok(AlertConfig {
            name: self.name,
            when: self.when,
            for_windows,
        })
    }
}

impl RawState {
    fn typed(self) -> Result<StateConfig> {
        Ok(StateConfig {
            directory: self.directory,
            interval: duration("[state] interval", self.interval.as_deref(), Duration::from_secs(5))?,
            journal: self.journal,
        })
    }
}

impl RawLimits {
    fn typed(self) -> Result<LimitsConfig> {
        let line = size_bytes("[limits] line", self.line.as_deref(), 1 << 20)?;
        let (keys, connections) = (self.keys.unwrap_or(1_000_000), self.connections.unwrap_or(1024));
        Ok(LimitsConfig {
            memory_bytes: size_bytes("[limits] memory", self.memory.as_deref(), 512 << 20)?,
            keys: at_least_one("[limits] keys", keys > 0, keys, "at least 1")?,
            line_bytes: usize::try_from(line).unwrap_or(usize::MAX),
            body_bytes: size_bytes("[limits] body", self.body.as_deref(), 64 << 20)?,
            connections: at_least_one("[limits] connections", connections > 0, connections, "at least 1")?,
            idle_connection: some_time(
                "[limits] idle_connection",
                self.idle_connection.as_deref(),
                Duration::from_secs(60),
            )?,
            quarantine: self.quarantine,
            quarantine_bytes: size_bytes("[limits] quarantine_size", self.quarantine_size.as_deref(), 64 << 20)?,
        })
    }
}
