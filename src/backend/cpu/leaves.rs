//! One cell of consecutive rows: every block is a leaf (the last may be short), reduced by kernels that take a column, or
//! all columns, at a time.
//!
//! Moments are cut into tasks by leaves and by columns. Everything else is made leaf by leaf, and where there are few
//! leaves, threads share the products of each.

use super::leaf::{Leaf, LeafColumn};
use super::products::Parts;
use super::reading::{Reading, column_moments};
use super::{PARALLEL_VALUES_MIN, loss, moments, products};
use crate::backend::{Partial, Work};
use crate::summary::differences::{Edge, Step, step};
use crate::summary::{Differences, Moments, Order, Quantiles, RegressionMoments, Summary};
use rayon::prelude::*;
use std::cell::RefCell;

/// Leaves of a column that are reduced before those of the next column: reading half a MiB on keeps memory busier than
/// going from column to column.
const LEAVES_IN_A_ROW: usize = 16;
/// Values that a task of moments takes at least, where there are several.
const VALUES_PER_TASK: usize = 16_384;
/// Tasks a thread, so that none is left with much to do when the others have done.
const TASKS_PER_THREAD: usize = 16;
/// Leaves a thread from which on each is made by one thread.
const LEAVES_PER_THREAD: usize = 4;

/// The leaves of a work of one cell.
pub(super) fn reduce(work: &Work) -> Vec<Partial> {
    let leaves: Vec<Leaf<'_>> = (0..work.cells.blocks.len()).map(|k| Leaf::of_block(work, k)).collect();
    let values = leaves.iter().map(Leaf::rows).sum::<usize>() * work.batch.columns().len();
    let threads = match values < PARALLEL_VALUES_MIN {
        true => 1,
        false => rayon::current_num_threads(),
    };
    let made = |leaf: &Leaf<'_>, moments| Partial::Leaf(Box::new(summary(work, leaf, moments)));
    let is_moments_only = work.shape.is_moments_only();
    if !is_moments_only && threads == 1 {
        return leaves.iter().map(|leaf| made(leaf, None)).collect();
    }
    if !is_moments_only && leaves.len() >= LEAVES_PER_THREAD * threads {
        return leaves.par_iter().map(|leaf| made(leaf, None)).collect();
    }
    let found = leaves.iter().zip(moments_of(work, &leaves, threads));
    let known = |(leaf, moments)| made(leaf, Some(moments));
    match is_moments_only {
        true => found.map(known).collect(),
        false => found.collect::<Vec<_>>().into_par_iter().map(known).collect(),
    }
}

