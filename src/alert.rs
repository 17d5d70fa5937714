//! Alerts: conditions over the numbers of final reports, that tell when they begin and when they end.
//!
//! A condition is a SQL expression ([`Expr`]) over numbers named `column.statistic`, `corr(a, b)`, `slope(y, x)`,
//! `rows` and `late_rows` (of the feed, so far). It is evaluated for every final report, all keys at once. An alert
//! begins with the n-th report of a key in a row for which the condition holds, and ends with the first for which it
//! does not; a condition that is null does not hold. A window without rows has no report, so it neither counts nor ends
//! anything; further parts of a window are no further windows.
//!
//! Numbers are computed from the summaries: `corr` and `slope` from co-moments, which the engine has to keep
//! ([`AlertRule::needs`]) though the reports need not show them.

mod numbers;
mod state;
#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use crate::expr::{Bound, Expr, Kind};
use crate::report::{Alert, Emission};
use crate::spec::Spec;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Float64Type, Schema};
use numbers::{Number, resolve};
use state::{KeyState, key_text};
use std::collections::HashMap;
use std::sync::Arc;

/// An alert as a configuration says it.
///
/// ```
/// use millstream::alert::AlertRule;
/// let rule = AlertRule::new("coupled", "corr(temperature, humidity) > 0.9", 3)?;
/// assert!(rule.needs().comoments);
/// # Ok::<(), millstream::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct AlertRule {
    name: Arc<str>,
    when: Expr,
    for_windows: u64,
}

/// Parts of a summary that alerts need beside moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Needs {
    /// Co-moments: the covariances or correlations of a [`Spec`].
    pub comoments: bool,
    /// Quantiles, at any probabilities.
    pub quantiles: bool,
    /// Differences between adjacent rows.
    pub differences: bool,
    /// Exponentially weighted statistics in the report.
    pub ewm: bool,
}

