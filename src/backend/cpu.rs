//! The CPU backend: leaves in parallel on rayon, kernels compiled for AVX-512, AVX2, NEON and plain code, chosen at run
//! time.
//!
//! A leaf is reduced by one thread in an order that depends on its rows alone, and partial results come back in the
//! order of the blocks: the number of threads changes nothing but the time. Works of few values stay on the calling
//! thread.

pub(crate) mod by_key;
mod in_place;
mod leaf;
mod leaves;
mod loss;
mod moments;
mod prefetch;
mod products;
mod reading;
pub(crate) mod rolling;
pub(crate) mod steps;

use super::{Backend, Partial, Tolerance, Work};
use crate::batch::{Column, Values};
use crate::cells::Block;
use crate::error::{Error, Result};
use crate::spec::GROUPED_LEAF_ROWS;
use crate::summary::rows::{Chosen, GROUP_COLUMNS, Packed, Rows};
use crate::summary::{LeafRun, Merge, Room, Shape, Summary};
pub(crate) use in_place::{Place, SortedValues};
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// Values below which a work stays on one thread: waking another costs 5 to 10 µs, in which one reduces about this
/// many.
const PARALLEL_VALUES_MIN: usize = 32_768;
/// Grouped values that one task takes at least.
const GROUPED_VALUES_PER_TASK: usize = 32_768;
/// Columns from which on rows are packed. To read a value of a row that is far from the one before costs a line of the
/// cache, and so does a copy: with co-moments of 32 columns it made no difference, with moments alone it was slower, and
/// with co-moments of 64 it was 1.3 times as fast (measured on an EPYC with 1 MiB of second-level cache).
const PACKED_COLUMNS_MIN: usize = 48;

/// Reduces on the CPU.
#[derive(Debug, Default)]
pub struct Cpu {
    pool: Option<Arc<rayon::ThreadPool>>,
    queue: VecDeque<(u64, Work)>,
}

impl Cpu {
    /// On rayon's global pool: all cores, unless the program has set it up otherwise.
    pub fn new() -> Self {
        Self::default()
    }

    /// On `threads` threads of its own.
    ///
    /// # Errors
    /// [`Error::Failed`] if the system does not give them.
    pub fn with_threads(threads: usize) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .build()
            .map_err(|e| Error::Failed(format!("cannot start {threads} threads: {e}")))?;
        Ok(Self {
            pool: Some(Arc::new(pool)),
            queue: VecDeque::new(),
        })
    }

    /// Threads that reduce.
    pub fn threads(&self) -> usize {
        self.pool
            .as_ref()
            .map_or_else(rayon::current_num_threads, |pool| pool.current_num_threads())
    }

    /// Reduces work at once.
    pub fn reduce(&self, work: &Work) -> Vec<Partial> {
        match &self.pool {
            Some(pool) => pool.install(|| reduce(work)),
            None => reduce(work),
        }
    }
}

/// Sets the number of threads of rayon's global pool, which reading and reducing share; once a process, before its
/// first use.
///
/// # Errors
/// [`Error::Failed`] if the pool exists already or the system does not give the threads.
pub fn set_threads(threads: usize) -> Result<()> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .map_err(|e| Error::Failed(format!("cannot use {threads} threads: {e}")))
}

/// The instruction set that the kernels use on this machine.
pub fn instruction_set() -> &'static str {
    let arch = format!("{:?}", Arch::new());
    match arch.split('(').next() {
        Some("V4") => "avx512",
        Some("V3") => "avx2",
        Some("Neon" | "NeonFcma") => "neon",
        _ => "portable",
    }
}

impl Backend for Cpu {
    fn name(&self) -> &str {
        "cpu"
    }

    fn device(&self) -> String {
        let threads = self.threads();
        format!(
            "{threads} {}, {}",
            if threads == 1 { "thread" } else { "threads" },
            instruction_set()
        )
    }

