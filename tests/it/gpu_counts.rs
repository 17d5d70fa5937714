//! What the GPU is asked to do: which kernels are launched, in how many workgroups, over how much data; and that the
//! same work gives the same bits.

use crate::gpu_agreement::{gpu, options};
use crate::gpu_judge::{PRECISIONS, judge, lent, reduce};
use crate::gpu_losses::{data, loss_shape, weights};
use crate::gpu_shapes::{batch_of, everything, f64s, ordinary, single, with_times};
use crate::oracle::{Rational, rational, to_f64};
use millstream::backend::Work;
use millstream::backend::gpu::{Gpu, Options, Texts};
use millstream::batch::{Column, Values};
use millstream::summary::{Model, Order, Shape};
use millstream::{Backend, Batch, Error, Precision, Summary};
use num_traits::Signed;
use std::sync::Arc;
use std::time::Duration;

fn moments_only(columns: usize) -> Shape {
    Shape {
        columns,
        order: Order::Fourth,
        ..Shape::default()
    }
}

/// The kernels of each part: without them the device would have had nothing to do with the answer.
#[test]
fn gpu_launches_the_kernels_of_each_summary() {
    let comoments = |columns| Shape {
        comoments: true,
        ..moments_only(columns)
    };
    let regression = Shape {
        regression: vec![0, 2],
        ..moments_only(4)
    };
    let in_double_double = Shape {
        exact: true,
        ..regression.clone()
    };
    let differences = Shape {
        differences: true,
        ..moments_only(4)
    };
    let quantiles = Shape {
        quantiles: true,
        ..moments_only(4)
    };
    // Moments; products and their fold, of regressions in `exact` only; differences in `exact`; losses and their fold.
    let cases = [
        ("moments", moments_only(4), [1, 1]),
        ("co-moments", comoments(4), [3, 3]),
        ("regression", regression, [3, 1]),
        ("regression in double-double", in_double_double, [1, 1]),
        ("differences", differences, [2, 1]),
        ("quantiles", quantiles, [1, 1]),
        ("everything", everything(4), [4, 3]),
        ("loss", loss_shape(2, Model::Logistic, true), [3, 3]),
    ];
    for (k, precision) in PRECISIONS.into_iter().enumerate() {
        let Some(mut gpu) = lent(precision) else { return };
        let counters = gpu.counters();
        for (name, shape, expected) in &cases {
            let batch = if shape.loss.is_some() {
                data(500, 2, 0)
            } else {
                ordinary(500)
            };
            let work = Work {
                weights: shape.loss.as_ref().map(|_| weights(shape)),
                ..single(&batch, 500, shape.clone())
            };
            let before = (counters.dispatches(), counters.submits(), counters.host_blocks());
            judge(&mut gpu, &work).unwrap_or_else(|e| panic!("{precision:?}, {name}: {e}"));
            let after = (counters.dispatches(), counters.submits(), counters.host_blocks());
            let done = (after.0 - before.0, after.1 - before.1, after.2 - before.2);
            assert_eq!(done, (expected[k], 1, 0), "{precision:?}, {name}");
        }
    }
}

/// More columns than a launch has workgroups: one launch, in which some workgroups take two. (That every kernel strides
/// rightly is tested with fewer of both.)
#[test]
fn gpu_more_workgroups_than_one_dimension_has() {
    const COLUMNS: usize = 65_600;
    // A software adapter takes seconds for so many workgroups.
    let patient = Options {
        timeout: Duration::from_secs(300),
        ..options(Precision::Fast)
    };
    let Some(mut gpu) = gpu(patient) else { return };
    let column = |i: usize| {
        let x = i as f32;
        let values = Values::F32(vec![x, x + 2.0, x + 7.0].into());
        (format!("c{i}"), Column { values, nulls: None })
    };
    let batch = Batch::new(3, (0..COLUMNS).map(column).collect()).unwrap();
    let shape = Shape {
        order: Order::Second,
        ..moments_only(COLUMNS)
    };
    let counters = gpu.counters();
    let (dispatches, submits) = (counters.dispatches(), counters.submits());
    let summary = reduce(&mut gpu, &single(&batch, 3, shape)).remove(0);
    let launches = (counters.dispatches() - dispatches, counters.submits() - submits);
    assert_eq!((launches, counters.host_blocks()), ((1, 1), 0));
    for (i, m) in summary.columns.iter().enumerate() {
        // Sum 3 i + 9, mean i + 3, squares 9 + 1 + 16; whole numbers this small are exact.
        let found = (m.sum.hi, m.m2, m.min, m.max);
        assert_eq!(
            found,
            ((3 * i + 9) as f64, 26.0, i as f64, (i + 7) as f64),
            "column {i}"
        );
    }
}

