//! Batches in, finished rows out: state per key, and the rows that wait for their gradients.

use super::Transforms;
use super::layout::Layout;
use super::sequence::{Late, Pushed, Rows, Sequence, Total, Values as Dense};
use crate::backend::cpu::rolling::{self, is_absent};
use crate::batch::{Batch, Column, Values};
use crate::buffers::Buffers;
use crate::cells::Cells;
use crate::engine::KeyTable;
use crate::error::{Error, Result};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

/// More rows than any batch has: rows of a key are not cut into leaves here.
const NO_LEAF: usize = 1 << 48;

/// Makes row-by-row results of batches that follow each other.
///
/// [`Transformer::push`] gives the results of rows in their order as soon as they are known. With a gradient that is
/// when the next row of the same key has come: a row that waits holds up those behind it, so that memory grows by what
/// comes before the next row of a key. All else is known at once. Large results that were dropped leave their memory to
/// later ones: up to 256 MiB of it are kept.
///
/// ```
/// use millstream::Batch;
/// use millstream::transform::{Transformer, Transforms};
/// let mut transformer = Transformer::new(Transforms::new().gradient())?;
/// let first = transformer.push(&Batch::from_columns([("x", vec![0.0, 1.0, 4.0])])?)?;
/// let second = transformer.push(&Batch::from_columns([("x", vec![9.0])])?)?;
/// let rest = transformer.finish()?;
/// let gradients: Vec<f64> = [first, second, rest]
///     .iter()
///     .flat_map(|made| (0..made.rows()).map(|i| made.columns()[0].get(i)))
///     .collect();
/// assert_eq!(gradients, [1.0, 2.0, 4.0, 5.0]);
/// # Ok::<(), millstream::Error>(())
/// ```
#[derive(Debug)]
pub struct Transformer {
    asked: Transforms,
    layout: Option<Layout>,
    keys: Option<KeyTable>,
    sequences: Vec<Sequence>,
    /// By key and column: the moments of all values, where z-scores are asked for.
    totals: Vec<Vec<Total>>,
    /// The newest time by key.
    newest: Vec<i64>,
    /// Rows that were taken, and those that were given out.
    taken: u64,
    given: u64,
    /// By made column: the results of the rows that were taken and not given out.
    held: Vec<Vec<f64>>,
    /// The numbers of the rows whose gradients are not known.
    open: BTreeSet<u64>,
    /// Memory of results.
    buffers: Buffers<f64>,
}

impl Transformer {
    /// A transformer that has seen no rows.
    ///
    /// # Errors
    /// [`Error::Usage`] if the request makes no sense.
    pub fn new(asked: Transforms) -> Result<Self> {
        let asked = asked.checked()?;
        let keys = match asked.keys.as_slice() {
            [] => None,
            names => Some(KeyTable::new(names)?),
        };
        Ok(Self {
            asked,
            layout: None,
            keys,
            sequences: Vec::new(),
            totals: Vec::new(),
            newest: Vec::new(),
            taken: 0,
            given: 0,
            held: Vec::new(),
            open: BTreeSet::new(),
            buffers: Buffers::of_results(),
        })
    }

    /// Has results lie in this memory.
    pub(crate) fn with_buffers(self, buffers: Buffers<f64>) -> Self {
        Self { buffers, ..self }
    }

    /// What is asked.
    pub fn asked(&self) -> &Transforms {
        &self.asked
    }

    /// The names of the columns that are made of batches like this one, in their order.
    ///
    /// # Errors
    /// [`Error::Usage`] as for [`Transformer::push`].
    pub fn made(&self, batch: &Batch) -> Result<Vec<String>> {
        Ok(self.layout_of(batch)?.made)
    }

    /// Looks at rows beforehand: z-scores need the means of all rows, so every batch is measured before the first is
    /// pushed.
    ///
    /// # Errors
    /// As [`Transformer::push`].
    pub fn measure(&mut self, batch: &Batch) -> Result<()> {
        if self.taken > 0 {
            return Err(Error::Usage("rows are measured before the first is pushed".into()));
        }
        let layout = self.layout_of(batch)?;
        let numbers = self.numbers(batch)?;
        let columns = layout.places.len();
        self.totals.resize(self.keys_known(), vec![Total::default(); columns]);
        for (c, place) in layout.places.iter().enumerate() {
            let column = &batch.columns()[*place];
            for i in 0..batch.rows() {
                let key = numbers.get(i).map_or(0, |number| *number as usize);
                self.totals[key][c].push(column.get(i));
            }
        }
        self.layout = Some(layout);
        Ok(())
    }

