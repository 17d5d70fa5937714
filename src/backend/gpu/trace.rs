//! What the ring did when: a trace for people, and how much of it happened at the same time.
//!
//! A recorder is a [`Watch`]. It notes when each [`Moment`] was seen, and where the adapter can time its kernels also when
//! they ran, in a clock of the device that begins anywhere: it is laid as early as it can be without any kernel running
//! before its submission was made. Kernels are shown no later than they ran, then, and no earlier than by the shortest
//! time that a submission took to begin. Without such times a submission counts as running until its answer was seen.

use super::{Moment, Watch};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Moments that are kept at most, 32 bytes each; what comes later is left out.
const MOMENTS_MAX: usize = 1 << 20;

/// Notes what happens.
#[derive(Debug)]
pub struct Recorder {
    start: Instant,
    seen: Mutex<Vec<(u64, Moment)>>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            seen: Mutex::default(),
        }
    }
}

/// A span of time, in nanoseconds since the recorder was made.
type Span = (u64, u64);

/// A submission, as far as it came.
#[derive(Debug, Default, Clone)]
struct Submission {
    packing: Vec<Span>,
    bytes: u64,
    submitting: Option<u64>,
    submitted: Option<u64>,
    answered: Option<u64>,
    read: Option<u64>,
    computed: Option<Span>,
}

/// How much happened at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Overlap {
    /// Submissions that were answered.
    pub submissions: u64,
    /// Bytes of rows in them.
    pub bytes: u64,
    /// From the first row that was packed to the last answer.
    pub wall_ns: u64,
    /// In which rows were packed.
    pub packing_ns: u64,
    /// In which the device was at work.
    pub device_ns: u64,
    /// In which both were.
    pub both_ns: u64,
    /// Whether the device's own times were there.
    pub timed: bool,
}

impl Recorder {
    /// Watches a GPU, for [`super::Options::watch`].
    pub fn watch(self: &Arc<Self>) -> Watch {
        let recorder = self.clone();
        Arc::new(move |moment| {
            recorder.note(moment);
            true
        })
    }

    fn note(&self, moment: Moment) {
        let time_ns = self.start.elapsed().as_nanos() as u64;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() < MOMENTS_MAX {
            seen.push((time_ns, moment));
        }
    }

    /// Whether nothing has happened.
    pub fn is_empty(&self) -> bool {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn submissions(&self) -> BTreeMap<u64, Submission> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: BTreeMap<u64, Submission> = BTreeMap::new();
        let mut begun = 0;
        for (time_ns, moment) in seen.iter().copied() {
            match moment {
                Moment::Packing(_) => begun = time_ns,
                Moment::Packed { number, bytes } => {
                    let submission = all.entry(number).or_default();
                    submission.packing.push((begun, time_ns));
                    submission.bytes = bytes;
                }
                Moment::Submitting(number) => all.entry(number).or_default().submitting = Some(time_ns),
                Moment::Submitted(number) => all.entry(number).or_default().submitted = Some(time_ns),
                Moment::Answered(number) => all.entry(number).or_default().answered = Some(time_ns),
                Moment::Read(number) => all.entry(number).or_default().read = Some(time_ns),
                Moment::Computed {
                    number,
                    start_ns,
                    end_ns,
                } => all.entry(number).or_default().computed = Some((start_ns, end_ns)),
            }
        }
        align(&mut all);
        all
    }

    /// How much happened at the same time.
    pub fn overlap(&self) -> Overlap {
        let all = self.submissions();
        let done = all.values().filter(|s| s.answered.is_some());
        let packing = union(all.values().flat_map(|s| s.packing.iter().copied()).collect());
        let device = union(all.values().filter_map(Submission::running).collect());
        let first = packing.iter().chain(&device).map(|s| s.0).min().unwrap_or(0);
        let last = all
            .values()
            .filter_map(|s| s.read.or(s.answered))
            .max()
            .unwrap_or(first);
        Overlap {
            submissions: done.clone().count() as u64,
            bytes: done.map(|s| s.bytes).sum(),
            wall_ns: last.saturating_sub(first),
            packing_ns: length(&packing),
            device_ns: length(&device),
            both_ns: length(&common(&packing, &device)),
            timed: all.values().any(|s| s.computed.is_some()),
        }
    }

