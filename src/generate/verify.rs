//! Whether the reports of an engine are the expected ones: counts and extremes exactly, moments within a tolerance.
//!
//! Both are ndjson, one object a window and key. Reports that are not final and alerts are passed over; the parts of a
//! key that had to be given up are put together again. Everything expected has to be reported, once, and nothing else.

use crate::error::{Error, Result};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::io::BufRead;

/// Relative error of moments that passes: of the mean against the greater of mean and standard deviation. An engine that
/// keeps sums around a pivot loses a few hundred units in the last place of an `f64`, 2·10⁻¹⁶; twelve digits are asked
/// for.
pub const TOLERANCE: f64 = 1e-12;

/// Differences that are told in words; the others are counted.
const TOLD_MAX: usize = 20;

/// What came of a comparison.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Verdict {
    /// Windows and keys that were expected.
    pub expected: u64,
    /// Windows and keys that were reported.
    pub reported: u64,
    /// Numbers that were compared.
    pub numbers: u64,
    /// The greatest relative error of a moment.
    pub worst_error: f64,
    /// Differences.
    pub differences: u64,
    /// The first of them in words.
    pub told: Vec<String>,
}

impl Verdict {
    /// Whether everything is as expected, and something was.
    pub fn is_right(&self) -> bool {
        self.differences == 0 && self.expected > 0
    }

    fn differs(&mut self, what: impl FnOnce() -> String) {
        self.differences += 1;
        if self.told.len() < TOLD_MAX {
            self.told.push(what());
        }
    }
}

/// One column of a window and key.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Column {
    count: u64,
    missing: u64,
    sum: f64,
    mean: f64,
    /// Σ(x − mean)².
    m2: f64,
    /// As reported: combined parts have it from `m2`.
    variance: Option<f64>,
    std: Option<f64>,
    range: Option<(f64, f64)>,
}

/// One window and key.
#[derive(Debug, Clone, PartialEq, Default)]
struct Entry {
    rows: u64,
    columns: BTreeMap<String, Column>,
    /// The covariances, if there are any; of parts nothing is known.
    covariance: Option<Value>,
    /// The parts that are in it.
    parts: Vec<u64>,
}

/// Compares reports with what is expected of them.
///
/// # Errors
/// [`Error::Data`] for a line that is no report, [`Error::Failed`] if one cannot be read.
pub fn compare(expected: impl BufRead, reports: impl BufRead) -> Result<Verdict> {
    let mut verdict = Verdict::default();
    let mut want: HashMap<String, Entry> = HashMap::new();
    for line in lines(expected, "expected") {
        let line = line?;
        if line.get("conservation").is_none() {
            let (place, entry) = entry(&line)?;
            verdict.expected += 1;
            want.insert(place, entry);
        }
    }
    let mut got: HashMap<String, Entry> = HashMap::new();
    for line in lines(reports, "reported") {
        let line = line?;
        if line.get("alert").is_some() || line.get("final") == Some(&Value::Bool(false)) {
            continue;
        }
        let (place, entry) = entry(&line)?;
        match got.get_mut(&place) {
            None => {
                got.insert(place, entry);
            }
            Some(before) if before.parts.contains(&entry.parts[0]) => {
                verdict.differs(|| format!("{place}: reported twice"));
            }
            Some(before) => before.join(&entry),
        }
    }
    verdict.reported = got.len() as u64;
    let mut places: Vec<&String> = want.keys().collect();
    places.sort();
    for place in places {
        match got.get(place) {
            None => verdict.differs(|| format!("{place}: not reported")),
            Some(entry) => check(place, &want[place], entry, &mut verdict),
        }
    }
    for place in got.keys().filter(|place| !want.contains_key(*place)) {
        verdict.differs(|| format!("{place}: reported, not expected"));
    }
    Ok(verdict)
}

/// The objects of ndjson.
fn lines(text: impl BufRead, what: &'static str) -> impl Iterator<Item = Result<Value>> {
    text.lines().enumerate().filter_map(move |(i, line)| {
        let line = match line {
            Ok(line) if line.trim().is_empty() => return None,
            Ok(line) => line,
            Err(e) => return Some(Err(Error::Failed(format!("{what} reports, line {}: {e}", i + 1)))),
        };
        let wrong = |e| Error::Data(format!("{what} reports, line {}: {e}", i + 1));
        Some(serde_json::from_str(&line).map_err(wrong))
    })
}

/// A report: of which window and key, and the numbers.
fn entry(line: &Value) -> Result<(String, Entry)> {
    let wrong = |what: &str| {
        let text: String = line.to_string().chars().take(200).collect();
        Error::Data(format!("a report without {what}: {text}"))
    };
    let whole = |value: &Value, name: &str| value[name].as_u64().ok_or_else(|| wrong(name));
    let mut entry = Entry {
        rows: whole(line, "rows")?,
        covariance: line.get("covariance").cloned(),
        parts: vec![line.get("part").and_then(Value::as_u64).unwrap_or(0)],
        ..Entry::default()
    };
    let columns = line["columns"].as_object().ok_or_else(|| wrong("columns"))?;
    for (name, column) in columns {
        let number = |statistic: &str| column[statistic].as_f64();
        let (count, variance) = (whole(column, "count")?, number("variance"));
        let read = Column {
            count,
            missing: whole(column, "missing")?,
            sum: number("sum").unwrap_or(f64::NAN),
            mean: number("mean").unwrap_or(f64::NAN),
            m2: variance.unwrap_or(0.0) * (count.max(1) - 1) as f64,
            variance,
            std: number("std"),
            range: number("min").zip(number("max")),
        };
        entry.columns.insert(name.clone(), read);
    }
    Ok((place(line), entry))
}

