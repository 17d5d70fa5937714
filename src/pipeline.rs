//! From a source to a report: filter, derive, reduce.
//!
//! The source decodes on its own threads while the batches before are reduced, over bounded queues, so the memory in
//! use does not grow with the input. Every row ends up in exactly one count: aggregated, filtered or rejected.

mod differences;
mod fitting;
mod outline;
mod predict;
mod quarantine;
mod run;
mod sample;
mod transform;
mod workload;

pub use predict::{Predict, Predicted, predict};
pub use run::{Counts, Ended, check_alerts, check_environment, run};
pub use transform::{Transformation, Transformed, transform};
pub use workload::workload;

use crate::backend::Backend;
use crate::batch::{Batch, is_numeric};
use crate::engine::{Engine, Fallbacks};
use crate::error::{Error, Result};
use crate::expr::{Bound, Definition, Expr};
use crate::io::{About, Read, Source};
use crate::report::text::counted;
use crate::report::{Report, Sample};
use crate::spec::{ModelSpec, Spec, Window, places, unknown_column};
use arrow::array::RecordBatch;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// What to ask of an input. A literal ends in `..Query::default()`, as there will be more to ask.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// The statistics.
    pub spec: Spec,
    /// Keep only the rows for which this holds.
    pub filter: Option<Expr>,
    /// Numeric columns derived from others; later ones may use earlier ones.
    pub definitions: Vec<Definition>,
    /// The column of the event time, as the source was told it.
    pub time: Option<String>,
    /// Whether rows have the time of their arrival as event time, which comes from elsewhere.
    pub arrival_time: bool,
    /// The model to fit. Its columns are kept in memory to the end; there are no groups then.
    pub fit: Option<ModelSpec>,
    /// Where rows go that cannot be read.
    pub quarantine: Option<PathBuf>,
    /// Where the row-by-row differences go (csv or parquet by extension).
    pub differences_output: Option<PathBuf>,
    /// Whether to keep a sample of every column, for charts.
    pub samples: bool,
    /// State above this stops the work with [`Error::Limit`].
    pub memory_bytes_max: Option<u64>,
}

/// What came of it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Analysis {
    /// The numbers.
    pub report: Report,
    /// One sample a column, if they were asked for.
    pub samples: Vec<Sample>,
    /// What the reader should know: columns left out, no rows.
    pub notes: Vec<String>,
}