/// One column of whole numbers, so long that counts leave the integers of f32, and so large that no shader sees it at
/// once. The values repeat, so that the exact sums are few terms.
#[test]
fn gpu_a_block_of_more_rows_than_2_to_the_24() {
    const ROWS: usize = (1 << 24) + 4103;
    const PERIOD: usize = 7;
    let value = |i: usize| 1_000_000.0 + [0.0, 1.0, 5.0, 2.0, 9.0, -3.0, 4.0][i % PERIOD];
    // f64 for `exact`, 128 MiB and more; half of that for `fast`.
    for precision in PRECISIONS {
        let Some(mut gpu) = lent(precision) else { return };
        let exact = precision == Precision::Exact;
        let values = if exact {
            Values::F64((0..ROWS).map(value).collect::<Vec<_>>().into())
        } else {
            Values::F32((0..ROWS).map(|i| value(i) as f32).collect::<Vec<_>>().into())
        };
        let batch = Batch::new(ROWS, vec![("x".into(), Column { values, nulls: None })]).unwrap();
        if exact && gpu.adapter().software {
            assert!(gpu.adapter().binding_bytes_max < (8 * ROWS) as u64, "it fits at once");
        }
        let before = gpu.counters().host_blocks();
        let summary: Summary = reduce(&mut *gpu, &single(&batch, ROWS, moments_only(1))).remove(0);
        assert_eq!(gpu.counters().host_blocks(), before);
        let m = &summary.columns[0];
        assert_eq!((summary.rows, m.count), (ROWS as u64, ROWS as u64));
        assert_eq!((m.min, m.max), (999_997.0, 1_000_009.0));
        let of = |r: usize| Rational::from_integer((ROWS / PERIOD + usize::from(r < ROWS % PERIOD)).into());
        let sum: Rational = (0..PERIOD).map(|r| of(r) * rational(value(r))).sum();
        let n = Rational::from_integer(ROWS.into());
        let mean = &sum / &n;
        let power = |k: usize| -> Rational {
            let d = |r: usize| rational(value(r)) - &mean;
            (0..PERIOD)
                .map(|r| of(r) * std::iter::repeat_n(d(r), k).product::<Rational>())
                .sum()
        };
        let t = gpu.tolerance().moments;
        let (m2, m4) = (power(2), power(4));
        let found = rational(m.sum.hi) + rational(m.sum.lo);
        let off = |found: Rational, exact: &Rational| to_f64(&((found - exact).abs()));
        assert!(off(found, &sum) <= t * to_f64(&(&m2 * &n)).sqrt());
        assert!(off(rational(m.m2), &m2) <= t * to_f64(&m2));
        assert!(off(rational(m.m3), &power(3)) <= 4.0 * t * to_f64(&(&m2 * &m4)).sqrt());
        assert!(off(rational(m.m4), &m4) <= 4.0 * t * to_f64(&m4));
    }
}

/// A block whose differences go in two pieces: the one where they join is not lost.
#[test]
fn gpu_differences_of_a_long_block() {
    const ROWS: usize = (1 << 19) + 77;
    let Some(mut gpu) = lent(Precision::Exact) else { return };
    // Differences are 1 and −1 in turn, but 5 where the rows are cut, as a piece begins at a multiple of 64.
    let value = |i: usize| 1000.0 + (i % 2) as f64 + if i >= 1 << 19 { 6.0 } else { 0.0 };
    let batch = batch_of(vec![f64s((0..ROWS).map(value).collect())]);
    let shape = Shape {
        differences: true,
        ..moments_only(1)
    };
    let before = gpu.counters().host_blocks();
    let summary = reduce(&mut gpu, &single(&batch, ROWS, shape)).remove(0);
    assert_eq!(gpu.counters().host_blocks(), before);
    let m = &summary.differences[0].moments;
    assert_eq!((m.count, m.min, m.max), (ROWS as u64 - 1, -1.0, 5.0));
    assert_eq!(m.sum.hi, value(ROWS - 1) - value(0));
    let squares = (ROWS - 2) as f64 + 25.0;
    let exact = squares - m.sum.hi * m.sum.hi / (ROWS - 1) as f64;
    assert!(
        (m.m2 - exact).abs() <= (gpu.tolerance().moments + f64::EPSILON) * exact,
        "{m:?}"
    );
}

