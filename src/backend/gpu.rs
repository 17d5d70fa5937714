//! The GPU backend: rows packed into mapped memory, reduced by WGSL kernels through wgpu.
//!
//! There are two precisions, of one text: `exact` computes in native `f64`, `fast` in `f32` around pivots, summed in
//! short runs. Counts, extremes and what is missing are the host's, found while it packs. So are quantiles, regressions
//! in double-double (no GPU has 106 bits), in `fast` all regressions and differences (`f32` does not bear what cancels
//! there), and rows whose magnitudes are beyond the device's numbers. A block comes back
//! as a leaf of its own: nothing is carried from one work to the next, so works overlap.
//!
//! A device can be lost: reset, out of memory, hung, or with a driver that panics. Every work that it has, and that is not
//! answered in whole, is then answered with an error, and so is every work until the device is opened again. Nothing of
//! the lost device is used any more: its threads end, its memory is given back, and copies of rows that lay on it are
//! forgotten, so that works that name them are packed like any other.

mod costs;
mod cut;
mod device;
mod encode;
mod finish;
mod kernels;
mod load;
mod pack;
mod probe;
mod resident;
mod ring;
mod stage;
pub mod trace;

pub use costs::DeviceCosts;
pub use device::{Adapter, Counters, adapters};
pub use kernels::Texts;
pub use probe::Probe;

use super::{Backend, Partial, Resident, Tolerance, Work};
use crate::batch::Batch;
use crate::cells::Cells;
use crate::error::{Error, Result};
use crate::spec::{LEAF_ROWS, LEAF_ROWS_PER_COMOMENT_COLUMN, Precision};
use crate::summary::{Merge, Shape, Summary};
use device::Device;
use load::Job;
use resident::Copy;
use ring::{Answer, Ring};
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Data of a block that suits the device: a few of them make a submission.
const BLOCK_BYTES: usize = 4 << 20;
/// Rows of a block at most.
const BLOCK_ROWS_MAX: usize = 1 << 16;
/// Data of a block that stays on the device, and its rows at most: there is nothing to overlap with.
const RESIDENT_BLOCK_BYTES: usize = 16 << 20;
const RESIDENT_BLOCK_ROWS_MAX: usize = 1 << 18;
/// A submission waits so long for more works.
const PATIENCE: Duration = Duration::from_millis(1);
/// Works in flight for each stage: small ones share a submission.
const WORKS_PER_STAGE: usize = 4;
/// Workgroups that every device starts in one dimension, which is the only one that is used.
const WORKGROUPS_MAX: u32 = 65_535;
/// A lost device is tried again after this long, and after twice as long each time it is lost again soon.
const RETRY: Duration = Duration::from_secs(1);
/// But not later than this; a device that has held for as long is as good as new.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// What happens to a submission, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Moment {
    /// Rows are being packed for it: once for each run of rows.
    Packing(u64),
    /// They have been.
    Packed {
        /// Of the submission.
        number: u64,
        /// Bytes of rows in it so far.
        bytes: u64,
    },
    /// It is about to be handed to the device.
    Submitting(u64),
    /// It was.
    Submitted(u64),
    /// Its answer is there.
    Answered(u64),
    /// The device has computed it, where the adapter can tell: in nanoseconds of a clock of its own.
    Computed {
        /// Of the submission.
        number: u64,
        /// When the kernels began.
        start_ns: u64,
        /// When they ended.
        end_ns: u64,
    },
    /// Its answer was read, and its memory can be used again.
    Read(u64),
}

/// Sees what happens, on the thread that does it. An answer for which it gives `false` is left where it is, and seen
/// again soon.
pub type Watch = Arc<dyn Fn(Moment) -> bool + Send + Sync>;

