//! An analysis by many keys whose rows are all there: no table of keys and no states, which only rows to come would need.

use super::Engine;
use super::keys::Ordinals;
use crate::backend::cpu::by_key::{self, Keyed};
use crate::batch::Batch;
use crate::error::Result;
use crate::report::build::{self, Builder};
use crate::report::{Named, Report};
use crate::summary::Summary;
use std::sync::Arc;

impl Engine {
    /// The report of a batch on its own, bit for bit that of [`Engine::push`] and [`Engine::finish`]; `None` where it is
    /// of another kind, or rows came before it.
    pub(super) fn at_once(&self, batch: &Batch) -> Result<Option<Report>> {
        let spec = &self.spec;
        let is_long = batch.rows() >= by_key::ROWS_MIN;
        let is_new = self.layout.is_none() && self.watermarks.is_none() && !self.ended;
        let is_by_key = spec.keys.len() == 1 && spec.window.is_none() && spec.ewm_half_life_ns.is_none();
        let Some(cpu) = self.queue.backend().as_cpu().filter(|_| is_long && is_new && is_by_key) else {
            return Ok(None);
        };
        let layout = self.prepare(batch)?;
        if !by_key::may_pay(batch.rows(), &layout.shape) {
            return Ok(None);
        }
        let batch = batch.project_if_needed(&layout.places);
        let Some(ordinals) = Ordinals::of(&batch.keys()[0])? else {
            return Ok(None);
        };
        let keyed = Keyed {
            key: |row| ordinals.get(row),
            rows: batch.rows(),
            columns: batch.columns(),
            shape: &layout.shape,
            leaf_rows: layout.leaf_rows,
        };
        if !keyed.pays() {
            return Ok(None);
        }
        let groups = cpu.by_key(&keyed, || {
            // Names of their own: threads that count who shares one name wait for each other.
            let (builder, names) = (Builder::new(spec, &layout.reported), Arc::from(spec.keys.as_slice()));
            let ordinals = &ordinals;
            move |key: i64, summary: &Summary| {
                let key = Named::new(Arc::clone(&names), vec![ordinals.value(key)]);
                builder.group(Some(key), None, summary, None)
            }
        });
        let mut report = build::of_groups(spec, groups);
        self.label(&mut report, batch.rows() as u64);
        Ok(Some(report))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::KeyValue;
    use crate::spec::Spec;
    use arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array, StringArray};

    const ROWS: usize = 300_000;
    const KEYS: u64 = 20_000;

