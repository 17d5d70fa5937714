//! The thread that packs: works become pieces, pieces fill stages, full stages go to the device.

use super::super::device::Device;
use super::super::load::{Job, Mode, needs};
use super::super::pack::{Packer, Target};
use super::super::resident::Copy;
use super::super::stage::{Sizes, Stage};
use super::super::{Options, WORKGROUPS_MAX};
use super::{Answer, Order, Submission};
use crate::error::{Error, Result};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A submission of so many bytes leaves at once: sending it takes longer than submitting it.
const ENOUGH_BYTES: u64 = 1 << 20;
/// A submission waits so long for more works.
const PATIENCE: Duration = Duration::from_millis(1);
/// Data of a piece at most: larger blocks go in pieces, so that packing and reducing overlap.
const PIECE_BYTES_MAX: u64 = 64 << 20;
/// Rows of a piece at most where differences are formed: 2048 a lane, one after another.
const DIFFERENCES_ROWS_MAX: usize = 1 << 19;
/// Rows of a piece at least.
const PIECE_ROWS_MIN: usize = 64;

/// The stage that is being packed.
struct Open {
    stage: Box<Stage>,
    memory: wgpu::BufferViewMut,
    since: Instant,
}

/// The thread that packs.
pub(super) struct Packing {
    device: Arc<Device>,
    options: Options,
    packer: Packer,
    submissions: Sender<Submission>,
    free: Receiver<Box<Stage>>,
    answers: Sender<Answer>,
    stages: usize,
    open: Option<Open>,
}

/// The other thread has ended.
struct Stopped;

impl Packing {
    pub(super) fn new(
        device: &Arc<Device>,
        options: &Options,
        submissions: Sender<Submission>,
        free: Receiver<Box<Stage>>,
        answers: Sender<Answer>,
    ) -> Self {
        Self {
            device: device.clone(),
            options: options.clone(),
            packer: Packer::new(device.adapter.probe.as_ref().is_some_and(|probe| probe.division)),
            submissions,
            free,
            answers,
            stages: 0,
            open: None,
        }
    }

