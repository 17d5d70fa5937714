//! The thread that packs: works become pieces, pieces fill stages, full stages go to the device.

use super::super::device::Device;
use super::super::load::{Job, Mode, multiply_adds, needs};
use super::super::pack::{Packer, Target};
use super::super::resident::{Copy, KeptPiece};
use super::super::stage::{Sizes, Stage, bytes_of};
use super::super::{Moment, Options};
use super::{Answer, Order, State, Stopped, Submission};
use crate::error::{Error, Result};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

/// A submission of so many bytes leaves at once: sending it takes longer than submitting it.
const ENOUGH_BYTES: u64 = 1 << 20;
/// Room is made for works that have not come yet up to so many bytes of a section.
const SECTION_BYTES: u64 = 16 << 20;
/// Data of a piece at most: larger blocks go in pieces, so that packing and reducing overlap.
const PIECE_BYTES_MAX: u64 = 64 << 20;
/// Data that stays on the device is in buffers of so many bytes at most.
const CHUNK_BYTES_MAX: u64 = 256 << 20;
/// Rows of a piece at most where differences are formed: 2048 a lane, one after another.
const DIFFERENCES_ROWS_MAX: usize = 1 << 19;
/// Rows of a piece at least.
const PIECE_ROWS_MIN: usize = 64;

/// The stage that is being packed.
struct Open {
    stage: Box<Stage>,
    since: Instant,
}

/// The thread that packs.
pub(super) struct Packing {
    device: Arc<Device>,
    options: Options,
    state: Arc<State>,
    packer: Packer,
    submissions: Sender<Submission>,
    free: Receiver<Box<Stage>>,
    answers: Sender<Answer>,
    /// Those that it has made for the ring, and how many there may be.
    stages: usize,
    stages_max: usize,
    open: Option<Open>,
}

impl Packing {
    pub(super) fn new(
        device: &Arc<Device>,
        options: &Options,
        state: &Arc<State>,
        submissions: Sender<Submission>,
        free: Receiver<Box<Stage>>,
        answers: Sender<Answer>,
    ) -> Self {
        Self {
            device: device.clone(),
            options: options.clone(),
            state: state.clone(),
            packer: Packer::new(device.adapter.probe.as_ref().is_some_and(|probe| probe.division)),
            submissions,
            free,
            answers,
            stages: 0,
            stages_max: options.depth.max(1),
            open: None,
        }
    }

    pub(super) fn run(mut self, orders: Receiver<Order>) {
        if catch_unwind(AssertUnwindSafe(|| self.serve(&orders))).is_err() {
            self.device.give_up("packing rows for the GPU failed");
        }
    }