    /// By row a key below `KEYS`, in no order, and a value.
    fn rows() -> (Vec<u64>, Vec<f64>) {
        let mut state = 7u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state >> 33
        };
        (0..ROWS).map(|_| (next() % KEYS, (next() % 1000) as f64)).unzip()
    }

    fn batch(keys: ArrayRef, values: Vec<f64>) -> Batch {
        let batch = Batch::from_columns([("x", values)]).unwrap();
        batch.with_keys(vec![("key".to_owned(), keys)]).unwrap()
    }

    fn engine() -> Engine {
        Engine::new(Spec::new().mean_and_variance().by(["key"])).unwrap()
    }

    /// The report of rows that come in pieces.
    fn in_pieces(batch: &Batch) -> Report {
        let mut engine = engine();
        for start in (0..ROWS).step_by(70_001) {
            engine.push(&batch.slice(start, 70_001.min(ROWS - start))).unwrap();
        }
        engine.finish().unwrap()
    }

    #[test]
    fn sums_of_whole_numbers_are_those_of_whole_number_arithmetic() {
        let (keys, values) = rows();
        let mut expected = vec![(0u64, 0u64); KEYS as usize];
        for (key, x) in keys.iter().zip(&values) {
            expected[*key as usize].0 += 1;
            expected[*key as usize].1 += *x as u64;
        }
        let keys: Int64Array = keys.iter().map(|key| *key as i64 - 5000).collect();
        let report = engine().at_once(&batch(Arc::new(keys), values)).unwrap().unwrap();
        assert_eq!(report.rows, ROWS as u64);
        let found: Vec<(KeyValue, u64, f64)> = report
            .groups
            .iter()
            .map(|group| {
                let key = group.key.as_ref().unwrap()["key"].clone();
                (key, group.rows, group.columns["x"].sum.unwrap())
            })
            .collect();
        let there = expected.iter().enumerate().filter(|(_, (rows, _))| *rows > 0);
        let expected: Vec<(KeyValue, u64, f64)> = there
            .map(|(key, (rows, sum))| (KeyValue::Integer(key as i128 - 5000), *rows, *sum as f64))
            .collect();
        assert!(found == expected);
    }

    #[test]
    fn the_bits_are_those_of_rows_that_come_in_pieces() {
        let (keys, values) = rows();
        let values: Vec<f64> = values
            .iter()
            .enumerate()
            .map(|(i, x)| x.sin() / (i % 7) as f64)
            .collect();
        let narrow: Int32Array = keys.iter().map(|key| *key as i32).collect();
        let floats: Float64Array = keys
            .iter()
            .map(|key| match key % 5000 {
                0 => -0.0,
                1 => 0.0,
                2 => f64::NAN,
                3 => f64::NEG_INFINITY,
                _ => *key as f64 / 2.0 - 3000.0,
            })
            .collect();
        for keys in [Arc::new(narrow) as ArrayRef, Arc::new(floats)] {
            let batch = batch(keys, values.clone());
            let report = engine().at_once(&batch).unwrap().unwrap();
            // As text, in which every number has all its digits, and a NaN is one.
            assert!(format!("{report:?}") == format!("{:?}", in_pieces(&batch)));
        }
    }

    #[test]
    fn keys_of_more_than_a_leaf_and_of_rows_enough_to_go_together_have_the_same_bits() {
        const LEAF: usize = crate::spec::GROUPED_LEAF_ROWS;
        let mut keys = Vec::new();
        for (key, rows) in [LEAF - 1, LEAF, LEAF + 1, 2 * LEAF - 1, 2 * LEAF, 2 * LEAF + 1]
            .into_iter()
            .enumerate()
        {
            keys.resize(keys.len() + rows, -(key as i64) - 1);
        }
        // About 50 rows each, taking turns.
        let long = keys.len();
        keys.extend((0..(ROWS - long) as i64).map(|row| row % 6000));
        let values = |turn: f64| (0..ROWS).map(move |i| (i as f64 * turn).sin() / (i % 101) as f64);
        let batch =
            Batch::from_columns([("x", values(0.7).collect::<Vec<f64>>()), ("y", values(1.3).collect())]).unwrap();
        let keys: ArrayRef = Arc::new(Int64Array::from(keys));
        let batch = batch.with_keys(vec![("key".to_owned(), keys)]).unwrap();
        let engine = || Engine::new(Spec::new().by(["key"])).unwrap();
        assert!(engine().at_once(&batch).unwrap().is_some());
        let mut pushed = engine();
        pushed.push(&batch).unwrap();
        let (report, pushed) = (engine().analyze(&batch).unwrap(), pushed.finish().unwrap());
        assert!(format!("{report:?}") == format!("{pushed:?}"));
    }

    #[test]
    fn rows_without_columns_are_counted() {
        for (rows, keys) in [(400, 10), (ROWS as i64, 10_000)] {
            let keys_of: Int64Array = (0..rows).map(|row| row % keys).collect();
            let batch = Batch::from_columns([("x", vec![0.0; rows as usize])]).unwrap();
            let batch = batch
                .with_keys(vec![("key".to_owned(), Arc::new(keys_of) as ArrayRef)])
                .unwrap();
            let mut engine = Engine::new(Spec::new().columns([] as [&str; 0]).by(["key"])).unwrap();
            let report = engine.analyze(&batch).unwrap();
            let found: Vec<u64> = report.groups.iter().map(|group| group.rows).collect();
            assert_eq!(found, vec![(rows / keys) as u64; keys as usize]);
        }
    }

    #[test]
    fn what_is_of_another_kind_goes_the_other_way() {
        let (keys, values) = rows();
        let declined =
            |engine: &Engine, keys: ArrayRef| engine.at_once(&batch(keys, values.clone())).unwrap().is_none();
        let many: ArrayRef = Arc::new(Int64Array::from_iter_values(keys.iter().map(|key| *key as i64)));
        assert!(!declined(&engine(), Arc::clone(&many)));
        let few = Int64Array::from_iter_values(keys.iter().map(|key| (*key % 1000) as i64));
        assert!(declined(&engine(), Arc::new(few)));
        let in_turns = Int64Array::from_iter_values((0..ROWS as i64).map(|row| row % 10_000));
        assert!(!declined(&engine(), Arc::new(in_turns)));
        let heavy = Int64Array::from_iter_values(keys.iter().map(|key| (*key as i64 - 2000).max(0)));
        assert!(declined(&engine(), Arc::new(heavy)));
        let texts = StringArray::from_iter_values(keys.iter().map(u64::to_string));
        assert!(declined(&engine(), Arc::new(texts)));
        let nulls: Int64Array = keys.iter().map(|key| (*key > 0).then_some(*key as i64)).collect();
        assert!(declined(&engine(), Arc::new(nulls)));
        let more = Spec::new().covariance().by(["key"]);
        assert!(declined(&Engine::new(more).unwrap(), Arc::clone(&many)));
        let mut begun = engine();
        begun.push(&batch(Arc::clone(&many), values.clone())).unwrap();
        assert!(declined(&begun, many));
    }
}