impl AlertRule {
    /// An alert that begins when the condition has held for `for_windows` windows in a row.
    ///
    /// # Errors
    /// [`Error::Config`] for a condition that is no expression, and for 0 windows.
    pub fn new(name: &str, when: &str, for_windows: u64) -> Result<Self> {
        let when = Expr::parse(when).map_err(|e| Error::Config(format!("the alert `{name}`: {e}")))?;
        if for_windows == 0 {
            return Err(Error::Config(format!(
                "the alert `{name}`: for_windows = 0 would hold without any window; 1 is at once"
            )));
        }
        Ok(Self {
            name: name.into(),
            when,
            for_windows,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it needs, as far as names tell that before the columns are known: perhaps more, never less.
    pub fn needs(&self) -> Needs {
        let names = self.when.columns();
        let any = |part: &str| names.iter().any(|name| name.contains(part));
        Needs {
            comoments: names.iter().any(|name| numbers::call(name).is_some()),
            quantiles: any(".quantile_"),
            differences: any(".differences_"),
            ewm: any(".ewm_"),
        }
    }
}

/// The alerts of one feed, with what they know of its keys.
#[derive(Debug)]
pub struct Alerts {
    feed: Arc<str>,
    ddof: u64,
    bound: Vec<BoundAlert>,
    keys_max: usize,
    forgotten: u64,
}

/// An alert whose names are columns.
#[derive(Debug)]
struct BoundAlert {
    rule: AlertRule,
    numbers: Vec<Number>,
    schema: Arc<Schema>,
    condition: Bound,
    /// The left side of the first comparison.
    left: Option<Bound>,
    /// Keys for which the condition held in their last report.
    keys: HashMap<String, KeyState>,
}

/// What a condition came to, a report an entry.
struct Outcome {
    holds: BooleanArray,
    value: Option<Float64Array>,
}

impl Alerts {
    /// The alerts of a feed whose summaries are made by `spec` over these columns. Of each alert at most `keys_max` keys
    /// are kept; beyond, those are given up whose last report is oldest.
    ///
    /// # Errors
    /// [`Error::Config`] for a name that is no number of the reports, a condition that is no truth value, and numbers
    /// that the spec does not keep.
    pub fn new(feed: Arc<str>, rules: &[AlertRule], spec: &Spec, columns: &[String], keys_max: usize) -> Result<Self> {
        let bound = rules.iter().map(|rule| {
            BoundAlert::new(rule, spec, columns).map_err(|e| Error::Config(format!("the alert `{}`: {e}", rule.name)))
        });
        Ok(Self {
            feed,
            ddof: spec.ddof,
            bound: bound.collect::<Result<_>>()?,
            keys_max: keys_max.max(1),
            forgotten: 0,
        })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bound.is_empty()
    }

    /// Keys that were given up while the condition held for them, because there were too many.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Alerts that are on now, over all keys.
    pub fn active(&self) -> usize {
        let on = |bound: &BoundAlert| bound.keys.values().filter(|state| state.on).count();
        self.bound.iter().map(on).sum()
    }

    /// Looks at the next reports of the feed, in order; those that are not final are passed over. What begins and ends
    /// comes back in the order of the reports, then of the alerts.
    ///
    /// # Errors
    /// [`Error::Failed`] where an expression cannot be evaluated.
    pub fn evaluate(&mut self, reports: &[Emission], late_rows: u64) -> Result<Vec<Alert>> {
        let finals: Vec<&Emission> = reports.iter().filter(|r| r.is_final && r.feed == self.feed).collect();
        let mut events = Vec::new();
        if self.bound.is_empty() || finals.is_empty() {
            return Ok(events);
        }
        let outcomes = self
            .bound
            .iter()
            .map(|bound| bound.outcome(&finals, self.ddof, late_rows));
        let outcomes = outcomes.collect::<Result<Vec<_>>>()?;
        for (i, report) in finals.into_iter().enumerate() {
            let mut key = None;
            for (bound, outcome) in self.bound.iter_mut().zip(&outcomes) {
                let holds = outcome.holds.value(i);
                if !holds && bound.keys.is_empty() {
                    continue;
                }
                let key = key.get_or_insert_with(|| key_text(report.group.key.as_ref()));
                let event = bound.take(key, report, holds);
                events.extend(event.map(|state| Alert {
                    feed: Arc::clone(&self.feed),
                    alert: Arc::clone(&bound.rule.name),
                    key: state.key,
                    started: state.first,
                    ended: if holds { None } else { report.group.window },
                    value: outcome.value.as_ref().filter(|v| v.is_valid(i)).map(|v| v.value(i)),
                }));
            }
        }
        for bound in &mut self.bound {
            self.forgotten += bound.forget(self.keys_max);
        }
        Ok(events)
    }
}

impl BoundAlert {
    fn new(rule: &AlertRule, spec: &Spec, columns: &[String]) -> Result<Self> {
        let names = rule.when.columns();
        let numbers = names
            .iter()
            .map(|name| resolve(name, columns))
            .collect::<Result<Vec<_>>>()?;
        let kept = [
            ("covariance = true", spec.covariance || spec.correlation),
            ("quantiles", !spec.quantiles.is_empty()),
            ("differences = true", spec.differences),
        ];
        for (name, number) in names.iter().zip(&numbers) {
            if let Some((_, (option, _))) = number.parts().iter().zip(kept).find(|(asked, kept)| **asked && !kept.1) {
                return Err(Error::Config(format!("`{name}` needs {option} among the statistics")));
            }
        }
        let fields = names.iter().map(|name| Field::new(name, DataType::Float64, true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let condition = rule.when.bind_filter(&schema)?;
        let left = rule.when.compared().map(|left| left.bind(&schema)).transpose()?;
        Ok(Self {
            rule: rule.clone(),
            numbers,
            schema,
            condition,
            left: left.filter(|left| left.kind() == Kind::Number),
            keys: HashMap::new(),
        })
    }

    fn outcome(&self, reports: &[&Emission], ddof: u64, late_rows: u64) -> Result<Outcome> {
        let column = |number: &Number| -> ArrayRef {
            let values = reports.iter().map(|report| number.of(report, ddof, late_rows));
            Arc::new(values.collect::<Float64Array>())
        };
        let columns = self.numbers.iter().map(column).collect();
        let rows = RecordBatchOptions::new().with_row_count(Some(reports.len()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &rows).map_err(|e| {
            Error::Failed(format!(
                "the numbers of the alert `{}` are no table: {e}",
                self.rule.name
            ))
        })?;
        let value = self.left.as_ref().map(|left| left.evaluate(&batch)).transpose()?;
        Ok(Outcome {
            holds: self.condition.filter(&batch)?,
            value: value.map(|value| value.as_primitive::<Float64Type>().clone()),
        })
    }

    /// Takes a report of a key; the state comes back where the alert begins or ends.
    fn take(&mut self, key: &str, report: &Emission, holds: bool) -> Option<KeyState> {
        let window = report.group.window;
        if !holds {
            return self.keys.remove(key).filter(|state| state.on);
        }
        let Some(state) = self.keys.get_mut(key) else {
            let state = KeyState {
                run: 1,
                on: self.rule.for_windows == 1,
                first: window,
                last: window,
                key: report.group.key.clone(),
            };
            self.keys.insert(key.to_owned(), state.clone());
            return state.on.then_some(state);
        };
        if report.part == 0 || state.last != window {
            state.run = state.run.saturating_add(1);
            state.last = window;
        }
        let begins = !state.on && state.run >= self.rule.for_windows;
        state.on |= begins;
        begins.then(|| state.clone())
    }

    /// Gives up a tenth of the keys, once there are too many: those with the oldest last report.
    fn forget(&mut self, keys_max: usize) -> u64 {
        if self.keys.len() <= keys_max {
            return 0;
        }
        let mut oldest: Vec<_> = self.keys.iter().map(|(key, state)| (state.last, key.clone())).collect();
        oldest.sort_unstable();
        let many = self.keys.len() - keys_max + keys_max / 10;
        for (_, key) in oldest.iter().take(many) {
            self.keys.remove(key);
        }
        many as u64
    }
}