/// How to open a GPU.
#[derive(Clone)]
pub struct Options {
    /// In which precision it computes.
    pub precision: Precision,
    /// Whether a software adapter counts as a GPU.
    pub software: bool,
    /// A submission that is not answered for so long is lost, and the device with it.
    pub timeout: Duration,
    /// Submissions in flight.
    pub depth: usize,
    /// A submission waits so long for more works to go with it, unless it is large or somebody waits for an answer.
    pub patience: Duration,
    /// Bytes of memory that buffers may take; works that need more are not taken. As much as there is where it is `None`.
    pub memory_bytes_max: Option<u64>,
    /// A lost device is tried again after this long.
    pub retry: Duration,
    /// Workgroups of a launch at most; if there is more to do, they take turns. No device starts more than 65,535.
    pub workgroups_max: u32,
    /// Who sees what happens.
    pub watch: Option<Watch>,
    /// The shaders.
    pub texts: Arc<Texts>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("precision", &self.precision)
            .field("software", &self.software)
            .field("timeout", &self.timeout)
            .field("depth", &self.depth)
            .field("patience", &self.patience)
            .field("memory_bytes_max", &self.memory_bytes_max)
            .finish_non_exhaustive()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            precision: Precision::Exact,
            software: false,
            timeout: Duration::from_secs(10),
            depth: 3,
            patience: PATIENCE,
            memory_bytes_max: None,
            retry: RETRY,
            workgroups_max: WORKGROUPS_MAX,
            watch: None,
            texts: Arc::default(),
        }
    }
}

/// Reduces on a GPU.
pub struct Gpu {
    options: Options,
    counters: Arc<Counters>,
    /// What it was when it was opened.
    adapter: Adapter,
    open: Option<(Arc<Device>, Ring)>,
    /// When it was opened.
    since: Instant,
    /// What lies on the device.
    copies: Vec<Weak<Copy>>,
    pending: VecDeque<Pending>,
    /// When to try again, and how long to wait after that.
    retry: (Instant, Duration),
}

/// A work that is not answered yet.
struct Pending {
    seq: u64,
    blocks: usize,
    /// Pieces that are expected, once it is known, and those that came: block, number, summary.
    expected: Option<usize>,
    pieces: Vec<(usize, usize, Summary)>,
    failed: Option<String>,
}

impl Pending {
    fn is_done(&self) -> bool {
        self.failed.is_some() || self.expected == Some(self.pieces.len())
    }

    /// Pieces folded into blocks.
    fn partials(mut self) -> Result<Vec<Partial>> {
        if let Some(why) = self.failed {
            return Err(Error::Failed(why));
        }
        self.pieces.sort_by_key(|(_, number, _)| *number);
        let mut blocks = vec![Summary::default(); self.blocks];
        for (block, _, summary) in self.pieces {
            match &mut blocks[block] {
                own if own.rows == 0 => *own = summary,
                own => own.merge(&summary),
            }
        }
        Ok(blocks.into_iter().map(|s| Partial::Leaf(Box::new(s))).collect())
    }
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gpu")
            .field("adapter", &self.adapter)
            .field("options", &self.options)
            .field("open", &self.open.is_some())
            .field("pending", &self.pending.len())
            .finish_non_exhaustive()
    }
}

impl Gpu {
    /// Opens the best adapter that the options allow.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if there is none, or its arithmetic is not what the precision needs.
    pub fn open(options: Options) -> Result<Self> {
        let counters: Arc<Counters> = Arc::default();
        let device = Arc::new(Device::open(&options, &options.texts, &counters)?);
        let ring = Ring::start(device.clone(), &options)?;
        Ok(Self {
            retry: (Instant::now(), options.retry),
            adapter: device.adapter.clone(),
            open: Some((device, ring)),
            since: Instant::now(),
            copies: Vec::new(),
            options,
            counters,
            pending: VecDeque::new(),
        })
    }

    /// What it runs on.
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    /// What it has done.
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// Destroys the device, as a driver's reset would: what is in flight fails, and the device is tried again later.
    pub fn destroy_device(&self) {
        if let Some((device, _)) = &self.open {
            device.device.destroy();
        }
    }

