//! What is written reads back, and nothing else is read.

use super::*;
use crate::summary::{LeafRun, Merge, Shape};

fn full(rows: usize, exact: bool) -> Summary {
    let shape = Shape {
        columns: 2,
        order: Order::Fourth,
        comoments: true,
        regression: vec![0, 1],
        exact,
        differences: true,
        quantiles: true,
        loss: None,
    };
    let mut run = LeafRun::new(&shape);
    for i in 0..rows {
        let x = i as f64 * 0.37 - 20.0;
        run.push(
            &shape,
            &[x, if i % 7 == 3 { f64::INFINITY } else { x * x }],
            Some(i as i64 * 1000),
        );
    }
    run.finish(&shape)
}

#[test]
fn every_part_comes_back() {
    for summary in [Summary::default(), full(5, true), full(1000, false)] {
        let bytes = summary.to_bytes();
        assert_eq!(Summary::from_bytes(&bytes).unwrap(), summary);
    }
    let mut merged = full(1000, true);
    merged.merge(&Summary::from_bytes(&full(300, true).to_bytes()).unwrap());
    assert_eq!(merged.rows, 1300);
}

#[test]
fn columns_of_extreme_magnitudes_come_back() {
    let shape = Shape {
        columns: 3,
        comoments: true,
        regression: vec![0, 1, 2],
        ..Shape::default()
    };
    for exact in [false, true] {
        let shape = Shape { exact, ..shape.clone() };
        let mut run = LeafRun::new(&shape);
        [1.0, 2.0, 5.0]
            .iter()
            .for_each(|x| run.push(&shape, &[x * 1e300, x * 5e-324, *x], None));
        let summary = run.finish(&shape);
        assert_eq!(summary.comoments.as_ref().unwrap().scale, [996, -1074, 0]);
        assert_eq!(Summary::from_bytes(&summary.to_bytes()).unwrap(), summary);
    }
}

