//! Feeds that keep arriving: sources, micro-batches, windows, sinks, checkpoints, until they end or a sign comes.
//!
//! Each source is read by a thread of its own and each sink written by one; between them one thread, this one, owns the
//! engines, so that nothing on the path of a row takes a lock. Channels are bounded: a slow sink stops this thread, this
//! thread the sources, and they their senders.
//!
//! A checkpoint is taken between two micro-batches: everything that closed has gone to the sinks, each sink is asked to
//! make that durable, and what the engines hold is stored with the positions behind it. While sinks and disk are at it,
//! rows go on.

mod appended;
mod asked;
mod clock;
mod connectors;
mod counts;
mod engines;
mod environment;
mod feed;
mod going_on;
mod over_http;
mod pending;
mod places;
mod saving;
mod shares;
mod sinks;
mod sources;

pub use counts::Counts;
pub use environment::{check_alerts, check_environment};

use crate::backend::Backend;
use crate::checkpoint::{Checkpoint, Store};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::io::live::Stop;
use crate::metrics::Metrics;
use appended::Appended;
use clock::{Clock, Known};
use crossbeam::channel::{Receiver, RecvTimeoutError, bounded};
use feed::{Aside, Feed, closes_by_the_clock};
use saving::Saving;
use sinks::Sinks;
use sources::{Reached, Reading, Said, stored_schema};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Batches that wait for this thread: enough that it never waits while sources have some, and few, as what waits is late
/// when it comes out.
const WAITING: usize = 4;

/// How often it is looked at the clock where nothing happens.
const TICK: Duration = Duration::from_millis(100);

/// How often the group is told where partitions stand that processes share: what is read again after a crash is what came
/// since, and the windows that were open.
const SHARED_INTERVAL: Duration = Duration::from_secs(1);

/// How a run ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct Ended {
    /// By feed: its name, and where its rows went.
    pub feeds: Vec<(String, Counts)>,
    /// What is to be said at the end.
    pub notes: Vec<String>,
    /// Why the first of the sources that could not be read to their ends could not; what they gave until then counts.
    pub failure: Option<Error>,
}

/// Runs feeds until they end or `stop` says so. `backend` gives each feed its backend; `say` hears what a person should
/// know while it runs: notes, and the alerts.
///
/// # Errors
/// [`Error::Config`] for a configuration that does not fit what is there, and for a state that was made by another;
/// what sources and sinks say. What was accepted before is in the last checkpoint, or its rows will be asked for again.
pub fn run(
    config: &Config,
    discard_state: bool,
    backend: &mut dyn FnMut() -> Result<Box<dyn Backend>>,
    stop: &Stop,
    say: &mut dyn FnMut(&str),
) -> Result<Ended> {
    places::check(config)?;
    let mut store = config
        .state
        .as_ref()
        .map(|state| Store::open(&state.directory))
        .transpose()?;
    let before = match &mut store {
        Some(store) => going_on::recall(config, store, discard_state, say)?,
        None => None,
    };
    let metrics = Metrics::new(&config.feed_names());
    let mut run = Run::open(config, before.as_ref(), backend, &metrics)?;
    #[cfg(feature = "net")]
    let _monitor = monitor(config, &metrics, say)?;
    let (said, heard) = bounded(WAITING);
    let mut notes = Vec::new();
    for number in 0..config.feeds.len() {
        let state = before.as_ref().and_then(|c| c.feeds.get(number));
        let fits = run.feeds[number].asked().as_fits();
        let reading = sources::start(config, number, fits, state, store.as_ref(), stop, &said, &mut notes)?;
        run.feeds[number].retire(&reading.places.left);
        run.readings.push(reading);
    }
    drop(said);
    notes.iter().for_each(|note| say(note));
    let is_kept = store.is_some();
    run.saving = (is_kept || config.is_shared()).then(|| Saving::new(store));
    let knows = |before: &Checkpoint| going_on::knows_outputs(before, config);
    if is_kept && !before.as_ref().is_some_and(knows) {
        // What is in the sinks now was there before: a crash before the first checkpoint must not leave more.
        run.checkpoint_now()?;
    }
    metrics.set_ready(true);
    let result = run.serve(&heard, stop, say);
    metrics.set_ready(false);
    if result.is_err() {
        // Sources end by themselves; what they still give is not asked for.
        stop.stop();
    }
    drop(heard);
    let notes = run.troubles();
    run.finish(result, notes)
}