    /// The open device, if it is time to have one.
    fn ring(&mut self) -> Result<&(Arc<Device>, Ring)> {
        if let Some(why) = self.open.as_ref().and_then(|(device, _)| device.failure()) {
            self.lose(&why);
        }
        if self.open.is_none() {
            let (at, wait) = self.retry;
            if Instant::now() < at {
                return Err(Error::Failed("the GPU was lost".into()));
            }
            self.retry = (Instant::now() + wait, (2 * wait).min(RETRY_MAX));
            let device = Arc::new(Device::open(&self.options, &self.options.texts, &self.counters)?);
            let ring = Ring::start(device.clone(), &self.options)?;
            self.open = Some((device, ring));
            self.since = Instant::now();
        }
        self.open
            .as_ref()
            .ok_or_else(|| Error::Failed("the GPU was lost".into()))
    }

    fn find(&mut self, seq: u64) -> Option<&mut Pending> {
        self.pending.iter_mut().find(|pending| pending.seq == seq)
    }

    /// Forgets the device; all that it has fails.
    fn lose(&mut self, why: &str) {
        let mut why = why.to_owned();
        if let Some((device, ring)) = self.open.take() {
            why = device.failure().unwrap_or(why);
            Counters::add(&self.counters.losses, 1);
            // What was answered before is as good as ever.
            while let Some(answer) = ring.answered() {
                self.take(answer);
            }
            for copy in self.copies.drain(..).filter_map(|copy| copy.upgrade()) {
                copy.forget();
            }
            // The threads come last: dropping a device waits for it, for ever where it hangs.
            drop(device);
            drop(ring);
            if self.since.elapsed() > RETRY_MAX {
                self.retry.1 = self.options.retry;
            }
            self.retry.0 = Instant::now() + self.retry.1;
        }
        for pending in self.pending.iter_mut().filter(|pending| !pending.is_done()) {
            pending.failed = Some(why.clone());
        }
    }

    /// The device stopped without a word.
    fn stopped(&mut self) -> Error {
        self.lose("the GPU has stopped");
        Error::Failed("the GPU has stopped".into())
    }

    /// Notes an answer; why, if the device is lost.
    fn take(&mut self, answer: Answer) -> Option<String> {
        match answer {
            Answer::Empty { seq } => {
                if let Some(pending) = self.find(seq) {
                    pending.expected = Some(0);
                }
            }
            Answer::Piece {
                seq,
                block,
                number,
                of,
                summary,
            } => {
                if let Some(pending) = self.find(seq) {
                    pending.expected = Some(of);
                    pending.pieces.push((block, number, summary));
                }
            }
            Answer::Failed { seq, why } => {
                if let Some(pending) = self.find(seq) {
                    pending.failed = Some(why);
                }
            }
            Answer::Lost(why) => return Some(why),
        }
        None
    }
}

impl Backend for Gpu {
    fn name(&self) -> &str {
        "gpu"
    }

    fn device(&self) -> String {
        format!("{}, {}", self.adapter.name, self.adapter.api)
    }

    /// In the worst case, where all roundings fall alike; u is half a unit of the last place, 2⁻⁵³ or 2⁻²⁴.
    ///
    /// `exact`: a deviation and its square take 3 u, what a lane adds up 5 u, the lanes 9 u, and the host takes the runs
    /// of 4096 rows one after another, up to 4096 of them in a piece of 64 MiB: 4113 u = 4.6e-13, and 33 u in a block of
    /// 65,536 rows. A product takes 3 u, steps of 8 or 16 rows 8 u, a run of rows at most 400 steps (a piece has 2²⁴
    /// values), then 64 runs and 16 groups: 491 u. Where rows are missing, the mean of the complete ones lies up to 4
    /// standard deviations from the pivot: 17 times that, 9.3e-13. Differences add up to 2048 quotients a lane.
    ///
    /// `fast`: a deviation and its square take 3 u, and what a lane adds up 5 u; a product takes 3 u and steps 8 u. What
    /// is added after that keeps what rounding takes. The pivot is within an eighth of a standard deviation of the mean,
    /// where rows are missing a quarter: a factor 1 + 1/16 and 2 · 1/4 · 6 u of the mean, 15 u = 8.9e-7 in all. In a
    /// column of f32 it may be farther, by half a unit of the last place of the mean: where that is more, all deviations
    /// are multiples of that unit, so few of them that their squares add up without rounding.
    ///
    /// A term of a loss is a sum of runs of 8 products, 11 roundings; the residual, a product and sums of 8 groups of
    /// four take 14 more, and the residual enters the linear loss twice: 29 · 2⁻²⁴ = 1.7e-6. Exponential and logarithm
    /// are right to a few units of the last place, and no steeper than 1.
    fn tolerance(&self) -> Tolerance {
        match self.options.precision {
            Precision::Exact => Tolerance {
                moments: 1e-12,
                comoments: 1e-12,
                narrow: 1e-12,
                loss: 1e-12,
            },
            Precision::Fast => Tolerance {
                moments: 1e-6,
                comoments: 1e-6,
                narrow: 1e-6,
                loss: 2e-6,
            },
        }
    }

