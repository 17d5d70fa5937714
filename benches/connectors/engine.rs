//! `millstream run` on the messages of a server.

use crate::cases::{COLUMNS, Case, Kind, names, question};
use crate::child::{self, Engine};
use crate::outcome::Run;
use crate::rows::{Rows, start};
use std::time::Instant;

/// Reads everything there is; the run is right, or an error.
pub(crate) fn run(case: &Case, feed: &str, data: &Rows) -> Result<Run, String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    // Binary has no names of its own.
    let columns = match case.format {
        "binary" => format!(
            "columns = {:?}\n",
            [vec!["ts".into(), "key".into()], names(COLUMNS)].concat()
        ),
        _ => String::new(),
    };
    let configuration = format!(
        "{feed}format = \"{}\"\n{columns}\n{}[[sink]]\ntype = \"stdout\"\nformat = \"ndjson\"\n\n\
         [server]\nlisten = \"127.0.0.1:0\"\n",
        case.format,
        question(COLUMNS)
    );
    let mut bounds = data.windows.keys();
    let (first, last) = (bounds.next(), bounds.next_back());
    let (Some(first), Some(last)) = (first, last) else {
        return Err("no windows".into());
    };
    let begun = Instant::now();
    let mut engine = Engine::start(&configuration, folder.path())?;
    let peak_bytes = match case.kind {
        Kind::Kafka => engine.ended()?,
        _ => {
            // The last window waits for a row behind it.
            let closed = data
                .expected
                .iter()
                .filter(|line| start(line).is_ok_and(|start| start < *last));
            let closed = closed.count();
            engine.until("the last report", |engine| engine.lines() >= closed)?;
            engine.until("the last row", |engine| counted(engine) == Some(data.rows))?;
            let peak_bytes = engine.peak_bytes();
            engine.terminate()?;
            peak_bytes
        }
    };
    let lines = engine.end()?;
    let whole_seconds = begun.elapsed().as_secs_f64();

    let (mut from_ns, mut upto_ns) = (0, 0);
    for (came_ns, line) in &lines {
        let line: serde_json::Value = serde_json::from_slice(line).map_err(|e| format!("a report: {e}"))?;
        let start = start(&line)?;
        if start == *first {
            from_ns = from_ns.max(*came_ns);
        } else if start < *last {
            upto_ns = upto_ns.max(*came_ns);
        }
    }
    let verdict = child::verified(&data.expected, &lines)?;
    let timed: u64 = data.windows.range(first..last).skip(1).map(|(_, rows)| rows).sum();
    let seconds = upto_ns.saturating_sub(from_ns).max(1) as f64 / 1e9;
    Ok(Run {
        seconds,
        whole_seconds,
        rows_per_second: timed as f64 / seconds,
        peak_bytes,
        worst_error: verdict.worst_error,
    })
}

/// Rows that it says it has taken.
fn counted(engine: &Engine) -> Option<u64> {
    let said = engine.messages();
    let url = said
        .lines()
        .find_map(|line| line.split_once("metrics on "))
        .map(|(_, url)| url.trim())?;
    let page = ureq::get(url).call().ok()?.body_mut().read_to_string().ok()?;
    let count = page
        .lines()
        .find_map(|line| line.strip_prefix("millstream_rows_in_total{feed=\"main\"} "));
    count?.parse().ok()
}