/// Window and key as text, whatever the form of times and numbers was.
fn place(line: &Value) -> String {
    let time = |value: &Value| match value.as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok()) {
        Some(time) => time.to_string(),
        None => value.to_string(),
    };
    let window = match &line["window"] {
        Value::Null => "all rows".to_owned(),
        window => format!("{} to {}", time(&window["start"]), time(&window["end"])),
    };
    let key = line["key"].as_object().into_iter().flatten();
    let key = key.map(|(name, value)| match value.as_f64() {
        Some(number) => format!(", {name} {number}"),
        None => format!(", {name} {value}"),
    });
    window + &key.collect::<String>()
}

impl Entry {
    /// Adds another part of the same window and key (Chan, Golub and LeVeque 1979).
    fn join(&mut self, other: &Self) {
        self.rows += other.rows;
        self.parts.extend(&other.parts);
        self.covariance = None;
        for (name, b) in &other.columns {
            let a = self.columns.entry(name.clone()).or_default();
            let (missing, count) = (a.missing + b.missing, a.count + b.count);
            if a.count == 0 || b.count == 0 {
                *a = if a.count == 0 { *b } else { *a };
            } else {
                let (n, m) = (a.count as f64, b.count as f64);
                let delta = b.mean - a.mean;
                a.m2 += b.m2 + delta * delta * n * m / (n + m);
                a.mean += delta * m / (n + m);
                a.sum += b.sum;
                a.variance = Some(a.m2 / (n + m - 1.0));
                a.std = a.variance.map(f64::sqrt);
                let ranges = a.range.zip(b.range);
                a.range = ranges.map(|(a, b)| (a.0.min(b.0), a.1.max(b.1)));
            }
            (a.missing, a.count) = (missing, count);
        }
    }
}

fn check(place: &str, want: &Entry, got: &Entry, verdict: &mut Verdict) {
    check_covariances(place, want, got, verdict);
    verdict.numbers += 1;
    if want.rows != got.rows {
        verdict.differs(|| format!("{place}: rows {} instead of {}", got.rows, want.rows));
    }
    for (name, want) in &want.columns {
        let Some(got) = got.columns.get(name) else {
            verdict.differs(|| format!("{place}: no column {name}"));
            continue;
        };
        for (what, want, got) in [("count", want.count, got.count), ("missing", want.missing, got.missing)] {
            verdict.numbers += 1;
            if want != got {
                verdict.differs(|| format!("{place}: {name}.{what} is {got} instead of {want}"));
            }
        }
        verdict.numbers += 1;
        if want.range != got.range {
            verdict.differs(|| format!("{place}: {name} from {:?} instead of {:?}", got.range, want.range));
        }
        if want.count == 0 {
            continue;
        }
        // What errors of the mean are measured against; a constant column has none but its magnitude.
        let size = want.mean.abs().max(want.std.unwrap_or(0.0));
        let n = want.count as f64;
        let moments = [
            ("sum", Some(want.sum), Some(got.sum), size * n),
            ("mean", Some(want.mean), Some(got.mean), size),
            ("variance", want.variance, got.variance, want.variance.unwrap_or(0.0)),
            ("std", want.std, got.std, want.std.unwrap_or(0.0)),
        ];
        for (what, want, got, size) in moments {
            verdict.numbers += 1;
            let error = match (want, got) {
                (None, None) => 0.0,
                (Some(want), Some(got)) if want == got => 0.0,
                (Some(want), Some(got)) => (want - got).abs() / size,
                _ => f64::INFINITY,
            };
            // What is no number is not within either.
            if !(0.0..=TOLERANCE).contains(&error) {
                verdict
                    .differs(|| format!("{place}: {name}.{what} is {got:?} instead of {want:?} (error {error:.1e})"));
            }
            verdict.worst_error = verdict.worst_error.max(error);
        }
    }
}

