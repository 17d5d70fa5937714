//! The sinks of a run: each has a thread of its own, which takes reports in their order over a bounded channel.
//!
//! A sink that is slow fills its channel, and then everything before it waits. What is written is handed on (flushed)
//! as soon as nothing more waits.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::io::sink::{self, Feed, Sink, SinkState};
use crate::report::{Alert, Emission};
use crossbeam::channel::{Receiver, Sender, TryRecvError, bounded};
use fail::fail_point;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Pieces of reports that wait for a sink: enough that it never waits for the next, few enough to be little memory.
const WAITING: usize = 16;

/// What a sink is told.
enum Order {
    Reports(Arc<[Emission]>),
    Alerts(Arc<[Alert]>),
    Checkpoint(Sender<(String, SinkState)>),
}

/// One sink's thread.
struct Running {
    name: String,
    orders: Sender<Order>,
    thread: JoinHandle<Result<()>>,
}

/// All sinks.
pub(super) struct Sinks {
    running: Vec<Running>,
    /// The first error of any.
    failed: Arc<Mutex<Option<Error>>>,
}

impl Sinks {
    /// Opens them, where a checkpoint stands if there is one.
    pub(super) fn open(config: &Config, feeds: &[Feed], states: &[(String, Vec<u8>)]) -> Result<Self> {
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
            running.push(Running { name, orders, thread });
        }
        Ok(Self { running, failed })
    }

    /// Why a sink gave up, if one did.
    pub(super) fn check(&self) -> Result<()> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.take().map_or(Ok(()), Err)
    }

    fn order(&self, order: impl Fn() -> Order) -> Result<()> {
        for sink in &self.running {
            if sink.orders.send(order()).is_err() {
                self.check()?;
                return Err(Error::Failed(format!("{}: its thread has stopped", sink.name)));
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

    /// Ends them: everything durable.
    pub(super) fn finish(self) -> Result<()> {
        let Self { running, failed } = self;
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

fn serve(mut sink: Box<dyn Sink>, orders: &Receiver<Order>) -> Result<()> {
    let mut unflushed = false;
    loop {
        let order = match orders.try_recv() {
            Ok(order) => order,
            Err(TryRecvError::Disconnected) => return sink.finish(),
            Err(TryRecvError::Empty) => {
                if std::mem::take(&mut unflushed) {
                    sink.flush()?;
                }
                match orders.recv() {
                    Ok(order) => order,
                    Err(_) => return sink.finish(),
                }
            }
        };
        match order {
            Order::Reports(reports) => {
                fail_point!("sink-before-write", |_| std::process::abort());
                sink.write(&reports)?;
                fail_point!("sink-after-write", |_| std::process::abort());
                unflushed = true;
            }
            Order::Alerts(alerts) => {
                alerts.iter().try_for_each(|alert| sink.alert(alert))?;
                unflushed = true;
            }
            Order::Checkpoint(answer) => {
                let state = sink.checkpoint()?;
                unflushed = false;
                // Nobody waits any more if this fails, as the run has ended.
                let _ = answer.send((sink.name().to_owned(), state));
            }
        }
    }
}
