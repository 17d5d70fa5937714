//! Rows that arrive one at a time, with the result of a batch.
//!
//! Rows are written into columns until they fill a leaf, and whole leaves go to the engine. So a row costs as many stores
//! as it has values and no allocation, and what comes of the rows has the bits that [`Engine::analyze`] gives for all of
//! them in one batch. The row behind a full leaf takes as long as reducing that.

use crate::batch::{Batch, Column, Values};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::report::Report;
use crate::spec::{LEAF_ROWS, Spec};

/// Reduces rows that arrive one at a time.
///
/// ```
/// use millstream::{Online, Spec};
/// let mut online = Online::new(Spec::new().covariance(), ["temperature", "wind"])?;
/// online.push(&[12.8, 4.7])?;
/// online.push(&[10.6, 4.5])?;
/// assert_eq!(online.report()?.groups[0].columns["wind"].mean, Some(4.6));
/// // A value that is missing is NaN.
/// online.push(&[11.4, f64::NAN])?;
/// let report = online.finish()?;
/// assert_eq!((report.rows, report.groups[0].columns["wind"].missing), (3, 1));
/// # Ok::<(), millstream::Error>(())
/// ```
#[derive(Debug)]
pub struct Online {
    engine: Engine,
    names: Vec<String>,
    /// The rows that the engine has not had, column by column.
    columns: Vec<Vec<f64>>,
    /// Their event times.
    times_ns: Vec<i64>,
    /// How many there are.
    waiting: usize,
    /// How many of them go to the engine together: what is missing to a whole leaf.
    block_rows: usize,
    /// Whether rows have an event time, as the first of them says.
    timed: Option<bool>,
}

impl Online {
    /// For rows of values of these columns, in this order; the spec has neither keys nor windows.
    ///
    /// # Errors
    /// [`Error::Usage`] for a spec that makes no sense or has keys or windows, for no column, a name that occurs twice, or
    /// a name in the spec that is not among them.
    pub fn new<N: Into<String>>(spec: Spec, columns: impl IntoIterator<Item = N>) -> Result<Self> {
        if spec.is_grouped() {
            return Err(Error::Usage(
                "rows that arrive one at a time are summarised without keys and windows".into(),
            ));
        }
        let names: Vec<String> = columns.into_iter().map(Into::into).collect();
        if names.is_empty() {
            return Err(Error::Usage("a row has one value or more: no column is named".into()));
        }
        let this = Self {
            columns: vec![Vec::new(); names.len()],
            names,
            times_ns: Vec::new(),
            waiting: 0,
            block_rows: LEAF_ROWS,
            timed: None,
            engine: Engine::new(spec)?,
        };
        // What is wrong with the names shows here and not at the first leaf.
        let none = Batch::from_columns(this.names.iter().map(|name| (name.as_str(), Vec::new())))?;
        this.engine.suits(&match this.needs_time() {
            true => none.with_time_ns(Vec::new())?,
            false => none,
        })?;
        Ok(this)
    }

    /// What is computed.
    pub fn spec(&self) -> &Spec {
        self.engine.spec()
    }

