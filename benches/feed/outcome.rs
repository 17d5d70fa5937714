//! What came of the runs, as a page and as JSON, with machine, versions and command.

use crate::machine::{cores, cpu, median, quantile, system, version};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

/// One run of a case that was right.
#[derive(Debug, Clone, Default)]
pub(crate) struct Run {
    pub(crate) rows: u64,
    /// From the first message to the last report that a row brought about.
    pub(crate) seconds: f64,
    /// Rows in front of the last window over that time.
    pub(crate) rows_per_second: f64,
    /// Rows over the time that the sender took.
    pub(crate) sent_per_second: f64,
    /// From a window's last row to each of its reports.
    pub(crate) times_ms: Vec<f64>,
    pub(crate) peak_bytes: Option<u64>,
    pub(crate) reports: u64,
    pub(crate) worst_error: f64,
}

/// All runs of a case.
#[derive(Debug)]
pub(crate) struct Measured {
    name: String,
    half: bool,
    runs: Vec<Run>,
    /// What was wrong with a run.
    wrong: Vec<String>,
    /// The rate of a run with checkpoints over that of one without, pair by pair.
    shares: Vec<f64>,
}

/// What is possible without an engine, or without a socket.
#[derive(Debug)]
pub(crate) struct Floor {
    pub(crate) name: String,
    pub(crate) rows: u64,
    pub(crate) rows_per_second: f64,
}

/// Everything.
#[derive(Debug)]
pub(crate) struct Results {
    rows: u64,
    runs: usize,
    rest: String,
    /// The cases that were asked for; all, where none was.
    only: Vec<String>,
    pub(crate) floors: Vec<Floor>,
    pub(crate) push: Option<Floor>,
    pub(crate) cases: Vec<Measured>,
}

impl Measured {
    pub(crate) fn of(name: &str, half: bool, runs: Vec<Result<Run, String>>, shares: Vec<f64>) -> Self {
        let (mut right, mut wrong) = (Vec::new(), Vec::new());
        for run in runs {
            match run {
                Ok(run) => right.push(run),
                Err(why) => {
                    eprintln!("{name}: {why}");
                    wrong.push(why);
                }
            }
        }
        Self {
            name: if half {
                format!("{name}, half rate")
            } else {
                name.to_owned()
            },
            half,
            runs: right,
            wrong,
            shares,
        }
    }

    fn of_runs(&self, value: impl Fn(&Run) -> f64) -> Option<f64> {
        let mut values: Vec<f64> = self.runs.iter().map(value).collect();
        (!values.is_empty()).then(|| median(&mut values))
    }

    pub(crate) fn rows_per_second(&self) -> Option<f64> {
        self.of_runs(|run| run.rows_per_second)
    }

    /// The time from a window's last row to its report that so many of all reports of a run kept; the median run's.
    fn time_ms(&self, share: f64) -> Option<f64> {
        let timed = self.runs.iter().any(|run| !run.times_ms.is_empty());
        timed.then(|| self.of_runs(|run| quantile(&mut run.times_ms.clone(), share)))?
    }

    fn peak_bytes(&self) -> Option<u64> {
        self.runs.iter().filter_map(|run| run.peak_bytes).max()
    }

    fn worst_error(&self) -> Option<f64> {
        self.runs.iter().map(|run| run.worst_error).reduce(f64::max)
    }

    fn json(&self) -> Value {
        let rates: Vec<f64> = self.runs.iter().map(|run| run.rows_per_second).collect();
        let first = self.runs.first();
        json!({
            "name": self.name, "half_rate": self.half, "rows": first.map(|run| run.rows),
            "rows_per_second": self.rows_per_second(), "rows_per_second_of_runs": rates,
            "sent_per_second": self.of_runs(|run| run.sent_per_second),
            "seconds": self.of_runs(|run| run.seconds),
            "last_row_to_report_ms": {"p50": self.time_ms(0.5), "p99": self.time_ms(0.99)},
            "peak_bytes": self.peak_bytes(), "reports": first.map(|run| run.reports),
            "worst_relative_error": self.worst_error(), "wrong": self.wrong,
            "shares_of_the_rate_without_checkpoints": self.shares,
        })
    }
}