    pub(super) fn run(mut self, orders: &Receiver<Order>) {
        loop {
            let order = match &self.open {
                None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(open) => orders.recv_deadline(open.since + PATIENCE),
            };
            let done = match order {
                Ok(Order::Work(job)) => self.work(&job),
                Ok(Order::Keep(job, reply)) => self.keep(&job, reply),
                Ok(Order::Again(job, copy)) => self.again(job, copy),
                Ok(Order::Hurry) | Err(RecvTimeoutError::Timeout) => self.flush(),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if done.is_err() {
                break;
            }
        }
    }

    fn send(&self, submission: Submission) -> Result<(), Stopped> {
        self.submissions.send(submission).map_err(|_| Stopped)
    }

    fn answer(&self, answer: Answer) -> Result<(), Stopped> {
        self.answers.send(answer).map_err(|_| Stopped)
    }

    /// The pieces of a job: block and rows.
    fn pieces(&self, job: &Job, mode: Mode) -> Vec<(usize, Range<usize>)> {
        let work = &job.work;
        let longest = work.cells.blocks.iter().map(|b| b.rows.len()).max().unwrap_or(0);
        let limit = self.device.adapter.binding_bytes_max.min(PIECE_BYTES_MAX);
        let most = piece_rows(longest, |rows| needs(work, mode, self.options.precision, rows), limit);
        let most = if work.shape.differences {
            most.min(DIFFERENCES_ROWS_MAX)
        } else {
            most
        };
        let mut pieces = Vec::with_capacity(work.cells.blocks.len());
        for (k, block) in work.cells.blocks.iter().enumerate() {
            let starts = block.rows.clone().step_by(most);
            pieces.extend(starts.map(|start| (k, start..block.rows.end.min(start + most))));
        }
        pieces
    }

    fn work(&mut self, job: &Arc<Job>) -> Result<(), Stopped> {
        let mode = Mode::of(&job.work, self.options.precision);
        let pieces = self.pieces(job, mode);
        let seq = job.seq;
        self.answer(Answer::Begun {
            seq,
            pieces: pieces.len(),
        })?;
        for (number, (block, rows)) in pieces.into_iter().enumerate() {
            match self.piece(job, mode, number, block, rows, true)? {
                Ok(()) => {}
                Err(why) => {
                    return self.answer(Answer::Failed {
                        seq,
                        why: why.to_string(),
                    });
                }
            }
            if self
                .open
                .as_ref()
                .is_some_and(|o| o.stage.load.sizes.data >= ENOUGH_BYTES)
            {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Packs a piece into the open stage, or into the next one if it does not fit.
    fn piece(
        &mut self,
        job: &Arc<Job>,
        mode: Mode,
        number: usize,
        block: usize,
        rows: Range<usize>,
        recycled: bool,
    ) -> Result<Result<()>, Stopped> {
        let need = needs(&job.work, mode, self.options.precision, rows.len());
        if let Some(open) = &self.open {
            let load = &open.stage.load;
            let same = load.mode.is_none_or(|own| own == mode);
            if !(same && load.sizes.plus(need).fits(open.stage.room)) {
                if !recycled {
                    return Ok(Err(Error::Limit("rows to keep do not fit".into())));
                }
                self.flush()?;
            }
        }
        if self.open.is_none() {
            match self.stage(need) {
                Ok(open) => self.open = Some(open),
                Err(Failure::Stopped) => return Err(Stopped),
                Err(Failure::Error(e)) => return Ok(Err(e)),
            }
        }
        if let Some(open) = &mut self.open {
            let mut target = Target {
                load: &mut open.stage.load,
                at: &open.stage.at,
                memory: &mut open.memory,
            };
            self.packer.pack(&mut target, job, number, block, rows);
        }
        Ok(Ok(()))
    }

    /// A stage with this much room: one that has come back, or a new one.
    fn stage(&mut self, need: Sizes) -> Result<Open, Failure> {
        let stage = match self.free.try_recv() {
            Ok(stage) => Some(stage),
            Err(_) if self.stages < self.options.depth => None,
            Err(_) => Some(self.free.recv().map_err(|_| Failure::Stopped)?),
        };
        let room = match &stage {
            Some(stage) if need.fits(stage.room) => stage.room,
            Some(stage) => stage.room.max(roomy(need, self.limit())),
            None => roomy(need, self.limit()),
        };
        let stage = match stage {
            Some(stage) if stage.room == room => stage,
            other => {
                // The new one first takes the place of the old one.
                self.stages -= usize::from(other.is_some());
                drop(other);
                let mut stage = Box::new(Stage::new(&self.device, room).map_err(Failure::Error)?);
                self.prepare(&mut stage);
                self.stages += 1;
                stage
            }
        };
        let memory = stage.memory().map_err(Failure::Error)?;
        Ok(Open {
            stage,
            memory,
            since: Instant::now(),
        })
    }

    /// A new stage is told what does not change.
    fn prepare(&self, stage: &mut Stage) {
        stage.load.precision = self.options.precision;
        stage.load.workgroups_max = self.options.workgroups_max.clamp(1, WORKGROUPS_MAX);
    }

    fn limit(&self) -> u64 {
        self.device.adapter.binding_bytes_max
    }

    /// Hands the open stage on.
    fn flush(&mut self) -> Result<(), Stopped> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let stage = closed(open);
        self.send(Submission::Run(stage))
    }

    fn again(&mut self, job: Arc<Job>, copy: Arc<Copy>) -> Result<(), Stopped> {
        self.flush()?;
        self.answer(Answer::Begun {
            seq: job.seq,
            pieces: copy.pieces(),
        })?;
        self.send(Submission::Again(job, copy))
    }

    /// Packs a job into stages of its own, which stay on the device.
    fn keep(&mut self, job: &Arc<Job>, reply: Sender<Result<Arc<Copy>>>) -> Result<(), Stopped> {
        self.flush()?;
        let precision = self.options.precision;
        let mode = Mode::of(&job.work, precision);
        let copy = Arc::new(Copy::new(&self.device, job.work.shape.clone()));
        let mut pieces = self.pieces(job, mode).into_iter().enumerate().peekable();
        while pieces.peek().is_some() {
            // As many pieces as one stage may hold.
            let (mut need, mut some) = (Sizes::default(), Vec::new());
            while let Some((number, (block, rows))) = pieces.peek().cloned() {
                let more = need.plus(needs(&job.work, mode, precision, rows.len()));
                if !some.is_empty() && !more.fits(Sizes::all(self.limit().min(4 * PIECE_BYTES_MAX))) {
                    break;
                }
                need = more;
                some.push((number, block, rows));
                pieces.next();
            }
            let opened = Stage::new(&self.device, need.max(Sizes::all(256))).and_then(|mut stage| {
                self.prepare(&mut stage);
                let memory = stage.memory()?;
                Ok(Open {
                    stage: Box::new(stage),
                    memory,
                    since: Instant::now(),
                })
            });
            let packed = match opened {
                Ok(open) => {
                    self.open = Some(open);
                    let mut packed = Ok(());
                    for (number, block, rows) in some {
                        if packed.is_ok() {
                            packed = self.piece(job, mode, number, block, rows, false)?;
                        }
                    }
                    packed
                }
                Err(e) => Err(e),
            };
            match (packed, self.open.take()) {
                (Ok(()), Some(open)) => self.send(Submission::Keep(closed(open), copy.clone()))?,
                (Err(e), _) => {
                    // Nobody waiting for it is nobody's loss.
                    let _ = reply.send(Err(e));
                    return Ok(());
                }
                (Ok(()), None) => {}
            }
        }
        self.send(Submission::Kept(copy, reply))
    }
}

enum Failure {
    Stopped,
    Error(Error),
}

fn closed(open: Open) -> Box<Stage> {
    let Open { stage, mut memory, .. } = open;
    stage.load.write(&stage.at, &mut memory);
    stage
}

/// Room for this, and for as many more of its kind as make a submission of a good size.
fn roomy(need: Sizes, limit: u64) -> Sizes {
    let times = (2 * ENOUGH_BYTES / need.data.max(1)).clamp(1, 1024);
    need.times(times).rounded(limit)
}

/// As many rows as stay within the limit, a power of two fewer each time.
fn piece_rows(longest: usize, needs: impl Fn(usize) -> Sizes, limit: u64) -> usize {
    let mut rows = longest.max(PIECE_ROWS_MIN);
    while rows > PIECE_ROWS_MIN && !needs(rows).fits(Sizes::all(limit)) {
        rows = (rows / 2).next_multiple_of(PIECE_ROWS_MIN);
    }
    rows
}