/// Reads a source to its end and reports on it. `progress` hears the bytes read so far.
///
/// ```no_run
/// use millstream::pipeline::{Query, analyze};
/// use millstream::{Cpu, Spec, io};
/// let source = io::open(&["weather.csv".into()], &io::ReadOptions::default())?;
/// let query = Query { spec: Spec::new().correlation(), ..Query::default() };
/// let analysis = analyze(source, &query, Box::new(Cpu::new()), &mut |_| {})?;
/// println!("{} rows", analysis.report.rows);
/// # Ok::<(), millstream::Error>(())
/// ```
///
/// # Errors
/// [`Error::Usage`] for columns that are not there or do not fit, [`Error::Data`] and [`Error::Row`] for bad input,
/// [`Error::Output`] where a file cannot be written, [`Error::Limit`] above the memory.
pub fn analyze(
    mut source: Box<dyn Source>,
    query: &Query,
    backend: Box<dyn Backend>,
    progress: &mut dyn FnMut(u64),
) -> Result<Analysis> {
    let start = Instant::now();
    let about = source.about();
    let plan = Plan::new(query, &source.schema(), &about)?;
    if plan.reported == 0 {
        return Err(outline::nothing_numeric(source.as_mut(), &plan.besides));
    }
    source.select(&plan.needed)?;
    let mut engine = Engine::with_backend(plan.spec.clone(), backend)?;
    let mut steps = Steps::new(query)?;
    let mut quarantine = query
        .quarantine
        .as_deref()
        .map(quarantine::Quarantine::create)
        .transpose()?;
    let mut differences = match &query.differences_output {
        Some(path) => Some(differences::DifferenceRows::create(path, &plan.spec)?),
        None => None,
    };
    let mut sampler = query.samples.then(sample::Sampler::default);
    let mut fitting = query.fit.clone().map(fitting::Fitting::new);
    let (mut filtered, mut rejected, mut read) = (0, 0, 0);
    loop {
        let rows = match source.read()? {
            Read::Batch(rows, _) => rows,
            Read::Idle => continue,
            Read::End => break,
        };
        progress(rows.bytes_read);
        rejected += rows.rejected.len() as u64;
        if let Some(quarantine) = &mut quarantine {
            quarantine.write(&rows.rejected)?;
        }
        let before = rows.batch.num_rows();
        read += before as u64;
        let kept = steps.apply(&rows.batch)?;
        filtered += (before - kept.num_rows()) as u64;
        let batch = plan.batch(&kept)?;
        if let Some(differences) = &mut differences {
            differences.write(&batch)?;
        }
        if let Some(sampler) = &mut sampler {
            sampler.take(&batch, plan.reported);
        }
        engine.push(&batch)?;
        let kept = fitting.as_mut().map_or(Ok(0), |fitting| fitting.take(&batch))?;
        check_memory(&engine, kept, query.memory_bytes_max)?;
    }
    let about = source.about();
    if let Some(name) = plan.numeric.iter().find(|name| about.absent.contains(name)) {
        return Err(unknown_column(name, &Plan::offered(&source.schema(), &about)));
    }
    if read == 0 {
        // The schema alone decides what an empty report looks like.
        let empty = RecordBatch::new_empty(Arc::new(plan.source_schema(&source.schema())?));
        let batch = plan.batch(&steps.apply(&empty)?)?;
        engine.push(&batch)?;
        fitting.as_mut().map_or(Ok(0), |fitting| fitting.take(&batch))?;
    }
    if let Some(differences) = differences {
        differences.finish()?;
    }
    if let Some(quarantine) = quarantine {
        quarantine.finish()?;
    }
    let mut report = engine.finish()?;
    if let (Some(fitting), Some(group)) = (fitting, report.groups.first_mut()) {
        let fit;
        (fit, engine) = fitting.finish(engine)?;
        group.fit = Some(Box::new(fit));
    }
    let fell_back = fell_back(engine.fallbacks(), &report.backend);
    report.filtered_rows = filtered;
    report.rejected_rows = rejected;
    report.elapsed_seconds = start.elapsed().as_secs_f64();
    let mut notes = plan.notes;
    notes.extend(fell_back);
    if query.spec.columns.is_none() {
        notes.extend(outline::left_out(&about));
    }
    if report.rows == 0 {
        notes.push(if filtered > 0 {
            "no row passed the filter".into()
        } else {
            "there are no rows".into()
        });
    }
    if rejected > 0 {
        if read == 0 {
            notes.extend(about.hint);
        }
        notes.push(match rejected {
            1 => "1 row could not be read and was left out".into(),
            _ => format!("{rejected} rows could not be read and were left out"),
        });
    }
    notes.extend(left_out_of_matrices(&report));
    notes.extend(left_out_of_regressions(&report));
    let fits = report.groups.iter().filter_map(|group| group.fit.as_ref());
    notes.extend(fits.filter_map(|fit| Some(format!("the fit has not converged: {}", fit.why.as_ref()?))));
    Ok(Analysis {
        report,
        samples: sampler.map_or(Vec::new(), sample::Sampler::finish),
        notes,
    })
}

/// That the backend failed, and how often.
fn fell_back(fallbacks: &Fallbacks, backend: &str) -> Option<String> {
    let reason = fallbacks.first_reason.as_deref()?;
    let works = match fallbacks.count {
        1 => "1 work, which the CPU did".to_owned(),
        n => format!("{n} works, which the CPU did"),
    };
    Some(format!("the backend {backend} failed on {works} instead: {reason}"))
}

/// `kept`: bytes of the rows that are kept for a fit.
fn check_memory(engine: &Engine, kept: u64, limit: Option<u64>) -> Result<()> {
    match (limit, engine.memory_bytes() + kept) {
        (Some(limit), bytes) if bytes > limit && kept > 0 => Err(Error::Limit(format!(
            "the rows of a fit are kept in memory to the end, and with them the statistics take {bytes} bytes, more than \
             the {limit} bytes of --max-memory: raise it, keep fewer rows with --where, or use --regress, which keeps none"
        ))),
        (Some(limit), bytes) if bytes > limit => Err(Error::Limit(format!(
            "the statistics and the report of {} take {bytes} bytes, more than the {limit} bytes of --max-memory: raise it, or \
             ask for fewer groups or columns",
            counted(engine.cells().max(1) as u64, "group")
        ))),
        _ => Ok(()),
    }
}

fn left_out_of_matrices(report: &Report) -> Option<String> {
    let mut names: Vec<&str> = Vec::new();
    for group in &report.groups {
        if let Some(matrix) = group.covariance.as_ref().or(group.correlation.as_ref()) {
            // Both are in the order of the columns.
            let mut there = matrix.columns.iter().peekable();
            for name in group.columns.names() {
                if there.next_if_eq(&name).is_none() && !names.contains(&name.as_str()) {
                    names.push(name);
                }
            }
        }
    }
    (!names.is_empty()).then(|| format!("without any value, so left out of a matrix: {}", names.join(", ")))
}