    /// In the worst case, where all roundings fall alike: a run of 4096 rows adds 256 values to a lane and 16 lanes in
    /// 4 steps around a pivot within 8 standard deviations, so a variance errs by at most 260 · 2⁻⁵³ · 65 = 1.9e-12
    /// (one value after another, with what rounding takes kept, by less: 8 · 2⁻⁵³ · 257); merges add 2⁻⁵² each.
    /// 256 products one after another err by 270 · 2⁻⁵³ · 257 = 7.7e-12, as the pivot may lie 16 standard deviations away.
    /// In `f32`, around pivots within 2 standard deviations, the roundings of a sum of 256 products take 128 · 2⁻²⁴ · 5 =
    /// 3.8e-5 of it, those of deviations 2⁻²³ · √5; as roundings do not all fall alike, 1e-6 is seldom reached.
    /// A term of z = Xw with at most 4096 terms is rounded 4098 times, the residual and its product with x once each,
    /// and a leaf adds at most 65,536 / 16 of them to a lane and 16 lanes in 4 steps: 8200 · 2⁻⁵³ = 9.2e-13 for a
    /// gradient. The residual enters the linear loss twice: 12,300 · 2⁻⁵³ = 1.4e-12. Exponential and logarithm of the
    /// logistic loss are right to a few units of the last place, and no steeper than 1.
    fn tolerance(&self) -> Tolerance {
        Tolerance {
            moments: 2e-12,
            comoments: 8e-12,
            narrow: 4e-5,
            loss: 2e-12,
        }
    }

    fn submit(&mut self, seq: u64, work: Work) -> Result<()> {
        self.queue.push_back((seq, work));
        Ok(())
    }

    fn collect(&mut self) -> Result<(u64, Vec<Partial>)> {
        let (seq, work) = self
            .queue
            .pop_front()
            .ok_or_else(|| Error::Failed("there is no work to collect".into()))?;
        Ok((seq, self.reduce(&work)))
    }

    fn depth(&self) -> usize {
        1
    }

    fn as_cpu(&self) -> Option<&Cpu> {
        Some(self)
    }
}

fn reduce(work: &Work) -> Vec<Partial> {
    if work.cells.order.is_some() {
        reduce_grouped(work)
    } else {
        leaves::reduce(work)
    }
}

/// Many cells: the rows of a leaf one after another through its running state; leaves are independent, so a cell may be
/// spread over tasks.
fn reduce_grouped(work: &Work) -> Vec<Partial> {
    let places = work.cells.order.as_deref().unwrap_or(&[]);
    let columns = work.batch.columns();
    let time_ns = work.batch.time_ns();
    let parallel = places.len() * columns.len() >= PARALLEL_VALUES_MIN;
    if columns.len() < PACKED_COLUMNS_MIN {
        let columns: Vec<Cow<'_, [f64]>> = columns.iter().map(dense).collect();
        let columns: Vec<&[f64]> = columns.iter().map(AsRef::as_ref).collect();
        let rows = Chosen {
            columns: &columns,
            time_ns,
            places,
        };
        return reduce_rows(work, rows, parallel);
    }
    let groups = pack(columns, places, parallel);
    let groups: Vec<&[f64]> = groups.iter().map(Vec::as_slice).collect();
    let times = time_ns.map(|times| (times, places));
    reduce_rows(work, Packed::new(&groups, places.len(), times), parallel)
}