#[test]
fn any_damage_is_noticed() {
    let bytes = full(300, true).to_bytes();
    for cut in 0..bytes.len() {
        assert!(Summary::from_bytes(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    for place in (0..bytes.len()).step_by(3) {
        let mut wrong = bytes.clone();
        wrong[place] ^= 0x10;
        assert!(Summary::from_bytes(&wrong).is_err(), "flipped at {place}");
    }
}

/// Bytes whose checksum is right and whose content is not.
#[test]
fn nonsense_with_a_right_checksum_is_an_error_and_allocates_little() {
    let whole = full(300, true).to_bytes();
    let body = &whole[..whole.len() - 4];
    for place in 6..body.len() {
        for value in [0x00, 0x7f, 0xff] {
            let mut wrong = body.to_vec();
            wrong[place] = value;
            let checksum = crc32fast::hash(&wrong);
            wrong.extend_from_slice(&checksum.to_le_bytes());
            if let Ok(summary) = Summary::from_bytes(&wrong) {
                let other = summary.clone();
                summary.quantiles.iter().for_each(|q| drop(q.at(&[0.0, 0.5, 1.0])));
                drop(other);
            }
        }
    }
}

/// The byte form of a summary that was changed after it was made.
fn changed(change: impl Fn(&mut Summary)) -> Vec<u8> {
    let mut summary = full(300, true);
    change(&mut summary);
    summary.to_bytes()
}

#[test]
fn what_no_rows_lead_to_is_refused() {
    let sketch = |summary: &mut Summary, change: &dyn Fn(&mut Sketch)| match &mut summary.quantiles[0] {
        Quantiles::Sketch(s) => change(s),
        Quantiles::Exact(_) => panic!("300 values are a sketch"),
    };
    assert!(Summary::from_bytes(&changed(|_| {})).is_ok());
    for (bytes, why) in [
        (changed(|s| s.rows = u64::MAX), "2^53"),
        (changed(|s| s.rows = 299), "counts more"),
        (changed(|s| s.columns[1].count += 1), "counts more"),
        (changed(|s| s.columns[1].missing = u64::MAX), "counts more"),
        (changed(|s| s.columns[0].positive_infinite = u64::MAX), "counts more"),
        (changed(|s| s.differences[0].unordered = u64::MAX - 5), "counts more"),
        (changed(|s| sketch(s, &|q| q.zero = u64::MAX)), "counts more"),
        (
            changed(|s| sketch(s, &|q| q.positive.counts.fill(1 << 60))),
            "counts more",
        ),
        (
            changed(|s| sketch(s, &|q| (q.negative.first, q.negative.counts) = (39_990, vec![0; 11]))),
            "a bucket",
        ),
        (changed(|s| sketch(s, &|q| q.range = Some((2.0, 1.0)))), "least value"),
        (
            changed(|s| sketch(s, &|q| q.range = Some((f64::NEG_INFINITY, 1.0)))),
            "least value",
        ),
        (changed(|s| sketch(s, &|q| q.range = None)), "other signs"),
        (
            changed(|s| sketch(s, &|q| q.range = Some((1e-300, 9.0)))),
            "other signs",
        ),
        (changed(|s| s.columns[0].min = f64::NAN), "least value"),
        (changed(|s| s.columns[0].max = -1e9), "least value"),
        (changed(|s| s.differences.truncate(1)), "different numbers"),
        (
            changed(|s| s.comoments = Some(Box::new(crate::summary::CoMoments::new(3)))),
            "another number",
        ),
        (
            changed(|s| s.comoments.iter_mut().for_each(|m| m.scale[0] = 1024)),
            "a scale",
        ),
        (
            changed(|s| {
                if let Some(RegressionMoments::Exact(m)) = &mut s.regression {
                    m.scale[1] = -1075;
                }
            }),
            "a scale",
        ),
        (
            changed(|s| {
                if let Some(m) = &mut s.comoments {
                    m.infinite[0] = u64::MAX;
                }
            }),
            "counts more",
        ),
    ] {
        match Summary::from_bytes(&bytes) {
            Err(Error::Data(said)) => assert!(said.contains(why), "{said}, not {why}"),
            other => panic!("{why}: {other:?}"),
        }
    }
}

/// There is one form of a summary: what a flag says is absent is zero.
#[test]
fn what_is_absent_is_zero() {
    let untimed = Shape {
        columns: 1,
        differences: true,
        ..Shape::default()
    };
    let mut run = LeafRun::new(&untimed);
    run.push(&untimed, &[1.0], None);
    let mut bytes = run.finish(&untimed).to_bytes();
    // Behind the last edge stand its value, the number of quantiles and the checksum.
    let time = bytes.len() - 4 - 4 - 8 - 1;
    assert_eq!(bytes[time - 8], 0, "the edge has no time");
    bytes[time - 1] = 1;
    let end = bytes.len() - 4;
    let checksum = crc32fast::hash(&bytes[..end]);
    bytes[end..].copy_from_slice(&checksum.to_le_bytes());
    assert!(matches!(Summary::from_bytes(&bytes), Err(Error::Data(m)) if m.contains("absent")));
}

#[test]
fn summaries_of_other_layouts_and_too_many_rows_do_not_merge() {
    let whole = full(300, true);
    for other in [full(300, false), {
        let mut fewer = full(10, true);
        fewer.quantiles.clear();
        fewer
    }] {
        let mut own = whole.clone();
        assert!(matches!(own.try_merge(&other), Err(Error::Usage(_))));
        assert_eq!(own, whole);
    }
    let mut many = whole.clone();
    many.rows = crate::summary::check::ROWS_MAX - 299;
    let mut own = many.clone();
    assert!(matches!(own.try_merge(&whole), Err(Error::Limit(_))));
    assert_eq!(own, many);
    let mut total = Summary::default();
    for _ in 0..3 {
        total.try_merge(&whole).unwrap();
        total.try_merge(&Summary::default()).unwrap();
    }
    assert_eq!(total.rows, 900);
}
