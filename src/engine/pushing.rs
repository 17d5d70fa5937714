//! Rows of many cells on their way to the states of these: on the CPU they are reduced in place, to other backends they
//! go as works.

use super::grouped::Grouped;
use super::places::Located;
use super::{Engine, Layout};
use crate::backend::Work;
use crate::backend::cpu::Place;
use crate::batch::Batch;
use crate::cells::Cells;
use crate::error::Result;
use crate::summary::LeafRun;
use std::sync::Arc;

/// Rows that are brought together by cell at once: their order and values stay in the second-level cache of most cores,
/// and what a batch of any size takes beside its own memory is bounded.
const GROUPED_ROWS: usize = 1 << 18;

/// The same where there are so many keys that their states do not stay there anyway: twice as many rows as keys, so that
/// going through all keys costs less than going through the rows, up to this.
const GROUPED_ROWS_MAX: usize = 1 << 21;

/// The same, and so many values: 32 MiB, which are copied into the order of their cells.
const GROUPED_VALUES_MAX: usize = 1 << 22;

impl Engine {
    /// Takes rows whose keys are known to be ones.
    pub(super) fn push_grouped(&mut self, partition: u32, batch: &Batch, layout: &Layout) -> Result<()> {
        let mut located = std::mem::take(&mut self.located);
        let threads = self.queue.backend().as_cpu().and_then(|cpu| cpu.threads_for(batch));
        let mut push = || self.push_chunks(partition, batch, layout, &mut located);
        let pushed = match threads {
            // All steps of all chunks on these threads: it is entered once.
            Some(threads) => threads.run(push),
            None => push(),
        };
        self.located = located;
        pushed
    }

    fn push_chunks(&mut self, partition: u32, batch: &Batch, layout: &Layout, located: &mut Located) -> Result<()> {
        let mut start = 0;
        while start < batch.rows() {
            let most = GROUPED_ROWS_MAX.min(GROUPED_VALUES_MAX / batch.columns().len().max(1));
            let at_once = GROUPED_ROWS.max(most.min(2 * self.keys()));
            let rows = batch.slice(start, at_once.min(batch.rows() - start));
            self.grouped.number(&rows, &mut located.keys)?;
            let first = self.rows + start as u64;
            start += rows.rows();
            match self.queue.backend().as_cpu().is_some() {
                true => self.push_in_place(partition, &rows, first, layout, located)?,
                false => self.push_works(partition, rows, &located.keys, first, layout)?,
            }
        }
        Ok(())
    }

    /// Has the CPU take rows into the states of their cells. `first` is the number of the first row of all.
    fn push_in_place(
        &mut self,
        partition: u32,
        batch: &Batch,
        first: u64,
        layout: &Layout,
        located: &mut Located,
    ) -> Result<()> {
        let Some(cpu) = self.queue.backend().as_cpu() else {
            return Ok(());
        };
        self.batches += 1;
        let (grouped, spec, shape) = (&mut self.grouped, &self.spec, &*layout.shape);
        grouped.locate(spec, partition, batch, (self.batches, first), located)?;
        let Located {
            rows, places, values, ..
        } = located;
        if spec.ewm_half_life_ns.is_some() {
            let orders = rows.orders(false);
            let of_cells = places.iter().flat_map(|place| {
                let parts = orders.iter().zip(rows.parts());
                parts.map(|(order, part)| (place.slot, &order[part.range(place.cell)]))
            });
            grouped.weigh(spec, shape, batch, of_cells);
        }
        let sketches = |grouped: &Grouped, places: &[Place]| match shape.quantiles {
            true => grouped.sketch_bytes_of(places.iter().map(|place| place.slot)),
            false => 0,
        };
        let before = sketches(grouped, places);
        let leaves = (shape, layout.leaf_rows);
        cpu.take_in(batch, rows, places, &mut grouped.states, leaves, values);
        grouped.sketch_bytes = grouped.sketch_bytes - before + sketches(grouped, places);
        Ok(())
    }

    /// `first` is the number of the first row of all.
    fn push_works(&mut self, partition: u32, batch: Batch, keys: &[u32], first: u64, layout: &Layout) -> Result<()> {
        let carries = self.queue.backend().carries();
        if carries {
            // Open leaves continue in the next work: what is outstanding has to be folded first.
            self.drain();
        }
        self.batches += 1;
        let stamp = self.batches;
        let mut cell_of_row = Vec::with_capacity(batch.rows());
        let slots = self
            .grouped
            .assign(&self.spec, partition, &batch, keys, (stamp, first), &mut cell_of_row)?;
        let open = if carries {
            self.grouped.take_open(&slots)
        } else {
            vec![None; slots.len()]
        };
        let rows = |run: &Option<LeafRun>| run.as_ref().map_or(0, |run| run.rows() as usize);
        let carried: Vec<usize> = open.iter().map(rows).collect();
        let cells = Cells::grouped(&cell_of_row, &carried, layout.leaf_rows);
        let order = cells.order.as_deref().unwrap_or(&[]);
        let of_cells = cells
            .blocks
            .iter()
            .map(|block| (slots[block.cell as usize], &order[block.rows.clone()]));
        self.grouped.weigh(&self.spec, &layout.shape, &batch, of_cells);
        let work = Work {
            batch,
            before: Arc::new([]),
            cells: Arc::new(cells),
            carried: open.into(),
            shape: layout.shape.clone(),
            open: carries,
            weights: None,
            resident: None,
        };
        self.submit(work, slots);
        Ok(())
    }
}