    /// Writes the trace in Chrome's trace-event format, which `chrome://tracing` and Perfetto show.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, mut out: impl Write) -> std::io::Result<()> {
        let mut events = Vec::new();
        for (tid, name) in [(1, "packing"), (2, "device"), (3, "submitting and reading")] {
            events.push(json!({"ph": "M", "name": "thread_name", "pid": 1, "tid": tid, "args": {"name": name}}));
        }
        for (number, submission) in &self.submissions() {
            submission.events(*number, &mut events);
        }
        writeln!(out, "{{\"displayTimeUnit\": \"ns\", \"traceEvents\": [")?;
        for (k, event) in events.iter().enumerate() {
            let end = if k + 1 < events.len() { "," } else { "" };
            writeln!(out, "{event}{end}")?;
        }
        writeln!(out, "]}}")?;
        out.flush()
    }
}

impl Submission {
    /// When the device was at work for it, as far as is known.
    fn running(&self) -> Option<Span> {
        self.computed.or(self.submitting.zip(self.answered))
    }

    fn events(&self, number: u64, events: &mut Vec<Value>) {
        let micros = |ns: u64| ns as f64 / 1e3;
        let mut span = |tid: u64, name: &str, (start, end): Span| {
            events.push(json!({
                "ph": "X", "name": name, "pid": 1, "tid": tid, "ts": micros(start),
                "dur": micros(end.saturating_sub(start)),
                "args": {"submission": number, "bytes": self.bytes},
            }));
        };
        for packing in &self.packing {
            span(1, "pack", *packing);
        }
        if let Some(computed) = self.computed {
            span(2, "compute", computed);
        }
        if let Some(submitting) = self.submitting.zip(self.submitted) {
            span(3, "submit", submitting);
        }
        if let Some(reading) = self.answered.zip(self.read) {
            span(3, "read", reading);
        }
        // Submissions are in flight side by side: each on a line of its own.
        if let Some((start, end)) = self.submitting.zip(self.answered) {
            for (phase, time) in [("b", start), ("e", end)] {
                events.push(json!({
                    "ph": phase, "cat": "submission", "name": "in flight", "id": number, "pid": 1, "tid": 2,
                    "ts": micros(time),
                }));
            }
        }
    }
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |ns: u64, of: u64| 100.0 * ns as f64 / of.max(1) as f64;
        write!(
            f,
            "{} submissions of {} bytes in {:.3} ms: packing {:.1} % of the time, {} {:.1} %, both at once {:.1} % \
             ({:.1} % of the packing)",
            self.submissions,
            self.bytes,
            self.wall_ns as f64 / 1e6,
            share(self.packing_ns, self.wall_ns),
            if self.timed { "kernels" } else { "submissions in flight" },
            share(self.device_ns, self.wall_ns),
            share(self.both_ns, self.wall_ns),
            share(self.both_ns, self.packing_ns),
        )
    }
}

/// Lays the device's clock so that no kernel runs before its submission was made.
fn align(all: &mut BTreeMap<u64, Submission>) {
    let late = |s: &Submission| Some(i128::from(s.submitting?) - i128::from(s.computed?.0));
    let Some(shift) = all.values().filter_map(late).max() else {
        return;
    };
    let laid = |ns: u64| u64::try_from(i128::from(ns) + shift).unwrap_or(0);
    for submission in all.values_mut() {
        submission.computed = submission.computed.map(|(start, end)| (laid(start), laid(end)));
    }
}

/// Spans that do not touch, in order.
fn union(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable();
    let mut out: Vec<Span> = Vec::new();
    for (start, end) in spans {
        match out.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => out.push((start, end)),
        }
    }
    out
}

/// What two such lists have in common.
fn common(a: &[Span], b: &[Span]) -> Vec<Span> {
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        let both = (x.0.max(y.0), x.1.min(y.1));
        if both.0 < both.1 {
            out.push(both);
        }
        if x.1 < y.1 {
            i += 1;
        } else {
            j += 1;
        }
    }
    out
}

fn length(spans: &[Span]) -> u64 {
    spans.iter().map(|(start, end)| end.saturating_sub(*start)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        let a = union(vec![(5, 7), (0, 2), (2, 3), (6, 9)]);
        assert_eq!(a, [(0, 3), (5, 9)]);
        assert_eq!(common(&a, &[(1, 6), (8, 20)]), [(1, 3), (5, 6), (8, 9)]);
        assert_eq!(length(&a), 7);
        assert!(common(&a, &[(3, 5)]).is_empty());
    }

    #[test]
    fn the_clock_of_a_device_is_laid_behind_the_submissions() {
        let one = |submitted, computed| Submission {
            submitting: Some(submitted),
            computed: Some(computed),
            ..Submission::default()
        };
        let mut all = BTreeMap::from([(1, one(10, (1000, 1004))), (2, one(30, (1015, 1017)))]);
        align(&mut all);
        assert_eq!(all[&1].computed, Some((15, 19)));
        assert_eq!(all[&2].computed, Some((30, 32)));
    }
}
