//! Shaders with one thing wrong: a small form of the suite has to notice every one of them.
//!
//! Where a device's answer is not finite the host makes it again, rightly; so the suite also demands that it did not
//! have to.

use crate::gpu_agreement::{gpu, options};
use crate::gpu_judge::{judge, lent};
use crate::gpu_losses::{data, loss_shape, weights};
use crate::gpu_shapes::{batch_of, dust, everything, f32s, f64s, ordinary, single, with_times};
use crate::random::Random;
use millstream::backend::Work;
use millstream::backend::gpu::{Gpu, Options, Texts};
use millstream::summary::{Model, Order, Shape};
use millstream::{Batch, Precision};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Columns far from 0 with a trend, of other scales, with gaps.
fn varied(rows: usize) -> Batch {
    let mut random = Random::new(77);
    let trend = (0..rows).map(|i| 1e6 * i as f64 + random.normal()).collect();
    let gaps = (0..rows).map(|i| if i % 5 == 1 { f64::NAN } else { 50.0 + random.normal() });
    let gaps = gaps.collect();
    let narrow = (0..rows).map(|_| (1000.0 * random.normal() + 5000.0) as f32).collect();
    batch_of(vec![f64s(trend), f64s(gaps), f32s(narrow)])
}

/// A large value in every 256 rows, on either side in turn, among such small ones that each group of eight of them comes
/// to less than half a unit of the last place beside it: every run has a low part of 1e-6 of its sum.
fn dust_in_every_run(n: usize) -> Vec<f64> {
    let small = 0.995 * 2f64.powf(-13.5);
    let value = |i: usize| match i % 256 {
        0 => [1.0, -1.0][i / 256 % 2],
        k => [small, -small][k % 2],
    };
    (0..n).map(value).collect()
}

fn products(columns: usize) -> Shape {
    Shape {
        columns,
        order: Order::Second,
        comoments: true,
        ..Shape::default()
    }
}

fn many(columns: usize, rows: usize) -> Batch {
    let mut random = Random::new(columns as u64);
    let one = |j: usize, r: &mut Random| f64s((0..rows).map(|i| (i * j % 7) as f64 + r.normal()).collect());
    batch_of((0..columns).map(|j| one(j, &mut random)).collect())
}

/// A little of everything.
fn suite(gpu: &mut Gpu) -> Result<(), String> {
    let everything = |columns| Shape {
        quantiles: false,
        ..everything(columns)
    };
    let mut works = vec![
        ("timed", single(&with_times(ordinary(1027)), 1027, everything(4))),
        ("varied", single(&varied(333), 333, everything(3))),
        ("whole", single(&varied(333).project(&[0, 2]), 333, everything(2))),
        ("small tiles", single(&many(18, 130), 130, products(18))),
        ("large tiles", single(&many(66, 45), 45, products(66))),
        (
            "groups of runs",
            single(&batch_of(vec![f64s(dust(17_000))]), 17_000, products(1)),
        ),
        (
            "low parts",
            single(&batch_of(vec![f64s(dust_in_every_run(16_896))]), 16_896, products(1)),
        ),
    ];
    for (model, intercept, gaps) in [
        (Model::Linear, true, 30),
        (Model::Linear, false, 0),
        (Model::Logistic, true, 0),
    ] {
        let shape = loss_shape(9, model, intercept);
        let work = Work {
            weights: Some(weights(&shape)),
            ..single(&data(1201, 9, gaps), 1201, shape)
        };
        works.push(("loss", work));
    }
    let before = gpu.counters().host_blocks();
    for (name, work) in &works {
        judge(gpu, work).map_err(|e| format!("{name}: {e}"))?;
        if gpu.counters().host_blocks() != before {
            return Err(format!("{name}: the host did it"));
        }
    }
    Ok(())
}

/// What is changed where.
struct Mutant {
    name: &'static str,
    precision: Precision,
    text: fn(&mut Texts) -> &mut String,
    changes: &'static [(&'static str, &'static str)],
    /// Workgroups of a launch, where a few are to take turns.
    workgroups_max: u32,
}

/// As many workgroups as there are.
const ALL: u32 = u32::MAX;
/// So few that everything takes its turn.
const FEW: u32 = 1;

const E: Precision = Precision::Exact;
const F: Precision = Precision::Fast;

