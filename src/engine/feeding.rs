//! Feeds that do not end: rows of several partitions, a watermark that moves row by row, windows that close behind it.

use super::{Complete, Engine, Grouped, Lateness, Located, Refused, Watermarks};
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::report::{Closed, Report};
use crate::spec::Window;
use crate::summary::{LeafRun, Merge, Shape, Summary};

impl Engine {
    /// An engine whose windows close as soon as the watermark has passed their end (windows of rows: as soon as they are
    /// full).
    ///
    /// ```
    /// use millstream::engine::Lateness;
    /// use millstream::{Batch, Engine, Spec, Window};
    /// use std::time::Duration;
    /// let spec = Spec::new().window(Window::tumbling(Duration::from_secs(10)));
    /// let mut engine = Engine::new(spec)?.closing_windows(Lateness::new().lateness_ns(2_000_000_000));
    /// let rows = |seconds: &[i64]| {
    ///     let values = seconds.iter().map(|s| *s as f64).collect();
    ///     let times = seconds.iter().map(|s| s * 1_000_000_000).collect();
    ///     Batch::from_columns([("x", values)])?.with_time_ns(times)
    /// };
    /// assert_eq!(engine.push(&rows(&[1, 5, 11, 9])?)?.len(), 0);
    /// let closed = engine.push(&rows(&[12, 3])?)?;
    /// assert_eq!(closed[0].summary.rows, 3);
    /// // The row of second 3 came after second 12 less the lateness.
    /// assert_eq!(engine.late_rows(), 1);
    /// # Ok::<(), millstream::Error>(())
    /// ```
    #[must_use]
    pub fn closing_windows(mut self, lateness: Lateness) -> Self {
        self.watermarks = Some(Watermarks::new(lateness));
        self
    }

    /// Says that rows of a partition are to come: windows stay open until its first row moves the watermark too, or
    /// [`Engine::end_partition`], or it has been silent for the idle timeout. Without this a partition begins at the
    /// watermark that the feed has by then, and what is behind it is late: announce sub-streams that are read in turn, as
    /// files are, before the first row. One that is known already goes on; one that has ended begins again.
    ///
    /// ```
    /// use millstream::engine::Lateness;
    /// use millstream::{Batch, Engine, Spec, Window};
    /// use std::time::Duration;
    /// let spec = Spec::new().window(Window::tumbling(Duration::from_nanos(10)));
    /// let mut engine = Engine::new(spec)?.closing_windows(Lateness::new());
    /// let rows = |ns: i64| Batch::from_columns([("x", vec![1.0])])?.with_time_ns(vec![ns]);
    /// engine.expect_partition(0);
    /// engine.expect_partition(1);
    /// engine.take(0, &rows(95)?, 0)?;
    /// engine.end_partition(0);
    /// assert!(engine.closed(9)?.is_empty());
    /// assert!(engine.take(1, &rows(5)?, 0)?.is_empty());
    /// engine.take(1, &rows(10)?, 0)?;
    /// assert_eq!(engine.closed(9)?.len(), 1);
    /// # Ok::<(), millstream::Error>(())
    /// ```
    pub fn expect_partition(&mut self, partition: u32) {
        if let Some(watermarks) = &mut self.watermarks {
            watermarks.expect(partition);
        }
    }

    /// Says that a partition has had its last row, so that it holds no window open. Where all have ended the watermark
    /// stays where it is, until rows of another come or [`Engine::end`]. Rows that come of it after all begin at the
    /// watermark of the feed.
    pub fn end_partition(&mut self, partition: u32) {
        if let Some(watermarks) = &mut self.watermarks {
            watermarks.end(partition);
        }
    }

    /// Takes rows of a partition at this time of the clock (nanoseconds; any clock: a step back counts as no time), and
    /// says which are left out. Which those are depends on the rows of the partition before them, and on what had closed
    /// where it was new or silent; never on the rows of others while it holds windows open.
    ///
    /// # Errors
    /// As [`Engine::push`].
    pub fn take(&mut self, partition: u32, batch: &Batch, now_ns: i64) -> Result<Refused> {
        // A batch that is refused as a whole moves no watermark.
        self.prepare(batch)?;
        let pane_ns = match self.spec.window {
            Some(window @ Window::Time { .. }) => Some(window.pane()),
            _ => None,
        };
        let (Some(watermarks), Some(times)) = (&mut self.watermarks, batch.time_ns()) else {
            self.accept(partition, batch)?;
            return Ok(Refused::default());
        };
        let before = watermarks.clone();
        let refused = watermarks.admit(partition, times, pane_ns, now_ns);
        let taken = match refused.is_empty() {
            true => self.accept(partition, batch),
            false => batch
                .without(&refused.late, &refused.ahead)
                .and_then(|batch| self.accept(partition, &batch)),
        };
        if let Err(error) = taken {
            self.watermarks = Some(before);
            return Err(error);
        }
        self.late += refused.late.len() as u64;
        self.ahead += refused.ahead.len() as u64;
        Ok(refused)
    }