/// Covariances against the product of the standard deviations.
fn check_covariances(place: &str, want: &Entry, got: &Entry, verdict: &mut Verdict) {
    let Some(matrix) = &want.covariance else { return };
    let Some(found) = &got.covariance else {
        return verdict.differs(|| format!("{place}: no covariances"));
    };
    if matrix["columns"] != found["columns"] || matrix["rows"] != found["rows"] {
        return verdict.differs(|| format!("{place}: covariances of other columns or rows"));
    }
    let stds: Vec<f64> = matrix["columns"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|name| {
            want.columns
                .get(name.as_str().unwrap_or_default())
                .and_then(|c| c.std)
                .unwrap_or(0.0)
        })
        .collect();
    for (i, a) in stds.iter().enumerate() {
        for (j, b) in stds.iter().enumerate() {
            verdict.numbers += 1;
            let (want, got) = (matrix["matrix"][i][j].as_f64(), found["matrix"][i][j].as_f64());
            let error = match (want, got) {
                (want, got) if want == got => 0.0,
                (Some(want), Some(got)) => (want - got).abs() / (a * b),
                _ => f64::INFINITY,
            };
            if !(0.0..=TOLERANCE).contains(&error) {
                verdict.differs(|| format!("{place}: covariance {i}, {j} is {got:?} instead of {want:?}"));
            }
            verdict.worst_error = verdict.worst_error.max(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report(start: &str, key: Value, part: u64, values: &[f64]) -> Value {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let m2: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
        let variance = (values.len() > 1).then(|| m2 / (n - 1.0));
        json!({
            "window": {"start": start, "end": "2026-01-01T00:00:10Z"}, "key": key, "rows": values.len(), "part": part,
            "columns": {"x": {
                "count": values.len(), "missing": 0, "sum": values.iter().sum::<f64>(), "mean": mean,
                "variance": variance, "std": variance.map(f64::sqrt),
                "min": values.iter().copied().fold(f64::INFINITY, f64::min),
                "max": values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            }},
        })
    }

    fn compared(expected: &[Value], reports: &[Value]) -> Verdict {
        let text = |values: &[Value]| values.iter().map(|v| format!("{v}\n")).collect::<String>();
        compare(text(expected).as_bytes(), text(reports).as_bytes()).unwrap()
    }

    const START: &str = "2026-01-01T00:00:00Z";

    #[test]
    fn equal_reports_pass_in_any_order_and_form() {
        let want = [
            report(START, json!({"key": 1}), 0, &[1.0, 2.0, 4.5]),
            report(START, json!({"key": 2}), 0, &[7.0]),
            json!({"conservation": {"in": 4}}),
        ];
        let got = [
            json!({"alert": "fever"}),
            report("2026-01-01T00:00:00.000Z", json!({"key": 2.0}), 0, &[7.0]),
            report(START, json!({"key": 1}), 0, &[1.0, 2.0, 4.5]),
        ];
        let verdict = compared(&want, &got);
        assert!(verdict.is_right(), "{:?}", verdict.told);
        assert_eq!((verdict.expected, verdict.reported, verdict.worst_error), (2, 2, 0.0));
        assert!(!compared(&[], &[]).is_right());
    }

    #[test]
    fn parts_are_put_together() {
        let want = [report(START, json!({"key": 1}), 0, &[1.0, 2.0, 4.5, -3.25, 0.125])];
        let parts = [
            report(START, json!({"key": 1}), 0, &[1.0, 2.0]),
            report(START, json!({"key": 1}), 1, &[4.5]),
            report(START, json!({"key": 1}), 2, &[-3.25, 0.125]),
        ];
        assert!(compared(&want, &parts).is_right(), "{:?}", compared(&want, &parts).told);
        assert!(!compared(&want, &parts[..2]).is_right());
        let twice = [parts[0].clone(), parts[1].clone(), parts[2].clone(), parts[2].clone()];
        assert!(compared(&want, &twice).told[0].contains("twice"));
    }

    #[test]
    fn every_kind_of_difference_is_seen() {
        let key = || json!({"key": 1});
        let want = [report(START, key(), 0, &[1.0, 2.0, 4.5])];
        let change = |path: &str, value: Value| {
            let mut report = want[0].clone();
            *report.pointer_mut(path).unwrap() = value;
            report
        };
        let column = |name: &str, value: Value| change(&format!("/columns/x/{name}"), value);
        let mean = 2.5;
        let wrong = [
            change("/rows", json!(4)),
            change("/window/start", json!("2026-01-01T00:00:01Z")),
            change("/key", json!(null)),
            change("/columns", json!({"y": 1}).as_object().map(|_| json!({})).unwrap()),
            column("count", json!(2)),
            column("missing", json!(1)),
            column("sum", json!(7.6)),
            column("mean", json!(mean * (1.0 + 3e-12))),
            column("mean", Value::Null),
            column("variance", json!(3.25 * (1.0 + 3e-12))),
            column("variance", Value::Null),
            column("std", json!(1.9)),
            column("min", json!(1.0 + f64::EPSILON)),
            column("max", Value::Null),
        ];
        for report in wrong {
            assert!(!compared(&want, std::slice::from_ref(&report)).is_right(), "{report}");
        }
        let close = column("variance", json!(3.25 * (1.0 + 3e-13)));
        let verdict = compared(&want, &[close]);
        assert!(verdict.is_right() && verdict.worst_error > 1e-13, "{verdict:?}");
        assert!(compare("{".as_bytes(), "".as_bytes()).is_err());
        assert!(compare("{\"rows\": 1}".as_bytes(), "".as_bytes()).is_err());
    }
}