fn common(t: &mut Texts) -> &mut String {
    &mut t.common
}
fn moments(t: &mut Texts) -> &mut String {
    &mut t.moments
}
fn comoments(t: &mut Texts) -> &mut String {
    &mut t.comoments
}
fn fold(t: &mut Texts) -> &mut String {
    &mut t.fold
}
fn differences(t: &mut Texts) -> &mut String {
    &mut t.differences
}
fn loss(t: &mut Texts) -> &mut String {
    &mut t.loss
}
fn exact(t: &mut Texts) -> &mut String {
    &mut t.exact
}
fn fast(t: &mut Texts) -> &mut String {
    &mut t.fast
}

macro_rules! mutants {
    ($(($name:literal, $precision:ident, $text:ident, $workgroups_max:expr, $($from:literal => $to:literal),+))*) => {
        &[$(Mutant {
            name: $name,
            precision: $precision,
            text: $text,
            changes: &[$(($from, $to)),+],
            workgroups_max: $workgroups_max,
        }),*]
    };
}

const MUTANTS: &[Mutant] = mutants![
    ("no pivot", E, common, ALL, "(real4(data[at]) - Real4(pivot.value))" => "real4(data[at])")
    ("no pivot in fast", F, common, ALL, "(real4(data[at]) - Real4(pivot.value))" => "real4(data[at])")
    ("no scale", F, common, ALL, " * pivot.scale;" => ";")
    ("no mask", E, common, ALL, "if (mask_at == NO_MASK) {" => "if (true) {")
    ("the mask of other rows", E, common, ALL, "(quad & 7u) * 4u" => "(quad & 6u) * 4u")
    ("the mask of another word", F, common, ALL, "mask_at + (quad >> 3u)" => "mask_at + (quad >> 4u)")
    ("a row of four forgotten", F, common, ALL, "(x.z + x.w)" => "x.z")
    ("a stride too long in moments", E, moments, FEW, "k += params.groups" => "k += params.items")
    ("a stride too long in tiles", E, comoments, FEW,
        "k += params.groups) {
        let item = items[k];
        let left_first = (item.tile & 0xffffu) * SIDE;" =>
        "k += params.items) {
        let item = items[k];
        let left_first = (item.tile & 0xffffu) * SIDE;")
    ("a stride too long in small tiles", F, comoments, FEW,
        "k += params.groups) {
        let item = items[k];
        let left_first = (item.tile & 0xffffu) * SMALL_SIDE;" =>
        "k += params.items) {
        let item = items[k];
        let left_first = (item.tile & 0xffffu) * SMALL_SIDE;")
    ("a stride too long in folds", F, fold, FEW, "k += params.groups" => "k += params.items")
    ("a stride too long in losses", F, loss, FEW, "k += params.groups" => "k += params.items")
    ("a stride too long in differences", E, differences, FEW, "k += params.groups" => "k += params.items")
    ("no barrier in moments", E, moments, ALL,
        "lanes[lane] = sums;\n        workgroupBarrier();" => "lanes[lane] = sums;")
    ("half of the lanes", E, moments, ALL, "var width = LANES / 2u" => "var width = LANES / 4u")
    ("no last group", E, moments, ALL, "min(item.count, start" => "min(item.count - 1u, start")
    ("no third moments", E, moments, ALL, "    if (FOURTH) {" => "    if (!FOURTH) {")
    ("a cube for a fourth power", F, moments, ALL, "d4 += square * square" => "d4 += square * d")
    ("tiles of other columns", E, comoments, ALL,
        "let left_first = (item.tile & 0xffffu) * SIDE;" => "let left_first = (item.tile >> 16u) * SIDE;")
    ("transposed tiles", F, comoments, ALL,
        "let left_first = (item.tile & 0xffffu) * SIDE;" => "let left_first = (item.tile >> 16u) * SIDE;",
        "let right_first = (item.tile >> 16u) * SIDE;" => "let right_first = (item.tile & 0xffffu) * SIDE;")
    ("small tiles of other columns", E, comoments, ALL,
        "let right_first = (item.tile >> 16u) * SMALL_SIDE;" => "let right_first = (item.tile & 0xffffu) * SMALL_SIDE;")
    ("no last rows", E, comoments, ALL, "quad >= item.count" => "quad + 1u >= item.count")
    ("no odd rows", F, comoments, ALL, "even2 + odd2" => "even2")
    ("no barrier in tiles", F, comoments, ALL,
        "right[(row + 3u) * SIDE + column] = b.w;\n            workgroupBarrier();" =>
        "right[(row + 3u) * SIDE + column] = b.w;")
    ("no barrier in small tiles", E, comoments, ALL,
        "right[(row + 3u) * SMALL_SIDE + y] = b.w;\n            workgroupBarrier();" =>
        "right[(row + 3u) * SMALL_SIDE + y] = b.w;")
    ("no last run", E, fold, ALL, "run < item.runs" => "run + 1u < item.runs")
    ("a part of the products", E, fold, ALL, "i += 256u" => "i += 512u")
    ("one pass over differences", E, differences, ALL, "pivot = whole.s1 / Real(item.count);" => "pivot = Real();")
    ("differences per row", E, differences, ALL, "x /= span;" => "")
    ("a span of 0", E, differences, ALL, "continue;" => "")
    ("the greatest for the least", E, differences, ALL, "min(found.least, x)" => "max(found.least, x)")
    ("no barrier in differences", E, differences, ALL,
        "lanes[lane] = found;\n            workgroupBarrier();" => "lanes[lane] = found;")
    ("half a merge", E, exact, ALL, "return a + b;" => "return a;")
    ("sums without their low part", F, fast, ALL, "return Sum(total, a.low + error);" => "return Sum(total, a.low);")
    ("merges without the low part", F, fast, ALL, "both.low + b.low" => "both.low")
    ("gradients of another column", E, loss, ALL,
        "deviation(item, column, quad)" => "deviation(item, column / 2u, quad)")
    ("no intercept", F, loss, ALL, "sum4_add(Sum4(), Real4(weights[item.weights]))" => "Sum4()")
    ("no last term", E, loss, ALL, "i < min(item.columns, first + RUN)" => "i + 1u < min(item.columns, first + RUN)")
    ("the sides of the logistic swapped", E, loss, ALL, "if (z[i] >= Real())" => "if (z[i] < Real())")
    ("a short series of the logarithm", E, loss, ALL, "var k = 35u" => "var k = 9u")
    ("a short series of the exponential", E, loss, ALL, "var k = 13u" => "var k = 8u")
    ("no half", F, loss, ALL, "slope * slope * Real(0.5)" => "slope * slope")
    ("no barrier in losses", E, loss, ALL, "sums[lane] = sum;\n    workgroupBarrier();" => "sums[lane] = sum;")
    ("lanes of another column", F, loss, ALL, "other < TEAM" => "other < TEAM - 1u")
];

/// Without this a compiler may delete the error of a two-sum; the software adapter's does.
const DELETED: &[Mutant] = mutants![
    ("no hold", F, fast, ALL, "return bitcast<f32>(bitcast<u32>(x) ^ params.zero);" => "return x;")
];

fn spoilt(mutant: &Mutant) -> Options {
    let mut texts = Texts::default();
    for (from, to) in mutant.changes {
        let text = (mutant.text)(&mut texts);
        let changed = text.replacen(from, to, 1);
        assert_ne!(*text, changed, "{}: nothing to change", mutant.name);
        *text = changed;
    }
    Options {
        texts: Arc::new(texts),
        workgroups_max: mutant.workgroups_max,
        ..options(mutant.precision)
    }
}

#[test]
fn gpu_suite_holds_for_the_shaders_as_they_are() {
    for precision in [E, F] {
        let Some(mut gpu) = lent(precision) else { return };
        suite(&mut gpu).unwrap();
        let few = Options {
            workgroups_max: FEW,
            ..options(precision)
        };
        suite(&mut self::gpu(few).unwrap()).unwrap();
    }
}

#[test]
fn gpu_suite_notices_every_mutant() {
    let Some(right) = lent(E) else { return };
    let software = right.adapter().software;
    let all = MUTANTS.iter().chain(DELETED.iter().filter(|_| software));
    let mut unseen = Vec::new();
    for mutant in all {
        let mut gpu = gpu(spoilt(mutant)).unwrap();
        // A bound of the suite's own may be an assertion.
        let verdict = catch_unwind(AssertUnwindSafe(|| suite(&mut gpu)));
        if matches!(verdict, Ok(Ok(()))) {
            unseen.push(mutant.name);
        }
    }
    assert_eq!(unseen, [""; 0], "not noticed");
}
