//! What the words of a configuration mean: from the file's tables to typed values.

use super::raw::{Raw, RawAlert, RawEngine, RawLimits, RawRows, RawServer, RawState, RawStatistics, RawWindow};
use super::values::{address, at_least_one, config, duration, duration_ns, size_bytes, some_time, without, word};
use super::{Access, AlertConfig, Backend, Config, EngineConfig, FeedConfig, LimitsConfig, RowsConfig, StateConfig};
use crate::engine::Lateness;
use crate::error::{Error, Result};
use crate::expr::{Definition, Expr, Formula};
use crate::io::TimeUnit;
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
        super::connectors::apart(&feeds)?;
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
        let config = Config {
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
        };
        config.check_sharing()?;
        Ok(config)
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