    /// Takes the next rows; the results of the next rows that are finished, perhaps none: a batch of the made columns.
    ///
    /// # Errors
    /// [`Error::Usage`] for columns, keys or a time that are not there, for names of made columns that are taken, for
    /// batches that differ from those before, and for z-scores of rows that were not measured; [`Error::Data`] where
    /// the time of a key goes back.
    pub fn push(&mut self, batch: &Batch) -> Result<Batch> {
        self.take(batch, false)
    }

    /// Takes the last rows; all results that have not been given out. [`Transformer::finish`] is then of no more use.
    ///
    /// # Errors
    /// As [`Transformer::push`].
    pub fn push_last(&mut self, batch: &Batch) -> Result<Batch> {
        self.take(batch, true)
    }

    /// The results of the rows that were still waiting.
    ///
    /// # Errors
    /// As [`Transformer::push`].
    pub fn finish(&mut self) -> Result<Batch> {
        let Some(layout) = self.layout.clone() else {
            return Batch::new(0, Vec::new());
        };
        self.end(&layout, &BTreeSet::new());
        let given = (self.taken - self.given) as usize;
        let unsure = vec![std::iter::once(0..given).collect(); layout.made.len()];
        let made = std::mem::replace(&mut self.held, vec![Vec::new(); layout.made.len()]);
        self.given = self.taken;
        made_batch(&layout, made, &unsure, &self.buffers)
    }

    fn layout_of(&self, batch: &Batch) -> Result<Layout> {
        let Some(layout) = &self.layout else {
            return Layout::new(&self.asked, batch);
        };
        if batch.names() != layout.names {
            return Err(Error::Usage(format!(
                "the columns of a batch changed from {} to {}",
                layout.names.join(", "),
                batch.names().join(", ")
            )));
        }
        if batch.time_ns().is_some() != layout.timed {
            return Err(Error::Usage(
                "some batches have an event time and some have none".into(),
            ));
        }
        Ok(layout.clone())
    }

    /// By row: the number of its key; nothing without keys.
    fn numbers(&mut self, batch: &Batch) -> Result<Vec<u32>> {
        let mut numbers = Vec::new();
        if let Some(keys) = &mut self.keys {
            keys.numbers(batch.keys(), &mut numbers)?;
        }
        Ok(numbers)
    }

    fn keys_known(&self) -> usize {
        self.keys.as_ref().map_or(1, KeyTable::len)
    }

    fn take(&mut self, batch: &Batch, last: bool) -> Result<Batch> {
        let layout = self.layout_of(batch)?;
        let numbers = self.numbers(batch)?;
        if self.asked.zscores && self.totals.len() < self.keys_known() {
            return Err(Error::Usage(
                "z-scores need the mean of all rows: measure every batch before the first is pushed".into(),
            ));
        }
        self.check_times(batch, &numbers)?;
        self.layout = Some(layout.clone());
        for key in self.sequences.len()..self.keys_known() {
            let totals = self.totals.get(key).map_or(&[][..], Vec::as_slice);
            self.sequences.push(Sequence::new(&self.asked, &layout, totals));
        }
        let held = (self.taken - self.given) as usize;
        let count = batch.rows();
        let mut made: Vec<Vec<f64>> = std::mem::take(&mut self.held);
        made.resize(layout.made.len(), Vec::new());
        for column in &mut made {
            if column.is_empty() {
                *column = self.buffers.take(count);
            } else {
                column.resize(held + count, 0.0);
            }
        }
        let mut unsure: Vec<Vec<Range<usize>>> = vec![std::iter::once(0..held).collect(); made.len()];
        let mut outs: Vec<&mut [f64]> = made.iter_mut().map(|column| &mut column[held..]).collect();
        let late = match self.keys {
            None => self.take_one(&layout, batch, last, held, &mut outs, &mut unsure),
            Some(_) => self.take_keyed(&layout, batch, &numbers, last, held, &mut outs, &mut unsure),
        };
        for Late { row, column, value } in late {
            made[column][(row - self.given) as usize] = value;
        }
        self.taken += count as u64;
        self.held = made;
        if last {
            let ended = match self.keys {
                None => BTreeSet::from([0]),
                Some(_) => numbers.iter().copied().collect(),
            };
            self.end(&layout, &ended);
        }
        let known = match last {
            true => self.taken,
            false => self.open.first().copied().unwrap_or(self.taken),
        };
        let ready = (known - self.given) as usize;
        let mut made = std::mem::take(&mut self.held);
        self.held = made.iter_mut().map(|column| column.split_off(ready)).collect();
        self.given = known;
        made_batch(&layout, made, &unsure, &self.buffers)
    }

