//! One feed of a run: filter and definitions, micro-batches, its engine, and the count of every row.

use super::appended::Appended;
use super::asked::{Asked, Planned};
use super::counts::Counts;
use super::engines::{Engines, Stretch};
use super::going_on::engine_spec;
use super::pending::{Part, Pending};
use super::shares;
use super::sources::{read_schema, stored_schema};
use crate::alert::AlertRule;
use crate::backend::Backend;
use crate::batch::Batch;
use crate::checkpoint::FeedState;
use crate::config::{Config, FeedConfig};
use crate::engine::Engine;
use crate::error::{BadRow, Error, Result};
use crate::io::live::now_ns;
use crate::io::remote::Sharing;
use crate::io::{Position, Rows};
use crate::metrics::FeedMetrics;
use crate::pipeline::{Query, Steps};
use crate::report::{Alert, Closed, Emission, build};
use crate::spec::{Spec, Window};
use arrow::datatypes::SchemaRef;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Windows that are reported at once: what a million keys take as reports stays bounded.
const REPORTS_AT_ONCE: usize = 4096;

/// A batch of at least this part of a micro-batch is not made to wait for more.
const LARGE_PART: usize = 8;

/// The same where nothing else is there to do: waiting would only make its reports later.
const LARGE_PART_IDLE: usize = 32;

/// One feed.
pub(super) struct Feed {
    asked: Asked,
    steps: Steps,
    memory_max: u64,
    given_up: u64,
    /// What reports show: without what only alerts need.
    shown: Spec,
    pub(super) engines: Engines,
    /// Whether reports are parts of one partition, with what they are made of.
    gives_shares: bool,
    /// Once the columns are known.
    planned: Option<Planned>,
    /// The state of the alerts until the columns are known.
    alerts_state: Vec<u8>,
    notes: Vec<String>,
    /// The partitions that rows are still to come from, as far as the source knows.
    announced: Vec<u32>,
    pending: Pending,
    pub(super) positions: BTreeMap<u32, Position>,
    revisions: HashMap<String, u64>,
    pub(super) counts: Counts,
    batch_rows: usize,
    batch_delay: Duration,
    pub(super) ended: bool,
    /// Rows that the source has counted as dropped, of those in the counts.
    pub(super) dropped_since_start: u64,
    /// What goes wrong with its source, as it was last said.
    trouble: Option<String>,
}

/// Files that rows which are left out go to.
pub(super) struct Aside {
    pub(super) late: Option<Appended>,
    pub(super) quarantine: Option<Appended>,
}

impl Feed {
    pub(super) fn new(
        config: &Config,
        options: &FeedConfig,
        backend: Box<dyn Backend>,
        rules: &[AlertRule],
        state: Option<&FeedState>,
    ) -> Result<Self> {
        let (name, sharing) = (options.name.as_str(), options.kind.sharing());
        let spec = engine_spec(config, rules);
        let query = Query {
            spec: spec.clone(),
            filter: config.rows.filter.clone(),
            definitions: config.rows.definitions.clone(),
            time: config.rows.time.as_ref().map(|(time, _)| time.clone()),
            arrival_time: config.rows.time.is_none(),
            ..Query::default()
        };
        let mut feed = Self {
            steps: Steps::new(&query)?,
            asked: Asked {
                name: name.into(),
                query,
                rules: rules.to_vec(),
                keys_max: config.limits.keys,
                takes_shares: options.summaries,
            },
            // What the engines hold; channels and decoders have bounds of their own.
            memory_max: config.limits.memory_bytes / config.feeds.len().max(1) as u64,
            given_up: 0,
            shown: config.spec.clone(),
            engines: match sharing {
                Some(_) => Engines::shared(&spec, config.lateness, shares::made_for(config, name)?)?,
                None => {
                    let engine = Engine::with_backend(spec, backend)?;
                    Engines::One(Box::new(engine.closing_windows(config.lateness)))
                }
            },
            gives_shares: sharing == Some(Sharing::Summaries),
            planned: None,
            alerts_state: Vec::new(),
            notes: Vec::new(),
            announced: Vec::new(),
            pending: Pending::default(),
            positions: BTreeMap::new(),
            revisions: HashMap::new(),
            counts: Counts::default(),
            batch_rows: config.engine.batch_rows,
            batch_delay: config.engine.batch_delay,
            ended: false,
            dropped_since_start: 0,
            trouble: None,
        };
        if let Some(state) = state {
            if let Some(engine) = feed.engines.one() {
                engine.restore(&state.engine)?;
            }
            feed.alerts_state.clone_from(&state.alerts);
            feed.revisions = state.revisions.iter().cloned().collect();
            feed.counts = Counts::of(state.counts);
            for (partition, rows, offset_bytes, generation) in &state.positions {
                let position = Position {
                    partition: *partition,
                    rows: *rows,
                    offset_bytes: *offset_bytes,
                    generation: *generation,
                };
                feed.positions.insert(*partition, position);
            }
            if let Some(stored) = &state.batch_schema {
                feed.plan(&read_schema(stored)?)?;
            }
        }
        Ok(feed)
    }