/// The pages of a run.
#[cfg(feature = "net")]
fn monitor(
    config: &Config,
    metrics: &Metrics,
    say: &mut dyn FnMut(&str),
) -> Result<Option<crate::io::monitor::Monitor>> {
    let Some(listen) = config.server else { return Ok(None) };
    let security = sources::security(&config.server_access)?;
    let scheme = if security.tls.is_some() { "https" } else { "http" };
    let monitor = crate::io::monitor::Monitor::open(listen, security, metrics.clone())?;
    monitor.warning().into_iter().for_each(&mut *say);
    say(&format!("metrics on {scheme}://{}/metrics", monitor.address()));
    Ok(Some(monitor))
}

struct Run<'a> {
    config: &'a Config,
    feeds: Vec<Feed>,
    readings: Vec<Reading>,
    sinks: Sinks,
    aside: Aside,
    metrics: Metrics,
    saving: Option<Saving>,
    clock: Clock,
    /// What its checkpoints are made for.
    fingerprint: String,
    started: Instant,
    /// Why a source ended before its time; the first one that did.
    failed: Option<(String, Error)>,
}

impl<'a> Run<'a> {
    fn open(
        config: &'a Config,
        before: Option<&Checkpoint>,
        backend: &mut dyn FnMut() -> Result<Box<dyn Backend>>,
        metrics: &Metrics,
    ) -> Result<Self> {
        let rules = going_on::rules(config)?;
        let mut feeds = Vec::new();
        for (number, options) in config.feeds.iter().enumerate() {
            let backend = backend()?;
            metrics.feed(number).backend.set(backend.name());
            let state = before.and_then(|c| c.feeds.get(number));
            feeds.push(Feed::new(config, options, backend, &rules, state)?);
        }
        let length = |path: &std::path::Path| {
            let stored = before.and_then(|before| before.length(path));
            stored.filter(|_| path.exists())
        };
        let open = |path: &std::path::PathBuf, bytes_max| Appended::open(path, length(path), bytes_max);
        let late = config.late_path.as_ref().map(|path| open(path, u64::MAX)).transpose()?;
        let quarantine = config.limits.quarantine.as_ref();
        let quarantine = quarantine
            .map(|path| open(path, config.limits.quarantine_bytes))
            .transpose()?;
        let of_sinks = sinks::feeds(config)?;
        let states = before.map_or(&[][..], |c| &c.sinks);
        Ok(Self {
            config,
            feeds,
            readings: Vec::new(),
            sinks: Sinks::open(config, &of_sinks, states, metrics)?,
            aside: Aside { late, quarantine },
            metrics: metrics.clone(),
            saving: None,
            clock: Clock::new(Instant::now()),
            fingerprint: going_on::fingerprint(config)?,
            started: Instant::now(),
            failed: None,
        })
    }