    fn submit(&mut self, seq: u64, mut work: Work) -> Result<()> {
        if work.open || !work.before.is_empty() || work.carried.iter().any(Option::is_some) {
            return Err(Error::Failed("a GPU does not continue unfinished leaves".into()));
        }
        let blocks = work.cells.blocks.len();
        let (device, ring) = self.ring()?;
        // What lies on the device remembers its work, which must not keep it alive.
        let copy = work.resident.take().and_then(|resident| resident.copy::<Copy>());
        let copy = copy.filter(|copy| copy.serves(device, &work));
        let job = Arc::new(Job { seq, work });
        let sent = match copy {
            Some(copy) => ring.again(job, copy),
            None => ring.submit(job),
        };
        sent.map_err(|_| self.stopped())?;
        self.pending.push_back(Pending {
            seq,
            blocks,
            expected: None,
            pieces: Vec::new(),
            failed: None,
        });
        Ok(())
    }

    fn collect(&mut self) -> Result<(u64, Vec<Partial>)> {
        loop {
            let oldest = self
                .pending
                .front()
                .ok_or_else(|| Error::Failed("there is no work to collect".into()))?;
            if oldest.is_done() {
                break;
            }
            let answer = match &self.open {
                Some((_, ring)) => ring.answer(),
                None => Answer::Lost("the GPU was lost".into()),
            };
            if let Some(why) = self.take(answer) {
                self.lose(&why);
            }
        }
        let done = self.pending.pop_front();
        let done = done.ok_or_else(|| Error::Failed("there is no work to collect".into()))?;
        let seq = done.seq;
        Ok((seq, done.partials()?))
    }

    fn depth(&self) -> usize {
        WORKS_PER_STAGE * self.options.depth.max(1)
    }

    fn carries(&self) -> bool {
        false
    }

    /// Rows of 4 MiB, but with matrices of d columns at least 16 d, as merging costs d² a block.
    fn block_rows(&self, shape: &Shape) -> Option<usize> {
        let columns = shape.columns.max(shape.regression.len()).max(1);
        let rows = (BLOCK_BYTES / 8 / columns).clamp(LEAF_ROWS, BLOCK_ROWS_MAX);
        let matrix = if shape.comoments { shape.columns } else { 0 };
        let least = LEAF_ROWS_PER_COMOMENT_COLUMN * matrix.max(shape.regression.len());
        Some(rows.next_power_of_two().max(least.next_power_of_two()))
    }

    fn upload(&mut self, batch: &Batch) -> Result<Resident> {
        let columns = batch.columns().len();
        let rows = (RESIDENT_BLOCK_BYTES / 8 / columns.max(1)).clamp(LEAF_ROWS, RESIDENT_BLOCK_ROWS_MAX);
        let rows = rows.max(LEAF_ROWS_PER_COMOMENT_COLUMN * columns).next_power_of_two();
        let work = Work {
            before: Arc::new([]),
            batch: batch.clone(),
            cells: Arc::new(Cells::single(batch.rows(), rows)),
            carried: Arc::new([]),
            shape: Arc::default(),
            open: false,
            weights: None,
            resident: None,
        };
        let (_, ring) = self.ring()?;
        let kept = ring.keep(Arc::new(Job { seq: 0, work }));
        let copy = kept.map_err(|_| self.stopped())??;
        self.copies.retain(|copy| copy.strong_count() > 0);
        self.copies.push(Arc::downgrade(&copy));
        Ok(Resident::on_device(batch.clone(), copy, rows))
    }
}
