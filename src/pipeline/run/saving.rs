//! Making checkpoints durable beside the run: a thread waits for the sinks, writes the file, and says when it is there.

use super::sources::{Reached, Reading};
use crate::checkpoint::{Checkpoint, Store};
use crate::error::{Error, Result};
use crate::io::sink::SinkState;
use crate::metrics::Metrics;
use crossbeam::channel::{Receiver, Sender, TryRecvError, bounded};
use std::time::{Duration, Instant};

/// What sinks answer: how many will, and where.
pub(super) type Answers = (usize, Receiver<(String, SinkState)>);

struct Order {
    checkpoint: Checkpoint,
    answers: Answers,
    taken: Instant,
}

/// The thread that saves; without a store it waits for the sinks alone, and the sources are told then.
pub(super) struct Saving {
    orders: Sender<Order>,
    done: Receiver<Result<Duration>>,
    busy: bool,
    /// By feed: how far the checkpoint under way is, and the newest that is durable. Sources may forget what is before
    /// the one that is durable beside it, as that may be the one to go on from.
    next: Vec<Reached>,
    newest: Vec<Reached>,
    /// Whether the sources keep their places themselves: no file is written then.
    is_elsewhere: bool,
    /// Why the last could not be taken.
    failure: Option<String>,
}

impl Saving {
    pub(super) fn new(mut store: Option<Store>) -> Self {
        let is_elsewhere = store.is_none();
        let (orders, queue) = bounded::<Order>(1);
        let (answer, done) = bounded(1);
        let serve = move || {
            for order in queue {
                let result = write(store.as_mut(), order);
                if answer.send(result).is_err() {
                    return;
                }
            }
        };
        // Where there is no thread left, the first order finds nobody.
        let _ = std::thread::Builder::new()
            .name("millstream-checkpoint".into())
            .spawn(serve);
        Self {
            orders,
            done,
            busy: false,
            next: Vec::new(),
            newest: Vec::new(),
            is_elsewhere,
            failure: None,
        }
    }

    /// Why the last could not be taken; nothing where it was.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.clone()
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    pub(super) fn save(&mut self, checkpoint: Checkpoint, answers: Answers, reached: Vec<Reached>) -> Result<()> {
        let order = Order {
            checkpoint,
            answers,
            taken: Instant::now(),
        };
        self.orders
            .send(order)
            .map_err(|_| Error::Failed("the thread that writes checkpoints has stopped".into()))?;
        (self.busy, self.next) = (true, reached);
        Ok(())
    }

    /// Looks whether the one under way is durable.
    pub(super) fn settle(&mut self, readings: &[Reading], metrics: &Metrics, say: &mut dyn FnMut(&str)) -> Result<()> {
        if !self.busy {
            return Ok(());
        }
        match self.done.try_recv() {
            Ok(Ok(took)) => self.is_durable(took, readings, metrics),
            Ok(Err(error)) => {
                // Rows go on: the one before is still there, and the next is tried in its time.
                self.busy = false;
                metrics.checkpoint_failed();
                let why = format!("a checkpoint could not be taken: {error}");
                say(&why);
                self.failure = Some(why);
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Err(stopped()),
        }
        Ok(())
    }

    /// Waits for the one under way.
    pub(super) fn wait(&mut self, readings: &[Reading], metrics: &Metrics) -> Result<()> {
        if self.busy {
            // Whatever it came to, it is no longer under way, and nobody waits for it again.
            self.busy = false;
            let took = self.done.recv().map_err(|_| stopped())??;
            self.is_durable(took, readings, metrics);
        }
        Ok(())
    }

    fn is_durable(&mut self, took: Duration, readings: &[Reading], metrics: &Metrics) {
        self.busy = false;
        self.failure = None;
        metrics.checkpoint_taken(took);
        let next = std::mem::take(&mut self.next);
        let settled = match self.is_elsewhere {
            true => next,
            false => std::mem::replace(&mut self.newest, next),
        };
        for (reading, reached) in readings.iter().zip(settled) {
            reading.commit(reached);
        }
    }
}

fn stopped() -> Error {
    Error::Failed("the thread that writes checkpoints has stopped".into())
}

fn write(store: Option<&mut Store>, order: Order) -> Result<Duration> {
    let Order {
        mut checkpoint,
        answers: (count, answers),
        taken,
    } = order;
    for _ in 0..count {
        let (name, state) = answers
            .recv()
            .map_err(|_| Error::Failed("a sink gave up before the checkpoint".into()))?;
        checkpoint.sinks.push((name, state.0));
    }
    store.map_or(Ok(()), |store| store.save(&checkpoint))?;
    Ok(taken.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// A checkpoint that fails is waited for once: whoever waits again waits for nothing.
    #[test]
    fn a_checkpoint_that_failed_is_no_longer_under_way() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("state");
        let mut saving = Saving::new(Some(Store::open(&directory).unwrap()));
        std::fs::remove_dir_all(&directory).unwrap();
        let (_, nobody) = bounded(1);
        saving.save(Checkpoint::default(), (0, nobody), Vec::new()).unwrap();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let metrics = Metrics::new(&["main"]);
            let first = saving.wait(&[], &metrics).is_err();
            let _ = tell.send((first, saving.is_busy(), saving.wait(&[], &metrics).is_ok()));
        });
        assert_eq!(told.recv_timeout(Duration::from_secs(60)), Ok((true, false, true)));
    }
}