    /// All rows are of one sequence.
    fn take_one(
        &mut self,
        layout: &Layout,
        batch: &Batch,
        last: bool,
        held: usize,
        outs: &mut [&mut [f64]],
        unsure: &mut [Vec<Range<usize>>],
    ) -> Vec<Late> {
        let Some(sequence) = self.sequences.first_mut() else {
            return Vec::new();
        };
        let dense: Vec<Present<'_>> = layout
            .places
            .iter()
            .map(|place| Present::of(&batch.columns()[*place]))
            .collect();
        let rows = Rows {
            columns: dense.iter().map(Present::values).collect(),
            times: batch.time_ns(),
            count: batch.rows(),
            last,
        };
        let taken = self.taken;
        let pushed = sequence.push(&self.asked, layout, &rows, &|place| taken + place as u64, outs);
        self.open = sequence.waiting().collect();
        for (unsure, ranges) in unsure.iter_mut().zip(pushed.unsure) {
            unsure.extend(ranges.into_iter().map(|range| held + range.start..held + range.end));
        }
        pushed.late
    }

    /// Rows are brought together by key, and their results go back to where they came from.
    #[expect(
        clippy::too_many_arguments,
        reason = "one call, of which every part is another thing"
    )]
    fn take_keyed(
        &mut self,
        layout: &Layout,
        batch: &Batch,
        numbers: &[u32],
        last: bool,
        held: usize,
        outs: &mut [&mut [f64]],
        unsure: &mut [Vec<Range<usize>>],
    ) -> Vec<Late> {
        let cells = Cells::grouped(numbers, &vec![0; self.sequences.len()], NO_LEAF);
        let order = cells.order.as_deref().unwrap_or(&[]);
        let count = order.len();
        let columns: Vec<Vec<f64>> = layout
            .places
            .iter()
            .map(|place| {
                let column = Present::of(&batch.columns()[*place]);
                order.iter().map(|row| column.get(*row as usize)).collect()
            })
            .collect();
        let times: Option<Vec<i64>> = batch
            .time_ns()
            .map(|times| order.iter().map(|row| times[*row as usize]).collect());
        let mut grouped: Vec<Vec<f64>> = vec![vec![0.0; count]; outs.len()];
        let mut rests: Vec<&mut [f64]> = grouped.iter_mut().map(Vec::as_mut_slice).collect();
        let mut results: Vec<Pushed> = Vec::with_capacity(cells.blocks.len());
        results.resize_with(cells.blocks.len(), Pushed::default);
        let mut before = Vec::new();
        let mut tasks = Vec::with_capacity(cells.blocks.len());
        let mut sequences = self.sequences.iter_mut();
        let mut next = 0;
        for (block, result) in cells.blocks.iter().zip(&mut results) {
            let Some(sequence) = sequences.nth(block.cell as usize - next) else {
                break;
            };
            next = block.cell as usize + 1;
            before.extend(sequence.waiting());
            let mut outs = Vec::with_capacity(rests.len());
            for rest in &mut rests {
                let (here, behind) = std::mem::take(rest).split_at_mut(block.rows.len());
                outs.push(here);
                *rest = behind;
            }
            tasks.push((sequence, block.rows.clone(), outs, result));
        }
        let (asked, taken) = (&self.asked, self.taken);
        rolling::for_each(
            tasks,
            count * layout.made.len(),
            |(sequence, range, mut outs, result)| {
                let rows = Rows {
                    columns: columns.iter().map(|c| Dense::F64(&c[range.clone()])).collect(),
                    times: times.as_ref().map(|times| &times[range.clone()]),
                    count: range.len(),
                    last,
                };
                let places = &order[range.clone()];
                let number = |place: usize| taken + u64::from(places[place]);
                *result = sequence.push(asked, layout, &rows, &number, &mut outs);
            },
        );
        for row in before {
            self.open.remove(&row);
        }
        for block in &cells.blocks {
            self.open.extend(self.sequences[block.cell as usize].waiting());
        }
        for ((out, grouped), unsure) in outs.iter_mut().zip(&grouped).zip(unsure) {
            for (row, value) in order.iter().zip(grouped) {
                out[*row as usize] = *value;
            }
            unsure.push(held..held + count);
        }
        results.into_iter().flat_map(|pushed| pushed.late).collect()
    }

    /// No more rows will come: the gradients of the last rows of all keys but these.
    fn end(&mut self, layout: &Layout, ended: &BTreeSet<u32>) {
        if self.asked.gradient.is_none() {
            return;
        }
        let made = layout.made.len();
        for (key, sequence) in self.sequences.iter_mut().enumerate() {
            if ended.contains(&(key as u32)) {
                continue;
            }
            let rows = Rows {
                columns: vec![Dense::F64(&[]); layout.places.len()],
                times: layout.timed.then_some(&[][..]),
                count: 0,
                last: true,
            };
            let mut nothing: Vec<&mut [f64]> = (0..made).map(|_| &mut [][..]).collect();
            let pushed = sequence.push(&self.asked, layout, &rows, &|_| 0, &mut nothing);
            for Late { row, column, value } in pushed.late {
                self.held[column][(row - self.given) as usize] = value;
            }
        }
        self.open.clear();
    }

    /// Nothing of a batch is taken in which the time of a key goes back.
    fn check_times(&mut self, batch: &Batch, numbers: &[u32]) -> Result<()> {
        let Some(times) = batch.time_ns() else { return Ok(()) };
        let mut newest = std::mem::take(&mut self.newest);
        newest.resize(self.keys_known().max(newest.len()), i64::MIN);
        let mut wrong = None;
        match numbers {
            [] => {
                if let (Some(first), Some(last)) = (times.first(), times.last()) {
                    wrong = match *first < newest[0] {
                        true => Some(0),
                        false => times.windows(2).position(|pair| pair[1] < pair[0]).map(|i| i + 1),
                    };
                    newest[0] = *last;
                }
            }
            numbers => {
                for (i, (key, time)) in numbers.iter().zip(times).enumerate() {
                    let newest = &mut newest[*key as usize];
                    if *time < *newest {
                        wrong = Some(i);
                        break;
                    }
                    *newest = *time;
                }
            }
        }
        self.newest = newest;
        match wrong {
            None => Ok(()),
            Some(i) => Err(Error::Data(format!(
                "row {} (from 1, without the header): its time is before that of an earlier row{}; rows are to be \
                 sorted by time",
                self.taken + i as u64 + 1,
                if numbers.is_empty() { "" } else { " of the same key" }
            ))),
        }
    }
}