    /// Takes rows as they come from the source.
    pub(super) fn arrive(&mut self, rows: Rows, position: Position, aside: &mut Aside) -> Result<()> {
        let partition = position.partition;
        if !self.engines.has(partition) {
            return Ok(());
        }
        let again = self.engines.were_counted(partition, position.offset_bytes);
        if !again {
            self.counts.rows_in += rows.count();
            self.reject(&rows.rejected, aside)?;
            self.counts.quarantined += rows.unkept;
            if let Some(quarantine) = &mut aside.quarantine {
                quarantine.leave_out(rows.unkept);
            }
        }
        let before = self.positions.insert(partition, position);
        if self.planned.is_none() && !self.asked.takes_shares && rows.batch.num_columns() > 0 {
            self.plan(&rows.batch.schema())?;
        }
        if rows.batch.num_rows() > 0 {
            self.pending.rows += rows.batch.num_rows();
            self.pending.since.get_or_insert_with(Instant::now);
            self.pending.batches.push(Part {
                stretch: Stretch {
                    partition,
                    from: before.map_or(0, |before| before.offset_bytes),
                    upto: position.offset_bytes,
                },
                again,
                arrived_ns: rows.arrived_ns,
                batch: rows.batch,
            });
        }
        Ok(())
    }

    pub(super) fn reject(&mut self, rows: &[BadRow], aside: &mut Aside) -> Result<()> {
        self.counts.quarantined += rows.len() as u64;
        match &mut aside.quarantine {
            Some(quarantine) if !rows.is_empty() => quarantine.bad_rows(rows),
            _ => Ok(()),
        }
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.asked.name
    }

    /// Whether its columns are known.
    pub(super) fn is_planned(&self) -> bool {
        self.planned.is_some()
    }

    pub(super) fn plan(&mut self, schema: &SchemaRef) -> Result<()> {
        let mut planned = self.asked.plan(schema)?;
        if !self.alerts_state.is_empty() {
            planned.alerts.restore(&self.alerts_state)?;
        }
        let notes = planned.plan.notes.iter();
        self.notes = notes
            .map(|note| format!("feed `{}`: {note}", self.asked.name))
            .collect();
        self.planned = Some(planned);
        Ok(())
    }

    /// What is to be said of its rows, once.
    pub(super) fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// What is asked of its rows.
    pub(super) fn asked(&self) -> &Asked {
        &self.asked
    }

    /// When the rows that wait have waited long enough; `None` where none do. `idle` says that no others have arrived.
    pub(super) fn due(&self, idle: bool) -> Option<Instant> {
        let part = if idle { LARGE_PART_IDLE } else { LARGE_PART };
        let large = self.pending.rows * part >= self.batch_rows;
        let since = self.pending.since?;
        Some(if large { since } else { since + self.batch_delay })
    }