/// The same bits a hundred times, however works share submissions, and on another device.
#[test]
fn gpu_a_hundred_runs_are_bit_equal() {
    for precision in PRECISIONS {
        let (Some(mut gpu), Some(mut other)) = (lent(precision), lent(precision)) else {
            return;
        };
        let batch = ordinary(1037);
        let shape = Shape {
            quantiles: false,
            ..everything(4)
        };
        let work = single(&batch, 300, shape);
        let first = format!("{:?}", reduce(&mut gpu, &work));
        let mut seen = 0;
        while seen < 100 {
            // One work, two works, … up to the depth at a time.
            let together = (1 + seen % gpu.depth()).min(100 - seen);
            for seq in 0..together as u64 {
                gpu.submit(seq, work.clone()).unwrap();
            }
            for _ in 0..together {
                let leaves: Vec<Summary> = gpu.collect().unwrap().1.into_iter().map(leaf).collect();
                assert_eq!(format!("{leaves:?}"), first, "{precision:?}, run {seen}");
                seen += 1;
            }
        }
        assert_eq!(
            format!("{:?}", reduce(&mut other, &work)),
            first,
            "{precision:?}: another device"
        );
    }
}

fn leaf(partial: millstream::backend::Partial) -> Summary {
    match partial {
        millstream::backend::Partial::Leaf(summary) => *summary,
        millstream::backend::Partial::Open(_) => panic!("a GPU gives no leaf back open"),
    }
}

fn open(precision: Precision, spoil: impl Fn(&mut Texts)) -> millstream::Result<Gpu> {
    let mut texts = Texts::default();
    spoil(&mut texts);
    assert_ne!(texts, Texts::default());
    Gpu::open(Options {
        texts: Arc::new(texts),
        ..options(precision)
    })
}

/// Arithmetic that is not what a precision needs is noticed when the adapter is opened.
#[test]
fn gpu_probes_notice_other_arithmetic() {
    if lent(Precision::Exact).is_none() {
        return;
    }
    let refused = |opened: millstream::Result<Gpu>, why: &str| match opened {
        Err(Error::Failed(said)) => assert!(said.contains(why), "{said}"),
        other => panic!("{other:?}"),
    };
    let lost = |t: &mut Texts| t.probe_two_sum = t.probe_two_sum.replace("+ hold(p.y - added)", "+ hold(0.0)");
    refused(open(Precision::Fast, lost), "f32 sum");
    assert!(open(Precision::Exact, lost).is_ok(), "it has no use for two-sums");
    let rough = |t: &mut Texts| t.probe_f64 = t.probe_f64.replace("p.x * p.y", "f64(f32(p.x)) * p.y");
    refused(open(Precision::Exact, rough), "f64 sums");
}

/// Quotients that are not correctly rounded are the host's, as extremes are exact: differences per second are then not
/// the device's, those per row still are.
#[test]
fn gpu_differences_per_second_need_right_quotients() {
    if lent(Precision::Exact).is_none() {
        return;
    }
    let inverse = |t: &mut Texts| t.probe_f64 = t.probe_f64.replace("p.x / p.y", "p.x * (1.0lf / p.y)");
    let mut gpu = open(Precision::Exact, inverse).unwrap();
    assert!(!gpu.adapter().probe.as_ref().unwrap().division);
    let shape = Shape {
        differences: true,
        ..moments_only(4)
    };
    let mut launches = |batch: &Batch| {
        let before = gpu.counters().dispatches();
        judge(&mut gpu, &single(batch, 500, shape.clone())).unwrap();
        gpu.counters().dispatches() - before
    };
    assert_eq!(launches(&ordinary(500)), 2);
    assert_eq!(launches(&with_times(ordinary(500))), 1);
}
