//! The engines of a feed: one, or where processes share the feed one for each partition that this one has.
//!
//! An engine that has the rows of one partition alone closes windows by the watermark of that partition, so its reports
//! depend on nothing else. What the group is told of a partition is from where to read it again to have the windows that
//! are open: the beginning of the oldest batch with a row of one of them, and the watermark that was there.

use crate::backend::cpu::Cpu;
use crate::batch::Batch;
use crate::engine::{Engine, Fallbacks, Lateness, Refused};
use crate::error::{Error, Result};
use crate::io::Position;
use crate::io::shared::{Given, SharedPlace, SharedPlaces};
use crate::report::{Closed, WindowBounds};
use crate::spec::{Spec, Window};
use std::collections::{BTreeMap, VecDeque};

/// From which offset of a partition to which rows come, where that counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    pub(super) partition: u32,
    pub(super) from: u64,
    pub(super) upto: u64,
}

/// The engines of a feed.
pub(super) enum Engines {
    One(Box<Engine>),
    Shared(Box<Shared>),
}

/// One engine a partition.
pub(super) struct Shared {
    spec: Spec,
    lateness: Lateness,
    /// What the windows are made for.
    made_for: u32,
    /// When its partitions were given, how many there are, whoever has them, and whether they were given back.
    assignment: u64,
    partitions: u32,
    is_suspended: bool,
    held: BTreeMap<u32, Held>,
}

/// A partition.
struct Held {
    engine: Engine,
    /// The offset behind the rows that were reduced.
    next: u64,
    counted: u64,
    /// Windows that end up to here were reported by whoever had it before.
    reported_ns: i64,
    /// The end of the last window that was reported here.
    closed_ns: i64,
    /// Whether rows of windows that were reported are late by now: those that were counted are not.
    is_raised: bool,
    /// Batches with rows of windows that are open; the ends of their last windows rise.
    begun: VecDeque<Begun>,
}

struct Begun {
    from: u64,
    /// The watermark before it.
    watermark: Vec<u8>,
    /// The end of the last window that has a row of it.
    ends_ns: i64,
}

impl Held {
    fn new(spec: &Spec, lateness: Lateness, place: &SharedPlace) -> Result<Self> {
        let backend = Box::new(Cpu::new());
        let mut engine = Engine::with_backend(spec.clone(), backend)?.closing_windows(lateness);
        if !place.watermark.is_empty() {
            engine.set_watermark(&place.watermark)?;
        }
        Ok(Self {
            engine,
            next: place.from,
            counted: place.counted,
            reported_ns: place.closed_ns,
            closed_ns: place.closed_ns,
            is_raised: false,
            begun: VecDeque::new(),
        })
    }

    fn take(&mut self, spec: &Spec, stretch: Stretch, batch: &Batch, clock_ns: i64) -> Result<Refused> {
        if !self.is_raised && stretch.from >= self.counted {
            // Where a clock or an end closed windows, they end behind the watermark.
            self.engine.raise_watermark(self.reported_ns);
            self.is_raised = true;
        }
        let watermark = self.engine.watermark_bytes()?;
        let refused = self.engine.take(stretch.partition, batch, clock_ns)?;
        self.next = self.next.max(stretch.upto);
        // Rows that are too far ahead are in no window.
        let mut ahead = refused.ahead.iter().copied().peekable();
        let times = batch.time_ns().unwrap_or(&[]).iter().zip(0_u32..);
        let newest = times
            .filter(|(_, i)| ahead.next_if_eq(i).is_none())
            .map(|(time, _)| *time)
            .max();
        if let Some(newest) = newest {
            let ends_ns = last_end(spec, newest);
            // Where an earlier batch has rows of a later window, it is kept longer than this one needs it.
            if self.begun.back().is_none_or(|last| last.ends_ns < ends_ns) {
                self.begun.push_back(Begun {
                    from: stretch.from,
                    watermark,
                    ends_ns,
                });
            }
        }
        Ok(refused)
    }

    /// Where it stands, everything that closed being reported.
    fn place(&mut self, partition: u32, made_for: u32, upto: u64) -> Result<SharedPlace> {
        // What holds no row is behind it too.
        self.next = self.next.max(upto);
        let closed_ns = self.engine.watermark_ns().unwrap_or(i64::MIN).max(self.closed_ns);
        while self.begun.front().is_some_and(|begun| begun.ends_ns <= closed_ns) {
            self.begun.pop_front();
        }
        let (from, watermark) = match self.begun.front() {
            Some(begun) => (begun.from, begun.watermark.clone()),
            None => (self.next, self.engine.watermark_bytes()?),
        };
        Ok(SharedPlace {
            partition,
            from,
            counted: self.next.max(self.counted),
            closed_ns,
            watermark,
            made_for: Some(made_for),
        })
    }
}

