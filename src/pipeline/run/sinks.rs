//! The sinks of a run: each has a thread of its own, which takes reports in their order over a bounded channel.
//!
//! A sink that is slow fills its channel, and then everything before it waits. What is written is handed on (flushed)
//! as soon as nothing more waits, and while reports keep coming after some of them or a moment, whichever is first.

use super::going_on::engine_spec;
use super::{going_on, shares};
use crate::config::{Config, FeedConfig};
use crate::error::{Error, Result};
use crate::io::sink::{self, Feed, Health, Sink, SinkState};
use crate::metrics::Metrics;
use crate::report::{Alert, Emission};
use crossbeam::channel::{Receiver, SendTimeoutError, Sender, TryRecvError, bounded};
use fail::fail_point;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Pieces of reports that wait for a sink: enough that it never waits for the next, few enough to be little memory.
const WAITING: usize = 16;

/// Reports after which a sink hands on what it holds though more wait: what a transaction holds stays small.
const FLUSH_REPORTS: usize = 4096;

/// How long a sink holds back what it was given while more waits.
const FLUSH_WAIT: Duration = Duration::from_millis(100);

/// How often who waits for a sink looks what goes wrong with it.
const LOOK_WAIT: Duration = Duration::from_millis(100);

/// What a sink is told.
enum Order {
    Reports(Arc<[Emission]>),
    Alerts(Arc<[Alert]>),
    /// No report follows.
    End,
    Checkpoint(Sender<(String, SinkState)>),
}

/// One sink's thread.
struct Running {
    name: String,
    orders: Sender<Order>,
    thread: JoinHandle<Result<()>>,
    health: Health,
    /// What was said last of what goes wrong.
    trouble: Option<String>,
}

/// All sinks.
pub(super) struct Sinks {
    running: Vec<Running>,
    /// The first error of any.
    failed: Arc<Mutex<Option<Error>>>,
    metrics: Metrics,
}

impl Sinks {
    /// Opens them, where a checkpoint stands if there is one.
    pub(super) fn open(
        config: &Config,
        feeds: &[Feed],
        states: &[(String, Vec<u8>)],
        metrics: &Metrics,
    ) -> Result<Self> {
        let failed = Arc::new(Mutex::new(None));
        let mut opened = Vec::new();
        for options in &config.sinks {
            let name = options.name();
            let state = states.iter().find(|(of, _)| *of == name);
            let state = state.map(|(_, bytes)| SinkState(bytes.clone()));
            opened.push((name, sink::open(options, feeds, state.as_ref())?));
        }
        let mut running = Vec::new();
        for (name, sink) in opened {
            let (orders, queue) = bounded(WAITING);
            let health = sink.health();
            let failed = Arc::clone(&failed);
            let thread = std::thread::Builder::new()
                .name("millstream-sink".into())
                .spawn(move || {
                    let result = serve(sink, &queue);
                    if let Err(error) = result {
                        let mut first = failed.lock().unwrap_or_else(PoisonError::into_inner);
                        first.get_or_insert(error);
                        drop(first);
                        // What a channel holds outlives its reader: somebody may wait for an answer in it.
                        queue.iter().for_each(drop);
                    }
                    Ok(())
                })
                .map_err(|e| Error::Failed(format!("{name}: no thread to write it: {e}")))?;
            running.push(Running {
                name,
                orders,
                thread,
                health,
                trouble: None,
            });
        }
        let metrics = metrics.clone();
        Ok(Self {
            running,
            failed,
            metrics,
        })
    }

    /// Why a sink gave up, if one did.
    pub(super) fn check(&self) -> Result<()> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.take().map_or(Ok(()), Err)
    }

    /// What goes wrong with one of them, and is tried again; what is new of that is said.
    pub(super) fn hear(&mut self, say: &mut dyn FnMut(&str)) -> Option<String> {
        let mut first = None;
        for sink in &mut self.running {
            let failure = sink.health.failure().map(|why| format!("{}: {why}", sink.name));
            match (&sink.trouble, &failure) {
                (None, Some(why)) => say(&format!("{why}; it is tried again for a while")),
                (Some(_), None) => say(&format!("{}: goes on", sink.name)),
                _ => {}
            }
            sink.trouble.clone_from(&failure);
            first = first.or(failure);
        }
        first
    }

    fn order(&self, order: impl Fn() -> Order) -> Result<()> {
        for sink in &self.running {
            let mut waiting = order();
            loop {
                waiting = match sink.orders.send_timeout(waiting, LOOK_WAIT) {
                    Ok(()) => break,
                    // Who waits here looks at nothing else meanwhile, and those who watch the run are to know why.
                    Err(SendTimeoutError::Timeout(order)) => {
                        if let Some(why) = sink.health.failure() {
                            self.metrics.set_failure(Some(&format!("{}: {why}", sink.name)));
                        }
                        order
                    }
                    Err(SendTimeoutError::Disconnected(_)) => {
                        self.check()?;
                        return Err(Error::Failed(format!("{}: its thread has stopped", sink.name)));
                    }
                };
            }
        }
        Ok(())
    }

    pub(super) fn write(&self, reports: Vec<Emission>) -> Result<()> {
        let reports: Arc<[Emission]> = reports.into();
        self.order(|| Order::Reports(Arc::clone(&reports)))
    }

    pub(super) fn alert(&self, alerts: Vec<Alert>) -> Result<()> {
        let alerts: Arc<[Alert]> = alerts.into();
        self.order(|| Order::Alerts(Arc::clone(&alerts)))
    }

    /// Has every sink make durable what it was given so far; one answer each comes.
    pub(super) fn checkpoint(&self) -> Result<(usize, Receiver<(String, SinkState)>)> {
        let (sender, answers) = bounded(self.running.len().max(1));
        self.order(|| Order::Checkpoint(sender.clone()))?;
        Ok((self.running.len(), answers))
    }

    /// Tells every sink that no report follows.
    pub(super) fn end(&self) -> Result<()> {
        self.order(|| Order::End)
    }

    /// Ends them: everything durable.
    pub(super) fn finish(self) -> Result<()> {
        let Self { running, failed, .. } = self;
        let mut first = None;
        for sink in running {
            drop(sink.orders);
            match sink.thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => first = first.or(Some(error)),
                Err(_) => first = first.or(Some(Error::Failed(format!("{}: it failed unexpectedly", sink.name)))),
            }
        }
        let failed = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        failed.or(first).map_or(Ok(()), Err)
    }
}