impl Results {
    pub(crate) fn new(rows: u64, runs: usize, rest: &str, only: &[String]) -> Self {
        Self {
            only: only.to_vec(),
            rows,
            runs,
            rest: rest.to_owned(),
            floors: Vec::new(),
            push: None,
            cases: Vec::new(),
        }
    }

    /// Whether every run of every case was right.
    pub(crate) fn is_right(&self) -> bool {
        self.cases
            .iter()
            .all(|case| case.wrong.is_empty() && !case.runs.is_empty())
    }

    fn command(&self) -> String {
        let only: String = self.only.iter().map(|only| format!(" --only '{only}'")).collect();
        format!(
            "cargo bench --features full --bench feed -- --rows {} --runs {} --rest {}{only}",
            self.rows, self.runs, self.rest
        )
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from("# High-rate feeds\n\n");
        let mut line = |line: String| {
            let _ = writeln!(text, "{line}");
        };
        line(format!("{}, {} cores, {}; {}.\n", cpu(), cores(), system(), version()));
        line(format!(
            "`{}`: sender and engine are two processes on these cores, over loopback; 100 keys by Zipf's law, \
            tumbling windows of 1 s of event time, count, mean and variance; every run verified against the exact \
            reports; medians.\n",
            self.command()
        ));
        line("| feed | million rows/s | last row to report, p50 | p99 | peak memory | worst relative error |".into());
        line("|---|---|---|---|---|---|".into());
        let number = |x: Option<f64>, unit: &str| x.map_or("–".to_owned(), |x| format!("{x:.2}{unit}"));
        for case in &self.cases {
            if !case.wrong.is_empty() {
                line(format!(
                    "| {} | **wrong** in {} of {} runs | | | | |",
                    case.name,
                    case.wrong.len(),
                    self.runs
                ));
                continue;
            }
            line(format!(
                "| {} | {} | {} | {} | {} | {} |",
                case.name,
                number(case.rows_per_second().map(|rows| rows / 1e6), ""),
                number(case.time_ms(0.5), " ms"),
                number(case.time_ms(0.99), " ms"),
                number(case.peak_bytes().map(|bytes| bytes as f64 / 1e6), " MB"),
                case.worst_error().map_or("–".into(), |error| format!("{error:.1e}")),
            ));
        }
        for floor in self.floors.iter().chain(&self.push) {
            line(format!(
                "| *{}* | {:.2} | | | | |",
                floor.name,
                floor.rows_per_second / 1e6
            ));
        }
        for case in self.cases.iter().filter(|case| !case.shares.is_empty()) {
            let shares: Vec<String> = case.shares.iter().map(|share| format!("{share:.3}")).collect();
            line(format!(
                "\n{}: {:.3} of the rate without, the median of {} pairs in turn ({}).",
                case.name,
                median(&mut case.shares.clone()),
                shares.len(),
                shares.join(", ")
            ));
        }
        text
    }

    /// Writes both forms.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), String> {
        let date = jiff::Timestamp::now().to_string();
        let floor =
            |floor: &Floor| json!({"name": floor.name, "rows": floor.rows, "rows_per_second": floor.rows_per_second});
        let document = json!({
            "task": "a feed over loopback to windows by key", "command": self.command(), "date": date,
            "machine": {"cpu": cpu(), "cores": cores(), "system": system()}, "version": version(),
            "cases": self.cases.iter().map(Measured::json).collect::<Vec<_>>(),
            "floors": self.floors.iter().chain(&self.push).map(floor).collect::<Vec<_>>(),
        });
        let day = &date[..10];
        let json = serde_json::to_string_pretty(&document).map_err(|e| e.to_string())? + "\n";
        for (ending, text) in [("json", json), ("md", self.markdown())] {
            let path = folder.join(format!("feed-{day}.{ending}"));
            std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
            eprintln!("written to {}", path.display());
        }
        Ok(())
    }
}
