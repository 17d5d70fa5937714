//! What any backend has to do, as one suite that is run against the exact answers, and that is shown to notice broken
//! backends.
//!
//! A backend for a device joins by a test of its own that calls [`contract`] with a way to make one.

use crate::oracle::{self, Rational, rational, to_f64};
use crate::random::Random;
use crate::support::U;
use arrow::buffer::NullBuffer;
use millstream::backend::{Partial, Tolerance, Work};
use millstream::batch::{Column, Values};
use millstream::cells::Cells;
use millstream::summary::{Differences, LeafRun, Order, Quantiles, RegressionMoments, Shape};
use millstream::{Backend, Batch, Cpu, Summary};
use std::sync::Arc;

/// Columns of the works.
const COLUMNS: usize = 8;
/// The time of every row of a leaf that was begun before.
const CARRIED_NS: i64 = -1;

/// Runs the suite on fresh backends; says what is broken first.
pub(crate) fn contract(make: impl Fn() -> Box<dyn Backend>) -> Result<(), String> {
    let works = if make().carries() { works() } else { closed(works()) };
    queues(&make, &works)?;
    for (name, work) in &works {
        let mut backend = make();
        let first = reduce(&mut *backend, 1, work).map_err(|e| format!("{name}: {e}"))?;
        answers(work, &first, backend.tolerance()).map_err(|e| format!("{name}: {e}"))?;
        // The same work, the same bits: by the same backend again, and by a fresh one.
        for (mut other, what) in [(backend, "again"), (make(), "by another")] {
            let second = reduce(&mut *other, 2, work).map_err(|e| format!("{name} {what}: {e}"))?;
            if bytes(work, &first) != bytes(work, &second) {
                return Err(format!("{name}: other bits {what}"));
            }
        }
    }
    Ok(())
}

/// The same works for a backend that gives no leaf back open: every cell begins with the work.
fn closed(works: Vec<(String, Work)>) -> Vec<(String, Work)> {
    let close = |(name, work): (String, Work)| {
        let mut cells = (*work.cells).clone();
        if let Some(order) = &cells.order {
            let mut cell_of_row = vec![0; order.len()];
            for block in &cells.blocks {
                for place in block.rows.clone() {
                    cell_of_row[order[place] as usize] = block.cell;
                }
            }
            cells = Cells::grouped(&cell_of_row, &vec![0; cells.count], 256);
        }
        let work = Work {
            cells: Arc::new(cells),
            carried: Arc::new([]),
            open: false,
            ..work
        };
        (name, work)
    };
    works.into_iter().map(close).collect()
}

fn reduce(backend: &mut dyn Backend, seq: u64, work: &Work) -> Result<Vec<Partial>, String> {
    backend
        .submit(seq, work.clone())
        .map_err(|e| format!("not taken: {e}"))?;
    let (found, partials) = backend.collect().map_err(|e| format!("not done: {e}"))?;
    (found == seq)
        .then_some(partials)
        .ok_or(format!("number {found} instead of {seq}"))
}

fn summaries(work: &Work, partials: &[Partial]) -> Vec<Summary> {
    let summary = |p: &Partial| match p {
        Partial::Leaf(summary) => (**summary).clone(),
        Partial::Open(run) => run.finish(&work.shape),
    };
    partials.iter().map(summary).collect()
}

fn bytes(work: &Work, partials: &[Partial]) -> Vec<Vec<u8>> {
    summaries(work, partials).iter().map(Summary::to_bytes).collect()
}

/// As many works as the depth allows are taken before the first is collected, and the oldest comes first.
fn queues(make: &impl Fn() -> Box<dyn Backend>, works: &[(String, Work)]) -> Result<(), String> {
    let mut backend = make();
    let depth = backend.depth() as u64;
    if depth == 0 {
        return Err("a depth of 0".into());
    }
    if backend.collect().is_ok() {
        return Err("an answer without work".into());
    }
    let work = |seq: u64| &works[seq as usize % works.len()].1;
    for seq in 1..=depth {
        backend
            .submit(seq, work(seq).clone())
            .map_err(|e| format!("work {seq} of {depth} not taken: {e}"))?;
    }
    for seq in 1..=2 * depth + 1 {
        let (found, partials) = backend.collect().map_err(|e| format!("work {seq} not done: {e}"))?;
        if found != seq {
            return Err(format!("work {found} came before work {seq}"));
        }
        answers(work(seq), &partials, backend.tolerance()).map_err(|e| format!("work {seq}: {e}"))?;
        backend
            .submit(seq + depth, work(seq + depth).clone())
            .map_err(|e| format!("not taken: {e}"))?;
    }
    Ok(())
}

