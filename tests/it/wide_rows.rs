//! Rows of few and of many columns: however a backend lays them out to be quick, it comes to what their running states
//! come to when they are given one row after another.

use crate::random::Random;
use arrow::buffer::NullBuffer;
use millstream::backend::{Partial, Work};
use millstream::batch::{Column, Values};
use millstream::cells::Cells;
use millstream::summary::{LeafRun, Order, Shape};
use millstream::{Backend, Batch, Cpu};
use std::sync::Arc;

const ROWS: usize = 3000;
const CELLS: usize = 7;
const LEAF_ROWS: usize = 256;

/// Columns of every kind: whole, with missing values, narrow, and some that have what is out of the ordinary.
fn columns(count: usize, random: &mut Random) -> Vec<(String, Column)> {
    let column = |c: usize| {
        let values: Vec<f64> = (0..ROWS)
            .map(|_| match (c % 11, random.below(500)) {
                (5, 0) => f64::INFINITY,
                (5, 1) => f64::NAN,
                (6, 0) => 1e300,
                _ => 1e3 * c as f64 + random.normal(),
            })
            .collect();
        let missing = (c % 4 == 3).then(|| NullBuffer::from_iter((0..ROWS).map(|_| random.below(300) > 0)));
        let values = match c % 5 {
            4 => Values::F32(values.iter().map(|x| *x as f32).collect()),
            _ => Values::F64(values.into()),
        };
        let nulls = missing;
        (format!("c{c}"), Column { values, nulls })
    };
    (0..count).map(column).collect()
}

/// Every bit of it: a missing value, which is NaN, is not equal to itself.
fn bits(state: &impl serde::Serialize) -> Vec<u8> {
    postcard::to_allocvec(state).unwrap()
}

#[test]
fn of_any_number_of_columns_they_come_to_what_rows_one_at_a_time_come_to() {
    let mut random = Random::new(31);
    for count in [1, 2, 3, 7, 8, 9, 16, 47, 48, 49, 52, 55, 64, 67] {
        let shape = Arc::new(Shape {
            columns: count,
            order: if count % 2 == 0 { Order::Fourth } else { Order::Second },
            comoments: true,
            regression: (0..count.min(4)).rev().collect(),
            exact: count % 3 == 0,
            differences: true,
            quantiles: count < 20,
            loss: None,
        });
        let times: Vec<i64> = (0..ROWS as i64).map(|i| i * 1_000_000 - i % 3).collect();
        let batch = Batch::new(ROWS, columns(count, &mut random)).unwrap();
        let batch = batch.with_time_ns(times.clone()).unwrap();
        let cell_of_row: Vec<u32> = (0..ROWS).map(|_| random.below(CELLS as u64) as u32).collect();
        let cells = Arc::new(Cells::grouped(&cell_of_row, &[0; CELLS], LEAF_ROWS));
        let mut backend = Cpu::with_threads(2).unwrap();
        let work = Work {
            before: Arc::new([]),
            batch: batch.clone(),
            cells: cells.clone(),
            carried: vec![None; CELLS].into(),
            shape: shape.clone(),
            open: true,
            weights: None,
            resident: None,
        };
        backend.submit(1, work).unwrap();
        let mut found = backend.collect().unwrap().1.into_iter();
        let mut leaves = 0;
        for cell in 0..CELLS as u32 {
            let rows: Vec<usize> = (0..ROWS).filter(|i| cell_of_row[*i] == cell).collect();
            for rows in rows.chunks(LEAF_ROWS) {
                let mut run = LeafRun::new(&shape);
                for i in rows {
                    let row: Vec<f64> = batch.columns().iter().map(|column| column.get(*i)).collect();
                    run.push(&shape, &row, Some(times[*i]));
                }
                match found.next() {
                    Some(Partial::Leaf(leaf)) => {
                        leaves += 1;
                        assert_eq!(rows.len(), LEAF_ROWS, "{count} columns");
                        assert!(
                            bits(&*leaf) == bits(&run.finish(&shape)),
                            "{count} columns, cell {cell}"
                        );
                    }
                    Some(Partial::Open(open)) => assert!(bits(&*open) == bits(&run), "{count} columns, cell {cell}"),
                    None => panic!("{count} columns: cell {cell} has no answer"),
                }
            }
        }
        assert!(found.next().is_none() && leaves > 0, "{count} columns");
    }
}
