//! Where every row of a feed went.

/// Where every row went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Rows that came, good and bad.
    pub rows_in: u64,
    /// Rows in summaries.
    pub aggregated: u64,
    /// Rows that the filter left out.
    pub filtered: u64,
    /// Rows behind the watermark.
    pub late: u64,
    /// Rows that could not be read, or were too far ahead.
    pub quarantined: u64,
    /// Rows that came and could not be taken.
    pub dropped: u64,
}

impl Counts {
    /// Whether every row went somewhere.
    pub fn is_complete(&self) -> bool {
        self.rows_in == self.aggregated + self.filtered + self.late + self.quarantined + self.dropped
    }

    /// In the order of a checkpoint.
    pub(super) fn array(self) -> [u64; 6] {
        let Self {
            rows_in,
            aggregated,
            filtered,
            late,
            quarantined,
            dropped,
        } = self;
        [rows_in, aggregated, filtered, late, quarantined, dropped]
    }

    /// Of what [`Counts::array`] gave.
    pub(super) fn of([rows_in, aggregated, filtered, late, quarantined, dropped]: [u64; 6]) -> Self {
        Self {
            rows_in,
            aggregated,
            filtered,
            late,
            quarantined,
            dropped,
        }
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "rows in {} = aggregated {} + filtered {} + late {} + quarantined {} + dropped {}",
            self.rows_in, self.aggregated, self.filtered, self.late, self.quarantined, self.dropped
        )
    }
}