/// By leaf the moments of its columns.
fn moments_of(work: &Work, leaves: &[Leaf<'_>], threads: usize) -> Vec<Vec<Moments>> {
    let (d, order) = (work.shape.columns, work.shape.order);
    let mut found: Vec<Vec<Moments>> = leaves.iter().map(|_| vec![Moments::default(); d]).collect();
    let in_a_row = leaves.len().clamp(1, LEAVES_IN_A_ROW);
    let columns = match threads {
        1 => d,
        _ => columns_per_task(leaves, in_a_row, d, TASKS_PER_THREAD * threads),
    };
    // A task takes some columns of some leaves, and has the places where their moments go.
    let mut tasks = Vec::new();
    for (run, found) in leaves.chunks(in_a_row).zip(found.chunks_mut(in_a_row)) {
        let mut places: Vec<_> = found.iter_mut().map(|leaf| leaf.chunks_mut(columns.max(1))).collect();
        for first in (0..d).step_by(columns.max(1)) {
            let places: Vec<&mut [Moments]> = places.iter_mut().filter_map(Iterator::next).collect();
            tasks.push((run, first, places));
        }
    }
    let fill = |(run, first, mut places): (&[Leaf<'_>], usize, Vec<&mut [Moments]>)| {
        for i in 0..places.first().map_or(0, |leaf| leaf.len()) {
            for (leaf, place) in run.iter().zip(&mut places) {
                place[i] = column_moments(leaf.column(first + i), order);
            }
        }
    };
    match threads {
        1 => tasks.into_iter().for_each(fill),
        _ => tasks.into_par_iter().for_each(fill),
    }
    found
}

/// Columns that a task takes of so many leaves: so many that there are as many tasks as are wanted, and none is small.
fn columns_per_task(leaves: &[Leaf<'_>], in_a_row: usize, d: usize, wanted: usize) -> usize {
    let runs = leaves.len().div_ceil(in_a_row).max(1);
    let values = leaves.iter().map(Leaf::rows).max().unwrap_or(0) * in_a_row;
    d.div_ceil(wanted.div_ceil(runs))
        .max(VALUES_PER_TASK.div_ceil(values.max(1)))
}

/// A leaf. Where its moments are known already, threads share the rest; else one thread makes all of it, and what one
/// kernel has read is still near when the next one asks for it.
fn summary(work: &Work, leaf: &Leaf<'_>, moments: Option<Vec<Moments>>) -> Summary {
    let (shape, rows) = (&*work.shape, leaf.rows());
    let moments = match moments {
        Some(columns) if shape.is_moments_only() => {
            return Summary {
                rows: rows as u64,
                columns,
                ..Summary::default()
            };
        }
        known => known,
    };
    let columns: Vec<LeafColumn<'_>> = (0..shape.columns).map(|i| leaf.column(i)).collect();
    let reading = moments
        .is_none()
        .then(|| RefCell::new(Reading::new(&columns, rows, shape.order)));
    let read = |end| {
        if let Some(reading) = &reading {
            reading.borrow_mut().read(end);
        }
    };
    let parts = match moments {
        Some(_) => Parts::Shared,
        None => Parts::InTurn(&read),
    };
    let comoments = shape.comoments.then(|| {
        Box::new(match shape.exact {
            true => products::plain(&columns, rows, parts),
            false => products::fast(&columns, rows, parts),
        })
    });
    let regression = (!shape.regression.is_empty()).then(|| {
        let chosen: Vec<LeafColumn<'_>> = shape.regression.iter().map(|i| leaf.column(*i)).collect();
        match shape.exact {
            true => RegressionMoments::Exact(Box::new(products::exact(&chosen, rows, parts))),
            false => RegressionMoments::Fast(Box::new(products::plain(&chosen, rows, parts))),
        }
    });
    let made = || reading.map_or(Vec::new(), |reading| reading.into_inner().finish());
    let moments = moments.unwrap_or_else(made);
    let differences = match shape.differences {
        true => columns.iter().map(|column| differences(leaf, *column)).collect(),
        false => Vec::new(),
    };
    Summary {
        rows: rows as u64,
        columns: moments,
        comoments,
        regression,
        differences,
        quantiles: match shape.quantiles {
            true => columns.iter().map(|column| quantiles(*column)).collect(),
            false => Vec::new(),
        },
        loss: shape
            .loss
            .as_ref()
            .zip(work.weights.as_deref())
            .map(|(loss, weights)| Box::new(loss::of_leaf(leaf, loss, weights))),
    }
}

fn quantiles(column: LeafColumn<'_>) -> Quantiles {
    let mut q = Quantiles::default();
    column.values(0..column.rows()).for_each(|x| q.push(x));
    q
}

fn differences(leaf: &Leaf<'_>, column: LeafColumn<'_>) -> Differences {
    let values = column.values(0..column.rows());
    let mut times = leaf.times();
    let mut edges = values.map(|value| Edge {
        time_ns: times.as_mut().and_then(Iterator::next),
        value,
    });
    let Some(first) = edges.next() else {
        return Differences::default();
    };
    let (mut found, mut unordered, mut last) = (Vec::with_capacity(column.rows()), 0, first);
    for next in edges {
        match step(last, next) {
            Step::Difference(x) => found.push(x),
            Step::Unordered => unordered += 1,
            Step::None => {}
        }
        last = next;
    }
    let moments = if found.is_empty() {
        Moments {
            order: Order::Second,
            ..Moments::default()
        }
    } else {
        moments::of_values(&found, Order::Second)
    };
    Differences {
        moments,
        unordered,
        edges: Some((first, last)),
    }
}