/// The end of the last window of time that holds an instant.
fn last_end(spec: &Spec, time_ns: i64) -> i64 {
    match spec.window {
        Some(window @ Window::Time { .. }) => {
            let (size, slide) = window.size_slide();
            let start = i128::from(time_ns.div_euclid(slide)) * i128::from(slide);
            i64::try_from(start + i128::from(size)).unwrap_or(i64::MAX)
        }
        _ => i64::MAX,
    }
}

/// The end of a window of time.
fn end_ns(closed: &Closed) -> i64 {
    match closed.window {
        Some(WindowBounds::Time { end_ns, .. }) => end_ns,
        _ => i64::MAX,
    }
}

impl Engines {
    /// One for each partition, as they are given; `made_for` is a checksum of what decides what is reported.
    pub(super) fn shared(spec: &Spec, lateness: Lateness, made_for: u32) -> Result<Self> {
        Ok(Self::Shared(Box::new(Shared {
            spec: spec.clone().checked()?,
            lateness,
            made_for,
            assignment: 0,
            partitions: 0,
            is_suspended: false,
            held: BTreeMap::new(),
        })))
    }

    /// The only engine, where there is one.
    pub(super) fn one(&mut self) -> Option<&mut Engine> {
        match self {
            Self::One(engine) => Some(engine),
            Self::Shared(_) => None,
        }
    }