    /// Rows so far that came after their windows had closed.
    pub fn late_rows(&self) -> u64 {
        self.late
    }

    /// Rows that were taken since the engine was new.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Where the watermark is at this time of the clock, in nanoseconds since 1970; `None` before the first row.
    ///
    /// Time that passes between calls of [`Engine::take`] and of this counts as silence of every partition that had no
    /// rows in it, and only this leaves partitions out for it. So whoever has an idle timeout calls it when the source
    /// has been asked and has nothing: not while rows wait that have not been taken, a sink holds everything up, or
    /// partitions have not been read yet. After [`Engine::restore`] silence begins with the first call of either.
    pub fn advance(&mut self, now_ns: i64) -> Option<i64> {
        let watermarks = self.watermarks.as_mut()?;
        Some(watermarks.advance(now_ns)).filter(|ns| *ns != i64::MIN)
    }

    /// The watermark as the last [`Engine::take`] or [`Engine::advance`] left it.
    pub fn watermark_ns(&self) -> Option<i64> {
        let watermarks = self.watermarks.as_ref()?;
        Some(watermarks.feed_ns).filter(|ns| *ns != i64::MIN)
    }

    /// No more rows will come: everything that is open is complete. [`Engine::closed`] gives it.
    ///
    /// The engine is then as new; but one whose windows close as rows come ([`Engine::closing_windows`]) goes on, should
    /// there be more rows after all, as where a file has grown: with its watermarks and its counts, and what comes of
    /// windows that were reported at the end is another part of them ([`Closed::part`]).
    pub fn end(&mut self) {
        self.ended = true;
        if let Some(layout) = self.layout.clone() {
            self.submit_tail(&layout);
        }
        self.drain();
    }

    /// The next windows that are complete, at most `max` of them, ordered by window, then key; none where there are no
    /// more. The watermark of the feed moves to where the rows so far have brought it.
    ///
    /// # Errors
    /// [`Error::Failed`] if keys cannot be read back.
    pub fn closed(&mut self, max: usize) -> Result<Vec<Closed>> {
        let Some(shape) = self.layout.as_ref().map(|layout| layout.shape.clone()) else {
            if self.ended {
                self.reset();
            }
            return Ok(Vec::new());
        };
        let complete = match (&mut self.watermarks, self.spec.window) {
            _ if self.ended => Complete::All,
            (Some(watermarks), window) => {
                let feed_ns = watermarks.reach();
                let pane = window.filter(|w| matches!(w, Window::Time { .. })).map(Window::pane);
                Complete::Before(pane.map_or(i64::MIN, |pane| feed_ns.div_euclid(pane)))
            }
            (None, _) => return Ok(Vec::new()),
        };
        if !self.spec.is_grouped() {
            if !self.ended {
                return Ok(Vec::new());
            }
            let summary = std::mem::take(&mut self.single.folded);
            if summary.rows == 0 && self.grouped.closing.again.is_some() {
                // Nothing came since the end before.
                self.ended = false;
                return Ok(Vec::new());
            }
            let all = self.of_all_rows(summary, &shape);
            self.reset();
            return Ok(vec![all]);
        }
        if self.grouped.may_close(complete) {
            self.drain();
        }
        if self.ended && self.watermarks.is_none() {
            self.grouped.forget_places();
        }
        let closed = self.grouped.next_closed(complete, max, &shape)?;
        if closed.is_empty() && self.ended {
            self.reset();
        }
        Ok(closed)
    }

