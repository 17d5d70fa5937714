//! The engine: batches in, leaves to a backend, leaves folded into cells, cells into windows, a report out.
//!
//! Rows of a cell are numbered in the order of arrival; leaf k is rows k · LEAF … (k + 1) · LEAF − 1 of its cell,
//! whatever the batches were. A cell is the left fold of its leaves, and an unfinished leaf is carried between batches:
//! as slices of the batches where there is one cell, as a running state where there are many. So the same rows in the same order
//! give the same bits for any batching and any number of threads. Folding is done here and nowhere else, in the order
//! of the work's numbers.

mod at_once;
mod closing;
mod eviction;
mod feeding;
mod forgotten;
mod grouped;
mod keys;
mod places;
mod pushing;
mod queue;
mod resident;
mod shares;
mod single;
mod snapshot;
mod tail;

use crate::backend::cpu::Cpu;
use crate::backend::{Backend, Partial, Work};
use crate::batch::Batch;
use crate::buffers::Buffers;
use crate::error::{Error, Result};
use crate::report::{Closed, Report, build};
use crate::spec::{Spec, Window, unknown_column};
use crate::summary::{Merge, Shape};
use crate::window::watermark::Watermarks;
pub use crate::window::watermark::{Lateness, Refused};
use closing::Complete;
use grouped::Grouped;
pub(crate) use keys::{KeyTable, key_values};
use places::Located;
pub use queue::Fallbacks;
use queue::{Job, Queue};
pub(crate) use shares::{Taken, stand_in};
use single::Single;
use std::collections::HashSet;
use std::sync::Arc;

/// Windows that are there at once while all of them close.
const CLOSED_AT_ONCE: usize = 1024;

/// Reduces batches to reports.
///
/// ```
/// use millstream::{Batch, Engine, Spec};
/// let mut engine = Engine::new(Spec::new())?;
/// engine.push(&Batch::from_columns([("x", vec![1.0, 2.0])])?)?;
/// engine.push(&Batch::from_columns([("x", vec![6.0])])?)?;
/// let report = engine.finish()?;
/// assert_eq!(report.groups[0].columns["x"].mean, Some(3.0));
/// # Ok::<(), millstream::Error>(())
/// ```
pub struct Engine {
    spec: Spec,
    queue: Queue,
    /// What the first batch decided.
    layout: Option<Arc<Layout>>,
    /// Batches so far: tells the cells of one from those of another.
    batches: u64,
    single: Single,
    grouped: Grouped,
    /// Where rows are brought together by cell.
    located: Located,
    /// Memory of row-by-row results.
    pub(crate) buffers: Buffers<f64>,
    rows: u64,
    /// Where windows close as rows come.
    watermarks: Option<Watermarks>,
    /// Rows that came after their windows had closed, or too far ahead.
    late: u64,
    ahead: u64,
    /// Whether no more rows will come.
    ended: bool,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let backend = self.queue.backend().name();
        f.debug_struct("Engine")
            .field("spec", &self.spec)
            .field("backend", &backend)
            .field("rows", &self.rows)
            .finish()
    }
}

/// Columns, parts and leaf length: fixed by the spec and the names of the first batch.
#[derive(Debug, Clone)]
struct Layout {
    names: Vec<String>,
    /// Places in a batch: the reported columns, then those that only the regression needs.
    places: Vec<usize>,
    reported: Vec<String>,
    shape: Arc<Shape>,
    leaf_rows: usize,
    /// Whether rows have an event time.
    timed: bool,
}

impl Engine {
    /// An engine on all CPU cores.
    ///
    /// # Errors
    /// [`Error::Usage`] if the spec makes no sense.
    pub fn new(spec: Spec) -> Result<Self> {
        Self::with_backend(spec, Box::new(Cpu::new()))
    }

    /// An engine on this backend.
    ///
    /// # Errors
    /// [`Error::Usage`] if the spec makes no sense.
    pub fn with_backend(spec: Spec, backend: Box<dyn Backend>) -> Result<Self> {
        Ok(Self::over(spec.checked()?, Queue::new(backend)))
    }

    fn over(spec: Spec, queue: Queue) -> Self {
        Self {
            grouped: Grouped::new(spec.window),
            spec,
            queue,
            layout: None,
            batches: 0,
            single: Single::default(),
            located: Located::default(),
            buffers: Buffers::of_results(),
            rows: 0,
            watermarks: None,
            late: 0,
            ahead: 0,
            ended: false,
        }
    }

    /// The spec.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Distinct cells so far: a measure of the memory in use.
    pub fn cells(&self) -> usize {
        self.grouped.len()
    }