    fn serve(&mut self, orders: &Receiver<Order>) {
        while !self.state.is_closing() {
            let order = match &self.open {
                None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(open) => match open.since.checked_add(self.options.patience) {
                    Some(end) => orders.recv_deadline(end),
                    None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
                },
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

    /// After a failure: not every one of them is a loss.
    fn alive(&self) -> Result<(), Stopped> {
        if self.device.is_lost() { Err(Stopped) } else { Ok(()) }
    }

    /// Rows of a piece of this job at most.
    fn rows_max(&self, job: &Job, mode: Mode) -> usize {
        let work = &job.work;
        let longest = work.cells.blocks.iter().map(|b| b.rows.len()).max().unwrap_or(0);
        let limit = self.limit().min(PIECE_BYTES_MAX);
        let precision = self.options.precision;
        let steps = self.device.multiply_adds_max();
        let fits = |rows| {
            needs(work, mode, precision, rows).fits(Sizes::all(limit))
                && multiply_adds(work, mode, precision, rows) <= steps
        };
        let most = piece_rows(longest, fits);
        if work.shape.differences {
            most.min(DIFFERENCES_ROWS_MAX)
        } else {
            most
        }
    }

    fn work(&mut self, job: &Arc<Job>) -> Result<(), Stopped> {
        let mode = Mode::of(&job.work, self.options.precision);
        let most = self.rows_max(job, mode);
        let of = pieces(job, most).count();
        let seq = job.seq;
        if of == 0 {
            return self.answer(Answer::Empty { seq });
        }
        for (number, (block, rows)) in pieces(job, most).enumerate() {
            match self.piece(job, mode, (number, of), block, rows)? {
                Ok(()) => {}
                Err(why) => {
                    let why = why.to_string();
                    self.answer(Answer::Failed { seq, why })?;
                    return self.alive();
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
        (number, of): (usize, usize),
        block: usize,
        rows: Range<usize>,
    ) -> Result<Result<()>, Stopped> {
        let need = needs(&job.work, mode, self.options.precision, rows.len());
        if let Some(open) = &self.open {
            let load = &open.stage.load;
            let same = load.mode.is_none_or(|own| own == mode);
            if !(same && load.sizes.plus(need).fits(open.stage.room)) {
                self.flush()?;
            }
        }
        if self.open.is_none() {
            match self.stage(need) {
                Ok(stage) => self.open = Some(self.opened(stage)),
                Err(Failure::Stopped) => return Err(Stopped),
                Err(Failure::Error(e)) => return Ok(Err(e)),
            }
        }
        if let Some(open) = &mut self.open {
            let stage = &mut *open.stage;
            let Some(memory) = &mut stage.memory else {
                return Ok(Err(Error::Failed("no memory to pack rows into".into())));
            };
            let number_of_stage = stage.number;
            see(&self.options, Moment::Packing(number_of_stage));
            let mut target = Target {
                load: &mut stage.load,
                at: &stage.at,
                memory,
            };
            self.packer.pack(&mut target, job, (number, of), block, rows);
            let bytes = stage.load.sizes.data;
            see(
                &self.options,
                Moment::Packed {
                    number: number_of_stage,
                    bytes,
                },
            );
        }
        Ok(Ok(()))
    }

    fn opened(&self, mut stage: Box<Stage>) -> Open {
        stage.number = self.device.counters.number();
        Open {
            stage,
            since: Instant::now(),
        }
    }

    /// A stage with this much room: one that has come back, or a new one.
    fn stage(&mut self, need: Sizes) -> Result<Box<Stage>, Failure> {
        let mut stage = match self.free.try_recv() {
            Ok(stage) => Some(stage),
            Err(_) if self.stages < self.stages_max => None,
            Err(_) => Some(self.free.recv().map_err(|_| Failure::Stopped)?),
        };
        loop {
            let mut room = roomy(need, self.limit());
            match stage.take() {
                Some(stage) if need.fits(stage.room) => return Ok(stage),
                Some(small) => {
                    // The new one takes the place of the old one.
                    self.stages -= 1;
                    room = room.max(small.room);
                }
                None => {}
            }
            match self.new_stage(room, need) {
                Ok(stage) => {
                    self.stages += 1;
                    return Ok(stage);
                }
                // There is no room for so many: from now on those that there are have to do.
                Err(_) if self.stages > 0 => {
                    self.stages_max = self.stages;
                    stage = Some(self.free.recv().map_err(|_| Failure::Stopped)?);
                }
                Err(e) => return Err(Failure::Error(e)),
            }
        }
    }

    /// A stage with some room to spare, or at least with as much as is needed.
    fn new_stage(&self, room: Sizes, need: Sizes) -> Result<Box<Stage>> {
        self.state.packing.begin(self.state.start);
        let made = Stage::new(&self.device, room);
        let made = made.or_else(|_| Stage::new(&self.device, need));
        self.state.packing.end();
        let mut stage = made?;
        stage.prepare(&self.options);
        Ok(Box::new(stage))
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
        if copy.pieces() == 0 {
            return self.answer(Answer::Empty { seq: job.seq });
        }
        self.send(Submission::Again(job, copy))
    }

    /// Packs the columns of a job into buffers of their own, which stay on the device.
    fn keep(&mut self, job: &Arc<Job>, reply: Sender<Result<Arc<Copy>>>) -> Result<(), Stopped> {
        self.flush()?;
        let mode = Mode::of(&job.work, self.options.precision);
        let rows_max = self.rows_max(job, mode);
        let of = pieces(job, rows_max).count();
        let copy = Arc::new(Copy::new(&self.device, &job.work, of));
        let columns = job.work.batch.columns().len();
        let data = |rows: &Range<usize>| bytes_of(mode.element, rows.len().next_multiple_of(4) * columns);
        let most = self.limit().min(CHUNK_BYTES_MAX);
        let mut rest = pieces(job, rows_max).enumerate().peekable();
        while rest.peek().is_some() {
            let (mut bytes, mut some) = (0, Vec::new());
            while let Some(next) = rest.next_if(|(_, (_, rows))| some.is_empty() || bytes + data(rows) <= most) {
                bytes += data(&next.1.1);
                some.push(next);
            }
            match self.chunk(job, bytes, some) {
                Ok((stage, pieces)) => self.send(Submission::Keep(stage, pieces, copy.clone()))?,
                Err(e) => {
                    // Nobody waiting for it is nobody's loss.
                    let _ = reply.send(Err(e));
                    return self.alive();
                }
            }
        }
        self.send(Submission::Kept(copy, reply))
    }

    fn chunk(&mut self, job: &Job, bytes: u64, pieces: Vec<Numbered>) -> Result<(Box<Stage>, Vec<KeptPiece>)> {
        let room = Sizes {
            data: bytes,
            ..Sizes::default()
        };
        let mut stage = self.opened(self.new_stage(room, room)?).stage;
        let mut kept = Vec::with_capacity(pieces.len());
        for (number, (block, rows)) in pieces {
            let Stage { load, at, memory, .. } = &mut *stage;
            let Some(memory) = memory else {
                return Err(Error::Failed("no memory to pack rows into".into()));
            };
            let mut target = Target { load, at, memory };
            let place = self.packer.encode(&mut target, &job.work, rows.clone());
            kept.push(KeptPiece {
                number,
                block,
                rows,
                place,
                looks: stage.load.looks.drain(..).collect(),
                pivots: stage.load.pivots.drain(..).collect(),
            });
        }
        Ok((stage, kept))
    }
}

/// A piece: its number, its block, its rows.
type Numbered = (usize, (usize, Range<usize>));

enum Failure {
    Stopped,
    Error(Error),
}

/// A stage with its tables written.
fn closed(open: Open) -> Box<Stage> {
    let mut stage = open.stage;
    stage.write();
    stage
}

fn see(options: &Options, moment: Moment) {
    if let Some(watch) = &options.watch {
        watch(moment);
    }
}

/// The pieces of a job, none of more rows than this: block and rows.
fn pieces(job: &Job, rows_max: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
    let blocks = job.work.cells.blocks.iter().enumerate();
    blocks.flat_map(move |(k, block)| {
        let (rows, end) = (block.rows.clone(), block.rows.end);
        rows.step_by(rows_max)
            .map(move |start| (k, start..end.min(start + rows_max)))
    })
}

/// Room for this, and for as many more of its kind as make a submission of a good size.
fn roomy(need: Sizes, limit: u64) -> Sizes {
    let times = (2 * ENOUGH_BYTES / need.data.max(1)).min(SECTION_BYTES / need.largest().max(1));
    let times = times.clamp(1, 1024);
    need.times(times).rounded(limit)
}

/// As many rows as stay within the limit, a power of two fewer each time.
fn piece_rows(longest: usize, fits: impl Fn(usize) -> bool) -> usize {
    let mut rows = longest.max(PIECE_ROWS_MIN);
    while rows > PIECE_ROWS_MIN && !fits(rows) {
        rows = (rows / 2).next_multiple_of(PIECE_ROWS_MIN);
    }
    rows
}