/// The columns whose infinite values keep rows out of a regression.
fn left_out_of_regressions(report: &Report) -> Option<String> {
    let mut names = BTreeSet::new();
    for group in &report.groups {
        let of_regression = group.regression.iter().flat_map(|r| r.terms.iter().chain([&r.target]));
        let of_fit = group.fit.iter().flat_map(|f| f.terms.iter().chain([&f.target]));
        for name in of_regression.chain(of_fit) {
            let column = group.columns.get(name);
            if column.is_some_and(|c| [c.min, c.max].into_iter().flatten().any(f64::is_infinite)) {
                names.insert(name.as_str());
            }
        }
    }
    let names: Vec<&str> = names.into_iter().collect();
    (!names.is_empty()).then(|| {
        format!(
            "rows with an infinite value are left out of the regression: {}",
            names.join(", ")
        )
    })
}

/// Which columns are read, which are made, which are reduced.
struct Plan {
    spec: Spec,
    /// Columns to read from the source.
    needed: Vec<String>,
    /// Numeric columns of a batch: the reported ones, then what only a regression or a fit needs.
    numeric: Vec<String>,
    /// How many of them are reported.
    reported: usize,
    time: Option<String>,
    notes: Vec<String>,
    /// Where the only numeric columns are the keys and the time: that they are not counted.
    besides: String,
}

impl Plan {
    fn new(query: &Query, schema: &SchemaRef, about: &About) -> Result<Self> {
        let spec = &query.spec;
        let defined: Vec<&String> = query.definitions.iter().map(|d| &d.name).collect();
        for (i, name) in defined.iter().enumerate() {
            if schema.column_with_name(name).is_some() || defined[..i].contains(name) {
                return Err(Error::Usage(format!(
                    "there is a column `{name}` already: define it under another name"
                )));
            }
        }
        if matches!(spec.window, Some(Window::Time { .. })) && query.time.is_none() && !query.arrival_time {
            return Err(Error::Usage(
                "a window of time needs the column of the time (--time)".into(),
            ));
        }
        if query.fit.is_some() && spec.is_grouped() {
            return Err(Error::Usage(
                "a fit is over all rows: leave out the keys and windows, or use a regression, which has one a group"
                    .into(),
            ));
        }
        let is_defined = |name: &String| defined.contains(&name);
        let excluded = |name: &String| spec.keys.contains(name) || query.time.as_ref() == Some(name);
        let numbers: Vec<String> = schema
            .fields()
            .iter()
            .filter(|f| is_numeric(f.data_type()))
            .map(|f| f.name().clone())
            .chain(defined.iter().map(|name| (*name).clone()))
            .collect();
        let mut notes = Vec::new();
        let columns = match &spec.columns {
            Some(columns) => columns.clone(),
            None => {
                let text = schema
                    .fields()
                    .iter()
                    .filter(|f| !is_numeric(f.data_type()) && !excluded(f.name()));
                let text: Vec<&str> = text.map(|f| f.name().as_str()).collect();
                if !text.is_empty() {
                    notes.push(format!("not numeric, so left out: {}", text.join(", ")));
                }
                numbers.iter().filter(|n| !excluded(n)).cloned().collect()
            }
        };
        let apart: Vec<String> = numbers
            .iter()
            .filter(|n| excluded(n))
            .map(|n| format!("`{n}`"))
            .collect();
        let besides = match apart.as_slice() {
            [] => String::new(),
            apart => format!(" besides {} (--by, --time)", apart.join(", ")),
        };
        let names: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
        let places = places(&names);
        let mut numeric = Vec::new();
        let mut taken = HashSet::new();
        let of_regression = spec.regression.iter().flat_map(|r| r.terms.iter().chain([&r.target]));
        let of_fit = query.fit.iter().flat_map(|f| f.terms.iter().chain([&f.target]));
        for name in columns.iter().chain(of_regression).chain(of_fit) {
            if taken.insert(name) {
                numeric.push(name.clone());
            } else if numeric.len() < columns.len() {
                return Err(Error::Usage(format!("the column `{name}` is named twice")));
            }
        }
        for name in &numeric {
            match places.get(name.as_str()) {
                Some(place) if !is_numeric(schema.field(*place).data_type()) => {
                    let is = if query.time.as_ref() == Some(name) {
                        "the event time"
                    } else {
                        "not numeric"
                    };
                    return Err(Error::Usage(format!("the column `{name}` is {is}")));
                }
                None if !is_defined(name) => return Err(outline::hinted(unknown_column(name, &numbers), about)),
                _ => {}
            }
        }
        let mut needed: Vec<String> = Vec::new();
        let mut wanted = HashSet::new();
        let of_expressions = query
            .definitions
            .iter()
            .map(|d| &d.expr)
            .chain(&query.filter)
            .flat_map(Expr::columns);
        let all = numeric
            .iter()
            .chain(&spec.keys)
            .chain(&query.time)
            .cloned()
            .chain(of_expressions);
        for name in all.filter(|name| !is_defined(name)) {
            if !places.contains_key(name.as_str()) {
                let unknown = format!("there is no column `{name}`; there are: {}", names.join(", "));
                return Err(outline::hinted(Error::Usage(unknown), about));
            }
            if wanted.insert(name.clone()) {
                needed.push(name);
            }
        }
        let reported = columns.len();
        let spec = Spec {
            columns: Some(columns),
            ..spec.clone()
        };
        Ok(Self {
            spec,
            needed,
            numeric,
            reported,
            time: query.time.clone(),
            notes,
            besides,
        })
    }