    /// Distinct keys that are known.
    pub fn keys(&self) -> usize {
        self.grouped.keys.as_ref().map_or(0, KeyTable::len)
    }

    /// How often the backend failed so far, and why first: the CPU did those works.
    pub fn fallbacks(&self) -> &Fallbacks {
        self.queue.fallbacks()
    }

    /// The memory that the state of the cells and the report of their windows take, in bytes: about what it comes to at
    /// the end, if no more rows come.
    pub fn memory_bytes(&self) -> u64 {
        self.layout.as_ref().map_or(0, |layout| {
            let group = build::group_bytes(&self.spec, layout.reported.len());
            if self.spec.is_grouped() {
                return self.grouped.memory_bytes(self.spec.window, &layout.shape, group);
            }
            // The rows of the unfinished leaf, the cell, and a leaf that is folded into it.
            let rows = self.single.tail.kept_rows() * layout.places.len() * size_of::<f64>();
            (rows + 2 * layout.shape.state_bytes() + group) as u64
        })
    }

    /// The report of one batch on its own.
    ///
    /// # Errors
    /// As [`Engine::push`].
    pub fn analyze(&mut self, batch: &Batch) -> Result<Report> {
        if let Some(report) = self.at_once(batch)? {
            return Ok(report);
        }
        self.push(batch)?;
        self.finish()
    }

    /// Takes the next rows. Windows that are complete come back; without a watermark ([`Engine::closing_windows`]) none
    /// is before [`Engine::finish`].
    ///
    /// # Errors
    /// [`Error::Usage`] if the batch lacks what the spec names, or differs from the batches before it.
    pub fn push(&mut self, batch: &Batch) -> Result<Vec<Closed>> {
        if self.watermarks.is_some() {
            self.take(0, batch, 0)?;
            return self.closed(usize::MAX);
        }
        self.accept(0, batch)?;
        Ok(Vec::new())
    }

    /// Takes rows that are neither late nor too far ahead.
    fn accept(&mut self, partition: u32, batch: &Batch) -> Result<()> {
        let layout = self.prepare(batch)?;
        let batch = batch.project_if_needed(&layout.places);
        if self.spec.is_grouped() {
            // All keys first: a batch that is refused leaves nothing behind.
            self.grouped.know_keys(&self.spec, &batch)?;
            self.layout = Some(layout.clone());
            self.push_grouped(partition, &batch, &layout)?;
        } else {
            self.layout = Some(layout.clone());
            self.push_single(&batch, &layout);
        }
        self.rows += batch.rows() as u64;
        Ok(())
    }

    /// The layout of a batch, which is to be that of the batches before.
    fn prepare(&self, batch: &Batch) -> Result<Arc<Layout>> {
        check(&self.spec, batch)?;
        let layout = match &self.layout {
            Some(layout) => layout.clone(),
            None => Arc::new(Layout::new(&self.spec, batch)?.suiting(self.queue.backend())),
        };
        if batch.names() != layout.names {
            return Err(Error::Usage(format!(
                "the columns of a batch changed from {} to {}",
                layout.names.join(", "),
                batch.names().join(", ")
            )));
        }
        if batch.time_ns().is_some() != layout.timed {
            return Err(Error::Usage(format!(
                "the batches before had {} event time, this one has {}",
                if layout.timed { "an" } else { "no" },
                if layout.timed { "none" } else { "one" },
            )));
        }
        Ok(layout)
    }

    fn submit(&mut self, work: Work, slots: Vec<u32>) {
        while self.queue.is_full() {
            self.collect();
        }
        if let Some(job) = self.queue.submit(Job { work, slots }) {
            // It was not taken: everything before it first, then this on the CPU.
            self.drain();
            let partials = job.on_cpu();
            self.fold(&job, partials);
        }
    }

    /// Folds the oldest outstanding work; whether there was one.
    fn collect(&mut self) -> bool {
        let Some((job, partials)) = self.queue.collect() else {
            return false;
        };
        self.fold(&job, partials);
        true
    }

    fn drain(&mut self) {
        while self.collect() {}
    }

    fn fold(&mut self, job: &Job, partials: Vec<Partial>) {
        for (block, partial) in job.work.cells.blocks.iter().zip(partials) {
            let Some(slot) = job.slots.get(block.cell as usize) else {
                if let Partial::Leaf(leaf) = partial {
                    self.single.folded.merge(&leaf);
                }
                continue;
            };
            self.grouped.fold(*slot, partial);
        }
    }