    /// The names of the values of a row.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.engine.rows() + self.waiting as u64
    }

    /// Takes the next row: one value a column, NaN where it is missing.
    ///
    /// # Errors
    /// [`Error::Usage`] for another number of values than columns, and where rows have an event time. The row is then not
    /// taken.
    #[inline]
    pub fn push(&mut self, row: &[f64]) -> Result<()> {
        self.accept(row, None)
    }

    /// Takes the next row with its event time, in nanoseconds since 1970-01-01T00:00:00Z.
    ///
    /// # Errors
    /// [`Error::Usage`] for another number of values than columns, and where the rows before have no event time. The row
    /// is then not taken.
    #[inline]
    pub fn push_at(&mut self, time_ns: i64, row: &[f64]) -> Result<()> {
        self.accept(row, Some(time_ns))
    }

    #[inline]
    fn accept(&mut self, row: &[f64], time_ns: Option<i64>) -> Result<()> {
        if row.len() != self.columns.len() || self.timed != Some(time_ns.is_some()) {
            self.check(row, time_ns.is_some())?;
        }
        for (column, value) in self.columns.iter_mut().zip(row) {
            column.push(*value);
        }
        self.times_ns.extend(time_ns);
        self.waiting += 1;
        if self.waiting == self.block_rows {
            self.hand_over()?;
        }
        Ok(())
    }

    /// Whether a row may be the next one; the first says whether there are event times.
    #[cold]
    fn check(&mut self, row: &[f64], timed: bool) -> Result<()> {
        if row.len() != self.names.len() {
            let (values, names) = (row.len(), self.names.join(", "));
            return Err(Error::Usage(format!(
                "a row has {values} values, and there are {} columns: {names}",
                self.names.len()
            )));
        }
        if self.timed.unwrap_or(timed) != timed {
            return Err(Error::Usage(format!(
                "the rows before had {} event time, this one has {}",
                if timed { "no" } else { "an" },
                if timed { "one" } else { "none" },
            )));
        }
        if !timed && self.needs_time() {
            return Err(Error::Usage(
                "the spec asks for event time, which the row does not have".into(),
            ));
        }
        self.timed = Some(timed);
        Ok(())
    }

    fn needs_time(&self) -> bool {
        self.spec().ewm_half_life_ns.is_some()
    }

    /// Gives the rows that wait to the engine.
    fn hand_over(&mut self) -> Result<()> {
        if self.waiting == 0 {
            return Ok(());
        }
        // As much room again, so that no row of the next leaf looks for some.
        let named = self.names.iter().zip(&mut self.columns).map(|(name, values)| {
            let next = Vec::with_capacity(LEAF_ROWS);
            let values = Values::F64(std::mem::replace(values, next).into());
            (name.clone(), Column { values, nulls: None })
        });
        let mut batch = Batch::new(self.waiting, named.collect())?;
        if self.timed == Some(true) {
            let next = Vec::with_capacity(LEAF_ROWS);
            batch = batch.with_time_ns(std::mem::replace(&mut self.times_ns, next))?;
        }
        self.waiting = 0;
        self.engine.push(&batch)?;
        // Whole leaves are not copied again.
        self.block_rows = LEAF_ROWS - (self.engine.rows() % LEAF_ROWS as u64) as usize;
        Ok(())
    }

    /// The report of the rows so far, to the last bit that of [`Engine::analyze`] for all of them; more may follow. It
    /// reduces the rows of the unfinished leaf each time.
    ///
    /// # Errors
    /// [`Error::Failed`] if the engine cannot reduce them.
    pub fn report(&mut self) -> Result<Report> {
        self.hand_over()?;
        self.engine.report_so_far()
    }

    /// The report of all rows; there are none afterwards, and the next one says again whether rows have an event time.
    ///
    /// # Errors
    /// As [`Online::report`].
    pub fn finish(&mut self) -> Result<Report> {
        self.hand_over()?;
        (self.block_rows, self.timed) = (LEAF_ROWS, None);
        self.engine.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_row_between_two_leaves_looks_for_memory() {
        let mut online = Online::new(Spec::new(), ["x", "y"]).unwrap();
        let mut places = Vec::new();
        for i in 0..3 * LEAF_ROWS {
            online.push_at(i as i64, &[i as f64, 1.0]).unwrap();
            let columns = online.columns.iter().map(|c| (c.as_ptr() as usize, c.capacity()));
            let times = (online.times_ns.as_ptr() as usize, online.times_ns.capacity());
            places.push(columns.chain([times]).collect::<Vec<_>>());
        }
        for leaf in places[LEAF_ROWS - 1..3 * LEAF_ROWS - 1].chunks(LEAF_ROWS) {
            assert!(leaf.iter().all(|place| *place == leaf[0]));
        }
    }
}