/// The rows of each block, with those that its leaf has already, by column.
fn rows_of_blocks(work: &Work) -> Vec<Vec<Vec<f64>>> {
    let carried_rows = |cell: usize| work.carried.get(cell).and_then(Option::as_ref).map_or(0, |r| r.rows());
    let mut last = None;
    let mut blocks = Vec::new();
    for block in &work.cells.blocks {
        let first = last.replace(block.cell) != Some(block.cell);
        let place = |i: usize| work.cells.order.as_ref().map_or(i, |o| o[i] as usize);
        let column = |c: &Column| {
            let before = if first { carried_rows(block.cell as usize) } else { 0 };
            let carried = (0..before).map(carried_value);
            carried.chain(block.rows.clone().map(|i| c.get(place(i)))).collect()
        };
        blocks.push(work.batch.columns().iter().map(column).collect());
    }
    blocks
}

/// Row i of every column of a leaf that was begun before the work.
fn carried_value(i: u64) -> f64 {
    i as f64 * 0.75 - 3.0
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

/// |computed − exact|, rounded.
fn off(computed: f64, exact: &Rational) -> f64 {
    if !computed.is_finite() {
        return f64::INFINITY;
    }
    to_f64(&(rational(computed) - exact)).abs()
}

fn answers(work: &Work, partials: &[Partial], tolerance: Tolerance) -> Result<(), String> {
    let blocks = rows_of_blocks(work);
    ensure(partials.len() == blocks.len(), || {
        format!("{} answers for {} blocks", partials.len(), blocks.len())
    })?;
    for (k, block) in work.cells.blocks.iter().enumerate() {
        let open = matches!(partials[k], Partial::Open(_));
        let expected = work.open && work.cells.order.is_some() && !block.complete;
        ensure(open == expected, || {
            format!("block {k}: a leaf that is open, or should be")
        })?;
    }
    for (k, (summary, columns)) in summaries(work, partials).iter().zip(&blocks).enumerate() {
        let rows = columns.first().map_or(0, Vec::len);
        ensure(summary.rows == rows as u64, || {
            format!("block {k}: {} rows, not {rows}", summary.rows)
        })?;
        for (i, values) in columns.iter().take(work.shape.columns).enumerate() {
            moments(&summary.columns[i], values, tolerance).map_err(|e| format!("block {k}, column {i}: {e}"))?;
            let present = values.iter().filter(|x| !x.is_nan()).count() as u64;
            if work.shape.quantiles {
                ensure(summary.quantiles[i].count() == present, || {
                    format!("block {k}, column {i}: quantiles")
                })?;
                quantiles(&summary.quantiles[i], values).map_err(|e| format!("block {k}, column {i}: {e}"))?;
            }
            if work.shape.differences {
                let times = times_of_block(work, k);
                differences(&summary.differences[i], &times, values, tolerance)
                    .map_err(|e| format!("block {k}, column {i}: {e}"))?;
            }
        }
        if let Some(m) = &summary.comoments {
            let slices: Vec<&[f64]> = columns.iter().take(work.shape.columns).map(Vec::as_slice).collect();
            let dimension = m.dimension();
            products(&slices, m.rows, |i, j| m.product(i, j), tolerance.comoments, dimension)
                .map_err(|e| format!("block {k}: {e}"))?;
        }
        let slices: Vec<&[f64]> = work.shape.regression.iter().map(|i| columns[*i].as_slice()).collect();
        match &summary.regression {
            // Products with 106 bits, rounded once: two roundings with the comparison.
            Some(RegressionMoments::Exact(m)) => {
                products(&slices, m.rows, |i, j| m.product(i, j).hi, 4.0 * U, m.dimension())
            }
            Some(RegressionMoments::Fast(m)) => products(
                &slices,
                m.rows,
                |i, j| m.product(i, j),
                tolerance.comoments,
                m.dimension(),
            ),
            None => ensure(slices.is_empty(), || "no regression".into()),
        }
        .map_err(|e| format!("block {k}, regression: {e}"))?;
    }
    Ok(())
}

/// The times of the rows of a block; those of a leaf that was begun before are all [`CARRIED_NS`].
fn times_of_block(work: &Work, k: usize) -> Vec<i64> {
    let block = &work.cells.blocks[k];
    let first = k == 0 || work.cells.blocks[k - 1].cell != block.cell;
    let carried = work.carried.get(block.cell as usize).and_then(Option::as_ref);
    let before = carried.filter(|_| first).map_or(0, |run| run.rows() as usize);
    let place = |i: usize| work.cells.order.as_ref().map_or(i, |o| o[i] as usize);
    let times = work.batch.time_ns().expect("the works have times");
    let own = block.rows.clone().map(|i| times[place(i)]);
    std::iter::repeat_n(CARRIED_NS, before).chain(own).collect()
}

/// Differences of adjacent rows with values, per second where time rises.
fn differences(d: &Differences, times: &[i64], values: &[f64], tolerance: Tolerance) -> Result<(), String> {
    let (mut quotients, mut unordered, mut infinite) = (Vec::new(), 0, 0);
    for i in 1..values.len() {
        let (a, b) = (values[i - 1], values[i]);
        if a.is_nan() || b.is_nan() {
            continue;
        }
        if times[i] <= times[i - 1] {
            unordered += 1;
        } else if a.is_finite() && b.is_finite() {
            let seconds = Rational::new((times[i] - times[i - 1]).into(), 1_000_000_000.into());
            quotients.push(to_f64(&((rational(b) - rational(a)) / seconds)));
        } else if a != b {
            infinite += 1;
        }
    }
    ensure(d.unordered == unordered, || {
        format!("{} unordered, not {unordered}", d.unordered)
    })?;
    let counts = (d.moments.count, d.moments.present());
    let expected = (quotients.len() as u64, quotients.len() as u64 + infinite);
    ensure(counts == expected, || {
        format!("differences {counts:?}, not {expected:?}")
    })?;
    let Some(exact) = oracle::moments(&quotients).filter(|_| infinite == 0) else {
        return Ok(());
    };
    // A difference, a time and their quotient are rounded once each, and the mean once more.
    let largest = quotients.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    let allowed = tolerance.moments * to_f64(&exact.std(0).expect("n > 0")) + 4.0 * U * largest;
    let mean = d.moments.mean().unwrap_or(f64::NAN);
    ensure(off(mean, &exact.mean) <= allowed, || {
        format!("mean difference {mean}, off by {:e}", off(mean, &exact.mean))
    })
}

/// Extremes are exact; the median lies within 1 % of the two values that it is between.
fn quantiles(q: &Quantiles, values: &[f64]) -> Result<(), String> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|x| !x.is_nan()).collect();
    sorted.sort_by(f64::total_cmp);
    let (Some(least), Some(greatest)) = (sorted.first(), sorted.last()) else {
        return Ok(());
    };
    let found = q.at(&[0.0, 0.5, 1.0]);
    let ends = (found[0], found[2]);
    ensure(ends == (Some(*least), Some(*greatest)), || {
        format!("quantiles 0 and 1: {ends:?}, not {least} and {greatest}")
    })?;
    let middle = (sorted.len() - 1) / 2;
    let (low, high) = (sorted[middle], sorted[(middle + 1).min(sorted.len() - 1)]);
    let median = found[1].unwrap_or(f64::NAN);
    let within = low - 0.01 * low.abs() <= median && median <= high + 0.01 * high.abs();
    ensure(within || low.is_infinite(), || {
        format!("median {median}, not between {low} and {high}")
    })
}