    /// How many columns are reported.
    fn reported(&self) -> usize {
        self.reported
    }

    /// The names of the columns that are reported.
    fn reported_names(&self) -> &[String] {
        &self.numeric[..self.reported]
    }

    /// The numeric columns that the source has.
    fn offered(schema: &SchemaRef, about: &About) -> Vec<String> {
        let numeric = schema.fields().iter().filter(|f| is_numeric(f.data_type()));
        let names = numeric.map(|f| f.name().clone());
        names.filter(|name| !about.absent.contains(name)).collect()
    }

    /// The schema of the batches that the source gives.
    fn source_schema(&self, schema: &SchemaRef) -> Result<Schema> {
        let field = |name: &String| {
            schema
                .field_with_name(name)
                .cloned()
                .map_err(|e| Error::Failed(e.to_string()))
        };
        Ok(Schema::new(
            self.needed.iter().map(field).collect::<Result<Vec<Field>>>()?,
        ))
    }

    fn batch(&self, record: &RecordBatch) -> Result<Batch> {
        Batch::from_record_batch(record, Some(&self.numeric), &self.spec.keys, self.time.as_deref())
    }
}

/// Filter and definitions, bound to the columns that are read.
struct Steps {
    filter: Option<(Expr, Option<Bound>)>,
    /// Whether the filter uses a defined column and so comes after the definitions.
    filter_last: bool,
    definitions: Vec<(Definition, Option<Bound>)>,
}

impl Steps {
    fn new(query: &Query) -> Result<Self> {
        let uses = |expr: &Expr| {
            expr.columns()
                .iter()
                .any(|c| query.definitions.iter().any(|d| d.name == *c))
        };
        Ok(Self {
            filter_last: query.filter.as_ref().is_some_and(uses),
            filter: query.filter.clone().map(|f| (f, None)),
            definitions: query.definitions.iter().map(|d| (d.clone(), None)).collect(),
        })
    }

    fn apply(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let batch = if self.filter_last {
            batch.clone()
        } else {
            self.keep(batch)?
        };
        let batch = self.define(batch)?;
        if self.filter_last { self.keep(&batch) } else { Ok(batch) }
    }

    fn keep(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let Some((expr, bound)) = &mut self.filter else {
            return Ok(batch.clone());
        };
        let bound = match bound {
            Some(bound) => bound,
            None => bound.insert(expr.bind_filter(&batch.schema())?),
        };
        let mask = bound.filter(batch)?;
        filter_record_batch(batch, &mask).map_err(|e| Error::Failed(format!("the filter failed: {e}")))
    }

    fn define(&mut self, mut batch: RecordBatch) -> Result<RecordBatch> {
        for (definition, bound) in &mut self.definitions {
            let bound = match bound {
                Some(bound) => bound,
                None => bound.insert(definition.expr.bind_number(&batch.schema())?),
            };
            let values = bound.evaluate(&batch)?;
            let mut fields = batch.schema().fields().to_vec();
            fields.push(Arc::new(Field::new(&definition.name, DataType::Float64, true)));
            let mut columns = batch.columns().to_vec();
            columns.push(values);
            batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
                .map_err(|e| Error::Failed(format!("the definition of `{}` failed: {e}", definition.name)))?;
        }
        Ok(batch)
    }
}
