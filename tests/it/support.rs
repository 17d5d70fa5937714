//! What several test files need: batches cut into pieces, engines run over them, results as bytes.

use millstream::backend::Backend;
use millstream::{Batch, Closed, Engine, Report, Spec};
use std::path::PathBuf;

/// Half a unit of the last place of 1: the relative error of one rounding.
pub(crate) const U: f64 = f64::EPSILON / 2.0;

/// A folder of the package that holds data, or its copy below `MILLSTREAM_TEST_DATA`, for machines without the sources.
pub(crate) fn data(folder: &str) -> PathBuf {
    let root = std::env::var_os("MILLSTREAM_TEST_DATA").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(root).join(folder)
}

/// A batch of named columns.
pub(crate) fn batch(columns: &[(&str, &[f64])]) -> Batch {
    Batch::from_columns(columns.iter().map(|(n, v)| (*n, v.to_vec()))).unwrap()
}

/// A batch of the columns `c0`, `c1`, ….
pub(crate) fn table(columns: &[Vec<f64>]) -> Batch {
    Batch::from_columns(columns.iter().enumerate().map(|(i, v)| (format!("c{i}"), v.clone()))).unwrap()
}

/// The same rows in pieces of `rows`; the last may be shorter.
pub(crate) fn pieces(batch: &Batch, rows: usize) -> Vec<Batch> {
    (0..batch.rows())
        .step_by(rows)
        .map(|start| batch.slice(start, rows.min(batch.rows() - start)))
        .collect()
}

/// What the engine closes after these batches.
pub(crate) fn closed(spec: &Spec, batches: &[Batch]) -> Vec<Closed> {
    run(Engine::new(spec.clone()).unwrap(), batches)
}

/// The same on this backend.
pub(crate) fn closed_on(spec: &Spec, backend: Box<dyn Backend>, batches: &[Batch]) -> Vec<Closed> {
    run(Engine::with_backend(spec.clone(), backend).unwrap(), batches)
}

fn run(mut engine: Engine, batches: &[Batch]) -> Vec<Closed> {
    for batch in batches {
        assert_eq!(engine.push(batch).unwrap(), [], "nothing closes before the end");
    }
    engine.close().unwrap()
}

/// Every bit of a result: keys and windows as text, summaries in their byte form.
pub(crate) fn bits(closed: &[Closed]) -> Vec<(String, Vec<u8>)> {
    closed
        .iter()
        .map(|c| (format!("{:?} {:?}", c.key, c.window), c.summary.to_bytes()))
        .collect()
}

/// The report of one batch.
pub(crate) fn report(spec: Spec, batch: &Batch) -> Report {
    Engine::new(spec).unwrap().analyze(batch).unwrap()
}

/// Relative error of a variance of up to a leaf of values: 4096/16 + 4 additions, 4 roundings a term, and the pivot is
/// one of n values, so its square is at most n − 1 variances away, or 64 after the second reduction.
pub(crate) fn variance_error_max(n: usize) -> f64 {
    (n as f64 / 16.0 + 9.0) * (1.0 + (n as f64).min(64.0)) * U
}