fn moments(m: &millstream::summary::Moments, values: &[f64], tolerance: Tolerance) -> Result<(), String> {
    let count = |of: &dyn Fn(f64) -> bool| values.iter().filter(|x| of(**x)).count() as u64;
    let counts = [
        count(&f64::is_finite),
        count(&f64::is_nan),
        count(&|x| x == f64::INFINITY),
        count(&|x| x == f64::NEG_INFINITY),
    ];
    let found = [m.count, m.missing, m.positive_infinite, m.negative_infinite];
    ensure(found == counts, || format!("counts {found:?}, not {counts:?}"))?;
    let finite: Vec<f64> = values.iter().copied().filter(|x| x.is_finite()).collect();
    let Some(exact) = oracle::moments(&finite) else {
        return Ok(());
    };
    let ends = (to_f64(&exact.min), to_f64(&exact.max));
    ensure((m.min, m.max) == ends, || {
        format!("extremes {} {}, not {ends:?}", m.min, m.max)
    })?;
    if counts[0] < m.present() {
        return Ok(());
    }
    let sd = to_f64(&exact.std(0).expect("n > 0"));
    let mean = m.mean().unwrap_or(f64::NAN);
    // The state's mean, and its one rounding to f64.
    let allowed = tolerance.moments * sd + U * mean.abs();
    ensure(off(mean, &exact.mean) <= allowed, || {
        format!("mean {mean}, off by {:e}", off(mean, &exact.mean))
    })?;
    let variance = m.variance(0).unwrap_or(f64::NAN);
    let error = oracle::relative_error(variance, &exact.m2);
    ensure(error <= tolerance.moments, || {
        format!("variance {variance}, off by {error:e}")
    })
}