/// What sinks are told of the feeds.
pub(super) fn feeds(config: &Config) -> Result<Vec<Feed>> {
    let mut spec = engine_spec(config, &going_on::rules(config)?);
    spec.keys = shares::reported_keys(config);
    let feed = |feed: &FeedConfig| Feed {
        name: feed.name.as_str().into(),
        spec: spec.clone(),
        ewm: config.spec.ewm_half_life_ns.is_some(),
    };
    Ok(config.feeds.iter().map(feed).collect())
}

fn serve(mut sink: Box<dyn Sink>, orders: &Receiver<Order>) -> Result<()> {
    // Since when something is held back, and how many reports are.
    let mut held: Option<(Instant, usize)> = None;
    loop {
        if held.is_some_and(|(since, reports)| reports >= FLUSH_REPORTS || since.elapsed() >= FLUSH_WAIT) {
            held = None;
            sink.flush()?;
        }
        let order = match orders.try_recv() {
            Ok(order) => order,
            Err(TryRecvError::Disconnected) => return sink.finish(),
            Err(TryRecvError::Empty) => {
                if held.take().is_some() {
                    sink.flush()?;
                }
                match orders.recv() {
                    Ok(order) => order,
                    Err(_) => return sink.finish(),
                }
            }
        };
        let taken = Instant::now();
        match order {
            Order::Reports(reports) => {
                fail_point!("sink-before-write", |_| std::process::abort());
                sink.write(&reports)?;
                fail_point!("sink-after-write", |_| std::process::abort());
                held.get_or_insert((taken, 0)).1 += reports.len();
            }
            Order::Alerts(alerts) => {
                alerts.iter().try_for_each(|alert| sink.alert(alert))?;
                held.get_or_insert((taken, 0)).1 += alerts.len();
            }
            Order::End => sink.end()?,
            Order::Checkpoint(answer) => {
                let state = sink.checkpoint()?;
                held = None;
                // Nobody waits any more if this fails, as the run has ended.
                let _ = answer.send((sink.name().to_owned(), state));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Group, Named};
    use crate::summary::Summary;
    use crossbeam::channel::unbounded;

    /// Counts what it is told; each write lasts as long as it says.
    struct Counting {
        flushes: Arc<Mutex<Vec<usize>>>,
        written: usize,
        lasts: Duration,
    }

    impl Sink for Counting {
        fn name(&self) -> &str {
            "counting"
        }

        fn write(&mut self, reports: &[Emission]) -> Result<()> {
            let begun = Instant::now();
            while begun.elapsed() < self.lasts {
                std::thread::yield_now();
            }
            self.written += reports.len();
            Ok(())
        }

        fn alert(&mut self, _: &Alert) -> Result<()> {
            Ok(())
        }

        fn flush(&mut self) -> Result<()> {
            self.flushes.lock().unwrap().push(std::mem::take(&mut self.written));
            Ok(())
        }

        fn checkpoint(&mut self) -> Result<SinkState> {
            Ok(SinkState::default())
        }

        fn finish(self: Box<Self>) -> Result<()> {
            Ok(())
        }
    }

    /// How many reports each flush handed on, where these pieces of so many reports wait from the beginning.
    fn flushes(pieces: usize, reports: usize, lasts: Duration) -> Vec<usize> {
        let group = Group {
            window: None,
            key: None,
            rows: 0,
            columns: Named::new(Vec::new().into(), Vec::new()),
            covariance: None,
            correlation: None,
            differences: None,
            regression: None,
            fit: None,
            ewm_covariance: None,
        };
        let report = Emission::new("main".into(), group, Summary::default());
        let reports: Arc<[Emission]> = vec![report; reports].into();
        let (orders, queue) = unbounded();
        for _ in 0..pieces {
            orders.send(Order::Reports(Arc::clone(&reports))).unwrap();
        }
        drop(orders);
        let told = Arc::new(Mutex::new(Vec::new()));
        let sink = Counting {
            flushes: Arc::clone(&told),
            written: 0,
            lasts,
        };
        serve(Box::new(sink), &queue).unwrap();
        told.lock().unwrap().clone()
    }

    #[test]
    fn what_is_held_back_is_bounded_though_reports_keep_coming() {
        let bounded = flushes(9, FLUSH_REPORTS / 2, Duration::ZERO);
        assert!(
            bounded.len() >= 4 && bounded.iter().all(|n| *n <= FLUSH_REPORTS),
            "{bounded:?}"
        );
        // Few reports, but slowly.
        let slow = flushes(3, 1, FLUSH_WAIT + Duration::from_millis(1));
        assert_eq!(slow, [1, 1, 1]);
    }
}