/// The rows of a work in the order of its blocks.
fn reduce_rows(work: &Work, rows: impl Rows + Sync, parallel: bool) -> Vec<Partial> {
    let blocks = &work.cells.blocks;
    let push = |run: &mut LeafRun, range: Range<usize>, room: &mut Room| {
        Arch::new().dispatch(PushRows {
            run,
            shape: &work.shape,
            rows: rows.slice(range),
            room,
        });
    };
    let run_blocks = |range: Range<usize>| {
        let mut open: Option<LeafRun> = None;
        // Only the first block of a cell continues a carried leaf; the others begin one.
        let mut cell = range.start.checked_sub(1).map(|before| blocks[before].cell);
        let mut partials = Vec::with_capacity(range.len());
        let mut room = Room::default();
        for block in &blocks[range] {
            if cell != Some(block.cell) {
                cell = Some(block.cell);
                open = work.carried.get(block.cell as usize).cloned().flatten();
            }
            let rows = block.rows.clone();
            if !work.open {
                // Blocks may be long then: a run is accurate up to the rows of a leaf among many.
                let mut leaf = Summary::default();
                for start in rows.clone().step_by(GROUPED_LEAF_ROWS) {
                    let mut run = LeafRun::new(&work.shape);
                    push(&mut run, start..rows.end.min(start + GROUPED_LEAF_ROWS), &mut room);
                    leaf.merge(&run.finish(&work.shape));
                }
                partials.push(Partial::Leaf(Box::new(leaf)));
                continue;
            }
            let mut run = open.take().unwrap_or_else(|| LeafRun::new(&work.shape));
            push(&mut run, rows, &mut room);
            partials.push(if block.complete {
                Partial::Leaf(Box::new(run.finish(&work.shape)))
            } else {
                Partial::Open(Box::new(run))
            });
        }
        partials
    };
    if !parallel {
        return run_blocks(0..blocks.len());
    }
    let parts: Vec<Vec<Partial>> = tasks(blocks, work.batch.columns().len())
        .into_par_iter()
        .map(run_blocks)
        .collect();
    parts.into_iter().flatten().collect()
}

/// Rows into the running state of a leaf, compiled for the vector instructions that the machine has.
struct PushRows<'a, R> {
    run: &'a mut LeafRun,
    shape: &'a Shape,
    rows: R,
    room: &'a mut Room,
}

impl<R: Rows> NullaryFnOnce for PushRows<'_, R> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.run.push_rows(self.shape, self.rows, self.room);
    }
}

/// Ranges of blocks that hold enough values to be worth a task.
fn tasks(blocks: &[Block], columns: usize) -> Vec<Range<usize>> {
    let enough = GROUPED_VALUES_PER_TASK / columns.max(1);
    let mut tasks = Vec::new();
    let (mut start, mut rows) = (0, 0);
    for (i, block) in blocks.iter().enumerate() {
        rows += block.rows.len();
        if rows >= enough {
            tasks.push(start..i + 1);
            (start, rows) = (i + 1, 0);
        }
    }
    if start < blocks.len() {
        tasks.push(start..blocks.len());
    }
    tasks
}

/// Rows at these places, in this order, as the groups of [`Packed`]. What is read here and there for a group is small
/// enough to stay near.
fn pack(columns: &[Column], places: &[u32], parallel: bool) -> Vec<Vec<f64>> {
    let pack = |columns: &[Column]| pack_group(columns, places);
    match parallel {
        true => columns.par_chunks(GROUP_COLUMNS).map(pack).collect(),
        false => columns.chunks(GROUP_COLUMNS).map(pack).collect(),
    }
}

/// The columns of a group, with zeros where there are fewer.
fn pack_group(columns: &[Column], places: &[u32]) -> Vec<f64> {
    let dense: Vec<Cow<'_, [f64]>> = columns.iter().map(dense).collect();
    let dense: Vec<&[f64]> = dense.iter().map(AsRef::as_ref).collect();
    let rows: Vec<[f64; GROUP_COLUMNS]> = match <[&[f64]; GROUP_COLUMNS]>::try_from(&dense[..]) {
        Ok(columns) => {
            let row = |place: &u32| columns.map(|column| column[*place as usize]);
            places.iter().map(row).collect()
        }
        Err(_) => {
            let value = |j: usize, place: u32| dense.get(j).map_or(0.0, |column| column[place as usize]);
            let row = |place: &u32| std::array::from_fn(|j| value(j, *place));
            places.iter().map(row).collect()
        }
    };
    rows.into_flattened()
}

/// The values as `f64` with NaN for missing ones; borrowed where they are so already.
fn dense(column: &Column) -> Cow<'_, [f64]> {
    match (&column.values, &column.nulls) {
        (Values::F64(v), None) => Cow::Borrowed(v),
        _ => Cow::Owned((0..column.len()).map(|i| column.get(i)).collect()),
    }
}