fn products(
    columns: &[&[f64]],
    rows: u64,
    product: impl Fn(usize, usize) -> f64,
    tolerance: f64,
    d: usize,
) -> Result<(), String> {
    ensure(d == columns.len(), || {
        format!("{d} columns instead of {}", columns.len())
    })?;
    let present: Vec<usize> = (0..d).filter(|i| columns[*i].iter().any(|x| !x.is_nan())).collect();
    let complete = oracle::listwise(&present.iter().map(|i| columns[*i]).collect::<Vec<_>>());
    let n = complete.first().map_or(0, Vec::len);
    ensure(rows == n as u64, || format!("{rows} complete rows, not {n}"))?;
    let exact = |i: usize, j: usize| oracle::covariance(&complete[i], &complete[j], 0).map(|c| c * rational(n as f64));
    for (i, x) in present.iter().enumerate() {
        for (j, y) in present.iter().enumerate().skip(i) {
            let (Some(xy), Some(xx), Some(yy)) = (exact(i, j), exact(i, i), exact(j, j)) else {
                continue;
            };
            let allowed = tolerance * (to_f64(&xx) * to_f64(&yy)).sqrt();
            let error = off(product(*x, *y), &xy);
            ensure(error <= allowed, || {
                format!("product ({x}, {y}) off by {error:e}, {allowed:e} allowed")
            })?;
        }
    }
    Ok(())
}

fn shape(columns: usize, exact: bool) -> Shape {
    Shape {
        columns,
        order: if exact { Order::Fourth } else { Order::Second },
        comoments: true,
        regression: vec![0, 1],
        exact,
        differences: true,
        quantiles: true,
        loss: None,
    }
}

/// Columns far from 0, constant, of f32, with nulls over values that would show, with infinite values, with nothing at
/// all.
fn batch(rows: usize) -> Batch {
    let mut random = Random::new(rows as u64);
    let f64s = |values: Vec<f64>, nulls| Column {
        values: Values::F64(values.into()),
        nulls,
    };
    let mask = NullBuffer::from((0..rows).map(|_| random.below(10) > 0).collect::<Vec<_>>());
    let far: Vec<f64> = (0..rows).map(|_| 1e7 + random.normal()).collect();
    let near = far.iter().map(|x| (x - 1e7) * 0.5 + random.normal() * 0.1).collect();
    let narrow: Vec<f32> = (0..rows).map(|_| random.normal() as f32 * 10.0).collect();
    // What stands at a null is far from everything else.
    let masked = (0..rows)
        .map(|i| if mask.is_null(i) { 1e12 } else { random.normal() })
        .collect();
    let infinite = (0..rows)
        .map(|_| {
            if random.below(3000) == 0 {
                f64::NEG_INFINITY
            } else {
                random.uniform()
            }
        })
        .collect();
    let columns = vec![
        ("far", f64s(far, None)),
        ("near", f64s(near, None)),
        (
            "narrow",
            Column {
                values: Values::F32(narrow.into()),
                nulls: None,
            },
        ),
        ("masked", f64s(masked, Some(mask))),
        ("constant", f64s(vec![0.1; rows], None)),
        ("infinite", f64s(infinite, None)),
        ("missing", f64s(vec![f64::NAN; rows], None)),
        // A first value as far from the mean as can be: a gauge of rain after the first drop.
        (
            "spike",
            f64s((0..rows).map(|i| if i == 0 { 262.3 } else { 0.0 }).collect(), None),
        ),
    ];
    let time_ns = (0..rows as i64).map(|i| i * 1_000_000 - i % 7).collect();
    let named = columns.into_iter().map(|(n, c)| (n.to_string(), c)).collect();
    Batch::new(rows, named).unwrap().with_time_ns(time_ns).unwrap()
}

fn works() -> Vec<(String, Work)> {
    let mut works = Vec::new();
    for rows in [1, 2, 100, 4096, 9001] {
        let batch = batch(rows);
        for exact in [true, false] {
            let single = Cells::single(rows, 4096);
            works.push((
                format!("{rows} rows, exact {exact}"),
                work(batch.clone(), single, Vec::new(), shape(COLUMNS, exact)),
            ));
        }
        // Three cells, of which one goes on with a leaf that was begun before.
        let cells: Vec<u32> = (0..rows as u32).map(|i| i * i % 3).collect();
        let shape = shape(COLUMNS, true);
        let mut run = LeafRun::new(&shape);
        (0..200).for_each(|i| run.push(&shape, &[carried_value(i); COLUMNS], Some(CARRIED_NS)));
        let grouped = Cells::grouped(&cells, &[0, 200, 0], 256);
        works.push((
            format!("{rows} rows, grouped"),
            work(batch, grouped, vec![None, Some(run), None], shape),
        ));
    }
    works
}

fn work(batch: Batch, cells: Cells, carried: Vec<Option<LeafRun>>, shape: Shape) -> Work {
    Work {
        before: Arc::new([]),
        batch,
        cells: Arc::new(cells),
        carried: carried.into(),
        shape: Arc::new(shape),
        open: true,
        weights: None,
        resident: None,
    }
}

#[test]
fn the_cpu_keeps_it() {
    contract(|| Box::new(Cpu::new())).unwrap();
    contract(|| Box::new(Cpu::with_threads(3).unwrap())).unwrap();
}