    /// What is open now, ordered by window, then key: not final, as more rows may come. Where windows overlap, it is of
    /// each key the window that closes next.
    ///
    /// # Errors
    /// [`Error::Failed`] if keys cannot be read back.
    pub fn open_windows(&mut self) -> Result<Vec<Closed>> {
        self.drain();
        let Some(layout) = &self.layout else {
            return Ok(Vec::new());
        };
        if self.spec.is_grouped() {
            return self.grouped.open_windows(&layout.shape);
        }
        let mut run = LeafRun::new(&layout.shape);
        let mut row = vec![0.0; layout.places.len()];
        for piece in self.single.tail.clone().take() {
            for i in 0..piece.rows() {
                row.iter_mut()
                    .zip(piece.columns())
                    .for_each(|(x, column)| *x = column.get(i));
                run.push(&layout.shape, &row, piece.time_ns().map(|times| times[i]));
            }
        }
        let mut summary = self.single.folded.clone();
        summary.merge(&run.finish(&layout.shape));
        Ok(vec![self.of_all_rows(summary, &layout.shape)])
    }

    /// The report of the rows so far, to the last bit that of [`Engine::finish`]; more rows may follow.
    ///
    /// ```
    /// use millstream::{Batch, Engine, Spec};
    /// let mut engine = Engine::new(Spec::new())?;
    /// engine.push(&Batch::from_columns([("x", vec![1.0, 2.0])])?)?;
    /// assert_eq!(engine.report_so_far()?.groups[0].columns["x"].mean, Some(1.5));
    /// engine.push(&Batch::from_columns([("x", vec![6.0])])?)?;
    /// assert_eq!(engine.finish()?.groups[0].columns["x"].mean, Some(3.0));
    /// # Ok::<(), millstream::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Usage`] for a spec with keys or windows: what is open of those, [`Engine::open_windows`] says.
    pub fn report_so_far(&mut self) -> Result<Report> {
        if self.spec.is_grouped() {
            return Err(Error::Usage(
                "there is no report of the rows so far for a spec with keys or windows".into(),
            ));
        }
        self.drain();
        let Some(layout) = self.layout.clone() else {
            return Ok(self.report(0, &[], []));
        };
        let before = self.single.clone();
        self.submit_tail(&layout);
        self.drain();
        let now = std::mem::replace(&mut self.single, before);
        let all = self.of_all_rows(now.folded, &layout.shape);
        let mut report = self.report(self.rows, &layout.reported, [all]);
        report.late_rows = self.late;
        Ok(report)
    }

    /// Whether batches with these columns can be pushed.
    ///
    /// # Errors
    /// As [`Engine::push`] of such a batch.
    pub(crate) fn suits(&self, batch: &Batch) -> Result<()> {
        self.prepare(batch).map(drop)
    }

    /// The only cell, where there are neither keys nor windows.
    fn of_all_rows(&self, mut summary: Summary, shape: &Shape) -> Closed {
        if summary.rows == 0 {
            summary = LeafRun::new(shape).finish(shape);
        }
        Closed {
            ewm: self.single.ewm.clone(),
            part: self.grouped.closing.part(0),
            ..Closed::new(None, None, summary)
        }
    }

    /// As new, or going on where windows close as rows come.
    fn reset(&mut self) {
        self.ended = false;
        if self.watermarks.is_some() {
            let single = (self.layout.is_some() && !self.spec.is_grouped()).then_some(0);
            self.grouped.closing.go_on(single);
            return;
        }
        self.layout = None;
        self.single = super::Single::default();
        self.grouped = Grouped::new(self.spec.window);
        self.located = Located::default();
        (self.rows, self.late, self.ahead) = (0, 0, 0);
    }

    /// Merges of panes into windows so far: what sliding windows cost.
    pub fn window_merges(&self) -> u64 {
        self.grouped.merges()
    }

    /// Bytes that the open state takes, about: cells, keys, and panes that open windows hold.
    pub fn state_bytes(&self) -> u64 {
        let layout = self.layout.as_ref();
        layout.map_or(0, |layout| self.grouped.state_bytes(&layout.shape))
    }
}

impl Batch {
    /// The rows at all other places than these (each list rising).
    fn without(&self, late: &[u32], ahead: &[u32]) -> Result<Self> {
        let mut keep = vec![true; self.rows()];
        late.iter().chain(ahead).for_each(|place| keep[*place as usize] = false);
        self.filter(&keep.into())
            .map_err(|e| Error::Failed(format!("rows could not be taken out of a batch: {e}")))
    }
}

#[cfg(test)]
mod tests;
