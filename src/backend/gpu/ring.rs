//! The ring: one thread packs rows into mapped memory, another submits them and reads what comes back.
//!
//! While the device reduces submission k, the rows of k + 1 are packed into the memory of another stage, and the answer
//! of k − 1 is read. There are as many stages as the depth; whoever is ahead waits. Small works share a submission: it
//! leaves when it is large enough, when it has waited long enough, or when somebody waits for an answer.
//!
//! Nothing is lost with a device: works that it has are answered with an error, which makes the engine give them to the
//! CPU, and both threads end.

mod drive;
mod fill;

use super::Options;
use super::device::Device;
use super::load::Job;
use super::resident::{Copy, KeptPiece};
use super::stage::Stage;
use crate::error::{Error, Result};
use crate::summary::Summary;
use crossbeam::channel::{Receiver, Sender, bounded, unbounded};
use drive::Driving;
use fill::Packing;
use std::sync::Arc;
use std::thread::JoinHandle;

/// What the packer is asked for.
enum Order {
    /// Reduce this.
    Work(Arc<Job>),
    /// Put this on the device and leave it there.
    Keep(Arc<Job>, Sender<Result<Arc<Copy>>>),
    /// Reduce what is on the device.
    Again(Arc<Job>, Arc<Copy>),
    /// Somebody waits.
    Hurry,
}

/// What the packer hands on.
enum Submission {
    Run(Box<Stage>),
    Keep(Box<Stage>, Vec<KeptPiece>, Arc<Copy>),
    Kept(Arc<Copy>, Sender<Result<Arc<Copy>>>),
    Again(Arc<Job>, Arc<Copy>),
}

/// What comes back.
pub(super) enum Answer {
    /// The work will be answered in so many pieces.
    Begun { seq: u64, pieces: usize },
    /// One of them.
    Piece {
        seq: u64,
        block: usize,
        number: usize,
        summary: Summary,
    },
    /// This work cannot be done.
    Failed { seq: u64, why: String },
    /// No work can be done any more.
    Lost(String),
}

/// Both threads, seen from outside.
pub(super) struct Ring {
    orders: Option<Sender<Order>>,
    answers: Receiver<Answer>,
    threads: Vec<JoinHandle<()>>,
}

impl Ring {
    pub(super) fn start(device: Arc<Device>, options: &Options) -> Result<Self> {
        let (orders, ordered) = unbounded();
        let (submissions, submitted) = bounded(options.depth.max(1));
        let (release, free) = unbounded();
        let (answer, answers) = unbounded();
        let packing = Packing::new(&device, options, submissions, free, answer.clone());
        let driving = Driving::new(device, options, release, answer);
        let thread = |name: &str, run: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.into())
                .spawn(run)
                .map_err(|e| Error::Failed(format!("no thread for the GPU: {e}")))
        };
        let threads = vec![
            thread("millstream-pack", Box::new(move || packing.run(&ordered)))?,
            thread("millstream-gpu", Box::new(move || driving.run(&submitted)))?,
        ];
        Ok(Self {
            orders: Some(orders),
            answers,
            threads,
        })
    }

    fn order(&self, order: Order) -> Result<()> {
        let gone = || Error::Failed("the GPU has stopped".into());
        self.orders.as_ref().ok_or_else(gone)?.send(order).map_err(|_| gone())
    }

    pub(super) fn submit(&self, job: Arc<Job>) -> Result<()> {
        self.order(Order::Work(job))
    }

    pub(super) fn again(&self, job: Arc<Job>, copy: Arc<Copy>) -> Result<()> {
        self.order(Order::Again(job, copy))
    }

    pub(super) fn keep(&self, job: Arc<Job>) -> Result<Arc<Copy>> {
        let (reply, kept) = bounded(1);
        self.order(Order::Keep(job, reply))?;
        kept.recv().map_err(|_| Error::Failed("the GPU has stopped".into()))?
    }

    /// The next answer; waits for it.
    pub(super) fn answer(&self) -> Answer {
        if let Ok(answer) = self.answers.try_recv() {
            return answer;
        }
        // What waits for more works need not wait any longer.
        let hurried = self.order(Order::Hurry);
        match (hurried, self.answers.recv()) {
            (_, Ok(answer)) => answer,
            _ => Answer::Lost("the thread of the GPU has ended".into()),
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        drop(self.orders.take());
        for thread in self.threads.drain(..) {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}