    /// Closes every window and gives the report; the engine is then as new.
    ///
    /// # Errors
    /// [`Error::Failed`] if keys cannot be read back.
    pub fn finish(&mut self) -> Result<Report> {
        let (rows, late) = (self.rows, self.late);
        let names = self.layout.as_ref().map_or(Vec::new(), |l| l.reported.clone());
        let mut failed = None;
        let spec = self.spec.clone();
        let closed = self
            .closing()
            .map_while(|closed| closed.map_err(|e| failed = Some(e)).ok());
        let mut report = build::report(&spec, &names, closed);
        if let Some(error) = failed {
            return Err(error);
        }
        self.label(&mut report, rows);
        report.late_rows = late;
        Ok(report)
    }

    fn label(&self, report: &mut Report, rows: u64) {
        report.rows = rows;
        report.backend = self.queue.backend().name().to_owned();
        report.device = self.queue.backend().device();
    }

    fn report(&self, rows: u64, names: &[String], closed: impl IntoIterator<Item = Closed>) -> Report {
        let mut report = build::report(&self.spec, names, closed);
        self.label(&mut report, rows);
        report
    }

    /// Closes every window: what there is, ordered by window, then key; the engine is then as new.
    ///
    /// # Errors
    /// [`Error::Failed`] if keys cannot be read back.
    pub fn close(&mut self) -> Result<Vec<Closed>> {
        self.closing().collect()
    }

    /// Every window, in pieces.
    fn closing(&mut self) -> impl Iterator<Item = Result<Closed>> {
        self.end();
        let mut piece = Vec::new().into_iter();
        std::iter::from_fn(move || {
            if piece.len() == 0 {
                match self.closed(CLOSED_AT_ONCE) {
                    Ok(next) => piece = next.into_iter(),
                    Err(error) => return Some(Err(error)),
                }
            }
            piece.next().map(Ok)
        })
    }
}

impl Batch {
    fn project_if_needed(&self, places: &[usize]) -> Self {
        if places.len() == self.columns().len() && places.iter().enumerate().all(|(i, p)| i == *p) {
            self.clone()
        } else {
            self.project(places)
        }
    }
}

impl Layout {
    fn new(spec: &Spec, batch: &Batch) -> Result<Self> {
        let names = batch.names().to_vec();
        let by_name = crate::spec::places(&names);
        let place = |name: &String| {
            let place = by_name.get(name.as_str()).copied();
            place.ok_or_else(|| unknown_column(name, &names))
        };
        let mut places = match &spec.columns {
            Some(chosen) => chosen.iter().map(place).collect::<Result<Vec<_>>>()?,
            None => (0..names.len()).collect(),
        };
        let reported: Vec<String> = places.iter().map(|i| names[*i].clone()).collect();
        let mut chosen: HashSet<usize> = places.iter().copied().collect();
        if let Some(regression) = &spec.regression {
            for name in regression.terms.iter().chain([&regression.target]) {
                let i = place(name)?;
                if !chosen.contains(&i) {
                    places.push(i);
                    chosen.insert(i);
                }
            }
        }
        let projected: Vec<String> = places.iter().map(|i| names[*i].clone()).collect();
        let shape = spec.shape(&projected, reported.len())?;
        let leaf_rows = spec.leaf_rows(&shape);
        Ok(Self {
            names,
            places,
            reported,
            shape: Arc::new(shape),
            leaf_rows,
            timed: batch.time_ns().is_some(),
        })
    }
}

impl Layout {
    /// With blocks as the backend likes them, where no open leaf depends on their length.
    fn suiting(mut self, backend: &dyn Backend) -> Self {
        if let Some(rows) = backend.block_rows(&self.shape).filter(|_| !backend.carries()) {
            self.leaf_rows = rows.max(1);
        }
        self
    }
}

/// Checks that a batch has the keys and the event time that the spec asks for.
fn check(spec: &Spec, batch: &Batch) -> Result<()> {
    let needs_time = matches!(spec.window, Some(Window::Time { .. })) || spec.ewm_half_life_ns.is_some();
    let timed = !needs_time || batch.time_ns().is_some();
    if !timed {
        return Err(Error::Usage(
            "the spec asks for event time, which the batch does not have".into(),
        ));
    }
    if !batch.keys().iter().map(|(name, _)| name).eq(&spec.keys) {
        let there: Vec<&str> = batch.keys().iter().map(|(name, _)| name.as_str()).collect();
        return Err(Error::Usage(format!(
            "the spec asks for the keys [{}], the batch has [{}]",
            spec.keys.join(", "),
            there.join(", ")
        )));
    }
    Ok(())
}
