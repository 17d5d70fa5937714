//! Rows made row by row have the same bits however they were cut into batches, on any number of threads, alone or
//! among other keys.

use crate::random::Random;
use crate::rolling::{cell, everything, transform};
use millstream::Batch;
use millstream::transform::{Rolling, Span, Transformer, Transforms, Weighted};

/// Every bit of made columns, nulls apart from numbers.
fn bits(parts: &[Batch]) -> Vec<Vec<Option<u64>>> {
    let names = parts
        .iter()
        .map(Batch::names)
        .find(|names| !names.is_empty())
        .unwrap_or(&[]);
    let column = |name: &String| {
        let of_part = |part: &Batch| {
            (0..part.rows())
                .map(|row| cell(part, name, row).map(f64::to_bits))
                .collect::<Vec<_>>()
        };
        parts.iter().filter(|part| part.rows() > 0).flat_map(of_part).collect()
    };
    names.iter().map(column).collect()
}

/// Three columns (gaps; bursts and infinities; single precision with nulls), keys and times that stand still at times.
fn mixed(rows: usize) -> Batch {
    use arrow::array::{ArrayRef, Float32Array, Float64Array, Int64Array, RecordBatch, TimestampNanosecondArray};
    use std::sync::Arc;
    let mut random = Random::new(21);
    let x: Vec<f64> = (0..rows).map(|_| 1e6 + random.normal()).collect();
    let y: Vec<f64> = x
        .iter()
        .map(|x| match random.below(400) {
            0 => 1e12,
            1 => f64::INFINITY,
            2 => f64::NAN,
            _ => x * 2.0 + random.normal(),
        })
        .collect();
    let z: Vec<Option<f32>> = (0..rows)
        .map(|_| (random.below(90) > 0).then(|| random.normal() as f32))
        .collect();
    let keys: Vec<i64> = (0..rows)
        .map(|_| random.below(6) as i64 * random.below(2) as i64)
        .collect();
    let mut at = 0;
    let times: Vec<i64> = (0..rows)
        .map(|_| {
            at += random.below(3) as i64 * 500_000_000;
            at
        })
        .collect();
    let record = RecordBatch::try_from_iter([
        ("x", Arc::new(Float64Array::from(x)) as ArrayRef),
        ("y", Arc::new(Float64Array::from(y))),
        ("z", Arc::new(Float32Array::from(z))),
        ("key", Arc::new(Int64Array::from(keys))),
        ("time", Arc::new(TimestampNanosecondArray::from(times))),
    ])
    .unwrap();
    let numeric = ["x", "y", "z"].map(String::from);
    Batch::from_record_batch(&record, Some(&numeric), &["key".into()], Some("time")).unwrap()
}

/// All that there is.
fn all() -> Transforms {
    everything(Span::Rows(20))
        .rolling(Span::Rows(150), &[Rolling::Mean, Rolling::Std, Rolling::Max])
        .rolling(
            Span::Time(7_000_000_000),
            &[Rolling::Mean, Rolling::Variance, Rolling::Correlation],
        )
        .min_rows(2)
        .differences()
        .gradient()
        .ewm(Span::Rows(5), &[Weighted::Mean, Weighted::Std])
        .zscores()
}

#[test]
fn batches_and_keys_change_no_bit() {
    let rows = 3_001;
    let batch = mixed(rows);
    for asked in [
        all(),
        all().by(["key"]),
        Transforms {
            gradient: Some(2),
            ..all().by(["key"])
        },
    ] {
        let whole = bits(&[transform(&batch, &asked)]);
        assert_eq!((whole.len(), whole[0].len()), (3 * 16 + 3 * 3, rows));
        for piece in [1, 7, 64, 500, rows] {
            let pieces = crate::support::pieces(&batch, piece);
            let mut transformer = Transformer::new(asked.clone()).unwrap();
            pieces.iter().for_each(|piece| transformer.measure(piece).unwrap());
            let mut made: Vec<Batch> = pieces.iter().map(|piece| transformer.push(piece).unwrap()).collect();
            made.push(transformer.finish().unwrap());
            let names = made[0].names().to_vec();
            for ((found, whole), name) in bits(&made).iter().zip(&whole).zip(names) {
                let differs = found.iter().zip(whole).position(|(a, b)| a != b);
                assert_eq!((found.len(), differs), (rows, None), "{name} in pieces of {piece}");
            }
        }
    }
    // A key has the results that it has alone.
    let keyed = transform(&batch, &all().by(["key"]));
    let keys: Vec<i64> = arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(&batch.keys()[0].1)
        .values()
        .to_vec();
    for key in 0..6 {
        let kept: Vec<usize> = (0..rows).filter(|i| keys[*i] == key).collect();
        let column = |c: usize| kept.iter().map(|i| batch.columns()[c].get(*i)).collect::<Vec<f64>>();
        let alone = Batch::from_columns([("x", column(0)), ("y", column(1)), ("z", column(2))]).unwrap();
        let alone = alone
            .with_time_ns(kept.iter().map(|i| batch.time_ns().unwrap()[*i]).collect())
            .unwrap();
        let alone = bits(&[transform(&alone, &all())]);
        for (found, alone) in bits(std::slice::from_ref(&keyed)).iter().zip(alone) {
            assert!(kept.iter().zip(alone).all(|(i, alone)| found[*i] == alone));
        }
    }
}

#[test]
fn threads_change_no_bit() {
    let rows = 300_000;
    let batch = mixed(rows);
    let clean = Batch::from_columns([("x", (0..rows).map(|i| (i % 1013) as f64).collect::<Vec<_>>())]).unwrap();
    let on = |threads: usize, batch: &Batch, asked: &Transforms| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        bits(&[pool.install(|| transform(batch, asked))])
    };
    let asked = Transforms::new()
        .differences()
        .gradient()
        .rolling(Span::Rows(100), &[Rolling::Mean, Rolling::Std, Rolling::Min])
        .rolling(Span::Rows(5_000), &[Rolling::Variance]);
    for (batch, asked) in [(&clean, &asked), (&batch, &asked), (&batch, &asked.clone().by(["key"]))] {
        let one = on(1, batch, asked);
        assert!(one == on(2, batch, asked) && one == on(7, batch, asked));
    }
}
