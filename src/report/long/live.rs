//! The long table of reports that keep coming: one layout for all of them, known before the first.
//!
//! First `feed`, the key columns (as text: the type of a later value cannot be known), `window_start` and `window_end`,
//! `final`, `revision` and `part`; then what the table of a report has. What a feed does not have is null.

use super::{Bounds, Row, Sections, counts, free_name, key_text, rows_of, table, value_columns};
use crate::error::Result;
use crate::report::{Emission, KeyValue};
use crate::spec::{Spec, Window};
use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use std::sync::Arc;

/// Makes tables of one schema from the reports of feeds.
///
/// ```
/// use millstream::{Spec, report::long::LiveTable};
/// let table = LiveTable::new([(&Spec::new().by(["sensor"]), false)])?;
/// assert_eq!(table.schema().field(1).name(), "sensor");
/// # Ok::<(), millstream::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct LiveTable {
    /// The keys of all feeds, each once.
    keys: Vec<String>,
    /// What their columns are called.
    key_names: Vec<String>,
    sections: Sections,
    schema: SchemaRef,
}

impl LiveTable {
    /// For feeds of these specs, each with whether its reports have exponentially weighted statistics.
    ///
    /// # Errors
    /// [`Error::Failed`](crate::Error::Failed) if arrow refuses the schema.
    pub fn new<'a>(feeds: impl IntoIterator<Item = (&'a Spec, bool)>) -> Result<Self> {
        let mut keys: Vec<String> = Vec::new();
        let mut sections = Sections {
            bounds: Bounds::None,
            quantiles: Vec::new(),
            differences: false,
            ewm: false,
        };
        for (spec, ewm) in feeds {
            let new = spec.keys.iter().filter(|key| !keys.contains(key));
            keys.extend(new.cloned().collect::<Vec<_>>());
            let quantiles = spec.quantiles.iter().map(ToString::to_string);
            let new: Vec<String> = quantiles.filter(|q| !sections.quantiles.contains(q)).collect();
            sections.quantiles.extend(new);
            sections.differences |= spec.differences;
            sections.ewm |= ewm;
            sections.bounds = match (sections.bounds, spec.window) {
                (bounds, None) => bounds,
                (Bounds::None | Bounds::Instants, Some(Window::Time { .. })) => Bounds::Instants,
                (Bounds::None | Bounds::Rows, Some(Window::Rows { .. })) => Bounds::Rows,
                _ => Bounds::Text,
            };
        }
        let mut made = Self {
            keys,
            key_names: Vec::new(),
            sections,
            schema: Arc::new(arrow::datatypes::Schema::empty()),
        };
        let others = made.others(&[], &[])?;
        for (i, key) in made.keys.iter().enumerate() {
            let taken = |name: &str| {
                let other = others.iter().any(|(other, _)| other == name);
                other || made.key_names.iter().any(|n| n == name) || made.keys[i + 1..].iter().any(|k| k == name)
            };
            let name = free_name(key, taken);
            made.key_names.push(name);
        }
        made.schema = made.table(&[])?.schema();
        Ok(made)
    }

    /// The schema of every table.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// One row a column of each report.
    ///
    /// # Errors
    /// [`Error::Failed`](crate::Error::Failed) if a count does not fit 63 bits.
    pub fn table(&self, reports: &[Emission]) -> Result<RecordBatch> {
        let per_report: Vec<Vec<Row<'_>>> = reports.iter().map(|r| rows_of(&r.group).collect()).collect();
        let of_row: Vec<&Emission> = reports
            .iter()
            .zip(&per_report)
            .flat_map(|(report, rows)| std::iter::repeat_n(report, rows.len()))
            .collect();
        let rows: Vec<Row<'_>> = per_report.into_iter().flatten().collect();
        let others = self.others(&of_row, &rows)?;
        let key = |key: &String, row: &Row<'_>| {
            let value = row.group.key.as_ref().and_then(|k| k.get(key));
            key_text(value.unwrap_or(&KeyValue::Null))
        };
        let keys = self.keys.iter().zip(&self.key_names).map(|(name, shown)| {
            let cells: StringArray = rows.iter().map(|row| key(name, row)).collect();
            (shown.clone(), Arc::new(cells) as ArrayRef)
        });
        let mut columns = others;
        let behind_feed = 1..1;
        columns.splice(behind_feed, keys);
        table(columns)
    }

    /// Everything but the keys.
    fn others(&self, of_row: &[&Emission], rows: &[Row<'_>]) -> Result<Vec<(String, ArrayRef)>> {
        let feeds: StringArray = of_row.iter().map(|r| Some(&*r.feed)).collect();
        let finals: BooleanArray = of_row.iter().map(|r| Some(r.is_final)).collect();
        let (mut revision, mut part) = (of_row.iter().map(|r| r.revision), of_row.iter().map(|r| r.part));
        let revisions = counts(rows, |_| revision.next())?;
        let parts = counts(rows, |_| part.next())?;
        let mut columns: Vec<(String, ArrayRef)> = vec![("feed".into(), Arc::new(feeds))];
        let mut values = value_columns(&self.sections, rows)?;
        let windows = if self.sections.bounds == Bounds::None { 0 } else { 2 };
        let statistics = values.split_off(windows);
        columns.extend(values);
        columns.push(("final".into(), Arc::new(finals)));
        columns.push(("revision".into(), revisions));
        columns.push(("part".into(), parts));
        columns.extend(statistics);
        Ok(columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example;
    use crate::summary::Summary;
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{DataType, Int64Type};
    use std::time::Duration;

    fn emissions() -> Vec<Emission> {
        let groups = example::keyed_windows().groups.into_iter();
        groups
            .map(|group| Emission::new("main".into(), group, Summary::default()))
            .collect()
    }

    #[test]
    fn the_layout_does_not_depend_on_the_reports() {
        let spec = Spec::new()
            .by(["station"])
            .window(Window::tumbling(Duration::from_secs(600)))
            .quantiles(&[0.5]);
        let live = LiveTable::new([(&spec, true)]).unwrap();
        let mut reports = emissions();
        reports[1].part = 7;
        reports[2].is_final = false;
        let table = live.table(&reports).unwrap();
        assert_eq!(table.schema(), *live.schema());
        assert_eq!(live.table(&[]).unwrap().schema(), *live.schema());
        let names: Vec<&str> = live.schema().fields().iter().map(|f| f.name().as_str()).collect();
        let expected = "feed station window_start window_end final revision part column count missing sum mean variance \
                        std skewness kurtosis min max quantile_0.5 ewm_mean ewm_variance";
        assert_eq!(names.join(" "), expected);
        let column = |name: &str| table.column_by_name(name).unwrap();
        assert_eq!(column("part").as_primitive::<Int64Type>().value(1), 7);
        assert!(!column("final").as_boolean().value(2) && column("final").as_boolean().value(3));
        assert_eq!(column("station").as_string::<i32>().value(1), "b");
        assert_eq!(
            (column("ewm_mean").null_count(), column("quantile_0.5").null_count()),
            (6, 6)
        );
    }

    #[test]
    fn feeds_that_differ_share_a_table() {
        let timed = Spec::new()
            .by(["feed", "x"])
            .window(Window::tumbling(Duration::from_secs(1)));
        let counted = Spec::new().by(["x"]).window(Window::Rows { size: 5, slide: 5 });
        let live = LiveTable::new([(&timed, false), (&counted, false)]).unwrap();
        let field = |i: usize| {
            (
                live.schema().field(i).name().clone(),
                live.schema().field(i).data_type().clone(),
            )
        };
        assert_eq!(field(1).0, "feed_key");
        assert_eq!(field(2).0, "x");
        assert_eq!(field(3), ("window_start".into(), DataType::Utf8));
    }
}
