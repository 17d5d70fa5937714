//! What came of the runs, as a page and as JSON, with machine, versions and command.

use crate::cases::{Case, Target};
use crate::machine::{cores, cpu, median, system, version};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// One run of the engine that was right.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// What is timed.
    pub(crate) seconds: f64,
    /// From the start of the process to its end.
    pub(crate) whole_seconds: f64,
    pub(crate) rows_per_second: f64,
    pub(crate) peak_bytes: Option<u64>,
    pub(crate) worst_error: f64,
}

/// All runs of a case.
#[derive(Debug)]
pub(crate) struct Measured {
    name: &'static str,
    rows: u64,
    target: Target,
    runs: Vec<Run>,
    /// The rates of the bare consumer, in rows a second.
    bare: Vec<f64>,
    /// What was wrong with a run.
    wrong: Vec<String>,
}

/// Everything.
#[derive(Debug)]
pub(crate) struct Results {
    rows: u64,
    runs: usize,
    /// The cases that were asked for; all, where none was.
    only: Vec<String>,
    pub(crate) versions: BTreeMap<&'static str, String>,
    pub(crate) cases: Vec<Measured>,
    /// Cases that were not measured, and the servers that they lack.
    pub(crate) absent: Vec<(&'static str, &'static str)>,
}

/// The least, the one in the middle and the most, in millions.
fn range(rates: &[f64]) -> Option<[f64; 3]> {
    let mut sorted = rates.to_vec();
    let middle = median(&mut sorted);
    let (least, most) = (sorted.first()?, sorted.last()?);
    Some([*least, middle, *most].map(|rate| rate / 1e6))
}

/// As text: the one in the middle, and from where to where.
fn in_words(rates: &[f64]) -> String {
    range(rates).map_or("–".into(), |[least, middle, most]| {
        format!("{middle:.3} ({least:.3} to {most:.3})")
    })
}

impl Measured {
    pub(crate) fn new(case: &Case, rows: u64) -> Self {
        Self {
            name: case.name,
            rows,
            target: case.target,
            runs: Vec::new(),
            bare: Vec::new(),
            wrong: Vec::new(),
        }
    }

    fn is_wrong(&mut self, why: String) {
        eprintln!("{}: {why}", self.name);
        self.wrong.push(why);
    }

    /// Adds a run of the engine.
    pub(crate) fn add(&mut self, run: Result<Run, String>) {
        match run {
            Ok(run) => self.runs.push(run),
            Err(why) => self.is_wrong(why),
        }
    }

    /// Adds a run of the bare consumer.
    pub(crate) fn add_bare(&mut self, rows_per_second: Result<f64, String>) {
        match rows_per_second {
            Ok(rate) => self.bare.push(rate),
            Err(why) => self.is_wrong(why),
        }
    }

    fn rates(&self) -> Vec<f64> {
        self.runs.iter().map(|run| run.rows_per_second).collect()
    }

    /// The rate of each run over that of the bare consumer beside it; of those that were all right.
    fn shares(&self) -> Vec<f64> {
        match self.wrong.is_empty() {
            true => self
                .runs
                .iter()
                .zip(&self.bare)
                .map(|(run, bare)| run.rows_per_second / bare)
                .collect(),
            false => Vec::new(),
        }
    }

    fn share(&self) -> Option<f64> {
        let mut shares = self.shares();
        (!shares.is_empty()).then(|| median(&mut shares))
    }

    fn is_reached(&self) -> bool {
        match self.target {
            Target::Rate(rate) => !self.runs.is_empty() && median(&mut self.rates()) >= rate,
            Target::Share(least) => self.share().is_some_and(|share| share >= least),
        }
    }

    /// Target and verdict.
    fn target(&self) -> (String, &'static str) {
        let target = match self.target {
            Target::Rate(rate) => format!("{} million rows/s", rate / 1e6),
            Target::Share(share) => format!("{share} of the bare consumer"),
        };
        (target, if self.is_reached() { "reached" } else { "short" })
    }

    fn of_runs(&self, value: impl Fn(&Run) -> f64) -> f64 {
        median(&mut self.runs.iter().map(value).collect::<Vec<_>>())
    }