    /// Makes a micro-batch of what waits and reduces it, at this time of the clock for silence.
    pub(super) fn reduce(&mut self, clock_ns: i64, metrics: &FeedMetrics, aside: &mut Aside) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        let Some(since) = pending.since else { return Ok(()) };
        for part in pending.together(self.asked.query.arrival_time)? {
            self.reduce_part(&part, clock_ns, aside)?;
        }
        metrics.batches.add(1);
        metrics.batch_latency.record(since.elapsed());
        Ok(())
    }

    fn reduce_part(&mut self, part: &Part, clock_ns: i64, aside: &mut Aside) -> Result<()> {
        if self.asked.takes_shares {
            return self.reduce_shares(part, clock_ns, aside);
        }
        let Some(planned) = self
            .planned
            .as_ref()
            .filter(|_| self.engines.has(part.stretch.partition))
        else {
            return Ok(());
        };
        let kept = self.steps.apply(&part.batch)?;
        let mut batch = planned.plan.batch(&kept)?;
        if self.asked.query.arrival_time {
            let arrived_ns = part.arrived_ns.unwrap_or_else(now_ns);
            batch = batch.with_time_ns(vec![arrived_ns; kept.num_rows()])?;
        }
        let refused = self.engines.take(part.stretch, &batch, clock_ns)?;
        if part.again {
            return Ok(());
        }
        self.counts.filtered += (part.batch.num_rows() - kept.num_rows()) as u64;
        let left_out = (refused.late.len() + refused.ahead.len()) as u64;
        self.counts.aggregated += batch.rows() as u64 - left_out;
        self.counts.late += refused.late.len() as u64;
        if let Some(late) = aside.late.as_mut().filter(|_| !refused.late.is_empty()) {
            late.rows(&self.asked.name, &batch, &refused.late)?;
        }
        if !refused.ahead.is_empty() {
            let ahead: Vec<BadRow> = refused.ahead.iter().map(|place| self.ahead(&batch, *place)).collect();
            self.reject(&ahead, aside)?;
        }
        Ok(())
    }

    /// A row whose time is too far ahead, as a bad row.
    fn ahead(&self, batch: &Batch, place: u32) -> BadRow {
        let time_ns = batch.time_ns().map_or(0, |times| times[place as usize]);
        BadRow {
            source: format!("feed `{}`", self.asked.name),
            line: 0,
            column: self.asked.query.time.clone(),
            bytes: crate::report::rfc3339(time_ns).into_bytes(),
            row: Vec::new(),
            reason: "is farther ahead of the newest row before it than max_ahead".into(),
        }
    }

    /// The next reports that are final, each followed by what it does to the alerts; empty where there are no more.
    pub(super) fn reports(&mut self) -> Result<Vec<(Vec<Emission>, Vec<Alert>)>> {
        let (partition, closed) = self.engines.closed(REPORTS_AT_ONCE)?;
        let mut reports = self.emissions(closed);
        if let Some(partition) = partition.filter(|_| self.gives_shares) {
            self.make_shares(partition, &mut reports)?;
        }
        for report in &mut reports {
            if !self.revisions.is_empty() {
                report.revision = self.revisions.remove(&window_key(report)).unwrap_or(0);
            }
        }
        let late = self.counts.late;
        let Some(planned) = self.planned.as_mut().filter(|_| !self.asked.rules.is_empty()) else {
            return Ok(Some((reports, Vec::new()))
                .into_iter()
                .filter(|(r, _)| !r.is_empty())
                .collect());
        };
        let mut runs: Vec<(Vec<Emission>, Vec<Alert>)> = Vec::new();
        for report in reports {
            let alerts = planned.alerts.evaluate(std::slice::from_ref(&report), late)?;
            match runs.last_mut() {
                Some((reports, before)) if before.is_empty() => {
                    reports.push(report);
                    *before = alerts;
                }
                _ => runs.push((vec![report], alerts)),
            }
        }
        Ok(runs)
    }

    /// Reports of keys that have to be given up, as there are too many.
    pub(super) fn give_up(&mut self) -> Result<Vec<Emission>> {
        let closed = self.engines.give_up(self.asked.keys_max, self.memory_max)?;
        if self.asked.takes_shares && !closed.is_empty() {
            // What comes again would not be known.
            let why = "summaries are not combined in parts: raise [limits] keys or memory";
            return Err(Error::Limit(format!("feed `{}`: {why}", self.asked.name)));
        }
        self.given_up += closed.len() as u64;
        Ok(self.emissions(closed))
    }

    /// How often the backend failed, and windows that were reported in parts.
    pub(super) fn troubles(&self) -> Vec<String> {
        let mut troubles = Vec::new();
        if let Some(fallbacks) = self.engines.fallbacks()
            && let Some(reason) = &fallbacks.first_reason
        {
            let count = fallbacks.count;
            troubles.push(format!(
                "feed `{}`: the CPU did {count} works that the backend failed: {reason}",
                self.asked.name
            ));
        }
        if self.given_up > 0 {
            let count = self.given_up;
            troubles.push(format!(
                "feed `{}`: {count} windows were reported in parts, as there were more keys than [limits] keys or memory \
                 allow",
                self.asked.name
            ));
        }
        troubles
    }

    /// Gives the reports of what is open, not final, some at a time.
    pub(super) fn updates(&mut self, mut give: impl FnMut(Vec<Emission>) -> Result<()>) -> Result<()> {
        let mut open = self.engines.open_windows()?;
        while !open.is_empty() {
            let rest = open.split_off(open.len().min(REPORTS_AT_ONCE));
            let mut reports = self.emissions(std::mem::replace(&mut open, rest));
            for report in &mut reports {
                let revision = self.revisions.entry(window_key(report)).or_insert(0);
                report.revision = *revision;
                report.is_final = false;
                *revision += 1;
            }
            give(reports)?;
        }
        Ok(())
    }

    fn emissions(&self, closed: Vec<Closed>) -> Vec<Emission> {
        let Some(planned) = &self.planned else {
            return Vec::new();
        };
        let names = planned.plan.reported_names();
        let summaries: Vec<_> = closed
            .iter()
            .map(|closed| (closed.summary.clone(), closed.part))
            .collect();
        let groups = build::report(&self.shown, names, closed).groups;
        let emission = |(group, (summary, part))| Emission {
            part,
            ..Emission::new(Arc::clone(&self.asked.name), group, summary)
        };
        groups.into_iter().zip(summaries).map(emission).collect()
    }

    /// These partitions, and no others, are those that rows are still to come from.
    pub(super) fn announce(&mut self, partitions: &[u32]) {
        // Where it has parts of them, partitions are those that the parts are of.
        let Some(engine) = self.engines.one().filter(|_| !self.asked.takes_shares) else {
            return;
        };
        partitions.iter().for_each(|p| engine.expect_partition(*p));
        let ended = self.announced.iter().filter(|p| !partitions.contains(p));
        ended.for_each(|p| engine.end_partition(*p));
        self.announced = partitions.to_vec();
    }

    /// The watermark goes on with the clock for silence.
    pub(super) fn advance(&mut self, clock_ns: i64) {
        self.engines.advance(clock_ns);
    }

    /// No more rows will come, and what is open closes.
    pub(super) fn close(&mut self) {
        self.engines.end();
    }

    /// No more rows will come from these partitions.
    pub(super) fn retire(&mut self, partitions: &[u32]) {
        let Some(engine) = self.engines.one().filter(|_| !self.asked.takes_shares) else {
            return;
        };
        partitions.iter().for_each(|partition| engine.end_partition(*partition));
    }

    pub(super) fn watermark_ns(&self) -> Option<i64> {
        self.engines.watermark_ns()
    }

    pub(super) fn open_cells(&self) -> usize {
        self.engines.cells()
    }

    pub(super) fn keys(&self) -> usize {
        self.engines.keys()
    }

    /// What to say now that this goes wrong with its source, or nothing any more; nothing where that was said.
    pub(super) fn news(&mut self, trouble: Option<String>) -> Option<String> {
        let news = match (&self.trouble, &trouble) {
            (None, Some(why)) => format!("feed `{}`: {why}; it is tried again until it succeeds", self.asked.name),
            (Some(_), None) => format!("feed `{}`: goes on", self.asked.name),
            _ => return None,
        };
        self.trouble = trouble;
        Some(news)
    }

    pub(super) fn positions(&self) -> Vec<Position> {
        self.positions.values().copied().collect()
    }

    /// What a checkpoint keeps; everything that waits is to be reduced, and everything that closed taken.
    pub(super) fn state(&mut self, schema: Option<Vec<u8>>) -> Result<FeedState> {
        let planned = self.planned.as_ref();
        Ok(FeedState {
            batch_schema: planned.map(|planned| stored_schema(&planned.schema)).transpose()?,
            name: self.asked.name.to_string(),
            schema,
            positions: self
                .positions
                .values()
                .map(|p| (p.partition, p.rows, p.offset_bytes, p.generation))
                .collect(),
            paths: Vec::new(),
            journal: None,
            engine: self.engines.one().map_or(Ok(Vec::new()), Engine::snapshot)?,
            alerts: match &self.planned {
                Some(planned) => planned.alerts.to_bytes(),
                None => self.alerts_state.clone(),
            },
            revisions: self.revisions.iter().map(|(key, n)| (key.clone(), *n)).collect(),
            counts: self.counts.array(),
        })
    }
}

/// A window and key as text.
fn window_key(report: &Emission) -> String {
    let key = serde_json::to_string(&report.group.key).unwrap_or_default();
    match &report.group.window {
        Some(window) => format!("{} {key}", window.labels().0),
        None => key,
    }
}

/// Whether windows close by the clock alone.
pub(super) fn closes_by_the_clock(config: &Config) -> bool {
    config.lateness.idle_timeout_ns.is_some() && matches!(config.spec.window, Some(Window::Time { .. }))
}