    fn all(&self) -> impl Iterator<Item = &Engine> {
        let (one, shared) = match self {
            Self::One(engine) => (Some(&**engine), None),
            Self::Shared(shared) => (None, Some(&**shared)),
        };
        let held = shared.into_iter().flat_map(|shared| shared.held.values());
        one.into_iter().chain(held.map(|held| &held.engine))
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Engine> {
        let (one, shared) = match self {
            Self::One(engine) => (Some(&mut **engine), None),
            Self::Shared(shared) => (None, Some(shared)),
        };
        let held = shared.into_iter().flat_map(|shared| shared.held.values_mut());
        one.into_iter().chain(held.map(|held| &mut held.engine))
    }

    /// What the group gave this process: what it does not have any more is forgotten.
    pub(super) fn give(&mut self, given: &Given) -> Result<()> {
        let Self::Shared(shared) = self else { return Ok(()) };
        let made_for = |place: &&SharedPlace| place.made_for.is_some_and(|made_for| made_for != shared.made_for);
        if given.places.iter().any(|place| made_for(&place)) {
            return Err(Error::Config(
                "the group keeps the places of a feed with another name, or with other [rows], [window] or [statistics], \
                 whose windows cannot be gone on with: name another group"
                    .into(),
            ));
        }
        (shared.assignment, shared.partitions, shared.is_suspended) = (given.assignment, given.partitions, false);
        shared.held.retain(|partition, _| given.kept.contains(partition));
        for place in &given.places {
            let held = Held::new(&shared.spec, shared.lateness, place)?;
            shared.held.insert(place.partition, held);
        }
        Ok(())
    }

    /// Where the partitions stand, everything that closed being reported.
    pub(super) fn places(&mut self, positions: &BTreeMap<u32, Position>) -> Result<SharedPlaces> {
        let Self::Shared(shared) = self else {
            return Ok(SharedPlaces::default());
        };
        let made_for = shared.made_for;
        let place = |(number, held): (&u32, &mut Held)| {
            let upto = positions.get(number).map_or(0, |position| position.offset_bytes);
            held.place(*number, made_for, upto)
        };
        Ok(SharedPlaces {
            assignment: shared.assignment,
            places: shared.held.iter_mut().map(place).collect::<Result<_>>()?,
        })
    }

    /// Its partitions were given back: they stay as they are, should it be given them again.
    pub(super) fn suspend(&mut self) {
        if let Self::Shared(shared) = self {
            shared.is_suspended = true;
        }
    }

    /// How many partitions there are, whoever has them.
    pub(super) fn partitions(&self) -> u32 {
        match self {
            Self::One(_) => 0,
            Self::Shared(shared) => shared.partitions,
        }
    }

    /// Whether rows of the partition count here: those that still come of one that another process has do not.
    pub(super) fn has(&self, partition: u32) -> bool {
        match self {
            Self::One(_) => true,
            Self::Shared(shared) => shared.held.contains_key(&partition),
        }
    }

    /// Whether rows up to this offset were counted by who had the partition before.
    pub(super) fn were_counted(&self, partition: u32, upto: u64) -> bool {
        match self {
            Self::One(_) => false,
            Self::Shared(shared) => shared.held.get(&partition).is_some_and(|held| upto <= held.counted),
        }
    }

    /// Takes rows, and says which are left out.
    pub(super) fn take(&mut self, stretch: Stretch, batch: &Batch, clock_ns: i64) -> Result<Refused> {
        match self {
            Self::One(engine) => engine.take(stretch.partition, batch, clock_ns),
            Self::Shared(shared) => match shared.held.get_mut(&stretch.partition) {
                Some(held) => held.take(&shared.spec, stretch, batch, clock_ns),
                None => Ok(Refused::default()),
            },
        }
    }

    /// The next windows that closed, at most `max`, and the partition that they are of, where each has its own; none where
    /// no more are.
    pub(super) fn closed(&mut self, max: usize) -> Result<(Option<u32>, Vec<Closed>)> {
        let shared = match self {
            Self::One(engine) => return Ok((None, engine.closed(max)?)),
            Self::Shared(shared) => shared,
        };
        for (partition, held) in &mut shared.held {
            loop {
                let mut closed = held.engine.closed(max)?;
                if closed.is_empty() {
                    break;
                }
                let reported_ns = held.reported_ns;
                closed.retain(|closed| end_ns(closed) > reported_ns);
                held.closed_ns = closed.iter().map(end_ns).fold(held.closed_ns, i64::max);
                if !closed.is_empty() {
                    return Ok((Some(*partition), closed));
                }
            }
        }
        Ok((None, Vec::new()))
    }

    /// The columns of the summaries of a partition.
    pub(super) fn summary_columns(&self, partition: u32) -> Vec<String> {
        match self {
            Self::One(engine) => engine.summary_columns(),
            Self::Shared(shared) => {
                let held = shared.held.get(&partition);
                held.map_or(Vec::new(), |held| held.engine.summary_columns())
            }
        }
    }

    /// Reports of keys that have to be given up, as there are too many.
    pub(super) fn give_up(&mut self, keys_max: usize, bytes_max: u64) -> Result<Vec<Closed>> {
        let shared = match self {
            Self::One(engine) => return engine.give_up(keys_max, bytes_max),
            Self::Shared(shared) => shared,
        };
        let is_over = |shared: &Shared| {
            let engines = || shared.held.values().map(|held| &held.engine);
            engines().map(Engine::keys).sum::<usize>() > keys_max
                || engines().map(Engine::state_bytes).sum::<u64>() > bytes_max
        };
        if is_over(shared) {
            shared
                .held
                .values_mut()
                .try_for_each(|held| held.engine.forget_closed())?;
            if is_over(shared) {
                return Err(Error::Limit(
                    "a feed that processes share cannot report windows in parts: raise [limits] keys or memory, or have \
                     more processes"
                        .into(),
                ));
            }
        }
        Ok(Vec::new())
    }

    /// What is open, where there is one engine.
    pub(super) fn open_windows(&mut self) -> Result<Vec<Closed>> {
        match self {
            Self::One(engine) => engine.open_windows(),
            Self::Shared(_) => Ok(Vec::new()),
        }
    }

    /// The watermarks go on with the clock for silence.
    pub(super) fn advance(&mut self, clock_ns: i64) {
        match self {
            Self::One(engine) => {
                engine.advance(clock_ns);
            }
            // What was given back, and what is read again, is not silent.
            Self::Shared(shared) if !shared.is_suspended => {
                for held in shared.held.values_mut().filter(|held| held.next >= held.counted) {
                    held.engine.advance(clock_ns);
                }
            }
            Self::Shared(_) => {}
        }
    }

    /// No more rows will come, and what is open closes.
    pub(super) fn end(&mut self) {
        self.all_mut().for_each(Engine::end);
    }

    /// The least of the watermarks.
    pub(super) fn watermark_ns(&self) -> Option<i64> {
        self.all().filter_map(Engine::watermark_ns).min()
    }

    pub(super) fn cells(&self) -> usize {
        self.all().map(Engine::cells).sum()
    }

    pub(super) fn keys(&self) -> usize {
        self.all().map(Engine::keys).sum()
    }

    /// How often the backend failed; several engines have the CPU, which others fall back to.
    pub(super) fn fallbacks(&self) -> Option<&Fallbacks> {
        match self {
            Self::One(engine) => Some(engine.fallbacks()),
            Self::Shared(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