/// The values of a column, NaN where one is missing.
enum Present<'a> {
    F64(Cow<'a, [f64]>),
    F32(&'a [f32]),
}

impl<'a> Present<'a> {
    fn of(column: &'a Column) -> Self {
        match (&column.values, &column.nulls) {
            (Values::F64(values), None) => Self::F64(Cow::Borrowed(values)),
            (Values::F32(values), None) => Self::F32(values),
            _ => Self::F64((0..column.len()).map(|i| column.get(i)).collect()),
        }
    }

    fn get(&self, i: usize) -> f64 {
        match self {
            Self::F64(values) => values[i],
            Self::F32(values) => f64::from(values[i]),
        }
    }

    fn values(&self) -> Dense<'_> {
        match self {
            Self::F64(values) => Dense::F64(values),
            Self::F32(values) => Dense::F32(values),
        }
    }
}

/// The made columns as a batch; `unsure` says where results may be absent.
fn made_batch(
    layout: &Layout,
    made: Vec<Vec<f64>>,
    unsure: &[Vec<Range<usize>>],
    buffers: &Buffers<f64>,
) -> Result<Batch> {
    let rows = made.first().map_or(0, Vec::len);
    let column = |(values, unsure): (Vec<f64>, &Vec<Range<usize>>)| Column {
        nulls: nulls(&values, unsure),
        values: Values::F64(buffers.lend_values(values)),
    };
    let columns = made.into_iter().zip(unsure).map(column);
    Batch::new(rows, layout.made.iter().cloned().zip(columns).collect())
}

fn nulls(values: &[f64], unsure: &[Range<usize>]) -> Option<NullBuffer> {
    let within = |range: &Range<usize>| range.start.min(values.len())..range.end.min(values.len());
    let any = unsure
        .iter()
        .any(|range| values[within(range)].iter().any(|x| is_absent(*x)));
    if !any {
        return None;
    }
    let mut bits = vec![0xffu8; values.len().div_ceil(8)];
    for range in unsure {
        for i in within(range) {
            if is_absent(values[i]) {
                bits[i / 8] &= !(1 << (i % 8));
            }
        }
    }
    Some(NullBuffer::new(BooleanBuffer::new(bits.into(), 0, values.len())))
}

#[cfg(test)]
mod tests;