    /// A line for those who wait.
    pub(crate) fn in_short(&self) -> String {
        let share = self.share().map_or(String::new(), |share| {
            format!(", bare {}, share {share:.2}", in_words(&self.bare))
        });
        let (target, verdict) = self.target();
        format!(
            "million rows/s {}{share}; wanted {target}: {verdict}",
            in_words(&self.rates())
        )
    }

    fn row(&self) -> String {
        if !self.wrong.is_empty() {
            return format!("| {} | **wrong**: {} runs | | | | | |", self.name, self.wrong.len());
        }
        let (target, verdict) = self.target();
        let peak = self.runs.iter().filter_map(|run| run.peak_bytes).max();
        format!(
            "| {} | {} | {} | {} | {} | {target} | {verdict} |",
            self.name,
            in_words(&self.rates()),
            in_words(&self.bare),
            self.share().map_or("–".into(), |share| format!("{share:.2}")),
            peak.map_or("–".into(), |bytes| format!("{:.0} MB", bytes as f64 / 1e6)),
        )
    }

    fn json(&self) -> Value {
        let (target, verdict) = self.target();
        json!({
            "name": self.name, "rows": self.rows, "target": target, "verdict": verdict,
            "rows_per_second": median(&mut self.rates()), "rows_per_second_of_runs": self.rates(),
            "seconds": self.of_runs(|run| run.seconds), "whole_seconds": self.of_runs(|run| run.whole_seconds),
            "bare_rows_per_second_of_runs": self.bare, "shares_of_the_bare_consumer": self.shares(),
            "share_of_the_bare_consumer": self.share(),
            "peak_bytes": self.runs.iter().filter_map(|run| run.peak_bytes).max(),
            "worst_relative_error": self.runs.iter().map(|run| run.worst_error).reduce(f64::max),
            "wrong": self.wrong,
        })
    }
}

impl Results {
    pub(crate) fn new(rows: u64, runs: usize, only: &[String]) -> Self {
        Self {
            rows,
            runs,
            only: only.to_vec(),
            versions: BTreeMap::new(),
            cases: Vec::new(),
            absent: Vec::new(),
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
            "cargo bench --features full --bench connectors -- --rows {} --runs {}{only}",
            self.rows, self.runs
        )
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from("# Connectors\n\n");
        let mut line = |line: String| {
            let _ = writeln!(text, "{line}");
        };
        let versions: Vec<&str> = self.versions.values().map(String::as_str).collect();
        line(format!(
            "{}, {} cores, {}; {}; {}; {}.\n",
            cpu(),
            cores(),
            system(),
            version(),
            versions.join(", "),
            &jiff::Timestamp::now().to_string()[..10]
        ));
        line(format!(
            "`{}`: the servers run on these cores too. Million rows a second, the median of {} runs and from where to \
             where they went, each verified against the exact reports; the share of the bare consumer is the median of runs \
             in turn. Rows of feeds: time, key and 8 values, messages of 100 (kafka-arrow: 1,000); for postgres-sink rows of \
             the table `windows`, each with 2 rows of `column_statistics`. What is timed, and the bare consumer: \
             `benches/connectors/main.rs`.\n",
            self.command(),
            self.runs
        ));
        line("| case | million rows/s | bare consumer | share of it | peak memory | wanted | |".into());
        line("|---|---|---|---|---|---|---|".into());
        for case in &self.cases {
            line(case.row());
        }
        for (case, server) in &self.absent {
            line(format!("| {case} | not measured: no server {server} | | | | | |"));
        }
        text
    }

    /// Writes both forms.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), String> {
        let date = jiff::Timestamp::now().to_string();
        let absent: Vec<&str> = self.absent.iter().map(|(case, _)| *case).collect();
        let document = json!({
            "task": "messages of servers to windows by key, and reports to a database", "command": self.command(),
            "date": date, "machine": {"cpu": cpu(), "cores": cores(), "system": system()}, "version": version(),
            "servers": self.versions, "cases": self.cases.iter().map(Measured::json).collect::<Vec<_>>(),
            "not_measured": absent,
        });
        let day = &date[..10];
        let json = serde_json::to_string_pretty(&document).map_err(|e| e.to_string())? + "\n";
        for (ending, text) in [("json", json), ("md", self.markdown())] {
            let path = folder.join(format!("connectors-{day}.{ending}"));
            std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
            eprintln!("written to {}", path.display());
        }
        Ok(())
    }
}