    fn serve(&mut self, heard: &Receiver<(usize, Said)>, stop: &Stop, say: &mut dyn FnMut(&str)) -> Result<()> {
        let config = self.config;
        let shared = config.is_shared().then_some(SHARED_INTERVAL);
        let interval = config.state.as_ref().map(|state| state.interval).or(shared);
        let (mut saved, mut updated, mut told) = (self.started, self.started, self.started);
        let mut open = self.feeds.len();
        while open > 0 {
            let now = Instant::now();
            let due = self.feeds.iter().filter_map(|feed| feed.due(heard.is_empty())).min();
            let wait = due.map_or(TICK, |due| due.saturating_duration_since(now).min(TICK));
            match heard.recv_timeout(wait) {
                Ok((number, Said::Rows(rows, position))) => {
                    self.feeds[number].arrive(rows, position, &mut self.aside)?;
                }
                Ok((number, Said::Open(partitions))) => {
                    // What came of those that have ended is to be reduced before they are left out.
                    self.reduce(number, say)?;
                    self.feeds[number].announce(&partitions);
                    self.emit(number, say)?;
                }
                Ok((number, Said::Given(given))) => {
                    self.reduce(number, say)?;
                    self.feeds[number].give(&given)?;
                }
                Ok((number, Said::Recalled(has_ended, answer))) => {
                    self.reduce(number, say)?;
                    if has_ended {
                        self.feeds[number].close();
                        self.emit(number, say)?;
                    }
                    self.checkpoint_now()?;
                    // Who asked waits for it.
                    let _ = answer.send(self.feeds[number].hand_over()?);
                }
                Ok((number, Said::End(result))) => {
                    self.feeds[number].ended = true;
                    open -= 1;
                    self.reduce(number, say)?;
                    // On a signal, or where its input could not be read on, windows stay open in the state, if there
                    // is one. Those of partitions that are shared are somebody else's then.
                    let goes_on = stop.is_stopped() || result.is_err();
                    let stays_open = config.is_shared() || goes_on && config.state.is_some();
                    if !stays_open {
                        self.feeds[number].close();
                        self.emit(number, say)?;
                    }
                    if let Err(error) = result {
                        self.fail(number, error, open > 0, say);
                    }
                }
                Ok((_, Said::Note(note))) => say(&note),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::Failed("a source ended without a word".into()));
                }
            }
            let now = Instant::now();
            self.clock.look(now);
            let known = self.clock.taken(heard.len());
            for number in 0..self.feeds.len() {
                if self.feeds[number].due(heard.is_empty()).is_some_and(|due| due <= now) {
                    self.reduce(number, say)?;
                }
                // Who does not hear of a partition that is shared does not know whether it is silent.
                let is_cut_off = config.is_shared() && self.readings[number].counters.failure().is_some();
                if closes_by_the_clock(config) && !self.feeds[number].ended && !is_cut_off {
                    self.pass(number, known, say)?;
                }
            }
            if config.update_interval.is_some_and(|interval| now - updated >= interval) {
                for feed in &mut self.feeds {
                    feed.updates(|reports| self.sinks.write(reports))?;
                }
                updated = Instant::now();
            }
            // What senders and sources do shows though no row comes.
            if now - told >= TICK {
                told = now;
                (0..self.feeds.len()).for_each(|number| self.tell(number));
                self.hear(say);
            }
            self.sinks.check()?;
            if let Some(saving) = &mut self.saving {
                saving.settle(&self.readings, &self.metrics, say)?;
            }
            if interval.is_some_and(|interval| now - saved >= interval) {
                saved = now;
                self.save(say)?;
            }
        }
        Ok(())
    }

    /// Goes on with the clock for silence. Rows that wait are none.
    fn pass(&mut self, number: usize, known: Known, say: &mut dyn FnMut(&str)) -> Result<()> {
        let clock_ns = match known {
            Known::Now(ns) if self.feeds[number].due(false).is_none() => ns,
            Known::Then(ns) => {
                self.reduce(number, say)?;
                ns
            }
            Known::Now(_) | Known::No => return Ok(()),
        };
        self.feeds[number].advance(clock_ns);
        self.emit(number, say)
    }

    /// Says what fails with the sources, and shows what fails.
    fn hear(&mut self, say: &mut dyn FnMut(&str)) {
        let checkpoint = self.saving.as_ref().and_then(Saving::failure);
        let mut trouble = self.failed.as_ref().map(|(why, _)| why.clone()).or(checkpoint);
        trouble = trouble.or(self.sinks.hear(say));
        for (feed, reading) in self.feeds.iter_mut().zip(&self.readings) {
            let failure = reading.counters.failure();
            trouble = trouble.or_else(|| failure.clone());
            if let Some(news) = feed.news(failure) {
                say(&news);
            }
        }
        if trouble != self.metrics.failure() {
            self.metrics.set_failure(trouble.as_deref());
        }
    }

    /// Reduces what waits, and gives what closes to the sinks.
    fn reduce(&mut self, number: usize, say: &mut dyn FnMut(&str)) -> Result<()> {
        let metrics = self.metrics.feed(number);
        let feed = &mut self.feeds[number];
        feed.reduce(self.clock.ns(), metrics, &mut self.aside)?;
        feed.notes().iter().for_each(|note| say(note));
        self.emit(number, say)
    }

    /// A source could not be read on: the others go on, and the run fails in the end.
    fn fail(&mut self, number: usize, error: Error, others: bool, say: &mut dyn FnMut(&str)) {
        let why = format!("feed `{}` has ended: {error}", self.config.feeds[number].name);
        if others {
            say(&why);
        }
        self.failed.get_or_insert((why, error));
    }

    fn emit(&mut self, number: usize, say: &mut dyn FnMut(&str)) -> Result<()> {
        loop {
            let closed = self.feeds[number].reports()?;
            if closed.is_empty() {
                break;
            }
            let metrics = self.metrics.feed(number);
            for (reports, alerts) in closed {
                metrics.rows_out.add(reports.len() as u64);
                self.sinks.write(reports)?;
                if !alerts.is_empty() {
                    let begun = alerts.iter().filter(|alert| alert.ended.is_none()).count();
                    metrics.alerts.add(begun as u64);
                    alerts.iter().for_each(|alert| say(&alert.to_string()));
                    self.sinks.alert(alerts)?;
                }
            }
        }
        let given_up = self.feeds[number].give_up()?;
        if !given_up.is_empty() {
            self.metrics.feed(number).rows_out.add(given_up.len() as u64);
            self.sinks.write(given_up)?;
        }
        self.tell(number);
        Ok(())
    }

    /// Brings the numbers that others see up to date.
    fn tell(&mut self, number: usize) {
        let (feed, metrics) = (&mut self.feeds[number], self.metrics.feed(number));
        if let Some(reading) = self.readings.get(number) {
            let counters = &reading.counters;
            let dropped = counters.dropped_rows.load(Ordering::Relaxed);
            feed.counts.rows_in += dropped.saturating_sub(feed.dropped_since_start);
            feed.counts.dropped += dropped.saturating_sub(feed.dropped_since_start);
            feed.dropped_since_start = dropped;
            metrics.bytes.set(counters.bytes.load(Ordering::Relaxed));
            metrics.connections.set(counters.connections.load(Ordering::Relaxed));
            metrics.refused.set(counters.refused.load(Ordering::Relaxed));
            metrics
                .journal_failures
                .set(counters.journal_failures.load(Ordering::Relaxed));
            metrics.source_failures.set(counters.failures.load(Ordering::Relaxed));
        }
        let counts = feed.counts;
        metrics.rows_in.set(counts.rows_in);
        metrics.aggregated.set(counts.aggregated);
        metrics.filtered.set(counts.filtered);
        metrics.late.set(counts.late);
        metrics.quarantined.set(counts.quarantined);
        metrics.dropped.set(counts.dropped);
        metrics.open_windows.set(feed.open_cells() as u64);
        metrics.keys.set(feed.keys() as u64);
        if let Some(ns) = feed.watermark_ns() {
            metrics.watermark.set_ns(ns);
        }
    }

    /// Takes a checkpoint and has it made durable, unless the one before is still on its way.
    fn save(&mut self, say: &mut dyn FnMut(&str)) -> Result<()> {
        if self.saving.as_ref().is_none_or(Saving::is_busy) {
            return Ok(());
        }
        for number in 0..self.feeds.len() {
            self.reduce(number, say)?;
        }
        let mut checkpoint = Checkpoint {
            fingerprint: self.fingerprint.clone(),
            ..Checkpoint::default()
        };
        let mut reached = Vec::new();
        for (feed, reading) in self.feeds.iter_mut().zip(&self.readings) {
            if self.config.state.is_some() {
                let schema = reading.schema.get().map(stored_schema).transpose()?;
                let mut state = feed.state(schema)?;
                (state.paths, state.journal) = (reading.places.paths.clone(), reading.places.journal);
                checkpoint.feeds.push(state);
            }
            reached.push(Reached {
                positions: feed.positions(),
                shared: feed.places()?,
            });
        }
        for file in [&mut self.aside.late, &mut self.aside.quarantine].into_iter().flatten() {
            checkpoint.files.push((file.name(), file.checkpoint()?));
        }
        let answers = self.sinks.checkpoint()?;
        match &mut self.saving {
            Some(saving) => saving.save(checkpoint, answers, reached),
            None => Ok(()),
        }
    }

    /// What went on and should be known.
    fn troubles(&self) -> Vec<String> {
        let mut troubles: Vec<String> = self.feeds.iter().flat_map(Feed::troubles).collect();
        let aside = [&self.aside.late, &self.aside.quarantine];
        for file in aside.into_iter().flatten().filter(|file| file.left_out() > 0) {
            let (name, count) = (file.name(), file.left_out());
            troubles.push(format!(
                "{name} is full: {count} rows were counted and not kept (quarantine_size)"
            ));
        }
        troubles
    }

    /// The last checkpoint, the ends of the sinks, and what is left to say.
    fn finish(mut self, result: Result<()>, notes: Vec<String>) -> Result<Ended> {
        let saved = match &result {
            // Files are whole before their place is stored.
            Ok(()) => self.sinks.end().and_then(|()| self.checkpoint_now()),
            Err(_) => Ok(()),
        };
        let mut result = result;
        for file in [&mut self.aside.late, &mut self.aside.quarantine].into_iter().flatten() {
            let flushed = file.flush();
            result = result.and(flushed);
        }
        // Where a checkpoint failed because a sink did, the sink says why.
        let ended = self.sinks.finish();
        result.and(ended).and(saved)?;
        let names = self.config.feed_names().into_iter();
        Ok(Ended {
            feeds: names.zip(self.feeds.iter().map(|feed| feed.counts)).collect(),
            notes,
            failure: self.failed.map(|(_, error)| error),
        })
    }

    /// Takes a checkpoint and waits until it is durable.
    fn checkpoint_now(&mut self) -> Result<()> {
        if let Some(saving) = &mut self.saving {
            // If the one that is under way fails, this one says more.
            let _ = saving.wait(&self.readings, &self.metrics);
            self.save(&mut |_| {})?;
        }
        match &mut self.saving {
            Some(saving) => saving.wait(&self.readings, &self.metrics),
            None => Ok(()),
        }
    }
}
