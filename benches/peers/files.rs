//! Files from beginning to end: opened, read and reduced within one call.

use crate::matrix::of_columns;
use crate::prepared::{Found, Prepared};
use crate::task::Task;
use millstream::io::{self, ReadOptions};
use millstream::pipeline::{self, Query};
use millstream::{Cpu, Result, Spec};

/// Mean and variance of every column of a csv or parquet file.
pub(crate) fn moments(task: &Task) -> Result<Prepared> {
    let path = task.file("file")?.to_owned();
    Ok(Prepared::new("a file", move || {
        let source = io::open(std::slice::from_ref(&path), &ReadOptions::default())?;
        let query = Query {
            spec: Spec::new().mean_and_variance(),
            ..Query::default()
        };
        let analysis = pipeline::analyze(source, &query, Box::new(Cpu::new()), &mut |_| {})?;
        Ok(Box::new(move || of_columns(&analysis.report)) as Found)
    }))
}
