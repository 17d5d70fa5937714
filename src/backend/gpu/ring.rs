//! The ring: one thread packs rows into mapped memory, another submits them and reads what comes back.
//!
//! While the device reduces submission k, the rows of k + 1 are packed into the memory of another stage, and the answer
//! of k − 1 is read. There are as many stages as the depth; whoever is ahead waits. Small works share a submission: it
//! leaves when it is large enough, when it has waited long enough, or when somebody waits for an answer.
//!
//! Nothing is lost with a device: works that it has are answered with an error, which makes the engine give them to the
//! CPU, and both threads end. A panic in either thread is caught and ends both; Rust's panic hook has then written a
//! line to standard error, as wgpu panics where it waits for a device and finds it lost, and the hook is the program's.
//! A driver that does not come back from a call keeps its thread: whoever waits for an answer leaves both threads, with
//! all that they hold, to themselves.

mod drive;
mod fill;

use super::Options;
use super::device::Device;
use super::load::Job;
use super::resident::{Copy, KeptPiece};
use super::stage::Stage;
use crate::error::{Error, Result};
use crate::summary::Summary;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use drive::Driving;
use fill::Packing;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

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
    /// The work has no rows.
    Empty { seq: u64 },
    /// A piece of it, and how many there are.
    Piece {
        seq: u64,
        block: usize,
        number: usize,
        of: usize,
        summary: Summary,
    },
    /// This work cannot be done.
    Failed { seq: u64, why: String },
    /// No work can be done any more.
    Lost(String),
}

/// The threads have ended, or hang.
#[derive(Debug)]
pub(super) struct Stopped;

/// What both threads and whoever waits for them know.
struct State {
    start: Instant,
    /// Nobody waits for answers any more.
    closing: AtomicBool,
    packing: Busy,
    driving: Busy,
}

impl State {
    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    fn is_stuck(&self, timeout: Duration) -> bool {
        [&self.packing, &self.driving]
            .iter()
            .any(|busy| busy.is_since_before(self.start, timeout))
    }
}

/// Since when a thread is with the driver, in nanoseconds; 0 while it is not.
#[derive(Default)]
struct Busy(AtomicU64);

impl Busy {
    fn begin(&self, start: Instant) {
        self.0.store(start.elapsed().as_nanos() as u64 + 1, Ordering::Relaxed);
    }

    fn end(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn is_since_before(&self, start: Instant, timeout: Duration) -> bool {
        let since = self.0.load(Ordering::Relaxed);
        since > 0 && start.elapsed().saturating_sub(Duration::from_nanos(since)) > timeout
    }
}

/// Threads that are to end are given so long before they are left to themselves.
const FAREWELL: Duration = Duration::from_secs(1);

/// Both threads, seen from outside.
pub(super) struct Ring {
    orders: Option<Sender<Order>>,
    answers: Receiver<Answer>,
    threads: Vec<JoinHandle<()>>,
    /// Closed when both threads have ended.
    ended: Receiver<Infallible>,
    state: Arc<State>,
    timeout: Duration,
}

impl Ring {
    pub(super) fn start(device: Arc<Device>, options: &Options) -> Result<Self> {
        let depth = options.depth.max(1);
        let state = Arc::new(State {
            start: Instant::now(),
            closing: AtomicBool::new(false),
            packing: Busy::default(),
            driving: Busy::default(),
        });
        let (orders, ordered) = unbounded();
        // Neither of them allocates while it runs, nor does it ever hold more than there are stages.
        let (submissions, submitted) = bounded(depth);
        let (release, free) = bounded(depth);
        let (answer, answers) = unbounded();
        let (end, ended) = bounded(0);
        let packing = Packing::new(&device, options, &state, submissions, free, answer.clone());
        let driving = Driving::new(device, options, &state, release, answer);
        let thread = |name: &str, run: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.into())
                .spawn(run)
                .map_err(|e| Error::Failed(format!("no thread for the GPU: {e}")))
        };
        let (pack_end, drive_end) = (end.clone(), end);
        let pack = move || {
            packing.run(ordered);
            drop(pack_end);
        };
        let drive = move || {
            driving.run(submitted);
            drop(drive_end);
        };
        let threads = vec![
            thread("millstream-pack", Box::new(pack))?,
            thread("millstream-gpu", Box::new(drive))?,
        ];
        Ok(Self {
            orders: Some(orders),
            answers,
            threads,
            ended,
            state,
            timeout: options.timeout,
        })
    }

    fn order(&self, order: Order) -> Result<(), Stopped> {
        self.orders.as_ref().ok_or(Stopped)?.send(order).map_err(|_| Stopped)
    }

    pub(super) fn submit(&self, job: Arc<Job>) -> Result<(), Stopped> {
        self.order(Order::Work(job))
    }

    pub(super) fn again(&self, job: Arc<Job>, copy: Arc<Copy>) -> Result<(), Stopped> {
        self.order(Order::Again(job, copy))
    }

    pub(super) fn keep(&self, job: Arc<Job>) -> Result<Result<Arc<Copy>>, Stopped> {
        let (reply, kept) = bounded(1);
        self.order(Order::Keep(job, reply))?;
        self.wait(&kept)
    }

    /// What comes next; nothing if it will not, as the threads have ended or are with a driver that hangs.
    fn wait<T>(&self, from: &Receiver<T>) -> Result<T, Stopped> {
        loop {
            match from.recv_timeout(self.timeout) {
                Ok(next) => return Ok(next),
                Err(RecvTimeoutError::Disconnected) => return Err(Stopped),
                Err(RecvTimeoutError::Timeout) if self.state.is_stuck(self.timeout) => return Err(Stopped),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// The next answer, if it is there.
    pub(super) fn answered(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }

    /// The next answer; waits for it.
    pub(super) fn answer(&self) -> Answer {
        if let Some(answer) = self.answered() {
            return answer;
        }
        // What waits for more works need not wait any longer. Even a packer that has ended may have left answers.
        let _ = self.order(Order::Hurry);
        let stopped = |_| Answer::Lost(format!("the GPU has not answered for {} s", self.timeout.as_secs_f64()));
        self.wait(&self.answers).unwrap_or_else(stopped)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.state.closing.store(true, Ordering::Release);
        drop(self.orders.take());
        if self.ended.recv_timeout(FAREWELL) == Err(RecvTimeoutError::Disconnected) {
            for thread in self.threads.drain(..) {
                // One that panicked has said so.
                let _ = thread.join();
            }
        }
    }
}
